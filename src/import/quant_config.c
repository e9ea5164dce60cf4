/*
 * quant_config.c
 *		What configurations of quantized checkpoints mean. A configuration
 *		that asks for anything else than quantized.c reads is refused by name.
 */
#include "import/quantized.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "formats/file.h"
#include "import/hf_config.h"

#define MAX_GROUP		EMB_ARCH_MAX_INTERMEDIATE

static const char *const names[] = {
	[EMB_QUANT_NONE] = "none",
	[EMB_QUANT_GPTQ] = "gptq",
	[EMB_QUANT_AWQ] = "awq",
	[EMB_QUANT_COMPRESSED] = "compressed-tensors",
	[EMB_QUANT_BITSANDBYTES] = "bitsandbytes",
};

#define N_METHODS ((int) (sizeof(names) / sizeof(names[0])))

const char *
emb_quant_method_name(EmbQuantMethod method)
{
	return names[method];
}

/* ---------------------------------------------------------------- refusals */

static EmbStatus
hint_original(EmbStatus status, EmbError *err)
{
	return emb_error_hint(err, status, "Import the model from which it was quantized: embed quantizes at import.");
}

static EmbStatus
refuse(const EmbJson *doc, const char *key, const char *value, const char *want, EmbError *err)
{
	return hint_original(emb_hf_unsupported(doc, key, value, want, err), err);
}

static EmbStatus
refuse_set(const EmbJson *doc, const char *key, EmbError *err)
{
	return hint_original(emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is set, which is not supported for quantized weights",
								   doc->file, key), err);
}

/* Present, and neither null, false nor empty. */
static bool
is_set(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);

	return v != NULL && !json_is_null(v) && !json_is_false(v) &&
		!(json_is_object(v) && json_object_size(v) == 0) && !(json_is_array(v) && json_array_size(v) == 0);
}

/* The first of two keys that has a string. */
static EmbStatus
get_string(const EmbJson *doc, const json_t *object, const char *key, const char *other, const char **used, const char **value,
		   EmbError *err)
{
	EmbStatus	status = emb_json_get_string(doc, object, key, value, err);

	*used = key;
	if (status != EMB_OK || *value != NULL)
		return status;
	*used = other;
	return emb_json_get_string(doc, object, other, value, err);
}

static EmbStatus
check_bits(const EmbJson *doc, const char *key, int64_t bits, bool takes_8, EmbError *err)
{
	if (bits == 4 || (bits == 8 && takes_8))
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is %lld; only %s can be imported", doc->file, key, (long long) bits,
			  takes_8 ? "4 and 8" : "4");
	return hint_original(EMB_ERR_UNSUPPORTED, err);
}

/* Inputs per group: a number, or -1 for a whole row. Absent: the tensors decide. */
static EmbStatus
get_group(const EmbJson *doc, const json_t *object, const char *key, int32_t *group, EmbError *err)
{
	int64_t		n = 0;
	const json_t *v = json_object_get(object, key);
	EmbStatus	status = emb_json_get_int(doc, object, key, -1, MAX_GROUP, &n, err);

	if (status == EMB_OK && n == 0 && v != NULL && !json_is_null(v))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is 0", doc->file, key);
	*group = (int32_t) n;
	return status;
}

/* -------------------------------------------------------------------- GPTQ */

/*
 * "dynamic": patterns of layer names with settings of their own. The tensors
 * of a layer say its bits and groups, and a layer left out has floats, so that
 * no pattern needs to be matched.
 */
static EmbStatus
parse_dynamic(const EmbJson *doc, const json_t *object, EmbQuantization *q, EmbError *err)
{
	static const char *const fixed[] = {"format", "checkpoint_format", "method", "quant_method", "pack_dtype", "rotation", "adapter"};
	const json_t *dynamic = json_object_get(object, "dynamic");
	const char *pattern;
	json_t	   *settings;

	if (!is_set(object, "dynamic"))
		return EMB_OK;
	if (!json_is_object(dynamic))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"dynamic\" is not an object", doc->file);
	json_object_foreach((json_t *) dynamic, pattern, settings)
	{
		int64_t		bits = 4;
		EmbStatus	status;

		if (json_is_null(settings) || json_is_boolean(settings))
			continue;
		if (!json_is_object(settings))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"dynamic\" has something other than an object for \"%.*s\"", doc->file,
							 emb_json_clip(pattern, 80), pattern);
		status = emb_json_get_int(doc, settings, "bits", 1, 64, &bits, err);
		if (status == EMB_OK)
			status = check_bits(doc, "bits", bits, true, err);
		for (size_t i = 0; status == EMB_OK && i < sizeof(fixed) / sizeof(fixed[0]); i++)
		{
			if (is_set(settings, fixed[i]))
				status = refuse_set(doc, fixed[i], err);
		}
		if (status != EMB_OK)
			return status;
	}
	q->bits = q->group = 0;
	q->has_order = false;
	return EMB_OK;
}

