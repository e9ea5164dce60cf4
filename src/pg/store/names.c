/*
 * names.c
 *		Resolves a model's name to its fingerprint, as the running statement
 *		sees it.
 *
 * A commit becomes visible to new snapshots shortly before its invalidation
 * messages arrive. So an answer is remembered for the contents of a snapshot,
 * not until the next message. A PL/pgSQL loop takes a new snapshot for each
 * expression, usually with the same contents. If the contents changed, a
 * lookup costs two or three index probes.
 */
#include "pg/store/names.h"

#include "utils/snapmgr.h"

#include "pg/store/pinned_name.h"
#include "pg/store/restore.h"
#include "pg/store/storage.h"
#include "pg/store/tables.h"

/* Snapshots in alternating use: for a query and for the functions it calls. */
#define N_VIEWS		4

/* Names in alternating use, per snapshot. */
#define N_ANSWERS	16

/* The properties that make two snapshots of a backend see the same rows. */
typedef struct View
{
	uint64		serial;			/* 0: none */
	TransactionId xmin;
	TransactionId xmax;
	CommandId	curcid;
	bool		suboverflowed;
	bool		in_recovery;
	uint32		n_xids;
	int32		n_subxids;
	TransactionId *xids;		/* [n_xids + n_subxids] */
	Size		room;
} View;

typedef struct Answer
{
	uint64		view;			/* 0: none */
	uint64		changes;
	EmbKind		kind;
	EmbedNameUse use;
	char		name[EMBED_PINNED_MAX + 1]; /* as given; "": the database's default */
	EmbedName	found;
} Answer;

/* The state of a name. */
typedef enum Standing
{
	STANDS,
	NO_DEFAULT,
	UNKNOWN,
	DROPPED,					/* a tombstone */
	OTHER_IMAGE,				/* the name stands for another fingerprint than the one behind "@" */
	REPLACED					/* dropped, and maybe bound to other content since the snapshot */
} Standing;

static View views[N_VIEWS];
static int	last_view = 0;
static uint64 last_serial = 0;

static Answer answers[N_ANSWERS];
static int	next_answer = 0;
static uint64 changes = 1;

void
embed_names_changed(void)
{
	changes++;
}

/* --------------------------------------------------------------- views */

static Snapshot
statement_snapshot(void)
{
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;

	return snapshot != NULL && snapshot->snapshot_type == SNAPSHOT_MVCC ? snapshot : NULL;
}

/* An empty array in a snapshot has no address. */
static bool
same_xids(const TransactionId *a, const TransactionId *b, Size n)
{
	return n == 0 || memcmp(a, b, n * sizeof(TransactionId)) == 0;
}

/*
 * A transaction that started or ended shows in xmax or among the xids. curcid
 * distinguishes the commands of the own transaction. A rolled-back savepoint
 * undoes its changes without a change of these contents, but notifies us
 * (embed_names_changed).
 */
static bool
is_view(const View *view, Snapshot snapshot)
{
	return view->serial != 0 &&
		view->xmin == snapshot->xmin && view->xmax == snapshot->xmax && view->curcid == snapshot->curcid &&
		view->suboverflowed == snapshot->suboverflowed && view->in_recovery == snapshot->takenDuringRecovery &&
		view->n_xids == snapshot->xcnt && view->n_subxids == snapshot->subxcnt &&
		same_xids(view->xids, snapshot->xip, view->n_xids) &&
		same_xids(view->xids + view->n_xids, snapshot->subxip, view->n_subxids);
}

static uint64
remember_view(View *view, Snapshot snapshot)
{
	Size		n = (Size) snapshot->xcnt + snapshot->subxcnt;

	view->serial = 0;
	if (view->xids == NULL || view->room < n)
	{
		Size		room = Max(n, 64);

		if (view->xids != NULL)
			pfree(view->xids);
		view->xids = NULL;
		view->xids = MemoryContextAlloc(TopMemoryContext, room * sizeof(TransactionId));
		view->room = room;
	}
	view->xmin = snapshot->xmin;
	view->xmax = snapshot->xmax;
	view->curcid = snapshot->curcid;
	view->suboverflowed = snapshot->suboverflowed;
	view->in_recovery = snapshot->takenDuringRecovery;
	view->n_xids = snapshot->xcnt;
	view->n_subxids = snapshot->subxcnt;
	if (snapshot->xcnt > 0)
		memcpy(view->xids, snapshot->xip, snapshot->xcnt * sizeof(TransactionId));
	if (snapshot->subxcnt > 0)
		memcpy(view->xids + snapshot->xcnt, snapshot->subxip, snapshot->subxcnt * sizeof(TransactionId));
	view->serial = ++last_serial;
	return view->serial;
}

