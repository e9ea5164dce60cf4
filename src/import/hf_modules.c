/*
 * hf_modules.c
 *		The pipeline of sentence-transformers: modules.json, and the
 *		configurations of the modules after the transformer.
 */
#include "import/hf_family.h"

#include <string.h>

/* ----------------------------------------------------------- modules.json */

bool
emb_hf_is_inside(const char *path)
{
	for (const char *p = path; *p != '\0';)
	{
		size_t		len = strcspn(p, "/");

		if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += len;
		if (*p == '/')
			p++;
	}
	return strchr(path, '\\') == NULL;
}

static EmbStatus
parse_module_path(const EmbJson *doc, const json_t *module, size_t i, char path[256], EmbError *err)
{
	const char *value = "";
	EmbStatus	status = emb_json_get_string(doc, module, "path", &value, err);

	if (status != EMB_OK)
		return status;
	/* the directory itself, in model2vec's spelling */
	if (strcmp(value, ".") == 0)
		value = "";
	if (strlen(value) > 255 || !emb_hf_is_inside(value))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"path\" of module %zu is \"%.*s\", which is not a path inside the directory",
						 doc->file, i, emb_json_clip(value, 100), value);
	strcpy(path, value);
	return EMB_OK;
}

/* Modules of two kinds with files of their own cannot share a folder: one's configuration would be read as the other's. */
static EmbStatus
check_own_path(const EmbJson *doc, size_t i, const char *type, const char *path, EmbError *err)
{
	const char *dot = strrchr(type, '.');

	if (dot != NULL && (strcmp(dot, ".Normalize") == 0 || strcmp(dot, ".Dropout") == 0))
		return EMB_OK;
	for (size_t k = 0; k < i; k++)
	{
		const json_t *earlier = json_array_get(doc->root, k);
		const char *other_type = json_string_value(json_object_get(earlier, "type"));
		char		other[256];
		EmbStatus	status = parse_module_path(doc, earlier, k, other, err);

		if (status != EMB_OK)
			return status;
		if (strcmp(other, path) != 0 || other_type == NULL || strcmp(other_type, type) == 0)
			continue;
		emb_error(err, EMB_ERR_FORMAT, "%s: modules %zu and %zu have the same \"path\", \"%.*s\"", doc->file, k, i, emb_json_clip(path, 100), path);
		return emb_error_hint(err, EMB_ERR_FORMAT, "Download modules.json again, or name the folder of each module, such as 1_Pooling.");
	}
	return EMB_OK;
}

/*
 * The class name after "sentence_transformers.models.Pooling" and its later
 * paths; NULL: custom code.
 */
static const char *
module_class(const char *type)
{
	const char *dot = strrchr(type, '.');

	return dot != NULL && strncmp(type, "sentence_transformers.", 22) == 0 ? dot + 1 : NULL;
}

/* A Dense or a LayerNorm: their configurations are read when the sizes before them are known. */
static EmbStatus
take_dense(const EmbJson *doc, const char *path, EmbModuleKind kind, EmbHfModules *modules, bool *is_normalized, EmbError *err)
{
	EmbHfDense *dense = &modules->dense[modules->n_dense];

	if (modules->n_dense == EMB_ARCH_MAX_DENSE)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists more than %d modules Dense and LayerNorm", doc->file, EMB_ARCH_MAX_DENSE);
	strcpy(dense->path, path);
	dense->module.kind = kind;
	dense->module.normalize = *is_normalized;
	*is_normalized = false;
	modules->n_dense++;
	return EMB_OK;
}

/*
 * The meaning of a module, by its position after the modules before it.
 * Dropout matters only in training.
 */
