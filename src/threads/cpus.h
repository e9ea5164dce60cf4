/*
 * cpus.h
 *		The number of CPUs this process may keep busy.
 *
 * The affinity mask, limited by the CPU quota of every cgroup of the process
 * (version 2: cpu.max of its group and all parents; version 1:
 * cpu.cfs_quota_us), rounded up; at least 1. Read again at most once a second.
 */
#ifndef EMB_THREADS_CPUS_H
#define EMB_THREADS_CPUS_H

#include <stdint.h>

extern int32_t emb_cpus_usable(void);

/* The same without the cached value; root: prefix of the paths, "" except in tests. */
extern int32_t emb_cpus_read(const char *root);

#endif
