/*
 * test_reference.c
 *		The independent reference (reference/), and the engine against it.
 *
 * The reference against transformers: vectors, logits, hidden states and
 * outputs per token of every tiny model. Then the fp32 image
 * of every model that the engine computes against the reference, at every
 * length near a multiple of something, on random ids. test/data/tiny always;
 * the reference data and EMBED_MODELS where they are.
 */
#include "model_util.h"

#include <math.h>

#include <jansson.h>

#include "convert/answers.h"
#include "reference/reference.h"

/*
 * The bounds of the reference data's README: ten times its noise, which is
 * larger for the logits of some directories of decoders.
 */
#define MAX_VECTOR_DIFFERENCE	2e-6
#define MAX_LOGIT_DIFFERENCE	5e-5
#define MAX_LOGIT_NOISY			4e-4
#define MAX_HIDDEN_DIFFERENCE	3e-5
#define MAX_WEIGHT_DIFFERENCE	5e-6

#define MAX_INPUTS		1024
#define MAX_LENGTHS		128

static EmbAllocator heap;
static EmbBlas blas;

static int32_t
number(const json_t *object, const char *key)
{
	return (int32_t) json_integer_value(json_object_get(object, key));
}

/* ------------------------------------------------------------------- inputs */

typedef struct Input
{
	json_t	   *line;
	int32_t    *ids;			/* NULL: the line has only some of them */
	int32_t    *type_ids;		/* or NULL */
	int32_t		n_ids;
} Input;

typedef struct Inputs
{
	int			n;
	Input		input[MAX_INPUTS];
} Inputs;

static int32_t *
int_list(const json_t *list)
{
	int32_t    *out = list == NULL ? NULL : malloc((json_array_size(list) + 1) * sizeof(int32_t));

	for (size_t i = 0; i < json_array_size(list); i++)
		out[i] = (int32_t) json_integer_value(json_array_get(list, i));
	return out;
}

static void
load_inputs(const char *dir, Inputs *inputs)
{
	static const char *const names[] = {"inputs.jsonl", "texts.jsonl"};
	char		path[PATH_MAX];
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		n;
	FILE	   *f = NULL;

	inputs->n = 0;
	for (int i = 0; f == NULL && i < 2; i++)
	{
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		f = fopen(path, "r");
	}
	while (f != NULL && inputs->n < MAX_INPUTS && (n = getline(&line, &room, f)) > 0)
	{
		Input	   *input = &inputs->input[inputs->n++];

		input->line = json_loadb(line, n, 0, NULL);
		input->ids = int_list(json_object_get(input->line, "ids"));
		input->type_ids = int_list(json_object_get(input->line, "type_ids"));
		input->n_ids = (int32_t) json_array_size(json_object_get(input->line, "ids"));
	}
	free(line);
	if (f != NULL)
		fclose(f);
}

static void
free_inputs(Inputs *inputs)
{
	for (int i = 0; i < inputs->n; i++)
	{
		json_decref(inputs->input[i].line);
		free(inputs->input[i].ids);
		free(inputs->input[i].type_ids);
	}
}

/* The floats of a .npy file, *n of them; NULL: there is no such file. */
static float *
load_npy(const char *dir, const char *name, size_t *n)
{
	size_t		size;
	char	   *file = read_file(dir, name, &size);
	uint16_t	header_bytes;
	float	   *out;

	if (file == NULL)
		return NULL;
	if (size < 10 || memcmp(file, "\x93NUMPY\1", 7) != 0 || strstr(file + 10, "'<f4'") == NULL)
		abort();
	memcpy(&header_bytes, file + 8, 2);
	*n = (size - 10 - header_bytes) / sizeof(float);
	out = malloc((*n + 1) * sizeof(float));
	memcpy(out, file + 10 + header_bytes, *n * sizeof(float));
	free(file);
	return out;
}

static double
furthest(const float *x, const float *y, size_t n)
{
	double		largest = 0;

	for (size_t i = 0; i < n; i++)
	{
		double		difference = fabs((double) x[i] - y[i]);

		if (!(difference <= largest))
			largest = difference;
	}
	return largest;
}

