# Many sessions for a long time: no backend grows, in memory, in files, in
# threads, while they embed, meet errors, and see models come and go.
#
#	EMBED_CONNECTIONS	how many (default 60; by hand 1000)
#	EMBED_SECONDS		how long (default 40; by hand 3600)
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $n_sessions = $ENV{EMBED_CONNECTIONS} || 60;
my $seconds = $ENV{EMBED_SECONDS} || 40;
my $rate = 400;		# transactions a second in all: it is a test of memory, not of speed
my $db = 'postgres';
my $node = new_node('connections', conf => 'max_connections = ' . ($n_sessions + 20) . "\nshared_buffers = 64MB\nlog_statement = none\n");
my $dir = $node->basedir;
my $brief = quote(tiny_model('bert-mean-48'));

import_model($node, $db, 'm', tiny_model('bert-mean-36'));
import_model($node, $db, 'f', tiny_model('bert-cls'), '{"precision": "fp32"}');
import_model($node, $db, 'r', tiny_model('bert-rerank'));
my $hash_sql = q{SELECT string_agg(md5(embed('text ' || g, m)::text), ' ' ORDER BY g, m) FROM generate_series(1, 5) g, unnest(ARRAY['m', 'f']) m};
my $want = query($node, $db, $hash_sql);

# What the sessions do. A few texts only, so that the sessions' caches are soon full.
my %work = (
	text => q{SELECT cardinality(embed('text ' || :x || repeat(' and more', :x), 'm')), cardinality(embed_query('q' || :x));},
	fp32 => q{SELECT cardinality(embed('text ' || :x, 'f'));},
	array => q{SELECT cardinality(embed(array_agg(g || repeat(' words', :x)), 'm')) FROM generate_series(1, 20) g;},
	groups => q{SELECT cardinality(embed_agg(g::text, 'm')), cardinality(embed_avg('x' || g, 'm')) FROM generate_series(1, 30) g;},
	rerank => q{SELECT rerank('which text?', 'text ' || :x);},
	tokens => q{SELECT (embed_info('text ' || :x, 'm')).tokens, cardinality(embed_tokens('text ' || :x, 'm'));},
	errors => q{DO $$ BEGIN PERFORM embed_agg(g::text, 'm'), max(1 / (20 - g)) FROM generate_series(1, 30) g; EXCEPTION WHEN division_by_zero THEN NULL; END $$;},
	missing => q{DO $$ BEGIN PERFORM embed('x', 'no such model'); EXCEPTION WHEN undefined_object OR invalid_name THEN NULL; END $$;},
	# the model of the session that imports and drops, while it is there
	brief => q{DO $$ BEGIN PERFORM embed('text', 'brief'); EXCEPTION WHEN undefined_object THEN NULL; END $$;});
my @files;
for my $name (sort keys %work)
{
	spit("$dir/$name.sql", "\\set x random(1, 8)\n$work{$name}\n");
	push @files, '-f', "$dir/$name.sql";
}
# shared by all: it drops and imports a model, now and then
spit("$dir/churn.sql", q{SELECT embed_drop(name, forget => true) FROM embed_models WHERE name = 'brief';}
	  . "\n\\sleep 200 ms\nSELECT embed_import('brief', $brief, '{\"precision\": \"fp32\"}');\n\\sleep 2 s\n");

my @connection = ('-h', $node->host, '-p', $node->port, '-n');
my %out;

sub start_pgbench
{
	my ($name, @options) = @_;
	local $ENV{PGAPPNAME} = $name;
	$out{$name} = '';
	return IPC::Run::start([ 'pgbench', @connection, @options, $db ], '<' => \undef, '>' => \$out{$name}, '2>&1');
}

sub entries
{
	my ($folder) = @_;
	opendir my $dir, $folder or return 0;
	return scalar(grep { !/^\./ } readdir $dir);
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ @sorted / 2 ] // 0;
}

