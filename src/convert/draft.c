/*
 * draft.c
 *		An image in the making.
 */
#include "convert/draft.h"

#include <string.h>

/* Tensors first .. end - 1 of a view. */
typedef struct Range
{
	uint32_t	first,
				end;
} Range;

/* Tensors that an import never has as a whole. */
static bool
is_streamed(const EmbImageTensor *t)
{
	return t->key.part == EMB_PART_WORDS || t->key.part == EMB_PART_LM_OUT;
}

/* The tensors of a layer; of the whole model without those that are streamed, which are first. */
static Range
range_of(const EmbImageView *view, int32_t layer)
{
	Range		range = {0, 0};

	while (range.first < view->n_tensors &&
		   (view->tensors[range.first].key.layer != layer || is_streamed(&view->tensors[range.first])))
		range.first++;
	range.end = range.first;
	while (range.end < view->n_tensors && view->tensors[range.end].key.layer == layer)
		range.end++;
	return range;
}

static uint64_t
range_bytes(const EmbImageView *view, Range range)
{
	const EmbImageTensor *first = &view->tensors[range.first];
	const EmbImageTensor *last = first + (range.end - range.first) - 1;

	return range.first == range.end ? 0 : last->offset + last->size_bytes - first->offset;
}

/* Places the tensors of a range in memory at base, as far apart as in the image. */
static void
place_range(const EmbImageView *view, Range range, const uint8_t *base)
{
	for (uint32_t i = range.first; i < range.end; i++)
		emb_image_place(view, &view->tensors[i], base + (view->tensors[i].offset - view->tensors[range.first].offset));
}

/* Zeros memory for tensors; half a gigabyte takes more than 10 ms. */
static EmbStatus
clear(uint8_t *base, uint64_t size, const EmbStop *stop, EmbError *err)
{
	const uint64_t piece = 4 << 20;

	for (uint64_t at = 0; at < size; at += piece)
	{
		if (emb_should_stop(stop))
			return emb_import_cancelled(err);
		memset(base + at, 0, size - at < piece ? size - at : piece);
	}
	return EMB_OK;
}

static EmbStatus
read_range(const EmbDraft *d, Range range, EmbWeights *weights, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	for (uint32_t i = range.first; status == EMB_OK && i < range.end; i++)
		status = emb_weights_read(weights, &d->view.tensors[i], (uint8_t *) emb_image_data(&d->view, &d->view.tensors[i]), err);
	return status;
}

/* -------------------------------------------------------------------- whole */

EmbStatus
emb_draft_begin(EmbDraft *d, const EmbImageParts *parts, const EmbAllocator *mem, EmbError *err)
{
	EmbStatus	status;

	*d = (EmbDraft) {.mem = *mem, .layer_at = EMB_NO_LAYER};
	status = emb_image_begin(parts, mem, &d->head, &d->head_bytes, &d->view, err);
	return status == EMB_OK ? emb_model_open_unwritten(&d->view, mem, &d->model, err) : status;
}

