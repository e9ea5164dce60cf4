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
 *		emb_checkpoint_open_dir("/models/bge-small", &options, mem, stop, &c, err);
 *		emb_checkpoint_check(&c, key, n_rows, n_cols, err);		// before memory is taken for the tensor
 *		emb_checkpoint_read(&c, key, row, n, n_cols, rows, err);
 *		emb_checkpoint_close(&c);
 */
#ifndef EMB_IMPORT_CHECKPOINT_H
#define EMB_IMPORT_CHECKPOINT_H

#include "common/arch.h"
#include "common/error.h"
#include "common/mem.h"
#include "common/parts.h"
#include "tokenizer/tokenizer.h"

#define EMB_CHECKPOINT_MAX_NOTES		8

/* An assumption of the importer that the files do not state. */
typedef struct EmbNote
{
	char		message[512];
	char		hint[240];
} EmbNote;

typedef struct EmbCheckpoint EmbCheckpoint;

/*
 * The source of the tensors. See the functions below. close must accept a
 * partly opened source.
 */
typedef struct EmbCheckpointSource
{
	EmbStatus	(*check) (const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbError *err);
	EmbStatus	(*read) (const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
						 float *rows, EmbError *err);
	void		(*close) (EmbCheckpoint *c);
} EmbCheckpointSource;

struct EmbCheckpoint
{
	const EmbAllocator *mem;
	EmbArch		arch;			/* passes emb_arch_check, else convert/ reports why not */
	EmbTokSpec	tokenizer;		/* until emb_checkpoint_drop_tokenizer */
	int32_t		max_tokens;		/* 1 .. arch.n_positions */
	int32_t		token_chars;	/* a text is first cut to max_tokens times this many characters; 0: no cut */
	int32_t		dropped_id;		/* left out of texts; -1: none */
	bool		pools_prompt;	/* false: pooling excludes the prompt's rows */
	char	   *query_prompt;	/* never NULL; owned */
	char	   *document_prompt;
	int			n_notes;
	EmbNote		notes[EMB_CHECKPOINT_MAX_NOTES];
	const EmbCheckpointSource *source;
	void	   *source_data;
};

/* What a caller knows of a model besides its files. */
typedef struct EmbCheckpointOptions
{
	const char *name;			/* name of the model to be, or NULL */
	bool		has_query_prompt;	/* the caller sets one: the importer need not search */
	bool		has_document_prompt;
} EmbCheckpointOptions;

/*
 * Opens a model directory of the Hugging Face hub (hf_checkpoint.c). stop is
 * polled while the tokenizer is read and built; it must live as long as the
 * checkpoint. After an error there is nothing to close.
 */
extern EmbStatus emb_checkpoint_open_dir(const char *dir, const EmbCheckpointOptions *options, const EmbAllocator *mem,
										 const EmbStop *stop, EmbCheckpoint *c, EmbError *err);

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

#endif
