/*
 * image_util.h
 *		Making corrupt images plausible, so that the checks behind the checksum
 *		are reached. Making int4 images from the same model in fp32 and int8: plain
 *		rounding, for tests of everything but the quantizer.
 */
#ifndef IMAGE_UTIL_H
#define IMAGE_UTIL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "kernels/kernels.h"

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

/* How an int4 image is made. */
typedef struct I4Choice
{
	uint32_t	group;			/* as in EmbImageConfig */
	EmbKeepInt8 keep;
	bool		has_order;
	bool		has_zeros;		/* else symmetric: all zeros are 8 */
} I4Choice;

/* The image of a model in fp32, in int8, in int4; and in fp32 with the int4 weights' values. */
typedef struct I4Images
{
	EmbImageView exact;
	EmbImageView rounded;
	EmbImageView i4;
	uint8_t    *dequantized;
	I4Choice	choice;
} I4Images;

/* A linear layer in int4: its codes, scales and zeros by output and input. */
typedef struct I4Linear
{
	int32_t		n_out,
				n_in,
				group,			/* inputs */
				n_scales;
	uint8_t    *codes;			/* [n_out, n_in], inputs in the order of the weights */
	float	   *scales;			/* [n_out, n_scales] */
	uint8_t    *zeros;
	uint16_t   *order;			/* [n_in] */
} I4Linear;

/* Any order: steps of a number without a common factor. */
static void
i4_order(uint16_t *order, int32_t n, bool has_order)
{
	int32_t		step = n * 5 / 8;

	for (bool common = true; common; step++)
	{
		common = false;
		for (int32_t f = 2; f <= step; f++)
			common |= step % f == 0 && n % f == 0;
		if (!common)
			break;
	}
	for (int32_t i = 0; i < n; i++)
		order[i] = (uint16_t) (has_order ? (int64_t) i * step % n : i);
}

/* Rounds a group of a row; x has its inputs' weights in fp32. */
static void
i4_round_group(I4Linear *l, int32_t row, int32_t g, const float *x, bool has_zeros)
{
	int32_t		first = g * l->group;
	int32_t		n = l->n_in - first < l->group ? l->n_in - first : l->group;
	float		lo = 0,
				hi = 0,
				scale;
	int32_t		zero = 8;

	for (int32_t i = 0; i < n; i++)
	{
		lo = x[i] < lo ? x[i] : lo;
		hi = x[i] > hi ? x[i] : hi;
	}
	scale = has_zeros ? (hi - lo) / 15 : (hi > -lo ? hi : -lo) / 7;
	scale = scale > 0 ? scale : 1;
	if (has_zeros)
		zero = (int32_t) rintf(-lo / scale);
	for (int32_t i = 0; i < n; i++)
	{
		int32_t		code = (int32_t) rintf(x[i] / scale) + zero;

		l->codes[(size_t) row * l->n_in + first + i] = (uint8_t) (code < 0 ? 0 : code > 15 ? 15 : code);
	}
	l->scales[row * l->n_scales + g] = scale;
	l->zeros[row * l->n_scales + g] = (uint8_t) zero;
}

/* panels: emb_pack_f32's; in dequantized, of the same form, the values of the codes. */
static I4Linear
i4_round_linear(const float *panels, int32_t n_out, int32_t n_in, const I4Choice *choice, float *dequantized)
{
	I4Linear	l = {.n_out = n_out, .n_in = n_in};
	float	   *x = malloc(n_in * sizeof(float));

	l.group = choice->group == EMB_IMAGE_GROUP_ROW ? n_in : (int32_t) choice->group;
	l.n_scales = (n_in - 1) / l.group + 1;
	l.codes = malloc((size_t) n_out * n_in);
	l.scales = malloc((size_t) n_out * l.n_scales * sizeof(float));
	l.zeros = malloc((size_t) n_out * l.n_scales);
	l.order = malloc(n_in * sizeof(uint16_t));
	i4_order(l.order, n_in, choice->has_order);
	for (int32_t row = 0; row < n_out; row++)
	{
		size_t		panel = (size_t) (row / EMB_PANEL) * n_in * EMB_PANEL + row % EMB_PANEL;

		for (int32_t i = 0; i < n_in; i++)
			x[i] = panels[panel + (size_t) l.order[i] * EMB_PANEL];
		for (int32_t g = 0; g < l.n_scales; g++)
			i4_round_group(&l, row, g, x + g * l.group, choice->has_zeros);
		for (int32_t i = 0; i < n_in; i++)
		{
			int32_t		at = row * l.n_scales + i / l.group;

			dequantized[panel + (size_t) l.order[i] * EMB_PANEL] =
				(float) (l.codes[(size_t) row * n_in + i] - l.zeros[at]) * l.scales[at];
		}
	}
	free(x);
	return l;
}

