/*
 * test_tokenizer_import.c
 *		tokenizer.json and vocab.txt: what is refused and how it is said, and
 *		that the two roads lead to one tokenizer.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "tok_util.h"

#define MODEL "\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\", " \
	"\"max_input_chars_per_word\": 100, \"vocab\": {\"[UNK]\": 0, \"[CLS]\": 1, \"[SEP]\": 2, \"a\": 3, \"##b\": 4}}"
#define NORMALIZER "\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, " \
	"\"strip_accents\": null, \"lowercase\": true}"
#define PRE "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}"
#define POST "\"post_processor\": {\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 2], \"cls\": [\"[CLS]\", 1]}"
#define TOKEN(id, content) "{\"id\": " id ", \"content\": \"" content "\", \"single_word\": false, \"lstrip\": false, " \
	"\"rstrip\": false, \"normalized\": false, \"special\": true}"
#define TEMPLATE(single, pair) "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [" single "], \"pair\": [" pair \
	"], \"special_tokens\": {\"[CLS]\": {\"id\": \"[CLS]\", \"ids\": [1], \"tokens\": [\"[CLS]\"]}}}"
#define A "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}"
#define B "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}"
#define CLS "{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}}"
#define VOCAB(entries) "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\", " \
	"\"max_input_chars_per_word\": 100, \"vocab\": " entries "}, " NORMALIZER ", " PRE ", " POST "}"
#define WITH_ADDED(list) "{" MODEL ", " NORMALIZER ", " PRE ", " POST ", \"added_tokens\": " list "}"

#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X1100 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100

/* Unigram */
#define UNI_MODEL(vocab, more) "\"model\": {\"type\": \"Unigram\", \"vocab\": " vocab more "}"
#define UNI_VOCAB "[[\"<unk>\", 0.0], [\"a\", -1.5], [\"\xE2\x96\x81\", -2]]"
#define UNK_ID ", \"unk_id\": 0"
#define META "{\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\"}"
#define UNI_POST TEMPLATE(A, A ", " B)
#define UNI(vocab, more, normalizer, pre) "{" UNI_MODEL(vocab, more) ", \"normalizer\": " normalizer ", \"pre_tokenizer\": " pre ", " UNI_POST "}"
#define UNI_STEPS(normalizer) UNI(UNI_VOCAB, UNK_ID, normalizer, META)
#define UNI_PRE(pre) UNI(UNI_VOCAB, UNK_ID, "null", pre)
#define UNI_ADDED(list) "{" UNI_MODEL(UNI_VOCAB, UNK_ID) ", \"pre_tokenizer\": " META ", " UNI_POST ", \"added_tokens\": " list "}"
#define X512 X100 X100 X100 X100 X100 X10 "xx"

/* BPE */
#define BPE_VOCAB "{\"<unk>\": 0, \"a\": 1, \"b\": 2, \"ab\": 3, \"\xC4\xA0\": 4}"
#define BPE_MERGES "[\"a b\"]"
#define BPE_MODEL(vocab, merges, more) "\"model\": {\"type\": \"BPE\", \"vocab\": " vocab ", \"merges\": " merges more "}"
#define BYTES(prefix, more) "{\"type\": \"ByteLevel\", \"add_prefix_space\": " prefix more "}"
#define SPLIT(pattern, behavior) "{\"type\": \"Split\", \"pattern\": " pattern ", \"behavior\": \"" behavior "\", \"invert\": false}"
#define SEQUENCE(list) "{\"type\": \"Sequence\", \"pretokenizers\": [" list "]}"
#define QWEN2 "{\"Regex\": \"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}"
#define BPE(vocab, merges, more, normalizer, pre) "{" BPE_MODEL(vocab, merges, more) ", \"normalizer\": " normalizer ", \"pre_tokenizer\": " pre "}"
#define BPE_MORE(more) BPE(BPE_VOCAB, BPE_MERGES, more, "null", BYTES("false", ""))
#define BPE_PRE(pre) BPE(BPE_VOCAB, BPE_MERGES, "", "null", pre)
#define BLANKS "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\xE2\x96\x81\"}"
#define METASPACE "{\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", \"prepend_scheme\": \"first\", \"split\": false}"
#define CHARS(more, normalizer, pre) BPE(BPE_VOCAB, BPE_MERGES, more, normalizer, pre)
#define BPE_LIST(merges) BPE(BPE_VOCAB, merges, "", "null", BYTES("true", ""))

typedef struct Case
{
	const char *what;
	const char *json;
	EmbStatus	status;
	const char *message;		/* part of the error message */
} Case;

