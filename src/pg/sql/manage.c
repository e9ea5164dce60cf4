/*
 * manage.c
 *		embed_import, embed_reimport, embed_load, embed_drop, embed_set_default,
 *		embed_set_alias: the lifecycle of models. All of it is transactional.
 */
#include "pg/glue.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "libpq/be-fsstubs.h"
#include "libpq/libpq-fs.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/auto/trigger.h"
#include "pg/sql/calibration_query.h"
#include "pg/sql/dependents.h"
#include "pg/sql/model_options.h"
#include "pg/sql/progress.h"
#include "pg/sql/reimport.h"
#include "pg/store/catalog_version.h"
#include "pg/store/filed.h"
#include "pg/store/image_rows.h"
#include "pg/store/registry.h"
#include "pg/store/replication.h"
#include "pg/store/spool.h"
#include "pg/store/storage.h"
#include "pg/store/sweep.h"
#include "pg/store/tables.h"

EMBED_FUNCTION(embed_import);
EMBED_FUNCTION(embed_reimport);
EMBED_FUNCTION(embed_load);
EMBED_FUNCTION(embed_load_lo);
EMBED_FUNCTION(embed_drop);
EMBED_FUNCTION(embed_set_default);
EMBED_FUNCTION(embed_set_alias);

/* These functions are not strict: a NULL would do nothing without a word. */
static void
require_argument(FunctionCallInfo fcinfo, int argno, const char *function, const char *argument)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" of %s must not be NULL", argument, function)));
}

static void
check_may_write(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	PreventCommandDuringRecovery(function);
	embed_check_catalog_version();
}

/* ------------------------------------------------------------- install */

static Datum
fingerprint_hex(const uint8 *fingerprint)
{
	char		hex[2 * EMB_HASH_SIZE + 1];

	for (int i = 0; i < EMB_HASH_SIZE; i++)
		snprintf(hex + 2 * i, 3, "%02x", fingerprint[i]);
	return CStringGetTextDatum(hex);
}

static void
check_not_alias(const char *name)
{
	char	   *target = embed_storage_find_alias(name, NULL);

	if (target != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("\"%s\" is an alias of model \"%s\"", name, target),
				 errhint("Choose another name, or remove the alias with SELECT embed_set_alias('%s', NULL).", name)));
}

/* A name means one fingerprint for ever: this makes embed(text, model) immutable. */
static void
check_name_is_free(const char *name, const uint8 *fingerprint)
{
	EmbedModelRow row;

	check_not_alias(name);
	if (!embed_storage_find_model(name, NULL, &row) || memcmp(row.fingerprint, fingerprint, EMB_HASH_SIZE) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("model name \"%s\" already stands for other content", name),
			 errdetail(row.dropped ? "That model was dropped, but vectors and indexes may still depend on the name."
					   : "Results of embed(text, model) are immutable, so a name keeps its content."),
			 errhint("Import under a new name. Where nothing depends on the old content, "
					 "SELECT embed_drop('%s', forget => true) frees the name.", name)));
}

/* What the content is shows only after the whole import, which may take minutes. */
static void
notice_name(const char *name)
{
	EmbedModelRow row;

	if (embed_storage_find_model(name, NULL, &row) && !row.dropped)
		ereport(NOTICE,
				(errmsg("model \"%s\" is installed already; the import succeeds only if it gives the same content", name),
				 errhint("Other content takes another name.")));
}

static void
set_alias(const char *alias, const char *name)
{
	EmbedModelRow row;

	if (embed_storage_find_model(alias, NULL, &row))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("\"%s\" is the name of a %smodel and cannot be an alias", alias, row.dropped ? "dropped " : "")));
	embed_storage_put_alias(alias, name);
}

