/*
 * hf_tokenizer_spec.c
 *		Fills an EmbTokSpec, for every reader of tokenizer files.
 */
#include "import/hf_tokenizer_spec.h"

#include <stdio.h>
#include <string.h>

EmbStatus
emb_tok_spec_begin(EmbTokSpec *spec, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage;

	memset(spec, 0, sizeof(EmbTokSpec));
	storage = emb_alloc_zero(mem, 1, sizeof(EmbTokStorage));
	if (storage == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading a tokenizer");
	storage->max_added_id = -1;
	spec->storage = storage;
	spec->model = EMB_TOK_WORDPIECE;
	spec->clean_text = true;
	spec->handle_chinese_chars = true;
	spec->strip_accents = true;
	spec->lowercase = true;
	spec->continuing_prefix = (EmbTokPiece) {"##", 2};
	spec->max_chars_per_word = 100;
	return EMB_OK;
}

void
emb_tok_spec_free(EmbTokSpec *spec, const EmbAllocator *mem)
{
	EmbTokStorage *storage = spec->storage;

	if (storage != NULL)
	{
		for (int i = 0; i < EMB_TOK_STORAGE_DOCS; i++)
			emb_json_free(&storage->docs[i]);
		emb_release(mem, storage->text);
		emb_release(mem, storage->pieces);
		emb_release(mem, storage->added);
		emb_release(mem, storage->sorted);
		emb_release(mem, storage->scores);
		emb_release(mem, storage->merges);
		emb_release(mem, storage->charsmap);
		emb_release(mem, storage);
	}
	memset(spec, 0, sizeof(EmbTokSpec));
}

int32_t
emb_tok_spec_find(const EmbTokSpec *spec, const char *text)
{
	const EmbTokStorage *storage = spec->storage;
	int32_t		low = 0,
				high = storage->sorted != NULL ? storage->n_sorted : 0;
	size_t		len = strlen(text);

	if (storage->vocab != NULL)
	{
		const json_t *id = json_object_get(storage->vocab, text);

		return id != NULL ? (int32_t) json_integer_value(id) : -1;
	}
	while (low < high)
	{
		int32_t		mid = low + (high - low) / 2;
		const EmbTokPiece *piece = &spec->pieces[storage->sorted[mid]];
		int			cmp = memcmp(text, piece->text, len < piece->len ? len : piece->len);

		if (cmp == 0)
			cmp = (len > piece->len) - (len < piece->len);
		if (cmp == 0)
			return storage->sorted[mid];
		if (cmp < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

static EmbStatus
grow_added(EmbTokSpec *spec, const char *file, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	int			capacity = storage->added_capacity > 0 ? storage->added_capacity * 2 : 16;
	EmbTokAdded *bigger;

	if (spec->n_added >= EMB_TOK_MAX_ADDED_TOKENS)
		return emb_error(err, EMB_ERR_LIMIT, "%s has more than %d added tokens", file, EMB_TOK_MAX_ADDED_TOKENS);
	bigger = emb_alloc_array(mem, capacity, sizeof(EmbTokAdded));
	if (bigger == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	if (spec->n_added > 0)
		memcpy(bigger, storage->added, spec->n_added * sizeof(EmbTokAdded));
	emb_release(mem, storage->added);
	storage->added = spec->added = bigger;
	storage->added_capacity = capacity;
	return EMB_OK;
}

static EmbStatus
append_added(EmbTokSpec *spec, const char *file, const EmbTokAdded *added, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbStatus	status;

	if (spec->n_added == storage->added_capacity && (status = grow_added(spec, file, mem, err)) != EMB_OK)
		return status;
	if (added->id > storage->max_added_id)
		storage->max_added_id = added->id;
	spec->added[spec->n_added++] = *added;
	return EMB_OK;
}

EmbStatus
emb_tok_spec_add(EmbTokSpec *spec, const char *file, EmbTokAdded *added, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbStatus	status;

	/* The library skips empty tokens. */
	if (added->piece.len == 0)
		return EMB_OK;
	if ((status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK + (size_t) spec->n_added, file, err)) != EMB_OK)
		return status;
	for (int i = 0; i < spec->n_added; i++)
		if (spec->added[i].piece.len == added->piece.len &&
			memcmp(spec->added[i].piece.text, added->piece.text, added->piece.len) == 0)
		{
			added->id = spec->added[i].id;
			spec->added[i] = *added;
			return EMB_OK;
		}
	added->id = emb_tok_spec_find(spec, added->piece.text);
	if (added->id < 0)
		added->id = storage->max_added_id >= storage->n_distinct ? storage->max_added_id + 1 : storage->n_distinct;
	if (added->id >= EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_LIMIT, "%s: added token \"%.*s\" has id %d, beyond %d",
						 file, EMB_TOK_SHOW(added->piece.text), added->id, EMB_TOK_MAX_VOCAB - 1);
	return append_added(spec, file, added, mem, err);
}

bool
emb_tok_spec_find_token(const EmbTokSpec *spec, const char *text, EmbTokAdded *found)
{
	size_t		len = strlen(text);
	int32_t		id;

	for (int i = 0; i < spec->n_added; i++)
	{
		*found = spec->added[i];
		if (found->piece.len == len && memcmp(found->piece.text, text, len) == 0)
			return true;
	}
	id = emb_tok_spec_find(spec, text);
	if (id < 0 || id >= spec->n_vocab || spec->pieces[id].text == NULL)
		return false;
	*found = (EmbTokAdded) {.piece = spec->pieces[id], .id = id};
	return true;
}

EmbStatus
emb_tok_spec_add_known(EmbTokSpec *spec, const char *file, const EmbTokAdded *added, const EmbAllocator *mem, EmbError *err)
{
	for (int i = 0; i < spec->n_added; i++)
	{
		if (spec->added[i].id == added->id && spec->added[i].piece.len == added->piece.len &&
			memcmp(spec->added[i].piece.text, added->piece.text, added->piece.len) == 0)
		{
			spec->added[i] = *added;
			return EMB_OK;
		}
	}
	return append_added(spec, file, added, mem, err);
}

void
emb_tok_spec_bert_templates(EmbTokSpec *spec, int32_t cls_id, int32_t sep_id)
{
	EmbTokSlot	cls = {EMB_TOK_SLOT_SPECIAL, cls_id, 0};
	EmbTokSlot	sep = {EMB_TOK_SLOT_SPECIAL, sep_id, 0};
	EmbTokSlot	sep_b = {EMB_TOK_SLOT_SPECIAL, sep_id, 1};
	EmbTokSlot	a = {EMB_TOK_SLOT_A, 0, 0};
	EmbTokSlot	b = {EMB_TOK_SLOT_B, 0, 1};

	spec->single = (EmbTokTemplate) {3, {cls, a, sep}};
	spec->pair = (EmbTokTemplate) {5, {cls, a, sep, b, sep_b}};
}

void
emb_tok_spec_roberta_templates(EmbTokSpec *spec, int32_t cls_id, int32_t sep_id)
{
	EmbTokSlot	cls = {EMB_TOK_SLOT_SPECIAL, cls_id, 0};
	EmbTokSlot	sep = {EMB_TOK_SLOT_SPECIAL, sep_id, 0};
	EmbTokSlot	a = {EMB_TOK_SLOT_A, 0, 0};
	EmbTokSlot	b = {EMB_TOK_SLOT_B, 0, 0};

	spec->single = (EmbTokTemplate) {3, {cls, a, sep}};
	spec->pair = (EmbTokTemplate) {6, {cls, a, sep, sep, b, sep}};
}

/* ------------------------------------------------------------ components */

EmbStatus
emb_tok_require(const EmbJson *doc, const json_t *obj, const char *where, const char *key, EmbError *err)
{
	const json_t *v = json_object_get(obj, key);

	if (v == NULL || json_is_null(v))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" has no \"%s\"", doc->file, where, key);
	return EMB_OK;
}

EmbStatus
emb_tok_require_bool(const EmbJson *doc, const json_t *obj, const char *where, const char *key, bool *value, EmbError *err)
{
	EmbStatus	status = emb_tok_require(doc, obj, where, key, err);

	return status != EMB_OK ? status : emb_json_get_bool(doc, obj, key, value, err);
}

EmbStatus
emb_tok_require_string(const EmbJson *doc, const json_t *obj, const char *where, const char *key, const char **value, EmbError *err)
{
	EmbStatus	status = emb_tok_require(doc, obj, where, key, err);

	return status != EMB_OK ? status : emb_json_get_string(doc, obj, key, value, err);
}

#define TOKENIZERS_HINT "docs/tokenizers.md says which tokenizers can be imported. If the model has others (vocab.txt), put one in the place of tokenizer.json."

/* Finds the component at key. *type: NULL if the component has no type. */
EmbStatus
emb_tok_get_component(const EmbJson *doc, const char *key, const char *wanted, const json_t **obj, const char **type, EmbError *err)
{
	*obj = json_object_get(doc->root, key);
	*type = NULL;
	if (*obj == NULL || json_is_null(*obj))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is null, only %s is supported", doc->file, key, wanted);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, TOKENIZERS_HINT);
	}
	if (!json_is_object(*obj))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not an object", doc->file, key);
	return emb_json_get_string(doc, *obj, "type", type, err);
}

EmbStatus
emb_tok_refuse_component(const EmbJson *doc, const char *key, const char *type, const char *wanted, EmbError *err)
{
	if (type == NULL)
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" has no type, only %s is supported", doc->file, key, wanted);
	else
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s.type\" is \"%.*s\", only %s is supported", doc->file, key, EMB_TOK_SHOW(type), wanted);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, TOKENIZERS_HINT);
}

