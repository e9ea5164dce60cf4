/*
 * pass.c
 *		A transformer like BERT (Devlin et al. 2018; the layout of
 *		transformers' BertModel without its pooler): word, type and position
 *		embeddings and a norm; then for each layer
 *
 *		c = attention(x Wq, x Wk, x Wv)
 *		x = norm(c Wo + x)
 *		x = norm(act(x Wu) Wd + x)
 *
 * EmbArch adds the variants of later families: RoPE, pre-norm, the GLU act(x
 * Wg) * (x Wu), sliding windows; and of decoders: RMS norms, fewer key heads
 * than query heads, causal attention, norms of what each half of a layer adds.
 */
#include <string.h>

#include "kernels/cpu.h"
#include "transformer/pass.h"
#include "transformer/plan.h"
#include "transformer/pooling.h"

/* Rows of a segment, for a worker if there are several: each segment packs the keys again. */
#define SEGMENT_ROWS		512
#define WORKER_SEGMENT_ROWS	256

/* -------------------------------------------------------------- layout */

static size_t
attention_scratch_bytes(const EmbTransformer *transformer, int32_t n_longest)
{
	const EmbArch *arch = transformer->arch;
	size_t		f32 = emb_layers_attend_f32(transformer) ? emb_attention_f32_scratch_bytes(arch->head_size, n_longest, arch->relative_span) : 0;
	size_t		i8 = emb_layers_attend_i8(transformer)
		? emb_attention_i8_scratch_bytes(arch->head_size, n_longest, transformer->distance_bias != NULL || arch->window > 0 || (arch->positions & EMB_POSITIONS_ALIBI)) : 0;

	return f32 > i8 ? f32 : i8;
}

static size_t
larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static int32_t
lesser(int32_t a, int32_t b)
{
	return a < b ? a : b;
}

/* block: rows of the largest block. */
static void
lay_out_worker(EmbPass *pass, EmbWorker *w, size_t block, int32_t n_longest, char *base, size_t *at)
{
	w->sum = emb_reserve(base, at, block * larger(larger(pass->stride, pass->context_stride), pass->embedding_stride) * sizeof(float));
	w->wide = emb_reserve(base, at, pass->block_rows * pass->wide_stride * sizeof(float));
	if (pass->arch->norm_place != EMB_NORM_POST)
		w->normed = emb_reserve(base, at, block * pass->stride * sizeof(float));
	if (emb_layers_quantize(pass->transformer))
	{
		w->q_in = emb_reserve(base, at, block * larger(pass->q_stride, pass->q_context_stride));
		w->q_wide = emb_reserve(base, at, pass->block_rows * pass->q_wide_stride);
		w->scales = emb_reserve(base, at, block * sizeof(float));
		w->zeros = emb_reserve(base, at, block * sizeof(int32_t));
		w->ranges = emb_reserve(base, at, block * EMB_RANGE * sizeof(float));
		w->unordered = emb_layers_reorder(pass->transformer) ? emb_reserve(base, at, EMB_UNORDERED_BYTES) : NULL;
	}
	if (pass->arch->n_experts > 0)
	{
		w->chosen = emb_reserve(base, at, block * pass->arch->experts_used);
		w->shares = emb_reserve(base, at, block * pass->arch->experts_used * sizeof(float));
		w->gathered = emb_reserve(base, at, pass->block_rows * pass->stride * sizeof(float));
		w->expert_out = emb_reserve(base, at, pass->block_rows * pass->stride * sizeof(float));
	}
	w->attention = emb_reserve(base, at, attention_scratch_bytes(pass->transformer, n_longest));
}

static void
lay_out_heads(const EmbPass *pass, int32_t n_heads, int32_t n_tokens, EmbHeadCodes *heads, char *base, size_t *at)
{
	heads->n_heads = n_heads;
	heads->stride = n_heads * emb_round_up(pass->arch->head_size, EMB_GROUP);
	heads->codes = emb_reserve(base, at, n_tokens * heads->stride);
	heads->scale_stride = n_tokens;
	heads->scales = emb_reserve(base, at, heads->scale_stride * n_heads * sizeof(float));
}

