/*
 * guc.c
 *		The settings. A setting selects a model by name, never by path. Other
 *		settings can change whether a call raises an error, never its value.
 */
#include "pg/glue.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "pg/call/cache.h"
#include "pg/call/overflow.h"
#include "pg/store/pinned_name.h"
#include "pg/store/registry.h"

/* A single text of a long-context model always fits a batch, so this limits only packing. */
#define BATCH_TOKENS_MIN	1
#define BATCH_TOKENS_MAX	262144

#define THREADS_MAX			1024
#define CACHE_ENTRIES_MAX	100000

char	   *embed_guc_model = NULL;
char	   *embed_guc_reranker = NULL;
int			embed_guc_on_overflow = EMBED_OVERFLOW_TRUNCATE;
int			embed_guc_batch_tokens = EMB_BATCH_TOKENS_DEFAULT;
int			embed_guc_threads = 0;
int			embed_guc_cache_entries = EMBED_CACHE_ENTRIES_DEFAULT;
char	   *embed_guc_reranker_fallback = NULL;
int			embed_guc_max_rerank_ms = 0;
int			embed_guc_max_threads = 0;
int			embed_guc_max_statement_tokens = 0;
int			embed_guc_log_min_duration = -1;
bool		embed_guc_defer = false;
bool		embed_guc_accept_vectors = false;
bool		embed_guc_look_ahead = true;
bool		embed_guc_background = true;
int			embed_guc_background_threads = 0;

static char *guc_isa = NULL;

/* embed.isa changed since it was last passed to the core, or was never passed. */
static bool isa_is_stale = true;

static const struct config_enum_entry overflow_options[] = {
	{"truncate", EMBED_OVERFLOW_TRUNCATE, false},
	{"warn", EMBED_OVERFLOW_WARN, false},
	{"error", EMBED_OVERFLOW_ERROR, false},
	{NULL, 0, false}
};

static bool
check_model(char **newval, pg_attribute_unused() void **extra, pg_attribute_unused() GucSource source)
{
	EmbedPinnedName pinned;

	if (**newval == '\0' || embed_pinned_parse(*newval, &pinned))
		return true;
	GUC_check_errdetail("A name has 1 to %d letters, digits and characters of \"._-/\"; \"@\" and %d to %d hexadecimal digits of a fingerprint may follow.",
						EMB_NAME_MAX, EMBED_DIGITS_MIN, EMBED_DIGITS_MAX);
	return false;
}

static void
assign_model(pg_attribute_unused() const char *newval, pg_attribute_unused() void *extra)
{
	embed_registry_invalidate();
}

static bool
check_isa(char **newval, pg_attribute_unused() void **extra, pg_attribute_unused() GucSource source)
{
	if (!emb_isa_is_known(*newval))
	{
		GUC_check_errdetail("Instruction set levels are auto, scalar, avx2, avxvnni, avx512vnni, amx and neon.");
		return false;
	}
	/*
	 * a preloading postmaster runs no kernel and requests no permission: its
	 * backends fail at first use
	 */
	if (IsPostmasterEnvironment && !IsUnderPostmaster)
		return true;
	if (strcmp(*newval, "auto") != 0 && !emb_isa_is_available(*newval))
	{
		GUC_check_errcode(ERRCODE_FEATURE_NOT_SUPPORTED);
		if (emb_isa_failed_op(*newval) != NULL)
			GUC_check_errdetail("The level \"%s\" failed its self-test on this machine, in operation %s.", *newval, emb_isa_failed_op(*newval));
		else
			GUC_check_errdetail("This CPU or this build lacks the level \"%s\".", *newval);
		return false;
	}
	return true;
}

/* The level is selected at first use, because a preloading postmaster never computes. */
static void
assign_isa(pg_attribute_unused() const char *newval, pg_attribute_unused() void *extra)
{
	isa_is_stale = true;
}

/* Once per process: a CPU that has a level and computes wrongly with it, or an emulator. */
static void
log_failed_level(void)
{
	static bool is_logged = false;
	const char *failed = emb_isa_failed();

	if (failed == NULL || is_logged)
		return;
	is_logged = true;
	ereport(LOG,
			(errmsg("instruction set level \"%s\" failed its self-test in operation %s", failed, emb_isa_failed_op(failed)),
			 errdetail("This session computes with level \"%s\", whose results are the same.", emb_isa_name()),
			 errhint("Please report this with the model of the CPU.")));
}

void
embed_isa_apply(void)
{
	EmbError	err;
	EmbStatus	status;

	if (likely(!isa_is_stale))
		return;
	status = emb_isa_select(guc_isa, &err);
	if (status != EMB_OK)
		embed_throw(status, &err);
	isa_is_stale = false;
	log_failed_level();
}

static void
assign_cache_entries(int newval, pg_attribute_unused() void *extra)
{
	embed_cache_trim(newval);
}

/* The settings of define_limits. */
static bool
is_limit(const char *name)
{
	return pg_strcasecmp(name, "embed.max_threads") == 0 || pg_strcasecmp(name, "embed.max_statement_tokens") == 0 ||
		pg_strcasecmp(name, "embed.log_min_duration") == 0;
}

/*
 * Whoever connects may give any setting that the server does not know yet,
 * libpq by PGOPTIONS. Such a value hides those of ALTER ROLE, ALTER DATABASE
 * and the configuration, and is dropped now if the client may not set it: the
 * limit would be gone. Settings that the server knows it refuses as we do.
 */
