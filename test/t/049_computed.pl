# How many texts each kind of statement computes, as the table of docs/kept-columns.md says:
# texts - cache_hits of embed_stat, with embed.cache_entries = 0. Every line of
# that table is a check here, named by the line.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $n = 20;
my $node = new_node('computed', allows_streaming => 'logical', conf => "wal_level = logical\nembed.cache_entries = 0\nmax_parallel_workers_per_gather = 0\n");
my $db = 'postgres';
my $version = int(query($node, $db, 'SHOW server_version_num') / 10000);

import_model($node, $db, 'm', tiny_model('bert-cls'), '{"default": true}');
query($node, $db, qq{CREATE TABLE texts AS SELECT i AS id, 'document ' || i || ' about ' || md5(i::text) AS body FROM generate_series(1, $n) i});

sub counted
{
	my ($server) = @_;
	return query($server, $db, q{SELECT sum(texts - cache_hits) FROM embed_stat});
}

sub computes
{
	my ($want, $name, $sql) = @_;
	my $before = counted($node);

	query($node, $db, "SET client_min_messages = error; $sql");
	return is(counted($node) - $before, $want, "$name: $want");
}

# Right vectors, too: a computation that is saved must not be missed.
sub all_right
{
	my ($table, $name) = @_;
	return is(query($node, $db, qq{SELECT count(*) > 0, count(*) FILTER (WHERE e IS DISTINCT FROM embed(body, 'm')) FROM $table}), 't|0', "... $name: all vectors right");
}

