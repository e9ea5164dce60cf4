/*
 * test_gguf.c
 *		GGUF files: the values of each type of block, headers that lie, keys of
 *		each type, shards, and files cut at each byte.
 */
#include "model_util.h"

#include <math.h>

#include "formats/gguf.h"
#include "gguf_util.h"

/* ---------------------------------------------------------------- blocks */

static const struct
{
	const char *name;
	uint32_t	number;
}			block_types[] =
{
	{"F16", 1}, {"BF16", 30}, {"Q4_0", 2}, {"Q4_1", 3}, {"Q5_0", 6}, {"Q5_1", 7}, {"Q8_0", 8}, {"Q2_K", 10}, {"Q3_K", 11},
	{"Q4_K", 12}, {"Q5_K", 13}, {"Q6_K", 14}, {"IQ4_NL", 20}, {"IQ4_XS", 23},
};

#define N_BLOCK_TYPES	(sizeof(block_types) / sizeof(block_types[0]))

/* A file of one tensor, of these blocks. */
static void
write_blocks(const char *dir, uint32_t number, const void *blocks, size_t bytes)
{
	const EmbGgmlType *type = emb_ggml_type(number);
	uint64_t	dims[2] = {(uint64_t) type->n_elems, bytes / (size_t) type->n_bytes};
	Buf			b = gguf_begin(3, 1, 0);

	gguf_tensor(&b, "blocks", 2, dims, number, 0);
	gguf_data(&b, 32, 0);
	put_bytes(&b, blocks, bytes);
	write_file(dir, "blocks.gguf", b.data, b.size);
	free(b.data);
}

/* Whether the tensor's values are want[0 .. n) bit by bit, read at once and block by block. */
static bool
same_values(const char *path, const float *want, size_t n, EmbError *err)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbGguf		gguf;
	const EmbGgufTensor *t;
	float	   *got = malloc((n + 1) * sizeof(float));
	bool		same = true;

	err->message[0] = '\0';
	if (emb_gguf_open(path, &mem, NULL, &gguf, err) != EMB_OK)
		return false;
	t = emb_gguf_find_tensor(&gguf, "blocks");
	same = t != NULL && t->n_elems == (int64_t) n && emb_gguf_read_f32(&gguf, t, 0, t->n_elems, got, err) == EMB_OK &&
		memcmp(got, want, n * sizeof(float)) == 0;
	for (int64_t at = 0; same && at < t->n_elems; at += t->type->n_elems)
		same = emb_gguf_read_f32(&gguf, t, at, t->type->n_elems, got, err) == EMB_OK &&
			memcmp(got, want + at, (size_t) t->type->n_elems * sizeof(float)) == 0;
	emb_gguf_close(&gguf);
	free(got);
	return same;
}

/* The floats of a .npy file, version 1, after its header: n of them in *file, which is free()d. */
static const float *
load_npy(const char *from, const char *name, char **file, size_t *n)
{
	size_t		size = 0;
	size_t		start;

	*file = read_file(from, name, &size);
	if (*file == NULL || size < 10 || memcmp(*file, "\x93NUMPY\x01", 7) != 0)
		return NULL;
	start = 10 + (uint8_t) (*file)[8] + 256 * (size_t) (uint8_t) (*file)[9];
	*n = (size - start) / sizeof(float);
	return (const float *) (*file + start);
}

/* NAME.bin are blocks, NAME.npy ggml's values. */
static void
check_blocks(const char *from, const char *name, uint32_t number)
{
	const char *dir = fresh_dir();
	char		path[PATH_MAX];
	char		file[64];
	size_t		bytes = 0;
	size_t		n = 0;
	char	   *blocks;
	char	   *npy;
	const float *want;
	EmbError	err;

	snprintf(file, sizeof(file), "%s.bin", name);
	blocks = read_file(from, file, &bytes);
	snprintf(file, sizeof(file), "%s.npy", name);
	want = load_npy(from, file, &npy, &n);
	if (!CHECKF(blocks != NULL && want != NULL, "no %s in %s", name, from))
		return;
	write_blocks(dir, number, blocks, bytes);
	snprintf(path, sizeof(path), "%s/blocks.gguf", dir);
	CHECKF(same_values(path, want, n, &err), "%s in %s: %zu values; %s", name, from, n, err.message);
	free(blocks);
	free(npy);
}

