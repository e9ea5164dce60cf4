/*
 * encode.h
 *		The stages between text and ids. Each stage pulls from the stage before:
 *
 *		raw			characters of the text, cut where an added token matches (added.c)
 *		normalized	BERT: cleaned, spaced, decomposed, stripped, lowercased (normalize.c);
 *					others: a list of steps (steps.c, precompiled.c, compose.c)
 *		matched		cut again where an added token matches the normalized text (added.c)
 *		words		split at spaces and punctuation (pretokenize.c), where a
 *					word begins (metaspace.c) or by a pattern (bytelevel.c), where no merge goes (charlevel.c)
 *		ids			longest pieces first (wordpiece.c), likeliest pieces (unigram.c)
 *					or pieces merged in the order of training (bpe.c)
 *
 * Only unigram.c, bytelevel.c and bpe.c allocate memory. The longest word and the longest
 * added token bound how much text must be kept. Every position of the text is
 * read a bounded number of times.
 */
#ifndef EMB_TOKENIZER_ENCODE_H
#define EMB_TOKENIZER_ENCODE_H

#include "common/utf8.h"
#include "tokenizer/block.h"
#include "tokenizer/unicode.h"

/* stop is polled each time this many units of work (mostly characters) are done. */
#define EMB_TOK_STOP_WORK		65536

typedef enum EmbTokEvent
{
	EMB_TOK_CHAR,				/* a code point */
	EMB_TOK_TOKEN,				/* an added token; EmbTokEncoder.token_id */
	EMB_TOK_END,				/* end of the text */
	EMB_TOK_MORE,				/* end of the prefix: the next event depends on the rest of the text */
	EMB_TOK_FAIL				/* EmbTokEncoder.status and err are filled */
} EmbTokEvent;

/* A place in the raw text. Reading on from a copy returns the same events again. */
typedef struct EmbTokRaw
{
	size_t		pos;
	size_t		no_match_before;	/* added tokens may match from here on */
	size_t		skip_before;		/* an rstrip has dropped the characters before this place */
	size_t		looked_before;		/* the spaces before this place precede no token with lstrip */
} EmbTokRaw;

/* The state of a step of steps.c. Zero: at the start of a segment. */
typedef struct EmbTokStepPlace
{
	uint32_t	map_at;			/* PRECOMPILED: the unread part of a replacement in the map's text */
	uint32_t	map_end;
	EmbUniCluster cluster;		/* PRECOMPILED: the cluster that is read by code point */
	uint8_t		n_lower;		/* LOWERCASE: code points still to return */
	uint8_t		next_lower;
	bool		inside;			/* STRIP: something other than white space was read */
	uint8_t		verdict;		/* STRIP: on this run of white space: 0 none yet, 1 keep, 2 drop */
	uint32_t	lower[EMB_UNI_LOWER_MAX];
} EmbTokStepPlace;

#define EMB_TOK_MARKS_MAX	32	/* a longer run of marks is read once per class */

/* The decomposed text: the unread code points of the character before a place. */
typedef struct EmbTokForm
{
	EmbTokRaw	raw;
	uint8_t		next;
	uint8_t		n_codes;
	uint32_t	codes[EMB_UNI_COMPAT_MAX];
	EmbTokStepPlace steps[EMB_TOK_MAX_STEPS - 1];	/* of the steps before */
} EmbTokForm;

/* The state of NFC, NFD, NFKC or NFKD. Zero: between two characters. */
typedef struct EmbTokCompose
{
	uint8_t		step;			/* its number */
	bool		composes;		/* NFC, NFKC */
	bool		compat;			/* NFKC, NFKD */

	uint8_t		next_out;		/* in out: composed code points still to return */
	uint8_t		n_out;
	uint8_t		next;			/* in codes: the decomposed character before raw, still to compose */
	uint8_t		n_codes;
	uint32_t	codes[EMB_UNI_COMPAT_MAX];
	uint32_t	out[1 + EMB_TOK_MARKS_MAX];

	bool		ordering;		/* a long run of marks is read once per class */
	uint8_t		order_now;
	uint8_t		n_removed;		/* omits the first marks of the classes in removed: they are composed */
	uint8_t		skip;			/* marks of class order_now still to omit */
	uint8_t		removed[EMB_UNI_DECOMPOSED_MAX];
	uint64_t	orders_left;
	EmbTokForm	run_start;
} EmbTokCompose;

/*
 * A place in the normalized text. BERT: the raw place after a character, and
 * the unread code points of that character; ordering and lowercase come later,
 * in EmbTokNormal.
 */
