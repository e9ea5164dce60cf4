/*
 * steps.c
 *		Normalization as a list of steps (all models but BERT's). Each step pulls
 *		code points from the step before. To look ahead in the text, a step reads
 *		from a copy of the place.
 */
#include "tokenizer/encode.h"

#include <string.h>

static inline bool
is_space(uint32_t cp)
{
	return (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0;
}

enum
{
	VERDICT_NONE, VERDICT_KEEP, VERDICT_DROP
};

/* Sets the verdict on a run of white space: whether anything else follows in this segment. */
static EmbTokEvent
judge_spaces(EmbTokEncoder *e, const EmbTokPlace *at, int step, uint8_t *verdict)
{
	EmbTokPlace ahead = *at;
	EmbTokEvent event;
	uint32_t	cp;

	do
		event = emb_tok_next_step(e, &ahead, step - 1, &cp);
	while (event == EMB_TOK_CHAR && is_space(cp));
	if (event == EMB_TOK_MORE || event == EMB_TOK_FAIL)
		return event;
	*verdict = event == EMB_TOK_CHAR ? VERDICT_KEEP : VERDICT_DROP;
	return EMB_TOK_CHAR;
}

static EmbTokEvent
next_stripped(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t arg, uint32_t *cp)
{
	EmbTokStepPlace *s = &at->steps[step];

	for (;;)
	{
		EmbTokEvent event = emb_tok_next_step(e, at, step - 1, cp);

		if (event != EMB_TOK_CHAR)
		{
			memset(s, 0, sizeof(*s));
			return event;
		}
		if (!is_space(*cp))
		{
			s->inside = true;
			s->verdict = VERDICT_NONE;
			return EMB_TOK_CHAR;
		}
		if ((arg & EMB_TOK_STRIP_LEFT) != 0 && !s->inside)
			continue;
		if ((arg & EMB_TOK_STRIP_RIGHT) == 0)
			return EMB_TOK_CHAR;
		/* Judged once per run: the verdict is valid until the run ends. */
		if (s->verdict == VERDICT_NONE && (event = judge_spaces(e, at, step, &s->verdict)) != EMB_TOK_CHAR)
			return event;
		if (s->verdict == VERDICT_KEEP)
			return EMB_TOK_CHAR;
	}
}

/* Replaces " {2,}" by one character. */
static EmbTokEvent
next_collapsed(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t content, uint32_t *cp)
{
	EmbTokEvent event = emb_tok_next_step(e, at, step - 1, cp);

	if (event != EMB_TOK_CHAR || *cp != ' ')
		return event;
	for (;;)
	{
		EmbTokPlace before = *at;
		uint32_t	next;

		event = emb_tok_next_step(e, at, step - 1, &next);
		if (event == EMB_TOK_MORE || event == EMB_TOK_FAIL)
			return event;
		if (event != EMB_TOK_CHAR || next != ' ')
		{
			*at = before;
			return EMB_TOK_CHAR;
		}
		*cp = content;
	}
}

static EmbTokEvent
next_lowered(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t *cp)
{
	EmbTokStepPlace *s = &at->steps[step];

	if (s->next_lower == s->n_lower)
	{
		EmbTokEvent event = emb_tok_next_step(e, at, step - 1, cp);

		if (event != EMB_TOK_CHAR)
			return event;
		s->n_lower = (uint8_t) emb_uni_lower(*cp, s->lower);
		s->next_lower = 0;
	}
	*cp = s->lower[s->next_lower++];
	return EMB_TOK_CHAR;
}

/* Puts a character before the first one of a segment, which is kept meanwhile. */
static EmbTokEvent
next_prepended(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t arg, uint32_t *cp)
{
	EmbTokStepPlace *s = &at->steps[step];
	EmbTokEvent event;

	if (s->next_lower < s->n_lower)
	{
		*cp = s->lower[s->next_lower++];
		return EMB_TOK_CHAR;
	}
	event = emb_tok_next_step(e, at, step - 1, cp);
	if (event != EMB_TOK_CHAR)
		memset(s, 0, sizeof(*s));
	else if (!s->inside)
	{
		s->inside = true;
		s->lower[0] = *cp;
		s->n_lower = 1;
		s->next_lower = 0;
		*cp = arg;
	}
	return event;
}

/* Leaves out characters that have a flag. */
static EmbTokEvent
next_without(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t flag, uint32_t *cp)
{
	EmbTokEvent event;

	do
		event = emb_tok_next_step(e, at, step - 1, cp);
	while (event == EMB_TOK_CHAR && (emb_uni_record(*cp)->flags & flag) != 0);
	return event;
}

EmbTokEvent
emb_tok_next_step(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t *cp)
{
	const EmbTokStep *s;
	EmbTokEvent event;

	if (step < 0)
		return emb_tok_next_raw(e, &at->raw, cp);
	s = &e->tok->header->steps[step];
	switch (s->kind)
	{
		case EMB_TOK_STEP_PRECOMPILED:
			return emb_tok_next_precompiled(e, at, step, cp);
		case EMB_TOK_STEP_STRIP:
			return next_stripped(e, at, step, s->arg, cp);
		case EMB_TOK_STEP_COLLAPSE:
			return next_collapsed(e, at, step, s->arg, cp);
		case EMB_TOK_STEP_LOWERCASE:
			return next_lowered(e, at, step, cp);
		case EMB_TOK_STEP_NFC:
		case EMB_TOK_STEP_NFD:
		case EMB_TOK_STEP_NFKC:
		case EMB_TOK_STEP_NFKD:
			return emb_tok_next_composed(e, at, step, cp);
		case EMB_TOK_STEP_NMT:
			event = next_without(e, at, step, EMB_UNI_NMT_DROP, cp);
			if (event == EMB_TOK_CHAR && (emb_uni_record(*cp)->flags & EMB_UNI_NMT_SPACE) != 0)
				*cp = ' ';
			return event;
		case EMB_TOK_STEP_STRIP_ACCENTS:
			return next_without(e, at, step, EMB_UNI_MARK, cp);
		case EMB_TOK_STEP_BLANKS:
			event = emb_tok_next_step(e, at, step - 1, cp);
			if (event == EMB_TOK_CHAR && *cp == ' ')
				*cp = s->arg;
			return event;
		case EMB_TOK_STEP_PREPEND:
			return next_prepended(e, at, step, s->arg, cp);
		default:
			return emb_tok_corrupt(e);
	}
}

bool
emb_tok_steps_idle(const EmbTokEncoder *e)
{
	const EmbTokBlockHeader *h = e->tok->header;

	for (uint32_t i = 0; i < h->n_steps; i++)
	{
		const EmbTokStepPlace *s = &e->place.steps[i];

		if (s->map_at < s->map_end || s->next_lower < s->n_lower || s->verdict == VERDICT_DROP ||
			(s->cluster.before & EMB_UNI_GC_CLASS) == EMB_UNI_GC_PREPEND ||
			((h->steps[i].kind == EMB_TOK_STEP_STRIP || h->steps[i].kind == EMB_TOK_STEP_PREPEND) && !s->inside))
			return false;
	}
	return emb_tok_compose_idle(&e->place.compose);
}

void
emb_tok_steps_passed(EmbTokEncoder *e)
{
	for (uint32_t i = 0; i < e->tok->header->n_steps; i++)
	{
		e->place.steps[i].cluster = (EmbUniCluster) {0};
		e->place.steps[i].verdict = VERDICT_NONE;
	}
}

uint8_t
emb_tok_steps_fast(const EmbTokenizer *tok, uint8_t c)
{
	const EmbTokBlockHeader *h = tok->header;
	uint32_t	lower[EMB_UNI_LOWER_MAX];

	for (uint32_t i = 0; i < h->n_steps; i++)
	{
		uint32_t	at = 0,
					end = 0;
		EmbTokMapped mapped;

		switch (h->steps[i].kind)
		{
			case EMB_TOK_STEP_PRECOMPILED:
				mapped = emb_tok_map_find(tok, &c, 1, &at, &end);
				if (mapped == EMB_TOK_MAP_CORRUPT || (mapped == EMB_TOK_MAP_FOUND && end - at != 1))
					return 0;
				c = mapped == EMB_TOK_MAP_FOUND ? tok->map_text[at] : c;
				break;
			case EMB_TOK_STEP_LOWERCASE:
				emb_uni_lower(c, lower);
				c = (uint8_t) lower[0];
				break;
			case EMB_TOK_STEP_BLANKS:
				if (c == ' ')
					return 0;
				break;
			default:
				break;
		}
		if (c <= ' ' || c >= 0x7F)
			return c == ' ' ? ' ' : 0;
	}
	return c;
}