static void
notice_filed(const char *name, const EmbModelInfo *info)
{
	ereport(NOTICE,
			(errmsg("the image of model \"%s\" has %lld bytes and is stored as a file", name, (long long) info->size_bytes),
			 errdetail("Write-ahead log and dumps do not hold it: on a standby, and after a restore, the file must be copied to "
					   "directory \"%s\" of the data directory. Base backups hold it.", EMBED_FILED_ROOT),
			 errhint("Option {\"storage\": \"file\"} says so without this notice, and {\"storage\": \"rows\"} stores it in tables.")));
}

/*
 * Intact rows of the image stay; damaged rows are removed completely. Without
 * option storage the image stays where it is.
 */
static void
store_image(const char *name, EmbedSpool *spool, const EmbModelInfo *info, EmbedModelOptions *options)
{
	int64		stored_bytes;
	bool		existed = embed_storage_find_image(spool->fingerprint, NULL, &stored_bytes);
	bool		was_filed = existed && embed_storage_image_is_filed(spool->fingerprint, NULL);
	bool		moves = false;
	char	   *flaw;

	if (existed && options->storage == NULL)
		options->is_filed = was_filed;
	else if (existed)
		moves = options->is_filed != was_filed;
	else if (options->is_filed && options->storage == NULL)
		notice_filed(name, info);
	flaw = embed_storage_compare_rows(spool->fingerprint, NULL, info, spool->mapping.addr);
	if (flaw == NULL && !moves)
		return;
	if (flaw != NULL && (existed || embed_storage_has_stored_chunks(spool->fingerprint)))
		ereport(NOTICE,
				(errmsg("the stored rows of model \"%s\" were incomplete or damaged and are written again", name),
				 errdetail("First defect: %s.", flaw)));
	embed_sweep_row_changes(spool->fingerprint, existed);
	embed_storage_delete_image(spool->fingerprint);
	embed_storage_insert_image(spool->fingerprint, info, options->is_filed ? NULL : spool->mapping.addr, &spool->progress);
}

/* Whether the name already stands for that image; fingerprint NULL: for any. */
static bool
is_installed_as(const char *name, const uint8 *fingerprint)
{
	EmbedModelRow row;

	return embed_storage_find_model(name, NULL, &row) && !row.dropped &&
		(fingerprint == NULL || memcmp(row.fingerprint, fingerprint, EMB_HASH_SIZE) == 0);
}

/* On a subscriber that receives models, an import may only repair rows. */
static void
check_subscriber(const char *function, const char *name, const uint8 *fingerprint, const EmbedModelOptions *options)
{
	if (!is_installed_as(name, fingerprint) || options->has_default || options->alias != NULL)
		embed_check_no_subscriber(function);
}

/* Writes the name, alias and default of a stored image. */
static void
store_names(const char *name, const EmbedSpool *spool, const char *kind, bool may_be_default, const EmbedModelOptions *options)
{
	EmbedModelRow row;

	memcpy(row.fingerprint, spool->fingerprint, EMB_HASH_SIZE);
	row.dropped = false;
	if (!is_installed_as(name, spool->fingerprint))
		embed_storage_put_model(name, &row);
	if (options->alias != NULL)
		set_alias(options->alias, name);
	if (options->has_default ? options->make_default
		: may_be_default && embed_storage_find_default(kind, NULL) == NULL && !embed_is_subscriber())
		embed_storage_put_default(kind, name);
}

/* An image that lost or changed bytes on its way is often still an image. */
static void
check_fingerprint(const EmbedSpool *spool, const EmbedModelOptions *options)
{
	char	   *fingerprint = TextDatumGetCString(fingerprint_hex(spool->fingerprint));

	if (options->fingerprint == NULL || strcmp(fingerprint, options->fingerprint) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("the image has fingerprint %s, not %s", fingerprint, options->fingerprint),
			 errdetail("It has %lld bytes.", (long long) spool->size_bytes),
			 errhint("It is another image, or it was damaged on its way.")));
}

