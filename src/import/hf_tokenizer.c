/*
 * hf_tokenizer.c
 *		tokenizer.json, the file format of Hugging Face's tokenizers library.
 *
 * Accepts only the components of BERT models (here), SentencePiece's unigram
 * models (hf_unigram.c) and BPE (hf_bpe.c). Any other component is
 * refused by name, because a guess would produce other ids.
 */
#include "import/hf_tokenizer.h"

#include <string.h>

#include "formats/file.h"

static EmbStatus
read_normalizer(const EmbJson *doc, EmbTokSpec *spec, EmbError *err)
{
	const json_t *obj;
	const char *type;
	EmbStatus	status = emb_tok_get_component(doc, "normalizer", "BertNormalizer", &obj, &type, err);

	if (status != EMB_OK)
		return status;
	if (type == NULL || strcmp(type, "BertNormalizer") != 0)
		return emb_tok_refuse_component(doc, "normalizer", type, "BertNormalizer", err);
	if ((status = emb_tok_require_bool(doc, obj, "normalizer", "clean_text", &spec->clean_text, err)) != EMB_OK ||
		(status = emb_tok_require_bool(doc, obj, "normalizer", "handle_chinese_chars", &spec->handle_chinese_chars, err)) != EMB_OK ||
		(status = emb_tok_require_bool(doc, obj, "normalizer", "lowercase", &spec->lowercase, err)) != EMB_OK)
		return status;
	/* null: accents are stripped if text is lowercased */
	spec->strip_accents = spec->lowercase;
	return emb_json_get_bool(doc, obj, "strip_accents", &spec->strip_accents, err);
}

static EmbStatus
read_pre_tokenizer(const EmbJson *doc, EmbError *err)
{
	const json_t *obj;
	const char *type;
	EmbStatus	status = emb_tok_get_component(doc, "pre_tokenizer", "BertPreTokenizer", &obj, &type, err);

	if (status == EMB_OK && (type == NULL || strcmp(type, "BertPreTokenizer") != 0))
		status = emb_tok_refuse_component(doc, "pre_tokenizer", type, "BertPreTokenizer", err);
	return status;
}

static EmbStatus
read_wordpiece(const EmbJson *doc, const json_t *obj, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const char *unk = NULL;
	const char *prefix = NULL;
	int64_t		max_chars = 0;
	EmbStatus	status;

	if ((status = emb_tok_require_string(doc, obj, "model", "unk_token", &unk, err)) != EMB_OK ||
		(status = emb_tok_require_string(doc, obj, "model", "continuing_subword_prefix", &prefix, err)) != EMB_OK ||
		(status = emb_tok_require(doc, obj, "model", "max_input_chars_per_word", err)) != EMB_OK ||
		(status = emb_json_get_int(doc, obj, "max_input_chars_per_word", 0, INT32_MAX, &max_chars, err)) != EMB_OK ||
		(status = emb_tok_require(doc, obj, "model", "vocab", err)) != EMB_OK ||
		(status = emb_tok_read_vocab(doc->file, "model.vocab", json_object_get(obj, "vocab"), mem, spec, err)) != EMB_OK)
		return status;
	spec->continuing_prefix = (EmbTokPiece) {prefix, (uint32_t) strlen(prefix)};
	spec->max_chars_per_word = (int32_t) max_chars;
	spec->unk_id = emb_tok_spec_find(spec, unk);
	if (spec->unk_id < 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: the unknown token \"%.*s\" is not in the vocabulary", doc->file, EMB_TOK_SHOW(unk));
	return EMB_OK;
}

