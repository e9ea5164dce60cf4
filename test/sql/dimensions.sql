-- Vectors cut to their first dimensions: at import, and by a call.

\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'

CREATE FUNCTION pg_temp.cut(v float4[], n int) RETURNS float4[] LANGUAGE sql AS
$$ SELECT array_agg((x / norm)::float4 ORDER BY i) FROM unnest(v[1:n]) WITH ORDINALITY u (x, i),
	(SELECT sqrt(sum(x::float8 * x)) AS norm FROM unnest(v[1:n]) x) s $$;

-- a call: the first elements, of length 1 again
SELECT cardinality(embed('fox', 'tiny-cls')) AS "full", cardinality(embed('fox', 'tiny-cls', 16)) AS cut,
	embed_cosine(embed('fox', 'tiny-cls', 16), pg_temp.cut(embed('fox', 'tiny-cls'), 16)) > 0.999999 AS same;
SELECT round(sqrt(sum(x::float8 * x))::numeric, 6) AS norm FROM unnest(embed('fox', 'tiny-cls', 16)) x;
SELECT embed('fox', 'tiny-cls', 1) IN ('{1}', '{-1}') AS one, embed('fox', 'tiny-cls', 64) = embed('fox', 'tiny-cls') AS "all";
SELECT embed_query('fox', 'tiny-cls', 16) = embed('fox', 'tiny-cls', 16) AS query;

-- one text in two ways, from memo and cache
SELECT count(DISTINCT embed(t, 'tiny-cls', n)) AS n, min(cardinality(embed(t, 'tiny-cls', n))), max(cardinality(embed(t, 'tiny-cls', n)))
FROM (VALUES ('fox', 3), ('fox', 5), ('fox', 3), ('dog', 3)) v (t, n);

-- arrays and rows; NULL elements
SELECT embed(ARRAY['fox', NULL, 'dog'], 'tiny-cls', 2) = ARRAY[embed('fox', 'tiny-cls', 2), ARRAY[NULL, NULL]::float4[], embed('dog', 'tiny-cls', 2)] AS same;
SELECT array_dims(embed(ARRAY['fox', NULL, 'dog'], 'tiny-cls', 7)) AS dims, embed('{}'::text[], 'tiny-cls', 7) AS none;
SELECT ordinality, embedding = embed(t, 'tiny-cls', 5) AS same, cardinality(embedding) AS n
FROM embed_rows(ARRAY['fox', NULL, 'dog'], 'tiny-cls', 5) JOIN unnest(ARRAY['fox', NULL, 'dog']) WITH ORDINALITY u (t, ordinality) USING (ordinality)
ORDER BY 1;
SET embed.batch_tokens = 16;
SELECT embed(array_agg('text ' || i ORDER BY i), 'tiny-cls', 9) = (SELECT array_agg(embed('text ' || i, 'tiny-cls', 9) ORDER BY i) FROM generate_series(1, 40) i) AS same
FROM generate_series(1, 40) i;
RESET embed.batch_tokens;

-- an import: the same vectors
SELECT embed_import('tiny-cls-16', :'cls', '{"dimensions": 16}') IS NOT NULL AS imported;
SELECT dim, embed('fox', 'tiny-cls-16') = embed('fox', 'tiny-cls', 16) AS same,
	embed('fox', 'tiny-cls-16', 16) = embed('fox', 'tiny-cls-16') AS again
FROM embed_models WHERE name = 'tiny-cls-16';
SELECT embed_cosine(embed('fox', 'tiny-cls-16', 4), embed('fox', 'tiny-cls', 4)) > 0.999999 AS cut_twice;
SELECT bool_and(ok) AS ok FROM embed_verify('tiny-cls-16');
SELECT array_dims(embed_agg(t)) FROM (VALUES ('a'), ('b')) v (t) WHERE set_config('embed.model', 'tiny-cls-16', false) IS NOT NULL;
RESET embed.model;
SELECT embed_import('tiny-cls-64', :'cls', '{"dimensions": 64}') = fingerprint AS "all of them" FROM embed_models WHERE name = 'tiny-cls';
SELECT embed_drop('tiny-cls-16', true), embed_drop('tiny-cls-64', true);

-- immutable: a constant is embedded by the planner, and an index may have it
EXPLAIN (COSTS OFF, VERBOSE) SELECT cardinality(embed('fox', 'tiny-cls', 16));
CREATE TEMP TABLE notes (body text, v float4[] GENERATED ALWAYS AS (embed(body, 'tiny-cls', 3)) STORED);
INSERT INTO notes VALUES ('fox'), (NULL);
SELECT body, cardinality(v) FROM notes ORDER BY body;
SELECT p.oid::regprocedure AS function, provolatile, proisstrict, proparallel, procost, obj_description(p.oid, 'pg_proc') IS NOT NULL AS described
FROM pg_proc p WHERE p.proname ~ '^embed' AND 'dimensions' = ANY (proargnames) ORDER BY p.oid::regprocedure::text COLLATE "C";

-- others than it has
SELECT embed('fox', 'tiny-cls', 0);
SELECT embed('fox', 'tiny-cls', 65);
SELECT embed_query('fox', 'tiny-cls', -1);
SELECT embed('{}'::text[], 'tiny-cls', 65);
SELECT * FROM embed_rows(ARRAY['fox'], 'tiny-cls', 0);
SELECT embed('fox', 'tiny-cls', NULL) IS NULL AS is_null;
SELECT embed_import('tiny-bad', :'cls', '{"dimensions": 65}');
SELECT embed_import('tiny-bad', :'cls', '{"dimensions": 0}');
SELECT embed_import('tiny-bad', :'cls', '{"dimensions": "16"}');
\set rerank :data_dir '/tiny/bert-rerank/model'
SELECT embed_import('tiny-bad', :'rerank', '{"dimensions": 1}');

-- dense layers behind the pooling: what they give counts
\set dense :data_dir '/tiny/bert-dense/model'
SELECT embed_import('tiny-dense', :'dense', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT dim, pooling, cardinality(embed('the text of a query', 'tiny-dense')) AS n, cardinality(embed('the text of a query', 'tiny-dense', 3)) AS cut
FROM embed_models WHERE name = 'tiny-dense';
SELECT embed(ARRAY['text', 'table of text'], 'tiny-dense') = ARRAY[embed('text', 'tiny-dense'), embed('table of text', 'tiny-dense')] AS same;
SELECT bool_and(ok) AS ok FROM embed_verify('tiny-dense');
SELECT embed('text', 'tiny-dense', 15);
SELECT embed_drop('tiny-dense', true);
