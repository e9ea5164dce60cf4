/*
 * hf_checkpoint.c
 *		A model directory of the Hugging Face hub as a checkpoint.
 */
#include "import/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "import/hf_config.h"
#include "import/hf_prompts.h"
#include "import/hf_tensors.h"
#include "import/hf_tokenizer.h"

/* ---------------------------------------------------------------- tensors */

static EmbStatus
check(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbError *err)
{
	return emb_hf_tensors_check(c->source_data, &c->arch, c->answer_ids, key, n_rows, n_cols, err);
}

static EmbStatus
read_rows(const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	return emb_hf_tensors_read(c->source_data, &c->arch, c->answer_ids, key, row, n, n_cols, rows, err);
}

static void
close_tensors(EmbCheckpoint *c)
{
	emb_hf_tensors_close(c->source_data);
	emb_release(c->mem, c->source_data);
}

static EmbStatus
describe_codes(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbCodes *codes, EmbError *err)
{
	return emb_hf_tensors_codes(c->source_data, key, n_rows, n_cols, codes, err);
}

static EmbStatus
read_order(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_cols, uint16_t *order, EmbError *err)
{
	return emb_hf_tensors_read_order(c->source_data, key, n_cols, order, err);
}

static EmbStatus
read_codes(const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
		   uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err)
{
	return emb_hf_tensors_read_codes(c->source_data, key, row, n, n_cols, codes, scales, zeros, err);
}

static const EmbCheckpointSource source = {
	.check = check,
	.read = read_rows,
	.close = close_tensors,
	.codes = describe_codes,
	.read_order = read_order,
	.read_codes = read_codes,
};

/* bitsandbytes' values fit no form of an image. */
static void
note_bitsandbytes(EmbCheckpoint *c)
{
	emb_note(c, "The model from which it was quantized loses less.",
			 "bitsandbytes quantized the model's weights; they are read as floats, which precisions int8 and int4 quantize anew");
}

static EmbStatus
open_tensors(EmbCheckpoint *c, const char *dir, const EmbHfConfig *config, EmbError *err)
{
	EmbHfTensors *tensors = emb_alloc(c->mem, sizeof(*tensors));
	EmbStatus	status;

	if (tensors == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's weights");
	status = emb_hf_tensors_open(tensors, dir, config, c->mem, &c->arch, err);
	if (status != EMB_OK)
	{
		emb_release(c->mem, tensors);
		return status;
	}
	c->source = &source;
	c->source_data = tensors;
	if (emb_quant_is_bitsandbytes(&tensors->quant))
		note_bitsandbytes(c);
	if (c->arch.n_layers > 0 && emb_hf_tensors_has_layer(tensors, c->arch.n_layers))
		emb_note(c, "If the model was not cut on purpose, download its config.json again.",
				 "the weights hold more layers than the %d of config.json, which are not used", c->arch.n_layers);
	return EMB_OK;
}

/* -------------------------------------------------------------- tokenizer */

static int
compare_lengths(const void *a, const void *b)
{
	int32_t		x = *(const int32_t *) a;
	int32_t		y = *(const int32_t *) b;

	return (x > y) - (x < y);
}

/*
 * Length of the median token in characters, like numpy's median cut to an
 * integer; added tokens count once each.
 */
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
			lengths[n] += !emb_utf8_is_inside((uint8_t) piece->text[k]);
		n++;
	}
	if (n == 0)
		return 1;
	qsort(lengths, n, sizeof(int32_t), compare_lengths);
	n = n % 2 == 1 ? lengths[n / 2] : (lengths[n / 2 - 1] + lengths[n / 2]) / 2;
	return n > 0 ? n : 1;
}

/*
 * Texts of a static model have no special tokens; sets which token is dropped
 * and where texts are cut.
 */
static EmbStatus
make_static(EmbCheckpoint *c, const EmbHfConfig *config, EmbError *err)
{
	EmbTokSpec *spec = &c->tokenizer;
	int32_t    *lengths;

	spec->single = (EmbTokTemplate) {.n_slots = 1, .slots[0] = {.kind = EMB_TOK_SLOT_A}};
	spec->pair.n_slots = 0;
	c->dropped_id = config->drops_unknown ? spec->unk_id : -1;
	if (!config->cuts_chars)
		return EMB_OK;
	lengths = emb_alloc_array(c->mem, (size_t) spec->n_vocab + spec->n_added + 1, sizeof(int32_t));
	if (lengths == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the lengths of %d tokens", spec->n_vocab);
	c->token_chars = median_token(spec, lengths);
	emb_release(c->mem, lengths);
	return EMB_OK;
}

/* An encoder reads special tokens around a text; without them an empty text is none. */
static EmbStatus
check_template(const EmbCheckpoint *c, const EmbHfConfig *config, EmbError *err)
{
	for (int i = 0; i < c->tokenizer.single.n_slots; i++)
	{
		if (c->tokenizer.single.slots[i].kind == EMB_TOK_SLOT_SPECIAL)
			return EMB_OK;
	}
	if (config->family->is_decoder)
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "the tokenizer adds no special tokens to a text (\"post_processor\" of tokenizer.json), which is not supported");
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Encoders are trained with them: take the tokenizer.json that was published with the model, or name its class, "
						  "such as BertTokenizer, as \"tokenizer_class\" in tokenizer_config.json.");
}

