/*
 * quant_read.c
 *		Reads layers that are stored as codes.
 *
 * Layouts GPTQ and AWQ store a layer transposed, so that 16 outputs are spread
 * over all of the tensor. A reader therefore unpacks stripes: some 4 MB of
 * codes, [outputs, inputs], with the scales, zero points and groups that go
 * with them. It keeps a few stripes, because an image may take its panels from
 * two layers in turn.
 */
#include "import/quantized.h"

#include <math.h>
#include <string.h>

#include "formats/packed_ints.h"

#define STRIPE_BYTES		(4 * 1024 * 1024)
#define STRIPE_ROWS			16	/* a multiple of the fields of a word */
#define READS_PER_ASK		32	/* of a few hundred bytes, or a row of 64 kB */
#define ZERO_ROWS			4096	/* whose zero points are read at a time */

/* bitsandbytes multiplies by this for 1 / 127. */
#define LLM_INT8_FACTOR		0.007874015718698502f

/* The groups of a layer's inputs. */
typedef struct Groups
{
	uint16_t   *group_of;		/* [n_in]; owned, with the other two */
	uint16_t   *place_of;		/* [n_groups]: its rank by first input; a shorter group is last */
	uint16_t   *order;			/* [n_in]: see emb_checkpoint_read_order */
	int32_t		group;			/* inputs of the largest group */
	bool		is_even;		/* of every group, but for the rest in one */
	bool		has_order;
} Groups;

typedef struct EmbQuantStripe
{
	const EmbTensor *weight;
	int64_t		first,			/* outputs first .. first + n - 1 */
				n;
	int64_t		stride;			/* codes of an output, padding included */
	uint64_t	used;
	uint8_t    *codes;			/* [n, stride] */
	float	   *scales;			/* [n_groups, n] */
	uint8_t    *zeros;			/* [n_groups, n] */
	Groups		groups;
} Stripe;

static EmbStatus
ask_stop(const EmbQuantReader *r, EmbError *err)
{
	return emb_should_stop(r->set->stop) ? emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled") : EMB_OK;
}

/* ------------------------------------------------------------------ groups */

static void
release_groups(const EmbQuantReader *r, Groups *g)
{
	emb_release(r->mem, g->group_of);
	*g = (Groups) {0};
}

/* Fills group_of from g_idx; *is_given is false if the file has placeholders only. */
static EmbStatus
read_group_of(const EmbQuantReader *r, const EmbQuantLayer *layer, Groups *g, bool *is_given, EmbError *err)
{
	int32_t    *idx = emb_alloc_array(r->mem, layer->n_in, sizeof(int32_t));
	EmbStatus	status;

	*is_given = true;
	if (idx == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the groups of %d inputs", layer->n_in);
	status = emb_tensors_read_raw(r->set, layer->groups, 0, layer->n_in, idx, err);
	for (int32_t i = 0; status == EMB_OK && *is_given && i < layer->n_in; i++)
	{
		int64_t		group = idx[i];

		/* compressed-tensors: -1 is what the tensor begins with, and stays if no order was set */
		if (group < 0 && layer->layout != EMB_LAYOUT_GPTQ)
			*is_given = group != -1;
		else if (group < 0)
			group += layer->n_groups;
		if (*is_given && (group < 0 || group >= layer->n_groups))
			status = emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has group %d for input %d, but \"%s\" has %d groups", layer->groups->name,
							   idx[i], i, layer->scales->name, layer->n_groups);
		else
			g->group_of[i] = (uint16_t) group;
	}
	emb_release(r->mem, idx);
	return status;
}

/*
 * Whether all groups have equal sizes, the layer's if it is known, except one
 * that has the rest: *shorter is its number, or -1. compressed-tensors sorts by
 * number and cuts, so that only its last group can be shorter.
 */
static bool
are_even(const EmbQuantLayer *layer, int32_t group, const int32_t *counts, int32_t *shorter)
{
	*shorter = -1;
	for (int32_t k = 0; k < layer->n_groups; k++)
	{
		if (counts[k] == group)
			continue;
		if (*shorter >= 0 || counts[k] == 0)
			return false;
		*shorter = k;
	}
	if (*shorter >= 0 && *shorter != layer->n_groups - 1 && layer->layout != EMB_LAYOUT_GPTQ)
		return false;
	return layer->guesses_group || group == layer->group;
}

