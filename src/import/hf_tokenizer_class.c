/*
 * hf_tokenizer_class.c
 *		What AutoTokenizer of transformers 5 makes of a tokenizer.json.
 *
 * transformers takes a class: "tokenizer_class" of tokenizer_config.json, or
 * the one of the model's type. Most classes take only vocabulary, merges and
 * charsmap from tokenizer.json, and build normalizer, splitting and template
 * themselves, by keys of tokenizer_config.json. Then all classes add the
 * tokens that tokenizer_config.json, or special_tokens_map.json and
 * added_tokens.json, list. Where this gives another tokenizer than
 * tokenizer.json alone, a note says so.
 *
 * Read from transformers 5.23: models/auto/tokenization_auto.py,
 * tokenization_utils_base.py, tokenization_utils_tokenizers.py, and one
 * models/X/tokenization_X.py a class. test/tools/compare_auto_tokenizer.py
 * compares ids.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sort.h"
#include "formats/file.h"
#include "import/checkpoint.h"
#include "import/hf_tokenizer.h"

/* How a class builds a tokenizer. */
typedef enum Build
{
	BUILD_NOT,					/* it takes tokenizer.json as it is */
	BUILD_BERT,
	BUILD_MPNET,
	BUILD_XLM_ROBERTA,
	BUILD_CAMEMBERT,
	BUILD_ROBERTA,
	BUILD_GPT2,
	BUILD_QWEN2
} Build;

/* The special tokens with a role, in the order in which transformers adds them. */
enum
{
	BOS, EOS, UNK, SEP, PAD, CLS, MASK, N_ROLES
};

typedef struct Class
{
	const char *name;			/* without "Fast" */
	Build		build;
	EmbTokModel model;
	const char *roles[N_ROLES]; /* defaults; NULL: none */
	bool		lstrips_mask;	/* where the files give only its text */
} Class;

#define ROBERTA_ROLES(unk)	{"<s>", "</s>", unk, "</s>", "<pad>", "<s>", "<mask>"}
#define BERT_ROLES			{NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}

