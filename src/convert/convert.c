/*
 * convert.c
 *		A Hugging Face model directory -> an image.
 *
 * First the fp32 image is made in memory. Everything that can be known before
 * the first weight is read is checked before: configuration, tokenizer, every
 * tensor's presence, shape and type. For int8 that image is opened, measured
 * on calibration texts, and quantized into another. Last, the image is opened,
 * its reference texts are embedded, and it goes to the sink.
 */
#include "model/embed_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import/hf_config.h"
#include "import/hf_prompts.h"
#include "import/hf_tokenizer.h"
#include "import/static_table.h"
#include "formats/tensors.h"
#include "kernels/kernels.h"
#include "convert/calibration.h"
#include "image/image.h"
#include "convert/quantize.h"
#include "convert/references.h"
#include "convert/rotary.h"
#include "import/sources.h"
#include "tokenizer/tokenizer.h"

/* Floats of a block of embedding rows: 256 KiB, well under 10 ms to read. */
#define BLOCK_FLOATS	65536

/* Bytes the sink gets at once. */
#define WRITE_BYTES		1048576

typedef struct Import
{
	EmbImportSteps steps;
	const char *path;			/* the directory */

	EmbHfConfig hf;
	EmbImageParts parts;
	char	   *strings;		/* both prompts, each with its zero byte */
	void	   *tok_block;
	EmbTensorSet tensors;
	EmbStaticTable table;		/* of a static model */
	EmbSource  *sources;		/* [n_tensors] in image order */
	float	   *rows;			/* of a panel, as read */
	int64_t		done_bytes;		/* of the weights */
	uint8_t    *exact;			/* the fp32 image */
	EmbImageView exact_view;
	EmbModel   *exact_model;
	uint8_t    *image;			/* the int8 image */
	EmbImageView view;
	EmbModel   *model;
} Import;

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

/* Says which prompts, on one line. */
static void
note_prompts(const Import *im, const EmbKnownPrompts *known, bool query, bool document)
{
	char		message[512];
	size_t		at = 0;

	if (im->steps.sink->note == NULL)
		return;
	at = snprintf(message, sizeof(message), "the model's files name no prompts; it gets those of %s (the name of %s):",
				  known->name, known->found_in);
	if (query)
		at += snprintf(message + at, sizeof(message) - at, " \"%s\" before queries", known->query);
	if (document)
		snprintf(message + at, sizeof(message) - at, "%s \"%s\" before documents", query ? "," : "", known->document);
	for (char *p = message; (p = strchr(p, '\n')) != NULL;)
		*p = ' ';
	im->steps.sink->note(im->steps.sink->ctx, message,
						 "The options query_prompt and document_prompt set others; \"\" is none.");
}

/* Where neither the caller nor the files say. One that is not pooled over would be computed wrongly: no guess then. */
static void
use_known_prompts(Import *im, const char *path, const EmbImportOptions *options, const char **query, const char **document)
{
	EmbKnownPrompts known;
	bool		wants_query = options->query_prompt == NULL;
	bool		wants_document = options->document_prompt == NULL;

	if (im->hf.has_prompts || im->hf.is_reranker || !im->hf.pool_prompt || !emb_hf_find_prompts(&im->hf, path, options->name, &known))
		return;
	wants_query = wants_query && known.query[0] != '\0';
	wants_document = wants_document && known.document[0] != '\0';
	if (wants_query)
		*query = known.query;
	if (wants_document)
		*document = known.document;
	if (wants_query || wants_document)
		note_prompts(im, &known, wants_query, wants_document);
}

