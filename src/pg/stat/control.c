/*
 * control.c
 *		The control file: shares data between the backends of a cluster
 *		without shared_preload_libraries.
 *
 *		     0	header		see ControlHeader
 *		  4096	slots		[N_SLOTS] of 8 bytes: one for each PGPROC
 *		135168	entries		[EMBED_CONTROL_ENTRIES] of 512 bytes: see EmbedStatEntry
 *		397312	fillers		[EMBED_FILLERS] of 64 bytes: see EmbedFiller
 *		413696	columns		[EMBED_FILL_COLUMNS] of 512 bytes: see EmbedFillColumn
 *		675840	progress	[EMBED_PROGRESS_ENTRIES] of 256 bytes: see EmbedProgressState
 *
 * Header: written once, before the file gets its name, except n_claims, which
 * changes under an flock on the file.
 *
 * Slots: slot i belongs to the process with the server's PGPROC number i. So
 * no two processes want the same slot, and slots need no claims. Only the
 * owner writes a process into its slot. Any process may clear a slot by
 * compare-and-swap if its process is not the current process of PGPROC i: that
 * process was killed. (If the PID was reused, the new process's start time is
 * later than the slot's start of work.) Readers take words as they find them:
 * a wrong word costs one thread too many or too few in one computation.
 *
 * Entries: see EmbedStatEntry. No process waits for the flock. Fillers and
 * columns are claimed by compare-and-swap, and all their fields are hints
 * (fill_state.h). So is progress (progress_state.h).
 *
 * The file: created under another name, then linked, so that it is always
 * complete. Once a second each user checks whether the name still stands for
 * the mapped file and the header is unchanged. If not, the user maps the file
 * again, or replaces a damaged file by a new one. Two processes that do this
 * at the same time agree a second later. A file truncated during use reads as
 * zeros (mapping.h). Nothing is synced: after a crash of the machine any
 * content is acceptable.
 *
 * The number of slots does not depend on max_connections; otherwise raising
 * this setting would lose the counters. Other processes do not see processes
 * beyond the last slot.
 */
#include "pg/stat/control.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <common/file_perm.h>		/* the server's, not ours */
#include <common/hashfn.h>
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "pg/stat/fill_state.h"
#include "pg/stat/progress_state.h"
#include "pg/store/image_file.h"
#include "pg/store/mapping.h"

#define CONTROL_PATH	EMBED_IMAGE_ROOT "/control.v3"
#define CONTROL_MAGIC	"EMBCTRL"
#define N_SLOTS			16384
#define SLOTS_OFFSET	4096
#define ENTRIES_OFFSET	(SLOTS_OFFSET + N_SLOTS * sizeof(uint64))
#define FILLERS_OFFSET	(ENTRIES_OFFSET + EMBED_CONTROL_ENTRIES * sizeof(EmbedStatEntry))
#define COLUMNS_OFFSET	(FILLERS_OFFSET + EMBED_FILLERS * sizeof(EmbedFiller))
#define PROGRESS_OFFSET	(COLUMNS_OFFSET + EMBED_FILL_COLUMNS * sizeof(EmbedFillColumn))
#define CONTROL_BYTES	(PROGRESS_OFFSET + EMBED_PROGRESS_ENTRIES * sizeof(EmbedProgressState))

#define REFRESH_MS		1000

/*
 * Others count a backend as busy for this long after a computation: between
 * two texts of a query the backend reads, tokenizes and sends, and the next
 * text would find its CPU taken.
 */
#define GRACE_MS		5

typedef struct ControlHeader
{
	char		magic[8];
	uint32		n_slots;
	uint32		n_entries;
	uint64		size_bytes;
	int64		created;		/* TimestampTz */
	uint64		check;			/* hash of all before it */
	_Atomic uint64 n_claims;	/* serial of the last claimed entry */
} ControlHeader;

StaticAssertDecl(offsetof(ControlHeader, check) == 32 && sizeof(ControlHeader) == 48, "layout of the control file");
StaticAssertDecl(ENTRIES_OFFSET == 135168 && FILLERS_OFFSET == 397312 && COLUMNS_OFFSET == 413696 &&
				 PROGRESS_OFFSET == 675840, "layout of the control file");

static struct
{
	char	   *addr;			/* NULL: not mapped */
	dev_t		dev;
	ino_t		ino;
	EmbedWatch *guard;			/* of the mapping */
	uint64		number;			/* counts mappings */
	uint64		checked_ms;		/* 0: never */
} control;