static const Case json_cases[] = {
	{"the smallest", "{" MODEL ", " NORMALIZER ", " PRE ", " POST "}", EMB_OK, NULL},
	{"old file without model type", "{\"model\": {\"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\", "
		"\"max_input_chars_per_word\": 100, \"vocab\": {\"[UNK]\": 0, \"[CLS]\": 1, \"[SEP]\": 2}}, " NORMALIZER ", " PRE ", " POST "}", EMB_OK, NULL},
	{"empty", "", EMB_ERR_FORMAT, "not valid JSON"},
	{"array", "[]", EMB_ERR_FORMAT, "not a JSON object"},
	{"empty object", "{}", EMB_ERR_UNSUPPORTED, "\"model\" is null"},
	{"cut off", "{" MODEL, EMB_ERR_FORMAT, "not valid JSON"},
	{"U+0000", VOCAB("{\"[UNK]\": 0, \"a\\u0000b\": 3}"), EMB_ERR_FORMAT, "not valid JSON"},
	{"invalid UTF-8", VOCAB("{\"[UNK]\": 0, \"\xFF\": 3}"), EMB_ERR_FORMAT, "not valid JSON"},
	{"lone surrogate", VOCAB("{\"[UNK]\": 0, \"\\ud800\": 3}"), EMB_ERR_FORMAT, "not valid JSON"},
	{"duplicate key", VOCAB("{\"[UNK]\": 0, \"a\": 1, \"a\": 2}"), EMB_ERR_FORMAT, "duplicate"},
	{"model is a string", "{\"model\": \"WordPiece\"}", EMB_ERR_FORMAT, "\"model\" is not an object"},
	{"another model", "{\"model\": {\"type\": \"WordLevel\", \"vocab\": []}}", EMB_ERR_UNSUPPORTED, "\"model.type\" is \"WordLevel\""},
	{"model without type", "{\"model\": {\"vocab\": {}}}", EMB_ERR_UNSUPPORTED, "\"model\" has no type"},
	{"model type is a number", "{\"model\": {\"type\": 5}}", EMB_ERR_FORMAT, "\"type\" is not a string"},
	{"no unk_token", "{\"model\": {\"type\": \"WordPiece\"}}", EMB_ERR_FORMAT, "no \"unk_token\""},
	{"vocab is an array", VOCAB("[]"), EMB_ERR_FORMAT, "\"model.vocab\" is not an object"},
	{"empty vocab", VOCAB("{}"), EMB_ERR_FORMAT, "\"[UNK]\" is not in the vocabulary"},
	{"no unknown token", VOCAB("{\"a\": 0}"), EMB_ERR_FORMAT, "\"[UNK]\" is not in the vocabulary"},
	{"negative id", VOCAB("{\"[UNK]\": 0, \"a\": -1}"), EMB_ERR_FORMAT, "\"a\" is not an integer in"},
	{"huge id", VOCAB("{\"[UNK]\": 0, \"a\": 4000000}"), EMB_ERR_FORMAT, "\"a\" is not an integer in"},
	{"id beyond 64 bits", VOCAB("{\"[UNK]\": 0, \"a\": 99999999999999999999}"), EMB_ERR_FORMAT, "is not an integer in"},
	{"fractional id", VOCAB("{\"[UNK]\": 0, \"a\": 1.5}"), EMB_ERR_FORMAT, "\"a\" is not an integer in"},
	{"string id", VOCAB("{\"[UNK]\": 0, \"a\": \"1\"}"), EMB_ERR_FORMAT, "\"a\" is not an integer in"},
	{"shared id", VOCAB("{\"[UNK]\": 0, \"a\": 1, \"b\": 1}"), EMB_ERR_FORMAT, "share id 1"},
	{"templates beyond the vocabulary", VOCAB("{\"[UNK]\": 0, \"a\": 1}"), EMB_ERR_FORMAT, "adds id 2"},
	{"holes in the ids", VOCAB("{\"[UNK]\": 0, \"a\": 3000, \"\": 5}"), EMB_OK, NULL},
	{"long words", "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"a\", \"continuing_subword_prefix\": \"\", "
		"\"max_input_chars_per_word\": 100000, \"vocab\": {\"a\": 5}}, " NORMALIZER ", " PRE ", " POST "}", EMB_ERR_UNSUPPORTED, "max_input_chars_per_word is 100000"},
	{"no normalizer", "{" MODEL ", " PRE ", " POST "}", EMB_ERR_UNSUPPORTED, "\"normalizer\" is null"},
	{"null normalizer", "{" MODEL ", \"normalizer\": null, " PRE ", " POST "}", EMB_ERR_UNSUPPORTED, "\"normalizer\" is null"},
	{"another normalizer", "{" MODEL ", \"normalizer\": {\"type\": \"NFKC\"}, " PRE ", " POST "}", EMB_ERR_UNSUPPORTED, "\"normalizer.type\" is \"NFKC\""},
	{"normalizer lacks a key", "{" MODEL ", \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true}, " PRE "}", EMB_ERR_FORMAT, "no \"handle_chinese_chars\""},
	{"strip_accents is a string", "{" MODEL ", \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, "
		"\"handle_chinese_chars\": true, \"lowercase\": true, \"strip_accents\": \"no\"}, " PRE "}", EMB_ERR_FORMAT, "\"strip_accents\" is not true or false"},
	{"another pre-tokenizer", "{" MODEL ", " NORMALIZER ", \"pre_tokenizer\": {\"type\": \"Metaspace\"}}", EMB_ERR_UNSUPPORTED, "\"pre_tokenizer.type\" is \"Metaspace\""},
	{"null pre-tokenizer", "{" MODEL ", " NORMALIZER "}", EMB_ERR_UNSUPPORTED, "\"pre_tokenizer\" is null"},
	{"null post-processor", "{" MODEL ", " NORMALIZER ", " PRE "}", EMB_OK, NULL},
	{"post-processor of offsets", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"ByteLevel\"}}", EMB_OK, NULL},
	{"another post-processor", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"Extra\"}}", EMB_ERR_UNSUPPORTED, "\"Extra\""},
	{"sequence of post-processors", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, "
		"{\"type\": \"RobertaProcessing\", \"sep\": [\"[SEP]\", 2], \"cls\": [\"[CLS]\", 1]}]}}", EMB_OK, NULL},
	{"two post-processors", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"Sequence\", \"processors\": ["
		"{\"type\": \"RobertaProcessing\", \"sep\": [\"[SEP]\", 2], \"cls\": [\"[CLS]\", 1]}, {\"type\": \"TemplateProcessing\"}]}}", EMB_ERR_UNSUPPORTED, "several processors"},
	{"sequence of nothing", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"Sequence\"}}", EMB_ERR_FORMAT, "no list of processors"},
	{"sequence of numbers", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"Sequence\", \"processors\": [1]}}", EMB_ERR_FORMAT, "not an object"},
	{"cls is no pair", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"BertProcessing\", \"cls\": \"[CLS]\"}}", EMB_ERR_FORMAT, "post_processor.cls"},
	{"cls has a huge id", "{" MODEL ", " NORMALIZER ", " PRE ", \"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"[CLS]\", 99]}}", EMB_ERR_FORMAT, "post_processor.sep"},
	{"templates", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE(CLS ", " A, A ", " B) "}", EMB_OK, NULL},
	{"B in the single template", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE(A ", " B, A ", " B) "}", EMB_ERR_UNSUPPORTED, "post_processor.single"},
	{"A twice", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE(A ", " A, A ", " B) "}", EMB_ERR_UNSUPPORTED, "post_processor.single"},
	{"no text at all", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE(CLS, A ", " B) "}", EMB_ERR_UNSUPPORTED, "post_processor.single"},
	{"no B in the pair template", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE(A, A) "}", EMB_ERR_UNSUPPORTED, "post_processor.pair"},
	{"unknown special token", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE("{\"SpecialToken\": {\"id\": \"[X]\", \"type_id\": 0}}, " A, A ", " B) "}", EMB_ERR_FORMAT, "\"[X]\" has no ids"},
	{"template of strings", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE("\"$A\"", "\"$A\"") "}", EMB_ERR_FORMAT, "neither a SpecialToken nor a Sequence"},
	{"sequence C", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE("{\"Sequence\": {\"id\": \"C\", \"type_id\": 0}}", A) "}", EMB_ERR_FORMAT, "\"C\""},
	{"negative type_id", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE("{\"Sequence\": {\"id\": \"A\", \"type_id\": -1}}", A) "}", EMB_ERR_FORMAT, "\"type_id\" is -1"},
	{"seventeen slots", "{" MODEL ", " NORMALIZER ", " PRE ", " TEMPLATE(CLS "," CLS "," CLS "," CLS "," CLS "," CLS "," CLS "," CLS "," CLS "," CLS ","
		CLS "," CLS "," CLS "," CLS "," CLS "," CLS "," A, A ", " B) "}", EMB_ERR_LIMIT, "more than 16"},
	{"added tokens", WITH_ADDED("[" TOKEN("0", "[UNK]") ", " TOKEN("7", "new") ", " TOKEN("4294967295", "newer") "]"), EMB_OK, NULL},
	{"added_tokens is an object", WITH_ADDED("{}"), EMB_ERR_FORMAT, "\"added_tokens\" is not an array"},
	{"added token is a string", WITH_ADDED("[\"x\"]"), EMB_ERR_FORMAT, "\"added_tokens[0]\" is not an object"},
	{"added token without flags", WITH_ADDED("[{\"id\": 1, \"content\": \"x\"}]"), EMB_ERR_FORMAT, "no \"single_word\""},
	{"added token with a negative id", WITH_ADDED("[" TOKEN("-1", "x") "]"), EMB_ERR_FORMAT, "\"id\" is -1"},
	{"added token longer than the window", WITH_ADDED("[" TOKEN("5", X1100) "]"), EMB_ERR_LIMIT, "1100 bytes"},
	{"added token of marks only", WITH_ADDED("[{\"id\": 9, \"content\": \"\\u0301\", \"single_word\": false, \"lstrip\": false, "
		"\"rstrip\": false, \"normalized\": true, \"special\": true}]"), EMB_ERR_UNSUPPORTED, "empty after normalization"},
};