static void
i4_free_linear(I4Linear *l)
{
	free(l->codes);
	free(l->scales);
	free(l->zeros);
	free(l->order);
}

static void *
i4_place(const I4Images *images, EmbTensorKey key, EmbTensorKind kind)
{
	const EmbImageTensor *t = emb_image_find(&images->i4, key.layer, (EmbPart) key.part, kind);

	return t == NULL ? NULL : (uint8_t *) images->i4.base + t->offset;
}

/* The row of the checkpoint that is row i of the image: gates and values by turns. */
static int32_t
i4_source_row(const I4Images *images, EmbTensorKey key, int32_t i)
{
	const EmbArch *arch = images->i4.arch;

	if (key.part != EMB_PART_FFN_UP || !emb_arch_pairs_gates(arch))
		return i;
	return i / 32 * 16 + i % 16 + (i / 16 % 2 != 0 ? arch->intermediate : 0);
}

/* Fills in all tensors of a linear layer. */
static void
i4_write_linear(const I4Images *images, const EmbImageTensor *t)
{
	const EmbImageTensor *from = emb_image_find(&images->exact, t->key.layer, (EmbPart) t->key.part, EMB_TENSOR_WEIGHT);
	int32_t		n_scales = emb_pack_group_scales((int32_t) t->n_cols, emb_image_kernel_group(images->i4.config));
	I4Linear	l = i4_round_linear((const float *) (images->exact.base + from->offset), (int32_t) t->n_rows, (int32_t) t->n_cols,
									&images->choice, (float *) (images->dequantized + from->offset));
	const float *bias_from = (const float *) (images->exact.base +
											  emb_image_find(&images->exact, t->key.layer, (EmbPart) t->key.part, EMB_TENSOR_BIAS)->offset);
	uint8_t    *tiles = i4_place(images, t->key, EMB_TENSOR_WEIGHT);
	float	   *scales = i4_place(images, t->key, EMB_TENSOR_GROUP_SCALE);
	uint8_t    *zeros = i4_place(images, t->key, EMB_TENSOR_GROUP_ZERO);
	float	   *sums = i4_place(images, t->key, EMB_TENSOR_SUMS);
	float	   *bias = i4_place(images, t->key, EMB_TENSOR_BIAS);
	float	   *factor = i4_place(images, t->key, EMB_TENSOR_FACTOR);
	uint16_t   *order = i4_place(images, t->key, EMB_TENSOR_ORDER);
	uint8_t    *rows = malloc((size_t) EMB_PANEL * l.n_in);

	for (int32_t first = 0; first < l.n_out; first += EMB_PANEL)
	{
		int32_t		n = l.n_out - first < EMB_PANEL ? l.n_out - first : EMB_PANEL;

		for (int32_t r = 0; r < n; r++)
		{
			int32_t		row = i4_source_row(images, t->key, first + r);

			memcpy(rows + (size_t) r * l.n_in, l.codes + (size_t) row * l.n_in, l.n_in);
			for (int32_t g = 0; g < l.n_scales; g++)
			{
				scales[((size_t) first / EMB_PANEL * n_scales + g) * EMB_PANEL + r] = l.scales[row * l.n_scales + g];
				zeros[((size_t) first / EMB_PANEL * n_scales + g) * EMB_PANEL + r] = l.zeros[row * l.n_scales + g];
			}
			sums[first + r] = emb_pack_group_sum(l.codes + (size_t) row * l.n_in, l.n_in, 4, l.group, l.scales + row * l.n_scales,
											  l.zeros + row * l.n_scales);
			bias[first + r] = bias_from[row];
		}
		emb_pack_i4_panel(rows, n, l.n_in, tiles + first / EMB_PANEL * emb_pack_i4_bytes(EMB_PANEL, l.n_in));
	}
	for (int32_t i = 0; factor != NULL && i < l.n_in; i++)
		factor[i] = 1;
	if (order != NULL)
		memcpy(order, l.order, l.n_in * sizeof(uint16_t));
	free(rows);
	i4_free_linear(&l);
}

