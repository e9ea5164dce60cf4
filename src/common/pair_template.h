/*
 * pair_template.h
 *		How a decoder that reranks reads a pair: as one text, made of the
 *		texts of a template, an instruction, the query and the document.
 *
 * The tokens are those of PREFIX, of the middle, and of SUFFIX, tokenized
 * apart. The middle is, with an instruction,
 *
 *		BEFORE_INSTRUCTION instruction BEFORE_QUERY query BEFORE_DOCUMENT document
 *
 * and without one, or with an empty one,
 *
 *		PLAIN query BEFORE_DOCUMENT document
 *
 * Only the middle is cut if the whole has too many tokens, on its right. The
 * middle itself may be tokenized in two parts, at a place in BEFORE_DOCUMENT:
 * then documents with one query share the ids before that place.
 */
#ifndef EMB_COMMON_PAIR_TEMPLATE_H
#define EMB_COMMON_PAIR_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The order of the texts in an image. */
typedef enum EmbTemplateText
{
	EMB_TEMPLATE_PREFIX,
	EMB_TEMPLATE_BEFORE_INSTRUCTION,
	EMB_TEMPLATE_BEFORE_QUERY,
	EMB_TEMPLATE_PLAIN,
	EMB_TEMPLATE_BEFORE_DOCUMENT,
	EMB_TEMPLATE_SUFFIX,
	EMB_TEMPLATE_INSTRUCTION	/* the default instruction; may be empty */
} EmbTemplateText;

#define EMB_TEMPLATE_TEXTS	(EMB_TEMPLATE_INSTRUCTION + 1)

/* Longest text of a template, in bytes. */
#define EMB_TEMPLATE_MAX_BYTES	8192

/* EmbPairTemplate.seam: the middle is tokenized as one text. */
#define EMB_TEMPLATE_NO_SEAM	(-1)

typedef struct EmbPairTemplate
{
	const char *texts[EMB_TEMPLATE_TEXTS];	/* zero-terminated UTF-8 */
	bool		takes_instruction;	/* false: BEFORE_INSTRUCTION, BEFORE_QUERY and INSTRUCTION are empty */
	bool		is_apart;		/* the template itself says that the middle is tokenized in two parts */
	int32_t		seam;			/* bytes of BEFORE_DOCUMENT in the first part, or EMB_TEMPLATE_NO_SEAM */
} EmbPairTemplate;

/* The place of the instruction in a prompt for queries. */
typedef struct EmbPromptInstruction
{
	size_t		begin;
	size_t		bytes;
} EmbPromptInstruction;

/*
 * Embedding models that take an instruction have it in the prompt for queries:
 * "Instruct: {instruction}\nQuery:", maybe with a space at its end. False: it
 * is another prompt.
 */
extern bool emb_prompt_find_instruction(const char *prompt, EmbPromptInstruction *found);

#endif
