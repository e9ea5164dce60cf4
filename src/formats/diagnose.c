/*
 * diagnose.c
 *		Explains why a directory lacks a file.
 *
 * A directory is listed only after a file was found missing, and only up to
 * the first entry that explains it.
 */
#include "formats/diagnose.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "formats/file.h"
#include "formats/json.h"

/* For "%.*s": the part of a path that leaves room for the rest of the message. */
#define SHOWN(path)	emb_json_clip(path, 240), path

#define NAME_BYTES	256
#define PATH_BYTES	1024

/* Maximum entries examined; a larger directory is no model directory. */
#define MAX_ENTRIES	4096

static bool
ends_with(const char *name, const char *ending)
{
	size_t		len = strlen(name);
	size_t		n = strlen(ending);

	return len > n && strcasecmp(name + len - n, ending) == 0;
}

typedef bool (*Wanted) (const char *dir, const char *name);

/*
 * Stores the first matching entry of dir, by name, in found. Only names
 * decide, so the answer is always the same.
 */
static bool
find_entry(const char *dir, Wanted wanted, char found[NAME_BYTES])
{
	DIR		   *d = opendir(dir);
	struct dirent *e;

	found[0] = '\0';
	for (int i = 0; d != NULL && i < MAX_ENTRIES && (e = readdir(d)) != NULL; i++)
	{
		if (e->d_name[0] != '.' && strlen(e->d_name) < NAME_BYTES && (found[0] == '\0' || strcmp(e->d_name, found) < 0) &&
			wanted(dir, e->d_name))
			strcpy(found, e->d_name);
	}
	if (d != NULL)
		closedir(d);
	return found[0] != '\0';
}

static bool
is_gguf(const char *dir, const char *name)
{
	(void) dir;
	return ends_with(name, ".gguf");
}

static bool
is_onnx(const char *dir, const char *name)
{
	(void) dir;
	return ends_with(name, ".onnx");
}

static bool
is_safetensors(const char *dir, const char *name)
{
	(void) dir;
	return ends_with(name, ".safetensors");
}

/* model-00001-of-00002.safetensors, pytorch_model-00001-of-00002.bin */
static bool
is_shard(const char *dir, const char *name)
{
	(void) dir;
	return (ends_with(name, ".safetensors") || ends_with(name, ".bin")) && strstr(name, "-of-0") != NULL;
}

/* The names that download tools use for incomplete files. */
static bool
is_unfinished(const char *dir, const char *name)
{
	static const char *const endings[] = {".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".download", ".tmp"};
	bool		is_weights = strncmp(name, "model", 5) == 0 || strncmp(name, "pytorch_model", 13) == 0;

	(void) dir;
	for (size_t i = 0; is_weights && i < sizeof(endings) / sizeof(endings[0]); i++)
	{
		if (ends_with(name, endings[i]))
			return true;
	}
	return false;
}

/*
 * Whether dir/name is a model's directory, and not a pipeline module's
 * (1_Pooling has a config.json, too).
 */
static bool
is_model(const char *dir, const char *name)
{
	static const char *const others[] = {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model", "tokenizer.model"};
	char		path[PATH_BYTES];
	int			n = snprintf(path, sizeof(path), "%s/%s", dir, name);
	bool		found = false;

	if (n < 0 || (size_t) n >= sizeof(path))
		return false;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		found |= emb_file_exists(path, others[i]);
	return emb_file_exists(path, "modules.json") || (found && emb_file_exists(path, "config.json"));
}

/* Stores unreadable weights of a model in found: a path below dir. */
static bool
find_foreign_weights(const char *dir, char found[NAME_BYTES])
{
	static const char *const others[] = {
		"tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.onnx", "onnx/model.onnx", "openvino/openvino_model.bin", "openvino_model.bin"
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		strcpy(found, others[i]);
		if (emb_file_exists(dir, found))
			return true;
	}
	return find_entry(dir, is_onnx, found);
}

/* An entry's name, shortened for a message and without characters that break its line. */
static const char *
shown(char name[NAME_BYTES])
{
	name[100] = '\0';
	for (unsigned char *p = (unsigned char *) name; *p != '\0'; p++)
	{
		if (*p < 0x20 || *p >= 0x7F)
			*p = '?';
	}
	return name;
}

static EmbStatus
hint_adapter(EmbError *err)
{
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED,
						  "Merge it into its model first (in Python, with peft: model.merge_and_unload().save_pretrained(dir)).");
}

EmbStatus
emb_diagnose_adapter(const char *dir, EmbError *err)
{
	if (!emb_file_exists(dir, "adapter_config.json"))
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "\"%.*s\" holds an adapter (adapter_config.json) beside the model's weights, and adapters are not applied", SHOWN(dir));
	return hint_adapter(err);
}

