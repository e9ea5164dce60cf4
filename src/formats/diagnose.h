/*
 * diagnose.h
 *		Explains why a directory lacks a file, by what is in the directory
 *		instead.
 */
#ifndef EMB_FORMATS_DIAGNOSE_H
#define EMB_FORMATS_DIAGNOSE_H

#include "common/error.h"

/* The error for a directory without config.json. */
extern EmbStatus emb_diagnose_no_config(const char *dir, EmbError *err);

/* The error for a directory without readable weights. */
extern EmbStatus emb_diagnose_no_weights(const char *dir, EmbError *err);

/* The error for a directory that holds an adapter beside a model; EMB_OK: it holds none. */
extern EmbStatus emb_diagnose_adapter(const char *dir, EmbError *err);

/* The error for a directory without a tokenizer. */
extern EmbStatus emb_diagnose_no_tokenizer(const char *dir, EmbError *err);

/* The error for a file of a module, relative to dir, that does not exist. */
extern EmbStatus emb_diagnose_no_module(const char *dir, const char *name, EmbError *err);

/* A path that does not exist; one that is not absolute may be a model's name on the hub. */
extern EmbStatus emb_diagnose_no_directory(const char *path, EmbError *err);

/* The error for a directory that the system refuses. error: its errno. */
extern EmbStatus emb_diagnose_not_readable(const char *path, int error, EmbError *err);

/* The error for a path that is not a directory. */
extern EmbStatus emb_diagnose_not_directory(const char *path, EmbError *err);

#endif
