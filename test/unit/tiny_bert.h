/*
 * tiny_bert.h
 *		A BERT model straight from a directory of test data: a reader of
 *		safetensors, .npy and .jsonl that trusts its input. Shares no code with
 *		the importer, so that either can be wrong alone.
 *
 *		Tiny		t;
 *		if (!tiny_open(&t, "test/data/tiny/bert-cls")) ...
 *		emb_transformer_run(&t.transformer, ...);		t.inputs[i].ids, t.embeddings
 *		tiny_close(&t);
 */
#ifndef TINY_BERT_H
#define TINY_BERT_H

#include <jansson.h>
#include <string.h>

#include "transformer/transformer.h"

#define TINY_INPUTS_MAX	64
#define TINY_LAYERS_MAX	16

typedef struct TinyInput
{
	int32_t		index;			/* "i": names hidden_I.npy */
	int32_t		n_ids;
	int32_t	   *ids;
} TinyInput;

typedef struct Tiny
{
	char		dir[512];
	EmbArch		arch;
	EmbTransformer transformer;
	EmbLayer	layers[TINY_LAYERS_MAX];
	int			n_inputs;
	TinyInput	inputs[TINY_INPUTS_MAX];
	float	   *embeddings;		/* [n_inputs, hidden] */

	json_t	   *header;			/* of the safetensors file */
	char	   *file;
	const char *data;
	int			n_owned;
	void	   *owned[1024];
} Tiny;

static void *
tiny_own(Tiny *t, void *p)
{
	if (p == NULL || t->n_owned == 1024)
	{
		fprintf(stderr, "Bail out! test data of %s\n", t->dir);
		exit(2);
	}
	return t->owned[t->n_owned++] = p;
}

static char *
tiny_read_file(Tiny *t, const char *name, size_t *size)
{
	char		path[1024];
	FILE	   *f;
	char	   *data;

	snprintf(path, sizeof(path), "%s/%s", t->dir, name);
	f = fopen(path, "rb");
	if (f == NULL)
		return NULL;
	fseek(f, 0, SEEK_END);
	*size = (size_t) ftell(f);
	rewind(f);
	data = tiny_own(t, calloc(1, *size + 1));
	if (fread(data, 1, *size, f) != *size)
		*size = 0;
	fclose(f);
	return data;
}

/* The float32 values of a .npy file (version 1), or NULL if there is none. */
static float *
tiny_read_npy(Tiny *t, const char *name, size_t *n)
{
	size_t		size;
	char	   *file = tiny_read_file(t, name, &size);
	size_t		header;
	float	   *values;

	if (file == NULL)
		return NULL;
	header = 10 + (unsigned char) file[8] + 256 * (unsigned char) file[9];
	*n = (size - header) / sizeof(float);
	values = tiny_own(t, malloc(*n * sizeof(float) + 1));
	memcpy(values, file + header, *n * sizeof(float));
	return values;
}

/* A float32 tensor by name, copied to be aligned. */
static float *
tiny_tensor(Tiny *t, const char *name, size_t *n)
{
	json_t	   *entry = json_object_get(t->header, name);
	json_t	   *range = json_object_get(entry, "data_offsets");
	size_t		begin = (size_t) json_integer_value(json_array_get(range, 0));
	size_t		end = (size_t) json_integer_value(json_array_get(range, 1));
	float	   *values = tiny_own(t, entry == NULL ? NULL : malloc(end - begin + 1));

	memcpy(values, t->data + begin, end - begin);
	*n = (end - begin) / sizeof(float);
	return values;
}

static const float *
tiny_layer_tensor(Tiny *t, int layer, const char *name)
{
	char		full[512];
	size_t		n;

	snprintf(full, sizeof(full), "encoder.layer.%d.%s", layer, name);
	return tiny_tensor(t, full, &n);
}

static EmbLinear
tiny_linear(Tiny *t, int layer, const char *name, int32_t n_out, int32_t n_in)
{
	char		full[256];
	const float *weight;
	float	   *packed = tiny_own(t, aligned_alloc(64, (emb_pack_f32_bytes(n_out, n_in) + 63) / 64 * 64));
	float	   *bias = tiny_own(t, calloc(emb_pack_f32_panels(n_out), EMB_PANEL * sizeof(float)));

	snprintf(full, sizeof(full), "%s.weight", name);
	weight = tiny_layer_tensor(t, layer, full);
	for (int32_t row = 0; row < n_out; row += EMB_PANEL)
		emb_pack_f32_panel(weight + (size_t) row * n_in, n_out - row < EMB_PANEL ? n_out - row : EMB_PANEL,
						   n_in, packed + (size_t) row * n_in);
	snprintf(full, sizeof(full), "%s.bias", name);
	memcpy(bias, tiny_layer_tensor(t, layer, full), n_out * sizeof(float));
	return (EmbLinear) {.n_out = n_out, .n_in = n_in, .weight = packed, .bias = bias};
}

