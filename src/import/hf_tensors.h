/*
 * hf_tensors.h
 *		The weights of a directory of the hub, by key.
 *
 * Example:
 *
 *		emb_hf_tensors_open(&weights, dir, &config, mem, &arch, err);
 *		emb_hf_tensors_check(&weights, &arch, answer_ids, key, n_rows, n_cols, err);
 *		emb_hf_tensors_read(&weights, &arch, answer_ids, key, row, n, n_cols, rows, err);
 *		emb_hf_tensors_close(&weights);
 */
#ifndef EMB_IMPORT_HF_TENSORS_H
#define EMB_IMPORT_HF_TENSORS_H

#include "common/parts.h"
#include "formats/tensors.h"
#include "import/family.h"
#include "import/hf_experts.h"
#include "import/hf_multi.h"
#include "import/hf_sparse.h"
#include "import/quantized.h"
#include "import/static_table.h"

typedef struct EmbHfTensors
{
	const EmbAllocator *mem;
	const EmbFamily *family;
	EmbTensorSet set;
	EmbStaticTable table;		/* for a static model */
	EmbQuantReader quant;		/* of quantized layers */
	char		prefix[EMB_TENSORS_MAX_NAME + 1];	/* before the names of an encoder */
	char		head_prefix[EMB_TENSORS_MAX_NAME + 1];	/* before those of a classifier */
	EmbHfSparseTables sparse;	/* of a learned sparse model whose queries are read by a table; set by the owner, owned */
	EmbHfMultiTables multi;		/* of a ColBERT model, likewise */
	bool		has_projection;	/* the first dense module is the matrix "linear" beside the layers */
	int32_t		n_tasks;		/* as in EmbHfConfig */
	EmbHfExpert expert;			/* owned */
	float		word_scale;
	float		query_scale;
} EmbHfTensors;

/*
 * Opens the weights of the model in dir that config describes, including the
 * files of its dense modules and token heads, and sets the token heads in
 * arch. After an error there is nothing to close.
 */
extern EmbStatus emb_hf_tensors_open(EmbHfTensors *w, const char *dir, const EmbHfConfig *config, const EmbAllocator *mem,
									 EmbArch *arch, EmbError *err);
extern void emb_hf_tensors_close(EmbHfTensors *w);

/* Whether the files hold any tensor of this layer. */
extern bool emb_hf_tensors_has_layer(const EmbHfTensors *w, int32_t layer);

/* See emb_checkpoint_check and emb_checkpoint_read. answer_ids: [2], the checkpoint's. */
extern EmbStatus emb_hf_tensors_check(EmbHfTensors *w, const EmbArch *arch, const int32_t *answer_ids, EmbTensorKey key,
									  int32_t n_rows, int32_t n_cols, EmbError *err);
extern EmbStatus emb_hf_tensors_read(EmbHfTensors *w, const EmbArch *arch, const int32_t *answer_ids, EmbTensorKey key,
									 int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err);

/* See emb_checkpoint_codes, emb_checkpoint_read_order and emb_checkpoint_read_codes. */
extern EmbStatus emb_hf_tensors_codes(EmbHfTensors *w, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbCodes *codes, EmbError *err);
extern EmbStatus emb_hf_tensors_read_order(EmbHfTensors *w, EmbTensorKey key, int32_t n_cols, uint16_t *order, EmbError *err);
extern EmbStatus emb_hf_tensors_read_codes(EmbHfTensors *w, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
										   uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err);

#endif
