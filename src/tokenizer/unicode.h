/*
 * unicode.h
 *		What the reference library does to each code point.
 *
 * The tables come from scripts/gen_unicode_tables.py, not from a Unicode
 * release, because the library mixes tables of several releases. All functions
 * take any value up to U+10FFFF.
 */
#ifndef EMB_TOKENIZER_UNICODE_H
#define EMB_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/* Stored in every tokenizer block, because other tables produce other ids. */
#define EMB_UNI_VERSION		2

#define EMB_UNI_SPACE		0x001	/* BertPreTokenizer splits here and drops it; lstrip and rstrip drop it */
#define EMB_UNI_PUNCT		0x002	/* BertPreTokenizer makes it a word of its own */
#define EMB_UNI_CLEAN_DROP	0x004	/* clean_text removes it */
#define EMB_UNI_CLEAN_SPACE	0x008	/* clean_text makes it U+0020 */
#define EMB_UNI_CJK			0x010	/* handle_chinese_chars puts spaces around it */
#define EMB_UNI_MN			0x020	/* strip_accents removes it */
#define EMB_UNI_WORD		0x040	/* \w to single_word */
#define EMB_UNI_NONSTARTER	0x080	/* canonical combining class is not 0 */
#define EMB_UNI_LOWER_MULTI	0x100	/* lowercases to several code points */
#define EMB_UNI_LETTER		0x200	/* \p{L}, then \p{N}, in the patterns of byte-level BPE; \s is EMB_UNI_SPACE */
#define EMB_UNI_NUMBER		0x400
#define EMB_UNI_COMPOSES	0x800	/* NFC changes it, composes it with the code point before, or reorders the two */
#define EMB_UNI_NMT_DROP	0x1000	/* Nmt removes it, makes it U+0020 */
#define EMB_UNI_NMT_SPACE	0x2000
#define EMB_UNI_MARK		0x4000	/* StripAccents removes it */
#define EMB_UNI_COMPAT		0x8000	/* NFKD and NFD differ */

/* The general categories, in the order of emb_uni_category_names. */
#define EMB_UNI_N_CATEGORIES	30

/* EmbUniRecord.cluster: the class in the rules of grapheme clusters, and two bits */
#define EMB_UNI_GC_OTHER		0
#define EMB_UNI_GC_CR			1
#define EMB_UNI_GC_LF			2
#define EMB_UNI_GC_CONTROL		3
#define EMB_UNI_GC_EXTEND		4
#define EMB_UNI_GC_ZWJ			5
#define EMB_UNI_GC_PREPEND		6
#define EMB_UNI_GC_SPACING		7
#define EMB_UNI_GC_L			8	/* Hangul: leading, vowel, trailing jamo, and syllables made of them */
#define EMB_UNI_GC_V			9
#define EMB_UNI_GC_T			10
#define EMB_UNI_GC_LV			11
#define EMB_UNI_GC_LVT			12
#define EMB_UNI_GC_PICTURE		13	/* Extended_Pictographic */
#define EMB_UNI_GC_CONSONANT	14	/* Indic_Conjunct_Break=Consonant */
#define EMB_UNI_GC_CLASS		0x0F
#define EMB_UNI_GC_CONJOINS		0x10	/* Indic_Conjunct_Break=Extend */
#define EMB_UNI_GC_LINKS		0x20	/* Indic_Conjunct_Break=Linker */

typedef struct EmbUniRecord
{
	uint16_t	flags;
	uint8_t		order;			/* rank of the combining class of a non-starter that strip_accents keeps, from 1 */
	uint8_t		cluster;
	int32_t		lower_delta;	/* lowercase is cp + lower_delta, unless EMB_UNI_LOWER_MULTI */
} EmbUniRecord;

typedef struct EmbUniMulti
{
	uint32_t	code;
	uint32_t	n;
	uint32_t	codes[3];
} EmbUniMulti;

/* emb_uni_compose's pairs */
typedef struct EmbUniPair
{
	uint32_t	first;
	uint32_t	second;
	uint32_t	composed;
} EmbUniPair;

/* emb_uni_decompose_compat's sequences */
typedef struct EmbUniCompat
{
	uint32_t	code;
	uint16_t	at;
	uint16_t	n;
} EmbUniCompat;

#define EMB_UNI_DECOMPOSED_MAX	4
#define EMB_UNI_COMPAT_MAX	18
#define EMB_UNI_CLASSES_MAX	64
#define EMB_UNI_LOWER_MAX		3

extern const EmbUniRecord *emb_uni_record(uint32_t cp);

/* Full canonical decomposition, not reordered. Returns 1 code point if cp does not decompose. */
extern int	emb_uni_decompose(uint32_t cp, uint32_t out[EMB_UNI_DECOMPOSED_MAX]);

/* The same for full compatibility decomposition (NFKD). */
extern int	emb_uni_decompose_compat(uint32_t cp, uint32_t out[EMB_UNI_COMPAT_MAX]);

/* General category to regular expressions: an index into the names ("Lu", "Ll", ...). */
extern uint8_t emb_uni_category(uint32_t cp);
extern const char emb_uni_category_names[EMB_UNI_N_CATEGORIES][3];

/*
 * Rank of the canonical combining class, below EMB_UNI_CLASSES_MAX; 0: a starter.
 * cp must not decompose.
 */
extern uint8_t emb_uni_class(uint32_t cp);

/* The code point that NFC composes from a pair, or 0. */
extern uint32_t emb_uni_compose(uint32_t first, uint32_t second);

/* The state of the cluster read so far. Zero: none was read yet. */
typedef struct EmbUniCluster
{
	uint8_t		before;			/* cluster of the last code point */
	uint8_t		picture;		/* 1: a picture and its extensions, 2: the same, followed by a joiner */
	uint8_t		conjunct;		/* 1: a consonant and its extensions, 2: the same, with a linker among them */
	bool		open;			/* a code point was read */
} EmbUniCluster;

/*
 * Takes the next code point. Returns whether it belongs to the cluster so far.
 * These are extended grapheme clusters (UAX #29, GB3 to GB11), except that a pair
 * of regional indicators counts as two clusters.
 */
extern bool emb_uni_cluster_take(EmbUniCluster *state, uint32_t cp);

extern int	emb_uni_lower(uint32_t cp, uint32_t out[EMB_UNI_LOWER_MAX]);

#endif