static void
tiny_layer(Tiny *t, int i)
{
	EmbLayer   *layer = &t->layers[i];
	int32_t		h = t->arch.hidden,
				wide = t->arch.intermediate;

	layer->query = tiny_linear(t, i, "attention.self.query", h, h);
	layer->key = tiny_linear(t, i, "attention.self.key", h, h);
	layer->value = tiny_linear(t, i, "attention.self.value", h, h);
	layer->attn_out = tiny_linear(t, i, "attention.output.dense", h, h);
	layer->ffn_up = tiny_linear(t, i, "intermediate.dense", wide, h);
	layer->ffn_down = tiny_linear(t, i, "output.dense", h, wide);
	layer->attn_norm.gamma = tiny_layer_tensor(t, i, "attention.output.LayerNorm.weight");
	layer->attn_norm.beta = tiny_layer_tensor(t, i, "attention.output.LayerNorm.bias");
	layer->ffn_norm.gamma = tiny_layer_tensor(t, i, "output.LayerNorm.weight");
	layer->ffn_norm.beta = tiny_layer_tensor(t, i, "output.LayerNorm.bias");
}

static int32_t
tiny_int(json_t *config, const char *key)
{
	return (int32_t) json_integer_value(json_object_get(config, key));
}

static void
tiny_config(Tiny *t, json_t *config, json_t *pooling)
{
	const char *act = json_string_value(json_object_get(config, "hidden_act"));
	EmbArch    *b = &t->arch;

	*b = emb_arch_encoder();
	b->hidden = tiny_int(config, "hidden_size");
	b->n_layers = tiny_int(config, "num_hidden_layers");
	emb_arch_set_heads(b, tiny_int(config, "num_attention_heads"));
	b->intermediate = tiny_int(config, "intermediate_size");
	b->n_vocab = tiny_int(config, "vocab_size");
	b->n_positions = tiny_int(config, "max_position_embeddings");
	b->n_types = tiny_int(config, "type_vocab_size");
	b->activation = strcmp(act, "relu") == 0 ? EMB_ACT_RELU :
		strcmp(act, "gelu_new") == 0 ? EMB_ACT_GELU_TANH : EMB_ACT_GELU;
	b->pooling = json_is_true(json_object_get(pooling, "pooling_mode_mean_tokens")) ? EMB_POOL_MEAN : EMB_POOL_CLS;
	b->normalize = true;
	b->norm_eps = (float) json_real_value(json_object_get(config, "layer_norm_eps"));
}

static void
tiny_weights(Tiny *t)
{
	size_t		size,
				n;
	uint64_t	header_size;
	json_error_t error;
	EmbTransformer *b = &t->transformer;

	t->file = tiny_own(t, tiny_read_file(t, "model/model.safetensors", &size));
	t->n_owned--;				/* the reader owns it already */
	memcpy(&header_size, t->file, 8);
	t->header = json_loadb(t->file + 8, header_size, 0, &error);
	t->data = t->file + 8 + header_size;
	b->word_embedding.rows_f32 = tiny_tensor(t, "embeddings.word_embeddings.weight", &n);
	b->position_embedding = tiny_tensor(t, "embeddings.position_embeddings.weight", &n);
	b->type_embedding = tiny_tensor(t, "embeddings.token_type_embeddings.weight", &n);
	b->embedding_norm.gamma = tiny_tensor(t, "embeddings.LayerNorm.weight", &n);
	b->embedding_norm.beta = tiny_tensor(t, "embeddings.LayerNorm.bias", &n);
	b->arch = &t->arch;
	b->layers = t->layers;
	for (int i = 0; i < t->arch.n_layers; i++)
		tiny_layer(t, i);
}

static void
tiny_inputs(Tiny *t)
{
	size_t		size;
	char	   *lines = tiny_read_file(t, "inputs.jsonl", &size);
	json_error_t error;

	for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n"))
	{
		json_t	   *object = json_loads(line, 0, &error);
		json_t	   *ids = json_object_get(object, "ids");
		TinyInput  *in = &t->inputs[t->n_inputs++];

		in->index = tiny_int(object, "i");
		in->n_ids = (int32_t) json_array_size(ids);
		in->ids = tiny_own(t, calloc(in->n_ids + 1, sizeof(int32_t)));
		for (int32_t k = 0; k < in->n_ids; k++)
			in->ids[k] = (int32_t) json_integer_value(json_array_get(ids, k));
		json_decref(object);
	}
}

/* False if there is no such directory. */
__attribute__((unused)) static bool
tiny_open(Tiny *t, const char *dir)
{
	size_t		size,
				n;
	char	   *text;
	json_error_t error;
	json_t	   *config;
	json_t	   *pooling;

	memset(t, 0, sizeof(*t));
	snprintf(t->dir, sizeof(t->dir), "%s", dir);
	text = tiny_read_file(t, "model/config.json", &size);
	if (text == NULL)
		return false;
	config = json_loads(text, 0, &error);
	pooling = json_loads(tiny_own(t, strdup(tiny_read_file(t, "model/1_Pooling/config.json", &size))), 0, &error);
	tiny_config(t, config, pooling);
	json_decref(config);
	json_decref(pooling);
	tiny_weights(t);
	tiny_inputs(t);
	t->embeddings = tiny_read_npy(t, "embeddings.npy", &n);
	return true;
}

static void
tiny_close(Tiny *t)
{
	json_decref(t->header);
	for (int i = 0; i < t->n_owned; i++)
		free(t->owned[i]);
}

#endif
