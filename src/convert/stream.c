/*
 * stream.c
 *		Texts on their way through the layers.
 */
#include "convert/stream.h"

#include <string.h>

#include "transformer/prefix.h"

/* A batch is closed when it has this number of tokens. */
#define BATCH_TOKENS	1024

/* Texts and tokens that a stream has room for at first; room doubles. */
#define ROOM_SEQS_MIN	64
#define ROOM_TOKENS_MIN	4096

/* Fewer tokens are not worth a pass of their own. */
#define SHARED_MIN		16

/* Rows of a batch, numbered over the whole stream. */
typedef struct Shifted
{
	EmbObserve	observe;
	void	   *ctx;
	int32_t		first_row;
} Shifted;

EmbStatus
emb_import_cancelled(EmbError *err)
{
	return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
}

void
emb_stream_begin(EmbStream *s, const EmbAllocator *mem)
{
	*s = (EmbStream) {.mem = *mem};
}

void
emb_stream_free(EmbStream *s)
{
	if (s->mem.release == NULL)
		return;
	emb_release(&s->mem, s->offsets);
	emb_release(&s->mem, s->ids);
	emb_release(&s->mem, s->type_ids);
	emb_release(&s->mem, s->n_seen);
	emb_release(&s->mem, s->x);
	emb_release(&s->mem, s->prefix);
	*s = (EmbStream) {0};
}

/* -------------------------------------------------------------------- texts */

/* Enlarges *array to room elements; it has n. False: no memory. */
static bool
grow(const EmbAllocator *mem, int32_t **array, int32_t n, int32_t room)
{
	int32_t    *larger = emb_alloc_array(mem, room, sizeof(int32_t));

	if (larger == NULL)
		return false;
	if (n > 0)
		memcpy(larger, *array, n * sizeof(int32_t));
	emb_release(mem, *array);
	*array = larger;
	return true;
}

static int32_t
doubled(int32_t room, int64_t needed, int32_t least)
{
	int64_t		larger = room > 0 ? 2 * (int64_t) room : least;

	larger = larger > needed ? larger : needed;
	return larger < INT32_MAX ? (int32_t) larger : INT32_MAX;
}

static bool
make_room(EmbStream *s, int32_t n_ids, bool has_types)
{
	int32_t		n_tokens = emb_stream_n_tokens(s);

	if (s->n_seqs + 2 > s->room_seqs)
	{
		int32_t		room = doubled(s->room_seqs, (int64_t) s->n_seqs + 2, ROOM_SEQS_MIN);

		if (!grow(&s->mem, &s->offsets, s->n_seqs > 0 ? s->n_seqs + 1 : 0, room) || !grow(&s->mem, &s->n_seen, s->n_seqs, room))
			return false;
		s->room_seqs = room;
		s->offsets[0] = 0;
	}
	if (s->ids == NULL || n_tokens + n_ids > s->room_tokens)
	{
		int32_t		room = doubled(s->room_tokens, (int64_t) n_tokens + n_ids, ROOM_TOKENS_MIN);

		if (!grow(&s->mem, &s->ids, n_tokens, room) || (has_types && !grow(&s->mem, &s->type_ids, n_tokens, room)))
			return false;
		s->room_tokens = room;
	}
	return true;
}

EmbStatus
emb_stream_add(EmbStream *s, const int32_t *ids, const int32_t *type_ids, int32_t n_ids, EmbError *err)
{
	int32_t		n_tokens = emb_stream_n_tokens(s);

	if (n_ids > INT32_MAX - n_tokens)
		return emb_error(err, EMB_ERR_LIMIT, "texts of an import have more than %d tokens", INT32_MAX);
	if (!make_room(s, n_ids, type_ids != NULL))
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the ids of %d texts", s->n_seqs + 1);
	if (n_ids > 0)
		memcpy(s->ids + n_tokens, ids, n_ids * sizeof(int32_t));
	if (n_ids > 0 && type_ids != NULL)
		memcpy(s->type_ids + n_tokens, type_ids, n_ids * sizeof(int32_t));
	s->n_seen[s->n_seqs] = n_ids;
	s->offsets[++s->n_seqs] = n_tokens + n_ids;
	return EMB_OK;
}

void
emb_stream_hide(EmbStream *s, int32_t n)
{
	s->n_seen[s->n_seqs - 1] -= n;
	s->has_unseen |= n > 0;
}

/* How many tokens all texts begin with; each has one more. */
static int32_t
count_shared(const EmbStream *s)
{
	int32_t		n = s->offsets[1] - 1;

	for (int32_t i = 1; i < s->n_seqs; i++)
	{
		const int32_t *ids = s->ids + s->offsets[i];
		int32_t		n_own = s->offsets[i + 1] - s->offsets[i] - 1;
		int32_t		same = 0;

		while (same < n && same < n_own && ids[same] == s->ids[same])
			same++;
		n = same;
	}
	return n;
}

void
emb_stream_share(EmbStream *s, const EmbArch *arch)
{
	int32_t		n = emb_prefix_is_possible(arch) && s->n_seqs > 1 ? count_shared(s) : 0;
	int32_t		at = n;
	int32_t		start = 0;

	if (n < SHARED_MIN)
		return;
	for (int32_t i = 0; i < s->n_seqs; i++)
	{
		int32_t		end = s->offsets[i + 1];

		memmove(s->ids + at, s->ids + start + n, (end - start - n) * sizeof(int32_t));
		s->offsets[i] = at;
		at += end - start - n;
		start = end;
	}
	s->offsets[s->n_seqs] = at;
	s->n_shared = n;
	/* such a model has no types */
	emb_release(&s->mem, s->type_ids);
	s->type_ids = NULL;
}

