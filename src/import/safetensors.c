/*
 * safetensors.c
 *		Headers checked, tensors found and read as fp32.
 */
#include "import/safetensors.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "import/json.h"

#define SINGLE_FILE		"model.safetensors"
#define INDEX_FILE		"model.safetensors.index.json"
#define LENGTH_BYTES	8

static const struct
{
	const char *name;
	int			bits;
	EmbDtype	dtype;
}			dtypes[] =
{
	{"F32", 32, EMB_DTYPE_F32},
	{"F16", 16, EMB_DTYPE_F16},
	{"BF16", 16, EMB_DTYPE_BF16},
	{"F64", 64, EMB_DTYPE_OTHER},
	{"I64", 64, EMB_DTYPE_OTHER},
	{"I32", 32, EMB_DTYPE_OTHER},
	{"I16", 16, EMB_DTYPE_OTHER},
	{"I8", 8, EMB_DTYPE_OTHER},
	{"U64", 64, EMB_DTYPE_OTHER},
	{"U32", 32, EMB_DTYPE_OTHER},
	{"U16", 16, EMB_DTYPE_OTHER},
	{"U8", 8, EMB_DTYPE_OTHER},
	{"BOOL", 8, EMB_DTYPE_OTHER},
	{"F8_E4M3", 8, EMB_DTYPE_OTHER},
	{"F8_E5M2", 8, EMB_DTYPE_OTHER},
	{"F8_E8M0", 8, EMB_DTYPE_OTHER},
	{"F8_E4M3FNUZ", 8, EMB_DTYPE_OTHER},
	{"F8_E5M2FNUZ", 8, EMB_DTYPE_OTHER},
	{"C64", 64, EMB_DTYPE_OTHER},
};

#define N_DTYPES ((int) (sizeof(dtypes) / sizeof(dtypes[0])))

static int
compare_by_offset(const void *a, const void *b)
{
	const EmbTensor *x = a;
	const EmbTensor *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	/* an empty tensor lies before the one that starts where it stands */
	return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

static int
compare_by_name(const void *a, const void *b)
{
	return strcmp(((const EmbTensor *) a)->name, ((const EmbTensor *) b)->name);
}

/* dtype and shape of one header entry; *size_bytes is what they imply. */
static EmbStatus
parse_type(const EmbJson *doc, const char *name, const json_t *entry, EmbTensor *t,
		   int64_t *size_bytes, EmbError *err)
{
	const char *dtype = json_string_value(json_object_get(entry, "dtype"));
	const json_t *shape = json_object_get(entry, "shape");
	int64_t		bits;
	int			i;

	if (dtype == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: tensor \"%s\" has no dtype", doc->file, name);
	for (i = 0; i < N_DTYPES && strcmp(dtypes[i].name, dtype) != 0; i++)
		;
	if (i == N_DTYPES)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: tensor \"%s\" has the unknown dtype \"%.*s\"",
						 doc->file, name, emb_json_clip(dtype, 40), dtype);
	t->dtype = dtypes[i].dtype;
	t->dtype_name = dtypes[i].name;
	bits = dtypes[i].bits;

	if (!json_is_array(shape))
		return emb_error(err, EMB_ERR_FORMAT, "%s: tensor \"%s\" has no shape", doc->file, name);
	if (json_array_size(shape) > EMB_TENSORS_MAX_RANK)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: tensor \"%s\" has %zu dimensions, more than %d",
						 doc->file, name, json_array_size(shape), EMB_TENSORS_MAX_RANK);
	t->rank = (int) json_array_size(shape);
	t->n_elems = 1;
	for (i = 0; i < t->rank; i++)
	{
		const json_t *dim = json_array_get(shape, i);

		if (!json_is_integer(dim) || json_integer_value(dim) < 0)
			return emb_error(err, EMB_ERR_FORMAT, "%s: tensor \"%s\": dimension %d of its shape is not a count",
							 doc->file, name, i);
		t->shape[i] = json_integer_value(dim);
		if (__builtin_mul_overflow(t->n_elems, t->shape[i], &t->n_elems))
			return emb_error(err, EMB_ERR_FORMAT, "%s: tensor \"%s\" has a shape that overflows", doc->file, name);
	}
	if (__builtin_mul_overflow(t->n_elems, bits / 8, size_bytes))
		return emb_error(err, EMB_ERR_FORMAT, "%s: tensor \"%s\" has a shape that overflows", doc->file, name);
	return EMB_OK;
}

