/*
 * gguf_checkpoint.c
 *		A GGUF file as a checkpoint.
 */
#include "import/checkpoint.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "formats/json.h"
#include "formats/tensors.h"
#include "import/gguf_model.h"
#include "import/hf_prompts.h"

#define SHOWN(path)	emb_json_clip(path, 200), path

/* Maximum entries examined; a larger directory is no model directory. */
#define MAX_ENTRIES	4096

/* ---------------------------------------------------------------- tensors */

static EmbStatus
check(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbError *err)
{
	return emb_gguf_check_tensor(c->source_data, &c->arch, c->answer_ids, key, n_rows, n_cols, err);
}

static EmbStatus
read_rows(const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	return emb_gguf_read_tensor(c->source_data, &c->arch, c->answer_ids, key, row, n, n_cols, rows, err);
}

static EmbStatus
codes(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbCodes *found, EmbError *err)
{
	(void) n_rows;
	return emb_gguf_codes(c->source_data, key, n_cols, found, err);
}

static EmbStatus
read_codes(const EmbCheckpoint *c, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
		   uint8_t *to, float *scales, uint8_t *zeros, EmbError *err)
{
	return emb_gguf_read_codes(c->source_data, key, row, n, n_cols, to, scales, zeros, err);
}

/* Inputs stay in their order. */
static EmbStatus
read_order(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_cols, uint16_t *order, EmbError *err)
{
	(void) c;
	(void) key;
	(void) err;
	for (int32_t i = 0; i < n_cols; i++)
		order[i] = (uint16_t) i;
	return EMB_OK;
}

static void
close_model(EmbCheckpoint *c)
{
	EmbGgufModel *m = c->source_data;

	emb_gguf_close(&m->gguf);
	emb_release(c->mem, m);
}

static const EmbCheckpointSource source = {
	.check = check,
	.read = read_rows,
	.close = close_model,
	.codes = codes,
	.read_order = read_order,
	.read_codes = read_codes,
};

/* ------------------------------------------------------------------ names */

/* Whether a part of a file's name says only how it is quantized: "Q4_K_M", "f16". */
static bool
is_quantization(const char *part, size_t len)
{
	static const char *const words[] = {"f16", "f32", "fp16", "fp32", "bf16", "gguf", "UD", "imat"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (strlen(words[i]) == len && strncasecmp(part, words[i], len) == 0)
			return true;
	}
	if (len > 0 && (part[0] == 'i' || part[0] == 'I'))
	{
		part++;
		len--;
	}
	return len > 1 && (part[0] == 'q' || part[0] == 'Q') && part[1] >= '0' && part[1] <= '9';
}

/* Bytes of path without the ending, the shard's number and the quantization. */
static size_t
model_name_bytes(const char *path, size_t len)
{
	size_t		prefix;
	int			number;
	int			n;

	if (emb_gguf_is_shard_name(path, &prefix, &number, &n) && prefix < len)
		len = prefix;
	for (;;)
	{
		size_t		at = len;

		while (at > 0 && path[at - 1] != '-' && path[at - 1] != '.' && path[at - 1] != '/')
			at--;
		if (at < 2 || path[at - 1] == '/' || path[at - 2] == '/' || !is_quantization(path + at, len - at))
			return len;
		len = at - 1;
	}
}

/* "general.name" as the hub spells names: without blanks. */
static void
read_names(EmbGgufModel *m, const char *path)
{
	const char *name = "";
	int			n = (int) model_name_bytes(path, strlen(path));

	snprintf(m->path, sizeof(m->path), "%.*s", n < (int) sizeof(m->path) ? n : 0, path);
	if (emb_gguf_get_string(&m->gguf, "general.name", &name, NULL) != EMB_OK || strlen(name) >= sizeof(m->names.name_or_path))
		name = "";
	strcpy(m->names.name_or_path, name);
	for (char *p = m->names.name_or_path; (p = strchr(p, ' ')) != NULL;)
		*p = '-';
}

/* The prompts that the file's name, its directory's, its own or the caller's show. */
static bool
find_prompts(const EmbGgufModel *m, const char *path, const char *name, EmbKnownPrompts *known)
{
	static const EmbHfConfig none;
	const char *slash = strrchr(path, '/');
	char		dir[EMB_HF_MAX_PATH];
	int			n = slash != NULL ? (int) model_name_bytes(path, (size_t) (slash - path)) : 0;

	if (emb_hf_find_prompts(&none, m->path, NULL, known))
	{
		known->found_in = "the file";
		return true;
	}
	snprintf(dir, sizeof(dir), "%.*s", n < (int) sizeof(dir) ? n : 0, path);
	if (!emb_hf_find_prompts(&m->names, dir, name, known))
		return false;
	if (strncmp(known->found_in, "\"_name", 6) == 0)
		known->found_in = "\"general.name\" of the file";
	return true;
}

