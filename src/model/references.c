/*
 * references.c
 *		Reference texts: written at import, replayed by emb_model_check_reference.
 */
#include "model/references.h"

#include <string.h>

#include "common/hash.h"

/* A text's ids and vector, as the model makes them. */
typedef struct Replay
{
	int32_t    *ids;			/* [max_tokens] */
	float	   *vector;			/* [dim] */
	int32_t		n_ids;
	uint8_t		ids_hash[EMB_HASH_SIZE];
	uint8_t		vector_hash[EMB_HASH_SIZE];
} Replay;

static uint32_t
all_text_bytes(void)
{
	size_t		n = 0;

	for (int i = 0; i < emb_n_reference_texts; i++)
		n += strlen(emb_reference_texts[i]);
	return (uint32_t) n;
}

uint64_t
emb_references_bytes(uint32_t hidden)
{
	return emb_image_reference_bytes(emb_n_reference_texts, hidden, all_text_bytes());
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
	uint8_t    *text = (uint8_t *) refs + emb_image_reference_texts(emb_n_reference_texts, view->config->hidden);

	refs->n_references = emb_n_reference_texts;
	refs->text_bytes = all_text_bytes();
	for (int i = 0; i < emb_n_reference_texts; i++)
	{
		entries[i].text_bytes = (uint32_t) strlen(emb_reference_texts[i]);
		memcpy(text, emb_reference_texts[i], entries[i].text_bytes);
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
							emb_image_reference_vectors(view->references->n_references)) + (size_t) i * view->config->hidden;
}

static const char *
text_of(const EmbImageView *view, int32_t i)
{
	const char *text = (const char *) view->references +
		emb_image_reference_texts(view->references->n_references, view->config->hidden);

	for (int32_t k = 0; k < i; k++)
		text += entry_of(view, k)->text_bytes;
	return text;
}

/* ---------------------------------------------------------------- replay */

static EmbStatus
hash_bytes(const void *data, size_t size, uint8_t digest[EMB_HASH_SIZE], EmbError *err)
{
	EmbHash    *h = emb_hash_begin();
	bool		ok = h != NULL && emb_hash_update(h, data, size);

	if (h != NULL)
		ok &= emb_hash_end(h, digest);
	return ok ? EMB_OK : emb_error(err, EMB_ERR_INTERNAL, "SHA-256 failed");
}

static EmbStatus
replay_begin(Replay *r, const EmbModel *model, const EmbAllocator *mem, EmbError *err)
{
	r->ids = emb_alloc_array(mem, model->info.max_tokens, sizeof(int32_t));
	r->vector = emb_alloc_array(mem, model->info.dim, sizeof(float));
	if (r->ids == NULL || r->vector == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a reference text");
	return EMB_OK;
}

static void
replay_end(Replay *r, const EmbAllocator *mem)
{
	emb_release(mem, r->ids);
	emb_release(mem, r->vector);
}

static EmbStatus
replay(Replay *r, const EmbModel *model, const char *text, size_t text_bytes, const EmbRun *run, EmbError *err)
{
	EmbEncoded	encoded;
	EmbSequence seq = {.ids = r->ids};
	EmbStatus	status = emb_model_encode(model, EMB_PROMPT_DOCUMENT, text, text_bytes, true, r->ids,
										  model->info.max_tokens, run->mem, run->stop, &encoded, err);

	if (status != EMB_OK)
		return status;
	r->n_ids = seq.n_ids = encoded.n_ids;
	if ((status = emb_model_embed(model, &seq, 1, run, r->vector, err)) != EMB_OK ||
		(status = hash_bytes(r->ids, r->n_ids * sizeof(int32_t), r->ids_hash, err)) != EMB_OK)
		return status;
	return hash_bytes(r->vector, model->info.dim * sizeof(float), r->vector_hash, err);
}

/* Both models have the same tokenizer, so the ids of either serve. */
static EmbStatus
fill_one(const EmbModel *exact, const EmbModel *model, Replay *r, int32_t i, const EmbRun *run,
		 uint8_t *image, const EmbImageView *view, EmbError *err)
{
	EmbImageReference *entry = (EmbImageReference *) (section_of(image, view) + 1) + i;
	float	   *vector = (float *) (image + ((const uint8_t *) vector_of(view, i) - view->base));
	EmbStatus	status = replay(r, exact, text_of(view, i), entry->text_bytes, run, err);

	if (status != EMB_OK)
		return status;
	memcpy(vector, r->vector, model->info.dim * sizeof(float));
	if (model != exact)
		status = replay(r, model, text_of(view, i), entry->text_bytes, run, err);
	if (status != EMB_OK)
		return status;
	entry->n_tokens = (uint32_t) r->n_ids;
	entry->cosine = emb_cosine(vector, r->vector, model->info.dim);
	memcpy(entry->ids_hash, r->ids_hash, sizeof(entry->ids_hash));
	memcpy(entry->vector_hash, r->vector_hash, sizeof(entry->vector_hash));
	return EMB_OK;
}

EmbStatus
emb_references_fill(const EmbModel *exact, const EmbModel *model, const EmbImportSteps *steps,
					uint8_t *image, const EmbImageView *view, EmbError *err)
{
	EmbRun		run = {.mem = steps->mem, .stop = steps->stop};
	Replay		r = {0};
	EmbStatus	status = replay_begin(&r, model, steps->mem, err);

	for (int i = 0; status == EMB_OK && i < emb_n_reference_texts; i++)
	{
		emb_import_progress(steps, "verify", i, emb_n_reference_texts);
		status = fill_one(exact, model, &r, i, &run, image, view, err);
	}
	if (status == EMB_OK)
		emb_import_progress(steps, "verify", emb_n_reference_texts, emb_n_reference_texts);
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
		.cosine_expected = entry->cosine,
	};
	status = replay_begin(&r, model, run->mem, err);
	if (status == EMB_OK)
		status = replay(&r, model, check->text, entry->text_bytes, run, err);
	if (status == EMB_OK)
	{
		check->n_tokens = r.n_ids;
		check->ids_equal = r.n_ids == (int32_t) entry->n_tokens && memcmp(r.ids_hash, entry->ids_hash, sizeof(r.ids_hash)) == 0;
		check->bits_equal = memcmp(r.vector_hash, entry->vector_hash, sizeof(r.vector_hash)) == 0;
		check->cosine = emb_cosine(vector_of(&model->view, i), r.vector, model->info.dim);
	}
	replay_end(&r, run->mem);
	return status;
}
