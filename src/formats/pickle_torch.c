/*
 * pickle_torch.c
 *		What torch.save writes into a pickle: the names of functions and
 *		storage types, storages, and calls that describe a tensor.
 */
#include "formats/pickle_machine.h"

#include <string.h>

typedef enum Function
{
	FN_ORDERED_DICT,
	FN_TENSOR,
	FN_TENSOR_V2,
	FN_PARAMETER
} Function;

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
	{"LongStorage", "I64", 8, EMB_DTYPE_I64},
	{"IntStorage", "I32", 4, EMB_DTYPE_I32},
	{"ShortStorage", "I16", 2, EMB_DTYPE_OTHER},
	{"CharStorage", "I8", 1, EMB_DTYPE_I8},
	{"ByteStorage", "U8", 1, EMB_DTYPE_U8},
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

/* ('storage', type, key, location, n_elems, ...) */
bool
emb_pickle_load_storage(EmbPickleMachine *m)
{
	EmbPickleValue id;
	EmbPickleValue part[5];
	EmbPickleStorage *storage;

	if (!emb_pickle_pop(m, &id))
		return false;
	if (!emb_pickle_elements(m, &id, 5, part) || part[0].kind != EMB_PICKLE_TEXT || !emb_pickle_text_is(part[0].text, "storage") ||
		part[1].kind != EMB_PICKLE_STORAGE_TYPE || part[2].kind != EMB_PICKLE_TEXT || part[4].kind != EMB_PICKLE_INT || part[4].i < 0)
		return emb_pickle_malformed(m, "a reference to something other than a storage");
	storage = emb_pickle_add(m, &m->storages, sizeof(EmbPickleStorage));
	if (storage == NULL)
		return false;
	*storage = (EmbPickleStorage) {
		.key = part[2].text,
		.dtype_name = storage_types[part[1].i].dtype_name,
		.dtype = storage_types[part[1].i].dtype,
		.elem_bytes = storage_types[part[1].i].elem_bytes,
		.n_elems = part[4].i
	};
	return emb_pickle_push_kind(m, EMB_PICKLE_STORAGE, m->storages.n - 1);
}

/* The numbers in a tuple: *n, at most EMB_TENSORS_MAX_RANK. */
static bool
read_numbers(EmbPickleMachine *m, const EmbPickleValue *tuple, int64_t *numbers, int *n)
{
	EmbPickleValue part[EMB_TENSORS_MAX_RANK];
	uint32_t	count;

	if (tuple->kind != EMB_PICKLE_TUPLE)
		return emb_pickle_malformed(m, "a tensor's shape is not a tuple");
	count = ((const EmbPickleContainer *) m->containers.items)[tuple->i].n;
	if (count > EMB_TENSORS_MAX_RANK || !emb_pickle_elements(m, tuple, count, part))
		return emb_pickle_malformed(m, "a tensor has too many dimensions");
	*n = (int) count;
	for (uint32_t i = 0; i < count; i++)
	{
		if (part[i].kind != EMB_PICKLE_INT || part[i].i < 0)
			return emb_pickle_malformed(m, "a dimension of a tensor is not a count");
		numbers[i] = part[i].i;
	}
	return true;
}

/* Counts the elements; returns whether they are in row-major order without gaps. */
static bool
measure_view(EmbPickleMachine *m, EmbPickleView *view, const int64_t *strides)
{
	view->n_elems = 1;
	view->dense = true;
	for (int i = view->rank - 1; i >= 0; i--)
	{
		/* the stride of a dimension with one element has no meaning */
		if (view->shape[i] != 1 && strides[i] != view->n_elems)
			view->dense = false;
		if (__builtin_mul_overflow(view->n_elems, view->shape[i], &view->n_elems))
			return emb_pickle_malformed(m, "a tensor's shape overflows");
	}
	return true;
}