uint64
embed_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---------------------------------------------------------------- file */

static uint64
header_check(const ControlHeader *header)
{
	return hash_bytes_extended((const unsigned char *) header, offsetof(ControlHeader, check), 0);
}

static bool
header_is_good(const ControlHeader *header)
{
	return memcmp(header->magic, CONTROL_MAGIC, sizeof(header->magic)) == 0 &&
		header->n_slots == N_SLOTS && header->n_entries == EMBED_CONTROL_ENTRIES &&
		header->size_bytes == CONTROL_BYTES && header->check == header_check(header);
}

static void
detach(void)
{
	if (control.addr == NULL)
		return;
	embed_guard_end(control.guard);
	(void) munmap(control.addr, CONTROL_BYTES);
	control.addr = NULL;
}

static int
open_control(void)
{
	/* O_NONBLOCK: the path may be a FIFO */
	return open(CONTROL_PATH, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* Maps the file if it is ours and complete; *absent: there is no file. */
static bool
map_control(bool *absent)
{
	int			fd = open_control();
	ControlHeader header;
	struct stat st;

	*absent = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == CONTROL_BYTES &&
		pread(fd, &header, sizeof(header), 0) == sizeof(header) && header_is_good(&header))
	{
		char	   *addr = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		control.guard = addr != MAP_FAILED ? embed_guard_begin(addr, CONTROL_BYTES, PROT_READ | PROT_WRITE) : NULL;
		if (control.guard != NULL)
		{
			control.addr = addr;
			control.dev = st.st_dev;
			control.ino = st.st_ino;
			control.number++;
		}
		else if (addr != MAP_FAILED)
			(void) munmap(addr, CONTROL_BYTES);
	}
	close(fd);
	return control.addr != NULL;
}

/* Reserves all blocks, so that a write to the mapping does not meet a full disk. */
static bool
fill_new(int fd)
{
	ControlHeader header;

	memset(&header, 0, sizeof(header));
	memcpy(header.magic, CONTROL_MAGIC, sizeof(header.magic));
	header.n_slots = N_SLOTS;
	header.n_entries = EMBED_CONTROL_ENTRIES;
	header.size_bytes = CONTROL_BYTES;
	header.created = GetCurrentTimestamp();
	header.check = header_check(&header);
	return posix_fallocate(fd, 0, CONTROL_BYTES) == 0 && pwrite(fd, &header, sizeof(header), 0) == sizeof(header);
}

/* The writer's flock keeps sweepers away. replace: the existing file is damaged. */
static void
create_control(bool replace)
{
	char		path[MAXPGPATH];
	int			fd;

	(void) MakePGDirectory(EMBED_IMAGE_ROOT);
	/* in the folder where sweepers remove temporary files of dead processes */
	snprintf(path, sizeof(path), "%s/%u", EMBED_IMAGE_ROOT, MyDatabaseId);
	(void) MakePGDirectory(path);
	snprintf(path, sizeof(path), "%s/%u/control.%d.tmp", EMBED_IMAGE_ROOT, MyDatabaseId, MyProcPid);
	(void) unlink(path);		/* left by a dead process with our PID */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fill_new(fd))
	{
		/*
		 * link does not replace a file that another process created first; the
		 * mapping step checks what is there
		 */
		int			rc = replace ? rename(path, CONTROL_PATH) : link(path, CONTROL_PATH);

		/* of an earlier version of this library */
		if (rc == 0)
			(void) unlink(EMBED_IMAGE_ROOT "/control.v2");
	}
	(void) unlink(path);
	close(fd);
}

static bool
is_lost(void)
{
	return control.addr != NULL && embed_guard_is_lost(control.guard);
}

static bool
mapping_is_current(void)
{
	struct stat st;

	return !is_lost() && lstat(CONTROL_PATH, &st) == 0 && st.st_dev == control.dev && st.st_ino == control.ino &&
		st.st_size == CONTROL_BYTES && header_is_good((const ControlHeader *) control.addr);
}

static void clear_impostors(uint64 now_ms);

void
embed_control_refresh(uint64 now_ms)
{
	bool		absent;

	if (likely(!is_lost() && control.checked_ms != 0 && now_ms - control.checked_ms < REFRESH_MS))
		return;
	if (!IsUnderPostmaster || MyProc == NULL)
		return;
	control.checked_ms = now_ms;
	if (control.addr != NULL && !mapping_is_current())
		detach();
	if (control.addr == NULL && !map_control(&absent) && OidIsValid(MyDatabaseId))
	{
		create_control(!absent);
		(void) map_control(&absent);
	}
	clear_impostors(now_ms);
}

