/*
 * hf_added_tokens.c
 *		The tokens that tokenizer_config.json, special_tokens_map.json and
 *		added_tokens.json add to a tokenizer.json, as transformers 5 adds them
 *		(hf_tokenizer_class.c).
 */
#include "import/hf_tokenizer_class.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/sort.h"

/* ------------------------------------------------------------------- roles */

/* "[CLS]", or {"content": "[CLS]", "lstrip": false, ..} */
static EmbStatus
read_token(const EmbJson *doc, const char *key, const json_t *value, EmbTokAdded *added, EmbError *err)
{
	if (json_is_string(value))
	{
		*added = (EmbTokAdded) {.piece = {json_string_value(value), (uint32_t) json_string_length(value)}, .special = true};
		return EMB_OK;
	}
	if (!json_is_object(value))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is neither a string nor an object", doc->file, key);
	return emb_tok_read_added(doc, value, false, added, err);
}

static bool
has_decoder(const EmbTokFollow *f)
{
	return json_object_get(f->config->root, "added_tokens_decoder") != NULL;
}

EmbStatus
emb_tok_read_roles(EmbTokFollow *f, EmbError *err)
{
	static const char *const keys[EMB_TOK_N_FOLLOWED] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

	for (int i = 0; i < EMB_TOK_N_FOLLOWED; i++)
	{
		const EmbJson *doc = f->map;
		const json_t *value = has_decoder(f) ? NULL : json_object_get(f->map->root, keys[i]);
		const char *absent = f->class->roles[i];
		EmbStatus	status = EMB_OK;

		if (value == NULL || json_is_null(value))
		{
			doc = f->config;
			value = json_object_get(f->config->root, keys[i]);
		}
		if (value != NULL && !json_is_null(value))
			status = read_token(doc, keys[i], value, &f->roles[i], err);
		else if (absent != NULL)
			f->roles[i] = (EmbTokAdded) {.piece = {absent, (uint32_t) strlen(absent)}, .special = true};
		if (status != EMB_OK)
			return status;
		if (i == EMB_TOK_IS_MASK && (value == NULL || !json_is_object(value)))
			f->roles[i].lstrip = f->class->lstrips_mask;
	}
	return EMB_OK;
}

int32_t
emb_tok_role_id(const EmbTokFollow *f, int role)
{
	return f->roles[role].piece.text != NULL ? emb_tok_spec_find(f->spec, f->roles[role].piece.text) : -1;
}

/* ------------------------------------------------------------------ tokens */

/* A token that a file lists with its id. */
typedef struct Listed
{
	int64_t		id;
	int32_t		order;			/* of reading: of equal ids the last counts */
	EmbTokAdded added;
} Listed;

typedef struct List
{
	Listed	   *items;
	size_t		n,
				room;
} List;

static EmbStatus
list_token(List *list, const EmbJson *doc, int64_t id, const EmbTokAdded *added, EmbError *err)
{
	if (list->n == list->room)
		return emb_error(err, EMB_ERR_LIMIT, "%s has more than %d added tokens", doc->file, EMB_TOK_MAX_ADDED_TOKENS);
	list->items[list->n] = (Listed) {id, (int32_t) list->n, *added};
	list->n++;
	return EMB_OK;
}

/* {"100": {"content": "[UNK]", ..}} */
static EmbStatus
list_decoder(List *list, const EmbJson *doc, EmbError *err)
{
	const json_t *decoder = json_object_get(doc->root, "added_tokens_decoder");
	const char *key;
	json_t	   *value;

	if (!json_is_object(decoder))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens_decoder\" is not an object", doc->file);
	json_object_foreach((json_t *) decoder, key, value)
	{
		EmbTokAdded added;
		char	   *end;
		long long	id;
		EmbStatus	status;

		errno = 0;
		id = strtoll(key, &end, 10);
		if (key[0] < '0' || key[0] > '9' || *end != '\0' || errno != 0 || id >= EMB_TOK_MAX_VOCAB)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens_decoder\" has key \"%.*s\", not an id in 0..%d",
							 doc->file, EMB_TOK_SHOW(key), EMB_TOK_MAX_VOCAB - 1);
		if (!json_is_object(value))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens_decoder\" entry \"%.*s\" is not an object",
							 doc->file, EMB_TOK_SHOW(key));
		if ((status = emb_tok_read_added(doc, value, false, &added, err)) != EMB_OK ||
			(status = list_token(list, doc, id, &added, err)) != EMB_OK)
			return status;
	}
	return EMB_OK;
}

static bool
is_role(const EmbTokFollow *f, const char *text)
{
	for (int i = 0; i < EMB_TOK_N_FOLLOWED; i++)
	{
		if (f->roles[i].piece.text != NULL && strcmp(f->roles[i].piece.text, text) == 0)
			return true;
	}
	return false;
}

