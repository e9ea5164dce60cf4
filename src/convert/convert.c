/*
 * convert.c
 *		Converts a checkpoint to an image.
 *
 * Everything that can be checked without reading weights is checked first:
 * architecture, tokenizer, and presence, shape and type of every tensor. Then
 * the image is written front to back while the weights are read: the front,
 * the word embeddings row by row, the other tensors of the whole model, layer
 * by layer, and the reference texts. Calibration texts pass each layer in fp32
 * and are measured for the quantizer; reference texts pass it in fp32 and as
 * the image has it. So one layer is in memory at a time, twice if the image is
 * quantized.
 */
#include "model/embed_core.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"
#include "formats/json.h"
#include "import/checkpoint.h"
#include "kernels/kernels.h"
#include "convert/answers.h"
#include "convert/calibration.h"
#include "convert/codes.h"
#include "convert/draft.h"
#include "convert/lm_head.h"
#include "convert/measured.h"
#include "convert/quantize.h"
#include "convert/references.h"
#include "convert/words.h"
#include "tokenizer/tokenizer.h"

/* Inputs that share a scale in int4. */
#define DEFAULT_GROUP	128

/* Steps of a layer, for progress. */
#define LAYER_STEPS		4

typedef struct Import
{
	EmbImportSteps steps;
	EmbCheckpoint checkpoint;
	int			n_notes_told;	/* of the checkpoint's */
	EmbImageParts parts;
	char	   *strings;		/* both prompts and the texts of a template, each followed by a zero byte */
	char	   *query_prompt;	/* with another instruction, or NULL */
	void	   *tok_block;
	EmbWeights	weights;
	EmbWriter	writer;
	EmbDraft	image;			/* the image */
	EmbDraft	exact;			/* of a quantized image: its fp32 tensors */
	EmbWords	words;
	EmbLmHead	lm_head;		/* of a learned sparse model */
	EmbCalibration calibration; /* of a quantized image with layers */
	EmbReferences references;
	bool		keeps_codes;	/* the image has the codes of the checkpoint */
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

static bool
is_quantized(const Import *im)
{
	return im->parts.config.precision != EMB_PRECISION_FP32;
}

/* -------------------------------------------------------------- options */

static EmbStatus
choose_precision(const char *precision, EmbImagePrecision *chosen, EmbError *err)
{
	static const struct
	{
		const char *name;
		EmbImagePrecision precision;
	}			known[] = {{"int8", EMB_PRECISION_INT8}, {"fp32", EMB_PRECISION_FP32}, {"int4", EMB_PRECISION_INT4}};

	*chosen = EMB_PRECISION_INT8;
	if (precision == NULL)
		return EMB_OK;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		*chosen = known[i].precision;
		if (strcmp(precision, known[i].name) == 0)
			return EMB_OK;
	}
	return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "precision \"%.*s\" is unknown; use \"int8\", \"int4\" or \"fp32\"",
					 emb_json_clip(precision, 80), precision);
}

static EmbStatus
choose_group(int32_t group, uint32_t *chosen, EmbError *err)
{
	*chosen = group == 0 ? DEFAULT_GROUP : group == EMB_GROUP_ROW ? EMB_IMAGE_GROUP_ROW : (uint32_t) group;
	if (group == 0 || group == EMB_GROUP_ROW || group == 32 || group == 64 || group == 128)
		return EMB_OK;
	return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "group %d is not 32, 64, 128 or %d (all inputs of a row)", group, EMB_GROUP_ROW);
}

/*
 * Attention has a third of an encoder's layers, and gains most from int8: on
 * bge-small-en Spearman to fp32 0.9966 instead of 0.9935. A score is one
 * number, in which no errors of many dimensions cancel. A reranker of 6 layers
 * of 384 with attention in int8: 0.9875; ffn_down, too: 0.9899; all of the
 * first and last layer, too: 0.9909; ffn_up, too: 0.9959 (every 18th pair). A
 * decoder is chosen in int4 for its size.
 */
static EmbKeepInt8
default_kept(const EmbArch *arch)
{
	return arch->is_causal ? EMB_KEEP_NONE : arch->head != EMB_HEAD_NONE ? EMB_KEEP_ALL_BUT_DOWN : EMB_KEEP_ATTENTION;
}

