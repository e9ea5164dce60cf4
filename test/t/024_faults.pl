# A disk that is full or bad, a directory that cannot be written, no memory: each
# system call on our files fails in turn, at each place where it is made
# (test/tools/faulty.c); then several of them in a row: the first ones, all from
# one on, each pair (EMBED_PAIRS=all; by default some, others every day;
# EMBED_OPERATIONS=PATTERN: of these operations); a
# cancel at each of them, kill -9 at some of them (EMBED_KILLS: at how many, 1000
# for all). After each the same backend answers for its memory and its catalog
# caches. Then the real things: a full file system, a read-only
# directory, limits on memory, errors in the middle of aggregates.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Errno qw(EACCES EINVAL EIO EINTR EMFILE ENOMEM ENOSPC EROFS);
use Test::More;

my $db = 'postgres';
my $tools = $FindBin::RealBin . '/../tools';
my $work = PostgreSQL::Test::Utils->can('tempdir') ? PostgreSQL::Test::Utils::tempdir() : TestLib::tempdir();
my $library = "$work/faulty.so";
my $control = "$work/control";
my $can_inject = system("gcc -O1 -shared -fPIC -o $library $tools/faulty.c -ldl 2>/dev/null") == 0;

# fsync on: it shall be called, and fail
$ENV{FAULTY_CONTROL} = $control;
$ENV{LD_PRELOAD} = $library if $can_inject;
my $node = new_node('faults', conf => "fsync = on\nrestart_after_crash = on\nmax_connections = 30\n");
delete $ENV{LD_PRELOAD};

import_model($node, $db, 'm', tiny_model('bert-mean-36'));
query($node, $db, 'CREATE DATABASE other');
query($node, 'other', 'CREATE EXTENSION embed');
import_model($node, 'other', 'k', tiny_model('bert-cls'));
my $m_hash = q{SELECT md5(embed('a text', 'm')::text)};
my $want = query($node, $db, $m_hash);
my $postmaster = query($node, $db, 'SELECT pg_postmaster_start_time()');
my $import_m = 'SELECT length(embed_import(\'m\',' . quote(tiny_model('bert-mean-36')) . '))';
my $import_x = 'SELECT length(embed_import(\'x\',' . quote(tiny_model('bert-mean-48')) . '))';

# Rows of complaints, none when all is well.
my $complaints_sql = q{
	SELECT 'chunks without image' FROM _embed.chunk c WHERE NOT EXISTS (SELECT FROM _embed.image i WHERE i.fingerprint = c.fingerprint)
	UNION ALL SELECT 'image without model' FROM _embed.image i WHERE NOT EXISTS (SELECT FROM _embed.model m WHERE i.fingerprint = m.fingerprint)
	UNION ALL SELECT 'model without image' FROM _embed.model m WHERE NOT EXISTS (SELECT FROM _embed.image i WHERE i.fingerprint = m.fingerprint)
	UNION ALL SELECT 'other vectors' WHERE md5(embed('a text', 'm')::text) <> '} . $want . q{'};
my $left_sql = q{
	SELECT 'left: ' || f FROM pg_ls_dir('pgsql_tmp_embed') d, pg_ls_dir('pgsql_tmp_embed/' || d) f WHERE d ~ '^[0-9]+$' AND f ~ 'tmp$'};
my $verify_sql = q{SELECT 'broken: ' || name FROM embed_models WHERE NOT (SELECT bool_and(ok) FROM embed_verify(name))};

sub complaints
{
	return grep { $_ ne '' } map { split /\n/ } query($node, $db, $complaints_sql), query($node, $db, $left_sql), query($node, $db, $verify_sql);
}

# ------------------------------------------------- every call in turn

