/*
 * pattern.c
 *		From a regular expression to a table of states.
 *
 * The library's expressions go back: of the ways in which a text matches, the first
 * counts, in the order in which alternatives are written, with as many repeats as
 * possible. Here all ways are followed at once (Thompson, 1968), in this order
 * (Pike's machine; Cox, "Regular expression matching: the virtual machine approach",
 * 2009). A state of the table is the ordered list of the ways that are still open.
 * Where a way matches, the ways after it are dropped; a way before it may still
 * match more and then counts instead. When no way is left, the last match is the
 * word.
 *
 * A list is read together with the next character, so that a look-ahead for one
 * character costs nothing: whether it holds is known when the character comes.
 *
 * Characters are put into classes: all characters of a class are in the same sets of
 * the expression, and later in the same columns of the table.
 */
#include "tokenizer/pattern.h"

#include <string.h>

#include "tokenizer/regex.h"

#define PLACES_MAX		1024	/* of the machine */
#define STATES_MAX		256		/* of the table, dead state and start included */
#define RAW_CLASSES_MAX	64
#define CODES			0x110000
#define END				-1		/* the raw class of the end of the text */
#define BLOCK_CODES		(1 << EMB_TOK_CLASS_BITS)
#define BLOCKS_PER_ASK	256

#define DEAD	EMB_TOK_STATE_DEAD
#define START	EMB_TOK_STATE_START

typedef enum PlaceKind
{
	PLACE_SET,					/* takes a character of set, goes on to a */
	PLACE_LOOK,					/* goes on to a if the next character is, or is not, of set */
	PLACE_FORK,					/* goes on to a, or else to b */
	PLACE_MATCH
} PlaceKind;

typedef struct Place
{
	PlaceKind	kind;
	uint8_t		set;
	bool		absent;
	uint16_t	a;
	uint16_t	b;
} Place;

/* An ordered list of places. */
typedef struct Ways
{
	int			n;
	uint16_t	places[PLACES_MAX];
} Ways;

typedef struct Compiler
{
	EmbRegex	regex;
	Place		places[PLACES_MAX];
	int			n_places;
	uint64_t	classes[RAW_CLASSES_MAX];	/* bit i: the class is in set i */
	int			n_classes;
	uint8_t		of_code[CODES];	/* raw class by code point */
	Ways		states[STATES_MAX];	/* by state; the dead state has none */
	int			n_states;
	uint16_t	next[STATES_MAX][RAW_CLASSES_MAX];	/* as in EmbTokPattern */
	uint16_t	at_end[STATES_MAX];
	bool		seen[PLACES_MAX];
	Ways		open;
	Ways		moved;
	bool		reaches[STATES_MAX][STATES_MAX];
	const EmbStop *stop;
	EmbError   *err;
} Compiler;

static EmbStatus
too_large(Compiler *c, const char *what, int max)
{
	return emb_error(c->err, EMB_ERR_LIMIT, "more than %d %s", max, what);
}

static EmbStatus
ask_stop(const Compiler *c)
{
	return emb_should_stop(c->stop) ? emb_error(c->err, EMB_ERR_CANCELLED, "compiling a pattern was cancelled") : EMB_OK;
}

/* --------------------------------------------------------------- classes */

/* The sets that a character is in, as bits. */
static uint64_t
sets_of(const EmbRegex *regex, uint32_t cp, uint8_t category)
{
	uint64_t	bits = 0;

	for (int i = 0; i < regex->n_sets; i++)
		bits |= (uint64_t) emb_regex_set_has(&regex->sets[i], cp, category) << i;
	return bits;
}

/* The next code point after cp at which some range of the sets begins or has ended. */
static uint32_t
next_border(const EmbRegex *regex, uint32_t cp)
{
	uint32_t	border = CODES;

	for (int i = 0; i < regex->n_sets; i++)
		for (int k = 0; k < regex->sets[i].n_ranges; k++)
		{
			const EmbRegexRange *r = &regex->sets[i].ranges[k];

			if (r->first > cp && r->first < border)
				border = r->first;
			if (r->last >= cp && r->last + 1 < border)
				border = r->last + 1;
		}
	return border;
}

/* Returns the class of these sets, or -1: there are too many. */
static int
class_of_sets(Compiler *c, uint64_t bits)
{
	for (int i = 0; i < c->n_classes; i++)
		if (c->classes[i] == bits)
			return i;
	if (c->n_classes == RAW_CLASSES_MAX)
		return -1;
	c->classes[c->n_classes] = bits;
	return c->n_classes++;
}

