-- What CREATE TRIGGER makes of an embed_trigger: checks, the model of an alias, the order of triggers.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set SHOW_CONTEXT never

-- a mistake is told when the trigger is made
CREATE TABLE made_docs (id int PRIMARY KEY, body text, embedding float4[], flag bool,
	upper_body text GENERATED ALWAYS AS (upper(body)) STORED);
CREATE FUNCTION pg_temp.make(arguments text, timing text DEFAULT 'BEFORE INSERT OR UPDATE', each text DEFAULT 'ROW', tab text DEFAULT 'made_docs')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
BEGIN
	EXECUTE format('CREATE TRIGGER t %s ON %s FOR EACH %s EXECUTE FUNCTION embed_trigger(%s)', timing, tab, each, arguments);
	RETURN 'made';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
	RETURN state || ' ' || message;
END $$;
SELECT pg_temp.make($$'embeding', 'body', 'tiny-cls'$$);
SELECT pg_temp.make($$'embedding', 'bdy', 'tiny-cls'$$);
SELECT pg_temp.make($$'embedding', 'upper_body', 'tiny-cls'$$);
SELECT pg_temp.make($$'flag', 'body', 'tiny-cls'$$);
SELECT pg_temp.make($$'embedding', 'id', 'tiny-cls'$$);
SELECT pg_temp.make($$'embedding', 'embedding', 'tiny-cls'$$);
SELECT pg_temp.make($$'embedding', 'body', 'tiny-csl'$$);
DROP TRIGGER t ON made_docs;
SELECT pg_temp.make($$'embedding', 'body', 'tiny-cls@beef'$$);
SELECT pg_temp.make($$'embedding', 'body', ''$$);
SELECT pg_temp.make($$'embedding'$$);
SELECT pg_temp.make($$'embedding', 'body', 'tiny-cls'$$, 'AFTER INSERT');
SELECT pg_temp.make($$'embedding', 'body', 'tiny-cls'$$, 'BEFORE INSERT OR DELETE');
SELECT pg_temp.make($$'embedding', 'body', 'tiny-cls'$$, 'BEFORE INSERT', 'STATEMENT');
SELECT count(*) AS made FROM pg_trigger WHERE tgrelid = 'made_docs'::regclass;
-- a schema made with its elements
SET check_function_bodies = off;
CREATE SCHEMA made_schema
	CREATE TABLE docs (body text, embedding float4[])
	CREATE TRIGGER t BEFORE INSERT ON docs FOR EACH ROW EXECUTE FUNCTION public.embed_trigger('embedding', 'bdy', 'tiny-cls');
RESET check_function_bodies;

-- an alias: the trigger records its model and refuses another one
CREATE VIEW made_arguments AS
SELECT tgrelid::regclass AS tab, tgname,
	regexp_replace(replace(encode(tgargs, 'escape'), '\000', ' '), '@[0-9a-f]{16} $', '@(16 digits)') AS arguments
