# Kept columns are filled in the background and by embed_fill: wake-ups, what
# rows may do meanwhile, errors, roles, drops, crashes.
#
#	EMBED_WAKES=10000 EMBED_KILLS=1000	by hand
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('filler', conf => "max_prepared_transactions = 4\nmax_worker_processes = 8\nrestart_after_crash = on\n");
my $db = 'postgres';
my $n_wakes = $ENV{EMBED_WAKES} // 30;
my $n_kills = $ENV{EMBED_KILLS} // 2;

import_model($node, $db, 'm', tiny_model('bert-cls'));

sub ask { return answer_of($node, $_[1] // $db, $_[0]) }
sub comes { return answer_comes($node, $_[3] // $db, @_[ 0 .. 2 ]) }

sub make_table
{
	my ($name, %options) = @_;
	my $columns = $options{columns} // 'id int PRIMARY KEY, body text, other int, e float4[]';

	query($node, $options{db} // $db, "CREATE TABLE $name ($columns) " . ($options{partition} // '') . ";
		CREATE TRIGGER zz_$name BEFORE INSERT OR UPDATE ON $name FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later')"
		  . ($options{index} // 1 ? "; CREATE INDEX ${name}_e_to_do ON $name (id) WHERE e IS NULL AND body IS NOT NULL" : ''));
	return;
}

my $fillers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'embed filler'};
sub wrong { return "SELECT count(*) FROM $_[0] WHERE e IS NOT NULL AND e IS DISTINCT FROM embed(body, 'm')" }
sub open_rows { return "SELECT count(*) FROM $_[0] WHERE e IS NULL AND body IS NOT NULL" }

# ---------------------------------------------------------------- wake-ups

make_table('docs');
query($node, $db, q{INSERT INTO docs SELECT i, 'text ' || i FROM generate_series(1, 300) i});
comes(open_rows('docs'), 0, 'a commit starts a filler, without preload');
is(query($node, $db, wrong('docs')), 0, '... which writes the vectors of the texts');
is(query($node, $db, q{SELECT status, to_do, failed, filled, mode, source, mixed FROM embed_columns}), 'complete|0|0|300|later|body|f', 'embed_columns says so');
is(query($node, $db, q{BEGIN; SAVEPOINT a; INSERT INTO docs VALUES (1000, 'gone'); ROLLBACK TO a; COMMIT; SELECT count(*) FROM docs WHERE id = 1000}), 0, 'a part that is rolled back');
comes($fillers, 0, 'the filler ends by itself');

# One row at a random moment of the filler's life, most of all at its end.
my $late = 0;
srand(1);
for my $i (1 .. $n_wakes)
{
	my $until;

	query($node, $db, "INSERT INTO docs VALUES (2000 + $i, 'wake $i')");
	# what is lost does not come, however long a busy machine takes for what does
	$until = time + 180;
	sleep 0.005 while ask("SELECT e IS NOT NULL FROM docs WHERE id = 2000 + $i") ne 't' && time < $until;
	$late++ if time >= $until;
	sleep($i % 10 == 0 ? 1.9 + rand(0.2) : rand(0.02));
}
is($late, 0, "$n_wakes commits at random moments: no wake-up is lost");

query($node, $db, q{BEGIN; INSERT INTO docs VALUES (5000, 'prepared'); PREPARE TRANSACTION 'p'});
query($node, $db, q{COMMIT PREPARED 'p'});
comes(q{SELECT embed('look') IS NOT NULL AND (SELECT e IS NOT NULL FROM docs WHERE id = 5000)}, 't', 'a prepared transaction: filled after its commit');

# Without the control file, and with a file that nobody can write.
comes($fillers, 0, 'the filler ends');
query($node, $db, q{COPY (SELECT 1) TO PROGRAM 'cd pgsql_tmp_embed && until mkdir control.v3; do rm -rf control.v3; done'});
query($node, $db, q{INSERT INTO docs VALUES (5001, 'no file')});
comes(open_rows('docs'), 0, 'without the control file');
query($node, $db, q{COPY (SELECT 1) TO PROGRAM 'cd pgsql_tmp_embed && rm -rf control.v3'});

# Settings.
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = off});
query($node, $db, q{SELECT pg_reload_conf()});
comes(q{LOAD 'embed'; SHOW embed.background}, 'off', 'embed.background off');
comes($fillers, 0, '... ends the filler');
query($node, $db, q{INSERT INTO docs VALUES (5002, 'off')});
is(query($node, $db, q{SELECT status, to_do FROM embed_columns}), 'off|1', '... and is shown');
my ($state, $message) = error_of($node, $db, q{BEGIN; CALL embed_fill('docs')});
is($state, '25001', 'embed_fill refuses a transaction block');
my ($out, $err) = ('', '');
$node->psql($db, q{CALL embed_fill('docs')}, stdout => \$out, stderr => \$err);
like($err, qr/NOTICE:  column "e" of table "docs": filled 1 of 1 rows \(100 %\)/, 'embed_fill says what it did');
is(query($node, $db, open_rows('docs')), 0, '... and did it');
is((error_of($node, $db, q{CALL embed_fill('docs', 0)}))[0], '22023', 'no time at all');

# ---------------------------------------------------------------- rows that change

# A fill reads under AccessShareLock and writes under RowExclusiveLock: a session with SHARE is between.
make_table('moving', columns => 'id int, body text, other int, e float4[]', partition => 'PARTITION BY RANGE (id)', index => 0);
query($node, $db, q{CREATE TABLE moving_1 PARTITION OF moving FOR VALUES FROM (0) TO (100); CREATE TABLE moving_2 PARTITION OF moving FOR VALUES FROM (100) TO (200);
	INSERT INTO moving SELECT i, 'part ' || i FROM generate_series(0, 9) i});
my $dir = $node->basedir;
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db));
my $between = sub {
	my ($change, $name) = @_;
	my ($in, $read, $errors) = ('', '', '');
	my $holder = IPC::Run::start([@psql, '-At'], '<', \$in, '>', \$read, '2>', \$errors);
	my $fill;

	$in .= "BEGIN; LOCK TABLE moving_1 IN SHARE MODE; SELECT 'locked';\n";
	$holder->pump until $read =~ /locked/;
	$fill = IPC::Run::start([ @psql, '-c', q{CALL embed_fill('moving')} ], '>', \my $said, '2>', \my $complaint);
	comes(q{SELECT count(*) FROM pg_locks WHERE relation = 'moving_1'::regclass AND mode = 'RowExclusiveLock' AND NOT granted}, 1, "$name: between reading and writing");
	$in .= "$change; COMMIT;\n\\q\n";
	$holder->finish;
	$fill->finish;
	is($errors . ($complaint =~ /ERROR/ ? $complaint : ''), '', '... without an error');
	is(query($node, $db, wrong('moving')), 0, '... and no vector meets another text');
	is(query($node, $db, open_rows('moving')), 0, '... and the next pass fills the rest');
	query($node, $db, q{UPDATE moving SET body = body || '.', id = id % 10});
	return;
};
$between->(q{UPDATE moving SET body = 'changed ' || id WHERE id < 5}, 'texts change');
$between->(q{UPDATE moving SET other = 1}, 'another column changes');
$between->(q{DELETE FROM moving WHERE id = 9}, 'a row is deleted');
$between->(q{UPDATE moving SET id = id + 100 WHERE id < 3}, 'rows move to another partition');
$between->(q{TRUNCATE moving_1; INSERT INTO moving SELECT i, 'again ' || i FROM generate_series(0, 9) i}, 'truncated, the same ctids again');
$between->(q{ALTER TABLE moving_1 RENAME TO moving_x; ALTER TABLE moving_x RENAME TO moving_1}, 'renamed');
query($node, $db, q{CREATE TABLE moving_3 PARTITION OF moving FOR VALUES FROM (200) TO (300); INSERT INTO moving VALUES (200, 'new partition'); CALL embed_fill('moving')});
is(query($node, $db, open_rows('moving')), 0, 'a new partition is found');

# ---------------------------------------------------------------- errors

make_table('poison');
query($node, $db, q{ALTER TABLE poison ADD CHECK (NOT (id = 500 AND e IS NOT NULL)); INSERT INTO poison SELECT i, 'row ' || i FROM generate_series(1, 1000) i; CALL embed_fill('poison')});
is(query($node, $db, q{SELECT count(*), min(id) FROM poison WHERE e IS NULL}), '1|500', 'a poisoned row: 999 are filled');
is(query($node, $db, q{SELECT tab, vector, sqlstate, tries FROM embed_failures}), 'poison|e|23514|1', '... and one is in embed_failures');
is(query($node, $db, q{SELECT status, to_do, failed FROM embed_columns WHERE tab = 'poison'::regclass}), 'failing|1|1', '... and in embed_columns');
query($node, $db, q{CALL embed_fill('poison')});
is(query($node, $db, q{SELECT tries FROM embed_failures}), 1, '... and not tried again');
is(query($node, $db, q{SELECT embed_retry('poison')}), 1, 'embed_retry forgets it');
query($node, $db, q{CALL embed_fill('poison'); UPDATE poison SET body = 'another', id = 5000 WHERE id = 500; CALL embed_fill('poison')});
is(query($node, $db, q{SELECT count(*) FILTER (WHERE e IS NULL), (SELECT count(*) FROM embed_failures) FROM poison}), '0|0', 'a changed text is tried, and its failure forgotten');
query($node, $db, q{CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.id = 7 THEN RETURN NULL; END IF; RETURN new; END $$;
	CREATE TRIGGER a BEFORE UPDATE ON poison FOR EACH ROW EXECUTE FUNCTION skip();
	ALTER TABLE poison DISABLE TRIGGER a; UPDATE poison SET body = body || '!' WHERE id < 10; ALTER TABLE poison ENABLE TRIGGER a; CALL embed_fill('poison')});
is(query($node, $db, q{SELECT count(*), min(id), (SELECT min(sqlstate) FROM embed_failures) FROM poison WHERE e IS NULL}), '1|7|09000', 'a trigger that skips the update ends in embed_failures');
query($node, $db, q{DROP TABLE poison});

import_model($node, $db, 'gone', tiny_model('bert-mean-36'));
query($node, $db, q{CREATE TABLE lost (id int, body text, e float4[]); CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON lost FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'gone', 'later');
	INSERT INTO lost VALUES (1, 'x'); SELECT embed_drop('gone', force => true); INSERT INTO docs VALUES (6000, 'beside'); CALL embed_fill()});