static EmbStatus
classify(Compiler *c)
{
	uint32_t	border = 0;
	int			of_category[EMB_UNI_N_CATEGORIES];
	EmbStatus	status = EMB_OK;

	for (uint32_t cp = 0; cp < CODES; cp++)
	{
		uint8_t		category = emb_uni_category(cp);

		if (cp % (BLOCKS_PER_ASK * BLOCK_CODES) == 0 && (status = ask_stop(c)) != EMB_OK)
			return status;
		if (cp >= border)
		{
			border = next_border(&c->regex, cp);
			for (int i = 0; i < EMB_UNI_N_CATEGORIES; i++)
				of_category[i] = -1;
		}
		if (of_category[category] < 0)
			of_category[category] = class_of_sets(c, sets_of(&c->regex, cp, category));
		if (of_category[category] < 0)
			return too_large(c, "classes of characters", RAW_CLASSES_MAX);
		c->of_code[cp] = (uint8_t) of_category[category];
	}
	return EMB_OK;
}

/* --------------------------------------------------------------- machine */

/* Returns PLACES_MAX if there is no room. */
static int
add_place(Compiler *c, Place place)
{
	if (c->n_places == PLACES_MAX)
		return PLACES_MAX;
	c->places[c->n_places] = place;
	return c->n_places++;
}

static bool
can_be_empty(const EmbRegex *regex, uint16_t index)
{
	const EmbRegexNode *node = &regex->nodes[index];

	switch (node->kind)
	{
		case EMB_REGEX_SET:
			return false;
		case EMB_REGEX_SEQUENCE:
			return can_be_empty(regex, node->a) && can_be_empty(regex, node->b);
		case EMB_REGEX_CHOICE:
			return can_be_empty(regex, node->a) || can_be_empty(regex, node->b);
		case EMB_REGEX_REPEAT:
			return node->min == 0 || can_be_empty(regex, node->a);
		default:
			return true;
	}
}

static int emit(Compiler *c, uint16_t index, int next);

/* a{min,max}, from the last repeat to the first. */
static int
emit_repeat(Compiler *c, const EmbRegexNode *node, int next)
{
	int			at = next;

	if (node->max == EMB_REGEX_FOREVER)
	{
		int			fork = add_place(c, (Place) {.kind = PLACE_FORK, .b = (uint16_t) next});
		int			body = fork == PLACES_MAX ? PLACES_MAX : emit(c, node->a, fork);

		if (body == PLACES_MAX)
			return PLACES_MAX;
		c->places[fork].a = (uint16_t) body;
		at = fork;
	}
	else
		for (int i = node->min; i < node->max && at != PLACES_MAX; i++)
		{
			int			body = emit(c, node->a, at);

			at = body == PLACES_MAX ? PLACES_MAX : add_place(c, (Place) {.kind = PLACE_FORK, .a = (uint16_t) body, .b = (uint16_t) next});
		}
	for (int i = 0; i < node->min && at != PLACES_MAX; i++)
		at = emit(c, node->a, at);
	return at;
}

/* Adds the places of a node that goes on to next. Returns the first of them, or PLACES_MAX: too many. */
static int
emit(Compiler *c, uint16_t index, int next)
{
	const EmbRegexNode *node = &c->regex.nodes[index];
	int			a,
				b;

	if (next == PLACES_MAX)
		return PLACES_MAX;
	switch (node->kind)
	{
		case EMB_REGEX_SET:
		case EMB_REGEX_LOOK:
			return add_place(c, (Place) {.kind = node->kind == EMB_REGEX_SET ? PLACE_SET : PLACE_LOOK, .set = node->set,
									 .absent = node->absent, .a = (uint16_t) next});
		case EMB_REGEX_SEQUENCE:
			return emit(c, node->a, emit(c, node->b, next));
		case EMB_REGEX_CHOICE:
			a = emit(c, node->a, next);
			b = emit(c, node->b, next);
			return a == PLACES_MAX || b == PLACES_MAX ? PLACES_MAX
				: add_place(c, (Place) {.kind = PLACE_FORK, .a = (uint16_t) a, .b = (uint16_t) b});
		case EMB_REGEX_REPEAT:
			return emit_repeat(c, node, next);
		default:
			return next;
	}
}

