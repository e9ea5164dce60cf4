/*
 * diagnose.h
 *		What is the matter with a directory that lacks a file: said with what
 *		lies there instead.
 */
#ifndef EMB_FORMATS_DIAGNOSE_H
#define EMB_FORMATS_DIAGNOSE_H

#include "common/error.h"

/* The error of a directory without config.json. */
extern EmbStatus emb_diagnose_no_config(const char *dir, EmbError *err);

/* The error of a directory without weights that could be read. */
extern EmbStatus emb_diagnose_no_weights(const char *dir, EmbError *err);

/* The error of a directory without a tokenizer. */
extern EmbStatus emb_diagnose_no_tokenizer(const char *dir, EmbError *err);

/* The error of a path that is no directory. */
extern EmbStatus emb_diagnose_not_directory(const char *path, EmbError *err);

#endif