/* The model, with the splitting that belongs to it. */
static EmbStatus
read_model(const EmbJson *doc, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	static const char wanted[] = "WordPiece, Unigram or BPE";
	const json_t *obj;
	const char *type;
	EmbStatus	status = emb_tok_get_component(doc, "model", wanted, &obj, &type, err);

	if (status != EMB_OK)
		return status;
	/* Files from before 2021 have no type; these keys identify the model. */
	if (type == NULL && json_object_get(obj, "max_input_chars_per_word") != NULL)
		type = "WordPiece";
	if (type == NULL && json_object_get(obj, "unk_id") != NULL)
		type = "Unigram";
	if (type == NULL && json_object_get(obj, "merges") != NULL)
		type = "BPE";
	if (type != NULL && strcmp(type, "BPE") == 0)
		return emb_tok_read_bpe(doc, obj, mem, spec, err);
	if (type != NULL && strcmp(type, "Unigram") == 0)
		return emb_tok_read_unigram(doc, obj, mem, spec, err);
	if (type == NULL || strcmp(type, "WordPiece") != 0)
		return emb_tok_refuse_component(doc, "model", type, wanted, err);
	if ((status = read_wordpiece(doc, obj, mem, spec, err)) != EMB_OK ||
		(status = read_normalizer(doc, spec, err)) != EMB_OK)
		return status;
	return read_pre_tokenizer(doc, err);
}

/* Like the library, ignores the ids in the list: emb_tok_spec_add assigns ids. */
static EmbStatus
read_added_tokens(const EmbJson *doc, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	const json_t *list = json_object_get(doc->root, "added_tokens");
	EmbStatus	status = EMB_OK;

	if (list == NULL || json_is_null(list))
		return EMB_OK;
	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens\" is not an array", doc->file);
	for (size_t i = 0; i < json_array_size(list) && status == EMB_OK; i++)
	{
		const json_t *obj = json_array_get(list, i);
		EmbTokAdded added;
		int64_t		id;

		if (!json_is_object(obj))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"added_tokens[%zu]\" is not an object", doc->file, i);
		if ((status = emb_tok_require(doc, obj, "added_tokens", "id", err)) == EMB_OK &&
			(status = emb_json_get_int(doc, obj, "id", 0, UINT32_MAX, &id, err)) == EMB_OK &&
			(status = emb_tok_read_added(doc, obj, true, &added, err)) == EMB_OK)
			status = emb_tok_spec_add(spec, doc->file, &added, mem, err);
	}
	return status;
}

/* -------------------------------------------------------- post-processor */

static EmbStatus
add_slot(const EmbJson *doc, EmbTokTemplate *t, EmbTokSlotKind kind, json_int_t id, int64_t type_id, EmbError *err)
{
	if (t->n_slots == EMB_TOK_MAX_SLOTS)
		return emb_error(err, EMB_ERR_LIMIT, "%s: a template of \"post_processor\" has more than %d tokens",
						 doc->file, EMB_TOK_MAX_SLOTS);
	if (kind == EMB_TOK_SLOT_SPECIAL && (id < 0 || id >= EMB_TOK_MAX_VOCAB))
		return emb_error(err, EMB_ERR_FORMAT, "%s: special token id %lld of \"post_processor\" is outside 0..%d",
						 doc->file, (long long) id, EMB_TOK_MAX_VOCAB - 1);
	t->slots[t->n_slots++] = (EmbTokSlot) {kind, (int32_t) id, (int32_t) type_id};
	return EMB_OK;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}}: special_tokens has its ids. */
static EmbStatus
add_special(const EmbJson *doc, const json_t *specials, const char *name, int64_t type_id, EmbTokTemplate *t, EmbError *err)
{
	const json_t *ids = json_object_get(json_object_get(specials, name), "ids");
	EmbStatus	status = EMB_OK;

	if (!json_is_array(ids))
		return emb_error(err, EMB_ERR_FORMAT, "%s: special token \"%.*s\" has no ids in \"post_processor.special_tokens\"",
						 doc->file, EMB_TOK_SHOW(name));
	for (size_t i = 0; i < json_array_size(ids) && status == EMB_OK; i++)
	{
		const json_t *id = json_array_get(ids, i);

		if (!json_is_integer(id))
			return emb_error(err, EMB_ERR_FORMAT, "%s: an id of special token \"%.*s\" is not an integer",
							 doc->file, EMB_TOK_SHOW(name));
		status = add_slot(doc, t, EMB_TOK_SLOT_SPECIAL, json_integer_value(id), type_id, err);
	}
	return status;
}

