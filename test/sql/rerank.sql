-- rerank, rerank over arrays, rerank_top.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/bert-rerank/model'

-- none there: an embedding model does not do
SELECT rerank('q', 'd');
SELECT rerank('q', 'd', 'tiny-cls');
-- the first reranker becomes the default of its kind, and of that only
SELECT embed_import('tiny-rerank', :'dir') IS NOT NULL AS imported;
SELECT embed_import('tiny-rerank-fp32', :'dir', '{"precision": "fp32", "alias": "judge"}') IS NOT NULL AS imported;
SELECT embed_import('no', :'dir', '{"query_prompt": "query: "}');
SELECT name, kind, family, dim, max_tokens, "precision", "default", aliases FROM embed_models WHERE name ~ 'rerank|cls' ORDER BY name;

-- as transformers has it
CREATE TEMP TABLE golden (id int GENERATED ALWAYS AS IDENTITY, query text, doc text, tokens int, logit float8, score float4);
\set file :data_dir '/sql/bert-rerank.csv'
COPY golden (query, doc, tokens, logit, score) FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS pairs, max(tokens) AS longest,
	bool_and(abs(rerank(query, doc, 'tiny-rerank-fp32') - score) <= 2e-5) AS fp32_equal,
	bool_and(abs(rerank(query, doc, 'tiny-rerank') - score) <= 0.01) AS int8_near
FROM golden;
SELECT "check", ok FROM embed_verify('tiny-rerank') ORDER BY "check" COLLATE "C";
SELECT "check", ok, detail FROM embed_verify('tiny-rerank-fp32') WHERE "check" IN ('bits', 'score') ORDER BY "check" COLLATE "C";

-- one pair, one score: alone, in arrays, in any batch, on any level, by any number of threads
CREATE TEMP TABLE one AS SELECT q.query, d.id, d.doc, rerank(q.query, d.doc) AS score
FROM (SELECT DISTINCT query FROM golden WHERE id IN (3, 4, 8)) q, golden d WHERE d.tokens < 130;
CREATE FUNCTION pg_temp.same() RETURNS bool LANGUAGE sql AS $$
	SELECT bool_and(rerank(query, docs) = scores)
	FROM (SELECT query, array_agg(doc ORDER BY id) AS docs, array_agg(score ORDER BY id) AS scores FROM one GROUP BY query) s $$;
SELECT count(*) >= 24 AS several, count(DISTINCT score) >= 24 AS different, pg_temp.same() AS same_in_array FROM one;
SELECT bool_and(rerank(query, docs || docs) = scores || scores) AS same_twice
FROM (SELECT query, array_agg(doc ORDER BY id DESC) AS docs, array_agg(score ORDER BY id DESC) AS scores FROM one GROUP BY query) s;
SET embed.batch_tokens = 1;
SELECT pg_temp.same() AS same_one_by_one;
SET embed.batch_tokens = 262144;
SELECT pg_temp.same() AS same_all_at_once;
RESET embed.batch_tokens;
SET embed.isa = 'scalar';
SELECT pg_temp.same() AS same_at_level_scalar;
RESET embed.isa;
SET embed.threads = 4;
SELECT pg_temp.same() AS same_by_four;
RESET embed.threads;

-- a call site keeps its query's ids: another query, another model, the first query again
SELECT bool_and(score = rerank(query, doc)) AS by_query, count(DISTINCT query) AS queries
FROM (SELECT * FROM one ORDER BY id, query OFFSET 0) o;
CREATE FUNCTION pg_temp.score(q text, d text, m text) RETURNS float4 LANGUAGE plpgsql AS $$ BEGIN RETURN rerank(q, d, m); END $$;
SELECT bool_and(s = rerank('a b', doc, 'tiny-rerank')) AS int8, bool_and(t = rerank('a b', doc, 'tiny-rerank-fp32')) AS fp32,
	bool_and(s <> t) AS different
FROM (SELECT doc, pg_temp.score('a b', doc, 'tiny-rerank') AS s, pg_temp.score('a b', doc, 'tiny-rerank-fp32') AS t FROM golden WHERE id < 9) x;
SELECT bool_and(scores[1] = rerank(query, 'x') AND scores[2] = rerank(query, repeat('word ', 700))) AS lengths
FROM (SELECT query, rerank(query, ARRAY['x', repeat('word ', 700)]) AS scores
	FROM unnest(ARRAY['', 'q', repeat('word ', 255), repeat('a b ', 700), 'q', repeat('a', 70000), repeat('a', 70000) || ' b']) u(query)) x;

-- NULL, empty, nothing
SELECT rerank(NULL, 'd') AS a, rerank('q', NULL::text) AS b, rerank('q', 'd', NULL) AS c, rerank('q', NULL::text[]) AS d;
SELECT rerank('q', '{}'::text[]) AS none, array_dims(rerank('q', ARRAY['a', NULL, 'b', NULL])) AS dims;
SELECT i, r[i] IS NULL AS is_null, r[i] = rerank('q', d[i]) AS same
FROM (SELECT d, rerank('q', d) AS r FROM (VALUES (ARRAY[NULL, 'a', NULL, '', 'b'])) v(d)) s, generate_subscripts(r, 1) i;
SELECT rerank('q', ARRAY[NULL, NULL]::text[]) AS nulls;
SELECT rerank('q', '[5:6]={a,b}'::text[]) = rerank('q', ARRAY['a', 'b']) AS bounds_do_not_matter;
SELECT rerank('q', ARRAY[['a', 'b'], ['c', 'd']]);
SELECT rerank('', '') BETWEEN 0 AND 1 AS empty_texts;

