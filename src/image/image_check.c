/*
 * image_check.c
 *		Checks an image of unknown origin: every weight, all padding, every
 *		reference.
 */
#include "image/image.h"

#include <math.h>
#include <string.h>

#include "common/utf8.h"
#include "kernels/kernels.h"

/* Weights checked between two polls of stop: about 0.2 ms. */
#define CHECK_BLOCK_ELEMS	262144

/*
 * Whether all n floats are finite: no exponent has all bits set. Written so that
 * compilers vectorize it.
 */
static bool
all_finite(const uint32_t *bits, size_t n)
{
	uint32_t	largest = 0;

	for (size_t i = 0; i < n; i++)
	{
		uint32_t	magnitude = bits[i] & 0x7FFFFFFF;

		largest = magnitude > largest ? magnitude : largest;
	}
	return largest < 0x7F800000;
}

/* The same for scales of 16 bits. exponent: its bits. */
static bool
all_halves_finite(const uint16_t *bits, size_t n, uint16_t exponent)
{
	uint16_t	largest = 0;

	for (size_t i = 0; i < n; i++)
	{
		uint16_t	magnitude = bits[i] & 0x7FFF;

		largest = magnitude > largest ? magnitude : largest;
	}
	return largest < exponent;
}

/* Whether no sign bit is set. Finite floats are then zero or more. */
static bool
none_negative(const uint32_t *bits, size_t n)
{
	uint32_t	all = 0;

	for (size_t i = 0; i < n; i++)
		all |= bits[i];
	return all >> 31 == 0;
}

static bool
panel_padding_is_zero(const EmbImageTensor *t, const uint8_t *data)
{
	uint32_t	n_rows = t->n_rows % EMB_PANEL;	/* of the last panel */
	const uint8_t *panel = data + (uint64_t) (t->n_rows / EMB_PANEL) * t->n_cols * EMB_PANEL * sizeof(float);

	for (uint32_t i = 0; n_rows > 0 && i < t->n_cols; i++)
	{
		if (!emb_image_is_zero(panel + ((uint64_t) i * EMB_PANEL + n_rows) * sizeof(float), (EMB_PANEL - n_rows) * sizeof(float)))
			return false;
	}
	return true;
}

static EmbStatus
padding_error(const EmbImageTensor *t, EmbError *err)
{
	char		name[128];

	return emb_error(err, EMB_ERR_FORMAT, "the padding of the image's tensor %s is not zero",
					 emb_tensor_name(t->key, name, sizeof(name)));
}

/* Whether values of this kind are never negative. Scales of linear layers may be a checkpoint's. */
static bool
is_scale(const EmbImageTensor *t)
{
	return t->key.kind == EMB_TENSOR_FACTOR || (t->key.kind == EMB_TENSOR_SCALE && t->key.part == EMB_PART_WORDS);
}

static EmbStatus
check_floats(const EmbImageTensor *t, const uint8_t *data, const EmbStop *stop, EmbError *err)
{
	uint64_t	n_floats = t->size_bytes / sizeof(float);
	char		name[128];

	for (uint64_t i = 0; i < n_floats; i += CHECK_BLOCK_ELEMS)
	{
		uint64_t	n = n_floats - i < CHECK_BLOCK_ELEMS ? n_floats - i : CHECK_BLOCK_ELEMS;
		const uint32_t *bits = (const uint32_t *) (data + i * sizeof(float));

		if (emb_should_stop(stop))
			return emb_error(err, EMB_ERR_CANCELLED, "cancelled while checking an image");
		if (!all_finite(bits, n))
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s has a weight that is not finite",
							 emb_tensor_name(t->key, name, sizeof(name)));
		if (is_scale(t) && !none_negative(bits, n))
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s has a %s below zero",
							 emb_tensor_name(t->key, name, sizeof(name)), t->key.kind == EMB_TENSOR_FACTOR ? "factor" : "scale");
	}
	return EMB_OK;
}

