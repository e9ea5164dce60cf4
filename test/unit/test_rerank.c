/*
 * test_rerank.c
 *		Rerankers: scores against transformers; the same bits in every batch,
 *		on every level, with any number of threads; kinds are not mixed up.
 */
#include "model_util.h"
#include "scratch_util.h"

#include <math.h>

#include <jansson.h>

/* fp32 noise of the reference is 2e-6; its README asks for 5e-5 of a logit, we promise 2e-5 of a score. */
#define MAX_LOGIT_DIFFERENCE	5e-5
#define MAX_SCORE_DIFFERENCE	2e-5

/* int8 of random weights: twice what was measured, 0.005 of a score of the BERT model, 0.024 of others. */
#define MAX_INT8_DIFFERENCE		0.01
#define MAX_INT8_OTHERS			0.05

#define MAX_PAIRS	64
#define MAX_IDS		1024

static EmbAllocator heap;
static Image image;
static EmbModel *model;

static int	n_pairs;
static json_t *inputs[MAX_PAIRS];	/* {"query", "doc", "ids", "type_ids", "logit", "score"} */
static int32_t ids[MAX_PAIRS][MAX_IDS];
static int32_t type_ids[MAX_PAIRS][MAX_IDS];
static EmbSequence seqs[MAX_PAIRS];

static void
load_inputs(const char *path)
{
	FILE	   *f = fopen(path, "r");
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		n;

	while (f != NULL && n_pairs < MAX_PAIRS && (n = getline(&line, &room, f)) > 0)
		inputs[n_pairs++] = json_loadb(line, n, 0, NULL);
	free(line);
	if (f != NULL)
		fclose(f);
	CHECKF(n_pairs >= 10, "%s: %d pairs", path, n_pairs);
}

static void
open_model(const char *dir, const char *precision)
{
	EmbImportOptions options = {.precision = precision};
	EmbError	err;

	if (!CHECKF(import_image(dir, &options, &heap, &image, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &model, &err) == EMB_OK,
				"%s", err.message))
		exit(1);
}

static void
close_model(void)
{
	emb_model_close(model);
	free(image.data);
}

static EmbText
member(int i, const char *key)
{
	const json_t *text = json_object_get(inputs[i], key);

	return (EmbText) {json_string_value(text), json_string_length(text), true, NULL};
}

static bool
ints_equal(const int32_t *x, int32_t n, const json_t *list)
{
	if ((size_t) n != json_array_size(list))
		return false;
	for (int32_t i = 0; i < n; i++)
	{
		if (json_integer_value(json_array_get(list, i)) != x[i])
			return false;
	}
	return true;
}

static void
test_ids(void)
{
	int			n_wrong = 0;

	for (int i = 0; i < n_pairs; i++)
	{
		EmbText		query = member(i, "query");
		EmbText		doc = member(i, "doc");
		EmbEncoded	r = {0};
		EmbError	err;

		CHECK(emb_model_encode_pair(model, &query, &doc,
				&(EmbReading) {.ids = ids[i], .type_ids = type_ids[i], .max_ids = MAX_IDS}, &r, &err) == EMB_OK);
		seqs[i] = (EmbSequence) {.ids = ids[i], .n_ids = r.n_ids, .type_ids = type_ids[i]};
		n_wrong += !ints_equal(ids[i], r.n_ids, json_object_get(inputs[i], "ids")) ||
			!ints_equal(type_ids[i], r.n_ids, json_object_get(inputs[i], "type_ids"));
	}
	CHECKF(n_wrong == 0, "the ids of %d of %d pairs differ", n_wrong, n_pairs);
}

static void
test_scores(const char *precision, double max_int8)
{
	bool		exact = strcmp(precision, "fp32") == 0;
	EmbRun		run = {.mem = &heap};
	float		logits[MAX_PAIRS];
	double		worst_logit = 0;
	double		worst_score = 0;
	EmbError	err;

	if (!CHECKF(emb_model_rerank(model, seqs, n_pairs, &run, logits, &err) == EMB_OK, "%s", err.message))
		return;
	for (int i = 0; i < n_pairs; i++)
	{
		worst_logit = fmax(worst_logit, fabs(logits[i] - json_number_value(json_object_get(inputs[i], "logit"))));
		worst_score = fmax(worst_score, fabs(emb_score(logits[i]) - json_number_value(json_object_get(inputs[i], "score"))));
	}
	printf("# %s: logits differ by %.3g, scores by %.3g at most\n", precision, worst_logit, worst_score);
	CHECKF(worst_score <= (exact ? MAX_SCORE_DIFFERENCE : max_int8), "%g", worst_score);
	CHECKF(!exact || worst_logit <= MAX_LOGIT_DIFFERENCE, "%g", worst_logit);
}

