/*
 * storage.c
 *		Models, aliases and defaults as rows.
 */
#include "pg/store/storage.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "pg/store/image_rows.h"
#include "pg/store/tables.h"

/* ---------------------------------------------------------- reading */

bool
embed_storage_find_model(const char *name, Snapshot snapshot, EmbedModelRow *row)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* no row has such a name: spare the copies of 100 MB */
	if (strnlen(name, EMB_NAME_MAX + 1) > EMB_NAME_MAX)
		return false;
	rel = embed_storage_open("model", AccessShareLock);
	embed_storage_text_key(&key, Anum_model_name, name);
	scan = embed_storage_scan(rel, "model", snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		embed_storage_copy_fingerprint(row->fingerprint, embed_storage_get_attr(rel, tuple, Anum_model_fingerprint));
		row->dropped = DatumGetBool(embed_storage_get_attr(rel, tuple, Anum_model_dropped));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/* The text in column value_attno of the row whose key column equals key_value. */
static char *
find_text(const char *table, Snapshot snapshot, AttrNumber key_attno, const char *key_value, AttrNumber value_attno)
{
	Relation	rel = embed_storage_open(table, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *value = NULL;

	embed_storage_text_key(&key, key_attno, key_value);
	scan = embed_storage_scan(rel, table, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		value = TextDatumGetCString(embed_storage_get_attr(rel, tuple, value_attno));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return value;
}

char *
embed_storage_name_of(const char *digits)
{
	Relation	rel = embed_storage_open("model", AccessShareLock);
	SysScanDesc scan = embed_storage_scan(rel, "model", NULL, 0, NULL);
	HeapTuple	tuple;
	char	   *name = NULL;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		uint8		fingerprint[EMB_HASH_SIZE];
		char		hex[2 * EMB_HASH_SIZE + 1];

		embed_storage_copy_fingerprint(fingerprint, embed_storage_get_attr(rel, tuple, Anum_model_fingerprint));
		hex[hex_encode((const char *) fingerprint, EMB_HASH_SIZE, hex)] = '\0';
		if (strncmp(hex, digits, strlen(digits)) != 0)
			continue;
		name = TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_model_name));
		found = !DatumGetBool(embed_storage_get_attr(rel, tuple, Anum_model_dropped));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return name;
}

char *
embed_storage_find_alias(const char *alias, Snapshot snapshot)
{
	if (strnlen(alias, EMB_NAME_MAX + 1) > EMB_NAME_MAX)
		return NULL;
	return find_text("alias", snapshot, Anum_alias_alias, alias, Anum_alias_name);
}

char *
embed_storage_find_default(const char *kind, Snapshot snapshot)
{
	return find_text("default_model", snapshot, Anum_default_kind, kind, Anum_default_name);
}

/* ---------------------------------------------------- who uses what */

static bool
fingerprint_is(Datum value, const uint8 *fingerprint)
{
	bytea	   *b = DatumGetByteaPP(value);

	return VARSIZE_ANY_EXHDR(b) == EMB_HASH_SIZE && memcmp(VARDATA_ANY(b), fingerprint, EMB_HASH_SIZE) == 0;
}

/* Whether a model that is not dropped exists; with a fingerprint: a model of that image. */
static bool
any_model(const uint8 *fingerprint)
{
	Relation	rel = embed_storage_open("model", AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = !DatumGetBool(embed_storage_get_attr(rel, tuple, Anum_model_dropped))
			&& (fingerprint == NULL || fingerprint_is(embed_storage_get_attr(rel, tuple, Anum_model_fingerprint), fingerprint));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
embed_storage_has_models(void)
{
	return any_model(NULL);
}

/* Smaller is nearer; beyond it no name is meant. */
#define NEARNESS_MAX	3

/* How far a name is from another: 0 if it is its beginning or its end, else the letters to change. */
static int
distance(const char *name, const char *other)
{
	size_t		n = strlen(name);
	size_t		m = strlen(other);

	if (n >= 3 && n < m && (pg_strncasecmp(other, name, n) == 0 || pg_strcasecmp(other + m - n, name) == 0))
		return 0;
	return varstr_levenshtein_less_equal(name, (int) n, other, (int) m, 1, 1, 1, NEARNESS_MAX, true);
}

char *
embed_storage_similar_name(const char *name)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *nearest = NULL;
	int			least = Min(NEARNESS_MAX, (int) strlen(name) / 2) + 1;

	/* anything else is far from every name */
	if (!emb_name_is_valid(name, strlen(name)))
		return NULL;
	rel = embed_storage_open("model", AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		char	   *other = TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_model_name));
		int			d = DatumGetBool(embed_storage_get_attr(rel, tuple, Anum_model_dropped)) ? NEARNESS_MAX + 1 : distance(name, other);

		/* of equally near ones the first by name, in any order of rows */
		if (d < least || (d == least && nearest != NULL && strcmp(other, nearest) < 0))
		{
			nearest = other;
			least = d;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return nearest;
}

bool
embed_storage_image_is_used(const uint8 *fingerprint)
{
	return any_model(fingerprint);
}

List *
embed_storage_aliases_of(const char *name)
{
	Relation	rel = embed_storage_open("alias", AccessShareLock);
	SysScanDesc scan = embed_storage_scan(rel, "alias", NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *aliases = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (strcmp(TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_alias_name)), name) == 0)
			aliases = lappend(aliases, TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_alias_alias)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return aliases;
}

bool
embed_storage_has_other_model(const char *kind, const char *name)
{
	Relation	rel = embed_storage_open("model", AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		uint8		fingerprint[EMB_HASH_SIZE];

		if (DatumGetBool(embed_storage_get_attr(rel, tuple, Anum_model_dropped)) ||
			strcmp(TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_model_name)), name) == 0)
			continue;
		embed_storage_copy_fingerprint(fingerprint, embed_storage_get_attr(rel, tuple, Anum_model_fingerprint));
		found = strcmp(embed_storage_image_kind(fingerprint), kind) == 0;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* ---------------------------------------------------------- writing */

/* Replaces the row with that key by (key, value), or only deletes it. */
static void
put_pair(const char *table, const char *key_value, const char *value)
{
	Relation	rel = embed_storage_open(table, RowExclusiveLock);
	ScanKeyData key;

	embed_storage_text_key(&key, 1, key_value);
	embed_storage_delete_rows(rel, table, &key);
	if (value != NULL)
	{
		Datum		values[2] = {CStringGetTextDatum(key_value), CStringGetTextDatum(value)};

		CommandCounterIncrement();
		embed_storage_insert_row(rel, values);
	}
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

/*
 * Deletes the (key, value) rows with that value; there are few rows, so a
 * plain scan is enough.
 */
static void
delete_pairs_by_value(const char *table, const char *value)
{
	Relation	rel = embed_storage_open(table, RowExclusiveLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (strcmp(TextDatumGetCString(embed_storage_get_attr(rel, tuple, 2)), value) == 0)
			CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

void
embed_storage_put_alias(const char *alias, const char *name)
{
	put_pair("alias", alias, name);
}

void
embed_storage_put_default(const char *kind, const char *name)
{
	put_pair("default_model", kind, name);
}

void
embed_storage_delete_aliases_of(const char *name)
{
	delete_pairs_by_value("alias", name);
}

void
embed_storage_delete_defaults_of(const char *name)
{
	delete_pairs_by_value("default_model", name);
}

void
embed_storage_delete_model(const char *name)
{
	Relation	rel = embed_storage_open("model", RowExclusiveLock);
	ScanKeyData key;

	embed_storage_text_key(&key, Anum_model_name, name);
	embed_storage_delete_rows(rel, "model", &key);
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

void
embed_storage_put_model(const char *name, const EmbedModelRow *row)
{
	Relation	rel;
	Datum		values[Natts_model];

	embed_storage_delete_model(name);
	rel = embed_storage_open("model", RowExclusiveLock);
	values[Anum_model_name - 1] = CStringGetTextDatum(name);
	values[Anum_model_fingerprint - 1] = embed_storage_fingerprint_datum(row->fingerprint);
	values[Anum_model_dropped - 1] = BoolGetDatum(row->dropped);
	embed_storage_insert_row(rel, values);
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

void
embed_storage_rename_image(const uint8 *from, const uint8 *to)
{
	Relation	rel = embed_storage_open("model", AccessShareLock);
	SysScanDesc scan = embed_storage_scan(rel, "model", NULL, 0, NULL);
	List	   *names = NIL;
	HeapTuple	tuple;
	ListCell   *cell;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		uint8		fingerprint[EMB_HASH_SIZE];

		embed_storage_copy_fingerprint(fingerprint, embed_storage_get_attr(rel, tuple, Anum_model_fingerprint));
		if (memcmp(fingerprint, from, EMB_HASH_SIZE) == 0)
			names = lappend(names, TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_model_name)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	foreach(cell, names)
	{
		EmbedModelRow row;

		if (!embed_storage_find_model(lfirst(cell), NULL, &row))
			continue;
		memcpy(row.fingerprint, to, EMB_HASH_SIZE);
		embed_storage_put_model(lfirst(cell), &row);
	}
}
