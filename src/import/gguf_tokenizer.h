/*
 * gguf_tokenizer.h
 *		Shared by the files that read the tokenizer of a GGUF file.
 *
 * gguf_tokenizer.c makes the reader, with pieces that are the file's strings,
 * and calls the function of the kind, which fills the spec. Errors are put into
 * the reader's err. Everything belongs to the spec: emb_tok_spec_free.
 */
#ifndef EMB_IMPORT_GGUF_TOKENIZER_H
#define EMB_IMPORT_GGUF_TOKENIZER_H

#include "import/gguf_model.h"
#include "import/hf_tokenizer_class.h"

#define EMB_GGUF_TOK_KEY(name)	"tokenizer.ggml." name

/* U+2581 in UTF-8 */
#define EMB_GGUF_META		"\xE2\x96\x81"
#define EMB_GGUF_META_BYTES	3

/* "tokenizer.ggml.token_type" */
enum
{
	EMB_GGUF_TOK_NORMAL = 1, EMB_GGUF_TOK_UNKNOWN, EMB_GGUF_TOK_CONTROL, EMB_GGUF_TOK_USER_DEFINED, EMB_GGUF_TOK_UNUSED, EMB_GGUF_TOK_BYTE
};

typedef struct EmbGgufTokReader
{
	const EmbGgufModel *m;
	const EmbArch *arch;
	const EmbGgufKey *tokens;
	const EmbGgufKey *types;	/* NULL: all are normal */
	const char *file;
	EmbTokSpec *spec;
	int32_t		mask_id;		/* -1: none */
	EmbError   *err;
} EmbGgufTokReader;

extern EmbStatus emb_gguf_tok_wrong_number(const EmbGgufTokReader *r, const EmbGgufKey *key, EmbError *err);
extern int64_t emb_gguf_tok_type(const EmbGgufTokReader *r, int64_t id);

/* Holes: fillers, and empty pieces, which never match. */
extern EmbStatus emb_gguf_tok_drop_fillers(EmbGgufTokReader *r);

/*
 * A token's id from one key or another (or NULL). get_id: -1 if neither is
 * there. require_id: then that of the piece with this text, which must be.
 */
extern EmbStatus emb_gguf_tok_get_id(const EmbGgufTokReader *r, const char *key, const char *other, int32_t *id);
extern EmbStatus emb_gguf_tok_require_id(const EmbGgufTokReader *r, const char *key, const char *other, const char *text, int32_t *id);

/* Makes a token one that is matched in the text; the same for all that the file says so of. The pieces are sorted. */
extern EmbStatus emb_gguf_tok_add(const EmbGgufTokReader *r, int32_t id, bool is_special);
extern EmbStatus emb_gguf_tok_add_all(const EmbGgufTokReader *r);

/* gguf_sentencepiece.c */
extern EmbStatus emb_gguf_read_unigram(EmbGgufTokReader *r);
extern EmbStatus emb_gguf_read_spm(EmbGgufTokReader *r);

#endif
