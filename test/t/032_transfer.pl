# The ways of docs/importing.md to bring a model to a server in pieces: a file of embed-cli pack
# through psql as a large object, and from server to server by embed_export. The
# commands are the page's, word for word. Likewise docs/report.md's: a report of
# a model that is installed.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use IPC::Run;
use Test::More;

my $db = 'postgres';
my $source = new_node('source');
my $target = new_node('target');
my $hash = q{SELECT md5(embed('a text', 'm')::text)};
my $work = $source->basedir . '/work';
my %pages = map { $_ => slurp("$FindBin::RealBin/../../docs/$_.md") } qw(importing report);

mkdir $work or die;

# the tiny static model, with as many dimensions as make several pieces
my $dir = static_model("$work/wide", 1500, 1400);
my $fingerprint = import_model($source, $db, 'm', $dir);
my $want = query($source, $db, $hash);
cmp_ok(query($source, $db, q{SELECT count(*) FROM embed_export('m')}), '>=', 3, 'an image of several pieces');

# The block of the page that holds TEXT.
sub block_with
{
	my ($text, $page) = @_;
	$page //= 'importing';
	my ($block) = grep { /\Q$text\E/ } $pages{$page} =~ /^```(?:sh|sql)\n(.*?)^```/msg;
	return $block // die "docs/$page.md has no example with $text";
}

# Runs a shell command in the folder; gives (status, output).
sub run_shell
{
	my ($command) = @_;
	my $out = '';
	my $ok = IPC::Run::run([ 'sh', '-e', '-c', "cd '$work' && $command" ], '<' => \undef, '>&' => \$out);
	return ($ok ? 0 : 1, $out);
}

# ------------------------------------------------------- from server to server

my $example = block_with('embed_export');
$example =~ s/\bsource\.example\b[^']*/$source->connstr($db)/e or die;
$example =~ s/\btarget\.example\b[^']*/$target->connstr($db)/e or die;
s/host=(?=host=|port=)// for $example;
$example =~ s/'host=(port|host)/'$1/g;
my ($status, $out) = run_shell($example);
is($status, 0, 'the example of docs/importing.md runs') or diag($out);
is(query($target, $db, $hash), $want, '... the same bits on the other server');
is(query($target, $db, q{SELECT fingerprint FROM embed_models}), $fingerprint, '... the same fingerprint');
is(query($target, $db, q{SELECT bool_and(ok) FROM embed_verify('m')}), 't', '... verified');
is(query($target, $db, 'SELECT count(*) FROM pg_largeobject_metadata'), 0, '... and no large object left');
query($target, $db, q{SELECT embed_drop('m', forget => true)});

# --------------------------------------------------------- a file of the client

spit("$work/model.img", pack('H*', query($source, $db, q{SELECT encode(string_agg(data, '' ORDER BY no), 'hex') FROM embed_export('m')})));
my ($cli) = grep { -x } $ENV{EMBED_CLI} // (), map { "$FindBin::RealBin/../../build/$_/embed-cli" } qw(core gcc);
if ($cli)
{
	($status, $out) = run_shell("'$cli' pack '$dir' > packed.img");
	is($status, 0, 'embed-cli pack');
	is(slurp("$work/packed.img"), slurp("$work/model.img"), '... writes the bytes of the import');
	my $report = block_with('embed_export', 'report');
	$report =~ s/'host=source\.example[^']*'/"'" . $source->connstr($db) . "'"/e or die;
	$report =~ s/^embed-cli report/'$cli' report --seconds 0.1 --tokens 16/m or die;
	($status, $out) = run_shell($report);
	is($status, 0, 'the example of docs/report.md runs') or diag($out);
	is(slurp("$work/m.img"), slurp("$work/model.img"), '... on the image of the import');
	like(slurp("$work/report.html"), qr/<td>\Q$fingerprint\E<\/td>/, '... and its page has the fingerprint of embed_models');
}
else
{
	skip_loudly('no build/core/embed-cli: embed_export stands for embed-cli pack');
}
my $lo = block_with('\lo_import');
spit("$work/load.sql", $lo);
($status, $out) = run_shell("psql -X -q -v ON_ERROR_STOP=1 -d '" . $target->connstr($db) . "' -f load.sql");
is($status, 0, 'the example with a large object runs') or diag($out);
is(query($target, $db, q{SELECT md5(embed('a text', name)::text) FROM embed_models}), $want, '... the same bits');
is(query($target, $db, 'SELECT count(*) FROM pg_largeobject_metadata'), 0, '... and no large object left');

done_testing();
