/*
 * pickle_machine.c
 *		The instructions of the restricted machine of pickle.h.
 */
#include "formats/pickle_machine.h"

#include <string.h>

#define OPS_PER_ASK		16384

static const uint8_t *
take(EmbPickleMachine *m, size_t n)
{
	const uint8_t *p = m->data + m->at;

	if (n > m->size - m->at)
	{
		emb_pickle_malformed(m, "it ends too early");
		return NULL;
	}
	m->at += n;
	return p;
}

static bool
take_number(EmbPickleMachine *m, int n_bytes, uint64_t *number)
{
	const uint8_t *p = take(m, n_bytes);

	*number = 0;
	for (int i = n_bytes - 1; p != NULL && i >= 0; i--)
		*number = *number << 8 | p[i];
	return p != NULL;
}

static bool
push_text(EmbPickleMachine *m, int length_bytes)
{
	uint64_t	len;
	const uint8_t *p;

	if (!take_number(m, length_bytes, &len))
		return false;
	p = take(m, len);
	return p != NULL && emb_pickle_push(m, (EmbPickleValue) {.kind = EMB_PICKLE_TEXT, .text = {(const char *) p, len}});
}

/* Two's complement, little endian; no bytes mean 0. */
static bool
push_long(EmbPickleMachine *m)
{
	uint64_t	n;
	uint64_t	bits = 0;
	const uint8_t *p;

	if (!take_number(m, 1, &n) || (p = take(m, n)) == NULL)
		return false;
	if (n > 8)
		return emb_pickle_push_kind(m, EMB_PICKLE_OTHER, 0);
	if (n > 0 && p[n - 1] >= 0x80)
		bits = UINT64_MAX;
	for (uint64_t i = n; i-- > 0;)
		bits = bits << 8 | p[i];
	return emb_pickle_push_kind(m, EMB_PICKLE_INT, (int64_t) bits);
}

static bool
take_line(EmbPickleMachine *m, EmbPickleText *line)
{
	const uint8_t *start = m->data + m->at;
	const uint8_t *end = memchr(start, '\n', m->size - m->at);

	if (end == NULL)
		return emb_pickle_malformed(m, "it ends too early");
	*line = (EmbPickleText) {(const char *) start, (size_t) (end - start)};
	m->at += line->len + 1;
	return true;
}

static bool
load_global(EmbPickleMachine *m)
{
	EmbPickleText module;
	EmbPickleText name;

	return take_line(m, &module) && take_line(m, &name) && emb_pickle_push_global(m, module, name);
}

static bool
load_stack_global(EmbPickleMachine *m)
{
	EmbPickleValue name;
	EmbPickleValue module;

	if (!emb_pickle_pop(m, &name) || !emb_pickle_pop(m, &module))
		return false;
	if (name.kind != EMB_PICKLE_TEXT || module.kind != EMB_PICKLE_TEXT)
		return emb_pickle_malformed(m, "a name that is not a string");
	return emb_pickle_push_global(m, module.text, name.text);
}

static bool
memo_put(EmbPickleMachine *m, uint64_t i)
{
	const EmbPickleValue *top = emb_pickle_peek(m, 0);
	EmbPickleValue kept;

	if (top == NULL)
		return emb_pickle_malformed(m, "its stack is empty");
	kept = *top;
	/*
	 * an entry needs at least one byte of input: a sparse memo would take
	 * memory without any input
	 */
	if (i > m->at)
		return emb_pickle_malformed(m, "a memo with gaps");
	while (m->memo.n <= i)
	{
		EmbPickleValue	   *slot = emb_pickle_add(m, &m->memo, sizeof(EmbPickleValue));

		if (slot == NULL)
			return false;
		slot->kind = EMB_PICKLE_MARK;
	}
	((EmbPickleValue *) m->memo.items)[i] = kept;
	return true;
}

static bool
memo_get(EmbPickleMachine *m, uint64_t i)
{
	if (i >= m->memo.n || ((EmbPickleValue *) m->memo.items)[i].kind == EMB_PICKLE_MARK)
		return emb_pickle_malformed(m, "a memo that was never written");
	return emb_pickle_push(m, ((EmbPickleValue *) m->memo.items)[i]);
}

/* The state of an object; for an OrderedDict this is its _metadata, which we do not need. */
static bool
build(EmbPickleMachine *m)
{
	EmbPickleValue state;
	const EmbPickleValue *object;

	if (!emb_pickle_pop(m, &state))
		return false;
	object = emb_pickle_peek(m, 0);
	if (object == NULL || object->kind != EMB_PICKLE_DICT)
		return emb_pickle_refused(m, "attributes of an object", (EmbPickleText) {"", 0});
	return true;
}

static bool
from_mark(EmbPickleMachine *m, EmbPickleKind kind)
{
	uint32_t	mark = 0;

	if (!emb_pickle_find_mark(m, &mark))
		return false;
	if (kind == EMB_PICKLE_TUPLE)
		return emb_pickle_make_tuple(m, m->stack.n - mark - 1, 1);
	if (mark == 0)
		return emb_pickle_malformed(m, "elements for something that is not a container");
	return emb_pickle_append_stack(m, mark + 1, mark - 1, kind);
}

