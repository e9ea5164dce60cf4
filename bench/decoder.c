/*
 * decoder.c
 *		A decoder of a known shape with random weights in int8: tokens a second,
 *		what a shared prefix saves, scratch memory, and the longest time between
 *		two polls of the stop callback.
 *
 *		build/core/bench/decoder 0.6b [threads [layers [level [tokens]]]]
 *
 * Only sizes matter to speed, so the model is made in memory: no tokenizer, a
 * small vocabulary. With fewer layers than the shape has, rates are per layer
 * times the layers of the shape.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "convert/rotary.h"
#include "model/model.h"

#define N_VOCAB		2048
#define N_POSITIONS 4096
#define N_ROUNDS	3

typedef struct Shape
{
	const char *name;
	int32_t		n_layers,
				hidden,
				n_heads,
				n_kv_heads,
				head_size,
				intermediate;
} Shape;

static const Shape shapes[] = {
	{"0.6b", 28, 1024, 16, 8, 128, 3072},
	{"4b", 36, 2560, 32, 8, 128, 9728},
	{"8b", 36, 4096, 32, 8, 128, 12288},
};

static uint64_t state = 88172645463325252;

static uint64_t
next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static double
now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static void *
take(size_t bytes)
{
	void	   *p = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (p == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return p;
}

static float *
floats(size_t n, float low, float high)
{
	float	   *x = take(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		x[i] = low + (high - low) * (float) (next_random() >> 40) * 0x1p-24f;
	return x;
}

static EmbLinear
linear(int32_t n_out, int32_t n_in)
{
	size_t		bytes = emb_pack_i8_bytes(n_out, n_in);
	size_t		n = emb_pack_f32_panels(n_out) * EMB_PANEL;
	uint64_t   *weight = take(bytes);
	int32_t    *sums = take(n * sizeof(int32_t));

	for (size_t i = 0; i < bytes / 8; i++)
		weight[i] = next_random();
	memset(sums, 0, n * sizeof(int32_t));
	return (EmbLinear) {
		.form = EMB_LINEAR_I8, .n_out = n_out, .n_in = n_in, .weight_i8 = (const int8_t *) weight, .sums = sums,
		.scale = floats(n, 1e-4f, 3e-4f), .bias = floats(n, -0.01f, 0.01f), .factor = floats(n_in, 1, 1)
	};
}

static EmbArch
arch_of(const Shape *s, int32_t n_layers)
{
	EmbArch		a = emb_arch_encoder();

	strcpy(a.family, "qwen3");
	a.hidden = s->hidden;
	a.n_layers = n_layers;
	a.n_heads = s->n_heads;
	a.n_kv_heads = s->n_kv_heads;
	a.head_size = s->head_size;
	a.intermediate = s->intermediate;
	a.n_vocab = N_VOCAB;
	a.n_positions = N_POSITIONS;
	a.activation = EMB_ACT_SILU;
	a.is_gated = a.has_qk_norm = a.is_causal = 1;
	a.norm_kind = EMB_NORM_RMS;
	a.norm_place = EMB_NORM_PRE;
	a.norm_eps = 1e-6f;
	a.has_embedding_norm = 0;
	a.positions = EMB_POSITIONS_ROTARY;
	a.rotary_base = 1e6;
	a.rotary_scale = 1;
	a.pooling = EMB_POOL_LAST;
	a.head = EMB_HEAD_ANSWER;
	a.n_labels = 2;
	return a;
}

static void
fill_model(EmbModel *m, const EmbArch *a, const EmbImageConfig *config)
{
	EmbLayer   *layers = take(a->n_layers * sizeof(EmbLayer));
	float	   *angles = take((size_t) N_POSITIONS * a->head_size * sizeof(float));

	emb_rotary_fill(a->rotary_base, 1, N_POSITIONS, a->head_size, angles);
	for (int32_t i = 0; i < a->n_layers; i++)
		layers[i] = (EmbLayer) {
			.query = linear(emb_arch_query_width(a), a->hidden),
			.key = linear(emb_arch_key_width(a), a->hidden),
			.value = linear(emb_arch_key_width(a), a->hidden),
			.attn_out = linear(a->hidden, emb_arch_query_width(a)),
			.ffn_up = linear(2 * a->intermediate, a->hidden),
			.ffn_down = linear(a->hidden, a->intermediate),
			.attn_norm.gamma = floats(a->hidden, 0.9f, 1.1f),
			.ffn_norm.gamma = floats(a->hidden, 0.9f, 1.1f),
			.query_norm.gamma = floats(a->head_size, 0.9f, 1.1f),
			.key_norm.gamma = floats(a->head_size, 0.9f, 1.1f)
		};
	memset(m, 0, sizeof(*m));
	m->serial = 1;
	m->view.arch = a;
	m->view.config = config;
	m->info.kind = EMB_KIND_RERANKER;
	m->info.dim = 1;
	m->info.max_tokens = N_POSITIONS;
	m->transformer = (EmbTransformer) {
		.arch = a, .layers = layers, .rotary = angles,
		.word_embedding.rows_f32 = floats((size_t) N_VOCAB * a->hidden, -1, 1),
		.final_norm.gamma = floats(a->hidden, 0.9f, 1.1f)
	};
	m->head = (EmbScoreHead) {.answers = floats(2 * (size_t) a->hidden, -0.05f, 0.05f), .n_answers = 2};
}

/* -------------------------------------------------------------- measuring */

