-- Vectors that a statement gives to a column of embed_trigger.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

CREATE TABLE given_docs (id int PRIMARY KEY, body text, embedding float4[], note text);
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON given_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-cls');
CREATE VIEW given_state AS
SELECT id, embedding IS NOT DISTINCT FROM embed(body, 'tiny-cls') AS current FROM given_docs ORDER BY id;

-- others than those of their texts: once a statement
INSERT INTO given_docs VALUES (1, 'one', '{1,2}'), (2, 'two', NULL), (3, NULL, '{1,2}'), (4, 'four', array_fill(0::float4, '{64}'));
COPY given_docs (id, body, embedding) FROM stdin;
5	five	{1}
6	six	\N
\.
UPDATE given_docs SET embedding = '{1,2}';
UPDATE given_docs SET embedding = '{1,2}', body = body || '!' WHERE id = 1;
INSERT INTO given_docs VALUES (1, 'one', '{1,2}') ON CONFLICT (id) DO NOTHING;
INSERT INTO given_docs VALUES (1, 'two', '{1,2}') ON CONFLICT (id) DO UPDATE SET body = excluded.body, embedding = excluded.embedding;
DO $$ BEGIN
	FOR i IN 11 .. 12 LOOP
		INSERT INTO given_docs VALUES (i, 'loop', '{1,2}');
	END LOOP;
END $$;
SELECT * FROM given_state;
-- no complaint: NULL, untouched, equal, and a source that changes under an untouched vector
UPDATE given_docs SET embedding = NULL WHERE id = 1;
UPDATE given_docs SET note = 'touched';
UPDATE given_docs SET embedding = embed(body, 'tiny-cls');
UPDATE given_docs SET body = 'new' WHERE id = 1;
UPDATE given_docs SET body = 'newer', embedding = embed('newer', 'tiny-cls') WHERE id = 1;
INSERT INTO given_docs SELECT id + 20, body, embedding FROM given_docs;
INSERT INTO given_docs VALUES (41, 'by text', (SELECT embed('by text', 'tiny-cls')::text::float4[]));
-- a failed statement says what failed
INSERT INTO given_docs VALUES (50, 'one', '{1,2}'), (50, 'two', NULL);
SELECT bool_and(current) AS all_current FROM given_state;

-- a proof is of text, model and vector together
BEGIN;
SELECT embed('right', 'tiny-cls') AS "right", embed('wrong', 'tiny-cls') AS wrong, embed('right', 'tiny-cls', 32) AS cut,
	embed_query('right', 'tiny-cls') IS NOT NULL AS query, embed('right', 'tiny-mean-48') AS other \gset given_
INSERT INTO given_docs VALUES (61, 'right', :'given_right');
INSERT INTO given_docs VALUES (62, 'right', :'given_wrong');
INSERT INTO given_docs VALUES (63, 'right', :'given_cut');
INSERT INTO given_docs VALUES (64, 'right', :'given_other');
INSERT INTO given_docs VALUES (65, 'right', ('[2:65]=' || :'given_right')::float4[]);
INSERT INTO given_docs VALUES (66, 'right', ARRAY[:'given_right'::float4[]]);
SELECT array_lower(embedding, 1) AS lower, array_ndims(embedding) AS ndims FROM given_docs WHERE id IN (65, 66);
SELECT bool_and(current) AS all_current FROM given_state;
COMMIT;
-- a right vector may replace a wrong one
ALTER TABLE given_docs DISABLE TRIGGER zz_embed;
UPDATE given_docs SET embedding = '{7}' WHERE id = 61;
ALTER TABLE given_docs ENABLE TRIGGER zz_embed;
UPDATE given_docs d SET embedding = r.embedding FROM embed_rows(ARRAY['right'], 'tiny-cls') r WHERE d.id = 61;
SELECT bool_and(current) AS all_current FROM given_state;

-- rows that conflict: the vector of an equal text, not of another, nor of a row without one
ALTER TABLE given_docs DISABLE TRIGGER zz_embed;
UPDATE given_docs SET embedding = NULL WHERE id = 2;
ALTER TABLE given_docs ENABLE TRIGGER zz_embed;
INSERT INTO given_docs (id, body) SELECT id, body FROM given_docs
	ON CONFLICT (id) DO UPDATE SET body = excluded.body, embedding = excluded.embedding;
INSERT INTO given_docs (id, body) SELECT id, body || '?' FROM given_docs WHERE id < 10
	ON CONFLICT (id) DO UPDATE SET body = excluded.body, embedding = excluded.embedding;
SELECT bool_and(current) AS all_current FROM given_state;

-- rows that the statement deletes conflict with nothing: texts are embedded by the trigger's model, not by that of the rows
DROP TRIGGER zz_embed ON given_docs;
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON given_docs FOR EACH ROW
	EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-48');
WITH gone AS (DELETE FROM given_docs WHERE id IN (1, 2, 4) RETURNING id, body)
INSERT INTO given_docs (id, body) SELECT id, body FROM gone;
SELECT id, embedding = embed(body, 'tiny-mean-48') AS current FROM given_docs WHERE id IN (1, 2, 4) ORDER BY id;
DROP VIEW given_state;
DROP TABLE given_docs;

-- a trigger that names no model does not take what an older default left
CREATE TABLE given_docs (id int PRIMARY KEY, body text, embedding float4[]);
SET client_min_messages = warning;
CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON given_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body');
RESET client_min_messages;
INSERT INTO given_docs VALUES (1, 'one');
SET embed.model = 'tiny-mean-48';
INSERT INTO given_docs VALUES (1, 'one') ON CONFLICT (id) DO UPDATE SET embedding = excluded.embedding RETURNING cardinality(embedding) AS dim;
UPDATE given_docs SET embedding = NULL RETURNING cardinality(embedding) AS dim;
RESET embed.model;
DROP TABLE given_docs;
