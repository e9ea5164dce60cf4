/*
 * reimport.h
 *		embed_reimport: an image of another layout is made again under its name.
 *
 * Names stand for one content for ever. An image of an older layout that is made
 * again from the same files computes the same bits, but has another
 * fingerprint. So only images that this library cannot open are replaced, only
 * if the numerics version is the same, only by a model with the same
 * properties, and only if a sample of every kept column has its vectors.
 *
 * Example:
 *
 *		EmbedReplaced replaced = {.schema = "public"};
 *		uint8		fingerprint[EMB_HASH_SIZE] = {0};
 *		EmbModelInfo info = {0};
 *		embed_replaced_find(&replaced, "m");			// before the import
 *		embed_replaced_check(&replaced, &info);			// of the new image, with the models locked
 *		embed_replaced_rename(&replaced, fingerprint);	// which is stored
 *		embed_replaced_compare(&replaced);				// with vectors of kept columns
 */
#ifndef EMBED_PG_SQL_REIMPORT_H
#define EMBED_PG_SQL_REIMPORT_H

#include "pg/glue.h"

typedef struct EmbedReplaced
{
	const char *schema;			/* of the extension */
	const char *name;
	uint8		fingerprint[EMB_HASH_SIZE];	/* of the old image */
} EmbedReplaced;

/* Raises if there is no such model (42704), or its image need not or cannot be replaced (55000). */
extern void embed_replaced_find(EmbedReplaced *replaced, const char *name);

/* Locks the tables whose triggers record the old image: before the models are locked. */
extern void embed_replaced_lock(const EmbedReplaced *replaced);

/* 55000 if the name moved in the meantime, or the new model has other properties. */
extern void embed_replaced_check(const EmbedReplaced *replaced, const EmbModelInfo *info);

/* Moves all names and triggers to the new image, and deletes the old one. */
extern void embed_replaced_rename(const EmbedReplaced *replaced, const uint8 *fingerprint);

/* 55000 if a vector in the sample of a kept column is not the new image's. */
extern void embed_replaced_compare(const EmbedReplaced *replaced);

#endif
