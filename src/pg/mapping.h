/*
 * mapping.h
 *		Read-only mappings of image files, and what happens when a page of one
 *		cannot be read.
 *
 * A file that is cut while it is mapped, or a disk that fails, raises SIGBUS in
 * whoever touches the page; unhandled that ends the backend, and with it every
 * session of the cluster. Here the mapping becomes zeros instead, and the
 * statement an ERROR:
 *
 *		embed_map(&mapping, fd, size_bytes, path);
 *		status = emb_something(mapping.addr ...);		stops early: embed_stop() says so
 *		if (status != EMB_OK)
 *			embed_throw(status, &err);					raises 58030 if a page was lost
 *		embed_check_mappings();							zeros may have given a result, too
 *
 * Memory that is mapped otherwise is guarded without the ERROR (control.c):
 *
 *		guard = embed_guard_begin(addr, size_bytes, prot);
 *		use it; if (embed_guard_is_lost(guard)), what it held is gone
 *		embed_guard_end(guard);
 *		munmap(addr, size_bytes);
 */
#ifndef EMBED_PG_MAPPING_H
#define EMBED_PG_MAPPING_H

#include "postgres.h"

#include <sys/stat.h>

typedef struct EmbedMapping
{
	void	   *addr;			/* NULL: not mapped */
	size_t		size_bytes;
	int			watch;			/* place in the table of the signal handler, -1: none was free */
	dev_t		device;			/* the file, as it was when it was mapped */
	ino_t		inode;
	struct timespec modified;
} EmbedMapping;

/* Maps the first size_bytes of fd; path is for the message. Raises 53200. */
extern void embed_map(EmbedMapping *mapping, int fd, size_t size_bytes, const char *path);
extern void embed_unmap(EmbedMapping *mapping);

/*
 * Whether the file at path still is what is mapped: false when it was written
 * to or another one stands there. One that was deleted lives on in its mappings.
 */
extern bool embed_mapping_is_current(const EmbedMapping *mapping, const char *path);

/* Whether pages of this mapping, or of any, were lost. */
extern bool embed_mapping_is_lost(const EmbedMapping *mapping);
extern bool embed_mappings_lost(void);

/* A mapping of somebody else's: zeros when a page is lost. -1 where it cannot be guarded; no ERROR. */
extern int	embed_guard_begin(void *addr, size_t size_bytes, int prot);
extern bool embed_guard_is_lost(int guard);
extern void embed_guard_end(int guard);

/*
 * registry.c: if pages were lost, unmaps and unlinks what lost them and raises
 * 58030. The next call makes the file again. To be called behind every
 * computation that read an image, before its results are used.
 */
extern void embed_check_mappings(void);

#endif
