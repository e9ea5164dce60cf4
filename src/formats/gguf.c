/*
 * gguf.c
 *		Reads and checks what GGUF files have before their data, and reads
 *		their tensors as fp32.
 */
#include "formats/gguf.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sort.h"
#include "common/utf8.h"
#include "formats/json.h"

/* How much of the file is read at first; more as it is needed, and so much between two polls. */
#define FIRST_BYTES		(1024 * 1024)
#define PIECE_BYTES		(4 * 1024 * 1024)

/* Strings of an array, keys or tensors between two polls. */
#define ENTRIES_PER_ASK	4096

/*
 * The smallest key: a name of one byte and a value of one. The smallest tensor:
 * a name of one byte, one dimension.
 */
#define MIN_KEY_BYTES		(8 + 1 + 4 + 1)
#define MIN_TENSOR_BYTES	(8 + 1 + 4 + 8 + 4 + 8)

#define DEFAULT_ALIGNMENT	32

/* A name in a message: its useful beginning. */
#define SHOW(name)	emb_json_clip(name, 100), name

static const struct
{
	const char *name;
	int			size_bytes;		/* 0: each value has its own */
}			types[EMB_GGUF_N_TYPES] =
{
	[EMB_GGUF_U8] = {"u8", 1},
	[EMB_GGUF_I8] = {"i8", 1},
	[EMB_GGUF_U16] = {"u16", 2},
	[EMB_GGUF_I16] = {"i16", 2},
	[EMB_GGUF_U32] = {"u32", 4},
	[EMB_GGUF_I32] = {"i32", 4},
	[EMB_GGUF_F32] = {"f32", 4},
	[EMB_GGUF_BOOL] = {"bool", 1},
	[EMB_GGUF_STRING] = {"string", 0},
	[EMB_GGUF_ARRAY] = {"array", 0},
	[EMB_GGUF_U64] = {"u64", 8},
	[EMB_GGUF_I64] = {"i64", 8},
	[EMB_GGUF_F64] = {"f64", 8},
};

static uint64_t
little_endian(const uint8_t *p, int n)
{
	uint64_t	x = 0;

	while (n-- > 0)
		x = x << 8 | p[n];
	return x;
}

/* ------------------------------------------------------------- the header */

/*
 * A place in the header, which is in memory up to loaded. Places are offsets
 * until everything is parsed, because the memory moves when it grows.
 */
typedef struct Cursor
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	EmbGgufShard *shard;
	size_t		at;
	size_t		loaded;
	size_t		n_entries;		/* since the last poll */
	EmbError   *err;
} Cursor;

static EmbStatus
ends_early(const Cursor *c, const char *what)
{
	return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) c->at, "file \"%s\" ends in the middle of %s, at byte %lld",
						c->shard->file.path, what, (long long) c->at);
}

static EmbStatus
cancelled(const Cursor *c)
{
	return emb_error(c->err, EMB_ERR_CANCELLED, "reading \"%s\" was cancelled", c->shard->file.path);
}

/* Reads on, to offset end at least. */
static EmbStatus
load(Cursor *c, size_t end)
{
	size_t		size = (size_t) c->shard->file.size_bytes;
	size_t		want = c->loaded * 2 > FIRST_BYTES ? c->loaded * 2 : FIRST_BYTES;
	uint8_t    *bigger;
	EmbStatus	status = EMB_OK;

	if (end > EMB_GGUF_MAX_HEADER)
		return emb_error_at(c->err, EMB_ERR_LIMIT, (int64_t) c->at, "file \"%s\" has more than %d bytes before its data",
							c->shard->file.path, EMB_GGUF_MAX_HEADER);
	want = want > end ? want : end;
	want = want < EMB_GGUF_MAX_HEADER ? want : EMB_GGUF_MAX_HEADER;
	want = want < size ? want : size;
	bigger = emb_alloc(c->mem, want);
	if (bigger == NULL)
		return emb_error(c->err, EMB_ERR_NOMEM, "out of memory for the header of \"%s\" (%zu bytes)", c->shard->file.path, want);
	if (c->loaded > 0)
		memcpy(bigger, c->shard->header, c->loaded);
	emb_release(c->mem, c->shard->header);
	c->shard->header = bigger;
	while (status == EMB_OK && c->loaded < want)
	{
		size_t		n = want - c->loaded < PIECE_BYTES ? want - c->loaded : PIECE_BYTES;

		if (emb_should_stop(c->stop))
			return cancelled(c);
		status = emb_file_read(&c->shard->file, (int64_t) c->loaded, bigger + c->loaded, n, c->err);
		c->loaded += status == EMB_OK ? n : 0;
	}
	return status;
}

