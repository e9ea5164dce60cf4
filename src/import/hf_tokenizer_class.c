/*
 * hf_tokenizer_class.c
 *		What AutoTokenizer of transformers 5 makes of a tokenizer.json.
 *
 * transformers takes a class: "tokenizer_class" of tokenizer_config.json, or
 * the one of the model's type. Most classes take only vocabulary, merges and
 * charsmap from tokenizer.json, and build normalizer, splitting and template
 * themselves, by keys of tokenizer_config.json. Then all classes add the
 * tokens that tokenizer_config.json, or special_tokens_map.json and
 * added_tokens.json, list. Where this gives another tokenizer than
 * tokenizer.json alone, a note says so.
 *
 * Read from transformers 5.23: models/auto/tokenization_auto.py,
 * tokenization_utils_base.py, tokenization_utils_tokenizers.py, and one
 * models/X/tokenization_X.py a class. test/tools/compare_auto_tokenizer.py
 * compares ids.
 */
#include "import/hf_tokenizer_class.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "import/checkpoint.h"
#include "import/hf_tokenizer.h"

#define ROBERTA_ROLES(unk)	{"<s>", "</s>", unk, "</s>", "<pad>", "<s>", "<mask>"}
#define BERT_ROLES			{NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}

static const EmbTokClass classes[] = {
	{"BertTokenizer", EMB_TOK_BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"DistilBertTokenizer", EMB_TOK_BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"ElectraTokenizer", EMB_TOK_BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"MobileBertTokenizer", EMB_TOK_BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"SqueezeBertTokenizer", EMB_TOK_BUILD_BERT, EMB_TOK_WORDPIECE, BERT_ROLES, false},
	{"MPNetTokenizer", EMB_TOK_BUILD_MPNET, EMB_TOK_WORDPIECE, ROBERTA_ROLES("[UNK]"), true},
	{"XLMRobertaTokenizer", EMB_TOK_BUILD_XLM_ROBERTA, EMB_TOK_UNIGRAM, ROBERTA_ROLES("<unk>"), false},
	{"CamembertTokenizer", EMB_TOK_BUILD_CAMEMBERT, EMB_TOK_UNIGRAM, ROBERTA_ROLES("<unk>"), true},
	{"RobertaTokenizer", EMB_TOK_BUILD_ROBERTA, EMB_TOK_BPE, ROBERTA_ROLES("<unk>"), false},
	{"BartTokenizer", EMB_TOK_BUILD_ROBERTA, EMB_TOK_BPE, ROBERTA_ROLES("<unk>"), false},
	{"GPT2Tokenizer", EMB_TOK_BUILD_GPT2, EMB_TOK_BPE, {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL, NULL, NULL}, false},
	{"Qwen2Tokenizer", EMB_TOK_BUILD_QWEN2, EMB_TOK_BPE, {NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>", NULL, NULL}, false},
	{"GemmaTokenizer", EMB_TOK_BUILD_GEMMA, EMB_TOK_BPE, {"<bos>", "<eos>", "<unk>", NULL, "<pad>", NULL, "<mask>"}, false},
	{"LlamaTokenizer", EMB_TOK_BUILD_LLAMA, EMB_TOK_BPE, {"<s>", "</s>", "<unk>", NULL, NULL, NULL, NULL}, false},
};

static const EmbTokClass as_it_is = {"", EMB_TOK_BUILD_NOT, 0, {NULL}, false};

/* The classes of the model types that transformers knows and we can import. */
static const struct
{
	const char *model_type;
	const char *class;
	bool		overrules;		/* "tokenizer_class" of these models on the hub is wrong */
}			model_types[] =
{
	{"bert", "BertTokenizer", false},
	{"distilbert", "BertTokenizer", false},
	{"electra", "BertTokenizer", false},
	{"ernie", "BertTokenizer", false},
	{"nomic_bert", "BertTokenizer", false},
	{"mpnet", "MPNetTokenizer", false},
	{"roberta", "RobertaTokenizer", false},
	{"xlm-roberta", "XLMRobertaTokenizer", false},
	{"gte", "XLMRobertaTokenizer", false},
	{"camembert", "CamembertTokenizer", false},
	{"deberta-v2", "DebertaV2Tokenizer", false},
	{"gemma3_text", "GemmaTokenizer", false},
	{"modernbert", "", true},
	{"qwen2", "Qwen2Tokenizer", true},
	{"qwen3", "Qwen2Tokenizer", false},
};

void
emb_tok_note_change(EmbTokFollow *f, const char *format,...)
{
	size_t		at = strlen(f->changes);
	va_list		args;

	if (at > 0 && at + 2 < sizeof(f->changes))
	{
		strcpy(f->changes + at, "; ");
		at += 2;
	}
	va_start(args, format);
	vsnprintf(f->changes + at, sizeof(f->changes) - at, format, args);
	va_end(args);
}

/* ------------------------------------------------------------------ class */

/* The bytes of a class's name without "Fast". */
static size_t
name_bytes(const char *name)
{
	size_t		len = strlen(name);

	return len > 4 && strcmp(name + len - 4, "Fast") == 0 ? len - 4 : len;
}

/* Names that we do not build count as tokenizer.json as it is. */
const EmbTokClass *
emb_tok_find_class(const char *name)
{
	size_t		len = name_bytes(name);

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (strlen(classes[i].name) == len && memcmp(classes[i].name, name, len) == 0)
			return &classes[i];
	}
	return &as_it_is;
}

/* The name of the class that AutoTokenizer.from_pretrained takes, "": none. named: "tokenizer_class" of the files, or NULL. */
static const char *
choose_class(const char *model_type, const char *named, bool has_own_code)
{
	for (size_t i = 0; model_type != NULL && i < sizeof(model_types) / sizeof(model_types[0]); i++)
	{
		if (strcmp(model_type, model_types[i].model_type) != 0)
			continue;
		if (model_types[i].overrules || (named == NULL && !has_own_code))
			return model_types[i].class;
	}
	return named != NULL && !has_own_code ? named : "";
}

EmbStatus
emb_tok_read_class(EmbTokFollow *f, const char *dir, const EmbStop *stop, const EmbAllocator *mem, EmbError *err)
{
	EmbJson		model;
	const char *model_type = NULL;
	const char *named = NULL;
	EmbStatus	status = emb_json_load_optional(dir, "config.json", EMB_JSON_CONFIG_MAX, mem, stop, &model, err);

	if (status != EMB_OK)
		return status;
	if ((status = emb_json_get_string(&model, model.root, "model_type", &model_type, err)) == EMB_OK &&
		(status = emb_json_get_string(&model, model.root, "tokenizer_class", &named, err)) == EMB_OK &&
		(status = emb_json_get_string(f->config, f->config->root, "tokenizer_class", &named, err)) == EMB_OK)
		status = emb_json_get_int(&model, model.root, "vocab_size", 1, INT32_MAX, &f->n_rows, err);
	if (status == EMB_OK)
	{
		named = choose_class(model_type, named, json_object_get(json_object_get(f->config->root, "auto_map"), "AutoTokenizer") != NULL);
		f->class = emb_tok_find_class(named);
		snprintf(f->named, sizeof(f->named), "%.*s", (int) (name_bytes(named) < sizeof(f->named) ? name_bytes(named) : sizeof(f->named) - 1), named);
	}
	emb_json_free(&model);
	return status;
}

/* ------------------------------------------------------------------- builds */

static void
set_flag(EmbTokFollow *f, bool *flag, bool value, const char *on, const char *off)
{
	if (*flag != value)
		emb_tok_note_change(f, "%s", value ? on : off);
	*flag = value;
}

static void
set_template(EmbTokFollow *f, int begin, int end, bool is_bert)
{
	EmbTokTemplate single = f->spec->single;
	EmbTokTemplate pair = f->spec->pair;
	int32_t		ids[2] = {emb_tok_role_id(f, begin), emb_tok_role_id(f, end)};

	if (ids[0] < 0 || ids[1] < 0)
		return;
	if (is_bert)
		emb_tok_spec_bert_templates(f->spec, ids[0], ids[1]);
	else
		emb_tok_spec_roberta_templates(f->spec, ids[0], ids[1]);
	if (memcmp(&single, &f->spec->single, sizeof(single)) != 0 || memcmp(&pair, &f->spec->pair, sizeof(pair)) != 0)
		emb_tok_note_change(f, "special tokens are %s text %s", f->roles[begin].piece.text, f->roles[end].piece.text);
}

static void
set_unknown(EmbTokFollow *f, int32_t id)
{
	if (id < 0 || id >= f->spec->n_vocab || f->spec->pieces[id].text == NULL)
		return;
	if (f->spec->unk_id != id)
		emb_tok_note_change(f, "the unknown token has id %d", id);
	f->spec->unk_id = id;
}

static EmbStatus
build_wordpiece(EmbTokFollow *f, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	bool		lowercase = true;
	bool		chinese = true;
	bool		strip;
	EmbStatus	status;

	if ((status = emb_json_get_bool(f->config, f->config->root, "do_lower_case", &lowercase, err)) != EMB_OK ||
		(status = emb_json_get_bool(f->config, f->config->root, "tokenize_chinese_chars", &chinese, err)) != EMB_OK)
		return status;
	strip = lowercase;
	if ((status = emb_json_get_bool(f->config, f->config->root, "strip_accents", &strip, err)) != EMB_OK)
		return status;
	set_flag(f, &spec->lowercase, lowercase, "texts are lowercased (\"do_lower_case\")", "texts are not lowercased (\"do_lower_case\")");
	set_flag(f, &spec->strip_accents, strip, "accents are removed (\"strip_accents\")", "accents stay (\"strip_accents\")");
	set_flag(f, &spec->handle_chinese_chars, chinese, "Chinese characters are words (\"tokenize_chinese_chars\")",
			 "Chinese characters are no words of their own (\"tokenize_chinese_chars\")");
	set_flag(f, &spec->clean_text, true, "control characters are removed", "");
	if (spec->max_chars_per_word != 100)
		emb_tok_note_change(f, "words have at most 100 characters");
	spec->max_chars_per_word = 100;
	if (spec->continuing_prefix.len != 2 || memcmp(spec->continuing_prefix.text, "##", 2) != 0)
		emb_tok_note_change(f, "words go on with \"##\"");
	spec->continuing_prefix = (EmbTokPiece) {"##", 2};
	set_unknown(f, emb_tok_role_id(f, EMB_TOK_IS_UNK));
	return EMB_OK;
}

/* Only a charsmap at the top is taken over. */
static bool
has_charsmap(const EmbTokFollow *f)
{
	const json_t *normalizer = json_object_get(f->json->root, "normalizer");
	const json_t *list = json_object_get(normalizer, "normalizers");
	const char *type = json_string_value(json_object_get(normalizer, "type"));

	if (type == NULL || strcmp(type, "Sequence") != 0)
		return type != NULL && strcmp(type, "Precompiled") == 0;
	for (size_t i = 0; i < json_array_size(list); i++)
	{
		type = json_string_value(json_object_get(json_array_get(list, i), "type"));
		if (type != NULL && strcmp(type, "Precompiled") == 0)
			return true;
	}
	return false;
}

/* Whether splitting at white space makes the other steps superfluous: they collapse or strip spaces. */
static bool
has_other_steps(const EmbTokSpec *spec, bool charsmap)
{
	bool		has_charsmap = false;

	for (int i = 0; i < spec->n_steps; i++)
	{
		if (spec->steps[i].kind == EMB_TOK_STEP_PRECOMPILED)
			has_charsmap = true;
		else if (spec->steps[i].kind != EMB_TOK_STEP_COLLAPSE && spec->steps[i].kind != EMB_TOK_STEP_STRIP)
			return true;
	}
	return has_charsmap != charsmap;
}

static EmbStatus
build_unigram(EmbTokFollow *f, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	bool		charsmap = has_charsmap(f);
	bool		prefix = true;
	EmbTokPrepend prepend;
	EmbStatus	status = emb_json_get_bool(f->config, f->config->root, "add_prefix_space", &prefix, err);

	if (status != EMB_OK)
		return status;
	if (has_other_steps(spec, charsmap))
		emb_tok_note_change(f, charsmap ? "nothing but its charsmap normalizes texts" : "nothing normalizes texts");
	spec->n_steps = 0;
	if (charsmap)
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_PRECOMPILED, 0};
	set_flag(f, &spec->split_spaces, true, "white space between words counts as one space, and at the ends of a text as none", "");
	set_flag(f, &spec->split_meta, true, "a word begins at every U+2581", "");
	prepend = prefix ? EMB_TOK_PREPEND_ALWAYS : EMB_TOK_PREPEND_NEVER;
	/* of the first word only, or of every one: each is a segment now */
	if (spec->prepend != prepend || spec->meta != EMB_TOK_META)
		emb_tok_note_change(f, prefix ? "every word begins with U+2581" : "no word begins with U+2581 of itself");
	spec->prepend = prepend;
	spec->meta = EMB_TOK_META;
	set_unknown(f, f->class->build == EMB_TOK_BUILD_XLM_ROBERTA ? 3 : emb_tok_role_id(f, EMB_TOK_IS_UNK));
	return EMB_OK;
}

