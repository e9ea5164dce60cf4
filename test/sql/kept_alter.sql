-- Kept columns under ALTER TABLE: the trigger depends on its columns, and follows them.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql
\set SHOW_CONTEXT never
\pset format unaligned
SELECT embed_set_default('tiny-mean-36');
CREATE VIEW alter_kept AS
SELECT t.tgrelid::regclass AS tab, t.tgname, regexp_replace(encode(t.tgargs, 'escape'), '@[0-9a-f]{16}', '@') AS arguments,
	(SELECT string_agg(a.attname || ' ' || d.deptype::text, ', ' ORDER BY d.deptype, a.attnum) FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
	 WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0) AS depends_on
FROM pg_trigger t WHERE t.tgrelid::regclass::text LIKE '%alter\_%' AND t.tgfoid IN ('embed_trigger()'::regprocedure, 'embed_chunk_trigger()'::regprocedure) ORDER BY t.tgrelid::regclass::text, 2;
CREATE FUNCTION indexes(t regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = t AND indpred IS NOT NULL ORDER BY 1 $$;

-- DROP COLUMN: the vectors take trigger and index along; a source only with CASCADE
CREATE TABLE alter_docs (id int PRIMARY KEY, title varchar(20), body text, n int);
SELECT embed_column('alter_docs', 'title, body');
SELECT embed_column('alter_docs', 'body', 'second', 'tiny-mean-48', 'later');
INSERT INTO alter_docs VALUES (1, 'one', 'first'), (2, NULL, 'second');
SELECT * FROM alter_kept;
ALTER TABLE alter_docs DROP COLUMN second;
SELECT * FROM alter_kept;
SELECT indexes('alter_docs');
INSERT INTO alter_docs VALUES (3, 'three', 'third');
ALTER TABLE alter_docs DROP COLUMN title;
ALTER TABLE alter_docs DROP COLUMN n;
BEGIN;
ALTER TABLE alter_docs DROP COLUMN title CASCADE;
SELECT * FROM alter_kept;
SELECT indexes('alter_docs');
INSERT INTO alter_docs VALUES (4, 'fourth');
SELECT id, embedding IS NULL AS no_vector FROM alter_docs WHERE id = 4;
ROLLBACK;

-- RENAME: the trigger follows, whatever the names are
ALTER TABLE alter_docs RENAME COLUMN body TO "The, Text";
ALTER TABLE alter_docs RENAME title TO heading;
ALTER TABLE alter_docs RENAME embedding TO vectors;
SELECT * FROM alter_kept;
INSERT INTO alter_docs VALUES (4, 'four', 'fourth');
UPDATE alter_docs SET "The, Text" = 'changed' WHERE id = 1;
SELECT verdict, n FROM embed_check('alter_docs', 'vectors');
SELECT embed_column('alter_docs', 'heading, "The, Text"', 'vectors');
-- two columns change their names: the vectors stay those of their texts
BEGIN;
ALTER TABLE alter_docs ALTER heading TYPE text;
ALTER TABLE alter_docs RENAME heading TO away;
ALTER TABLE alter_docs RENAME "The, Text" TO heading;
ALTER TABLE alter_docs RENAME away TO "The, Text";
SELECT * FROM alter_kept;
SELECT verdict, n FROM embed_check('alter_docs', 'vectors');
UPDATE alter_docs SET heading = 'new' WHERE id = 2;
SELECT verdict, n FROM embed_check('alter_docs', 'vectors');
ROLLBACK;
-- one source with a comma in its name
SELECT embed_column('alter_docs', 'The, Text', 'second');
ALTER TABLE alter_docs RENAME COLUMN "The, Text" TO "A, ""b"", c";
SELECT * FROM alter_kept;
INSERT INTO alter_docs VALUES (5, 'five', 'fifth');
ALTER TABLE alter_docs RENAME COLUMN "A, ""b"", c" TO body;
INSERT INTO alter_docs VALUES (6, 'six', 'sixth');
SELECT verdict, n FROM embed_check('alter_docs', 'second') WHERE verdict = 'wrong';
ALTER TABLE alter_docs DROP COLUMN second;
-- other names
CREATE SCHEMA alter_other;
ALTER TABLE alter_docs RENAME TO alter_moved;
ALTER TABLE alter_moved SET SCHEMA alter_other;
ALTER TABLE alter_other.alter_moved RENAME CONSTRAINT alter_docs_pkey TO alter_key;
INSERT INTO alter_other.alter_moved VALUES (7, 'seven', 'seventh');
ALTER TABLE alter_other.alter_moved RENAME COLUMN body TO content;
INSERT INTO alter_other.alter_moved VALUES (8, 'eight', 'eighth');
SELECT verdict, n FROM embed_check('alter_other.alter_moved', 'vectors');
SELECT * FROM alter_kept;

-- ALTER TYPE: no text may change behind the trigger; vectors may be converted
ALTER TABLE alter_other.alter_moved ALTER COLUMN content TYPE varchar(3);
ALTER TABLE alter_other.alter_moved ALTER COLUMN content TYPE text USING upper(content);
ALTER TABLE alter_other.alter_moved ALTER COLUMN heading TYPE varchar(10);
ALTER TABLE alter_other.alter_moved ALTER COLUMN heading TYPE char(40);
ALTER TABLE alter_other.alter_moved ALTER COLUMN heading TYPE varchar(40), ADD COLUMN more int;
ALTER TABLE alter_other.alter_moved ALTER COLUMN heading TYPE text, ALTER COLUMN content TYPE varchar;
SELECT * FROM alter_kept;
SELECT verdict, n FROM embed_check('alter_other.alter_moved', 'vectors');
CREATE DOMAIN alter_vector AS real[] CHECK (cardinality(value) = 36);
ALTER TABLE alter_other.alter_moved ALTER COLUMN vectors TYPE alter_vector;
INSERT INTO alter_other.alter_moved VALUES (9, 'nine', 'ninth');
SELECT verdict, n FROM embed_check('alter_other.alter_moved', 'vectors');
SELECT * FROM alter_kept;
-- one of two may, and one may not; a type that takes no vectors
ALTER TABLE alter_other.alter_moved ALTER COLUMN heading TYPE varchar, ALTER COLUMN content TYPE char(9);
ALTER TABLE alter_other.alter_moved ALTER COLUMN vectors TYPE boolean USING NULL;
ALTER TABLE alter_other.alter_moved ALTER COLUMN vectors TYPE nosuch;
ALTER TABLE alter_other.alter_moved ALTER COLUMN vectors TYPE real[] USING NULL, ALTER COLUMN nosuch TYPE text;
ALTER TABLE alter_other.alter_moved ALTER COLUMN vectors TYPE real[], ALTER COLUMN id TYPE int8;
INSERT INTO alter_other.alter_moved VALUES (10, 'ten', 'tenth');
SELECT verdict, n FROM embed_check('alter_other.alter_moved', 'vectors');
SELECT * FROM alter_kept;
-- who may not alter the table waits for nothing, and changes nothing
CREATE ROLE regress_embed_alter;
GRANT USAGE ON SCHEMA alter_other TO regress_embed_alter;
SET ROLE regress_embed_alter;
ALTER TABLE alter_other.alter_moved ALTER COLUMN vectors TYPE text;
RESET ROLE;
-- the way out for a text that changes
BEGIN;
SELECT embed_column_drop('alter_other.alter_moved', 'vectors');
ALTER TABLE alter_other.alter_moved ALTER COLUMN content TYPE text USING upper(content);
SELECT embed_column('alter_other.alter_moved', 'heading, content', 'vectors');
COMMIT;
SELECT verdict, n FROM embed_check('alter_other.alter_moved', 'vectors');
SET client_min_messages = warning;
DROP SCHEMA alter_other CASCADE;
RESET client_min_messages;

-- partitions, and tables that inherit
CREATE TABLE alter_parts (k int, body text) PARTITION BY LIST (k);
CREATE TABLE alter_part_1 PARTITION OF alter_parts FOR VALUES IN (1) PARTITION BY LIST (body);
CREATE TABLE alter_part_11 PARTITION OF alter_part_1 DEFAULT;
SELECT embed_column('alter_parts', 'body');
CREATE TABLE alter_part_2 PARTITION OF alter_parts FOR VALUES IN (2);
ALTER TABLE alter_parts RENAME COLUMN body TO content;
ALTER TABLE alter_parts RENAME COLUMN embedding TO e;
CREATE TABLE alter_part_3 PARTITION OF alter_parts FOR VALUES IN (3);
SELECT * FROM alter_kept;
INSERT INTO alter_parts VALUES (1, 'one'), (2, 'two'), (3, 'three');
SELECT verdict, n FROM embed_check('alter_parts', 'e');
-- one that comes with vectors of anything is warned of
CREATE TABLE alter_part_4 (k int, content text, e real[]);
CREATE TABLE alter_part_5 (LIKE alter_part_4);
CREATE TABLE alter_part_6 (LIKE alter_part_4);
INSERT INTO alter_part_4 VALUES (4, 'four', embed('four', 'tiny-mean-36')), (4, 'other', embed('other', 'tiny-mean-48'));
INSERT INTO alter_part_5 VALUES (5, 'five', NULL);
ALTER TABLE alter_parts ATTACH PARTITION alter_part_4 FOR VALUES IN (4);
ALTER TABLE alter_parts ATTACH PARTITION alter_part_5 FOR VALUES IN (5);
ALTER TABLE alter_parts ATTACH PARTITION alter_part_6 FOR VALUES IN (6);
SELECT verdict, n FROM embed_check('alter_parts', 'e') WHERE n IS NOT NULL;
ALTER TABLE alter_parts DETACH PARTITION alter_part_4;
ALTER TABLE alter_parts DROP COLUMN content;
ALTER TABLE alter_parts DROP COLUMN e;
SELECT * FROM alter_kept;
DROP TABLE alter_parts, alter_part_4;
CREATE TABLE alter_parent (id int, body text);
CREATE TABLE alter_child (extra int) INHERITS (alter_parent);
SELECT embed_column('alter_parent', 'body');
SELECT embed_column('alter_child', 'body');
ALTER TABLE alter_parent RENAME COLUMN body TO content;
ALTER TABLE alter_parent ALTER COLUMN embedding TYPE float8[];
SELECT * FROM alter_kept;
INSERT INTO alter_child VALUES (1, 'child', 2);
INSERT INTO alter_parent VALUES (2, 'parent');
SELECT tableoid::regclass, cardinality(embedding) FROM alter_parent ORDER BY 1;
ALTER TABLE alter_parent DROP COLUMN embedding;
SELECT * FROM alter_kept;
DROP TABLE alter_parent CASCADE;

-- chunk tables
CREATE TABLE alter_texts (id int PRIMARY KEY, title text, body text);
SELECT embed_chunk_table('alter_texts', 'title, body', 12, 4);
SELECT * FROM alter_kept;
ALTER TABLE alter_texts RENAME body TO content;
ALTER TABLE alter_texts RENAME id TO key;
INSERT INTO alter_texts VALUES (2, 'a title', 'the and qqq and the');
SELECT * FROM alter_kept;
SELECT verdict, n FROM embed_check('alter_texts_chunks', 'embedding');
ALTER TABLE alter_texts DROP COLUMN content;
ALTER TABLE alter_texts ALTER COLUMN content TYPE text USING content || '!';
ALTER TABLE alter_texts ALTER COLUMN content TYPE varchar;
ALTER TABLE alter_texts_chunks DROP COLUMN chunk;
ALTER TABLE alter_texts_chunks DROP COLUMN embedding;
INSERT INTO alter_texts VALUES (3, 'a title', 'the and qqq and the');
ALTER TABLE alter_texts DROP COLUMN content CASCADE;
INSERT INTO alter_texts VALUES (4, 'a title');
SELECT * FROM alter_kept;
DROP TABLE alter_texts CASCADE;

-- another column beside it, a switch, and the end of the former one
CREATE TABLE alter_switch (id int PRIMARY KEY, body text);
SELECT embed_column('alter_switch', 'body');
SET client_min_messages = error;
CALL embed_refill('alter_switch', 'embedding', 'tiny-mean-48');
RESET client_min_messages;
SELECT embed_switch('alter_switch', 'embedding');
SELECT * FROM alter_kept;
ALTER TABLE alter_switch RENAME body TO content;
INSERT INTO alter_switch VALUES (1, 'one');
SELECT * FROM alter_kept;
ALTER TABLE alter_switch DROP COLUMN embedding__prev;
INSERT INTO alter_switch VALUES (2, 'two');
SELECT * FROM alter_kept;
SELECT verdict, n FROM embed_check('alter_switch', 'embedding');

-- one written by hand is left as it is
CREATE TABLE alter_hand (id int, body text, e real[]);
CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON alter_hand FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'tiny-mean-36');
ALTER TABLE alter_hand ALTER body TYPE varchar(9) USING upper(body);
ALTER TABLE alter_hand RENAME body TO content;
SELECT * FROM alter_kept WHERE tab = 'alter_hand'::regclass;
INSERT INTO alter_hand VALUES (1, 'one');
ALTER TABLE alter_hand DROP COLUMN content;
DROP TABLE alter_hand;