/* Makes sure that n more bytes are in memory. what: for the message. */
static EmbStatus
need(Cursor *c, uint64_t n, const char *what)
{
	if (n > (uint64_t) c->shard->file.size_bytes - c->at)
		return ends_early(c, what);
	return c->at + n > c->loaded ? load(c, c->at + (size_t) n) : EMB_OK;
}

static EmbStatus
read_uint(Cursor *c, int n_bytes, const char *what, uint64_t *value)
{
	EmbStatus	status = need(c, (uint64_t) n_bytes, what);

	if (status != EMB_OK)
		return status;
	*value = little_endian(c->shard->header + c->at, n_bytes);
	c->at += (size_t) n_bytes;
	return EMB_OK;
}

static EmbStatus
ask_stop(Cursor *c)
{
	return ++c->n_entries % ENTRIES_PER_ASK == 0 && emb_should_stop(c->stop) ? cancelled(c) : EMB_OK;
}

/*
 * Steps over a string. Its bytes move to the place of its length's last byte,
 * which is zero, and a zero byte follows: so that each string can be used where
 * it is. See string_bytes.
 */
static EmbStatus
skip_string(Cursor *c, const char *what)
{
	uint64_t	len = 0;
	EmbStatus	status = read_uint(c, 8, what, &len);
	uint8_t    *text;

	if (status == EMB_OK)
		status = need(c, len, what);
	if (status != EMB_OK)
		return status;
	text = c->shard->header + c->at - 1;
	memmove(text, text + 1, (size_t) len);
	text[len] = '\0';
	c->at += (size_t) len;
	return ask_stop(c);
}

/* Of a string that was stepped over: p is where its length begins. */
static size_t
string_bytes(const uint8_t *p)
{
	return (size_t) little_endian(p, 7);
}

static const char *
string_text(const uint8_t *p)
{
	return (const char *) p + 7;
}

/* A name, at *offset: 1 .. EMB_GGUF_MAX_NAME bytes of UTF-8. */
static EmbStatus
read_name(Cursor *c, const char *what, size_t *offset)
{
	EmbStatus	status;
	size_t		len;

	*offset = c->at;
	status = skip_string(c, what);
	if (status != EMB_OK)
		return status;
	len = string_bytes(c->shard->header + *offset);
	if (len == 0 || len > EMB_GGUF_MAX_NAME)
		return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) *offset, "file \"%s\" has, at byte %zu, %s with a name of %zu bytes, outside 1..%d",
							c->shard->file.path, *offset, what, len, EMB_GGUF_MAX_NAME);
	if (!emb_utf8_is_text((const uint8_t *) string_text(c->shard->header + *offset), len))
		return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) *offset, "file \"%s\" has, at byte %zu, %s with a name that is not UTF-8",
							c->shard->file.path, *offset, what);
	return EMB_OK;
}

/* ------------------------------------------------------------------ keys */

/* name: offset of the key's name. */
static EmbStatus
read_type(Cursor *c, size_t name, bool in_array, EmbGgufType *type)
{
	uint64_t	number = 0;
	EmbStatus	status = read_uint(c, 4, "a key", &number);
	const char *text = status == EMB_OK ? string_text(c->shard->header + name) : "";

	if (status != EMB_OK)
		return status;
	*type = (EmbGgufType) number;
	if (number >= EMB_GGUF_N_TYPES || (in_array && number == EMB_GGUF_ARRAY))
		return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) c->at - 4, "file \"%s\": key \"%.*s\" has the unknown type %llu%s",
							c->shard->file.path, SHOW(text), (unsigned long long) number, in_array ? " of elements" : "");
	return EMB_OK;
}

