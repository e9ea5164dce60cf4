-- A stored image of another layout version, as a new version of the extension finds it: what the message advises is what works.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\set path :data_dir '/tiny/bert-cls/model'
-- the versions are in the header, from byte 8 on; today's numbers do not matter here
CREATE TEMP TABLE old AS SELECT set_byte(string_agg(data, '' ORDER BY no), 8, 250) AS bytes, (array_agg(fingerprint))[1] AS source
FROM _embed.chunk WHERE fingerprint = (SELECT decode(fingerprint, 'hex') FROM embed_models WHERE name = 'tiny-cls');
SELECT length(bytes) <= 1048576 AS one_stored_chunk FROM old;
INSERT INTO _embed.image SELECT sha256(bytes), size_bytes, kind, family, dim, max_tokens, "precision", pooling, query_prompt, document_prompt, outputs, takes_instruction, instruction, has_template
FROM _embed.image JOIN old ON fingerprint = source;
INSERT INTO _embed.chunk SELECT sha256(bytes), 0, bytes FROM old;
INSERT INTO _embed.model SELECT 'old-m', sha256(bytes), false FROM old;
CREATE FUNCTION pg_temp.try(command text, OUT state text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	state := 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	message := regexp_replace(message, '\m\d+\M', 'N', 'g');
END
$$;
\x on
SELECT * FROM pg_temp.try($$SELECT embed('a text', 'old-m')$$);
SELECT * FROM pg_temp.try($$SELECT * FROM embed_verify('old-m')$$);
SELECT * FROM pg_temp.try($$SELECT embed_load('old-n', bytes) FROM old$$);
-- the directory under the same name: refused, also after a drop
SELECT * FROM pg_temp.try(format('SELECT embed_import(''old-m'', %L)', :'path'));
SELECT * FROM pg_temp.try($$SELECT embed_drop('old-m')$$);
SELECT * FROM pg_temp.try(format('SELECT embed_import(''old-m'', %L)', :'path'));
\x off
-- the directory under its name, where the name is kept: test/t/092_old_images.pl; here it is freed, or another is taken
SELECT embed_import('old-new', :'path') IS NOT NULL AS imported;
SELECT embed_drop('old-m', forget => true);
SELECT embed_import('old-m', :'path') IS NOT NULL AS imported;
SELECT embed('a text', 'old-m') = embed('a text', 'tiny-cls') AS same_bits, embed('a text', 'old-new') = embed('a text', 'tiny-cls') AS same_bits_too;
SELECT embed_drop('old-new', forget => true);
SELECT embed_drop('old-m', forget => true);
