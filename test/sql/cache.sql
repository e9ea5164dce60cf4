-- embed.cache_entries: recent vectors of the session. _embed.cache_state() counts.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

CREATE FUNCTION pg_temp.hits_of(command text) RETURNS TABLE (hits bigint, misses bigint) LANGUAGE plpgsql AS $$
DECLARE
	before record;
	after record;
BEGIN
	SELECT * INTO before FROM _embed.cache_state();
	EXECUTE command;
	SELECT * INTO after FROM _embed.cache_state();
	RETURN QUERY SELECT after.hits - before.hits, after.misses - before.misses;
END $$;

-- once computed, then kept; by text, model and kind of prompt
SELECT * FROM pg_temp.hits_of($$SELECT embed('one')$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed('one')$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed('one', 'tiny-cls')$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed('one', 'tiny-mean-36')$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed_query('one')$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed_query('one')$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed('')$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed('')$$);
-- arrays, rows and aggregates go past it
SELECT * FROM pg_temp.hits_of($$SELECT embed(ARRAY['one'])$$);
-- the same bits
SELECT embed('one') = (SELECT embedding FROM embed_rows(ARRAY['one'])) AS same_bits;

-- values stored short, compressed, out of line
CREATE TEMP TABLE cache_docs (id int, body text, embedding float4[]);
CREATE TRIGGER cache_docs_embed BEFORE INSERT OR UPDATE ON cache_docs
	FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body');
SELECT * FROM pg_temp.hits_of($$INSERT INTO cache_docs VALUES (1, 'one'), (2, repeat('long ', 1000)), (3, repeat('longer ', 2000))$$);
SELECT * FROM pg_temp.hits_of($$INSERT INTO cache_docs SELECT id + 10, body FROM cache_docs ORDER BY id$$);
SELECT * FROM pg_temp.hits_of($$SELECT count(embed(body)) FROM cache_docs WHERE id < 10$$);
SELECT bool_and(embedding = embed(body)) AS same_bits FROM cache_docs;

-- a text that was cut says so again
SET embed.on_overflow = 'warn';
SELECT count(embed(body)) FROM cache_docs WHERE id = 2;
SET embed.on_overflow = 'error';
SELECT count(embed(body)) FROM cache_docs WHERE id = 2;
RESET embed.on_overflow;

-- a hundred queries asked again for each of a hundred documents are computed once, with the defaults
SHOW embed.cache_entries;
DISCARD ALL;
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
CREATE FUNCTION cache_counts(OUT hits bigint, OUT misses bigint) LANGUAGE sql SECURITY DEFINER AS $$ SELECT hits, misses FROM _embed.cache_state() $$;
CREATE FUNCTION hits_of(command text) RETURNS TABLE (hits bigint, misses bigint) LANGUAGE plpgsql AS $$
DECLARE
	before record;
	after record;
BEGIN
	SELECT * INTO before FROM cache_counts();
	EXECUTE command;
	SELECT * INTO after FROM cache_counts();
	RETURN QUERY SELECT after.hits - before.hits, after.misses - before.misses;
END $$;
SELECT * FROM hits_of($$SELECT count(embed_cosine(embed('document ' || d, 'tiny-cls'), embed_query('query ' || q, 'tiny-cls')))
	FROM generate_series(1, 100) d, LATERAL (SELECT q FROM generate_series(1, 100 + 0 * d) q OFFSET 0) q$$);

