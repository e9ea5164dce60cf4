/*
 * gguf_tokenizer.c
 *		The tokenizer of a GGUF file, from its keys "tokenizer.ggml.*".
 *
 * A file has the pieces by id with their types, and of a normalizer and
 * pre-tokenizer at most a name. What it lacks is what the library's tokenizer
 * of the same kind has. WordPiece's pieces are rewritten by the converter: a
 * word's first piece begins with U+2581, and "##" is taken from the others.
 */
#include "import/gguf_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/sort.h"
#include "common/utf8.h"
#include "import/hf_tokenizer_class.h"

#define KEY(name)	"tokenizer.ggml." name

/* U+2581 in UTF-8 */
#define META		"\xE2\x96\x81"
#define META_BYTES	3

/* "tokenizer.ggml.token_type" */
enum
{
	TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE
};

/* One in so many pieces with a capital letter: then the vocabulary is cased. */
#define CASED_SHARE	100

typedef struct Reader
{
	const EmbGgufModel *m;
	const EmbArch *arch;
	const EmbGgufKey *tokens;
	const EmbGgufKey *types;	/* NULL: all are normal */
	const char *file;
	EmbTokSpec *spec;
	int32_t		mask_id;		/* -1: none */
	EmbError   *err;
} Reader;

/* ------------------------------------------------------------------ lists */

static EmbStatus
wrong_number(const Reader *r, const EmbGgufKey *key, EmbError *err)
{
	return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" has %lld elements for %lld tokens", emb_gguf_path(r->m), key->name,
					 (long long) key->n, (long long) r->tokens->n);
}

static EmbStatus
find_lists(Reader *r)
{
	const EmbGguf *gguf = &r->m->gguf;
	EmbStatus	status;

	if ((status = emb_gguf_get_array(gguf, KEY("tokens"), EMB_GGUF_STRING, &r->tokens, r->err)) != EMB_OK ||
		(status = emb_gguf_get_array(gguf, KEY("token_type"), EMB_GGUF_I32, &r->types, r->err)) != EMB_OK)
		return status;
	if (r->tokens == NULL || r->tokens->n == 0)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\" has no \"%s\"", emb_gguf_path(r->m), KEY("tokens"));
	if (r->tokens->n > EMB_TOK_MAX_VOCAB)
		return emb_error(r->err, EMB_ERR_LIMIT, "file \"%s\" has %lld tokens, more than %d", emb_gguf_path(r->m), (long long) r->tokens->n,
						 EMB_TOK_MAX_VOCAB);
	return r->types != NULL && r->types->n != r->tokens->n ? wrong_number(r, r->types, r->err) : EMB_OK;
}

static int64_t
type_of(const Reader *r, int64_t id)
{
	return r->types != NULL ? emb_gguf_int_at(r->types, id) : TYPE_NORMAL;
}

/* "[PAD123]", which the converter puts where the vocabulary has no piece. */
static bool
is_filler(const EmbTokPiece *piece)
{
	uint32_t	i = 4;

	if (piece->len < 6 || memcmp(piece->text, "[PAD", 4) != 0 || piece->text[piece->len - 1] != ']')
		return false;
	while (piece->text[i] >= '0' && piece->text[i] <= '9')
		i++;
	return i == piece->len - 1;
}

/* Fills the pieces with the file's strings, which stay where they are. */
static EmbStatus
read_pieces(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbTokStorage *storage = spec->storage;
	const uint8_t *at = NULL;
	EmbStatus	status = EMB_OK;

	spec->n_vocab = (int32_t) r->tokens->n;
	spec->pieces = storage->pieces = emb_alloc_zero(r->m->mem, (size_t) spec->n_vocab, sizeof(EmbTokPiece));
	if (spec->pieces == NULL)
		return emb_error(r->err, EMB_ERR_NOMEM, "out of memory reading %s (%d pieces)", r->file, spec->n_vocab);
	for (int32_t id = 0; status == EMB_OK && id < spec->n_vocab; id++)
	{
		size_t		len;
		const char *text = emb_gguf_next_string(r->tokens, &at, &len);

		status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK + len / 4, r->file, r->err);
		if (len > UINT32_MAX || !emb_utf8_is_text((const uint8_t *) text, len))
			return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\": token %d is not UTF-8, or contains U+0000", emb_gguf_path(r->m), id);
		spec->pieces[id] = (EmbTokPiece) {text, (uint32_t) len};
	}
	return status;
}

