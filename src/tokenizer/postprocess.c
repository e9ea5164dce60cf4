/*
 * postprocess.c
 *		Truncation and templates: the ids a model reads.
 */
#include <string.h>

#include "tokenizer/encode.h"

static EmbStatus
check_max_ids(const EmbTokenizer *tok, bool pair, int32_t max_ids, EmbError *err)
{
	if (max_ids < tok->n_special[pair])
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "at most %d tokens are allowed, the special tokens alone are %d",
						 max_ids, tok->n_special[pair]);
	return EMB_OK;
}

/* Where the template puts the texts, given their numbers of ids. */
static void
text_offsets(const EmbTokBlockHeader *h, bool pair, const int32_t n_ids[2], int32_t offsets[2])
{
	int32_t		at = 0;

	for (uint32_t i = 0; i < h->n_slots[pair]; i++)
		if (h->slots[pair][i].kind == EMB_TOK_SLOT_SPECIAL)
			at++;
		else
		{
			int			which = h->slots[pair][i].kind == EMB_TOK_SLOT_B;

			offsets[which] = at;
			at += n_ids[which];
		}
}

/*
 * Writes the special tokens around the texts, which are in place, and type ids if
 * wanted. Returns the length.
 */
static int32_t
fill_template(const EmbTokBlockHeader *h, bool pair, const int32_t n_ids[2], int32_t *ids, int32_t *type_ids)
{
	int32_t		at = 0;

	for (uint32_t i = 0; i < h->n_slots[pair]; i++)
	{
		const EmbTokBlockSlot *slot = &h->slots[pair][i];
		int32_t		n = 1;

		if (slot->kind == EMB_TOK_SLOT_SPECIAL)
			ids[at] = slot->id;
		else
			n = n_ids[slot->kind == EMB_TOK_SLOT_B];
		for (int32_t j = 0; type_ids != NULL && j < n; j++)
			type_ids[at + j] = slot->type_id;
		at += n;
	}
	return at;
}

EmbStatus
emb_tok_encode(const EmbTokenizer *tok, const EmbText *text, const EmbReading *to, EmbTokResult *result, EmbError *err)
{
	const EmbTokBlockHeader *h = tok->header;
	EmbTokEncoder e;
	EmbTokEvent event;
	int32_t		room = to->max_ids - tok->n_special[0];
	int32_t		n_ids[2] = {0, 0};
	int32_t		offsets[2] = {0, 0};
	EmbStatus	status = check_max_ids(tok, false, to->max_ids, err);

	*result = (EmbTokResult) {0, false, false};
	if (status != EMB_OK)
		return status;
	text_offsets(h, false, n_ids, offsets);
	emb_tok_encoder_init(&e, tok, text, to->ids + offsets[0], room, to->stop, err);
	event = emb_tok_encoder_run(&e, room);
	emb_tok_encoder_finish(&e);
	switch (event)
	{
		case EMB_TOK_FAIL:
			return e.status;
		case EMB_TOK_MORE:
			result->need_more = true;
			return EMB_OK;
		default:
			break;
	}
	result->truncated = e.out.n_ids > room;
	n_ids[0] = result->truncated ? room : (int32_t) e.out.n_ids;
	result->n_ids = fill_template(h, false, n_ids, to->ids, NULL);
	return EMB_OK;
}

EmbStatus
emb_tok_count_up_to(const EmbTokenizer *tok, const char *text, size_t len, int64_t max, const EmbStop *stop,
					int64_t *n_tokens, size_t *n_read, EmbError *err)
{
	EmbTokEncoder e;
	int64_t		limit = max - tok->n_special[0];
	EmbTokEvent event;

	emb_tok_encoder_init(&e, tok, &(EmbText) {text, len, true, NULL}, NULL, 0, stop, err);
	event = emb_tok_encoder_run(&e, limit < -1 ? -1 : limit);
	emb_tok_encoder_finish(&e);
	if (event == EMB_TOK_FAIL)
		return e.status;
	*n_tokens = e.out.n_ids + tok->n_special[0];
	*n_read = e.out.done ? len : e.place.raw.pos > e.run.read_to ? e.place.raw.pos : e.run.read_to;
	return EMB_OK;
}