static EmbStatus
check_halves(const EmbImageTensor *t, const uint8_t *data, const EmbStop *stop, EmbError *err)
{
	uint64_t	n_halves = t->size_bytes / sizeof(uint16_t);
	char		name[128];

	for (uint64_t i = 0; i < n_halves; i += CHECK_BLOCK_ELEMS)
	{
		uint64_t	n = n_halves - i < CHECK_BLOCK_ELEMS ? n_halves - i : CHECK_BLOCK_ELEMS;

		if (emb_should_stop(stop))
			return emb_error(err, EMB_ERR_CANCELLED, "cancelled while checking an image");
		if (!all_halves_finite((const uint16_t *) data + i, n, t->form == EMB_FORM_GROUPS_F16 ? 0x7C00 : 0x7F80))
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s has a weight that is not finite",
							 emb_tensor_name(t->key, name, sizeof(name)));
	}
	return EMB_OK;
}

/*
 * Sums of the columns in one panel of tiles, [K/4][16][4]; false if an element
 * past column n_in or row n_rows is not zero. |sum| <= 128 * 65,536.
 */
static bool
sum_panel(const int8_t *panel, uint32_t n_groups, uint32_t n_in, uint32_t n_rows, int32_t sums[EMB_PANEL])
{
	uint8_t		padding = 0;

	memset(sums, 0, EMB_PANEL * sizeof(int32_t));
	for (uint32_t g = 0; g < n_groups; g++)
	{
		const int8_t *tile = panel + (size_t) g * EMB_PANEL * 4;
		uint32_t	n_real = g * 4 >= n_in ? 0 : n_in - g * 4 < 4 ? n_in - g * 4 : 4;

		for (uint32_t r = 0; r < EMB_PANEL; r++)
			sums[r] += tile[r * 4] + tile[r * 4 + 1] + tile[r * 4 + 2] + tile[r * 4 + 3];
		for (uint32_t r = 0; r < EMB_PANEL && n_real < 4; r++)
		{
			for (uint32_t k = n_real; k < 4; k++)
				padding |= (uint8_t) tile[r * 4 + k];
		}
		for (uint32_t i = n_rows * 4; i < EMB_PANEL * 4; i++)
			padding |= (uint8_t) tile[i];
	}
	return padding == 0;
}

static EmbStatus
check_tiles(const EmbImageView *view, const EmbImageTensor *t, const EmbStop *stop, EmbError *err)
{
	const EmbImageTensor *sums = emb_image_find(view, t->key.layer, t->key.part, EMB_TENSOR_SUMS);
	const uint8_t *expected = view->base + sums->offset;
	size_t		panel_bytes = emb_pack_i8_bytes(EMB_PANEL, t->n_cols);
	char		name[128];

	for (uint32_t row = 0; row < t->n_rows; row += EMB_PANEL)
	{
		uint32_t	n_rows = t->n_rows - row < EMB_PANEL ? t->n_rows - row : EMB_PANEL;
		int32_t		found[EMB_PANEL];

		if (emb_should_stop(stop))
			return emb_error(err, EMB_ERR_CANCELLED, "cancelled while checking an image");
		if (!sum_panel((const int8_t *) (view->base + t->offset + row / EMB_PANEL * panel_bytes),
					   (uint32_t) (panel_bytes / (EMB_PANEL * 4)), t->n_cols, n_rows, found))
			return padding_error(t, err);
		if (memcmp(found, expected + row * sizeof(int32_t), sizeof(found)) != 0)
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s is not the sum of its weights",
							 emb_tensor_name(sums->key, name, sizeof(name)));
	}
	return EMB_OK;
}

/* What belongs to a panel of weights with scales by groups. */
typedef struct GroupPanel
{
	int32_t		bits;
	const uint8_t *tiles;		/* [K / 8][16][4], with 8 bits [K / 4][16][4] */
	EmbScaleType scale_type;
	const void *scales;			/* [n_scales][16] */
	const uint8_t *zeros;		/* [n_scales][16]; NULL with 8 bits */
	int32_t		n_scales;
	int32_t		group;			/* inputs */
	int32_t		n_in;
	int32_t		n_rows;
} GroupPanel;