/* From a finished spool to rows and a file. Writes nothing if the name is taken. */
static void
install(const char *function, const char *name, EmbedSpool *spool, EmbedModelOptions *options)
{
	EmbModel   *model;
	const EmbModelInfo *info;
	const char *kind;
	bool		may_be_default;

	check_fingerprint(spool, options);
	embed_progress_stage(&spool->progress, "check", "bytes", EMBED_PROGRESS_UNKNOWN);
	model = embed_spool_open(spool, CurrentMemoryContext);
	info = emb_model_info(model);
	kind = embed_kind_name(info->kind);
	/* embed() cannot use a model without a vector of a text */
	may_be_default = info->kind == EMB_KIND_RERANKER || info->has_dense;
	if (options->replaced != NULL)
		embed_replaced_lock(options->replaced);
	embed_storage_lock();
	check_subscriber(function, name, spool->fingerprint, options);
	if (options->replaced != NULL)
		embed_replaced_check(options->replaced, info);
	else
		check_name_is_free(name, spool->fingerprint);
	store_image(name, spool, info, options);
	emb_model_close(model);
	embed_spool_check(spool);
	if (options->replaced != NULL)
		embed_replaced_rename(options->replaced, spool->fingerprint);
	store_names(name, spool, kind, may_be_default, options);
	if (options->is_filed)
		embed_spool_publish_filed(spool);
	else
		embed_spool_publish(spool);
	if (options->replaced != NULL)
		embed_replaced_compare(options->replaced);
}

/* Where an image of that size goes, and whether there is room; raises nothing. */
static EmbStatus
choose_storage(EmbedModelOptions *options, int64 size_bytes, const char *tables_path, EmbError *err)
{
	options->is_filed = options->storage != NULL ? strcmp(options->storage, "file") == 0 : size_bytes >= EMBED_FILED_FROM_BYTES;
	return embed_spool_check_room(size_bytes, options->is_filed ? NULL : tables_path, err);
}

typedef struct ImportSink
{
	EmbedSpool *spool;
	EmbedModelOptions *options;
	const char *tables_path;
	EmbedProgress progress;
} ImportSink;

static EmbStatus
sink_begin(void *ctx, int64_t size_bytes, EmbError *err)
{
	ImportSink *sink = ctx;

	return choose_storage(sink->options, size_bytes, sink->tables_path, err);
}

static EmbStatus
sink_write(void *ctx, const void *data, size_t size, EmbError *err)
{
	return embed_spool_write(((ImportSink *) ctx)->spool, data, size, err);
}

static void
sink_progress(void *ctx, const char *stage, int64_t done, int64_t total)
{
	ImportSink *sink = ctx;

	embed_progress_stage(&sink->spool->progress, stage, strcmp(stage, "write") == 0 ? "bytes" : "steps", total);
	embed_progress_done(&sink->spool->progress, done);
	embed_progress_show(&sink->progress, stage, done, total);
}

static void
sink_note(void *ctx, const char *message, const char *hint)
{
	embed_progress_note(&((ImportSink *) ctx)->progress, message, hint);
}

static bool
import_shall_stop(void *ctx)
{
	EmbStop		stop = embed_stop();

	return ((ImportSink *) ctx)->progress.failed || stop.should_stop(stop.ctx);
}

/* Fills the spool with an image, or raises; source says what is read. */
typedef void (*SpoolFiller) (EmbedSpool *spool, void *source, EmbedModelOptions *options);