/* malloc that knows the most bytes there were at once. */
typedef struct Counter
{
	size_t		bytes,
				most;
} Counter;

static void *
counting_alloc(void *ctx, size_t size)
{
	Counter    *c = ctx;
	size_t	   *block = take(size + 64);

	*block = size;
	c->bytes += size;
	c->most = c->bytes > c->most ? c->bytes : c->most;
	return block + 8;
}

static void
counting_release(void *ctx, void *p)
{
	if (p == NULL)
		return;
	((Counter *) ctx)->bytes -= ((size_t *) p)[-8];
	free((size_t *) p - 8);
}

/* CPU time of the calling thread between polls: a busy machine does not count. */
typedef struct Polls
{
	double		last,
				longest;
} Polls;

static bool
note_poll(void *ctx)
{
	Polls	   *p = ctx;
	double		t = now(CLOCK_THREAD_CPUTIME_ID);

	if (p->last > 0 && t - p->last > p->longest)
		p->longest = t - p->last;
	p->last = t;
	return false;
}

typedef struct Result
{
	double		seconds;		/* CPU time of the process, the best round */
	double		wall;
	double		longest_poll;
	size_t		bytes;
	int64_t		n_reused;
	float		logit;
} Result;

static Result
run(const EmbModel *m, const EmbSequence *seqs, int n, int n_threads)
{
	Counter		counter = {0};
	EmbAllocator mem = {&counter, counting_alloc, counting_release};
	Polls		polls = {0};
	EmbStop		stop = {&polls, note_poll};
	Result		r = {0};
	float	   *logits = take(n * sizeof(float));
	EmbError	err = {0};

	for (int i = 0; i < N_ROUNDS; i++)
	{
		EmbRun		how = {.mem = &mem, .stop = &stop, .n_threads = n_threads, .n_reused = &r.n_reused};
		double		cpu = now(CLOCK_PROCESS_CPUTIME_ID);
		double		wall = now(CLOCK_MONOTONIC);

		r.n_reused = 0;
		polls.last = 0;
		if (emb_model_rerank(m, seqs, n, &how, logits, &err) != EMB_OK)
		{
			fprintf(stderr, "%s\n", err.message);
			exit(1);
		}
		cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		wall = now(CLOCK_MONOTONIC) - wall;
		r.seconds = i == 0 || cpu < r.seconds ? cpu : r.seconds;
		r.wall = i == 0 || wall < r.wall ? wall : r.wall;
	}
	r.longest_poll = polls.longest;
	r.bytes = counter.most;
	r.logit = logits[n - 1];
	free(logits);
	return r;
}