static EmbStatus
make_machine(Compiler *c, int *start)
{
	for (int i = 0; i < c->regex.n_nodes; i++)
		if (c->regex.nodes[i].kind == EMB_REGEX_REPEAT && c->regex.nodes[i].max > 1 && can_be_empty(&c->regex, c->regex.nodes[i].a))
			return emb_error(c->err, EMB_ERR_UNSUPPORTED, "a quantifier of what may be empty");
	*start = emit(c, (uint16_t) c->regex.root, add_place(c, (Place) {.kind = PLACE_MATCH}));
	return *start == PLACES_MAX ? too_large(c, "places after its quantifiers are written out", PLACES_MAX) : EMB_OK;
}

/* ---------------------------------------------------------------- states */

static inline bool
class_has(const Compiler *c, int klass, uint8_t set)
{
	return klass != END && (c->classes[klass] >> set & 1) != 0;
}

/*
 * Follows a way up to the places that take a character, in order, and adds these to
 * c->open. True: the way, or one that forks from it, matches before a character
 * of klass; ways after that do not count.
 */
static bool
follow(Compiler *c, uint16_t at, int klass)
{
	const Place *place = &c->places[at];

	if (c->seen[at])
		return false;
	c->seen[at] = true;
	switch (place->kind)
	{
		case PLACE_SET:
			c->open.places[c->open.n++] = at;
			return false;
		case PLACE_LOOK:
			return class_has(c, klass, place->set) != place->absent && follow(c, place->a, klass);
		case PLACE_FORK:
			return follow(c, place->a, klass) || follow(c, place->b, klass);
		default:
			return true;
	}
}

/* Returns the state with the ways in c->moved, or STATES_MAX: there are too many. */
static int
state_of_moved(Compiler *c)
{
	for (int i = 0; i < c->n_states; i++)
		if (c->states[i].n == c->moved.n && memcmp(c->states[i].places, c->moved.places, (size_t) c->moved.n * sizeof(uint16_t)) == 0)
			return i;
	if (c->n_states == STATES_MAX)
		return STATES_MAX;
	c->states[c->n_states].n = c->moved.n;
	memcpy(c->states[c->n_states].places, c->moved.places, (size_t) c->moved.n * sizeof(uint16_t));
	return c->n_states++;
}

/* An entry of the table: the state after a character of klass, and whether a match ends before it. */
static EmbStatus
move(Compiler *c, int state, int klass, uint16_t *entry)
{
	const Ways *from = &c->states[state];
	bool		matched = false;
	int			to;

	memset(c->seen, 0, sizeof(c->seen));
	c->open.n = c->moved.n = 0;
	for (int i = 0; i < from->n && !matched; i++)
		matched = follow(c, from->places[i], klass);
	memset(c->seen, 0, sizeof(c->seen));
	for (int i = 0; i < c->open.n; i++)
	{
		const Place *place = &c->places[c->open.places[i]];

		if (!class_has(c, klass, place->set) || c->seen[place->a])
			continue;
		c->seen[place->a] = true;
		c->moved.places[c->moved.n++] = place->a;
	}
	to = state_of_moved(c);
	if (to == STATES_MAX)
		return too_large(c, "states", STATES_MAX);
	*entry = (uint16_t) (to | (matched ? EMB_TOK_MATCH : 0));
	return EMB_OK;
}

static EmbStatus
make_states(Compiler *c, int start)
{
	EmbStatus	status = EMB_OK;

	c->states[DEAD].n = 0;
	c->states[START] = (Ways) {1, {(uint16_t) start}};
	c->n_states = 2;
	for (int state = 0; status == EMB_OK && state < c->n_states; state++)
	{
		status = ask_stop(c);
		for (int klass = 0; status == EMB_OK && klass < c->n_classes; klass++)
			status = move(c, state, klass, &c->next[state][klass]);
		if (status == EMB_OK)
			status = move(c, state, END, &c->at_end[state]);
	}
	return status;
}

/* ---------------------------------------------------------------- checks */

static inline int
target(uint16_t entry)
{
	return entry & ~EMB_TOK_MATCH;
}

