/*
 * gguf.c
 *		Opens the GGUF files of a model, and reads their tensors as fp32.
 */
#include "formats/gguf_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------- shards */

static EmbStatus
open_shard(EmbGguf *gguf, const char *path, EmbError *err)
{
	EmbGgufShard *shard = &gguf->shards[gguf->n_shards];
	EmbStatus	status = emb_file_open(path, NULL, &shard->file, err);

	if (status != EMB_OK)
		return status;
	gguf->n_shards++;
	status = emb_gguf_parse(gguf, shard, err);
	if (status == EMB_ERR_FORMAT && (err == NULL || err->hint[0] == '\0'))
		return emb_error_hint(err, status, "Compare the file's size with the hub's: a download may have been cut off.");
	for (int i = 0; status == EMB_OK && i < shard->n_tensors; i++)
		shard->tensors[i].shard = gguf->n_shards - 1;
	return status;
}

bool
emb_gguf_is_shard_name(const char *name, size_t *prefix_bytes, int *number, int *n_shards)
{
	static const char pattern[] = "-00000-of-00000.gguf";
	size_t		n = sizeof(pattern) - 1;
	size_t		len = strlen(name);
	const char *end = name + len - n;

	if (len <= n)
		return false;
	for (size_t i = 0; i < n; i++)
	{
		if (pattern[i] == '0' ? end[i] < '0' || end[i] > '9' : end[i] != pattern[i])
			return false;
	}
	*prefix_bytes = len - n;
	*number = atoi(end + 1);
	*n_shards = atoi(end + 10);
	return *number >= 1 && *number <= *n_shards;
}

/* The file's own idea of which shard it is must be its name's. */
static EmbStatus
check_split(const EmbGguf *gguf, int index, int n_shards, EmbError *err)
{
	const EmbGguf one = {.mem = gguf->mem, .n_shards = 1, .shards = &gguf->shards[index]};
	int64_t		number = index;
	int64_t		count = n_shards;
	EmbStatus	status;

	if ((status = emb_gguf_get_int(&one, "split.no", 0, INT32_MAX, &number, err)) != EMB_OK ||
		(status = emb_gguf_get_int(&one, "split.count", 0, INT32_MAX, &count, err)) != EMB_OK)
		return status;
	if (number == index && (count == n_shards || (count == 0 && n_shards == 1)))
		return EMB_OK;
	emb_error(err, EMB_ERR_FORMAT, "file \"%s\" is number %lld of %lld files of its model, but by its name number %d of %d", one.shards->file.path,
			  (long long) number + 1, (long long) count, index + 1, n_shards);
	return emb_error_hint(err, EMB_ERR_FORMAT, "Keep the names of the hub, which end in -00001-of-%05lld.gguf and so on.", (long long) count);
}

/* No tensor twice, and as many as the first shard says. */
static EmbStatus
check_all_shards(const EmbGguf *gguf, EmbError *err)
{
	const EmbGguf first = {.mem = gguf->mem, .n_shards = 1, .shards = gguf->shards};
	int64_t		n_tensors = 0;
	int64_t		count;
	EmbStatus	status;

	for (int i = 0; i < gguf->n_shards; i++)
	{
		const EmbGguf before = {.mem = gguf->mem, .n_shards = i, .shards = gguf->shards};
		const EmbGgufShard *shard = &gguf->shards[i];

		n_tensors += shard->n_tensors;
		for (int k = 0; i > 0 && k < shard->n_tensors; k++)
		{
			if (k % 256 == 0 && emb_should_stop(gguf->stop))
				return emb_error(err, EMB_ERR_CANCELLED, "reading \"%s\" was cancelled", shard->file.path);
			if (emb_gguf_find_tensor(&before, shard->tensors[k].name) != NULL)
				return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has tensor \"%.*s\", which another shard has, too", shard->file.path,
								 EMB_GGUF_SHOW(shard->tensors[k].name));
		}
	}
	count = n_tensors;
	status = emb_gguf_get_int(&first, "split.tensors.count", 0, INT32_MAX, &count, err);
	if (status == EMB_OK && count != n_tensors)
		return emb_error(err, EMB_ERR_FORMAT, "\"%s\" says that its model has %lld tensors, but its %d files have %lld", gguf->shards[0].file.path,
						 (long long) count, gguf->n_shards, (long long) n_tensors);
	return status;
}

