/*
 * tensor_files.h
 *		What tensors.c asks of a file format: the tensors of one open file.
 *
 * shard->file is open; names and tensors are filled, whatever the status
 * emb_tensors_close releases them. number is the shard's in its set.
 */
#ifndef EMB_FORMATS_TENSOR_FILES_H
#define EMB_FORMATS_TENSOR_FILES_H

#include "formats/tensors.h"

extern EmbStatus emb_safetensors_read_shard(const char *name, int number, const EmbAllocator *mem, const EmbStop *stop,
											EmbTensorShard *shard, EmbError *err);
extern EmbStatus emb_torch_read_shard(const char *name, int number, const EmbAllocator *mem, const EmbStop *stop,
									  EmbTensorShard *shard, EmbError *err);

#endif
