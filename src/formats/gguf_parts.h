/*
 * gguf_parts.h
 *		What the files that read GGUF share: gguf_header.c parses what comes before
 *		the data, gguf_values.c reads the values of its keys, gguf.c has the files
 *		of a model and their tensors.
 */
#ifndef EMB_FORMATS_GGUF_PARTS_H
#define EMB_FORMATS_GGUF_PARTS_H

#include "formats/gguf.h"
#include "formats/json.h"

/* A name in a message: its useful beginning. */
#define EMB_GGUF_SHOW(name)	emb_json_clip(name, 100), name

/*
 * Parses the header of a shard whose file is open. header, keys and tensors
 * belong to the shard, also after an error.
 */
extern EmbStatus emb_gguf_parse(const EmbGguf *gguf, EmbGgufShard *shard, EmbError *err);

/* "u8", ..; and the bytes of a value: 0 if each value has its own. */
extern const char *emb_gguf_type_name(EmbGgufType type);
extern int	emb_gguf_type_bytes(EmbGgufType type);

static inline uint64_t
emb_gguf_uint(const uint8_t *p, int n_bytes)
{
	uint64_t	x = 0;

	while (n_bytes-- > 0)
		x = x << 8 | p[n_bytes];
	return x;
}

/* Of a string that was parsed: p is where its length begins. A zero byte follows it. */
static inline size_t
emb_gguf_string_bytes(const uint8_t *p)
{
	return (size_t) emb_gguf_uint(p, 7);
}

static inline const char *
emb_gguf_string_text(const uint8_t *p)
{
	return (const char *) p + 7;
}

#endif
