/*
 * outputs.h
 *		Outputs of texts besides their vectors, computed together.
 *
 * Example:
 *
 *		wanted = embed_outputs_check(site, ref, EMBED_OUTPUT_SPARSE);
 *		embed_outputs_begin(&batch, cxt, wanted, EMB_PROMPT_DOCUMENT, take, ctx);
 *		while (next_text(&value))
 *			embed_outputs_add(&batch, site, ref, value);
 *		embed_outputs_run(&batch, ref);
 */
#ifndef EMBED_PG_SQL_OUTPUTS_H
#define EMBED_PG_SQL_OUTPUTS_H

#include "pg/glue.h"

#include "utils/array.h"

#include "pg/call/callsite.h"

typedef enum EmbedOutput
{
	EMBED_OUTPUT_DENSE = 1,
	EMBED_OUTPUT_SPARSE = 2,
	EMBED_OUTPUT_MULTI = 4
} EmbedOutput;

/* For one text; outputs not wanted are NULL. */
typedef struct EmbedResults
{
	ArrayType  *dense;
	text	   *sparse;
	ArrayType  *multi;
} EmbedResults;

/* Gets the results of a text, in the order of the texts; their memory is the taker's. */
typedef void (*EmbedTakeResults) (void *ctx, const EmbedResults *results);

typedef struct EmbedOutputBatch
{
	MemoryContext cxt;
	int			wanted;			/* EmbedOutput, bits */
	EmbPrompt	prompt;
	EmbedTakeResults take;
	void	   *ctx;
	int32	   *ids;			/* [n_ids], of the texts that wait, end to end; in cxt */
	int32		n_ids;
	int32		ids_room;
	int32	   *lengths;		/* [n_texts] */
	int32	   *expanded;		/* [n_texts] ids that expand a query, see EmbSequence */
	int32		n_texts;
	int32		texts_room;
	int32		expanded_room;
	bool		truncated;		/* the last text added was cut */
} EmbedOutputBatch;

/*
 * The outputs among wanted that the model returns. Raises if it returns none
 * of them, or only the vector: embed() returns that.
 */
extern int embed_outputs_check(const EmbedSite *site, const EmbedModelRef *ref, int wanted);

extern void embed_outputs_begin(EmbedOutputBatch *batch, MemoryContext cxt, int wanted, EmbPrompt prompt, EmbedTakeResults take, void *ctx);
extern void embed_outputs_add(EmbedOutputBatch *batch, EmbedSite *site, const EmbedModelRef *ref, Datum value);

/* Computes the waiting texts, if there are any; results are allocated in the current context. */
extern void embed_outputs_run(EmbedOutputBatch *batch, const EmbedModelRef *ref);

#endif
