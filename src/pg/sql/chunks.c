/*
 * chunks.c
 *		embed_chunks(): cuts a text into rows.
 *
 * The core cuts the text in UTF-8. Positions are those that substring() uses
 * in the server's encoding. A chunk copies the value's own bytes and is never
 * converted back and forth.
 */
#include "pg/glue.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/call/callsite.h"
#include "pg/sql/rows.h"
#include "pg/call/text_value.h"

#define CHARS_PER_LOOK	262144

/* The text, and the position reached in it. */
typedef struct Source
{
	const char *bytes;
	int			n_bytes;
	bool		walks;			/* character sizes vary, and differ from UTF-8 */
	int			start;			/* of the last chunk; bytes and characters from 0 */
	int64		start_char;
} Source;

/*
 * Some characters of EUC_JIS_2004 become two in Unicode. Such texts are
 * refused, because a cut could lie between the two.
 */
static void
check_characters(const Source *source, const char *utf8, size_t len)
{
	int64		n = 0;

	for (size_t i = 0; i < len; i++)
	{
		n += !emb_utf8_is_inside((uint8_t) utf8[i]);
		if (i % CHARS_PER_LOOK == 0)
			CHECK_FOR_INTERRUPTS();
	}
	if (n != embed_text_chars(source->bytes, source->n_bytes))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("text has characters of encoding %s that become several characters in Unicode", GetDatabaseEncodingName())));
}

static Source
open_source(struct varlena *value, const char *utf8, size_t len)
{
	Source		source = {.bytes = VARDATA_ANY(value), .n_bytes = (int) VARSIZE_ANY_EXHDR(value)};

	source.walks = GetDatabaseEncoding() != PG_UTF8 && pg_database_encoding_max_length() > 1;
	if (source.walks)
		check_characters(&source, utf8, len);
	return source;
}

static int
walk(const Source *source, int pos, int64 n_chars)
{
	while (n_chars-- > 0 && pos < source->n_bytes)
	{
		pos += pg_mblen(source->bytes + pos);
		if (n_chars % CHARS_PER_LOOK == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return Min(pos, source->n_bytes);
}

/*
 * The chunk's bytes and its substring() positions: *start_char from 1,
 * *end_char after the last character.
 */
static text *
source_chunk(Source *source, const EmbChunk *chunk, int64 *start_char, int64 *end_char)
{
	int			start = (int) chunk->start;
	int			end = (int) chunk->end;

	*start_char = chunk->start_char + 1;
	*end_char = chunk->end_char + 1;
	if (source->walks)
	{
		start = walk(source, source->start, chunk->start_char - source->start_char);
		end = walk(source, start, chunk->end_char - chunk->start_char);
		source->start = start;
		source->start_char = chunk->start_char;
	}
	else if (GetDatabaseEncoding() == PG_SQL_ASCII)
	{
		*start_char = start + 1;
		*end_char = end + 1;
	}
	else if (GetDatabaseEncoding() != PG_UTF8)
	{
		start = (int) chunk->start_char;
		end = (int) chunk->end_char;
	}
	return cstring_to_text_with_len(source->bytes + start, end - start);
}

static void
put_chunk(EmbedRows *rows, Source *source, const EmbChunk *chunk, int32 ordinality)
{
	bool		nulls[5] = {false, false, false, false, false};
	int64		start_char,
				end_char;
	text	   *copy = source_chunk(source, chunk, &start_char, &end_char);
	Datum		values[5] = {Int32GetDatum(ordinality), Int32GetDatum((int32) start_char), Int32GetDatum((int32) end_char),
		Int32GetDatum(chunk->n_tokens), PointerGetDatum(copy)};

	tuplestore_putvalues(rows->store, rows->desc, values, nulls);
	pfree(copy);
}

/*
 * embed_chunks(input text, max_tokens int, overlap int [, model text])
 * returns table (ordinality int, start_char int, end_char int, tokens int, chunk text)
 */
EMBED_CALL(embed_chunks)
{
	EmbedSite  *site = embed_reader_site(fcinfo);
	const EmbedModelRef *ref = embed_site_resolve_arg(site, fcinfo, 3);
	EmbChunking how = {EMB_PROMPT_DOCUMENT, PG_GETARG_INT32(1), PG_GETARG_INT32(2)};
	EmbedRows	rows = embed_rows_begin(fcinfo);
	struct varlena *value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	size_t		len;
	const char *utf8 = embed_text_utf8(PointerGetDatum(value), &len);
	Source		source = open_source(value, utf8, len);
	EmbAllocator mem = embed_allocator(CurrentMemoryContext);
	EmbStop		stop = embed_stop();
	EmbChunk	chunk = {0};

	embed_registry_check(ref, EMB_OK, NULL);
	for (int32 ordinality = 1;; ordinality++)
	{
		EmbError	err;
		EmbStatus	status;

		CHECK_FOR_INTERRUPTS();
		status = emb_model_next_chunk(ref->model, &how, utf8, len, &mem, &stop, &chunk, &err);
		embed_registry_check(ref, status, &err);
		if (chunk.n_tokens == 0)
			break;
		put_chunk(&rows, &source, &chunk, ordinality);
	}
	return (Datum) 0;
}
