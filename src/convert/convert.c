/*
 * convert.c
 *		Converts a checkpoint to an image.
 *
 * First the fp32 image is built in memory. Everything that can be checked
 * without reading weights is checked before: architecture, tokenizer, and
 * presence, shape and type of every tensor. For int8 the fp32 image is opened,
 * measured on calibration texts, and quantized into another image. At the end
 * the image is opened, its reference texts are embedded, and the image goes to
 * the sink.
 */
#include "model/embed_core.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"
#include "formats/json.h"
#include "import/checkpoint.h"
#include "kernels/kernels.h"
#include "convert/calibration.h"
#include "image/image.h"
#include "convert/quantize.h"
#include "convert/references.h"
#include "convert/rotary.h"
#include "tokenizer/tokenizer.h"

/* Floats of a block of embedding rows: 256 KiB, well under 10 ms to read. */
#define BLOCK_FLOATS	65536

/* Bytes per call of the sink. */
#define WRITE_BYTES		1048576

typedef struct Import
{
	EmbImportSteps steps;
	EmbCheckpoint checkpoint;
	EmbImageParts parts;
	char	   *strings;		/* both prompts, each followed by a zero byte */
	void	   *tok_block;
	float	   *rows;			/* of a panel, as read */
	int64_t		done_bytes;		/* of the weights */
	uint8_t    *exact;			/* the fp32 image */
	EmbImageView exact_view;
	EmbModel   *exact_model;
	uint8_t    *image;			/* the int8 image */
	EmbImageView view;
	EmbModel   *model;
} Import;

static bool
is_static(const Import *im)
{
	return im->parts.arch.n_layers == 0;
}

static bool
is_reranker(const Import *im)
{
	return im->parts.arch.head != EMB_HEAD_NONE;
}

/* -------------------------------------------------------------- options */

static EmbStatus
choose_precision(const char *precision, EmbImagePrecision *chosen, EmbError *err)
{
	*chosen = precision != NULL && strcmp(precision, "fp32") == 0 ? EMB_PRECISION_FP32 : EMB_PRECISION_INT8;
	if (precision == NULL || *chosen == EMB_PRECISION_FP32 || strcmp(precision, "int8") == 0)
		return EMB_OK;
	if (strcmp(precision, "int4") == 0)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "precision \"int4\" is not supported by this version");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Use \"int8\" or \"fp32\".");
	}
	return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "precision \"%.*s\" is unknown; use \"int8\" or \"fp32\"",
					 emb_json_clip(precision, 80), precision);
}

static EmbStatus
check_calibration(const EmbImportOptions *options, EmbError *err)
{
	if (options->calibration_texts != NULL && options->n_calibration_texts < 1)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "there are no calibration texts");
	return EMB_OK;
}

/* Reports the importer's assumptions. */
static void
forward_notes(const Import *im)
{
	const EmbSink *sink = im->steps.sink;

	for (int i = 0; sink->note != NULL && i < im->checkpoint.n_notes; i++)
		sink->note(sink->ctx, im->checkpoint.notes[i].message, im->checkpoint.notes[i].hint);
}

/* Rows of a table are quantized without calibration. */
static EmbStatus
check_layers(const Import *im, const EmbImportOptions *options, EmbError *err)
{
	if (is_static(im) && options->calibration_texts != NULL)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model has no layers, so it takes no calibration texts");
	return EMB_OK;
}

/* The caller's prompt, or the model's own. */
static EmbStatus
choose_prompt(const char *option, const char *own, const char *what, const char **prompt, EmbError *err)
{
	*prompt = option != NULL ? option : own;
	if (strlen(*prompt) > EMB_IMAGE_MAX_PROMPT_BYTES)
		return emb_error(err, EMB_ERR_LIMIT, "the %s prompt has %zu bytes, more than %d", what,
						 strlen(*prompt), EMB_IMAGE_MAX_PROMPT_BYTES);
	return EMB_OK;
}

