/*
 * answers.h
 *		The template of a decoder that reranks, on its way into an image: the
 *		tokens of its answers, its seam, its place in the strings.
 *
 * Example:
 *
 *		emb_answers_check_marks(tok, &checkpoint, stop, err);
 *		emb_answers_look_up(tok, &checkpoint, stop, err);		// now EMB_PART_ANSWERS can be read
 *		emb_answers_find_seam(tok, &checkpoint.pair_template, mem, stop, err);
 *		emb_answers_describe(&checkpoint.pair_template, &parts.config);
 */
#ifndef EMB_CONVERT_ANSWERS_H
#define EMB_CONVERT_ANSWERS_H

#include "image/image.h"
#include "import/checkpoint.h"
#include "tokenizer/tokenizer.h"

/* The instruction replaces the default one; EMB_ERR_INVALID_ARGUMENT: the template takes none. */
extern EmbStatus emb_answers_set_instruction(EmbPairTemplate *pair, const char *instruction, EmbError *err);

/* Fields of the configuration. */
extern void emb_answers_describe(const EmbPairTemplate *pair, EmbImageConfig *config);

/*
 * That marks of the template, as "<|im_start|>", are tokens: a tokenizer that
 * takes them apart gives scores that mean nothing. EMB_ERR_UNSUPPORTED names
 * the first that is not. A template that the caller gave may have any text.
 */
extern EmbStatus emb_answers_check_marks(const EmbTokenizer *tok, const EmbCheckpoint *c, const EmbStop *stop, EmbError *err);

/* Sets the ids of the checkpoint's answers; each is one token, or EMB_ERR_UNSUPPORTED. */
extern EmbStatus emb_answers_look_up(const EmbTokenizer *tok, EmbCheckpoint *c, const EmbStop *stop, EmbError *err);

/*
 * The same with the checkpoint's own tokenizer, which must not have been
 * dropped. Nothing for models without answers.
 */
extern EmbStatus emb_answers_find(EmbCheckpoint *c, const EmbStop *stop, EmbError *err);

/*
 * Sets the seam: a place at which the middle can be tokenized in two parts
 * without changing an id. That is proven on texts that are made to change
 * ids; where it does not hold, there is no seam. Does nothing for a template
 * that says itself that it is in two parts.
 */
extern EmbStatus emb_answers_find_seam(const EmbTokenizer *tok, EmbPairTemplate *pair, const EmbAllocator *mem,
									   const EmbStop *stop, EmbError *err);

/* That max_tokens has room for text beside prefix, suffix and what is before the query; and UTF-8. */
extern EmbStatus emb_answers_check_room(const EmbTokenizer *tok, const EmbPairTemplate *pair, int32_t max_tokens,
										const EmbStop *stop, EmbError *err);

#endif
