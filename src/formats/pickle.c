/*
 * pickle.c
 *		The restricted machine of pickle.h: a stack of values, a memo, and
 *		containers, to which values refer by number.
 *
 * Each instruction takes at least one byte of input and adds at most one value
 * to stack, memo and cells; a tuple copies values from the stack. So the bytes
 * read limit everything, and nothing recurses.
 */
#include "formats/pickle.h"

#include <string.h>

#define OPS_PER_ASK		16384
#define NONE UINT32_MAX

typedef enum Kind
{
	KIND_NONE,
	KIND_BOOL,
	KIND_INT,					/* i; a number beyond 64 bits, or a real, is KIND_OTHER */
	KIND_TEXT,
	KIND_FUNCTION,				/* i: a Function */
	KIND_STORAGE_TYPE,			/* i: index in storage_types */
	KIND_STORAGE,				/* i: index in storages */
	KIND_TENSOR,				/* i: index in views */
	KIND_TUPLE,					/* i: container */
	KIND_LIST,
	KIND_DICT,
	KIND_MARK,
	KIND_OTHER
} Kind;

typedef enum Function
{
	FN_ORDERED_DICT,
	FN_TENSOR,
	FN_TENSOR_V2,
	FN_PARAMETER
} Function;

typedef struct Value
{
	Kind		kind;
	int64_t		i;
	EmbPickleText text;
} Value;

/* An element of a tuple or list, or a pair of a dictionary. */
typedef struct Cell
{
	Value		key;
	Value		value;
	uint32_t	next;
} Cell;

typedef struct Container
{
	uint32_t	first;
	uint32_t	last;
	uint32_t	n;
} Container;

/* A tensor that has no name yet. */
typedef struct View
{
	uint32_t	storage;
	int64_t		first;
	int			rank;
	int64_t		shape[EMB_TENSORS_MAX_RANK];
	int64_t		n_elems;
	bool		dense;			/* row-major without gaps */
} View;

/* A growing array. */
typedef struct Pile
{
	void	   *items;
	uint32_t	n;
	uint32_t	capacity;
} Pile;

typedef struct Machine
{
	const uint8_t *data;
	size_t		size;
	size_t		at;
	size_t		op_at;			/* of the current instruction, for messages */
	const char *file;
	const EmbAllocator *mem;
	const EmbStop *stop;
	EmbError   *err;
	EmbStatus	status;
	Pile		stack;			/* Value */
	Pile		memo;			/* Value; KIND_MARK: not set */
	Pile		cells;			/* Cell */
	Pile		containers;		/* Container */
	Pile		views;			/* View */
	Pile		storages;		/* EmbPickleStorage */
} Machine;

static const struct
{
	const char *name;
	const char *dtype_name;
	int			elem_bytes;
	EmbDtype	dtype;
}			storage_types[] =
{
	{"FloatStorage", "F32", 4, EMB_DTYPE_F32},
	{"HalfStorage", "F16", 2, EMB_DTYPE_F16},
	{"BFloat16Storage", "BF16", 2, EMB_DTYPE_BF16},
	{"DoubleStorage", "F64", 8, EMB_DTYPE_OTHER},
	{"LongStorage", "I64", 8, EMB_DTYPE_OTHER},
	{"IntStorage", "I32", 4, EMB_DTYPE_OTHER},
	{"ShortStorage", "I16", 2, EMB_DTYPE_OTHER},
	{"CharStorage", "I8", 1, EMB_DTYPE_OTHER},
	{"ByteStorage", "U8", 1, EMB_DTYPE_OTHER},
	{"BoolStorage", "BOOL", 1, EMB_DTYPE_OTHER},
};

static const struct
{
	const char *module;
	const char *name;
	Function	function;
}			functions[] =
{
	{"collections", "OrderedDict", FN_ORDERED_DICT},
	{"torch._utils", "_rebuild_tensor", FN_TENSOR},
	{"torch._utils", "_rebuild_tensor_v2", FN_TENSOR_V2},
	{"torch._utils", "_rebuild_parameter", FN_PARAMETER},
};

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* ------------------------------------------------------------- failing */

