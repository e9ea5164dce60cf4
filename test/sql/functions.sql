-- Functions of one text: what they give, and how the planner sees them.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

SELECT array_ndims(v) AS dimensions, array_lower(v, 1) AS first, array_upper(v, 1) AS last,
	round(sqrt((SELECT sum(x::float8 * x) FROM unnest(v) u(x)))::numeric, 5) AS norm
FROM embed('The quick brown fox') v;
SELECT array_length(embed('x', 'tiny-mean-36'), 1) AS dim_36, array_length(embed('x', 'tiny-mean-48'), 1) AS dim_48;
SELECT embed('') IS NOT NULL AS empty_text, embed(NULL::text) IS NULL AS null_text,
	embed('x', NULL) IS NULL AS null_model, embed_query(NULL) IS NULL AS null_query;
-- without a model argument: the setting, else the default
SELECT embed('a') = embed('a', 'tiny-cls') AS by_default;
SET embed.model = 'tiny-mean-36';
SELECT embed('a') = embed('a', 'tiny-mean-36') AS by_setting;
RESET embed.model;

-- prompts
\set dir :data_dir '/tiny/bert-cls/model'
SELECT embed_import('tiny-prompts', :'dir', '{"precision": "fp32", "query_prompt": "query: ", "document_prompt": "passage: "}') IS NOT NULL AS imported;
SELECT embed_import('tiny-plain', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_query('fox', 'tiny-plain') = embed('fox', 'tiny-plain') AS no_prompts,
	embed_query('fox', 'tiny-prompts') = embed('query: fox', 'tiny-plain') AS query_prompt,
	embed('fox', 'tiny-prompts') = embed('passage: fox', 'tiny-plain') AS document_prompt,
	embed_tokens('fox', 'tiny-prompts') = embed_tokens('passage: fox', 'tiny-plain') AS tokens;
SELECT embed_drop('tiny-prompts'), embed_drop('tiny-plain');

-- tokens and counts
SELECT embed_tokens('PostgreSQL database server'), embed_tokens(''), embed_tokens(NULL);
SELECT * FROM embed_info('PostgreSQL database server');
SELECT * FROM embed_info('PostgreSQL database server', 'tiny-mean-36');
SELECT * FROM embed_info(repeat('server ', 100000));
SELECT cardinality(embed_tokens(repeat('server ', 100000))) AS ids;
SELECT embed(repeat('server ', 100000)) = embed(repeat('server ', 510)) AS cut_at_max_tokens;

-- errors
SELECT embed('x', 'no such model');
SELECT embed('x', '');
SELECT embed_set_alias('current', 'tiny-cls');
SELECT embed('x', 'current');
SET embed.model = 'current';
SELECT embed('x') = embed('x', 'tiny-cls') AS alias_in_setting;
RESET embed.model;
SELECT embed_set_alias('current', NULL);

-- a call site follows the default within a transaction
DO $$
DECLARE
	dims int[];
BEGIN
	FOR i IN 1..2 LOOP
		dims := dims || array_length(embed('x'), 1);
		PERFORM embed_set_default('tiny-mean-36');
	END LOOP;
	RAISE NOTICE 'dimensions %', dims;
	PERFORM embed_set_default('tiny-cls');
END $$;
-- what a call site remembers is bound to model and text
SELECT count(DISTINCT embed('constant', m)) AS vectors
FROM (VALUES ('tiny-mean-36'), ('tiny-mean-48'), ('tiny-mean-36')) v(m);
SELECT count(DISTINCT embed(t)) AS vectors FROM unnest(ARRAY['a', 'b', 'a', 'b', 'c']) t;

-- where IMMUTABLE counts
CREATE TABLE functions_docs (body text, embedding float4[] GENERATED ALWAYS AS (embed(body, 'tiny-cls')) STORED);
CREATE INDEX ON functions_docs (embed(body, 'tiny-mean-36'));
INSERT INTO functions_docs VALUES ('a'), (NULL);
SELECT body, embedding = embed(body) AS generated FROM functions_docs ORDER BY body;
-- 19 has a cursor line for this error, older servers have none
DO $$
BEGIN
	CREATE INDEX ON functions_docs (embed(body));
EXCEPTION WHEN invalid_object_definition THEN
	RAISE NOTICE '%: %', SQLSTATE, SQLERRM;
END $$;
DROP TABLE functions_docs;

-- parallel workers
CREATE TABLE functions_parallel AS SELECT i, 'text number ' || i AS body FROM generate_series(1, 200) i;
ANALYZE functions_parallel;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT count(embed(body)) FROM functions_parallel;
CREATE TEMP TABLE functions_serial AS SELECT i, embed(body) AS e FROM functions_parallel;
SELECT count(*) FROM functions_parallel p JOIN functions_serial s USING (i) WHERE embed(p.body) = s.e;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
DROP TABLE functions_parallel;

-- every object says what it is; user functions are strict and parallel safe
SELECT p.oid::regprocedure AS function, p.provolatile AS volatility, p.proisstrict AS strict, p.proparallel AS parallel,
	obj_description(p.oid, 'pg_proc') IS NULL AS lacks_comment
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
JOIN pg_extension e ON d.refobjid = e.oid AND d.deptype = 'e'
WHERE e.extname = 'embed' AND p.prokind = 'f' AND p.proparallel = 's'
ORDER BY p.proname COLLATE "C", p.pronargs, p.oid::regprocedure::text COLLATE "C";