static const Case unigram_cases[] = {
	{"the smallest", UNI_PRE(META), EMB_OK, NULL},
	{"without model type", "{\"model\": {\"unk_id\": 0, \"vocab\": " UNI_VOCAB "}, \"pre_tokenizer\": " META ", " UNI_POST "}", EMB_OK, NULL},
	{"byte_fallback", UNI(UNI_VOCAB, UNK_ID ", \"byte_fallback\": true", "null", META), EMB_ERR_UNSUPPORTED, "\"model.byte_fallback\" is true"},
	{"no unk_id", UNI(UNI_VOCAB, "", "null", META), EMB_ERR_FORMAT, "no \"unk_id\""},
	{"null unk_id", UNI(UNI_VOCAB, ", \"unk_id\": null", "null", META), EMB_ERR_FORMAT, "no \"unk_id\""},
	{"unk_id beyond", UNI(UNI_VOCAB, ", \"unk_id\": 3", "null", META), EMB_ERR_FORMAT, "\"unk_id\" is 3"},
	{"vocab is an object", UNI("{\"a\": 0}", UNK_ID, "null", META), EMB_ERR_FORMAT, "\"model.vocab\" is not an array"},
	{"empty vocab", UNI("[]", UNK_ID, "null", META), EMB_ERR_FORMAT, "\"model.vocab\" is not an array"},
	{"entry without score", UNI("[[\"a\"]]", UNK_ID, "null", META), EMB_ERR_FORMAT, "entry 0 of \"model.vocab\""},
	{"entry with three members", UNI("[[\"a\", 0, 0]]", UNK_ID, "null", META), EMB_ERR_FORMAT, "entry 0 of \"model.vocab\""},
	{"score is a string", UNI("[[\"a\", \"0\"]]", UNK_ID, "null", META), EMB_ERR_FORMAT, "entry 0 of \"model.vocab\""},
	{"huge score", UNI("[[\"a\", 0], [\"b\", -1e999]]", UNK_ID, "null", META), EMB_ERR_FORMAT, ""},
	{"strange spacing and keys", "{\"x\": {\"model\": [\"}\", \"\\\"\"]}, \"model\" : { \"y\":[{\"vocab\":1}] ,\"vocab\" :[ [ \"a\\\"]\" , 0 ] , [\"b\",-1.25e0]\n] "
		UNK_ID ", \"type\": \"Unigram\"}, \"pre_tokenizer\": " META ", " UNI_POST "}", EMB_OK, NULL},
	{"escaped key", "{\"mod\\u0065l\": {\"type\": \"Unigram\", \"vocab\": " UNI_VOCAB UNK_ID "}, \"pre_tokenizer\": " META ", " UNI_POST "}", EMB_ERR_FORMAT, "cannot be read"},
	{"long piece", UNI("[[\"" X512 "\", 0], [\"b\", -1]]", UNK_ID, "null", META), EMB_OK, NULL},
	{"too long a piece", UNI("[[\"" X512 "x\", 0], [\"b\", -1]]", UNK_ID, "null", META), EMB_ERR_LIMIT, "vocabulary entry 0 has 513 bytes"},
	{"positive scores", UNI("[[\"a\", 1], [\"b\", 2]]", ", \"unk_id\": 0", "null", META), EMB_ERR_UNSUPPORTED, "the unknown token has score 1"},
	{"two unknown texts", UNI("[[\"u\", 0], [\"uuv\", -2]]", UNK_ID, "null", META), EMB_ERR_UNSUPPORTED, "\"uuv\" starts with two"},
	{"null pre-tokenizer", UNI_PRE("null"), EMB_ERR_UNSUPPORTED, "\"pre_tokenizer\" is null"},
	{"another pre-tokenizer", UNI_PRE("{\"type\": \"ByteLevel\"}"), EMB_ERR_UNSUPPORTED, "\"pre_tokenizer.type\" is \"ByteLevel\""},
	{"another in a sequence", UNI_PRE("{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\"}, " META "]}"), EMB_ERR_UNSUPPORTED, "\"Digits\""},
	{"Metaspace first", UNI_PRE("{\"type\": \"Sequence\", \"pretokenizers\": [" META ", {\"type\": \"WhitespaceSplit\"}]}"), EMB_ERR_UNSUPPORTED, "\"Metaspace\""},
	{"steps that are no objects", UNI_PRE(SEQUENCE("1, 2")), EMB_ERR_FORMAT, "a step of \"pre_tokenizer\" is not an object"},
	{"second step without a type", UNI_PRE(SEQUENCE("{\"type\": \"WhitespaceSplit\"}, {}")), EMB_ERR_UNSUPPORTED,
		"\"pre_tokenizer\" has no type, only Metaspace, or WhitespaceSplit and Metaspace, is supported"},
	{"a third step", UNI_PRE(SEQUENCE(META ", " META ", " META)), EMB_ERR_UNSUPPORTED, "\"Sequence\""},
	{"empty sequence", UNI_PRE("{\"type\": \"Sequence\", \"pretokenizers\": []}"), EMB_ERR_UNSUPPORTED, "\"Sequence\""},
	{"sequence", UNI_PRE("{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, " META "]}"), EMB_OK, NULL},
	{"first behind a split", UNI_PRE("{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, {\"type\": \"Metaspace\", \"replacement\": \"_\", "
		"\"prepend_scheme\": \"first\"}]}"), EMB_ERR_UNSUPPORTED, "\"first\" after WhitespaceSplit"},
	{"no replacement", UNI_PRE("{\"type\": \"Metaspace\"}"), EMB_ERR_FORMAT, "no \"replacement\""},
	{"two characters", UNI_PRE("{\"type\": \"Metaspace\", \"replacement\": \"ab\"}"), EMB_ERR_FORMAT, "\"ab\", not one character"},
	{"unknown scheme", UNI_PRE("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"x\"}"), EMB_ERR_UNSUPPORTED, "\"x\", not always"},
	{"contradiction", UNI_PRE("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": false}"), EMB_ERR_FORMAT, "add_prefix_space"},
	{"no prefix", UNI_PRE("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": false, \"prepend_scheme\": \"never\"}"), EMB_OK, NULL},
	{"another normalizer", UNI_STEPS("{\"type\": \"NFX\"}"), EMB_ERR_UNSUPPORTED, "\"normalizer.type\" is \"NFX\""},
	{"another in a sequence of normalizers", UNI_STEPS("{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}, {\"type\": \"Nmtx\"}]}"), EMB_ERR_UNSUPPORTED, "\"Nmtx\""},
	{"normalizer is a string", UNI_STEPS("\"NFKC\""), EMB_ERR_FORMAT, "not an object"},
	{"sequence without list", UNI_STEPS("{\"type\": \"Sequence\"}"), EMB_ERR_FORMAT, "no list"},
	{"seven steps", UNI_STEPS("{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}, {\"type\": \"Lowercase\"}, {\"type\": \"Lowercase\"}, "
		"{\"type\": \"Lowercase\"}, {\"type\": \"Lowercase\"}, {\"type\": \"Lowercase\"}, {\"type\": \"Lowercase\"}]}"), EMB_ERR_LIMIT, "more than 6 steps"},
	{"strip lacks a key", UNI_STEPS("{\"type\": \"Strip\", \"strip_left\": true}"), EMB_ERR_FORMAT, "no \"strip_right\""},
	{"another pattern", UNI_STEPS("{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"}"), EMB_ERR_UNSUPPORTED, "only the Regex \" {2,}\""},
	{"string pattern", UNI_STEPS("{\"type\": \"Replace\", \"pattern\": {\"String\": \" {2,}\"}, \"content\": \" \"}"), EMB_ERR_UNSUPPORTED, "\"normalizer.pattern.String\""},
	{"no pattern", UNI_STEPS("{\"type\": \"Replace\", \"content\": \" \"}"), EMB_ERR_FORMAT, "neither a Regex"},
	{"long content", UNI_STEPS("{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \"  \"}"), EMB_ERR_UNSUPPORTED, "only one character"},
	{"no charsmap", UNI_STEPS("{\"type\": \"Precompiled\"}"), EMB_ERR_FORMAT, "no \"precompiled_charsmap\""},
	{"empty charsmap", UNI_STEPS("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"\"}"), EMB_ERR_FORMAT, "not base64"},
	{"not base64", UNI_STEPS("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAA!\"}"), EMB_ERR_FORMAT, "not base64"},
	{"bad padding", UNI_STEPS("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"A===\"}"), EMB_ERR_FORMAT, "not base64"},
	{"padding within", UNI_STEPS("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AA==AAAA\"}"), EMB_ERR_FORMAT, "not base64"},
	{"bits in the padding", UNI_STEPS("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AB==\"}"), EMB_ERR_FORMAT, "not base64"},
	{"short charsmap", UNI_STEPS("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAQ=\"}"), EMB_ERR_FORMAT, "charsmap of 2 bytes is corrupt"},
	{"charsmap beyond its end", UNI_STEPS("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAQAAAAA\"}"), EMB_ERR_FORMAT, "it has 1024 bytes of units"},
	{"token of spaces", UNI_ADDED("[{\"id\": 3, \"content\": \"x y\", \"single_word\": false, \"lstrip\": true, \"rstrip\": false, \"normalized\": true, \"special\": true}]"),
		EMB_ERR_UNSUPPORTED, "white space in it"},
};

static const Case bpe_cases[] = {
	{"the smallest", BPE_MORE(""), EMB_OK, NULL},
	{"without model type", "{\"model\": {\"vocab\": " BPE_VOCAB ", \"merges\": []}, \"pre_tokenizer\": " BYTES("false", "") "}", EMB_OK, NULL},
	{"arrays", BPE_LIST("[[\"a\", \"b\"], [\"a\", \"b\"]]"), EMB_OK, NULL},
	{"version line", BPE_LIST("[\"#version: 0.2\", \"a b\"]"), EMB_OK, NULL},
	{"no merges", "{\"model\": {\"type\": \"BPE\", \"vocab\": " BPE_VOCAB "}, \"pre_tokenizer\": " BYTES("false", "") "}", EMB_ERR_FORMAT, "no \"merges\""},
	{"merges is an object", BPE_LIST("{}"), EMB_ERR_FORMAT, "\"model.merges\" is not an array"},
	{"merge of three", BPE_LIST("[\"a b b\"]"), EMB_ERR_FORMAT, "entry 0 of \"model.merges\""},
	{"merge of one", BPE_LIST("[\"ab\"]"), EMB_ERR_FORMAT, "entry 0 of \"model.merges\""},
	{"merge of numbers", BPE_LIST("[[1, 2]]"), EMB_ERR_FORMAT, "entry 0 of \"model.merges\""},
	{"merge is a number", BPE_LIST("[5]"), EMB_ERR_FORMAT, "entry 0 of \"model.merges\""},
	{"strings and arrays", BPE_LIST("[\"a b\", [\"a\", \"b\"]]"), EMB_ERR_FORMAT, "strings and arrays"},
	{"merge of an unknown piece", BPE_LIST("[\"a c\"]"), EMB_ERR_FORMAT, "has \"c\", which is not in the vocabulary"},
	{"merge to an unknown piece", BPE_LIST("[\"b a\"]"), EMB_ERR_FORMAT, "has \"ba\", which is not in the vocabulary"},
	{"vocab is an array", BPE("[]", BPE_MERGES, "", "null", BYTES("false", "")), EMB_ERR_FORMAT, "\"model.vocab\" is not an object"},
	{"empty vocab", BPE("{}", "[]", "", "null", BYTES("false", "")), EMB_ERR_LIMIT, "0 pieces"},
	{"no bytes", BPE("{\"\xE4\xB8\xAD\": 0}", "[]", "", "null", BYTES("false", "")), EMB_ERR_FORMAT, "no piece of the vocabulary can be reached"},
	{"dropout", BPE_MORE(", \"dropout\": 0.1"), EMB_ERR_UNSUPPORTED, "\"model.dropout\" is 0.1"},
	{"null dropout", BPE_MORE(", \"dropout\": null"), EMB_OK, NULL},
	{"prefix", BPE_MORE(", \"continuing_subword_prefix\": \"##\""), EMB_ERR_UNSUPPORTED, "\"model.continuing_subword_prefix\" is \"##\""},
	{"suffix", BPE_MORE(", \"end_of_word_suffix\": \"</w>\""), EMB_ERR_UNSUPPORTED, "\"model.end_of_word_suffix\" is \"</w>\""},
	{"empty affixes", BPE_MORE(", \"end_of_word_suffix\": \"\", \"continuing_subword_prefix\": \"\""), EMB_OK, NULL},
	{"byte_fallback", BPE_MORE(", \"byte_fallback\": true"), EMB_ERR_UNSUPPORTED, "\"model.byte_fallback\" is true"},
	{"fuse_unk", BPE_MORE(", \"fuse_unk\": true, \"unk_token\": \"<unk>\""), EMB_ERR_UNSUPPORTED, "\"model.fuse_unk\" is true"},
	{"fuse_unk of nothing", BPE_MORE(", \"fuse_unk\": true"), EMB_OK, NULL},
	{"ignore_merges", BPE_MORE(", \"ignore_merges\": true"), EMB_ERR_UNSUPPORTED, "lacks the character of byte 0x01"},
	{"unknown token", BPE_MORE(", \"unk_token\": \"<unk>\""), EMB_OK, NULL},
	{"no unknown token", BPE_MORE(", \"unk_token\": \"?\""), EMB_ERR_FORMAT, "unknown token \"?\" is not in the vocabulary"},
	{"merges of the unknown token", BPE(BPE_VOCAB, BPE_MERGES, ", \"unk_token\": \"a\"", "null", BYTES("false", "")), EMB_ERR_UNSUPPORTED, "unknown token is merged"},
	{"null pre-tokenizer", BPE_PRE("null"), EMB_ERR_UNSUPPORTED, "neither an unknown token nor byte_fallback"},
	{"another pre-tokenizer", BPE_PRE("{\"type\": \"Punctuation\"}"), EMB_ERR_UNSUPPORTED, "\"pre_tokenizer.type\" is \"Punctuation\""},
	{"a pattern that goes back", BPE_PRE(SEQUENCE(SPLIT("{\"Regex\": \"a*b|[\\\\s\\\\S]\"}", "Isolated") ", " BYTES("false", ", \"use_regex\": false"))), EMB_ERR_UNSUPPORTED,
		"more than linear time"},
	{"characters", CHARS(", \"unk_token\": \"<unk>\"", BLANKS, "null"), EMB_OK, NULL},
	{"characters, Gemma's split", CHARS(", \"unk_token\": \"<unk>\"", BLANKS, SPLIT("{\"String\": \" \"}", "MergedWithPrevious")), EMB_OK, NULL},
	{"split of spaces that stay", CHARS(", \"unk_token\": \"<unk>\"", "null", SPLIT("{\"String\": \" \"}", "MergedWithPrevious")), EMB_ERR_UNSUPPORTED, "a Split without ByteLevel"},
	{"characters, Metaspace", CHARS(", \"unk_token\": \"<unk>\", \"fuse_unk\": true", "null", METASPACE), EMB_OK, NULL},
	{"characters, Metaspace alone in a sequence", CHARS(", \"unk_token\": \"<unk>\"", "null", SEQUENCE(METASPACE)), EMB_OK, NULL},
	{"Metaspace without a character", BPE_PRE("{\"type\": \"Metaspace\"}"), EMB_ERR_FORMAT, "no \"replacement\""},
	{"unknown unknown token", CHARS(", \"unk_token\": \"<x>\"", BLANKS, "null"), EMB_ERR_FORMAT, "the unknown token \"<x>\" is not in the vocabulary"},
	{"characters that are dropped", CHARS("", BLANKS, "null"), EMB_ERR_UNSUPPORTED, "neither an unknown token nor byte_fallback"},
	{"too few bytes", CHARS(", \"unk_token\": \"<unk>\", \"byte_fallback\": true", BLANKS, "null"), EMB_ERR_UNSUPPORTED, "the vocabulary lacks the piece \"<0x01>\""},
	{"merges not made", CHARS(", \"unk_token\": \"<unk>\", \"ignore_merges\": true", BLANKS, "null"), EMB_ERR_UNSUPPORTED, "ignore_merges is not supported without ByteLevel"},
	{"an unknown token that merges", BPE("{\"u\": 0, \"<\": 1, \"u<\": 2, \"<u\": 3, \"<<\": 4}", "[\"< u\"]", ", \"unk_token\": \"<u\"", BLANKS, "null"), EMB_ERR_UNSUPPORTED,
		"merge 0 has the piece of the unknown token"},
	{"an unknown token of one character", CHARS(", \"unk_token\": \"a\"", BLANKS, "null"), EMB_ERR_UNSUPPORTED, "the unknown token is one character"},
	{"prepend two", CHARS(", \"unk_token\": \"<unk>\"", "{\"type\": \"Prepend\", \"prepend\": \"ab\"}", "null"), EMB_ERR_UNSUPPORTED, "\"normalizer.prepend\" is \"ab\""},
	{"replace something else", CHARS(", \"unk_token\": \"<unk>\"", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"b\"}", "null"), EMB_ERR_UNSUPPORTED,
		"only the Regex \" {2,}\" and the String \" \" are supported"},
	{"no prefix space", BPE_PRE("{\"type\": \"ByteLevel\"}"), EMB_ERR_FORMAT, "no \"add_prefix_space\""},
	{"one in a sequence", BPE_PRE(SEQUENCE(BYTES("true", ", \"use_regex\": false"))), EMB_OK, NULL},
	{"Digits", BPE_PRE(SEQUENCE("{\"type\": \"Digits\", \"individual_digits\": true}, " BYTES("true", ""))), EMB_ERR_UNSUPPORTED, "\"pre_tokenizer.type\" is \"Digits\""},
	{"number in a sequence", BPE_PRE(SEQUENCE("5, 6")), EMB_ERR_FORMAT, "not an object"},
	{"steps that are no objects", BPE_PRE(SEQUENCE("1, 2")), EMB_ERR_FORMAT, "a step of \"pre_tokenizer\" is not an object"},
	{"second step without a type", BPE_PRE(SEQUENCE(SPLIT(QWEN2, "Isolated") ", {}")), EMB_ERR_UNSUPPORTED,
		"\"pre_tokenizer\" has no type, only ByteLevel, or Split and ByteLevel, is supported"},
	{"empty sequence", BPE_PRE(SEQUENCE("")), EMB_ERR_UNSUPPORTED, "\"Sequence\""},
	{"split", BPE_PRE(SEQUENCE(SPLIT(QWEN2, "Isolated") ", " BYTES("false", ", \"use_regex\": false"))), EMB_OK, NULL},
	{"split and its regex", BPE_PRE(SEQUENCE(SPLIT(QWEN2, "Isolated") ", " BYTES("false", ""))), EMB_ERR_UNSUPPORTED, "\"pre_tokenizer.use_regex\""},
	{"split and a space", BPE_PRE(SEQUENCE(SPLIT(QWEN2, "Isolated") ", " BYTES("true", ", \"use_regex\": false"))), EMB_ERR_UNSUPPORTED, "\"pre_tokenizer.add_prefix_space\""},
	{"another behavior", BPE_PRE(SEQUENCE(SPLIT(QWEN2, "Removed") ", " BYTES("false", ", \"use_regex\": false"))), EMB_ERR_UNSUPPORTED, "\"Removed\""},
	{"split by a string", BPE_PRE(SEQUENCE(SPLIT("{\"String\": \" \"}", "Isolated") ", " BYTES("false", ""))), EMB_ERR_UNSUPPORTED, "not a Regex"},
	{"another regex", BPE_PRE(SEQUENCE(SPLIT("{\"Regex\": \"\\\\w+\"}", "Isolated") ", " BYTES("false", ""))), EMB_ERR_UNSUPPORTED, "is \"\\w+\", which cannot be compiled: an escape at byte 0"},
	{"NFC", BPE(BPE_VOCAB, BPE_MERGES, "", "{\"type\": \"NFC\"}", BYTES("false", "")), EMB_OK, NULL},
	{"late NFC", BPE(BPE_VOCAB, BPE_MERGES, "", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}, {\"type\": \"NFC\"}]}", BYTES("false", "")),
		EMB_OK, NULL},
	{"two forms", BPE(BPE_VOCAB, BPE_MERGES, "", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, {\"type\": \"StripAccents\"}, {\"type\": \"NFKC\"}]}",
						BYTES("false", "")), EMB_ERR_UNSUPPORTED, "NFKC is step 3 of \"normalizer\" after another"},
	{"another normalizer", BPE(BPE_VOCAB, BPE_MERGES, "", "{\"type\": \"ByteLevel\"}", BYTES("false", "")), EMB_ERR_UNSUPPORTED, "\"normalizer.type\" is \"ByteLevel\""},
};

/* merges.txt beside the vocabulary BPE_VOCAB with RoBERTa's tokens. */
static const Case merges_cases[] = {
	{"the smallest", "#version: 0.2\na b\n", EMB_OK, NULL},
	{"no last line end", "#version: 0.2\na b\na c", EMB_OK, NULL},
	{"first line", "a c\na b\n", EMB_OK, NULL},
	{"blanks", "\n \ta\r b\r\n", EMB_OK, NULL},
	{"empty", "", EMB_OK, NULL},
	{"empty line", "#\n\na b\n", EMB_ERR_FORMAT, "line 2 of merges.txt"},
	{"one piece", "#\na b\nab\n", EMB_ERR_FORMAT, "line 3 of merges.txt"},
	{"three pieces", "#\na b b\n", EMB_ERR_FORMAT, "line 2 of merges.txt"},
	{"unknown piece", "#\na c\n", EMB_ERR_FORMAT, "line 2 has \"c\""},
};

static void
test_merges_txt(void)
{
	static const char vocab[] = "{\"<s>\": 0, \"</s>\": 2, \"a\": 1, \"b\": 5, \"ab\": 3, \"\xC4\xA0\": 4}";
	EmbAllocator mem = emb_malloc_allocator();

	for (size_t i = 0; i < sizeof(merges_cases) / sizeof(merges_cases[0]); i++)
	{
		const Case *c = &merges_cases[i];
		EmbTokSpec	spec;
		EmbError	err = {0};
		Tok			t;
		EmbStatus	status = emb_import_bpe(vocab, sizeof(vocab) - 1, c->json, strlen(c->json), &mem, &spec, &err);

		if (status == EMB_OK)
			status = tok_from_spec(&spec, &t, &err);
		CHECKF(status == c->status, "%s: status %d, %s", c->what, status, err.message);
		if (c->message != NULL)
			CHECKF(strstr(err.message, c->message) != NULL, "%s: \"%s\"", c->what, err.message);
		if (status == EMB_OK)
			tok_close(&t);
	}
}

/* Scores are read as the library reads them, rounding errors included: its values, asked for by to_str(). */
static const struct
{
	const char *text;
	double		value;
}			scores[] = {
	{"-7.4715776443481445", -0x1.de2e53fffffffp+2},
	{"-7.7206902503967285", -0x1.ee1fc9fffffffp+2},
	{"-7.7708048820495605", -0x1.f154ddfffffffp+2},
	{"-0.1", -0x1.999999999999ap-4},
	{"-20.3647518157959", -0x1.45d6060000000p+4},
	{"-1234567890123456789012345678.9", -0x1.fe9af5b6bcbd4p+89},
	{"-0.000000000000000000000001234567890123456789", -0x1.7e148ba18936fp-80},
	{"-1e-400", -0x0.0p+0},
	{"-12345678901234567890.5e-30", -0x1.b25ffd636ec11p-37},
	{"-18446744073709551616", -0x1.0000000000000p+64},
	{"-18446744073709551615.57", -0x1.0000000000000p+64},
	{"-1844674407370955161.54321e-3", -0x1.a36e2eb1c432dp+50},
	{"-1.7976931348623157e308", -0x1.fffffffffffffp+1023},
	{"-4.9e-324", -0x0.0000000000001p-1022},
	{"-2.2250738585072011e-308", -0x1.0000000000000p-1022},
	{"-123e5", -0x1.775dc00000000p+23},
	{"-1E+2", -0x1.9000000000000p+6},
	{"-0", -0x0.0p+0},
	{"-9007199254740993", -0x1.0000000000000p+53}
};

static void
test_scores(void)
{
	EmbAllocator mem = emb_malloc_allocator();

	for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++)
	{
		char		json[2000];
		EmbTokSpec	spec;
		EmbError	err = {0};

		snprintf(json, sizeof(json), UNI("[[\"<unk>\", 0], [\"a\", %s]]", UNK_ID, "null", META), scores[i].text);
		if (!CHECKF(emb_import_tokenizer_json("x", json, strlen(json), &mem, &spec, &err) == EMB_OK, "%s: %s", scores[i].text, err.message))
			continue;
		CHECKF(memcmp(&spec.scores[1], &scores[i].value, sizeof(double)) == 0, "%s: %a, not %a", scores[i].text,
			   spec.scores[1], scores[i].value);
		emb_tok_spec_free(&spec, &mem);
	}
}

static void
test_json_cases(const Case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		const Case *c = &cases[i];
		/* An exact copy: the parser must not count on a zero byte behind. */
		size_t		size = strlen(c->json);
		char	   *exact = malloc(size > 0 ? size : 1);
		EmbError	err = {0};
		Tok			t;
		EmbStatus	status;

		memcpy(exact, c->json, size);
		status = tok_from_bytes(exact, size, &t, &err);
		CHECKF(status == c->status, "%s: status %d, %s", c->what, status, err.message);
		if (c->message != NULL)
			CHECKF(strstr(err.message, c->message) != NULL, "%s: \"%s\"", c->what, err.message);
		if (status == EMB_OK)
			tok_close(&t);
		free(exact);
	}
}

