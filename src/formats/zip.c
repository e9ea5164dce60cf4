/*
 * zip.c
 *		The directory at the end of a zip file.
 *
 *	end of directory		"PK\5\6", 22 bytes and a comment
 *	64-bit locator			"PK\6\7", 20 bytes before it, if there is one
 *	64-bit end				"PK\6\6", at the offset in the locator
 *	directory entry			"PK\1\2", 46 bytes, name, extra fields, comment
 *	local header			"PK\3\4", 30 bytes, name, extra fields, then the data
 */
#include "formats/zip.h"

#include <stdlib.h>
#include <string.h>

#define END_BYTES		22
#define COMMENT_MAX		65535
#define LOCATOR_BYTES	20
#define END64_BYTES		56
#define ENTRY_BYTES		46
#define LOCAL_BYTES		30
#define EXTRA_64		0x0001	/* id of the extra field with 64-bit numbers */
#define FLAG_ENCRYPTED	0x0001

static uint64_t
number(const uint8_t *p, int n_bytes)
{
	uint64_t	n = 0;

	for (int i = n_bytes - 1; i >= 0; i--)
		n = n << 8 | p[i];
	return n;
}

static EmbStatus
damaged(const EmbFile *file, const char *what, EmbError *err)
{
	return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" is damaged or cut short: %s", file->path, what);
}

/* Reads the place of the directory from the 22 bytes at end_at. */
static EmbStatus
read_end(const EmbFile *file, const uint8_t *end, int64_t end_at, uint64_t *n, uint64_t *size, uint64_t *offset, EmbError *err)
{
	uint8_t		locator[LOCATOR_BYTES];
	uint8_t		end64[END64_BYTES];
	uint64_t	at;
	EmbStatus	status;

	*n = number(end + 10, 2);
	*size = number(end + 12, 4);
	*offset = number(end + 16, 4);
	if (*n != UINT16_MAX && *size != UINT32_MAX && *offset != UINT32_MAX)
		return EMB_OK;
	if (end_at < LOCATOR_BYTES)
		return damaged(file, "the 64-bit directory is missing", err);
	status = emb_file_read(file, end_at - LOCATOR_BYTES, locator, sizeof(locator), err);
	if (status != EMB_OK)
		return status;
	at = number(locator + 8, 8);
	if (memcmp(locator, "PK\6\7", 4) != 0 || at > (uint64_t) file->size_bytes - END64_BYTES)
		return damaged(file, "the 64-bit directory is missing", err);
	status = emb_file_read(file, (int64_t) at, end64, sizeof(end64), err);
	if (status != EMB_OK)
		return status;
	if (memcmp(end64, "PK\6\6", 4) != 0)
		return damaged(file, "the 64-bit directory is missing", err);
	*n = number(end64 + 32, 8);
	*size = number(end64 + 40, 8);
	*offset = number(end64 + 48, 8);
	return EMB_OK;
}

/* Searches the end of the directory from the end of the file, because a comment may follow it. */
static EmbStatus
find_directory(const EmbFile *file, const EmbAllocator *mem, uint64_t *n, uint64_t *size, uint64_t *offset, EmbError *err)
{
	size_t		tail_bytes = file->size_bytes < END_BYTES + COMMENT_MAX ? (size_t) file->size_bytes : END_BYTES + COMMENT_MAX;
	uint8_t    *tail = emb_alloc(mem, tail_bytes);
	EmbStatus	status;

	if (tail == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading \"%s\"", file->path);
	status = emb_file_read(file, file->size_bytes - (int64_t) tail_bytes, tail, tail_bytes, err);
	if (status == EMB_OK)
	{
		int64_t		i = (int64_t) tail_bytes - END_BYTES;

		while (i >= 0 && memcmp(tail + i, "PK\5\6", 4) != 0)
			i--;
		status = i < 0 ? damaged(file, "its directory is missing", err) :
			read_end(file, tail + i, file->size_bytes - (int64_t) tail_bytes + i, n, size, offset, err);
	}
	emb_release(mem, tail);
	return status;
}

/* Numbers beyond 32 bits are in an extra field, in the order size, packed, offset. */
static bool
read_extra(const uint8_t *extra, size_t len, uint64_t *size, uint64_t *packed, uint64_t *offset)
{
	uint64_t   *wanted[3] = {size, packed, offset};

	while (len >= 4)
	{
		uint64_t	id = number(extra, 2);
		size_t		field = number(extra + 2, 2);
		const uint8_t *p = extra + 4;

		if (field > len - 4)
			return false;
		for (int i = 0; id == EXTRA_64 && i < 3; i++)
		{
			if (*wanted[i] != UINT32_MAX)
				continue;
			if (p + 8 > extra + 4 + field)
				return false;
			*wanted[i] = number(p, 8);
			p += 8;
		}
		extra += 4 + field;
		len -= 4 + field;
	}
	return true;
}

