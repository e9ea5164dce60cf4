/*
 * static_table.c
 *		The table of a static model.
 */
#include "import/static_table.h"

#include <math.h>
#include <string.h>

#include "import/hf_config.h"

/* Types that only static tables have beside those of all weights. */
static bool
is_int8(const EmbTensor *rows)
{
	return strcmp(rows->dtype_name, "I8") == 0;
}

static bool
is_double(const EmbTensor *rows)
{
	return strcmp(rows->dtype_name, "F64") == 0;
}

static EmbStatus
check_type(const EmbTensorSet *tensors, const EmbTensor *rows, EmbError *err)
{
	size_t		elem_bytes = is_int8(rows) ? 1 : is_double(rows) ? sizeof(double) : 0;

	if (elem_bytes != 0 && rows->size_bytes != rows->n_elems * (int64_t) elem_bytes)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %lld bytes for %lld elements", rows->name,
						 (long long) rows->size_bytes, (long long) rows->n_elems);
	if (elem_bytes != 0 || emb_tensors_check_dtype(tensors, rows, NULL) == EMB_OK)
		return EMB_OK;
	return emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%s\" is %s; a static model's table must be F64, F32, F16, BF16 or I8",
					 rows->name, rows->dtype_name);
}

static EmbStatus
find_rows(const EmbTensorSet *tensors, EmbStaticTable *table, EmbError *err)
{
	const EmbTensor *rows = emb_tensors_find(tensors, "embeddings");

	if (rows == NULL)
		rows = emb_tensors_find(tensors, "embedding.weight");
	if (rows == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"embeddings\" or \"embedding.weight\"");
	if (rows->rank != 2 || rows->shape[0] < 1 || rows->shape[0] > EMB_ARCH_MAX_VOCAB || rows->shape[1] < 1 || rows->shape[1] > EMB_ARCH_MAX_HIDDEN)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" is not a table of 1 to %d rows of 1 to %d elements", rows->name,
						 EMB_ARCH_MAX_VOCAB, EMB_ARCH_MAX_HIDDEN);
	table->rows = rows;
	table->hidden = (int32_t) rows->shape[1];
	table->n_vocab = (int32_t) rows->shape[0];
	return check_type(tensors, rows, err);
}

/* The bytes of a tensor, unconverted. */
static EmbStatus
read_raw(const EmbTensorSet *tensors, const EmbTensor *tensor, size_t elem_bytes, const EmbAllocator *mem, void **data, EmbError *err)
{
	EmbStatus	status;

	if (tensor->size_bytes != tensor->n_elems * (int64_t) elem_bytes)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %lld bytes for %lld elements", tensor->name,
						 (long long) tensor->size_bytes, (long long) tensor->n_elems);
	*data = emb_alloc(mem, (size_t) tensor->size_bytes);
	if (*data == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for tensor \"%s\"", tensor->name);
	status = emb_file_read(&tensors->shards[tensor->shard].file, tensor->offset, *data, (size_t) tensor->size_bytes, err);
	if (status != EMB_OK)
	{
		emb_release(mem, *data);
		*data = NULL;
	}
	return status;
}

static EmbStatus
check_vector(const EmbTensor *tensor, int64_t n, EmbError *err)
{
	if (tensor->rank == 1 && tensor->n_elems == n)
		return EMB_OK;
	return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" is not a vector of %lld elements", tensor->name, (long long) n);
}

/* Integers of either width; each is a row number of the table. */
static EmbStatus
read_mapping(const EmbTensorSet *tensors, const EmbAllocator *mem, EmbStaticTable *table, EmbError *err)
{
	const EmbTensor *tensor = emb_tensors_find(tensors, "mapping");
	int64_t		n_rows = table->rows->shape[0];
	bool		is_wide;
	void	   *data;
	EmbStatus	status;

	if (tensor == NULL)
		return EMB_OK;
	if (tensor->n_elems < 1 || tensor->n_elems > EMB_ARCH_MAX_VOCAB || check_vector(tensor, tensor->n_elems, NULL) != EMB_OK)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"mapping\" is not a vector of 1 to %d elements", EMB_ARCH_MAX_VOCAB);
	is_wide = strcmp(tensor->dtype_name, "I64") == 0;
	if (!is_wide && strcmp(tensor->dtype_name, "I32") != 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"mapping\" is of type %s, not I64 or I32", tensor->dtype_name);
	status = read_raw(tensors, tensor, is_wide ? sizeof(int64_t) : sizeof(int32_t), mem, &data, err);
	if (status != EMB_OK)
		return status;
	table->n_vocab = (int32_t) tensor->n_elems;
	table->mapping = emb_alloc_array(mem, tensor->n_elems, sizeof(int32_t));
	if (table->mapping == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for tensor \"mapping\"");
	for (int32_t i = 0; status == EMB_OK && i < table->n_vocab; i++)
	{
		int64_t		row = is_wide ? ((int64_t *) data)[i] : ((int32_t *) data)[i];

		if (row < 0 || row >= n_rows)
			status = emb_error(err, EMB_ERR_FORMAT, "tensor \"mapping\" has row %lld for id %d, but there are %lld rows",
							   (long long) row, i, (long long) n_rows);
		table->mapping[i] = (int32_t) row;
	}
	emb_release(mem, data);
	return status;
}

