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

#include "common/error.h"
#include "common/mem.h"
#include "common/arch.h"
#include "formats/json.h"

#define EMB_HF_MAX_PROMPT_BYTES		8192
#define EMB_HF_MAX_PATH				1024

/* Architectures, by "model_type"; the numbers are in images. */
typedef enum EmbFamily
{
	EMB_FAMILY_BERT = 1,
	EMB_FAMILY_ROBERTA = 2,
	EMB_FAMILY_XLM_ROBERTA = 3,
	EMB_FAMILY_CAMEMBERT = 4,
	EMB_FAMILY_DISTILBERT = 5,
	EMB_FAMILY_MPNET = 6,
	EMB_FAMILY_NOMIC_BERT = 7,
	EMB_FAMILY_GTE = 8,
	EMB_FAMILY_MODERNBERT = 9,
	EMB_FAMILY_MODEL2VEC = 10	/* static: a table, no layers */
} EmbFamily;

#define EMB_N_FAMILIES	EMB_FAMILY_MODEL2VEC

/* A module Dense of sentence-transformers: activation(weight x + bias). */

typedef struct EmbHfDense
{
	char		path[256];		/* of its files, relative, inside the directory */
	int32_t		n_out;
	bool		has_bias;
	bool		normalize;		/* a Normalize stands before it */
	EmbActivation activation;	/* 0: none */
} EmbHfDense;

typedef struct EmbHfConfig
{
	const EmbStop *stop;		/* asked while files are read; NULL: never */
	EmbFamily	family;
	char		transformer_dir[EMB_HF_MAX_PATH];	/* of config.json, weights and tokenizer */
	int32_t		hidden,
				n_layers,
				n_heads,		/* divides hidden */
				intermediate,
				n_vocab,
				n_positions,	/* longest sequence */
				n_types;		/* 0: the family has no token types */

	/*
	 * 0: the first token of a text has row 0 of the positions. Else 1 + the
	 * padding's id: padding has row base - 1 and does not count, the first
	 * token has row base.
	 */
	int32_t		position_base;
	double		rotary_base,	/* of families with rotation; what frequencies are powers of */
				rotary_local_base,	/* in layers that are not global */
				rotary_scale;	/* 1; else of fixed NTK scaling: base and positions stretched */
	int32_t		window,			/* tokens to each side that those layers see; 0: all are global */
				global_every;	/* layers 0, n, 2 n, .. are global */
	bool		is_static;		/* no layers, heads, positions; the table says the other sizes */
	bool		drops_unknown;	/* static: the unknown token is left out of a text */
	bool		cuts_chars;		/* static: a text is cut to max_tokens tokens of median length first */
	bool		has_normalize;	/* static: config.json says whether */
	bool		is_reranker;
	EmbPooling	head_pooling;	/* of a reranker's head, as all these; see transformer/score.h */
	EmbActivation head_activation;
	bool		head_norm;
	bool		head_unbiased;	/* its dense layer */
	EmbActivation activation;
	float		ln_eps;
	EmbPooling	pooling;
	int			n_dense;
	EmbHfDense	dense[EMB_ARCH_MAX_DENSE];
	bool		normalize;		/* at the end */
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
	EmbHfDense	dense[EMB_ARCH_MAX_DENSE];	/* path and normalize */
	bool		normalize;		/* at the end */
	bool		transformer_only;
	bool		is_static;		/* a StaticEmbedding in place of Transformer and Pooling */
} EmbHfModules;

/* "bert"; NULL: no family has this number. */
extern const char *emb_hf_family_name(uint32_t family);

/* What makes a family another one than BERT. */
#define EMB_TRAIT_TYPES				1U	/* tokens have types: BERT's too */
#define EMB_TRAIT_TYPES_OPTIONAL	2U	/* or not, by its configuration */
#define EMB_TRAIT_SKIPS_PADDING		4U	/* position_base */
#define EMB_TRAIT_DISTANCES			8U	/* a bias of scores by distance */
#define EMB_TRAIT_ROTARY			16U /* no positions but those that rotate queries and keys */
#define EMB_TRAIT_GATED				32U /* act(gate) * up */
#define EMB_TRAIT_NORMS_FIRST		64U /* before, not behind a half of a layer; one behind the last */
#define EMB_TRAIT_WINDOW			128U	/* layers that are not global */
#define EMB_TRAIT_STATIC			256U	/* no layers: the mean of the words' vectors */

/* 0: no family has this number. */
extern uint32_t emb_hf_family_traits(uint32_t family);

extern EmbStatus emb_hf_parse_config(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
/* Of a CrossEncoder the list may end behind the Transformer. */
extern EmbStatus emb_hf_parse_modules(const EmbJson *doc, EmbHfModules *modules, EmbError *err);
extern EmbStatus emb_hf_parse_pooling(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

/* n_in: the width of what comes before. Keeps path and normalize. */
extern EmbStatus emb_hf_parse_dense(const EmbJson *doc, int32_t n_in, EmbHfDense *dense, EmbError *err);
extern EmbStatus emb_hf_parse_sentence_bert(const EmbJson *doc, int64_t *max_seq_length,
											EmbHfConfig *config, EmbError *err);
extern EmbStatus emb_hf_parse_prompts(const EmbJson *doc, const EmbAllocator *mem,
									  EmbHfConfig *config, EmbError *err);

/* config_sentence_transformers.json of a reranker: only what changes its scores matters. */
extern EmbStatus emb_hf_parse_cross_encoder(const EmbJson *doc, EmbError *err);

#endif
