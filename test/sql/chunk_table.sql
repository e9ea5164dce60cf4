-- embed_chunk_table.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql
\set SHOW_CONTEXT never

CREATE SCHEMA "Odd ""one""";
SET search_path = "Odd ""one""", public;
CREATE TABLE "The docs" (id int PRIMARY KEY, title text, body text, note text);
INSERT INTO "The docs" VALUES (1, 'One', 'the and qqq and the'), (2, NULL, NULL), (3, NULL, ''), (4, 'Four', NULL);
-- every chunk is one that embed_chunks cuts, and none is missing; the vectors are those of the chunks, or to do
CREATE FUNCTION wrong(OUT cut int, OUT vectors int, OUT to_do int) LANGUAGE plpgsql AS $$
BEGIN
	SELECT count(*) INTO cut FROM
		(SELECT id, c.ordinality, c.start_char, c.end_char, c.chunk FROM "The docs" d,
			embed_chunks(CASE WHEN title IS NOT NULL OR body IS NOT NULL THEN concat_ws(E'\n\n', title, body) END, 12, 4, 'tiny-cls') c) a
		FULL JOIN (SELECT id, ordinality, start_char, end_char, chunk FROM "The docs_chunks") b
		USING (id, ordinality, start_char, end_char, chunk) WHERE a IS NULL OR b IS NULL;
	SELECT count(*) FILTER (WHERE embedding <> embed(chunk, 'tiny-cls')), count(*) FILTER (WHERE embedding IS NULL) INTO vectors, to_do
		FROM "The docs_chunks";
END $$;
SELECT embed_chunk_table('"The docs"', 'title, Body', 12, 4);
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = '"The docs_chunks"'::regclass AND attnum > 0 ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '"The docs_chunks"'::regclass ORDER BY 1;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '"The docs_chunks"'::regclass AND contype IN ('p', 'f') ORDER BY 1;
SELECT regexp_replace(pg_get_triggerdef(oid), '@[0-9a-f]{16}', '@(16 digits)') FROM pg_trigger WHERE tgname IN ('zz_embed_chunks', 'zz_embed_embedding') ORDER BY tgname;
SELECT id, ordinality, start_char, end_char, chunk FROM "The docs_chunks" ORDER BY 1, 2;
SELECT * FROM wrong();
-- rows that were there are to do, as of embed_column; the NOTICE's hint fills them
UPDATE "Odd ""one"""."The docs_chunks" SET embedding = embed(chunk, 'tiny-cls') WHERE embedding IS NULL AND (chunk IS NOT NULL);
SELECT verdict, n FROM embed_check('"The docs_chunks"', 'embedding');

-- writes
INSERT INTO "The docs" SELECT i, 'Title ' || i, repeat('The quick brown fox, jumping over it; ', i) FROM generate_series(5, 9) i;
INSERT INTO "The docs" VALUES (5, 'new', 'new text') ON CONFLICT (id) DO UPDATE SET body = excluded.body || "The docs".body;
COPY "The docs" (id, body) FROM stdin;
10	a text by COPY
\.
UPDATE "The docs" SET body = NULL WHERE id = 6;
UPDATE "The docs" SET id = id + 100 WHERE id = 7;
UPDATE "The docs" SET id = 8000, title = 'another title' WHERE id = 8;
DELETE FROM "The docs" WHERE id = 9;
SELECT * FROM wrong();
SELECT id, count(*) FROM "The docs_chunks" GROUP BY id ORDER BY id;

-- vectors of unchanged chunks are taken over: 7s are nobody's vectors, so they show it
TRUNCATE "The docs" CASCADE;
SELECT count(*) FROM "The docs_chunks";
CREATE FUNCTION mark() RETURNS void LANGUAGE sql AS $$
	ALTER TABLE "The docs_chunks" DISABLE TRIGGER USER;
	UPDATE "The docs_chunks" SET embedding = '{7}';
	ALTER TABLE "The docs_chunks" ENABLE TRIGGER USER;
$$;
INSERT INTO "The docs" SELECT 1, NULL, string_agg('Sentence number ' || i || ' is the one here.', ' ') FROM generate_series(1, 40) i;
SELECT count(*) > 30 AS several FROM "The docs_chunks";
SELECT mark();
UPDATE "The docs" SET note = 'touched', body = body || '';
-- an insertion moves all but a few, and so does its removal
UPDATE "The docs" SET body = 'Something goes before all of this. And more. ' || body;
SELECT count(*) FILTER (WHERE embedding = '{7}') > count(*) - 8 AS taken_over, count(*) FILTER (WHERE embedding = '{7}') < count(*) AS some_new FROM "The docs_chunks";
SELECT cut FROM wrong();
UPDATE "The docs" SET body = substr(body, 46);
SELECT count(*) FILTER (WHERE embedding = '{7}') > count(*) - 8 AS taken_over FROM "The docs_chunks";
SELECT cut FROM wrong();
-- chunks that change places: one paragraph is one chunk
SELECT embed_chunk_table('"The docs"', 'title, body', 14, 0);
UPDATE "The docs" SET body = (SELECT string_agg(repeat(chr(96 + i), 10), E'\n\n' ORDER BY i) FROM generate_series(1, 12) i);
SELECT mark();
UPDATE "The docs" SET body = (SELECT string_agg(repeat(chr(96 + i), 10), E'\n\n' ORDER BY i DESC) FROM generate_series(1, 12) i);
CREATE VIEW taken_over AS SELECT string_agg(left(chunk, 1), '' ORDER BY ordinality) AS chunks,
	string_agg(CASE WHEN embedding = '{7}' THEN '7' ELSE '-' END, '' ORDER BY ordinality) AS vectors,
	bool_and(chunk = substr(body, start_char, end_char - start_char)) AS in_place
