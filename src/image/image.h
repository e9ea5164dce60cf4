/*
 * image.h
 *		The image: our own file format, used in place. docs/image-format.md
 *		describes the format for readers; the structs here define it.
 *
 * Every section and every tensor starts at a multiple of 64 bytes; the padding
 * between them is zero. Architecture, configuration and a few sizes determine
 * the order and place of everything. A reader computes all offsets again and
 * compares: no offset in an image is trusted. A change to these structs needs
 * a new EMB_IMAGE_LAYOUT_VERSION. EMB_IMAGE_NUMERICS_VERSION changes when an
 * equal image would yield other bits.
 *
 * Writing: emb_image_begin creates all that stands before the weights; the
 * caller writes this first, then the tensors of the plan in order, then the
 * references. Reading: emb_image_view.
 */
#ifndef EMB_IMAGE_IMAGE_H
#define EMB_IMAGE_IMAGE_H

#include "common/arch.h"
#include "common/error.h"
#include "common/half.h"
#include "common/mem.h"
#include "common/pair_template.h"
#include "common/parts.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are used in place and need a little-endian machine"
#endif

#define EMB_IMAGE_MAGIC				"\x93" "EMBIMG\n"
#define EMB_IMAGE_LAYOUT_VERSION	7
#define EMB_IMAGE_NUMERICS_VERSION	5

#define EMB_IMAGE_MAX_PROMPT_BYTES	8192

typedef enum EmbSectionType
{
	EMB_SECTION_ARCH = 1,		/* EmbArch */
	EMB_SECTION_CONFIG = 2,		/* EmbImageConfig */
	EMB_SECTION_STRINGS = 3,	/* prompts, then texts of a template, each with a zero byte after it */
	EMB_SECTION_TENSORS = 4,	/* EmbImageTensor[] */
	EMB_SECTION_TOKENIZER = 5,	/* emb_tok_build's block */
	EMB_SECTION_WEIGHTS = 6,
	EMB_SECTION_REFERENCES = 7	/* EmbImageReferences */
} EmbSectionType;

#define EMB_IMAGE_N_SECTIONS	7

/*
 *	offset	size
 *		0	   8	magic
 *		8	   4	layout_version
 *	   12	   4	numerics_version
 *	   16	   8	size_bytes: of the whole image
 *	   24	   8	meta_checksum: FNV-1a of all before the tokenizer, this field as 0
 *	   32	   4	kind: EmbKind
 *	   36	   4	n_sections
 *	   40	  24	zero
 */
typedef struct EmbImageHeader
{
	char		magic[8];
	uint32_t	layout_version;
	uint32_t	numerics_version;
	uint64_t	size_bytes;
	uint64_t	meta_checksum;
	uint32_t	kind;
	uint32_t	n_sections;
	uint8_t		reserved[24];
} EmbImageHeader;

_Static_assert(sizeof(EmbImageHeader) == 64, "EmbImageHeader");

/*
 *	offset	size
 *		0	   4	type: EmbSectionType, ascending
 *		4	   4	zero
 *		8	   8	offset: from the start of the image, a multiple of 64
 *	   16	   8	size_bytes: without padding
 */
typedef struct EmbImageSection
{
	uint32_t	type;
	uint32_t	reserved;
	uint64_t	offset;
	uint64_t	size_bytes;
} EmbImageSection;

_Static_assert(sizeof(EmbImageSection) == 24, "EmbImageSection");

typedef enum EmbImagePrecision
{
	EMB_PRECISION_FP32 = 1,
	EMB_PRECISION_INT8 = 2,
	EMB_PRECISION_INT4 = 3
} EmbImagePrecision;

/* The linear layers of an int4 image that stay int8. */
typedef enum EmbKeepInt8
{
	EMB_KEEP_NONE = 0,
	EMB_KEEP_ATTENTION = 1,		/* query, key, value, attention output */
	EMB_KEEP_ENDS = 2,			/* the first and the last layer */
	EMB_KEEP_ALL_BUT_DOWN = 3,	/* all but ffn_down */
	EMB_KEEP_MEASURED = 4		/* those in kept */
} EmbKeepInt8;

