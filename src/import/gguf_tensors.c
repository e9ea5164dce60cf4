/*
 * gguf_tensors.c
 *		Tensors by their names in GGUF files.
 */
#include "import/gguf_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

#define SHOW(name)	emb_json_clip(name, 100), name

/* ----------------------------------------------------------------- names */

#define QKV(has_bias) \
	{EMB_PART_QUERY, "attn_q", 0, 0, has_bias}, {EMB_PART_KEY, "attn_k", 0, 0, has_bias}, {EMB_PART_VALUE, "attn_v", 0, 0, has_bias}
#define QKV_FUSED(has_bias) \
	{EMB_PART_QUERY, "attn_qkv", 0, 3, has_bias}, {EMB_PART_KEY, "attn_qkv", 1, 3, has_bias}, {EMB_PART_VALUE, "attn_qkv", 2, 3, has_bias}

static const EmbGgufName bert_names[] =
{
	{EMB_PART_WORDS, "token_embd", 0, 0, false},
	{EMB_PART_POSITIONS, "position_embd", 0, 0, false},
	{EMB_PART_TYPES, "token_types", 0, 0, false},
	{EMB_PART_EMBEDDING_NORM, "token_embd_norm", 0, 0, true},
	QKV(true),
	QKV_FUSED(true),
	{EMB_PART_ATTN_OUT, "attn_output", 0, 0, true},
	{EMB_PART_ATTN_NORM, "attn_output_norm", 0, 0, true},
	{EMB_PART_FFN_UP, "ffn_up", 0, 0, true},
	{EMB_PART_FFN_DOWN, "ffn_down", 0, 0, true},
	{EMB_PART_FFN_NORM, "layer_output_norm", 0, 0, true},
	{EMB_PART_POOLER, "cls", 0, 0, true},
	{EMB_PART_CLASSIFIER, "cls.output", 0, 0, true},
	{0}
};

static const EmbGgufName nomic_names[] =
{
	{EMB_PART_WORDS, "token_embd", 0, 0, false},
	{EMB_PART_TYPES, "token_types", 0, 0, false},
	{EMB_PART_EMBEDDING_NORM, "token_embd_norm", 0, 0, true},
	QKV(false),
	QKV_FUSED(false),
	{EMB_PART_ATTN_OUT, "attn_output", 0, 0, false},
	{EMB_PART_ATTN_NORM, "attn_output_norm", 0, 0, true},
	{EMB_PART_FFN_GATE, "ffn_gate", 0, 0, false},
	{EMB_PART_FFN_UP, "ffn_up", 0, 0, false},
	{EMB_PART_FFN_DOWN, "ffn_down", 0, 0, false},
	{EMB_PART_FFN_NORM, "layer_output_norm", 0, 0, true},
	{0}
};

static const EmbGgufName modernbert_names[] =
{
	{EMB_PART_WORDS, "token_embd", 0, 0, false},
	{EMB_PART_EMBEDDING_NORM, "token_embd_norm", 0, 0, false},
	QKV_FUSED(false),
	{EMB_PART_ATTN_OUT, "attn_output", 0, 0, false},
	{EMB_PART_ATTN_NORM, "attn_norm", 0, 0, false},
	{EMB_PART_FFN_GATE, "ffn_up", 0, 2, false},
	{EMB_PART_FFN_UP, "ffn_up", 1, 2, false},
	{EMB_PART_FFN_DOWN, "ffn_down", 0, 0, false},
	{EMB_PART_FFN_NORM, "ffn_norm", 0, 0, false},
	{EMB_PART_FINAL_NORM, "output_norm", 0, 0, false},
	{EMB_PART_POOLER, "cls", 0, 0, true},
	{EMB_PART_HEAD_NORM, "cls.norm", 0, 0, false},
	{EMB_PART_CLASSIFIER, "cls.output", 0, 0, true},
	{0}
};