/* Pairs longer than this, which are slow to compute in plain C, are compared once a level. */
#define SHORT_PAIR		100

/*
 * The pairs to compare: the short ones in order, then again from the end (so
 * half are duplicates), then the long ones, once. Gives their number.
 */
static int
list_pairs(EmbSequence *many, int *n_short)
{
	int			n = 0;

	for (int i = 0; i < 2 * n_pairs; i++)
	{
		const EmbSequence *seq = &seqs[i < n_pairs ? i : 2 * n_pairs - 1 - i];

		if (seq->n_ids <= SHORT_PAIR)
			many[n++] = *seq;
	}
	*n_short = n;
	for (int i = 0; i < n_pairs; i++)
	{
		if (seqs[i].n_ids > SHORT_PAIR)
			many[n++] = seqs[i];
	}
	return n;
}

static void
check_batch(const char *level, const EmbSequence *many, int n, int32_t batch_tokens, int32_t n_threads, const float *alone)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbRun		run = {.mem = &mem, .batch_tokens = batch_tokens, .n_threads = n_threads};
	size_t		own = n * 5 * sizeof(int32_t);
	float		logits[2 * MAX_PAIRS] = {0};
	EmbError	err;

	CHECKF(emb_model_rerank(model, many, n, &run, logits, &err) == EMB_OK, "%s", err.message);
	CHECKF(memcmp(alone, logits, n * sizeof(float)) == 0, "%s, batches of %d tokens: other bits", level, batch_tokens);
	CHECKF(count.n_live == 0 && count.peak_bytes <= scratch_bytes(model, batch_tokens, MAX_IDS, n_threads) + own + 4096,
		   "batches of %d tokens: %ld blocks, peak %zu", batch_tokens, count.n_live, count.peak_bytes);
}

/* Each pair alone on one thread of plain C is what all others are compared with. */
static void
test_bits(void)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "auto"};
	static const int32_t budgets[] = {0, 1, 100, 1000, INT32_MAX};
	EmbSequence many[2 * MAX_PAIRS];
	float		alone[2 * MAX_PAIRS];
	int			n_short;
	int			n = list_pairs(many, &n_short);
	EmbError	err;

	CHECK(n_short >= 8 && n - n_short >= 4);
	CHECK(emb_isa_select("scalar", &err) == EMB_OK);
	for (int i = 0; i < n; i++)
	{
		EmbRun		run = {.mem = &heap};
		bool		is_again = i >= n_short / 2 && i < n_short;

		if (is_again)
			alone[i] = alone[n_short - 1 - i];
		else if (emb_model_rerank(model, &many[i], 1, &run, &alone[i], &err) != EMB_OK)
			CHECKF(false, "%s", err.message);
	}
	for (size_t l = 0; l < sizeof(levels) / sizeof(levels[0]); l++)
	{
		if (emb_isa_select(levels[l], &err) != EMB_OK)
			continue;
		for (size_t b = 0; b < (l > 0 ? sizeof(budgets) / sizeof(budgets[0]) : 3); b++)
			check_batch(levels[l], many, n_short, budgets[b], 1 + (int32_t) b % 3, alone);
		if (l > 0)
			check_batch(levels[l], many, n, 1000, 3, alone);
	}
}

/* "[SEP]" in a query is the token itself: equal ids, other types, other logits. */
static void
test_types_matter(void)
{
	EmbRun		run = {.mem = &heap};
	int32_t		x[2][8] = {{0, 0, 1, 1}, {0, 0, 0, 1}};
	int32_t		same[4] = {2, 7, 3, 3};
	EmbSequence pairs[3] = {{.ids = same, .n_ids = 4, .type_ids = x[0]}, {.ids = same, .n_ids = 4, .type_ids = x[1]}, {.ids = same, .n_ids = 4, .type_ids = x[0]}};
	float		logits[3];
	EmbError	err;

	CHECK(emb_model_rerank(model, pairs, 3, &run, logits, &err) == EMB_OK);
	CHECK(logits[0] != logits[1] && logits[0] == logits[2]);
	x[0][1] = 2;
	CHECK(emb_model_rerank(model, pairs, 3, &run, logits, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "type") != NULL);
}

