-- embed_refill, embed_switch
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql
SELECT embed_set_alias('refill-alias', 'tiny-mean-36');
CREATE FUNCTION state(t regclass) RETURNS TABLE (kind text, definition text) LANGUAGE sql AS $$
	SELECT 'column', attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
	WHERE attrelid = t AND attnum > 0 AND NOT attisdropped AND atttypid = 'float4[]'::regtype
	UNION ALL SELECT 'trigger', tgname || ' ' || regexp_replace(encode(tgargs, 'escape'), '@[0-9a-f]{16}', '@(16 digits)') || ' ' || tgenabled::text FROM pg_trigger WHERE tgrelid = t
	UNION ALL SELECT 'index', pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = t AND NOT indisprimary
	ORDER BY 1, 2 $$;
-- times and speeds differ
CREATE PROCEDURE refill(t regclass, v name, m text) LANGUAGE plpgsql AS $$ BEGIN CALL embed_refill(t, v, m); END $$;

CREATE TABLE refill_docs (id int PRIMARY KEY, title text, body text);
INSERT INTO refill_docs SELECT i, CASE WHEN i % 3 = 0 THEN 'title ' || i END, 'body ' || i FROM generate_series(1, 30) i;
INSERT INTO refill_docs VALUES (31, NULL, NULL);
SET client_min_messages = warning;
SELECT embed_column('refill_docs', 'title, body', 'embedding', 'tiny-mean-36');
CALL embed_fill('refill_docs');
RESET client_min_messages;

-- nothing to switch to
SELECT embed_switch('refill_docs', 'embedding');
SELECT embed_switch('refill_docs', 'body');
SELECT embed_switch('refill_docs', 'nosuch');
-- refused
CALL embed_refill('refill_docs', 'embedding', 'nosuch');
\set VERBOSITY sqlstate
CALL embed_refill('refill_docs', 'embedding', 'tiny-mean-48@00000000');
\set VERBOSITY default
CALL embed_refill('refill_docs', 'embedding', 'tiny-mean-36');
CALL embed_refill('refill_docs', 'embedding', 'refill-alias');
CALL embed_refill('refill_docs', 'body', 'tiny-mean-48');
CALL embed_refill('refill_docs', NULL, 'tiny-mean-48');
CALL embed_refill('refill_docs', 'embedding', NULL);
CALL embed_refill('pg_class', 'relname', 'tiny-mean-48');
BEGIN;
CALL embed_refill('refill_docs', 'embedding', 'tiny-mean-48');
ROLLBACK;
SET client_min_messages = warning;
CALL refill('refill_docs', 'embedding', 'tiny-cls');
RESET client_min_messages;
-- the procedure that called it was no transaction block: it is done
SELECT vector, model, mode, to_do, status FROM embed_columns WHERE tab = 'refill_docs'::regclass ORDER BY 1;
SELECT embed_column_drop('refill_docs', 'embedding__next');
ALTER TABLE refill_docs DROP COLUMN embedding__next;

-- filled, and kept
SET client_min_messages = warning;
CALL embed_refill('refill_docs', 'embedding', 'tiny-mean-48');
RESET client_min_messages;
INSERT INTO refill_docs VALUES (32, NULL, 'new');
UPDATE refill_docs SET title = 'changed' WHERE id = 1;
SELECT verdict, n FROM embed_check('refill_docs', 'embedding__next');
SELECT * FROM state('refill_docs');
-- again: complete; another model: refused, with the way out
CALL embed_refill('refill_docs', 'embedding', 'tiny-mean-48');
CALL embed_refill('refill_docs', 'embedding', 'tiny-cls');
CALL embed_refill('refill_docs', 'embedding__next', 'tiny-cls');
SELECT embed_switch('refill_docs', 'embedding__next');
-- rows to do
UPDATE refill_docs SET body = body || '!' WHERE id <= 3;
ALTER TABLE refill_docs DISABLE TRIGGER zz_embed_embedding__next;
SELECT embed_switch('refill_docs', 'embedding');
UPDATE refill_docs SET embedding__next = NULL WHERE id <= 3;
ALTER TABLE refill_docs ENABLE TRIGGER zz_embed_embedding__next;
SELECT embed_switch('refill_docs', 'embedding');
SET client_min_messages = warning;
CALL embed_refill('refill_docs', 'embedding', 'tiny-mean-48');
RESET client_min_messages;
-- a snapshot that would not show rows
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT embed_switch('refill_docs', 'embedding');
ROLLBACK;

