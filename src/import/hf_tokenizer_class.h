/*
 * hf_tokenizer_class.h
 *		What the files share that do as AutoTokenizer of transformers 5 does:
 *		hf_tokenizer_class.c (class, splitting, template), hf_added_tokens.c,
 *		spm_class.c (classes of BPE of characters) and spm_bpe.c (tokenizer.model).
 */
#ifndef EMB_IMPORT_HF_TOKENIZER_CLASS_H
#define EMB_IMPORT_HF_TOKENIZER_CLASS_H

#include "import/hf_tokenizer_readers.h"
#include "import/spm_model.h"

/* How a class builds a tokenizer. */
typedef enum EmbTokBuild
{
	EMB_TOK_BUILD_NOT,					/* it takes tokenizer.json as it is */
	EMB_TOK_BUILD_BERT,
	EMB_TOK_BUILD_MPNET,
	EMB_TOK_BUILD_XLM_ROBERTA,
	EMB_TOK_BUILD_CAMEMBERT,
	EMB_TOK_BUILD_ROBERTA,
	EMB_TOK_BUILD_GPT2,
	EMB_TOK_BUILD_QWEN2,
	EMB_TOK_BUILD_GEMMA,				/* these two: BPE of characters, spm_class.c */
	EMB_TOK_BUILD_LLAMA
} EmbTokBuild;

/* The special tokens with a role, in the order in which transformers adds them. */
enum
{
	EMB_TOK_IS_BOS, EMB_TOK_IS_EOS, EMB_TOK_IS_UNK, EMB_TOK_IS_SEP, EMB_TOK_IS_PAD, EMB_TOK_IS_CLS, EMB_TOK_IS_MASK, EMB_TOK_N_FOLLOWED
};

typedef struct EmbTokClass
{
	const char *name;			/* without "Fast" */
	EmbTokBuild build;
	EmbTokModel model;
	const char *roles[EMB_TOK_N_FOLLOWED];	/* defaults; NULL: none */
	bool		lstrips_mask;	/* where the files give only its text */
} EmbTokClass;

/* One reading. */
typedef struct EmbTokFollow
{
	EmbTokSpec *spec;
	const EmbJson *config;		/* tokenizer_config.json; no root: there is none */
	const EmbJson *map;			/* special_tokens_map.json, likewise */
	const EmbJson *more;		/* added_tokens.json, likewise */
	const EmbJson *json;		/* tokenizer.json; no root: there is none */
	const EmbSpmModel *spm;		/* tokenizer.model instead; its texts are zero-terminated, or NULL */
	const EmbTokClass *class;
	char		named[80];		/* the class that the files name, without "Fast"; "": none */
	int64_t		n_rows;			/* of the word embeddings; 0: not known */
	int32_t		n_left_out;		/* added tokens without a row */
	int32_t		first_left_out; /* the id of the first of them */
	EmbTokAdded roles[EMB_TOK_N_FOLLOWED];	/* piece.text NULL: none */
	char		changes[400];	/* what differs from tokenizer.json, for the note */
} EmbTokFollow;

/* Adds to changes, which a note reports. */
extern void emb_tok_note_change(EmbTokFollow *f, const char *format,...) EMB_PRINTF(2, 3);

/*
 * Finds the class and the rows of the model; config.json names the model's
 * type, which has a class. class without a build, named not "": another class.
 */
extern EmbStatus emb_tok_read_class(EmbTokFollow *f, const char *dir, const EmbStop *stop, const EmbAllocator *mem, EmbError *err);

/* The class of a name, with or without "Fast"; one without a build: it is not known. */
extern const EmbTokClass *emb_tok_find_class(const char *name);

/* Normalization, splitting and unknown characters of GemmaTokenizer or LlamaTokenizer. */
extern EmbStatus emb_tok_build_chars(EmbTokFollow *f, EmbError *err);

/* BPE of characters: those without a piece become bytes, where the vocabulary has bytes, else unk_id. */
extern void emb_tok_set_unknown_chars(EmbTokSpec *spec, bool byte_fallback, int32_t unk_id);

/* The tokens with roles: of the files, else of the class. */
extern EmbStatus emb_tok_read_roles(EmbTokFollow *f, EmbError *err);

/* Id of a role's token in the vocabulary, or -1. */
extern int32_t emb_tok_role_id(const EmbTokFollow *f, int role);

/* Replaces or extends the added tokens of f->spec. */
extern EmbStatus emb_tok_follow_tokens(EmbTokFollow *f, const EmbAllocator *mem, EmbError *err);

#endif