static bool
malformed(Machine *m, const char *what)
{
	if (m->status == EMB_OK)
		m->status = emb_error_at(m->err, EMB_ERR_FORMAT, (int64_t) m->op_at, "%s: the pickle is malformed: %s", m->file, what);
	return false;
}

static bool
refused(Machine *m, const char *what, EmbPickleText name)
{
	m->status = emb_error_at(m->err, EMB_ERR_UNSUPPORTED, (int64_t) m->op_at, "%s: the pickle asks for %s%s%.*s%s, which is refused",
							 m->file, what, name.len > 0 ? " \"" : "", (int) (name.len < 100 ? name.len : 100), name.text,
							 name.len > 0 ? "\"" : "");
	emb_error_hint(m->err, EMB_ERR_UNSUPPORTED, "Only state dicts of plain tensors are read. Use the model's safetensors file.");
	return false;
}

/* --------------------------------------------------------------- piles */

/* Adds an item, zeroed; NULL: out of memory. Pointers into the pile become invalid. */
static void *
add(Machine *m, Pile *pile, size_t item_bytes)
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

static bool
push(Machine *m, Value value)
{
	Value	   *slot = add(m, &m->stack, sizeof(Value));

	if (slot != NULL)
		*slot = value;
	return slot != NULL;
}

static bool
push_kind(Machine *m, Kind kind, int64_t i)
{
	return push(m, (Value) {.kind = kind, .i = i});
}

/* The value depth places below the top; NULL: there is none above the last mark. */
static Value *
peek(Machine *m, uint32_t depth)
{
	Value	   *stack = m->stack.items;

	if (m->stack.n <= depth)
		return NULL;
	for (uint32_t i = 0; i <= depth; i++)
		if (stack[m->stack.n - 1 - i].kind == KIND_MARK)
			return NULL;
	return &stack[m->stack.n - 1 - depth];
}

static bool
pop(Machine *m, Value *value)
{
	Value	   *top = peek(m, 0);

	if (top == NULL)
		return malformed(m, "its stack is empty");
	*value = *top;
	m->stack.n--;
	return true;
}

/* The position of the last mark. */
static bool
find_mark(Machine *m, uint32_t *mark)
{
	const Value *stack = m->stack.items;

	for (uint32_t i = m->stack.n; i-- > 0;)
	{
		if (stack[i].kind == KIND_MARK)
		{
			*mark = i;
			return true;
		}
	}
	return malformed(m, "a mark is missing");
}

/* ---------------------------------------------------------- containers */

static bool
push_container(Machine *m, Kind kind)
{
	Container  *c = add(m, &m->containers, sizeof(Container));

	if (c == NULL)
		return false;
	*c = (Container) {NONE, NONE, 0};
	return push_kind(m, kind, m->containers.n - 1);
}

static bool
append(Machine *m, int64_t container, Value key, Value value)
{
	Cell	   *cell = add(m, &m->cells, sizeof(Cell));
	Container  *c = (Container *) m->containers.items + container;

	if (cell == NULL)
		return false;
	*cell = (Cell) {key, value, NONE};
	if (c->n++ == 0)
		c->first = m->cells.n - 1;
	else
		((Cell *) m->cells.items)[c->last].next = m->cells.n - 1;
	c->last = m->cells.n - 1;
	return true;
}

/*
 * The stack's values from first on become elements (or pairs) of the container
 * below them; values below stay.
 */
static bool
append_stack(Machine *m, uint32_t first, uint32_t below, Kind kind)
{
	const Value none = {.kind = KIND_NONE};
	uint32_t	n = m->stack.n;
	uint32_t	step = kind == KIND_DICT ? 2 : 1;
	Value	   *target = below < n ? (Value *) m->stack.items + below : NULL;

	if (target == NULL || target->kind != kind || (n - first) % step != 0)
		return malformed(m, "elements for something that is not a container");
	for (uint32_t i = first; i < n; i += step)
	{
		const Value *stack = m->stack.items;

		if (!append(m, stack[below].i, kind == KIND_DICT ? stack[i] : none, stack[i + step - 1]))
			return false;
	}
	m->stack.n = below + 1;
	return true;
}

