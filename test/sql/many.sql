-- embed_many and rerank_many: arrays for clients that send parameters without a type.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/bert-rerank/model'
SELECT embed_import('many-rerank', :'dir', '{"default": true}') IS NOT NULL AS imported;

-- the same as over arrays
CREATE TEMP TABLE many AS SELECT ARRAY['one', NULL, 'two', '', 'one'] AS texts;
SELECT embed_many(texts) = embed(texts) AS by_default, embed_many(texts, 'tiny-mean-36') = embed(texts, 'tiny-mean-36') AS by_model,
	embed_many(texts, 'tiny-mean-36', 8) = embed(texts, 'tiny-mean-36', 8) AS cut, array_dims(embed_many(texts)) AS dims
FROM many;
SELECT rerank_many('q', texts) = rerank('q', texts) AS by_default, rerank_many('q', texts, 'many-rerank') = rerank('q', texts, 'many-rerank') AS by_model
FROM many;
SELECT embed_many('{}') AS empty, embed_many(NULL) AS "null", embed_many('{a}', NULL) AS null_model, rerank_many('q', '{}') AS no_scores,
	rerank_many(NULL, '{a}') AS null_query, rerank_many('q', NULL) AS null_docs;
SELECT embed_many('{one,two}') = embed(ARRAY['one', 'two']) AS literal, embed_many('{one,two}'::varchar[]) = embed(ARRAY['one', 'two']) AS varchars;

-- a parameter of no type is one text of embed, the texts of embed_many; what a client sends is a literal in either case
PREPARE many_text AS SELECT embed($1);
PREPARE many_texts AS SELECT embed_many($1);
PREPARE many_model AS SELECT embed_many($1, $2);
PREPARE many_dimensions AS SELECT embed_many($1, $2, $3);
PREPARE many_rows AS SELECT count(*) FROM embed_rows($1);
PREPARE many_docs AS SELECT rerank_many($1, $2);
PREPARE many_docs_model AS SELECT rerank_many($1, $2, $3);
PREPARE many_top AS SELECT count(*) FROM rerank_top($1, $2, $3);
SELECT name, parameter_types FROM pg_prepared_statements WHERE name LIKE 'many%' ORDER BY name COLLATE "C";
CREATE TEMP TABLE many_got AS EXECUTE many_texts('{one,two}');
SELECT embed_many = embed(ARRAY['one', 'two']) AS same FROM many_got;
DEALLOCATE ALL;

-- mistakes; they take nothing but arrays
\set VERBOSITY terse
SELECT embed_many('one');
SELECT embed_many('one'::text);
SELECT embed_many(ARRAY[['a', 'b'], ['c', 'd']]);
SELECT embed_many('{a}', 'no-such');
SELECT embed_many('{a}', 'many-rerank');
SELECT embed_many('{a}', 'tiny-cls', 0);
SELECT rerank_many('q', 'one');
SELECT rerank_many('q', '{a}', 'tiny-cls');
SELECT rerank_many(ARRAY['q'], '{a}');
\set VERBOSITY default

-- indexes may use them, with a model; the planner knows their cost and computes constants
CREATE TABLE many_docs (id int, texts text[]);
CREATE INDEX ON many_docs (id) WHERE cardinality(embed_many(texts, 'tiny-cls')) > 0;
CREATE INDEX ON many_docs (id) WHERE cardinality(embed_many(texts)) > 0;
DROP TABLE many_docs;
EXPLAIN (COSTS OFF, VERBOSE) SELECT cardinality(embed_many('{one,two}', 'tiny-cls'));
CREATE FUNCTION pg_temp.total(query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan->0->'Plan'->>'Total Cost';
END $$;
SELECT pg_temp.total('SELECT embed_many(texts) FROM many') = pg_temp.total('SELECT embed(texts) FROM many') AS cost,
	pg_temp.total('SELECT embed_many(ARRAY[random()::text, random()::text])') > pg_temp.total('SELECT embed_many(ARRAY[random()::text])') AS by_elements,
	pg_temp.total($$SELECT rerank_many('q', texts) FROM many$$) = pg_temp.total($$SELECT rerank('q', texts) FROM many$$) AS rerank_cost;
SELECT embed_drop('many-rerank', true);