static void
normalize(float *x, int32_t n)
{
	double		sum = 0;

	for (int32_t i = 0; i < n; i++)
		sum += (double) x[i] * x[i];
	for (int32_t i = 0; i < n && sum > 0; i++)
		x[i] = (float) (x[i] / sqrt(sum));
}

static double
max_logit_difference(const char *name)
{
	static const char *const noisy[] = {"awq", "ct-", "gptq", "logitscore", "seqcls"};

	for (size_t i = 0; i < sizeof(noisy) / sizeof(noisy[0]); i++)
	{
		if (strncmp(name, "qwen3-rerank-", 13) == 0 && strncmp(name + 13, noisy[i], strlen(noisy[i])) == 0)
			return MAX_LOGIT_NOISY;
	}
	return MAX_LOGIT_DIFFERENCE;
}

/* -------------------------------------------------- reference against transformers */

static bool
expected_logit(const json_t *line, double *logit)
{
	const json_t *own = json_object_get(line, "logit");

	*logit = json_number_value(own) + json_number_value(json_object_get(line, "logit_yes")) -
		json_number_value(json_object_get(line, "logit_no"));
	return own != NULL || json_object_get(line, "logit_yes") != NULL;
}

typedef struct Found
{
	int			n;
	double		vector,			/* largest differences */
				logit,
				hidden,
				weight,
				multi;
	int			n_hidden;
} Found;

static void
compare_tokens(const char *dir, const EmbCheckpoint *c, const Input *input, const EmbReferenceText *text, Found *found)
{
	const json_t *sparse = json_object_get(input->line, "sparse");
	const char *key;
	json_t	   *value;
	char		name[64];
	size_t		n;
	float	   *vectors;

	json_object_foreach((json_t *) sparse, key, value)
	{
		float		largest = 0;

		for (int32_t i = 0; i < text->n_ids; i++)
			largest = text->ids[i] == atoi(key) ? fmaxf(largest, text->weights[i]) : largest;
		found->weight = fmax(found->weight, fabs(largest - json_number_value(value)));
	}
	snprintf(name, sizeof(name), "colbert_%d.npy", number(input->line, "i"));
	vectors = load_npy(dir, name, &n);
	/* of long texts there are only the first and the last vectors */
	if (vectors != NULL && n == (size_t) (text->n_ids - 1) * c->arch.multi_dim)
		found->multi = fmax(found->multi, furthest(text->vectors + c->arch.multi_dim, vectors, n));
	free(vectors);
}

static void
compare_hidden(const char *dir, const EmbCheckpoint *c, const Input *input, const EmbReferenceText *text, Found *found)
{
	char		name[64];
	size_t		n;
	float	   *hidden;

	snprintf(name, sizeof(name), "hidden_%d.npy", number(input->line, "i"));
	hidden = load_npy(dir, name, &n);
	if (hidden == NULL)
		return;
	/* [layers + 1, n, H], or the last state alone */
	if (n == (size_t) text->n_ids * c->arch.hidden)
		found->hidden = fmax(found->hidden, furthest(text->hidden + c->arch.n_layers * n, hidden, n));
	else if (CHECKF(n == (size_t) (c->arch.n_layers + 1) * text->n_ids * c->arch.hidden, "%s/%s: %zu values", dir, name, n))
		found->hidden = fmax(found->hidden, furthest(text->hidden, hidden, n));
	found->n_hidden++;
	free(hidden);
}

static void
compare_input(const char *dir, const EmbCheckpoint *c, const Input *input, EmbReferenceText *text, const float *vector, Found *found)
{
	double		logit;

	found->n++;
	if (expected_logit(input->line, &logit))
		found->logit = fmax(found->logit, fabs(logit - text->out[0]));
	else if (vector != NULL)
	{
		if (!c->arch.normalize)
			normalize(text->out, emb_arch_width(&c->arch));
		found->vector = fmax(found->vector, furthest(text->out, vector, emb_arch_width(&c->arch)));
	}
	if (text->weights != NULL)
		compare_tokens(dir, c, input, text, found);
	if (c->arch.n_layers > 0)
		compare_hidden(dir, c, input, text, found);
}

static float *
floats(size_t n)
{
	return calloc(n + 1, sizeof(float));
}