-- the switch, and back; what the trigger was told stays
ALTER TABLE refill_docs ENABLE ALWAYS TRIGGER zz_embed_embedding;
COMMENT ON COLUMN refill_docs.embedding IS 'for searches';
SET embed.model = 'refill-alias';
SELECT embed_switch('refill_docs', 'embedding');
RESET embed.model;
SELECT * FROM state('refill_docs');
SELECT verdict, n FROM embed_check('refill_docs', 'embedding') UNION ALL SELECT verdict, n FROM embed_check('refill_docs', 'embedding__prev');
INSERT INTO refill_docs VALUES (33, NULL, 'newer');
SELECT embedding = embed(body, 'tiny-mean-48') AS new, embedding__prev = embed(body, 'tiny-mean-36') AS old, (SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'refill_docs'::regclass AND attname = 'embedding') AS comment FROM refill_docs WHERE id = 33;
CALL embed_refill('refill_docs', 'embedding', 'tiny-cls');
SELECT embed_switch('refill_docs', 'embedding');
SELECT * FROM state('refill_docs');
INSERT INTO refill_docs VALUES (34, NULL, 'newest');
SELECT embedding = embed(body, 'tiny-mean-36') AS old, embedding__next = embed(body, 'tiny-mean-48') AS new FROM refill_docs WHERE id = 34;
-- rolled back
BEGIN;
SELECT embed_switch('refill_docs', 'embedding');
ROLLBACK;
SELECT model FROM embed_columns WHERE tab = 'refill_docs'::regclass AND vector = 'embedding';
-- a query of the table itself cannot switch it
SELECT embed_switch('refill_docs', 'embedding') FROM refill_docs;

-- indexes: the statement for each that is missing
CREATE INDEX refill_gin ON refill_docs USING gin (embedding) WITH (fastupdate = off);
CREATE INDEX refill_two ON refill_docs (id DESC NULLS LAST, (embedding[1]) DESC, lower(title COLLATE "C") text_pattern_ops) INCLUDE (title) WHERE embedding IS NOT NULL AND embedding[2] > 0;
CREATE INDEX refill_title ON refill_docs (title);
SELECT embed_switch('refill_docs', 'embedding');
CREATE INDEX refill_docs_embedding__next_idx ON public.refill_docs USING gin (embedding__next);
SELECT embed_switch('refill_docs', 'embedding');
-- nearly like it
CREATE INDEX refill_wrong_1 ON refill_docs (id DESC NULLS LAST, (embedding__next[1]) DESC, lower(title COLLATE "C")) INCLUDE (title) WHERE embedding__next IS NOT NULL AND embedding__next[2] > 0;
CREATE INDEX refill_wrong_2 ON refill_docs (id DESC NULLS LAST, (embedding__next[1]) DESC, lower(title COLLATE "C") text_pattern_ops) INCLUDE (title) WHERE embedding__next IS NOT NULL;
CREATE INDEX refill_wrong_3 ON refill_docs (id, (embedding__next[1]) DESC, lower(title COLLATE "C") text_pattern_ops) INCLUDE (title) WHERE embedding__next IS NOT NULL AND embedding__next[2] > 0;
SELECT embed_switch('refill_docs', 'embedding');
DROP INDEX refill_wrong_1, refill_wrong_2, refill_wrong_3;
CREATE INDEX refill_docs_embedding__next_idx1 ON public.refill_docs USING btree (id DESC NULLS LAST, (embedding__next[1]) DESC, (lower((title COLLATE "C"))) text_pattern_ops) INCLUDE (title) WHERE ((embedding__next IS NOT NULL) AND (embedding__next[2] > (0)::double precision));
SELECT embed_switch('refill_docs', 'embedding');
SELECT * FROM state('refill_docs') WHERE kind = 'index';
SELECT embed_switch('refill_docs', 'embedding');
SELECT * FROM state('refill_docs') WHERE kind = 'index';
DROP INDEX refill_gin, refill_two, refill_docs_embedding__next_idx, refill_docs_embedding__next_idx1;

