/*
 * hf_config.h
 *		Reads the JSON files of a model directory, except the tokenizer's.
 *
 *		config.json							the transformer: sizes, activation
 *		modules.json						sentence-transformers' pipeline
 *		1_Pooling/config.json				(modules.json has the path)
 *		2_Dense/config.json					(likewise) a linear layer after the pooling; its output may be "scores"
 *		3_LayerNorm/config.json				(likewise) a layer norm after the pooling
 *		1_LogitScore/config.json			(likewise) answers of a decoder that reranks
 *		sentence_bert_config.json			max_seq_length, do_lower_case
 *		tokenizer_config.json				model_max_length
 *		config_sentence_transformers.json	kind, prompts, dimensions; for a CrossEncoder the activation
 *		quantize_config.json, quant_config.json		of quantized weights, see quantized.h
 *
 * All files except config.json (and the files that modules.json names) are
 * optional. Without modules.json the model is what SentenceTransformer(dir)
 * builds from a bare checkpoint: mean pooling, not normalized, and a note says
 * so. A class ForSequenceClassification is a reranker, like in
 * CrossEncoder(dir): no prompts, and no pooling but its own. So is a model
 * whose last module gives "scores". Of several labels one is the score. What we do not
 * implement is EMB_ERR_UNSUPPORTED with file, key and value; what is assumed
 * becomes a note.
 *
 * hf_kind.c decides what a directory is. A decoder's ForCausalLM says nothing of the kind of model. It is found by,
 * in this order: modules.json (a Pooling, or a LogitScore); the option "kind";
 * "rerank" or "embed" in the name of the directory, in "_name_or_path", or in
 * the name of the model to be.
 */
#ifndef EMB_IMPORT_HF_CONFIG_H
#define EMB_IMPORT_HF_CONFIG_H

#include "common/arch.h"
#include "common/error.h"
#include "common/mem.h"
#include "formats/json.h"
#include "import/quantized.h"

#define EMB_HF_MAX_PROMPT_BYTES		8192
#define EMB_HF_MAX_PATH				1024

/*
 * Decoders read texts of 32,768 tokens and more; memory and time for them are
 * asked for by the option max_tokens.
 */
#define EMB_DECODER_MAX_TOKENS		8192

typedef struct EmbFamily EmbFamily;	/* family.h */
typedef struct EmbCheckpoint EmbCheckpoint; /* checkpoint.h */
typedef struct EmbCheckpointOptions EmbCheckpointOptions;

typedef enum EmbHfKind
{
	EMB_HF_KIND_UNKNOWN,
	EMB_HF_KIND_EMBEDDING,
	EMB_HF_KIND_RERANKER,
	EMB_HF_KIND_SPARSE,			/* see hf_sparse.h */
	EMB_HF_KIND_MULTI			/* see hf_multi.h */
} EmbHfKind;

/* A module Dense or LayerNorm of sentence-transformers. */
typedef struct EmbHfDense
{
	char		path[256];		/* of its files, relative, inside the directory */
	EmbArchDense module;
	bool		gives_scores;	/* its output is named "scores" */
	bool		is_pylate;		/* PyLate's class, whose defaults differ */
	bool		has_residual;	/* the input is added to the output, through a matrix if the sizes differ */
} EmbHfDense;

#define EMB_HF_MAX_MARKER	256

/* Of a model of ColBERT's kind, see hf_multi.h. */
typedef struct EmbHfMulti
{
	int			n_dense;
	EmbHfDense	dense[EMB_ARCH_MAX_DENSE];	/* of every token */
	int32_t		query_tokens;	/* 0: not set */
	int32_t		document_tokens;	/* 0: not set */
	int32_t		query_floor;	/* 0: queries are not expanded */
	int32_t		dim;			/* of the vectors; 0: not said */
	bool		sees_expansion;
	char		expansion_token[EMB_HF_MAX_MARKER];	/* "": the mask token */
	bool		is_legacy;		/* PyLate's files */
	bool		is_inline;		/* no modules: the matrix is the tensor "linear.weight" beside the encoder's */
	char		query_marker[EMB_HF_MAX_MARKER];
	char		document_marker[EMB_HF_MAX_MARKER];
	char	   *words;			/* [words_bytes] to skip, each with a zero byte after it; owned; NULL: none */
	size_t		words_bytes;
	int32_t		skips;			/* of which texts: EMB_SKIPS_DOCUMENTS, .. */
} EmbHfMulti;