/* Prefixes of both texts: more is asked for until the ids are those of the whole. */
static void
test_prefixes(void)
{
	int			n_wrong = 0;

	for (int i = 0; i < n_pairs; i++)
	{
		for (size_t cut = 1; cut < 4000; cut = cut * 2 + 1)
		{
			EmbText		query = member(i, "query");
			EmbText		doc = member(i, "doc");
			int32_t		part_ids[MAX_IDS],
						part_types[MAX_IDS];
			EmbEncoded	r;
			EmbError	err;
			EmbText    *both[2] = {&query, &doc};

			for (int k = 0; k < 2; k++)
			{
				both[k]->complete = cut >= both[k]->len;
				both[k]->len = both[k]->complete ? both[k]->len : cut;
				while (!both[k]->complete && (both[k]->text[both[k]->len] & 0xC0) == 0x80)
					both[k]->len--;
			}
			if (emb_model_encode_pair(model, &query, &doc,
					&(EmbReading) {.ids = part_ids, .type_ids = part_types, .max_ids = MAX_IDS}, &r, &err) != EMB_OK)
				n_wrong++;
			else if (r.need_more)
				n_wrong += query.complete && doc.complete;
			else
				n_wrong += r.n_ids != seqs[i].n_ids || memcmp(part_ids, ids[i], r.n_ids * sizeof(int32_t)) != 0 ||
					memcmp(part_types, type_ids[i], r.n_ids * sizeof(int32_t)) != 0;
		}
	}
	CHECKF(n_wrong == 0, "%d", n_wrong);
}

/* A query read once gives each document's pair the same ids, however many there is room for. */
static void
test_known_query(void)
{
	int			n_wrong = 0;
	int			n_longer = 0;

	for (int i = 0; i < n_pairs; i++)
	{
		for (int32_t max_ids = 4; max_ids <= MAX_IDS; max_ids += max_ids < 40 ? 1 : 157)
		{
			EmbText		query = member(i, "query");
			int32_t		known_ids[MAX_IDS];
			EmbTextIds	known;
			EmbTextReader reader = emb_text_reader(&query);
			EmbError	err;

			n_wrong += emb_model_read_first(model, &reader, &(EmbReading) {.ids = known_ids, .max_ids = max_ids}, &known, &err) != EMB_OK;
			n_longer += known.longer;
			for (int j = 0; j < n_pairs; j += 1 + n_pairs / 8)
			{
				EmbText		doc = member(j, "doc");
				EmbText		first = known.longer ? query : (EmbText) {NULL, 0, true, NULL};
				int32_t		want_ids[MAX_IDS],
							want_types[MAX_IDS],
							got_ids[MAX_IDS],
							got_types[MAX_IDS];
				EmbEncoded	want,
							got;

				first.known = &known;
				n_wrong += emb_model_encode_pair(model, &query, &doc,
						&(EmbReading) {.ids = want_ids, .type_ids = want_types, .max_ids = max_ids}, &want, &err) != EMB_OK ||
					emb_model_encode_pair(model, &first, &doc,
							&(EmbReading) {.ids = got_ids, .type_ids = got_types, .max_ids = max_ids}, &got, &err) != EMB_OK ||
					want.n_ids != got.n_ids || want.truncated != got.truncated || got.need_more ||
					memcmp(want_ids, got_ids, want.n_ids * sizeof(int32_t)) != 0 ||
					memcmp(want_types, got_types, want.n_ids * sizeof(int32_t)) != 0;
			}
		}
	}
	CHECKF(n_wrong == 0 && n_longer > 20, "%d wrong, %d longer", n_wrong, n_longer);
}

static void
test_references(void)
{
	EmbRun		run = {.mem = &heap};
	EmbReferenceCheck check;
	EmbError	err;
	int			n_wrong = 0;

	CHECK(emb_model_n_references(model) >= 10);
	for (int32_t i = 0; i < emb_model_n_references(model); i++)
	{
		if (!CHECKF(emb_model_check_reference(model, i, &run, &check, &err) == EMB_OK, "%s", err.message))
			return;
		n_wrong += !check.ids_equal || !check.bits_equal || check.closeness != check.closeness_expected ||
			check.closeness < 0.9f || check.query_bytes > check.text_bytes;
	}
	CHECKF(n_wrong == 0, "%d", n_wrong);
}

static void
test_stop(void)
{
	for (int fail = 0; fail < 40; fail++)
	{
		Count		count;
		EmbAllocator mem = counting_allocator(&count);
		EmbRun		run = {.mem = &mem};
		float		logits[MAX_PAIRS];
		EmbStatus	status;

		count.fail_after = fail;
		status = emb_model_rerank(model, seqs, n_pairs, &run, logits, NULL);
		CHECKF((status == EMB_OK || status == EMB_ERR_NOMEM) && count.n_live == 0, "allocation %d: status %d", fail, status);
		if (status == EMB_OK)
			return;
	}
	CHECK(false);
}