/* A step of the pre-tokenizer must be an object of that type. */
static EmbStatus
check_step(const EmbJson *doc, const json_t *step, const char *wanted_type, const char *wanted, EmbError *err)
{
	const char *type = NULL;
	EmbStatus	status;

	if (!json_is_object(step))
		return emb_error(err, EMB_ERR_FORMAT, "%s: a step of \"pre_tokenizer\" is not an object", doc->file);
	if ((status = emb_json_get_string(doc, step, "type", &type, err)) != EMB_OK)
		return status;
	if (type == NULL || strcmp(type, wanted_type) != 0)
		return emb_tok_refuse_component(doc, "pre_tokenizer", type, wanted, err);
	return EMB_OK;
}

EmbStatus
emb_tok_get_splitting(const EmbJson *doc, const char *first_type, const char *last_type,
					  const json_t **first, const json_t **last, EmbError *err)
{
	const json_t *list;
	const char *type;
	char		wanted[80];
	EmbStatus	status;

	snprintf(wanted, sizeof(wanted), "%s, or %s and %s,", last_type, first_type, last_type);
	*first = NULL;
	if ((status = emb_tok_get_component(doc, "pre_tokenizer", wanted, last, &type, err)) != EMB_OK)
		return status;
	list = json_object_get(*last, "pretokenizers");
	if (type != NULL && strcmp(type, "Sequence") == 0 && (json_array_size(list) == 1 || json_array_size(list) == 2))
	{
		if (json_array_size(list) == 2)
			*first = json_array_get(list, 0);
		*last = json_array_get(list, json_array_size(list) - 1);
	}
	if (*first != NULL && (status = check_step(doc, *first, first_type, wanted, err)) != EMB_OK)
		return status;
	return check_step(doc, *last, last_type, wanted, err);
}

