/*
 * regex.c
 *		Parses regular expressions: regex.h.
 */
#include "tokenizer/regex.h"

#include <string.h>

#include "common/utf8.h"

#define DEPTH_MAX	16
#define LONG_S		0x17F
#define KELVIN		0x212A

typedef struct Parser
{
	const uint8_t *text;
	size_t		n;
	size_t		at;
	int			depth;
	bool		folds;			/* inside (?i: ) */
	uint32_t	before;			/* folds: the literal letter just before, in lower case; 0: none */
	EmbRegex   *regex;
	EmbError   *err;
	EmbStatus	status;
} Parser;

/* Returns 0, which is the index of the empty node. */
static uint16_t
refuse(Parser *p, size_t at, const char *what)
{
	if (p->status == EMB_OK)
		p->status = emb_error(p->err, EMB_ERR_UNSUPPORTED, "%s at byte %zu", what, at);
	return 0;
}

static uint16_t
too_large(Parser *p, const char *what, int max)
{
	if (p->status == EMB_OK)
		p->status = emb_error(p->err, EMB_ERR_LIMIT, "more than %d %s", max, what);
	return 0;
}

static uint16_t
add_node(Parser *p, EmbRegexNode node)
{
	if (p->regex->n_nodes == EMB_REGEX_NODES_MAX)
		return too_large(p, "parts", EMB_REGEX_NODES_MAX);
	p->regex->nodes[p->regex->n_nodes] = node;
	return (uint16_t) p->regex->n_nodes++;
}

static inline bool
next_is(const Parser *p, const char *what)
{
	size_t		len = strlen(what);

	return p->n - p->at >= len && memcmp(p->text + p->at, what, len) == 0;
}

static inline bool
take(Parser *p, const char *what)
{
	if (!next_is(p, what))
		return false;
	p->at += strlen(what);
	return true;
}

/* ------------------------------------------------------------------ sets */

bool
emb_regex_set_has(const EmbRegexSet *set, uint32_t cp, uint8_t category)
{
	bool		has = (set->categories >> category & 1) != 0;

	for (int i = 0; i < set->n_ranges && !has; i++)
		has = cp >= set->ranges[i].first && cp <= set->ranges[i].last;
	return has != set->negated;
}

static void
add_range(Parser *p, EmbRegexSet *set, uint32_t first, uint32_t last)
{
	if (set->n_ranges == EMB_REGEX_RANGES_MAX)
		too_large(p, "ranges in a class", EMB_REGEX_RANGES_MAX);
	else
		set->ranges[set->n_ranges++] = (EmbRegexRange) {first, last};
}

/*
 * A letter in either case. The library also matches a few pairs of letters as
 * one character (ligatures), so pairs that may be such are refused.
 */
static void
add_folded(Parser *p, EmbRegexSet *set, uint32_t cp, size_t at)
{
	uint32_t	lower = cp | 0x20;

	if (cp >= 0x80)
		refuse(p, at, "a character that is not ASCII inside (?i: )");
	else if (lower < 'a' || lower > 'z')
		add_range(p, set, cp, cp);
	else
	{
		add_range(p, set, lower, lower);
		add_range(p, set, lower - 0x20, lower - 0x20);
		if (lower == 's' || lower == 'k')
			add_range(p, set, lower == 's' ? LONG_S : KELVIN, lower == 's' ? LONG_S : KELVIN);
	}
}

static void
add_char(Parser *p, EmbRegexSet *set, uint32_t cp, size_t at)
{
	if (p->folds)
		add_folded(p, set, cp, at);
	else
		add_range(p, set, cp, cp);
}

/* White space: the categories Z, and the controls among it. */
static void
add_space(Parser *p, EmbRegexSet *set)
{
	for (int i = 0; i < EMB_UNI_N_CATEGORIES; i++)
		if (emb_uni_category_names[i][0] == 'Z')
			set->categories |= UINT32_C(1) << i;
	add_range(p, set, '\t', '\r');
	add_range(p, set, 0x85, 0x85);
}

/*
 * Everything but white space. Categories cannot say it, for the controls among
 * white space share their category with others.
 */
static void
add_no_space(Parser *p, EmbRegexSet *set)
{
	for (int i = 0; i < EMB_UNI_N_CATEGORIES; i++)
		if (emb_uni_category_names[i][0] != 'Z' && strcmp(emb_uni_category_names[i], "Cc") != 0)
			set->categories |= UINT32_C(1) << i;
	add_range(p, set, 0, 8);
	add_range(p, set, 0xE, 0x1F);
	add_range(p, set, 0x7F, 0x84);
	add_range(p, set, 0x86, 0x9F);
}

