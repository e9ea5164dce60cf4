/*
 * embed_core.h
 *		The public interface of the embedding core: a plain C library that
 *		knows nothing of PostgreSQL.
 *
 * An import turns a model directory of the Hugging Face hub, or a GGUF file,
 * into an image: one block of bytes with configuration, tokenizer tables and
 * packed weights. The image is equal byte for byte on every CPU. Opening an
 * image parses nothing: the image is used in place, for example from a
 * read-only mapping.
 *
 * Example:
 *
 *		emb_import_dir("/models/bge-small", &options, &mem, &stop, &sink, err);
 *		// map what the sink received, then:
 *		EmbModel *model;
 *		emb_model_open(image, size, 0, &mem, &stop, &model, err);
 *		EmbText text = {s, len, true, NULL};
 *		EmbReading to = {.ids = ids, .max_ids = 512, .mem = &mem, .stop = &stop};
 *		emb_model_encode(model, EMB_PROMPT_DOCUMENT, &text, &to, &r, err);
 *		EmbSequence seq = {.ids = ids, .n_ids = r.n_ids};
 *		emb_model_embed(model, &seq, 1, &run, out, err);		// out[info->dim]
 *		emb_model_close(model);
 *
 * A reranker reads pairs of a query and a document.
 *
 * Example:
 *
 *		EmbReading to = {.ids = ids, .type_ids = type_ids, .max_ids = 512, .stop = &stop};
 *		emb_model_encode_pair(reranker, &query, &document, &to, &r, err);
 *		EmbSequence seq = {.ids = ids, .n_ids = r.n_ids, .type_ids = type_ids};
 *		emb_model_rerank(reranker, &seq, 1, &run, &logit, err);
 *		float score = emb_score(logit);		// 0 to 1
 *
 * Ownership: the caller owns the image and keeps it mapped until
 * emb_model_close. All memory of a call comes from the EmbAllocator that the
 * caller passed. Errors: every function that can fail returns EmbStatus and
 * fills EmbError. Threads: an open model is read-only. Calls on one model from
 * different threads are independent if their allocators are.
 */
#ifndef EMBED_CORE_H
#define EMBED_CORE_H

#include "common/error.h"
#include "common/hash.h"
#include "common/mem.h"
#include "common/text.h"

/* EMBED_CORE_VERSION, a string, comes from the makefiles, which read embed.control. */

/* Longest name of a model or alias, in bytes; allowed are letters, digits and ._-/ */
#define EMB_NAME_MAX 128

extern bool emb_name_is_valid(const char *name, size_t len);

/* ---------------------------------------------------------------- import */

#define EMB_GROUP_ROW	(-1)

typedef struct EmbImportOptions
{
	const char *precision;		/* "int8", "fp32", "int4"; NULL: int8 */
	int32_t		group;			/* for int4: inputs that share a scale: 32, 64, 128, or EMB_GROUP_ROW for all; 0: 128, or the
								 * checkpoint's; for int8: EMB_GROUP_ROW: not the codes of the checkpoint */
	const char *keep_int8;		/* for int4: "attention", "ends", "all_but_down", "measured", "none"; NULL: all_but_down in encoders that rerank,
								 * attention in other encoders, none in decoders */
	int32_t		keep_percent;	/* for "measured": of the layers' weights, 1 .. 99; 0: 34 in encoders, 67 in those that rerank, 10 in decoders */
	const char *query_prompt;	/* NULL: the model's own, or a known family's (import/hf_prompts.h); "": none */
	const char *document_prompt;
	const char *name;			/* name of the model to be, or NULL; the last place to look for a known family */
	const char *kind;			/* "embedding", "reranker"; NULL: as the model's files or its name say */
	const char *instruction;	/* the default one of a model that takes an instruction; NULL: the model's own */
	const char *template;		/* of a decoder that reranks: JSON, see import/hf_template.h; NULL: the known one */
	const char *label;			/* of a classifier with several labels: the one whose probability is the score; NULL: one with a
								 * known name (import/hf_labels.c) */
	const char *pooling;		/* "cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", several joined by +;
								 * NULL: as the files say */
	bool		sets_normalize;	/* normalize is the caller's, not the files' */
	bool		normalize;
	int32_t		max_tokens;		/* 0: the model's own */
	bool		sets_layer_norm;	/* layer_norm is the caller's, not by the model's name */
	bool		layer_norm;		/* a layer norm without weights before vectors are cut, at import or by emb_model_cut */
	int32_t		dimensions;		/* 0: all; else emb_model_cut cuts every vector to this size, at most the model's own */

	/*
	 * Texts on which the quantizer measures activations, UTF-8; NULL: the
	 * built-in texts. Other texts result in another image. The quantizer uses
	 * the first 512 tokens of each of the first 256 texts, up to 32,768 tokens
	 * in all. A reranker takes the texts in pairs, query and document. Not for
	 * fp32.
	 */
	const char *const *calibration_texts;
	int32_t		n_calibration_texts;
	int32_t		n_threads;		/* for calibration and quantization, the caller's included; 0, 1: only the caller's. Same image for any number */
} EmbImportOptions;

