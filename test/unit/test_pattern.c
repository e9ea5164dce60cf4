/*
 * test_pattern.c
 *		Patterns that split text: the table of states splits like matching that goes back,
 *		for the patterns of the known tokenizers and for random ones; hostile patterns are
 *		refused by name; the table's memory is bounded, and compiling can be stopped.
 */
#include "common/utf8.h"
#include "tokenizer/pattern.h"
#include "tokenizer/regex.h"
#include "unit.h"

#include <string.h>

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))
#define TEXT_MAX	48			/* characters */
#define STEPS_MAX	2000000

static EmbAllocator mem;
static EmbTokPattern table;
static EmbRegex tree;
static unsigned seed = 5;

static unsigned
roll(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return seed / 65536 % n;
}

/* -------------------------------------------------- matching that goes back */

typedef struct Text
{
	int			n;
	uint32_t	codes[TEXT_MAX];
} Text;

/* What follows a node: a node, or more repeats of one. */
typedef struct Rest
{
	uint16_t	node;
	int			n_done;			/* repeats; -1: the whole node is still to come */
	int			since;			/* where the last repeat began */
	const struct Rest *rest;
} Rest;

static int	steps;

static int	match_rest(const Text *t, int at, const Rest *rest);

/* The end of the first way to match node at a place, and rest after it; -1: there is none. */
static int
match_node(const Text *t, uint16_t index, int at, const Rest *rest)
{
	const EmbRegexNode *node = &tree.nodes[index];
	bool		has = false;
	Rest		more;
	int			end;

	if (steps++ > STEPS_MAX)
		return -1;
	switch (node->kind)
	{
		case EMB_REGEX_SET:
		case EMB_REGEX_LOOK:
			has = at < t->n && emb_regex_set_has(&tree.sets[node->set], t->codes[at], emb_uni_category(t->codes[at]));
			if (node->kind == EMB_REGEX_LOOK)
				return has != node->absent ? match_rest(t, at, rest) : -1;
			return has ? match_rest(t, at + 1, rest) : -1;
		case EMB_REGEX_SEQUENCE:
			more = (Rest) {node->b, -1, 0, rest};
			return match_node(t, node->a, at, &more);
		case EMB_REGEX_CHOICE:
			end = match_node(t, node->a, at, rest);
			return end >= 0 ? end : match_node(t, node->b, at, rest);
		case EMB_REGEX_REPEAT:
			more = (Rest) {index, 0, -1, rest};
			return match_rest(t, at, &more);
		default:
			return match_rest(t, at, rest);
	}
}

static int
match_rest(const Text *t, int at, const Rest *rest)
{
	const EmbRegexNode *node;
	Rest		more;
	int			end = -1;

	if (rest == NULL)
		return at;
	if (rest->n_done < 0)
		return match_node(t, rest->node, at, rest->rest);
	node = &tree.nodes[rest->node];
	more = (Rest) {rest->node, rest->n_done + 1, at, rest->rest};
	if (node->max == EMB_REGEX_FOREVER || rest->n_done < node->max)
		end = match_node(t, node->a, at, &more);
	return end >= 0 ? end : rest->n_done >= node->min ? match_rest(t, at, rest->rest) : -1;
}

/* ----------------------------------------------------------------- table */

/* The end of the word that starts at a place. */
static int
table_end(const Text *t, int at)
{
	uint8_t		state = EMB_TOK_STATE_START;
	int			end = -1;

	for (;; at++)
	{
		uint16_t	entry = table.next[state][at < t->n ? emb_tok_class(&table, t->codes[at]) : EMB_TOK_CLASS_END];

		if (entry & EMB_TOK_MATCH)
			end = at;
		state = (uint8_t) entry;
		if (state == EMB_TOK_STATE_DEAD)
			return end;
	}
}

static void
random_text(Text *t)
{
	static const uint32_t codes[] = {
		'a', 'a', 'b', 's', 'S', 't', 'r', 'e', 'l', 'L', 'A', 'Z', '\'', ' ', ' ', ' ', '\n', '\r', '\t', '1', '2', '/', '.', '-', 0x17F, 0x212A,
		0xE9, 0xC9, 0x301, 0x1C5, 0x2B0, 0x4E2D, 0x3042, 0x661, 0xA0, 0x3000, 0x85, 0x1F600, 0x903, 0x20DD, 0xBD, 0x10FFFF, 0x378
	};

	t->n = 1 + (int) roll(TEXT_MAX - 1);
	for (int i = 0; i < t->n; i++)
		t->codes[i] = i > 0 && roll(3) == 0 ? t->codes[i - 1] : codes[roll(N(codes))];
}

