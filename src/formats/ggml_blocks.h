/*
 * ggml_blocks.h
 *		The types of tensors in GGUF files, and their values as fp32.
 *
 * A tensor is a sequence of blocks; a block holds the values of consecutive
 * elements of one row (ggml-common.h and ggml-quants.c of ggml, 2026). Values
 * are those that ggml computes in fp32, to the last bit: each product and sum
 * is rounded in ggml's order.
 *
 * Example:
 *
 *		const EmbGgmlType *type = emb_ggml_type(12);		// Q4_K
 *		if (type != NULL && type->decode != NULL)
 *			type->decode(block, out);						// type->n_elems floats
 */
#ifndef EMB_FORMATS_GGML_BLOCKS_H
#define EMB_FORMATS_GGML_BLOCKS_H

#include <stdint.h>

#define EMB_GGML_MAX_BLOCK_BYTES	210	/* of a type that can be decoded: Q6_K */

typedef struct EmbGgmlType
{
	const char *name;			/* NULL: the number is not in use */
	int32_t		n_elems;		/* of a block */
	int32_t		n_bytes;		/* of a block; at most 4 * n_elems if decode is there */
	void		(*decode) (const uint8_t *block, float *out);	/* NULL: cannot be read here */
} EmbGgmlType;

/* NULL: no type has this number. */
extern const EmbGgmlType *emb_ggml_type(uint32_t number);

/* A type whose values are (code - zero) * scale, with one scale a block, in binary16: Q4_0 and Q8_0. */
typedef struct EmbGgmlCodes
{
	int32_t		bits;
	int32_t		zero;
	void		(*split) (const uint8_t *block, uint8_t *codes, float *scale);	/* n_elems codes, 0 .. 2^bits - 1 */
} EmbGgmlCodes;

/* NULL: the type is another. */
extern const EmbGgmlCodes *emb_ggml_codes(const EmbGgmlType *type);

#endif
