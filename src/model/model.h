/*
 * model.h
 *		An open model, as the files of model/ see it.
 */
#ifndef EMB_MODEL_MODEL_H
#define EMB_MODEL_MODEL_H

#include "transformer/dense.h"
#include "transformer/transformer.h"
#include "transformer/score.h"
#include "transformer/tokens.h"
#include "model/embed_core.h"
#include "image/image.h"
#include "tokenizer/tokenizer.h"

/* The template of a decoder that reranks; its texts are in meta. */
typedef struct EmbOpenTemplate
{
	EmbPairTemplate pair;
	size_t		bytes[EMB_TEMPLATE_TEXTS];
	int32_t    *ids;			/* of the prefix, then of the suffix; owned; NULL: no template */
	int32_t		n_prefix;
	int32_t		n_suffix;
} EmbOpenTemplate;

#define EMB_MODEL_LINEARS	(EMB_PART_FFN_DOWN - EMB_PART_QUERY + 1)

struct EmbModel
{
	EmbAllocator mem;			/* from emb_model_open */
	uint64_t	serial;			/* no other model of this process has it, open or closed */
	void	   *meta;			/* a copy of what view points to, except for base; owned */
	EmbImageView view;
	EmbModelInfo info;			/* its strings are in meta */
	EmbTokenizer *tok;
	EmbTransformer transformer; /* its weights are in the image, its architecture in meta */
	EmbDense	dense;			/* modules after the pooling, weights in the image; n_layers 0: none */
	char		pooling[96];	/* names of the poolings, joined by + */
	EmbScoreHead head;			/* for a reranker, weights in the image */
	EmbTokenHeads token_heads;	/* weights in the image, if the model has token heads */
	const float *skipped;		/* [n_skipped] ascending ids, in the image; NULL: none */
	const float *query_weights; /* [n_vocab], in the image; NULL: queries have no table */
	EmbLayer   *layers;			/* [n_layers], owned */
	EmbExpert  *experts;		/* [n_layers][n_experts], owned; NULL: none */
	int32_t    *buckets;		/* [2 n_positions - 1] of disentangled attention, owned; else NULL */
	EmbOpenTemplate template;
	EmbGroups  *groups;			/* [n_layers][EMB_MODEL_LINEARS] by part from EMB_PART_QUERY on, then [n_layers][n_experts][2], owned; NULL
								 * unless weights have groups */
	int32_t		dropped_id;		/* token id left out of texts; -1: none */
	size_t		query_prompt_bytes;
	size_t		document_prompt_bytes;
	int32_t		n_unpooled[EMB_N_PROMPTS];	/* rows of a text that begins with this prompt, which pooling leaves out */
};

/*
 * model.c: a model whose image is still being written: it has a tokenizer and
 * everything else before the weights; view->places tells where tensors are.
 * The view must outlive the model. After a change of places, before anything
 * is computed: emb_model_place_weights.
 */
extern EmbStatus emb_model_open_unwritten(const EmbImageView *view, const EmbAllocator *mem, EmbModel **model, EmbError *err);
extern void emb_model_place_weights(EmbModel *model);

/*
 * compute.c: pooled rows [n_rows, pooled width], as emb_transformer_run writes them,
 * to results [n_rows, dim]: heads, dense modules and the cut; the bits of
 * emb_model_embed or emb_model_rerank.
 */
extern EmbStatus emb_model_finish(const EmbModel *model, const float *rows, int32_t n_rows, const EmbRun *run,
								  float *out, EmbError *err);

/* The tokens of a sequence that attention sees. */
static inline int32_t
emb_model_n_seen(const EmbModel *model, const EmbSequence *seq)
{
	return model->view.arch->sees_expansion ? seq->n_ids : seq->n_ids - seq->n_expanded;
}

/* read_text.c: the prompt, never NULL, and its size. */
extern const char *emb_model_prompt(const EmbModel *model, EmbPrompt prompt, size_t *bytes);

/*
 * Texts, one after another, as one text: those of a template, of an
 * instruction, of readers.
 *
 * Example:
 *
 *		EmbJoined	joined = {.n = 2, .mem = mem, .pieces = {{.text = "query: ", .bytes = 7}, {.reader = text}}};
 *		EmbTextReader reader = {&joined, emb_read_joined};
 *		emb_tok_read(tok, &reader, to, &result, err);
 *		emb_release(mem, joined.buffer);
 */
#define EMB_JOINED_MAX		6

typedef struct EmbPiece
{
	const EmbTextReader *reader;	/* NULL: text */
	const char *text;
	size_t		bytes;
} EmbPiece;

typedef struct EmbJoined
{
	int			n;
	EmbPiece	pieces[EMB_JOINED_MAX];
	const EmbAllocator *mem;
	char	   *buffer;			/* the text of the last read, or NULL */
} EmbJoined;

extern EmbStatus emb_read_joined(void *ctx, size_t want, EmbText *text, EmbError *err);

/* pair_text.c: pairs by the model's template; all else as emb_model_read_first and emb_model_read_pair. */
extern EmbStatus emb_template_open(EmbModel *model, EmbError *err);
extern EmbStatus emb_template_read_first(const EmbModel *model, const EmbTextReader *query, const EmbReading *to,
										 EmbTextIds *known, EmbError *err);
extern EmbStatus emb_template_read_pair(const EmbModel *model, const EmbTextReader *a, const EmbTextReader *b,
										const EmbReading *to, EmbEncoded *result, EmbError *err);

#endif
