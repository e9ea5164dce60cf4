/*
 * spm_model.c
 *		The fields of a SentencePiece model file.
 */
#include "import/spm_model.h"

#include <string.h>

#include "formats/protobuf.h"

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
#define FIELD_SUFFIX		24
#define FIELD_BYTE_FALLBACK	35
#define FIELD_BOS_ID		41
#define FIELD_EOS_ID		42
#define FIELD_UNK_PIECE		45
#define FIELD_BOS_PIECE		46
#define FIELD_EOS_PIECE		47
/* NormalizerSpec */
#define FIELD_CHARSMAP		2
#define FIELD_PREFIX		3
#define FIELD_EXTRA_SPACES	4
#define FIELD_ESCAPE		5

static EmbStatus
malformed(const char *file, const EmbProto *m, const char *data, EmbError *err)
{
	int64_t		offset = (const char *) m->p - data;

	return emb_error_at(err, EMB_ERR_FORMAT, offset, "%s is not a SentencePiece model: malformed at byte %lld",
						file, (long long) offset);
}

/* A longer text is too long for the tokenizer anyway. */
static EmbTokPiece
text_of(const EmbProtoField *f)
{
	return (EmbTokPiece) {(const char *) f->data, f->size < UINT32_MAX ? (uint32_t) f->size : UINT32_MAX};
}

static bool
read_piece(EmbProto *m, EmbSpmPiece *piece)
{
	EmbProtoField f;

	*piece = (EmbSpmPiece) {.type = EMB_SPM_NORMAL};
	while (emb_proto_next(m, &f))
	{
		if (f.number == FIELD_PIECE && f.wire == EMB_PROTO_BYTES)
			piece->text = text_of(&f);
		if (f.number == FIELD_SCORE && f.wire == EMB_PROTO_FIXED32)
			piece->score = emb_proto_float(&f);
		if (f.number == FIELD_TYPE && f.wire == EMB_PROTO_VARINT)
			piece->type = f.value < UINT32_MAX ? (uint32_t) f.value : UINT32_MAX;
	}
	return !m->bad;
}

static bool
read_trainer(EmbProto *m, EmbSpmModel *model)
{
	EmbProtoField f;

	while (emb_proto_next(m, &f))
	{
		if (f.wire == EMB_PROTO_VARINT)
		{
			if (f.number == FIELD_MODEL_TYPE)
				model->model_type = f.value;
			if (f.number == FIELD_SUFFIX)
				model->space_is_suffix = f.value != 0;
			if (f.number == FIELD_BYTE_FALLBACK)
				model->byte_fallback = f.value != 0;
			if (f.number == FIELD_BOS_ID)
				model->bos_id = (int64_t) f.value;
			if (f.number == FIELD_EOS_ID)
				model->eos_id = (int64_t) f.value;
		}
		if (f.wire == EMB_PROTO_BYTES && f.size > 0)
		{
			if (f.number == FIELD_UNK_PIECE)
				model->unk_piece = text_of(&f);
			if (f.number == FIELD_BOS_PIECE)
				model->bos_piece = text_of(&f);
			if (f.number == FIELD_EOS_PIECE)
				model->eos_piece = text_of(&f);
		}
	}
	return !m->bad;
}

static bool
read_normalizer(EmbProto *m, EmbSpmModel *model)
{
	EmbProtoField f;

	while (emb_proto_next(m, &f))
	{
		if (f.number == FIELD_CHARSMAP && f.wire == EMB_PROTO_BYTES)
			model->charsmap = text_of(&f);
		if (f.wire == EMB_PROTO_VARINT)
		{
			if (f.number == FIELD_PREFIX)
				model->adds_prefix = f.value != 0;
			if (f.number == FIELD_EXTRA_SPACES)
				model->removes_spaces = f.value != 0;
			if (f.number == FIELD_ESCAPE)
				model->escapes_spaces = f.value != 0;
		}
	}
	return !m->bad;
}

/* Counts and allocates the pieces; after that all fields of the file itself are known to be well-formed. */
static EmbStatus
begin(const EmbTokSpec *spec, const char *file, const char *data, size_t size, const EmbAllocator *mem, EmbSpmModel *model, EmbError *err)
{
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
	if (n >= EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_LIMIT, "%s has %lld pieces, more than %d", file, (long long) n, EMB_TOK_MAX_VOCAB - 1);
	model->pieces = emb_alloc_zero(mem, (size_t) n + 1, sizeof(EmbSpmPiece));
	if (model->pieces == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s (%lld pieces)", file, (long long) n);
	return EMB_OK;
}

static EmbStatus
read_fields(const EmbTokSpec *spec, const char *file, const char *data, size_t size, EmbSpmModel *model, EmbError *err)
{
	EmbProto	m = {(const uint8_t *) data, (const uint8_t *) data + size, false};
	EmbProtoField f;
	EmbStatus	status = EMB_OK;

	while (status == EMB_OK && emb_proto_next(&m, &f))
	{
		EmbProto	inner = {0};
		bool		ok = true;

		if (f.wire != EMB_PROTO_BYTES)
			continue;
		inner.p = f.data;
		inner.end = f.data + f.size;
		if (f.number == FIELD_TRAINER)
			ok = read_trainer(&inner, model);
		else if (f.number == FIELD_NORMALIZER)
			ok = read_normalizer(&inner, model);
		else if (f.number == FIELD_PIECES)
			ok = read_piece(&inner, &model->pieces[model->n_pieces++]);
		status = ok ? emb_tok_spec_work(spec, EMB_TOK_ENTRY_WORK + f.size / 16, file, err) : malformed(file, &inner, data, err);
	}
	return status;
}

EmbStatus
emb_spm_read(const EmbTokSpec *spec, const char *file, const char *data, size_t size, const EmbAllocator *mem, EmbSpmModel *m, EmbError *err)
{
	EmbStatus	status;

	*m = (EmbSpmModel) {
		.model_type = EMB_SPM_UNIGRAM,
		.bos_id = 1,
		.eos_id = 2,
		.unk_piece = {"<unk>", 5},
		.bos_piece = {"<s>", 3},
		.eos_piece = {"</s>", 4},
		.adds_prefix = true,
		.removes_spaces = true,
		.escapes_spaces = true,
	};
	status = begin(spec, file, data, size, mem, m, err);
	if (status == EMB_OK)
		status = read_fields(spec, file, data, size, m, err);
	if (status == EMB_OK && m->charsmap.len > INT32_MAX)
		status = emb_error(err, EMB_ERR_LIMIT, "%s: \"normalizer_spec.precompiled_charsmap\" has %u bytes", file, m->charsmap.len);
	return status;
}

void
emb_spm_release(EmbSpmModel *m, const EmbAllocator *mem)
{
	emb_release(mem, m->pieces);
	m->pieces = NULL;
}
