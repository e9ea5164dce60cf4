/*
 * cpus.h
 *		How many CPUs this process may keep busy.
 *
 * The affinity mask, cut by the CPU quota of every cgroup the process is in
 * (version 2: cpu.max of its group and all above; version 1:
 * cpu.cfs_quota_us), rounded up; at least 1. Read again at most once a second.
 */
#ifndef EMB_THREADS_CPUS_H
#define EMB_THREADS_CPUS_H

#include <stdint.h>

extern int32_t emb_cpus_usable(void);

/* The same without the memory of a second ago; root: where to look, "" in earnest (for tests). */
extern int32_t emb_cpus_read(const char *root);

#endif
