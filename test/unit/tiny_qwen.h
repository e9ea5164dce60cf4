/*
 * tiny_qwen.h
 *		A decoder of the Qwen3 family straight from a directory of test data, as
 *		tiny_bert.h reads BERT: shares no code with the importer but the table of
 *		angles.
 *
 *		Tiny		t;
 *		TinyQwen	q;
 *		if (!qwen_open(&t, &q, "test/data/tiny/qwen3-rerank")) ...
 *		emb_transformer_run(&t.transformer, ...);		t.inputs[i].ids, q.head, q.logits
 *		tiny_close(&t);
 */
#ifndef TINY_QWEN_H
#define TINY_QWEN_H

#include "convert/rotary.h"
#include "tiny_bert.h"
#include "transformer/score.h"

typedef struct TinyQwen
{
	EmbScoreHead head;			/* answers NULL: an embedding model */
	double		logits[TINY_INPUTS_MAX];	/* of the reference: yes - no */
	const char *prefix;			/* before a tensor's name */
} TinyQwen;

/* A tensor of fp32 or bf16, as floats; NULL if there is none. */
static float *
qwen_find(Tiny *t, const char *name, size_t *n)
{
	json_t	   *entry = json_object_get(t->header, name);
	json_t	   *range = json_object_get(entry, "data_offsets");
	size_t		begin = (size_t) json_integer_value(json_array_get(range, 0));
	const uint8_t *from = (const uint8_t *) t->data + begin;
	uint32_t   *bits;

	if (entry == NULL)
		return NULL;
	if (strcmp(json_string_value(json_object_get(entry, "dtype")), "BF16") != 0)
		return tiny_tensor(t, name, n);
	*n = ((size_t) json_integer_value(json_array_get(range, 1)) - begin) / 2;
	bits = tiny_own(t, malloc(*n * sizeof(uint32_t)));
	for (size_t i = 0; i < *n; i++)
		bits[i] = (uint32_t) from[2 * i] << 16 | (uint32_t) from[2 * i + 1] << 24;
	return (float *) bits;
}

static const float *
qwen_tensor(Tiny *t, const TinyQwen *q, int layer, const char *name)
{
	char		full[256];
	size_t		n;
	float	   *values;

	if (layer < 0)
		snprintf(full, sizeof(full), "%s%s", q->prefix, name);
	else
		snprintf(full, sizeof(full), "%slayers.%d.%s", q->prefix, layer, name);
	values = qwen_find(t, full, &n);
	if (values == NULL)
	{
		fprintf(stderr, "Bail out! %s of %s\n", full, t->dir);
		exit(2);
	}
	return values;
}

/* One linear layer of n_parts matrices, one below the other, without biases. */
static EmbLinear
qwen_linear(Tiny *t, const float *const *parts, int n_parts, int32_t n_rows, int32_t n_in)
{
	int32_t		n_out = n_parts * n_rows;
	float	   *packed = tiny_own(t, aligned_alloc(64, (emb_pack_f32_bytes(n_out, n_in) + 63) / 64 * 64));
	float	   *bias = tiny_own(t, calloc(emb_pack_f32_panels(n_out), EMB_PANEL * sizeof(float)));
	float	   *all = malloc((size_t) n_out * n_in * sizeof(float));

	for (int i = 0; i < n_parts; i++)
		memcpy(all + (size_t) i * n_rows * n_in, parts[i], (size_t) n_rows * n_in * sizeof(float));
	for (int32_t row = 0; row < n_out; row += EMB_PANEL)
		emb_pack_f32_panel(all + (size_t) row * n_in, n_out - row < EMB_PANEL ? n_out - row : EMB_PANEL, n_in, packed + (size_t) row * n_in);
	free(all);
	return (EmbLinear) {.n_out = n_out, .n_in = n_in, .weight = packed, .bias = bias};
}

static EmbLinear
qwen_projection(Tiny *t, const TinyQwen *q, int layer, const char *name, int32_t n_out, int32_t n_in)
{
	const float *weight = qwen_tensor(t, q, layer, name);

	return qwen_linear(t, &weight, 1, n_out, n_in);
}

static void
qwen_layer(Tiny *t, const TinyQwen *q, int i)
{
	EmbLayer   *layer = &t->layers[i];
	const EmbArch *a = &t->arch;
	const float *gate_up[2] = {qwen_tensor(t, q, i, "mlp.gate_proj.weight"), qwen_tensor(t, q, i, "mlp.up_proj.weight")};

	layer->query = qwen_projection(t, q, i, "self_attn.q_proj.weight", emb_arch_query_width(a), a->hidden);
	layer->key = qwen_projection(t, q, i, "self_attn.k_proj.weight", emb_arch_key_width(a), a->hidden);
	layer->value = qwen_projection(t, q, i, "self_attn.v_proj.weight", emb_arch_key_width(a), a->hidden);
	layer->attn_out = qwen_projection(t, q, i, "self_attn.o_proj.weight", a->hidden, emb_arch_query_width(a));
	layer->ffn_up = qwen_linear(t, gate_up, 2, a->intermediate, a->hidden);
	layer->ffn_down = qwen_projection(t, q, i, "mlp.down_proj.weight", a->hidden, a->intermediate);
	layer->attn_norm.gamma = qwen_tensor(t, q, i, "input_layernorm.weight");
	layer->ffn_norm.gamma = qwen_tensor(t, q, i, "post_attention_layernorm.weight");
	layer->query_norm.gamma = qwen_tensor(t, q, i, "self_attn.q_norm.weight");
	layer->key_norm.gamma = qwen_tensor(t, q, i, "self_attn.k_norm.weight");
}

