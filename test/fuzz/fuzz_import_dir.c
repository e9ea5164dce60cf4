/*
 * fuzz_import_dir.c
 *		Whole directories: a tiny model whose JSON is edited as JSON (the header of its
 *		weights too, with its length put right) and whose weights are patched. What is
 *		imported must be an image that opens with all checks. Codes of quantized weights
 *		must give the same floats as the weights themselves.
 *
 * The first byte: the model; then edits: a byte that says which file (or none: a
 * patch of the weights, or a file gone), and what json_edit.h reads.
 */
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_edit.h"
#include "formats/file.h"
#include "import/checkpoint.h"
#include "model/embed_core.h"

static const char *const models[] = {"bert-mean-36", "roberta-rerank", "bert-dense", "gte-rerank", "mpnet-rerank", "nomic-rerank", "modernbert-rerank", "distilbert-rerank", "bge-m3", "model2vec",
	/* the same with other tokenizer files */
	"gte-rerank", "roberta-rerank",
	"quantized-gptq-order", "quantized-awq", "quantized-ct-pack", "quantized-ct-int8", "quantized-nf4", "quantized-llm-int8",
	/* decoders; those after the first two take the kind that their files name */
	"qwen3-rerank", "qwen2-rerank", "qwen3-embed", "qwen3-both-ways",
	/* the first again, with a LogitScore */
	"qwen3-rerank",
	"modernbert-rerank-modules", "bert-rerank-labels", "deberta-rerank"};
#define N_MODELS	26
#define MODEL_SPM	10
#define MODEL_BPE	11
#define MODEL_QUANTIZED	12
#define MODEL_DECODER	18
#define N_WITHOUT_KIND	2
#define MODEL_LOGITS	22

static const char *const names[] = {
	"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json",
	"modules.json", "1_Pooling/config.json", "2_Dense/config.json", "config_sentence_transformers.json",
	"2_Dense/model.safetensors", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model",
	"2_Dense/pytorch_model.bin", "4_Dense/config.json", "4_Dense/model.safetensors", "sparse_linear.pt", "colbert_linear.pt",
	"quantize_config.json", "quant_config.json", "1_LogitScore/config.json", "3_LayerNorm/config.json", "3_LayerNorm/model.safetensors"
};
#define N_FILES		25
#define FILE_TOKENIZER 2
#define FILE_MODULES	5
#define FILE_LOGITS		22

static const char logit_modules[] = "[{\"idx\": 0, \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"}, {\"idx\": 1, \"path\": \"1_LogitScore\","
	" \"type\": \"sentence_transformers.cross_encoder.modules.logit_score.LogitScore\"}]";
static const char logit_score[] = "{\"true_token_id\": 258, \"false_token_id\": 257}";

typedef struct File
{
	char	   *data;			/* NULL: there is none */
	size_t		size;
	json_t	   *json;			/* of it, or of its header */
	size_t		tail;			/* where the data behind the header begins */
} File;

static File files[N_MODELS][N_FILES];
static bool loaded[N_MODELS];
static char root[64];

static bool
is_weights(int i)
{
	return strstr(names[i], ".safetensors") != NULL;
}

/* A file that no model's directory has. */
static void
add_file(File *f, const char *text)
{
	f->data = strdup(text);
	f->size = strlen(text);
	f->json = json_loads(text, 0, NULL);
}

static void
load(int m)
{
	EmbAllocator mem = emb_malloc_allocator();
	char		dir[256];

	snprintf(dir, sizeof(dir), "test/data/tiny/%s/model", models[m]);
	for (int i = 0; i < N_FILES; i++)
	{
		File	   *f = &files[m][i];
		uint64_t	n = 0;

		if (i == FILE_TOKENIZER && (m == MODEL_SPM || m == MODEL_BPE))
			continue;
		if (emb_file_read_all(i > 10 && i < 15 && m == MODEL_SPM ? "test/data/tokenizer/spm" : i > 10 && i < 15 && m == MODEL_BPE ? "test/data/tokenizer/roberta" : dir,
							  names[i], 1 << 24, &mem, &f->data, &f->size, NULL) != EMB_OK)
			continue;
		if (is_weights(i))
		{
			memcpy(&n, f->data, 8);
			f->json = json_loadb(f->data + 8, n, 0, NULL);
			f->tail = 8 + n;
		}
		else if (strstr(names[i], ".json") != NULL)
			f->json = json_loadb(f->data, f->size, 0, NULL);
	}
	if (m == MODEL_LOGITS)
	{
		add_file(&files[m][FILE_MODULES], logit_modules);
		add_file(&files[m][FILE_LOGITS], logit_score);
	}
	if (files[m][0].data == NULL)
		abort();
	loaded[m] = true;
}

static void
remove_files(void)
{
	char		path[128];

	for (int i = 0; i < N_FILES; i++)
	{
		snprintf(path, sizeof(path), "%s/%s", root, names[i]);
		unlink(path);
	}
}

static void
remove_root(void)
{
	char		path[128];

	remove_files();
	snprintf(path, sizeof(path), "%s/1_Pooling", root);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/2_Dense", root);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/4_Dense", root);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/1_LogitScore", root);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/3_LayerNorm", root);
	rmdir(path);
	rmdir(root);
}

