/*
 * hf_bpe.c
 *		Reads BPE, of bytes or of characters, from tokenizer.json. Without tokenizer.json, reads
 *		vocab.json and merges.txt like transformers' RobertaConverter.
 */
#include <string.h>

#include "formats/file.h"
#include "import/hf_tokenizer_readers.h"

#define ENTRIES_PER_ASK		2048
#define PIECE_BYTES_MAX		65535

void
emb_tok_spec_make_bpe(EmbTokSpec *spec)
{
	spec->model = EMB_TOK_BPE;
	spec->clean_text = spec->handle_chinese_chars = spec->strip_accents = spec->lowercase = false;
	spec->continuing_prefix = (EmbTokPiece) {"", 0};
	spec->max_chars_per_word = 0;
	spec->unk_id = -1;
}

/* ---------------------------------------------------------------- merges */

/* Two pieces, not zero-terminated, that merge into one. where and i are for messages. */
static EmbStatus
add_merge(EmbTokSpec *spec, const char *file, const char *where, size_t i, const EmbTokPiece *left, const EmbTokPiece *right,
		  char *buffer, EmbError *err)
{
	EmbTokMerge *merge = &spec->merges[spec->n_merges];
	const EmbTokPiece *parts[2] = {left, right};
	int32_t    *ids[3] = {&merge->left, &merge->right, &merge->id};

	if (left->len > PIECE_BYTES_MAX || right->len > PIECE_BYTES_MAX)
		return emb_error(err, EMB_ERR_LIMIT, "%s: %s %zu has a piece of more than %d bytes", file, where, i, PIECE_BYTES_MAX);
	for (int k = 0; k < 3; k++)
	{
		size_t		n = 0;

		for (int part = k % 2; part <= k / 2 + k % 2; part++)
		{
			memcpy(buffer + n, parts[part]->text, parts[part]->len);
			n += parts[part]->len;
		}
		buffer[n] = '\0';
		*ids[k] = emb_tok_spec_find(spec, buffer);
		if (*ids[k] < 0)
			return emb_error(err, EMB_ERR_FORMAT, "%s: %s %zu has \"%.*s\", which is not in the vocabulary", file, where, i,
							 EMB_TOK_SHOW(buffer));
	}
	spec->n_merges++;
	return EMB_OK;
}