/* The top n values become one tuple; drop more values (a mark) are removed. */
static bool
make_tuple(Machine *m, uint32_t n, uint32_t drop)
{
	const Value none = {.kind = KIND_NONE};
	Container  *c;
	uint32_t	first = m->stack.n - n;

	if (n > 0 && peek(m, n - 1) == NULL)
		return malformed(m, "its stack is empty");
	c = add(m, &m->containers, sizeof(Container));
	if (c == NULL)
		return false;
	*c = (Container) {NONE, NONE, 0};
	for (uint32_t i = 0; i < n; i++)
		if (!append(m, m->containers.n - 1, none, ((Value *) m->stack.items)[first + i]))
			return false;
	m->stack.n = first - drop;
	return push_kind(m, KIND_TUPLE, m->containers.n - 1);
}

/* The first n elements of a tuple; false: it has fewer (without a report). */
static bool
elements(const Machine *m, const Value *tuple, uint32_t n, Value *out)
{
	const Container *c;
	uint32_t	at;

	if (tuple->kind != KIND_TUPLE)
		return false;
	c = (const Container *) m->containers.items + tuple->i;
	if (c->n < n)
		return false;
	at = c->first;
	for (uint32_t i = 0; i < n; i++)
	{
		const Cell *cell = (const Cell *) m->cells.items + at;

		out[i] = cell->value;
		at = cell->next;
	}
	return true;
}

/* ------------------------------------------------------------- tensors */

static bool
text_is(EmbPickleText t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.text, s, t.len) == 0;
}

/* ('storage', type, key, location, n_elems, ...) */
static bool
load_storage(Machine *m)
{
	Value		id;
	Value		part[5];
	EmbPickleStorage *storage;

	if (!pop(m, &id))
		return false;
	if (!elements(m, &id, 5, part) || part[0].kind != KIND_TEXT || !text_is(part[0].text, "storage") ||
		part[1].kind != KIND_STORAGE_TYPE || part[2].kind != KIND_TEXT || part[4].kind != KIND_INT || part[4].i < 0)
		return malformed(m, "a reference to something other than a storage");
	storage = add(m, &m->storages, sizeof(EmbPickleStorage));
	if (storage == NULL)
		return false;
	*storage = (EmbPickleStorage) {
		.key = part[2].text,
		.dtype_name = storage_types[part[1].i].dtype_name,
		.dtype = storage_types[part[1].i].dtype,
		.elem_bytes = storage_types[part[1].i].elem_bytes,
		.n_elems = part[4].i
	};
	return push_kind(m, KIND_STORAGE, m->storages.n - 1);
}

/* The numbers in a tuple: *n, at most EMB_TENSORS_MAX_RANK. */
static bool
read_numbers(Machine *m, const Value *tuple, int64_t *numbers, int *n)
{
	Value		part[EMB_TENSORS_MAX_RANK];
	uint32_t	count;

	if (tuple->kind != KIND_TUPLE)
		return malformed(m, "a tensor's shape is not a tuple");
	count = ((const Container *) m->containers.items)[tuple->i].n;
	if (count > EMB_TENSORS_MAX_RANK || !elements(m, tuple, count, part))
		return malformed(m, "a tensor has too many dimensions");
	*n = (int) count;
	for (uint32_t i = 0; i < count; i++)
	{
		if (part[i].kind != KIND_INT || part[i].i < 0)
			return malformed(m, "a dimension of a tensor is not a count");
		numbers[i] = part[i].i;
	}
	return true;
}

/* Counts the elements; returns whether they are in row-major order without gaps. */
static bool
measure_view(Machine *m, View *view, const int64_t *strides)
{
	view->n_elems = 1;
	view->dense = true;
	for (int i = view->rank - 1; i >= 0; i--)
	{
		/* the stride of a dimension with one element has no meaning */
		if (view->shape[i] != 1 && strides[i] != view->n_elems)
			view->dense = false;
		if (__builtin_mul_overflow(view->n_elems, view->shape[i], &view->n_elems))
			return malformed(m, "a tensor's shape overflows");
	}
	return true;
}