/* Holes: fillers, and empty pieces, which never match. */
static EmbStatus
drop_fillers(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbStatus	status = EMB_OK;

	for (int32_t id = 0; status == EMB_OK && id < spec->n_vocab; id++)
	{
		EmbTokPiece *piece = &spec->pieces[id];

		if (piece->len == 0 || (type_of(r, id) == TYPE_UNUSED && is_filler(piece)))
			*piece = (EmbTokPiece) {NULL, 0};
		status = emb_tok_spec_work(spec, 2, r->file, r->err);
	}
	return status;
}

/* --------------------------------------------------------- special tokens */

/* A token's id from one key or another; -1: neither is there. */
static EmbStatus
get_id(const Reader *r, const char *key, const char *other, int32_t *id)
{
	int64_t		n = -1;
	EmbStatus	status = emb_gguf_get_int(&r->m->gguf, key, 0, r->spec->n_vocab - 1, &n, r->err);

	if (status == EMB_OK && n < 0 && other != NULL)
		status = emb_gguf_get_int(&r->m->gguf, other, 0, r->spec->n_vocab - 1, &n, r->err);
	*id = (int32_t) n;
	return status;
}

/* The same; without a key the piece with this text; without that an error. */
static EmbStatus
require_id(const Reader *r, const char *key, const char *other, const char *text, int32_t *id)
{
	EmbStatus	status = get_id(r, key, other, id);

	if (status != EMB_OK)
		return status;
	if (*id < 0)
		*id = emb_tok_spec_find(r->spec, text);
	if (*id < 0)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\" has neither a key \"%s\" nor a token \"%s\"", emb_gguf_path(r->m), key, text);
	return EMB_OK;
}

/* The mask token without a key is known by its text. It takes the white space before it, but BERT's and Gemma's. */
static bool
is_mask(const Reader *r, int32_t id)
{
	const EmbTokPiece *piece = &r->spec->pieces[id];

	return r->mask_id >= 0 ? id == r->mask_id : piece->len == 6 && (memcmp(piece->text, "<mask>", 6) == 0 || memcmp(piece->text, "[MASK]", 6) == 0);
}

static EmbStatus
add_token(const Reader *r, int32_t id, bool is_special)
{
	EmbTokAdded added = {.piece = r->spec->pieces[id], .special = is_special};
	EmbStatus	status;

	added.lstrip = is_mask(r, id) && r->m->tokenizer != EMB_GGUF_WORDPIECE && r->m->tokenizer != EMB_GGUF_SPM;
	status = emb_tok_spec_add(r->spec, r->file, &added, r->m->mem, r->err);
	if (status == EMB_OK && added.id != id)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\": token \"%.*s\" has ids %d and %d", emb_gguf_path(r->m), EMB_TOK_SHOW(added.piece.text), id,
						 added.id);
	return status;
}

/*
 * Control tokens, those that the user defined, and the unknown one are matched
 * in the text. The pieces are sorted.
 */
static EmbStatus
add_tokens(const Reader *r)
{
	EmbStatus	status = EMB_OK;

	for (int32_t id = 0; status == EMB_OK && id < r->spec->n_vocab; id++)
	{
		int64_t		type = type_of(r, id);

		if (r->spec->pieces[id].text != NULL && (type == TYPE_CONTROL || type == TYPE_USER_DEFINED || type == TYPE_UNKNOWN))
			status = add_token(r, id, type != TYPE_USER_DEFINED);
		else
			status = emb_tok_spec_work(r->spec, 1, r->file, r->err);
	}
	return status;
}

