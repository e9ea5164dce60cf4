-- embed_stat: what is counted. Times are only more than nothing.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
SELECT embed_stat_reset();
CREATE FUNCTION pg_temp.counts(OUT calls bigint, OUT texts bigint, OUT tokens bigint, OUT truncations bigint,
							   OUT errors bigint, OUT cache_hits bigint, OUT timed boolean, OUT in_buckets bigint)
LANGUAGE sql AS $$
	SELECT calls, texts, tokens, truncations, errors, cache_hits, tokenizer_ms > 0 AND compute_ms > 0 AND wait_ms >= 0,
		(SELECT sum(n)::bigint FROM embed_latency l, unnest(l.latency) n WHERE l.name = s.name)
	FROM embed_stat s WHERE name = 'tiny-cls' $$;
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
-- every call that ends with an error, whatever was wrong, is counted once, for the model it meant
CREATE FUNCTION pg_temp.errors(command text, OUT state text, OUT errors bigint, OUT of_reranker bigint, OUT calls bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM embed_stat_reset();
	BEGIN
		EXECUTE command;
		state := 'none';
	EXCEPTION WHEN OTHERS THEN
		state := SQLSTATE;
	END;
	SELECT s.errors, s.calls INTO errors, calls FROM embed_stat s WHERE name = 'tiny-cls';
	SELECT s.errors INTO of_reranker FROM embed_stat s WHERE name = 'tiny-rerank';
END $$;
SELECT embed_import('tiny-rerank', :'data_dir' || '/tiny/bert-rerank/model') IS NOT NULL AS imported;
SELECT command, e.* FROM (VALUES
	($$SELECT embed('one', 'tiny-cls', 0)$$),
	($$SELECT embed('one', 'tiny-cls', 65)$$),
	($$SELECT embed_query('one', 'tiny-cls', -1)$$),
	($$SELECT embed(ARRAY['one'], 'tiny-cls', 65)$$),
	($$SELECT * FROM embed_rows(ARRAY['one'], 'tiny-cls', 65)$$),
	($$SELECT embed('{{one,two},{three,four}}'::text[], 'tiny-cls')$$),
	($$SELECT embed('{{one,two},{three,four}}'::text[])$$),
	($$SELECT * FROM embed_rows('{{one,two},{three,four}}'::text[])$$),
	($$SELECT * FROM embed_chunks('one', 0, 0)$$),
	($$SELECT * FROM embed_chunks('one', 10, -1, 'tiny-cls')$$),
	($$SELECT embed_sparse('one', 'tiny-cls')$$),
	($$SELECT embed_multi('one', 'tiny-cls')$$),
	($$SELECT embed_all('one', 'tiny-cls')$$),
	($$SELECT embed_agg('one', m) FROM unnest('{tiny-cls,tiny-mean-36}'::text[]) m$$),
	($$SELECT rerank('one', 'two', 'tiny-cls')$$),
	($$SELECT embed('one', 'tiny-rerank')$$),
	($$SELECT embed_tokens('one', 'tiny-rerank')$$),
	($$SELECT * FROM rerank_top('one', ARRAY['two'], -1, 'tiny-rerank')$$),
	($$SELECT rerank('one', '{{two},{three}}'::text[], 'tiny-rerank')$$),
	($$SELECT rerank_agg(q, 'two', 'tiny-rerank') FROM unnest('{one,two}'::text[]) q$$),
	($$SELECT embed('one', 'no-such-model')$$),
	($$SELECT embed('one', 'tiny-cls', 3), 1 / 0$$),
	($$SELECT 1 / (cardinality(embed('one', 'tiny-cls')) - 64)$$),
	($$SELECT embed_tokens('one'), embed_info('one'), 1 / (SELECT count(*) - 1 FROM embed_chunks('one', 10, 0))$$)) v (command),
	pg_temp.errors(command) e;
-- an error that is caught, once for each
SELECT * FROM pg_temp.errors($c$DO $$ BEGIN FOR i IN 1 .. 3 LOOP
	BEGIN PERFORM embed('one', 'tiny-cls', 1000 * i); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$$c$);
-- a trigger's column that cannot take the vector, with a call nested in the domain's check
CREATE DOMAIN pg_temp.checked AS float4[] CHECK (VALUE <> embed('one', 'tiny-cls') AND cardinality(VALUE) = 3);
CREATE TEMP TABLE stat_checked (body text, embedding pg_temp.checked);
CREATE TRIGGER stat_checked_embed BEFORE INSERT ON stat_checked FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-cls');
SELECT * FROM pg_temp.errors($$INSERT INTO stat_checked VALUES ('two')$$);
DROP TABLE stat_checked; DROP DOMAIN pg_temp.checked;
DROP FUNCTION pg_temp.errors(text);
SELECT embed_drop('tiny-rerank', forget => true);

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
SELECT name, fingerprint = (SELECT left(m.fingerprint, 12) FROM embed_models m WHERE m.name = 'tiny-cls') AS same_image
FROM embed_stat WHERE name LIKE 'tiny-%' ORDER BY name COLLATE "C";
SELECT embed_drop('tiny-same', forget => true);
SELECT count(*) AS without_bucket FROM embed_latency WHERE cardinality(latency) <> 28;
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
