/*
 * references.c
 *		Reference texts: written at import, recomputed by
 *		emb_model_check_reference.
 */
#include "convert/references.h"

#include <string.h>

#include "common/hash.h"

/* A text's ids and vector, as the model computes them. */
typedef struct Replay
{
	int32_t    *ids;			/* [max_tokens] */
	int32_t    *type_ids;		/* [max_tokens] */
	float	   *vector;			/* [dim], or a logit */
	int32_t		n_ids;
	uint8_t		ids_hash[EMB_HASH_SIZE];
	uint8_t		vector_hash[EMB_HASH_SIZE];
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

static EmbImageReferences *
section_of(uint8_t *image, const EmbImageView *view)
{
	return (EmbImageReferences *) (image + emb_image_section(view, EMB_SECTION_REFERENCES)->offset);
}

void
emb_references_place(uint8_t *image, const EmbImageView *view)
{
	EmbImageReferences *refs = section_of(image, view);
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
	r->ids = emb_alloc_array(mem, model->info.max_tokens, sizeof(int32_t));
	r->type_ids = emb_alloc_array(mem, model->info.max_tokens, sizeof(int32_t));
	r->vector = emb_alloc_array(mem, model->info.dim, sizeof(float));
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

static EmbStatus
encode(Replay *r, const EmbModel *model, const char *text, const EmbImageReference *entry, const EmbRun *run, EmbError *err)
{
	EmbText		query = {text, entry->query_bytes, true, NULL};
	EmbText		document = {text + entry->query_bytes, entry->text_bytes - entry->query_bytes, true, NULL};
	EmbEncoded	encoded = {0};
	EmbStatus	status;

	if (model->info.kind == EMB_KIND_RERANKER)
		status = emb_model_encode_pair(model, &query, &document,
				&(EmbReading) {.ids = r->ids, .type_ids = r->type_ids, .max_ids = model->info.max_tokens, .stop = run->stop}, &encoded, err);
	else
		status = emb_model_encode(model, EMB_PROMPT_DOCUMENT, &(EmbText) {document.text, document.len, true, NULL},
				&(EmbReading) {.ids = r->ids, .max_ids = model->info.max_tokens, .mem = run->mem, .stop = run->stop}, &encoded, err);
	r->n_ids = encoded.n_ids;
	return status;
}

static EmbStatus
replay(Replay *r, const EmbModel *model, const char *text, const EmbImageReference *entry, const EmbRun *run, EmbError *err)
{
	bool		is_reranker = model->info.kind == EMB_KIND_RERANKER;
	EmbSequence seq = {.ids = r->ids, .type_ids = is_reranker ? r->type_ids : NULL};
	EmbStatus	status = encode(r, model, text, entry, run, err);

	if (status != EMB_OK)
		return status;
	seq.n_ids = r->n_ids;
	status = is_reranker ? emb_model_rerank(model, &seq, 1, run, r->vector, err)
		: emb_model_embed(model, &seq, 1, run, r->vector, err);
	if (status == EMB_OK)
		status = hash_bytes(r->ids, seq.type_ids, r->n_ids * sizeof(int32_t), r->ids_hash, err);
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
	/* both are zeros, for a text without tokens: closeness 1 */
	if (is_zero(exact, model->info.dim) && is_zero(vector, model->info.dim))
		return 1;
	return emb_cosine(exact, vector, model->info.dim);
}

/* Both models have the same tokenizer, so the ids of either are valid. */
static EmbStatus
fill_one(const EmbModel *exact, const EmbModel *model, Replay *r, int32_t i, const EmbRun *run,
		 uint8_t *image, const EmbImageView *view, EmbError *err)
{
	EmbImageReference *entry = (EmbImageReference *) (section_of(image, view) + 1) + i;
	float	   *vector = (float *) (image + ((const uint8_t *) vector_of(view, i) - view->base));
	EmbStatus	status = replay(r, exact, text_of(view, i), entry, run, err);

	if (status != EMB_OK)
		return status;
	memcpy(vector, r->vector, model->info.dim * sizeof(float));
	if (model != exact)
		status = replay(r, model, text_of(view, i), entry, run, err);
	if (status != EMB_OK)
		return status;
	entry->n_tokens = (uint32_t) r->n_ids;
	entry->closeness = closeness(model, vector, r->vector);
	memcpy(entry->ids_hash, r->ids_hash, sizeof(entry->ids_hash));
	memcpy(entry->vector_hash, r->vector_hash, sizeof(entry->vector_hash));
	return EMB_OK;
}

EmbStatus
emb_references_fill(const EmbModel *exact, const EmbModel *model, const EmbImportSteps *steps,
					uint8_t *image, const EmbImageView *view, EmbError *err)
{
	EmbRun		run = {.mem = steps->mem, .stop = steps->stop, .n_threads = steps->n_threads};
	Replay		r = {0};
	int			n = n_references(view->arch);
	EmbStatus	status = replay_begin(&r, model, steps->mem, err);

	for (int i = 0; status == EMB_OK && i < n; i++)
	{
		emb_import_progress(steps, "verify", i, n);
		status = fill_one(exact, model, &r, i, &run, image, view, err);
	}
	if (status == EMB_OK)
		emb_import_progress(steps, "verify", n, n);
	replay_end(&r, steps->mem);
	return status;
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
	Replay		r = {0};
	EmbStatus	status;

	if (i < 0 || i >= emb_model_n_references(model))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "there is no reference text %d of %d", i, emb_model_n_references(model));
	entry = entry_of(&model->view, i);
	*check = (EmbReferenceCheck) {
		.text = text_of(&model->view, i),
		.text_bytes = (int32_t) entry->text_bytes,
		.query_bytes = (int32_t) entry->query_bytes,
		.closeness_expected = entry->closeness,
	};
	status = replay_begin(&r, model, run->mem, err);
	if (status == EMB_OK)
		status = replay(&r, model, check->text, entry, run, err);
	if (status == EMB_OK)
	{
		check->n_tokens = r.n_ids;
		check->ids_equal = r.n_ids == (int32_t) entry->n_tokens && memcmp(r.ids_hash, entry->ids_hash, sizeof(r.ids_hash)) == 0;
		check->bits_equal = memcmp(r.vector_hash, entry->vector_hash, sizeof(r.vector_hash)) == 0;
		check->closeness = closeness(model, vector_of(&model->view, i), r.vector);
	}
	replay_end(&r, run->mem);
	return status;
}