static EmbStatus
parse_gptq(const EmbJson *doc, const json_t *object, EmbQuantization *q, EmbError *err)
{
	static const char *const unset[] = {"rotation", "adapter", "is_marlin_format"};
	const char *format = NULL;
	const char *pack = NULL;
	const char *key;
	int64_t		bits = 0;
	EmbStatus	status;

	if ((status = emb_json_get_int(doc, object, "bits", 1, 64, &bits, err)) != EMB_OK ||
		(status = get_group(doc, object, "group_size", &q->group, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, object, "desc_act", &q->has_order, err)) != EMB_OK ||
		(status = get_string(doc, object, "checkpoint_format", "format", &key, &format, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, object, "pack_dtype", &pack, err)) != EMB_OK)
		return status;
	if (format != NULL && strcmp(format, "gptq") != 0 && strcmp(format, "gptq_v2") != 0)
		return refuse(doc, key, format, "only \"gptq\" and \"gptq_v2\" can be imported", err);
	if (pack != NULL && strcmp(pack, "int32") != 0)
		return refuse(doc, "pack_dtype", pack, "only \"int32\" can be imported", err);
	for (size_t i = 0; i < sizeof(unset) / sizeof(unset[0]); i++)
	{
		if (is_set(object, unset[i]))
			return refuse_set(doc, unset[i], err);
	}
	if (bits == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"bits\" is missing", doc->file);
	if ((status = check_bits(doc, "bits", bits, true, err)) != EMB_OK)
		return status;
	q->bits = (int32_t) bits;
	q->names_format = format != NULL;
	q->is_less_one = format == NULL || strcmp(format, "gptq") == 0;
	return parse_dynamic(doc, object, q, err);
}

/* --------------------------------------------------------------------- AWQ */

/* AutoAWQ's own file has other names for bits and group. */
static EmbStatus
parse_awq(const EmbJson *doc, const json_t *object, EmbQuantization *q, EmbError *err)
{
	static const char *const version_keys[] = {"version", "format", "checkpoint_format"};
	const char *bits_key = json_object_get(object, "w_bit") != NULL ? "w_bit" : "bits";
	const char *group_key = json_object_get(object, "q_group_size") != NULL ? "q_group_size" : "group_size";
	const char *backend = NULL;
	bool		has_zeros = true;
	int64_t		bits = 4;
	EmbStatus	status;

	if ((status = emb_json_get_int(doc, object, bits_key, 1, 64, &bits, err)) != EMB_OK ||
		(status = check_bits(doc, bits_key, bits, false, err)) != EMB_OK ||
		(status = get_group(doc, object, group_key, &q->group, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, object, "zero_point", &has_zeros, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, object, "backend", &backend, err)) != EMB_OK)
		return status;
	for (size_t i = 0; i < sizeof(version_keys) / sizeof(version_keys[0]); i++)
	{
		const char *version = NULL;

		status = emb_json_get_string(doc, object, version_keys[i], &version, err);
		if (status != EMB_OK)
			return status;
		if (version != NULL && strcasecmp(version, "gemm") != 0)
			return refuse(doc, version_keys[i], version, "of awq only \"gemm\" can be imported", err);
	}
	if (backend != NULL && strcmp(backend, "llm-awq") == 0)
		return refuse(doc, "backend", backend, "only \"autoawq\" can be imported", err);
	if (!has_zeros)
		return refuse(doc, "zero_point", "false", "only true can be imported", err);
	q->bits = 4;
	return EMB_OK;
}

/* ------------------------------------------------------- compressed-tensors */

