# kill -9 of fillers, backends and postmasters while sessions write to kept
# columns: no acknowledged row is lost, no row stays to do, and no vector is of
# another text.
#
#	EMBED_KILL_ROUNDS=1000	by hand; half an hour
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $n_rounds = $ENV{EMBED_KILL_ROUNDS} // 4;
my $n_writers = 3;
my $node = new_node('kept_kills', conf => "restart_after_crash = on\nmax_worker_processes = 8\n");
my $db = 'postgres';
my @victims = qw(filler writer postmaster filler any);

srand($ENV{EMBED_SEED} // 1);
import_model($node, $db, 'm', tiny_model('bert-cls'));
for my $table (qw(later deferred now))
{
	my $mode = $table eq 'later' ? ', \'later\'' : '';

	query($node, $db, "CREATE TABLE $table (id int PRIMARY KEY, version int, body text, other int, e float4[]);
		CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm'$mode);
		CREATE INDEX ${table}_e_to_do ON $table (id) WHERE e IS NULL AND body IS NOT NULL");
}

# ------------------------------------------------------------- writers

# Of each table: id => the newest version of the text whose commit was told to the writer.
my %acknowledged = (later => {}, deferred => {}, now => {});
my $n_versions = 0;
my $n_ids = 0;

sub body
{
	my ($id, $version) = @_;
	return "'row $id version $version' || repeat(' and more', " . int(rand(150)) . ')';
}

# A session's statements, each with what it will have told.
sub statements
{
	my ($table) = @_;
	my @known = keys %{ $acknowledged{$table} };
	my $sql = $table eq 'deferred' ? "SET embed.defer = on;\n" : '';

	for (1 .. 400)
	{
		my $dice = rand;
		my $version = ++$n_versions;
		my $id = @known && $dice > 0.5 ? $known[ int rand @known ] : ++$n_ids;

		if (!@known || $dice <= 0.5)
		{
			$sql .= "INSERT INTO $table VALUES ($id, $version, " . body($id, $version) . ");\n\\echo $table $id $version\n";
			push @known, $id;
		}
		elsif ($dice <= 0.85)
		{
			$sql .= "UPDATE $table SET version = $version, body = " . body($id, $version) . " WHERE id = $id;\n\\echo $table $id $version\n";
		}
		else
		{
			$sql .= "UPDATE $table SET other = $version WHERE id = $id;\n";
		}
		$sql .= 'SELECT pg_sleep(' . rand(0.01) . ") IS NULL \\g /dev/null\n";
	}
	return $sql;
}

sub take_acknowledged
{
	my ($writer) = @_;
	my ($status, $out) = finish_psql($writer);

	while ($out =~ /^(\w+) (\d+) (\d+)$/mg)
	{
		$acknowledged{$1}{$2} = $3;
	}
	return;
}

# ------------------------------------------------------------- kills

sub ask
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($db), '-c', $sql ], '<' => \undef, '>' => \$out, '2>' => \$err);
	chomp $out;
	return $out;
}

my %pid_of = (
	filler => q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'embed filler' LIMIT 1},
	writer => q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query ~ '^(INSERT|UPDATE|SELECT pg_sleep)' ORDER BY random() LIMIT 1},
	any => q{SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() ORDER BY random() LIMIT 1});

# False if there is no such process.
sub kill_one
{
	my ($victim) = @_;
	my $log_size = -s $node->logfile;
	my $pid;

	if ($victim eq 'postmaster')
	{
		kill_server($node);
		$node->start;
		return 1;
	}
	$pid = ask($pid_of{$victim});
	return 0 if $pid !~ /^\d+$/ || !kill('KILL', $pid);
	wait_for_server($node, $db, $log_size);
	return 1;
}

# Milliseconds from the first commit behind a crash to its vector.
sub filling_again
{
	my ($round) = @_;
	my $begun = time;
	my $id = -int(1000 * $round);

	query($node, $db, "INSERT INTO later VALUES ($id, 0, 'first after $round')");
	$acknowledged{later}{$id} = 0;
	$begun = time;
	while (time - $begun < 60)
	{
		return (time - $begun) * 1000 if ask("SELECT e IS NOT NULL FROM later WHERE id = $id") eq 't';
		sleep 0.01;
	}
	return;
}

my %n_killed;
my @again;
my $n_never = 0;

# A worker that was registered and had not started is gone with the crash.
{
	my $sleeper = start_psql($node, $db, 'SELECT pg_sleep(600)');
	my $pid;

	for (1 .. 3000)
	{
		$pid = ask(q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'});
		last if $pid =~ /^\d+$/ && ask(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'embed filler'}) eq '0';
		sleep 0.01;
	}
	my $log_size = -s $node->logfile;

	query($node, $db, q{INSERT INTO later VALUES (0, 0, 'before')});
	kill 'KILL', $pid;
	wait_for_server($node, $db, $log_size);
	finish_psql($sleeper);
	ok(defined filling_again(0.5), 'a crash just behind a commit that starts a filler');
	query($node, $db, q{DELETE FROM later});
	delete $acknowledged{later}{$_} for keys %{ $acknowledged{later} };
}

for my $round (1 .. $n_rounds)
{
	my @writers = map { start_psql($node, $db, statements((qw(later deferred now))[ $_ % 3 ])) } 1 .. $n_writers;
	my $victim = $victims[ $round % @victims ];

	sleep(0.1 + rand(0.5));
	$n_killed{$victim}++ if kill_one($victim);
	take_acknowledged($_) for @writers;
	my $ms = filling_again($round);
	defined $ms ? push @again, $ms : $n_never++;
	diag("round $round") if $n_rounds > 10 && $round % 50 == 0;
}
@again = sort { $a <=> $b } @again;
diag(sprintf('%d rounds; killed: %s; filling again after %.0f ms (median), %.0f ms at most',
	$n_rounds, join(', ', map { "$n_killed{$_} $_" } sort keys %n_killed), $again[ @again / 2 ], $again[-1])) if @again;
ok(scalar(keys %n_killed) > 0, 'something was killed');
is($n_never, 0, 'the first commit behind each crash has its vector');

# ------------------------------------------------------------- what is left

for my $table (sort keys %acknowledged)
{
	my @told = map { "$_\t$acknowledged{$table}{$_}" } sort { $a <=> $b } keys %{ $acknowledged{$table} };

	query($node, $db, "CALL embed_fill('$table')");
	load_table($node, $db, "told_$table", 'id int, version int', map { [ split /\t/ ] } @told);
	cmp_ok(scalar @told, '>', $n_rounds, "$table: " . @told . ' rows were acknowledged');
	is(query($node, $db, "SELECT count(*) FROM told_$table t LEFT JOIN $table k USING (id) WHERE k.id IS NULL"), 0, '... no row is lost');
	is(query($node, $db, "SELECT count(*) FROM told_$table t JOIN $table k USING (id) WHERE k.version < t.version"), 0, '... and no text');
	is(query($node, $db, "SELECT count(*) FROM $table WHERE id > 0 AND body !~ ('^row ' || id || ' version ' || version || '( and more)*\$')"), 0, '... texts are whole');
	is(query($node, $db, "SELECT count(*) FROM $table WHERE e IS NULL"), 0, '... no row is to do');
	is(query($node, $db, "SELECT count(*) FROM $table WHERE e IS DISTINCT FROM embed(body, 'm')"), 0, '... no vector of another text');
}
is(query($node, $db, 'SELECT count(*) FROM embed_failures'), 0, 'no text has failed');
$node->stop;

done_testing();