my $data_dir = $node->data_dir;
my $root = "$data_dir/pgsql_tmp_embed";
my $drop_x = q{SELECT embed_drop('x', true, true) FROM embed_models WHERE name = 'x';};
my $drop_m = q{SELECT embed_drop('m', true, true) FROM embed_models WHERE name = 'm';};
# name => [ what happens before, database, statements, what happens after ], in psql's language
my %operation = (
	'import' => [ '', $db, "$import_x;", $drop_x ],
	'materialize' => [ "\\! rm -f $root/*/*.img", $db, "$m_hash;", '' ],
	'first file of the cluster' => [ "\\! rm -rf $root", $db, "$m_hash;", '' ],
	'link' => [ "$m_hash;", 'other', "$import_m;\n$m_hash;\nSELECT embed_drop('m', true, true);", "\\c other\n$drop_m\nSELECT embed('x', 'k') IS NULL;" ],
	'map' => [ "$m_hash;", $db, "$m_hash;", '' ],
	'map, unsealed' => [ "$m_hash;\n\\! touch $root/*/*.img", $db, "$m_hash;", '' ]);
# EMBED_OPERATIONS: those of that pattern, to share a long run among several processes
my @operations = grep { !defined $ENV{EMBED_OPERATIONS} || /$ENV{EMBED_OPERATIONS}/ } sort keys %operation;
# call => errors
my %faults = (
	mkdir => [ EACCES, ENOSPC ], create => [ EACCES, ENOSPC, EMFILE ], open => [ EIO, EMFILE ], write => [ ENOSPC, EIO, EINTR ],
	short => [ENOSPC], statvfs => [ENOSPC], fallocate => [ ENOSPC, EINTR ], fsync => [ EIO, ENOSPC ], rename => [ EACCES, ENOSPC ],
	link => [ EACCES, ENOSPC ], unlink => [EACCES], flock => [ EINTR, EIO ], fstat => [EIO], futimens => [EROFS], pread => [ EIO, EINTR ],
	mmap => [ENOMEM], ftruncate => [ENOSPC], read => [EIO], lstat => [ EIO, EACCES ], opendir => [ EACCES, EMFILE ], rmdir => [EACCES],
	sigaction => [EINVAL], lose => [EIO]);
my %states = map { $_ => 1 } qw(53100 53000 53200 58000 58030 42501 57014);

# What a backend is asked after a fault: memory contexts that have one owner, catalog caches, and plans that are right.
my $has_contexts = query($node, $db, 'SELECT current_setting(\'server_version_num\')::int') >= 140000;
my $contexts = $has_contexts ? '(SELECT count(*) FROM pg_backend_memory_contexts)' : '100';
for my $database ($db, 'other')
{
	query(
		$node, $database, q{
		CREATE FUNCTION health() RETURNS text LANGUAGE plpgsql AS $$
		DECLARE n int; m int;
		BEGIN
			CREATE TEMP TABLE p (a int, b text) PARTITION BY LIST (a);
			CREATE TEMP TABLE p1 PARTITION OF p FOR VALUES IN (1);
			CREATE TEMP TABLE p2 PARTITION OF p FOR VALUES IN (2);
			INSERT INTO p SELECT 1 + i % 2, 'x' || i FROM generate_series(1, 20) i;
			CREATE INDEX ON p1 (b);
			ANALYZE p;
			SELECT count(*) INTO n FROM p JOIN p1 USING (b) LEFT JOIN pg_class c ON c.relname = p.b WHERE p.a = 1;
			SELECT count(*) INTO m FROM pg_proc WHERE proname = 'abs' AND pronamespace = 'pg_catalog'::regnamespace;
			DROP TABLE p;
			IF n <> 10 OR m < 6 OR } . $contexts . q{ < 20 OR to_regclass('pg_class') IS NULL THEN
				RETURN format('sick: %s %s', n, m);
			END IF;
			RETURN '';
		END $$});
}
my $health_sql = q{SELECT h FROM health() h WHERE h <> '';};

