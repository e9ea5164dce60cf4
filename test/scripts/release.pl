# A release: versions and addresses agree, archives come from tags and say what they lack, make works without
# a server, workflows name steps and files that exist.
use strict;
use warnings;
use Test::More;
use JSON::PP;
use ScriptTest;

my $top = top();
delete $ENV{EMBED_TEST_DATA};
my $version = slurp("$top/embed.control") =~ /^default_version *= *'(.*)'/m ? $1 : die 'no version';

# ------------------------------------------------------------ agreement

my ($status, $output) = run_script({}, "$top/scripts/check-release");
is($status, 0, 'versions, META.json and debian/ agree') or diag $output;

my %described = map { $_ => 1 } qw(META.json CHANGELOG.md debian/changelog debian/control.in), map({ s|^\Q$top/\E||r } glob "$top/*.control"),
	slurp("$top/META.json") =~ /"(?:doc)?file": "([^"]*)"/g;

# A tree of the files that describe a release, one of them changed: what check-release says.
sub changed
{
	my ($file, $from, $to, @options) = @_;
	my $dir = folder();

	mkdir "$dir/$_" for qw(debian sql docs);
	for my $other (sort keys %described)
	{
		my $text = slurp("$top/$other");

		if ($other eq $file)
		{
			$text =~ s/$from/$to/ or die "$file has no $from";
		}
		spew("$dir/$other", $text);
	}
	return run_script({}, "$top/scripts/check-release", @options, $dir);
}