EmbStatus
emb_tok_count(const EmbTokenizer *tok, const char *text, size_t len, const EmbStop *stop, int64_t *n_tokens, EmbError *err)
{
	size_t		n_read;

	return emb_tok_count_up_to(tok, text, len, INT64_MAX - 1, stop, n_tokens, &n_read, err);
}

static EmbStatus
too_short(EmbError *err, const char *which, int32_t room)
{
	return emb_error(err, EMB_ERR_INVALID_ARGUMENT,
					 "the %s text leaves no room: only %d tokens are allowed for both texts", which, room);
}

/* Runs e up to limit ids. need_more: the prefix ended before that. */
static EmbStatus
run_one(EmbTokEncoder *e, int64_t limit, bool *need_more)
{
	EmbTokEvent event = emb_tok_encoder_run(e, limit);

	*need_more = event == EMB_TOK_MORE;
	return event == EMB_TOK_FAIL ? e->status : EMB_OK;
}

static EmbStatus
run_both(EmbTokEncoder *a, int64_t a_limit, EmbTokEncoder *b, int64_t b_limit, bool *need_more)
{
	bool		a_needs_more;
	EmbStatus	status = run_one(a, a_limit, &a_needs_more);

	if (status == EMB_OK)
		status = run_one(b, b_limit, need_more);
	*need_more |= a_needs_more;
	return status;
}

/*
 * Finds which of two texts is longer, if both have more than room ids: reads on in
 * both, in turns, until one of them ends.
 */
static EmbStatus
find_longer(EmbTokEncoder *a, EmbTokEncoder *b, bool *need_more)
{
	int64_t		limit = a->out.n_ids > b->out.n_ids ? a->out.n_ids : b->out.n_ids;

	while (!a->out.done && !b->out.done)
	{
		EmbStatus	status;

		limit *= 2;
		status = run_both(a, limit, b, limit, need_more);
		if (status != EMB_OK || *need_more)
			return status;
	}
	return run_both(a, b->out.n_ids, b, a->out.n_ids, need_more);
}

/*
 * Like the library's truncate_encodings. Both texts have been read until they end
 * or exceed room.
 */
static EmbStatus
truncate_longest_first(EmbTokEncoder *a, EmbTokEncoder *b, int32_t room, int32_t n_ids[2], bool *need_more)
{
	int64_t		n_short,
				n_long,
				n_swap;
	bool		swapped;

	/* If both texts are cut and room is odd, the longer text gets the odd token. */
	if (a->out.n_ids > room && b->out.n_ids > room && room % 2 != 0)
	{
		EmbStatus	status = find_longer(a, b, need_more);

		if (status != EMB_OK || *need_more)
			return status;
	}
	swapped = a->out.n_ids > b->out.n_ids;
	n_short = swapped ? b->out.n_ids : a->out.n_ids;
	n_long = n_short;
	if (n_short <= room && room - n_short > n_short)
		n_long = room - n_short;
	if (n_short + n_long > room)
	{
		n_short = room / 2;
		n_long = n_short + room % 2;
	}
	if (swapped)
	{
		n_swap = n_short;
		n_short = n_long;
		n_long = n_swap;
	}
	n_ids[0] = (int32_t) n_short;
	n_ids[1] = (int32_t) n_long;
	return EMB_OK;
}

/* Sets the number of ids that each text keeps. */
static EmbStatus
truncate_pair(EmbTokEncoder *a, EmbTokEncoder *b, EmbTokTruncation truncation, int32_t room,
			  int32_t n_ids[2], EmbTokResult *result, EmbError *err)
{
	result->truncated = a->out.n_ids + b->out.n_ids > room;
	if (!result->truncated)
	{
		n_ids[0] = (int32_t) a->out.n_ids;
		n_ids[1] = (int32_t) b->out.n_ids;
		return EMB_OK;
	}
	n_ids[0] = n_ids[1] = 0;
	if (room == 0)
		return EMB_OK;
	if (truncation == EMB_TOK_LONGEST_FIRST)
		return truncate_longest_first(a, b, room, n_ids, &result->need_more);
	if (truncation == EMB_TOK_ONLY_FIRST)
	{
		if (b->out.n_ids >= room)
			return too_short(err, "second", room);
		n_ids[1] = (int32_t) b->out.n_ids;
		n_ids[0] = room - n_ids[1];
		return EMB_OK;
	}
	if (a->out.n_ids >= room)
		return too_short(err, "first", room);
	n_ids[0] = (int32_t) a->out.n_ids;
	n_ids[1] = room - n_ids[0];
	return EMB_OK;
}

