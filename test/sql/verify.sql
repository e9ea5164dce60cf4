-- embed_verify, embed_memory.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
SELECT embed_import('verify-fp32', :'data_dir' || '/tiny/bert-cls/model', '{"precision": "fp32"}') IS NOT NULL AS imported;

SELECT "check", ok FROM embed_verify('tiny-cls');
SELECT m.name, bool_and(v.ok) AS ok FROM embed_models m, embed_verify(m.name) v GROUP BY m.name ORDER BY m.name;
SELECT detail ~ '^\d+ of \d+ vectors have the bits of the import$' AS counts FROM embed_verify('tiny-mean-36') WHERE "check" = 'bits';
SET embed.isa = 'scalar';
SELECT bool_and(ok) AS ok, string_agg(detail, '') FILTER (WHERE "check" = 'kernels') AS kernels FROM embed_verify('tiny-mean-48');
RESET embed.isa;
SET embed.threads = 2;
SELECT bool_and(ok) AS ok FROM embed_verify('tiny-mean-48');
RESET embed.threads;
SELECT * FROM embed_verify('no-such-model');
SELECT embed_set_alias('verify-alias', 'tiny-cls');
SELECT * FROM embed_verify('verify-alias');
SELECT embed_set_alias('verify-alias', NULL);
SELECT embed_verify(NULL);

-- precision and bytes
SELECT name, "precision", bytes > 10000 AS has_bytes FROM embed_models WHERE name IN ('tiny-cls', 'verify-fp32') ORDER BY name;

-- embed_memory: this session has used some; backends are told to those who may see others
SELECT embed('x', 'tiny-cls') IS NOT NULL AS used;
SELECT u.name, u.bytes = m.bytes AS bytes,
	u.file ~ ('^pgsql_tmp_embed/\d+/' || m.fingerprint || '\.img$') AS file,
	u.mapped, u.resident_bytes BETWEEN 1 AND u.bytes AS resident, u.backends >= 1 AS backends
FROM embed_memory u JOIN embed_models m USING (name) WHERE name = 'tiny-cls';
\c -
SELECT name, mapped FROM embed_memory WHERE name = 'tiny-cls';
CREATE ROLE regress_embed_user;
SET ROLE regress_embed_user;
SELECT name, bytes > 0 AS bytes, backends FROM embed_memory WHERE name = 'tiny-cls';
SELECT bool_and(ok) AS anybody_may_verify FROM embed_verify('tiny-cls');
SELECT * FROM _embed.image_memory('', 0, '{}', '');
RESET ROLE;
DROP ROLE regress_embed_user;
SELECT embed_drop('verify-fp32', true);
