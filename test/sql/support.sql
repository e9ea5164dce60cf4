-- What the planner knows of calls: costs, rows, and the plans that follow.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
SET max_parallel_workers_per_gather = 2;
SET jit = off;

CREATE FUNCTION pg_temp.plan(query text, OUT startup float8, OUT total float8, OUT n_rows float8) LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	startup := plan->0->'Plan'->>'Startup Cost';
	total := plan->0->'Plan'->>'Total Cost';
	n_rows := plan->0->'Plan'->>'Plan Rows';
END $$;
CREATE FUNCTION pg_temp.total(query text) RETURNS float8 LANGUAGE sql AS 'SELECT total FROM pg_temp.plan(query)';

CREATE TABLE support_docs (id int, grp int, title text, body text);
ALTER TABLE support_docs ALTER body SET STORAGE PLAIN;
INSERT INTO support_docs SELECT i, i % 100, 'title ' || i, repeat('some words of a text ', 20) FROM generate_series(1, 30000) i;
VACUUM ANALYZE support_docs;
CREATE TABLE support_small AS SELECT * FROM support_docs LIMIT 10;
ANALYZE support_small;

-- big tables in parallel, small ones not
EXPLAIN (COSTS OFF) SELECT embed(body) FROM support_docs;
EXPLAIN (COSTS OFF) SELECT embed(body) FROM support_small;
-- other conditions first, wherever they stand
EXPLAIN (COSTS OFF) SELECT id FROM support_small
WHERE embed_cosine(embed(body), embed_query('some query')) > 0.5 AND length(title) > 3 AND title LIKE '%7' AND grp = 7;
-- shorter texts first
EXPLAIN (COSTS OFF) SELECT id FROM support_small
WHERE embed(body) IS NOT NULL AND embed(title) IS NOT NULL;

-- longer texts cost more, up to what the model reads
SET max_parallel_workers_per_gather = 0;
SELECT pg_temp.total('SELECT embed(body) FROM support_docs') > 1.3 * pg_temp.total('SELECT embed(title) FROM support_docs') AS by_width,
	pg_temp.total($$SELECT embed(body || title) FROM support_small$$) > pg_temp.total($$SELECT embed(body) FROM support_small$$) AS by_parts,
	pg_temp.total($$SELECT embed(repeat('x', id)) FROM support_small$$) > 0 AS unknown,
	pg_temp.total($$SELECT embed(rpad('x', 100000))$$) > pg_temp.total($$SELECT embed(rpad('x', 1000))$$) AS by_constant,
	pg_temp.total($$SELECT embed(rpad('x', 100000))$$) = pg_temp.total($$SELECT embed(rpad('x', 200000))$$) AS up_to_maximum;
-- arrays by their elements
SELECT pg_temp.total($$SELECT embed(ARRAY[body, body, body]) FROM support_small$$)
	> 1.5 * pg_temp.total($$SELECT embed(ARRAY[body]) FROM support_small$$) AS by_elements,
	pg_temp.total($$SELECT embed(array_fill(rpad('x', 2000), ARRAY[50]))$$)
	> 10 * pg_temp.total($$SELECT embed(array_fill(rpad('x', 2000), ARRAY[5]))$$) - 100 AS by_constant_elements;
-- a constant is embedded once
SELECT startup > 0 AS paid_first, total - startup < 10000 AS then_cheap
FROM pg_temp.plan($$SELECT embed_query(rpad('x', 1000)), id FROM support_docs$$);
PREPARE by_parameter (text) AS SELECT embed_query($1) FROM support_docs;
SET plan_cache_mode = force_generic_plan;
SELECT total - startup < 10000 AS parameter_too FROM pg_temp.plan($$EXECUTE by_parameter('x')$$);
RESET plan_cache_mode;
-- half a minute of work is no reason to compile expressions
SELECT pg_temp.total('SELECT embed(body) FROM support_docs LIMIT 100') < 100000 AS below_jit;

-- rows
SELECT n_rows FROM pg_temp.plan($$SELECT * FROM embed_rows(ARRAY['a', 'b', 'c'])$$);
SELECT n_rows FROM pg_temp.plan($$SELECT * FROM embed_rows('{a,b}', 'tiny-cls')$$);
SELECT n_rows FROM pg_temp.plan($$SELECT * FROM embed_rows(array_fill('x'::text, '{1000}'))$$);
SELECT n_rows FROM pg_temp.plan($$SELECT * FROM embed_rows('{}'::text[])$$);
SELECT n_rows FROM pg_temp.plan($$SELECT * FROM embed_rows((SELECT array_agg(body) FROM support_small))$$);

-- to plan a call needs no model, and opens none
SELECT pg_temp.total($$SELECT embed(title, 'no-such-model') FROM support_docs$$) > 0 AS unknown_model,
	pg_temp.total($$SELECT embed(title, title) FROM support_docs$$) > 0 AS model_of_row;
SET embed.model = 'no-such-model';
SELECT pg_temp.total('SELECT embed(title) FROM support_docs') > 0 AS unknown_default;
RESET embed.model;
\c
EXPLAIN (COSTS OFF) SELECT embed(title, 'tiny-mean-36') FROM support_small;
SELECT mapped FROM embed_memory WHERE name = 'tiny-mean-36';
DROP TABLE support_docs, support_small;

SELECT oid::regprocedure AS without_support FROM pg_proc
WHERE prosrc IN ('embed_text', 'embed_query_text', 'embed_array', 'embed_rows') AND prosupport = 0;
