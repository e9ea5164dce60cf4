/*
 * fuzz_image_sections.c
 *		Good images changed section by section, with the checksum put right: what is
 *		checked behind the checksum.
 *
 * The first byte: the model, and in its top bit int8 or fp32. Then changes of 5
 * bytes: section and kind, offset of two bytes, value of two bytes. Kinds: a byte, a
 * word of 4 bytes from a table, a word moved by a little, a byte of the section's
 * entry in the header.
 */
#include <stdio.h>

#include "image_fuzz.h"

static const char *const models[] = {"bert-dense", "bert-mean-36", "roberta-rerank", "gte-rerank", "mpnet-rerank", "modernbert-rerank", "model2vec", "nomic-rerank"};
#define N_MODELS	8

typedef struct Image
{
	uint8_t    *data;
	size_t		size,
				room;
} Image;

static Image images[2 * N_MODELS];

static EmbStatus
take(void *ctx, const void *data, size_t size, EmbError *err)
{
	Image	   *image = ctx;

	(void) err;
	if (image->size + size > image->room)
		image->data = realloc(image->data, image->room = 2 * (image->size + size));
	memcpy(image->data + image->size, data, size);
	image->size += size;
	return EMB_OK;
}

static const Image *
get_image(uint8_t which)
{
	EmbAllocator mem = emb_malloc_allocator();
	int			m = (which & 0x7F) % N_MODELS;
	bool		is_fp32 = (which & 0x80) != 0;
	Image	   *image = &images[2 * m + is_fp32];
	EmbImportOptions options = {.precision = is_fp32 ? "fp32" : "int8"};
	EmbSink		sink = {.ctx = image, .write = take};
	EmbError	err;
	char		dir[256];

	snprintf(dir, sizeof(dir), "test/data/tiny/%s/model", models[m]);
	if (image->data == NULL && emb_import_dir(dir, &options, &mem, NULL, &sink, &err) != EMB_OK)
	{
		fprintf(stderr, "%s: %s\n", dir, err.message);
		abort();
	}
	return image;
}

static void
change(uint8_t *image, size_t size, const uint8_t *bytes)
{
	static const uint32_t words[] = {0, 1, 2, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FC00000, 0x7F800000, 64, 65536, 4000000, 0xFFFF};
	EmbImageSection section;
	size_t		entry = sizeof(EmbImageHeader) + (bytes[0] & 7) % EMB_IMAGE_N_SECTIONS * sizeof(section);
	size_t		offset = (size_t) bytes[1] | (size_t) bytes[2] << 8;
	int			kind = bytes[0] >> 3 & 3;
	uint32_t	word;
	size_t		at;

	memcpy(&section, image + entry, sizeof(section));
	if (kind == 3)
	{
		image[entry + offset % sizeof(section)] = bytes[3];
		return;
	}
	if (section.size_bytes < 4 || section.offset > size || section.size_bytes > size - section.offset)
		return;
	/* the top bits of kind spread far offsets over a long section */
	if (bytes[0] & 0x80)
		offset *= section.size_bytes / 65536 + 1;
	at = section.offset + offset % (section.size_bytes - 3);
	if (kind == 0)
	{
		image[at] = bytes[3];
		return;
	}
	at = section.offset + (at - section.offset) / 4 * 4;
	memcpy(&word, image + at, sizeof(word));
	word = kind == 1 ? words[bytes[3] % (sizeof(words) / sizeof(words[0]))] : word + (uint32_t) (int8_t) bytes[3] * (bytes[4] & 1 ? 64 : 1);
	memcpy(image + at, &word, sizeof(word));
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const Image *good;
	void	   *image;

	if (size < 1 || size > 1 + 5 * 16)
		return 0;
	good = get_image(data[0]);
	if (posix_memalign(&image, EMB_ALIGNMENT, good->size) != 0)
		return 0;
	memcpy(image, good->data, good->size);
	for (size_t i = 1; i + 5 <= size; i += 5)
		change(image, good->size, data + i);
	image_fix_header(image, good->size);
	try_open(image, good->size, EMB_OPEN_CHECK_ALL);
	try_open(image, good->size, 0);
	free(image);
	return 0;
}
