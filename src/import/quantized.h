/*
 * quantized.h
 *		Checkpoints that were quantized before they were published: linear
 *		layers stored as codes with scales and zero points.
 *
 * The methods are GPTQ, AWQ, compressed-tensors and bitsandbytes. A layer is
 * quantized if the files hold its codes ("X.qweight" for "X.weight"): the
 * tensors decide, layer by layer, and the configuration says how to read them.
 * docs/quantized.md lists what can be read and what is refused.
 *
 * Example:
 *
 *		emb_quant_read_config(&config_json, dir, mem, stop, &quantization, err);
 *		emb_quant_open(&reader, &quantization, &set, mem);
 *		emb_quant_find(&reader, "layers.0.mlp.up_proj.weight", n_in, &layer, &is_quantized, err);
 *		emb_quant_check(&reader, &layer, n_out, err);
 *		emb_quant_read(&reader, &layer, row, n, rows, err);
 *		emb_quant_close(&reader);
 *
 * A reader keeps the last few pieces that it unpacked. It serves one thread at
 * a time.
 */
#ifndef EMB_IMPORT_QUANTIZED_H
#define EMB_IMPORT_QUANTIZED_H

#include <float.h>

#include "formats/json.h"
#include "formats/tensors.h"
#include "import/checkpoint.h"

typedef enum EmbQuantMethod
{
	EMB_QUANT_NONE,
	EMB_QUANT_GPTQ,
	EMB_QUANT_AWQ,
	EMB_QUANT_COMPRESSED,		/* compressed-tensors */
	EMB_QUANT_BITSANDBYTES
} EmbQuantMethod;

/* What the configuration says. */
typedef struct EmbQuantization
{
	EmbQuantMethod method;
	char		file[32];		/* that says so */
	int32_t		bits;			/* 4 or 8; 0: the tensors of each layer decide */
	int32_t		group;			/* inputs per group; -1: a whole row; 0: the tensors decide */
	bool		has_order;		/* GPTQ with desc_act: every layer has a g_idx */
	bool		is_less_one;	/* GPTQ's first format: a zero point is stored minus one */
	bool		names_format;	/* the configuration names GPTQ's format, it is no default */
	bool		has_zeros;		/* compressed-tensors: every layer has zero points */
	int32_t		block_rows,		/* compressed-tensors: outputs and inputs that share a scale; 0: no blocks */
				block_cols;
} EmbQuantization;

/*
 * Reads "quantization_config" of config.json, else quantize_config.json or
 * quant_config.json beside it. Without any the method is EMB_QUANT_NONE.
 * EMB_ERR_UNSUPPORTED with file, key and value for what cannot be read.
 */
extern EmbStatus emb_quant_read_config(const EmbJson *config, const char *dir, const EmbAllocator *mem, const EmbStop *stop,
									   EmbQuantization *q, EmbError *err);

/* The same for the object alone, also for the fuzz target. */
extern EmbStatus emb_quant_parse(const EmbJson *doc, const json_t *object, EmbQuantization *q, EmbError *err);

/* "gptq", .. as configurations spell it. */
extern const char *emb_quant_method_name(EmbQuantMethod method);

/* How a layer's codes lie in the files. */
typedef enum EmbQuantLayout
{
	EMB_LAYOUT_GPTQ,			/* qweight [inputs / fields, outputs]: a word packs inputs */
	EMB_LAYOUT_AWQ,				/* qweight [inputs, outputs / 8]: a word packs outputs */
	EMB_LAYOUT_PACKED,			/* weight_packed [outputs, inputs / fields] */
	EMB_LAYOUT_BYTES,			/* weight, signed bytes [outputs, inputs] */
	EMB_LAYOUT_NIBBLES,			/* bitsandbytes, 4 bits: bytes of two elements, row after row */
	EMB_LAYOUT_LLM_INT8			/* bitsandbytes, 8 bits: signed bytes [outputs, inputs] */
} EmbQuantLayout;

/* A quantized linear layer. Pointers go to the tensors of the set. */
typedef struct EmbQuantLayer
{
	EmbQuantLayout layout;
	const EmbTensor *weight;
	const EmbTensor *scales;
	const EmbTensor *zeros;		/* NULL: every zero point is the middle code */
	const EmbTensor *groups;	/* g_idx: the group of each input; NULL: ascending */
	int32_t		n_out;
	int32_t		n_in;
	int32_t		bits;
	int32_t		group;			/* inputs per group without g_idx; the last group may have fewer */
	int32_t		n_groups;
	int32_t		rows_per_scale; /* outputs that share a row of the tensor of scales */
	bool		scales_by_row;	/* scales [outputs, groups], not [groups, outputs] */
	bool		zeros_are_packed;
	bool		is_less_one;
	bool		guesses_group;	/* only g_idx tells the groups */

	/* bitsandbytes, 4 bits: scales is absmax, of blocks of group elements */
	const EmbTensor *map;		/* the 16 values */
	const EmbTensor *nested_scales; /* absmax is quantized too; NULL: it is not */
	const EmbTensor *nested_map;
	int32_t		nested_group;
	float		nested_offset;
} EmbQuantLayer;

#define EMB_QUANT_STRIPES	4

/* No code times such a scale overflows. */
#define EMB_QUANT_MAX_SCALE	(FLT_MAX / 256)

struct EmbQuantStripe;

typedef struct EmbQuantReader
{
	const EmbAllocator *mem;
	const EmbTensorSet *set;
	EmbQuantization config;
	uint64_t	n_uses;
	struct EmbQuantStripe *stripes[EMB_QUANT_STRIPES];	/* unpacked pieces; NULL: none */
} EmbQuantReader;

/* set must live as long as the reader. */
extern void emb_quant_open(EmbQuantReader *r, const EmbQuantization *config, const EmbTensorSet *set, const EmbAllocator *mem);
extern void emb_quant_close(EmbQuantReader *r);

/*
 * Looks for the codes of a layer with n_in inputs by the name of its weight,
 * "X.weight". *is_quantized is false if the files have none: then the weight
 * is a tensor of floats, or absent. Otherwise the tensors fit each other and
 * the configuration, else EMB_ERR_FORMAT, EMB_ERR_NOT_FOUND or
 * EMB_ERR_UNSUPPORTED with the tensor's name.
 */
extern EmbStatus emb_quant_find(const EmbQuantReader *r, const char *name, int32_t n_in,
								EmbQuantLayer *layer, bool *is_quantized, EmbError *err);

/* Whether bitsandbytes quantized any layer. */
extern bool emb_quant_is_bitsandbytes(const EmbQuantReader *r);

/* Checks that the layer has n_out outputs, and the groups of its inputs. */
extern EmbStatus emb_quant_check(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t n_out, EmbError *err);

/* Outputs row .. row + n - 1 as floats, [n, n_in]: (code - zero point) * scale in fp32. */
extern EmbStatus emb_quant_read(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n, float *rows, EmbError *err);

/*
 * See emb_checkpoint_codes, emb_checkpoint_read_order and
 * emb_checkpoint_read_codes. row counts from the layer's first output.
 */
extern EmbStatus emb_quant_codes(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n, EmbCodes *codes, EmbError *err);
extern EmbStatus emb_quant_read_order(EmbQuantReader *r, const EmbQuantLayer *layer, uint16_t *order, EmbError *err);
extern EmbStatus emb_quant_read_codes(EmbQuantReader *r, const EmbQuantLayer *layer, int64_t row, int64_t n,
									  uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err);

#endif