static const EmbGgufName qwen3_names[] =
{
	{EMB_PART_WORDS, "token_embd", 0, 0, false},
	QKV(false),
	{EMB_PART_QUERY_NORM, "attn_q_norm", 0, 0, false},
	{EMB_PART_KEY_NORM, "attn_k_norm", 0, 0, false},
	{EMB_PART_ATTN_OUT, "attn_output", 0, 0, false},
	{EMB_PART_ATTN_NORM, "attn_norm", 0, 0, false},
	{EMB_PART_FFN_NORM, "ffn_norm", 0, 0, false},
	{EMB_PART_FFN_GATE, "ffn_gate", 0, 0, false},
	{EMB_PART_FFN_UP, "ffn_up", 0, 0, false},
	{EMB_PART_FFN_DOWN, "ffn_down", 0, 0, false},
	{EMB_PART_FINAL_NORM, "output_norm", 0, 0, false},
	/* rows of its own, or of the output matrix, which may be the words */
	{EMB_PART_ANSWERS, "cls.output", 0, 0, false},
	{EMB_PART_ANSWERS, "output", 0, 0, false},
	{EMB_PART_ANSWERS, "token_embd", 0, 0, false},
	{0}
};

/* norms are stored with the 1 that Gemma's files leave out */
static const EmbGgufName gemma_names[] =
{
	{EMB_PART_WORDS, "token_embd", 0, 0, false},
	QKV(false),
	{EMB_PART_QUERY_NORM, "attn_q_norm", 0, 0, false},
	{EMB_PART_KEY_NORM, "attn_k_norm", 0, 0, false},
	{EMB_PART_ATTN_OUT, "attn_output", 0, 0, false},
	{EMB_PART_ATTN_NORM, "attn_norm", 0, 0, false},
	{EMB_PART_ATTN_END_NORM, "post_attention_norm", 0, 0, false},
	{EMB_PART_FFN_NORM, "ffn_norm", 0, 0, false},
	{EMB_PART_FFN_END_NORM, "post_ffw_norm", 0, 0, false},
	{EMB_PART_FFN_GATE, "ffn_gate", 0, 0, false},
	{EMB_PART_FFN_UP, "ffn_up", 0, 0, false},
	{EMB_PART_FFN_DOWN, "ffn_down", 0, 0, false},
	{EMB_PART_FINAL_NORM, "output_norm", 0, 0, false},
	/* the folders 2_Dense and 3_Dense */
	{EMB_PART_DENSE_1, "dense_2", 0, 0, false},
	{EMB_PART_DENSE_2, "dense_3", 0, 0, false},
	{0}
};

/* model_type of arch bert is that of its tokenizer: see gguf_arch.c. */
static const EmbGgufFamily families[] =
{
	{"bert", "bert", 0, bert_names},
	{"nomic-bert", "nomic_bert", 10000, nomic_names},
	{"modern-bert", "modernbert", 160000, modernbert_names},
	{"qwen3", "qwen3", 10000, qwen3_names},
	{"gemma-embedding", "gemma3_text", 1000000, gemma_names},
	{0}
};

const EmbGgufFamily *
emb_gguf_find_family(const char *arch)
{
	for (const EmbGgufFamily *f = families; f->arch != NULL; f++)
	{
		if (strcmp(f->arch, arch) == 0)
			return f;
	}
	return NULL;
}

void
emb_gguf_list_families(char *buf, size_t size)
{
	size_t		len = 0;

	buf[0] = '\0';
	for (const EmbGgufFamily *f = families; f->arch != NULL && len < size; f++)
		len += (size_t) snprintf(buf + len, size - len, "%s%s", f == families ? "" : ", ", f->arch);
}

/* ---------------------------------------------------------------- tensors */

static bool
is_bias(EmbTensorKey key)
{
	return key.kind == EMB_TENSOR_BIAS || key.kind == EMB_TENSOR_BETA;
}

static void
full_name(const EmbGgufName *name, EmbTensorKey key, char *buf, size_t size)
{
	const char *ending = is_bias(key) ? "bias" : "weight";

	if (key.layer == EMB_NO_LAYER)
		snprintf(buf, size, "%s.%s", name->name, ending);
	else
		snprintf(buf, size, "blk.%d.%s.%s", key.layer, name->name, ending);
}