uint64
embed_names_view(void)
{
	Snapshot	snapshot = statement_snapshot();

	if (snapshot == NULL)
		return 0;
	if (likely(is_view(&views[last_view], snapshot)))
		return views[last_view].serial;
	for (int i = 0; i < N_VIEWS; i++)
	{
		if (is_view(&views[i], snapshot))
		{
			last_view = i;
			return views[i].serial;
		}
	}
	last_view = (last_view + 1) % N_VIEWS;
	return remember_view(&views[last_view], snapshot);
}

/* ------------------------------------------------------------- look-up */

static void
copy_found(EmbedName *found, const char *name, const EmbedModelRow *row)
{
	memcpy(found->fingerprint, row->fingerprint, EMB_HASH_SIZE);
	strlcpy(found->model, name, sizeof(found->model));
}

static bool
same_image(const EmbedModelRow *a, const EmbedModelRow *b)
{
	return memcmp(a->fingerprint, b->fingerprint, EMB_HASH_SIZE) == 0;
}

/* A model argument. A plan may keep its results, so the committed state counts as well. */
static Standing
find_argument(const char *name, Snapshot seen, EmbedName *found)
{
	EmbedModelRow now;
	EmbedModelRow then;
	bool		is_now = embed_storage_find_model(name, NULL, &now);
	bool		was_then = embed_storage_find_model(name, seen, &then);

	if (!is_now)
		return was_then ? REPLACED : UNKNOWN;
	if (was_then && !same_image(&now, &then))
		return REPLACED;
	copy_found(found, name, &now);
	return now.dropped ? DROPPED : STANDS;
}

/* A model or an alias from a setting, a default or a trigger. */
static Standing
find_name(const char *name, Snapshot seen, EmbedName *found)
{
	EmbedModelRow row;
	EmbedModelRow now;
	const char *target = NULL;
	bool		there = embed_storage_find_model(name, seen, &row);

	if (!there && (target = embed_storage_find_alias(name, seen)) != NULL)
	{
		name = target;
		there = embed_storage_find_model(name, seen, &row);
	}
	/* imported after the snapshot */
	if (!there)
		there = embed_storage_find_model(name, NULL, &row);
	/* a restore waits, with its old snapshot, for names that other sessions load */
	if (!there && target == NULL && embed_loads_dump() && (target = embed_storage_find_alias(name, NULL)) != NULL)
	{
		name = target;
		there = embed_storage_find_model(name, NULL, &row);
	}
	if (!there)
	{
		strlcpy(found->model, name, sizeof(found->model));
		return UNKNOWN;
	}
	/* restored after the snapshot */
	if (row.dropped && embed_storage_find_model(name, NULL, &now) && same_image(&now, &row))
		row.dropped = now.dropped;
	copy_found(found, name, &row);
	return row.dropped ? DROPPED : STANDS;
}

static const char *
find_default(EmbKind kind, Snapshot seen)
{
	const char *name = embed_storage_find_default(embed_kind_name(kind), seen);

	if (name == NULL && embed_loads_dump())
		name = embed_storage_find_default(embed_kind_name(kind), NULL);
	return name;
}

/* name NULL: the database's default. snapshot NULL: no snapshot. */
static Standing
look_up(const char *name, EmbKind kind, EmbedNameUse use, Snapshot snapshot, EmbedName *found)
{
	Snapshot	own = snapshot == NULL ? embed_storage_begin_read() : NULL;
	Snapshot	seen = snapshot != NULL ? snapshot : own;
	Standing	standing = NO_DEFAULT;
	EmbedPinnedName pinned;

	found->model[0] = '\0';
	if (name == NULL)
	{
		name = find_default(kind, seen);
		use = EMBED_NAME_ALIAS_TOO;
	}
	if (name != NULL && !embed_pinned_parse(name, &pinned))
		standing = UNKNOWN;
	else if (name != NULL)
		standing = use == EMBED_NAME_ARGUMENT ? find_argument(pinned.name, seen, found) : find_name(pinned.name, seen, found);
	if (standing == STANDS && !embed_digits_match(pinned.digits, found->fingerprint))
		standing = OTHER_IMAGE;
	if (own != NULL)
		embed_storage_end_read(own);
	return standing;
}