EmbStatus
emb_hf_take_module(const EmbJson *doc, const char *type, const char *path, EmbHfModules *modules, EmbError *err)
{
	const char *class = module_class(type);
	bool	   *is_normalized = &modules->normalize;

	if (class != NULL && (strcmp(class, "Transformer") == 0 || strcmp(class, "MLMTransformer") == 0) && modules->n_modules == 0)
		strcpy(modules->transformer_path, path);
	else if (class != NULL && (strcmp(class, "Router") == 0 || strcmp(class, "Asym") == 0) && modules->n_modules == 0)
	{
		modules->has_router = true;
		strcpy(modules->router_path, path);
	}
	else if (class != NULL && strcmp(class, "SpladePooling") == 0 && modules->n_modules == 1)
	{
		modules->has_splade = true;
		strcpy(modules->splade_path, path);
	}
	else if (modules->has_splade || modules->has_router)
		return emb_hf_unsupported(doc, "type", type, modules->has_router ? "no module may follow a Router" : "no module may follow a SpladePooling", err);
	else if (class != NULL && strcmp(class, "StaticEmbedding") == 0 && modules->n_modules == 0)
	{
		strcpy(modules->transformer_path, path);
		modules->is_static = true;
		modules->n_modules = 1; /* a pooling module */
	}
	else if (class != NULL && strcmp(class, "Pooling") == 0 && modules->n_modules == 1)
		strcpy(modules->pooling_path, path);
	else if (class != NULL && strcmp(class, "LogitScore") == 0 && modules->n_modules == 1)
	{
		modules->has_logit_score = true;
		strcpy(modules->logit_score_path, path);
	}
	else if (modules->has_logit_score)
		return emb_hf_unsupported(doc, "type", type, "no module may follow a LogitScore", err);
	else if (class != NULL && strcmp(class, "Normalize") == 0 && modules->n_modules >= 2)
		*is_normalized = true;
	else if (class != NULL && (strcmp(class, "Dense") == 0 || strcmp(class, "LayerNorm") == 0) && modules->n_modules >= 2)
	{
		EmbStatus	status = take_dense(doc, path, strcmp(class, "Dense") == 0 ? EMB_MODULE_DENSE : EMB_MODULE_LAYER_NORM, modules,
										is_normalized, err);

		if (status != EMB_OK)
			return status;
	}
	else if (class == NULL || strcmp(class, "Dropout") != 0 || modules->n_modules < 2)
		return emb_hf_unsupported(doc, "type", type,
								  "the modules must be Transformer and Pooling, or StaticEmbedding, then Dense, LayerNorm and Normalize if any, in this order; "
								  "or Transformer and LogitScore; or Transformer and SpladePooling; or a Router", err);
	modules->n_modules++;
	return EMB_OK;
}