EmbStatus
emb_tok_encode_first(const EmbTokenizer *tok, const EmbText *text, const EmbReading *to,
					 EmbTextIds *known, bool *need_more, EmbError *err)
{
	EmbTokEncoder e;
	int32_t		room = to->max_ids - tok->n_special[1];
	EmbTokEvent event;
	EmbStatus	status = check_max_ids(tok, true, to->max_ids, err);

	if (status != EMB_OK)
		return status;
	emb_tok_encoder_init(&e, tok, text, to->ids, room, to->stop, err);
	event = emb_tok_encoder_run(&e, room);
	emb_tok_encoder_finish(&e);
	if (event == EMB_TOK_FAIL)
		return e.status;
	*need_more = event == EMB_TOK_MORE;
	*known = (EmbTextIds) {.ids = to->ids, .n_ids = e.out.n_ids > room ? room : (int32_t) e.out.n_ids, .longer = e.out.n_ids > room};
	return EMB_OK;
}

/* Leaves e as a run up to room ids would, except that e cannot run on. */
static void
recall_first(EmbTokEncoder *e, const EmbTextIds *known)
{
	if (known->n_ids > 0)
		memcpy(e->out.ids, known->ids, known->n_ids * sizeof(int32_t));
	e->out.n_ids = (int64_t) known->n_ids + known->longer;
	e->out.done = !known->longer;
}

/*
 * Reads both texts until they end or exceed room. A known first text is read only
 * where find_longer will go on in it.
 */
static EmbStatus
read_pair(EmbTokEncoder *first, const EmbTextIds *known, EmbTokEncoder *second, int32_t room, bool *need_more)
{
	EmbStatus	status;

	if (known == NULL)
		return run_both(first, room, second, room, need_more);
	status = run_one(second, room, need_more);
	if (status != EMB_OK || *need_more)
		return status;
	if (known->longer && second->out.n_ids > room && room % 2 != 0)
		return run_one(first, room, need_more);
	recall_first(first, known);
	return EMB_OK;
}

EmbStatus
emb_tok_encode_pair(const EmbTokenizer *tok, const EmbText *a, const EmbText *b,
					EmbTokTruncation truncation, const EmbReading *to, EmbTokResult *result, EmbError *err)
{
	EmbTokEncoder first,
				second;
	int32_t    *ids = to->ids;
	int32_t    *type_ids = to->type_ids;
	int32_t		room = to->max_ids - tok->n_special[1];
	int32_t		n_ids[2];
	int32_t		offsets[2];
	EmbStatus	status;

	*result = (EmbTokResult) {0, false, false};
	if (!emb_tok_has_pair(tok))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "the model's tokenizer takes no pairs of texts");
	if ((status = check_max_ids(tok, true, to->max_ids, err)) != EMB_OK)
		return status;

	/* Until the place of the second text's ids is known, they are stored in type_ids. */
	emb_tok_encoder_init(&first, tok, a, ids, room, to->stop, err);
	emb_tok_encoder_init(&second, tok, b, type_ids, room, to->stop, err);
	status = read_pair(&first, a->known, &second, room, &result->need_more);
	if (status == EMB_OK && !result->need_more)
		status = truncate_pair(&first, &second, truncation, room, n_ids, result, err);
	emb_tok_encoder_finish(&first);
	emb_tok_encoder_finish(&second);
	if (status != EMB_OK || result->need_more)
		return status;

	text_offsets(tok->header, true, n_ids, offsets);
	memmove(ids + offsets[0], ids, n_ids[0] * sizeof(int32_t));
	memcpy(ids + offsets[1], type_ids, n_ids[1] * sizeof(int32_t));
	result->n_ids = fill_template(tok->header, true, n_ids, ids, type_ids);
	return EMB_OK;
}