/* -------------------------------------------------------------- WordPiece */

/* "x" with U+2581 before it becomes "x", "x" without becomes "##x"; special tokens stay. */
static EmbStatus
rewrite_pieces(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbTokStorage *storage = spec->storage;
	size_t		bytes = 1;
	char	   *to;

	for (int32_t id = 0; id < spec->n_vocab; id++)
		bytes += (size_t) spec->pieces[id].len + 3;
	to = storage->text = emb_alloc(r->m->mem, bytes);
	if (to == NULL)
		return emb_error(r->err, EMB_ERR_NOMEM, "out of memory reading %s", r->file);
	for (int32_t id = 0; id < spec->n_vocab; id++)
	{
		EmbTokPiece *piece = &spec->pieces[id];
		bool		is_start = piece->len >= META_BYTES && memcmp(piece->text, META, META_BYTES) == 0;
		bool		stays = type_of(r, id) == TYPE_CONTROL;
		uint32_t	skip = is_start && !stays ? META_BYTES : 0;
		uint32_t	prefix = is_start || stays ? 0 : 2;
		EmbStatus	status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK, r->file, r->err);

		if (status != EMB_OK)
			return status;
		memcpy(to, "##", prefix);
		memcpy(to + prefix, piece->text + skip, piece->len - skip);
		*piece = (EmbTokPiece) {to, prefix + piece->len - skip};
		to[piece->len] = '\0';
		to += piece->len + 1;
	}
	return EMB_OK;
}

/*
 * The file does not say whether text is lowercased. The vocabulary of an
 * uncased model has no capital letters but in special tokens.
 */
static bool
is_cased(const Reader *r)
{
	int32_t		n_capital = 0;

	for (int32_t id = 0; id < r->spec->n_vocab; id++)
	{
		const EmbTokPiece *piece = &r->spec->pieces[id];
		bool		has_capital = false;

		if (type_of(r, id) != TYPE_NORMAL || piece->len == 0 || piece->text[0] == '[' || piece->text[0] == '<')
			continue;
		for (uint32_t i = 0; i < piece->len; i++)
			has_capital |= piece->text[i] >= 'A' && piece->text[i] <= 'Z';
		n_capital += has_capital;
	}
	return n_capital >= r->spec->n_vocab / CASED_SHARE + 1;
}

static EmbStatus
read_wordpiece(Reader *r, EmbGgufModel *m)
{
	EmbTokSpec *spec = r->spec;
	int32_t		cls_id;
	int32_t		sep_id;
	EmbStatus	status;

	if ((status = rewrite_pieces(r)) != EMB_OK ||
		(status = drop_fillers(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = require_id(r, KEY("unknown_token_id"), NULL, "[UNK]", &spec->unk_id)) != EMB_OK ||
		(status = require_id(r, KEY("cls_token_id"), KEY("bos_token_id"), "[CLS]", &cls_id)) != EMB_OK ||
		(status = require_id(r, KEY("seperator_token_id"), KEY("eos_token_id"), "[SEP]", &sep_id)) != EMB_OK ||
		(status = add_tokens(r)) != EMB_OK)
		return status;
	spec->lowercase = spec->strip_accents = !is_cased(r);
	m->assumes_case = true;
	m->lowercases = spec->lowercase;
	emb_tok_spec_bert_templates(spec, cls_id, sep_id);
	return EMB_OK;
}

/* ---------------------------------------------------------------- Unigram */

static EmbStatus
read_scores(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbTokStorage *storage = spec->storage;
	const EmbGgufKey *scores;
	EmbStatus	status = emb_gguf_get_array(&r->m->gguf, KEY("scores"), EMB_GGUF_F32, &scores, r->err);

	if (status != EMB_OK)
		return status;
	if (scores == NULL)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\" has no \"%s\"", emb_gguf_path(r->m), KEY("scores"));
	if (scores->n != r->tokens->n)
		return wrong_number(r, scores, r->err);
	spec->scores = storage->scores = emb_alloc_array(r->m->mem, (size_t) spec->n_vocab, sizeof(double));
	if (spec->scores == NULL)
		return emb_error(r->err, EMB_ERR_NOMEM, "out of memory reading %s", r->file);
	for (int32_t id = 0; status == EMB_OK && id < spec->n_vocab; id++)
	{
		spec->scores[id] = emb_gguf_double_at(scores, id);
		if (!isfinite(spec->scores[id]))
			return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\": the score of token %d is not finite", emb_gguf_path(r->m), id);
		status = emb_tok_spec_work(spec, 2, r->file, r->err);
	}
	return status;
}

