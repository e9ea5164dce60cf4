/*
 * cpus.c
 *		The number of CPUs this process may keep busy.
 */
#include "threads/cpus.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATH_BYTES 4096

static int32_t
cpus_of_affinity(void)
{
	cpu_set_t	set;

	/* fails on machines with more than 1,024 CPUs */
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1024;
	return CPU_COUNT(&set);
}

/* The two numbers in a file; false if the file is missing or sets no limit. */
static bool
read_numbers(const char *path, const char *format, double *a, double *b)
{
	FILE	   *f = fopen(path, "re");
	bool		ok;

	if (f == NULL)
		return false;
	ok = fscanf(f, format, a, b) == (b != NULL ? 2 : 1);
	fclose(f);
	return ok;
}

static int32_t
cpus_of_quota(double quota, double period)
{
	double		cpus = quota / period;

	if (!(quota > 0 && period > 0) || cpus > 1024)
		return 1024;
	return (int32_t) cpus + (cpus > (int32_t) cpus);
}

/* The smallest quota of dir and its parents, up to mount. */
static int32_t
least_quota(const char *mount, const char *group, bool v2)
{
	char		dir[PATH_BYTES];
	char		path[PATH_BYTES + 32];
	size_t		mount_bytes = strlen(mount);
	int32_t		least = 1024;

	snprintf(dir, sizeof(dir), "%s%s", mount, group);
	for (;;)
	{
		double		quota,
					period;
		int32_t		n = 1024;
		char	   *slash;

		snprintf(path, sizeof(path), v2 ? "%s/cpu.max" : "%s/cpu.cfs_quota_us", dir);
		if (v2)
		{
			/* "max 100000" has no number at the start */
			if (read_numbers(path, "%lf %lf", &quota, &period))
				n = cpus_of_quota(quota, period);
		}
		else if (read_numbers(path, "%lf", &quota, NULL))
		{
			snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir);
			if (read_numbers(path, "%lf", &period, NULL))
				n = cpus_of_quota(quota, period);
		}
		if (n < least)
			least = n;
		slash = strlen(dir) > mount_bytes ? strrchr(dir, '/') : NULL;
		if (slash == NULL)
			return least;
		*slash = '\0';
	}
}

/* "0::/user.slice/x" (version 2) or "4:cpu,cpuacct:/x" (version 1), one line per hierarchy. */
static int32_t
quota_of_line(const char *root, char *line)
{
	char		mount[PATH_BYTES];
	char	   *controllers = strchr(line, ':');
	char	   *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');

	if (group == NULL)
		return 1024;
	*group++ = '\0';
	controllers++;
	group[strcspn(group, "\n")] = '\0';
	if (strcmp(group, "/") == 0)
		group[0] = '\0';
	if (controllers[0] == '\0')
	{
		snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root);
		return least_quota(mount, group, true);
	}
	if (strcmp(controllers, "cpu") != 0 && strncmp(controllers, "cpu,", 4) != 0 &&
		strstr(controllers, ",cpu,") == NULL &&
		(strlen(controllers) < 4 || strcmp(controllers + strlen(controllers) - 4, ",cpu") != 0))
		return 1024;
	snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/cpu", root);
	return least_quota(mount, group, false);
}

int32_t
emb_cpus_read(const char *root)
{
	int32_t		n = cpus_of_affinity();
	char		path[PATH_BYTES];
	char		line[PATH_BYTES];
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	f = fopen(path, "re");
	if (f != NULL)
	{
		while (fgets(line, sizeof(line), f) != NULL)
		{
			int32_t		quota = quota_of_line(root, line);

			if (quota < n)
				n = quota;
		}
		fclose(f);
	}
	return n < 1 ? 1 : n;
}

int32_t
emb_cpus_usable(void)
{
	/* seconds in the high half, the number of CPUs in the low half */
	static _Atomic uint64_t memory;
	uint64_t	last = atomic_load_explicit(&memory, memory_order_relaxed);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (last == 0 || (uint32_t) (last >> 32) != (uint32_t) now.tv_sec)
	{
		last = (uint64_t) (uint32_t) now.tv_sec << 32 | (uint32_t) emb_cpus_read("");
		atomic_store_explicit(&memory, last, memory_order_relaxed);
	}
	return (int32_t) (uint32_t) last;
}