/* The value of embed.model or embed.reranker, or NULL. */
static const char *
chosen_name(EmbKind kind)
{
	const char *name = kind == EMB_KIND_RERANKER ? embed_guc_reranker : embed_guc_model;

	return name != NULL && name[0] != '\0' ? name : NULL;
}

/* -------------------------------------------------------------- errors */

/* For a name that exists now, but not in the snapshot. */
static int
hint_snapshot(void)
{
	return errhint("It was created after the snapshot of this statement or transaction was taken: start a new transaction.");
}

/* No default: either no model is installed, or none was chosen. */
pg_noreturn static void
no_model_error(EmbKind kind)
{
	const char *restore_hint = embed_restore_hint();

	if (!embed_storage_has_models())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no model is installed in this database"),
				 restore_hint != NULL ? errhint("%s", restore_hint) :
				 errhint("Import one with SELECT embed_import('name', '/path/to/model/directory').")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no default %s in this database", kind == EMB_KIND_RERANKER ? "reranker" : "embedding model"),
			 embed_storage_find_default(embed_kind_name(kind), NULL) != NULL ? hint_snapshot()
			 : errhint("Choose a model listed in embed_models with SELECT embed_set_default('name') or the setting %s, "
					   "or import one with embed_import.", kind == EMB_KIND_RERANKER ? "embed.reranker" : "embed.model")));
}

pg_noreturn static void
alias_argument_error(const char *alias, const char *target)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is an alias of model \"%s\" and cannot be a model argument", alias, target),
			 errdetail("A call with a model argument is immutable; an alias may change."),
			 errhint("Use the model's name \"%s\", or the alias in the settings embed.model and embed.reranker or in embed_trigger.", target)));
}

/* A valid name, "@", and something that is no fingerprint. */
pg_noreturn static void
digits_error(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a model's name and fingerprint", embed_shown(name)),
			 errhint("Behind \"@\" there are %d to %d hexadecimal digits, the first of what embed_fingerprint('name') gives.",
					 EMBED_DIGITS_MIN, EMBED_DIGITS_MAX)));
}

pg_noreturn static void
unknown_model_error(const char *name, EmbedNameUse use)
{
	EmbedPinnedName pinned;
	bool		is_valid = embed_pinned_parse(name, &pinned);
	const char *at = strchr(name, '@');
	char	   *target = is_valid ? embed_storage_find_alias(pinned.name, NULL) : NULL;
	const char *restore_hint = embed_restore_hint();
	const char *similar;

	if (!is_valid && at != NULL && emb_name_is_valid(name, at - name))
		digits_error(name);
	if (target != NULL && use == EMBED_NAME_ARGUMENT)
		alias_argument_error(pinned.name, target);
	if (is_valid)
		name = pinned.name;
	similar = embed_storage_similar_name(name);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" does not exist", embed_shown(name)),
			 target != NULL ? hint_snapshot()
			 : restore_hint != NULL ? errhint("%s", restore_hint)
			 : similar != NULL ? errhint("Did you mean \"%s\"? SELECT name FROM embed_models lists the models of this database.", similar)
			 : embed_storage_has_models()
			 ? errhint("SELECT name FROM embed_models lists the models of this database; embed_import adds one.")
			 : errhint("No model is installed. Import one with SELECT embed_import('name', '/path/to/model/directory').")));
}

pg_noreturn static void
dropped_error(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" was dropped", name),
			 errhint("Import the same content under that name to bring it back, or drop the objects that name the model: "
					 "SELECT * FROM embed_dependents('%s') lists them.", name)));
}

