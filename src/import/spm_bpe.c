/*
 * spm_bpe.c
 *		tokenizer.model, a SentencePiece model of type BPE (Gemma, Llama), where
 *		there is no tokenizer.json.
 *
 * Builds what AutoTokenizer of transformers 5 builds of such a folder, which is
 * not always what SentencePiece does: merges go by the ids of their pieces, not
 * by scores, and the class decides about spaces, not the file. A note says where
 * the two differ. Read from transformers 5.23: convert_slow_tokenizer.py
 * (SentencePieceExtractor, SpmConverter.build_tokenizer_from_spm_proto),
 * tokenization_utils_tokenizers.py (_convert_from_sentencepiece),
 * tokenization_utils_base.py (generate_merges). Which class is taken, and its
 * tokens: hf_tokenizer_class.c, spm_class.c, hf_added_tokens.c.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "formats/file.h"
#include "import/checkpoint.h"
#include "import/hf_tokenizer_class.h"

static const char make_json[] =
	"Put the model's tokenizer.json beside its config.json, or make it (in Python: AutoTokenizer.from_pretrained(dir).save_pretrained(dir)).";

/* ----------------------------------------------------------------- pieces */

/* Llama 3's and others' file of the same name: lines of a piece in base64 and its rank. */
static bool
is_tiktoken(const char *data, size_t size)
{
	size_t		i = 0;

	while (i < size && i < 1024 && (data[i] == '+' || data[i] == '/' || data[i] == '=' || (data[i] >= '0' && data[i] <= '9') ||
									(data[i] >= 'A' && data[i] <= 'Z') || (data[i] >= 'a' && data[i] <= 'z')))
		i++;
	return i > 0 && i + 1 < size && data[i] == ' ' && data[i + 1] >= '0' && data[i + 1] <= '9';
}

static EmbStatus
check_kind(const char *file, const EmbSpmModel *m, EmbError *err)
{
	static const char *const names[] = {"", " (unigram)", "", " (word)", " (char)"};

	if (m->model_type != EMB_SPM_BPE)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"trainer_spec.model_type\" is %llu%s, only BPE (%d) is supported without a tokenizer.json", file,
				  (unsigned long long) m->model_type, m->model_type <= EMB_SPM_CHAR ? names[m->model_type] : "", EMB_SPM_BPE);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "%s", make_json);
	}
	if (m->n_pieces == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s has no pieces", file);
	return EMB_OK;
}

static EmbStatus
check_piece(const char *file, const EmbSpmPiece *piece, int32_t id, EmbError *err)
{
	if (!emb_utf8_is_text((const uint8_t *) piece->text.text, piece->text.len))
		return emb_error(err, EMB_ERR_FORMAT, "%s: piece %d is not UTF-8, or contains U+0000", file, id);
	if (piece->type < EMB_SPM_NORMAL || piece->type > EMB_SPM_BYTE)
		return emb_error(err, EMB_ERR_FORMAT, "%s: piece %d has type %u, outside %d..%d", file, id, piece->type, EMB_SPM_NORMAL, EMB_SPM_BYTE);
	if (!isfinite(piece->score))
		return emb_error(err, EMB_ERR_FORMAT, "%s: the score of piece %d is not finite", file, id);
	return EMB_OK;
}

/*
 * Ends a text that lies in the file's copy. The file is read, and the byte after a
 * text is the tag of the next field, or one more than the file has.
 */
static void
end_text(const EmbTokPiece *text, char *copy, size_t size)
{
	if (text->text >= copy && text->text < copy + size)
		copy[text->text - copy + text->len] = '\0';
}

static EmbStatus
take_pieces(const char *file, const EmbSpmModel *m, size_t size, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	const EmbTokPiece *named[] = {&m->unk_piece, &m->bos_piece, &m->eos_piece};
	bool		has_empty = false;
	EmbStatus	status = EMB_OK;

	spec->pieces = storage->pieces = emb_alloc_zero(mem, (size_t) m->n_pieces, sizeof(EmbTokPiece));
	if (spec->pieces == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s (%d pieces)", file, m->n_pieces);
	spec->n_vocab = m->n_pieces;
	for (int32_t id = 0; id < m->n_pieces && status == EMB_OK; id++)
	{
		const EmbTokPiece *text = &m->pieces[id].text;

		if ((status = check_piece(file, &m->pieces[id], id, err)) != EMB_OK ||
			(status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK + text->len / 4, file, err)) != EMB_OK)
			return status;
		/* An empty piece never matches, but counts. */
		has_empty |= text->len == 0;
		if (text->len > 0)
			spec->pieces[id] = *text;
	}
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		if (!emb_utf8_is_text((const uint8_t *) named[i]->text, named[i]->len))
			return emb_error(err, EMB_ERR_FORMAT, "%s: a piece of \"trainer_spec\" is not UTF-8, or contains U+0000", file);
	for (int32_t id = 0; id < m->n_pieces; id++)
		if (m->pieces[id].text.len > 0)
			end_text(&m->pieces[id].text, storage->text, size);
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		end_text(named[i], storage->text, size);
	status = emb_tok_spec_sort(spec, file, mem, err);
	storage->n_distinct += has_empty;
	return status;
}

