/*
 * heads.c
 *		What follows the layers: one vector or logit for a text, and outputs
 *		per token.
 *
 *	embedding	pooling, then modules act(x W + b) or layer norms, then the norm of the vector
 *	score		classifier norm(act(pooler x + b)) + c for the pooled row x
 *	answer		yes . x - no . x for the pooled row x
 *	modules		the output of the modules for the pooled row x
 *	sparse		relu(w . x + b) for each token (Chen et al. 2024, section 3.2)
 *	multi		y / |y|, y = M x + c, for each token
 */
#include "reference/reference.h"

#include <math.h>
#include <string.h>

#include "reference/matrices.h"

/* The weights of all heads that the model has. */
typedef struct Heads
{
	EmbRefLinear dense[EMB_ARCH_MAX_DENSE];
	EmbRefNorm	norms[EMB_ARCH_MAX_DENSE];
	EmbRefLinear pooler;
	EmbRefNorm	norm;
	EmbRefLinear classifier;
	EmbRefLinear answers;
	EmbRefLinear sparse;
	EmbRefLinear multi;
	float	   *row;			/* [widest of all], two of them: a module reads one and writes the other */
	float	   *next;
} Heads;

int32_t
emb_reference_width(const EmbArch *arch)
{
	return emb_arch_width(arch);
}

/* ------------------------------------------------------------------- pooling */

static void
pool_one(EmbPooling pooling, int32_t n, int32_t hidden, const float *rows, float *out)
{
	double		divisor = pooling == EMB_POOL_MEAN_SQRT_LEN ? sqrt(n) : pooling == EMB_POOL_WEIGHTED_MEAN ? n * (n + 1.0) / 2 : n;

	switch (pooling)
	{
		case EMB_POOL_CLS:
			memcpy(out, rows, hidden * sizeof(float));
			return;
		case EMB_POOL_LAST:
			memcpy(out, rows + (size_t) (n - 1) * hidden, hidden * sizeof(float));
			return;
		default:
			break;
	}
	for (int32_t k = 0; k < hidden; k++)
	{
		double		sum = 0;
		float		largest = -INFINITY;

		for (int32_t i = 0; i < n; i++)
		{
			float		x = rows[(size_t) i * hidden + k];

			sum += pooling == EMB_POOL_WEIGHTED_MEAN ? (i + 1.0) * x : x;
			largest = x > largest ? x : largest;
		}
		/* a static model's text may have no tokens: zeros */
		out[k] = pooling == EMB_POOL_MAX ? largest : n > 0 ? (float) (sum / divisor) : 0;
	}
}

/* Several poolings are concatenated. */
static void
pool(const EmbArch *arch, int32_t n, const float *rows, float *out)
{
	for (int i = 0; i < emb_arch_n_poolings(arch); i++)
		pool_one(emb_arch_pooling(arch, i), n, arch->hidden, rows, out + (size_t) i * arch->hidden);
}

/* --------------------------------------------------------------------- heads */

/* A module may begin with the norm of its input. Returns the width of the last module's output, which is in h->row. */
static int32_t
run_modules(const EmbRefRun *run, Heads *h)
{
	const EmbArch *arch = run->arch;
	int32_t		width = emb_arch_pooled_width(arch);

	for (int32_t i = 0; i < arch->n_dense; i++)
	{
		const EmbArchDense *module = &arch->dense[i];
		float	   *next = h->next;

		if (module->normalize)
			emb_ref_normalize(h->row, width);
		if (module->kind == EMB_MODULE_LAYER_NORM)
			emb_ref_norm(EMB_NORM_LAYER, h->norms[i], module->eps, 1, width, h->row, next, 1);
		else
			emb_ref_multiply(run, &h->dense[i], 1, h->row, next);
		width = module->n_out;
		emb_ref_activate(module->activation, width, next, 1);
		h->next = h->row;
		h->row = next;
	}
	return width;
}

/* The vector is normalized as the model says. */
static void
project(const EmbRefRun *run, Heads *h, float *out)
{
	int32_t		width = run_modules(run, h);

	if (run->arch->normalize)
		emb_ref_normalize(h->row, width);
	memcpy(out, h->row, width * sizeof(float));
}

/* The logit whose sigmoid is the softmax of the model's label. */
static float
logit_of_label(const EmbArch *arch, const double *outputs)
{
	double		largest = -INFINITY;
	double		sum = 0;

	if (arch->n_labels == 1)
		return (float) outputs[0];
	for (int32_t i = 0; i < arch->n_labels; i++)
		largest = i != arch->label && outputs[i] > largest ? outputs[i] : largest;
	for (int32_t i = 0; i < arch->n_labels; i++)
		sum += i != arch->label ? exp(outputs[i] - largest) : 0;
	return (float) (outputs[arch->label] - largest - log(sum));
}

static void
score(const EmbRefRun *run, Heads *h, float *logit)
{
	const EmbArch *arch = run->arch;
	double		outputs[EMB_ARCH_MAX_LABELS];

	emb_ref_multiply(run, &h->pooler, 1, h->row, h->next);
	emb_ref_activate(arch->head_activation, arch->hidden, h->next, 1);
	if (arch->head_has_norm)
		emb_ref_norm(arch->norm_kind, h->norm, arch->norm_eps, 1, arch->hidden, h->next, h->next, 1);
	for (int32_t i = 0; i < arch->n_labels; i++)
		outputs[i] = emb_ref_dot(h->next, h->classifier.weight + (size_t) i * arch->hidden, arch->hidden) + h->classifier.bias[i];
	*logit = logit_of_label(arch, outputs);
}

static void
score_by_modules(const EmbRefRun *run, Heads *h, float *logit)
{
	double		outputs[EMB_ARCH_MAX_LABELS];
	int32_t		n = run_modules(run, h);

	for (int32_t i = 0; i < n; i++)
		outputs[i] = h->row[i];
	*logit = logit_of_label(run->arch, outputs);
}