/* Installs the image that fill reads from source; returns its fingerprint. */
static Datum
spool_and_install(const char *function, const char *name, SpoolFiller fill, void *source, EmbedModelOptions *options)
{
	EmbedSpool	spool;

	embed_spool_begin(&spool);
	embed_progress_enter(&spool.progress, pnstrdup(function, strcspn(function, "(")), name);
	PG_TRY();
	{
		fill(&spool, source, options);
		embed_spool_finish(&spool);
		install(function, name, &spool, options);
	}
	PG_CATCH();
	{
		embed_spool_abort(&spool);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return fingerprint_hex(spool.fingerprint);
}

/* Runs the importer on the directory or file at path; raises its errors. */
static void
spool_import(EmbedSpool *spool, void *path, EmbedModelOptions *options)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "embed import", ALLOCSET_DEFAULT_SIZES);
	EmbAllocator mem = embed_allocator(cxt);
	ImportSink	ctx = {.spool = spool, .options = options, .tables_path = embed_storage_path()};
	EmbStop		stop = {&ctx, import_shall_stop};
	EmbSink		sink = {&ctx, sink_write, sink_progress, sink_note, sink_begin};
	EmbError	err;
	EmbStatus	status;

	embed_progress_begin(&ctx.progress);
	embed_isa_apply();
	options->import.n_threads = embed_threads_begin(embed_clock_ns());
	status = emb_import_dir(path, &options->import, &mem, &stop, &sink, &err);
	embed_threads_end(embed_clock_ns());
	if (status != EMB_OK)
		embed_throw(status, &err);
	MemoryContextDelete(cxt);
}

/* replaced NULL: embed_import. */
static Datum
import_model(FunctionCallInfo fcinfo, const char *function, EmbedReplaced *replaced)
{
	char	   *name;
	char	   *path;
	EmbedModelOptions options;

	require_argument(fcinfo, 0, function, "name");
	require_argument(fcinfo, 1, function, "path");
	require_argument(fcinfo, 2, function, "options");
	name = embed_valid_name(PG_GETARG_TEXT_PP(0), "model name");
	path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	check_may_write(function);
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to import a model from a server path"),
				 errhint("Only roles with the privileges of pg_read_server_files may do that. "
						 "embed_load takes an image made by embed-cli pack from the client.")));
	if (!is_absolute_path(path))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("path \"%s\" is not absolute", embed_shown(path)),
				 errhint("Models are not downloaded by the server. Download the model's directory, for example with "
						 "\"hf download BAAI/bge-small-en-v1.5 --local-dir /srv/models/bge-small-en-v1.5\", and name this directory.")));
	embed_model_options_parse(PG_GETARG_JSONB_P(2), &options);
	options.replaced = replaced;
	check_not_alias(name);
	if (replaced != NULL)
		embed_replaced_find(replaced, name);
	else
		notice_name(name);
	check_subscriber(function, name, NULL, &options);
	options.import.name = name;
	if (options.calibration != NULL)
		embed_calibration_read(options.calibration, &options.import);

	return spool_and_install(function, name, spool_import, path, &options);
}

Datum
embed_import(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(import_model(fcinfo, "embed_import()", NULL));
}

Datum
embed_reimport(PG_FUNCTION_ARGS)
{
	EmbedReplaced replaced = {.schema = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid))};

	PG_RETURN_DATUM(import_model(fcinfo, "embed_reimport()", &replaced));
}

/* Spools the bytes of image in pieces, so that an interrupt does not wait for a gigabyte. */
static void
spool_bytes(EmbedSpool *spool, void *image, EmbedModelOptions *options)
{
	const char *data = VARDATA_ANY(image);
	size_t		size = VARSIZE_ANY_EXHDR(image);
	EmbError	no_room;
	EmbStatus	room = choose_storage(options, size, embed_storage_path(), &no_room);

	if (room != EMB_OK)
		embed_throw(room, &no_room);
	embed_progress_stage(&spool->progress, "read", "bytes", size);
	for (size_t at = 0; at < size; at += EMBED_STORED_CHUNK_BYTES)
	{
		EmbError	err;
		EmbStatus	status;

		CHECK_FOR_INTERRUPTS();
		status = embed_spool_write(spool, data + at, Min(size - at, EMBED_STORED_CHUNK_BYTES), &err);
		if (status != EMB_OK)
			embed_throw(status, &err);
		embed_progress_done(&spool->progress, spool->size_bytes);
	}
}

