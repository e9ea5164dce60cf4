/*
 * catalog_version.c
 *		Whether the library and the extension's objects in this database are of
 *		one version.
 *
 * The server sends no invalidation message for rows of pg_extension. Every
 * upgrade script replaces or creates a function (CONTRIBUTING.md), so a message
 * about pg_proc tells running sessions to look again. One look is an index
 * probe.
 */
#include "pg/store/catalog_version.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* The look holds as long as no message has come since it began. */
static uint64 n_changes = 1;
static uint64 n_checked = 0;

static void
functions_changed(pg_attribute_unused() Datum arg, pg_attribute_unused() int cache, pg_attribute_unused() uint32 hash)
{
	n_changes++;
}

char *
embed_catalog_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	char	   *version = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("embed"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

bool
embed_catalog_version_fits(void)
{
	uint64		n_before = n_changes;
	char	   *version;
	bool		fits;

	if (likely(n_checked == n_before))
		return true;
	/* takes a lock, and so receives messages, and may be cancelled */
	version = embed_catalog_version();
	/* without the extension the tables are missing, and the caller says so */
	fits = version == NULL || strcmp(version, EMBED_CORE_VERSION) == 0;
	if (fits)
		n_checked = n_before;
	if (version != NULL)
		pfree(version);
	return fits;
}

/* Whether version a is lower than b, number by number; what is no number counts as 0. */
static bool
is_lower(const char *a, const char *b)
{
	int			x[3] = {0, 0, 0};
	int			y[3] = {0, 0, 0};

	(void) sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2]);
	(void) sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2]);
	for (int i = 0; i < 3; i++)
	{
		if (x[i] != y[i])
			return x[i] < y[i];
	}
	return false;
}

static int
version_hint(const char *version)
{
	if (!is_lower(version, EMBED_CORE_VERSION))
		return errhint("Connect again; if shared_preload_libraries has the library, restart the server. "
					   "If the message remains, install version %s of embed on this server.", version);
	return RecoveryInProgress() ? errhint("Run ALTER EXTENSION embed UPDATE in this database on the primary.")
		: errhint("Run ALTER EXTENSION embed UPDATE in this database.");
}

void
embed_check_catalog_version(void)
{
	char	   *version;

	if (likely(embed_catalog_version_fits()))
		return;
	version = embed_catalog_version();
	if (version == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the library of extension \"embed\" has version %s, its objects in this database have version %s",
					EMBED_CORE_VERSION, version),
			 version_hint(version)));
}

void
embed_catalog_version_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, functions_changed, (Datum) 0);
}