static EmbReferenceText
text_for(const EmbCheckpoint *c, const Input *input)
{
	const EmbArch *arch = &c->arch;

	return (EmbReferenceText) {
		.ids = input->ids,
		.type_ids = input->type_ids,
		.n_ids = input->n_ids,
		.out = floats(emb_reference_width(arch)),
		.weights = arch->has_sparse ? floats(input->n_ids) : NULL,
		.vectors = arch->multi_dim > 0 ? floats((size_t) input->n_ids * arch->multi_dim) : NULL,
		.hidden = arch->n_layers > 0 ? floats((size_t) (arch->n_layers + 1) * input->n_ids * arch->hidden) : NULL,
	};
}

static void
free_text(EmbReferenceText *text)
{
	free(text->out);
	free(text->weights);
	free(text->vectors);
	free(text->hidden);
}

/* All inputs that have their ids in one run. */
static void
test_goldens(const char *name, const char *dir, const EmbCheckpoint *c, const Inputs *inputs)
{
	static EmbReferenceText texts[MAX_INPUTS];
	static int	of[MAX_INPUTS];
	size_t		n_floats = 0;
	float	   *vectors = load_npy(dir, "embeddings.npy", &n_floats);
	int32_t		width = emb_arch_width(&c->arch);
	Found		found = {0};
	int			n = 0;
	EmbError	err;

	CHECKF(vectors == NULL || n_floats == (size_t) inputs->n * width, "%s: %zu floats for %d texts", name, n_floats, inputs->n);
	for (int i = 0; i < inputs->n; i++)
	{
		if (inputs->input[i].ids == NULL)
			continue;
		of[n] = i;
		texts[n++] = text_for(c, &inputs->input[i]);
	}
	if (CHECKF(emb_reference_run(&blas, c, texts, n, &err) == EMB_OK, "%s: %s", name, err.message))
	{
		for (int i = 0; i < n; i++)
			compare_input(dir, c, &inputs->input[of[i]], &texts[i], vectors == NULL ? NULL : vectors + (size_t) of[i] * width, &found);
	}
	CHECKF(n >= 5 && found.n == n, "%s: %d inputs", name, found.n);
	CHECKF(found.vector <= MAX_VECTOR_DIFFERENCE, "%s: a vector is off by %g", name, found.vector);
	CHECKF(found.logit <= max_logit_difference(name), "%s: a logit is off by %g", name, found.logit);
	CHECKF(found.hidden <= MAX_HIDDEN_DIFFERENCE, "%s: a hidden state is off by %g", name, found.hidden);
	CHECKF(found.weight <= MAX_WEIGHT_DIFFERENCE, "%s: a token's weight is off by %g", name, found.weight);
	CHECKF(found.multi <= MAX_VECTOR_DIFFERENCE, "%s: a token's vector is off by %g", name, found.multi);
	printf("# %s, reference to transformers: %d texts; vectors %.2g, logits %.2g, hidden states of %d texts %.2g, weights %.2g, token vectors %.2g\n",
		   name, found.n, found.vector, found.logit, found.n_hidden, found.hidden, found.weight, found.multi);
	for (int i = 0; i < n; i++)
		free_text(&texts[i]);
	free(vectors);
}

/* ------------------------------------------------------ engine against reference */

/* 1 .. 40, around powers of two, and the longest. */
static int
choose_lengths(int32_t max, int32_t lengths[MAX_LENGTHS])
{
	static const int32_t powers[] = {64, 128, 256, 512};
	int			n = 0;

	for (int32_t i = 1; i <= 40 && i <= max; i++)
		lengths[n++] = i;
	for (size_t i = 0; i < sizeof(powers) / sizeof(powers[0]); i++)
	{
		for (int32_t k = powers[i] - 1; k <= powers[i] + 1 && k <= max; k++)
			lengths[n++] = k;
	}
	if (max > lengths[n - 1])
		lengths[n++] = max;
	return n;
}

static int32_t *
random_below(uint64_t *state, int32_t n, int32_t limit)
{
	int32_t    *out = malloc((n + 1) * sizeof(int32_t));

	for (int32_t i = 0; i < n; i++)
	{
		*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		out[i] = (int32_t) ((*state >> 33) % (uint64_t) limit);
	}
	return out;
}

