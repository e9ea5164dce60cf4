/*
 * ahead_texts.h
 *		Texts of upcoming rows, embedded together into a store.
 *
 * A run begins, gets the texts of some rows, and embeds them. The model is
 * looked up at its beginning, without an error where there is none.
 *
 * No error of a text is raised here: the row raises it itself, if it comes to
 * that. A cancel and a lack of memory are raised.
 */
#ifndef EMBED_PG_AHEAD_AHEAD_TEXTS_H
#define EMBED_PG_AHEAD_AHEAD_TEXTS_H

#include "pg/call/ahead_store.h"
#include "pg/call/text_batch.h"

typedef struct EmbedAheadTexts
{
	EmbedAheadStore *store;
	MemoryContext cxt;
	MemoryContext scratch;		/* for one text */
	bool		has_name;
	char		name[EMB_NAME_MAX + 1];
	char		digits[2 * EMB_HASH_SIZE + 1];	/* that its fingerprint must begin with */
	EmbedNameUse use;
	const EmbedModelRef *ref;	/* from embed_ahead_begin to embed_ahead_run; NULL: nothing is embedded */
	int32	   *ids;			/* [ids_room] */
	int32		ids_room;
	EmbedBatch	batch;
	EmbedAheadVector **places;	/* [n_places] of the texts of this run, in the order they came */
	int			n_places;
	int			places_room;
	int			n_ready;		/* how many of them have their vectors */
	int			n_refused;		/* texts that would gain nothing */
	int64		n_tokens;
	int64		n_waiting;		/* tokens of this run that are not computed yet */
	uint64		begun;
} EmbedAheadTexts;

/* Texts for a model; name NULL: the default. */
extern EmbedAheadTexts *embed_ahead_texts(MemoryContext cxt, EmbedAheadStore *store, const char *name, const char *digits,
										  EmbedNameUse use);

/* Nothing may run SQL between these. */
extern void embed_ahead_begin(EmbedAheadTexts *texts);
extern void embed_ahead_add(EmbedAheadTexts *texts, Datum text);
extern void embed_ahead_run(EmbedAheadTexts *texts);

/* The threads that a batch may have. */
extern int embed_ahead_threads(void);

#endif
