-- Decoders: rerankers that read a pair by a template with an instruction, and embedding models that take the last row.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set reranker :data_dir '/tiny/qwen3-rerank/model'
\set reranker2 :data_dir '/tiny/qwen2-rerank/model'
\set embedder :data_dir '/tiny/qwen3-embed/model'
\set both_ways :data_dir '/tiny/qwen3-both-ways/model'

-- the files do not say what the model is: the name or the option does
SELECT embed_import('decoder', :'reranker');
SELECT embed_import('decoder/rerank', :'reranker', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('decoder/int8', :'reranker', '{"kind": "reranker"}') IS NOT NULL AS imported;
SELECT embed_import('decoder/rerank2', :'reranker2', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('decoder/embed', :'embedder', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('decoder/both', :'both_ways', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('no', :'embedder', '{"kind": "reranker"}');
SELECT name, kind, family, dim, max_tokens, pooling, instruction, template FROM embed_models WHERE name ~ '^decoder' ORDER BY name COLLATE "C";
SELECT "check", ok FROM embed_verify('decoder/int8') ORDER BY "check" COLLATE "C";

-- logits as transformers has them
CREATE TEMP TABLE golden (id int GENERATED ALWAYS AS IDENTITY, instruct text, query text, doc text, tokens int, logit float8, score float4);
\set file :data_dir '/sql/qwen3-rerank.csv'
COPY golden (instruct, query, doc, tokens, logit, score) FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS pairs, max(tokens) AS longest,
	bool_and(abs(rerank_logit(query, doc, 'decoder/rerank', instruct) - logit) <= 5e-5) AS fp32_equal,
	bool_and(abs(rerank(query, doc, 'decoder/rerank', instruct) - score) <= 2e-5) AS scores_equal,
	bool_and(abs(rerank(query, doc, 'decoder/int8', instruct) - score) <= 0.05) AS int8_near,
	bool_and(rerank(query, doc, 'decoder/rerank', instruct) = rerank(query, doc, 'decoder/rerank')) FILTER (WHERE instruct ~ '^Given') AS its_own,
	bool_and(rerank(query, doc, 'decoder/rerank', instruct) <> rerank(query, doc, 'decoder/rerank')) FILTER (WHERE instruct !~ '^Given') AS another
FROM golden;
CREATE TEMP TABLE golden2 (LIKE golden INCLUDING IDENTITY);
\set file :data_dir '/sql/qwen2-rerank.csv'
COPY golden2 (instruct, query, doc, tokens, logit, score) FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS pairs, max(tokens) AS longest,
	bool_and(abs(rerank_logit(query, doc, 'decoder/rerank2', instruct) - logit) <= 5e-5) AS fp32_equal,
	bool_and(rerank(query, doc, 'decoder/rerank2', instruct) = rerank(query, doc, 'decoder/rerank2')) FILTER (WHERE instruct = '') AS its_own
FROM golden2;

-- vectors of the last row, and of the mean in both directions
CREATE TEMP TABLE texts (text text, ids int[], v float4[]);
\set file :data_dir '/sql/qwen3-embed.csv'
COPY texts FROM :'file' (FORMAT csv, ENCODING 'UTF8');
CREATE FUNCTION pg_temp.differs(a float4[], b float4[]) RETURNS float8 LANGUAGE sql AS 'SELECT max(abs(x - y)) FROM unnest(a, b) u(x, y)';
SELECT count(*) AS texts, bool_and(embed_tokens(text, 'decoder/embed') = ids) AS ids,
	bool_and(pg_temp.differs(embed(text, 'decoder/embed'), v) <= 2e-6) AS vectors,
	bool_and(embed_query(text, 'decoder/embed') =
		embed('Instruct: Given a web search query, retrieve relevant passages that answer the query' || chr(10) || 'Query:' || text, 'decoder/embed')) AS prompt,
	bool_and(embed_query(text, 'decoder/embed', 'Find') = embed('Instruct: Find' || chr(10) || 'Query:' || text, 'decoder/embed')) AS instructed
FROM texts;
SELECT (embed_info('', 'decoder/embed')).tokens AS empty, (embed_tokens('a', 'decoder/embed'))[2] = (embed_tokens('', 'decoder/embed'))[1] AS ends;
TRUNCATE texts;
\set file :data_dir '/sql/qwen3-both-ways.csv'
COPY texts FROM :'file' (FORMAT csv, ENCODING 'UTF8');
SELECT count(*) AS texts, bool_and(embed_tokens(text, 'decoder/both') = ids) AS ids,
	bool_and(pg_temp.differs(embed(text, 'decoder/both'), v) <= 2e-6) AS vectors
FROM texts;

SELECT embed_tokens('', 'decoder/both') = embed_tokens(' ', 'decoder/both') AS ids, embed('', 'decoder/both') = embed(' ', 'decoder/both') AS empty,
	(embed_info('', 'decoder/both')).tokens;

-- one pair, one score: alone, in arrays, in groups, row by row, in any batch, by any number of threads
CREATE TEMP TABLE one AS SELECT q.query, d.id, d.doc, rerank_logit(q.query, d.doc, 'decoder/int8', 'Find') AS logit
FROM (SELECT DISTINCT query FROM golden WHERE id IN (1, 2, 4)) q, golden d WHERE d.tokens < 400;
CREATE FUNCTION pg_temp.same() RETURNS bool LANGUAGE sql AS $$
	SELECT bool_and(rerank(query, docs, 'decoder/int8', 'Find') = scores AND rerank_many(query, docs, 'decoder/int8', 'Find') = scores AND agg = scores
		AND (SELECT bool_and(t.score = scores[t.ordinality]) AND count(*) = 3 FROM rerank_top(query, docs, 3, 'decoder/int8', 'Find') t))
	FROM (SELECT query, array_agg(doc ORDER BY id) AS docs, array_agg((1 / (1 + exp(-logit::float8)))::float4 ORDER BY id) AS near,
		array_agg(rerank(query, doc, 'decoder/int8', 'Find') ORDER BY id) AS scores,
		rerank_agg(query, doc, 'decoder/int8', 'Find' ORDER BY id) AS agg FROM one GROUP BY query) s;
$$;
SELECT pg_temp.same();
SET embed.batch_tokens = 200;
SELECT pg_temp.same();
RESET embed.batch_tokens;
SET embed.threads = 1;
SELECT pg_temp.same();
RESET embed.threads;
SELECT bool_and(logit = rerank_logit(query, doc, 'decoder/int8', 'Find')) AS forwards FROM one;
SELECT bool_and(logit = rerank_logit(query, doc, 'decoder/int8', 'Find')) AS backwards FROM (SELECT * FROM one ORDER BY id DESC, query) s;

-- what documents of one query share is computed once, whatever computes them
SELECT embed_stat_reset();
SELECT count(rerank_logit('what is postgresql?', doc, 'decoder/int8')) AS row_by_row FROM golden WHERE tokens < 200;
SELECT prefix_tokens_reused > tokens / 3 AS reused FROM embed_stat WHERE name = 'decoder/int8';
SELECT embed_stat_reset();
SELECT cardinality(rerank_many('what is postgresql?', array_agg(doc), 'decoder/int8')) AS in_an_array FROM golden WHERE tokens < 200;
SELECT prefix_tokens_reused > tokens / 3 AS reused FROM embed_stat WHERE name = 'decoder/int8';
SELECT embed_stat_reset();
SELECT cardinality(rerank_agg('what is postgresql?', doc, 'decoder/int8')) AS in_a_group FROM golden WHERE tokens < 200;
SELECT prefix_tokens_reused > tokens / 3 AS reused FROM embed_stat WHERE name = 'decoder/int8';

-- a document or a query that is too long: the end of the template stays
SELECT embed_import('decoder/short', :'reranker', '{"precision": "fp32", "kind": "reranker", "max_tokens": 160}') IS NOT NULL AS imported;
SELECT rerank_logit('q', repeat('word ', 1000), 'decoder/short') = rerank_logit('q', repeat('word ', 2000), 'decoder/short') AS cut,
	rerank_logit(repeat('word ', 1000), 'd', 'decoder/short') = rerank_logit(repeat('word ', 2000), 'e', 'decoder/short') AS query_cut,
	rerank_logit('q', 'd', 'decoder/short', repeat('word ', 1000)) = rerank_logit('r', 'd', 'decoder/short', repeat('word ', 1001)) AS instruction_cut,
	rerank_logit('q', 'd', 'decoder/short') = rerank_logit('q', 'd', 'decoder/rerank') AS fits;
SET embed.on_overflow = error;
SELECT rerank('q', repeat('word ', 1000), 'decoder/short');
RESET embed.on_overflow;
SELECT embed_import('no', :'reranker', '{"kind": "reranker", "max_tokens": 40}');
SELECT embed_import('no', :'reranker', '{"kind": "reranker", "max_tokens": 5000}');

-- a template of one's own, and an instruction of one's own
SELECT embed_import('decoder/spelled', :'reranker', jsonb_build_object('precision', 'fp32', 'kind', 'reranker', 'instruction', 'Find', 'template', jsonb_build_object(
	'prefix', E'<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
	'middle', E'<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}',
	'suffix', E'<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n'))) IS NOT NULL AS imported;
SELECT bool_and(rerank_logit(query, doc, 'decoder/spelled') = rerank_logit(query, doc, 'decoder/rerank', 'Find')) AS same,
	bool_and(rerank_logit(query, doc, 'decoder/spelled', instruct) = rerank_logit(query, doc, 'decoder/rerank', instruct)) AS same_instructed FROM golden;
SELECT embed_import('decoder/plain', :'reranker', '{"kind": "reranker", "template": {"middle": "{query} | {document}", "yes": "A", "no": "B"}}') IS NOT NULL AS imported;
SELECT rerank('q', 'd', 'decoder/plain') BETWEEN 0 AND 1 AS score;
SELECT rerank('q', 'd', 'decoder/plain', 'Find');
SELECT name, instruction, template FROM embed_models WHERE name IN ('decoder/spelled', 'decoder/plain') ORDER BY name COLLATE "C";
SELECT embed_import('no', :'reranker', '{"kind": "reranker", "template": {"middle": "{query} {document}", "yes": "absolutely"}}');
SELECT embed_import('no', :'reranker', '{"kind": "reranker", "template": {"middle": "{document}"}}');

-- constants are computed when the query is planned; generated columns keep scores
EXPLAIN (COSTS OFF, VERBOSE) SELECT rerank('q', 'd', 'decoder/rerank', 'Find') > 2;
CREATE TEMP TABLE judged (doc text, score float4 GENERATED ALWAYS AS (rerank('q', doc, 'decoder/rerank', 'Find')) STORED);
INSERT INTO judged SELECT doc FROM golden WHERE tokens < 150;
SELECT bool_and(score = rerank('q', doc, 'decoder/rerank', 'Find')) AS kept FROM judged;

-- instructions that vary
SELECT rerank_agg('q', 'd', 'decoder/rerank', i) FROM unnest('{a,b}'::text[]) i;
SELECT rerank_agg('q', 'd', 'decoder/rerank', i) FROM unnest('{a,NULL}'::text[]) i;
SELECT rerank_agg('q', 'd', 'decoder/rerank', i) = ARRAY[rerank('q', 'd', 'decoder/rerank', i)] AS grouped FROM unnest('{a,b}'::text[]) i GROUP BY i ORDER BY i;
SELECT count(DISTINCT rerank_logit('q', 'd', 'decoder/rerank', i)) AS logits FROM unnest('{"",a,b,a,""}'::text[]) i;
DROP TABLE judged;
DROP FUNCTION pg_temp.same();
SELECT embed_drop(name, true, true) IS NOT NULL AS dropped FROM embed_models WHERE name ~ '^decoder' ORDER BY name COLLATE "C";
