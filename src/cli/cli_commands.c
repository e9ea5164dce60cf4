/*
 * cli_commands.c
 *		The commands that inspect and use models.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "image/image.h"

static void
print_hex(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%02x", bytes[i]);
}

static int
hash_bytes(const void *data, size_t size, uint8_t digest[EMB_HASH_SIZE])
{
	EmbHash    *h = emb_hash_begin();
	bool		ok = h != NULL && emb_hash_update(h, data, size);

	if (h != NULL)
		ok &= emb_hash_end(h, digest);
	if (!ok)
		fputs("embed-cli: could not compute a hash\n", stderr);
	return ok ? 0 : CLI_FAILED;
}

/* --------------------------------------------------------------- inspect */

static void
print_info(const EmbModelInfo *info)
{
	printf("kind            %s\n", info->kind == EMB_KIND_RERANKER ? "reranker" : info->has_dense ? "embedding" : info->multi_dim > 0 ? "multi" : "sparse");
	printf("family          %s\n", info->family);
	printf("precision       %s\n", info->precision);
	if (info->has_dense || info->kind == EMB_KIND_RERANKER)
		printf("dimensions      %d\n", info->dim);
	if (info->has_sparse)
		printf("sparse weights  of token ids\n");
	if (info->multi_dim > 0)
		printf("token vectors   of %d dimensions\n", info->multi_dim);
	if (info->has_dense || info->kind == EMB_KIND_RERANKER)
		printf("pooling         %s%s\n", info->pooling, info->normalize ? ", normalized" : "");
	if (info->n_layers == 0)
		printf("layers          none, tokens of size %d\n", info->hidden);
	else
		printf("layers          %d of hidden size %d, %d heads, intermediate size %d\n",
			   info->n_layers, info->hidden, info->n_heads, info->intermediate);
	printf("tokenizer       %s\n", info->tokenizer);
	printf("vocabulary      %d\n", info->n_vocab);
	printf("max_tokens      %d\n", info->max_tokens);
	cli_print_quoted("query_prompt    ", info->query_prompt, strlen(info->query_prompt), SIZE_MAX);
	cli_print_quoted("document_prompt ", info->document_prompt, strlen(info->document_prompt), SIZE_MAX);
	if (info->instruction != NULL)
		cli_print_quoted("instruction     ", info->instruction, info->instruction_bytes, SIZE_MAX);
	printf("size            %lld bytes\n", (long long) info->size_bytes);
	printf("versions        layout %u, numerics %u\n", info->layout_version, info->numerics_version);
}

static void
print_sections(const EmbImageView *view)
{
	static const char *const names[EMB_IMAGE_N_SECTIONS] = {"arch", "config", "strings", "tensors", "tokenizer", "weights", "references"};

	for (int i = 0; i < EMB_IMAGE_N_SECTIONS; i++)
		printf("section         %-10s %12llu bytes at %llu\n", names[i],
			   (unsigned long long) view->sections[i].size_bytes, (unsigned long long) view->sections[i].offset);
	printf("tensors         %u\n", view->n_tensors);
	printf("references      %u\n", view->references->n_references);
}

int
cli_inspect(const CliArgs *args)
{
	CliModel	m;
	EmbImageView view;
	EmbError	err;
	uint8_t		digest[EMB_HASH_SIZE];
	int			code = cli_model_open(args->rest[0], &args->import, &m);

	if (code != 0)
		return code;
	if (emb_image_view(m.image, m.size_bytes, &view, &err) != EMB_OK)
		code = cli_error(args->rest[0], &err);
	else
		code = hash_bytes(m.image, m.size_bytes, digest);
	if (code == 0)
	{
		print_info(emb_model_info(m.model));
		print_sections(&view);
		printf("fingerprint     ");
		print_hex(digest, sizeof(digest));
		putchar('\n');
	}
	cli_model_close(&m);
	return code;
}

/* -------------------------------------------------------------- tokenize */

static void
print_ids(const int32_t *ids, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		printf("%s%d", i > 0 ? " " : "", ids[i]);
	putchar('\n');
}