/* The code of input k in its byte. */
static int32_t
code_at(const GroupPanel *p, int32_t k, const uint8_t *byte)
{
	return p->bits == 8 ? (int8_t) *byte : *byte >> (k % 8 < 4 ? 0 : 4) & 15;
}

/*
 * Sums of codes of one group, for all 16 rows; false if a code of the padding
 * is not zero. k is the first input, and a multiple of 8.
 */
static bool
sum_group(const GroupPanel *p, int32_t k, int32_t end, int32_t sums[EMB_PANEL])
{
	int32_t		padding = 0;

	memset(sums, 0, EMB_PANEL * sizeof(int32_t));
	for (; k < end; k++)
	{
		const uint8_t *bytes = p->tiles + (size_t) (k * p->bits / 32) * EMB_PANEL * 4 + k % 4;

		for (int32_t r = 0; r < EMB_PANEL; r++)
		{
			int32_t		code = code_at(p, k, bytes + r * 4);

			if (r < p->n_rows && k < p->n_in)
				sums[r] += code;
			else
				padding |= code;
		}
	}
	return padding == 0;
}

/*
 * The sums as emb_pack_group_sum defines them. False: a code, scale or zero of the
 * padding is not zero, or a zero is no code.
 */
static bool
sum_group_panel(const GroupPanel *p, float sums[EMB_PANEL])
{
	int32_t		k_padded = (int32_t) emb_pack_i8_padded(p->n_in);
	bool		ok = true;

	memset(sums, 0, EMB_PANEL * sizeof(float));
	for (int32_t g = 0; g < p->n_scales; g++)
	{
		int32_t		k = g * p->group;
		int32_t		n_real = k >= p->n_in ? 0 : p->n_in - k < p->group ? p->n_in - k : p->group;
		int32_t		codes[EMB_PANEL];

		ok &= sum_group(p, k, k + p->group < k_padded ? k + p->group : k_padded, codes);
		for (int32_t r = 0; r < EMB_PANEL; r++)
		{
			float		scale = emb_scale_at(p->scales, p->scale_type, g * EMB_PANEL + r);
			uint8_t		zero = p->zeros != NULL ? p->zeros[g * EMB_PANEL + r] : 0;

			ok &= zero <= 15 && ((r < p->n_rows && n_real > 0) || (zero == 0 && scale == 0));
			if (n_real > 0)
				sums[r] = fmaf((float) (codes[r] - zero * n_real), scale, sums[r]);
		}
	}
	return ok;
}

static EmbStatus
check_group_tiles(const EmbImageView *view, const EmbImageTensor *t, const EmbStop *stop, EmbError *err)
{
	const EmbImageTensor *scales = emb_image_find(view, t->key.layer, t->key.part, EMB_TENSOR_GROUP_SCALE);
	const EmbImageTensor *zeros = emb_image_find(view, t->key.layer, t->key.part, EMB_TENSOR_GROUP_ZERO);
	const EmbImageTensor *sums = emb_image_find(view, t->key.layer, t->key.part, EMB_TENSOR_SUMS);
	const float *expected = (const float *) (view->base + sums->offset);
	int32_t		bits = t->form == EMB_FORM_TILES_I4 ? 4 : 8;
	size_t		panel_bytes = emb_pack_i8_bytes(EMB_PANEL, (int32_t) t->n_cols) * bits / 8;
	int32_t		group = emb_image_kernel_group(view->config);
	EmbScaleType scale_type = (EmbScaleType) view->config->scale_type;
	char		name[128];

	for (uint32_t row = 0; row < t->n_rows; row += EMB_PANEL)
	{
		size_t		at = (size_t) row * scales->n_cols;
		GroupPanel	panel = {
			.bits = bits,
			.tiles = view->base + t->offset + row / EMB_PANEL * panel_bytes,
			.scale_type = scale_type,
			.scales = view->base + scales->offset + at * emb_scale_bytes(scale_type),
			.zeros = zeros != NULL ? view->base + zeros->offset + at : NULL,
			.n_scales = (int32_t) scales->n_cols,
			.group = group == 0 ? (int32_t) emb_pack_i8_padded((int32_t) t->n_cols) : group,
			.n_in = (int32_t) t->n_cols,
			.n_rows = (int32_t) (t->n_rows - row < EMB_PANEL ? t->n_rows - row : EMB_PANEL)
		};
		float		found[EMB_PANEL];

		if (emb_should_stop(stop))
			return emb_error(err, EMB_ERR_CANCELLED, "cancelled while checking an image");
		if (!sum_group_panel(&panel, found))
			return bits == 8 ? padding_error(t, err)
				: emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s has a zero above 15, or padding that is not zero",
							emb_tensor_name(t->key, name, sizeof(name)));
		for (int32_t r = 0; r < panel.n_rows; r++)
		{
			if (found[r] != expected[row + r])
				return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s is not the sum of its weights",
								 emb_tensor_name(sums->key, name, sizeof(name)));
		}
	}
	return EMB_OK;
}

