# Ctrl-C and kill: a script ends all that it started, removes its folder, and
# exits with 128 + signal; a second signal does not break off the cleaning up.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use ScriptTest;

my $demo = top() . '/scripts/demo';
my $test = top() . '/scripts/test';
my $model = top() . '/test/data/tiny/bert-cls/model';

sub compiles_in
{
	my ($dir) = @_;

	return grep { /^cc1/ } processes_in($dir);
}

# Nothing of the folder runs or is left; said of all that had begun to run in it.
sub nothing_left
{
	my ($title, $dir) = @_;

	is(join(' ', processes_in($dir)), '', "$title: no process is left");
	is(join(' ', glob "$dir/*"), '', "$title: no file is left");
}

# A script interrupted while it compiles in a folder below $dir.
sub interrupted
{
	my ($title, $status, $signal, $whom, $dir, $environment, @command) = @_;
	my $run = start($environment, @command);

	ok(wait_for($run, sub { compiles_in($dir) }), "$title: it compiles") or diag(output($run));
	signal_run($run, $signal, $whom);
	is(finish_run($run), $status, "$title: exit status");
	nothing_left($title, $dir);
	like(output($run), qr/interrupted, cleaning up/, "$title: message");
}

my $dir = folder();
interrupted('Ctrl-C in scripts/test', 130, 'INT', 'group', $dir, { EMBED_TEST_DIR => $dir }, $test, 'core');
interrupted('kill of scripts/test', 143, 'TERM', 'script', $dir, { EMBED_TEST_DIR => $dir }, $test, 'core');
interrupted('a closed terminal of scripts/test', 129, 'HUP', 'group', $dir, { EMBED_TEST_DIR => $dir }, $test, 'core');
interrupted('Ctrl-C in scripts/demo', 130, 'INT', 'group', $dir, { EMBED_DEMO_DIR => "$dir/demo", MODEL_DIR => $model }, $demo);
interrupted('kill of scripts/demo', 143, 'TERM', 'script', $dir, { EMBED_DEMO_DIR => "$dir/demo", MODEL_DIR => $model }, $demo);

# What Ctrl-C leaves of an earlier run's folder is known as the script's own.
mkdir "$dir/demo" or die $!;
is((run_script({ EMBED_DEMO_DIR => "$dir/demo" }, $demo, '--stop'))[0], 0, 'an empty folder is the demo\'s');
mkdir "$dir/demo" or die $!;
spew("$dir/demo/mine", 'mine');
my ($status, $output) = run_script({ EMBED_DEMO_DIR => "$dir/demo" }, $demo, '--stop');
is($status, 1, 'a folder with other files is not');
is(slurp("$dir/demo/mine"), 'mine', 'it is left alone');
unlink "$dir/demo/mine";
rmdir "$dir/demo";

# A script with jobs of every kind, made of lib.sh.
sub script
{
	my ($work, $body) = @_;

	spew("$work.sh", <<"BASH");
. '@{[ top() ]}/scripts/lib.sh'
WORK=$work
export EMBED_RUN_DIR=\$WORK
cleanup()
{
	local status=\$?
	trap - EXIT
	ignore_interrupts
	end_jobs
	end_strays "\$WORK"
	rm -rf "\$WORK"
	exit \$status
}
trap cleanup EXIT
catch_interrupts
choose_run_user
$body
BASH
	mkdir $work or die "$work: $!";
	return start({ PATH => "$work/bin:$ENV{PATH}" }, 'bash', "$work.sh");
}

# A server leaves the group of the job that starts it.
my $work = "$dir/work";
my $server = <<'BASH';
mkdir "$WORK/cluster"
find_pg_config && BINDIR=$("$PG_CONFIG" --bindir)
init_cluster "$WORK/cluster" >/dev/null && in_job start_cluster "$WORK/cluster"
BASH
my %jobs = (
	'a server' => "$server\nin_job sleep 1000",
	'a server under SIGSTOP' => "$server\nkill -STOP \$(head -n 1 \$WORK/cluster/data/postmaster.pid)\nin_job sleep 1000",
	'a job that ignores signals' => "cd \$WORK\nin_job sh -c 'trap \"\" INT TERM HUP; while :; do sleep 1; done'",
	'a stopped job' => "cd \$WORK\nin_job sh -c 'kill -STOP \$\$; sleep 1000'",
	'a process that left its job' => "cd \$WORK\ncp /bin/sleep \$WORK/left\nin_job sh -c 'setsid ./left 1000 & sleep 1000'");
