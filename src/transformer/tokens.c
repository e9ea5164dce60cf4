/*
 * tokens.c
 *		Outputs per token of a pass.
 */
#include "transformer/tokens.h"

#include <math.h>
#include <string.h>

#include "transformer/pass.h"
#include "transformer/pooling.h"

/* Weights of rows first .. first + n_rows - 1. An overflow leaves a NaN, relu or not. */
static bool
weigh(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	const EmbTokenHeads *heads = pass->tokens->heads;
	float	   *weights = pass->tokens->weights + pass->first_token + first;

	for (int32_t i = 0; i < n_rows; i++)
	{
		float		x = pass->kernels->dot_f32(pass->x + (first + i) * pass->stride, heads->sparse, pass->arch->hidden) +
			heads->sparse_bias[0];

		weights[i] = !isfinite(x) ? NAN : x > 0 ? x : 0;
	}
	return emb_work_spend(&w->work, (int64_t) n_rows * pass->arch->hidden);
}

/* n_panels columns from panel on of the rows' vectors, through the worker's FFN buffer. */
static bool
multiply_slab(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows, int32_t panel, int32_t n_panels)
{
	const EmbLinear *multi = &pass->tokens->heads->multi;
	float	  **vectors = pass->tokens->vectors + pass->first_token + first;
	int32_t		column = panel * EMB_PANEL;
	int32_t		n_left = multi->n_out - column;
	size_t		n = n_left < n_panels * EMB_PANEL ? n_left : n_panels * EMB_PANEL;
	EmbGemmF32	g = {
		.n_rows = n_rows,
		.n_in = multi->n_in,
		.n_panels = n_panels,
		.a = pass->x + first * pass->stride,
		.a_stride = pass->stride,
		.b = multi->weight + (size_t) column * multi->n_in,
		.bias = multi->bias + column,
		.c = w->wide,
		.c_stride = pass->wide_stride
	};

	if (!emb_work_multiply(&w->work, &g, NULL))
		return false;
	for (int32_t i = 0; i < n_rows; i++)
	{
		if (vectors[i] != NULL)
			memcpy(vectors[i] + column, w->wide + i * pass->wide_stride, n * sizeof(float));
	}
	return emb_work_spend(&w->work, n_rows * (int64_t) n);
}

/* A vector that overflows has a NaN as its first element. */
static bool
make_vectors(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	const EmbLinear *multi = &pass->tokens->heads->multi;
	float	  **vectors = pass->tokens->vectors + pass->first_token + first;
	int32_t		n_panels = (int32_t) emb_pack_f32_panels(multi->n_out);
	int32_t		step = (int32_t) (pass->wide_stride / EMB_PANEL);

	for (int32_t p = 0; p < n_panels; p += step)
	{
		if (!multiply_slab(pass, w, first, n_rows, p, n_panels - p < step ? n_panels - p : step))
			return false;
	}
	for (int32_t i = 0; i < n_rows; i++)
	{
		if (vectors[i] != NULL && !emb_pool_normalize(pass->kernels, vectors[i], multi->n_out))
			vectors[i][0] = NAN;
	}
	return emb_work_spend(&w->work, 4 * (int64_t) n_rows * multi->n_out);
}

/* The rows that meet the vocabulary after all blocks. */
static bool
prepare_vocabulary(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	return emb_vocabulary_prepare(&pass->tokens->heads->vocabulary, &w->work, pass->x + first * pass->stride, pass->stride, n_rows,
								  w->sum, &pass->vocabulary_rows, first);
}

bool
emb_pass_tokens(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	return (pass->tokens->maxima == NULL || prepare_vocabulary(pass, w, first, n_rows)) &&
		(pass->tokens->weights == NULL || weigh(pass, w, first, n_rows)) &&
		(pass->tokens->vectors == NULL || make_vectors(pass, w, first, n_rows));
}

/* Panels of a slice whose logits fit the worker's FFN buffer. */
static int32_t
slice_panels(const EmbPass *pass)
{
	int32_t		n = (int32_t) (pass->wide_stride / EMB_PANEL);

	return n < EMB_VOCABULARY_SLICE ? n : EMB_VOCABULARY_SLICE;
}

