/*
 * faulty.c
 *		Preloaded into a server, lets chosen system calls on the files of
 *		pgsql_tmp_embed fail: a full disk, a bad one, no memory, no rights, at
 *		every step.
 *
 *		gcc -shared -fPIC -o faulty.so faulty.c -ldl
 *		FAULTY_CONTROL=/path/to/file LD_PRELOAD=faulty.so postgres ...
 *
 * The control file holds "CALL WHICH ERRNO": in each process these calls of that
 * kind fail. WHICH counts from 1: "3" the third, "2,7" two of them, "1-3" the
 * first three, "4-" all from the fourth on, "0" all. "short" instead of "write"
 * writes half of the bytes first and then fails; "statvfs" succeeds and says
 * that the disk is full; "lose" lets a mapping lose its pages at once, as the
 * file is cut. CALL "any" counts all of them; with ERRNO 0 each fails with an error
 * that it may have. A negative ERRNO is a signal that the process sends itself
 * before the call. When a call fails, the line and " @N" are added to
 * "CONTROL.hit". No control file or another text in it, no faults.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define MARK "pgsql_tmp_embed"

#define REAL(name) ((__typeof__(name) *) dlsym(RTLD_NEXT, #name))

/* The rest of path once it is ours. */
static bool
is_ours(const char *path)
{
	return path != NULL && strstr(path, MARK) != NULL;
}

static bool
fd_is_ours(int fd)
{
	char		link[64];
	char		path[4096];
	ssize_t		n;

	if (fd < 0)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	return is_ours(path);
}

/* Whether WHICH of the control file has the n-th call. */
static bool
is_chosen(const char *which, int n)
{
	int			a,
				b;
	char		comma;

	if (strcmp(which, "0") == 0)
		return true;
	if (sscanf(which, "%d%c%d", &a, &comma, &b) == 3)
		return comma == ',' ? n == a || n == b : n >= a && n <= b;
	a = atoi(which);
	return strchr(which, '-') != NULL ? n >= a : n == a;
}

/* What a call fails with where the control file leaves it open. */
static int
usual_error(const char *call)
{
	static const struct
	{
		const char *call;
		int			error;
	}			usual[] = {
		{"create", EACCES}, {"mkdir", EACCES}, {"rename", EACCES}, {"link", EACCES}, {"unlink", EACCES}, {"rmdir", EACCES},
		{"opendir", EACCES}, {"write", ENOSPC}, {"short", ENOSPC}, {"fallocate", ENOSPC}, {"mmap", ENOMEM}, {"futimens", EROFS},
		{"sigaction", EINVAL}
	};

	for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
	{
		if (strcmp(usual[i].call, call) == 0)
			return usual[i].error;
	}
	return EIO;
}

/* The errno this call shall fail with, or 0; a signal is sent here. System calls are made directly: ours must not count. */
static int
fault(const char *call)
{
	static char seen[128];
	static int	count = 0;
	const char *control = getenv("FAULTY_CONTROL");
	char		text[128];
	char		name[32];
	char		which[32];
	char		hit[4096];
	int			error;
	ssize_t		size;
	int			fd;

	if (control == NULL)
		return 0;
	fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY, 0);
	if (fd < 0)
		return 0;
	size = syscall(SYS_read, fd, text, sizeof(text) - 1);
	syscall(SYS_close, fd);
	text[size > 0 ? size : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, seen) != 0)
	{
		strcpy(seen, text);
		count = 0;
	}
	if (sscanf(text, "%31s %31s %d", name, which, &error) != 3 || (strcmp(name, "any") != 0 && strcmp(name, call) != 0))
		return 0;
	count++;
	if (!is_chosen(which, count))
		return 0;
	snprintf(hit, sizeof(hit), "%s.hit", control);
	fd = syscall(SYS_openat, AT_FDCWD, hit, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd >= 0)
	{
		char		line[256];
		int			n = snprintf(line, sizeof(line), "%s @%d %s\n", text, count, call);

		(void) !syscall(SYS_write, fd, line, n);
		syscall(SYS_close, fd);
	}
	if (error < 0)
	{
		(void) kill(getpid(), -error);
		return 0;
	}
	return error == 0 ? usual_error(call) : error;
}

