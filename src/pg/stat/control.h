/*
 * control.h
 *		The control file: shares data between the backends of a cluster
 *		without shared_preload_libraries.
 *
 * The file is pgsql_tmp_embed/control.v3, in the folder of the images. Every
 * backend that computes maps it. It records which backends are busy, counters
 * of models, and which databases have vectors to fill (fill_state.h). The file is optional: if it cannot be created (read-only
 * or full disk), or is deleted, truncated or overwritten while in use, calls
 * work without it and the numbers are lost. With shared_preload_libraries the
 * same file is used: there is one path to test, and the counters survive a
 * crash restart of the server.
 *
 * Example:
 *
 *		embed_control_refresh(now_ms);			// at the start of a computation
 *		embed_control_busy(now_ms);
 *		n = embed_control_share(n_cpus, now_ms);
 *		compute(n);
 *		embed_control_idle(later_ms);
 *
 * Nothing here raises.
 */
#ifndef EMBED_PG_STAT_CONTROL_H
#define EMBED_PG_STAT_CONTROL_H

#include "pg/glue.h"

#include <stdatomic.h>

#include "datatype/timestamp.h"

#define EMBED_LATENCY_BUCKETS 28

typedef enum EmbedCounter
{
	EMBED_CALLS,
	EMBED_TEXTS,
	EMBED_TOKENS,
	EMBED_TRUNCATIONS,
	EMBED_ERRORS,
	EMBED_CACHE_HITS,
	EMBED_PREFIX_TOKENS,
	EMBED_TOKENIZER_NS,
	EMBED_WAIT_NS,
	EMBED_COMPUTE_NS,
	EMBED_SLOW_CALLS
} EmbedCounter;

#define EMBED_N_COUNTERS (EMBED_SLOW_CALLS + 1)

/*
 * Counters of one image in one database.
 *
 *		  0	serial		which claim of the entry this is; 0: free
 *		  8	database
 *		 12 (zero)
 *		 16	fingerprint
 *		 48	since		TimestampTz of the claim or the last reset
 *		 56	used		TimestampTz of the last addition
 *		 64	counters	by EmbedCounter
 *		192 latency		calls by the logarithm of their microseconds
 *		448	logged		TimestampTz of the last message about a slow call
 *		456 (zero)
 *
 * serial, database and fingerprint are written under an flock on the file,
 * serial last. Any backend adds to or overwrites the other fields, atomically.
 */
typedef struct EmbedStatEntry
{
	_Atomic uint64 serial;
	uint32		database;
	uint32		unused;
	uint8		fingerprint[EMB_HASH_SIZE];
	_Atomic int64 since;
	_Atomic int64 used;
	_Atomic uint64 counters[16];
	_Atomic uint64 latency[32];
	_Atomic int64 logged;
	uint64		reserved[7];
} EmbedStatEntry;

StaticAssertDecl(sizeof(EmbedStatEntry) == 512, "layout of the control file");
StaticAssertDecl(EMBED_N_COUNTERS <= 16 && EMBED_LATENCY_BUCKETS <= 32, "layout of the control file");

#define EMBED_CONTROL_ENTRIES 512

/* Nanoseconds of the monotonic clock, and its milliseconds. */
extern uint64 embed_clock_ns(void);
static inline uint64
embed_ns_to_ms(uint64 ns)
{
	return ns / 1000000;
}

/*
 * Maps the file, and creates it if it is missing or damaged. Looks at the file
 * at most once a second; in between it only checks whether the mapping was
 * lost. Does nothing in the postmaster and in single-user mode, which have no
 * other backends to share with.
 */
extern void embed_control_refresh(uint64 now_ms);

/* Marks this backend as computing, or as idle. */
extern void embed_control_busy(uint64 now_ms);
extern void embed_control_idle(uint64 now_ms);

/*
 * This busy backend's share of n_cpus: all shares together are n_cpus, but
 * each is at least one.
 */
extern int	embed_control_share(int n_cpus, uint64 now_ms);

/* What the busy backends leave of n_cpus, at least one. */
extern int	embed_control_rest(int n_cpus, uint64 now_ms);

/*
 * Number of the current mapping, or 0 if there is none: pointers into another
 * mapping are stale.
 */
extern uint64 embed_control_mapping(void);

/*
 * The entry of (database, fingerprint), or NULL. With create, an entry is
 * claimed; if all are taken, the entry that was unused for longest. NULL then
 * means that another backend is claiming an entry right now, or that there is
 * no file.
 */
extern EmbedStatEntry *embed_control_entry(Oid database, const uint8 *fingerprint, bool create);

/* Entry i of EMBED_CONTROL_ENTRIES, free or not; NULL without a file. */
extern EmbedStatEntry *embed_control_entry_at(int i);

/* All entries of fill_state.h; NULL without a file. */
struct EmbedFiller;
struct EmbedFillColumn;
extern struct EmbedFiller *embed_control_fillers(void);
extern struct EmbedFillColumn *embed_control_fill_columns(void);

/* All entries of progress_state.h; NULL without a file. */
struct EmbedProgressState;
extern struct EmbedProgressState *embed_control_progress(void);

/* Milliseconds since boot at which the process started, or -1. */
extern int64 embed_birth_of_process(int pid);

#endif