static void
test_blocks(void)
{
	char		from[PATH_MAX];

	for (size_t i = 0; i < N_BLOCK_TYPES; i++)
	{
		snprintf(from, sizeof(from), "%s/gguf/blocks", data_dir());
		check_blocks(from, block_types[i].name, block_types[i].number);
	}
	if (shared_dir() == NULL)
	{
		skip("no reference data: all blocks of each type");
		return;
	}
	snprintf(from, sizeof(from), "%s/goldens/quant", shared_dir());
	for (size_t i = 0; i < N_BLOCK_TYPES; i++)
	{
		char		random[32];

		check_blocks(from, block_types[i].name, block_types[i].number);
		snprintf(random, sizeof(random), "%s.random", block_types[i].name);
		if (emb_ggml_type(block_types[i].number)->n_elems > 1)
			check_blocks(from, random, block_types[i].number);
	}
}

/* ---------------------------------------------------------------- headers */

typedef struct Case
{
	const char *what;
	void		(*write) (Buf *b);
	EmbStatus	status;
	const char *message;		/* part of the error message */
} Case;

static const uint64_t four[] = {4};

static void
good(Buf *b)
{
	*b = gguf_begin(3, 2, 2);
	gguf_key_string(b, "general.architecture", "bert");
	gguf_key_uint(b, "bert.block_count", 4, 7);
	gguf_tensor(b, "b", 1, four, 0, 32);
	gguf_tensor(b, "a", 2, (uint64_t[]) {32, 2}, 8, 64);
	gguf_data(b, 32, 64 + 68);
}

static void
no_magic(Buf *b)
{
	good(b);
	b->data[3] = 'f';
}

static void
version_1(Buf *b)
{
	*b = gguf_begin(1, 0, 0);
}

static void
version_2(Buf *b)
{
	good(b);
	b->data[4] = 2;
}

static void
version_0(Buf *b)
{
	*b = gguf_begin(0, 0, 0);
}

static void
big_endian(Buf *b)
{
	*b = gguf_begin(0x03000000, 0, 0);
}

static void
nothing(Buf *b)
{
	*b = gguf_begin(3, 0, 0);
}

static void
many_tensors(Buf *b)
{
	*b = gguf_begin(3, UINT64_MAX, 0);
}

static void
many_keys(Buf *b)
{
	*b = gguf_begin(3, 0, UINT64_C(1) << 60);
}

static void
few_bytes(Buf *b)
{
	*b = gguf_begin(3, 60000, 16000);
	gguf_data(b, 1, 100000);
}

static void
long_key(Buf *b)
{
	char		name[300];

	memset(name, 'k', sizeof(name));
	name[256] = '\0';
	*b = gguf_begin(3, 0, 1);
	gguf_key_uint(b, name, 4, 1);
}

static void
empty_key(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	gguf_key_uint(b, "", 4, 1);
	gguf_data(b, 1, 8);
}

static void
key_of_bytes(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	gguf_key_uint(b, "culprit\xFF", 4, 1);
}

static void
key_with_zero(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	gguf_key_uint(b, "abcd", 4, 1);
	b->data[24 + 8 + 1] = '\0';
}

static void
key_too_long(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	put_uint(b, UINT64_MAX - 5, 8);
	gguf_data(b, 1, 64);
}

static void
twice(Buf *b)
{
	*b = gguf_begin(3, 0, 3);
	gguf_key_uint(b, "culprit", 4, 1);
	gguf_key_uint(b, "b", 4, 1);
	gguf_key_uint(b, "culprit", 4, 1);
}

static void
type_13(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	put_string(b, "culprit");
	put_uint(b, 13, 4);
	gguf_data(b, 1, 64);
}

static void
array_of_arrays(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	gguf_key_array(b, "culprit", 9, 1);
	gguf_data(b, 1, 64);
}

static void
long_array(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	gguf_key_array(b, "a", 10, UINT64_C(1) << 61);
	gguf_data(b, 1, 64);
}

static void
many_strings(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	gguf_key_array(b, "a", 8, 1 << 20);
	gguf_data(b, 1, 64);
}

static void
lying_string(Buf *b)
{
	*b = gguf_begin(3, 0, 1);
	gguf_key_array(b, "a", 8, 2);
	put_string(b, "x");
	put_uint(b, UINT64_C(0x0100000000000000), 8);
	gguf_data(b, 1, 64);
}

static void
with_alignment(Buf *b, int type, uint64_t alignment, uint64_t offset)
{
	*b = gguf_begin(3, 1, 1);
	gguf_key_uint(b, "general.alignment", type, alignment);
	gguf_tensor(b, "culprit", 1, four, 0, offset);
	gguf_data(b, 1, 9000);
}

static void
alignment_0(Buf *b)
{
	with_alignment(b, 4, 0, 0);
}

static void
alignment_48(Buf *b)
{
	with_alignment(b, 4, 48, 0);
}

static void
alignment_8192(Buf *b)
{
	with_alignment(b, 4, 8192, 0);
}

static void
alignment_u16(Buf *b)
{
	with_alignment(b, 2, 32, 0);
}

