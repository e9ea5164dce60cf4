/*
 * normalize.c
 *		BertNormalizer, one code point at a time: clean_text, spaces around
 *		ideographs, NFD without nonspacing marks, lowercase.
 *
 * Canonical ordering sorts each run of non-starters by combining class. Stripping
 * marks keeps only some 80 of the 800 non-starters, in EMB_UNI_N_ORDERS classes. A
 * run that has any of them is read once per class instead of being stored. This
 * takes no buffer, and time linear in the text for runs of any length.
 */
#include "tokenizer/encode.h"

/* The next code point before ordering and stripping. */
static EmbTokEvent
next_decomposed(EmbTokEncoder *e, EmbTokPlace *at, uint32_t *cp)
{
	uint32_t	flags = e->tok->header->flags;

	while (at->next == at->n_codes)
	{
		uint32_t	c;
		EmbTokEvent event = emb_tok_next_raw(e, &at->raw, &c);
		uint32_t	props;
		bool		spaced;

		if (event != EMB_TOK_CHAR)
			return event;
		at->next = at->n_codes = 0;
		props = emb_uni_record(c)->flags;
		if ((flags & EMB_TOK_CLEAN_TEXT) != 0 && (props & (EMB_UNI_CLEAN_DROP | EMB_UNI_CLEAN_SPACE)) != 0)
		{
			if (props & EMB_UNI_CLEAN_DROP)
				continue;
			c = ' ';
		}
		spaced = (flags & EMB_TOK_CHINESE_CHARS) != 0 && (props & EMB_UNI_CJK) != 0;
		if (spaced)
			at->codes[at->n_codes++] = ' ';
		if (flags & EMB_TOK_STRIP_ACCENTS)
			at->n_codes += emb_uni_decompose(c, at->codes + at->n_codes);
		else
			at->codes[at->n_codes++] = c;
		if (spaced)
			at->codes[at->n_codes++] = ' ';
	}
	*cp = at->codes[at->next++];
	return EMB_TOK_CHAR;
}

/*
 * A kept non-starter was just read from e->place. Finds the classes in the rest of
 * the run, then goes back to read the run class by class, lowest first.
 */
static EmbTokEvent
begin_run(EmbTokEncoder *e)
{
	EmbTokPlace ahead;
	uint32_t	cp;
	EmbTokEvent event;

	e->place.next--;
	e->normal.run_start = ahead = e->place;
	e->normal.orders_left = 0;
	while ((event = next_decomposed(e, &ahead, &cp)) == EMB_TOK_CHAR)
	{
		const EmbUniRecord *record = emb_uni_record(cp);

		if ((record->flags & EMB_UNI_NONSTARTER) == 0)
			break;
		if (record->order != 0)
			e->normal.orders_left |= 1u << record->order;
	}
	if (event == EMB_TOK_MORE || event == EMB_TOK_FAIL)
		return event;
	e->normal.order_now = (uint32_t) __builtin_ctz(e->normal.orders_left);
	e->normal.orders_left &= e->normal.orders_left - 1;
	e->normal.ordering = true;
	return EMB_TOK_CHAR;
}

/* Ends a pass over a run. True if another pass follows. */
static bool
next_pass(EmbTokEncoder *e)
{
	if (e->normal.orders_left == 0)
	{
		e->normal.ordering = false;
		return false;
	}
	e->normal.order_now = (uint32_t) __builtin_ctz(e->normal.orders_left);
	e->normal.orders_left &= e->normal.orders_left - 1;
	e->place = e->normal.run_start;
	return true;
}

/* The next code point of NFD without nonspacing marks. */
static EmbTokEvent
next_stripped(EmbTokEncoder *e, uint32_t *cp)
{
	for (;;)
	{
		EmbTokEvent event = next_decomposed(e, &e->place, cp);
		const EmbUniRecord *record = event == EMB_TOK_CHAR ? emb_uni_record(*cp) : NULL;

		if (record == NULL || (record->flags & EMB_UNI_NONSTARTER) == 0)
		{
			/* The run is read again before what follows it is returned. */
			if (e->normal.ordering && event != EMB_TOK_FAIL && next_pass(e))
				continue;
			if (record != NULL && (record->flags & EMB_UNI_MN) != 0)
				continue;
			return event;
		}
		if (e->normal.ordering)
		{
			if (record->order == e->normal.order_now)
				return EMB_TOK_CHAR;
		}
		else if (record->order != 0)
		{
			event = begin_run(e);
			if (event != EMB_TOK_CHAR)
				return event;
		}
	}
}

EmbTokEvent
emb_tok_next_normalized(EmbTokEncoder *e, uint32_t *cp)
{
	uint32_t	flags = e->tok->header->flags;
	EmbTokEvent event;

	if (e->tok->header->model != EMB_TOK_WORDPIECE)
		return emb_tok_next_step(e, &e->place, (int) e->tok->header->n_steps - 1, cp);
	if (e->normal.next_lower < e->normal.n_lower)
	{
		*cp = e->normal.lower[e->normal.next_lower++];
		return EMB_TOK_CHAR;
	}
	if (flags & EMB_TOK_STRIP_ACCENTS)
		event = next_stripped(e, cp);
	else
		event = next_decomposed(e, &e->place, cp);
	if (event == EMB_TOK_CHAR && (flags & EMB_TOK_LOWERCASE) != 0)
	{
		e->normal.n_lower = (uint8_t) emb_uni_lower(*cp, e->normal.lower);
		e->normal.next_lower = 1;
		*cp = e->normal.lower[0];
	}
	return event;
}
