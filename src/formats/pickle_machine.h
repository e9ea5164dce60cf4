/*
 * pickle_machine.h
 *		The restricted machine of pickle.h: a stack of values, a memo, and
 *		containers, to which values refer by number.
 *
 * Each instruction takes at least one byte of input and adds at most one value
 * to stack, memo and cells; a tuple copies values from the stack. So the bytes
 * read limit everything, and nothing recurses.
 *
 * A function that returns a bool returns false after a failure, with
 * machine->status and machine->err set.
 */
#ifndef EMB_FORMATS_PICKLE_MACHINE_H
#define EMB_FORMATS_PICKLE_MACHINE_H

#include "formats/pickle.h"

#define EMB_PICKLE_NO_CELL	UINT32_MAX

typedef enum EmbPickleKind
{
	EMB_PICKLE_NONE,
	EMB_PICKLE_BOOL,
	EMB_PICKLE_INT,				/* i; a number beyond 64 bits, or a real, is EMB_PICKLE_OTHER */
	EMB_PICKLE_TEXT,
	EMB_PICKLE_FUNCTION,		/* i: known to pickle_torch.c */
	EMB_PICKLE_STORAGE_TYPE,	/* i: known to pickle_torch.c */
	EMB_PICKLE_STORAGE,			/* i: index in storages */
	EMB_PICKLE_TENSOR,			/* i: index in views */
	EMB_PICKLE_TUPLE,			/* i: container */
	EMB_PICKLE_LIST,
	EMB_PICKLE_DICT,
	EMB_PICKLE_MARK,
	EMB_PICKLE_OTHER
} EmbPickleKind;

typedef struct EmbPickleValue
{
	EmbPickleKind kind;
	int64_t		i;
	EmbPickleText text;
} EmbPickleValue;

/* An element of a tuple or list, or a pair of a dictionary. */
typedef struct EmbPickleCell
{
	EmbPickleValue key;
	EmbPickleValue value;
	uint32_t	next;
} EmbPickleCell;

typedef struct EmbPickleContainer
{
	uint32_t	first;
	uint32_t	last;
	uint32_t	n;
} EmbPickleContainer;

/* A tensor that has no name yet. */
typedef struct EmbPickleView
{
	uint32_t	storage;
	int64_t		first;
	int			rank;
	int64_t		shape[EMB_TENSORS_MAX_RANK];
	int64_t		n_elems;
	bool		dense;			/* row-major without gaps */
} EmbPickleView;

/* A growing array. */
typedef struct EmbPicklePile
{
	void	   *items;
	uint32_t	n;
	uint32_t	capacity;
} EmbPicklePile;

typedef struct EmbPickleMachine
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
	EmbPicklePile stack;		/* EmbPickleValue */
	EmbPicklePile memo;			/* EmbPickleValue; EMB_PICKLE_MARK: not set */
	EmbPicklePile cells;		/* EmbPickleCell */
	EmbPicklePile containers;	/* EmbPickleContainer */
	EmbPicklePile views;		/* EmbPickleView */
	EmbPicklePile storages;		/* EmbPickleStorage */
} EmbPickleMachine;

/* ---------------------------------------------------- pickle_values.c */

extern bool emb_pickle_malformed(EmbPickleMachine *m, const char *what);
extern bool emb_pickle_refused(EmbPickleMachine *m, const char *what, EmbPickleText name);
extern bool emb_pickle_text_is(EmbPickleText t, const char *s);

/* Adds an item, zeroed; NULL: out of memory. Pointers into the pile become invalid. */
extern void *emb_pickle_add(EmbPickleMachine *m, EmbPicklePile *pile, size_t item_bytes);

extern bool emb_pickle_push(EmbPickleMachine *m, EmbPickleValue value);
extern bool emb_pickle_push_kind(EmbPickleMachine *m, EmbPickleKind kind, int64_t i);

/* The value depth places below the top; NULL: there is none above the last mark. */
extern EmbPickleValue *emb_pickle_peek(EmbPickleMachine *m, uint32_t depth);
extern bool emb_pickle_pop(EmbPickleMachine *m, EmbPickleValue *value);

/* The position of the last mark. */
extern bool emb_pickle_find_mark(EmbPickleMachine *m, uint32_t *mark);

/* Pushes an empty tuple, list or dictionary. */
extern bool emb_pickle_push_container(EmbPickleMachine *m, EmbPickleKind kind);

/*
 * The stack's values from first on become elements (or pairs) of the container
 * below them; values below stay.
 */
extern bool emb_pickle_append_stack(EmbPickleMachine *m, uint32_t first, uint32_t below, EmbPickleKind kind);

/* The top n values become one tuple; drop more values (a mark) are removed. */
extern bool emb_pickle_make_tuple(EmbPickleMachine *m, uint32_t n, uint32_t drop);

/* The first n elements of a tuple; false: it has fewer (without a report). */
extern bool emb_pickle_elements(const EmbPickleMachine *m, const EmbPickleValue *tuple, uint32_t n, EmbPickleValue *out);

/* ----------------------------------------------------- pickle_torch.c */

/* Pushes the function or storage type of that name; refuses other names. */
extern bool emb_pickle_push_global(EmbPickleMachine *m, EmbPickleText module, EmbPickleText name);

/* Calls the function below the top with the arguments on top. */
extern bool emb_pickle_reduce(EmbPickleMachine *m);

/* The tuple on top, ('storage', type, key, location, n_elems, ...), becomes a storage. */
extern bool emb_pickle_load_storage(EmbPickleMachine *m);

/* --------------------------------------------------- pickle_machine.c */

/* Runs up to STOP; *result is then the top of the stack. */
extern bool emb_pickle_run(EmbPickleMachine *m, EmbPickleValue *result);

#endif
