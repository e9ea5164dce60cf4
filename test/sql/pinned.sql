-- name@fingerprint: a model argument that is refused where the name stands for another image.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'
\set reranker :data_dir '/tiny/bert-rerank/model'
SELECT embed_import('pin', :'cls', '{"max_tokens": 20, "alias": "pin-alias"}') IS NOT NULL AS imported;
SELECT embed_import('pin-rerank', :'reranker', '{"default": false}') IS NOT NULL AS imported;
SELECT fingerprint AS f FROM embed_models WHERE name = 'pin' \gset
SELECT fingerprint AS r FROM embed_models WHERE name = 'pin-rerank' \gset

-- embed_fingerprint
SELECT embed_fingerprint('pin') = :'f' AS same, embed_fingerprint('pin-rerank') = :'r' AS any_kind, embed_fingerprint(NULL) IS NULL AS strict;
SELECT embed_fingerprint('pin@' || left(:'f', 9)) = :'f' AS pinned;
SELECT provolatile, proisstrict, proparallel FROM pg_proc WHERE proname = 'embed_fingerprint';
SELECT embed_fingerprint('no-such-model');
SELECT embed_fingerprint('pin-alias');

-- every number of digits from 8 to 64, in any case
SELECT count(DISTINCT embed('a text', 'pin@' || left(:'f', n))) = 1 AND
	min(embed('a text', 'pin@' || left(upper(:'f'), n))::text) = embed('a text', 'pin')::text AS same
