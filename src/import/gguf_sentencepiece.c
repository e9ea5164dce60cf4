/*
 * gguf_sentencepiece.c
 *		SentencePiece's tokenizers in a GGUF file: Unigram (XLM-RoBERTa's kind),
 *		and BPE by scores (Gemma's).
 */
#include "import/gguf_tokenizer.h"

#include <math.h>
#include <string.h>

#include "common/sort.h"

#define KEY	EMB_GGUF_TOK_KEY

/* ---------------------------------------------------------------- Unigram */

static EmbStatus
read_scores(EmbGgufTokReader *r)
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
		return emb_gguf_tok_wrong_number(r, scores, r->err);
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
read_charsmap(EmbGgufTokReader *r)
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
find_unknown(EmbGgufTokReader *r)
{
	EmbStatus	status = emb_gguf_tok_get_id(r, KEY("unknown_token_id"), NULL, &r->spec->unk_id);

	for (int32_t id = 0; status == EMB_OK && r->spec->unk_id < 0 && id < r->spec->n_vocab; id++)
	{
		if (emb_gguf_tok_type(r, id) == EMB_GGUF_TOK_UNKNOWN)
			r->spec->unk_id = id;
	}
	if (status == EMB_OK && r->spec->unk_id < 0)
		return emb_error(r->err, EMB_ERR_FORMAT, "file \"%s\" has no unknown token", emb_gguf_path(r->m));
	return status;
}

/* XLM-RoBERTa's mask token is a filler in files that were made from its SentencePiece model. */
static EmbStatus
add_mask(EmbGgufTokReader *r)
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

EmbStatus
emb_gguf_read_unigram(EmbGgufTokReader *r)
{
	EmbTokSpec *spec = r->spec;
	bool		add_space = true;
	int32_t		cls_id;
	int32_t		sep_id;
	EmbStatus	status;

	emb_tok_spec_make_unigram(spec);
	if ((status = read_scores(r)) != EMB_OK ||
		(status = read_charsmap(r)) != EMB_OK ||
		(status = emb_gguf_tok_drop_fillers(r)) != EMB_OK ||
		(status = add_mask(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = find_unknown(r)) != EMB_OK ||
		(status = emb_tok_spec_check_unknown(r->file, spec, r->err)) != EMB_OK ||
		(status = emb_gguf_tok_require_id(r, KEY("cls_token_id"), KEY("bos_token_id"), "<s>", &cls_id)) != EMB_OK ||
		(status = emb_gguf_tok_require_id(r, KEY("seperator_token_id"), KEY("eos_token_id"), "</s>", &sep_id)) != EMB_OK ||
		(status = emb_gguf_tok_add_all(r)) != EMB_OK ||
		(status = emb_gguf_get_bool(&r->m->gguf, KEY("add_space_prefix"), &add_space, r->err)) != EMB_OK)
		return status;
	if (r->mask_id >= 0 && emb_gguf_tok_type(r, r->mask_id) == EMB_GGUF_TOK_UNUSED && (status = emb_gguf_tok_add(r, r->mask_id, true)) != EMB_OK)
		return status;
	set_pipeline(spec, add_space);
	emb_tok_spec_roberta_templates(spec, cls_id, sep_id);
	return EMB_OK;
}

/* ----------------------------------------------------- SentencePiece's BPE */

/* Runs of spaces that the converter wrote for the runs of U+2581 of user-defined symbols. */
static EmbStatus
respell_spaces(EmbGgufTokReader *r)
{
	EmbTokSpec *spec = r->spec;
	EmbTokStorage *storage = spec->storage;
	size_t		bytes = 1;
	char	   *to;

	for (int32_t id = 0; id < spec->n_vocab; id++)
		bytes += emb_gguf_tok_type(r, id) == EMB_GGUF_TOK_USER_DEFINED ? (size_t) spec->pieces[id].len * EMB_GGUF_META_BYTES + 1 : 0;
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
		if (emb_gguf_tok_type(r, id) != EMB_GGUF_TOK_USER_DEFINED || memchr(from, ' ', piece->len) == NULL)
			continue;
		for (uint32_t i = 0; i < piece->len; i++)
		{
			bool		is_space = from[i] == ' ';

			memcpy(to + n, is_space ? EMB_GGUF_META : from + i, is_space ? EMB_GGUF_META_BYTES : 1);
			n += is_space ? EMB_GGUF_META_BYTES : 1;
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
derive_merges(EmbGgufTokReader *r)
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
read_spm_templates(EmbGgufTokReader *r)
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
			status = emb_gguf_tok_require_id(r, keys[i][1], NULL, texts[i], &ids[i]);
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
EmbStatus
emb_gguf_read_spm(EmbGgufTokReader *r)
{
	EmbTokSpec *spec = r->spec;
	bool		add_space = false;
	EmbStatus	status;

	emb_tok_spec_make_bpe(spec);
	spec->spelling = EMB_TOK_SPELL_CHARS;
	if ((status = read_scores(r)) != EMB_OK ||
		(status = respell_spaces(r)) != EMB_OK ||
		(status = emb_gguf_tok_drop_fillers(r)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, r->file, r->m->mem, r->err)) != EMB_OK ||
		(status = derive_merges(r)) != EMB_OK ||
		(status = find_unknown(r)) != EMB_OK ||
		(status = emb_gguf_tok_add_all(r)) != EMB_OK ||
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
