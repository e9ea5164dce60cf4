-- Rows of a model that are lost or damaged: embed_verify tells, an import of the same content writes them again. (028_rows.pl: images of several chunks.)
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set path :data_dir '/tiny/bge-m3/model'
SELECT embed_import('rows-m', :'path', '{"precision": "fp32"}') AS fp \gset
CREATE TEMP TABLE want AS SELECT embed('a text', 'rows-m') AS v;
CREATE FUNCTION pg_temp.rows_hash() RETURNS text LANGUAGE sql AS $$
	SELECT md5((SELECT string_agg(i::text, ',' ORDER BY i.fingerprint) FROM _embed.image i) || (SELECT string_agg(c.no || md5(c.data), ',' ORDER BY c.fingerprint, c.no) FROM _embed.chunk c)
		|| (SELECT string_agg(m::text, ',' ORDER BY m.name) FROM _embed.model m))
$$;
CREATE TEMP TABLE whole AS SELECT pg_temp.rows_hash() AS hash;
CREATE TABLE regress_rows_path AS SELECT :'path'::text AS path;

-- Each damage for itself: what verify says; then the import; then all as before. The file of the image hides every one of them.
CREATE FUNCTION pg_temp.try(damage text, OUT verify_before text, OUT ok_before bool, OUT mended bool, OUT same_bits bool, OUT ok_after bool) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE replace(damage, '$fp', 'fingerprint = (SELECT decode(fingerprint, ''hex'') FROM embed_models WHERE name = ''rows-m'')');
	SELECT regexp_replace(split_part(detail, ':', 1), '\m\d{6}\M', 'N', 'g'), ok INTO verify_before, ok_before FROM embed_verify('rows-m') WHERE "check" = 'rows';
	PERFORM embed_import('rows-m', path, '{"precision": "fp32"}') FROM regress_rows_path;
	SELECT pg_temp.rows_hash() = hash INTO mended FROM whole;
	SELECT embed('a text', 'rows-m') = v INTO same_bits FROM want;
	SELECT bool_and(ok) INTO ok_after FROM embed_verify('rows-m');
END
$$;
SET client_min_messages = warning;
SELECT r.* FROM (VALUES
	(1, $$DELETE FROM _embed.chunk WHERE $fp$$),
	(2, $$DELETE FROM _embed.chunk WHERE $fp AND no = 0$$),
	(4, $$UPDATE _embed.chunk SET data = set_byte(data, 1000, 255 - get_byte(data, 1000)) WHERE $fp AND no = 0$$),
	(5, $$UPDATE _embed.chunk SET data = substr(data, 2) WHERE $fp AND no = 0$$),
	(6, $$UPDATE _embed.chunk SET data = '' WHERE $fp AND no = 0$$),
	(7, $$INSERT INTO _embed.chunk SELECT fingerprint, 1000, data FROM _embed.chunk WHERE $fp AND no = 0$$),
	(8, $$INSERT INTO _embed.chunk SELECT fingerprint, -1, data FROM _embed.chunk WHERE $fp AND no = 0$$),
	(9, $$UPDATE _embed.chunk SET no = 2000000000 WHERE $fp AND no = 0$$),
	(10, $$DELETE FROM _embed.image WHERE $fp$$),
	(11, $$DELETE FROM _embed.image WHERE $fp; DELETE FROM _embed.chunk WHERE $fp$$),
	(12, $$UPDATE _embed.image SET size_bytes = size_bytes + 1 WHERE $fp$$),
	(13, $$UPDATE _embed.image SET size_bytes = -1 WHERE $fp$$),
	(14, $$UPDATE _embed.image SET size_bytes = 9223372036854775807 WHERE $fp$$),
	(15, $$UPDATE _embed.image SET kind = 'reranker' WHERE $fp$$),
	(16, $$UPDATE _embed.image SET dim = 7 WHERE $fp$$),
	(17, $$UPDATE _embed.image SET max_tokens = 7 WHERE $fp$$),
	(18, $$UPDATE _embed.image SET outputs = '{dense}' WHERE $fp$$),
	(19, $$UPDATE _embed.image SET query_prompt = 'x' WHERE $fp$$)) d (i, damage), pg_temp.try(damage) r ORDER BY i;