-- the best ones
WITH docs AS (SELECT array_agg(doc ORDER BY id) || ARRAY[NULL, 'a', 'a'] AS d FROM golden WHERE tokens < 100),
	top AS (SELECT t.*, row_number() OVER () AS place FROM docs, rerank_top('北京', d, 4) t),
	own AS (SELECT o::int AS ordinality, rerank('北京', doc) AS score, doc, row_number() OVER (ORDER BY rerank('北京', doc) DESC, o) AS place
			FROM docs, unnest(d) WITH ORDINALITY u(doc, o) WHERE doc IS NOT NULL)
SELECT count(*) AS top, bool_and(t.ordinality = o.ordinality AND t.score = o.score AND t.doc = o.doc) AS as_sorted
FROM top t JOIN own o USING (place);
SELECT ordinality, doc FROM rerank_top('q', ARRAY['x', NULL, 'x', 'x'], 10, 'tiny-rerank');
SELECT count(*) FROM rerank_top('q', ARRAY['x'], 0);
SELECT count(*) FROM rerank_top('q', '{}', 5);
SELECT count(*) FROM rerank_top(NULL, ARRAY['x'], 5);
SELECT * FROM rerank_top('q', ARRAY['x'], -1);

-- settings and names
SET embed.reranker = 'tiny-rerank-fp32';
SELECT rerank('a', 'b') = rerank('a', 'b', 'tiny-rerank-fp32') AS by_setting, rerank('a', 'b') = rerank('a', 'b', 'tiny-rerank') AS by_default;
SET embed.reranker = 'judge';
SELECT rerank('a', ARRAY['b']) = rerank('a', ARRAY['b'], 'tiny-rerank-fp32') AS by_alias;
SELECT rerank('a', 'b', 'judge');
SET embed.reranker = 'tiny-cls';
SELECT rerank('a', 'b');
SET embed.reranker = 'no/such';
SELECT rerank('a', 'b');
SET embed.reranker = '../path!';
RESET embed.reranker;
SET embed.model = 'tiny-rerank';
SELECT embed('a');
RESET embed.model;
SELECT embed('a', 'tiny-rerank');
SELECT embed_agg('a', 'tiny-rerank');
SELECT embed_set_default('tiny-rerank-fp32');
SELECT rerank('a', 'b') = rerank('a', 'b', 'tiny-rerank-fp32') AS other_default, embed('a') = embed('a', 'tiny-cls') AS embedding_default_kept;
SELECT embed_drop('tiny-rerank-fp32', true, force => true);
SELECT rerank('a', 'b');
SELECT embed_set_default('tiny-rerank');

-- texts of more tokens than the model reads: the longer one is cut, equal ones in halves
CREATE TEMP TABLE long AS SELECT repeat('word ', 2000) AS doc;
SELECT rerank('a b', doc) = rerank('a b', left(doc, 600 * 5)) AS cut FROM long;
SELECT rerank(doc, doc) = rerank(left(doc, 300 * 5), left(doc, 300 * 5)) AS both_cut FROM long;
SET embed.on_overflow = 'error';
SELECT rerank('a b', doc) FROM long;
SELECT rerank('a b', ARRAY['short', doc]) FROM long;
SET embed.on_overflow = 'warn';
SELECT rerank('a b', ARRAY['short', doc, doc]) IS NOT NULL AS warned FROM long;
RESET embed.on_overflow;
-- out of line and compressed, read no further than needed
CREATE TEMP TABLE stored (doc text);
ALTER TABLE stored ALTER doc SET STORAGE EXTERNAL;
INSERT INTO stored SELECT repeat('long word ', 300000) UNION ALL SELECT repeat('long word ', 10);
SELECT bool_and(rerank('a b', doc) = rerank('a b', left(doc, 10000))) AS same, bool_and(rerank(doc, doc) IS NOT NULL) AS both FROM stored;

-- volatility, strictness, parallel safety
SELECT p.oid::regprocedure AS function, p.provolatile AS volatile, p.proisstrict AS strict, p.proparallel AS parallel, p.procost AS cost,
	obj_description(p.oid, 'pg_proc') IS NULL AS lacks_comment
FROM pg_proc p WHERE p.proname IN ('rerank', 'rerank_top') ORDER BY p.proname COLLATE "C", p.pronargs, p.oid::regprocedure::text COLLATE "C";
CREATE TEMP TABLE judged (doc text, score float4 GENERATED ALWAYS AS (rerank('北京', doc, 'tiny-rerank')) STORED);
INSERT INTO judged SELECT doc FROM golden WHERE tokens < 50;
CREATE INDEX ON judged (rerank('a', doc, 'tiny-rerank'));
SELECT bool_and(score = rerank('北京', doc)) AS generated FROM judged;
PREPARE pair AS SELECT rerank($1, $2);
EXECUTE pair('a', NULL);
\set VERBOSITY terse
SELECT embed_drop('tiny-rerank', true);
\set VERBOSITY default
DROP TABLE judged;
SELECT embed_drop('tiny-rerank', true);