/* Rows of a table are quantized as they are. */
static EmbStatus
check_layers(const Import *im, const EmbImportOptions *options, EmbError *err)
{
	if (im->hf.is_static && options->calibration_texts != NULL)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model has no layers that calibration texts could be read for");
	return EMB_OK;
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
choose_prompts(Import *im, const char *path, const EmbImportOptions *options, EmbError *err)
{
	const char *query;
	const char *document;
	EmbStatus	status;

	if (im->hf.is_reranker && ((options->query_prompt != NULL && options->query_prompt[0] != '\0') ||
							   (options->document_prompt != NULL && options->document_prompt[0] != '\0')))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker, which takes no prompts");
	status = choose_prompt(options->query_prompt, im->hf.query_prompt, "query", &query, err);

	if (status == EMB_OK)
		status = choose_prompt(options->document_prompt, im->hf.document_prompt, "document", &document, err);
	if (status != EMB_OK)
		return status;
	use_known_prompts(im, path, options, &query, &document);
	if (!im->hf.pool_prompt && (query[0] != '\0' || document[0] != '\0'))
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

static void
fill_head(EmbImageConfig *config, const EmbHfConfig *hf)
{
	config->head = EMB_HEAD_SCORE;
	config->head_activation = hf->head_activation == EMB_ACT_TANH ? 0 : hf->head_activation;
	config->head_parts = (hf->head_norm ? EMB_HEAD_NORM : 0) | (hf->head_unbiased ? EMB_HEAD_UNBIASED : 0);
}

static void
fill_dense(Import *im)
{
	EmbImageConfig *config = &im->parts.config;
	const EmbHfConfig *hf = &im->hf;

	for (int i = 0; i < hf->n_dense; i++)
	{
		config->dense_outputs[i] = (uint32_t) hf->dense[i].n_out;
		config->dense_steps |= (uint32_t) hf->dense[i].activation << (8 * i);
		if (hf->dense[i].normalize)
			config->dense_steps |= i == 0 ? EMB_DENSE_NORMALIZE_POOLED : EMB_DENSE_NORMALIZE_BETWEEN;
		if (!hf->dense[i].has_bias)
			config->dense_steps |= i == 0 ? EMB_DENSE_UNBIASED : EMB_DENSE_UNBIASED_2;
	}
}

/* All of a normalized vector are no cut: the image is the same as without the option. */
static EmbStatus
choose_dimensions(Import *im, int32_t dimensions, EmbError *err)
{
	EmbImageConfig *config = &im->parts.config;
	int32_t		width = (int32_t) emb_image_full_width(config);

	if (dimensions != 0 && im->hf.is_reranker)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker, which gives no vectors to cut to %d dimensions", dimensions);
	if (dimensions < 0 || dimensions > width)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "dimensions %d is outside 1..%d, the model's", dimensions, width);
	config->dimensions = dimensions == width && config->normalize ? 0 : (uint32_t) dimensions;
	return EMB_OK;
}

static EmbStatus
fill_config(Import *im, const char *path, const EmbImportOptions *options, EmbError *err)
{
	const EmbHfConfig *hf = &im->hf;
	EmbStatus	status = choose_prompts(im, path, options, err);

	if (status != EMB_OK)
		return status;
	if (options->max_tokens < 0 || options->max_tokens > hf->n_positions)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %d is outside 1..%d, the model's positions",
						 options->max_tokens, hf->n_positions);
	im->parts.kind = hf->is_reranker ? EMB_KIND_RERANKER : EMB_KIND_EMBEDDING;
	if (hf->is_reranker)
		fill_head(&im->parts.config, hf);
	im->parts.config.family = hf->family;
	im->parts.config.activation = hf->activation;
	im->parts.config.pooling = hf->pooling;
	im->parts.config.normalize = hf->normalize;
	im->parts.config.hidden = (uint32_t) hf->hidden;
	im->parts.config.n_layers = (uint32_t) hf->n_layers;
	im->parts.config.n_heads = (uint32_t) hf->n_heads;
	im->parts.config.intermediate = (uint32_t) hf->intermediate;
	im->parts.config.n_vocab = (uint32_t) hf->n_vocab;
	im->parts.config.n_positions = (uint32_t) hf->n_positions;
	im->parts.config.position_base = (uint32_t) hf->position_base;
	im->parts.config.window = (uint32_t) hf->window;
	im->parts.config.global_every = (uint32_t) hf->global_every;
	im->parts.config.n_types = (uint32_t) hf->n_types;
	im->parts.config.max_tokens = (uint32_t) (options->max_tokens > 0 ? options->max_tokens : hf->max_tokens);
	im->parts.config.ln_eps = hf->ln_eps;
	fill_dense(im);
	status = choose_dimensions(im, options->dimensions, err);
	if (status != EMB_OK)
		return status;
	im->parts.reference_bytes = emb_references_bytes(&im->parts.config);
	return emb_image_check_config(&im->parts.config, im->parts.strings_bytes, err);
}

