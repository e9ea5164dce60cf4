-- Images in pieces: embed_export, embed_load_lo, and the option fingerprint.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set dir :data_dir '/tiny/bert-cls/model'
SET client_min_messages = warning;
SELECT embed_import('load', :'dir', '{"precision": "fp32"}') AS fp \gset
SELECT md5(embed('x', 'load')::text) AS want \gset
-- the pieces are the stored chunks
SELECT count(*) = max(e.no) + 1 AS all_of_them, bool_and(e.data = c.data) AS equal
FROM embed_export('load') e LEFT JOIN _embed.chunk c ON c.no = e.no AND encode(c.fingerprint, 'hex') = :'fp';
CREATE TEMP TABLE piece AS SELECT no, data FROM embed_export('load');
SELECT encode(sha256(string_agg(data, '' ORDER BY no)), 'hex') = :'fp' AS hash FROM piece;
-- of a filed image
SELECT embed_import('load', :'dir', '{"precision": "fp32", "storage": "file"}') = :'fp' AS same;
SELECT count(*) = (SELECT count(*) FROM piece) AS all_of_them, bool_and(e.data = p.data) AS equal FROM embed_export('load') e LEFT JOIN piece p USING (no);
-- one piece, and no more
SELECT no FROM embed_export('load') LIMIT 1;
-- from many small pieces, in any order
SELECT embed_drop('load', forget => true);
SELECT lo_create(0) AS lo \gset
SELECT count(lo_put(:lo, no * 1048576::int8 + at, substr(data, at + 1, 10000))) > 10 AS put
FROM (SELECT no, data, at FROM piece, generate_series(0, length(data) - 1, 10000) at ORDER BY no DESC, at DESC) s;
BEGIN;
SELECT embed_load_lo('load', :lo) = :'fp' AS same;
ROLLBACK;
SELECT count(*) FROM embed_models WHERE name = 'load';
SELECT embed_load_lo('load', :lo, '{"alias": "load-alias"}') = :'fp' AS same;
SELECT md5(embed('x', 'load')::text) = :'want' AS bits, aliases, storage FROM embed_models WHERE name = 'load';
SELECT embed_load_lo('load', :lo, '{"storage": "file"}') = :'fp' AS same;
SELECT md5(embed('x', 'load')::text) = :'want' AS bits, storage FROM embed_models WHERE name = 'load';
SELECT bool_and(ok) AS ok FROM embed_verify('load');
SELECT embed_drop('load', forget => true, force => true);
-- the right fingerprint, another one, none
SELECT embed_load_lo('load', :lo, format('{"fingerprint": "%s"}', :'fp')::jsonb) = :'fp' AS same;
SELECT embed_drop('load', forget => true);
\set VERBOSITY terse
SELECT embed_load_lo('load', :lo, '{"fingerprint": "12"}');
SELECT embed_load_lo('load', :lo, '{"max_tokens": 5}');
\set VERBOSITY sqlstate
SELECT embed_load('load', (SELECT string_agg(data, '' ORDER BY no) FROM piece), format('{"fingerprint": "%s"}', repeat('0', 64))::jsonb);
-- a byte wrong, a piece missing, nothing, no object
SELECT lo_put(:lo, 70000, decode('ffff', 'hex'));
SELECT embed_load_lo('load', :lo, format('{"fingerprint": "%s"}', :'fp')::jsonb) IS NULL;
SELECT lo_truncate64(lo_open(:lo, x'20000'::int), 70000);
SELECT embed_load_lo('load', :lo);
SELECT lo_truncate64(lo_open(:lo, x'20000'::int), 0);
\set VERBOSITY terse
SELECT embed_load_lo('load', :lo);
SELECT lo_unlink(:lo);
SELECT embed_load_lo('load', 0);
SELECT * FROM embed_export('load');
SELECT count(*) FROM embed_models WHERE name = 'load';
SELECT count(*) FROM pg_ls_dir('embed_images') f WHERE f LIKE :'fp' || '%';
-- rights: EXECUTE on the functions, SELECT on the object
SELECT lo_from_bytea(0, 'x') AS lo \gset
CREATE ROLE regress_embed_user;
SET ROLE regress_embed_user;
SELECT embed_load_lo('load', 1);
SELECT count(*) FROM embed_export('tiny-cls');
RESET ROLE;
GRANT EXECUTE ON FUNCTION embed_load_lo, embed_export TO regress_embed_user;
SET ROLE regress_embed_user;
\set VERBOSITY sqlstate
SELECT embed_load_lo('load', :lo);
SELECT count(*) > 0 AS exports FROM embed_export('tiny-cls');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION embed_load_lo, embed_export FROM regress_embed_user;
DROP ROLE regress_embed_user;
SELECT lo_unlink(:lo);
