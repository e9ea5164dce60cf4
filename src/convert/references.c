/*
 * references.c
 *		Reference texts: written at import, recomputed by
 *		emb_model_check_reference.
 */
#include "convert/references.h"

#include <string.h>

#include "common/hash.h"
#include "convert/reference_outputs.h"

/* A text's ids and vector, as the model computes them. */
typedef struct Replay
{
	int32_t    *ids;			/* [tokens of the longest sequence] */
	int32_t    *type_ids;		/* the same */
	float	   *vector;			/* [dim], or a logit */
	EmbSequence seq;
	uint8_t		ids_hash[EMB_HASH_SIZE];
	uint8_t		vector_hash[EMB_HASH_SIZE];
	uint8_t		sparse_hash[EMB_HASH_SIZE];
	uint8_t		multi_hash[EMB_HASH_SIZE];
} Replay;

static int
n_references(const EmbArch *arch)
{
	return arch->head != EMB_HEAD_NONE ? emb_n_reference_pairs : emb_n_reference_texts;
}

/* Reference i: the text without a query, or the pair. */
static EmbTextPair
reference(const EmbArch *arch, int i)
{
	return arch->head != EMB_HEAD_NONE ? emb_reference_pairs[i] : (EmbTextPair) {"", emb_reference_texts[i]};
}

static uint32_t
all_text_bytes(const EmbArch *arch)
{
	size_t		n = 0;

	for (int i = 0; i < n_references(arch); i++)
		n += strlen(reference(arch, i).query) + strlen(reference(arch, i).document);
	return (uint32_t) n;
}

uint64_t
emb_references_bytes(const EmbArch *arch, const EmbImageConfig *config)
{
	return emb_image_reference_bytes(n_references(arch), emb_image_width(arch, config), all_text_bytes(arch));
}

/* Writes the texts or pairs and their sizes. */
static void
place_texts(EmbImageReferences *refs, const EmbImageView *view)
{
	EmbImageReference *entries = (EmbImageReference *) (refs + 1);
	int			n = n_references(view->arch);
	uint8_t    *text = (uint8_t *) refs + emb_image_reference_texts(n, emb_image_width(view->arch, view->config));

	refs->n_references = n;
	refs->text_bytes = all_text_bytes(view->arch);
	for (int i = 0; i < n; i++)
	{
		EmbTextPair pair = reference(view->arch, i);

		entries[i].query_bytes = (uint32_t) strlen(pair.query);
		entries[i].text_bytes = entries[i].query_bytes + (uint32_t) strlen(pair.document);
		memcpy(text, pair.query, entries[i].query_bytes);
		memcpy(text + entries[i].query_bytes, pair.document, entries[i].text_bytes - entries[i].query_bytes);
		text += entries[i].text_bytes;
	}
}

static const EmbImageReference *
entry_of(const EmbImageView *view, int32_t i)
{
	return (const EmbImageReference *) (view->references + 1) + i;
}

static const float *
vector_of(const EmbImageView *view, int32_t i)
{
	return (const float *) ((const uint8_t *) view->references +
							emb_image_reference_vectors(view->references->n_references)) +
		(size_t) i * emb_image_width(view->arch, view->config);
}

static const char *
text_of(const EmbImageView *view, int32_t i)
{
	const char *text = (const char *) view->references +
		emb_image_reference_texts(view->references->n_references, emb_image_width(view->arch, view->config));

	for (int32_t k = 0; k < i; k++)
		text += entry_of(view, k)->text_bytes;
	return text;
}

/* ---------------------------------------------------------------- replay */

/* The hash of data and, if given, of more. */
static EmbStatus
hash_bytes(const void *data, const void *more, size_t size, uint8_t digest[EMB_HASH_SIZE], EmbError *err)
{
	EmbHash    *h = emb_hash_begin();
	bool		ok = h != NULL && emb_hash_update(h, data, size) && (more == NULL || emb_hash_update(h, more, size));

	if (h != NULL)
		ok &= emb_hash_end(h, digest);
	return ok ? EMB_OK : emb_error(err, EMB_ERR_INTERNAL, "SHA-256 failed");
}

