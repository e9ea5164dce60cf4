/*
 * model_util.h
 *		What the tests of import/ and model/ share: an allocator that counts,
 *		a sink in memory, temporary directories, a small model written to one.
 */
#ifndef MODEL_UTIL_H
#define MODEL_UTIL_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/mem.h"
#include "model/embed_core.h"
#include "unit.h"

#define UNUSED __attribute__((unused))

/* ------------------------------------------------------ counting allocator */

typedef struct Count
{
	long		n_live;			/* blocks not yet released */
	size_t		live_bytes,
				peak_bytes;
	long		fail_after;		/* allocations until NULL; -1: never */
} Count;

typedef struct CountBlock
{
	size_t		size_bytes;
	char		pad[EMB_ALIGNMENT - sizeof(size_t)];
} CountBlock;

static void *
count_alloc(void *ctx, size_t size)
{
	Count	   *count = ctx;
	CountBlock *block;

	if (count->fail_after == 0)
		return NULL;
	if (count->fail_after > 0)
		count->fail_after--;
	if (size > SIZE_MAX / 2 || posix_memalign((void **) &block, EMB_ALIGNMENT, sizeof(CountBlock) + size) != 0)
		return NULL;
	block->size_bytes = size;
	count->n_live++;
	count->live_bytes += size;
	if (count->live_bytes > count->peak_bytes)
		count->peak_bytes = count->live_bytes;
	return block + 1;
}

static void
count_release(void *ctx, void *p)
{
	Count	   *count = ctx;

	if (p == NULL)
		return;
	count->n_live--;
	count->live_bytes -= ((CountBlock *) p - 1)->size_bytes;
	free((CountBlock *) p - 1);
}

UNUSED static EmbAllocator
counting_allocator(Count *count)
{
	*count = (Count) {.fail_after = -1};
	return (EmbAllocator) {count, count_alloc, count_release};
}

/* ---------------------------------------------------------- sink in memory */

typedef struct Image
{
	uint8_t    *data;			/* 64-byte aligned; free() */
	size_t		size_bytes;
	size_t		room;
	size_t		limit;			/* bytes until the sink is full; 0: none */
	long		n_progress;
	int			n_stages;		/* reported so far */
	const char *stages[8];
	int64_t		total_bytes;
} Image;

static EmbStatus
image_write(void *ctx, const void *data, size_t size, EmbError *err)
{
	Image	   *image = ctx;

	if (image->limit > 0 && image->size_bytes + size > image->limit)
		return emb_error(err, EMB_ERR_DISK_FULL, "the sink is full");
	if (image->size_bytes + size > image->room)
	{
		size_t		room = (image->size_bytes + size) * 2;
		void	   *grown;

		if (posix_memalign(&grown, EMB_ALIGNMENT, room) != 0)
			abort();
		if (image->size_bytes > 0)
			memcpy(grown, image->data, image->size_bytes);
		free(image->data);
		image->data = grown;
		image->room = room;
	}
	memcpy(image->data + image->size_bytes, data, size);
	image->size_bytes += size;
	return EMB_OK;
}

/* Stages come one after the other; in each, done goes up to total. */
static void
image_progress(void *ctx, const char *stage, int64_t done, int64_t total)
{
	Image	   *image = ctx;

	image->n_progress++;
	image->total_bytes = total;
	if (image->n_stages == 0 || strcmp(image->stages[image->n_stages - 1], stage) != 0)
		image->stages[image->n_stages++] = stage;
	if (image->n_stages > 5 || done < 0 || done > total ||
		(strcmp(stage, "write") == 0 && done != (int64_t) image->size_bytes))
		abort();
}

UNUSED static EmbStatus
import_image(const char *dir, const EmbImportOptions *options, const EmbAllocator *mem, Image *image, EmbError *err)
{
	EmbSink		sink = {.ctx = image, .write = image_write, .progress = image_progress};
	EmbStatus	status;

	memset(image, 0, sizeof(*image));
	status = emb_import_dir(dir, options, mem, NULL, &sink, err);
	if (status != EMB_OK)
	{
		/* a part of an image; its size stays */
		free(image->data);
		image->data = NULL;
	}
	return status;
}

/* ---------------------------------------------------- temporary directories */

static char temp_root[PATH_MAX - 512];

