/*
 * image.h
 *		The image: our own file format, used in place.
 *
 *		[header 64][section table][config][strings][tensor table][tokenizer][weights][references]
 *
 * Every section and every tensor starts on a multiple of 64 bytes; what lies
 * between is zero. Little-endian, IEEE 754. No time, path or address: equal
 * input and options give equal bytes, on every CPU. The order and place of
 * everything follow from the configuration and a few sizes, so a reader
 * computes them again and compares: no offset in an image is ever trusted.
 *
 * Later kinds of images and precisions are new section types, tensor roles
 * and forms; a change to what is here is a new
 * EMB_IMAGE_LAYOUT_VERSION. EMB_IMAGE_NUMERICS_VERSION changes when an equal
 * image would give other bits.
 *
 * Writing: emb_image_build makes an image that is complete but for the
 * tokenizer block, the tensors and the references, which are zeros to be
 * filled in. Reading: emb_image_view.
 */
#ifndef EMB_IMAGE_IMAGE_H
#define EMB_IMAGE_IMAGE_H

#include "common/error.h"
#include "common/mem.h"
#include "import/hf_config.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are used in place and need a little-endian machine"
#endif

#define EMB_IMAGE_MAGIC				"\x93" "EMBIMG\n"
#define EMB_IMAGE_LAYOUT_VERSION	2
#define EMB_IMAGE_NUMERICS_VERSION	3

typedef enum EmbSectionType
{
	EMB_SECTION_CONFIG = 1,
	EMB_SECTION_STRINGS = 2,	/* prompts, each with a zero byte behind it */
	EMB_SECTION_TENSORS = 3,	/* EmbImageTensor[] */
	EMB_SECTION_TOKENIZER = 4,	/* emb_tok_build's block */
	EMB_SECTION_WEIGHTS = 5,
	EMB_SECTION_REFERENCES = 6	/* EmbImageReferences */
} EmbSectionType;

#define EMB_IMAGE_N_SECTIONS	6

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

/*
 *	offset	size
 *		0	   4	family: EmbFamily
 *		4	   4	precision: EmbImagePrecision
 *		8	   4	activation: EmbActivation
 *	   12	   4	pooling: EmbPooling
 *	   16	   4	normalize: 0 or 1
 *	   20	   4	hidden
 *	   24	   4	n_layers
 *	   28	   4	n_heads
 *	   32	   4	intermediate
 *	   36	   4	n_vocab
 *	   40	   4	n_positions
 *	   44	   4	n_types
 *	   48	   4	max_tokens: special tokens included
 *	   52	   4	ln_eps: float
 *	   56	   4	query_prompt: offset in the strings
 *	   60	   4	query_prompt_bytes: without the zero byte
 *	   64	   4	document_prompt
 *	   68	   4	document_prompt_bytes
 *	   72	   4	head: EmbImageHead
 *	   76	   4	position_base: what EmbHfConfig says of it; the position table begins with row base - 1 of the hub's.
 *					Of a static model: 1 + the id that is left out of texts; 0: none is
 *	   80	   4	window: tokens to each side that layers see which are not global; 0: all are.
 *					Of a static model: characters that are read of a text; 0: all
 *	   84	   4	global_every: layers 0, n, 2 n, .. are global, of a model with a window
 *	   88	   4	head_activation: EmbActivation behind the head's dense layer; 0: tanh
 *	   92	   4	head_parts: EmbImageHeadParts
 *	   96	   4	sparse: 1 with the head that weighs tokens, else 0
 *	  100	   4	multi_dim: elements of a token's vector; 0: no head makes them
 *	  104	   4	dimensions: of a vector, cut to them and normalized again; 0: all
 *	  108	   8	dense_outputs: of the dense layers behind the pooling; 0: no such layer
 *	  116	   4	dense_steps: EmbImageDenseSteps
 *	  120	   8	zero
 */
