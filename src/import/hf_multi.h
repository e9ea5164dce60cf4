/*
 * hf_multi.h
 *		Models of ColBERT's kind, with a vector per token: what PyLate and
 *		sentence-transformers' MultiVectorEncoder read beside config.json.
 *
 *		modules.json					Transformer, one or more Dense, MultiVectorMask and Normalize
 *		1_Dense/						a linear layer of every token, with or without the token itself added
 *		2_MultiVectorMask/config.json	the words whose tokens have no vector
 *		sentence_bert_config.json		lengths and query expansion (sentence-transformers')
 *		config_sentence_transformers.json	the same, and the markers (PyLate's)
 *		artifact.metadata				all of this in the original ColBERT's layout (class HF_ColBERT, no modules.json)
 *
 * All modules are linear, so an image has their product: one matrix and one
 * bias. Markers ("[Q] ") are prompts that become a single token. Where the two
 * libraries differ we follow sentence-transformers 6: a marker that the
 * tokenizer does not know stays text, and a word of the skip list that is no
 * token is left out. The original ColBERT's matrix is the tensor "linear.weight"
 * beside the encoder's.
 *
 * Example:
 *
 *		emb_hf_multi_parse_modules(&doc, &modules, err);
 *		emb_hf_multi_read(dir, &own, &modules, has_modules, options, mem, &config, err);
 *		emb_hf_multi_read_tables(&checkpoint, dir, &config, &set, &tables, err);	// once the tokenizer is known
 *		emb_hf_multi_free_tables(&tables, mem);
 */
#ifndef EMB_IMPORT_HF_MULTI_H
#define EMB_IMPORT_HF_MULTI_H

#include "formats/tensors.h"
#include "import/checkpoint.h"
#include "import/hf_family.h"
#include "tokenizer/tokenizer.h"

/* What the weights of the modules and the tokenizer give. */
typedef struct EmbHfMultiTables
{
	float	   *weight;			/* [multi_dim, hidden], or NULL: the model is of another kind */
	float	   *bias;			/* [multi_dim] */
	float	   *skipped;		/* [n_skipped] ids, ascending */
} EmbHfMultiTables;

/* Whether config_sentence_transformers.json is PyLate's: its "model_type", or keys that only PyLate writes. */
extern bool emb_hf_multi_is_pylate(const EmbJson *own);

/* modules.json of a model whose kind is known to be this one. */
extern EmbStatus emb_hf_multi_parse_modules(const EmbJson *doc, EmbHfModules *modules, EmbError *err);

/* All that the architecture needs but what the tokenizer gives. own: config_sentence_transformers.json. */
extern EmbStatus emb_hf_multi_read(const char *dir, const EmbJson *own, const EmbHfModules *modules, bool has_modules,
								   const EmbCheckpointOptions *options, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err);

/* sentence_bert_config.json of such a model: lengths and expansion. */
extern EmbStatus emb_hf_multi_parse_lengths(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

/*
 * The tokens of a document, and config->multi's of a query, where the tokenizer
 * allows max_tokens: neither has more than the model has positions.
 */
extern int64_t emb_hf_multi_choose_lengths(int64_t max_tokens, EmbHfConfig *config);

/* After the prompts were read: puts PyLate's markers before them. */
extern EmbStatus emb_hf_multi_add_markers(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err);

/*
 * hf_multi_tables.c: reads the weights of the modules, or the matrix in set,
 * the model's tensors; makes markers single tokens of c->tokenizer; looks up
 * the expansion token and the skip list, and completes c->arch. Of a model of
 * another kind *tables is zeros.
 */
extern EmbStatus emb_hf_multi_read_tables(EmbCheckpoint *c, const char *dir, const EmbHfConfig *config, const EmbTensorSet *set,
										  EmbHfMultiTables *tables, EmbError *err);
extern void emb_hf_multi_free_tables(EmbHfMultiTables *tables, const EmbAllocator *mem);

#endif