static void
test_deep_json(void)
{
	size_t		depth = 1000000;
	char	   *deep = malloc(depth);
	EmbError	err;
	Tok			t;

	memset(deep, '[', depth);
	CHECK(tok_from_bytes(deep, depth, &t, &err) == EMB_ERR_FORMAT);
	free(deep);
}

/* Every prefix of a real file is an error, never more. */
static void
test_cut_json(const char *name)
{
	json_t	   *json = json_from_data(name);
	char	   *text = json_dumps(json, JSON_COMPACT);
	size_t		size = strlen(text);
	bool		refused = true;

	for (size_t cut = 0; cut < size; cut += 61)
	{
		char	   *exact = malloc(cut > 0 ? cut : 1);
		Tok			t;

		memcpy(exact, text, cut);
		refused = refused && tok_from_bytes(exact, cut, &t, NULL) == EMB_ERR_FORMAT;
		free(exact);
	}
	CHECK(refused);
	free(text);
	json_decref(json);
}

/* An allocator that fails at the n-th call, and knows whether everything came back. */
typedef struct Meter
{
	EmbAllocator mem;
	int			n_left;
	int			n_live;
} Meter;

static void *
meter_alloc(void *ctx, size_t size)
{
	Meter	   *m = ctx;
	void	   *p = m->n_left-- > 0 ? emb_alloc(&m->mem, size) : NULL;

	m->n_live += p != NULL;
	return p;
}