/* ------------------------------------------------------------------ class */

/* The class; without one the file says which tokens have roles. own: filled then. */
static EmbStatus
choose_class(EmbTokFollow *f, const char *dir, const char *class, const EmbAllocator *mem, EmbTokClass *own, EmbError *err)
{
	static const char *const generic[] = {"", "PreTrainedTokenizer", "TokenizersBackend", "GemmaTokenizer", "LlamaTokenizer"};
	const EmbTokStorage *storage = f->spec->storage;
	const EmbSpmModel *m = f->spm;
	EmbStatus	status = EMB_OK;
	size_t		i = 0;

	if (dir != NULL)
		status = emb_tok_read_class(f, dir, storage->stop, mem, err);
	else
		f->class = emb_tok_find_class(class);
	if (status != EMB_OK)
		return status;
	while (i < sizeof(generic) / sizeof(generic[0]) && strcmp(f->named, generic[i]) != 0)
		i++;
	if (i == sizeof(generic) / sizeof(generic[0]))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "the tokenizer's class is %s, only GemmaTokenizer, LlamaTokenizer and PreTrainedTokenizerFast are supported with %s "
				  "and without a tokenizer.json", f->named, f->json->file);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "%s", make_json);
	}
	if (f->class->build != EMB_TOK_BUILD_NOT)
		return EMB_OK;
	*own = (EmbTokClass) {.name = "", .model = EMB_TOK_BPE};
	own->roles[EMB_TOK_IS_BOS] = m->bos_id >= 0 ? m->bos_piece.text : NULL;
	own->roles[EMB_TOK_IS_EOS] = m->eos_id >= 0 ? m->eos_piece.text : NULL;
	own->roles[EMB_TOK_IS_UNK] = m->unk_piece.text;
	f->class = own;
	return EMB_OK;
}

/* Without a class, "added_tokens_decoder" gives pieces new texts: places that were kept free. */
static EmbStatus
rename_pieces(EmbTokFollow *f, const EmbAllocator *mem, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	EmbTokStorage *storage = spec->storage;
	const json_t *decoder = json_object_get(f->config->root, "added_tokens_decoder");
	bool		changed = false;
	const char *key;
	json_t	   *value;
	EmbStatus	status = EMB_OK;

	if (f->class->build != EMB_TOK_BUILD_NOT || !json_is_object(decoder))
		return EMB_OK;
	json_object_foreach((json_t *) decoder, key, value)
	{
		const char *text = json_string_value(json_object_get(value, "content"));
		char	   *end;
		long		id;

		errno = 0;
		id = strtol(key, &end, 10);
		/* what is wrong with an entry is said where tokens are added */
		if (key[0] < '0' || key[0] > '9' || *end != '\0' || errno != 0 || id >= spec->n_vocab || text == NULL || text[0] == '\0' ||
			spec->pieces[id].text == NULL || emb_tok_spec_find(spec, text) >= 0)
			continue;
		spec->pieces[id] = (EmbTokPiece) {text, (uint32_t) strlen(text)};
		changed = true;
		if ((status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK, f->json->file, err)) != EMB_OK)
			return status;
	}
	if (!changed)
		return EMB_OK;
	emb_release(mem, storage->sorted);
	storage->sorted = NULL;
	return emb_tok_spec_sort(spec, f->json->file, mem, err);
}

/* Of a file without a class: its charsmap, and spaces become U+2581. */
static EmbStatus
build_by_file(EmbTokFollow *f, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	const EmbTokPiece *charsmap = &f->spm->charsmap;
	int32_t		unk_id = emb_tok_spec_find(spec, f->spm->unk_piece.text);

	if (unk_id < 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: the unknown token \"%.*s\" is not in the vocabulary", f->json->file, EMB_TOK_SHOW(f->spm->unk_piece.text));
	if (charsmap->len > 0)
	{
		spec->charsmap = *charsmap;
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_PRECOMPILED, 0};
	}
	spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_BLANKS, EMB_TOK_META};
	emb_tok_set_unknown_chars(spec, f->spm->byte_fallback, unk_id);
	return EMB_OK;
}

/* --------------------------------------------------------------- template */