/* added_tokens.json: {"token": id} */
static EmbStatus
list_file(const EmbTokFollow *f, List *list, EmbError *err)
{
	const EmbJson *doc = f->more;
	const char *key;
	json_t	   *value;
	EmbStatus	status;

	if (doc->root != NULL && !json_is_object(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a JSON object", doc->file);
	json_object_foreach(doc->root, key, value)
	{
		EmbTokAdded added = {.piece = {key, (uint32_t) strlen(key)}, .normalized = !is_role(f, key), .special = is_role(f, key)};

		if (!json_is_integer(value))
			return emb_error(err, EMB_ERR_FORMAT, "%s: the id of \"%.*s\" is not an integer", doc->file, EMB_TOK_SHOW(key));
		if ((status = list_token(list, doc, json_integer_value(value), &added, err)) != EMB_OK)
			return status;
	}
	return EMB_OK;
}

/* "added_tokens" of tokenizer.json, which was read before: its values are of the right types. */
static EmbStatus
list_json(const EmbTokFollow *f, List *list, EmbError *err)
{
	const json_t *tokens = json_object_get(f->json->root, "added_tokens");
	EmbStatus	status = EMB_OK;

	for (size_t i = 0; i < json_array_size(tokens) && status == EMB_OK; i++)
	{
		const json_t *obj = json_array_get(tokens, i);
		EmbTokAdded added;

		if ((status = emb_tok_read_added(f->json, obj, true, &added, err)) == EMB_OK)
			status = list_token(list, f->json, json_integer_value(json_object_get(obj, "id")), &added, err);
	}
	return status;
}

static int
compare_listed(const void *a, const void *b, void *ctx)
{
	const Listed *x = a;
	const Listed *y = b;

	(void) ctx;
	return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->order > y->order) - (x->order < y->order);
}

/* Whether one of the first n added tokens has this text. */
static bool
is_added(const EmbTokSpec *spec, int n, const char *text)
{
	for (int i = 0; i < n; i++)
	{
		if (spec->added[i].piece.len == strlen(text) && memcmp(spec->added[i].piece.text, text, spec->added[i].piece.len) == 0)
			return true;
	}
	return false;
}

/* Adds a token, unless the model has no row for it: no text can mean this token. */
static EmbStatus
add_token(EmbTokFollow *f, const EmbJson *doc, EmbTokAdded added, const EmbAllocator *mem, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	EmbTokStorage *storage = spec->storage;
	int32_t		n = spec->n_added;
	int32_t		max = storage->max_added_id;
	EmbStatus	status = emb_tok_spec_add(spec, doc->file, &added, mem, err);

	if (status == EMB_OK && f->n_rows > 0 && spec->n_added > n && added.id >= f->n_rows)
	{
		if (f->n_left_out++ == 0)
			f->first_left_out = added.id;
		spec->n_added = n;
		storage->max_added_id = max;
	}
	return status;
}

static EmbStatus
add_list(EmbTokFollow *f, const EmbJson *doc, const json_t *list, int n_listed, const EmbAllocator *mem, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	for (size_t i = 0; i < json_array_size(list) && status == EMB_OK; i++)
	{
		EmbTokAdded added;

		if ((status = read_token(doc, "additional_special_tokens", json_array_get(list, i), &added, err)) == EMB_OK &&
			!is_added(f->spec, n_listed, added.piece.text))
			status = add_token(f, doc, added, mem, err);
	}
	return status;
}

/* The control tokens and user-defined symbols of a tokenizer.model. */
static EmbStatus
add_spm_tokens(EmbTokFollow *f, int n_listed, const EmbAllocator *mem, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	for (int32_t i = 0; i < f->spm->n_pieces && status == EMB_OK; i++)
	{
		const EmbSpmPiece *piece = &f->spm->pieces[i];
		EmbTokAdded added = {.piece = piece->text, .special = piece->type == EMB_SPM_CONTROL};

		if ((piece->type != EMB_SPM_CONTROL && piece->type != EMB_SPM_USER_DEFINED) || piece->text.len == 0)
			status = emb_tok_spec_work(f->spec, 1, f->json->file, err);
		else if ((status = emb_tok_spec_work(f->spec, (size_t) n_listed, f->json->file, err)) == EMB_OK && !is_added(f->spec, n_listed, piece->text.text))
			status = add_token(f, f->json, added, mem, err);
	}
	return status;
}

/*
 * "extra_special_tokens" and its older name: lists of tokens; an object in their place
 * is not read. The configuration's list goes before the older one of the map,
 * and before the tokens of a tokenizer.model. n_listed: tokens added before those with roles.
 */
static EmbStatus
add_extra(EmbTokFollow *f, int n_listed, const EmbAllocator *mem, EmbError *err)
{
	static const char newer[] = "extra_special_tokens";
	static const char older[] = "additional_special_tokens";
	const EmbJson *map = has_decoder(f) ? &(const EmbJson) {0} : f->map;
	const json_t *list = json_object_get(f->config->root, newer);
	const json_t *more = json_object_get(map->root, newer);
	EmbStatus	status;

	if (json_array_size(list) == 0 && json_object_get(f->config->root, older) != NULL)
		list = json_object_get(f->config->root, older);
	if ((list == NULL || json_is_object(list)) && (more == NULL || json_is_object(more)))
		return f->spm != NULL ? add_spm_tokens(f, n_listed, mem, err) : add_list(f, map, json_object_get(map->root, older), n_listed, mem, err);
	status = add_list(f, f->config, list, n_listed, mem, err);
	return status == EMB_OK ? add_list(f, map, more, n_listed, mem, err) : status;
}

/* The listed tokens by id, then those with roles, then others: these may change flags of those with roles. */
static EmbStatus
add_all(EmbTokFollow *f, List *list, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = f->spec->storage;
	int			n_listed;
	EmbStatus	status = emb_sort(list->items, list->n, sizeof(Listed), compare_listed, NULL, mem, storage->stop, "sorting added tokens", err);

	for (size_t i = 0; i < list->n && status == EMB_OK; i++)
	{
		if (i + 1 == list->n || list->items[i + 1].id != list->items[i].id)
			status = add_token(f, f->json, list->items[i].added, mem, err);
	}
	n_listed = f->spec->n_added;
	for (int i = 0; i < EMB_TOK_N_FOLLOWED && status == EMB_OK; i++)
	{
		if (f->roles[i].piece.text != NULL && !is_added(f->spec, n_listed, f->roles[i].piece.text))
			status = add_token(f, f->json, f->roles[i], mem, err);
	}
	if (status == EMB_OK)
		status = add_extra(f, n_listed, mem, err);
	/* once more, as plain special tokens */
	for (int i = 0; f->class->build == EMB_TOK_BUILD_QWEN2 && i < EMB_TOK_N_FOLLOWED && status == EMB_OK; i++)
	{
		EmbTokAdded plain = {.piece = f->roles[i].piece, .special = true};

		if (plain.piece.text != NULL)
			status = add_token(f, f->json, plain, mem, err);
	}
	return status;
}

static bool
is_alike(const EmbTokAdded *a, const EmbTokAdded *b)
{
	return a->piece.len == b->piece.len && memcmp(a->piece.text, b->piece.text, a->piece.len) == 0 && a->id == b->id &&
		a->single_word == b->single_word && a->lstrip == b->lstrip && a->rstrip == b->rstrip && a->normalized == b->normalized;
}

/* The first token of a that b has not, or not so; NULL: none. *n: how many. */
static const EmbTokAdded *
find_missing(const EmbTokAdded *a, int n_a, const EmbTokAdded *b, int n_b, int *n)
{
	const EmbTokAdded *first = NULL;

	*n = 0;
	for (int i = 0; i < n_a; i++)
	{
		int			k = 0;

		/* mostly in one order */
		if (i < n_b && is_alike(&a[i], &b[i]))
			continue;
		while (k < n_b && !is_alike(&a[i], &b[k]))
			k++;
		if (k < n_b)
			continue;
		if (first == NULL)
			first = &a[i];
		++*n;
	}
	return first;
}

static void
compare_tokens(EmbTokFollow *f, const EmbTokAdded *before, int n_before)
{
	int			n;
	const EmbTokAdded *token = find_missing(f->spec->added, f->spec->n_added, before, n_before, &n);

	if (token != NULL)
		emb_tok_note_change(f, "%d added token%s, \"%.*s\" the first, %s from its companions", n, n > 1 ? "s" : "", EMB_TOK_SHOW(token->piece.text), n > 1 ? "come" : "comes");
	else if ((token = find_missing(before, n_before, f->spec->added, f->spec->n_added, &n)) != NULL)
		emb_tok_note_change(f, "%d added token%s, \"%.*s\" the first, %s none", n, n > 1 ? "s" : "", EMB_TOK_SHOW(token->piece.text), n > 1 ? "are" : "is");
}

/* Classes that build a tokenizer begin without tokenizer.json's tokens. */
EmbStatus
emb_tok_follow_tokens(EmbTokFollow *f, const EmbAllocator *mem, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	EmbTokStorage *storage = spec->storage;
	int			n_before = spec->n_added;
	EmbTokAdded *before = emb_alloc_array(mem, (size_t) n_before + 1, sizeof(EmbTokAdded));
	List		list = {.room = EMB_TOK_MAX_ADDED_TOKENS};
	EmbStatus	status;

	list.items = emb_alloc_array(mem, list.room, sizeof(Listed));
	if (before == NULL || list.items == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory reading a tokenizer");
	else
	{
		if (n_before > 0)
			memcpy(before, spec->added, (size_t) n_before * sizeof(EmbTokAdded));
		if (f->class->build != EMB_TOK_BUILD_NOT)
		{
			spec->n_added = 0;
			storage->max_added_id = -1;
		}
		if (has_decoder(f))
			status = list_decoder(&list, f->config, err);
		else if ((status = list_file(f, &list, err)) == EMB_OK)
			status = list_json(f, &list, err);
		if (status == EMB_OK)
			status = add_all(f, &list, mem, err);
		if (status == EMB_OK && f->spm == NULL)
			compare_tokens(f, before, n_before);
	}
	emb_release(mem, before);
	emb_release(mem, list.items);
	return status;
}
