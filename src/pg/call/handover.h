/*
 * handover.h
 *		The vector that a fill hands to embed_trigger for the row it writes.
 *
 * A fill computes the vectors of many rows as one batch, then writes each row
 * by an UPDATE, which fires the trigger. The trigger would compute the vector
 * again, or in mode later leave the row to the filler. So the fill says which
 * vector belongs to which text; the trigger takes this vector, and no other,
 * if the row has this very text. No setting and no value that a statement
 * assigns makes the trigger take a vector.
 *
 * Example:
 *
 *		embed_hand_over(table, trigger, value, vector, dim);
 *		PG_TRY();
 *		{
 *			update_row();
 *		}
 *		PG_FINALLY();
 *		{
 *			embed_hand_over_end();
 *		}
 *		PG_END_TRY();
 */
#ifndef EMBED_PG_CALL_HANDOVER_H
#define EMBED_PG_CALL_HANDOVER_H

#include "pg/glue.h"

/* text: packed or plain, not toasted; vector: [dim], the vector of text by the trigger's model. Both stay the caller's. */
extern void embed_hand_over(Oid table, Oid trigger, Datum text, const float *vector, int32 dim);
extern void embed_hand_over_end(void);

/* Whether anything is handed over: costs a comparison. */
extern bool embed_is_handing_over(void);

/* The vector [*dim] handed over for this text, or NULL. */
extern const float *embed_handed_over(Oid table, Oid trigger, Datum text, int32 *dim);

#endif