/*
 * Receives the image from front to back while the import works: after an error
 * the bytes written are a part of an image, which nobody should open. A status
 * other than EMB_OK ends the import with this status.
 */
typedef struct EmbSink
{
	void	   *ctx;
	EmbStatus	(*write) (void *ctx, const void *data, size_t size, EmbError *err);

	/* May be NULL. stage is a constant: "read", "measure", "layers", "verify", "write". */
	void		(*progress) (void *ctx, const char *stage, int64_t done, int64_t total);

	/* Reports to the user what the import chose by itself; UTF-8. May be NULL. */
	void		(*note) (void *ctx, const char *message, const char *hint);

	/*
	 * The exact size of the image, reported once before any weight is read.
	 * May be NULL. A status other than EMB_OK ends the import with this
	 * status: no room.
	 */
	EmbStatus	(*begin) (void *ctx, int64_t size_bytes, EmbError *err);
} EmbSink;

/*
 * Reads the model directory or GGUF file at path and writes its image to sink.
 * The sink gets the size before the work starts. Memory: one layer in fp32, for
 * int8 also in int8 with a few hundred rows of its activations; the tables and
 * heads of the model without the word embeddings; the tokenizer; and a hidden
 * state for each token of the calibration and reference texts.
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
	bool		centers_cut;	/* a vector gets a layer norm before it is cut */
	const char *pooling;		/* "cls", "mean"; several are joined by + */
	bool		normalize;
	int32_t		dim;			/* elements of a result vector; 1 for a reranker */
	int32_t		hidden;
	int32_t		n_layers;
	int32_t		n_heads;
	int32_t		intermediate;
	int32_t		n_vocab;
	int32_t		max_tokens;		/* special tokens included */
	int32_t		max_chars;		/* characters read per text, including the prompt; 0: limited only by max_tokens */
	bool		has_dense;		/* returns a vector of a text; else dim is 0 */
	bool		has_sparse;		/* has sparse token weights */
	bool		has_query_weights;	/* sparse weights of queries come from a table: emb_model_query_weights */
	int32_t		multi_dim;		/* elements of a token vector; 0: no token vectors */
	int32_t		max_query_tokens;	/* of emb_model_read with EMB_PROMPT_QUERY, and of emb_model_expand: max_tokens, or a length of its own */
	int32_t		query_floor;	/* emb_model_expand fills queries up to this number of tokens; 0: it does not */
	const char *tokenizer;		/* "WordPiece", "Unigram", "BPE" */
	const char *query_prompt;	/* never NULL; UTF-8, zero-terminated */
	const char *document_prompt;
	const char *instruction;	/* the default one, [instruction_bytes], UTF-8; NULL: the model takes none */
	size_t		instruction_bytes;
	bool		has_template;	/* pairs are read by a template: a decoder that reranks */
	int64_t		size_bytes;
	uint32_t	layout_version;
	uint32_t	numerics_version;
} EmbModelInfo;