/* Of the layers' weights, what stays int8 by measured errors. */
static int32_t
default_percent(const EmbArch *arch)
{
	return arch->is_causal ? 10 : arch->head != EMB_HEAD_NONE ? 67 : 34;
}

static EmbStatus
check_percent(const EmbImportOptions *options, EmbKeepInt8 keep, EmbError *err)
{
	if (options->keep_percent < 0 || options->keep_percent > 99)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "keep_percent %d is outside 1..99", options->keep_percent);
	if (options->keep_percent > 0 && keep != EMB_KEEP_MEASURED)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the option keep_percent is for keep_int8 \"measured\" only");
	return EMB_OK;
}

static EmbStatus
choose_kept(const char *keep, const EmbArch *arch, uint32_t *chosen, EmbError *err)
{
	static const struct
	{
		const char *name;
		EmbKeepInt8 keep;
	}			known[] = {{"attention", EMB_KEEP_ATTENTION}, {"ends", EMB_KEEP_ENDS}, {"all_but_down", EMB_KEEP_ALL_BUT_DOWN},
	{"measured", EMB_KEEP_MEASURED}, {"none", EMB_KEEP_NONE}};

	*chosen = default_kept(arch);
	if (keep == NULL)
		return EMB_OK;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		*chosen = known[i].keep;
		if (strcmp(keep, known[i].name) == 0)
			return EMB_OK;
	}
	return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "keep_int8 \"%.*s\" is unknown; use \"attention\", \"ends\", \"all_but_down\", \"measured\" or \"none\"",
					 emb_json_clip(keep, 80), keep);
}

static void
note_codes(const Import *im, EmbCodesUse use)
{
	const EmbSink *sink = im->steps.sink;
	bool		is_i4 = im->parts.config.precision == EMB_PRECISION_INT4;

	if (sink->note == NULL)
		return;
	if (use == EMB_CODES_KEPT)
		sink->note(sink->ctx, "the model was quantized before; the image keeps its codes and scales",
				   is_i4 ? "Another group, or calibration texts, quantize its weights again." :
				   "The option group with -1, or calibration texts, quantize its weights again.");
	else if (is_i4)
		sink->note(sink->ctx, "the model was quantized before, in a way that an int4 image cannot have; its weights are quantized again",
				   "An int4 image keeps 4 bits in groups of 32 inputs or a multiple, of all linear layers, with one order for each input.");
	else
		sink->note(sink->ctx, "the model was quantized before, in a way that an int8 image cannot have; its weights are quantized again",
				   "An int8 image keeps symmetric 8 bits in groups of 32 inputs or a multiple, of all linear layers, with one order for each input.");
}

/* For int8 the option group means: not the codes of the checkpoint. */
static bool
wants_others(const Import *im, const EmbImportOptions *options, uint32_t group)
{
	const EmbImageConfig *config = &im->parts.config;

	return options->calibration_texts != NULL ||
		(options->group != 0 && (config->precision != EMB_PRECISION_INT4 || config->group != group)) ||
		(options->keep_int8 != NULL && config->keep_int8 != EMB_KEEP_NONE);
}

/*
 * Codes of a checkpoint that was quantized before stay, unless the caller asks
 * for another group, for int8 layers or for calibration.
 */
static EmbStatus
choose_codes(Import *im, const EmbImportOptions *options, EmbError *err)
{
	EmbImageConfig own = im->parts.config;
	EmbCodesUse use;
	EmbStatus	status;

	/* experts are stored as floats, whatever the other layers are */
	if (!is_quantized(im) || is_static(im) || im->parts.arch.n_experts > 0)
		return EMB_OK;
	status = emb_codes_choose(&im->weights, &own, &use, err);
	if (status != EMB_OK || use == EMB_CODES_NONE)
		return status;
	if (use == EMB_CODES_KEPT && wants_others(im, options, own.group))
		return EMB_OK;
	note_codes(im, use);
	if (use == EMB_CODES_KEPT)
	{
		im->parts.config = own;
		im->keeps_codes = true;
	}
	return EMB_OK;
}

