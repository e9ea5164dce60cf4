/*
 * stat.h
 *		What the view embed_stat counts.
 *
 * Example:
 *
 *		// in the body of EMBED_CALL(embed_text)
 *		const EmbedModelRef *ref = embed_site_resolve_arg(site, fcinfo, 1);
 *		EmbedStat  *stat = ref->stat;			// one for each image, for the backend's life
 *		uint64		begun = embed_stat_begin(stat);
 *		embed_stat_add(stat, EMBED_TEXTS, 1);
 *		embed_stat_call(stat, begun);			// counted, with its latency
 *
 * A call whose model is known, and which raises before it returns, is counted
 * as an error of that model when its transaction or subtransaction aborts:
 * once, whether its arguments, the text or a cancel made it fail. A name that
 * stands for no model counts nowhere. Counts gather in the backend and go to the control
 * file at the end of the transaction, in long queries every 100 ms.
 */
#ifndef EMBED_PG_STAT_STAT_H
#define EMBED_PG_STAT_STAT_H

#include "pg/stat/control.h"

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

/*
 * Defines a function for SQL that uses a model. EMBED_CALL(name) stands in the
 * place of "Datum name(PG_FUNCTION_ARGS)": what surrounds the body ends the call
 * for embed_stat, wherever the body returns.
 */
#define EMBED_CALL(name) \
	EMBED_FUNCTION(name); \
	static Datum name##_body(FunctionCallInfo fcinfo); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		EmbedStat  *outer = embed_stat_running; \
		Datum		result = name##_body(fcinfo); \
		embed_stat_running = outer; \
		return result; \
	} \
	static Datum \
	name##_body(FunctionCallInfo fcinfo)

/* Of the call that runs, or failed; NULL while its model is not known. */
extern EmbedStat *embed_stat_running;

/* The model of the call that runs is known now. */
static inline void
embed_stat_enter(EmbedStat *stat)
{
	embed_stat_running = stat;
}

/* The time, at the beginning of something that takes time. */
extern uint64 embed_stat_begin(EmbedStat *stat);

/* The time, at its end. Not a call by itself: a step of an aggregate. */
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