static EmbStatus
read_tokenizer(EmbCheckpoint *c, const EmbHfConfig *config, const EmbStop *stop, EmbError *err)
{
	const char *dir = config->transformer_dir;
	/* model2vec and StaticEmbedding read tokenizer.json themselves */
	EmbStatus	status = c->arch.n_layers == 0 ? emb_import_tokenizer(dir, c->mem, stop, &c->tokenizer, err)
		: emb_import_auto_tokenizer(dir, c->mem, stop, c, &c->tokenizer, err);

	if (status != EMB_OK)
	{
		c->tokenizer = (EmbTokSpec) {0};
		return status;
	}

	/*
	 * sentence-transformers calls Python's lower() on the whole text. We
	 * lowercase in the normalizer instead. The results differ only for a Greek
	 * final sigma, and "[MASK]" stays. Uncased tokenizers lowercase anyway.
	 */
	if (config->lowercase_text)
		c->tokenizer.lowercase = true;
	/* the template of a decoder has its special tokens in its texts */
	if (c->arch.head == EMB_HEAD_ANSWER)
	{
		c->tokenizer.single = (EmbTokTemplate) {.n_slots = 1, .slots[0] = {.kind = EMB_TOK_SLOT_A}};
		c->tokenizer.pair.n_slots = 0;
	}
	return c->arch.n_layers == 0 ? make_static(c, config, err) : check_template(c, config, err);
}

/* ----------------------------------------------------------------- sparse */

/* Reports that the name of a model says that it is a learned sparse one. */
static void
note_sparse(EmbCheckpoint *c, const EmbHfConfig *config)
{
	EmbNote    *note = &c->notes[c->n_notes++];

	snprintf(note->message, sizeof(note->message), "the model is a learned sparse model by the name of %s: a weight is %s of the largest logit",
			 config->kind_found_in, c->arch.sparse_logs == 1 ? "log(1 + relu)" : "log(1 + log(1 + relu))");
	snprintf(note->hint, sizeof(note->hint), "modules.json would say so; the option kind sets \"sparse\" or \"embedding\".");
}

static EmbStatus
read_sparse(EmbCheckpoint *c, const char *dir, const EmbHfConfig *config, EmbError *err)
{
	if (!config->is_sparse)
		return EMB_OK;
	if (config->kind_found_in != NULL)
		note_sparse(c, config);
	return emb_hf_sparse_read_tables(dir, config, &c->tokenizer, c->mem, &((EmbHfTensors *) c->source_data)->sparse, err);
}

/* -------------------------------------------------------------- template */

/* Reports whose template a reranker got, and what it was taken for. */
static void
note_template(EmbCheckpoint *c, const EmbAnswerTemplate *template, const EmbHfConfig *config)
{
	static const char hint[] = "The option template sets another one; the option kind says what the model is.";

	if (config->kind_found_in != NULL)
		emb_note(c, hint, "the model is a reranker by the name of %s; it gets the template of %s", config->kind_found_in, template->model);
	else
		emb_note(c, hint, "the model's files name no template for pairs; it gets the template of %s", template->model);
}

/*
 * The template of a decoder that reranks: the caller's, or the known one of
 * its family. The answers are the module's, or words to look up, or the one
 * row of a classifier.
 */
static EmbStatus
choose_template(EmbCheckpoint *c, const char *dir, EmbHfConfig *config, const EmbCheckpointOptions *options, EmbError *err)
{
	EmbAnswerTemplate template = emb_template_built_in(config->family->template);
	bool		has_classifier = c->arch.n_labels == 1 && config->answer_ids[0] < 0;
	EmbStatus	status = EMB_OK;

	c->answer_ids[0] = config->answer_ids[0];
	c->answer_ids[1] = config->answer_ids[1];
	if (c->arch.head != EMB_HEAD_ANSWER)
		return options->template == NULL ? EMB_OK
			: emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is no decoder that reranks, which alone takes a template");
	if (options->template != NULL)
		status = emb_template_parse(options->template, c->mem, &template, err);
	if (status != EMB_OK)
		return status;
	c->template_storage = template.storage;
	c->pair_template = template.pair;
	if (c->answer_ids[0] < 0 && !has_classifier)
	{
		c->answers[0] = template.answers[0];
		c->answers[1] = template.answers[1];
	}
	if (config->instruction != NULL && template.pair.takes_instruction)
	{
		c->instruction = config->instruction;
		config->instruction = NULL;
		c->pair_template.texts[EMB_TEMPLATE_INSTRUCTION] = c->instruction;
	}
	if (template.model != NULL && (emb_hf_find_word(config, dir, options->name, template.known_as) == NULL || has_classifier))
		note_template(c, &template, config);
	return EMB_OK;
}