-- what goes by the column's number: refused by name
CREATE VIEW refill_view AS SELECT id, embedding FROM refill_docs;
CREATE MATERIALIZED VIEW refill_matview AS SELECT embedding[1] AS one FROM refill_docs;
ALTER TABLE refill_docs ADD n int GENERATED ALWAYS AS (cardinality(embedding)) STORED, ADD CHECK (embedding[1] < 100);
CREATE STATISTICS refill_statistics ON title, embedding FROM refill_docs;
CREATE POLICY refill_policy ON refill_docs USING (embedding IS NOT NULL);
CREATE FUNCTION refill_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER refill_trigger AFTER UPDATE OF embedding ON refill_docs FOR EACH ROW EXECUTE FUNCTION refill_nothing();
SELECT embed_switch('refill_docs', 'embedding');
BEGIN;
SET LOCAL client_min_messages = warning;
DROP VIEW refill_view;
DROP MATERIALIZED VIEW refill_matview;
DROP TRIGGER refill_trigger ON refill_docs;
DROP POLICY refill_policy ON refill_docs;
DROP STATISTICS refill_statistics;
ALTER TABLE refill_docs DROP n, DROP CONSTRAINT refill_docs_embedding_check;
SELECT embed_switch('refill_docs', 'embedding');
CREATE VIEW refill_view AS SELECT id, embedding FROM refill_docs;
COMMIT;
SELECT count(*) AS wrong FROM refill_view JOIN refill_docs d USING (id) WHERE refill_view.embedding IS DISTINCT FROM embed(array_to_string(ARRAY[title, NULLIF(body, '')], E'\n\n'), 'tiny-mean-48') AND d.body IS NOT NULL;
DROP VIEW refill_view;
SELECT embed_switch('refill_docs', 'embedding');
-- NOT NULL
DELETE FROM refill_docs WHERE body IS NULL;
ALTER TABLE refill_docs ALTER embedding SET NOT NULL, ALTER embedding SET DEFAULT '{1}';
SELECT embed_switch('refill_docs', 'embedding');
ALTER TABLE public.refill_docs ALTER COLUMN embedding__next SET NOT NULL;
-- rights on the column go with its name
CREATE ROLE regress_refill_reader;
CREATE ROLE regress_refill_other;
GRANT SELECT (id, embedding), UPDATE (embedding) ON refill_docs TO regress_refill_reader WITH GRANT OPTION;
GRANT SELECT (embedding) ON refill_docs TO PUBLIC;
SELECT embed_switch('refill_docs', 'embedding');
SELECT attname, attacl::text ~ 'regress_refill_reader=r\*w\*' AS has, attacl::text ~ '[{,]=r/' AS public FROM pg_attribute WHERE attrelid = 'refill_docs'::regclass AND attname LIKE 'embedding%' ORDER BY 1;
SET ROLE regress_refill_other;
SELECT count(embedding) > 0 AS reads FROM refill_docs;
SELECT embed_switch('refill_docs', 'embedding');
CALL embed_refill('refill_docs', 'embedding', 'tiny-cls');
RESET ROLE;
-- a column that is kept for other texts
ALTER TABLE refill_docs ALTER embedding DROP NOT NULL, ALTER embedding__prev DROP NOT NULL, ALTER embedding__prev DROP DEFAULT;
SET client_min_messages = warning;
SELECT embed_column('refill_docs', 'body', 'embedding__prev');
RESET client_min_messages;
SELECT embed_switch('refill_docs', 'embedding');
-- the end
SELECT embed_column_drop('refill_docs', 'embedding__prev');
SELECT embed_switch('refill_docs', 'embedding');
CALL embed_refill('refill_docs', 'embedding', 'tiny-cls');
ALTER TABLE refill_docs DROP COLUMN embedding__prev;
-- a column of that name that is not ours to fill
ALTER TABLE refill_docs ADD embedding__next text;
CALL embed_refill('refill_docs', 'embedding', 'tiny-cls');
ALTER TABLE refill_docs DROP embedding__next;
-- what an earlier refill left
ALTER TABLE refill_docs ADD embedding__next float4[] DEFAULT '{1,2}';
SET client_min_messages = warning;
CALL embed_refill('refill_docs', 'embedding', 'tiny-cls');
RESET client_min_messages;
SELECT verdict, n FROM embed_check('refill_docs', 'embedding__next');
SELECT embed_column_drop('refill_docs', 'embedding__next');
ALTER TABLE refill_docs DROP embedding__next;
-- both names are taken
ALTER TABLE refill_docs ADD embedding__next float4[], ADD embedding__prev float4[];
SELECT embed_switch('refill_docs', 'embedding');
DROP TABLE refill_docs;

