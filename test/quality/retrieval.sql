-- One line, where int8 is the precision asked for: nDCG@10 of fp32 and int8, recall@10 of both, mean and least cosine
-- of the documents' vectors in int8 to those in fp32, Spearman of the pairs'
-- cosines in int8 to the data's (to fp32's where the data has none), that of
-- fp32 to the data's, and the prompts. Variables: model, dir, file (the folder of
-- the data), precision.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE TEMP TABLE lines (no int GENERATED ALWAYS AS IDENTITY, line text) ON COMMIT DROP;
CREATE TEMP TABLE texts (kind text, id text, body text) ON COMMIT DROP;
CREATE TEMP TABLE qrels (query text, doc text, gain float8) ON COMMIT DROP;
-- files go through \copy as whole lines; a JSON line has no such bytes unescaped
\set copy '\\copy lines (line) FROM ' :file 'queries.jsonl' ' (FORMAT csv, QUOTE E''\\x01'', DELIMITER E''\\x02'')'
:copy
INSERT INTO texts SELECT 'query', line::json ->> 'id', line::json ->> 'text' FROM lines;
TRUNCATE lines;
\set copy '\\copy lines (line) FROM ' :file 'docs.jsonl' ' (FORMAT csv, QUOTE E''\\x01'', DELIMITER E''\\x02'')'
:copy
INSERT INTO texts SELECT 'doc', line::json ->> 'id', line::json ->> 'text' FROM lines;
TRUNCATE lines;
\set copy '\\copy qrels FROM ' :file 'qrels.tsv'
:copy
\set copy '\\copy lines (line) FROM ' :file 'pairs.jsonl' ' (FORMAT csv, QUOTE E''\\x01'', DELIMITER E''\\x02'')'
:copy
INSERT INTO texts SELECT 'a', no, line::json ->> 'a' FROM lines;
INSERT INTO texts SELECT 'b', no, line::json ->> 'b' FROM lines;

SELECT embed_import('quality-fp32', :'dir', '{"precision": "fp32"}') IS NULL AS unused \gset
SELECT embed_import('quality-int8', :'dir', jsonb_build_object('precision', :'precision')) IS NULL AS unused \gset
CREATE TEMP TABLE vectors ON COMMIT DROP AS
	SELECT m.model, t.kind, t.id, embed_query(t.body, m.model) AS v
	FROM texts t, (VALUES ('quality-fp32'), ('quality-int8')) m(model) WHERE t.kind = 'query';
INSERT INTO vectors
	SELECT m.model, a.kind, a.ids[r.ordinality], r.embedding
	FROM (SELECT kind, array_agg(id ORDER BY id) ids, array_agg(body ORDER BY id) bodies FROM texts WHERE kind <> 'query' GROUP BY kind) a,
		(VALUES ('quality-fp32'), ('quality-int8')) m(model), embed_rows(a.bodies, m.model) r;
ANALYZE vectors;

CREATE FUNCTION pg_temp.search(model text, OUT ndcg numeric, OUT recall numeric) LANGUAGE sql AS $$
	WITH ranked AS (
		SELECT q.id AS query, d.id AS doc, row_number() OVER (PARTITION BY q.id ORDER BY embed_cosine(q.v, d.v) DESC, d.id) AS place
		FROM vectors q, vectors d WHERE q.kind = 'query' AND d.kind = 'doc' AND q.model = search.model AND d.model = search.model),
	gained AS (
		SELECT query, sum(gain / log(2, place + 1)) AS dcg, count(*)::float8 AS n FROM ranked JOIN qrels USING (query, doc) WHERE place <= 10 GROUP BY query),
	best AS (
		SELECT query, sum(gain / log(2, place + 1)) FILTER (WHERE place <= 10) AS dcg, count(*) AS n
		FROM (SELECT *, row_number() OVER (PARTITION BY query ORDER BY gain DESC) AS place FROM qrels) i GROUP BY query)
	SELECT round(avg(coalesce(gained.dcg, 0) / best.dcg)::numeric, 5), round(avg(coalesce(gained.n, 0) / best.n)::numeric, 5)
	FROM best LEFT JOIN gained USING (query) $$;
CREATE TEMP TABLE searches ON COMMIT DROP AS
	SELECT m.model, s.* FROM (VALUES ('quality-fp32'), ('quality-int8')) m(model), pg_temp.search(m.model) s;

CREATE TEMP TABLE pairs ON COMMIT DROP AS
	SELECT no, (line::json ->> ('cos_' || :'model'))::float8 AS given,
		(SELECT embed_cosine(a.v, b.v) FROM vectors a, vectors b WHERE a.model = 'quality-fp32' AND b.model = a.model AND a.kind = 'a' AND b.kind = 'b' AND a.id = no::text AND b.id = a.id) AS fp32,
		(SELECT embed_cosine(a.v, b.v) FROM vectors a, vectors b WHERE a.model = 'quality-int8' AND b.model = a.model AND a.kind = 'a' AND b.kind = 'b' AND a.id = no::text AND b.id = a.id) AS int8
	FROM lines;
-- equal values share the mean of their places
CREATE TEMP TABLE places ON COMMIT DROP AS
	SELECT given IS NOT NULL AS has_given,
		rank() OVER (ORDER BY given) + (count(*) OVER (PARTITION BY given) - 1) / 2.0 AS given,
		rank() OVER (ORDER BY fp32) + (count(*) OVER (PARTITION BY fp32) - 1) / 2.0 AS fp32,
		rank() OVER (ORDER BY int8) + (count(*) OVER (PARTITION BY int8) - 1) / 2.0 AS int8
	FROM pairs;

SELECT (SELECT ndcg FROM searches WHERE model = 'quality-fp32'), (SELECT ndcg FROM searches WHERE model = 'quality-int8'),
	(SELECT recall FROM searches WHERE model = 'quality-fp32'), (SELECT recall FROM searches WHERE model = 'quality-int8'), c.*, p.*,
	(SELECT prompts FROM embed_models WHERE name = 'quality-int8')
FROM (SELECT round(avg(cosine)::numeric, 5), round(min(cosine)::numeric, 4)
	  FROM (SELECT embed_cosine(f.v, i.v) AS cosine FROM vectors f JOIN vectors i USING (kind, id) WHERE f.model = 'quality-fp32' AND i.model = 'quality-int8' AND kind = 'doc') v) c,
	 (SELECT round(corr(CASE WHEN has_given THEN given ELSE fp32 END, int8)::numeric, 5), round((corr(given, fp32) FILTER (WHERE has_given))::numeric, 6) FROM places) p;
ROLLBACK;
