/*
 * checkpoint.h
 *		A model as somebody published it, whatever its files look like: the
 *		seam between import/ and convert/.
 *
 * An importer fills in architecture, tokenizer, prompts and notes, and answers
 * for tensors by key. What convert/ sees is the same for a directory of the hub
 * and for any other container.
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

/* What the importer assumed because the files do not say. */
typedef struct EmbNote
{
	char		message[512];
	char		hint[240];
} EmbNote;

typedef struct EmbCheckpoint EmbCheckpoint;

/* Where the tensors come from. See the functions below; close may be given a source that is half open. */
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
	EmbArch		arch;			/* passes emb_arch_check, or convert/ says why not */
	EmbTokSpec	tokenizer;		/* until emb_checkpoint_drop_tokenizer */
	int32_t		max_tokens;		/* 1 .. arch.n_positions */
	int32_t		token_chars;	/* a text is cut to max_tokens times so many characters first; 0: it is not */
	int32_t		dropped_id;		/* left out of texts; -1: none */
	bool		pools_prompt;	/* false: the prompt's rows are left out of the pooling */
	char	   *query_prompt;	/* never NULL; owned */
	char	   *document_prompt;
	int			n_notes;
	EmbNote		notes[EMB_CHECKPOINT_MAX_NOTES];
	const EmbCheckpointSource *source;
	void	   *source_data;
};

/* What a caller knows of a model beside its files. */
typedef struct EmbCheckpointOptions
{
	const char *name;			/* what the model will be called, or NULL */
	bool		has_query_prompt;	/* the caller has one: the importer need not look for it */
	bool		has_document_prompt;
} EmbCheckpointOptions;

/*
 * A model directory of the Hugging Face hub (hf_checkpoint.c). stop is asked
 * while the tokenizer is read and built, and must live as long as the
 * checkpoint. On an error nothing is left to close.
 */
extern EmbStatus emb_checkpoint_open_dir(const char *dir, const EmbCheckpointOptions *options, const EmbAllocator *mem,
										 const EmbStop *stop, EmbCheckpoint *c, EmbError *err);

/* Nothing for a checkpoint of zeros. */
extern void emb_checkpoint_close(EmbCheckpoint *c);

/* Frees the tokenizer's description, which may take more room than the weights' names. */
extern void emb_checkpoint_drop_tokenizer(EmbCheckpoint *c);

/*
 * A tensor [n_rows, n_cols], a vector [1, n_cols], is there and can be read:
 * else EMB_ERR_NOT_FOUND, EMB_ERR_FORMAT, EMB_ERR_UNSUPPORTED with its name in
 * the files. A tensor that the family does not have, a bias of zeros for one,
 * counts as there. Keys: every part but the computed ones (rotary tables), with
 * the kinds weight, bias, gamma, beta, table. The gates of a gated model are
 * EMB_PART_FFN_GATE. EMB_PART_DISTANCES is [n_heads, EMB_DISTANCES].
 */
static inline EmbStatus
emb_checkpoint_check(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbError *err)
{
	return c->source->check(c, key, n_rows, n_cols, err);
}

/* Rows row .. row + n - 1 of a tensor that passed the check, as floats: [n, n_cols]. EMB_ERR_FORMAT: one is not finite. */
static inline EmbStatus
emb_checkpoint_read(const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
					float *rows, EmbError *err)
{
	return c->source->read(c, key, row, n, n_cols, rows, err);
}

#endif
