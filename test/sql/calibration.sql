-- embed_import's option calibration: a query that gives text, run read-only as the caller.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'

CREATE TABLE calibration_docs (id int PRIMARY KEY, body text, note varchar(100));
INSERT INTO calibration_docs SELECT i, 'a text about the number ' || i, CASE WHEN i % 2 = 0 THEN 'note ' || i END FROM generate_series(1, 20) i;
CREATE FUNCTION calibration_import(name text, query text, path text) RETURNS text
LANGUAGE sql AS 'SELECT embed_import(name, path, jsonb_build_object(''calibration'', query))';

SELECT calibration_import('calibration-1', 'SELECT body FROM calibration_docs ORDER BY id', :'cls') IS NOT NULL AS imported;
-- other texts, another image; the same, the same
SELECT count(DISTINCT fingerprint) AS images FROM embed_models WHERE name IN ('calibration-1', 'tiny-cls');
SELECT calibration_import('calibration-2', 'SELECT body FROM calibration_docs ORDER BY id', :'cls')
	= (SELECT fingerprint FROM embed_models WHERE name = 'calibration-1') AS same;
SELECT calibration_import('calibration-3', 'SELECT note FROM calibration_docs ORDER BY id', :'cls') IS NOT NULL AS nulls_are_skipped;
SELECT calibration_import('calibration-4', 'WITH d AS (SELECT body FROM calibration_docs) TABLE d ORDER BY 1 LIMIT 3;', :'cls') IS NOT NULL AS imported;
SELECT bool_and(ok) AS ok FROM embed_verify('calibration-1');
-- at most 256 of them are read
SELECT calibration_import('calibration-5', 'SELECT ''text '' || i FROM generate_series(1, 1000) i', :'cls')
	= calibration_import('calibration-6', 'SELECT ''text '' || i FROM generate_series(1, 256) i', :'cls') AS same;

-- what is not one query giving text
\set VERBOSITY terse
SELECT calibration_import('calibration-bad', 'SELECT id FROM calibration_docs', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT body, note FROM calibration_docs', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT body FROM calibration_docs WHERE false', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT NULL::text', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT body FROM calibration_docs; SELECT body FROM calibration_docs', :'cls');
SELECT calibration_import('calibration-bad', '', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT', :'cls');
SELECT calibration_import('calibration-bad', 'SELEKT body', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT (1 / (id - 5))::text FROM calibration_docs', :'cls');
SELECT embed_import('calibration-bad', :'cls', '{"calibration": 1}');
SELECT embed_import('calibration-bad', :'cls', '{"calibration": ["a"]}');
-- what writes
\set VERBOSITY sqlstate
SELECT calibration_import('calibration-bad', 'INSERT INTO calibration_docs VALUES (100) RETURNING body', :'cls');
SELECT calibration_import('calibration-bad', 'WITH x AS (DELETE FROM calibration_docs RETURNING body) SELECT body FROM x', :'cls');
SELECT calibration_import('calibration-bad', 'CREATE TABLE calibration_more ()', :'cls');
CREATE FUNCTION calibration_write() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO calibration_docs VALUES (200, 'written');
	RETURN 'written';
END $$;
SELECT calibration_import('calibration-bad', 'SELECT calibration_write()', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT set_config(''transaction_read_only'', ''off'', true) || calibration_write()', :'cls');
SELECT calibration_import('calibration-bad', 'SELECT embed_drop(''tiny-cls'')::text', :'cls');
-- inside a transaction it is writable again
\set VERBOSITY terse
BEGIN;
SELECT calibration_import('calibration-7', 'SELECT body FROM calibration_docs', :'cls') IS NOT NULL AS imported;
INSERT INTO calibration_docs VALUES (300, 'writable');
ROLLBACK;
-- as the caller
CREATE ROLE regress_embed_importer;
GRANT pg_read_server_files TO regress_embed_importer;
GRANT EXECUTE ON FUNCTION embed_import(text, text, jsonb) TO regress_embed_importer;
SET ROLE regress_embed_importer;
SELECT calibration_import('calibration-bad', 'SELECT body FROM calibration_docs', :'cls');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION embed_import(text, text, jsonb) FROM regress_embed_importer;
DROP ROLE regress_embed_importer;
\set VERBOSITY default

SELECT count(*) AS docs, count(*) FILTER (WHERE body = 'written') AS written FROM calibration_docs;
SELECT name FROM embed_models WHERE name LIKE 'calibration%' ORDER BY name;
SELECT embed_drop(name, true) IS NOT NULL AS dropped FROM embed_models WHERE name LIKE 'calibration%';
DROP FUNCTION calibration_import, calibration_write;
DROP TABLE calibration_docs;
