/*
 * hf_vocab.c
 *		Reads vocab.txt, tokenizer_config.json, special_tokens_map.json and
 *		added_tokens.json, like transformers' BertTokenizerFast and
 *		MPNetTokenizerFast do without tokenizer.json.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/sort.h"
#include "common/utf8.h"
#include "formats/diagnose.h"
#include "formats/file.h"
#include "import/hf_tokenizer_readers.h"

#define VOCAB_FILE		"vocab.txt"
#define CONFIG_FILE		"tokenizer_config.json"
#define MAP_FILE		"special_tokens_map.json"
#define ADDED_FILE		"added_tokens.json"
#define LINE_BYTES_MAX	65535

/* The indexes of EmbTokStorage.docs. */
enum
{
	DOC_CONFIG, DOC_MAP, DOC_ADDED
};

/* ---------------------------------------------------------------- lines */

/*
 * The next line of text[*at .. size) without its end: LF, CR LF or CR, as in
 * Python's text mode. False at the end of the text.
 */
static bool
next_line(const char *text, size_t size, size_t *at, EmbTokPiece *line)
{
	size_t		start = *at;
	size_t		end = start;

	if (start >= size)
		return false;
	/* a longer line is not read to its end, because it is refused */
	while (end < size && end - start <= LINE_BYTES_MAX && text[end] != '\n' && text[end] != '\r')
		end++;
	*at = end + 1;
	if (end + 1 < size && text[end] == '\r' && text[end + 1] == '\n')
		(*at)++;
	line->text = text + start;
	line->len = end - start <= LINE_BYTES_MAX ? (uint32_t) (end - start) : LINE_BYTES_MAX + 1;
	return true;
}

/* A piece for sorting, with its first bytes as a number in the same order. */
typedef struct Sorted
{
	uint64_t	start;
	int32_t		id;
} Sorted;

static uint64_t
start_of(const EmbTokPiece *piece)
{
	uint64_t	start = 0;

	for (uint32_t k = 0; k < sizeof(uint64_t); k++)
		start = start << 8 | (k < piece->len ? (uint8_t) piece->text[k] : 0);
	return start;
}

static int
compare_pieces(const void *a, const void *b, void *arg)
{
	const Sorted *i = a;
	const Sorted *j = b;
	const EmbTokPiece *x = (const EmbTokPiece *) arg + i->id;
	const EmbTokPiece *y = (const EmbTokPiece *) arg + j->id;
	int			cmp = (i->start > j->start) - (i->start < j->start);

	if (cmp == 0)
		cmp = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
	if (cmp == 0)
		cmp = (x->len > y->len) - (x->len < y->len);
	return cmp != 0 ? cmp : (i->id > j->id) - (i->id < j->id);
}

