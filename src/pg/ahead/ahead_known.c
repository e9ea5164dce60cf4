/*
 * ahead_known.c
 *		Answers about functions or tables by their OIDs, until these change.
 */
#include "pg/ahead/ahead_known.h"

typedef struct Answer
{
	Oid			oid;			/* the key */
	int			answer;
} Answer;

static HTAB *
create_answers(const char *name)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Answer);
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS);
}

bool
embed_ahead_known_find(EmbedAheadKnown *known, Oid oid, int *answer)
{
	const Answer *found;

	if (!known->is_watching)
		known->watch();
	known->is_watching = true;
	if (known->answers == NULL)
		return false;
	found = hash_search(known->answers, &oid, HASH_FIND, NULL);
	if (found != NULL)
		*answer = found->answer;
	return found != NULL;
}

void
embed_ahead_known_add(EmbedAheadKnown *known, Oid oid, int answer, uint64 seen)
{
	Answer	   *entry;

	if (seen != known->n_changes)
		return;
	if (known->answers == NULL)
		known->answers = create_answers(known->name);
	entry = hash_search(known->answers, &oid, HASH_ENTER, NULL);
	entry->answer = answer;
}

void
embed_ahead_known_forget(EmbedAheadKnown *known, Oid oid)
{
	known->n_changes++;
	if (known->answers == NULL)
		return;
	if (OidIsValid(oid))
		(void) hash_search(known->answers, &oid, HASH_REMOVE, NULL);
	else
	{
		hash_destroy(known->answers);
		known->answers = NULL;
	}
}