static const Class classes[] = {
	{"BertTokenizer", BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"DistilBertTokenizer", BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"ElectraTokenizer", BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"MobileBertTokenizer", BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"SqueezeBertTokenizer", BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"MPNetTokenizer", BUILD_MPNET, EMB_TOK_WORDPIECE, ROBERTA_ROLES("[UNK]"), true},
	{"XLMRobertaTokenizer", BUILD_XLM_ROBERTA, EMB_TOK_UNIGRAM, ROBERTA_ROLES("<unk>"), false},
	{"CamembertTokenizer", BUILD_CAMEMBERT, EMB_TOK_UNIGRAM, ROBERTA_ROLES("<unk>"), true},
	{"RobertaTokenizer", BUILD_ROBERTA, EMB_TOK_BPE, ROBERTA_ROLES("<unk>"), false},
	{"BartTokenizer", BUILD_ROBERTA, EMB_TOK_BPE, ROBERTA_ROLES("<unk>"), false},
	{"GPT2Tokenizer", BUILD_GPT2, EMB_TOK_BPE, {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL, NULL, NULL}, false},
	{"Qwen2Tokenizer", BUILD_QWEN2, EMB_TOK_BPE, {NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>", NULL, NULL}, false},
};

static const Class as_it_is = {"", BUILD_NOT, 0, {NULL}, false};

/* The classes of the model types that transformers knows and we can import. */
static const struct
{
	const char *model_type;
	const char *class;
	bool		overrules;		/* "tokenizer_class" of these models on the hub is wrong */
}			model_types[] =
{
	{"bert", "BertTokenizer", false},
	{"distilbert", "BertTokenizer", false},
	{"electra", "BertTokenizer", false},
	{"ernie", "BertTokenizer", false},
	{"nomic_bert", "BertTokenizer", false},
	{"mpnet", "MPNetTokenizer", false},
	{"roberta", "RobertaTokenizer", false},
	{"xlm-roberta", "XLMRobertaTokenizer", false},
	{"gte", "XLMRobertaTokenizer", false},
	{"camembert", "CamembertTokenizer", false},
	{"deberta-v2", "DebertaV2Tokenizer", false},
	{"gemma3_text", "GemmaTokenizer", false},
	{"modernbert", "", true},
	{"qwen2", "Qwen2Tokenizer", true},
	{"qwen3", "Qwen2Tokenizer", false},
};

/* One reading. */
typedef struct Follow
{
	EmbTokSpec *spec;
	const EmbJson *config;		/* tokenizer_config.json; no root: there is none */
	const EmbJson *map;			/* special_tokens_map.json, likewise */
	const EmbJson *more;		/* added_tokens.json, likewise */
	const EmbJson *json;		/* tokenizer.json */
	const Class *class;
	int64_t		n_rows;			/* of the word embeddings; 0: not known */
	EmbTokAdded roles[N_ROLES];	/* piece.text NULL: none */
	char		changes[400];	/* what differs from tokenizer.json, for the note */
} Follow;

static void change(Follow *f, const char *format,...) EMB_PRINTF(2, 3);

static void
change(Follow *f, const char *format,...)
{
	size_t		at = strlen(f->changes);
	va_list		args;

	if (at > 0 && at + 2 < sizeof(f->changes))
	{
		strcpy(f->changes + at, "; ");
		at += 2;
	}
	va_start(args, format);
	vsnprintf(f->changes + at, sizeof(f->changes) - at, format, args);
	va_end(args);
}

/* ------------------------------------------------------------------ class */

/* The class of that name, with or without "Fast"; names that we do not build count as tokenizer.json as it is. */
static const Class *
find_class(const char *name)
{
	size_t		len = strlen(name);

	if (len > 4 && strcmp(name + len - 4, "Fast") == 0)
		len -= 4;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (strlen(classes[i].name) == len && memcmp(classes[i].name, name, len) == 0)
			return &classes[i];
	}
	return &as_it_is;
}

/* As AutoTokenizer.from_pretrained does. named: "tokenizer_class" of the files, or NULL. */
static const Class *
choose_class(const char *model_type, const char *named, bool has_own_code)
{
	for (size_t i = 0; model_type != NULL && i < sizeof(model_types) / sizeof(model_types[0]); i++)
	{
		if (strcmp(model_type, model_types[i].model_type) != 0)
			continue;
		if (model_types[i].overrules || (named == NULL && !has_own_code))
			return find_class(model_types[i].class);
	}
	return named != NULL && !has_own_code ? find_class(named) : &as_it_is;
}

/* config.json names the model's type, which has a class. */
static EmbStatus
read_class(Follow *f, const char *dir, const EmbStop *stop, const EmbAllocator *mem, EmbError *err)
{
	EmbJson		model;
	const char *model_type = NULL;
	const char *named = NULL;
	EmbStatus	status = emb_json_load_optional(dir, "config.json", EMB_JSON_CONFIG_MAX, mem, stop, &model, err);

	if (status != EMB_OK)
		return status;
	if ((status = emb_json_get_string(&model, model.root, "model_type", &model_type, err)) == EMB_OK &&
		(status = emb_json_get_string(&model, model.root, "tokenizer_class", &named, err)) == EMB_OK &&
		(status = emb_json_get_string(f->config, f->config->root, "tokenizer_class", &named, err)) == EMB_OK)
		status = emb_json_get_int(&model, model.root, "vocab_size", 1, INT32_MAX, &f->n_rows, err);
	if (status == EMB_OK)
		f->class = choose_class(model_type, named, json_object_get(json_object_get(f->config->root, "auto_map"), "AutoTokenizer") != NULL);
	emb_json_free(&model);
	return status;
}

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
has_decoder(const Follow *f)
{
	return json_object_get(f->config->root, "added_tokens_decoder") != NULL;
}

static EmbStatus
read_roles(Follow *f, EmbError *err)
{
	static const char *const keys[N_ROLES] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

	for (int i = 0; i < N_ROLES; i++)
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
		if (i == MASK && (value == NULL || !json_is_object(value)))
			f->roles[i].lstrip = f->class->lstrips_mask;
	}
	return EMB_OK;
}