/* A part of a linear layer that i4_write_linear fills in. */
static bool
i4_is_of_linear(const I4Images *images, const EmbImageTensor *t)
{
	const EmbImageTensor *weight = emb_image_find(&images->i4, t->key.layer, (EmbPart) t->key.part, EMB_TENSOR_WEIGHT);

	return weight != NULL && weight->form == EMB_FORM_TILES_I4;
}

/*
 * An int4 image of a model whose image is given in fp32 and in int8, from
 * which come word embeddings and layers that stay int8. *dequantized: as exact,
 * with the values of the int4 weights. The caller frees both.
 */
__attribute__((unused)) static uint8_t *
image_make_i4(const uint8_t *exact, size_t exact_size, const uint8_t *rounded, size_t rounded_size, const I4Choice *choice,
			  size_t *size, uint8_t **dequantized)
{
	I4Images	images = {.choice = *choice};
	EmbAllocator mem = emb_malloc_allocator();
	EmbError	err;
	EmbImageParts parts;
	EmbImageView head_view;
	uint8_t    *head;
	uint8_t    *image;
	uint64_t	head_bytes;

	if (emb_image_view(exact, exact_size, &images.exact, &err) != EMB_OK ||
		emb_image_view(rounded, rounded_size, &images.rounded, &err) != EMB_OK)
		abort();
	parts = (EmbImageParts) {
		.arch = *images.exact.arch, .config = *images.exact.config, .kind = images.exact.header->kind,
		.strings = images.exact.strings, .strings_bytes = emb_image_section(&images.exact, EMB_SECTION_STRINGS)->size_bytes,
		.tokenizer = exact + emb_image_section(&images.exact, EMB_SECTION_TOKENIZER)->offset,
		.tokenizer_bytes = emb_image_section(&images.exact, EMB_SECTION_TOKENIZER)->size_bytes,
		.reference_bytes = emb_image_section(&images.exact, EMB_SECTION_REFERENCES)->size_bytes
	};
	parts.config.precision = EMB_PRECISION_INT4;
	parts.config.group = choice->group;
	parts.config.keep_int8 = choice->keep;
	parts.config.has_order = choice->has_order;
	*size = emb_image_planned_bytes(&parts);
	if (emb_image_begin(&parts, &mem, &head, &head_bytes, &head_view, &err) != EMB_OK ||
		posix_memalign((void **) &image, EMB_ALIGNMENT, *size) != 0 ||
		posix_memalign((void **) dequantized, EMB_ALIGNMENT, exact_size) != 0)
		abort();
	memset(image, 0, *size);
	memcpy(image, head, head_bytes);
	memcpy(image + emb_image_section(&head_view, EMB_SECTION_REFERENCES)->offset,
		   exact + emb_image_section(&images.exact, EMB_SECTION_REFERENCES)->offset, parts.reference_bytes);
	emb_release(&mem, head);
	memcpy(*dequantized, exact, exact_size);
	images.dequantized = *dequantized;
	if (emb_image_view(image, *size, &images.i4, &err) != EMB_OK)
		abort();
	for (uint32_t i = 0; i < images.i4.n_tensors; i++)
	{
		const EmbImageTensor *t = &images.i4.tensors[i];
		const EmbImageTensor *from = emb_image_find(&images.rounded, t->key.layer, (EmbPart) t->key.part, (EmbTensorKind) t->key.kind);

		if (t->form == EMB_FORM_TILES_I4)
			i4_write_linear(&images, t);
		else if (!i4_is_of_linear(&images, t))
			memcpy(image + t->offset, rounded + from->offset, t->size_bytes);
	}
	return image;
}

#endif
