/*
 * hf_prompts.h
 *		The prompts for queries and documents: from the model's own files, or
 *		from the family that the model's name shows.
 *
 *		config_sentence_transformers.json	"prompts", "default_prompt_name"
 *
 * If that file names no prompt for queries and none for documents, a table of
 * well-known models supplies the prompts of their model cards. A model is
 * found by its name, the last part of a path, compared as a whole. The names
 * are tried in this order: the directory's name, "_name_or_path" of
 * config.json, the caller's name for the model. A directory inside the hub's
 * cache ("models--A--B/snapshots/REVISION") has the name B.
 *
 * So an image may depend on the name of its directory, and if nothing else is
 * known, on the name of the model. The directory's name comes first because it
 * names the model itself; "_name_or_path" often names the model it was trained
 * from (arctic-embed from e5).
 */
#ifndef EMB_IMPORT_HF_PROMPTS_H
#define EMB_IMPORT_HF_PROMPTS_H

#include "import/hf_config.h"

typedef struct EmbKnownPrompts
{
	const char *query;			/* "" for none */
	const char *document;
	bool		centers_cut;	/* its card takes a layer norm before it cuts vectors */
	char		name[128];		/* the name that was found */
	const char *found_in;		/* the place of that name, for messages */
} EmbKnownPrompts;

/*
 * The prompts of a model without its own. False: its name is not in the table.
 * dir: as passed to the import. name: name of the model to be, or NULL.
 */
extern bool emb_hf_find_prompts(const EmbHfConfig *config, const char *dir, const char *name, EmbKnownPrompts *known);

/*
 * Where a word, in lower case, is in one of the model's names, tried in the
 * order above: the place of that name, for messages; NULL: nowhere.
 */
extern const char *emb_hf_find_word(const EmbHfConfig *config, const char *dir, const char *name, const char *word);

#endif