static void
meter_release(void *ctx, void *p)
{
	Meter	   *m = ctx;

	m->n_live--;
	emb_release(&m->mem, p);
}

static void
test_out_of_memory(const char *base, const char *variant)
{
	json_t	   *variants = json_from_data("variants.json");
	json_t	   *json = json_from_data(base);
	char	   *text;
	EmbStatus	status = EMB_ERR_NOMEM;
	int			n;

	apply_changes(json, json_object_get(variants, variant));
	text = json_dumps(json, 0);
	for (n = 0; status != EMB_OK && n < 200; n++)
	{
		Meter		meter = {emb_malloc_allocator(), n, 0};
		EmbAllocator mem = {&meter, meter_alloc, meter_release};
		EmbTokSpec	spec;
		void	   *block = NULL;
		size_t		size;
		EmbTokenizer *tok = NULL;

		status = emb_import_tokenizer_json("x", text, strlen(text), &mem, &spec, NULL);
		if (status == EMB_OK)
		{
			status = emb_tok_build(&spec, &mem, &block, &size, NULL);
			emb_tok_spec_free(&spec, &mem);
		}
		if (status == EMB_OK)
			status = emb_tok_open(block, size, true, &mem, &tok, NULL);
		emb_tok_close(tok);
		emb_release(&mem, block);
		CHECKF((status == EMB_OK || status == EMB_ERR_NOMEM) && meter.n_live == 0,
			   "allocation %d: status %d, %d blocks left", n, status, meter.n_live);
	}
	CHECKF(status == EMB_OK && n > 10, "%d allocations", n);
	free(text);
	json_decref(json);
	json_decref(variants);
}

