/*
 * sentencepiece.c
 *		Reads XLM-RoBERTa's sentencepiece.bpe.model if there is no tokenizer.json.
 *		Builds the same tokenizer as transformers' converter.
 *
 * The file is a protocol buffer (sentencepiece_model.proto) with pieces, their
 * scores, and the character map. Its first three pieces, <unk> <s> </s>, are
 * replaced by <s> <pad> </s> <unk>, and <mask> comes last. So the ids of other
 * pieces are one more than in the file. (Despite the file's name it is a unigram
 * model.)
 */
#include <math.h>
#include <string.h>

#include "formats/file.h"
#include "import/hf_tokenizer_readers.h"
#include "formats/protobuf.h"

#define MODEL_FILE		EMB_TOK_SPM_FILE

/* ModelProto */
#define FIELD_PIECES		1
#define FIELD_TRAINER		2
#define FIELD_NORMALIZER	3
/* SentencePiece */
#define FIELD_PIECE			1
#define FIELD_SCORE			2
#define FIELD_TYPE			3
/* TrainerSpec */
#define FIELD_MODEL_TYPE	3
#define FIELD_BYTE_FALLBACK	35
/* NormalizerSpec */
#define FIELD_CHARSMAP		2

/* SentencePiece.Type */
enum
{
	TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE
};

#define MODEL_UNIGRAM		1

/* The replacements of the file's first pieces, and their number. */
static const char *const first_pieces[] = {"<s>", "<pad>", "</s>", "<unk>"};
#define N_FIRST			4
#define N_DROPPED		3
#define UNK_ID			3

static EmbStatus
malformed(const char *file, const EmbProto *m, const char *data, EmbError *err)
{
	int64_t		offset = (const char *) m->p - data;

	return emb_error_at(err, EMB_ERR_FORMAT, offset, "%s is not a SentencePiece model: malformed at byte %lld",
						file, (long long) offset);
}

/* Reads a piece; *type is NORMAL by default. */
static bool
read_piece(EmbProto *m, EmbTokPiece *piece, double *score, uint64_t *type)
{
	EmbProtoField f;

	*piece = (EmbTokPiece) {NULL, 0};
	*score = 0;
	*type = TYPE_NORMAL;
	while (emb_proto_next(m, &f))
	{
		/* A longer piece is too long for the tokenizer anyway. */
		if (f.number == FIELD_PIECE && f.wire == EMB_PROTO_BYTES)
			*piece = (EmbTokPiece) {(const char *) f.data, f.size < UINT32_MAX ? (uint32_t) f.size : UINT32_MAX};
		if (f.number == FIELD_SCORE && f.wire == EMB_PROTO_FIXED32)
			*score = emb_proto_float(&f);
		if (f.number == FIELD_TYPE && f.wire == EMB_PROTO_VARINT)
			*type = f.value;
	}
	return !m->bad;
}

static bool
is_text(const EmbTokPiece *piece, const char *text)
{
	return piece->len == strlen(text) && memcmp(piece->text, text, piece->len) == 0;
}

/* Piece number index in the file. */
static EmbStatus
take_piece(const char *file, EmbTokSpec *spec, int32_t index, EmbTokPiece piece, double score, uint64_t type, EmbError *err)
{
	static const char *const dropped[N_DROPPED] = {"<unk>", "<s>", "</s>"};

	if (index < N_DROPPED)
	{
		if (!is_text(&piece, dropped[index]))
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: piece %d is not \"%s\", only XLM-RoBERTa's order is supported "
							 "without a tokenizer.json", file, index, dropped[index]);
		return EMB_OK;
	}
	if (type != TYPE_NORMAL && type != TYPE_UNUSED)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: piece %d has type %llu, only normal pieces are supported without a tokenizer.json",
						 file, index, (unsigned long long) type);
	if (!isfinite(score))
		return emb_error(err, EMB_ERR_FORMAT, "%s: the score of piece %d is not finite", file, index);
	index += N_FIRST - N_DROPPED;
	spec->scores[index] = score;
	/* An empty piece never matches. */
	if (piece.len > 0)
		spec->pieces[index] = piece;
	return EMB_OK;
}

