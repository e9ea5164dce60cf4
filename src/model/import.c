/*
 * import.c
 *		A Hugging Face model directory -> an image.
 *
 * Everything that can be known before the first weight is read is checked
 * before the first byte goes to the sink: configuration, tokenizer, every
 * tensor's presence, shape and type. The weights then stream through one
 * block of rows at a time.
 */
#include "model/embed_core.h"

#include <stdio.h>
#include <string.h>

#include "import/hf_config.h"
#include "import/hf_tokenizer.h"
#include "import/safetensors.h"
#include "kernels/kernels.h"
#include "model/packed.h"
#include "tokenizer/tokenizer.h"

/* Floats of a block of embedding rows: 256 KiB, well under 10 ms to read. */
#define BLOCK_FLOATS	65536

/* Longest name looked up: prefix, "encoder.layer.255.", the role. */
#define NAME_BYTES		(EMB_TENSORS_MAX_NAME + 128)

typedef struct Import
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	const EmbSink *sink;

	EmbHfConfig hf;
	EmbImageConfig config;
	char	   *strings;		/* both prompts, each with its zero byte */
	size_t		strings_bytes;
	void	   *tok_block;
	size_t		tok_bytes;
	EmbTensorSet tensors;
	char		prefix[EMB_TENSORS_MAX_NAME + 1];	/* "bert." or the like before every name */
	const EmbTensor **sources;	/* [n_tensors] in image order */
	uint8_t    *meta;
	EmbImageView view;			/* of meta: nothing behind it is there */
	float	   *rows;			/* a block as read */
	float	   *panel;			/* a block as packed */
	int64_t		done_bytes;
} Import;

/* -------------------------------------------------------------- options */

static EmbStatus
check_precision(const char *precision, EmbError *err)
{
	if (precision == NULL || strcmp(precision, "fp32") == 0)
		return EMB_OK;
	if (strcmp(precision, "int8") == 0 || strcmp(precision, "int4") == 0)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "precision \"%s\" is not supported by this version", precision);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Use \"fp32\".");
	}
	return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "precision \"%.*s\" is unknown; use \"fp32\"",
					 emb_json_clip(precision, 80), precision);
}

/* The prompt the caller gave, or the model's own. */
static EmbStatus
choose_prompt(const char *option, const char *own, const char *what, const char **prompt, EmbError *err)
{
	*prompt = option != NULL ? option : own;
	if (strlen(*prompt) > EMB_HF_MAX_PROMPT_BYTES)
		return emb_error(err, EMB_ERR_LIMIT, "the %s prompt has %zu bytes, more than %d", what,
						 strlen(*prompt), EMB_HF_MAX_PROMPT_BYTES);
	return EMB_OK;
}

static EmbStatus
choose_prompts(Import *im, const EmbImportOptions *options, EmbError *err)
{
	const char *query;
	const char *document;
	EmbStatus	status = choose_prompt(options->query_prompt, im->hf.query_prompt, "query", &query, err);

	if (status == EMB_OK)
		status = choose_prompt(options->document_prompt, im->hf.document_prompt, "document", &document, err);
	if (status != EMB_OK)
		return status;
	if (!im->hf.pool_prompt && (query[0] != '\0' || document[0] != '\0'))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "the model leaves its prompt out of the pooling "
				  "(\"include_prompt\" is false), which is not supported");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Import it with empty prompts.");
	}
	im->strings_bytes = strlen(query) + strlen(document) + 2;
	im->strings = emb_alloc(im->mem, im->strings_bytes);
	if (im->strings == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's prompts");
	memcpy(im->strings, query, strlen(query) + 1);
	memcpy(im->strings + strlen(query) + 1, document, strlen(document) + 1);
	im->config.query_prompt_bytes = (uint32_t) strlen(query);
	im->config.document_prompt = (uint32_t) strlen(query) + 1;
	im->config.document_prompt_bytes = (uint32_t) strlen(document);
	return EMB_OK;
}

static EmbStatus
fill_config(Import *im, const EmbImportOptions *options, EmbError *err)
{
	const EmbHfConfig *hf = &im->hf;
	EmbStatus	status = choose_prompts(im, options, err);

	if (status != EMB_OK)
		return status;
	if (options->max_tokens < 0 || options->max_tokens > hf->n_positions)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %d is outside 1..%d, the model's positions",
						 options->max_tokens, hf->n_positions);
	im->config.family = EMB_FAMILY_BERT;
	im->config.precision = EMB_PRECISION_FP32;
	im->config.activation = hf->activation;
	im->config.pooling = hf->pooling;
	im->config.normalize = hf->normalize;
	im->config.hidden = (uint32_t) hf->hidden;
	im->config.n_layers = (uint32_t) hf->n_layers;
	im->config.n_heads = (uint32_t) hf->n_heads;
	im->config.intermediate = (uint32_t) hf->intermediate;
	im->config.n_vocab = (uint32_t) hf->n_vocab;
	im->config.n_positions = (uint32_t) hf->n_positions;
	im->config.n_types = (uint32_t) hf->n_types;
	im->config.max_tokens = (uint32_t) (options->max_tokens > 0 ? options->max_tokens : hf->max_tokens);
	im->config.ln_eps = hf->ln_eps;
	return emb_image_check_config(&im->config, im->strings_bytes, err);
}

