/*
 * stat.c
 *		The counters of the view embed_stat.
 */
#include "pg/stat/stat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/sql/rows.h"

#define FLUSH_NS	UINT64CONST(100000000)

EMBED_FUNCTION(embed_stat_rows);
EMBED_FUNCTION(embed_stat_reset);

static EmbedStat *stats = NULL; /* one per image that this backend used */
EmbedStat  *embed_stat_running = NULL;
static bool any_pending = false;
static uint64 flushed_ns = 0;

EmbedStat *
embed_stat_of(const uint8 *fingerprint)
{
	EmbedStat  *stat;

	for (stat = stats; stat != NULL; stat = stat->next)
	{
		if (memcmp(stat->fingerprint, fingerprint, EMB_HASH_SIZE) == 0)
			return stat;
	}
	stat = MemoryContextAllocZero(TopMemoryContext, sizeof(EmbedStat));
	memcpy(stat->fingerprint, fingerprint, EMB_HASH_SIZE);
	stat->next = stats;
	stats = stat;
	return stat;
}

/* --------------------------------------------------------------- flush */

/* The entry of this database's image; the last result, if it is still valid. */
static EmbedStatEntry *
entry_of(EmbedStat *stat)
{
	uint64		mapping = embed_control_mapping();

	if (mapping == 0)
		return NULL;
	if (stat->entry == NULL || stat->mapping != mapping || stat->entry->serial != stat->serial)
	{
		stat->entry = embed_control_entry(MyDatabaseId, stat->fingerprint, true);
		stat->mapping = mapping;
		if (stat->entry != NULL)
			stat->serial = stat->entry->serial;
	}
	return stat->entry;
}

static void
flush_one(EmbedStat *stat)
{
	EmbedStatEntry *entry = entry_of(stat);

	if (entry == NULL)
		return;
	for (int i = 0; i < EMBED_N_COUNTERS; i++)
	{
		if (stat->counters[i] != 0)
			atomic_fetch_add_explicit(&entry->counters[i], stat->counters[i], memory_order_relaxed);
		stat->flushed[i] += stat->counters[i];
		stat->counters[i] = 0;
	}
	for (int i = 0; i < EMBED_LATENCY_BUCKETS; i++)
	{
		if (stat->latency[i] != 0)
			atomic_fetch_add_explicit(&entry->latency[i], stat->latency[i], memory_order_relaxed);
		stat->latency[i] = 0;
	}
	atomic_store_explicit(&entry->used, GetCurrentTimestamp(), memory_order_relaxed);
}

/* Counts without an entry wait for the next flush. */
static void
flush(void)
{
	any_pending = false;
	for (EmbedStat *stat = stats; stat != NULL; stat = stat->next)
	{
		bool		empty = true;

		for (int i = 0; i < EMBED_N_COUNTERS && empty; i++)
			empty = stat->counters[i] == 0;
		if (!empty)
			flush_one(stat);
	}
}

static void
flush_now_and_then(uint64 now_ns)
{
	if (now_ns - flushed_ns < FLUSH_NS)
		return;
	flushed_ns = now_ns;
	flush();
	any_pending = true;
}

/* --------------------------------------------------------------- calls */

static uint64
total(const EmbedStat *stat, EmbedCounter counter)
{
	return stat->flushed[counter] + stat->counters[counter];
}

uint64
embed_stat_begin(EmbedStat *stat)
{
	uint64		now = embed_clock_ns();

	stat->mark.tokens = total(stat, EMBED_TOKENS);
	stat->mark.wait_ns = total(stat, EMBED_WAIT_NS);
	stat->mark.compute_ns = total(stat, EMBED_COMPUTE_NS);
	embed_control_refresh(embed_ns_to_ms(now));
	return now;
}

uint64
embed_stat_end(pg_attribute_unused() EmbedStat *stat)
{
	uint64		now = embed_clock_ns();

	any_pending = true;
	flush_now_and_then(now);
	return now;
}

/* Bucket i: less than 2^(i+1) us, and, except for the first, at least 2^i. */
static int
bucket_of(uint64 took_ns)
{
	uint64		us = took_ns / 1000;

	if (us < 2)
		return 0;
	return Min(pg_leftmost_one_pos64(us), EMBED_LATENCY_BUCKETS - 1);
}

/* The cost since embed_stat_begin. */
static void
add_cost(const EmbedStat *stat, uint64 took_ns, EmbedCost *cost)
{
	cost->took_ns += took_ns;
	cost->tokens += total(stat, EMBED_TOKENS) - stat->mark.tokens;
	cost->wait_ns += total(stat, EMBED_WAIT_NS) - stat->mark.wait_ns;
	cost->compute_ns += total(stat, EMBED_COMPUTE_NS) - stat->mark.compute_ns;
}

void
embed_stat_step(EmbedStat *stat, uint64 begun, EmbedCost *cost)
{
	add_cost(stat, embed_stat_end(stat) - begun, cost);
}

