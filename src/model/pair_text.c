/*
 * pair_text.c
 *		Pairs that a decoder reads as one text, by the model's template.
 *
 * The ids are those of the prefix, of the middle and of the suffix. The middle
 * is cut on its right, so that all fits. Where the template has a seam, the
 * middle's first part, the head, is tokenized once for all documents of a
 * query; else the middle is one text.
 */
#include "model/model.h"

#include <string.h>

/* ------------------------------------------------------------ joined texts */

/*
 * Reads all readers first: the first of them may free what was read before.
 */
EmbStatus
emb_read_joined(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	EmbJoined  *joined = ctx;
	EmbText		parts[EMB_JOINED_MAX];
	size_t		bytes = 0;
	int			n = 0;
	bool		complete = true;

	emb_release(joined->mem, joined->buffer);
	joined->buffer = NULL;
	for (; n < joined->n && complete; n++)
	{
		const EmbPiece *piece = &joined->pieces[n];
		EmbStatus	status = EMB_OK;

		if (piece->reader == NULL)
			parts[n] = (EmbText) {piece->text, piece->bytes, true, NULL};
		else
			status = piece->reader->read(piece->reader->ctx, want, &parts[n], err);
		if (status != EMB_OK)
			return status;
		complete = parts[n].complete;
		if (parts[n].len > SIZE_MAX - bytes)
			return emb_error(err, EMB_ERR_NOMEM, "out of memory for a prompt and a text");
		bytes += parts[n].len;
	}
	joined->buffer = emb_alloc(joined->mem, bytes);
	if (joined->buffer == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a prompt and %zu bytes of text", bytes);
	*text = (EmbText) {joined->buffer, bytes, complete, NULL};
	bytes = 0;
	for (int i = 0; i < n; i++)
	{
		if (parts[i].len > 0)
			memcpy(joined->buffer + bytes, parts[i].text, parts[i].len);
		bytes += parts[i].len;
	}
	return EMB_OK;
}

static void
add_text(EmbJoined *joined, const char *text, size_t bytes)
{
	joined->pieces[joined->n++] = (EmbPiece) {.text = text, .bytes = bytes};
}

static void
add_reader(EmbJoined *joined, const EmbTextReader *reader)
{
	joined->pieces[joined->n++] = (EmbPiece) {.reader = reader};
}

/* ---------------------------------------------------------------- opening */

static EmbStatus
read_ids(const EmbModel *model, EmbTemplateText which, int32_t *ids, int32_t *n_ids, EmbError *err)
{
	const EmbOpenTemplate *t = &model->template;
	EmbText		text = {t->pair.texts[which], t->bytes[which], true, NULL};
	EmbTokResult r;
	EmbStatus	status = emb_tok_encode(model->tok, &text, &(EmbReading) {.ids = ids, .max_ids = EMB_TEMPLATE_MAX_BYTES}, &r, err);

	if (status == EMB_OK && r.truncated)
		status = emb_error(err, EMB_ERR_FORMAT, "the template has more than %d tokens", EMB_TEMPLATE_MAX_BYTES);
	*n_ids = status == EMB_OK ? r.n_ids : 0;
	return status;
}

/*
 * The ids of prefix and suffix, some dozens, are not in the image: the
 * tokenizer makes them in microseconds.
 */
EmbStatus
emb_template_open(EmbModel *model, EmbError *err)
{
	EmbOpenTemplate *t = &model->template;
	int32_t    *ids = emb_alloc_array(&model->mem, 2 * EMB_TEMPLATE_MAX_BYTES, sizeof(int32_t));
	EmbStatus	status;

	if (ids == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	status = read_ids(model, EMB_TEMPLATE_PREFIX, ids, &t->n_prefix, err);
	if (status == EMB_OK)
		status = read_ids(model, EMB_TEMPLATE_SUFFIX, ids + t->n_prefix, &t->n_suffix, err);
	if (status == EMB_OK)
	{
		t->ids = emb_alloc_array(&model->mem, (size_t) t->n_prefix + t->n_suffix, sizeof(int32_t));
		if (t->ids == NULL)
			status = emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
		else
			memcpy(t->ids, ids, ((size_t) t->n_prefix + t->n_suffix) * sizeof(int32_t));
	}
	emb_release(&model->mem, ids);
	return status;
}

/* ---------------------------------------------------------------- reading */

/* Adds what is before the query, and the query. */
static void
add_query(const EmbModel *model, const EmbTextReader *query, const EmbReading *to, EmbJoined *joined)
{
	const EmbOpenTemplate *t = &model->template;
	const char *instruction = to->instruction != NULL ? to->instruction : t->pair.texts[EMB_TEMPLATE_INSTRUCTION];
	size_t		bytes = to->instruction != NULL ? to->instruction_bytes : t->bytes[EMB_TEMPLATE_INSTRUCTION];

	if (bytes > 0)
	{
		add_text(joined, t->pair.texts[EMB_TEMPLATE_BEFORE_INSTRUCTION], t->bytes[EMB_TEMPLATE_BEFORE_INSTRUCTION]);
		add_text(joined, instruction, bytes);
		add_text(joined, t->pair.texts[EMB_TEMPLATE_BEFORE_QUERY], t->bytes[EMB_TEMPLATE_BEFORE_QUERY]);
	}
	else
		add_text(joined, t->pair.texts[EMB_TEMPLATE_PLAIN], t->bytes[EMB_TEMPLATE_PLAIN]);
	add_reader(joined, query);
}

static EmbStatus
check_instruction(const EmbModel *model, const EmbReading *to, EmbError *err)
{
	if (to->instruction == NULL || model->template.pair.takes_instruction)
		return EMB_OK;
	emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model takes no instruction");
	return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT, "Its template has no place for one; leave the instruction out.");
}

/* Encodes what joined holds to ids + at, so that the suffix fits behind it. */
static EmbStatus
read_joined_ids(const EmbModel *model, EmbJoined *joined, const EmbReading *to, int32_t at, EmbTokResult *r, EmbError *err)
{
	EmbTextReader reader = {joined, emb_read_joined};
	EmbReading	middle = {.ids = to->ids + at, .max_ids = to->max_ids - model->template.n_suffix - at, .mem = to->mem, .stop = to->stop};
	EmbStatus	status = emb_tok_read(model->tok, &reader, &middle, r, err);

	emb_release(joined->mem, joined->buffer);
	joined->buffer = NULL;
	return status;
}

EmbStatus
emb_template_read_first(const EmbModel *model, const EmbTextReader *query, const EmbReading *to,
						EmbTextIds *known, EmbError *err)
{
	const EmbOpenTemplate *t = &model->template;
	EmbJoined	head = {.mem = to->mem};
	EmbTokResult r = {0};
	EmbStatus	status = check_instruction(model, to, err);

	if (status != EMB_OK)
		return status;
	memcpy(to->ids, t->ids, t->n_prefix * sizeof(int32_t));
	*known = (EmbTextIds) {.ids = to->ids, .n_ids = t->n_prefix, .longer = true};
	if (t->pair.seam == EMB_TEMPLATE_NO_SEAM)
		return EMB_OK;
	add_query(model, query, to, &head);
	add_text(&head, t->pair.texts[EMB_TEMPLATE_BEFORE_DOCUMENT], t->pair.seam);
	status = read_joined_ids(model, &head, to, t->n_prefix, &r, err);
	if (status == EMB_OK && r.need_more)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the query is not complete");
	*known = (EmbTextIds) {.ids = to->ids, .n_ids = t->n_prefix + r.n_ids, .longer = r.truncated};
	return status;
}

/* Ids of the head in to->ids: the caller's, if it knows them. */
static EmbStatus
recall_head(const EmbModel *model, const EmbTextReader *a, const EmbReading *to, EmbTextIds *head, EmbError *err)
{
	EmbText		text = {0};
	EmbStatus	status = a->read(a->ctx, 1, &text, err);

	if (status != EMB_OK)
		return status;
	if (text.known == NULL)
		return emb_template_read_first(model, a, to, head, err);
	/* known for the same max_ids: it fits */
	*head = *text.known;
	if (head->n_ids > to->max_ids - model->template.n_suffix)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the query was read for more tokens than the pair may have");
	if (head->ids != to->ids)
		memcpy(to->ids, head->ids, head->n_ids * sizeof(int32_t));
	return EMB_OK;
}

/* The middle as one text; only the prefix is shared. */
static EmbStatus
read_whole(const EmbModel *model, const EmbTextReader *a, const EmbTextReader *b, const EmbReading *to,
		   EmbTextIds *head, EmbTokResult *r, EmbError *err)
{
	const EmbOpenTemplate *t = &model->template;
	EmbJoined	middle = {.mem = to->mem};
	EmbStatus	status = check_instruction(model, to, err);

	if (status != EMB_OK)
		return status;
	memcpy(to->ids, t->ids, t->n_prefix * sizeof(int32_t));
	*head = (EmbTextIds) {.ids = to->ids, .n_ids = t->n_prefix};
	add_query(model, a, to, &middle);
	add_text(&middle, t->pair.texts[EMB_TEMPLATE_BEFORE_DOCUMENT], t->bytes[EMB_TEMPLATE_BEFORE_DOCUMENT]);
	add_reader(&middle, b);
	return read_joined_ids(model, &middle, to, t->n_prefix, r, err);
}

/* The head, and what is behind the seam; nothing of that where the head alone is too long. */
static EmbStatus
read_parts(const EmbModel *model, const EmbTextReader *a, const EmbTextReader *b, const EmbReading *to,
		   EmbTextIds *head, EmbTokResult *r, EmbError *err)
{
	const EmbOpenTemplate *t = &model->template;
	EmbJoined	tail = {.mem = to->mem};
	EmbStatus	status = recall_head(model, a, to, head, err);

	if (status != EMB_OK)
		return status;
	*r = (EmbTokResult) {.truncated = true};
	if (head->longer)
		return EMB_OK;
	add_text(&tail, t->pair.texts[EMB_TEMPLATE_BEFORE_DOCUMENT] + t->pair.seam, t->bytes[EMB_TEMPLATE_BEFORE_DOCUMENT] - t->pair.seam);
	add_reader(&tail, b);
	return read_joined_ids(model, &tail, to, head->n_ids, r, err);
}

EmbStatus
emb_template_read_pair(const EmbModel *model, const EmbTextReader *a, const EmbTextReader *b,
					   const EmbReading *to, EmbEncoded *result, EmbError *err)
{
	const EmbOpenTemplate *t = &model->template;
	EmbTextIds	head;
	EmbTokResult r = {0};
	int32_t		n_ids;
	EmbStatus	status = t->pair.seam == EMB_TEMPLATE_NO_SEAM ? read_whole(model, a, b, to, &head, &r, err)
		: read_parts(model, a, b, to, &head, &r, err);

	if (status != EMB_OK)
		return status;
	*result = (EmbEncoded) {.truncated = r.truncated, .need_more = r.need_more};
	if (r.need_more)
		return EMB_OK;
	n_ids = head.n_ids + r.n_ids;
	memcpy(to->ids + n_ids, t->ids + t->n_prefix, t->n_suffix * sizeof(int32_t));
	result->n_ids = n_ids + t->n_suffix;
	result->n_shared = head.n_ids;
	if (to->type_ids != NULL)
		memset(to->type_ids, 0, result->n_ids * sizeof(int32_t));
	return EMB_OK;
}
