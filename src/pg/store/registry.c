/*
 * registry.c
 *		From a model's name to an open, mapped model.
 *
 * Every change to the rows of schema _embed invalidates the relcache entry of
 * _embed.model (embed_storage_changed), so PostgreSQL itself tells all
 * backends at commit, and us at once, that resolved names may be stale: the
 * generation moves on. Mappings are by fingerprint and never stale, only
 * superfluous once the image's row is gone.
 */
#include "pg/store/registry.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "pg/store/materialize.h"
#include "pg/store/names.h"
#include "pg/store/restore.h"
#include "pg/store/storage.h"

/*
 * One mapped image of this backend. An entry is born dead, so that whatever
 * raises while it is being opened leaves it to close_dead_entries, lives once
 * it is open, and is retired by whoever finds something wrong with it. A dead
 * entry is never handed out again; of one image several may wait for their end,
 * but one lives at most.
 */
typedef struct RegistryEntry
{
	EmbedModelRef ref;			/* first: a ref is its entry's address */
	EmbedMapping mapping;
	MemoryContext cxt;			/* what emb_model_open allocated */
	bool		live;
	bool		damaged;		/* retired for that: its file is not to be trusted */
	bool		gone;			/* no row any more: retired when the transaction ends */
	struct RegistryEntry *next;
} RegistryEntry;

StaticAssertDecl(offsetof(RegistryEntry, ref) == 0, "a ref is its entry's address");

static RegistryEntry *entries = NULL;	/* few: models that one session uses */
static bool has_swept = false;
static uint64 generation = 1;
static uint64 checked_generation = 0;
static bool any_gone = false;
static bool extension_gone = false;
static bool drop_seen = false;
static object_access_hook_type next_object_access_hook = NULL;

/* _embed.model as of the last lookup; a change there makes names stale. */
static Oid	watched_relid = InvalidOid;

uint64
embed_registry_generation(void)
{
	return generation;
}

void
embed_registry_invalidate(void)
{
	generation++;
}

static void
relcache_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched_relid)
	{
		generation++;
		embed_names_changed();
	}
}

/* ------------------------------------------------------------ mappings */

static RegistryEntry *
find_live(const uint8 *fingerprint)
{
	for (RegistryEntry *entry = entries; entry != NULL; entry = entry->next)
	{
		if (entry->live && memcmp(entry->ref.fingerprint, fingerprint, EMB_HASH_SIZE) == 0)
			return entry;
	}
	return NULL;
}

/*
 * The one place that closes models. Called where nobody computes and no error
 * is being handled: before a lookup, when refs of earlier ones are compared by
 * generation before they are used, and when a transaction has ended. So what is
 * lost again and again in one transaction does not pile up.
 */
static void
close_dead_entries(void)
{
	RegistryEntry **link = &entries;

	while (*link != NULL)
	{
		RegistryEntry *entry = *link;

		if (entry->live)
		{
			link = &entry->next;
			continue;
		}
		*link = entry->next;
		if (entry->ref.model != NULL)
			emb_model_close(entry->ref.model);
		if (entry->cxt != NULL)
			MemoryContextDelete(entry->cxt);
		embed_unmap(&entry->mapping);
		pfree(entry);
	}
}

/* Nobody gets the entry any more, and who has it finds the generation changed. Raises nothing. */
static void
retire(RegistryEntry *entry)
{
	entry->live = false;
	generation++;
}

static void
retire_damaged(RegistryEntry *entry)
{
	entry->damaged = true;
	embed_mapping_note_damage(&entry->mapping);
	retire(entry);
}

static RegistryEntry *
new_entry(const uint8 *fingerprint)
{
	RegistryEntry *entry = MemoryContextAllocZero(TopMemoryContext, sizeof(RegistryEntry));

	memcpy(entry->ref.fingerprint, fingerprint, EMB_HASH_SIZE);
	entry->next = entries;
	entries = entry;
	return entry;
}

pg_noreturn static void
damage_error(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("the file of a model image was changed or could not be read while it was in use"),
			 errdetail("The file was truncated or written to, or its disk failed."),
			 errhint("The next call rebuilds the file.")));
}

