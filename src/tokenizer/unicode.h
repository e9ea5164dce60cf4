/*
 * unicode.h
 *		What the reference library does to each code point.
 *
 * The tables come from scripts/gen_unicode_tables.py, not from a Unicode
 * release: the library's own tables are of several ages. All functions take
 * any value up to U+10FFFF.
 */
#ifndef EMB_TOKENIZER_UNICODE_H
#define EMB_TOKENIZER_UNICODE_H

#include <stdint.h>

/* Goes into every tokenizer block: other tables, other ids. */
#define EMB_UNI_VERSION		1

#define EMB_UNI_SPACE		0x001	/* BertPreTokenizer splits here and drops it; what lstrip and rstrip eat */
#define EMB_UNI_PUNCT		0x002	/* BertPreTokenizer makes it a word of its own */
#define EMB_UNI_CLEAN_DROP	0x004	/* clean_text removes it */
#define EMB_UNI_CLEAN_SPACE	0x008	/* clean_text makes it U+0020 */
#define EMB_UNI_CJK			0x010	/* handle_chinese_chars puts spaces around it */
#define EMB_UNI_MN			0x020	/* strip_accents removes it */
#define EMB_UNI_WORD		0x040	/* \w to single_word */
#define EMB_UNI_NONSTARTER	0x080	/* canonical combining class is not 0 */
#define EMB_UNI_LOWER_MULTI	0x100	/* lowercases to several code points */

typedef struct EmbUniRecord
{
	uint16_t	flags;
	uint16_t	order;			/* rank of the combining class of a non-starter that strip_accents keeps, from 1 */
	int32_t		lower_delta;	/* lowercase is cp + lower_delta, unless EMB_UNI_LOWER_MULTI */
} EmbUniRecord;

typedef struct EmbUniMulti
{
	uint32_t	code;
	uint32_t	n;
	uint32_t	codes[3];
} EmbUniMulti;

#define EMB_UNI_DECOMPOSED_MAX	4
#define EMB_UNI_LOWER_MAX		3

extern const EmbUniRecord *emb_uni_record(uint32_t cp);

/* Full canonical decomposition, not reordered; 1 code point where there is none. */
extern int	emb_uni_decompose(uint32_t cp, uint32_t out[EMB_UNI_DECOMPOSED_MAX]);

extern int	emb_uni_lower(uint32_t cp, uint32_t out[EMB_UNI_LOWER_MAX]);

#endif