/* The linear layers of a layer, in the order of the plan; all experts of a layer have one role. */
typedef enum EmbRole
{
	EMB_ROLE_QUERY,
	EMB_ROLE_KEY,
	EMB_ROLE_VALUE,
	EMB_ROLE_ATTN_OUT,
	EMB_ROLE_FFN_UP,
	EMB_ROLE_FFN_DOWN
} EmbRole;

#define EMB_N_ROLES	(EMB_ROLE_FFN_DOWN + 1)

/* part is one of them. */
static inline EmbRole
emb_role_of(EmbPart part)
{
	part = emb_part_kind(part);
	return part == EMB_PART_FFN_DOWN || part == EMB_PART_EXPERT_DOWN ? EMB_ROLE_FFN_DOWN
		: part == EMB_PART_FFN_UP || part == EMB_PART_EXPERT_UP ? EMB_ROLE_FFN_UP : (EmbRole) (part - EMB_PART_QUERY);
}

#define EMB_IMAGE_GROUP_ROW	65536	/* one group: all inputs */

/*
 * What an image has besides architecture, tokenizer and weights.
 *
 *	offset	size
 *		0	   4	precision: EmbImagePrecision
 *		4	   4	max_tokens: special tokens included
 *		8	   4	max_chars: characters read per text; 0: all
 *	   12	   4	dropped_id: 1 + the id that is left out of texts; 0: none
 *	   16	   4	dimensions: a vector is cut to this length and normalized again; 0: all
 *	   20	   4	query_prompt: offset in the strings
 *	   24	   4	query_prompt_bytes: without the zero byte
 *	   28	   4	document_prompt
 *	   32	   4	document_prompt_bytes
 *	   36	   4	has_template: a decoder that reranks has a template for pairs (EmbPairTemplate), all others 0
 *				in this field and the next ones
 *	   40	   4	takes_instruction
 *	   44	   4	seam: 1 + the template's seam; 0: none
 *	   48	  28	template_bytes: of its texts, without the zero bytes; they follow the prompts
 *	   76	   4	group: inputs that share a scale: in int4 32, 64, 128 or EMB_IMAGE_GROUP_ROW; in int8 32, 64, 128,
 *				or 0: an output has one scale; in fp32 0
 *	   80	   4	keep_int8: EmbKeepInt8, for int4
 *	   84	   4	has_order: 1: layers with a group take their inputs in an order of their own
 *	   88	   4	scale_type: EmbScaleType, of the scales of groups; without groups 0
 *	   92	   4	excludes_prompt: 1: the pooling leaves the rows of a text's prompt out
 *	   96	  32	zero
 *	  128	 256	kept: by layer, for EMB_KEEP_MEASURED the linear layers that stay int8, bit 1 << EmbRole each; else 0
 */
typedef struct EmbImageConfig
{
	uint32_t	precision;
	uint32_t	max_tokens;
	uint32_t	max_chars;
	uint32_t	dropped_id;
	uint32_t	dimensions;
	uint32_t	query_prompt;
	uint32_t	query_prompt_bytes;
	uint32_t	document_prompt;
	uint32_t	document_prompt_bytes;
	uint32_t	has_template;
	uint32_t	takes_instruction;
	uint32_t	seam;
	uint32_t	template_bytes[EMB_TEMPLATE_TEXTS];
	uint32_t	group;
	uint32_t	keep_int8;
	uint32_t	has_order;
	uint32_t	scale_type;
	uint32_t	excludes_prompt;
	uint8_t		reserved[32];
	uint8_t		kept[EMB_ARCH_MAX_LAYERS];
} EmbImageConfig;