void
embed_stat_count_call(EmbedStat *stat, EmbedCost *cost)
{
	bool		is_slow = embed_guc_log_min_duration >= 0 && cost->took_ns >= (uint64) embed_guc_log_min_duration * 1000000;
	EmbedCost	done = *cost;

	memset(cost, 0, sizeof(*cost));
	stat->counters[EMBED_CALLS]++;
	stat->latency[bucket_of(done.took_ns)]++;
	any_pending = true;
	if (is_slow)
	{
		stat->counters[EMBED_SLOW_CALLS]++;
		embed_stat_log_slow(stat, &done);
	}
}

void
embed_stat_call(EmbedStat *stat, uint64 begun)
{
	uint64		now = embed_clock_ns();
	EmbedCost	cost = {0};

	add_cost(stat, now - begun, &cost);
	embed_stat_count_call(stat, &cost);
	flush_now_and_then(now);
}

void
embed_stat_hit(EmbedStat *stat)
{
	stat->counters[EMBED_CALLS]++;
	stat->counters[EMBED_TEXTS]++;
	stat->counters[EMBED_CACHE_HITS]++;
	stat->latency[0]++;
	any_pending = true;
}

static void
count_error(void)
{
	if (embed_stat_running == NULL)
		return;
	embed_stat_running->counters[EMBED_ERRORS]++;
	embed_stat_running = NULL;
	any_pending = true;
}

static void
xact_event(XactEvent event, pg_attribute_unused() void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		count_error();
	if (any_pending && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE ||
						event == XACT_EVENT_PARALLEL_COMMIT || event == XACT_EVENT_PARALLEL_ABORT))
		flush();
}

static void
subxact_event(SubXactEvent event, pg_attribute_unused() SubTransactionId mine,
			  pg_attribute_unused() SubTransactionId parent, pg_attribute_unused() void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		count_error();
}

void
embed_stat_init(void)
{
	RegisterXactCallback(xact_event, NULL);
	RegisterSubXactCallback(subxact_event, NULL);
}

/* ----------------------------------------------------------------- SQL */

static void
refresh_and_flush(void)
{
	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	flush();
}

/* A count is never negative, whatever value the file has. */
static Datum
count_datum(uint64 n)
{
	return Int64GetDatum((int64) Min(n, (uint64) PG_INT64_MAX));
}

static Datum
latency_datum(EmbedStatEntry *entry)
{
	Datum		buckets[EMBED_LATENCY_BUCKETS];

	for (int i = 0; i < EMBED_LATENCY_BUCKETS; i++)
		buckets[i] = count_datum(entry->latency[i]);
	return PointerGetDatum(construct_array(buckets, EMBED_LATENCY_BUCKETS, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE));
}

static void
put_entry(const EmbedRows *rows, EmbedStatEntry *entry)
{
	Datum		values[EMBED_N_COUNTERS + 3];
	bool		nulls[EMBED_N_COUNTERS + 3] = {false};
	bytea	   *fingerprint = palloc(VARHDRSZ + EMB_HASH_SIZE);
	int			n = 0;

	SET_VARSIZE(fingerprint, VARHDRSZ + EMB_HASH_SIZE);
	memcpy(VARDATA(fingerprint), entry->fingerprint, EMB_HASH_SIZE);
	values[n++] = PointerGetDatum(fingerprint);
	for (int i = 0; i < EMBED_N_COUNTERS; i++)
	{
		uint64		value = entry->counters[i];

		values[n++] = i < EMBED_TOKENIZER_NS || i > EMBED_COMPUTE_NS ? count_datum(value) : Float8GetDatum((double) value / 1e6);
	}
	values[n++] = latency_datum(entry);
	values[n++] = TimestampTzGetDatum(entry->since);
	tuplestore_putvalues(rows->store, rows->desc, values, nulls);
}

/* _embed.stat() returns a row per image used in this database */
Datum
embed_stat_rows(PG_FUNCTION_ARGS)
{
	EmbedRows	rows = embed_rows_begin(fcinfo);

	refresh_and_flush();
	for (int i = 0; i < EMBED_CONTROL_ENTRIES; i++)
	{
		EmbedStatEntry *entry = embed_control_entry_at(i);

		if (entry != NULL && entry->serial != 0 && entry->database == MyDatabaseId)
			put_entry(&rows, entry);
	}
	return (Datum) 0;
}

/* embed_stat_reset() returns void: sets this database's counters to 0 */
Datum
embed_stat_reset(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	refresh_and_flush();
	for (int i = 0; i < EMBED_CONTROL_ENTRIES; i++)
	{
		EmbedStatEntry *entry = embed_control_entry_at(i);

		if (entry == NULL || entry->serial == 0 || entry->database != MyDatabaseId)
			continue;
		for (int j = 0; j < (int) lengthof(entry->counters); j++)
			entry->counters[j] = 0;
		for (int j = 0; j < (int) lengthof(entry->latency); j++)
			entry->latency[j] = 0;
		entry->since = GetCurrentTimestamp();
	}
	PG_RETURN_VOID();
}