FROM pg_trigger WHERE tgfoid = 'embed_trigger()'::regprocedure ORDER BY 1, 2;
SELECT embed_set_alias('made-current', 'tiny-mean-36');
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$);
SELECT * FROM made_arguments;
SELECT split_part(encode(tgargs, 'escape'), '@', 2) = left(m.fingerprint, 16) || '\000' AS is_prefix
FROM pg_trigger, embed_models m WHERE tgrelid = 'made_docs'::regclass AND m.name = 'tiny-mean-36';
INSERT INTO made_docs VALUES (1, 'one'), (2, 'two');
SELECT embed_set_alias('made-current', 'tiny-mean-48');
INSERT INTO made_docs VALUES (3, 'three');
UPDATE made_docs SET body = 'new' WHERE id = 1;
UPDATE made_docs SET embedding = NULL WHERE id = 1;
-- nothing to compute, nothing to refuse
UPDATE made_docs SET flag = true;
INSERT INTO made_docs VALUES (4, NULL);
SELECT id, cardinality(embedding) AS dim FROM made_docs ORDER BY id;
-- the record does not hide the alias
SELECT d.* FROM embed_dependents('tiny-mean-48') d;
-- back again, and another name with the same content
SELECT embed_set_alias('made-current', 'tiny-mean-36');
UPDATE made_docs SET body = 'new' WHERE id = 1;
SELECT embed_import('made-same', :'data_dir' || '/tiny/bert-mean-36/model') IS NOT NULL AS imported;
SELECT embed_set_alias('made-current', 'made-same');
UPDATE made_docs SET body = 'newer' WHERE id = 1;
-- renames do not lose the record
ALTER TABLE made_docs RENAME TO renamed_docs;
ALTER TABLE renamed_docs SET SCHEMA made_other;
CREATE SCHEMA made_other;
ALTER TABLE renamed_docs SET SCHEMA made_other;
ALTER TRIGGER t ON made_other.renamed_docs RENAME TO u;
SELECT embed_set_alias('made-current', 'tiny-mean-48');
UPDATE made_other.renamed_docs SET body = 'x' WHERE id = 1;
ALTER TABLE made_other.renamed_docs SET SCHEMA public;
ALTER TABLE renamed_docs RENAME TO made_docs;
-- a trigger made anew records anew; one rolled back leaves nothing
BEGIN;
DROP TRIGGER u ON made_docs;
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$);
UPDATE made_docs SET embedding = NULL;
SELECT bool_and(cardinality(embedding) = 48) AS all_anew FROM made_docs WHERE body IS NOT NULL;
ROLLBACK;
INSERT INTO made_docs VALUES (5, 'five');
BEGIN;
DROP TRIGGER u ON made_docs;
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$);
UPDATE made_docs SET embedding = NULL;
COMMIT;
INSERT INTO made_docs VALUES (5, 'five');
SELECT DISTINCT cardinality(embedding) AS dim FROM made_docs WHERE body IS NOT NULL;
-- an alias that is gone
SELECT embed_set_alias('made-current', NULL);
INSERT INTO made_docs VALUES (6, 'six');
-- a model named with its fingerprint
SELECT embed_set_alias('made-current', 'tiny-mean-36');
SELECT left(fingerprint, 8) AS digits, upper(fingerprint) AS all_digits FROM embed_models WHERE name = 'tiny-mean-48' \gset
DROP TRIGGER t ON made_docs;
SELECT regexp_replace(pg_temp.make(format($$'embedding', 'body', 'made-current@%s'$$, :'digits')), '[0-9a-f]{8}', '(8 digits)');
SELECT pg_temp.make(format($$'embedding', 'body', 'tiny-mean-48@%s'$$, :'all_digits'));
INSERT INTO made_docs VALUES (6, 'six');
DROP TRIGGER t ON made_docs;

-- partitions, those that come later, too
CREATE TABLE made_parted (id int, body text, embedding float4[]) PARTITION BY RANGE (id);
CREATE TABLE made_parted_1 PARTITION OF made_parted FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE made_parted_11 PARTITION OF made_parted_1 FOR VALUES FROM (0) TO (5);
CREATE TABLE made_parted_2 (id int, body text, embedding float4[]);
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$, tab => 'made_parted');
ALTER TABLE made_parted ATTACH PARTITION made_parted_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE made_parted_3 PARTITION OF made_parted FOR VALUES FROM (20) TO (30);
SELECT * FROM made_arguments;
INSERT INTO made_parted VALUES (1, 'one'), (11, 'two'), (21, 'three');
SELECT embed_set_alias('made-current', 'tiny-mean-48');
INSERT INTO made_parted VALUES (2, 'one');
INSERT INTO made_parted VALUES (12, 'one');
INSERT INTO made_parted_3 VALUES (22, 'one');
ALTER TABLE made_parted DETACH PARTITION made_parted_3;
DROP TABLE made_parted;

-- any owner of a table, with no right on _embed
CREATE ROLE regress_embed_maker;
GRANT CREATE ON SCHEMA made_other TO regress_embed_maker;
GRANT USAGE ON SCHEMA made_other TO regress_embed_maker;
SET ROLE regress_embed_maker;
CREATE TABLE made_other.mine (body text, embedding float4[]);
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$, tab => 'made_other.mine');
INSERT INTO made_other.mine VALUES ('mine');
CREATE FUNCTION made_other.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE made_other.others (body text);
CREATE TRIGGER other BEFORE INSERT ON made_other.others FOR EACH ROW EXECUTE FUNCTION made_other.nothing();
SELECT _embed.trigger_made();
RESET ROLE;
SELECT embed_set_alias('made-current', 'tiny-mean-36');
SET ROLE regress_embed_maker;
INSERT INTO made_other.mine VALUES ('mine');
RESET ROLE;

