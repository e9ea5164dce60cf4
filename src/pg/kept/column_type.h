/*
 * column_type.h
 *		The type of a kept column: pgvector's vector(dim), halfvec(dim), or
 *		anything that float4[] can be assigned to.
 *
 * Example:
 *
 *		psprintf("ALTER TABLE docs ADD COLUMN embedding %s", embed_column_type(384));
 *
 * pgvector is known by its extension and by the names of its types, wherever
 * they are. Results are in the current context.
 */
#ifndef EMBED_PG_KEPT_COLUMN_TYPE_H
#define EMBED_PG_KEPT_COLUMN_TYPE_H

#include "pg/auto/trigger.h"

/* vector(dim) where pgvector is installed, else float4[]. SPI is connected. */
extern char *embed_column_type(int32 dim);

/* Raises 42804 where the column has texts: vectors would fit into it, and its texts would become NULL. */
extern void embed_column_check_type(Relation rel, const EmbedTriggerColumn *vector);

/* The number of dimensions that the column's type demands; 0: any. */
extern int32 embed_column_type_dim(const EmbedTriggerColumn *vector);

/* Whether the column's type demands another number than dim. */
extern bool embed_column_type_has_other_dim(const EmbedTriggerColumn *vector, int32 dim);

/* The column's type with dim dimensions; embed_column_type_dim is not 0. */
extern char *embed_column_type_like(const EmbedTriggerColumn *vector, int32 dim);

/* A NOTICE where pgvector cannot index the column as it is. */
extern void embed_column_type_report(const EmbedTriggerColumn *vector, const char *table);

#endif
