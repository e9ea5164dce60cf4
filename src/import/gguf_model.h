/*
 * gguf_model.h
 *		What a GGUF file means: its architecture, its tensors by
 *		key, its tokenizer. gguf_checkpoint.c puts them together.
 *
 * Names of keys and tensors are those that llama.cpp writes (gguf-py's
 * constants.py and conversion/, 2026). docs/gguf.md says which files can be
 * imported.
 */
#ifndef EMB_IMPORT_GGUF_MODEL_H
#define EMB_IMPORT_GGUF_MODEL_H

#include "common/arch.h"
#include "common/parts.h"
#include "formats/gguf.h"
#include "import/checkpoint.h"
#include "import/hf_config.h"
#include "tokenizer/tokenizer.h"

/* "tokenizer.ggml.model" */
typedef enum EmbGgufTokenizer
{
	EMB_GGUF_WORDPIECE,			/* "bert" */
	EMB_GGUF_UNIGRAM,			/* "t5": XLM-RoBERTa's */
	EMB_GGUF_BPE,				/* "gpt2": byte-level */
	EMB_GGUF_SPM				/* "llama": SentencePiece's BPE, of Gemma */
} EmbGgufTokenizer;

/*
 * The tensors of a part, without ".weight" and ".bias"; of a layer without
 * "blk.N.". Of several entries of a part the one that the file has applies.
 */
typedef struct EmbGgufName
{
	EmbPart		part;
	const char *name;			/* NULL: end of the list */
	int			index,			/* which of the n_parts parts of the tensor, one after the other */
				n_parts;		/* 0: one part */
	bool		has_bias;
} EmbGgufName;

typedef struct EmbGgufFamily
{
	const char *arch;			/* "general.architecture"; NULL ends the list */
	const char *model_type;		/* the family of family.h */
	double		rotary_base;	/* where the file names none; 0: no RoPE */
	const EmbGgufName *names;
} EmbGgufFamily;

typedef struct EmbGgufModel
{
	const EmbAllocator *mem;
	EmbGguf		gguf;
	const EmbGgufFamily *family;
	EmbGgufTokenizer tokenizer;
	int32_t		n_blocks;		/* as the file counts them; arch.n_layers of them are layers */
	int32_t		n_absent_blocks;	/* counted as layers, but without any tensor */
	EmbHfConfig names;			/* "general.name", and the name that says the kind */
	char		path[EMB_HF_MAX_PATH];	/* of the file, without its quantization and ending */
	bool		has_answers;	/* of a decoder that reranks: a matrix of its own */
	int32_t		answer_rows[2]; /* its rows of "yes" and "no" */
	bool		assumes_pooling;	/* the file names none */
	bool		lacks_dense;	/* of EmbeddingGemma: its modules after the pooling */
	float		word_scale;		/* a factor of the word embeddings in the file; 0: none */
	bool		assumes_case;	/* the file does not say whether text is lowercased */
	bool		lowercases;
} EmbGgufModel;

/* Zero-terminated, for messages. */
extern const char *emb_gguf_path(const EmbGgufModel *m);

/* The name of a key of this architecture: "bert." before name, in buf. */
extern const char *emb_gguf_own_key(const EmbGgufModel *m, const char *name, char *buf, size_t size);

/* --------------------------------------------------------- gguf_arch.c */

/* Finds family and tokenizer, and reads everything that EmbArch has. */
extern EmbStatus emb_gguf_read_arch(EmbGgufModel *m, const EmbCheckpointOptions *options, EmbArch *arch, int32_t *max_tokens, EmbError *err);

/* Own keys, "bert.NAME", where they exist: see gguf.h. */
extern EmbStatus emb_gguf_get_own_int(const EmbGgufModel *m, const char *name, int64_t min, int64_t max, int64_t *value, EmbError *err);

/* ------------------------------------------------------ gguf_decoder.c */

/* Whether the file is of a decoder: Qwen3. */
extern bool emb_gguf_is_decoder(const EmbGgufModel *m);

/* The answers of a decoder that reranks. */
extern EmbStatus emb_gguf_read_answers(EmbGgufModel *m, EmbArch *arch, EmbError *err);

/*
 * Template and answers of a checkpoint whose arch is read: the option's, the
 * file's own, or Qwen3-Reranker's.
 */
extern EmbStatus emb_gguf_choose_template(EmbCheckpoint *c, EmbGgufModel *m, const EmbCheckpointOptions *options, EmbError *err);

/* The templates of special tokens of a decoder. */
extern EmbStatus emb_gguf_decoder_templates(const EmbGgufModel *m, const EmbArch *arch, EmbTokSpec *spec, EmbError *err);

/* ------------------------------------------------------ gguf_tensors.c */

/* The names of an architecture, or NULL. */
extern const EmbGgufFamily *emb_gguf_find_family(const char *arch);

/* "bert, nomic-bert, .." */
extern void emb_gguf_list_families(char *buf, size_t size);

/*
 * Every tensor of the file must be one that is read, or would change nothing:
 * a file with more is another model than it says.
 */
extern EmbStatus emb_gguf_check_names(const EmbGgufModel *m, int32_t n_layers, EmbError *err);

/* The tensor of a part, or NULL. kind: EMB_TENSOR_BIAS is the bias, any other the weight. */
extern const EmbGgufTensor *emb_gguf_find_part(const EmbGgufModel *m, EmbTensorKey key, const EmbGgufName **name);

/* Rows of a matrix or table; llama.cpp writes one row as a vector. */
extern int64_t emb_gguf_rows(const EmbGgufTensor *tensor);

/* See emb_checkpoint_check and emb_checkpoint_read; answer_ids: EmbCheckpoint's. */
extern EmbStatus emb_gguf_check_tensor(const EmbGgufModel *m, const EmbArch *arch, const int32_t answer_ids[2], EmbTensorKey key,
									   int32_t n_rows, int32_t n_cols, EmbError *err);
extern EmbStatus emb_gguf_read_tensor(const EmbGgufModel *m, const EmbArch *arch, const int32_t answer_ids[2], EmbTensorKey key,
									  int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err);

/* See emb_checkpoint_codes and emb_checkpoint_read_codes: Q4_0 and Q8_0. */
extern EmbStatus emb_gguf_codes(const EmbGgufModel *m, EmbTensorKey key, int32_t n_cols, EmbCodes *codes, EmbError *err);
extern EmbStatus emb_gguf_read_codes(const EmbGgufModel *m, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
									 uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err);

/* ---------------------------------------------------- gguf_tokenizer.c */

/*
 * Texts of pieces may lie in the file's header, which must live as long as
 * spec. spec->storage owns the rest.
 */
extern EmbStatus emb_gguf_read_tokenizer(EmbGgufModel *m, const EmbArch *arch, EmbTokSpec *spec, EmbError *err);

#endif