my %signs = (
	'a server' => sub { -e "$work/cluster/data/postmaster.pid" && grep({ $_ eq 'sleep' } processes_running($work)) },
	'a process that left its job' => sub { grep { $_ eq 'left' } processes_in($work) });

# The marked processes of a script, by name.
sub processes_running
{
	my ($mark) = @_;

	return map { /^(\d+)$/ && (readlink("/proc/$1/exe") // '') =~ s|.*/||r }
	  grep { slurp("/proc/$_/environ") =~ /(?:^|\0)EMBED_RUN_DIR=\Q$mark\E\0/ } map { m|/proc/(\d+)| } glob '/proc/[0-9]*';
}

for my $title (sort keys %jobs)
{
	for my $again (0, 1)
	{
		my $what = $title . ($again ? ', Ctrl-C again and again' : '');
		my $run = script($work, "$jobs{$title}\n");
		my $sign = $signs{$title =~ s/ under.*//r} // sub { grep { $_ ne 'bash' } processes_running($work) };

		ok(wait_for($run, $sign), "$what: it runs") or diag(output($run));
		signal_run($run, 'INT', 'group');
		# of two signals at once either may be the first
		sleep 0.3 if $again;
		for (my $until = time + 60; $again && time < $until && !ScriptTest::ended($run); sleep 0.02)
		{
			signal_run($run, $_, 'group') for qw(INT TERM HUP);
		}
		is(finish_run($run), 130, "$what: exit status");
		is(join(' ', processes_running($work)), '', "$what: no process that it started is left");
		unlink "$work.sh";
		nothing_left($what, $dir);
	}
}

# apt: a download is broken off, dpkg is not. sudo and apt-get are stand-ins that say what happens to them.
sub with_apt
{
	my $run = script($work, <<'BASH');
mkdir "$WORK/bin"
printf '#!/bin/sh\n[ "$1" != -n ] || shift\nexec "$@"\n' >"$WORK/bin/sudo"
cat >"$WORK/bin/apt-get" <<'APT'
#!/bin/sh
trap "echo killed >>$WORK.told; exit 1" INT TERM HUP
case " $* " in
	*" --download-only "*) step=download ;;
	*) step=install ;;
esac
echo "$step" >>$WORK.told
i=0
while [ $i -lt ${SECONDS_OF_APT:-2} ]; do sleep 1; i=$((i + 1)); done
echo "$step done" >>$WORK.told
APT
chmod 755 "$WORK/bin/"*
export WORK SECONDS_OF_APT
get_packages "a package" "$WORK/log" apt_install package
echo "went on" >>$WORK.told
sleep 1000
BASH
	return $run;
}

# The file is beside the script's folder: it is looked at after its end.
sub told
{
	return join ', ', split /\n/, slurp("$work.told");
}

$ENV{SECONDS_OF_APT} = 1000;
my $run = with_apt();
ok(wait_for($run, sub { told() eq 'download' }), 'a download by apt: it runs') or diag(output($run));
signal_run($run, 'INT', 'group');
is(finish_run($run), 130, 'a download by apt: exit status');
is(told(), 'download, killed', 'a download by apt: is broken off');
unlink "$work.told", "$work.sh";
nothing_left('a download by apt', $dir);

$ENV{SECONDS_OF_APT} = 2;
for my $again (0, 1)
{
	my $title = 'an installation by apt' . ($again ? ', Ctrl-C again and again' : '');

	$run = with_apt();
	ok(wait_for($run, sub { told() eq 'download, download done, install' }), "$title: it runs") or diag(output($run));
	for (1 .. ($again ? 20 : 1))
	{
		signal_run($run, 'INT', 'group');
		sleep 0.02;
	}
	is(finish_run($run), 130, "$title: exit status");
	is(told(), 'download, download done, install, install done', "$title: came to its end, and nothing followed");
	like(output($run), qr/waiting for the end of: apt: installing a package/, "$title: message");
	unlink "$work.told", "$work.sh";
	nothing_left($title, $dir);
}

# A reader that leaves, as in "scripts/test | head -n 1".
spew("$dir/pipe.sh", "'$test' core | head -n 2 >/dev/null\nexit \${PIPESTATUS[0]}\n");
$run = start({ EMBED_TEST_DIR => $dir }, 'bash', "$dir/pipe.sh");
is(finish_run($run, 120), 141, 'a reader that leaves: exit status') or diag(output($run));
unlink "$dir/pipe.sh";
nothing_left('a reader that leaves', $dir);
done_testing();
