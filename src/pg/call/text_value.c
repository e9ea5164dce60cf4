/*
 * text_value.c
 *		From a text Datum to token ids.
 */
#include "pg/call/text_value.h"

#include "access/detoast.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

/* Bytes of text that are converted, verified or counted between two polls for a cancel. */
#define PIECE_BYTES			(256 * 1024)

/* The length of the longest prefix of s that ends between UTF-8 characters; s may not be UTF-8 at all. */
static int
clip_utf8(const char *s, int len)
{
	int			start = len - 1;

	/* at most three continuation bytes follow a lead byte */
	while (start > 0 && start > len - 4 && emb_utf8_is_inside((uint8_t) s[start]))
		start--;
	if (start >= 0 && start + pg_utf_mblen((const unsigned char *) s + start) > len)
		return start;
	return len;
}

/*
 * Returns the first want bytes of value, or all of a shorter value. A value
 * that is neither compressed nor out of line is not copied. UTF-8 is cut
 * between characters.
 */
static const char *
value_prefix(Datum value, Size want, Size total, int *len)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);
	const char *s;
	Size		n;

	if (VARATT_IS_EXTERNAL(v) || VARATT_IS_COMPRESSED(v))
	{
		struct varlena *part;

		if (want < total)
			part = pg_detoast_datum_slice(v, 0, (int32) want);
		else
			part = pg_detoast_datum_packed(v);
		s = VARDATA_ANY(part);
		n = VARSIZE_ANY_EXHDR(part);
	}
	else
	{
		s = VARDATA_ANY(v);
		n = Min(want, VARSIZE_ANY_EXHDR(v));
	}
	if (n < total && GetDatabaseEncoding() == PG_UTF8)
		n = clip_utf8(s, (int) n);
	*len = (int) n;
	return s;
}

/* --------------------------------------------------------- other encodings */

/*
 * The length of the longest prefix of s[0 .. len) that has at most PIECE_BYTES
 * and ends between two characters; 0: there is none.
 */
static int
piece_bytes(const char *s, int len)
{
	int			limit = Min(len, PIECE_BYTES);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return clip_utf8(s, limit);
	return pg_mbcliplen(s, limit, limit);
}

/* SQL_ASCII: returns s itself. Raises if s is not UTF-8. */
static const char *
verify_pieces(const char *s, int len, bool is_whole, size_t *n)
{
	int			pos = 0;

	while (pos < len)
	{
		int			piece = piece_bytes(s + pos, len - pos);

		CHECK_FOR_INTERRUPTS();
		if (piece == 0 && !is_whole)
			break;
		piece = piece > 0 ? piece : len - pos;
		(void) pg_server_to_any(s + pos, piece, PG_UTF8);
		pos += piece;
	}
	*n = pos;
	return s;
}

/*
 * Returns s in UTF-8, in CurrentMemoryContext. It converts piece by piece,
 * because the server's conversion does not poll for a cancel, and 300 MB of
 * LATIN1 take most of a second. Pieces give the same result, because each
 * character of a server encoding is converted by itself.
 */
static const char *
convert_pieces(const char *s, int len, bool is_whole, size_t *n)
{
	Size		room = (Size) len + len / 8 + 4 * (Size) Min(len, PIECE_BYTES) + 1;
	char	   *utf8 = MemoryContextAllocHuge(CurrentMemoryContext, room);
	int			pos = 0;

	*n = 0;
	while (pos < len)
	{
		int			piece = piece_bytes(s + pos, len - pos);
		char	   *converted;
		size_t		bytes;

		CHECK_FOR_INTERRUPTS();
		if (piece == 0 && !is_whole)
			break;
		piece = piece > 0 ? piece : len - pos;
		converted = pg_server_to_any(s + pos, piece, PG_UTF8);
		bytes = converted == s + pos ? (size_t) piece : strlen(converted);
		if (room - *n < bytes)
		{
			room = Max(room + room / 2, *n + bytes);
			utf8 = repalloc_huge(utf8, room);
		}
		memcpy(utf8 + *n, converted, bytes);
		*n += bytes;
		pos += piece;
		if (converted != s + pos - piece)
			pfree(converted);
	}
	return utf8;
}

/* As value_prefix, in UTF-8. SQL_ASCII is read as UTF-8; other bytes raise 22021. */
static const char *
value_prefix_utf8(Datum value, Size want, Size total, size_t *len)
{
	int			n;
	const char *s = value_prefix(value, want, total, &n);
	bool		is_whole = want >= total;

	if (GetDatabaseEncoding() == PG_UTF8)
	{
		*len = n;
		return s;
	}
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return verify_pieces(s, n, is_whole, len);
	return convert_pieces(s, n, is_whole, len);
}

const char *
embed_text_utf8(Datum value, size_t *len)
{
	Size		total = toast_raw_datum_size(value) - VARHDRSZ;

	return value_prefix_utf8(value, total, total, len);
}

/* ----------------------------------------------------------------- reading */

/* Reads a text value for the tokenizer. */
typedef struct ValueReader
{
	Datum		value;
	Size		total;
	MemoryContext scratch;
	bool		begins;			/* reading resets scratch; false for the text of a pair that is read second */
	const EmbTextIds *known;	/* or NULL */
	ErrorData  *error;			/* the error that reading raised */
} ValueReader;

static ValueReader
value_reader(Datum value, MemoryContext scratch)
{
	return (ValueReader) {.value = value, .total = toast_raw_datum_size(value) - VARHDRSZ, .scratch = scratch, .begins = true};
}

/*
 * Detoasting and conversion may raise, but no error may longjmp through the
 * core. So the reader keeps the error until the core has returned
 * (finish_reading).
 */