/* path: of any of the n shards; prefix_bytes of it come before the number. */
static EmbStatus
open_shards(EmbGguf *gguf, const char *path, size_t prefix_bytes, int n, EmbError *err)
{
	char		name[sizeof(gguf->shards[0].file.path)];
	EmbStatus	status = EMB_OK;

	for (int i = 0; status == EMB_OK && i < n; i++)
	{
		int			len = snprintf(name, sizeof(name), "%.*s-%05d-of-%05d.gguf", (int) prefix_bytes, path, i + 1, n);

		if (len < 0 || (size_t) len >= sizeof(name))
			return emb_error(err, EMB_ERR_LIMIT, "path \"%.100s...\" is longer than %zu bytes", path, sizeof(name) - 1);
		status = open_shard(gguf, name, err);
		if (status == EMB_ERR_NOT_FOUND)
			return emb_error_hint(err, status, "Download all %d files of the model into one directory.", n);
		if (status == EMB_OK)
			status = check_split(gguf, i, n, err);
	}
	return status;
}

EmbStatus
emb_gguf_open(const char *path, const EmbAllocator *mem, const EmbStop *stop, EmbGguf *gguf, EmbError *err)
{
	size_t		prefix_bytes = 0;
	int			number = 1;
	int			n = 1;
	bool		is_shard = emb_gguf_is_shard_name(path, &prefix_bytes, &number, &n);
	EmbStatus	status;

	*gguf = (EmbGguf) {.mem = mem, .stop = stop};
	if (n > EMB_GGUF_MAX_SHARDS)
		return emb_error(err, EMB_ERR_LIMIT, "\"%.*s\" is one of %d files, more than %d", emb_json_clip(path, 240), path, n, EMB_GGUF_MAX_SHARDS);
	gguf->shards = emb_alloc_zero(mem, (size_t) n, sizeof(EmbGgufShard));
	if (gguf->shards == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a GGUF file");
	for (int i = 0; i < n; i++)
		gguf->shards[i].file.fd = -1;
	if (is_shard)
		status = open_shards(gguf, path, prefix_bytes, n, err);
	else if ((status = open_shard(gguf, path, err)) == EMB_OK)
		status = check_split(gguf, 0, 1, err);
	if (status == EMB_OK)
		status = check_all_shards(gguf, err);
	if (status != EMB_OK)
		emb_gguf_close(gguf);
	return status;
}

void
emb_gguf_close(EmbGguf *gguf)
{
	if (gguf->shards == NULL)
		return;
	for (int i = 0; i < gguf->n_shards; i++)
	{
		emb_file_close(&gguf->shards[i].file);
		emb_release(gguf->mem, gguf->shards[i].header);
		emb_release(gguf->mem, gguf->shards[i].keys);
		emb_release(gguf->mem, gguf->shards[i].tensors);
	}
	emb_release(gguf->mem, gguf->shards);
	*gguf = (EmbGguf) {0};
}

/* --------------------------------------------------------------- reading */

/* The first tensor of a shard that does not come before name, or NULL. */
static const EmbGgufTensor *
lower_bound(const EmbGgufShard *shard, const char *name)
{
	int			low = 0;
	int			high = shard->n_tensors;

	while (low < high)
	{
		int			mid = low + (high - low) / 2;

		if (strcmp(name, shard->tensors[mid].name) <= 0)
			high = mid;
		else
			low = mid + 1;
	}
	return low < shard->n_tensors ? &shard->tensors[low] : NULL;
}

const EmbGgufTensor *
emb_gguf_find_tensor(const EmbGguf *gguf, const char *name)
{
	for (int i = 0; i < gguf->n_shards; i++)
	{
		const EmbGgufTensor *t = lower_bound(&gguf->shards[i], name);

		if (t != NULL && strcmp(t->name, name) == 0)
			return t;
	}
	return NULL;
}

bool
emb_gguf_has_prefix(const EmbGguf *gguf, const char *prefix)
{
	for (int i = 0; i < gguf->n_shards; i++)
	{
		const EmbGgufTensor *t = lower_bound(&gguf->shards[i], prefix);

		if (t != NULL && strncmp(t->name, prefix, strlen(prefix)) == 0)
			return true;
	}
	return false;
}

EmbStatus
emb_gguf_check_type(const EmbGguf *gguf, const EmbGgufTensor *tensor, EmbError *err)
{
	if (tensor->type->decode != NULL)
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%.*s\" of \"%s\" is %s, which cannot be imported", EMB_GGUF_SHOW(tensor->name),
			  gguf->shards[tensor->shard].file.path, tensor->type->name);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED,
						  "Take the model's Q8_0, Q4_K_M or F16 file: F32, F16, BF16, Q8_0, Q4_0 to Q5_1, Q2_K to Q6_K, IQ4_NL and IQ4_XS can be read.");
}

