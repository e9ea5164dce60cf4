-- Models and transactions: import, drop and import again, rolled back in whole and in part.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set cls :data_dir '/tiny/bert-cls/model'
\set mean36 :data_dir '/tiny/bert-mean-36/model'

-- content of its own, so that no other test shares the image: another max_tokens;
-- in fp32 the vectors do not depend on it
CREATE FUNCTION pg_temp.import(name text, path text, tokens int) RETURNS void LANGUAGE sql AS
$$ SELECT embed_import(name, path, jsonb_build_object('precision', 'fp32', 'max_tokens', tokens)) $$;
-- the image's rows and file as this session sees them
CREATE FUNCTION pg_temp.state(fp text) RETURNS TABLE (models bigint, images bigint, has_chunks bool, files bigint) LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM embed_models WHERE fingerprint = fp),
		(SELECT count(*) FROM _embed.image WHERE encode(fingerprint, 'hex') = fp),
		EXISTS (SELECT FROM _embed.chunk WHERE encode(fingerprint, 'hex') = fp),
		(SELECT count(*) FROM pg_ls_dir('pgsql_tmp_embed/' || oid) f WHERE f = fp || '.img')
	FROM pg_database WHERE datname = current_database() $$;
SELECT pg_temp.import('life-v', :'cls', 100);
CREATE TEMP TABLE v AS SELECT embed('a text', 'life-v') AS v;
SELECT embed_drop('life-v', forget => true);

-- rolled back
BEGIN;
SELECT pg_temp.import('life-a', :'cls', 101);
SELECT fingerprint AS fp FROM embed_models WHERE name = 'life-a' \gset
SELECT embed('a text', 'life-a') = v AS same FROM v;
SELECT * FROM pg_temp.state(:'fp');
ROLLBACK;
SELECT * FROM pg_temp.state(:'fp');
SELECT embed('a text', 'life-a');

-- an error behind the import, in one statement
SELECT embed_import('life-a', :'cls', '{"precision": "fp32", "max_tokens": 101}') IS NOT NULL, 1 / (length(:'fp') - 64);
SELECT * FROM pg_temp.state(:'fp');
-- an error inside: rows and file were there already
SELECT embed_import('life-a', :'cls', '{"precision": "fp32", "max_tokens": 101, "alias": "tiny-cls"}');
SELECT * FROM pg_temp.state(:'fp');

-- savepoints
BEGIN;
SAVEPOINT s;
SELECT pg_temp.import('life-a', :'cls', 101);
SELECT embed('a text', 'life-a') = v AS same FROM v;
ROLLBACK TO s;
SAVEPOINT t;
SELECT embed('a text', 'life-a');
ROLLBACK TO t;
SELECT pg_temp.import('life-a', :'cls', 101);
RELEASE t;
SELECT embed('a text', 'life-a') = v AS same FROM v;
COMMIT;
SELECT * FROM pg_temp.state(:'fp');
BEGIN;
SAVEPOINT s;
SELECT embed_drop('life-a');
SAVEPOINT t;
SELECT embed('a text', 'life-a');
ROLLBACK TO s;
SELECT embed('a text', 'life-a') = v AS same FROM v;
COMMIT;
SELECT * FROM pg_temp.state(:'fp');
SELECT embed('a text', 'life-a') = v AS same FROM v;

-- dropped and imported again in one transaction, committed and not
BEGIN;
SELECT embed_drop('life-a');
SELECT * FROM pg_temp.state(:'fp');
SELECT pg_temp.import('life-a', :'cls', 101);
SELECT embed('a text', 'life-a') = v AS same FROM v;
COMMIT;
SELECT * FROM pg_temp.state(:'fp');
BEGIN;
SELECT embed_drop('life-a', forget => true);
SELECT pg_temp.import('life-a', :'mean36', 101);
SELECT array_length(embed('a text', 'life-a'), 1) AS dim;
ROLLBACK;
SELECT * FROM pg_temp.state(:'fp');
SELECT embed('a text', 'life-a') = v AS same FROM v;
BEGIN;
SELECT pg_temp.import('life-b', :'cls', 102);
SELECT fingerprint AS fp_b FROM embed_models WHERE name = 'life-b' \gset
SELECT embed_drop('life-b', true);
COMMIT;
SELECT * FROM pg_temp.state(:'fp_b');

