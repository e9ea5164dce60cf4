-- embed_column, embed_column_drop, embed_check
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql
\set SHOW_CONTEXT never
SELECT embed_set_default('tiny-mean-36');
SELECT embed_set_alias('kept-alias', 'tiny-mean-48');
CREATE FUNCTION kept(t regclass) RETURNS TABLE (kind text, definition text) LANGUAGE sql AS $$
	SELECT 'column', attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
	WHERE attrelid = t AND attnum > 0 AND NOT attisdropped AND atttypid = 'float4[]'::regtype
	UNION ALL SELECT 'trigger', regexp_replace(pg_get_triggerdef(oid), '@[0-9a-f]{16}', '@(16 digits)') FROM pg_trigger WHERE tgrelid = t
	UNION ALL SELECT 'index', pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = t AND indpred IS NOT NULL
	ORDER BY 1, 2 $$;

-- the one call: column, trigger, index; existing rows are to do
CREATE TABLE kept_docs (id int PRIMARY KEY, title text, body text, n int);
INSERT INTO kept_docs VALUES (1, 'a', 'one'), (2, 'b', 'two'), (3, NULL, NULL);
SELECT embed_column('kept_docs', 'body');
SELECT * FROM kept('kept_docs');
INSERT INTO kept_docs VALUES (4, 'd', 'four');
SELECT id, embedding IS NULL AS to_do, embedding = embed(body) AS right FROM kept_docs ORDER BY id;
UPDATE public.kept_docs SET embedding = embed(body, 'tiny-mean-36') WHERE embedding IS NULL AND body IS NOT NULL;
SELECT * FROM embed_check('kept_docs', 'embedding');
-- again: nothing, also with all said, and after the default moved
SELECT embed_column('kept_docs', 'body');
SELECT embed_set_default('tiny-cls');
SELECT embed_column('kept_docs', 'body', 'embedding', 'tiny-mean-36', 'now');
SELECT embed_column('kept_docs', 'body');
SELECT l.mode FROM pg_locks l WHERE relation = 'kept_docs'::regclass AND pid = pg_backend_pid();
-- another mode: the vectors stay
SELECT embed_column('kept_docs', 'body', mode => 'later');
SELECT * FROM kept('kept_docs');
SELECT verdict, n FROM embed_check('kept_docs', 'embedding');
INSERT INTO kept_docs VALUES (5, 'e', 'five');
SELECT verdict, n FROM embed_check('kept_docs', 'embedding');
-- another source, another model (by an alias, resolved once): all is to do
SELECT embed_column('kept_docs', 'title, body');
SELECT verdict, n FROM embed_check('kept_docs', 'embedding');
SELECT embed_column('kept_docs', 'title, body', model => 'kept-alias', mode => 'now');
SELECT * FROM kept('kept_docs');
UPDATE kept_docs SET n = 1;
SELECT * FROM embed_check('kept_docs', 'embedding');
SELECT id FROM kept_docs WHERE embedding = embed(array_to_string(ARRAY[title, body], E'\n\n'), 'tiny-mean-48') ORDER BY id;

-- embed_check: what got past the trigger
SET session_replication_role = replica;
UPDATE kept_docs SET body = 'changed behind' WHERE id = 2;
UPDATE kept_docs SET title = NULL, body = NULL WHERE id = 4;
RESET session_replication_role;
SELECT verdict, n, part, tid = (SELECT ctid FROM kept_docs d WHERE d.id = (key ->> 'id')::int) AS is_its, key FROM embed_check('kept_docs', 'embedding') ORDER BY key ->> 'id' NULLS FIRST, verdict;
SELECT sum(n) AS looked_at FROM embed_check('kept_docs', 'embedding', 1) WHERE verdict IN ('right', 'wrong');
SELECT embed_check('kept_docs', 'embedding', -1);
SELECT embed_check('kept_docs', 'title');
-- many rows: their texts are computed together, whatever the order of rows with and without a text
CREATE TABLE kept_many (id int PRIMARY KEY, body text);
SELECT embed_column('kept_many', 'body', model => 'tiny-mean-48');
INSERT INTO kept_many SELECT i, CASE WHEN i % 50 > 0 THEN 'row ' || i END FROM generate_series(1, 600) i;
INSERT INTO kept_many VALUES (601, repeat('very long ', 1000000)), (602, 'the row after');
SET session_replication_role = replica;
UPDATE kept_many SET body = body || '!' WHERE id IN (1, 255, 256, 257, 599, 601);
UPDATE kept_many SET body = NULL WHERE id IN (2, 258, 513);
UPDATE kept_many SET embedding = '{1}' WHERE id IN (301, 350);
RESET session_replication_role;
SELECT embed_stat_reset();
SELECT verdict, n, key ->> 'id' AS id FROM embed_check('kept_many', 'embedding') ORDER BY n DESC NULLS LAST, (key ->> 'id')::int;
SELECT texts, calls < 10 AS together FROM embed_stat WHERE texts > 0;
DROP TABLE kept_many;
-- another trigger that fires later is warned of
CREATE FUNCTION kept_shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.body := upper(NEW.body); RETURN NEW; END';
CREATE TRIGGER zzz_shout BEFORE UPDATE ON kept_docs FOR EACH ROW EXECUTE FUNCTION kept_shout();
SELECT embed_column('kept_docs', 'body', 'second');
DROP TRIGGER zzz_shout ON kept_docs;
-- a drop of the model is refused
\set VERBOSITY terse
SELECT embed_drop('tiny-mean-48');
\set VERBOSITY default
-- the end: column and vectors stay
SELECT embed_column_drop('kept_docs', 'embedding');
SELECT embed_column_drop('kept_docs', 'second');
SELECT * FROM kept('kept_docs');
SELECT embed_column_drop('kept_docs', 'embedding');

