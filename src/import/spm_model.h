/*
 * spm_model.h
 *		A SentencePiece model file (sentencepiece_model.proto, ModelProto), read
 *		for sentencepiece.c (XLM-RoBERTa's unigram model) and spm_bpe.c
 *		(tokenizer.model).
 *
 * Example:
 *
 *		EmbSpmModel m;
 *		if (emb_spm_read(spec, "tokenizer.model", data, size, mem, &m, err) == EMB_OK)
 *			for (int32_t i = 0; i < m.n_pieces; i++)
 *				use(&m.pieces[i]);
 *		emb_spm_release(&m, mem);
 *
 * Texts of pieces and the charsmap lie in data. They are any bytes, and scores
 * are any floats: the readers say what is refused.
 */
#ifndef EMB_IMPORT_SPM_MODEL_H
#define EMB_IMPORT_SPM_MODEL_H

#include "import/hf_tokenizer_spec.h"

/* SentencePiece.Type */
enum
{
	EMB_SPM_NORMAL = 1, EMB_SPM_UNKNOWN, EMB_SPM_CONTROL, EMB_SPM_USER_DEFINED, EMB_SPM_UNUSED, EMB_SPM_BYTE
};

/* TrainerSpec.ModelType */
enum
{
	EMB_SPM_UNIGRAM = 1, EMB_SPM_BPE, EMB_SPM_WORD, EMB_SPM_CHAR
};

typedef struct EmbSpmPiece
{
	EmbTokPiece text;			/* not zero-terminated; len 0: none */
	float		score;
	uint32_t	type;			/* EMB_SPM_, or any other number */
} EmbSpmPiece;

/* What the file says, with the defaults of the .proto file. */
typedef struct EmbSpmModel
{
	int32_t		n_pieces;
	EmbSpmPiece *pieces;		/* [n_pieces] */

	/* TrainerSpec */
	uint64_t	model_type;
	bool		byte_fallback;
	bool		space_is_suffix;	/* treat_whitespace_as_suffix */
	int64_t		bos_id,			/* -1: none */
				eos_id;
	EmbTokPiece unk_piece,
				bos_piece,
				eos_piece;

	/* NormalizerSpec */
	EmbTokPiece charsmap;		/* len 0: none */
	bool		adds_prefix;	/* add_dummy_prefix */
	bool		removes_spaces; /* remove_extra_whitespaces */
	bool		escapes_spaces; /* escape_whitespaces */
} EmbSpmModel;

/*
 * Reads data[0 .. size). spec: begun; its storage's stop is polled. After an
 * error *m is to be released, too. EMB_ERR_FORMAT with the offset, EMB_ERR_LIMIT,
 * EMB_ERR_NOMEM, EMB_ERR_CANCELLED.
 */
extern EmbStatus emb_spm_read(const EmbTokSpec *spec, const char *file, const char *data, size_t size, const EmbAllocator *mem,
							  EmbSpmModel *m, EmbError *err);

extern void emb_spm_release(EmbSpmModel *m, const EmbAllocator *mem);

#endif
