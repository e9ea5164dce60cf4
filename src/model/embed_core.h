/*
 * embed_core.h
 *		The public interface of the embedding core: a plain C library that
 *		knows nothing of PostgreSQL.
 *
 * A model directory as the Hugging Face hub gives it is turned once into an
 * image: one block of bytes with configuration, tokenizer tables and packed
 * weights, equal byte for byte on every CPU. An image is opened in place (from
 * a read-only mapping, say) without parsing and used from then on.
 *
 * Example:
 *
 *		emb_import_dir("/models/bge-small", &options, &mem, &stop, &sink, err);
 *		// map what the sink received, then:
 *		EmbModel *model;
 *		emb_model_open(image, size, 0, &mem, &stop, &model, err);
 *		emb_model_encode(model, EMB_PROMPT_DOCUMENT, text, len, true, ids, 512, &mem, &stop, &r, err);
 *		EmbSequence seq = {ids, r.n_ids, NULL};
 *		emb_model_embed(model, &seq, 1, &run, out, err);		// out[info->dim]
 *		emb_model_close(model);
 *
 * A reranker reads pairs instead, a query and a document.
 *
 * Example:
 *
 *		emb_model_encode_pair(reranker, &query, &document, ids, type_ids, 512, &stop, &r, err);
 *		EmbSequence seq = {ids, r.n_ids, type_ids};
 *		emb_model_rerank(reranker, &seq, 1, &run, &logit, err);
 *		float score = emb_score(logit);		// 0 to 1
 *
 * Ownership: the caller owns the image and keeps it mapped until
 * emb_model_close. Everything a call allocates comes from the EmbAllocator it
 * was given. Errors: every function that can fail returns EmbStatus and fills
 * EmbError. Threads: an open model is read-only; calls on it from different
 * threads do not disturb each other as long as their allocators do not.
 */
#ifndef EMBED_CORE_H
#define EMBED_CORE_H

#include "common/error.h"
#include "common/hash.h"
#include "common/mem.h"

#define EMBED_CORE_VERSION "0.1.0"

/* Longest name of a model or alias, bytes; letters, digits, and ._-/ */
#define EMB_NAME_MAX 128

extern bool emb_name_is_valid(const char *name, size_t len);

/* ---------------------------------------------------------------- import */

typedef struct EmbImportOptions
{
	const char *precision;		/* "int8", "fp32"; NULL: int8 */
	const char *query_prompt;	/* NULL: the model's own, or a known family's (import/hf_prompts.h); "": none */
	const char *document_prompt;
	const char *name;			/* what the model will be called, or NULL: the last thing to know a family by */
	int32_t		max_tokens;		/* 0: the model's own */
	int32_t		dimensions;		/* 0: all; else what emb_model_cut leaves of every vector, 1 to the model's own */

	/*
	 * Texts the quantizer measures activations on, UTF-8; NULL: those that come
	 * with the code. Other texts make another image. Of the first 256 the first
	 * 512 tokens each are used, up to 32,768 in all. A reranker takes them two
	 * by two, query and document. Not for fp32.
	 */
	const char *const *calibration_texts;
	int32_t		n_calibration_texts;
	int32_t		n_threads;		/* to calibrate and quantize with, this one included; 0 and 1: no other. The image is the same */
} EmbImportOptions;

/* Receives the image front to back. A status other than EMB_OK ends the import with it. */
typedef struct EmbSink
{
	void	   *ctx;
	EmbStatus	(*write) (void *ctx, const void *data, size_t size, EmbError *err);

	/* May be NULL. stage is a constant: "read", "calibrate", "quantize", "verify", "write". */
	void		(*progress) (void *ctx, const char *stage, int64_t done, int64_t total);

	/* What the user should know of what was chosen for him; UTF-8. May be NULL. */
	void		(*note) (void *ctx, const char *message, const char *hint);

	/*
	 * The exact size of the image, told once before any weight is read. May be
	 * NULL. A status other than EMB_OK ends the import with it: no room.
	 */
	EmbStatus	(*begin) (void *ctx, int64_t size_bytes, EmbError *err);
} EmbSink;

/*
 * Reads the model directory at path and writes its image to sink, which gets
 * no byte before the whole image is made, but its size before the work. Memory: the fp32 image, for int8 that
 * image too and a few hundred rows of activations a layer.
 */