/* ------------------------------------------------------------ tokenizer */

/* A prompt must be text, and leave room for some more. */
static EmbStatus
check_prompt(const Import *im, const EmbTokenizer *tok, const char *prompt, const char *what, EmbError *err)
{
	int64_t		n_tokens;
	EmbStatus	status = emb_tok_count(tok, prompt, strlen(prompt), im->stop, &n_tokens, err);

	if (status == EMB_ERR_TEXT)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the %s prompt is not UTF-8", what);
	if (status == EMB_OK && n_tokens >= im->config.max_tokens)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %u leaves no room behind the %lld tokens of the %s prompt",
						 im->config.max_tokens, (long long) n_tokens, what);
	return status;
}

static EmbStatus
check_tokenizer(const Import *im, EmbError *err)
{
	EmbTokenizer *tok;
	EmbStatus	status = emb_tok_open(im->tok_block, im->tok_bytes, true, im->mem, &tok, err);

	if (status != EMB_OK)
		return status;
	if (emb_tok_n_vocab(tok) > (int32_t) im->config.n_vocab)
		status = emb_error(err, EMB_ERR_FORMAT, "the tokenizer has %d ids, but config.json's \"vocab_size\" is %u",
						   emb_tok_n_vocab(tok), im->config.n_vocab);
	else if (emb_tok_n_special(tok, false) >= (int32_t) im->config.max_tokens)
		status = emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %u leaves no room beside %d special tokens",
						   im->config.max_tokens, emb_tok_n_special(tok, false));
	if (status == EMB_OK)
		status = check_prompt(im, tok, im->strings, "query", err);
	if (status == EMB_OK)
		status = check_prompt(im, tok, im->strings + im->config.document_prompt, "document", err);
	emb_tok_close(tok);
	return status;
}

static EmbStatus
import_tokenizer(Import *im, EmbError *err)
{
	EmbTokSpec	spec;
	EmbStatus	status = emb_import_tokenizer(im->hf.transformer_dir, im->mem, &spec, err);

	if (status != EMB_OK)
		return status;

	/*
	 * sentence-transformers calls Python's lower() on the whole text. We
	 * lowercase in the normalizer instead: that differs for a Greek final
	 * sigma only, and leaves "[MASK]" alone. Uncased tokenizers do it anyway.
	 */
	if (im->hf.lowercase_text)
		spec.lowercase = true;
	status = emb_tok_build(&spec, im->mem, &im->tok_block, &im->tok_bytes, err);
	emb_tok_spec_free(&spec, im->mem);
	if (status != EMB_OK)
		return status;
	return check_tokenizer(im, err);
}

/* -------------------------------------------------------------- sources */

/*
 * What stands before "embeddings.word_embeddings.weight": nothing in a bare
 * BertModel, "bert." behind a head, sometimes another wrapper's name.
 */
static EmbStatus
find_prefix(Import *im, EmbError *err)
{
	static const char suffix[] = "embeddings.word_embeddings.weight";
	static const char *const usual[] = {"", "bert."};
	const char *found = NULL;
	char		name[NAME_BYTES];

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
	{
		snprintf(name, sizeof(name), "%s%s", usual[i], suffix);
		if (emb_tensors_find(&im->tensors, name) != NULL)
		{
			strcpy(im->prefix, usual[i]);
			return EMB_OK;
		}
	}
	for (int s = 0; s < im->tensors.n_shards; s++)
	{
		const EmbTensorShard *shard = &im->tensors.shards[s];

		for (int i = 0; i < shard->n_tensors; i++)
		{
			const char *tensor = shard->tensors[i].name;
			size_t		len = strlen(tensor);

			if (len < sizeof(suffix) || strcmp(tensor + len - (sizeof(suffix) - 1), suffix) != 0 ||
				tensor[len - sizeof(suffix)] != '.')
				continue;
			if (found != NULL)
				return emb_error(err, EMB_ERR_UNSUPPORTED, "the weights hold two models: \"%s\" and \"%s\"", found, tensor);
			found = tensor;
		}
	}
	if (found == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", suffix);
	snprintf(im->prefix, sizeof(im->prefix), "%.*s", (int) (strlen(found) - (sizeof(suffix) - 1)), found);
	return EMB_OK;
}

/* Old checkpoints call a layer norm's weight gamma and its bias beta. */
static const EmbTensor *
find_old_name(const Import *im, const char *name)
{
	static const struct
	{
		const char *now,
				   *then;
	}			pairs[] =
	{
		{"LayerNorm.weight", "LayerNorm.gamma"},
		{"LayerNorm.bias", "LayerNorm.beta"},
	};
	char		old[NAME_BYTES];
	size_t		len = strlen(name);

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		size_t		n = strlen(pairs[i].now);

		if (len < n || strcmp(name + len - n, pairs[i].now) != 0)
			continue;
		snprintf(old, sizeof(old), "%.*s%s", (int) (len - n), name, pairs[i].then);
		return emb_tensors_find(&im->tensors, old);
	}
	return NULL;
}