FROM "The docs" JOIN "The docs_chunks" USING (id);
SELECT * FROM taken_over;
UPDATE "The docs" SET body = (SELECT string_agg(repeat(chr(96 + i), 10), E'\n\n' ORDER BY i % 5, i) FROM generate_series(1, 12) i);
SELECT * FROM taken_over;
UPDATE "The docs" SET body = (SELECT string_agg(repeat(chr(96 + i), 10), E'\n\n' ORDER BY -i) FROM unnest('{13,2,14,14,4,5,8,7,6,8}'::int[]) i);
SELECT * FROM taken_over;
DROP VIEW taken_over;
-- equal chunks
UPDATE "The docs" SET body = repeat('The same sentence again and again. ', 20);
SELECT mark();
UPDATE "The docs" SET body = repeat('The same sentence again and again. ', 15);
SELECT bool_and(embedding = '{7}') AS taken_over FROM "The docs_chunks" WHERE ordinality < (SELECT max(ordinality) - 1 FROM "The docs_chunks");

-- the same call again cuts only rows without chunks, another call all
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 0);
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 0);
DELETE FROM "The docs_chunks";
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 0);
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 4);
SELECT * FROM wrong();
UPDATE "The docs_chunks" SET embedding = embed(chunk) WHERE embedding IS NULL;
SELECT * FROM wrong();
-- another model: all vectors go; a model that is not named stays
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 4, 'tiny-mean-48');
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 4);
UPDATE "The docs_chunks" SET embedding = embed(chunk, 'tiny-mean-48') WHERE embedding IS NULL;
SELECT verdict, n FROM embed_check('"The docs_chunks"', 'embedding');
SELECT kind, object, detail, refuses FROM embed_dependents('tiny-mean-48') ORDER BY 2;
-- mode later and back: vectors that are there stay
SELECT mark();
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 4, 'tiny-mean-48', 'later');
UPDATE "The docs" SET body = body || ' and one more' WHERE id = 1;
INSERT INTO "The docs" VALUES (77, NULL, 'for later');
SELECT id, count(*) FILTER (WHERE embedding IS NULL) > 0 AS to_do, count(embedding) > 1 AS taken_over FROM "The docs_chunks" GROUP BY id ORDER BY id;
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 4);
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 4, mode => 'now');
SELECT count(*) FILTER (WHERE embedding IS NULL) AS to_do, bool_or(embedding = '{7}') AS taken_over FROM "The docs_chunks";
INSERT INTO "The docs" VALUES (78, NULL, 'for now');
SELECT embedding = embed(chunk, 'tiny-mean-48') AS right FROM "The docs_chunks" WHERE id = 78;
DELETE FROM "The docs" WHERE id = 78;
-- what keeps the vectors is embed_column's: the column can be changed and mended by it, and by the same call
SELECT embed_column('"The docs_chunks"', 'chunk');
SELECT embed_column_drop('"The docs_chunks"', 'embedding');
SELECT embed_chunk_table('"The docs"', 'title, body', 12, 4);
SELECT count(*) FILTER (WHERE embedding IS NULL) = count(*) AS all_to_do FROM "The docs_chunks";
DELETE FROM "The docs" WHERE id = 77;
-- renames
ALTER TABLE "The docs" RENAME TO texts;
ALTER TABLE "The docs_chunks" RENAME TO pieces;
ALTER TABLE pieces SET SCHEMA public;
UPDATE texts SET body = 'renamed';
SELECT chunk FROM pieces;
ALTER TABLE texts RENAME body TO content;
UPDATE texts SET content = 'renamed column';
SELECT embed_chunk_table('texts', 'title, content', 12, 4, 'tiny-mean-48');
UPDATE texts SET content = 'renamed column';
SELECT chunk FROM pieces;
-- a dropped chunk table takes the trigger along
DROP TABLE pieces;
UPDATE texts SET content = 'no chunks';
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'texts'::regclass AND tgname LIKE '%embed%';
RESET search_path;

