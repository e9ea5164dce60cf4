/*
 * ahead_texts.c
 *		Texts of upcoming rows, embedded together into a store.
 */
#include "pg/ahead/ahead_texts.h"

#include "access/detoast.h"
#include "miscadmin.h"

#include "pg/call/limits.h"
#include "pg/call/overflow.h"
#include "pg/call/text_value.h"

/*
 * On one thread a batch of longer texts is no faster than its texts alone:
 * 1.5x at 8 tokens, 1.1x at 20, nothing from 32 tokens on.
 */
#define ALONE_TOKENS_MAX	32

static float *reserve_vectors(void *ctx, int32 n);
static void take_vectors(void *ctx, const float *vectors, int32 n);

EmbedAheadTexts *
embed_ahead_texts(MemoryContext cxt, EmbedAheadStore *store, const char *name, const char *digits, EmbedNameUse use)
{
	EmbedAheadTexts *texts = MemoryContextAllocZero(cxt, sizeof(EmbedAheadTexts));
	EmbedBatchSink sink = {texts, reserve_vectors, take_vectors};

	texts->store = store;
	texts->cxt = cxt;
	texts->scratch = AllocSetContextCreate(cxt, "embed text", ALLOCSET_SMALL_SIZES);
	texts->use = use;
	texts->has_name = name != NULL;
	/* a longer string is no model's name, nor is its beginning */
	if (name != NULL)
		strlcpy(texts->name, strlen(name) > EMB_NAME_MAX ? "@" : name, sizeof(texts->name));
	strlcpy(texts->digits, digits, sizeof(texts->digits));
	embed_batch_init(&texts->batch, cxt, &sink);
	return texts;
}

int
embed_ahead_threads(void)
{
	int			n = emb_threads_available();

	return embed_guc_threads > 0 ? Min(n, embed_guc_threads) : n;
}

static bool
has_digits(const uint8 *fingerprint, const char *digits)
{
	for (int i = 0; digits[i] != '\0'; i++)
	{
		int			nibble = i % 2 == 0 ? fingerprint[i / 2] >> 4 : fingerprint[i / 2] & 15;

		if (digits[i] != "0123456789abcdef"[nibble])
			return false;
	}
	return true;
}

void
embed_ahead_begin(EmbedAheadTexts *texts)
{
	int32		n;

	texts->n_places = texts->n_ready = texts->n_refused = 0;
	texts->n_tokens = 0;
	texts->batch.n_texts = texts->batch.n_ids = 0;
	texts->ref = embed_registry_look(texts->has_name ? texts->name : NULL, EMB_KIND_EMBEDDING, texts->use);
	if (texts->ref != NULL && !has_digits(texts->ref->fingerprint, texts->digits))
		texts->ref = NULL;
	if (texts->ref == NULL)
		return;
	n = texts->ref->info->max_tokens;
	if (texts->ids_room < n)
	{
		if (texts->ids != NULL)
			pfree(texts->ids);
		texts->ids = NULL;
		texts->ids_room = 0;
		texts->ids = MemoryContextAlloc(texts->cxt, n * sizeof(int32));
		texts->ids_room = n;
	}
	texts->n_waiting = 0;
	texts->begun = embed_stat_begin(texts->ref->stat);
}