/* What only int4 has, but the group of a row, which int8 has without being told. */
static EmbStatus
check_no_int4(const EmbImportOptions *options, EmbImagePrecision precision, EmbError *err)
{
	if (options->keep_int8 == NULL && options->keep_percent == 0 && (options->group == 0 || (options->group == EMB_GROUP_ROW && precision == EMB_PRECISION_INT8)))
		return EMB_OK;
	return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the options group, keep_int8 and keep_percent are for precision \"int4\" only (group %d for \"int8\", too)",
					 EMB_GROUP_ROW);
}

/* How weights become codes. */
static EmbStatus
choose_form(Import *im, const EmbImportOptions *options, EmbError *err)
{
	EmbImageConfig *config = &im->parts.config;
	EmbStatus	status;

	if (config->precision != EMB_PRECISION_INT4)
		return check_no_int4(options, config->precision, err);
	if (is_static(im))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "the model has no layers, and precision \"int4\" quantizes layers only");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Use \"int8\" or \"fp32\".");
	}
	config->scale_type = EMB_SCALE_F16;
	status = choose_group(options->group, &config->group, err);
	if (status == EMB_OK)
		status = choose_kept(options->keep_int8, &im->parts.arch, &config->keep_int8, err);
	return status == EMB_OK ? check_percent(options, config->keep_int8, err) : status;
}

static EmbStatus
check_calibration(const EmbImportOptions *options, EmbError *err)
{
	if (options->calibration_texts != NULL && options->n_calibration_texts < 1)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "there are no calibration texts");
	return EMB_OK;
}

/* Reports the assumptions that were not reported yet. */
static void
forward_notes(Import *im)
{
	const EmbSink *sink = im->steps.sink;

	for (; im->n_notes_told < im->checkpoint.n_notes; im->n_notes_told++)
	{
		const EmbNote *note = &im->checkpoint.notes[im->n_notes_told];

		if (sink->note != NULL)
			sink->note(sink->ctx, note->message, note->hint);
	}
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

/* The query prompt with another instruction in the place of its own. */
static EmbStatus
put_instruction(Import *im, const char *instruction, const char **query, EmbError *err)
{
	EmbPromptInstruction own;
	size_t		bytes = strlen(instruction);
	size_t		n = strlen(*query);

	if (!emb_prompt_find_instruction(*query, &own))
	{
		emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model takes no instruction");
		return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT, "An embedding model takes one if its query prompt is \"Instruct: ..\\nQuery:\"; "
							  "the option query_prompt sets any prompt.");
	}
	if (bytes > EMB_IMAGE_MAX_PROMPT_BYTES || n - own.bytes > EMB_IMAGE_MAX_PROMPT_BYTES - bytes)
		return emb_error(err, EMB_ERR_LIMIT, "the instruction has %zu bytes; a query prompt may have %d", bytes, EMB_IMAGE_MAX_PROMPT_BYTES);
	im->query_prompt = emb_alloc(im->steps.mem, n - own.bytes + bytes + 1);
	if (im->query_prompt == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's prompts");
	memcpy(im->query_prompt, *query, own.begin);
	memcpy(im->query_prompt + own.begin, instruction, bytes);
	strcpy(im->query_prompt + own.begin + bytes, *query + own.begin + own.bytes);
	*query = im->query_prompt;
	return EMB_OK;
}

static EmbStatus
choose_instruction(Import *im, const char *instruction, const char **query, EmbError *err)
{
	if (instruction == NULL)
		return EMB_OK;
	if (im->parts.arch.head == EMB_HEAD_ANSWER)
		return emb_answers_set_instruction(&im->checkpoint.pair_template, instruction, err);
	if (is_reranker(im))
	{
		emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model takes no instruction");
		return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT, "Rerankers that take one are decoders, such as Qwen3-Reranker.");
	}
	return put_instruction(im, instruction, query, err);
}

