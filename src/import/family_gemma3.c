/*
 * family_gemma3.c
 *		The text part of Gemma 3: EmbeddingGemma, which reads in both
 *		directions, and causal models such as harrier-270m. RMS norms before
 *		and after each half of a layer, RoPE with two bases, a GLU, layers with
 *		a sliding window.
 *
 * Three things of the files are brought into the common form while tensors are
 * read: norms are stored less 1, word embeddings are multiplied by sqrt(H), and
 * scores are divided by a root of their own (query_pre_attn_scalar), not that
 * of the head size.
 */
#include "import/family.h"

#include <math.h>
#include <string.h>

static void
shape(EmbArch *arch)
{
	arch->norm_kind = EMB_NORM_RMS;
	arch->norm_place = EMB_NORM_AROUND;
	arch->has_embedding_norm = 0;
	arch->has_qk_norm = 1;
	arch->positions = EMB_POSITIONS_ROTARY;
	arch->is_gated = 1;
	arch->is_causal = 1;
}

/* Sizes whose defaults in the class are those of no model in use. */
static EmbStatus
check_sizes(const EmbJson *doc, const EmbArch *arch, EmbError *err)
{
	static const char *const keys[] = {"head_dim", "num_attention_heads", "num_key_value_heads"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
	{
		if (json_object_get(doc->root, keys[i]) == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is missing", doc->file, keys[i]);
	}
	if (arch->hidden % arch->n_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"hidden_size\" %d is not a multiple of \"num_attention_heads\" %d", doc->file,
						 arch->hidden, arch->n_heads);
	return EMB_OK;
}

/* -------------------------------------------------------------- kinds of layers */

/* The kind of layer i: as the list says, or, without a list, every so many layers see all. */
static EmbStatus
is_full(const EmbJson *doc, const json_t *list, int64_t pattern, int32_t i, bool *full, EmbError *err)
{
	const char *type;

	*full = (i + 1) % pattern == 0;
	if (list == NULL)
		return EMB_OK;
	type = json_string_value(json_array_get(list, i));
	if (type == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" holds something other than strings", doc->file);
	*full = strcmp(type, "full_attention") == 0;
	if (!*full && strcmp(type, "sliding_attention") != 0)
		return emb_hf_unsupported(doc, "layer_types", type, "\"full_attention\" and \"sliding_attention\" can be imported", err);
	return EMB_OK;
}

/* Layers that see all tokens are at equal distances: global_first, + global_every, .. */
static EmbStatus
read_layers(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	const json_t *list = json_object_get(doc->root, "layer_types");
	int64_t		pattern = 6;
	int32_t		first = -1;
	int32_t		every = 0;
	bool		full;
	EmbStatus	status;

	if (json_is_null(list))
		list = NULL;
	if (list != NULL && (!json_is_array(list) || json_array_size(list) != (size_t) arch->n_layers))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" is not a list of %d", doc->file, arch->n_layers);
	status = emb_json_get_int(doc, doc->root, "sliding_window_pattern", 1, EMB_ARCH_MAX_LAYERS, &pattern, err);
	for (int32_t i = 0; status == EMB_OK && i < arch->n_layers; i++)
	{
		status = is_full(doc, list, pattern, i, &full, err);
		if (status == EMB_OK && full && first >= 0 && every == 0)
			every = i - first;
		if (status == EMB_OK && full && first < 0)
			first = i;
	}
	if (status != EMB_OK)
		return status;
	/* one layer that sees all, or none */
	arch->global_every = every > 0 ? every : first >= 0 ? arch->n_layers : arch->n_layers + 1;
	arch->global_first = first >= 0 ? first : arch->n_layers;
	for (int32_t i = 0; i < arch->n_layers; i++)
	{
		status = is_full(doc, list, pattern, i, &full, err);
		if (status == EMB_OK && full == (i % arch->global_every != arch->global_first))
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"layer_types\" has layers of \"full_attention\" at distances that differ, "
							 "which cannot be imported", doc->file);
	}
	return status;
}