/* Reads an entry at p, where left bytes are left. *used: the entry's length. */
static EmbStatus
read_entry(EmbZip *zip, const uint8_t *p, size_t left, char **names, EmbZipMember *m, size_t *used, EmbError *err)
{
	uint64_t	size,
				packed,
				offset;
	size_t		name_len,
				extra_len;

	if (left < ENTRY_BYTES || memcmp(p, "PK\1\2", 4) != 0)
		return damaged(zip->file, "its directory is malformed", err);
	packed = number(p + 20, 4);
	size = number(p + 24, 4);
	offset = number(p + 42, 4);
	name_len = number(p + 28, 2);
	extra_len = number(p + 30, 2);
	*used = ENTRY_BYTES + name_len + extra_len + number(p + 32, 2);
	if (*used > left || memchr(p + ENTRY_BYTES, '\0', name_len) != NULL ||
		!read_extra(p + ENTRY_BYTES + name_len, extra_len, &size, &packed, &offset))
		return damaged(zip->file, "its directory is malformed", err);
	if (offset > (uint64_t) zip->file->size_bytes || size > (uint64_t) zip->file->size_bytes)
		return damaged(zip->file, "a member lies past its end", err);
	m->name = *names;
	memcpy(*names, p + ENTRY_BYTES, name_len);
	(*names)[name_len] = '\0';
	*names += name_len + 1;
	m->header_offset = (int64_t) offset;
	m->size_bytes = (int64_t) size;
	m->stored = number(p + 10, 2) == 0 && size == packed && (number(p + 8, 2) & FLAG_ENCRYPTED) == 0;
	return EMB_OK;
}

static int
compare_members(const void *a, const void *b)
{
	return strcmp(((const EmbZipMember *) a)->name, ((const EmbZipMember *) b)->name);
}

static EmbStatus
read_directory(EmbZip *zip, const uint8_t *directory, size_t size, uint64_t n, EmbError *err)
{
	size_t		at = 0;
	char	   *names;

	/* every entry takes at least ENTRY_BYTES of the directory */
	if (n > size / ENTRY_BYTES)
		return damaged(zip->file, "its directory is malformed", err);
	names = zip->names = emb_alloc(zip->mem, size);
	zip->members = emb_alloc_zero(zip->mem, n + 1, sizeof(EmbZipMember));
	if (names == NULL || zip->members == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the directory of \"%s\"", zip->file->path);
	while (zip->n_members < n)
	{
		size_t		used = 0;
		EmbStatus	status = read_entry(zip, directory + at, size - at, &names, &zip->members[zip->n_members], &used, err);

		if (status != EMB_OK)
			return status;
		zip->n_members++;
		at += used;
	}
	qsort(zip->members, zip->n_members, sizeof(EmbZipMember), compare_members);
	return EMB_OK;
}

EmbStatus
emb_zip_open(const EmbFile *file, const EmbAllocator *mem, EmbZip *zip, EmbError *err)
{
	uint64_t	n = 0,
				size = 0,
				offset = 0;
	uint8_t    *directory;
	EmbStatus	status;

	*zip = (EmbZip) {.file = file, .mem = mem};
	status = find_directory(file, mem, &n, &size, &offset, err);
	if (status != EMB_OK)
		return status;
	if (offset > (uint64_t) file->size_bytes || size > (uint64_t) file->size_bytes - offset)
		return damaged(file, "its directory lies past its end", err);
	if (size > EMB_ZIP_MAX_DIRECTORY)
		return emb_error(err, EMB_ERR_LIMIT, "file \"%s\" has a directory of %llu bytes, more than %d",
						 file->path, (unsigned long long) size, EMB_ZIP_MAX_DIRECTORY);
	directory = emb_alloc(mem, size);
	if (directory == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the directory of \"%s\"", file->path);
	status = emb_file_read(file, (int64_t) offset, directory, size, err);
	if (status == EMB_OK)
		status = read_directory(zip, directory, size, n, err);
	emb_release(mem, directory);
	if (status != EMB_OK)
		emb_zip_close(zip);
	return status;
}

void
emb_zip_close(EmbZip *zip)
{
	emb_release(zip->mem, zip->names);
	emb_release(zip->mem, zip->members);
	zip->names = NULL;
	zip->members = NULL;
	zip->n_members = 0;
}

const EmbZipMember *
emb_zip_find(const EmbZip *zip, const char *name)
{
	EmbZipMember key = {.name = name};

	return zip->n_members == 0 ? NULL :
		bsearch(&key, zip->members, zip->n_members, sizeof(EmbZipMember), compare_members);
}

const EmbZipMember *
emb_zip_find_end(const EmbZip *zip, const char *end)
{
	size_t		end_len = strlen(end);

	for (uint32_t i = 0; i < zip->n_members; i++)
	{
		size_t		len = strlen(zip->members[i].name);

		if (len >= end_len && strcmp(zip->members[i].name + len - end_len, end) == 0)
			return &zip->members[i];
	}
	return NULL;
}

EmbStatus
emb_zip_locate(const EmbZip *zip, const EmbZipMember *member, int64_t *offset, EmbError *err)
{
	uint8_t		local[LOCAL_BYTES];
	EmbStatus	status;

	if (!member->stored)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\": member \"%.100s\" is compressed or encrypted; torch.save stores it as it is",
						 zip->file->path, member->name);
	status = emb_file_read(zip->file, member->header_offset, local, sizeof(local), err);
	if (status != EMB_OK)
		return status;
	if (memcmp(local, "PK\3\4", 4) != 0)
		return damaged(zip->file, "a member has no header", err);
	*offset = member->header_offset + LOCAL_BYTES + (int64_t) (number(local + 26, 2) + number(local + 28, 2));
	if (*offset > zip->file->size_bytes || member->size_bytes > zip->file->size_bytes - *offset)
		return damaged(zip->file, "a member lies past its end", err);
	return EMB_OK;
}
