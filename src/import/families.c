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
	const EmbFamily *found = NULL;

	for (const EmbFamily *const *list = emb_families; *list != NULL; list++)
	{
		for (const EmbFamily *f = *list; f->model_type != NULL; f++)
		{
			if (strcmp(model_type, f->model_type) != 0)
				continue;
			found = f;
			if (doc != NULL && json_object_get(doc->root, f->hidden) != NULL)
				return f;
		}
	}
	return found;
}
