-- Learned sparse models: embed_sparse, embed_sparse_query, their forms for arrays and groups.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
SET client_min_messages = warning;
\set dir :data_dir '/tiny/splade-bert/model'
SELECT embed_import('splade', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('splade-int8', :'dir') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/splade-router/model'
SELECT embed_import('inference-free', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/splade-roberta/model'
SELECT embed_import('twelve', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT name, kind, family, dim, pooling, outputs, "default" FROM embed_models WHERE 'sparse' = ANY (outputs) ORDER BY name;

-- as sentence-transformers gives them
CREATE TEMP TABLE lines (model text, line jsonb);
\set file :data_dir '/tiny/splade-bert/inputs.jsonl'
COPY lines (line) FROM :'file' (FORMAT csv, ENCODING 'UTF8', QUOTE E'\x01', DELIMITER E'\x02');
UPDATE lines SET model = 'splade' WHERE model IS NULL;
\set file :data_dir '/tiny/splade-router/inputs.jsonl'
COPY lines (line) FROM :'file' (FORMAT csv, ENCODING 'UTF8', QUOTE E'\x01', DELIMITER E'\x02');
UPDATE lines SET model = 'inference-free' WHERE model IS NULL;
\set file :data_dir '/tiny/splade-roberta/inputs.jsonl'
COPY lines (line) FROM :'file' (FORMAT csv, ENCODING 'UTF8', QUOTE E'\x01', DELIMITER E'\x02');
UPDATE lines SET model = 'twelve' WHERE model IS NULL;
CREATE TEMP TABLE texts AS SELECT model, (line->>'i')::int AS i, line->>'text' AS input, line->'sparse' AS sparse, line->'query' AS query FROM lines;
-- ids from 0, as the reference has them
CREATE FUNCTION pg_temp.weights(sparse text) RETURNS TABLE (id text, weight float4)
LANGUAGE sql AS $$ SELECT (split_part(e, ':', 1)::int - 1)::text, split_part(e, ':', 2)::float4
	FROM regexp_split_to_table(substring(sparse FROM '{(.+)}'), ',') e $$;
-- the largest difference; of inference-free models special tokens have no weight in a document
CREATE FUNCTION pg_temp.difference(sparse text, expected jsonb, without_special bool) RETURNS float8
LANGUAGE sql AS $$ SELECT coalesce(max(abs(coalesce(w.weight, 0) - coalesce(e.value::float8, 0))), 0)
	FROM pg_temp.weights(sparse) w FULL JOIN jsonb_each_text(expected) e ON e.key = w.id
	WHERE NOT without_special OR coalesce(w.id, e.key)::int >= 5 $$;
SELECT model, count(*) AS texts, bool_and(pg_temp.difference(embed_sparse(input, model), sparse, model = 'inference-free') <= 5e-5) AS documents,
	bool_and(pg_temp.difference(embed_sparse_query(input, model), query, false) <= 5e-5) AS queries
FROM texts GROUP BY model ORDER BY model;
SELECT count(*) AS special_weights FROM texts, pg_temp.weights(embed_sparse(input, 'inference-free')) w WHERE model = 'inference-free' AND w.id::int < 5;
SELECT bool_and(embed_sparse_dot(s, e) / sqrt(embed_sparse_dot(s, s) * embed_sparse_dot(e, e)) > 0.998) AS int8_near
FROM (SELECT embed_sparse(input, 'splade-int8') AS s, embed_sparse(input, 'splade') AS e FROM texts WHERE model = 'splade') t;

-- the table of an inference-free model: each distinct token once, no special tokens
SELECT embed_sparse_query('', 'inference-free') AS nothing, embed_sparse_query('x y x x', 'inference-free') = embed_sparse_query('y x', 'inference-free') AS distinct_tokens;
SELECT bool_and(embed_sparse_dot(embed_sparse_query(input, 'inference-free'), embed_sparse(input, 'inference-free')) >= 0) AS scored,
	bool_or(embed_sparse_dot(embed_sparse_query(input, 'inference-free'), embed_sparse(input, 'inference-free')) > 1) AS some_match
FROM texts WHERE model = 'inference-free';

-- arrays and groups
SELECT m, embed_sparse(all_texts, m) = each AS equal, embed_sparse_many(all_texts, m) = each AS many, agg = each AS agg, array_length(each, 1) AS n
FROM (SELECT m, array_agg(input ORDER BY i) AS all_texts, array_agg(embed_sparse(input, m) ORDER BY i) AS each, embed_sparse_agg(input, m ORDER BY i) AS agg
	FROM texts, (VALUES ('splade'), ('splade-int8'), ('inference-free')) v(m) WHERE model = 'splade' GROUP BY m) t ORDER BY m;
SELECT embed_sparse_query(array_agg(input ORDER BY i), m) = array_agg(embed_sparse_query(input, m) ORDER BY i) AS queries
FROM texts, (VALUES ('splade'), ('inference-free')) v(m) WHERE model = 'splade' GROUP BY m ORDER BY m;
SET embed.batch_tokens = 16;
SELECT embed_sparse_agg(input, 'splade' ORDER BY i) = array_agg(embed_sparse(input, 'splade') ORDER BY i) AS small_batches FROM texts WHERE model = 'splade';
RESET embed.batch_tokens;
SELECT embed_sparse('{}'::text[], 'splade') AS empty, embed_sparse(ARRAY[NULL, NULL]::text[], 'splade') AS nulls,
	array_positions(embed_sparse(ARRAY[NULL, 'a', NULL, 'b', NULL], 'splade'), NULL) AS places;
SELECT embed_sparse_agg(t, 'splade') AS none FROM (VALUES (NULL::text)) v(t);
SELECT array_length(embed_sparse_agg(t, 'splade'), 1) AS two FROM (VALUES ('a'), (NULL), ('b')) v(t);
SELECT g, (embed_sparse_agg(t, 'splade') OVER (ORDER BY g))[g] = embed_sparse(t, 'splade') AS running FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a')) v(g, t);
SELECT embed_sparse_agg('a', m) FROM (VALUES ('splade'), ('twelve')) v(m);
SELECT embed_sparse(ARRAY[['a'], ['b']], 'splade');

-- token vectors of several texts are rows
\set dir :data_dir '/tiny/bge-m3/model'
SET client_min_messages = warning;
SELECT embed_import('m3', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT ordinality, embedding = embed_multi(t[ordinality], 'm3') AS equal, array_dims(embedding)
FROM (SELECT ARRAY['a', NULL, '', 'PostgreSQL database server', NULL] AS t) v, embed_multi_rows(t, 'm3');
SELECT count(*) FROM embed_multi_rows('{}', 'm3');
SELECT embed_sparse(ARRAY['a b', 'c'], 'm3') = ARRAY[embed_sparse('a b', 'm3'), embed_sparse('c', 'm3')] AS m3, embed_sparse_query('a b', 'm3') = embed_sparse('a b', 'm3') AS m3_query;

-- there is no vector
SELECT dense, sparse = embed_sparse('a', 'splade') AS sparse, multi FROM embed_all('a', 'splade');
SELECT embed('a', 'splade');
SELECT embed_query('a', 'splade');
SELECT embed(ARRAY['a'], 'splade');
SELECT embed_agg('a', 'splade');
SELECT embed_multi('a', 'splade');
SELECT * FROM embed_multi_rows(ARRAY['a'], 'splade');
SELECT embed_column('texts', 'input', model => 'splade');
SELECT * FROM embed_compare('splade', 'splade-int8');
SELECT embed_sparse('a', 'tiny-cls');
SELECT embed_sparse_query('a', 'tiny-cls');
SELECT embed_sparse_agg('a', 'tiny-cls');
SELECT array_length(embed_tokens('a b', 'splade'), 1) AS tokens, (embed_info('a b', 'splade')).max_tokens AS max_tokens;
SELECT chunk FROM embed_chunks('one two three four', 5, 0, 'splade');

-- a default has to be chosen; the query's sides without a model argument
SELECT embed_set_default('inference-free') IS NOT NULL AS chosen;
SELECT embed_sparse('a') = embed_sparse('a', 'inference-free') AS document, embed_sparse_query('a') = embed_sparse_query('a', 'inference-free') AS query,
	embed_sparse(ARRAY['a']) = ARRAY[embed_sparse('a')] AS many;
SELECT embed('a');

-- verified with all their outputs
SELECT "check", ok, regexp_replace(detail, '[0-9.]+', '#', 'g') AS detail FROM embed_verify('splade-int8') WHERE "check" NOT IN ('kernels', 'image');
SELECT "check", ok FROM embed_verify('inference-free');
SELECT "check", ok FROM embed_verify('m3');
SELECT measure, p50 > 0.99 AS near FROM embed_compare('splade-int8') WHERE measure = 'cosine';
DROP FUNCTION IF EXISTS pg_temp.weights(text), pg_temp.difference(text, jsonb, bool);
SELECT embed_set_default('tiny-cls') IS NOT NULL AS chosen;
SELECT embed_drop(name, true) FROM unnest(ARRAY['splade', 'splade-int8', 'inference-free', 'twelve', 'm3']) name;