static int
open_or_fail(const char *path, int flags, mode_t mode)
{
	int			error = is_ours(path) ? fault((flags & O_CREAT) != 0 ? "create" : "open") : 0;

	if (error != 0)
	{
		errno = error;
		return -1;
	}
	return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int
open(const char *path, int flags,...)
{
	mode_t		mode = 0;

	if ((flags & O_CREAT) != 0)
	{
		va_list		args;

		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return open_or_fail(path, flags, mode);
}

int
open64(const char *path, int flags,...)
{
	mode_t		mode = 0;

	if ((flags & O_CREAT) != 0)
	{
		va_list		args;

		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return open_or_fail(path, flags, mode);
}

ssize_t
write(int fd, const void *data, size_t size)
{
	if (fd_is_ours(fd))
	{
		int			error = fault("write");

		if (error == 0 && (error = fault("short")) != 0 && size > 1)
			(void) syscall(SYS_write, fd, data, size / 2);
		if (error != 0)
		{
			errno = error;
			return -1;
		}
	}
	return syscall(SYS_write, fd, data, size);
}

ssize_t
pwrite64(int fd, const void *data, size_t size, off64_t at)
{
	int			error = fd_is_ours(fd) ? fault("write") : 0;

	if (error != 0)
	{
		errno = error;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t
pwrite(int fd, const void *data, size_t size, off_t at)
{
	return pwrite64(fd, data, size, at);
}

ssize_t
pread64(int fd, void *data, size_t size, off64_t at)
{
	int			error = fd_is_ours(fd) ? fault("pread") : 0;

	if (error != 0)
	{
		errno = error;
		return -1;
	}
	return syscall(SYS_pread64, fd, data, size, at);
}

ssize_t
pread(int fd, void *data, size_t size, off_t at)
{
	return pread64(fd, data, size, at);
}

/* Gives its error instead of setting errno. */
int
posix_fallocate(int fd, off_t at, off_t size)
{
	int			error = fd_is_ours(fd) ? fault("fallocate") : 0;

	return error != 0 ? error : REAL(posix_fallocate) (fd, at, size);
}

int
posix_fallocate64(int fd, off64_t at, off64_t size)
{
	return posix_fallocate(fd, at, size);
}

#define FAIL_OR_CALL(ours, call, name, args) \
	do { \
		int			error = (ours) ? fault(call) : 0; \
		if (error != 0) \
		{ \
			errno = error; \
			return -1; \
		} \
		return REAL(name) args; \
	} while (0)

int
fsync(int fd)
{
	FAIL_OR_CALL(fd_is_ours(fd), "fsync", fsync, (fd));
}

int
fdatasync(int fd)
{
	FAIL_OR_CALL(fd_is_ours(fd), "fsync", fdatasync, (fd));
}

int
ftruncate(int fd, off_t size)
{
	FAIL_OR_CALL(fd_is_ours(fd), "ftruncate", ftruncate, (fd, size));
}

int
ftruncate64(int fd, off64_t size)
{
	FAIL_OR_CALL(fd_is_ours(fd), "ftruncate", ftruncate64, (fd, size));
}

int
futimens(int fd, const struct timespec times[2])
{
	FAIL_OR_CALL(fd_is_ours(fd), "futimens", futimens, (fd, times));
}

int
flock(int fd, int operation)
{
	FAIL_OR_CALL(fd_is_ours(fd), "flock", flock, (fd, operation));
}

int
fstat(int fd, struct stat *st)
{
	FAIL_OR_CALL(fd_is_ours(fd), "fstat", fstat, (fd, st));
}

int
lstat(const char *path, struct stat *st)
{
	FAIL_OR_CALL(is_ours(path), "lstat", lstat, (path, st));
}

ssize_t
read(int fd, void *data, size_t size)
{
	int			error = fd_is_ours(fd) ? fault("read") : 0;

	if (error != 0)
	{
		errno = error;
		return -1;
	}
	return syscall(SYS_read, fd, data, size);
}

int
rmdir(const char *path)
{
	FAIL_OR_CALL(is_ours(path), "rmdir", rmdir, (path));
}

DIR *
opendir(const char *path)
{
	int			error = is_ours(path) ? fault("opendir") : 0;

	if (error != 0)
	{
		errno = error;
		return NULL;
	}
	return REAL(opendir) (path);
}

/* Of the signal that tells of lost pages. */
int
sigaction(int signo, const struct sigaction *action, struct sigaction *old)
{
	FAIL_OR_CALL(signo == SIGBUS && action != NULL, "sigaction", sigaction, (signo, action, old));
}

/* These do not fail: the disk has no free block. */
int
statvfs(const char *path, struct statvfs *fs)
{
	int			rc = REAL(statvfs) (path, fs);

	if (rc == 0 && is_ours(path) && fault("statvfs") != 0)
		fs->f_bavail = 0;
	return rc;
}

int
fstatvfs(int fd, struct statvfs *fs)
{
	int			rc = REAL(fstatvfs) (fd, fs);

	if (rc == 0 && fd_is_ours(fd) && fault("statvfs") != 0)
		fs->f_bavail = 0;
	return rc;
}

int
rename(const char *from, const char *to)
{
	FAIL_OR_CALL(is_ours(to), "rename", rename, (from, to));
}

int
link(const char *from, const char *to)
{
	FAIL_OR_CALL(is_ours(to), "link", link, (from, to));
}

int
unlink(const char *path)
{
	FAIL_OR_CALL(is_ours(path), "unlink", unlink, (path));
}

int
mkdir(const char *path, mode_t mode)
{
	FAIL_OR_CALL(is_ours(path), "mkdir", mkdir, (path, mode));
}

/* The file of the mapping is cut: a disk that fails each time. */
static void
lose_pages(int fd)
{
	char		link[64];
	char		path[4096];
	ssize_t		n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	(void) !syscall(SYS_truncate, path, 0);
}

void *
mmap(void *addr, size_t size, int prot, int flags, int fd, off_t at)
{
	bool		ours = (flags & MAP_ANONYMOUS) == 0 && fd_is_ours(fd);
	int			error = ours ? fault("mmap") : 0;
	void	   *result;

	if (error != 0)
	{
		errno = error;
		return MAP_FAILED;
	}
	result = (void *) syscall(SYS_mmap, addr, size, prot, flags, fd, at);
	if (ours && result != MAP_FAILED && fault("lose") > 0)
		lose_pages(fd);
	return result;
}

void *
mmap64(void *addr, size_t size, int prot, int flags, int fd, off64_t at)
{
	return mmap(addr, size, prot, flags, fd, at);
}