static EmbStatus
build_bpe(EmbTokFollow *f, const char *regex, bool has_nfc, EmbError *err)
{
	EmbTokSpec *spec = f->spec;
	bool		prefix = false;
	bool		had_nfc = spec->n_steps == 1 && spec->steps[0].kind == EMB_TOK_STEP_NFC;
	EmbStatus	status = emb_json_get_bool(f->config, f->config->root, "add_prefix_space", &prefix, err);

	if (status != EMB_OK)
		return status;
	if (prefix && f->class->build == EMB_TOK_BUILD_QWEN2)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"add_prefix_space\" is true, which a %s applies to every word; only false is supported",
						 f->config->file, f->class->name);
	if (spec->n_steps > 1 || had_nfc != has_nfc || (spec->n_steps == 1 && !had_nfc))
		emb_tok_note_change(f, has_nfc ? "NFC normalizes texts" : "nothing normalizes texts");
	spec->n_steps = 0;
	if (has_nfc)
		spec->steps[spec->n_steps++] = (EmbTokStep) {EMB_TOK_STEP_NFC, 0};
	if (spec->regex == NULL || strcmp(spec->regex, regex) != 0)
		emb_tok_note_change(f, "words are split by the class's own pattern");
	spec->regex = regex;
	set_flag(f, &spec->prefix_space, prefix, "texts begin with a space (\"add_prefix_space\")", "texts begin with no space of their own (\"add_prefix_space\")");
	set_flag(f, &spec->ignore_merges, false, "", "words that are pieces are merged, too");
	if (spec->unk_id != -1)
		emb_tok_note_change(f, "there is no unknown token");
	spec->unk_id = -1;
	return EMB_OK;
}

