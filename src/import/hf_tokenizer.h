/*
 * hf_tokenizer.h
 *		Reads the tokenizer files of a model directory into an EmbTokSpec.
 *
 * The first of these that exists is read: tokenizer.json (WordPiece, Unigram
 * or BPE; its truncation and padding are ignored, because the caller's
 * max_tokens applies); vocab.txt with tokenizer_config.json (do_lower_case,
 * strip_accents, tokenize_chinese_chars), as BertTokenizerFast or
 * MPNetTokenizerFast of transformers reads them; sentencepiece.bpe.model, as
 * transformers converts XLM-RoBERTa's; vocab.json with merges.txt, as
 * transformers converts RoBERTa's; tokenizer.model of type BPE, as transformers
 * reads Gemma's and Llama's. Any other kind of tokenizer is
 * EMB_ERR_UNSUPPORTED with file, key and value.
 */
#ifndef EMB_IMPORT_HF_TOKENIZER_H
#define EMB_IMPORT_HF_TOKENIZER_H

#include "import/hf_tokenizer_readers.h"

/*
 * spec->storage owns the strings of *spec; free with emb_tok_spec_free. stop
 * is polled while a tokenizer.json is read, and again while spec becomes a
 * block: it must live as long.
 */
extern EmbStatus emb_import_tokenizer(const char *dir, const EmbAllocator *mem, const EmbStop *stop,
									  EmbTokSpec *spec, EmbError *err);

/*
 * The same as AutoTokenizer of transformers 5 reads the folder: a
 * tokenizer.json together with the class that its companions and config.json
 * name (hf_tokenizer_class.c). notes: gets what differs from tokenizer.json
 * alone, or NULL.
 */
extern EmbStatus emb_import_auto_tokenizer(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbCheckpoint *notes,
										   EmbTokSpec *spec, EmbError *err);

/* The parser of the bytes of a tokenizer.json, also for the fuzz targets. */
extern EmbStatus emb_import_tokenizer_json(const char *name, const char *data, size_t size,
										   const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);

#endif