EmbStatus
emb_tok_spec_reserve_merges(EmbTokSpec *spec, const char *file, size_t n, const EmbAllocator *mem, char **buffer, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;

	*buffer = NULL;
	if (n > EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_LIMIT, "%s has %zu merges, more than %d", file, n, EMB_TOK_MAX_VOCAB);
	storage->merges = spec->merges = emb_alloc_array(mem, n, sizeof(EmbTokMerge));
	*buffer = emb_alloc(mem, 2 * PIECE_BYTES_MAX + 1);
	if (spec->merges == NULL || *buffer == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s (%zu merges)", file, n);
	return EMB_OK;
}

/* "a b" of line[0 .. len): two pieces with one space between. */
static bool
split_merge(const char *line, size_t len, EmbTokPiece *left, EmbTokPiece *right)
{
	const char *space = memchr(line, ' ', len);

	if (space == NULL || memchr(space + 1, ' ', (size_t) (line + len - space - 1)) != NULL || len > 2 * PIECE_BYTES_MAX + 1)
		return false;
	*left = (EmbTokPiece) {line, (uint32_t) (space - line)};
	*right = (EmbTokPiece) {space + 1, (uint32_t) (line + len - space - 1)};
	return true;
}

EmbStatus
emb_tok_spec_add_merge(EmbTokSpec *spec, const char *file, const char *where, size_t i, const char *line, size_t len,
					   char *buffer, EmbError *err)
{
	EmbTokPiece left,
				right;

	if (!split_merge(line, len, &left, &right))
		return emb_error(err, EMB_ERR_FORMAT, "%s: %s %zu is not two pieces", file, where, i);
	return add_merge(spec, file, where, i, &left, &right, buffer, err);
}

/*
 * An entry of "model.merges": "a b" or ["a", "b"]. EMB_OK and *left NULL: the
 * library skips the entry.
 */
static EmbStatus
read_merge(const EmbJson *doc, const json_t *entry, size_t i, EmbTokPiece *left, EmbTokPiece *right, EmbError *err)
{
	const json_t *first = json_array_get(entry, 0);
	const json_t *second = json_array_get(entry, 1);

	*left = (EmbTokPiece) {NULL, 0};
	if (json_is_string(entry))
	{
		const char *text = json_string_value(entry);

		if (strncmp(text, "#version", 8) == 0)
			return EMB_OK;
		if (split_merge(text, json_string_length(entry), left, right))
			return EMB_OK;
	}
	else if (json_array_size(entry) == 2 && json_is_string(first) && json_is_string(second) &&
			 json_string_length(first) <= PIECE_BYTES_MAX && json_string_length(second) <= PIECE_BYTES_MAX)
	{
		*left = (EmbTokPiece) {json_string_value(first), (uint32_t) json_string_length(first)};
		*right = (EmbTokPiece) {json_string_value(second), (uint32_t) json_string_length(second)};
		return EMB_OK;
	}
	return emb_error(err, EMB_ERR_FORMAT, "%s: entry %zu of \"model.merges\" is not two pieces", doc->file, i);
}

static EmbStatus
read_merges(const EmbJson *doc, const json_t *list, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const EmbTokStorage *storage = spec->storage;
	size_t		n = json_array_size(list);
	char	   *buffer;
	EmbStatus	status;

	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"model.merges\" is not an array", doc->file);
	status = emb_tok_spec_reserve_merges(spec, doc->file, n, mem, &buffer, err);
	for (size_t i = 0; i < n && status == EMB_OK; i++)
	{
		const json_t *entry = json_array_get(list, i);
		EmbTokPiece left,
					right;

		if (i % ENTRIES_PER_ASK == 0 && emb_should_stop(storage->stop))
			status = emb_error(err, EMB_ERR_CANCELLED, "reading %s was cancelled", doc->file);
		/* They are all strings or all arrays. */
		else if (json_typeof(entry) != json_typeof(json_array_get(list, 0)))
			status = emb_error(err, EMB_ERR_FORMAT, "%s: \"model.merges\" has strings and arrays", doc->file);
		else
			status = read_merge(doc, entry, i, &left, &right, err);
		if (status == EMB_OK && left.text != NULL)
			status = add_merge(spec, doc->file, "entry of \"model.merges\"", i, &left, &right, buffer, err);
	}
	emb_release(mem, buffer);
	return status;
}

/* ----------------------------------------------------------------- model */

/* Whether the vocabulary has the characters of all bytes. If so, no text is unknown. */
static bool
has_all_bytes(const EmbTokSpec *spec)
{
	for (uint32_t c = 0x21, n = 0; n < 256; c++)
	{
		char		text[3] = {(char) c, '\0', '\0'};

		/*
		 * The alphabet of build_bpe.c: printable Latin-1; the other bytes map
		 * to U+0100 and up.
		 */
		if ((c > 0x7E && c < 0xA1) || c == 0xAD)
			continue;
		if (c >= 0x80)
		{
			text[0] = (char) (0xC0 | c >> 6);
			text[1] = (char) (0x80 | (c & 0x3F));
		}
		/* U+0100 is byte 0, which no text contains. */
		if (c != 0x100 && emb_tok_spec_find(spec, text) < 0)
			return false;
		n++;
	}
	return true;
}

/* "" counts as absent. */
static EmbStatus
refuse_affix(const EmbJson *doc, const json_t *obj, const char *key, EmbError *err)
{
	const char *affix = "";
	EmbStatus	status = emb_json_get_string(doc, obj, key, &affix, err);

	if (status == EMB_OK && affix[0] != '\0')
		status = emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"model.%s\" is \"%.*s\", only null and \"\" are supported",
						   doc->file, key, EMB_TOK_SHOW(affix));
	return status;
}