/* Copies the file and allocates its pieces. */
static EmbStatus
begin_pieces(const char *file, const char *data, size_t size, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbProto	m = {(const uint8_t *) data, (const uint8_t *) data + size, false};
	EmbProtoField f;
	int64_t		n = 0;

	EmbStatus	status = EMB_OK;

	for (; status == EMB_OK && emb_proto_next(&m, &f); status = emb_tok_spec_work(spec, 2, file, err))
		n += f.number == FIELD_PIECES && f.wire == EMB_PROTO_BYTES;
	if (status != EMB_OK)
		return status;
	if (m.bad)
		return malformed(file, &m, data, err);
	if (n <= N_DROPPED)
		return emb_error(err, EMB_ERR_FORMAT, "%s has %lld pieces", file, (long long) n);
	n += N_FIRST - N_DROPPED + 1;
	if (n > EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_LIMIT, "%s has %lld pieces, more than %d", file, (long long) n, EMB_TOK_MAX_VOCAB);
	storage->text = emb_alloc(mem, size);
	storage->pieces = emb_alloc_zero(mem, (size_t) n, sizeof(EmbTokPiece));
	storage->scores = emb_alloc_zero(mem, (size_t) n, sizeof(double));
	if (storage->text == NULL || storage->pieces == NULL || storage->scores == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", file);
	memcpy(storage->text, data, size);
	spec->pieces = storage->pieces;
	spec->scores = storage->scores;
	spec->n_vocab = (int32_t) n;
	for (int32_t i = 0; i < N_FIRST; i++)
		spec->pieces[i] = (EmbTokPiece) {first_pieces[i], (uint32_t) strlen(first_pieces[i])};
	spec->pieces[n - 1] = (EmbTokPiece) {"<mask>", 6};
	return EMB_OK;
}

static EmbStatus
read_trainer(const char *file, const char *data, EmbProto m, EmbError *err)
{
	EmbProtoField f;

	while (emb_proto_next(&m, &f))
	{
		if (f.number == FIELD_MODEL_TYPE && f.wire == EMB_PROTO_VARINT && f.value != MODEL_UNIGRAM)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"trainer_spec.model_type\" is %llu, only unigram (%d) is supported",
							 file, (unsigned long long) f.value, MODEL_UNIGRAM);
		if (f.number == FIELD_BYTE_FALLBACK && f.wire == EMB_PROTO_VARINT && f.value != 0)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"trainer_spec.byte_fallback\" is true, only false is supported", file);
	}
	return m.bad ? malformed(file, &m, data, err) : EMB_OK;
}

static EmbStatus
read_normalizer(const char *file, const char *data, EmbProto m, EmbTokSpec *spec, EmbError *err)
{
	EmbProtoField f;

	while (emb_proto_next(&m, &f))
		if (f.number == FIELD_CHARSMAP && f.wire == EMB_PROTO_BYTES)
		{
			if (f.size > INT32_MAX)
				return emb_error(err, EMB_ERR_LIMIT, "%s: \"normalizer_spec.precompiled_charsmap\" has %zu bytes", file, f.size);
			spec->charsmap = (EmbTokPiece) {(const char *) f.data, (uint32_t) f.size};
		}
	return m.bad ? malformed(file, &m, data, err) : EMB_OK;
}

static EmbStatus
read_model(const char *file, EmbTokSpec *spec, size_t size, EmbError *err)
{
	const char *data = ((EmbTokStorage *) spec->storage)->text;
	EmbProto	m = {(const uint8_t *) data, (const uint8_t *) data + size, false};
	EmbProtoField f;
	int32_t		index = 0;
	EmbStatus	status = EMB_OK;

	while (status == EMB_OK && emb_proto_next(&m, &f))
	{
		EmbProto	inner = {0};
		EmbTokPiece piece;
		double		score;
		uint64_t	type;

		if ((status = emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK, file, err)) != EMB_OK)
			return status;
		if (f.wire != EMB_PROTO_BYTES)
			continue;
		inner.p = f.data;
		inner.end = f.data + f.size;
		if (f.number == FIELD_TRAINER)
			status = read_trainer(file, data, inner, err);
		else if (f.number == FIELD_NORMALIZER)
			status = read_normalizer(file, data, inner, spec, err);
		else if (f.number == FIELD_PIECES && !read_piece(&inner, &piece, &score, &type))
			status = malformed(file, &inner, data, err);
		else if (f.number == FIELD_PIECES)
			status = take_piece(file, spec, index++, piece, score, type, err);
	}
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
		{"mask_token", "<mask>", false, true}
	};
	int32_t		ids[EMB_TOK_N_ROLES];
	EmbStatus	status;

	emb_tok_spec_make_unigram(spec);
	if ((status = begin_pieces(file, data, size, mem, spec, err)) != EMB_OK ||
		(status = read_model(file, spec, size, err)) != EMB_OK ||
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