-- where event triggers did not fire, the next chance is taken: once
CREATE FUNCTION forget_columns() RETURNS int LANGUAGE sql AS $$
	WITH d AS (DELETE FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND refclassid = 'pg_class'::regclass AND refobjsubid > 0
		AND refobjid = 'alter_switch'::regclass RETURNING 1) SELECT count(*)::int FROM d $$;
SELECT forget_columns();
SELECT embed_column('alter_switch', 'content');
SELECT embed_column('alter_switch', 'content');
SELECT depends_on FROM alter_kept;
SELECT forget_columns();
SELECT verdict, n FROM embed_check('alter_switch', 'embedding');
SELECT depends_on FROM alter_kept;
SELECT forget_columns();
SET client_min_messages = error;
CALL embed_fill('alter_switch');
CALL embed_fill('alter_switch');
RESET client_min_messages;
SELECT depends_on FROM alter_kept;
BEGIN;
ALTER EVENT TRIGGER embed_trigger_made DISABLE;
ALTER EVENT TRIGGER embed_alter_table DISABLE;
SELECT embed_column('alter_switch', 'content', 'other');
SELECT depends_on FROM alter_kept;
-- the server refuses, and a rename is not followed: writes say so
SAVEPOINT a;
ALTER TABLE alter_switch ALTER COLUMN embedding TYPE float8[];
ROLLBACK TO a;
ALTER TABLE alter_switch RENAME content TO body;
INSERT INTO alter_switch VALUES (3, 'three');
ROLLBACK;
-- who may read only
SELECT forget_columns();
BEGIN READ ONLY;
SELECT verdict, n FROM embed_check('alter_switch', 'embedding');
COMMIT;
SELECT depends_on FROM alter_kept;
DROP TABLE alter_switch;

DROP VIEW alter_kept;
DROP DOMAIN alter_vector;
DROP FUNCTION indexes, forget_columns;
DROP ROLE regress_embed_alter;
SELECT embed_set_default('tiny-cls');
\pset format aligned
\i :data_dir/sql/filler_on.sql