/* Names both fingerprints by as many digits as the call has. */
pg_noreturn static void
other_image_error(const char *name, const EmbedName *found)
{
	EmbedPinnedName pinned;
	char		here[EMBED_DIGITS_MAX + 1];

	(void) embed_pinned_parse(name, &pinned);
	embed_fingerprint_digits(found->fingerprint, here);
	here[strlen(pinned.digits)] = '\0';
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("model \"%s\" has fingerprint %s in this database, not %s", found->model, here, pinned.digits),
			 errdetail("The call asks for \"%s@%s\". Vectors and scores of two models cannot be compared.", pinned.name, pinned.digits),
			 errhint("Use the same image on each server: embed_export gives it, embed_load installs it, and embed_fingerprint('%s') shows which one a server has.",
					 found->model)));
}

/*
 * The name of a row that the statement's snapshot sees, but that was deleted
 * or now stands for something else.
 */
pg_noreturn static void
replaced_error(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" was dropped", name),
			 errdetail("The drop came after the snapshot of this statement or transaction. In this snapshot the name stands for the dropped content."),
			 errhint("Start a new transaction to see what the name stands for now.")));
}

void
embed_names_missing_image(const EmbedName *found)
{
	EmbedModelRow now;

	if (!embed_storage_find_model(found->model, NULL, &now) || memcmp(now.fingerprint, found->fingerprint, EMB_HASH_SIZE) != 0)
		replaced_error(found->model);
	if (now.dropped)
		dropped_error(found->model);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the image of model \"%s\" is missing from table \"_embed.image\"", found->model),
			 errhint("Import the model again, or restore schema _embed from a backup.")));
}

/* -------------------------------------------------------------- answers */

static Answer *
find_answer(const char *name, EmbKind kind, EmbedNameUse use, uint64 view)
{
	for (int i = 0; view != 0 && i < N_ANSWERS; i++)
	{
		Answer	   *answer = &answers[i];

		if (answer->view == view && answer->changes == changes && answer->kind == kind && answer->use == use &&
			strcmp(answer->name, name != NULL ? name : "") == 0)
			return answer;
	}
	return NULL;
}

static void
remember_answer(const char *name, EmbKind kind, EmbedNameUse use, uint64 view, uint64 seen_changes, const EmbedName *found)
{
	Answer	   *answer = &answers[next_answer];

	next_answer = (next_answer + 1) % N_ANSWERS;
	answer->view = view;
	answer->changes = seen_changes;
	answer->kind = kind;
	answer->use = use;
	strlcpy(answer->name, name != NULL ? name : "", sizeof(answer->name));
	answer->found = *found;
}

void
embed_names_resolve(const char *name, EmbKind kind, EmbedNameUse use, EmbedName *found)
{
	uint64		view = embed_names_view();
	/* read first: a change during the lookup must not count as seen */
	uint64		seen_changes = changes;
	const Answer *answer;
	Standing	standing;
	EmbedName	now;

	if (name == NULL)
	{
		name = chosen_name(kind);
		use = EMBED_NAME_ALIAS_TOO;
	}
	answer = find_answer(name, kind, use, view);
	if (answer != NULL)
	{
		*found = answer->found;
		return;
	}
	/* the name may be that of *found: callers resolve a name anew */
	standing = look_up(name, kind, use, statement_snapshot(), &now);
	switch (standing)
	{
		case STANDS:
			remember_answer(name, kind, use, view, seen_changes, &now);
			*found = now;
			return;
		case NO_DEFAULT:
			no_model_error(kind);
		case UNKNOWN:
			unknown_model_error(now.model[0] != '\0' ? now.model : name, use);
		case DROPPED:
			dropped_error(now.model);
		case OTHER_IMAGE:
			other_image_error(name, &now);
		case REPLACED:
			replaced_error(name);
	}
	pg_unreachable();
}

bool
embed_names_find(const char *name, EmbKind kind, Snapshot snapshot, EmbedName *found, bool *dropped)
{
	Standing	standing;

	if (name == NULL)
		name = chosen_name(kind);
	standing = look_up(name, kind, EMBED_NAME_ALIAS_TOO, snapshot != NULL ? snapshot : statement_snapshot(), found);
	*dropped = standing == DROPPED;
	return standing == STANDS || standing == DROPPED || standing == OTHER_IMAGE;
}
