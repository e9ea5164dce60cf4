# Other servers and other databases: base backups and crashes in the middle of
# imports, a hot standby that makes its own files, promotion, pg_rewind and
# rejoin; databases and extensions dropped, databases copied. No orphan file, the
# same bits everywhere.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use File::Basename qw(basename);
use Test::More;
use Time::HiRes qw(usleep time);

my $db = 'postgres';
my $dir = real_model() // tiny_model('bert-cls');
my $tiny = tiny_model('bert-mean-36');
my $one = "SELECT md5(embed('a text', 'm')::text)";
my $a = new_node('a', allows_streaming => 1, conf => "wal_log_hints = on\nwal_keep_size = 1GB\nhot_standby_feedback = on\n");

import_model($a, $db, 'm', $dir, '{"alias": "current"}');
my $want = query($a, $db, $one);

sub make_node
{
	my ($name) = @_;
	return $EmbedTest::cluster_class->can('get_new_node')
	  ? $EmbedTest::cluster_class->get_new_node($name)
	  : $EmbedTest::cluster_class->new($name);
}

sub temp_files
{
	my ($node) = @_;
	return glob($node->data_dir . '/pgsql_tmp_embed/*/*.tmp');
}

# Every model of the database whole, none half there.
sub check_models
{
	my ($what, $node) = @_;
	my $bad = query($node, $db,
		q{SELECT string_agg(name, ',') FROM embed_models WHERE NOT (SELECT bool_and(ok) FROM embed_verify(name))});
	my $orphans = query($node, $db, q{
		SELECT (SELECT count(*) FROM _embed.chunk c WHERE NOT EXISTS (SELECT FROM _embed.image i WHERE i.fingerprint = c.fingerprint))
			+ (SELECT count(*) FROM _embed.model m WHERE NOT dropped AND NOT EXISTS (SELECT FROM _embed.image i WHERE i.fingerprint = m.fingerprint))});
	is($bad, '', "$what: every model there is whole");
	is($orphans, 0, "$what: nothing half-installed");
	return;
}

# --------------------------------------- crashes in the middle of an import

my $import = "SELECT embed_import('half', " . quote(tiny_model('bert-mean-48')) . ", '{\"max_tokens\": 40}');\n";
my $started = time;
query($a, $db, $import);
my $import_s = time - $started;
query($a, $db, q{SELECT embed_drop('half', forget => true)});

for my $round (0 .. 5)
{
	my $part = (0.15, 0.5, 0.8, 0.95, 1.0, 1.05)[$round];
	my $psql = start_psql($a, $db, $import);

	usleep(1e6 * $part * $import_s);
	if ($round % 2 == 0)
	{
		kill_server($a);
		finish_psql($psql);
	}
	else
	{
		$a->stop('immediate');
		finish_psql($psql);
	}
	$a->start;
	is(query($a, $db, $one), $want, sprintf 'a crash at %d %% of an import: the other model goes on', 100 * $part);
	check_models(sprintf('a crash at %d %%', 100 * $part), $a);
	query($a, $db, q{SELECT embed_drop(name, forget => true) FROM embed_models WHERE name = 'half'});
	is_deeply([ temp_files($a) ], [], '... and no temporary file, once somebody has embedded');
	is(scalar image_files($a), 1, '... one image');
}

# ----------------------------------------- base backup in the middle of imports

my $psql = start_psql($a, $db, "BEGIN; $import SELECT cardinality(embed('x', 'half')) > 0; SELECT pg_sleep(3) IS NULL; ROLLBACK;\n");
$a->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) or die 'the import never ended';
my $background = start_psql($a, $db, "SELECT embed_import('other', " . quote($tiny) . ");\n");
$a->backup('backup');
finish_psql($_) for $psql, $background;
ok(!-e $a->backup_dir . '/backup/pgsql_tmp_embed', 'a base backup under an import holds no file of ours');

