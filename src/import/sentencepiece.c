/*
 * sentencepiece.c
 *		Reads XLM-RoBERTa's sentencepiece.bpe.model if there is no tokenizer.json.
 *		Builds the same tokenizer as transformers' converter.
 *
 * The file (spm_model.h) has pieces, their scores, and the character map. Its
 * first three pieces, <unk> <s> </s>, are replaced by <s> <pad> </s> <unk>, and
 * <mask> comes last. So the ids of other pieces are one more than in the file.
 * (Despite the file's name it is a unigram model.)
 */
#include <math.h>
#include <string.h>

#include "formats/file.h"
#include "import/hf_tokenizer_readers.h"
#include "import/spm_model.h"

#define MODEL_FILE		EMB_TOK_SPM_FILE

/* The replacements of the file's first pieces, and their number. */
static const char *const first_pieces[] = {"<s>", "<pad>", "</s>", "<unk>"};
#define N_FIRST			4
#define N_DROPPED		3
#define UNK_ID			3

static bool
is_text(const EmbTokPiece *piece, const char *text)
{
	return piece->len == strlen(text) && memcmp(piece->text, text, piece->len) == 0;
}

/* Piece number index in the file. */
static EmbStatus
take_piece(const char *file, EmbTokSpec *spec, int32_t index, const EmbSpmPiece *piece, EmbError *err)
{
	static const char *const dropped[N_DROPPED] = {"<unk>", "<s>", "</s>"};

	if (index < N_DROPPED)
	{
		if (!is_text(&piece->text, dropped[index]))
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: piece %d is not \"%s\", only XLM-RoBERTa's order is supported "
							 "without a tokenizer.json", file, index, dropped[index]);
		return EMB_OK;
	}
	if (piece->type != EMB_SPM_NORMAL && piece->type != EMB_SPM_UNUSED)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: piece %d has type %u, only normal pieces are supported without a tokenizer.json",
						 file, index, piece->type);
	if (!isfinite(piece->score))
		return emb_error(err, EMB_ERR_FORMAT, "%s: the score of piece %d is not finite", file, index);
	index += N_FIRST - N_DROPPED;
	spec->scores[index] = piece->score;
	/* An empty piece never matches. */
	if (piece->text.len > 0)
		spec->pieces[index] = piece->text;
	return EMB_OK;
}

static EmbStatus
take_pieces(const char *file, const EmbSpmModel *m, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	int32_t		n = m->n_pieces + N_FIRST - N_DROPPED + 1;
	EmbStatus	status = EMB_OK;

	if (m->n_pieces <= N_DROPPED)
		return emb_error(err, EMB_ERR_FORMAT, "%s has %d pieces", file, m->n_pieces);
	if (n > EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_LIMIT, "%s has %d pieces, more than %d", file, n, EMB_TOK_MAX_VOCAB);
	spec->pieces = storage->pieces = emb_alloc_zero(mem, (size_t) n, sizeof(EmbTokPiece));
	spec->scores = storage->scores = emb_alloc_zero(mem, (size_t) n, sizeof(double));
	if (spec->pieces == NULL || spec->scores == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	spec->n_vocab = n;
	for (int32_t i = 0; i < N_FIRST; i++)
		spec->pieces[i] = (EmbTokPiece) {first_pieces[i], (uint32_t) strlen(first_pieces[i])};
	spec->pieces[n - 1] = (EmbTokPiece) {"<mask>", 6};
	for (int32_t i = 0; i < m->n_pieces && status == EMB_OK; i++)
		if ((status = take_piece(file, spec, i, &m->pieces[i], err)) == EMB_OK)
			status = emb_tok_spec_work(spec, 2, file, err);
	return status;
}

/* Pieces and charsmap, which point into the spec's copy of the file. */
static EmbStatus
read_model(const char *file, const char *data, size_t size, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbSpmModel m = {0};
	EmbStatus	status;

	storage->text = emb_alloc(mem, size + 1);
	if (storage->text == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	memcpy(storage->text, data, size);
	if ((status = emb_spm_read(spec, file, storage->text, size, mem, &m, err)) == EMB_OK &&
		(status = take_pieces(file, &m, mem, spec, err)) == EMB_OK)
		spec->charsmap = m.charsmap;
	if (status == EMB_OK && m.model_type != EMB_SPM_UNIGRAM)
		status = emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"trainer_spec.model_type\" is %llu, only unigram (%d) is supported",
						   file, (unsigned long long) m.model_type, EMB_SPM_UNIGRAM);
	if (status == EMB_OK && m.byte_fallback)
		status = emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"trainer_spec.byte_fallback\" is true, only false is supported", file);
	emb_spm_release(&m, mem);
	return status;
}