EmbStatus
emb_hf_each_module(const EmbJson *doc, EmbStatus (*take) (const EmbJson *doc, const char *type, const char *path, EmbHfModules *modules, EmbError *err),
				   EmbHfModules *modules, EmbError *err)
{
	size_t		n = json_array_size(doc->root);
	EmbStatus	status = EMB_OK;

	memset(modules, 0, sizeof(*modules));
	if (!json_is_array(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a list", doc->file);
	for (size_t i = 0; i < n; i++)
	{
		const json_t *module = json_array_get(doc->root, i);
		const char *type = NULL;
		char		path[256];

		if (!json_is_object(module))
			return emb_error(err, EMB_ERR_FORMAT, "%s: module %zu is not an object", doc->file, i);
		if ((status = emb_json_get_string(doc, module, "type", &type, err)) != EMB_OK ||
			(status = parse_module_path(doc, module, i, path, err)) != EMB_OK)
			return status;
		if (type == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: module %zu has no \"type\"", doc->file, i);
		status = take(doc, type, path, modules, err);
		if (status == EMB_OK)
			status = check_own_path(doc, i, type, path, err);
		if (status != EMB_OK)
			return status;
	}
	if (n < 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists %zu modules; a Transformer is needed", doc->file, n);
	return EMB_OK;
}

EmbStatus
emb_hf_parse_modules(const EmbJson *doc, EmbHfModules *modules, EmbError *err)
{
	EmbStatus	status = emb_hf_each_module(doc, emb_hf_take_module, modules, err);

	modules->transformer_only = json_array_size(doc->root) == 1 && !modules->is_static && !modules->has_router;
	return status;
}

/* --------------------------------------------------- 1_Pooling/config.json */

static const struct
{
	const char *name;
	EmbPooling	pooling;
	const char *key;			/* of older configurations, one boolean per pooling */
}			poolings[] =
{
	/* in the order in which older configurations concatenate */
	{"cls", EMB_POOL_CLS, "pooling_mode_cls_token"},
	{"max", EMB_POOL_MAX, "pooling_mode_max_tokens"},
	{"mean", EMB_POOL_MEAN, "pooling_mode_mean_tokens"},
	{"mean_sqrt_len_tokens", EMB_POOL_MEAN_SQRT_LEN, "pooling_mode_mean_sqrt_len_tokens"},
	{"weightedmean", EMB_POOL_WEIGHTED_MEAN, "pooling_mode_weightedmean_tokens"},
	{"lasttoken", EMB_POOL_LAST, "pooling_mode_lasttoken"},
};

#define N_POOLINGS	((int) (sizeof(poolings) / sizeof(poolings[0])))

/* Appends a pooling to the architecture's list. */
static EmbStatus
add_pooling(const EmbJson *doc, const char *key, const char *name, size_t len, EmbArch *arch, EmbError *err)
{
	int			n = emb_arch_n_poolings(arch);
	int			k = 0;

	while (k < N_POOLINGS && (strlen(poolings[k].name) != len || memcmp(poolings[k].name, name, len) != 0))
		k++;
	if (k == N_POOLINGS)
		return emb_hf_unsupported(doc, key, name, "cls, max, mean, mean_sqrt_len_tokens, weightedmean and lasttoken can be imported, "
								  "joined by + for several", err);
	for (int i = 0; i < n; i++)
	{
		if (emb_arch_pooling(arch, i) == poolings[k].pooling)
			return emb_hf_unsupported(doc, key, name, "the same pooling cannot be taken twice", err);
	}
	/* the list has room: each pooling stands in it once */
	arch->pooling |= (int32_t) poolings[k].pooling << (n * EMB_POOLING_BITS);
	return EMB_OK;
}

EmbStatus
emb_hf_set_pooling(const EmbJson *doc, const char *key, const char *mode, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	config->arch.pooling = 0;
	for (const char *name = mode; name != NULL && status == EMB_OK;)
	{
		const char *plus = strchr(name, '+');

		status = add_pooling(doc, key, name, plus != NULL ? (size_t) (plus - name) : strlen(name), &config->arch, err);
		name = plus != NULL ? plus + 1 : NULL;
	}
	return status;
}

/* "pooling_mode": a name, or a list of names whose vectors are concatenated. */
static EmbStatus
parse_pooling_mode(const EmbJson *doc, const json_t *mode, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	config->arch.pooling = 0;
	if (json_is_string(mode))
		return add_pooling(doc, "pooling_mode", json_string_value(mode), json_string_length(mode), &config->arch, err);
	if (!json_is_array(mode) || json_array_size(mode) == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"pooling_mode\" is neither a string nor a list of strings", doc->file);
	for (size_t i = 0; status == EMB_OK && i < json_array_size(mode); i++)
	{
		const json_t *name = json_array_get(mode, i);

		if (!json_is_string(name))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"pooling_mode\" is neither a string nor a list of strings", doc->file);
		status = add_pooling(doc, "pooling_mode", json_string_value(name), json_string_length(name), &config->arch, err);
	}
	return status;
}

/* One boolean per pooling; without any the mean is taken. */
static EmbStatus
parse_pooling_flags(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	config->arch.pooling = 0;
	for (int i = 0; i < N_POOLINGS; i++)
	{
		bool		on = false;
		EmbStatus	status = emb_json_get_bool(doc, doc->root, poolings[i].key, &on, err);

		if (status == EMB_OK && on)
			status = add_pooling(doc, poolings[i].key, poolings[i].name, strlen(poolings[i].name), &config->arch, err);
		if (status != EMB_OK)
			return status;
	}
	if (config->arch.pooling == 0)
		config->arch.pooling = EMB_POOL_MEAN;
	return EMB_OK;
}

EmbStatus
emb_hf_parse_pooling(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const json_t *mode;
	int32_t		width = config->projection > 0 ? config->projection : config->arch.hidden;
	int64_t		dim = width;
	EmbStatus	status = emb_hf_check_object(doc, err);

	/* sentence-transformers 6 writes the second name */
	if (status != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "word_embedding_dimension", 1, INT32_MAX, &dim, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "embedding_dimension", 1, INT32_MAX, &dim, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "include_prompt", &config->pool_prompt, err)) != EMB_OK)
		return status;
	/* sentence-transformers writes the hidden size also where a matrix follows the layers */
	if (dim != width && dim != config->arch.hidden)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is %lld, but \"%s\" is %d", doc->file,
						 json_object_get(doc->root, "embedding_dimension") != NULL ? "embedding_dimension" : "word_embedding_dimension",
						 (long long) dim, config->projection > 0 ? "num_labels" : "hidden_size", width);
	mode = json_object_get(doc->root, "pooling_mode");
	if (mode != NULL && !json_is_null(mode))
		return parse_pooling_mode(doc, mode, config, err);
	return parse_pooling_flags(doc, config, err);
}

/* ------------------------------------------------ 1_LogitScore/config.json */