/* An order names every input once. */
static EmbStatus
check_order(const EmbImageTensor *t, const uint16_t *order, EmbError *err)
{
	uint8_t		seen[65536 / 8] = {0};
	char		name[128];

	for (uint32_t i = 0; i < t->n_cols; i++)
	{
		uint32_t	input = order[i];

		if (input >= t->n_cols || (seen[input / 8] & 1 << input % 8) != 0)
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s is no order of %u inputs",
							 emb_tensor_name(t->key, name, sizeof(name)), t->n_cols);
		seen[input / 8] |= (uint8_t) (1 << input % 8);
	}
	return EMB_OK;
}

static EmbStatus
check_tensor(const EmbImageView *view, const EmbImageTensor *t, const EmbStop *stop, EmbError *err)
{
	const uint8_t *data = view->base + t->offset;
	uint64_t	end = emb_image_align(t->offset + t->size_bytes);
	bool		padding_ok = emb_image_is_zero(data + t->size_bytes, end - t->offset - t->size_bytes);
	EmbStatus	status = EMB_OK;

	switch (t->form)
	{
		case EMB_FORM_VECTOR_F32:
		case EMB_FORM_VECTOR_I32:
			padding_ok &= emb_image_is_zero(data + (uint64_t) t->n_cols * sizeof(float), t->size_bytes - (uint64_t) t->n_cols * sizeof(float));
			break;
		case EMB_FORM_PANELS_F32:
			padding_ok &= panel_padding_is_zero(t, data);
			break;
		case EMB_FORM_TILES_I8:
			status = check_tiles(view, t, stop, err);
			break;
		case EMB_FORM_TILES_I4:
		case EMB_FORM_GROUP_TILES_I8:
			status = check_group_tiles(view, t, stop, err);
			break;
		case EMB_FORM_VECTOR_U16:
			status = check_order(t, (const uint16_t *) data, err);
			padding_ok &= emb_image_is_zero(data + (uint64_t) t->n_cols * sizeof(uint16_t), t->size_bytes - (uint64_t) t->n_cols * sizeof(uint16_t));
			break;
	}
	if (t->form == EMB_FORM_ROWS_F32 || t->form == EMB_FORM_PANELS_F32 || t->form == EMB_FORM_VECTOR_F32 ||
		t->form == EMB_FORM_GROUPS_F32)
		status = check_floats(t, data, stop, err);
	if (t->form == EMB_FORM_GROUPS_F16 || t->form == EMB_FORM_GROUPS_BF16)
		status = check_halves(t, data, stop, err);
	if (status == EMB_OK && !padding_ok)
		status = padding_error(t, err);
	return status;
}

