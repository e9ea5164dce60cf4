/*
 * gguf_util.h
 *		Writes GGUF files for tests, honest or lying, field by field.
 *
 *		Buf b = gguf_begin(3, n_tensors, n_keys);
 *		gguf_key_string(&b, "general.architecture", "bert");
 *		gguf_tensor(&b, "a", 1, (uint64_t[]) {4}, 0, 0);
 *		gguf_data(&b, 32, 16);					// zeros from the next multiple of 32 on
 *		write_file(dir, "a.gguf", b.data, b.size);
 *		free(b.data);
 */
#ifndef GGUF_UTIL_H
#define GGUF_UTIL_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GGUF_UNUSED __attribute__((unused))

typedef struct Buf
{
	uint8_t    *data;
	size_t		size;
	size_t		room;
} Buf;

static void
put_bytes(Buf *b, const void *data, size_t n)
{
	if (b->size + n > b->room)
	{
		b->room = (b->size + n) * 2;
		b->data = realloc(b->data, b->room);
		if (b->data == NULL)
			abort();
	}
	if (n > 0)
		memcpy(b->data + b->size, data, n);
	b->size += n;
}

static void
put_uint(Buf *b, uint64_t x, int n)
{
	for (; n > 0; n--, x >>= 8)
		put_bytes(b, &(uint8_t) {(uint8_t) x}, 1);
}

static void
put_string(Buf *b, const char *s)
{
	put_uint(b, strlen(s), 8);
	put_bytes(b, s, strlen(s));
}

GGUF_UNUSED static Buf
gguf_begin(uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
	Buf			b = {0};

	put_bytes(&b, "GGUF", 4);
	put_uint(&b, version, 4);
	put_uint(&b, n_tensors, 8);
	put_uint(&b, n_keys, 8);
	return b;
}

/* A number of the file format's type. */
GGUF_UNUSED static void
gguf_key_uint(Buf *b, const char *name, int type, uint64_t value)
{
	static const int sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

	put_string(b, name);
	put_uint(b, (uint64_t) type, 4);
	put_uint(b, value, sizes[type]);
}

GGUF_UNUSED static void
gguf_key_string(Buf *b, const char *name, const char *value)
{
	put_string(b, name);
	put_uint(b, 8, 4);
	put_string(b, value);
}

/* The elements follow. */
GGUF_UNUSED static void
gguf_key_array(Buf *b, const char *name, int type, uint64_t n)
{
	put_string(b, name);
	put_uint(b, 9, 4);
	put_uint(b, (uint64_t) type, 4);
	put_uint(b, n, 8);
}

/* dims: the fastest first, as in the file. */
GGUF_UNUSED static void
gguf_tensor(Buf *b, const char *name, int rank, const uint64_t *dims, uint32_t type, uint64_t offset)
{
	put_string(b, name);
	put_uint(b, (uint64_t) rank, 4);
	for (int i = 0; i < rank; i++)
		put_uint(b, dims[i], 8);
	put_uint(b, type, 4);
	put_uint(b, offset, 8);
}

GGUF_UNUSED static void
gguf_data(Buf *b, size_t alignment, size_t n)
{
	while (b->size % alignment != 0)
		put_uint(b, 0, 1);
	while (n-- > 0)
		put_uint(b, 0, 1);
}

#endif
