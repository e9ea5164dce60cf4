/*
 * hf_tokenizer_spec.h
 *		Fills an EmbTokSpec; shared by the readers of tokenizer files
 *		(hf_tokenizer_readers.h).
 */
#ifndef EMB_IMPORT_HF_TOKENIZER_SPEC_H
#define EMB_IMPORT_HF_TOKENIZER_SPEC_H

#include "formats/json.h"
#include "tokenizer/tokenizer.h"

/* For "%.*s" in messages: the useful beginning of s. */
#define EMB_TOK_SHOW(s)			emb_json_clip(s, 80), s

#define EMB_TOK_STORAGE_DOCS	5
#define EMB_TOK_MAX_VOCAB		4000000
#define EMB_TOK_MAX_ADDED_TOKENS 16384
#define EMB_TOK_WORK_PER_ASK	200000
/* Work units of reading a vocabulary entry, cache misses included. */
#define EMB_TOK_ENTRY_WORK		30

/* EmbTokSpec.storage: owns what the spec points to. */
typedef struct EmbTokStorage
{
	EmbJson		docs[EMB_TOK_STORAGE_DOCS]; /* strings are borrowed from them */
	char	   *text;			/* vocab.txt, and pieces point into it */
	EmbTokPiece *pieces;
	EmbTokMerge *merges;
	EmbTokAdded *added;			/* [added_capacity] */
	int			added_capacity;
	int32_t    *sorted;			/* [n_sorted] ids by text, unless vocab is set */
	int32_t		n_sorted;
	const json_t *vocab;		/* tokenizer.json of WordPiece and BPE: "model.vocab"; vocab.json */
	double	   *scores;			/* Unigram: [n_vocab] */
	uint8_t    *charsmap;
	const EmbStop *stop;
	size_t		work;			/* since the last poll, in units of about 10 ns */
	const char *source;			/* the bytes of tokenizer.json while it is read */
	size_t		source_size;
	int32_t		n_distinct;		/* number of pieces, as the library counts its vocabulary */
	int32_t		max_added_id;	/* -1: none yet */
} EmbTokStorage;

/* Zeroes *spec and sets up its storage with the BERT defaults; EMB_ERR_NOMEM. */
extern EmbStatus emb_tok_spec_begin(EmbTokSpec *spec, const EmbAllocator *mem, EmbError *err);

extern void emb_tok_spec_free(EmbTokSpec *spec, const EmbAllocator *mem);

/*
 * Polls storage's stop after enough work since the last poll:
 * EMB_ERR_CANCELLED. file: for the message.
 */
static inline EmbStatus
emb_tok_spec_work(const EmbTokSpec *spec, size_t work, const char *file, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;

	storage->work += work;
	if (storage->work < EMB_TOK_WORK_PER_ASK)
		return EMB_OK;
	storage->work = 0;
	return emb_should_stop(storage->stop) ? emb_error(err, EMB_ERR_CANCELLED, "reading %s was cancelled", file) : EMB_OK;
}

/* Id of a vocabulary entry, or -1. */
extern int32_t emb_tok_spec_find(const EmbTokSpec *spec, const char *text);

/* The added token or the vocabulary's entry that is exactly text; of an entry *found has id and piece. */
extern bool emb_tok_spec_find_token(const EmbTokSpec *spec, const char *text, EmbTokAdded *found);

/* Adds a token that emb_tok_spec_find_token found, or changes it. file: for messages. */
extern EmbStatus emb_tok_spec_add_known(EmbTokSpec *spec, const char *file, const EmbTokAdded *added,
										const EmbAllocator *mem, EmbError *err);

/*
 * Adds a token like the library's add_tokens. The id is the id of the
 * vocabulary entry or of an equal token before it, else the next free id.
 * added->id is ignored on input and set on output. file: for messages.
 */
extern EmbStatus emb_tok_spec_add(EmbTokSpec *spec, const char *file, EmbTokAdded *added,
								  const EmbAllocator *mem, EmbError *err);

/*
 * An added token from a JSON object. strict: every key must exist; otherwise
 * absent flags are false.
 */
extern EmbStatus emb_tok_read_added(const EmbJson *doc, const json_t *obj, bool strict,
									EmbTokAdded *added, EmbError *err);

#define EMB_TOK_SPM_FILE		"sentencepiece.bpe.model"
#define EMB_TOK_SPM_BPE_FILE	"tokenizer.model"
#define EMB_TOK_META			0x2581	/* SentencePiece's character for a space */

/* The special tokens with a role. */
enum
{
	EMB_TOK_ROLE_UNK, EMB_TOK_ROLE_SEP, EMB_TOK_ROLE_PAD, EMB_TOK_ROLE_CLS, EMB_TOK_ROLE_MASK, EMB_TOK_N_ROLES
};

typedef struct EmbTokRole
{
	const char *key;			/* in tokenizer_config.json and special_tokens_map.json */
	const char *token;			/* if both files lack the key */
	bool		needed;
	bool		lstrip;			/* if the value is only a string */
} EmbTokRole;

/*
 * An object of piece -> id becomes the vocabulary; the object must live as
 * long as spec. key: for messages.
 */
extern EmbStatus emb_tok_read_vocab(const char *file, const char *key, const json_t *vocab, const EmbAllocator *mem,
									EmbTokSpec *spec, EmbError *err);

/* Checks that a key exists; where names the object in messages. */
extern EmbStatus emb_tok_require(const EmbJson *doc, const json_t *obj, const char *where, const char *key, EmbError *err);
extern EmbStatus emb_tok_require_bool(const EmbJson *doc, const json_t *obj, const char *where, const char *key,
									  bool *value, EmbError *err);
extern EmbStatus emb_tok_require_string(const EmbJson *doc, const json_t *obj, const char *where, const char *key,
										const char **value, EmbError *err);

/* The component at key; *type is its type, NULL if it has none. */
extern EmbStatus emb_tok_get_component(const EmbJson *doc, const char *key, const char *wanted,
									   const json_t **obj, const char **type, EmbError *err);
extern EmbStatus emb_tok_refuse_component(const EmbJson *doc, const char *key, const char *type, const char *wanted, EmbError *err);

/*
 * The pre-tokenizer of Unigram and BPE: last_type alone, or a Sequence of
 * first_type and last_type. *first: NULL without first_type. Other types are
 * refused; the caller reads the keys of the steps.
 */
extern EmbStatus emb_tok_get_splitting(const EmbJson *doc, const char *first_type, const char *last_type,
									   const json_t **first, const json_t **last, EmbError *err);

/* <s> A </s> and <s> A </s> </s> B </s>, all of type 0. */
extern void emb_tok_spec_roberta_templates(EmbTokSpec *spec, int32_t cls_id, int32_t sep_id);

/* [CLS] A [SEP] and [CLS] A [SEP] B [SEP]. */
extern void emb_tok_spec_bert_templates(EmbTokSpec *spec, int32_t cls_id, int32_t sep_id);

/* vocab.json and merges.txt in RoBERTa's format. */
#define EMB_TOK_BPE_VOCAB_FILE	"vocab.json"
#define EMB_TOK_BPE_MERGES_FILE	"merges.txt"
#define EMB_TOK_BPE_VOCAB_DOC	3	/* of EmbTokStorage.docs */

#define EMB_TOK_JSON_DOC		4	/* tokenizer.json */

#endif