typedef struct EmbImageConfig
{
	uint32_t	family;
	uint32_t	precision;
	uint32_t	activation;
	uint32_t	pooling;
	uint32_t	normalize;
	uint32_t	hidden;
	uint32_t	n_layers;
	uint32_t	n_heads;
	uint32_t	intermediate;
	uint32_t	n_vocab;
	uint32_t	n_positions;
	uint32_t	n_types;
	uint32_t	max_tokens;
	float		ln_eps;
	uint32_t	query_prompt;
	uint32_t	query_prompt_bytes;
	uint32_t	document_prompt;
	uint32_t	document_prompt_bytes;
	uint32_t	head;
	uint32_t	position_base;
	uint32_t	window;
	uint32_t	global_every;
	uint32_t	head_activation;
	uint32_t	head_parts;
	uint32_t	sparse;
	uint32_t	multi_dim;
	uint32_t	dimensions;
	uint32_t	dense_outputs[EMB_ARCH_MAX_DENSE];
	uint32_t	dense_steps;
	uint8_t		reserved[8];
} EmbImageConfig;

_Static_assert(sizeof(EmbImageConfig) == 128, "EmbImageConfig");

/* How such a head differs from BERT's. */
typedef enum EmbImageHeadParts
{
	EMB_HEAD_NORM = 1,			/* it has a norm */
	EMB_HEAD_UNBIASED = 2		/* its pooler has no bias */
} EmbImageHeadParts;

/* What is done with dense layers: bits 0 to 7 and 8 to 15 their EmbActivations, 0 for none; and these. */
typedef enum EmbImageDenseSteps
{
	EMB_DENSE_NORMALIZE_POOLED = 1 << 16,	/* before the first */
	EMB_DENSE_NORMALIZE_BETWEEN = 1 << 17,	/* before the second; normalize is behind the last */
	EMB_DENSE_UNBIASED = 1 << 18,	/* the first has no bias */
	EMB_DENSE_UNBIASED_2 = 1 << 19
} EmbImageDenseSteps;

typedef enum EmbImagePrecision
{
	EMB_PRECISION_FP32 = 1,
	EMB_PRECISION_INT8 = 2
} EmbImagePrecision;

/*
 * What a tensor is for. Those of an image follow each other in this order,
 * those of each layer together, without the ones its precision or head does
 * not have.
 * A linear layer has four in a row: weight, and in int8 scale and sums; bias.
 */
typedef enum EmbTensorRole
{
	EMB_ROLE_WORD_EMBEDDING,
	EMB_ROLE_WORD_EMBEDDING_SCALE,	/* [n_vocab], int8: what EmbTable says of it */
	EMB_ROLE_WORD_EMBEDDING_FACTOR,	/* [hidden], int8 */
	EMB_ROLE_POSITION_EMBEDDING,
	EMB_ROLE_TYPE_EMBEDDING,
	EMB_ROLE_EMBEDDING_GAMMA,
	EMB_ROLE_EMBEDDING_BETA,
	EMB_ROLE_ATTN_IN_FACTOR,	/* int8; what EmbBertLayerI8 says of it */
	EMB_ROLE_QUERY,
	EMB_ROLE_QUERY_SCALE,
	EMB_ROLE_QUERY_SUMS,
	EMB_ROLE_QUERY_BIAS,
	EMB_ROLE_KEY,
	EMB_ROLE_KEY_SCALE,
	EMB_ROLE_KEY_SUMS,
	EMB_ROLE_KEY_BIAS,
	EMB_ROLE_VALUE,
	EMB_ROLE_VALUE_SCALE,
	EMB_ROLE_VALUE_SUMS,
	EMB_ROLE_VALUE_BIAS,
	EMB_ROLE_ATTN_OUT,
	EMB_ROLE_ATTN_OUT_SCALE,
	EMB_ROLE_ATTN_OUT_SUMS,
	EMB_ROLE_ATTN_OUT_BIAS,
	EMB_ROLE_ATTN_GAMMA,
	EMB_ROLE_ATTN_BETA,
	EMB_ROLE_FFN_IN_FACTOR,
	EMB_ROLE_FFN_UP,
	EMB_ROLE_FFN_UP_SCALE,
	EMB_ROLE_FFN_UP_SUMS,
	EMB_ROLE_FFN_UP_BIAS,
	EMB_ROLE_FFN_MID_FACTOR,
	EMB_ROLE_FFN_DOWN,
	EMB_ROLE_FFN_DOWN_SCALE,
	EMB_ROLE_FFN_DOWN_SUMS,
	EMB_ROLE_FFN_DOWN_BIAS,
	EMB_ROLE_FFN_GAMMA,
	EMB_ROLE_FFN_BETA,
	EMB_ROLE_POOLER,			/* of a head: fp32 in every image */
	EMB_ROLE_POOLER_BIAS,
	EMB_ROLE_CLASSIFIER,
	EMB_ROLE_CLASSIFIER_BIAS,
	EMB_ROLE_DISTANCE_BIAS,		/* these fp32 in every image, of families that have them */
	EMB_ROLE_FINAL_GAMMA,
	EMB_ROLE_FINAL_BETA,
	EMB_ROLE_ROTARY,
	EMB_ROLE_ROTARY_LOCAL,
	EMB_ROLE_HEAD_GAMMA,		/* of a head with a norm */
	EMB_ROLE_HEAD_BETA,
	EMB_ROLE_SPARSE,			/* what EmbTokenHeads says of these four */
	EMB_ROLE_SPARSE_BIAS,
	EMB_ROLE_MULTI,
	EMB_ROLE_MULTI_BIAS,
	EMB_ROLE_DENSE,				/* fp32 in every image */
	EMB_ROLE_DENSE_BIAS,
	EMB_ROLE_DENSE_2,
	EMB_ROLE_DENSE_2_BIAS
} EmbTensorRole;

