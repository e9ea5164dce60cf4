/*
 * rerank.c
 *		rerank(), rerank_logit(), rerank_many(), rerank_top() and the aggregate
 *		rerank_agg: scores of pairs of a query and a document.
 *
 * Pairs are computed in packed batches, as single texts are. Besides the input
 * and the result, only one batch is in memory. A score is the sigmoid of the
 * model's logit. Documents are ordered by logit, because float4 sigmoids of
 * logits above 17 are equal.
 */
#include "pg/glue.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

/* the inline functions of this header do not pass -Wextra */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "utils/arrayaccess.h"
#pragma GCC diagnostic pop

#include "pg/call/text_batch.h"
#include "pg/call/callsite.h"
#include "pg/call/fallback.h"
#include "pg/store/restore.h"
#include "pg/sql/rows.h"
#include "pg/sql/vector.h"

/* The logit of one pair. */
static float
score_pair(FunctionCallInfo fcinfo)
{
	EmbedSite  *site = embed_rerank_site(fcinfo);
	const EmbedModelRef *ref;
	uint64		begun;
	EmbEncoded	encoded;
	EmbSequence seq;
	float		logit;

	ref = embed_site_resolve_arg(site, fcinfo, 2);
	embed_site_instruct(site, ref, fcinfo, 3);
	begun = embed_stat_begin(ref->stat);
	embed_site_read_query(site, ref, PG_GETARG_DATUM(0));
	encoded = embed_site_read_pair(site, ref, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1));
	seq = (EmbSequence) {.ids = site->ids, .n_ids = encoded.n_ids, .type_ids = site->type_ids, .n_shared = encoded.n_shared};
	embed_compute(ref, EMB_PROMPT_NONE, &seq, 1, &site->prefix, &logit);
	embed_stat_call(ref->stat, begun);
	return logit;
}

/* rerank(query text, doc text [, model text [, instruction text]]) returns float4 */
EMBED_CALL(embed_rerank_pair)
{
	if (embed_in_upgrade())
		PG_RETURN_NULL();
	PG_RETURN_FLOAT4(emb_score(score_pair(fcinfo)));
}

/* rerank_logit(query text, doc text [, model text [, instruction text]]) returns float4 */
EMBED_CALL(embed_rerank_logit)
{
	if (embed_in_upgrade())
		PG_RETURN_NULL();
	PG_RETURN_FLOAT4(score_pair(fcinfo));
}

/* -------------------------------------------------------------- arrays */

/* The documents of one call, in arrays of n. logits[i] is valid if nulls[i] is false. */
typedef struct Documents
{
	int32		n;
	Datum	   *values;			/* in the array */
	bool	   *nulls;
	float	   *logits;

	/* where the next batch's logits go */
	float	   *packed;
	int32		n_packed;
} Documents;

static float *
documents_reserve(void *ctx, pg_attribute_unused() int32 n)
{
	Documents  *docs = ctx;

	return docs->packed + docs->n_packed;
}

static void
documents_done(void *ctx, pg_attribute_unused() const float *logits, int32 n)
{
	((Documents *) ctx)->n_packed += n;
}

static void
read_documents(AnyArrayType *input, Documents *docs)
{
	array_iter	iter;

	docs->n = embed_array_length(input);
	docs->values = MemoryContextAllocHuge(CurrentMemoryContext, docs->n * sizeof(Datum));
	docs->nulls = MemoryContextAllocHuge(CurrentMemoryContext, docs->n * sizeof(bool));
	docs->logits = MemoryContextAllocHuge(CurrentMemoryContext, docs->n * sizeof(float));
	embed_text_iter_setup(&iter, input);
	for (int32 i = 0; i < docs->n; i++)
		docs->values[i] = embed_text_iter_next(&iter, &docs->nulls[i], i);
}

/* Moves the packed logits to the places of their documents; documents that are NULL have no logit. */
static void
unpack_logits(Documents *docs)
{
	int32		next = docs->n_packed;

	/* backwards, so that no logit is overwritten before it is moved */
	for (int32 i = docs->n - 1; i >= 0; i--)
	{
		if (!docs->nulls[i])
			docs->logits[i] = docs->packed[--next];
	}
}

