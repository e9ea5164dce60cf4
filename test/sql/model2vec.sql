-- A static model: no layers, no special tokens; texts without tokens; texts cut by characters.

\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/model2vec/model'
SELECT embed_import('static', :'dir') IS NOT NULL AS imported, embed_import('static-fp32', :'dir', '{"precision": "fp32"}') IS NOT NULL AS exact;
SELECT name, kind, family, dim, max_tokens, "precision", pooling, prompts FROM embed_models WHERE name LIKE 'static%' ORDER BY 1;
SELECT bool_and(ok) AS ok FROM embed_verify('static');
SELECT bool_and(ok) AS ok FROM embed_verify('static-fp32');
SELECT min(embed_cosine(embed(t, 'static'), embed(t, 'static-fp32'))) > 0.999 AS near
FROM (VALUES ('PostgreSQL database server'), ('a'), ('naïve café')) v (t);
SELECT round(embed_cosine(embed('a fast database server', 'static'), embed('a fast database server', 'static-fp32'))::numeric, 3) AS cosine,
	embed_cosine(embed('the database', 'static'), embed('the databases', 'static')) > embed_cosine(embed('the database', 'static'), embed('zebra', 'static')) AS order;

-- tokens: none around them; unknown ones are counted and left out
SELECT embed_tokens('PostgreSQL database server', 'static') AS ids, embed_tokens('☃ ☂', 'static') AS unknown, embed_tokens('', 'static') AS none;
SELECT t, (embed_info(t, 'static')).* FROM (VALUES ('PostgreSQL database server'), ('☃ ☂'), ('')) v (t);
SELECT embed(t, 'static') = array_fill(0::float4, ARRAY[64]) AS zeros FROM (VALUES (''), ('☃ ☂'), ('  '), ('a')) v (t);

-- 2,048 characters are read, 512 tokens
SELECT n, (embed_info(repeat('x', n), 'static')).truncated AS long_word, (embed_info(repeat('database ', n / 9), 'static')).* FROM (VALUES (2047), (2048), (2049), (4608)) v (n);
SELECT embed(repeat('database ', 300), 'static') = embed(left(repeat('database ', 300), 2048), 'static') AS cut,
	embed(repeat('a ', 600), 'static') = embed(repeat('a ', 512), 'static') AS cut_by_tokens;
SET embed.on_overflow = 'error';
SELECT embed(left(repeat('database ', 300), 2048), 'static') IS NOT NULL AS fits;
SELECT embed(left(repeat('database ', 300), 2049), 'static');
RESET embed.on_overflow;
SELECT count(*) AS n, bool_or((embed_info(chunk, 'static')).truncated) AS too_long, max(length(chunk)) > 1900 AS well_filled, max(length(chunk)) <= 2048 AS short_enough
FROM embed_chunks(repeat('database server ', 1000), 512, 0, 'static');

-- arrays, many texts without tokens among them
SET embed.batch_tokens = 64;
SELECT count(*) AS n, bool_and(embedding = embed(CASE WHEN ordinality % 3 = 0 THEN 'word ' || ordinality ELSE '' END, 'static')) AS same
FROM embed_rows((SELECT array_agg(CASE WHEN i % 3 = 0 THEN 'word ' || i ELSE '' END ORDER BY i) FROM generate_series(1, 1000) i), 'static');
RESET embed.batch_tokens;
SELECT embed(ARRAY['', NULL, 'a'], 'static') = ARRAY[embed('', 'static'), array_fill(NULL::float4, ARRAY[64]), embed('a', 'static')] AS same;
SELECT embed_cosine(embed_avg(t, 'static'), embed('a', 'static')) > 0.99999 AS mean, embed_avg(t || ' a', 'static') IS NOT NULL AS "any" FROM (VALUES ('a'), ('')) v (t) WHERE t <> '';
SELECT cardinality(embed('a fast database', 'static', 16)) AS cut;

SELECT embed_import('static-short', :'dir', '{"max_tokens": 2}') IS NOT NULL AS imported;
SELECT max_tokens, embed_tokens('database server', 'static-short') = (embed_tokens('database', 'static'))[1:2] AS cut FROM embed_models WHERE name = 'static-short';
SELECT embed_import('static-bad', :'dir', '{"calibration": "SELECT ''a''"}');
SELECT rerank('a', 'b', 'static');
SELECT embed_drop('static', true), embed_drop('static-fp32', true), embed_drop('static-short', true);