static EmbStatus
check_shape(const EmbTensor *source, const EmbImageTensor *t, EmbError *err)
{
	bool		is_vector = t->form == EMB_FORM_VECTOR_F32;
	char		shape[EMB_TENSORS_MAX_RANK * 22] = "";
	size_t		at = 0;

	if (is_vector ? source->rank == 1 && source->shape[0] == t->n_cols
		: source->rank == 2 && source->shape[0] == t->n_rows && source->shape[1] == t->n_cols)
		return EMB_OK;
	for (int i = 0; i < source->rank; i++)
		at += snprintf(shape + at, sizeof(shape) - at, "%s%lld", i > 0 ? ", " : "", (long long) source->shape[i]);
	return is_vector
		? emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json wants [%u]",
					source->name, shape, t->n_cols)
		: emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json wants [%u, %u]",
					source->name, shape, t->n_rows, t->n_cols);
}

static EmbStatus
resolve_sources(Import *im, EmbError *err)
{
	uint32_t	n = emb_image_n_tensors(&im->config);
	EmbStatus	status = find_prefix(im, err);

	if (status != EMB_OK)
		return status;
	im->sources = emb_alloc_array(im->mem, n, sizeof(*im->sources));
	if (im->sources == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the names of %u tensors", n);
	for (uint32_t i = 0; i < n; i++)
	{
		const EmbImageTensor *t = &im->view.tensors[i];
		char		base[128];
		char		name[NAME_BYTES];
		const EmbTensor *source;

		snprintf(name, sizeof(name), "%s%s", im->prefix, emb_image_tensor_name(t, base, sizeof(base)));
		source = emb_tensors_find(&im->tensors, name);
		if (source == NULL)
			source = find_old_name(im, name);
		if (source == NULL)
			return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", name);
		status = check_shape(source, t, err);
		if (status == EMB_OK)
			status = emb_tensors_check_dtype(&im->tensors, source, err);
		if (status != EMB_OK)
			return status;
		im->sources[i] = source;
	}
	return EMB_OK;
}

/* -------------------------------------------------------------- writing */

static EmbStatus
put(Import *im, const void *data, size_t size, EmbError *err)
{
	EmbStatus	status;

	if (emb_should_stop(im->stop))
		return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
	status = im->sink->write(im->sink->ctx, data, size, err);
	if (status != EMB_OK)
		return status;
	im->done_bytes += size;
	if (im->sink->progress != NULL)
		im->sink->progress(im->sink->ctx, im->done_bytes, (int64_t) im->view.header->size_bytes);
	return EMB_OK;
}

/* Zeros up to offset, less than EMB_ALIGNMENT of them. */
static EmbStatus
put_padding(Import *im, uint64_t offset, EmbError *err)
{
	static const uint8_t zeros[EMB_ALIGNMENT];

	if (offset == (uint64_t) im->done_bytes)
		return EMB_OK;
	return put(im, zeros, offset - im->done_bytes, err);
}

/* Rows a block: those of a panel, or what makes BLOCK_FLOATS. */
static int64_t
block_rows(const EmbImageTensor *t)
{
	if (t->form == EMB_FORM_PANELS_F32)
		return EMB_PANEL;
	return t->n_cols < BLOCK_FLOATS ? BLOCK_FLOATS / t->n_cols : 1;
}

static EmbStatus
put_tensor(Import *im, const EmbImageTensor *t, const EmbTensor *source, EmbError *err)
{
	int64_t		step = block_rows(t);
	EmbStatus	status = put_padding(im, t->offset, err);

	for (int64_t row = 0; status == EMB_OK && row < t->n_rows; row += step)
	{
		int64_t		n = t->n_rows - row < step ? t->n_rows - row : step;
		size_t		bytes = (size_t) n * t->n_cols * sizeof(float);

		status = emb_tensors_read_f32(&im->tensors, source, row * t->n_cols, n * t->n_cols, im->rows, err);
		if (status != EMB_OK)
			return status;
		if (t->form == EMB_FORM_PANELS_F32)
		{
			emb_pack_f32_panel(im->rows, (int32_t) n, (int32_t) t->n_cols, im->panel);
			status = put(im, im->panel, (size_t) t->n_cols * EMB_PANEL * sizeof(float), err);
		}
		else
			status = put(im, im->rows, bytes, err);
	}
	if (status == EMB_OK)
		status = put_padding(im, t->offset + t->size_bytes, err);	/* a vector's */
	return status;
}

static EmbStatus
allocate_blocks(Import *im, EmbError *err)
{
	size_t		rows_floats = 0;
	size_t		panel_floats = 0;

	for (uint32_t i = 0; i < emb_image_n_tensors(&im->config); i++)
	{
		const EmbImageTensor *t = &im->view.tensors[i];
		size_t		floats = (size_t) block_rows(t) * t->n_cols;

		rows_floats = floats > rows_floats ? floats : rows_floats;
		if (t->form == EMB_FORM_PANELS_F32 && floats > panel_floats)
			panel_floats = floats;
	}
	im->rows = emb_alloc_array(im->mem, rows_floats, sizeof(float));
	im->panel = emb_alloc_array(im->mem, panel_floats, sizeof(float));
	if (im->rows == NULL || im->panel == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %zu rows of weights", rows_floats);
	return EMB_OK;
}

static EmbStatus
write_image(Import *im, EmbError *err)
{
	const EmbImageSection *tokenizer = emb_image_section(&im->view, EMB_SECTION_TOKENIZER);
	EmbStatus	status = put(im, im->meta, tokenizer->offset, err);

	if (status == EMB_OK)
		status = put(im, im->tok_block, im->tok_bytes, err);
	for (uint32_t i = 0; status == EMB_OK && i < emb_image_n_tensors(&im->config); i++)
		status = put_tensor(im, &im->view.tensors[i], im->sources[i], err);
	if (status == EMB_OK)
		status = put_padding(im, im->view.header->size_bytes, err);
	if (status == EMB_OK && (uint64_t) im->done_bytes != im->view.header->size_bytes)
		status = emb_error(err, EMB_ERR_INTERNAL, "wrote %lld bytes of an image of %llu", (long long) im->done_bytes,
						   (unsigned long long) im->view.header->size_bytes);
	return status;
}

/* The parts of meta, which we made ourselves. */
static void
view_meta(Import *im)
{
	EmbImageView *view = &im->view;

	view->base = im->meta;
	view->header = (const EmbImageHeader *) im->meta;
	view->size_bytes = view->header->size_bytes;
	view->sections = (const EmbImageSection *) (im->meta + sizeof(EmbImageHeader));
	view->config = &im->config;
	view->strings = im->strings;
	view->tensors = (const EmbImageTensor *) (im->meta + emb_image_section(view, EMB_SECTION_TENSORS)->offset);
}

static EmbStatus
run_import(Import *im, const char *path, const EmbImportOptions *options, EmbError *err)
{
	EmbStatus	status;

	if ((status = check_precision(options->precision, err)) != EMB_OK ||
		(status = emb_hf_read_config(path, im->mem, &im->hf, err)) != EMB_OK ||
		(status = fill_config(im, options, err)) != EMB_OK ||
		(status = emb_tensors_open_dir(im->hf.transformer_dir, im->mem, &im->tensors, err)) != EMB_OK ||
		(status = import_tokenizer(im, err)) != EMB_OK ||
		(status = emb_image_build_meta(&im->config, EMB_KIND_EMBEDDING, im->strings, im->strings_bytes,
									   im->tok_bytes, im->mem, &im->meta, err)) != EMB_OK)
		return status;
	view_meta(im);
	if ((status = resolve_sources(im, err)) != EMB_OK ||
		(status = allocate_blocks(im, err)) != EMB_OK)
		return status;
	return write_image(im, err);
}

EmbStatus
emb_import_dir(const char *path, const EmbImportOptions *options, const EmbAllocator *mem,
			   const EmbStop *stop, const EmbSink *sink, EmbError *err)
{
	static const EmbImportOptions defaults;
	Import		im = {.mem = mem, .stop = stop, .sink = sink};
	EmbStatus	status = run_import(&im, path, options != NULL ? options : &defaults, err);

	emb_hf_config_free(&im.hf, mem);
	emb_tensors_close(&im.tensors);
	emb_release(mem, im.strings);
	emb_release(mem, im.tok_block);
	emb_release(mem, (void *) im.sources);
	emb_release(mem, im.meta);
	emb_release(mem, im.rows);
	emb_release(mem, im.panel);
	return status;
}
