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

-- the least recently used go first
SET embed.cache_entries = 3;
SELECT entries FROM _embed.cache_state();
SELECT * FROM pg_temp.hits_of($$SELECT embed(t) FROM unnest('{a,b,c}'::text[]) t$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed(t) FROM unnest('{a,d}'::text[]) t$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed(t) FROM unnest('{a,c,d}'::text[]) t$$);
SELECT * FROM pg_temp.hits_of($$SELECT embed('b')$$);
SELECT entries FROM _embed.cache_state();
SET embed.cache_entries = 0;
SELECT entries, bytes FROM _embed.cache_state();
SELECT * FROM pg_temp.hits_of($$SELECT embed('b')$$);
SET embed.cache_entries = 2;
SELECT * FROM pg_temp.hits_of($$SELECT embed(t) FROM unnest('{a,b,a,b}'::text[]) t$$);
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