static void
print_result(const char *what, int64_t n_tokens, const Result *r, double factor)
{
	printf("%-44s %7.1f tokens/s (%.1f a CPU second), %6.1f MB, polls %.2f ms apart, logit %.6g\n", what,
		   n_tokens / r->wall / factor, n_tokens / r->seconds / factor, (double) r->bytes / 1e6, r->longest_poll * 1e3, (double) r->logit);
}

/* n_documents of n_tokens tokens, after a query of n_shared that counts as shared or not. */
static void
run_documents(const EmbModel *m, int n_documents, int n_shared, int n_tokens, int n_threads, double factor)
{
	int			n = n_shared + n_tokens;
	int32_t    *ids = take((size_t) n_documents * n * sizeof(int32_t));
	EmbSequence *seqs = take(n_documents * sizeof(EmbSequence));
	Result		whole,
				shared;
	char		what[128];

	for (int i = 0; i < n_documents; i++)
	{
		for (int k = 0; k < n; k++)
			ids[i * n + k] = (k < n_shared ? k * 31 + 7 : (int32_t) (next_random() >> 40)) % N_VOCAB;
		seqs[i] = (EmbSequence) {.ids = ids + i * n, .n_ids = n};
	}
	whole = run(m, seqs, n_documents, n_threads);
	snprintf(what, sizeof(what), "%d documents of %d after %d", n_documents, n_tokens, n_shared);
	print_result(what, (int64_t) n_documents * n, &whole, factor);
	for (int i = 0; i < n_documents; i++)
		seqs[i].n_shared = n_shared;
	shared = run(m, seqs, n_documents, n_threads);
	snprintf(what, sizeof(what), "the same, %lld tokens shared", (long long) shared.n_reused);
	print_result(what, (int64_t) n_documents * n, &shared, factor);
	printf("a shared prefix: %.3f times as fast, %s bits\n", whole.seconds / shared.seconds,
		   memcmp(&whole.logit, &shared.logit, sizeof(float)) == 0 ? "the same" : "OTHER");
	free(ids);
	free(seqs);
}

int
main(int argc, char **argv)
{
	static const int lengths[] = {128, 512, 2048};
	static const EmbImageConfig config;
	const Shape *shape = NULL;
	int			n_threads = argc > 2 ? atoi(argv[2]) : 1;
	int			most = argc > 5 ? atoi(argv[5]) : lengths[2];	/* longest text; documents only with all of them */
	int32_t		n_layers;
	double		factor;
	EmbModel	model;
	EmbArch		arch;
	EmbError	err;

	for (size_t i = 0; argc > 1 && i < sizeof(shapes) / sizeof(shapes[0]); i++)
		shape = strcmp(shapes[i].name, argv[1]) == 0 ? &shapes[i] : shape;
	if (shape == NULL)
	{
		fprintf(stderr, "usage: decoder 0.6b|4b|8b [threads [layers [level [tokens]]]]\n");
		return 2;
	}
	if (argc > 4 && emb_isa_select(argv[4], &err) != EMB_OK)
	{
		fprintf(stderr, "%s\n", err.message);
		return 2;
	}
	n_layers = argc > 3 ? atoi(argv[3]) : shape->n_layers;
	factor = (double) shape->n_layers / n_layers;
	arch = arch_of(shape, n_layers);
	fill_model(&model, &arch, &config);
	printf("%s, %d of %d layers, %s, %d threads\n", shape->name, n_layers, shape->n_layers, emb_isa_name(), n_threads);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]) && lengths[i] <= most; i++)
	{
		int32_t		ids[2048];
		EmbSequence seq = {.ids = ids, .n_ids = lengths[i]};
		Result		r;
		char		what[64];

		for (int k = 0; k < lengths[i]; k++)
			ids[k] = (int32_t) (next_random() >> 40) % N_VOCAB;
		r = run(&model, &seq, 1, n_threads);
		snprintf(what, sizeof(what), "%d tokens", lengths[i]);
		print_result(what, lengths[i], &r, factor);
	}
	if (most >= lengths[2])
		run_documents(&model, 20, 90, 209, n_threads, factor);
	return 0;
}
