/*
 * model_options.h
 *		Names of models, and the JSON options of embed_import, embed_load and
 *		embed_load_lo.
 */
#ifndef EMBED_PG_MODEL_OPTIONS_H
#define EMBED_PG_MODEL_OPTIONS_H

#include "pg/glue.h"

#include "utils/jsonb.h"

typedef struct EmbedModelOptions
{
	EmbImportOptions import;	/* strings in UTF-8 */
	bool		has_import;		/* set if an option works only for an import */
	bool		has_default;
	bool		make_default;
	char	   *alias;
	char	   *calibration;	/* a query */
	char	   *fingerprint;	/* what the image must have, or NULL */
	char	   *storage;		/* "rows", "file" or NULL: by size */
	struct EmbedReplaced *replaced; /* embed_reimport: what the image takes the place of; or NULL */
	bool		is_filed;		/* what follows from storage and the size, when the size is known */
} EmbedModelOptions;

/* The name as a string; raises 42602 if nothing can have it; what: "model name" or "alias", for the message. */
extern char *embed_valid_name(text *name, const char *what);

/* All strings are in the current context. Raises 22023 on what is unknown, of another type, or out of range. */
extern void embed_model_options_parse(Jsonb *jsonb, EmbedModelOptions *options);

#endif