static EmbStatus
read_charsmap(Reader *r)
{
	static const char name[] = KEY("precompiled_charsmap");
	const EmbGgufKey *key = emb_gguf_find_key(&r->m->gguf, name);

	if (key == NULL)
		return EMB_OK;
	if (!key->is_array || (key->type != EMB_GGUF_U8 && key->type != EMB_GGUF_I8) || key->n > INT32_MAX)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is not an array of bytes", emb_gguf_path(r->m), name);
	r->spec->charsmap = (EmbTokPiece) {(const char *) key->data, (uint32_t) key->n};
	return EMB_OK;
}

/* The unknown token, by its key or its type. */
static EmbStatus
find_unknown(Reader *r)
{
	EmbStatus	status = get_id(r, KEY("unknown_token_id"), NULL, &r->spec->unk_id);

	for (int32_t id = 0; status == EMB_OK && r->spec->unk_id < 0 && id < r->spec->n_vocab; id++)
	{
		if (type_of(r, id) == TYPE_UNKNOWN)
			r->spec->unk_id = id;
	}
	if (status == EMB_OK && r->spec->unk_id < 0)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\" has no unknown token", emb_gguf_path(r->m));
	return status;
}

/* XLM-RoBERTa's mask token is a filler in files that were made from its SentencePiece model. */
static EmbStatus
add_mask(Reader *r)
{
	EmbTokPiece *piece = &r->spec->pieces[r->mask_id >= 0 ? r->mask_id : 0];

	if (r->mask_id < 0 || piece->text != NULL)
		return EMB_OK;
	*piece = (EmbTokPiece) {"<mask>", 6};
	return EMB_OK;
}

/*
 * Precompiled, Replace; Metaspace: as the tokenizer.json of the models that
 * are published as GGUF files has them (BGE-M3, multilingual E5). Converters of
 * other years write others, which differ in spaces at the end of a text.
 */
static void
set_pipeline(EmbTokSpec *spec, bool add_space)
{
	if (spec->charsmap.len > 0)
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_PRECOMPILED, 0};
	spec->split_spaces = true;
	spec->split_meta = true;
	spec->prepend = add_space ? EMB_TOK_PREPEND_ALWAYS : EMB_TOK_PREPEND_NEVER;
	spec->meta = EMB_TOK_META;
}

