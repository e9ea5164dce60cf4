/*
 * sweep.h
 *		Removes files that no row or database owns: files of dropped images, of
 *		dropped databases, of dead writers.
 */
#ifndef EMBED_PG_STORE_SWEEP_H
#define EMBED_PG_STORE_SWEEP_H

#include "pg/glue.h"

extern void embed_sweep(void);

/* The same, cheap if there is nothing to do, and postponed while another backend writes. */
extern void embed_sweep_if_idle(void);

/*
 * Under the writer lock. The amount to remove for this database and for
 * dropped databases; remove: also removes it.
 */
extern int	embed_sweep_locked(bool remove);

/* The extension is gone from this database: unlinks all its files. */
extern void embed_sweep_all(void);

/*
 * This transaction is about to insert, change or delete the image's row. At
 * its end, a file without a row is unlinked, a filed image too. existed:
 * whether the row exists now.
 */
extern void embed_sweep_row_changes(const uint8 *fingerprint, bool existed);

extern void embed_sweep_init(void);

#endif