/* The outputs of a classifier. */
typedef struct EmbHfLabels
{
	int32_t		n;				/* 0: no classifier */
	char		names[EMB_ARCH_MAX_LABELS][64];
} EmbHfLabels;

typedef struct EmbHfConfig
{
	const EmbStop *stop;		/* polled while files are read; NULL: never */
	EmbCheckpoint *checkpoint;	/* gets the notes; NULL: nobody reads them */
	EmbHfKind	wanted;			/* the option "kind" */
	EmbHfKind	declared;		/* what sentence-transformers' files say */
	const EmbFamily *family;
	bool		has_classes;	/* config.json names classes: */
	bool		has_classifier; /* one for sequences */
	bool		has_scores;		/* the last module is the head of a reranker, whatever the classes */
	bool		is_stanford;	/* the class HF_ColBERT: see hf_multi.h */
	bool		is_for_masked_lm;	/* ForMaskedLM, and no plain encoder */
	bool		is_language_model;	/* the class of a decoder that predicts tokens: its kind is still to be found */
	bool		is_bidirectional;	/* the class of a decoder that reads in both directions */
	int32_t		projection;		/* outputs of a matrix "linear" after the layers; 0: none */
	int32_t		n_tasks;		/* rows of a table of tasks, whose first is added to the token types; 0: none */
	float		word_scale;		/* a factor of the word embeddings in the files; 0: none */
	float		query_scale;	/* a factor of the norm of query heads in the files; 0: none */
	EmbArch		arch;			/* all but the token heads, which only the weights' files define */
	char		transformer_dir[EMB_HF_MAX_PATH];	/* of config.json, weights and tokenizer */
	char		dense_paths[EMB_ARCH_MAX_DENSE][256];	/* of the dense modules' files */
	bool		drops_unknown;	/* static: the unknown token is left out of a text */
	bool		cuts_chars;		/* static: a text is first cut to max_tokens tokens of median length */
	bool		has_normalize;	/* static: set by config.json */
	bool		pool_prompt;	/* false: sentence-transformers excludes the prompt's tokens from pooling */
	bool		lowercase_text; /* the text is lowercased before the tokenizer sees it */
	int32_t		max_tokens;		/* 1 .. n_positions */
	int32_t		truncate_dim;	/* of config_sentence_transformers.json; 0: none */
	char	   *query_prompt;	/* never NULL; owned */
	char	   *document_prompt;
	bool		has_prompts;	/* the files define the prompts, maybe as none; else hf_prompts.h looks them up */
	char		name_or_path[256];	/* "_name_or_path" of config.json, or "" */
	EmbQuantization quantization;	/* of the weights, before they were published */

	EmbHfLabels labels;			/* of a reranker's classifier */

	/* of a decoder that reranks */
	char	   *instruction;	/* the default of the files, or NULL; owned */
	int32_t		answer_ids[2];	/* of a module LogitScore; -1: none */
	const char *kind_found_in;	/* the place of the name that says the kind, for messages; NULL: the files say it */
	bool		assumes_pooling;	/* an embedding model without a word on pooling */

	/* of a learned sparse model, see hf_sparse.h */
	bool		is_masked_lm;	/* the class has a head over the vocabulary */
	bool		is_sparse;
	int32_t		lm_activation;	/* set by config.json; 0: the family's */
	bool		has_query_table;
	char		query_path[256];	/* of the table, relative, inside the directory */

	bool		is_multi;
	EmbHfMulti	multi;
} EmbHfConfig;

