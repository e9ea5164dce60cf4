# Kept columns in logical replication, with fillers on both servers: what the
# publisher fills arrives, the subscriber leaves it alone, and no row has the
# vector of another text on either side.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $publisher = new_node('publisher', allows_streaming => 'logical', conf => "max_worker_processes = 10\n");
my $subscriber = new_node('subscriber', conf => "max_worker_processes = 12\nwal_retrieve_retry_interval = 100ms\n");
my $db = 'postgres';

sub comes { return answer_comes($_[0], $db, @_[ 1 .. 3 ]) }
sub open_rows { return "SELECT count(*) FROM $_[0] WHERE e IS NULL AND body IS NOT NULL" }
sub wrong { return "SELECT count(*) FROM $_[0] WHERE e IS NOT NULL AND e IS DISTINCT FROM embed(body, 'm')" }
sub rows_of { return "SELECT count(*) || ' ' || coalesce(md5(string_agg(id || ':' || body || ':' || coalesce(e::text, ''), ',' ORDER BY id)), '') FROM $_[0]" }

# Both servers have the same rows, all filled.
sub equal
{
	my ($table, $name) = @_;

	comes($publisher, open_rows($table), 0, "$name: the publisher fills");
	comes($subscriber, rows_of($table), query($publisher, $db, rows_of($table)), '... and the subscriber has the same rows and vectors');
	return;
}

