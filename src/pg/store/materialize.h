/*
 * materialize.h
 *		Maps images; builds their files (image_file.h) where they are missing.
 *		A filed image (filed.h) is mapped in place, or its file is missing.
 */
#ifndef EMBED_PG_STORE_MATERIALIZE_H
#define EMBED_PG_STORE_MATERIALIZE_H

#include "pg/glue.h"

#include "utils/snapshot.h"

#include "pg/store/mapping.h"

/*
 * Maps the image with that fingerprint, from its file or else from its rows as
 * of snapshot. trusted: the seal of an existing file is enough, unless the
 * file was mapped before and found damaged. Raises, also 58P01 and XX001 for a
 * filed image whose file is missing or has other content; the caller then
 * unmaps what *mapping holds.
 */
extern void embed_materialize(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot,
							  EmbedMapping *mapping);

/*
 * Raises what the core reported when it opened a stored image. If another
 * version of the extension made the image, the hint says how the model can be
 * imported again: the new image is other content, which the name refuses.
 */
pg_noreturn extern void embed_materialize_throw(const uint8 *fingerprint, EmbStatus status, const EmbError *err);

#endif