/* Splits random texts both ways, until a word differs. regex was compiled into tree and table. */
static bool
is_alike(const char *regex, int n_texts)
{
	for (int i = 0; i < n_texts; i++)
	{
		Text		t;
		int			at = 0;

		random_text(&t);
		while (at < t.n)
		{
			int			want;
			int			got = table_end(&t, at);

			steps = 0;
			want = match_node(&t, (uint16_t) tree.root, at, NULL);
			if (steps > STEPS_MAX)
				break;
			if (want != got)
			{
				printf("# %s: a word of %d characters, not %d, at U+%04X\n", regex, got - at, want - at, t.codes[at]);
				return false;
			}
			at = got;
		}
	}
	return true;
}

static EmbStatus
compile(const char *regex, EmbError *err)
{
	EmbStatus	status = emb_tok_compile_pattern(regex, strlen(regex), &mem, NULL, &table, err);

	return status == EMB_OK ? emb_regex_parse(regex, strlen(regex), &tree, err) : status;
}

static void
test_known(void)
{
	static const char *const known[] = {
		EMB_TOK_REGEX_ALL, EMB_TOK_REGEX_GPT2, EMB_TOK_REGEX_QWEN2, EMB_TOK_REGEX_O200K,
		"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
		"\\p{N}|[^\\p{N}]+", "\\p{Han", ".|\\n", "[\\x{4E00}-\\x{9FFF}]+|[^\\u4e00-\\u9fff]", "(?=\\p{L})[\\p{L}\\p{M}]+|\\P{L}", "a(?:b|c){2,3}|[\\S\\s]"
	};
	EmbError	err;

	for (int i = 0; i < N(known); i++)
	{
		EmbStatus	status = compile(known[i], &err);

		if (known[i][1] == 'p' && known[i][5] == 'n' && known[i][6] == '\0')
			CHECK(status == EMB_ERR_UNSUPPORTED);
		else if (CHECKF(status == EMB_OK, "%s: %s", known[i], err.message))
			CHECK(is_alike(known[i], 3000));
	}
}

/* --------------------------------------------------------------- random */

static void
random_regex(char *out, size_t size, int depth)
{
	static const char *const sets[] = {
		"a", "s", "[ab]", "[^\\s]", "\\s", "\\S", "\\p{L}", "\\p{N}", "[\\p{Lu}\\p{M}]", " ", "'", "\\n", "[^\\r\\n]", "(?i:s)", "\\P{L}", "[^\\p{L}\\p{N}]", "."
	};
	static const char *const quantifiers[] = {"", "", "", "?", "*", "+", "{1,3}", "{2}", "{2,}"};
	char		inner[256];

	out[0] = '\0';
	for (int n = 1 + (int) roll(3); n > 0; n--)
	{
		size_t		len = strlen(out);

		if (depth > 0 && roll(3) == 0)
		{
			random_regex(inner, sizeof(inner), depth - 1);
			snprintf(out + len, size - len, "(?:%s)%s", inner, quantifiers[roll(N(quantifiers))]);
		}
		else if (roll(8) == 0)
			snprintf(out + len, size - len, "(?%s%s)", roll(2) ? "!" : "=", sets[roll(N(sets))]);
		else
			snprintf(out + len, size - len, "%s%s", sets[roll(N(sets))], quantifiers[roll(N(quantifiers))]);
		if (n > 1 && roll(2) == 0)
			strncat(out, "|", size - strlen(out) - 1);
	}
}

/* An alternative for any character is added, so that many patterns match all texts. */
static void
test_random(void)
{
	int			n_compiled = 0;
	int			n_refused = 0;
	int			n_wrong = 0;
	EmbError	err;

	for (int i = 0; i < 1500; i++)
	{
		char		regex[1100];
		size_t		len;
		EmbStatus	status;

		random_regex(regex, 1000, 2);
		len = strlen(regex);
		snprintf(regex + len, sizeof(regex) - len, "|[\\s\\S]");
		status = compile(regex, &err);
		n_compiled += status == EMB_OK;
		n_refused += status == EMB_ERR_UNSUPPORTED || status == EMB_ERR_LIMIT;
		if (status == EMB_OK)
			n_wrong += !is_alike(regex, 20);
	}
	CHECKF(n_wrong == 0 && n_compiled > 300 && n_compiled + n_refused == 1500, "%d compiled, %d of them wrong, %d refused", n_compiled, n_wrong,
		   n_refused);
}

/* -------------------------------------------------------------- refused */

