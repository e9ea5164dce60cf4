/*
 * mapping.h
 *		Read-only mappings of image files, and the handling of pages that
 *		cannot be read.
 *
 * If a mapped file is truncated or its disk fails, touching the page raises
 * SIGBUS. Unhandled, SIGBUS ends the backend, and with it every session of the
 * cluster. Here the mapping becomes zeros, and the statement raises an ERROR.
 * Changed bytes raise no signal: so the caller checks the inode after
 * computing, which costs a third of a microsecond.
 *
 * Example:
 *
 *		embed_map(&mapping, fd, size_bytes, path);
 *		status = read_image(mapping.addr, &err);	// stops early: embed_stop() says so
 *		if (embed_mapping_is_damaged(&mapping))
 *		{
 *			embed_mapping_note_damage(&mapping);
 *			raise_58030();
 *		}
 *		if (status != EMB_OK)
 *			embed_throw(status, &err);
 *		embed_unmap(&mapping);
 *
 * For models that the registry opened, embed_registry_check() does this. Other
 * mapped memory is guarded without the ERROR (control.c):
 *
 * Example:
 *
 *		EmbedWatch *guard = embed_guard_begin(addr, size_bytes, prot);
 *		if (embed_guard_is_lost(guard))		// after use: what the memory held is gone
 *			forget();
 *		embed_guard_end(guard);
 *		munmap(addr, size_bytes);
 */
#ifndef EMBED_PG_STORE_MAPPING_H
#define EMBED_PG_STORE_MAPPING_H

#include "postgres.h"

#include <sys/stat.h>

#include "pg/glue.h"

/* A place in the table of the signal handler. */
typedef struct EmbedWatch EmbedWatch;

typedef struct EmbedMapping
{
	void	   *addr;			/* NULL: not mapped */
	size_t		size_bytes;
	EmbedWatch *watch;
	int			fd;				/* of the mapped inode, whatever has its name now; -1: could not be kept open */
	bool		is_private;		/* the name may stand for another file for ever */
	bool		is_filed;		/* no rows can rebuild the file (filed.h) */
	dev_t		device;			/* state of the file when it was mapped */
	ino_t		inode;
	struct timespec modified;
	char		path[MAXPGPATH];
} EmbedMapping;

/* Maps the first size_bytes of fd, which the caller may close. Raises 53200. */
extern void embed_map(EmbedMapping *mapping, int fd, size_t size_bytes, const char *path);
extern void embed_unmap(EmbedMapping *mapping);

/*
 * Opens the image and checks all of it (EMB_OPEN_CHECK_ALL), polling
 * embed_stop(). Pages that were read leave the process on the way, not the
 * page cache: of an image of 4 GB 32 MB count as memory of the process.
 */
extern EmbStatus embed_mapping_open_checked(const EmbedMapping *mapping, const EmbAllocator *mem, EmbModel **model, EmbError *err);

/*
 * Whether the mapped file is intact and no other file has its name. A deleted
 * file survives in its mappings.
 */
extern bool embed_mapping_is_current(const EmbedMapping *mapping);

/* Whether pages were lost, or the mapped inode was written to or cut since it was mapped. */
extern bool embed_mapping_is_damaged(const EmbedMapping *mapping);

/*
 * The damage is known and being reported: embed_stop() no longer stops for it.
 * Sets a new modification time, so that nobody maps the file without hashing
 * it, under whatever name. Calls nothing that raises.
 */
extern void embed_mapping_note_damage(EmbedMapping *mapping);

/* Whether pages of this mapping, or of any mapping, were lost and not yet noted. */
extern bool embed_mapping_is_lost(const EmbedMapping *mapping);
extern bool embed_mappings_lost(void);

/*
 * Guards a mapping of another owner: zeros if a page is lost. NULL if it
 * cannot be guarded; no ERROR.
 */
extern EmbedWatch *embed_guard_begin(void *addr, size_t size_bytes, int prot);
extern bool embed_guard_is_lost(const EmbedWatch *guard);
extern void embed_guard_end(EmbedWatch *guard);

#endif