/* --------------------------------------------------------------- stops */

static bool
ask(void *ctx)
{
	int		   *left = ctx;

	return --*left < 0;
}

/* A vocabulary of some 40,000 pieces, in a folder: each place that asks may end the import, and leaves nothing. */
static void
test_stops(void)
{
	char		dir[] = "/tmp/embed_tokenizer_XXXXXX";
	char		path[64];
	EmbStatus	status = EMB_ERR_CANCELLED;
	FILE	   *file;
	int			n;

	if (!CHECK(mkdtemp(dir) != NULL))
		return;
	snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
	file = fopen(path, "w");
	fprintf(file, "{\"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"<unk>\", 0]");
	for (int i = 0; i < 40000; i++)
		fprintf(file, ", [\"%x\", %.8f]", i * 7919, -5 - i * 1e-4);
	fprintf(file, "]}, \"pre_tokenizer\": " META ", " UNI_POST "}");
	fclose(file);
	for (n = 0; status == EMB_ERR_CANCELLED && n < 1000; n++)
	{
		Meter		meter = {emb_malloc_allocator(), 1000000, 0};
		EmbAllocator mem = {&meter, meter_alloc, meter_release};
		int			left = n;
		EmbStop		stop = {&left, ask};
		EmbTokSpec	spec;
		EmbError	err;
		void	   *block = NULL;
		size_t		size;

		status = emb_import_tokenizer(dir, &mem, &stop, &spec, &err);
		if (status == EMB_OK)
		{
			status = emb_tok_build(&spec, &mem, &block, &size, &err);
			emb_tok_spec_free(&spec, &mem);
		}
		emb_release(&mem, block);
		CHECKF((status == EMB_OK || status == EMB_ERR_CANCELLED) && meter.n_live == 0, "stop %d: status %d, %s, %d blocks left",
			   n, status, err.message, meter.n_live);
	}
	CHECKF(status == EMB_OK && n > 15, "asked %d times", n);
	unlink(path);
	rmdir(dir);
}