/* The id of a role's token, also of one that the vocabulary lacks; -1: it was left out. */
static int32_t
added_id(const EmbTokFollow *f, int role)
{
	const EmbTokPiece *piece = &f->roles[role].piece;
	int32_t		id = emb_tok_role_id(f, role);

	for (int i = 0; id < 0 && i < f->spec->n_added; i++)
		if (f->spec->added[i].piece.len == piece->len && memcmp(f->spec->added[i].piece.text, piece->text, piece->len) == 0)
			id = f->spec->added[i].id;
	return id;
}

/* "add_bos_token", "add_eos_token": what stands around each text. */
static EmbStatus
build_template(EmbTokFollow *f, bool *says, EmbError *err)
{
	static const char *const keys[2] = {"add_bos_token", "add_eos_token"};
	static const int roles[2] = {EMB_TOK_IS_BOS, EMB_TOK_IS_EOS};
	EmbTokTemplate *single = &f->spec->single;
	EmbTokTemplate *pair = &f->spec->pair;
	EmbTokSlot	slots[2];
	bool		adds[2] = {false, false};

	*says = false;
	for (int i = 0; i < 2; i++)
	{
		EmbStatus	status = emb_json_get_bool(f->config, f->config->root, keys[i], &adds[i], err);

		if (status != EMB_OK)
			return status;
		*says |= json_is_boolean(json_object_get(f->config->root, keys[i]));
		adds[i] &= f->roles[roles[i]].piece.text != NULL;
		slots[i] = (EmbTokSlot) {EMB_TOK_SLOT_SPECIAL, adds[i] ? added_id(f, roles[i]) : 0, 0};
		if (slots[i].id < 0)
			return emb_error(err, EMB_ERR_FORMAT, "%s has no piece \"%.*s\", the token that \"%s\" of %s puts %s texts", f->json->file,
							 EMB_TOK_SHOW(f->roles[roles[i]].piece.text), keys[i], f->config->file, i == 0 ? "before" : "after");
	}
	*single = *pair = (EmbTokTemplate) {0};
	for (int b = 0; b < 2; b++)
	{
		if (adds[0])
			pair->slots[pair->n_slots++] = (EmbTokSlot) {EMB_TOK_SLOT_SPECIAL, slots[0].id, b};
		pair->slots[pair->n_slots++] = (EmbTokSlot) {b == 0 ? EMB_TOK_SLOT_A : EMB_TOK_SLOT_B, 0, b};
		if (adds[1])
			pair->slots[pair->n_slots++] = (EmbTokSlot) {EMB_TOK_SLOT_SPECIAL, slots[1].id, b};
		if (b == 0)
			*single = *pair;
	}
	return EMB_OK;
}

/* ------------------------------------------------------------------ notes */

/* Whether the merges would come in another order by scores. Symbols that users define have no rank of their own. */
static bool
scores_disagree(const EmbTokFollow *f)
{
	const EmbTokSpec *spec = f->spec;
	float		least = INFINITY;

	for (int32_t i = 0; i < spec->n_merges; i++)
	{
		const EmbSpmPiece *piece = &f->spm->pieces[spec->merges[i].id];

		if (piece->type == EMB_SPM_USER_DEFINED)
			continue;
		if (piece->score > least)
			return true;
		least = piece->score;
	}
	return false;
}

static void
note_differences(EmbTokFollow *f, bool says_template, EmbCheckpoint *notes)
{
	const EmbSpmModel *m = f->spm;
	bool		puts_prefix = f->spec->prepend != EMB_TOK_PREPEND_NEVER;

	if (puts_prefix != m->adds_prefix)
		emb_tok_note_change(f, puts_prefix ? "texts begin with a U+2581 (\"add_dummy_prefix\" is false)" : "no U+2581 comes before a text (\"add_dummy_prefix\" is true)");
	if (m->removes_spaces)
		emb_tok_note_change(f, "all spaces stay (\"remove_extra_whitespaces\" is true)");
	if (!m->escapes_spaces)
		emb_tok_note_change(f, "spaces become U+2581 (\"escape_whitespaces\" is false)");
	if (m->space_is_suffix)
		emb_tok_note_change(f, "words begin with their space (\"treat_whitespace_as_suffix\" is true)");
	if (m->charsmap.len > 0 && f->spec->charsmap.len == 0)
		emb_tok_note_change(f, "the charsmap is not used");
	if (scores_disagree(f))
		emb_tok_note_change(f, "pieces merge in the order of their ids, not of their scores");
	if (f->changes[0] != '\0')
		emb_note(notes, "If the model was trained otherwise, put its tokenizer.json beside its config.json.",
				 "the import reads %s as AutoTokenizer of transformers 5 does%s%s, not as SentencePiece: %s", f->json->file,
				 f->named[0] != '\0' ? ", as a " : "", f->class->name, f->changes);
	if (!says_template)
		emb_note(notes, "The model's tokenizer_config.json says it; download it, too.",
				 "no token is put before or after a text: there is no \"add_bos_token\" and no \"add_eos_token\", as AutoTokenizer of transformers 5 needs them");
	if (f->n_left_out > 0)
		emb_note(notes, "A text with such a token is an error in transformers; here the token is read as other text.",
				 "added tokens for which the model has no row are left out: %d, the first has id %d, and config.json says %lld rows",
				 f->n_left_out, f->first_left_out, (long long) f->n_rows);
}