typedef struct EmbTokPlace
{
	EmbTokRaw	raw;
	union
	{
		struct
		{
			uint8_t		next;
			uint8_t		n_codes;
			uint32_t	codes[EMB_UNI_DECOMPOSED_MAX + 2];	/* with the two spaces around an ideograph */
		};
		struct
		{
			EmbTokStepPlace steps[EMB_TOK_MAX_STEPS];
			EmbTokCompose compose;
		};
	};
} EmbTokPlace;

/* Unigram: the best lattice path to a place in the word. */
typedef struct EmbTokNode
{
	double		score;
	int32_t		id;				/* of the last piece; at an entry, the index of the path that leads to it */
	uint16_t	start;			/* of the last piece, or one of EMB_TOK_NODE_ */
	uint16_t	next;
} EmbTokNode;

#define EMB_TOK_NODE_UNSET	0xFFFF
#define EMB_TOK_NODE_ENTRY	0xFFFE

/* Unigram: one of several lattice paths through text that is no longer kept. */
typedef struct EmbTokWay
{
	int64_t		count;			/* ids on the path */
	int32_t	   *ids;			/* [capacity], the first n_ids of them */
	int32_t		n_ids;
	int32_t		capacity;
	bool		unknown;		/* the path's last id is the unknown token */
} EmbTokWay;

/* BPE: the linked symbols of a long word, and which pair merges next; bpe.c. */
typedef struct EmbTokSymbols EmbTokSymbols;

/*
 * The state of each stage between two calls. A stage writes only its own struct.
 * A stage that bypasses the stages before it (read_fast) reports that to them
 * by emb_tok_window_passed and emb_tok_steps_passed.
 */

/* normalize.c: what BERT's normalizer has read beyond EmbTokEncoder.place. */
typedef struct EmbTokNormal
{
	bool		ordering;		/* a run of non-starters is read once per combining class */
	uint8_t		n_lower;		/* lowercase code points still to return */
	uint8_t		next_lower;
	uint32_t	order_now;		/* the class of this pass */
	uint32_t	orders_left;	/* bit k: class k is still to come */
	EmbTokPlace run_start;
	uint32_t	lower[EMB_UNI_LOWER_MAX];
} EmbTokNormal;

/* added.c: the window over the normalized text. Used only if tokens are matched there. */
typedef struct EmbTokWindow
{
	uint32_t	start;
	uint32_t	end;
	bool		ended;			/* event follows */
	EmbTokEvent event;
	int32_t		token_id;		/* EmbTokEncoder.token_id of that event */
	uint32_t	no_match;		/* bytes at the start of the window where no token may match */
	bool		eaten;			/* only spaces are between a token with rstrip and the window */
	uint8_t		verdict;		/* on white space at the window's start: 0 none yet, 1 keep, 2 drop */
	uint32_t	before;			/* the character before the window; 0 at the start of a segment */
	uint8_t		bytes[2 * (EMB_TOK_MAX_ADDED_BYTES + EMB_UTF8_MAX_BYTES)];
} EmbTokWindow;

/* metaspace.c, bytelevel.c: the segment being read. */
typedef struct EmbTokSegment
{
	bool		inside;			/* some of the segment was read */
	bool		is_first;		/* the segment starts where the text starts */
} EmbTokSegment;

/* unigram.c: the part of the word whose best path is still open. */
typedef struct EmbTokLattice
{
	uint32_t	n_nodes;		/* EmbTokEncoder.nodes[0 .. n_nodes) are valid */
	uint32_t	next_start;		/* pieces that start here or later are not yet looked up */
	bool		unknown;		/* the last id of this word is the unknown token */
	int			n_ways;			/* 0: one path led to the entry, and its ids are emitted */
	EmbTokWay  *ways;			/* [n_ways] */
} EmbTokLattice;

/*
 * bytelevel.c, bpe.c: the n_word_bytes whose ids are not yet emitted. The first
 * held bytes are the longest match so far, without the bytes that are dropped.
 */
typedef struct EmbTokByteRun
{
	uint8_t    *bytes;			/* [size]; EmbTokEncoder.word until that is too short */
	size_t		size;
	uint8_t		state;			/* of the pattern; EMB_TOK_STATE_START: no bytes */
	bool		matched;		/* there is a match, which may be of bytes that are all dropped */
	size_t		held;
	bool		parted;			/* ids of the start of this word were emitted */
	bool		unknown;		/* the segment's last id is the unknown token; only if these fuse */
	size_t		part_at;		/* try to emit ids again when this many bytes are kept */
	size_t		read_to;		/* how far the text was looked at */
	EmbTokSymbols *symbols;		/* NULL until a word is long */
} EmbTokByteRun;