/* Steps over n values of a type. */
static EmbStatus
skip_values(Cursor *c, EmbGgufType type, uint64_t n)
{
	uint64_t	left = (uint64_t) c->shard->file.size_bytes - c->at;
	int			size = types[type].size_bytes;
	EmbStatus	status = EMB_OK;

	if (n > left / (uint64_t) (size > 0 ? size : 8))
		return ends_early(c, "a value");
	if (size > 0)
	{
		status = need(c, n * (uint64_t) size, "a value");
		c->at += status == EMB_OK ? (size_t) n * (size_t) size : 0;
		return status;
	}
	for (uint64_t i = 0; status == EMB_OK && i < n; i++)
		status = skip_string(c, "a string");
	return status;
}

/* *name and *data: the offsets of the key's name and value. */
static EmbStatus
parse_key(Cursor *c, EmbGgufKey *key, size_t *name, size_t *data)
{
	uint64_t	n = 1;
	EmbStatus	status = read_name(c, "a key", name);

	if (status == EMB_OK)
		status = read_type(c, *name, false, &key->type);
	if (status == EMB_OK && key->type == EMB_GGUF_ARRAY)
	{
		key->is_array = true;
		status = read_type(c, *name, true, &key->type);
		if (status == EMB_OK)
			status = read_uint(c, 8, "an array", &n);
	}
	if (status != EMB_OK)
		return status;
	*data = c->at;
	key->n = (int64_t) n;
	return skip_values(c, key->type, n);
}

static int
compare_keys(const void *a, const void *b, void *ctx)
{
	(void) ctx;
	return strcmp(((const EmbGgufKey *) a)->name, ((const EmbGgufKey *) b)->name);
}