/* ------------------------------------------------------------ tokenizer */

/* A prompt must be text, and leave room for some more. */
static EmbStatus
check_prompt(const Import *im, const EmbTokenizer *tok, const char *prompt, const char *what, EmbError *err)
{
	int64_t		n_tokens;
	EmbStatus	status = emb_tok_count(tok, prompt, strlen(prompt), im->steps.stop, &n_tokens, err);

	if (status == EMB_ERR_TEXT)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the %s prompt is not UTF-8", what);
	if (status == EMB_OK && n_tokens >= im->parts.config.max_tokens)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %u leaves no room behind the %lld tokens of the %s prompt",
						 im->parts.config.max_tokens, (long long) n_tokens, what);
	if (status == EMB_OK && im->hf.is_static && im->parts.config.window > 0)
	{
		uint32_t	n_chars = 0;

		for (const char *p = prompt; *p != '\0'; p++)
			n_chars += (*p & 0xC0) != 0x80;
		if (n_chars >= im->parts.config.window)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model reads %u characters of a text, which leaves no room behind the %u of the %s prompt",
							 im->parts.config.window, n_chars, what);
	}
	return status;
}

static EmbStatus
check_tokenizer(const Import *im, EmbError *err)
{
	bool		is_pair = im->hf.is_reranker;
	EmbTokenizer *tok;
	EmbStatus	status = emb_tok_open(im->tok_block, im->parts.tokenizer_bytes, true, im->steps.mem, &tok, err);

	if (status != EMB_OK)
		return status;
	if (emb_tok_n_vocab(tok) > (int32_t) im->parts.config.n_vocab)
		status = emb_error(err, EMB_ERR_FORMAT, "the tokenizer has %d ids, but config.json's \"vocab_size\" is %u",
						   emb_tok_n_vocab(tok), im->parts.config.n_vocab);
	else if (is_pair && !emb_tok_has_pair(tok))
		status = emb_error(err, EMB_ERR_UNSUPPORTED, "the model is a reranker, but its tokenizer has no template for pairs of texts");
	else if (is_pair && im->parts.config.n_types > 0 && emb_tok_n_types(tok, true) > (int32_t) im->parts.config.n_types)
		status = emb_error(err, EMB_ERR_FORMAT, "the tokenizer has %d token types, but config.json's \"type_vocab_size\" is %u",
						   emb_tok_n_types(tok, true), im->parts.config.n_types);
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

static int
compare_lengths(const void *a, const void *b)
{
	int32_t		x = *(const int32_t *) a;
	int32_t		y = *(const int32_t *) b;

	return (x > y) - (x < y);
}

/* Characters of the median token, as numpy's median cut to an integer; added tokens count, each once. */
static int32_t
median_token(const EmbTokSpec *spec, int32_t *lengths)
{
	int32_t		n = 0;

	for (int32_t i = 0; i < spec->n_vocab + spec->n_added; i++)
	{
		const EmbTokAdded *added = i < spec->n_vocab ? NULL : &spec->added[i - spec->n_vocab];
		const EmbTokPiece *piece = added == NULL ? &spec->pieces[i] : &added->piece;

		if (piece->text == NULL || (added != NULL && added->id < spec->n_vocab && spec->pieces[added->id].text != NULL))
			continue;
		lengths[n] = 0;
		for (uint32_t k = 0; k < piece->len; k++)
			lengths[n] += ((unsigned char) piece->text[k] & 0xC0) != 0x80;
		n++;
	}
	if (n == 0)
		return 1;
	qsort(lengths, n, sizeof(int32_t), compare_lengths);
	return n % 2 == 1 ? lengths[n / 2] : (lengths[n / 2 - 1] + lengths[n / 2]) / 2;
}

/* A static model's texts have no special tokens around them; what is dropped and where they are cut. */
static EmbStatus
make_static(Import *im, EmbTokSpec *spec, EmbError *err)
{
	EmbImageConfig *config = &im->parts.config;
	int64_t		max_chars;
	int32_t    *lengths;

	spec->single = (EmbTokTemplate) {.n_slots = 1, .slots[0] = {.kind = EMB_TOK_SLOT_A}};
	spec->pair.n_slots = 0;
	config->position_base = im->hf.drops_unknown && spec->unk_id >= 0 ? (uint32_t) spec->unk_id + 1 : 0;
	config->window = 0;
	if (!im->hf.cuts_chars)
		return EMB_OK;
	lengths = emb_alloc_array(im->steps.mem, (size_t) spec->n_vocab + spec->n_added + 1, sizeof(int32_t));
	if (lengths == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the lengths of %d tokens", spec->n_vocab);
	max_chars = (int64_t) config->max_tokens * median_token(spec, lengths);
	emb_release(im->steps.mem, lengths);
	config->window = max_chars < 1 ? 1 : max_chars < INT32_MAX ? (uint32_t) max_chars : INT32_MAX;
	return EMB_OK;
}

static EmbStatus
import_tokenizer(Import *im, EmbError *err)
{
	EmbTokSpec	spec;
	EmbStatus	status = emb_import_tokenizer(im->hf.transformer_dir, im->steps.mem, im->steps.stop, &spec, err);

	if (status != EMB_OK)
		return status;

	/*
	 * sentence-transformers calls Python's lower() on the whole text. We
	 * lowercase in the normalizer instead: that differs for a Greek final
	 * sigma only, and leaves "[MASK]" alone. Uncased tokenizers do it anyway.
	 */
	if (im->hf.lowercase_text)
		spec.lowercase = true;
	if (im->hf.is_static)
		status = make_static(im, &spec, err);
	if (status == EMB_OK)
		status = emb_tok_build(&spec, im->steps.mem, &im->tok_block, &im->parts.tokenizer_bytes, err);
	emb_tok_spec_free(&spec, im->steps.mem);
	if (status == EMB_OK && emb_should_stop(im->steps.stop))
		status = emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
	if (status != EMB_OK)
		return status;
	im->parts.tokenizer = im->tok_block;
	return check_tokenizer(im, err);
}

/* -------------------------------------------------------------- reading */

static EmbStatus
open_tensors(Import *im, EmbError *err)
{
	EmbStatus	status = emb_tensors_open_dir(im->hf.transformer_dir, im->steps.mem, im->steps.stop, &im->tensors, err);

	if (status == EMB_OK)
		status = emb_sources_add_dense(&im->tensors, im->path, &im->hf, err);
	if (status == EMB_OK && im->hf.is_static)
		status = emb_static_open(&im->tensors, im->steps.mem, &im->table, err);
	if (status == EMB_OK && !im->hf.is_reranker && !im->hf.is_static)
		status = emb_sources_add_heads(&im->tensors, im->hf.transformer_dir, &im->parts.config, err);
	return status;
}

/* Before there is an image: what it takes is then bounded by the files' size, not by what config.json says. */
static EmbStatus
resolve_sources(Import *im, const EmbImageConfig *config, EmbError *err)
{
	uint32_t	n = emb_image_n_tensors(config);

	im->sources = emb_alloc_array(im->steps.mem, n, sizeof(*im->sources));
	if (im->sources == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the names of %u tensors", n);
	return emb_sources_find(&im->tensors, config, im->steps.mem, im->sources, err);
}

/* Rows a block: those of a panel, or what makes BLOCK_FLOATS. */
static int64_t
block_rows(const EmbImageTensor *t)
{
	if (t->form == EMB_FORM_PANELS_F32)
		return EMB_PANEL;
	return t->n_cols < BLOCK_FLOATS ? BLOCK_FLOATS / t->n_cols : 1;
}

/* A few thousand floats: one for each head and bucket. */
static EmbStatus
read_distances(Import *im, const EmbImageTensor *t, const EmbSource *source, EmbError *err)
{
	int64_t		n = (int64_t) EMB_DISTANCE_BUCKETS * t->n_rows;
	float	   *buckets = emb_alloc_array(im->steps.mem, n, sizeof(float));
	EmbStatus	status;

	if (buckets == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the biases of %u heads", t->n_rows);
	status = emb_tensors_read_f32(&im->tensors, source->first.tensor, 0, n, buckets, err);
	if (status == EMB_OK)
		emb_sources_spread_distances(buckets, (int32_t) t->n_rows, (float *) (im->exact + t->offset));
	emb_release(im->steps.mem, buckets);
	im->done_bytes += (int64_t) t->n_rows * t->n_cols * (int64_t) sizeof(float);
	return status;
}

/* Sines of 8,192 positions by 32 angles take 25 ms. */
static void
compute_rotation(Import *im, const EmbImageTensor *t)
{
	emb_rotary_fill(t->role == EMB_ROLE_ROTARY_LOCAL ? im->hf.rotary_local_base : im->hf.rotary_base, im->hf.rotary_scale,
					(int32_t) t->n_rows, (int32_t) t->n_cols, (float *) (im->exact + t->offset));
	im->done_bytes += (int64_t) t->n_rows * t->n_cols * (int64_t) sizeof(float);
}

static EmbStatus
read_rows(Import *im, const EmbImageTensor *t, const EmbSource *source, int64_t row, int64_t n, float *rows, EmbError *err)
{
	if (im->hf.is_static && t->role == EMB_ROLE_WORD_EMBEDDING)
		return emb_static_read(&im->tensors, &im->table, row, n, rows, err);
	return emb_source_read(&im->tensors, source, t, row, n, rows, err);
}

/* A tensor's rows into their place in the image. */
static EmbStatus
read_tensor(Import *im, const EmbImageTensor *t, const EmbSource *source, EmbError *err)
{
	int64_t		step = block_rows(t);
	float	   *to = (float *) (im->exact + t->offset);

	if (t->role == EMB_ROLE_DISTANCE_BIAS)
		return read_distances(im, t, source, err);
	if (emb_source_is_computed(t->role))
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
		status = read_rows(im, t, source, row, n, packed ? im->rows : to + row * t->n_cols, err);
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
	uint32_t	n_tensors = emb_image_n_tensors(im->exact_view.config);
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
		status = read_tensor(im, &im->exact_view.tensors[i], &im->sources[i], err);
	}
	if (status == EMB_OK)
		emb_import_progress(&im->steps, "read", total_bytes, total_bytes);
	return status;
}

/* Whether there is room is known before the work. */
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
	if ((status = resolve_sources(im, &parts.config, err)) != EMB_OK ||
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
	EmbStatus	status = im->hf.is_static ? EMB_OK : emb_calibrate(im->exact_model, options->calibration_texts, options->n_calibration_texts,
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
	EmbImagePrecision precision;
	EmbStatus	status;

	if ((status = choose_precision(options->precision, &precision, err)) != EMB_OK ||
		(status = check_calibration(options, err)) != EMB_OK)
		return status;
	im->parts.config.precision = precision;
	if ((status = emb_hf_read_config(path, im->steps.mem, im->steps.stop, &im->hf, err)) != EMB_OK ||
		(status = check_layers(im, options, err)) != EMB_OK ||
		(status = fill_config(im, path, options, err)) != EMB_OK ||
		(status = open_tensors(im, err)) != EMB_OK ||
		(status = import_tokenizer(im, err)) != EMB_OK)
		return status;
	return make_image(im, options, err);
}

EmbStatus
emb_import_dir(const char *path, const EmbImportOptions *options, const EmbAllocator *mem,
			   const EmbStop *stop, const EmbSink *sink, EmbError *err)
{
	static const EmbImportOptions defaults;
	Import		im = {.steps = {.mem = mem, .stop = stop, .sink = sink, .n_threads = options != NULL ? options->n_threads : 1},
		.path = path};
	EmbStatus	status = run_import(&im, path, options != NULL ? options : &defaults, err);

	emb_hf_config_free(&im.hf, mem);
	emb_static_close(&im.table, mem);
	emb_tensors_close(&im.tensors);
	emb_model_close(im.exact_model);
	emb_model_close(im.model);
	emb_release(mem, im.strings);
	emb_release(mem, im.tok_block);
	emb_release(mem, im.sources);
	emb_release(mem, im.rows);
	emb_release(mem, im.exact);
	emb_release(mem, im.image);
	return status;
}
