/*
 * quantized.c
 *		Finds the tensors of layers that are stored as codes, and checks that
 *		they fit each other; quant_read.c reads them.
 *
 * Sources of the layouts: GPTQModel (qlinear), AutoAWQ (packing_utils, WQLinear
 * GEMM), compressed-tensors (pack_quantized), bitsandbytes (functional).
 */
#include "import/quantized.h"

#include <stdio.h>
#include <string.h>

#include "common/arch.h"

#define NAME_BYTES			(EMB_TENSORS_MAX_NAME + 64)
#define MAX_STATE_BYTES		4096	/* of bitsandbytes' JSON, which has some 200 */

/* ------------------------------------------------------------------ shapes */

/* EMB_ERR_FORMAT: "tensor has shape [..], but [..] is needed" */
static EmbStatus
bad_shape(const EmbTensor *t, int64_t n_rows, int64_t n_cols, const EmbTensor *for_tensor, EmbError *err)
{
	char		shape[EMB_TENSORS_MAX_RANK * 22] = "";
	char		want[64];
	size_t		at = 0;

	for (int i = 0; i < t->rank; i++)
		at += snprintf(shape + at, sizeof(shape) - at, "%s%lld", i > 0 ? ", " : "", (long long) t->shape[i]);
	if (n_cols >= 0)
		snprintf(want, sizeof(want), "[%lld, %lld]", (long long) n_rows, (long long) n_cols);
	else
		snprintf(want, sizeof(want), "[%lld]", (long long) n_rows);
	return for_tensor != NULL
		? emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but \"%s\" requires %s", t->name, shape, for_tensor->name, want)
		: emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json requires %s", t->name, shape, want);
}

static bool
is_matrix(const EmbTensor *t, int64_t n_rows, int64_t n_cols)
{
	return t->rank == 2 && t->shape[0] == n_rows && t->shape[1] == n_cols;
}

static EmbStatus
check_matrix(const EmbTensor *t, int64_t n_rows, int64_t n_cols, const EmbTensor *for_tensor, EmbError *err)
{
	return is_matrix(t, n_rows, n_cols) ? EMB_OK : bad_shape(t, n_rows, n_cols, for_tensor, err);
}

/* Of n_elems elements in any shape. */
static EmbStatus
check_length(const EmbTensor *t, int64_t n_elems, const EmbTensor *for_tensor, EmbError *err)
{
	return t->n_elems == n_elems ? EMB_OK : bad_shape(t, n_elems, -1, for_tensor, err);
}

static EmbStatus
check_type(const EmbTensor *t, EmbDtype dtype, const char *name, EmbError *err)
{
	if (t->dtype == dtype)
		return EMB_OK;
	return emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%s\" is %s; only %s can be imported", t->name, t->dtype_name, name);
}

/* ------------------------------------------------------------------- names */

/* "X.weight" with another ending; NULL: there is no such tensor. */
static const EmbTensor *
find_sibling(const EmbQuantReader *r, const char *weight_name, const char *ending, char *name)
{
	static const char own[] = "weight";
	size_t		len = strlen(weight_name);

	snprintf(name, NAME_BYTES, "%.*s%s", (int) (len >= sizeof(own) - 1 ? len - (sizeof(own) - 1) : 0), weight_name, ending);
	return emb_tensors_find(r->set, name);
}

static EmbStatus
need_sibling(const EmbQuantReader *r, const char *weight_name, const char *ending, const EmbTensor *weight,
			 const EmbTensor **found, EmbError *err)
{
	char		name[NAME_BYTES];

	*found = find_sibling(r, weight_name, ending, name);
	if (*found == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold \"%s\", but no tensor \"%s\"", weight->name, name);
	return EMB_OK;
}

/* ------------------------------------------------------------------ layers */

