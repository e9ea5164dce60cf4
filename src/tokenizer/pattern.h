/*
 * pattern.h
 *		Compiles the regular expression that splits text into the table by which
 *		bytelevel.c splits (block.h has the table).
 */
#ifndef EMB_TOKENIZER_PATTERN_H
#define EMB_TOKENIZER_PATTERN_H

#include "tokenizer/block.h"

/*
 * Fills *table from regex[0 .. n). stop is polled. EMB_ERR_UNSUPPORTED: regex has
 * a part that regex.h does not know, or some text would be split in no way or in
 * more than linear time; EMB_ERR_LIMIT: it is too large. The message says what is the
 * matter, without the expression.
 */
extern EmbStatus emb_tok_compile_pattern(const char *regex, size_t n, const EmbAllocator *mem, const EmbStop *stop,
										 EmbTokPattern *table, EmbError *err);

/* The class of a character, and EMB_TOK_CLASS_COMPOSES. */
static inline uint8_t
emb_tok_class_byte(const EmbTokPattern *p, uint32_t cp)
{
	return p->stage2[p->stage1[cp >> EMB_TOK_CLASS_BITS]][cp & ((1 << EMB_TOK_CLASS_BITS) - 1)];
}

static inline uint8_t
emb_tok_class(const EmbTokPattern *p, uint32_t cp)
{
	return emb_tok_class_byte(p, cp) & (EMB_TOK_CLASSES - 1);
}

#endif
