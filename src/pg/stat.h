/*
 * stat.h
 *		What the view embed_stat counts.
 *
 *		EmbedStat  *stat = ref->stat;				one for each image, for the backend's life
 *		uint64		begun = embed_stat_begin(stat);
 *		read texts, compute; they add to stat what they do
 *		embed_stat_call(stat, begun);				counted, with its latency
 *
 * A call that raises in between is counted as an error when its transaction or
 * subtransaction aborts. Counts gather in the backend and go to the control
 * file at the end of the transaction, in long queries every 100 ms.
 */
#ifndef EMBED_PG_STAT_H
#define EMBED_PG_STAT_H

#include "pg/control.h"

typedef struct EmbedStat
{
	struct EmbedStat *next;
	uint8		fingerprint[EMB_HASH_SIZE];

	/* not yet in the control file */
	uint64		counters[EMBED_N_COUNTERS];
	uint64		latency[EMBED_LATENCY_BUCKETS];

	/* where they go, good while these are what they were */
	EmbedStatEntry *entry;
	uint64		mapping;
	uint64		serial;
} EmbedStat;

/* The backend's counts of an image. */
extern EmbedStat *embed_stat_of(const uint8 *fingerprint);

static inline void
embed_stat_add(EmbedStat *stat, EmbedCounter counter, uint64 n)
{
	stat->counters[counter] += n;
}

/* Something begins that may raise; gives the time. */
extern uint64 embed_stat_begin(EmbedStat *stat);

/* It did not; gives the time. Not a call by itself: a step of an aggregate. */
extern uint64 embed_stat_end(EmbedStat *stat);

/* The same, and it was a call that took from begun until now. */
extern void embed_stat_call(EmbedStat *stat, uint64 begun);

/* A call counted that took so long (an aggregate's, say). */
extern void embed_stat_count_call(EmbedStat *stat, uint64 took_ns);

/* A call answered from memo or cache: too short to be worth a look at the clock. */
extern void embed_stat_hit(EmbedStat *stat);

/* Registers callbacks; from _PG_init. */
extern void embed_stat_init(void);

#endif
