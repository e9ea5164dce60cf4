/*
 * hf_multi_tables.c
 *		Models of ColBERT's kind: the product of their modules, and the tokens
 *		of markers, expansion and skip list.
 */
#include "import/hf_multi.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/tensors.h"
#include "import/hf_module_files.h"
#include "import/hf_tokenizer_spec.h"

/* ------------------------------------------------------------------ product */

/* Multiply-adds between two polls of stop: about a millisecond. */
#define WORK_PER_POLL	1000000

/* Elements of a product, 256 MB: small files can name large ones. */
#define PRODUCT_MAX		(32 * 1024 * 1024)

/*
 * The product of the modules from the last one back, in double: m x + b. Every
 * element is summed in one order, so that an image has the same bits
 * everywhere.
 */
typedef struct Product
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	int32_t		n_out;
	int32_t		n_in;			/* of m so far */
	double	   *m;				/* [n_out, n_in]; NULL: no module yet */
	double	   *b;				/* [n_out] */
} Product;

/* The tensors of a module. */
typedef struct Module
{
	const EmbHfDense *dense;
	int32_t		n_in;
	EmbTensorSet set;
	const EmbTensor *weight;
	const EmbTensor *bias;		/* NULL: none */
	const EmbTensor *residual;	/* NULL: none, or the token itself */
} Module;

static EmbStatus
find_tensor(const Module *module, const char *name, int64_t n_rows, int64_t n_cols, const EmbTensor **tensor, EmbError *err)
{
	*tensor = emb_tensors_find(&module->set, name);
	if (*tensor == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the Dense in \"%s\" has no tensor \"%s\"", module->dense->path, name);
	if ((n_cols > 0 ? (*tensor)->rank != 2 || (*tensor)->shape[1] != n_cols : (*tensor)->rank != 1) || (*tensor)->shape[0] != n_rows)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" of the Dense in \"%s\" has another shape than its config.json says", name, module->dense->path);
	return emb_tensors_check_dtype(&module->set, *tensor, err);
}

static EmbStatus
open_module(const char *dir, const EmbHfDense *dense, int32_t n_in, const EmbAllocator *mem, const EmbStop *stop, Module *module, EmbError *err)
{
	int32_t		n_out = dense->module.n_out;
	char		name[sizeof(dense->path) + 32];
	EmbStatus	status = emb_hf_find_module_weights(dir, dense->path, "Dense", name, sizeof(name), err);

	*module = (Module) {.dense = dense, .n_in = n_in};
	if (status != EMB_OK)
		return status;
	status = emb_tensors_open_file(dir, name, mem, stop, &module->set, err);
	if (status != EMB_OK)
		return status;
	status = find_tensor(module, "linear.weight", n_out, n_in, &module->weight, err);
	if (status == EMB_OK && dense->module.has_bias)
		status = find_tensor(module, "linear.bias", n_out, 0, &module->bias, err);
	if (status == EMB_OK && dense->has_residual && n_in != n_out)
		status = find_tensor(module, "residual.weight", n_out, n_in, &module->residual, err);
	if (status != EMB_OK)
		emb_tensors_close(&module->set);
	return status;
}

/* Row k of the module's matrix: the linear layer and what is added to it. row, other: [n_in] */
static EmbStatus
read_row(const Module *module, int32_t k, float *row, float *other, EmbError *err)
{
	int64_t		at = (int64_t) k * module->n_in;
	EmbStatus	status = emb_tensors_read_f32(&module->set, module->weight, at, module->n_in, row, err);

	memset(other, 0, module->n_in * sizeof(float));
	if (module->dense->has_residual && module->residual == NULL)
		other[k] = 1;
	if (status == EMB_OK && module->residual != NULL)
		status = emb_tensors_read_f32(&module->set, module->residual, at, module->n_in, other, err);
	return status;
}

/* Before the first module m is the unit matrix. */
static double
factor_of(const Product *p, int32_t r, int32_t k)
{
	return p->m != NULL ? p->m[(size_t) r * p->n_in + k] : r == k;
}

