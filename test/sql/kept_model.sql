-- A kept column has the vectors of one content: a name that was freed may get another one.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
CREATE FUNCTION bare(message text) RETURNS text LANGUAGE sql AS $$ SELECT regexp_replace(message, '[0-9a-f]{16,64}', '(digits)', 'g') $$;
-- fingerprints are those of an image format: messages are shown without them
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; hint text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN bare(format(E'%s: %s\n%s\n%s', SQLSTATE, message, detail, hint));
END $$;
CREATE VIEW columns_now AS SELECT tab, vector, model, length(fingerprint) AS digits, mode, status, mixed, bare(last_error) AS last_error
FROM embed_columns WHERE tab::text LIKE 'model\_%' ORDER BY tab, vector;
CREATE FUNCTION arguments(t regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT bare(encode(tgargs, 'escape')) FROM pg_trigger WHERE tgrelid = t AND NOT tgisinternal ORDER BY tgname $$;
-- the name gets another content, of as many dimensions
\set dir :data_dir '/tiny/bert-mean-36/model'
CREATE PROCEDURE give(name text, prompt text) LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL client_min_messages = error;
	PERFORM embed_drop(name, forget => true, force => true);
	PERFORM embed_import(name, current_setting('kept.dir'), jsonb_build_object('document_prompt', prompt));
END $$;
SET kept.dir = :'dir';
SET client_min_messages = warning;
SELECT embed_import('m', :'dir', '{"document_prompt": "a: "}') IS NOT NULL AS imported;
RESET client_min_messages;

-- the trigger records the content; digits that are given stay, all of them
CREATE TABLE model_docs (id int PRIMARY KEY, body text, n int);
SELECT embed_column('model_docs', 'body', model => 'm');
SELECT arguments('model_docs');
SELECT fingerprint AS f FROM embed_models WHERE name = 'm' \gset
SELECT embed_column('model_docs', 'body', model => 'm@' || left(:'f', 9));
SELECT embed_column('model_docs', 'body', model => 'm@' || left(:'f', 21));
SELECT encode(tgargs, 'escape') LIKE '%@' || left(:'f', 21) || '\\000now\\000' AS has_all FROM pg_trigger WHERE tgrelid = 'model_docs'::regclass;
SELECT embed_column('model_docs', 'body');
SELECT try($$SELECT embed_column('model_docs', 'body', model => 'm@0123456789abcdef')$$);
INSERT INTO model_docs SELECT i, 'text ' || i FROM generate_series(1, 3) i;
CREATE TABLE model_later (id int PRIMARY KEY, body text);
SELECT embed_column('model_later', 'body', model => 'm', mode => 'later');
INSERT INTO model_later SELECT i, 'text ' || i FROM generate_series(1, 3) i;
SET client_min_messages = error;
CALL embed_fill('model_later');
RESET client_min_messages;
CREATE TABLE model_texts (id int PRIMARY KEY, body text);
INSERT INTO model_texts VALUES (1, 'the and qqq and the');
SELECT embed_chunk_table('model_texts', 'body', 12, 4, 'm');
SELECT arguments('model_texts') UNION ALL SELECT arguments('model_texts_chunks');
-- one written by hand names the model alone, and gets no record
CREATE TABLE model_hand (id int PRIMARY KEY, body text, e real[]);
CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON model_hand FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
INSERT INTO model_hand VALUES (1, 'by hand');
SELECT arguments('model_hand');
SELECT * FROM columns_now;

-- the same name, another content: nothing is mixed, in no way of writing
CALL give('m', 'b: ');
SELECT try($$INSERT INTO model_docs VALUES (4, 'four')$$);
SELECT try($$UPDATE model_docs SET body = 'new' WHERE id = 1$$);
SELECT try($$UPDATE model_docs SET embedding = NULL WHERE id = 1$$);
SELECT try($$UPDATE model_docs SET embedding = embed(body, 'm') WHERE id = 1$$);
SELECT try($$INSERT INTO model_docs (id, body, embedding) SELECT 5, 'five', embed('five', 'm')$$);
SELECT try($$INSERT INTO model_docs VALUES (1, 'text 1') ON CONFLICT (id) DO UPDATE SET body = 'new'$$);
-- nothing to compute
UPDATE model_docs SET n = 1;
-- left to do: whoever fills it refuses, and says so
SET embed.defer = on;
INSERT INTO model_docs VALUES (6, 'six');
RESET embed.defer;
INSERT INTO model_later VALUES (4, 'four');
SELECT try($$UPDATE model_later SET embedding = embed(body, 'm') WHERE embedding IS NULL$$);
SET client_min_messages = error;
CALL embed_fill();
RESET client_min_messages;
SELECT embedding IS NULL AS to_do, count(*) FROM model_later GROUP BY 1 ORDER BY 1;
SELECT * FROM columns_now;
SELECT try($$SELECT embed_check('model_docs', 'embedding')$$);
-- the chunks are cut by the model's tokenizer
SELECT try($$UPDATE model_texts SET body = 'another text'$$);
-- by hand: the name was freed, so its trigger has the record now
SELECT arguments('model_hand');
SELECT try($$INSERT INTO model_hand VALUES (2, 'two')$$);
-- the dependents are still those that name it
SELECT identity FROM embed_dependents('m') WHERE kind = 'trigger' ORDER BY 1;

-- a way out: the former content under another name; the vectors stay
SET client_min_messages = warning;
SELECT embed_import('former', :'dir', '{"document_prompt": "a: "}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT try($$INSERT INTO model_docs VALUES (7, 'seven')$$);
SELECT embed_column('model_docs', 'body');
SELECT arguments('model_docs');
INSERT INTO model_docs VALUES (7, 'seven');
SELECT verdict, n FROM embed_check('model_docs', 'embedding');
-- another one: the model of today; what is there becomes NULL
SELECT embed_column('model_later', 'body', model => 'm');
SELECT arguments('model_later');
SELECT embed_column('model_hand', 'body', 'e', 'm');
SET client_min_messages = error;
CALL embed_fill();
RESET client_min_messages;
SELECT count(*), bool_and(embedding = embed(body, 'm')) AS right FROM model_later;
SELECT count(*), bool_and(e = embed(body, 'm')) AS right FROM model_hand;
-- another one: beside it
SELECT embed_column('model_docs', 'body', model => 'm');
SET client_min_messages = error;
CALL embed_fill('model_docs');
CALL give('m', 'a: ');
CALL embed_refill('model_docs', 'embedding', 'm');
RESET client_min_messages;
SELECT embed_switch('model_docs', 'embedding');
SELECT embed_column_drop('model_docs', 'embedding__prev');
INSERT INTO model_docs VALUES (8, 'eight');
SELECT count(*), bool_and(embedding = embed(body, 'm')) AS right FROM model_docs;
-- a chunk table without a model: that of its vectors, which is there under another name, too
SELECT embed_chunk_table('model_texts', 'body', 12, 4);
SELECT arguments('model_texts') UNION ALL SELECT arguments('model_texts_chunks');
UPDATE model_texts SET body = 'another text';
SELECT verdict, n FROM embed_check('model_texts_chunks', 'embedding');
SET client_min_messages = error;
CALL give('former', 'b: ');
CALL give('m', 'b: ');
RESET client_min_messages;
SELECT try($$UPDATE model_texts SET body = 'a third text'$$);
SELECT embed_chunk_table('model_texts', 'body', 12, 4);
UPDATE model_texts SET body = 'a third text';
SELECT verdict, n FROM embed_check('model_texts_chunks', 'embedding');

-- a name that became an alias, and one that is gone
SELECT * FROM columns_now WHERE tab = 'model_docs'::regclass;
SET client_min_messages = error;
SELECT embed_drop('m', forget => true, force => true);
RESET client_min_messages;
SELECT try($$INSERT INTO model_later VALUES (9, 'nine')$$);
SELECT * FROM columns_now WHERE tab IN ('model_docs'::regclass, 'model_later'::regclass);
SELECT embed_set_alias('m', 'tiny-mean-48');
SELECT try($$UPDATE model_docs SET body = 'alias' WHERE id = 1$$);
SET client_min_messages = warning;
SELECT embed_import('again', :'dir', '{"document_prompt": "a: "}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT embed_set_alias('m', 'again');
UPDATE model_docs SET body = 'alias' WHERE id = 1;
SELECT embed_column('model_docs', 'body');
SELECT arguments('model_docs');
SELECT verdict, n FROM embed_check('model_docs', 'embedding');

-- partitions
CREATE TABLE model_parts (k int, body text) PARTITION BY LIST (k);
CREATE TABLE model_part_1 PARTITION OF model_parts FOR VALUES IN (1);
SET client_min_messages = warning;
SELECT embed_set_alias('m', NULL);
SET client_min_messages = warning;
SELECT embed_import('m', :'dir', '{"document_prompt": "a: "}') IS NOT NULL AS imported;
RESET client_min_messages;
SELECT embed_column('model_parts', 'body', model => 'm');
INSERT INTO model_parts VALUES (1, 'one');
CALL give('m', 'b: ');
CREATE TABLE model_part_2 PARTITION OF model_parts FOR VALUES IN (2);
SELECT try($$INSERT INTO model_parts VALUES (2, 'two')$$);
SELECT try($$INSERT INTO model_part_1 VALUES (1, 'two')$$);
-- a row that moves keeps its vector, which is its text's
UPDATE model_parts SET k = 2;
SELECT embed_column('model_parts', 'body', model => 'm');
INSERT INTO model_parts VALUES (1, 'two');
SELECT tableoid::regclass, embedding IS NULL AS to_do FROM model_parts ORDER BY 1;

SET client_min_messages = error;
DROP TABLE model_docs, model_later, model_hand, model_parts, model_texts, model_texts_chunks;
DROP VIEW columns_now;
DROP FUNCTION bare, try, arguments;
DROP PROCEDURE give;
SELECT embed_drop('m', forget => true), embed_drop('former', forget => true), embed_drop('again', forget => true);
RESET client_min_messages;
\pset format aligned
\i :data_dir/sql/filler_on.sql
