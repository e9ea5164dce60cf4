# Imports, drops and materializations ended at random: kill -9 of the backend and
# of the server, terminate, cancel, statement_timeout, immediate stop. After each
# round every model is whole or not there at all, no file is left behind, and
# vectors are the same.
#
#	EMBED_ROUNDS	how many (default 20; a thousand by hand, half an hour)
#	EMBED_SEED		repeats the choices of an earlier run
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $n_rounds = $ENV{EMBED_ROUNDS} || 20;
my $seed = $ENV{EMBED_SEED} || (time * 1000) % 2**31;
my $node = new_node('rounds', conf => "restart_after_crash = on\nlog_statement = none\n");
my $db = 'postgres';
my %model_dir = (x => tiny_model('bert-cls'), y => tiny_model('bert-mean-48'));

srand($seed);
diag("seed $seed, $n_rounds rounds");
import_model($node, $db, 'm', tiny_model('bert-mean-36'));

# What runs, and whether it needs model x to be there or away.
my $import_x = 'SELECT embed_import(\'x\',' . quote($model_dir{x}) . ')';
my $import_y = 'SELECT embed_import(\'y\',' . quote($model_dir{y}) . ', \'{"precision": "fp32", "default": true, "alias": "z"}\')';
my %operation = (
	'import' => $import_x,
	'import, fp32' => $import_y,
	'two imports in a transaction' => "BEGIN; $import_x; $import_y; SELECT embed('x', 'x'); COMMIT",
	'import rolled back' => "BEGIN; $import_x; SELECT embed('x', 'x'); ROLLBACK",
	'import in a subtransaction' => "BEGIN; SAVEPOINT s; $import_x; ROLLBACK TO s; $import_y; COMMIT",
	'import and drop' => "$import_x; SELECT embed_drop('x', forget => true)",
	'drop and import in a transaction' => "BEGIN; SELECT embed_drop('m', forget => true, force => true); SELECT embed_import('m'," . quote(tiny_model('bert-mean-36')) . '); COMMIT',
	'materialization' => "SELECT embed('x', 'm')",
	'materializations' => "$import_x; DO \$\$ BEGIN PERFORM embed('x', 'x'); END \$\$",
	'use' => q{SELECT count(embed(g::text, 'm')), cardinality(embed_agg(g::text, 'm')) FROM generate_series(1, 3000) g},
	'drop the extension, undone' => "BEGIN; DROP EXTENSION embed; ROLLBACK; SELECT embed('x', 'm')");
my @ends = (('kill -9 of the backend') x 4, ('cancel') x 4, ('terminate') x 3, ('statement_timeout') x 4, 'kill -9 of the server', 'immediate stop');

# How long each takes undisturbed, and the hashes everything must keep.
my (%seconds, %hash);
my $start_s = time;
query($node, $db, 'SELECT 1') for 1 .. 5;
my $psql_s = (time - $start_s) / 5;
sub tidy
{
	query($node, $db, q{SELECT embed_drop(name, forget => true, force => true) FROM (SELECT name FROM embed_models WHERE name <> 'm' ORDER BY name) s});
	return;
}
for my $what (sort keys %operation)
{
	unlink image_files($node);
	my $start = time;
	query($node, $db, $operation{$what});
	$seconds{$what} = time - $start - $psql_s;
	$seconds{$what} = 0.02 if $seconds{$what} < 0.02;
	my @models = split /,/, query($node, $db, q{SELECT string_agg(name || ' ' || md5(embed('a text', name)::text), ',') FROM embed_models});
	for (@models)
	{
		my ($name, $md5) = split / /;
		$hash{$name} //= $md5;
		is($md5, $hash{$name}, "$what: $name") if $md5 ne $hash{$name};
	}
	tidy();
}
is(join(' ', sort keys %hash), 'm x y', 'every operation works undisturbed');