# One try of each [ call, which, errno ], in one psql; for each [ how often it was met, SQLSTATE, complaints ].
sub try_faults
{
	my ($name, @tries) = @_;
	my ($before, $database, $sql, $after) = @{ $operation{$name} };
	my ($script, $out, $err) = ("\\set VERBOSITY verbose\n", '', '');

	for my $i (0 .. $#tries)
	{
		my ($call, $n, $errno) = @{ $tries[$i] };
		$script .= "\\echo TRY $i\n\\warn TRY $i\n\\c $db\n$before\n\\c $database\n"
		  . "\\o $control\n\\qecho $call $n $errno\n\\o\n$sql\n\\o $control\n\\qecho none\n\\o\n\\warn HEALTH\n$health_sql\n"
		  . ($database eq $db ? "SELECT 'other vectors' WHERE md5(embed('a text', 'm')::text) <> '$want';\n" : '')
		  . "\\c $db\n\\warn CHECK\n$complaints_sql;\n$after\n$left_sql;\n";
	}
	unlink "$control.hit";
	$node->psql($db, $script, stdout => \$out, stderr => \$err, on_error_stop => 0);
	my %hit;
	$hit{$_}++ for map { s/ \@.*//r } split /\n/, (-e "$control.hit" ? slurp("$control.hit") : '');
	my @out = split /^TRY \d+(?:\n|$)/m, $out, -1;
	my @err = split /^(?:psql:.*?: )?TRY \d+(?:\n|$)/m, $err, -1;
	my @results;
	for my $i (0 .. $#tries)
	{
		my ($call, $n, $errno) = @{ $tries[$i] };
		my ($during, $behind) = split /^(?:psql:.*?: )?CHECK(?:\n|$)/m, $err[ $i + 1 ] // '', 2;
		my $unhealthy;
		($during, $unhealthy) = split /^(?:psql:.*?: )?HEALTH(?:\n|$)/m, $during // '', 2;
		my ($state) = ($during // '') =~ /(?:ERROR|FATAL|PANIC):\s+(\w{5}):/;
		my @complaints = ($out[ $i + 1 ] // 'no answer') =~ /^(other vectors|sick.*|.* without .*|left: .*|no answer)$/mg;

		# a name that cannot be replaced: the call works, and says so
		$during =~ s/^(?:psql:.*?: )?WARNING:  \w+: could not replace file .*\n(?:DETAIL|HINT|LOCATION):.*\n(?:(?:DETAIL|HINT|LOCATION):.*\n)*//mg if defined $during;
		push @complaints, "not healthy after it: $unhealthy" if ($unhealthy // 'no answer') =~ /\S/;

		push @complaints, $during if defined $state ? !$states{$state} : ($during // '?') =~ /\S/;
		push @complaints, "an interrupted call is no error: $during" if defined $state && $errno == EINTR;
		push @complaints, $behind // 'no check' if ($behind // '?') =~ /\S/;
		push @results, [ $hit{"$call $n $errno"}, $state, map { "$name, $call $n fails with $errno: $_" } @complaints ];
	}
	return @results;
}

# The backend dies at the n-th call and takes the others with it; complaints once the server is back.
sub kill_at
{
	my ($name, $n) = @_;
	my ($before, $database, $sql, $after) = @{ $operation{$name} };

	unlink "$control.hit";
	my $log_size = -s $node->logfile;
	finish_psql(start_psql($node, $db, "$before\n\\c $database\n\\o $control\n\\qecho any $n -9\n\\o\n$sql\n"));
	spit($control, "none\n");
	wait_for_server($node, $db, -e "$control.hit" ? $log_size : undef);
	my @complaints = -e "$control.hit" ? () : ('not met');
	push @complaints, grep { $_ ne '' } split /\n/, query($node, $db, $complaints_sql);
	$node->psql($db, $after, on_error_stop => 0) if $after ne '';
	return (@complaints, grep { $_ ne '' } split /\n/, query($node, $db, $left_sql));
}

if ($can_inject)
{
	for my $name (@operations)
	{
		my ($n_tried, $n_errors, @bad) = (0, 0);
		# the first error of each call at every place, the others at the first one and everywhere; an interrupted call that never succeeds is waited for
		my @tries = map { my $call = $_; map { my $errno = $_; map { [ $call, $_, $errno ] } $errno == EINTR ? 1 : (0, 1) } @{ $faults{$call} } } sort keys %faults;

		for my $n (2 .. 30)
		{
			my @next;
			my @results = try_faults($name, @tries);

			for my $i (0 .. $#tries)
			{
				my ($call, $at, $errno) = @{ $tries[$i] };
				my ($hit, $state, @complaints) = @{ $results[$i] };

				push @bad, @complaints;
				next unless $hit;
				$n_tried++;
				$n_errors++ if defined $state;
				push @next, [ $call, $n, $errno ] if $at == $n - 1 && $errno == $faults{$call}[0];
			}
			last unless @next;
			@tries = @next;
		}
		is_deeply(\@bad, [], "$name: $n_tried faults, $n_errors errors, each with its SQLSTATE, nothing left, and it works again");
		cmp_ok($n_tried, '>=', 10, '... faults were met');
	}
	# Cancel at each of these calls in turn, then kill -9 at some: each costs a restart.
	my (@kills, %n_calls);
	for my $name (@operations)
	{
		my ($n, $n_cancelled, $all_hit, @bad) = (0, 0, 1);

		while ($all_hit)
		{
			my @results = try_faults($name, map { [ 'any', $_, -2 ] } $n + 1 .. $n + 25);

			for (@results)
			{
				my ($hit, $state, @complaints) = @$_;
				push @bad, @complaints;
				$hit ? $n++ : ($all_hit = 0);
				$n_cancelled++ if defined $state;
			}
		}
		is_deeply(\@bad, [], "$name: cancelled at each of $n calls, $n_cancelled times before the end: nothing left, and it works again");
		push @kills, map { [ $name, $_ ] } 1 .. $n;
		$n_calls{$name} = $n;
	}

	# Faults in a row, each call with an error that it may have: the first k, all from the n-th on, pairs. One
	# may change what follows, so pairs go some calls further than an undisturbed operation.
	my $all_pairs = ($ENV{EMBED_PAIRS} // '') eq 'all';
	my $stride = 97;
	my ($n_pairs, $n_both, $at) = (0, 0, (localtime)[7]);
	for my $name (@operations)
	{
		my $n = $n_calls{$name} + 6;
		my @tries = ((map { [ 'any', "1-$_", 0 ] } 1 .. $n), (map { [ 'any', "$_-", 0 ] } 1 .. $n),
			(map { my $call = $_; map { [ $call, $_, $faults{$call}[0] ] } '1-2', '1-3', '2-', '3-' } grep { $_ ne 'flock' } sort keys %faults));
		@tries = @tries[ grep { ($_ + $at) % 3 == 0 || $all_pairs } 0 .. $#tries ];
		my $n_rows = @tries;
		for my $i (1 .. $n)
		{
			push @tries, map { [ 'any', "$i,$_", 0 ] } grep { $all_pairs || $at++ % $stride == 0 } $i + 1 .. $n + 6;
		}
		my ($n_errors, @bad) = (0);
		while (my @part = splice @tries, 0, 50)
		{
			for (try_faults($name, @part))
			{
				my ($hit, $state, @complaints) = @$_;
				push @bad, @complaints;
				$n_errors++ if defined $state;
				$n_both++ if ($hit // 0) > 1;
				$n_pairs++;
			}
		}
		is_deeply(\@bad, [], "$name: faults in a row, $n_errors errors, each with its SQLSTATE, a healthy backend, nothing left");
	}
	cmp_ok($n_both, '>=', $n_pairs / 4, "... $n_pairs rows and pairs of faults, $n_both of them met twice or more");
	diag("$n_pairs rows and pairs of faults, $n_both of them met twice or more") if $all_pairs;
	my $n_kills = $ENV{EMBED_KILLS} || 12;
	my @killed_bad;
	$n_kills = @kills if $n_kills > @kills;
	for my $i (1 .. $n_kills)
	{
		my ($name, $n) = @{ $kills[ int(($i - rand) * @kills / $n_kills) ] };
		push @killed_bad, map { "$name, kill -9 at call $n: $_" } kill_at($name, $n);
	}
	is_deeply(\@killed_bad, [], "kill -9 at $n_kills of " . @kills . ' calls: whole or not there, nothing left, the same vectors');
	is_deeply([ complaints() ], [], 'everything is whole');
	$postmaster = query($node, $db, 'SELECT pg_postmaster_start_time()');
}
else
{
	skip_loudly('no gcc to build the faulty calls with');
}
is(query($node, $db, 'SELECT pg_postmaster_start_time()'), $postmaster, 'nothing crashed');

# --------------------------------------------------- the real things

# A directory that may not be written.
my ($folder) = map { s|/[^/]*$||r } image_files($node);
unlink image_files($node);
chmod 0500, $folder;
if (open my $probe, '>', "$folder/probe")
{
	close $probe;
	unlink "$folder/probe";
	skip_loudly('a read-only directory stops nobody here (root)');
}
else
{
	my ($state, $message) = error_of($node, $db, "$m_hash;");
	is($state, '42501', 'a read-only directory');
	like($message, qr/could not create file "pgsql_tmp_embed/, '... is named');
	($state) = error_of($node, $db, "$import_x;");
	is($state, '42501', '... an import as well');
	chmod 0700, $folder;
	is(query($node, $db, $m_hash), $want, '... and written again');
	is_deeply([ complaints() ], [], '... nothing half-installed');
}
chmod 0700, $folder;

# A file system that fills up. First our folder is a link into it, then the tables of a database are there.
if (my $small = $ENV{EMBED_SMALL_DISK})
{
	my $free_kb = sub { (split ' ', `df -k --output=avail $small | tail -1`)[0] };
	my $leave = sub {
		my ($left_kb) = @_;

		unlink "$small/filler";
		my $kb = $free_kb->() - $left_kb;
		system("head -c ${kb}k /dev/zero > $small/filler 2>/dev/null");
	};

	$node->stop;
	system('rm', '-rf', $root, glob("$small/*"));
	symlink $small, $root or die "symlink: $!";
	$node->start;
	is(query($node, $db, $m_hash), $want, 'a file system of its own');
	for my $left_kb (0, 64, 512, 1024, 16 * 1024 + 100)
	{
		unlink image_files($node);
		$leave->($left_kb);
		my ($state, $message) = error_of($node, $db, "$m_hash;");
		is($state, '53100', "$left_kb kB are free: the disk is full") or diag($message);
		($state, $message) = error_of($node, $db, "$import_x;");
		like($state, qr/^(?:53100)?$/, '... an import says so as well, or it fits') or diag($message);
		like($message, qr/ \d+ bytes are needed in the file system of "[^"]+", and \d+ are free/, '... before the work, with what it needs') if $state ne '';
		query($node, $db, $drop_x) if $state eq '';
		is_deeply([ glob("$small/*/*.tmp") ], [], '... nothing left');
	}
	unlink "$small/filler";
	is(query($node, $db, $m_hash), $want, 'and with room again');
	is_deeply([ complaints() ], [], '... nothing half-installed');
	$node->stop;
	system('rm', '-rf', $root, glob("$small/*"));
	$node->start;
	$postmaster = query($node, $db, 'SELECT pg_postmaster_start_time()');

	mkdir "$small/tables";
	query($node, $db, "CREATE TABLESPACE small LOCATION '$small/tables'");
	query($node, $db, 'CREATE DATABASE small TABLESPACE small');
	query($node, 'small', 'CREATE EXTENSION embed');
	for my $left_kb (16, 200)
	{
		$leave->($left_kb);
		my ($state, $message) = error_of($node, 'small', "$import_x;");
		is($state, '53100', "$left_kb kB are free for tables: an import fails") or diag($message);
		like($message, qr/ \d+ bytes are needed in the file system of "pg_tblspc[^"]*", and \d+ are free/, '... before the work, with what its rows need');
		is(installed_rows($node, 'small'), 0, '... nothing half-installed');
		is_deeply([ glob("$root/*/*.tmp") ], [], '... nothing left');
	}
	unlink "$small/filler";
	is((error_of($node, 'small', "$import_x; SELECT embed('a text', 'x');"))[0], '', '... with room again it works');
	query($node, $db, 'DROP DATABASE small');
	query($node, $db, 'DROP TABLESPACE small');
}
else
{
	skip_loudly('no small file system (EMBED_SMALL_DISK): a full disk is only simulated');
}

# ------------------------------------------------------------- memory

my $private = q{(split_part(pg_read_file('/proc/self/statm', 0, 100), ' ', 2)::int - split_part(pg_read_file('/proc/self/statm', 0, 100), ' ', 3)::int) * 4};
my $in_contexts = q{(SELECT sum(total_bytes) FROM pg_backend_memory_contexts)};

# An ERROR in the middle of a group, two hundred times: what the group held is given back.
query(
	$node, $db, q{
	CREATE FUNCTION fail(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			BEGIN
				PERFORM embed_agg(g || repeat(' word', i % 50), 'm'), embed_avg('x' || g, 'm'), max(1 / (400 - g)) FROM generate_series(1, 600) g;
				RAISE EXCEPTION 'unreachable';
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
			BEGIN
				PERFORM embed(array_agg(CASE WHEN g = 300 THEN (1 / (300 - g))::text ELSE 'text ' || g END), 'm') FROM generate_series(1, 600) g;
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		END LOOP;
		RETURN n;
	END $$});
my $measure = "SELECT $private, " . ($has_contexts ? $in_contexts : '0');
my ($out, $errors) = ('', '');
$node->psql($db, "SET embed.cache_entries = 0; SELECT fail(5); $measure; SELECT fail(40); $measure; $m_hash;", stdout => \$out, stderr => \$errors, on_error_stop => 1, extra_params => [ '-F', ' ' ]);
my @lines = split /\n/, $out;
my ($kb_0, $bytes_0) = split / /, $lines[1] // '';
my ($kb_1, $bytes_1) = split / /, $lines[3] // '';
diag($errors) if $errors ne '';
is($lines[4], $want, 'after 80 errors in the middle of aggregates and arrays the next call is right');
cmp_ok($kb_1 - $kb_0, '<', 2048, '... private memory grew by ' . ($kb_1 - $kb_0) . ' kB');
cmp_ok($bytes_1 - $bytes_0, '<', 65536, '... memory contexts by ' . ($bytes_1 - $bytes_0) . ' bytes');

# A limit on the address space of one backend (ulimit -v): an ERROR, no end of the session.
if (system('prlimit --pid $$ --as >/dev/null 2>&1') == 0)
{
	my $calls = join "\n", map { "$_;" } (
		q{SELECT cardinality(embed(array_agg(g || repeat('x', 300)), 'm')) FROM generate_series(1, 20000) g},
		q{SELECT cardinality(embed_agg(g || repeat('x', 300), 'm')) FROM generate_series(1, 40000) g},
		q{SELECT (embed_info(repeat('many words ', 8000000), 'm')).tokens},
		$import_x);
	my ($n_refused, @bad) = (0);

	for my $mb (1, 4, 16, 48)
	{
		my ($out, $err) = ('', '');
		$node->psql($db, "\\set VERBOSITY verbose\nSET jit = off;\nSELECT 1 FROM embed('warm', 'm');\nSELECT pg_backend_pid() AS pid \\gset\n"
			  . "\\setenv PID :pid\n\\! prlimit --pid \$PID --as=\$((\$(awk '/VmSize/ { print \$2 }' /proc/\$PID/status) * 1024 + $mb * 1048576)):\n"
			  . "$calls\n\\! prlimit --pid \$PID --as=unlimited:\nSELECT pg_backend_pid() = :pid;\n$m_hash;\n",
			stdout => \$out, stderr => \$err, on_error_stop => 0);
		my @states = $err =~ /(?:ERROR|FATAL):\s+(\w{5}):/g;
		$n_refused += grep { $_ eq '53200' } @states;
		push @bad, "$mb MB: @states $err" if grep { $_ ne '53200' } @states;
		push @bad, "$mb MB: $out" if $out !~ /^t\n$want$/m;
		query($node, $db, $drop_x);
	}
	is_deeply(\@bad, [], "limits on address space: $n_refused calls out of memory, every session goes on with the same bits");
	cmp_ok($n_refused, '>=', 3, '... the limits were met');
	is_deeply([ complaints() ], [], '... nothing half-installed');
}
else
{
	skip_loudly('no prlimit: limits on memory');
}

is(query($node, $db, 'SELECT pg_postmaster_start_time()'), $postmaster, 'nothing crashed');
unlike(slurp($node->logfile), qr/PANIC|TRAP|was terminated by signal (?!9:)/, 'nothing crashed but what was killed, says the log');
done_testing();
