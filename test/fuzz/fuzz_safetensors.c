/*
 * fuzz_safetensors.c
 *		Weights of untrusted origin: first byte 'I': the rest is a shard index
 *		beside one good shard; else all of it is a safetensors file. Whatever
 *		opens is read to its end.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/tensors.h"

#define BLOCK 1024

static char dir[64];

static void
remove_dir(void)
{
	char		path[128];

	snprintf(path, sizeof(path), "%s/model.safetensors.index.json", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/a.safetensors", dir);
	unlink(path);
	rmdir(dir);
}

static void
put_file(const char *name, const void *data, size_t size)
{
	char		path[128];
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
		abort();
}

static void
make_dir(void)
{
	static const char shard[] = "\x3D\0\0\0\0\0\0\0{\"x\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}    \0\0\0";

	strcpy(dir, "/tmp/embed-fuzz-XXXXXX");
	if (mkdtemp(dir) == NULL)
		abort();
	atexit(remove_dir);
	put_file("a.safetensors", shard, sizeof(shard));
}

static void
read_all(const EmbTensorSet *set)
{
	static float out[BLOCK];

	for (int s = 0; s < set->n_shards; s++)
	{
		for (int i = 0; i < set->shards[s].n_tensors; i++)
		{
			const EmbTensor *t = &set->shards[s].tensors[i];

			if (emb_tensors_find(set, t->name) == NULL)
				abort();
			for (int64_t at = 0; at < t->n_elems; at += BLOCK)
			{
				int64_t		n = t->n_elems - at < BLOCK ? t->n_elems - at : BLOCK;

				if (emb_tensors_read_f32(set, t, at, n, out, NULL) != EMB_OK)
					break;
			}
		}
	}
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTensorSet set = {0};
	EmbError	err;
	EmbStatus	status;

	if (dir[0] == '\0')
		make_dir();
	if (size > 0 && data[0] == 'I')
	{
		put_file("model.safetensors.index.json", data + 1, size - 1);
		status = emb_tensors_open_dir(dir, &mem, NULL, &set, &err);
	}
	else
	{
		char		name[16];
		int			fd = memfd_create("fuzz", MFD_CLOEXEC);

		if (fd < 0 || write(fd, data, size) != (ssize_t) size)
			abort();
		snprintf(name, sizeof(name), "%d", fd);
		status = emb_tensors_open_file("/proc/self/fd", name, &mem, NULL, &set, &err);
		close(fd);
	}
	if (status == EMB_OK)
	{
		read_all(&set);
		emb_tensors_close(&set);
	}
	else if (status == EMB_ERR_INTERNAL || err.message[0] == '\0')
		abort();
	return 0;
}
