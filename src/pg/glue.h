/*
 * glue.h
 *		Shared by all files of pg/: the core's allocator, stop callback and
 *		errors in terms of PostgreSQL.
 *
 * The core never longjmps, and no longjmp may cross the core: callbacks only
 * return. A status other than EMB_OK returns to our own frame. Only there
 * embed_throw raises the error (or CHECK_FOR_INTERRUPTS serves the cancel).
 *
 * Example:
 *
 *		EmbAllocator mem = embed_allocator(CurrentMemoryContext);
 *		EmbStop		stop = embed_stop();
 *		EmbError	err;
 *		EmbStatus	status = emb_import_dir(path, &options, &mem, &stop, &sink, &err);
 *		if (status != EMB_OK)
 *			embed_throw(status, &err);
 *
 * Code that reads an image calls embed_registry_check (registry.h) instead,
 * whatever the status is.
 */
#ifndef EMBED_PG_GLUE_H
#define EMBED_PG_GLUE_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/memutils.h"

#include "model/embed_core.h"
#include "pg/compat.h"

/* glue.c: memory from cxt, 64-byte aligned, NULL if there is none (no ERROR). */
extern EmbAllocator embed_allocator(MemoryContext cxt);

/* True if a cancel or terminate can be served now, or an image is damaged; never raises. */
extern EmbStop embed_stop(void);

/*
 * errors.c: raises err with its SQLSTATE, message and hint; for
 * EMB_ERR_CANCELLED runs CHECK_FOR_INTERRUPTS. Knows nothing of images: call
 * embed_registry_check first.
 */
pg_noreturn extern void embed_throw(EmbStatus status, const EmbError *err);

/* errors.c: status -> SQLSTATE. */
extern int	embed_sqlstate(EmbStatus status);

/*
 * A copy of a text of the core, which is UTF-8, in the database's encoding.
 * Characters that the encoding lacks become question marks, or \\uXXXX with
 * escapes; so do bytes that are no UTF-8, always as question marks.
 */
extern const char *embed_utf8_for_server(const char *utf8, bool escapes);

/* The core's message for errmsg. */
extern const char *embed_message_for_server(const char *message);

/*
 * A user's string for a message: whole, or its first EMB_NAME_MAX bytes and
 * "...". Building and sending a message with 100 MB takes half a second
 * without a poll.
 */
extern const char *embed_shown(const char *s);

/* guc.c */
extern char *embed_guc_model;		/* embed.model: name or alias, "" = the database's default */
extern char *embed_guc_reranker;	/* embed.reranker, likewise */
extern int	embed_guc_on_overflow;	/* EmbedOverflow */
extern int	embed_guc_batch_tokens;
extern int	embed_guc_threads;		/* 0: as many as available CPUs */
extern int	embed_guc_cache_entries;
extern char *embed_guc_reranker_fallback;	/* "": none */
extern int	embed_guc_max_rerank_ms;	/* 0: no limit */
extern int	embed_guc_max_threads;	/* 0: no cap; this and the next two are for superusers */
extern int	embed_guc_max_statement_tokens; /* 0: no cap */
extern int	embed_guc_log_min_duration; /* ms; -1: never */
extern bool embed_guc_defer;		/* triggers of mode now leave NULL */
extern bool embed_guc_accept_vectors;	/* triggers keep vectors that the user gives */
extern bool embed_guc_look_ahead;
extern bool embed_guc_background;	/* embed.background: commits may start a filler */
extern int	embed_guc_background_threads;	/* 0: as many as sessions leave */

/*
 * call_threads.c: the number of threads that the computation may use, including the
 * caller's. Until embed_threads_end, other backends count this backend as
 * busy. Both take embed_clock_ns() (control.h). Nothing may raise in between.
 */
extern int	embed_threads_begin(uint64 now_ns);
extern void embed_threads_end(uint64 now_ns);

/* This process computes in the background: with the threads that sessions leave. */
extern bool embed_is_background;

/*
 * Selects the level of embed.isa unless it is already in use; call it before
 * the core computes.
 */
extern void embed_isa_apply(void);

typedef enum EmbedOverflow
{
	EMBED_OVERFLOW_TRUNCATE,
	EMBED_OVERFLOW_WARN,
	EMBED_OVERFLOW_ERROR
} EmbedOverflow;

/*
 * Defines the settings; assign hooks of settings that select a model call
 * embed_registry_invalidate().
 */
extern void embed_guc_init(void);

#endif
