/*
 * fuzz_gguf.c
 *		A GGUF file of untrusted origin. Whatever opens is read to its end:
 *		keys, strings of arrays, tensors. Then it is imported.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/gguf.h"
#include "model/embed_core.h"

#define BLOCK_ROWS	4

static void
read_keys(const EmbGguf *gguf)
{
	for (int i = 0; i < gguf->shards[0].n_keys; i++)
	{
		const EmbGgufKey *key = &gguf->shards[0].keys[i];
		const uint8_t *at = NULL;
		const char *text;
		int64_t		n;
		double		x;
		bool		flag;

		if (emb_gguf_find_key(gguf, key->name) != key)
			abort();
		emb_gguf_get_int(gguf, key->name, INT64_MIN, INT64_MAX, &n, NULL);
		emb_gguf_get_double(gguf, key->name, -1e30, 1e30, &x, NULL);
		emb_gguf_get_bool(gguf, key->name, &flag, NULL);
		emb_gguf_get_string(gguf, key->name, &text, NULL);
		for (int64_t k = 0; k < key->n; k++)
		{
			size_t		len;

			if (key->type != EMB_GGUF_STRING)
				emb_gguf_double_at(key, k);
			else if (emb_gguf_next_string(key, &at, &len)[len] != '\0')
				abort();
		}
	}
}

static void
read_tensors(const EmbGguf *gguf)
{
	for (int i = 0; i < gguf->shards[0].n_tensors; i++)
	{
		const EmbGgufTensor *t = &gguf->shards[0].tensors[i];
		int64_t		step = BLOCK_ROWS * t->type->n_elems;
		float	   *out = malloc((size_t) step * sizeof(float));

		if (out == NULL || emb_gguf_find_tensor(gguf, t->name) != t)
			abort();
		for (int64_t at = 0; at < t->n_elems; at += step)
		{
			int64_t		n = t->n_elems - at < step ? t->n_elems - at : step;
			EmbStatus	status = emb_gguf_read_f32(gguf, t, at, n, out, NULL);

			if (status == EMB_ERR_INTERNAL)
				abort();
			if (status != EMB_OK)
				break;
		}
		free(out);
	}
}

static EmbStatus
drop_image(void *ctx, const void *data, size_t size, EmbError *err)
{
	(void) ctx;
	(void) data;
	(void) size;
	(void) err;
	return EMB_OK;
}

static void
import_model(const char *path)
{
	static const EmbImportOptions options = {.precision = "fp32"};
	EmbAllocator mem = emb_malloc_allocator();
	EmbSink		sink = {.write = drop_image};
	EmbError	err = {0};
	EmbStatus	status = emb_import_dir(path, &options, &mem, NULL, &sink, &err);

	if (status == EMB_ERR_INTERNAL || (status != EMB_OK && err.message[0] == '\0'))
		abort();
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbGguf		gguf;
	EmbError	err;
	EmbStatus	status;
	char		path[32];
	int			fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t) size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err.message[0] = '\0';
	status = emb_gguf_open(path, &mem, NULL, &gguf, &err);
	if (status == EMB_OK)
	{
		read_keys(&gguf);
		read_tensors(&gguf);
		emb_gguf_close(&gguf);
		import_model(path);
	}
	else if (status == EMB_ERR_INTERNAL || err.message[0] == '\0')
		abort();
	close(fd);
	return 0;
}
