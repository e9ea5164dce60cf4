/*
 * names.h
 *		Resolves a model's name to its fingerprint, as the running statement
 *		sees it.
 *
 * Names, aliases, defaults, embed.model and embed.reranker are resolved by the
 * statement's active snapshot, like the rows of the query. A transaction that
 * switches a column and its alias is therefore seen completely or not at all.
 * All call sites of a statement see the same meaning; from REPEATABLE READ on,
 * so do all statements of a transaction. Without an active snapshot the
 * committed state counts.
 *
 * A model's own name keeps its meaning for ever. So a model imported after the
 * snapshot is found, too. embed_drop with forget breaks that promise. A plan
 * keeps the results of a call with a model argument. Such an argument
 * therefore needs both: the name must be committed now, and it must not have
 * stood for other content in the snapshot.
 *
 * Example:
 *
 *		uint64		view = embed_names_view();
 *		EmbedName	found;
 *		embed_names_resolve(name, EMB_KIND_EMBEDDING, EMBED_NAME_ARGUMENT, &found);
 *
 * An answer is valid while view and embed_registry_generation() are unchanged.
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
 * A number for what the active snapshot sees: two calls return the same number
 * only if both snapshots see the same. 0: no snapshot is active, so do not
 * keep answers. Costs about ten nanoseconds.
 */
extern uint64 embed_names_view(void);

/* Rows of schema _embed changed, here or elsewhere: resolve names again. */
extern void embed_names_changed(void);

/*
 * name NULL: embed.model or embed.reranker, else the database's default of
 * that kind. A name may end in "@fingerprint" (pinned_name.h): 55000 if it
 * stands for another image, 22023 if no digits follow. Raises 42704 if the name stands for nothing or for a dropped
 * model; 22023 for an alias as a model argument.
 */
extern void embed_names_resolve(const char *name, EmbKind kind, EmbedNameUse use, EmbedName *found);

/*
 * The same without an ERROR: false if there never was such a model; another
 * image than that of the name's fingerprint is found. snapshot NULL: the
 * statement's.
 */
extern bool embed_names_find(const char *name, EmbKind kind, Snapshot snapshot, EmbedName *found, bool *dropped);

/*
 * Raises that the image of the model has no row: 42704, or XX001 if nobody
 * dropped the model.
 */
pg_noreturn extern void embed_names_missing_image(const EmbedName *found);

#endif