static EmbStatus
copy_prompt(const EmbAllocator *mem, const char *text, char **prompt, EmbError *err)
{
	*prompt = emb_alloc(mem, strlen(text) + 1);
	if (*prompt == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's prompts");
	strcpy(*prompt, text);
	return EMB_OK;
}

static EmbStatus
choose_prompts(EmbCheckpoint *c, const char *path, const EmbCheckpointOptions *options, EmbError *err)
{
	EmbKnownPrompts known = {.query = "", .document = ""};
	bool		found = c->arch.head == EMB_HEAD_NONE && find_prompts(c->source_data, path, options->name, &known);
	char		what[200];
	EmbStatus	status = copy_prompt(c->mem, options->has_query_prompt ? "" : known.query, &c->query_prompt, err);

	c->centers_cut = found && known.centers_cut;
	if (status == EMB_OK)
		status = copy_prompt(c->mem, options->has_document_prompt ? "" : known.document, &c->document_prompt, err);
	if (status != EMB_OK || !found || (c->query_prompt[0] == '\0' && c->document_prompt[0] == '\0'))
		return status;
	snprintf(what, sizeof(what), "%s%s%s%s%s%s%s", c->query_prompt[0] != '\0' ? "\"" : "", c->query_prompt,
			 c->query_prompt[0] != '\0' ? "\" before queries" : "", c->query_prompt[0] != '\0' && c->document_prompt[0] != '\0' ? ", " : "",
			 c->document_prompt[0] != '\0' ? "\"" : "", c->document_prompt, c->document_prompt[0] != '\0' ? "\" before documents" : "");
	emb_note(c, "The options query_prompt and document_prompt set others; \"\" is none.",
			 "a GGUF file names no prompts; the model gets the prompts of %s: %s", known.name, what);
	return EMB_OK;
}

/* ------------------------------------------------------------------- file */

/* Reports what the file does not say. */
static void
note_assumptions(EmbCheckpoint *c, const EmbGgufModel *m)
{
	if (m->assumes_pooling)
		emb_note(c, "The option pooling sets another.",
				 "the file names no pooling; the model takes %s", c->arch.pooling == EMB_POOL_LAST ? "the last row" : "the mean of all rows");
	if (m->lacks_dense)
		emb_note(c, "Take a file that was converted with --sentence-transformers-dense-modules, or import the model's directory.",
				 "the file has no tensors dense_2.weight and dense_3.weight; the model gets no dense layers after the pooling, which EmbeddingGemma has");
	if (m->assumes_case)
		emb_note(c, m->lowercases ? "If the model is cased, import its directory with its tokenizer.json instead." :
				 "If the model is uncased, import its directory with its tokenizer.json instead.",
				 "the file does not say whether texts are lowercased; by its vocabulary they are %s%s", m->lowercases ? "" : "not", m->lowercases ? "lowercased" : "");
	if (m->n_absent_blocks > 0)
		emb_note(c, "", "the last %d blocks that the file counts have no tensors and are left out", m->n_absent_blocks);
	if (c->arch.head == EMB_HEAD_SCORE && strcmp(m->family->arch, "modern-bert") == 0)
		emb_note(c, "Import the model's directory if config.json has another \"classifier_pooling\" or \"classifier_activation\".",
				 "the file does not say what its classifier reads; it reads the mean of all rows, by GELU");
}

static EmbStatus
open_model(EmbCheckpoint *c, const char *path, const EmbCheckpointOptions *options, const EmbStop *stop, EmbError *err)
{
	EmbGgufModel *m = emb_alloc_zero(c->mem, 1, sizeof(*m));
	EmbStatus	status;

	if (m == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a GGUF file");
	m->mem = c->mem;
	if (options->label != NULL)
	{
		emb_release(c->mem, m);
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "label \"%.*s\": a GGUF file's classifier has one label", emb_json_clip(options->label, 80),
						 options->label);
	}
	status = emb_gguf_open(path, c->mem, stop, &m->gguf, err);
	if (status != EMB_OK)
	{
		emb_release(c->mem, m);
		return status;
	}
	c->source = &source;
	c->source_data = m;
	read_names(m, path);
	if ((status = emb_gguf_read_arch(m, options, &c->arch, &c->max_tokens, err)) != EMB_OK ||
		(status = emb_gguf_choose_template(c, m, options, err)) != EMB_OK ||
		(status = emb_gguf_read_tokenizer(m, &c->arch, &c->tokenizer, err)) != EMB_OK ||
		(status = choose_prompts(c, path, options, err)) != EMB_OK)
		return status;
	note_assumptions(c, m);
	return EMB_OK;
}

EmbStatus
emb_checkpoint_open_gguf(const char *path, const EmbCheckpointOptions *options, const EmbAllocator *mem, const EmbStop *stop,
						 EmbCheckpoint *c, EmbError *err)
{
	EmbStatus	status;

	*c = (EmbCheckpoint) {.mem = mem, .dropped_id = -1, .answer_ids = {-1, -1}, .pools_prompt = true};
	status = open_model(c, path, options, stop, err);
	if (status != EMB_OK)
		emb_checkpoint_close(c);
	return status;
}

/* -------------------------------------------------------------- directory */

static bool
has_gguf_name(const char *name)
{
	size_t		len = strlen(name);

	return len > 5 && strcasecmp(name + len - 5, ".gguf") == 0;
}

/* The part of a file's name that its model's other shards share; the whole name if it has none. */
static size_t
group_bytes(const char *name)
{
	size_t		prefix;
	int			number;
	int			n;

	return emb_gguf_is_shard_name(name, &prefix, &number, &n) ? prefix : strlen(name);
}

/* What a directory holds, by names. */
typedef struct Found
{
	bool		has_weights;	/* of the hub's formats, here or one directory below */
	bool		has_several;	/* GGUF files of more than one model */
	char		first[256];		/* the first GGUF file by name, or "" */
	char		other[256];		/* one of another model */
} Found;

static void
look_at(const char *dir, const char *name, Found *found)
{
	char		path[EMB_HF_MAX_PATH];
	bool		same;

	if (!has_gguf_name(name))
	{
		if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int) sizeof(path))
			found->has_weights |= emb_tensors_exist(path);
		return;
	}
	if (strlen(name) >= sizeof(found->first))
		return;
	same = group_bytes(name) == group_bytes(found->first) && strncmp(name, found->first, group_bytes(name)) == 0;
	if (found->first[0] != '\0' && !same)
	{
		found->has_several = true;
		strcpy(found->other, strcmp(name, found->first) < 0 ? found->first : name);
	}
	if (found->first[0] == '\0' || strcmp(name, found->first) < 0)
		strcpy(found->first, name);
}

