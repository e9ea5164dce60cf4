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
 * believe what a statement assigns. A proof lets the trigger accept a vector
 * that embed, embed_rows or embed_agg returned for the same text and model.
 *
 * A proof is a pair of keyed hashes, of 128 bits each: nobody who does not know
 * the key of the backend can find a text or a vector that passes for another.
 * Proofs are pure facts, so subtransactions do not matter. The end of the
 * transaction drops all; of very many the later ones replace others.
 */
#ifndef EMBED_PG_CALL_PROOFS_H
#define EMBED_PG_CALL_PROOFS_H

#include "pg/store/registry.h"

/* Longer texts have no proof. */
#define EMBED_PROOF_TEXT_MAX (64 * 1024)

/* The hash of model and text; all zero: none. */
typedef struct EmbedProofKey
{
	uint64		hash[2];
} EmbedProofKey;

/* value: a text, toasted or not. truncated: the model did not read all of it. */
extern EmbedProofKey embed_proof_key(const EmbedModelRef *ref, Datum value, bool truncated);

/* vector: [dim], what the model computed for the document of key. */
extern void embed_proof_put(const EmbedProofKey *key, const float *vector, int32 dim);

/* Whether vector, [dim], was put for that text, and computing it again would raise nothing. */
extern bool embed_proof_holds(const EmbedModelRef *ref, Datum value, const float *vector, int32 dim);

/* Whether there is any proof at all. */
extern bool embed_proofs_any(void);

/* Registers callbacks; from _PG_init. */
extern void embed_proofs_init(void);

#endif
