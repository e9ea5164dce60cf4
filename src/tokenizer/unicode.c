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
#define HANGUL_L_COUNT	19
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
emb_uni_decompose_compat(uint32_t cp, uint32_t out[EMB_UNI_COMPAT_MAX])
{
	int			low = 0,
				high = EMB_UNI_N_COMPATS;

	if ((emb_uni_record(cp)->flags & EMB_UNI_COMPAT) == 0)
		return emb_uni_decompose(cp, out);
	while (high - low > 1)
	{
		int			mid = low + (high - low) / 2;

		if (emb_compats[mid].code <= cp)
			low = mid;
		else
			high = mid;
	}
	for (int i = 0; i < emb_compats[low].n; i++)
		out[i] = emb_compat_codes[emb_compats[low].at + i];
	return emb_compats[low].n;
}

const char	emb_uni_category_names[EMB_UNI_N_CATEGORIES][3] = {
	"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
	"Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"
};

uint8_t
emb_uni_category(uint32_t cp)
{
	uint32_t	block = emb_category_stage1[cp >> EMB_UNI_BLOCK_BITS];

	return emb_category_stage2[(block << EMB_UNI_BLOCK_BITS) + (cp & ((1 << EMB_UNI_BLOCK_BITS) - 1))];
}

uint8_t
emb_uni_class(uint32_t cp)
{
	uint32_t	block = emb_class_stage1[cp >> EMB_UNI_BLOCK_BITS];

	return emb_class_stage2[(block << EMB_UNI_BLOCK_BITS) + (cp & ((1 << EMB_UNI_BLOCK_BITS) - 1))];
}

uint32_t
emb_uni_compose(uint32_t first, uint32_t second)
{
	int			low = 0,
				high = EMB_UNI_N_PAIRS;

	if (first - HANGUL_L_FIRST < HANGUL_L_COUNT && second - HANGUL_V_FIRST < HANGUL_V_COUNT)
		return HANGUL_FIRST + ((first - HANGUL_L_FIRST) * HANGUL_V_COUNT + (second - HANGUL_V_FIRST)) * HANGUL_T_COUNT;
	if (first - HANGUL_FIRST < HANGUL_COUNT && (first - HANGUL_FIRST) % HANGUL_T_COUNT == 0 &&
		second - HANGUL_T_FIRST - 1 < HANGUL_T_COUNT - 1)
		return first + (second - HANGUL_T_FIRST);
	while (low < high)
	{
		int			mid = low + (high - low) / 2;
		const EmbUniPair *pair = &emb_pairs[mid];

		if (pair->first == first && pair->second == second)
			return pair->composed;
		if (pair->first < first || (pair->first == first && pair->second < second))
			low = mid + 1;
		else
			high = mid;
	}
	return 0;
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

/* Whether a code point of class b continues a cluster whose last code point has class a. */
static bool
classes_join(const EmbUniCluster *state, uint8_t a, uint8_t b)
{
	if (a == EMB_UNI_GC_CR && b == EMB_UNI_GC_LF)
		return true;
	if ((a >= EMB_UNI_GC_CR && a <= EMB_UNI_GC_CONTROL) || (b >= EMB_UNI_GC_CR && b <= EMB_UNI_GC_CONTROL))
		return false;
	if (a == EMB_UNI_GC_PREPEND)
		return true;
	switch (b)
	{
		case EMB_UNI_GC_EXTEND:
		case EMB_UNI_GC_ZWJ:
		case EMB_UNI_GC_SPACING:
			return true;
		case EMB_UNI_GC_L:
		case EMB_UNI_GC_LV:
		case EMB_UNI_GC_LVT:
			return a == EMB_UNI_GC_L;
		case EMB_UNI_GC_V:
			return a == EMB_UNI_GC_L || a == EMB_UNI_GC_V || a == EMB_UNI_GC_LV;
		case EMB_UNI_GC_T:
			return a == EMB_UNI_GC_V || a == EMB_UNI_GC_LV || a == EMB_UNI_GC_LVT || a == EMB_UNI_GC_T;
		case EMB_UNI_GC_PICTURE:
			return state->picture == 2;
		case EMB_UNI_GC_CONSONANT:
			return state->conjunct == 2;
		default:
			return false;
	}
}

bool
emb_uni_cluster_take(EmbUniCluster *state, uint32_t cp)
{
	uint8_t		cluster = emb_uni_record(cp)->cluster;
	uint8_t		b = cluster & EMB_UNI_GC_CLASS;
	bool		joins = state->open && classes_join(state, state->before & EMB_UNI_GC_CLASS, b);

	if (b == EMB_UNI_GC_PICTURE)
		state->picture = 1;
	else if (b == EMB_UNI_GC_ZWJ)
		state->picture = state->picture == 1 ? 2 : 0;
	else if (b != EMB_UNI_GC_EXTEND || state->picture == 2)
		state->picture = 0;
	if (b == EMB_UNI_GC_CONSONANT)
		state->conjunct = 1;
	else if (cluster & EMB_UNI_GC_LINKS)
		state->conjunct = state->conjunct > 0 ? 2 : 0;
	else if ((cluster & EMB_UNI_GC_CONJOINS) == 0)
		state->conjunct = 0;
	state->before = cluster;
	state->open = true;
	return joins;
}