static void
remove_tree(const char *path)
{
	DIR		   *d = opendir(path);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
	{
		char		sub[PATH_MAX];
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode))
			remove_tree(sub);
		else
			unlink(sub);
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
}

static void
remove_temp_root(void)
{
	remove_tree(temp_root);
}

/* An empty directory, the same for each call; gone when the program ends. */
UNUSED static const char *
fresh_dir(void)
{
	const char *base = getenv("TMPDIR");

	if (temp_root[0] == '\0')
	{
		snprintf(temp_root, sizeof(temp_root), "%s/embed-test-XXXXXX", base != NULL ? base : "/tmp");
		if (mkdtemp(temp_root) == NULL)
		{
			perror("mkdtemp");
			exit(1);
		}
		atexit(remove_temp_root);
	}
	else
	{
		remove_tree(temp_root);
		mkdir(temp_root, 0700);
	}
	return temp_root;
}

UNUSED static void
write_file(const char *dir, const char *name, const void *data, size_t size)
{
	char		path[PATH_MAX];
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (f == NULL || (size > 0 && fwrite(data, 1, size, f) != size) || fclose(f) != 0)
	{
		perror(path);
		exit(1);
	}
}

UNUSED static void
write_text(const char *dir, const char *name, const char *text)
{
	write_file(dir, name, text, strlen(text));
}

UNUSED static char *
read_file(const char *dir, const char *name, size_t *size)
{
	char		path[PATH_MAX];
	FILE	   *f;
	char	   *data;
	long		n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (f == NULL)
		return NULL;
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	data = malloc(n + 1);
	if (fread(data, 1, n, f) != (size_t) n)
		abort();
	data[n] = '\0';
	fclose(f);
	*size = n;
	return data;
}

/*
 * A copy of a model's directory in which nothing but tokenizer.json counts:
 * reference ids that come from the library tokenizers know no class of
 * transformers, whose XLMRobertaTokenizer drops white space at the end of a
 * text. The copy is in fresh_dir().
 */
UNUSED static const char *
plain_tokenizer_copy(const char *dir)
{
	static char copy[PATH_MAX];
	char		command[3 * PATH_MAX];

	snprintf(copy, sizeof(copy), "%.3000s/plain", fresh_dir());
	snprintf(command, sizeof(command), "cp -rL --no-preserve=mode '%.3000s' '%.3100s' && sed -i 's/XLMRobertaTokenizer/PreTrainedTokenizerFast/' '%.3100s/tokenizer_config.json'",
			 dir, copy, copy);
	if (system(command) != 0)
		abort();
	return copy;
}

/* A safetensors file: the header as text, n bytes of data (zeros if NULL). */
UNUSED static void
write_safetensors(const char *dir, const char *name, const char *header, const void *data, size_t n)
{
	size_t		header_bytes = strlen(header);
	uint8_t    *file = calloc(1, 8 + header_bytes + n + 1);

	for (int i = 0; i < 8; i++)
		file[i] = (uint8_t) ((uint64_t) header_bytes >> (8 * i));
	memcpy(file + 8, header, header_bytes);
	if (data != NULL && n > 0)
		memcpy(file + 8 + header_bytes, data, n);
	write_file(dir, name, file, 8 + header_bytes + n);
	free(file);
}

/* ---------------------------------------------------------- a small model */

/* What a directory holds; a NULL file is not written. Begin with small_model(). */
typedef struct SmallModel
{
	const char *config,
			   *modules,
			   *pooling,		/* 1_Pooling/config.json */
			   *sentence_bert,
			   *tokenizer_config,
			   *prompts,
			   *vocab;
	const char *prefix;			/* before every tensor name but the classifier's */
	const char *head_prefix;	/* before the classifier's; NULL: none */
	const char *dtype;			/* "F32", "F16", "BF16", or any other */
	const char *omit;			/* tensor left out */
	const char *extra;			/* more header entries, of no bytes: ", \"x\": {...}" */
	const char *transposed;		/* tensor whose shape is written the wrong way round */
	const char *nan;			/* tensor with a NaN at its third element */
	float		scale;			/* of all weights that are not a norm's; 0: 1 */
	bool		old_norm_names; /* LayerNorm.gamma, LayerNorm.beta */
	bool		has_head;		/* pooler and classifier; small_reranker() sets it */
	size_t		cut;			/* bytes missing at the end of the weights */
} SmallModel;

