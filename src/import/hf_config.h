/*
 * hf_config.h
 *		What a model directory's JSON files say, apart from the tokenizer.
 *
 *		config.json							the transformer: sizes, activation
 *		modules.json						sentence-transformers' pipeline
 *		1_Pooling/config.json				(the path is modules.json's)
 *		2_Dense/config.json					likewise: a linear layer behind it
 *		sentence_bert_config.json			max_seq_length, do_lower_case
 *		tokenizer_config.json				model_max_length
 *		config_sentence_transformers.json	prompts; of a CrossEncoder the activation
 *
 * All but config.json (and what modules.json names) may be missing. Without
 * modules.json the model is what SentenceTransformer(dir) makes of a bare
 * checkpoint: mean pooling, not normalized. A class ForSequenceClassification
 * with one label is a reranker, as CrossEncoder(dir) takes it: no prompts, no
 * pooling but its own. What we do not implement is
 * EMB_ERR_UNSUPPORTED with file, key and value, never guessed at.
 */
#ifndef EMB_IMPORT_HF_CONFIG_H
#define EMB_IMPORT_HF_CONFIG_H

#include "common/arch.h"
#include "common/error.h"
#include "common/mem.h"
#include "formats/json.h"

#define EMB_HF_MAX_PROMPT_BYTES		8192
#define EMB_HF_MAX_PATH				1024

typedef struct EmbFamily EmbFamily;	/* family.h */

/* A module Dense of sentence-transformers. */
typedef struct EmbHfDense
{
	char		path[256];		/* of its files, relative, inside the directory */
	EmbArchDense module;
} EmbHfDense;

typedef struct EmbHfConfig
{
	const EmbStop *stop;		/* asked while files are read; NULL: never */
	const EmbFamily *family;
	EmbArch		arch;			/* all but what only the weights' files say: token heads */
	char		transformer_dir[EMB_HF_MAX_PATH];	/* of config.json, weights and tokenizer */
	char		dense_paths[EMB_ARCH_MAX_DENSE][256];	/* of the dense modules' files */
	bool		drops_unknown;	/* static: the unknown token is left out of a text */
	bool		cuts_chars;		/* static: a text is cut to max_tokens tokens of median length first */
	bool		has_normalize;	/* static: config.json says whether */
	bool		pool_prompt;	/* false: sentence-transformers leaves the prompt's tokens out */
	bool		lowercase_text; /* the text is lowercased before the tokenizer sees it */
	int32_t		max_tokens;		/* 1 .. n_positions */
	char	   *query_prompt;	/* never NULL; owned */
	char	   *document_prompt;
	bool		has_prompts;	/* the files say which, be it none; else hf_prompts.h may know */
	char		name_or_path[256];	/* "_name_or_path" of config.json, or "" */
} EmbHfConfig;

/* On success free with emb_hf_config_free, same allocator. */
extern EmbStatus emb_hf_read_config(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbHfConfig *config, EmbError *err);
extern void emb_hf_config_free(EmbHfConfig *config, const EmbAllocator *mem);

/*
 * The parsers behind it, one file each; what the fuzz target calls. Each fills
 * its part of *config.
 */
typedef struct EmbHfModules
{
	char		transformer_path[256];	/* relative, inside the directory; "" is the directory itself */
	char		pooling_path[256];
	int			n_modules;
	int			n_dense;
	EmbHfDense	dense[EMB_ARCH_MAX_DENSE];	/* path, and normalize of the module */
	bool		normalize;		/* at the end */
	bool		transformer_only;
	bool		is_static;		/* a StaticEmbedding in place of Transformer and Pooling */
} EmbHfModules;

extern EmbStatus emb_hf_parse_config(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
/* Of a CrossEncoder the list may end behind the Transformer. */
extern EmbStatus emb_hf_parse_modules(const EmbJson *doc, EmbHfModules *modules, EmbError *err);
extern EmbStatus emb_hf_parse_pooling(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

/* EMB_ERR_UNSUPPORTED: "file: key is "value"; want" */
extern EmbStatus emb_hf_unsupported(const EmbJson *doc, const char *key, const char *value, const char *want, EmbError *err);

/* n_in: the width of what comes before. Keeps path and normalize. */
extern EmbStatus emb_hf_parse_dense(const EmbJson *doc, int32_t n_in, EmbHfDense *dense, EmbError *err);
extern EmbStatus emb_hf_parse_sentence_bert(const EmbJson *doc, int64_t *max_seq_length,
											EmbHfConfig *config, EmbError *err);
extern EmbStatus emb_hf_parse_prompts(const EmbJson *doc, const EmbAllocator *mem,
									  EmbHfConfig *config, EmbError *err);

/* config_sentence_transformers.json of a reranker: only what changes its scores matters. */
extern EmbStatus emb_hf_parse_cross_encoder(const EmbJson *doc, EmbError *err);

#endif
