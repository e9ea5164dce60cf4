/*
 * block.h
 *		The tokenizer's section of an image, and an open tokenizer over it.
 *
 * A block is a header followed by tables. It is little endian and position
 * independent. Each table is aligned to 64 bytes from the start of the block:
 *
 *	pieces		trie of the vocabulary (units and values); value = token id.
 *				BPE: keys are bytes; only pieces that the merges reach are keys
 *	raw			trie of the added tokens matched in the raw text; value = index in added
 *	normalized	trie of the added tokens matched after normalization; value = index in added
 *	added		EmbTokBlockAdded[n_added]
 *	scores		Unigram: f64[n_scores] by token id
 *	map			precompiled_charsmap: a double array of Darts-clone's u32 units
 *	map_text	the map's replacements, each followed by a zero byte
 *	bytes		BPE: i32[256], the id of each byte, -1 if the byte is dropped. BPE of
 *				characters: the ids of ASCII, then of bytes of characters without a piece
 *	pairs		BPE: EmbTokBlockPair[1 << pairs_bits], a hash table of the merges
 *	pattern		BPE of bytes: EmbTokPattern, how a segment is split into words
 *	joints		BPE of characters: EmbTokJoints, between which characters no word ends
 *	words		BPE: two hash tables of the words that are one id: EmbTokBlockWord[1 <<
 *				words_bits[0]], EmbTokBlockLongWord[1 << words_bits[1]]
 *
 * Continuing pieces ("##ing") need no trie of their own: prefix_node is the
 * node of their prefix in the vocabulary's trie.
 */
#ifndef EMB_TOKENIZER_BLOCK_H
#define EMB_TOKENIZER_BLOCK_H

#include "common/utf8.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"

#define EMB_TOK_MAGIC			"EMBTOKEN"
#define EMB_TOK_BLOCK_VERSION	3
#define EMB_TOK_BLOCK_ALIGNMENT	64

#define EMB_TOK_MAX_PIECES		4000000
#define EMB_TOK_MAX_PIECE_BYTES	65535
#define EMB_TOK_MAX_ADDED		16384
/* The encoder keeps a word's characters and tokens on its stack. */
#define EMB_TOK_MAX_WORD_CHARS	4096
/* Bounds the look-ahead in the text. Counts bytes, before and after normalization. */
#define EMB_TOK_MAX_ADDED_BYTES	1024
/* Unigram: bytes kept of a word while its best path is open, and the longest piece. */
#define EMB_TOK_OPEN_BYTES		2048
#define EMB_TOK_MAX_UNIGRAM_BYTES	512
/* BPE: the longest piece in bytes. The encoder has several arrays of this size on its stack. */
#define EMB_TOK_MAX_BPE_BYTES	1024
#define EMB_TOK_MAX_HASH_BITS	24
/* A character map has a multiple of this number of units. */
#define EMB_TOK_MAP_BLOCK		256

/* EmbTokBlockHeader.flags */
#define EMB_TOK_CLEAN_TEXT		0x01
#define EMB_TOK_CHINESE_CHARS	0x02
#define EMB_TOK_STRIP_ACCENTS	0x04
#define EMB_TOK_LOWERCASE		0x08
#define EMB_TOK_HAS_LSTRIP		0x10	/* some token of the raw trie has lstrip */
#define EMB_TOK_SPLIT_SPACES	0x20
#define EMB_TOK_SPLIT_META		0x40
#define EMB_TOK_NORMALIZED_LSTRIP	0x80	/* some token of the normalized trie has lstrip, and spaces count */
#define EMB_TOK_PREFIX_SPACE	0x100
#define EMB_TOK_FALLS_BACK		0x200	/* BPE of characters: a character without a piece is a piece a byte */
#define EMB_TOK_FUSES_UNKNOWN	0x400	/* BPE of characters: adjacent unknown tokens are one */
#define EMB_TOK_FLAGS_ALL		0x7FF

/* EmbTokBlockAdded.flags */
#define EMB_TOK_SINGLE_WORD		0x01
#define EMB_TOK_LSTRIP			0x02
#define EMB_TOK_RSTRIP			0x04

/* 0 u32 flags, 4 i32 id */
typedef struct EmbTokBlockAdded
{
	uint32_t	flags;
	int32_t		id;
} EmbTokBlockAdded;

static_assert(sizeof(EmbTokBlockAdded) == 8, "EmbTokBlockAdded is an on-disk structure");

/* 0 u32 kind, 4 i32 id, 8 i32 type_id */
typedef struct EmbTokBlockSlot
{
	uint32_t	kind;
	int32_t		id;
	int32_t		type_id;
} EmbTokBlockSlot;

static_assert(sizeof(EmbTokBlockSlot) == 12, "EmbTokBlockSlot is an on-disk structure");

