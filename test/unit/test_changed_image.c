/*
 * test_changed_image.c
 *		An image whose bytes change while its model is open or being opened, as
 *		those of a file that somebody writes to under a running statement: whatever
 *		they are, calls end, with a result or an error. (The server looks at the file behind
 *		each call and throws results away.)
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/embed_core.h"

#include "model_util.h"
#include "unit.h"

#define N_SEEDS 60

/* Nothing here takes as long. */
static bool
stop_at(void *ctx)
{
	return time(NULL) > *(time_t *) ctx;
}

static void
call_all(const EmbModel *model, const char *text, const EmbAllocator *mem, const EmbStop *stop)
{
	const EmbModelInfo *info = emb_model_info(model);
	int32_t    *ids = malloc((size_t) info->max_tokens * sizeof(int32_t));
	int32_t    *type_ids = malloc((size_t) info->max_tokens * sizeof(int32_t));
	float	   *out = malloc((size_t) info->dim * sizeof(float));
	EmbRun		run = {.mem = mem, .stop = stop, .batch_tokens = 2048, .n_threads = 1};
	EmbText		part = {text, strlen(text), true, NULL};
	EmbChunking how = {EMB_PROMPT_DOCUMENT, 8, 2};
	EmbChunk	chunk = {0};
	EmbEncoded	r;
	EmbError	err;
	int64_t		n_tokens;

	if (info->kind == EMB_KIND_RERANKER)
	{
		if (emb_model_encode_pair(model, &part, &part,
				&(EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = info->max_tokens, .stop = stop}, &r, &err) == EMB_OK)
		{
			EmbSequence seq = {.ids = ids, .n_ids = r.n_ids, .type_ids = type_ids};

			(void) emb_model_rerank(model, &seq, 1, &run, out, &err);
		}
	}
	else
	{
		if (emb_model_encode(model, EMB_PROMPT_DOCUMENT, &(EmbText) {text, strlen(text), true, NULL},
				&(EmbReading) {.ids = ids, .max_ids = info->max_tokens, .mem = mem, .stop = stop}, &r, &err) == EMB_OK)
		{
			EmbSequence seq = {.ids = ids, .n_ids = r.n_ids};

			(void) emb_model_embed(model, &seq, 1, &run, out, &err);
		}
		(void) emb_model_count_tokens(model, EMB_PROMPT_QUERY, text, strlen(text), mem, stop, &n_tokens, &err);
		for (int i = 0; i < 100; i++)
		{
			if (emb_model_next_chunk(model, &how, text, strlen(text), mem, stop, &chunk, &err) != EMB_OK || chunk.n_tokens == 0)
				break;
		}
	}
	free(ids);
	free(type_ids);
	free(out);
}

/* Bytes from `from` on become random, zeros or ones. */
static void
scribble(uint8_t *bytes, size_t from, size_t size, unsigned seed)
{
	uint64_t	state = seed + 1;

	for (size_t i = from; i < size; i++)
	{
		state = state * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = seed == 0 ? 0 : seed == 1 ? 0xFF : (uint8_t) (state >> 56);
	}
}

/* Does so once the model is open. */
static void
change(const Image *good, uint8_t *bytes, size_t from, unsigned seed, const EmbAllocator *mem)
{
	static const char *const texts[] = {"some words and 12 others", "caf\xC3\xA9 na\xC3\xAFve \xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", "", "<s> [MASK] x  y"};
	time_t		end = time(NULL) + 20;
	EmbStop		stop = {&end, stop_at};
	EmbModel   *model;
	EmbError	err;
	EmbRun		run = {.mem = mem, .stop = &stop, .batch_tokens = 2048, .n_threads = 1};

	memcpy(bytes, good->data, good->size_bytes);
	CHECKF(emb_model_open(bytes, good->size_bytes, 0, mem, NULL, &model, &err) == EMB_OK, "%s", err.message);
	scribble(bytes, from, good->size_bytes, seed);
	for (int32_t i = 0; i < emb_model_n_references(model); i++)
	{
		EmbReferenceCheck check;

		(void) emb_model_check_reference(model, i, &run, &check, &err);
	}
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		call_all(model, texts[i], mem, &stop);
	CHECKF(time(NULL) <= end, "calls on an image changed from byte %zu on (seed %u) did not end", from, seed);
	emb_model_close(model);
}

/* Changes the image when the core asks for the n-th time for memory, or whether to stop. */
typedef struct Meddler
{
	EmbAllocator inner;
	uint8_t    *bytes;
	size_t		from;
	size_t		size;
	unsigned	seed;
	int			n_left;
} Meddler;

static void
meddle(Meddler *m)
{
	if (m->n_left > 0 && --m->n_left == 0)
		scribble(m->bytes, m->from, m->size, m->seed);
}

static void *
meddle_alloc(void *ctx, size_t size)
{
	Meddler    *m = ctx;

	meddle(m);
	return m->inner.alloc(m->inner.ctx, size);
}

static void
meddle_release(void *ctx, void *p)
{
	Meddler    *m = ctx;

	m->inner.release(m->inner.ctx, p);
}

static bool
meddle_stop(void *ctx)
{
	meddle(ctx);
	return false;
}

/* Opens the model with all checks, while bytes change at the first question, the second, and so on. */
static void
change_in_open(const Image *good, uint8_t *bytes, unsigned seed, const EmbAllocator *mem)
{
	for (int n = 1;; n++)
	{
		Meddler		m = {*mem, bytes, seed % 2 == 0 ? 0 : 64, good->size_bytes, seed, n};
		EmbAllocator meddling = {&m, meddle_alloc, meddle_release};
		EmbStop		stop = {&m, meddle_stop};
		EmbModel   *model;
		EmbError	err;

		memcpy(bytes, good->data, good->size_bytes);
		if (emb_model_open(bytes, good->size_bytes, EMB_OPEN_CHECK_ALL, &meddling, &stop, &model, &err) == EMB_OK)
			emb_model_close(model);
		if (m.n_left > 0)
			break;
	}
}

static void
test_model(const char *name)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	Image		image;
	EmbError	err;
	char		dir[PATH_MAX];
	void	   *bytes;

	snprintf(dir, sizeof(dir), "%s/tiny/%s/model", data_dir(), name);
	CHECKF(import_image(dir, NULL, &mem, &image, &err) == EMB_OK, "%s: %s", name, err.message);
	if (posix_memalign(&bytes, EMB_ALIGNMENT, image.size_bytes) != 0)
		abort();
	for (unsigned seed = 0; seed < N_SEEDS; seed++)
		change(&image, bytes, seed % 3 == 0 ? 0 : seed % 3 == 1 ? 1147 : image.size_bytes / 2, seed, &mem);
	for (unsigned seed = 0; seed < 4; seed++)
		change_in_open(&image, bytes, seed, &mem);
	CHECKF(count.n_live == 0, "%s: %ld blocks left", name, count.n_live);
	free(bytes);
	free(image.data);
}

int
main(void)
{
	test_model("bert-mean-48");
	test_model("bge-m3");
	test_model("model2vec");
	test_model("bert-rerank");
	test_model("roberta-rerank");
	test_model("modernbert-rerank");
	emb_threads_stop();
	return done_testing();
}