/* The model for documents of a call that names none: ref, or embed.reranker_fallback. */
static const EmbedModelRef *
choose_model(EmbedSite *site, const EmbedModelRef *ref, Datum query, const Documents *docs)
{
	int64		n_tokens = 0;
	bool		has_query = false;

	if (!embed_fallback_is_on())
		return ref;
	query = PointerGetDatum(PG_DETOAST_DATUM_PACKED(query));
	for (int32 i = 0; i < docs->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (docs->nulls[i])
			continue;
		if (!has_query)
			embed_site_read_query(site, ref, query);
		has_query = true;
		n_tokens += embed_site_count_pair(site, ref, query, docs->values[i]);
	}
	return embed_fallback_choose(site, ref, n_tokens);
}

static void
score_documents(EmbedSite *site, const EmbedModelRef *ref, Datum query, Documents *docs)
{
	uint64		begun = embed_stat_begin(ref->stat);
	EmbedBatchSink sink = {docs, documents_reserve, documents_done};
	EmbedBatch	batch;
	bool		has_query = false;

	docs->packed = docs->logits;
	docs->n_packed = 0;
	/* a query that is longer than a pair may be read again: detoast it only once */
	query = PointerGetDatum(PG_DETOAST_DATUM_PACKED(query));
	embed_batch_init(&batch, CurrentMemoryContext, &sink);
	batch.prefix = &site->prefix;
	for (int32 i = 0; i < docs->n; i++)
	{
		EmbEncoded	encoded;

		CHECK_FOR_INTERRUPTS();
		if (docs->nulls[i])
			continue;
		if (!has_query)
			embed_site_read_query(site, ref, query);
		has_query = true;
		encoded = embed_site_read_pair(site, ref, query, docs->values[i]);
		embed_batch_add(&batch, ref, site->ids, site->type_ids, encoded.n_ids);
		embed_batch_share(&batch, encoded.n_shared);
	}
	embed_batch_run(&batch, ref);
	embed_stat_call(ref->stat, begun);
	unpack_logits(docs);
}

static void
check_array_size(int64 n)
{
	if (n > (int64) MaxArraySize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more scores than fit into one array (%lld)", (long long) MaxArraySize)));
}

/* A float4[] of n scores, some of them NULL. */
static ArrayType *
score_array(const float *scores, const bool *nulls, int32 n)
{
	ArrayType  *result;
	float	   *elements;
	bool		has_null = false;

	if (n == 0)
		return construct_empty_array(FLOAT4OID);
	for (int32 i = 0; i < n; i++)
		has_null |= nulls[i];
	if (!has_null)
		return embed_vector_copy(scores, n);
	result = embed_vector_with_nulls(n, nulls, &elements);
	for (int32 i = 0; i < n; i++)
	{
		if (!nulls[i])
			*elements++ = scores[i];
	}
	return result;
}

/* rerank, rerank_many (query text, docs text[] [, model text [, instruction text]]) return float4[] */
EMBED_CALL(embed_rerank_array)
{
	EmbedSite  *site = embed_rerank_site(fcinfo);
	const EmbedModelRef *ref;
	Documents	docs = {0};

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 2);
	embed_site_instruct(site, ref, fcinfo, 3);
	read_documents(PG_GETARG_ANY_ARRAY_P(1), &docs);
	check_array_size(docs.n);
	if (PG_NARGS() <= 2)
		ref = choose_model(site, ref, PG_GETARG_DATUM(0), &docs);
	score_documents(site, ref, PG_GETARG_DATUM(0), &docs);
	for (int32 i = 0; i < docs.n; i++)
	{
		if (!docs.nulls[i])
			docs.logits[i] = emb_score(docs.logits[i]);
	}
	PG_RETURN_ARRAYTYPE_P(score_array(docs.logits, docs.nulls, docs.n));
}

/* The best document first; of equal documents, the first in the array. */
static int
compare_documents(const void *a, const void *b, void *arg)
{
	const float *logits = arg;
	int32		i = *(const int32 *) a;
	int32		j = *(const int32 *) b;

	if (logits[i] != logits[j])
		return logits[i] > logits[j] ? -1 : 1;
	return i < j ? -1 : i > j;
}

static void
put_top(EmbedRows *rows, const Documents *docs, int32 k)
{
	int32	   *order = MemoryContextAllocHuge(CurrentMemoryContext, Max(docs->n, 1) * sizeof(int32));
	int32		n = 0;

	for (int32 i = 0; i < docs->n; i++)
	{
		if (!docs->nulls[i])
			order[n++] = i;
	}
	qsort_arg(order, n, sizeof(int32), compare_documents, docs->logits);
	for (int32 rank = 0; rank < Min(n, k); rank++)
	{
		int32		i = order[rank];
		Datum		values[3] = {Int32GetDatum(i + 1), Float4GetDatum(emb_score(docs->logits[i])), docs->values[i]};
		bool		nulls[3] = {false, false, false};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(rows->store, rows->desc, values, nulls);
	}
}

