/*
 * team.c
 *		The worker threads of the process.
 *
 * A region (one emb_team_run) is open while its state word says so. A worker
 * thread enters an open region by counting itself into the word, takes parts
 * until none is left, and counts itself out. The caller takes parts too, then
 * closes the region and waits until nobody is inside. So a worker thread that
 * wakes too late finds the region closed and costs nothing. Only threads
 * counted in read the fields of the job.
 *
 * state: bits 0..15 worker threads inside, bit 16 open, bits 32..63 serial number.
 *
 * Measured before: OpenMP's runtime ends the process when a thread cannot be
 * created, and spins for milliseconds after every region.
 */
#include "threads/team.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernels/fpenv.h"

#define STATE_INSIDE	UINT64_C(0xFFFF)
#define STATE_OPEN		(UINT64_C(1) << 16)
#define STATE_SERIAL	(UINT64_C(1) << 32)

/*
 * Threads look for the next region for about 20 us, the time between two
 * regions of a layer, before they sleep.
 */
#define SPIN_LOOKS		1000

/* Interval between calls of while_waiting. */
#define WAITING_MS		5

/* gemm_i8_avx2 needs 150 KB, the others a few; the default of 8 MB counts against ulimit -v. */
#define STACK_BYTES		(512 * 1024)

static struct
{
	pthread_mutex_t in_use;		/* held by the call that uses the team */
	pid_t		pid;			/* the process that owns the threads; a forked child has none */
	int32_t		n_helpers;
	pthread_t	helpers[EMB_TEAM_MAX];

	_Atomic uint64_t state;
	_Atomic uint32_t wake;		/* futex: changes when a region opens or all threads must quit */
	_Atomic uint32_t n_asleep;
	_Atomic uint32_t left;		/* futex: changes when a worker thread leaves a closed region */
	_Atomic bool quit;

	/* the job of the open region */
	EmbTeamPart	part;
	void	   *ctx;
	int32_t		n_parts;
	int32_t		n_helpers_max;	/* worker threads with a higher number stay out */
	_Atomic int32_t next;
} threads = {.in_use = PTHREAD_MUTEX_INITIALIZER};

static inline void
relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile ("yield");
#endif
}

/* Waits until the word changes, at most until the timeout unless NULL. */
static void
futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *longest)
{
	syscall(SYS_futex, (uint32_t *) word, FUTEX_WAIT_PRIVATE, value, longest, NULL, 0);
}

static void
futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, (uint32_t *) word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void
take_parts(int32_t worker)
{
	int32_t		i;

	while ((i = atomic_fetch_add_explicit(&threads.next, 1, memory_order_relaxed)) < threads.n_parts)
		threads.part(threads.ctx, i, worker);
}

/* Counts the worker thread into the open region; false if there is none. */
static bool
enter_region(uint64_t *serial)
{
	uint64_t	state = atomic_load_explicit(&threads.state, memory_order_acquire);

	while (state & STATE_OPEN)
	{
		if (atomic_compare_exchange_weak_explicit(&threads.state, &state, state + 1,
												  memory_order_acq_rel, memory_order_acquire))
		{
			*serial = state / STATE_SERIAL;
			return true;
		}
	}
	return false;
}

static void
leave_region(void)
{
	uint64_t	state = atomic_fetch_sub_explicit(&threads.state, 1, memory_order_acq_rel);

	if (!(state & STATE_OPEN) && (state & STATE_INSIDE) == 1)
	{
		atomic_fetch_add_explicit(&threads.left, 1, memory_order_release);
		futex_wake(&threads.left);
	}
}

/* Looks for a region for a while, then sleeps until something changes. */
static void
await_region(uint64_t last_serial)
{
	uint32_t	wake = atomic_load_explicit(&threads.wake, memory_order_acquire);

	for (int i = 0; i < SPIN_LOOKS; i++)
	{
		uint64_t	state = atomic_load_explicit(&threads.state, memory_order_acquire);

		if (((state & STATE_OPEN) && state / STATE_SERIAL != last_serial) ||
			atomic_load_explicit(&threads.quit, memory_order_relaxed))
			return;
		relax();
	}
	atomic_fetch_add_explicit(&threads.n_asleep, 1, memory_order_seq_cst);
	futex_wait(&threads.wake, wake, NULL);
	atomic_fetch_sub_explicit(&threads.n_asleep, 1, memory_order_seq_cst);
}

static void *
helper_main(void *arg)
{
	int32_t		number = (int32_t) (intptr_t) arg;	/* 1 .. */
	uint64_t	serial = 0;

	while (!atomic_load_explicit(&threads.quit, memory_order_acquire))
	{
		uint64_t	entered;

		if (enter_region(&entered))
		{
			if (number <= threads.n_helpers_max && entered != serial)
			{
				EmbFpState	fp = emb_fp_enter();

				take_parts(number);
				emb_fp_leave(fp);
			}
			serial = entered;
			leave_region();
		}
		await_region(serial);
	}
	return NULL;
}