/* 0 u64 offset of the units, 8 u64 offset of the values, 16 u32 n_units, 20 u32 zero */
typedef struct EmbTokBlockTrie
{
	uint64_t	units_offset;
	uint64_t	values_offset;
	uint32_t	n_units;
	uint32_t	reserved;
} EmbTokBlockTrie;

static_assert(sizeof(EmbTokBlockTrie) == 24, "EmbTokBlockTrie is an on-disk structure");

/*
 * 0 u32 left, 4 u32 right, 8 u32 rank (EMB_TOK_NO_RANK: a free slot), 12 i32 id.
 * Slots are probed upwards from emb_tok_hash_pair (encode.h), wrapping at the end.
 */
typedef struct EmbTokBlockPair
{
	uint32_t	left;
	uint32_t	right;
	uint32_t	rank;
	int32_t		id;
} EmbTokBlockPair;

static_assert(sizeof(EmbTokBlockPair) == 16, "EmbTokBlockPair is an on-disk structure");

#define EMB_TOK_NO_RANK			0xFFFFFFFFu

/*
 * Words of 1 to 12 and of 13 to 28 bytes, padded with zeros. id -1: a free slot.
 * Probed like pairs.
 */
#define EMB_TOK_WORD_BYTES		12
#define EMB_TOK_LONG_WORD_BYTES	28

typedef struct EmbTokBlockWord
{
	uint8_t		text[EMB_TOK_WORD_BYTES];
	int32_t		id;
} EmbTokBlockWord;

typedef struct EmbTokBlockLongWord
{
	uint8_t		text[EMB_TOK_LONG_WORD_BYTES];
	int32_t		id;
} EmbTokBlockLongWord;

static_assert(sizeof(EmbTokBlockWord) == 16, "EmbTokBlockWord is an on-disk structure");
static_assert(sizeof(EmbTokBlockLongWord) == 32, "EmbTokBlockLongWord is an on-disk structure");

/*
 * The states of a pattern, as pattern.c compiles them. next: the state after a
 * character of a class, with EMB_TOK_MATCH if a word ends before the character. A
 * state is one byte, and a class is masked, so no table leads outside of it.
 *
 * 0 stage1, 4352 stage2, 69888 next, 86272 loops
 */
#define EMB_TOK_CLASSES			32
#define EMB_TOK_CLASS_END		31	/* the end of the segment, in place of a character */
#define EMB_TOK_CLASS_COMPOSES	0x80	/* in stage2 beside the class: EMB_UNI_COMPOSES */
#define EMB_TOK_CLASS_BITS		8
#define EMB_TOK_CLASS_BLOCKS	256
#define EMB_TOK_STATES			256
#define EMB_TOK_STATE_DEAD		0	/* the word is the longest match so far */
#define EMB_TOK_STATE_START		1
#define EMB_TOK_MATCH			0x8000

typedef struct EmbTokPattern
{
	uint8_t		stage1[0x110000 >> EMB_TOK_CLASS_BITS];
	uint8_t		stage2[EMB_TOK_CLASS_BLOCKS][1 << EMB_TOK_CLASS_BITS];
	uint16_t	next[EMB_TOK_STATES][EMB_TOK_CLASSES];
	uint32_t	loops[EMB_TOK_STATES];	/* bit i: class i matches and stays in the state */
} EmbTokPattern;

static_assert(sizeof(EmbTokPattern) == 87296, "EmbTokPattern is an on-disk structure");

/*
 * Whether some merge joins a piece that ends with byte a to one that starts with byte b:
 * bit b % 8 of bits[a][b / 8].
 */
typedef struct EmbTokJoints
{
	uint8_t		bits[256][32];
} EmbTokJoints;

static_assert(sizeof(EmbTokJoints) == 8192, "EmbTokJoints is an on-disk structure");

/*
 *	  0	magic			  8	version			 12	model			 16	unicode_version
 *	 20	flags			 24	size_bytes		 32	n_vocab			 36	unk_id
 *	 40	max_word_chars	 44	prefix_node		 48	n_added			 52	normalized_max
 *	 56	n_slots[2]		 64	slots[2][16]	448	tries[3]		520	added_offset
 *	528	unk_score		536	scores_offset	544	map_offset		552	map_text_offset
 *	560	n_scores		564	n_map_units		568	n_map_text		572	max_piece
 *	576	meta			580	prepend			584	n_steps			588	steps[6]
 *	636	spelling		640	pairs_offset	648	words_offset[2]	664	bytes_offset
 *	672	pairs_bits		676	words_bits[2]	684	zero			688	pattern_offset
 *	696	joints_offset
 */