static EmbStatus
build(EmbTokFollow *f, EmbError *err)
{
	switch (f->class->build)
	{
		case EMB_TOK_BUILD_BERT:
		case EMB_TOK_BUILD_MPNET:
			return build_wordpiece(f, err);
		case EMB_TOK_BUILD_XLM_ROBERTA:
		case EMB_TOK_BUILD_CAMEMBERT:
			return build_unigram(f, err);
		case EMB_TOK_BUILD_ROBERTA:
		case EMB_TOK_BUILD_GPT2:
			return build_bpe(f, EMB_TOK_REGEX_GPT2, false, err);
		case EMB_TOK_BUILD_QWEN2:
			return build_bpe(f, EMB_TOK_REGEX_QWEN2, true, err);
		case EMB_TOK_BUILD_GEMMA:
		case EMB_TOK_BUILD_LLAMA:
			return emb_tok_build_chars(f, err);
		case EMB_TOK_BUILD_NOT:
			break;
	}
	return EMB_OK;
}

static void
build_template(EmbTokFollow *f)
{
	switch (f->class->build)
	{
		case EMB_TOK_BUILD_BERT:
			set_template(f, EMB_TOK_IS_CLS, EMB_TOK_IS_SEP, true);
			break;
		case EMB_TOK_BUILD_MPNET:
		case EMB_TOK_BUILD_ROBERTA:
			set_template(f, EMB_TOK_IS_CLS, EMB_TOK_IS_SEP, false);
			break;
		case EMB_TOK_BUILD_XLM_ROBERTA:
		case EMB_TOK_BUILD_CAMEMBERT:
			set_template(f, EMB_TOK_IS_BOS, EMB_TOK_IS_EOS, false);
			break;
		case EMB_TOK_BUILD_GPT2:
		case EMB_TOK_BUILD_QWEN2:
		case EMB_TOK_BUILD_GEMMA:
		case EMB_TOK_BUILD_LLAMA:
		case EMB_TOK_BUILD_NOT:
			break;
	}
}

