/*
 * compare.c
 *		embed_compare: whether two models agree on texts, or an image with its
 *		unquantized reference vectors.
 *
 * Vectors of different sizes cannot be compared, but what is near in both can.
 * So embedding models are compared by the cosine of their vectors (of equal
 * size) and by their nearest neighbours, rerankers by their scores and by
 * their order of the pairs. Both models read the texts a block at a time: in
 * memory are one block of vectors of each, a number per text, and the vectors
 * of the first 2,000 texts.
 */
#include "pg/glue.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "pg/call/callsite.h"
#include "pg/call/text_batch.h"
#include "pg/sql/agreement.h"
#include "pg/sql/rows.h"
#include "pg/sql/verify.h"

EMBED_FUNCTION(embed_compare);
EMBED_FUNCTION(embed_compare_references);

/* Texts that both models read before the next ones are read. */
#define BLOCK_TEXTS	256

/* Texts, or pairs: then query and document in turn. Without NULLs. */
typedef struct Inputs
{
	Datum	   *values;
	int32		n;				/* texts or pairs */
	int32		room;
	bool		are_pairs;
} Inputs;

/* One of the two models. */
typedef struct Side
{
	const char *name;
	EmbedSite  *site;
	const EmbedModelRef *ref;	/* of the current block */
	uint8		fingerprint[EMB_HASH_SIZE];
	EmbedStat  *stat;
	uint64		begun;
	int32		dim;			/* 1: logits */
	float	   *block;			/* [BLOCK_TEXTS, dim] */
	int32		n_block;
	float	   *kept;			/* [min(n, EMBED_AGREEMENT_SQUARE_MAX), dim]; logits: of all pairs */
} Side;

/* -------------------------------------------------------------- inputs */

static void
add_input(Inputs *inputs, Datum first, Datum second)
{
	int			width = inputs->are_pairs ? 2 : 1;

	if (inputs->n == inputs->room)
	{
		inputs->room = inputs->room == 0 ? 64 : 2 * inputs->room;
		inputs->values = inputs->values == NULL
			? MemoryContextAllocHuge(CurrentMemoryContext, (Size) inputs->room * width * sizeof(Datum))
			: repalloc_huge(inputs->values, (Size) inputs->room * width * sizeof(Datum));
	}
	inputs->values[(Size) inputs->n * width] = first;
	if (inputs->are_pairs)
		inputs->values[(Size) inputs->n * width + 1] = second;
	inputs->n++;
}

/* The user's texts; NULLs, and pairs with a NULL, are skipped. */
static void
read_texts(ArrayType *array, Inputs *inputs)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			width = inputs->are_pairs ? 2 : 1;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	if (n % width != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg_plural("rerankers are compared on pairs, but the array has %d text",
							   "rerankers are compared on pairs, but the array has %d texts", n, n),
				 errhint("The texts are a query and a document in turn: ARRAY['query', 'document', 'query', 'document'].")));
	for (int i = 0; i < n; i += width)
	{
		CHECK_FOR_INTERRUPTS();
		if (!nulls[i] && !nulls[i + width - 1])
			add_input(inputs, values[i], values[i + width - 1]);
	}
}

static bool
is_ascii(const char *text, int32 size)
{
	for (int32 i = 0; i < size; i++)
	{
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	}
	return true;
}

/*
 * The reference texts of an image. A database in another encoding than UTF-8
 * may lack some of their characters: there only those in ASCII are used.
 */
