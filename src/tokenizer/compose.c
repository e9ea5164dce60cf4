/*
 * compose.c
 *		NFC, a code point at a time, as the library composes (Unicode Standard,
 *		3.11): decomposes the text, sorts each run of marks (non-starters) by
 *		combining class, and composes starter and marks. NFD does not compose. NFKC and
 *		NFKD decompose more.
 *
 * A code point without EMB_UNI_COMPOSES stays as it is, if the next one is without
 * it as well. Everything else is composed in a small buffer. A run of marks that
 * does not fit the buffer is read once to see what composes: only the first few
 * marks of each class can. Then the run is read once for each class. This takes no
 * memory, and time linear in the text for runs of any length.
 */
#include "tokenizer/encode.h"

#include <string.h>

/*
 * The maximum number of marks that compose with a starter: the longest
 * decomposition less the starter.
 */
#define COMPOSED_MAX	(EMB_UNI_DECOMPOSED_MAX - 1)

bool
emb_tok_compose_idle(const EmbTokCompose *c)
{
	return c->next_out == c->n_out && c->next == c->n_codes && !c->ordering;
}

static void
save_form(const EmbTokPlace *at, EmbTokForm *form)
{
	const EmbTokCompose *c = &at->compose;

	form->raw = at->raw;
	form->next = c->next;
	form->n_codes = c->n_codes;
	memcpy(form->codes, c->codes, c->n_codes * sizeof(uint32_t));
	memcpy(form->steps, at->steps, c->step * sizeof(EmbTokStepPlace));
}

static void
restore_form(EmbTokPlace *at, const EmbTokForm *form)
{
	EmbTokCompose *c = &at->compose;

	at->raw = form->raw;
	c->next = form->next;
	c->n_codes = form->n_codes;
	memcpy(c->codes, form->codes, form->n_codes * sizeof(uint32_t));
	memcpy(at->steps, form->steps, c->step * sizeof(EmbTokStepPlace));
}

/* The next code point of the decomposed text, not reordered. */
static EmbTokEvent
next_decomposed(EmbTokEncoder *e, EmbTokPlace *at, uint32_t *cp)
{
	EmbTokCompose *c = &at->compose;

	if (c->next == c->n_codes)
	{
		EmbTokEvent event = emb_tok_next_step(e, at, c->step - 1, cp);

		if (event != EMB_TOK_CHAR)
			return event;
		c->n_codes = (uint8_t) (c->compat ? emb_uni_decompose_compat(*cp, c->codes) : emb_uni_decompose(*cp, c->codes));
		c->next = 0;
	}
	*cp = c->codes[c->next++];
	return EMB_TOK_CHAR;
}

/* ---------------------------------------------------------- long runs */

/* Ends a pass over a long run. True if another pass follows. */
static bool
next_pass(EmbTokPlace *at)
{
	EmbTokCompose *c = &at->compose;

	if (c->orders_left == 0)
	{
		c->ordering = false;
		return false;
	}
	c->order_now = (uint8_t) __builtin_ctzll(c->orders_left);
	c->orders_left &= c->orders_left - 1;
	c->skip = 0;
	for (int i = 0; i < c->n_removed; i++)
		c->skip += c->removed[i] == c->order_now;
	restore_form(at, &c->run_start);
	return true;
}

/* The next mark of the pass, EMB_TOK_CHAR; EMB_TOK_END: the passes are over. */
static EmbTokEvent
next_ordered(EmbTokEncoder *e, EmbTokPlace *at, uint32_t *cp)
{
	for (;;)
	{
		EmbTokForm	before;
		EmbTokEvent event;
		uint8_t		order;

		save_form(at, &before);
		event = next_decomposed(e, at, cp);
		if (event == EMB_TOK_MORE || event == EMB_TOK_FAIL)
			return event;
		order = event == EMB_TOK_CHAR ? emb_uni_class(*cp) : 0;
		if (order == 0)
		{
			restore_form(at, &before);
			if (!next_pass(at))
				return EMB_TOK_END;
		}
		else if (order == at->compose.order_now)
		{
			if (at->compose.skip == 0)
				return EMB_TOK_CHAR;
			at->compose.skip--;
		}
	}
}

