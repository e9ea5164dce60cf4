-- Ids and vectors equal those of the reference implementation.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

CREATE TEMP TABLE golden (input text, ids int4[], embedding float4[]);
CREATE FUNCTION pg_temp.max_difference(a float4[], b float4[]) RETURNS float8
LANGUAGE sql AS 'SELECT max(abs(x::float8 - y)) FROM unnest(a, b) u(x, y)';

\set file :data_dir '/sql/bert-cls.csv'
COPY golden FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS texts,
	count(*) FILTER (WHERE embed_tokens(input, 'tiny-cls') IS DISTINCT FROM ids) AS other_ids,
	bool_and(pg_temp.max_difference(embed(input, 'tiny-cls'), embedding) <= 2e-6) AS vectors_equal
FROM golden;
-- all in one batch
SELECT bool_and(pg_temp.max_difference(r.embedding, g.embedding) <= 2e-6) AS vectors_equal
FROM (SELECT array_agg(input ORDER BY length(input)) AS texts,
			 array_agg(input ORDER BY length(input)) AS inputs FROM golden) a,
	embed_rows(a.texts, 'tiny-cls') r, golden g
WHERE g.input = a.inputs[r.ordinality];

TRUNCATE golden;
\set file :data_dir '/sql/bert-mean-36.csv'
COPY golden FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS texts,
	count(*) FILTER (WHERE embed_tokens(input, 'tiny-mean-36') IS DISTINCT FROM ids) AS other_ids,
	bool_and(pg_temp.max_difference(embed(input, 'tiny-mean-36'), embedding) <= 2e-6) AS vectors_equal
FROM golden;

TRUNCATE golden;
\set file :data_dir '/sql/bert-mean-48.csv'
COPY golden FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS texts,
	count(*) FILTER (WHERE embed_tokens(input, 'tiny-mean-48') IS DISTINCT FROM ids) AS other_ids,
	bool_and(pg_temp.max_difference(embed(input, 'tiny-mean-48'), embedding) <= 2e-6) AS vectors_equal
FROM golden;

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