static EmbStatus
read_weights(const EmbTensorSet *tensors, const EmbAllocator *mem, EmbStaticTable *table, EmbError *err)
{
	const EmbTensor *tensor = emb_tensors_find(tensors, "weights");
	float	   *floats;
	EmbStatus	status;

	if (tensor == NULL)
		return EMB_OK;
	status = check_vector(tensor, table->n_vocab, err);
	if (status == EMB_OK && strcmp(tensor->dtype_name, "F64") == 0)
		status = read_raw(tensors, tensor, sizeof(double), mem, (void **) &table->weights, err);
	else if (status == EMB_OK)
	{
		floats = emb_alloc_array(mem, table->n_vocab, sizeof(float));
		table->weights = emb_alloc_array(mem, table->n_vocab, sizeof(double));
		if (floats == NULL || table->weights == NULL)
			status = emb_error(err, EMB_ERR_NOMEM, "out of memory for tensor \"weights\"");
		else
			status = emb_tensors_read_f32(tensors, tensor, 0, table->n_vocab, floats, err);
		for (int32_t i = 0; status == EMB_OK && i < table->n_vocab; i++)
			table->weights[i] = floats[i];
		emb_release(mem, floats);
	}
	for (int32_t i = 0; status == EMB_OK && i < table->n_vocab; i++)
	{
		if (!isfinite(table->weights[i]))
			return emb_error(err, EMB_ERR_FORMAT, "tensor \"weights\" has an element that is not finite, for id %d", i);
	}
	return status;
}

EmbStatus
emb_static_open(const EmbTensorSet *tensors, const EmbAllocator *mem, EmbStaticTable *table, EmbError *err)
{
	EmbStatus	status;

	memset(table, 0, sizeof(*table));
	if ((status = find_rows(tensors, table, err)) != EMB_OK ||
		(status = read_mapping(tensors, mem, table, err)) != EMB_OK ||
		(status = read_weights(tensors, mem, table, err)) != EMB_OK)
		emb_static_close(table, mem);
	return status;
}

void
emb_static_close(EmbStaticTable *table, const EmbAllocator *mem)
{
	emb_release(mem, table->mapping);
	emb_release(mem, table->weights);
	table->mapping = NULL;
	table->weights = NULL;
}

/*
 * Elements first .. first + n - 1 of the table. Integers are taken as they
 * are: the files hold no scale, because it goes when the vector is normalized.
 */
static EmbStatus
read_elems(const EmbTensorSet *tensors, const EmbTensor *rows, int64_t first, int64_t n, float *out, EmbError *err)
{
	const EmbFile *file = &tensors->shards[rows->shard].file;
	int64_t		elem_bytes = is_int8(rows) ? 1 : sizeof(double);
	double		buffer[512];
	int64_t		n_most = sizeof(buffer) / elem_bytes;
	EmbStatus	status = EMB_OK;

	if (!is_int8(rows) && !is_double(rows))
		return emb_tensors_read_f32(tensors, rows, first, n, out, err);
	if (first < 0 || n < 0 || first > rows->n_elems || n > rows->n_elems - first)
		return emb_error(err, EMB_ERR_INTERNAL, "elements %lld + %lld of tensor \"%s\", which has %lld",
						 (long long) first, (long long) n, rows->name, (long long) rows->n_elems);
	for (int64_t at = 0; status == EMB_OK && at < n; at += n_most)
	{
		int64_t		n_now = n - at < n_most ? n - at : n_most;

		status = emb_file_read(file, rows->offset + (first + at) * elem_bytes, buffer, (size_t) (n_now * elem_bytes), err);
		for (int64_t i = 0; status == EMB_OK && i < n_now; i++)
		{
			out[at + i] = is_int8(rows) ? (float) ((int8_t *) buffer)[i] : (float) buffer[i];
			if (!isfinite(out[at + i]))
				return emb_error(err, EMB_ERR_LIMIT, "element %lld of tensor \"%s\" is not finite in single precision",
								 (long long) (first + at + i), rows->name);
		}
	}
	return status;
}

EmbStatus
emb_static_read(const EmbTensorSet *tensors, const EmbStaticTable *table, int64_t first, int64_t n, float *out, EmbError *err)
{
	int64_t		hidden = table->hidden;
	EmbStatus	status = EMB_OK;

	if (table->mapping == NULL)
		status = read_elems(tensors, table->rows, first * hidden, n * hidden, out, err);
	for (int64_t i = 0; status == EMB_OK && table->mapping != NULL && i < n; i++)
		status = read_elems(tensors, table->rows, table->mapping[first + i] * hidden, hidden, out + i * hidden, err);
	for (int64_t i = 0; status == EMB_OK && table->weights != NULL && i < n; i++)
	{
		for (int64_t k = 0; k < hidden; k++)
		{
			out[i * hidden + k] = (float) (out[i * hidden + k] * table->weights[first + i]);
			if (!isfinite(out[i * hidden + k]))
				return emb_error(err, EMB_ERR_LIMIT, "the weighted vector of id %lld overflows single precision", (long long) (first + i));
		}
	}
	return status;
}
