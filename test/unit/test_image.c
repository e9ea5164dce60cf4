/*
 * test_image.c
 *		Images: equal bytes for equal input, and no corruption of one that gets
 *		past the checks or, where it does, does harm.
 */
#include "model_util.h"

#include "image_util.h"
#include "kernels/kernels.h"

static Image small;				/* of the small model */

static void
make_image(const SmallModel *m, const char *precision, Image *image)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbImportOptions options = {.precision = precision};
	EmbError	err;

	write_small_model(fresh_dir(), m);
	if (!CHECKF(import_image(temp_root, &options, &mem, image, &err) == EMB_OK, "%s", err.message))
		exit(1);
}

/* Bytes in a block of their own, so that reading past them is seen. */
static uint8_t *
exact_copy(const uint8_t *data, size_t size)
{
	void	   *copy;

	if (posix_memalign(&copy, EMB_ALIGNMENT, size > 0 ? size : 1) != 0)
		abort();
	memcpy(copy, data, size);
	return copy;
}

static EmbStatus
try_open(const uint8_t *image, size_t size, unsigned flags, EmbError *err)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbModel   *model = NULL;
	EmbStatus	status;

	memset(err, 0, sizeof(*err));
	status = emb_model_open(image, size, flags, &mem, NULL, &model, err);
	if (status == EMB_OK)
		emb_model_close(model);
	if (count.n_live != 0)
		CHECKF(false, "%ld blocks leaked", count.n_live);
	return status;
}

/* Opens and, where that works, encodes and embeds: anything may come out, but nothing may break. */
static bool
use(const uint8_t *image, size_t size, unsigned flags)
{
	static const char text[] = "search the database of a, b. zebra";
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbRun		run = {.mem = &mem};
	EmbModel   *model = NULL;
	EmbEncoded	r;
	int32_t		ids[64];
	EmbSequence seq = {.ids = ids};
	float		out[64];
	bool		opened = emb_model_open(image, size, flags, &mem, NULL, &model, NULL) == EMB_OK;

	if (opened && emb_model_info(model)->dim <= 64 &&
		emb_model_encode(model, EMB_PROMPT_QUERY, &(EmbText) {text, sizeof(text) - 1, true, NULL},
				&(EmbReading) {.ids = ids, .max_ids = 64, .mem = &mem}, &r, NULL) == EMB_OK)
	{
		seq.n_ids = r.n_ids;
		(void) emb_model_embed(model, &seq, 1, &run, out, NULL);
		for (int32_t i = 0; i < emb_model_n_references(model); i += 7)
		{
			EmbReferenceCheck check;

			(void) emb_model_check_reference(model, i, &run, &check, NULL);
		}
	}
	emb_model_close(model);
	if (count.n_live != 0)
		CHECKF(false, "%ld blocks leaked", count.n_live);
	return opened;
}

static void
test_determinism(SmallModel m, const char *precision)
{
	Image		again;
	static const char *const dtypes[] = {"F16", "BF16"};

	make_image(&m, precision, &again);
	CHECK(again.size_bytes == small.size_bytes && memcmp(again.data, small.data, small.size_bytes) == 0);
	free(again.data);

	/* the small model's values fit 16 bits: the same image whatever the type */
	for (int i = 0; i < 2; i++)
	{
		m.dtype = dtypes[i];
		make_image(&m, precision, &again);
		CHECKF(again.size_bytes == small.size_bytes && memcmp(again.data, small.data, small.size_bytes) == 0,
			   "%s", dtypes[i]);
		free(again.data);
	}
	CHECK(small.size_bytes % EMB_ALIGNMENT == 0);
}

static void
test_header_bytes(void)
{
	EmbImageView view;
	EmbError	err;
	uint8_t    *copy = exact_copy(small.data, small.size_bytes);
	uint64_t	meta_bytes;
	int			n_accepted = 0;

	if (!CHECK(emb_image_view(small.data, small.size_bytes, &view, &err) == EMB_OK))
		return;
	meta_bytes = emb_image_section(&view, EMB_SECTION_TOKENIZER)->offset;
	for (uint64_t i = 0; i < meta_bytes; i++)
	{
		for (int bit = 0; bit < 8; bit++)
		{
			copy[i] ^= 1 << bit;
			n_accepted += try_open(copy, small.size_bytes, 0, &err) == EMB_OK;
			copy[i] ^= 1 << bit;
		}
	}
	CHECKF(n_accepted == 0, "%d flips before the tokenizer were accepted", n_accepted);
	CHECK(try_open(copy, small.size_bytes, EMB_OPEN_CHECK_ALL, &err) == EMB_OK);
	free(copy);
}