static void
read_references(const char *name, Inputs *inputs)
{
	const EmbedModelRef *ref = embed_registry_lookup(name, 0, EMBED_NAME_ALIAS_TOO);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed scratch", ALLOCSET_DEFAULT_SIZES);
	int32		n = emb_model_n_references(ref->model);

	embed_isa_apply();
	for (int32 i = 0; i < n; i++)
	{
		EmbReferenceCheck check = embed_check_reference(ref, i, scratch);
		text	   *first;
		text	   *second;

		if (GetDatabaseEncoding() != PG_UTF8 && !is_ascii(check.text, check.text_bytes))
			continue;
		first = cstring_to_text_with_len(check.text, inputs->are_pairs ? check.query_bytes : check.text_bytes);
		second = cstring_to_text_with_len(check.text + check.query_bytes, check.text_bytes - check.query_bytes);
		embed_registry_check(ref, EMB_OK, NULL);
		add_input(inputs, PointerGetDatum(first), PointerGetDatum(second));
	}
	MemoryContextDelete(scratch);
}

/* --------------------------------------------------------------- sides */

static void
open_side(Side *side, const char *name)
{
	LOCAL_FCINFO(call, 0);

	/* without flinfo: two sites, for this call only */
	InitFunctionCallInfoData(*call, NULL, 0, InvalidOid, NULL, NULL);
	side->name = name;
	side->ref = embed_registry_lookup(name, 0, EMBED_NAME_ALIAS_TOO);
	if (side->ref->info->kind == EMB_KIND_EMBEDDING && !side->ref->info->has_dense)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" returns no vector of a text to compare", name)));
	side->site = side->ref->info->kind == EMB_KIND_RERANKER ? embed_rerank_site(call) : embed_site(call);
	memcpy(side->fingerprint, side->ref->fingerprint, EMB_HASH_SIZE);
	side->stat = side->ref->stat;
	side->begun = embed_stat_begin(side->stat);
	side->dim = side->ref->info->kind == EMB_KIND_RERANKER ? 1 : side->ref->info->dim;
	side->block = palloc_extended((Size) BLOCK_TEXTS * side->dim * sizeof(float), MCXT_ALLOC_HUGE);
}

static float *
side_reserve(void *ctx, pg_attribute_unused() int32 n)
{
	Side	   *side = ctx;

	return side->block + (Size) side->n_block * side->dim;
}

static void
side_done(void *ctx, pg_attribute_unused() const float *vectors, int32 n)
{
	((Side *) ctx)->n_block += n;
}

/* Fills side->block with the results for n inputs from first on. The batch lives in scratch. */
static void
compute_block(Side *side, const Inputs *inputs, int32 first, int32 n, MemoryContext scratch)
{
	EmbedBatchSink sink = {side, side_reserve, side_done};
	EmbedBatch	batch;

	/* the lookup of the other model may have ended the validity of this one */
	side->ref = embed_site_go_on(side->site, side->fingerprint);
	side->n_block = 0;
	embed_batch_init(&batch, scratch, &sink);
	for (int32 i = first; i < first + n; i++)
	{
		EmbEncoded	encoded;

		CHECK_FOR_INTERRUPTS();
		if (inputs->are_pairs)
		{
			Datum		query = inputs->values[2 * (Size) i];

			embed_site_read_query(side->site, side->ref, query);
			encoded = embed_site_read_pair(side->site, side->ref, query, inputs->values[2 * (Size) i + 1]);
		}
		else
			encoded = embed_site_read(side->site, side->ref, EMB_PROMPT_DOCUMENT, inputs->values[i]);
		embed_batch_add(&batch, side->ref, side->site->ids, inputs->are_pairs ? side->site->type_ids : NULL, encoded.n_ids);
	}
	embed_batch_run(&batch, side->ref);
	MemoryContextReset(scratch);
}

/* Keeps the results of a block as far as n_kept inputs are kept. */
static void
keep_block(Side *side, int32 first, int32 n_kept)
{
	int32		n = Min(side->n_block, n_kept - first);

	if (n > 0)
		memcpy(side->kept + (Size) first * side->dim, side->block, (Size) n * side->dim * sizeof(float));
}

static void
check_kinds(const Side *a, EmbKind kind_a, const Side *b, EmbKind kind_b)
{
	const Side *reranker = kind_a == EMB_KIND_RERANKER ? a : b;

	if (kind_a != kind_b)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot compare an embedding model with a reranker"),
				 errdetail("Model \"%s\" is a reranker, and model \"%s\" is an embedding model.", reranker->name,
						   reranker == a ? b->name : a->name)));
}

