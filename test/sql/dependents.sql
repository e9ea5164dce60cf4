-- What a drop would break: embed_dependents, and embed_drop that refuses.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'
\set reranker :data_dir '/tiny/bert-rerank/model'
SELECT embed_import('dep', :'cls', '{"max_tokens": 20}') IS NOT NULL AS imported;
CREATE FUNCTION dependents(model text) RETURNS TABLE (kind text, identity text, detail text, refuses bool)
LANGUAGE sql AS 'SELECT kind, identity, detail, refuses FROM embed_dependents(model)';
CREATE TABLE dep_docs (id int, body text, model text, e float4[]);
SELECT * FROM dependents('dep');

-- each kind alone: listed and refused; gone, it is not; the SQL that makes it, then the SQL that removes it
CREATE PROCEDURE dep_try(make text, remove text) LANGUAGE plpgsql AS $$
DECLARE
	r record;
	refused text;
	detail text;
BEGIN
	EXECUTE make;
	FOR r IN SELECT * FROM dependents('dep') LOOP
		RAISE INFO '% %: % %', r.kind, r.identity, r.detail, CASE WHEN r.refuses THEN '' ELSE '(does not refuse)' END;
	END LOOP;
	BEGIN
		PERFORM embed_drop('dep');
		RAISE INFO 'DROPPED';
		RAISE division_by_zero;
	EXCEPTION
		WHEN dependent_objects_still_exist THEN
			GET STACKED DIAGNOSTICS refused = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
			IF refused <> 'cannot drop model "dep" because other objects depend on it'
				OR detail <> (SELECT string_agg(kind || ' ' || identity || ': ' || d.detail, E'\n' ORDER BY no) FROM embed_dependents('dep') WITH ORDINALITY d (kind, object, identity, detail, refuses, no) WHERE refuses) THEN
				RAISE INFO '% %', refused, detail;
			END IF;
		WHEN division_by_zero THEN NULL;
	END;
	EXECUTE remove;
	FOR r IN SELECT * FROM dependents('dep') LOOP
		RAISE INFO 'LEFT: % %', r.kind, r.identity;
	END LOOP;
	BEGIN
		PERFORM embed_drop('dep');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN NULL;
	END;