/* "L" or "Lu": the bits of the categories that the name starts; 0: none. */
static uint32_t
categories_named(const uint8_t *name, size_t n)
{
	uint32_t	bits = 0;

	for (int i = 0; i < EMB_UNI_N_CATEGORIES && n >= 1 && n <= 2; i++)
		if (memcmp(emb_uni_category_names[i], name, n) == 0)
			bits |= UINT32_C(1) << i;
	return bits;
}

/* After \p or \P: {L}, {Lu}, {^L}. */
static void
add_property(Parser *p, EmbRegexSet *set, bool inverted, size_t start)
{
	const uint8_t *end;
	uint32_t	bits = 0;
	size_t		from;

	if (!take(p, "{"))
	{
		refuse(p, start, "a property without braces");
		return;
	}
	inverted ^= take(p, "^");
	from = p->at;
	end = memchr(p->text + from, '}', p->n - from);
	if (end != NULL)
	{
		bits = categories_named(p->text + from, (size_t) (end - p->text) - from);
		p->at = (size_t) (end - p->text) + 1;
	}
	if (bits == 0)
		refuse(p, start, "a property that is no general category");
	set->categories |= inverted ? ~bits & ((UINT32_C(1) << EMB_UNI_N_CATEGORIES) - 1) : bits;
}