/* (storage, first element, shape, strides, ...) */
static bool
rebuild_tensor(EmbPickleMachine *m, const EmbPickleValue *arguments)
{
	EmbPickleValue part[4];
	int64_t		strides[EMB_TENSORS_MAX_RANK];
	int			n_strides;
	EmbPickleView view = {0};
	EmbPickleView	   *kept;
	int64_t		available;

	if (!emb_pickle_elements(m, arguments, 4, part) || part[0].kind != EMB_PICKLE_STORAGE || part[1].kind != EMB_PICKLE_INT || part[1].i < 0)
		return emb_pickle_malformed(m, "a tensor without a storage");
	view.storage = (uint32_t) part[0].i;
	view.first = part[1].i;
	if (!read_numbers(m, &part[2], view.shape, &view.rank) || !read_numbers(m, &part[3], strides, &n_strides))
		return false;
	if (n_strides != view.rank)
		return emb_pickle_malformed(m, "a tensor whose shape and strides differ in length");
	if (!measure_view(m, &view, strides))
		return false;
	available = ((const EmbPickleStorage *) m->storages.items)[view.storage].n_elems;
	if (view.dense && (view.first > available || view.n_elems > available - view.first))
		return emb_pickle_malformed(m, "a tensor beyond the end of its storage");
	kept = emb_pickle_add(m, &m->views, sizeof(EmbPickleView));
	if (kept == NULL)
		return false;
	*kept = view;
	return emb_pickle_push_kind(m, EMB_PICKLE_TENSOR, m->views.n - 1);
}

bool
emb_pickle_reduce(EmbPickleMachine *m)
{
	EmbPickleValue arguments;
	EmbPickleValue function;
	EmbPickleValue tensor;

	if (!emb_pickle_pop(m, &arguments) || !emb_pickle_pop(m, &function))
		return false;
	if (function.kind != EMB_PICKLE_FUNCTION || arguments.kind != EMB_PICKLE_TUPLE)
		return emb_pickle_malformed(m, "a call to something that is not a function");
	switch ((Function) function.i)
	{
		case FN_ORDERED_DICT:
			if (((const EmbPickleContainer *) m->containers.items)[arguments.i].n > 0)
				return emb_pickle_malformed(m, "an OrderedDict with arguments");
			return emb_pickle_push_container(m, EMB_PICKLE_DICT);
		case FN_TENSOR:
		case FN_TENSOR_V2:
			return rebuild_tensor(m, &arguments);
		case FN_PARAMETER:
			if (!emb_pickle_elements(m, &arguments, 1, &tensor) || tensor.kind != EMB_PICKLE_TENSOR)
				return emb_pickle_malformed(m, "a parameter without a tensor");
			return emb_pickle_push(m, tensor);
	}
	return emb_pickle_malformed(m, "an unknown call");
}

bool
emb_pickle_push_global(EmbPickleMachine *m, EmbPickleText module, EmbPickleText name)
{
	char		full[200];
	int			n = 0;

	for (size_t i = 0; i < LENGTH(functions); i++)
		if (emb_pickle_text_is(module, functions[i].module) && emb_pickle_text_is(name, functions[i].name))
			return emb_pickle_push_kind(m, EMB_PICKLE_FUNCTION, functions[i].function);
	if (emb_pickle_text_is(module, "torch"))
		for (size_t i = 0; i < LENGTH(storage_types); i++)
			if (emb_pickle_text_is(name, storage_types[i].name))
				return emb_pickle_push_kind(m, EMB_PICKLE_STORAGE_TYPE, (int64_t) i);
	/* shown only if it is a name, because the bytes go into a message */
	for (size_t i = 0; i < module.len + 1 + name.len && n < (int) sizeof(full); i++)
	{
		char		c = i < module.len ? module.text[i] : i == module.len ? '.' : name.text[i - module.len - 1];

		full[n++] = c > ' ' && c < 0x7F ? c : '?';
	}
	return emb_pickle_refused(m, "the name", (EmbPickleText) {full, (size_t) n});
}