-- two names of one image
SELECT pg_temp.import('life-c', :'cls', 101);
SELECT embed_drop('life-a', true);
SELECT * FROM pg_temp.state(:'fp');
SELECT embed('a text', 'life-c') = v AS same FROM v;
-- a second name rolled back takes nothing with it
BEGIN;
SELECT pg_temp.import('life-a', :'cls', 101);
ROLLBACK;
SELECT * FROM pg_temp.state(:'fp');

-- one function that imports, embeds, catches, drops
CREATE FUNCTION pg_temp.all_in_one(path text) RETURNS TABLE (step text, result text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 2 LOOP
		PERFORM embed_import('life-d', path, '{"precision": "fp32", "max_tokens": 103}');
		step := 'imported'; result := embed('a text', 'life-d') = (SELECT v FROM v); RETURN NEXT;
		BEGIN
			PERFORM embed_drop('life-d', true);
			PERFORM embed('a text', 'life-' || 'd');
		EXCEPTION WHEN undefined_object THEN
			step := 'dropped'; result := SQLERRM; RETURN NEXT;
		END;
		step := 'drop undone'; result := embed('a text', 'life-d') = (SELECT v FROM v); RETURN NEXT;
		PERFORM embed_drop('life-d', true);
		BEGIN
			result := embed('a text', 'life-d');
		EXCEPTION WHEN undefined_object THEN
			step := 'gone'; result := SQLERRM; RETURN NEXT;
		END;
		PERFORM embed_import('life-d', path, '{"precision": "fp32", "max_tokens": 104}');
		step := 'other content'; result := (embed_info(repeat('server ', 200), 'life-d')).max_tokens; RETURN NEXT;
		PERFORM embed_drop('life-d', true);
	END LOOP;
END $$;
-- its own text names the model: said, no reason to refuse, and the schema's name is another in each session
SET client_min_messages = warning;
SELECT * FROM pg_temp.all_in_one(:'cls');
RESET client_min_messages;

-- defaults inside one function and one prepared statement
CREATE FUNCTION pg_temp.dims() RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	model text;
	dims int[];
BEGIN
	FOREACH model IN ARRAY ARRAY['tiny-mean-36', 'tiny-cls', 'tiny-mean-48'] LOOP
		PERFORM embed_set_default(model);
		dims := dims || array_length(embed('x'), 1);
	END LOOP;
	PERFORM embed_set_default('tiny-cls');
	RETURN dims;
END $$;
SELECT pg_temp.dims();

-- plans in which the call was folded to a constant
SET plan_cache_mode = force_generic_plan;
PREPARE folded AS SELECT array_length(embed('a text', 'life-c'), 1) AS dim;
PREPARE with_argument(text) AS SELECT array_length(embed('a text', $1), 1) AS dim;
PREPARE by_default AS SELECT array_length(embed('a text'), 1) AS dim;
EXECUTE folded;
EXECUTE with_argument('life-c');
EXECUTE by_default;
SELECT embed_set_default('tiny-mean-36');
EXECUTE by_default;
SELECT embed_set_default('tiny-cls');
EXECUTE by_default;
SELECT embed_drop('life-c', forget => true);
EXECUTE folded;
EXECUTE with_argument('life-c');
SELECT embed_import('life-c', :'mean36') IS NOT NULL AS imported;
EXECUTE folded;
EXECUTE with_argument('life-c');
DEALLOCATE ALL;
RESET plan_cache_mode;
SELECT embed_drop('life-c', true);
SELECT * FROM pg_temp.state(:'fp');

-- read-only transactions embed, and change nothing
BEGIN READ ONLY;
SELECT embed('a text') = embed('a text', 'tiny-cls') AS same;
SAVEPOINT s;
SELECT embed_import('life-a', :'cls');
ROLLBACK TO s;
SELECT embed_load('life-a', '');
ROLLBACK TO s;
SELECT embed_drop('tiny-cls');
ROLLBACK TO s;
SELECT embed_set_default('tiny-cls');
ROLLBACK TO s;
SELECT embed_set_alias('life-alias', 'tiny-cls');
ROLLBACK;

-- a snapshot from before sees models of now
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM embed_models WHERE name LIKE 'life-%';
SELECT pg_temp.import('life-a', :'cls', 101);
SELECT embed('a text', 'life-a') = v AS same FROM v;
COMMIT;
SELECT embed_drop('life-a', true);

-- no temporary file stays
SELECT f FROM pg_database d, pg_ls_dir('pgsql_tmp_embed/' || d.oid) f WHERE datname = current_database() AND f ~ 'tmp$';
SELECT count(*) FROM embed_models WHERE name LIKE 'life-%';
