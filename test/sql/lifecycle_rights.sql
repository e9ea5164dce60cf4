-- Who may do what, and whose functions run.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'
\set VERBOSITY sqlstate

CREATE ROLE regress_embed_plain;
CREATE ROLE regress_embed_admin;
GRANT EXECUTE ON FUNCTION embed_import(text, text, jsonb), embed_load(text, bytea, jsonb), embed_drop(text, bool, bool),
	embed_set_default(text), embed_set_alias(text, text) TO regress_embed_admin;
CREATE TEMP TABLE image AS SELECT string_agg(data, '' ORDER BY no) AS bytes
FROM _embed.chunk c JOIN embed_models m ON encode(c.fingerprint, 'hex') = m.fingerprint WHERE name = 'tiny-cls';
GRANT SELECT ON image TO PUBLIC;

-- everybody embeds and looks; the tables are not for them
SET ROLE regress_embed_plain;
SELECT embed('x') IS NOT NULL AS embed, embed_query('x', 'tiny-cls') IS NOT NULL AS embed_query, embed_tokens('x') IS NOT NULL AS embed_tokens,
	(SELECT count(*) FROM embed_rows(ARRAY['a'])) AS embed_rows, (embed_info('x')).tokens > 0 AS embed_info;
SELECT bool_and(length(fingerprint) = 64) AS embed_models FROM embed_models;
SELECT embed_import('rights', :'cls');
SELECT embed_load('rights', bytes) FROM image;
SELECT embed_drop('tiny-cls');
SELECT embed_drop('tiny-cls', true);
SELECT embed_set_default('tiny-cls');
SELECT embed_set_alias('rights-alias', 'tiny-cls');
SELECT * FROM _embed.model;
SELECT * FROM _embed.image;
SELECT * FROM _embed.chunk;
SELECT * FROM _embed.alias;
SELECT * FROM _embed.default_model;
DELETE FROM embed_models;

-- EXECUTE is enough for all but reading the server's files
SET ROLE regress_embed_admin;
SELECT embed_import('rights', :'cls');
SELECT embed_import('rights', '/etc/passwd');
SELECT embed_load('rights', bytes) IS NOT NULL AS loaded FROM image;
SELECT embed_set_alias('rights-alias', 'rights'), embed_set_default('rights'), embed_set_default('tiny-cls');
SELECT embed_set_alias('rights-alias', NULL), embed_drop('rights'), embed_drop('rights', forget => true);
RESET ROLE;
GRANT pg_read_server_files TO regress_embed_admin;
SET ROLE regress_embed_admin;
SELECT embed_import('rights', :'cls') IS NOT NULL AS imported;
SELECT embed_drop('rights', true);
RESET ROLE;
-- a wrapper lends its owner's rights
CREATE FUNCTION regress_import(path text) RETURNS bool SECURITY DEFINER LANGUAGE sql AS
$$ SELECT embed_import('rights', path) IS NOT NULL $$;
SET ROLE regress_embed_plain;
SELECT regress_import(:'cls');
RESET ROLE;
SELECT embed_drop('rights', true);
DROP FUNCTION regress_import;

-- row-level security and search_path change nothing of what embed reads
ALTER TABLE _embed.model ENABLE ROW LEVEL SECURITY;
ALTER TABLE _embed.model FORCE ROW LEVEL SECURITY;
CREATE SCHEMA regress_trap AUTHORIZATION regress_embed_plain;
SET ROLE regress_embed_plain;
CREATE FUNCTION regress_trap.trap(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR regress_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_trap.trap);
CREATE FUNCTION regress_trap.encode(bytea, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trapped' $$;
CREATE TABLE regress_trap.model (name text, fingerprint bytea, dropped bool);
CREATE TABLE regress_trap.embed_models (name text);
SET search_path = regress_trap, pg_catalog, public;
SELECT embed('x', 'tiny-cls') IS NOT NULL AS embed, (SELECT count(*) > 0 FROM public.embed_models WHERE fingerprint <> 'trapped') AS view;
RESET ROLE;
SELECT embed_import('rights', :'cls', '{"alias": "rights-alias"}') IS NOT NULL AS imported;
SELECT embed_set_alias('rights-alias', 'tiny-cls'), embed_set_default('tiny-cls'), embed_drop('rights', true), embed_set_alias('rights-alias', NULL);
SET search_path = '';
SELECT public.embed('x') OPERATOR(pg_catalog.=) public.embed('x', 'tiny-cls') AS same;
RESET search_path;
ALTER TABLE _embed.model NO FORCE ROW LEVEL SECURITY;
ALTER TABLE _embed.model DISABLE ROW LEVEL SECURITY;
\set VERBOSITY terse
DROP SCHEMA regress_trap CASCADE;

-- paths
SELECT embed_import('rights', '/dev/null');
SELECT embed_import('rights', '/etc/passwd');
SELECT embed_import('rights', '/proc/self/mem');
SELECT embed_import('rights', '/nonexistent/model');
SELECT embed_import('rights', '');
SELECT embed_import('rights', '.');
SELECT embed_import('rights', '/' || repeat('x', 5000));
\set VERBOSITY sqlstate
SELECT embed_import('rights', '/dev/null');
SELECT embed_import('rights', '/');
SELECT embed_import('rights', '/nonexistent/model');
\set VERBOSITY default
SELECT count(*) FROM embed_models WHERE name = 'rights';
REVOKE ALL ON FUNCTION embed_import(text, text, jsonb), embed_load(text, bytea, jsonb), embed_drop(text, bool, bool),
	embed_set_default(text), embed_set_alias(text, text) FROM regress_embed_admin;
DROP TABLE image;
DROP ROLE regress_embed_plain;
DROP ROLE regress_embed_admin;
