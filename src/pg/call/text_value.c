/*
 * text_value.c
 *		From a text Datum to token ids.
 */
#include "pg/call/text_value.h"

#include "access/detoast.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

/*
 * The first cut: most texts hold fewer bytes a token than this, so one cut
 * usually serves. Each further cut is CUT_GROWTH times as long, which bounds
 * the work at 4/3 of that for the last one.
 */
#define CUT_BYTES_PER_TOKEN 8
#define CUT_BYTES_MIN		4096
#define CUT_GROWTH			4

/* Text that is converted, verified or walked through between two looks for a cancel. */
#define PIECE_BYTES			(256 * 1024)

/* Length of the longest prefix of s that ends between UTF-8 characters; s may be no UTF-8 at all. */
static int
clip_utf8(const char *s, int len)
{
	int			start = len - 1;

	/* at most three continuation bytes stand behind a lead byte */
	while (start > 0 && start > len - 4 && ((unsigned char) s[start] & 0xC0) == 0x80)
		start--;
	if (start >= 0 && start + pg_utf_mblen((const unsigned char *) s + start) > len)
		return start;
	return len;
}

/*
 * The first want bytes of value (fewer if it has fewer), without copying where
 * it lies in memory as it is. UTF-8 is cut between characters.
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

/* The longest start of s[0 .. len) of at most PIECE_BYTES that ends between two characters; 0: there is none. */
static int
piece_bytes(const char *s, int len)
{
	int			limit = Min(len, PIECE_BYTES);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return clip_utf8(s, limit);
	return pg_mbcliplen(s, limit, limit);
}

/* SQL_ASCII: the text as it is, found to be UTF-8. */
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
 * s in UTF-8, in CurrentMemoryContext, converted piece by piece: 300 MB of LATIN1
 * take most of a second, and the server's conversion looks for no cancel. Each
 * character of a server's encoding is converted by itself.
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

/* As value_prefix, in UTF-8. SQL_ASCII is taken for UTF-8; 22021 if it is not. */
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

EmbEncoded
embed_text_encode(const EmbedModelRef *ref, EmbPrompt prompt, Datum value,
				  int32 *ids, MemoryContext scratch)
{
	Size		total = toast_raw_datum_size(value) - VARHDRSZ;
	Size		want = Max((Size) ref->info->max_tokens * CUT_BYTES_PER_TOKEN, CUT_BYTES_MIN);
	EmbAllocator mem = embed_allocator(scratch);
	EmbStop		stop = embed_stop();

	/* before as well: on other bytes than those of the import nothing is safe */
	embed_registry_check(ref, EMB_OK, NULL);
	for (;;)
	{
		EmbEncoded	result;
		EmbError	err;
		EmbStatus	status;
		const char *s;
		size_t		len;
		MemoryContext old = MemoryContextSwitchTo(scratch);

		s = value_prefix_utf8(value, want, total, &len);
		MemoryContextSwitchTo(old);
		status = emb_model_encode(ref->model, prompt, s, len, want >= total,
								  ids, ref->info->max_tokens, &mem, &stop, &result, &err);
		embed_registry_check(ref, status, &err);
		MemoryContextReset(scratch);
		if (want >= total || !result.need_more)
			return result;
		CHECK_FOR_INTERRUPTS();
		want *= CUT_GROWTH;
	}
}

/* value's first want bytes, in memory of scratch. */
static EmbText
pair_member(Datum value, Size want, MemoryContext scratch)
{
	Size		total = toast_raw_datum_size(value) - VARHDRSZ;
	MemoryContext old = MemoryContextSwitchTo(scratch);
	EmbText		member;

	member.text = value_prefix_utf8(value, want, total, &member.len);
	member.complete = want >= total;
	member.known = NULL;
	MemoryContextSwitchTo(old);
	return member;
}

void
embed_text_encode_query(const EmbedModelRef *ref, Datum query, int32 *ids, EmbTextIds *known, MemoryContext scratch)
{
	Size		want = Max((Size) ref->info->max_tokens * CUT_BYTES_PER_TOKEN, CUT_BYTES_MIN);
	EmbStop		stop = embed_stop();

	embed_registry_check(ref, EMB_OK, NULL);
	for (;;)
	{
		EmbText		text = pair_member(query, want, scratch);
		bool		need_more;
		EmbError	err;
		EmbStatus	status = emb_model_encode_first(ref->model, &text, ids, ref->info->max_tokens, &stop,
													known, &need_more, &err);

		embed_registry_check(ref, status, &err);
		MemoryContextReset(scratch);
		if (!need_more)
			return;
		CHECK_FOR_INTERRUPTS();
		want *= CUT_GROWTH;
	}
}

EmbEncoded
embed_text_encode_pair(const EmbedModelRef *ref, Datum query, const EmbTextIds *known, Datum doc,
					   int32 *ids, int32 *type_ids, MemoryContext scratch)
{
	Size		want = Max((Size) ref->info->max_tokens * CUT_BYTES_PER_TOKEN, CUT_BYTES_MIN);
	EmbStop		stop = embed_stop();

	embed_registry_check(ref, EMB_OK, NULL);
	for (;;)
	{
		EmbText		first = known->longer ? pair_member(query, want, scratch) : (EmbText) {NULL, 0, true, NULL};
		EmbText		second = pair_member(doc, want, scratch);
		EmbEncoded	result;
		EmbError	err;
		EmbStatus	status;

		first.known = known;
		status = emb_model_encode_pair(ref->model, &first, &second, ids, type_ids,
									   ref->info->max_tokens, &stop, &result, &err);
		embed_registry_check(ref, status, &err);
		MemoryContextReset(scratch);
		if (!result.need_more)
			return result;
		CHECK_FOR_INTERRUPTS();
		want *= CUT_GROWTH;
	}
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
