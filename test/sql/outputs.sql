-- embed_sparse, embed_multi, embed_all, maxsim, embed_sparse_dot: BGE-M3's results.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/bge-m3/model'
SELECT embed_import('m3', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('m3-int8', :'dir') IS NOT NULL AS imported;
SELECT name, outputs FROM embed_models WHERE name IN ('m3', 'm3-int8', 'tiny-cls') ORDER BY name;

-- as the reference implementation gives them
CREATE TEMP TABLE tokens (input text, sparse jsonb, n int, first float4[], last float4[]);
CREATE TEMP TABLE pairs (query text, doc text, dense float8, sparse float8, multi float8);
CREATE TEMP TABLE vectors (input text, ids int4[], embedding float4[]);
\set file :data_dir '/sql/bge-m3.csv'
COPY vectors FROM :'file' (FORMAT csv, ENCODING 'UTF8');
\set file :data_dir '/sql/bge-m3-tokens.csv'
COPY tokens FROM :'file' (FORMAT csv, ENCODING 'UTF8');
\set file :data_dir '/sql/bge-m3-pairs.csv'
COPY pairs FROM :'file' (FORMAT csv, ENCODING 'UTF8');
CREATE FUNCTION pg_temp.max_difference(a float4[], b float4[]) RETURNS float8
LANGUAGE sql AS 'SELECT max(abs(x::float8 - y)) FROM unnest(a, b) u(x, y)';
CREATE FUNCTION pg_temp.row_of(a float4[], i int) RETURNS float4[]
LANGUAGE sql AS 'SELECT array_agg(x) FROM unnest(a[i:i]) x';
-- ids from 0, as the reference has them
CREATE FUNCTION pg_temp.weights(sparse text) RETURNS TABLE (id text, weight float4)
LANGUAGE sql AS $$ SELECT (split_part(e, ':', 1)::int - 1)::text, split_part(e, ':', 2)::float4
	FROM regexp_split_to_table(substring(sparse FROM '{(.+)}'), ',') e $$;

SELECT count(*) AS texts,
	count(*) FILTER (WHERE embed_tokens(input, 'm3') IS DISTINCT FROM ids) AS other_ids,
	bool_and(pg_temp.max_difference((embed_all(input, 'm3')).dense, embedding) <= 2e-6) AS vectors_equal
FROM vectors;
SELECT count(*) AS texts,
	bool_and(array_length(m, 1) = n AND array_length(m, 2) = 64) AS shapes,
	bool_and(pg_temp.max_difference(pg_temp.row_of(m, 1), first) <= 2e-6
			 AND pg_temp.max_difference(pg_temp.row_of(m, n), last) <= 2e-6) AS vectors_equal
FROM (SELECT *, embed_multi(input, 'm3') AS m FROM tokens) t;
SELECT count(*) > 100 AS weights, count(*) FILTER (WHERE w.id IS NULL OR e.key IS NULL) AS other_ids,
	bool_and(abs(w.weight - e.value::float8) <= 5e-6) AS weights_equal
FROM (SELECT input, w.* FROM tokens, pg_temp.weights(embed_sparse(input, 'm3')) w) w
FULL JOIN (SELECT input, e.* FROM tokens, jsonb_each_text(sparse) e) e ON e.input = w.input AND e.key = w.id;
SELECT count(*) AS pairs,
	bool_and(abs(embed_cosine(embed(query, 'm3'), embed(doc, 'm3')) - dense) <= 2e-6) AS dense_equal,
	bool_and(abs(embed_sparse_dot(embed_sparse(query, 'm3'), embed_sparse(doc, 'm3')) - sparse) <= 2e-5) AS sparse_equal,
	bool_and(abs(maxsim(embed_multi(query, 'm3'), embed_multi(doc, 'm3')) - multi) <= 2e-6) AS multi_equal
FROM pairs;

-- one pass gives what three calls give, bit for bit; in int8 as well
SELECT bool_and(a.dense = embed(input, m)) AS dense, bool_and(a.sparse = embed_sparse(input, m)) AS sparse,
	bool_and(a.multi = embed_multi(input, m)) AS multi
FROM tokens, (VALUES ('m3'), ('m3-int8')) v(m), embed_all(input, m) a;
SELECT bool_and(embed_cosine((embed_all(input, 'm3-int8')).dense, embed(input, 'm3')) > 0.998) AS int8_near,
	bool_and(maxsim(embed_multi(input, 'm3-int8'), embed_multi(input, 'm3')) > 0.995) AS int8_multi_near
FROM tokens;
CREATE TEMP TABLE results AS SELECT input, a.* FROM tokens, embed_all(input, 'm3-int8') a;
SET embed.isa = 'scalar';
SELECT bool_and(ROW(r.dense, r.sparse, r.multi) = ROW(a.dense, a.sparse, a.multi)) AS same_at_level_scalar
FROM results r, embed_all(input, 'm3-int8') a;
RESET embed.isa;

-- the form of pgvector's sparsevec; weights read back as they were
SELECT embed_sparse('', 'm3') AS empty_text, embed_sparse(NULL) IS NULL AS null_text, embed_sparse('a', NULL) IS NULL AS null_model;
SELECT bool_and(embed_sparse(input, 'm3') ~ '^{([0-9]+:[0-9.e+-]+(,[0-9]+:[0-9.e+-]+)*)?}/996$') AS form,
	bool_and((SELECT bool_and(id::int < 996 AND weight > 0) FROM pg_temp.weights(embed_sparse(input, 'm3')))) AS in_range,
	bool_and((SELECT string_agg((id::int + 1) || ':' || weight, ',') FROM pg_temp.weights(embed_sparse(input, 'm3')))
			 IS NOT DISTINCT FROM nullif(trim('{' FROM split_part(embed_sparse(input, 'm3'), '}', 1)), '')) AS read_back
FROM tokens;
SELECT array_dims(embed_multi('', 'm3')) AS empty_text, array_dims(embed_multi('PostgreSQL database server', 'm3')) AS four_tokens;

-- without a model argument: the setting, else the default
SET embed.model = 'm3';
SELECT embed_sparse('a b') = embed_sparse('a b', 'm3') AS sparse, embed_multi('a b') = embed_multi('a b', 'm3') AS multi,
	embed_all('a b') = embed_all('a b', 'm3') AS whole;
RESET embed.model;

-- the document prompt counts, as for embed()
\set dir :data_dir '/tiny/bge-m3/model'
SELECT embed_import('m3-prompt', :'dir', '{"precision": "fp32", "document_prompt": "database "}') IS NOT NULL AS imported;
SELECT embed_sparse('server', 'm3-prompt') = embed_sparse('database server', 'm3') AS sparse,
	embed_multi('server', 'm3-prompt') = embed_multi('database server', 'm3') AS multi;
SELECT embed_drop('m3-prompt', true);

-- texts over the limit
SET embed.on_overflow = 'error';
SELECT embed_sparse(repeat('server ', 200), 'm3');
SELECT embed_multi(repeat('server ', 200), 'm3');
SELECT embed_all(repeat('server ', 200), 'm3');
SET embed.on_overflow = 'warn';
SELECT array_dims(embed_multi(repeat('server ', 200), 'm3')) AS cut;
RESET embed.on_overflow;
SELECT array_dims(embed_multi(repeat('server ', 200), 'm3')) AS cut,
	embed_multi(repeat('server ', 200), 'm3') = embed_multi(repeat('server ', 128), 'm3') AS at_max_tokens;

-- models without heads
SELECT embed_sparse('a');
SELECT embed_sparse('a', 'tiny-cls');
SELECT embed_multi('a', 'tiny-cls');
SELECT embed_all('a', 'tiny-cls');
SELECT embed_all('a', 'no such model');

-- the last result of a call site, and calls are counted
SELECT count(DISTINCT embed_sparse(t, 'm3')) AS sparse, count(DISTINCT embed_multi(t, 'm3')) AS multi, count(DISTINCT embed_all(t, 'm3')) AS whole
FROM unnest(ARRAY['a fox', 'a fox', 'a dog', 'a fox', 'a dog', 'a dog']) t;
SELECT count(DISTINCT embed_multi('server', m)) AS multi FROM (VALUES ('m3'), ('m3'), ('m3-int8'), ('m3')) v(m);
SELECT embed_stat_reset();
SELECT count(embed_sparse(t, 'm3')) + count(embed_all(t, 'm3')) AS calls FROM unnest(ARRAY['a fox', 'a fox', 'a dog']) t;
SELECT calls, texts, cache_hits FROM embed_stat WHERE name = 'm3';

-- where IMMUTABLE counts: generated columns, indexes, plans
CREATE TABLE outputs_docs (body text, sparse text GENERATED ALWAYS AS (embed_sparse(body, 'm3')) STORED,
	multi float4[] GENERATED ALWAYS AS (embed_multi(body, 'm3')) STORED);
CREATE INDEX ON outputs_docs (embed_sparse(body, 'm3'));
INSERT INTO outputs_docs VALUES ('the database server'), ('tabbed windows'), (NULL);
SELECT body, round((embed_sparse_dot(sparse, embed_sparse(body, 'm3')) - embed_sparse_dot(sparse, sparse))::numeric, 4) AS sparse_itself,
	round(maxsim(embed_multi(body, 'm3'), multi)::numeric, 4) AS multi_itself
FROM outputs_docs ORDER BY body;
EXPLAIN (COSTS OFF, VERBOSE) SELECT maxsim(embed_multi('', 'm3'), embed_multi('', 'm3')) > 0.9999 AS same;
DROP TABLE outputs_docs;

-- maxsim: the mean over the query's vectors of the best product
SELECT maxsim('{{1,0},{0,2}}', '{{3,0},{0,-1},{4,0.5}}') AS mean_of_4_and_1, maxsim('{{-1,0}}', '{{2,5},{3,5}}') AS best_is_negative,
	maxsim(NULL, '{{1}}') IS NULL AS null_query, maxsim('[3:4][0:1]={{1,0},{0,1}}', '{{1,1}}') AS other_bounds;
SELECT maxsim(array_agg(ARRAY[i, 1]::float4[]), '{{1,0}}') AS many_rows FROM generate_series(1, 1000) i;
SELECT maxsim('{}', '{{1}}');
SELECT maxsim('{{1}}', '{1}');
SELECT maxsim('{{{1}}}', '{{1}}');
SELECT maxsim('{{1,2}}', '{{1,2,3}}');
SELECT maxsim('{{1,NULL}}', '{{1,2}}');
SELECT maxsim('{{1,2},{3,NaN}}', '{{1,2}}');
SELECT maxsim('{{1,2}}', '{{Infinity,2}}');
SELECT maxsim('{{3e38,2}}', '{{3e38,2}}');
SELECT maxsim(a, a) AS widest FROM array_fill(1::float4, ARRAY[1, 16384]) a;
SELECT maxsim(a, a) AS wider FROM array_fill(1::float4, ARRAY[1, 16385]) a;

-- embed_sparse_dot
SELECT embed_sparse_dot('{1:2,5:0.5}/9', '{1:3,4:7,5:-2e0}/9') AS five, embed_sparse_dot('{}/9', '{1:3}/9') AS nothing_shared,
	embed_sparse_dot('{2147483647:1}/2147483647', '{2147483647:.5}/2147483647') AS last, embed_sparse_dot(NULL, '{}/9') IS NULL AS null_a;
SELECT embed_sparse_dot('{1:2}/9', '{1:2}/8');
SELECT embed_sparse_dot('{1:2}', '{1:2}/8');
SELECT embed_sparse_dot('{2:2,1:1}/9', '{}/9');
SELECT embed_sparse_dot('{0:2}/9', '{}/9');
SELECT embed_sparse_dot('{10:2}/9', '{}/9');
SELECT embed_sparse_dot('{}/9', '{1:nan}/9');
SELECT embed_sparse_dot('{}/9', '{1:1e99}/9');
SELECT embed_sparse_dot('{}/9', '{1: 1}/9');
SELECT embed_sparse_dot('{1:0x1}/9', '{}/9');
SELECT embed_sparse_dot('{1:1,}/9', '{}/9');
SELECT embed_sparse_dot('{,1:1}/9', '{}/9');
SELECT embed_sparse_dot('{}/99999999999', '{}/9');
SELECT embed_sparse_dot('{}/9x', '{}/9');
SELECT embed_sparse_dot('', '{}/9');
SELECT embed_sparse_dot('{1:3e38}/9', '{1:3e38}/9');
-- a number of no end is not read to its end, nor is a vector
SELECT embed_sparse_dot('{1:' || repeat('0', 63) || '2}/9', '{1:3}/9') AS six;
SELECT embed_sparse_dot('{1:' || repeat('0', 64) || '2}/9', '{1:3}/9');
SELECT embed_sparse_dot('{}/9', '{7:1.5,8:' || repeat('12345678', 10000000) || '}/9');
SELECT embed_sparse_dot('{' || repeat('1', 100) || ':1}/9', '{}/9');
SELECT embed_sparse_dot('{}/9', '{}/9' || repeat(' ', 134217728));

-- how the planner sees them: maxsim costs what its vectors make it
CREATE TABLE outputs_multi (id int, short float4[], long float4[]);
ALTER TABLE outputs_multi ALTER short SET STORAGE PLAIN, ALTER long SET STORAGE PLAIN;
INSERT INTO outputs_multi SELECT i, array_fill(1::float4, ARRAY[i % 10 + 1, 8]), array_fill(1::float4, ARRAY[200, 8]) FROM generate_series(1, 1000) i;
ANALYZE outputs_multi;
CREATE FUNCTION pg_temp.total(query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan->0->'Plan'->>'Total Cost';
END $$;
SELECT pg_temp.total('SELECT maxsim(long, long) FROM outputs_multi') > pg_temp.total('SELECT maxsim(short, short) FROM outputs_multi') AS by_width,
	pg_temp.total('SELECT maxsim(array_cat(long, long), long) FROM outputs_multi') > pg_temp.total('SELECT maxsim(long, long) FROM outputs_multi') AS unknown,
	pg_temp.total('SELECT maxsim(short, NULL) FROM outputs_multi') > 0 AS never_called;
EXPLAIN (COSTS OFF) SELECT id FROM outputs_multi WHERE maxsim(long, long) > 0 AND maxsim(short, short) > 0 AND id % 2 = 0;
DROP TABLE outputs_multi;
SELECT p.oid::regprocedure AS function, p.provolatile AS volatility, p.proparallel AS parallel, p.proisstrict AS strict,
	p.procost AS cost, obj_description(p.oid, 'pg_proc') IS NULL AS lacks_comment
FROM pg_proc p WHERE p.proname IN ('embed_sparse', 'embed_multi', 'embed_all', 'maxsim', 'embed_sparse_dot')
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT embed_drop('m3', true), embed_drop('m3-int8', true);