is(query($node, $db, open_rows('docs')), 0, 'a column without its model stops alone');
like(query($node, $db, q{SELECT last_error FROM embed_columns WHERE tab = 'lost'::regclass}), qr/gone/, '... and says why');
query($node, $db, q{DROP TABLE lost});

# ---------------------------------------------------------------- roles

query($node, $db, q{CREATE ROLE owner; CREATE ROLE other; GRANT CREATE ON SCHEMA public TO owner;
	CREATE TABLE seen (who text, restricted bool); GRANT INSERT ON seen TO owner; SET ROLE owner;
	CREATE TABLE owned (id int, body text, e float4[]);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE failed bool := false; BEGIN
		BEGIN EXECUTE 'SET ROLE postgres'; EXCEPTION WHEN OTHERS THEN failed := true; END;
		INSERT INTO public.seen VALUES (current_user, failed); RETURN new; END $$;
	CREATE TRIGGER a BEFORE UPDATE ON owned FOR EACH ROW EXECUTE FUNCTION note();
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON owned FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
	INSERT INTO owned VALUES (1, 'owned')});
is((error_of($node, $db, q{SET ROLE other; CALL embed_fill('owned')}))[0], '42501', 'embed_fill needs UPDATE');
is(query($node, $db, q{SET ROLE other; SELECT count(*) FROM embed_columns WHERE tab = 'owned'::regclass}), 0, 'embed_columns shows tables that one may read');
query($node, $db, q{CALL embed_fill('owned')});
is(query($node, $db, q{SELECT count(*), min(who), max(who), bool_and(restricted) FROM seen}), '1|owner|owner|t', 'triggers run as the owner, and cannot become another');
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM RESET embed.background});
query($node, $db, q{SELECT pg_reload_conf()});
comes(q{LOAD 'embed'; SHOW embed.background}, 'on', 'embed.background on');
query($node, $db, q{TRUNCATE seen; SET ROLE owner; INSERT INTO owned VALUES (2, 'again')});
comes(open_rows('owned'), 0, 'the filler fills it');
is(query($node, $db, q{SELECT count(*), min(who), max(who), bool_and(restricted) FROM seen}), '1|owner|owner|t', '... as the owner, too');
query($node, $db, q{ALTER TABLE owned ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY});
is(query($node, $db, q{SELECT status, last_error LIKE '%FORCE ROW LEVEL SECURITY%' FROM embed_columns WHERE tab = 'owned'::regclass}), 'off|t', 'FORCE ROW LEVEL SECURITY: left alone, and shown so');