/*
 * Queries, keys and values. The input of one layer's attention is dead when
 * the next layer's is written: codes and floats share memory.
 */
static size_t
lay_out_attention(EmbPass *pass, int32_t n_tokens, char *base, size_t at)
{
	size_t		start = at;
	size_t		rows = (size_t) n_tokens * pass->key_stride * sizeof(float);

	if (emb_layers_attend_i8(pass->transformer))
	{
		lay_out_heads(pass, pass->arch->n_heads, n_tokens, &pass->q_heads, base, &at);
		lay_out_heads(pass, pass->arch->n_kv_heads, n_tokens, &pass->keys.k_heads, base, &at);
		lay_out_heads(pass, pass->arch->n_kv_heads, n_tokens, &pass->keys.v_heads, base, &at);
	}
	if (emb_layers_attend_f32(pass->transformer))
	{
		pass->q = pass->context;
		pass->keys.k = emb_reserve(base, &start, rows);
		pass->keys.v = emb_reserve(base, &start, rows);
	}
	return larger(start, at);
}

/*
 * The rows that meet the vocabulary. An image that is not fp32 has codes of its
 * output matrix.
 */
static void
lay_out_vocabulary(EmbPass *pass, int32_t n_tokens, char *base, size_t *at)
{
	EmbVocabularyRows *rows = &pass->vocabulary_rows;

	*rows = (EmbVocabularyRows) {.stride = pass->stride, .code_stride = pass->q_stride};
	if (pass->arch->has_sparse != EMB_SPARSE_VOCABULARY)
		return;
	if (!emb_layers_quantize(pass->transformer))
	{
		rows->rows = emb_reserve(base, at, n_tokens * rows->stride * sizeof(float));
		return;
	}
	rows->codes = emb_reserve(base, at, n_tokens * rows->code_stride);
	rows->scales = emb_reserve(base, at, n_tokens * sizeof(float));
	rows->zeros = emb_reserve(base, at, n_tokens * sizeof(int32_t));
}

static int32_t
segment_rows(const EmbTransformer *transformer, int32_t n_tokens, int32_t n_workers)
{
	int32_t		n = n_workers * WORKER_SEGMENT_ROWS > SEGMENT_ROWS ? n_workers * WORKER_SEGMENT_ROWS : SEGMENT_ROWS;

	/* queries in fp32 are where their context goes */
	return n_tokens < n || emb_layers_attend_f32(transformer) ? n_tokens : n;
}

static int32_t
block_rows(const EmbTransformer *transformer)
{
	if (emb_layers_have_groups(transformer))
		return EMB_PASS_BLOCK_ROWS_GROUPED;
	if (EMB_PASS_BLOCK_ROWS_LARGE * emb_arch_wide(transformer->arch) * sizeof(float) <= emb_cpu_l2_bytes() / 2)
		return EMB_PASS_BLOCK_ROWS_LARGE;
	return EMB_PASS_BLOCK_ROWS;
}