/* The tokens that a layer with a window sees, as transformers counts them. */
static EmbStatus
read_window(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	int64_t		width = 4096;
	EmbStatus	status = emb_json_get_int(doc, doc->root, "sliding_window", 2, EMB_ARCH_MAX_POSITIONS, &width, err);

	if (status != EMB_OK)
		return status;
	if (arch->global_every == 1)
	{
		arch->global_every = 0;
		arch->rotary_local_base = 0;
		return EMB_OK;
	}
	/* both ways: half of the width to each side; else earlier tokens, the query's own counted */
	arch->window = (int32_t) (arch->is_causal ? width - 1 : width / 2);
	return EMB_OK;
}

/* ---------------------------------------------------------------------- rest */

static EmbStatus
read_rotation(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	const json_t *rope = json_object_get(doc->root, "rope_parameters");
	double	   *base = &arch->rotary_base;
	double	   *local = &arch->rotary_local_base;
	EmbStatus	status;

	*base = 1000000;
	*local = 10000;
	if ((status = emb_hf_check_rope_scaling(doc, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rope_theta", 1, EMB_ARCH_MAX_ROTARY_BASE, base, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rope_local_base_freq", 1, EMB_ARCH_MAX_ROTARY_BASE, local, err)) != EMB_OK ||
		(status = emb_hf_read_rope(doc, json_object_get(rope, "full_attention"), "full_attention", base, err)) != EMB_OK)
		return status;
	return emb_hf_read_rope(doc, json_object_get(rope, "sliding_attention"), "sliding_attention", local, err);
}

static EmbStatus
read_gemma3(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"attention_bias", NULL};
	static const char *const unset[] = {"attn_logit_softcapping", NULL};
	EmbArch    *arch = &config->arch;
	double		scalar = 256;
	bool		is_bidirectional = false;
	EmbStatus	status;

	if ((status = check_sizes(doc, arch, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_hf_check_unset(doc, unset, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "use_bidirectional_attention", &is_bidirectional, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "query_pre_attn_scalar", 1, EMB_ARCH_MAX_HIDDEN, &scalar, err)) != EMB_OK ||
		(status = read_rotation(doc, arch, err)) != EMB_OK)
		return status;
	arch->is_causal = !is_bidirectional;
	config->word_scale = (float) sqrt((double) arch->hidden);
	config->query_scale = (float) sqrt(arch->head_size / scalar);
	status = read_layers(doc, arch, err);
	return status == EMB_OK ? read_window(doc, arch, err) : status;
}

EMB_FAMILY_LIST(gemma3) = {
	{
		.model_type = "gemma3_text",
		.class_stem = "Gemma3",
		.class_word = "Text",
		EMB_FAMILY_SIZE_KEYS,
		.n_kv_heads = "num_key_value_heads",
		.head_size = "head_dim",
		.activation = "hidden_activation",
		.absent_activation = "gelu_pytorch_tanh",
		.norm_eps = "rms_norm_eps",
		.absent_layers = 26,
		.absent_vocab = 262208,
		.absent_positions = 131072,
		.absent_eps = 1e-6,
		.is_decoder = true,
		.only_embeds = true,
		.norms_less_one = true,
		.shape = shape,
		.read = read_gemma3,
		.prefix = "model.",
		.layer = "layers.%d.",
		.names = {
			EMB_NAME(WORDS, "embed_tokens"),
			EMB_NAME_BARE(QUERY, "self_attn.q_proj"),
			EMB_NAME_BARE(KEY, "self_attn.k_proj"),
			EMB_NAME_BARE(VALUE, "self_attn.v_proj"),
			EMB_NAME_BARE(QUERY_NORM, "self_attn.q_norm"),
			EMB_NAME_BARE(KEY_NORM, "self_attn.k_norm"),
			EMB_NAME_BARE(ATTN_OUT, "self_attn.o_proj"),
			EMB_NAME_BARE(ATTN_NORM, "input_layernorm"),
			EMB_NAME_BARE(ATTN_END_NORM, "post_attention_layernorm"),
			EMB_NAME_BARE(FFN_NORM, "pre_feedforward_layernorm"),
			EMB_NAME_BARE(FFN_END_NORM, "post_feedforward_layernorm"),
			EMB_NAME_BARE(FFN_GATE, "mlp.gate_proj"),
			EMB_NAME_BARE(FFN_UP, "mlp.up_proj"),
			EMB_NAME_BARE(FFN_DOWN, "mlp.down_proj"),
			EMB_NAME_BARE(FINAL_NORM, "norm"),
		},
	},
	{0}
};
