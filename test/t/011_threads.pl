# embed.threads: how many threads a backend has, seen in /proc; they end with
# it, and parallel workers have none of their own.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('threads', conf => "max_worker_processes = 16\nmax_parallel_workers = 8\n");
my $db = 'postgres';
my $pids = q{(SELECT count(*) FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/task'))};
my $work = q{(SELECT count(*) FROM embed_rows((SELECT array_agg('some words ' || i || repeat(' and more', 60)) FROM generate_series(1, 40) i)))};

chomp(my $cpus = `nproc`);
import_model($node, $db, 'm', tiny_model('bert-cls'));

sub tasks_with
{
	my ($settings) = @_;
	return query($node, $db, "LOAD 'embed'; $settings; SELECT $work = 40, $pids");
}

is(query($node, $db, "LOAD 'embed'; SELECT $pids"), 1, 'to load the library starts no thread');
is(tasks_with('SET embed.threads = 1'), 't|1', 'embed.threads = 1: one thread');
my $two = $cpus > 1 ? 2 : 1;
is(tasks_with('SET embed.threads = 2'), "t|$two", "embed.threads = 2 on $cpus CPU(s): $two");
like(tasks_with('SET embed.threads = 0'), qr/^t\|([1-9]\d*)$/, 'automatic');
my ($automatic) = tasks_with('SET embed.threads = 0') =~ /\|(\d+)/;
cmp_ok($automatic, '<=', $cpus, "... $automatic, not more than CPUs");
my ($many) = tasks_with('SET embed.threads = 1000') =~ /\|(\d+)/;
cmp_ok($many, '<=', $cpus, "embed.threads = 1000: $many, not more than CPUs");

# An affinity mask of one CPU leaves one thread.
SKIP:
{
	skip 'no taskset', 1 if system('taskset -p $$ >/dev/null 2>&1') != 0;
	my $masked = query($node, $db, "LOAD 'embed'; COPY (SELECT pg_backend_pid()) TO PROGRAM 'xargs taskset -p -c 0 >/dev/null'; SELECT $work = 40, $pids");
	is($masked, 't|1', 'a mask of one CPU: one thread');
}

# Nothing of it stays with the postmaster, and sessions end.
my $postmaster = (split /\n/, slurp($node->data_dir . '/postmaster.pid'))[0];
is(scalar(() = glob("/proc/$postmaster/task/*")), 1, 'the postmaster has one thread');
my ($state, $message) = error_of($node, $db, "LOAD 'embed'; SET embed.threads = 0; SELECT $work; SELECT pg_terminate_backend(pg_backend_pid());");
is($state, '57P01', 'a session with threads is terminated');
query($node, $db, 'SELECT 1');

# Cancelled in the middle, it goes on with its threads.
is(query($node, $db, "LOAD 'embed'; SET embed.threads = 2; SET statement_timeout = '50ms'; DO \$\$ BEGIN PERFORM embed_agg(t) FROM (SELECT string_agg(i::text, ' ') t FROM generate_series(1, 4000000) i GROUP BY i / 500) s; EXCEPTION WHEN query_canceled THEN NULL; END \$\$;"
		. " RESET statement_timeout; SELECT $work = 40, $pids"), "t|$two", 'cancelled, then used again');

# Parallel workers compute alone: each of them, and the leader, would have two tasks otherwise.
query($node, $db, q{CREATE TABLE texts AS SELECT i, 'text ' || i || repeat(' and more', 30) t FROM generate_series(1, 400) i; ALTER TABLE texts SET (parallel_workers = 2); ANALYZE texts});
query($node, $db, q{CREATE FUNCTION tasks(v float4[]) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS $$ BEGIN RETURN (SELECT count(*) FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/task')); END $$});
is(query($node, $db, "LOAD 'embed'; SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;"
		. ' SET parallel_leader_participation = off; SELECT max(tasks(v)), count(*) FROM (SELECT embed(t) v FROM texts OFFSET 0) s'), '1|400', 'parallel workers have one thread each');

# No thread can be created any more: the call computes alone. Root has no such limit.
SKIP:
{
	skip 'no prlimit, or root', 1 if $> == 0 || system('prlimit --version >/dev/null 2>&1') != 0;
	is(query($node, $db, "LOAD 'embed'; COPY (SELECT pg_backend_pid()) TO PROGRAM 'read pid; prlimit --pid \$pid --nproc=1:1'; SET embed.threads = 0; SELECT $work = 40, $pids"),
		't|1', 'the process limit reached: one thread, no error');
}

done_testing();