static void
alignment_1(Buf *b)
{
	with_alignment(b, 4, 1, 5);
}

static void
alignment_4096(Buf *b)
{
	with_alignment(b, 4, 4096, 0);
}

static void
unaligned(Buf *b)
{
	with_alignment(b, 4, 64, 32);
}

static void
one_tensor(Buf *b, const char *name, int rank, const uint64_t *dims, uint32_t type, uint64_t offset)
{
	*b = gguf_begin(3, 1, 0);
	gguf_tensor(b, name, rank, dims, type, offset);
	gguf_data(b, 32, 64);
}

static void
rank_0(Buf *b)
{
	one_tensor(b, "culprit", 0, four, 0, 0);
}

static void
rank_5(Buf *b)
{
	one_tensor(b, "culprit", 5, (uint64_t[]) {1, 1, 1, 1, 1}, 0, 0);
}

static void
dimension_0(Buf *b)
{
	one_tensor(b, "culprit", 2, (uint64_t[]) {4, 0}, 0, 0);
}

static void
dimension_negative(Buf *b)
{
	one_tensor(b, "culprit", 1, (uint64_t[]) {UINT64_MAX}, 0, 0);
}

static void
shape_overflows(Buf *b)
{
	one_tensor(b, "culprit", 4, (uint64_t[]) {65536, 65536, 65536, 65536}, 0, 0);
}

static void
bytes_overflow(Buf *b)
{
	one_tensor(b, "culprit", 1, (uint64_t[]) {UINT64_C(1) << 62}, 0, 0);
}

static void
half_a_block(Buf *b)
{
	one_tensor(b, "culprit", 2, (uint64_t[]) {48, 1}, 8, 0);
}

static void
type_unknown(Buf *b)
{
	one_tensor(b, "culprit", 1, four, 4711, 0);
}

static void
type_withdrawn(Buf *b)
{
	one_tensor(b, "culprit", 1, four, 4, 0);
}

static void
outside(Buf *b)
{
	one_tensor(b, "culprit", 1, (uint64_t[]) {17}, 0, 0);
}

static void
offset_outside(Buf *b)
{
	one_tensor(b, "culprit", 1, four, 0, 64);
}

static void
offset_huge(Buf *b)
{
	one_tensor(b, "culprit", 1, four, 0, UINT64_MAX - 31);
}

static void
offset_wraps(Buf *b)
{
	one_tensor(b, "culprit", 1, four, 0, INT64_MAX - 31);
}

static void
overlap(Buf *b)
{
	*b = gguf_begin(3, 2, 0);
	gguf_tensor(b, "culprit", 1, four, 0, 32);
	gguf_tensor(b, "a", 1, (uint64_t[]) {16}, 0, 0);
	gguf_data(b, 32, 64);
}

static void
same_bytes(Buf *b)
{
	*b = gguf_begin(3, 2, 0);
	gguf_tensor(b, "a", 1, four, 0, 0);
	gguf_tensor(b, "b", 1, four, 0, 0);
	gguf_data(b, 32, 64);
}

static void
tensor_twice(Buf *b)
{
	*b = gguf_begin(3, 2, 0);
	gguf_tensor(b, "culprit", 1, four, 0, 0);
	gguf_tensor(b, "culprit", 1, four, 0, 32);
	gguf_data(b, 32, 64);
}

static void
tensor_of_bytes(Buf *b)
{
	one_tensor(b, "\x80", 1, four, 0, 0);
}

static void
second_of_two(Buf *b)
{
	*b = gguf_begin(3, 0, 2);
	gguf_key_uint(b, "split.no", 2, 1);
	gguf_key_uint(b, "split.count", 2, 2);
}