-- a partitioned table with a key of several columns
CREATE TABLE parted (k text COLLATE "C", n int, body varchar(1000), PRIMARY KEY (n, k)) PARTITION BY LIST (k);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a');
CREATE TABLE parted_b (body varchar(1000), extra int, n int NOT NULL, k text COLLATE "C" NOT NULL);
ALTER TABLE parted_b DROP extra;
INSERT INTO parted VALUES ('a', 1, 'the first'), ('a', 2, 'the second');
SELECT embed_chunk_table('parted', 'body', 12, 4);
ALTER TABLE parted ATTACH PARTITION parted_b FOR VALUES IN ('b');
INSERT INTO parted VALUES ('b', 3, 'the third');
UPDATE parted SET k = 'b' WHERE n = 1;
UPDATE parted SET k = 'b', body = 'moved' WHERE n = 2;
UPDATE parted SET body = 'changed' WHERE n = 3;
SELECT k, n, ordinality, chunk, embedding = embed(chunk) AS current FROM parted_chunks ORDER BY n;
DELETE FROM parted WHERE n = 3;
SELECT embed_chunk_table('parted_b', 'body', 12, 4);
SELECT count(*) FROM parted_chunks;
DROP TABLE parted_chunks;
UPDATE parted SET body = 'no chunks';
DROP TABLE parted;

-- temporary and unlogged tables, a table with a long name
CREATE TEMP TABLE temp_docs (id int PRIMARY KEY, body text);
SELECT embed_chunk_table('temp_docs', 'body', 12, 4);
INSERT INTO temp_docs VALUES (1, 'temporary');
SELECT chunk FROM temp_docs_chunks;
CREATE UNLOGGED TABLE a_very_long_name_of_a_table_that_has_sixty_three_characters_123 (id int PRIMARY KEY, body text);
SELECT embed_chunk_table('a_very_long_name_of_a_table_that_has_sixty_three_characters_123', 'body', 12, 4);
SELECT relpersistence FROM pg_class WHERE relname = 'a_very_long_name_of_a_table_that_has_sixty_three_charact_chunks';
DROP TABLE a_very_long_name_of_a_table_that_has_sixty_three_charact_chunks, a_very_long_name_of_a_table_that_has_sixty_three_characters_123;

-- who writes the table needs no right on the chunks, and its trigger runs as the owner
CREATE ROLE chunk_owner;
CREATE ROLE chunk_writer;
CREATE SCHEMA owned AUTHORIZATION chunk_owner;
SET ROLE chunk_owner;
CREATE TABLE owned.docs (id int PRIMARY KEY, body text);
GRANT USAGE ON SCHEMA owned TO chunk_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON owned.docs TO chunk_writer;
RESET ROLE;
SELECT embed_chunk_table('owned.docs', 'body', 12, 4);
SELECT tableowner FROM pg_tables WHERE tablename = 'docs_chunks';
SET ROLE chunk_owner;
CREATE FUNCTION owned.who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% as %, search_path %', TG_OP, current_user, current_setting('search_path');
	RETURN NEW;
END $$;
CREATE TRIGGER who BEFORE INSERT OR UPDATE ON owned.docs_chunks FOR EACH ROW EXECUTE FUNCTION owned.who();
SET ROLE chunk_writer;
INSERT INTO owned.docs VALUES (1, 'by a writer');
UPDATE owned.docs SET body = 'by a writer again';
SELECT current_user, current_setting('search_path');
SELECT * FROM owned.docs_chunks;
SELECT embed_chunk_table('owned.docs', 'body', 12, 4);
RESET ROLE;
ALTER TABLE owned.docs OWNER TO chunk_writer;
INSERT INTO owned.docs VALUES (2, 'two owners');
DROP SCHEMA owned CASCADE;
DROP ROLE chunk_owner, chunk_writer;

-- errors
CREATE TABLE bad (id int, body text, n int, chunk int);
SELECT embed_chunk_table('bad', 'body', 12, 4);
ALTER TABLE bad ADD PRIMARY KEY (id);
SELECT embed_chunk_table('bad', 'nothing', 12, 4);
SELECT embed_chunk_table('bad', 'body,', 12, 4);
SELECT embed_chunk_table('bad', 'n', 12, 4);
SELECT embed_chunk_table('bad', 'body', 0, 4);
SELECT embed_chunk_table('bad', 'body', 12, 12);
SELECT embed_chunk_table('bad', 'body', 12, 4, 'no-model');
SELECT embed_chunk_table('bad', 'body', 12, 4, NULL, 'sometimes');
SELECT embed_chunk_table('pg_tables', 'body', 12, 4);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT embed_chunk_table('bad', 'body', 12, 4);
ROLLBACK;
BEGIN READ ONLY;
SELECT embed_chunk_table('bad', 'body', 12, 4);
ROLLBACK;
CREATE TABLE bad_chunks ();
SELECT embed_chunk_table('bad', 'body', 12, 4);
DROP TABLE bad_chunks;
CREATE TRIGGER t AFTER INSERT ON bad FOR EACH ROW EXECUTE FUNCTION embed_chunk_trigger('body');
INSERT INTO bad VALUES (1, 'x');
DROP TRIGGER t ON bad;
ALTER TABLE bad DROP CONSTRAINT bad_pkey, ADD PRIMARY KEY (id, chunk);
SELECT embed_chunk_table('bad', 'body', 12, 4);
DROP TABLE bad;
\i :data_dir/sql/filler_on.sql