-- names
CREATE SCHEMA "Odd; refill";
CREATE TABLE "Odd; refill"."T ""q""" ("The, Text" text, " t" text);
INSERT INTO "Odd; refill"."T ""q""" VALUES ('a', 'b');
SET client_min_messages = warning;
SELECT embed_column('"Odd; refill"."T ""q"""', '"The, Text", " t"', 'V'' "v"', 'tiny-mean-36');
CALL embed_refill('"Odd; refill"."T ""q"""', 'V'' "v"', 'tiny-mean-48');
RESET client_min_messages;
SELECT verdict, n FROM embed_check('"Odd; refill"."T ""q"""', 'V'' "v"__next');
CREATE INDEX "I ""x" ON "Odd; refill"."T ""q""" USING gin ("V' ""v""");
SELECT embed_switch('"Odd; refill"."T ""q"""', 'V'' "v"');
CREATE INDEX "T ""q""_V' ""v""__next_idx" ON "Odd; refill"."T ""q""" USING gin ("V' ""v""__next");
SELECT embed_switch('"Odd; refill"."T ""q"""', 'V'' "v"');
SELECT * FROM state('"Odd; refill"."T ""q"""');
SET client_min_messages = error;
DROP SCHEMA "Odd; refill" CASCADE;
CREATE TABLE refill_long (body text);
SELECT embed_column('refill_long', 'body', repeat('x', 58), 'tiny-mean-36');
RESET client_min_messages;
CALL embed_refill('refill_long', repeat('x', 58), 'tiny-mean-48');

-- tables that share their columns
CREATE TABLE refill_parent (id int, body text);
SET client_min_messages = warning;
SELECT embed_column('refill_parent', 'body', 'e', 'tiny-mean-36');
RESET client_min_messages;
CREATE TABLE refill_child () INHERITS (refill_parent);
CALL embed_refill('refill_parent', 'e', 'tiny-mean-48');
SET client_min_messages = warning;
DROP TABLE refill_long, refill_parent CASCADE;
-- a temporary table, a table that its owner may not see
CREATE TEMP TABLE refill_temp (body text);
INSERT INTO refill_temp VALUES ('x');
SELECT embed_column('refill_temp', 'body', 'e', 'tiny-mean-36');
CALL embed_refill('refill_temp', 'e', 'tiny-mean-48');
CALL embed_fill('refill_temp');
SELECT embed_switch('refill_temp', 'e');
SELECT e = embed(body, 'tiny-mean-48') AS new, e__prev = embed(body, 'tiny-mean-36') AS old FROM refill_temp;
SELECT embed_column_drop('refill_temp', 'e__prev');
ALTER TABLE refill_temp DROP e__prev;
ALTER TABLE refill_temp ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CALL embed_refill('refill_temp', 'e', 'tiny-cls');
DROP TABLE refill_temp;
DROP ROLE regress_refill_reader, regress_refill_other;
DROP FUNCTION state, refill_nothing;
DROP PROCEDURE refill;
SELECT embed_set_alias('refill-alias', NULL);
\i :data_dir/sql/filler_on.sql