/* (storage, first element, shape, strides, ...) */
static bool
rebuild_tensor(Machine *m, const Value *arguments)
{
	Value		part[4];
	int64_t		strides[EMB_TENSORS_MAX_RANK];
	int			n_strides;
	View		view = {0};
	View	   *kept;
	int64_t		available;

	if (!elements(m, arguments, 4, part) || part[0].kind != KIND_STORAGE || part[1].kind != KIND_INT || part[1].i < 0)
		return malformed(m, "a tensor without a storage");
	view.storage = (uint32_t) part[0].i;
	view.first = part[1].i;
	if (!read_numbers(m, &part[2], view.shape, &view.rank) || !read_numbers(m, &part[3], strides, &n_strides))
		return false;
	if (n_strides != view.rank)
		return malformed(m, "a tensor whose shape and strides differ in length");
	if (!measure_view(m, &view, strides))
		return false;
	available = ((const EmbPickleStorage *) m->storages.items)[view.storage].n_elems;
	if (view.dense && (view.first > available || view.n_elems > available - view.first))
		return malformed(m, "a tensor beyond the end of its storage");
	kept = add(m, &m->views, sizeof(View));
	if (kept == NULL)
		return false;
	*kept = view;
	return push_kind(m, KIND_TENSOR, m->views.n - 1);
}

static bool
reduce(Machine *m)
{
	Value		arguments;
	Value		function;
	Value		tensor;

	if (!pop(m, &arguments) || !pop(m, &function))
		return false;
	if (function.kind != KIND_FUNCTION || arguments.kind != KIND_TUPLE)
		return malformed(m, "a call to something that is not a function");
	switch ((Function) function.i)
	{
		case FN_ORDERED_DICT:
			if (((const Container *) m->containers.items)[arguments.i].n > 0)
				return malformed(m, "an OrderedDict with arguments");
			return push_container(m, KIND_DICT);
		case FN_TENSOR:
		case FN_TENSOR_V2:
			return rebuild_tensor(m, &arguments);
		case FN_PARAMETER:
			if (!elements(m, &arguments, 1, &tensor) || tensor.kind != KIND_TENSOR)
				return malformed(m, "a parameter without a tensor");
			return push(m, tensor);
	}
	return malformed(m, "an unknown call");
}

static bool
push_global(Machine *m, EmbPickleText module, EmbPickleText name)
{
	char		full[200];
	int			n = 0;

	for (size_t i = 0; i < LENGTH(functions); i++)
		if (text_is(module, functions[i].module) && text_is(name, functions[i].name))
			return push_kind(m, KIND_FUNCTION, functions[i].function);
	if (text_is(module, "torch"))
		for (size_t i = 0; i < LENGTH(storage_types); i++)
			if (text_is(name, storage_types[i].name))
				return push_kind(m, KIND_STORAGE_TYPE, (int64_t) i);
	/* shown only if it is a name, because the bytes go into a message */
	for (size_t i = 0; i < module.len + 1 + name.len && n < (int) sizeof(full); i++)
	{
		char		c = i < module.len ? module.text[i] : i == module.len ? '.' : name.text[i - module.len - 1];

		full[n++] = c > ' ' && c < 0x7F ? c : '?';
	}
	return refused(m, "the name", (EmbPickleText) {full, (size_t) n});
}

/* -------------------------------------------------------- instructions */

static const uint8_t *
take(Machine *m, size_t n)
{
	const uint8_t *p = m->data + m->at;

	if (n > m->size - m->at)
	{
		malformed(m, "it ends too early");
		return NULL;
	}
	m->at += n;
	return p;
}

static bool
take_number(Machine *m, int n_bytes, uint64_t *number)
{
	const uint8_t *p = take(m, n_bytes);

	*number = 0;
	for (int i = n_bytes - 1; p != NULL && i >= 0; i--)
		*number = *number << 8 | p[i];
	return p != NULL;
}

static bool
push_text(Machine *m, int length_bytes)
{
	uint64_t	len;
	const uint8_t *p;

	if (!take_number(m, length_bytes, &len))
		return false;
	p = take(m, len);
	return p != NULL && push(m, (Value) {.kind = KIND_TEXT, .text = {(const char *) p, len}});
}