/* One header entry; offsets come relative to the data and leave relative to the file. */
static EmbStatus
parse_tensor(const EmbJson *doc, const char *name, const json_t *entry, int64_t data_start,
			 int64_t data_bytes, EmbTensor *t, EmbError *err)
{
	const json_t *offsets = json_object_get(entry, "data_offsets");
	const json_t *first = json_array_get(offsets, 0);
	const json_t *last = json_array_get(offsets, 1);
	int64_t		size_bytes = 0;
	int64_t		begin,
				end;
	EmbStatus	status;

	if (!json_is_object(entry))
		return emb_error(err, EMB_ERR_FORMAT, "%s: the entry of tensor \"%s\" is not an object", doc->file, name);
	status = parse_type(doc, name, entry, t, &size_bytes, err);
	if (status != EMB_OK)
		return status;
	if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
		return emb_error(err, EMB_ERR_FORMAT, "%s: tensor \"%s\" has no data_offsets of two integers",
						 doc->file, name);
	begin = json_integer_value(first);
	end = json_integer_value(last);
	if (begin < 0 || end < begin || end > data_bytes)
		return emb_error(err, EMB_ERR_FORMAT,
						 "%s: data_offsets %lld..%lld of tensor \"%s\" lie outside the %lld bytes of data",
						 doc->file, (long long) begin, (long long) end, name, (long long) data_bytes);
	if (end - begin != size_bytes)
		return emb_error(err, EMB_ERR_FORMAT,
						 "%s: tensor \"%s\" has %lld bytes of data where its %s shape wants %lld",
						 doc->file, name, (long long) (end - begin), t->dtype_name, (long long) size_bytes);
	t->offset = data_start + begin;
	t->size_bytes = size_bytes;
	return EMB_OK;
}

/* The data must be covered from front to end, without hole or overlap. */
static EmbStatus
check_coverage(const EmbJson *doc, EmbTensorShard *shard, int64_t data_start, int64_t data_bytes, EmbError *err)
{
	int64_t		at = data_start;

	qsort(shard->tensors, shard->n_tensors, sizeof(EmbTensor), compare_by_offset);
	for (int i = 0; i < shard->n_tensors; i++)
	{
		const EmbTensor *t = &shard->tensors[i];

		if (t->offset != at)
			return emb_error_at(err, EMB_ERR_FORMAT, at, "%s: tensor \"%s\" %s", doc->file, t->name,
								t->offset < at ? "overlaps another" : "is preceded by a hole");
		at += t->size_bytes;
	}
	if (at != data_start + data_bytes)
		return emb_error_at(err, EMB_ERR_FORMAT, at, "%s: %lld bytes at the end belong to no tensor",
							doc->file, (long long) (data_start + data_bytes - at));
	return EMB_OK;
}

/* Room for every entry of the header: the tensors and their names. */
static EmbStatus
allocate_entries(EmbTensorSet *set, EmbTensorShard *shard, const EmbJson *doc, EmbError *err)
{
	const char *name;
	json_t	   *entry;
	size_t		names_bytes = 0;

	json_object_foreach(doc->root, name, entry)
	{
		if (strlen(name) > EMB_TENSORS_MAX_NAME)
			return emb_error(err, EMB_ERR_LIMIT, "%s: a tensor name has %zu bytes, more than %d",
							 doc->file, strlen(name), EMB_TENSORS_MAX_NAME);
		names_bytes += strlen(name) + 1;
	}
	shard->names = emb_alloc(set->mem, names_bytes);
	shard->tensors = emb_alloc_zero(set->mem, json_object_size(doc->root) + 1, sizeof(EmbTensor));
	if (shard->names == NULL || shard->tensors == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the %zu tensors of %s",
						 json_object_size(doc->root), doc->file);
	return EMB_OK;
}

static EmbStatus
parse_entries(EmbTensorSet *set, EmbTensorShard *shard, const EmbJson *doc,
			  int64_t data_start, int64_t data_bytes, EmbError *err)
{
	const char *name;
	json_t	   *entry;
	char	   *next_name;
	EmbStatus	status = allocate_entries(set, shard, doc, err);

	if (status != EMB_OK)
		return status;
	next_name = shard->names;
	json_object_foreach(doc->root, name, entry)
	{
		EmbTensor  *t = &shard->tensors[shard->n_tensors];

		if (strcmp(name, "__metadata__") == 0)
			continue;
		status = parse_tensor(doc, name, entry, data_start, data_bytes, t, err);
		if (status != EMB_OK)
			return status;
		t->shard = (int) (shard - set->shards);
		t->name = strcpy(next_name, name);
		next_name += strlen(name) + 1;
		shard->n_tensors++;
	}
	return check_coverage(doc, shard, data_start, data_bytes, err);
}