static void
test_refused(void)
{
	static const struct
	{
		const char *regex;
		const char *message;
	}			wrong[] =
	{
		{"a++", "a lazy or possessive quantifier at byte 2"},
		{"a+?", "a lazy or possessive quantifier at byte 2"},
		{"(?<=a)b", "a group that is none of (?: ), (?i: ), (?= ) and (?! ) at byte 0"},
		{"(a", "a group without its end at byte 0"},
		{"a)", "a parenthesis without its beginning at byte 1"},
		{"^a", "an anchor at byte 0"},
		{"a|b$", "an anchor at byte 3"},
		{"\\b", "an escape at byte 0"},
		{"\\w", "an escape at byte 0"},
		{"(a)\\1", "an escape at byte 3"},
		{"\\", "a backslash at the end at byte 0"},
		{"\\p{Han}", "a property that is no general category at byte 0"},
		{"\\p{L", "a property that is no general category at byte 0"},
		{"\\pL", "a property without braces at byte 0"},
		{"[a", "a class without its end at byte 0"},
		{"[]", "an empty class at byte 0"},
		{"[a[b]]", "a class inside a class, or an intersection, at byte 2"},
		{"[a&&b]", "a class inside a class, or an intersection, at byte 2"},
		{"[b-a]", "a range without its end, or in the wrong order, at byte 1"},
		{"*a", "a quantifier of nothing at byte 0"},
		{"a{2,1}", "a quantifier that is not {n}, {n,} or {n,m} at byte 1"},
		{"a{1,99}", "more than 32 repeats in a quantifier"},
		{"(?!ab)c", "a look-ahead for more than one character at byte 0"},
		{"(?i:st)", "letters that have a ligature inside (?i: ) at byte 5"},
		{"(?i:\xC3\xA9)", "a character that is not ASCII inside (?i: ) at byte 4"},
		{"(?i:[^a])", "a negated class inside (?i: ) at byte 4"},
		{"\\x{110000}", "a number that is no character at byte 0"},
		{"\\ud800", "a number that is no character at byte 0"},
		{"\xC3(", "a byte that is no character at byte 0"},
		{"(?:a*)*|[\\s\\S]", "a quantifier of what may be empty"},
		{"a*|b", "it may match nothing"},
		{"", "it may match nothing"},
		{"\\p{L}+", "some texts do not match it from their first character on"},
		{"ab|[^a]", "some texts do not match it from their first character on"},
		/* aaaa..., each a read to the end in the hope of a b */
		{"a*b|a|[\\s\\S]", "it takes more than linear time on some texts"},
		{"\\s*\\n|\\s|\\S+", "it takes more than linear time on some texts"},
		{"(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:(?:a)))))))))))))))))", "more than 16 groups inside each other"},
		{"(?:(?:a{32}){32}){32}", "more than 1024 places after its quantifiers are written out"},
		{"(?:a|b)*a(?:a|b){14}c|[\\s\\S]", "more than 256 states"},
	};
	char		huge[EMB_REGEX_BYTES_MAX + 2];
	int			n_odd = 0;
	EmbError	err;

	for (int i = 0; i < N(wrong); i++)
	{
		EmbStatus	status = compile(wrong[i].regex, &err);

		CHECKF((status == EMB_ERR_UNSUPPORTED || status == EMB_ERR_LIMIT) && strcmp(err.message, wrong[i].message) == 0, "%s: %s", wrong[i].regex,
			   status == EMB_OK ? "compiled" : err.message);
	}
	memset(huge, 'a', sizeof(huge));
	CHECK(emb_tok_compile_pattern(huge, sizeof(huge), &mem, NULL, &table, &err) == EMB_ERR_LIMIT);
	CHECK(emb_tok_compile_pattern(huge, EMB_REGEX_BYTES_MAX, &mem, NULL, &table, &err) == EMB_ERR_LIMIT);
	/* Each text that starts like a good one ends well. */
	for (size_t n = 0; n < strlen(EMB_TOK_REGEX_O200K); n++)
	{
		EmbStatus	status = emb_tok_compile_pattern(EMB_TOK_REGEX_O200K, n, &mem, NULL, &table, &err);

		n_odd += status != EMB_OK && status != EMB_ERR_UNSUPPORTED;
	}
	CHECK(n_odd == 0);
}

static bool
stop_at_once(void *ctx)
{
	(*(int *) ctx)++;
	return true;
}

static void
test_stop(void)
{
	int			asked = 0;
	EmbStop		stop = {&asked, stop_at_once};
	EmbError	err;

	CHECK(emb_tok_compile_pattern(EMB_TOK_REGEX_GPT2, strlen(EMB_TOK_REGEX_GPT2), &mem, &stop, &table, &err) == EMB_ERR_CANCELLED && asked == 1);
	CHECK(emb_tok_check_regex(EMB_TOK_REGEX_O200K, &mem, NULL, NULL) == EMB_OK);
}

int
main(void)
{
	mem = emb_malloc_allocator();
	test_known();
	test_random();
	test_refused();
	test_stop();
	return done_testing();
}