/* One field set to a value, the checksum put right: what must be said. */
#define HEADER(field)	EMB_N_SECTION_NONE, offsetof(EmbImageHeader, field)
#define CONFIG(field)	EMB_SECTION_CONFIG, offsetof(EmbImageConfig, field)
#define ARCH(field)		EMB_SECTION_ARCH, offsetof(EmbArch, field)
#define EMB_N_SECTION_NONE	0

static void
test_fields(void)
{
	static const struct
	{
		int			section;	/* 0: the header */
		size_t		offset;		/* in it */
		uint32_t	value;
		EmbStatus	status;
		const char *message;
	}			fields[] =
	{
		{HEADER(layout_version), EMB_IMAGE_LAYOUT_VERSION - 1, EMB_ERR_UNSUPPORTED, "the image has layout version"},
		{HEADER(layout_version), EMB_IMAGE_LAYOUT_VERSION + 1, EMB_ERR_UNSUPPORTED, "the image has layout version"},
		{HEADER(numerics_version), 7, EMB_ERR_UNSUPPORTED, "numerics version 7"},
		{HEADER(kind), 9, EMB_ERR_FORMAT, "kind 9"},
		{HEADER(n_sections), 5, EMB_ERR_FORMAT, "header"},
		{HEADER(reserved), 1, EMB_ERR_FORMAT, "header"},
		{CONFIG(precision), 0, EMB_ERR_FORMAT, "precision"},
		{CONFIG(precision), 3, EMB_ERR_FORMAT, "precision"},
		{CONFIG(max_tokens), 17, EMB_ERR_FORMAT, "max_tokens"},
		{CONFIG(max_tokens), 2, EMB_ERR_FORMAT, "max_tokens"},
		{CONFIG(max_chars), 10, EMB_ERR_FORMAT, "max_chars"},
		{CONFIG(dropped_id), 1, EMB_ERR_FORMAT, "dropped id"},
		{CONFIG(dimensions), 9, EMB_ERR_FORMAT, "dimensions"},
		{CONFIG(query_prompt), 4, EMB_ERR_FORMAT, "prompts"},
		{CONFIG(query_prompt_bytes), 1, EMB_ERR_FORMAT, "prompts"},
		{CONFIG(document_prompt_bytes), 0xFFFF, EMB_ERR_FORMAT, "prompt"},
		{CONFIG(reserved), 1, EMB_ERR_FORMAT, "zero"},
		{ARCH(family), 0, EMB_ERR_FORMAT, "family"},
		{ARCH(family), 0x0A414141, EMB_ERR_FORMAT, "family"},
		{ARCH(family) + 20, 0x61616161, EMB_ERR_FORMAT, "family"},
		{ARCH(hidden), 0, EMB_ERR_FORMAT, "hidden"},
		{ARCH(hidden), 0xFFFFFFFF, EMB_ERR_FORMAT, "hidden"},
		{ARCH(hidden), 9, EMB_ERR_FORMAT, "table"},
		{ARCH(n_layers), 3, EMB_ERR_FORMAT, "section table"},
		{ARCH(n_layers), 256, EMB_ERR_FORMAT, "section table"},
		{ARCH(n_layers), 257, EMB_ERR_FORMAT, "layer count"},
		{ARCH(n_layers), 0, EMB_ERR_FORMAT, "the model's"},
		{ARCH(n_heads), 0, EMB_ERR_FORMAT, "head count"},
		{ARCH(n_heads), 3, EMB_ERR_FORMAT, "multiple"},
		{ARCH(n_kv_heads), 0, EMB_ERR_FORMAT, "key head count"},
		{ARCH(n_kv_heads), 1, EMB_ERR_FORMAT, "table"},
		{ARCH(head_size), 8, EMB_ERR_FORMAT, "table"},
		{ARCH(head_size), 16384, EMB_ERR_FORMAT, "table"},
		{ARCH(head_size), 0x10000, EMB_ERR_FORMAT, "head size"},
		{ARCH(intermediate), 17, EMB_ERR_FORMAT, "table"},
		{ARCH(n_vocab), 25, EMB_ERR_FORMAT, "table"},
		{ARCH(n_positions), 15, EMB_ERR_FORMAT, "max_tokens"},
		{ARCH(n_types), 0, EMB_ERR_FORMAT, "section table"},
		{ARCH(n_types), 1025, EMB_ERR_FORMAT, "type count"},
		{ARCH(activation), 4, EMB_ERR_FORMAT, "activation"},
		{ARCH(is_gated), 2, EMB_ERR_FORMAT, "gate"},
		{ARCH(is_gated), 1, EMB_ERR_FORMAT, "table"},
		{ARCH(norm_kind), 2, EMB_ERR_FORMAT, "table"},
		{ARCH(norm_kind), 3, EMB_ERR_FORMAT, "kind of norms"},
		{ARCH(norm_place), 2, EMB_ERR_FORMAT, "table"},
		{ARCH(norm_place), 3, EMB_ERR_FORMAT, "table"},
		{ARCH(norm_eps), 0x7FC00000, EMB_ERR_FORMAT, "epsilon"},
		{ARCH(norm_eps), 0, EMB_ERR_FORMAT, "epsilon"},
		{ARCH(has_embedding_norm), 0, EMB_ERR_FORMAT, "table"},
		{ARCH(has_first_norm), 0, EMB_ERR_FORMAT, "first norm"},
		{ARCH(has_qk_norm), 1, EMB_ERR_UNSUPPORTED, "query and key norms"},
		{ARCH(has_qk_norm), 2, EMB_ERR_FORMAT, "section table"},
		{ARCH(has_qk_norm), 3, EMB_ERR_FORMAT, "query and key norm"},
		{ARCH(has_second_norm), 1, EMB_ERR_FORMAT, "section table"},
		{ARCH(has_second_norm), 2, EMB_ERR_FORMAT, "second norm"},
		{ARCH(is_causal), 2, EMB_ERR_FORMAT, "causality"},
		{ARCH(positions), 0, EMB_ERR_UNSUPPORTED, "no positions"},
		{ARCH(positions), 2, EMB_ERR_UNSUPPORTED, "relative"},
		{ARCH(positions), 3, EMB_ERR_FORMAT, "section table"},
		{ARCH(positions), 4, EMB_ERR_FORMAT, "rotary base"},
		{ARCH(positions), 8, EMB_ERR_FORMAT, "section table"},
		{ARCH(positions), 9, EMB_ERR_UNSUPPORTED, "ALiBi"},
		{ARCH(positions), 16, EMB_ERR_FORMAT, "vectors of distances"},
		{ARCH(positions), 32, EMB_ERR_FORMAT, "positions"},
		{ARCH(position_base), 2, EMB_ERR_FORMAT, "table"},
		{ARCH(position_base), 99, EMB_ERR_FORMAT, "position base"},
		{ARCH(rotary_scaling), 1, EMB_ERR_FORMAT, "rotary scaling"},
		{ARCH(rotary_base) + 4, 0x40000000, EMB_ERR_FORMAT, "rotary base"},
		{ARCH(rotary_local_base) + 4, 0x40000000, EMB_ERR_FORMAT, "local rotary base"},
		{ARCH(rotary_scale) + 4, 0x3FF00000, EMB_ERR_FORMAT, "rotary scale"},
		{ARCH(n_experts), 65, EMB_ERR_FORMAT, "expert count"},
		{ARCH(n_experts), 8, EMB_ERR_FORMAT, "count of experts of a token"},
		{ARCH(experts_used), 1, EMB_ERR_FORMAT, "count of experts of a token"},
		{ARCH(expert_every), 1, EMB_ERR_FORMAT, "distance between layers of experts"},
		{ARCH(expert_first), 1, EMB_ERR_FORMAT, "first layer of experts"},
		{ARCH(embedding_scale), 0x40000000, EMB_ERR_UNSUPPORTED, "scaled embeddings"},
		{ARCH(embedding_scale), 0, EMB_ERR_FORMAT, "embedding scale"},
		{ARCH(window), 64, EMB_ERR_FORMAT, "global"},
		{ARCH(global_every), 3, EMB_ERR_FORMAT, "global"},
		{ARCH(global_every), 0x80000000, EMB_ERR_FORMAT, "global"},
		{ARCH(global_first), 1, EMB_ERR_FORMAT, "global"},
		{ARCH(pooling), 0, EMB_ERR_FORMAT, "pooling"},
		{ARCH(pooling), 7, EMB_ERR_FORMAT, "pooling"},
		{ARCH(pooling), 0x22, EMB_ERR_FORMAT, "pooling"},
		{ARCH(pooling), 0x201, EMB_ERR_FORMAT, "pooling"},
		{ARCH(centers_cut), 2, EMB_ERR_FORMAT, "layer norm"},
		{ARCH(label), 1, EMB_ERR_FORMAT, "label"},
		{ARCH(normalize), 2, EMB_ERR_FORMAT, "normalize"},
		{ARCH(n_dense), 1, EMB_ERR_FORMAT, "dense module"},
		{ARCH(n_dense), 5, EMB_ERR_FORMAT, "dense module count"},
		{ARCH(dense), 4, EMB_ERR_FORMAT, "dense module 1"},
		{ARCH(dense) + 3 * sizeof(EmbArchDense), 4, EMB_ERR_FORMAT, "dense module 4"},
		{ARCH(has_sparse), 3, EMB_ERR_FORMAT, "sparse head"},
		{ARCH(has_sparse), 2, EMB_ERR_FORMAT, "the model's "},
		{ARCH(lacks_vector), 1, EMB_ERR_FORMAT, "lack of a vector"},
		{ARCH(sparse_logs), 1, EMB_ERR_FORMAT, "logarithms"},
		{ARCH(sparse_max), 1, EMB_ERR_FORMAT, "number of weights"},
		{ARCH(has_query_weights), 1, EMB_ERR_FORMAT, "query weights"},
		{ARCH(multi_kind), 1, EMB_ERR_FORMAT, "kind of token vectors"},
		{ARCH(query_tokens), 1, EMB_ERR_FORMAT, "length of queries"},
		{ARCH(query_floor), 1, EMB_ERR_FORMAT, "length of expanded queries"},
		{ARCH(expansion_id), 1, EMB_ERR_FORMAT, "token of expanded queries"},
		{ARCH(sees_expansion), 1, EMB_ERR_FORMAT, "attention to expansion tokens"},
		{ARCH(n_skipped), 1, EMB_ERR_FORMAT, "number of skipped tokens"},
		{ARCH(skips), 1, EMB_ERR_FORMAT, "texts with skipped tokens"},
		{ARCH(reserved_end), 1, EMB_ERR_FORMAT, "zero"},
		{ARCH(has_sparse), 1, EMB_ERR_FORMAT, "the "},
		{ARCH(multi_dim), 16385, EMB_ERR_FORMAT, "token vectors' size"},
		{ARCH(multi_dim), 8, EMB_ERR_FORMAT, "the "},
		{ARCH(head), 4, EMB_ERR_FORMAT, "head"},
		{ARCH(head_activation), 6, EMB_ERR_FORMAT, "head's activation"},
		{ARCH(head_has_norm), 2, EMB_ERR_FORMAT, "head's norm"},
		{ARCH(head_has_bias), 2, EMB_ERR_FORMAT, "head's bias"},
		{ARCH(n_labels), 0x10000, EMB_ERR_FORMAT, "label count"},
		{ARCH(has_output), 1, EMB_ERR_UNSUPPORTED, "an output matrix"},
		{ARCH(is_output_tied), 1, EMB_ERR_FORMAT, "tied output"},
		{ARCH(reserved), 1, EMB_ERR_FORMAT, "zero"},
	};
	EmbImageView view;
	EmbError	err;
	uint8_t    *copy = exact_copy(small.data, small.size_bytes);

	CHECK(emb_image_view(small.data, small.size_bytes, &view, &err) == EMB_OK);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		size_t		start = fields[i].section == EMB_N_SECTION_NONE ? 0 : emb_image_section(&view, fields[i].section)->offset;
		EmbStatus	status;

		memcpy(copy + start + fields[i].offset, &fields[i].value, sizeof(uint32_t));
		image_fix_header(copy, small.size_bytes);
		status = try_open(copy, small.size_bytes, 0, &err);
		CHECKF(status == fields[i].status && strstr(err.message, fields[i].message) != NULL,
			   "%s: status %d, \"%s\"", fields[i].message, status, err.message);
		if (fields[i].status == EMB_ERR_UNSUPPORTED)
			CHECKF(strstr(err.hint, fields[i].section == EMB_N_SECTION_NONE ? "Make the image again from the model's directory, with this version." : "another model") != NULL,
				   "%s: \"%s\"", fields[i].message, err.hint);
		memcpy(copy, small.data, small.size_bytes);
	}
	free(copy);
}

