/*
 * registry.c
 *		Resolves a model's name to an open, mapped model.
 *
 * Every change to the rows of schema _embed invalidates the relcache entry of
 * _embed.model (embed_storage_changed). So PostgreSQL itself notifies all
 * backends at commit, and this backend at once, that resolved names may be
 * stale: the generation changes. Mappings are keyed by fingerprint and never
 * become stale. They become superfluous when the image's row is gone.
 */
#include "pg/store/registry.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "pg/store/catalog_version.h"
#include "pg/store/filed.h"
#include "pg/store/image_file.h"
#include "pg/store/image_rows.h"
#include "pg/store/materialize.h"
#include "pg/store/names.h"
#include "pg/store/pinned_name.h"
#include "pg/store/restore.h"
#include "pg/store/sweep.h"
#include "pg/store/tables.h"

/*
 * One mapped image of this backend. An entry is created dead, so that an error
 * during opening leaves it to close_dead_entries. It is live once it is open,
 * and retired when something is found wrong with it. A dead entry is never
 * handed out again. Several dead entries of one image may wait to be closed,
 * but at most one is live.
 */
typedef struct RegistryEntry
{
	EmbedModelRef ref;			/* first: a ref is the address of its entry */
	EmbedMapping mapping;
	MemoryContext cxt;			/* memory of emb_model_open */
	bool		live;
	bool		damaged;		/* retired for damage: do not trust its file */
	bool		gone;			/* has no row: retired when the transaction ends */
	struct RegistryEntry *next;
} RegistryEntry;

StaticAssertDecl(offsetof(RegistryEntry, ref) == 0, "a ref is its entry's address");

static RegistryEntry *entries = NULL;	/* few: the models that one session uses */
static bool has_swept = false;
static uint64 generation = 1;
static uint64 checked_generation = 0;
static bool any_gone = false;
static bool extension_gone = false;
static bool drop_seen = false;
static object_access_hook_type next_object_access_hook = NULL;

/* _embed.model at the last lookup; a change there makes names stale. */
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
 * The one place that closes models. It is called when nobody computes and no
 * error is being handled: before a lookup (refs of earlier lookups are
 * compared by generation before use), and after a transaction has ended. So
 * damage that repeats within one transaction does not pile up mappings.
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

/*
 * The entry is no longer handed out, and current holders find a new
 * generation. Raises nothing.
 */
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
damage_error(const RegistryEntry *entry)
{
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("the file of a model image was changed or could not be read while it was in use"),
			 errdetail("The file was truncated or written to, or its disk failed."),
			 entry->mapping.is_filed
			 ? errhint("The image is stored as file \"%s\". The next call checks the whole file.", entry->mapping.path)
			 : errhint("The next call rebuilds the file.")));
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

/* An error that an intact image of this version never causes. */
static bool
tells_damage(EmbStatus status)
{
	return status == EMB_ERR_FORMAT || status == EMB_ERR_UNSUPPORTED;
}

/*
 * Maps and opens the image. A file that does not open is not trusted: it is
 * hashed and, if needed, rebuilt, once.
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
		/*
		 * a file that only this version cannot open is left for sessions with
		 * another version
		 */
		if (damaged)
			retire_damaged(entry);
		if (damaged && retried)
			damage_error(entry);
		if ((!damaged && !tells_damage(status)) || retried)
			embed_materialize_throw(fingerprint, status, &err);
		trusted = false;
	}
}

/* Whether this image's file was found damaged a moment ago, whichever entry had it. */
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
 * The entry of that image, mapped and open. For an image of an older version
 * emb_model_open either works or reports the version.
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
		/* a standby has no drops and hardly any materialization, so new backends sweep */
		embed_sweep_if_idle();
		has_swept = true;
	}
	trusted = !was_damaged(fingerprint);
	close_dead_entries();
	begun = embed_clock_ns();
	entry = open_entry(fingerprint, size_bytes, trusted, snapshot);
	embed_stat_add(entry->ref.stat, EMBED_WAIT_NS, embed_clock_ns() - begun);
	return entry;
}

/* Marks the mappings whose image was dropped, in this or another session. */
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
		/* stored in another way than it is mapped: mapped again */
		entry->gone = !embed_storage_find_image(entry->ref.fingerprint, NULL, &size_bytes) ||
			entry->mapping.is_filed != embed_storage_image_is_filed(entry->ref.fingerprint, NULL);
		any_gone |= entry->gone;
	}
	checked_generation = now;
}

/*
 * A backend that no longer embeds would keep a dropped model mapped, and its
 * disk space taken, for its whole life. So each commit checks, if anything
 * changed. Not while the tables are being dropped, because this check must not
 * wait.
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
 * DROP EXTENSION in a session that has the library but maps no model, which is
 * every session if the library is preloaded. In a session without the library
 * none of our code runs; the next session that embeds removes its files. (An
 * event trigger of the extension would see the drop, but would prevent
 * dropping any extension once the library is gone.)
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

/* One of several mappings may be lost without having been checked yet. */
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

	/* lost pages stop every computation */
	if (retire_lost_entries() || embed_mapping_is_damaged(&entry->mapping) || status == EMB_ERR_FORMAT)
	{
		retire_damaged(entry);
		damage_error(entry);
	}
	if (status != EMB_OK)
		embed_throw(status, err);
}