static void
make_root(void)
{
	char		path[128];

	snprintf(root, sizeof(root), "%s/embed-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(root) == NULL)
		abort();
	snprintf(path, sizeof(path), "%s/1_Pooling", root);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/2_Dense", root);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/4_Dense", root);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/1_LogitScore", root);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/3_LayerNorm", root);
	mkdir(path, 0700);
	atexit(remove_root);
}

static void
write_file(int i, const File *f, const json_t *json, const uint8_t *tail)
{
	char		path[128];
	char	   *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
	FILE	   *out;

	snprintf(path, sizeof(path), "%s/%s", root, names[i]);
	out = fopen(path, "wb");
	if (out == NULL)
		abort();
	if (text != NULL && is_weights(i))
	{
		uint64_t	n = strlen(text);

		fwrite(&n, 8, 1, out);
		fwrite(text, 1, n, out);
		if (tail != NULL)
			fwrite(tail, 1, f->size - f->tail, out);
	}
	else if (text != NULL)
		fwrite(text, 1, strlen(text), out);
	else
		fwrite(f->data, 1, f->size, out);
	fclose(out);
	free(text);
}

/* Applies the edits and writes what comes of it. */
static void
write_model(int m, Edits *e)
{
	json_t	   *json[N_FILES] = {0};
	uint8_t    *tail[N_FILES] = {0};
	uint32_t	gone = 0;

	for (int n = 0; e->left > 0 && n < 16; n++)
	{
		uint8_t		which = next_byte(e);
		int			i = (which & 0x3F) % N_FILES;
		File	   *f = &files[m][i];

		if (which >= 0xC0)
			gone |= 1u << i;
		else if (which >= 0x80 && is_weights(i) && f->data != NULL && f->size > f->tail)
		{
			size_t		at = (size_t) next_byte(e) << 8 | next_byte(e);

			if (tail[i] == NULL)
			{
				tail[i] = malloc(f->size - f->tail);
				memcpy(tail[i], f->data + f->tail, f->size - f->tail);
			}
			tail[i][at * 4 % (f->size - f->tail) + 3] = next_byte(e);
		}
		else
		{
			if (json[i] == NULL)
				json[i] = f->json != NULL ? json_deep_copy(f->json) : json_object();
			edit_json(json[i], e);
		}
	}
	remove_files();
	for (int i = 0; i < N_FILES; i++)
	{
		File	   *f = &files[m][i];

		if ((gone & 1u << i) == 0 && (f->data != NULL || json[i] != NULL))
			write_file(i, f, json[i] != NULL ? json[i] : f->json,
					   tail[i] != NULL || f->data == NULL ? tail[i] : (uint8_t *) f->data + f->tail);
		json_decref(json[i]);
		free(tail[i]);
	}
}

typedef struct Image
{
	uint8_t    *data;
	size_t		size,
				room;
} Image;

static EmbStatus
take(void *ctx, const void *data, size_t size, EmbError *err)
{
	Image	   *image = ctx;

	(void) err;
	if (image->size + size > image->room)
	{
		size_t		room = 2 * (image->size + size);
		void	   *grown;

		if (posix_memalign(&grown, EMB_ALIGNMENT, room) != 0)
			abort();
		if (image->size > 0)
			memcpy(grown, image->data, image->size);
		free(image->data);
		image->data = grown;
		image->room = room;
	}
	memcpy(image->data + image->size, data, size);
	image->size += size;
	return EMB_OK;
}