static void
test_sizes(void)
{
	EmbImageView view;
	EmbError	err;
	int			n_accepted = 0;

	CHECK(emb_image_view(small.data, small.size_bytes, &view, &err) == EMB_OK);
	for (size_t size = 0; size < small.size_bytes; size += size < 2048 ? 1 : 61)
	{
		uint8_t    *copy = exact_copy(small.data, size);

		n_accepted += try_open(copy, size, EMB_OPEN_CHECK_ALL, &err) == EMB_OK;
		image_fix_header(copy, size);
		n_accepted += try_open(copy, size, EMB_OPEN_CHECK_ALL, &err) == EMB_OK;
		free(copy);
	}
	CHECKF(n_accepted == 0, "%d truncated images were accepted", n_accepted);
	{
		uint8_t    *copy = exact_copy(small.data, small.size_bytes);
		uint8_t    *longer = exact_copy(small.data, small.size_bytes - EMB_ALIGNMENT);

		free(longer);
		CHECK(try_open(copy + 1, small.size_bytes - 1, 0, &err) == EMB_ERR_INVALID_ARGUMENT);
		longer = calloc(1, small.size_bytes + EMB_ALIGNMENT);
		memcpy(longer, small.data, small.size_bytes);
		free(copy);
		copy = exact_copy(longer, small.size_bytes + EMB_ALIGNMENT);
		CHECK(try_open(copy, small.size_bytes + EMB_ALIGNMENT, 0, &err) == EMB_ERR_FORMAT);
		image_fix_header(copy, small.size_bytes + EMB_ALIGNMENT);
		CHECK(try_open(copy, small.size_bytes + EMB_ALIGNMENT, 0, &err) == EMB_ERR_FORMAT);
		free(copy);
		free(longer);
	}
}