/* Ids ascend, so that they can be searched. Floats hold all ids exactly. */
static EmbStatus
check_skipped(const EmbImageView *view, const EmbImageTensor *t, EmbError *err)
{
	const float *ids = (const float *) (view->base + t->offset);
	char		name[128];

	for (uint32_t i = 0; i < t->n_cols; i++)
	{
		/* a NaN compares false */
		if (!(ids[i] >= 0 && ids[i] < view->arch->n_vocab) || ids[i] != (float) (int32_t) ids[i] || (i > 0 && ids[i] <= ids[i - 1]))
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s is no ascending list of ids",
							 emb_tensor_name(t->key, name, sizeof(name)));
	}
	return EMB_OK;
}

/* Checks what SQL results may show or compute with. */
static EmbStatus
check_reference_values(const EmbImageView *view, EmbError *err)
{
	const EmbImageReferences *refs = view->references;
	const EmbImageReference *entries = (const EmbImageReference *) (refs + 1);
	const uint8_t *base = (const uint8_t *) refs;
	uint64_t	vectors = emb_image_reference_vectors(refs->n_references);
	uint32_t	width = emb_image_width(view->arch, view->config);
	uint64_t	texts = emb_image_reference_texts(refs->n_references, width);
	uint64_t	entries_end = sizeof(*refs) + (uint64_t) refs->n_references * sizeof(*entries);
	uint64_t	n_floats = (uint64_t) refs->n_references * width;
	const uint8_t *text = base + texts;

	if (!emb_image_is_zero(base + entries_end, vectors - entries_end))
		return emb_error(err, EMB_ERR_FORMAT, "the padding of the image's reference section is not zero");
	if (!all_finite((const uint32_t *) (base + vectors), n_floats))
		return emb_error(err, EMB_ERR_FORMAT, "a reference vector of the image is not finite");
	for (uint32_t i = 0; i < refs->n_references; text += entries[i++].text_bytes)
	{
		uint32_t	query_bytes = entries[i].query_bytes;

		if (query_bytes > (view->arch->head != EMB_HEAD_NONE ? entries[i].text_bytes : 0))
			return emb_error(err, EMB_ERR_FORMAT, "reference %u of the image is corrupt", i + 1);
		if (!emb_utf8_is_text(text, query_bytes) || !emb_utf8_is_text(text + query_bytes, entries[i].text_bytes - query_bytes))
			return emb_error(err, EMB_ERR_FORMAT, "reference text %u of the image is not UTF-8", i + 1);
		if (!(entries[i].closeness >= -1 && entries[i].closeness <= 1) ||
			!(entries[i].sparse_closeness >= -1 && entries[i].sparse_closeness <= 1) ||
			!(entries[i].multi_closeness >= -1 && entries[i].multi_closeness <= 1) ||
			!emb_image_is_zero(entries[i].reserved, sizeof(entries[i].reserved)) ||
			entries[i].n_tokens > emb_image_sequence_tokens(view->arch, view->config))
			return emb_error(err, EMB_ERR_FORMAT, "reference %u of the image is corrupt", i + 1);
	}
	return EMB_OK;
}

EmbStatus
emb_image_check_weights(const EmbImageView *view, const EmbStop *stop, EmbError *err)
{
	uint64_t	end = sizeof(EmbImageHeader) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection);

	/*
	 * The checksum covers the padding before the tokenizer, but a forged image
	 * may fit its checksum.
	 */
	for (int i = 0; i <= EMB_IMAGE_N_SECTIONS; i++)
	{
		uint64_t	begin = i < EMB_IMAGE_N_SECTIONS ? view->sections[i].offset : view->size_bytes;

		if (!emb_image_is_zero(view->base + end, begin - end))
			return emb_error(err, EMB_ERR_FORMAT, "the padding before byte %llu of the image is not zero",
							 (unsigned long long) begin);
		if (i < EMB_IMAGE_N_SECTIONS)
			end = begin + view->sections[i].size_bytes;
	}
	for (uint32_t i = 0; i < view->n_tensors; i++)
	{
		EmbStatus	status = check_tensor(view, &view->tensors[i], stop, err);

		if (status == EMB_OK && view->tensors[i].key.part == EMB_PART_SKIPPED)
			status = check_skipped(view, &view->tensors[i], err);
		if (status != EMB_OK)
			return status;
	}
	return check_reference_values(view, err);
}
