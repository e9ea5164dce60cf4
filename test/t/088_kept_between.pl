# What happens to a kept column while somebody fills it: between reading and
# writing; who fills it, of several; how much memory a filler takes; and what
# embed_columns says of it.
#
#	EMBED_FILL_ROWS=1000000		by hand: rows through which memory stays flat
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('between', conf => "max_worker_processes = 8\n");
my $db = 'postgres';
my @psql = ('psql', '-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db));
my $n_rows = $ENV{EMBED_FILL_ROWS} // 10000;
my $fillers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'embed filler'};

sub comes { return answer_comes($node, $db, @_[ 0 .. 2 ]) }

sub background
{
	my ($state) = @_;

	query($node, $db, "LOAD 'embed'; ALTER SYSTEM SET embed.background = $state");
	query($node, $db, q{SELECT pg_reload_conf()});
	answer_of($node, $db, q{SELECT pg_sleep(0.01)}) while answer_of($node, $db, q{LOAD 'embed'; SHOW embed.background}) ne $state;
	# a call of a session that has the library starts the filler for what waits
	query($node, $db, q{SELECT embed('go', 'm') IS NULL}) if $state eq 'on';
	return;
}

import_model($node, $db, 'm', tiny_model('bert-mean-36'));
import_model($node, $db, 'former', tiny_model('bert-mean-36'));
import_model($node, $db, 'other', tiny_model('bert-mean-36'), '{"document_prompt": "other: "}');
query($node, $db, q{CREATE TABLE beside (id int, body text); SELECT embed_column('beside', 'body', model => 'other', mode => 'later')});

# ---------------------------------------------------------------- between reading and writing

# The filler reads under AccessShareLock and writes under RowExclusiveLock: a session with SHARE is between.
my $n_tables = 0;
sub between
{
	my ($name, $change, $result, $expected) = @_;
	my $t = 'b' . ++$n_tables;
	my ($in, $read, $errors) = ('', '', '');
	my $holder = IPC::Run::start([@psql], '<', \$in, '>', \$read, '2>', \$errors);

	s/\bT\b/$t/g for $change, $result;
	s/\bT_1\b/${t}_1/g for $change, $result;
	# rows that wake nobody
	$in .= "SET client_min_messages = error; CREATE TABLE $t (id int, body varchar(60), n int) PARTITION BY RANGE (id);
		CREATE TABLE ${t}_1 PARTITION OF $t FOR VALUES FROM (0) TO (100); CREATE TABLE ${t}_2 PARTITION OF $t FOR VALUES FROM (100) TO (200);
		SELECT embed_column('$t', 'body', model => 'm', mode => 'later');
		SET session_replication_role = replica; INSERT INTO $t SELECT i, 'text ' || i FROM generate_series(0, 9) i; RESET session_replication_role;
		BEGIN; LOCK TABLE ${t}_1 IN SHARE MODE; SELECT 'locked';\n";
	$holder->pump until $read =~ /locked/;
	query($node, $db, "INSERT INTO beside VALUES ($n_tables, 'before')");
	comes("SELECT count(*) FROM pg_locks WHERE relation = '${t}_1'::regclass AND mode = 'RowExclusiveLock' AND NOT granted", 1, "$name: the filler is between");
	$in .= "$change; COMMIT; INSERT INTO beside VALUES ($n_tables, 'after');\n\\q\n";
	$holder->finish;
	is($errors, '', '... the change is made');
	comes(q{SELECT count(*) FROM beside WHERE embedding IS NULL}, 0, '... and the filler goes on');
	comes($result, $expected, '... with the right result');
	query($node, $db, "DROP TABLE $t");
	return;
}