/* The options of a finished image; has the checks that come before its bytes are read. */
static void
prepare_load(const char *function, const char *name, Jsonb *jsonb, EmbedModelOptions *options)
{
	check_may_write(psprintf("%s()", function));
	embed_model_options_parse(jsonb, options);
	if (options->has_import)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s takes only the options storage, fingerprint, default and alias", function),
				 errhint("All other options, as prompts and precision, are part of the image: set them with embed-cli pack.")));
	check_not_alias(name);
	check_subscriber(psprintf("%s()", function), name, NULL, options);
}

Datum
embed_load(PG_FUNCTION_ARGS)
{
	char	   *name;
	bytea	   *image;
	EmbedModelOptions options;

	require_argument(fcinfo, 0, "embed_load()", "name");
	require_argument(fcinfo, 1, "embed_load()", "image");
	require_argument(fcinfo, 2, "embed_load()", "options");
	name = embed_valid_name(PG_GETARG_TEXT_PP(0), "model name");
	image = PG_GETARG_BYTEA_PP(1);
	prepare_load("embed_load", name, PG_GETARG_JSONB_P(2), &options);
	PG_RETURN_DATUM(spool_and_install("embed_load()", name, spool_bytes, image, &options));
}

/*
 * Spools a large object, through the functions that clients call: they check
 * the rights, and close the object at the end of the transaction at the latest.
 */
static void
spool_object(EmbedSpool *spool, void *object, EmbedModelOptions *options)
{
	int			fd = DatumGetInt32(DirectFunctionCall2(be_lo_open, ObjectIdGetDatum(*(Oid *) object), Int32GetDatum(INV_READ)));
	int64		size = DatumGetInt64(DirectFunctionCall3(be_lo_lseek64, Int32GetDatum(fd), Int64GetDatum(0), Int32GetDatum(SEEK_END)));
	char	   *piece = palloc(EMBED_STORED_CHUNK_BYTES);
	EmbError	err;
	EmbStatus	status = choose_storage(options, size, embed_storage_path(), &err);
	int			n = 0;

	(void) DirectFunctionCall3(be_lo_lseek64, Int32GetDatum(fd), Int64GetDatum(0), Int32GetDatum(SEEK_SET));
	embed_progress_stage(&spool->progress, "read", "bytes", size);
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (status == EMB_OK)
			status = embed_spool_write(spool, piece, n, &err);
		if (status != EMB_OK)
			embed_throw(status, &err);
		embed_progress_done(&spool->progress, spool->size_bytes);
		n = lo_read(fd, piece, EMBED_STORED_CHUNK_BYTES);
	} while (n > 0);
	(void) DirectFunctionCall1(be_lo_close, Int32GetDatum(fd));
	pfree(piece);
}

/* embed_load_lo(name text, object oid, options jsonb): no limit of 1 GB */
Datum
embed_load_lo(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			object;
	EmbedModelOptions options;

	require_argument(fcinfo, 0, "embed_load_lo()", "name");
	require_argument(fcinfo, 1, "embed_load_lo()", "object");
	require_argument(fcinfo, 2, "embed_load_lo()", "options");
	name = embed_valid_name(PG_GETARG_TEXT_PP(0), "model name");
	object = PG_GETARG_OID(1);
	prepare_load("embed_load_lo", name, PG_GETARG_JSONB_P(2), &options);
	PG_RETURN_DATUM(spool_and_install("embed_load_lo()", name, spool_object, &object, &options));
}

/* ---------------------------------------------------------- drop, names */

/* The row of an installed model, or ERROR. */
static void
get_installed(const char *name, EmbedModelRow *row)
{
	char	   *target;

	if (embed_storage_find_model(name, NULL, row))
		return;
	target = embed_storage_find_alias(name, NULL);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" does not exist", embed_shown(name)),
			 target != NULL ? errhint("It is an alias of model \"%s\".", target)
			 : errhint("SELECT name FROM embed_models lists the models of this database.")));
}

