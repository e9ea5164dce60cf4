-- Ids and fp32 vectors equal those of the reference implementation; int8 vectors
-- come near. Either gives one text one vector.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

\set dir :data_dir '/tiny/bert-cls/model'
SELECT embed_import('golden-cls', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/bert-mean-36/model'
SELECT embed_import('golden-mean-36', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/bert-mean-48/model'
SELECT embed_import('golden-mean-48', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;

CREATE TEMP TABLE golden (input text, ids int4[], embedding float4[]);
CREATE FUNCTION pg_temp.max_difference(a float4[], b float4[]) RETURNS float8
LANGUAGE sql AS 'SELECT max(abs(x::float8 - y)) FROM unnest(a, b) u(x, y)';

\set file :data_dir '/sql/bert-cls.csv'
COPY golden FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS texts,
	count(*) FILTER (WHERE embed_tokens(input, 'golden-cls') IS DISTINCT FROM ids) AS other_ids,
	bool_and(pg_temp.max_difference(embed(input, 'golden-cls'), embedding) <= 2e-6) AS vectors_equal,
	bool_and(embed_cosine(embed(input, 'tiny-cls'), embedding) > 0.98) AS int8_near
FROM golden;
-- all in one batch
SELECT bool_and(pg_temp.max_difference(r.embedding, g.embedding) <= 2e-6) AS vectors_equal
FROM (SELECT array_agg(input ORDER BY length(input)) AS texts,
			 array_agg(input ORDER BY length(input)) AS inputs FROM golden) a,
	embed_rows(a.texts, 'golden-cls') r, golden g
WHERE g.input = a.inputs[r.ordinality];

TRUNCATE golden;
\set file :data_dir '/sql/bert-mean-36.csv'
COPY golden FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS texts,
	count(*) FILTER (WHERE embed_tokens(input, 'golden-mean-36') IS DISTINCT FROM ids) AS other_ids,
	bool_and(pg_temp.max_difference(embed(input, 'golden-mean-36'), embedding) <= 2e-6) AS vectors_equal,
	bool_and(embed_cosine(embed(input, 'tiny-mean-36'), embedding) > 0.98) AS int8_near
FROM golden;

TRUNCATE golden;
\set file :data_dir '/sql/bert-mean-48.csv'
COPY golden FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS texts,
	count(*) FILTER (WHERE embed_tokens(input, 'golden-mean-48') IS DISTINCT FROM ids) AS other_ids,
	bool_and(pg_temp.max_difference(embed(input, 'golden-mean-48'), embedding) <= 2e-6) AS vectors_equal,
	bool_and(embed_cosine(embed(input, 'tiny-mean-48'), embedding) > 0.98) AS int8_near
FROM golden;

SET embed.cache_entries = 0;
-- one text, one vector: alone, in an array, as rows, in aggregates, in any batch
CREATE TEMP TABLE one AS SELECT input, embed(input, 'tiny-mean-48') AS embedding FROM golden;
SELECT array_agg(embedding ORDER BY input) = embed(array_agg(input ORDER BY input), 'tiny-mean-48') AS same_in_array,
	array_agg(embedding ORDER BY input) = embed_agg(input, 'tiny-mean-48' ORDER BY input) AS same_in_aggregate,
	array_agg(embedding ORDER BY input DESC) = embed_agg(input, 'tiny-mean-48' ORDER BY input DESC) AS same_reversed
FROM one;
SET embed.batch_tokens = 1;
SELECT array_agg(embedding ORDER BY input) = embed(array_agg(input ORDER BY input), 'tiny-mean-48') AS same_one_by_one
FROM one;
SET embed.batch_tokens = 262144;
SELECT array_agg(embedding ORDER BY input) = embed(array_agg(input ORDER BY input), 'tiny-mean-48') AS same_all_at_once
FROM one;
RESET embed.batch_tokens;
SET embed.isa = 'scalar';
SELECT bool_and(embedding = embed(input, 'tiny-mean-48')) AS same_at_level_scalar FROM one;
RESET embed.isa;
-- in fp32 as well
DROP TABLE one;
CREATE TEMP TABLE one AS SELECT input, embed(input, 'golden-mean-48') AS embedding FROM golden;
SELECT array_agg(embedding ORDER BY input) = embed(array_agg(input ORDER BY input), 'golden-mean-48') AS same_in_array,
	array_agg(embedding ORDER BY input) = embed_agg(input, 'golden-mean-48' ORDER BY input) AS same_in_aggregate,
	array_agg(embedding ORDER BY input DESC) = embed_agg(input, 'golden-mean-48' ORDER BY input DESC) AS same_reversed
FROM one;
SET embed.batch_tokens = 1;
SELECT array_agg(embedding ORDER BY input) = embed(array_agg(input ORDER BY input), 'golden-mean-48') AS same_one_by_one
FROM one;
SET embed.batch_tokens = 262144;
SELECT array_agg(embedding ORDER BY input) = embed(array_agg(input ORDER BY input), 'golden-mean-48') AS same_all_at_once
FROM one;
RESET embed.batch_tokens;
SET embed.isa = 'scalar';
SELECT bool_and(embedding = embed(input, 'golden-mean-48')) AS same_at_level_scalar FROM one;
RESET embed.isa;
SELECT embed_drop(name, true) IS NOT NULL AS dropped FROM embed_models WHERE name LIKE 'golden%';
RESET embed.cache_entries;
