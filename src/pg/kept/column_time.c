/*
 * column_time.c
 *		About how long it takes to fill a column.
 */
#include "pg/kept/column_time.h"

#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"

#include "pg/call/callsite.h"
#include "pg/kept/column_sql.h"

/* Texts whose tokens are counted. */
#define SAMPLE_TEXTS	20

/* embed_stat shows so many digits of a fingerprint. */
#define SHOWN_DIGITS	12

/* Fewer tokens tell nothing of a model's speed. */
#define KNOWN_TOKENS	1000

/* Tokens of a millisecond, as counted in this database; 0: too few. */
static double
known_speed(const uint8 *fingerprint, const char *schema)
{
	char		digits[SHOWN_DIGITS + 1];
	bool		isnull;
	Datum		speed;

	embed_trigger_digits(fingerprint, SHOWN_DIGITS, digits);
	if (SPI_execute(psprintf("SELECT s.tokens::pg_catalog.float8 OPERATOR(pg_catalog./) s.compute_ms FROM %s AS s"
							 " WHERE s.fingerprint OPERATOR(pg_catalog.=) '%s' AND s.tokens OPERATOR(pg_catalog.>) %d"
							 " AND s.compute_ms OPERATOR(pg_catalog.>) 0",
							 quote_qualified_identifier(schema, "embed_stat"), digits, KNOWN_TOKENS),
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read embed_stat");
	if (SPI_processed == 0)
		return 0;
	speed = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : DatumGetFloat8(speed);
}

/* Tokens of a millisecond, from one text. */
static double
tried_speed(EmbedSite *site, const EmbedModelRef *ref, Datum text, int32 n_tokens)
{
	float	   *vector = palloc(ref->info->dim * sizeof(float));
	instr_time	begin;
	instr_time	took;

	INSTR_TIME_SET_CURRENT(begin);
	embed_site_embed(site, ref, EMB_PROMPT_DOCUMENT, text, vector);
	INSTR_TIME_SET_CURRENT(took);
	INSTR_TIME_SUBTRACT(took, begin);
	pfree(vector);
	return n_tokens / Max(INSTR_TIME_GET_MILLISEC(took), 0.001);
}

static char *
in_words(double ms)
{
	double		seconds = ms / 1000;

	if (seconds < 1)
		return pstrdup("less than a second");
	if (seconds < 100)
		return psprintf("about %.0f seconds", seconds);
	if (seconds < 100 * 60)
		return psprintf("about %.0f minutes", seconds / 60);
	return psprintf("about %.0f hours", seconds / 3600);
}

char *
embed_column_time(const EmbedTriggerColumns *columns, const char *from, const char *to_do,
				  int64 n, const char *model, const char *schema)
{
	EmbedSite  *site;
	const EmbedModelRef *ref;
	ExprContext *econtext = CreateStandaloneExprContext();
	double		speed;
	int64		n_tokens = 0;
	uint64		n_texts = 0;
	LOCAL_FCINFO(call, 0);

	InitFunctionCallInfoData(*call, NULL, 0, InvalidOid, NULL, NULL);
	site = embed_site(call);
	ref = embed_site_resolve_name(site, model, EMBED_NAME_ALIAS_TOO);
	speed = known_speed(ref->fingerprint, schema);
	if (SPI_execute(psprintf("SELECT %s FROM %s AS t WHERE %s LIMIT %d",
							 embed_column_sources(columns), from, to_do, SAMPLE_TEXTS), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read texts");
	/* the query may have run SQL of the table's owner */
	ref = embed_site_resolve_name(site, model, EMBED_NAME_ALIAS_TOO);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		text = embed_column_text_of(columns, econtext, i, 1, &isnull);
		int32		its_tokens;

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			continue;
		its_tokens = embed_site_encode(site, ref, EMB_PROMPT_DOCUMENT, text).n_ids;
		if (speed <= 0)
			speed = tried_speed(site, ref, text, its_tokens);
		n_tokens += its_tokens;
		n_texts++;
		ResetExprContext(econtext);
	}
	FreeExprContext(econtext, true);
	return in_words(n_texts == 0 ? 0 : (double) n_tokens / n_texts * n / speed);
}
