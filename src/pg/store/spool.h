/*
 * spool.h
 *		A temporary file next to the images; its final name follows from the
 *		hash. Errors of the sink are returned, not raised.
 *
 * Example:
 *
 *		embed_spool_begin(&spool);
 *		PG_TRY();
 *		{
 *			status = embed_spool_write(&spool, data, size, &err);	// as often as there are bytes
 *			embed_spool_finish(&spool);
 *			model = embed_spool_open(&spool, CurrentMemoryContext);
 *			emb_model_close(model);
 *			embed_spool_publish(&spool);
 *		}
 *		PG_CATCH();
 *		{
 *			embed_spool_abort(&spool);
 *			PG_RE_THROW();
 *		}
 *		PG_END_TRY();
 */
#ifndef EMBED_PG_STORE_SPOOL_H
#define EMBED_PG_STORE_SPOOL_H

#include "pg/glue.h"

#include <time.h>

#include "pg/stat/progress_state.h"
#include "pg/store/mapping.h"

typedef struct EmbedSpool
{
	int			fd;				/* a transient file: closed at abort */
	int64		size_bytes;
	EmbHash    *hash;
	uint8		fingerprint[EMB_HASH_SIZE]; /* from embed_spool_finish on */
	struct timespec sealed;		/* time of modification, from embed_spool_finish on */
	EmbedMapping mapping;		/* from embed_spool_open on */
	EmbedProgressEntry progress;	/* of whoever writes it, if that is entered; left when the file is published or given up */
	char		path[MAXPGPATH];
} EmbedSpool;

extern void embed_spool_begin(EmbedSpool *spool);

/*
 * Whether the file systems of the folder, the tables (embed_storage_path) and
 * the write-ahead log have room for a new image; a filed image needs only its
 * file: tables_path NULL. Raises nothing: the core may call it.
 */
extern EmbStatus embed_spool_check_room(int64 size_bytes, const char *tables_path, EmbError *err);

extern EmbStatus embed_spool_write(EmbedSpool *spool, const void *data, size_t size, EmbError *err);

/* Computes the fingerprint and syncs the file after the last byte. Raises. */
extern void embed_spool_finish(EmbedSpool *spool);

/*
 * Maps the finished file and checks all of it before it is used. Raises. The
 * model is allocated in cxt and reads spool->mapping: close the model before
 * embed_spool_publish.
 */
extern EmbModel *embed_spool_open(EmbedSpool *spool, MemoryContext cxt);

/* The same, but returns what the core reports. Raises where the file is damaged. */
extern EmbStatus embed_spool_try_open(EmbedSpool *spool, MemoryContext cxt, EmbModel **model, EmbError *err);

/* 58030 if the mapped file was damaged; call it after reading the file. */
extern void embed_spool_check(EmbedSpool *spool);

/* Reports ENOSPC before the disk is full: checks the free space, then reserves. */
extern void embed_spool_reserve(int fd, const char *path, int64 size_bytes);

/*
 * Unmaps the file and renames it to its final name, or removes it if that name
 * exists. Raises.
 */
extern void embed_spool_publish(EmbedSpool *spool);

/* The same for a filed image (filed.h): without its name there is no image. */
extern void embed_spool_publish_filed(EmbedSpool *spool);

typedef enum EmbedPublished
{
	EMBED_PUBLISH_FAILED,		/* errno has the reason; the temporary file still exists */
	EMBED_PUBLISHED_OURS,
	EMBED_PUBLISHED_OTHERS			/* another session's equal file has the name, ours is removed */
} EmbedPublished;

/*
 * Under the writer lock: renames the file to its final name, unless another
 * session's equal file has the name.
 */
extern EmbedPublished embed_spool_publish_locked(EmbedSpool *spool);

/* After a failure; safe at any point after embed_spool_begin. */
extern void embed_spool_abort(EmbedSpool *spool);

#endif