FROM generate_series(8, 64) n;
-- and a wrong one at each place
SELECT n, CASE WHEN substr(:'f', n, 1) = '0' THEN '1' ELSE '0' END AS other INTO TEMP wrong FROM generate_series(1, 64) n;
CREATE FUNCTION refused(call text, model text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
BEGIN
	EXECUTE replace(call, '?', quote_literal(model));
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
	RETURN state || ' ' || message;
END $$;
SELECT count(*), count(*) FILTER (WHERE refused($$SELECT embed('x', ?)$$, 'pin@' || overlay(:'f' PLACING other FROM n FOR 1)) LIKE '55000 %') AS refused
FROM wrong;
-- both fingerprints are named
SELECT replace(refused($$SELECT embed('x', ?)$$, 'pin@0123456789ABCDEF'), left(:'f', 16), 'ITS 16 DIGITS');

-- every function that takes a model: with its fingerprint as without it, and refused with another
CREATE TABLE calls (id int GENERATED ALWAYS AS IDENTITY, kind text, call text);
INSERT INTO calls (kind, call) VALUES
	('e', $$embed('a b', ?)$$), ('e', $$embed('a b', ?, 2)$$), ('e', $$embed_query('a b', ?)$$), ('e', $$embed_query('a b', ?, 2)$$),
	('e', $$embed(ARRAY['a', 'b'], ?)$$), ('e', $$embed(ARRAY['a', 'b'], ?, 2)$$), ('e', $$embed_many(ARRAY['a', 'b'], ?)$$),
	('e', $$embed_many(ARRAY['a', 'b'], ?, 2)$$), ('e', $$embed_rows(ARRAY['a', 'b'], ?)$$), ('e', $$embed_rows(ARRAY['a', 'b'], ?, 2)$$),
	('e', $$embed_agg(x, ?)$$), ('e', $$embed_avg(x, ?)$$), ('e', $$embed_tokens('a b', ?)$$), ('e', $$embed_info('a b', ?)$$),
	('e', $$embed_chunks('a b c d', 4, 0, ?)$$), ('e', $$embed_fingerprint(?)$$),
	('r', $$rerank('a', 'b', ?)$$), ('r', $$rerank_logit('a', 'b', ?)$$), ('r', $$rerank('a', ARRAY['b', 'c'], ?)$$),
	('r', $$rerank_many('a', ARRAY['b', 'c'], ?)$$), ('r', $$rerank_top('a', ARRAY['b', 'c'], 1, ?)$$), ('r', $$rerank_agg('a', x, ?)$$),
	('r', $$embed_fingerprint(?)$$);
CREATE FUNCTION result(call text, model text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r text;
BEGIN
	EXECUTE 'SELECT string_agg(r::text, ''|'') FROM (SELECT ' || replace(call, '?', quote_literal(model)) || ' r FROM (VALUES (''a''), (''b'')) v (x)) s' INTO r;
	RETURN r;
EXCEPTION WHEN grouping_error THEN RETURN NULL;
END $$;
CREATE VIEW models AS SELECT id, call, CASE kind WHEN 'e' THEN 'pin' ELSE 'pin-rerank' END AS model FROM calls;
SELECT id, call FROM models WHERE result(call, model) IS DISTINCT FROM result(call, model || '@' || left(embed_fingerprint(model), 11))
	OR refused('SELECT ' || call || ' FROM (VALUES (''a'')) v (x)', model || '@00000000') NOT LIKE '55000 model "' || model || '" has fingerprint % not 00000000';
-- no function is missing: those with an argument of that name, but for what takes an output that these models lack, or an instruction
SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'embed'
WHERE 'model' = ANY (p.proargnames) AND p.pronamespace <> '_embed'::regnamespace
	AND NOT EXISTS (SELECT FROM calls WHERE call LIKE p.proname || '(%') ORDER BY 1;
SELECT refused($$SELECT embed_sparse('x', ?)$$, 'pin@00000000') LIKE '55000%' AS sparse, refused($$SELECT embed_multi('x', ?)$$, 'pin@00000000') LIKE '55000%' AS multi,
	refused($$SELECT embed_verify(?)$$, 'pin@00000000') LIKE '55000%' AS verify, refused($$SELECT embed_export(?)$$, 'pin@00000000') LIKE '55000%' AS export,
	refused($$SELECT embed_compare('pin', ?)$$, 'pin@00000000') LIKE '55000%' AS compare,
	refused($$SELECT embed_query('x', ?, 'instruction')$$, 'pin@00000000') LIKE '55000%' AS instructed;
CREATE TABLE kept (id int PRIMARY KEY, body text);
SELECT refused($$SELECT embed_column('kept', 'body', 'e', ?)$$, 'pin@00000000') LIKE '55000%' AS kept_column,
	refused($$SELECT embed_chunk_table('kept', 'body', 16, 2, ?)$$, 'pin@00000000') LIKE '55000%' AS chunk_table;
DROP TABLE kept;
SELECT count(*) > 0 AND bool_and(ok) AS verified FROM embed_verify('pin@' || left(:'f', 12));
SELECT sum(length(data)) = (SELECT bytes FROM embed_models WHERE name = 'pin') AS exported FROM embed_export('pin@' || :'f');

-- other forms
\set VERBOSITY default
SELECT embed('x', 'pin@');
SELECT embed('x', 'pin@1234567');
SELECT embed('x', 'pin@1234567g');
SELECT embed('x', 'pin@12345678@12345678');
SELECT embed('x', 'pin@' || repeat('0', 65));
SELECT embed('x', '@12345678');
SELECT embed('x', 'no-such-model@12345678');
SELECT embed('x', 'pin-alias@12345678');
SELECT length(refused($$SELECT embed('x', ?)$$, 'pin@' || repeat('0', 1000000))) < 300 AS short_message;
SELECT embed_import('pin@12345678', :'cls');

-- settings, where aliases are allowed
SET embed.model = 'pin@0';
SELECT set_config('embed.model', 'pin-alias@' || left(:'f', 13), false) IS NOT NULL AS set;
SELECT embed('a text') = embed('a text', 'pin') AS same;
SET embed.model = 'pin@00000000';
SELECT refused($$SELECT embed('x' || ?)$$, '') LIKE '55000 %' AS refused;
RESET embed.model;

-- plans: folded where it is constant, and memo and cache belong to the image
EXPLAIN (VERBOSE, COSTS OFF) SELECT embed_fingerprint('pin') = '0';
PREPARE p(text, text) AS SELECT embed($1, $2) = embed($1, 'pin');
SET plan_cache_mode = force_generic_plan;
EXECUTE p('x', 'pin');
SELECT 'pin@' || left(:'f', 8) AS pinned \gset
EXECUTE p('x', :'pinned');
EXECUTE p('x', 'pin@');
RESET plan_cache_mode;
SELECT misses AS before FROM _embed.cache_state() \gset
SELECT embed('something new', 'pin') = embed('something ' || 'new', 'pin@' || left(:'f', 20)) AS same;
SELECT misses - :before AS computed FROM _embed.cache_state();

-- a name that is dropped and bound to other content: the pinned expression refuses
CREATE TABLE pinned (body text);
ALTER TABLE pinned ADD e float4[] GENERATED ALWAYS AS (embed(body, :'pinned')) STORED;
INSERT INTO pinned VALUES ('a text');
SELECT e = embed('a text', 'pin') AS same FROM pinned;
SELECT kind, identity, regexp_replace(detail, '@[0-9a-f]+', '@..'), refuses FROM embed_dependents('pin');
SELECT embed_drop('pin');
SELECT 'pin-alias@' || left(:'f', 8) AS pinned \gset
ALTER ROLE CURRENT_USER SET embed.model = :'pinned';
SELECT kind, refuses FROM embed_dependents('pin') ORDER BY kind COLLATE "C";
ALTER ROLE CURRENT_USER RESET embed.model;
SELECT embed_set_alias('pin-alias', NULL);
SELECT embed_drop('pin', forget => true, force => true);
SELECT embed_import('pin', :'cls', '{"max_tokens": 21}') <> :'f' AS other_content;
SELECT refused($$INSERT INTO pinned VALUES (?)$$, 'b') LIKE '55000 model "pin" has fingerprint %' AS refused;
DROP TABLE pinned;

-- a trigger checks the same form when it is made and at each row
CREATE TABLE pinned (body text, e float4[]);
CREATE TRIGGER pinned BEFORE INSERT ON pinned FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'pin@1234567');
SELECT 'pin@' || upper(left(embed_fingerprint('pin'), 9)) AS pinned \gset
CREATE TRIGGER pinned BEFORE INSERT ON pinned FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', :'pinned');
INSERT INTO pinned VALUES ('a text');
SELECT e = embed('a text', 'pin') AS same FROM pinned;
SELECT kind, refuses FROM embed_dependents('pin');
DROP TABLE pinned;
SELECT embed_drop('pin', forget => true), embed_drop('pin-rerank', forget => true);
DROP VIEW models;
DROP TABLE calls;
DROP FUNCTION refused, result;