/* The versions of images that this library makes and opens, and no others. */
extern void emb_model_versions(int32_t *layout, int32_t *numerics);

/* The versions of any image, by its first EMB_IMAGE_HEAD_BYTES; false: these are not the first bytes of one. */
#define EMB_IMAGE_HEAD_BYTES	16
extern bool emb_model_versions_of(const void *head, int32_t *layout, int32_t *numerics);

/*
 * Opens the image of size bytes at image (64-byte aligned). Without flags it
 * checks header, sizes and bounds in O(1). EMB_OPEN_CHECK_ALL also verifies
 * every table and that every weight is finite, in O(size). Open an image of
 * unknown origin once with EMB_OPEN_CHECK_ALL before opening it without.
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

#define EMB_N_PROMPTS	3

typedef struct EmbEncoded
{
	int32_t		n_ids;
	bool		truncated;		/* the text has more tokens than fit */
	bool		need_more;		/* complete was false and more text could change the ids */
	int32_t		n_shared;		/* of a pair: the ids that all documents of this query start with, if known; else 0 */
} EmbEncoded;

/*
 * Tokenizes prompt + text, including special tokens, into at most to->max_ids
 * ids (max_ids is itself limited to the model's max_tokens, of a query to
 * max_query_tokens). If the text is not
 * complete, need_more reports that the ids are not certain yet. EMB_ERR_TEXT:
 * not UTF-8. EMB_ERR_INVALID_ARGUMENT: an instruction for a model that takes
 * none, or not for a query.
 */
extern EmbStatus emb_model_encode(const EmbModel *model, EmbPrompt prompt, const EmbText *text,
								  const EmbReading *to, EmbEncoded *result, EmbError *err);

/* The same for a text from a reader: pulls only as much text as the ids need. */
extern EmbStatus emb_model_read(const EmbModel *model, EmbPrompt prompt, const EmbTextReader *text,
								const EmbReading *to, EmbEncoded *result, EmbError *err);

/*
 * Reads a query once that is scored with many documents. *known refers to
 * to->ids: put it into EmbText.known for the pairs, with the same max_ids.
 * EMB_ERR_INVALID_ARGUMENT: the query is not complete.
 */
extern EmbStatus emb_model_read_first(const EmbModel *model, const EmbTextReader *query, const EmbReading *to,
									  EmbTextIds *known, EmbError *err);

/*
 * Tokenizes two texts with the model's pair template; the longer text is
 * truncated first. need_more: characters after a prefix could change the ids.
 * a->known changes no id; with a->known, a's text is needed only if known is
 * longer. EMB_ERR_UNSUPPORTED: the model's tokenizer takes no pairs.
 */
extern EmbStatus emb_model_encode_pair(const EmbModel *model, const EmbText *a, const EmbText *b,
									   const EmbReading *to, EmbEncoded *result, EmbError *err);

/* The same for texts from readers; a is always read before b. */
extern EmbStatus emb_model_read_pair(const EmbModel *model, const EmbTextReader *a, const EmbTextReader *b,
									 const EmbReading *to, EmbEncoded *result, EmbError *err);

/*
 * Number of tokens of prompt + text before truncation. A static model
 * (static.h) counts the unknown tokens that it drops, too. Reads the whole
 * text.
 */
extern EmbStatus emb_model_count_tokens(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len,
										const EmbAllocator *mem, const EmbStop *stop,
										int64_t *n_tokens, EmbError *err);

/* Whether the model reads all of a text with n_tokens tokens. */
extern bool emb_model_reads_all(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len, int64_t n_tokens);

/* ---------------------------------------------------------------- chunks */

typedef struct EmbChunking
{
	EmbPrompt	prompt;			/* the prompt used to embed the chunks */
	int32_t		max_tokens;		/* per chunk, including prompt and special tokens; at most the model's max_tokens */
	int32_t		overlap;		/* maximum number of tokens repeated from the previous chunk */
} EmbChunking;

