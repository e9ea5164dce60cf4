/*
 * file.h
 *		Reads untrusted files: regular files only, sizes checked first.
 *
 * Symbolic links are followed (the hub's cache consists of links). FIFOs,
 * devices, sockets and directories are EMB_ERR_NOT_REGULAR and never block.
 * Failed downloads leave git-lfs pointers, web pages or error messages of the
 * hub instead of a file. These are recognized by their first bytes and refused
 * on opening.
 */
#ifndef EMB_FORMATS_FILE_H
#define EMB_FORMATS_FILE_H

#include "common/error.h"
#include "common/mem.h"

typedef struct EmbFile
{
	int			fd;				/* -1: not open */
	int64_t		size_bytes;		/* at open; a read past it is an error, also if the file has shrunk */
	char		path[1024];
} EmbFile;

/* Opens dir/name (name may be NULL: dir is the path). */
extern EmbStatus emb_file_open(const char *dir, const char *name, EmbFile *file, EmbError *err);
extern void emb_file_close(EmbFile *file);

/* Reads exactly size bytes at offset, or EMB_ERR_FORMAT (file too short) / EMB_ERR_IO. */
extern EmbStatus emb_file_read(const EmbFile *file, int64_t offset, void *buf, size_t size, EmbError *err);

/*
 * Reads the whole file and adds a zero byte; EMB_ERR_LIMIT beyond max_bytes.
 * The caller releases *data.
 */
extern EmbStatus emb_file_read_all(const char *dir, const char *name, size_t max_bytes,
								   const EmbAllocator *mem, char **data, size_t *size, EmbError *err);

/* Whether dir/name is a symbolic link to a missing file. */
extern bool emb_file_is_dangling(const char *dir, const char *name);

/*
 * Whether dir/name exists in any form. A dangling link counts as existing, and
 * so does a name that the file system cannot check. Otherwise an incomplete
 * download or a failing disk would make an optional file look absent.
 */
extern bool emb_file_exists(const char *dir, const char *name);

#endif
