-- The extension and three tiny models, as every test needs them; repeatable.
-- An import that takes long on a busy machine says how far it is: no NOTICE here.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS embed;
\set dir :data_dir '/tiny/bert-cls/model'
SELECT embed_import('tiny-cls', :'dir') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/bert-mean-36/model'
SELECT embed_import('tiny-mean-36', :'dir') IS NOT NULL AS imported;
\set dir :data_dir '/tiny/bert-mean-48/model'
SELECT embed_import('tiny-mean-48', :'dir') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT embed_set_default('tiny-cls');
