/*
 * family_deberta.c
 *		DeBERTa-v2 and -v3 (He et al. 2021): BERT without absolute positions,
 *		whose attention reads vectors of distances.
 */
#include <stdio.h>
#include <string.h>

#include "import/family.h"

static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_DISENTANGLED;
}

/* "p2c|c2p", or a list: both kinds are needed, and there are no others. */
static EmbStatus
check_kinds(const EmbJson *doc, EmbError *err)
{
	const json_t *kinds = json_object_get(doc->root, "pos_att_type");
	const char *text = json_string_value(kinds);
	bool		has_both = text != NULL && (strcmp(text, "p2c|c2p") == 0 || strcmp(text, "c2p|p2c") == 0);

	if (json_is_array(kinds) && json_array_size(kinds) == 2)
	{
		const char *first = json_string_value(json_array_get(kinds, 0));
		const char *second = json_string_value(json_array_get(kinds, 1));

		has_both = first != NULL && second != NULL && ((strcmp(first, "p2c") == 0 && strcmp(second, "c2p") == 0) ||
													   (strcmp(first, "c2p") == 0 && strcmp(second, "p2c") == 0));
	}
	if (!has_both)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pos_att_type\" must have c2p and p2c, and nothing else", doc->file);
	return EMB_OK;
}

/* Switches whose defaults are off in transformers, but which published models have on. */
static EmbStatus
check_on(const EmbJson *doc, const char *key, EmbError *err)
{
	bool		on = false;
	EmbStatus	status = emb_json_get_bool(doc, doc->root, key, &on, err);

	if (status == EMB_OK && !on)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is not true; only models that have it can be imported", doc->file, key);
	return status;
}

static EmbStatus
read_distances(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	const char *norm = "none";
	int64_t		buckets = -1;
	int64_t		largest = -1;
	EmbStatus	status;

	if ((status = emb_json_get_int(doc, doc->root, "position_buckets", INT32_MIN, EMB_ARCH_MAX_SPAN, &buckets, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "max_relative_positions", INT32_MIN, EMB_ARCH_MAX_RELATIVE, &largest, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "norm_rel_ebd", &norm, err)) != EMB_OK)
		return status;
	if (strcmp(norm, "none") != 0 && strcmp(norm, "layer_norm") != 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"norm_rel_ebd\" is \"%.*s\"; none and layer_norm can be imported", doc->file,
						 emb_json_clip(norm, 80), norm);
	if (largest < 1)
		largest = arch->n_positions;
	arch->relative_span = (int32_t) (buckets > 0 ? buckets : largest);
	arch->relative_max = buckets > 0 ? (int32_t) largest : 0;
	arch->relative_normed = strcmp(norm, "layer_norm") == 0;
	if (arch->relative_span > EMB_ARCH_MAX_SPAN)
		return emb_error(err, EMB_ERR_LIMIT, "%s: %d vectors of distances are more than %d", doc->file, arch->relative_span, EMB_ARCH_MAX_SPAN);
	return EMB_OK;
}

static EmbStatus
read_deberta(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const unset[] = {"conv_kernel_size", NULL};
	bool		biased = true;
	EmbArch    *arch = &config->arch;
	const char *activation = "gelu";
	EmbStatus	status;

	if ((status = check_on(doc, "relative_attention", err)) != EMB_OK ||
		(status = check_on(doc, "share_att_key", err)) != EMB_OK ||
		(status = check_kinds(doc, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "position_biased_input", &biased, err)) != EMB_OK ||
		(status = emb_hf_check_unset(doc, unset, err)) != EMB_OK ||
		(status = emb_hf_check_number(doc, "type_vocab_size", 0, err)) != EMB_OK ||
		(status = emb_hf_check_number(doc, "embedding_size", arch->hidden, err)) != EMB_OK ||
		(status = emb_hf_check_number(doc, "attention_head_size", arch->head_size, err)) != EMB_OK ||
		(status = emb_hf_check_number(doc, "pooler_hidden_size", arch->hidden, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "pooler_hidden_act", &activation, err)) != EMB_OK)
		return status;
	if (biased)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"position_biased_input\" is not false; only models without absolute positions can be imported", doc->file);
	if (arch->head == EMB_HEAD_SCORE && strcmp(activation, "tanh") != 0 && !emb_hf_find_activation(activation, false, &arch->head_activation))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pooler_hidden_act\" is \"%.*s\"; gelu, gelu_new, relu and tanh are known", doc->file,
						 emb_json_clip(activation, 80), activation);
	return read_distances(doc, arch, err);
}

EMB_FAMILY_LIST(deberta) = {
	{
		.model_type = "deberta-v2",
		.class_stem = "DebertaV2",
		EMB_FAMILY_SIZE_KEYS,
		.activation = "hidden_act",
		.norm_eps = "layer_norm_eps",
		.absent_layers = 24,
		.absent_positions = 512,
		.absent_vocab = 128100,
		.absent_eps = 1e-7,
		.shape = shape,
		.read = read_deberta,
		.prefix = "deberta.",
		.names = {
			EMB_NAME(QUERY, "attention.self.query_proj"),
			EMB_NAME(KEY, "attention.self.key_proj"),
			EMB_NAME(VALUE, "attention.self.value_proj"),
			EMB_NAME(RELATIVE, "encoder.rel_embeddings"),
			EMB_NAME(RELATIVE_NORM, "encoder.LayerNorm"),
			EMB_NAME(POOLER, "pooler.dense"),
		},
	},
	{0}
};