static int32_t
role_id(const Follow *f, int role)
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
is_role(const Follow *f, const char *text)
{
	for (int i = 0; i < N_ROLES; i++)
	{
		if (f->roles[i].piece.text != NULL && strcmp(f->roles[i].piece.text, text) == 0)
			return true;
	}
	return false;
}

/* added_tokens.json: {"token": id} */
static EmbStatus
list_file(const Follow *f, List *list, EmbError *err)
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
list_json(const Follow *f, List *list, EmbError *err)
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
add_token(Follow *f, const EmbJson *doc, EmbTokAdded added, const EmbAllocator *mem, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	EmbTokStorage *storage = spec->storage;
	int32_t		n = spec->n_added;
	int32_t		max = storage->max_added_id;
	EmbStatus	status = emb_tok_spec_add(spec, doc->file, &added, mem, err);

	if (status == EMB_OK && f->n_rows > 0 && spec->n_added > n && added.id >= f->n_rows)
	{
		spec->n_added = n;
		storage->max_added_id = max;
	}
	return status;
}

/*
 * "additional_special_tokens" and its newer name: lists of tokens; an object
 * in their place is not read. n_listed: tokens added before those with roles.
 */
static EmbStatus
add_extra(Follow *f, int n_listed, const EmbAllocator *mem, EmbError *err)
{
	static const char *const keys[] = {"extra_special_tokens", "additional_special_tokens"};
	const EmbJson *docs[] = {has_decoder(f) ? f->config : f->map, f->config};
	const EmbJson *doc = NULL;
	const json_t *list = NULL;
	EmbStatus	status = EMB_OK;

	for (int d = 0; d < 2; d++)
	{
		for (int k = 0; k < 2 && json_array_size(list) == 0; k++)
		{
			doc = docs[d];
			list = json_object_get(doc->root, keys[k]);
		}
	}
	for (size_t i = 0; i < json_array_size(list) && status == EMB_OK; i++)
	{
		EmbTokAdded added;

		if ((status = read_token(doc, "additional_special_tokens", json_array_get(list, i), &added, err)) == EMB_OK &&
			!is_added(f->spec, n_listed, added.piece.text))
			status = add_token(f, doc, added, mem, err);
	}
	return status;
}

/* The listed tokens by id, then those with roles, then others: these may change flags of those with roles. */
static EmbStatus
add_all(Follow *f, List *list, const EmbAllocator *mem, EmbError *err)
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
	for (int i = 0; i < N_ROLES && status == EMB_OK; i++)
	{
		if (f->roles[i].piece.text != NULL && !is_added(f->spec, n_listed, f->roles[i].piece.text))
			status = add_token(f, f->json, f->roles[i], mem, err);
	}
	if (status == EMB_OK)
		status = add_extra(f, n_listed, mem, err);
	/* once more, as plain special tokens */
	for (int i = 0; f->class->build == BUILD_QWEN2 && i < N_ROLES && status == EMB_OK; i++)
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
compare_tokens(Follow *f, const EmbTokAdded *before, int n_before)
{
	int			n;
	const EmbTokAdded *token = find_missing(f->spec->added, f->spec->n_added, before, n_before, &n);

	if (token != NULL)
		change(f, "%d added token%s, \"%.*s\" the first, %s from its companions", n, n > 1 ? "s" : "", EMB_TOK_SHOW(token->piece.text), n > 1 ? "come" : "comes");
	else if ((token = find_missing(before, n_before, f->spec->added, f->spec->n_added, &n)) != NULL)
		change(f, "%d added token%s, \"%.*s\" the first, %s none", n, n > 1 ? "s" : "", EMB_TOK_SHOW(token->piece.text), n > 1 ? "are" : "is");
}

