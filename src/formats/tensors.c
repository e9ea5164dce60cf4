/*
 * tensors.c
 *		Finds the files and tensors of a model directory's weights, and reads
 *		them as fp32.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/sort.h"
#include "formats/diagnose.h"
#include "common/half.h"
#include "formats/json.h"
#include "formats/tensor_files.h"

/* The weight files, in transformers' order of preference. */
static const struct
{
	const char *file;
	const char *index;
}			layouts[] =
{
	{"model.safetensors", "model.safetensors.index.json"},
	{"pytorch_model.bin", "pytorch_model.bin.index.json"},
};

#define ENTRIES_PER_ASK	4096

#define N_LAYOUTS ((int) (sizeof(layouts) / sizeof(layouts[0])))

static int
compare_by_name(const void *a, const void *b)
{
	return strcmp(((const EmbTensor *) a)->name, ((const EmbTensor *) b)->name);
}

static int
compare_names(const void *a, const void *b, void *ctx)
{
	(void) ctx;
	return compare_by_name(a, b);
}

static const EmbTensor *
find_in_shard(const EmbTensorShard *shard, const char *name)
{
	EmbTensor	key = {.name = name};

	return bsearch(&key, shard->tensors, shard->n_tensors, sizeof(EmbTensor), compare_by_name);
}

static bool
ends_with(const char *s, const char *end)
{
	size_t		n = strlen(s);

	return n >= strlen(end) && strcmp(s + n - strlen(end), end) == 0;
}

static bool
is_torch_name(const char *name)
{
	return ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth");
}

static EmbStatus
open_shard(EmbTensorSet *set, const char *dir, const char *name, EmbError *err)
{
	EmbTensorShard *shard = &set->shards[set->n_shards];
	EmbStatus	status = emb_file_open(dir, name, &shard->file, err);

	if (status != EMB_OK)
		return status;
	status = (is_torch_name(name) ? emb_torch_read_shard : emb_safetensors_read_shard)
		(name, set->n_shards++, set->mem, set->stop, shard, err);
	/* a file that was cut off does not name a tensor twice */
	if (status == EMB_ERR_FORMAT && (err == NULL || (err->hint[0] == '\0' && strstr(err->message, "duplicate") == NULL)))
		return emb_error_hint(err, status, "Compare the file's size with the hub's: a download may have been cut off.");
	if (status == EMB_OK)
		status = emb_sort(shard->tensors, (size_t) shard->n_tensors, sizeof(EmbTensor), compare_names, NULL, set->mem, set->stop,
						  "sorting tensors", err);
	return status;
}

/* Polls stop for each entry of a list that may be long; *n counts the entries. */
static EmbStatus
ask_stop(const EmbTensorSet *set, size_t *n, EmbError *err)
{
	return ++*n % ENTRIES_PER_ASK == 0 && emb_should_stop(set->stop)
		? emb_error(err, EMB_ERR_CANCELLED, "reading a model's weights was cancelled") : EMB_OK;
}