static const Case cases[] = {
	{"good", good, EMB_OK, NULL},
	{"version 2", version_2, EMB_OK, NULL},
	{"nothing in it", nothing, EMB_OK, NULL},
	{"alignment 1", alignment_1, EMB_OK, NULL},
	{"alignment 4096", alignment_4096, EMB_OK, NULL},
	{"no magic", no_magic, EMB_ERR_FORMAT, "does not begin"},
	{"version 1", version_1, EMB_ERR_UNSUPPORTED, "version 1"},
	{"version 0", version_0, EMB_ERR_UNSUPPORTED, "version 0"},
	{"big endian", big_endian, EMB_ERR_UNSUPPORTED, "big-endian"},
	{"2^64 tensors", many_tensors, EMB_ERR_LIMIT, "18446744073709551615"},
	{"2^60 keys", many_keys, EMB_ERR_LIMIT, "1152921504606846976"},
	{"more entries than bytes", few_bytes, EMB_ERR_FORMAT, "too many"},
	{"a key of 256 bytes", long_key, EMB_ERR_FORMAT, "name of 256 bytes"},
	{"a key of none", empty_key, EMB_ERR_FORMAT, "name of 0 bytes"},
	{"a key not of UTF-8", key_of_bytes, EMB_ERR_FORMAT, "not UTF-8"},
	{"a key with U+0000", key_with_zero, EMB_ERR_FORMAT, "not UTF-8"},
	{"a key of 2^64 bytes", key_too_long, EMB_ERR_FORMAT, "middle of a key"},
	{"a key twice", twice, EMB_ERR_FORMAT, "culprit"},
	{"an unknown type", type_13, EMB_ERR_FORMAT, "culprit"},
	{"an array of arrays", array_of_arrays, EMB_ERR_FORMAT, "culprit"},
	{"an array of 2^64 bytes", long_array, EMB_ERR_FORMAT, "middle of a value"},
	{"an array of many strings", many_strings, EMB_ERR_FORMAT, "middle of a value"},
	{"a string that lies", lying_string, EMB_ERR_FORMAT, "middle of a string"},
	{"alignment 0", alignment_0, EMB_ERR_FORMAT, "power of two"},
	{"alignment 48", alignment_48, EMB_ERR_FORMAT, "is 48"},
	{"alignment 8192", alignment_8192, EMB_ERR_FORMAT, "is 8192"},
	{"alignment as u16", alignment_u16, EMB_ERR_FORMAT, "not a u32"},
	{"an unaligned tensor", unaligned, EMB_ERR_FORMAT, "culprit"},
	{"no dimension", rank_0, EMB_ERR_FORMAT, "culprit"},
	{"five dimensions", rank_5, EMB_ERR_FORMAT, "culprit"},
	{"a dimension of 0", dimension_0, EMB_ERR_FORMAT, "culprit"},
	{"a dimension of 2^64", dimension_negative, EMB_ERR_FORMAT, "culprit"},
	{"a shape that overflows", shape_overflows, EMB_ERR_FORMAT, "overflows"},
	{"bytes that overflow", bytes_overflow, EMB_ERR_FORMAT, "overflows"},
	{"half a block", half_a_block, EMB_ERR_FORMAT, "whole blocks"},
	{"an unknown type of tensor", type_unknown, EMB_ERR_UNSUPPORTED, "type 4711"},
	{"a withdrawn type of tensor", type_withdrawn, EMB_ERR_UNSUPPORTED, "type 4"},
	{"a tensor beyond the end", outside, EMB_ERR_FORMAT, "culprit"},
	{"an offset beyond the end", offset_outside, EMB_ERR_FORMAT, "culprit"},
	{"an offset of 2^64", offset_huge, EMB_ERR_FORMAT, "culprit"},
	{"an offset that wraps", offset_wraps, EMB_ERR_FORMAT, "culprit"},
	{"tensors that overlap", overlap, EMB_ERR_FORMAT, "overlaps"},
	{"the same bytes twice", same_bytes, EMB_ERR_FORMAT, "overlaps"},
	{"a tensor twice", tensor_twice, EMB_ERR_FORMAT, "twice"},
	{"a tensor's name not of UTF-8", tensor_of_bytes, EMB_ERR_FORMAT, "not UTF-8"},
	{"a shard without its name", second_of_two, EMB_ERR_FORMAT, "number 2 of 2"},
};

static EmbStatus
open_data(const void *data, size_t size, EmbError *err)
{
	const char *dir = fresh_dir();
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	char		path[PATH_MAX];
	EmbGguf		gguf;
	EmbStatus	status;

	write_file(dir, "a.gguf", data, size);
	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	memset(err, 0, sizeof(*err));
	status = emb_gguf_open(path, &mem, NULL, &gguf, err);
	if (status == EMB_OK)
		emb_gguf_close(&gguf);
	if (count.n_live != 0 || count.peak_bytes > 4 * size + 65536)
		CHECKF(0, "%ld blocks leaked, %zu bytes at once of %zu", count.n_live, count.peak_bytes, size);
	return status;
}

static void
test_headers(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];
		EmbError	err;
		EmbStatus	status;
		Buf			b;

		c->write(&b);
		status = open_data(b.data, b.size, &err);
		CHECKF(status == c->status && (c->message == NULL || strstr(err.message, c->message) != NULL), "%s: %d %s", c->what, status, err.message);
		free(b.data);
	}
}

/* Each cut ends before the last tensor does. */
static void
test_truncation(void)
{
	int			n_bad = 0;
	size_t		at = 0;
	EmbError	err;
	Buf			b;

	good(&b);
	for (size_t n = 0; n < b.size; n++)
	{
		EmbStatus	status = open_data(b.data, n, &err);

		if (status != EMB_ERR_FORMAT || err.message[0] == '\0' || err.hint[0] == '\0')
		{
			n_bad++;
			at = n;
		}
	}
	CHECKF(n_bad == 0, "%d of %zu cuts are taken, one at byte %zu: %s", n_bad, b.size, at, err.message);
	CHECK(open_data(b.data, b.size, &err) == EMB_OK);
	free(b.data);
}