/* Classes that build a tokenizer begin without tokenizer.json's tokens. */
static EmbStatus
follow_tokens(Follow *f, const EmbAllocator *mem, EmbError *err)
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
		if (f->class->build != BUILD_NOT)
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
		if (status == EMB_OK)
			compare_tokens(f, before, n_before);
	}
	emb_release(mem, before);
	emb_release(mem, list.items);
	return status;
}

/* ------------------------------------------------------------------- builds */

static void
set_flag(Follow *f, bool *flag, bool value, const char *on, const char *off)
{
	if (*flag != value)
		change(f, "%s", value ? on : off);
	*flag = value;
}

static void
set_template(Follow *f, int begin, int end, bool is_bert)
{
	EmbTokTemplate single = f->spec->single;
	EmbTokTemplate pair = f->spec->pair;
	int32_t		ids[2] = {role_id(f, begin), role_id(f, end)};

	if (ids[0] < 0 || ids[1] < 0)
		return;
	if (is_bert)
		emb_tok_spec_bert_templates(f->spec, ids[0], ids[1]);
	else
		emb_tok_spec_roberta_templates(f->spec, ids[0], ids[1]);
	if (memcmp(&single, &f->spec->single, sizeof(single)) != 0 || memcmp(&pair, &f->spec->pair, sizeof(pair)) != 0)
		change(f, "special tokens are %s text %s", f->roles[begin].piece.text, f->roles[end].piece.text);
}

static void
set_unknown(Follow *f, int32_t id)
{
	if (id < 0 || id >= f->spec->n_vocab || f->spec->pieces[id].text == NULL)
		return;
	if (f->spec->unk_id != id)
		change(f, "the unknown token has id %d", id);
	f->spec->unk_id = id;
}

static EmbStatus
build_wordpiece(Follow *f, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	bool		lowercase = true;
	bool		chinese = true;
	bool		strip;
	EmbStatus	status;

	if ((status = emb_json_get_bool(f->config, f->config->root, "do_lower_case", &lowercase, err)) != EMB_OK ||
		(status = emb_json_get_bool(f->config, f->config->root, "tokenize_chinese_chars", &chinese, err)) != EMB_OK)
		return status;
	strip = lowercase;
	if ((status = emb_json_get_bool(f->config, f->config->root, "strip_accents", &strip, err)) != EMB_OK)
		return status;
	set_flag(f, &spec->lowercase, lowercase, "texts are lowercased (\"do_lower_case\")", "texts are not lowercased (\"do_lower_case\")");
	set_flag(f, &spec->strip_accents, strip, "accents are removed (\"strip_accents\")", "accents stay (\"strip_accents\")");
	set_flag(f, &spec->handle_chinese_chars, chinese, "Chinese characters are words (\"tokenize_chinese_chars\")",
			 "Chinese characters are no words of their own (\"tokenize_chinese_chars\")");
	set_flag(f, &spec->clean_text, true, "control characters are removed", "");
	if (spec->max_chars_per_word != 100)
		change(f, "words have at most 100 characters");
	spec->max_chars_per_word = 100;
	if (spec->continuing_prefix.len != 2 || memcmp(spec->continuing_prefix.text, "##", 2) != 0)
		change(f, "words go on with \"##\"");
	spec->continuing_prefix = (EmbTokPiece) {"##", 2};
	set_unknown(f, role_id(f, UNK));
	return EMB_OK;
}

/* Only a charsmap at the top is taken over. */
static bool
has_charsmap(const Follow *f)
{
	const json_t *normalizer = json_object_get(f->json->root, "normalizer");
	const json_t *list = json_object_get(normalizer, "normalizers");
	const char *type = json_string_value(json_object_get(normalizer, "type"));

	if (type == NULL || strcmp(type, "Sequence") != 0)
		return type != NULL && strcmp(type, "Precompiled") == 0;
	for (size_t i = 0; i < json_array_size(list); i++)
	{
		type = json_string_value(json_object_get(json_array_get(list, i), "type"));
		if (type != NULL && strcmp(type, "Precompiled") == 0)
			return true;
	}
	return false;
}