/* As transformers 5: Precompiled; WhitespaceSplit, Metaspace; <s> A </s> and <s> A </s> </s> B </s>. */
static void
set_pipeline(EmbTokSpec *spec, int32_t cls_id, int32_t sep_id)
{
	EmbTokSlot	cls = {EMB_TOK_SLOT_SPECIAL, cls_id, 0};
	EmbTokSlot	sep = {EMB_TOK_SLOT_SPECIAL, sep_id, 0};
	EmbTokSlot	a = {EMB_TOK_SLOT_A, 0, 0};
	EmbTokSlot	b = {EMB_TOK_SLOT_B, 0, 0};

	spec->n_steps = 0;
	if (spec->charsmap.len > 0)
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_PRECOMPILED, 0};
	spec->split_spaces = true;
	spec->split_meta = true;
	spec->prepend = EMB_TOK_PREPEND_ALWAYS;
	spec->meta = EMB_TOK_META;
	spec->single = (EmbTokTemplate) {3, {cls, a, sep}};
	spec->pair = (EmbTokTemplate) {6, {cls, a, sep, sep, b, sep}};
}

static EmbStatus
read_tokenizer(const char *file, const char *data, size_t size, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	static const EmbTokRole roles[EMB_TOK_N_ROLES] = {
		{"unk_token", "<unk>", true, false},
		{"sep_token", "</s>", true, false},
		{"pad_token", "<pad>", false, false},
		{"cls_token", "<s>", true, false},
		{"mask_token", "<mask>", false, false}
	};
	int32_t		ids[EMB_TOK_N_ROLES];
	EmbStatus	status;

	emb_tok_spec_make_unigram(spec);
	if ((status = read_model(file, data, size, mem, spec, err)) != EMB_OK ||
		(status = emb_tok_spec_sort(spec, file, mem, err)) != EMB_OK)
		return status;
	/* The library counts all entries, including equal ones. */
	((EmbTokStorage *) spec->storage)->n_distinct = spec->n_vocab;
	spec->unk_id = UNK_ID;
	if ((status = emb_tok_spec_check_unknown(file, spec, err)) != EMB_OK ||
		(status = emb_tok_spec_add_companions(spec, file, roles, ids, mem, err)) != EMB_OK)
		return status;
	set_pipeline(spec, ids[EMB_TOK_ROLE_CLS], ids[EMB_TOK_ROLE_SEP]);
	return EMB_OK;
}

EmbStatus
emb_import_sentencepiece(const char *name, const char *data, size_t size, const EmbAllocator *mem,
						 EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = emb_tok_spec_begin(spec, mem, err);

	if (status == EMB_OK)
		status = read_tokenizer(name, data, size, mem, spec, err);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}

EmbStatus
emb_import_sentencepiece_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err)
{
	static const char *const classes[] = {"XLMRobertaTokenizer", "XLMRobertaTokenizerFast", NULL};
	char	   *data = NULL;
	size_t		size;
	EmbStatus	status;

	memset(spec, 0, sizeof(EmbTokSpec));
	status = emb_file_read_all(dir, MODEL_FILE, EMB_JSON_TOKENIZER_MAX, mem, &data, &size, err);
	if (status != EMB_OK)
		return status;
	if ((status = emb_tok_spec_begin(spec, mem, err)) == EMB_OK)
		((EmbTokStorage *) spec->storage)->stop = stop;
	if (status == EMB_OK &&
		(status = emb_tok_spec_load_companions(spec, dir, mem, err)) == EMB_OK &&
		(status = emb_tok_spec_check_class(spec, classes, err)) == EMB_OK)
		status = read_tokenizer(MODEL_FILE, data, size, mem, spec, err);
	emb_release(mem, data);
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}