/* Whether the image with n bytes at an offset replaced is refused by a message with these words in it. */
static bool
is_refused(uint8_t *copy, uint64_t at, const void *bytes, size_t n, const char *words, const char *also)
{
	EmbError	err;
	EmbStatus	status;

	memcpy(copy + at, bytes, n);
	status = try_open(copy, small.size_bytes, EMB_OPEN_CHECK_ALL, &err);
	memcpy(copy + at, small.data + at, n);
	if (status == EMB_ERR_FORMAT && strstr(err.message, words) != NULL && strstr(err.message, also) != NULL)
		return true;
	printf("# status %d, \"%s\", not \"%s\" and \"%s\"\n", status, err.message, words, also);
	return false;
}

static void
test_floats(uint8_t *copy, const EmbImageTensor *t)
{
	const float bad[] = {__builtin_nanf(""), __builtin_inff(), -__builtin_inff()};
	char		name[128];
	int			n_accepted = 0;

	emb_tensor_name(t->key, name, sizeof(name));
	for (int k = 0; k < 3; k++)
	{
		/* the first, the last real one in front of any padding of a vector, one in the middle */
		uint64_t	at = t->offset + (k == 0 ? 0 : k == 1 ? (t->n_cols - 1) * sizeof(float) : t->size_bytes / 8 * 4);

		n_accepted += !is_refused(copy, at, &bad[k], sizeof(float), name, "not finite");
	}
	CHECKF(n_accepted == 0, "%s: %d weights that are not finite accepted", name, n_accepted);
}

