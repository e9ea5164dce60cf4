/*
 * checkpoint.h
 *		A published model, whatever its files look like: the seam between
 *		import/ and convert/.
 *
 * An importer fills in architecture, tokenizer, prompts and notes, and reads
 * tensors by key. So convert/ sees the same for a directory of the hub and for
 * any other container.
 *
 * Example:
 *
 *		EmbCheckpoint c;
 *		emb_checkpoint_open("/models/bge-small", &options, mem, stop, &c, err);
 *		emb_checkpoint_check(&c, key, n_rows, n_cols, err);		// before memory is taken for the tensor
 *		emb_checkpoint_read(&c, key, row, n, n_cols, rows, err);
 *		emb_checkpoint_codes(&c, key, n_rows, n_cols, &codes, err);
 *		if (codes.bits == 4)			// quantized before: the codes themselves
 *		{
 *			emb_checkpoint_read_order(&c, key, n_cols, order, err);
 *			emb_checkpoint_read_codes(&c, key, row, n, n_cols, bytes, scales, zeros, err);
 *		}
 *		emb_checkpoint_close(&c);
 */
#ifndef EMB_IMPORT_CHECKPOINT_H
#define EMB_IMPORT_CHECKPOINT_H

#include "common/arch.h"
#include "common/error.h"
#include "common/half.h"
#include "common/mem.h"
#include "common/pair_template.h"
#include "common/parts.h"
#include "tokenizer/tokenizer.h"

#define EMB_CHECKPOINT_MAX_NOTES		24
#define EMB_CHECKPOINT_MAX_PATH			1024

/* An assumption of the importer that the files do not state. */
typedef struct EmbNote
{
	char		message[512];
	char		hint[240];
} EmbNote;

typedef struct EmbCheckpoint EmbCheckpoint;
typedef struct EmbCheckpointOptions EmbCheckpointOptions;

/*
 * How a checkpoint stores the weights of a linear layer that was quantized
 * before: weight[o][i] = (code[o][i] - zero[g][o]) * scale[g][o] in fp32,
 * where g is the group of input i.
 */
typedef struct EmbCodes
{
	int32_t		bits;			/* 4 or 8; 0: there are no codes, only floats */
	int32_t		group;			/* inputs per group; a whole row is n_cols */
	int32_t		n_groups;		/* n_cols / group, rounded up: the last group may be shorter */
	int32_t		zero;			/* the one zero point of all groups and rows; -1: they differ */
	bool		has_order;		/* places of inputs are not 0, 1, 2, ..: see emb_checkpoint_read_order */
	EmbScaleType scale_type;	/* has the value of every scale */
	const char *reason;			/* with bits 0: why, as the end of a sentence; else NULL */
} EmbCodes;

/*
 * The source of the tensors. See the functions below. close must accept a
 * partly opened source. A source that has only floats leaves the three
 * functions of codes NULL.
 */
typedef struct EmbCheckpointSource
{
	EmbStatus	(*check) (const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbError *err);
	EmbStatus	(*read) (const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
						 float *rows, EmbError *err);
	void		(*close) (EmbCheckpoint *c);
	EmbStatus	(*codes) (const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbCodes *codes, EmbError *err);
	EmbStatus	(*read_order) (const EmbCheckpoint *c, EmbTensorKey key, int32_t n_cols, uint16_t *order, EmbError *err);
	EmbStatus	(*read_codes) (const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
							   uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err);
} EmbCheckpointSource;

struct EmbCheckpoint
{
	const EmbAllocator *mem;
	EmbArch		arch;			/* passes emb_arch_check, else convert/ reports why not */
	EmbTokSpec	tokenizer;		/* until emb_checkpoint_drop_tokenizer */
	int32_t		max_tokens;		/* 1 .. arch.n_positions */
	int32_t		token_chars;	/* a text is first cut to max_tokens times this many characters; 0: no cut */
	int32_t		dropped_id;		/* left out of texts; -1: none */
	int32_t		dimensions;		/* vectors are cut to them where the caller says nothing; 0: not cut */
	bool		centers_cut;	/* by the model's name: a layer norm comes before a cut */
	bool		pools_prompt;	/* false: pooling excludes the prompt's rows */
	char	   *query_prompt;	/* never NULL; owned */
	char	   *document_prompt;

	/*
	 * Of a decoder that reranks (EMB_HEAD_ANSWER). The tokenizer has no
	 * template of its own for pairs, and none of special tokens. answer_ids:
	 * the rows of EMB_PART_ANSWERS in the output matrix; -1 with a word in
	 * answers: convert/ looks the word's one token up and sets the id before
	 * it checks or reads a tensor. -1 without a word: the part has a tensor
	 * of its own.
	 */
	EmbPairTemplate pair_template;
	const char *answers[2];
	int32_t		answer_ids[2];
	char	   *instruction;	/* owner of a text of pair_template, or NULL */
	char	   *template_storage;	/* likewise */

	int			n_notes;
	EmbNote		notes[EMB_CHECKPOINT_MAX_NOTES];
	const EmbCheckpointSource *source;
	void	   *source_data;
};

/* What a caller knows of a model besides its files. */
struct EmbCheckpointOptions
{
	const char *name;			/* name of the model to be, or NULL */
	bool		has_query_prompt;	/* the caller sets one: the importer need not search */
	bool		has_document_prompt;
	const char *kind;			/* "embedding", "reranker"; NULL: as the files or the name say */
	const char *label;			/* of a classifier with several labels: the score; NULL: one with a known name */
	const char *template;		/* of a decoder that reranks, see hf_template.h; NULL: the known one */
	const char *pooling;		/* sentence-transformers' name; NULL: as the files say */
	bool		sets_normalize;
	bool		normalize;		/* if sets_normalize */
};