my $with_trigger = q{CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON %1$s FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')};

# ------------------------------------------------------------- the trigger

query($node, $db, q{CREATE TABLE docs (id int PRIMARY KEY, body text, e float4[], note text)});
query($node, $db, sprintf($with_trigger, 'docs'));
computes($n, 'COPY', q{COPY texts TO '} . $node->basedir . q{/texts'; COPY docs (id, body) FROM '} . $node->basedir . q{/texts'; TRUNCATE docs});
computes($n, 'INSERT', q{INSERT INTO docs SELECT id, body FROM texts});
computes(0, 'INSERT of NULL', q{INSERT INTO docs VALUES (0, NULL)});
query($node, $db, q{DELETE FROM docs WHERE body IS NULL});
computes(0, 'UPDATE of another column', q{UPDATE docs SET note = 'touched'});
computes(0, 'UPDATE that assigns an equal text', q{UPDATE docs SET body = body || ''});
computes($n, 'UPDATE of the text', q{UPDATE docs SET body = body || '!'});
computes($n, 'UPDATE .. SET embedding = NULL', q{UPDATE docs SET e = NULL});
query($node, $db, q{UPDATE docs SET body = t.body FROM texts t WHERE t.id = docs.id});
computes($n, 'INSERT of ready vectors', q{INSERT INTO docs SELECT id + 100, body, e FROM docs; DELETE FROM docs WHERE id > 100});

computes(0, 'ON CONFLICT DO NOTHING, equal texts', q{INSERT INTO docs SELECT id, body FROM texts ON CONFLICT (id) DO NOTHING});
computes(0, 'ON CONFLICT DO NOTHING without a target', q{INSERT INTO docs SELECT id, body FROM texts ON CONFLICT DO NOTHING});
computes(0, 'ON CONFLICT DO UPDATE, equal texts', q{INSERT INTO docs SELECT id, body FROM texts ON CONFLICT (id) DO UPDATE SET body = excluded.body, e = excluded.e});
computes($n, 'ON CONFLICT DO UPDATE, other texts',
	q{INSERT INTO docs SELECT id, body || '?' FROM texts ON CONFLICT (id) DO UPDATE SET body = excluded.body, e = excluded.e});
computes($n, 'ON CONFLICT DO UPDATE that leaves the vector out', q{INSERT INTO docs SELECT id, body FROM texts ON CONFLICT (id) DO UPDATE SET body = excluded.body});
computes($n, 'ON CONFLICT DO NOTHING, other texts', q{INSERT INTO docs SELECT id, body || '!!' FROM texts ON CONFLICT (id) DO NOTHING});
computes(0, 'ON CONFLICT under REPEATABLE READ', q{BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO docs SELECT id, body FROM texts ON CONFLICT DO NOTHING; COMMIT});
computes($n, 'ON CONFLICT under SERIALIZABLE', q{BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO docs SELECT id, body FROM texts ON CONFLICT DO NOTHING; COMMIT});
all_right('docs', 'after conflicts');
query($node, $db, q{SET client_min_messages = error; CREATE TABLE by_default (id int PRIMARY KEY, body text, e float4[]);
	CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON by_default FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body'); INSERT INTO by_default SELECT id, body FROM texts});
computes($n, 'ON CONFLICT under a trigger that names no model', q{INSERT INTO by_default SELECT id, body FROM texts ON CONFLICT DO NOTHING});

# Keys of several columns, collations, domains; indexes that say nothing about the row.
query($node, $db, q{CREATE DOMAIN short AS varchar(40);
	CREATE TABLE keyed (a int, b short COLLATE "C", body text, e float4[], UNIQUE (b, a) INCLUDE (body))});
query($node, $db, sprintf($with_trigger, 'keyed'));
computes($n, 'a key of two columns, INSERT', q{INSERT INTO keyed SELECT id % 3, 'key ' || id, body FROM texts});
computes(0, 'a key of two columns, ON CONFLICT', q{INSERT INTO keyed SELECT id % 3, 'key ' || id, body FROM texts ON CONFLICT DO NOTHING});
computes($n, 'a key with a NULL', q{INSERT INTO keyed SELECT NULL, 'key ' || id, body FROM texts ON CONFLICT DO NOTHING});
all_right('keyed', 'keys of two columns');
for my $unique ('UNIQUE (id) DEFERRABLE INITIALLY DEFERRED', 'EXCLUDE (id WITH =)')
{
	query($node, $db, "CREATE TABLE other_keys (id int, body text, e float4[], $unique)");
	query($node, $db, sprintf($with_trigger, 'other_keys'));
	query($node, $db, q{INSERT INTO other_keys SELECT id, body FROM texts});
	computes($n, $unique, q{BEGIN; SAVEPOINT s; DELETE FROM other_keys; INSERT INTO other_keys SELECT id, body FROM texts; COMMIT});
	all_right('other_keys', $unique);
	query($node, $db, q{DROP TABLE other_keys});
}
query($node, $db, q{CREATE TABLE other_keys (id int, body text, e float4[]); CREATE UNIQUE INDEX ON other_keys ((id + 1)); CREATE UNIQUE INDEX ON other_keys (id) WHERE id > 5});
query($node, $db, sprintf($with_trigger, 'other_keys'));
query($node, $db, q{INSERT INTO other_keys SELECT id, body FROM texts});
computes($n, 'indexes on expressions and with predicates', q{INSERT INTO other_keys SELECT id, body FROM texts ON CONFLICT DO NOTHING});

# Long texts and vectors out of line.
query($node, $db, q{CREATE TABLE long_docs (id int PRIMARY KEY, body text, e float4[]); ALTER TABLE long_docs ALTER e SET STORAGE EXTERNAL, ALTER body SET STORAGE EXTERNAL;
	ALTER TABLE long_docs SET (toast_tuple_target = 128)});
query($node, $db, sprintf($with_trigger, 'long_docs'));
query($node, $db, q{INSERT INTO long_docs SELECT id, repeat(body || ' ', 100) FROM texts});
computes(0, 'ON CONFLICT, values out of line', q{INSERT INTO long_docs SELECT id, repeat(body || ' ', 100) FROM texts ON CONFLICT (id) DO UPDATE SET body = excluded.body, e = excluded.e});
all_right('long_docs', 'values out of line');

if ($version >= 15)
{
	computes(0, 'MERGE that updates nothing', q{MERGE INTO docs d USING docs t ON d.id = t.id WHEN MATCHED THEN UPDATE SET body = t.body WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.body)});
	computes(2, 'MERGE that changes two rows', q{MERGE INTO docs d USING docs t ON d.id = t.id WHEN MATCHED THEN UPDATE SET body = t.body || CASE WHEN t.id <= 2 THEN '#' ELSE '' END});
	computes($n, 'MERGE that inserts', q{MERGE INTO docs d USING texts t ON d.id = t.id + 200 WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (t.id + 200, t.body); DELETE FROM docs WHERE id > 200});
}
else
{
	skip_loudly('no MERGE before PostgreSQL 15', 3);
}

# The UPDATE of docs/kept-columns.md, on rows from before the trigger.
my $backfill = q{UPDATE %1$s SET e = b.embedding
	FROM (SELECT a.ids[r.ordinality] AS id, r.embedding
		FROM (SELECT array_agg(id ORDER BY id) AS ids, array_agg(body ORDER BY id) AS bodies FROM %1$s WHERE e IS NULL GROUP BY id / 7) a, embed_rows(a.bodies%2$s) r) b
	WHERE %1$s.id = b.id};
my @columns = ('float4[]');
push @columns, 'vector(64)' if query($node, $db, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'}) && query($node, $db, q{CREATE EXTENSION vector; SELECT 1});
skip_loudly('no pgvector', 5) if @columns == 1;
for my $type (@columns)
{
	query($node, $db, "CREATE TABLE old (id int PRIMARY KEY, body text, e $type); INSERT INTO old SELECT id, body FROM texts");
	query($node, $db, sprintf($with_trigger, 'old'));
	computes($n, "UPDATE .. FROM embed_rows, $type", sprintf($backfill, 'old', ", 'm'"));
	query($node, $db, q{ALTER TABLE old DISABLE TRIGGER zz_embed; UPDATE old SET e = NULL; ALTER TABLE old ENABLE TRIGGER zz_embed});
	computes($n, "... by the default model, $type", sprintf($backfill, 'old', ''));
	is(query($node, $db, q{SELECT count(*) FROM old WHERE e::float4[] IS DISTINCT FROM embed(body, 'm')}), 0, "... right vectors, $type");
	computes($n, "UPDATE .. SET embedding = embed(text), $type", q{UPDATE old SET e = embed(body, 'm')});
	computes($n, "INSERT of vectors that the statement computes, $type", q{INSERT INTO old SELECT t.id + 500, t.body, r.embedding
		FROM (SELECT array_agg(body ORDER BY id) AS bodies, array_agg(id ORDER BY id) AS ids FROM texts) a, embed_rows(a.bodies, 'm') r JOIN texts t ON t.id = r.ordinality});
	query($node, $db, q{DROP TABLE old});
}
query($node, $db, q{CREATE TABLE old (id int PRIMARY KEY, body text, e float4[]); INSERT INTO old SELECT id, body FROM texts});
query($node, $db, sprintf($with_trigger, 'old'));
computes($n, 'vectors of embed(text[])', q{UPDATE old SET e = ARRAY(SELECT v.all_of[r.id][i] FROM generate_series(1, 64) i)
	FROM (SELECT embed(array_agg(body ORDER BY id), 'm') AS all_of FROM texts) v, texts r WHERE r.id = old.id});
query($node, $db, q{ALTER TABLE old DISABLE TRIGGER zz_embed; UPDATE old SET e = NULL; ALTER TABLE old ENABLE TRIGGER zz_embed});
computes($n, 'vectors of embed_agg', q{UPDATE old SET e = ARRAY(SELECT v.all_of[r.id][i] FROM generate_series(1, 64) i)
	FROM (SELECT embed_agg(body, 'm' ORDER BY id) AS all_of FROM texts) v, texts r WHERE r.id = old.id});
all_right('old', 'elements of matrices');
query($node, $db, q{ALTER TABLE old DISABLE TRIGGER zz_embed; UPDATE old SET e = NULL; ALTER TABLE old ENABLE TRIGGER zz_embed});
computes(2 * $n, 'vectors of an earlier transaction', q{CREATE TABLE earlier AS SELECT id, embed(body, 'm') AS e FROM texts; UPDATE old SET e = s.e FROM earlier s WHERE s.id = old.id});
# a text that is cut: believed where cutting is silent, else computed and told
query($node, $db, q{UPDATE old SET body = repeat(body || ' ', 200)});
computes($n, 'texts that are cut', q{UPDATE old SET e = embed(body, 'm')});
computes(2 * $n, 'texts that are cut, and that is an error after', q{BEGIN; CREATE TEMP TABLE kept AS SELECT id, embed(body, 'm') AS e FROM old; SET embed.on_overflow = 'warn';
	ALTER TABLE old DISABLE TRIGGER zz_embed; UPDATE old SET e = NULL; ALTER TABLE old ENABLE TRIGGER zz_embed; UPDATE old SET e = kept.e FROM kept WHERE kept.id = old.id; COMMIT});

# rows that move
query($node, $db, q{CREATE TABLE parted (id int, body text, e float4[], PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
	CREATE TABLE parted_2 (e float4[], gone int, id int NOT NULL, body text);
	ALTER TABLE parted_2 DROP gone; ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (1000) TO (2000);
	ALTER TABLE parted_2 ALTER body SET STORAGE EXTERNAL, ALTER e SET STORAGE EXTERNAL, SET (toast_tuple_target = 128)});
query($node, $db, sprintf($with_trigger, 'parted'));
query($node, $db, q{INSERT INTO parted SELECT id, repeat(body, 50) FROM texts});
computes(0, 'a row moved to another partition', q{UPDATE parted SET id = id + 1000});
computes(0, '... and back, from values out of line', q{UPDATE parted SET id = id - 1000});
all_right('parted', 'rows that moved');
computes($n, 'a row moved with another text', q{UPDATE parted SET id = id + 1000, body = body || '!'});
all_right('parted', 'rows that moved with another text');
computes(0, 'ON CONFLICT on a partitioned table', q{INSERT INTO parted SELECT id, body FROM parted ON CONFLICT (id) DO UPDATE SET body = excluded.body, e = excluded.e});
# a vector that somebody slips in on the way is not taken
query($node, $db, q{CREATE FUNCTION slip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.e := array_fill(0::float4, '{64}'); RETURN NEW; END $$;
	CREATE TRIGGER a_slip BEFORE INSERT ON parted_1 FOR EACH ROW EXECUTE FUNCTION slip()});
computes($n, 'a row that another trigger changes on the move', q{UPDATE parted SET id = id - 1000});
all_right('parted', 'rows that were changed on the move');
query($node, $db, q{DROP TRIGGER a_slip ON parted_1});

# ------------------------------------------------- generated columns, indexes

query($node, $db, q{CREATE TABLE generated (id int PRIMARY KEY, body text, note text, e float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED)});
computes($n, 'generated column, INSERT', q{INSERT INTO generated SELECT id, body FROM texts});
computes(0, 'generated column, UPDATE of another column', q{UPDATE generated SET note = 'touched'});
computes($n, 'generated column, UPDATE that assigns the text', q{UPDATE generated SET body = body});
computes($n, 'generated column, ON CONFLICT DO NOTHING', q{INSERT INTO generated SELECT id, body FROM texts ON CONFLICT DO NOTHING});
query($node, $db, q{CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER t BEFORE UPDATE ON generated FOR EACH ROW EXECUTE FUNCTION nothing()});
computes($n, 'generated column and a BEFORE UPDATE trigger, UPDATE of another column', q{UPDATE generated SET note = 'touched again'});
computes($n, 'ADD COLUMN .. GENERATED', q{ALTER TABLE texts ADD e float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED});
for my $rewrite ('VACUUM FULL %s', 'CLUSTER %1$s USING %1$s_pkey', 'REINDEX TABLE %s', 'ALTER TABLE %s ALTER note TYPE varchar(30)', 'ANALYZE %s')
{
	computes(0, "$_, no index that calls embed", $_) for map { sprintf($rewrite, $_) } qw(generated docs);
}
query($node, $db, q{ALTER TABLE texts DROP e});

query($node, $db, q{CREATE TABLE indexed (id int PRIMARY KEY, body text, note text, size int) WITH (fillfactor = 40); INSERT INTO indexed SELECT id, body FROM texts; CREATE INDEX ON indexed (size)});
computes($n, 'CREATE INDEX', q{CREATE INDEX by_first ON indexed (((embed(body, 'm'))[1]))});
computes($n, 'expression index, INSERT', q{INSERT INTO indexed SELECT id + 100, body FROM texts});
query($node, $db, q{DELETE FROM indexed WHERE id > 100; VACUUM indexed});
computes(0, 'expression index, UPDATE of another column (HOT)', q{UPDATE indexed SET note = 'touched'});
computes($n, 'expression index, UPDATE of another indexed column', q{UPDATE indexed SET size = 1});
computes($n, 'ANALYZE', q{ANALYZE indexed});
computes($n, 'REINDEX', q{REINDEX INDEX by_first});
computes($n, 'VACUUM FULL', q{VACUUM FULL indexed});
computes($n, 'CLUSTER', q{CLUSTER indexed USING indexed_pkey});
computes($n, 'ALTER TYPE of another column', q{ALTER TABLE indexed ALTER size TYPE bigint});
computes(0, 'VACUUM', q{VACUUM indexed});
computes(0, 'ANALYZE with STATISTICS 0', q{ALTER INDEX by_first ALTER COLUMN 1 SET STATISTICS 0; ANALYZE indexed});

# ------------------------------------------------------------------ queries

computes($n, 'SELECT', q{SELECT embed(body, 'm') FROM texts});
computes(5, 'LIMIT 5', q{SELECT embed(body, 'm') FROM texts LIMIT 5});
computes(15, 'OFFSET 10 LIMIT 5', q{SELECT embed(body, 'm') FROM texts OFFSET 10 LIMIT 5});
computes(15, 'ORDER BY id OFFSET 10 LIMIT 5', q{SELECT embed(body, 'm') FROM texts ORDER BY id OFFSET 10 LIMIT 5});
computes(5, 'OFFSET in a subquery', q{SELECT embed(body, 'm') FROM (SELECT body FROM texts ORDER BY id OFFSET 10 LIMIT 5) s});
computes($n, 'DISTINCT ON', q{SELECT DISTINCT ON (id % 4) id, embed(body, 'm') FROM texts ORDER BY id % 4, id});
computes(4, 'DISTINCT ON in a subquery', q{SELECT embed(body, 'm') FROM (SELECT DISTINCT ON (id % 4) id, body FROM texts ORDER BY id % 4, id) s});

# ------------------------------------------------------ dumps, replication

my $dump = $node->basedir . '/data.sql';
$node->command_ok([ 'pg_dump', '-a', '-t', 'docs', '-t', 'generated', '-t', 'indexed', '-f', $dump, $node->connstr($db) ], 'a dump of data alone');
sub restore_data
{
	my ($want, $name, @more) = @_;
	query($node, $db, 'TRUNCATE docs, generated, indexed');
	my $before = counted($node);
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr($db) ], "$name, loaded");
	return is(counted($node) - $before, $want, "$name: $want");
}
restore_data(3 * $n, 'data-only restore: a trigger, a generated column, an index');
query($node, $db, q{ALTER TABLE docs DISABLE TRIGGER zz_embed});
restore_data(2 * $n, 'data-only restore with the trigger disabled: generated column and index');
query($node, $db, q{ALTER TABLE docs ENABLE TRIGGER zz_embed});
all_right('docs', 'restored');

my $subscriber = new_node('subscriber', conf => "wal_level = logical\nembed.cache_entries = 0\n");
import_model($subscriber, $db, 'm', tiny_model('bert-cls'));
query($_, $db, q{CREATE TABLE sent (id int PRIMARY KEY, body text, e float4[]); CREATE TABLE sent_indexed (id int PRIMARY KEY, body text);
	CREATE TABLE sent_generated (id int PRIMARY KEY, body text, e float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED)}) for ($node, $subscriber);
query($subscriber, $db, q{CREATE INDEX ON sent_indexed (((embed(body, 'm'))[1]))});
query($_, $db, sprintf($with_trigger, 'sent')) for ($node, $subscriber);
query($node, $db, q{CREATE PUBLICATION p FOR TABLE sent, sent_generated, sent_indexed});
query($subscriber, $db, "CREATE SUBSCRIPTION s CONNECTION '" . $node->connstr . q{ dbname=postgres' PUBLICATION p});
$node->wait_for_catchup('s');
$subscriber->poll_query_until($db, q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'});
for my $mode ([ 0, 'ENABLE TRIGGER' ], [ $n, 'ENABLE ALWAYS TRIGGER' ])
{
	my ($want, $enable) = @$mode;
	query($subscriber, $db, "ALTER TABLE sent $enable zz_embed");
	my $before = counted($subscriber);
	query($node, $db, q{DELETE FROM sent; INSERT INTO sent SELECT id, body FROM texts});
	$node->wait_for_catchup('s');
	is(counted($subscriber) - $before, $want, "logical replication, $enable: $want on the subscriber");
	is(query($subscriber, $db, q{SELECT count(*) FROM sent WHERE e = embed(body, 'm')}), $n, '... right vectors there');
}
for my $table (qw(sent_generated sent_indexed))
{
	my $before = counted($subscriber);
	query($node, $db, "INSERT INTO $table SELECT id, body FROM texts");
	$node->wait_for_catchup('s');
	is(counted($subscriber) - $before, $n, "logical replication, $table: $n on the subscriber");
}
query($subscriber, $db, q{DROP SUBSCRIPTION s});

done_testing();
