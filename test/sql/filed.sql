-- storage: file, where one session shows it; test/t/029_filed.pl has crashes, standbys and dumps.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/bert-dense/model'
SELECT embed_import('filed', :'dir', '{"storage": "file"}') AS fp \gset
SELECT storage, (SELECT count(*) FROM _embed.chunk WHERE encode(fingerprint, 'hex') = :'fp') AS chunks FROM embed_models WHERE name = 'filed';
SELECT embed('x', 'filed') IS NOT NULL AS used;
SELECT file = 'embed_images/' || :'fp' || '.img' AS file, mapped, (pg_stat_file(file)).size = bytes AS whole FROM embed_memory WHERE name = 'filed';
SELECT "check", ok, CASE WHEN "check" = 'rows' THEN detail END AS detail FROM embed_verify('filed');
-- another model shares the image
SELECT embed_import('filed-too', :'dir') = :'fp' AS same;
SELECT name, storage FROM embed_models WHERE name ~ '^filed' ORDER BY name;
SELECT embed_drop('filed');
SELECT embed('x', 'filed-too') IS NOT NULL AS stays;
-- an image of a client
SELECT embed_drop('filed-too', forget => true);
SELECT count(*) FROM pg_ls_dir('embed_images') f WHERE f LIKE :'fp' || '%';
SELECT embed_import('filed', :'dir', '{"storage": "rows"}') = :'fp' AS same;
CREATE TEMP TABLE image AS SELECT string_agg(data, ''::bytea ORDER BY no) AS bytes FROM _embed.chunk WHERE encode(fingerprint, 'hex') = :'fp';
SELECT md5(embed('x', 'filed')::text) AS want \gset
SELECT embed_load('filed', bytes, '{"storage": "file"}') = :'fp' AS same FROM image;
SELECT storage, md5(embed('x', 'filed')::text) = :'want' AS bits FROM embed_models WHERE name = 'filed';
-- what is refused
SELECT embed_import('filed', :'dir', '{"storage": "disk"}');
SELECT embed_import('filed', :'dir', '{"storage": 1}');
CREATE TEMP TABLE forged AS SELECT * FROM _embed.image LIMIT 1;
UPDATE forged SET fingerprint = sha256('x'), size_bytes = -1, storage = 'disk';
\set VERBOSITY terse
INSERT INTO _embed.image SELECT * FROM forged;
\set VERBOSITY default
-- rows that name a file that is not there, or no file at all
UPDATE forged SET storage = 'file';
INSERT INTO _embed.image SELECT * FROM forged;
INSERT INTO _embed.model VALUES ('filed-lost', sha256('x'), false);
SELECT embed('x', 'filed-lost');
SELECT * FROM embed_verify('filed-lost');
SELECT embed_drop('filed-lost', forget => true), embed_drop('filed', forget => true);
SELECT count(*) FROM pg_ls_dir('embed_images') f WHERE f LIKE :'fp' || '%';