/* The largest logits of a slice of the vocabulary, for all texts of the pass. */
static void
part_vocabulary(void *ctx, int32_t slice, int32_t worker)
{
	EmbPass    *pass = ctx;
	EmbWorker  *w = &pass->workers[worker];
	const EmbTokenOutputs *tokens = pass->tokens;
	const EmbVocabularyHead *head = &tokens->heads->vocabulary;
	int32_t		panel = slice * slice_panels(pass);
	int32_t		left = (int32_t) emb_pack_f32_panels(head->out.n_out) - panel;
	float	   *maxima = tokens->maxima + pass->first_text * tokens->maxima_stride + (size_t) panel * EMB_PANEL;

	if (emb_work_spend(&w->work, 0))
		(void) emb_vocabulary_maxima(head, &w->work, &pass->vocabulary_rows, pass->batch->offsets, pass->batch->n_seqs, panel,
									 left < slice_panels(pass) ? left : slice_panels(pass), w->wide, pass->block_rows,
									 maxima, tokens->maxima_stride);
}

bool
emb_pass_vocabulary(EmbPass *pass)
{
	int32_t		n_panels = (int32_t) emb_pack_f32_panels(pass->tokens->heads->vocabulary.out.n_out);

	emb_team_run(&pass->team, (n_panels - 1) / slice_panels(pass) + 1, part_vocabulary, pass);
	return !atomic_load_explicit(pass->stopped, memory_order_relaxed);
}

bool
emb_pass_tokens_are_finite(const EmbPass *pass)
{
	const EmbTokenOutputs *tokens = pass->tokens;
	int32_t		end = pass->first_token + pass->batch->offsets[pass->batch->n_seqs];

	for (int32_t i = pass->first_token; i < end; i++)
	{
		if ((tokens->weights != NULL && !isfinite(tokens->weights[i])) ||
			(tokens->vectors != NULL && tokens->vectors[i] != NULL && !isfinite(tokens->vectors[i][0])))
			return false;
	}
	return true;
}

/* A pass of which only the last step runs, by the caller. */
static EmbStatus
run_rows(EmbPass *pass, const EmbStop *stop, int32_t n_rows, EmbError *err)
{
	EmbWorker  *w = &pass->workers[0];
	bool		ok = emb_work_begin(&w->work, pass->kernels, stop, pass->stopped);

	for (int32_t i = 0; ok && i < n_rows; i += pass->block_rows)
	{
		int32_t		n = n_rows - i < pass->block_rows ? n_rows - i : pass->block_rows;

		ok = (pass->tokens->weights == NULL || weigh(pass, w, i, n)) && (pass->tokens->vectors == NULL || make_vectors(pass, w, i, n));
	}
	if (!ok)
		return emb_error(err, EMB_ERR_CANCELLED, "stopped in a head of tokens");
	return emb_pass_tokens_are_finite(pass) ? EMB_OK
		: emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision: the result is not finite");
}

EmbStatus
emb_transformer_token_rows(const EmbTransformer *transformer, const EmbKernels *kernels, const float *x, int32_t n_rows,
						   const EmbAllocator *mem, const EmbStop *stop, const EmbTokenOutputs *tokens, EmbError *err)
{
	const int32_t offsets[] = {0, n_rows};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets};
	EmbPass    *pass = emb_alloc_zero(mem, 1, sizeof(*pass));
	size_t		wide_stride = emb_round_up(emb_arch_wide(transformer->arch), EMB_PANEL);
	float	   *wide = emb_alloc_array(mem, EMB_PASS_BLOCK_ROWS, wide_stride * sizeof(float));
	_Atomic bool stopped = false;
	EmbFpState	fp = emb_fp_enter();
	EmbStatus	status;

	if (pass == NULL || wide == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for outputs of %d tokens", n_rows);
	else
	{
		pass->arch = transformer->arch;
		pass->batch = &batch;
		pass->kernels = kernels;
		pass->block_rows = EMB_PASS_BLOCK_ROWS;
		pass->stride = emb_transformer_stride(transformer->arch);
		pass->wide_stride = wide_stride;
		pass->x = (float *) x;
		pass->tokens = tokens;
		pass->stopped = &stopped;
		pass->workers[0].wide = wide;
		status = run_rows(pass, stop, n_rows, err);
	}
	emb_fp_leave(fp);
	emb_release(mem, wide);
	emb_release(mem, pass);
	return status;
}