/* Reports the defaults that would give other ids. */
static void
note_missing_config(const EmbTokFollow *f, EmbCheckpoint *notes)
{
	const EmbTokSpec *spec = f->spec;
	bool		is_cased = spec->model == EMB_TOK_WORDPIECE && !spec->lowercase && (f->class->build == EMB_TOK_BUILD_BERT || f->class->build == EMB_TOK_BUILD_MPNET);
	bool		keeps_spaces = spec->model == EMB_TOK_UNIGRAM && !spec->split_spaces &&
		(f->class->build == EMB_TOK_BUILD_XLM_ROBERTA || f->class->build == EMB_TOK_BUILD_CAMEMBERT);

	if (is_cased || keeps_spaces)
		emb_note(notes, "Download the model's tokenizer_config.json, too.",
				 "there is no tokenizer_config.json; tokenizer.json is taken as it is, where AutoTokenizer of transformers 5 builds a %s, which %s",
				 f->class->name, is_cased ? "lowercases texts" : "drops white space at the ends of a text");
}

/* Whether a class can be built from the vocabulary. */
static bool
fits(const EmbTokClass *class, const EmbTokSpec *spec)
{
	bool		of_chars = class->build == EMB_TOK_BUILD_GEMMA || class->build == EMB_TOK_BUILD_LLAMA;

	return class->model == spec->model && (spec->model != EMB_TOK_BPE || of_chars == (spec->spelling == EMB_TOK_SPELL_CHARS));
}

