/*
 * test_labels.c
 *		Rerankers with several outputs: the label that is the score, its logit,
 *		and what is asked for and reported when labels are chosen.
 */
#include <math.h>

#include "model_util.h"
#include "transformer/score.h"

static EmbAllocator heap;
static char noted[2048];

static void
keep_note(void *ctx, const char *message, const char *hint)
{
	size_t		at = strlen(noted);

	(void) ctx;
	snprintf(noted + at, sizeof(noted) - at, "%s. %s\n", message, hint);
}

/* ------------------------------------------------------------------- logits */

static double
plain_logit(const float *outputs, int n, int label)
{
	double		sum = 0;
	double		largest = -INFINITY;

	for (int i = 0; i < n; i++)
		largest = i != label ? fmax(largest, outputs[i]) : largest;
	for (int i = 0; i < n; i++)
		sum += i != label ? exp(outputs[i] - largest) : 0;
	return outputs[label] - largest - log(sum);
}

/* Outputs of any size, near each other and far: the libm's result to a float's last bits. */
static void
test_logits(void)
{
	static const float scales[] = {1e-6f, 0.1f, 1, 7, 90, 5000, 1e30f};
	uint32_t	random = 1;
	float		one = 3.5f;
	float		two[] = {1.25f, -2.5f};
	double		worst = 0;

	CHECK(emb_label_logit(&one, 1, 0) == 3.5f);
	CHECK(emb_label_logit(two, 2, 0) == 3.75f && emb_label_logit(two, 2, 1) == -3.75f);
	for (int k = 0; k < 70000; k++)
	{
		float		outputs[EMB_ARCH_MAX_LABELS];
		int			n = 2 + k % 7 * (k % 7) + (k % 100 == 0 ? 22 : 0);
		int			label = k % n;
		double		want;
		double		got;

		for (int i = 0; i < n; i++)
		{
			random = random * 1664525u + 1013904223u;
			outputs[i] = ((float) (random >> 8) / 8388608.0f - 1) * scales[k / 10000];
		}
		want = plain_logit(outputs, n, label);
		got = emb_label_logit(outputs, n, label);
		worst = fmax(worst, fabs(got - want) / fmax(fabs(want), 1e-30));
	}
	/* half of a float's last bit, and what the plain computation itself is off by */
	CHECKF(worst < 6.1e-8, "%g", worst);
}

/* ------------------------------------------------------------------- imports */

/* The model with its labels called so, if they are not NULL; its status, and its scores for three pairs. */
static EmbStatus
score(const char *name, const char *labels, const char *label, float scores[3], EmbError *err)
{
	static const char *const pairs[3][2] = {{"what is a database", "it keeps rows"}, {"a", "the capital of france is paris"}, {"", "x"}};
	EmbImportOptions options = {.precision = "fp32", .label = label};
	char		from[PATH_MAX];
	char		command[2 * PATH_MAX];
	Image		image = {0};
	EmbSink		sink = {.ctx = &image, .write = image_write, .note = keep_note};
	EmbRun		run = {.mem = &heap};
	EmbModel   *model;
	EmbStatus	status;

	noted[0] = '\0';
	snprintf(from, sizeof(from), strstr(name, ".gguf") != NULL ? "%s/gguf/%s" : "%s/tiny/%s/model", data_dir(), name);
	if (labels != NULL)
	{
		snprintf(command, sizeof(command), "cp -r %.3000s/. %.500s && sed -i '/\"id2label\"/,/}/c\\\n\"id2label\": %.1000s,' %.500s/config.json", from, fresh_dir(), labels, temp_root);
		CHECK(system(command) == 0);
		strcpy(from, temp_root);
	}
	status = emb_import_dir(from, &options, &heap, NULL, &sink, err);
	if (status == EMB_OK && CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &model, err) == EMB_OK, "%s", err->message))
	{
		for (int i = 0; i < 3; i++)
		{
			int32_t		ids[160];
			int32_t		types[160];
			EmbText		query = {pairs[i][0], strlen(pairs[i][0]), true, NULL};
			EmbText		doc = {pairs[i][1], strlen(pairs[i][1]), true, NULL};
			EmbEncoded	r = {0};
			EmbSequence seq = {.ids = ids, .type_ids = types};

			CHECK(emb_model_encode_pair(model, &query, &doc, &(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 160}, &r, err) == EMB_OK);
			seq.n_ids = r.n_ids;
			CHECKF(emb_model_rerank(model, &seq, 1, &run, &scores[i], err) == EMB_OK, "%s", err->message);
			scores[i] = emb_score(scores[i]);
		}
		emb_model_close(model);
	}
	free(image.data);
	return status;
}

