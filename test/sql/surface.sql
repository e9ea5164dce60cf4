-- What CREATE EXTENSION puts where: the extension's schema has the documented names and nothing else.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set VERBOSITY terse
CREATE VIEW surface AS
SELECT coalesce(p.pronamespace, r.relnamespace) = e.extnamespace AS documented, coalesce(p.proname, r.relname, n.nspname, v.evtname)::text AS name,
	CASE WHEN p.prokind = 'a' THEN 'aggregate' WHEN p.prokind = 'f' THEN 'function' WHEN r.relkind = 'v' THEN 'view' WHEN r.relkind = 'r' THEN 'table'
		ELSE (pg_identify_object(d.classid, d.objid, 0)).type END AS kind
FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
LEFT JOIN pg_class r ON d.classid = 'pg_class'::regclass AND r.oid = d.objid
LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
LEFT JOIN pg_event_trigger v ON d.classid = 'pg_event_trigger'::regclass AND v.oid = d.objid
-- newer servers count row types of tables and views as members
WHERE e.extname = 'embed' AND d.classid <> 'pg_type'::regclass;
SELECT DISTINCT name COLLATE "C", kind FROM surface WHERE documented ORDER BY 1, 2;

-- all the rest is in _embed, which is nobody's but its owner's
SELECT DISTINCT name COLLATE "C", kind FROM surface WHERE documented IS NOT TRUE ORDER BY 1, 2;
SELECT has_schema_privilege('public', oid, 'usage') AS public_may_look FROM pg_namespace WHERE nspname = '_embed';

-- who may not even look into _embed runs what is made of its functions
CREATE ROLE regress_embed_surface;
SET ROLE regress_embed_surface;
SELECT has_schema_privilege('_embed', 'usage') AS may_look;
SELECT embed_agg(x, 'tiny-cls') = embed(ARRAY['one', 'two'], 'tiny-cls') AS agg, embed_avg(x) IS NOT NULL AS avg FROM (VALUES (1, 'one'), (2, 'two')) v (i, x);
SELECT rerank_agg('one', x, 'no-such') FROM (VALUES ('one')) v (x);
SELECT cardinality(embed_agg(x) OVER (ORDER BY x)) > 0 AS window FROM (VALUES ('one')) v (x);
EXPLAIN (COSTS OFF) SELECT embed(x) FROM (VALUES ('one')) v (x);
SELECT _embed.agg_final(NULL);
RESET ROLE;
DROP ROLE regress_embed_surface;
DROP VIEW surface;