#define SMALL_CONFIG \
	"{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"], \"hidden_size\": 8, \"num_hidden_layers\": 2," \
	" \"num_attention_heads\": 2, \"intermediate_size\": 20, \"vocab_size\": 24, \"max_position_embeddings\": 16," \
	" \"type_vocab_size\": 2, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}"
#define SMALL_MODULES \
	"[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"}," \
	" {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"}," \
	" {\"idx\": 2, \"name\": \"2\", \"path\": \"2_Normalize\", \"type\": \"sentence_transformers.models.Normalize\"}]"
#define SMALL_VOCAB \
	"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nquery\npassage\n:\n##a\n##b\n##c\n##d\nsearch\ndata\n##base\n.\n,\nthe\nof\n"

UNUSED static SmallModel
small_model(void)
{
	return (SmallModel) {
		.config = SMALL_CONFIG,
		.modules = SMALL_MODULES,
		.pooling = "{\"word_embedding_dimension\": 8, \"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}",
		.sentence_bert = "{\"max_seq_length\": 16, \"do_lower_case\": false}",
		.tokenizer_config = "{\"do_lower_case\": true, \"model_max_length\": 16}",
		.vocab = SMALL_VOCAB,
		.prefix = "",
		.dtype = "F32",
	};
}

#define SMALL_RERANKER_CONFIG(more) \
	"{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], \"hidden_size\": 8," \
	" \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 20, \"vocab_size\": 24," \
	" \"max_position_embeddings\": 16, " more "}"

/* As a CrossEncoder's directory: no modules, no pooling. */
UNUSED static SmallModel
small_reranker(void)
{
	SmallModel	m = small_model();

	m.config = SMALL_RERANKER_CONFIG("\"id2label\": {\"0\": \"LABEL_0\"}");
	m.modules = m.pooling = m.sentence_bert = NULL;
	m.prefix = "bert.";
	m.has_head = true;
	return m;
}

typedef struct SmallWriter
{
	const SmallModel *model;
	char		header[32768];
	size_t		header_bytes;
	uint8_t		data[65536];
	size_t		data_bytes;
	uint32_t	state;
} SmallWriter;

static void
small_value(SmallWriter *w, bool is_nan, bool is_norm)
{
	float		x;
	uint32_t	bits;
	uint16_t	half;

	w->state = w->state * 1664525 + 1013904223;
	x = (float) ((int) (w->state >> 25) - 64) / 128.0f + (is_norm ? 1.0f : 0.0f);
	if (w->model->scale != 0 && !is_norm)
		x *= w->model->scale;
	memcpy(&bits, &x, sizeof(bits));
	if (strcmp(w->model->dtype, "F16") == 0)
	{
		/* these values are normal or zero, and have 7 bits at most: the cut is exact */
		half = x == 0 ? 0 : (uint16_t) ((bits >> 16 & 0x8000) | (((bits >> 23 & 255) - 112) << 10) | (bits >> 13 & 1023));
		if (is_nan)
			half = 0x7E00;
	}
	else
		half = is_nan ? 0x7FC0 : (uint16_t) (bits >> 16);
	if (is_nan)
		bits = 0x7FC00000;
	if (strcmp(w->model->dtype, "F16") == 0 || strcmp(w->model->dtype, "BF16") == 0)
	{
		memcpy(w->data + w->data_bytes, &half, 2);
		w->data_bytes += 2;
	}
	else
	{
		memcpy(w->data + w->data_bytes, &bits, 4);
		w->data_bytes += 4;
	}
}

static void
small_tensor(SmallWriter *w, const char *name, int rows, int cols)
{
	const SmallModel *m = w->model;
	bool		is_norm = strstr(name, "LayerNorm.weight") != NULL;
	size_t		begin = w->data_bytes;
	char		old[128];
	const char *norm = strstr(name, "LayerNorm.");

	if (m->omit != NULL && strcmp(m->omit, name) == 0)
		return;
	if (m->old_norm_names && norm != NULL)
	{
		snprintf(old, sizeof(old), "%.*s%s", (int) (norm - name), name, is_norm ? "LayerNorm.gamma" : "LayerNorm.beta");
		name = old;
	}
	for (int i = 0; i < (rows > 0 ? rows : 1) * cols; i++)
		small_value(w, m->nan != NULL && i == 2 && strcmp(m->nan, name) == 0, is_norm);
	if (m->transposed != NULL && strcmp(m->transposed, name) == 0)
	{
		int			t = rows;

		rows = cols;
		cols = t;
	}
	w->header_bytes += snprintf(w->header + w->header_bytes, sizeof(w->header) - w->header_bytes,
								"%s\"%s%s\": {\"dtype\": \"%s\", \"shape\": [", w->header_bytes > 1 ? ", " : "",
								strncmp(name, "classifier.", 11) != 0 ? m->prefix : m->head_prefix != NULL ? m->head_prefix : "", name, m->dtype);
	w->header_bytes += snprintf(w->header + w->header_bytes, sizeof(w->header) - w->header_bytes,
								rows > 0 ? "%d, %d" : "%.0d%d", rows, cols);
	w->header_bytes += snprintf(w->header + w->header_bytes, sizeof(w->header) - w->header_bytes,
								"], \"data_offsets\": [%zu, %zu]}", begin, w->data_bytes);
}

static void
small_weights(SmallWriter *w)
{
	static const struct
	{
		const char *name;
		int			rows,
					cols;
	}			layer[] =
	{
		{"attention.self.query.weight", 8, 8}, {"attention.self.query.bias", 0, 8},
		{"attention.self.key.weight", 8, 8}, {"attention.self.key.bias", 0, 8},
		{"attention.self.value.weight", 8, 8}, {"attention.self.value.bias", 0, 8},
		{"attention.output.dense.weight", 8, 8}, {"attention.output.dense.bias", 0, 8},
		{"attention.output.LayerNorm.weight", 0, 8}, {"attention.output.LayerNorm.bias", 0, 8},
		{"intermediate.dense.weight", 20, 8}, {"intermediate.dense.bias", 0, 20},
		{"output.dense.weight", 8, 20}, {"output.dense.bias", 0, 8},
		{"output.LayerNorm.weight", 0, 8}, {"output.LayerNorm.bias", 0, 8},
	};

	small_tensor(w, "embeddings.word_embeddings.weight", 24, 8);
	small_tensor(w, "embeddings.position_embeddings.weight", 16, 8);
	small_tensor(w, "embeddings.token_type_embeddings.weight", 2, 8);
	small_tensor(w, "embeddings.LayerNorm.weight", 0, 8);
	small_tensor(w, "embeddings.LayerNorm.bias", 0, 8);
	for (int l = 0; l < 2; l++)
	{
		for (size_t i = 0; i < sizeof(layer) / sizeof(layer[0]); i++)
		{
			char		name[128];

			snprintf(name, sizeof(name), "encoder.layer.%d.%s", l, layer[i].name);
			small_tensor(w, name, layer[i].rows, layer[i].cols);
		}
	}
	if (w->model->has_head)
	{
		small_tensor(w, "pooler.dense.weight", 8, 8);
		small_tensor(w, "pooler.dense.bias", 0, 8);
		small_tensor(w, "classifier.weight", 1, 8);
		small_tensor(w, "classifier.bias", 0, 1);
	}
}

UNUSED static void
write_small_model(const char *dir, const SmallModel *m)
{
	static SmallWriter w;
	const struct
	{
		const char *name,
				   *text;
	}			files[] =
	{
		{"config.json", m->config},
		{"modules.json", m->modules},
		{"1_Pooling/config.json", m->pooling},
		{"sentence_bert_config.json", m->sentence_bert},
		{"tokenizer_config.json", m->tokenizer_config},
		{"config_sentence_transformers.json", m->prompts},
		{"vocab.txt", m->vocab},
	};
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/1_Pooling", dir);
	mkdir(path, 0700);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		if (files[i].text != NULL)
			write_text(dir, files[i].name, files[i].text);
	}
	memset(&w, 0, sizeof(w));
	w.model = m;
	w.state = 7;
	w.header[w.header_bytes++] = '{';
	small_weights(&w);
	snprintf(w.header + w.header_bytes, sizeof(w.header) - w.header_bytes, "%s}", m->extra != NULL ? m->extra : "");
	write_safetensors(dir, "model.safetensors", w.header, w.data, w.data_bytes);
	if (m->cut > 0)
	{
		struct stat st;

		snprintf(path, sizeof(path), "%s/model.safetensors", dir);
		if (stat(path, &st) != 0 || truncate(path, st.st_size - m->cut) != 0)
			abort();
	}
}

#endif