extern EmbStatus emb_import_dir(const char *path, const EmbImportOptions *options,
								const EmbAllocator *mem, const EmbStop *stop,
								const EmbSink *sink, EmbError *err);

/* ----------------------------------------------------------------- model */

typedef struct EmbModel EmbModel;

typedef enum EmbKind
{
	EMB_KIND_EMBEDDING = 1,
	EMB_KIND_RERANKER = 2
} EmbKind;

typedef struct EmbModelInfo
{
	EmbKind		kind;
	const char *family;			/* "bert": the "model_type" of its config.json */
	const char *precision;		/* "int8", "fp32" */
	const char *pooling;		/* "cls", "mean" */
	bool		normalize;
	int32_t		dim;			/* elements of a result vector; 1 of a reranker */
	int32_t		hidden;
	int32_t		n_layers;
	int32_t		n_heads;
	int32_t		intermediate;
	int32_t		n_vocab;
	int32_t		max_tokens;		/* special tokens included */
	int32_t		max_chars;		/* that are read of a text, prompt included; 0: as many as those tokens have */
	bool		has_sparse;		/* it gives weights of tokens */
	int32_t		multi_dim;		/* elements of the vectors that it gives of tokens; 0: it gives none */
	const char *query_prompt;	/* never NULL; UTF-8, zero-terminated */
	const char *document_prompt;
	int64_t		size_bytes;
	uint32_t	layout_version;
	uint32_t	numerics_version;
} EmbModelInfo;

/*
 * Opens the image of size bytes at image (64-byte aligned). Without flags the
 * header, sizes and bounds are checked in O(1). EMB_OPEN_CHECK_ALL also
 * verifies every table and that every weight is finite, O(size): an image of
 * unknown origin must pass it once before it is opened without.
 * EMB_ERR_FORMAT; EMB_ERR_UNSUPPORTED (another layout or numerics version).
 */
#define EMB_OPEN_CHECK_ALL 1

extern EmbStatus emb_model_open(const void *image, size_t size, unsigned flags,
								const EmbAllocator *mem, const EmbStop *stop,
								EmbModel **model, EmbError *err);
extern void emb_model_close(EmbModel *model);
extern const EmbModelInfo *emb_model_info(const EmbModel *model);

/* ---------------------------------------------------------- tokenization */

typedef enum EmbPrompt
{
	EMB_PROMPT_NONE,
	EMB_PROMPT_DOCUMENT,
	EMB_PROMPT_QUERY
} EmbPrompt;

typedef struct EmbEncoded
{
	int32_t		n_ids;
	bool		truncated;		/* the text has more tokens than fit */
	bool		need_more;		/* complete was false and more text could change the ids */
} EmbEncoded;

/*
 * Prompt + text to ids, special tokens included, at most max_ids (itself
 * clamped to the model's max_tokens). complete = false: text is a prefix of a
 * longer one, cut between characters; need_more then says that the ids are not
 * certain yet. EMB_ERR_TEXT: not UTF-8.
 */
extern EmbStatus emb_model_encode(const EmbModel *model, EmbPrompt prompt,
								  const char *text, size_t len, bool complete,
								  int32_t *ids, int32_t max_ids, const EmbAllocator *mem,
								  const EmbStop *stop, EmbEncoded *result, EmbError *err);

/* A text, or where it is not complete a prefix of one, cut between characters. */
typedef struct EmbText
{
	const char *text;
	size_t		len;
	bool		complete;
} EmbText;

/*
 * Two texts as the model's pair template joins them, the longer one cut first;
 * type_ids has max_ids entries, as ids. need_more: what follows a prefix could
 * change the ids. EMB_ERR_UNSUPPORTED: the model's tokenizer takes no pairs.
 */
extern EmbStatus emb_model_encode_pair(const EmbModel *model, const EmbText *a, const EmbText *b,
									   int32_t *ids, int32_t *type_ids, int32_t max_ids,
									   const EmbStop *stop, EmbEncoded *result, EmbError *err);

/*
 * Tokens of prompt + text before truncation, of a static model (static.h)
 * with the unknown ones that it leaves out; reads all of it.
 */
extern EmbStatus emb_model_count_tokens(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len,
										const EmbAllocator *mem, const EmbStop *stop,
										int64_t *n_tokens, EmbError *err);