/* Reads and parses the JSON header; *data_start is where the data begins. */
static EmbStatus
read_header(const EmbTensorShard *shard, const char *name, const EmbAllocator *mem,
			EmbJson *doc, int64_t *data_start, EmbError *err)
{
	const EmbFile *file = &shard->file;
	uint8_t		raw[LENGTH_BYTES];
	uint64_t	header_bytes = 0;
	char	   *header;
	EmbStatus	status;

	if (file->size_bytes < LENGTH_BYTES)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has %lld bytes, too few for a safetensors file",
						 file->path, (long long) file->size_bytes);
	status = emb_file_read(file, 0, raw, sizeof(raw), err);
	if (status != EMB_OK)
		return status;
	for (int i = LENGTH_BYTES - 1; i >= 0; i--)
		header_bytes = header_bytes << 8 | raw[i];
	if (header_bytes > (uint64_t) file->size_bytes - LENGTH_BYTES)
		return emb_error_at(err, EMB_ERR_FORMAT, 0, "file \"%s\" says its header has %llu bytes, but has only %lld",
							file->path, (unsigned long long) header_bytes,
							(long long) file->size_bytes - LENGTH_BYTES);
	if (header_bytes > EMB_TENSORS_MAX_HEADER)
		return emb_error_at(err, EMB_ERR_LIMIT, 0, "file \"%s\" has a header of %llu bytes, more than %d",
							file->path, (unsigned long long) header_bytes, EMB_TENSORS_MAX_HEADER);

	header = emb_alloc(mem, (size_t) header_bytes);
	if (header == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the header of \"%s\" (%llu bytes)",
						 file->path, (unsigned long long) header_bytes);
	status = emb_file_read(file, LENGTH_BYTES, header, (size_t) header_bytes, err);
	if (status == EMB_OK && (header_bytes == 0 || header[0] != '{'))
		status = emb_error_at(err, EMB_ERR_FORMAT, LENGTH_BYTES,
							  "the header of \"%s\" is not a JSON object; is it a safetensors file?", file->path);
	if (status == EMB_OK)
		status = emb_json_parse(name, header, (size_t) header_bytes, doc, err);
	emb_release(mem, header);
	*data_start = LENGTH_BYTES + (int64_t) header_bytes;
	return status;
}