/* ------------------------------------------------------------------ whole */

static EmbStatus
build(EmbTokFollow *f, const char *dir, const char *class, const EmbAllocator *mem, EmbCheckpoint *notes, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	const char *file = f->json->file;
	EmbTokClass own;
	bool		says_template;
	EmbStatus	status;

	emb_tok_spec_companions(spec, &f->config, &f->map, &f->more);
	if ((status = choose_class(f, dir, class, mem, &own, err)) != EMB_OK ||
		(status = emb_tok_read_roles(f, err)) != EMB_OK ||
		(status = rename_pieces(f, mem, err)) != EMB_OK ||
		(status = emb_tok_spec_derive_merges(spec, file, NULL, mem, err)) != EMB_OK ||
		(status = f->class->build == EMB_TOK_BUILD_NOT ? build_by_file(f, err) : emb_tok_build_chars(f, err)) != EMB_OK)
		return status;
	if (!spec->byte_fallback && f->class->build == EMB_TOK_BUILD_GEMMA && spec->unk_id < 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: the unknown token \"%.*s\" is not in the vocabulary", file, EMB_TOK_SHOW(f->roles[EMB_TOK_IS_UNK].piece.text));
	if ((status = emb_tok_follow_tokens(f, mem, err)) != EMB_OK ||
		(status = build_template(f, &says_template, err)) != EMB_OK)
		return status;
	note_differences(f, says_template, notes);
	return EMB_OK;
}

/* dir NULL: no companions, and the class given. */
static EmbStatus
read_tokenizer(const char *file, const char *data, size_t size, const char *dir, const char *class, const EmbAllocator *mem, EmbCheckpoint *notes,
			   EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbJson		none = {0};
	EmbSpmModel m = {0};
	EmbTokFollow f = {.spec = spec, .json = &none, .spm = &m};
	EmbStatus	status;

	snprintf(none.file, sizeof(none.file), "%s", file);
	if (is_tiktoken(data, size))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s is a file of tiktoken, only SentencePiece's BPE is supported without a tokenizer.json", file);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "%s", make_json);
	}
	emb_tok_spec_make_bpe(spec);
	spec->spelling = EMB_TOK_SPELL_CHARS;
	storage->text = emb_alloc(mem, size + 1);
	if (storage->text == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	memcpy(storage->text, data, size);
	if ((status = emb_spm_read(spec, file, storage->text, size, mem, &m, err)) == EMB_OK &&
		(status = check_kind(file, &m, err)) == EMB_OK &&
		(status = take_pieces(file, &m, size, mem, spec, err)) == EMB_OK)
		status = build(&f, dir, class, mem, notes, err);
	emb_spm_release(&m, mem);
	return status;
}

EmbStatus
emb_import_spm_bpe(const char *name, const char *data, size_t size, const char *class, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = emb_tok_spec_begin(spec, mem, err);

	if (status == EMB_OK)
		status = read_tokenizer(name, data, size, NULL, class, mem, NULL, spec, err);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}

EmbStatus
emb_import_spm_bpe_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbCheckpoint *notes, EmbTokSpec *spec, EmbError *err)
{
	char	   *data = NULL;
	size_t		size;
	EmbStatus	status;

	memset(spec, 0, sizeof(EmbTokSpec));
	status = emb_file_read_all(dir, EMB_TOK_SPM_BPE_FILE, EMB_JSON_TOKENIZER_MAX, mem, &data, &size, err);
	if (status != EMB_OK)
		return status;
	if ((status = emb_tok_spec_begin(spec, mem, err)) == EMB_OK)
		((EmbTokStorage *) spec->storage)->stop = stop;
	if (status == EMB_OK && (status = emb_tok_spec_load_companions(spec, dir, mem, err)) == EMB_OK)
		status = read_tokenizer(EMB_TOK_SPM_BPE_FILE, data, size, dir, NULL, mem, notes, spec, err);
	emb_release(mem, data);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}
