/*
 * regex.h
 *		The regular expressions by which tokenizers split text, as a tree.
 *
 * A subset of the syntax of the reference library (Oniguruma, Ruby's syntax):
 * alternatives, groups, greedy ? * + {n,m}, characters, escapes, classes in
 * brackets, \s \S \d \D, general categories (\p{L}, \p{Lu}, \P{N}, \p{^M}), case
 * folding of ASCII ((?i: )), and look-ahead for one character ((?!\S), (?=\s)).
 * Everything else is refused by name.
 */
#ifndef EMB_TOKENIZER_REGEX_H
#define EMB_TOKENIZER_REGEX_H

#include "common/error.h"
#include "common/mem.h"
#include "tokenizer/unicode.h"

#define EMB_REGEX_BYTES_MAX		2048	/* of the text */
#define EMB_REGEX_NODES_MAX		1024
#define EMB_REGEX_SETS_MAX		64
#define EMB_REGEX_RANGES_MAX	64		/* of one set */
#define EMB_REGEX_REPEAT_MAX	32		/* n in {n,m} */
#define EMB_REGEX_FOREVER		UINT8_MAX	/* no largest number of repeats */

typedef struct EmbRegexRange
{
	uint32_t	first;
	uint32_t	last;
} EmbRegexRange;

/* A set of characters: what is in one of categories or ranges; negated: what is in none. */
typedef struct EmbRegexSet
{
	uint32_t	categories;		/* bit i: general category i of unicode.h */
	bool		negated;
	int			n_ranges;
	EmbRegexRange ranges[EMB_REGEX_RANGES_MAX];
} EmbRegexSet;

typedef enum EmbRegexKind
{
	EMB_REGEX_EMPTY,
	EMB_REGEX_SET,				/* a character of set */
	EMB_REGEX_LOOK,				/* the next character is of set; absent: it is not, or there is none */
	EMB_REGEX_SEQUENCE,			/* a, then b */
	EMB_REGEX_CHOICE,			/* a, or else b */
	EMB_REGEX_REPEAT			/* a, as often as possible */
} EmbRegexKind;

typedef struct EmbRegexNode
{
	EmbRegexKind kind;
	uint8_t		set;
	bool		absent;
	uint8_t		min;
	uint8_t		max;			/* or EMB_REGEX_FOREVER */
	uint16_t	a;				/* indexes of nodes */
	uint16_t	b;
} EmbRegexNode;

typedef struct EmbRegex
{
	int			root;
	int			n_nodes;
	int			n_sets;
	EmbRegexNode nodes[EMB_REGEX_NODES_MAX];
	EmbRegexSet sets[EMB_REGEX_SETS_MAX];	/* all different */
} EmbRegex;

/*
 * Reads text[0 .. n). EMB_ERR_UNSUPPORTED: the message says what is not
 * supported, and where. EMB_ERR_LIMIT: the expression is too large.
 */
extern EmbStatus emb_regex_parse(const char *text, size_t n, EmbRegex *regex, EmbError *err);

/* Whether a set has a character of this category. */
extern bool emb_regex_set_has(const EmbRegexSet *set, uint32_t cp, uint8_t category);

#endif
