-- embed_agg and embed_avg.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

CREATE TEMP TABLE docs (id int, grp int, body text);
INSERT INTO docs SELECT i, i % 3, CASE WHEN i % 7 <> 0 THEN 'document number ' || i END FROM generate_series(1, 60) i;

SELECT grp, array_dims(embed_agg(body)) AS dims,
	embed_agg(body ORDER BY id) = embed(array_agg(body ORDER BY id) FILTER (WHERE body IS NOT NULL)) AS in_order,
	embed_agg(body ORDER BY id DESC) = embed(array_agg(body ORDER BY id DESC) FILTER (WHERE body IS NOT NULL)) AS reversed
FROM docs GROUP BY grp ORDER BY grp;
SELECT embed_agg(body, 'tiny-mean-36' ORDER BY id) FILTER (WHERE grp = 1)
	= embed(array_agg(body ORDER BY id) FILTER (WHERE grp = 1 AND body IS NOT NULL), 'tiny-mean-36') AS filtered
FROM docs;
-- small batches: several are computed on the way
SET embed.batch_tokens = 20;
SELECT embed_agg(body ORDER BY id) = embed(array_agg(body ORDER BY id) FILTER (WHERE body IS NOT NULL)) AS same FROM docs;
RESET embed.batch_tokens;

-- the mean, normalized
CREATE FUNCTION pg_temp.mean(vectors float4[]) RETURNS float8[] LANGUAGE sql AS $$
	WITH m AS (SELECT i, avg(vectors[r][i]::float8) AS x
			   FROM generate_series(1, array_length(vectors, 1)) r, generate_series(1, array_length(vectors, 2)) i GROUP BY i)
	SELECT array_agg(x / (SELECT sqrt(sum(x * x)) FROM m) ORDER BY i) FROM m $$;
SELECT grp, max(abs(a - b)) < 1e-6 AS is_mean, round(sqrt(sum(a::float8 * a))::numeric, 5) AS norm
FROM (SELECT grp, embed_avg(body) AS avg, pg_temp.mean(embed_agg(body)) AS mean FROM docs GROUP BY grp) s,
	unnest(s.avg, s.mean) u(a, b)
GROUP BY grp ORDER BY grp;
SELECT embed_cosine(embed_avg(body), embed('document number 1')) > 0.99999 AS mean_of_one FROM docs WHERE id = 1;

-- nothing to embed
SELECT embed_agg(body), embed_avg(body), embed_agg(body, 'tiny-cls'), embed_avg(body, 'tiny-cls') FROM docs WHERE false;
SELECT embed_agg(body), embed_avg(body), embed_agg(body, 'tiny-cls'), embed_avg(body, 'tiny-cls') FROM docs WHERE body IS NULL;
SELECT embed_agg(body, NULL) IS NULL AS null_model FROM docs;
SELECT grp, embed_agg(body) IS NULL AS is_null FROM docs WHERE body IS NULL OR grp = 1 GROUP BY grp ORDER BY grp;

-- windows: the final function is called again and again, texts follow
SELECT id, array_dims(embed_agg(body) OVER w) AS dims,
	embed_agg(body) OVER w = embed(array_agg(body) FILTER (WHERE body IS NOT NULL) OVER w) AS same,
	embed_avg(body) OVER w = embed_avg(body, 'tiny-cls') OVER w AS same_avg
FROM docs WHERE id BETWEEN 5 AND 10 WINDOW w AS (ORDER BY id) ORDER BY id;
SELECT id, array_dims(embed_agg(body) OVER w) AS dims
FROM docs WHERE id BETWEEN 5 AND 10 WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) ORDER BY id;
-- two aggregates over the same input, a hash and a sort of groups
SELECT count(*) AS groups, bool_and(a[1:1] = ARRAY[v]) AS same
FROM (SELECT embed_agg(body) AS a, embed_avg(body) IS NOT NULL AS b, embed(min(body)) AS v FROM docs GROUP BY body) s
WHERE v IS NOT NULL;

-- one group, one model
SELECT embed_agg(body, CASE WHEN id < 30 THEN 'tiny-cls' ELSE 'tiny-mean-36' END) FROM docs;
SELECT embed_avg(body, CASE WHEN id < 30 THEN 'tiny-cls' ELSE 'tiny-mean-36' END) FROM docs;
SELECT m, array_dims(embed_agg(body, m)) AS dims
FROM (SELECT body, CASE WHEN id < 30 THEN 'tiny-cls' ELSE 'tiny-mean-36' END AS m FROM docs) s GROUP BY m ORDER BY m;
SELECT embed_agg(body, 'no-such-model') FROM docs;
SELECT p.oid::regprocedure AS aggregate, p.proparallel AS parallel, a.aggfinalmodify AS final_modifies, a.aggcombinefn AS combine,
	obj_description(p.oid, 'pg_proc') IS NULL AS lacks_comment
FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
WHERE p.proname ~ '^embed_' ORDER BY p.proname COLLATE "C", p.pronargs;
