/*
 * callsite.h
 *		What a call site in a query remembers between calls: the model its
 *		name resolved to, and the last text with its result.
 *
 * Example:
 *
 *		EmbedSite  *site = embed_site(fcinfo);
 *		const EmbedModelRef *ref = embed_site_resolve(site, name);
 *
 * A site lives in flinfo->fn_extra and fn_mcxt: usually as long as the query,
 * in a simple PL/pgSQL expression as long as the transaction.
 */
#ifndef EMBED_PG_CALL_CALLSITE_H
#define EMBED_PG_CALL_CALLSITE_H

#include "pg/call/cache.h"
#include "pg/call/shared_prefix.h"
#include "pg/call/text_value.h"
#include "pg/store/pinned_name.h"
#include "pg/store/registry.h"

/* Longer inputs are not remembered. */
#define EMBED_MEMO_INPUT_MAX (64 * 1024)

/*
 * Larger results are not cached either: the limit fits a query's token vectors
 * (4 kB per token for bge-m3), not a document's. A query over a thousand
 * partitions has a thousand sites, and all of them last until its end.
 */
#define EMBED_MEMO_RESULT_MAX (512 * 1024)

typedef struct EmbedMemo
{
	EmbedAsker	asker;			/* as in the cache: a site may outlive SET ROLE */
	uint8		fingerprint[EMB_HASH_SIZE];
	char	   *input;			/* the varlena as passed, including its header; then the instruction's, if there is one */
	Size		input_size;		/* of both; 0: empty memo */
	Size		input_room;
	char	   *result;			/* the elements of a vector, or the datum given to embed_site_remember */
	Size		result_size;
	Size		result_room;
	bool		truncated;
} EmbedMemo;

/* Token ids of the last query: most rows and documents come with the same query and instruction. */
typedef struct EmbedQuery
{
	uint8_t		fingerprint[EMB_HASH_SIZE];
	char	   *input;			/* as in the memo */
	Size		input_size;		/* 0: no query to recognize */
	Size		input_room;
	int32	   *ids;			/* [ids_room] */
	int32		ids_room;
	EmbTextIds	known;			/* refers to ids */
} EmbedQuery;

typedef struct EmbedSite
{
	MemoryContext cxt;			/* the site's own memory: fn_mcxt */
	MemoryContext scratch;		/* for one text, empty between two texts; below cxt; NULL: no text yet */
	bool		reranks;		/* names resolve to rerankers */
	bool		reads;			/* names resolve to models that read texts, whatever they return */

	/* of this call, see embed_site_instruct; instruction NULL: the model's own */
	const text *instruction;
	EmbedInstruction instruction_utf8;	/* in site memory */
	char	   *instruction_room;
	Size		instruction_room_size;

	/* the last resolved name; ref NULL: none yet */
	const EmbedModelRef *ref;
	uint64		generation;
	uint64		view;			/* 0: resolve again in any case */
	bool		has_name;
	char		name[EMBED_PINNED_MAX + 1];	/* as given, maybe with a fingerprint */

	EmbPrompt	prompt;			/* with which the last text was read */
	int32	   *ids;			/* buffer for the ids of one text or pair */
	int32	   *type_ids;		/* the same size, for pairs; NULL until the first pair */
	int32		ids_room;
	EmbedQuery	query;			/* if the site reranks */
	EmbedPrefix prefix;			/* likewise */
	EmbedMemo	memo;
} EmbedSite;

/* The site of this call, created at the first call; flinfo NULL: a site for this call only. */
extern EmbedSite *embed_site(FunctionCallInfo fcinfo);

/* The same for a function that needs no vector of a text. */
extern EmbedSite *embed_reader_site(FunctionCallInfo fcinfo);

/* The same for a function that scores pairs. */
extern EmbedSite *embed_rerank_site(FunctionCallInfo fcinfo);

/* name: a text, or NULL without a model argument. */
extern const EmbedModelRef *embed_site_resolve(EmbedSite *site, const text *name);
extern const EmbedModelRef *embed_site_resolve_name(EmbedSite *site, const char *name, EmbedNameUse use);

/* The model of a group's first row, whatever its name stands for now. */
extern const EmbedModelRef *embed_site_go_on(EmbedSite *site, const uint8 *fingerprint);

/*
 * The dimensions argument at position argno; 22023 if the model has fewer
 * dimensions; 0 if the call has no such argument.
 */
extern int32 embed_site_dimensions(const EmbedSite *site, FunctionCallInfo fcinfo, int argno);

/* out: [n], a vector [dim] cut by a dimensions argument of n. */
extern void embed_site_cut(const EmbedSite *site, const float *vector, int32 n, float *out);

/*
 * One group has one name, which is resolved once, when the group begins: raises
 * 22023 if name is another than the first row's (aggregate.c).
 */
extern void embed_check_group_name(const char *first, const text *name);

/* The model argument at position argno, if the call has one; resolved. */
extern const EmbedModelRef *embed_site_resolve_arg(EmbedSite *site, FunctionCallInfo fcinfo, int argno);

/*
 * The instruction argument at position argno, if the call has one: used in
 * whatever this call reads of a query. 22023 if the model takes none, 54000 if
 * it is too long. Call it for each row, after the model is resolved.
 */
extern void embed_site_instruct(EmbedSite *site, const EmbedModelRef *ref, FunctionCallInfo fcinfo, int argno);

/* The same for a packed text, or NULL. */
extern void embed_site_set_instruction(EmbedSite *site, const EmbedModelRef *ref, const text *instruction);

/* Ids of value: in site memory, with room for the model's longest sequence, valid until the next call. */
extern EmbEncoded embed_site_encode(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value);

/* The same for a computation: counts the text, and notes it if it was cut. */
extern EmbEncoded embed_site_read(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value);

/*
 * The same for a query and its documents: ids and type_ids of the site. Call
 * embed_site_read_query before the first document, and for each row; if query
 * and model are the same as the last time, this costs a comparison. query must
 * stay unchanged until the last document.
 */
extern void embed_site_read_query(EmbedSite *site, const EmbedModelRef *ref, Datum query);
extern EmbEncoded embed_site_read_pair(EmbedSite *site, const EmbedModelRef *ref, Datum query, Datum doc);

/* The tokens that embed_site_read_pair would read; does not count the text in embed_stat. */
extern int32 embed_site_count_pair(EmbedSite *site, const EmbedModelRef *ref, Datum query, Datum doc);

/*
 * For results that are varlena datums: a copy of the datum given to
 * embed_site_remember for the same value, counted as a call; or NULL.
 */
extern void *embed_site_recall(EmbedSite *site, const EmbedModelRef *ref, Datum value);
extern void embed_site_remember(EmbedSite *site, const EmbedModelRef *ref, Datum value, const void *result, bool truncated);

/*
 * out: [dim], the vector of value; from the memo if the last value was the
 * same, from the cache if the text was used recently.
 */
extern void embed_site_embed(EmbedSite *site, const EmbedModelRef *ref, EmbPrompt prompt, Datum value, float *out);

/*
 * Whether the session's cache has the vector of a document, and embedding it
 * would not raise: out, [dim]. Counts nothing.
 */
extern bool embed_site_cached(const EmbedModelRef *ref, Datum value, float *out);

#endif