const EmbGgufTensor *
emb_gguf_find_part(const EmbGgufModel *m, EmbTensorKey key, const EmbGgufName **name)
{
	char		full[64];

	*name = NULL;
	for (const EmbGgufName *n = m->family->names; n->name != NULL; n++)
	{
		const EmbGgufTensor *t;

		if (n->part != key.part)
			continue;
		/* the first one is for the message, if the file has none */
		if (*name == NULL)
			*name = n;
		full_name(n, key, full, sizeof(full));
		t = emb_gguf_find_tensor(&m->gguf, full);
		if (t != NULL)
		{
			*name = n;
			return t;
		}
	}
	return NULL;
}

int64_t
emb_gguf_rows(const EmbGgufTensor *tensor)
{
	return tensor->n_elems / tensor->shape[tensor->rank - 1];
}

/* Whether "name.weight" or "name.bias" is a tensor of the list, of a layer or of the whole model. */
static bool
is_known(const EmbGgufName *names, const char *tensor, bool of_layer)
{
	for (const EmbGgufName *n = names; n->name != NULL; n++)
	{
		size_t		len = strlen(n->name);

		if (emb_part_is_of_layer(n->part) != of_layer || strncmp(tensor, n->name, len) != 0)
			continue;
		if (strcmp(tensor + len, ".weight") == 0 || (n->has_bias && strcmp(tensor + len, ".bias") == 0))
			return true;
	}
	return false;
}

EmbStatus
emb_gguf_check_names(const EmbGgufModel *m, int32_t n_layers, EmbError *err)
{
	for (int s = 0; s < m->gguf.n_shards; s++)
	{
		const EmbGgufShard *shard = &m->gguf.shards[s];

		for (int i = 0; i < shard->n_tensors; i++)
		{
			const char *name = shard->tensors[i].name;
			const char *own = name;
			bool		of_layer = strncmp(name, "blk.", 4) == 0;

			if (of_layer)
			{
				char	   *end;
				long		layer = strtol(name + 4, &end, 10);

				/* blocks after the layers predict further tokens */
				if (*end == '.' && layer >= n_layers && layer < m->n_blocks)
					continue;
				own = *end == '.' && layer >= 0 && layer < n_layers ? end + 1 : "";
			}
			if (is_known(m->family->names, own, of_layer))
				continue;
			emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" has a tensor \"%.*s\", which no model of architecture \"%s\" has that can be imported",
					  emb_gguf_path(m), SHOW(name), m->family->arch);
			return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Import the model that it was made from: a directory with config.json and model.safetensors.");
		}
	}
	return EMB_OK;
}

/* [n_rows, n_cols], a vector [n_cols] */
static EmbStatus
check_shape(const EmbGgufModel *m, const EmbGgufTensor *t, bool is_vector, int64_t n_rows, int64_t n_cols, EmbError *err)
{
	char		shape[EMB_GGUF_MAX_RANK * 22] = "";
	size_t		at = 0;

	if (t->rank <= 2 && t->shape[t->rank - 1] == n_cols && emb_gguf_rows(t) == (is_vector ? 1 : n_rows))
		return EMB_OK;
	for (int i = 0; i < t->rank; i++)
		at += (size_t) snprintf(shape + at, sizeof(shape) - at, "%s%lld", i > 0 ? ", " : "", (long long) t->shape[i]);
	return is_vector
		? emb_error(err, EMB_ERR_FORMAT, "tensor \"%.*s\" of \"%s\" has shape [%s], but the file's keys require [%lld]", SHOW(t->name),
					emb_gguf_path(m), shape, (long long) n_cols)
		: emb_error(err, EMB_ERR_FORMAT, "tensor \"%.*s\" of \"%s\" has shape [%s], but the file's keys require [%lld, %lld]", SHOW(t->name),
					emb_gguf_path(m), shape, (long long) n_rows, (long long) n_cols);
}

static bool
is_vector_key(EmbTensorKey key)
{
	return key.kind == EMB_TENSOR_GAMMA || is_bias(key);
}

/* NULL with EMB_OK: the family has no such bias, which counts as zeros. */
static EmbStatus
find(const EmbGgufModel *m, EmbTensorKey key, const EmbGgufTensor **t, const EmbGgufName **name, EmbError *err)
{
	char		full[64];

	*t = emb_gguf_find_part(m, key, name);
	if (*t != NULL || (*name != NULL && is_bias(key) && !(*name)->has_bias))
		return EMB_OK;
	if (*name == NULL)
		return emb_error(err, EMB_ERR_INTERNAL, "architecture \"%s\" has no part %d", m->family->arch, key.part);
	full_name(*name, key, full, sizeof(full));
	return emb_error(err, EMB_ERR_NOT_FOUND, "file \"%s\" has no tensor \"%s\"", emb_gguf_path(m), full);
}

