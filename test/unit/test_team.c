/*
 * test_team.c
 *		Every piece runs once, on whatever threads there are; helpers sleep
 *		between calls, can be ended and started again; the count of CPUs.
 */
#include "unit.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "threads/cpus.h"
#include "threads/team.h"

#define N_PIECES 1000

static _Atomic int n_runs[N_PIECES];
static _Atomic int n_unblocked;
static _Atomic int worker_max;

static void
piece(void *ctx, int32_t i, int32_t worker)
{
	sigset_t	blocked;

	(void) ctx;
	atomic_fetch_add(&n_runs[i], 1);
	if (worker > atomic_load(&worker_max))
		atomic_store(&worker_max, worker);
	if (worker > 0 && pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0 &&
		(!sigismember(&blocked, SIGINT) || !sigismember(&blocked, SIGALRM) || !sigismember(&blocked, SIGUSR1)))
		atomic_fetch_add(&n_unblocked, 1);
}

/* n_regions of n_pieces on n_threads: each piece once a region. */
static void
check_regions(int n_threads, int n_regions, int n_pieces)
{
	EmbTeam		team;
	int			n_wrong = 0;

	memset((void *) n_runs, 0, sizeof(n_runs));
	atomic_store(&worker_max, 0);
	emb_team_join(&team, n_threads);
	CHECKF(team.n_workers >= 1 && team.n_workers <= (n_threads < 1 ? 1 : n_threads), "%d workers", (int) team.n_workers);
	for (int i = 0; i < n_regions; i++)
		emb_team_run(&team, n_pieces, piece, NULL);
	CHECK(worker_max < team.n_workers);
	emb_team_leave(&team);
	for (int i = 0; i < n_pieces; i++)
		n_wrong += n_runs[i] != n_regions;
	CHECKF(n_wrong == 0, "%d of %d pieces on %d threads", n_wrong, n_pieces, n_threads);
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* The CPU time of 0.2 s without work. */
static double
idle_seconds(void)
{
	double		before;

	check_regions(4, 10, 100);
	usleep(10000);
	before = cpu_seconds();
	usleep(200000);
	return cpu_seconds() - before;
}

/* Asleep, not spinning, which would cost 4 x 0.2 s each time; on a busy machine helpers may go to sleep late. */
static void
check_idle(void)
{
	double		least = idle_seconds();

	for (int i = 1; i < 5 && least >= 0.02; i++)
		least = fmin(least, idle_seconds());
	CHECKF(least < 0.02, "%g s of CPU while idle", least);
}

static void *
other_call(void *arg)
{
	(void) arg;
	for (int i = 0; i < 200; i++)
	{
		EmbTeam		team;
		_Atomic int count = 0;

		(void) count;
		emb_team_join(&team, 3);
		emb_team_run(&team, 20, piece, NULL);
		emb_team_leave(&team);
	}
	return NULL;
}

static _Atomic int n_waits;
static _Atomic bool helper_works;

static void
while_waiting(void *ctx)
{
	(void) ctx;
	n_waits++;
}

/* A helper that works until the caller, with nothing left to do, was called twice; gives up after 10 s. */
static void
patient_piece(void *ctx, int32_t i, int32_t worker)
{
	(void) ctx;
	(void) i;
	if (worker == 0)
	{
		for (int j = 0; !helper_works && j < 1000; j++)
			usleep(10000);
		return;
	}
	helper_works = true;
	for (int j = 0; n_waits < 2 && j < 1000; j++)
		usleep(10000);
}

static void
check_waiting(void)
{
	EmbTeam		team;

	emb_team_join(&team, 2);
	if (team.n_workers < 2)
	{
		skip("no second thread here");
		return;
	}
	team.while_waiting = while_waiting;
	emb_team_run(&team, 2, patient_piece, NULL);
	emb_team_leave(&team);
	CHECKF(n_waits >= 2, "%d calls", n_waits);
}

/* Two calls at once: one has the team, the other works alone. */
static void
check_two_callers(void)
{
	pthread_t	other;
	int			n_wrong = 0;

	memset((void *) n_runs, 0, sizeof(n_runs));
	CHECK(pthread_create(&other, NULL, other_call, NULL) == 0);
	other_call(NULL);
	pthread_join(other, NULL);
	for (int i = 0; i < 20; i++)
		n_wrong += n_runs[i] != 400;
	CHECK(n_wrong == 0);
}

static void
check_fork(void)
{
	int			status = -1;
	pid_t		child;

	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		EmbTeam		team;

		alarm(20);
		memset((void *) n_runs, 0, sizeof(n_runs));
		emb_team_join(&team, 3);
		emb_team_run(&team, 100, piece, NULL);
		emb_team_leave(&team);
		emb_team_stop();
		for (int i = 0; i < 100; i++)
			if (n_runs[i] != 1)
				_exit(1);
		_exit(0);
	}
	waitpid(child, &status, 0);
	CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

static void
put_file(const char *root, const char *name, const char *text)
{
	char		path[512];
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *p = path + 1; *p != '\0'; p++)
		if (*p == '/')
		{
			*p = '\0';
			mkdir(path, 0700);
			*p = '/';
		}
	f = fopen(path, "w");
	if (f != NULL)
	{
		fputs(text, f);
		fclose(f);
	}
}

static void
check_cpus(void)
{
	char		root[] = "/tmp/embed-cpus-XXXXXX";
	char		command[128];
	int			all = emb_cpus_read("/nonexistent");

	if (!CHECK(mkdtemp(root) != NULL))
		return;
	CHECK(all >= 1 && emb_cpus_read(root) == all);
	put_file(root, "proc/self/cgroup", "0::/a/b\n");
	put_file(root, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	CHECK(emb_cpus_read(root) == all);
	put_file(root, "sys/fs/cgroup/a/cpu.max", "100000 100000\n");
	CHECKF(emb_cpus_read(root) == 1, "%d", (int) emb_cpus_read(root));
	put_file(root, "sys/fs/cgroup/a/cpu.max", "50000 100000\n");
	CHECK(emb_cpus_read(root) == 1);
	put_file(root, "sys/fs/cgroup/a/cpu.max", "150000 100000\n");
	CHECK(emb_cpus_read(root) == (all < 2 ? all : 2));
	put_file(root, "proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/1\n");
	put_file(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
	put_file(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
	CHECK(emb_cpus_read(root) == all);
	put_file(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "99000\n");
	CHECK(emb_cpus_read(root) == 1);
	put_file(root, "proc/self/cgroup", "nonsense\n\n::\n");
	CHECK(emb_cpus_read(root) == all);
	CHECK(emb_cpus_usable() >= 1 && emb_cpus_usable() <= all);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	CHECK(system(command) == 0);
}

int
main(void)
{
	check_regions(1, 3, 10);
	check_regions(0, 3, 10);
	check_regions(2, 2000, 3);
	check_regions(2, 200, N_PIECES);
	check_regions(7, 500, 40);
	check_regions(3, 500, 1);
	check_regions(1000, 20, 500);
	CHECK(n_unblocked == 0);
	emb_team_stop();
	emb_team_stop();
	check_regions(4, 100, 50);
	check_waiting();
	check_two_callers();
	check_fork();
	check_idle();
	emb_team_stop();
	check_cpus();
	return done_testing();
}
