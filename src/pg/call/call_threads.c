/*
 * call_threads.c
 *		The number of threads for one computation, given the other busy
 *		backends.
 */
#include "pg/glue.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"

#include "pg/stat/control.h"

bool		embed_is_background = false;

static void
stop_threads(pg_attribute_unused() int code, pg_attribute_unused() Datum arg)
{
	emb_threads_stop();
}

/*
 * One in a parallel worker, because its siblings have the other CPUs. One
 * without a backend that would end its threads (the postmaster, single-user
 * mode). Else this backend's share of the CPUs, so that all busy backends
 * together have as many threads as CPUs. A process in the background takes
 * what they leave, and they do not count it. Computed anew for every batch, so
 * changes in other backends apply at the next batch.
 */
int
embed_threads_begin(uint64 now_ns)
{
	static bool registered = false;
	uint64		now_ms = embed_ns_to_ms(now_ns);
	int			limit = embed_is_background ? embed_guc_background_threads : embed_guc_threads;
	int			n;

	embed_control_refresh(now_ms);
	if (!embed_is_background)
		embed_control_busy(now_ms);
	if (limit == 1 || !IsUnderPostmaster || MyProc == NULL || IsParallelWorker())
		return 1;
	n = embed_is_background ? embed_control_rest(emb_threads_available(), now_ms) :
		embed_control_share(emb_threads_available(), now_ms);
	if (limit > 0)
		n = Min(n, limit);
	if (embed_guc_max_threads > 0)
		n = Min(n, embed_guc_max_threads);
	if (n > 1 && !registered)
	{
		on_proc_exit(stop_threads, (Datum) 0);
		registered = true;
	}
	return n;
}

void
embed_threads_end(uint64 now_ns)
{
	if (!embed_is_background)
		embed_control_idle(embed_ns_to_ms(now_ns));
}