/* Without normalization a vector's elements have any size: differences count by its norm. */
static double
vector_difference(const EmbArch *arch, const float *x, const float *want, int32_t n)
{
	double		squares = 0;

	for (int32_t i = 0; i < n; i++)
		squares += (double) want[i] * want[i];
	return furthest(x, want, n) / (arch->normalize || squares == 0 ? 1 : sqrt(squares));
}

static bool
run_engine(const char *name, const EmbModel *model, const EmbSequence *seqs, int n, float *out)
{
	EmbRun		run = {.mem = &heap};
	bool		is_reranker = emb_model_info(model)->kind == EMB_KIND_RERANKER;
	EmbError	err;
	EmbStatus	status = is_reranker ? emb_model_rerank(model, seqs, n, &run, out, &err) : emb_model_embed(model, seqs, n, &run, out, &err);

	return CHECKF(status == EMB_OK, "%s: %s", name, err.message);
}

static void
compare_engine(const char *name, const EmbModel *model, const EmbCheckpoint *c, const EmbSequence *seqs,
			   const EmbReferenceText *texts, int n)
{
	const EmbArch *arch = &c->arch;
	int32_t		width = emb_arch_width(arch);
	bool		is_reranker = arch->head != EMB_HEAD_NONE;
	double		bound = is_reranker ? max_logit_difference(name) : MAX_VECTOR_DIFFERENCE;
	float	   *out = floats((size_t) n * width);
	double		largest = 0;
	int			at = 0;

	if (run_engine(name, model, seqs, n, out))
	{
		for (int i = 0; i < n; i++)
		{
			const float *x = out + (size_t) i * width;
			double		difference = is_reranker ? furthest(x, texts[i].out, 1) : vector_difference(arch, x, texts[i].out, width);

			if (!(difference <= largest))
			{
				largest = difference;
				at = i;
			}
		}
		CHECKF(largest <= bound, "%s: %d tokens are off by %g", name, texts[at].n_ids, largest);
		printf("# %s, engine to reference: %d lengths up to %d, largest difference %.2g (%d tokens)\n",
			   name, n, texts[n - 1].n_ids, largest, texts[at].n_ids);
	}
	free(out);
}

static void
test_lengths(const char *name, const EmbModel *model, const EmbCheckpoint *c)
{
	const EmbArch *arch = &c->arch;
	int32_t		lengths[MAX_LENGTHS];
	int			n = choose_lengths(emb_model_info(model)->max_tokens < 8192 ? emb_model_info(model)->max_tokens : 8192, lengths);
	EmbReferenceText texts[MAX_LENGTHS];
	EmbSequence seqs[MAX_LENGTHS];
	uint64_t	state = 20261130;
	EmbError	err;

	for (int i = 0; i < n; i++)
	{
		int32_t    *ids = random_below(&state, lengths[i], arch->n_vocab);
		int32_t    *type_ids = arch->n_types > 1 ? random_below(&state, lengths[i], arch->n_types) : NULL;

		seqs[i] = (EmbSequence) {.ids = ids, .n_ids = lengths[i], .type_ids = type_ids};
		texts[i] = (EmbReferenceText) {.ids = ids, .type_ids = type_ids, .n_ids = lengths[i], .out = floats(emb_reference_width(arch))};
	}
	if (CHECKF(emb_reference_run(&blas, c, texts, n, &err) == EMB_OK, "%s: %s", name, err.message))
		compare_engine(name, model, c, seqs, texts, n);
	for (int i = 0; i < n; i++)
	{
		free((void *) texts[i].ids);
		free((void *) texts[i].type_ids);
		free(texts[i].out);
	}
}

static void
test_engine(const char *name, const char *dir, const EmbCheckpoint *c)
{
	EmbImportOptions options = {.name = name, .precision = "fp32", .query_prompt = "", .document_prompt = ""};
	EmbModel   *model = NULL;
	Image		image;
	EmbError	err;
	EmbStatus	status = import_image(dir, &options, &heap, &image, &err);

	if (status == EMB_OK)
		status = emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &model, &err);
	if (CHECKF(status == EMB_OK, "%s: %s", name, err.message))
		test_lengths(name, model, c);
	emb_model_close(model);
	free(image.data);
}

