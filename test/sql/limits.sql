-- Limits that a role cannot undo, slow calls, and the view embed_latency.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set reranker :data_dir '/tiny/bert-rerank/model'
SELECT embed_import('limit-rerank', :'reranker', '{"default": false}') IS NOT NULL AS imported;
CREATE FUNCTION refused(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
BEGIN
	EXECUTE call;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', state, message, detail);
END $$;

-- embed.max_statement_tokens: "server" is a token, with two special ones
SET embed.cache_entries = 0;
SELECT cardinality(embed_tokens('server')) AS tokens;
SET embed.max_statement_tokens = 30;
SELECT count(embed('server', 'tiny-cls')) FROM generate_series(1, 10);
SELECT count(embed(CASE WHEN i > 0 THEN 'server' END || repeat(' ', i), 'tiny-cls')) FROM generate_series(1, 10) i;
SELECT count(embed(CASE WHEN i > 0 THEN 'server' END || repeat(' ', i), 'tiny-cls')) FROM generate_series(1, 11) i;
-- each statement anew, of any function, across its calls
SELECT embed(ARRAY['server', 'server', 'server'], 'tiny-cls') IS NOT NULL AS n9;
SELECT embed(array_fill('server'::text, '{11}'), 'tiny-cls');
SELECT count(*) FROM embed_rows(array_fill('server'::text, '{11}'), 'tiny-cls');
SELECT cardinality(embed_agg('server' || repeat(' ', i), 'tiny-cls')) FROM generate_series(1, 11) i;
SELECT embed('server ' || current_date, 'tiny-cls') IS NULL, embed_query(repeat('server ', 30) || current_date, 'tiny-cls') IS NULL;
SELECT rerank('server', array_fill('server'::text, '{20}'), 'limit-rerank');
SELECT count(rerank('server', 'server' || repeat(' ', i), 'limit-rerank')) FROM generate_series(1, 20) i;
-- reference texts count, too
SELECT left(refused($$SELECT bool_and(ok) FROM embed_verify('tiny-cls')$$), 43) AS verify;
SELECT left(refused($$SELECT count(*) FROM embed_compare('tiny-cls')$$), 43) AS compare;
SET embed.max_statement_tokens = 20000;
SELECT bool_and(ok) AS verified FROM embed_verify('tiny-cls');
SET embed.max_statement_tokens = 30;
-- in functions and triggers; a caught error does not begin a new count
DO $$
DECLARE
	n int := 0;
BEGIN
	FOR i IN 1..50 LOOP
		BEGIN
			PERFORM embed('server' || repeat(' ', i), 'tiny-cls');
			n := n + 1;
		EXCEPTION WHEN configuration_limit_exceeded THEN NULL;
		END;
	END LOOP;
	RAISE NOTICE '% calls', n;
END $$;
CREATE TABLE limited (body text, e float4[]);
CREATE TRIGGER limited BEFORE INSERT ON limited FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'tiny-cls');
INSERT INTO limited SELECT 'server' || repeat(' ', i) FROM generate_series(1, 11) i;
INSERT INTO limited SELECT 'server' || repeat(' ', i) FROM generate_series(1, 10) i;
-- texts that are not computed do not count: of the cache, and what only counts tokens
SET embed.cache_entries = 100;
SELECT count(embed('server' || repeat(' ', i % 2), 'tiny-cls')) FROM generate_series(1, 100) i;
SELECT (embed_info(repeat('server ', 100), 'tiny-cls')).tokens, cardinality(embed_tokens(repeat('server ', 100), 'tiny-cls'));
SET embed.cache_entries = 0;
-- nothing is computed beyond it, and little is read: a text of 40 MB in an array of two
RESET embed.max_statement_tokens;
SELECT embed_stat_reset();
SET embed.max_statement_tokens = 30;
SELECT split_part(refused($$SELECT embed(ARRAY[repeat('server ', 6000000), repeat('word ', 6000000)], 'tiny-cls')$$), ' Read so far', 1);
SELECT tokens, texts, compute_ms FROM embed_stat WHERE name = 'tiny-cls';
RESET embed.max_statement_tokens;