# Of each session: memory of its own in kB, descriptors, threads, images mapped. Anonymous pages: Private_Dirty has
# those of shared_buffers that nobody else has touched yet.
sub sample
{
	my @rows;

	for my $pid (split /\n/, query($node, $db, q{SELECT pid FROM pg_stat_activity WHERE application_name = 'sessions' ORDER BY backend_start, pid}))
	{
		my $memory = eval { slurp("/proc/$pid/smaps_rollup") } // next;
		my ($private) = $memory =~ /^Anonymous:\s+(\d+)/m;
		my %mapped = map { $_ => 1 } eval { slurp("/proc/$pid/maps") } =~ m|pgsql_tmp_embed/\d+/(\w+)\.img|g;
		push @rows, { pid => $pid, kb => $private, fds => entries("/proc/$pid/fd"), threads => entries("/proc/$pid/task"), mapped => scalar keys %mapped };
	}
	return { map { $_->{pid} => $_ } @rows };
}

my $start = time;
my $churn = start_pgbench('churn', '-c', 1, '-T', $seconds, '-f', "$dir/churn.sql");
my $sessions = start_pgbench('sessions', '-c', $n_sessions, '-j', 2, '-T', $seconds, '-R', $rate, '-M', 'prepared', @files);
my @samples;
# the first one when each has done everything a dozen times: plans become generic at the sixth
for my $part (0.5, 0.75)
{
	my $wait_s = $start + $part * $seconds - time;
	sleep($wait_s) if $wait_s > 0;
	push @samples, sample();
}
$sessions->finish;
$churn->finish;
is($sessions->result(0), 0, "$n_sessions sessions for $seconds s: no error") or diag($out{sessions});
is($churn->result(0), 0, '... a model imported and dropped meanwhile') or diag($out{churn});
my ($n_done) = $out{sessions} =~ /actually processed: (\d+)/;
note(sprintf '%d statements', $n_done // 0);

my @pids = grep { my $pid = $_; !grep { !$_->{$pid} } @samples } keys %{ $samples[0] };
cmp_ok(scalar @pids, '>=', 0.9 * $n_sessions, '... seen twice, but for those that end before a slow machine has looked');
my ($first, $last) = @samples[ 0, -1 ];
my @growth = map { $last->{$_}{kb} - $first->{$_}{kb} } @pids;
my ($max) = sort { $b <=> $a } @growth;
diag(sprintf '%d sessions, %d statements in %d s: private memory %d kB, growth in the last %d s: median %d kB, most %d kB', scalar @pids, $n_done // 0,
	$seconds, median(map { $last->{$_}{kb} } @pids), 0.25 * $seconds, median(@growth), $max);
# a page here and there: what the statements allocate differs
cmp_ok(median(@growth), '<=', 64, '... private memory of the median session grew by ' . median(@growth) . ' kB');
cmp_ok($max, '<=', 1024, "... of the one that grew most by $max kB");
my ($max_fds, $max_threads, $max_mapped) = map { my $what = $_; (sort { $b <=> $a } map { $last->{$_}{$what} } @pids)[0] } qw(fds threads mapped);
my ($first_fds) = sort { $b <=> $a } map { $first->{$_}{fds} } @pids;
cmp_ok($max_fds, '<=', $first_fds + 2, "... at most $max_fds descriptors, $first_fds before");
cmp_ok($max_threads, '<=', 1 + `nproc`, "... at most $max_threads threads");
cmp_ok($max_mapped, '<=', 4, "... at most $max_mapped images mapped");

is(query($node, $db, $hash_sql), $want, 'the same bits behind it all');
is(query($node, $db, q{SELECT count(*) FROM embed_models m, embed_verify(m.name) WHERE NOT ok}), 0, '... every model whole');
is(scalar(() = glob($node->data_dir . '/pgsql_tmp_embed/*/*.tmp')), 0, '... no temporary file');
is(scalar image_files($node), query($node, $db, 'SELECT count(*) FROM _embed.image'), '... a file per image');
unlike(slurp($node->logfile), qr/PANIC|TRAP|was terminated by signal/, '... no crash');

done_testing();
