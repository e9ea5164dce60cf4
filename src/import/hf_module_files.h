/*
 * hf_module_files.h
 *		Weights beside those of the transformer: of modules and of heads, which
 *		have files of their own.
 */
#ifndef EMB_IMPORT_HF_MODULE_FILES_H
#define EMB_IMPORT_HF_MODULE_FILES_H

#include "formats/tensors.h"
#include "import/hf_config.h"

/* name [size]: the weights' file of the module in dir's folder path, as a path below dir. what: its class, for an error. */
extern EmbStatus emb_hf_find_module_weights(const char *dir, const char *path, const char *what, char *name, size_t size, EmbError *err);

/* Adds BGE-M3's heads and sets has_sparse and multi_dim of arch. */
extern EmbStatus emb_hf_add_token_heads(EmbTensorSet *tensors, const char *dir, EmbArch *arch, EmbError *err);

/* Adds what the modules after the pooling have, as "dense.I.NAME". */
extern EmbStatus emb_hf_add_dense(EmbTensorSet *tensors, const char *dir, const EmbHfConfig *config, EmbError *err);

#endif