my $b = make_node('b');
$b->init_from_backup($a, 'backup', has_streaming => 1);
$b->start;
$a->wait_for_catchup($b, 'replay', $a->lsn('insert'));
my @together = map { start_psql($b, $db, "$one;\n") } 1 .. 4;
is(join(' ', map { (finish_psql($_))[1] } @together), join(' ', ($want) x 4), 'a new standby materializes for four sessions at once: the same bits');
is(scalar image_files($b), 1, '... one file');
check_models('standby', $b);
is(query($b, $db, 'SELECT count(*) FROM _embed.image'), 2, 'what was rolled back is not there');

# A drop on the primary: the standby's sessions let go, and its file goes.
my $held = $b->background_psql($db, on_error_stop => 0);
my $want_other = query($a, $db, q{SELECT md5(embed('a text', 'other')::text)});
is($held->query(q{SELECT md5(embed('a text', 'other')::text)}), $want_other, 'a session of the standby maps a model');
query($a, $db, q{SELECT embed_drop('other')});
$a->wait_for_catchup($b, 'replay', $a->lsn('insert'));
$held->query('SELECT 1') for 1 .. 2;
is(scalar image_files($b), 1, '... dropped on the primary: its file goes with the next statement, whatever that is');
my $backend = $held->query('SELECT pg_backend_pid()');
ok(!grep({ m|pgsql_tmp_embed/.*deleted| } split /\n/, slurp("/proc/$backend/maps")), '... and so does the mapping');
$held->quit;
import_model($a, $db, 'brief', tiny_model('bert-mean-48'));
$a->wait_for_catchup($b, 'replay', $a->lsn('insert'));
query($b, $db, q{SELECT embed('x', 'brief')});
query($a, $db, q{SELECT embed_drop('brief', forget => true)});
$a->wait_for_catchup($b, 'replay', $a->lsn('insert'));
query($b, $db, $one);
is(scalar image_files($b), 1, '... or with the next session that embeds');

# ------------------------------------------- promotion, pg_rewind, rejoin

$b->promote;
is(query($b, $db, $one), $want, 'promoted: the same bits');
import_model($b, $db, 'new', $tiny);
my $want_new = query($b, $db, q{SELECT md5(embed('a text', 'new')::text)});
is($want_new, $want_other, 'promoted: imports, and the same content has the same bits');
# the old primary goes its own way
import_model($a, $db, 'lost', tiny_model('bert-mean-48'));
query($a, $db, q{SELECT embed('x', 'lost')});
$a->stop('fast');
query($b, $db, 'CHECKPOINT');
my $conf = slurp($a->data_dir . '/postgresql.conf');
my %inode_before = map { basename($_) => (stat $_)[1] } image_files($a);
$a->command_ok([ 'pg_rewind', '--target-pgdata', $a->data_dir, '--source-server', $b->connstr($db), '-R' ], 'pg_rewind of the old primary');
# image_file.h: it treats our folder like any other, and overwrites files in place
my %inode_after = map { basename($_) => (stat $_)[1] } image_files($a);
is(join(' ', sort keys %inode_after), join(' ', sort map { basename($_) } image_files($b)), '... copies the image files of the new primary');
my @kept = grep { exists $inode_after{$_} } keys %inode_before;
is(scalar @kept, 1, '... of which the old one had one');
is($inode_after{$_}, $inode_before{$_}, '... which is overwritten in place, so it must be writable') for @kept;
spit($a->data_dir . '/postgresql.conf', $conf);
$a->start;
is(query($a, $db, 'SELECT pg_is_in_recovery()'), 't', 'it rejoins as a standby');
# pg_rewind gave the connection another name than wait_for_catchup knows
$a->poll_query_until($db, q{SELECT pg_last_wal_replay_lsn() >= '} . $b->lsn('insert') . q{'}) or die 'it never caught up';
is(query($a, $db, $one), $want, '... with the same bits');
is(query($a, $db, q{SELECT md5(embed('a text', 'new')::text)}), $want_new, '... with the model of the new primary');
is((error_of($a, $db, q{SELECT embed('x', 'lost');}))[0], '42704', '... without the one that was lost');
check_models('rewound', $a);
is(scalar image_files($a), 2, '... and without its file');
$a->stop;