static EmbStatus
choose_prompts(Import *im, const EmbImportOptions *options, EmbError *err)
{
	const char *query;
	const char *document;
	EmbStatus	status;

	if (is_reranker(im) && ((options->query_prompt != NULL && options->query_prompt[0] != '\0') ||
							(options->document_prompt != NULL && options->document_prompt[0] != '\0')))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker, which takes no prompts");
	status = choose_prompt(options->query_prompt, im->checkpoint.query_prompt, "query", &query, err);
	if (status == EMB_OK)
		status = choose_prompt(options->document_prompt, im->checkpoint.document_prompt, "document", &document, err);
	if (status != EMB_OK)
		return status;
	if (!im->checkpoint.pools_prompt && (query[0] != '\0' || document[0] != '\0'))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "the model leaves its prompt out of the pooling "
				  "(\"include_prompt\" is false), which is not supported");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Import it with empty prompts.");
	}
	im->parts.strings_bytes = strlen(query) + strlen(document) + 2;
	im->strings = emb_alloc(im->steps.mem, im->parts.strings_bytes);
	if (im->strings == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's prompts");
	memcpy(im->strings, query, strlen(query) + 1);
	memcpy(im->strings + strlen(query) + 1, document, strlen(document) + 1);
	im->parts.config.query_prompt_bytes = (uint32_t) strlen(query);
	im->parts.config.document_prompt = (uint32_t) strlen(query) + 1;
	im->parts.config.document_prompt_bytes = (uint32_t) strlen(document);
	im->parts.strings = im->strings;
	return EMB_OK;
}

/*
 * A cut to the model's own dimensions is no cut for a normalized vector: the
 * image is the same as without the option.
 */
static EmbStatus
choose_dimensions(Import *im, int32_t dimensions, EmbError *err)
{
	const EmbArch *arch = &im->parts.arch;
	int32_t		width = emb_arch_width(arch);

	if (dimensions != 0 && is_reranker(im))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker, which returns no vectors to cut to %d dimensions", dimensions);
	if (dimensions < 0 || dimensions > width)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "dimensions %d is outside 1..%d, the model's", dimensions, width);
	im->parts.config.dimensions = dimensions == width && arch->normalize ? 0 : (uint32_t) dimensions;
	return EMB_OK;
}

/* The limits of texts, and the token that is dropped from them. */
static EmbStatus
choose_length(Import *im, int32_t max_tokens, EmbError *err)
{
	const EmbCheckpoint *c = &im->checkpoint;
	EmbImageConfig *config = &im->parts.config;
	int64_t		max_chars;

	if (max_tokens < 0 || max_tokens > c->arch.n_positions)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %d is outside 1..%d, the model's positions",
						 max_tokens, c->arch.n_positions);
	config->max_tokens = (uint32_t) (max_tokens > 0 ? max_tokens : c->max_tokens);
	config->dropped_id = (uint32_t) (c->dropped_id + 1);
	max_chars = (int64_t) config->max_tokens * c->token_chars;
	config->max_chars = max_chars < INT32_MAX ? (uint32_t) max_chars : INT32_MAX;
	return EMB_OK;
}

static EmbStatus
fill_parts(Import *im, const EmbImportOptions *options, EmbError *err)
{
	EmbStatus	status;

	im->parts.arch = im->checkpoint.arch;
	im->parts.kind = is_reranker(im) ? EMB_KIND_RERANKER : EMB_KIND_EMBEDDING;
	if ((status = check_layers(im, options, err)) != EMB_OK ||
		(status = choose_prompts(im, options, err)) != EMB_OK ||
		(status = choose_length(im, options->max_tokens, err)) != EMB_OK ||
		(status = choose_dimensions(im, options->dimensions, err)) != EMB_OK)
		return status;
	im->parts.reference_bytes = emb_references_bytes(&im->parts.arch, &im->parts.config);
	return emb_image_check_config(&im->parts.arch, &im->parts.config, im->parts.strings_bytes, err);
}

/* ------------------------------------------------------------ tokenizer */