static void
check_not_dropped(const char *name, const EmbedModelRow *row)
{
	if (row->dropped)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" was dropped", name),
				 errhint("Importing the same content under that name brings it back; "
						 "SELECT embed_drop('%s', forget => true) frees the name.", name)));
}

/* The number of dependents that the server lists for a drop. */
#define DEPENDENTS_SHOWN 100

/* A line of an error's detail. */
static void
append_dependent(StringInfo detail, const EmbedDependent *dependent)
{
	appendStringInfo(detail, "%s%s %s: %s", detail->len > 0 ? "\n" : "",
					 embed_dependent_kind_name(dependent->kind), dependent->identity, dependent->detail);
}

/*
 * The hint: how to move a default, an alias and other dependents away, and how
 * to force the drop.
 */
static char *
drop_hint(const char *name, bool forget, bool has_default, bool has_alias, bool has_more)
{
	StringInfoData hint;

	initStringInfo(&hint);
	if (has_default)
		appendStringInfoString(&hint, "Choose another default with SELECT embed_set_default(name). ");
	if (has_alias)
		appendStringInfoString(&hint, "Let aliases stand for another model with SELECT embed_set_alias(alias, name), "
							   "or remove them with NULL for the name. ");
	if (has_more)
		appendStringInfo(&hint, "Change or drop what SELECT * FROM embed_dependents('%s') lists. ", name);
	appendStringInfo(&hint, "SELECT embed_drop('%s', %sforce => true) goes ahead all the same.", name,
					 forget ? "forget => true, " : "");
	return hint.data;
}

/* RESTRICT: an ERROR that lists the objects that refuse. */
static void
check_no_dependents(const char *name, const EmbedModelRow *row, bool forget, const List *dependents)
{
	StringInfoData shown;
	StringInfoData all;
	int			n = 0;
	int			n_defaults = 0;
	int			n_aliases = 0;
	ListCell   *cell;

	initStringInfo(&shown);
	initStringInfo(&all);
	foreach(cell, dependents)
	{
		const EmbedDependent *dependent = lfirst(cell);

		if (!dependent->refuses)
			continue;
		if (n++ < DEPENDENTS_SHOWN)
			append_dependent(&shown, dependent);
		append_dependent(&all, dependent);
		n_defaults += dependent->kind == EMBED_DEPENDENT_DEFAULT;
		n_aliases += dependent->kind == EMBED_DEPENDENT_ALIAS;
	}
	if (n == 0)
		return;
	if (n > DEPENDENTS_SHOWN)
		appendStringInfo(&shown, "\nand %d more (see server log for list)", n - DEPENDENTS_SHOWN);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 row->dropped ? errmsg("cannot free the name of dropped model \"%s\" because other objects depend on it", name)
			 : errmsg("cannot drop model \"%s\" because other objects depend on it", name),
			 errdetail_internal("%s", shown.data),
			 errdetail_log("%s", all.data),
			 errhint("%s", drop_hint(name, forget, n_defaults > 0, n_aliases > 0, n > n_defaults + n_aliases))));
}

static void
notice_dependent(const char *name, const EmbedDependent *dependent)
{
	const char *kind = embed_dependent_kind_name(dependent->kind);

	if (dependent->kind == EMBED_DEPENDENT_ALIAS)
		ereport(NOTICE,
				(errmsg("alias \"%s\" is removed with model \"%s\"", dependent->identity, name)));
	else if (dependent->kind == EMBED_DEPENDENT_DEFAULT)
		ereport(NOTICE,
				(errmsg("model \"%s\" was the default %s model; no default is left", name, dependent->identity)));
	else
		ereport(NOTICE,
				(errmsg("%s %s %s on model \"%s\"", kind, dependent->identity,
						dependent->refuses ? "depends" : "may depend", name),
				 errdetail_internal("%s", dependent->detail)));
}