/* Starts worker threads until there are n; fewer if the system has no more threads. */
static void
start_helpers(int32_t n)
{
	pthread_attr_t attr;
	sigset_t	all,
				before;

	if (threads.n_helpers >= n || pthread_attr_init(&attr) != 0)
		return;
	(void) pthread_attr_setstacksize(&attr, STACK_BYTES);
	/*
	 * The host's signal handlers must never run on our threads, except for
	 * signals that the thread itself causes: if those were blocked, a page
	 * that cannot be read would end the process whatever handler the host has.
	 */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (threads.n_helpers < n &&
		   pthread_create(&threads.helpers[threads.n_helpers], &attr, helper_main,
						  (void *) (intptr_t) (threads.n_helpers + 1)) == 0)
		threads.n_helpers++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}

/* In a forked child the threads are gone, and so is their work. */
static void
forget_after_fork(void)
{
	if (threads.pid == getpid())
		return;
	threads.pid = getpid();
	threads.n_helpers = 0;
	atomic_store(&threads.state, 0);
	atomic_store(&threads.n_asleep, 0);
	atomic_store(&threads.quit, false);
}

void
emb_team_join(EmbTeam *team, int32_t n_threads)
{
	team->n_workers = 1;
	team->while_waiting = NULL;
	if (n_threads <= 1 || pthread_mutex_trylock(&threads.in_use) != 0)
		return;
	forget_after_fork();
	start_helpers((n_threads < EMB_TEAM_MAX ? n_threads : EMB_TEAM_MAX) - 1);
	team->n_workers = 1 + (threads.n_helpers < n_threads - 1 ? threads.n_helpers : n_threads - 1);
	if (team->n_workers == 1)
		pthread_mutex_unlock(&threads.in_use);
}

void
emb_team_leave(EmbTeam *team)
{
	if (team->n_workers > 1)
		pthread_mutex_unlock(&threads.in_use);
	team->n_workers = 1;
}

static void
open_region(int32_t n_workers, int32_t n_parts, EmbTeamPart part, void *ctx)
{
	uint64_t	state = atomic_load_explicit(&threads.state, memory_order_relaxed);

	threads.part = part;
	threads.ctx = ctx;
	threads.n_parts = n_parts;
	threads.n_helpers_max = n_workers - 1;
	atomic_store_explicit(&threads.next, 0, memory_order_relaxed);
	atomic_store_explicit(&threads.state, (state / STATE_SERIAL + 1) * STATE_SERIAL + STATE_OPEN,
						  memory_order_seq_cst);
	atomic_fetch_add_explicit(&threads.wake, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&threads.n_asleep, memory_order_seq_cst) > 0)
		futex_wake(&threads.wake);
}

/* Nobody enters any more; waits for the threads inside. */
static void
close_region(const EmbTeam *team)
{
	static const struct timespec interval = {.tv_nsec = WAITING_MS * 1000000};
	uint64_t	state = atomic_fetch_and_explicit(&threads.state, ~STATE_OPEN, memory_order_acq_rel);

	for (int i = 0; (state & STATE_INSIDE) != 0; i++)
	{
		uint32_t	left = atomic_load_explicit(&threads.left, memory_order_acquire);

		state = atomic_load_explicit(&threads.state, memory_order_acquire);
		if ((state & STATE_INSIDE) == 0)
			break;
		if (i < SPIN_LOOKS)
			relax();
		else
		{
			futex_wait(&threads.left, left, team->while_waiting == NULL ? NULL : &interval);
			if (team->while_waiting != NULL)
				team->while_waiting(team->waiting_ctx);
		}
	}
}

void
emb_team_run(const EmbTeam *team, int32_t n_parts, EmbTeamPart part, void *ctx)
{
	if (team->n_workers == 1 || n_parts <= 1)
	{
		for (int32_t i = 0; i < n_parts; i++)
			part(ctx, i, 0);
		return;
	}
	open_region(team->n_workers, n_parts, part, ctx);
	take_parts(0);
	close_region(team);
}

void
emb_team_stop(void)
{
	pthread_mutex_lock(&threads.in_use);
	forget_after_fork();
	atomic_store_explicit(&threads.quit, true, memory_order_seq_cst);
	atomic_fetch_add_explicit(&threads.wake, 1, memory_order_seq_cst);
	futex_wake(&threads.wake);
	for (int32_t i = 0; i < threads.n_helpers; i++)
		pthread_join(threads.helpers[i], NULL);
	threads.n_helpers = 0;
	atomic_store_explicit(&threads.quit, false, memory_order_seq_cst);
	pthread_mutex_unlock(&threads.in_use);
}
