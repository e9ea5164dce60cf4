/*
 * hf_family.h
 *		What hf_config.c and hf_family.c share.
 */
#ifndef EMB_IMPORT_HF_FAMILY_H
#define EMB_IMPORT_HF_FAMILY_H

#include "import/hf_config.h"

/* EMB_ERR_UNSUPPORTED: "file: key is "value"; want" */
extern EmbStatus emb_hf_unsupported(const EmbJson *doc, const char *key, const char *value, const char *want, EmbError *err);

extern EmbStatus emb_hf_check_object(const EmbJson *doc, EmbError *err);

/*
 * What CrossEncoder does to the logit, by a key of object. Identity and
 * Sigmoid keep its order, and the score of rerank() is the sigmoid in any case.
 */
extern EmbStatus emb_hf_check_score_activation(const EmbJson *doc, const json_t *object, const char *key, EmbError *err);

/*
 * hf_static.c: config.json of a model2vec model; what stands for it where
 * modules.json lists a StaticEmbedding only; the sizes, which the table has.
 */
extern EmbStatus emb_hf_parse_model2vec(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
extern void emb_hf_static_embedding(EmbHfConfig *config);
extern EmbStatus emb_hf_read_static(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err);

#endif
