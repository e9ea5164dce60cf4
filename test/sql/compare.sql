-- embed_compare: agreement of two models, or of a model and its unquantized form.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'
\set rerank :data_dir '/tiny/bert-rerank/model'
\set roberta :data_dir '/tiny/roberta-rerank/model'
SELECT embed_import('cmp-fp32', :'cls', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('cmp-rank', :'rerank') IS NOT NULL AS imported;
SELECT embed_import('cmp-rank-fp32', :'rerank', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('cmp-other', :'roberta', '{"precision": "fp32"}') IS NOT NULL AS imported;
CREATE TEMP TABLE doc AS SELECT i, md5(i::text) || ' the ' || i || ' of ' || md5((i / 3)::text) AS body FROM generate_series(1, 600) i;

-- a model with itself
SELECT measure, n > 10 AS several, p50, p05, min, verdict, rule FROM embed_compare('tiny-cls', 'tiny-cls');
SELECT measure, n, p50, p05, min, verdict FROM embed_compare('tiny-cls', 'tiny-cls', (SELECT array_agg(body ORDER BY i) FROM doc));
SELECT measure, n > 10 AS several, p50, p05, min, verdict FROM embed_compare('cmp-rank', 'cmp-rank');

-- int8 with fp32: the cosines are those of embed_cosine, in the quantiles of the docs
CREATE TEMP TABLE cosines AS SELECT embed_cosine(embed(body, 'tiny-cls'), embed(body, 'cmp-fp32')) AS c FROM doc;
SELECT n = 600 AS n, p50 = (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY c) FROM cosines) AS p50,
	p05 = (SELECT c FROM cosines ORDER BY c OFFSET 599 / 20 LIMIT 1) AS p05,
	min = (SELECT min(c) FROM cosines) AS min, min < 1 AS differs
FROM embed_compare('tiny-cls', 'cmp-fp32', (SELECT array_agg(body ORDER BY i) FROM doc)) WHERE measure = 'cosine';
-- neighbours, counted in SQL
CREATE TEMP TABLE near AS
	SELECT x.i, m.model, array_agg(y.i ORDER BY y.c DESC, y.i) AS nearest
	FROM doc x, (VALUES ('tiny-cls'), ('tiny-mean-36')) m (model),
		LATERAL (SELECT d.i, embed_cosine(embed(x.body, m.model), embed(d.body, m.model)) AS c FROM doc d WHERE d.i <> x.i AND d.i <= 25 ORDER BY c DESC, d.i LIMIT 10) y
	WHERE x.i <= 25 GROUP BY 1, 2;
CREATE TEMP TABLE shares AS SELECT a.i, (SELECT count(*) FROM unnest(a.nearest) u WHERE u = ANY (b.nearest)) / 10.0::float4 AS share
	FROM near a JOIN near b USING (i) WHERE a.model = 'tiny-cls' AND b.model = 'tiny-mean-36';
SELECT count(*) AS texts, min(share) < 1 AS differ FROM shares;
SELECT measure, n, p50::float4 = (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY share)::float4 FROM shares) AS p50,
	min::float4 = (SELECT min(share)::float4 FROM shares) AS min, verdict
FROM embed_compare('tiny-cls', 'tiny-mean-36', (SELECT array_agg(body ORDER BY i) FROM doc WHERE i <= 25));

-- rerankers: pairs; score differences, and ranks counted in SQL
CREATE TEMP TABLE pair AS SELECT i, body AS query, (SELECT body FROM doc e WHERE e.i = 601 - d.i) AS doc FROM doc d WHERE i <= 40;
CREATE TEMP TABLE scored AS SELECT i, rerank(query, doc, 'cmp-rank') AS a, rerank(query, doc, 'cmp-other') AS b FROM pair;
CREATE TEMP TABLE compared AS SELECT * FROM embed_compare('cmp-rank', 'cmp-other',
	(SELECT array_agg(t ORDER BY i, k) FROM pair, LATERAL (VALUES (1, query), (2, doc)) v (k, t)));
SELECT measure, n, verdict FROM compared;
SELECT abs(min - (SELECT min(1 - abs(a - b)) FROM scored)) < 1e-6 AS score FROM compared WHERE measure = 'score';
SELECT abs(p50 - (SELECT corr(ra, rb) FROM (SELECT rank() OVER (ORDER BY a) + (count(*) OVER (PARTITION BY a) - 1) / 2.0 AS ra,
	rank() OVER (ORDER BY b) + (count(*) OVER (PARTITION BY b) - 1) / 2.0 AS rb FROM scored) r)) < 1e-9 AS spearman FROM compared WHERE measure = 'spearman';
