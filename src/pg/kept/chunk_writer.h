/*
 * chunk_writer.h
 *		Keeps the chunks of a row in the chunk table of its table.
 *
 * Example:
 *
 *		EmbedChunkWriter *writer = embed_chunk_writer(rel, trigger, cxt);
 *		EmbedCaller caller = embed_chunk_writer_enter(writer);
 *		embed_chunk_writer_put(writer, tuple, RelationGetDescr(rel), true);
 *		embed_as_caller(&caller);
 *
 * Everything runs as the owner of the chunk table, in a security-restricted
 * context with search_path pg_catalog, as the server's own foreign keys write:
 * who may write the table needs no right on its chunks.
 *
 * A chunk whose text did not change keeps its row and so its vector, also
 * under another ordinality: its row is updated, and embed_trigger leaves the
 * vector of an unchanged text alone.
 */
#ifndef EMBED_PG_KEPT_CHUNK_WRITER_H
#define EMBED_PG_KEPT_CHUNK_WRITER_H

#include "pg/glue.h"

#include "access/htup.h"
#include "executor/spi.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "pg/auto/as_owner.h"

/* Arguments of embed_chunk_trigger. */
typedef enum EmbedChunkArgument
{
	EMBED_CHUNK_SOURCE,			/* columns, as SQL writes them */
	EMBED_CHUNK_MAX_TOKENS,
	EMBED_CHUNK_OVERLAP,
	EMBED_CHUNK_MODEL,
	EMBED_CHUNK_ARGUMENTS
} EmbedChunkArgument;

typedef struct EmbedChunkWriter EmbedChunkWriter;

/*
 * The columns that a source names, as quoted column names in their order, in a
 * List of C strings; rel: the table. Raises if one is missing or no text.
 */
extern List *embed_chunk_sources(Relation rel, const char *source, const char *who);

/*
 * A writer for the table of a trigger, in cxt; its plans are freed with cxt.
 * Raises if the trigger's arguments, the chunk table or its foreign key do not
 * fit.
 */
extern EmbedChunkWriter *embed_chunk_writer(Relation rel, const Trigger *trigger, MemoryContext cxt);

/* The key's columns and the source's in SQL, for reading the table's rows; and the condition that a row t has no chunks. */
extern const char *embed_chunk_writer_columns(const EmbedChunkWriter *writer);
extern const char *embed_chunk_writer_missing(const EmbedChunkWriter *writer);

/* Whether two versions of a row have the same source. */
extern bool embed_chunk_writer_is_same(const EmbedChunkWriter *writer, HeapTuple a, HeapTuple b, TupleDesc desc);

/* As the owner of the chunk table until embed_as_caller. */
extern EmbedCaller embed_chunk_writer_enter(const EmbedChunkWriter *writer);

/* With SPI connected, as the owner. Replaces the chunks of a row; is_new: it has none yet. Returns their number. */
extern int64 embed_chunk_writer_put(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc, bool is_new);

/* The same for a row whose values stand in the order of embed_chunk_writer_columns. */
extern int64 embed_chunk_writer_put_values(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc);

/* Deletes the chunks of a row. */
extern void embed_chunk_writer_delete(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc);

#endif