/* Both prompts, and the texts of a template, end to end. */
static EmbStatus
lay_out_strings(Import *im, const char *query, const char *document, EmbError *err)
{
	const char *texts[2 + EMB_TEMPLATE_TEXTS] = {query, document};
	int			n = 2;
	size_t		at = 0;

	if (im->parts.arch.head == EMB_HEAD_ANSWER)
	{
		memcpy(texts + 2, im->checkpoint.pair_template.texts, sizeof(im->checkpoint.pair_template.texts));
		n += EMB_TEMPLATE_TEXTS;
		emb_answers_describe(&im->checkpoint.pair_template, &im->parts.config);
	}
	for (int i = 0; i < n; i++)
		im->parts.strings_bytes += strlen(texts[i]) + 1;
	im->strings = emb_alloc(im->steps.mem, im->parts.strings_bytes);
	if (im->strings == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's prompts");
	for (int i = 0; i < n; i++)
	{
		strcpy(im->strings + at, texts[i]);
		at += strlen(texts[i]) + 1;
	}
	im->parts.config.query_prompt_bytes = (uint32_t) strlen(query);
	im->parts.config.document_prompt = (uint32_t) strlen(query) + 1;
	im->parts.config.document_prompt_bytes = (uint32_t) strlen(document);
	im->parts.strings = im->strings;
	return EMB_OK;
}

/* ColBERT's markers are the beginning of its prompts. */
static void
note_marker(Import *im, const char *option, const char *own, const char *what)
{
	if (im->parts.arch.multi_kind != EMB_MULTI_COLBERT || option == NULL || own[0] == '\0' || strncmp(option, own, strlen(own)) == 0)
		return;
	emb_note(&im->checkpoint, "Begin the option's text with it if the model is to see it.",
			 "the option %s_prompt replaces \"%s\", which the model was trained with", what, own);
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
	note_marker(im, options->query_prompt, im->checkpoint.query_prompt, "query");
	note_marker(im, options->document_prompt, im->checkpoint.document_prompt, "document");
	status = choose_prompt(options->query_prompt, im->checkpoint.query_prompt, "query", &query, err);
	if (status == EMB_OK)
		status = choose_prompt(options->document_prompt, im->checkpoint.document_prompt, "document", &document, err);
	if (status == EMB_OK)
		status = choose_instruction(im, options->instruction, &query, err);
	if (status != EMB_OK)
		return status;
	im->parts.config.excludes_prompt = !im->checkpoint.pools_prompt && (query[0] != '\0' || document[0] != '\0');
	return lay_out_strings(im, query, document, err);
}

/*
 * The caller's, else the checkpoint's. A cut to the model's own dimensions is no cut for a normalized vector: the
 * image is the same as without the option.
 */
static EmbStatus
choose_dimensions(Import *im, int32_t dimensions, EmbError *err)
{
	const EmbArch *arch = &im->parts.arch;
	int32_t		width = emb_arch_width(arch);

	if (dimensions != 0 && is_reranker(im))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker, which returns no vectors to cut to %d dimensions", dimensions);
	if (dimensions != 0 && arch->lacks_vector)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model returns no vector of a text that could be cut to %d dimensions", dimensions);
	if (dimensions < 0 || dimensions > width)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "dimensions %d is outside 1..%d, the model's", dimensions, width);
	if (dimensions == 0 && im->checkpoint.dimensions > 0 && im->checkpoint.dimensions < width)
	{
		dimensions = im->checkpoint.dimensions;
		emb_note(&im->checkpoint, "The option dimensions sets another number.",
				 "vectors are cut to %d of %d dimensions, the \"truncate_dim\" of config_sentence_transformers.json", dimensions, width);
	}
	im->parts.config.dimensions = dimensions == width && arch->normalize ? 0 : (uint32_t) dimensions;
	return EMB_OK;
}