void
embed_registry_damaged(const EmbedModelRef *ref)
{
	retire_damaged((RegistryEntry *) ref);
}

/*
 * Entries without a row, and all entries that died in the meantime, go at the
 * end of the transaction.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		check_before_commit();
	if (event == XACT_EVENT_COMMIT && extension_gone)
		embed_sweep_all();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		extension_gone = drop_seen = false;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE
		&& event != XACT_EVENT_PARALLEL_COMMIT && event != XACT_EVENT_PARALLEL_ABORT)
		return;
	for (RegistryEntry *entry = any_gone ? entries : NULL; entry != NULL; entry = entry->next)
	{
		if (!entry->live || !entry->gone)
			continue;
		/* dropped by another session or on the primary: maybe no other session sweeps */
		if (event == XACT_EVENT_COMMIT && !entry->mapping.is_filed)
			embed_image_file_discard(entry->ref.fingerprint);
		if (event == XACT_EVENT_COMMIT && entry->mapping.is_filed && RecoveryInProgress())
			embed_filed_release(entry->ref.fingerprint, false);
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

/* A model that returns outputs of tokens only. */
pg_noreturn static void
no_vector_error(const char *name, const EmbModelInfo *info)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("model \"%s\" returns no vector of a text", name),
			 info->has_sparse ? errhint("It is a learned sparse model: use embed_sparse(text) and embed_sparse_query(text).")
			 : errhint("It returns token vectors: use embed_multi(text) and embed_multi_query(text).")));
}

static bool
is_of_kind(const EmbModelInfo *info, EmbKind kind)
{
	return kind == 0 || info->kind == (kind == EMBED_KIND_READER ? EMB_KIND_EMBEDDING : kind);
}

/* Whether the name stands for a model whose row, image and stored chunks exist. */
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

/* In sessions that load no dump this costs a check of three settings. */
static void
await_restore(const char *name, EmbKind kind)
{
	EmbedRestoreWait wait = {.name = name};
	EmbedPinnedName pinned;

	if (!embed_in_restore() || (name != NULL && !embed_pinned_parse(name, &pinned)))
		return;
	while (!is_installed(name, kind) && embed_restore_wait(&wait))
		;
}

/*
 * The image's entry, or NULL if its row is gone. Images are looked up in the
 * committed state: a row that only an older snapshot sees has no file.
 */
static RegistryEntry *
find_entry(const uint8 *fingerprint)
{
	RegistryEntry *entry = find_live(fingerprint);
	Snapshot	snapshot;
	int64		size_bytes;

	/* check_entries has checked the rows of all mapped images */
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
 * The same, including a mapped image that was dropped: a statement that began
 * with it may continue until the transaction ends.
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

	/* a lookup without a lock receives no messages otherwise */
	AcceptInvalidationMessages();
	embed_check_catalog_version();
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
	if (!is_of_kind(entry->ref.info, kind))
	{
		/* from here on a failure counts for this model */
		embed_stat_enter(entry->ref.stat);
		kind_error(found.model, entry->ref.info->kind);
	}
	if (kind == EMB_KIND_EMBEDDING && !entry->ref.info->has_dense)
	{
		embed_stat_enter(entry->ref.stat);
		no_vector_error(found.model, entry->ref.info);
	}
	return &entry->ref;
}

void
embed_registry_fingerprint(const char *name, uint8 *fingerprint)
{
	EmbedName	found;

	AcceptInvalidationMessages();
	embed_check_catalog_version();
	watched_relid = embed_storage_model_relid();
	await_restore(name, 0);
	embed_names_resolve(name, 0, EMBED_NAME_ARGUMENT, &found);
	memcpy(fingerprint, found.fingerprint, EMB_HASH_SIZE);
}

const EmbedModelRef *
embed_registry_look(const char *name, EmbKind kind, EmbedNameUse use)
{
	EmbedName	found;
	bool		dropped;
	RegistryEntry *entry;

	watched_relid = embed_storage_model_relid();
	if (!OidIsValid(watched_relid))
		return NULL;
	check_entries();
	if (!embed_names_find(name, kind, NULL, &found, &dropped) || dropped ||
		(name != NULL && use == EMBED_NAME_ARGUMENT && strcmp(name, found.model) != 0))
		return NULL;
	entry = find_live(found.fingerprint);
	if (entry == NULL || entry->gone || checked_generation != generation || !embed_mapping_is_current(&entry->mapping) ||
		!is_of_kind(entry->ref.info, kind) || (kind == EMB_KIND_EMBEDDING && !entry->ref.info->has_dense))
		return NULL;
	return &entry->ref;
}

const EmbedModelRef *
embed_registry_go_on(const uint8 *fingerprint)
{
	RegistryEntry *entry;

	/* a lookup without a lock receives no messages otherwise */
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
	embed_sweep_init();
}