/* ---------------------------------------------------------------- rows */

static void
put_measure(EmbedRows *rows, const char *name, EmbedMeasure measure, const EmbedAgreement *agreement)
{
	Datum		values[7];
	bool		nulls[7] = {false};

	values[0] = CStringGetTextDatum(name);
	values[1] = Int32GetDatum(agreement->n);
	values[2] = Float8GetDatum(agreement->p50);
	values[3] = Float8GetDatum(agreement->p05);
	values[4] = Float8GetDatum(agreement->min);
	values[5] = CStringGetTextDatum(embed_verdict(measure, agreement));
	values[6] = CStringGetTextDatum(embed_verdict_rule(measure));
	tuplestore_putvalues(rows->store, rows->desc, values, nulls);
}

static void
put_number(EmbedRows *rows, const char *name, EmbedMeasure measure, double value, int32 n)
{
	EmbedAgreement agreement = {.n = n, .p50 = value, .p05 = value, .min = value};

	put_measure(rows, name, measure, &agreement);
}

/* Scores as their users see them, ranks of the logits, which do not tie. */
static void
put_reranker_rows(EmbedRows *rows, const Side *a, const Side *b, int32 n)
{
	float	   *closeness = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * sizeof(float));
	int32		n_square = Min(n, EMBED_AGREEMENT_SQUARE_MAX);
	EmbedAgreement agreement;

	for (int32 i = 0; i < n; i++)
	{
		float		difference = emb_score(a->kept[i]) - emb_score(b->kept[i]);

		closeness[i] = 1 - Max(difference, -difference);
	}
	agreement = embed_agreement_of(closeness, n);
	put_measure(rows, "score", EMBED_MEASURE_SCORE, &agreement);
	put_number(rows, "spearman", EMBED_MEASURE_SPEARMAN, embed_spearman(a->kept, b->kept, n), n);
	put_number(rows, "kendall", EMBED_MEASURE_KENDALL, embed_kendall(a->kept, b->kept, n_square), n_square);
}

static void
put_embedding_rows(EmbedRows *rows, const Side *a, const Side *b, float *cosines, int32 n, int32 n_kept)
{
	int32		k = embed_n_neighbours(n_kept);
	EmbedAgreement agreement;

	if (cosines != NULL)
	{
		agreement = embed_agreement_of(cosines, n);
		put_measure(rows, "cosine", EMBED_MEASURE_COSINE, &agreement);
	}
	if (k > 0)
	{
		float	   *shares = palloc(n_kept * sizeof(float));

		embed_overlap(a->kept, a->dim, b->kept, b->dim, n_kept, k, shares);
		agreement = embed_agreement_of(shares, n_kept);
		put_measure(rows, psprintf("overlap@%d", k), EMBED_MEASURE_OVERLAP, &agreement);
	}
}

/* Reads all inputs with both models, and reports what they agree in. */
static void
compare_sides(EmbedRows *rows, Side *a, Side *b, const Inputs *inputs)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed compare", ALLOCSET_DEFAULT_SIZES);
	bool		has_cosines = !inputs->are_pairs && a->dim == b->dim;
	float	   *cosines = NULL;
	int32		n_kept = inputs->are_pairs ? inputs->n : Min(inputs->n, EMBED_AGREEMENT_SQUARE_MAX);

	if (has_cosines)
		cosines = MemoryContextAllocHuge(CurrentMemoryContext, (Size) inputs->n * sizeof(float));
	a->kept = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n_kept * a->dim * sizeof(float));
	b->kept = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n_kept * b->dim * sizeof(float));
	for (int32 first = 0; first < inputs->n; first += BLOCK_TEXTS)
	{
		int32		n = Min(inputs->n - first, BLOCK_TEXTS);

		/* without cosines, texts that nobody is a neighbour of need no vector */
		if (!has_cosines && first >= n_kept)
			break;
		compute_block(a, inputs, first, n, scratch);
		compute_block(b, inputs, first, n, scratch);
		for (int32 i = 0; has_cosines && i < n; i++)
			cosines[first + i] = emb_cosine(a->block + (Size) i * a->dim, b->block + (Size) i * b->dim, a->dim);
		keep_block(a, first, n_kept);
		keep_block(b, first, n_kept);
	}
	embed_stat_call(a->stat, a->begun);
	embed_stat_call(b->stat, b->begun);
	if (inputs->are_pairs)
		put_reranker_rows(rows, a, b, inputs->n);
	else
		put_embedding_rows(rows, a, b, cosines, inputs->n, n_kept);
	MemoryContextDelete(scratch);
}

