/*
 * pair_template.c
 *		The instruction inside a prompt for queries.
 */
#include "common/pair_template.h"

#include <string.h>

bool
emb_prompt_find_instruction(const char *prompt, EmbPromptInstruction *found)
{
	static const char before[] = "Instruct: ";
	static const char after[] = "\nQuery:";
	const char *end;

	if (strncmp(prompt, before, strlen(before)) != 0)
		return false;
	end = strstr(prompt + strlen(before), after);
	if (end == NULL)
		return false;
	*found = (EmbPromptInstruction) {.begin = strlen(before), .bytes = (size_t) (end - prompt) - strlen(before)};
	return true;
}
