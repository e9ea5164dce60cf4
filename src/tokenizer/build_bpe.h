/*
 * build_bpe.h
 *		Builds the tables of BPE from pieces and merges. build.c
 *		writes them into a block.
 */
#ifndef EMB_TOKENIZER_BUILD_BPE_H
#define EMB_TOKENIZER_BUILD_BPE_H

#include "tokenizer/block.h"

typedef struct EmbTokBuiltBpe
{
	int32_t		bytes[256];
	uint32_t	max_piece;		/* bytes of the longest piece that the merges reach */
	uint32_t	pairs_bits;
	uint32_t	words_bits[2];
	EmbTokBlockPair *pairs;		/* [1 << pairs_bits]; from mem, like the tables below */
	EmbTokBlockWord *words;		/* [1 << words_bits[0]] */
	EmbTokBlockLongWord *long_words;	/* [1 << words_bits[1]] */
	EmbTokPattern *pattern;		/* of bytes */
	EmbTokJoints joints;		/* of characters */
	EmbTrieBuilt pieces;
} EmbTokBuiltBpe;

/*
 * The caller zeroes built before the call, and frees it whatever the status is.
 * EMB_ERR_FORMAT: a merge names an id that is no piece. EMB_ERR_UNSUPPORTED: the
 * encoder lacks a feature. Also EMB_ERR_LIMIT, EMB_ERR_NOMEM, EMB_ERR_CANCELLED.
 */
extern EmbStatus emb_tok_build_bpe(const EmbTokSpec *spec, const EmbAllocator *mem, EmbTokBuiltBpe *built, EmbError *err);
extern void emb_tok_free_bpe(EmbTokBuiltBpe *built, const EmbAllocator *mem);

#endif
