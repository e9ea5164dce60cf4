/*
 * memory.c
 *		The data of the view embed_memory: an image's file, its bytes in the
 *		page cache, and the backends that map it.
 */
#include "pg/glue.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "pg/store/filed.h"
#include "pg/store/image_file.h"
#include "pg/store/registry.h"

EMBED_FUNCTION(embed_image_memory);

/* Pages per mincore call. */
#define RESIDENT_STEP_PAGES 8192

/*
 * Bytes of the file in the page cache, or -1. Maps the file for a moment
 * without touching it.
 */
static int64
resident_bytes(int fd, int64 size_bytes)
{
	int64		page = sysconf(_SC_PAGESIZE);
	int64		step = page * RESIDENT_STEP_PAGES;
	unsigned char *flags = palloc(RESIDENT_STEP_PAGES);
	int64		n_pages = 0;
	char	   *addr = mmap(NULL, size_bytes, PROT_READ, MAP_SHARED, fd, 0);

	if (addr == MAP_FAILED)
		return -1;
	for (int64 at = 0; at < size_bytes && n_pages >= 0; at += step)
	{
		int64		size = Min(size_bytes - at, step);

		if (mincore(addr + at, size, flags) != 0)
			n_pages = -1;
		for (int64 i = 0; n_pages >= 0 && i * page < size; i++)
			n_pages += flags[i] & 1;
	}
	(void) munmap(addr, size_bytes);
	pfree(flags);
	return n_pages < 0 ? -1 : Min(n_pages * page, size_bytes);
}

/*
 * Whether process pid maps a file of that name; -1 if its maps cannot be read.
 * An image's files have its fingerprint as their name and are one inode in all
 * databases. A mapping of a deleted file does not count.
 */
static int
process_maps(int pid, const char *name)
{
	char		path[64];
	char		line[MAXPGPATH + 128];
	FILE	   *maps;
	int			found = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = AllocateFile(path, "r");
	if (maps == NULL)
		return -1;
	while (found == 0 && fgets(line, sizeof(line), maps) != NULL)
		found = strstr(line, name) != NULL && strstr(line, " (deleted)") == NULL;
	FreeFile(maps);
	return found;
}

/* The number of processes that map the file at path; -1 if no process can be checked. */
static int32
count_processes(ArrayType *pids, const char *path)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int32		n_mapped = 0;
	int32		n_asked = 0;
	const char *name = strrchr(path, '/');

	deconstruct_array(pids, INT4OID, sizeof(int32), true, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		int			found = -1;

		CHECK_FOR_INTERRUPTS();
		if (!nulls[i] && DatumGetInt32(values[i]) > 0)
			found = process_maps(DatumGetInt32(values[i]), name);
		n_asked += found >= 0;
		n_mapped += found > 0;
	}
	return n_asked > 0 ? n_mapped : -1;
}

/*
 * _embed.image_memory(fingerprint bytea, size_bytes int8, pids int4[], storage text)
 *
 *		returns (file text, mapped bool, resident_bytes int8, backends int4)
 *
 * The file is NULL if there is none. Other backends are checked only for roles
 * that may see other sessions.
 */
Datum
embed_image_memory(PG_FUNCTION_ARGS)
{
	bytea	   *fingerprint = PG_GETARG_BYTEA_PP(0);
	int64		size_bytes = PG_GETARG_INT64(1);
	ArrayType  *pids = PG_GETARG_ARRAYTYPE_P(2);
	char		path[MAXPGPATH];
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {true, false, true, true};
	struct stat st;
	int			fd;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (VARSIZE_ANY_EXHDR(fingerprint) != EMB_HASH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a fingerprint has %d bytes", EMB_HASH_SIZE)));
	values[1] = BoolGetDatum(embed_registry_find((const uint8 *) VARDATA_ANY(fingerprint)) != NULL);

	if (strcmp(text_to_cstring(PG_GETARG_TEXT_PP(3)), "file") == 0)
		embed_filed_path(path, (const uint8 *) VARDATA_ANY(fingerprint));
	else
		embed_image_file_path(path, (const uint8 *) VARDATA_ANY(fingerprint));
	/* O_NONBLOCK: the path may be a FIFO */
	fd = OpenTransientFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size_bytes && size_bytes > 0)
	{
		int64		resident = resident_bytes(fd, size_bytes);
		int32		n_backends = -1;

		if (has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
			n_backends = count_processes(pids, path);
		values[0] = CStringGetTextDatum(path);
		values[2] = Int64GetDatum(resident);
		values[3] = Int32GetDatum(n_backends);
		nulls[0] = false;
		nulls[2] = resident < 0;
		nulls[3] = n_backends < 0;
	}
	if (fd >= 0)
		CloseTransientFile(fd);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
