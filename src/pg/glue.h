/*
 * glue.h
 *		What every file of pg/ shares: the core's allocator, stop callback and
 *		errors in PostgreSQL's terms.
 *
 * The core never longjmps and is never longjmped through: its callbacks only
 * return. A status other than EMB_OK comes back to our own frame, and only
 * there embed_throw raises it (or CHECK_FOR_INTERRUPTS the cancel).
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
 * What reads an image calls embed_registry_check (registry.h) instead, whatever the status.
 */
#ifndef EMBED_PG_GLUE_H
#define EMBED_PG_GLUE_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/memutils.h"

#include "model/embed_core.h"
#include "pg/compat.h"

/* glue.c: memory of cxt, 64-byte aligned, NULL when there is none (no ERROR). */
extern EmbAllocator embed_allocator(MemoryContext cxt);

/* True when a cancel or terminate could be served now, or an image was damaged; never raises. */
extern EmbStop embed_stop(void);

/*
 * errors.c: raises err with its SQLSTATE, message and hint. Cancelled:
 * CHECK_FOR_INTERRUPTS. Knows nothing of images: embed_registry_check looks at
 * these first.
 */
pg_noreturn extern void embed_throw(EmbStatus status, const EmbError *err);

/* errors.c: status -> SQLSTATE. */
extern int	embed_sqlstate(EmbStatus status);

/* A copy of the core's UTF-8 for an errmsg: question marks for what the database's encoding might not hold. */
extern const char *embed_message_for_server(const char *message);

/* guc.c */
extern char *embed_guc_model;		/* embed.model: name or alias, "" = the database's default */
extern char *embed_guc_reranker;	/* embed.reranker, likewise */
extern int	embed_guc_on_overflow;	/* EmbedOverflow */
extern int	embed_guc_batch_tokens;
extern int	embed_guc_threads;		/* 0: as many as there are CPUs */
extern int	embed_guc_cache_entries;

/*
 * threads.c: how many threads the computation that begins now may use, this
 * one included; until embed_threads_end others count this backend as busy. Both
 * take embed_clock_ns() (control.h). Nothing may raise in between.
 */
extern int	embed_threads_begin(uint64 now_ns);
extern void embed_threads_end(uint64 now_ns);

/* Selects the level that embed.isa names, unless it is in use already; before the core computes. */
extern void embed_isa_apply(void);

typedef enum EmbedOverflow
{
	EMBED_OVERFLOW_TRUNCATE,
	EMBED_OVERFLOW_WARN,
	EMBED_OVERFLOW_ERROR
} EmbedOverflow;

/* Defines the settings; assign hooks of those that choose a model call embed_registry_invalidate(). */
extern void embed_guc_init(void);

#endif