/* The probabilities of all labels are 1 in all; names count in any case; a known one is taken by itself. */
static void
test_three(void)
{
	static const char *const labels[] = {"Contradiction", "entailment", "NEUTRAL"};
	float		scores[3][3];
	float		known[3];
	EmbError	err;

	for (int i = 0; i < 3; i++)
	{
		CHECKF(score("bert-rerank-labels", NULL, labels[i], scores[i], &err) == EMB_OK, "%s", err.message);
		CHECK(noted[0] == '\0');
	}
	for (int i = 0; i < 3; i++)
		CHECKF(fabs(scores[0][i] + scores[1][i] + scores[2][i] - 1) < 1e-6, "%g", scores[0][i] + scores[1][i] + scores[2][i]);
	CHECK(score("bert-rerank-labels", NULL, NULL, known, &err) == EMB_OK && memcmp(known, scores[1], sizeof(known)) == 0);
	CHECKF(strstr(noted, "has 3 labels: contradiction, Entailment, neutral; rerank() returns the probability of \"Entailment\"") != NULL &&
		   strstr(noted, "option label") != NULL, "%s", noted);
	CHECK(score("bert-rerank-modules", NULL, NULL, known, &err) == EMB_OK);
	CHECKF(strstr(noted, "labels: LABEL_0, LABEL_1; rerank() returns the probability of \"LABEL_1\"") != NULL, "%s", noted);
	CHECK(score("bert-rerank-modules", NULL, "label_0", scores[0], &err) == EMB_OK);
	for (int i = 0; i < 3; i++)
		CHECK(fabs(scores[0][i] + known[i] - 1) < 1e-6);
}

static void
test_names(void)
{
	static const struct
	{
		const char *model,
				   *labels,
				   *label;
		EmbStatus	status;
		const char *want;		/* in message, hint or notes */
	}			cases[] =
	{
		{"bert-rerank-labels", "{\"0\": \"a\", \"1\": \"Yes\", \"2\": \"no\"}", NULL, EMB_OK, "probability of \"Yes\""},
		{"bert-rerank-labels", "{\"0\": \"a\", \"1\": \"b\", \"2\": \"relevant\"}", NULL, EMB_OK, "probability of \"relevant\""},
		{"bert-rerank-labels", "{\"0\": \"relevant\", \"1\": \"b\", \"2\": \"entailment\"}", NULL, EMB_OK, "probability of \"entailment\""},
		{"bert-rerank-labels", "{\"0\": \"LABEL_0\", \"1\": \"LABEL_1\", \"2\": \"LABEL_2\"}", NULL, EMB_ERR_UNSUPPORTED, "LABEL_0, LABEL_1, LABEL_2, and none is known"},
		{"bert-rerank-labels", "{\"0\": \"x\", \"1\": \"irrelevant\", \"2\": \"y\"}", NULL, EMB_ERR_UNSUPPORTED, "Set the option label"},
		{"bert-rerank-labels", "{\"0\": \"x\", \"1\": \"y\", \"2\": \"z\"}", "z", EMB_OK, ""},
		{"bert-rerank-labels", NULL, "entail", EMB_ERR_INVALID_ARGUMENT, "no label \"entail\""},
		{"bert-rerank-labels", NULL, "", EMB_ERR_INVALID_ARGUMENT, "Its labels are: contradiction, Entailment, neutral."},
		{"bert-rerank-labels", "{\"0\": \"x\", \"1\": \"y\", \"3\": \"z\"}", NULL, EMB_ERR_FORMAT, "\"2\""},
		{"bert-rerank-labels", "{\"0\": \"x\", \"1\": 7, \"2\": \"z\"}", NULL, EMB_ERR_FORMAT, "\"1\""},
		{"bert-rerank-labels", "[]", NULL, EMB_ERR_FORMAT, "not an object"},
		{"bert-rerank-labels", "{}", NULL, EMB_ERR_UNSUPPORTED, "0 labels"},
		{"bert-rerank-labels", "{\"0\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", NULL, EMB_ERR_LIMIT, "label 0"},
		{"bert-rerank", NULL, "LABEL_0", EMB_OK, ""},
		{"bert-rerank", NULL, "LABEL_1", EMB_ERR_INVALID_ARGUMENT, "LABEL_0."},
		{"bert-cls", NULL, "yes", EMB_ERR_INVALID_ARGUMENT, "no classifier"},
		{"model2vec", NULL, "yes", EMB_ERR_INVALID_ARGUMENT, "no classifier"},
		{"roberta-rerank-F16.gguf", NULL, "yes", EMB_ERR_INVALID_ARGUMENT, "GGUF"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		float		scores[3];
		EmbError	err = {0};
		EmbStatus	status = score(cases[i].model, cases[i].labels, cases[i].label, scores, &err);

		CHECKF(status == cases[i].status && (strstr(err.message, cases[i].want) != NULL || strstr(err.hint, cases[i].want) != NULL || strstr(noted, cases[i].want) != NULL),
			   "%s, labels %s, label %s: status %d, \"%s\", \"%s\", %s", cases[i].model, cases[i].labels, cases[i].label, status, err.message, err.hint, noted);
	}
}

int
main(void)
{
	heap = emb_malloc_allocator();
	test_logits();
	test_three();
	test_names();
	emb_threads_stop();
	return done_testing();
}