/* Bits per code, from the number of words that n codes take. */
static EmbStatus
find_bits(const EmbQuantReader *r, const EmbTensor *words, int64_t n_words, int64_t n_codes, int32_t *bits, EmbError *err)
{
	int32_t		said = r->config.bits;

	for (*bits = 4; *bits <= 8; *bits += 4)
	{
		if (emb_divide_up(n_codes * *bits, 32) == n_words && (said == 0 || said == *bits))
			return EMB_OK;
	}
	if (said == 0)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %lld words for %lld inputs, which is neither 4 nor 8 bits a code",
						 words->name, (long long) n_words, (long long) n_codes);
	return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %lld words for %lld inputs, but the %d bits of %s require %lld", words->name,
					 (long long) n_words, (long long) n_codes, said, r->config.file, (long long) emb_divide_up(n_codes * said, 32));
}

static bool
is_power_of_two(int64_t n)
{
	return n > 0 && (n & (n - 1)) == 0;
}

/*
 * Inputs per group, from the number of groups that the scales have. Without a
 * "group_size" for all layers, a power of two that divides the inputs is the
 * only one that fits; any other size is a guess, which g_idx must confirm.
 */
static EmbStatus
find_group(const EmbQuantReader *r, EmbQuantLayer *layer, int64_t n_groups, EmbError *err)
{
	int64_t		group = r->config.group;
	int64_t		n_wanted;

	if (group < 0 || group > layer->n_in)
		group = layer->n_in;
	if (group == 0 && n_groups > 0 && n_groups <= layer->n_in)
	{
		group = emb_divide_up(layer->n_in, n_groups);
		layer->guesses_group = n_groups > 1 && !(is_power_of_two(group) && group * n_groups == layer->n_in);
	}
	n_wanted = group > 0 ? emb_divide_up(layer->n_in, group) : 0;
	if (group == 0 || (n_wanted != n_groups && !layer->guesses_group))
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has scales of %lld groups, but %d inputs with \"group_size\" %d have %lld",
						 layer->scales->name, (long long) n_groups, layer->n_in, r->config.group, (long long) n_wanted);
	layer->group = (int32_t) group;
	layer->n_groups = (int32_t) n_groups;
	return EMB_OK;
}

/* g_idx is [n_in] */
static EmbStatus
check_groups(const EmbQuantLayer *layer, EmbError *err)
{
	EmbStatus	status;

	if (layer->guesses_group && (layer->layout != EMB_LAYOUT_GPTQ || layer->groups == NULL))
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has scales of %d groups, which does not tell the groups of %d inputs",
						 layer->scales->name, layer->n_groups, layer->n_in);
	if (layer->groups == NULL)
		return EMB_OK;
	status = check_type(layer->groups, EMB_DTYPE_I32, "I32", err);
	return status == EMB_OK ? check_length(layer->groups, layer->n_in, layer->weight, err) : status;
}

/* qweight, scales and qzeros, which AWQ has, too. */
static EmbStatus
find_transposed(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, int64_t n_out, EmbError *err)
{
	EmbStatus	status;

	layer->n_out = (int32_t) n_out;
	layer->rows_per_scale = 1;
	layer->zeros_are_packed = true;
	if ((status = need_sibling(r, name, "scales", layer->weight, &layer->scales, err)) != EMB_OK ||
		(status = need_sibling(r, name, "qzeros", layer->weight, &layer->zeros, err)) != EMB_OK ||
		(status = emb_tensors_check_dtype(r->set, layer->scales, err)) != EMB_OK ||
		(status = check_type(layer->zeros, EMB_DTYPE_I32, "I32", err)) != EMB_OK)
		return status;
	if (n_out * layer->bits % 32 != 0)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %lld outputs, whose zero points do not fill words", layer->weight->name,
						 (long long) n_out);
	if (layer->scales->rank != 2 || layer->scales->shape[1] != n_out)
		return bad_shape(layer->scales, emb_divide_up(layer->n_in, r->config.group > 0 ? r->config.group : layer->n_in), n_out, layer->weight, err);
	status = find_group(r, layer, layer->scales->shape[0], err);
	return status == EMB_OK ? check_matrix(layer->zeros, layer->n_groups, n_out * layer->bits / 32, layer->scales, err) : status;
}

