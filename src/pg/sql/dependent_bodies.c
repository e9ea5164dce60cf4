/*
 * dependent_bodies.c
 *		Functions whose text or SET clause names the model. pg_depend has no
 *		entries for them, so the texts are searched for words.
 */
#include "pg/sql/dependent_search.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/* ---------------------------------------------------------------- words */

static bool
is_identifier_char(char c)
{
	return c == '_' || IS_HIGHBIT_SET(c) || isalnum((unsigned char) c);
}

/* The text after the word if the word is next, else NULL. */
static const char *
skip_word(const char *text, const char *word)
{
	size_t		len = strlen(word);

	return pg_strncasecmp(text, word, len) == 0 && !is_identifier_char(text[len]) ? text + len : NULL;
}

static const char *
skip_space(const char *text)
{
	while (isspace((unsigned char) *text))
		text++;
	return text;
}

/* The text after the next occurrence of the word, else NULL. */
static const char *
find_word(const char *text, const char *word)
{
	for (const char *at = text; *at != '\0'; at++)
	{
		const char *end = NULL;

		if (pg_tolower((unsigned char) *at) == (unsigned char) word[0] && (at == text || !is_identifier_char(at[-1])))
			end = skip_word(at, word);
		if (end != NULL)
			return end;
	}
	return NULL;
}

static bool
has_word(const char *text, const char *word)
{
	return find_word(text, word) != NULL;
}

/* Whether text contains the name in quotes. */
static bool
has_quoted(const char *text, const char *name)
{
	size_t		len = strlen(name);

	for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name))
	{
		if (at > text && strchr("'\"$", at[-1]) != NULL && at[len] != '\0' && strchr("'\"$@", at[len]) != NULL)
			return true;
	}
	return false;
}

/* Whether text contains SET setting = name, or TO name, without quotes. */
static bool
has_assignment(const char *text, const char *setting, const char *name)
{
	for (const char *at = find_word(text, setting); at != NULL; at = find_word(at, setting))
	{
		const char *value = skip_space(at);

		value = *value == '=' ? value + 1 : skip_word(value, "to");
		if (value != NULL && skip_word(skip_space(value), name) != NULL)
			return true;
	}
	return false;
}

static bool
has_model(const char *text, const char *name)
{
	return has_quoted(text, name) || has_assignment(text, "embed.model", name) || has_assignment(text, "embed.reranker", name);
}

/* The model name or alias that text contains, or NULL. */
static const char *
named_model(const EmbedSearch *search, const char *text)
{
	ListCell   *cell;

	if (has_model(text, search->name))
		return search->name;
	foreach(cell, search->aliases)
	{
		if (has_model(text, lfirst(cell)))
			return lfirst(cell);
	}
	return NULL;
}

/*
 * One of our functions that the text calls, or that the setting embed.model
 * implies; or NULL.
 */
static const char *
called_function(const EmbedSearch *search, const char *text)
{
	ListCell   *cell;

	foreach(cell, search->functions)
	{
		const EmbedModelFunction *function = lfirst(cell);

		if (has_word(text, function->name))
			return function->name;
	}
	return NULL;
}

/*
 * A function that imports and drops models names them for this purpose, and
 * must not refuse its own drop.
 */
static bool
manages_models(const char *text)
{
	return has_word(text, "embed_drop") || has_word(text, "embed_import") || has_word(text, "embed_load") ||
		has_word(text, "embed_load_lo");
}

/* ------------------------------------------------------------ functions */

static void
search_function_text(EmbedSearch *search, Relation rel, HeapTuple tuple, const ObjectAddress *address)
{
	char	   *text = embed_search_get_text(rel, tuple, Anum_pg_proc_prosrc);
	const char *name = text != NULL ? named_model(search, text) : NULL;
	const char *function = name != NULL ? called_function(search, text) : NULL;

	if (function != NULL)
		embed_search_add_object(search, EMBED_DEPENDENT_FUNCTION, manages_models(text) ? EMBED_CAUSE_MAYBE : EMBED_CAUSE_NAMES, address,
								psprintf("its text has %s and %s", embed_search_describe_name(search, name), function), name);
}

static void
search_function(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	ObjectAddress address;
	bool		isnull;
	Datum		entries = heap_getattr(tuple, Anum_pg_proc_proconfig, RelationGetDescr(rel), &isnull);
	const char *name;
	char	   *setting;

	ObjectAddressSet(address, ProcedureRelationId, form->oid);
	if (form->prolang != INTERNALlanguageId && form->prolang != ClanguageId)
		search_function_text(search, rel, tuple, &address);
	setting = isnull ? NULL : embed_search_find_setting(search, entries, &name);
	if (setting != NULL)
		embed_search_add_object(search, EMBED_DEPENDENT_FUNCTION_SETTING, EMBED_CAUSE_NAMES, &address,
								psprintf("%s chooses %s", setting, embed_search_describe_name(search, name)), name);
}

void
embed_search_bodies(EmbedSearch *search)
{
	Relation	rel = table_open(ProcedureRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_proc_oid, BTGreaterEqualStrategyNumber, F_OIDGE, ObjectIdGetDatum(FirstNormalObjectId));
	scan = systable_beginscan(rel, ProcedureOidIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(search->row_cxt);
		search_function(search, rel, tuple);
		MemoryContextSwitchTo(old);
		MemoryContextReset(search->row_cxt);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}
