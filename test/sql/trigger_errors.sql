-- What embed_trigger refuses.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

CREATE TABLE trigger_docs (id int, body text, embedding float4[], flag bool,
	upper_body text GENERATED ALWAYS AS (upper(body)) STORED,
	made float4[] GENERATED ALWAYS AS (ARRAY[id::float4]) STORED);

-- Makes the trigger, fires it, says what came of it.
CREATE FUNCTION trigger_try(timing text, arguments text, events text DEFAULT 'INSERT OR UPDATE', each text DEFAULT 'ROW')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
BEGIN
	EXECUTE format('CREATE TRIGGER t %s %s ON trigger_docs FOR EACH %s EXECUTE FUNCTION embed_trigger(%s)',
				   timing, events, each, arguments);
	INSERT INTO trigger_docs (id, body) VALUES (1, 'x');
	DELETE FROM trigger_docs;
	DROP TRIGGER t ON trigger_docs;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
	RETURN state || ' ' || message;
END $$;

SELECT embed_trigger();
SELECT trigger_try('BEFORE', $$'embedding', 'body'$$);
SELECT trigger_try('AFTER', $$'embedding', 'body'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'body'$$, each => 'STATEMENT');
SELECT trigger_try('BEFORE', $$'embedding', 'body'$$, 'DELETE');
SELECT trigger_try('BEFORE', '');
SELECT trigger_try('BEFORE', $$'embedding'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'body', 'tiny-cls', 'more'$$);
SELECT trigger_try('BEFORE', $$'nowhere', 'body'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'nowhere'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'ctid'$$);
SELECT trigger_try('BEFORE', $$'body', 'body'$$);
SELECT trigger_try('BEFORE', $$'flag', 'body'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'id'$$);
SELECT trigger_try('BEFORE', $$'made', 'body'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'upper_body'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'body', 'no-such-model'$$);
SELECT trigger_try('BEFORE', $$'embedding', 'body', ''$$);
DROP FUNCTION trigger_try(text, text, text, text);
DROP TABLE trigger_docs;
