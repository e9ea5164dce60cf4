/*
 * image_util.h
 *		Making corrupt images plausible, so that the checks behind the checksum
 *		are reached.
 */
#ifndef IMAGE_UTIL_H
#define IMAGE_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "image/image.h"

/* Sets the header's size and checksum to what the image's bytes want. */
__attribute__((unused)) static void
image_fix_header(uint8_t *image, size_t size)
{
	const size_t at = offsetof(EmbImageHeader, meta_checksum);
	const size_t tokenizer = sizeof(EmbImageHeader) + (EMB_SECTION_TOKENIZER - 1) * sizeof(EmbImageSection)
		+ offsetof(EmbImageSection, offset);
	uint64_t	h = UINT64_C(0xCBF29CE484222325);
	uint64_t	size_bytes = size;
	uint64_t	meta_bytes;

	if (size < tokenizer + sizeof(meta_bytes))
		return;
	memcpy(image + offsetof(EmbImageHeader, size_bytes), &size_bytes, sizeof(size_bytes));
	memcpy(&meta_bytes, image + tokenizer, sizeof(meta_bytes));
	if (meta_bytes > size)
		return;
	for (size_t i = 0; i < meta_bytes; i++)
		h = (h ^ (i >= at && i < at + sizeof(h) ? 0 : image[i])) * UINT64_C(0x100000001B3);
	memcpy(image + at, &h, sizeof(h));
}

#endif