static EmbStatus
open_shard(EmbTensorSet *set, const char *dir, const char *name, EmbError *err)
{
	EmbTensorShard *shard = &set->shards[set->n_shards];
	EmbJson		doc = {0};
	int64_t		data_start = 0;
	EmbStatus	status = emb_file_open(dir, name, &shard->file, err);

	if (status != EMB_OK)
		return status;
	set->n_shards++;
	status = read_header(shard, name, set->mem, &doc, &data_start, err);
	if (status == EMB_OK)
		status = parse_entries(set, shard, &doc, data_start, shard->file.size_bytes - data_start, err);
	if (status == EMB_OK)
		qsort(shard->tensors, shard->n_tensors, sizeof(EmbTensor), compare_by_name);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
begin_set(EmbTensorSet *set, const EmbAllocator *mem, int max_shards, EmbError *err)
{
	set->mem = mem;
	set->n_shards = 0;
	set->shards = emb_alloc_zero(mem, max_shards, sizeof(EmbTensorShard));
	if (set->shards == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model's weights");
	return EMB_OK;
}

EmbStatus
emb_tensors_open_file(const char *dir, const char *name, const EmbAllocator *mem,
					  EmbTensorSet *set, EmbError *err)
{
	EmbStatus	status = begin_set(set, mem, 1, err);

	if (status == EMB_OK)
		status = open_shard(set, dir, name, err);
	if (status != EMB_OK)
		emb_tensors_close(set);
	return status;
}

/* A shard lies beside the index: a plain file name, no way out of the directory. */
static bool
is_plain_file_name(const char *name)
{
	size_t		len = strlen(name);

	return len > 0 && len <= 255 && name[0] != '.' && strchr(name, '/') == NULL && strchr(name, '\\') == NULL;
}

/* Opens each file that the index names, once. names: [EMB_TENSORS_MAX_SHARDS], borrowed from the index. */
static EmbStatus
open_shards(EmbTensorSet *set, const char *dir, const json_t *map, const char **names, EmbError *err)
{
	const char *tensor;
	json_t	   *value;

	json_object_foreach((json_t *) map, tensor, value)
	{
		const char *file = json_string_value(value);
		int			i = 0;
		EmbStatus	status;

		if (file == NULL || !is_plain_file_name(file))
			return emb_error(err, EMB_ERR_FORMAT, INDEX_FILE ": the file of tensor \"%.*s\" is not a plain file name%s%.*s%s",
							 emb_json_clip(tensor, 100), tensor, file ? ": \"" : "",
							 file ? emb_json_clip(file, 100) : 0, file ? file : "", file ? "\"" : "");
		while (i < set->n_shards && strcmp(names[i], file) != 0)
			i++;
		if (i < set->n_shards)
			continue;
		if (set->n_shards == EMB_TENSORS_MAX_SHARDS)
			return emb_error(err, EMB_ERR_LIMIT, INDEX_FILE " names more than %d files", EMB_TENSORS_MAX_SHARDS);
		names[i] = file;
		status = open_shard(set, dir, file, err);
		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}

static const EmbTensor *
find_in_shard(const EmbTensorShard *shard, const char *name)
{
	EmbTensor	key = {.name = name};

	return bsearch(&key, shard->tensors, shard->n_tensors, sizeof(EmbTensor), compare_by_name);
}

/* What the index says must be there; what it does not say is dropped. */
static EmbStatus
match_index(EmbTensorSet *set, const json_t *map, const char **names, EmbError *err)
{
	const char *tensor;
	json_t	   *value;

	json_object_foreach((json_t *) map, tensor, value)
	{
		const char *file = json_string_value(value);
		int			i = 0;

		while (strcmp(names[i], file) != 0)
			i++;
		if (find_in_shard(&set->shards[i], tensor) == NULL)
			return emb_error(err, EMB_ERR_FORMAT, INDEX_FILE " places tensor \"%.*s\" in %.*s, which lacks it",
							 emb_json_clip(tensor, 100), tensor, emb_json_clip(file, 100), file);
	}
	for (int i = 0; i < set->n_shards; i++)
	{
		EmbTensorShard *shard = &set->shards[i];
		int			n_kept = 0;

		for (int j = 0; j < shard->n_tensors; j++)
		{
			const char *file = json_string_value(json_object_get(map, shard->tensors[j].name));

			if (file != NULL && strcmp(file, names[i]) == 0)
				shard->tensors[n_kept++] = shard->tensors[j];
		}
		shard->n_tensors = n_kept;
	}
	return EMB_OK;
}

static EmbStatus
open_index(EmbTensorSet *set, const char *dir, const EmbAllocator *mem, EmbError *err)
{
	const char *names[EMB_TENSORS_MAX_SHARDS] = {0};
	const json_t *map;
	EmbJson		doc;
	EmbStatus	status = emb_json_load(dir, INDEX_FILE, EMB_TENSORS_MAX_HEADER, mem, &doc, err);

	if (status != EMB_OK)
		return status;
	map = json_object_get(doc.root, "weight_map");
	if (!json_is_object(map))
		status = emb_error(err, EMB_ERR_FORMAT, INDEX_FILE ": \"weight_map\" is not an object");
	if (status == EMB_OK)
		status = open_shards(set, dir, map, names, err);
	if (status == EMB_OK)
		status = match_index(set, map, names, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
no_weights(const char *dir, EmbError *err)
{
	static const char *const others[] = {
		"pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack", "model.onnx"
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		if (emb_file_exists(dir, others[i]))
		{
			emb_error(err, EMB_ERR_UNSUPPORTED, "\"%s\" holds its weights as %s, which cannot be imported", dir, others[i]);
			return emb_error_hint(err, EMB_ERR_UNSUPPORTED,
								  "Download the model's model.safetensors, or convert the weights "
								  "(in Python: model.save_pretrained(dir, safe_serialization=True)).");
		}
	}
	emb_error(err, EMB_ERR_NOT_FOUND, "\"%s\" has neither model.safetensors nor model.safetensors.index.json", dir);
	return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Download the model's model.safetensors into the directory.");
}

EmbStatus
emb_tensors_open_dir(const char *dir, const EmbAllocator *mem, EmbTensorSet *set, EmbError *err)
{
	EmbStatus	status;

	if (emb_file_exists(dir, SINGLE_FILE))
		return emb_tensors_open_file(dir, SINGLE_FILE, mem, set, err);
	if (!emb_file_exists(dir, INDEX_FILE))
		return no_weights(dir, err);
	status = begin_set(set, mem, EMB_TENSORS_MAX_SHARDS, err);
	if (status == EMB_OK)
		status = open_index(set, dir, mem, err);
	if (status != EMB_OK)
		emb_tensors_close(set);
	return status;
}

void
emb_tensors_close(EmbTensorSet *set)
{
	if (set->shards == NULL)
		return;
	for (int i = 0; i < set->n_shards; i++)
	{
		emb_file_close(&set->shards[i].file);
		emb_release(set->mem, set->shards[i].names);
		emb_release(set->mem, set->shards[i].tensors);
	}
	emb_release(set->mem, set->shards);
	set->shards = NULL;
	set->n_shards = 0;
}

const EmbTensor *
emb_tensors_find(const EmbTensorSet *set, const char *name)
{
	const EmbTensor *found = NULL;

	for (int i = 0; i < set->n_shards && found == NULL; i++)
		found = find_in_shard(&set->shards[i], name);
	return found;
}

static float
float_of_bits(uint32_t bits)
{
	float		x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* IEEE 754 binary16, exactly and without the floating-point unit's modes (subnormals!). */
static uint32_t
bits_of_f16(uint16_t h)
{
	uint32_t	sign = (uint32_t) (h & 0x8000) << 16;
	uint32_t	exponent = h >> 10 & 31;
	uint32_t	mantissa = h & 0x3FF;

	if (exponent == 31)
		return sign | 0x7F800000 | mantissa << 13;
	if (exponent == 0)
	{
		if (mantissa == 0)
			return sign;
		for (exponent = 1; (mantissa & 0x400) == 0; mantissa <<= 1)
			exponent--;			/* wraps below zero; 112 more brings it back */
		mantissa &= 0x3FF;
	}
	return sign | (exponent + 112) << 23 | mantissa << 13;
}

static EmbStatus
check_finite(const EmbTensorSet *set, const EmbTensor *t, int64_t first, int64_t n, const float *x, EmbError *err)
{
	for (int64_t i = 0; i < n; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &x[i], sizeof(bits));
		if ((bits & 0x7F800000) == 0x7F800000)
			return emb_error_at(err, EMB_ERR_FORMAT, t->offset + (first + i) * (t->size_bytes / t->n_elems),
								"tensor \"%s\" of \"%s\" has %s at index %lld", t->name,
								set->shards[t->shard].file.path, (bits & 0x7FFFFF) != 0 ? "a NaN" : "an infinity",
								(long long) (first + i));
	}
	return EMB_OK;
}

EmbStatus
emb_tensors_check_dtype(const EmbTensorSet *set, const EmbTensor *tensor, EmbError *err)
{
	if (tensor->dtype == EMB_DTYPE_OTHER)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%s\" of \"%s\" is %s; weights must be F32, F16 or BF16",
						 tensor->name, set->shards[tensor->shard].file.path, tensor->dtype_name);
	return EMB_OK;
}

EmbStatus
emb_tensors_read_f32(const EmbTensorSet *set, const EmbTensor *tensor,
					 int64_t first, int64_t n, float *out, EmbError *err)
{
	const EmbFile *file = &set->shards[tensor->shard].file;
	EmbStatus	status = emb_tensors_check_dtype(set, tensor, err);

	if (status != EMB_OK)
		return status;
	if (first < 0 || n < 0 || first > tensor->n_elems || n > tensor->n_elems - first)
		return emb_error(err, EMB_ERR_INTERNAL, "elements %lld + %lld of tensor \"%s\", which has %lld",
						 (long long) first, (long long) n, tensor->name, (long long) tensor->n_elems);
	if (tensor->dtype == EMB_DTYPE_F32)
		status = emb_file_read(file, tensor->offset + first * 4, out, (size_t) n * 4, err);
	else
	{
		/* the 16-bit values go to the upper half of out, and widen from the front */
		uint8_t    *half = (uint8_t *) out + (size_t) n * 2;

		status = emb_file_read(file, tensor->offset + first * 2, half, (size_t) n * 2, err);
		for (int64_t i = 0; status == EMB_OK && i < n; i++)
		{
			uint16_t	h;

			memcpy(&h, half + i * 2, sizeof(h));
			out[i] = float_of_bits(tensor->dtype == EMB_DTYPE_F16 ? bits_of_f16(h) : (uint32_t) h << 16);
		}
	}
	if (status != EMB_OK)
		return status;
	return check_finite(set, tensor, first, n, out, err);
}