-- cycles of n texts over 100 entries, ten turns each: near the 100 of n that any cache can give
CREATE FUNCTION cycle(prefix text, n int, turns int DEFAULT 10) RETURNS TABLE (hits bigint, misses bigint) LANGUAGE sql AS $$
	SELECT * FROM hits_of(format('SELECT count(embed(%L || i, ''tiny-cls'')) FROM generate_series(1, %s) turn,
		LATERAL (SELECT i FROM generate_series(1, %s + 0 * turn) i OFFSET 0) i', prefix, turns, n)) $$;
SELECT set_config('embed.cache_entries', '0', false), set_config('embed.cache_entries', '100', false);
SELECT * FROM cycle('half ', 50);
SELECT set_config('embed.cache_entries', '0', false), set_config('embed.cache_entries', '100', false);
SELECT * FROM cycle('as many ', 100);
-- what does not fit keeps its share
SELECT set_config('embed.cache_entries', '0', false), set_config('embed.cache_entries', '100', false);
SELECT hits >= 9 * 95 AS most_stay FROM cycle('one more ', 101);
SELECT set_config('embed.cache_entries', '0', false), set_config('embed.cache_entries', '100', false);
SELECT hits >= 9 * 95 AS most_stay FROM cycle('a tenth more ', 110);
SELECT set_config('embed.cache_entries', '0', false), set_config('embed.cache_entries', '100', false);
SELECT hits >= 9 * 95 AS most_stay FROM cycle('twice ', 200);
SELECT set_config('embed.cache_entries', '0', false), set_config('embed.cache_entries', '100', false);
SELECT hits >= 9 * 95 AS most_stay FROM cycle('ten times ', 1000);
SELECT entries FROM _embed.cache_state();
-- another working set takes over at its second turn, however often the old one was used
SELECT * FROM cycle('new ', 90);
SELECT * FROM cycle('newer ', 50);
-- and what is read once in between takes nothing away
SELECT * FROM cycle('passing ', 500, 1);
SELECT * FROM cycle('newer ', 50, 1);
-- fewer are kept at once, of those most in use
SET embed.cache_entries = 60;
SELECT entries FROM _embed.cache_state();
SELECT * FROM cycle('newer ', 50, 1);
SET embed.cache_entries = 1;
SELECT entries FROM _embed.cache_state();
SELECT * FROM hits_of($$SELECT embed('a', 'tiny-cls'), embed('a', 'tiny-cls'), embed('b', 'tiny-cls'), embed('b', 'tiny-cls'), embed('a', 'tiny-cls')$$);
SELECT entries FROM _embed.cache_state();

-- DISCARD ALL leaves nothing, and who asks is part of the key: no role learns what another had embedded
RESET embed.cache_entries;
SELECT count(embed(t, 'tiny-cls')) FROM (VALUES ('secret'), ('other')) v (t);
DISCARD PLANS;
SELECT entries > 0 AS kept FROM _embed.cache_state();
DISCARD ALL;
SELECT * FROM _embed.cache_state();
CREATE ROLE regress_embed_one;
CREATE ROLE regress_embed_two;
CREATE FUNCTION asks(t text) RETURNS float4[] LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN embed(t, 'tiny-cls'); END $$;
SET ROLE regress_embed_one;
SELECT * FROM hits_of($$SELECT embed('secret' || '', 'tiny-cls'), asks('hidden' || turn) FROM generate_series(1, 1) turn$$);
SELECT * FROM hits_of($$SELECT embed('secret' || '', 'tiny-cls'), asks('hidden' || turn) FROM generate_series(1, 1) turn$$);
SET ROLE regress_embed_two;
SELECT * FROM hits_of($$SELECT embed('secret' || '', 'tiny-cls'), asks('hidden' || turn) FROM generate_series(1, 1) turn$$);
RESET ROLE;
SELECT * FROM hits_of($$SELECT embed('secret' || '', 'tiny-cls'), asks('hidden' || turn) FROM generate_series(1, 1) turn$$);
SET SESSION AUTHORIZATION regress_embed_two;
SELECT * FROM hits_of($$SELECT embed('secret' || '', 'tiny-cls'), asks('hidden' || turn) FROM generate_series(1, 1) turn$$);
RESET SESSION AUTHORIZATION;
SET ROLE regress_embed_one;
SELECT * FROM hits_of($$SELECT embed('secret' || '', 'tiny-cls'), asks('hidden' || turn) FROM generate_series(1, 1) turn$$);
RESET ROLE;
-- nor from the memo of a call site that outlives SET ROLE
BEGIN;
DECLARE one_text CURSOR FOR SELECT embed('memo' || substr(i::text, 9), 'tiny-cls') IS NOT NULL AS vector FROM generate_series(1, 5) i;
SELECT embed_stat_reset();
FETCH 2 FROM one_text;
SET LOCAL ROLE regress_embed_two;
FETCH 2 FROM one_text;
RESET ROLE;
CLOSE one_text;
COMMIT;
SELECT texts, cache_hits FROM embed_stat WHERE name = 'tiny-cls';
DROP ROLE regress_embed_one, regress_embed_two;
DROP FUNCTION asks, cycle;

SET embed.cache_entries = 0;
SELECT entries, bytes FROM _embed.cache_state();
SELECT * FROM hits_of($$SELECT embed('b')$$);
SET embed.cache_entries = 2;
SELECT * FROM hits_of($$SELECT embed(t) FROM unnest('{a,b,a,b}'::text[]) t$$);
-- however many are allowed, memory is bounded
SET embed.cache_entries = 100000;
SELECT count(embed(g || repeat(' x', 2000))) FROM generate_series(1, 50) g;
SELECT entries > 50 AS kept, bytes < 16 * 1024 * 1024 AS bounded FROM _embed.cache_state();
SET embed.cache_entries = -1;
RESET embed.cache_entries;

-- what is kept does not outlive the model's name
SELECT embed_import('cache-model', :'data_dir' || '/tiny/bert-cls/model') IS NOT NULL AS imported;
SELECT embed('kept', 'cache-model') IS NOT NULL AS kept;
SELECT embed_drop('cache-model', forget => true);
SELECT embed('kept', 'cache-model');
DROP FUNCTION hits_of, cache_counts;
