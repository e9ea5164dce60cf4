/*
 * fuzz_zip.c
 *		The directory of a zip file, with and without its 64-bit extension. The
 *		first byte: 'F', all of the rest is the file; else bits: 1 the end of the
 *		directory in 64 bits, 2 offsets and sizes in extra fields, 4 a comment, and the
 *		rest are patches of 3 bytes (offset of 2 bytes, from the end if the top bit is
 *		set; value) of a good file.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/zip.h"

static void
put(uint8_t *zip, size_t *at, uint64_t value, int n_bytes)
{
	for (int i = 0; i < n_bytes; i++)
		zip[(*at)++] = (uint8_t) (i < 8 ? value >> 8 * i : 0);
}

static void
put_bytes(uint8_t *zip, size_t *at, const void *bytes, size_t n)
{
	memcpy(zip + *at, bytes, n);
	*at += n;
}

static const char *const names[] = {"a/data.pkl", "a/byteorder", "a/data/0", "a/data/1"};
#define N_MEMBERS	4
#define MEMBER_BYTES 20

/* Where each member begins goes to offsets. */
static void
put_members(uint8_t *zip, size_t *at, size_t offsets[N_MEMBERS])
{
	for (int i = 0; i < N_MEMBERS; i++)
	{
		offsets[i] = *at;
		put_bytes(zip, at, "PK\3\4", 4);
		put(zip, at, 0, 14);
		put(zip, at, MEMBER_BYTES, 4);
		put(zip, at, MEMBER_BYTES, 4);
		put(zip, at, strlen(names[i]), 2);
		put(zip, at, 0, 2);
		put_bytes(zip, at, names[i], strlen(names[i]));
		put(zip, at, (uint64_t) i, MEMBER_BYTES);
	}
}

static void
put_directory(uint8_t *zip, size_t *at, const size_t offsets[N_MEMBERS], bool extra)
{
	for (int i = 0; i < N_MEMBERS; i++)
	{
		put_bytes(zip, at, "PK\1\2", 4);
		put(zip, at, 0, 16);
		put(zip, at, extra ? UINT32_MAX : MEMBER_BYTES, 4);
		put(zip, at, extra ? UINT32_MAX : MEMBER_BYTES, 4);
		put(zip, at, strlen(names[i]), 2);
		put(zip, at, extra ? 4 + 24 : 0, 2);
		put(zip, at, 0, 10);
		put(zip, at, extra ? UINT32_MAX : offsets[i], 4);
		put_bytes(zip, at, names[i], strlen(names[i]));
		if (!extra)
			continue;
		put(zip, at, 1, 2);
		put(zip, at, 24, 2);
		put(zip, at, MEMBER_BYTES, 8);
		put(zip, at, MEMBER_BYTES, 8);
		put(zip, at, offsets[i], 8);
	}
}

/* Returns its size; zip has 2 kB. */
static size_t
make_zip(uint8_t *zip, uint8_t kind)
{
	size_t		offsets[N_MEMBERS];
	size_t		n = 0;
	size_t		directory,
				end64;
	bool		is_64 = (kind & 1) != 0;

	put_members(zip, &n, offsets);
	directory = n;
	put_directory(zip, &n, offsets, (kind & 2) != 0);
	end64 = n;
	if (is_64)
	{
		put_bytes(zip, &n, "PK\6\6", 4);
		put(zip, &n, 44, 8);
		put(zip, &n, 0, 12);
		put(zip, &n, N_MEMBERS, 8);
		put(zip, &n, N_MEMBERS, 8);
		put(zip, &n, end64 - directory, 8);
		put(zip, &n, directory, 8);
		put_bytes(zip, &n, "PK\6\7", 4);
		put(zip, &n, 0, 4);
		put(zip, &n, end64, 8);
		put(zip, &n, 1, 4);
	}
	put_bytes(zip, &n, "PK\5\6", 4);
	put(zip, &n, 0, 4);
	put(zip, &n, is_64 ? UINT16_MAX : N_MEMBERS, 2);
	put(zip, &n, is_64 ? UINT16_MAX : N_MEMBERS, 2);
	put(zip, &n, is_64 ? UINT32_MAX : end64 - directory, 4);
	put(zip, &n, is_64 ? UINT32_MAX : directory, 4);
	put(zip, &n, (kind & 4) != 0 ? 12 : 0, 2);
	if (kind & 4)
		put_bytes(zip, &n, "comment PK\5\6", 12);
	return n;
}

static EmbStatus
use(const EmbFile *file, EmbError *err)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbZip		zip;
	EmbStatus	status = emb_zip_open(file, &mem, &zip, err);

	if (status != EMB_OK)
		return status;
	for (uint32_t i = 0; i < zip.n_members; i++)
	{
		const EmbZipMember *member = emb_zip_find(&zip, zip.members[i].name);
		int64_t		offset;

		if (member == NULL || strcmp(member->name, zip.members[i].name) != 0)
			abort();
		if (emb_zip_locate(&zip, member, &offset, NULL) == EMB_OK &&
			(offset < 0 || member->size_bytes < 0 || offset > file->size_bytes - member->size_bytes))
			abort();
	}
	(void) emb_zip_find_end(&zip, "/data.pkl");
	emb_zip_close(&zip);
	return EMB_OK;
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t		zip[2048];
	EmbFile		file = {.fd = memfd_create("fuzz", MFD_CLOEXEC), .path = "fuzz.zip"};
	EmbError	err = {0};
	EmbStatus	status;

	if (size < 1 || data[0] == 'F')
	{
		data += size > 0;
		size -= size > 0;
	}
	else
	{
		size_t		n = make_zip(zip, data[0]);

		for (size_t i = 1; i + 3 <= size; i += 3)
		{
			size_t		at = (size_t) data[i] | (size_t) (data[i + 1] & 0x7F) << 8;

			at %= n;
			zip[data[i + 1] & 0x80 ? n - 1 - at : at] = data[i + 2];
		}
		data = zip;
		size = n;
	}
	if (file.fd < 0 || write(file.fd, data, size) != (ssize_t) size)
		abort();
	file.size_bytes = (int64_t) size;
	status = use(&file, &err);
	close(file.fd);
	if (status != EMB_OK && (status == EMB_ERR_INTERNAL || err.message[0] == '\0'))
		abort();
	return 0;
}
