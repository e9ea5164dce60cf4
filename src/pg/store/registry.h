/*
 * registry.h
 *		From a model's name to an open, mapped model.
 *
 * A name with a model argument stands for one fingerprint for ever; aliases,
 * defaults and embed.model resolve only where no model argument is given.
 * names.h says by which snapshot.
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
 * A ref stays valid until the next lookup, whoever makes it, or the end of the
 * transaction; whoever keeps one compares generations and views before each use, after
 * anything that may have run SQL. What was read through a ref is a result only
 * once embed_registry_check let it pass.
 *
 * Example:
 *
 *		status = emb_model_embed(site->ref->model, &seq, 1, &run, out, &err);
 *		embed_registry_check(site->ref, status, &err);
 *
 * A file that was damaged since it was mapped is noticed there and at the next
 * lookup, and made again. The lookup raises: no model installed
 * or none the default (42704 with a hint), unknown name (42704), alias as a model argument
 * (22023), another kind (22023), and whatever materializing meets.
 */
#ifndef EMBED_PG_STORE_REGISTRY_H
#define EMBED_PG_STORE_REGISTRY_H

#include "pg/stat/stat.h"

typedef struct EmbedModelRef
{
	uint8		fingerprint[EMB_HASH_SIZE];
	EmbModel   *model;
	const EmbModelInfo *info;
	const char *image;			/* the mapping, info->size_bytes */
	EmbedStat  *stat;			/* outlives the ref */
} EmbedModelRef;

/* How a name may be given. */
typedef enum EmbedNameUse
{
	EMBED_NAME_ARGUMENT,		/* a model argument: models only */
	EMBED_NAME_ALIAS_TOO		/* embed_trigger, settings: models and aliases */
} EmbedNameUse;

/*
 * name NULL: embed.model or embed.reranker, else the database's default of
 * that kind. kind 0: any, with a name.
 */
extern const EmbedModelRef *embed_registry_lookup(const char *name, EmbKind kind, EmbedNameUse use);

/*
 * The model of an image that a group began with, whatever its name stands for
 * now. It may have been dropped since: 42704 only if this backend has it no more.
 */
extern const EmbedModelRef *embed_registry_go_on(const uint8 *fingerprint);

/*
 * What a plan wants to know of a model before it is used: false where there is
 * none of that name, or no default. Opens and maps nothing.
 */
extern bool embed_registry_peek(const char *name, EmbKind kind, int64 *size_bytes, int32 *max_tokens);

/* The model of an image that this backend has mapped, or NULL. */
extern const EmbedModelRef *embed_registry_find(const uint8 *fingerprint);

/* The image's row was deleted by this transaction: unmap it when that ends. */
extern void embed_registry_dropped(const uint8 *fingerprint);

/*
 * To be called after everything that read the image, before its result is
 * used, and where time has passed since the last look before it is read. Raises 58030 if the file was changed or lost meanwhile, or if status is
 * EMB_ERR_FORMAT, which an intact image never gives; else what status says.
 * Only marks what it finds; the next lookup makes the file again. err may be
 * NULL where status is EMB_OK.
 */
extern void embed_registry_check(const EmbedModelRef *ref, EmbStatus status, const EmbError *err);

/* The bytes behind ref are not those of the import: the next lookup makes the file again. */
extern void embed_registry_damaged(const EmbedModelRef *ref);

/* Changes whenever a resolved name may stand for something else or a ref died. */
extern uint64 embed_registry_generation(void);
extern void embed_registry_invalidate(void);

/* Registers callbacks; from _PG_init. */
extern void embed_registry_init(void);

#endif