/* A part of a text, from start up to but not including end. */
typedef struct EmbChunk
{
	size_t		start;			/* bytes */
	size_t		end;
	int64_t		start_char;		/* code points */
	int64_t		end_char;
	int32_t		n_tokens;		/* as emb_model_count_tokens counts the chunk alone; 0: no chunk */
} EmbChunk;

/*
 * Replaces *chunk by the next chunk of the text; the first chunk if *chunk is
 * all zero. After the last chunk, n_tokens is 0.
 *
 * Example:
 *
 *		EmbChunk chunk = {0};
 *		do
 *			status = emb_model_next_chunk(model, &how, text, len, &mem, &stop, &chunk, err);
 *		while (status == EMB_OK && chunk.n_tokens > 0);
 *
 * No chunk has more than max_tokens tokens. A chunk neither starts nor ends
 * with a space. Cuts are between words if a word fits at all, else between
 * characters. Text between two chunks has no tokens. Start and end grow from
 * chunk to chunk. Time: a few tokenizations of the chunk.
 * EMB_ERR_INVALID_ARGUMENT: max_tokens or overlap leave no room, not even for
 * a single character.
 */
extern EmbStatus emb_model_next_chunk(const EmbModel *model, const EmbChunking *how, const char *text, size_t len,
									  const EmbAllocator *mem, const EmbStop *stop, EmbChunk *chunk, EmbError *err);

/* ------------------------------------------------------------- embedding */

typedef struct EmbSequence
{
	const int32_t *ids;
	int32_t		n_ids;			/* 1 .. max_tokens; for a static model also 0: its vector is zeros */
	const int32_t *type_ids;	/* same length, or NULL: all 0 */
	int32_t		n_shared;		/* leading ids that other sequences are likely to share: template, instruction, query; 0: none.
								 * It changes no bit */
	int32_t		n_expanded;		/* the last ids, which emb_model_expand added; 0: none */
	bool		is_query;		/* read with EMB_PROMPT_QUERY: tells which tokens have vectors */
} EmbSequence;

/*
 * Keeps keys and values of one prefix between calls, so that sequences that
 * begin alike are computed from where they differ. Only for models with causal
 * attention and last-token pooling; others ignore it. It changes no bit. Up to
 * 16 MB from mem. One call at a time uses a memo. It may outlive its model.
 */
typedef struct EmbPrefixMemo EmbPrefixMemo;

extern EmbPrefixMemo *emb_prefix_memo_create(const EmbAllocator *mem);	/* NULL: out of memory */
extern void emb_prefix_memo_free(EmbPrefixMemo *memo);
extern size_t emb_prefix_memo_bytes(const EmbPrefixMemo *memo);

typedef struct EmbRun
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	int32_t		batch_tokens;	/* tokens computed at once; 0: EMB_BATCH_TOKENS_DEFAULT */
	int32_t		n_threads;		/* including the caller's; 0 and 1: only the caller's */
	EmbPrefixMemo *memo;		/* or NULL: sequences share a prefix within the call only */
	int64_t    *n_reused;		/* or NULL; tokens that were not computed again are added */
	EmbPrompt	prompt;			/* with which all sequences were read: a model may leave its rows out of the pooling */
} EmbRun;

#define EMB_BATCH_TOKENS_DEFAULT 2048

/*
 * The rule that cuts sequences into batches: whether a batch of n_seqs
 * sequences with n_tokens tokens has room for a sequence of n_ids. An empty
 * batch has room for any sequence. A caller that collects sequences by this
 * rule passes whole batches.
 */
extern bool emb_batch_has_room(int32_t batch_tokens, int32_t n_seqs, int64_t n_tokens, int32_t n_ids);

/*
 * out: [n_seqs, dim], row-major. Sequences are packed into batches of at most
 * batch_tokens; a longer sequence is a batch by itself. Equal sequences are
 * computed once, and so is a prefix that all sequences share (n_shared). The
 * bits of a row depend only on its ids. Peak scratch is the scratch of one
 * batch. EMB_ERR_LIMIT: the weights are so large that a vector is not finite (a
 * result never holds a NaN).
 */
