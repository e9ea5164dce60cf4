/*
 * aggregate.c
 *		embed_agg: all vectors of a group. embed_avg: their normalized mean.
 *
 * The state of a group holds computed results and the ids of texts that wait
 * for a full batch. The final functions compute the waiting texts, too. This
 * does not change the group's value, so they may be called again, and more
 * texts may follow, as in a window.
 */
#include "pg/glue.h"

#include "pg/call/text_batch.h"
#include "pg/call/callsite.h"
#include "pg/sql/vector.h"

typedef struct GroupState
{
	MemoryContext cxt;
	uint8		fingerprint[EMB_HASH_SIZE];
	char	   *name;			/* NULL: the default model */
	int32		dim;
	EmbedBatch	batch;
	int64		n_vectors;		/* computed; without the vectors of the batch */
	EmbedStat  *stat;
	EmbedCost	cost;		/* since the last result of the group */

	/* embed_agg */
	float	   *vectors;		/* [vectors_room, dim] */
	int64		vectors_room;

	/* embed_avg */
	double	   *sum;			/* [dim], in the order of the input */
	float	   *batch_vectors;
} GroupState;

static float *
agg_reserve(void *ctx, int32 n)
{
	GroupState *state = ctx;
	int64		needed = state->n_vectors + n;
	int64		room = Max(state->vectors_room, 1);

	while (room < needed)
		room += room / 2 + 1;
	if (room > state->vectors_room)
	{
		Size		size = (Size) room * state->dim * sizeof(float);

		if (state->vectors == NULL)
			state->vectors = MemoryContextAllocHuge(state->cxt, size);
		else
			state->vectors = repalloc_huge(state->vectors, size);
		state->vectors_room = room;
	}
	return state->vectors + (Size) state->n_vectors * state->dim;
}

static void
agg_done(void *ctx, pg_attribute_unused() const float *vectors, int32 n)
{
	((GroupState *) ctx)->n_vectors += n;
}

static float *
avg_reserve(void *ctx, int32 n)
{
	GroupState *state = ctx;

	state->batch_vectors = MemoryContextAllocHuge(CurrentMemoryContext,
												  (Size) n * state->dim * sizeof(float));
	return state->batch_vectors;
}

static void
avg_done(void *ctx, const float *vectors, int32 n)
{
	GroupState *state = ctx;

	for (int32 i = 0; i < n; i++)
	{
		const float *vector = vectors + (Size) i * state->dim;

		for (int32 j = 0; j < state->dim; j++)
			state->sum[j] += vector[j];
	}
	state->n_vectors += n;
	pfree(state->batch_vectors);
	state->batch_vectors = NULL;
}

static GroupState *
new_group(MemoryContext cxt, const EmbedModelRef *ref, const text *name, bool is_avg)
{
	GroupState *state = MemoryContextAllocZero(cxt, sizeof(GroupState));
	EmbedBatchSink sink = {state, is_avg ? avg_reserve : agg_reserve, is_avg ? avg_done : agg_done};

	state->cxt = cxt;
	memcpy(state->fingerprint, ref->fingerprint, EMB_HASH_SIZE);
	state->dim = ref->info->dim;
	state->stat = ref->stat;
	if (name != NULL)
	{
		Size		len = VARSIZE_ANY_EXHDR(name);

		state->name = MemoryContextAllocZero(cxt, len + 1);
		memcpy(state->name, VARDATA_ANY(name), len);
	}
	embed_batch_init(&state->batch, cxt, &sink);
	if (is_avg)
		state->sum = MemoryContextAllocZero(cxt, state->dim * sizeof(double));
	return state;
}

void
embed_check_group_name(const char *first, const text *name)
{
	if (name != NULL &&
		(strlen(first) != VARSIZE_ANY_EXHDR(name) ||
		 memcmp(first, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model varies within a group: \"%s\" and \"%.*s\"", first,
						(int) VARSIZE_ANY_EXHDR(name), VARDATA_ANY(name)),
				 errhint("Add the model to GROUP BY.")));
}