/* Two's complement, little endian; no bytes mean 0. */
static bool
push_long(Machine *m)
{
	uint64_t	n;
	uint64_t	bits = 0;
	const uint8_t *p;

	if (!take_number(m, 1, &n) || (p = take(m, n)) == NULL)
		return false;
	if (n > 8)
		return push_kind(m, KIND_OTHER, 0);
	if (n > 0 && p[n - 1] >= 0x80)
		bits = UINT64_MAX;
	for (uint64_t i = n; i-- > 0;)
		bits = bits << 8 | p[i];
	return push_kind(m, KIND_INT, (int64_t) bits);
}

static bool
take_line(Machine *m, EmbPickleText *line)
{
	const uint8_t *start = m->data + m->at;
	const uint8_t *end = memchr(start, '\n', m->size - m->at);

	if (end == NULL)
		return malformed(m, "it ends too early");
	*line = (EmbPickleText) {(const char *) start, (size_t) (end - start)};
	m->at += line->len + 1;
	return true;
}

static bool
load_global(Machine *m)
{
	EmbPickleText module;
	EmbPickleText name;

	return take_line(m, &module) && take_line(m, &name) && push_global(m, module, name);
}

static bool
load_stack_global(Machine *m)
{
	Value		name;
	Value		module;

	if (!pop(m, &name) || !pop(m, &module))
		return false;
	if (name.kind != KIND_TEXT || module.kind != KIND_TEXT)
		return malformed(m, "a name that is not a string");
	return push_global(m, module.text, name.text);
}

static bool
memo_put(Machine *m, uint64_t i)
{
	const Value *top = peek(m, 0);
	Value		kept;

	if (top == NULL)
		return malformed(m, "its stack is empty");
	kept = *top;
	/*
	 * an entry needs at least one byte of input: a sparse memo would take
	 * memory without any input
	 */
	if (i > m->at)
		return malformed(m, "a memo with gaps");
	while (m->memo.n <= i)
	{
		Value	   *slot = add(m, &m->memo, sizeof(Value));

		if (slot == NULL)
			return false;
		slot->kind = KIND_MARK;
	}
	((Value *) m->memo.items)[i] = kept;
	return true;
}

static bool
memo_get(Machine *m, uint64_t i)
{
	if (i >= m->memo.n || ((Value *) m->memo.items)[i].kind == KIND_MARK)
		return malformed(m, "a memo that was never written");
	return push(m, ((Value *) m->memo.items)[i]);
}

/* The state of an object; for an OrderedDict this is its _metadata, which we do not need. */
static bool
build(Machine *m)
{
	Value		state;
	const Value *object;

	if (!pop(m, &state))
		return false;
	object = peek(m, 0);
	if (object == NULL || object->kind != KIND_DICT)
		return refused(m, "attributes of an object", (EmbPickleText) {"", 0});
	return true;
}

static bool
from_mark(Machine *m, Kind kind)
{
	uint32_t	mark = 0;

	if (!find_mark(m, &mark))
		return false;
	if (kind == KIND_TUPLE)
		return make_tuple(m, m->stack.n - mark - 1, 1);
	if (mark == 0)
		return malformed(m, "elements for something that is not a container");
	return append_stack(m, mark + 1, mark - 1, kind);
}

static bool
append_top(Machine *m, uint32_t n, Kind kind)
{
	if (peek(m, n) == NULL)
		return malformed(m, "its stack is empty");
	return append_stack(m, m->stack.n - n, m->stack.n - n - 1, kind);
}

static bool
push_fixed(Machine *m, int n_bytes, bool is_signed)
{
	uint64_t	n;

	return take_number(m, n_bytes, &n) && push_kind(m, KIND_INT, is_signed ? (int32_t) (uint32_t) n : (int64_t) n);
}

static bool
memo_by_number(Machine *m, int n_bytes, bool put)
{
	uint64_t	i;

	return take_number(m, n_bytes, &i) && (put ? memo_put(m, i) : memo_get(m, i));
}