/* The method's tensors, with another method's configuration. */
static EmbStatus
check_method(const EmbQuantReader *r, const EmbTensor *weight, EmbQuantMethod method, EmbQuantMethod other, EmbError *err)
{
	EmbQuantMethod said = r->config.method;

	if (said == method || said == other)
		return EMB_OK;
	if (said == EMB_QUANT_NONE)
	{
		emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" is quantized, but neither config.json nor quantize_config.json says how", weight->name);
		return emb_error_hint(err, EMB_ERR_FORMAT, "Download all JSON files of the model.");
	}
	return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" is none of \"%s\", which is the \"quant_method\" of %s", weight->name,
					 emb_quant_method_name(said), r->config.file);
}

static EmbStatus
check_rank(const EmbTensor *t, int64_t max_rows, int64_t max_cols, EmbError *err)
{
	if (t->rank != 2 || t->shape[0] < 1 || t->shape[0] > max_rows || t->shape[1] < 1 || t->shape[1] > max_cols)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" is not a matrix of up to %lld rows and %lld columns", t->name,
						 (long long) max_rows, (long long) max_cols);
	return EMB_OK;
}

static EmbStatus
find_qweight(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, EmbError *err)
{
	const EmbTensor *w = layer->weight;
	char		groups[NAME_BYTES];
	EmbStatus	status;

	if ((status = check_method(r, w, EMB_QUANT_GPTQ, EMB_QUANT_AWQ, err)) != EMB_OK ||
		(status = check_type(w, EMB_DTYPE_I32, "I32", err)) != EMB_OK ||
		(status = check_rank(w, EMB_ARCH_MAX_INTERMEDIATE, EMB_ARCH_MAX_VOCAB, err)) != EMB_OK)
		return status;
	if (r->config.method == EMB_QUANT_AWQ)
	{
		layer->layout = EMB_LAYOUT_AWQ;
		layer->bits = 4;
		if (w->shape[0] != layer->n_in)
			return bad_shape(w, layer->n_in, w->shape[1], NULL, err);
		return find_transposed(r, name, layer, w->shape[1] * 8, err);
	}
	layer->layout = EMB_LAYOUT_GPTQ;
	layer->is_less_one = r->config.is_less_one;
	if ((status = find_bits(r, w, w->shape[0], layer->n_in, &layer->bits, err)) != EMB_OK ||
		(status = find_transposed(r, name, layer, w->shape[1], err)) != EMB_OK)
		return status;
	layer->groups = find_sibling(r, name, "g_idx", groups);
	if (layer->groups == NULL && r->config.has_order)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold \"%s\", but no tensor \"%s\", which \"desc_act\" of %s requires",
						 w->name, groups, r->config.file);
	return check_groups(layer, err);
}

/* "weight_scale": by group, output, block, or one for all. */
static EmbStatus
find_row_scales(const EmbQuantReader *r, EmbQuantLayer *layer, EmbError *err)
{
	const EmbTensor *t = layer->scales;
	int32_t		n_out = layer->n_out;
	int64_t		n_groups = t->rank == 2 ? t->shape[1] : 1;

	layer->scales_by_row = true;
	layer->rows_per_scale = 1;
	if (r->config.block_rows > 0)
	{
		layer->rows_per_scale = r->config.block_rows;
		layer->group = r->config.block_cols < layer->n_in ? r->config.block_cols : layer->n_in;
		layer->n_groups = (int32_t) emb_divide_up(layer->n_in, layer->group);
		return check_matrix(t, emb_divide_up(n_out, layer->rows_per_scale), layer->n_groups, layer->weight, err);
	}
	if (t->n_elems == 1)
		layer->rows_per_scale = n_out;
	else if (t->rank == 0 || t->rank > 2 || t->shape[0] != n_out)
		return bad_shape(t, n_out, n_groups, layer->weight, err);
	return find_group(r, layer, n_groups, err);
}

/* "weight_zero_point": packed along the outputs, or signed bytes like the scales. */
static EmbStatus
find_row_zeros(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, EmbError *err)
{
	const EmbTensor *t;
	char		zeros[NAME_BYTES];

	layer->zeros = t = find_sibling(r, name, "weight_zero_point", zeros);
	if (t == NULL)
		return !r->config.has_zeros ? EMB_OK
			: emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold \"%s\", but no tensor \"%s\", which \"symmetric\" of %s requires",
						layer->weight->name, zeros, r->config.file);
	if (t->dtype == EMB_DTYPE_I32 && layer->layout == EMB_LAYOUT_PACKED)
	{
		layer->zeros_are_packed = true;
		return check_matrix(t, emb_divide_up((int64_t) layer->n_out * layer->bits, 32), layer->n_groups, layer->weight, err);
	}
	if (t->n_elems != layer->scales->n_elems)
		return bad_shape(t, layer->scales->n_elems, -1, layer->scales, err);
	return check_type(t, EMB_DTYPE_I8, "I8", err);
}