static EmbStatus
begin_set(EmbTensorSet *set, const EmbAllocator *mem, const EmbStop *stop, int max_shards, EmbError *err)
{
	set->mem = mem;
	set->stop = stop;
	set->n_shards = 0;
	set->shards = emb_alloc_zero(mem, max_shards, sizeof(EmbTensorShard));
	if (set->shards == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model's weights");
	return EMB_OK;
}

EmbStatus
emb_tensors_open_file(const char *dir, const char *name, const EmbAllocator *mem, const EmbStop *stop,
					  EmbTensorSet *set, EmbError *err)
{
	EmbStatus	status = begin_set(set, mem, stop, 1, err);

	if (status == EMB_OK)
		status = open_shard(set, dir, name, err);
	if (status != EMB_OK)
		emb_tensors_close(set);
	return status;
}

/* Adds prefix to the names of a shard; their order stays. */
static EmbStatus
prefix_names(EmbTensorSet *set, EmbTensorShard *shard, const char *prefix, EmbError *err)
{
	size_t		prefix_bytes = strlen(prefix);
	size_t		bytes = 1;
	char	   *names;
	char	   *to;

	for (int i = 0; i < shard->n_tensors; i++)
	{
		size_t		n = prefix_bytes + strlen(shard->tensors[i].name);

		if (n > EMB_TENSORS_MAX_NAME)
			return emb_error(err, EMB_ERR_LIMIT, "file \"%s\" has a tensor name of more than %d bytes", shard->file.path,
							 EMB_TENSORS_MAX_NAME - (int) prefix_bytes);
		bytes += n + 1;
	}
	names = to = emb_alloc(set->mem, bytes);
	if (names == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the names of %d tensors", shard->n_tensors);
	for (int i = 0; i < shard->n_tensors; i++)
	{
		size_t		n = strlen(shard->tensors[i].name) + 1;

		memcpy(to, prefix, prefix_bytes);
		memcpy(to + prefix_bytes, shard->tensors[i].name, n);
		shard->tensors[i].name = to;
		to += prefix_bytes + n;
	}
	emb_release(set->mem, shard->names);
	shard->names = names;
	return EMB_OK;
}

static EmbStatus
add_shard(EmbTensorSet *set, const char *dir, const char *name, EmbError *err)
{
	EmbTensorShard *shards = emb_alloc_zero(set->mem, (size_t) set->n_shards + 1, sizeof(EmbTensorShard));

	if (shards == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model's weights");
	memcpy(shards, set->shards, set->n_shards * sizeof(EmbTensorShard));
	emb_release(set->mem, set->shards);
	set->shards = shards;
	return open_shard(set, dir, name, err);
}

EmbStatus
emb_tensors_add_file(EmbTensorSet *set, const char *dir, const char *name, const char *prefix, EmbError *err)
{
	EmbStatus	status = add_shard(set, dir, name, err);

	if (status == EMB_OK && prefix != NULL && find_in_shard(&set->shards[set->n_shards - 1], "weight") != NULL)
		status = prefix_names(set, &set->shards[set->n_shards - 1], prefix, err);
	return status;
}

EmbStatus
emb_tensors_add_file_under(EmbTensorSet *set, const char *dir, const char *name, const char *prefix, EmbError *err)
{
	EmbStatus	status = add_shard(set, dir, name, err);

	if (status == EMB_OK)
		status = prefix_names(set, &set->shards[set->n_shards - 1], prefix, err);
	return status;
}

/* A shard must have a plain file name, so that no index leads out of its directory. */
static bool
is_plain_file_name(const char *name)
{
	size_t		len = strlen(name);

	return len > 0 && len <= 255 && name[0] != '.' && strchr(name, '/') == NULL && strchr(name, '\\') == NULL;
}

/*
 * Opens each file in the index once. names: [EMB_TENSORS_MAX_SHARDS], borrowed
 * from the index.
 */
static EmbStatus
open_shards(EmbTensorSet *set, const char *dir, const char *index, const json_t *map, const char **names, EmbError *err)
{
	const char *tensor;
	json_t	   *value;
	size_t		n_entries = 0;

	json_object_foreach((json_t *) map, tensor, value)
	{
		const char *file = json_string_value(value);
		int			i = 0;
		EmbStatus	status = ask_stop(set, &n_entries, err);

		if (status != EMB_OK)
			return status;
		if (file == NULL || !is_plain_file_name(file))
			return emb_error(err, EMB_ERR_FORMAT, "%s: the file of tensor \"%.*s\" is not a plain file name%s%.*s%s", index,
							 emb_json_clip(tensor, 100), tensor, file ? ": \"" : "",
							 file ? emb_json_clip(file, 100) : 0, file ? file : "", file ? "\"" : "");
		while (i < set->n_shards && strcmp(names[i], file) != 0)
			i++;
		if (i < set->n_shards)
			continue;
		if (set->n_shards == EMB_TENSORS_MAX_SHARDS)
			return emb_error(err, EMB_ERR_LIMIT, "%s names more than %d files", index, EMB_TENSORS_MAX_SHARDS);
		names[i] = file;
		status = open_shard(set, dir, file, err);
		if (status == EMB_ERR_NOT_FOUND && !emb_file_is_dangling(dir, file))
			return emb_error_hint(err, status, "%s names it: download all the files that it lists.", index);
		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}

/* Whether a shard after number i has the tensor, or the one before that the index names. */
static bool
is_elsewhere(const EmbTensorSet *set, int i, const char *tensor, const char *file, const char **names)
{
	for (int k = 0; k < set->n_shards; k++)
	{
		bool		is_named = file != NULL && strcmp(file, names[k]) == 0;

		if (k != i && (is_named || (k > i && (file == NULL || strcmp(file, names[i]) != 0))) && find_in_shard(&set->shards[k], tensor) != NULL)
			return true;
	}
	return false;
}

/*
 * The shards' own headers say what is in them, as transformers reads them. The
 * index counts only where several have a tensor; without its word the last one
 * does.
 */
static EmbStatus
drop_doubles(EmbTensorSet *set, const json_t *map, const char **names, EmbError *err)
{
	size_t		n_entries = 0;

	for (int i = 0; i < set->n_shards; i++)
	{
		EmbTensorShard *shard = &set->shards[i];
		int			n_kept = 0;

		for (int j = 0; j < shard->n_tensors; j++)
		{
			const char *file = json_string_value(json_object_get(map, shard->tensors[j].name));
			EmbStatus	status = ask_stop(set, &n_entries, err);

			if (status != EMB_OK)
				return status;
			if (!is_elsewhere(set, i, shard->tensors[j].name, file, names))
				shard->tensors[n_kept++] = shard->tensors[j];
		}
		shard->n_tensors = n_kept;
	}
	return EMB_OK;
}

static EmbStatus
open_index(EmbTensorSet *set, const char *dir, const char *index, const EmbAllocator *mem, EmbError *err)
{
	const char *names[EMB_TENSORS_MAX_SHARDS] = {0};
	const json_t *map;
	EmbJson		doc;
	EmbStatus	status = emb_json_load(dir, index, EMB_TENSORS_MAX_HEADER, mem, set->stop, &doc, err);

	if (status != EMB_OK)
		return status;
	map = json_object_get(doc.root, "weight_map");
	if (!json_is_object(map))
		status = emb_error(err, EMB_ERR_FORMAT, "%s: \"weight_map\" is not an object", index);
	if (status == EMB_OK)
		status = open_shards(set, dir, index, map, names, err);
	if (status == EMB_OK)
		status = drop_doubles(set, map, names, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
open_sharded(const char *dir, const char *index, const EmbAllocator *mem, const EmbStop *stop, EmbTensorSet *set, EmbError *err)
{
	EmbStatus	status = begin_set(set, mem, stop, EMB_TENSORS_MAX_SHARDS, err);

	if (status == EMB_OK)
		status = open_index(set, dir, index, mem, err);
	if (status != EMB_OK)
		emb_tensors_close(set);
	return status;
}

bool
emb_tensors_exist(const char *dir)
{
	for (int i = 0; i < N_LAYOUTS; i++)
	{
		if (emb_file_exists(dir, layouts[i].file) || emb_file_exists(dir, layouts[i].index))
			return true;
	}
	return false;
}

EmbStatus
emb_tensors_check_start(const char *dir, EmbError *err)
{
	EmbFile		file;
	EmbStatus	status = EMB_OK;

	for (int i = 0; i < N_LAYOUTS; i++)
	{
		if (!emb_file_exists(dir, layouts[i].file))
			continue;
		status = emb_file_open(dir, layouts[i].file, &file, err);
		if (status == EMB_OK)
			emb_file_close(&file);
		break;
	}
	return status;
}

EmbStatus
emb_tensors_open_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTensorSet *set, EmbError *err)
{
	for (int i = 0; i < N_LAYOUTS; i++)
	{
		if (emb_file_exists(dir, layouts[i].file))
			return emb_tensors_open_file(dir, layouts[i].file, mem, stop, set, err);
		if (emb_file_exists(dir, layouts[i].index))
			return open_sharded(dir, layouts[i].index, mem, stop, set, err);
	}
	return emb_diagnose_no_weights(dir, err);
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

static bool
is_float(EmbDtype dtype)
{
	return dtype == EMB_DTYPE_F32 || dtype == EMB_DTYPE_F16 || dtype == EMB_DTYPE_BF16;
}

EmbStatus
emb_tensors_check_dtype(const EmbTensorSet *set, const EmbTensor *tensor, EmbError *err)
{
	if (!is_float(tensor->dtype))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%s\" of \"%s\" is %s; weights must be F32, F16 or BF16",
						 tensor->name, set->shards[tensor->shard].file.path, tensor->dtype_name);
	return EMB_OK;
}

static EmbStatus
check_range(const EmbTensor *tensor, int64_t first, int64_t n, EmbError *err)
{
	if (first < 0 || n < 0 || first > tensor->n_elems || n > tensor->n_elems - first)
		return emb_error(err, EMB_ERR_INTERNAL, "elements %lld + %lld of tensor \"%s\", which has %lld",
						 (long long) first, (long long) n, tensor->name, (long long) tensor->n_elems);
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
	status = check_range(tensor, first, n, err);
	if (status != EMB_OK)
		return status;
	if (tensor->dtype == EMB_DTYPE_F32)
		status = emb_file_read(file, tensor->offset + first * 4, out, (size_t) n * 4, err);
	else
	{
		/* the 16-bit values go to the upper half of out, and are widened from the front */
		uint8_t    *half = (uint8_t *) out + (size_t) n * 2;

		status = emb_file_read(file, tensor->offset + first * 2, half, (size_t) n * 2, err);
		for (int64_t i = 0; status == EMB_OK && i < n; i++)
		{
			uint16_t	h;

			memcpy(&h, half + i * 2, sizeof(h));
			out[i] = tensor->dtype == EMB_DTYPE_F16 ? emb_float_of_f16(h) : emb_float_of_bf16(h);
		}
	}
	if (status != EMB_OK)
		return status;
	return check_finite(set, tensor, first, n, out, err);
}

EmbStatus
emb_tensors_read_raw(const EmbTensorSet *set, const EmbTensor *tensor,
					 int64_t first, int64_t n, void *out, EmbError *err)
{
	const EmbFile *file = &set->shards[tensor->shard].file;
	int64_t		elem_bytes;
	EmbStatus	status = check_range(tensor, first, n, err);

	if (status != EMB_OK || n == 0)
		return status;
	if (tensor->dtype == EMB_DTYPE_OTHER)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%s\" of \"%s\" is %s, which cannot be read",
						 tensor->name, file->path, tensor->dtype_name);
	elem_bytes = tensor->size_bytes / tensor->n_elems;
	return emb_file_read(file, tensor->offset + first * elem_bytes, out, (size_t) (n * elem_bytes), err);
}
