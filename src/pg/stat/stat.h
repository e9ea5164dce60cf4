/*
 * stat.h
 *		The counters of the view embed_stat.
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
 * A call that raises after its model is known counts as an error of that model
 * when its transaction or subtransaction aborts. It counts once, whether its
 * arguments, its text or a cancel caused the error. A name without a model is
 * not counted. Counts gather in the backend. They go to the control file at
 * the end of the transaction, and in long queries every 100 ms.
 */
#ifndef EMBED_PG_STAT_STAT_H
#define EMBED_PG_STAT_STAT_H

#include "pg/stat/control.h"

/* What a call took, or the steps of an aggregate so far. */
typedef struct EmbedCost
{
	uint64		took_ns;
	uint64		tokens;
	uint64		wait_ns;
	uint64		compute_ns;
} EmbedCost;

typedef struct EmbedStat
{
	struct EmbedStat *next;
	uint8		fingerprint[EMB_HASH_SIZE];

	/* not yet in the control file */
	uint64		counters[EMBED_N_COUNTERS];
	uint64		latency[EMBED_LATENCY_BUCKETS];

	uint64		flushed[EMBED_N_COUNTERS];	/* in the control file, or lost with it: with counters all of this backend */
	EmbedCost	mark;			/* the totals when the running call began */
	_Atomic int64 logged;		/* as in the control file, where there is none */

	/* destination in the control file, valid while these values are unchanged */
	EmbedStatEntry *entry;
	uint64		mapping;
	uint64		serial;
} EmbedStat;

/* The backend's counts for an image. */
extern EmbedStat *embed_stat_of(const uint8 *fingerprint);

static inline void
embed_stat_add(EmbedStat *stat, EmbedCounter counter, uint64 n)
{
	stat->counters[counter] += n;
}

/*
 * Defines a function for SQL that uses a model. EMBED_CALL(name) replaces
 * "Datum name(PG_FUNCTION_ARGS)": the code around the body ends the call for
 * embed_stat, wherever the body returns.
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

/* The running or failed call's model; NULL while its model is unknown. */
extern EmbedStat *embed_stat_running;

/* Sets the model of the running call. */
static inline void
embed_stat_enter(EmbedStat *stat)
{
	embed_stat_running = stat;
}

/* Returns the start time of something that takes time. */
extern uint64 embed_stat_begin(EmbedStat *stat);

/* Returns the end time. Does not count a call: a step of an aggregate. */
extern uint64 embed_stat_end(EmbedStat *stat);

/* The same, and counts a call that lasted from begun until now. */
extern void embed_stat_call(EmbedStat *stat, uint64 begun);

/* A step of an aggregate that lasted from begun until now: adds to its cost. */
extern void embed_stat_step(EmbedStat *stat, uint64 begun, EmbedCost *cost);

/* Counts a call of this cost (of an aggregate), which begins again at nothing. */
extern void embed_stat_count_call(EmbedStat *stat, EmbedCost *cost);

/* Counts a call answered from memo or cache: too short to read the clock. */
extern void embed_stat_hit(EmbedStat *stat);

/* latency.c: a message in the log, unless there was one within the last second. */
extern void embed_stat_log_slow(EmbedStat *stat, const EmbedCost *cost);

/* Registers callbacks; called by _PG_init. */
extern void embed_stat_init(void);

#endif