EmbStatus
emb_draft_begin_exact(EmbDraft *d, const EmbDraft *image, const EmbAllocator *mem, EmbError *err)
{
	const EmbImageConfig exact = {.precision = EMB_PRECISION_FP32};
	const EmbArch *arch = image->view.arch;
	uint32_t	n = emb_image_plan(arch, &exact, NULL);
	size_t		plan_bytes = emb_image_align(n * sizeof(EmbImageTensor));

	*d = (EmbDraft) {.mem = *mem, .view = image->view, .layer_at = EMB_NO_LAYER};
	d->plan = emb_alloc_zero(mem, 1, plan_bytes + n * sizeof(uint8_t *));
	if (d->plan == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the names of %u tensors", n);
	emb_image_plan(arch, &exact, d->plan);
	d->view.tensors = d->plan;
	d->view.n_tensors = n;
	d->view.places = (const uint8_t *const *) ((uint8_t *) d->plan + plan_bytes);
	return emb_model_open_unwritten(&d->view, mem, &d->model, err);
}

void
emb_draft_free(EmbDraft *d)
{
	if (d->mem.release == NULL)
		return;
	emb_model_close(d->model);
	emb_release(&d->mem, d->head);
	emb_release(&d->mem, d->plan);
	emb_release(&d->mem, d->tables);
	emb_release(&d->mem, d->layer);
	*d = (EmbDraft) {0};
}

/* ------------------------------------------------------------------- tables */

EmbStatus
emb_draft_read_tables(EmbDraft *d, EmbWeights *weights, EmbError *err)
{
	Range		range = range_of(&d->view, EMB_NO_LAYER);
	uint64_t	bytes = range_bytes(&d->view, range);
	EmbStatus	status;

	d->tables = emb_alloc(&d->mem, bytes);
	if (d->tables == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the tensors of the whole model (%llu bytes)", (unsigned long long) bytes);
	place_range(&d->view, range, d->tables);
	status = clear(d->tables, bytes, weights->steps->stop, err);
	if (status == EMB_OK)
		status = read_range(d, range, weights, err);
	emb_model_place_weights(d->model);
	return status;
}

EmbStatus
emb_draft_share_tables(EmbDraft *d, const EmbDraft *exact, EmbError *err)
{
	Range		range = range_of(&d->view, EMB_NO_LAYER);

	for (uint32_t i = range.first; i < range.end; i++)
	{
		const EmbImageTensor *t = &d->view.tensors[i];
		const EmbImageTensor *from = emb_image_find(&exact->view, t->key.layer, t->key.part, t->key.kind);
		char		name[128];

		if (from == NULL || from->form != t->form || from->size_bytes != t->size_bytes)
			return emb_error(err, EMB_ERR_INTERNAL, "tensor %s is quantized by nobody", emb_tensor_name(t->key, name, sizeof(name)));
		emb_image_place(&d->view, t, emb_image_data(&exact->view, from));
	}
	emb_model_place_weights(d->model);
	return EMB_OK;
}

/* ------------------------------------------------------------------- layers */

static EmbStatus
allocate_layer(EmbDraft *d, EmbError *err)
{
	for (int32_t i = 0; i < d->view.arch->n_layers; i++)
	{
		uint64_t	bytes = range_bytes(&d->view, range_of(&d->view, i));

		d->layer_room = bytes > d->layer_room ? bytes : d->layer_room;
	}
	d->layer = emb_alloc(&d->mem, d->layer_room);
	if (d->layer == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a layer of %llu bytes", (unsigned long long) d->layer_room);
	return EMB_OK;
}

EmbStatus
emb_draft_begin_layer(EmbDraft *d, int32_t layer, const EmbStop *stop, EmbError *err)
{
	EmbStatus	status = d->layer != NULL ? EMB_OK : allocate_layer(d, err);
	Range		before = range_of(&d->view, d->layer_at);

	if (status == EMB_OK)
		status = clear(d->layer, d->layer_room, stop, err);
	if (status != EMB_OK)
		return status;
	for (uint32_t i = before.first; d->layer_at != EMB_NO_LAYER && i < before.end; i++)
		emb_image_place(&d->view, &d->view.tensors[i], NULL);
	place_range(&d->view, range_of(&d->view, layer), d->layer);
	d->layer_at = layer;
	emb_model_place_weights(d->model);
	return EMB_OK;
}

EmbStatus
emb_draft_read_layer(EmbDraft *d, int32_t layer, EmbWeights *weights, EmbError *err)
{
	EmbStatus	status = emb_draft_begin_layer(d, layer, weights->steps->stop, err);

	return status == EMB_OK ? read_range(d, range_of(&d->view, layer), weights, err) : status;
}

EmbStatus
emb_draft_write(const EmbDraft *d, int32_t layer, EmbWriter *writer, EmbError *err)
{
	Range		range = range_of(&d->view, layer);
	EmbStatus	status = EMB_OK;

	for (uint32_t i = range.first; status == EMB_OK && i < range.end; i++)
		status = emb_writer_put_tensor(writer, &d->view.tensors[i], emb_image_data(&d->view, &d->view.tensors[i]), err);
	return status;
}