/* Every text must begin with a word, which has at least one character. */
static EmbStatus
check_matches(Compiler *c)
{
	bool		unmatched[STATES_MAX] = {false};
	bool		changed = true;

	for (int klass = 0; klass < c->n_classes; klass++)
		if (c->next[START][klass] & EMB_TOK_MATCH)
			return emb_error(c->err, EMB_ERR_UNSUPPORTED, "it may match nothing");
	/* The states in which nothing has matched yet. */
	unmatched[START] = true;
	while (changed)
	{
		changed = false;
		for (int state = 0; state < c->n_states; state++)
			for (int klass = 0; unmatched[state] && klass < c->n_classes; klass++)
			{
				uint16_t	entry = c->next[state][klass];

				if ((entry & EMB_TOK_MATCH) != 0)
					continue;
				if (target(entry) == DEAD)
					return emb_error(c->err, EMB_ERR_UNSUPPORTED, "some texts do not match it from their first character on");
				changed |= !unmatched[target(entry)];
				unmatched[target(entry)] = true;
			}
	}
	for (int state = START + 1; state < c->n_states; state++)
		if (unmatched[state] && (c->at_end[state] & EMB_TOK_MATCH) == 0)
			return emb_error(c->err, EMB_ERR_UNSUPPORTED, "some texts do not match it from their first character on");
	return EMB_OK;
}

/*
 * Marks in c->reaches which of the states that hope for a longer match lead to which,
 * without a match between.
 */
static EmbStatus
find_hopes(Compiler *c, bool hopes[STATES_MAX])
{
	EmbStatus	status = EMB_OK;

	memset(c->reaches, 0, sizeof(c->reaches));
	for (bool changed = true; changed;)
	{
		changed = false;
		for (int state = START; state < c->n_states; state++)
			for (int klass = 0; klass < c->n_classes; klass++)
			{
				uint16_t	entry = c->next[state][klass];
				int			to = target(entry);

				if (to == DEAD || ((entry & EMB_TOK_MATCH) == 0 && !hopes[state]))
					continue;
				changed |= !hopes[to];
				hopes[to] = true;
				if ((entry & EMB_TOK_MATCH) == 0)
					c->reaches[state][to] = true;
			}
	}
	for (int k = START; status == EMB_OK && k < c->n_states; k++)
	{
		status = ask_stop(c);
		for (int i = START; i < c->n_states; i++)
			for (int j = START; c->reaches[i][k] && j < c->n_states; j++)
				c->reaches[i][j] |= c->reaches[k][j];
	}
	return status;
}

/* Whether a step from state to state lies on the circles through home. */
static inline bool
is_on_circle(const Compiler *c, int home, int state, int to)
{
	return to != DEAD && (state == home || (c->reaches[home][state] && c->reaches[state][home])) && (to == home || c->reaches[to][home]);
}

/* Whether all text of the classes on the circles through home becomes one word. */
static bool
circle_is_word(const Compiler *c, const bool hopes[STATES_MAX], int home)
{
	bool		circles[RAW_CLASSES_MAX] = {false};
	bool		begun[STATES_MAX] = {false};

	for (int state = START; state < c->n_states; state++)
		for (int klass = 0; hopes[state] && klass < c->n_classes; klass++)
			circles[klass] |= (c->next[state][klass] & EMB_TOK_MATCH) == 0 && is_on_circle(c, home, state, c->next[state][klass]);
	for (int klass = 0; klass < c->n_classes; klass++)
		if (circles[klass])
			begun[target(c->next[START][klass])] = true;
	for (bool changed = true; changed;)
	{
		changed = false;
		for (int state = START; state < c->n_states; state++)
			for (int klass = 0; begun[state] && klass < c->n_classes; klass++)
			{
				uint16_t	entry = c->next[state][klass];

				if (!circles[klass])
					continue;
				if ((entry & EMB_TOK_MATCH) == 0 || target(entry) == DEAD)
					return false;
				changed |= !begun[target(entry)];
				begun[target(entry)] = true;
			}
	}
	return true;
}

/*
 * After a match the table may go on in the hope of a longer one, and read much text
 * in vain, again for each word. That stays linear if the text that is read in a
 * circle of such states becomes one word (but for its last character) as soon as a
 * word begins there: then each character is read in vain a bounded number of times.
 */
static EmbStatus
check_linear(Compiler *c)
{
	bool		hopes[STATES_MAX] = {false};
	EmbStatus	status = find_hopes(c, hopes);

	for (int home = START; status == EMB_OK && home < c->n_states; home++)
	{
		status = ask_stop(c);
		if (status == EMB_OK && c->reaches[home][home] && !circle_is_word(c, hopes, home))
			status = emb_error(c->err, EMB_ERR_UNSUPPORTED, "it takes more than linear time on some texts");
	}
	return status;
}

/* ----------------------------------------------------------------- table */