/* Each byte in turn becomes each of a few values: whatever opens is closed again. */
static void
test_changed_bytes(void)
{
	static const uint8_t values[] = {0, 1, 0x7F, 0x80, 0xFF};
	int			n_bad = 0;
	EmbError	err;
	Buf			b;

	good(&b);
	for (size_t at = 0; at < b.size - 64 - 68; at++)
	{
		uint8_t		was = b.data[at];

		for (size_t i = 0; i < sizeof(values); i++)
		{
			b.data[at] = values[i];
			n_bad += open_data(b.data, b.size, &err) != EMB_OK && err.message[0] == '\0';
		}
		b.data[at] = was;
	}
	CHECK(n_bad == 0);
	free(b.data);
}

/* ------------------------------------------------------------------ keys */

static void
write_keys(const char *dir)
{
	Buf			b = gguf_begin(3, 0, 17);
	float		half = 0.5f;
	double		third = 1.0 / 3;
	uint32_t	half_bits;
	uint64_t	third_bits;

	memcpy(&half_bits, &half, 4);
	memcpy(&third_bits, &third, 8);
	gguf_key_uint(&b, "u8", 0, 200);
	gguf_key_uint(&b, "i8", 1, (uint64_t) -100);
	gguf_key_uint(&b, "u16", 2, 60000);
	gguf_key_uint(&b, "i16", 3, (uint64_t) -30000);
	gguf_key_uint(&b, "u32", 4, 4000000000u);
	gguf_key_uint(&b, "i32", 5, (uint64_t) -2000000000);
	gguf_key_uint(&b, "f32", 6, half_bits);
	gguf_key_uint(&b, "true", 7, 1);
	gguf_key_uint(&b, "two", 7, 2);
	gguf_key_string(&b, "text", "gr\xC3\xBC\xC3\x9F");
	gguf_key_string(&b, "bytes", "\xFF");
	gguf_key_uint(&b, "u64", 10, UINT64_MAX);
	gguf_key_uint(&b, "i64", 11, (uint64_t) INT64_MIN);
	gguf_key_uint(&b, "f64", 12, third_bits);
	gguf_key_array(&b, "words", 8, 3);
	put_string(&b, "one");
	put_string(&b, "");
	put_string(&b, "three");
	gguf_key_array(&b, "numbers", 5, 2);
	put_uint(&b, 7, 4);
	put_uint(&b, (uint64_t) -7, 4);
	gguf_key_array(&b, "none", 8, 0);
	write_file(dir, "keys.gguf", b.data, b.size);
	free(b.data);
}

static void
test_ints(const EmbGguf *g)
{
	static const struct
	{
		const char *name;
		int64_t		want;
	}			ints[] =
	{
		{"u8", 200}, {"i8", -100}, {"u16", 60000}, {"i16", -30000}, {"u32", 4000000000}, {"i32", -2000000000},
		{"u64", INT64_MAX}, {"i64", INT64_MIN}, {"absent", 5},
	};
	EmbError	err;
	int64_t		n;

	for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++)
	{
		n = 5;
		CHECKF(emb_gguf_get_int(g, ints[i].name, INT64_MIN, INT64_MAX, &n, &err) == EMB_OK && n == ints[i].want, "%s: %lld", ints[i].name, (long long) n);
	}
	CHECK(emb_gguf_get_int(g, "u8", 0, 199, &n, &err) == EMB_ERR_FORMAT && strstr(err.message, "200, outside 0..199") != NULL);
	CHECK(emb_gguf_get_int(g, "f32", 0, 1, &n, &err) == EMB_ERR_FORMAT && strstr(err.message, "f32, not an integer") != NULL);
	CHECK(emb_gguf_get_int(g, "true", 0, 1, &n, &err) == EMB_ERR_FORMAT);
	CHECK(emb_gguf_get_int(g, "numbers", 0, 1, &n, &err) == EMB_ERR_FORMAT && strstr(err.message, "array of i32") != NULL);
}