-- a column that is there: vectors stay on the user's word only
SET embed.accept_vectors = on;
SELECT embed_column('kept_docs', 'body', 'embedding', 'tiny-mean-48', 'later');
RESET embed.accept_vectors;
SELECT count(embedding) FROM kept_docs;
SELECT embed_column_drop('kept_docs', 'embedding');
SELECT embed_column('kept_docs', 'body', 'embedding', 'tiny-mean-48', 'now');
SELECT count(embedding) FROM kept_docs;
-- a trigger made by hand becomes ours; its vectors are right
SELECT embed_column_drop('kept_docs', 'embedding');
CREATE TRIGGER a_embed BEFORE INSERT OR UPDATE ON kept_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-48');
UPDATE kept_docs SET n = 2;
SELECT embed_column('kept_docs', 'body');
SELECT * FROM kept('kept_docs');
SELECT verdict, n FROM embed_check('kept_docs', 'embedding');
-- one that missed rows does not
ALTER TABLE kept_docs DISABLE TRIGGER zz_embed_embedding;
SELECT embed_column('kept_docs', 'body');
SELECT verdict, n FROM embed_check('kept_docs', 'embedding');

-- rolled back
CREATE TABLE kept_back (body text);
BEGIN;
SELECT embed_column('kept_back', 'body');
INSERT INTO kept_back VALUES ('x');
ROLLBACK;
SELECT count(*) FROM kept('kept_back');

-- names
CREATE SCHEMA "Odd; schema";
CREATE TABLE "Odd; schema"."Table ""q""" ("The, Text" varchar(40), " t" text);
SELECT embed_column('"Odd; schema"."Table ""q"""', '"The, Text", " t"', 'V'' "v"');
SELECT embed_column('"Odd; schema"."Table ""q"""', '"The, Text", " t"', 'V'' "v"');
INSERT INTO "Odd; schema"."Table ""q""" VALUES ('a', 'b');
SELECT * FROM kept('"Odd; schema"."Table ""q"""');
SELECT verdict, n FROM embed_check('"Odd; schema"."Table ""q"""', 'V'' "v"');
SELECT embed_column_drop('"Odd; schema"."Table ""q"""', 'V'' "v"');
SET client_min_messages = error;
DROP SCHEMA "Odd; schema" CASCADE;
RESET client_min_messages;
SELECT repeat('ü', 31) AS long \gset
CREATE TABLE :"long" (:"long" text, other text);
SELECT embed_column(:'long', :'long', repeat('ä', 31));
SELECT embed_column(:'long', 'other', repeat('ä', 30) || 'x');
INSERT INTO :"long" VALUES ('x', 'y');
SELECT octet_length(tgname) <= 63 AS fits, count(*) FROM pg_trigger WHERE tgrelid = :'long'::regclass GROUP BY 1;
SELECT verdict, n FROM embed_check(:'long', repeat('ä', 31));
SELECT verdict, n FROM embed_check(:'long', repeat('ä', 30) || 'x');
DROP TABLE :"long";

