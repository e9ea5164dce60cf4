/*
 * fuzz_torch.c
 *		Weights of untrusted origin, as torch.save writes them: first byte 'P':
 *		the rest is the pickle of a zip with one storage; else all of it is the
 *		file. Whatever opens is read to its end.
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

static const char *
link_path(void)
{
	static char path[64];

	if (path[0] == '\0')
		snprintf(path, sizeof(path), "/tmp/embed-fuzz-%d.bin", (int) getpid());
	return path;
}

static void
remove_link(void)
{
	unlink(link_path());
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

static void
put_number(uint8_t **at, uint64_t value, int n_bytes)
{
	for (int i = 0; i < n_bytes; i++)
		*(*at)++ = i < 8 ? (uint8_t) (value >> 8 * i) : 0;
}

static void
put_member(uint8_t **at, const char *start, const char *name, const uint8_t *data, size_t size, size_t offset, bool in_directory)
{
	memcpy(*at, start, 4);
	*at += 4;
	put_number(at, 0, in_directory ? 16 : 14);
	put_number(at, size, 4);
	put_number(at, size, 4);
	put_number(at, strlen(name), 2);
	put_number(at, 0, in_directory ? 12 : 2);
	if (in_directory)
		put_number(at, offset, 4);
	memcpy(*at, name, strlen(name));
	*at += strlen(name);
	if (!in_directory)
	{
		memcpy(*at, data, size);
		*at += size;
	}
}

/* a/data.pkl is the pickle, a/data/0 has 64 bytes. */
static uint8_t *
make_zip(const uint8_t *pickle, size_t size, size_t *zip_size)
{
	static const uint8_t storage[64] = {1, 2, 3, 4};
	uint8_t    *zip = malloc(size + 1024);
	uint8_t    *at = zip;
	size_t		second;
	size_t		directory;

	if (zip == NULL)
		abort();
	put_member(&at, "PK\3\4", "a/data.pkl", pickle, size, 0, false);
	second = at - zip;
	put_member(&at, "PK\3\4", "a/data/0", storage, sizeof(storage), 0, false);
	directory = at - zip;
	put_member(&at, "PK\1\2", "a/data.pkl", NULL, size, 0, true);
	put_member(&at, "PK\1\2", "a/data/0", NULL, sizeof(storage), second, true);
	*zip_size = at - zip - directory;
	memcpy(at, "PK\5\6", 4);
	at += 4;
	put_number(&at, 0, 4);
	put_number(&at, 2, 2);
	put_number(&at, 2, 2);
	put_number(&at, *zip_size, 4);
	put_number(&at, directory, 4);
	put_number(&at, 0, 2);
	*zip_size = at - zip;
	return zip;
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTensorSet set = {0};
	EmbError	err;
	EmbStatus	status;

	static bool begun;
	uint8_t    *zip = NULL;
	char		path[64];
	int			fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (!begun)
		atexit(remove_link);
	begun = true;
	if (size > 0 && data[0] == 'P' && !(size > 1 && data[1] == 'K'))
		data = zip = make_zip(data + 1, size - 1, &size);
	if (fd < 0 || write(fd, data, size) != (ssize_t) size)
		abort();
	free(zip);
	/* the name decides about the format */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	unlink(link_path());
	if (symlink(path, link_path()) != 0)
		abort();
	status = emb_tensors_open_file("/tmp", link_path() + 5, &mem, NULL, &set, &err);
	close(fd);
	if (status == EMB_OK)
	{
		read_all(&set);
		emb_tensors_close(&set);
	}
	else if (status == EMB_ERR_INTERNAL || err.message[0] == '\0')
		abort();
	return 0;
}