END $$;
\set VERBOSITY terse
-- the three of the report
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed_cosine(embed(body, 'dep'), embed('x', 'dep')))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (id) WHERE embed_cosine(embed(body, 'dep'), embed('x', 'dep')) > 0$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, 'dep')) WHERE embed(body, 'dep') IS NOT NULL$$, 'DROP INDEX dep_i');
CALL dep_try($$ALTER TABLE dep_docs ADD g float4[] GENERATED ALWAYS AS (embed(body, 'dep')) STORED$$, 'ALTER TABLE dep_docs DROP g');
CALL dep_try($$ALTER TABLE dep_docs ALTER e SET DEFAULT embed('x', 'dep')$$, 'ALTER TABLE dep_docs ALTER e DROP DEFAULT');
CALL dep_try($$ALTER TABLE dep_docs ADD CONSTRAINT dep_c CHECK (cardinality(embed(body, 'dep')) > 0)$$, 'ALTER TABLE dep_docs DROP CONSTRAINT dep_c');
CALL dep_try($$ALTER TABLE dep_docs ADD CONSTRAINT dep_c CHECK (cardinality(embed(body, 'dep')) > 0) NOT VALID$$, 'ALTER TABLE dep_docs DROP CONSTRAINT dep_c');
CALL dep_try($$ALTER TABLE dep_docs ADD CONSTRAINT dep_x EXCLUDE ((embed(body, 'dep')) WITH =)$$, 'ALTER TABLE dep_docs DROP CONSTRAINT dep_x');
CALL dep_try($$CREATE DOMAIN dep_d AS text CHECK (embed(VALUE, 'dep') IS NOT NULL)$$, 'DROP DOMAIN dep_d');
CALL dep_try($$CREATE DOMAIN dep_d AS float4[] DEFAULT embed('x', 'dep')$$, 'DROP DOMAIN dep_d');
CALL dep_try($$CREATE TABLE dep_p (body text) PARTITION BY RANGE ((embed(body, 'dep')))$$, 'DROP TABLE dep_p');
CALL dep_try($$CREATE VIEW dep_v AS SELECT embed_agg(body, 'dep' ORDER BY id) FROM dep_docs$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT embed_avg(body, 'dep') OVER (ORDER BY id) FROM dep_docs$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT embed_query(body, 'dep', 'find it') FROM dep_docs$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT rerank_logit('q', body, 'dep', 'find it'), rerank_agg('q', body, 'dep', 'find it') OVER () FROM dep_docs$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT t.* FROM dep_docs, rerank_top('q', ARRAY[body], 1, 'dep', 'find it') t$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT r.* FROM dep_docs d, embed_rows(ARRAY[d.body], 'dep') r$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT id FROM dep_docs WHERE e IN (SELECT embed(q, 'dep') FROM (VALUES ('x')) v (q))$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS WITH w AS (SELECT embed_many(array_agg(body), model => 'dep') AS e FROM dep_docs) SELECT * FROM w UNION SELECT NULL$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT embed(model => 'dep', input => body) FROM dep_docs$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT CASE WHEN id > 1 THEN (embed_info(body, 'dep')).tokens ELSE cardinality(embed_tokens(body, 'dep')) END FROM dep_docs$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT c.* FROM dep_docs, embed_chunks(body, 9, 0, 'dep') c$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT * FROM embed_verify('dep')$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT * FROM embed_compare('dep')$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT * FROM embed_compare('another', 'dep')$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT c.* FROM dep_docs, embed_compare(a => 'dep', b => model, texts => ARRAY[body]) c$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE VIEW dep_v AS SELECT no FROM embed_export('dep')$$, 'DROP VIEW dep_v');
CALL dep_try($$CREATE MATERIALIZED VIEW dep_m AS SELECT embed(body, 'dep') FROM dep_docs$$, 'DROP MATERIALIZED VIEW dep_m');
CALL dep_try($$CREATE RULE dep_r AS ON INSERT TO dep_docs WHERE NEW.id = 0 DO ALSO UPDATE dep_docs SET e = embed(body, 'dep') WHERE id = 1$$, 'DROP RULE dep_r ON dep_docs');
CALL dep_try($$CREATE RULE dep_r AS ON INSERT TO dep_docs WHERE embed(NEW.body, 'dep') IS NULL DO NOTHING$$, 'DROP RULE dep_r ON dep_docs');
CALL dep_try($$CREATE POLICY dep_y ON dep_docs USING (embed(body, 'dep') IS NOT NULL)$$, 'DROP POLICY dep_y ON dep_docs');
CALL dep_try($$CREATE POLICY dep_y ON dep_docs FOR INSERT WITH CHECK (embed(body, 'dep') IS NOT NULL)$$, 'DROP POLICY dep_y ON dep_docs');
CALL dep_try($$CREATE TRIGGER dep_t BEFORE INSERT ON dep_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'dep')$$, 'DROP TRIGGER dep_t ON dep_docs');
CALL dep_try($$CREATE TRIGGER dep_t BEFORE INSERT ON dep_docs FOR EACH ROW WHEN (embed(NEW.body, 'dep') IS NULL) EXECUTE FUNCTION suppress_redundant_updates_trigger()$$, 'DROP TRIGGER dep_t ON dep_docs');
CALL dep_try($$CREATE FUNCTION dep_f(x text) RETURNS float4[] LANGUAGE sql AS 'SELECT embed(x, ''dep'')'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f(x text) RETURNS float4[] LANGUAGE plpgsql AS 'BEGIN SET LOCAL embed.model = ''dep''; RETURN EMBED(x); END'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f(x text) RETURNS float4[] LANGUAGE plpgsql AS 'BEGIN SET LOCAL embed.model = dep; RETURN embed(x); END'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f(x text) RETURNS void LANGUAGE plpgsql AS 'BEGIN SET embed.reranker TO dep; END'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f() RETURNS bool LANGUAGE sql AS 'SELECT bool_and(verdict = ''same'') FROM embed_compare(''another'', ''dep'')'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f(x oid) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM embed_load_lo(''dep'', x); PERFORM embed_verify(''dep''); END'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f(x text) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM embed(x, ''dep''); PERFORM embed_drop(''dep''); END'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f(x text, y float4[] DEFAULT embed('x', 'dep')) RETURNS int LANGUAGE sql AS 'SELECT 1'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE FUNCTION dep_f(x text) RETURNS float4[] LANGUAGE sql SET embed.model = 'dep' AS 'SELECT embed(x)'$$, 'DROP FUNCTION dep_f');
CALL dep_try($$CREATE OPERATOR ~> (LEFTARG = text, RIGHTARG = text, FUNCTION = embed); CREATE INDEX dep_i ON dep_docs ((body ~> 'dep'))$$, 'DROP INDEX dep_i; DROP OPERATOR ~> (text, text)');
-- names that are no plain constants
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, 'dep'::varchar))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, 'dep'::varchar(20)))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, 'deposit'::varchar(3)))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, 'dep'::name))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, 'dep'::char(10)))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, 'd' || lower('EP')))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE INDEX dep_i ON dep_docs (embed(body, COALESCE(model, 'dep')))$$, 'DROP INDEX dep_i');
CALL dep_try($$CREATE TABLE dep_n (body text CHECK (embed(body, 'dep@0123456789abcdef') IS NOT NULL))$$, 'DROP TABLE dep_n');
-- others
CREATE TABLE dep_other (id int, body text, model text);
CREATE INDEX ON dep_other (embed(body, 'tiny-cls'), embed('dep', 'tiny-cls'));
CREATE INDEX ON dep_other (embed(body, 'dep-2')) WHERE model = 'dep';
CREATE VIEW dep_other_view AS SELECT 'dep' AS model, embed(body) FROM dep_other;
CREATE FUNCTION dep_other_function() RETURNS text LANGUAGE sql AS $$SELECT 'dep'$$;
CREATE FUNCTION dep_other_call() RETURNS text LANGUAGE plpgsql AS $$BEGIN SET embed.model = deposit; RETURN embed('dep-2', 'tiny-cls')::text; END$$;
SELECT * FROM dependents('dep');
-- aliases, the default, settings
CALL dep_try($$SELECT embed_set_alias('dep-alias', 'dep')$$, $$SELECT embed_set_alias('dep-alias', NULL)$$);
CALL dep_try($$SELECT embed_set_default('dep')$$, $$SELECT embed_set_default('tiny-cls')$$);
CALL dep_try($$ALTER DATABASE contrib_regression SET embed.model = 'dep'$$, 'ALTER DATABASE contrib_regression RESET embed.model');
CREATE ROLE regress_embed_dep;
CALL dep_try('ALTER ROLE regress_embed_dep SET embed.model = dep', 'ALTER ROLE regress_embed_dep RESET ALL');
CALL dep_try('ALTER ROLE regress_embed_dep IN DATABASE contrib_regression SET embed.model = dep', 'ALTER ROLE regress_embed_dep IN DATABASE contrib_regression RESET ALL');
CALL dep_try('ALTER ROLE regress_embed_dep IN DATABASE template1 SET embed.model = dep', 'ALTER ROLE regress_embed_dep IN DATABASE template1 RESET ALL');
-- through an alias
SELECT embed_set_alias('dep-alias', 'dep');
ALTER ROLE regress_embed_dep SET embed.model = 'dep-alias';
CREATE TRIGGER dep_t BEFORE INSERT ON dep_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'dep-alias');
CREATE FUNCTION dep_f(x text) RETURNS float4[] LANGUAGE sql SET embed.model = 'dep-alias' AS 'SELECT embed(x)';
CREATE FUNCTION dep_g(x text) RETURNS float4[] LANGUAGE plpgsql AS $$BEGIN PERFORM set_config('embed.model', 'dep-alias', true); RETURN embed(x); END$$;
CREATE VIEW dep_v AS SELECT c.* FROM embed_compare('tiny-cls', 'dep-alias') c;
CREATE VIEW dep_w AS SELECT c.* FROM dep_docs, embed_compare(COALESCE(model, 'dep-alias')) c;
SELECT * FROM dependents('dep');
SELECT * FROM embed_dependents('dep-alias');
SELECT embed_drop('dep');
SELECT embed_set_alias('dep-alias', 'tiny-cls');
SELECT * FROM dependents('dep');
-- what an alias that is removed leaves behind is told
SELECT embed_set_alias('dep-alias', NULL);
SELECT embed_set_alias('dep-alias', 'tiny-cls');
DROP FUNCTION dep_f, dep_g;
DROP VIEW dep_v, dep_w;
DROP TRIGGER dep_t ON dep_docs;
DROP ROLE regress_embed_dep;
SELECT embed_set_alias('dep-alias', NULL);
-- a column that names models may name any: listed, no reason to refuse
CREATE TABLE dep_any (body text, model text, e float4[] GENERATED ALWAYS AS (embed(body, model)) STORED);
SELECT * FROM dependents('dep');
BEGIN;
SELECT embed_drop('dep');
ROLLBACK;
DROP TABLE dep_any;
-- what the default is used by
SELECT embed_set_default('dep');
CREATE VIEW dep_v AS SELECT embed_agg(body) FROM dep_docs;
CREATE TRIGGER dep_t BEFORE INSERT ON dep_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body');
SELECT * FROM dependents('dep');
SELECT embed_set_default('tiny-cls');
SELECT * FROM dependents('dep');
DROP VIEW dep_v;
DROP TRIGGER dep_t ON dep_docs;

