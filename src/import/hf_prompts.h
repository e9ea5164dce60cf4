/*
 * hf_prompts.h
 *		What stands before queries and documents, by the model's own files or
 *		by the family that its name says it is of.
 *
 *		config_sentence_transformers.json	"prompts", "default_prompt_name"
 *
 * Where that file names no prompt for queries and none for documents, a table
 * of well-known models has them: those of their cards. A model is known by its
 * name, the last part of a path, compared as a whole: the directory's, else
 * "_name_or_path" of config.json, else what the caller calls it. A directory
 * inside the hub's cache ("models--A--B/snapshots/REVISION") is called B.
 *
 * So an image may depend on what its directory is called, and where nothing
 * else tells, on the model's name. The directory comes first: it says what the
 * model is, "_name_or_path" often what it was made from (arctic-embed from e5).
 */
#ifndef EMB_IMPORT_HF_PROMPTS_H
#define EMB_IMPORT_HF_PROMPTS_H

#include "import/hf_config.h"

typedef struct EmbKnownPrompts
{
	const char *query;			/* "" for none */
	const char *document;
	char		name[128];		/* that it was known by */
	const char *found_in;		/* what that is the name of, for messages */
} EmbKnownPrompts;

/*
 * The prompts of a model without its own: false where its name is not in the
 * table. dir, as the import was given it; name, what the model will be called,
 * or NULL.
 */
extern bool emb_hf_find_prompts(const EmbHfConfig *config, const char *dir, const char *name, EmbKnownPrompts *known);

#endif
