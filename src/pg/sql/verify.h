/*
 * verify.h
 *		The reference texts of an image, recomputed.
 */
#ifndef EMBED_PG_SQL_VERIFY_H
#define EMBED_PG_SQL_VERIFY_H

#include "pg/store/registry.h"

/*
 * Recomputes reference text i of the image on this machine; call
 * embed_isa_apply first. Resets scratch. Raises.
 */
extern EmbReferenceCheck embed_check_reference(const EmbedModelRef *ref, int32 i, MemoryContext scratch);

#endif