static int
tokenize_texts(const CliArgs *args, const CliModel *m, const CliTexts *texts, int32_t *ids)
{
	EmbError	err;

	for (int i = 0; i < texts->n; i++)
	{
		const char *text = texts->text[i];
		size_t		len = texts->len[i];
		EmbReading	to = cli_reading(m, ids, NULL, emb_model_info(m->model)->max_tokens, args->prompt == EMB_PROMPT_QUERY);
		int64_t		n_tokens;
		EmbEncoded	r;

		if (args->count)
		{
			if (emb_model_count_tokens(m->model, args->prompt, text, len, &m->mem, NULL, &n_tokens, &err) != EMB_OK)
				return cli_error("tokenize", &err);
			printf("%lld\n", (long long) n_tokens);
			continue;
		}
		if (emb_model_encode(m->model, args->prompt, &(EmbText) {text, len, true, NULL}, &to, &r, &err) != EMB_OK)
			return cli_error("tokenize", &err);
		print_ids(ids, r.n_ids);
	}
	return 0;
}

static int
tokenize_pair(const CliModel *m, const CliTexts *texts, int32_t *ids, int32_t *type_ids)
{
	EmbReading	to = cli_reading(m, ids, type_ids, emb_model_info(m->model)->max_tokens, true);
	EmbText		first,
				second;
	EmbEncoded	r;
	EmbError	err;

	if (texts->n != 2)
	{
		fprintf(stderr, "embed-cli: a pair has two texts, not %d\n", texts->n);
		return CLI_USAGE;
	}
	first = (EmbText) {texts->text[0], texts->len[0], true, NULL};
	second = (EmbText) {texts->text[1], texts->len[1], true, NULL};
	if (emb_model_encode_pair(m->model, &first, &second, &to, &r, &err) != EMB_OK)
		return cli_error("tokenize", &err);
	print_ids(ids, r.n_ids);
	print_ids(type_ids, r.n_ids);
	return 0;
}

int
cli_tokenize(const CliArgs *args)
{
	CliModel	m;
	CliTexts	texts = {0};
	int32_t    *ids;
	int32_t		max;
	int			code = cli_model_open(args->rest[0], &args->import, &m);

	if (code != 0)
		return code;
	max = emb_model_info(m.model)->max_tokens;
	ids = emb_alloc_array(&m.mem, (size_t) max * 2, sizeof(int32_t));
	code = ids == NULL ? CLI_FAILED : cli_texts_read(args, 1, &texts);
	if (code == 0)
		code = args->pair ? tokenize_pair(&m, &texts, ids, ids + max) : tokenize_texts(args, &m, &texts, ids);
	cli_texts_free(&texts);
	emb_release(&m.mem, ids);
	cli_model_close(&m);
	return code;
}

/* ----------------------------------------------------------------- embed */

static void
print_vector(const float *x, int32_t dim)
{
	for (int32_t i = 0; i < dim; i++)
		printf("%c%.9g", i > 0 ? ',' : '[', x[i]);
	puts("]");
}

int
cli_embed(const CliArgs *args)
{
	CliModel	m;
	CliTexts	texts = {0};
	float	   *vectors = NULL;
	int32_t		dim;
	EmbPrompt	prompt = args->prompt == EMB_PROMPT_NONE ? EMB_PROMPT_DOCUMENT : args->prompt;
	int			code = cli_model_open(args->rest[0], &args->import, &m);

	if (code != 0)
		return code;
	dim = emb_model_info(m.model)->dim;
	code = cli_texts_read(args, 1, &texts);
	if (code == 0)
		code = cli_embed_texts(&m, prompt, &texts, args->threads, &vectors);
	for (int i = 0; code == 0 && i < texts.n; i++)
	{
		const float *x = vectors + (size_t) i * dim;
		uint8_t		digest[EMB_HASH_SIZE];

		if (!args->hash)
			print_vector(x, dim);
		else if ((code = hash_bytes(x, dim * sizeof(float), digest)) == 0)
		{
			print_hex(digest, sizeof(digest));
			putchar('\n');
		}
	}
	emb_release(&m.mem, vectors);
	cli_texts_free(&texts);
	cli_model_close(&m);
	return code;
}

