/*
 * image_rows.h
 *		Images as rows: _embed.image and _embed.chunk (tables.h).
 */
#ifndef EMBED_PG_STORE_IMAGE_ROWS_H
#define EMBED_PG_STORE_IMAGE_ROWS_H

#include "pg/glue.h"

#include "utils/snapshot.h"

#include "pg/stat/progress_state.h"

#define EMBED_STORED_CHUNK_BYTES	(1024 * 1024)

extern bool embed_storage_find_image(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes);
extern bool embed_storage_find_image_limits(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes, int32 *max_tokens);

/* Whether the row of the image says that the image is a file (filed.h). */
extern bool embed_storage_image_is_filed(const uint8 *fingerprint, Snapshot snapshot);

/*
 * Whether the row of the image and at least one stored chunk exist; for a
 * restore that loads one after the other. A filed image has no stored chunks.
 */
extern bool embed_storage_image_is_stored(const uint8 *fingerprint, Snapshot snapshot);

/* Whether any stored chunk of the image exists. */
extern bool embed_storage_has_stored_chunks(const uint8 *fingerprint);

/*
 * The first EMB_IMAGE_HEAD_BYTES of an image, of rows or of a file; false if
 * they cannot be read.
 */
extern bool embed_storage_image_head(const uint8 *fingerprint, char *head);

/* The first property, by its column, in which the row of an image differs from another model's; NULL: none. */
extern const char *embed_storage_other_property(const uint8 *fingerprint, const EmbModelInfo *info);

/* The kind of a stored image, palloc'd. */
extern char *embed_storage_image_kind(const uint8 *fingerprint);

/*
 * Visits the stored chunks in order, as of snapshot (not NULL: a drop that
 * commits in the meantime must not tear the image). visit may raise. The data
 * is valid only during the call.
 */
typedef void (*EmbedStoredChunkVisit) (void *ctx, const char *data, size_t size);
extern void embed_storage_read_image(const uint8 *fingerprint, Snapshot snapshot, EmbedStoredChunkVisit visit, void *ctx);

/*
 * Checks the rows of an image. Returns NULL if they are whole, else the first
 * defect, palloc'd ("stored chunk 3 of 0 to 22 is missing"). check reads only
 * the row of the image and its stored chunks in order, with their sizes and
 * hash; for a filed image only the row. compare names the stored chunk or
 * column that differs from an intact image; image NULL: only the columns. One
 * pass over the stored chunks, serving cancels; may raise.
 */
extern char *embed_storage_check_rows(const uint8 *fingerprint, Snapshot snapshot);
extern char *embed_storage_compare_rows(const uint8 *fingerprint, Snapshot snapshot, const EmbModelInfo *info, const char *image);

/*
 * Whether an image of that size is stored: its last stored chunk exists. Any
 * role may have written the rows, so no space is reserved before this check.
 */
extern bool embed_storage_size_is_credible(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes);

/* image NULL: a filed image, which has no stored chunks. Enters the stage "store" where progress is entered. */
extern void embed_storage_insert_image(const uint8 *fingerprint, const EmbModelInfo *info, const char *image, EmbedProgressEntry *progress);
extern void embed_storage_delete_image(const uint8 *fingerprint);

#endif