/* The first few marks of each class. */
typedef struct Marks
{
	uint64_t	classes;
	uint8_t		n[EMB_UNI_CLASSES_MAX];
	uint32_t	codes[EMB_UNI_CLASSES_MAX][COMPOSED_MAX];
} Marks;

/* Reads a run of marks to its end. */
static EmbTokEvent
read_marks(EmbTokEncoder *e, EmbTokPlace *at, Marks *marks)
{
	EmbTokEvent event;
	uint32_t	cp;

	memset(marks, 0, sizeof(*marks));
	while ((event = next_decomposed(e, at, &cp)) == EMB_TOK_CHAR)
	{
		uint8_t		order = emb_uni_class(cp);

		if (order == 0)
			break;
		marks->classes |= UINT64_C(1) << order;
		if (marks->n[order] < COMPOSED_MAX)
			marks->codes[order][marks->n[order]++] = cp;
	}
	return event;
}

/*
 * At the first mark of a long run after starter (0: none): composes, then goes back
 * to read the run class by class.
 */
static EmbTokEvent
begin_long_run(EmbTokEncoder *e, EmbTokPlace *at, uint32_t starter)
{
	EmbTokCompose *c = &at->compose;
	EmbTokForm	start;
	Marks		marks;
	EmbTokEvent event;

	save_form(at, &start);
	event = read_marks(e, at, &marks);
	if (event == EMB_TOK_MORE || event == EMB_TOK_FAIL)
		return event;
	c->n_removed = 0;
	for (int order = 1; order < EMB_UNI_CLASSES_MAX && starter != 0 && c->composes; order++)
		for (int i = 0; i < marks.n[order] && c->n_removed < COMPOSED_MAX; i++)
		{
			uint32_t	composed = emb_uni_compose(starter, marks.codes[order][i]);

			if (composed == 0)
				break;
			starter = composed;
			c->removed[c->n_removed++] = (uint8_t) order;
		}
	c->run_start = start;
	c->orders_left = marks.classes;
	c->ordering = true;
	c->next_out = c->n_out = 0;
	if (starter != 0)
		c->out[c->n_out++] = starter;
	next_pass(at);
	return EMB_TOK_CHAR;
}

/* ---------------------------------------------------------- short runs */

/*
 * Sorts n marks by class, in a stable order, and composes those that are not
 * blocked with *starter (0: none), unless the form only decomposes. Returns the number
 * of marks left.
 */
static int
compose_marks(uint32_t *starter, uint32_t *marks, int n, bool composes)
{
	int			n_kept = 0;
	uint8_t		last = 0;

	for (int i = 1; i < n; i++)
	{
		uint32_t	moved = marks[i];
		int			k = i;

		for (; k > 0 && emb_uni_class(marks[k - 1]) > emb_uni_class(moved); k--)
			marks[k] = marks[k - 1];
		marks[k] = moved;
	}
	for (int i = 0; i < n; i++)
	{
		uint8_t		order = emb_uni_class(marks[i]);
		uint32_t	composed = composes && *starter != 0 && last < order ? emb_uni_compose(*starter, marks[i]) : 0;

		if (composed != 0)
			*starter = composed;
		else
		{
			marks[n_kept++] = marks[i];
			last = order;
		}
	}
	return n_kept;
}