# ---------------------------------------------------------------- crashes

make_table('crash');
for my $round (1 .. $n_kills)
{
	my ($victim, $log_size);

	query($node, $db, "INSERT INTO crash SELECT $round * 10000 + i, 'round $round row ' || i || repeat(' more', 200) FROM generate_series(1, 300) i");
	for (my $until = time + 180; time < $until; sleep 0.01)
	{
		$victim = ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'embed filler' LIMIT 1});
		last if $victim =~ /^\d+$/;
	}
	like($victim, qr/^\d+$/, "round $round: a filler, killed");
	$log_size = -s $node->logfile;
	kill 'KILL', $victim if $victim =~ /^\d+$/;
	wait_for_server($node, $db, $log_size);
	query($node, $db, "INSERT INTO crash VALUES ($round * 10000, 'after $round')");
	comes(open_rows('crash'), 0, '... and the first commit has all filled');
}
is(query($node, $db, q{SELECT count(*) FROM crash}), 301 * $n_kills, 'no row is lost');
is(query($node, $db, wrong('crash')), 0, 'no vector of another text');

# ---------------------------------------------------------------- drops

query($node, $db, 'CREATE DATABASE second');
query($node, 'second', 'CREATE EXTENSION embed');
import_model($node, 'second', 'm', tiny_model('bert-cls'));
make_table('big', db => 'second');
query($node, 'second', q{INSERT INTO big SELECT i, 'row ' || i || repeat(' word', 300) FROM generate_series(1, 3000) i});
comes($fillers, 1, 'a filler at work');
query($node, 'second', q{DROP EXTENSION embed CASCADE});
comes($fillers, 0, 'DROP EXTENSION while filling');
query($node, 'second', 'CREATE EXTENSION embed');
import_model($node, 'second', 'm', tiny_model('bert-cls'));
make_table('more', db => 'second');
query($node, 'second', q{INSERT INTO more SELECT i, 'row ' || i || repeat(' word', 300) FROM generate_series(1, 3000) i});
comes($fillers, 1, 'a filler at work');
drop_database($node, $db, 'second');
is(query($node, $db, q{SELECT count(*) FROM pg_database WHERE datname = 'second'}), 0, 'DROP DATABASE while filling');