# --------------------------------------------- databases and extensions

my $c = $b;
query($c, $db, q{SELECT embed_drop('new', forget => true)});
query($c, $db, "CREATE TABLE docs (body text, v float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED); INSERT INTO docs SELECT g FROM generate_series(1, 20) g; "
	. q{CREATE INDEX ON docs ((embed_cosine(embed(body, 'm'), v)))});
my $docs = q{SELECT md5(string_agg(v::text || embed(body, 'm')::text, ' ' ORDER BY body)) FROM docs};
my $want_docs = query($c, $db, $docs);
query($c, 'template1', "CREATE DATABASE copy TEMPLATE $db");
is(query($c, 'copy', $docs), $want_docs, 'CREATE DATABASE ... TEMPLATE: the same bits');
is(scalar image_files($c), 2, '... two names');
is(scalar(keys %{ { map { (stat $_)[1] => 1 } image_files($c) } }), 1, '... one inode');
query($c, 'copy', q{INSERT INTO docs VALUES ('another')});
query($c, $db, 'DROP DATABASE copy');
is(query($c, $db, $docs), $want_docs, 'the copy is dropped: this one goes on');
is(scalar image_files($c), 1, '... and the copy\'s files are gone');
ok(!grep({ $_ == 0 } map { -s $_ } image_files($c)), '... files are whole');

query($c, $db, 'CREATE DATABASE copy TEMPLATE template0');
query($c, 'copy', 'CREATE EXTENSION embed');
import_model($c, 'copy', 'm', $dir);
my $user = $c->background_psql('copy', on_error_stop => 0);
is($user->query($one), $want, 'an extension in use');
query($c, 'copy', 'DROP EXTENSION embed');
$user->query('SELECT 1') for 1 .. 2;
is(scalar image_files($c), 1, '... dropped by another session: the user of it removes its files at its next commit');
$user->quit;
query($c, 'copy', 'CREATE EXTENSION embed');
import_model($c, 'copy', 'm', $dir);
query($c, 'copy', "$one; DROP EXTENSION embed");
is(scalar image_files($c), 1, '... dropped by a session that used it: gone at once');
query($c, 'copy', 'CREATE EXTENSION embed');
import_model($c, 'copy', 'm', $dir);
query($c, 'copy', "$one; BEGIN; DROP EXTENSION embed; ROLLBACK; $one");
is(scalar image_files($c), 2, '... a drop rolled back leaves them');
is(query($c, 'copy', $one), $want, '... and the model');
query($c, 'copy', 'DROP EXTENSION embed');
is(query($c, $db, $docs), $want_docs, 'other databases go on');
query($c, 'copy', 'CREATE EXTENSION embed');
import_model($c, 'copy', 'm', $dir);
is(scalar image_files($c), 2, 'an extension again');
query($c, 'copy', q{LOAD 'embed'; BEGIN; DROP EXTENSION embed; ROLLBACK});
is(scalar image_files($c), 2, '... its drop rolled back in a session that has the library, as all have where it is preloaded');
query($c, 'copy', q{LOAD 'embed'; DROP EXTENSION embed});
is(scalar image_files($c), 1, '... dropped there: gone at once');
query($c, 'copy', q{LOAD 'embed'; CREATE EXTENSION embed});
import_model($c, 'copy', 'm', $dir);
query($c, 'copy', 'DROP EXTENSION embed');
is(scalar image_files($c), 2, '... dropped by a session without the library: its file stays');
query($c, 'copy', 'CREATE EXTENSION embed');
import_model($c, 'copy', 'small', $tiny);
is(scalar image_files($c), 2, 'what a session without the library left is swept by the next import there');

done_testing();
