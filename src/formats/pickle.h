/*
 * pickle.h
 *		The pickle of a state dict, as torch.save writes it (protocols 2 to
 *		4).
 *
 * A pickle is a program. This machine executes only the instructions that
 * build numbers, strings, tuples, lists and dictionaries. It recognizes only
 * the functions that describe a tensor (torch._utils. _rebuild_tensor,
 * _rebuild_tensor_v2, _rebuild_parameter, the storage types of torch,
 * collections.OrderedDict) and runs none of them. Every other instruction or
 * name is EMB_ERR_UNSUPPORTED, with the name and its offset. Memory is
 * proportional to the bytes read.
 *
 * Example:
 *
 *		EmbPickle pickle;
 *		status = emb_pickle_read_state(data, size, "data.pkl", mem, stop, &pickle, &used, err);
 *		for (uint32_t i = 0; i < pickle.n_tensors; i++)
 *			take(&pickle.tensors[i]);
 *		emb_pickle_free(&pickle);
 */
#ifndef EMB_FORMATS_PICKLE_H
#define EMB_FORMATS_PICKLE_H

#include "formats/tensors.h"

/* A string inside the bytes read, not zero-terminated. */
typedef struct EmbPickleText
{
	const char *text;
	size_t		len;
} EmbPickleText;

/* A block of elements, viewed by tensors; its data is elsewhere, under its key. */
typedef struct EmbPickleStorage
{
	EmbPickleText key;
	const char *dtype_name;		/* as safetensors writes it */
	EmbDtype	dtype;
	int			elem_bytes;
	int64_t		n_elems;
} EmbPickleStorage;

typedef struct EmbPickleTensor
{
	EmbPickleText name;
	uint32_t	storage;		/* index */
	int64_t		first;			/* element of the storage */
	int			rank;
	int64_t		shape[EMB_TENSORS_MAX_RANK];
	int64_t		n_elems;		/* first + n_elems <= the storage's */
} EmbPickleTensor;

typedef struct EmbPickle
{
	const EmbAllocator *mem;
	uint32_t	n_storages;
	EmbPickleStorage *storages; /* a key may occur more than once */
	uint32_t	n_tensors;
	EmbPickleTensor *tensors;	/* in row-major order without gaps, names of 1 .. EMB_TENSORS_MAX_NAME bytes */
} EmbPickle;

/*
 * Reads the tensors of the dictionary (or of its entry "state_dict" or "model", if the
 * dictionary itself has no tensor); other entries are ignored. *used: bytes up
 * to the end of the pickle. The texts point into data.
 */
extern EmbStatus emb_pickle_read_state(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop,
									   EmbPickle *pickle, size_t *used, EmbError *err);

/* Reads a pickled list of at most max strings. */
extern EmbStatus emb_pickle_read_texts(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop,
									   EmbPickleText *texts, uint32_t max, uint32_t *n_texts, size_t *used, EmbError *err);

/* Skips a pickle whose value does not matter. */
extern EmbStatus emb_pickle_skip(const uint8_t *data, size_t size, const char *file, const EmbAllocator *mem, const EmbStop *stop,
								 size_t *used, EmbError *err);
extern void emb_pickle_free(EmbPickle *pickle);

#endif