static EmbStatus
replay_begin(Replay *r, const EmbModel *model, const EmbAllocator *mem, EmbError *err)
{
	int32_t		n_most = (int32_t) emb_image_sequence_tokens(model->view.arch, model->view.config);

	r->ids = emb_alloc_array(mem, n_most, sizeof(int32_t));
	r->type_ids = emb_alloc_array(mem, n_most, sizeof(int32_t));
	r->vector = emb_alloc_array(mem, (size_t) model->info.dim + 1, sizeof(float));
	if (r->ids == NULL || r->type_ids == NULL || r->vector == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a reference text");
	return EMB_OK;
}

static void
replay_end(Replay *r, const EmbAllocator *mem)
{
	emb_release(mem, r->ids);
	emb_release(mem, r->type_ids);
	emb_release(mem, r->vector);
}

/* ColBERT reads queries in another way than documents: every second text is one. */
static bool
is_query(const EmbModel *model, int32_t i)
{
	return model->view.arch->multi_kind == EMB_MULTI_COLBERT && i % 2 == 1;
}

/* Text i, or the pair, whose bytes begin at text, into r->seq. */
static EmbStatus
encode(Replay *r, const EmbModel *model, int32_t i, const char *text, const EmbImageReference *entry, const EmbRun *run, EmbError *err)
{
	EmbText		query = {text, entry->query_bytes, true, NULL};
	EmbText		document = {text + entry->query_bytes, entry->text_bytes - entry->query_bytes, true, NULL};
	bool		is_pair = model->info.kind == EMB_KIND_RERANKER;
	EmbReading	to = {.ids = r->ids, .type_ids = is_pair ? r->type_ids : NULL, .max_ids = INT32_MAX, .mem = run->mem, .stop = run->stop};
	EmbEncoded	encoded = {0};
	EmbStatus	status = is_pair ? emb_model_encode_pair(model, &query, &document, &to, &encoded, err)
		: emb_model_encode(model, is_query(model, i) ? EMB_PROMPT_QUERY : EMB_PROMPT_DOCUMENT, &document, &to, &encoded, err);

	r->seq = (EmbSequence) {.ids = r->ids, .type_ids = to.type_ids, .is_query = is_query(model, i)};
	if (status == EMB_OK && r->seq.is_query)
		r->seq.n_expanded = emb_model_expand(model, r->ids, encoded.n_ids);
	r->seq.n_ids = encoded.n_ids + r->seq.n_expanded;
	return status;
}

/* A model's vector, and all else that it returns. */
static EmbStatus
replay_outputs(Replay *r, const EmbModel *model, const EmbRun *run, EmbError *err)
{
	EmbReferenceOutputs o;
	EmbStatus	status = emb_reference_outputs_begin(&o, model, &r->seq, run->mem, err);

	if (status == EMB_OK)
		status = emb_reference_outputs_replay(&o, run, r->vector, err);
	if (status == EMB_OK)
		status = emb_reference_outputs_hash(&o, r->sparse_hash, r->multi_hash, err);
	emb_reference_outputs_end(&o);
	return status;
}

static EmbStatus
replay(Replay *r, const EmbModel *model, int32_t i, const char *text, const EmbImageReference *entry, const EmbRun *run, EmbError *err)
{
	EmbStatus	status = encode(r, model, i, text, entry, run, err);

	if (status != EMB_OK)
		return status;
	status = model->info.kind == EMB_KIND_RERANKER ? emb_model_rerank(model, &r->seq, 1, run, r->vector, err)
		: emb_reference_has_outputs(model) ? replay_outputs(r, model, run, err)
		: emb_model_embed(model, &r->seq, 1, run, r->vector, err);
	if (status == EMB_OK)
		status = hash_bytes(r->ids, r->seq.type_ids, r->seq.n_ids * sizeof(int32_t), r->ids_hash, err);
	if (status == EMB_OK)
		status = hash_bytes(r->vector, NULL, model->info.dim * sizeof(float), r->vector_hash, err);
	return status;
}

static bool
is_zero(const float *x, int32_t n)
{
	while (n > 0 && x[n - 1] == 0)
		n--;
	return n == 0;
}

static float
closeness(const EmbModel *model, const float *exact, const float *vector)
{
	if (model->info.kind == EMB_KIND_RERANKER)
		return 1 - __builtin_fabsf(emb_score(exact[0]) - emb_score(vector[0]));
	/* both are zeros, for a text without tokens, or there is no vector: closeness 1 */
	if (is_zero(exact, model->info.dim) && is_zero(vector, model->info.dim))
		return 1;
	return emb_cosine(exact, vector, model->info.dim);
}

/* ---------------------------------------------------------------- import */

/* What the end of an import computes outputs of tokens from. */
typedef struct Ending
{
	const EmbModel *exact;
	const EmbModel *model;
	EmbLmHead  *lm_head;
	const EmbWeights *weights;
	const EmbImageView *exact_view;
	const EmbImportSteps *steps;
} Ending;

static EmbImageReference *
entries_of(EmbReferences *r)
{
	return (EmbImageReference *) (r->section + 1);
}

static EmbStatus
add_text(EmbStream *s, const EmbModel *model, const EmbSequence *seq, EmbError *err)
{
	EmbStatus	status = emb_stream_add(s, seq->ids, seq->type_ids, seq->n_ids, err);

	if (status == EMB_OK)
		emb_stream_hide(s, seq->n_ids - emb_model_n_seen(model, seq));
	return status;
}

/* Reads text i into the streams; both models have the same tokenizer. */
static EmbStatus
read_text(EmbReferences *r, const EmbModel *model, bool is_exact, const EmbImageView *view, int32_t i, Replay *replay,
		  const EmbRun *run, EmbError *err)
{
	EmbImageReference *entry = entries_of(r) + i;
	const EmbSequence *seq = &replay->seq;
	EmbStatus	status = encode(replay, model, i, text_of(view, i), entry, run, err);

	if (status == EMB_OK)
		status = hash_bytes(seq->ids, seq->type_ids, seq->n_ids * sizeof(int32_t), entry->ids_hash, err);
	if (status != EMB_OK)
		return status;
	entry->n_tokens = (uint32_t) seq->n_ids;
	status = add_text(&r->exact, model, seq, err);
	if (status == EMB_OK && !is_exact)
		status = add_text(&r->own, model, seq, err);
	return status;
}

static EmbStatus
allocate(EmbReferences *r, const EmbModel *model, uint64_t section_bytes, EmbError *err)
{
	size_t		row_bytes = emb_arch_pooled_width(model->view.arch) * sizeof(float);
	int			n = n_references(model->view.arch);

	r->section = emb_alloc_zero(&r->mem, 1, section_bytes);
	r->section_bytes = section_bytes;
	r->exact_out = emb_alloc_array(&r->mem, n, row_bytes);
	r->own_out = emb_alloc_array(&r->mem, n, row_bytes);
	if (r->section == NULL || r->exact_out == NULL || r->own_out == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d reference texts", n);
	return EMB_OK;
}

EmbStatus
emb_references_begin(EmbReferences *r, const EmbModel *model, bool is_exact, uint64_t section_bytes,
					 const EmbImportSteps *steps, EmbError *err)
{
	EmbRun		run = {.mem = steps->mem, .stop = steps->stop, .n_threads = steps->n_threads};
	EmbImageView view = model->view;
	Replay		replay = {0};
	EmbStatus	status;

	*r = (EmbReferences) {.mem = *steps->mem};
	emb_stream_begin(&r->exact, steps->mem);
	emb_stream_begin(&r->own, steps->mem);
	r->exact.n_unpooled = r->own.n_unpooled = model->n_unpooled[EMB_PROMPT_DOCUMENT];
	if ((status = allocate(r, model, section_bytes, err)) != EMB_OK)
		return status;
	place_texts(r->section, &view);
	view.references = r->section;
	status = replay_begin(&replay, model, steps->mem, err);
	for (int i = 0; status == EMB_OK && i < n_references(view.arch); i++)
		status = read_text(r, model, is_exact, &view, i, &replay, &run, err);
	replay_end(&replay, steps->mem);
	if (status == EMB_OK)
	{
		emb_stream_share(&r->exact, view.arch);
		if (!is_exact)
			emb_stream_share(&r->own, view.arch);
	}
	return status;
}

static EmbStatus
encode_again(EmbReferences *r, const EmbModel *model, int32_t i, Replay *replay, const EmbRun *run, EmbError *err)
{
	EmbImageView view = model->view;

	view.references = r->section;
	return encode(replay, model, i, text_of(&view, i), entries_of(r) + i, run, err);
}

/* The largest logits of all texts over the vocabulary, or NULL if the model has no such head. */
static EmbStatus
run_lm_head(EmbReferences *r, const Ending *e, bool is_exact, const EmbStream *s, float **maxima, EmbError *err)
{
	size_t		stride = emb_pack_f32_panels(e->lm_head->n_out) * EMB_PANEL;

	*maxima = NULL;
	if (e->lm_head->n_out == 0)
		return EMB_OK;
	*maxima = emb_alloc_array(&r->mem, s->n_seqs, stride * sizeof(float));
	if (*maxima == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the logits of %d reference texts", s->n_seqs);
	return emb_lm_head_run(e->lm_head, e->weights, e->exact_view, is_exact ? e->exact : e->model, s, is_exact, *maxima, err);
}

/* Outputs of text i from the hidden states in s. */
static EmbStatus
outputs_of_rows(EmbReferenceOutputs *o, const Ending *e, const EmbModel *model, const EmbStream *s, const float *maxima, int32_t i,
				const Replay *replay, EmbError *err)
{
	size_t		stride = emb_pack_f32_panels(e->lm_head->n_out) * EMB_PANEL;
	EmbStatus	status = emb_reference_outputs_begin(o, model, &replay->seq, e->steps->mem, err);

	return status != EMB_OK ? status
		: emb_reference_outputs_of_rows(o, s->x + s->offsets[i] * emb_transformer_stride(model->view.arch),
										maxima != NULL ? maxima + i * stride : NULL, e->steps->stop, err);
}

static EmbStatus
end_text(EmbReferences *r, const Ending *e, const float *exact_maxima, const float *own_maxima, int32_t i, const Replay *replay, EmbError *err)
{
	EmbImageReference *entry = entries_of(r) + i;
	EmbReferenceOutputs exact = {0};
	EmbReferenceOutputs own = {0};
	const EmbReferenceOutputs *found = &exact;
	EmbStatus	status = outputs_of_rows(&exact, e, e->exact, &r->exact, exact_maxima, i, replay, err);

	if (status == EMB_OK && e->model != e->exact)
	{
		status = outputs_of_rows(&own, e, e->model, &r->own, own_maxima, i, replay, err);
		found = &own;
	}
	if (status == EMB_OK)
		status = emb_reference_outputs_hash(found, entry->sparse_hash, entry->multi_hash, err);
	if (status == EMB_OK)
		emb_reference_outputs_compare(&exact, found, &entry->sparse_closeness, &entry->multi_closeness);
	emb_reference_outputs_end(&exact);
	emb_reference_outputs_end(&own);
	return status;
}

/* Of a model that returns more than a vector. */
static EmbStatus
end_outputs(EmbReferences *r, const Ending *e, EmbError *err)
{
	EmbRun		run = {.mem = e->steps->mem, .stop = e->steps->stop, .n_threads = e->steps->n_threads};
	float	   *exact = NULL;
	float	   *own = NULL;
	Replay		replay = {0};
	EmbStatus	status;

	if (!emb_reference_has_outputs(e->model))
		return EMB_OK;
	status = run_lm_head(r, e, true, &r->exact, &exact, err);
	if (status == EMB_OK && e->model != e->exact)
		status = run_lm_head(r, e, false, &r->own, &own, err);
	if (status == EMB_OK)
		status = replay_begin(&replay, e->model, e->steps->mem, err);
	for (int32_t i = 0; status == EMB_OK && i < (int32_t) r->section->n_references; i++)
	{
		status = encode_again(r, e->model, i, &replay, &run, err);
		if (status == EMB_OK)
			status = end_text(r, e, exact, own, i, &replay, err);
	}
	replay_end(&replay, e->steps->mem);
	emb_release(&r->mem, exact);
	emb_release(&r->mem, own);
	return status;
}

EmbStatus
emb_references_end(EmbReferences *r, const EmbModel *exact, const EmbModel *model, EmbLmHead *lm_head,
				   const EmbWeights *weights, const EmbImageView *exact_view, const EmbImportSteps *steps, EmbError *err)
{
	Ending		ending = {exact, model, lm_head, weights, exact_view, steps};
	EmbRun		run = {.mem = steps->mem, .stop = steps->stop, .n_threads = steps->n_threads};
	EmbImageReference *entries = entries_of(r);
	int32_t		n = (int32_t) r->section->n_references;
	size_t		dim = model->info.dim;
	float	   *exact_vectors = (float *) ((uint8_t *) r->section + emb_image_reference_vectors(n));
	float	   *vectors = exact_vectors;
	float	   *own = NULL;
	EmbStatus	status = emb_model_finish(exact, r->exact_out, n, &run, exact_vectors, err);

	if (status == EMB_OK && model != exact)
	{
		vectors = own = emb_alloc_array(steps->mem, n, (dim + 1) * sizeof(float));
		status = own == NULL ? emb_error(err, EMB_ERR_NOMEM, "out of memory for %d reference vectors", n)
			: emb_model_finish(model, r->own_out, n, &run, own, err);
	}
	for (int32_t i = 0; status == EMB_OK && i < n; i++)
	{
		entries[i].closeness = closeness(model, exact_vectors + i * dim, vectors + i * dim);
		status = hash_bytes(vectors + i * dim, NULL, dim * sizeof(float), entries[i].vector_hash, err);
	}
	emb_release(steps->mem, own);
	return status == EMB_OK ? end_outputs(r, &ending, err) : status;
}

void
emb_references_free(EmbReferences *r)
{
	if (r->mem.release == NULL)
		return;
	emb_stream_free(&r->exact);
	emb_stream_free(&r->own);
	emb_release(&r->mem, r->section);
	emb_release(&r->mem, r->exact_out);
	emb_release(&r->mem, r->own_out);
	*r = (EmbReferences) {0};
}

/* ----------------------------------------------------------------- check */

int32_t
emb_model_n_references(const EmbModel *model)
{
	return (int32_t) model->view.references->n_references;
}

EmbStatus
emb_model_check_reference(const EmbModel *model, int32_t i, const EmbRun *run,
						  EmbReferenceCheck *check, EmbError *err)
{
	const EmbImageReference *entry;
	EmbRun		as_document = *run;
	Replay		r = {0};
	EmbStatus	status;

	as_document.prompt = EMB_PROMPT_DOCUMENT;
	if (i < 0 || i >= emb_model_n_references(model))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "there is no reference text %d of %d", i, emb_model_n_references(model));
	entry = entry_of(&model->view, i);
	*check = (EmbReferenceCheck) {
		.text = text_of(&model->view, i),
		.text_bytes = (int32_t) entry->text_bytes,
		.query_bytes = (int32_t) entry->query_bytes,
		.closeness_expected = entry->closeness,
		.sparse_closeness = entry->sparse_closeness,
		.multi_closeness = entry->multi_closeness,
	};
	status = replay_begin(&r, model, run->mem, err);
	if (status == EMB_OK)
		status = replay(&r, model, i, check->text, entry, &as_document, err);
	if (status == EMB_OK)
	{
		check->n_tokens = r.seq.n_ids;
		check->ids_equal = r.seq.n_ids == (int32_t) entry->n_tokens && memcmp(r.ids_hash, entry->ids_hash, sizeof(r.ids_hash)) == 0;
		check->bits_equal = memcmp(r.vector_hash, entry->vector_hash, sizeof(r.vector_hash)) == 0;
		check->sparse_equal = memcmp(r.sparse_hash, entry->sparse_hash, sizeof(r.sparse_hash)) == 0;
		check->multi_equal = memcmp(r.multi_hash, entry->multi_hash, sizeof(r.multi_hash)) == 0;
		check->closeness = closeness(model, vector_of(&model->view, i), r.vector);
	}
	replay_end(&r, run->mem);
	return status;
}