static const EmbGgufKey *
find_in_keys(const EmbGgufShard *shard, const char *name)
{
	int			low = 0;
	int			high = shard->n_keys;

	while (low < high)
	{
		int			mid = low + (high - low) / 2;
		int			cmp = strcmp(name, shard->keys[mid].name);

		if (cmp == 0)
			return &shard->keys[mid];
		if (cmp < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* places: [n][2] offsets of names and values, which become pointers at the end. */
static EmbStatus
parse_key_list(Cursor *c, size_t *places, int n)
{
	EmbGgufShard *shard = c->shard;
	EmbStatus	status = EMB_OK;

	for (int i = 0; status == EMB_OK && i < n; i++)
		status = parse_key(c, &shard->keys[i], &places[2 * i], &places[2 * i + 1]);
	return status;
}

/* ---------------------------------------------------------------- tensors */

/* Dimensions, type and size of a tensor; *bad says what is wrong, or NULL. */
static EmbStatus
parse_shape(Cursor *c, EmbGgufTensor *t, const char **bad)
{
	uint64_t	rank = 0;
	uint64_t	number = 0;
	EmbStatus	status = read_uint(c, 4, "a tensor's entry", &rank);

	if (status != EMB_OK)
		return status;
	if (rank < 1 || rank > EMB_GGUF_MAX_RANK)
	{
		*bad = "has no dimension, or more than 4";
		return EMB_OK;
	}
	t->rank = (int) rank;
	t->n_elems = 1;
	for (int i = t->rank - 1; i >= 0; i--)
	{
		uint64_t	n = 0;

		if ((status = read_uint(c, 8, "a tensor's entry", &n)) != EMB_OK)
			return status;
		if (n < 1 || n > INT64_MAX || __builtin_mul_overflow(t->n_elems, (int64_t) n, &t->n_elems))
			*bad = "has a shape that is empty or overflows";
		t->shape[i] = (int64_t) n;
	}
	if ((status = read_uint(c, 4, "a tensor's entry", &number)) != EMB_OK || *bad != NULL)
		return status;
	t->type = emb_ggml_type((uint32_t) number);
	if (t->type == NULL)
		return emb_error_at(c->err, EMB_ERR_UNSUPPORTED, (int64_t) c->at - 4, "file \"%s\" has a tensor of the unknown type %llu",
							c->shard->file.path, (unsigned long long) number);
	if (t->shape[t->rank - 1] % t->type->n_elems != 0)
		*bad = "has rows that are not whole blocks of its type";
	else if (__builtin_mul_overflow(t->n_elems / t->type->n_elems, (int64_t) t->type->n_bytes, &t->size_bytes))
		*bad = "has a shape that overflows";
	return EMB_OK;
}

/* The tensor's offset counts from the start of the data. */
static EmbStatus
parse_tensor(Cursor *c, EmbGgufTensor *t, size_t *name, uint64_t alignment)
{
	uint64_t	offset = 0;
	const char *bad = NULL;
	EmbStatus	status = read_name(c, "a tensor", name);

	if (status == EMB_OK)
		status = parse_shape(c, t, &bad);
	if (status == EMB_OK && bad == NULL)
		status = read_uint(c, 8, "a tensor's entry", &offset);
	if (status != EMB_OK)
		return status;
	if (bad == NULL && (offset % alignment != 0 || offset > INT64_MAX))
		bad = "has an offset that is not a multiple of the alignment";
	if (bad != NULL)
	{
		const char *text = string_text(c->shard->header + *name);

		return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) *name, "file \"%s\": tensor \"%.*s\" %s", c->shard->file.path, SHOW(text), bad);
	}
	t->offset = (int64_t) offset;
	return EMB_OK;
}

static EmbStatus
parse_tensor_list(Cursor *c, size_t *places, int n, uint64_t alignment)
{
	EmbStatus	status = EMB_OK;

	for (int i = 0; status == EMB_OK && i < n; i++)
		status = parse_tensor(c, &c->shard->tensors[i], &places[i], alignment);
	return status;
}

static int
compare_offsets(const void *a, const void *b, void *ctx)
{
	const EmbGgufTensor *x = a;
	const EmbGgufTensor *y = b;

	(void) ctx;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

static int
compare_tensors(const void *a, const void *b, void *ctx)
{
	(void) ctx;
	return strcmp(((const EmbGgufTensor *) a)->name, ((const EmbGgufTensor *) b)->name);
}

/* Offsets change from relative to the data to relative to the file. Padding may separate tensors. */
static EmbStatus
place_tensors(Cursor *c, uint64_t alignment)
{
	EmbGgufShard *shard = c->shard;
	int64_t		start = (int64_t) ((c->at + alignment - 1) / alignment * alignment);
	int64_t		before = 0;
	EmbStatus	status = emb_sort(shard->tensors, (size_t) shard->n_tensors, sizeof(EmbGgufTensor), compare_offsets, NULL, c->mem,
								  c->stop, "sorting tensors", c->err);

	for (int i = 0; status == EMB_OK && i < shard->n_tensors; i++)
	{
		EmbGgufTensor *t = &shard->tensors[i];

		if (start > shard->file.size_bytes || t->offset > shard->file.size_bytes - start ||
			t->size_bytes > shard->file.size_bytes - start - t->offset)
			return emb_error_at(c->err, EMB_ERR_FORMAT, shard->file.size_bytes,
								"file \"%s\" has %lld bytes, but its tensor \"%.*s\" lies at %lld + %lld + %lld", shard->file.path,
								(long long) shard->file.size_bytes, SHOW(t->name), (long long) start, (long long) t->offset,
								(long long) t->size_bytes);
		t->offset += start;
		if (t->offset < before)
			return emb_error_at(c->err, EMB_ERR_FORMAT, t->offset, "file \"%s\": tensor \"%.*s\" overlaps another", shard->file.path, SHOW(t->name));
		before = t->offset + t->size_bytes;
	}
	return status;
}

/* -------------------------------------------------------------- one file */

/* Magic, version and the numbers of tensors and keys. */
static EmbStatus
parse_counts(Cursor *c, int *n_tensors, int *n_keys)
{
	const EmbFile *file = &c->shard->file;
	uint64_t	version = 0;
	uint64_t	tensors = 0;
	uint64_t	keys = 0;
	EmbStatus	status = need(c, 4, "its first four bytes");

	if (status != EMB_OK)
		return status;
	if (memcmp(c->shard->header, "GGUF", 4) != 0)
		return emb_error_at(c->err, EMB_ERR_FORMAT, 0, "file \"%s\" does not begin with \"GGUF\": it is no GGUF file", file->path);
	c->at = 4;
	if ((status = read_uint(c, 4, "its version", &version)) != EMB_OK)
		return status;
	if ((version & 0xFFFF) == 0 && version != 0)
		return emb_error_at(c->err, EMB_ERR_UNSUPPORTED, 4, "file \"%s\" is a big-endian GGUF file; only little-endian files can be read", file->path);
	if (version != 2 && version != 3)
		return emb_error_at(c->err, EMB_ERR_UNSUPPORTED, 4, "file \"%s\" is of GGUF's version %llu; versions 2 and 3 can be read", file->path,
							(unsigned long long) version);
	if ((status = read_uint(c, 8, "its number of tensors", &tensors)) != EMB_OK ||
		(status = read_uint(c, 8, "its number of keys", &keys)) != EMB_OK)
		return status;
	if (tensors > EMB_GGUF_MAX_TENSORS || keys > EMB_GGUF_MAX_KEYS)
		return emb_error_at(c->err, EMB_ERR_LIMIT, 8, "file \"%s\" says that it has %llu tensors and %llu keys, more than %d and %d", file->path,
							(unsigned long long) tensors, (unsigned long long) keys, EMB_GGUF_MAX_TENSORS, EMB_GGUF_MAX_KEYS);
	if (tensors * MIN_TENSOR_BYTES + keys * MIN_KEY_BYTES > (uint64_t) file->size_bytes - c->at)
		return emb_error_at(c->err, EMB_ERR_FORMAT, 8, "file \"%s\" says that it has %llu tensors and %llu keys, too many for its %lld bytes",
							file->path, (unsigned long long) tensors, (unsigned long long) keys, (long long) file->size_bytes);
	*n_tensors = (int) tensors;
	*n_keys = (int) keys;
	return EMB_OK;
}

/* Pointers instead of offsets, and in the order of names. */
static EmbStatus
finish_keys(Cursor *c, const size_t *places, int n)
{
	EmbGgufShard *shard = c->shard;
	EmbStatus	status;

	for (int i = 0; i < n; i++)
	{
		shard->keys[i].name = string_text(shard->header + places[2 * i]);
		shard->keys[i].data = shard->header + places[2 * i + 1];
	}
	shard->n_keys = n;
	status = emb_sort(shard->keys, (size_t) n, sizeof(EmbGgufKey), compare_keys, NULL, c->mem, c->stop, "sorting keys", c->err);
	for (int i = 1; status == EMB_OK && i < n; i++)
	{
		if (strcmp(shard->keys[i - 1].name, shard->keys[i].name) == 0)
			return emb_error(c->err, EMB_ERR_FORMAT, "file \"%s\" has key \"%.*s\" twice", shard->file.path, SHOW(shard->keys[i].name));
	}
	return status;
}

static EmbStatus
finish_tensors(Cursor *c, const size_t *places, int n, uint64_t alignment)
{
	EmbGgufShard *shard = c->shard;
	EmbStatus	status;

	for (int i = 0; i < n; i++)
		shard->tensors[i].name = string_text(shard->header + places[i]);
	shard->n_tensors = n;
	status = place_tensors(c, alignment);
	if (status == EMB_OK)
		status = emb_sort(shard->tensors, (size_t) n, sizeof(EmbGgufTensor), compare_tensors, NULL, c->mem, c->stop, "sorting tensors", c->err);
	for (int i = 1; status == EMB_OK && i < n; i++)
	{
		if (strcmp(shard->tensors[i - 1].name, shard->tensors[i].name) == 0)
			return emb_error(c->err, EMB_ERR_FORMAT, "file \"%s\" has tensor \"%.*s\" twice", shard->file.path, SHOW(shard->tensors[i].name));
	}
	return status;
}

/*
 * The alignment of the data. The keys' values are not pointers yet, because
 * the tensors' entries may move the header.
 */
static EmbStatus
read_alignment(Cursor *c, const size_t *places, int n_keys, uint64_t *alignment)
{
	static const char name[] = "general.alignment";
	EmbGgufShard *shard = c->shard;

	*alignment = DEFAULT_ALIGNMENT;
	for (int i = 0; i < n_keys; i++)
	{
		const EmbGgufKey *key = &shard->keys[i];

		if (strcmp(string_text(shard->header + places[2 * i]), name) != 0)
			continue;
		if (key->is_array || key->type != EMB_GGUF_U32)
			return emb_error(c->err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is not a u32", shard->file.path, name);
		*alignment = little_endian(shard->header + places[2 * i + 1], 4);
		if (*alignment < 1 || *alignment > EMB_GGUF_MAX_ALIGNMENT || (*alignment & (*alignment - 1)) != 0)
			return emb_error(c->err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is %llu, not a power of two up to %d", shard->file.path, name,
							 (unsigned long long) *alignment, EMB_GGUF_MAX_ALIGNMENT);
	}
	return EMB_OK;
}

static EmbStatus
parse_header(Cursor *c, size_t *places, int n_tensors, int n_keys)
{
	uint64_t	alignment;
	EmbStatus	status;

	if ((status = parse_key_list(c, places, n_keys)) != EMB_OK ||
		(status = read_alignment(c, places, n_keys, &alignment)) != EMB_OK ||
		(status = parse_tensor_list(c, places + 2 * n_keys, n_tensors, alignment)) != EMB_OK ||
		(status = finish_keys(c, places, n_keys)) != EMB_OK)
		return status;
	return finish_tensors(c, places + 2 * n_keys, n_tensors, alignment);
}

static EmbStatus
parse_file(EmbGguf *gguf, EmbGgufShard *shard, EmbError *err)
{
	Cursor		c = {.mem = gguf->mem, .stop = gguf->stop, .shard = shard, .err = err};
	int			n_tensors = 0;
	int			n_keys = 0;
	size_t	   *places;
	EmbStatus	status = parse_counts(&c, &n_tensors, &n_keys);

	if (status != EMB_OK)
		return status;
	places = emb_alloc_array(gguf->mem, (size_t) n_tensors + 2 * (size_t) n_keys + 1, sizeof(size_t));
	shard->keys = emb_alloc_zero(gguf->mem, (size_t) n_keys + 1, sizeof(EmbGgufKey));
	shard->tensors = emb_alloc_zero(gguf->mem, (size_t) n_tensors + 1, sizeof(EmbGgufTensor));
	if (places == NULL || shard->keys == NULL || shard->tensors == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for the %d tensors of \"%s\"", n_tensors, shard->file.path);
	if (status == EMB_OK)
		status = parse_header(&c, places, n_tensors, n_keys);
	emb_release(gguf->mem, places);
	return status;
}

static EmbStatus
open_shard(EmbGguf *gguf, const char *path, EmbError *err)
{
	EmbGgufShard *shard = &gguf->shards[gguf->n_shards];
	EmbStatus	status = emb_file_open(path, NULL, &shard->file, err);

	if (status != EMB_OK)
		return status;
	gguf->n_shards++;
	status = parse_file(gguf, shard, err);
	if (status == EMB_ERR_FORMAT && (err == NULL || err->hint[0] == '\0'))
		return emb_error_hint(err, status, "Compare the file's size with the hub's: a download may have been cut off.");
	for (int i = 0; status == EMB_OK && i < shard->n_tensors; i++)
		shard->tensors[i].shard = gguf->n_shards - 1;
	return status;
}

/* ----------------------------------------------------------------- shards */

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
								 SHOW(shard->tensors[k].name));
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

/* ---------------------------------------------------------------- values */

const EmbGgufKey *
emb_gguf_find_key(const EmbGguf *gguf, const char *name)
{
	return find_in_keys(&gguf->shards[0], name);
}

static EmbStatus
wrong_type(const EmbGguf *gguf, const EmbGgufKey *key, const char *want, EmbError *err)
{
	return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%.*s\" is %s%s, not %s", gguf->shards[0].file.path, SHOW(key->name),
					 key->is_array ? "an array of " : "", types[key->type].name, want);
}

static bool
is_int(EmbGgufType type)
{
	return type != EMB_GGUF_F32 && type != EMB_GGUF_F64 && type != EMB_GGUF_BOOL && types[type].size_bytes > 0;
}

static bool
is_signed(EmbGgufType type)
{
	return type == EMB_GGUF_I8 || type == EMB_GGUF_I16 || type == EMB_GGUF_I32 || type == EMB_GGUF_I64;
}

/* A u64 beyond the largest int64 becomes that. */
int64_t
emb_gguf_int_at(const EmbGgufKey *key, int64_t i)
{
	int			size = types[key->type].size_bytes;
	uint64_t	bits = little_endian(key->data + i * size, size);

	if (is_signed(key->type))
	{
		uint64_t	sign = (uint64_t) 1 << (8 * size - 1);

		return (int64_t) ((bits ^ sign) - sign);
	}
	return bits <= INT64_MAX ? (int64_t) bits : INT64_MAX;
}

double
emb_gguf_double_at(const EmbGgufKey *key, int64_t i)
{
	int			size = types[key->type].size_bytes;
	uint64_t	bits = little_endian(key->data + i * size, size);
	uint32_t	bits32 = (uint32_t) bits;
	float		single;
	double		value;

	if (key->type == EMB_GGUF_F64)
	{
		memcpy(&value, &bits, sizeof(value));
		return value;
	}
	if (key->type != EMB_GGUF_F32)
		return (double) emb_gguf_int_at(key, i);
	memcpy(&single, &bits32, sizeof(single));
	return single;
}

EmbStatus
emb_gguf_get_int(const EmbGguf *gguf, const char *name, int64_t min, int64_t max, int64_t *value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);
	int64_t		found;

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || !is_int(key->type))
		return wrong_type(gguf, key, "an integer", err);
	found = emb_gguf_int_at(key, 0);
	if (found < min || found > max)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is %lld, outside %lld..%lld", gguf->shards[0].file.path, name,
						 (long long) found, (long long) min, (long long) max);
	*value = found;
	return EMB_OK;
}