uint64
embed_control_mapping(void)
{
	return control.addr != NULL && !is_lost() ? control.number : 0;
}

/* --------------------------------------------------------------- slots */

/* bits 32..63 pid, 1..31 milliseconds, 0 computing; 0: nobody */
#define SLOT_COMPUTING	UINT64CONST(1)
#define SLOT_MS_MASK	UINT64CONST(0x7FFFFFFF)

static _Atomic uint64 *
slot_at(int i)
{
	return (_Atomic uint64 *) (control.addr + SLOTS_OFFSET) + i;
}

/* Number of this process's slot, or -1. */
static int
own_slot(void)
{
	ptrdiff_t	i = MyProc != NULL ? MyProc - ProcGlobal->allProcs : -1;

	return control.addr != NULL && i < N_SLOTS ? (int) i : -1;
}

static int
n_slots_used(void)
{
	return (int) Min(ProcGlobal->allProcCount, N_SLOTS);
}

static void
write_slot(uint64 now_ms, uint64 computing)
{
	int			i = own_slot();

	if (i >= 0)
		atomic_store_explicit(slot_at(i), (uint64) (uint32) MyProcPid << 32 | (now_ms & SLOT_MS_MASK) << 1 | computing,
							  memory_order_relaxed);
}

void
embed_control_busy(uint64 now_ms)
{
	write_slot(now_ms, SLOT_COMPUTING);
}

void
embed_control_idle(uint64 now_ms)
{
	write_slot(now_ms, 0);
}

static uint64
slot_age_ms(uint64 word, uint64 now_ms)
{
	return (now_ms - (word >> 1)) & SLOT_MS_MASK;
}

static void
clear_slot(int i, uint64 word)
{
	(void) atomic_compare_exchange_strong_explicit(slot_at(i), &word, 0,
												   memory_order_relaxed, memory_order_relaxed);
}

/* Whether the process of slot i is busy; clears the slot of a dead process. */
static bool
slot_is_busy(int i, uint64 now_ms)
{
	uint64		word = atomic_load_explicit(slot_at(i), memory_order_relaxed);
	uint64		age;

	if (word == 0)
		return false;
	if (*(volatile int *) &ProcGlobal->allProcs[i].pid != (int) (word >> 32))
	{
		clear_slot(i, word);
		return false;
	}
	age = slot_age_ms(word, now_ms);
	/* a later time than ours was written in the meantime */
	return (word & SLOT_COMPUTING) != 0 || age <= GRACE_MS || age > SLOT_MS_MASK / 2;
}

/* Other busy backends, at most n_cpus; *n_before: those with slots before ours. */
static int
count_others(int own, int n_cpus, uint64 now_ms, int *n_before)
{
	int			n_slots = n_slots_used();
	int			n_others = 0;

	*n_before = 0;
	for (int i = 0; i < n_slots && n_others < n_cpus; i++)
	{
		if (i == own || !slot_is_busy(i, now_ms))
			continue;
		n_others++;
		*n_before += i < own;
	}
	return n_others;
}

int
embed_control_rest(int n_cpus, uint64 now_ms)
{
	int			own = own_slot();
	int			n_before;

	if (n_cpus <= 1 || own < 0)
		return n_cpus;
	return Max(n_cpus - count_others(own, n_cpus, now_ms, &n_before), 1);
}

int
embed_control_share(int n_cpus, uint64 now_ms)
{
	int			own = own_slot();
	int			n_others;
	int			n_before;
	int			share;

	if (n_cpus <= 1 || own < 0)
		return n_cpus;
	n_others = count_others(own, n_cpus, now_ms, &n_before);
	/* the first backends get the remainder */
	share = n_cpus / (n_others + 1) + (n_before < n_cpus % (n_others + 1));
	return Max(share, 1);
}

int64
embed_birth_of_process(int pid)
{
	char		path[64];
	char		stat[1024];
	const char *p;
	unsigned long long ticks;
	ssize_t		n;
	int			fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	stat[n] = '\0';
	/*
	 * the name, in parentheses, may hold any characters; the state after the
	 * name is field 3, the start time is field 22
	 */
	p = strrchr(stat, ')');
	if (p == NULL ||
		sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1)
		return -1;
	return (int64) (ticks * 1000 / sysconf(_SC_CLK_TCK));
}

