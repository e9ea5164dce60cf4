-- embed_column: what a newcomer does wrong, and what tables do afterwards
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql
\set SHOW_CONTEXT never
SELECT embed_set_default('tiny-mean-36');
CREATE FUNCTION mistakes_kept(t regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(pg_get_triggerdef(oid), '@[0-9a-f]{16}', '@(16 digits)') FROM pg_trigger WHERE tgrelid = t ORDER BY tgname $$;

-- a second source given as the third argument: no text becomes NULL
CREATE TABLE mistakes (id int PRIMARY KEY, title text, body varchar(20), label char(5));
INSERT INTO mistakes VALUES (1, 'a title', 'a body', 'abc');
SELECT embed_column('mistakes', 'title', 'body');
SELECT embed_column('mistakes', 'title', 'label');
SELECT * FROM mistakes;
-- names of one column are read as those of several: as SQL writes them, or this very column
ALTER TABLE mistakes ADD COLUMN "Full, text" text;
SELECT embed_column('mistakes', 'TITLE', 'e1');
SELECT embed_column('mistakes', ' Title ', 'e1');
SELECT embed_column('mistakes', 'Full, text', 'e2');
SELECT embed_column('mistakes', 'Title,"Full, text"', 'e3');
SELECT * FROM mistakes_kept('mistakes');
SELECT embed_column('mistakes', 'titel', 'e4');
SELECT embed_column('mistakes', 'title body', 'e4');
-- the hint's UPDATE is right for any types of texts
SELECT embed_column('mistakes', 'title, label, body', 'e4', mode => 'later');
UPDATE public.mistakes SET e4 = embed(array_to_string(ARRAY[title, label::text, body::text], E'\n\n'), 'tiny-mean-36') WHERE e4 IS NULL;
SELECT verdict, n FROM embed_check('mistakes', 'e4');
SET search_path = pg_catalog;
SELECT public.embed_column('public.mistakes', 'title', 'e5');
UPDATE public.mistakes SET e5 = public.embed(title, 'tiny-mean-36') WHERE e5 IS NULL AND (title IS NOT NULL);
RESET search_path;
SELECT verdict, n FROM embed_check('mistakes', 'e5');
-- tables of the extension
SELECT embed_column('_embed.model', 'name');
SELECT embed_chunk_table('_embed.model', 'name', 20, 5);
-- rules
CREATE TABLE mistakes_rule (id int PRIMARY KEY, body text, embedding float4[]);
INSERT INTO mistakes_rule VALUES (1, 'one', '{1}');
CREATE RULE mistakes_none AS ON UPDATE TO mistakes_rule DO INSTEAD NOTHING;
SELECT embed_column('mistakes_rule', 'body');
DROP RULE mistakes_none ON mistakes_rule;
SELECT embed_column('mistakes_rule', 'body');
-- child tables
CREATE TABLE mistakes_parent (id int, body text);
CREATE TABLE mistakes_child () INHERITS (mistakes_parent);
SELECT embed_column('mistakes_parent', 'body');

-- the column of vectors is renamed where no event trigger fires (kept_alter has it with them), or dropped
UPDATE mistakes_rule SET embedding = NULL;
ALTER EVENT TRIGGER embed_trigger_made DISABLE;
ALTER TABLE mistakes_rule RENAME embedding TO vectors;
INSERT INTO mistakes_rule (id, body) VALUES (2, 'two');
SELECT embed_column('mistakes_rule', 'body', 'vectors');
INSERT INTO mistakes_rule (id, body) VALUES (2, 'two');
SELECT verdict, n FROM embed_check('mistakes_rule', 'vectors');
ALTER TABLE mistakes_rule DROP COLUMN vectors;
SELECT embed_column('mistakes_rule', 'body', 'vectors');
SELECT * FROM mistakes_kept('mistakes_rule');
-- two columns change their names: the vectors are those of other texts
UPDATE mistakes_rule SET vectors = NULL;
SELECT verdict, n FROM embed_check('mistakes_rule', 'vectors');
ALTER TABLE mistakes_rule ADD COLUMN body_new text;
UPDATE mistakes_rule SET body_new = 'new ' || body;
ALTER TABLE mistakes_rule RENAME body TO body_old;
ALTER TABLE mistakes_rule RENAME body_new TO body;
SELECT verdict, n FROM embed_check('mistakes_rule', 'vectors') WHERE n IS NOT NULL;
SELECT embed_column('mistakes_rule', 'body', 'vectors');
SELECT verdict, n FROM embed_check('mistakes_rule', 'vectors');
ALTER EVENT TRIGGER embed_trigger_made ENABLE ALWAYS;

DROP TABLE mistakes, mistakes_rule, mistakes_parent, mistakes_child;
DROP FUNCTION mistakes_kept;
SELECT embed_set_default('tiny-cls');
\i :data_dir/sql/filler_on.sql