/*
 * rerank_top(query text, docs text[], k int [, model text [, instruction
 * text]]) returns table (ordinality int, score float4, doc text)
 */
EMBED_CALL(embed_rerank_top)
{
	int32		k = PG_GETARG_INT32(2);
	EmbedSite  *site = embed_rerank_site(fcinfo);
	const EmbedModelRef *ref = embed_site_resolve_arg(site, fcinfo, 3);
	Documents	docs = {0};
	EmbedRows	rows;

	if (k < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k is %d, but must not be negative", k)));
	embed_site_instruct(site, ref, fcinfo, 4);
	rows = embed_rows_begin(fcinfo);
	read_documents(PG_GETARG_ANY_ARRAY_P(1), &docs);
	if (k > 0 && PG_NARGS() <= 3)
		ref = choose_model(site, ref, PG_GETARG_DATUM(0), &docs);
	if (k > 0)
		score_documents(site, ref, PG_GETARG_DATUM(0), &docs);
	put_top(&rows, &docs, k);
	return (Datum) 0;
}

/* ----------------------------------------------------------- aggregate */

#define GROUP_ROOM_FIRST 64

/*
 * A group and the scores of its rows so far. The last rows may still wait in
 * the batch. A row with a NULL argument has a NULL score, as rerank() returns.
 */
typedef struct ScoreGroup
{
	MemoryContext cxt;
	struct varlena *query;		/* NULL if the query is NULL */
	char	   *name;			/* of the model; NULL if there is no model argument, or it is NULL */
	text	   *instruction;	/* NULL if there is no instruction argument, or it is NULL */
	bool		is_used;		/* fingerprint and stat are set */
	uint8		fingerprint[EMB_HASH_SIZE];
	EmbedStat  *stat;
	EmbedCost	cost;		/* since the group's last result */
	EmbedBatch	batch;
	float	   *logits;			/* of the batch */

	int64		n_rows;
	int64		n_filled;		/* all rows before this row are NULL or have a score */
	int64		room;
	float	   *scores;			/* [room] */
	bool	   *nulls;			/* [room] */
} ScoreGroup;

static float *
group_reserve(void *ctx, int32 n)
{
	ScoreGroup *group = ctx;

	group->logits = MemoryContextAllocHuge(CurrentMemoryContext, n * sizeof(float));
	return group->logits;
}

static void
group_done(void *ctx, const float *logits, int32 n)
{
	ScoreGroup *group = ctx;

	for (int32 i = 0; i < n; i++)
	{
		while (group->nulls[group->n_filled])
			group->n_filled++;
		group->scores[group->n_filled++] = emb_score(logits[i]);
	}
	pfree(group->logits);
	group->logits = NULL;
}

static void
add_row(ScoreGroup *group, bool isnull)
{
	check_array_size(group->n_rows + 1);
	if (group->n_rows == group->room)
	{
		int64		room = group->room > 0 ? group->room * 2 : GROUP_ROOM_FIRST;

		if (group->room == 0)
		{
			group->scores = MemoryContextAllocHuge(group->cxt, room * sizeof(float));
			group->nulls = MemoryContextAllocHuge(group->cxt, room * sizeof(bool));
		}
		else
		{
			group->scores = repalloc_huge(group->scores, room * sizeof(float));
			group->nulls = repalloc_huge(group->nulls, room * sizeof(bool));
		}
		group->room = room;
	}
	group->nulls[group->n_rows++] = isnull;
}

static bool
same_text(const struct varlena *a, const struct varlena *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* A copy in cxt; NULL of NULL. */
static struct varlena *
copy_text(MemoryContext cxt, const struct varlena *value)
{
	struct varlena *copy;

	if (value == NULL)
		return NULL;
	copy = MemoryContextAlloc(cxt, VARSIZE_ANY(value));
	memcpy(copy, value, VARSIZE_ANY(value));
	return copy;
}

static ScoreGroup *
new_group(MemoryContext cxt, const struct varlena *query, const text *name, const text *instruction)
{
	ScoreGroup *group = MemoryContextAllocZero(cxt, sizeof(ScoreGroup));
	EmbedBatchSink sink = {group, group_reserve, group_done};

	group->cxt = cxt;
	group->query = copy_text(cxt, query);
	group->instruction = copy_text(cxt, instruction);
	if (name != NULL)
	{
		group->name = MemoryContextAllocZero(cxt, VARSIZE_ANY_EXHDR(name) + 1);
		memcpy(group->name, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	embed_batch_init(&group->batch, cxt, &sink);
	return group;
}

/* A group has one query, one model name and one instruction. */
static void
check_group(const ScoreGroup *group, const struct varlena *query, const text *name, const text *instruction)
{
	bool		same_name = (group->name == NULL) == (name == NULL);

	if (!same_text(group->query, query))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query varies within a group"),
				 errhint("Add the query to GROUP BY, or use rerank(query, doc).")));
	if (same_name && name != NULL)
		same_name = strlen(group->name) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(group->name, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0;
	if (!same_name)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model varies within a group"),
				 errhint("Add the model to GROUP BY.")));
	if (!same_text(group->instruction, instruction))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("instruction varies within a group"),
				 errhint("Add the instruction to GROUP BY.")));
}

