/*
 * plan.h
 *		How the work of a batch is divided among threads: which parts go to
 *		single workers, and into what pieces the rest is cut, which all workers
 *		share. Counts only; batch.c and pass.c do the work.
 *
 * Example:
 *
 *		EmbPlan	plan = {.arch = arch, .batch = &batch, .starts = starts, .n_workers = 16};
 *		emb_plan_make(&plan, 256);
 *		for (int32_t part = plan.n_single, end; part < plan.n_parts; part = end)
 *			end = emb_plan_group_end(&plan, part);
 *
 * Parts before n_single go to single workers; all workers share each group of
 * the parts after them. Nothing is allocated and nothing fails.
 */
#ifndef EMB_TRANSFORMER_PLAN_H
#define EMB_TRANSFORMER_PLAN_H

#include "threads/team.h"
#include "transformer/transformer.h"

typedef struct EmbPlan
{
	const EmbArch *arch;
	const EmbBatch *batch;
	int32_t    *starts;			/* room for n_seqs + 1: [n_parts + 1] first text of each part */
	int32_t		n_workers;		/* 1 .. EMB_TEAM_MAX */

	/* of emb_plan_make */
	int32_t		n_parts;
	int32_t		n_single;		/* parts that go to single workers */
} EmbPlan;

/*
 * Cuts the batch into parts of at most n_tokens tokens, or of one longer text,
 * and counts those for single workers: as many as keep all of them busy for
 * about equal time. O(n_seqs + n_parts n_workers).
 */
extern void emb_plan_make(EmbPlan *plan, int32_t n_tokens);

/* Multiply-adds of a layer for a text of n tokens behind n_prefix others. */
extern int64_t emb_plan_text_cost(const EmbArch *arch, int32_t n_prefix, int32_t n);

/* The end of the group of parts, from first on, that all workers compute together. */
extern int32_t emb_plan_group_end(const EmbPlan *plan, int32_t first);

/* The end of the segment of at most n_most rows that begins at row first of the rows up to end. */
extern int32_t emb_plan_segment_end(int32_t first, int32_t end, int32_t n_most);

/* The number of blocks of at most block_rows rows into which n_rows rows are cut evenly. */
extern int32_t emb_plan_blocks(int32_t n_rows, int32_t block_rows, int32_t n_workers);

/* The queries of a text that are in rows from .. end - 1 of the batch; first counts from the text's first row. */
typedef struct EmbTextQueries
{
	int32_t		first;
	int32_t		n;
} EmbTextQueries;

extern EmbTextQueries emb_plan_text_queries(const EmbBatch *batch, int32_t seq, int32_t from, int32_t end);

/*
 * The number of parts into which attention of rows from .. end - 1 cuts the
 * queries of a head, for texts first_seq .. end_seq - 1, each of which has at
 * least one of these rows, and n_heads (key) heads.
 */
extern int32_t emb_plan_query_parts(const EmbBatch *batch, int32_t first_seq, int32_t end_seq, int32_t from, int32_t end,
									int32_t n_heads, int32_t n_workers);

/* The first of n_queries queries of part 0 .. n_parts of them; short texts leave the last parts empty. */
extern int32_t emb_plan_query_part(int32_t n_queries, int32_t n_parts, int32_t part);

#endif
