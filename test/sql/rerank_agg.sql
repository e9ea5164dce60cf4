-- rerank_agg.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/bert-rerank/model'
SELECT embed_import('tiny-rerank', :'dir') IS NOT NULL AS imported;
SELECT embed_import('tiny-rerank-fp32', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;

CREATE TEMP TABLE docs (id int, grp int, query text, body text);
INSERT INTO docs SELECT i, i % 3, 'query ' || i % 3, CASE WHEN i % 7 <> 0 THEN 'document number ' || i END FROM generate_series(1, 60) i;

-- aligned with array_agg, NULLs too
SELECT grp, array_length(rerank_agg(query, body), 1) AS n,
	rerank_agg(query, body ORDER BY id) = rerank(min(query), array_agg(body ORDER BY id)) AS in_order,
	rerank_agg(query, body, 'tiny-rerank-fp32' ORDER BY id DESC) = rerank(min(query), array_agg(body ORDER BY id DESC), 'tiny-rerank-fp32') AS reversed
FROM docs GROUP BY grp ORDER BY grp;
SELECT rerank_agg('a', body ORDER BY id) FILTER (WHERE grp = 1)
	= rerank('a', array_agg(body ORDER BY id) FILTER (WHERE grp = 1)) AS filtered,
	count(*) = array_length(rerank_agg('a', body), 1) AS whole
FROM docs;
-- small batches: several are computed on the way
SET embed.batch_tokens = 30;
SELECT rerank_agg('a', body ORDER BY id) = rerank('a', array_agg(body ORDER BY id)) AS same FROM docs;
RESET embed.batch_tokens;

-- nothing to score
SELECT rerank_agg('a', body) AS none, rerank_agg('a', body, 'tiny-rerank') AS none_either FROM docs WHERE false;
SELECT rerank_agg('a', NULL) AS null_doc, rerank_agg(NULL, 'a') AS null_query, rerank_agg('a', 'b', NULL) AS null_model FROM generate_series(1, 2);

-- windows: the final function is called again and again, documents follow
SELECT id, array_length(rerank_agg('a', body) OVER w, 1) AS n, rerank_agg('a', body) OVER w = rerank('a', array_agg(body) OVER w) AS same
FROM docs WHERE id BETWEEN 5 AND 10 WINDOW w AS (ORDER BY id) ORDER BY id;
SELECT id, rerank_agg('a', body) OVER w = rerank('a', array_agg(body) OVER w) AS same
FROM docs WHERE id BETWEEN 5 AND 10 WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) ORDER BY id;

-- one group, one query, one model
SELECT rerank_agg(query, body) FROM docs;
SELECT rerank_agg(CASE WHEN id < 30 THEN 'a' END, body) FROM docs;
SELECT rerank_agg('a', body, CASE WHEN id < 30 THEN 'tiny-rerank' ELSE 'tiny-rerank-fp32' END) FROM docs;
SELECT rerank_agg('a', body, CASE WHEN id < 30 THEN 'tiny-rerank' END) FROM docs;
SELECT rerank_agg('a', body, 'tiny-cls') FROM docs;
SELECT rerank_agg('a', body, 'no-such-model') FROM docs;

-- an error in the middle leaves the session well
SET embed.on_overflow = 'error';
SELECT rerank_agg('a', CASE WHEN id = 50 THEN repeat('long ', 1000) ELSE body END ORDER BY id) FROM docs;
RESET embed.on_overflow;
SELECT array_length(rerank_agg('a', body), 1) AS n FROM docs;
SELECT p.oid::regprocedure AS aggregate, p.proparallel AS parallel, a.aggfinalmodify AS final_modifies, a.aggcombinefn AS combine,
	obj_description(p.oid, 'pg_proc') IS NULL AS lacks_comment
FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
WHERE p.proname ~ '^rerank' ORDER BY p.proname COLLATE "C", p.pronargs;
SELECT embed_drop(name, true, true) IS NOT NULL AS dropped FROM embed_models WHERE kind = 'reranker';