/* BPE of characters: how to handle those that the vocabulary lacks. */
static EmbStatus
read_unknown_chars(const EmbJson *doc, const json_t *obj, EmbTokSpec *spec, EmbError *err)
{
	const char *unk = NULL;
	EmbStatus	status;

	if ((status = emb_json_get_string(doc, obj, "unk_token", &unk, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, obj, "fuse_unk", &spec->fuse_unk, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, obj, "byte_fallback", &spec->byte_fallback, err)) != EMB_OK)
		return status;
	if (unk == NULL)
		return EMB_OK;
	spec->unk_id = emb_tok_spec_find(spec, unk);
	if (spec->unk_id < 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: the unknown token \"%.*s\" is not in the vocabulary", doc->file, EMB_TOK_SHOW(unk));
	return EMB_OK;
}

/* How to handle bytes that the vocabulary lacks. */
static EmbStatus
read_unknown(const EmbJson *doc, const json_t *obj, EmbTokSpec *spec, EmbError *err)
{
	static const char *const keys[2] = {"fuse_unk", "byte_fallback"};
	const char *unk = NULL;
	EmbStatus	status = emb_json_get_string(doc, obj, "unk_token", &unk, err);

	for (int i = 0; i < 2 && status == EMB_OK; i++)
	{
		bool		value = false;

		status = emb_json_get_bool(doc, obj, keys[i], &value, err);
		if (status == EMB_OK && value && (unk != NULL || i == 1) && !has_all_bytes(spec))
			status = emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"model.%s\" is true, which is supported only where the vocabulary has "
							   "the characters of all bytes", doc->file, keys[i]);
	}
	if (status != EMB_OK || unk == NULL || has_all_bytes(spec))
		return status;
	spec->unk_id = emb_tok_spec_find(spec, unk);
	if (spec->unk_id < 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: the unknown token \"%.*s\" is not in the vocabulary", doc->file, EMB_TOK_SHOW(unk));
	return EMB_OK;
}

static EmbStatus
read_bpe_model(const EmbJson *doc, const json_t *obj, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	double		dropout = 0;
	EmbStatus	status;

	if ((status = emb_json_get_double(doc, obj, "dropout", 0, 1, &dropout, err)) != EMB_OK)
		return status;
	if (dropout != 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"model.dropout\" is %g, only null is supported", doc->file, dropout);
	if ((status = refuse_affix(doc, obj, "continuing_subword_prefix", err)) != EMB_OK ||
		(status = refuse_affix(doc, obj, "end_of_word_suffix", err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, obj, "ignore_merges", &spec->ignore_merges, err)) != EMB_OK ||
		(status = emb_tok_require(doc, obj, "model", "vocab", err)) != EMB_OK ||
		(status = emb_tok_require(doc, obj, "model", "merges", err)) != EMB_OK ||
		(status = emb_tok_read_vocab(doc->file, "model.vocab", json_object_get(obj, "vocab"), mem, spec, err)) != EMB_OK ||
		(status = spec->spelling == EMB_TOK_SPELL_CHARS ? read_unknown_chars(doc, obj, spec, err) : read_unknown(doc, obj, spec, err)) != EMB_OK)
		return status;
	return read_merges(doc, json_object_get(obj, "merges"), mem, spec, err);
}

/* --------------------------------------------------------- pre-tokenizer */

/* Compiles the pattern once to see whether it can be. */
static EmbStatus
check_regex(const EmbJson *doc, const char *regex, const EmbAllocator *mem, const EmbTokSpec *spec, EmbError *err)
{
	const EmbTokStorage *storage = spec->storage;
	EmbError	why;
	EmbStatus	status = emb_tok_check_regex(regex, mem, storage->stop, &why);

	if (status == EMB_OK || status == EMB_ERR_NOMEM || status == EMB_ERR_CANCELLED)
		return status == EMB_OK ? EMB_OK : emb_error(err, status, "%s: %s", doc->file, why.message);
	emb_error(err, status, "%s: \"pre_tokenizer.pattern\" of Split is \"%.*s\", which cannot be compiled: %s", doc->file,
			  emb_json_clip(regex, 200), regex, why.message);
	return emb_error_hint(err, status, "Patterns like those of GPT-2, Llama 3, Qwen2 and GPT-4o can be imported: see docs/tokenizers.md");
}