/* A group keeps the model that the name stood for when the first pair came. */
static const EmbedModelRef *
model_of_group(ScoreGroup *group, EmbedSite *site, const text *name)
{
	const EmbedModelRef *ref;

	if (group->is_used)
		return embed_site_go_on(site, group->fingerprint);
	ref = embed_site_resolve(site, name);
	group->is_used = true;
	memcpy(group->fingerprint, ref->fingerprint, EMB_HASH_SIZE);
	group->stat = ref->stat;
	return ref;
}

static void
add_pair(ScoreGroup *group, EmbedSite *site, const text *name, Datum doc)
{
	const EmbedModelRef *ref = model_of_group(group, site, name);
	uint64		begun = embed_stat_begin(ref->stat);
	EmbEncoded	encoded;

	group->batch.prefix = &site->prefix;
	embed_site_set_instruction(site, ref, group->instruction);
	embed_site_read_query(site, ref, PointerGetDatum(group->query));
	encoded = embed_site_read_pair(site, ref, PointerGetDatum(group->query), doc);
	embed_batch_add(&group->batch, ref, site->ids, site->type_ids, encoded.n_ids);
	embed_batch_share(&group->batch, encoded.n_shared);
	embed_stat_step(ref->stat, begun, &group->cost);
}

/* (state internal, query text, doc text [, model text [, instruction text]]) returns internal */
EMBED_CALL(embed_rerank_agg_accum)
{
	ScoreGroup *group = PG_ARGISNULL(0) ? NULL : (ScoreGroup *) PG_GETARG_POINTER(0);
	struct varlena *query = PG_ARGISNULL(1) ? NULL : PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));
	bool		has_model = PG_NARGS() > 3;
	const text *name = has_model && !PG_ARGISNULL(3) ? PG_GETARG_TEXT_PP(3) : NULL;
	bool		is_instructed = PG_NARGS() > 4;
	const text *instruction = is_instructed && !PG_ARGISNULL(4) ? PG_GETARG_TEXT_PP(4) : NULL;
	bool		isnull = query == NULL || PG_ARGISNULL(2) || (has_model && name == NULL) || (is_instructed && instruction == NULL);
	MemoryContext cxt;

	if (!AggCheckCallContext(fcinfo, &cxt))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (group == NULL)
		group = new_group(cxt, query, name, instruction);
	else
	{
		if (group->is_used)
			embed_stat_enter(group->stat);
		check_group(group, query, name, instruction);
	}
	add_row(group, isnull);
	if (!isnull)
		add_pair(group, embed_rerank_site(fcinfo), name, PG_GETARG_DATUM(2));
	PG_RETURN_POINTER(group);
}

/* (state internal) returns float4[]; computing the waiting pairs does not change the group's value */
EMBED_CALL(embed_rerank_agg_final)
{
	ScoreGroup *group = PG_ARGISNULL(0) ? NULL : (ScoreGroup *) PG_GETARG_POINTER(0);

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (group == NULL)
		PG_RETURN_NULL();
	if (group->batch.n_texts > 0)
	{
		EmbedSite  *site = embed_rerank_site(fcinfo);
		const EmbedModelRef *ref = embed_site_go_on(site, group->fingerprint);
		uint64		begun = embed_stat_begin(ref->stat);

		group->batch.prefix = &site->prefix;
		embed_batch_run(&group->batch, ref);
		embed_stat_step(ref->stat, begun, &group->cost);
	}
	if (group->is_used)
	{
		embed_stat_enter(group->stat);
		embed_stat_count_call(group->stat, &group->cost);
	}
	PG_RETURN_ARRAYTYPE_P(score_array(group->scores, group->nulls, (int32) group->n_rows));
}