extern EmbStatus emb_model_embed(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
								 const EmbRun *run, float *out, EmbError *err);

/*
 * Weights of token ids, ids ascending, no weight 0. ids is one block with
 * weights, from the allocator of the call that filled it.
 */
typedef struct EmbSparse
{
	int32_t		n;
	int32_t    *ids;			/* [n] */
	float	   *weights;		/* [n] */
} EmbSparse;

extern void emb_sparse_free(EmbSparse *sparse, const EmbAllocator *mem);

/*
 * The outputs of a sequence besides its vector. Arrays of tokens hold the
 * sequences end to end. Set pointers of unwanted outputs to NULL.
 *
 * sparse	weights of token ids, all above 0. As BGE-M3 learns them: for each id the largest weight
 *			over its positions, no special tokens. Or as SPLADE learns them: of all ids, see
 *			transformer/vocabulary.h
 * multi	a normalized vector per token: as BGE-M3 has them, except the first; as ColBERT has them, except
 *			those of skipped ids
 */
typedef struct EmbOutputs
{
	float	   *dense;			/* [n_seqs, dim], bit for bit emb_model_embed's */
	EmbSparse  *sparse;			/* [n_seqs], zeros before the call; to be freed after it, whatever the status */
	float	   *multi;			/* [sum of emb_model_n_vectors, multi_dim] */
} EmbOutputs;

/* Number of token vectors of a sequence, which may be 0; 0 if the model returns none. */
extern int32_t emb_model_n_vectors(const EmbModel *model, const EmbSequence *seq);

/*
 * ColBERT's query expansion: fills ids, which has room for max_query_tokens,
 * up to query_floor with the model's expansion token. Returns the number of
 * ids added: n_expanded of the sequence.
 */
extern int32_t emb_model_expand(const EmbModel *model, int32_t *ids, int32_t n_ids);

/*
 * Computes the requested outputs in one pass. All else as for emb_model_embed;
 * the bits of a result depend only on the ids of its sequence.
 * EMB_ERR_INVALID_ARGUMENT: the model has no such output (has_sparse,
 * multi_dim).
 */
extern EmbStatus emb_model_embed_all(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
									 const EmbRun *run, const EmbOutputs *outputs, EmbError *err);

/*
 * Weights of the distinct tokens of a query, from the model's table
 * (has_query_weights): no layer is computed. seq: ids of emb_model_encode for a
 * query; its template's special tokens do not count. Free *sparse with
 * emb_sparse_free, whatever the status. EMB_ERR_INVALID_ARGUMENT: the model has
 * no table.
 */
extern EmbStatus emb_model_query_weights(const EmbModel *model, const EmbSequence *seq, const EmbAllocator *mem,
										 EmbSparse *sparse, EmbError *err);

/*
 * Cuts a vector of emb_model_embed to its first n elements and normalizes it
 * (Matryoshka models are trained for this). With n = dim a normalized vector
 * stays as it is. out: [n], may be the vector itself.
 * EMB_ERR_INVALID_ARGUMENT: n is not in 1..dim. EMB_ERR_LIMIT: the norm is not
 * finite.
 */
extern EmbStatus emb_model_cut(const EmbModel *model, const float *vector, int32_t n, float *out, EmbError *err);

/*
 * logits: [n_seqs], for pairs from emb_model_encode_pair; all else as for
 * emb_model_embed. The bits of a logit depend only on its ids and type ids.
 * emb_model_embed and emb_model_rerank refuse a model of the other kind:
 * EMB_ERR_INVALID_ARGUMENT.
 */
extern EmbStatus emb_model_rerank(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
								  const EmbRun *run, float *logits, EmbError *err);

/*
 * The score of a logit: 1 / (1 + e^-logit), with the same bits on every
 * machine; never 0. Logits above 17 all have score 1.
 */
extern float emb_score(float logit);

