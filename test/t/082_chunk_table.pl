# Chunk tables: sessions that write one row, isolation levels, savepoints,
# prepared transactions, MERGE, dump and restore, a subscriber.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('chunk_table', allows_streaming => 'logical', conf => "max_prepared_transactions = 2\nembed.background = off\n");
my $db = 'postgres';
my $version = query($node, $db, 'SHOW server_version_num');

import_model($node, $db, 'm', tiny_model('bert-cls'));
query($node, $db, q{CREATE TABLE docs (id int PRIMARY KEY, title text, body text, note text);
	INSERT INTO docs SELECT i, 'Title ' || i, (SELECT string_agg('sentence ' || j || ' of ' || i, '. ') FROM generate_series(1, 1 + i % 20) j) FROM generate_series(1, 30) i;
	SELECT embed_chunk_table('docs', 'title, body', 24, 4, 'm')});

# Rows that a call of embed_chunk_table cuts are left to do.
sub fill
{
	my ($where) = @_;
	return query($where // $node, $db, q{UPDATE docs_chunks SET embedding = embed(chunk, 'm') WHERE embedding IS NULL});
}
is(query($node, $db, q{SELECT count(*) = count(*) FILTER (WHERE embedding IS NULL) FROM docs_chunks}), 't', 'the call cuts, and leaves vectors to do');
fill();

# Chunks that are missing, that nobody cuts, and vectors that are not those of their chunk.
my $wrong = q{SELECT count(*) FILTER (WHERE b IS NULL), count(*) FILTER (WHERE a IS NULL),
	count(*) FILTER (WHERE b IS NOT NULL AND embedding IS DISTINCT FROM embed(chunk, 'm')) FROM
	(SELECT id, c.ordinality, c.start_char, c.end_char, c.chunk FROM docs,
		embed_chunks(CASE WHEN title IS NOT NULL OR body IS NOT NULL THEN concat_ws(E'\n\n', title, body) END, 24, 4, 'm') c) a
	FULL JOIN docs_chunks b USING (id, ordinality, start_char, end_char, chunk)};
sub is_right
{
	my ($name, $where, $in) = @_;
	return is(query($where // $node, $in // $db, $wrong), '0|0|0', $name);
}
is_right('rows that were there');
cmp_ok(query($node, $db, 'SELECT count(*) FROM docs_chunks'), '>', 100, '... are many chunks');

# ------------------------------------------------------------ statements

query($node, $db, q{BEGIN; UPDATE docs SET body = 'one ' || body; SAVEPOINT s; UPDATE docs SET body = 'two'; DELETE FROM docs WHERE id < 20;
	ROLLBACK TO s; UPDATE docs SET title = NULL WHERE id = 3; SAVEPOINT t; INSERT INTO docs VALUES (31, NULL, 'in a savepoint'); RELEASE t; COMMIT});
is_right('savepoints');
query($node, $db, q{BEGIN; UPDATE docs SET body = body || ' prepared' WHERE id = 4; INSERT INTO docs VALUES (32, 'prepared'); PREPARE TRANSACTION 'p'});
is_right('a prepared transaction: the old chunks');
query($node, $db, q{COMMIT PREPARED 'p'});
is_right('... and the new');
is(query($node, $db, q{WITH d AS (DELETE FROM docs WHERE id = 5 RETURNING *) SELECT id FROM d}), '5', 'RETURNING');
is(query($node, $db, q{WITH n AS (INSERT INTO docs SELECT 500 + i, 'with', 'WITH ' || i FROM generate_series(1, 3) i RETURNING id) UPDATE docs SET body = 'by WITH' WHERE id = 6 RETURNING id}), '6', '... of two changes');
query($node, $db, q{INSERT INTO docs VALUES (6, 'conflict', 'x'), (700, 'none', 'y') ON CONFLICT (id) DO UPDATE SET title = excluded.title});
query($node, $db, q{MERGE INTO docs d USING (VALUES (7, 'merged'), (800, 'merged, too')) v (id, t) ON d.id = v.id
	WHEN MATCHED THEN UPDATE SET body = v.t WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.t)}) if $version >= 150000;
is_right('WITH, ON CONFLICT, MERGE');
query($node, $db, q{UPDATE docs SET id = id + 10000; UPDATE docs SET id = id - 10000, body = body || '!'});
is_right('all keys there and back');
query($node, $db, q{BEGIN; ALTER TABLE docs DISABLE TRIGGER zz_embed_chunks; INSERT INTO docs VALUES (900, 'unseen'); ALTER TABLE docs ENABLE TRIGGER zz_embed_chunks; COMMIT;
	SELECT embed_chunk_table('docs', 'title, body', 24, 4, 'm')});
fill();
is_right('a row that the trigger did not see, after the same call again');
query($node, $db, q{ALTER TABLE docs DROP note, ADD extra int DEFAULT 7; UPDATE docs SET body = body || '?' WHERE extra = 7});
is_right('columns dropped and added');

# ------------------------------------------------------------ two sessions

for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my @sessions = map {
		my $word = $_;
		start_psql($node, $db, join("\n", '\set ON_ERROR_STOP 0', map {
			"BEGIN ISOLATION LEVEL $level; UPDATE docs SET body = '$word $_ ' || left(body, 200) WHERE id IN (8, 9); COMMIT;"
			  . " INSERT INTO docs VALUES (1000, '$word', 'by $word $_') ON CONFLICT (id) DO UPDATE SET body = excluded.body; DELETE FROM docs WHERE id = 1000 AND $_ % 3 = 0;"
		} 1 .. 30)) } qw(left right);
	my @errors = grep { !/could not serialize access|canceling statement|^DETAIL|^HINT|^CONTEXT|^$|^SQL statement/ } map { split /\n/, (finish_psql($_))[2] } @sessions;
	is_deeply(\@errors, [], "$level: two sessions write the same rows, errors are serialization failures only");
	is_right('... their chunks');
}

# ------------------------------------------------------------ dump, restore

my $dump = $node->basedir . '/dump';
for my $how ([ '-Fp' ], [ '-Fc' ])
{
	my $to = 'restored' . lc substr($how->[0], 2);
	query($node, $db, "CREATE DATABASE $to");
	$node->command_ok([ 'pg_dump', @$how, '-f', $dump, $node->connstr($db) ], "pg_dump $how->[0]");
	$node->command_ok($how->[0] eq '-Fc' ? [ 'pg_restore', '-e', '-j2', '-d', $node->connstr($to), $dump ] :
		  [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($to), '-f', $dump ], '... restored');
	is_right('... right', $node, $to);
	query($node, $to, q{UPDATE docs SET body = 'restored ' || body; INSERT INTO docs VALUES (2000, 'new'); DELETE FROM docs WHERE id = 10});
	is_right('... and kept', $node, $to);
	query($node, $to, q{DROP TABLE docs_chunks; UPDATE docs SET body = 'no chunks'});
	is(query($node, $to, q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%embed_chunks'}), '0', '... DROP TABLE takes the trigger along');
}

# ------------------------------------------------------------ a subscriber

my $subscriber = new_node('chunk_subscriber', conf => "embed.background = off\n");
import_model($subscriber, $db, 'm', tiny_model('bert-cls'));
query($subscriber, $db, q{CREATE TABLE docs (id int PRIMARY KEY, title text, body text, extra int);
	SELECT embed_chunk_table('docs', 'title, body', 24, 4, 'm')});
query($node, $db, q{CREATE PUBLICATION p FOR TABLE docs, docs_chunks});
query($subscriber, $db, "CREATE SUBSCRIPTION s CONNECTION '" . $node->connstr . " dbname=$db' PUBLICATION p");
$subscriber->poll_query_until($db, q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')}) or die 'never synchronized';
query($node, $db, q{UPDATE docs SET body = 'replicated ' || body WHERE id < 15; DELETE FROM docs WHERE id = 16; INSERT INTO docs VALUES (3000, 'new'); UPDATE docs SET id = 3001 WHERE id = 17});
$node->wait_for_catchup('s');
is_right('a subscriber gets chunks as rows', $subscriber);
query($subscriber, $db, 'DROP SUBSCRIPTION s');

# ------------------------------------------------------------ the end

like((error_of($node, $db, 'DROP EXTENSION embed'))[1], qr/zz_embed_chunks on table docs depends on function embed_chunk_trigger/, 'DROP EXTENSION names the trigger');
query($node, $db, 'SET client_min_messages = error; DROP TABLE docs CASCADE');
is(query($node, $db, q{SELECT count(*) > 0 FROM docs_chunks}), 't', 'DROP TABLE .. CASCADE leaves the chunks');

done_testing();