static EmbStatus
read_value(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	ValueReader *reader = ctx;
	MemoryContext old = CurrentMemoryContext;

	*text = (EmbText) {.complete = want >= reader->total, .known = reader->known};
	if (reader->begins)
		MemoryContextReset(reader->scratch);
	PG_TRY();
	{
		MemoryContextSwitchTo(reader->scratch);
		text->text = value_prefix_utf8(reader->value, want, reader->total, &text->len);
		MemoryContextSwitchTo(old);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		reader->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	return reader->error == NULL ? EMB_OK : emb_error(err, EMB_ERR_CANCELLED, "the text cannot be read");
}

/* For a query whose ids are all known. */
static EmbStatus
read_nothing(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	(void) want;
	(void) err;
	*text = (EmbText) {.complete = true, .known = ((ValueReader *) ctx)->known};
	return EMB_OK;
}

/* After the core has returned: raises the error of a reader (other may be NULL) or of the core. */
static void
finish_reading(const EmbedModelRef *ref, const ValueReader *reader, const ValueReader *other, EmbStatus status, const EmbError *err)
{
	ErrorData  *error = reader->error;

	if (error == NULL && other != NULL)
		error = other->error;
	if (error != NULL)
		ReThrowError(error);
	embed_registry_check(ref, status, err);
	MemoryContextReset(reader->scratch);
}

EmbEncoded
embed_text_encode(const EmbedModelRef *ref, EmbPrompt prompt, EmbedInstruction instruction, Datum value,
				  int32 *ids, MemoryContext scratch)
{
	ValueReader reader = value_reader(value, scratch);
	EmbTextReader text = {&reader, read_value};
	EmbAllocator mem = embed_allocator(scratch);
	EmbStop		stop = embed_stop();
	EmbReading	to = {.ids = ids, .max_ids = Max(ref->info->max_tokens, ref->info->max_query_tokens), .mem = &mem, .stop = &stop,
		.instruction = instruction.text, .instruction_bytes = instruction.bytes};
	EmbEncoded	result;
	EmbError	err;
	EmbStatus	status;

	/* also before the call: reading an image that was changed is not safe */
	embed_registry_check(ref, EMB_OK, NULL);
	status = emb_model_read(ref->model, prompt, &text, &to, &result, &err);
	finish_reading(ref, &reader, NULL, status, &err);
	return result;
}

void
embed_text_encode_query(const EmbedModelRef *ref, EmbedInstruction instruction, Datum query, int32 *ids,
						EmbTextIds *known, MemoryContext scratch)
{
	ValueReader reader = value_reader(query, scratch);
	EmbTextReader text = {&reader, read_value};
	EmbAllocator mem = embed_allocator(scratch);
	EmbStop		stop = embed_stop();
	EmbReading	to = {.ids = ids, .max_ids = ref->info->max_tokens, .mem = &mem, .stop = &stop,
		.instruction = instruction.text, .instruction_bytes = instruction.bytes};
	EmbError	err;
	EmbStatus	status;

	embed_registry_check(ref, EMB_OK, NULL);
	status = emb_model_read_first(ref->model, &text, &to, known, &err);
	finish_reading(ref, &reader, NULL, status, &err);
}

EmbEncoded
embed_text_encode_pair(const EmbedModelRef *ref, EmbedInstruction instruction, Datum query,
					   const EmbTextIds *known, Datum doc, int32 *ids, int32 *type_ids, MemoryContext scratch)
{
	ValueReader query_reader = value_reader(query, scratch);
	ValueReader doc_reader = value_reader(doc, scratch);
	EmbTextReader first = {&query_reader, known->longer ? read_value : read_nothing};
	EmbTextReader second = {&doc_reader, read_value};
	EmbAllocator mem = embed_allocator(scratch);
	EmbStop		stop = embed_stop();
	EmbReading	to = {.ids = ids, .type_ids = type_ids, .max_ids = ref->info->max_tokens, .mem = &mem, .stop = &stop,
		.instruction = instruction.text, .instruction_bytes = instruction.bytes};
	EmbEncoded	result;
	EmbError	err;
	EmbStatus	status;

	query_reader.known = known;
	doc_reader.begins = !known->longer;
	embed_registry_check(ref, EMB_OK, NULL);
	status = emb_model_read_pair(ref->model, &first, &second, &to, &result, &err);
	finish_reading(ref, &query_reader, &doc_reader, status, &err);
	return result;
}

int64
embed_text_chars(const char *s, int len)
{
	int64		n = 0;

	while (len > 0)
	{
		int			piece = piece_bytes(s, len);

		CHECK_FOR_INTERRUPTS();
		piece = piece > 0 ? piece : len;
		n += pg_mbstrlen_with_len(s, piece);
		s += piece;
		len -= piece;
	}
	return n;
}

int64
embed_text_count(const EmbedModelRef *ref, EmbPrompt prompt, Datum value, MemoryContext scratch, bool *truncated)
{
	Size		total = toast_raw_datum_size(value) - VARHDRSZ;
	EmbAllocator mem = embed_allocator(scratch);
	EmbStop		stop = embed_stop();
	EmbError	err;
	EmbStatus	status;
	int64_t		n_tokens;
	const char *s;
	size_t		len;
	MemoryContext old = MemoryContextSwitchTo(scratch);

	s = value_prefix_utf8(value, total, total, &len);
	MemoryContextSwitchTo(old);
	embed_registry_check(ref, EMB_OK, NULL);
	status = emb_model_count_tokens(ref->model, prompt, s, len, &mem, &stop, &n_tokens, &err);
	*truncated = status == EMB_OK && !emb_model_reads_all(ref->model, prompt, s, len, n_tokens);
	embed_registry_check(ref, status, &err);
	MemoryContextReset(scratch);
	return n_tokens;
}