_Static_assert(sizeof(EmbImageConfig) == 384 && offsetof(EmbImageConfig, reserved) == 96, "EmbImageConfig");

typedef enum EmbTensorForm
{
	EMB_FORM_ROWS_F32 = 1,		/* [n_rows, n_cols] row-major */
	EMB_FORM_PANELS_F32 = 2,	/* emb_pack_f32_panel's: [n_rows/16 rounded up][n_cols][16], zeros below */
	EMB_FORM_VECTOR_F32 = 3,	/* [n_cols rounded up to 16], zeros after; n_rows is 1 */
	EMB_FORM_VECTOR_I32 = 4,	/* likewise */
	EMB_FORM_ROWS_I8 = 5,		/* [n_rows, n_cols] row-major */
	EMB_FORM_TILES_I8 = 6,		/* emb_pack_i8_panel's: [n_rows/16 rounded up][n_cols padded to 64, over 4][16][4] */
	EMB_FORM_TILES_I4 = 7,		/* emb_pack_i4_panel's: [n_rows/16 rounded up][n_cols padded to 64, over 8][16][4] */
	EMB_FORM_GROUPS_F32 = 8,	/* [n_rows/16 rounded up][n_cols][16]: n_cols groups of inputs */
	EMB_FORM_GROUPS_U8 = 9,		/* likewise */
	EMB_FORM_VECTOR_U16 = 10,	/* [n_cols], zeros up to a multiple of 64 bytes */
	EMB_FORM_GROUP_TILES_I8 = 11,	/* EMB_FORM_TILES_I8, with scales by groups */
	EMB_FORM_GROUPS_F16 = 12,	/* EMB_FORM_GROUPS_F32 in binary16 */
	EMB_FORM_GROUPS_BF16 = 13	/* and in bfloat16 */
} EmbTensorForm;

/*
 *	offset	size
 *		0	   8	key: EmbTensorKey
 *		8	   4	form: EmbTensorForm
 *	   12	   4	n_rows: outputs of a linear layer
 *	   16	   4	n_cols
 *	   20	   4	zero
 *	   24	   8	offset: from the start of the image, a multiple of 64
 *	   32	   8	size_bytes: in that form, without the padding after it
 */
typedef struct EmbImageTensor
{
	EmbTensorKey key;
	uint32_t	form;
	uint32_t	n_rows;
	uint32_t	n_cols;
	uint32_t	reserved;
	uint64_t	offset;
	uint64_t	size_bytes;
} EmbImageTensor;

_Static_assert(sizeof(EmbImageTensor) == 40, "EmbImageTensor");

static inline uint64_t
emb_image_align(uint64_t n)
{
	return (n + EMB_ALIGNMENT - 1) & ~(uint64_t) (EMB_ALIGNMENT - 1);
}

/*
 * Texts with their vectors at import, for emb_model_check_reference. For a
 * reranker: pairs of texts with their logits, which are vectors of one element
 * (emb_image_width). Of a model with ColBERT's token vectors every second text, the
 * second first, is read as a query. The section has this header; [n_references]
 * EmbImageReference; from the next multiple of 64 on the unquantized vectors,
 * [n_references, width] floats; then the texts end to end, in a pair the query
 * first.
 *
 *	offset	size
 *		0	   4	n_references
 *		4	   4	text_bytes: of all texts
 *		8	  56	zero
 */
typedef struct EmbImageReferences
{
	uint32_t	n_references;
	uint32_t	text_bytes;
	uint8_t		reserved[56];
} EmbImageReferences;

_Static_assert(sizeof(EmbImageReferences) == 64, "EmbImageReferences");

#define EMB_IMAGE_MAX_REFERENCES		256
#define EMB_IMAGE_MAX_REFERENCE_TEXT	1048576

