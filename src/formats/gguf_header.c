/*
 * gguf_header.c
 *		Parses and checks what a GGUF file has before its data.
 */
#include "formats/gguf_parts.h"

#include <limits.h>
#include <string.h>

#include "common/sort.h"
#include "common/utf8.h"

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

const char *
emb_gguf_type_name(EmbGgufType type)
{
	return types[type].name;
}

int
emb_gguf_type_bytes(EmbGgufType type)
{
	return types[type].size_bytes;
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
	*value = emb_gguf_uint(c->shard->header + c->at, n_bytes);
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
 * it is. See emb_gguf_string_bytes.
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
	len = emb_gguf_string_bytes(c->shard->header + *offset);
	if (len == 0 || len > EMB_GGUF_MAX_NAME)
		return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) *offset, "file \"%s\" has, at byte %zu, %s with a name of %zu bytes, outside 1..%d",
							c->shard->file.path, *offset, what, len, EMB_GGUF_MAX_NAME);
	if (!emb_utf8_is_text((const uint8_t *) emb_gguf_string_text(c->shard->header + *offset), len))
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
	const char *text = status == EMB_OK ? emb_gguf_string_text(c->shard->header + name) : "";

	if (status != EMB_OK)
		return status;
	*type = (EmbGgufType) number;
	if (number >= EMB_GGUF_N_TYPES || (in_array && number == EMB_GGUF_ARRAY))
		return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) c->at - 4, "file \"%s\": key \"%.*s\" has the unknown type %llu%s",
							c->shard->file.path, EMB_GGUF_SHOW(text), (unsigned long long) number, in_array ? " of elements" : "");
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
		const char *text = emb_gguf_string_text(c->shard->header + *name);

		return emb_error_at(c->err, EMB_ERR_FORMAT, (int64_t) *name, "file \"%s\": tensor \"%.*s\" %s", c->shard->file.path, EMB_GGUF_SHOW(text), bad);
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
								(long long) shard->file.size_bytes, EMB_GGUF_SHOW(t->name), (long long) start, (long long) t->offset,
								(long long) t->size_bytes);
		t->offset += start;
		if (t->offset < before)
			return emb_error_at(c->err, EMB_ERR_FORMAT, t->offset, "file \"%s\": tensor \"%.*s\" overlaps another", shard->file.path, EMB_GGUF_SHOW(t->name));
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
		shard->keys[i].name = emb_gguf_string_text(shard->header + places[2 * i]);
		shard->keys[i].data = shard->header + places[2 * i + 1];
	}
	shard->n_keys = n;
	status = emb_sort(shard->keys, (size_t) n, sizeof(EmbGgufKey), compare_keys, NULL, c->mem, c->stop, "sorting keys", c->err);
	for (int i = 1; status == EMB_OK && i < n; i++)
	{
		if (strcmp(shard->keys[i - 1].name, shard->keys[i].name) == 0)
			return emb_error(c->err, EMB_ERR_FORMAT, "file \"%s\" has key \"%.*s\" twice", shard->file.path, EMB_GGUF_SHOW(shard->keys[i].name));
	}
	return status;
}

static EmbStatus
finish_tensors(Cursor *c, const size_t *places, int n, uint64_t alignment)
{
	EmbGgufShard *shard = c->shard;
	EmbStatus	status;

	for (int i = 0; i < n; i++)
		shard->tensors[i].name = emb_gguf_string_text(shard->header + places[i]);
	shard->n_tensors = n;
	status = place_tensors(c, alignment);
	if (status == EMB_OK)
		status = emb_sort(shard->tensors, (size_t) n, sizeof(EmbGgufTensor), compare_tensors, NULL, c->mem, c->stop, "sorting tensors", c->err);
	for (int i = 1; status == EMB_OK && i < n; i++)
	{
		if (strcmp(shard->tensors[i - 1].name, shard->tensors[i].name) == 0)
			return emb_error(c->err, EMB_ERR_FORMAT, "file \"%s\" has tensor \"%.*s\" twice", shard->file.path, EMB_GGUF_SHOW(shard->tensors[i].name));
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

		if (strcmp(emb_gguf_string_text(shard->header + places[2 * i]), name) != 0)
			continue;
		if (key->is_array || key->type != EMB_GGUF_U32)
			return emb_error(c->err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is not a u32", shard->file.path, name);
		*alignment = emb_gguf_uint(shard->header + places[2 * i + 1], 4);
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

EmbStatus
emb_gguf_parse(const EmbGguf *gguf, EmbGgufShard *shard, EmbError *err)
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