static EmbStatus
check_finite(const EmbGguf *gguf, const EmbGgufTensor *t, int64_t first, int64_t n, const float *x, EmbError *err)
{
	for (int64_t i = 0; i < n; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &x[i], sizeof(bits));
		if ((bits & 0x7F800000) == 0x7F800000)
			return emb_error_at(err, EMB_ERR_FORMAT, t->offset + (first + i) / t->type->n_elems * t->type->n_bytes,
								"tensor \"%.*s\" of \"%s\" has %s at index %lld", EMB_GGUF_SHOW(t->name), gguf->shards[t->shard].file.path,
								(bits & 0x7FFFFF) != 0 ? "a NaN" : "an infinity", (long long) (first + i));
	}
	return EMB_OK;
}

EmbStatus
emb_gguf_read_blocks(const EmbGguf *gguf, const EmbGgufTensor *tensor, int64_t first, int64_t n, uint8_t *blocks, EmbError *err)
{
	const EmbGgmlType *type = tensor->type;

	if (first < 0 || n < 0 || first > tensor->n_elems || n > tensor->n_elems - first || first % type->n_elems != 0 || n % type->n_elems != 0)
		return emb_error(err, EMB_ERR_INTERNAL, "elements %lld + %lld of tensor \"%.*s\", which has %lld in blocks of %d",
						 (long long) first, (long long) n, EMB_GGUF_SHOW(tensor->name), (long long) tensor->n_elems, type->n_elems);
	return emb_file_read(&gguf->shards[tensor->shard].file, tensor->offset + first / type->n_elems * type->n_bytes, blocks,
						 (size_t) (n / type->n_elems * type->n_bytes), err);
}

/*
 * The blocks are read to the end of out and decoded from the front: block k is
 * read from behind the values of the blocks before it, because no block is
 * larger than its values. It is copied, because its own values may cover it.
 */
EmbStatus
emb_gguf_read_f32(const EmbGguf *gguf, const EmbGgufTensor *tensor, int64_t first, int64_t n, float *out, EmbError *err)
{
	const EmbGgmlType *type = tensor->type;
	int64_t		n_blocks = n / type->n_elems;
	uint8_t    *blocks = (uint8_t *) out + n * (int64_t) sizeof(float) - n_blocks * type->n_bytes;
	EmbStatus	status = emb_gguf_check_type(gguf, tensor, err);

	if (status == EMB_OK)
		status = emb_gguf_read_blocks(gguf, tensor, first, n, blocks, err);
	for (int64_t k = 0; status == EMB_OK && k < n_blocks; k++)
	{
		uint8_t		block[EMB_GGML_MAX_BLOCK_BYTES];

		memcpy(block, blocks + k * type->n_bytes, (size_t) type->n_bytes);
		type->decode(block, out + k * type->n_elems);
	}
	return status == EMB_OK ? check_finite(gguf, tensor, first, n, out, err) : status;
}