#define EMB_N_ROLES			(EMB_ROLE_DENSE_2_BIAS + 1)
#define EMB_N_MODEL_ROLES	EMB_ROLE_ATTN_IN_FACTOR	/* once in a model, before the layers */
#define EMB_N_LAYER_ROLES	EMB_ROLE_POOLER	/* where those of a layer end; once in a model, behind the layers */

/* From the role of a linear layer's weight. */
#define EMB_ROLE_SCALE(weight)	((EmbTensorRole) ((weight) + 1))
#define EMB_ROLE_SUMS(weight)	((EmbTensorRole) ((weight) + 2))
#define EMB_ROLE_BIAS(weight)	((EmbTensorRole) ((weight) + 3))

typedef enum EmbTensorForm
{
	EMB_FORM_ROWS_F32 = 1,		/* [n_rows, n_cols] row-major */
	EMB_FORM_PANELS_F32 = 2,	/* emb_pack_f32_panel's: [n_rows/16 rounded up][n_cols][16], zeros below */
	EMB_FORM_VECTOR_F32 = 3,	/* [n_cols rounded up to 16], zeros behind; n_rows is 1 */
	EMB_FORM_VECTOR_I32 = 4,	/* likewise */
	EMB_FORM_ROWS_I8 = 5,		/* [n_rows, n_cols] row-major */
	EMB_FORM_TILES_I8 = 6		/* emb_pack_i8_panel's: [n_rows/16 rounded up][n_cols padded to 64, over 4][16][4] */
} EmbTensorForm;

/*
 *	offset	size
 *		0	   4	role: EmbTensorRole
 *		4	   4	layer: 0 for those of the model
 *		8	   4	form: EmbTensorForm
 *	   12	   4	n_rows: outputs of a linear layer
 *	   16	   4	n_cols
 *	   20	   4	zero
 *	   24	   8	offset: from the start of the image, a multiple of 64
 *	   32	   8	size_bytes: in that form, without the padding behind
 */