size_t
emb_pass_lay_out(EmbPass *pass, const EmbTransformer *transformer, int32_t n_tokens, int32_t n_longest, int32_t n_workers,
				 char *base)
{
	const EmbArch *arch = transformer->arch;
	int32_t		block_max = block_rows(transformer);
	size_t		at = 0;

	pass->transformer = transformer;
	pass->arch = arch;
	pass->n_longest = n_longest;
	pass->block_rows = n_tokens < block_max ? n_tokens : block_max;
	pass->expert_rows = arch->n_experts > 0 && n_tokens > block_max ? lesser(n_tokens, EMB_PASS_BLOCK_ROWS_EXPERTS) : pass->block_rows;
	pass->stride = emb_transformer_stride(arch);
	pass->embedding_stride = emb_round_up(emb_arch_embedding_width(arch), EMB_PANEL);
	pass->context_stride = emb_round_up(emb_arch_query_width(arch), EMB_PANEL);
	pass->key_stride = emb_round_up(emb_arch_key_width(arch), EMB_PANEL);
	pass->wide_stride = emb_round_up(emb_arch_wide(arch), EMB_PANEL);
	pass->q_stride = emb_round_up(arch->hidden, EMB_PACK_I8_K);
	pass->q_context_stride = emb_round_up(emb_arch_query_width(arch), EMB_PACK_I8_K);
	pass->q_wide_stride = emb_round_up(arch->intermediate, EMB_PACK_I8_K);
	pass->x = emb_reserve(base, &at, (size_t) n_tokens * pass->stride * sizeof(float));
	pass->context_rows = segment_rows(transformer, n_tokens, n_workers);
	pass->context = emb_reserve(base, &at, (size_t) pass->context_rows * pass->context_stride * sizeof(float));
	at = lay_out_attention(pass, n_tokens, base, at);
	lay_out_vocabulary(pass, n_tokens, base, &at);
	for (int32_t i = 0; i < n_workers; i++)
		lay_out_worker(pass, &pass->workers[i], pass->expert_rows, n_longest, base, &at);
	return at;
}

/* --------------------------------------------------------------- steps */

static int32_t
seq_length(const EmbBatch *batch, int32_t seq)
{
	return batch->offsets[seq + 1] - batch->offsets[seq];
}

/* Only products: the bits cannot depend on the compiler's vectorization. */
static void
load_row(const EmbTable *table, size_t row, size_t n, float *x)
{
	if (table->rows_f32 != NULL)
		memcpy(x, table->rows_f32 + row * n, n * sizeof(float));
	else
		for (size_t i = 0; i < n; i++)
			x[i] = (float) table->rows_i8[row * n + i] * table->scales[row] * table->factors[i];
}

/* Position row of the first non-padding token at or after batch token `first`. */
static size_t
next_position(const EmbPass *pass, int32_t seq, int32_t first)
{
	int32_t		pad = pass->arch->position_base - 1;
	int32_t		start = pass->batch->offsets[seq];
	size_t		position = emb_pass_prefix(pass) + first - start;

	if (pad < 0)
		return position;
	for (int32_t i = start; i < first; i++)
		position -= pass->batch->ids[i] == pad;
	return position + 1;
}

/* x = norm((word + type) + position), of which a model may lack all but word */
static void
embed_token(const EmbPass *pass, size_t id, size_t type, size_t position, float *x)
{
	const EmbTransformer *transformer = pass->transformer;
	const EmbArch *arch = pass->arch;
	int32_t		n = emb_arch_embedding_width(arch);
	const float *position_row = transformer->position_embedding == NULL ? NULL : transformer->position_embedding + position * n;

	load_row(&transformer->word_embedding, id, n, x);
	if (arch->n_types > 0)
		pass->kernels->add_f32(x, transformer->type_embedding + type * n, n);
	if (arch->has_embedding_norm)
		emb_pass_add_norm_of(pass, n, x, position_row, &transformer->embedding_norm, x);
	else if (position_row != NULL)
		pass->kernels->add_f32(x, position_row, n);
}

/* x = rows W^T + b for n_rows embeddings that are narrower or wider than the layers. */
static bool
project_embeddings(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	const EmbLinear *linear = &pass->transformer->embedding_projection;
	EmbGemmF32	g = {
		.n_rows = n_rows, .n_in = linear->n_in, .n_panels = (int32_t) emb_pack_f32_panels(linear->n_out),
		.a = w->sum, .a_stride = pass->embedding_stride, .b = linear->weight, .bias = linear->bias,
		.c = pass->x + first * pass->stride, .c_stride = pass->stride
	};

	return emb_work_multiply(&w->work, &g, NULL);
}

