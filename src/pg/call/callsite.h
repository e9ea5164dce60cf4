/*
 * callsite.h
 *		What one place in a query remembers between its calls: the model its
 *		name resolved to, and the last text with its result.
 *
 * Example:
 *
 *		EmbedSite  *site = embed_site(fcinfo);
 *		const EmbedModelRef *ref = embed_site_resolve(site, name);
 *
 * A site lives in flinfo->fn_extra and fn_mcxt: mostly as long as the query,
 * in a simple PL/pgSQL expression as long as the transaction.
 */
#ifndef EMBED_PG_CALL_CALLSITE_H
#define EMBED_PG_CALL_CALLSITE_H

#include "pg/call/cache.h"
#include "pg/store/registry.h"

/* Longer inputs are not remembered. */
#define EMBED_MEMO_INPUT_MAX (64 * 1024)

/*
 * Nor are longer results: those of queries are to be, at 4 kB a token of bge-m3,
 * not those of documents. A query over a thousand partitions has a thousand
 * sites, all of them until its end.
 */
#define EMBED_MEMO_RESULT_MAX (512 * 1024)

typedef struct EmbedMemo
{
	EmbedAsker	asker;			/* as in the cache: a site may outlive SET ROLE */
	uint8		fingerprint[EMB_HASH_SIZE];
	char	   *input;			/* the varlena as it came, header included */
	Size		input_size;		/* 0: nothing is remembered */
	Size		input_room;
	char	   *result;			/* a vector's elements; of embed_site_remember what it was given */
	Size		result_size;
	Size		result_room;
	bool		truncated;
} EmbedMemo;

typedef struct EmbedSite
{
	MemoryContext cxt;			/* the site's own memory: fn_mcxt */
	bool		reranks;		/* its names stand for rerankers */

	/* the name as last resolved; ref NULL: not yet */
	const EmbedModelRef *ref;
	uint64		generation;
	uint64		view;			/* 0: to be resolved again in any case */
	bool		has_name;
	char		name[EMB_NAME_MAX + 1];

	int32	   *ids;			/* room for the ids of one text or pair */
	int32	   *type_ids;		/* as much for those of a pair; NULL where none came yet */
	int32		ids_room;
	EmbedMemo	memo;
} EmbedSite;

/* The site of this call, made at its first; flinfo NULL: one for this call only. */
extern EmbedSite *embed_site(FunctionCallInfo fcinfo);

/* The same, of a function that scores pairs. */
extern EmbedSite *embed_rerank_site(FunctionCallInfo fcinfo);

/* name: a text, or NULL where no model argument is given. */
extern const EmbedModelRef *embed_site_resolve(EmbedSite *site, const text *name);
extern const EmbedModelRef *embed_site_resolve_name(EmbedSite *site, const char *name, EmbedNameUse use);

/* The model that a group began with, whatever its name stands for now. */
extern const EmbedModelRef *embed_site_go_on(EmbedSite *site, const uint8 *fingerprint);

/*
 * The dimensions argument at position argno, 22023 if the model has not so
 * many; 0 where the call has none.
 */
extern int32 embed_site_dimensions(const EmbedSite *site, FunctionCallInfo fcinfo, int argno);

/* out: [n], what a dimensions argument of n leaves of a vector [dim]. */
extern void embed_site_cut(const EmbedSite *site, const float *vector, int32 n, float *out);

/* The model argument at position argno, if the call has one; resolved. */
extern const EmbedModelRef *embed_site_resolve_arg(EmbedSite *site, FunctionCallInfo fcinfo, int argno);

/* Ids of value: [max_tokens] of site memory, good until the next call. */
extern EmbEncoded embed_site_encode(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value);

/* The same for a computation: counted, and a text that was cut noted. */
extern EmbEncoded embed_site_read(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value);

/* Of a query and a document: ids and type_ids of the site. */
extern EmbEncoded embed_site_read_pair(EmbedSite *site, const EmbedModelRef *ref, Datum query, Datum doc);

/*
 * For results that are datums of their own, varlenas: what embed_site_remember
 * was given for the same value, a copy, counted as a call; or NULL.
 */
extern void *embed_site_recall(EmbedSite *site, const EmbedModelRef *ref, Datum value);
extern void embed_site_remember(EmbedSite *site, const EmbedModelRef *ref, Datum value, const void *result, bool truncated);

/* out: [dim], the vector of value; from the memo if the last value was the same, from the cache if it came lately. */
extern void embed_site_embed(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value, float *out);

#endif