static void
notice_dependents(const char *name, const List *dependents)
{
	ListCell   *cell;
	int			n = 0;

	foreach(cell, dependents)
	{
		CHECK_FOR_INTERRUPTS();
		if (n++ < DEPENDENTS_SHOWN)
			notice_dependent(name, lfirst(cell));
	}
	if (n > DEPENDENTS_SHOWN)
		ereport(NOTICE,
				(errmsg("%d more objects depend on model \"%s\"", n - DEPENDENTS_SHOWN, name),
				 errhint("SELECT * FROM embed_dependents('%s') lists them.", name)));
}

static void
drop_model(const char *name, bool forget, bool force)
{
	EmbedModelRow row;
	List	   *dependents;
	int64		size_bytes;

	check_may_write("embed_drop()");
	embed_check_no_subscriber("embed_drop()");
	if (forget)
		embed_triggers_lock(name);
	embed_storage_lock();
	get_installed(name, &row);
	if (!forget)
		check_not_dropped(name, &row);
	dependents = embed_dependents_of(name);
	if (!force)
		check_no_dependents(name, &row, forget, dependents);
	notice_dependents(name, dependents);
	embed_sweep();
	embed_storage_delete_aliases_of(name);
	embed_storage_delete_defaults_of(name);
	row.dropped = true;
	if (forget)
	{
		embed_triggers_pin(name, row.fingerprint);
		embed_storage_delete_model(name);
	}
	else
		embed_storage_put_model(name, &row);
	embed_storage_plans_changed();
	if (!embed_storage_image_is_used(row.fingerprint))
	{
		embed_sweep_row_changes(row.fingerprint, embed_storage_find_image(row.fingerprint, NULL, &size_bytes));
		embed_storage_delete_image(row.fingerprint);
		embed_registry_dropped(row.fingerprint);
	}
}

/* embed_drop(name text, forget bool, force bool) */
Datum
embed_drop(PG_FUNCTION_ARGS)
{
	drop_model(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1), PG_GETARG_BOOL(2));
	PG_RETURN_VOID();
}

Datum
embed_set_default(PG_FUNCTION_ARGS)
{
	char	   *name;
	EmbedModelRow row;
	char	   *kind;

	require_argument(fcinfo, 0, "embed_set_default()", "name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_may_write("embed_set_default()");
	embed_check_no_subscriber("embed_set_default()");
	embed_storage_lock();
	get_installed(name, &row);
	check_not_dropped(name, &row);
	kind = embed_storage_image_kind(row.fingerprint);
	embed_storage_put_default(kind, name);
	PG_RETURN_VOID();
}

/* Dropping an alias drops no object, but objects that name the alias fail from then on. */
static void
notice_users_of_alias(const char *alias, const char *target)
{
	ListCell   *cell;

	foreach(cell, embed_dependents_of(target))
	{
		const EmbedDependent *dependent = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (dependent->alias != NULL && strcmp(dependent->alias, alias) == 0)
			ereport(NOTICE,
					(errmsg("%s %s depends on alias \"%s\"", embed_dependent_kind_name(dependent->kind),
							dependent->identity, alias),
					 errdetail_internal("%s", dependent->detail)));
	}
}

/* Not strict: a NULL name removes the alias. */
Datum
embed_set_alias(PG_FUNCTION_ARGS)
{
	char	   *alias;
	char	   *name;
	EmbedModelRow row;

	check_may_write("embed_set_alias()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("alias must not be null")));
	alias = embed_valid_name(PG_GETARG_TEXT_PP(0), "alias");
	embed_check_no_subscriber("embed_set_alias()");
	embed_storage_lock();
	if (PG_ARGISNULL(1))
	{
		name = embed_storage_find_alias(alias, NULL);
		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("alias \"%s\" does not exist", alias)));
		notice_users_of_alias(alias, name);
		embed_storage_put_alias(alias, NULL);
		PG_RETURN_VOID();
	}
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	get_installed(name, &row);
	check_not_dropped(name, &row);
	set_alias(alias, name);
	PG_RETURN_VOID();
}