static void
qwen_config(Tiny *t, json_t *config)
{
	EmbArch    *a = &t->arch;

	*a = emb_arch_encoder();
	strcpy(a->family, "qwen3");
	a->hidden = tiny_int(config, "hidden_size");
	a->n_layers = tiny_int(config, "num_hidden_layers");
	a->n_heads = tiny_int(config, "num_attention_heads");
	a->n_kv_heads = tiny_int(config, "num_key_value_heads");
	a->head_size = tiny_int(config, "head_dim");
	a->intermediate = tiny_int(config, "intermediate_size");
	a->n_vocab = tiny_int(config, "vocab_size");
	a->n_positions = tiny_int(config, "max_position_embeddings");
	a->activation = EMB_ACT_SILU;
	a->is_gated = 1;
	a->norm_kind = EMB_NORM_RMS;
	a->norm_place = EMB_NORM_PRE;
	a->norm_eps = (float) json_real_value(json_object_get(config, "rms_norm_eps"));
	a->has_embedding_norm = 0;
	a->has_qk_norm = 1;
	a->is_causal = 1;
	a->positions = EMB_POSITIONS_ROTARY;
	a->rotary_base = json_number_value(json_object_get(config, "rope_theta"));
	a->rotary_scale = 1;
	a->pooling = EMB_POOL_LAST;
}

/* Logits of the answers, and what the reference says. */
static void
qwen_head(Tiny *t, TinyQwen *q)
{
	size_t		n,
				size;
	const float *score = qwen_find(t, "score.weight", &n);
	const float *output = qwen_find(t, "lm_head.weight", &n);
	char	   *lines = tiny_read_file(t, "inputs.jsonl", &size);
	json_error_t error;
	int			i = 0;

	t->arch.head = EMB_HEAD_ANSWER;
	t->arch.n_labels = q->head.n_answers = score != NULL ? 1 : 2;
	q->head.answers = score;
	for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n"), i++)
	{
		json_t	   *object = json_loads(line, 0, &error);
		int32_t		hidden = t->arch.hidden;

		if (score != NULL)
			q->logits[i] = json_real_value(json_object_get(object, "logit"));
		else
		{
			const float *rows = output != NULL ? output : t->transformer.word_embedding.rows_f32;
			float	   *answers = q->head.answers != NULL ? (float *) q->head.answers : tiny_own(t, malloc(2 * hidden * sizeof(float)));

			q->logits[i] = json_real_value(json_object_get(object, "logit_yes")) - json_real_value(json_object_get(object, "logit_no"));
			memcpy(answers, rows + (size_t) tiny_int(object, "yes_id") * hidden, hidden * sizeof(float));
			memcpy(answers + hidden, rows + (size_t) tiny_int(object, "no_id") * hidden, hidden * sizeof(float));
			q->head.answers = answers;
		}
		json_decref(object);
	}
}

/* False if there is no such directory. */
static bool
qwen_open(Tiny *t, TinyQwen *q, const char *dir)
{
	size_t		size,
				n;
	uint64_t	header_size;
	char	   *text;
	float	   *angles;
	json_error_t error;
	json_t	   *config;

	memset(t, 0, sizeof(*t));
	memset(q, 0, sizeof(*q));
	snprintf(t->dir, sizeof(t->dir), "%s", dir);
	text = tiny_read_file(t, "model/config.json", &size);
	if (text == NULL)
		return false;
	config = json_loads(text, 0, &error);
	qwen_config(t, config);
	json_decref(config);
	t->file = tiny_read_file(t, "model/model.safetensors", &size);
	memcpy(&header_size, t->file, 8);
	t->header = json_loadb(t->file + 8, header_size, 0, &error);
	t->data = t->file + 8 + header_size;
	q->prefix = json_object_get(t->header, "model.norm.weight") != NULL ? "model." : "";
	t->transformer.word_embedding.rows_f32 = qwen_tensor(t, q, -1, "embed_tokens.weight");
	t->transformer.final_norm.gamma = qwen_tensor(t, q, -1, "norm.weight");
	angles = tiny_own(t, malloc((size_t) t->arch.n_positions * t->arch.head_size * sizeof(float)));
	emb_rotary_fill(t->arch.rotary_base, 1, t->arch.n_positions, t->arch.head_size, angles);
	t->transformer.rotary = angles;
	t->transformer.arch = &t->arch;
	t->transformer.layers = t->layers;
	for (int i = 0; i < t->arch.n_layers; i++)
		qwen_layer(t, q, i);
	tiny_inputs(t);
	t->embeddings = tiny_read_npy(t, "embeddings.npy", &n);
	if (t->embeddings != NULL)
		t->arch.normalize = 1;
	else
		qwen_head(t, q);
	return true;
}

#endif
