/*
 * hf_template.h
 *		Templates of decoders that rerank: the known ones, and the import
 *		option "template".
 *
 * The option is a JSON object:
 *
 *		{"prefix": "<|im_start|>user\n", "middle": "{instruction}\n{query}\n{document}", "suffix": "..",
 *		 "plain": "{query}\n{document}", "yes": "yes", "no": "no"}
 *
 * "middle" has {query} and, after it, {document}; before them it may have
 * {instruction}. "plain" is the middle without an instruction; it may differ
 * only before {query}. Where "plain" is absent, an empty instruction leaves
 * nothing in the place of {instruction}. "middle" may be a list of two strings
 * that are tokenized apart: one up to {query}, one with {document}. Nothing may
 * follow {document}: what does belongs in "suffix". "yes" and "no" are the
 * answers, each one token.
 */
#ifndef EMB_IMPORT_HF_TEMPLATE_H
#define EMB_IMPORT_HF_TEMPLATE_H

#include "common/error.h"
#include "common/mem.h"
#include "common/pair_template.h"

#define EMB_DEFAULT_INSTRUCTION	"Given a web search query, retrieve relevant passages that answer the query"

typedef enum EmbBuiltInTemplate
{
	EMB_BUILT_IN_QWEN3,			/* Qwen3-Reranker */
	EMB_BUILT_IN_MXBAI			/* mxbai-rerank-v2, a Qwen2 */
} EmbBuiltInTemplate;

/* A template with the answers whose logits are compared. */
typedef struct EmbAnswerTemplate
{
	EmbPairTemplate pair;
	const char *answers[2];		/* "yes", "no" */
	const char *model;			/* whose template it is, for messages; NULL: the option's */
	const char *known_as;		/* in the names of models that are known to have it, in lower case */
	char	   *storage;		/* owned, if the texts are the option's; else NULL */
} EmbAnswerTemplate;

extern EmbAnswerTemplate emb_template_built_in(EmbBuiltInTemplate which);

/* Reads the option. On success free with emb_template_free, same allocator. */
extern EmbStatus emb_template_parse(const char *option, const EmbAllocator *mem, EmbAnswerTemplate *template, EmbError *err);
extern void emb_template_free(EmbAnswerTemplate *template, const EmbAllocator *mem);

#endif
