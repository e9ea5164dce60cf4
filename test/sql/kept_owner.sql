-- code of a table's owner (casts, domains, triggers) never runs with the rights of a superuser who calls our functions
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql
SELECT embed_set_default('tiny-mean-36');
CREATE ROLE regress_kept_owner;
CREATE ROLE regress_kept_reader;
CREATE SCHEMA kept_owner AUTHORIZATION regress_kept_owner;
GRANT USAGE ON SCHEMA kept_owner TO PUBLIC;
SET ROLE regress_kept_owner;
SET search_path = kept_owner, public;
CREATE TABLE ran (who name, what text);
GRANT INSERT ON ran TO PUBLIC;
CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql AS $$ INSERT INTO kept_owner.ran VALUES (current_user, what) $$;
-- casts of source and key
CREATE TYPE body AS (t text);
CREATE FUNCTION body_text(body) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM kept_owner.note('text'), set_config('application_name', 'set by ' || current_user, false); RETURN ($1).t; END $$;
CREATE CAST (body AS text) WITH FUNCTION body_text(body) AS IMPLICIT;
CREATE TYPE key AS ENUM ('a', 'b');
CREATE FUNCTION key_json(key) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM kept_owner.note('json'); RETURN '1'; END $$;
CREATE CAST (key AS json) WITH FUNCTION key_json(key);
-- a CHECK that is computed when a session first looks at the type
CREATE FUNCTION planned() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE WARNING 'planned by %', current_user; RETURN ''; END $$;
CREATE DOMAIN vec AS float4[] CHECK (kept_owner.planned() = '');
CREATE TABLE docs (id key PRIMARY KEY, body body);
INSERT INTO docs VALUES ('a', ROW('one')), ('b', ROW('two'));
CREATE TABLE checked (body text, embedding vec);
RESET ROLE;

SELECT embed_column('docs', 'body');
SELECT DISTINCT * FROM ran; TRUNCATE ran;
SET ROLE regress_kept_owner;
UPDATE docs SET embedding = NULL;
UPDATE docs SET body = ROW('other') WHERE id = 'b';
ALTER TABLE docs DISABLE TRIGGER USER;
UPDATE docs SET body = ROW('another') WHERE id = 'b';
RESET ROLE;
TRUNCATE ran;
SET application_name = 'mine';
SELECT * FROM embed_check('docs', 'embedding') WHERE n IS NOT NULL OR key IS NOT NULL;
SHOW application_name;
SELECT DISTINCT * FROM ran ORDER BY what; TRUNCATE ran;
\c -
SET search_path = kept_owner, public;
CREATE TRIGGER by_hand BEFORE INSERT OR UPDATE ON checked FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-mean-36', 'later');
SELECT embed_check('checked', 'embedding');
SELECT tab, status FROM embed_columns WHERE tab = 'checked'::regclass;
SELECT embed_column('checked', 'body');
SET ROLE regress_kept_owner;
INSERT INTO checked VALUES ('one');
RESET ROLE;
\c -
SET search_path = kept_owner, public;
-- a filler that waits before it connects is not in pg_stat_activity; it leaves by itself
DO $$
BEGIN
	FOR i IN 1 .. 6000 LOOP
		EXIT WHEN (SELECT status <> 'filling' FROM embed_columns WHERE tab = 'checked'::regclass);
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT tab, status, to_do FROM embed_columns WHERE tab = 'checked'::regclass;
SET client_min_messages = warning;
CALL embed_fill('checked');
\c -
SET search_path = kept_owner, public;
SELECT embed_check('checked', 'embedding');
\c -
SET search_path = kept_owner, public;
SELECT embed_column('checked', 'body', model => 'tiny-mean-48');
-- who has not the owner's rights stays who he is, as in a SELECT
GRANT SELECT ON docs TO regress_kept_reader;
SET ROLE regress_kept_reader;
SELECT verdict, n FROM embed_check('docs', 'embedding') WHERE n IS NOT NULL;
RESET ROLE;
SELECT DISTINCT * FROM ran ORDER BY what; TRUNCATE ran;
REVOKE SELECT ON docs FROM regress_kept_reader;
SET ROLE regress_kept_reader;
SELECT verdict, n FROM embed_check('docs', 'embedding') WHERE n IS NOT NULL;
RESET ROLE;
-- a superuser sees the rows that policies hide from the owner, too
ALTER TABLE docs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT verdict, n FROM embed_check('docs', 'embedding') WHERE n IS NOT NULL;
SELECT embed_column('docs', 'body', model => 'tiny-mean-48');
SELECT count(embedding) FROM docs;

-- triggers of a chunk table
SET ROLE regress_kept_owner;
CREATE TABLE long (id int PRIMARY KEY, body text);
INSERT INTO long VALUES (1, 'one two three');
SELECT embed_chunk_table('long', 'body', 20, 5, 'tiny-mean-36');
CREATE FUNCTION noting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM kept_owner.note('trigger'); RETURN NEW; END $$;
CREATE TRIGGER noting BEFORE INSERT OR UPDATE ON long_chunks FOR EACH ROW EXECUTE FUNCTION noting();
CREATE TRIGGER noting_all BEFORE INSERT OR UPDATE ON long_chunks FOR EACH STATEMENT EXECUTE FUNCTION noting();
RESET ROLE;
TRUNCATE ran;
SELECT embed_chunk_table('long', 'body', 20, 5, 'tiny-mean-48');
SELECT embed_chunk_table('long', 'body', 20, 4, 'tiny-mean-36', 'later');
SELECT DISTINCT * FROM ran;

SET client_min_messages = warning;
DROP SCHEMA kept_owner CASCADE;
DROP ROLE regress_kept_owner, regress_kept_reader;
RESET search_path;
SELECT embed_set_default('tiny-cls');
\i :data_dir/sql/filler_on.sql
