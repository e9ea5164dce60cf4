# Backups and other servers: every way to dump and restore tables whose generated
# columns, CHECKs and indexes call embed; base backups taken under an import;
# promotion, pg_rewind and rejoin; crashes of the server in the middle of imports;
# databases dropped and copied. Vectors are compared by one hash of all bits.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use IPC::Run;
use Test::More;
use Time::HiRes qw(time);

my $db = 'postgres';
my $dir = tiny_model('bert-cls');
my $primary = new_node('primary', allows_streaming => 1, conf => "wal_log_hints = on\nwal_keep_size = 512MB\n");

# ---------------------------------------------------------- what is backed up

import_model($primary, $db, 'm', $dir, '{"alias": "current"}');
import_model($primary, $db, 'gone', tiny_model('bert-mean-36'));
query($primary, $db, q{SELECT embed_drop('gone')});
# larger than the models: a parallel restore begins with the largest data
query(
	$primary, $db, q{
	CREATE TABLE docs (
		id int PRIMARY KEY,
		body text CHECK (embed_cosine(embed(body, 'm'), embed(body, 'm')) > 0.9),
		v float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED);
	INSERT INTO docs SELECT g, (SELECT string_agg(md5(g::text || x), ' ') FROM generate_series(1, 300) x) FROM generate_series(1, 100) g;
	CREATE INDEX docs_distance ON docs ((embed_cosine(embed(body, 'm'), embed('one', 'm'))));
	CREATE INDEX docs_partial ON docs (id) WHERE embed_cosine(embed(body, 'm'), embed('one', 'm')) > 0;
	CREATE TABLE triggered (id int, body text, v float4[]);
	CREATE TRIGGER t BEFORE INSERT OR UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION embed_trigger('v', 'body', 'current');
	INSERT INTO triggered SELECT id, body FROM docs WHERE id <= 50;
	CREATE MATERIALIZED VIEW a_view AS SELECT id, embed(body, 'm') AS v FROM docs WHERE id <= 20;
	CREATE TABLE aside AS SELECT g, md5(g::text) FROM generate_series(1, 2000) g});
my $docs_hash = 'SELECT md5(string_agg(v::text, id::text ORDER BY id)) FROM docs';
my $computed_hash = q{SELECT md5(string_agg(embed(body, 'm')::text, id::text ORDER BY id)) FROM docs};
my $all = "SELECT ($docs_hash) || (SELECT md5(string_agg(v::text, id::text ORDER BY id)) FROM triggered) || (SELECT md5(string_agg(v::text, id::text ORDER BY id)) FROM a_view)";
my $want = query($primary, $db, $all);
my $one = "SELECT md5(embed('a text', 'm')::text)";
my $want_one = query($primary, $db, $one);
my $use_index = 'SET enable_seqscan = off; SET enable_bitmapscan = off; ';
my $nearest = q{SELECT string_agg(id::text, ',') FROM (SELECT id FROM docs ORDER BY embed_cosine(embed(body, 'm'), embed('one', 'm')) LIMIT 7) s};
my $want_nearest = query($primary, $db, $nearest);

is(query($primary, $db, $computed_hash), query($primary, $db, $docs_hash), 'stored vectors are those computed now');

sub check_restored
{
	my ($what, $node, $restored) = @_;

	is(query($node, $restored, $all), $want, "$what: the same bits in columns and views");
	is(query($node, $restored, $computed_hash), query($node, $restored, $docs_hash), "$what: ... and computed now");
	is(query($node, $restored, $use_index . $nearest), $want_nearest, "$what: ... and in the index");
	is(query($node, $restored, q{SELECT name || aliases::text FROM embed_models}), 'm{current}', "$what: names");
	is((error_of($node, $restored, q{SELECT embed('x', 'gone');}))[0], '42704', "$what: what was dropped stays dropped");
	is((error_of($node, $restored, q{INSERT INTO docs VALUES (-1, 'a new row'); SELECT 1 / (embed('a new row', 'm') = v)::int FROM docs WHERE id = -1; DELETE FROM docs WHERE id = -1;}))[1], '', "$what: new rows");
	return;
}

# --------------------------------------------------------- dump and restore

my $dump = $primary->basedir . '/dump';
my @from = ('-d', $primary->connstr($db));
my $n_databases = 0;

sub new_database
{
	my $name = 'restored' . $n_databases++;
	query($primary, $db, "CREATE DATABASE $name TEMPLATE template0");
	return $name;
}

sub run_ok
{
	my ($what, @command) = @_;
	return $primary->command_ok(\@command, $what);
}