/*
 *	offset	size
 *		0	   4	text_bytes
 *		4	   4	n_tokens: of the document prompt and the text, cut at max_tokens
 *		8	   4	closeness: float, as closeness_expected of EmbReferenceCheck
 *	   12	   4	query_bytes: of a pair, of text_bytes; else 0
 *	   16	  32	ids_hash: SHA-256 of the ids, int32
 *	   48	  32	vector_hash: SHA-256 of the image's vector; of nothing if the model returns none
 *	   80	   4	sparse_closeness: float, the cosine of the image's weights of tokens to the unquantized ones; without such
 *				weights 0
 *	   84	   4	multi_closeness: float, the mean cosine of the token vectors; without them 0
 *	   88	  32	sparse_hash: SHA-256 of the image's weights: ids, then weights; zeros if there are none
 *	  120	  32	multi_hash: SHA-256 of the image's token vectors; zeros if there are none
 *	  152	   8	zero
 */
typedef struct EmbImageReference
{
	uint32_t	text_bytes;
	uint32_t	n_tokens;
	float		closeness;
	uint32_t	query_bytes;
	uint8_t		ids_hash[32];
	uint8_t		vector_hash[32];
	float		sparse_closeness;
	float		multi_closeness;
	uint8_t		sparse_hash[32];
	uint8_t		multi_hash[32];
	uint8_t		reserved[8];
} EmbImageReference;

_Static_assert(sizeof(EmbImageReference) == 160, "EmbImageReference");

/* Where a text of the template begins in the strings; with EMB_TEMPLATE_TEXTS: where the strings end. */
static inline uint64_t
emb_image_template_text(const EmbImageConfig *config, int text)
{
	uint64_t	at = (uint64_t) config->query_prompt_bytes + config->document_prompt_bytes + 2;

	for (int i = 0; config->has_template && i < text; i++)
		at += (uint64_t) config->template_bytes[i] + 1;
	return at;
}

/* The group of inputs as EmbGemmGrouped has it. config->group is not 0. */
static inline int32_t
emb_image_kernel_group(const EmbImageConfig *config)
{
	return config->group == EMB_IMAGE_GROUP_ROW ? 0 : (int32_t) config->group;
}

/* Tokens of the longest sequence: queries of ColBERT's kind have their own length. */
static inline uint32_t
emb_image_sequence_tokens(const EmbArch *arch, const EmbImageConfig *config)
{
	return (uint32_t) arch->query_tokens > config->max_tokens ? (uint32_t) arch->query_tokens : config->max_tokens;
}

/* Number of elements that the model returns for a sequence. */
static inline uint32_t
emb_image_width(const EmbArch *arch, const EmbImageConfig *config)
{
	return config->dimensions > 0 ? config->dimensions : (uint32_t) emb_arch_width(arch);
}

/* Size of the reference section, and where its vectors and texts begin. */
static inline uint64_t
emb_image_reference_vectors(uint32_t n_references)
{
	return emb_image_align(sizeof(EmbImageReferences) + (uint64_t) n_references * sizeof(EmbImageReference));
}

static inline uint64_t
emb_image_reference_texts(uint32_t n_references, uint32_t width)
{
	return emb_image_reference_vectors(n_references) + (uint64_t) n_references * width * sizeof(float);
}

static inline uint64_t
emb_image_reference_bytes(uint32_t n_references, uint32_t width, uint32_t text_bytes)
{
	return emb_image_reference_texts(n_references, width) + text_bytes;
}

/*
 * The plan: the tensors of an image with this architecture, precision, group, keep_int8, kept, has_order and
 * scale_type, their forms, shapes and order. Tensors of the whole model come first, then
 * layer by layer. Fills tensors, if not NULL, with offsets from the first
 * tensor. Returns the number of tensors. arch passes emb_arch_check.
 */
extern uint32_t emb_image_plan(const EmbArch *arch, const EmbImageConfig *config, EmbImageTensor *tensors);

/*
 * Checks that the architecture passes emb_arch_check and that every value of
 * config is in its domain (prompts: inside strings_bytes).
 */