static EmbStatus
read_template_item(const EmbJson *doc, const json_t *item, const json_t *specials, EmbTokTemplate *t, EmbError *err)
{
	const json_t *special = json_object_get(item, "SpecialToken");
	const json_t *sequence = json_object_get(item, "Sequence");
	const json_t *obj = special != NULL ? special : sequence;
	const char *id = NULL;
	int64_t		type_id = 0;
	EmbStatus	status;

	if (!json_is_object(item) || json_object_size(item) != 1 || !json_is_object(obj))
		return emb_error(err, EMB_ERR_FORMAT, "%s: an item of a template of \"post_processor\" is neither "
						 "a SpecialToken nor a Sequence", doc->file);
	if ((status = emb_tok_require_string(doc, obj, "post_processor", "id", &id, err)) != EMB_OK ||
		(status = emb_tok_require(doc, obj, "post_processor", "type_id", err)) != EMB_OK ||
		(status = emb_json_get_int(doc, obj, "type_id", 0, INT32_MAX, &type_id, err)) != EMB_OK)
		return status;
	if (special != NULL)
		return add_special(doc, specials, id, type_id, t, err);
	if (strcmp(id, "A") == 0)
		return add_slot(doc, t, EMB_TOK_SLOT_A, 0, type_id, err);
	if (strcmp(id, "B") == 0)
		return add_slot(doc, t, EMB_TOK_SLOT_B, 0, type_id, err);
	return emb_error(err, EMB_ERR_FORMAT, "%s: \"post_processor\" names sequence \"%.*s\", not A or B", doc->file, EMB_TOK_SHOW(id));
}

static int
count_slots(const EmbTokTemplate *t, EmbTokSlotKind kind)
{
	int			n = 0;

	for (int i = 0; i < t->n_slots; i++)
		n += t->slots[i].kind == kind;
	return n;
}

static EmbStatus
read_template(const EmbJson *doc, const json_t *obj, const char *key, int n_texts_b, EmbTokTemplate *t, EmbError *err)
{
	const json_t *list = json_object_get(obj, key);
	EmbStatus	status = EMB_OK;

	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"post_processor.%s\" is not an array", doc->file, key);
	for (size_t i = 0; i < json_array_size(list) && status == EMB_OK; i++)
		status = read_template_item(doc, json_array_get(list, i), json_object_get(obj, "special_tokens"), t, err);
	if (status == EMB_OK &&
		(count_slots(t, EMB_TOK_SLOT_A) != 1 || count_slots(t, EMB_TOK_SLOT_B) != n_texts_b))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"post_processor.%s\" does not use %s exactly once",
						 doc->file, key, n_texts_b ? "each text" : "the text");
	return status;
}

/* BertProcessing: "cls": ["[CLS]", 101] */
static EmbStatus
read_token_pair(const EmbJson *doc, const json_t *obj, const char *key, int32_t *id, EmbError *err)
{
	const json_t *v = json_array_get(json_object_get(obj, key), 1);

	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= EMB_TOK_MAX_VOCAB)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"post_processor.%s\" is not a token and an id in 0..%d",
						 doc->file, key, EMB_TOK_MAX_VOCAB - 1);
	*id = (int32_t) json_integer_value(v);
	return EMB_OK;
}

/* Templates without special tokens. Pairs work as in the library. */
static void
plain_templates(EmbTokSpec *spec)
{
	EmbTokSlot	a = {EMB_TOK_SLOT_A, 0, 0};
	EmbTokSlot	b = {EMB_TOK_SLOT_B, 0, 1};

	spec->single = (EmbTokTemplate) {1, {a}};
	spec->pair = (EmbTokTemplate) {2, {a, b}};
}