/* Whether a text with so many tokens is read whole. */
extern bool emb_model_reads_all(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len, int64_t n_tokens);

/* ---------------------------------------------------------------- chunks */

typedef struct EmbChunking
{
	EmbPrompt	prompt;			/* that the chunks will be embedded with */
	int32_t		max_tokens;		/* of a chunk, prompt and special tokens included; at most the model's */
	int32_t		overlap;		/* tokens that a chunk may repeat of the one before */
} EmbChunking;

/* A part of a text: from start up to, not including, end. */
typedef struct EmbChunk
{
	size_t		start;			/* bytes */
	size_t		end;
	int64_t		start_char;		/* code points */
	int64_t		end_char;
	int32_t		n_tokens;		/* as emb_model_count_tokens counts the chunk alone; 0: there is none */
} EmbChunk;

/*
 * The chunk of a text behind *chunk, in its place; the first, where *chunk is
 * all zero. Ends with n_tokens 0.
 *
 * Example:
 *
 *		EmbChunk chunk = {0};
 *		do
 *			status = emb_model_next_chunk(model, &how, text, len, &mem, &stop, &chunk, err);
 *		while (status == EMB_OK && chunk.n_tokens > 0);
 *
 * No chunk has more than max_tokens tokens. They start and end with other than
 * spaces, and at words where a word fits at all, else between characters. What
 * lies between two of them has no tokens. Start and end grow from chunk to
 * chunk. Time: that of some tokenizations of the chunk. EMB_ERR_INVALID_ARGUMENT:
 * max_tokens or overlap leave no room, also for a single character.
 */
extern EmbStatus emb_model_next_chunk(const EmbModel *model, const EmbChunking *how, const char *text, size_t len,
									  const EmbAllocator *mem, const EmbStop *stop, EmbChunk *chunk, EmbError *err);

/* ------------------------------------------------------------- embedding */

typedef struct EmbSequence
{
	const int32_t *ids;
	int32_t		n_ids;			/* 1 .. max_tokens; of a model without layers also 0: its vector is zeros */
	const int32_t *type_ids;	/* as many, or NULL: all 0 */
} EmbSequence;

typedef struct EmbRun
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	int32_t		batch_tokens;	/* tokens computed at once; 0: EMB_BATCH_TOKENS_DEFAULT */
	int32_t		n_threads;		/* this one included; 0 and 1: no other */
} EmbRun;

#define EMB_BATCH_TOKENS_DEFAULT 2048

/*
 * out: [n_seqs, dim], row-major. Sequences are packed into batches of at most
 * batch_tokens (one longer sequence makes a batch of its own); equal ones are
 * computed once. The bits of a row depend on its ids only. Peak scratch is
 * that of one batch. EMB_ERR_LIMIT: weights so large that a vector is not
 * finite (a result never holds a NaN).
 */
extern EmbStatus emb_model_embed(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
								 const EmbRun *run, float *out, EmbError *err);

/*
 * What a sequence can have beside its vector. Arrays of tokens hold the
 * sequences one behind the other. Pointers are NULL for what is not wanted.
 *
 * sparse	weights of token ids, as BGE-M3 learns them: of each id the largest
 *			over its places, ids ascending, no special tokens, all above 0
 * multi	a normalized vector of every token but the first
 */
typedef struct EmbOutputs
{
	float	   *dense;			/* [n_seqs, dim], bit for bit emb_model_embed's */
	int32_t    *n_sparse;		/* [n_seqs] ids of each */
	int32_t    *sparse_ids;		/* [tokens of all]: those of a sequence begin where its tokens would */
	float	   *sparse_weights; /* likewise; both with n_sparse */
	float	   *multi;			/* [tokens of all - n_seqs, multi_dim] */
} EmbOutputs;

/*
 * In one pass what outputs asks for. All else as emb_model_embed; the bits of
 * a result depend on its sequence's ids only. EMB_ERR_INVALID_ARGUMENT: the
 * model has no such output (has_sparse, multi_dim).
 */
extern EmbStatus emb_model_embed_all(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
									 const EmbRun *run, const EmbOutputs *outputs, EmbError *err);

/*
 * The first n elements of a vector that emb_model_embed gave, normalized: what
 * Matryoshka models are trained for. All of a normalized vector stay as they
 * are. out: [n], may be the vector itself. EMB_ERR_INVALID_ARGUMENT: n is not
 * 1..dim; EMB_ERR_LIMIT: their norm is not finite.
 */