/* ------------------------------------------------------- texts pulled */

/*
 * Length of the first cut. Most texts have fewer bytes per token than this, so one
 * cut is usually enough. Each further cut is CUT_GROWTH times as long, so all cuts
 * together take at most 4/3 of the work of the last cut.
 */
#define CUT_BYTES_PER_TOKEN 8
#define CUT_BYTES_MIN		4096
#define CUT_GROWTH			4

/* The arguments of emb_tok_read, emb_tok_read_first or emb_tok_read_pair. */
typedef struct Pull
{
	const EmbTokenizer *tok;
	const EmbTextReader *a;
	const EmbTextReader *b;		/* for a pair, else NULL */
	EmbTokTruncation truncation;	/* for a pair */
	EmbTextIds *known;			/* for emb_tok_read_first, else NULL */
	const EmbReading *to;
	EmbTokResult *result;
} Pull;

/* Encodes the first want bytes of each text. *n_bytes: bytes that the readers returned. */
static EmbStatus
pull_once(const Pull *pull, size_t want, size_t *n_bytes, EmbError *err)
{
	EmbText		a = {0};
	EmbText		b = {0};
	EmbStatus	status = pull->a->read(pull->a->ctx, want, &a, err);

	if (status == EMB_OK && pull->b != NULL)
		status = pull->b->read(pull->b->ctx, want, &b, err);
	if (status != EMB_OK)
		return status;
	*n_bytes = a.len + b.len;
	if (pull->known != NULL)
		return emb_tok_encode_first(pull->tok, &a, pull->to, pull->known, &pull->result->need_more, err);
	if (pull->b != NULL)
		return emb_tok_encode_pair(pull->tok, &a, &b, pull->truncation, pull->to, pull->result, err);
	return emb_tok_encode(pull->tok, &a, pull->to, pull->result, err);
}

/*
 * Encodes a growing prefix of the texts, until the ids are certain or the readers
 * have no more text.
 */
static EmbStatus
pull_texts(const Pull *pull, EmbError *err)
{
	size_t		want = (size_t) (pull->to->max_ids > 0 ? pull->to->max_ids : 0) * CUT_BYTES_PER_TOKEN;
	size_t		n_before = 0;

	for (want = want > CUT_BYTES_MIN ? want : CUT_BYTES_MIN;; want = want > SIZE_MAX / CUT_GROWTH ? SIZE_MAX : want * CUT_GROWTH)
	{
		size_t		n_bytes = 0;
		EmbStatus	status = pull_once(pull, want, &n_bytes, err);

		if (status != EMB_OK || !pull->result->need_more || n_bytes <= n_before)
			return status;
		if (emb_should_stop(pull->to->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "tokenization was cancelled");
		n_before = n_bytes;
	}
}

EmbStatus
emb_tok_read(const EmbTokenizer *tok, const EmbTextReader *text, const EmbReading *to, EmbTokResult *result, EmbError *err)
{
	Pull		pull = {.tok = tok, .a = text, .to = to, .result = result};

	return pull_texts(&pull, err);
}

EmbStatus
emb_tok_read_first(const EmbTokenizer *tok, const EmbTextReader *text, const EmbReading *to,
				   EmbTextIds *known, bool *need_more, EmbError *err)
{
	EmbTokResult result = {0};
	Pull		pull = {.tok = tok, .a = text, .known = known, .to = to, .result = &result};
	EmbStatus	status = pull_texts(&pull, err);

	*need_more = result.need_more;
	return status;
}

EmbStatus
emb_tok_read_pair(const EmbTokenizer *tok, const EmbTextReader *a, const EmbTextReader *b,
				  EmbTokTruncation truncation, const EmbReading *to, EmbTokResult *result, EmbError *err)
{
	Pull		pull = {.tok = tok, .a = a, .b = b, .truncation = truncation, .to = to, .result = result};

	return pull_texts(&pull, err);
}