/* Rows that the file's table of positions lacks: it is cut before the first token's row. */
static int64_t
missing_rows(const EmbArch *arch, EmbTensorKey key)
{
	return key.part == EMB_PART_POSITIONS && arch->position_base > 0 ? 1 : 0;
}

/* Whether the answers are rows of the output matrix. */
static bool
are_output_rows(const EmbGgufModel *m, EmbTensorKey key)
{
	return key.part == EMB_PART_ANSWERS && !m->has_answers;
}

/* Rows of the output matrix by the ids of the answers. */
static EmbStatus
check_answers(const EmbGgufModel *m, const EmbGgufTensor *t, const int32_t answer_ids[2], int32_t n_rows, int32_t n_cols, EmbError *err)
{
	EmbStatus	status = check_shape(m, t, false, emb_gguf_rows(t), n_cols, err);

	for (int32_t i = 0; status == EMB_OK && i < n_rows; i++)
	{
		if (answer_ids[i] < 0 || answer_ids[i] >= emb_gguf_rows(t))
			return emb_error(err, EMB_ERR_FORMAT, "the answers' id %d has no row in tensor \"%.*s\", which has %lld", answer_ids[i], SHOW(t->name),
							 (long long) emb_gguf_rows(t));
	}
	return status == EMB_OK ? emb_gguf_check_type(&m->gguf, t, err) : status;
}

EmbStatus
emb_gguf_check_tensor(const EmbGgufModel *m, const EmbArch *arch, const int32_t answer_ids[2], EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbError *err)
{
	bool		is_vector = is_vector_key(key);
	const EmbGgufTensor *t;
	const EmbGgufName *name;
	int64_t		n_parts;
	EmbStatus	status = find(m, key, &t, &name, err);

	if (status != EMB_OK || t == NULL)
		return status;
	if (are_output_rows(m, key))
		return check_answers(m, t, answer_ids, n_rows, n_cols, err);
	n_parts = name->n_parts > 1 ? name->n_parts : 1;
	status = check_shape(m, t, is_vector, n_parts * ((int64_t) n_rows - missing_rows(arch, key)), is_vector ? n_parts * n_cols : n_cols, err);
	if (status != EMB_OK)
		return status;
	/* a vector may be cut anywhere, so its elements must stand alone */
	if (is_vector && t->type->n_elems > 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tensor \"%.*s\" of \"%s\" is %s; a vector must be F32, F16 or BF16", SHOW(t->name),
						 emb_gguf_path(m), t->type->name);
	return emb_gguf_check_type(&m->gguf, t, err);
}

/* The first row of a part that shares its tensor; of a vector one of its parts. */
static int64_t
first_row(const EmbGgufTensor *t, const EmbGgufName *name, EmbTensorKey key)
{
	return name->n_parts > 1 ? name->index * (is_vector_key(key) ? 1 : emb_gguf_rows(t) / name->n_parts) : 0;
}

static EmbStatus
read_answers(const EmbGgufModel *m, const EmbGgufTensor *t, const int32_t ids[2], int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	for (int64_t i = 0; status == EMB_OK && i < n; i++)
		status = emb_gguf_read_f32(&m->gguf, t, (int64_t) ids[row + i] * n_cols, n_cols, rows + i * n_cols, err);
	return status;
}