static void
look_into(const char *dir, Found *found)
{
	DIR		   *d = opendir(dir);
	struct dirent *e;

	found->has_weights = emb_tensors_exist(dir);
	for (int i = 0; d != NULL && i < MAX_ENTRIES && (e = readdir(d)) != NULL; i++)
	{
		if (e->d_name[0] != '.')
			look_at(dir, e->d_name, found);
	}
	if (d != NULL)
		closedir(d);
}

/* A file that is not called .gguf, as in the cache of some tools. */
static bool
has_magic(const char *path)
{
	EmbFile		file;
	char		magic[4];
	bool		is_gguf;

	if (emb_file_open(path, NULL, &file, NULL) != EMB_OK)
		return false;
	is_gguf = file.size_bytes >= 4 && emb_file_read(&file, 0, magic, 4, NULL) == EMB_OK && memcmp(magic, "GGUF", 4) == 0;
	emb_file_close(&file);
	return is_gguf;
}

EmbStatus
emb_checkpoint_find_gguf(const char *path, char *file, size_t size, EmbError *err)
{
	struct stat st;
	Found		found = {0};

	file[0] = '\0';
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
	{
		if (strlen(path) < size && (has_gguf_name(path) || has_magic(path)))
			strcpy(file, path);
		return EMB_OK;
	}
	look_into(path, &found);
	if (found.has_weights || found.first[0] == '\0')
		return EMB_OK;
	if (found.has_several)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "\"%.*s\" holds several GGUF models: \"%.*s\" and \"%.*s\"", SHOWN(path), emb_json_clip(found.first, 80),
				  found.first, emb_json_clip(found.other, 80), found.other);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Name the path of one of the files.");
	}
	if (snprintf(file, size, "%s/%s", path, found.first) >= (int) size)
		return emb_error(err, EMB_ERR_LIMIT, "the path of the model's file is longer than %zu bytes", size - 1);
	return EMB_OK;
}
