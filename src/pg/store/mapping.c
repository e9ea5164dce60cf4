/*
 * mapping.c
 *		Read-only mappings of image files, and the handling of pages that
 *		cannot be read.
 *
 * The signal handler runs on the thread that touched the page, which may be a
 * worker thread. So it calls only mmap and sigaction, and its table changes
 * only while no worker thread computes. It replaces the whole mapping by
 * zeros, so that there is one fault instead of one per page, and the core
 * continues until it polls its stop callback. The core stays within bounds on
 * any bytes: tables were checked against their sizes when the image was
 * opened, and neither zeros nor other bytes written by somebody index anything
 * else (test/t/021_damage.pl changes files under every kind of call,
 * test/unit/test_changed_image.c images under every call of the core).
 */
#include "pg/store/mapping.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "port/atomics.h"
#include "storage/fd.h"

/* Watches per segment; one segment is enough for nearly all backends. */
#define N_PLACES	64

/* A check of an image polls once a megabyte at most (image_check.c). */
#define POLLS_PER_DROP	32

struct EmbedWatch
{
	char	   *volatile addr;	/* NULL: free */
	volatile size_t size_bytes;
	volatile int prot;
	volatile bool is_image;		/* loss raises an ERROR */
	volatile bool noted;		/* loss already reported */
	volatile sig_atomic_t lost;
};

/*
 * The handler may run at any time on any thread. So a segment is never moved
 * or freed, and a new segment is complete before one store publishes it.
 */
typedef struct Segment
{
	EmbedWatch	places[N_PLACES];
	struct Segment *_Atomic next;
} Segment;

static Segment first_segment;
static volatile sig_atomic_t any_lost = 0;
static bool has_handler = false;
static struct sigaction previous_action;

static Segment *
next_segment(Segment *segment)
{
	return atomic_load_explicit(&segment->next, memory_order_acquire);
}

/*
 * Not our fault address: calls the previous handler, else restores the
 * default, which acts when the instruction faults again.
 */
static void
pass_on(int signo, siginfo_t *info, void *context)
{
	if ((previous_action.sa_flags & SA_SIGINFO) != 0)
		previous_action.sa_sigaction(signo, info, context);
	else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN)
		previous_action.sa_handler(signo);
	else
	{
		struct sigaction action = {.sa_handler = SIG_DFL};

		(void) sigaction(signo, &action, NULL);
		/* sent by a process: nothing will fault again */
		if (info->si_code <= 0)
			(void) raise(signo);
	}
}

/* The watched mapping that contains at, or NULL. */
static EmbedWatch *
find_watch(const char *at)
{
	for (Segment *segment = &first_segment; segment != NULL; segment = next_segment(segment))
	{
		for (int i = 0; i < N_PLACES; i++)
		{
			char	   *addr = segment->places[i].addr;

			if (addr != NULL && at >= addr && at < addr + segment->places[i].size_bytes)
				return &segment->places[i];
		}
	}
	return NULL;
}

static void
page_lost(int signo, siginfo_t *info, void *context)
{
	int			save_errno = errno;
	EmbedWatch *watch = info->si_code > 0 ? find_watch(info->si_addr) : NULL;

	if (watch != NULL &&
		mmap(watch->addr, watch->size_bytes, watch->prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
			 -1, 0) != MAP_FAILED)
	{
		watch->lost = 1;
		if (watch->is_image)
			any_lost = 1;
	}
	else
		pass_on(signo, info, context);
	errno = save_errno;
}

/*
 * Installs the handler once per process, at its first mapping: a backend that
 * embeds nothing keeps its signal handlers.
 */
static bool
install_handler(void)
{
	struct sigaction action = {.sa_sigaction = page_lost, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	if (has_handler)
		return true;
	sigemptyset(&action.sa_mask);
	has_handler = sigaction(SIGBUS, &action, &previous_action) == 0;
	return has_handler;
}

/* A free watch, in a new segment if all are taken; NULL if memory is lacking. */
static EmbedWatch *
find_place(void)
{
	Segment    *segment = &first_segment;
	Segment    *more;

	for (;; segment = next_segment(segment))
	{
		for (int i = 0; i < N_PLACES; i++)
		{
			if (segment->places[i].addr == NULL)
				return &segment->places[i];
		}
		if (next_segment(segment) == NULL)
			break;
	}
	/* not palloc'd: the handler on a worker thread may read it until the process ends */
	more = calloc(1, sizeof(Segment));
	if (more == NULL)
		return NULL;
	atomic_store_explicit(&segment->next, more, memory_order_release);
	return &more->places[0];
}

/* From here on the handler knows the mapping. */
static void
fill_place(EmbedWatch *watch, char *addr, size_t size_bytes, int prot, bool is_image)
{
	watch->size_bytes = size_bytes;
	watch->prot = prot;
	watch->is_image = is_image;
	watch->noted = false;
	watch->lost = 0;
	pg_write_barrier();
	watch->addr = addr;
}

/* A descriptor that stays open with the mapping, or -1 if the server may open no more. */
static int
keep_descriptor(int fd)
{
	int			kept;

	if (!AcquireExternalFD())
		return -1;
	kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (kept < 0)
		ReleaseExternalFD();
	return kept;
}

void
embed_map(EmbedMapping *mapping, int fd, size_t size_bytes, const char *path)
{
	struct stat st;
	EmbedWatch *watch;
	void	   *addr;

	if (!install_handler())
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not install a handler of lost pages (SIGBUS): %m")));
	if (fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	/* a watch first: nothing is mapped unguarded */
	watch = find_place();
	if (watch == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Could not guard the mapping of file \"%s\".", path)));
	addr = mmap(NULL, size_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map file \"%s\" (%lld bytes): %m", path, (long long) size_bytes)));
	fill_place(watch, addr, size_bytes, PROT_READ, true);
	*mapping = (EmbedMapping) {
		.addr = addr, .size_bytes = size_bytes, .watch = watch, .fd = keep_descriptor(fd),
		.device = st.st_dev, .inode = st.st_ino, .modified = st.st_mtim
	};
	strlcpy(mapping->path, path, sizeof(mapping->path));
}