extern EmbStatus emb_image_check_config(const EmbArch *arch, const EmbImageConfig *config, uint64_t strings_bytes, EmbError *err);

/* The parts from which an image is built. */
typedef struct EmbImageParts
{
	EmbArch		arch;
	EmbImageConfig config;		/* both pass emb_image_check_config */
	uint32_t	kind;			/* EmbKind */
	const char *strings;		/* the prompts and the texts of a template */
	size_t		strings_bytes;
	const void *tokenizer;		/* emb_tok_build's block */
	size_t		tokenizer_bytes;
	uint64_t	reference_bytes;	/* emb_image_reference_bytes() */
} EmbImageParts;

/* Pointers into an image. */
typedef struct EmbImageView
{
	const uint8_t *base;
	uint64_t	size_bytes;
	const EmbImageHeader *header;
	const EmbImageSection *sections;	/* [EMB_IMAGE_N_SECTIONS], by type - 1 */
	const EmbArch *arch;
	const EmbImageConfig *config;
	const char *strings;
	const EmbImageTensor *tensors;	/* [n_tensors], the plan, with offsets from the start of the image */
	uint32_t	n_tensors;
	const EmbImageReferences *references;
	const uint8_t *const *places;	/* NULL: tensors are in the image. Else [n_tensors] where they are; NULL: nowhere */
} EmbImageView;

/* Size of the image of these parts. */
extern uint64_t emb_image_planned_bytes(const EmbImageParts *parts);

/*
 * The front of an image, up to the first tensor, as one block from mem of
 * *head_bytes, with a view of the image to be: it has places, none filled, and
 * no references. The caller releases the block, which view points into.
 */
extern EmbStatus emb_image_begin(const EmbImageParts *parts, const EmbAllocator *mem, uint8_t **head,
								 uint64_t *head_bytes, EmbImageView *view, EmbError *err);

/* The data of a tensor of the view. */
static inline const uint8_t *
emb_image_data(const EmbImageView *view, const EmbImageTensor *t)
{
	return view->places != NULL ? view->places[t - view->tensors] : view->base + t->offset;
}

/* Says where the data of a tensor are, in a view of emb_image_begin. */
static inline void
emb_image_place(const EmbImageView *view, const EmbImageTensor *t, const void *data)
{
	((const uint8_t **) view->places)[t - view->tensors] = data;
}

static inline const EmbImageSection *
emb_image_section(const EmbImageView *view, EmbSectionType type)
{
	return &view->sections[type - 1];
}

/* NULL if the image has no such tensor. O(log layers). */
extern const EmbImageTensor *emb_image_find(const EmbImageView *view, int32_t layer, EmbPart part, EmbTensorKind kind);

/*
 * Checks everything before the tokenizer, O(layers), and the sizes in the
 * reference section; reads nothing else. base must be 64-byte aligned.
 * EMB_ERR_FORMAT, or EMB_ERR_UNSUPPORTED for another layout or numerics
 * version.
 */
extern EmbStatus emb_image_view(const void *base, size_t size, EmbImageView *view, EmbError *err);

/*
 * The same for bytes that somebody else may change meanwhile, such as a mapped
 * file. Copies header, architecture, configuration, strings, tensor table and
 * references into one block of mem, and then checks the copy: later readers
 * read what was checked. The caller releases *copy, also after an error (NULL:
 * no copy).
 */
extern EmbStatus emb_image_view_copy(const void *base, size_t size, const EmbAllocator *mem, void **copy,
									 EmbImageView *view, EmbError *err);

/*
 * Checks that every weight is finite, every scale and factor is not negative,
 * all padding is zero, every sum is right, and reference texts are UTF-8.
 * O(size).
 */
extern EmbStatus emb_image_check_weights(const EmbImageView *view, const EmbStop *stop, EmbError *err);

/* Whether all n bytes are zero. */
extern bool emb_image_is_zero(const uint8_t *p, uint64_t n);

#endif
