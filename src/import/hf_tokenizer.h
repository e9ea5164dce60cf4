/*
 * hf_tokenizer.h
 *		A model directory's tokenizer files -> EmbTokSpec.
 *
 * tokenizer.json where there is one (WordPiece, Unigram or BPE; its truncation and
 * padding are ignored: the caller's max_tokens rules), else vocab.txt with tokenizer_config.json
 * (do_lower_case, strip_accents, tokenize_chinese_chars) as
 * transformers' BertTokenizerFast or MPNetTokenizerFast reads them, else sentencepiece.bpe.model as
 * transformers converts XLM-RoBERTa's, else vocab.json with merges.txt as it
 * converts RoBERTa's. A tokenizer of another kind is
 * EMB_ERR_UNSUPPORTED with the file, the key and the value that say so.
 */
#ifndef EMB_IMPORT_HF_TOKENIZER_H
#define EMB_IMPORT_HF_TOKENIZER_H

#include "tokenizer/tokenizer.h"

/*
 * *spec's strings are owned by spec->storage; free with emb_tok_spec_free. stop
 * is asked while a tokenizer.json is read, and again while spec becomes a block:
 * it must live as long.
 */
extern EmbStatus emb_import_tokenizer(const char *dir, const EmbAllocator *mem, const EmbStop *stop,
									  EmbTokSpec *spec, EmbError *err);

/* The parsers behind it, on bytes; what the fuzz targets call. */
extern EmbStatus emb_import_tokenizer_json(const char *name, const char *data, size_t size,
										   const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);
extern EmbStatus emb_import_vocab_txt(const char *name, const char *data, size_t size,
									  const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);

extern EmbStatus emb_import_bpe(const char *vocab, size_t vocab_size, const char *merges, size_t merges_size,
								const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);
extern EmbStatus emb_import_sentencepiece(const char *name, const char *data, size_t size,
										  const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);

extern void emb_tok_spec_free(EmbTokSpec *spec, const EmbAllocator *mem);

#endif