/* ---------------------------------------------------------------- rerank */

/* score, logit and text of every document, in input order */
int
cli_rerank(const CliArgs *args)
{
	CliModel	m;
	CliTexts	texts = {0};
	float	   *logits = NULL;
	int			code = cli_model_open(args->rest[0], &args->import, &m);

	if (code != 0)
		return code;
	code = cli_texts_read(args, 2, &texts);
	if (code == 0)
		code = cli_rerank_texts(&m, args->rest[1], &texts, args->threads, &logits);
	for (int i = 0; code == 0 && i < texts.n; i++)
	{
		printf("%.9g\t%.9g\t", emb_score(logits[i]), logits[i]);
		cli_print_quoted("", texts.text[i], texts.len[i], 100);
	}
	emb_release(&m.mem, logits);
	cli_texts_free(&texts);
	cli_model_close(&m);
	return code;
}

/* --------------------------------------------------------------- compare */

static int
default_texts(CliTexts *texts)
{
	static char lines[] =
		"PostgreSQL is an object-relational database system.\n"
		"The quick brown fox jumps over the lazy dog.\n"
		"Wie wird das Wetter morgen in München?\n"
		"我们从 PostgreSQL 数据库中读取文本。\n"
		"na\xC3\xAFve caf\xC3\xA9, 3.14159 and 42\n"
		"\n"
		"a\n"
		"SELECT embed(body) FROM docs WHERE id = 1;\n";
	FILE	   *f = fmemopen(lines, sizeof(lines) - 1, "r");
	int			code;

	if (f == NULL)
		return CLI_FAILED;
	code = cli_texts_read_file(f, texts);
	fclose(f);
	return code;
}

static int
comparison_texts(const CliArgs *args, CliTexts *texts)
{
	FILE	   *f;
	int			code;

	if (args->n_rest < 3)
		return default_texts(texts);
	f = fopen(args->rest[2], "r");
	if (f == NULL)
	{
		fprintf(stderr, "embed-cli: could not open %s: %s\n", args->rest[2], strerror(errno));
		return CLI_FAILED;
	}
	code = cli_texts_read_file(f, texts);
	fclose(f);
	if (code == 0 && texts->n == 0)
	{
		fprintf(stderr, "embed-cli: %s has no lines\n", args->rest[2]);
		code = CLI_FAILED;
	}
	return code;
}

#define N_WORST		5

/* The texts with the lowest cosines, worst first; at most N_WORST. */
static void
print_worst(const double *cosines, const CliTexts *texts)
{
	double		last = -2;
	int			last_at = -1;
	char		label[64];

	for (int n = 0; n < N_WORST && n < texts->n; n++)
	{
		int			at = -1;

		for (int i = 0; i < texts->n; i++)
		{
			bool		is_next = cosines[i] > last || (cosines[i] == last && i > last_at);

			if (is_next && (at < 0 || cosines[i] < cosines[at]))
				at = i;
		}
		if (at < 0)
			break;
		snprintf(label, sizeof(label), "%-15s %.9f line %d: ", n == 0 ? "worst" : "", cosines[at], at + 1);
		cli_print_quoted(label, texts->text[at], texts->len[at], 60);
		last = cosines[at];
		last_at = at;
	}
}

static void
print_comparison(const float *a, const float *b, const CliTexts *texts, int32_t dim)
{
	double	   *cosines = malloc((size_t) texts->n * sizeof(double));
	double		sum = 0;
	double		lowest = 2;
	double		furthest = 0;

	for (int i = 0; cosines != NULL && i < texts->n; i++)
	{
		const float *x = a + (size_t) i * dim;
		const float *y = b + (size_t) i * dim;

		cosines[i] = emb_cosine(x, y, dim);
		sum += cosines[i];
		lowest = fmin(lowest, cosines[i]);
		for (int32_t k = 0; k < dim; k++)
			furthest = fmax(furthest, fabs((double) x[k] - y[k]));
	}
	printf("texts           %d\n", texts->n);
	printf("cosine          mean %.9f, min %.9f\n", sum / texts->n, lowest);
	printf("max difference  %.3g\n", furthest);
	if (cosines != NULL)
		print_worst(cosines, texts);
	free(cosines);
}