/* Whether splitting at white space makes the other steps superfluous: they collapse or strip spaces. */
static bool
has_other_steps(const EmbTokSpec *spec, bool charsmap)
{
	bool		has_charsmap = false;

	for (int i = 0; i < spec->n_steps; i++)
	{
		if (spec->steps[i].kind == EMB_TOK_STEP_PRECOMPILED)
			has_charsmap = true;
		else if (spec->steps[i].kind != EMB_TOK_STEP_COLLAPSE && spec->steps[i].kind != EMB_TOK_STEP_STRIP)
			return true;
	}
	return has_charsmap != charsmap;
}

static EmbStatus
build_unigram(Follow *f, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	bool		charsmap = has_charsmap(f);
	bool		prefix = true;
	EmbTokPrepend prepend;
	EmbStatus	status = emb_json_get_bool(f->config, f->config->root, "add_prefix_space", &prefix, err);

	if (status != EMB_OK)
		return status;
	if (has_other_steps(spec, charsmap))
		change(f, charsmap ? "nothing but its charsmap normalizes texts" : "nothing normalizes texts");
	spec->n_steps = 0;
	if (charsmap)
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_PRECOMPILED, 0};
	set_flag(f, &spec->split_spaces, true, "white space between words counts as one space, and at the ends of a text as none", "");
	set_flag(f, &spec->split_meta, true, "a word begins at every U+2581", "");
	prepend = prefix ? EMB_TOK_PREPEND_ALWAYS : EMB_TOK_PREPEND_NEVER;
	/* of the first word only, or of every one: each is a segment now */
	if (spec->prepend != prepend || spec->meta != EMB_TOK_META)
		change(f, prefix ? "every word begins with U+2581" : "no word begins with U+2581 of itself");
	spec->prepend = prepend;
	spec->meta = EMB_TOK_META;
	set_unknown(f, f->class->build == BUILD_XLM_ROBERTA ? 3 : role_id(f, UNK));
	return EMB_OK;
}

static EmbStatus
build_bpe(Follow *f, const char *regex, bool has_nfc, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	bool		prefix = false;
	bool		had_nfc = spec->n_steps == 1 && spec->steps[0].kind == EMB_TOK_STEP_NFC;
	EmbStatus	status = emb_json_get_bool(f->config, f->config->root, "add_prefix_space", &prefix, err);

	if (status != EMB_OK)
		return status;
	if (prefix && f->class->build == BUILD_QWEN2)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"add_prefix_space\" is true, which a %s applies to every word; only false is supported",
						 f->config->file, f->class->name);
	if (spec->n_steps > 1 || had_nfc != has_nfc || (spec->n_steps == 1 && !had_nfc))
		change(f, has_nfc ? "NFC normalizes texts" : "nothing normalizes texts");
	spec->n_steps = 0;
	if (has_nfc)
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_NFC, 0};
	if (spec->regex == NULL || strcmp(spec->regex, regex) != 0)
		change(f, "words are split by the class's own pattern");
	spec->regex = regex;
	set_flag(f, &spec->prefix_space, prefix, "texts begin with a space (\"add_prefix_space\")", "texts begin with no space of their own (\"add_prefix_space\")");
	set_flag(f, &spec->ignore_merges, false, "", "words that are pieces are merged, too");
	if (spec->unk_id != -1)
		change(f, "there is no unknown token");
	spec->unk_id = -1;
	return EMB_OK;
}

