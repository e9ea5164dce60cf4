/*
 * chunk_statements.h
 *		What a writer of chunks knows of its tables, and the statements that it
 *		runs on the chunk table. For the files of chunk_writer.h only.
 *
 * Example:
 *
 *		Datum	values[] = {Int32GetDatum(7)};
 *		embed_chunk_run(writer, EMBED_CHUNKS_READ, values, NULL, SPI_OK_SELECT);
 *		n_chunks = SPI_processed;
 */
#ifndef EMBED_PG_KEPT_CHUNK_STATEMENTS_H
#define EMBED_PG_KEPT_CHUNK_STATEMENTS_H

#include "pg/kept/chunk_writer.h"

/* The statements, prepared at first use. */
typedef enum EmbedChunkStatement
{
	EMBED_CHUNKS_CUT,			/* sources -> chunks */
	EMBED_CHUNKS_READ,			/* key -> chunks */
	EMBED_CHUNKS_REMOVE,		/* key, ordinalities */
	EMBED_CHUNKS_CLEAR,			/* key */
	EMBED_CHUNKS_MOVE,			/* key, ordinality, new ordinality, start, end */
	EMBED_CHUNKS_PUT,			/* key, arrays of ordinality, start, end, chunk */
	EMBED_CHUNKS_STATEMENTS
} EmbedChunkStatement;

struct EmbedChunkWriter
{
	MemoryContext cxt;
	MemoryContextCallback callback;
	Oid			owner;			/* of the chunk table */
	char	   *chunks;			/* its qualified name in SQL */
	char	   *cutter;			/* embed_chunks, qualified */
	char	   *table;			/* name, for messages */
	char	   *chunk_table;
	const char *arguments[EMBED_CHUNK_ARGUMENTS];
	int			n_keys;
	AttrNumber	keys[INDEX_MAX_KEYS];	/* of the table */
	Oid			key_types[INDEX_MAX_KEYS];
	char	   *key_names[INDEX_MAX_KEYS];	/* of the table, quoted */
	char	   *chunk_key_names[INDEX_MAX_KEYS];	/* of the chunk table, quoted */
	char	   *key_operators[INDEX_MAX_KEYS];	/* key = key of the chunk table */
	int			n_sources;
	AttrNumber *sources;
	Oid		   *source_types;
	char	  **source_names;
	SPIPlanPtr	plans[EMBED_CHUNKS_STATEMENTS];
};

/* Runs a statement; SPI is connected, values are those of its parameters. Raises if its result is not the expected code. */
extern void embed_chunk_run(EmbedChunkWriter *writer, EmbedChunkStatement which, Datum *values, const char *nulls, int expected);

#endif