RESET client_min_messages;
DROP FUNCTION pg_temp.try(text);

-- a NOTICE says so; an import over whole rows says and writes nothing
DELETE FROM _embed.chunk WHERE fingerprint = decode(:'fp', 'hex') AND no = 0;
SELECT embed_import('rows-m', :'path', '{"precision": "fp32"}') = :'fp' AS again;
CREATE TEMP TABLE places AS SELECT 'chunk' AS t, ctid AS place, xmin::text AS writer FROM _embed.chunk UNION ALL SELECT 'image', ctid, xmin::text FROM _embed.image UNION ALL SELECT 'model', ctid, xmin::text FROM _embed.model;
SELECT embed_import('rows-m', :'path', '{"precision": "fp32"}') = :'fp' AS again;
SELECT count(*) AS rewritten FROM (SELECT 'chunk' AS t, ctid AS place, xmin::text AS writer FROM _embed.chunk UNION ALL SELECT 'image', ctid, xmin::text FROM _embed.image
	UNION ALL SELECT 'model', ctid, xmin::text FROM _embed.model EXCEPT SELECT * FROM places) s;

-- embed_load mends as well
SELECT string_agg(data, '' ORDER BY no) AS bytes INTO TEMP image FROM _embed.chunk WHERE fingerprint = decode(:'fp', 'hex');
DELETE FROM _embed.chunk WHERE fingerprint = decode(:'fp', 'hex');
SELECT embed_load('rows-m', bytes) = :'fp' AS loaded FROM image;
SELECT pg_temp.rows_hash() = hash AS mended FROM whole;

-- what is mended goes with the transaction
BEGIN;
DELETE FROM _embed.chunk WHERE fingerprint = decode(:'fp', 'hex') AND no = 0;
SAVEPOINT s;
SELECT embed_load('rows-m', bytes) = :'fp' AS loaded FROM image;
ROLLBACK TO s;
SELECT ok, split_part(detail, ':', 1) AS detail FROM embed_verify('rows-m') WHERE NOT ok;
ROLLBACK;
SELECT pg_temp.rows_hash() = hash AS whole FROM whole;

-- a model whose image is gone is shown; setting it as the default, verifying, dropping and importing it again work or say what to do
DELETE FROM _embed.image WHERE fingerprint = decode(:'fp', 'hex');
SELECT name, kind, dim, prompts, bytes, fingerprint = :'fp' AS fingerprint FROM embed_models WHERE name = 'rows-m';
SELECT name, bytes, file FROM embed_memory WHERE name = 'rows-m';
SELECT embed('a text', 'rows-m') IS NULL;
SELECT embed_set_default('rows-m');
SELECT "check", ok, detail FROM embed_verify('rows-m');
SELECT embed_drop('rows-m');
SELECT count(*) AS left_over FROM _embed.chunk WHERE fingerprint = decode(:'fp', 'hex');
SELECT embed_import('rows-m', :'path', '{"precision": "fp32"}') = :'fp' AS again;
SELECT embed('a text', 'rows-m') = v AS same_bits FROM want;

SELECT embed_drop('rows-m', true);

-- names whose rows somebody made up: they fail alone, and can be dropped
INSERT INTO _embed.model VALUES ('rows-short', '\x0102', false), ('rows-unknown', decode(repeat('ab', 32), 'hex'), false);
\set VERBOSITY sqlstate
SELECT embed('x', 'rows-short') IS NULL;
SELECT embed('x', 'rows-unknown') IS NULL;
SELECT embed_verify('rows-short');
SELECT "check", ok FROM embed_verify('rows-unknown');
\set VERBOSITY default
SELECT embed('x', 'tiny-cls') IS NOT NULL AS others_work;
SELECT name, kind FROM embed_models WHERE name LIKE 'rows%' ORDER BY name;
SELECT embed_drop('rows-unknown', true);
DELETE FROM _embed.model WHERE name = 'rows-short';
SELECT count(*) FROM _embed.model WHERE name LIKE 'rows%';
DROP TABLE regress_rows_path;