static EmbStatus
build(Follow *f, EmbError *err)
{
	switch (f->class->build)
	{
		case BUILD_BERT:
		case BUILD_MPNET:
			return build_wordpiece(f, err);
		case BUILD_XLM_ROBERTA:
		case BUILD_CAMEMBERT:
			return build_unigram(f, err);
		case BUILD_ROBERTA:
		case BUILD_GPT2:
			return build_bpe(f, EMB_TOK_REGEX_GPT2, false, err);
		case BUILD_QWEN2:
			return build_bpe(f, EMB_TOK_REGEX_QWEN2, true, err);
		case BUILD_NOT:
			break;
	}
	return EMB_OK;
}

static void
build_template(Follow *f)
{
	switch (f->class->build)
	{
		case BUILD_BERT:
			set_template(f, CLS, SEP, true);
			break;
		case BUILD_MPNET:
		case BUILD_ROBERTA:
			set_template(f, CLS, SEP, false);
			break;
		case BUILD_XLM_ROBERTA:
		case BUILD_CAMEMBERT:
			set_template(f, BOS, EOS, false);
			break;
		case BUILD_GPT2:
		case BUILD_QWEN2:
		case BUILD_NOT:
			break;
	}
}

/* Reports the defaults that would give other ids. */
static void
note_missing_config(const Follow *f, EmbCheckpoint *notes)
{
	const EmbTokSpec *spec = f->spec;
	bool		is_cased = spec->model == EMB_TOK_WORDPIECE && !spec->lowercase && (f->class->build == BUILD_BERT || f->class->build == BUILD_MPNET);
	bool		keeps_spaces = spec->model == EMB_TOK_UNIGRAM && !spec->split_spaces &&
		(f->class->build == BUILD_XLM_ROBERTA || f->class->build == BUILD_CAMEMBERT);

	if (is_cased || keeps_spaces)
		emb_note(notes, "Download the model's tokenizer_config.json, too.",
				 "there is no tokenizer_config.json; tokenizer.json is taken as it is, where AutoTokenizer of transformers 5 builds a %s, which %s",
				 f->class->name, is_cased ? "lowercases texts" : "drops white space at the ends of a text");
}

EmbStatus
emb_tok_follow_class(const char *dir, const EmbJson *json, const EmbAllocator *mem, EmbCheckpoint *notes, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	Follow		f = {.spec = spec, .json = json};
	EmbStatus	status = emb_tok_spec_load_companions(spec, dir, mem, err);

	if (status != EMB_OK)
		return status;
	emb_tok_spec_companions(spec, &f.config, &f.map, &f.more);
	if ((status = read_class(&f, dir, storage->stop, mem, err)) != EMB_OK)
		return status;
	/* nothing contradicts tokenizer.json, and the class would have its defaults only */
	if (f.config->root == NULL)
	{
		note_missing_config(&f, notes);
		f.class = &as_it_is;
	}
	if (f.class->build != BUILD_NOT && (f.class->model != spec->model || (spec->model == EMB_TOK_BPE && spec->spelling != EMB_TOK_SPELL_BYTES)))
	{
		emb_note(notes, "Its \"tokenizer_class\" is wrong, or the file belongs to another model.",
				 "tokenizer.json has no vocabulary for a %s, the class that AutoTokenizer of transformers 5 takes; it is taken as it is", f.class->name);
		f.class = &as_it_is;
	}
	if ((status = read_roles(&f, err)) != EMB_OK ||
		(status = build(&f, err)) != EMB_OK ||
		(status = follow_tokens(&f, mem, err)) != EMB_OK)
		return status;
	build_template(&f);
	if (f.changes[0] != '\0')
		emb_note(notes, f.class->build == BUILD_NOT ? "A tokenizer.json with all tokens needs no companions: AutoTokenizer.from_pretrained(dir).save_pretrained(dir) in Python writes one." :
				 "If the model was trained with tokenizer.json as it is, write \"tokenizer_class\": \"PreTrainedTokenizerFast\" into tokenizer_config.json.",
				 "tokenizer.json is not taken as it is: like AutoTokenizer of transformers 5, the import %s%s: %s",
				 f.class->build == BUILD_NOT ? "reads its companions, too" : "builds the class ", f.class->name, f.changes);
	return EMB_OK;
}
