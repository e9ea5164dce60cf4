-- embed_load of bytes that are no image; files that vanish or spoil under the server.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

CREATE TEMP TABLE image AS
SELECT string_agg(data, '' ORDER BY no) AS bytes, m.fingerprint
FROM _embed.chunk c JOIN embed_models m ON encode(c.fingerprint, 'hex') = m.fingerprint
WHERE name = 'tiny-cls' GROUP BY m.fingerprint;
SELECT fingerprint = encode(sha256(bytes), 'hex') AS is_sha256 FROM image;
CREATE TEMP TABLE v AS SELECT embed('a text', 'tiny-cls') AS v;

CREATE FUNCTION pg_temp.try_load(bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM embed_load('life-bytes', bytes);
	RETURN 'loaded';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;

SELECT pg_temp.try_load(''), pg_temp.try_load('\x00'), pg_temp.try_load(convert_to('hello, world', 'UTF8')),
	pg_temp.try_load(convert_to(repeat('hello, world', 100000), 'UTF8'));
-- cut and lengthened
SELECT pg_temp.try_load(substr(bytes, 1, n)) AS state, count(*) FROM image,
	LATERAL (SELECT length(bytes) * i / 100 AS n FROM generate_series(0, 99) i UNION SELECT length(bytes) - 1) cut
GROUP BY 1 ORDER BY 1;
SELECT pg_temp.try_load(bytes || '\x00'::bytea), pg_temp.try_load(bytes || bytes), pg_temp.try_load('\x00'::bytea || bytes) FROM image;
-- one byte in the header and the tables changed: refused, or a model that works
SELECT state, count(*) > 0 AS some FROM (SELECT pg_temp.try_load(set_byte(bytes, at, 255 - get_byte(bytes, at))) AS state
	FROM image, generate_series(0, 511, 7) at) s GROUP BY state ORDER BY state;
SELECT count(*) AS other_states FROM (SELECT pg_temp.try_load(set_byte(bytes, (at * 9973) % length(bytes), 255)) AS state
	FROM image, generate_series(1, 200) at) s WHERE state NOT IN ('22P03', '0A000', '54000', 'loaded', '42710');
SELECT count(embed_drop(name, true)) < 2 AS one_at_most FROM embed_models WHERE name = 'life-bytes';
-- nothing of those is left
SELECT count(*) FROM _embed.model WHERE name = 'life-bytes';
SELECT count(*) FROM _embed.image i WHERE NOT EXISTS (SELECT FROM _embed.model m WHERE m.fingerprint = i.fingerprint AND NOT m.dropped);
SELECT count(*) FROM _embed.chunk c WHERE NOT EXISTS (SELECT FROM _embed.image i WHERE i.fingerprint = c.fingerprint);

-- the image itself, out of line and compressed, gives the fingerprint of the import
SELECT embed_load('life-bytes', bytes, '{"alias": "life-alias", "default": false}') = fingerprint AS same FROM image;
SELECT embed('a text', 'life-bytes') = v AS same, aliases, "default" FROM v, embed_models WHERE name = 'life-bytes';
SELECT embed_load('life-bytes', bytes, '{"max_tokens": 5}') FROM image;
SELECT embed_load('life-bytes', bytes, '{"default": "yes"}') FROM image;
SELECT embed_load('life-bytes', bytes, 'null') FROM image;
SELECT embed_load('life-bytes', bytes, NULL) FROM image;
SELECT embed_set_alias('life-alias', NULL), embed_drop('life-bytes', true);

-- Files. Mappings of this session do not change; those of new sessions are made again.
SELECT 'pgsql_tmp_embed/' || oid AS folder FROM pg_database WHERE datname = current_database() \gset
SELECT :'folder' || '/' || fingerprint || '.img' AS file, fingerprint || '.img' AS name FROM image \gset
CREATE TABLE lifecycle_v AS SELECT * FROM v;
CREATE TABLE lifecycle_name AS SELECT :'file' AS file, :'name' AS name, :'folder' AS folder, (SELECT length(bytes) FROM image) AS bytes;
CREATE TABLE lifecycle_output (line text);
CREATE FUNCTION lifecycle_shell(command text) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN EXECUTE format('COPY lifecycle_output FROM PROGRAM %L', replace(command, 'FILE', (SELECT file FROM lifecycle_name))); END $$;
CREATE FUNCTION lifecycle_check(OUT same bool, OUT bytes bool, OUT kinds text) LANGUAGE sql AS $$
	SELECT (SELECT embed('a text', 'tiny-' || 'cls') = v FROM lifecycle_v), (pg_stat_file(file)).size = bytes,
		(SELECT string_agg(f, ' ') FROM pg_ls_dir(folder) f WHERE f !~ '^[0-9a-f]{64}\.img$')
	FROM lifecycle_name $$;
SELECT lifecycle_shell('rm -f FILE');
SELECT embed('a text', 'tiny-cls') = v AS still_mapped FROM v;
\c -
SELECT * FROM lifecycle_check();
SELECT lifecycle_shell('rm -f FILE && head -c 5000 /dev/zero >FILE');
\c -
SELECT * FROM lifecycle_check();
-- the right size, but zeros
SELECT lifecycle_shell('rm -f FILE && head -c ' || bytes || ' /dev/zero >FILE') FROM lifecycle_name;
\c -
SELECT * FROM lifecycle_check();
SELECT lifecycle_shell('rm -f FILE && ln -s /etc/passwd FILE');
\c -
SELECT * FROM lifecycle_check();
SELECT lifecycle_shell('rm -f FILE && ln -s FILE FILE');
\c -
SELECT * FROM lifecycle_check();
SELECT lifecycle_shell('rm -f FILE && mkfifo FILE && mkfifo $(dirname FILE)/1.1.tmp');
\c -
SET statement_timeout = '20s';
SELECT * FROM lifecycle_check();
-- what a killed writer leaves goes with the next image that is written
SELECT lifecycle_shell('rm -f FILE && touch $(dirname FILE)/1.2.tmp $(dirname FILE)/$(echo FILE | tr 0-9a-f 0 | xargs basename)');
\c -
SELECT * FROM lifecycle_check();
SELECT count(*) FROM lifecycle_name, pg_ls_dir(folder) f WHERE f ~ '^0{64}\.img$';
-- the whole folder of this database
SELECT lifecycle_shell('rm -rf $(dirname FILE)');
\c -
SELECT * FROM lifecycle_check();
-- a folder in place of the file makes room for it
SELECT lifecycle_shell('rm -f FILE && mkdir FILE');
\c -
SELECT * FROM lifecycle_check();
-- a file that cannot be opened
SELECT lifecycle_shell('chmod 0 FILE');
\c -
SELECT * FROM lifecycle_check();

-- rows that do not fit together are told, and nothing is written
\c -
\set VERBOSITY terse
BEGIN;
UPDATE _embed.chunk SET data = overlay(data PLACING '\xff' FROM length(data) - 4)
WHERE encode(fingerprint, 'hex') = (SELECT fingerprint FROM embed_models WHERE name = 'tiny-cls');
SELECT lifecycle_shell('rm -f FILE');
SELECT embed('a text', 'tiny-cls') IS NULL;
ROLLBACK;
BEGIN;
DELETE FROM _embed.chunk WHERE encode(fingerprint, 'hex') = (SELECT fingerprint FROM embed_models WHERE name = 'tiny-cls');
SELECT embed('a text', 'tiny-cls') IS NULL;
ROLLBACK;
BEGIN;
UPDATE _embed.image SET size_bytes = size_bytes + 1 WHERE encode(fingerprint, 'hex') = (SELECT fingerprint FROM embed_models WHERE name = 'tiny-cls');
SELECT embed('a text', 'tiny-cls') IS NULL;
ROLLBACK;
BEGIN;
UPDATE _embed.image SET size_bytes = -1 WHERE encode(fingerprint, 'hex') = (SELECT fingerprint FROM embed_models WHERE name = 'tiny-cls');
SELECT embed('a text', 'tiny-cls') IS NULL;
ROLLBACK;
BEGIN;
UPDATE _embed.image SET size_bytes = 1e18 WHERE encode(fingerprint, 'hex') = (SELECT fingerprint FROM embed_models WHERE name = 'tiny-cls');
\set VERBOSITY sqlstate
SELECT embed('a text', 'tiny-cls') IS NULL;
\set VERBOSITY default
ROLLBACK;
BEGIN;
DELETE FROM _embed.image WHERE encode(fingerprint, 'hex') = (SELECT fingerprint FROM embed_models WHERE name = 'tiny-cls');
SELECT embed('a text', 'tiny-cls') IS NULL;
ROLLBACK;
BEGIN;
UPDATE _embed.model SET fingerprint = '\x00' WHERE name = 'tiny-cls';
SELECT embed('a text', 'tiny-cls') IS NULL;
ROLLBACK;
SELECT * FROM lifecycle_check();
SELECT count(*) AS output FROM lifecycle_output;
DROP TABLE lifecycle_v, lifecycle_name, lifecycle_output;
DROP FUNCTION lifecycle_shell, lifecycle_check;
