-- Rerankers made of modules, and rerankers of several labels.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set modern :data_dir '/tiny/modernbert-rerank-modules/model'
\set modules :data_dir '/tiny/bert-rerank-modules/model'
\set labels :data_dir '/tiny/bert-rerank-labels/model'
\set norm :data_dir '/tiny/bert-layer-norm/model'
\set poolings :data_dir '/tiny/bert-poolings/model'

-- what is chosen is reported, which unit/test_labels.c looks at
SET client_min_messages = warning;
SELECT embed_import('scores', :'modern', '{"default": false}') IS NOT NULL AS imported;
SELECT embed_import('yes', :'modules', '{"default": false}') IS NOT NULL AS imported;
SELECT embed_import('no', :'modules', '{"label": "LABEL_0", "default": false}') IS NOT NULL AS imported;
SELECT embed_import('nli', :'labels', '{"precision": "fp32", "default": false}') IS NOT NULL AS imported;
SELECT embed_import('against', :'labels', '{"precision": "fp32", "label": "CONTRADICTION", "default": false}') IS NOT NULL AS imported;
SELECT embed_import('neither', :'labels', '{"precision": "fp32", "label": "neutral", "default": false}') IS NOT NULL AS imported;
SELECT embed_import('norm', :'norm') IS NOT NULL AS imported;
SELECT embed_import('poolings', :'poolings') IS NOT NULL AS imported;
SELECT embed_import('centered', :'norm', '{"layer_norm": true}') IS NOT NULL AS imported;
SELECT embed_import('centered-16', :'norm', '{"layer_norm": true, "dimensions": 16}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT embed_import('two', :'norm', '{"pooling": "mean+max"}');
SELECT name, kind, family, dim, pooling FROM embed_models WHERE name !~ '^tiny' ORDER BY name;
SELECT m.name, bool_and(v.ok) AS verified FROM embed_models m, embed_verify(m.name) v WHERE m.name !~ '^tiny' GROUP BY 1 ORDER BY 1;

-- the probabilities of all labels make 1, and a score is the sigmoid of its logit
CREATE TEMP TABLE pair AS SELECT * FROM (VALUES ('what is a database', 'it keeps rows'), ('', ''), ('a', repeat('long ', 300))) v(q, d);
SELECT bool_and(abs(rerank(q, d, 'nli') + rerank(q, d, 'against') + rerank(q, d, 'neither') - 1) < 1e-6) AS three,
	bool_and(abs(rerank(q, d, 'yes') + rerank(q, d, 'no') - 1) < 1e-6) AS two,
	bool_and(rerank_logit(q, d, 'yes') = - rerank_logit(q, d, 'no')) AS logits,
	bool_and(abs(1 / (1 + exp(- rerank_logit(q, d, 'nli')::float8)) - rerank(q, d, 'nli')) < 1e-6) AS sigmoid FROM pair;
SELECT bool_and(rerank(q, ARRAY[d, d], m) = ARRAY[rerank(q, d, m), rerank(q, d, m)]) AS alone_as_in_array
FROM pair, unnest(ARRAY['scores', 'yes', 'nli']) m;
-- a layer norm before a cut: at import and in a call, once
SELECT bool_and(embed(t, 'centered', 16) = embed(t, 'centered-16')) AS same_cut, bool_and(embed(t, 'centered') = embed(t, 'norm')) AS whole,
	bool_or(embed(t, 'centered', 16) = embed(t, 'norm', 16)) AS without,
	bool_and(embed_cosine(embed(t, 'centered', 8), embed(t, 'centered-16', 8)) > 0.999999) AS again
FROM unnest(ARRAY['a text', '', 'what is a database']) t;

-- mistakes
SELECT embed_import('x', :'labels', '{"label": "entails"}');
SELECT embed_import('x', :'modern', '{"label": "yes"}');
SELECT embed_import('x', :'norm', '{"label": "yes"}');
SELECT embed_import('x', :'modules', '{"pooling": "mean"}');
SELECT embed_import('x', :'norm', '{"pooling": "mean+sum"}');
SELECT embed_import('x', :'norm', '{"kind": "reranker"}');
SELECT embed('a', 'scores');
SELECT embed_import('x', :'modern', '{"layer_norm": true}');
SELECT count(embed_drop(name, true, true)) AS dropped FROM embed_models WHERE name IN ('scores', 'yes', 'no', 'nli', 'against', 'neither', 'norm', 'poolings', 'centered', 'centered-16');
