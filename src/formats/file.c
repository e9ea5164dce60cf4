/*
 * file.c
 *		Reads untrusted files.
 */
#include "formats/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Maximum bytes per read call, so that interrupts are served soon. */
#define READ_CHUNK_BYTES	(8 * 1024 * 1024)

static EmbStatus
join_path(const char *dir, const char *name, char *path, size_t size, EmbError *err)
{
	int			n = name != NULL ? snprintf(path, size, "%s/%s", dir, name)
		: snprintf(path, size, "%s", dir);

	if (n < 0 || (size_t) n >= size)
		return emb_error(err, EMB_ERR_LIMIT, "path \"%.100s...\" is longer than %zu bytes", dir, size - 1);
	return EMB_OK;
}

bool
emb_file_is_dangling(const char *dir, const char *name)
{
	char		path[1024];
	struct stat st;

	return join_path(dir, name, path, sizeof(path), NULL) == EMB_OK && lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && stat(path, &st) != 0;
}

static EmbStatus
not_found(const EmbFile *file, EmbError *err)
{
	char		target[256];
	ssize_t		n = readlink(file->path, target, sizeof(target) - 1);

	if (n < 0)
		return emb_error(err, EMB_ERR_NOT_FOUND, "file \"%s\" does not exist", file->path);
	target[n] = '\0';
	emb_error(err, EMB_ERR_NOT_FOUND, "file \"%s\" is a link to \"%s\", which does not exist", file->path, target);
	return emb_error_hint(err, EMB_ERR_NOT_FOUND,
						  "The hub's cache is made of links: copy a model's directory with the files behind the links (cp -rL), once its download is complete.");
}

static EmbStatus
not_regular(const EmbFile *file, const struct stat *st, EmbError *err)
{
	emb_error(err, EMB_ERR_NOT_REGULAR, "\"%s\" is not a regular file", file->path);
	if (st == NULL || !S_ISDIR(st->st_mode))
		return EMB_ERR_NOT_REGULAR;
	return emb_error_hint(err, EMB_ERR_NOT_REGULAR, "It is a directory: download the file of this name.");
}

/* A link that leads back to itself. */
static EmbStatus
is_loop(const EmbFile *file, EmbError *err)
{
	emb_error(err, EMB_ERR_NOT_REGULAR, "\"%s\" is not a regular file, but a link that leads to itself", file->path);
	return emb_error_hint(err, EMB_ERR_NOT_REGULAR, "Remove the link and download the file.");
}

static EmbStatus
not_readable(const EmbFile *file, int error, EmbError *err)
{
	emb_error(err, EMB_ERR_IO, "could not open file \"%s\": %s", file->path, strerror(error));
	if (error == EACCES || error == EPERM)
		return emb_error_hint(err, EMB_ERR_IO, "The operating system user that this runs as must be able to read it.");
	return EMB_ERR_IO;
}

/* Reads the first bytes, zero-terminated, without leading white space and byte order mark. */
static void
read_beginning(const EmbFile *file, char *buf, size_t size)
{
	ssize_t		n = pread(file->fd, buf, size - 1, 0);
	size_t		skip = 0;

	buf[n > 0 ? n : 0] = '\0';
	if (strncmp(buf, "\xEF\xBB\xBF", 3) == 0)
		skip = 3;
	skip += strspn(buf + skip, " \t\r\n");
	memmove(buf, buf + skip, strlen(buf + skip) + 1);
}