static void
test_other_values(const EmbGguf *g)
{
	EmbError	err;
	const char *text = "absent";
	bool		flag = false;
	double		x = 2;

	CHECK(emb_gguf_get_double(g, "f32", 0, 1, &x, &err) == EMB_OK && x == 0.5);
	CHECK(emb_gguf_get_double(g, "f64", 0, 1, &x, &err) == EMB_OK && x == 1.0 / 3);
	CHECK(emb_gguf_get_double(g, "u8", 0, 1000, &x, &err) == EMB_OK && x == 200);
	CHECK(emb_gguf_get_double(g, "f64", 0, 0.1, &x, &err) == EMB_ERR_FORMAT);
	CHECK(emb_gguf_get_double(g, "text", 0, 1, &x, &err) == EMB_ERR_FORMAT);
	CHECK(emb_gguf_get_bool(g, "true", &flag, &err) == EMB_OK && flag);
	CHECK(emb_gguf_get_bool(g, "two", &flag, &err) == EMB_ERR_FORMAT);
	CHECK(emb_gguf_get_bool(g, "u8", &flag, &err) == EMB_ERR_FORMAT);
	CHECK(emb_gguf_get_string(g, "nowhere", &text, &err) == EMB_OK && strcmp(text, "absent") == 0);
	CHECK(emb_gguf_get_string(g, "text", &text, &err) == EMB_OK && strcmp(text, "gr\xC3\xBC\xC3\x9F") == 0);
	CHECK(emb_gguf_get_string(g, "bytes", &text, &err) == EMB_ERR_FORMAT && strstr(err.message, "not UTF-8") != NULL);
	CHECK(emb_gguf_get_string(g, "u8", &text, &err) == EMB_ERR_FORMAT);
}

static void
test_arrays(const EmbGguf *g)
{
	static const char *const want[] = {"one", "", "three"};
	const EmbGgufKey *key;
	const uint8_t *at = NULL;
	EmbError	err;

	CHECK(emb_gguf_get_array(g, "nowhere", EMB_GGUF_STRING, &key, &err) == EMB_OK && key == NULL);
	CHECK(emb_gguf_get_array(g, "words", EMB_GGUF_I32, &key, &err) == EMB_ERR_FORMAT && strstr(err.message, "array of string") != NULL);
	CHECK(emb_gguf_get_array(g, "text", EMB_GGUF_STRING, &key, &err) == EMB_ERR_FORMAT);
	CHECK(emb_gguf_get_array(g, "none", EMB_GGUF_STRING, &key, &err) == EMB_OK && key->n == 0);
	CHECK(emb_gguf_get_array(g, "numbers", EMB_GGUF_I32, &key, &err) == EMB_OK && key->n == 2);
	CHECK(emb_gguf_int_at(key, 0) == 7 && emb_gguf_int_at(key, 1) == -7);
	CHECK(emb_gguf_get_array(g, "words", EMB_GGUF_STRING, &key, &err) == EMB_OK && key->n == 3);
	for (int i = 0; i < 3; i++)
	{
		size_t		len;
		const char *word = emb_gguf_next_string(key, &at, &len);

		CHECKF(len == strlen(want[i]) && strcmp(word, want[i]) == 0, "%s", word);
	}
}

static void
test_keys(void)
{
	const char *dir = fresh_dir();
	EmbAllocator mem = emb_malloc_allocator();
	char		path[PATH_MAX];
	EmbGguf		gguf;
	EmbError	err;

	write_keys(dir);
	snprintf(path, sizeof(path), "%s/keys.gguf", dir);
	if (!CHECKF(emb_gguf_open(path, &mem, NULL, &gguf, &err) == EMB_OK, "%s", err.message))
		return;
	test_ints(&gguf);
	test_other_values(&gguf);
	test_arrays(&gguf);
	emb_gguf_close(&gguf);
}

/* --------------------------------------------------------------- tensors */