/* (state internal, input text [, model text]) returns internal; NULLs are skipped */
static Datum
accumulate(FunctionCallInfo fcinfo, bool is_avg)
{
	GroupState *state = PG_ARGISNULL(0) ? NULL : (GroupState *) PG_GETARG_POINTER(0);
	const text *name = NULL;
	EmbedSite  *site;
	const EmbedModelRef *ref;
	EmbEncoded	encoded;
	MemoryContext cxt;
	uint64		begun;

	if (!AggCheckCallContext(fcinfo, &cxt))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (PG_ARGISNULL(1) || (PG_NARGS() > 2 && PG_ARGISNULL(2)))
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	if (PG_NARGS() > 2)
		name = PG_GETARG_TEXT_PP(2);
	site = embed_site(fcinfo);
	if (state == NULL)
	{
		ref = embed_site_resolve(site, name);
		state = new_group(cxt, ref, name, is_avg);
	}
	else
	{
		ref = embed_site_go_on(site, state->fingerprint);
		embed_check_group_name(state->name, name);
	}
	if (!is_avg)
		embed_matrix_check_size(state->n_vectors + state->batch.n_texts + 1, state->dim);

	begun = embed_stat_begin(ref->stat);
	encoded = embed_site_read(site, ref, EMB_PROMPT_DOCUMENT, PG_GETARG_DATUM(1));
	embed_batch_add(&state->batch, ref, site->ids, NULL, encoded.n_ids);
	if (!is_avg)
		embed_batch_prove(&state->batch, ref, PG_GETARG_DATUM(1), encoded.truncated);
	embed_stat_step(ref->stat, begun, &state->cost);
	PG_RETURN_POINTER(state);
}

EMBED_CALL(embed_agg_accum)
{
	return accumulate(fcinfo, false);
}

EMBED_CALL(embed_avg_accum)
{
	return accumulate(fcinfo, true);
}

/* The group after all its texts are computed, or NULL if it has no text. */
static GroupState *
finish_group(FunctionCallInfo fcinfo)
{
	GroupState *state = PG_ARGISNULL(0) ? NULL : (GroupState *) PG_GETARG_POINTER(0);

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (state != NULL && state->batch.n_texts > 0)
	{
		const EmbedModelRef *ref = embed_site_go_on(embed_site(fcinfo), state->fingerprint);
		uint64		begun = embed_stat_begin(ref->stat);

		embed_batch_run(&state->batch, ref);
		embed_stat_step(ref->stat, begun, &state->cost);
	}
	if (state != NULL)
	{
		embed_stat_enter(state->stat);
		embed_stat_count_call(state->stat, &state->cost);
	}
	return state;
}

/* (state internal) returns float4[][] */
EMBED_CALL(embed_agg_final)
{
	GroupState *state = finish_group(fcinfo);
	ArrayType  *result;
	float	   *elements;

	if (state == NULL)
		PG_RETURN_NULL();
	result = embed_matrix_new((int32) state->n_vectors, state->dim, NULL, &elements);
	memcpy(elements, state->vectors, (Size) state->n_vectors * state->dim * sizeof(float));
	PG_RETURN_ARRAYTYPE_P(result);
}

/* (state internal) returns float4[] */
EMBED_CALL(embed_avg_final)
{
	GroupState *state = finish_group(fcinfo);
	ArrayType  *result;
	float	   *elements;

	if (state == NULL)
		PG_RETURN_NULL();
	result = embed_vector_new(state->dim, &elements);
	for (int32 i = 0; i < state->dim; i++)
		elements[i] = (float) (state->sum[i] / state->n_vectors);
	embed_isa_apply();
	emb_normalize(elements, state->dim);
	PG_RETURN_ARRAYTYPE_P(result);
}
