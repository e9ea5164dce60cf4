/*
 * shared_prefix.c
 *		Which call sites keep the prefix of their documents.
 */
#include "pg/call/shared_prefix.h"

#include "utils/memutils.h"

/* The call sites with a memo, last used first; NULL after the last one. */
static EmbedPrefix *kept[EMBED_PREFIXES];

/* Takes a prefix out of kept. */
static void
forget(void *arg)
{
	EmbedPrefix *prefix = arg;
	int			n = 0;

	/* not with the context, which would leave its 16 MB with the C library */
	emb_prefix_memo_free(prefix->memo);
	prefix->cxt = NULL;
	prefix->memo = NULL;
	for (int i = 0; i < EMBED_PREFIXES; i++)
	{
		EmbedPrefix *other = kept[i];

		kept[i] = NULL;
		if (other != NULL && other != prefix)
			kept[n++] = other;
	}
}

static void
make(EmbedPrefix *prefix)
{
	EmbAllocator mem;

	if (kept[EMBED_PREFIXES - 1] != NULL)
		MemoryContextDelete(kept[EMBED_PREFIXES - 1]->cxt);
	prefix->cxt = AllocSetContextCreate(prefix->parent, "embed prefix", ALLOCSET_SMALL_SIZES);
	prefix->gone = (MemoryContextCallback) {.func = forget, .arg = prefix};
	MemoryContextRegisterResetCallback(prefix->cxt, &prefix->gone);
	mem = embed_allocator(prefix->cxt);
	prefix->memo = emb_prefix_memo_create(&mem);
}

EmbPrefixMemo *
embed_prefix_use(EmbedPrefix *prefix)
{
	EmbPrefixMemo *memo;
	int			i = 0;

	if (prefix->cxt == NULL)
	{
		make(prefix);
		i = EMBED_PREFIXES - 1;
	}
	else
	{
		while (kept[i] != prefix)
			i++;
	}
	memo = prefix->memo;
	for (; i > 0; i--)
		kept[i] = kept[i - 1];
	kept[0] = prefix;
	return memo;
}
