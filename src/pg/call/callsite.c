/*
 * callsite.c
 *		What a call site in a query remembers between calls.
 */
#include "pg/call/callsite.h"

#include "access/detoast.h"
#include "mb/pg_wchar.h"

#include "pg/call/ahead_store.h"
#include "pg/call/text_batch.h"
#include "pg/store/names.h"
#include "pg/call/limits.h"
#include "pg/call/overflow.h"
#include "pg/call/proofs.h"
#include "pg/call/text_value.h"

EmbedSite *
embed_site(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	MemoryContext cxt = flinfo != NULL ? flinfo->fn_mcxt : CurrentMemoryContext;
	EmbedSite  *site;

	if (flinfo != NULL && flinfo->fn_extra != NULL)
		return flinfo->fn_extra;
	site = MemoryContextAllocZero(cxt, sizeof(EmbedSite));
	site->cxt = cxt;
	site->prefix.parent = cxt;
	if (flinfo != NULL)
		flinfo->fn_extra = site;
	return site;
}

EmbedSite *
embed_reader_site(FunctionCallInfo fcinfo)
{
	EmbedSite  *site = embed_site(fcinfo);

	site->reads = true;
	return site;
}

EmbedSite *
embed_rerank_site(FunctionCallInfo fcinfo)
{
	EmbedSite  *site = embed_site(fcinfo);

	site->reranks = true;
	return site;
}

/* Whether ref is still valid for a name of len bytes (NULL: no name). */
static bool
is_resolved(const EmbedSite *site, const char *name, size_t len)
{
	if (site->ref == NULL || site->view == 0 || site->generation != embed_registry_generation() ||
		site->view != embed_names_view())
		return false;
	if (name == NULL || !site->has_name)
		return name == NULL && !site->has_name;
	return memcmp(site->name, name, len) == 0 && site->name[len] == '\0';
}

static void
look_up(EmbedSite *site, const char *name, size_t len, EmbedNameUse use)
{
	char	   *copy = name != NULL ? pnstrdup(name, len) : NULL;

	site->ref = NULL;
	/* read first: a change during the lookup must not count as seen */
	site->generation = embed_registry_generation();
	site->view = embed_names_view();
	site->ref = embed_registry_lookup(copy, site->reranks ? EMB_KIND_RERANKER : site->reads ? EMBED_KIND_READER : EMB_KIND_EMBEDDING,
									 use);
	site->has_name = name != NULL;
	if (name != NULL)
	{
		/* a resolved name is valid, so it is short */
		strlcpy(site->name, copy, sizeof(site->name));
		pfree(copy);
	}
}

static const EmbedModelRef *
resolve(EmbedSite *site, const char *name, size_t len, EmbedNameUse use)
{
	if (len > EMBED_PINNED_MAX || !is_resolved(site, name, len))
		look_up(site, name, len, use);
	embed_stat_enter(site->ref->stat);
	return site->ref;
}

const EmbedModelRef *
embed_site_resolve(EmbedSite *site, const text *name)
{
	if (name == NULL)
		return resolve(site, NULL, 0, EMBED_NAME_ARGUMENT);
	return resolve(site, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), EMBED_NAME_ARGUMENT);
}

const EmbedModelRef *
embed_site_resolve_name(EmbedSite *site, const char *name, EmbedNameUse use)
{
	return resolve(site, name, name != NULL ? strlen(name) : 0, use);
}

const EmbedModelRef *
embed_site_go_on(EmbedSite *site, const uint8 *fingerprint)
{
	if (site->ref == NULL || site->generation != embed_registry_generation() ||
		memcmp(site->ref->fingerprint, fingerprint, EMB_HASH_SIZE) != 0)
	{
		site->ref = NULL;
		site->view = 0;
		site->generation = embed_registry_generation();
		site->ref = embed_registry_go_on(fingerprint);
	}
	embed_stat_enter(site->ref->stat);
	return site->ref;
}

const EmbedModelRef *
embed_site_resolve_arg(EmbedSite *site, FunctionCallInfo fcinfo, int argno)
{
	return embed_site_resolve(site, argno < PG_NARGS() ? PG_GETARG_TEXT_PP(argno) : NULL);
}