static bool
embed_rows(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t first, int32_t end)
{
	const EmbArch *arch = pass->arch;
	const EmbBatch *batch = pass->batch;
	bool		is_projected = arch->embedding_size > 0;
	float	   *rows = is_projected ? w->sum : pass->x + first * pass->stride;
	size_t		stride = is_projected ? pass->embedding_stride : pass->stride;
	size_t		next = next_position(pass, seq, first);

	for (int32_t i = first; i < end; i++)
	{
		size_t		type = batch->type_ids == NULL ? 0 : batch->type_ids[i];
		size_t		position;

		if (i >= batch->offsets[seq + 1])
			next = next_position(pass, ++seq, i);
		position = batch->ids[i] == arch->position_base - 1 ? 0 : next++;
		embed_token(pass, batch->ids[i], type, position, rows + (i - first) * stride);
		if (!emb_work_spend(&w->work, 8 * (int64_t) emb_arch_embedding_width(arch)))
			return false;
	}
	if (is_projected && !project_embeddings(pass, w, first, end - first))
		return false;
	emb_pass_observe(pass, EMB_OBSERVE_HIDDEN, 0, first, end - first, pass->x + first * pass->stride, pass->stride);
	return true;
}

static int32_t
block_start(const EmbPass *pass, int32_t block)
{
	return pass->first_row + (int32_t) ((int64_t) pass->n_rows * block / pass->n_blocks);
}

static void
block_begin(void *ctx, int32_t block, int32_t worker)
{
	EmbPass *pass = ctx;
	EmbWorker *w = &pass->workers[worker];
	int32_t		first = block_start(pass, block);
	int32_t		end = block_start(pass, block + 1);

	if (!emb_work_spend(&w->work, 0) ||
		(pass->first_layer == 0 && !embed_rows(pass, w, emb_pass_seq_of_row(pass->batch, first), first, end)))
		return;
	if (pass->first_layer < pass->end_layer)
		emb_layer_project(pass, w, pass->first_layer, first, end - first, false, true, !pass->compact);
}

/* Whether the layer's rows are more than its context has room for. */
static bool
is_segmented(const EmbPass *pass)
{
	return (emb_pass_is_compact(pass) ? pass->batch->n_seqs : pass->batch->offsets[pass->batch->n_seqs]) > pass->context_rows;
}

static bool
project_next(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows, bool is_finished)
{
	int32_t		next = pass->layer + 1;

	return emb_layer_project(pass, w, next, first, n_rows, is_finished, true, !(next == pass->arch->n_layers - 1 && pass->compact));
}

static void
block_project(void *ctx, int32_t block, int32_t worker)
{
	EmbPass *pass = ctx;
	EmbWorker *w = &pass->workers[worker];
	int32_t		first = block_start(pass, block);

	if (emb_work_spend(&w->work, 0))
		(void) project_next(pass, w, first, block_start(pass, block + 1) - first, false);
}

/* The end of pass->layer for a block, and the projections of the next layer unless segments follow. */
static void
block_finish(void *ctx, int32_t block, int32_t worker)
{
	EmbPass *pass = ctx;
	EmbWorker *w = &pass->workers[worker];
	int32_t		first = block_start(pass, block);
	int32_t		n_rows = block_start(pass, block + 1) - first;
	int32_t		next = pass->layer + 1;
	bool		is_projected = next < pass->end_layer && !is_segmented(pass);

	if (!emb_work_spend(&w->work, 0) || !emb_layer_finish(pass, w, pass->layer, first, n_rows, is_projected))
		return;
	emb_pass_observe(pass, EMB_OBSERVE_HIDDEN, next, first, n_rows, pass->x + first * pass->stride, pass->stride);
	if (is_projected)
		(void) project_next(pass, w, first, n_rows, true);
	else if (next == pass->arch->n_layers && pass->tokens != NULL)
		emb_pass_tokens(pass, w, first, n_rows);
}