static EmbStatus
read_unigram(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	bool		add_space = true;
	int32_t		cls_id;
	int32_t		sep_id;
	EmbStatus	status;

	emb_tok_spec_make_unigram(spec);
	if ((status = read_scores(r)) != EMB_OK ||
		(status = read_charsmap(r)) != EMB_OK ||
		(status = drop_fillers(r)) != EMB_OK ||
		(status = add_mask(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = find_unknown(r)) != EMB_OK ||
		(status = emb_tok_spec_check_unknown(r->file, spec, r->err)) != EMB_OK ||
		(status = require_id(r, KEY("cls_token_id"), KEY("bos_token_id"), "<s>", &cls_id)) != EMB_OK ||
		(status = require_id(r, KEY("seperator_token_id"), KEY("eos_token_id"), "</s>", &sep_id)) != EMB_OK ||
		(status = add_tokens(r)) != EMB_OK ||
		(status = emb_gguf_get_bool(&r->m->gguf, KEY("add_space_prefix"), &add_space, r->err)) != EMB_OK)
		return status;
	if (r->mask_id >= 0 && type_of(r, r->mask_id) == TYPE_UNUSED && (status = add_token(r, r->mask_id, true)) != EMB_OK)
		return status;
	set_pipeline(spec, add_space);
	emb_tok_spec_roberta_templates(spec, cls_id, sep_id);
	return EMB_OK;
}

/* --------------------------------------------------------- byte-level BPE */

/* How text is split: the names that llama.cpp gives to the patterns that are known here. */
static EmbStatus
read_splitting(Reader *r)
{
	static const struct
	{
		const char *name;
		const char *regex;
		bool		has_nfc;
	}			known[] =
	{
		{"qwen2", EMB_TOK_REGEX_QWEN2, true},
		{"modern-bert", EMB_TOK_REGEX_GPT2, true},
		{"gpt-2", EMB_TOK_REGEX_GPT2, false},
		{"roberta-bpe", EMB_TOK_REGEX_GPT2, false},
	};
	static const char key[] = KEY("pre");
	const char *name = NULL;
	EmbStatus	status = emb_gguf_get_string(&r->m->gguf, key, &name, r->err);

	if (status != EMB_OK)
		return status;
	if (name == NULL)
		return emb_error(r->err, EMB_ERR_UNSUPPORTED, "file \"%s\" has no key \"%s\", which says how text is split", emb_gguf_path(r->m), key);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(name, known[i].name) != 0)
			continue;
		r->spec->regex = known[i].regex;
		if (known[i].has_nfc)
			r->spec->steps[r->spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_NFC, 0};
		return EMB_OK;
	}
	return emb_error(r->err, EMB_ERR_UNSUPPORTED, "file \"%s\": key \"%s\" is \"%.*s\"; qwen2, modern-bert, gpt-2 and roberta-bpe can be imported",
					 emb_gguf_path(r->m), key, EMB_TOK_SHOW(name));
}

static EmbStatus
read_merges(Reader *r)
{
	static const char name[] = KEY("merges");
	const EmbGgufKey *merges;
	const uint8_t *at = NULL;
	char	   *buffer = NULL;
	EmbStatus	status = emb_gguf_get_array(&r->m->gguf, name, EMB_GGUF_STRING, &merges, r->err);

	if (status != EMB_OK)
		return status;
	if (merges == NULL)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\" has no \"%s\"", emb_gguf_path(r->m), name);
	status = emb_tok_spec_reserve_merges(r->spec, r->file, (size_t) merges->n, r->m->mem, &buffer, r->err);
	for (int64_t i = 0; status == EMB_OK && i < merges->n; i++)
	{
		size_t		len;
		const char *line = emb_gguf_next_string(merges, &at, &len);

		status = emb_tok_spec_work(r->spec, 3 * EMB_TOK_ENTRY_WORK, r->file, r->err);
		if (status == EMB_OK)
			status = emb_tok_spec_add_merge(r->spec, r->file, "merge", (size_t) i, line, len, buffer, r->err);
	}
	emb_release(r->m->mem, buffer);
	return status;
}