-- what the caller reads
\set VERBOSITY default
CREATE INDEX dep_i ON dep_docs (embed_cosine(embed(body, 'dep'), embed('x', 'dep')));
INSERT INTO dep_docs VALUES (1, 'one');
SELECT embed_set_alias('dep-alias', 'dep');
SELECT embed_drop('dep');
SELECT embed_drop('dep', forget => true);
SELECT embed_drop('dep', force => NULL) IS NULL AS "null";
-- a default where there is another model, and an alias: easily moved
DROP INDEX dep_i;
SELECT embed_set_default('dep');
SELECT embed_drop('dep');
SELECT embed_set_default('tiny-cls'), embed_set_alias('dep-alias', 'tiny-cls'), embed_drop('dep');
SELECT embed_set_alias('dep-alias', NULL);
-- a tombstone's name is not forgotten either while something names it
SELECT embed_import('dep', :'cls', '{"max_tokens": 20}') IS NOT NULL AS imported;
CREATE INDEX dep_i ON dep_docs (embed_cosine(embed(body, 'dep'), embed('x', 'dep'))) WHERE embed(body, 'dep') IS NOT NULL;
SELECT embed_set_alias('dep-alias', 'dep'), embed_set_default('dep');
CREATE TRIGGER dep_t BEFORE INSERT ON dep_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'dep-alias');
SELECT embed_drop('dep', force => true);
SELECT embed_drop('dep', forget => true);
SELECT kind, identity FROM embed_dependents('dep');
-- and says how to get out
SELECT count(*) FROM dep_docs;
DELETE FROM dep_docs;
INSERT INTO dep_docs VALUES (2, 'two');
EXPLAIN SELECT * FROM dep_docs WHERE id = 1;
ANALYZE dep_docs;
BEGIN;
DROP INDEX dep_i;
SELECT count(*) FROM dep_docs;
ROLLBACK;
BEGIN;
ALTER TABLE dep_docs DROP COLUMN body;
SELECT count(*) FROM dep_docs;
ROLLBACK;
BEGIN;
DROP TABLE dep_docs;
ROLLBACK;
SELECT embed_import('dep', :'cls', '{"max_tokens": 20}') IS NOT NULL AS imported;
SELECT count(*) FROM dep_docs;
SELECT embed_drop('dep', true, true);
SELECT kind, identity FROM embed_dependents('dep');
DROP TABLE dep_docs;
SELECT embed_set_default('tiny-cls');
SELECT * FROM embed_dependents('dep');
SELECT * FROM embed_dependents(NULL);

