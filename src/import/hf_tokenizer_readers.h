/*
 * hf_tokenizer_readers.h
 *		Functions that the readers of tokenizer files offer to hf_tokenizer.c
 *		and to each other: hf_unigram.c, hf_bpe.c, hf_vocab.c, sentencepiece.c,
 *		spm_bpe.c and spm_merges.c.
 */
#ifndef EMB_IMPORT_HF_TOKENIZER_READERS_H
#define EMB_IMPORT_HF_TOKENIZER_READERS_H

#include "import/hf_tokenizer_spec.h"

typedef struct EmbCheckpoint EmbCheckpoint; /* checkpoint.h */

/* ------------------------------------------------ parts of tokenizer.json */

/* model of type Unigram, the normalizer and the pre-tokenizer. */
extern EmbStatus emb_tok_read_unigram(const EmbJson *doc, const json_t *model, const EmbAllocator *mem,
									  EmbTokSpec *spec, EmbError *err);

/* The normalizer of Unigram or BPE: steps. */
extern EmbStatus emb_tok_read_steps(const EmbJson *doc, const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);

/* A pre-tokenizer of type Metaspace: spec's meta, split_meta and prepend. */
extern EmbStatus emb_tok_read_metaspace(const EmbJson *doc, const json_t *obj, EmbTokSpec *spec, EmbError *err);

/* model of type BPE, the normalizer and the pre-tokenizer. */
extern EmbStatus emb_tok_read_bpe(const EmbJson *doc, const json_t *model, const EmbAllocator *mem,
								  EmbTokSpec *spec, EmbError *err);

/* --------------------------------------------------- files without it */

/*
 * Reads the files that exist: sentencepiece.bpe.model, or vocab.txt, and the
 * configuration files with it.
 */
extern EmbStatus emb_import_bpe_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err);
extern EmbStatus emb_import_sentencepiece_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err);
/* tokenizer.model; notes: gets what AutoTokenizer takes otherwise than SentencePiece, or NULL. */
extern EmbStatus emb_import_spm_bpe_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbCheckpoint *notes,
										EmbTokSpec *spec, EmbError *err);
extern EmbStatus emb_import_vocab_dir(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbTokSpec *spec, EmbError *err);

/* The parsers of the bytes of these files, also for the fuzz targets. */
extern EmbStatus emb_import_vocab_txt(const char *name, const char *data, size_t size,
									  const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);
extern EmbStatus emb_import_bpe(const char *vocab, size_t vocab_size, const char *merges, size_t merges_size,
								const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);
extern EmbStatus emb_import_sentencepiece(const char *name, const char *data, size_t size,
										  const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);
/* class: "GemmaTokenizer" or "LlamaTokenizer"; "": none, the file decides. */
extern EmbStatus emb_import_spm_bpe(const char *name, const char *data, size_t size, const char *class,
									const EmbAllocator *mem, EmbTokSpec *spec, EmbError *err);

/* ------------------------------------------- what they have in common */

/* Replaces the BERT defaults by the defaults of Unigram or BPE. */
extern void emb_tok_spec_make_unigram(EmbTokSpec *spec);
extern void emb_tok_spec_make_bpe(EmbTokSpec *spec);

/*
 * Merges of BPE. reserve makes room for n, and for pieces in *buffer, which the
 * caller releases (also after an error); add takes one merge, "left right" in
 * line[0 .. len), whose pieces and result are in the vocabulary. where and i
 * are for messages.
 */
extern EmbStatus emb_tok_spec_reserve_merges(EmbTokSpec *spec, const char *file, size_t n, const EmbAllocator *mem,
											 char **buffer, EmbError *err);
extern EmbStatus emb_tok_spec_add_merge(EmbTokSpec *spec, const char *file, const char *where, size_t i,
										const char *line, size_t len, char *buffer, EmbError *err);

/*
 * The merges of a vocabulary without merges (spm_merges.c): every two pieces
 * whose texts together are a piece. The pieces are sorted. order: all ids,
 * those that merge first at the front; NULL: as they are. Of the merges that
 * lead to one piece, the one with the shortest left part comes first.
 */
extern EmbStatus emb_tok_spec_derive_merges(EmbTokSpec *spec, const char *file, const int32_t *order, const EmbAllocator *mem, EmbError *err);

/*
 * Checks that no run of unknown characters is in the vocabulary, so that
 * fusing unknown characters does not matter.
 */
extern EmbStatus emb_tok_spec_check_unknown(const char *file, const EmbTokSpec *spec, EmbError *err);

/*
 * Fills storage->sorted from the pieces. Of equal pieces the last one is used,
 * the others become holes.
 */
extern EmbStatus emb_tok_spec_sort(EmbTokSpec *spec, const char *file, const EmbAllocator *mem, EmbError *err);

/* tokenizer_config.json, special_tokens_map.json, added_tokens.json into storage->docs, where they exist. */
extern EmbStatus emb_tok_spec_load_companions(EmbTokSpec *spec, const char *dir, const EmbAllocator *mem, EmbError *err);

/* The three of them; without a root where a file is missing. */
extern void emb_tok_spec_companions(const EmbTokSpec *spec, const EmbJson **config, const EmbJson **map, const EmbJson **added);

/*
 * Changes a spec that was read from a folder's tokenizer.json, of which json is
 * the document, to what AutoTokenizer of transformers 5 makes of the folder
 * (hf_tokenizer_class.c). notes: gets what changed, or NULL.
 */
extern EmbStatus emb_tok_follow_class(const char *dir, const EmbJson *json, const EmbAllocator *mem, EmbCheckpoint *notes,
									  EmbTokSpec *spec, EmbError *err);

/* Refuses a "tokenizer_class" that is not in classes (NULL ends the list). */
extern EmbStatus emb_tok_spec_check_class(const EmbTokSpec *spec, const char *const *classes, EmbError *err);

/*
 * Adds the tokens that these files name; the id of a role is -1 if the
 * vocabulary lacks its token. file: name of the vocabulary.
 */
extern EmbStatus emb_tok_spec_add_companions(EmbTokSpec *spec, const char *file, const EmbTokRole roles[EMB_TOK_N_ROLES],
											 int32_t ids[EMB_TOK_N_ROLES], const EmbAllocator *mem, EmbError *err);

#endif
