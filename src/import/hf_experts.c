/*
 * hf_experts.c
 *		The matrices of a layer's experts in the files of the hub.
 */
#include "import/hf_experts.h"

#include <string.h>

/* The row of the tensor with which the expert begins. */
static int64_t
first_row(const EmbHfExpertSource *from)
{
	return (int64_t) emb_part_expert((EmbPart) from->key.part) * from->arch->intermediate;
}

static EmbStatus
turn(EmbHfExpert *e, const EmbHfExpertSource *from, EmbError *err)
{
	size_t		hidden = from->arch->hidden;
	size_t		n = from->arch->intermediate;
	float	   *row = emb_alloc_array(from->mem, hidden, sizeof(float));
	EmbStatus	status = EMB_OK;

	/* of no expert, should this fail */
	e->key = (EmbTensorKey) {0};
	if (e->rows == NULL)
		e->rows = emb_alloc_array(from->mem, hidden * n, sizeof(float));
	if (row == NULL || e->rows == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for an expert's %zu by %zu weights", hidden, n);
	for (size_t i = 0; status == EMB_OK && i < n; i++)
	{
		if (emb_should_stop(from->set->stop))
			status = emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
		else
			status = emb_tensors_read_f32(from->set, from->tensor, (first_row(from) + (int64_t) i) * (int64_t) hidden, (int64_t) hidden, row, err);
		for (size_t k = 0; status == EMB_OK && k < hidden; k++)
			e->rows[k * n + i] = row[k];
	}
	emb_release(from->mem, row);
	if (status == EMB_OK)
		e->key = from->key;
	return status;
}

EmbStatus
emb_hf_expert_read(EmbHfExpert *e, const EmbHfExpertSource *from, int64_t row, int64_t n, float *rows, EmbError *err)
{
	int64_t		hidden = from->arch->hidden;
	int64_t		n_cols = from->arch->intermediate;
	EmbStatus	status = EMB_OK;

	if (emb_part_kind((EmbPart) from->key.part) == EMB_PART_EXPERT_UP)
		return emb_tensors_read_f32(from->set, from->tensor, (first_row(from) + row) * hidden, n * hidden, rows, err);
	if (e->key.part != from->key.part || e->key.layer != from->key.layer)
		status = turn(e, from, err);
	if (status == EMB_OK)
		memcpy(rows, e->rows + row * n_cols, (size_t) (n * n_cols) * sizeof(float));
	return status;
}

void
emb_hf_expert_free(EmbHfExpert *e, const EmbAllocator *mem)
{
	emb_release(mem, e->rows);
	*e = (EmbHfExpert) {.rows = NULL};
}
