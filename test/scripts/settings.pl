# Wrong settings are told before anything is installed or built; warnings are
# errors in our own tests only.
use strict;
use warnings;
use Test::More;
use ScriptTest;

my $demo = top() . '/scripts/demo';
my $test = top() . '/scripts/test';
my $good = top() . '/test/data/tiny/bert-cls/model';

# A wrong VARIABLE: the message, and nothing begun.
sub refused
{
	my ($title, $script, $variable, $value, $message) = @_;
	my $demo_dir = folder() . '/demo';
	my ($status, $output) = run_script({ $variable => $value, EMBED_DEMO_DIR => $demo_dir }, $script, $script eq $test ? 'core' : ());

	is($status, 1, "$title: status");
	like($output, qr/^ERROR: $variable: .*$message/m, "$title: message");
	unlike($output, qr/^==>/m, "$title: nothing was begun");
	ok(!-e $demo_dir, "$title: no folder was made");
}

sub model
{
	my (%files) = @_;
	my $dir = folder();

	spew("$dir/$_", $files{$_}) for keys %files;
	return $dir;
}

my $lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
my $linked = model('config.json' => '{}', 'model.safetensors' => 'x');
symlink '/nowhere/tokenizer.json', "$linked/tokenizer.json";
my @models = (
	[ 'absent', '/nowhere/model', 'does not exist' ],
	[ 'a file', "$good/config.json", 'is not a directory' ],
	[ 'an empty folder', folder(), 'holds no config\.json' ],
	[ 'no weights', model('config.json' => '{}'), 'holds no weights' ],
	[ 'empty weights', model('config.json' => '{}', 'model.safetensors' => ''), 'is empty' ],
	[ 'a pointer of git-lfs', model('config.json' => '{}', 'model.safetensors' => $lfs), 'git lfs pull' ],
	[ 'a link to nothing', $linked, 'leads to nothing' ]);
if ($> != 0)
{
	my $secret = model('config.json' => '{}', 'model.safetensors' => 'x');

	chmod 0000, "$secret/model.safetensors";
	push @models, [ 'weights of another user', $secret, 'cannot read .*model\.safetensors' ];
}
for my $model (@models)
{
	refused("MODEL_DIR, $model->[0]", $demo, 'MODEL_DIR', $model->[1], $model->[2]);
	refused("EMBED_MODEL_DIR, $model->[0]", $test, 'EMBED_MODEL_DIR', $model->[1], $model->[2]);
}
refused('EMBED_MODELS, absent', $test, 'EMBED_MODELS', '/nowhere/models', 'does not exist');
refused('EMBED_PYTHON, absent', $test, 'EMBED_PYTHON', '/nowhere/python', 'is not a program');
refused('EMBED_TAP, absent', $test, 'EMBED_TAP', 'test/t/999*', 'no test matches');

my $fakes = folder();
spew("$fakes/old", "#!/bin/sh\necho PostgreSQL 12.22\n", 0755);
spew("$fakes/other", "#!/bin/sh\necho something else\n", 0755);
spew("$fakes/empty", "#!/bin/sh\n[ \"\$1\" = --version ] && echo PostgreSQL 17.1 || echo /nowhere\n", 0755);
for my $script ($demo, $test)
{
	my $name = $script =~ s|.*/||r;

	refused("PG_CONFIG of $name, absent", $script, 'PG_CONFIG', '/nowhere/pg_config', 'is not a program');
	refused("PG_CONFIG of $name, a folder", $script, 'PG_CONFIG', '/tmp', 'is not a program');
	refused("PG_CONFIG of $name, old", $script, 'PG_CONFIG', "$fakes/old", 'PostgreSQL 12\.22; PostgreSQL 13 or later');
	refused("PG_CONFIG of $name, another program", $script, 'PG_CONFIG', "$fakes/other", "is not PostgreSQL's");
	refused("PG_CONFIG of $name, without a server", $script, 'PG_CONFIG', "$fakes/empty", 'there is no server in /nowhere');
}
my ($status, $output) = run_script({}, $test, 'regres');
is($status, 1, 'a step that does not exist: status');
like($output, qr/no step regres; there are /, 'a step that does not exist: message');

# What make would run, in users' hands and in ours.
sub commands
{
	my ($file, $target, @settings) = @_;

	delete local @ENV{qw(WERROR MAKEFLAGS)};
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	return join '', qx(make -B -n -f $file $target PG_CONFIG=$pg_config @settings 2>&1);
}

for ([ 'core.mk', 'cli' ], [ 'Makefile', 'src/pg/sql/vector.o' ])
{
	my ($file, $target) = @$_;

	like(commands($file, $target), qr/ -Wextra /, "$file compiles $target with warnings");
	unlike(commands($file, $target), qr/ -Werror /, "$file: a warning is no error");
	unlike(commands($file, $target, 'WERROR=0'), qr/ -Werror /, "$file: nor with WERROR=0");
	like(commands($file, $target, 'WERROR=1'), qr/ -Werror /, "$file: it is with WERROR=1");
}
like(slurp($test), qr/^export WERROR=1$/m, 'scripts/test sets it');
done_testing();
