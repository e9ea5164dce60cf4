/*
 * hf_sparse.h
 *		Learned sparse models: what sentence-transformers' SparseEncoder and
 *		OpenSearch's own code read beside config.json.
 *
 *		router_config.json			modules for documents, and for queries
 *		1_SpladePooling/config.json	the activation
 *		0_SparseStaticEmbedding/	a weight for each token of a query: a tensor, or idf.json
 *		idf.json					the same, {"token": weight}; beside config.json without modules.json
 *		config_sentence_transformers.json	"max_active_dims"
 *
 * Example:
 *
 *		emb_hf_sparse_read_router(dir, mem, &modules, &config, err);		// modules.json lists a Router alone
 *		emb_hf_sparse_read(dir, &modules, has_modules, options, mem, &config, err);
 *		emb_hf_sparse_read_tables(dir, &config, &spec, mem, &tables, err);	// once the tokenizer is known
 *		emb_hf_sparse_free_tables(&tables, mem);
 */
#ifndef EMB_IMPORT_HF_SPARSE_H
#define EMB_IMPORT_HF_SPARSE_H

#include "import/hf_family.h"
#include "tokenizer/tokenizer.h"

/* What only the tokenizer's vocabulary gives an index. */
typedef struct EmbHfSparseTables
{
	float	   *query_weights;	/* [n_vocab], or NULL */
	uint8_t    *is_dropped;		/* [n_vocab] ids that no document has a weight of, or NULL: none */
} EmbHfSparseTables;

/* router_config.json: replaces *modules, which lists a Router alone. */
extern EmbStatus emb_hf_sparse_read_router(const char *dir, const EmbAllocator *mem, EmbHfModules *modules,
										   const EmbHfConfig *config, EmbError *err);

/*
 * Whether the model is a learned sparse one, and then all that its
 * architecture needs. Without modules.json it is one by idf.json, by the
 * option kind "sparse", or by its name ("splade", "sparse").
 */
extern EmbStatus emb_hf_sparse_read(const char *dir, const EmbHfModules *modules, bool has_modules, const EmbCheckpointOptions *options,
									const EmbAllocator *mem, EmbHfConfig *config, EmbError *err);

/* Of a model whose queries are read by a table; else *tables is zeros. */
extern EmbStatus emb_hf_sparse_read_tables(const char *dir, const EmbHfConfig *config, const EmbTokSpec *spec, const EmbAllocator *mem,
										   EmbHfSparseTables *tables, EmbError *err);
extern void emb_hf_sparse_free_tables(EmbHfSparseTables *tables, const EmbAllocator *mem);

#endif