/* ------------------------------------------------------------- vocab.txt */

static char folder[] = "/tmp/embed_tokenizer_XXXXXX";

static void
put(const char *name, const char *content, size_t size)
{
	char		path[256];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
	if (content == NULL)
		return;
	file = fopen(path, "w");
	fwrite(content, 1, size, file);
	fclose(file);
}

static EmbStatus
open_folder(Tok *t, EmbError *err)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokSpec	spec;
	EmbStatus	status = emb_import_tokenizer(folder, &mem, NULL, &spec, err);

	memset(t, 0, sizeof(*t));
	return status == EMB_OK ? tok_from_spec(&spec, t, err) : status;
}

typedef struct VocabCase
{
	const char *what;
	const char *vocab;
	const char *config;			/* tokenizer_config.json, or NULL */
	const char *map;			/* special_tokens_map.json, or NULL */
	EmbStatus	status;
	const char *text;			/* or part of the error message */
	const char *ids;			/* as JSON */
} VocabCase;

#define V "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nA\n\xC3\xA9\ne\nab\n##b\n\xE4\xB8\xAD\n##\xE4\xB8\xAD\n"

static const VocabCase vocab_cases[] = {
	{"defaults", V, NULL, NULL, EMB_OK, "a A \xC3\x89 abb [MASK]", "[2, 5, 5, 8, 9, 10, 4, 3]"},
	{"last line without end", V "zz", NULL, NULL, EMB_OK, "zz", "[2, 13, 3]"},
	{"blank lines at the end", V "zz\n\n\r\n\n", NULL, NULL, EMB_OK, "zz", "[2, 13, 3]"},
	{"CR LF", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n", NULL, NULL, EMB_OK, "a b", "[2, 4, 1, 3]"},
	{"CR", "[PAD]\r[UNK]\r[CLS]\r[SEP]\ra", NULL, NULL, EMB_OK, "a b", "[2, 4, 1, 3]"},
	{"the last of equal lines", V "a\n", NULL, NULL, EMB_OK, "a ab", "[2, 13, 9, 3]"},
	{"three equal lines", "a\na\n[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", NULL, NULL, EMB_OK, "a", "[4, 6, 5]"},
	{"empty lines", "\n\n[UNK]\n[CLS]\n\n[SEP]\na\n\n", NULL, NULL, EMB_OK, "a", "[3, 6, 5]"},
	{"cased", V, "{\"do_lower_case\": false}", NULL, EMB_OK, "a A \xC3\xA9", "[2, 5, 6, 7, 3]"},
	{"lowercase, keep accents", V, "{\"strip_accents\": false}", NULL, EMB_OK, "A \xC3\x89", "[2, 5, 7, 3]"},
	{"cased, strip accents", V, "{\"do_lower_case\": false, \"strip_accents\": true}", NULL, EMB_OK, "A \xC3\xA9", "[2, 6, 8, 3]"},
	{"no spaces around ideographs", V, "{\"tokenize_chinese_chars\": false}", NULL, EMB_OK, "a\xE4\xB8\xAD", "[2, 5, 12, 3]"},
	{"spaces around ideographs", V, "{\"tokenize_chinese_chars\": true, \"tokenizer_class\": \"BertTokenizer\"}", NULL, EMB_OK, "a\xE4\xB8\xAD", "[2, 5, 11, 3]"},
	{"own special tokens", V, "{\"cls_token\": \"A\", \"sep_token\": {\"content\": \"e\", \"lstrip\": false}, \"unk_token\": \"[MASK]\", "
		"\"pad_token\": \"nowhere\", \"mask_token\": null}", NULL, EMB_OK, "a x", "[6, 5, 4, 8]"},
	{"the map overrides", V, "{\"cls_token\": \"e\"}", "{\"cls_token\": \"A\"}", EMB_OK, "a", "[6, 5, 3]"},
	{"a decoder overrides the map", V, "{\"added_tokens_decoder\": {\"5\": {\"content\": \"a\"}, \"13\": {\"content\": \"<new>\", "
		"\"lstrip\": true}}, \"cls_token\": \"e\"}", "{\"cls_token\": \"A\"}", EMB_OK, "xay <new>", "[8, 1, 5, 1, 13, 3]"},
	{"more special tokens", V, NULL, "{\"additional_special_tokens\": [\"<x>\", {\"content\": \"<y>\", \"single_word\": true}]}",
		EMB_OK, "a<x> z<y> <y>", "[2, 5, 13, 1, 1, 1, 1, 14, 3]"},
	{"MPNet", "<s>\n<pad>\n</s>\n[UNK]\na\n<mask>\n", "{\"tokenizer_class\": \"MPNetTokenizer\"}", NULL, EMB_OK, "A x  <mask>a", "[0, 4, 3, 5, 4, 2]"},
	{"MPNet without its tokens", V, "{\"tokenizer_class\": \"MPNetTokenizerFast\"}", NULL, EMB_ERR_FORMAT, "no line \"</s>\"", NULL},
	{"empty", "", NULL, NULL, EMB_ERR_FORMAT, "0 lines", NULL},
	{"no [UNK]", "[CLS]\n[SEP]\na\n", NULL, NULL, EMB_ERR_FORMAT, "no line \"[UNK]\", the tokenizer's unk_token", NULL},
	{"no [CLS]", "[UNK]\n[SEP]\na\n", NULL, NULL, EMB_ERR_FORMAT, "no line \"[CLS]\"", NULL},
	{"no [SEP]", "[UNK]\n[CLS]\na\n", NULL, NULL, EMB_ERR_FORMAT, "no line \"[SEP]\"", NULL},
	{"invalid UTF-8", "[UNK]\n[CLS]\n[SEP]\n\xFF\n", NULL, NULL, EMB_ERR_FORMAT, "line 4", NULL},
	{"another class", V, "{\"tokenizer_class\": \"BertJapaneseTokenizer\"}", NULL, EMB_ERR_UNSUPPORTED, "BertJapaneseTokenizer", NULL},
	{"class is a number", V, "{\"tokenizer_class\": 3}", NULL, EMB_ERR_FORMAT, "\"tokenizer_class\" is not a string", NULL},
	{"do_lower_case is a string", V, "{\"do_lower_case\": \"yes\"}", NULL, EMB_ERR_FORMAT, "\"do_lower_case\" is not", NULL},
	{"configuration is an array", V, "[1]", NULL, EMB_ERR_FORMAT, "not a JSON object", NULL},
	{"configuration is cut off", V, "{\"do_lower_case\": ", NULL, EMB_ERR_FORMAT, "not valid JSON", NULL},
	{"special token is a number", V, "{\"cls_token\": 5}", NULL, EMB_ERR_FORMAT, "\"cls_token\" is neither", NULL},
	{"decoder is an array", V, "{\"added_tokens_decoder\": []}", NULL, EMB_ERR_FORMAT, "\"added_tokens_decoder\" is not", NULL},
	{"decoder key is no id", V, "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}", NULL, EMB_ERR_FORMAT, "key \"x\"", NULL},
	{"decoder contradicts", V, "{\"added_tokens_decoder\": {\"9\": {\"content\": \"a\"}}}", NULL, EMB_ERR_UNSUPPORTED, "id 9", NULL},
	{"list is a string", V, NULL, "{\"additional_special_tokens\": \"x\"}", EMB_ERR_FORMAT, "is not an array", NULL},
};

static void
put_text(const char *name, const char *text)
{
	put(name, text, text != NULL ? strlen(text) : 0);
}

static void
test_vocab_cases(void)
{
	for (size_t i = 0; i < sizeof(vocab_cases) / sizeof(vocab_cases[0]); i++)
	{
		const VocabCase *c = &vocab_cases[i];
		EmbError	err = {0};
		Tok			t;
		EmbStatus	status;

		put_text("vocab.txt", c->vocab);
		put_text("tokenizer_config.json", c->config);
		put_text("special_tokens_map.json", c->map);
		status = open_folder(&t, &err);
		CHECKF(status == c->status, "%s: status %d, %s", c->what, status, err.message);
		if (status == EMB_OK && c->status == EMB_OK)
		{
			json_t	   *want = json_loads(c->ids, 0, NULL);
			int32_t		ids[64];
			EmbTokResult r;

			CHECK(emb_tok_encode(t.tok, &(EmbText) {c->text, strlen(c->text), true, NULL}, &(EmbReading) {.ids = ids, .max_ids = 64},
					&r, &err) == EMB_OK);
			if (!CHECKF(ids_equal(ids, r.n_ids, want), "%s", c->what))
				for (int32_t j = 0; j < r.n_ids; j++)
					printf("#   %d\n", ids[j]);
			json_decref(want);
		}
		else if (c->status != EMB_OK)
			CHECKF(strstr(err.message, c->text) != NULL, "%s: \"%s\"", c->what, err.message);
		tok_close(&t);
	}
	put("tokenizer_config.json", NULL, 0);
	put("special_tokens_map.json", NULL, 0);
	put("vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\0b\n", 22);
	CHECK(open_folder(&(Tok) {0}, NULL) == EMB_ERR_FORMAT);
}

/* vocab.txt made of a tokenizer.json gives the same bytes. */
static void
test_two_roads(void)
{
	json_t	   *json = json_from_data("cls.json");
	json_t	   *vocab = json_object_get(json_object_get(json, "model"), "vocab");
	const char *lines[1024];
	const char *key;
	json_t	   *value;
	char		text[32768];
	size_t		n = 0;
	Tok			a,
				b;
	EmbError	err;

	json_object_foreach(vocab, key, value)
		lines[json_integer_value(value)] = key;
	for (size_t i = 0; i < json_object_size(vocab); i++)
		n += sprintf(text + n, "%s\n", lines[i]);
	put("vocab.txt", text, n);
	CHECK(tok_from_json(json, &a, &err) == EMB_OK);
	CHECKF(open_folder(&b, &err) == EMB_OK, "%s", err.message);
	/* The order of the added tokens differs, no more. */
	CHECK(a.size == b.size);
	tok_close(&b);

	/* With both files there, tokenizer.json counts. */
	key = json_dumps(json, JSON_INDENT(2));
	put_text("tokenizer.json", key);
	put_text("vocab.txt", "nonsense");
	CHECK(open_folder(&b, &err) == EMB_OK && a.size == b.size && memcmp(a.block, b.block, a.size) == 0);
	tok_close(&a);
	tok_close(&b);
	free((char *) key);
	json_decref(json);
}

static void
test_special_files(void)
{
	char		path[256];
	Tok			t;
	EmbError	err;

	put("vocab.txt", NULL, 0);
	put("tokenizer.json", NULL, 0);
	CHECK(open_folder(&t, &err) == EMB_ERR_NOT_FOUND && strstr(err.message, "neither tokenizer.json nor vocab.txt") && err.hint[0]);
	put_text("vocab.json", "{}");
	CHECK(open_folder(&t, &err) == EMB_ERR_NOT_FOUND && strstr(err.message, "but no merges.txt") && err.hint[0]);
	put_text("vocab.json", NULL);
	snprintf(path, sizeof(path), "%s/tokenizer.json", folder);
	mkfifo(path, 0600);
	CHECK(open_folder(&t, &err) == EMB_ERR_NOT_REGULAR);
	unlink(path);
	mkdir(path, 0700);
	CHECK(open_folder(&t, &err) == EMB_ERR_NOT_REGULAR);
	rmdir(path);
}

int
main(void)
{
	test_json_cases(json_cases, sizeof(json_cases) / sizeof(json_cases[0]));
	test_json_cases(unigram_cases, sizeof(unigram_cases) / sizeof(unigram_cases[0]));
	test_json_cases(bpe_cases, sizeof(bpe_cases) / sizeof(bpe_cases[0]));
	test_merges_txt();
	test_scores();
	test_stops();
	test_deep_json();
	test_cut_json("cls.json");
	test_cut_json("unigram.json");
	test_out_of_memory("cls.json", "late_added");
	test_cut_json("bpe.json");
	test_out_of_memory("unigram.json", "uni_late");
	test_out_of_memory("bpe.json", "bpe_eaters");
	if (!CHECK(mkdtemp(folder) != NULL))
		return done_testing();
	test_vocab_cases();
	test_two_roads();
	test_special_files();
	rmdir(folder);
	return done_testing();
}
