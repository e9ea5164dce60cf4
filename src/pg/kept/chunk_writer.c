/*
 * chunk_writer.c
 *		Keeps the chunks of a row in the chunk table of its table.
 *
 * Reads and writes are SQL, so that triggers (embed_trigger among them),
 * indexes and foreign keys of the chunk table work as for anybody's statement.
 */
#include "pg/kept/chunk_statements.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "pg/kept/chunk_match.h"

/* Rows of an INSERT: embed_trigger of the chunk table reads ahead in them. */
#define INSERT_ROWS		1000
#define INSERT_BYTES	(8 * 1024 * 1024)

bool
embed_chunk_writer_is_same(const EmbedChunkWriter *writer, HeapTuple a, HeapTuple b, TupleDesc desc)
{
	for (int i = 0; i < writer->n_sources; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, writer->sources[i] - 1);
		bool		a_isnull,
					b_isnull;
		Datum		x = heap_getattr(a, writer->sources[i], desc, &a_isnull);
		Datum		y = heap_getattr(b, writer->sources[i], desc, &b_isnull);

		if (a_isnull != b_isnull ||
			(!a_isnull && !datum_image_eq(x, y, att->attbyval, att->attlen)))
			return false;
	}
	return true;
}

/* -------------------------------------------------------------------- owner */

EmbedCaller
embed_chunk_writer_enter(const EmbedChunkWriter *writer)
{
	return embed_as_any_owner(writer->owner, SECURITY_NOFORCE_RLS);
}

/* ------------------------------------------------------------------ a row */

/* The row in work, in memory of the SPI procedure. */
typedef struct Row
{
	EmbedChunkWriter *writer;
	Datum		keys[INDEX_MAX_KEYS + 4];	/* and room for parameters */
	Datum	   *sources;
	char	   *source_nulls;
	bool		has_text;
} Row;

static EmbedPiece *
read_pieces(int64 *n)
{
	SPITupleTable *table = SPI_tuptable;
	EmbedPiece *pieces;

	*n = (int64) SPI_processed;
	pieces = MemoryContextAllocHuge(CurrentMemoryContext, Max(*n, 1) * sizeof(EmbedPiece));
	for (int64 i = 0; i < *n; i++)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		pieces[i].ordinality = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		pieces[i].start_char = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull));
		pieces[i].end_char = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull));
		embed_piece_set_chunk(&pieces[i], DatumGetTextPP(SPI_getbinval(table->vals[i], table->tupdesc, 4, &isnull)));
	}
	return pieces;
}

pg_noreturn static void
changed_error(const EmbedChunkWriter *writer)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not move a chunk in table \"%s\"", writer->chunk_table),
			 errdetail("Another transaction deleted the chunk, or a trigger of the table skipped it."),
			 errhint("Rows of \"%s\" are written by the trigger of table \"%s\" only.", writer->chunk_table, writer->table)));
}

static void
move_row(int32 from, const EmbedPiece *to, void *arg)
{
	Row		   *row = arg;
	int			n = row->writer->n_keys;

	row->keys[n] = Int32GetDatum(from);
	row->keys[n + 1] = Int32GetDatum(to != NULL ? to->ordinality : -from);
	row->keys[n + 2] = Int32GetDatum(to != NULL ? to->start_char : 0);
	row->keys[n + 3] = Int32GetDatum(to != NULL ? to->end_char : 0);
	embed_chunk_run(row->writer, EMBED_CHUNKS_MOVE, row->keys, NULL, SPI_OK_UPDATE);
	if (SPI_processed != 1)
		changed_error(row->writer);
}