/* {"type": "Split", "pattern": {"Regex": ...}, "behavior": "Isolated", "invert": false} */
static EmbStatus
read_split(const EmbJson *doc, const json_t *obj, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const char *regex = json_string_value(json_object_get(json_object_get(obj, "pattern"), "Regex"));
	const char *behavior = NULL;
	bool		invert = false;
	EmbStatus	status;

	if ((status = emb_tok_require_string(doc, obj, "pre_tokenizer", "behavior", &behavior, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, obj, "invert", &invert, err)) != EMB_OK)
		return status;
	/*
	 * Patterns that do not match all text are refused, so removing everything
	 * except the matches removes nothing.
	 */
	if (strcmp(behavior, invert ? "Removed" : "Isolated") != 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pre_tokenizer.behavior\" of Split is \"%.*s\"%s, only \"Isolated\" is supported",
						 doc->file, EMB_TOK_SHOW(behavior), invert ? " with \"invert\"" : "");
	if (regex == NULL)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pre_tokenizer.pattern\" of Split is not a Regex", doc->file);
	spec->regex = regex;
	return check_regex(doc, regex, mem, spec, err);
}

/*
 * {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
 * "use_regex": true}; offsets do not matter here.
 */
static EmbStatus
read_byte_level(const EmbJson *doc, const json_t *obj, bool after_split, EmbTokSpec *spec, EmbError *err)
{
	bool		use_regex = true;
	EmbStatus	status;

	if ((status = emb_tok_require_bool(doc, obj, "pre_tokenizer", "add_prefix_space", &spec->prefix_space, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, obj, "use_regex", &use_regex, err)) != EMB_OK)
		return status;
	if (after_split && (use_regex || spec->prefix_space))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pre_tokenizer.%s\" of ByteLevel is true after Split, only false is supported there",
						 doc->file, use_regex ? "use_regex" : "add_prefix_space");
	if (!after_split)
		spec->regex = use_regex ? EMB_TOK_REGEX_GPT2 : EMB_TOK_REGEX_ALL;
	return EMB_OK;
}

/*
 * {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious"}, as
 * Gemma's: the normalizer has replaced all spaces, so nothing is split.
 */
static EmbStatus
read_split_by_space(const EmbJson *doc, const json_t *obj, const EmbTokSpec *spec, EmbError *err)
{
	const char *string = json_string_value(json_object_get(json_object_get(obj, "pattern"), "String"));
	bool		replaced = false;

	for (int i = 0; i < spec->n_steps; i++)
		replaced |= spec->steps[i].kind == EMB_TOK_STEP_BLANKS;
	if (string == NULL || strcmp(string, " ") != 0 || !replaced)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pre_tokenizer\" is a Split without ByteLevel; only one by the String \" \" is supported, "
						 "after a normalizer that replaces \" \"", doc->file);
	return EMB_OK;
}

/*
 * The pre-tokenizers of BPE of characters: none, Split by a space, and Metaspace, alone
 * or in a Sequence of one. False: another one.
 */
static bool
is_for_chars(const EmbJson *doc, const json_t **obj)
{
	const char *type;

	*obj = json_object_get(doc->root, "pre_tokenizer");
	type = json_string_value(json_object_get(*obj, "type"));
	if (type != NULL && strcmp(type, "Sequence") == 0 && json_array_size(json_object_get(*obj, "pretokenizers")) == 1)
	{
		*obj = json_array_get(json_object_get(*obj, "pretokenizers"), 0);
		type = json_string_value(json_object_get(*obj, "type"));
	}
	return *obj == NULL || json_is_null(*obj) || (type != NULL && (strcmp(type, "Split") == 0 || strcmp(type, "Metaspace") == 0));
}

static EmbStatus
read_chars_splitting(const EmbJson *doc, const json_t *obj, EmbTokSpec *spec, EmbError *err)
{
	const char *type = json_string_value(json_object_get(obj, "type"));

	spec->spelling = EMB_TOK_SPELL_CHARS;
	if (type == NULL)
		return EMB_OK;
	return strcmp(type, "Metaspace") == 0 ? emb_tok_read_metaspace(doc, obj, spec, err) : read_split_by_space(doc, obj, spec, err);
}