/* Ranks the groups by first input, sorts the inputs by rank. counts: [n_groups], zeros. */
static void
sort_inputs(const EmbQuantLayer *layer, Groups *g, int32_t *counts)
{
	int32_t		n_ranked = 0;
	int32_t		shorter;

	for (int32_t i = 0; i < layer->n_in; i++)
		counts[g->group_of[i]]++;
	for (int32_t k = 0; k < layer->n_groups; k++)
		g->group = counts[k] > g->group ? counts[k] : g->group;
	g->is_even = are_even(layer, g->group, counts, &shorter);
	if (!g->is_even)
		return;
	memset(counts, 0, layer->n_groups * sizeof(int32_t));
	for (int32_t i = 0; i < layer->n_in; i++)
	{
		uint16_t	group = g->group_of[i];

		if (counts[group] == 0)
			g->place_of[group] = (uint16_t) (group == shorter ? layer->n_groups - 1 : n_ranked++);
		g->order[(int64_t) g->place_of[group] * g->group + counts[group]++] = (uint16_t) i;
	}
	for (int32_t i = 0; i < layer->n_in; i++)
		g->has_order = g->has_order || g->order[i] != i;
}

static EmbStatus
read_groups(const EmbQuantReader *r, const EmbQuantLayer *layer, Groups *g, EmbError *err)
{
	int32_t    *counts = emb_alloc_zero(r->mem, layer->n_groups, sizeof(int32_t));
	bool		is_given = layer->groups != NULL;
	EmbStatus	status = EMB_OK;

	*g = (Groups) {.group_of = emb_alloc_zero(r->mem, 2 * (size_t) layer->n_in + layer->n_groups, sizeof(uint16_t))};
	if (g->group_of == NULL || counts == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for the groups of %d inputs", layer->n_in);
	else
	{
		g->order = g->group_of + layer->n_in;
		g->place_of = g->order + layer->n_in;
		if (is_given)
			status = read_group_of(r, layer, g, &is_given, err);
		for (int32_t i = 0; !is_given && i < layer->n_in; i++)
			g->group_of[i] = (uint16_t) (i / layer->group);
		if (status == EMB_OK)
			sort_inputs(layer, g, counts);
	}
	/* compressed-tensors takes groups of equal size whatever the numbers say */
	if (status == EMB_OK && is_given && !g->is_even && layer->layout != EMB_LAYOUT_GPTQ)
		status = emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" does not give %d inputs to each of %d groups", layer->groups->name,
						   layer->group, layer->n_groups);
	emb_release(r->mem, counts);
	if (status != EMB_OK)
		release_groups(r, g);
	return status;
}

EmbStatus
emb_quant_check(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t n_out, EmbError *err)
{
	Groups		g;
	EmbStatus	status;

	if (layer->n_out != n_out)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %d outputs, but config.json requires %lld", layer->weight->name,
						 layer->n_out, (long long) n_out);
	if (layer->groups == NULL)
		return EMB_OK;
	status = read_groups(r, layer, &g, err);
	if (status == EMB_OK)
		release_groups(r, &g);
	return status;
}

/* ----------------------------------------------------------------- stripes */

/* Words first .. first + n - 1 of rows row .. row + n_rows - 1, each of row_words. */
static EmbStatus
read_words(const EmbQuantReader *r, const EmbTensor *t, int64_t row, int64_t n_rows, int64_t row_words, int64_t first, int64_t n,
		   uint32_t *out, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	if (n == row_words)
	{
		status = ask_stop(r, err);
		return status == EMB_OK ? emb_tensors_read_raw(r->set, t, row * n, n_rows * n, out, err) : status;
	}
	for (int64_t i = 0; status == EMB_OK && i < n_rows; i++)
	{
		status = i % READS_PER_ASK == 0 ? ask_stop(r, err) : EMB_OK;
		if (status == EMB_OK)
			status = emb_tensors_read_raw(r->set, t, (row + i) * row_words + first, n, out + i * n, err);
	}
	return status;
}