/* --------------------------------------------------------------- threads */

/*
 * Number of CPUs this process may use: its affinity mask, limited by the CPU
 * quota of its cgroup (rounded up), at least 1. Read again at most once a
 * second, so calls are cheap.
 */
extern int32_t emb_threads_available(void);

/*
 * emb_model_embed starts worker threads when it needs them, with all signals
 * blocked; between calls they wait without spinning. This function ends and
 * joins them. Call it at exit, and in a forked child before the child starts
 * its own threads. Fewer threads than requested, or none, is not an error.
 */
extern void emb_threads_stop(void);

/* ---------------------------------------------------------- verification */

/*
 * A text stored in the image at import, with its unquantized vector and a hash
 * of its bits. For a reranker: a pair and its logit; the text is the query
 * followed by the document.
 */
typedef struct EmbReferenceCheck
{
	const char *text;			/* UTF-8, not zero-terminated; in the image */
	int32_t		text_bytes;
	int32_t		query_bytes;	/* the query's share of these bytes; 0 for an embedding model */
	int32_t		n_tokens;
	bool		ids_equal;		/* the tokenizer returns the ids of the import */
	bool		bits_equal;		/* the vector or logit has the bits of the import */
	float		closeness;		/* cosine to the unquantized vector, or 1 - difference of the scores */
	float		closeness_expected; /* as measured at import */
	bool		sparse_equal;	/* the weights of tokens have the bits of the import, or the model has none */
	bool		multi_equal;	/* the same of token vectors */
	float		sparse_closeness;	/* cosine to the unquantized weights, as measured at import; 0: none */
	float		multi_closeness;	/* mean cosine to the unquantized token vectors, likewise */
} EmbReferenceCheck;

extern int32_t emb_model_n_references(const EmbModel *model);
extern EmbStatus emb_model_check_reference(const EmbModel *model, int32_t i, const EmbRun *run,
										   EmbReferenceCheck *check, EmbError *err);

/* ---------------------------------------------------------------- vectors */

/* Cosine similarity of a and b, both [n], n >= 1; 0 if either norm is 0. Clamped to -1..1. */
extern float emb_cosine(const float *a, const float *b, int32_t n);

/*
 * Late interaction of two texts' token vectors, query [n_query, n] and
 * document [n_document, n]: for each query row the largest dot product with a
 * document row; the result is the mean of these. n_query, n_document and n are
 * at least 1. Time n_query * n_document * n; scratch 64 rows.
 * EMB_ERR_INVALID_ARGUMENT: an element is not finite. EMB_ERR_LIMIT: n is
 * above 16,384, or a product overflows single precision.
 */
extern EmbStatus emb_maxsim(const float *query, int32_t n_query, const float *document, int32_t n_document, int32_t n,
							const EmbAllocator *mem, const EmbStop *stop, float *score, EmbError *err);

/* x /= max(|x|, 1e-12) in place, with the numerics of the encoder. */
extern void emb_normalize(float *x, int32_t n);

/* ---------------------------------------------------- instruction sets */

/*
 * "auto", "scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon". A level
 * that the CPU or this build lacks is EMB_ERR_UNSUPPORTED and changes nothing.
 * Not thread-safe: do not call it while another call runs.
 */
extern EmbStatus emb_isa_select(const char *name, EmbError *err);

/*
 * Whether name is one of the ISA levels above, and whether it can be selected
 * here. emb_isa_is_available tests the level; for "amx" it requests the
 * permission of the operating system for this process and its children.
 */
extern bool emb_isa_is_known(const char *name);
extern bool emb_isa_is_available(const char *name);

/* Name of the ISA level in use; the first call runs the self-test of the kernels. */
extern const char *emb_isa_name(void);

/*
 * The best level of this CPU whose self-test failed, so that a lower one is in
 * use; NULL: none of those tested so far. The operation in which a level
 * failed; NULL: it did not, or was not tested.
 */
extern const char *emb_isa_failed(void);
extern const char *emb_isa_failed_op(const char *name);

#endif