/*
 * Clears slots that have been computing for long and whose process is another
 * one: the old process was killed, and the new one has its PID and its PGPROC
 * number.
 */
static void
clear_impostors(uint64 now_ms)
{
	struct timespec boot;
	int64		boot_ms;
	int			n_slots;

	if (control.addr == NULL || clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
		return;
	boot_ms = (int64) boot.tv_sec * 1000 + boot.tv_nsec / 1000000;
	n_slots = n_slots_used();
	for (int i = 0; i < n_slots; i++)
	{
		uint64		word = atomic_load_explicit(slot_at(i), memory_order_relaxed);
		int64		age = (int64) slot_age_ms(word, now_ms);

		if ((word & SLOT_COMPUTING) == 0 || age < REFRESH_MS || age > (int64) (SLOT_MS_MASK / 2))
			continue;
		/* allows an error of one tick on either side */
		if (embed_birth_of_process((int) (word >> 32)) > boot_ms - age + 20)
			clear_slot(i, word);
	}
}

/* ------------------------------------------------------------- entries */

EmbedStatEntry *
embed_control_entry_at(int i)
{
	if (embed_control_mapping() == 0)
		return NULL;
	return (EmbedStatEntry *) (control.addr + ENTRIES_OFFSET) + i;
}

EmbedFiller *
embed_control_fillers(void)
{
	return embed_control_mapping() != 0 ? (EmbedFiller *) (control.addr + FILLERS_OFFSET) : NULL;
}

EmbedFillColumn *
embed_control_fill_columns(void)
{
	return embed_control_mapping() != 0 ? (EmbedFillColumn *) (control.addr + COLUMNS_OFFSET) : NULL;
}

EmbedProgressState *
embed_control_progress(void)
{
	return embed_control_mapping() != 0 ? (EmbedProgressState *) (control.addr + PROGRESS_OFFSET) : NULL;
}

static EmbedStatEntry *
find_entry(Oid database, const uint8 *fingerprint)
{
	for (int i = 0; i < EMBED_CONTROL_ENTRIES; i++)
	{
		EmbedStatEntry *entry = embed_control_entry_at(i);

		if (entry != NULL && atomic_load_explicit(&entry->serial, memory_order_acquire) != 0 &&
			entry->database == database && memcmp(entry->fingerprint, fingerprint, EMB_HASH_SIZE) == 0)
			return entry;
	}
	return NULL;
}

/* A free entry, else the entry that was unused for longest. */
static EmbedStatEntry *
choose_entry(void)
{
	EmbedStatEntry *oldest = NULL;

	for (int i = 0; i < EMBED_CONTROL_ENTRIES; i++)
	{
		EmbedStatEntry *entry = embed_control_entry_at(i);

		if (entry == NULL)
			return NULL;
		if (entry->serial == 0)
			return entry;
		if (oldest == NULL || entry->used < oldest->used)
			oldest = entry;
	}
	return oldest;
}

/* Requires the flock. */
static EmbedStatEntry *
claim_entry(Oid database, const uint8 *fingerprint)
{
	ControlHeader *header = (ControlHeader *) control.addr;
	EmbedStatEntry *entry = find_entry(database, fingerprint);

	if (entry == NULL)
		entry = choose_entry();
	else
		return entry;
	if (entry == NULL)
		return NULL;
	atomic_store_explicit(&entry->serial, 0, memory_order_release);
	entry->database = database;
	memcpy(entry->fingerprint, fingerprint, EMB_HASH_SIZE);
	for (int i = 0; i < (int) lengthof(entry->counters); i++)
		entry->counters[i] = 0;
	for (int i = 0; i < (int) lengthof(entry->latency); i++)
		entry->latency[i] = 0;
	entry->since = entry->used = GetCurrentTimestamp();
	/* never 0, whatever value the file has */
	atomic_store_explicit(&entry->serial, Max(atomic_fetch_add(&header->n_claims, 1) + 1, 1), memory_order_release);
	return entry;
}

EmbedStatEntry *
embed_control_entry(Oid database, const uint8 *fingerprint, bool create)
{
	EmbedStatEntry *entry = find_entry(database, fingerprint);
	int			fd;

	if (entry != NULL || !create || embed_control_mapping() == 0)
		return entry;
	fd = open_control();
	if (fd < 0)
		return NULL;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		entry = claim_entry(database, fingerprint);
	close(fd);
	return entry;
}