/* A weight that its sum does not have; a sum; bytes behind the last column, behind the last row. */
static void
test_tiles(uint8_t *copy, const EmbImageView *view, const EmbImageTensor *t)
{
	const EmbImageTensor *sums = emb_image_find(view, t->key.layer, t->key.part, EMB_TENSOR_SUMS);
	uint8_t		one = copy[t->offset + 5] + 1;
	int32_t		sum = *(int32_t *) (copy + sums->offset + 4) - 1;
	uint8_t		byte = 1;
	char		name[128];

	emb_tensor_name(sums->key, name, sizeof(name));
	CHECK(is_refused(copy, t->offset + 5, &one, 1, name, "sum"));
	CHECK(is_refused(copy, sums->offset + 4, &sum, 4, name, "sum"));
	emb_tensor_name(t->key, name, sizeof(name));
	/* n_cols is 8 or 20, a multiple of 4: the group behind it */
	CHECK(is_refused(copy, t->offset + t->n_cols / 4 * 64 + 1, &byte, 1, name, "padding"));
	CHECK(is_refused(copy, t->offset + t->size_bytes - 1, &byte, 1, name, "padding"));
	CHECK(is_refused(copy, t->offset + (t->n_rows / 16) * (t->size_bytes / (t->n_rows / 16 + 1)) + (t->n_rows % 16) * 4,
					 &byte, 1, name, "padding"));
}

