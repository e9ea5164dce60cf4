/*
 * gguf.h
 *		GGUF files of untrusted origin, versions 2 and 3 (docs/gguf.md of ggml,
 *		2024): one file, or the shards NAME-00001-of-00003.gguf and so on.
 *
 *		magic "GGUF", version u32, number of tensors u64, of keys u64
 *		keys: name, type u32, value; an array: type u32, number u64, elements
 *		tensors: name, number of dimensions u32, dimensions u64 each (the
 *		fastest first), type u32, offset u64 into the data
 *		data, from the next multiple of "general.alignment" (32) on
 *
 * Strings are a length u64 and as many bytes; everything is little endian. All
 * that comes before the data is read into memory once; keys, strings and
 * arrays stay there. Nothing in it is trusted: each length and number is
 * compared with the bytes that are left before it is used, keys and tensors
 * are unique, tensors lie inside the file and do not overlap.
 *
 * Example:
 *
 *		EmbGguf gguf;
 *		status = emb_gguf_open("/models/bge.gguf", mem, stop, &gguf, err);
 *		status = emb_gguf_get_int(&gguf, "bert.block_count", 1, 256, &n_layers, err);
 *		const EmbGgufTensor *t = emb_gguf_find_tensor(&gguf, "token_embd.weight");
 *		status = emb_gguf_read_f32(&gguf, t, 0, t->n_elems, out, err);
 *		emb_gguf_close(&gguf);
 *
 * Data is read with pread, never mapped.
 */
#ifndef EMB_FORMATS_GGUF_H
#define EMB_FORMATS_GGUF_H

#include "formats/file.h"
#include "formats/ggml_blocks.h"

#define EMB_GGUF_MAX_HEADER		(64 * 1024 * 1024)	/* 250,000 tokens have 10 MB */
#define EMB_GGUF_MAX_KEYS		16384
#define EMB_GGUF_MAX_TENSORS	65536
#define EMB_GGUF_MAX_NAME		255	/* bytes of the name of a key or tensor */
#define EMB_GGUF_MAX_RANK		4
#define EMB_GGUF_MAX_ALIGNMENT	4096
#define EMB_GGUF_MAX_SHARDS		64

/* The file format's numbers. */
typedef enum EmbGgufType
{
	EMB_GGUF_U8, EMB_GGUF_I8, EMB_GGUF_U16, EMB_GGUF_I16, EMB_GGUF_U32, EMB_GGUF_I32, EMB_GGUF_F32, EMB_GGUF_BOOL,
	EMB_GGUF_STRING, EMB_GGUF_ARRAY, EMB_GGUF_U64, EMB_GGUF_I64, EMB_GGUF_F64, EMB_GGUF_N_TYPES
} EmbGgufType;

typedef struct EmbGgufKey
{
	const char *name;			/* zero-terminated UTF-8 */
	EmbGgufType type;			/* of the value, or of an array's elements */
	bool		is_array;
	int64_t		n;				/* elements; 1 unless is_array */
	const uint8_t *data;		/* of the first element */
} EmbGgufKey;

typedef struct EmbGgufTensor
{
	const char *name;			/* zero-terminated UTF-8 */
	const EmbGgmlType *type;
	int			shard;
	int			rank;
	int64_t		shape[EMB_GGUF_MAX_RANK];	/* the slowest first, as other formats have it */
	int64_t		n_elems;
	int64_t		offset;			/* of the first byte, from the start of the file */
	int64_t		size_bytes;
} EmbGgufTensor;

typedef struct EmbGgufShard
{
	EmbFile		file;
	uint8_t    *header;			/* everything before the data */
	int			n_keys;
	EmbGgufKey *keys;			/* ascending by name */
	int			n_tensors;
	EmbGgufTensor *tensors;		/* ascending by name */
} EmbGgufShard;

typedef struct EmbGguf
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	int			n_shards;
	EmbGgufShard *shards;		/* the first one has the keys of the model */
} EmbGguf;

/*
 * Opens a file, and the others if its name is that of a shard (any of them).
 * stop is polled meanwhile. After an error there is nothing to close.
 */
extern EmbStatus emb_gguf_open(const char *path, const EmbAllocator *mem, const EmbStop *stop, EmbGguf *gguf, EmbError *err);
extern void emb_gguf_close(EmbGguf *gguf);

/* Whether the name of a file, without its directory, ends like a shard's; *number counts from 1. */
extern bool emb_gguf_is_shard_name(const char *name, size_t *prefix_bytes, int *number, int *n_shards);

/* ------------------------------------------------------------------ keys */

/* NULL: there is none. */
extern const EmbGgufKey *emb_gguf_find_key(const EmbGguf *gguf, const char *name);

/*
 * An absent key leaves *value unchanged. EMB_ERR_FORMAT: another type than
 * asked for, or a value outside min .. max; any integer type counts as int,
 * and an integer as a double.
 */
extern EmbStatus emb_gguf_get_int(const EmbGguf *gguf, const char *name, int64_t min, int64_t max, int64_t *value, EmbError *err);
extern EmbStatus emb_gguf_get_double(const EmbGguf *gguf, const char *name, double min, double max, double *value, EmbError *err);
extern EmbStatus emb_gguf_get_bool(const EmbGguf *gguf, const char *name, bool *value, EmbError *err);

/* Zero-terminated UTF-8, borrowed from gguf. */
extern EmbStatus emb_gguf_get_string(const EmbGguf *gguf, const char *name, const char **value, EmbError *err);

/* *key gets NULL if there is none. EMB_ERR_FORMAT: no array of this type. */
extern EmbStatus emb_gguf_get_array(const EmbGguf *gguf, const char *name, EmbGgufType type, const EmbGgufKey **key, EmbError *err);

/* Element i of an array of numbers; any integer type, F32 or F64. */
extern int64_t emb_gguf_int_at(const EmbGgufKey *key, int64_t i);
extern double emb_gguf_double_at(const EmbGgufKey *key, int64_t i);

/*
 * The strings of an array, one after the other: *at is NULL at first. Bytes
 * that may be anything, then a zero byte.
 */
extern const char *emb_gguf_next_string(const EmbGgufKey *key, const uint8_t **at, size_t *len);

/* --------------------------------------------------------------- tensors */

/* NULL: there is none. */
extern const EmbGgufTensor *emb_gguf_find_tensor(const EmbGguf *gguf, const char *name);

/* Whether any tensor's name begins so. */
extern bool emb_gguf_has_prefix(const EmbGguf *gguf, const char *prefix);

/* EMB_ERR_UNSUPPORTED for a type that ggml_blocks.c does not decode. */
extern EmbStatus emb_gguf_check_type(const EmbGguf *gguf, const EmbGgufTensor *tensor, EmbError *err);

/*
 * Elements first .. first + n - 1 as fp32; first and n are multiples of the
 * type's block, as whole rows are. EMB_ERR_FORMAT for a NaN or infinity, with
 * tensor and index; EMB_ERR_UNSUPPORTED as emb_gguf_check_type.
 */
extern EmbStatus emb_gguf_read_f32(const EmbGguf *gguf, const EmbGgufTensor *tensor, int64_t first, int64_t n, float *out,
								   EmbError *err);

/* The blocks of the same elements as they are in the file. */
extern EmbStatus emb_gguf_read_blocks(const EmbGguf *gguf, const EmbGgufTensor *tensor, int64_t first, int64_t n, uint8_t *blocks,
									  EmbError *err);

#endif