/* The oracle of learned sparse and of ColBERT models is sentence-transformers, in test_sparse.c and test_colbert.c. */
static void
test_refusal(const char *name, const EmbCheckpoint *c)
{
	const int32_t ids[] = {2, 3};
	EmbReferenceText text = {.ids = ids, .n_ids = 2};
	EmbError	err = {0};

	CHECKF(emb_reference_run(&blas, c, &text, 1, &err) == EMB_ERR_UNSUPPORTED &&
		   strstr(err.message, c->arch.has_sparse == EMB_SPARSE_VOCABULARY ? "vocabulary" : "ColBERT") != NULL, "%s: %s", name, err.message);
}

/* --------------------------------------------------------------------- models */

static void
test_model(const char *name, const char *model_dir, const char *golden_dir)
{
	/* the name says that a decoder reranks */
	EmbCheckpointOptions options = {.name = name, .has_query_prompt = true, .has_document_prompt = true};
	static Inputs inputs;
	EmbCheckpoint c;
	EmbError	err;

	load_inputs(golden_dir, &inputs);
	if (CHECKF(emb_checkpoint_open(model_dir, &options, &heap, NULL, &c, &err) == EMB_OK, "%s: %s", name, err.message))
	{
		CHECKF(emb_answers_find(&c, NULL, &err) == EMB_OK, "%s: %s", name, err.message);
		if (c.arch.has_sparse == EMB_SPARSE_VOCABULARY || c.arch.multi_kind == EMB_MULTI_COLBERT)
			test_refusal(name, &c);
		else
		{
			if (inputs.n > 0)
				test_goldens(name, golden_dir, &c, &inputs);
			test_engine(name, model_dir, &c);
		}
		emb_checkpoint_close(&c);
	}
	free_inputs(&inputs);
}

static int
test_tiny(const char *dir)
{
	struct dirent **entries;
	int			n = scandir(dir, &entries, NULL, alphasort);
	int			n_tested = 0;

	for (int i = 0; i < n; i++)
	{
		char		golden[PATH_MAX],
					model[PATH_MAX + 8];

		snprintf(golden, sizeof(golden), "%s/%s", dir, entries[i]->d_name);
		snprintf(model, sizeof(model), "%s/model", golden);
		if (entries[i]->d_name[0] != '.' && access(model, R_OK) == 0)
		{
			test_model(entries[i]->d_name, model, golden);
			n_tested++;
		}
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return n_tested;
}

static void
test_real(const char *models, const char *shared)
{
	static const char *const names[] = {
		"all-MiniLM-L6-v2", "bge-small-en-v1.5", "bge-small-zh-v1.5", "e5-small-v2", "multilingual-e5-small", "paraphrase-MiniLM-L3-v2"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char		model[PATH_MAX],
					golden[PATH_MAX];

		snprintf(model, sizeof(model), "%s/%s", models, names[i]);
		snprintf(golden, sizeof(golden), "%s/goldens/vectors/%s", shared, names[i]);
		if (access(model, R_OK) == 0)
			test_model(names[i], model, golden);
		else
			skip(names[i]);
	}
}

/* --------------------------------------------------------------------- errors */

static void
test_refusals(void)
{
	static const EmbCheckpointOptions options = {.has_query_prompt = true, .has_document_prompt = true};
	char		dir[PATH_MAX];
	int32_t		ids[] = {1, 2, 3};
	int32_t		types[] = {0, 1, 2};
	float		out[64];
	EmbReferenceText text = {.ids = ids, .n_ids = 3, .out = out};
	EmbCheckpoint c;
	EmbError	err;

	snprintf(dir, sizeof(dir), "%s/tiny/bert-cls/model", data_dir());
	if (!CHECKF(emb_checkpoint_open_dir(dir, &options, &heap, NULL, &c, &err) == EMB_OK, "%s", err.message))
		return;
	CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_OK);
	ids[1] = c.arch.n_vocab;
	CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "outside the vocabulary"));
	ids[1] = -1;
	CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_ERR_INVALID_ARGUMENT);
	ids[1] = 2;
	text.type_ids = types;
	CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "token type 2"));
	text.type_ids = NULL;
	text.n_ids = 0;
	CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "0 tokens"));
	text.n_ids = 3;
	text.weights = out;
	CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_ERR_INVALID_ARGUMENT);
	text.weights = NULL;
	c.arch.intermediate++;
	CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_ERR_FORMAT);
	emb_checkpoint_close(&c);
}