/* Reports the pooling that no file names. */
static void
note_pooling(EmbCheckpoint *c)
{
	static const char *const names[] = {
		[EMB_POOL_CLS] = "first row", [EMB_POOL_MEAN] = "mean of all rows", [EMB_POOL_MAX] = "maximum of all rows",
		[EMB_POOL_MEAN_SQRT_LEN] = "sum of all rows divided by the root of their number", [EMB_POOL_LAST] = "last row",
		[EMB_POOL_WEIGHTED_MEAN] = "mean of all rows weighted by position"
	};
	char		what[300] = "";
	size_t		at = 0;

	for (int i = 0; i < emb_arch_n_poolings(&c->arch); i++)
		at += (size_t) snprintf(what + at, sizeof(what) - at, "%s%s", i > 0 ? ", the " : "", names[emb_arch_pooling(&c->arch, i)]);
	emb_note(c, "Download modules.json and 1_Pooling/config.json too, or set the options pooling and normalize.",
			 "the model has no modules.json, which names its pooling; it takes the %s, %s", what,
			 c->arch.normalize ? "normalized" : "not normalized");
}

/* ---------------------------------------------------------------- prompts */

static void
note_prompts(EmbCheckpoint *c, const EmbKnownPrompts *known, bool query, bool document)
{
	emb_note(c, "The options query_prompt and document_prompt set others; \"\" is none.",
			 "the model's files name no prompts; it gets the prompts of %s (the name of %s):%s%s%s%s%s%s%s",
			 known->name, known->found_in, query ? " \"" : "", query ? known->query : "", query ? "\" before queries" : "",
			 query && document ? "," : "", document ? " \"" : "", document ? known->document : "", document ? "\" before documents" : "");
}

static EmbStatus
replace_prompt(EmbCheckpoint *c, char **prompt, const char *text, EmbError *err)
{
	char	   *copy = emb_alloc(c->mem, strlen(text) + 1);

	if (copy == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's prompts");
	emb_release(c->mem, *prompt);
	*prompt = strcpy(copy, text);
	return EMB_OK;
}

/*
 * Falls back to the known prompts of a family when neither options nor files
 * set any.
 */
static EmbStatus
use_known_prompts(EmbCheckpoint *c, const char *dir, const EmbHfConfig *config, const EmbCheckpointOptions *options, EmbError *err)
{
	EmbKnownPrompts known;
	bool		wants_query;
	bool		wants_document;
	EmbStatus	status = EMB_OK;

	if (c->arch.head != EMB_HEAD_NONE || !emb_hf_find_prompts(config, dir, options->name, &known))
		return EMB_OK;
	c->centers_cut = known.centers_cut;
	if (config->has_prompts)
		return EMB_OK;
	wants_query = !options->has_query_prompt && known.query[0] != '\0';
	wants_document = !options->has_document_prompt && known.document[0] != '\0';
	if (wants_query)
		status = replace_prompt(c, &c->query_prompt, known.query, err);
	if (status == EMB_OK && wants_document)
		status = replace_prompt(c, &c->document_prompt, known.document, err);
	if (status == EMB_OK && (wants_query || wants_document))
		note_prompts(c, &known, wants_query, wants_document);
	return status;
}

/* -------------------------------------------------------------- directory */

/* Moves the configuration's prompts into the checkpoint. */
static EmbStatus
open_parts(EmbCheckpoint *c, const char *dir, EmbHfConfig *config, const EmbCheckpointOptions *options,
		   const EmbStop *stop, EmbError *err)
{
	EmbStatus	status;

	c->arch = config->arch;
	c->max_tokens = config->max_tokens;
	c->dimensions = config->truncate_dim;
	c->pools_prompt = config->pool_prompt;
	c->query_prompt = config->query_prompt;
	c->document_prompt = config->document_prompt;
	config->query_prompt = config->document_prompt = NULL;
	if (config->assumes_pooling)
		note_pooling(c);
	if ((status = use_known_prompts(c, dir, config, options, err)) != EMB_OK ||
		(status = choose_template(c, dir, config, options, err)) != EMB_OK ||
		(status = open_tensors(c, dir, config, err)) != EMB_OK)
		return status;
	status = read_tokenizer(c, config, stop, err);
	if (status == EMB_OK)
		status = read_sparse(c, dir, config, err);
	return status == EMB_OK ? emb_hf_multi_read_tables(c, dir, config, &((EmbHfTensors *) c->source_data)->set,
													   &((EmbHfTensors *) c->source_data)->multi, err) : status;
}

EmbStatus
emb_checkpoint_open_dir(const char *dir, const EmbCheckpointOptions *options, const EmbAllocator *mem, const EmbStop *stop,
						EmbCheckpoint *c, EmbError *err)
{
	EmbHfConfig config;
	EmbStatus	status;

	*c = (EmbCheckpoint) {.mem = mem, .dropped_id = -1, .answer_ids = {-1, -1}};
	status = emb_hf_read_config(dir, options, mem, stop, c, &config, err);
	if (status != EMB_OK)
	{
		*c = (EmbCheckpoint) {0};
		return status;
	}
	status = open_parts(c, dir, &config, options, stop, err);
	emb_hf_config_free(&config, mem);
	if (status != EMB_OK)
		emb_checkpoint_close(c);
	return status;
}
