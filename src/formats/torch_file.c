/*
 * torch_file.c
 *		A state dict as torch.save writes it.
 *
 * Since torch 1.6 the file is a zip: PREFIX/data.pkl is the pickle, PREFIX/data/KEY
 * has the bytes of the storage with that key. The old layout is a sequence: three
 * pickles (a magic number, the version 1001, machine properties), the pickle of the
 * state dict, a pickled list of keys, and for each key the number of elements in 8
 * bytes and the elements. All numbers are little endian.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pickle.h"
#include "formats/tensor_files.h"
#include "formats/zip.h"

/* Enough for 40,000 tensors. The pickle machine may take 40 times this size. */
#define PICKLE_MAX		(4 * 1024 * 1024)
#define STORAGES_PER_ASK	4096

/* The pickles of the old layout's magic number and version. */
static const uint8_t old_start[] = {
	0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, '.',
	0x80, 0x02, 'M', 0xE9, 0x03, '.'
};

typedef struct TorchFile
{
	const char *name;			/* of the file, for messages */
	int			number;
	const EmbAllocator *mem;
	const EmbStop *stop;
	EmbTensorShard *shard;
	EmbPickle	pickle;
	int64_t    *data_at;		/* [n_storages]: where the storage's elements start in the file */
	EmbError   *err;
} TorchFile;

static EmbStatus
no_memory(const TorchFile *t)
{
	return emb_error(t->err, EMB_ERR_NOMEM, "out of memory for the tensors of \"%s\"", t->shard->file.path);
}

static EmbStatus
cancelled(const TorchFile *t)
{
	return emb_error(t->err, EMB_ERR_CANCELLED, "reading %s was cancelled", t->name);
}

static int64_t
storage_bytes(const EmbPickleStorage *storage)
{
	int64_t		bytes;

	return __builtin_mul_overflow(storage->n_elems, storage->elem_bytes, &bytes) ? INT64_MAX : bytes;
}

/* Copies the pickle's tensors to a shard. */
static EmbStatus
fill_shard(const TorchFile *t)
{
	EmbTensorShard *shard = t->shard;
	size_t		names_bytes = 1;
	char	   *name;

	for (uint32_t i = 0; i < t->pickle.n_tensors; i++)
		names_bytes += t->pickle.tensors[i].name.len + 1;
	shard->names = name = emb_alloc(t->mem, names_bytes);
	shard->tensors = emb_alloc_zero(t->mem, (size_t) t->pickle.n_tensors + 1, sizeof(EmbTensor));
	if (shard->names == NULL || shard->tensors == NULL)
		return no_memory(t);
	for (uint32_t i = 0; i < t->pickle.n_tensors; i++)
	{
		const EmbPickleTensor *from = &t->pickle.tensors[i];
		const EmbPickleStorage *storage = &t->pickle.storages[from->storage];
		EmbTensor  *to = &shard->tensors[shard->n_tensors++];

		memcpy(name, from->name.text, from->name.len);
		name[from->name.len] = '\0';
		to->name = name;
		name += from->name.len + 1;
		to->dtype_name = storage->dtype_name;
		to->dtype = storage->dtype;
		to->shard = t->number;
		to->rank = from->rank;
		memcpy(to->shape, from->shape, sizeof(to->shape));
		to->n_elems = from->n_elems;
		/*
		 * inside the storage, and the storage is inside the file: neither
		 * product nor sum overflows
		 */
		to->offset = t->data_at[from->storage] + from->first * storage->elem_bytes;
		to->size_bytes = from->n_elems * storage->elem_bytes;
	}
	return EMB_OK;
}

static EmbStatus
allocate_places(TorchFile *t)
{
	t->data_at = emb_alloc_zero(t->mem, (size_t) t->pickle.n_storages + 1, sizeof(int64_t));
	return t->data_at == NULL ? no_memory(t) : EMB_OK;
}

/* ------------------------------------------------------------- the zip */