EmbStatus
emb_diagnose_no_weights(const char *dir, EmbError *err)
{
	static const char *const ours[] = {
		"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"
	};
	char		found[NAME_BYTES];
	EmbFile		file;

	/* a dangling link: opening it reports the error */
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
	{
		if (emb_file_is_dangling(dir, ours[i]))
			return emb_file_open(dir, ours[i], &file, err);
	}
	if (find_entry(dir, is_unfinished, found))
	{
		emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" has no model.safetensors, but %s, a download that was not finished", SHOWN(dir), shown(found));
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Download the model's model.safetensors into the directory again.");
	}
	if (emb_file_exists(dir, "adapter_model.safetensors") || emb_file_exists(dir, "adapter_model.bin"))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "\"%.*s\" holds an adapter's weights (adapter_model) only, not a model's", SHOWN(dir));
		return hint_adapter(err);
	}
	if (find_entry(dir, is_gguf, found))
	{
		emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" has no model.safetensors, but %s and weights in a directory below", SHOWN(dir), shown(found));
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Name the path of the GGUF file, or download the model's model.safetensors into the directory.");
	}
	if (find_foreign_weights(dir, found))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "\"%.*s\" holds its weights as %s only, which cannot be imported", SHOWN(dir), shown(found));
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED,
							  "Download the model's model.safetensors or pytorch_model.bin, or convert the weights "
							  "(in Python: model.save_pretrained(dir)).");
	}
	if (find_entry(dir, is_shard, found))
	{
		emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" holds weights in several files, %s the first, but not their index", SHOWN(dir), shown(found));
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Download the model's %s, too, and all files that it lists.",
							  ends_with(found, ".bin") ? "pytorch_model.bin.index.json" : "model.safetensors.index.json");
	}
	/* AutoGPTQ names its files by bits and group: gptq_model-4bit-128g.safetensors */
	if (find_entry(dir, is_safetensors, found))
	{
		emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" has no model.safetensors, but %s", SHOWN(dir), shown(found));
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "If these are all weights of the model, rename the file to model.safetensors; "
							  "of weights in several files download model.safetensors.index.json, too.");
	}
	emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" has neither model.safetensors nor pytorch_model.bin, nor the .index.json of either", SHOWN(dir));
	return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Download the model's model.safetensors into the directory.");
}

EmbStatus
emb_diagnose_no_tokenizer(const char *dir, EmbError *err)
{
	static const char *const ours[] = {"tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "vocab.json", "tokenizer.model"};
	static const char *const others[] = {"spiece.model", "sentencepiece.model", "bpe.codes", "spm.model"};
	EmbFile		file;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
	{
		if (emb_file_is_dangling(dir, ours[i]))
			return emb_file_open(dir, ours[i], &file, err);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		if (!emb_file_exists(dir, others[i]))
			continue;
		emb_error(err, EMB_ERR_UNSUPPORTED, "\"%.*s\" has its tokenizer as %s only, which cannot be imported", SHOWN(dir), others[i]);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED,
							  "Download the model's tokenizer.json, or make it (in Python: AutoTokenizer.from_pretrained(dir).save_pretrained(dir)).");
	}
	emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" has neither tokenizer.json nor vocab.txt nor sentencepiece.bpe.model nor vocab.json nor tokenizer.model", SHOWN(dir));
	return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Download the model's tokenizer.json into the directory, beside config.json.");
}