/* One post-processor; *n counts processors that add tokens. */
static EmbStatus
read_processor(const EmbJson *doc, const json_t *obj, const char *type, int *n, EmbTokSpec *spec, EmbError *err)
{
	static const char wanted[] = "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and a Sequence of them";
	int32_t		cls_id = 0,
				sep_id = 0;
	EmbStatus	status;

	/* It changes only offsets. */
	if (type != NULL && strcmp(type, "ByteLevel") == 0)
		return EMB_OK;
	if ((*n)++ > 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"post_processor\" has several processors that add tokens, only one is supported",
						 doc->file);
	if (type != NULL && (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0))
	{
		if ((status = read_token_pair(doc, obj, "cls", &cls_id, err)) != EMB_OK ||
			(status = read_token_pair(doc, obj, "sep", &sep_id, err)) != EMB_OK)
			return status;
		if (type[0] == 'B')
			emb_tok_spec_bert_templates(spec, cls_id, sep_id);
		else
			emb_tok_spec_roberta_templates(spec, cls_id, sep_id);
		return EMB_OK;
	}
	if (type == NULL || strcmp(type, "TemplateProcessing") != 0)
		return emb_tok_refuse_component(doc, "post_processor", type, wanted, err);
	spec->single = spec->pair = (EmbTokTemplate) {0};
	status = read_template(doc, obj, "single", 0, &spec->single, err);
	return status != EMB_OK ? status : read_template(doc, obj, "pair", 1, &spec->pair, err);
}

static EmbStatus
read_post_processor(const EmbJson *doc, EmbTokSpec *spec, EmbError *err)
{
	const json_t *obj = json_object_get(doc->root, "post_processor");
	const json_t *list = json_object_get(obj, "processors");
	const char *type = NULL;
	int			n = 0;
	EmbStatus	status;

	plain_templates(spec);
	if (obj == NULL || json_is_null(obj))
		return EMB_OK;
	if ((status = emb_tok_get_component(doc, "post_processor", "an object", &obj, &type, err)) != EMB_OK)
		return status;
	if (type == NULL || strcmp(type, "Sequence") != 0)
		return read_processor(doc, obj, type, &n, spec, err);
	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: a Sequence of \"post_processor\" has no list of processors", doc->file);
	for (size_t i = 0; i < json_array_size(list) && status == EMB_OK; i++)
	{
		obj = json_array_get(list, i);
		type = NULL;
		if (!json_is_object(obj))
			return emb_error(err, EMB_ERR_FORMAT, "%s: a processor of \"post_processor\" is not an object", doc->file);
		if ((status = emb_json_get_string(doc, obj, "type", &type, err)) == EMB_OK)
			status = read_processor(doc, obj, type, &n, spec, err);
	}
	return status;
}

/* The special tokens of the templates must be ids of the model. */
static EmbStatus
check_template_ids(const char *file, const EmbTokSpec *spec, EmbError *err)
{
	const EmbTokStorage *storage = spec->storage;
	int32_t		n_vocab = storage->max_added_id >= spec->n_vocab ? storage->max_added_id + 1 : spec->n_vocab;

	for (int pair = 0; pair < 2; pair++)
	{
		const EmbTokTemplate *t = pair ? &spec->pair : &spec->single;

		for (int i = 0; i < t->n_slots; i++)
			if (t->slots[i].kind == EMB_TOK_SLOT_SPECIAL && t->slots[i].id >= n_vocab)
				return emb_error(err, EMB_ERR_FORMAT, "%s: \"post_processor\" adds id %d, the vocabulary ends at %d",
								 file, t->slots[i].id, n_vocab - 1);
	}
	return EMB_OK;
}

