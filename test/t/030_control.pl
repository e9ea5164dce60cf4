# The control file: statistics of all sessions, busy backends that share CPUs;
# and that nothing but numbers is lost with it, whatever happens to it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('control', allows_streaming => 1, conf => "restart_after_crash = on\n");
my $db = 'postgres';
my $root = $node->data_dir . '/pgsql_tmp_embed';
my $file = "$root/control.v3";
my $tasks = q{(SELECT count(*) FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/task'))};
my $work = q{(SELECT count(*) FROM embed_rows((SELECT array_agg('some words ' || i || repeat(' and more', 60)) FROM generate_series(1, 40) i), 'm'))};
my $slots_at = 4096;
my $n_slots = 16384;
my $entries = $slots_at + 8 * $n_slots;
my $size = $entries + 512 * 512 + 256 * 64 + 512 * 512 + 128 * 256;

chomp(my $cpus = `nproc`);

sub stat_of
{
	my ($columns, $server, $database) = @_;
	return query($server // $node, $database // $db, "SELECT $columns FROM embed_stat s WHERE name = 'm'");
}

# Words of the slots that say somebody computes.
sub computing
{
	return grep { $_ & 1 } unpack 'Q<*', substr(slurp($file), $slots_at, 8 * $n_slots);
}

# Threads a new session takes for a batch.
sub threads_taken
{
	my $answer = query($node, $db, "LOAD 'embed'; SELECT $work = 40, $tasks");
	return $answer =~ /^t\|(\d+)$/ ? $1 : $answer;
}

# ------------------------------------------------------------- statistics

ok(!-e $file, 'no file before the first computation');
import_model($node, $db, 'm', tiny_model('bert-cls'));
is(query($node, $db, q{SELECT embed('one') IS NOT NULL}), 't', 'a first call');
is(-s $file, $size, '... makes the file');
is((stat $file)[2] & 0777, 0600, '... for the server only');
is(stat_of('calls, texts'), '1|1', '... and is counted');
query($node, $db, q{SELECT embed(t) FROM unnest('{a,b,c}'::text[]) t});
is(stat_of('calls, texts, errors, cache_hits'), '4|4|0|0', 'another session adds to it');
my ($state) = error_of($node, $db, q{SET embed.on_overflow = 'error'; SELECT embed(repeat('word ', 10000))});
is($state, '22001', 'an error');
is(stat_of('calls, errors, truncations'), '4|1|1', '... is counted, though its transaction aborts');
($state) = error_of($node, $db, q{CREATE TEMP TABLE texts AS SELECT array_agg(repeat('word ', 400) || i) AS a FROM generate_series(1, 20000) i;
SET statement_timeout = '500ms'; SELECT count(*) FROM texts, embed_rows(a)});
is($state, '57014', 'a cancel');
is(stat_of('errors'), 2, '... is one too');

# In long queries they are seen while it runs.
my $long = start_psql($node, $db, "SELECT sum(cardinality(embed('text ' || i))) FROM generate_series(1, 10000000) i;\n");
ok($node->poll_query_until($db, q{SELECT calls > 100 FROM embed_stat WHERE name = 'm'}), 'counts of a query at work');
query($node, $db, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%10000000%' AND pid <> pg_backend_pid()});
finish_psql($long);

# Another database has its own.
query($node, $db, 'CREATE DATABASE other');
query($node, 'other', 'CREATE EXTENSION embed');
import_model($node, 'other', 'm', tiny_model('bert-cls'));
query($node, 'other', q{SELECT embed('one'), embed('two')});
is(stat_of('calls', $node, 'other'), 2, 'another database counts for itself');
query($node, 'other', 'SELECT embed_stat_reset()');
is(stat_of('calls, texts, tokens, (SELECT sum(n) FROM embed_latency l, unnest(l.latency) n WHERE l.name = s.name)', $node, 'other'), '0|0|0|0', '... and resets for itself');
cmp_ok(stat_of('calls'), '>', 100, '... leaving the first alone');
query($node, $db, 'SELECT embed_stat_reset()');
is(stat_of('calls, compute_ms, (SELECT l.since > now() - interval \'1 minute\' FROM embed_latency l WHERE l.name = s.name)'), '0|0|t', 'reset');

# ------------------------------------------------------------------- busy

SKIP:
{
	skip "$cpus CPU(s)", 9 if $cpus != 2;
	is(threads_taken(), 2, 'alone: both CPUs');

	# a session stopped in the middle of a computation is a busy one
	my $busy = start_psql($node, $db, "SELECT sum(cardinality(embed(repeat('word ', 400) || i))) FROM generate_series(1, 10000000) i;\n");
	my $pid;
	for (1 .. 3000)
	{
		my @words = computing();
		if (@words)
		{
			$pid = $words[0] >> 32;
			kill 'STOP', $pid;
			last if grep { $_ >> 32 == $pid } computing();
			kill 'CONT', $pid;
		}
		sleep 0.005;
	}
	ok($pid, 'a session at work has its slot');
	is(threads_taken(), 1, 'beside a busy session: one CPU each');
	is(query($node, $db, "LOAD 'embed'; SET embed.threads = 2; SELECT $work = 40, $tasks"), 't|1', '... whatever embed.threads allows');
	my $log_size = -s $node->logfile;
	kill 'KILL', $pid;
	finish_psql($busy);
	wait_for_server($node, $db, $log_size);
	is(threads_taken(), 2, 'killed, it has no part any more');
	is(scalar(computing()), 0, '... and no slot');
	cmp_ok(stat_of('calls'), '>', 0, '... and the counters outlived the restart of the server');

	# a slot forged for an idle session: believed as long as it can be true
	my $idle = start_psql($node, $db, "SET application_name = 'idle'; SELECT pg_sleep(600);\n");
	$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'idle' AND wait_event = 'PgSleep'});
	my $victim = query($node, $db, q{SELECT pid FROM pg_stat_activity WHERE application_name = 'idle'});
	my $forge = sub {
		my ($age_ms) = @_;
		my $now = int((split ' ', slurp('/proc/uptime'))[0] * 1000);
		my $word = $victim << 32 | (($now - $age_ms) & 0x7FFFFFFF) << 1 | 1;
		open my $out, '+<:raw', $file or die "$file: $!";
		seek $out, $slots_at, 0;
		print $out pack 'Q<*', ($word) x 2000 or die;
		close $out or die;
	};
	$forge->(0);
	is(threads_taken(), 1, 'a slot that is computing, of a living process');
	$forge->(60000);
	is(threads_taken(), 2, 'a slot that has been computing since before its process was born');
	query($node, $db, "SELECT pg_terminate_backend($victim)");
	finish_psql($idle);
}

# ---------------------------------------------------------------- damage

# By a program of the server, between two computations of one session.
sub damaged
{
	my ($what, $command) = @_;
	my $answer = query($node, $db,
		    "LOAD 'embed'; SET embed.cache_entries = 0; SELECT embed('one') IS NULL;"
		  . " COPY (SELECT 1) TO PROGRAM 'cd pgsql_tmp_embed && $command';"
		  . q{ SELECT bool_or(embed('text ' || i) IS NULL) FROM generate_series(1, 50) i;}
		  . q{ SELECT pg_sleep(1.1) IS NULL; SELECT embed('two') IS NULL; SELECT embed('three') IS NULL;}
		  . q{ SELECT calls > 0 FROM embed_stat WHERE name = 'm'});
	is($answer, "f\nf\nf\nf\nf\nt", "$what: calls go on, and are counted again a second later");
	is(-s $file, $size, "... in a file that is whole");
	is_deeply([ glob("$root/*.tmp"), glob("$root/*/*.tmp") ], [], '... nothing temporary left');
	return;
}
damaged('deleted', 'rm control.v3');
damaged('empty', 'truncate -s 0 control.v3');
damaged('cut', 'truncate -s 5000 control.v3');
damaged('cut in the entries', 'truncate -s 200000 control.v3');
damaged('too long', 'truncate -s +1 control.v3');
damaged('garbage', "head -c $size /dev/urandom > garbage; cat garbage > control.v3; rm garbage");
damaged('zeros', "head -c $size /dev/zero > zero; cat zero > control.v3; rm zero");
damaged('another', "head -c $size /dev/zero > zero; mv zero control.v3");
damaged('a symbolic link', 'mv control.v3 x; ln -s x control.v3');
unlink "$root/x";
damaged('a FIFO', 'rm control.v3; mkfifo control.v3');

# Garbage behind a good header: numbers, nothing else.
query($node, $db, q{COPY (SELECT 1) TO PROGRAM 'head -c 704000 /dev/urandom | dd of=pgsql_tmp_embed/control.v3 bs=4096 seek=1 conv=notrunc status=none'});
is(query($node, $db, q{LOAD 'embed'; SELECT embed('one') IS NOT NULL; SELECT count(*) >= 1 FROM embed_stat; SELECT count(*) FROM embed_progress}), "t\nt\n0", 'garbage in slots and entries');
query($node, $db, 'SELECT embed_stat_reset()');
is(query($node, $db, q{SELECT embed('one') IS NOT NULL}), 't', '... calls go on');
is(stat_of('calls'), 1, '... and are counted');

# All entries taken: that which was not used for longest goes.
{
	open my $out, '+<:raw', $file or die "$file: $!";
	seek $out, $entries, 0;
	print $out pack('Q L L a32 q q x448', 1000 + $_, 1, 0, "image $_", 0, 5 + $_ % 300) for 1 .. 512;
	close $out or die;
}
is(query($node, $db, q{SELECT embed('one') IS NOT NULL}), 't', 'every entry taken');
is(stat_of('calls'), 1, '... one more image is counted');
is(scalar(grep { unpack('Q', substr(slurp($file), $entries + 512 * $_, 8)) == 1300 } 0 .. 511), 0, '... in the place of that which was not used for longest');

# No place for it: no statistics, no error.
SKIP:
{
	skip 'root', 2 if $> == 0;
	unlink $file;
	chmod 0500, $root or die;
	is(query($node, $db, "LOAD 'embed'; SELECT $work = 40; SELECT calls FROM embed_stat WHERE name = 'm'; SELECT embed_stat_reset()"),
		"t\n0\n", 'a directory that cannot be written');
	chmod 0700, $root or die;
	is(query($node, $db, "LOAD 'embed'; SELECT embed('x') IS NULL; SELECT calls FROM embed_stat WHERE name = 'm'"), "f\n1", '... can be again');
}
query($node, $db, q{COPY (SELECT 1) TO PROGRAM 'cd pgsql_tmp_embed && rm control.v3 && mkdir control.v3'});
is(query($node, $db, "LOAD 'embed'; SELECT $work = 40; SELECT calls FROM embed_stat WHERE name = 'm'"), "t\n0", 'a directory of that name');
rmdir $file;

# ---------------------------------------------------- standby, preload

query($node, $db, 'SELECT embed_stat_reset()');
query($node, $db, q{SELECT embed('one')});
$node->backup('base');
ok(!-e $node->backup_dir . '/base/pgsql_tmp_embed/control.v3', 'a base backup has no control file');
my $standby = $EmbedTest::cluster_class->can('get_new_node') ? $EmbedTest::cluster_class->get_new_node('standby') : $EmbedTest::cluster_class->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
query($standby, $db, q{SELECT embed('one'), embed('two')});
is(stat_of('calls', $standby), 2, 'a hot standby counts for itself');
query($standby, $db, 'SELECT embed_stat_reset()');
is(stat_of('calls', $standby) . stat_of('calls'), '01', '... and resets for itself');
$standby->stop;

$node->restart;
is(stat_of('calls'), 1, 'counters outlive a restart');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'embed'\n");
$node->restart;
is(query($node, $db, "SELECT embed('one') IS NULL, embed('two') IS NULL"), 'f|f', 'preloaded');
is(stat_of('calls'), 3, '... it is the same file');
my $postmaster = (split /\n/, slurp($node->data_dir . '/postmaster.pid'))[0];
unlike(slurp("/proc/$postmaster/maps"), qr/control\.v3/, '... which the postmaster does not map');

query($node, $db, 'DROP DATABASE other');
is(query($node, $db, q{SELECT embed('one') IS NULL}), 'f', 'a database with counters can be dropped');
query($node, $db, q{SELECT embed_drop('m', forget => true)});
is(query($node, $db, 'SELECT count(*) FROM embed_stat'), 0, 'a model that was dropped has no row');

done_testing();
