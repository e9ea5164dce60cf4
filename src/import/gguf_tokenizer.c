/*
 * gguf_tokenizer.c
 *		The tokenizer of a GGUF file, from its keys "tokenizer.ggml.*".
 *
 * A file has the pieces by id with their types, and of a normalizer and
 * pre-tokenizer at most a name. What it lacks is what the library's tokenizer
 * of the same kind has. WordPiece's pieces are rewritten by the converter: a
 * word's first piece begins with U+2581, and "##" is taken from the others.
 */
#include "import/gguf_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

#define KEY	EMB_GGUF_TOK_KEY

/* One in so many pieces with a capital letter: then the vocabulary is cased. */
#define CASED_SHARE	100

/* ------------------------------------------------------------------ lists */

EmbStatus
emb_gguf_tok_wrong_number(const EmbGgufTokReader *r, const EmbGgufKey *key, EmbError *err)
{
	return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" has %lld elements for %lld tokens", emb_gguf_path(r->m), key->name,
					 (long long) key->n, (long long) r->tokens->n);
}

static EmbStatus
find_lists(EmbGgufTokReader *r)
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
	return r->types != NULL && r->types->n != r->tokens->n ? emb_gguf_tok_wrong_number(r, r->types, r->err) : EMB_OK;
}

int64_t
emb_gguf_tok_type(const EmbGgufTokReader *r, int64_t id)
{
	return r->types != NULL ? emb_gguf_int_at(r->types, id) : EMB_GGUF_TOK_NORMAL;
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
read_pieces(EmbGgufTokReader *r)
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
EmbStatus
emb_gguf_tok_drop_fillers(EmbGgufTokReader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbStatus	status = EMB_OK;

	for (int32_t id = 0; status == EMB_OK && id < spec->n_vocab; id++)
	{
		EmbTokPiece *piece = &spec->pieces[id];

		if (piece->len == 0 || (emb_gguf_tok_type(r, id) == EMB_GGUF_TOK_UNUSED && is_filler(piece)))
			*piece = (EmbTokPiece) {NULL, 0};
		status = emb_tok_spec_work(spec, 2, r->file, r->err);
	}
	return status;
}

/* --------------------------------------------------------- special tokens */

/* A token's id from one key or another; -1: neither is there. */
EmbStatus
emb_gguf_tok_get_id(const EmbGgufTokReader *r, const char *key, const char *other, int32_t *id)
{
	int64_t		n = -1;
	EmbStatus	status = emb_gguf_get_int(&r->m->gguf, key, 0, r->spec->n_vocab - 1, &n, r->err);

	if (status == EMB_OK && n < 0 && other != NULL)
		status = emb_gguf_get_int(&r->m->gguf, other, 0, r->spec->n_vocab - 1, &n, r->err);
	*id = (int32_t) n;
	return status;
}

/* The same; without a key the piece with this text; without that an error. */
EmbStatus
emb_gguf_tok_require_id(const EmbGgufTokReader *r, const char *key, const char *other, const char *text, int32_t *id)
{
	EmbStatus	status = emb_gguf_tok_get_id(r, key, other, id);

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
is_mask(const EmbGgufTokReader *r, int32_t id)
{
	const EmbTokPiece *piece = &r->spec->pieces[id];

	return r->mask_id >= 0 ? id == r->mask_id : piece->len == 6 && (memcmp(piece->text, "<mask>", 6) == 0 || memcmp(piece->text, "[MASK]", 6) == 0);
}

EmbStatus
emb_gguf_tok_add(const EmbGgufTokReader *r, int32_t id, bool is_special)
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
EmbStatus
emb_gguf_tok_add_all(const EmbGgufTokReader *r)
{
	EmbStatus	status = EMB_OK;

	for (int32_t id = 0; status == EMB_OK && id < r->spec->n_vocab; id++)
	{
		int64_t		type = emb_gguf_tok_type(r, id);

		if (r->spec->pieces[id].text != NULL && (type == EMB_GGUF_TOK_CONTROL || type == EMB_GGUF_TOK_USER_DEFINED || type == EMB_GGUF_TOK_UNKNOWN))
			status = emb_gguf_tok_add(r, id, type != EMB_GGUF_TOK_USER_DEFINED);
		else
			status = emb_tok_spec_work(r->spec, 1, r->file, r->err);
	}
	return status;
}

/* -------------------------------------------------------------- WordPiece */

/* "x" with U+2581 before it becomes "x", "x" without becomes "##x"; special tokens stay. */
static EmbStatus
rewrite_pieces(EmbGgufTokReader *r)
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
		bool		is_start = piece->len >= EMB_GGUF_META_BYTES && memcmp(piece->text, EMB_GGUF_META, EMB_GGUF_META_BYTES) == 0;
		bool		stays = emb_gguf_tok_type(r, id) == EMB_GGUF_TOK_CONTROL;
		uint32_t	skip = is_start && !stays ? EMB_GGUF_META_BYTES : 0;
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
is_cased(const EmbGgufTokReader *r)
{
	int32_t		n_capital = 0;

	for (int32_t id = 0; id < r->spec->n_vocab; id++)
	{
		const EmbTokPiece *piece = &r->spec->pieces[id];
		bool		has_capital = false;

		if (emb_gguf_tok_type(r, id) != EMB_GGUF_TOK_NORMAL || piece->len == 0 || piece->text[0] == '[' || piece->text[0] == '<')
			continue;
		for (uint32_t i = 0; i < piece->len; i++)
			has_capital |= piece->text[i] >= 'A' && piece->text[i] <= 'Z';
		n_capital += has_capital;
	}
	return n_capital >= r->spec->n_vocab / CASED_SHARE + 1;
}

static EmbStatus
read_wordpiece(EmbGgufTokReader *r, EmbGgufModel *m)
{
	EmbTokSpec *spec = r->spec;
	int32_t		cls_id;
	int32_t		sep_id;
	EmbStatus	status;

	if ((status = rewrite_pieces(r)) != EMB_OK ||
		(status = emb_gguf_tok_drop_fillers(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = emb_gguf_tok_require_id(r, KEY("unknown_token_id"), NULL, "[UNK]", &spec->unk_id)) != EMB_OK ||
		(status = emb_gguf_tok_require_id(r, KEY("cls_token_id"), KEY("bos_token_id"), "[CLS]", &cls_id)) != EMB_OK ||
		(status = emb_gguf_tok_require_id(r, KEY("seperator_token_id"), KEY("eos_token_id"), "[SEP]", &sep_id)) != EMB_OK ||
		(status = emb_gguf_tok_add_all(r)) != EMB_OK)
		return status;
	spec->lowercase = spec->strip_accents = !is_cased(r);
	m->assumes_case = true;
	m->lowercases = spec->lowercase;
	emb_tok_spec_bert_templates(spec, cls_id, sep_id);
	return EMB_OK;
}

/* --------------------------------------------------------- byte-level BPE */

/* How text is split: the names that llama.cpp gives to the patterns that are known here. */
static EmbStatus
read_splitting(EmbGgufTokReader *r)
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
read_merges(EmbGgufTokReader *r)
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
read_bpe_templates(EmbGgufTokReader *r)
{
	bool		is_modern = strcmp(r->m->family->arch, "modern-bert") == 0;
	int32_t		cls_id;
	int32_t		sep_id;
	EmbStatus	status;

	if (emb_gguf_is_decoder(r->m))
		return emb_gguf_decoder_templates(r->m, r->arch, r->spec, r->err);
	if ((status = emb_gguf_tok_require_id(r, KEY("cls_token_id"), KEY("bos_token_id"), is_modern ? "[CLS]" : "<s>", &cls_id)) != EMB_OK ||
		(status = emb_gguf_tok_require_id(r, KEY("seperator_token_id"), KEY("eos_token_id"), is_modern ? "[SEP]" : "</s>", &sep_id)) != EMB_OK)
		return status;
	if (is_modern)
		emb_tok_spec_bert_templates(r->spec, cls_id, sep_id);
	else
		emb_tok_spec_roberta_templates(r->spec, cls_id, sep_id);
	return EMB_OK;
}

static EmbStatus
read_bpe(EmbGgufTokReader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbStatus	status;

	emb_tok_spec_make_bpe(spec);
	if ((status = read_splitting(r)) != EMB_OK ||
		(status = emb_gguf_tok_drop_fillers(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = read_merges(r)) != EMB_OK ||
		(status = read_bpe_templates(r)) != EMB_OK)
		return status;
	return emb_gguf_tok_add_all(r);
}

/* ------------------------------------------------------------------ whole */

EmbStatus
emb_gguf_read_tokenizer(EmbGgufModel *m, const EmbArch *arch, EmbTokSpec *spec, EmbError *err)
{
	EmbGgufTokReader		r = {.m = m, .arch = arch, .spec = spec, .file = "the GGUF file", .err = err};
	EmbStatus	status = emb_tok_spec_begin(spec, m->mem, err);

	if (status != EMB_OK)
		return status;
	((EmbTokStorage *) spec->storage)->stop = m->gguf.stop;
	spec->stop = m->gguf.stop;
	if ((status = find_lists(&r)) == EMB_OK &&
		(status = read_pieces(&r)) == EMB_OK &&
		(status = emb_gguf_tok_get_id(&r, KEY("mask_token_id"), NULL, &r.mask_id)) == EMB_OK)
		status = m->tokenizer == EMB_GGUF_WORDPIECE ? read_wordpiece(&r, m) : m->tokenizer == EMB_GGUF_UNIGRAM ? emb_gguf_read_unigram(&r)
			: m->tokenizer == EMB_GGUF_SPM ? emb_gguf_read_spm(&r) : read_bpe(&r);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, m->mem);
	return status;
}