# SIGTERM
query($node, $db, q{INSERT INTO docs SELECT 10000 + i, 'row ' || i || repeat(' word', 100) FROM generate_series(1, 600) i});
comes($fillers, 1, 'a filler at work');
query($node, $db, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'embed filler'});
comes($fillers, 0, 'SIGTERM ends it');
is(query($node, $db, q{INSERT INTO docs VALUES (20000, 'next'); SELECT 1}), 1, '... and the next commit');
comes(open_rows('docs'), 0, '... has the rest filled');

# ---------------------------------------------------------------- preload, no slot

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'embed'\n");
query($node, $db, q{INSERT INTO docs SELECT 30000 + i, 'row ' || i || repeat(' word', 100) FROM generate_series(1, 600) i});
$node->stop('immediate');
$node->start;
comes(open_rows('docs'), 0, 'with preload a launcher goes on after a restart');
is(query($node, $db, wrong('docs')), 0, 'all vectors are those of their texts');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\nmax_worker_processes = 0\n");
$node->start;
query($node, $db, q{INSERT INTO docs VALUES (40000, 'no slot')});
is(query($node, $db, q{SELECT status FROM embed_columns WHERE tab = 'docs'::regclass}), 'waiting for a worker', 'no worker slot: shown');
$node->stop;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->start;
comes("SELECT embed('any') IS NOT NULL; " . open_rows('docs'), "t\n0", '... and calls of embed find a slot');
$node->stop;
done_testing();
