/*
 * names.h
 *		From a model's name to its fingerprint, as the running statement sees it.
 *
 * Names, aliases, the database's defaults, and so what embed.model and
 * embed.reranker name, are read by the statement's active snapshot, as the
 * rows beside them are: whoever switches a column and its alias in one
 * transaction is seen as a whole or not at all. Every call site of a statement
 * gets one meaning, from REPEATABLE READ on every statement of a transaction.
 * Where no snapshot is active, what is committed now counts.
 *
 * A model's own name has one meaning for ever. So a model that was imported
 * after the snapshot was taken is found all the same. embed_drop with forget
 * breaks that promise. A model argument, whose results plans keep, therefore
 * needs both: the name must be committed now, and it must not have stood for
 * other content in the snapshot.
 *
 * Example:
 *
 *		uint64		view = embed_names_view();
 *		EmbedName	found;
 *		embed_names_resolve(name, EMB_KIND_EMBEDDING, EMBED_NAME_ARGUMENT, &found);
 *
 * An answer is good while view and embed_registry_generation() stay.
 */
#ifndef EMBED_PG_STORE_NAMES_H
#define EMBED_PG_STORE_NAMES_H

#include "pg/store/registry.h"

#include "utils/snapshot.h"

typedef struct EmbedName
{
	uint8		fingerprint[EMB_HASH_SIZE];
	char		model[EMB_NAME_MAX + 1];	/* the model's own name */
} EmbedName;

/*
 * What the active snapshot sees, as a number: two calls give the same number
 * only if the two snapshots see the same. 0: no snapshot is active, and nothing
 * may be kept. Costs some ten nanoseconds.
 */
extern uint64 embed_names_view(void);

/* Rows of schema _embed changed, here or elsewhere: answers are looked up again. */
extern void embed_names_changed(void);

/*
 * name NULL: embed.model or embed.reranker, else the database's default of
 * that kind. Raises 42704 where the name stands for nothing, or for what was
 * dropped; 22023 for an alias as a model argument.
 */
extern void embed_names_resolve(const char *name, EmbKind kind, EmbedNameUse use, EmbedName *found);

/* The same without an ERROR: false where there never was such a model. snapshot NULL: the statement's. */
extern bool embed_names_find(const char *name, EmbKind kind, Snapshot snapshot, EmbedName *found, bool *dropped);

/* The image of what was found has no row any more: 42704, or XX001 if nobody dropped the model. */
pg_noreturn extern void embed_names_missing_image(const EmbedName *found);

#endif
