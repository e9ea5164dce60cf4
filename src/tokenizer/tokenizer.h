/*
 * tokenizer.h
 *		Text to token ids, equal to Hugging Face's tokenizers library.
 *
 * A tokenizer has two forms. EmbTokSpec is what a model's files describe
 * (import/hf_tokenizer.c fills it). emb_tok_build turns it into one position-
 * independent block of bytes, a section of the image. The block has tables ready
 * for use; equal specs produce equal bytes. emb_tok_open lays an EmbTokenizer
 * over such a block without copying or parsing. The block must outlive it.
 *
 * Example:
 *
 *		EmbTokenizer *tok;
 *		EmbTokResult r;
 *		emb_tok_open(block, size, false, mem, &tok, err);
 *		EmbText text = {s, len, true, NULL};
 *		EmbReading to = {.ids = ids, .max_ids = 512, .stop = &stop};
 *		emb_tok_encode(tok, &text, &to, &r, err);		// ids[r.n_ids]
 *		emb_tok_close(tok);
 *
 * An open tokenizer is read-only. Many threads may use it if they may use its
 * allocator. Encoding allocates memory in two cases, and frees it before it returns:
 * - Unigram: in text without spaces, two lattice paths stay open for over a thousand
 *   bytes. The number of ids asked for bounds this memory.
 * - BPE: a word has over 256 bytes. This memory is a few MB at most, unless a run of
 *   white space is longer.
 * Texts are UTF-8 without U+0000; anything else is EMB_ERR_TEXT.
 */
#ifndef EMB_TOKENIZER_TOKENIZER_H
#define EMB_TOKENIZER_TOKENIZER_H

#include "common/error.h"
#include "common/mem.h"
#include "common/text.h"

typedef enum EmbTokModel
{
	EMB_TOK_WORDPIECE = 1,		/* BertNormalizer, BertPreTokenizer */
	EMB_TOK_UNIGRAM = 2,		/* steps of EmbTokStep, Metaspace; SentencePiece's kind */
	EMB_TOK_BPE = 3				/* steps of EmbTokStep, and EmbTokSpelling */
} EmbTokModel;

/* Steps that normalize a text before it is split, in the order of EmbTokSpec.steps. */
typedef enum EmbTokStepKind
{
	EMB_TOK_STEP_PRECOMPILED = 1,	/* grapheme clusters and characters replaced by the charsmap */
	EMB_TOK_STEP_STRIP,			/* white space at the ends of a segment dropped */
	EMB_TOK_STEP_COLLAPSE,		/* two or more U+0020 become one character */
	EMB_TOK_STEP_LOWERCASE,
	EMB_TOK_STEP_NFC,			/* at most one of NFC, NFD, NFKC, NFKD */
	EMB_TOK_STEP_BLANKS,		/* U+0020 becomes a character */
	EMB_TOK_STEP_PREPEND,		/* a character is put before a segment */
	EMB_TOK_STEP_NFD,
	EMB_TOK_STEP_NFKC,
	EMB_TOK_STEP_NFKD,
	EMB_TOK_STEP_NMT,			/* controls dropped, other white space and invisible characters become U+0020 */
	EMB_TOK_STEP_STRIP_ACCENTS	/* marks dropped */
} EmbTokStepKind;

typedef struct EmbTokStep
{
	uint32_t	kind;			/* EmbTokStepKind */
	uint32_t	arg;			/* STRIP: EMB_TOK_STRIP_ bits; COLLAPSE, BLANKS, PREPEND: the character */
} EmbTokStep;

static inline bool
emb_tok_step_is_form(uint32_t kind)
{
	return kind == EMB_TOK_STEP_NFC || (kind >= EMB_TOK_STEP_NFD && kind <= EMB_TOK_STEP_NFKD);
}

#define EMB_TOK_STRIP_LEFT	1u
#define EMB_TOK_STRIP_RIGHT	2u
#define EMB_TOK_MAX_STEPS	6

/* When Metaspace puts its character before a segment. */
typedef enum EmbTokPrepend
{
	EMB_TOK_PREPEND_NEVER,
	EMB_TOK_PREPEND_ALWAYS,
	EMB_TOK_PREPEND_FIRST		/* if the text starts with the segment */
} EmbTokPrepend;

/* Patterns of byte-level BPE that files name, but do not contain. */
#define EMB_TOK_REGEX_GPT2	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define EMB_TOK_REGEX_QWEN2 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" \
	"\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* GPT-4o's */
#define EMB_TOK_REGEX_O200K	"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" \
	"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" \
	"\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* A segment is a word. */
#define EMB_TOK_REGEX_ALL	"[\\s\\S]+"

/* What BPE starts from. */
typedef enum EmbTokSpelling
{
	EMB_TOK_SPELL_BYTES,		/* bytes, split by a pattern; GPT-2's kind */
	EMB_TOK_SPELL_CHARS			/* characters, not split or by Metaspace; SentencePiece's kind */
} EmbTokSpelling;