EmbStatus
emb_tok_follow_class(const char *dir, const EmbJson *json, const EmbAllocator *mem, EmbCheckpoint *notes, EmbTokSpec *spec, EmbError *err)
{
	EmbTokStorage *storage = spec->storage;
	EmbTokFollow		f = {.spec = spec, .json = json};
	EmbStatus	status = emb_tok_spec_load_companions(spec, dir, mem, err);

	if (status != EMB_OK)
		return status;
	emb_tok_spec_companions(spec, &f.config, &f.map, &f.more);
	if ((status = emb_tok_read_class(&f, dir, storage->stop, mem, err)) != EMB_OK)
		return status;
	/* nothing contradicts tokenizer.json, and the class would have its defaults only */
	if (f.config->root == NULL)
	{
		note_missing_config(&f, notes);
		f.class = &as_it_is;
	}
	if (f.class->build != EMB_TOK_BUILD_NOT && !fits(f.class, spec))
	{
		emb_note(notes, "Its \"tokenizer_class\" is wrong, or the file belongs to another model.",
				 "tokenizer.json has no vocabulary for a %s, the class that AutoTokenizer of transformers 5 takes; it is taken as it is", f.class->name);
		f.class = &as_it_is;
	}
	if ((status = emb_tok_read_roles(&f, err)) != EMB_OK ||
		(status = build(&f, err)) != EMB_OK ||
		(status = emb_tok_follow_tokens(&f, mem, err)) != EMB_OK)
		return status;
	build_template(&f);
	if (f.n_left_out > 0)
		emb_note(notes, "A text with such a token is an error in transformers; here the token is read as other text.",
				 "added tokens for which the model has no row are left out: %d, the first has id %d, and config.json says %lld rows",
				 f.n_left_out, f.first_left_out, (long long) f.n_rows);
	if (f.changes[0] != '\0')
		emb_note(notes, f.class->build == EMB_TOK_BUILD_NOT ? "A tokenizer.json with all tokens needs no companions: AutoTokenizer.from_pretrained(dir).save_pretrained(dir) in Python writes one." :
				 "If the model was trained with tokenizer.json as it is, write \"tokenizer_class\": \"PreTrainedTokenizerFast\" into tokenizer_config.json.",
				 "tokenizer.json is not taken as it is: like AutoTokenizer of transformers 5, the import %s%s: %s",
				 f.class->build == EMB_TOK_BUILD_NOT ? "reads its companions, too" : "builds the class ", f.class->name, f.changes);
	return EMB_OK;
}