/* prefix_len: length of "PREFIX/" in PREFIX/data.pkl. */
static EmbStatus
place_in_zip(TorchFile *t, const EmbZip *zip, const char *prefix, int prefix_len)
{
	EmbStatus	status = allocate_places(t);

	for (uint32_t i = 0; status == EMB_OK && i < t->pickle.n_storages; i++)
	{
		const EmbPickleStorage *storage = &t->pickle.storages[i];
		int			key_len = (int) (storage->key.len < 100 ? storage->key.len : 100);
		char		member_name[512];
		const EmbZipMember *member;

		if (i % STORAGES_PER_ASK == STORAGES_PER_ASK - 1 && emb_should_stop(t->stop))
			return cancelled(t);
		snprintf(member_name, sizeof(member_name), "%.*sdata/%.*s", prefix_len, prefix, key_len, storage->key.text);
		member = emb_zip_find(zip, member_name);
		if (member == NULL || member->size_bytes < storage_bytes(storage))
			return emb_error(t->err, EMB_ERR_FORMAT, "%s: storage \"%.*s\" has %lld bytes where %lld elements of %s are due",
							 t->name, key_len, storage->key.text, (long long) (member == NULL ? 0 : member->size_bytes),
							 (long long) storage->n_elems, storage->dtype_name);
		status = emb_zip_locate(zip, member, &t->data_at[i], t->err);
	}
	return status;
}

static EmbStatus
check_byte_order(const TorchFile *t, const EmbZip *zip)
{
	const EmbZipMember *member = emb_zip_find_end(zip, "/byteorder");
	char		order[7] = "";
	int64_t		offset;
	EmbStatus	status;

	if (member == NULL)
		return EMB_OK;
	status = emb_zip_locate(zip, member, &offset, t->err);
	if (status == EMB_OK && member->size_bytes < (int64_t) sizeof(order))
		status = emb_file_read(&t->shard->file, offset, order, (size_t) member->size_bytes, t->err);
	if (status == EMB_OK && strcmp(order, "little") != 0)
		status = emb_error(t->err, EMB_ERR_UNSUPPORTED, "%s: its byte order is not little endian", t->name);
	return status;
}

static EmbStatus
read_zip_pickle(TorchFile *t, const EmbZip *zip, const EmbZipMember *member, uint8_t **data)
{
	int64_t		offset;
	size_t		used;
	EmbStatus	status = emb_zip_locate(zip, member, &offset, t->err);

	if (status != EMB_OK)
		return status;
	if (member->size_bytes > PICKLE_MAX)
		return emb_error(t->err, EMB_ERR_LIMIT, "%s: the pickle has %lld bytes, more than %d",
						 t->name, (long long) member->size_bytes, PICKLE_MAX);
	*data = emb_alloc(t->mem, (size_t) member->size_bytes);
	if (*data == NULL)
		return no_memory(t);
	status = emb_file_read(&t->shard->file, offset, *data, (size_t) member->size_bytes, t->err);
	if (status != EMB_OK)
		return status;
	return emb_pickle_read_state(*data, (size_t) member->size_bytes, t->name, t->mem, t->stop, &t->pickle, &used, t->err);
}

static EmbStatus
read_zip(TorchFile *t)
{
	EmbZip		zip;
	const EmbZipMember *member;
	uint8_t    *data = NULL;
	EmbStatus	status = emb_zip_open(&t->shard->file, t->mem, &zip, t->err);

	if (status != EMB_OK)
		return status;
	member = emb_zip_find_end(&zip, "/data.pkl");
	if (member == NULL || strlen(member->name) > 256)
		status = emb_error(t->err, EMB_ERR_FORMAT, "%s is a zip file without data.pkl, which torch.save writes", t->name);
	else
		status = check_byte_order(t, &zip);
	if (status == EMB_OK)
		status = read_zip_pickle(t, &zip, member, &data);
	if (status == EMB_OK)
		status = place_in_zip(t, &zip, member->name, (int) (strlen(member->name) - strlen("data.pkl")));
	if (status == EMB_OK)
		status = fill_shard(t);
	emb_release(t->mem, data);
	emb_zip_close(&zip);
	return status;
}

/* ------------------------------------------------------ the old layout */

static bool
same_text(EmbPickleText a, EmbPickleText b)
{
	return a.len == b.len && memcmp(a.text, b.text, a.len) == 0;
}

/* The storage with that key is at data_at, after its number of elements. */
static EmbStatus
place_old_storage(TorchFile *t, EmbPickleText key, int64_t *at)
{
	uint8_t		raw[8];
	int64_t		n_elems = 0;
	int64_t		bytes = -1;
	EmbStatus	status = emb_file_read(&t->shard->file, *at, raw, sizeof(raw), t->err);

	if (status != EMB_OK)
		return status;
	for (int i = 7; i >= 0; i--)
		n_elems = (int64_t) ((uint64_t) n_elems << 8 | raw[i]);
	*at += (int64_t) sizeof(raw);
	for (uint32_t i = 0; i < t->pickle.n_storages; i++)
	{
		const EmbPickleStorage *storage = &t->pickle.storages[i];

		if (!same_text(storage->key, key))
			continue;
		if (storage->n_elems != n_elems)
			return emb_error_at(t->err, EMB_ERR_FORMAT, *at, "%s: a storage has %lld elements where its pickle says %lld",
								t->name, (long long) n_elems, (long long) storage->n_elems);
		bytes = storage_bytes(storage);
		t->data_at[i] = *at;
	}
	if (bytes < 0 || bytes > t->shard->file.size_bytes - *at)
		return emb_error_at(t->err, EMB_ERR_FORMAT, *at, "%s: a storage of %lld elements does not lie in the file",
							t->name, (long long) n_elems);
	*at += bytes;
	return EMB_OK;
}