/*
 * Two threads: every row of a loop belongs to one thread, so only OpenBLAS'
 * products may differ. All else runs on one thread, because waiting threads of
 * libgomp spin, and tests share their CPUs.
 */
static void
test_threads(void)
{
	static const EmbCheckpointOptions options = {.has_query_prompt = true, .has_document_prompt = true};
	EmbBlas		two;
	uint64_t	state = 1;
	int32_t    *ids = random_below(&state, 500, 400);
	float		out[2][64] = {{0}};
	EmbCheckpoint c;
	EmbError	err;
	char		dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/bert-cls/model", data_dir());
	if (CHECKF(emb_checkpoint_open_dir(dir, &options, &heap, NULL, &c, &err) == EMB_OK, "%s", err.message))
	{
		EmbReferenceText text = {.ids = ids, .n_ids = 500, .out = out[0]};

		CHECK(emb_reference_run(&blas, &c, &text, 1, &err) == EMB_OK);
		CHECK(emb_blas_open(2, &two, &err) == EMB_OK && two.n_threads == 2);
		text.out = out[1];
		CHECK(emb_reference_run(&two, &c, &text, 1, &err) == EMB_OK);
		CHECKF(furthest(out[0], out[1], 64) <= MAX_VECTOR_DIFFERENCE, "%g", furthest(out[0], out[1], 64));
		CHECK(emb_blas_open(1, &two, &err) == EMB_OK);
		emb_checkpoint_close(&c);
	}
	free(ids);
}

/* Every allocation fails once: an error, no leak, no crash. */
static void
test_memory(void)
{
	static const EmbCheckpointOptions options = {.has_query_prompt = true, .has_document_prompt = true};
	static const int32_t ids[] = {1, 2, 3};
	char		dir[PATH_MAX];
	float		out[64];
	EmbReferenceText text = {.ids = ids, .n_ids = 3, .out = out};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbCheckpoint c;
	EmbStatus	status = EMB_ERR_NOMEM;
	long		n_before;
	long		n = 0;

	snprintf(dir, sizeof(dir), "%s/tiny/bge-m3/model", data_dir());
	if (!CHECK(emb_checkpoint_open_dir(dir, &options, &mem, NULL, &c, NULL) == EMB_OK))
		return;
	n_before = count.n_live;
	for (; n < 1000 && status == EMB_ERR_NOMEM; n++)
	{
		count.fail_after = n;
		status = emb_reference_run(&blas, &c, &text, 1, NULL);
		if (count.n_live != n_before)
			break;
	}
	count.fail_after = -1;
	CHECKF(status == EMB_OK && n > 20 && count.n_live == n_before, "allocation %ld: status %d, %ld blocks", n, status, count.n_live - n_before);
	emb_checkpoint_close(&c);
	CHECK(count.n_live == 0);
}

int
main(void)
{
	const char *shared = shared_dir();
	const char *models = getenv("EMBED_MODELS");
	char		tiny[PATH_MAX];
	EmbError	err;

	heap = emb_malloc_allocator();
	if (emb_blas_open(1, &blas, &err) != EMB_OK)
	{
		CHECKF(err.code == EMB_ERR_NOT_FOUND && err.hint[0] != '\0', "%s", err.message);
		skip("OpenBLAS is not installed (libopenblas0): the engine against the reference, for every family and length");
		return done_testing();
	}
	printf("# %s\n", blas.config);
	test_refusals();
	test_threads();
	test_memory();
	snprintf(tiny, sizeof(tiny), "%s/tiny", data_dir());
	CHECK(test_tiny(tiny) >= 14);
	if (shared == NULL)
		skip("no reference data: all tiny models and the real ones");
	else
	{
		snprintf(tiny, sizeof(tiny), "%s/goldens/tiny", shared);
		CHECK(test_tiny(tiny) >= 20);
		if (models == NULL)
			skip("EMBED_MODELS is not set: the real models");
		else
			test_real(models, shared);
	}
	emb_threads_stop();
	return done_testing();
}
