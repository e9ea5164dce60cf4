-- Names: none, defaults, aliases, tombstones; the extension dropped and created again.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\set cls :data_dir '/tiny/bert-cls/model'
\set mean36 :data_dir '/tiny/bert-mean-36/model'
\set mean48 :data_dir '/tiny/bert-mean-48/model'
CREATE DATABASE regress_embed_names TEMPLATE template0;
\set old_db :DBNAME
\c regress_embed_names
CREATE EXTENSION embed;

-- nothing is installed
SELECT * FROM embed_models;
SELECT embed('x');
SELECT embed('x', 'some-model');
SELECT embed_tokens('x');
SELECT embed_agg(x) FROM unnest(ARRAY['a', 'b']) x;
SELECT * FROM embed_rows(ARRAY['a', 'b']);
SET embed.model = 'some-model';
SELECT embed('x');
RESET embed.model;
SELECT embed_drop('some-model');
SELECT embed_set_default('some-model');
SELECT embed_set_alias('some-alias', 'some-model');

-- a model, but none by default
SELECT embed_import('one', :'cls', '{"default": false}') IS NOT NULL AS imported;
SELECT embed('x');
\set VERBOSITY terse
SELECT embed('x', 'some-model');
SELECT length(embed('x', 'one')::text) > 0 AS works;
SELECT embed('x', repeat('m', 128));
SELECT embed('x', repeat('m', 129));
SELECT embed('x', repeat('é', 100000));
SELECT embed('x', E'a\nb');
SELECT embed_import(repeat('é', 100000), :'cls');
SELECT embed_drop(NULL), embed_set_default(NULL), embed_import(NULL, 'x');
SELECT embed_set_alias(NULL, 'one');
SELECT embed_set_alias('', 'one');

-- the first import without saying so becomes the default; others take it only if told
SELECT embed_import('two', :'mean36') IS NOT NULL AS imported;
SELECT embed_import('three', :'mean48') IS NOT NULL AS imported;
SELECT name, dim, "default" FROM embed_models ORDER BY name;
SELECT embed_import('three', :'mean48', '{"default": true, "alias": "b"}') IS NOT NULL AS imported;
SELECT name, "default", aliases FROM embed_models ORDER BY name;
SELECT embed_import('three', :'mean48', '{"default": null, "alias": null}') IS NOT NULL AS nulls_say_nothing;
SELECT embed_set_alias('a', 'three'), embed_set_alias('c', 'one');
SELECT name, "default", aliases FROM embed_models ORDER BY name;

-- aliases and names stay apart
SELECT embed_import('a', :'cls');
SELECT embed_import('four', :'cls', '{"alias": "four"}');
SELECT embed_import('four', :'cls', '{"alias": "one"}');
SELECT embed_import('four', :'cls', '{"alias": "not valid"}');
SELECT embed_set_alias('one', 'two');
SELECT embed_set_alias('d', 'a');
SELECT embed_set_default('a');
SELECT embed_drop('a');
SELECT embed('x', 'a');
SELECT embed_set_alias('d', NULL);
SELECT count(*) FROM embed_models;

-- a drop refuses while aliases and the default stand for the model; by force it takes them along
SELECT embed_drop('three');
SELECT embed_drop('three', force => true);
SELECT name, "default", aliases FROM embed_models ORDER BY name;
SELECT embed('x');
SET embed.model = 'a';
SELECT embed('x');
RESET embed.model;
SELECT embed_drop('three');
SELECT embed_set_default('three');
SELECT embed_set_alias('a', 'three');
SELECT embed_set_alias('three', 'one');
SELECT embed_import('three', :'mean36');
SELECT embed_import('three', :'mean48') IS NOT NULL AS brought_back;
SELECT name, "default", aliases FROM embed_models ORDER BY name;
SELECT embed_set_default('two');
SELECT embed_drop('three');
SELECT embed_drop('three', forget => false);
SELECT embed_drop('three', forget => true);
SELECT embed_drop('three', forget => true);
SELECT embed_set_alias('three', 'one');
SELECT embed_set_alias('three', NULL);
SELECT array_length(embed('x', 'two'), 1);

-- all of them dropped: only tombstones
SELECT embed_set_alias('c', NULL), embed_drop('one'), embed_drop('two');
SELECT embed('x');
SELECT count(*) FROM embed_models;
SELECT (SELECT count(*) FROM _embed.model) AS tombstones, (SELECT count(*) FROM _embed.image) AS images, (SELECT count(*) FROM _embed.chunk) AS chunks,
	(SELECT count(*) FROM _embed.alias) AS aliases, (SELECT count(*) FROM _embed.default_model) AS defaults;

-- the extension goes and comes in one session, and its models with it
SELECT embed_import('one', :'cls') IS NOT NULL AS imported;
SELECT array_length(embed('x'), 1) AS dim;
BEGIN;
DROP EXTENSION embed;
ROLLBACK;
SELECT array_length(embed('x'), 1) AS dim;
DROP EXTENSION embed;
CREATE SCHEMA other;
CREATE EXTENSION embed SCHEMA other;
SELECT other.embed('x');
SELECT other.embed_import('one', :'mean36') IS NOT NULL AS imported;
SELECT array_length(other.embed('x', 'one'), 1) AS dim;
SELECT name, dim FROM other.embed_models;
-- in one transaction
BEGIN;
DROP EXTENSION embed;
CREATE EXTENSION embed;
SELECT embed_import('one', :'mean48') IS NOT NULL AS imported;
SELECT array_length(embed('x'), 1) AS dim;
ROLLBACK;
SELECT array_length(other.embed('x', 'one'), 1) AS dim;
BEGIN;
SELECT other.embed_import('two', :'mean48') IS NOT NULL AS imported;
SELECT other.embed_drop('one', force => true);
DROP EXTENSION embed;
COMMIT;
CREATE EXTENSION embed;
-- the next image that is written takes with it what the dropped extension left
SELECT embed_import('one', :'cls') IS NOT NULL AS imported;
SELECT f = fingerprint || '.img' AS is_its_file FROM embed_models, pg_database d, pg_ls_dir('pgsql_tmp_embed/' || d.oid) f
WHERE datname = current_database();

-- a copy of a database has its models
\c :old_db
CREATE DATABASE regress_embed_copy TEMPLATE regress_embed_names;
\c regress_embed_copy
SELECT name, dim, array_length(embed('x'), 1) AS dim FROM embed_models;
SELECT embed_drop('one', true);
\c regress_embed_names
SELECT array_length(embed('x'), 1) AS dim;
\c :old_db
DROP DATABASE regress_embed_copy;
DROP DATABASE regress_embed_names;
