-- embed(text[]) and embed_rows(text[]).
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

SELECT array_dims(embed(ARRAY['a', 'b', 'c'])) AS dims, array_dims(embed(ARRAY['a', 'b'], 'tiny-mean-36')) AS dims_36;
SELECT (embed(ARRAY['a', 'b', 'c']))[2:2] = ARRAY[embed('b')] AS second;
SELECT embed('{}'::text[]) AS empty, embed('{}'::text[], 'tiny-cls') AS empty_too, embed(NULL::text[]) IS NULL AS null_array;
-- other lower bounds do not matter
SELECT embed('[5:6]={a,b}'::text[]) = embed(ARRAY['a', 'b']) AS same;

-- NULL elements give rows of NULLs
WITH v AS (SELECT embed(ARRAY['a', NULL, 'c', NULL]) AS v)
SELECT array_dims(v) AS dims, v[1:1] = ARRAY[embed('a')] AS first, v[3:3] = ARRAY[embed('c')] AS third,
	(SELECT count(*) FROM unnest(v[2:2]) x WHERE x IS NULL) AS nulls_2,
	(SELECT count(*) FROM unnest(v[4:4]) x WHERE x IS NULL) AS nulls_4
FROM v;
SELECT array_dims(v) AS dims, (SELECT count(*) FROM unnest(v) x WHERE x IS NOT NULL) AS not_null
FROM embed(ARRAY[NULL, NULL]::text[]) v;

SELECT ordinality, embedding = embed(('{a,b,NULL,d}'::text[])[ordinality]) AS same, embedding IS NULL AS is_null
FROM embed_rows('{a,b,NULL,d}');
SELECT r.ordinality, array_length(r.embedding, 1) AS dim FROM embed_rows(ARRAY[NULL, 'x', NULL], 'tiny-mean-48') r;
SELECT count(*) FROM embed_rows('{}');
SELECT count(*) FROM embed_rows(NULL);
SELECT (embed_rows(ARRAY['a', 'b'])).ordinality;
SELECT n, (SELECT count(*) FROM embed_rows(texts) r WHERE r.embedding = embed(texts[r.ordinality])) AS same
FROM (VALUES (1, '{a,b}'::text[]), (2, '{c,NULL,d,e}')) v(n, texts);

-- many texts, several batches; repeated ones too
SET embed.batch_tokens = 64;
SELECT count(*) AS rows, count(DISTINCT embedding) AS vectors,
	bool_and(embedding = embed('text ' || (ordinality - 1) % 100)) AS same
FROM embed_rows((SELECT array_agg('text ' || i % 100 ORDER BY i) FROM generate_series(0, 999) i));
RESET embed.batch_tokens;

-- errors
SELECT embed(ARRAY[['a', 'b'], ['c', 'd']]);
SELECT * FROM embed_rows(ARRAY[['a'], ['c']]);
SELECT embed(array_fill('a'::text, ARRAY[2500000]));
SELECT embed(ARRAY['a'], 'no-such-model');
SELECT embed('{}'::text[], 'no-such-model');
\set VERBOSITY sqlstate
SELECT embed(ARRAY[['a', 'b'], ['c', 'd']]);
SELECT embed(array_fill('a'::text, ARRAY[2500000]));
\set VERBOSITY default