static void
test_weights(void)
{
	EmbImageView view;
	EmbError	err;
	uint8_t    *copy = exact_copy(small.data, small.size_bytes);
	const float below = -1e-3f;
	const uint8_t byte = 0x10;
	int			n_scales = 0;

	CHECK(emb_image_view(small.data, small.size_bytes, &view, &err) == EMB_OK);
	for (uint32_t i = 0; i < view.n_tensors; i++)
	{
		const EmbImageTensor *t = &view.tensors[i];
		char		name[128];

		emb_tensor_name(t->key, name, sizeof(name));
		CHECK(emb_image_find(&view, t->key.layer, t->key.part, t->key.kind) == t);
		if (t->form == EMB_FORM_TILES_I8)
			test_tiles(copy, &view, t);
		else if (t->form != EMB_FORM_ROWS_I8 && t->form != EMB_FORM_VECTOR_I32)
			test_floats(copy, t);
		if (strcmp(name, "words.scale") == 0 || strstr(name, ".factor") != NULL)
		{
			n_scales++;
			CHECK(is_refused(copy, t->offset + 4, &below, sizeof(below), name, "below zero"));
		}
		if (t->form == EMB_FORM_VECTOR_F32 || t->form == EMB_FORM_VECTOR_I32 || (t->key.part == EMB_PART_FFN_UP && t->key.kind == EMB_TENSOR_WEIGHT))
			CHECK(is_refused(copy, t->offset + t->size_bytes - 1, &byte, 1, name,
							 t->form == EMB_FORM_VECTOR_I32 ? "" : "padding"));
	}
	CHECK(n_scales == (view.config->precision == EMB_PRECISION_INT8 ? 2 + 2 * 3 : 0));
	CHECK(try_open(copy, small.size_bytes, EMB_OPEN_CHECK_ALL, &err) == EMB_OK);
	free(copy);
}

static void
test_references(void)
{
	EmbImageView view;
	EmbError	err;
	uint8_t    *copy = exact_copy(small.data, small.size_bytes);
	const EmbImageReferences *refs;
	const EmbImageReference *entries;
	uint64_t	at,
				texts;
	uint32_t	n;
	const float nan = __builtin_nanf(""),
				two = 2;

	CHECK(emb_image_view(small.data, small.size_bytes, &view, &err) == EMB_OK);
	at = emb_image_section(&view, EMB_SECTION_REFERENCES)->offset;
	refs = view.references;
	entries = (const EmbImageReference *) (refs + 1);
	texts = at + emb_image_reference_texts(refs->n_references, emb_image_width(view.arch, view.config));
	n = refs->n_references + 1;
	CHECK(is_refused(copy, at, &n, 4, "reference section", ""));
	n = 0xFFFFFFFF;
	CHECK(is_refused(copy, at, &n, 4, "reference section", ""));
	CHECK(is_refused(copy, at + offsetof(EmbImageReferences, text_bytes), &n, 4, "reference section", ""));
	CHECK(is_refused(copy, at + offsetof(EmbImageReferences, reserved), &n, 4, "reference section", ""));
	CHECK(is_refused(copy, at + sizeof(*refs) + offsetof(EmbImageReference, text_bytes), &n, 4, "reference texts", ""));
	n = entries[1].text_bytes + 1;
	CHECK(is_refused(copy, at + sizeof(*refs) + sizeof(*entries), &n, 4, "reference texts", ""));
	n = 17;
	CHECK(is_refused(copy, at + sizeof(*refs) + offsetof(EmbImageReference, n_tokens), &n, 4, "reference 1 ", ""));
	CHECK(is_refused(copy, at + sizeof(*refs) + offsetof(EmbImageReference, closeness), &nan, 4, "reference 1 ", ""));
	CHECK(is_refused(copy, at + sizeof(*refs) + offsetof(EmbImageReference, closeness), &two, 4, "reference 1 ", ""));
	CHECK(is_refused(copy, at + emb_image_reference_vectors(refs->n_references) + 4, &nan, 4, "reference vector", ""));
	CHECK(is_refused(copy, texts, "\xFF", 1, "reference text 2 ", "UTF-8"));
	CHECK(is_refused(copy, texts + refs->text_bytes - 1, "\xC3", 1, "reference text", "UTF-8"));
	CHECK(is_refused(copy, texts, "\0", 1, "reference text 2 ", "UTF-8"));
	free(copy);
}

