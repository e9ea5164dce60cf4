-- Models: import, names, drop, who may.

\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

\set cls :data_dir '/tiny/bert-cls/model'
\set mean36 :data_dir '/tiny/bert-mean-36/model'
SELECT name, kind, family, dim, max_tokens, "precision", pooling, prompts, length(fingerprint) AS hex_digits, bytes > 10000 AS has_bytes, "default", aliases
FROM embed_models ORDER BY name;

-- the same content again is fine under any name, other content under a name in use is not
SELECT embed_import('tiny-cls', :'cls') = fingerprint AS same FROM embed_models WHERE name = 'tiny-cls';
SELECT embed_import('models/test_1.0', :'cls', '{"alias": "models-alias"}')
	= (SELECT fingerprint FROM embed_models WHERE name = 'tiny-cls') AS same;
\set VERBOSITY terse
SELECT embed_import('models/test_1.0', :'mean36');
\set VERBOSITY default
SELECT name, aliases FROM embed_models WHERE name LIKE 'models%';

-- default and alias
SELECT embed_set_default('tiny-mean-36');
SELECT name FROM embed_models WHERE "default";
SELECT embed_set_default('tiny-cls');
SELECT embed_set_alias('models-alias', 'tiny-mean-36');
SET embed.model = 'models-alias';
SELECT array_length(embed('x'), 1) AS dim;
BEGIN;
SELECT embed_set_alias('models-alias', 'tiny-mean-48');
SELECT array_length(embed('x'), 1) AS dim;
ROLLBACK;
SELECT array_length(embed('x'), 1) AS dim;
RESET embed.model;
SELECT embed_set_alias('models-alias', NULL);

-- drop: transactional; a tombstone keeps the name bound to its content
BEGIN;
SELECT embed_drop('models/test_1.0');
SELECT count(*) FROM embed_models WHERE name LIKE 'models%';
ROLLBACK;
SELECT embed('x', 'models/test_1.0') = embed('x', 'tiny-cls') AS still_there;
SELECT embed_drop('models/test_1.0');
SELECT embed('x', 'models/test_1.0');
\set VERBOSITY terse
SELECT embed_import('models/test_1.0', :'mean36');
\set VERBOSITY default
SELECT embed_import('models/test_1.0', :'cls') IS NOT NULL AS brought_back;
SELECT embed_drop('models/test_1.0', forget => true);
SELECT embed_import('models/test_1.0', :'mean36') IS NOT NULL AS free_again;
SELECT array_length(embed('x', 'models/test_1.0'), 1) AS dim;

-- the stored image, loaded as a client would
SELECT embed_drop('models/test_1.0', forget => true);
SELECT embed_load('models/test_1.0', (SELECT string_agg(data, '' ORDER BY no) FROM _embed.chunk c
	WHERE encode(c.fingerprint, 'hex') = m.fingerprint)) = fingerprint AS same
FROM embed_models m WHERE name = 'tiny-mean-48';
SELECT embed('x', 'models/test_1.0') = embed('x', 'tiny-mean-48') AS same;
SELECT embed_drop('models/test_1.0', true);

-- prompts of a well-known model whose files name none; what is asked for wins
SELECT embed_import('regress/e5-small-v2', :'cls', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT prompts FROM embed_models WHERE name = 'regress/e5-small-v2';
SELECT embed_import('tiny-cls-fp32', :'cls', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed('fox', 'regress/e5-small-v2') = embed('passage: fox', 'tiny-cls-fp32') AS document,
	embed_query('fox', 'regress/e5-small-v2') = embed('query: fox', 'tiny-cls-fp32') AS query;
SELECT embed_import('bge-small-zh', :'cls', '{"query_prompt": "", "precision": "fp32"}') = fingerprint AS same FROM embed_models WHERE name = 'tiny-cls-fp32';
SELECT embed_drop('regress/e5-small-v2', true), embed_drop('tiny-cls-fp32', true), embed_drop('bge-small-zh', true);

-- nothing is left half-done
\set VERBOSITY sqlstate
SELECT embed_load('models-bad', '');
SELECT embed_load('models-bad', '\x00112233');
SELECT embed_load('models-bad', overlay((SELECT data FROM _embed.chunk WHERE no = 0 LIMIT 1) PLACING '\xff' FROM 9));
SELECT embed_import('models-bad', '/nonexistent/embed-model');
SELECT embed_import('models-bad', 'relative/path');
SELECT embed_import('', :'cls');
SELECT embed_import('bad name', :'cls');
SELECT embed_import(repeat('n', 129), :'cls');
SELECT embed_import('models-bad', :'cls', '{"no_such_option": 1}');
SELECT embed_import('models-bad', :'cls', '{"max_tokens": "many"}');
SELECT embed_import('models-bad', :'cls', '{"precision": "fp7"}');
SELECT embed_import('models-bad', :'cls', '[]');
SELECT embed_drop('models-bad');
SELECT embed_set_default('models-bad');
SELECT embed_set_alias('models-bad', 'no-such-model');
SELECT embed_set_alias('tiny-cls', 'tiny-mean-36');
\set VERBOSITY default
SELECT count(*) FROM embed_models WHERE name LIKE 'models%';

-- who may
SELECT p.oid::regprocedure AS function FROM pg_proc p
WHERE p.proname ~ '^embed' AND p.prokind = 'f' AND NOT has_function_privilege('public', p.oid, 'execute')
ORDER BY 1::text COLLATE "C";
CREATE ROLE regress_embed_user;
GRANT EXECUTE ON FUNCTION embed_import(text, text, jsonb) TO regress_embed_user;
SET ROLE regress_embed_user;
SELECT embed('x') IS NOT NULL AS may_embed, count(*) > 0 AS may_look FROM embed_models;
\set VERBOSITY sqlstate
SELECT embed_import('models-user', :'cls');
SELECT embed_drop('tiny-cls');
SELECT count(*) FROM _embed.model;
SELECT count(*) FROM _embed.chunk;
\set VERBOSITY default
RESET ROLE;
REVOKE EXECUTE ON FUNCTION embed_import(text, text, jsonb) FROM regress_embed_user;
DROP ROLE regress_embed_user;

-- a wrong name gets the nearest one; an address, and NULL, are errors
SELECT embed('x', 'tiny');
SELECT embed('x', 'tiny-cls2');
SELECT embed('x', 'tiny-csl');
SELECT embed('x', 'rerank') ;
SELECT embed('x', 'nothing-like-it');
SELECT embed_import('bge', 'BAAI/bge-small-en-v1.5');
SELECT embed_import('bge', 'https://hub.example/BAAI/bge-small-en-v1.5');
SELECT embed_import(NULL, '/models/bge');
SELECT embed_import('bge', NULL);
SELECT embed_import('bge', '/models/bge', NULL);
SELECT embed_load(NULL, '');
SELECT embed_load_lo('bge', NULL);
SELECT embed_set_default(NULL);
