/*
 * threads.c
 *		embed.threads: how many threads one call may use.
 */
#include "pg/glue.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"

static void
stop_threads(pg_attribute_unused() int code, pg_attribute_unused() Datum arg)
{
	emb_threads_stop();
}

/*
 * One in a parallel worker: its siblings have the other CPUs. One where there
 * is no backend that would end its threads (the postmaster, single-user mode).
 * Busy backends do not share yet: each may use all CPUs, and a helper thread
 * that is not scheduled is not waited for.
 */
int
embed_thread_count(void)
{
	static bool registered = false;
	int			n;

	if (embed_guc_threads == 1 || !IsUnderPostmaster || MyProc == NULL || IsParallelWorker())
		return 1;
	n = emb_threads_available();
	if (embed_guc_threads > 0)
		n = Min(n, embed_guc_threads);
	if (n > 1 && !registered)
	{
		on_proc_exit(stop_threads, (Datum) 0);
		registered = true;
	}
	return n;
}