run_ok('pg_dump, plain', 'pg_dump', '-f', "$dump.sql", @from);
run_ok('pg_dump -Fc', 'pg_dump', '-Fc', '-f', "$dump.custom", @from);
run_ok('pg_dump -Fd -j2', 'pg_dump', '-Fd', '-j2', '-f', "$dump.dir", @from);
# before 14 a VALUES of several rows may not say DEFAULT for a generated column
my $rows_per_insert = query($primary, $db, 'SHOW server_version_num') >= 140000 ? 100 : 1;
run_ok('pg_dump --inserts', 'pg_dump', '--inserts', "--rows-per-insert=$rows_per_insert", '-f', "$dump.inserts", @from);
run_ok('pg_dump -t', 'pg_dump', '-t', 'docs', '-t', 'triggered', '-t', 'a_view', '-f', "$dump.table", @from);

my %restore = (
	'plain' => [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql" ],
	'plain, one transaction' => [ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql" ],
	'inserts' => [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.inserts" ],
	'custom' => [ 'pg_restore', '-e', "$dump.custom" ],
	'custom -j2' => [ 'pg_restore', '-e', '-j2', "$dump.custom" ],
	'directory' => [ 'pg_restore', '-e', "$dump.dir" ],
	'directory -j2' => [ 'pg_restore', '-e', '-j2', "$dump.dir" ],
	'directory -j4' => [ 'pg_restore', '-e', '-j4', "$dump.dir" ]);
for my $what (sort keys %restore)
{
	my $restored = new_database();
	my ($program, @rest) = @{ $restore{$what} };
	run_ok("restore, $what", $program, '-d', $primary->connstr($restored), @rest);
	check_restored($what, $primary, $restored);
	query($primary, $db, "DROP DATABASE $restored");
}

# Single tables, into a database that has the model.
my $single = new_database();
query($primary, $single, 'CREATE EXTENSION embed');
import_model($primary, $single, 'm', $dir, '{"alias": "current"}');
run_ok('restore, tables alone', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $primary->connstr($single), '-f', "$dump.table");
is(query($primary, $single, $all), $want, 'tables alone: the same bits');
query($primary, $single, 'DROP TABLE docs, triggered CASCADE');
run_ok('pg_restore -t', 'pg_restore', '-e', '-t', 'docs', '-d', $primary->connstr($single), "$dump.dir");
is(query($primary, $single, $docs_hash), substr($want, 0, 32), 'pg_restore -t: the same bits');

# Data alone, twice over the same schema; and the models alone.
my $by_section = new_database();
run_ok('pg_restore --section=pre-data', 'pg_restore', '-e', '--section=pre-data', '-d', $primary->connstr($by_section), "$dump.dir");
run_ok('pg_restore -a -n _embed', 'pg_restore', '-e', '-a', '-n', '_embed', '-d', $primary->connstr($by_section), "$dump.dir");
run_ok('pg_restore --section=data', 'pg_restore', '-e', '-j2', '--section=data', '-N', '_embed', '-d', $primary->connstr($by_section), "$dump.dir");
run_ok('pg_restore --section=post-data', 'pg_restore', '-e', '-j2', '--section=post-data', '-d', $primary->connstr($by_section), "$dump.dir");
check_restored('by section', $primary, $by_section);

# ------------------------------------------- restores that miss their model

my $without = new_database();
query($primary, $without, 'CREATE EXTENSION embed');

# How long a restore of docs takes into $without, and what it says. (pg_restore shows warnings if it is asked to be verbose.)
sub restore_docs
{
	my ($program) = @_;
	my $said = '';
	my @command = $program eq 'psql' ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.docs") : ('pg_restore', '-v', '-e', '-t', 'docs', "$dump.dir");
	# these tests give one name to all programs; as psql and pg_restore call themselves:
	local $ENV{PGAPPNAME} = $program;

	query($primary, $without, 'DROP TABLE IF EXISTS docs');
	my $begun = time;
	IPC::Run::run([ shift @command, '-d', $primary->connstr($without), @command ], '<' => \undef, '>&' => \$said);
	return (time - $begun, $said);
}

# A session in $without that runs $sql, once it has come to $state; then it idles, until its input ends.
sub other_session
{
	my ($state, $sql) = @_;
	local $ENV{PGAPPNAME} = 'psql';

	open my $psql, '|-', 'psql', '-X', '-q', '-o', '/dev/null', '-d', $primary->connstr($without) or die "psql: $!";
	print $psql "$sql\n";
	$psql->flush;
	$primary->poll_query_until($without, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND $state")
	  or die "no session with $state";
	return $psql;
}

sub end_session
{
	my ($psql) = @_;

	query($primary, $db, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE datname = '$without' AND state = 'active'");
	close $psql;
	return;
}

run_ok('pg_dump -t docs', 'pg_dump', '-t', 'docs', '-f', "$dump.docs", @from);
my $missing = qr/WARNING:  this restore needs model "m", which is not in the database yet/;
my $gives_up = qr/ERROR:  model "m" does not exist\n.*HINT:  .*Import it first, or restore in steps: pg_restore --section=pre-data, then -a -n _embed/s;
my $as_restore = 'SET check_function_bodies = false; SET row_security = off; SET client_min_messages = warning;';

my ($seconds, $said) = restore_docs('psql');
cmp_ok($seconds, '<', 15, 'a restore by psql without models ends soon');
like($said, qr/$missing.*DETAIL:  No other session loads models. Waiting 3 seconds/s, '... says at once for what it waits');
like($said, $gives_up, '... and what to do');
($seconds, $said) = restore_docs('pg_restore');
cmp_ok($seconds, '<', 15, '... by pg_restore likewise');
like($said, $missing, '... says so');
like($said, $gives_up, '... and what to do');
for my $stranger (
	[ 'idle in a transaction', q{state = 'idle in transaction'}, q{BEGIN; SELECT 1;} ],
	[ 'idle in a transaction that embedded', q{state = 'idle in transaction'}, q{BEGIN; SELECT count(*) FROM embed_models; SELECT count(*) FROM _embed.chunk;} ],
	[ 'active', q{query ~ '^SELECT pg_sleep'}, 'SELECT pg_sleep(40);' ],
	[ 'active in a COPY, not under pg_restore', q{query ~ '^COPY' AND application_name = 'psql'}, 'COPY (SELECT pg_sleep(40)) TO STDOUT;' ],
	[ 'active under the name of pg_restore, not in a restore', q{query ~ '^SELECT pg_sleep' AND application_name = 'pg_restore'}, q{SET application_name = 'pg_restore'; SELECT pg_sleep(40);} ])
{
	my ($what, $name, $sql) = @$stranger;
	my $psql = other_session($name, $sql);

	for my $program ('psql', 'pg_restore')
	{
		($seconds, $said) = restore_docs($program);
		cmp_ok($seconds, '<', 15, "a stranger, $what: not waited for by $program");
		like($said, $gives_up, '... and an ERROR');
	}
	end_session($psql);
}

# Sessions that may bring the model are waited for, with a bound that is said.
my $import = q{SELECT embed_import('m', } . quote($dir) . q{, '{"alias": "current"}')};
my $helper = other_session(q{query ~ '^SELECT pg_sleep'}, "BEGIN; $import; SELECT pg_sleep(8); COMMIT;");
($seconds, $said) = restore_docs('psql');
like($said, qr/$missing.*DETAIL:  Waiting at most 600 seconds for the session with PID \d+, which writes to schema _embed/s, 'a session that writes models: waited for');
unlike($said, qr/ERROR/, '... until it commits');
cmp_ok($seconds, '>', 3.5, '... longer than for nobody');
close $helper;
is(query($primary, $without, $docs_hash), substr($want, 0, 32), '... and the restore has all bits');
is(scalar(() = $said =~ /WARNING/g), 1, '... one warning');
query($primary, $without, q{SELECT embed_drop('m', forget => true, force => true)});
$helper = other_session(q{state = 'idle in transaction'}, q{BEGIN; DELETE FROM _embed.model;});
($seconds, $said) = restore_docs('psql');
like($said, qr/$missing.*DETAIL:  Waiting at most 30 seconds for the session with PID \d+, which has written to schema _embed and is idle/s, 'a writer that idles in its transaction');
like($said, $gives_up, '... does not keep a restore');
cmp_ok($seconds, '<', 45, '... for longer than said');
end_session($helper);
$helper = other_session(q{query ~ '^COPY' AND application_name = 'pg_restore'}, q{SET application_name = 'pg_restore'; COPY (SELECT pg_sleep(8)) TO STDOUT;});
($seconds, $said) = restore_docs('pg_restore');
like($said, qr/$missing.*DETAIL:  Waiting at most 3600 seconds, while other sessions of this restore are at work/s, 'sessions of one pg_restore: waited for');
like($said, $gives_up, '... while they are at work');
cmp_ok($seconds, '>', 8, '... the whole time');
close $helper;
is((error_of($primary, $without, "$as_restore SET statement_timeout = '1s'; SELECT embed('x', 'm')"))[0], '57014', 'a wait can be cancelled');

# pg_upgrade defines indexes before it brings the models' rows; calls of constants are folded there.
$primary->stop;
my @pg_ctl = ('pg_ctl', '-w', '-s', '-D', $primary->data_dir, '-l', $primary->logfile);
run_ok('a server in the hands of pg_upgrade', @pg_ctl, '-o', '-b', 'start');
is(query($primary, $without, q{SELECT num_nulls(embed('x', 'm'), embed_query('x', 'm'), embed(ARRAY['x'], 'm'), embed_tokens('x', 'm'),
	embed_info('x', 'm'), rerank('x', 'y', 'm'), rerank('x', ARRAY['y'], 'm'))}), 7, '... no model, no ERROR');
run_ok('... ends', @pg_ctl, '-m', 'fast', 'stop');

done_testing();