/* Whether an error is the text's own: its bytes, its length. */
static bool
is_of_text(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION || ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

/* False if the text cannot be read. */
static bool
encode(EmbedAheadTexts *texts, Datum text, EmbEncoded *encoded)
{
	const EmbedInstruction none = {NULL, 0};
	MemoryContext old = CurrentMemoryContext;
	volatile bool can_be_read = true;

	PG_TRY();
	{
		*encoded = embed_text_encode(texts->ref, EMB_PROMPT_DOCUMENT, none, text, texts->ids, texts->scratch);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		if (!is_of_text(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
		can_be_read = false;
	}
	PG_END_TRY();
	return can_be_read;
}

static void
note_place(EmbedAheadTexts *texts, EmbedAheadVector *place)
{
	if (texts->n_places == texts->places_room)
	{
		int			room = Max(2 * texts->places_room, 64);

		if (texts->places == NULL)
			texts->places = MemoryContextAlloc(texts->cxt, room * sizeof(EmbedAheadVector *));
		else
			texts->places = repalloc(texts->places, room * sizeof(EmbedAheadVector *));
		texts->places_room = room;
	}
	texts->places[texts->n_places++] = place;
}

static void
add_new(EmbedAheadTexts *texts, const EmbedCacheKey *key, Datum text)
{
	const EmbedModelRef *ref = texts->ref;
	EmbedAheadVector *place;
	EmbEncoded	encoded;
	uint64		begun = embed_clock_ns();

	if (!encode(texts, text, &encoded) || (encoded.truncated && embed_guc_on_overflow == EMBED_OVERFLOW_ERROR))
		return;
	if (encoded.n_ids > ALONE_TOKENS_MAX && embed_ahead_threads() == 1)
	{
		texts->n_refused++;
		return;
	}
	/* past the limit the row itself raises */
	if (!embed_limits_fit(texts->n_waiting + encoded.n_ids))
		return;
	place = embed_ahead_reserve(texts->store, key, ref->info->dim);
	if (place == NULL)
		return;
	place->truncated = encoded.truncated;
	place->n_tokens = encoded.n_ids;
	place->took_ns = embed_clock_ns() - begun;
	note_place(texts, place);
	texts->n_tokens += encoded.n_ids;
	texts->n_waiting += encoded.n_ids;
	embed_batch_add(&texts->batch, ref, texts->ids, NULL, encoded.n_ids);
}

void
embed_ahead_add(EmbedAheadTexts *texts, Datum text)
{
	EmbedStat  *outer = embed_stat_running;
	struct varlena *plain;
	EmbedCacheKey key;

	CHECK_FOR_INTERRUPTS();
	/* long texts use all threads by themselves */
	if (texts->ref == NULL || toast_raw_datum_size(text) - VARHDRSZ > EMBED_CACHE_TEXT_MAX)
		return;
	embed_stat_enter(texts->ref->stat);
	plain = PG_DETOAST_DATUM_PACKED(text);
	key = embed_cache_key(texts->ref, EMB_PROMPT_DOCUMENT, false, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
	if (embed_ahead_find(&key, texts->ref->info->dim) == NULL && !embed_cache_has(&key, texts->ref->info->dim))
		add_new(texts, &key, PointerGetDatum(plain));
	embed_stat_running = outer;
}

static float *
reserve_vectors(void *ctx, int32 n)
{
	const EmbedAheadTexts *texts = ctx;

	return palloc((Size) n * texts->ref->info->dim * sizeof(float));
}

/* The vectors of the places that have none yet, in order. */
static void
take_vectors(void *ctx, const float *vectors, int32 n)
{
	EmbedAheadTexts *texts = ctx;
	EmbedStat  *stat = texts->ref->stat;
	int32		dim = texts->ref->info->dim;
	uint64		now = embed_clock_ns();

	for (int32 i = 0; i < n; i++)
	{
		EmbedAheadVector *place = texts->places[texts->n_ready++];

		memcpy(place->vector, vectors + (Size) i * dim, dim * sizeof(float));
		texts->n_waiting -= place->n_tokens;
		embed_limits_count(place->n_tokens);
		embed_stat_add(stat, EMBED_TEXTS, 1);
		embed_stat_add(stat, EMBED_TOKENS, place->n_tokens);
		embed_stat_add(stat, EMBED_TOKENIZER_NS, place->took_ns);
		place->took_ns = (now - texts->begun) / n;
		place->is_ready = true;
	}
	texts->store->n_ready += n;
	texts->begun = now;
	pfree((void *) vectors);
}

void
embed_ahead_run(EmbedAheadTexts *texts)
{
	EmbedStat  *outer = embed_stat_running;

	/* a text alone is left to its row */
	if (texts->ref != NULL && texts->n_places > 1)
	{
		embed_stat_enter(texts->ref->stat);
		embed_batch_run(&texts->batch, texts->ref);
		(void) embed_stat_end(texts->ref->stat);
		embed_stat_running = outer;
	}
	texts->ref = NULL;
}