/* What edits make large is cancelled. */
static bool
stop_after(void *ctx)
{
	return --*(int *) ctx < 0;
}

/* The weight of a key, as floats and put together from its codes, must be equal. */
static void
compare_codes(const EmbCheckpoint *c, EmbTensorKey key, int32_t n_rows, int32_t n_cols)
{
	size_t		n = (size_t) n_rows * n_cols;
	float	   *rows = malloc(2 * n * sizeof(float));
	float	   *scales = malloc(n * sizeof(float));
	uint8_t    *q = malloc(2 * n);
	uint16_t   *order = malloc(n_cols * sizeof(uint16_t));
	EmbCodes	codes;

	if (emb_checkpoint_check(c, key, n_rows, n_cols, NULL) == EMB_OK && emb_checkpoint_read(c, key, 0, n_rows, n_cols, rows, NULL) == EMB_OK &&
		emb_checkpoint_codes(c, key, n_rows, n_cols, &codes, NULL) == EMB_OK && codes.bits > 0)
	{
		if (emb_divide_up(n_cols, codes.group) != codes.n_groups || emb_checkpoint_read_order(c, key, n_cols, order, NULL) != EMB_OK ||
			emb_checkpoint_read_codes(c, key, 0, n_rows, n_cols, q, scales, q + n, NULL) != EMB_OK)
			abort();
		for (int32_t k = 0; k < n_rows; k++)
		{
			for (int32_t j = 0; j < n_cols; j++)
			{
				size_t		at = (size_t) (j / codes.group) * n_rows + k;

				rows[n + (size_t) k * n_cols + order[j]] = (float) (q[(size_t) k * n_cols + j] - q[n + at]) * scales[at];
			}
		}
		if (memcmp(rows, rows + n, n * sizeof(float)) != 0)
			abort();
	}
	free(rows);
	free(scales);
	free(q);
	free(order);
}

static void
read_codes(void)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbCheckpointOptions options = {0};
	EmbCheckpoint c;

	if (emb_checkpoint_open_dir(root, &options, &mem, NULL, &c, NULL) != EMB_OK)
		return;
	if (c.arch.hidden <= 256 && c.arch.intermediate <= 256 && c.arch.n_layers > 0)
	{
		compare_codes(&c, (EmbTensorKey) {0, EMB_PART_QUERY, EMB_TENSOR_WEIGHT}, c.arch.hidden, c.arch.hidden);
		compare_codes(&c, (EmbTensorKey) {0, EMB_PART_FFN_UP, EMB_TENSOR_WEIGHT}, c.arch.intermediate, c.arch.hidden);
		compare_codes(&c, (EmbTensorKey) {0, EMB_PART_FFN_DOWN, EMB_TENSOR_WEIGHT}, c.arch.hidden, c.arch.intermediate);
	}
	emb_checkpoint_close(&c);
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbImportOptions options = {.precision = "fp32"};
	Image		image = {0};
	EmbSink		sink = {.ctx = &image, .write = take};
	Edits		e = {data, size};
	int			n_left = 3000;
	EmbStop		stop = {&n_left, stop_after};
	EmbError	err = {0};
	EmbModel   *model;
	int			m;
	EmbStatus	status;

	if (size < 1 || size > 256)
		return 0;
	if (root[0] == '\0')
		make_root();
	m = next_byte(&e) % N_MODELS;
	if (!loaded[m])
		load(m);
	write_model(m, &e);
	if (m >= MODEL_QUANTIZED && m < MODEL_DECODER)
		read_codes();
	if (m >= MODEL_DECODER && m < MODEL_DECODER + N_WITHOUT_KIND)
		options.kind = "reranker";
	status = emb_import_dir(root, &options, &mem, &stop, &sink, &err);
	if (status == EMB_OK)
	{
		if (emb_model_open(image.data, image.size, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) != EMB_OK)
		{
			fprintf(stderr, "an image that does not open: %s\n", err.message);
			abort();
		}
		emb_model_close(model);
	}
	else if (status == EMB_ERR_INTERNAL || err.message[0] == '\0')
	{
		fprintf(stderr, "status %d: %s\n", status, err.message);
		abort();
	}
	free(image.data);
	return 0;
}