/* ByteLevel, or Split and ByteLevel. */
static EmbStatus
read_byte_level_splitting(const EmbJson *doc, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const json_t *split;
	const json_t *byte_level;
	EmbStatus	status = emb_tok_get_splitting(doc, "Split", "ByteLevel", &split, &byte_level, err);

	if (status == EMB_OK && split != NULL)
		status = read_split(doc, split, mem, spec, err);
	return status != EMB_OK ? status : read_byte_level(doc, byte_level, split != NULL, spec, err);
}

EmbStatus
emb_tok_read_bpe(const EmbJson *doc, const json_t *model, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const json_t *splitting;
	EmbStatus	status;

	emb_tok_spec_make_bpe(spec);
	if (is_for_chars(doc, &splitting))
	{
		if ((status = emb_tok_read_steps(doc, mem, spec, err)) != EMB_OK ||
			(status = read_chars_splitting(doc, splitting, spec, err)) != EMB_OK)
			return status;
		return read_bpe_model(doc, model, mem, spec, err);
	}
	/* The splitting is read first, because it shows best that a tokenizer is not byte-level. */
	if ((status = read_byte_level_splitting(doc, mem, spec, err)) != EMB_OK ||
		(status = emb_tok_read_steps(doc, mem, spec, err)) != EMB_OK)
		return status;
	return read_bpe_model(doc, model, mem, spec, err);
}

/* ------------------------------------------- vocab.json and merges.txt */

static inline bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word of line[*at .. len). */
static bool
next_word(const char *line, size_t len, size_t *at, EmbTokPiece *word)
{
	size_t		start;

	while (*at < len && is_blank(line[*at]))
		(*at)++;
	start = *at;
	while (*at < len && !is_blank(line[*at]))
		(*at)++;
	*word = (EmbTokPiece) {line + start, (uint32_t) (*at - start <= PIECE_BYTES_MAX ? *at - start : PIECE_BYTES_MAX + 1)};
	return *at > start;
}

/*
 * The lines of merges.txt, except the first line ("#version: 0.2") and text
 * after the last line end. The slow tokenizer reads them like this, and its
 * dictionary keeps equal merges at their first position.
 */
static EmbStatus
read_merges_txt(const char *file, const char *data, size_t size, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const EmbTokStorage *storage = spec->storage;
	const char *end = data + size;
	const char *line;
	size_t		n_lines = 0;
	size_t		i = 1;
	char	   *buffer;
	EmbStatus	status;

	for (line = data; line < end && (line = memchr(line, '\n', (size_t) (end - line))) != NULL; line++)
		n_lines++;
	if ((status = emb_tok_spec_reserve_merges(spec, file, n_lines, mem, &buffer, err)) != EMB_OK)
	{
		emb_release(mem, buffer);
		return status;
	}
	line = memchr(data, '\n', size);
	while (status == EMB_OK && line != NULL && ++line < end)
	{
		const char *next = memchr(line, '\n', (size_t) (end - line));
		size_t		len = next != NULL ? (size_t) (next - line) : 0;
		size_t		at = 0;
		EmbTokPiece words[3];

		if (next == NULL)
			break;
		i++;
		if (i % ENTRIES_PER_ASK == 0 && emb_should_stop(storage->stop))
			status = emb_error(err, EMB_ERR_CANCELLED, "reading %s was cancelled", file);
		else if (memchr(line, '\0', len) != NULL || !next_word(line, len, &at, &words[0]) || !next_word(line, len, &at, &words[1]) ||
				 next_word(line, len, &at, &words[2]))
			status = emb_error_at(err, EMB_ERR_FORMAT, line - data, "line %zu of %s is not two pieces", i, file);
		else
			status = add_merge(spec, file, "line", i, &words[0], &words[1], buffer, err);
		line = next;
	}
	emb_release(mem, buffer);
	return status;
}

static const EmbTokRole roles[EMB_TOK_N_ROLES] = {
	{"unk_token", "<unk>", false, false},
	{"sep_token", "</s>", true, false},
	{"pad_token", "<pad>", false, false},
	{"cls_token", "<s>", true, false},
	{"mask_token", "<mask>", false, false}
};

