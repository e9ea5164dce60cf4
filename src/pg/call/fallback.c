/*
 * fallback.c
 *		embed.reranker_fallback: a smaller reranker for answers that would take
 *		longer than embed.max_rerank_ms.
 */
#include "pg/call/fallback.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "pg/store/names.h"

/* Fewer tokens say little about a model's speed. */
#define MEASURED_TOKENS_MIN		256

bool
embed_fallback_is_on(void)
{
	return embed_guc_max_rerank_ms > 0 && embed_guc_reranker_fallback != NULL && embed_guc_reranker_fallback[0] != '\0';
}

/*
 * Tokens per millisecond: all that this database's sessions read by the model
 * since the last embed_stat_reset(), by the time in which they waited and
 * computed. 0: not measured yet.
 */
static double
measured_speed(const EmbedModelRef *ref)
{
	EmbedStatEntry *entry = embed_control_entry(MyDatabaseId, ref->fingerprint, false);
	uint64		tokens = entry != NULL ? entry->counters[EMBED_TOKENS] : 0;
	uint64		ns = entry != NULL ? entry->counters[EMBED_WAIT_NS] + entry->counters[EMBED_COMPUTE_NS] : 0;

	return tokens >= MEASURED_TOKENS_MIN && ns > 0 ? (double) tokens * 1e6 / (double) ns : 0;
}

static void
tell(const char *name, int64 n_tokens, double speed)
{
	static TimestampTz told = 0;

	if (told == GetCurrentStatementStartTimestamp())
		return;
	told = GetCurrentStatementStartTimestamp();
	ereport(NOTICE,
			(errmsg("reranker \"%s\" served in place of the larger one", name),
			 errdetail("%lld tokens at the measured %.0f tokens/s take about %.0f ms, more than embed.max_rerank_ms (%d).",
					   (long long) n_tokens, speed * 1000, (double) n_tokens / speed, embed_guc_max_rerank_ms),
			 errhint("Name a model in the call to have this one in any case.")));
}

const EmbedModelRef *
embed_fallback_choose(EmbedSite *site, const EmbedModelRef *ref, int64 n_tokens)
{
	double		speed;
	uint8		fingerprint[EMB_HASH_SIZE];

	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	speed = measured_speed(ref);
	if (speed == 0 || (double) n_tokens <= embed_guc_max_rerank_ms * speed)
		return ref;
	memcpy(fingerprint, ref->fingerprint, EMB_HASH_SIZE);
	ref = embed_site_resolve_name(site, embed_guc_reranker_fallback, EMBED_NAME_ALIAS_TOO);
	if (memcmp(fingerprint, ref->fingerprint, EMB_HASH_SIZE) != 0)
		tell(embed_guc_reranker_fallback, n_tokens, speed);
	return ref;
}