/* Sorts the *n ids of all pieces by text; ids of equal texts ascend. */
static EmbStatus
sort_ids(const EmbTokSpec *spec, const char *file, const EmbAllocator *mem, int32_t *ids, int32_t *n, EmbError *err)
{
	Sorted	   *sorted = emb_alloc_array(mem, (size_t) spec->n_vocab, sizeof(Sorted));
	EmbStatus	status = EMB_OK;

	*n = 0;
	if (sorted == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	for (int32_t id = 0; id < spec->n_vocab && status == EMB_OK; id++)
	{
		status = emb_tok_spec_work(spec, 2, file, err);
		if (spec->pieces[id].text != NULL)
			sorted[(*n)++] = (Sorted) {start_of(&spec->pieces[id]), id};
	}
	if (status == EMB_OK)
		status = emb_sort(sorted, (size_t) *n, sizeof(Sorted), compare_pieces, spec->pieces, mem,
						  ((EmbTokStorage *) spec->storage)->stop, "sorting a vocabulary", err);
	for (int32_t i = 0; i < *n; i++)
		ids[i] = sorted[i].id;
	emb_release(mem, sorted);
	return status;
}

EmbStatus
emb_tok_spec_sort(EmbTokSpec *spec, const char *file, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	int32_t		n = 0,
				kept = 0;
	EmbStatus	status;

	storage->sorted = emb_alloc_array(mem, (size_t) spec->n_vocab, sizeof(int32_t));
	if (storage->sorted == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	status = sort_ids(spec, file, mem, storage->sorted, &n, err);
	for (int32_t i = 0; i < n && status == EMB_OK; i++)
	{
		const EmbTokPiece *piece = &spec->pieces[storage->sorted[i]];
		EmbTokPiece *before = kept > 0 ? &spec->pieces[storage->sorted[kept - 1]] : NULL;

		if (before != NULL && before->len == piece->len && memcmp(before->text, piece->text, piece->len) == 0)
		{
			*before = (EmbTokPiece) {NULL, 0};
			kept--;
		}
		storage->sorted[kept++] = storage->sorted[i];
		status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK / 2, file, err);
	}
	storage->n_sorted = storage->n_distinct = kept;
	return status;
}

/* Fills the pieces from a copy of data: one per line; the line number, from 0, is the id. */
static EmbStatus
read_pieces(const char *file, const char *data, size_t size, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbTokPiece line;
	int64_t		n_lines = 0;
	int32_t		id = 0;
	size_t		at;
	EmbStatus	status = EMB_OK;

	/* blank lines at the end are no tokens */
	while (size > 1 && (data[size - 1] == '\n' || data[size - 1] == '\r') && (data[size - 2] == '\n' || data[size - 2] == '\r'))
		size--;
	for (at = 0; status == EMB_OK && next_line(data, size, &at, &line); n_lines++)
		status = emb_tok_spec_work(spec, 2 + line.len / 8, file, err);
	if (status != EMB_OK)
		return status;
	if (n_lines == 0 || n_lines > EMB_TOK_MAX_VOCAB)
		return emb_error(err, n_lines == 0 ? EMB_ERR_FORMAT : EMB_ERR_LIMIT, "%s has %lld lines, outside 1..%d",
						 file, (long long) n_lines, EMB_TOK_MAX_VOCAB);
	storage->text = emb_alloc(mem, size);
	storage->pieces = emb_alloc_zero(mem, (size_t) n_lines, sizeof(EmbTokPiece));
	if (storage->text == NULL || storage->pieces == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	memcpy(storage->text, data, size);
	spec->pieces = storage->pieces;
	spec->n_vocab = (int32_t) n_lines;
	for (at = 0; next_line(storage->text, size, &at, &line); id++)
	{
		if ((status = emb_tok_spec_work(spec, 2 + line.len / 4, file, err)) != EMB_OK)
			return status;
		if (line.len > LINE_BYTES_MAX)
			return emb_error(err, EMB_ERR_LIMIT, "line %d of %s is longer than %d bytes", id + 1, file, LINE_BYTES_MAX);
		if (!emb_utf8_is_text((const uint8_t *) line.text, line.len))
			return emb_error_at(err, EMB_ERR_FORMAT, line.text - storage->text,
								"line %d of %s is not valid UTF-8 or contains U+0000", id + 1, file);
		/* An empty piece never matches. */
		if (line.len > 0)
			spec->pieces[id] = line;
	}
	return emb_tok_spec_sort(spec, file, mem, err);
}

/* -------------------------------------------------------- special tokens */

/* A special token in the configuration: a string, or an object with flags. */
static EmbStatus
read_special(const EmbJson *doc, const char *key, const json_t *value, EmbTokAdded *added, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	if (json_is_string(value))
		*added = (EmbTokAdded) {.piece = {json_string_value(value), (uint32_t) json_string_length(value)}};
	else if (json_is_object(value))
		status = emb_tok_read_added(doc, value, false, added, err);
	else
		status = emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is neither a string nor an object", doc->file, key);
	added->special = true;
	return status;
}

/*
 * Finds the token of a role ("unk_token"): in the map, else in the configuration,
 * else the family's default. If an added token has that text, its flags apply, and
 * *known is set.
 */
static EmbStatus
get_role(const EmbTokSpec *spec, const EmbTokRole *role, EmbTokAdded *added, bool *known, EmbError *err)
{
	static const int order[2] = {DOC_MAP, DOC_CONFIG};
	const EmbTokStorage *storage = spec->storage;
	const char *token = role->token;

	*known = false;
	for (int i = 0; i < 2; i++)
	{
		const EmbJson *doc = &storage->docs[order[i]];
		const json_t *value = json_object_get(doc->root, role->key);

		if (value == NULL || json_is_null(value))
			continue;
		if (!json_is_string(value))
			return read_special(doc, role->key, value, added, err);
		token = json_string_value(value);
		break;
	}
	*added = (EmbTokAdded) {.piece = {token, (uint32_t) strlen(token)}, .special = true, .lstrip = role->lstrip};
	for (int i = 0; i < spec->n_added && !*known; i++)
		*known = spec->added[i].piece.len == added->piece.len &&
			memcmp(spec->added[i].piece.text, token, added->piece.len) == 0;
	return EMB_OK;
}

/* "additional_special_tokens" and similar keys: an array of tokens. */
static EmbStatus
add_special_list(EmbTokSpec *spec, const EmbJson *doc, const char *key, const EmbAllocator *mem, EmbError *err)
{
	const json_t *list = json_object_get(doc->root, key);
	EmbStatus	status = EMB_OK;

	if (list == NULL || json_is_null(list))
		return EMB_OK;
	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not an array", doc->file, key);
	for (size_t i = 0; i < json_array_size(list) && status == EMB_OK; i++)
	{
		EmbTokAdded added;

		if ((status = read_special(doc, key, json_array_get(list, i), &added, err)) == EMB_OK)
			status = emb_tok_spec_add(spec, doc->file, &added, mem, err);
	}
	return status;
}

/* An id in a file must equal the id that the library assigns. */
static EmbStatus
check_given_id(const EmbJson *doc, const EmbTokAdded *added, json_int_t id, EmbError *err)
{
	if (added->piece.len > 0 && added->id != id)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists added token \"%.*s\" with id %lld, but the vocabulary has it as %d",
						 doc->file, EMB_TOK_SHOW(added->piece.text), (long long) id, added->id);
	return EMB_OK;
}

/* tokenizer_config.json: "added_tokens_decoder": {"100": {"content": "[UNK]", ...}} */
static EmbStatus
add_decoder_tokens(EmbTokSpec *spec, const EmbJson *doc, const json_t *decoder, const EmbAllocator *mem, EmbError *err)
{
	const char *key;
	json_t	   *value;
	EmbStatus	status = EMB_OK;

	if (!json_is_object(decoder))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens_decoder\" is not an object", doc->file);
	json_object_foreach((json_t *) decoder, key, value)
	{
		EmbTokAdded added;
		char	   *end;
		long		id;

		errno = 0;
		id = strtol(key, &end, 10);
		if (key[0] < '0' || key[0] > '9' || *end != '\0' || errno != 0 || id >= EMB_TOK_MAX_VOCAB)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens_decoder\" has key \"%.*s\", not an id in 0..%d",
							 doc->file, EMB_TOK_SHOW(key), EMB_TOK_MAX_VOCAB - 1);
		if (!json_is_object(value))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens_decoder\" entry \"%.*s\" is not an object",
							 doc->file, EMB_TOK_SHOW(key));
		if ((status = emb_tok_read_added(doc, value, false, &added, err)) != EMB_OK ||
			(status = emb_tok_spec_add(spec, doc->file, &added, mem, err)) != EMB_OK ||
			(status = check_given_id(doc, &added, id, err)) != EMB_OK)
			return status;
	}
	return EMB_OK;
}