/* Two pieces that BPE merges into one, by id. Earlier merges in the list go first. */
typedef struct EmbTokMerge
{
	int32_t		left;
	int32_t		right;
	int32_t		id;
} EmbTokMerge;

/* A vocabulary entry or added token: bytes of UTF-8, not zero-terminated. */
typedef struct EmbTokPiece
{
	const char *text;			/* NULL: no piece has this id */
	uint32_t	len;
} EmbTokPiece;

typedef struct EmbTokAdded
{
	EmbTokPiece piece;
	int32_t		id;
	bool		single_word,
				lstrip,
				rstrip,
				normalized,		/* matched after normalization instead of in the raw text */
				special;
} EmbTokAdded;

/* One slot of the post-processing template. */
typedef enum EmbTokSlotKind
{
	EMB_TOK_SLOT_SPECIAL,		/* the token id */
	EMB_TOK_SLOT_A,				/* the ids of the first text */
	EMB_TOK_SLOT_B				/* the ids of the second text */
} EmbTokSlotKind;

typedef struct EmbTokSlot
{
	EmbTokSlotKind kind;
	int32_t		id;				/* of a special slot */
	int32_t		type_id;
} EmbTokSlot;

#define EMB_TOK_MAX_SLOTS	16

typedef struct EmbTokTemplate
{
	int			n_slots;
	EmbTokSlot	slots[EMB_TOK_MAX_SLOTS];
} EmbTokTemplate;

typedef struct EmbTokSpec
{
	EmbTokModel model;

	const EmbStop *stop;		/* polled while the block is built; NULL: never */

	/* BertNormalizer. With Unigram, lowercase is a step before the others */
	bool		clean_text,
				handle_chinese_chars,
				strip_accents,	/* resolved: if the file has null, equal to lowercase */
				lowercase;

	/* WordPiece */
	EmbTokPiece continuing_prefix;	/* "##" */
	int32_t		max_chars_per_word; /* code points, 100 */

	/* Unigram */
	int			n_steps;
	EmbTokStep	steps[EMB_TOK_MAX_STEPS];
	EmbTokPiece charsmap;		/* SentencePiece's precompiled_charsmap, for EMB_TOK_STEP_PRECOMPILED */
	bool		split_spaces;	/* WhitespaceSplit before Metaspace */
	bool		split_meta;		/* Metaspace splits */
	EmbTokPrepend prepend;
	uint32_t	meta;			/* Metaspace's replacement character, U+2581 */
	double	   *scores;			/* [n_vocab] log probabilities */

	/*
	 * BPE. Of bytes: pieces are spelled in ByteLevel's alphabet. Of characters:
	 * meta (0: none), split_meta and prepend are Metaspace's.
	 */
	EmbTokSpelling spelling;
	bool		byte_fallback;	/* of characters: a character that is no piece is pieces "<0xE4>", one a byte */
	bool		fuse_unk;		/* of characters: adjacent unknown characters are one unknown token */
	const char *regex;			/* of bytes: a segment is split into its matches; regex.h */
	bool		prefix_space;	/* a segment that does not start with a space gets one */
	bool		ignore_merges;	/* a word that is a piece is not merged */
	int32_t		n_merges;
	EmbTokMerge *merges;

	int32_t		unk_id;			/* BPE: id of bytes or characters that are no piece; -1: such bytes are dropped */

	int32_t		n_vocab;		/* pieces[id]; ids run 0 .. n_vocab - 1 */
	EmbTokPiece *pieces;
	int			n_added;
	EmbTokAdded *added;

	EmbTokTemplate single;		/* no slot B */
	EmbTokTemplate pair;		/* n_slots 0: the model takes no pairs */

	/* Owner of every string and array above; freed by emb_tok_spec_free. */
	void	   *storage;
} EmbTokSpec;

/*
 * Builds the image section. *block is allocated from mem (64-byte aligned); the
 * caller releases it. EMB_ERR_FORMAT, EMB_ERR_NOMEM, or EMB_ERR_LIMIT: over
 * 4,000,000 pieces, or a piece over 65,535 bytes (Unigram: 512, BPE: 1,024).
 */
extern EmbStatus emb_tok_build(const EmbTokSpec *spec, const EmbAllocator *mem,
							   void **block, size_t *size, EmbError *err);

/*
 * Whether emb_tok_build can compile a regex. EMB_ERR_UNSUPPORTED or EMB_ERR_LIMIT:
 * the message says why not, without the regex.
 */
extern EmbStatus emb_tok_check_regex(const char *regex, const EmbAllocator *mem, const EmbStop *stop, EmbError *err);

typedef struct EmbTokenizer EmbTokenizer;

/*
 * check_all: verifies every table, O(size). After that no text can make the
 * encoder read outside the block or emit an id outside 0 .. n_vocab - 1. An
 * image of unknown origin must be opened once with check_all. Without check_all
 * the header and the bounds of the tables are checked, O(1); the encoder still
 * never reads outside the block.
 */