/* A prompt must be UTF-8, and leave room for text. */
static EmbStatus
check_prompt(const Import *im, const EmbTokenizer *tok, const char *prompt, const char *what, EmbError *err)
{
	int64_t		n_tokens;
	EmbStatus	status = emb_tok_count(tok, prompt, strlen(prompt), im->steps.stop, &n_tokens, err);

	if (status == EMB_ERR_TEXT)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the %s prompt is not UTF-8", what);
	if (status == EMB_OK && n_tokens >= im->parts.config.max_tokens)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %u leaves no room after the %lld tokens of the %s prompt",
						 im->parts.config.max_tokens, (long long) n_tokens, what);
	if (status == EMB_OK && im->parts.config.max_chars > 0)
	{
		uint32_t	n_chars = 0;

		for (const char *p = prompt; *p != '\0'; p++)
			n_chars += !emb_utf8_is_inside((uint8_t) *p);
		if (n_chars >= im->parts.config.max_chars)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model reads %u characters of a text, which leaves no room after the %u of the %s prompt",
							 im->parts.config.max_chars, n_chars, what);
	}
	return status;
}

static EmbStatus
check_tokenizer(const Import *im, EmbError *err)
{
	const EmbArch *arch = &im->parts.arch;
	bool		is_pair = is_reranker(im);
	EmbTokenizer *tok;
	EmbStatus	status = emb_tok_open(im->tok_block, im->parts.tokenizer_bytes, true, im->steps.mem, &tok, err);

	if (status != EMB_OK)
		return status;
	if (emb_tok_n_vocab(tok) > arch->n_vocab)
		status = emb_error(err, EMB_ERR_FORMAT, "the tokenizer has %d ids, but the model's vocabulary (\"vocab_size\") has %d",
						   emb_tok_n_vocab(tok), arch->n_vocab);
	else if (is_pair && !emb_tok_has_pair(tok))
		status = emb_error(err, EMB_ERR_UNSUPPORTED, "the model is a reranker, but its tokenizer has no template for pairs of texts");
	else if (is_pair && arch->n_types > 0 && emb_tok_n_types(tok, true) > arch->n_types)
		status = emb_error(err, EMB_ERR_FORMAT, "the tokenizer has %d token types, but the model (\"type_vocab_size\") has %d",
						   emb_tok_n_types(tok, true), arch->n_types);
	else if (emb_tok_n_special(tok, is_pair) >= (int32_t) im->parts.config.max_tokens)
		status = emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %u leaves no room beside %d special tokens",
						   im->parts.config.max_tokens, emb_tok_n_special(tok, is_pair));
	if (status == EMB_OK)
		status = check_prompt(im, tok, im->strings, "query", err);
	if (status == EMB_OK)
		status = check_prompt(im, tok, im->strings + im->parts.config.document_prompt, "document", err);
	emb_tok_close(tok);
	return status;
}

static EmbStatus
build_tokenizer(Import *im, EmbError *err)
{
	EmbStatus	status = emb_tok_build(&im->checkpoint.tokenizer, im->steps.mem, &im->tok_block, &im->parts.tokenizer_bytes, err);

	emb_checkpoint_drop_tokenizer(&im->checkpoint);
	if (status == EMB_OK && emb_should_stop(im->steps.stop))
		status = emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
	if (status != EMB_OK)
		return status;
	im->parts.tokenizer = im->tok_block;
	return check_tokenizer(im, err);
}

/* -------------------------------------------------------------- reading */

/* Computed here, because checkpoints have no such tensors. */
static bool
is_rotary(EmbTensorKey key)
{
	return key.part == EMB_PART_ROTARY || key.part == EMB_PART_ROTARY_LOCAL;
}

/* Number of rows of an image tensor before the part's own rows: the gates in ffn_up. */
static int64_t
n_gates(const Import *im, const EmbImageTensor *t)
{
	if (t->key.part != EMB_PART_FFN_UP || !im->parts.arch.is_gated)
		return 0;
	return t->key.kind == EMB_TENSOR_WEIGHT ? t->n_rows / 2 : t->n_cols / 2;
}