/* Types that are not decoded are known by name; values that are no numbers are refused. */
static void
test_refused_tensors(void)
{
	static const uint8_t inf[4] = {0, 0, 0x80, 0x7F};
	const char *dir = fresh_dir();
	EmbAllocator mem = emb_malloc_allocator();
	char		path[PATH_MAX];
	EmbGguf		gguf;
	EmbError	err;
	float		out[64];
	Buf			b = gguf_begin(3, 3, 0);

	gguf_tensor(&b, "mxfp4", 1, (uint64_t[]) {32}, 39, 0);
	gguf_tensor(&b, "infinite", 1, four, 0, 32);
	gguf_tensor(&b, "q8", 1, (uint64_t[]) {64}, 8, 64);
	gguf_data(&b, 32, 64 + 68);
	memcpy(b.data + b.size - 64 - 68 + 32 + 8, inf, 4);
	write_file(dir, "a.gguf", b.data, b.size);
	free(b.data);
	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	if (!CHECKF(emb_gguf_open(path, &mem, NULL, &gguf, &err) == EMB_OK, "%s", err.message))
		return;
	CHECKF(emb_gguf_read_f32(&gguf, emb_gguf_find_tensor(&gguf, "mxfp4"), 0, 32, out, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "MXFP4") != NULL &&
		   err.hint[0] != '\0', "%s", err.message);
	CHECKF(emb_gguf_read_f32(&gguf, emb_gguf_find_tensor(&gguf, "infinite"), 0, 4, out, &err) == EMB_ERR_FORMAT &&
		   strstr(err.message, "infinity at index 2") != NULL, "%s", err.message);
	CHECK(emb_gguf_read_f32(&gguf, emb_gguf_find_tensor(&gguf, "infinite"), 3, 1, out, &err) == EMB_OK && out[0] == 0);
	CHECK(emb_gguf_read_f32(&gguf, emb_gguf_find_tensor(&gguf, "q8"), 32, 32, out, &err) == EMB_OK);
	CHECK(emb_gguf_read_f32(&gguf, emb_gguf_find_tensor(&gguf, "q8"), 16, 32, out, &err) == EMB_ERR_INTERNAL);
	CHECK(emb_gguf_read_f32(&gguf, emb_gguf_find_tensor(&gguf, "q8"), 32, 64, out, &err) == EMB_ERR_INTERNAL);
	CHECK(emb_gguf_find_tensor(&gguf, "q") == NULL && emb_gguf_find_tensor(&gguf, "q88") == NULL && emb_gguf_find_tensor(&gguf, "") == NULL);
	CHECK(emb_gguf_has_prefix(&gguf, "q") && emb_gguf_has_prefix(&gguf, "infinite") && emb_gguf_has_prefix(&gguf, ""));
	CHECK(!emb_gguf_has_prefix(&gguf, "r") && !emb_gguf_has_prefix(&gguf, "infinite2") && !emb_gguf_has_prefix(&gguf, "a"));
	emb_gguf_close(&gguf);
}

/* ---------------------------------------------------------------- shards */

/* Shard i of n with tensors t0 .. t(n_tensors - 1), of value i. */
static void
write_shard(const char *dir, int i, int n, int said, int n_tensors, int first, int total)
{
	char		name[64];
	float		value = (float) i;
	Buf			b = gguf_begin(3, (uint64_t) n_tensors, 3);

	gguf_key_uint(&b, "split.no", 2, (uint64_t) i);
	gguf_key_uint(&b, "split.count", 2, (uint64_t) said);
	gguf_key_uint(&b, "split.tensors.count", 5, (uint64_t) total);
	for (int k = 0; k < n_tensors; k++)
	{
		snprintf(name, sizeof(name), "t%d", first + k);
		gguf_tensor(&b, name, 1, (uint64_t[]) {1}, 0, (uint64_t) k * 32);
	}
	gguf_data(&b, 32, 0);
	for (int k = 0; k < n_tensors; k++)
	{
		gguf_data(&b, 32, 0);
		put_bytes(&b, &value, 4);
	}
	snprintf(name, sizeof(name), "m-%05d-of-%05d.gguf", i + 1, n);
	write_file(dir, name, b.data, b.size);
	free(b.data);
}

static EmbStatus
open_shard_file(const char *dir, const char *name, float *value, EmbError *err)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	char		path[PATH_MAX];
	EmbGguf		gguf;
	EmbStatus	status;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	memset(err, 0, sizeof(*err));
	status = emb_gguf_open(path, &mem, NULL, &gguf, err);
	if (status == EMB_OK)
	{
		const EmbGgufTensor *t = emb_gguf_find_tensor(&gguf, "t3");

		*value = -1;
		if (t != NULL)
			status = emb_gguf_read_f32(&gguf, t, 0, 1, value, err);
		emb_gguf_close(&gguf);
	}
	CHECKF(count.n_live == 0, "%ld blocks leaked", count.n_live);
	return status;
}

static void
test_shards(void)
{
	static const char *const first = "m-00001-of-00003.gguf";
	const char *dir = fresh_dir();
	char		path[PATH_MAX];
	EmbError	err;
	float		value;

	write_shard(dir, 0, 3, 3, 0, 0, 4);
	write_shard(dir, 1, 3, 3, 2, 0, 4);
	write_shard(dir, 2, 3, 3, 2, 2, 4);
	CHECKF(open_shard_file(dir, first, &value, &err) == EMB_OK && value == 2, "%s", err.message);
	CHECKF(open_shard_file(dir, "m-00003-of-00003.gguf", &value, &err) == EMB_OK && value == 2, "%s", err.message);
	write_shard(dir, 2, 3, 3, 2, 1, 4);
	CHECKF(open_shard_file(dir, first, &value, &err) == EMB_ERR_FORMAT && strstr(err.message, "t1") != NULL, "%s", err.message);
	write_shard(dir, 2, 3, 3, 1, 2, 4);
	CHECKF(open_shard_file(dir, first, &value, &err) == EMB_ERR_FORMAT && strstr(err.message, "has 4 tensors") != NULL, "%s", err.message);
	write_shard(dir, 2, 3, 4, 2, 2, 4);
	CHECKF(open_shard_file(dir, first, &value, &err) == EMB_ERR_FORMAT && strstr(err.message, "of 4 files") != NULL, "%s", err.message);
	snprintf(path, sizeof(path), "%s/m-00003-of-00003.gguf", dir);
	unlink(path);
	CHECKF(open_shard_file(dir, first, &value, &err) == EMB_ERR_NOT_FOUND && strstr(err.hint, "all 3 files") != NULL, "%s", err.message);
	CHECKF(open_shard_file(dir, "m-00001-of-00065.gguf", &value, &err) == EMB_ERR_LIMIT, "%s", err.message);
}