/*
 * Opens a model directory of the Hugging Face hub (hf_checkpoint.c). stop is
 * polled while the tokenizer is read and built; it must live as long as the
 * checkpoint. After an error there is nothing to close.
 */
extern EmbStatus emb_checkpoint_open_dir(const char *dir, const EmbCheckpointOptions *options, const EmbAllocator *mem,
										 const EmbStop *stop, EmbCheckpoint *c, EmbError *err);

/*
 * The same for a GGUF file, or any file of one that is split
 * (gguf_checkpoint.c).
 */
extern EmbStatus emb_checkpoint_open_gguf(const char *path, const EmbCheckpointOptions *options, const EmbAllocator *mem, const EmbStop *stop,
										  EmbCheckpoint *c, EmbError *err);

/*
 * Whether path is a GGUF file, or a directory with the GGUF files of one model
 * and without weights in the hub's formats: then its path is in file, which is
 * "" otherwise. EMB_ERR_UNSUPPORTED: files of several models.
 */
extern EmbStatus emb_checkpoint_find_gguf(const char *path, char *file, size_t size, EmbError *err);

/*
 * Adds a note: what the importer assumed, and the hint what to do about it
 * ("": nothing). Line ends become spaces. c NULL, or full: no note.
 */
extern void emb_note(EmbCheckpoint *c, const char *hint, const char *format,...) EMB_PRINTF(3, 4);

/* Opens whatever path is. */
extern EmbStatus emb_checkpoint_open(const char *path, const EmbCheckpointOptions *options, const EmbAllocator *mem, const EmbStop *stop,
									 EmbCheckpoint *c, EmbError *err);

/* Does nothing for a checkpoint of zeros. */
extern void emb_checkpoint_close(EmbCheckpoint *c);

/* Frees the description of the tokenizer, which may be larger than the names of the weights. */
extern void emb_checkpoint_drop_tokenizer(EmbCheckpoint *c);

/*
 * Checks that a tensor [n_rows, n_cols], or a vector [1, n_cols], exists and
 * can be read. If not: EMB_ERR_NOT_FOUND, EMB_ERR_FORMAT or
 * EMB_ERR_UNSUPPORTED with the tensor's name in the files. A tensor that the
 * family lacks but that has a known value, for example a bias of zeros, counts
 * as existing. Keys: every part except the computed ones (RoPE tables), with
 * the kinds weight, bias, gamma, beta and table. The gates of a GLU are
 * EMB_PART_FFN_GATE. EMB_PART_DISTANCES is [n_heads, EMB_DISTANCES].
 * EMB_PART_ANSWERS is [n_labels, hidden].
 */
static inline EmbStatus
emb_checkpoint_check(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbError *err)
{
	return c->source->check(c, key, n_rows, n_cols, err);
}

/*
 * Rows row .. row + n - 1 of a tensor that passed the check, as floats: [n,
 * n_cols]. EMB_ERR_FORMAT: an element is not finite.
 */
static inline EmbStatus
emb_checkpoint_read(const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
					float *rows, EmbError *err)
{
	return c->source->read(c, key, row, n, n_cols, rows, err);
}

/*
 * Whether the weight [n_rows, n_cols] of key, which passed the check, is there
 * as codes that keep its exact values, and in which shape. bits 0 is no error:
 * the weight is stored as floats, or quantized in a way that codes with one
 * scale and zero point per group and row cannot express (reason says which).
 * emb_checkpoint_read works in any case. Reads the zero points of all rows.
 */
static inline EmbStatus
emb_checkpoint_codes(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbCodes *codes, EmbError *err)
{
	*codes = (EmbCodes) {.zero = -1, .reason = "it is stored as floats"};
	return c->source->codes != NULL ? c->source->codes(c, key, n_rows, n_cols, codes, err) : EMB_OK;
}

/*
 * The order of a weight with codes: order[j] is the input whose codes stand at
 * place j, a permutation of 0 .. n_cols - 1. Places from g * group on are group
 * g. Inside a group inputs ascend, and groups ascend by their first input,
 * except that a shorter group is last. So the order depends only on which
 * inputs share a group, not on how the files number the groups, and has_order
 * is false exactly when the order is 0, 1, 2, ..
 *
 * Every weight has its own order. Weights that read the same input (query, key
 * and value; gate and up) often have equal orders, because a quantizer sorts
 * by the input's statistics, but nothing forces them to: compare the orders. A
 * sequence of rows that one tensor stores for several keys has one order.
 */
static inline EmbStatus
emb_checkpoint_read_order(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_cols, uint16_t *order, EmbError *err)
{
	return c->source->read_order(c, key, n_cols, order, err);
}

/*
 * Rows row .. row + n - 1 of a weight with codes: codes [n, n_cols], one byte
 * each, 0 .. 2^bits - 1, in the weight's order; scales [n_groups, n]; zeros
 * [n_groups, n], 0 .. 2^bits - 1. A scale may be zero or negative, and is so
 * small that scale * 256 is finite, else EMB_ERR_FORMAT. Rows in ascending
 * pieces are fastest; a few weights may be read in turn.
 *
 * Signed weights of 8 bits are code - 128 with zero 128; -128 may occur.
 */
static inline EmbStatus
emb_checkpoint_read_codes(const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
						  uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err)
{
	return c->source->read_codes(c, key, row, n, n_cols, codes, scales, zeros, err);
}

#endif