/* to [n_out, module's inputs] = m times the module's matrix, whose rows come one after the other. */
static EmbStatus
multiply(const Product *p, const Module *module, double *to, float *rows, EmbError *err)
{
	int64_t		n_since = 0;

	for (int32_t k = 0; k < p->n_in; k++)
	{
		EmbStatus	status = read_row(module, k, rows, rows + module->n_in, err);
		int32_t		first = p->m == NULL ? k : 0;
		int32_t		end = p->m == NULL ? k + 1 : p->n_out;

		if (status != EMB_OK)
			return status;
		for (int32_t r = first; r < end; r++)
		{
			double		factor = factor_of(p, r, k);
			double	   *sums = to + (size_t) r * module->n_in;

			for (int32_t i = 0; i < module->n_in; i++)
				sums[i] += factor * ((double) rows[i] + (double) rows[module->n_in + i]);
			n_since += module->n_in;
			if (n_since < WORK_PER_POLL)
				continue;
			n_since = 0;
			if (emb_should_stop(p->stop))
				return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
		}
	}
	return EMB_OK;
}

/* b += m times the module's bias [p->n_in] */
static EmbStatus
add_bias(const Product *p, const Module *module, EmbError *err)
{
	float	   *bias;
	EmbStatus	status;

	if (module->bias == NULL)
		return EMB_OK;
	bias = emb_alloc_array(p->mem, p->n_in, sizeof(float));
	if (bias == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a bias of %d elements", p->n_in);
	status = emb_tensors_read_f32(&module->set, module->bias, 0, p->n_in, bias, err);
	for (int32_t r = 0; status == EMB_OK && r < p->n_out; r++)
	{
		for (int32_t k = 0; k < p->n_in; k++)
			p->b[r] += factor_of(p, r, k) * (double) bias[k];
	}
	emb_release(p->mem, bias);
	return status;
}

/* The module comes before those that m has already; the last one is m itself. */
static EmbStatus
add_module(Product *p, const Module *module, EmbError *err)
{
	double	   *to;
	float	   *rows;
	EmbStatus	status;

	if ((int64_t) p->n_out * module->n_in > PRODUCT_MAX)
		return emb_error(err, EMB_ERR_LIMIT, "the product of the Dense modules up to \"%s\" has %d by %d elements, more than %d", module->dense->path,
						 p->n_out, module->n_in, PRODUCT_MAX);
	to = emb_alloc_zero(p->mem, (size_t) p->n_out * module->n_in, sizeof(double));
	rows = emb_alloc_array(p->mem, 2 * (size_t) module->n_in, sizeof(float));
	if (to == NULL || rows == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for a matrix of %d by %d", p->n_out, module->n_in);
	else if ((status = add_bias(p, module, err)) == EMB_OK)
		status = multiply(p, module, to, rows, err);
	emb_release(p->mem, rows);
	if (status != EMB_OK)
	{
		emb_release(p->mem, to);
		return status;
	}
	emb_release(p->mem, p->m);
	p->m = to;
	p->n_in = module->n_in;
	return EMB_OK;
}

static EmbStatus
round_floats(const double *from, size_t n, float *to, EmbError *err)
{
	for (size_t i = 0; i < n; i++)
	{
		to[i] = (float) from[i];
		if (!isfinite(to[i]))
			return emb_error(err, EMB_ERR_FORMAT, "the product of the model's Dense modules overflows single precision");
	}
	return EMB_OK;
}

static EmbStatus
multiply_modules(Product *p, const char *dir, const EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	p->b = emb_alloc_zero(p->mem, p->n_out, sizeof(double));
	if (p->b == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for vectors of %d elements", p->n_out);
	for (int i = config->multi.n_dense - 1; status == EMB_OK && i >= 0; i--)
	{
		int32_t		n_in = i > 0 ? config->multi.dense[i - 1].module.n_out : config->arch.hidden;
		Module		module;

		status = open_module(dir, &config->multi.dense[i], n_in, p->mem, p->stop, &module, err);
		if (status != EMB_OK)
			break;
		status = add_module(p, &module, err);
		emb_tensors_close(&module.set);
	}
	return status;
}

/* The original ColBERT's matrix. */
static EmbStatus
read_inline(EmbCheckpoint *c, const EmbTensorSet *set, const EmbHfMulti *multi, EmbHfMultiTables *tables, EmbError *err)
{
	const EmbTensor *t = emb_tensors_find(set, "linear.weight");
	int32_t		hidden = c->arch.hidden;

	if (t == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "config.json names the class HF_ColBERT, but the weights hold no tensor \"linear.weight\"");
	if (t->rank != 2 || t->shape[0] < 1 || t->shape[0] > EMB_ARCH_MAX_HIDDEN || t->shape[1] != hidden || (multi->dim > 0 && t->shape[0] != multi->dim))
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"linear.weight\" is not a matrix of %d columns and of as many rows as \"dim\" of artifact.metadata says",
						 hidden);
	c->arch.multi_dim = (int32_t) t->shape[0];
	tables->weight = emb_alloc_array(c->mem, (size_t) c->arch.multi_dim * hidden, sizeof(float));
	tables->bias = emb_alloc_zero(c->mem, c->arch.multi_dim, sizeof(float));
	if (tables->weight == NULL || tables->bias == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a matrix of %d by %d", c->arch.multi_dim, hidden);
	return emb_tensors_read_f32(set, t, 0, (int64_t) c->arch.multi_dim * hidden, tables->weight, err);
}

static EmbStatus
read_projection(const char *dir, const EmbHfConfig *config, const EmbAllocator *mem, EmbHfMultiTables *tables, EmbError *err)
{
	Product		p = {.mem = mem, .stop = config->stop, .n_out = config->arch.multi_dim, .n_in = config->arch.multi_dim};
	size_t		n = (size_t) config->arch.multi_dim * config->arch.hidden;
	EmbStatus	status = multiply_modules(&p, dir, config, err);

	if (status == EMB_OK)
	{
		tables->weight = emb_alloc_array(mem, n, sizeof(float));
		tables->bias = emb_alloc_array(mem, p.n_out, sizeof(float));
		if (tables->weight == NULL || tables->bias == NULL)
			status = emb_error(err, EMB_ERR_NOMEM, "out of memory for a matrix of %d by %d", p.n_out, config->arch.hidden);
	}
	if (status == EMB_OK)
		status = round_floats(p.m, n, tables->weight, err);
	if (status == EMB_OK)
		status = round_floats(p.b, p.n_out, tables->bias, err);
	emb_release(mem, p.m);
	emb_release(mem, p.b);
	return status;
}

/* ------------------------------------------------------------------ markers */

/* The text of a marker that the tokenizer knows: all of it, or its first word. *id -1: neither. */
static EmbTokAdded
find_marker(const EmbTokSpec *spec, const char *marker)
{
	size_t		first = strspn(marker, " \t\n\r");
	size_t		end = first + strcspn(marker + first, " \t\n\r");
	char		word[EMB_HF_MAX_MARKER];
	EmbTokAdded found;

	memcpy(word, marker + first, end - first);
	word[end - first] = '\0';
	if (end > first && (emb_tok_spec_find_token(spec, marker, &found) || emb_tok_spec_find_token(spec, word, &found)))
		return found;
	return (EmbTokAdded) {.id = -1};
}

/* Whether the tokenizer makes the token of its own text, and nothing else. */
static EmbStatus
is_one_token(const EmbTokenizer *tok, const EmbTokAdded *token, const EmbAllocator *mem, const EmbStop *stop, bool *is_one, EmbError *err)
{
	int32_t		n_special = emb_tok_n_special(tok, false);
	int32_t		ids[EMB_TOK_MAX_SLOTS + 2];
	EmbTokResult r = {0};
	EmbStatus	status = emb_tok_encode(tok, &(EmbText) {token->piece.text, token->piece.len, true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = n_special + 2, .mem = mem, .stop = stop}, &r, err);

	*is_one = status == EMB_OK && r.n_ids == n_special + 1 && ids[emb_tok_n_leading(tok)] == token->id;
	return status;
}

/*
 * As sentence-transformers does it: a marker that the vocabulary has, and that
 * the tokenizer would take apart ("[unused0]") or lowercase ("[Q] "), becomes a
 * special token. Texts with the marker are then tokenized as the texts that the
 * model was trained with, where the marker's id was put in.
 */
static EmbStatus
register_markers(EmbCheckpoint *c, const EmbHfMulti *multi, const EmbStop *stop, EmbError *err)
{
	EmbTokAdded markers[] = {find_marker(&c->tokenizer, multi->query_marker), find_marker(&c->tokenizer, multi->document_marker)};
	void	   *block;
	size_t		size;
	EmbTokenizer *tok;
	EmbStatus	status;

	if (markers[0].id < 0 && markers[1].id < 0)
		return EMB_OK;
	status = emb_tok_build(&c->tokenizer, c->mem, &block, &size, err);
	if (status != EMB_OK)
		return status;
	status = emb_tok_open(block, size, true, c->mem, &tok, err);
	for (int i = 0; status == EMB_OK && i < 2; i++)
	{
		bool		is_one = false;

		if (markers[i].id >= 0)
			status = is_one_token(tok, &markers[i], c->mem, stop, &is_one, err);
		if (is_one)
			markers[i].id = -1;
	}
	if (status == EMB_OK)
		emb_tok_close(tok);
	emb_release(c->mem, block);
	for (int i = 0; status == EMB_OK && i < 2; i++)
	{
		EmbTokAdded added = {.piece = markers[i].piece, .id = markers[i].id, .special = true};

		if (added.id >= 0)
			status = emb_tok_spec_add_known(&c->tokenizer, "config_sentence_transformers.json", &added, c->mem, err);
	}
	return status;
}

/* A marker of words is read as text; PyLate would have trained a token. */
static void
note_unknown_marker(EmbCheckpoint *c, const char *marker)
{
	if (marker[0] != '\0' && find_marker(&c->tokenizer, marker).id < 0)
		emb_note(c, "A model that was trained with PyLate has its markers in tokenizer.json: take the file that was published with it.",
				 "the tokenizer has no token \"%s\", the marker of the model's texts; it is read as text", marker);
}

/* -------------------------------------------------------------- single tokens */

/* The token with a role, such as "mask_token": a string, or an object with "content". */
static EmbStatus
find_role(const EmbCheckpoint *c, const char *dir, const char *role, const EmbStop *stop, int32_t *id, EmbError *err)
{
	static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json"};

	for (size_t i = 0; *id < 0 && i < sizeof(files) / sizeof(files[0]); i++)
	{
		EmbJson		doc;
		EmbTokAdded token;
		EmbStatus	status = emb_json_load_optional(dir, files[i], EMB_JSON_CONFIG_MAX, c->mem, stop, &doc, err);
		const json_t *value = status == EMB_OK ? json_object_get(doc.root, role) : NULL;

		if (json_is_object(value))
			value = json_object_get(value, "content");
		if (json_is_string(value) && emb_tok_spec_find_token(&c->tokenizer, json_string_value(value), &token))
			*id = token.id;
		emb_json_free(&doc);
		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}

/* The named token; or the mask token, or, of tokenizers without one, the end token. */
static EmbStatus
find_expansion(EmbCheckpoint *c, const EmbHfConfig *config, EmbError *err)
{
	static const char *const usual[] = {"[MASK]", "<mask>"};
	const char *name = config->multi.expansion_token;
	int32_t		id = -1;
	EmbTokAdded token;
	EmbStatus	status = EMB_OK;

	if (c->arch.query_floor == 0)
		return EMB_OK;
	if (name[0] != '\0' && !emb_tok_spec_find_token(&c->tokenizer, name, &token))
		return emb_error(err, EMB_ERR_FORMAT, "\"query_expansion\" names the token \"%s\", which the tokenizer does not have", name);
	if (name[0] != '\0')
		id = token.id;
	else
		status = find_role(c, config->transformer_dir, "mask_token", config->stop, &id, err);
	for (size_t i = 0; id < 0 && i < sizeof(usual) / sizeof(usual[0]); i++)
	{
		if (emb_tok_spec_find_token(&c->tokenizer, usual[i], &token))
			id = token.id;
	}
	if (status == EMB_OK && id < 0)
		status = find_role(c, config->transformer_dir, "eos_token", config->stop, &id, err);
	if (status == EMB_OK && id < 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "queries are expanded by mask tokens, but the tokenizer has neither a mask token nor an end token");
	if (status == EMB_OK && id >= c->arch.n_vocab)
		return emb_error(err, EMB_ERR_FORMAT, "the token that expands queries has id %d, but the vocabulary %d entries", id, c->arch.n_vocab);
	c->arch.expansion_id = id;
	return status;
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

/* Words that are no token are left out: unknown tokens must keep their vectors. */
static EmbStatus
find_skipped(EmbCheckpoint *c, const EmbHfMulti *multi, EmbHfMultiTables *tables, EmbError *err)
{
	const char *end = multi->words + multi->words_bytes;
	const char *missing = NULL;
	int32_t		n_missing = 0;
	int32_t		n = 0;

	tables->skipped = emb_alloc_array(c->mem, multi->words_bytes + 1, sizeof(float));
	if (tables->skipped == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the words that are skipped");
	for (const char *word = multi->words; word != NULL && word < end; word += strlen(word) + 1)
	{
		EmbTokAdded token;

		if (!emb_tok_spec_find_token(&c->tokenizer, word, &token))
		{
			missing = n_missing++ == 0 ? word : missing;
			continue;
		}
		if (token.id < c->arch.n_vocab)
			tables->skipped[n++] = (float) token.id;
	}
	qsort(tables->skipped, n, sizeof(float), compare_floats);
	for (int32_t i = 0; i < n; i++)
	{
		if (i == 0 || tables->skipped[i] != tables->skipped[c->arch.n_skipped - 1])
			tables->skipped[c->arch.n_skipped++] = tables->skipped[i];
	}
	c->arch.skips = c->arch.n_skipped > 0 ? multi->skips : 0;
	if (c->arch.skips == 0)
		c->arch.n_skipped = 0;
	if (n_missing > 0)
		emb_note(c, "sentence-transformers leaves such words out, too.",
				 "words of \"skiplist_words\" that are no tokens of the model skip nothing: %d of them, the first is \"%.*s\"", n_missing,
				 emb_json_clip(missing, 40), missing);
	return EMB_OK;
}

/* -------------------------------------------------------------------- tables */

/* Zeros, as a matrix that was never saved has: all tokens would have one vector, or none. */
static EmbStatus
check_weight(const EmbHfMultiTables *tables, const EmbArch *arch, bool is_inline, EmbError *err)
{
	size_t		n = (size_t) arch->multi_dim * arch->hidden;

	for (size_t i = 0; i < n; i++)
	{
		if (tables->weight[i] != 0)
			return EMB_OK;
	}
	emb_error(err, EMB_ERR_FORMAT, "%s has only zeros, so that no token would have a vector of its own",
			  is_inline ? "tensor \"linear.weight\"" : "the product of the Dense modules");
	return emb_error_hint(err, EMB_ERR_FORMAT, "The matrix was not trained or not saved. Download the model again, or ask its author.");
}

EmbStatus
emb_hf_multi_read_tables(EmbCheckpoint *c, const char *dir, const EmbHfConfig *config, const EmbTensorSet *set, EmbHfMultiTables *tables, EmbError *err)
{
	const EmbHfMulti *multi = &config->multi;
	EmbStatus	status;

	*tables = (EmbHfMultiTables) {0};
	if (!config->is_multi)
		return EMB_OK;
	c->arch.query_tokens = multi->query_tokens;
	c->arch.query_floor = multi->query_floor;
	c->arch.sees_expansion = multi->query_floor > 0 && multi->sees_expansion;
	status = multi->is_inline ? read_inline(c, set, multi, tables, err) : read_projection(dir, config, c->mem, tables, err);
	if (status == EMB_OK &&
		(status = check_weight(tables, &c->arch, multi->is_inline, err)) == EMB_OK &&
		(status = register_markers(c, multi, config->stop, err)) == EMB_OK &&
		(status = find_expansion(c, config, err)) == EMB_OK)
		status = find_skipped(c, multi, tables, err);
	if (status != EMB_OK)
		emb_hf_multi_free_tables(tables, c->mem);
	else
	{
		note_unknown_marker(c, multi->query_marker);
		note_unknown_marker(c, multi->document_marker);
	}
	return status;
}

void
emb_hf_multi_free_tables(EmbHfMultiTables *tables, const EmbAllocator *mem)
{
	emb_release(mem, tables->weight);
	emb_release(mem, tables->bias);
	emb_release(mem, tables->skipped);
	*tables = (EmbHfMultiTables) {0};
}
