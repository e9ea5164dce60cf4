-- ColBERT models: a vector per token, of documents by embed_multi, of queries by embed_multi_query.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
SET client_min_messages = warning;
\set dir :data_dir '/tiny/colbert-modernbert/model'
SELECT embed_import('colbert', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('colbert-int8', :'dir') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/colbert-bert/model'
SELECT embed_import('colbert-bert', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/colbert-st/model'
SELECT embed_import('colbert-st', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/colbert-stanford/model'
SELECT embed_import('colbert-stanford', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT name, kind, family, dim, max_tokens, pooling, outputs, "default" FROM embed_models WHERE name LIKE 'colbert%' ORDER BY name;
-- what an import tells: a word of the skip list that is no token, a prompt in the place of a marker
\set dir :data_dir '/tiny/colbert-bert/model'
SELECT embed_import('colbert-again', :'dir', '{"precision": "fp32", "kind": "multi"}') IS NOT NULL AS imported;
SELECT embed_import('colbert-plain', :'dir', '{"precision": "fp32", "query_prompt": "find: ", "document_prompt": "[D] text: "}') IS NOT NULL AS imported;
SELECT embed_drop('colbert-plain');
SELECT embed_import('colbert-embedding', :'dir', '{"kind": "embedding"}');
SELECT embed_import('colbert-cut', :'dir', '{"dimensions": 4}');

-- as sentence-transformers gives them
CREATE TEMP TABLE lines (model text, line jsonb);
\set file :data_dir '/tiny/colbert-modernbert/inputs.jsonl'
COPY lines (line) FROM :'file' (FORMAT csv, ENCODING 'UTF8', QUOTE E'\x01', DELIMITER E'\x02');
UPDATE lines SET model = 'colbert' WHERE model IS NULL;
\set file :data_dir '/tiny/colbert-bert/inputs.jsonl'
COPY lines (line) FROM :'file' (FORMAT csv, ENCODING 'UTF8', QUOTE E'\x01', DELIMITER E'\x02');
UPDATE lines SET model = 'colbert-bert' WHERE model IS NULL;
\set file :data_dir '/tiny/colbert-st/inputs.jsonl'
COPY lines (line) FROM :'file' (FORMAT csv, ENCODING 'UTF8', QUOTE E'\x01', DELIMITER E'\x02');
UPDATE lines SET model = 'colbert-st' WHERE model IS NULL;
\set file :data_dir '/tiny/colbert-stanford/inputs.jsonl'
COPY lines (line) FROM :'file' (FORMAT csv, ENCODING 'UTF8', QUOTE E'\x01', DELIMITER E'\x02');
UPDATE lines SET model = 'colbert-stanford' WHERE model IS NULL;
CREATE TEMP TABLE texts AS SELECT model, (line->>'i')::int AS i, line->>'text' AS input, line->'document' AS document, line->'query' AS query FROM lines;
-- the largest difference of an element; NULL for another number of vectors
CREATE FUNCTION pg_temp.difference(found float4[], expected jsonb) RETURNS float8
LANGUAGE sql AS $$ SELECT CASE WHEN array_length(found, 1) = jsonb_array_length(expected)
	THEN (SELECT max(abs(found[r][c] - (expected->(r - 1)->>(c - 1))::float8))
		FROM generate_series(1, array_length(found, 1)) r, generate_series(1, array_length(found, 2)) c) END $$;
SELECT model, count(*) AS texts, bool_and(pg_temp.difference(embed_multi(input, model), document) <= 2e-6) AS documents,
	bool_and(pg_temp.difference(embed_multi_query(input, model), query) <= 2e-6) AS queries
FROM texts GROUP BY model ORDER BY model;

-- queries have one length, or at least one; documents as many rows as tokens that are not skipped
SELECT model, min(array_length(embed_multi_query(input, model), 1)) AS least, max(array_length(embed_multi_query(input, model), 1)) AS most
FROM texts GROUP BY model ORDER BY model;
SELECT t, array_length(embed_tokens(t, 'colbert'), 1) AS tokens, array_length(embed_multi(t, 'colbert'), 1) AS vectors,
	array_length(embed_multi_query(t, 'colbert'), 1) AS query_vectors
FROM (VALUES (''), ('hello world'), ('hello, world!'), ('[MASK] [MASK]')) v(t);
SELECT bool_and(abs(sum - 1) < 1e-5) AS unit FROM (SELECT r, (SELECT sum(v[r][c] * v[r][c]) FROM generate_series(1, 8) c) AS sum
	FROM (SELECT embed_multi('hello, world!', 'colbert') AS v) d, generate_series(1, array_length(v, 1)) r) s;

-- the scores of the reference's vectors
CREATE FUNCTION pg_temp.score(query jsonb, document jsonb) RETURNS float8
LANGUAGE sql AS $$ SELECT avg(best) FROM (SELECT max(dot) AS best FROM (SELECT q.n, (SELECT sum(x.v::float8 * (d.v->>(x.n::int - 1))::float8)
	FROM jsonb_array_elements_text(q.v) WITH ORDINALITY x(v, n)) AS dot
	FROM jsonb_array_elements(query) WITH ORDINALITY q(v, n), jsonb_array_elements(document) d(v)) s GROUP BY n) b $$;
SELECT count(*) AS pairs, max(abs(maxsim(embed_multi_query(q.input, q.model), embed_multi(d.input, d.model)) - pg_temp.score(q.query, d.document))) < 5e-6 AS equal
FROM texts q JOIN texts d USING (model) WHERE q.i < 4 AND d.i < 5;
SELECT bool_and(maxsim(embed_multi(input, 'colbert-int8'), embed_multi(input, 'colbert')) > 0.99) AS int8_near FROM texts WHERE model = 'colbert';
SELECT ordinality, embedding = embed_multi(t[ordinality], 'colbert') AS equal, array_dims(embedding)
FROM (SELECT ARRAY['a', NULL, '', 'PostgreSQL, a database'] AS t) v, embed_multi_rows(t, 'colbert');

-- arrays and groups: rows with one column
SELECT m, embed_multi(all_texts, m) = each AS equal, embed_multi_many(all_texts, m) = each AS many, agg = each AS agg, array_length(each, 1) AS n
FROM (SELECT m, array_agg(input ORDER BY i) AS all_texts, array_agg(row(embed_multi(input, m))::embed_token_vectors ORDER BY i) AS each, embed_multi_agg(input, m ORDER BY i) AS agg
	FROM texts, (VALUES ('colbert'), ('colbert-int8'), ('colbert-st')) v(m) WHERE model = 'colbert' GROUP BY m) t ORDER BY m;
SELECT embed_multi_query(array_agg(input ORDER BY i), m) = array_agg(row(embed_multi_query(input, m))::embed_token_vectors ORDER BY i) AS queries
FROM texts, (VALUES ('colbert'), ('colbert-st')) v(m) WHERE model = 'colbert' GROUP BY m ORDER BY m;
SET embed.batch_tokens = 16;
SELECT embed_multi_agg(input, 'colbert' ORDER BY i) = array_agg(row(embed_multi(input, 'colbert'))::embed_token_vectors ORDER BY i) AS small_batches FROM texts WHERE model = 'colbert';
RESET embed.batch_tokens;
SELECT ordinality, vectors = embed_multi(t[ordinality], 'colbert') AS equal, array_dims(vectors)
FROM (SELECT ARRAY['a', NULL, 'b c', NULL] AS t) v, unnest(embed_multi(t, 'colbert')) WITH ORDINALITY;
SELECT embed_multi('{}'::text[], 'colbert') AS empty, embed_multi(ARRAY[NULL, NULL]::text[], 'colbert') AS nulls;
SELECT embed_multi_agg(t, 'colbert') AS none FROM (VALUES (NULL::text)) v(t);
SELECT array_length(embed_multi_agg(t, 'colbert'), 1) AS two FROM (VALUES ('a'), (NULL), ('b')) v(t);
SELECT g, ((embed_multi_agg(t, 'colbert') OVER (ORDER BY g))[g]).vectors = embed_multi(t, 'colbert') AS running FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a')) v(g, t);
SELECT embed_multi_agg('a', m) FROM (VALUES ('colbert'), ('colbert-st')) v(m);
SELECT embed_multi(ARRAY[['a'], ['b']], 'colbert');
SELECT embed_multi(ARRAY['a'], 'tiny-cls');
SELECT embed_multi_agg('a', 'tiny-cls');

-- texts that are cut: of a query and of a document
SET embed.on_overflow = error;
SELECT embed_multi(repeat('word ', 100), 'colbert');
SELECT embed_multi_query(repeat('word ', 30), 'colbert');
SET embed.on_overflow = warn;
SELECT array_length(embed_multi_query(repeat('word ', 30), 'colbert'), 1);
RESET embed.on_overflow;

-- there is no vector, and there are no weights
SELECT dense, sparse, multi = embed_multi('a', 'colbert') AS multi FROM embed_all('a', 'colbert');
SELECT embed('a', 'colbert');
SELECT embed_query('a', 'colbert');
SELECT embed(ARRAY['a'], 'colbert');
SELECT embed_agg('a', 'colbert');
SELECT embed_sparse('a', 'colbert');
SELECT embed_column('texts', 'input', model => 'colbert');
SELECT * FROM embed_compare('colbert', 'colbert-int8');
SELECT embed_multi_query('a', 'tiny-cls');
SELECT array_length(embed_tokens('a b', 'colbert'), 1) AS tokens, (embed_info('a b', 'colbert')).max_tokens AS max_tokens;
SELECT chunk FROM embed_chunks('one two three four', 7, 0, 'colbert');

-- BGE-M3 reads queries like documents
SET client_min_messages = warning;
\set dir :data_dir '/tiny/bge-m3/model'
SELECT embed_import('m3', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT embed_multi_query('a b', 'm3') = embed_multi('a b', 'm3') AS equal;

-- a default has to be chosen
SELECT embed_set_default('colbert') IS NOT NULL AS chosen;
SELECT embed_multi(ARRAY['a']) = embed_multi(ARRAY['a'], 'colbert') AS many, embed_multi_agg('a') = embed_multi(ARRAY['a']) AS agg,
	embed_multi_query(ARRAY['a']) = embed_multi_query(ARRAY['a'], 'colbert') AS queries;
SELECT embed_multi('a') = embed_multi('a', 'colbert') AS document, embed_multi_query('a') = embed_multi_query('a', 'colbert') AS query;
SELECT embed('a');

-- verified with their outputs; every second text as a query
SELECT "check", ok, regexp_replace(detail, '[0-9.]+', '#', 'g') AS detail FROM embed_verify('colbert-int8') WHERE "check" NOT IN ('kernels', 'image');
SELECT "check", ok FROM embed_verify('colbert-st');
DROP FUNCTION pg_temp.difference(float4[], jsonb), pg_temp.score(jsonb, jsonb);
SELECT embed_set_default('tiny-cls') IS NOT NULL AS chosen;
SELECT embed_drop(name, true) FROM unnest(ARRAY['colbert', 'colbert-int8', 'colbert-bert', 'colbert-st', 'colbert-stanford', 'colbert-again', 'm3']) name;