static void
check_number(const Side *a, const Side *b, const Inputs *inputs)
{
	if (inputs->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are no texts to compare the models on"),
				 errhint("Give an array of at least one text that is not NULL.")));
	if (a->dim != b->dim && embed_n_neighbours(inputs->n) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("models of %d and %d dimensions are compared on at least 3 texts, not on %d", a->dim, b->dim, inputs->n),
				 errdetail("Their vectors have no cosine. What is compared is which texts are nearest to each text.")));
}

/* embed_compare(a text, b text [, texts text[]]) */
Datum
embed_compare(PG_FUNCTION_ARGS)
{
	EmbedRows	rows = embed_rows_begin(fcinfo);
	Side		a = {0};
	Side		b = {0};
	Inputs		inputs = {0};
	EmbKind		kind;

	open_side(&a, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	kind = a.ref->info->kind;
	open_side(&b, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	check_kinds(&a, kind, &b, b.ref->info->kind);
	inputs.are_pairs = kind == EMB_KIND_RERANKER;
	if (PG_NARGS() > 2)
		read_texts(PG_GETARG_ARRAYTYPE_P(2), &inputs);
	else
		read_references(a.name, &inputs);
	check_number(&a, &b, &inputs);
	compare_sides(&rows, &a, &b, &inputs);
	return (Datum) 0;
}

/* embed_compare(a text): with the vectors or scores of the unquantized model, which the image holds */
Datum
embed_compare_references(PG_FUNCTION_ARGS)
{
	EmbedRows	rows = embed_rows_begin(fcinfo);
	const EmbedModelRef *ref = embed_registry_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), 0, EMBED_NAME_ALIAS_TOO);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed scratch", ALLOCSET_DEFAULT_SIZES);
	int32		n = emb_model_n_references(ref->model);
	bool		is_reranker = ref->info->kind == EMB_KIND_RERANKER;
	EmbedMeasure measure = is_reranker ? EMBED_MEASURE_SCORE : EMBED_MEASURE_COSINE;
	float	   *now = palloc((n + 1) * sizeof(float));
	float	   *at_import = palloc((n + 1) * sizeof(float));
	EmbedAgreement agreement;

	embed_isa_apply();
	for (int32 i = 0; i < n; i++)
	{
		EmbReferenceCheck check = embed_check_reference(ref, i, scratch);

		now[i] = check.closeness;
		at_import[i] = check.closeness_expected;
		/* without a vector the cosine of its outputs, as measured at import */
		if (!is_reranker && !ref->info->has_dense)
			now[i] = at_import[i] = ref->info->has_sparse ? check.sparse_closeness : check.multi_closeness;
	}
	MemoryContextDelete(scratch);
	if (n == 0)
		return (Datum) 0;
	agreement = embed_agreement_of(now, n);
	put_measure(&rows, is_reranker ? "score" : "cosine", measure, &agreement);
	agreement = embed_agreement_of(at_import, n);
	put_measure(&rows, is_reranker ? "score at import" : "cosine at import", measure, &agreement);
	return (Datum) 0;
}
