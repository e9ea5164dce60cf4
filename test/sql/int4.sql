-- Weights of 4 bits: the import's options, vectors near to those of fp32, the same bits one by one and in arrays.

\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'
\set rerank :data_dir '/tiny/bert-rerank/model'
\set static :data_dir '/tiny/model2vec/model'

-- on a busy machine the progress would be reported
SET client_min_messages = warning;
SELECT embed_import('exact', :'cls', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('four', :'cls', '{"precision": "int4"}') IS NOT NULL AS imported;
SELECT embed_import('four-all', :'cls', '{"precision": "int4", "keep_int8": "none", "group": 32}') IS NOT NULL AS imported;
SELECT embed_import('four-row', :'cls', '{"precision": "int4", "keep_int8": "ends", "group": -1}') IS NOT NULL AS imported;
SELECT embed_import('four-rerank', :'rerank', '{"precision": "int4"}') IS NOT NULL AS imported;
SELECT embed_import('four-rerank-none', :'rerank', '{"precision": "int4", "keep_int8": "none"}') IS NOT NULL AS imported;
SELECT name, kind, precision FROM embed_models WHERE name LIKE 'four%' ORDER BY name COLLATE "C";

-- attention stays int8, in groups of 128
SELECT a.fingerprint = b.fingerprint AS same
FROM (SELECT embed_import('four-told', :'cls', '{"precision": "int4", "keep_int8": "attention", "group": 128}') AS fingerprint) a,
	(SELECT fingerprint FROM embed_models WHERE name = 'four') b;
SELECT count(DISTINCT fingerprint) AS different FROM embed_models WHERE name LIKE 'four%';

CREATE TEMP TABLE texts AS SELECT 'text number ' || i || repeat(' and more', i) AS body FROM generate_series(0, 30) i;
SELECT name, avg(embed_cosine(embed(body, name), embed(body, 'exact'))) > 0.97 AS near
FROM texts, (VALUES ('four'), ('four-all'), ('four-row')) m (name) GROUP BY name ORDER BY name;
SELECT name, (SELECT array_agg(embed(body, name) ORDER BY body) FROM texts) = embed((SELECT array_agg(body ORDER BY body) FROM texts), name) AS same_bits
FROM (VALUES ('four'), ('four-all'), ('four-row')) m (name) ORDER BY name;
SELECT embed_import('tiny-rerank', :'rerank') IS NOT NULL AS imported;
SELECT abs(rerank('fox', 'a quick fox', 'four-rerank') - rerank('fox', 'a quick fox', 'tiny-rerank')) < 0.1 AS near;
SELECT name, bool_and(ok) AS ok FROM (VALUES ('four'), ('four-all'), ('four-row'), ('four-rerank')) m (name), embed_verify(name) GROUP BY name ORDER BY name;

-- what stays int8 by measured errors
SELECT embed_import('four-rerank-told', :'rerank', '{"precision": "int4", "keep_int8": "measured", "keep_percent": 60}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT a.bytes > b.bytes AS larger FROM embed_models a, embed_models b WHERE a.name = 'four-rerank-told' AND b.name = 'four-rerank-none';
SELECT abs(rerank('fox', 'a quick fox', 'four-rerank-told') - rerank('fox', 'a quick fox', 'tiny-rerank')) < 0.1 AS near;
SELECT bool_and(ok) AS ok FROM embed_verify('four-rerank-told');

-- what is refused
\set VERBOSITY terse

SELECT embed_import('wrong', :'cls', '{"precision": "int4", "group": 48}');
SELECT embed_import('wrong', :'cls', '{"precision": "int4", "group": 0}');
SELECT embed_import('wrong', :'cls', '{"precision": "int4", "group": "row"}');
SELECT embed_import('wrong', :'cls', '{"precision": "int4", "group": 1e30}');
SELECT embed_import('wrong', :'cls', '{"max_tokens": -2147483649}');
SELECT embed_import('wrong', :'cls', '{"dimensions": 1.5}');
SELECT embed_import('wrong', :'cls', '{"precision": "int4", "keep_int8": "heads"}');
SELECT embed_import('wrong', :'cls', '{"precision": "int4", "keep_int8": "measured", "keep_percent": 0}');
SELECT embed_import('wrong', :'cls', '{"precision": "int4", "keep_int8": "measured", "keep_percent": 100}');
SELECT embed_import('wrong', :'cls', '{"precision": "int4", "keep_percent": 50}');
SELECT embed_import('wrong', :'cls', '{"group": 64}');
SELECT embed_import('wrong', :'static', '{"precision": "int4"}');
SELECT embed_import('wrong', :'cls', '{"precision": "int2"}');
\set VERBOSITY default

SELECT embed_drop(name, forget => true) FROM embed_models WHERE name LIKE 'four%' OR name IN ('exact', 'tiny-rerank')
ORDER BY kind = 'reranker', name COLLATE "C" DESC;
