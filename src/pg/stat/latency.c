/*
 * latency.c
 *		The view embed_latency: durations at a share of the calls, out of
 *		its histogram; and the log of slow calls.
 */
#include "pg/stat/stat.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/store/storage.h"

EMBED_FUNCTION(embed_latency_ms);

/* One message a second for each model and database, of all sessions. */
#define LOG_INTERVAL_MS		1000

/* ------------------------------------------------------------ histogram */

/* Bucket i ends at 2^(i + 1) microseconds; the last one has no end. */
static double
bucket_end_us(int i)
{
	return ldexp(1, i + 1);
}

/*
 * The duration that this share of the calls do not exceed. Within a bucket
 * calls are taken to lie evenly on a scale of logarithms, in the first one,
 * which begins at 0, on a plain scale. A share of 1 gives the end of the last
 * bucket that has a call: no call took longer.
 */
static double
duration_ms(const uint64 *counts, uint64 n_calls, double share)
{
	double		rank = share * (double) n_calls;
	double		before = 0;

	for (int i = 0; i < EMBED_LATENCY_BUCKETS; i++)
	{
		double		part;

		if (counts[i] == 0 || before + (double) counts[i] < rank)
		{
			before += (double) counts[i];
			continue;
		}
		part = (rank - before) / (double) counts[i];
		return (i == 0 ? bucket_end_us(0) * part : bucket_end_us(i - 1) * exp2(part)) / 1000;
	}
	return bucket_end_us(EMBED_LATENCY_BUCKETS - 1) / 1000;
}

/* _embed.latency_ms(latency int8[], share float8) returns float8; NULL without a call */
Datum
embed_latency_ms(PG_FUNCTION_ARGS)
{
	ArrayType  *latency = PG_GETARG_ARRAYTYPE_P(0);
	double		share = PG_GETARG_FLOAT8(1);
	uint64		counts[EMBED_LATENCY_BUCKETS];
	uint64		n_calls = 0;
	const int64 *values;

	if (ARR_ELEMTYPE(latency) != INT8OID || ARR_NDIM(latency) != 1 || ARR_HASNULL(latency) ||
		ARR_DIMS(latency)[0] != EMBED_LATENCY_BUCKETS || !(share >= 0 && share <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not a histogram of embed_latency, or not a share")));
	values = (const int64 *) ((const char *) latency + ARR_OVERHEAD_NONULLS(1));
	for (int i = 0; i < EMBED_LATENCY_BUCKETS; i++)
	{
		counts[i] = (uint64) Max(values[i], 0);
		n_calls += counts[i];
	}
	if (n_calls == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(duration_ms(counts, n_calls, share));
}

/* ----------------------------------------------------------- slow calls */

/*
 * Whether it is time for another message: the sessions agree by the control
 * file. Without one each session keeps its own time. A time in the future is
 * from before the clock was set back.
 */
static bool
is_time_to_log(EmbedStat *stat)
{
	_Atomic int64 *logged = stat->entry != NULL && stat->mapping == embed_control_mapping() ? &stat->entry->logged : &stat->logged;
	int64		now = GetCurrentTimestamp();
	int64		last = atomic_load_explicit(logged, memory_order_relaxed);

	if (last <= now && now - last < LOG_INTERVAL_MS * INT64CONST(1000))
		return false;
	return atomic_compare_exchange_strong(logged, &last, now);
}

void
embed_stat_log_slow(EmbedStat *stat, const EmbedCost *cost)
{
	char		digits[2 * EMB_HASH_SIZE + 1];
	const char *name;

	if (!is_time_to_log(stat))
		return;
	digits[hex_encode((const char *) stat->fingerprint, EMB_HASH_SIZE, digits)] = '\0';
	name = embed_storage_name_of(digits);
	ereport(LOG,
			(errmsg("embed: a call of model \"%s\" took %.3f ms: %llu tokens, %.3f ms of waiting, %.3f ms of computing",
					name != NULL ? name : digits, (double) cost->took_ns / 1e6, (unsigned long long) cost->tokens,
					(double) cost->wait_ns / 1e6, (double) cost->compute_ns / 1e6),
			 errhidecontext(true)));
}