typedef struct EmbTokBlockHeader
{
	char		magic[8];
	uint32_t	version;
	uint32_t	model;			/* EmbTokModel */
	uint32_t	unicode_version;	/* EMB_UNI_VERSION */
	uint32_t	flags;
	uint64_t	size_bytes;
	int32_t		n_vocab;		/* largest id + 1 */
	int32_t		unk_id;
	int32_t		max_word_chars;
	uint32_t	prefix_node;	/* EMB_TRIE_NONE: no continuing piece */
	uint32_t	n_added;
	uint32_t	normalized_max; /* longest key of the normalized trie, bytes */
	uint32_t	n_slots[2];		/* single, pair */
	EmbTokBlockSlot slots[2][EMB_TOK_MAX_SLOTS];
	EmbTokBlockTrie tries[3];	/* pieces, raw, normalized */
	uint64_t	added_offset;

	/* Unigram; zero otherwise */
	double		unk_score;
	uint64_t	scores_offset;
	uint64_t	map_offset;
	uint64_t	map_text_offset;
	uint32_t	n_scores;
	uint32_t	n_map_units;
	uint32_t	n_map_text;		/* bytes */
	uint32_t	max_piece;		/* bytes of the longest piece */
	uint32_t	meta;			/* code point */
	uint32_t	prepend;		/* EmbTokPrepend */
	uint32_t	n_steps;
	EmbTokStep	steps[EMB_TOK_MAX_STEPS];

	/* BPE (which also uses steps, max_piece; of characters: meta, prepend); zero otherwise */
	uint32_t	spelling;		/* EmbTokSpelling */
	uint64_t	pairs_offset;
	uint64_t	words_offset[2];
	uint64_t	bytes_offset;
	uint32_t	pairs_bits;
	uint32_t	words_bits[2];
	uint32_t	zero_684;
	uint64_t	pattern_offset;	/* BPE of bytes */
	uint64_t	joints_offset;	/* BPE of characters */
} EmbTokBlockHeader;

static_assert(sizeof(EmbTokStep) == 8, "EmbTokStep is an on-disk structure");
static_assert(sizeof(EmbTokBlockHeader) == 704, "EmbTokBlockHeader is an on-disk structure");

/* An unknown character's score is this much below the worst piece's score. */
#define EMB_TOK_UNK_PENALTY		10.0

/*
 * How the encoder's fast path treats a byte of text. A value above FAST_SPACE is
 * the byte to append to the word.
 */
#define EMB_TOK_FAST_SLOW		0	/* left to the slow path */
#define EMB_TOK_FAST_DROP		1
#define EMB_TOK_FAST_PUNCT		2
#define EMB_TOK_FAST_SPACE		3

/*
 * What BPE's fast path sees in a byte, if it is not a class of the pattern: the
 * start of a character of several bytes, or of an added token, or a zero byte.
 * All are below 64, and EmbTokPattern.loops has no bit for them.
 */
#define EMB_TOK_FAST_MULTIBYTE	32
#define EMB_TOK_FAST_TOKEN		33
#define EMB_TOK_FAST_CHAR		35	/* BPE of characters: stays as it is */
#define EMB_TOK_FAST_BLANK		34	/* U+0020, with which some normalized added token starts; of characters: any */

struct EmbTokenizer
{
	EmbAllocator mem;
	EmbTokBlockHeader header_copy;	/* the checked header: the block may be a file that changes */
	const EmbTokBlockHeader *header;	/* of the copy */
	EmbTrie		pieces;
	EmbTrie		raw;
	EmbTrie		normalized;
	const EmbTokBlockAdded *added;	/* [n_added] */
	const double *scores;		/* [n_scores] */
	const uint32_t *map;		/* [n_map_units] */
	const uint8_t *map_text;	/* [n_map_text] */
	const EmbTokBlockPair *pairs;	/* [1 << pairs_bits] */
	const EmbTokBlockWord *words;	/* [1 << words_bits[0]] */
	const EmbTokBlockLongWord *long_words;	/* [1 << words_bits[1]] */
	const int32_t *bytes;		/* [256] */
	const EmbTokPattern *pattern;
	uint8_t		blank_class;	/* BPE of bytes: of U+0020 */
	bool		blank_may[256]; /* whether a normalized added token may match at U+0020 and this byte */
	uint32_t	space_classes;	/* bits: the classes of ASCII white space */
	const EmbTokJoints *joints;
	bool		of_chars;		/* BPE's first symbols are characters */
	bool		falls_back;		/* EMB_TOK_FALLS_BACK */
	bool		fuses;			/* EMB_TOK_FUSES_UNKNOWN */
	uint8_t		blank[EMB_UTF8_MAX_BYTES];	/* BPE of characters: what U+0020 becomes, and its length */
	uint8_t		n_blank;
	bool		drops;			/* some byte is dropped */
	bool		composes;		/* BPE of bytes: the first step is NFC. Unigram: some step is a form of Unicode */
	bool		plain;			/* there is no other step, and no byte is dropped */
	int			n_special[2];	/* special slots of the templates */
	uint8_t		fast[256];
	bool		raw_first[256]; /* whether a raw added token starts with the byte */
	bool		normalized_first[256];
};

#endif