static int
compare_models(const CliArgs *args, CliModel m[2], const CliTexts *texts)
{
	int32_t		dims[2] = {emb_model_info(m[0].model)->dim, emb_model_info(m[1].model)->dim};
	float	   *vectors[2] = {NULL, NULL};
	EmbPrompt	prompt = args->prompt == EMB_PROMPT_NONE ? EMB_PROMPT_DOCUMENT : args->prompt;
	int			code = 0;

	if (dims[0] != dims[1])
	{
		fprintf(stderr, "embed-cli: vectors of %d and of %d dimensions cannot be compared\n", dims[0], dims[1]);
		return CLI_FAILED;
	}
	for (int i = 0; i < 2 && code == 0; i++)
		code = cli_embed_texts(&m[i], prompt, texts, args->threads, &vectors[i]);
	if (code == 0)
		print_comparison(vectors[0], vectors[1], texts, dims[0]);
	for (int i = 0; i < 2; i++)
		emb_release(&m[i].mem, vectors[i]);
	return code;
}

int
cli_compare(const CliArgs *args)
{
	CliModel	m[2];
	CliTexts	texts = {0};
	int			n_open = 0;
	int			code = 0;

	while (code == 0 && n_open < 2)
	{
		code = cli_model_open(args->rest[n_open], &args->import, &m[n_open]);
		if (code == 0)
			n_open++;
	}
	if (code == 0)
		code = comparison_texts(args, &texts);
	if (code == 0)
		code = compare_models(args, m, &texts);
	cli_texts_free(&texts);
	while (n_open > 0)
		cli_model_close(&m[--n_open]);
	return code;
}

/* ---------------------------------------------------------------- verify */

/* Recomputes each reference text of an image. CLI_FAILED if a result differs. */
int
cli_verify(const CliArgs *args)
{
	CliModel	m;
	int			n_wrong = 0;
	double		sum = 0;
	double		lowest = 2;
	int32_t		n;
	const char *measure;
	int			code = cli_model_open(args->rest[0], &args->import, &m);

	if (code != 0)
		return code;
	/* of scores: 1 - their difference */
	measure = emb_model_info(m.model)->kind == EMB_KIND_RERANKER ? "closeness" : "cosine";
	n = emb_model_n_references(m.model);
	for (int32_t i = 0; code == 0 && i < n; i++)
	{
		EmbRun		run = {.mem = &m.mem, .n_threads = args->threads};
		EmbReferenceCheck check;
		EmbError	err;
		bool		ok;

		if (emb_model_check_reference(m.model, i, &run, &check, &err) != EMB_OK)
		{
			code = cli_error("verify", &err);
			break;
		}
		ok = check.ids_equal && check.bits_equal;
		n_wrong += !ok;
		sum += check.closeness;
		lowest = fmin(lowest, check.closeness);
		printf("%-3s %4d tokens  %s %.6f  ", ok ? "ok" : check.ids_equal ? "BITS" : "IDS", check.n_tokens, measure, check.closeness);
		cli_print_quoted("", check.text + check.query_bytes, check.text_bytes - check.query_bytes, 60);
	}
	if (code == 0)
		printf("isa %s: %d of %d reference texts as at import; %s to the unquantized model: mean %.6f, min %.6f\n",
			   emb_isa_name(), n - n_wrong, n, measure, n > 0 ? sum / n : 1, n > 0 ? lowest : 1);
	cli_model_close(&m);
	return code != 0 || n_wrong > 0 ? CLI_FAILED : 0;
}

/* ------------------------------------------------------------------- isa */

int
cli_isa(const CliArgs *args)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};

	(void) args;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
	{
		bool		is_available = emb_isa_is_available(levels[i]);

		if (emb_isa_failed_op(levels[i]) != NULL)
			printf("%-12sfailed its self-test in operation %s\n", levels[i], emb_isa_failed_op(levels[i]));
		else
			printf("%-12s%s\n", levels[i], is_available ? "available" : "-");
	}
	printf("%-12s%s\n", "in use", emb_isa_name());
	return 0;
}
