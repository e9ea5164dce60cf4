/*
 * registry.h
 *		Resolves a model's name to an open, mapped model.
 *
 * A name as a model argument stands for one fingerprint for ever. Aliases,
 * defaults and embed.model resolve only without a model argument. names.h
 * defines the snapshot.
 *
 * Example:
 *
 *		if (site->ref == NULL || site->generation != embed_registry_generation() ||
 *			site->view != embed_names_view())
 *		{
 *			site->generation = embed_registry_generation();
 *			site->view = embed_names_view();
 *			site->ref = embed_registry_lookup(name, EMB_KIND_EMBEDDING, use);
 *		}
 *
 * A ref is valid until the next lookup by anyone, or until the end of the
 * transaction. Code that keeps a ref compares generations and views before
 * each use, after anything that may have run SQL. Results computed with a ref
 * are valid only after embed_registry_check:
 *
 * Example:
 *
 *		status = emb_model_embed(site->ref->model, &seq, 1, &run, out, &err);
 *		embed_registry_check(site->ref, status, &err);
 *
 * The check and the next lookup notice a file that was damaged after it was
 * mapped; the next lookup rebuilds it. The lookup raises: no model installed
 * or no default (42704 with a hint), unknown name (42704), alias as a model
 * argument (22023), another kind (22023), and the errors of materializing.
 */
#ifndef EMBED_PG_STORE_REGISTRY_H
#define EMBED_PG_STORE_REGISTRY_H

#include "pg/stat/stat.h"

typedef struct EmbedModelRef
{
	uint8		fingerprint[EMB_HASH_SIZE];
	EmbModel   *model;
	const EmbModelInfo *info;
	const char *image;			/* the mapping, info->size_bytes bytes */
	EmbedStat  *stat;			/* outlives the ref */
} EmbedModelRef;

/*
 * A kind for lookups: an embedding model, whatever it returns. With
 * EMB_KIND_EMBEDDING only models that return a vector of a text are found.
 */
#define EMBED_KIND_READER	((EmbKind) 3)

/* Which names are allowed. */
typedef enum EmbedNameUse
{
	EMBED_NAME_ARGUMENT,		/* a model argument: models only */
	EMBED_NAME_ALIAS_TOO		/* embed_trigger, settings: models and aliases */
} EmbedNameUse;

/*
 * name NULL: embed.model or embed.reranker, else the database's default of
 * that kind. kind 0: any kind, needs a name.
 */
extern const EmbedModelRef *embed_registry_lookup(const char *name, EmbKind kind, EmbedNameUse use);

/* The fingerprint of the model argument's image, of any kind, without a look at the image. */
extern void embed_registry_fingerprint(const char *name, uint8 *fingerprint);

/*
 * The model of a group's first row, by image, whatever its name stands for
 * now. The model may be dropped: 42704 only if this backend no longer has it.
 */
extern const EmbedModelRef *embed_registry_go_on(const uint8 *fingerprint);

/*
 * Properties of a model for the planner: false if there is no model of that
 * name, or no default. Opens and maps nothing.
 */
extern bool embed_registry_peek(const char *name, EmbKind kind, int64 *size_bytes, int32 *max_tokens);

/*
 * The same without an ERROR, and without opening anything: NULL unless this
 * backend has the model mapped, up to date and not damaged.
 */
extern const EmbedModelRef *embed_registry_look(const char *name, EmbKind kind, EmbedNameUse use);

/* The model of an image mapped by this backend, or NULL. */
extern const EmbedModelRef *embed_registry_find(const uint8 *fingerprint);

/* This transaction deleted the image's row: unmap the image at the end of the transaction. */
extern void embed_registry_dropped(const uint8 *fingerprint);

/*
 * Call this after everything that read the image, before using the result;
 * also before reading the image if time has passed since the last check.
 * Raises 58030 if the file was changed or lost in the meantime, or if status
 * is EMB_ERR_FORMAT, which an intact image never causes; else the error of
 * status. It only marks a damaged file; the next lookup rebuilds it. err may
 * be NULL if status is EMB_OK.
 */
extern void embed_registry_check(const EmbedModelRef *ref, EmbStatus status, const EmbError *err);

/* The mapped bytes of ref differ from the import: the next lookup rebuilds the file. */
extern void embed_registry_damaged(const EmbedModelRef *ref);

/* Changes whenever a resolved name may stand for something else or a ref became invalid. */
extern uint64 embed_registry_generation(void);
extern void embed_registry_invalidate(void);

/* Registers callbacks; called by _PG_init. */
extern void embed_registry_init(void);

#endif