/* [rows, columns], in old files "ROWSxCOLUMNS" */
static EmbStatus
parse_block(const EmbJson *doc, const json_t *weights, EmbQuantization *q, EmbError *err)
{
	const json_t *list = json_object_get(weights, "block_structure");
	int			n = 0;

	if (json_is_string(list))
	{
		int			rows;
		int			cols;

		if (sscanf(json_string_value(list), "%9dx%9d%n", &rows, &cols, &n) == 2 && json_string_value(list)[n] == '\0')
		{
			q->block_rows = rows;
			q->block_cols = cols;
		}
	}
	else if (json_array_size(list) == 2 && json_is_integer(json_array_get(list, 0)) && json_is_integer(json_array_get(list, 1)))
	{
		json_int_t	rows = json_integer_value(json_array_get(list, 0));
		json_int_t	cols = json_integer_value(json_array_get(list, 1));

		q->block_rows = rows > 0 && rows <= EMB_ARCH_MAX_VOCAB ? (int32_t) rows : 0;
		q->block_cols = cols > 0 && cols <= EMB_ARCH_MAX_VOCAB ? (int32_t) cols : 0;
	}
	if (q->block_rows < 1 || q->block_cols < 1)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"block_structure\" is not two counts", doc->file);
	return EMB_OK;
}

static EmbStatus
check_compressed_format(const EmbJson *doc, const json_t *object, EmbError *err)
{
	static const char *const known[] = {"pack-quantized", "int-quantized", "naive-quantized"};
	const char *format = NULL;
	EmbStatus	status = emb_json_get_string(doc, object, "format", &format, err);

	if (status != EMB_OK || format == NULL)
		return status;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(format, known[i]) == 0)
			return EMB_OK;
	}
	return refuse(doc, "format", format, "only pack-quantized, int-quantized and naive-quantized can be imported", err);
}

/* "weights" of a group of layers. */
static EmbStatus
parse_weights(const EmbJson *doc, const json_t *weights, EmbQuantization *q, EmbError *err)
{
	const char *type = "int";
	const char *strategy = NULL;
	bool		is_symmetric = true;
	int64_t		bits = 8;
	EmbStatus	status;

	if ((status = emb_json_get_int(doc, weights, "num_bits", 1, 64, &bits, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, weights, "type", &type, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, weights, "strategy", &strategy, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, weights, "symmetric", &is_symmetric, err)) != EMB_OK ||
		(status = get_group(doc, weights, "group_size", &q->group, err)) != EMB_OK)
		return status;
	if (strcmp(type, "int") != 0)
		return refuse(doc, "type", type, "only weights of type \"int\" can be imported", err);
	if ((status = check_bits(doc, "num_bits", bits, true, err)) != EMB_OK)
		return status;
	q->bits = (int32_t) bits;
	q->has_zeros = !is_symmetric;
	if (strategy == NULL || strcmp(strategy, "group") == 0)
		return EMB_OK;
	if (strcmp(strategy, "block") == 0)
		return parse_block(doc, weights, q, err);
	if (strcmp(strategy, "channel") != 0 && strcmp(strategy, "tensor") != 0)
		return refuse(doc, "strategy", strategy, "tensor, channel, group and block can be imported", err);
	q->group = -1;
	return EMB_OK;
}

/* What two groups of layers have in common. */
static EmbStatus
join_groups(const EmbJson *doc, const EmbQuantization *other, EmbQuantization *q, EmbError *err)
{
	if (q->block_rows != other->block_rows || q->block_cols != other->block_cols)
		return hint_original(emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"config_groups\" mixes blocks with something else", doc->file), err);
	if (q->bits != other->bits)
		q->bits = 0;
	if (q->group != other->group)
		q->group = 0;
	q->has_zeros = q->has_zeros && other->has_zeros;
	return EMB_OK;
}

/* Rotations of weights and activations; an object without any is written, too. */
static bool
has_transforms(const json_t *object)
{
	const json_t *transform = json_object_get(object, "transform_config");

	if (json_object_size(transform) == 1 && json_object_get(transform, "config_groups") != NULL)
		return is_set(transform, "config_groups");
	return is_set(object, "transform_config");
}