static EmbStatus
find_row_params(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, EmbError *err)
{
	char		groups[NAME_BYTES];
	EmbStatus	status;

	if ((status = need_sibling(r, name, "weight_scale", layer->weight, &layer->scales, err)) != EMB_OK ||
		(status = emb_tensors_check_dtype(r->set, layer->scales, err)) != EMB_OK ||
		(status = find_row_scales(r, layer, err)) != EMB_OK ||
		(status = find_row_zeros(r, name, layer, err)) != EMB_OK)
		return status;
	layer->groups = find_sibling(r, name, "weight_g_idx", groups);
	return check_groups(layer, err);
}

static EmbStatus
find_packed(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, EmbError *err)
{
	const EmbTensor *w = layer->weight;
	const EmbTensor *shape;
	int64_t		sizes[2];
	EmbStatus	status;

	layer->layout = EMB_LAYOUT_PACKED;
	if ((status = check_method(r, w, EMB_QUANT_COMPRESSED, EMB_QUANT_COMPRESSED, err)) != EMB_OK ||
		(status = check_type(w, EMB_DTYPE_I32, "I32", err)) != EMB_OK ||
		(status = check_rank(w, EMB_ARCH_MAX_VOCAB, EMB_ARCH_MAX_INTERMEDIATE, err)) != EMB_OK ||
		(status = find_bits(r, w, w->shape[1], layer->n_in, &layer->bits, err)) != EMB_OK ||
		(status = need_sibling(r, name, "weight_shape", w, &shape, err)) != EMB_OK ||
		(status = check_type(shape, EMB_DTYPE_I64, "I64", err)) != EMB_OK ||
		(status = check_length(shape, 2, w, err)) != EMB_OK ||
		(status = emb_tensors_read_raw(r->set, shape, 0, 2, sizes, err)) != EMB_OK)
		return status;
	layer->n_out = (int32_t) w->shape[0];
	if (sizes[0] != layer->n_out || sizes[1] != layer->n_in)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" says [%lld, %lld], but \"%s\" requires [%d, %d]", shape->name,
						 (long long) sizes[0], (long long) sizes[1], w->name, layer->n_out, layer->n_in);
	return find_row_params(r, name, layer, err);
}

/* Signed bytes: bitsandbytes' LLM.int8() has SCB beside it. */
static EmbStatus
find_bytes(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, EmbError *err)
{
	const EmbTensor *w = layer->weight;
	const EmbTensor *format;
	char		format_name[NAME_BYTES];
	uint8_t		kind = 0;
	EmbStatus	status;

	layer->bits = 8;
	if ((status = check_method(r, w, EMB_QUANT_COMPRESSED, EMB_QUANT_BITSANDBYTES, err)) != EMB_OK ||
		(status = check_rank(w, EMB_ARCH_MAX_VOCAB, EMB_ARCH_MAX_INTERMEDIATE, err)) != EMB_OK)
		return status;
	layer->n_out = (int32_t) w->shape[0];
	if (w->shape[1] != layer->n_in)
		return bad_shape(w, w->shape[0], layer->n_in, NULL, err);
	if (r->config.method == EMB_QUANT_COMPRESSED)
	{
		layer->layout = EMB_LAYOUT_BYTES;
		return find_row_params(r, name, layer, err);
	}
	layer->layout = EMB_LAYOUT_LLM_INT8;
	layer->group = layer->n_in;
	layer->n_groups = 1;
	if ((status = need_sibling(r, name, "SCB", w, &layer->scales, err)) != EMB_OK ||
		(status = emb_tensors_check_dtype(r->set, layer->scales, err)) != EMB_OK ||
		(status = check_length(layer->scales, layer->n_out, w, err)) != EMB_OK)
		return status;
	/* other numbers are layouts of some GPUs */
	format = find_sibling(r, name, "weight_format", format_name);
	if (format == NULL)
		return EMB_OK;
	if ((status = check_type(format, EMB_DTYPE_U8, "U8", err)) != EMB_OK ||
		(status = check_length(format, 1, w, err)) != EMB_OK ||
		(status = emb_tensors_read_raw(r->set, format, 0, 1, &kind, err)) != EMB_OK)
		return status;
	return kind == 0 ? EMB_OK
		: emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%s\" is %d; only rows, which is 0, can be imported", format->name, kind);
}