/* Opens the mapped image in place. */
static EmbStatus
open_mapping(RegistryEntry *entry, EmbError *err)
{
	EmbAllocator mem;
	EmbStop		stop = embed_stop();
	EmbStatus	status;

	entry->cxt = AllocSetContextCreate(TopMemoryContext, "embed model", ALLOCSET_SMALL_SIZES);
	mem = embed_allocator(entry->cxt);
	status = emb_model_open(entry->mapping.addr, entry->mapping.size_bytes, 0,
							&mem, &stop, &entry->ref.model, err);
	if (status != EMB_OK)
	{
		entry->ref.model = NULL;
		return status;
	}
	entry->ref.info = emb_model_info(entry->ref.model);
	entry->ref.image = entry->mapping.addr;
	return EMB_OK;
}

/* What an intact image of this version gives at no time. */
static bool
tells_damage(EmbStatus status)
{
	return status == EMB_ERR_FORMAT || status == EMB_ERR_UNSUPPORTED;
}

/*
 * Maps and opens the image. A file that does not open is distrusted, hashed and
 * where needed made again, once.
 */
static RegistryEntry *
open_entry(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot)
{
	for (bool retried = false;; retried = true)
	{
		RegistryEntry *entry = new_entry(fingerprint);
		EmbError	err;
		EmbStatus	status;
		bool		damaged;

		entry->ref.stat = embed_stat_of(fingerprint);
		embed_materialize(fingerprint, size_bytes, trusted, snapshot, &entry->mapping);
		status = open_mapping(entry, &err);
		damaged = embed_mapping_is_damaged(&entry->mapping);
		if (status == EMB_OK && !damaged)
		{
			entry->live = true;
			return entry;
		}
		/* what only this version cannot open is left alone for sessions that have another */
		if (damaged)
			retire_damaged(entry);
		if (damaged && retried)
			damage_error();
		if ((!damaged && !tells_damage(status)) || retried)
			embed_throw(status, &err);
		trusted = false;
	}
}

/* Whether this image's file was found damaged a moment ago, whoever it was that had it. */
static bool
was_damaged(const uint8 *fingerprint)
{
	for (RegistryEntry *entry = entries; entry != NULL; entry = entry->next)
	{
		if (entry->damaged && memcmp(entry->ref.fingerprint, fingerprint, EMB_HASH_SIZE) == 0)
			return true;
	}
	return false;
}

/*
 * The entry of that image, mapped and open. Images made by an older version
 * stay readable or say so in emb_model_open.
 */
static RegistryEntry *
get_entry(const uint8 *fingerprint, int64 size_bytes, Snapshot snapshot)
{
	RegistryEntry *entry = find_live(fingerprint);
	uint64		begun;
	bool		trusted;

	if (entry != NULL && embed_mapping_is_damaged(&entry->mapping))
		retire_damaged(entry);
	else if (entry != NULL && !embed_mapping_is_current(&entry->mapping))
		retire(entry);
	else if (entry != NULL)
	{
		entry->gone = false;
		return entry;
	}
	if (!has_swept)
	{
		/* on a standby nobody drops and hardly anybody materializes: new backends look */
		embed_materialize_sweep_if_idle();
		has_swept = true;
	}
	trusted = !was_damaged(fingerprint);
	close_dead_entries();
	begun = embed_clock_ns();
	entry = open_entry(fingerprint, size_bytes, trusted, snapshot);
	embed_stat_add(entry->ref.stat, EMBED_WAIT_NS, embed_clock_ns() - begun);
	return entry;
}

/* Marks the mappings whose image was dropped, here or elsewhere. */
static void
check_entries(void)
{
	uint64		now = generation;

	if (entries == NULL || checked_generation == now)
		return;
	for (RegistryEntry *entry = entries; entry != NULL; entry = entry->next)
	{
		int64		size_bytes;

		if (!entry->live)
			continue;
		entry->gone = !embed_storage_find_image(entry->ref.fingerprint, NULL, &size_bytes);
		any_gone |= entry->gone;
	}
	checked_generation = now;
}