EmbStatus
emb_gguf_get_double(const EmbGguf *gguf, const char *name, double min, double max, double *value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);
	double		found;

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || key->type == EMB_GGUF_BOOL || types[key->type].size_bytes == 0)
		return wrong_type(gguf, key, "a number", err);
	found = emb_gguf_double_at(key, 0);
	if (!(found >= min && found <= max))
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is %g, outside %g..%g", gguf->shards[0].file.path, name, found, min, max);
	*value = found;
	return EMB_OK;
}

EmbStatus
emb_gguf_get_bool(const EmbGguf *gguf, const char *name, bool *value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || key->type != EMB_GGUF_BOOL)
		return wrong_type(gguf, key, "a bool", err);
	if (key->data[0] > 1)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is %d, neither false nor true", gguf->shards[0].file.path, name, key->data[0]);
	*value = key->data[0] == 1;
	return EMB_OK;
}

EmbStatus
emb_gguf_get_string(const EmbGguf *gguf, const char *name, const char **value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || key->type != EMB_GGUF_STRING)
		return wrong_type(gguf, key, "a string", err);
	if (!emb_utf8_is_text((const uint8_t *) string_text(key->data), string_bytes(key->data)))
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is not UTF-8", gguf->shards[0].file.path, name);
	*value = string_text(key->data);
	return EMB_OK;
}

EmbStatus
emb_gguf_get_array(const EmbGguf *gguf, const char *name, EmbGgufType type, const EmbGgufKey **key, EmbError *err)
{
	char		want[32];

	*key = emb_gguf_find_key(gguf, name);
	if (*key == NULL || ((*key)->is_array && (*key)->type == type))
		return EMB_OK;
	snprintf(want, sizeof(want), "an array of %s", types[type].name);
	return wrong_type(gguf, *key, want, err);
}

const char *
emb_gguf_next_string(const EmbGgufKey *key, const uint8_t **at, size_t *len)
{
	const uint8_t *p = *at != NULL ? *at : key->data;

	*len = string_bytes(p);
	*at = p + 8 + *len;
	return string_text(p);
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
	emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%.*s\" of \"%s\" is %s, which cannot be imported", SHOW(tensor->name),
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
								"tensor \"%.*s\" of \"%s\" has %s at index %lld", SHOW(t->name), gguf->shards[t->shard].file.path,
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
						 (long long) first, (long long) n, SHOW(tensor->name), (long long) tensor->n_elems, type->n_elems);
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
