/*
 * families.c
 *		The list of families. make passes the list as EMB_FAMILIES:
 *		FAMILY(NAME) for every file family_NAME.c.
 */
#include "import/family.h"

#include <string.h>

#ifndef EMB_FAMILIES
#error "make defines EMB_FAMILIES: FAMILY(NAME) for every src/import/family_NAME.c"
#endif

#define FAMILY(name)	extern const EmbFamily emb_family_##name[];
EMB_FAMILIES
#undef FAMILY

const EmbFamily *const emb_families[] = {
#define FAMILY(name)	emb_family_##name,
	EMB_FAMILIES
#undef FAMILY
	NULL
};

const EmbFamily *
emb_family_find(const char *model_type, const EmbJson *doc)
{
	const char *positions = doc != NULL ? json_string_value(json_object_get(doc->root, "position_embedding_type")) : NULL;
	const EmbFamily *found = NULL;
	bool		found_by_key = false;

	for (const EmbFamily *const *list = emb_families; *list != NULL; list++)
	{
		for (const EmbFamily *f = *list; f->model_type != NULL; f++)
		{
			if (strcmp(model_type, f->model_type) != 0)
				continue;
			if (f->is_told_by_positions)
			{
				if (positions != NULL && strcmp(positions, f->position_type) == 0)
					return f;
				continue;
			}
			if (f->is_meant != NULL)
			{
				if (doc != NULL && f->is_meant(doc))
					return f;
				continue;
			}
			if (found_by_key)
				continue;
			found = f;
			if (doc != NULL && json_object_get(doc->root, f->hidden) != NULL)
				found_by_key = true;
		}
	}
	return found;
}