static bool
append_top(EmbPickleMachine *m, uint32_t n, EmbPickleKind kind)
{
	if (emb_pickle_peek(m, n) == NULL)
		return emb_pickle_malformed(m, "its stack is empty");
	return emb_pickle_append_stack(m, m->stack.n - n, m->stack.n - n - 1, kind);
}

static bool
push_fixed(EmbPickleMachine *m, int n_bytes, bool is_signed)
{
	uint64_t	n;

	return take_number(m, n_bytes, &n) && emb_pickle_push_kind(m, EMB_PICKLE_INT, is_signed ? (int32_t) (uint32_t) n : (int64_t) n);
}

static bool
memo_by_number(EmbPickleMachine *m, int n_bytes, bool put)
{
	uint64_t	i;

	return take_number(m, n_bytes, &i) && (put ? memo_put(m, i) : memo_get(m, i));
}

/* Names from Python's pickletools. */
static bool
step(EmbPickleMachine *m, uint8_t op)
{
	uint64_t	n;

	switch (op)
	{
		case 0x80:				/* PROTO */
			if (!take_number(m, 1, &n))
				return false;
			return n >= 2 && n <= 5 ? true : emb_pickle_malformed(m, "its protocol is not 2 to 5");
		case 0x95:				/* FRAME */
			return take(m, 8) != NULL;
		case '(':				/* MARK */
			return emb_pickle_push_kind(m, EMB_PICKLE_MARK, 0);
		case 'N':
			return emb_pickle_push_kind(m, EMB_PICKLE_NONE, 0);
		case 0x88:				/* NEWTRUE */
		case 0x89:				/* NEWFALSE */
			return emb_pickle_push_kind(m, EMB_PICKLE_BOOL, op == 0x88);
		case 'K':				/* BININT1 */
			return push_fixed(m, 1, false);
		case 'M':				/* BININT2 */
			return push_fixed(m, 2, false);
		case 'J':				/* BININT */
			return push_fixed(m, 4, true);
		case 0x8A:				/* LONG1 */
			return push_long(m);
		case 'G':				/* BINFLOAT */
			return take(m, 8) != NULL && emb_pickle_push_kind(m, EMB_PICKLE_OTHER, 0);
		case 'X':				/* BINUNICODE */
		case 'T':				/* BINSTRING */
			return push_text(m, 4);
		case 0x8C:				/* SHORT_BINUNICODE */
		case 'U':				/* SHORT_BINSTRING */
			return push_text(m, 1);
		case ')':				/* EMPTY_TUPLE */
			return emb_pickle_push_container(m, EMB_PICKLE_TUPLE);
		case 't':
			return from_mark(m, EMB_PICKLE_TUPLE);
		case 0x85:				/* TUPLE1 .. TUPLE3 */
		case 0x86:
		case 0x87:
			return emb_pickle_make_tuple(m, op - 0x84, 0);
		case ']':				/* EMPTY_LIST */
			return emb_pickle_push_container(m, EMB_PICKLE_LIST);
		case 'a':				/* APPEND */
			return append_top(m, 1, EMB_PICKLE_LIST);
		case 'e':				/* APPENDS */
			return from_mark(m, EMB_PICKLE_LIST);
		case '}':				/* EMPTY_DICT */
			return emb_pickle_push_container(m, EMB_PICKLE_DICT);
		case 's':				/* SETITEM */
			return append_top(m, 2, EMB_PICKLE_DICT);
		case 'u':				/* SETITEMS */
			return from_mark(m, EMB_PICKLE_DICT);
		case 'q':				/* BINPUT, LONG_BINPUT, BINGET, LONG_BINGET */
			return memo_by_number(m, 1, true);
		case 'r':
			return memo_by_number(m, 4, true);
		case 'h':
			return memo_by_number(m, 1, false);
		case 'j':
			return memo_by_number(m, 4, false);
		case 0x94:				/* MEMOIZE */
			return memo_put(m, m->memo.n);
		case 'c':				/* GLOBAL */
			return load_global(m);
		case 0x93:				/* STACK_GLOBAL */
			return load_stack_global(m);
		case 'Q':				/* BINPERSID */
			return emb_pickle_load_storage(m);
		case 'R':				/* REDUCE */
			return emb_pickle_reduce(m);
		case 'b':				/* BUILD */
			return build(m);
	}
	m->status = emb_error_at(m->err, EMB_ERR_UNSUPPORTED, (int64_t) m->op_at,
							 "%s: the pickle uses instruction 0x%02X, which is refused", m->file, op);
	emb_error_hint(m->err, EMB_ERR_UNSUPPORTED, "Only state dicts of plain tensors are read. Use the model's safetensors file.");
	return false;
}

bool
emb_pickle_run(EmbPickleMachine *m, EmbPickleValue *result)
{
	for (size_t n_ops = 1;; n_ops++)
	{
		const uint8_t *op;

		if (n_ops % OPS_PER_ASK == 0 && emb_should_stop(m->stop))
		{
			m->status = emb_error(m->err, EMB_ERR_CANCELLED, "reading %s was cancelled", m->file);
			return false;
		}
		m->op_at = m->at;
		op = take(m, 1);
		if (op == NULL)
			return false;
		if (*op == '.')
			return emb_pickle_pop(m, result);
		if (!step(m, *op))
			return false;
	}
}
