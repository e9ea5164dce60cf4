-- embed_stat: what is counted. Times are only more than nothing.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
SELECT embed_stat_reset();
CREATE FUNCTION pg_temp.counts(OUT calls bigint, OUT texts bigint, OUT tokens bigint, OUT truncations bigint,
							   OUT errors bigint, OUT cache_hits bigint, OUT timed boolean, OUT in_buckets bigint)
LANGUAGE sql AS $$
	SELECT calls, texts, tokens, truncations, errors, cache_hits, tokenizer_ms > 0 AND compute_ms > 0 AND wait_ms >= 0,
		(SELECT sum(n)::bigint FROM unnest(latency) n)
	FROM embed_stat WHERE name = 'tiny-cls' $$;
CREATE FUNCTION pg_temp.counted(command text) RETURNS TABLE (calls bigint, texts bigint, tokens bigint, truncations bigint,
															 errors bigint, cache_hits bigint, timed boolean, in_buckets bigint)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM embed_stat_reset();
	BEGIN
		EXECUTE command;
	EXCEPTION WHEN OTHERS THEN
		RAISE NOTICE '%', SQLSTATE;
	END;
	RETURN QUERY SELECT * FROM pg_temp.counts();
END $$;

SELECT * FROM pg_temp.counted('SELECT');
SET embed.cache_entries = 0;
SELECT * FROM pg_temp.counted($$SELECT embed('one two')$$);
SELECT * FROM pg_temp.counted($$SELECT embed('one two', 'tiny-cls')$$);
SELECT * FROM pg_temp.counted($$SELECT embed_query('one two')$$);
SELECT * FROM pg_temp.counted($$SELECT embed(ARRAY['one two', NULL, 'three', 'one two'])$$);
SELECT * FROM pg_temp.counted($$SELECT embed('{}'::text[])$$);
SELECT * FROM pg_temp.counted($$SELECT * FROM embed_rows(ARRAY['one two', NULL])$$);
SELECT * FROM pg_temp.counted($$SELECT embed_agg(t) FROM unnest('{one,two,three}'::text[]) t GROUP BY t$$);
SELECT * FROM pg_temp.counted($$SELECT embed_avg(t) FROM unnest('{one,two,three}'::text[]) t$$);
SELECT * FROM pg_temp.counted($$SELECT embed_agg(t) OVER (ORDER BY t) FROM unnest('{one,two,three}'::text[]) t$$);
-- repeated in a query, and from the cache
SELECT * FROM pg_temp.counted($$SELECT count(embed('one two', t)) FROM unnest('{tiny-cls,tiny-cls,tiny-cls}'::text[]) t$$);
SET embed.cache_entries = 10;
SELECT * FROM pg_temp.counted($$SELECT count(embed(t)) FROM unnest('{one,two,one,two}'::text[]) t$$);
SET embed.cache_entries = 0;
-- cut
SELECT * FROM pg_temp.counted($$SELECT embed(repeat('one ', 1000))$$);
SELECT * FROM pg_temp.counted($$SELECT count(embed(repeat('one ', 1000), t)) FROM unnest('{tiny-cls,tiny-cls}'::text[]) t$$);
-- errors
SET embed.on_overflow = 'error';
SELECT * FROM pg_temp.counted($$SELECT embed(repeat('one ', 1000))$$);
SELECT * FROM pg_temp.counted($$SELECT embed_agg(t) FROM (VALUES ('one'), (repeat('one ', 1000))) v (t)$$);
SELECT * FROM pg_temp.counted($$SELECT embed(ARRAY['one', repeat('one ', 1000)])$$);
RESET embed.on_overflow;
SELECT * FROM pg_temp.counted($$SELECT embed('one', 'no-such-model')$$);
-- triggers
CREATE TEMP TABLE stat_docs (body text, embedding float4[]);
CREATE TRIGGER stat_docs_embed BEFORE INSERT OR UPDATE ON stat_docs
	FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body');
SELECT * FROM pg_temp.counted($$INSERT INTO stat_docs VALUES ('one'), ('two'), (NULL)$$);
SELECT * FROM pg_temp.counted($$UPDATE stat_docs SET body = body$$);
-- others about the model are no calls
SELECT * FROM pg_temp.counted($$SELECT embed_tokens('one two'), embed_info('one two')$$);
SELECT * FROM pg_temp.counted($$SELECT * FROM embed_verify('tiny-cls')$$);

-- every model has a row, used or not; names of one image share one
SELECT embed_import('tiny-same', :'data_dir' || '/tiny/bert-cls/model') IS NOT NULL AS imported;
SELECT name, fingerprint = (SELECT fingerprint FROM embed_models m WHERE m.name = 'tiny-cls') AS same_image
FROM embed_stat WHERE name LIKE 'tiny-%' ORDER BY name COLLATE "C";
SELECT embed_drop('tiny-same', forget => true);
SELECT count(*) AS without_bucket FROM embed_stat WHERE cardinality(latency) <> 28;
SELECT attname, col_description(attrelid, attnum) IS NULL AS lacks_comment
FROM pg_attribute WHERE attrelid = 'embed_stat'::regclass AND attnum > 0 ORDER BY attnum;

-- anyone may look, only those who were granted it may reset; search_path does not matter
CREATE ROLE regress_embed_stat;
SET ROLE regress_embed_stat;
SELECT count(*) > 0 AS visible FROM embed_stat;
SELECT embed_stat_reset();
RESET ROLE;
GRANT EXECUTE ON FUNCTION embed_stat_reset() TO regress_embed_stat;
SET ROLE regress_embed_stat;
SELECT embed_stat_reset();
RESET ROLE;
REVOKE EXECUTE ON FUNCTION embed_stat_reset() FROM regress_embed_stat;
DROP ROLE regress_embed_stat;
SET search_path = '';
SELECT sum(calls) AS calls FROM public.embed_stat WHERE name = 'tiny-cls';