static void
block_queries(void *ctx, int32_t block, int32_t worker)
{
	EmbPass *pass = ctx;
	EmbWorker *w = &pass->workers[worker];
	int32_t		first = block_start(pass, block);

	if (emb_work_spend(&w->work, 0))
		emb_layer_project(pass, w, pass->layer, first, block_start(pass, block + 1) - first, false, false, true);
}

/*
 * A part of the segment's queries of one text, for a key head and the query heads that
 * share it; parts of queries are used only if there are too few heads for the
 * workers.
 */
static void
part_attend(void *ctx, int32_t part, int32_t worker)
{
	EmbPass *pass = ctx;
	EmbWorker *w = &pass->workers[worker];
	int32_t		part_of_head = part % pass->n_parts;
	int32_t		key_head = part / pass->n_parts % pass->arch->n_kv_heads;
	int32_t		seq = pass->first_seq + part / pass->n_parts / pass->arch->n_kv_heads;
	bool		compact = emb_pass_is_compact(pass);
	EmbTextQueries queries = compact ? (EmbTextQueries) {.n = 1}
		: emb_plan_text_queries(pass->batch, seq, pass->segment, pass->segment_end);
	int32_t		first = queries.first + emb_plan_query_part(queries.n, pass->n_parts, part_of_head);
	int32_t		end = queries.first + emb_plan_query_part(queries.n, pass->n_parts, part_of_head + 1);

	if (first < end && emb_work_spend(&w->work, 0))
		emb_layer_attend(pass, w, seq, key_head, first, end - first);
}

/* Runs run_block over n_rows rows from first on in blocks of at most block_rows. False: stopped. */
static bool
run_blocks_of(EmbPass *pass, int32_t first, int32_t n_rows, int32_t block_rows, EmbTeamPart run_block)
{
	pass->first_row = first;
	pass->n_rows = n_rows;
	pass->n_blocks = emb_plan_blocks(n_rows, block_rows, pass->team.n_workers);
	emb_team_run(&pass->team, pass->n_blocks, run_block, pass);
	return !atomic_load_explicit(pass->stopped, memory_order_relaxed);
}

static bool
run_blocks(EmbPass *pass, int32_t first, int32_t n_rows, EmbTeamPart run_block)
{
	return run_blocks_of(pass, first, n_rows, pass->block_rows, run_block);
}

/* False: stopped. */
static bool
run_attention(EmbPass *pass)
{
	const EmbBatch *batch = pass->batch;
	bool		compact = emb_pass_is_compact(pass);
	int32_t		n_heads = pass->arch->n_kv_heads;
	int32_t		end_seq = compact ? pass->segment_end : emb_pass_seq_of_row(batch, pass->segment_end - 1) + 1;

	pass->first_seq = compact ? pass->segment : emb_pass_seq_of_row(batch, pass->segment);
	pass->n_parts = compact || pass->team.n_workers == 1 ? 1
		: emb_plan_query_parts(batch, pass->first_seq, end_seq, pass->segment, pass->segment_end, n_heads, pass->team.n_workers);
	emb_team_run(&pass->team, (end_seq - pass->first_seq) * n_heads * pass->n_parts, part_attend, pass);
	return !atomic_load_explicit(pass->stopped, memory_order_relaxed);
}

/*
 * The last layer with pooling of one row: after keys and values only this row
 * of each text is needed. x shrinks to these rows; row "seq" takes a row of
 * its text, which is not before it.
 */
static bool
shrink(EmbPass *pass)
{
	const EmbBatch *batch = pass->batch;

	for (int32_t seq = 0; seq < batch->n_seqs; seq++)
		memmove(pass->x + seq * pass->stride, pass->x + (batch->offsets[seq] + emb_pass_pooled_row(pass, seq)) * pass->stride,
				pass->arch->hidden * sizeof(float));
	return run_blocks(pass, 0, batch->n_seqs, block_queries);
}

