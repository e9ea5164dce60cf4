-- embed_trigger: several source columns, mode later, embed.defer, embed.accept_vectors.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql

-- several columns make a text: a blank line between them, NULLs left out
CREATE TABLE modes (id int PRIMARY KEY, title text, "Body, long" varchar(100), embedding float4[], note text);
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON modes FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'TITLE, "Body, long"', 'tiny-mean-36');
CREATE VIEW modes_state AS
SELECT id, title, "Body, long", embedding IS NULL AS is_null,
	embedding = embed(array_to_string(ARRAY[title, "Body, long"], E'\n\n'), 'tiny-mean-36') AS current FROM modes;
INSERT INTO modes VALUES (1, 'a', 'b'), (2, NULL, 'b'), (3, 'a', NULL), (4, NULL, NULL), (5, '', 'b');
SELECT * FROM modes_state ORDER BY id;
UPDATE modes SET title = 'c' WHERE id IN (1, 4);
UPDATE modes SET "Body, long" = NULL WHERE id IN (1, 2);
UPDATE modes SET note = 'touched';
SELECT * FROM modes_state ORDER BY id;
-- lists that name no text
CREATE TRIGGER bad BEFORE INSERT ON modes FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'title, nosuch', 'tiny-mean-36');
CREATE TRIGGER bad BEFORE INSERT ON modes FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'title,', 'tiny-mean-36');
CREATE TRIGGER bad BEFORE INSERT ON modes FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'title, "note', 'tiny-mean-36');
CREATE TRIGGER bad BEFORE INSERT ON modes FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'title, title', 'tiny-mean-36');
CREATE TRIGGER bad BEFORE INSERT ON modes FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'title, embedding', 'tiny-mean-36');
CREATE TRIGGER bad BEFORE INSERT ON modes FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'title, id', 'tiny-mean-36');
CREATE TRIGGER bad BEFORE INSERT ON modes FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'title', 'tiny-mean-36', 'soon');
-- upserts and moved rows know their vectors by all source columns
INSERT INTO modes VALUES (5, '', 'b') ON CONFLICT (id) DO UPDATE SET title = 'd', embedding = excluded.embedding;
SELECT * FROM modes_state WHERE id = 5;
ALTER TABLE modes RENAME title TO heading;
INSERT INTO modes VALUES (6, 'a', 'b');
DROP VIEW modes_state;
DROP TABLE modes;

-- mode later leaves NULL, which is to do
CREATE TABLE modes (id int PRIMARY KEY, body text, embedding float4[], note text);
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON modes FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-36', 'later');
CREATE VIEW modes_state AS
SELECT id, body, embedding IS NULL AS is_null, embedding = embed(body, 'tiny-mean-36') AS current FROM modes;
INSERT INTO modes VALUES (1, 'one', NULL), (2, 'two', NULL), (3, NULL, NULL), (4, 'four', '{1,2,3}');
SELECT * FROM modes_state ORDER BY id;
-- whoever fills NULLs is right, and nobody else
UPDATE modes SET embedding = embed(body, 'tiny-mean-36') WHERE id < 3;
UPDATE modes SET embedding = embed('another', 'tiny-mean-36') WHERE id = 4;
SELECT * FROM modes_state ORDER BY id;
-- kept while the text is the same
UPDATE modes SET note = 'touched', body = body || '';
UPDATE modes SET embedding = '{1,2,3}' WHERE id = 1;
SELECT * FROM modes_state ORDER BY id;
UPDATE modes SET body = 'new' WHERE id = 1;
UPDATE modes SET body = NULL WHERE id = 2;
SELECT * FROM modes_state ORDER BY id;
-- mode now of the same table computes what is to do; embed.defer leaves it
DROP TRIGGER zz_embed ON modes;
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON modes FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-36', 'now');
SET embed.defer = on;
COPY modes (id, body) FROM stdin;
5	five
\.
UPDATE modes SET note = 'deferred';
SELECT * FROM modes_state ORDER BY id;
RESET embed.defer;
UPDATE modes SET note = 'now';
SELECT * FROM modes_state ORDER BY id;

-- embed.accept_vectors takes the user's word, where a vector has the model's form
SET embed.accept_vectors = on;
INSERT INTO modes SELECT 6, 'six', embed('another', 'tiny-mean-36');
INSERT INTO modes VALUES (7, 'seven', NULL), (8, NULL, '{1,2}');
UPDATE modes SET embedding = embed('another', 'tiny-mean-36') WHERE id = 5;
INSERT INTO modes VALUES (9, 'nine', '{1,2,3}');
INSERT INTO modes SELECT 9, 'nine', array_fill('NaN'::float4, ARRAY[36]);
UPDATE modes SET embedding = '{{1},{2}}' WHERE id = 6;
SELECT id, embedding = embed('another', 'tiny-mean-36') AS given, is_null, current FROM modes_state JOIN modes USING (id) WHERE id > 4 ORDER BY id;
-- a changed text ends it
UPDATE modes SET body = 'changed' WHERE id = 6;
SELECT * FROM modes_state WHERE id = 6;
RESET embed.accept_vectors;
UPDATE modes SET note = 'kept';
SELECT count(*) FROM modes_state WHERE NOT current;
DROP VIEW modes_state;
DROP TABLE modes;
-- a type that does not give the elements back: rows that are to do can be filled
CREATE TABLE modes (id int, body text, embedding numeric(4, 2)[]);
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON modes FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-36', 'later');
INSERT INTO modes SELECT i, 'text ' || i FROM generate_series(1, 20) i;
UPDATE modes SET embedding = embed(body, 'tiny-mean-36') WHERE embedding IS NULL;
SELECT verdict, n FROM embed_check('modes', 'embedding');
UPDATE modes SET embedding = NULL WHERE id < 3;
UPDATE modes SET embedding = embed('another', 'tiny-mean-36') WHERE id = 1;
UPDATE modes SET embedding = embed(body, 'tiny-mean-48') WHERE id = 2;
SELECT verdict, n FROM embed_check('modes', 'embedding');
DROP TABLE modes;
-- a type whose cast makes NULL of a vector that is given
CREATE TYPE boxed AS (x float4[]);
CREATE FUNCTION box_floats(float4[]) RETURNS boxed LANGUAGE sql AS 'SELECT ROW($1)::boxed';
CREATE FUNCTION unbox_floats(boxed) RETURNS float4[] LANGUAGE sql AS 'SELECT ($1).x';
CREATE CAST (float4[] AS boxed) WITH FUNCTION box_floats(float4[]) AS ASSIGNMENT;
CREATE CAST (boxed AS float4[]) WITH FUNCTION unbox_floats(boxed);
CREATE TABLE modes (body text, embedding boxed);
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON modes FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-36');
SET embed.accept_vectors = on;
INSERT INTO modes SELECT 'x', ROW(NULL)::boxed;
INSERT INTO modes SELECT 'x', embed('x', 'tiny-mean-36');
UPDATE modes SET embedding = ROW(NULL)::boxed;
RESET embed.accept_vectors;
SELECT count(*) FROM modes WHERE embedding::float4[] = embed(body, 'tiny-mean-36');
DROP TABLE modes;
SET client_min_messages = warning;
DROP TYPE boxed CASCADE;
RESET client_min_messages;
\i :data_dir/sql/filler_on.sql
