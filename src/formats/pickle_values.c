/*
 * pickle_values.c
 *		The values of a pickle's machine: its stack, and tuples, lists and
 *		dictionaries, to which values refer by number.
 */
#include "formats/pickle_machine.h"

#include <string.h>

/* ------------------------------------------------------------- failing */

bool
emb_pickle_malformed(EmbPickleMachine *m, const char *what)
{
	if (m->status == EMB_OK)
		m->status = emb_error_at(m->err, EMB_ERR_FORMAT, (int64_t) m->op_at, "%s: the pickle is malformed: %s", m->file, what);
	return false;
}

bool
emb_pickle_refused(EmbPickleMachine *m, const char *what, EmbPickleText name)
{
	m->status = emb_error_at(m->err, EMB_ERR_UNSUPPORTED, (int64_t) m->op_at, "%s: the pickle asks for %s%s%.*s%s, which is refused",
							 m->file, what, name.len > 0 ? " \"" : "", (int) (name.len < 100 ? name.len : 100), name.text,
							 name.len > 0 ? "\"" : "");
	emb_error_hint(m->err, EMB_ERR_UNSUPPORTED, "Only state dicts of plain tensors are read. Use the model's safetensors file.");
	return false;
}

bool
emb_pickle_text_is(EmbPickleText t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.text, s, t.len) == 0;
}

/* --------------------------------------------------------------- piles */

void *
emb_pickle_add(EmbPickleMachine *m, EmbPicklePile *pile, size_t item_bytes)
{
	if (pile->n == pile->capacity)
	{
		uint32_t	capacity = pile->capacity == 0 ? 64 : pile->capacity * 2;
		void	   *items = emb_alloc_zero(m->mem, capacity, item_bytes);

		if (items == NULL)
		{
			m->status = emb_error(m->err, EMB_ERR_NOMEM, "out of memory reading the pickle of %s", m->file);
			return NULL;
		}
		if (pile->n > 0)
			memcpy(items, pile->items, pile->n * item_bytes);
		emb_release(m->mem, pile->items);
		pile->items = items;
		pile->capacity = capacity;
	}
	return (char *) pile->items + item_bytes * pile->n++;
}

bool
emb_pickle_push(EmbPickleMachine *m, EmbPickleValue value)
{
	EmbPickleValue	   *slot = emb_pickle_add(m, &m->stack, sizeof(EmbPickleValue));

	if (slot != NULL)
		*slot = value;
	return slot != NULL;
}

bool
emb_pickle_push_kind(EmbPickleMachine *m, EmbPickleKind kind, int64_t i)
{
	return emb_pickle_push(m, (EmbPickleValue) {.kind = kind, .i = i});
}

EmbPickleValue *
emb_pickle_peek(EmbPickleMachine *m, uint32_t depth)
{
	EmbPickleValue	   *stack = m->stack.items;

	if (m->stack.n <= depth)
		return NULL;
	for (uint32_t i = 0; i <= depth; i++)
		if (stack[m->stack.n - 1 - i].kind == EMB_PICKLE_MARK)
			return NULL;
	return &stack[m->stack.n - 1 - depth];
}

bool
emb_pickle_pop(EmbPickleMachine *m, EmbPickleValue *value)
{
	EmbPickleValue	   *top = emb_pickle_peek(m, 0);

	if (top == NULL)
		return emb_pickle_malformed(m, "its stack is empty");
	*value = *top;
	m->stack.n--;
	return true;
}

bool
emb_pickle_find_mark(EmbPickleMachine *m, uint32_t *mark)
{
	const EmbPickleValue *stack = m->stack.items;

	for (uint32_t i = m->stack.n; i-- > 0;)
	{
		if (stack[i].kind == EMB_PICKLE_MARK)
		{
			*mark = i;
			return true;
		}
	}
	return emb_pickle_malformed(m, "a mark is missing");
}

/* ---------------------------------------------------------- containers */

bool
emb_pickle_push_container(EmbPickleMachine *m, EmbPickleKind kind)
{
	EmbPickleContainer  *c = emb_pickle_add(m, &m->containers, sizeof(EmbPickleContainer));

	if (c == NULL)
		return false;
	*c = (EmbPickleContainer) {EMB_PICKLE_NO_CELL, EMB_PICKLE_NO_CELL, 0};
	return emb_pickle_push_kind(m, kind, m->containers.n - 1);
}

static bool
append(EmbPickleMachine *m, int64_t container, EmbPickleValue key, EmbPickleValue value)
{
	EmbPickleCell	   *cell = emb_pickle_add(m, &m->cells, sizeof(EmbPickleCell));
	EmbPickleContainer  *c = (EmbPickleContainer *) m->containers.items + container;

	if (cell == NULL)
		return false;
	*cell = (EmbPickleCell) {key, value, EMB_PICKLE_NO_CELL};
	if (c->n++ == 0)
		c->first = m->cells.n - 1;
	else
		((EmbPickleCell *) m->cells.items)[c->last].next = m->cells.n - 1;
	c->last = m->cells.n - 1;
	return true;
}

bool
emb_pickle_append_stack(EmbPickleMachine *m, uint32_t first, uint32_t below, EmbPickleKind kind)
{
	const EmbPickleValue none = {.kind = EMB_PICKLE_NONE};
	uint32_t	n = m->stack.n;
	uint32_t	step = kind == EMB_PICKLE_DICT ? 2 : 1;
	EmbPickleValue	   *target = below < n ? (EmbPickleValue *) m->stack.items + below : NULL;

	if (target == NULL || target->kind != kind || (n - first) % step != 0)
		return emb_pickle_malformed(m, "elements for something that is not a container");
	for (uint32_t i = first; i < n; i += step)
	{
		const EmbPickleValue *stack = m->stack.items;

		if (!append(m, stack[below].i, kind == EMB_PICKLE_DICT ? stack[i] : none, stack[i + step - 1]))
			return false;
	}
	m->stack.n = below + 1;
	return true;
}

bool
emb_pickle_make_tuple(EmbPickleMachine *m, uint32_t n, uint32_t drop)
{
	const EmbPickleValue none = {.kind = EMB_PICKLE_NONE};
	EmbPickleContainer  *c;
	uint32_t	first = m->stack.n - n;

	if (n > 0 && emb_pickle_peek(m, n - 1) == NULL)
		return emb_pickle_malformed(m, "its stack is empty");
	c = emb_pickle_add(m, &m->containers, sizeof(EmbPickleContainer));
	if (c == NULL)
		return false;
	*c = (EmbPickleContainer) {EMB_PICKLE_NO_CELL, EMB_PICKLE_NO_CELL, 0};
	for (uint32_t i = 0; i < n; i++)
		if (!append(m, m->containers.n - 1, none, ((EmbPickleValue *) m->stack.items)[first + i]))
			return false;
	m->stack.n = first - drop;
	return emb_pickle_push_kind(m, EMB_PICKLE_TUPLE, m->containers.n - 1);
}

bool
emb_pickle_elements(const EmbPickleMachine *m, const EmbPickleValue *tuple, uint32_t n, EmbPickleValue *out)
{
	const EmbPickleContainer *c;
	uint32_t	at;

	if (tuple->kind != EMB_PICKLE_TUPLE)
		return false;
	c = (const EmbPickleContainer *) m->containers.items + tuple->i;
	if (c->n < n)
		return false;
	at = c->first;
	for (uint32_t i = 0; i < n; i++)
	{
		const EmbPickleCell *cell = (const EmbPickleCell *) m->cells.items + at;

		out[i] = cell->value;
		at = cell->next;
	}
	return true;
}
