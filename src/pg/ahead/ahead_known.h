/*
 * ahead_known.h
 *		Answers about functions or tables by their OIDs, until these change.
 *
 * Example:
 *
 *		static EmbedAheadKnown known = {.name = "embed tables", .watch = watch};
 *		uint64	seen = known.n_changes;
 *		int		answer;
 *		if (!embed_ahead_known_find(&known, relid, &answer))
 *		{
 *			answer = look_up(relid);
 *			embed_ahead_known_add(&known, relid, answer, seen);
 *		}
 *
 * watch registers a callback of the server's caches that calls
 * embed_ahead_known_forget(&known, relid).
 *
 * Memory of the process; a few bytes an object that statements meet.
 */
#ifndef EMBED_PG_AHEAD_AHEAD_KNOWN_H
#define EMBED_PG_AHEAD_AHEAD_KNOWN_H

#include "pg/glue.h"

#include "utils/hsearch.h"

typedef struct EmbedAheadKnown
{
	const char *name;			/* for views of memory contexts */
	void		(*watch) (void);	/* registers who calls embed_ahead_known_forget; called once, before the first answer */
	bool		is_watching;
	HTAB	   *answers;		/* NULL: none */
	uint64		n_changes;		/* since watch was called */
} EmbedAheadKnown;

/* Whether there is an answer for the object. */
extern bool embed_ahead_known_find(EmbedAheadKnown *known, Oid oid, int *answer);

/* Keeps an answer, unless something changed since n_changes was seen: a lookup may read what changes while it runs. */
extern void embed_ahead_known_add(EmbedAheadKnown *known, Oid oid, int answer, uint64 seen);

/* The object changed; InvalidOid: any may have. Raises nothing. */
extern void embed_ahead_known_forget(EmbedAheadKnown *known, Oid oid);

#endif