/* ------------------------------------------------ bitsandbytes with 4 bits */

/* The JSON of "quant_state.bitsandbytes__nf4". */
static EmbStatus
parse_state(const EmbJson *doc, EmbQuantLayer *layer, EmbError *err)
{
	const json_t *shape = json_object_get(doc->root, "shape");
	const json_t *n_out = json_array_get(shape, 0);
	const json_t *n_in = json_array_get(shape, 1);
	int64_t		block = 64;
	int64_t		nested = 256;
	double		offset = 0;
	EmbStatus	status;

	if (!json_is_object(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a JSON object", doc->file);
	if ((status = emb_json_get_int(doc, doc->root, "blocksize", 1, 1 << 20, &block, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "nested_blocksize", 1, 1 << 20, &nested, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "nested_offset", -EMB_QUANT_MAX_SCALE, EMB_QUANT_MAX_SCALE, &offset, err)) != EMB_OK)
		return status;
	if (json_array_size(shape) != 2 || !json_is_integer(n_out) || !json_is_integer(n_in) || json_integer_value(n_out) < 1 ||
		json_integer_value(n_out) > EMB_ARCH_MAX_VOCAB || json_integer_value(n_in) != layer->n_in)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"shape\" is not that of a matrix with %d columns", doc->file, layer->n_in);
	if (block < 32 || nested < 32)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: blocks of %lld elements are too small to be imported", doc->file,
						 (long long) (block < nested ? block : nested));
	layer->n_out = (int32_t) json_integer_value(n_out);
	layer->group = (int32_t) block;
	layer->nested_group = (int32_t) nested;
	layer->nested_offset = (float) offset;
	return EMB_OK;
}

static EmbStatus
read_state(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, EmbError *err)
{
	char		state_name[NAME_BYTES];
	char		bytes[MAX_STATE_BYTES];
	const EmbTensor *state = find_sibling(r, name, "weight.quant_state.bitsandbytes__nf4", state_name);
	EmbJson		doc;
	EmbStatus	status;

	if (state == NULL)
		state = find_sibling(r, name, "weight.quant_state.bitsandbytes__fp4", state_name);
	if (state == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold \"%s\", but neither \"%s.quant_state.bitsandbytes__nf4\" nor .._fp4",
						 layer->weight->name, name);
	if ((status = check_type(state, EMB_DTYPE_U8, "U8", err)) != EMB_OK)
		return status;
	if (state->n_elems < 2 || state->n_elems > MAX_STATE_BYTES)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %lld bytes, outside 2..%d", state->name, (long long) state->n_elems, MAX_STATE_BYTES);
	status = emb_tensors_read_raw(r->set, state, 0, state->n_elems, bytes, err);
	if (status == EMB_OK)
		status = emb_json_parse(state->name, bytes, (size_t) state->n_elems, &doc, err);
	if (status != EMB_OK)
		return status;
	status = parse_state(&doc, layer, err);
	emb_json_free(&doc);
	return status;
}

/* Scales of blocks that are quantized themselves. */
static EmbStatus
find_nested(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, int64_t n_blocks, EmbError *err)
{
	EmbStatus	status;

	if (layer->scales->dtype != EMB_DTYPE_U8)
		return emb_tensors_check_dtype(r->set, layer->scales, err);
	if ((status = need_sibling(r, name, "weight.nested_absmax", layer->weight, &layer->nested_scales, err)) != EMB_OK ||
		(status = need_sibling(r, name, "weight.nested_quant_map", layer->weight, &layer->nested_map, err)) != EMB_OK ||
		(status = emb_tensors_check_dtype(r->set, layer->nested_scales, err)) != EMB_OK ||
		(status = emb_tensors_check_dtype(r->set, layer->nested_map, err)) != EMB_OK ||
		(status = check_length(layer->nested_map, 256, layer->weight, err)) != EMB_OK)
		return status;
	return check_length(layer->nested_scales, emb_divide_up(n_blocks, layer->nested_group), layer->scales, err);
}

