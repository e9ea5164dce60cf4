/*
 * file.h
 *		Reading of untrusted files: regular files only, sizes checked first.
 *
 * Symbolic links are followed (the hub's cache is made of them); FIFOs,
 * devices, sockets and directories are EMB_ERR_NOT_REGULAR and never block.
 * What downloads leave in place of a file is known by its first bytes and
 * refused on opening: git-lfs pointers, web pages, the hub's error messages.
 */
#ifndef EMB_FORMATS_FILE_H
#define EMB_FORMATS_FILE_H

#include "common/error.h"
#include "common/mem.h"

typedef struct EmbFile
{
	int			fd;				/* -1: not open */
	int64_t		size_bytes;		/* at open; a read beyond it is an error, a shrunk file too */
	char		path[1024];
} EmbFile;

/* Opens dir/name (name may be NULL: dir is the path). */
extern EmbStatus emb_file_open(const char *dir, const char *name, EmbFile *file, EmbError *err);
extern void emb_file_close(EmbFile *file);

/* Exactly size bytes at offset, or EMB_ERR_FORMAT (file too short) / EMB_ERR_IO. */
extern EmbStatus emb_file_read(const EmbFile *file, int64_t offset, void *buf, size_t size, EmbError *err);

/*
 * The whole file with a zero byte behind it; EMB_ERR_LIMIT beyond max_bytes.
 * The caller releases *data.
 */
extern EmbStatus emb_file_read_all(const char *dir, const char *name, size_t max_bytes,
								   const EmbAllocator *mem, char **data, size_t *size, EmbError *err);

/* Whether dir/name is a symbolic link to nothing. */
extern bool emb_file_is_dangling(const char *dir, const char *name);

/*
 * Whether dir/name exists in any form. A link that leads nowhere does, and what
 * the file system cannot tell of: a file that may be missing is not to be taken
 * for missing when its download is not complete or a disk fails.
 */
extern bool emb_file_exists(const char *dir, const char *name);

#endif