/* words [n_rows inputs, n_cols]: column i of codes and the following ones. */
static void
unpack_awq(const uint32_t *words, int64_t n_rows, int64_t n_cols, int64_t stride, uint8_t *codes)
{
	for (int64_t i = 0; i < n_rows; i++)
	{
		for (int64_t k = 0; k < n_cols; k++)
		{
			uint8_t		fields[8];

			emb_unpack_rows(words + i * n_cols + k, 1, 4, emb_awq_order, fields);
			for (int f = 0; f < 8; f++)
				codes[(k * 8 + f) * stride + i] = fields[f];
		}
	}
}

/* Layouts whose words of an output are spread over the tensor. */
static EmbStatus
read_transposed(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, int64_t stride, uint8_t *codes, EmbError *err)
{
	bool		is_awq = layer->layout == EMB_LAYOUT_AWQ;
	int			n_fields = 32 / layer->bits;
	int			row_inputs = is_awq ? 1 : n_fields;
	int			word_outputs = is_awq ? n_fields : 1;
	int64_t		n_rows = emb_divide_up(layer->n_in, row_inputs);
	int64_t		n_cols = n / word_outputs;
	uint32_t   *words = emb_alloc_array(r->mem, (size_t) (READS_PER_ASK * n_cols), sizeof(uint32_t));
	EmbStatus	status = EMB_OK;

	if (words == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %lld words of codes", (long long) (READS_PER_ASK * n_cols));
	for (int64_t row = 0; status == EMB_OK && row < n_rows; row += READS_PER_ASK)
	{
		int64_t		n_read = n_rows - row < READS_PER_ASK ? n_rows - row : READS_PER_ASK;

		status = read_words(r, layer->weight, row, n_read, layer->n_out / word_outputs, first / word_outputs, n_cols, words, err);
		if (status == EMB_OK && is_awq)
			unpack_awq(words, n_read, n_cols, stride, codes + row);
		else if (status == EMB_OK)
			emb_unpack_columns(words, n_read, n, layer->bits, stride, codes + row * n_fields);
	}
	emb_release(r->mem, words);
	return status;
}

/* Layouts of one output after the other. */
static EmbStatus
read_rows(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, int64_t stride, uint8_t *codes, EmbError *err)
{
	bool		is_packed = layer->layout == EMB_LAYOUT_PACKED;
	int64_t		n_words = stride * layer->bits / 32;	/* of an output */
	uint32_t   *words = is_packed ? emb_alloc_array(r->mem, (size_t) n_words, sizeof(uint32_t)) : NULL;
	EmbStatus	status = EMB_OK;

	if (is_packed && words == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %lld words of codes", (long long) n_words);
	for (int64_t k = 0; status == EMB_OK && k < n; k++)
	{
		uint8_t    *row = codes + k * stride;

		status = k % READS_PER_ASK == 0 ? ask_stop(r, err) : EMB_OK;
		if (status == EMB_OK)
			status = is_packed ? emb_tensors_read_raw(r->set, layer->weight, (first + k) * n_words, n_words, words, err)
				: emb_tensors_read_raw(r->set, layer->weight, (first + k) * layer->n_in, layer->n_in, row, err);
		if (status == EMB_OK && is_packed)
			emb_unpack_rows(words, n_words, layer->bits, NULL, row);
		for (int32_t i = 0; status == EMB_OK && !is_packed && i < layer->n_in; i++)
			row[i] ^= 0x80;
	}
	emb_release(r->mem, words);
	return status;
}

/*
 * Codes of outputs first .. first + n - 1: [n, stride]. Both are multiples of a
 * word's fields, except that n may end with the layer's last output.
 */
static EmbStatus
read_codes(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, int64_t stride, uint8_t *codes, EmbError *err)
{
	if (layer->layout == EMB_LAYOUT_GPTQ || layer->layout == EMB_LAYOUT_AWQ)
		return read_transposed(r, layer, first, n, stride, codes, err);
	return read_rows(r, layer, first, n, stride, codes, err);
}

static EmbStatus
check_scales(const EmbQuantLayer *layer, const float *scales, int64_t n, EmbError *err)
{
	for (int64_t i = 0; i < n; i++)
	{
		if (!(fabsf(scales[i]) <= EMB_QUANT_MAX_SCALE))
			return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has the scale %g, by which codes overflow", layer->scales->name, (double) scales[i]);
	}
	return EMB_OK;
}

/* Scales of outputs first .. first + n - 1: [n_groups, n] */
static EmbStatus
read_scales(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, float *scales, EmbError *err)
{
	int64_t		n_groups = layer->n_groups;
	int64_t		first_row = first / layer->rows_per_scale;
	int64_t		n_rows = (first + n - 1) / layer->rows_per_scale - first_row + 1;
	float	   *rows;
	EmbStatus	status = EMB_OK;

	if (!layer->scales_by_row)
	{
		for (int64_t g = 0; status == EMB_OK && g < n_groups; g++)
		{
			status = g % READS_PER_ASK == 0 ? ask_stop(r, err) : EMB_OK;
			if (status == EMB_OK)
				status = emb_tensors_read_f32(r->set, layer->scales, g * layer->n_out + first, n, scales + g * n, err);
		}
		return status == EMB_OK ? check_scales(layer, scales, n_groups * n, err) : status;
	}
	rows = emb_alloc_array(r->mem, (size_t) (n_rows * n_groups), sizeof(float));
	if (rows == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %lld scales", (long long) (n_rows * n_groups));
	status = emb_tensors_read_f32(r->set, layer->scales, first_row * n_groups, n_rows * n_groups, rows, err);
	if (status == EMB_OK)
		status = check_scales(layer, rows, n_rows * n_groups, err);
	for (int64_t k = 0; status == EMB_OK && k < n; k++)
	{
		const float *from = rows + ((first + k) / layer->rows_per_scale - first_row) * n_groups;

		for (int64_t g = 0; g < n_groups; g++)
			scales[g * n + k] = from[g];
	}
	emb_release(r->mem, rows);
	return status;
}

/* Signed bytes in the shape of the scales. */
static EmbStatus
read_byte_zeros(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, uint8_t *zeros, EmbError *err)
{
	int64_t		n_groups = layer->n_groups;
	int64_t		first_row = first / layer->rows_per_scale;
	int64_t		n_rows = (first + n - 1) / layer->rows_per_scale - first_row + 1;
	int			middle = 1 << (layer->bits - 1);
	int8_t	   *rows = emb_alloc_array(r->mem, (size_t) (n_rows * n_groups), 1);
	EmbStatus	status;

	if (rows == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %lld zero points", (long long) (n_rows * n_groups));
	status = emb_tensors_read_raw(r->set, layer->zeros, first_row * n_groups, n_rows * n_groups, rows, err);
	for (int64_t i = 0; status == EMB_OK && i < n_rows * n_groups; i++)
	{
		if (rows[i] < -middle || rows[i] >= middle)
			status = emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has the zero point %d, outside %d..%d", layer->zeros->name, rows[i], -middle, middle - 1);
	}
	for (int64_t k = 0; status == EMB_OK && k < n; k++)
	{
		const int8_t *from = rows + ((first + k) / layer->rows_per_scale - first_row) * n_groups;

		for (int64_t g = 0; g < n_groups; g++)
			zeros[g * n + k] = (uint8_t) (from[g] + middle);
	}
	emb_release(r->mem, rows);
	return status;
}

/* Words [n_groups, outputs / fields], or of compressed-tensors [outputs / fields, n_groups]. */
static EmbStatus
read_packed_zeros(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, uint8_t *zeros, EmbError *err)
{
	int			n_fields = 32 / layer->bits;
	int64_t		n_groups = layer->n_groups;
	int64_t		n_words = emb_divide_up(n, n_fields);
	int64_t		stride = n_words * n_fields;
	uint32_t	mask = (1u << layer->bits) - 1;
	uint32_t   *words = emb_alloc_array(r->mem, (size_t) (n_groups * n_words), sizeof(uint32_t));
	uint8_t    *fields = emb_alloc_array(r->mem, (size_t) (n_groups * stride), 1);
	EmbStatus	status;

	if (words == NULL || fields == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for %lld zero points", (long long) (n_groups * n));
	else if (layer->layout == EMB_LAYOUT_PACKED)
	{
		status = emb_tensors_read_raw(r->set, layer->zeros, first / n_fields * n_groups, n_words * n_groups, words, err);
		if (status == EMB_OK)
			emb_unpack_columns(words, n_words, n_groups, layer->bits, stride, fields);
	}
	else
	{
		status = read_words(r, layer->zeros, 0, n_groups, layer->n_out / n_fields, first / n_fields, n_words, words, err);
		if (status == EMB_OK)
			emb_unpack_rows(words, n_groups * n_words, layer->bits, layer->layout == EMB_LAYOUT_AWQ ? emb_awq_order : NULL, fields);
	}
	for (int64_t g = 0; status == EMB_OK && g < n_groups; g++)
	{
		/* one more modulo the field: 15 is 0 */
		for (int64_t k = 0; k < n; k++)
			zeros[g * n + k] = (uint8_t) ((fields[g * stride + k] + layer->is_less_one) & mask);
	}
	emb_release(r->mem, words);
	emb_release(r->mem, fields);
	return status;
}

/*
 * Zero points of outputs first .. first + n - 1: [n_groups, n]. first is a
 * multiple of a word's fields.
 */
static EmbStatus
read_zeros(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, uint8_t *zeros, EmbError *err)
{
	if (layer->zeros == NULL)
	{
		memset(zeros, 1 << (layer->bits - 1), (size_t) (layer->n_groups * n));
		return EMB_OK;
	}
	return layer->zeros_are_packed ? read_packed_zeros(r, layer, first, n, zeros, err) : read_byte_zeros(r, layer, first, n, zeros, err);
}

static void
release_stripe(const EmbQuantReader *r, Stripe *s)
{
	if (s == NULL)
		return;
	emb_release(r->mem, s->codes);
	emb_release(r->mem, s->scales);
	emb_release(r->mem, s->zeros);
	release_groups(r, &s->groups);
	emb_release(r->mem, s);
}

static EmbStatus
fill_stripe(const EmbQuantReader *r, const EmbQuantLayer *layer, Stripe *s, EmbError *err)
{
	size_t		n_params = (size_t) (layer->n_groups * s->n);
	EmbStatus	status;

	s->codes = emb_alloc_array(r->mem, (size_t) s->n, (size_t) s->stride);
	s->scales = emb_alloc_array(r->mem, n_params, sizeof(float));
	s->zeros = emb_alloc_array(r->mem, n_params, 1);
	if (s->codes == NULL || s->scales == NULL || s->zeros == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the codes of %lld rows", (long long) s->n);
	if ((status = ask_stop(r, err)) != EMB_OK ||
		(status = read_groups(r, layer, &s->groups, err)) != EMB_OK ||
		(status = read_codes(r, layer, s->first, s->n, s->stride, s->codes, err)) != EMB_OK ||
		(status = read_scales(r, layer, s->first, s->n, s->scales, err)) != EMB_OK)
		return status;
	return read_zeros(r, layer, s->first, s->n, s->zeros, err);
}

/* Outputs of a stripe. All stripes but a layer's last have as many. */
static int64_t
stripe_rows(const EmbQuantLayer *layer)
{
	int64_t		row_bytes = layer->n_in + layer->n_groups * (int64_t) (sizeof(float) + 1);
	int64_t		n = STRIPE_BYTES / row_bytes / STRIPE_ROWS * STRIPE_ROWS;

	return n > STRIPE_ROWS ? n : STRIPE_ROWS;
}

/* The stripe that holds an output. It stays valid until the next call. */
static EmbStatus
find_stripe(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, const Stripe **found, EmbError *err)
{
	int64_t		n = stripe_rows(layer);
	int			oldest = 0;
	Stripe	   *s;
	EmbStatus	status;

	r->n_uses++;
	for (int i = 0; i < EMB_QUANT_STRIPES; i++)
	{
		s = r->stripes[i];
		if (s != NULL && s->weight == layer->weight && row >= s->first && row < s->first + s->n)
		{
			s->used = r->n_uses;
			*found = s;
			return EMB_OK;
		}
		if (r->stripes[oldest] != NULL && (s == NULL || s->used < r->stripes[oldest]->used))
			oldest = i;
	}
	release_stripe(r, r->stripes[oldest]);
	r->stripes[oldest] = NULL;
	s = emb_alloc_zero(r->mem, 1, sizeof(*s));
	if (s == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the codes of %lld rows", (long long) n);
	s->weight = layer->weight;
	s->used = r->n_uses;
	s->first = row / n * n;
	s->n = layer->n_out - s->first < n ? layer->n_out - s->first : n;
	s->stride = layer->layout == EMB_LAYOUT_BYTES ? layer->n_in : emb_divide_up(layer->n_in, 32 / layer->bits) * (32 / layer->bits);
	status = fill_stripe(r, layer, s, err);
	if (status != EMB_OK)
	{
		release_stripe(r, s);
		return status;
	}
	*found = r->stripes[oldest] = s;
	return EMB_OK;
}

void
emb_quant_close(EmbQuantReader *r)
{
	for (int i = 0; i < EMB_QUANT_STRIPES; i++)
	{
		release_stripe(r, r->stripes[i]);
		r->stripes[i] = NULL;
	}
}

/* ------------------------------------------------------------------ floats */

static EmbStatus
check_rows(const EmbQuantLayer *layer, int64_t row, int64_t n, EmbError *err)
{
	if (row < 0 || n < 0 || row > layer->n_out || n > layer->n_out - row)
		return emb_error(err, EMB_ERR_INTERNAL, "rows %lld + %lld of tensor \"%s\", which has %d", (long long) row, (long long) n,
						 layer->weight->name, layer->n_out);
	return EMB_OK;
}

static EmbStatus
check_finite(const EmbQuantLayer *layer, const float *x, int64_t n, EmbError *err)
{
	for (int64_t i = 0; i < n; i++)
	{
		if (!isfinite(x[i]))
			return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has a scale by which codes overflow", layer->weight->name);
	}
	return EMB_OK;
}

static void
dequantize(const EmbQuantLayer *layer, const Stripe *s, int64_t k, float *row)
{
	const uint8_t *codes = s->codes + k * s->stride;

	for (int32_t i = 0; i < layer->n_in; i++)
	{
		int64_t		at = s->groups.group_of[i] * s->n + k;

		row[i] = (float) (codes[i] - s->zeros[at]) * s->scales[at];
	}
}

/* LLM.int8(): code * scale / 127, by a factor as in bitsandbytes. */
static EmbStatus
read_llm_int8(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n, float *rows, EmbError *err)
{
	for (int64_t k = 0; k < n; k++)
	{
		float	   *to = rows + k * layer->n_in;
		int8_t	   *codes = (int8_t *) to + (size_t) layer->n_in * 3;	/* widened from the front */
		float		scale;
		EmbStatus	status = emb_tensors_read_f32(r->set, layer->scales, row + k, 1, &scale, err);

		if (status == EMB_OK)
			status = check_scales(layer, &scale, 1, err);
		if (status == EMB_OK)
			status = emb_tensors_read_raw(r->set, layer->weight, (row + k) * layer->n_in, layer->n_in, codes, err);
		if (status != EMB_OK)
			return status;
		for (int32_t i = 0; i < layer->n_in; i++)
		{
			float		x = codes[i];

			x = x * scale;
			to[i] = x * LLM_INT8_FACTOR;
		}
	}
	return EMB_OK;
}

/* Elements of a piece of blocks: at most 257 scales, 10 nested ones. */
#define PIECE			8192
#define PIECE_SCALES	(PIECE / 32 + 1)
#define PIECE_NESTED	(PIECE_SCALES / 32 + 2)

/* The scales of blocks first .. first + n - 1; map: [256], if they are quantized. */
static EmbStatus
read_block_scales(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, const float *map, float *scales, EmbError *err)
{
	uint8_t		codes[PIECE_SCALES];
	float		nested[PIECE_NESTED];
	int64_t		first_nested;
	int64_t		n_nested;
	EmbStatus	status;

	if (layer->nested_scales == NULL)
		return emb_tensors_read_f32(r->set, layer->scales, first, n, scales, err);
	first_nested = first / layer->nested_group;
	n_nested = (first + n - 1) / layer->nested_group - first_nested + 1;
	status = emb_tensors_read_raw(r->set, layer->scales, first, n, codes, err);
	if (status == EMB_OK)
		status = emb_tensors_read_f32(r->set, layer->nested_scales, first_nested, n_nested, nested, err);
	for (int64_t i = 0; status == EMB_OK && i < n; i++)
	{
		float		scale = map[codes[i]] * nested[(first + i) / layer->nested_group - first_nested];

		scales[i] = scale + layer->nested_offset;
	}
	return status;
}

/* Elements first .. first + n - 1, n at most PIECE, of the matrix row after row. */
static EmbStatus
read_piece(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t first, int64_t n, const float *map, const float *nested_map,
		   float *out, EmbError *err)
{
	uint8_t		bytes[PIECE / 2 + 1];
	float		scales[PIECE_SCALES];
	int64_t		first_block = first / layer->group;
	int64_t		n_blocks = (first + n - 1) / layer->group - first_block + 1;
	EmbStatus	status = emb_tensors_read_raw(r->set, layer->weight, first / 2, (first + n - 1) / 2 - first / 2 + 1, bytes, err);

	if (status == EMB_OK)
		status = read_block_scales(r, layer, first_block, n_blocks, nested_map, scales, err);
	for (int64_t i = 0; status == EMB_OK && i < n; i++)
	{
		uint8_t		byte = bytes[(first + i) / 2 - first / 2];

		/* the even element is in the upper half */
		out[i] = map[(first + i) % 2 == 0 ? byte >> 4 : byte & 15] * scales[(first + i) / layer->group - first_block];
	}
	return status == EMB_OK ? check_finite(layer, out, n, err) : status;
}

static EmbStatus
read_nibbles(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n, float *rows, EmbError *err)
{
	float		map[16];
	float		nested_map[256];
	int64_t		first = row * layer->n_in;
	int64_t		n_elems = n * layer->n_in;
	EmbStatus	status = emb_tensors_read_f32(r->set, layer->map, 0, 16, map, err);

	if (status == EMB_OK && layer->nested_map != NULL)
		status = emb_tensors_read_f32(r->set, layer->nested_map, 0, 256, nested_map, err);
	for (int64_t at = 0; status == EMB_OK && at < n_elems; at += PIECE)
	{
		int64_t		n_piece = n_elems - at < PIECE ? n_elems - at : PIECE;

		status = at / PIECE % READS_PER_ASK == 0 ? ask_stop(r, err) : EMB_OK;
		if (status == EMB_OK)
			status = read_piece(r, layer, first + at, n_piece, map, nested_map, rows + at, err);
	}
	return status;
}

EmbStatus
emb_quant_read(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n, float *rows, EmbError *err)
{
	EmbStatus	status = check_rows(layer, row, n, err);

	if (status != EMB_OK)
		return status;
	if (layer->layout == EMB_LAYOUT_NIBBLES)
		return read_nibbles(r, layer, row, n, rows, err);
	if (layer->layout == EMB_LAYOUT_LLM_INT8)
		return read_llm_int8(r, layer, row, n, rows, err);
	for (int64_t k = 0; k < n; k++)
	{
		const Stripe *s;

		status = find_stripe(r, layer, row + k, &s, err);
		if (status != EMB_OK)
			return status;
		dequantize(layer, s, row + k - s->first, rows + k * layer->n_in);
	}
	return EMB_OK;
}

/* ------------------------------------------------------------------- codes */

/* Whether all zero points of rows row .. row + n - 1 are one. */
static EmbStatus
find_zero(const EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n, int32_t *zero, EmbError *err)
{
	int64_t		step = STRIPE_BYTES / 4 / layer->n_groups / STRIPE_ROWS * STRIPE_ROWS;
	uint8_t    *zeros;
	EmbStatus	status = EMB_OK;

	step = step < STRIPE_ROWS ? STRIPE_ROWS : step > ZERO_ROWS ? ZERO_ROWS : step;
	zeros = emb_alloc_array(r->mem, (size_t) (step * layer->n_groups), 1);
	if (zeros == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %lld zero points", (long long) (step * layer->n_groups));
	*zero = -2;
	for (int64_t first = row / STRIPE_ROWS * STRIPE_ROWS; status == EMB_OK && *zero != -1 && first < row + n; first += step)
	{
		int64_t		n_rows = row + n - first < step ? row + n - first : step;

		status = ask_stop(r, err);
		if (status == EMB_OK)
			status = read_zeros(r, layer, first, n_rows, zeros, err);
		for (int64_t i = 0; status == EMB_OK && *zero != -1 && i < n_rows * layer->n_groups; i++)
		{
			if (first + i % n_rows < row)
				continue;
			if (*zero == -2)
				*zero = zeros[i];
			else if (*zero != zeros[i])
				*zero = -1;
		}
	}
	emb_release(r->mem, zeros);
	return status;
}

static EmbScaleType
scale_type(const EmbQuantLayer *layer)
{
	switch (layer->scales->dtype)
	{
		case EMB_DTYPE_F16:
			return EMB_SCALE_F16;
		case EMB_DTYPE_BF16:
			return EMB_SCALE_BF16;
		default:
			return EMB_SCALE_F32;
	}
}

EmbStatus
emb_quant_codes(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n, EmbCodes *codes, EmbError *err)
{
	Groups		g;
	EmbStatus	status = check_rows(layer, row, n, err);

	*codes = (EmbCodes) {.zero = -1};
	if (status != EMB_OK)
		return status;
	if (layer->layout == EMB_LAYOUT_NIBBLES || layer->layout == EMB_LAYOUT_LLM_INT8)
	{
		codes->reason = "bitsandbytes' values are no multiples of a scale";
		return EMB_OK;
	}
	if ((status = read_groups(r, layer, &g, err)) != EMB_OK)
		return status;
	if (!g.is_even)
		codes->reason = "its groups of inputs have different sizes";
	else
	{
		codes->bits = layer->bits;
		codes->group = g.group;
		codes->n_groups = layer->n_groups;
		codes->has_order = g.has_order;
		codes->scale_type = scale_type(layer);
		status = find_zero(r, layer, row, n, &codes->zero, err);
	}
	release_groups(r, &g);
	return status;
}

static EmbStatus
check_even(const EmbQuantLayer *layer, const Groups *g, EmbError *err)
{
	if (!g->is_even)
		return emb_error(err, EMB_ERR_INTERNAL, "tensor \"%s\" has groups of different sizes, which have no order", layer->weight->name);
	return EMB_OK;
}

EmbStatus
emb_quant_read_order(EmbQuantReader *r, const EmbQuantLayer *layer, uint16_t *order, EmbError *err)
{
	Groups		g;
	EmbStatus	status = read_groups(r, layer, &g, err);

	if (status != EMB_OK)
		return status;
	status = check_even(layer, &g, err);
	if (status == EMB_OK)
		memcpy(order, g.order, layer->n_in * sizeof(uint16_t));
	release_groups(r, &g);
	return status;
}

EmbStatus
emb_quant_read_codes(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n,
					 uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err)
{
	EmbStatus	status = check_rows(layer, row, n, err);

	for (int64_t k = 0; status == EMB_OK && k < n; k++)
	{
		const Stripe *s;
		const uint8_t *from;
		uint8_t    *to = codes + k * layer->n_in;
		int64_t		at;

		if ((status = find_stripe(r, layer, row + k, &s, err)) != EMB_OK ||
			(status = check_even(layer, &s->groups, err)) != EMB_OK)
			return status;
		at = row + k - s->first;
		from = s->codes + at * s->stride;
		for (int32_t i = 0; i < layer->n_in; i++)
			to[i] = from[s->groups.order[i]];
		for (int32_t g = 0; g < layer->n_groups; g++)
		{
			scales[s->groups.place_of[g] * n + k] = s->scales[g * s->n + at];
			zeros[s->groups.place_of[g] * n + k] = s->zeros[g * s->n + at];
		}
	}
	return status;
}