/*
 * A backend that embeds nothing more would keep a dropped model mapped, and
 * its space on the disk taken, for as long as it lives: so each commit looks,
 * if there was a change. Not while the tables are being dropped: it must not
 * wait here.
 */
static void
check_before_commit(void)
{
	if (!drop_seen && (entries == NULL || checked_generation == generation))
		return;
	if (!OidIsValid(embed_storage_model_relid()))
	{
		for (RegistryEntry *entry = entries; entry != NULL; entry = entry->next)
			entry->gone = any_gone = true;
		checked_generation = generation;
		extension_gone = true;
	}
	else if (embed_storage_try_lock_for_read())
		check_entries();
}

/*
 * DROP EXTENSION in a session that has the library but no model mapped, as all
 * have where it is preloaded. A session without the library runs nothing of
 * ours: what it leaves goes with the next one that embeds. (An event trigger of
 * the extension would see it, and keep people from dropping any extension once
 * the library is gone.)
 */
static void
watch_drops(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);
	if (access == OAT_DROP && class_id == ExtensionRelationId)
	{
		char	   *name = get_extension_name(object_id);

		drop_seen |= name != NULL && strcmp(name, "embed") == 0;
	}
}

/* Of several mappings one may be lost that nobody asked about yet. */
static bool
retire_lost_entries(void)
{
	bool		any = false;

	if (!embed_mappings_lost())
		return false;
	for (RegistryEntry *entry = entries; entry != NULL; entry = entry->next)
	{
		if (!embed_mapping_is_lost(&entry->mapping))
			continue;
		retire_damaged(entry);
		any = true;
	}
	return any;
}

void
embed_registry_check(const EmbedModelRef *ref, EmbStatus status, const EmbError *err)
{
	RegistryEntry *entry = (RegistryEntry *) ref;

	/* pages that were lost stop every computation */
	if (retire_lost_entries() || embed_mapping_is_damaged(&entry->mapping) || status == EMB_ERR_FORMAT)
	{
		retire_damaged(entry);
		damage_error();
	}
	if (status != EMB_OK)
		embed_throw(status, err);
}

void
embed_registry_damaged(const EmbedModelRef *ref)
{
	retire_damaged((RegistryEntry *) ref);
}

/* Those whose row is gone go with the transaction, as do all that died in the meantime. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		check_before_commit();
	if (event == XACT_EVENT_COMMIT && extension_gone)
		embed_materialize_discard_all();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		extension_gone = drop_seen = false;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE
		&& event != XACT_EVENT_PARALLEL_COMMIT && event != XACT_EVENT_PARALLEL_ABORT)
		return;
	for (RegistryEntry *entry = any_gone ? entries : NULL; entry != NULL; entry = entry->next)
	{
		if (!entry->live || !entry->gone)
			continue;
		/* dropped elsewhere, or on the primary: nobody else may come to sweep */
		if (event == XACT_EVENT_COMMIT)
			embed_materialize_discard(entry->ref.fingerprint);
		retire(entry);
	}
	any_gone = false;
	close_dead_entries();
}

const EmbedModelRef *
embed_registry_find(const uint8 *fingerprint)
{
	RegistryEntry *entry = find_live(fingerprint);

	return entry != NULL ? &entry->ref : NULL;
}

void
embed_registry_dropped(const uint8 *fingerprint)
{
	RegistryEntry *entry = find_live(fingerprint);

	if (entry != NULL)
		entry->gone = any_gone = true;
}

/* --------------------------------------------------------------- names */

pg_noreturn static void
kind_error(const char *name, EmbKind kind)
{
	if (kind == EMB_KIND_RERANKER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" is a reranker and returns no vectors", name),
				 errhint("Use it with rerank(query, doc), or name an embedding model.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("model \"%s\" is an embedding model, not a reranker", name),
			 errhint("Use it with embed(text), or name a reranker.")));
}