static EmbTensorKey
gates_of(const EmbImageTensor *t)
{
	return (EmbTensorKey) {t->key.layer, EMB_PART_FFN_GATE, t->key.kind};
}

static EmbStatus
check_tensor(const Import *im, const EmbImageTensor *t, EmbError *err)
{
	bool		is_gated = n_gates(im, t) > 0;
	int32_t		n_rows = (int32_t) (is_gated && t->key.kind == EMB_TENSOR_WEIGHT ? t->n_rows / 2 : t->n_rows);
	int32_t		n_cols = (int32_t) (is_gated && t->key.kind != EMB_TENSOR_WEIGHT ? t->n_cols / 2 : t->n_cols);
	EmbStatus	status = EMB_OK;

	if (is_rotary(t->key))
		return EMB_OK;
	if (is_gated)
		status = emb_checkpoint_check(&im->checkpoint, gates_of(t), n_rows, n_cols, err);
	return status == EMB_OK ? emb_checkpoint_check(&im->checkpoint, t->key, n_rows, n_cols, err) : status;
}

/*
 * Checked before memory is taken for the image: the files' size then limits
 * the memory, not the configuration.
 */
static EmbStatus
check_tensors(const Import *im, EmbError *err)
{
	const EmbArch *arch = &im->parts.arch;
	uint32_t	n = emb_image_plan(arch, EMB_PRECISION_FP32, NULL);
	EmbImageTensor *plan = emb_alloc_array(im->steps.mem, n, sizeof(*plan));
	EmbStatus	status = EMB_OK;

	if (plan == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the names of %u tensors", n);
	emb_image_plan(arch, EMB_PRECISION_FP32, plan);
	for (uint32_t i = 0; status == EMB_OK && i < n; i++)
		status = check_tensor(im, &plan[i], err);
	emb_release(im->steps.mem, plan);
	return status;
}

/* Rows per block: a panel's rows, or BLOCK_FLOATS. */
static int64_t
block_rows(const EmbImageTensor *t)
{
	if (t->form == EMB_FORM_PANELS_F32)
		return EMB_PANEL;
	return t->n_cols < BLOCK_FLOATS ? BLOCK_FLOATS / t->n_cols : 1;
}

/* The sines of 8,192 positions by 32 angles take 25 ms. */
static void
compute_rotation(Import *im, const EmbImageTensor *t)
{
	const EmbArch *arch = &im->parts.arch;

	emb_rotary_fill(t->key.part == EMB_PART_ROTARY_LOCAL ? arch->rotary_local_base : arch->rotary_base, arch->rotary_scale,
					(int32_t) t->n_rows, (int32_t) t->n_cols, (float *) (im->exact + t->offset));
	im->done_bytes += (int64_t) t->n_rows * t->n_cols * (int64_t) sizeof(float);
}

/*
 * Rows row .. row + n - 1: those before n_first come from one tensor, the
 * others from another.
 */
static EmbStatus
read_rows(Import *im, const EmbImageTensor *t, int64_t row, int64_t n, float *rows, EmbError *err)
{
	int64_t		n_first = n_gates(im, t);
	int64_t		left = n_first - row;
	int64_t		n_gate = left < 0 ? 0 : left < n ? left : n;
	int32_t		n_cols = (int32_t) t->n_cols;
	EmbStatus	status = EMB_OK;

	if (n_gate > 0)
		status = emb_checkpoint_read(&im->checkpoint, gates_of(t), row, n_gate, n_cols, rows, err);
	if (status == EMB_OK && n_gate < n)
		status = emb_checkpoint_read(&im->checkpoint, t->key, row + n_gate - n_first, n - n_gate, n_cols, rows + n_gate * n_cols, err);
	return status;
}

/* For a vector, with a GLU or without. */
static EmbStatus
read_vector(Import *im, const EmbImageTensor *t, float *to, EmbError *err)
{
	int32_t		n_first = (int32_t) n_gates(im, t);
	EmbStatus	status = EMB_OK;

	if (n_first > 0)
		status = emb_checkpoint_read(&im->checkpoint, gates_of(t), 0, 1, n_first, to, err);
	if (status == EMB_OK)
		status = emb_checkpoint_read(&im->checkpoint, t->key, 0, 1, (int32_t) t->n_cols - n_first, to + n_first, err);
	im->done_bytes += (int64_t) t->n_cols * (int64_t) sizeof(float);
	return status;
}

/* Writes a tensor's rows to their place in the image. */
static EmbStatus
read_tensor(Import *im, const EmbImageTensor *t, EmbError *err)
{
	int64_t		step = block_rows(t);
	float	   *to = (float *) (im->exact + t->offset);

	if (emb_should_stop(im->steps.stop))
		return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
	if (t->form == EMB_FORM_VECTOR_F32)
		return read_vector(im, t, to, err);
	if (is_rotary(t->key))
	{
		compute_rotation(im, t);
		return EMB_OK;
	}
	for (int64_t row = 0; row < t->n_rows; row += step)
	{
		int64_t		n = t->n_rows - row < step ? t->n_rows - row : step;
		bool		packed = t->form == EMB_FORM_PANELS_F32;
		EmbStatus	status;

		if (emb_should_stop(im->steps.stop))
			return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
		status = read_rows(im, t, row, n, packed ? im->rows : to + row * t->n_cols, err);
		if (status != EMB_OK)
			return status;
		if (packed)
			emb_pack_f32_panel(im->rows, (int32_t) n, (int32_t) t->n_cols, to + row * t->n_cols);
		im->done_bytes += n * t->n_cols * (int64_t) sizeof(float);
	}
	return EMB_OK;
}

static EmbStatus
read_tensors(Import *im, EmbError *err)
{
	uint32_t	n_tensors = im->exact_view.n_tensors;
	size_t		n_cols = 0;
	int64_t		total_bytes = 0;
	EmbStatus	status = EMB_OK;

	for (uint32_t i = 0; i < n_tensors; i++)
	{
		const EmbImageTensor *t = &im->exact_view.tensors[i];

		total_bytes += (int64_t) t->n_rows * t->n_cols * (int64_t) sizeof(float);
		n_cols = t->form == EMB_FORM_PANELS_F32 && t->n_cols > n_cols ? t->n_cols : n_cols;
	}
	im->rows = emb_alloc_array(im->steps.mem, n_cols * EMB_PANEL, sizeof(float));
	if (im->rows == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d rows of weights", EMB_PANEL);
	for (uint32_t i = 0; status == EMB_OK && i < n_tensors; i++)
	{
		emb_import_progress(&im->steps, "read", im->done_bytes, total_bytes);
		status = read_tensor(im, &im->exact_view.tensors[i], err);
	}
	if (status == EMB_OK)
		emb_import_progress(&im->steps, "read", total_bytes, total_bytes);
	return status;
}

/* Checks for room before the work. */
static EmbStatus
announce_size(const Import *im, EmbError *err)
{
	const EmbSink *sink = im->steps.sink;

	if (sink->begin == NULL)
		return EMB_OK;
	return sink->begin(sink->ctx, (int64_t) emb_image_planned_bytes(&im->parts), err);
}

static EmbStatus
build_exact(Import *im, EmbError *err)
{
	EmbImageParts parts = im->parts;
	EmbStatus	status;

	parts.config.precision = EMB_PRECISION_FP32;
	if ((status = check_tensors(im, err)) != EMB_OK ||
		(status = announce_size(im, err)) != EMB_OK ||
		(status = emb_image_build(&parts, im->steps.mem, &im->exact, &im->exact_view, err)) != EMB_OK ||
		(status = read_tensors(im, err)) != EMB_OK)
		return status;
	emb_references_place(im->exact, &im->exact_view);
	return emb_model_open(im->exact, im->exact_view.size_bytes, 0, im->steps.mem, im->steps.stop, &im->exact_model, err);
}

/* ----------------------------------------------------------- quantizing */

static EmbStatus
quantize(Import *im, const EmbImportOptions *options, EmbError *err)
{
	EmbCalibration calibration = {.mem = *im->steps.mem};
	EmbStatus	status = is_static(im) ? EMB_OK : emb_calibrate(im->exact_model, options->calibration_texts, options->n_calibration_texts,
									   &im->steps, &calibration, err);

	if (status != EMB_OK)
		return status;
	status = emb_image_build(&im->parts, im->steps.mem, &im->image, &im->view, err);
	if (status == EMB_OK)
		status = emb_quantize_model(im->exact_model, &calibration, &im->steps, im->image, &im->view, err);
	emb_calibration_free(&calibration);
	if (status != EMB_OK)
		return status;
	emb_references_place(im->image, &im->view);
	return emb_model_open(im->image, im->view.size_bytes, 0, im->steps.mem, im->steps.stop, &im->model, err);
}

/* -------------------------------------------------------------- writing */

static EmbStatus
write_image(const EmbImportSteps *steps, const EmbImageView *view, EmbError *err)
{
	for (uint64_t at = 0; at < view->size_bytes;)
	{
		uint64_t	n = view->size_bytes - at < WRITE_BYTES ? view->size_bytes - at : WRITE_BYTES;
		EmbStatus	status;

		if (emb_should_stop(steps->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
		status = steps->sink->write(steps->sink->ctx, view->base + at, n, err);
		if (status != EMB_OK)
			return status;
		at += n;
		emb_import_progress(steps, "write", (int64_t) at, (int64_t) view->size_bytes);
	}
	return EMB_OK;
}

static EmbStatus
make_image(Import *im, const EmbImportOptions *options, EmbError *err)
{
	bool		is_exact = im->parts.config.precision == EMB_PRECISION_FP32;
	EmbStatus	status = build_exact(im, err);

	if (status == EMB_OK && !is_exact)
		status = quantize(im, options, err);
	if (status != EMB_OK)
		return status;
	if (is_exact)
		status = emb_references_fill(im->exact_model, im->exact_model, &im->steps, im->exact, &im->exact_view, err);
	else
		status = emb_references_fill(im->exact_model, im->model, &im->steps, im->image, &im->view, err);
	if (status != EMB_OK)
		return status;
	return write_image(&im->steps, is_exact ? &im->exact_view : &im->view, err);
}

static EmbStatus
run_import(Import *im, const char *path, const EmbImportOptions *options, EmbError *err)
{
	const EmbCheckpointOptions known = {
		.name = options->name,
		.has_query_prompt = options->query_prompt != NULL,
		.has_document_prompt = options->document_prompt != NULL,
	};
	EmbImagePrecision precision;
	EmbStatus	status;

	if ((status = choose_precision(options->precision, &precision, err)) != EMB_OK ||
		(status = check_calibration(options, err)) != EMB_OK)
		return status;
	im->parts.config.precision = precision;
	if ((status = emb_checkpoint_open_dir(path, &known, im->steps.mem, im->steps.stop, &im->checkpoint, err)) != EMB_OK)
		return status;
	forward_notes(im);
	if ((status = fill_parts(im, options, err)) != EMB_OK ||
		(status = build_tokenizer(im, err)) != EMB_OK)
		return status;
	return make_image(im, options, err);
}

EmbStatus
emb_import_dir(const char *path, const EmbImportOptions *options, const EmbAllocator *mem,
			   const EmbStop *stop, const EmbSink *sink, EmbError *err)
{
	static const EmbImportOptions defaults;
	Import		im = {.steps = {.mem = mem, .stop = stop, .sink = sink, .n_threads = options != NULL ? options->n_threads : 1}};
	EmbStatus	status = run_import(&im, path, options != NULL ? options : &defaults, err);

	emb_checkpoint_close(&im.checkpoint);
	emb_model_close(im.exact_model);
	emb_model_close(im.model);
	emb_release(mem, im.strings);
	emb_release(mem, im.tok_block);
	emb_release(mem, im.rows);
	emb_release(mem, im.exact);
	emb_release(mem, im.image);
	return status;
}
