/*
 * chunk_match.h
 *		Which old chunks of a text its new chunks take over, and in which
 *		order their rows can move to new numbers.
 *
 * Example:
 *
 *		embed_chunk_match(old, n_old, new, n_new);
 *		// delete old with match < 0
 *		embed_chunk_moves(old, n_old, new, move, arg);
 *		// insert new with match < 0
 */
#ifndef EMBED_PG_KEPT_CHUNK_MATCH_H
#define EMBED_PG_KEPT_CHUNK_MATCH_H

#include "pg/glue.h"

typedef struct EmbedPiece
{
	int32		ordinality;
	int32		start_char;
	int32		end_char;
	const text *chunk;			/* not toasted */
	uint32		hash;			/* of its bytes */
	int64		match;			/* index into the other array, -1: none */
} EmbedPiece;

extern void embed_piece_set_chunk(EmbedPiece *piece, const text *chunk);

/*
 * Pairs chunks of equal text, at first those of equal ordinality, then in
 * their order. Both arrays are sorted by ordinality. O(n log n).
 */
extern void embed_chunk_match(EmbedPiece *old, int64 n_old, EmbedPiece *new, int64 n_new);

/*
 * Called for a row of number "from" that becomes "to". to NULL: it takes the
 * number -from for a while, because rows change places in a circle.
 */
typedef void (*EmbedChunkMove) (int32 from, const EmbedPiece *to, void *arg);

/*
 * Moves the matched rows whose number or place changed. No row moves to a
 * number that another row has: rows that were not matched are deleted already.
 */
extern void embed_chunk_moves(const EmbedPiece *old, int64 n_old, const EmbedPiece *new, EmbedChunkMove move, void *arg);

#endif
