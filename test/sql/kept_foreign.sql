-- Foreign tables and foreign partitions: what embed_column, embed_chunk_table and embed_trigger make of them.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql
\i :data_dir/sql/filler_off.sql

CREATE FOREIGN DATA WRAPPER kept_wrapper;
CREATE SERVER kept_server FOREIGN DATA WRAPPER kept_wrapper;
CREATE FOREIGN TABLE kept_far (id int, body text, embedding float4[]) SERVER kept_server;
SELECT embed_column('kept_far', 'body');
SELECT embed_chunk_table('kept_far', 'body', 12, 4);
SELECT embed_column_drop('kept_far', 'embedding');
SELECT embed_check('kept_far', 'embedding');
-- a trigger made by hand computes here what goes there
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON kept_far FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', 'tiny-cls');
SELECT embed_column('kept_far', 'body');
DROP TRIGGER t ON kept_far;
-- the server has no constraint triggers on foreign tables
CREATE TABLE kept_far_chunks ();
\set VERBOSITY sqlstate
CREATE CONSTRAINT TRIGGER t AFTER INSERT OR UPDATE ON kept_far FROM kept_far_chunks NOT DEFERRABLE FOR EACH ROW
	EXECUTE FUNCTION embed_chunk_trigger('body', '12', '4', 'tiny-cls');
\set VERBOSITY default
DROP TABLE kept_far_chunks;

-- a foreign partition: the other partitions can be kept
CREATE TABLE kept_shards (id int, body text, embedding float4[]) PARTITION BY LIST (id);
CREATE TABLE kept_shard_1 PARTITION OF kept_shards FOR VALUES IN (1);
CREATE TABLE kept_shards_below PARTITION OF kept_shards FOR VALUES IN (2, 3) PARTITION BY LIST (id);
CREATE FOREIGN TABLE kept_shard_2 PARTITION OF kept_shards_below FOR VALUES IN (2) SERVER kept_server;
SELECT embed_column('kept_shards', 'body');
SELECT embed_column('kept_shards_below', 'body');
SELECT embed_chunk_table('kept_shards', 'body', 12, 4);
SELECT embed_column('kept_shard_1', 'body');
INSERT INTO kept_shards VALUES (1, 'a local row');
SELECT embedding = embed(body) AS right FROM kept_shard_1;
SELECT embed_column_drop('kept_shard_1', 'embedding');
-- one that comes later gets the trigger: its rows are embedded here on their way
DROP FOREIGN TABLE kept_shard_2;
SELECT embed_column('kept_shards', 'body');
CREATE FOREIGN TABLE kept_shard_2 PARTITION OF kept_shards_below FOR VALUES IN (2) SERVER kept_server;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'kept_shard%' ORDER BY 1;
SELECT embed_column('kept_shards', 'body', mode => 'later');
-- and goes with it
SELECT embed_column_drop('kept_shards', 'embedding');
SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'kept_shard%';

-- chunk tables need a key, and the server has no foreign partitions below one
CREATE TABLE kept_keyed (id int PRIMARY KEY, body text) PARTITION BY LIST (id);
CREATE TABLE kept_keyed_1 PARTITION OF kept_keyed FOR VALUES IN (1);
SELECT embed_chunk_table('kept_keyed', 'body', 12, 4);
\set VERBOSITY sqlstate
CREATE FOREIGN TABLE kept_keyed_2 PARTITION OF kept_keyed FOR VALUES IN (2) SERVER kept_server;

SET client_min_messages = warning;
DROP TABLE kept_keyed CASCADE;
DROP TABLE kept_keyed_chunks, kept_shards;
DROP FOREIGN DATA WRAPPER kept_wrapper CASCADE;
\i :data_dir/sql/filler_on.sql