int32
embed_site_dimensions(const EmbedSite *site, FunctionCallInfo fcinfo, int argno)
{
	int32		n = argno < PG_NARGS() ? PG_GETARG_INT32(argno) : 0;

	if (argno < PG_NARGS() && (n < 1 || n > site->ref->info->dim))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions %d is outside 1..%d, those of model \"%s\"", n, site->ref->info->dim, site->name)));
	return n;
}

void
embed_site_cut(const EmbedSite *site, const float *vector, int32 n, float *out)
{
	EmbError	err;
	EmbStatus	status = emb_model_cut(site->ref->model, vector, n, out, &err);

	if (status != EMB_OK)
		embed_throw(status, &err);
}

/* Copies size bytes into site memory at *to, which grows if needed. After an error *to is empty. */
static void
keep_bytes(const EmbedSite *site, char **to, Size *room, const void *from, Size size)
{
	if (*room < size)
	{
		if (*to != NULL)
			pfree(*to);
		*to = NULL;
		*room = 0;
		*to = MemoryContextAlloc(site->cxt, size);
		*room = size;
	}
	memcpy(*to, from, size);
}

/* ------------------------------------------------------------ instruction */

/* Bytes of an instruction; a template's texts have the same bound. */
#define INSTRUCTION_MAX		8192

void
embed_site_instruct(EmbedSite *site, const EmbedModelRef *ref, FunctionCallInfo fcinfo, int argno)
{
	embed_site_set_instruction(site, ref, argno < PG_NARGS() ? PG_GETARG_TEXT_PP(argno) : NULL);
}

void
embed_site_set_instruction(EmbedSite *site, const EmbedModelRef *ref, const text *instruction)
{
	const char *utf8;
	Size		bytes;

	site->instruction = NULL;
	site->instruction_utf8 = (EmbedInstruction) {NULL, 0};
	if (instruction == NULL)
		return;
	if (ref->info->instruction == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" takes no instruction", site->name),
				 errhint("The column \"instruction\" of embed_models shows which models take one. Leave the argument out for others.")));
	if (VARSIZE_ANY_EXHDR(instruction) > INSTRUCTION_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the instruction has %zu bytes, more than %d", (size_t) VARSIZE_ANY_EXHDR(instruction), INSTRUCTION_MAX),
				 errhint("Say the task in a sentence; what a text is compared with belongs into the query.")));
	utf8 = pg_server_to_any(VARDATA_ANY(instruction), VARSIZE_ANY_EXHDR(instruction), PG_UTF8);
	bytes = utf8 == VARDATA_ANY(instruction) ? VARSIZE_ANY_EXHDR(instruction) : strlen(utf8);
	/* at least one byte: an empty instruction is not the model's own, which is NULL */
	keep_bytes(site, &site->instruction_room, &site->instruction_room_size, bytes > 0 ? utf8 : "", Max(bytes, 1));
	site->instruction_utf8 = (EmbedInstruction) {site->instruction_room, bytes};
	site->instruction = instruction;
}

/* Allocates room for the ids of one text or pair. */
static void
make_ids_room(EmbedSite *site, int32 n)
{
	Size		size = (Size) n * sizeof(int32);

	if (site->ids_room >= n)
		return;
	if (site->ids != NULL)
		pfree(site->ids);
	site->ids = site->type_ids = NULL;
	site->ids_room = 0;
	/* one block: type ids after the ids */
	site->ids = MemoryContextAlloc(site->cxt, site->reranks ? 2 * size : size);
	site->type_ids = site->reranks ? site->ids + n : NULL;
	site->ids_room = n;
}