-- without the event trigger there is no record: rows are refused rather than mixed
BEGIN;
ALTER EVENT TRIGGER embed_trigger_made DISABLE;
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$);
ALTER EVENT TRIGGER embed_trigger_made ENABLE ALWAYS;
INSERT INTO made_docs VALUES (7, 'seven');
ROLLBACK;
SET session_replication_role = replica;
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$);
RESET session_replication_role;
SELECT * FROM made_arguments WHERE tab = 'made_docs'::regclass;
DROP TRIGGER t ON made_docs;

-- a session that loads a dump: warnings, and the record of the dump
SET check_function_bodies = off;
SET row_security = off;
SET client_min_messages = warning;
SELECT pg_temp.make($$'embedding', 'body', 'not-yet'$$);
DROP TRIGGER t ON made_docs;
SELECT pg_temp.make($$'embedding', 'nowhere', 'tiny-cls'$$);
DROP TRIGGER t ON made_docs;
SELECT pg_temp.make($$'embedding', 'body', 'made-current'$$);
SELECT * FROM made_arguments WHERE tab = 'made_docs'::regclass;
DROP TRIGGER t ON made_docs;
SELECT pg_temp.make($$'embedding', 'body'$$);
DROP TRIGGER t ON made_docs;
SELECT pg_temp.make($$'embedding', 'body', 'made-current@0123456789abcdef'$$);
RESET check_function_bodies;
RESET row_security;
RESET client_min_messages;
INSERT INTO made_docs VALUES (7, 'seven');
DROP TRIGGER t ON made_docs;

-- another trigger that fires later
CREATE FUNCTION made_cut() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.body := left(NEW.body, 3); RETURN NEW; END';
CREATE TRIGGER cut BEFORE INSERT ON made_docs FOR EACH ROW EXECUTE FUNCTION made_cut();
CREATE TRIGGER embed BEFORE INSERT ON made_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-cls');
CREATE TRIGGER later BEFORE INSERT OR UPDATE ON made_docs FOR EACH ROW EXECUTE FUNCTION made_cut();
DROP TRIGGER embed ON made_docs;
CREATE TRIGGER embed BEFORE INSERT ON made_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-cls');
ALTER TRIGGER later ON made_docs RENAME TO earlier;
ALTER TRIGGER embed ON made_docs RENAME TO zz_embed;
ALTER TRIGGER earlier ON made_docs RENAME TO zzz;
ALTER TRIGGER zzz ON made_docs RENAME TO y;
CREATE TRIGGER zz_last AFTER INSERT ON made_docs FOR EACH ROW EXECUTE FUNCTION made_cut();
CREATE TRIGGER zz_statement BEFORE INSERT ON made_docs FOR EACH STATEMENT EXECUTE FUNCTION made_cut();
CREATE TRIGGER zz_gone BEFORE DELETE ON made_docs FOR EACH ROW EXECUTE FUNCTION made_cut();
CREATE TRIGGER zz_suppress BEFORE UPDATE ON made_docs FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
INSERT INTO made_docs VALUES (8, 'eighth');
SELECT body, embedding = embed(body, 'tiny-cls') AS current FROM made_docs WHERE id = 8;

-- triggers of partitions beside those of the partitioned table
CREATE TABLE made_parted (id int, body text, embedding float4[]) PARTITION BY RANGE (id);
CREATE TABLE made_parted_1 PARTITION OF made_parted FOR VALUES FROM (0) TO (10);
CREATE TABLE made_parted_2 PARTITION OF made_parted FOR VALUES FROM (10) TO (20);
CREATE TRIGGER later BEFORE INSERT ON made_parted_2 FOR EACH ROW EXECUTE FUNCTION made_cut();
CREATE TRIGGER embed BEFORE INSERT ON made_parted FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-cls');
CREATE TRIGGER later BEFORE INSERT ON made_parted_1 FOR EACH ROW EXECUTE FUNCTION made_cut();
CREATE TRIGGER much_later BEFORE INSERT ON made_parted FOR EACH ROW EXECUTE FUNCTION made_cut();
DROP TRIGGER embed ON made_parted;
CREATE TRIGGER embed BEFORE INSERT ON made_parted_1 FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-cls');
CREATE TRIGGER most_late BEFORE INSERT ON made_parted FOR EACH ROW EXECUTE FUNCTION made_cut();
DROP TABLE made_parted;
DROP TABLE made_docs;
DROP FUNCTION made_cut();
DROP VIEW made_arguments;
DROP SCHEMA made_other CASCADE;
DROP ROLE regress_embed_maker;
SELECT embed_set_alias('made-current', NULL);
SELECT embed_drop('made-same', forget => true);