/* ------------------------------------------------------------------- layers */

static void
observe_shifted(void *ctx, EmbObservePoint point, int32_t layer, int32_t first_row, int32_t n_rows, const float *rows, size_t stride)
{
	const Shifted *shifted = ctx;

	shifted->observe(shifted->ctx, point, layer, shifted->first_row + first_row, n_rows, rows, stride);
}

/* Texts first .. end - 1, through the layers of span. */
static EmbStatus
run_batch(EmbStream *s, const EmbModel *model, int32_t first, int32_t end, const EmbLayerSpan *span, int32_t *offsets,
		  const EmbImportSteps *steps, float *out, EmbError *err)
{
	const EmbTransformer *transformer = &model->transformer;
	int32_t		row = s->offsets[first];
	Shifted		shifted = {span->observe, span->observe_ctx, row};
	EmbLayerSpan part = *span;
	EmbBatch	batch = {
		.n_seqs = end - first,
		.offsets = offsets,
		.ids = s->ids + row,
		.type_ids = s->type_ids != NULL ? s->type_ids + row : NULL,
		.prefix = s->prefix,
		.n_prefix = s->n_shared,
		.n_seen = s->has_unseen ? s->n_seen + first : NULL,
		.n_unpooled = s->n_unpooled
	};

	if (out != NULL)
		out += (size_t) first * emb_arch_pooled_width(transformer->arch);
	for (int32_t i = first; i <= end; i++)
		offsets[i - first] = s->offsets[i] - row;
	if (transformer->arch->n_layers == 0)
		return emb_transformer_run(transformer, emb_kernels(), &batch, steps->n_threads, steps->mem, steps->stop, out, err);
	part.x = s->x + row * emb_transformer_stride(transformer->arch);
	if (span->observe != NULL)
	{
		part.observe = observe_shifted;
		part.observe_ctx = &shifted;
	}
	return emb_transformer_run_span(transformer, emb_kernels(), &batch, &part, steps->n_threads, steps->mem, steps->stop, out, err);
}

/* The shared tokens, which leave their keys and values. */
static EmbStatus
run_shared(EmbStream *s, const EmbModel *model, const EmbLayerSpan *span, const EmbImportSteps *steps, EmbError *err)
{
	const int32_t offsets[] = {0, s->n_shared};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = s->ids};
	EmbLayerSpan part = *span;
	EmbStatus	status;

	part.x = s->x;
	part.keep = s->prefix;
	s->prefix->n_tokens = 0;
	status = emb_transformer_run_span(&model->transformer, emb_kernels(), &batch, &part, steps->n_threads, steps->mem, steps->stop, NULL, err);
	s->prefix->n_tokens = s->n_shared;
	return status;
}

static EmbStatus
run_span(EmbStream *s, const EmbModel *model, const EmbLayerSpan *span, const EmbImportSteps *steps, float *out, EmbError *err)
{
	int32_t    *offsets = emb_alloc_array(&s->mem, (size_t) s->n_seqs + 1, sizeof(int32_t));
	EmbStatus	status = EMB_OK;

	if (offsets == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d texts", s->n_seqs);
	if (s->n_shared > 0)
		status = run_shared(s, model, span, steps, err);
	for (int32_t i = 0; status == EMB_OK && i < s->n_seqs;)
	{
		int32_t		end = i + 1;

		while (end < s->n_seqs && s->offsets[end + 1] - s->offsets[i] <= BATCH_TOKENS)
			end++;
		status = run_batch(s, model, i, end, span, offsets, steps, out, err);
		i = end;
	}
	emb_release(&s->mem, offsets);
	return status;
}

EmbStatus
emb_stream_embed(EmbStream *s, const EmbModel *model, const EmbImportSteps *steps, float *out, EmbError *err)
{
	const EmbArch *arch = model->transformer.arch;

	if (arch->n_layers > 0)
	{
		s->x = emb_alloc_array(&s->mem, emb_stream_n_tokens(s), emb_transformer_stride(arch) * sizeof(float));
		if (s->x == NULL)
			return emb_error(err, EMB_ERR_NOMEM, "out of memory for the hidden states of %d tokens", emb_stream_n_tokens(s));
	}
	if (s->n_shared > 0)
	{
		s->prefix = emb_prefix_create(&model->transformer, s->n_shared, &s->mem);
		if (s->prefix == NULL)
			return emb_error(err, EMB_ERR_NOMEM, "out of memory for keys and values of %d tokens", s->n_shared);
	}
	return run_span(s, model, &(EmbLayerSpan) {0}, steps, out, err);
}

EmbStatus
emb_stream_run(EmbStream *s, const EmbModel *model, int32_t layer, EmbObserve observe, void *observe_ctx,
			   const EmbImportSteps *steps, float *out, EmbError *err)
{
	EmbLayerSpan span = {.first = layer, .end = layer + 1, .observe = observe, .observe_ctx = observe_ctx};

	return run_span(s, model, &span, steps, out, err);
}