typedef struct EmbImageTensor
{
	uint32_t	role;
	uint32_t	layer;
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
 * Texts with the vectors they had at import, for emb_model_check_reference;
 * of a reranker pairs of texts with their logits, which are vectors of one
 * element (emb_image_width). The section is this header; [n_references]
 * EmbImageReference; from the next multiple of 64 on the unquantized vectors,
 * [n_references, width] floats; the texts, one after the other, of a pair the
 * query first.
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
 *		8	   4	closeness: float, what EmbReferenceCheck says of it
 *	   12	   4	query_bytes: of a pair, of text_bytes; else 0
 *	   16	  32	ids_hash: SHA-256 of the ids, int32
 *	   48	  32	vector_hash: SHA-256 of the image's vector
 */
typedef struct EmbImageReference
{
	uint32_t	text_bytes;
	uint32_t	n_tokens;
	float		closeness;
	uint32_t	query_bytes;
	uint8_t		ids_hash[32];
	uint8_t		vector_hash[32];
} EmbImageReference;

_Static_assert(sizeof(EmbImageReference) == 80, "EmbImageReference");

/* Elements of what the model gives for a sequence before any cut. */
static inline uint32_t
emb_image_full_width(const EmbImageConfig *config)
{
	if (config->head == EMB_HEAD_SCORE)
		return 1;
	return config->dense_outputs[1] > 0 ? config->dense_outputs[1] : config->dense_outputs[0] > 0 ? config->dense_outputs[0] : config->hidden;
}

/* The EmbActivation of dense layer i, 0 for none. */
static inline uint32_t
emb_image_dense_activation(const EmbImageConfig *config, int i)
{
	return config->dense_steps >> (8 * i) & 0xFF;
}

/* Elements of what the model gives for a sequence. */
static inline uint32_t
emb_image_width(const EmbImageConfig *config)
{
	return config->dimensions > 0 ? config->dimensions : emb_image_full_width(config);
}

/* Bytes of such a section, and where its vectors and texts begin. */
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

/* All tensors of an image with this configuration, and the table of them with offsets from the first. */
extern uint32_t emb_image_n_tensors(const EmbImageConfig *config);
extern void emb_image_plan_tensors(const EmbImageConfig *config, EmbImageTensor *tensors);

/* Every value of config in its domain (the prompts too: inside strings_bytes), or EMB_ERR_FORMAT. */
extern EmbStatus emb_image_check_config(const EmbImageConfig *config, uint64_t strings_bytes, EmbError *err);

/* What an image is made from. */
typedef struct EmbImageParts
{
	EmbImageConfig config;		/* passes emb_image_check_config */
	uint32_t	kind;			/* EmbKind */
	const char *strings;		/* the prompts */
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
	const EmbImageConfig *config;
	const char *strings;
	const EmbImageTensor *tensors;	/* [emb_image_n_tensors(config)] */
	const EmbImageReferences *references;
} EmbImageView;

/* How many bytes emb_image_build makes of these parts. */
extern uint64_t emb_image_planned_bytes(const EmbImageParts *parts);

/*
 * The whole image as one block of mem, all of it but weights and references in
 * place, and a view of it. The caller fills these in and releases the block.
 */
extern EmbStatus emb_image_build(const EmbImageParts *parts, const EmbAllocator *mem,
								 uint8_t **image, EmbImageView *view, EmbError *err);

static inline const EmbImageSection *
emb_image_section(const EmbImageView *view, EmbSectionType type)
{
	return &view->sections[type - 1];
}

/* NULL where images of this precision and head have no such tensor. layer is 0 for those of the model. */
extern const EmbImageTensor *emb_image_find(const EmbImageView *view, uint32_t layer, EmbTensorRole role);

/*
 * Checks everything before the tokenizer, O(layers), and the sizes in the
 * reference section, touching nothing else. base must be 64-byte aligned. EMB_ERR_FORMAT, or EMB_ERR_UNSUPPORTED for
 * another layout or numerics version.
 */
extern EmbStatus emb_image_view(const void *base, size_t size, EmbImageView *view, EmbError *err);

/*
 * Every weight is finite, every scale and factor not negative, every padding
 * zero, every sum the sum; reference texts are UTF-8. O(size).
 */
extern EmbStatus emb_image_check_weights(const EmbImageView *view, const EmbStop *stop, EmbError *err);

/* Of these two files: whether all n bytes are zero; whether a tensor holds scales or factors, none of which is below zero. */
extern bool emb_image_is_zero(const uint8_t *p, uint64_t n);
extern bool emb_image_is_scale(const EmbImageTensor *t);

/* "encoder.layer.3.output.dense.weight": the tensor's name on the hub (or one like it), in buf; for messages and import. */
extern const char *emb_image_tensor_name(const EmbImageTensor *tensor, char *buf, size_t size);

#endif