/* The layer norm before a cut: the caller's choice, or that of the model's card. */
static EmbStatus
choose_center(Import *im, const EmbImportOptions *options, EmbError *err)
{
	if (options->sets_layer_norm && is_reranker(im))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker, which returns no vectors that a layer norm could change");
	if (options->sets_layer_norm && im->parts.arch.lacks_vector)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model returns no vector of a text that a layer norm could change");
	im->parts.arch.centers_cut = options->sets_layer_norm ? options->layer_norm : im->checkpoint.centers_cut;
	if (!options->sets_layer_norm && im->checkpoint.centers_cut)
		emb_note(&im->checkpoint, "The option layer_norm switches it off.",
				 "vectors that are cut to fewer dimensions get a layer norm before, as the model card of nomic-embed-text-v1.5 computes them");
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

	/* the table of angles of a decoder, 21 MB for all of Qwen3's positions, ends where texts do */
	if (c->arch.norm_kind == EMB_NORM_RMS && c->arch.positions == EMB_POSITIONS_ROTARY)
		im->parts.arch.n_positions = (int32_t) emb_image_sequence_tokens(&c->arch, config);
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
	im->weights = (EmbWeights) {.checkpoint = &im->checkpoint, .arch = &im->parts.arch, .steps = &im->steps};
	if ((status = check_layers(im, options, err)) != EMB_OK ||
		(status = choose_form(im, options, err)) != EMB_OK ||
		(status = choose_prompts(im, options, err)) != EMB_OK ||
		(status = choose_length(im, options->max_tokens, err)) != EMB_OK ||
		(status = choose_center(im, options, err)) != EMB_OK ||
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
	bool		is_query = im->parts.arch.query_tokens > 0 && strcmp(what, "query") == 0;	/* of ColBERT's kind: with a length of its own */
	int64_t		n_tokens;
	EmbStatus	status = emb_tok_count(tok, prompt, strlen(prompt), im->steps.stop, &n_tokens, err);

	if (status == EMB_ERR_TEXT)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the %s prompt is not UTF-8", what);
	if (status == EMB_OK && is_query && n_tokens >= im->parts.arch.query_tokens)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the length of queries, %d tokens, leaves no room after the %lld tokens of the query prompt",
						 im->parts.arch.query_tokens, (long long) n_tokens);
	if (status == EMB_OK && !is_query && n_tokens >= im->parts.config.max_tokens)
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

/* Answers, room and seam of a decoder that reranks. */
static EmbStatus
check_template(Import *im, const EmbTokenizer *tok, EmbError *err)
{
	EmbPairTemplate *pair = &im->checkpoint.pair_template;
	EmbStatus	status = emb_answers_check_room(tok, pair, (int32_t) im->parts.config.max_tokens, im->steps.stop, err);

	if (status == EMB_OK)
		status = emb_answers_check_marks(tok, &im->checkpoint, im->steps.stop, err);
	if (status == EMB_OK)
		status = emb_answers_look_up(tok, &im->checkpoint, im->steps.stop, err);
	if (status == EMB_OK)
		status = emb_answers_find_seam(tok, pair, im->steps.mem, im->steps.stop, err);
	emb_answers_describe(pair, &im->parts.config);
	return status;
}

static EmbStatus
check_tokenizer(Import *im, EmbError *err)
{
	const EmbArch *arch = &im->parts.arch;
	bool		has_template = arch->head == EMB_HEAD_ANSWER;
	bool		is_pair = is_reranker(im) && !has_template;
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
	if (status == EMB_OK && has_template)
		status = check_template(im, tok, err);
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

/* --------------------------------------------------------------- writing */

/* Whether the quantizer needs calibration. */
static bool
is_calibrated(const Import *im)
{
	return is_quantized(im) && !is_static(im) && (!im->keeps_codes || emb_codes_are_smoothed(&im->parts.config));
}

/* The draft whose weights are those of the checkpoint. */
static EmbDraft *
exact_draft(Import *im)
{
	return is_quantized(im) ? &im->exact : &im->image;
}

/* Fills in which linear layers stay int8, if errors decide. */
static EmbStatus
choose_measured(Import *im, const EmbImportOptions *options, EmbError *err)
{
	EmbMeasuring m = {
		.parts = &im->parts,
		.weights = &im->weights,
		.texts = options->calibration_texts,
		.n_texts = options->n_calibration_texts,
		.percent = options->keep_percent > 0 ? options->keep_percent : default_percent(&im->parts.arch)
	};

	if (im->parts.config.keep_int8 != EMB_KEEP_MEASURED)
		return EMB_OK;
	return emb_measured_choose(&m, &im->steps, im->parts.config.kept, err);
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
begin_drafts(Import *im, EmbError *err)
{
	const EmbAllocator *mem = im->steps.mem;
	EmbStatus	status = emb_draft_begin(&im->image, &im->parts, mem, err);

	/* the front has a copy */
	emb_release(mem, im->tok_block);
	im->tok_block = NULL;
	if (status == EMB_OK && is_quantized(im))
		status = emb_draft_begin_exact(&im->exact, &im->image, mem, err);
	return status;
}

/* Reads calibration and reference texts, and notes their words. */
static EmbStatus
read_texts(Import *im, const EmbImportOptions *options, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	if (is_calibrated(im))
		status = emb_calibration_begin(&im->calibration, im->image.model, options->calibration_texts, options->n_calibration_texts,
									   im->parts.config.precision == EMB_PRECISION_INT4 && !im->keeps_codes, &im->steps, err);
	if (status == EMB_OK)
		status = emb_references_begin(&im->references, im->image.model, !is_quantized(im), im->parts.reference_bytes, &im->steps, err);
	if (status == EMB_OK)
		status = emb_words_begin(&im->words, &im->parts.arch, im->steps.mem, err);
	if (status != EMB_OK)
		return status;
	emb_words_keep(&im->words, &im->calibration.texts);
	emb_words_keep(&im->words, &im->references.exact);
	return EMB_OK;
}

/* Writes the tensors of the whole model; then texts have hidden states. */
static EmbStatus
write_tables(Import *im, EmbError *err)
{
	EmbDraft   *exact = exact_draft(im);
	EmbReferences *refs = &im->references;
	EmbStatus	status;

	if ((status = emb_words_write(&im->words, &im->weights, &im->writer, &exact->view, &im->image.view, err)) != EMB_OK ||
		(status = emb_lm_head_begin(&im->lm_head, &im->parts.arch, is_quantized(im), &im->steps, err)) != EMB_OK ||
		(status = emb_lm_head_write(&im->lm_head, &im->weights, &im->writer, &exact->view, &im->image.view, err)) != EMB_OK ||
		(status = emb_draft_read_tables(exact, &im->weights, err)) != EMB_OK)
		return status;
	if (is_quantized(im) && (status = emb_draft_share_tables(&im->image, exact, err)) != EMB_OK)
		return status;
	emb_words_map(&im->words, &im->calibration.texts);
	emb_words_map(&im->words, &refs->exact);
	emb_words_map(&im->words, &refs->own);
	if ((status = emb_draft_write(&im->image, EMB_NO_LAYER, &im->writer, err)) != EMB_OK ||
		(status = emb_stream_embed(&refs->exact, exact->model, &im->steps, refs->exact_out, err)) != EMB_OK ||
		(status = emb_stream_embed(&refs->own, im->image.model, &im->steps, refs->own_out, err)) != EMB_OK)
		return status;
	return is_calibrated(im) ? emb_calibration_embed(&im->calibration, exact->model, &im->steps, err) : EMB_OK;
}

/* Progress of layer i after so many of its steps. */
static void
show_layer(const Import *im, int32_t i, int step)
{
	emb_import_progress(&im->steps, "layers", (int64_t) LAYER_STEPS * i + step, (int64_t) LAYER_STEPS * im->parts.arch.n_layers);
}

/* From the fp32 layer in the exact draft to the image's. */
static EmbStatus
quantize_layer(Import *im, int32_t i, EmbError *err)
{
	EmbStatus	status = is_calibrated(im) ? emb_calibration_run(&im->calibration, im->exact.model, i, &im->steps, err) : EMB_OK;

	show_layer(im, i, 2);
	if (status == EMB_OK)
		status = emb_draft_begin_layer(&im->image, i, im->steps.stop, err);
	if (status == EMB_OK && im->keeps_codes)
		status = emb_codes_fill_layer(&im->weights, im->exact.model, i, &im->calibration, &im->image.view, err);
	else if (status == EMB_OK)
		status = emb_quantize_layer(im->exact.model, i, &im->calibration, &im->steps, &im->image.view, NULL, err);
	show_layer(im, i, 3);
	return status;
}

static EmbStatus
write_layer(Import *im, int32_t i, EmbError *err)
{
	EmbDraft   *exact = exact_draft(im);
	EmbReferences *refs = &im->references;
	EmbStatus	status;

	show_layer(im, i, 0);
	if ((status = emb_draft_read_layer(exact, i, &im->weights, err)) != EMB_OK)
		return status;
	show_layer(im, i, 1);
	if ((status = emb_stream_run(&refs->exact, exact->model, i, NULL, NULL, &im->steps, refs->exact_out, err)) != EMB_OK)
		return status;
	if (is_quantized(im) && ((status = quantize_layer(im, i, err)) != EMB_OK ||
		(status = emb_stream_run(&refs->own, im->image.model, i, NULL, NULL, &im->steps, refs->own_out, err)) != EMB_OK))
		return status;
	return emb_draft_write(&im->image, i, &im->writer, err);
}

static EmbStatus
write_references(Import *im, EmbError *err)
{
	EmbReferences *refs = &im->references;
	int64_t		n = refs->section->n_references;
	uint64_t	size = im->image.view.size_bytes;
	EmbStatus	status;

	emb_import_progress(&im->steps, "verify", 0, n);
	if ((status = emb_references_end(refs, exact_draft(im)->model, im->image.model, &im->lm_head, &im->weights,
									 &exact_draft(im)->view, &im->steps, err)) != EMB_OK)
		return status;
	emb_import_progress(&im->steps, "verify", n, n);
	if ((status = emb_writer_pad(&im->writer, emb_image_section(&im->image.view, EMB_SECTION_REFERENCES)->offset, err)) != EMB_OK ||
		(status = emb_writer_put(&im->writer, refs->section, refs->section_bytes, err)) != EMB_OK ||
		(status = emb_writer_pad(&im->writer, size, err)) != EMB_OK)
		return status;
	emb_import_progress(&im->steps, "write", (int64_t) im->writer.at, (int64_t) size);
	return EMB_OK;
}

static EmbStatus
write_image(Import *im, const EmbImportOptions *options, EmbError *err)
{
	EmbStatus	status;

	im->writer.steps = &im->steps;
	if ((status = emb_weights_check(&im->weights, err)) != EMB_OK ||
		(status = choose_codes(im, options, err)) != EMB_OK ||
		(status = choose_measured(im, options, err)) != EMB_OK ||
		(status = announce_size(im, err)) != EMB_OK ||
		(status = begin_drafts(im, err)) != EMB_OK ||
		(status = read_texts(im, options, err)) != EMB_OK ||
		(status = emb_writer_put(&im->writer, im->image.head, im->image.head_bytes, err)) != EMB_OK ||
		(status = write_tables(im, err)) != EMB_OK)
		return status;
	for (int32_t i = 0; status == EMB_OK && i < im->parts.arch.n_layers; i++)
		status = write_layer(im, i, err);
	return status == EMB_OK ? write_references(im, err) : status;
}

static EmbStatus
run_import(Import *im, const char *path, const EmbImportOptions *options, EmbError *err)
{
	const EmbCheckpointOptions known = {
		.name = options->name,
		.has_query_prompt = options->query_prompt != NULL,
		.has_document_prompt = options->document_prompt != NULL,
		.kind = options->kind,
		.template = options->template,
		.label = options->label,
		.pooling = options->pooling,
		.sets_normalize = options->sets_normalize,
		.normalize = options->normalize,
	};
	EmbImagePrecision precision;
	EmbStatus	status;

	if ((status = choose_precision(options->precision, &precision, err)) != EMB_OK ||
		(status = check_calibration(options, err)) != EMB_OK)
		return status;
	im->parts.config.precision = precision;
	if ((status = emb_checkpoint_open(path, &known, im->steps.mem, im->steps.stop, &im->checkpoint, err)) != EMB_OK)
		return status;
	forward_notes(im);
	if ((status = fill_parts(im, options, err)) != EMB_OK)
		return status;
	forward_notes(im);
	if ((status = build_tokenizer(im, err)) != EMB_OK)
		return status;
	return write_image(im, options, err);
}

EmbStatus
emb_import_dir(const char *path, const EmbImportOptions *options, const EmbAllocator *mem,
			   const EmbStop *stop, const EmbSink *sink, EmbError *err)
{
	static const EmbImportOptions defaults;
	Import		im = {.steps = {.mem = mem, .stop = stop, .sink = sink, .n_threads = options != NULL ? options->n_threads : 1}};
	EmbStatus	status = run_import(&im, path, options != NULL ? options : &defaults, err);

	emb_checkpoint_close(&im.checkpoint);
	emb_draft_free(&im.exact);
	emb_draft_free(&im.image);
	emb_words_free(&im.words);
	emb_lm_head_free(&im.lm_head);
	emb_calibration_free(&im.calibration);
	emb_references_free(&im.references);
	emb_weights_free(&im.weights);
	emb_release(mem, im.strings);
	emb_release(mem, im.query_prompt);
	emb_release(mem, im.tok_block);
	return status;
}
