/*
 * sources.h
 *		Where the tensors of an image come from: the names that each family's
 *		checkpoints have for them.
 */
#ifndef EMB_IMPORT_SOURCES_H
#define EMB_IMPORT_SOURCES_H

#include "formats/tensors.h"
#include "image/image.h"

/* Rows of a tensor from first_row on (of a vector: its parts, each as long as the image's); NULL: zeros. */
typedef struct EmbSourceRows
{
	const EmbTensor *tensor;
	int64_t		first_row;
} EmbSourceRows;

/* What an image tensor takes: n_first rows of one place, the others of another. */
typedef struct EmbSource
{
	EmbSourceRows first;
	int64_t		n_first;
	EmbSourceRows second;
} EmbSource;

/*
 * sources: [emb_image_n_tensors(config)] of an fp32 image, in its order. Each is there, has the
 * shape that config wants, and a type that can be read; else EMB_ERR_NOT_FOUND,
 * EMB_ERR_FORMAT or EMB_ERR_UNSUPPORTED with the tensor's name.
 */
extern EmbStatus emb_sources_find(const EmbTensorSet *tensors, const EmbImageConfig *config,
								  const EmbAllocator *mem, EmbSource *sources, EmbError *err);

/* Rows row .. row + n - 1 of image tensor t as floats, [n, n_cols]. */
extern EmbStatus emb_source_read(EmbTensorSet *tensors, const EmbSource *source, const EmbImageTensor *t,
								 int64_t row, int64_t n, float *rows, EmbError *err);

/*
 * BGE-M3's heads, which lie in files of their own: adds those of dir to tensors
 * where it has them, and notes in config which there are. A head may be missing.
 */
extern EmbStatus emb_sources_add_heads(EmbTensorSet *tensors, const char *dir, EmbImageConfig *config, EmbError *err);

/* Adds the weights of the modules Dense that config names, in dir and below. */
extern EmbStatus emb_sources_add_dense(EmbTensorSet *tensors, const char *dir, const EmbHfConfig *config, EmbError *err);

/* Whether an import computes the tensor, and the weights have none. */
extern bool emb_source_is_computed(EmbTensorRole role);

/*
 * MPNet's bias of scores by buckets of distances, [EMB_DISTANCE_BUCKETS, n_heads],
 * as the image has it: [n_heads, EMB_DISTANCES].
 */
#define EMB_DISTANCE_BUCKETS	32

extern void emb_sources_spread_distances(const float *buckets, int32_t n_heads, float *bias);

#endif