my $all = q{SELECT count(*), count(embedding), count(*) FILTER (WHERE embedding <> embed(body, 'm')) FROM T};
between('texts change', q{UPDATE T SET body = 'changed ' || id WHERE id < 5}, $all, '10|10|0');
between('another column changes', q{UPDATE T SET n = 1}, $all, '10|10|0');
between('rows are deleted', q{DELETE FROM T WHERE id > 6}, $all, '7|7|0');
between('rows move to another partition', q{UPDATE T SET id = id + 100 WHERE id < 3}, $all, '10|10|0');
between('truncated, the same ctids again', q{TRUNCATE T_1; INSERT INTO T SELECT i, 'again ' || i FROM generate_series(0, 9) i}, $all, '10|10|0');
between('vectors are given', q{UPDATE T SET embedding = embed(body, 'm') WHERE id < 5}, $all, '10|10|0');
between('the table is renamed', q{ALTER TABLE T_1 RENAME TO away; ALTER TABLE away RENAME TO T_1; CREATE SCHEMA s; ALTER TABLE T_1 SET SCHEMA s}, $all, '10|10|0');
between('the text is renamed', q{ALTER TABLE T RENAME body TO content}, $all =~ s/body/content/r, '10|10|0');
between('the vectors are renamed', q{ALTER TABLE T RENAME embedding TO e}, $all =~ s/embedding/e/gr, '10|10|0');
between('the text is retyped', q{ALTER TABLE T ALTER body TYPE text}, $all, '10|10|0');
between('the vectors are retyped', q{ALTER TABLE T ALTER embedding TYPE float8[]}, $all =~ s/embed\(body, 'm'\)/embed(body, 'm')::float8[]/r, '10|10|0');
between('the vectors are dropped', q{ALTER TABLE T DROP COLUMN embedding}, q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'T_1'::regclass}, 0);
between('the vectors are dropped, and a column has their name', q{ALTER TABLE T DROP COLUMN embedding; ALTER TABLE T ADD COLUMN embedding float4[]}, $all, '10|0|0');
between('the text is dropped', q{ALTER TABLE T DROP COLUMN body CASCADE}, q{SELECT count(*), count(embedding) FROM T}, '10|0');
between('the column gets another model', q{SELECT embed_column('T', 'body', model => 'other')}, $all =~ s/'m'/'other'/r, '10|10|0');
between('nobody keeps the column any more', q{SELECT embed_column_drop('T', 'embedding')}, $all, '10|0|0');
between('the trigger is disabled', q{ALTER TABLE T DISABLE TRIGGER USER}, $all, '10|0|0');
between('the name stands for another model', q{SELECT embed_drop('m', forget => true, force => true); SELECT embed_import('m', } . quote(tiny_model('bert-mean-36')) . q{, '{"document_prompt": "m: "}')},
	q{SELECT count(*), count(*) FILTER (WHERE embedding <> embed(body, 'former')), (SELECT status FROM embed_columns WHERE tab = 'T_1'::regclass) FROM T}, '10|0|failing');
background('off');
answer_of($node, $db, q{SELECT pg_sleep(0.01)}) while answer_of($node, $db, $fillers) ne '0';

# ---------------------------------------------------------------- one process at a time

# An owner's trigger makes rows slow. Each text is computed once, whoever fills.
query($node, $db, q{CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN new; END';
	CREATE TABLE shared (id int PRIMARY KEY, body text); SELECT embed_column('shared', 'body', model => 'm', mode => 'later');
	CREATE TRIGGER a BEFORE UPDATE ON shared FOR EACH ROW EXECUTE FUNCTION slow(); SELECT embed_stat_reset();
	INSERT INTO shared SELECT i, 'row ' || i FROM generate_series(1, 1500) i});
my $computed = q{SELECT texts - cache_hits FROM embed_stat WHERE name = 'm'};
my $holders = q{SELECT string_agg(DISTINCT a.backend_type, ', ') FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.classid = 'shared'::regclass AND l.objsubid = 4};
background('on');
comes(q{SELECT count(embedding) > 0 FROM shared}, 't', 'the filler fills');
is(query($node, $db, $holders), 'embed filler', '... and has the column');
my @calls = map { start_psql($node, $db, q{CALL embed_fill('shared')}) } 1 .. 2;
comes($holders, 'client backend', 'a session in embed_fill takes the column over');
query($node, $db, q{INSERT INTO beside VALUES (0, 'while it fills')});
comes(q{SELECT count(*) FROM beside WHERE embedding IS NULL}, 0, '... while the filler fills others');
is((finish_psql($_))[0], 0, '... and ends') for @calls;
is(query($node, $db, q{SELECT count(*) FILTER (WHERE embedding IS DISTINCT FROM embed(body, 'm')) FROM shared}), 0, 'all is filled');
comes(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid > 3}, 0, '... and nothing stays locked');
# embed() above has computed each of them once more, and background() one text
is(query($node, $db, $computed), 3001, '... by one process, with two calls and a filler');

# A session that is cancelled, or ends, leaves the column to the filler.
for my $end (qw(pg_cancel_backend pg_terminate_backend))
{
	query($node, $db, q{UPDATE shared SET body = body || '.'});
	my $call = start_psql($node, $db, q{CALL embed_fill('shared')});
	comes($holders, 'client backend', "$end: embed_fill has the column");
	query($node, $db, "SELECT $end(pid) FROM pg_stat_activity WHERE query LIKE 'CALL embed_fill%'");
	finish_psql($call);
	comes(q{SELECT count(*) FILTER (WHERE embedding IS NULL) FROM shared}, 0, '... the filler goes on');
}
is(query($node, $db, q{SELECT count(*) FILTER (WHERE embedding <> embed(body, 'm')) FROM shared}), 0, '... with the right vectors');

# ---------------------------------------------------------------- what embed_columns says

background('off');
answer_of($node, $db, q{SELECT pg_sleep(0.01)}) while answer_of($node, $db, $fillers) ne '0';
query($node, $db, q{CREATE TABLE p1 (id int, body text); SELECT embed_column('p1', 'body', model => 'm', mode => 'later');
	CREATE TABLE p2 (id int, body text); SELECT embed_column('p2', 'body', model => 'm', mode => 'later')});
