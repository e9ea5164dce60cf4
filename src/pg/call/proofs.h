/*
 * proofs.h
 *		Which vectors this backend computed in this transaction, by text.
 *
 * Example:
 *
 *		EmbedProofKey key = embed_proof_key(ref, value, truncated);
 *		compute(vector);
 *		embed_proof_put(&key, vector, dim);
 *
 * A batch computes vectors faster than embed_trigger, but the trigger does not
 * trust the values that a statement assigns. A proof lets the trigger accept a
 * vector that embed, embed_rows or embed_agg returned for the same text and
 * model. A proof is a pair of keyed hashes, of 128 bits each. Without the
 * backend's key nobody can find a text or a vector that passes for another. A
 * proof stays true, so subtransactions do not matter. The end of the
 * transaction drops all proofs. If there are too many, later proofs replace
 * earlier ones.
 */
#ifndef EMBED_PG_CALL_PROOFS_H
#define EMBED_PG_CALL_PROOFS_H

#include "pg/store/registry.h"

/* Longer texts have no proof. */
#define EMBED_PROOF_TEXT_MAX (64 * 1024)

/* The hash of model and text; all zero: no proof. */
typedef struct EmbedProofKey
{
	uint64		hash[2];
} EmbedProofKey;

/* value: a text, toasted or not. truncated: the model did not read the whole text. */
extern EmbedProofKey embed_proof_key(const EmbedModelRef *ref, Datum value, bool truncated);

/* vector: [dim], the model's result for the document of key. */
extern void embed_proof_put(const EmbedProofKey *key, const float *vector, int32 dim);

/*
 * Whether vector, [dim], was put for this text, and computing the vector again
 * would not raise.
 */
extern bool embed_proof_holds(const EmbedModelRef *ref, Datum value, const float *vector, int32 dim);

/* Whether there is any proof at all. */
extern bool embed_proofs_any(void);

/* Registers callbacks; called by _PG_init. */
extern void embed_proofs_init(void);

#endif