EmbStatus
emb_tok_read_vocab(const char *file, const char *name, const json_t *vocab, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	json_int_t	max_id = -1;
	const char *key;
	json_t	   *value;
	EmbStatus	status;

	if (!json_is_object(vocab))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not an object", file, name);
	if (json_object_size(vocab) > EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_LIMIT, "%s: \"%s\" has %zu entries, more than %d",
						 file, name, json_object_size(vocab), EMB_TOK_MAX_VOCAB);
	json_object_foreach((json_t *) vocab, key, value)
	{
		if ((status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK, file, err)) != EMB_OK)
			return status;
		if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= EMB_TOK_MAX_VOCAB)
			return emb_error(err, EMB_ERR_FORMAT, "%s: the id of vocabulary entry \"%.*s\" is not an integer in 0..%d",
							 file, EMB_TOK_SHOW(key), EMB_TOK_MAX_VOCAB - 1);
		if (json_integer_value(value) > max_id)
			max_id = json_integer_value(value);
	}
	storage->pieces = emb_alloc_zero(mem, (size_t) (max_id + 1), sizeof(EmbTokPiece));
	if (storage->pieces == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s (%lld pieces)", file, (long long) max_id + 1);
	spec->pieces = storage->pieces;
	spec->n_vocab = (int32_t) (max_id + 1);
	json_object_foreach((json_t *) vocab, key, value)
	{
		EmbTokPiece *piece = &spec->pieces[json_integer_value(value)];

		if ((status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK, file, err)) != EMB_OK)
			return status;
		/* An empty piece never matches. */
		if (key[0] == '\0')
			continue;
		if (piece->text != NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: vocabulary entries \"%.*s\" and \"%.*s\" share id %lld",
							 file, EMB_TOK_SHOW(piece->text), EMB_TOK_SHOW(key), (long long) json_integer_value(value));
		*piece = (EmbTokPiece) {key, (uint32_t) strlen(key)};
	}
	storage->vocab = vocab;
	storage->n_distinct = (int32_t) json_object_size(vocab);
	return EMB_OK;
}

EmbStatus
emb_tok_read_added(const EmbJson *doc, const json_t *obj, bool strict, EmbTokAdded *added, EmbError *err)
{
	static const char *const keys[5] = {"single_word", "lstrip", "rstrip", "normalized", "special"};
	bool		flags[5] = {false, false, false, false, false};
	const char *content = NULL;
	EmbStatus	status = emb_tok_require_string(doc, obj, "added_tokens", "content", &content, err);

	for (int i = 0; i < 5 && status == EMB_OK; i++)
		status = strict ? emb_tok_require_bool(doc, obj, "added_tokens", keys[i], &flags[i], err)
			: emb_json_get_bool(doc, obj, keys[i], &flags[i], err);
	if (status == EMB_OK)
		*added = (EmbTokAdded) {{content, (uint32_t) strlen(content)}, -1,
			flags[0], flags[1], flags[2], flags[3], flags[4]};
	return status;
}