static int
hex_digit(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* n_min to n_max digits. */
static uint32_t
take_hex(Parser *p, int n_min, int n_max, size_t start)
{
	uint32_t	value = 0;
	int			n = 0;

	for (; n < n_max && p->at < p->n && hex_digit(p->text[p->at]) >= 0; n++)
		value = value << 4 | (uint32_t) hex_digit(p->text[p->at++]);
	if (n < n_min || value == 0 || value > 0x10FFFF || value - 0xD800 < 0x800)
		refuse(p, start, "a number that is no character");
	return value;
}

/*
 * After a backslash. Adds to set what stands for many characters, and returns 0;
 * otherwise returns the character.
 */
static uint32_t
take_escape(Parser *p, EmbRegexSet *set, size_t start)
{
	uint32_t	digits = categories_named((const uint8_t *) "Nd", 2);
	uint32_t	cp;
	uint8_t		c;

	if (p->at == p->n)
		return refuse(p, start, "a backslash at the end");
	switch (c = p->text[p->at++])
	{
		case 'r':
			return '\r';
		case 'n':
			return '\n';
		case 't':
			return '\t';
		case 'f':
			return '\f';
		case 'v':
			return '\v';
		case 's':
			add_space(p, set);
			return 0;
		case 'S':
			add_no_space(p, set);
			return 0;
		case 'd':
			set->categories |= digits;
			return 0;
		case 'D':
			set->categories |= ~digits & ((UINT32_C(1) << EMB_UNI_N_CATEGORIES) - 1);
			return 0;
		case 'p':
		case 'P':
			add_property(p, set, c == 'P', start);
			return 0;
		case 'u':
			return take_hex(p, 4, 4, start);
		case 'x':
			if (!take(p, "{"))
				return take_hex(p, 2, 2, start);
			cp = take_hex(p, 1, 6, start);
			if (!take(p, "}"))
				refuse(p, start, "a number that is no character");
			return cp;
		default:
			/* Letters and digits have meanings that are not known here. */
			if ((c | 0x20) - 'a' + 0u < 26 || (c >= '0' && c <= '9') || c >= 0x80)
				return refuse(p, start, "an escape");
			return c;
	}
}

/* A character as it is written. */
static uint32_t
take_char(Parser *p)
{
	uint32_t	cp = 0;
	int			n = emb_utf8_decode(p->text + p->at, p->n - p->at, &cp);

	if (n == 0 || cp == 0)
		return refuse(p, p->at, "a byte that is no character");
	p->at += (size_t) n;
	return cp;
}

/* Adds a set unless the same one is there already. */
static uint16_t
add_set(Parser *p, const EmbRegexSet *set, EmbRegexNode node)
{
	EmbRegex   *regex = p->regex;
	int			i = 0;

	while (i < regex->n_sets && memcmp(&regex->sets[i], set, sizeof(*set)) != 0)
		i++;
	if (i == EMB_REGEX_SETS_MAX)
		return too_large(p, "sets of characters", EMB_REGEX_SETS_MAX);
	if (i == regex->n_sets)
		regex->sets[regex->n_sets++] = *set;
	node.set = (uint8_t) i;
	return add_node(p, node);
}

/* Characters and ranges up to the closing bracket. */
static uint16_t
take_class(Parser *p)
{
	EmbRegexSet set;
	size_t		start = p->at - 1;
	bool		any = false;

	memset(&set, 0, sizeof(set));
	set.negated = take(p, "^");
	if (set.negated && p->folds)
		return refuse(p, start, "a negated class inside (?i: )");
	while (p->status == EMB_OK && !next_is(p, "]"))
	{
		size_t		at = p->at;
		uint32_t	first;
		uint32_t	last;

		if (p->at == p->n)
			return refuse(p, start, "a class without its end");
		if (next_is(p, "[") || next_is(p, "&&"))
			return refuse(p, at, "a class inside a class, or an intersection,");
		any = true;
		first = take(p, "\\") ? take_escape(p, &set, at) : take_char(p);
		if (first == 0)
			continue;
		if (!next_is(p, "-") || (p->n - p->at > 1 && p->text[p->at + 1] == ']'))
		{
			add_char(p, &set, first, at);
			continue;
		}
		p->at++;
		if (p->folds)
			return refuse(p, at, "a range inside (?i: )");
		if (next_is(p, "["))
			return refuse(p, at, "a class inside a class, or an intersection,");
		last = take(p, "\\") ? take_escape(p, &set, at) : p->at < p->n ? take_char(p) : 0;
		if (last < first)
			return refuse(p, at, "a range without its end, or in the wrong order,");
		add_range(p, &set, first, last);
	}
	p->at++;
	p->before = 0;
	if (!any)
		return refuse(p, start, "an empty class");
	return add_set(p, &set, (EmbRegexNode) {.kind = EMB_REGEX_SET});
}

/* ---------------------------------------------------------- expressions */

static uint16_t take_choice(Parser *p);

/* The set that a look-ahead asks for: one character, no more. */
static uint16_t
take_look(Parser *p, bool absent, size_t start)
{
	uint16_t	body = take_choice(p);
	EmbRegexNode node = p->regex->nodes[body];

	if (p->status == EMB_OK && node.kind != EMB_REGEX_SET)
		return refuse(p, start, "a look-ahead for more than one character");
	node.kind = EMB_REGEX_LOOK;
	node.absent = absent;
	return p->status == EMB_OK ? add_node(p, node) : 0;
}

/* After an opening parenthesis. */
static uint16_t
take_group(Parser *p, size_t start)
{
	bool		folds = p->folds;
	uint16_t	node;

	if (++p->depth > DEPTH_MAX)
		return too_large(p, "groups inside each other", DEPTH_MAX);
	p->before = 0;
	if (take(p, "?=") || take(p, "?!"))
		node = take_look(p, p->text[p->at - 1] == '!', start);
	else if (take(p, "?i:"))
	{
		p->folds = true;
		node = take_choice(p);
	}
	else if (next_is(p, "?") && !next_is(p, "?:"))
		return refuse(p, start, "a group that is none of (?: ), (?i: ), (?= ) and (?! )");
	else
	{
		take(p, "?:");
		node = take_choice(p);
	}
	p->folds = folds;
	p->before = 0;
	p->depth--;
	if (p->status == EMB_OK && !take(p, ")"))
		return refuse(p, start, "a group without its end");
	return node;
}

/* Whether the library may match two letters, in either case, as one character. */
static bool
is_ligature(uint32_t first, uint32_t second)
{
	return (first == 's' && (second == 's' || second == 't')) || (first == 'f' && (second == 'f' || second == 'i' || second == 'l'));
}

static uint16_t
take_literal(Parser *p)
{
	EmbRegexSet set;
	size_t		at = p->at;
	uint32_t	cp;

	memset(&set, 0, sizeof(set));
	if (take(p, "."))
	{
		set.negated = true;
		cp = '\n';
	}
	else
		cp = take(p, "\\") ? take_escape(p, &set, at) : take_char(p);
	if (p->status != EMB_OK)
		return 0;
	if (set.negated)
		add_range(p, &set, cp, cp);
	else if (cp != 0)
	{
		if (p->folds && is_ligature(p->before, cp | 0x20))
			return refuse(p, at, "letters that have a ligature inside (?i: )");
		add_char(p, &set, cp, at);
	}
	p->before = p->folds ? cp | 0x20 : 0;
	return add_set(p, &set, (EmbRegexNode) {.kind = EMB_REGEX_SET});
}

static uint16_t
take_atom(Parser *p)
{
	size_t		at = p->at;

	if (take(p, "("))
		return take_group(p, at);
	if (take(p, "["))
		return take_class(p);
	if (next_is(p, "^") || next_is(p, "$"))
		return refuse(p, at, "an anchor");
	if (next_is(p, "?") || next_is(p, "*") || next_is(p, "+") || next_is(p, "{"))
		return refuse(p, at, "a quantifier of nothing");
	return take_literal(p);
}

/* Digits; -1: there are none. */
static int
take_number(Parser *p)
{
	int			n = -1;

	for (; p->at < p->n && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++)
		if (n <= EMB_REGEX_REPEAT_MAX)
			n = (n > 0 ? n : 0) * 10 + (p->text[p->at] - '0');
	return n;
}

/* {n}, {n,}, {n,m} */
static void
take_bounds(Parser *p, EmbRegexNode *node, size_t start)
{
	int			min = take_number(p);
	int			max = min;

	if (min >= 0 && take(p, ","))
		max = next_is(p, "}") ? EMB_REGEX_FOREVER : take_number(p);
	if (min < 0 || max < min || !take(p, "}"))
		refuse(p, start, "a quantifier that is not {n}, {n,} or {n,m}");
	else if (min > EMB_REGEX_REPEAT_MAX || (max > EMB_REGEX_REPEAT_MAX && max != EMB_REGEX_FOREVER))
		too_large(p, "repeats in a quantifier", EMB_REGEX_REPEAT_MAX);
	node->min = (uint8_t) min;
	node->max = (uint8_t) max;
}

/* An atom and its quantifier. */
static uint16_t
take_repeat(Parser *p)
{
	EmbRegexNode node = {.kind = EMB_REGEX_REPEAT, .a = take_atom(p)};
	size_t		at = p->at;

	if (take(p, "?"))
		node.max = 1;
	else if (take(p, "*"))
		node.max = EMB_REGEX_FOREVER;
	else if (take(p, "+"))
	{
		node.min = 1;
		node.max = EMB_REGEX_FOREVER;
	}
	else if (take(p, "{"))
		take_bounds(p, &node, at);
	else
		return node.a;
	if (next_is(p, "+") || next_is(p, "?") || next_is(p, "*") || next_is(p, "{"))
		return refuse(p, p->at, "a lazy or possessive quantifier");
	p->before = 0;
	return p->status == EMB_OK ? add_node(p, node) : 0;
}

static uint16_t
take_sequence(Parser *p)
{
	uint16_t	first = 0;

	while (p->status == EMB_OK && p->at < p->n && !next_is(p, "|") && !next_is(p, ")"))
	{
		uint16_t	next = take_repeat(p);

		first = first == 0 ? next : add_node(p, (EmbRegexNode) {.kind = EMB_REGEX_SEQUENCE, .a = first, .b = next});
	}
	return first;
}

static uint16_t
take_choice(Parser *p)
{
	uint16_t	first = take_sequence(p);

	while (p->status == EMB_OK && take(p, "|"))
	{
		uint16_t	next;

		p->before = 0;
		next = take_sequence(p);
		first = add_node(p, (EmbRegexNode) {.kind = EMB_REGEX_CHOICE, .a = first, .b = next});
	}
	return first;
}

EmbStatus
emb_regex_parse(const char *text, size_t n, EmbRegex *regex, EmbError *err)
{
	Parser		p = {.text = (const uint8_t *) text, .n = n, .regex = regex, .err = err};

	memset(regex, 0, sizeof(*regex));
	if (n > EMB_REGEX_BYTES_MAX)
		return emb_error(err, EMB_ERR_LIMIT, "more than %d bytes", EMB_REGEX_BYTES_MAX);
	add_node(&p, (EmbRegexNode) {.kind = EMB_REGEX_EMPTY});
	regex->root = take_choice(&p);
	if (p.status == EMB_OK && p.at < n)
		refuse(&p, p.at, "a parenthesis without its beginning");
	return p.status;
}