EmbStatus
emb_gguf_read_tensor(const EmbGgufModel *m, const EmbArch *arch, const int32_t answer_ids[2], EmbTensorKey key,
					 int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	int64_t		missing = missing_rows(arch, key);
	const EmbGgufTensor *t;
	const EmbGgufName *name;
	int64_t		first;
	EmbStatus	status = find(m, key, &t, &name, err);

	if (status != EMB_OK)
		return status;
	if (key.part == EMB_PART_ANSWERS)
		return read_answers(m, t, m->has_answers ? m->answer_rows : answer_ids, row, n, n_cols, rows, err);
	if (t == NULL || row < missing)
	{
		/* all rows of an absent bias, or the padding's row, which models are trained with as zeros */
		int64_t		n_zero = t == NULL ? n : missing - row;

		memset(rows, 0, (size_t) n_zero * (size_t) n_cols * sizeof(float));
		rows += n_zero * n_cols;
		row += n_zero;
		n -= n_zero;
	}
	if (n == 0)
		return EMB_OK;
	first = first_row(t, name, key);
	status = emb_gguf_read_f32(&m->gguf, t, (first + row - missing) * n_cols, n * n_cols, rows, err);
	for (int64_t i = 0; status == EMB_OK && key.part == EMB_PART_WORDS && m->word_scale != 0 && i < n * n_cols; i++)
		rows[i] *= m->word_scale;
	return status;
}

/* ----------------------------------------------------------------- codes */

/* Why the blocks of a type are no codes with a scale: the end of a sentence. */
static const char *
no_codes(const EmbGgmlType *type)
{
	size_t		len = strlen(type->name);

	if (type->n_elems == 1)
		return "it is stored as floats";
	if (type->name[0] == 'I')
		return "its codes index a table of values";
	if (type->name[len - 1] == 'K')
		return "its scales have scales of their own";
	return type->name[len - 1] == '1' ? "its values are a multiple of a scale and a minimum" : "its codes have 5 bits";
}

EmbStatus
emb_gguf_codes(const EmbGgufModel *m, EmbTensorKey key, int32_t n_cols, EmbCodes *codes, EmbError *err)
{
	const EmbGgufTensor *t;
	const EmbGgufName *name;
	const EmbGgmlCodes *form;
	EmbStatus	status = find(m, key, &t, &name, err);

	if (status != EMB_OK || t == NULL || key.part == EMB_PART_ANSWERS)
		return status;
	form = emb_ggml_codes(t->type);
	if (form == NULL)
	{
		codes->reason = no_codes(t->type);
		return EMB_OK;
	}
	*codes = (EmbCodes) {
		.bits = form->bits, .group = t->type->n_elems, .n_groups = n_cols / t->type->n_elems, .zero = form->zero, .scale_type = EMB_SCALE_F16
	};
	return EMB_OK;
}

/* One row; scales and zeros have a row of n for each group. */
static EmbStatus
split_row(const EmbGgufModel *m, const EmbGgufTensor *t, const uint8_t *blocks, int64_t i, int64_t n, int32_t n_groups,
		  uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err)
{
	const EmbGgmlCodes *form = emb_ggml_codes(t->type);

	for (int32_t g = 0; g < n_groups; g++)
	{
		float	   *scale = &scales[g * n + i];

		form->split(blocks + (int64_t) g * t->type->n_bytes, codes + (int64_t) g * t->type->n_elems, scale);
		if (!isfinite(*scale))
			return emb_error(err, EMB_ERR_FORMAT, "tensor \"%.*s\" of \"%s\" has a scale that is not finite", SHOW(t->name), emb_gguf_path(m));
		zeros[g * n + i] = (uint8_t) form->zero;
	}
	return EMB_OK;
}

EmbStatus
emb_gguf_read_codes(const EmbGgufModel *m, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
					uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err)
{
	const EmbGgufTensor *t;
	const EmbGgufName *name;
	uint8_t    *blocks;
	int32_t		n_groups;
	int64_t		first;
	EmbStatus	status = find(m, key, &t, &name, err);

	if (status != EMB_OK)
		return status;
	n_groups = n_cols / t->type->n_elems;
	first = first_row(t, name, key);
	blocks = emb_alloc_array(m->mem, (size_t) n_groups, (size_t) t->type->n_bytes);
	if (blocks == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a row of codes");
	for (int64_t i = 0; status == EMB_OK && i < n; i++)
	{
		status = emb_gguf_read_blocks(&m->gguf, t, (first + row + i) * n_cols, n_cols, blocks, err);
		if (status == EMB_OK)
			status = split_row(m, t, blocks, i, n, n_groups, codes + i * n_cols, scales, zeros, err);
	}
	emb_release(m->mem, blocks);
	return status;
}
