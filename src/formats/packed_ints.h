/*
 * packed_ints.h
 *		Small unsigned integers packed into 32-bit words, as files of
 *		quantized weights have them.
 *
 * A word holds 32 / bits fields, bits being 4 or 8; field 0 is in the lowest
 * bits. Callers bound all sizes. Nothing here can fail.
 *
 * Example:
 *
 *		emb_unpack_rows(words, 2, 4, NULL, out);		// 2 words, 16 numbers of 4 bits
 */
#ifndef EMB_FORMATS_PACKED_INTS_H
#define EMB_FORMATS_PACKED_INTS_H

#include <stdint.h>

/*
 * Places of a word's fields in AutoAWQ's words: field i is the number at place
 * emb_awq_order[i] of the word's eight.
 */
extern const uint8_t emb_awq_order[8];

/*
 * The fields of words[0 .. n_words), one after the other: out[k * (32 / bits)
 * + i] is field i of word k. order as emb_awq_order, or NULL for fields in
 * their own order.
 */
extern void emb_unpack_rows(const uint32_t *words, int64_t n_words, int bits, const uint8_t *order, uint8_t *out);

/*
 * words [n_word_rows, n]: field i of word (k, c) is element k * (32 / bits) + i
 * of column c. Columns become rows: out [n, stride], stride at least
 * n_word_rows * 32 / bits.
 */
extern void emb_unpack_columns(const uint32_t *words, int64_t n_word_rows, int64_t n, int bits, int64_t stride, uint8_t *out);

#endif
