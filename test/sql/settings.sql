-- The settings embed.*.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

SELECT name, setting, context, vartype FROM pg_settings WHERE name LIKE 'embed.%' ORDER BY name COLLATE "C";

-- embed.on_overflow
SET embed.on_overflow = 'warn';
SELECT count(embed(repeat('server ', 1000 + i))) FROM generate_series(1, 3) i;
-- two places of one statement, one warning; constants count at each use
SELECT count(embed('x' || repeat(' server', 600 + i))), count(embed('short')), count(embed(repeat('server ', 600) || i))
FROM generate_series(1, 2) i;
SELECT array_dims(embed(ARRAY['short', repeat('server ', 600), NULL]));
SELECT count(*) FROM embed_rows(ARRAY['short', repeat('server ', 600), NULL]);
SELECT array_dims(embed_agg(repeat('server ', n))) FROM unnest(ARRAY[1, 600, 700]) n;
DO $$
DECLARE
	v float4[];
BEGIN
	FOR i IN 1..5 LOOP
		v := embed(repeat('server ', 600 + i));
	END LOOP;
END $$;
-- what fits gives none, and so do functions that show the cut
SELECT embed(repeat('server ', 510)) IS NOT NULL AS fits;
SELECT cardinality(embed_tokens(repeat('server ', 600))) AS ids;
-- the statement's own error is enough
SELECT embed(repeat('server ', 600 + i)) IS NULL, 1 / (2 - i) FROM generate_series(1, 2) i;

SET embed.on_overflow = 'error';
SELECT embed(repeat('server ', 511));
SELECT embed(repeat('server ', 510)) IS NOT NULL AS fits;
SELECT array_dims(embed(ARRAY['short', repeat('server ', 600)]));
SELECT embed_agg(repeat('server ', n)) FROM unnest(ARRAY[1, 600]) n;
SELECT cardinality(embed_tokens(repeat('server ', 600))) AS ids;
-- a remembered vector is no way around it
DO $$
DECLARE
	v float4[];
BEGIN
	SET LOCAL embed.on_overflow = 'truncate';
	FOR i IN 1..2 LOOP
		v := embed(rpad('', 4200, 'server '));
		SET LOCAL embed.on_overflow = 'error';
	END LOOP;
END $$;
RESET embed.on_overflow;
SELECT embed(repeat('server ', 511)) IS NOT NULL AS cut;
SET embed.on_overflow = 'ignore';

-- embed.model
SET embed.model = 'tiny-mean-48';
SELECT array_length(embed('x'), 1) AS dim;
SET embed.model = '../etc/passwd or so';
SET embed.model = 'no-such-model';
SELECT embed('x');
SELECT embed('x', 'tiny-cls') IS NOT NULL AS argument_wins;
RESET embed.model;
BEGIN;
SET LOCAL embed.model = 'tiny-mean-36';
SELECT array_length(embed('x'), 1) AS dim;
ROLLBACK;
SELECT array_length(embed('x'), 1) AS dim;

-- embed.batch_tokens
SET embed.batch_tokens = 0;
SET embed.batch_tokens = 1000000;
SET embed.batch_tokens = 17;
RESET embed.batch_tokens;

-- embed.isa
SET embed.isa = 'scalar';
SELECT embed_isa();
SET embed.isa = 'mmx';
SELECT embed_isa();
RESET embed.isa;
SELECT embed_isa() = ANY ('{scalar,avx2,avxvnni,avx512vnni,amx,neon}') AS known;

-- embed.threads, embed.cache_entries (more in cache.sql)
SET embed.threads = -1;
SET embed.threads = 2000;
CREATE TEMP TABLE settings_threads AS SELECT embed_agg('text ' || repeat('more ', i) ORDER BY i) AS v FROM generate_series(1, 100) i;
SET embed.threads = 1;
SELECT v = (SELECT embed_agg('text ' || repeat('more ', i) ORDER BY i) FROM generate_series(1, 100) i) AS same_on_one FROM settings_threads;
SET embed.threads = 3;
SELECT v = (SELECT embed_agg('text ' || repeat('more ', i) ORDER BY i) FROM generate_series(1, 100) i) AS same_on_three FROM settings_threads;
RESET embed.threads;

-- before a session has loaded the library: what docs/settings.md says of "any user"
CREATE ROLE regress_embed_setter;
\c
SET SESSION AUTHORIZATION regress_embed_setter;
SHOW embed.model;
SET embed.threads = 'many';
RESET embed.threads;
SET embed.model = 'tiny-cls';
SELECT current_setting('embed.model');
ALTER ROLE CURRENT_USER SET embed.model = 'tiny-cls';
CREATE FUNCTION pg_temp.by_setting() RETURNS int LANGUAGE sql SET embed.model = 'tiny-cls' AS 'SELECT 1';
-- any function of the extension loads it
SELECT embed_isa() IS NOT NULL AS loaded;
ALTER ROLE CURRENT_USER SET embed.model = 'tiny-cls';
CREATE FUNCTION pg_temp.by_setting() RETURNS int LANGUAGE sql SET embed.model = 'tiny-cls' AS 'SELECT 1';
SHOW embed.cache_entries;
SET embed.threads = 'many';
RESET SESSION AUTHORIZATION;
DROP FUNCTION pg_temp.by_setting();
-- a wrong value is reported when the library is loaded, and not used
\c
SET embed.threads = 'many';
LOAD 'embed';
SHOW embed.threads;
DROP ROLE regress_embed_setter;
