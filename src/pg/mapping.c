/*
 * mapping.c
 *		Read-only mappings of image files, and what happens when a page of one
 *		cannot be read.
 *
 * The signal handler runs on the thread that touched the page, which may be a
 * helper of the pool: it calls mmap and sigaction only, and its table is
 * changed only while no helper computes. It puts zeros in place of the whole
 * mapping, so that there is one fault and not one per page, and the core goes
 * on until it asks its stop callback. The core keeps within bounds on any
 * bytes: tables were checked against their sizes when the image was opened,
 * and zeros index nothing else (test/t/021_damage.pl cuts files under every
 * kind of call).
 */
#include "pg/mapping.h"

#include <signal.h>
#include <sys/mman.h>

/* A mapping beyond these is not guarded; nobody maps as many models. */
#define N_WATCHED	64

typedef struct Watched
{
	char	   *volatile addr;	/* NULL: free */
	volatile size_t size_bytes;
	volatile int prot;
	volatile bool is_image;		/* lost, it is an ERROR */
	volatile sig_atomic_t lost;
} Watched;

static Watched watched[N_WATCHED];
static volatile sig_atomic_t any_lost = 0;
static bool has_handler = false;
static struct sigaction previous_action;

/* Not ours: whoever was here before, else the default, when the instruction faults again. */
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
		/* sent by a process: nothing faults again */
		if (info->si_code <= 0)
			(void) raise(signo);
	}
}

static void
page_lost(int signo, siginfo_t *info, void *context)
{
	int			save_errno = errno;
	const char *at = info->si_addr;

	for (int i = 0; info->si_code > 0 && i < N_WATCHED; i++)
	{
		char	   *addr = watched[i].addr;

		if (addr == NULL || at < addr || at >= addr + watched[i].size_bytes)
			continue;
		if (mmap(addr, watched[i].size_bytes, watched[i].prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
				 -1, 0) == MAP_FAILED)
			break;
		watched[i].lost = 1;
		if (watched[i].is_image)
			any_lost = 1;
		errno = save_errno;
		return;
	}
	pass_on(signo, info, context);
	errno = save_errno;
}

/* Once per process, at its first mapping: a backend that embeds nothing keeps its signals as they are. */
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

static int
watch(char *addr, size_t size_bytes, int prot, bool is_image)
{
	for (int i = 0; i < N_WATCHED; i++)
	{
		if (watched[i].addr == NULL)
		{
			watched[i].size_bytes = size_bytes;
			watched[i].prot = prot;
			watched[i].is_image = is_image;
			watched[i].lost = 0;
			watched[i].addr = addr;
			return i;
		}
	}
	return -1;
}

void
embed_map(EmbedMapping *mapping, int fd, size_t size_bytes, const char *path)
{
	struct stat st;
	void	   *addr;

	if (!install_handler())
		elog(ERROR, "sigaction(SIGBUS) failed: %m");
	if (fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	addr = mmap(NULL, size_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map file \"%s\" (%lld bytes): %m", path, (long long) size_bytes)));
	*mapping = (EmbedMapping) {
		.addr = addr, .size_bytes = size_bytes, .watch = watch(addr, size_bytes, PROT_READ, true),
		.device = st.st_dev, .inode = st.st_ino, .modified = st.st_mtim
	};
}

void
embed_unmap(EmbedMapping *mapping)
{
	if (mapping->addr == NULL)
		return;
	if (mapping->watch >= 0)
		watched[mapping->watch].addr = NULL;
	(void) munmap(mapping->addr, mapping->size_bytes);
	mapping->addr = NULL;

	/* the last one that was lost */
	any_lost = 0;
	for (int i = 0; i < N_WATCHED; i++)
		any_lost |= watched[i].addr != NULL && watched[i].is_image && watched[i].lost;
}

bool
embed_mapping_is_current(const EmbedMapping *mapping, const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return true;
	return st.st_dev == mapping->device && st.st_ino == mapping->inode && st.st_size == (off_t) mapping->size_bytes
		&& st.st_mtim.tv_sec == mapping->modified.tv_sec && st.st_mtim.tv_nsec == mapping->modified.tv_nsec;
}

bool
embed_mapping_is_lost(const EmbedMapping *mapping)
{
	return mapping->addr != NULL && mapping->watch >= 0 && watched[mapping->watch].lost;
}

bool
embed_mappings_lost(void)
{
	return any_lost != 0;
}

int
embed_guard_begin(void *addr, size_t size_bytes, int prot)
{
	return install_handler() ? watch(addr, size_bytes, prot, false) : -1;
}

bool
embed_guard_is_lost(int guard)
{
	return watched[guard].lost != 0;
}

void
embed_guard_end(int guard)
{
	watched[guard].addr = NULL;
}