/* One answer: its own logit; two: what "yes" has more than "no". */
static void
answer(const EmbRefRun *run, Heads *h, float *logit)
{
	const EmbArch *arch = run->arch;
	double		yes = emb_ref_dot(h->row, h->answers.weight, arch->hidden);

	*logit = (float) (arch->n_labels < 2 ? yes : yes - emb_ref_dot(h->row, h->answers.weight + arch->hidden, arch->hidden));
}

static void
compute_out(const EmbRefRun *run, Heads *h, const EmbReferenceText *text, const float *rows)
{
	pool(run->arch, text->n_ids, rows, h->row);
	if (run->arch->head == EMB_HEAD_SCORE)
		score(run, h, text->out);
	else if (run->arch->head == EMB_HEAD_ANSWER)
		answer(run, h, text->out);
	else if (run->arch->head == EMB_HEAD_MODULES)
		score_by_modules(run, h, text->out);
	else
		project(run, h, text->out);
}

static void
compute_tokens(const EmbRefRun *run, const Heads *h, const EmbReferenceText *text, const float *rows)
{
	int32_t		hidden = run->arch->hidden;
	int32_t		dim = run->arch->multi_dim;

	for (int32_t i = 0; text->weights != NULL && i < text->n_ids; i++)
	{
		double		x = emb_ref_dot(rows + (size_t) i * hidden, h->sparse.weight, hidden) + h->sparse.bias[0];

		text->weights[i] = x < 0 ? 0 : (float) x;
	}
	if (text->vectors == NULL)
		return;
	emb_ref_multiply(run, &h->multi, text->n_ids, rows, text->vectors);
	for (int32_t i = 0; i < text->n_ids; i++)
		emb_ref_normalize(text->vectors + (size_t) i * dim, dim);
}

/* ----------------------------------------------------------------------- run */

/* The layer norm of a module, whatever norms the layers have; without weights it has ones and zeros. */
static EmbRefNorm
read_norm(EmbRefRun *run, int i, int32_t n)
{
	float	   *gamma;
	float	   *beta;

	if (run->arch->dense[i].has_bias)
		return (EmbRefNorm) {
			.gamma = emb_ref_read(run, EMB_NO_LAYER, emb_part_of_module(i), EMB_TENSOR_GAMMA, 1, n),
			.beta = emb_ref_read(run, EMB_NO_LAYER, emb_part_of_module(i), EMB_TENSOR_BETA, 1, n)
		};
	gamma = emb_ref_take(run, 1, n);
	beta = emb_ref_take(run, 1, n);
	for (int32_t k = 0; run->status == EMB_OK && k < n; k++)
	{
		gamma[k] = 1;
		beta[k] = 0;
	}
	return (EmbRefNorm) {gamma, beta};
}

static Heads
read_heads(EmbRefRun *run)
{
	const EmbArch *arch = run->arch;
	int32_t		width = emb_arch_pooled_width(arch);
	int32_t		widest = width;
	Heads		h = {0};

	for (int32_t i = 0; i < arch->n_dense; i++)
	{
		if (arch->dense[i].kind == EMB_MODULE_DENSE)
			h.dense[i] = emb_ref_linear(run, EMB_NO_LAYER, emb_part_of_module(i), arch->dense[i].n_out, width, arch->dense[i].has_bias);
		else
			h.norms[i] = read_norm(run, i, width);
		width = arch->dense[i].n_out;
		widest = width > widest ? width : widest;
	}
	if (arch->head == EMB_HEAD_SCORE)
	{
		h.pooler = emb_ref_linear(run, EMB_NO_LAYER, EMB_PART_POOLER, arch->hidden, arch->hidden, arch->head_has_bias);
		if (arch->head_has_norm)
			h.norm = emb_ref_read_norm(run, EMB_NO_LAYER, EMB_PART_HEAD_NORM, arch->hidden);
		h.classifier = emb_ref_linear(run, EMB_NO_LAYER, EMB_PART_CLASSIFIER, arch->n_labels, arch->hidden, true);
	}
	if (arch->head == EMB_HEAD_ANSWER)
		h.answers = emb_ref_linear(run, EMB_NO_LAYER, EMB_PART_ANSWERS, arch->n_labels, arch->hidden, false);
	if (arch->has_sparse)
		h.sparse = emb_ref_linear(run, EMB_NO_LAYER, EMB_PART_SPARSE, 1, arch->hidden, true);
	if (arch->multi_dim > 0)
		h.multi = emb_ref_linear(run, EMB_NO_LAYER, EMB_PART_MULTI, arch->multi_dim, arch->hidden, true);
	h.row = emb_ref_take(run, 1, widest);
	h.next = emb_ref_take(run, 1, widest);
	return h;
}

static bool
is_finite(const EmbRefRun *run, const EmbReferenceText *text)
{
	for (int32_t i = 0; text->out != NULL && i < emb_reference_width(run->arch); i++)
	{
		if (!isfinite(text->out[i]))
			return false;
	}
	return true;
}

void
emb_ref_run_heads(EmbRefRun *run, const EmbReferenceText *texts, int32_t n_texts, float *const *rows)
{
	Heads		h = read_heads(run);

	for (int32_t i = 0; i < n_texts && run->status == EMB_OK; i++)
	{
		if (texts[i].out != NULL)
			compute_out(run, &h, &texts[i], rows[i]);
		compute_tokens(run, &h, &texts[i], rows[i]);
		if (!is_finite(run, &texts[i]))
			run->status = emb_error(run->err, EMB_ERR_LIMIT, "the model's weights overflow single precision: the result is not finite");
	}
}