/* Vocabulary and merges; the companions are loaded. */
static EmbStatus
read_roberta(EmbTokSpec *spec, const char *merges, size_t merges_size, const EmbAllocator *mem, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	const EmbJson *vocab = &storage->docs[EMB_TOK_BPE_VOCAB_DOC];
	int32_t		ids[EMB_TOK_N_ROLES];
	EmbStatus	status;

	emb_tok_spec_make_bpe(spec);
	spec->regex = EMB_TOK_REGEX_GPT2;
	if ((status = emb_tok_read_vocab(vocab->file, EMB_TOK_BPE_VOCAB_FILE, vocab->root, mem, spec, err)) != EMB_OK ||
		(status = read_merges_txt(EMB_TOK_BPE_MERGES_FILE, merges, merges_size, mem, spec, err)) != EMB_OK ||
		(status = emb_tok_spec_add_companions(spec, vocab->file, roles, ids, mem, err)) != EMB_OK)
		return status;
	emb_tok_spec_roberta_templates(spec, ids[EMB_TOK_ROLE_CLS], ids[EMB_TOK_ROLE_SEP]);
	return EMB_OK;
}

EmbStatus
emb_import_bpe(const char *vocab, size_t vocab_size, const char *merges, size_t merges_size,
			   const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = emb_tok_spec_begin(spec, mem, err);
	EmbTokStorage *storage = spec->storage;

	if (status == EMB_OK)
		status = emb_json_parse(EMB_TOK_BPE_VOCAB_FILE, vocab, vocab_size, &storage->docs[EMB_TOK_BPE_VOCAB_DOC], err);
	if (status == EMB_OK)
		status = read_roberta(spec, merges, merges_size, mem, err);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}

/* Tokenizers of other classes split differently or have other special tokens. */
static EmbStatus
read_settings(EmbTokSpec *spec, EmbError *err)
{
	static const char *const classes[] = {
		"RobertaTokenizer", "RobertaTokenizerFast", "LongformerTokenizer", "LongformerTokenizerFast",
		"BartTokenizer", "BartTokenizerFast", NULL
	};
	const EmbJson *doc = &((EmbTokStorage *) spec->storage)->docs[0];
	EmbStatus	status = emb_tok_spec_check_class(spec, classes, err);

	if (status != EMB_OK || doc->root == NULL)
		return status;
	return emb_json_get_bool(doc, doc->root, "add_prefix_space", &spec->prefix_space, err);
}

EmbStatus
emb_import_bpe_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err)
{
	char	   *merges = NULL;
	size_t		size;
	EmbStatus	status = emb_tok_spec_begin(spec, mem, err);
	EmbTokStorage *storage = spec->storage;

	if (status == EMB_OK)
		storage->stop = stop;
	if (status == EMB_OK && !emb_file_exists(dir, EMB_TOK_BPE_MERGES_FILE))
	{
		emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" has " EMB_TOK_BPE_VOCAB_FILE ", but no " EMB_TOK_BPE_MERGES_FILE,
				  emb_json_clip(dir, 300), dir);
		status = emb_error_hint(err, EMB_ERR_NOT_FOUND, "Put the model's tokenizer.json or " EMB_TOK_BPE_MERGES_FILE " beside its config.json");
	}
	if (status == EMB_OK)
		status = emb_json_load(dir, EMB_TOK_BPE_VOCAB_FILE, EMB_JSON_TOKENIZER_MAX, mem, stop, &storage->docs[EMB_TOK_BPE_VOCAB_DOC], err);
	if (status == EMB_OK)
		status = emb_file_read_all(dir, EMB_TOK_BPE_MERGES_FILE, EMB_JSON_TOKENIZER_MAX, mem, &merges, &size, err);
	if (status == EMB_OK && (status = emb_tok_spec_load_companions(spec, dir, mem, err)) == EMB_OK &&
		(status = read_settings(spec, err)) == EMB_OK)
		status = read_roberta(spec, merges, size, mem, err);
	emb_release(mem, merges);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}