/* Whether the name stands for a model of which row, image and chunks are there. */
static bool
is_installed(const char *name, EmbKind kind)
{
	Snapshot	snapshot = embed_storage_begin_read();
	EmbedName	found;
	bool		dropped;
	bool		installed = embed_names_find(name, kind, snapshot, &found, &dropped) &&
		(dropped || embed_storage_image_is_stored(found.fingerprint, snapshot));

	embed_storage_end_read(snapshot);
	return installed;
}

bool
embed_registry_peek(const char *name, EmbKind kind, int64 *size_bytes, int32 *max_tokens)
{
	EmbedName	found;
	bool		dropped;

	watched_relid = embed_storage_model_relid();
	return OidIsValid(watched_relid) &&
		embed_names_find(name, kind, NULL, &found, &dropped) && !dropped &&
		embed_storage_find_image_limits(found.fingerprint, NULL, size_bytes, max_tokens);
}

/* In sessions that load no dump a look at three settings. */
static void
await_restore(const char *name, EmbKind kind)
{
	EmbedRestoreWait wait = {.name = name};

	if (!embed_in_restore() || (name != NULL && !emb_name_is_valid(name, strlen(name))))
		return;
	while (!is_installed(name, kind) && embed_restore_wait(&wait))
		;
}

/*
 * The image's entry, or NULL where its row is gone. Images are looked for in
 * what is committed now: a row that an older snapshot still sees has no file.
 */
static RegistryEntry *
find_entry(const uint8 *fingerprint)
{
	RegistryEntry *entry = find_live(fingerprint);
	Snapshot	snapshot;
	int64		size_bytes;

	/* check_entries has looked for the rows of all that are mapped */
	if (entry != NULL && !entry->gone && checked_generation == generation && embed_mapping_is_current(&entry->mapping))
		return entry;
	entry = NULL;
	snapshot = embed_storage_begin_read();
	if (embed_storage_find_image(fingerprint, snapshot, &size_bytes))
		entry = get_entry(fingerprint, size_bytes, snapshot);
	embed_storage_end_read(snapshot);
	return entry;
}

/*
 * The same, or what is mapped though it was dropped: whoever began with it may
 * go on until the transaction ends.
 */
static RegistryEntry *
find_entry_still(const uint8 *fingerprint)
{
	RegistryEntry *entry = find_entry(fingerprint);

	if (entry == NULL)
		entry = find_live(fingerprint);
	return entry != NULL && !embed_mapping_is_damaged(&entry->mapping) ? entry : NULL;
}

const EmbedModelRef *
embed_registry_lookup(const char *name, EmbKind kind, EmbedNameUse use)
{
	EmbedName	found;
	RegistryEntry *entry;

	/* a look-up that takes no lock hears of nothing otherwise */
	AcceptInvalidationMessages();
	watched_relid = embed_storage_model_relid();
	check_entries();
	await_restore(name, kind);
	embed_names_resolve(name, kind, use, &found);
	if (name != NULL && use == EMBED_NAME_ARGUMENT)
		entry = find_entry(found.fingerprint);
	else
		entry = find_entry_still(found.fingerprint);
	if (entry == NULL)
		embed_names_missing_image(&found);
	if (kind != 0 && entry->ref.info->kind != kind)
	{
		/* a call of this model that fails */
		embed_stat_enter(entry->ref.stat);
		kind_error(found.model, entry->ref.info->kind);
	}
	return &entry->ref;
}

const EmbedModelRef *
embed_registry_go_on(const uint8 *fingerprint)
{
	RegistryEntry *entry;

	/* a look-up that takes no lock hears of nothing otherwise */
	AcceptInvalidationMessages();
	watched_relid = embed_storage_model_relid();
	check_entries();
	entry = find_entry_still(fingerprint);
	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the model of a group was dropped before all of the group was read")));
	return &entry->ref;
}

void
embed_registry_init(void)
{
	CacheRegisterRelcacheCallback(relcache_changed, (Datum) 0);
	RegisterXactCallback(at_transaction_end, NULL);
	next_object_access_hook = object_access_hook;
	object_access_hook = watch_drops;
	embed_materialize_init();
}
