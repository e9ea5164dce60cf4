/*
 * zip.h
 *		Finds members of a zip file that are stored without compression.
 *
 * torch.save writes such files (APPNOTE.TXT 6.3.10, with the 64-bit
 * extension). We need the offset of each member's bytes, so that pread can
 * read a tensor as from a safetensors file; zip libraries return streams.
 *
 * Example:
 *
 *		EmbZip zip;
 *		status = emb_zip_open(&file, mem, &zip, err);
 *		const EmbZipMember *m = emb_zip_find(&zip, "archive/data.pkl");
 *		status = emb_zip_locate(&zip, m, &offset, err);
 *		emb_zip_close(&zip);
 */
#ifndef EMB_FORMATS_ZIP_H
#define EMB_FORMATS_ZIP_H

#include "formats/file.h"

#define EMB_ZIP_MAX_DIRECTORY	(32 * 1024 * 1024)

typedef struct EmbZipMember
{
	const char *name;			/* zero-terminated */
	int64_t		header_offset;
	int64_t		size_bytes;
	bool		stored;			/* neither compressed nor encrypted */
} EmbZipMember;

typedef struct EmbZip
{
	const EmbFile *file;
	const EmbAllocator *mem;
	char	   *names;
	uint32_t	n_members;
	EmbZipMember *members;		/* ascending by name */
} EmbZip;

extern EmbStatus emb_zip_open(const EmbFile *file, const EmbAllocator *mem, EmbZip *zip, EmbError *err);
extern void emb_zip_close(EmbZip *zip);

/* NULL: there is none. */
extern const EmbZipMember *emb_zip_find(const EmbZip *zip, const char *name);

/* The first member whose name ends with end, or NULL. */
extern const EmbZipMember *emb_zip_find_end(const EmbZip *zip, const char *end);

/*
 * The start of the member's bytes; the file holds all size_bytes of them.
 * EMB_ERR_UNSUPPORTED if the member is not stored.
 */
extern EmbStatus emb_zip_locate(const EmbZip *zip, const EmbZipMember *member, int64_t *offset, EmbError *err);

#endif