/* Each kind refuses what is the other's. */
static void
test_kinds(void)
{
	EmbRun		run = {.mem = &heap};
	float		out[64];
	SmallModel	m = small_model();
	EmbImportOptions options = {.query_prompt = "query: "};
	EmbEncoded	r;
	EmbText		text = {"a", 1, true, NULL};
	EmbSequence seq = {.ids = ids[0], .n_ids = 3};
	Image		other = {0};
	EmbError	err;

	CHECK(emb_model_info(model)->kind == EMB_KIND_RERANKER && emb_model_info(model)->dim == 1);
	CHECK(emb_model_embed(model, seqs, 1, &run, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	close_model();

	write_small_model(fresh_dir(), &m);
	open_model(temp_root, "int8");
	CHECK(emb_model_info(model)->kind == EMB_KIND_EMBEDDING);
	CHECK(emb_model_encode_pair(model, &text, &text,
			&(EmbReading) {.ids = ids[0], .type_ids = type_ids[0], .max_ids = 16}, &r, &err) == EMB_OK);
	CHECK(emb_model_rerank(model, &seq, 1, &run, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	close_model();

	m = small_reranker();
	write_small_model(fresh_dir(), &m);
	CHECK(import_image(temp_root, &options, &heap, &other, &err) == EMB_ERR_INVALID_ARGUMENT &&
		  strstr(err.message, "prompts") != NULL);
	free(other.data);
}

/* A caller's texts are pairs; others make another image, and less than a pair is none. */
static void
test_calibration(void)
{
	static const char *const texts[] = {"a b", "the data of a", "c", "d e"};
	EmbImportOptions options = {.calibration_texts = texts, .n_calibration_texts = 4};
	SmallModel	m = small_reranker();
	Image		own,
				others;
	EmbError	err;

	write_small_model(fresh_dir(), &m);
	CHECKF(import_image(temp_root, NULL, &heap, &own, &err) == EMB_OK, "%s", err.message);
	CHECKF(import_image(temp_root, &options, &heap, &others, &err) == EMB_OK, "%s", err.message);
	CHECK(own.size_bytes == others.size_bytes && memcmp(own.data, others.data, own.size_bytes) != 0);
	free(others.data);
	options.n_calibration_texts = 1;
	CHECK(import_image(temp_root, &options, &heap, &others, &err) == EMB_ERR_INVALID_ARGUMENT &&
		  strstr(err.message, "pairs") != NULL);
	free(own.data);
}

static void
free_inputs(void)
{
	for (int i = 0; i < n_pairs; i++)
		json_decref(inputs[i]);
	n_pairs = 0;
}

/* A reranker of another family: ids, scores and, of the small ones, bits and references. */
static void
test_family(const char *root, const char *name, bool all)
{
	static const char *const precisions[] = {"fp32", "int8"};
	char		path[PATH_MAX + 512];

	snprintf(path, sizeof(path), "%s/tiny/%s/inputs.jsonl", root, name);
	load_inputs(path);
	for (int k = 0; k < 2; k++)
	{
		snprintf(path, sizeof(path), "%s/tiny/%s/model", root, name);
		if (strcmp(name, "xlmr-rerank") == 0)
			snprintf(path, sizeof(path), "%s", plain_tokenizer_copy(path));
		printf("# %s\n", name);
		open_model(path, precisions[k]);
		test_ids();
		test_scores(precisions[k], MAX_INT8_OTHERS);
		if (all)
		{
			test_bits();
			test_references();
		}
		close_model();
	}
	free_inputs();
}

static void
test_families(void)
{
	static const char *const names[] = {"distilbert-rerank", "gte-rerank", "modernbert-rerank", "modernbert-rerank-cls",
	"mpnet-rerank", "nomic-rerank", "roberta-rerank", "deberta-rerank", "modernbert-rerank-modules", "bert-rerank-modules", "bert-rerank-labels"};
	char		goldens[PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		test_family(data_dir(), names[i], true);
	if (shared_dir() != NULL)
	{
		snprintf(goldens, sizeof(goldens), "%s/goldens", shared_dir());
		test_family(goldens, "xlmr-rerank", false);
	}
	else
		skip("no reference data: XLM-RoBERTa's reranker");
}

int
main(void)
{
	static const char *const precisions[] = {"fp32", "int8"};
	char		dir[PATH_MAX];

	heap = emb_malloc_allocator();
	snprintf(dir, sizeof(dir), "%s/tiny/bert-rerank/inputs.jsonl", data_dir());
	load_inputs(dir);
	snprintf(dir, sizeof(dir), "%s/tiny/bert-rerank/model", data_dir());
	for (int i = 0; i < 2; i++)
	{
		open_model(dir, precisions[i]);
		test_ids();
		test_scores(precisions[i], MAX_INT8_DIFFERENCE);
		test_bits();
		test_types_matter();
		test_prefixes();
	test_known_query();
		test_references();
		test_stop();
		test_kinds();
	}
	test_calibration();
	free_inputs();
	test_families();
	emb_threads_stop();
	return done_testing();
}