/* On success free with emb_hf_config_free, same allocator. notes: gets what is assumed, or NULL. */
extern EmbStatus emb_hf_read_config(const char *dir, const EmbCheckpointOptions *options, const EmbAllocator *mem, const EmbStop *stop,
									EmbCheckpoint *notes, EmbHfConfig *config, EmbError *err);
extern void emb_hf_config_free(EmbHfConfig *config, const EmbAllocator *mem);

/* The parsers of the single files, also for the fuzz target. Each fills its part of *config. */
typedef struct EmbHfModules
{
	char		transformer_path[256];	/* relative, inside the directory; "" is the directory itself */
	char		pooling_path[256];
	int			n_modules;
	int			n_dense;
	EmbHfDense	dense[EMB_ARCH_MAX_DENSE];	/* path, and kind and normalize of the module */
	bool		has_scores;		/* the last of them gives scores */
	bool		normalize;		/* at the end of the pipeline */
	bool		has_logit_score;	/* a LogitScore instead of a Pooling */
	char		logit_score_path[256];
	bool		has_router;		/* router_config.json has the modules */
	char		router_path[256];
	bool		has_splade;		/* a SpladePooling instead of a Pooling */
	char		splade_path[256];
	bool		has_query_table;	/* a SparseStaticEmbedding for queries */
	char		query_path[256];
	bool		has_mask;		/* of a ColBERT model: a MultiVectorMask */
	char		mask_path[256];
	bool		transformer_only;
	bool		is_static;		/* a StaticEmbedding instead of Transformer and Pooling */
} EmbHfModules;

extern EmbStatus emb_hf_parse_config(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
/* For a CrossEncoder the list may end after the Transformer, or with a LogitScore. */
extern EmbStatus emb_hf_parse_modules(const EmbJson *doc, EmbHfModules *modules, EmbError *err);
extern EmbStatus emb_hf_parse_pooling(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

/* EMB_ERR_UNSUPPORTED: "file: key is "value"; want" */
extern EmbStatus emb_hf_unsupported(const EmbJson *doc, const char *key, const char *value, const char *want, EmbError *err);

/* By the kind of the module. n_in: output size of the module before. Keeps path, kind and normalize. */
extern EmbStatus emb_hf_parse_dense(const EmbJson *doc, int32_t n_in, EmbHfDense *dense, EmbError *err);

/* Only gives_scores, of a Dense. */
extern EmbStatus emb_hf_parse_dense_names(const EmbJson *doc, EmbHfDense *dense, EmbError *err);

/* hf_labels.c: config.json's labels of a classifier. */
extern EmbStatus emb_hf_parse_labels(const EmbJson *doc, EmbHfLabels *labels, EmbError *err);
extern EmbStatus emb_hf_parse_sentence_bert(const EmbJson *doc, int64_t *max_seq_length,
											EmbHfConfig *config, EmbError *err);

/* Its "processing_kwargs": sets *max_tokens where they have a length. EMB_ERR_UNSUPPORTED: a key could change ids. */
extern EmbStatus emb_hf_parse_processing(const EmbJson *doc, int64_t *max_tokens, EmbError *err);
extern EmbStatus emb_hf_parse_prompts(const EmbJson *doc, const EmbAllocator *mem,
									  EmbHfConfig *config, EmbError *err);

/* config_sentence_transformers.json of an embedding model: "truncate_dim". */
extern EmbStatus emb_hf_parse_truncation(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

/*
 * config_sentence_transformers.json of a reranker: reads only what changes its
 * scores. The default prompt of a decoder is its instruction.
 */
extern EmbStatus emb_hf_parse_cross_encoder(const EmbJson *doc, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err);

/* 1_LogitScore/config.json: the answers' ids; only one where "false_token_id" is null. */
extern EmbStatus emb_hf_parse_logit_score(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

#endif
