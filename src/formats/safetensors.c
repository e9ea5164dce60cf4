/*
 * safetensors.c
 *		Reads and checks the header of a safetensors file.
 */
#include <limits.h>
#include <string.h>

#include "common/sort.h"
#include "formats/json.h"
#include "formats/tensor_files.h"

#define LENGTH_BYTES	8
#define ENTRIES_PER_ASK	4096

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
	{"I64", 64, EMB_DTYPE_I64},
	{"I32", 32, EMB_DTYPE_I32},
	{"I16", 16, EMB_DTYPE_OTHER},
	{"I8", 8, EMB_DTYPE_I8},
	{"U64", 64, EMB_DTYPE_OTHER},
	{"U32", 32, EMB_DTYPE_OTHER},
	{"U16", 16, EMB_DTYPE_OTHER},
	{"U8", 8, EMB_DTYPE_U8},
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
compare_by_offset(const void *a, const void *b, void *ctx)
{
	const EmbTensor *x = a;
	const EmbTensor *y = b;

	(void) ctx;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	/* an empty tensor comes before the tensor that starts at the same place */
	return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

/* Reads dtype and shape of a header entry; *size_bytes is their size. */
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

/* Reads a header entry; offsets change from relative to the data to relative to the file. */
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
						 "%s: tensor \"%s\" has %lld bytes of data where its %s shape needs %lld",
						 doc->file, name, (long long) (end - begin), t->dtype_name, (long long) size_bytes);
	t->offset = data_start + begin;
	t->size_bytes = size_bytes;
	return EMB_OK;
}

/* Tensors must cover the data from front to end, without hole or overlap. */
static EmbStatus
check_coverage(const EmbAllocator *mem, const EmbStop *stop, const EmbJson *doc, EmbTensorShard *shard, int64_t data_start,
			   int64_t data_bytes, EmbError *err)
{
	int64_t		at = data_start;
	EmbStatus	status = emb_sort(shard->tensors, (size_t) shard->n_tensors, sizeof(EmbTensor), compare_by_offset, NULL, mem, stop,
								  "sorting tensors", err);

	if (status != EMB_OK)
		return status;
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

static EmbStatus
cancelled(const EmbJson *doc, EmbError *err)
{
	return emb_error(err, EMB_ERR_CANCELLED, "reading %s was cancelled", doc->file);
}

/* Allocates tensors and names for every entry of the header. */
static EmbStatus
allocate_entries(const EmbAllocator *mem, const EmbStop *stop, EmbTensorShard *shard, const EmbJson *doc, EmbError *err)
{
	const char *name;
	json_t	   *entry;
	size_t		names_bytes = 0;
	size_t		n = 0;

	json_object_foreach(doc->root, name, entry)
	{
		if (++n % ENTRIES_PER_ASK == 0 && emb_should_stop(stop))
			return cancelled(doc, err);
		if (strlen(name) > EMB_TENSORS_MAX_NAME)
			return emb_error(err, EMB_ERR_LIMIT, "%s: a tensor name has %zu bytes, more than %d",
							 doc->file, strlen(name), EMB_TENSORS_MAX_NAME);
		names_bytes += strlen(name) + 1;
	}
	shard->names = emb_alloc(mem, names_bytes);
	shard->tensors = emb_alloc_zero(mem, json_object_size(doc->root) + 1, sizeof(EmbTensor));
	if (shard->names == NULL || shard->tensors == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the %zu tensors of %s",
						 json_object_size(doc->root), doc->file);
	return EMB_OK;
}

static EmbStatus
parse_entries(const EmbAllocator *mem, const EmbStop *stop, EmbTensorShard *shard, int number, const EmbJson *doc,
			  int64_t data_start, int64_t data_bytes, EmbError *err)
{
	const char *name;
	json_t	   *entry;
	char	   *next_name;
	EmbStatus	status = allocate_entries(mem, stop, shard, doc, err);

	if (status != EMB_OK)
		return status;
	next_name = shard->names;
	json_object_foreach(doc->root, name, entry)
	{
		EmbTensor  *t = &shard->tensors[shard->n_tensors];

		if (shard->n_tensors % ENTRIES_PER_ASK == ENTRIES_PER_ASK - 1 && emb_should_stop(stop))
			return cancelled(doc, err);
		if (strcmp(name, "__metadata__") == 0)
			continue;
		status = parse_tensor(doc, name, entry, data_start, data_bytes, t, err);
		if (status != EMB_OK)
			return status;
		t->shard = number;
		t->name = strcpy(next_name, name);
		next_name += strlen(name) + 1;
		shard->n_tensors++;
	}
	return check_coverage(mem, stop, doc, shard, data_start, data_bytes, err);
}

/* Other formats by their first bytes: files that were renamed. */
static EmbStatus
check_format(const EmbFile *file, const uint8_t raw[LENGTH_BYTES], EmbError *err)
{
	if (memcmp(raw, "GGUF", 4) == 0)
	{
		emb_error_at(err, EMB_ERR_FORMAT, 0, "file \"%s\" is a GGUF file, not safetensors", file->path);
		return emb_error_hint(err, EMB_ERR_FORMAT, "Rename it so that its name ends in .gguf, and import that file instead of the directory.");
	}
	if (memcmp(raw, "PK\3\4", 4) == 0)
	{
		emb_error_at(err, EMB_ERR_FORMAT, 0, "file \"%s\" is a zip archive, not safetensors", file->path);
		return emb_error_hint(err, EMB_ERR_FORMAT, "If torch.save wrote it, rename it to pytorch_model.bin.");
	}
	return EMB_OK;
}

/* Reads and parses the JSON header; *data_start is where the data begins. */
static EmbStatus
read_header(const EmbTensorShard *shard, const char *name, const EmbAllocator *mem, const EmbStop *stop,
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
	if (status == EMB_OK)
		status = check_format(file, raw, err);
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
		status = emb_json_parse_stoppable(name, header, (size_t) header_bytes, stop, doc, err);
	emb_release(mem, header);
	*data_start = LENGTH_BYTES + (int64_t) header_bytes;
	return status;
}

EmbStatus
emb_safetensors_read_shard(const char *name, int number, const EmbAllocator *mem, const EmbStop *stop, EmbTensorShard *shard, EmbError *err)
{
	EmbJson		doc = {0};
	int64_t		data_start = 0;
	EmbStatus	status = read_header(shard, name, mem, stop, &doc, &data_start, err);

	if (status == EMB_OK)
		status = parse_entries(mem, stop, shard, number, &doc, data_start, shard->file.size_bytes - data_start, err);
	emb_json_free(&doc);
	return status;
}
