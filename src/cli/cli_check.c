/*
 * cli_check.c
 *		Compares the engine with the independent reference (reference/) on
 *		this machine: the same model, the same ids, from one token to the
 *		longest text.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "convert/answers.h"
#include "convert/references.h"
#include "image/image.h"
#include "import/checkpoint.h"
#include "reference/reference.h"

/* The longest text by default: more tokens take minutes with models of usual size. */
#define LONGEST_TOKENS	8192
#define MAX_TEXTS		64

/* Bytes of text for a token: more than any tokenizer needs for the reference texts. */
#define BYTES_PER_TOKEN	16

/*
 * What is allowed. fp32: differences of a vector of norm 1, and of a logit of
 * size 1. Measured on six real models and 20 tiny ones: 1.4e-6 and 4e-6 at
 * most. int8: what docs/models/README.md promises of real models. int4: a little less
 * than what all-MiniLM-L6-v2 loses, the most sensitive of three real models
 * (mean 0.988, min 0.977 here; 0.983 and 0.924 without smoothing). Scores:
 * what tiny rerankers with random weights need.
 */
#define MAX_VECTOR_DIFFERENCE	1e-5
#define MAX_LOGIT_DIFFERENCE	1e-4

typedef struct Allowed
{
	const char *precision;
	double		mean_cosine;	/* at least */
	double		cosine;
	double		score;			/* largest difference */
} Allowed;

static const Allowed quantized[] = {
	{"int8", 0.999, 0.995, 0.05},
	{"int4", 0.98, 0.92, 0.2},
};

typedef struct Check
{
	FILE	   *to;				/* where the report goes */
	EmbAllocator mem;
	EmbBlas		blas;
	EmbCheckpoint checkpoint;
	int			n;
	EmbSequence seqs[MAX_TEXTS];
	EmbReferenceText texts[MAX_TEXTS];
	int32_t		width;			/* of the reference's results */
	float	   *want;			/* [n, width] */
	int			threads;
	bool		failed;			/* an image is outside of what is allowed */
} Check;

static int
no_memory(void)
{
	fputs("embed-cli: out of memory\n", stderr);
	return CLI_FAILED;
}

/* --------------------------------------------------------------------- texts */

/* Around the sizes that blocks and panels have. */
static const int lengths[] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65,
	95, 96, 97, 127, 128, 129, 191, 255, 256, 257, 383, 511, 512, 513, 1025, 2049, 4097
};

/* The reference texts from one on, again and again, at least size bytes. */
static char *
long_text(const EmbAllocator *mem, int first, size_t size, size_t *len)
{
	char	   *text = emb_alloc(mem, size + 4096);

	*len = 0;
	for (int i = first; text != NULL && *len < size; i++)
	{
		const char *next = emb_reference_texts[i % emb_n_reference_texts];
		size_t		n = strlen(next);

		memcpy(text + *len, next, n);
		text[*len + n] = ' ';
		*len += n + 1;
	}
	return text;
}

/*
 * A text, or a pair, of at most n_tokens tokens. *n_ids is 0 if so few have no
 * room for the special tokens.
 */