static EmbStatus
find_nibbles(const EmbQuantReader *r, const char *name, EmbQuantLayer *layer, EmbError *err)
{
	const EmbTensor *w = layer->weight;
	int64_t		n_elems;
	EmbStatus	status;

	layer->layout = EMB_LAYOUT_NIBBLES;
	layer->bits = 4;
	if ((status = check_method(r, w, EMB_QUANT_BITSANDBYTES, EMB_QUANT_BITSANDBYTES, err)) != EMB_OK ||
		(status = read_state(r, name, layer, err)) != EMB_OK ||
		(status = need_sibling(r, name, "weight.absmax", w, &layer->scales, err)) != EMB_OK ||
		(status = need_sibling(r, name, "weight.quant_map", w, &layer->map, err)) != EMB_OK ||
		(status = emb_tensors_check_dtype(r->set, layer->map, err)) != EMB_OK ||
		(status = check_length(layer->map, 16, w, err)) != EMB_OK)
		return status;
	n_elems = (int64_t) layer->n_out * layer->n_in;
	if ((status = check_length(w, emb_divide_up(n_elems, 2), NULL, err)) != EMB_OK ||
		(status = check_length(layer->scales, emb_divide_up(n_elems, layer->group), w, err)) != EMB_OK)
		return status;
	return find_nested(r, name, layer, emb_divide_up(n_elems, layer->group), err);
}

EmbStatus
emb_quant_find(const EmbQuantReader *r, const char *name, int32_t n_in, EmbQuantLayer *layer, bool *is_quantized, EmbError *err)
{
	const EmbTensor *plain = emb_tensors_find(r->set, name);
	char		other[NAME_BYTES];
	const EmbTensor *words = find_sibling(r, name, "qweight", other);
	const EmbTensor *packed = words == NULL ? find_sibling(r, name, "weight_packed", other) : NULL;
	const EmbTensor *coded = words != NULL ? words : packed;

	*layer = (EmbQuantLayer) {.n_in = n_in};
	*is_quantized = true;
	if (n_in < 1 || n_in > EMB_ARCH_MAX_INTERMEDIATE)
		return emb_error(err, EMB_ERR_INTERNAL, "\"%s\" with %d inputs", name, n_in);
	if (coded != NULL && plain != NULL)
		return emb_error(err, EMB_ERR_FORMAT, "the weights hold both \"%s\" and \"%s\"", plain->name, coded->name);
	layer->weight = coded != NULL ? coded : plain;
	if (words != NULL)
		return find_qweight(r, name, layer, err);
	if (packed != NULL)
		return find_packed(r, name, layer, err);
	if (plain != NULL && plain->dtype == EMB_DTYPE_I8)
		return find_bytes(r, name, layer, err);
	if (plain != NULL && plain->dtype == EMB_DTYPE_U8)
		return find_nibbles(r, name, layer, err);
	*is_quantized = false;
	return EMB_OK;
}

bool
emb_quant_is_bitsandbytes(const EmbQuantReader *r)
{
	static const char *const endings[] = {".weight.absmax", ".SCB"};

	for (int i = 0; r->config.method == EMB_QUANT_BITSANDBYTES && i < r->set->n_shards; i++)
	{
		const EmbTensorShard *shard = &r->set->shards[i];

		for (int k = 0; k < shard->n_tensors * 2; k++)
		{
			const char *name = shard->tensors[k / 2].name;
			const char *ending = endings[k % 2];
			size_t		len = strlen(name);

			if (len > strlen(ending) && strcmp(name + len - strlen(ending), ending) == 0)
				return true;
		}
	}
	return false;
}

void
emb_quant_open(EmbQuantReader *r, const EmbQuantization *config, const EmbTensorSet *set, const EmbAllocator *mem)
{
	*r = (EmbQuantReader) {.mem = mem, .set = set, .config = *config};
}