/* wordpiece.c, unigram.c, bpe.c: where ids go. */
typedef struct EmbTokOut
{
	int32_t    *ids;			/* [max_ids]; further ids are only counted */
	int32_t		max_ids;
	int64_t		n_ids;
	bool		done;			/* the text is used up */
} EmbTokOut;

typedef struct EmbTokEncoder
{
	const EmbTokenizer *tok;
	const uint8_t *text;
	size_t		len;
	bool		complete;
	const EmbStop *stop;
	EmbError   *err;
	EmbStatus	status;
	int32_t		work_left;		/* until stop is polled */
	int32_t		token_id;		/* of EMB_TOK_TOKEN */

	EmbTokPlace place;			/* how far the text is read */
	EmbTokNormal normal;
	EmbTokSegment segment;
	EmbTokLattice lattice;
	EmbTokByteRun run;
	EmbTokOut	out;

	/* the word being read: the stage that splits writes it, the stage that looks it up reads it */
	int32_t		n_word_chars;	/* WordPiece only */
	uint32_t	n_word_bytes;
	union
	{
		uint8_t		word[EMB_TOK_MAX_WORD_CHARS * EMB_UTF8_MAX_BYTES];
		struct
		{
			uint8_t		open[EMB_TOK_OPEN_BYTES];	/* [n_word_bytes] */
			EmbTokNode	nodes[EMB_TOK_OPEN_BYTES + 1];
			uint16_t	path[EMB_TOK_OPEN_BYTES + 1];
		};
	};
	EmbTokWindow window;
} EmbTokEncoder;

extern void emb_tok_forget_ways(EmbTokEncoder *e);

/* ids: [max_ids], where the encoder writes ids. */
extern void emb_tok_encoder_init(EmbTokEncoder *e, const EmbTokenizer *tok, const EmbText *text,
								 int32_t *ids, int32_t max_ids, const EmbStop *stop, EmbError *err);

/*
 * Runs until more than limit ids are certain (EMB_TOK_CHAR), the text is used
 * up (EMB_TOK_END; e->out.done is set), or EMB_TOK_MORE or EMB_TOK_FAIL. After
 * EMB_TOK_CHAR it may be called again with a higher limit.
 */
extern EmbTokEvent emb_tok_encoder_run(EmbTokEncoder *e, int64_t limit);

extern void emb_tok_forget_run(EmbTokEncoder *e);

/* To be called after the last run, whatever the run returned. */
static inline void
emb_tok_encoder_finish(EmbTokEncoder *e)
{
	if (e->lattice.ways != NULL)
		emb_tok_forget_ways(e);
	if (e->run.symbols != NULL || e->run.bytes != e->word)
		emb_tok_forget_run(e);
}

extern EmbTokEvent emb_tok_next_raw(EmbTokEncoder *e, EmbTokRaw *at, uint32_t *cp);
extern EmbTokEvent emb_tok_next_normalized(EmbTokEncoder *e, uint32_t *cp);
extern EmbTokEvent emb_tok_next_matched(EmbTokEncoder *e, uint32_t *cp);

/* steps.c, precompiled.c */
extern EmbTokEvent emb_tok_next_step(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t *cp);
extern EmbTokEvent emb_tok_next_precompiled(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t *cp);

/*
 * What the steps turn a printable ASCII character into if the next character does
 * not join it. 0: run the steps.
 */
extern uint8_t emb_tok_steps_fast(const EmbTokenizer *tok, uint8_t c);

typedef enum EmbTokMapped
{
	EMB_TOK_MAP_NONE,
	EMB_TOK_MAP_FOUND,
	EMB_TOK_MAP_CORRUPT
} EmbTokMapped;

/*
 * Finds the first prefix of text[0 .. n) that the charsmap maps. Its replacement is
 * a range of map_text.
 */
extern EmbTokMapped emb_tok_map_find(const EmbTokenizer *tok, const uint8_t *text, uint32_t n, uint32_t *at, uint32_t *end);
extern EmbStatus emb_tok_map_check(const EmbTokenizer *tok, EmbError *err);

/* Whether no step holds anything back: the next event depends on the text alone. */
extern bool emb_tok_steps_idle(const EmbTokEncoder *e);
/* To be called after text was read that bypassed the steps because none would change it. */
extern void emb_tok_steps_passed(EmbTokEncoder *e);

/* compose.c: NFC, NFD, NFKC or NFKD of what the step before gives. */
extern EmbTokEvent emb_tok_next_composed(EmbTokEncoder *e, EmbTokPlace *at, int step, uint32_t *cp);
extern bool emb_tok_compose_idle(const EmbTokCompose *c);