my $pending = sub { return query($node, $db, "SELECT count(oldest_pending), count(*) FILTER (WHERE oldest_pending BETWEEN " . quote($_[1]) . " AND " . quote($_[2]) . ") FROM embed_columns WHERE tab = '$_[0]'::regclass") };
my $now = sub { return query($node, $db, 'SELECT clock_timestamp()') };
my @at = $now->();
query($node, $db, q{INSERT INTO p1 VALUES (1, 'one')});
push @at, $now->();
query($node, $db, q{INSERT INTO p1 VALUES (2, 'two'); INSERT INTO p2 VALUES (1, 'one')});
query($node, $db, q{BEGIN; SAVEPOINT a; INSERT INTO p2 VALUES (2, 'two'); RELEASE a; COMMIT});
push @at, $now->();
is($pending->('p1', @at[0, 1]), '1|1', 'oldest_pending is that of the first commit');
is($pending->('p2', @at[1, 2]), '1|1', '... of each column');
query($node, $db, q{CALL embed_fill('p1')});
is($pending->('p1', @at[0, 2]), '0|0', 'filled: nothing is pending');
is($pending->('p2', @at[1, 2]), '1|1', '... but in the other column');
push @at, $now->();
query($node, $db, q{BEGIN; SAVEPOINT a; INSERT INTO p1 VALUES (3, 'three'); ROLLBACK TO a; COMMIT});
query($node, $db, q{SET session_replication_role = replica; INSERT INTO p1 VALUES (4, 'four')});
is($pending->('p1', @at[3, 3]), '1|0', 'what was rolled back is not counted: the database\'s time is shown');
query($node, $db, q{INSERT INTO p1 VALUES (5, 'five')});
push @at, $now->();
is($pending->('p1', @at[3, 4]), '1|1', '... and from the next commit on the column\'s');
background('on');
comes(q{SELECT count(oldest_pending) FROM embed_columns}, 0, 'the filler fills both');

# A trigger that fails at every row is shown, with the reason.
query($node, $db, q{CREATE TABLE broken (id int, body text, e float4[], f float4[]);
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON broken FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
	CREATE TRIGGER zy BEFORE INSERT OR UPDATE ON broken FOR EACH ROW EXECUTE FUNCTION embed_trigger('f', 'body', 'm');
	ALTER TABLE broken RENAME e TO vectors});
my $broken = q{SELECT vector, source, model, mode, status, coalesce(to_do::text, 'unknown'), mixed, last_error FROM embed_columns WHERE tab = 'broken'::regclass ORDER BY 1};
is(query($node, $db, $broken), qq{e|body|m|later|failing|unknown|f|trigger "zz": table "broken" has no column "e" (If the column was renamed, DROP TRIGGER and CREATE TRIGGER with its new name.)\nf|body|m|now|complete|0|f|},
	'a trigger that fails at every row is shown beside one that works');
query($node, $db, q{ALTER TABLE broken DISABLE TRIGGER zz});
is(query($node, $db, "SELECT string_agg(status, ', ') FROM ($broken) b"), 'off, complete', '... as off where it is disabled');
query($node, $db, q{DROP TRIGGER zy ON broken; ALTER TABLE broken ALTER f TYPE bool USING NULL; ALTER TABLE broken RENAME vectors TO e; ALTER TABLE broken ALTER e TYPE bool USING NULL; ALTER TABLE broken ENABLE TRIGGER zz});
like(query($node, $db, $broken), qr/failing\|unknown\|f\|trigger "zz": column "e" is of type boolean/, '... and other defects');
is(query($node, $db, "BEGIN READ ONLY; SELECT count(*) FROM ($broken) b; COMMIT"), 1, '... in a transaction that may read only');
query($node, $db, 'DROP TABLE broken');

# ---------------------------------------------------------------- memory

# Anonymous memory of the filler: after some batches, and at the end of many.
sub memory_of_filler
{
	my $pid = answer_of($node, $db, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'embed filler' LIMIT 1});
	my $status = $pid =~ /^\d+$/ && -r "/proc/$pid/status" ? slurp("/proc/$pid/status") : '';

	return $status =~ /^RssAnon:\s+(\d+) kB/m ? ($pid, $1) : (0, 0);
}
SKIP:
{
	my ($first, $last, $pid_then, $pid_now) = (0, 0, 0, 0);

	skip 'no /proc/PID/status here', 2 if !-r '/proc/self/status' || slurp('/proc/self/status') !~ /^RssAnon:/m;
	query($node, $db, "CREATE TABLE many (id int, body text); SELECT embed_column('many', 'body', model => 'm', mode => 'later');
		INSERT INTO many SELECT i, 'row ' || i || repeat(' word', i % 40) FROM generate_series(1, $n_rows) i");
	while ((my $left = query($node, $db, q{SELECT count(*) FROM many WHERE embedding IS NULL})) > 0)
	{
		my ($pid, $kb) = memory_of_filler();

		($pid_now, $last) = ($pid, $kb) if $pid;
		($pid_then, $first) = ($pid, $kb) if $pid && $first == 0 && $left < $n_rows * 0.8;
		answer_of($node, $db, q{SELECT pg_sleep(0.02)});
	}
	is($pid_then, $pid_now, "$n_rows rows, by one filler") or diag("$pid_then, $pid_now");
	cmp_ok($last - $first, '<', 4096, "... whose memory stays flat: $first kB, and $last kB at the end");
}

$node->stop;
done_testing();
