-- embed_trigger.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

CREATE TABLE trigger_docs (id int PRIMARY KEY, body text, embedding float4[], note text);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON trigger_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body');
CREATE VIEW trigger_state AS
SELECT id, body, embedding IS NULL AS is_null, embedding = embed(body) AS current FROM trigger_docs;

INSERT INTO trigger_docs VALUES (1, 'first'), (2, NULL), (3, ''), (4, 'fourth');
SELECT * FROM trigger_state ORDER BY id;
-- the trigger owns the column
INSERT INTO trigger_docs VALUES (5, 'fifth', '{1,2,3}'), (6, NULL, '{1,2,3}');
UPDATE trigger_docs SET embedding = '{4,5,6}' WHERE id IN (1, 2);
SELECT * FROM trigger_state ORDER BY id;
UPDATE trigger_docs SET body = 'new ' || id WHERE id IN (1, 2);
UPDATE trigger_docs SET body = NULL WHERE id = 4;
SELECT * FROM trigger_state ORDER BY id;

-- recomputed only if the source changed: by another model it would show
ALTER TABLE trigger_docs DISABLE TRIGGER embed;
UPDATE trigger_docs SET embedding = '{7}' WHERE id IN (1, 2);
ALTER TABLE trigger_docs ENABLE TRIGGER embed;
UPDATE trigger_docs SET note = 'touched', body = body || '';
SELECT id, embedding FROM trigger_docs WHERE id IN (1, 2) ORDER BY id;
-- NULL asks for it
UPDATE trigger_docs SET embedding = NULL WHERE id IN (1, 2);
SELECT * FROM trigger_state ORDER BY id;
-- a long source that did not change, out of line
INSERT INTO trigger_docs SELECT 7, string_agg(md5(i::text), ' ') FROM generate_series(1, 500) i;
UPDATE trigger_docs SET note = 'touched' WHERE id = 7;
SELECT id, current FROM trigger_state WHERE id = 7;
-- COPY, ON CONFLICT, a changed table
COPY trigger_docs (id, body) FROM stdin;
8	eighth
\.
INSERT INTO trigger_docs VALUES (8, 'eighth again') ON CONFLICT (id) DO UPDATE SET body = excluded.body;
ALTER TABLE trigger_docs ADD extra int DEFAULT 1, DROP note;
UPDATE trigger_docs SET body = body || '!' WHERE id = 8;
SELECT * FROM trigger_state WHERE id = 8;
DROP VIEW trigger_state;
DROP TABLE trigger_docs;

-- model or alias
SELECT embed_set_alias('current', 'tiny-mean-36');
CREATE TABLE trigger_docs (body varchar(100), embedding float8[], other numeric[]);
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON trigger_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'current');
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON trigger_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('other', 'body', 'tiny-mean-48');
INSERT INTO trigger_docs VALUES ('x');
SELECT embedding = embed(body, 'tiny-mean-36')::float8[] AS current, array_length(other, 1) AS other FROM trigger_docs;
SELECT embed_set_alias('current', 'tiny-mean-48');
UPDATE trigger_docs SET body = 'y';
SELECT array_length(embedding, 1) AS dim FROM trigger_docs;
SELECT embed_set_alias('current', NULL);
UPDATE trigger_docs SET body = 'z';
DROP TABLE trigger_docs;

-- domains over both columns; char is embedded as text, without its padding
CREATE DOMAIN trigger_vector AS float4[] CHECK (array_length(value, 1) = 64);
CREATE DOMAIN trigger_text AS text CHECK (value <> 'forbidden');
CREATE TABLE trigger_docs (body trigger_text, padded char(10), embedding trigger_vector, e2 trigger_vector);
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON trigger_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body');
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON trigger_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('e2', 'padded');
INSERT INTO trigger_docs VALUES ('a', 'a');
SELECT embedding = embed('a') AS current, e2 = embed('a') AS current_2 FROM trigger_docs;
SET embed.model = 'tiny-mean-36';
INSERT INTO trigger_docs VALUES ('a');
RESET embed.model;
DROP TABLE trigger_docs;
CREATE TABLE trigger_docs (body text, embedding trigger_vector);
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON trigger_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-36');
INSERT INTO trigger_docs VALUES ('a');
DROP TABLE trigger_docs;
DROP DOMAIN trigger_vector;
DROP DOMAIN trigger_text;

-- any type that real[] is assigned to, its length too
CREATE TABLE trigger_docs (body text, embedding text);
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON trigger_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body');
INSERT INTO trigger_docs VALUES ('a');
SELECT embedding::float4[] = embed('a') AS current FROM trigger_docs;
ALTER TABLE trigger_docs ALTER embedding TYPE varchar(30) USING NULL;
INSERT INTO trigger_docs VALUES ('a');
DROP TABLE trigger_docs;