-- one of two names of an image goes; what names the other stays
SELECT embed_import('dep', :'cls') = embed_import('dep-too', :'cls') AS same_image;
CREATE TABLE dep_docs (body text, CONSTRAINT dep_c CHECK (embed(body, 'dep') IS NOT NULL));
SELECT embed_drop('dep-too', true);
INSERT INTO dep_docs VALUES ('x');
SELECT embed_drop('dep', true);
DROP TABLE dep_docs;
SELECT embed_drop('dep', true);

-- the last model of a kind takes the default along
SELECT embed_import('dep-rerank', :'reranker') IS NOT NULL AS imported;
CREATE VIEW dep_v AS SELECT rerank('q', 'd') AS score, embed('x') IS NULL AS other_kind;
SELECT kind, object, identity, detail, refuses FROM embed_dependents('dep-rerank');
SELECT embed_drop('dep-rerank', true);
SELECT * FROM dep_v;
DROP VIEW dep_v;

-- no code of a user runs: neither functions nor operators of an argument are called
CREATE FUNCTION dep_evil(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN
	IF current_setting('dep.armed', true) = 'yes' THEN
		RAISE 'called';
	END IF;
	RETURN $1;
END$$;
SELECT embed_import('dep', :'cls') IS NOT NULL AS imported;
CREATE TABLE dep_docs (body text, model text, CHECK (embed(body, dep_evil('tiny-cls')) IS NOT NULL), CHECK (embed(body, dep_evil('de') || 'p') IS NOT NULL),
	CHECK (embed(body, 'tiny' || (1 / (length('x') - 1))) IS NOT NULL), CHECK (embed(body, dep_evil('dep')) IS NOT NULL));
SET dep.armed = 'yes';
SELECT kind, identity, refuses FROM embed_dependents('dep');
RESET dep.armed;
DROP TABLE dep_docs;
DROP FUNCTION dep_evil;

-- many: the first hundred are shown
CREATE TABLE dep_docs (body text);
DO $$BEGIN
	FOR i IN 1..150 LOOP
		EXECUTE format('CREATE INDEX dep_i%s ON dep_docs (embed(body, %L))', lpad(i::text, 3, '0'), 'dep');
	END LOOP;
END$$;
DO $$
DECLARE
	detail text;
BEGIN
	PERFORM embed_drop('dep');
EXCEPTION WHEN dependent_objects_still_exist THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE INFO '% lines, the last: %', cardinality(string_to_array(detail, E'\n')), split_part(detail, E'\n', 101);
END$$;
SELECT count(*) FROM embed_dependents('dep');
DROP TABLE dep_docs;
SELECT embed_drop('dep', true);
DROP PROCEDURE dep_try;
DROP FUNCTION dependents, dep_other_function, dep_other_call;
DROP TABLE dep_other CASCADE;

-- who may
CREATE ROLE regress_embed_dep;
SET ROLE regress_embed_dep;
SELECT * FROM embed_dependents('tiny-cls');
RESET ROLE;
GRANT EXECUTE ON FUNCTION embed_dependents(text), embed_drop(text, bool, bool) TO regress_embed_dep;
SET ROLE regress_embed_dep;
SELECT count(*) > 0 AS listed FROM embed_dependents('tiny-cls');
RESET ROLE;
REVOKE ALL ON FUNCTION embed_dependents(text), embed_drop(text, bool, bool) FROM regress_embed_dep;
DROP ROLE regress_embed_dep;