static void
refuse_limits_of_client(void)
{
	int			n;
	struct config_generic **variables = embed_get_guc_variables(&n);

	for (int i = 0; i < n; i++)
	{
		const struct config_generic *variable = variables[i];

		if ((variable->flags & GUC_CUSTOM_PLACEHOLDER) == 0 || variable->reset_source != PGC_S_CLIENT ||
			variable->reset_scontext != PGC_BACKEND || !is_limit(variable->name))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set parameter \"%s\"", variable->name),
				 errhint("Connect without it in the connection's options.")));
	}
}

/* For superusers, so that a role cannot undo what ALTER ROLE .. SET gives it. */
static void
define_limits(void)
{
	DefineCustomIntVariable("embed.max_threads",
							"Maximum number of threads of one call, whatever embed.threads says.",
							"0: no such limit. Superusers set it, for example for a role.",
							&embed_guc_max_threads, 0,
							0, THREADS_MAX, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("embed.max_statement_tokens",
							"Maximum number of tokens that the calls of one statement may read.",
							"0: no limit. Superusers set it, for example for a role.",
							&embed_guc_max_statement_tokens, 0,
							0, PG_INT32_MAX, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("embed.log_min_duration",
							"Duration from which on a call is logged and counted as slow.",
							"-1: never. At most one call a second is logged for each model.",
							&embed_guc_log_min_duration, -1,
							-1, PG_INT32_MAX, PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

void
embed_guc_init(void)
{
	/* first: after an error the library is loaded again */
	refuse_limits_of_client();
	DefineCustomStringVariable("embed.model",
							   "Model or alias used where no model argument is given.",
							   "Empty: the database's default model.",
							   &embed_guc_model, "", PGC_USERSET, 0,
							   check_model, assign_model, NULL);
	DefineCustomStringVariable("embed.reranker",
							   "Reranker, or an alias of a reranker, used where no model argument is given.",
							   "Empty: the database's default reranker.",
							   &embed_guc_reranker, "", PGC_USERSET, 0,
							   check_model, assign_model, NULL);
	DefineCustomEnumVariable("embed.on_overflow",
							 "What to do with texts that have more tokens than the model reads.",
							 "warn reports once per statement how many texts were cut.",
							 &embed_guc_on_overflow, EMBED_OVERFLOW_TRUNCATE,
							 overflow_options, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("embed.batch_tokens",
							"Number of tokens computed at once.",
							"Larger batches use more memory; results do not depend on it.",
							&embed_guc_batch_tokens, EMB_BATCH_TOKENS_DEFAULT,
							BATCH_TOKENS_MIN, BATCH_TOKENS_MAX, PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("embed.threads",
							"Maximum number of threads that one call may use.",
							"0: one per CPU of this process. Parallel workers use one thread; results do not depend on it.",
							&embed_guc_threads, 0,
							0, THREADS_MAX, PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("embed.cache_entries",
							"Number of recent single-text vectors that this session caches.",
							"0: no cache. Texts of up to 8 kB are cached, up to 16 MB in all.",
							&embed_guc_cache_entries, EMBED_CACHE_ENTRIES_DEFAULT,
							0, CACHE_ENTRIES_MAX, PGC_USERSET, 0,
							NULL, assign_cache_entries, NULL);
	DefineCustomBoolVariable("embed.defer",
							 "Triggers leave the vectors of new texts to the filler.",
							 "For COPY and bulk loads: embed_trigger in mode now sets NULL as in mode later.",
							 &embed_guc_defer, false, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("embed.accept_vectors",
							 "Triggers keep the vectors that a statement gives, unseen.",
							 "For bulk loads of vectors that exist already: who sets it vouches that they belong to their texts.",
							 &embed_guc_accept_vectors, false, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("embed.look_ahead",
							 "Whether statements embed the texts of upcoming rows together.",
							 "For triggers, generated columns and select lists; results do not depend on it.",
							 &embed_guc_look_ahead, true, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("embed.background",
							 "Whether commits may start a background worker that fills kept columns.",
							 "off: rows wait until embed_fill is called, or until on again.",
							 &embed_guc_background, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("embed.background_threads",
							"Maximum number of threads of the background worker that fills kept columns.",
							"0: the CPUs that computing sessions leave, at least one.",
							&embed_guc_background_threads, 0,
							0, THREADS_MAX, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomStringVariable("embed.isa",
							   "Instruction set level of the computation.",
							   "auto: the best level of this CPU; results do not depend on it.",
							   &guc_isa, "auto", PGC_USERSET, 0,
							   check_isa, assign_isa, NULL);
	DefineCustomStringVariable("embed.reranker_fallback",
							   "A smaller reranker, or an alias of one, used where no model argument is given and embed.max_rerank_ms would be passed.",
							   "Empty: none.",
							   &embed_guc_reranker_fallback, "", PGC_USERSET, 0,
							   check_model, assign_model, NULL);
	DefineCustomIntVariable("embed.max_rerank_ms",
							"Estimated duration of a list of documents from which on embed.reranker_fallback scores it.",
							"0: no limit. The estimate is by the measured speed of the model.",
							&embed_guc_max_rerank_ms, 0,
							0, PG_INT32_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	define_limits();
	embed_reserve_guc_prefix("embed");
	embed_overflow_init();
	embed_cache_init();
}
