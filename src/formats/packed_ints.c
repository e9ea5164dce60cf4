/*
 * packed_ints.c
 *		Unpacks words of small integers.
 */
#include "formats/packed_ints.h"

#include <stddef.h>

const uint8_t emb_awq_order[8] = {0, 2, 4, 6, 1, 3, 5, 7};

void
emb_unpack_rows(const uint32_t *words, int64_t n_words, int bits, const uint8_t *order, uint8_t *out)
{
	int			n_fields = 32 / bits;
	uint32_t	mask = (1u << bits) - 1;

	for (int64_t k = 0; k < n_words; k++)
	{
		for (int i = 0; i < n_fields; i++)
			out[k * n_fields + (order != NULL ? order[i] : i)] = (uint8_t) (words[k] >> i * bits & mask);
	}
}

void
emb_unpack_columns(const uint32_t *words, int64_t n_word_rows, int64_t n, int bits, int64_t stride, uint8_t *out)
{
	int			n_fields = 32 / bits;
	uint32_t	mask = (1u << bits) - 1;

	for (int64_t k = 0; k < n_word_rows; k++)
	{
		for (int64_t c = 0; c < n; c++)
		{
			uint8_t    *to = out + c * stride + k * n_fields;
			uint32_t	word = words[k * n + c];

			for (int i = 0; i < n_fields; i++)
				to[i] = (uint8_t) (word >> i * bits & mask);
		}
	}
}