EmbStatus
emb_hf_parse_logit_score(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	int64_t		ids[2] = {-1, -1};
	const char *input = "causal_logits";
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "true_token_id", 0, config->arch.n_vocab - 1, &ids[0], err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "false_token_id", 0, config->arch.n_vocab - 1, &ids[1], err)) != EMB_OK)
		return status;
	if (ids[0] < 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s has no \"true_token_id\"", doc->file);
	status = emb_json_get_string(doc, doc->root, "module_input_name", &input, err);
	if (status != EMB_OK)
		return status;
	if (strcmp(input, "causal_logits") != 0)
		return emb_hf_unsupported(doc, "module_input_name", input, "only a LogitScore of the \"causal_logits\" can be imported", err);
	config->answer_ids[0] = (int32_t) ids[0];
	config->answer_ids[1] = (int32_t) ids[1];
	return EMB_OK;
}

/* ---------------------------------------------------- 2_Dense/config.json */

/* torch's, by class: "torch.nn.modules.activation.Tanh" */
static EmbStatus
parse_dense_activation(const EmbJson *doc, EmbHfDense *dense, EmbError *err)
{
	static const struct
	{
		const char *class;
		EmbActivation activation;
	}			known[] =
	{
		{"Identity", 0}, {"Tanh", EMB_ACT_TANH}, {"GELU", EMB_ACT_GELU}, {"ReLU", EMB_ACT_RELU}, {"SiLU", EMB_ACT_SILU},
	};
	const char *name = "torch.nn.modules.activation.Tanh";
	const char *class;
	EmbStatus	status = emb_json_get_string(doc, doc->root, "activation_function", &name, err);

	if (status != EMB_OK)
		return status;
	class = strncmp(name, "torch.nn.", 9) == 0 ? strrchr(name, '.') + 1 : "";
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(class, known[i].class) == 0)
		{
			dense->module.activation = known[i].activation;
			return EMB_OK;
		}
	}
	return emb_hf_unsupported(doc, "activation_function", name, "torch's Identity, Tanh, GELU, ReLU and SiLU can be imported", err);
}

/* Newer configurations name the pipeline values that a module reads and writes. */
EmbStatus
emb_hf_parse_dense_names(const EmbJson *doc, EmbHfDense *dense, EmbError *err)
{
	const char *in = "sentence_embedding";
	const char *out = NULL;
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "module_input_name", &in, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "module_output_name", &out, err)) != EMB_OK)
		return status;
	if (strcmp(in, "sentence_embedding") != 0)
		return emb_hf_unsupported(doc, "module_input_name", in, "only a Dense of the \"sentence_embedding\" can be imported", err);
	dense->gives_scores = out != NULL && strcmp(out, "scores") == 0;
	if (out != NULL && !dense->gives_scores && strcmp(out, "sentence_embedding") != 0)
		return emb_hf_unsupported(doc, "module_output_name", out, "only \"sentence_embedding\" and \"scores\" can be imported", err);
	return EMB_OK;
}

/* --------------------------------------------- 3_LayerNorm/config.json */

/* sentence-transformers' LayerNorm is torch's with its defaults. */
static EmbStatus
parse_layer_norm(const EmbJson *doc, int32_t n_in, EmbHfDense *dense, EmbError *err)
{
	int64_t		n = n_in;
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status == EMB_OK)
		status = emb_json_get_int(doc, doc->root, "dimension", 1, EMB_ARCH_MAX_HIDDEN, &n, err);
	if (status != EMB_OK)
		return status;
	if (n != n_in)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"dimension\" is %lld, but the module before it returns %d", doc->file, (long long) n, n_in);
	dense->module.n_out = n_in;
	dense->module.has_bias = 1;
	dense->module.eps = 1e-5f;
	return EMB_OK;
}

EmbStatus
emb_hf_parse_dense(const EmbJson *doc, int32_t n_in, EmbHfDense *dense, EmbError *err)
{
	static const char *const off[] = {"use_residual", NULL};
	int64_t		in = 0;
	int64_t		out = 0;
	bool		has_bias = true;
	EmbStatus	status;

	if (dense->module.kind == EMB_MODULE_LAYER_NORM)
		return parse_layer_norm(doc, n_in, dense, err);
	status = emb_hf_check_object(doc, err);
	if (status != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "in_features", 1, EMB_ARCH_MAX_HIDDEN, &in, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "out_features", 1, EMB_ARCH_MAX_HIDDEN, &out, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "bias", &has_bias, err)) != EMB_OK ||
		(status = parse_dense_activation(doc, dense, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_hf_parse_dense_names(doc, dense, err)) != EMB_OK)
		return status;
	if (in == 0 || out == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s has no \"%s\"", doc->file, in == 0 ? "in_features" : "out_features");
	if (in != n_in)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"in_features\" is %lld, but the module before it returns %d",
						 doc->file, (long long) in, n_in);
	dense->module.n_out = (int32_t) out;
	dense->module.has_bias = has_bias;
	return EMB_OK;
}