static bool
columns_equal(const Compiler *c, int a, int b)
{
	for (int state = 0; state < c->n_states; state++)
		if (c->next[state][a] != c->next[state][b])
			return false;
	return true;
}

/* column: [c->n_classes] the table's class of each raw class. */
static EmbStatus
merge_columns(Compiler *c, uint8_t *column, EmbTokPattern *table)
{
	int			first[EMB_TOK_CLASSES];
	int			n = 0;

	for (int klass = 0; klass < c->n_classes; klass++)
	{
		int			k = 0;

		while (k < n && !columns_equal(c, first[k], klass))
			k++;
		if (k == EMB_TOK_CLASS_END)
			return too_large(c, "classes of characters that matter", EMB_TOK_CLASS_END);
		if (k == n)
			first[n++] = klass;
		column[klass] = (uint8_t) k;
	}
	for (int state = 0; state < c->n_states; state++)
	{
		for (int k = 0; k < n; k++)
		{
			table->next[state][k] = c->next[state][first[k]];
			if (table->next[state][k] == (state | EMB_TOK_MATCH))
				table->loops[state] |= UINT32_C(1) << k;
		}
		table->next[state][EMB_TOK_CLASS_END] = c->at_end[state];
	}
	return EMB_OK;
}

/* Blocks of characters that have the same classes are stored once. */
static EmbStatus
fill_classes(Compiler *c, const uint8_t *column, EmbTokPattern *table)
{
	int			n_blocks = 0;
	int			last = 0;
	EmbStatus	status = EMB_OK;

	for (int block = 0; block < CODES / BLOCK_CODES && status == EMB_OK; block++)
	{
		uint8_t		classes[BLOCK_CODES];
		int			i = 0;

		if (block % BLOCKS_PER_ASK == 0)
			status = ask_stop(c);
		for (int k = 0; k < BLOCK_CODES; k++)
		{
			uint32_t	cp = (uint32_t) (block * BLOCK_CODES + k);

			classes[k] = column[c->of_code[cp]] | ((emb_uni_record(cp)->flags & EMB_UNI_COMPOSES) != 0 ? EMB_TOK_CLASS_COMPOSES : 0);
		}
		if (n_blocks > 0 && memcmp(table->stage2[last], classes, BLOCK_CODES) == 0)
			i = last;
		else
			while (i < n_blocks && memcmp(table->stage2[i], classes, BLOCK_CODES) != 0)
				i++;
		if (i == EMB_TOK_CLASS_BLOCKS)
			return too_large(c, "different blocks of characters", EMB_TOK_CLASS_BLOCKS);
		if (i == n_blocks)
			memcpy(table->stage2[n_blocks++], classes, BLOCK_CODES);
		table->stage1[block] = (uint8_t) i;
		last = i;
	}
	return status;
}

static EmbStatus
compile(Compiler *c, EmbTokPattern *table)
{
	uint8_t		column[RAW_CLASSES_MAX];
	int			start;
	EmbStatus	status;

	memset(table, 0, sizeof(*table));
	if ((status = classify(c)) != EMB_OK ||
		(status = make_machine(c, &start)) != EMB_OK ||
		(status = make_states(c, start)) != EMB_OK ||
		(status = check_matches(c)) != EMB_OK ||
		(status = check_linear(c)) != EMB_OK ||
		(status = merge_columns(c, column, table)) != EMB_OK)
		return status;
	return fill_classes(c, column, table);
}

EmbStatus
emb_tok_compile_pattern(const char *regex, size_t n, const EmbAllocator *mem, const EmbStop *stop,
						EmbTokPattern *table, EmbError *err)
{
	Compiler   *c = emb_alloc_zero(mem, 1, sizeof(Compiler));
	EmbStatus	status;

	if (c == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory compiling a pattern");
	c->stop = stop;
	c->err = err;
	status = emb_regex_parse(regex, n, &c->regex, err);
	if (status == EMB_OK)
		status = compile(c, table);
	emb_release(mem, c);
	return status;
}

EmbStatus
emb_tok_check_regex(const char *regex, const EmbAllocator *mem, const EmbStop *stop, EmbError *err)
{
	EmbTokPattern *table = emb_alloc(mem, sizeof(EmbTokPattern));
	EmbStatus	status;

	if (table == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory compiling a pattern");
	status = emb_tok_compile_pattern(regex, strlen(regex), mem, stop, table, err);
	emb_release(mem, table);
	return status;
}
