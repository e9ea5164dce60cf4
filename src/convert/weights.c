/*
 * weights.c
 *		Reads a checkpoint's tensors as an fp32 image has them.
 */
#include "convert/weights.h"

#include "convert/rotary.h"
#include "kernels/fpenv.h"
#include "kernels/kernels.h"

/* Floats of a block of rows: 256 KiB, well under 10 ms to read. */
#define BLOCK_FLOATS	65536

/* Computed here, because checkpoints have no such tensors. */
static bool
is_rotary(EmbTensorKey key)
{
	return key.part == EMB_PART_ROTARY || key.part == EMB_PART_ROTARY_LOCAL;
}

static bool
is_relative(EmbTensorKey key)
{
	return key.part == EMB_PART_RELATIVE_KEYS || key.part == EMB_PART_RELATIVE_QUERIES;
}

/* Number of rows of an image tensor before the part's own rows: the gates in ffn_up. */
static int64_t
n_gates(const EmbWeights *w, const EmbImageTensor *t)
{
	if (t->key.part != EMB_PART_FFN_UP || !w->arch->is_gated)
		return 0;
	return t->key.kind == EMB_TENSOR_WEIGHT ? t->n_rows / 2 : t->n_cols / 2;
}

static EmbTensorKey
gates_of(const EmbImageTensor *t)
{
	return (EmbTensorKey) {t->key.layer, EMB_PART_FFN_GATE, t->key.kind};
}

static const EmbTensorKey distance_keys[] = {
	{EMB_NO_LAYER, EMB_PART_RELATIVE, EMB_TENSOR_TABLE},
	{EMB_NO_LAYER, EMB_PART_RELATIVE_NORM, EMB_TENSOR_GAMMA},
	{EMB_NO_LAYER, EMB_PART_RELATIVE_NORM, EMB_TENSOR_BETA}
};

/* The vectors of distances, and their norm. */
static EmbStatus
check_distances(const EmbWeights *w, const EmbImageTensor *t, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	for (int i = 0; status == EMB_OK && i < (w->arch->relative_normed ? 3 : 1); i++)
		status = emb_checkpoint_check(w->checkpoint, distance_keys[i], i == 0 ? (int32_t) t->n_rows : 1, w->arch->hidden, err);
	return status;
}

static EmbStatus
check_tensor(const EmbWeights *w, const EmbImageTensor *t, EmbError *err)
{
	bool		is_gated = n_gates(w, t) > 0;
	int32_t		n_rows = (int32_t) (is_gated && t->key.kind == EMB_TENSOR_WEIGHT ? t->n_rows / 2 : t->n_rows);
	int32_t		n_cols = (int32_t) (is_gated && t->key.kind != EMB_TENSOR_WEIGHT ? t->n_cols / 2 : t->n_cols);
	EmbStatus	status = EMB_OK;

	if (is_rotary(t->key))
		return EMB_OK;
	if (is_relative(t->key))
		return check_distances(w, t, err);
	if (is_gated)
		status = emb_checkpoint_check(w->checkpoint, gates_of(t), n_rows, n_cols, err);
	return status == EMB_OK ? emb_checkpoint_check(w->checkpoint, t->key, n_rows, n_cols, err) : status;
}

