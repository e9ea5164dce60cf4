# ScriptTest.pm - runs a script of this tree as a terminal would, signals it,
# and looks for what it leaves behind.
package ScriptTest;
use strict;
use warnings;
use Cwd qw(getcwd);
use File::Temp qw(tempdir);
use Time::HiRes qw(sleep time);
use Exporter 'import';

our @EXPORT = qw(top folder slurp spew start wait_for signal_run finish_run processes_in output run_script);

# Paths as /proc shows them.
my $top = getcwd();
my $base = tempdir(DIR => $ENV{EMBED_TEST_DIR} // '/tmp', CLEANUP => 1);
my $n_folders = 0;

sub top { return $top }

sub folder
{
	my $dir = "$base/" . ++$n_folders;

	mkdir $dir or die "$dir: $!";
	return $dir;
}

sub slurp
{
	my ($file) = @_;

	open my $in, '<', $file or return '';
	local $/;
	return <$in> // '';
}

sub spew
{
	my ($file, $text, $mode) = @_;

	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
	chmod $mode, $file if defined $mode;
}

# start(environment, command ...): in a process group of its own, as a shell starts what it runs in the foreground.
sub start
{
	my ($environment, @command) = @_;
	my $dir = folder();
	my $pid = fork // die "fork: $!";

	if ($pid == 0)
	{
		setpgrp 0, 0;
		$SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$dir/output";
		open STDERR, '>&', \*STDOUT;
		delete @ENV{qw(MODEL_DIR EMBED_MODEL_DIR EMBED_MODELS EMBED_TAP EMBED_DEMO_DIR EMBED_RUN_DIR KEEP WERROR)};
		%ENV = (%ENV, %$environment);
		exec @command;
		die "$command[0]: $!";
	}
	return { pid => $pid, dir => $dir };
}

sub output { return slurp("$_[0]{dir}/output") }

sub ended
{
	my ($run) = @_;

	if (!defined $run->{status} && waitpid($run->{pid}, 1) == $run->{pid})
	{
		$run->{status} = $?;
	}
	return defined $run->{status};
}

# Whether the condition comes true before the run ends, within two minutes: the machine may be busy.
sub wait_for
{
	my ($run, $condition) = @_;

	for (my $until = time + 120; time < $until; sleep 0.05)
	{
		return 1 if $condition->();
		return 0 if ended($run);
	}
	return 0;
}

# As a terminal does (whole group), or as kill does (the script alone).
sub signal_run
{
	my ($run, $signal, $whom) = @_;

	kill $signal, $whom eq 'group' ? -$run->{pid} : $run->{pid};
}

# The exit status, as a shell names it; "none" where the run goes on for too long.
sub finish_run
{
	my ($run, $seconds) = @_;

	for (my $until = time + ($seconds // 60); time < $until && !ended($run); sleep 0.05) { }
	if (!ended($run))
	{
		kill 'KILL', -$run->{pid};
		waitpid $run->{pid}, 0;
		return 'none';
	}
	return $run->{status} & 127 ? 128 + ($run->{status} & 127) : $run->{status} >> 8;
}

# Names of the programs that run in the folder or come from there.
sub processes_in
{
	my ($dir) = @_;
	my @names;

	for my $process (glob '/proc/[0-9]*')
	{
		my $program = readlink "$process/exe";

		next if !defined $program;
		push @names, $program =~ s|.*/||r if grep { defined && m|^\Q$dir\E/| } $program, readlink "$process/cwd";
	}
	return @names;
}

# (status, output) of a script that is to end by itself.
sub run_script
{
	my ($environment, @command) = @_;
	my $run = start($environment, @command);
	my $status = finish_run($run, 120);

	return ($status, output($run));
}

1;
