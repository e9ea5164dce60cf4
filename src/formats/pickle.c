/*
 * pickle.c
 *		Runs the machine over a pickle, and takes the tensors or strings from
 *		its result.
 */
#include "formats/pickle.h"

#include <string.h>

#include "formats/pickle_machine.h"

static EmbPickleMachine
machine(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop, EmbError *err)
{
	return (EmbPickleMachine) {
		.data = data, .size = size, .file = file, .mem = mem, .stop = stop, .err = err
	};
}

/* Frees everything except the storages, which a state keeps. */
static void
free_machine(EmbPickleMachine *m)
{
	emb_release(m->mem, m->stack.items);
	emb_release(m->mem, m->memo.items);
	emb_release(m->mem, m->cells.items);
	emb_release(m->mem, m->containers.items);
	emb_release(m->mem, m->views.items);
}

static uint32_t
count_tensors(const EmbPickleMachine *m, const EmbPickleValue *dict)
{
	uint32_t	n = 0;
	uint32_t	at = ((const EmbPickleContainer *) m->containers.items)[dict->i].first;

	for (; at != EMB_PICKLE_NO_CELL; at = ((const EmbPickleCell *) m->cells.items)[at].next)
		n += ((const EmbPickleCell *) m->cells.items)[at].value.kind == EMB_PICKLE_TENSOR;
	return n;
}

/* The dictionary with the tensors. */
static bool
find_state(EmbPickleMachine *m, EmbPickleValue *dict)
{
	uint32_t	at;

	if (dict->kind != EMB_PICKLE_DICT)
		return emb_pickle_malformed(m, "it holds no dictionary");
	if (count_tensors(m, dict) > 0)
		return true;
	at = ((const EmbPickleContainer *) m->containers.items)[dict->i].first;
	for (; at != EMB_PICKLE_NO_CELL; at = ((const EmbPickleCell *) m->cells.items)[at].next)
	{
		const EmbPickleCell *cell = (const EmbPickleCell *) m->cells.items + at;

		if (cell->key.kind == EMB_PICKLE_TEXT && cell->value.kind == EMB_PICKLE_DICT &&
			(emb_pickle_text_is(cell->key.text, "state_dict") || emb_pickle_text_is(cell->key.text, "model")))
		{
			*dict = cell->value;
			break;
		}
	}
	return true;
}

static bool
name_tensor(EmbPickleMachine *m, const EmbPickleCell *cell, EmbPickleTensor *t)
{
	const EmbPickleView *view = (const EmbPickleView *) m->views.items + cell->value.i;

	if (cell->key.kind != EMB_PICKLE_TEXT || cell->key.text.len < 1 || cell->key.text.len > EMB_TENSORS_MAX_NAME ||
		memchr(cell->key.text.text, '\0', cell->key.text.len) != NULL)
		return emb_pickle_malformed(m, "a tensor without a name of 1 to 255 bytes");
	if (!view->dense)
		return emb_pickle_refused(m, "a transposed or strided view, tensor", cell->key.text);
	*t = (EmbPickleTensor) {
		.name = cell->key.text, .storage = view->storage, .first = view->first, .rank = view->rank, .n_elems = view->n_elems
	};
	memcpy(t->shape, view->shape, sizeof(t->shape));
	return true;
}

static bool
collect(EmbPickleMachine *m, const EmbPickleValue *dict, EmbPickle *pickle)
{
	uint32_t	at = ((const EmbPickleContainer *) m->containers.items)[dict->i].first;

	pickle->tensors = emb_alloc_zero(m->mem, (size_t) count_tensors(m, dict) + 1, sizeof(EmbPickleTensor));
	if (pickle->tensors == NULL)
	{
		m->status = emb_error(m->err, EMB_ERR_NOMEM, "out of memory reading the pickle of %s", m->file);
		return false;
	}
	for (; at != EMB_PICKLE_NO_CELL; at = ((const EmbPickleCell *) m->cells.items)[at].next)
	{
		const EmbPickleCell *cell = (const EmbPickleCell *) m->cells.items + at;

		if (cell->value.kind != EMB_PICKLE_TENSOR)
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
	EmbPickleMachine m = machine(data, size, file, mem, stop, err);
	EmbPickleValue dict;

	*pickle = (EmbPickle) {.mem = mem};
	if (emb_pickle_run(&m, &dict) && find_state(&m, &dict))
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
	EmbPickleMachine m = machine(data, size, file, mem, stop, err);
	EmbPickleValue list;

	*n_texts = 0;
	if (emb_pickle_run(&m, &list))
	{
		uint32_t	at = EMB_PICKLE_NO_CELL;

		if (list.kind != EMB_PICKLE_LIST || ((const EmbPickleContainer *) m.containers.items)[list.i].n > max)
			emb_pickle_malformed(&m, "it holds no list of the expected length");
		else
			at = ((const EmbPickleContainer *) m.containers.items)[list.i].first;
		for (; at != EMB_PICKLE_NO_CELL; at = ((const EmbPickleCell *) m.cells.items)[at].next)
		{
			const EmbPickleValue *value = &((const EmbPickleCell *) m.cells.items)[at].value;

			if (value->kind != EMB_PICKLE_TEXT)
				emb_pickle_malformed(&m, "its list holds something other than strings");
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
	EmbPickleMachine m = machine(data, size, file, mem, stop, err);
	EmbPickleValue value;

	emb_pickle_run(&m, &value);
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