extern EmbStatus emb_model_cut(const EmbModel *model, const float *vector, int32_t n, float *out, EmbError *err);

/*
 * logits: [n_seqs], of pairs from emb_model_encode_pair; all else as
 * emb_model_embed. The bits of a logit depend on its ids and type ids only.
 * Either function refuses a model of the other's kind: EMB_ERR_INVALID_ARGUMENT.
 */
extern EmbStatus emb_model_rerank(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
								  const EmbRun *run, float *logits, EmbError *err);

/* The score of a logit: 1 / (1 + e^-logit), with the same bits everywhere; never 0. Scores of logits above 17 are all 1. */
extern float emb_score(float logit);

/* Scratch bytes that emb_model_embed or emb_model_rerank needs for sequences of at most n_longest tokens on n_threads threads. */
extern size_t emb_model_scratch_bytes(const EmbModel *model, int32_t batch_tokens, int32_t n_longest, int32_t n_threads);

/* --------------------------------------------------------------- threads */

/*
 * CPUs this process may use: its affinity mask, cut by the cgroup's CPU quota
 * (rounded up), at least 1. Read again at most once a second, so it is cheap to ask.
 */
extern int32_t emb_threads_available(void);

/*
 * The threads that emb_model_embed starts at need (all signals blocked) wait
 * for the next call without spinning. This ends and joins them: at exit, and
 * in a child before it starts its own. Fewer threads than asked for, or none,
 * is no error.
 */
extern void emb_threads_stop(void);

/* ---------------------------------------------------------- verification */

/*
 * A text stored with the image at import: its unquantized vector and the bits
 * its vector had. Of a reranker a pair with its logit instead, the text being
 * the query and behind it the document.
 */
typedef struct EmbReferenceCheck
{
	const char *text;			/* UTF-8, not zero-terminated; in the image */
	int32_t		text_bytes;
	int32_t		query_bytes;	/* of these; 0 of an embedding model */
	int32_t		n_tokens;
	bool		ids_equal;		/* the tokenizer gives the ids of the import */
	bool		bits_equal;		/* the vector or logit has the bits of the import */
	float		closeness;		/* cosine to the unquantized vector; or 1 - the difference of the scores */
	float		closeness_expected; /* as measured at import */
} EmbReferenceCheck;

extern int32_t emb_model_n_references(const EmbModel *model);
extern EmbStatus emb_model_check_reference(const EmbModel *model, int32_t i, const EmbRun *run,
										   EmbReferenceCheck *check, EmbError *err);

/* ---------------------------------------------------------------- vectors */

/* Cosine similarity of a and b, both [n], n >= 1; 0 where either has norm 0. Clamped to -1..1. */
extern float emb_cosine(const float *a, const float *b, int32_t n);

/*
 * Late interaction of two texts' token vectors, query [n_query, n] and document
 * [n_document, n]: the mean over the query's rows of the largest dot product
 * with a row of the document. n_query, n_document and n are at least 1. Time
 * n_query * n_document * n; scratch 64 rows. EMB_ERR_INVALID_ARGUMENT: an element
 * is not finite. EMB_ERR_LIMIT: n is above 16,384; a product is beyond single
 * precision.
 */
extern EmbStatus emb_maxsim(const float *query, int32_t n_query, const float *document, int32_t n_document, int32_t n,
							const EmbAllocator *mem, const EmbStop *stop, float *score, EmbError *err);

/* x /= max(|x|, 1e-12) in place, in the numerics of the encoder. */
extern void emb_normalize(float *x, int32_t n);

/* ---------------------------------------------------- instruction sets */

/*
 * "auto", "scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon". A level
 * the CPU (or this build) lacks is EMB_ERR_UNSUPPORTED and changes nothing.
 * Not thread-safe: call it between calls.
 */
extern EmbStatus emb_isa_select(const char *name, EmbError *err);

/*
 * Whether name is one of the levels above at all, and whether it can be selected
 * here: the latter tests the level, and for "amx" asks the operating system to
 * permit it to this process and its children.
 */
extern bool emb_isa_is_known(const char *name);
extern bool emb_isa_is_available(const char *name);

/* Name of the level in use; runs the self-test of the kernels at first use. */
extern const char *emb_isa_name(void);

#endif