/* added_tokens.json: {"token": id} */
static EmbStatus
add_added_file(EmbTokSpec *spec, const EmbJson *doc, const EmbAllocator *mem, EmbError *err)
{
	const char *key;
	json_t	   *value;
	EmbStatus	status;

	if (doc->root == NULL)
		return EMB_OK;
	if (!json_is_object(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a JSON object", doc->file);
	json_object_foreach(doc->root, key, value)
	{
		EmbTokAdded added = {.piece = {key, (uint32_t) strlen(key)}, .normalized = true};

		if (!json_is_integer(value))
			return emb_error(err, EMB_ERR_FORMAT, "%s: the id of \"%.*s\" is not an integer", doc->file, EMB_TOK_SHOW(key));
		if ((status = emb_tok_spec_add(spec, doc->file, &added, mem, err)) != EMB_OK ||
			(status = check_given_id(doc, &added, json_integer_value(value), err)) != EMB_OK)
			return status;
	}
	return EMB_OK;
}

/*
 * The five roles. A padding or mask token that the vocabulary lacks is left
 * out: no user text means this token, and the model has no row for it.
 */
static EmbStatus
add_roles(EmbTokSpec *spec, const char *file, const EmbTokRole roles[EMB_TOK_N_ROLES], int32_t ids[EMB_TOK_N_ROLES],
		  const EmbAllocator *mem, EmbError *err)
{
	for (int i = 0; i < EMB_TOK_N_ROLES; i++)
	{
		EmbTokAdded added;
		bool		known;
		EmbStatus	status = get_role(spec, &roles[i], &added, &known, err);

		if (status != EMB_OK)
			return status;
		ids[i] = emb_tok_spec_find(spec, added.piece.text);
		if (ids[i] < 0 && roles[i].needed)
			return emb_error(err, EMB_ERR_FORMAT, "%s has no line \"%.*s\", the tokenizer's %s",
							 file, EMB_TOK_SHOW(added.piece.text), roles[i].key);
		if (ids[i] >= 0 && !known && (status = emb_tok_spec_add(spec, file, &added, mem, err)) != EMB_OK)
			return status;
	}
	return EMB_OK;
}

EmbStatus
emb_tok_spec_add_companions(EmbTokSpec *spec, const char *file, const EmbTokRole roles[EMB_TOK_N_ROLES],
							int32_t ids[EMB_TOK_N_ROLES], const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	const EmbJson *config = &storage->docs[DOC_CONFIG];
	const json_t *decoder = json_object_get(config->root, "added_tokens_decoder");
	EmbStatus	status;

	if (decoder != NULL && !json_is_null(decoder))
	{
		/* In newer files the configuration has everything, and the older files are ignored. */
		emb_json_free(&storage->docs[DOC_MAP]);
		if ((status = add_decoder_tokens(spec, config, decoder, mem, err)) != EMB_OK)
			return status;
	}
	else if ((status = add_added_file(spec, &storage->docs[DOC_ADDED], mem, err)) != EMB_OK)
		return status;
	if ((status = add_roles(spec, file, roles, ids, mem, err)) != EMB_OK)
		return status;
	if (storage->docs[DOC_MAP].root != NULL)
		return add_special_list(spec, &storage->docs[DOC_MAP], "additional_special_tokens", mem, err);
	return add_special_list(spec, config, "additional_special_tokens", mem, err);
}

/* -------------------------------------------------------------- settings */

EmbStatus
emb_tok_spec_check_class(const EmbTokSpec *spec, const char *const *classes, EmbError *err)
{
	const EmbJson *doc = &((EmbTokStorage *) spec->storage)->docs[DOC_CONFIG];
	const char *name = NULL;
	EmbStatus	status;

	if (doc->root == NULL)
		return EMB_OK;
	if (!json_is_object(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a JSON object", doc->file);
	status = emb_json_get_string(doc, doc->root, "tokenizer_class", &name, err);
	if (status != EMB_OK || name == NULL)
		return status;
	for (int i = 0; classes[i] != NULL; i++)
		if (strcmp(name, classes[i]) == 0)
			return EMB_OK;
	return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"tokenizer_class\" is \"%.*s\", only %s is supported "
					 "without a tokenizer.json", doc->file, EMB_TOK_SHOW(name), classes[0]);
}

/* is_mpnet: the special tokens are RoBERTa's. */
static EmbStatus
read_settings(EmbTokSpec *spec, bool *is_mpnet, EmbError *err)
{
	/* A tokenizer whose vocab.txt has another meaning must not pass for BERT's. */
	static const char *const classes[] = {
		"BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast",
		"ElectraTokenizer", "ElectraTokenizerFast", "MobileBertTokenizer", "MobileBertTokenizerFast",
		"MPNetTokenizer", "MPNetTokenizerFast", NULL
	};
	const EmbJson *doc = &((EmbTokStorage *) spec->storage)->docs[DOC_CONFIG];
	const char *name = "";
	EmbStatus	status = emb_tok_spec_check_class(spec, classes, err);

	*is_mpnet = false;
	if (status != EMB_OK || doc->root == NULL)
		return status;
	if ((status = emb_json_get_string(doc, doc->root, "tokenizer_class", &name, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "do_lower_case", &spec->lowercase, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "tokenize_chinese_chars", &spec->handle_chinese_chars, err)) != EMB_OK)
		return status;
	*is_mpnet = strncmp(name, "MPNet", 5) == 0;
	spec->strip_accents = spec->lowercase;
	return emb_json_get_bool(doc, doc->root, "strip_accents", &spec->strip_accents, err);
}

EmbStatus
emb_tok_spec_load_companions(EmbTokSpec *spec, const char *dir, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbStatus	status;

	if ((status = emb_json_load_optional(dir, CONFIG_FILE, EMB_JSON_CONFIG_MAX, mem, storage->stop, &storage->docs[DOC_CONFIG], err)) != EMB_OK ||
		(status = emb_json_load_optional(dir, MAP_FILE, EMB_JSON_CONFIG_MAX, mem, storage->stop, &storage->docs[DOC_MAP], err)) != EMB_OK)
		return status;
	return emb_json_load_optional(dir, ADDED_FILE, EMB_JSON_CONFIG_MAX, mem, storage->stop, &storage->docs[DOC_ADDED], err);
}

void
emb_tok_spec_companions(const EmbTokSpec *spec, const EmbJson **config, const EmbJson **map, const EmbJson **added)
{
	const EmbTokStorage *storage = spec->storage;

	*config = &storage->docs[DOC_CONFIG];
	*map = &storage->docs[DOC_MAP];
	*added = &storage->docs[DOC_ADDED];
}

/* Reads the pieces of a vocab.txt, and the tokens of BERT or MPNet. */
static EmbStatus
read_vocab(const char *file, const char *data, size_t size, bool is_mpnet, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	static const EmbTokRole roles[2][EMB_TOK_N_ROLES] = {
		{
			{"unk_token", "[UNK]", true, false},
			{"sep_token", "[SEP]", true, false},
			{"pad_token", "[PAD]", false, false},
			{"cls_token", "[CLS]", true, false},
			{"mask_token", "[MASK]", false, false}
		},
		{
			{"unk_token", "[UNK]", true, false},
			{"sep_token", "</s>", true, false},
			{"pad_token", "<pad>", false, false},
			{"cls_token", "<s>", true, false},
			{"mask_token", "<mask>", false, true}
		}
	};
	int32_t		ids[EMB_TOK_N_ROLES];
	EmbStatus	status = read_pieces(file, data, size, mem, spec, err);

	if (status == EMB_OK)
		status = emb_tok_spec_add_companions(spec, file, roles[is_mpnet], ids, mem, err);
	if (status != EMB_OK)
		return status;
	spec->unk_id = ids[EMB_TOK_ROLE_UNK];
	if (is_mpnet)
		emb_tok_spec_roberta_templates(spec, ids[EMB_TOK_ROLE_CLS], ids[EMB_TOK_ROLE_SEP]);
	else
		emb_tok_spec_bert_templates(spec, ids[EMB_TOK_ROLE_CLS], ids[EMB_TOK_ROLE_SEP]);
	return EMB_OK;
}

EmbStatus
emb_import_vocab_txt(const char *name, const char *data, size_t size, const EmbAllocator *mem,
					 EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = emb_tok_spec_begin(spec, mem, err);

	if (status == EMB_OK)
		status = read_vocab(name, data, size, false, mem, spec, err);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}

EmbStatus
emb_import_vocab_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err)
{
	char	   *data = NULL;
	size_t		size;
	bool		is_mpnet = false;
	EmbStatus	status;

	memset(spec, 0, sizeof(EmbTokSpec));
	if (!emb_file_exists(dir, VOCAB_FILE))
		return emb_diagnose_no_tokenizer(dir, err);
	status = emb_file_read_all(dir, VOCAB_FILE, EMB_JSON_TOKENIZER_MAX, mem, &data, &size, err);
	if (status != EMB_OK)
		return status;
	if ((status = emb_tok_spec_begin(spec, mem, err)) == EMB_OK)
		((EmbTokStorage *) spec->storage)->stop = stop;
	if (status == EMB_OK &&
		(status = emb_tok_spec_load_companions(spec, dir, mem, err)) == EMB_OK &&
		(status = read_settings(spec, &is_mpnet, err)) == EMB_OK)
		status = read_vocab(VOCAB_FILE, data, size, is_mpnet, mem, spec, err);
	emb_release(mem, data);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}