static EmbStatus
read_tokenizer(const EmbJson *doc, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status;

	if (!json_is_object(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a JSON object", doc->file);
	/* The model is read first, because its type describes an unsupported tokenizer best. */
	if ((status = read_model(doc, mem, spec, err)) != EMB_OK ||
		(status = read_added_tokens(doc, mem, spec, err)) != EMB_OK)
		return status;
	return read_post_processor(doc, spec, err);
}

static EmbStatus
import_json(const char *name, const char *data, size_t size, const EmbAllocator *mem, const EmbStop *stop,
			EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = emb_tok_spec_begin(spec, mem, err);

	if (status == EMB_OK)
	{
		EmbTokStorage *storage = spec->storage;
		EmbJson    *doc = &storage->docs[EMB_TOK_JSON_DOC];

		storage->stop = stop;
		storage->source = data;
		storage->source_size = size;
		status = emb_json_parse_stoppable(name, data, size, stop, doc, err);
		if (status == EMB_OK)
			status = read_tokenizer(doc, mem, spec, err);
	}
	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	return status;
}

/* The end of every import: spec is freed after an error. */
static EmbStatus
end_import(const char *file, const EmbStop *stop, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = check_template_ids(file, spec, err);

	if (status != EMB_OK)
		emb_tok_spec_free(spec, mem);
	else
		spec->stop = stop;
	return status;
}

EmbStatus
emb_import_tokenizer_json(const char *name, const char *data, size_t size, const EmbAllocator *mem,
						  EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = import_json(name, data, size, mem, NULL, spec, err);

	return status == EMB_OK ? end_import(name, NULL, mem, spec, err) : status;
}

/* The tokenizer.json of a folder. */
static EmbStatus
import_json_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err)
{
	char	   *data;
	size_t		size;
	EmbStatus	status;

	memset(spec, 0, sizeof(EmbTokSpec));
	status = emb_file_read_all(dir, "tokenizer.json", EMB_JSON_TOKENIZER_MAX, mem, &data, &size, err);
	if (status != EMB_OK)
		return status;
	status = import_json("tokenizer.json", data, size, mem, stop, spec, err);
	emb_release(mem, data);
	return status;
}

/* Files without a tokenizer.json are read as the classes of transformers read them. */
static EmbStatus
import_others(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbCheckpoint *notes, EmbTokSpec *spec, EmbError *err)
{
	if (!emb_file_exists(dir, "vocab.txt") && emb_file_exists(dir, EMB_TOK_SPM_FILE))
		return emb_import_sentencepiece_dir(dir, mem, stop, spec, err);
	if (!emb_file_exists(dir, "vocab.txt") && emb_file_exists(dir, EMB_TOK_BPE_VOCAB_FILE))
		return emb_import_bpe_dir(dir, mem, stop, spec, err);
	if (!emb_file_exists(dir, "vocab.txt") && emb_file_exists(dir, EMB_TOK_SPM_BPE_FILE))
		return emb_import_spm_bpe_dir(dir, mem, stop, notes, spec, err);
	return emb_import_vocab_dir(dir, mem, stop, spec, err);
}

static EmbStatus
import_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbCheckpoint *notes, EmbTokSpec *spec, EmbError *err)
{
	return emb_file_exists(dir, "tokenizer.json") ? import_json_dir(dir, mem, stop, spec, err)
		: import_others(dir, mem, stop, notes, spec, err);
}

EmbStatus
emb_import_tokenizer(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = import_dir(dir, mem, stop, NULL, spec, err);

	return status == EMB_OK ? end_import("tokenizer.json", stop, mem, spec, err) : status;
}

EmbStatus
emb_import_auto_tokenizer(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbCheckpoint *notes, EmbTokSpec *spec, EmbError *err)
{
	EmbStatus	status = import_dir(dir, mem, stop, notes, spec, err);

	if (status != EMB_OK)
		return status;
	if (emb_file_exists(dir, "tokenizer.json"))
		status = emb_tok_follow_class(dir, &((EmbTokStorage *) spec->storage)->docs[EMB_TOK_JSON_DOC], mem, notes, spec, err);
	if (status == EMB_OK)
		return end_import("tokenizer.json", stop, mem, spec, err);
	emb_tok_spec_free(spec, mem);
	return status;
}