static EmbStatus
parse_compressed(const EmbJson *doc, const json_t *object, EmbQuantization *q, EmbError *err)
{
	const json_t *groups = json_object_get(object, "config_groups");
	const json_t *sparsity = json_object_get(object, "sparsity_config");
	const char *sparse = "dense";
	const char *name;
	json_t	   *group;
	int			n = 0;
	EmbStatus	status = check_compressed_format(doc, object, err);

	if (status == EMB_OK && json_is_object(sparsity))
		status = emb_json_get_string(doc, sparsity, "format", &sparse, err);
	if (status != EMB_OK)
		return status;
	if (strcmp(sparse, "dense") != 0)
		return refuse(doc, "sparsity_config", sparse, "only dense weights can be imported", err);
	if (has_transforms(object))
		return refuse_set(doc, "transform_config", err);
	if (!json_is_object(groups))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"config_groups\" is not an object", doc->file);
	json_object_foreach((json_t *) groups, name, group)
	{
		const json_t *weights = json_object_get(group, "weights");
		EmbQuantization own = {.method = EMB_QUANT_COMPRESSED};

		if (!json_is_object(group) || (weights != NULL && !json_is_null(weights) && !json_is_object(weights)))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"config_groups\" has something other than objects in \"%.*s\"", doc->file,
							 emb_json_clip(name, 80), name);
		if (!json_is_object(weights))
			continue;
		if ((status = check_compressed_format(doc, group, err)) != EMB_OK ||
			(status = parse_weights(doc, weights, &own, err)) != EMB_OK ||
			(n > 0 && (status = join_groups(doc, &own, q, err)) != EMB_OK))
			return status;
		if (n++ == 0)
		{
			memcpy(own.file, q->file, sizeof(own.file));
			*q = own;
		}
	}
	if (n == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"config_groups\" describes no weights", doc->file);
	return EMB_OK;
}

/* ------------------------------------------------------------ bitsandbytes */

static EmbStatus
parse_bitsandbytes(const EmbJson *doc, const json_t *object, EmbQuantization *q, EmbError *err)
{
	const char *type = NULL;
	const char *storage = NULL;
	bool		in_4bit = false;
	bool		in_8bit = false;
	EmbStatus	status;

	if ((status = emb_json_get_bool(doc, object, "_load_in_4bit", &in_4bit, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, object, "load_in_4bit", &in_4bit, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, object, "_load_in_8bit", &in_8bit, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, object, "load_in_8bit", &in_8bit, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, object, "bnb_4bit_quant_type", &type, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, object, "bnb_4bit_quant_storage", &storage, err)) != EMB_OK)
		return status;
	if (in_4bit == in_8bit)
		return emb_error(err, EMB_ERR_FORMAT, "%s: %s of \"load_in_4bit\" and \"load_in_8bit\" is true", doc->file, in_4bit ? "each" : "none");
	if (in_4bit && type != NULL && strcmp(type, "nf4") != 0 && strcmp(type, "fp4") != 0)
		return refuse(doc, "bnb_4bit_quant_type", type, "nf4 and fp4 can be imported", err);
	if (in_4bit && storage != NULL && strcmp(storage, "uint8") != 0 && strcmp(storage, "torch.uint8") != 0)
		return refuse(doc, "bnb_4bit_quant_storage", storage, "only uint8 can be imported", err);
	q->bits = in_4bit ? 4 : 8;
	return EMB_OK;
}

/* ------------------------------------------------------------------- files */

static EmbStatus
find_method(const EmbJson *doc, const json_t *object, EmbQuantMethod absent, EmbQuantMethod *method, EmbError *err)
{
	const char *name = NULL;
	const char *key;
	EmbStatus	status = get_string(doc, object, "quant_method", "method", &key, &name, err);

	if (status != EMB_OK)
		return status;
	*method = absent;
	if (name == NULL && (json_object_get(object, "load_in_4bit") != NULL || json_object_get(object, "load_in_8bit") != NULL))
		*method = EMB_QUANT_BITSANDBYTES;
	if (name == NULL)
		return *method != EMB_QUANT_NONE ? EMB_OK
			: emb_error(err, EMB_ERR_FORMAT, "%s: \"quantization_config\" names no \"quant_method\"", doc->file);
	for (int i = 1; i < N_METHODS; i++)
	{
		if (strcmp(names[i], name) == 0)
		{
			*method = (EmbQuantMethod) i;
			return EMB_OK;
		}
	}
	return refuse(doc, key, name, "gptq, awq, compressed-tensors and bitsandbytes can be imported", err);
}