/* Memory for reading one text; frees what an error left there. */
static MemoryContext
scratch_of(EmbedSite *site)
{
	if (site->scratch == NULL)
		site->scratch = AllocSetContextCreate(site->cxt, "embed text", ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(site->scratch);
	return site->scratch;
}

EmbEncoded
embed_site_encode(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value)
{
	make_ids_room(site, Max(ref->info->max_tokens, ref->info->max_query_tokens));
	site->prompt = prompt;
	return embed_text_encode(ref, prompt, site->instruction_utf8, value, site->ids, scratch_of(site));
}

static void
count_reading(EmbedSite *site, const EmbedModelRef *ref, EmbEncoded encoded, uint64 begun)
{
	embed_stat_add(ref->stat, EMBED_TOKENIZER_NS, embed_clock_ns() - begun);
	embed_limits_count(encoded.n_ids);
	embed_stat_add(ref->stat, EMBED_TEXTS, 1);
	embed_stat_add(ref->stat, EMBED_TOKENS, encoded.n_ids);
	if (encoded.truncated)
	{
		embed_stat_add(ref->stat, EMBED_TRUNCATIONS, 1);
		embed_overflow_note(site->cxt, ref->info, site->prompt);
	}
}

EmbEncoded
embed_site_read(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value)
{
	uint64		begun = embed_clock_ns();
	EmbEncoded	encoded = embed_site_encode(site, ref, prompt, value);

	count_reading(site, ref, encoded, begun);
	return encoded;
}

EmbEncoded
embed_site_read_pair(EmbedSite *site, const EmbedModelRef *ref, Datum query, Datum doc)
{
	uint64		begun = embed_clock_ns();
	EmbEncoded	encoded;

	make_ids_room(site, ref->info->max_tokens);
	encoded = embed_text_encode_pair(ref, site->instruction_utf8, query, &site->query.known, doc, site->ids, site->type_ids,
									 scratch_of(site));
	count_reading(site, ref, encoded, begun);
	return encoded;
}

int32
embed_site_count_pair(EmbedSite *site, const EmbedModelRef *ref, Datum query, Datum doc)
{
	make_ids_room(site, ref->info->max_tokens);
	return embed_text_encode_pair(ref, site->instruction_utf8, query, &site->query.known, doc, site->ids, site->type_ids,
								  scratch_of(site)).n_ids;
}

/*
 * Out-of-line values are not compared: fetching them costs more than a memo
 * for long texts saves.
 */
static bool
memo_serves(Datum value)
{
	return !VARATT_IS_EXTERNAL(DatumGetPointer(value)) &&
		VARSIZE_ANY(DatumGetPointer(value)) <= EMBED_MEMO_INPUT_MAX;
}

/* Bytes of value and of the call's instruction, headers included. */
static Size
input_size(const EmbedSite *site, Datum value)
{
	return VARSIZE_ANY(DatumGetPointer(value)) + (site->instruction != NULL ? VARSIZE_ANY(site->instruction) : 0);
}

/* Whether kept bytes are these; the headers tell where the value ends. */
static bool
input_is(const EmbedSite *site, const char *input, Size size, Datum value)
{
	Size		value_size = VARSIZE_ANY(DatumGetPointer(value));

	return size == input_size(site, value) && memcmp(input, DatumGetPointer(value), value_size) == 0 &&
		(site->instruction == NULL || memcmp(input + value_size, site->instruction, size - value_size) == 0);
}

/* Returns the size. */
static Size
keep_input(const EmbedSite *site, char **input, Size *room, Datum value)
{
	Size		value_size = VARSIZE_ANY(DatumGetPointer(value));
	Size		size = input_size(site, value);
	char	   *joined = NULL;

	if (site->instruction == NULL)
	{
		keep_bytes(site, input, room, DatumGetPointer(value), value_size);
		return size;
	}
	joined = palloc(size);
	memcpy(joined, DatumGetPointer(value), value_size);
	memcpy(joined + value_size, site->instruction, size - value_size);
	keep_bytes(site, input, room, joined, size);
	pfree(joined);
	return size;
}

static bool
query_is(const EmbedSite *site, const EmbedModelRef *ref, Datum query)
{
	const EmbedQuery *last = &site->query;

	return last->input_size > 0 && memo_serves(query) && input_is(site, last->input, last->input_size, query) &&
		memcmp(last->fingerprint, ref->fingerprint, EMB_HASH_SIZE) == 0;
}

void
embed_site_read_query(EmbedSite *site, const EmbedModelRef *ref, Datum query)
{
	EmbedQuery *last = &site->query;
	int32		n = ref->info->max_tokens;
	uint64		begun;

	if (query_is(site, ref, query))
		return;
	begun = embed_clock_ns();
	last->input_size = 0;
	if (last->ids_room < n)
	{
		if (last->ids != NULL)
			pfree(last->ids);
		last->ids = NULL;
		last->ids_room = 0;
		last->ids = MemoryContextAlloc(site->cxt, (Size) n * sizeof(int32));
		last->ids_room = n;
	}
	embed_text_encode_query(ref, site->instruction_utf8, query, last->ids, &last->known, scratch_of(site));
	if (memo_serves(query))
	{
		Size		size = keep_input(site, &last->input, &last->input_room, query);

		memcpy(last->fingerprint, ref->fingerprint, EMB_HASH_SIZE);
		last->input_size = size;
	}
	embed_stat_add(ref->stat, EMBED_TOKENIZER_NS, embed_clock_ns() - begun);
}

static bool
memo_has(const EmbedSite *site, const EmbedModelRef *ref, Datum value)
{
	const EmbedMemo *memo = &site->memo;
	EmbedAsker	asker = embed_asker();

	return memo->input_size > 0 && embed_same_asker(&memo->asker, &asker) &&
		input_is(site, memo->input, memo->input_size, value) &&
		memcmp(memo->fingerprint, ref->fingerprint, EMB_HASH_SIZE) == 0;
}

static void
memo_remember(EmbedSite *site, const EmbedModelRef *ref, Datum value, const void *result, Size result_size, bool truncated)
{
	EmbedMemo  *memo = &site->memo;
	Size		size;

	memo->input_size = 0;
	size = keep_input(site, &memo->input, &memo->input_room, value);
	keep_bytes(site, &memo->result, &memo->result_room, result, result_size);
	memo->result_size = result_size;
	memcpy(memo->fingerprint, ref->fingerprint, EMB_HASH_SIZE);
	memo->asker = embed_asker();
	memo->truncated = truncated;
	memo->input_size = size;
}

static void
compute(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value, float *out, bool *truncated)
{
	uint64		begun = embed_stat_begin(ref->stat);
	EmbEncoded	encoded = embed_site_read(site, ref, prompt, value);
	EmbSequence seq = {0};

	*truncated = encoded.truncated;
	seq.ids = site->ids;
	seq.n_ids = encoded.n_ids;
	embed_compute(ref, prompt, &seq, 1, NULL, out);
	if (prompt == EMB_PROMPT_DOCUMENT)
	{
		EmbedProofKey key = embed_proof_key(ref, value, *truncated);

		embed_proof_put(&key, out, ref->info->dim);
	}
	embed_stat_call(ref->stat, begun);
}

/* A text from memo or cache counts, and may raise, like the first time. */
static void
answered_again(EmbedSite *site, const EmbedModelRef *ref, bool truncated)
{
	if (truncated)
	{
		embed_stat_add(ref->stat, EMBED_TRUNCATIONS, 1);
		embed_overflow_note(site->cxt, ref->info, site->prompt);
	}
	embed_stat_hit(ref->stat);
}

/*
 * What the cache knows a text by: itself, or, with an instruction, the
 * instruction's size, the instruction and the text.
 */
static const struct varlena *
cache_text(const EmbedSite *site, const struct varlena *plain)
{
	uint32		n_instruction;
	uint32		n_text = VARSIZE_ANY_EXHDR(plain);
	struct varlena *joined;
	char	   *to;

	if (site->instruction == NULL)
		return plain;
	n_instruction = VARSIZE_ANY_EXHDR(site->instruction);
	joined = palloc(VARHDRSZ + sizeof(n_instruction) + n_instruction + n_text);
	SET_VARSIZE(joined, VARHDRSZ + sizeof(n_instruction) + n_instruction + n_text);
	to = VARDATA(joined);
	memcpy(to, &n_instruction, sizeof(n_instruction));
	memcpy(to + sizeof(n_instruction), VARDATA_ANY(site->instruction), n_instruction);
	memcpy(to + sizeof(n_instruction) + n_instruction, VARDATA_ANY(plain), n_text);
	return joined;
}

/*
 * A vector computed ahead (ahead_store.h) counts as a call now; its text was
 * counted when it was computed.
 */
static void
answered_ahead(EmbedSite *site, const EmbedModelRef *ref, EmbedAheadVector *found, Datum value)
{
	EmbedProofKey proof;
	EmbedCost	cost = {.took_ns = found->took_ns, .tokens = found->n_tokens, .compute_ns = found->took_ns};

	if (!embed_ahead_use(found))
	{
		answered_again(site, ref, found->truncated);
		return;
	}
	if (found->truncated)
	{
		embed_stat_add(ref->stat, EMBED_TRUNCATIONS, 1);
		embed_overflow_note(site->cxt, ref->info, site->prompt);
	}
	proof = embed_proof_key(ref, value, found->truncated);
	embed_proof_put(&proof, found->vector, ref->info->dim);
	embed_stat_count_call(ref->stat, &cost);
}

/* Takes the vector from those computed ahead. */
static bool
find_ahead(EmbedSite *site, const EmbedModelRef *ref, const EmbedCacheKey *key, Datum value, float *out, bool *truncated)
{
	EmbedAheadVector *found = embed_ahead_find(key, ref->info->dim);

	if (found == NULL)
		return false;
	memcpy(out, found->vector, ref->info->dim * sizeof(float));
	*truncated = found->truncated;
	answered_ahead(site, ref, found, value);
	return true;
}

/* Takes the vector from those computed ahead or from the backend's cache, or computes it; and caches it. */
static void
embed_cached(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value, float *out, bool *truncated)
{
	Size		len = toast_raw_datum_size(value) - VARHDRSZ;
	bool		may_be_ahead = embed_ahead_any() && prompt == EMB_PROMPT_DOCUMENT && len <= EMBED_CACHE_TEXT_MAX;
	bool		may_be_cached = embed_cache_serves(len);
	struct varlena *plain;
	const struct varlena *keyed;
	EmbedCacheKey key;

	if (!may_be_ahead && !may_be_cached)
	{
		compute(site, ref, prompt, value, out, truncated);
		return;
	}
	/* short enough that the model reads all of it */
	plain = PG_DETOAST_DATUM_PACKED(value);
	keyed = cache_text(site, plain);
	key = embed_cache_key(ref, prompt, site->instruction != NULL, VARDATA_ANY(keyed), VARSIZE_ANY_EXHDR(keyed));
	if (may_be_ahead && find_ahead(site, ref, &key, PointerGetDatum(plain), out, truncated))
		embed_cache_put(&key, out, ref->info->dim, *truncated);
	else if (may_be_cached && embed_cache_find(&key, out, ref->info->dim, truncated))
		answered_again(site, ref, *truncated);
	else
	{
		compute(site, ref, prompt, PointerGetDatum(plain), out, truncated);
		embed_cache_put(&key, out, ref->info->dim, *truncated);
	}
	if (keyed != plain)
		pfree((void *) keyed);
	if (PointerGetDatum(plain) != value)
		pfree(plain);
}

void
embed_site_embed(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value, float *out)
{
	bool		use_memo = memo_serves(value);
	bool		truncated;

	if (use_memo && memo_has(site, ref, value))
	{
		answered_again(site, ref, site->memo.truncated);
		memcpy(out, site->memo.result, ref->info->dim * sizeof(float));
		return;
	}
	embed_cached(site, ref, prompt, value, out, &truncated);
	if (use_memo)
		memo_remember(site, ref, value, out, ref->info->dim * sizeof(float), truncated);
}

void *
embed_site_recall(EmbedSite *site, const EmbedModelRef *ref, Datum value)
{
	void	   *result;

	if (!memo_serves(value) || !memo_has(site, ref, value))
		return NULL;
	answered_again(site, ref, site->memo.truncated);
	result = palloc(site->memo.result_size);
	memcpy(result, site->memo.result, site->memo.result_size);
	return result;
}

void
embed_site_remember(EmbedSite *site, const EmbedModelRef *ref, Datum value, const void *result, bool truncated)
{
	Size		size = VARSIZE_ANY(result);

	if (memo_serves(value) && size <= EMBED_MEMO_RESULT_MAX)
		memo_remember(site, ref, value, result, size, truncated);
}

bool
embed_site_cached(const EmbedModelRef *ref, Datum value, float *out)
{
	struct varlena *plain;
	EmbedCacheKey key;
	bool		truncated = false;
	bool		found;

	if (!embed_cache_serves(toast_raw_datum_size(value) - VARHDRSZ))
		return false;
	plain = PG_DETOAST_DATUM_PACKED(value);
	key = embed_cache_key(ref, EMB_PROMPT_DOCUMENT, false, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
	found = embed_cache_find(&key, out, ref->info->dim, &truncated);
	if (PointerGetDatum(plain) != value)
		pfree(plain);
	return found && !(truncated && embed_guc_on_overflow == EMBED_OVERFLOW_ERROR);
}