-- partitions, also later ones; a constant as the index's key; temporary tables
CREATE TABLE kept_parts (k int, body text) PARTITION BY LIST (k);
CREATE TABLE kept_part_1 PARTITION OF kept_parts FOR VALUES IN (1);
INSERT INTO kept_parts VALUES (1, 'one');
SELECT embed_column('kept_parts', 'body');
CREATE TABLE kept_part_2 PARTITION OF kept_parts FOR VALUES IN (2);
INSERT INTO kept_parts VALUES (2, 'two');
SELECT tableoid::regclass, embedding IS NULL AS to_do FROM kept_parts ORDER BY 1;
SELECT verdict, n FROM embed_check('kept_parts', 'embedding');
SELECT * FROM kept('kept_part_2');
SELECT embed_column('kept_part_2', 'body', mode => 'later');
SELECT embed_column('kept_parts', 'body', mode => 'later');
INSERT INTO kept_parts VALUES (2, 'three');
SELECT verdict, n FROM embed_check('kept_parts', 'embedding');
SELECT embed_column_drop('kept_parts', 'embedding');
SELECT * FROM kept('kept_part_2');
DROP TABLE kept_parts;
CREATE TEMP TABLE kept_temp (body text);
INSERT INTO kept_temp VALUES ('x');
\set VERBOSITY terse
SELECT embed_column('kept_temp', 'body');
\set VERBOSITY default
SELECT count(*) FROM pg_index WHERE indrelid = 'kept_temp'::regclass;
-- children are tables of their own
CREATE TABLE kept_parent (body text);
CREATE TABLE kept_child () INHERITS (kept_parent);
INSERT INTO kept_child VALUES ('x');
SELECT embed_column('kept_parent', 'body');
DROP TABLE kept_parent CASCADE;

-- refused
CREATE VIEW kept_view AS SELECT * FROM kept_docs;
SELECT embed_column('kept_view', 'body');
SELECT embed_column('pg_class', 'relname');
SELECT embed_column('kept_docs_pkey', 'body');
CREATE TABLE kept_wrong (id int, body text, upper text GENERATED ALWAYS AS (upper(body)) STORED, v int, s text);
SELECT embed_column('kept_wrong', 'body', 'v');
SELECT embed_column('kept_wrong', 'upper');
SELECT embed_column('kept_wrong', 'id');
SELECT embed_column('kept_wrong', 'nosuch');
SELECT embed_column('kept_wrong', 'body,');
SELECT embed_column('kept_wrong', 'body', 'body');
SELECT embed_column('kept_wrong', 'body', mode => 'soon');
SELECT embed_column('kept_wrong', 'body', model => 'nosuch');
SELECT embed_column('kept_wrong', NULL);
SELECT embed_column(NULL, 'body');
SELECT embed_column('kept_wrong', 'body', NULL);
SELECT embed_column('kept_docs', 'body', 'other') FROM kept_docs;
SELECT count(*) FROM kept('kept_wrong');

-- the owner, and nobody else; a policy that hides rows from him is an error, not a stale vector
CREATE ROLE regress_kept_owner;
CREATE ROLE regress_kept_writer;
GRANT CREATE ON SCHEMA public TO regress_kept_owner;
SET ROLE regress_kept_owner;
CREATE TABLE kept_owned (id int PRIMARY KEY, body text);
GRANT SELECT, INSERT, UPDATE ON kept_owned TO regress_kept_writer;
SELECT embed_column('kept_owned', 'body');
SET ROLE regress_kept_writer;
SELECT embed_column('kept_owned', 'body', mode => 'later');
SELECT embed_column_drop('kept_owned', 'embedding');
INSERT INTO kept_owned VALUES (1, 'one'), (2, 'two');
SELECT verdict, n FROM embed_check('kept_owned', 'embedding');
SET ROLE regress_kept_owner;
ALTER TABLE kept_owned ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON kept_owned USING (id = 1);
SELECT embed_column('kept_owned', 'body', model => 'tiny-mean-48');
RESET ROLE;
SELECT verdict, n FROM embed_check('kept_owned', 'embedding');
-- the owner's triggers run as he, whoever calls
CREATE FUNCTION kept_who() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''trigger runs as %'', CASE WHEN current_user = session_user THEN ''the session'' ELSE current_user END; RETURN NEW; END';
ALTER TABLE kept_owned NO FORCE ROW LEVEL SECURITY;
CREATE TRIGGER a_who BEFORE UPDATE ON kept_owned FOR EACH ROW EXECUTE FUNCTION kept_who();
SELECT embed_column('kept_owned', 'body', model => 'tiny-mean-48');
-- a snapshot or a trigger that hides rows is an error, too
UPDATE kept_owned SET embedding = embed(body, 'tiny-mean-48');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT embed_column('kept_owned', 'body', model => 'tiny-mean-36');
ROLLBACK;
CREATE FUNCTION kept_skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER b_skip BEFORE UPDATE ON kept_owned FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION kept_skip();
SELECT embed_column('kept_owned', 'body', model => 'tiny-mean-36');
SELECT verdict, n FROM embed_check('kept_owned', 'embedding');
DROP TABLE kept_owned;
REVOKE CREATE ON SCHEMA public FROM regress_kept_owner;
DROP ROLE regress_kept_owner, regress_kept_writer;
DROP TABLE kept_docs, kept_back, kept_wrong CASCADE;
DROP FUNCTION kept, kept_shout, kept_who, kept_skip;
SELECT embed_set_default('tiny-cls');
SELECT embed_set_alias('kept-alias', NULL);
\i :data_dir/sql/filler_on.sql