-- a role keeps its limits
CREATE ROLE regress_embed_limited;
SET ROLE regress_embed_limited;
SET embed.max_threads = 0;
SET embed.max_statement_tokens = 0;
SET embed.log_min_duration = -1;
SELECT refused($$SELECT set_config('embed.max_statement_tokens', '0', false)$$);
CREATE FUNCTION pg_temp.free() RETURNS int LANGUAGE sql SET embed.max_statement_tokens = 0 AS 'SELECT 1';
ALTER ROLE regress_embed_limited SET embed.max_threads = 8;
RESET embed.max_threads;
RESET ROLE;
ALTER ROLE regress_embed_limited SET embed.max_threads = 1;
ALTER ROLE regress_embed_limited SET embed.max_statement_tokens = 9;
SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = 'regress_embed_limited' ORDER BY 1;
SET ROLE regress_embed_limited;
ALTER ROLE regress_embed_limited SET embed.max_statement_tokens = 0;
ALTER ROLE regress_embed_limited RESET embed.max_statement_tokens;
ALTER ROLE regress_embed_limited RESET ALL;
RESET ROLE;
SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = 'regress_embed_limited' ORDER BY 1;

-- slow calls are counted; the log is tested by 064_limits.pl
SELECT embed_stat_reset();
SET embed.log_min_duration = '1h';
SELECT embed('server', 'tiny-cls') IS NOT NULL AS done;
SET embed.log_min_duration = 0;
SELECT count(embed('server' || repeat(' ', i), 'tiny-cls')) FROM generate_series(1, 3) i;
SELECT cardinality(embed_agg('server', 'tiny-cls')) FROM generate_series(1, 5);
RESET embed.log_min_duration;
SELECT embed(ARRAY['server'], 'tiny-cls') IS NOT NULL AS done;
SELECT calls, slow_calls FROM embed_latency WHERE name = 'tiny-cls';

-- embed_latency: the same numbers as by hand
CREATE FUNCTION at(share float8, counts int8[]) RETURNS numeric LANGUAGE sql AS
	'SELECT round(_embed.latency_ms(counts || array_fill(0::int8, ARRAY[28 - cardinality(counts)]), share)::numeric, 6)';
SELECT at(0.5, '{0}'), at(0.5, '{1}'), at(1, '{1}'), at(1, '{0,1}'), at(1, '{0,0,5}'), at(0.5, '{0,0,5}'), at(0.5, '{10,0,10}'), at(0.75, '{10,0,10}'),
	at(0.99, '{99,0,0,1}'), at(1, '{99,0,0,1}');
SELECT _embed.latency_ms(array_fill(0::int8, '{27}') || 4::int8, 1) AS longest;
SELECT _embed.latency_ms('{1,2}', 0.5);
SELECT _embed.latency_ms(array_fill(1::int8, '{28}'), 1.5);
SELECT _embed.latency_ms(array_fill(1::int8, '{28}'), 'NaN');
SELECT l.calls = s.calls AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND p99_ms <= max_ms AND p50_ms > 0 AND since IS NOT NULL AS consistent
FROM embed_latency l JOIN embed_stat s USING (name) WHERE name = 'tiny-cls';
SELECT calls, p50_ms, max_ms FROM embed_latency WHERE name = 'limit-rerank';

DROP TABLE limited;
DROP FUNCTION refused, at;
DROP ROLE regress_embed_limited;
SELECT embed_drop('limit-rerank', forget => true);

-- texts of upcoming rows are embedded together: no more of them than the limit allows, and each counts once
CREATE TABLE ahead AS SELECT i AS id, 'server' || repeat(' ', i) AS body, NULL::float4[] AS e FROM generate_series(1, 40) i;
SET embed.cache_entries = 0;
SET embed.max_statement_tokens = 30;
SELECT embed_stat_reset();
SELECT count(*) FROM (SELECT embed(body, 'tiny-cls') AS e FROM ahead OFFSET 0) s WHERE e IS NOT NULL;
SELECT texts <= 10 AS not_beyond FROM embed_stat WHERE name = 'tiny-cls';
SELECT count(*) FROM (SELECT embed(body, 'tiny-cls') AS e FROM ahead WHERE id <= 10 OFFSET 0) s WHERE e IS NOT NULL;
UPDATE ahead SET e = embed(body, 'tiny-cls') WHERE id <= 10;
UPDATE ahead SET e = embed(body, 'tiny-cls') WHERE id <= 11;
RESET embed.max_statement_tokens;
RESET embed.cache_entries;
DROP TABLE ahead;
