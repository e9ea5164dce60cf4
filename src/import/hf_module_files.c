/*
 * hf_module_files.c
 *		Weights beside those of the transformer: of modules and of heads, which
 *		have files of their own.
 */
#include "import/hf_module_files.h"

#include <stdio.h>

#include "formats/file.h"

EmbStatus
emb_hf_find_module_weights(const char *dir, const char *path, const char *what, char *name, size_t size, EmbError *err)
{
	static const char *const files[] = {"model.safetensors", "pytorch_model.bin"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		snprintf(name, size, "%s%s%s", path, path[0] != '\0' ? "/" : "", files[i]);
		if (emb_file_exists(dir, name))
			return EMB_OK;
	}
	return emb_error(err, EMB_ERR_NOT_FOUND, "there is neither %s nor %s in \"%s\", the place of a module %s", files[0], files[1], path, what);
}

/* FlagEmbedding saves a head in its own file, as "weight" and "bias". */
static EmbStatus
add_head(EmbTensorSet *tensors, const char *dir, const char *head, const EmbTensor **weight, EmbError *err)
{
	static const char *const endings[] = {"safetensors", "pt"};
	char		name[64];
	char		prefix[64];

	snprintf(prefix, sizeof(prefix), "%s.", head);
	snprintf(name, sizeof(name), "%s.weight", head);
	*weight = emb_tensors_find(tensors, name);
	for (size_t i = 0; *weight == NULL && i < sizeof(endings) / sizeof(endings[0]); i++)
	{
		char		file[64];
		EmbStatus	status;

		snprintf(file, sizeof(file), "%s.%s", head, endings[i]);
		if (!emb_file_exists(dir, file))
			continue;
		status = emb_tensors_add_file(tensors, dir, file, prefix, err);
		if (status != EMB_OK)
			return emb_error_hint(err, status, "Without %s the model is imported as one that lacks this head.", file);
		*weight = emb_tensors_find(tensors, name);
		if (*weight == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s has no tensor \"weight\"", file);
	}
	return EMB_OK;
}

/*
 * BGE-M3's heads are in separate files; one may be missing. The tensor defines
 * the number of outputs.
 */
EmbStatus
emb_hf_add_token_heads(EmbTensorSet *tensors, const char *dir, EmbArch *arch, EmbError *err)
{
	static const char both[] = "bge_m3_heads.safetensors";
	const EmbTensor *sparse;
	const EmbTensor *multi;
	EmbStatus	status = add_head(tensors, dir, "sparse_linear", &sparse, err);

	if (status == EMB_OK)
		status = add_head(tensors, dir, "colbert_linear", &multi, err);
	if (status == EMB_OK && (sparse == NULL || multi == NULL) && emb_file_exists(dir, both))
	{
		status = emb_tensors_add_file(tensors, dir, both, NULL, err);
		if (status == EMB_OK)
		{
			sparse = emb_tensors_find(tensors, "sparse_linear.weight");
			multi = emb_tensors_find(tensors, "colbert_linear.weight");
		}
	}
	if (status != EMB_OK)
		return status;
	arch->has_sparse = sparse != NULL;
	arch->multi_dim = 0;
	if (multi == NULL)
		return EMB_OK;
	if (multi->rank != 2 || multi->shape[0] < 1 || multi->shape[0] > EMB_ARCH_MAX_HIDDEN)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" is not a matrix of 1 to %d rows", multi->name, EMB_ARCH_MAX_HIDDEN);
	arch->multi_dim = (int32_t) multi->shape[0];
	return EMB_OK;
}

/*
 * Each module has its own files, with "linear.weight" and "linear.bias", or
 * "norm.weight" and "norm.bias": here after "dense.I.". A layer norm without
 * weights has no files.
 */
EmbStatus
emb_hf_add_dense(EmbTensorSet *tensors, const char *dir, const EmbHfConfig *config, EmbError *err)
{
	for (int i = 0; i < config->arch.n_dense && config->projection == 0; i++)
	{
		const char *path = config->dense_paths[i];
		char		name[sizeof(config->dense_paths[i]) + 32];
		char		prefix[32];
		EmbStatus	status;

		if (config->arch.dense[i].kind == EMB_MODULE_LAYER_NORM && !config->arch.dense[i].has_bias)
			continue;
		status = emb_hf_find_module_weights(dir, path, config->arch.dense[i].kind == EMB_MODULE_LAYER_NORM ? "LayerNorm" : "Dense", name, sizeof(name), err);
		if (status != EMB_OK)
			return status;
		snprintf(prefix, sizeof(prefix), "dense.%d.", i);
		status = emb_tensors_add_file_under(tensors, dir, name, prefix, err);
		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}