EmbStatus
emb_weights_check(const EmbWeights *w, EmbError *err)
{
	const EmbImageConfig exact = {.precision = EMB_PRECISION_FP32};
	const EmbAllocator *mem = w->steps->mem;
	uint32_t	n = emb_image_plan(w->arch, &exact, NULL);
	EmbImageTensor *plan = emb_alloc_array(mem, n, sizeof(*plan));
	EmbStatus	status = EMB_OK;

	if (plan == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the names of %u tensors", n);
	emb_image_plan(w->arch, &exact, plan);
	for (uint32_t i = 0; status == EMB_OK && i < n; i++)
		status = check_tensor(w, &plan[i], err);
	emb_release(mem, plan);
	return status;
}

/* A panel's rows, or BLOCK_FLOATS. */
int64_t
emb_weights_block_rows(const EmbImageTensor *t)
{
	if (t->form == EMB_FORM_PANELS_F32)
		return EMB_PANEL;
	return t->n_cols < BLOCK_FLOATS ? BLOCK_FLOATS / t->n_cols : 1;
}

/* The sines of 8,192 positions by 32 angles take 25 ms. */
static void
compute_rotation(const EmbWeights *w, const EmbImageTensor *t, float *to)
{
	const EmbArch *arch = w->arch;

	emb_rotary_fill(t->key.part == EMB_PART_ROTARY_LOCAL ? arch->rotary_local_base : arch->rotary_base, arch->rotary_scale,
					(int32_t) t->n_rows, (int32_t) t->n_cols, to);
}

/* What the vectors of distances are made of, and the projection that they pass. */
typedef struct Distances
{
	float	   *rows;			/* [2 span, hidden] */
	float	   *norm;			/* gamma and beta [2, hidden] */
	float	   *weight;			/* [hidden, hidden] */
	float	   *bias;			/* [hidden] */
} Distances;

static EmbStatus
read_distances(const EmbWeights *w, const EmbImageTensor *t, const Distances *d, EmbError *err)
{
	EmbPart		part = t->key.part == EMB_PART_RELATIVE_KEYS ? EMB_PART_KEY : EMB_PART_QUERY;
	int32_t		hidden = w->arch->hidden;
	EmbStatus	status = EMB_OK;

	for (int64_t i = 0; status == EMB_OK && i < t->n_rows; i += EMB_PANEL)
		status = emb_checkpoint_read(w->checkpoint, distance_keys[0], i, t->n_rows - i < EMB_PANEL ? t->n_rows - i : EMB_PANEL, hidden,
									 d->rows + i * hidden, err);
	for (int i = 1; status == EMB_OK && w->arch->relative_normed && i < 3; i++)
		status = emb_checkpoint_read(w->checkpoint, distance_keys[i], 0, 1, hidden, d->norm + (i - 1) * hidden, err);
	for (int64_t i = 0; status == EMB_OK && i < t->n_cols; i += EMB_PANEL)
	{
		if (emb_should_stop(w->steps->stop))
			return emb_import_cancelled(err);
		status = emb_checkpoint_read(w->checkpoint, (EmbTensorKey) {t->key.layer, part, EMB_TENSOR_WEIGHT}, i,
									 t->n_cols - i < EMB_PANEL ? t->n_cols - i : EMB_PANEL, hidden, d->weight + i * hidden, err);
	}
	if (status == EMB_OK)
		status = emb_checkpoint_read(w->checkpoint, (EmbTensorKey) {t->key.layer, part, EMB_TENSOR_BIAS}, 0, 1, (int32_t) t->n_cols, d->bias, err);
	return status;
}

static EmbStatus
project_distances(const EmbWeights *w, const EmbImageTensor *t, const Distances *d, float *to, EmbError *err)
{
	const EmbKernels *kernels = emb_kernels();
	int32_t		hidden = w->arch->hidden;

	for (uint32_t i = 0; i < t->n_rows; i++)
	{
		float	   *row = d->rows + (size_t) i * hidden;
		EmbFpState	fp;

		if (emb_should_stop(w->steps->stop))
			return emb_import_cancelled(err);
		fp = emb_fp_enter();
		if (w->arch->relative_normed)
			kernels->add_norm_f32(row, NULL, d->norm, d->norm + hidden, w->arch->norm_eps, hidden, row);
		for (uint32_t k = 0; k < t->n_cols; k++)
			to[(size_t) i * t->n_cols + k] = kernels->dot_f32(row, d->weight + (size_t) k * hidden, hidden) + d->bias[k];
		emb_fp_leave(fp);
	}
	return EMB_OK;
}

/* The vectors of distances as a layer's queries or keys meet them: the same for every text. */
static EmbStatus
compute_distances(const EmbWeights *w, const EmbImageTensor *t, float *to, EmbError *err)
{
	const EmbAllocator *mem = w->steps->mem;
	size_t		hidden = w->arch->hidden;
	Distances	d = {
		emb_alloc_array(mem, t->n_rows, hidden * sizeof(float)), emb_alloc_array(mem, 2, hidden * sizeof(float)),
		emb_alloc_array(mem, t->n_cols, hidden * sizeof(float)), emb_alloc_array(mem, t->n_cols, sizeof(float))
	};
	EmbStatus	status = EMB_OK;

	if (d.rows == NULL || d.norm == NULL || d.weight == NULL || d.bias == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for %u vectors of distances", t->n_rows);
	if (status == EMB_OK)
		status = read_distances(w, t, &d, err);
	if (status == EMB_OK)
		status = project_distances(w, t, &d, to, err);
	emb_release(mem, d.rows);
	emb_release(mem, d.norm);
	emb_release(mem, d.weight);
	emb_release(mem, d.bias);
	return status;
}

/* Rows before n_gates come from one tensor, the others from another. */
EmbStatus
emb_weights_read_rows(const EmbWeights *w, const EmbImageTensor *t, int64_t row, int64_t n, float *rows, EmbError *err)
{
	int64_t		n_first = n_gates(w, t);
	int64_t		left = n_first - row;
	int64_t		n_gate = left < 0 ? 0 : left < n ? left : n;
	int32_t		n_cols = (int32_t) t->n_cols;
	EmbStatus	status = EMB_OK;

	if (n_gate > 0)
		status = emb_checkpoint_read(w->checkpoint, gates_of(t), row, n_gate, n_cols, rows, err);
	if (status == EMB_OK && n_gate < n)
		status = emb_checkpoint_read(w->checkpoint, t->key, row + n_gate - n_first, n - n_gate, n_cols, rows + n_gate * n_cols, err);
	return status;
}

/* For a vector, with a GLU or without. */
static EmbStatus
read_vector(const EmbWeights *w, const EmbImageTensor *t, float *to, EmbError *err)
{
	int32_t		n_first = (int32_t) n_gates(w, t);
	EmbStatus	status = EMB_OK;

	if (n_first > 0)
		status = emb_checkpoint_read(w->checkpoint, gates_of(t), 0, 1, n_first, to, err);
	if (status == EMB_OK)
		status = emb_checkpoint_read(w->checkpoint, t->key, 0, 1, (int32_t) t->n_cols - n_first, to + n_first, err);
	return status;
}

/* Makes room for a panel's rows. */
static EmbStatus
allocate_rows(EmbWeights *w, const EmbImageTensor *t, EmbError *err)
{
	size_t		n = (size_t) t->n_cols * EMB_PANEL;

	if (t->form != EMB_FORM_PANELS_F32 || n <= w->n_rows_elems)
		return EMB_OK;
	emb_release(w->steps->mem, w->rows);
	w->rows = emb_alloc_array(w->steps->mem, n, sizeof(float));
	w->n_rows_elems = w->rows != NULL ? n : 0;
	if (w->rows == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d rows of weights", EMB_PANEL);
	return EMB_OK;
}

/* A tensor of rows or panels, block by block. */
static EmbStatus
read_blocks(const EmbWeights *w, const EmbImageTensor *t, float *to, EmbError *err)
{
	int64_t		step = emb_weights_block_rows(t);
	bool		packed = t->form == EMB_FORM_PANELS_F32;

	for (int64_t row = 0; row < t->n_rows; row += step)
	{
		int64_t		n = t->n_rows - row < step ? t->n_rows - row : step;
		EmbStatus	status;

		if (emb_should_stop(w->steps->stop))
			return emb_import_cancelled(err);
		status = emb_weights_read_rows(w, t, row, n, packed ? w->rows : to + row * t->n_cols, err);
		if (status != EMB_OK)
			return status;
		if (packed)
			emb_pack_f32_panel(w->rows, (int32_t) n, (int32_t) t->n_cols, to + row * t->n_cols);
	}
	return EMB_OK;
}

EmbStatus
emb_weights_read(EmbWeights *w, const EmbImageTensor *t, void *to, EmbError *err)
{
	EmbStatus	status;

	if (emb_should_stop(w->steps->stop))
		return emb_import_cancelled(err);
	if (t->form == EMB_FORM_VECTOR_F32)
		return read_vector(w, t, to, err);
	if (is_rotary(t->key))
	{
		compute_rotation(w, t, to);
		return EMB_OK;
	}
	if (is_relative(t->key))
		return compute_distances(w, t, to, err);
	status = allocate_rows(w, t, err);
	return status == EMB_OK ? read_blocks(w, t, to, err) : status;
}

void
emb_weights_free(EmbWeights *w)
{
	if (w->steps != NULL)
		emb_release(w->steps->mem, w->rows);
	w->rows = NULL;
	w->n_rows_elems = 0;
}