/* Attention and the rest of pass->layer, segment by segment; projections of the next layer. */
static bool
run_layer(EmbPass *pass, int32_t n_rows)
{
	int32_t		block_rows = emb_arch_has_experts(pass->arch, pass->layer) ? pass->expert_rows : pass->block_rows;

	for (int32_t first = 0; first < n_rows; first = pass->segment_end)
	{
		pass->segment = first;
		pass->segment_end = emb_plan_segment_end(first, n_rows, pass->context_rows);
		if (!run_attention(pass) || !run_blocks_of(pass, first, pass->segment_end - first, block_rows, block_finish))
			return false;
	}
	pass->segment = 0;
	return !is_segmented(pass) || pass->layer + 1 >= pass->end_layer || run_blocks(pass, 0, n_rows, block_project);
}

static bool
run_layers(EmbPass *pass)
{
	const EmbArch *arch = pass->arch;
	int32_t		n_rows = pass->batch->offsets[pass->batch->n_seqs];
	bool		compact = pass->compact;

	/* a last layer that comes first needs few queries */
	pass->compact = compact && arch->n_layers == pass->first_layer + 1;
	if (!run_blocks(pass, 0, n_rows, block_begin))
		return false;
	pass->compact = compact;
	/* of a compact prefix the last layer's keys and values are wanted, and nothing after them */
	for (pass->layer = pass->first_layer; pass->layer < pass->end_layer - (pass->keep != NULL && compact); pass->layer++)
	{
		if (compact && pass->layer == arch->n_layers - 1)
		{
			if (!shrink(pass))
				return false;
			n_rows = pass->batch->n_seqs;
		}
		if (!run_layer(pass, n_rows))
			return false;
	}
	return true;
}

static EmbStatus
not_finite(EmbError *err)
{
	return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision: the result is not finite");
}

/* Finite weights can still overflow: then there is no vector, on any ISA level. */
static EmbStatus
pool(const EmbPass *pass, float *out, EmbError *err)
{
	const EmbArch *arch = pass->arch;
	const EmbKernels *kernels = pass->kernels;
	const EmbBatch *batch = pass->batch;
	int32_t		width = emb_arch_pooled_width(arch);

	for (int32_t seq = 0; seq < batch->n_seqs; seq++)
	{
		int32_t		skipped = pass->compact ? 0 : emb_pass_first_pooled(pass, seq);
		int32_t		first = pass->compact ? seq : batch->offsets[seq] + skipped;
		float	   *vector = out + (size_t) seq * width;

		emb_pool_rows(kernels, arch, pass->x + first * pass->stride, pass->stride,
					  pass->compact ? 1 : seq_length(batch, seq) - skipped, skipped, vector);
		if (!emb_pool_is_finite(vector, width) ||
			(emb_arch_normalizes_pooled(arch) && !emb_pool_normalize(kernels, vector, width)))
			return not_finite(err);
	}
	return pass->tokens == NULL || emb_pass_tokens_are_finite(pass) ? EMB_OK : not_finite(err);
}

/* Worker threads poll no callback: they read the result of the caller's poll. */
static bool
begin_work(EmbPass *pass, const EmbStop *stop)
{
	for (int32_t i = 0; i < pass->team.n_workers; i++)
		if (!emb_work_begin(&pass->workers[i].work, pass->kernels, i == 0 ? stop : NULL, pass->stopped))
			return false;
	return true;
}

EmbStatus
emb_pass_run(EmbPass *pass, const EmbStop *stop, float *out, EmbError *err)
{
	if (begin_work(pass, stop) && run_layers(pass) &&
		(pass->tokens == NULL || pass->tokens->maxima == NULL || emb_pass_vocabulary(pass)))
		return pass->end_layer == pass->arch->n_layers && pass->keep == NULL ? pool(pass, out, err) : EMB_OK;
	return emb_error(err, EMB_ERR_CANCELLED, "stopped while embedding a batch of %d tokens",
					 (int) pass->batch->offsets[pass->batch->n_seqs]);
}
