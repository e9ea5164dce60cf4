/*
 * text.c
 *		From a text Datum to token ids.
 */
#include "pg/text.h"

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
 * it lies in memory as it is. Cut between characters unless it is all of it.
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
	if (n < total)
	{
		if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
			n = clip_utf8(s, (int) n);
		else
			n = pg_mbcliplen(s, (int) n, (int) n);
	}
	*len = (int) n;
	return s;
}

/* As value_prefix, in UTF-8. SQL_ASCII is taken for UTF-8; 22021 if it is not. */
static const char *
value_prefix_utf8(Datum value, Size want, Size total, size_t *len)
{
	int			n;
	const char *s = value_prefix(value, want, total, &n);
	const char *utf8;

	if (GetDatabaseEncoding() == PG_UTF8)
	{
		*len = n;
		return s;
	}
	utf8 = pg_server_to_any(s, n, PG_UTF8);
	*len = utf8 == s ? (size_t) n : strlen(utf8);
	return utf8;
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
	MemoryContextSwitchTo(old);
	return member;
}

EmbEncoded
embed_text_encode_pair(const EmbedModelRef *ref, Datum query, Datum doc,
					   int32 *ids, int32 *type_ids, MemoryContext scratch)
{
	Size		want = Max((Size) ref->info->max_tokens * CUT_BYTES_PER_TOKEN, CUT_BYTES_MIN);
	EmbStop		stop = embed_stop();

	embed_registry_check(ref, EMB_OK, NULL);
	for (;;)
	{
		EmbText		first = pair_member(query, want, scratch);
		EmbText		second = pair_member(doc, want, scratch);
		EmbEncoded	result;
		EmbError	err;
		EmbStatus	status = emb_model_encode_pair(ref->model, &first, &second, ids, type_ids,
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
