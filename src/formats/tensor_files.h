/*
 * tensor_files.h
 *		What tensors.c needs from a file format: the tensors of one open file.
 *
 * shard->file is open. The function fills names and tensors; emb_tensors_close
 * releases them whatever the status is. number is the shard's number in its
 * set.
 */
#ifndef EMB_FORMATS_TENSOR_FILES_H
#define EMB_FORMATS_TENSOR_FILES_H

#include "formats/tensors.h"

extern EmbStatus emb_safetensors_read_shard(const char *name, int number, const EmbAllocator *mem, const EmbStop *stop,
											EmbTensorShard *shard, EmbError *err);
extern EmbStatus emb_torch_read_shard(const char *name, int number, const EmbAllocator *mem, const EmbStop *stop,
									  EmbTensorShard *shard, EmbError *err);

#endif