/* Recognizes what a failed download left instead of the file. */
static EmbStatus
check_beginning(const EmbFile *file, EmbError *err)
{
	static const char *const answers[] = {"Entry not found", "Repository not found", "Invalid username or password", "Access to model ", "Invalid rev id"};
	char		buf[64];

	read_beginning(file, buf, sizeof(buf));
	if (strncmp(buf, "version https://git-lfs.github.com/spec/", 40) == 0)
	{
		emb_error(err, EMB_ERR_FORMAT, "file \"%s\" is a pointer of git-lfs, not the file itself", file->path);
		return emb_error_hint(err, EMB_ERR_FORMAT, "Run \"git lfs install\" and \"git lfs pull\" in the directory, or download the file.");
	}
	if (strncasecmp(buf, "<!DOCTYPE html", 14) == 0 || strncasecmp(buf, "<html", 5) == 0)
	{
		emb_error(err, EMB_ERR_FORMAT, "file \"%s\" is a web page, not the file itself", file->path);
		return emb_error_hint(err, EMB_ERR_FORMAT, "The hub serves files at addresses with /resolve/ in them, not /blob/.");
	}
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
	{
		if (file->size_bytes < 1024 && strncmp(buf, answers[i], strlen(answers[i])) == 0)
		{
			emb_error(err, EMB_ERR_FORMAT, "file \"%s\" holds the hub's answer \"%s...\", not the file itself", file->path, answers[i]);
			return emb_error_hint(err, EMB_ERR_FORMAT, "The download failed: check the address, and whether the model requires a login.");
		}
	}
	return EMB_OK;
}

EmbStatus
emb_file_open(const char *dir, const char *name, EmbFile *file, EmbError *err)
{
	struct stat st;
	EmbStatus	status;

	file->fd = -1;
	status = join_path(dir, name, file->path, sizeof(file->path), err);
	if (status != EMB_OK)
		return status;

	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file->fd < 0)
	{
		if (errno == ENOENT || errno == ENOTDIR)
			return not_found(file, err);
		if (errno == ELOOP)
			return is_loop(file, err);
		if (errno == ENXIO)
			return not_regular(file, NULL, err);
		return not_readable(file, errno, err);
	}
	if (fstat(file->fd, &st) != 0)
		status = emb_error(err, EMB_ERR_IO, "could not stat file \"%s\": %s", file->path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		status = not_regular(file, &st, err);
	if (status == EMB_OK)
	{
		file->size_bytes = st.st_size;
		status = check_beginning(file, err);
	}
	if (status != EMB_OK)
		emb_file_close(file);
	return status;
}

void
emb_file_close(EmbFile *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

EmbStatus
emb_file_read(const EmbFile *file, int64_t offset, void *buf, size_t size, EmbError *err)
{
	char	   *dst = buf;

	while (size > 0)
	{
		size_t		want = size < READ_CHUNK_BYTES ? size : READ_CHUNK_BYTES;
		ssize_t		got = pread(file->fd, dst, want, offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return emb_error_at(err, EMB_ERR_IO, offset, "could not read file \"%s\": %s",
								file->path, strerror(errno));
		if (got == 0)
			return emb_error_at(err, EMB_ERR_FORMAT, offset,
								"file \"%s\" ends at byte %lld, %zu bytes before it should",
								file->path, (long long) offset, size);
		dst += got;
		offset += got;
		size -= got;
	}
	return EMB_OK;
}

EmbStatus
emb_file_read_all(const char *dir, const char *name, size_t max_bytes,
				  const EmbAllocator *mem, char **data, size_t *size, EmbError *err)
{
	EmbFile		file;
	char	   *buf = NULL;
	EmbStatus	status = emb_file_open(dir, name, &file, err);

	if (status != EMB_OK)
		return status;
	if ((uint64_t) file.size_bytes > max_bytes)
		status = emb_error(err, EMB_ERR_LIMIT, "file \"%s\" has %lld bytes, more than the %zu allowed",
						   file.path, (long long) file.size_bytes, max_bytes);
	else if ((buf = emb_alloc(mem, (size_t) file.size_bytes + 1)) == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory reading \"%s\" (%lld bytes)",
						   file.path, (long long) file.size_bytes);
	else
		status = emb_file_read(&file, 0, buf, file.size_bytes, err);
	if (status == EMB_OK)
	{
		buf[file.size_bytes] = '\0';
		*data = buf;
		*size = file.size_bytes;
	}
	else
		emb_release(mem, buf);
	emb_file_close(&file);
	return status;
}

bool
emb_file_exists(const char *dir, const char *name)
{
	char		path[1024];
	struct stat st;

	return join_path(dir, name, path, sizeof(path), NULL) == EMB_OK && (lstat(path, &st) == 0 || errno == EIO || errno == ESTALE);
}