/* Everything behind the checksum flipped at random, checksum right: never a crash, checked or not. */
static void
test_random_flips(void)
{
	const char *rounds = getenv("EMBED_TEST_FLIPS");
	int			n_rounds = rounds != NULL ? atoi(rounds) : 4000;
	uint8_t    *copy = exact_copy(small.data, small.size_bytes);
	EmbImageView view;
	uint64_t	state = 20261121;
	uint64_t	weights;
	int			n_opened = 0;

	CHECK(emb_image_view(small.data, small.size_bytes, &view, NULL) == EMB_OK);
	weights = emb_image_section(&view, EMB_SECTION_WEIGHTS)->offset;
	for (int i = 0; i < n_rounds; i++)
	{
		/* mostly in what is not weights; one to four flips */
		int			n_flips = 1 + i % 4;

		for (int k = 0; k < n_flips; k++)
		{
			uint64_t	at;

			state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			at = (state >> 20) % (i % 8 == 7 ? small.size_bytes : weights);
			if (i % 8 == 6)
				at = small.size_bytes - 1 - at % 256;
			copy[at] ^= 1 << (state >> 60 & 7);
		}
		if (i % 3 != 0)
			image_fix_header(copy, small.size_bytes);
		n_opened += use(copy, small.size_bytes, EMB_OPEN_CHECK_ALL);
		n_opened += use(copy, small.size_bytes, 0);
		memcpy(copy, small.data, small.size_bytes);
	}
	CHECKF(n_opened > 0, "%d", n_opened);
	printf("# %d flipped images, %d of %d opens succeeded\n", n_rounds, n_opened, 2 * n_rounds);
	free(copy);
}

static void
test_no_memory(void)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbStatus	status = EMB_ERR_NOMEM;
	EmbModel   *model;

	for (int i = 0; status != EMB_OK && i < 100; i++)
	{
		count.fail_after = i;
		status = emb_model_open(small.data, small.size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, NULL);
		if (status == EMB_OK)
			emb_model_close(model);
		CHECK((status == EMB_OK || status == EMB_ERR_NOMEM) && count.n_live == 0);
	}
	CHECK(status == EMB_OK);
}

int
main(void)
{
	static const char *const precisions[] = {"int8", "fp32"};

	for (int i = 0; i < 4; i++)
	{
		SmallModel	m = i < 2 ? small_model() : small_reranker();
		uint8_t    *exact;

		m.prompts = "{\"prompts\": {\"query\": \"query: \", \"document\": \"passage: \"}}";
		make_image(&m, precisions[i % 2], &small);
		exact = exact_copy(small.data, small.size_bytes);
		free(small.data);
		small.data = exact;
		CHECK(use(small.data, small.size_bytes, EMB_OPEN_CHECK_ALL));
		test_header_bytes();
		test_fields();
		test_sizes();
		test_weights();
		test_references();
		test_random_flips();
		test_no_memory();
		free(small.data);
		m.prompts = NULL;
		make_image(&m, precisions[i % 2], &small);
		test_determinism(m, precisions[i % 2]);
		free(small.data);
	}
	return done_testing();
}