for my $case (
	[ 'META.json', qr/"version": "\Q$version\E"/, '"version": "9.9.9"', 'META.json is of version 9\.9\.9' ],
	[ 'META.json', qr/("file".*?)"version": "\Q$version\E"/s, '"version": "9.9.9"', 'has no file|is of version 9\.9\.9' ],
	[ 'META.json', qr/"version": "\Q$version\E"/, '"version": "0.1"', 'META.json is of version 0\.1' ],
	[ 'META.json', qr/ <embed@[^"]*/, '', 'a maintainer is a name with an address' ],
	[ 'META.json', qr/"postgresql"/, '"PostgreSQL"', 'unknown license "PostgreSQL"' ],
	[ 'META.json', qr/"unstable"|"stable"|"testing"/, '"beta"', '"release_status" is stable' ],
	[ 'META.json', qr/"13\.0\.0"/, '"13"', 'no range of versions' ],
	[ 'META.json', qr/"bugtracker"/, '"bugs"', 'bugtracker\.web' ],
	[ 'META.json', qr/"tags"/, '"keywords"', 'the spec has no key "keywords"' ],
	[ 'META.json', qr/"abstract".*\n/, '', '"abstract" is missing' ],
	[ 'META.json', qr/"sql\/embed\.sql"/, '"sql/other.sql"', 'has no file "sql/other\.sql"' ],
	[ 'META.json', qr/"1\.0\.0"/, '"2.0.0"', 'that of version 1\.0\.0' ],
	[ 'META.json', qr/,/, '', 'META\.json is no JSON' ],
	[ 'CHANGELOG.md', qr/^## \S+/m, '## 9.9.9', 'CHANGELOG\.md is of version 9\.9\.9' ],
	[ 'debian/changelog', qr/\(\Q$version\E-/, '(9.9.9-', 'debian/changelog is of version 9\.9\.9' ],
	[ 'debian/control.in', qr/^Maintainer: .*$/m, 'Maintainer: Somebody <else@example.net>', 'another maintainer' ],
	[ 'debian/control.in', qr/^Homepage: .*$/m, 'Homepage: http://example.net', 'another homepage' ],
	[ 'embed.control', qr/'\Q$version\E'/, "'0.1'", 'no version of the kind 1\.2\.3' ])
{
	my ($file, $from, $to, $message) = @$case;

	($status, $output) = changed($file, $from, $to);
	is($status, 1, "$file with $to: status");
	like($output, qr/^check-release: .*(?:$message)/m, "$file with $to: message");
}

# debian/control is control.in for the versions of PostgreSQL that it has, as pg_buildext makes it.
my $control = slurp("$top/debian/control");
my @versions = $control =~ /^Package: postgresql-(\d+)-embed$/mg;
my $expected = join("\n\n", map {
	my $paragraph = $_;
	$paragraph =~ /^Package: .*PGVERSION/m ? map { my $v = $_; $paragraph =~ s/PGVERSION/$v/gr } @versions : $paragraph
} split /\n\n+/, slurp("$top/debian/control.in") =~ s/\n+\z//r) . "\n";
is($control, $expected, 'debian/control is what pg_buildext updatecontrol makes of control.in');
is("@versions", join(' ', 13 .. 19), 'for PostgreSQL 13 to 19');

# ------------------------------------------------------------- archives

# The tree in a repository of the test's own.
my $git = folder() . '/git';
my %repository = (GIT_DIR => $git, GIT_WORK_TREE => $top, GIT_CONFIG_NOSYSTEM => 1, HOME => folder(),
	GIT_AUTHOR_NAME => 'a', GIT_AUTHOR_EMAIL => 'a@example.org', GIT_COMMITTER_NAME => 'a', GIT_COMMITTER_EMAIL => 'a@example.org');

sub git
{
	my ($status, $output) = run_script({ %repository }, 'git', @_);

	die "git @_: $output" if $status != 0;
	return $output =~ s/\n\z//r;
}

sub dist
{
	my (%settings) = @_;
	my $dir = folder();
	my ($status, $output) = run_script({ %repository, DIST_DIR => $dir, %settings }, "$top/scripts/dist");

	return ($status, $output, $dir);
}

sub archives
{
	my $dir;

	git('init', '-q');
	git('-c', 'core.autocrlf=false', 'add', '-A', '.');
	git('commit', '-q', '-m', 'the tree');
	($status, $output, $dir) = dist();
	is($status, 1, 'make dist without a tag: status');
	like($output, qr/^dist: there is no tag v\Q$version\E: git tag -a v\Q$version\E, or DIST_REF=HEAD/m, 'make dist without a tag: message');

	# a tag with another version
	my $object = folder() . '/embed.control';
	spew($object, slurp("$top/embed.control") =~ s/'\Q$version\E'/'9.9.9'/r);
	my $blob = git('hash-object', '-w', $object);
	git('update-index', '--cacheinfo', "100644,$blob,embed.control");
	my $tree = git('write-tree');
	git('tag', "v$version", git('commit-tree', $tree, '-m', 'another version'));
	($status, $output, $dir) = dist();
	is($status, 1, 'make dist with a tag of another version: status');
	like($output, qr/^dist: the tag v\Q$version\E has version 9\.9\.9/m, 'make dist with a tag of another version: message');

	git('read-tree', 'HEAD');
	git('tag', '-f', "v$version");
	($status, $output, $dir) = dist();
	if (slurp("$top/META.json") =~ /\bexample\.org\b/)
	{
		is($status, 1, 'make dist before the project has an address: status');
		like($output, qr/META\.json has an address of example\.org/, 'make dist before the project has an address: message');
	}
	else
	{
		like($output, qr/^(?!.*example\.org)/s, 'addresses are known') for 1 .. 2;
	}
	($status, $output, $dir) = dist(DIST_REF => 'nothing');
	like($output, qr/^dist: DIST_REF: there is no commit nothing/m, 'DIST_REF that does not exist');

	($status, $output, $dir) = dist(DIST_REF => 'HEAD');
	is($status, 0, 'make dist with DIST_REF') or diag $output;
	my @files = split /\n/, qx(tar -tzf '$dir/embed-$version.tar.gz');
	is_deeply([ grep { !m{^embed-\Q$version\E/} } @files ], [], 'all files are below embed-VERSION');
	my %has = map { s{^embed-\Q$version\E/}{}r => 1 } @files;
	ok($has{$_}, "the archive has $_") for qw(META.json Makefile core.mk embed.control sql/embed.sql src/pg/sql/vector.c docs/embed-cli.1
		debian/rules test/sql/rerank.sql expected/rerank.out test/data/sql/tiny.sql test/data/tiny/bert-cls/model/model.safetensors Dockerfile);
	is_deeply([ grep { m{^(?:\.git|\.ci|test/fuzz/corpus|test/data/(?:gguf|torch|long|tokenizer|versions)/.|test/data/tiny/(?!bert-(?:cls|mean-36|mean-48|rerank)/|README).)} } sort keys %has ],
		[], 'the archive has no further test data');
	cmp_ok(-s "$dir/embed-$version.tar.gz", '<', 6e6, 'the archive is small');
	is(substr(slurp("$dir/embed-$version.zip"), 0, 4), "PK\003\004", 'the other one is a zip file');

	# what can be tested without the data, and what is said of the rest
	my $unpacked = folder();
	system('tar', '-C', $unpacked, '-xzf', "$dir/embed-$version.tar.gz") == 0 or die 'tar';
	$unpacked .= "/embed-$version";
	my ($runs, $left_out) = map { scalar qx(sh $unpacked/scripts/regress-tests $_) } '', '--left-out';
	cmp_ok(scalar(split ' ', $runs), '>=', 40, 'most regression tests run from the archive');
	like($left_out, qr/SKIPPED:.* outputs .*A clone of the repository has them/s, 'it is said which do not, and why');
	unlike(" $runs", qr/ outputs /, 'those are not tried');
	is(scalar(split ' ', $runs) + scalar(split ' ', $left_out =~ /SKIPPED:(.*)/ ? $1 : ''), scalar(glob_count("$top/test/sql/*.sql")), 'each test is one or the other');
	is(qx(sh '$top/scripts/regress-tests' --left-out), '', 'in a clone all tests run');
	($status, $output) = run_script({}, "$unpacked/scripts/check-release");
	is($status, 0, 'the archive agrees with itself') or diag $output;
	($status, $output) = run_script({}, "$unpacked/scripts/test", 'layers');
	is($status, 1, 'scripts/test in an archive: status');
	like($output, qr/no test data, as archives of releases: clone the repository/, 'scripts/test in an archive: message');
	return $unpacked;
}

sub glob_count { return scalar(my @files = glob $_[0]) }

SKIP:
{
	skip '**** SKIPPED: no git: archives are not made ****', 1 if system('git --version >/dev/null 2>&1') != 0;
	my $unpacked = archives();

	# ------------------------------------------------------ without a server

	($status, $output) = run_script({}, 'make', '-C', $unpacked, 'PG_CONFIG=/nowhere/pg_config');
	is($status, 2, 'make without a server: status');
	like($output, qr/nowhere\/pg_config leads to no headers .*postgresql-server-dev-17/s, 'make without a server: message');
	for my $file (qw(src/common/mem.o src/pg/sql/vector.o embed.so build/core/embed-cli regression.diffs results/x.out), "sql/embed--$version.sql")
	{
		system('mkdir', '-p', ("$unpacked/$file" =~ s|/[^/]*$||r));
		spew("$unpacked/$file", '');
	}
	($status, $output) = run_script({}, 'make', '-s', '-C', $unpacked, 'clean', 'PG_CONFIG=/nowhere/pg_config');
	is($status, 0, 'make clean without a server: status') or diag $output;
	is_deeply([ grep { -e "$unpacked/$_" } qw(src/common/mem.o src/pg/sql/vector.o embed.so build regression.diffs results), "sql/embed--$version.sql" ],
		[], 'make clean without a server: nothing is left');
	ok(-e "$unpacked/$_", "but $_") for qw(src/common/mem.c sql/embed.sql expected/rerank.out);
}

# ------------------------------------------------------------ workflows

# What a YAML file says, as Perl has it.
sub yaml
{
	my ($file) = @_;
	my $text = qx(python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout, default=str)' '$file' 2>&1);

	return eval { JSON::PP->new->decode($text) } // { error => $text };
}

SKIP:
{
	skip '**** SKIPPED: no python3 with yaml: workflows are not read ****', 1 if system(q(python3 -c 'import yaml' 2>/dev/null)) != 0;
	skip '**** SKIPPED: an archive has no workflows ****', 1 if !-d "$top/.github";
	my ($steps) = slurp("$top/scripts/test") =~ /^DEFAULT_STEPS="(.*)"$/m;
	my %steps = map { $_ => 1 } split(' ', $steps), 'suites';
	my %used;

	for my $file (glob "$top/.github/workflows/*.yml")
	{
		my $name = $file =~ s|.*/||r;
		my $workflow = yaml($file);

		ok(ref $workflow->{jobs} eq 'HASH', "$name has jobs") or diag $workflow->{error};
		for my $job (sort keys %{$workflow->{jobs} // {}})
		{
			my $has = $workflow->{jobs}{$job};

			ok($has->{'runs-on'} && $has->{'timeout-minutes'}, "$name: $job says where it runs and for how long");
			my @commands = map { split /\n/, $_->{run} // '' } @{$has->{steps}};
			push @commands, @{$has->{strategy}{matrix}{command} // []};
			for my $command (@commands)
			{
				for my $program ($command =~ m{(?<![\w/.])((?:\.ci|scripts|test)/[\w./-]+)}g)
				{
					ok(-x "$top/$program", "$name: $job: $program is a program");
				}
				next unless $command =~ m{\.ci/run\s*([a-z ]*)};
				for my $step (split ' ', $1)
				{
					ok($steps{$step}, "$name: $job: $step is a step of scripts/test");
					$used{$step} = 1;
				}
			}
			is_deeply([ sort { $a <=> $b } @{$has->{strategy}{matrix}{pg}} ], [ 13 .. 19 ], "$name: $job: PostgreSQL 13 to 19") if $has->{strategy}{matrix}{pg};
		}
	}
	# quality needs models that no workflow has; suites the server's source
	is(join(' ', grep { !$used{$_} && $_ ne 'quality' && $_ ne 'suites' } sort keys %steps), '', 'every step is in a workflow');

	my $compose = yaml("$top/compose.yaml");
	is_deeply([ keys %{$compose->{services} // {}} ], ['db'], 'compose.yaml has a service') or diag $compose->{error};
	for my $folder (map { m{:-\./([^\}]*)\}} ? $1 : () } @{$compose->{services}{db}{volumes}})
	{
		ok(-d "$top/$folder", "compose.yaml: $folder is there");
	}
	like(slurp("$top/Dockerfile"), qr/^ARG $_=/m, "Dockerfile takes $_ of compose.yaml") for sort keys %{$compose->{services}{db}{build}{args}};
}
done_testing();
