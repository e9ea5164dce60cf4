/*
 * hf_family.h
 *		Helpers shared by the readers of a directory's configuration.
 */
#ifndef EMB_IMPORT_HF_FAMILY_H
#define EMB_IMPORT_HF_FAMILY_H

#include "import/family.h"

extern EmbStatus emb_hf_check_object(const EmbJson *doc, EmbError *err);

/*
 * Checks what CrossEncoder applies to the logit, by a key of object. Identity
 * and Sigmoid keep the order of scores, and rerank() returns the sigmoid in
 * any case.
 */
extern EmbStatus emb_hf_check_score_activation(const EmbJson *doc, const json_t *object, const char *key, EmbError *err);

/* hf_modules.c: a relative path of plain components, which cannot leave the model's directory. */
extern bool emb_hf_is_inside(const char *path);

/* hf_modules.c: adds a module to those before it. */
extern EmbStatus emb_hf_take_module(const EmbJson *doc, const char *type, const char *path, EmbHfModules *modules, EmbError *err);

/* hf_modules.c: calls take for each module of modules.json, in order. *modules is zeros before. */
extern EmbStatus emb_hf_each_module(const EmbJson *doc, EmbStatus (*take) (const EmbJson *doc, const char *type, const char *path,
																		   EmbHfModules *modules, EmbError *err),
									EmbHfModules *modules, EmbError *err);

/* hf_modules.c: sets the pooling by sentence-transformers' name of it. */
extern EmbStatus emb_hf_set_pooling(const EmbJson *doc, const char *key, const char *mode, EmbHfConfig *config, EmbError *err);

/*
 * hf_kind.c. "model_type" of config_sentence_transformers.json becomes
 * config->declared; then modules.json, which exists, may decide. Kinds that
 * cannot be imported are EMB_ERR_UNSUPPORTED.
 */
extern EmbStatus emb_hf_read_model_type(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
extern EmbStatus emb_hf_declare_by_modules(const EmbHfModules *modules, EmbHfConfig *config, EmbError *err);

/* Whether an encoder, whose config.json is doc and whose classes were read, gets the head of a reranker. */
extern bool emb_hf_is_reranker(const EmbJson *doc, EmbHfConfig *config);

extern EmbStatus emb_hf_parse_kind(const char *option, EmbHfKind *kind, EmbError *err);

/* What all files together say; UNKNOWN for a language model of which they say nothing. */
extern EmbStatus emb_hf_kind_by_files(const EmbHfModules *modules, bool has_modules, const EmbCheckpointOptions *options,
									  const EmbHfConfig *config, EmbHfKind *kind, EmbError *err);

/*
 * The kind of model. *kind is what the files say, which the option "kind" must
 * not contradict. If they say nothing, the option says it, or one of the
 * model's names, else EMB_ERR_UNSUPPORTED. file: for the message.
 */
extern EmbStatus emb_hf_choose_kind(EmbHfConfig *config, const char *dir, const EmbCheckpointOptions *options, const char *file,
									EmbHfKind *kind, EmbError *err);

/* A decoder becomes a reranker: n_rows answers, 1 or 2, at its last row. */
extern void emb_hf_add_answer_head(EmbArch *arch, int32_t n_rows);

/*
 * hf_labels.c: the label that is the score: the one named wanted, or, if
 * wanted is NULL, the only one or one with a known name. The labels get
 * n_outputs names. A list of the names, cut to its size, for messages.
 */
extern EmbStatus emb_hf_choose_label(EmbHfLabels *labels, int32_t n_outputs, const char *wanted, int32_t *label, EmbError *err);
extern void emb_hf_list_labels(const EmbHfLabels *labels, char *list, size_t size);

/*
 * family_model2vec.c: replaces config.json if modules.json lists only a
 * StaticEmbedding; the table has the sizes.
 */
extern void emb_hf_static_embedding(EmbHfConfig *config);
extern EmbStatus emb_hf_read_static(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err);

#endif