for my $node ($publisher, $subscriber)
{
	import_model($node, $db, 'm', tiny_model('bert-cls'));
	query($node, $db, q{
		CREATE TABLE keyed (id int PRIMARY KEY, body text, e float4[]);
		CREATE TABLE keyless (id int, body text, e float4[]);
		ALTER TABLE keyless REPLICA IDENTITY FULL;
		CREATE TABLE parts (id int PRIMARY KEY, body text, e float4[]) PARTITION BY RANGE (id);
		CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
		CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
		SELECT embed_column(t, 'body', 'e', 'm', 'later') FROM unnest('{keyed,keyless,parts}'::regclass[]) t});
}
query($publisher, $db, "INSERT INTO $_ SELECT i, 'row ' || i FROM generate_series(1, 150) i") for qw(keyed keyless parts);
query($publisher, $db, 'CREATE PUBLICATION p FOR TABLE keyed, keyless, parts');
my $connection = $publisher->connstr . ' dbname=postgres';
query($subscriber, $db, "CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p");
equal($_, "$_, copied") for qw(keyed keyless parts);
comes($subscriber, q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')}, 0, 'synchronized');

# The subscriber has a table of its own, whose filler is at work all the time.
query($subscriber, $db, q{CREATE TABLE own (id int PRIMARY KEY, body text); SELECT embed_column('own', 'body', 'e', 'm', 'later'); CREATE TABLE stop (at int)});
my $watch = start_psql($subscriber, $db, q{DO $$ DECLARE bad bigint; n int := 0;
	BEGIN
		LOOP
			SELECT count(*) INTO bad FROM (SELECT body, e FROM keyed UNION ALL SELECT body, e FROM keyless UNION ALL SELECT body, e FROM parts) t WHERE e IS NOT NULL AND e IS DISTINCT FROM embed(body, 'm');
			IF bad > 0 THEN RAISE '% wrong vectors', bad; END IF;
			n := n + 1;
			INSERT INTO own VALUES (n, 'own ' || n);
			COMMIT;
			EXIT WHEN n > 2 AND EXISTS (SELECT FROM stop);
		END LOOP;
	END $$});
for my $round (1 .. 4)
{
	for my $table (qw(keyed keyless parts))
	{
		query($publisher, $db, qq{INSERT INTO $table SELECT 150 + 5 * $round + i, 'new $round ' || i FROM generate_series(0, 4) i;
			UPDATE $table SET body = 'changed $round ' || id WHERE id % 4 = $round % 4;
			UPDATE $table SET id = id + 150 WHERE id IN ($round);
			DELETE FROM $table WHERE id = 50 + $round});
	}
}
equal($_, "$_, changed") for qw(keyed keyless parts);
query($subscriber, $db, 'INSERT INTO stop VALUES (1)');
my ($code, undef, $err) = finish_psql($watch);
is($code, 0, 'the subscriber never shows a vector of another text') or diag($err);
comes($subscriber, open_rows('own'), 0, 'its own table is filled');
is(query($publisher, $db, wrong($_)) + query($subscriber, $db, wrong($_)), 0, "$_: vectors of its texts on both servers") for qw(keyed keyless parts);
is(query($subscriber, $db, q{SELECT string_agg(format('%s %s %s', tab, status, last_error LIKE '%subscription%'), ', ' ORDER BY tab::text) FROM embed_columns}),
	'keyed off t, keyless off t, own complete , parts_1 off t, parts_2 off t', 'the subscriber leaves tables of the subscription alone, and says so');
is(query($subscriber, $db, q{SELECT sum(filled) FROM embed_columns WHERE tab <> 'own'::regclass}), 0, '... and has filled none of their rows');
my ($out, $said) = ('', '');
$subscriber->psql($db, q{CALL embed_fill('keyed')}, stdout => \$out, stderr => \$said);
like($said, qr/WARNING:  table "keyed" is not filled: the table belongs to a subscription/, 'nor does embed_fill');
is(query($publisher, $db, q{SELECT count(*) FROM embed_failures}), 0, 'no row has failed');

# ---------------------------------------------------------------- triggers of the subscriber

# ALWAYS and REPLICA triggers fire for what arrives; a publisher that sends no vectors.
query($publisher, $db, q{CREATE TABLE plain (id int PRIMARY KEY, body text); CREATE TABLE plainer (id int PRIMARY KEY, body text); ALTER PUBLICATION p ADD TABLE plain, plainer});
query($subscriber, $db, q{CREATE TABLE plain (id int PRIMARY KEY, body text); CREATE TABLE plainer (id int PRIMARY KEY, body text);
	SELECT embed_column(t, 'body', 'e', 'm', 'now') FROM unnest('{plain,plainer}'::regclass[]) t;
	ALTER TABLE plain ENABLE ALWAYS TRIGGER zz_embed_e; ALTER TABLE plainer ENABLE REPLICA TRIGGER zz_embed_e});
query($subscriber, $db, 'ALTER SUBSCRIPTION s REFRESH PUBLICATION');
query($publisher, $db, qq{INSERT INTO $_ SELECT i, 'plain ' || i FROM generate_series(1, 20) i; UPDATE $_ SET body = 'changed ' || id WHERE id < 5}) for qw(plain plainer);
for my $table (qw(plain plainer))
{
	comes($subscriber, "SELECT count(*) FROM $table WHERE e = embed(body, 'm') AND (id >= 5 OR body LIKE 'changed%')", 20, "$table: the subscriber computes what arrives");
}
query($subscriber, $db, q{INSERT INTO plain VALUES (100, 'local'); INSERT INTO plainer VALUES (100, 'local')});
is(query($subscriber, $db, q{SELECT a.e IS NOT NULL, b.e IS NULL FROM plain a, plainer b WHERE a.id = 100 AND b.id = 100}), 't|t', 'an ALWAYS trigger fires for local rows as well, a REPLICA trigger does not');
is(query($subscriber, $db, q{SELECT status, last_error LIKE '%disabled%' FROM embed_columns WHERE tab = 'plainer'::regclass}), 'off|t', '... and is shown as disabled');

# ---------------------------------------------------------------- a table that publishes updates and has no identity

query($publisher, $db, q{CREATE TABLE nameless (id int, body text); SELECT embed_column('nameless', 'body', 'e', 'm', 'later');
	CREATE PUBLICATION without_subscribers FOR TABLE nameless; INSERT INTO nameless SELECT i, 'nameless ' || i FROM generate_series(1, 3) i});
comes($publisher, q{SELECT last_error LIKE 'cannot update table "nameless" because it does not have a replica identity%' FROM embed_columns WHERE tab = 'nameless'::regclass}, 't',
	'a table whose updates cannot be published: the column waits, and says why');
is(query($publisher, $db, 'SELECT count(*) FROM embed_failures'), 0, '... and no text is blamed');
query($publisher, $db, q{ALTER TABLE nameless REPLICA IDENTITY FULL; INSERT INTO nameless VALUES (4, 'with an identity')});
comes($publisher, open_rows('nameless'), 0, '... and is filled once it has one');

# ---------------------------------------------------------------- failures, where everything is published

for my $node ($publisher, $subscriber)
{
	query($node, $db, 'CREATE DATABASE all_tables');
	query($node, 'all_tables', q{CREATE EXTENSION embed;
		CREATE TABLE docs (id int PRIMARY KEY, body text, e float4[], CHECK (NOT (id = 3 AND e IS NOT NULL)))});
}
import_model($publisher, 'all_tables', 'm', tiny_model('bert-cls'));
query($publisher, 'all_tables', q{SELECT embed_column('docs', 'body', 'e', 'm', 'later'); INSERT INTO docs SELECT i, 'row ' || i FROM generate_series(1, 5) i});
answer_comes($publisher, 'all_tables', 'SELECT count(*) FROM embed_failures', 1, 'a text of the publisher fails');
query($publisher, 'all_tables', 'CREATE PUBLICATION everything FOR ALL TABLES');
query($subscriber, 'all_tables', "CREATE SUBSCRIPTION everything CONNECTION '" . $publisher->connstr . " dbname=all_tables' PUBLICATION everything");
query($publisher, 'all_tables', q{UPDATE docs SET body = 'another ' || id WHERE id = 3; INSERT INTO docs VALUES (6, 'row 6')});
answer_comes($subscriber, 'all_tables', 'SELECT count(e) FROM docs', 5, 'a subscriber of all tables gets rows and vectors');
answer_comes($publisher, 'all_tables', q{SELECT count(*) FROM docs d WHERE e IS NULL AND body = 'another 3'}, 1, 'another text fails');
answer_comes($publisher, 'all_tables', 'SELECT sum(tries) FROM _embed.failure', 1, '... and is recorded in the place of the first');
query($publisher, 'all_tables', q{INSERT INTO docs VALUES (7, 'the last row')});
answer_comes($subscriber, 'all_tables', 'SELECT count(*) FROM docs WHERE id = 7 AND e IS NOT NULL', 1, 'what came later arrives');
is(query($subscriber, 'all_tables', 'SELECT count(*) FROM _embed.failure'), 0, '... and no failure of the other server, whose tables have other OIDs');
query($subscriber, 'all_tables', 'DROP SUBSCRIPTION everything');

# ---------------------------------------------------------------- the subscription ends

query($publisher, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = off});
query($publisher, $db, 'SELECT pg_reload_conf()');
comes($publisher, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'embed filler'}, 0, 'the publisher fills no more');
query($publisher, $db, q{INSERT INTO keyed VALUES (1000, 'left to do')});
comes($subscriber, q{SELECT count(*) FROM keyed WHERE id = 1000 AND e IS NULL}, 1, 'a row that arrives without a vector');
query($subscriber, $db, 'DROP SUBSCRIPTION s');
query($subscriber, $db, q{INSERT INTO own VALUES (0, 'a commit')});
comes($subscriber, open_rows('keyed'), 0, 'once the subscription is dropped, the server fills it itself');
is(query($subscriber, $db, wrong('keyed')), 0, '... with vectors of its texts');
$subscriber->stop;
$publisher->stop;

done_testing();