EmbStatus
emb_diagnose_no_config(const char *dir, EmbError *err)
{
	char		found[NAME_BYTES];
	char		snapshots[PATH_BYTES];
	EmbFile		file;

	if (emb_file_is_dangling(dir, "config.json"))
		return emb_file_open(dir, "config.json", &file, err);
	if (emb_file_exists(dir, "adapter_config.json"))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "\"%.*s\" holds an adapter (adapter_config.json), not a model: it has no config.json", SHOWN(dir));
		return hint_adapter(err);
	}
	if (find_entry(dir, is_gguf, found))
	{
		emb_error(err, EMB_ERR_NOT_FOUND, "\"%.*s\" has no config.json, but weights and %s", SHOWN(dir), shown(found));
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Name the path of the GGUF file, or download config.json and tokenizer.json.");
	}
	emb_error(err, EMB_ERR_NOT_FOUND, "file \"%.*s/config.json\" does not exist", SHOWN(dir));
	if (find_entry(dir, is_model, found))
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "There is a model in \"%s\" below it: import that directory.", shown(found));
	/* the hub's cache: a directory per revision */
	if (snprintf(snapshots, sizeof(snapshots), "%s/snapshots", dir) < (int) sizeof(snapshots) && find_entry(snapshots, is_model, found))
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "There is a model in \"snapshots/%s\" below it: import that directory.", shown(found));
	return emb_error_hint(err, EMB_ERR_NOT_FOUND, "A model directory needs config.json, model.safetensors and tokenizer.json or vocab.txt.");
}

EmbStatus
emb_diagnose_no_module(const char *dir, const char *name, EmbError *err)
{
	const char *slash = strrchr(name, '/');
	int			n = slash != NULL ? (int) (slash - name) : 0;

	emb_error(err, EMB_ERR_NOT_FOUND, "file \"%.*s/%.*s\" does not exist", SHOWN(dir), emb_json_clip(name, 100), name);
	if (n == 0 || n > 100)
		return EMB_ERR_NOT_FOUND;
	return emb_error_hint(err, EMB_ERR_NOT_FOUND, "modules.json names the folder \"%.*s\": download it with its name, beside modules.json.", n, name);
}

EmbStatus
emb_diagnose_no_directory(const char *path, EmbError *err)
{
	emb_error(err, EMB_ERR_NOT_FOUND, "directory \"%.*s\" does not exist", SHOWN(path));
	if (path[0] == '/')
		return EMB_ERR_NOT_FOUND;
	return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Models are not downloaded here: download the model's directory, for example with "
						  "\"hf download ORGANIZATION/NAME --local-dir DIR\", and name this directory.");
}

EmbStatus
emb_diagnose_not_readable(const char *path, int error, EmbError *err)
{
	emb_error(err, EMB_ERR_IO, "could not read directory \"%.*s\": %s", SHOWN(path), strerror(error));
	if (error == ELOOP)
		return emb_error_hint(err, EMB_ERR_IO, "A link of this path leads to itself: name the directory that holds the files.");
	return emb_error_hint(err, EMB_ERR_IO, "The operating system user that this runs as must be able to read it, and to pass all directories above it: "
						  "copy the model out of a home directory.");
}

EmbStatus
emb_diagnose_not_directory(const char *path, EmbError *err)
{
	emb_error(err, EMB_ERR_NOT_REGULAR, "\"%.*s\" is neither a directory nor a GGUF file", SHOWN(path));
	return emb_error_hint(err, EMB_ERR_NOT_REGULAR, "Name the directory that holds config.json, model.safetensors and the tokenizer's files.");
}
