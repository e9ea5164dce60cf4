/*
 * storage.h
 *		Models, aliases and defaults as rows: _embed.model, _embed.alias and
 *		_embed.default_model (tables.h).
 */
#ifndef EMBED_PG_STORE_STORAGE_H
#define EMBED_PG_STORE_STORAGE_H

#include "pg/glue.h"

#include "nodes/pg_list.h"
#include "utils/snapshot.h"

typedef struct EmbedModelRow
{
	uint8		fingerprint[EMB_HASH_SIZE];
	bool		dropped;		/* a tombstone: the name stays bound to the fingerprint */
} EmbedModelRow;

extern bool embed_storage_find_model(const char *name, Snapshot snapshot, EmbedModelRow *row);

/* Whether any model is installed and not dropped. */
extern bool embed_storage_has_models(void);

/* The installed model that a wrong name is most likely to mean, or NULL: its beginning, its end, or a few letters changed. */
extern char *embed_storage_similar_name(const char *name);

/*
 * A model whose fingerprint begins with these hexadecimal digits, palloc'd;
 * preferably one that is not dropped. NULL: there is none.
 */
extern char *embed_storage_name_of(const char *digits);

/* palloc'd, or NULL */
extern char *embed_storage_find_alias(const char *alias, Snapshot snapshot);
extern char *embed_storage_find_default(const char *kind, Snapshot snapshot);

/* Lets all names of image from, tombstones too, stand for image to. */
extern void embed_storage_rename_image(const uint8 *from, const uint8 *to);

extern void embed_storage_put_model(const char *name, const EmbedModelRow *row);
extern void embed_storage_delete_model(const char *name);

/* name NULL deletes the alias. */
extern void embed_storage_put_alias(const char *alias, const char *name);
extern void embed_storage_put_default(const char *kind, const char *name);
extern void embed_storage_delete_aliases_of(const char *name);
extern void embed_storage_delete_defaults_of(const char *name);

/* The aliases of a model as palloc'd strings, sorted. */
extern List *embed_storage_aliases_of(const char *name);

/* Whether another model of that kind is installed. */
extern bool embed_storage_has_other_model(const char *kind, const char *name);

/* Whether any model that is not dropped uses the image. */
extern bool embed_storage_image_is_used(const uint8 *fingerprint);

#endif