static EmbStatus
read_bpe_templates(Reader *r)
{
	bool		is_modern = strcmp(r->m->family->arch, "modern-bert") == 0;
	int32_t		cls_id;
	int32_t		sep_id;
	EmbStatus	status;

	if (emb_gguf_is_decoder(r->m))
		return emb_gguf_decoder_templates(r->m, r->arch, r->spec, r->err);
	if ((status = require_id(r, KEY("cls_token_id"), KEY("bos_token_id"), is_modern ? "[CLS]" : "<s>", &cls_id)) != EMB_OK ||
		(status = require_id(r, KEY("seperator_token_id"), KEY("eos_token_id"), is_modern ? "[SEP]" : "</s>", &sep_id)) != EMB_OK)
		return status;
	if (is_modern)
		emb_tok_spec_bert_templates(r->spec, cls_id, sep_id);
	else
		emb_tok_spec_roberta_templates(r->spec, cls_id, sep_id);
	return EMB_OK;
}

static EmbStatus
read_bpe(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbStatus	status;

	emb_tok_spec_make_bpe(spec);
	if ((status = read_splitting(r)) != EMB_OK ||
		(status = drop_fillers(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = read_merges(r)) != EMB_OK ||
		(status = read_bpe_templates(r)) != EMB_OK)
		return status;
	return add_tokens(r);
}

/* ----------------------------------------------------- SentencePiece's BPE */

/* Runs of spaces that the converter wrote for the runs of U+2581 of user-defined symbols. */
static EmbStatus
respell_spaces(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbTokStorage *storage = spec->storage;
	size_t		bytes = 1;
	char	   *to;

	for (int32_t id = 0; id < spec->n_vocab; id++)
		bytes += type_of(r, id) == TYPE_USER_DEFINED ? (size_t) spec->pieces[id].len * META_BYTES + 1 : 0;
	to = storage->text = emb_alloc(r->m->mem, bytes);
	if (to == NULL)
		return emb_error(r->err, EMB_ERR_NOMEM, "out of memory reading %s", r->file);
	for (int32_t id = 0; id < spec->n_vocab; id++)
	{
		EmbTokPiece *piece = &spec->pieces[id];
		const char *from = piece->text;
		uint32_t	n = 0;
		EmbStatus	status = emb_tok_spec_work(spec, 2 + piece->len, r->file, r->err);

		if (status != EMB_OK)
			return status;
		if (type_of(r, id) != TYPE_USER_DEFINED || memchr(from, ' ', piece->len) == NULL)
			continue;
		for (uint32_t i = 0; i < piece->len; i++)
		{
			bool		is_space = from[i] == ' ';

			memcpy(to + n, is_space ? META : from + i, is_space ? META_BYTES : 1);
			n += is_space ? META_BYTES : 1;
		}
		to[n] = '\0';
		*piece = (EmbTokPiece) {to, n};
		to += n + 1;
	}
	return EMB_OK;
}

static int
compare_scores(const void *a, const void *b, void *ctx)
{
	const double *scores = ctx;
	int32_t		i = *(const int32_t *) a;
	int32_t		j = *(const int32_t *) b;

	return scores[i] != scores[j] ? (scores[i] < scores[j] ? 1 : -1) : (i > j) - (i < j);
}

/* Merges go by the scores of their pieces, the highest first; of equal scores by id. */
static EmbStatus
derive_merges(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbTokStorage *storage = spec->storage;
	int32_t    *order = emb_alloc_array(r->m->mem, (size_t) spec->n_vocab, sizeof(int32_t));
	EmbStatus	status;

	if (order == NULL)
		return emb_error(r->err, EMB_ERR_NOMEM, "out of memory reading %s", r->file);
	for (int32_t id = 0; id < spec->n_vocab; id++)
		order[id] = id;
	status = emb_sort(order, (size_t) spec->n_vocab, sizeof(int32_t), compare_scores, spec->scores, r->m->mem, storage->stop, "sorting a vocabulary", r->err);
	if (status == EMB_OK)
		status = emb_tok_spec_derive_merges(spec, r->file, order, r->m->mem, r->err);
	emb_release(r->m->mem, order);
	spec->scores = NULL;
	return status;
}

/* The tokens that the file puts before and after a text; both, where the file does not say. */
static EmbStatus
read_spm_templates(Reader *r)
{
	static const char *const keys[2][2] = {{KEY("add_bos_token"), KEY("bos_token_id")}, {KEY("add_eos_token"), KEY("eos_token_id")}};
	static const char *const texts[2] = {"<bos>", "<eos>"};
	EmbTokTemplate *pair = &r->spec->pair;
	int32_t		ids[2] = {-1, -1};

	for (int i = 0; i < 2; i++)
	{
		bool		adds = true;
		EmbStatus	status = emb_gguf_get_bool(&r->m->gguf, keys[i][0], &adds, r->err);

		if (status == EMB_OK && adds)
			status = require_id(r, keys[i][1], NULL, texts[i], &ids[i]);
		if (status != EMB_OK)
			return status;
	}
	*pair = (EmbTokTemplate) {0};
	for (int b = 0; b < 2; b++)
	{
		if (ids[0] >= 0)
			pair->slots[pair->n_slots++] = (EmbTokSlot) {EMB_TOK_SLOT_SPECIAL, ids[0], b};
		pair->slots[pair->n_slots++] = (EmbTokSlot) {b == 0 ? EMB_TOK_SLOT_A : EMB_TOK_SLOT_B, 0, b};
		if (ids[1] >= 0)
			pair->slots[pair->n_slots++] = (EmbTokSlot) {EMB_TOK_SLOT_SPECIAL, ids[1], b};
		if (b == 0)
			r->spec->single = *pair;
	}
	return EMB_OK;
}

/*
 * Gemma's: spaces become U+2581, characters without a piece bytes.
 * "add_space_prefix" puts one before a text.
 */
static EmbStatus
read_spm(Reader *r)
{
	EmbTokSpec *spec = r->spec;
	bool		add_space = false;
	EmbStatus	status;

	emb_tok_spec_make_bpe(spec);
	spec->spelling = EMB_TOK_SPELL_CHARS;
	if ((status = read_scores(r)) != EMB_OK ||
		(status = respell_spaces(r)) != EMB_OK ||
		(status = drop_fillers(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = derive_merges(r)) != EMB_OK ||
		(status = find_unknown(r)) != EMB_OK ||
		(status = add_tokens(r)) != EMB_OK ||
		(status = read_spm_templates(r)) != EMB_OK ||
		(status = emb_gguf_get_bool(&r->m->gguf, KEY("add_space_prefix"), &add_space, r->err)) != EMB_OK)
		return status;
	emb_tok_set_unknown_chars(spec, true, spec->unk_id);
	spec->prepend = add_space ? EMB_TOK_PREPEND_FIRST : EMB_TOK_PREPEND_NEVER;
	if (add_space)
		spec->meta = EMB_TOK_META;
	else
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_BLANKS, EMB_TOK_META};
	return EMB_OK;
}

/* ------------------------------------------------------------------ whole */

EmbStatus
emb_gguf_read_tokenizer(EmbGgufModel *m, const EmbArch *arch, EmbTokSpec *spec, EmbError *err)
{
	Reader		r = {.m = m, .arch = arch, .spec = spec, .file = "the GGUF file", .err = err};
	EmbStatus	status = emb_tok_spec_begin(spec, m->mem, err);

	if (status != EMB_OK)
		return status;
	((EmbTokStorage *) spec->storage)->stop = m->gguf.stop;
	spec->stop = m->gguf.stop;
	if ((status = find_lists(&r)) == EMB_OK &&
		(status = read_pieces(&r)) == EMB_OK &&
		(status = get_id(&r, KEY("mask_token_id"), NULL, &r.mask_id)) == EMB_OK)
		status = m->tokenizer == EMB_GGUF_WORDPIECE ? read_wordpiece(&r, m) : m->tokenizer == EMB_GGUF_UNIGRAM ? read_unigram(&r)
			: m->tokenizer == EMB_GGUF_SPM ? read_spm(&r) : read_bpe(&r);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, m->mem);
	return status;
}
