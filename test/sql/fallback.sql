-- embed.reranker_fallback: a smaller reranker where the larger one would take too long.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set large :data_dir '/tiny/bert-rerank/model'
\set small :data_dir '/tiny/distilbert-rerank/model'
SELECT embed_import('fall-large', :'large', '{"default": false}') IS NOT NULL AND embed_import('fall-small', :'small', '{"default": false, "alias": "fall-alias"}') IS NOT NULL AS imported;
SELECT embed_stat_reset();
SET embed.reranker = 'fall-large';
CREATE TABLE docs AS SELECT array_agg('a document about the server number ' || i ORDER BY i) AS few FROM generate_series(1, 20) i;
ALTER TABLE docs ADD many text[];
UPDATE docs SET many = (SELECT array_agg('a document about the server number ' || i || ' and what else there is to say' ORDER BY i) FROM generate_series(1, 2000) i);
CREATE VIEW served AS SELECT name, calls FROM embed_stat WHERE name LIKE 'fall-%' ORDER BY name;

-- nothing is measured yet: the larger one serves, and is measured by that
SET embed.reranker_fallback = 'fall-small';
SET embed.max_rerank_ms = 1;
SELECT rerank_many('server', few) = rerank_many('server', few, 'fall-large') AS large FROM docs;
SELECT * FROM served;
-- an hour is enough, a millisecond is not
SET embed.max_rerank_ms = '1h';
SELECT rerank_many('server', many) IS NOT NULL AS done FROM docs;
SELECT * FROM served;
SET embed.max_rerank_ms = 1;
\set VERBOSITY terse
SELECT count(rerank_many('server', many)) AS done FROM docs, generate_series(1, 2);
SELECT * FROM served;
SET client_min_messages = warning;
SELECT rerank_many('server', many) = rerank_many('server', many, 'fall-small') AS small FROM docs;
SELECT md5(string_agg(t::text, '')) = (SELECT md5(string_agg(s::text, '')) FROM docs, rerank_top('server', many, 5, 'fall-small') s) AS small FROM docs, rerank_top('server', many, 5) t;
SET embed.reranker_fallback = 'fall-alias';
SELECT rerank('server', many) = rerank_many('server', many, 'fall-small') AS small FROM docs;
-- never where the call names a model, or scores a pair or the rows of a group
SELECT rerank_many('server', many[1:500], 'fall-large') <> rerank_many('server', many[1:500], 'fall-small') AS large FROM docs;
SELECT rerank('server', repeat('word ', 1000)) = rerank('server', repeat('word ', 1000), 'fall-large') AS large;
SELECT rerank_agg('server', d) = rerank_agg('server', d, 'fall-large') AS large FROM docs, unnest(many[1:500]) d;
RESET client_min_messages;
-- a fallback that is none is an error where it is needed; of itself it is nothing
SET embed.reranker_fallback = 'no-such-model';
SELECT rerank_many('server', many) FROM docs;
SET embed.reranker_fallback = 'tiny-cls';
SELECT rerank_many('server', many) FROM docs;
SET embed.reranker_fallback = 'fall-large';
SELECT rerank_many('server', many[1:500]) = rerank_many('server', many[1:500], 'fall-large') AS large FROM docs;
-- a drop finds it
ALTER ROLE CURRENT_USER SET embed.reranker_fallback = 'fall-small';
SELECT kind, detail, refuses FROM embed_dependents('fall-small') WHERE kind = 'setting';
ALTER ROLE CURRENT_USER RESET embed.reranker_fallback;
RESET embed.reranker_fallback;
RESET embed.max_rerank_ms;
RESET embed.reranker;
DROP VIEW served;
DROP TABLE docs;
SELECT embed_set_alias('fall-alias', NULL);
SELECT embed_drop('fall-small', forget => true), embed_drop('fall-large', forget => true);