# What must hold: one line, empty of complaints.
my $state_sql = q{
	SELECT 'broken: ' || name FROM embed_models WHERE NOT (SELECT bool_and(ok) FROM embed_verify(name))
	UNION ALL SELECT 'chunks without image' FROM _embed.chunk c WHERE NOT EXISTS (SELECT FROM _embed.image i WHERE i.fingerprint = c.fingerprint)
	UNION ALL SELECT 'image without chunks' FROM _embed.image i WHERE size_bytes <> (SELECT sum(length(data)) FROM _embed.chunk c WHERE i.fingerprint = c.fingerprint)
	UNION ALL SELECT 'image without model' FROM _embed.image i WHERE NOT EXISTS (SELECT FROM _embed.model m WHERE i.fingerprint = m.fingerprint)
	UNION ALL SELECT 'model without image' FROM _embed.model m WHERE NOT EXISTS (SELECT FROM _embed.image i WHERE i.fingerprint = m.fingerprint)
	UNION ALL SELECT 'alias or default of nothing' FROM (SELECT name FROM _embed.alias UNION ALL SELECT name FROM _embed.default_model) a
		WHERE NOT EXISTS (SELECT FROM _embed.model m WHERE m.name = a.name)};
my $hash_sql = q{SELECT name || ' ' || md5(embed('a text', name)::text) FROM embed_models ORDER BY name};

# Runs the operation, ends it after $delay_s; whether it was ended.
sub run_round
{
	my ($what, $end, $delay_s) = @_;
	my $pid_file = $node->basedir . '/pid';
	my $timeout_ms = int(1000 * $delay_s) || 1;
	my $set = $end eq 'statement_timeout' ? "SET statement_timeout = $timeout_ms" : 'SET statement_timeout = 0';

	unlink $pid_file;
	my $psql = start_psql($node, $db, "SELECT pg_backend_pid() \\g $pid_file\n$set;\n$operation{$what};\n");
	for (1 .. 1000)
	{
		last if -s $pid_file;
		usleep(2_000);
	}
	my ($pid) = slurp($pid_file) =~ /(\d+)/;
	my $log_size = -s $node->logfile;
	usleep(1e6 * $delay_s) unless $end eq 'statement_timeout';
	# SIGINT is what pg_cancel_backend sends, SIGTERM pg_terminate_backend
	kill 'KILL', $pid if $end eq 'kill -9 of the backend';
	kill 'INT', $pid if $end eq 'cancel';
	kill 'TERM', $pid if $end eq 'terminate';
	kill_server($node) if $end eq 'kill -9 of the server';
	$node->stop('immediate') if $end eq 'immediate stop';
	my ($status) = finish_psql($psql);
	$node->start if $end =~ /server|stop/;
	wait_for_server($node, $db, $status != 0 ? $log_size : undef) if $end eq 'kill -9 of the backend';
	return $status != 0;
}

my ($n_ended, @bad) = (0);
for my $round (1 .. $n_rounds)
{
	my @names = sort keys %operation;
	my $what = $names[ rand @names ];
	my $end = $ends[ rand @ends ];
	my $delay_s = rand(1.15) * $seconds{$what};
	my $title = sprintf '%s, %s after %d ms', $what, $end, 1000 * $delay_s;

	unlink image_files($node) if rand() < 0.3 || $what eq 'materialization';
	$n_ended += run_round($what, $end, $delay_s);

	my @complaints = split /\n/, query($node, $db, $state_sql);
	for (split /\n/, query($node, $db, $hash_sql))
	{
		my ($name, $md5) = split / /;
		push @complaints, "$name has other vectors" if $md5 ne $hash{$name};
	}
	push @complaints, 'model m is gone' if query($node, $db, q{SELECT count(*) FROM embed_models WHERE name = 'm'}) != 1;
	push @complaints, map { "left: $_" } glob($node->data_dir . '/pgsql_tmp_embed/*/*.tmp');
	my $n_images = query($node, $db, 'SELECT count(*) FROM _embed.image');
	my @files = image_files($node);
	push @complaints, "$n_images images, " . @files . ' files' if @files != $n_images;
	if (@complaints)
	{
		push @bad, "round $round, $title: " . join('; ', @complaints);
		diag($bad[-1]);
	}
	tidy();
	diag("$round rounds, $n_ended ended early, " . @bad . ' failed') if $round % 100 == 0;
}
is_deeply(\@bad, [], "$n_rounds rounds of seed $seed: whole or not there, nothing left, the same vectors");
note("$n_ended of $n_rounds were ended before they were done");
cmp_ok($n_ended, '>', $n_rounds / 8, '... and a good part of them was ended in the middle');
unlike(slurp($node->logfile), qr/PANIC|TRAP|signal (?:11|7|6|8|4):/, 'no crash of our own making in the log');

done_testing();
