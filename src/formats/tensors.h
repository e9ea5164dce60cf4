/*
 * tensors.h
 *		Weights of untrusted origin: model.safetensors or pytorch_model.bin,
 *		or the shards that their .index.json lists.
 *
 * safetensors (format description 0.4): 8 bytes little-endian header length, a
 * JSON header, the data. Like the reference implementation we require that
 * tensors cover the data without hole or overlap. Unlike it we limit headers
 * to 16 MiB (a model with 100,000 tensors needs 10).
 *
 * Any other file is read as a state dict of torch.save: a zip of stored
 * members, or the stream of pickles from before torch 1.6. Nothing in a pickle
 * is run: see pickle.h.
 *
 * Example:
 *
 *		EmbTensorSet set;
 *		status = emb_tensors_open_dir(dir, mem, stop, &set, err);
 *		const EmbTensor *t = emb_tensors_find(&set, "embeddings.LayerNorm.weight");
 *		status = emb_tensors_read_f32(&set, t, 0, t->n_elems, out, err);
 *		emb_tensors_close(&set);
 *
 * Files are read with pread, never mapped: a file truncated during a read is
 * an error, not a signal.
 */
#ifndef EMB_FORMATS_TENSORS_H
#define EMB_FORMATS_TENSORS_H

#include "common/error.h"
#include "common/mem.h"
#include "formats/file.h"

#define EMB_TENSORS_MAX_HEADER		(16 * 1024 * 1024)
#define EMB_TENSORS_MAX_SHARDS		64
#define EMB_TENSORS_MAX_NAME		255
#define EMB_TENSORS_MAX_RANK		8

typedef enum EmbDtype
{
	EMB_DTYPE_OTHER,			/* well-formed, but nothing here reads it */
	EMB_DTYPE_F32,
	EMB_DTYPE_F16,
	EMB_DTYPE_BF16,
	/* integers: read_f32 refuses them, read_raw reads them */
	EMB_DTYPE_I64,
	EMB_DTYPE_I32,
	EMB_DTYPE_I8,
	EMB_DTYPE_U8
} EmbDtype;

typedef struct EmbTensor
{
	const char *name;			/* at most EMB_TENSORS_MAX_NAME bytes of UTF-8 */
	const char *dtype_name;		/* as in the file, "BF16" */
	EmbDtype	dtype;
	int			shard;
	int			rank;
	int64_t		shape[EMB_TENSORS_MAX_RANK];
	int64_t		n_elems;		/* the product of shape; 1 for rank 0 */
	int64_t		offset;			/* of the first byte, from the start of the file */
	int64_t		size_bytes;
} EmbTensor;

typedef struct EmbTensorShard
{
	EmbFile		file;
	char	   *names;			/* memory of the tensors' names */
	int			n_tensors;
	EmbTensor  *tensors;		/* [n_tensors], ascending by name */
} EmbTensorShard;

typedef struct EmbTensorSet
{
	const EmbAllocator *mem;
	const EmbStop *stop;		/* polled while files are opened and quantized weights unpacked */
	int			n_shards;
	EmbTensorShard *shards;
} EmbTensorSet;

/* Opens the weights of a model directory: the file that transformers would choose. */
extern EmbStatus emb_tensors_open_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTensorSet *set, EmbError *err);

/* Whether dir has a file that emb_tensors_open_dir would open. */
extern bool emb_tensors_exist(const char *dir);

/* Whether the first weights file there can be opened, and is not what a failed download left instead. */
extern EmbStatus emb_tensors_check_start(const char *dir, EmbError *err);

/* Only one file: torch format if its name ends in .bin, .pt or .pth, else safetensors. */
extern EmbStatus emb_tensors_open_file(const char *dir, const char *name, const EmbAllocator *mem, const EmbStop *stop,
									   EmbTensorSet *set, EmbError *err);
extern void emb_tensors_close(EmbTensorSet *set);

/*
 * Adds the tensors of another file, read like emb_tensors_open_file. A module
 * saved on its own may call its tensors "weight" and "bias": with prefix, not
 * NULL, such tensors are found as prefix + name. Pointers to the set's tensors
 * stay valid. Of equal names the first one added is found.
 */
extern EmbStatus emb_tensors_add_file(EmbTensorSet *set, const char *dir, const char *name, const char *prefix,
									  EmbError *err);

/* The same for a file whose tensors are all found as prefix + name. */
extern EmbStatus emb_tensors_add_file_under(EmbTensorSet *set, const char *dir, const char *name, const char *prefix,
											EmbError *err);

/* NULL: there is none. */
extern const EmbTensor *emb_tensors_find(const EmbTensorSet *set, const char *name);

/* EMB_ERR_UNSUPPORTED for a dtype other than F32, F16, BF16. */
extern EmbStatus emb_tensors_check_dtype(const EmbTensorSet *set, const EmbTensor *tensor, EmbError *err);

/*
 * Elements first .. first + n - 1 in storage order, converted to fp32 (exact).
 * EMB_ERR_FORMAT for a NaN or infinity, with tensor and index;
 * EMB_ERR_UNSUPPORTED as emb_tensors_check_dtype.
 */
extern EmbStatus emb_tensors_read_f32(const EmbTensorSet *set, const EmbTensor *tensor,
									  int64_t first, int64_t n, float *out, EmbError *err);

/*
 * Elements first .. first + n - 1 as they are in the file, little endian: n
 * times the dtype's size. Only for the dtypes that EmbDtype lists;
 * EMB_ERR_UNSUPPORTED for others.
 */
extern EmbStatus emb_tensors_read_raw(const EmbTensorSet *set, const EmbTensor *tensor,
									  int64_t first, int64_t n, void *out, EmbError *err);

#endif