static EmbStatus
check_all_placed(const TorchFile *t)
{
	for (uint32_t i = 0; i < t->pickle.n_storages; i++)
		if (t->data_at[i] == 0)
			return emb_error(t->err, EMB_ERR_FORMAT, "%s: the data of a storage is missing", t->name);
	return EMB_OK;
}

static EmbStatus
place_in_old_file(TorchFile *t, const uint8_t *data, size_t size, size_t at)
{
	EmbPickleText *keys = emb_alloc_zero(t->mem, (size_t) t->pickle.n_storages + 1, sizeof(EmbPickleText));
	uint32_t	n_keys;
	size_t		used;
	int64_t		data_at;
	EmbStatus	status = keys == NULL ? no_memory(t) : allocate_places(t);

	if (status == EMB_OK)
		status = emb_pickle_read_texts(data + at, size - at, t->name, t->mem, t->stop, keys, t->pickle.n_storages, &n_keys, &used, t->err);
	if (status == EMB_OK)
	{
		data_at = (int64_t) (at + used);
		for (uint32_t i = 0; status == EMB_OK && i < n_keys; i++)
			status = emb_should_stop(t->stop) ? cancelled(t) : place_old_storage(t, keys[i], &data_at);
	}
	if (status == EMB_OK)
		status = check_all_placed(t);
	emb_release(t->mem, keys);
	return status;
}

static EmbStatus
read_old(TorchFile *t)
{
	const EmbFile *file = &t->shard->file;
	size_t		size = file->size_bytes < PICKLE_MAX ? (size_t) file->size_bytes : PICKLE_MAX;
	uint8_t    *data = emb_alloc(t->mem, size);
	size_t		at = sizeof(old_start);
	size_t		used;
	EmbStatus	status;

	if (data == NULL)
		return no_memory(t);
	status = emb_file_read(file, 0, data, size, t->err);
	if (status == EMB_OK)
		status = emb_pickle_skip(data + at, size - at, t->name, t->mem, t->stop, &used, t->err);
	if (status == EMB_OK)
	{
		at += used;
		status = emb_pickle_read_state(data + at, size - at, t->name, t->mem, t->stop, &t->pickle, &used, t->err);
	}
	if (status == EMB_OK)
		status = place_in_old_file(t, data, size, at + used);
	if (status == EMB_OK)
		status = fill_shard(t);
	emb_release(t->mem, data);
	return status;
}

/* A file of pickle.dump begins with its protocol, 2 to 5. */
static EmbStatus
not_torch(const EmbTensorShard *shard, const uint8_t *start, EmbError *err)
{
	emb_error_at(err, EMB_ERR_FORMAT, 0, "file \"%s\" is not what torch.save writes", shard->file.path);
	if (start[0] != 0x80 || start[1] < 2 || start[1] > 5)
		return EMB_ERR_FORMAT;
	return emb_error_hint(err, EMB_ERR_FORMAT, "It is a pickle of something else, which is not run: download the model's model.safetensors.");
}

EmbStatus
emb_torch_read_shard(const char *name, int number, const EmbAllocator *mem, const EmbStop *stop, EmbTensorShard *shard, EmbError *err)
{
	TorchFile	t = {.name = name, .number = number, .mem = mem, .stop = stop, .shard = shard, .pickle = {.mem = mem}, .err = err};
	uint8_t		start[sizeof(old_start)] = {0};
	size_t		n = shard->file.size_bytes < (int64_t) sizeof(start) ? (size_t) shard->file.size_bytes : sizeof(start);
	EmbStatus	status = emb_file_read(&shard->file, 0, start, n, err);

	if (status != EMB_OK)
		return status;
	if (memcmp(start, "PK\3\4", 4) == 0)
		status = read_zip(&t);
	else if (memcmp(start, old_start, sizeof(start)) == 0)
		status = read_old(&t);
	else
		status = not_torch(shard, start, err);
	emb_pickle_free(&t.pickle);
	emb_release(mem, t.data_at);
	return status;
}
