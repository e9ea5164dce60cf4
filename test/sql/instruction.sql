-- Instructions: of embedding models, which have theirs in the query prompt, and of models that take none.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/bert-cls/model'
SELECT embed_import('instruct-plain', :'dir', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('instruct', :'dir', '{"precision": "fp32", "query_prompt": "Instruct: find the words\nQuery: "}') IS NOT NULL AS imported;
SELECT embed_import('instruct-other', :'dir', '{"precision": "fp32", "query_prompt": "Instruct: find the words\nQuery: ", "instruction": "judge a name"}') IS NOT NULL AS imported;
SELECT name, instruction, template, prompts ->> 'query' AS query FROM embed_models WHERE name ~ '^instruct' ORDER BY name COLLATE "C";

-- an instruction stands where the model's own stood
CREATE TEMP TABLE forms AS SELECT text, embed_query(text, 'instruct', 'judge a name') AS v
FROM unnest('{fox,"the second text","",北京}'::text[]) text;
SELECT bool_and(v = embed('Instruct: judge a name' || chr(10) || 'Query: ' || text, 'instruct-plain')) AS spelled_out,
	bool_and(v = embed_query(text, 'instruct-other')) AS by_option,
	bool_and(v <> embed_query(text, 'instruct')) AS differs,
	bool_and(embed_query(text, 'instruct', 'find the words') = embed_query(text, 'instruct')) AS its_own,
	bool_and(embed_query(text, 'instruct', '') = embed('Instruct: ' || chr(10) || 'Query: ' || text, 'instruct-plain')) AS empty,
	bool_and(embed_query(text, 'instruct', 'judge a name', 8) = embed_query(text, 'instruct-other', 8)) AS cut
FROM forms;
SELECT embed_query('x', 'instruct', NULL::text) IS NULL AS null_instruction, embed_query(NULL, 'instruct', 'x') IS NULL AS null_text,
	embed_query('x', 'instruct', 'x', NULL) IS NULL AS null_dimensions;

-- memo and cache know texts by their instruction; no two of these are one text
CREATE TEMP TABLE keys AS SELECT i AS instruction, t AS text FROM unnest('{"",a,ab,abc,b}'::text[]) i, unnest('{"",c,bc,abc,b}'::text[]) t;
SELECT count(DISTINCT embed_query(text, 'instruct', instruction)) AS vectors, count(*) AS pairs FROM keys;
SET embed.cache_entries = 0;
CREATE TEMP TABLE computed AS SELECT k.*, embed_query(text, 'instruct', instruction) AS v FROM keys k;
RESET embed.cache_entries;
SELECT count(*) FROM computed WHERE v <> embed_query(text, 'instruct', instruction);
SELECT count(*) FROM (SELECT c.*, embed_query('abc', 'instruct', instruction) AS w FROM computed c ORDER BY instruction, text) s
WHERE text = 'abc' AND v <> w;
SELECT count(*) FROM computed WHERE v <> embed_query(text, 'instruct', instruction) OR embed_query(text, 'instruct') = v;
SELECT count(DISTINCT v) FROM (SELECT embed_query('same', 'instruct', i::text) AS v FROM generate_series(1, 3) i, generate_series(1, 2)) s;
DISCARD ALL;

-- constants are computed when the query is planned; an index may depend on one
EXPLAIN (COSTS OFF, VERBOSE) SELECT embed_query('x', 'instruct', 'y') IS NULL;
CREATE TEMP TABLE asked (body text, v float4[] GENERATED ALWAYS AS (embed_query(body, 'instruct', 'judge a name')) STORED);
INSERT INTO asked VALUES ('fox'), (NULL);
SELECT v = embed_query(body, 'instruct-other') AS same, v IS NULL AS null_text FROM asked ORDER BY body;

-- models that take none
SELECT embed_query('x', 'tiny-cls', 'judge');
SELECT embed_query('x', 'tiny-cls', '');
SELECT embed_query('x', 'tiny-cls', '8');
\set reranker :data_dir '/tiny/bert-rerank/model'
SELECT embed_import('tiny-rerank', :'reranker') IS NOT NULL AS imported;
SELECT rerank('q', 'd', 'tiny-rerank', 'judge');
SELECT rerank_logit('q', 'd', 'tiny-rerank', 'judge');
SELECT rerank('q', '{d}'::text[], 'tiny-rerank', 'judge');
SELECT rerank_many('q', '{d}', 'tiny-rerank', 'judge');
SELECT rerank_many('q', '{}', 'tiny-rerank', 'judge');
SELECT * FROM rerank_top('q', '{d}', 0, 'tiny-rerank', 'judge');
SELECT rerank_agg('q', 'd', 'tiny-rerank', 'judge');
SELECT rerank_agg('q', 'd', 'tiny-rerank', NULL), rerank('q', 'd', 'tiny-rerank', NULL) IS NULL AS strict,
	rerank_many('q', '{d}', 'tiny-rerank', NULL) IS NULL AS strict_many;
SELECT emb.score = (1 / (1 + exp(-emb.logit::float8)))::float4 OR abs(emb.score - 1 / (1 + exp(-emb.logit::float8))) < 1e-6 AS sigmoid
FROM (SELECT rerank('北京', '北京', 'tiny-rerank') AS score, rerank_logit('北京', '北京', 'tiny-rerank') AS logit) emb;
SELECT embed_import('no', :'dir', '{"instruction": "judge"}');
SELECT embed_import('no', :'reranker', '{"instruction": "judge"}');
SELECT embed_import('no', :'dir', '{"query_prompt": "Instruct: x", "instruction": "judge"}');

-- a long one, and the options
SELECT embed_query('x', 'instruct', repeat('x', 8193));
SELECT embed_query('x', 'instruct', repeat('x', 8192)) IS NOT NULL AS longest;
SELECT embed_import('no', :'dir', '{"kind": "reranker"}');
SELECT embed_import('no', :'dir', '{"kind": "decoder"}');
SELECT embed_import('no', :'dir', '{"kind": 1}');
SELECT embed_import('no', :'dir', '{"template": "x"}');
SELECT embed_import('no', :'dir', '{"template": ["x"]}');
SELECT embed_import('no', :'dir', '{"template": {"middle": "{query}{document}"}}');
SELECT embed_import('no', :'dir', '{"normalize": 1}');
SELECT embed_import('no', :'reranker', '{"pooling": "mean"}');
SELECT embed_import('no', :'reranker', '{"normalize": false}');
SELECT embed_import('no', :'dir', '{"pooling": "sum"}');
SELECT embed_import('pooled', :'dir', '{"pooling": "mean", "normalize": false, "kind": "embedding"}') IS NOT NULL AS imported;
SELECT name, pooling FROM embed_models WHERE name IN ('pooled', 'tiny-cls') ORDER BY name;
SELECT round(embed_cosine(embed('fox', 'pooled'), embed('fox', 'pooled'))::numeric, 5) AS itself, embed('fox', 'pooled') <> embed('fox', 'tiny-cls') AS differs;
SELECT embed_drop(name, true, true) IS NOT NULL AS dropped FROM embed_models WHERE name ~ '^instruct|^pooled$|^tiny-rerank$' ORDER BY name COLLATE "C";