extern EmbStatus emb_tok_open(const void *block, size_t size, bool check_all,
							  const EmbAllocator *mem, EmbTokenizer **tok, EmbError *err);
extern void emb_tok_close(EmbTokenizer *tok);

extern EmbTokModel emb_tok_model(const EmbTokenizer *tok);
extern int32_t emb_tok_n_vocab(const EmbTokenizer *tok);	/* largest id + 1, added tokens included */
extern int	emb_tok_n_special(const EmbTokenizer *tok, bool pair);	/* special slots of the template */
extern int	emb_tok_n_leading(const EmbTokenizer *tok);	/* of a single text's template: those before the text */
extern bool emb_tok_is_special(const EmbTokenizer *tok, int32_t id);	/* the unknown token's, or in a single text's template */
extern bool emb_tok_has_pair(const EmbTokenizer *tok);
extern int32_t emb_tok_n_types(const EmbTokenizer *tok, bool pair); /* largest type id of the template + 1 */

typedef struct EmbTokResult
{
	int32_t		n_ids;			/* ids written, special tokens included */
	bool		truncated;		/* the text has more tokens than fit */
	bool		need_more;		/* see emb_tok_encode */
} EmbTokResult;

/*
 * Encodes one text with its special tokens, cut on the right so that n_ids <=
 * max_ids, like truncation="longest_first" of a single text. max_ids must be at
 * least the number of special slots. Stops reading text once the ids are certain,
 * so a text of 100 MB costs what its first max_ids tokens cost.
 *
 * If the text is not complete and its rest could still change an id or the
 * count, the call returns EMB_OK with need_more set, and the ids are meaningless.
 * (need_more is set whenever the prefix is used up before max_ids is reached.)
 *
 * to->stop is polled at least once every 256 KiB of text (about 10 ms).
 */
extern EmbStatus emb_tok_encode(const EmbTokenizer *tok, const EmbText *text, const EmbReading *to,
								EmbTokResult *result, EmbError *err);

/*
 * The same for a text from a reader: pulls only as much text as the ids need.
 * While text->read runs, the tokenizer holds no memory. need_more: the reader
 * has no more text, but the text is not complete.
 */
extern EmbStatus emb_tok_read(const EmbTokenizer *tok, const EmbTextReader *text, const EmbReading *to,
							  EmbTokResult *result, EmbError *err);

/* Tokens of the whole text, special tokens included; no truncation. */
extern EmbStatus emb_tok_count(const EmbTokenizer *tok, const char *text, size_t len,
							   const EmbStop *stop, int64_t *n_tokens, EmbError *err);

/*
 * Counts like emb_tok_count, but stops reading once the count is known to exceed
 * max. *n_tokens is then some number above max, and *n_read the number of bytes
 * read by then. Any longer prefix of the text has more than max tokens, too.
 */
extern EmbStatus emb_tok_count_up_to(const EmbTokenizer *tok, const char *text, size_t len, int64_t max,
									 const EmbStop *stop, int64_t *n_tokens, size_t *n_read, EmbError *err);

typedef enum EmbTokTruncation
{
	EMB_TOK_LONGEST_FIRST,
	EMB_TOK_ONLY_FIRST,
	EMB_TOK_ONLY_SECOND
} EmbTokTruncation;

/*
 * Reads the first text once for many pairs of at most max_ids ids. *known
 * refers to to->ids. *need_more: as in emb_tok_encode.
 */
extern EmbStatus emb_tok_encode_first(const EmbTokenizer *tok, const EmbText *text, const EmbReading *to,
									  EmbTextIds *known, bool *need_more, EmbError *err);
extern EmbStatus emb_tok_read_first(const EmbTokenizer *tok, const EmbTextReader *text, const EmbReading *to,
									EmbTextIds *known, bool *need_more, EmbError *err);

/*
 * Encodes a pair by the pair template. need_more: characters after a prefix
 * could change the ids, which are then meaningless. a->known: the result of
 * emb_tok_encode_first for a and the same max_ids; it changes no id. With
 * a->known, a's text is needed only if known is longer.
 * EMB_ERR_INVALID_ARGUMENT where Hugging Face's library raises: the text that may
 * be cut is too short to make room.
 */
extern EmbStatus emb_tok_encode_pair(const EmbTokenizer *tok, const EmbText *a, const EmbText *b,
									 EmbTokTruncation truncation, const EmbReading *to,
									 EmbTokResult *result, EmbError *err);

/* The same for texts from readers: each round reads a first, then b. */
extern EmbStatus emb_tok_read_pair(const EmbTokenizer *tok, const EmbTextReader *a, const EmbTextReader *b,
								   EmbTokTruncation truncation, const EmbReading *to,
								   EmbTokResult *result, EmbError *err);

#endif