/* Names from Python's pickletools. */
static bool
step(Machine *m, uint8_t op)
{
	uint64_t	n;

	switch (op)
	{
		case 0x80:				/* PROTO */
			if (!take_number(m, 1, &n))
				return false;
			return n >= 2 && n <= 5 ? true : malformed(m, "its protocol is not 2 to 5");
		case 0x95:				/* FRAME */
			return take(m, 8) != NULL;
		case '(':				/* MARK */
			return push_kind(m, KIND_MARK, 0);
		case 'N':
			return push_kind(m, KIND_NONE, 0);
		case 0x88:				/* NEWTRUE */
		case 0x89:				/* NEWFALSE */
			return push_kind(m, KIND_BOOL, op == 0x88);
		case 'K':				/* BININT1 */
			return push_fixed(m, 1, false);
		case 'M':				/* BININT2 */
			return push_fixed(m, 2, false);
		case 'J':				/* BININT */
			return push_fixed(m, 4, true);
		case 0x8A:				/* LONG1 */
			return push_long(m);
		case 'G':				/* BINFLOAT */
			return take(m, 8) != NULL && push_kind(m, KIND_OTHER, 0);
		case 'X':				/* BINUNICODE */
		case 'T':				/* BINSTRING */
			return push_text(m, 4);
		case 0x8C:				/* SHORT_BINUNICODE */
		case 'U':				/* SHORT_BINSTRING */
			return push_text(m, 1);
		case ')':				/* EMPTY_TUPLE */
			return push_container(m, KIND_TUPLE);
		case 't':
			return from_mark(m, KIND_TUPLE);
		case 0x85:				/* TUPLE1 .. TUPLE3 */
		case 0x86:
		case 0x87:
			return make_tuple(m, op - 0x84, 0);
		case ']':				/* EMPTY_LIST */
			return push_container(m, KIND_LIST);
		case 'a':				/* APPEND */
			return append_top(m, 1, KIND_LIST);
		case 'e':				/* APPENDS */
			return from_mark(m, KIND_LIST);
		case '}':				/* EMPTY_DICT */
			return push_container(m, KIND_DICT);
		case 's':				/* SETITEM */
			return append_top(m, 2, KIND_DICT);
		case 'u':				/* SETITEMS */
			return from_mark(m, KIND_DICT);
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
			return load_storage(m);
		case 'R':				/* REDUCE */
			return reduce(m);
		case 'b':				/* BUILD */
			return build(m);
	}
	m->status = emb_error_at(m->err, EMB_ERR_UNSUPPORTED, (int64_t) m->op_at,
							 "%s: the pickle uses instruction 0x%02X, which is refused", m->file, op);
	emb_error_hint(m->err, EMB_ERR_UNSUPPORTED, "Only state dicts of plain tensors are read. Use the model's safetensors file.");
	return false;
}

/* Runs up to STOP; *result is then the top of the stack. */
static bool
run(Machine *m, Value *result)
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
			return pop(m, result);
		if (!step(m, *op))
			return false;
	}
}

/* -------------------------------------------------------------- results */

static Machine
machine(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop, EmbError *err)
{
	return (Machine) {
		.data = data, .size = size, .file = file, .mem = mem, .stop = stop, .err = err
	};
}

/* Frees everything except the storages, which a state keeps. */
static void
free_machine(Machine *m)
{
	emb_release(m->mem, m->stack.items);
	emb_release(m->mem, m->memo.items);
	emb_release(m->mem, m->cells.items);
	emb_release(m->mem, m->containers.items);
	emb_release(m->mem, m->views.items);
}

static uint32_t
count_tensors(const Machine *m, const Value *dict)
{
	uint32_t	n = 0;
	uint32_t	at = ((const Container *) m->containers.items)[dict->i].first;

	for (; at != NONE; at = ((const Cell *) m->cells.items)[at].next)
		n += ((const Cell *) m->cells.items)[at].value.kind == KIND_TENSOR;
	return n;
}

/* The dictionary with the tensors. */
static bool
find_state(Machine *m, Value *dict)
{
	uint32_t	at;

	if (dict->kind != KIND_DICT)
		return malformed(m, "it holds no dictionary");
	if (count_tensors(m, dict) > 0)
		return true;
	at = ((const Container *) m->containers.items)[dict->i].first;
	for (; at != NONE; at = ((const Cell *) m->cells.items)[at].next)
	{
		const Cell *cell = (const Cell *) m->cells.items + at;

		if (cell->key.kind == KIND_TEXT && text_is(cell->key.text, "state_dict") && cell->value.kind == KIND_DICT)
			*dict = cell->value;
	}
	return true;
}