SELECT abs(p50 - (SELECT sum(sign(x.a - y.a) * sign(x.b - y.b)) / sqrt(sum(abs(sign(x.a - y.a))) * sum(abs(sign(x.b - y.b)))) FROM scored x, scored y)) < 1e-9 AS kendall
FROM compared WHERE measure = 'kendall';
SELECT measure, verdict FROM embed_compare('cmp-rank', 'cmp-rank-fp32');

-- with the unquantized vectors: the figures of embed_verify
SELECT measure, n > 10 AS several, verdict FROM embed_compare('tiny-cls');
SELECT (SELECT detail FROM embed_verify('tiny-cls') WHERE "check" = 'cosine') LIKE '%min ' || to_char(min, 'FM0.000000') || ' (at import%' AS as_verified FROM embed_compare('tiny-cls') WHERE measure = 'cosine';
SELECT measure, n > 10 AS several, p50, min, verdict FROM embed_compare('cmp-fp32') WHERE measure = 'cosine at import';
SELECT measure, verdict FROM embed_compare('cmp-rank');

-- NULLs are skipped, aliases are models
SELECT measure, n FROM embed_compare('tiny-cls', 'cmp-fp32', ARRAY['one', NULL, 'two']);
SELECT measure, n FROM embed_compare('cmp-rank', 'cmp-other', ARRAY['q', NULL, NULL, 'd', 'q', 'd']);
SELECT embed_set_alias('cmp-now', 'tiny-cls');
SELECT measure, verdict FROM embed_compare('cmp-now', 'tiny-cls', '{one}');

-- the check before a switch, and the way back
CREATE FUNCTION pg_temp.switch(alias text, new text, texts text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	worse text;
BEGIN
	SELECT string_agg(format('%s %s', measure, verdict), ', ') INTO worse FROM embed_compare(alias, new, texts) WHERE verdict = 'different';
	IF worse IS NOT NULL THEN
		RETURN 'stays: ' || worse;
	END IF;
	PERFORM embed_set_alias(alias, new);
	RETURN 'switched';
END $$;
SELECT pg_temp.switch('cmp-now', 'cmp-fp32', (SELECT array_agg(body) FROM doc WHERE i <= 50));
SELECT name FROM embed_models WHERE 'cmp-now' = ANY (aliases);
SELECT pg_temp.switch('cmp-now', 'tiny-mean-36', (SELECT array_agg(body) FROM doc WHERE i <= 50)) ~ '^stays: ' AS stays;
SELECT pg_temp.switch('cmp-now', 'tiny-cls', (SELECT array_agg(body) FROM doc WHERE i <= 50)) AS back;
SELECT embed_set_alias('cmp-now', NULL);

-- the watch of docs/operations.md: no row for a healthy model, rows for another one
SELECT 'verify: ' || "check" || ' ' || detail FROM embed_verify('tiny-cls') WHERE NOT ok;
SELECT measure FROM embed_compare('tiny-cls', 'cmp-fp32', (SELECT array_agg(body) FROM (SELECT body FROM doc ORDER BY i DESC LIMIT 200) d))
WHERE verdict = 'different' OR (measure = 'cosine' AND (p50 < 0.998 OR min < 0.98));
SELECT measure FROM embed_compare('tiny-mean-36', 'cmp-fp32', (SELECT array_agg(body) FROM (SELECT body FROM doc ORDER BY i DESC LIMIT 200) d))
WHERE verdict = 'different' OR (measure = 'cosine' AND (p50 < 0.998 OR min < 0.98));

-- what is refused
SELECT * FROM embed_compare('tiny-cls', 'cmp-rank');
SELECT * FROM embed_compare('tiny-cls', 'no-such-model');
SELECT * FROM embed_compare('tiny-cls', 'cmp-fp32', '{}');
SELECT * FROM embed_compare('tiny-cls', 'cmp-fp32', ARRAY[NULL::text]);
SELECT * FROM embed_compare('cmp-rank', 'cmp-other', '{one,two,three}');
SELECT * FROM embed_compare('tiny-cls', 'tiny-mean-36', '{one,two}');
SELECT count(*) FROM embed_compare('tiny-cls', NULL);
-- a cancel
SET statement_timeout = '200ms';
SELECT count(*) FROM embed_compare('tiny-cls', 'cmp-fp32', (SELECT array_agg(body || repeat(' and more of it', 40) || n) FROM doc, generate_series(1, 30) n));
RESET statement_timeout;
SET client_min_messages = warning;
SELECT embed_drop(n, forget => true, force => true) FROM unnest('{cmp-fp32,cmp-rank,cmp-rank-fp32,cmp-other}'::text[]) n;