/*
 * The loop that drives the stages, for each kind of splitting: pretokenize.c,
 * metaspace.c, bytelevel.c, charlevel.c.
 */
extern EmbTokEvent emb_tok_run_words(EmbTokEncoder *e, int64_t limit);
extern EmbTokEvent emb_tok_run_metaspace(EmbTokEncoder *e, int64_t limit);
extern EmbTokEvent emb_tok_run_bytelevel(EmbTokEncoder *e, int64_t limit);
extern EmbTokEvent emb_tok_run_charlevel(EmbTokEncoder *e, int64_t limit);

/* bytelevel.c: appends to the kept bytes. False: e->status is set. */
extern bool emb_tok_push_bytes(EmbTokEncoder *e, const uint8_t *bytes, size_t n);

/*
 * bpe.c: encodes a word of n > 0 bytes. give_part: e->run.bytes[0 .. n) starts a
 * word that may go on; emits the ids that are certain, if any, and forgets their
 * text. give_rest: the last part of such a word. False: e->status is set.
 */
extern bool emb_tok_give_word(EmbTokEncoder *e, const uint8_t *word, size_t n);
extern bool emb_tok_give_part(EmbTokEncoder *e, size_t n);
extern bool emb_tok_give_rest(EmbTokEncoder *e, const uint8_t *word, size_t n);

/* Must be more than twice EMB_TOK_MAX_BPE_BYTES; several times as much pays off. */
#define EMB_TOK_PART_BYTES	8192
#define EMB_TOK_PART_BYTES_MAX	65536

/*
 * For building tables: merges a word of n <= EMB_TOK_MAX_BPE_BYTES bytes. ids: [n].
 * Returns the number of ids.
 */
extern uint32_t emb_tok_merge_word(const EmbTokenizer *tok, const uint8_t *word, uint32_t n, uint32_t *ids);

/* Where the look-up of a pair or word starts. */
static inline uint32_t
emb_tok_hash(uint64_t key, uint32_t bits)
{
	return (uint32_t) ((key * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - bits));
}

static inline uint32_t
emb_tok_hash_pair(uint32_t left, uint32_t right, uint32_t bits)
{
	return emb_tok_hash((uint64_t) left << 32 | right, bits);
}

/* text: [n_words] the word's bytes, padded with zeros. */
static inline uint32_t
emb_tok_hash_word(const uint64_t *text, int n_words, uint32_t bits)
{
	uint64_t	key = text[0];

	for (int i = 1; i < n_words; i++)
		key = (key ^ key >> 29) * UINT64_C(0xBF58476D1CE4E5B9) + text[i];
	return emb_tok_hash(key ^ key >> 32, bits);
}

/*
 * unigram.c. open_word: e->open holds n_word_bytes of a word that goes on; makes
 * room for a character. end_open_word: the word is complete. False: e->status is set.
 */
extern bool emb_tok_open_word(EmbTokEncoder *e);
extern bool emb_tok_end_open_word(EmbTokEncoder *e);

/* Emits the ids of the word e->word. False: e->status is set. */
extern bool emb_tok_emit_word(EmbTokEncoder *e);

/* encode.c */
extern EmbTokEvent emb_tok_stop_event(EmbTokEncoder *e);

/* Counts work, and polls stop when due. True: stopped, e->status is set. */
static inline bool
emb_tok_work(EmbTokEncoder *e, int32_t amount)
{
	e->work_left -= amount;
	return e->work_left < 0 && emb_tok_stop_event(e) == EMB_TOK_FAIL;
}

/* Sets e->status. */
extern EmbTokEvent emb_tok_corrupt(EmbTokEncoder *e);

/* Appends an id to the output. False: e->status is set. */
static inline bool
emb_tok_emit_id(EmbTokEncoder *e, int32_t id)
{
	if (id < 0 || id >= e->tok->header->n_vocab)
	{
		emb_tok_corrupt(e);
		return false;
	}
	if (e->out.n_ids < e->out.max_ids)
		e->out.ids[e->out.n_ids] = id;
	e->out.n_ids++;
	return true;
}

/* Whether added.c holds nothing back. */
static inline bool
emb_tok_window_idle(const EmbTokWindow *w)
{
	return w->start == w->end && !w->ended && !w->eaten && w->no_match == 0 && w->verdict == 0;
}

/* To be called after text that ends with cp has bypassed an idle window. */
static inline void
emb_tok_window_passed(EmbTokWindow *w, uint32_t cp)
{
	w->before = cp;
}

#endif