static void
test_shard_names(void)
{
	size_t		prefix = 0;
	int			i = 0;
	int			n = 0;

	CHECK(emb_gguf_is_shard_name("a/b-00002-of-00012.gguf", &prefix, &i, &n) && prefix == 3 && i == 2 && n == 12);
	CHECK(!emb_gguf_is_shard_name("-00001-of-00001.gguf", &prefix, &i, &n));
	CHECK(!emb_gguf_is_shard_name("b-00003-of-00002.gguf", &prefix, &i, &n));
	CHECK(!emb_gguf_is_shard_name("b-00000-of-00002.gguf", &prefix, &i, &n));
	CHECK(!emb_gguf_is_shard_name("b-0001-of-00002.gguf", &prefix, &i, &n));
	CHECK(!emb_gguf_is_shard_name("b-00001-of-00002.ggu", &prefix, &i, &n));
	CHECK(!emb_gguf_is_shard_name("", &prefix, &i, &n));
}

/* ------------------------------------------------------------------- stop */

static int	n_asked;

static bool
stop_at_once(void *ctx)
{
	n_asked++;
	return *(bool *) ctx;
}

/* A header of 20 MB, which grows while it is read: it is polled, and can be stopped. */
static void
test_stop(void)
{
	const char *dir = fresh_dir();
	EmbAllocator mem = emb_malloc_allocator();
	bool		answer = false;
	EmbStop		stop = {&answer, stop_at_once};
	char		path[PATH_MAX];
	EmbGguf		gguf;
	EmbError	err;
	const EmbGgufKey *key;
	const uint8_t *at = NULL;
	int			n_bad = 0;
	Buf			b = gguf_begin(3, 0, 2);

	gguf_key_array(&b, "words", 8, 1000000);
	for (int i = 0; i < 1000000; i++)
	{
		char		word[32];

		snprintf(word, sizeof(word), "word%d", i);
		put_string(&b, word);
	}
	gguf_key_uint(&b, "after", 4, 5);
	write_file(dir, "a.gguf", b.data, b.size);
	free(b.data);
	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	if (!CHECKF(emb_gguf_open(path, &mem, &stop, &gguf, &err) == EMB_OK, "%s", err.message))
		return;
	CHECKF(n_asked > 200, "polled %d times", n_asked);
	key = emb_gguf_find_key(&gguf, "words");
	for (int i = 0; i < 1000000; i++)
	{
		char		word[32];
		size_t		len;

		snprintf(word, sizeof(word), "word%d", i);
		n_bad += strcmp(emb_gguf_next_string(key, &at, &len), word) != 0 || len != strlen(word);
	}
	CHECKF(n_bad == 0, "%d strings differ", n_bad);
	emb_gguf_close(&gguf);
	answer = true;
	CHECK(emb_gguf_open(path, &mem, &stop, &gguf, &err) == EMB_ERR_CANCELLED);
}

/* -------------------------------------------------------- out of memory */

static void
test_nomem(void)
{
	const char *dir = fresh_dir();
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	char		path[PATH_MAX];
	EmbGguf		gguf;
	EmbError	err;
	Buf			b;
	int			n = 0;
	EmbStatus	status;

	good(&b);
	write_file(dir, "a.gguf", b.data, b.size);
	free(b.data);
	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	do
	{
		count.fail_after = n++;
		status = emb_gguf_open(path, &mem, NULL, &gguf, &err);
		if (status == EMB_OK)
			emb_gguf_close(&gguf);
		else
			CHECKF(status == EMB_ERR_NOMEM, "%d: %s", n, err.message);
		CHECKF(count.n_live == 0, "%d: %ld blocks leaked", n, count.n_live);
	} while (status != EMB_OK && n < 100);
	CHECKF(status == EMB_OK && n > 5, "%d", n);
}

int
main(void)
{
	test_blocks();
	test_headers();
	test_truncation();
	test_changed_bytes();
	test_keys();
	test_refused_tensors();
	test_shards();
	test_shard_names();
	test_stop();
	test_nomem();
	return done_testing();
}