/* Fills out with the next starter, composed as far as possible, and the marks after it. */
static EmbTokEvent
compose_next(EmbTokEncoder *e, EmbTokPlace *at)
{
	EmbTokCompose *c = &at->compose;
	EmbTokForm	before;
	uint32_t	starter = 0;
	uint32_t	cp = 0;
	int			n_marks = 0;
	EmbTokEvent event;

	for (;;)
	{
		EmbTokForm	run_start;

		save_form(at, &run_start);
		for (n_marks = 0;; n_marks++)
		{
			save_form(at, &before);
			event = next_decomposed(e, at, &cp);
			if (event == EMB_TOK_MORE || event == EMB_TOK_FAIL)
				return event;
			if (event != EMB_TOK_CHAR || emb_uni_class(cp) == 0)
				break;
			if (n_marks == EMB_TOK_MARKS_MAX)
			{
				restore_form(at, &run_start);
				return begin_long_run(e, at, starter);
			}
			c->out[1 + n_marks] = cp;
		}
		n_marks = compose_marks(&starter, c->out + 1, n_marks, c->composes);
		/* A starter composes with the starter before it only if no mark is between them. */
		if (event == EMB_TOK_CHAR && n_marks == 0)
		{
			uint32_t	composed = starter == 0 ? cp : c->composes ? emb_uni_compose(starter, cp) : 0;

			if (composed != 0)
			{
				starter = composed;
				continue;
			}
		}
		break;
	}
	restore_form(at, &before);
	c->out[0] = starter;
	c->next_out = starter == 0;
	c->n_out = (uint8_t) (1 + n_marks);
	return EMB_TOK_CHAR;
}

/*
 * EMB_TOK_CHAR: *cp stays as it is. EMB_TOK_END: the next character may change, and
 * nothing was read; or the next event is no character, and *event is that event.
 */
static EmbTokEvent
next_alone(EmbTokEncoder *e, EmbTokPlace *at, uint32_t *cp, EmbTokEvent *event)
{
	const uint32_t changes = EMB_UNI_COMPOSES | (at->compose.compat ? EMB_UNI_COMPAT : 0);
	EmbTokRaw	before = at->raw;
	EmbTokRaw	ahead;
	uint32_t	next = 0;

	if (at->compose.step > 0)
	{
		EmbTokForm	form;

		save_form(at, &form);
		*event = emb_tok_next_step(e, at, at->compose.step - 1, cp);
		if (*event == EMB_TOK_CHAR)
			restore_form(at, &form);
		return EMB_TOK_END;
	}
	*event = emb_tok_next_raw(e, &at->raw, cp);
	if (*event != EMB_TOK_CHAR)
		return EMB_TOK_END;
	/* NFD and NFKD change text beyond this flag. */
	if ((emb_uni_record(*cp)->flags & changes) == 0 && (at->compose.composes || *cp < 0x80))
	{
		EmbTokEvent next_event = EMB_TOK_CHAR;

		/* ASCII never composes with what comes before. */
		if (at->raw.pos >= e->len || e->text[at->raw.pos] >= 0x80)
		{
			ahead = at->raw;
			next_event = emb_tok_next_raw(e, &ahead, &next);
		}
		if (next_event == EMB_TOK_MORE || next_event == EMB_TOK_FAIL)
			return next_event;
		if (next_event != EMB_TOK_CHAR || (emb_uni_record(next)->flags & changes) == 0)
			return EMB_TOK_CHAR;
	}
	at->raw = before;
	return EMB_TOK_END;
}

EmbTokEvent
emb_tok_next_composed(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t *cp)
{
	EmbTokCompose *c = &at->compose;
	EmbTokEvent event = EMB_TOK_CHAR;
	uint32_t	kind = e->tok->header->steps[step].kind;

	c->step = (uint8_t) step;
	c->composes = kind == EMB_TOK_STEP_NFC || kind == EMB_TOK_STEP_NFKC;
	c->compat = kind == EMB_TOK_STEP_NFKC || kind == EMB_TOK_STEP_NFKD;

	for (;;)
	{
		EmbTokEvent status;

		if (c->next_out < c->n_out)
		{
			*cp = c->out[c->next_out++];
			return EMB_TOK_CHAR;
		}
		if (c->ordering)
		{
			status = next_ordered(e, at, cp);
			if (status != EMB_TOK_END)
				return status;
			continue;
		}
		if (c->next == c->n_codes)
		{
			status = next_alone(e, at, cp, &event);
			if (status != EMB_TOK_END)
				return status;
			if (event != EMB_TOK_CHAR)
				return event;
		}
		status = compose_next(e, at);
		if (status != EMB_TOK_CHAR)
			return status;
	}
}
