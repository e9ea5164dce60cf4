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

-- Drivers send lists as float8[]: elements are rounded to float4, and the bits are those of float4[].
SELECT embed_cosine(embed('fox'), embed('a library')::float8[]) = embed_cosine(embed('fox'), embed('a library')) AS one_list,
	embed_cosine(embed('fox')::float8[], embed('a library')) = embed_cosine(embed('fox'), embed('a library')) AS other_list,
	embed_cosine(embed('fox')::float8[], embed('a library')::float8[]) = embed_cosine(embed('fox'), embed('a library')) AS two_lists;
SELECT count(*) AS wrong FROM generate_series(1, 70) n,
	LATERAL (SELECT array_agg(sin(i)) AS a, array_agg(cos(i * i)) AS b FROM generate_series(1, n) i) v
WHERE embed_cosine(a, b) <> embed_cosine(a::float4[], b::float4[]) OR embed_cosine(a, b::float4[]) <> embed_cosine(a::float4[], b);
SELECT embed_cosine(ARRAY[1e-300, 1]::float8[], '{0,1}') AS tiny_element, embed_cosine('[3:4]={1,0}'::float8[], '{1,0}'::float4[]) AS bounds_ignored,
	embed_cosine(ARRAY['Infinity', 1]::float8[], '{0,1}') AS infinite;
-- Every call that had one choice before has one now: (type of a, type of b) and the result.
CREATE TEMP TABLE spelling (name text, value text);
INSERT INTO spelling VALUES ('literal', $$'{3,4}'$$), ('NULL', 'NULL'), ('float4[]', $$'{3,4}'::float4[]$$), ('float8[]', $$'{3,4}'::float8[]$$),
	('int[]', 'ARRAY[3,4]'), ('bigint[]', 'ARRAY[3,4]::bigint[]'), ('smallint[]', 'ARRAY[3,4]::smallint[]'), ('numeric[]', 'ARRAY[3.0,4.0]'),
	('domain', $$'{3,4}'::pg_temp.doubles$$);
CREATE DOMAIN pg_temp.doubles AS float8[];
CREATE FUNCTION pg_temp.value_of(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE 'SELECT ' || call INTO result;
	RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END $$;
SELECT pg_temp.value_of(format('embed_cosine(%s, %s)', a.value, b.value)) AS result, count(*), string_agg(DISTINCT a.name, ' ' ORDER BY a.name) AS of
FROM spelling a, spelling b GROUP BY 1 ORDER BY 1;
-- parameters without a type take that of the other side; two are texts, whose literals are read
PREPARE one AS SELECT embed_cosine(embed('fox'), $1);
PREPARE list AS SELECT embed_cosine($1, '{3,4}'::float8[]);
PREPARE two AS SELECT embed_cosine($1, $2);
SELECT name, parameter_types FROM pg_prepared_statements WHERE name IN ('one', 'list', 'two') ORDER BY name;
EXECUTE list('{4,3}');
EXECUTE two('{4,3}', '[5:6]={3,4}');
DEALLOCATE ALL;
-- the parser's choice stays in views and indexes
CREATE TEMP VIEW list_view AS SELECT embed_cosine('{3,4}'::float4[], '{3,4}'::float8[]) AS c;
SELECT pg_get_viewdef('list_view'::regclass);

SELECT embed_cosine('{1,2}'::float8[], '{1,2,3}'::float8[]);
SELECT embed_cosine(embed('fox'), '{1,2,3}'::float8[]);
SELECT embed_cosine('{}'::float8[], '{1}'::float8[]);
SELECT embed_cosine('{{1,2}}'::float8[], '{1,2}'::float8[]);
SELECT embed_cosine('{1,NULL}'::float8[], '{1,2}'::float8[]);
SELECT embed_cosine('{1,1e300}'::float8[], '{1,2}'::float8[]);
SELECT embed_cosine('cats', 'dogs');
SELECT embed_cosine(ARRAY['a'], ARRAY['b']);