static bool
name_tensor(Machine *m, const Cell *cell, EmbPickleTensor *t)
{
	const View *view = (const View *) m->views.items + cell->value.i;

	if (cell->key.kind != KIND_TEXT || cell->key.text.len < 1 || cell->key.text.len > EMB_TENSORS_MAX_NAME ||
		memchr(cell->key.text.text, '\0', cell->key.text.len) != NULL)
		return malformed(m, "a tensor without a name of 1 to 255 bytes");
	if (!view->dense)
		return refused(m, "a transposed or strided view, tensor", cell->key.text);
	*t = (EmbPickleTensor) {
		.name = cell->key.text, .storage = view->storage, .first = view->first, .rank = view->rank, .n_elems = view->n_elems
	};
	memcpy(t->shape, view->shape, sizeof(t->shape));
	return true;
}

static bool
collect(Machine *m, const Value *dict, EmbPickle *pickle)
{
	uint32_t	at = ((const Container *) m->containers.items)[dict->i].first;

	pickle->tensors = emb_alloc_zero(m->mem, (size_t) count_tensors(m, dict) + 1, sizeof(EmbPickleTensor));
	if (pickle->tensors == NULL)
	{
		m->status = emb_error(m->err, EMB_ERR_NOMEM, "out of memory reading the pickle of %s", m->file);
		return false;
	}
	for (; at != NONE; at = ((const Cell *) m->cells.items)[at].next)
	{
		const Cell *cell = (const Cell *) m->cells.items + at;

		if (cell->value.kind != KIND_TENSOR)
			continue;
		if (!name_tensor(m, cell, &pickle->tensors[pickle->n_tensors]))
			return false;
		pickle->n_tensors++;
	}
	return true;
}

EmbStatus
emb_pickle_read_state(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop,
					  EmbPickle *pickle, size_t *used, EmbError *err)
{
	Machine		m = machine(data, size, file, mem, stop, err);
	Value		dict;

	*pickle = (EmbPickle) {.mem = mem};
	if (run(&m, &dict) && find_state(&m, &dict))
		collect(&m, &dict, pickle);
	pickle->storages = m.storages.items;
	pickle->n_storages = m.storages.n;
	*used = m.at;
	free_machine(&m);
	if (m.status != EMB_OK)
		emb_pickle_free(pickle);
	return m.status;
}

EmbStatus
emb_pickle_read_texts(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop,
					  EmbPickleText *texts, uint32_t max, uint32_t *n_texts, size_t *used, EmbError *err)
{
	Machine		m = machine(data, size, file, mem, stop, err);
	Value		list;

	*n_texts = 0;
	if (run(&m, &list))
	{
		uint32_t	at = NONE;

		if (list.kind != KIND_LIST || ((const Container *) m.containers.items)[list.i].n > max)
			malformed(&m, "it holds no list of the expected length");
		else
			at = ((const Container *) m.containers.items)[list.i].first;
		for (; at != NONE; at = ((const Cell *) m.cells.items)[at].next)
		{
			const Value *value = &((const Cell *) m.cells.items)[at].value;

			if (value->kind != KIND_TEXT)
				malformed(&m, "its list holds something other than strings");
			texts[(*n_texts)++] = value->text;
		}
	}
	*used = m.at;
	emb_release(mem, m.storages.items);
	free_machine(&m);
	return m.status;
}

EmbStatus
emb_pickle_skip(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop,
				size_t *used, EmbError *err)
{
	Machine		m = machine(data, size, file, mem, stop, err);
	Value		value;

	run(&m, &value);
	*used = m.at;
	emb_release(mem, m.storages.items);
	free_machine(&m);
	return m.status;
}

void
emb_pickle_free(EmbPickle *pickle)
{
	emb_release(pickle->mem, pickle->storages);
	emb_release(pickle->mem, pickle->tensors);
	pickle->storages = NULL;
	pickle->tensors = NULL;
	pickle->n_storages = pickle->n_tensors = 0;
}
