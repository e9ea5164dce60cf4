-- embed_cosine.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

SELECT embed_cosine('{1,0}', '{1,0}') AS same, embed_cosine('{1,0}', '{0,1}') AS orthogonal,
	embed_cosine('{1,0}', '{-2,0}') AS opposite, embed_cosine('{0,0}', '{1,1}') AS zero,
	round(embed_cosine('{1,1}', '{1,0}')::numeric, 4) AS angle_45, pg_typeof(embed_cosine('{1}', '{1}'));
SELECT embed_cosine(NULL, '{1}') IS NULL AS is_null;
SELECT embed_cosine('[3:4]={1,0}', '{1,0}') AS bounds_ignored;
SELECT embed_cosine(v, v) > 0.999999 AS same, embed_cosine(v, embed('something else entirely')) < 0.999999 AS other FROM embed('fox') v;
-- every length around the widths of registers
SELECT count(*) AS wrong FROM generate_series(1, 70) n,
	LATERAL (SELECT array_agg(sin(i)::float4) AS a, array_agg(cos(i * i)::float4) AS b FROM generate_series(1, n) i) v,
	LATERAL (SELECT sum(x::float8 * y) / sqrt(sum(x::float8 * x) * sum(y::float8 * y)) AS c FROM unnest(a, b) u(x, y)) w
WHERE abs(embed_cosine(a, b) - c) > 1e-6;
-- the nearest of a few texts is the text itself
SELECT t FROM unnest(ARRAY['a library', 'network server', 'the game']) t
ORDER BY embed_cosine(embed(t), embed_query('network server')) DESC LIMIT 1;

SELECT embed_cosine('{1,2}', '{1,2,3}');
SELECT embed_cosine('{}', '{1}');
SELECT embed_cosine('{1}', '{}');
SELECT embed_cosine('{{1,2}}', '{1,2}');
SELECT embed_cosine('{1,NULL}', '{1,2}');
SELECT embed_cosine('{1,2}', '{NULL,2}');
\set VERBOSITY sqlstate
SELECT embed_cosine('{1,2}', '{1,2,3}');
SELECT embed_cosine('{1,NULL}', '{1,2}');
\set VERBOSITY default
