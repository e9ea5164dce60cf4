/*
 * unicode.c
 *		Look-ups in the generated tables.
 */
#include "tokenizer/unicode.h"

#include "tokenizer/unicode_tables.h"

#define HANGUL_FIRST	0xAC00
#define HANGUL_COUNT	11172
#define HANGUL_L_FIRST	0x1100
#define HANGUL_V_FIRST	0x1161
#define HANGUL_T_FIRST	0x11A7	/* T index 0: no trailing consonant */
#define HANGUL_V_COUNT	21
#define HANGUL_T_COUNT	28

static inline uint16_t
two_stage(const uint16_t *stage1, const uint16_t *stage2, uint32_t cp)
{
	uint32_t	block = stage1[cp >> EMB_UNI_BLOCK_BITS];

	return stage2[(block << EMB_UNI_BLOCK_BITS) + (cp & ((1 << EMB_UNI_BLOCK_BITS) - 1))];
}

const EmbUniRecord *
emb_uni_record(uint32_t cp)
{
	return &emb_uni_records[two_stage(emb_uni_stage1, emb_uni_stage2, cp)];
}

int
emb_uni_decompose(uint32_t cp, uint32_t out[EMB_UNI_DECOMPOSED_MAX])
{
	uint32_t	entry;
	int			n;

	if (cp - HANGUL_FIRST < HANGUL_COUNT)
	{
		uint32_t	s = cp - HANGUL_FIRST;

		out[0] = HANGUL_L_FIRST + s / (HANGUL_V_COUNT * HANGUL_T_COUNT);
		out[1] = HANGUL_V_FIRST + s / HANGUL_T_COUNT % HANGUL_V_COUNT;
		out[2] = HANGUL_T_FIRST + s % HANGUL_T_COUNT;
		return s % HANGUL_T_COUNT != 0 ? 3 : 2;
	}
	entry = two_stage(emb_nfd_stage1, emb_nfd_stage2, cp);
	if (entry == 0)
	{
		out[0] = cp;
		return 1;
	}
	n = (entry & 3) + 1;
	for (int i = 0; i < n; i++)
		out[i] = emb_nfd_codes[(entry >> 2) + i];
	return n;
}

int
emb_uni_lower(uint32_t cp, uint32_t out[EMB_UNI_LOWER_MAX])
{
	const EmbUniRecord *record = emb_uni_record(cp);

	if (record->flags & EMB_UNI_LOWER_MULTI)
		for (int i = 0; i < EMB_LOWER_N_MULTI; i++)
			if (emb_lower_multi[i].code == cp)
			{
				for (uint32_t j = 0; j < emb_lower_multi[i].n; j++)
					out[j] = emb_lower_multi[i].codes[j];
				return emb_lower_multi[i].n;
			}
	out[0] = cp + record->lower_delta;
	return 1;
}