static EmbStatus
encode(const Check *check, const CliModel *m, int k, int32_t n_tokens, int32_t *ids, int32_t *type_ids, int32_t *n_ids, EmbError *err)
{
	size_t		len;
	char	   *text = long_text(&check->mem, k, (size_t) n_tokens * BYTES_PER_TOKEN, &len);
	const char *query = emb_reference_pairs[k % emb_n_reference_pairs].query;
	EmbText		first = {query, strlen(query), true, NULL};
	EmbText		second = {text, len, true, NULL};
	EmbReading	to = {.ids = ids, .type_ids = type_ids, .max_ids = n_tokens, .mem = &check->mem};
	EmbEncoded	r = {0};
	EmbStatus	status;

	if (text == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a text of %d tokens", n_tokens);
	if (emb_model_info(m->model)->kind == EMB_KIND_RERANKER)
		status = emb_model_encode_pair(m->model, &first, &second, &to, &r, err);
	else
		status = emb_model_encode(m->model, EMB_PROMPT_NONE, &second, &to, &r, err);
	emb_release(&check->mem, text);
	*n_ids = status == EMB_OK ? r.n_ids : 0;
	return status == EMB_ERR_INVALID_ARGUMENT ? EMB_OK : status;
}

static int
add_text(Check *check, const CliModel *m, int32_t n_tokens)
{
	bool		is_reranker = emb_model_info(m->model)->kind == EMB_KIND_RERANKER;
	int32_t    *ids = emb_alloc_zero(&check->mem, (size_t) n_tokens * 2, sizeof(int32_t));
	int32_t    *type_ids = is_reranker && ids != NULL ? ids + n_tokens : NULL;
	int32_t		n_ids = 0;
	EmbError	err;

	if (ids == NULL)
		return no_memory();
	if (encode(check, m, check->n, n_tokens, ids, type_ids, &n_ids, &err) != EMB_OK)
	{
		emb_release(&check->mem, ids);
		return cli_error("tokenize", &err);
	}
	if (n_ids == 0)
	{
		emb_release(&check->mem, ids);
		return 0;
	}
	check->seqs[check->n] = (EmbSequence) {.ids = ids, .n_ids = n_ids, .type_ids = type_ids};
	check->texts[check->n] = (EmbReferenceText) {.ids = ids, .n_ids = n_ids, .type_ids = type_ids};
	check->n++;
	return 0;
}

static int
add_texts(Check *check, const CliModel *m, int32_t longest)
{
	int32_t		max = emb_model_info(m->model)->max_tokens;
	int			code = 0;

	if (longest == 0)
		longest = LONGEST_TOKENS;
	max = max < longest ? max : longest;
	for (size_t i = 0; code == 0 && i < sizeof(lengths) / sizeof(lengths[0]) && lengths[i] < max; i++)
		code = add_text(check, m, lengths[i]);
	if (code == 0)
		code = add_text(check, m, max);
	if (code == 0 && check->n == 0)
	{
		fprintf(stderr, "embed-cli: no text fits into %d tokens\n", max);
		code = CLI_FAILED;
	}
	return code;
}

/* ----------------------------------------------------------------- reference */

/*
 * The image's description counts, because options of its import may have
 * changed it; but the sizes must be those of the directory's model.
 */
static int
take_arch(Check *check, const char *dir, const CliModel *m)
{
	const EmbArch *own = &check->checkpoint.arch;
	EmbImageView view;
	EmbError	err;

	if (emb_image_view(m->image, m->size_bytes, &view, &err) != EMB_OK)
		return cli_error("image", &err);
	if (view.arch->hidden != own->hidden || view.arch->n_layers != own->n_layers || view.arch->n_vocab != own->n_vocab ||
		view.arch->intermediate != own->intermediate || view.arch->head != own->head || view.arch->n_heads != own->n_heads)
	{
		fprintf(stderr, "embed-cli: the image has %d layers of size %d and a vocabulary of %d, but %s has %d layers of size %d and a vocabulary of %d, "
				"or another head: the image was not made from this directory\n", view.arch->n_layers, view.arch->hidden, view.arch->n_vocab,
				dir, own->n_layers, own->hidden, own->n_vocab);
		return CLI_FAILED;
	}
	check->checkpoint.arch = *view.arch;
	return 0;
}

static int
run_reference(Check *check, const char *dir, const CliModel *m, int32_t longest)
{
	EmbError	err;
	int			code = take_arch(check, dir, m);

	if (code == 0)
		code = add_texts(check, m, longest);
	if (code != 0)
		return code;
	check->width = emb_reference_width(&check->checkpoint.arch);
	check->want = emb_alloc_array(&check->mem, (size_t) check->n * check->width, sizeof(float));
	if (check->want == NULL)
		return no_memory();
	for (int i = 0; i < check->n; i++)
		check->texts[i].out = check->want + (size_t) i * check->width;
	if (emb_reference_run(&check->blas, &check->checkpoint, check->texts, check->n, &err) != EMB_OK)
		return cli_error("reference", &err);
	fprintf(check->to, "texts           %d, of %d to %d tokens\n", check->n, check->seqs[0].n_ids, check->seqs[check->n - 1].n_ids);
	fprintf(check->to, "reference       %s, %d thread%s\n", check->blas.config, check->blas.n_threads, check->blas.n_threads > 1 ? "s" : "");
	return 0;
}

/* ---------------------------------------------------------------- comparison */

/* What is allowed a quantized image; as int8 if its precision is unknown here. */
static const Allowed *
allowed(const EmbModelInfo *info)
{
	for (size_t i = 0; i < sizeof(quantized) / sizeof(quantized[0]); i++)
	{
		if (strcmp(quantized[i].precision, info->precision) == 0)
			return &quantized[i];
	}
	return &quantized[0];
}

/* A value of each text: the largest or smallest, and where. */
typedef struct Worst
{
	double		value;
	double		sum;
	int			at;
} Worst;

static void
keep_worst(Worst *worst, double value, bool is_larger_worse, int i)
{
	/* a NaN is the worst of all */
	if (i == 0 || (is_larger_worse ? !(value <= worst->value) : !(value >= worst->value)))
	{
		worst->value = value;
		worst->at = i;
	}
	worst->sum += value;
}

static double
norm_of(const float *x, int32_t n)
{
	double		sum = 0;

	for (int32_t i = 0; i < n; i++)
		sum += (double) x[i] * x[i];
	return sqrt(sum);
}

static void
report(Check *check, const EmbModelInfo *info, const char *measured, bool ok)
{
	check->failed |= !ok;
	fprintf(check->to, "%-15s %s: %s\n", info->precision, measured, ok ? "ok" : "FAILED");
}

static void
compare_logits(Check *check, const EmbModelInfo *info, const float *out)
{
	bool		exact = strcmp(info->precision, "fp32") == 0;
	double		bound = exact ? MAX_LOGIT_DIFFERENCE : allowed(info)->score;
	Worst		worst = {0};
	char		line[160];

	for (int i = 0; i < check->n; i++)
	{
		double		want = check->want[(size_t) i * check->width];
		double		difference = exact ? fabs(out[i] - want) / fmax(1, fabs(want)) : fabs((double) emb_score(out[i]) - emb_score((float) want));

		keep_worst(&worst, difference, true, i);
	}
	snprintf(line, sizeof(line), "largest difference of a %s %.3g (%d tokens), allowed %g", exact ? "logit" : "score",
			 worst.value, check->seqs[worst.at].n_ids, bound);
	report(check, info, line, worst.value <= bound);
}

static void
compare_exact(Check *check, const EmbModelInfo *info, const float *out, const float *want)
{
	Worst		worst = {0};
	char		line[160];

	for (int i = 0; i < check->n; i++)
	{
		const float *x = out + (size_t) i * info->dim;
		const float *y = want + (size_t) i * info->dim;
		double		norm = norm_of(y, info->dim);
		double		furthest = 0;

		for (int32_t k = 0; k < info->dim; k++)
			furthest = fmax(furthest, fabs((double) x[k] - y[k]));
		keep_worst(&worst, norm > 0 ? furthest / norm : furthest, true, i);
	}
	snprintf(line, sizeof(line), "largest difference %.3g of the vector's norm (%d tokens), allowed %g", worst.value,
			 check->seqs[worst.at].n_ids, MAX_VECTOR_DIFFERENCE);
	report(check, info, line, worst.value <= MAX_VECTOR_DIFFERENCE);
}

static void
compare_cosines(Check *check, const EmbModelInfo *info, const float *out, const float *want)
{
	const Allowed *bounds = allowed(info);
	Worst		worst = {0};
	char		line[160];

	for (int i = 0; i < check->n; i++)
	{
		const float *x = out + (size_t) i * info->dim;
		const float *y = want + (size_t) i * info->dim;
		bool		is_zero = norm_of(y, info->dim) == 0;

		keep_worst(&worst, is_zero ? norm_of(x, info->dim) == 0 : emb_cosine(x, y, info->dim), false, i);
	}
	snprintf(line, sizeof(line), "cosine mean %.6f, min %.6f (%d tokens), required %g and %g", worst.sum / check->n, worst.value,
			 check->seqs[worst.at].n_ids, bounds->mean_cosine, bounds->cosine);
	report(check, info, line, worst.sum / check->n >= bounds->mean_cosine && worst.value >= bounds->cosine);
}

/* The reference's vectors, cut as the image cuts its own. */
static float *
cut_vectors(const Check *check, const EmbModelInfo *info)
{
	bool		centers = info->centers_cut && info->dim < check->width;

	float	   *want = emb_alloc_array(&check->mem, (size_t) check->n * info->dim, sizeof(float));

	for (int i = 0; want != NULL && i < check->n; i++)
	{
		float	   *row = want + (size_t) i * info->dim;

		double		mean = 0;

		for (int k = 0; centers && k < check->width; k++)
			mean += check->want[(size_t) i * check->width + k] / check->width;
		for (int k = 0; k < info->dim; k++)
			row[k] = (float) (check->want[(size_t) i * check->width + k] - mean);
		if (info->dim < check->width)
			emb_normalize(row, info->dim);
	}
	return want;
}

static int
compare_image(Check *check, const CliModel *m)
{
	const EmbModelInfo *info = emb_model_info(m->model);
	EmbRun		run = {.mem = &check->mem, .n_threads = check->threads};
	bool		is_reranker = info->kind == EMB_KIND_RERANKER;
	float	   *out = emb_alloc_array(&check->mem, (size_t) check->n * info->dim, sizeof(float));
	float	   *want = is_reranker ? NULL : cut_vectors(check, info);
	EmbError	err;
	int			code = 0;

	if (out == NULL || (want == NULL && !is_reranker))
		code = no_memory();
	else if ((is_reranker ? emb_model_rerank(m->model, check->seqs, check->n, &run, out, &err)
			  : emb_model_embed(m->model, check->seqs, check->n, &run, out, &err)) != EMB_OK)
		code = cli_error(info->precision, &err);
	else if (is_reranker)
		compare_logits(check, info, out);
	else if (strcmp(info->precision, "fp32") == 0)
		compare_exact(check, info, out, want);
	else
		compare_cosines(check, info, out, want);
	emb_release(&check->mem, out);
	emb_release(&check->mem, want);
	return code;
}

/* ------------------------------------------------------------------- commands */

static int
begin(const CliArgs *args, FILE *to, Check *check)
{
	EmbCheckpointOptions options = {
		.name = args->import.name,
		.has_query_prompt = true,
		.has_document_prompt = true,
		.kind = args->import.kind,
		.template = args->import.template,
		.label = args->import.label,
		.pooling = args->import.pooling,
		.sets_normalize = args->import.sets_normalize,
		.normalize = args->import.normalize,
	};
	int			threads = args->threads > 0 ? args->threads : 1;
	EmbError	err;

	memset(check, 0, sizeof(*check));
	check->to = to;
	check->threads = threads;
	check->mem = emb_malloc_allocator();
	if (emb_blas_open(threads, &check->blas, &err) != EMB_OK)
		return cli_error("check", &err);
	if (emb_checkpoint_open(args->rest[0], &options, &check->mem, NULL, &check->checkpoint, &err) != EMB_OK ||
		emb_answers_find(&check->checkpoint, NULL, &err) != EMB_OK)
		return cli_error(args->rest[0], &err);
	emb_checkpoint_drop_tokenizer(&check->checkpoint);
	return 0;
}

static int
end(Check *check, int code)
{
	if (code == 0)
	{
		fprintf(check->to, "verdict         %s (isa %s)\n", check->failed
				? "FAILED: the engine is further from the reference than allowed" : "ok: the engine computes what the reference computes", emb_isa_name());
		if (check->failed)
			code = CLI_FAILED;
	}
	for (int i = 0; i < check->n; i++)
		emb_release(&check->mem, (void *) check->seqs[i].ids);
	emb_release(&check->mem, check->want);
	emb_checkpoint_close(&check->checkpoint);
	return code;
}

/*
 * Each image in turn, so that only one is in memory: the one given, or those
 * that the directory's import makes.
 */
int
cli_check(const CliArgs *args)
{
	const char *const both[] = {"fp32", "int8"};
	bool		is_given = args->model != NULL;
	int			n = is_given || args->import.precision != NULL ? 1 : 2;
	Check		check;
	int			code = begin(args, stdout, &check);

	for (int i = 0; code == 0 && i < n; i++)
	{
		EmbImportOptions options = args->import;
		CliModel	m;

		if (options.precision == NULL)
			options.precision = both[i];
		/* prompts are not compared: none need be found or reported */
		options.query_prompt = options.document_prompt = "";
		code = is_given ? cli_model_open(args->model, &options, &m) : cli_model_import(args->rest[0], &options, &m);
		if (code != 0)
			break;
		if (check.want == NULL)
			code = run_reference(&check, args->rest[0], &m, args->tokens);
		if (code == 0)
			code = compare_image(&check, &m);
		cli_model_close(&m);
	}
	return end(&check, code);
}

int
cli_check_packed(const CliArgs *args, const CliModel *m, FILE *to)
{
	Check		check;
	int			code = begin(args, to, &check);

	if (code == 0)
		code = run_reference(&check, args->rest[0], m, args->tokens);
	if (code == 0)
		code = compare_image(&check, m);
	return end(&check, code);
}
