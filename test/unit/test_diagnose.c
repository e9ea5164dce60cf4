/*
 * test_diagnose.c
 *		Directories as people have them that cannot be imported: what is said of
 *		each, and what to do.
 */
#include "model_util.h"

#define POINTER "version https://git-lfs.github.com/spec/v1\n" \
	"oid sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db\nsize 90868376\n"

static char dir[PATH_MAX - 512];	/* the directory that is spoiled */

static void
drop(const char *name)
{
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

static void
make_dir(const char *name)
{
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	mkdir(path, 0700);
}

static void
put(const char *name, const char *text)
{
	drop(name);
	write_text(dir, name, text);
}

static void
link_to(const char *name, const char *target)
{
	char		path[PATH_MAX];

	drop(name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (symlink(target, path) != 0)
		abort();
}

static void
set_type(const char *type, const char *more)
{
	char		config[1024];

	snprintf(config, sizeof(config), "{\"model_type\": \"%s\", \"hidden_size\": 8, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"
			 " \"intermediate_size\": 20, \"vocab_size\": 24, \"max_position_embeddings\": 16%s}", type, more);
	put("config.json", config);
}

/* A whole model at dir/name/. */
static void
put_model(const char *name)
{
	SmallModel	m = small_model();
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	mkdir(path, 0700);
	write_small_model(path, &m);
}

static void
cut(const char *name, size_t size)
{
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (truncate(path, (off_t) size) != 0)
		abort();
}

#define SPOIL(name, body) static void name(void) { body }

SPOIL(nothing, drop("config.json");)
SPOIL(weights_gone, drop("model.safetensors");)
SPOIL(other_name, drop("model.safetensors"); put("gptq_model-4bit-128g.safetensors", "x");)
SPOIL(onnx_only, drop("model.safetensors"); make_dir("onnx"); put("onnx/model.onnx", "x");)
SPOIL(onnx_named, drop("model.safetensors"); put("model_quantized.onnx", "x");)
SPOIL(tf_only, drop("model.safetensors"); put("tf_model.h5", "x");)
SPOIL(gguf_only, drop("model.safetensors"); put("model-Q4_K_M.gguf", "GGUF");)
SPOIL(gguf_alone, drop("config.json"); put("a.Q8_0.GGUF", "GGUF");)
SPOIL(gguf_above, drop("model.safetensors"); put("a.gguf", "GGUF"); make_dir("2_Dense"); put("2_Dense/model.safetensors", "x");)
SPOIL(odd_name, drop("model.safetensors"); put("\xC3\xA9\n.onnx", "x");)
SPOIL(adapter, drop("config.json"); put("adapter_config.json", "{}"); put("adapter_model.safetensors", "x");)
SPOIL(adapter_weights, drop("model.safetensors"); put("adapter_model.safetensors", "x");)
SPOIL(sub_directory, drop("config.json"); put_model("bge-small"); put_model("zzz");)
SPOIL(pipeline_below, drop("config.json"); make_dir("st"); put("st/modules.json", "[]");)
SPOIL(pipeline_here, drop("config.json"); make_dir("1_Pooling"); put("1_Pooling/config.json", "{}");)
SPOIL(cache, drop("config.json"); make_dir("snapshots"); put_model("snapshots/a5beb1e3");)
SPOIL(pointer, put("model.safetensors", POINTER);)
SPOIL(pointer_tokenizer, put("tokenizer.json", POINTER);)
SPOIL(pointer_vocab, put("vocab.txt", POINTER);)
SPOIL(pointer_torch, drop("model.safetensors"); put("pytorch_model.bin", POINTER);)
SPOIL(pointer_config, put("config.json", POINTER);)
SPOIL(pointer_shard, drop("model.safetensors"); put("model-1.safetensors", POINTER);
	put("model.safetensors.index.json", "{\"weight_map\": {\"embeddings.word_embeddings.weight\": \"model-1.safetensors\"}}");)
SPOIL(shard_gone, drop("model.safetensors");
	put("model.safetensors.index.json", "{\"weight_map\": {\"embeddings.word_embeddings.weight\": \"model-00001-of-00002.safetensors\"}}");)
SPOIL(byte_order_mark, put("config.json", "\xEF\xBB\xBF{\"model_type\": \"bert\"}");)
SPOIL(no_index, drop("model.safetensors"); put("model-00002-of-00002.safetensors", "x"); put("model-00001-of-00002.safetensors", "x");)
SPOIL(no_torch_index, drop("model.safetensors"); put("pytorch_model-00001-of-00003.bin", "x");)
SPOIL(half_only, drop("model.safetensors"); put("model.fp16.safetensors", "x");)
SPOIL(openvino_only, drop("model.safetensors"); put("openvino_model.bin", "x"); put("openvino_model.xml", "x");)
SPOIL(flat, put("modules.json", SMALL_MODULES);)
SPOIL(flat_onnx, put("modules.json", SMALL_MODULES); drop("model.safetensors"); make_dir("onnx"); put("onnx/model.onnx", "x");)
SPOIL(flat_pointer, put("modules.json", SMALL_MODULES); put("model.safetensors", POINTER);)
SPOIL(one_folder, put("modules.json", "[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},"
	" {\"path\": \"\", \"type\": \"sentence_transformers.models.Pooling\"}]");)
SPOIL(own_module, put("modules.json", "[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},"
	" {\"path\": \"1_X\", \"type\": \"my_code.Pooling\"}]");)
SPOIL(utf16, put("config.json", "\xFF\xFE{");)
SPOIL(latin1, put("config.json", "{\"model_type\": \"\xE9\"}");)
SPOIL(empty_config, put("config.json", "");)
SPOIL(half_config, put("config.json", "{\"model_type\": \"be");)
SPOIL(other_class, set_type("bert", ", \"architectures\": [\"JinaBertForMaskedLM\"]");)
SPOIL(word_level, put("tokenizer.json", "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}}}");)
SPOIL(other_tensors, set_type("modernbert", "");)
SPOIL(gguf_renamed, put("model.safetensors", "GGUF\3 and so on, and so on");)
SPOIL(zip_renamed, put("model.safetensors", "PK\3\4 and so on");)
SPOIL(other_pickle, drop("model.safetensors"); put("pytorch_model.bin", "\x80\4}q");)
SPOIL(loop, link_to("model.safetensors", "model.safetensors");)
SPOIL(loop_config, link_to("config.json", "b"); link_to("b", "config.json");)
SPOIL(directory, drop("config.json"); make_dir("config.json");)
SPOIL(page, put("model.safetensors", "\n\n<!doctype HTML>\n<html class=\"\">");)
SPOIL(page_config, put("config.json", "\xEF\xBB\xBF<html>");)
SPOIL(answer, put("tokenizer.json", "Entry not found");)
SPOIL(answer_login, put("model.safetensors", "Invalid username or password.");)
SPOIL(empty_weights, put("model.safetensors", "");)
SPOIL(half, cut("model.safetensors", 6000);)
SPOIL(half_header, cut("model.safetensors", 500);)
SPOIL(half_torch, drop("model.safetensors"); put("pytorch_model.bin", "PK\3\4 and so on");)
SPOIL(unfinished, drop("model.safetensors"); put("model.safetensors.crdownload", "x");)
SPOIL(dangling, link_to("model.safetensors", "../../blobs/53aa5117");)
SPOIL(dangling_config, link_to("config.json", "../../blobs/53aa5117");)
SPOIL(t5, set_type("t5", "");)
SPOIL(qwen, set_type("llama", "");)
SPOIL(own_code, set_type("my_bert", ", \"auto_map\": {\"AutoModel\": \"modeling.MyBert\"}");)
SPOIL(no_type, put("config.json", "{\"hidden_size\": 8}");)
SPOIL(quantized, set_type("bert", ", \"quantization_config\": {\"quant_method\": \"quip\", \"bits\": 2}");)
SPOIL(no_tokenizer, drop("vocab.txt");)
SPOIL(slow_tokenizer, drop("vocab.txt"); put("spiece.model", "x");)
SPOIL(dangling_vocab, link_to("vocab.txt", "../../blobs/07eced37");)

static const struct
{
	const char *what;
	void		(*spoil) (void);
	EmbStatus	status;
	const char *message,
			   *also,
			   *hint;
}			cases[] =
{
	{"no config.json", nothing, EMB_ERR_NOT_FOUND, "config.json", "does not exist", "model.safetensors and tokenizer.json"},
	{"no weights", weights_gone, EMB_ERR_NOT_FOUND, "neither model.safetensors nor pytorch_model.bin", "", "Download"},
	{"weights under another name", other_name, EMB_ERR_NOT_FOUND, "no model.safetensors, but gptq_model-4bit-128g.safetensors", "", "rename the file to model.safetensors"},
	{"ONNX only", onnx_only, EMB_ERR_UNSUPPORTED, "onnx/model.onnx only", "", "save_pretrained"},
	{"ONNX by another name", onnx_named, EMB_ERR_UNSUPPORTED, "model_quantized.onnx only", "", "save_pretrained"},
	{"TensorFlow only", tf_only, EMB_ERR_UNSUPPORTED, "tf_model.h5 only", "", "save_pretrained"},
	{"a cut GGUF only", gguf_only, EMB_ERR_FORMAT, "model-Q4_K_M.gguf", "ends in the middle", "download"},
	{"a GGUF beside weights", gguf_alone, EMB_ERR_NOT_FOUND, "a.Q8_0.GGUF", "has no config.json", "path of the GGUF file"},
	{"a GGUF above weights", gguf_above, EMB_ERR_NOT_FOUND, "a.gguf", "has no model.safetensors", "path of the GGUF file"},
	{"an odd name", odd_name, EMB_ERR_UNSUPPORTED, "???.onnx only", "", ""},
	{"an adapter", adapter, EMB_ERR_UNSUPPORTED, "adapter_config.json", "not a model", "merge_and_unload"},
	{"an adapter's weights", adapter_weights, EMB_ERR_UNSUPPORTED, "adapter_model", "not a model's", "merge_and_unload"},
	{"the directory above", sub_directory, EMB_ERR_NOT_FOUND, "config.json", "does not exist", "\"bge-small\" below it"},
	{"above a pipeline", pipeline_below, EMB_ERR_NOT_FOUND, "config.json", "", "\"st\" below it"},
	{"a pipeline without its transformer", pipeline_here, EMB_ERR_NOT_FOUND, "config.json", "", "model.safetensors and tokenizer.json"},
	{"the hub's cache", cache, EMB_ERR_NOT_FOUND, "config.json", "", "\"snapshots/a5beb1e3\" below it"},
	{"a pointer", pointer, EMB_ERR_FORMAT, "model.safetensors", "pointer of git-lfs", "git lfs pull"},
	{"a pointer for a tokenizer", pointer_tokenizer, EMB_ERR_FORMAT, "tokenizer.json", "pointer of git-lfs", "git lfs pull"},
	{"a pointer for a vocabulary", pointer_vocab, EMB_ERR_FORMAT, "vocab.txt", "pointer of git-lfs", "git lfs pull"},
	{"a pointer for torch's", pointer_torch, EMB_ERR_FORMAT, "pytorch_model.bin", "pointer of git-lfs", "git lfs pull"},
	{"a pointer for a configuration", pointer_config, EMB_ERR_FORMAT, "config.json", "pointer of git-lfs", "git lfs pull"},
	{"a pointer for a shard", pointer_shard, EMB_ERR_FORMAT, "model-1.safetensors", "pointer of git-lfs", "git lfs pull"},
	{"a shard that is not there", shard_gone, EMB_ERR_NOT_FOUND, "model-00001-of-00002.safetensors", "does not exist", "model.safetensors.index.json names it"},
	{"a web page", page, EMB_ERR_FORMAT, "model.safetensors", "web page", "/resolve/"},
	{"a web page for a configuration", page_config, EMB_ERR_FORMAT, "config.json", "web page", "/resolve/"},
	{"the hub's answer", answer, EMB_ERR_FORMAT, "tokenizer.json", "Entry not found", "failed"},
	{"another answer", answer_login, EMB_ERR_FORMAT, "model.safetensors", "Invalid username", "requires a login"},
	{"an empty file", empty_weights, EMB_ERR_FORMAT, "model.safetensors", "0 bytes", "cut off"},
	{"half a file", half, EMB_ERR_FORMAT, "model.safetensors", "bytes", "cut off"},
	{"half a header", half_header, EMB_ERR_FORMAT, "model.safetensors", "header", "cut off"},
	{"half of torch's", half_torch, EMB_ERR_FORMAT, "pytorch_model.bin", "", "cut off"},
	{"an unfinished download", unfinished, EMB_ERR_NOT_FOUND, "model.safetensors.crdownload", "not finished", "again"},
	{"a link to nothing", dangling, EMB_ERR_NOT_FOUND, "model.safetensors", "a link to \"../../blobs/53aa5117\"", "cp -rL"},
	{"a configuration that is one", dangling_config, EMB_ERR_NOT_FOUND, "config.json", "a link to", "cp -rL"},
	{"a byte order mark", byte_order_mark, EMB_ERR_FORMAT, "config.json begins with a byte order mark", "", "without a byte order mark"},
	{"shards without an index", no_index, EMB_ERR_NOT_FOUND, "model-00001-of-00002.safetensors the first", "index", "model.safetensors.index.json"},
	{"torch's without an index", no_torch_index, EMB_ERR_NOT_FOUND, "pytorch_model-00001-of-00003.bin", "index", "pytorch_model.bin.index.json"},
	{"half precision only", half_only, EMB_ERR_NOT_FOUND, "model.fp16.safetensors", "", "rename the file"},
	{"OpenVINO only", openvino_only, EMB_ERR_UNSUPPORTED, "openvino_model.bin", "", "save_pretrained"},
	{"files in one folder", flat, EMB_ERR_NOT_FOUND, "1_Pooling/config.json\" does not exist", "", "names the folder \"1_Pooling\""},
	{"and no weights", flat_onnx, EMB_ERR_UNSUPPORTED, "onnx/model.onnx", "", "save_pretrained"},
	{"a pointer there", flat_pointer, EMB_ERR_FORMAT, "model.safetensors", "pointer of git-lfs", "git lfs pull"},
	{"two modules of one folder", one_folder, EMB_ERR_FORMAT, "modules 0 and 1 have the same \"path\"", "", "1_Pooling"},
	{"a module of its own", own_module, EMB_ERR_UNSUPPORTED, "modules.json", "my_code.Pooling", "docs/models/README.md"},
	{"UTF-16", utf16, EMB_ERR_FORMAT, "config.json begins with a byte order mark of UTF-16", "", "as UTF-8"},
	{"LATIN1", latin1, EMB_ERR_FORMAT, "config.json is not valid JSON", "", "as UTF-8"},
	{"an empty configuration", empty_config, EMB_ERR_FORMAT, "config.json is not valid JSON", "", "empty or was cut off"},
	{"half a configuration", half_config, EMB_ERR_FORMAT, "config.json is not valid JSON", "", "cut off"},
	{"another class", other_class, EMB_ERR_UNSUPPORTED, "\"architectures\" is \"JinaBertForMaskedLM\"", "BertModel", "docs/models/README.md"},
	{"another model of a tokenizer", word_level, EMB_ERR_UNSUPPORTED, "WordLevel", "Unigram", "docs/tokenizers.md"},
	{"another family's tensors", other_tensors, EMB_ERR_NOT_FOUND, "the weights hold no tensor", "", "The first tensors there are \"embeddings."},
	{"a GGUF by another name", gguf_renamed, EMB_ERR_FORMAT, "model.safetensors\" is a GGUF file", "", "ends in .gguf"},
	{"a zip by another name", zip_renamed, EMB_ERR_FORMAT, "model.safetensors\" is a zip archive", "", "pytorch_model.bin"},
	{"a pickle of something else", other_pickle, EMB_ERR_FORMAT, "is not what torch.save writes", "", "a pickle of something else"},
	{"a link to itself", loop, EMB_ERR_NOT_REGULAR, "model.safetensors", "a link that leads to itself", "Remove the link"},
	{"links to each other", loop_config, EMB_ERR_NOT_REGULAR, "config.json", "a link that leads to itself", "Remove the link"},
	{"a directory for a file", directory, EMB_ERR_NOT_REGULAR, "config.json", "not a regular file", "It is a directory"},
	{"t5", t5, EMB_ERR_UNSUPPORTED, "config.json: \"model_type\" is \"t5\"", "modernbert", "docs/models/README.md"},
	{"a decoder", qwen, EMB_ERR_UNSUPPORTED, "llama", "qwen2, roberta", "docs/models/README.md"},
	{"code of its own", own_code, EMB_ERR_UNSUPPORTED, "my_bert", "", "auto_map"},
	{"no model_type", no_type, EMB_ERR_FORMAT, "config.json", "model_type", "no configuration of transformers"},
	{"quantized weights", quantized, EMB_ERR_UNSUPPORTED, "config.json", "\"quant_method\" is \"quip\"", "from which it was quantized"},
	{"another tokenizer", slow_tokenizer, EMB_ERR_UNSUPPORTED, "spiece.model only", "", "AutoTokenizer"},
	{"a link to no tokenizer", dangling_vocab, EMB_ERR_NOT_FOUND, "vocab.txt", "a link to", "cp -rL"},
	{"no tokenizer", no_tokenizer, EMB_ERR_NOT_FOUND, "tokenizer.json", "vocab.txt", "tokenizer.json"},
};

static void
test_cases(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		SmallModel	m = small_model();
		Count		count;
		EmbAllocator mem = counting_allocator(&count);
		Image		image;
		EmbError	err;
		EmbStatus	status;

		m.modules = m.pooling = m.sentence_bert = NULL;
		snprintf(dir, sizeof(dir), "%.3000s", fresh_dir());
		write_small_model(dir, &m);
		cases[i].spoil();
		status = import_image(dir, NULL, &mem, &image, &err);
		CHECKF(status == cases[i].status && strstr(err.message, cases[i].message) != NULL && strstr(err.message, cases[i].also) != NULL,
			   "%s: status %d, \"%s\"", cases[i].what, status, err.message);
		CHECKF(strstr(err.hint, cases[i].hint) != NULL && (cases[i].hint[0] == '\0' || err.hint[strlen(err.hint) - 1] == '.' ||
														  err.hint[strlen(err.hint) - 1] == 'n'),
			   "%s: \"%s\"", cases[i].what, err.hint);
		CHECKF(count.n_live == 0 && image.size_bytes == 0, "%s: %ld blocks leaked", cases[i].what, count.n_live);
	}
}

/* A path that is a file; files that only look like what downloads leave. */
static void
test_paths(void)
{
	SmallModel	m = small_model();
	EmbAllocator mem = emb_malloc_allocator();
	char		path[PATH_MAX];
	Image		image;
	EmbError	err;

	snprintf(dir, sizeof(dir), "%.3000s", fresh_dir());
	m.vocab = SMALL_VOCAB "version https://git-lfs.github.com/spec/v1\n";
	m.config = SMALL_RERANKER_CONFIG("\"x\": 1");
	write_small_model(dir, &m);
	put("model-q4.gguf", "GGUF");
	snprintf(path, sizeof(path), "%s/model-q4.gguf", dir);
	CHECKF(import_image(path, NULL, &mem, &image, &err) == EMB_ERR_FORMAT && strstr(err.message, "model-q4.gguf\" ends") != NULL, "%s", err.message);
	snprintf(path, sizeof(path), "%s/nowhere.gguf", dir);
	CHECKF(import_image(path, NULL, &mem, &image, &err) == EMB_ERR_NOT_FOUND && strstr(err.message, "file \"") != NULL, "%s", err.message);
	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	CHECKF(import_image(path, NULL, &mem, &image, &err) == EMB_ERR_NOT_REGULAR && strstr(err.hint, "directory that holds") != NULL, "%s", err.message);
	CHECKF(import_image("BAAI/bge-small-en-v1.5", NULL, &mem, &image, &err) == EMB_ERR_NOT_FOUND && strstr(err.hint, "hf download") != NULL, "%s", err.hint);
	CHECKF(import_image("/nowhere/bge-small", NULL, &mem, &image, &err) == EMB_ERR_NOT_FOUND && err.hint[0] == '\0', "%s", err.hint);
	snprintf(path, sizeof(path), "%s/loop", dir);
	link_to("loop", "loop");
	CHECKF(import_image(path, NULL, &mem, &image, &err) == EMB_ERR_IO && strstr(err.hint, "leads to itself") != NULL, "%s", err.hint);
	/* not at the beginning: the reranker's head is what is missed */
	CHECKF(import_image(dir, NULL, &mem, &image, &err) != EMB_OK && strstr(err.message, "git-lfs") == NULL, "%s", err.message);
}

int
main(void)
{
	test_cases();
	test_paths();
	return done_testing();
}