/* Sets any_lost from the mappings that are still watched and unreported. */
static void
count_lost(void)
{
	any_lost = 0;
	for (Segment *segment = &first_segment; segment != NULL; segment = next_segment(segment))
	{
		for (int i = 0; i < N_PLACES; i++)
		{
			const EmbedWatch *watch = &segment->places[i];

			any_lost |= watch->addr != NULL && watch->is_image && watch->lost && !watch->noted;
		}
	}
}

void
embed_unmap(EmbedMapping *mapping)
{
	void	   *addr = mapping->addr;

	if (addr == NULL)
		return;
	mapping->addr = NULL;
	mapping->watch->addr = NULL;
	(void) munmap(addr, mapping->size_bytes);
	if (mapping->fd >= 0)
	{
		(void) close(mapping->fd);
		ReleaseExternalFD();
	}
	/* this was the last lost mapping */
	if (any_lost)
		count_lost();
}

/* A check in progress. */
typedef struct Check
{
	const EmbedMapping *mapping;
	EmbStop		stop;
	int			n_polls;
} Check;

static bool
drop_pages_and_poll(void *ctx)
{
	Check	   *check = ctx;

	/* if it fails, the pages stay */
	if (++check->n_polls % POLLS_PER_DROP == 0)
		(void) madvise(check->mapping->addr, check->mapping->size_bytes, MADV_DONTNEED);
	return emb_should_stop(&check->stop);
}

EmbStatus
embed_mapping_open_checked(const EmbedMapping *mapping, const EmbAllocator *mem, EmbModel **model, EmbError *err)
{
	Check		check = {.mapping = mapping, .stop = embed_stop()};
	EmbStop		stop = {&check, drop_pages_and_poll};

	return emb_model_open(mapping->addr, mapping->size_bytes, EMB_OPEN_CHECK_ALL, mem, &stop, model, err);
}

static bool
is_unchanged(const EmbedMapping *mapping, const struct stat *st)
{
	return st->st_size == (off_t) mapping->size_bytes && st->st_mtim.tv_sec == mapping->modified.tv_sec
		&& st->st_mtim.tv_nsec == mapping->modified.tv_nsec;
}

static bool
is_same_file(const EmbedMapping *mapping, const struct stat *st)
{
	return st->st_dev == mapping->device && st->st_ino == mapping->inode;
}

bool
embed_mapping_is_current(const EmbedMapping *mapping)
{
	struct stat st;

	if (embed_mapping_is_damaged(mapping))
		return false;
	return mapping->is_private || lstat(mapping->path, &st) != 0 || is_same_file(mapping, &st);
}

/* Does not use the inode's change time, because each link and unlink changes it, too. */
static bool
has_changed(const EmbedMapping *mapping)
{
	struct stat st;

	if (mapping->fd >= 0)
		return fstat(mapping->fd, &st) != 0 || !is_unchanged(mapping, &st);
	/* by name; another file at this name says nothing about this one */
	return lstat(mapping->path, &st) == 0 && is_same_file(mapping, &st) && !is_unchanged(mapping, &st);
}

bool
embed_mapping_is_damaged(const EmbedMapping *mapping)
{
	return mapping->addr != NULL && (mapping->watch->lost || has_changed(mapping));
}

void
embed_mapping_note_damage(EmbedMapping *mapping)
{
	if (mapping->addr == NULL)
		return;
	if (mapping->fd >= 0)
		(void) futimens(mapping->fd, NULL);
	mapping->watch->noted = true;
	if (any_lost)
		count_lost();
}

bool
embed_mapping_is_lost(const EmbedMapping *mapping)
{
	return mapping->addr != NULL && mapping->watch->lost && !mapping->watch->noted;
}

bool
embed_mappings_lost(void)
{
	return any_lost != 0;
}

EmbedWatch *
embed_guard_begin(void *addr, size_t size_bytes, int prot)
{
	EmbedWatch *watch = install_handler() ? find_place() : NULL;

	if (watch != NULL)
		fill_place(watch, addr, size_bytes, prot, false);
	return watch;
}

bool
embed_guard_is_lost(const EmbedWatch *guard)
{
	return guard->lost != 0;
}

void
embed_guard_end(EmbedWatch *guard)
{
	guard->addr = NULL;
}
