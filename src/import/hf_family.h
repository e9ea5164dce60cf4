/*
 * hf_family.h
 *		What the readers of a directory's configuration share.
 */
#ifndef EMB_IMPORT_HF_FAMILY_H
#define EMB_IMPORT_HF_FAMILY_H

#include "import/family.h"

extern EmbStatus emb_hf_check_object(const EmbJson *doc, EmbError *err);

/*
 * What CrossEncoder does to the logit, by a key of object. Identity and
 * Sigmoid keep its order, and the score of rerank() is the sigmoid in any case.
 */
extern EmbStatus emb_hf_check_score_activation(const EmbJson *doc, const json_t *object, const char *key, EmbError *err);

/*
 * family_model2vec.c: what stands for config.json where modules.json lists a
 * StaticEmbedding only; the sizes, which the table has.
 */
extern void emb_hf_static_embedding(EmbHfConfig *config);
extern EmbStatus emb_hf_read_static(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err);

#endif