static EmbStatus
parse_object(const EmbJson *doc, const json_t *object, EmbQuantMethod absent, EmbQuantization *q, EmbError *err)
{
	EmbQuantMethod method;
	EmbStatus	status;

	*q = (EmbQuantization) {.method = EMB_QUANT_NONE};
	snprintf(q->file, sizeof(q->file), "%.31s", doc->file);
	if (!json_is_object(object))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"quantization_config\" is not an object", doc->file);
	status = find_method(doc, object, absent, &method, err);
	if (status != EMB_OK)
		return status;
	q->method = method;
	switch (method)
	{
		case EMB_QUANT_GPTQ:
			return parse_gptq(doc, object, q, err);
		case EMB_QUANT_AWQ:
			return parse_awq(doc, object, q, err);
		case EMB_QUANT_COMPRESSED:
			return parse_compressed(doc, object, q, err);
		default:
			return parse_bitsandbytes(doc, object, q, err);
	}
}

EmbStatus
emb_quant_parse(const EmbJson *doc, const json_t *object, EmbQuantization *q, EmbError *err)
{
	return parse_object(doc, object, EMB_QUANT_NONE, q, err);
}

/*
 * A file beside config.json, which old checkpoints have alone. Exporters of
 * ONNX write files of the same name about something else.
 */
static EmbStatus
read_file(const char *dir, const char *name, EmbQuantMethod absent, const EmbAllocator *mem, const EmbStop *stop,
		  EmbQuantization *q, EmbError *err)
{
	static const char *const marks[] = {"bits", "w_bit", "quant_method", "method"};
	EmbJson		doc;
	bool		counts = false;
	EmbStatus	status = emb_json_load_optional(dir, name, EMB_JSON_CONFIG_MAX, mem, stop, &doc, err);

	*q = (EmbQuantization) {.method = EMB_QUANT_NONE};
	for (size_t i = 0; status == EMB_OK && doc.root != NULL && i < sizeof(marks) / sizeof(marks[0]); i++)
		counts = counts || json_object_get(doc.root, marks[i]) != NULL;
	if (status == EMB_OK && counts)
		status = parse_object(&doc, doc.root, absent, q, err);
	emb_json_free(&doc);
	return status;
}

/* Two files about one checkpoint must agree; the second may complete the first. */
static EmbStatus
join_files(const EmbQuantization *other, EmbQuantization *q, EmbError *err)
{
	const char *what = NULL;

	if (other->method == EMB_QUANT_NONE)
		return EMB_OK;
	if (!q->names_format && other->names_format)
	{
		q->names_format = true;
		q->is_less_one = other->is_less_one;
	}
	if (other->method != q->method)
		what = "quant_method";
	else if (other->bits != 0 && q->bits != 0 && other->bits != q->bits)
		what = "bits";
	else if (other->group != 0 && q->group != 0 && other->group != q->group)
		what = "group_size";
	else if (other->names_format && other->is_less_one != q->is_less_one)
		what = "checkpoint_format";
	if (what == NULL)
		return EMB_OK;
	emb_error(err, EMB_ERR_FORMAT, "%s and %s say different things of \"%s\"", q->file, other->file, what);
	return emb_error_hint(err, EMB_ERR_FORMAT, "Remove the file that does not belong to the weights.");
}

EmbStatus
emb_quant_read_config(const EmbJson *config, const char *dir, const EmbAllocator *mem, const EmbStop *stop,
					  EmbQuantization *q, EmbError *err)
{
	const json_t *object = json_object_get(config->root, "quantization_config");
	EmbQuantization other;
	EmbStatus	status;

	*q = (EmbQuantization) {.method = EMB_QUANT_NONE};
	if (object == NULL || json_is_null(object))
		object = json_object_get(config->root, "compression_config");	/* its old name in compressed-tensors */
	if (object == NULL || json_is_null(object))
	{
		status = read_file(dir, "quantize_config.json", EMB_QUANT_GPTQ, mem, stop, q, err);
		if (status == EMB_OK && q->method == EMB_QUANT_NONE)
			status = read_file(dir, "quant_config.json", EMB_QUANT_AWQ, mem, stop, q, err);
		return status;
	}
	status = emb_quant_parse(config, object, q, err);
	if (status != EMB_OK || q->method != EMB_QUANT_GPTQ)
		return status;
	status = read_file(dir, "quantize_config.json", EMB_QUANT_GPTQ, mem, stop, &other, err);
	return status == EMB_OK ? join_files(&other, q, err) : status;
}