static Datum
int_array(const Datum *values, int n)
{
	return PointerGetDatum(construct_array((Datum *) values, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static void
remove_unmatched(Row *row, const EmbedPiece *old, int64 n_old)
{
	Datum	   *ordinalities = MemoryContextAllocHuge(CurrentMemoryContext, Max(n_old, 1) * sizeof(Datum));
	int			n = 0;

	for (int64 i = 0; i < n_old; i++)
	{
		if (old[i].match < 0)
			ordinalities[n++] = Int32GetDatum(old[i].ordinality);
	}
	if (n > 0)
	{
		row->keys[row->writer->n_keys] = int_array(ordinalities, n);
		embed_chunk_run(row->writer, EMBED_CHUNKS_REMOVE, row->keys, NULL, SPI_OK_DELETE);
	}
	pfree(ordinalities);
}

/* Inserts the next unmatched pieces from *next on. */
static void
insert_some(Row *row, const EmbedPiece *new, int64 n_new, int64 *next)
{
	Datum		columns[4][INSERT_ROWS];
	int			n_keys = row->writer->n_keys;
	Size		bytes = 0;
	int			n = 0;

	for (; *next < n_new && n < INSERT_ROWS && bytes < INSERT_BYTES; (*next)++)
	{
		const EmbedPiece *piece = &new[*next];

		if (piece->match >= 0)
			continue;
		columns[0][n] = Int32GetDatum(piece->ordinality);
		columns[1][n] = Int32GetDatum(piece->start_char);
		columns[2][n] = Int32GetDatum(piece->end_char);
		columns[3][n] = PointerGetDatum(piece->chunk);
		bytes += VARSIZE_ANY(piece->chunk);
		n++;
	}
	if (n == 0)
		return;
	for (int i = 0; i < 3; i++)
		row->keys[n_keys + i] = int_array(columns[i], n);
	row->keys[n_keys + 3] = PointerGetDatum(construct_array(columns[3], n, TEXTOID, -1, false, TYPALIGN_INT));
	embed_chunk_run(row->writer, EMBED_CHUNKS_PUT, row->keys, NULL, SPI_OK_INSERT);
	for (int i = 0; i < 4; i++)
		pfree(DatumGetPointer(row->keys[n_keys + i]));
}

static int64
replace(Row *row, bool is_new)
{
	EmbedPiece *new = NULL;
	EmbedPiece *old = NULL;
	int64		n_new = 0,
				n_old = 0;

	if (row->has_text)
	{
		embed_chunk_run(row->writer, EMBED_CHUNKS_CUT, row->sources, row->source_nulls, SPI_OK_SELECT);
		new = read_pieces(&n_new);
	}
	if (!is_new)
	{
		embed_chunk_run(row->writer, EMBED_CHUNKS_READ, row->keys, NULL, SPI_OK_SELECT);
		old = read_pieces(&n_old);
	}
	if (n_old > 0)
	{
		embed_chunk_match(old, n_old, new, n_new);
		remove_unmatched(row, old, n_old);
		embed_chunk_moves(old, n_old, new, move_row, row);
	}
	for (int64 next = 0; next < n_new;)
		insert_some(row, new, n_new, &next);
	return n_new;
}

/* keys, sources: column numbers in tuple. */
static Row
read_row(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc, const AttrNumber *keys, const AttrNumber *sources)
{
	Row			row = {.writer = writer};
	bool		isnull;

	for (int i = 0; i < writer->n_keys; i++)
		row.keys[i] = heap_getattr(tuple, keys[i], desc, &isnull);
	row.sources = palloc(writer->n_sources * sizeof(Datum));
	row.source_nulls = palloc0(writer->n_sources + 1);
	for (int i = 0; i < writer->n_sources; i++)
	{
		row.sources[i] = heap_getattr(tuple, sources[i], desc, &isnull);
		row.source_nulls[i] = isnull ? 'n' : ' ';
		row.has_text |= !isnull;
	}
	return row;
}

int64
embed_chunk_writer_put(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc, bool is_new)
{
	Row			row = read_row(writer, tuple, desc, writer->keys, writer->sources);

	return replace(&row, is_new);
}

int64
embed_chunk_writer_put_values(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc)
{
	AttrNumber *numbers = palloc((writer->n_keys + writer->n_sources) * sizeof(AttrNumber));
	Row			row;

	for (int i = 0; i < writer->n_keys + writer->n_sources; i++)
		numbers[i] = i + 1;
	row = read_row(writer, tuple, desc, numbers, numbers + writer->n_keys);
	return replace(&row, false);
}

void
embed_chunk_writer_delete(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc)
{
	Row			row = read_row(writer, tuple, desc, writer->keys, writer->sources);

	embed_chunk_run(writer, EMBED_CHUNKS_CLEAR, row.keys, NULL, SPI_OK_DELETE);
}
