# Several backends at once: materializing, importing, dropping, and image files
# that vanish or are damaged under them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $N = 6;
my $node = new_node('concurrency', conf => "max_connections = 40\n");
my $db = 'postgres';
my $dir = real_model() // tiny_model('bert-cls');
my $sql = "SELECT md5(embed('a text', 'm')::text)";

sub run_together
{
	my @running = map { start_psql($node, $db, "$_;\n") } @_;
	return map { [ finish_psql($_) ] } @running;
}

sub check_same
{
	my ($what, $want, @results) = @_;
	my @bad = grep { $_->[0] != 0 || $_->[1] ne $want } @results;

	is(scalar @bad, 0, "$what: " . scalar(@results) . ' backends, one answer') or diag(map { "$_->[1] $_->[2]" } @bad);
	return;
}

sub check_files
{
	my ($what, $n_images) = @_;

	is(scalar image_files($node), $n_images, "$what: $n_images image(s)");
	is_deeply([ glob($node->data_dir . '/pgsql_tmp_embed/*/*.tmp') ], [], "$what: nothing temporary left");
	return;
}

# Imports of the same name and content at once: every one ends well, one image.
my $import = 'SELECT length(embed_import(\'m\',' . quote($dir) . '))';
my @imports = run_together(($import) x 3);
is(scalar(grep { $_->[0] == 0 } @imports), 3, 'three imports of one name and content') or diag(map { $_->[2] } @imports);
is(query($node, $db, 'SELECT count(*) FROM embed_models'), 1, '... one model');
is(query($node, $db, 'SELECT count(*) FROM _embed.image'), 1, '... one image');
check_files('three imports', 1);
my $want = query($node, $db, $sql);

# Different content under one name: one wins, the other is told.
my @rivals = run_together(map { 'SELECT length(embed_import(\'rival\',' . quote(tiny_model($_)) . '))' } qw(bert-mean-36 bert-mean-48));
is(scalar(grep { $_->[0] == 0 } @rivals), 1, 'two contents under one name: one wins');
like(join('', map { $_->[2] } @rivals), qr/already stands for other content/, '... the other is told');
is(query($node, $db, q{SELECT cardinality(embed('x', 'rival')) IN (36, 48)}), 't', '... and the winner works');
query($node, $db, q{SELECT embed_drop('rival', forget => true)});
check_files('rivals', 1);

# No file, no mapping: all materialize at once.
for my $round (1 .. 3)
{
	$node->restart;
	unlink image_files($node);
	check_same("materialize, round $round", $want, run_together(($sql) x $N));
	check_files("materialize, round $round", 1);
}

# A file that vanishes under a backend that uses it, and for new ones.
my $held = "SELECT 1 WHERE embed('warm', 'm') IS NULL; SELECT pg_sleep(2) IS NULL; $sql";
my $old = start_psql($node, $db, "$held;\n");
$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(2)%' AND wait_event = 'PgSleep'})
  or die 'the session never slept';
unlink image_files($node);
is(query($node, $db, $sql), $want, 'a deleted file is made again');
my ($status, $out) = finish_psql($old);
is($out, "f\n$want", 'the backend that had it mapped goes on');
check_files('a deleted file', 1);

# Damaged files: too short, empty, another size, not ours.
for my $damage (
	[ 'truncated', sub { truncate $_[0], (-s $_[0]) / 2 or die } ],
	[ 'empty', sub { truncate $_[0], 0 or die } ],
	[ 'longer', sub { truncate $_[0], (-s $_[0]) + 4096 or die } ],
	[ 'zeroed in front', sub { open my $f, '+<', $_[0] or die; print $f "\0" x 4096; close $f } ],
	[ 'a dangling link', sub { unlink $_[0]; symlink '/nowhere', $_[0] or die } ])
{
	my ($what, $change) = @$damage;
	my ($file) = image_files($node);
	$node->stop;
	chmod 0600, $file;
	$change->($file);
	$node->start;
	is(query($node, $db, $sql), $want, "an image file that is $what is made again");
}

# Damage that another database shares.
query($node, $db, 'CREATE DATABASE other');
query($node, 'other', 'CREATE EXTENSION embed');
import_model($node, 'other', 'm', $dir);
is(scalar image_files($node), 2, 'two databases share the image');
$node->stop;
for my $file ((image_files($node))[0])
{
	chmod 0600, $file;
	open my $f, '+<', $file or die;
	print $f "\0" x 4096;
	close $f;
}
$node->start;
is(query($node, $db, $sql), $want, 'a damaged file that two databases share is made again');
is(query($node, 'other', $sql), $want, '... in the other one as well');
query($node, $db, 'DROP DATABASE other');

# The folder itself may go.
$node->stop;
system('rm', '-rf', $node->data_dir . '/pgsql_tmp_embed') == 0 or die 'rm';
$node->start;
check_same('no folder', $want, run_together(($sql) x 3));
check_files('no folder', 1);

# Drop while others use it: what runs goes on, what comes later is told.
my $user = start_psql($node, $db,
	"SELECT count(embed(g || ' some words', 'm')) FROM generate_series(1, 200) g, pg_sleep(2);\n");
$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) or die 'the session never slept';
my $in_transaction = start_psql($node, $db, "BEGIN ISOLATION LEVEL REPEATABLE READ; $sql; SELECT pg_sleep(3) IS NULL; COMMIT; SELECT 'later', embed('x', 'm');\n");
$node->poll_query_until($db, q{SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) or die 'the session never slept';
query($node, $db, q{SELECT embed_drop('m')});
($status, $out, my $err) = finish_psql($user);
ok($status != 0 || $out eq '200', 'a running statement sees the model or its end, nothing else') or diag("$out $err");
like($err, qr/^$|model "m" (?:was dropped|does not exist)/, '... and no crash');
($status, $out, $err) = finish_psql($in_transaction);
like($out, qr/^$want\nf$/, 'a transaction that had it goes on');
like($err, qr/model "m"/, '... and later statements are told');
check_files('after the drop', 0);
is(query($node, $db, 'SELECT 1'), 1, 'the server lives');

# Import, use, drop, in several sessions at once: no deadlock, no leftover.
query($node, $db, q{SELECT embed_drop('m', forget => true)});
my @churn = map {
	my $name = "churn$_";
	join ';', ('SELECT length(embed_import(\'' . $name . '\',' . quote(tiny_model('bert-cls')) . ')) > 0',
		"SELECT cardinality(embed('x', '$name'))", "SELECT embed_drop('$name', forget => true, force => true) IS NULL") x 3;
} 1 .. 4;
my @churned = run_together(@churn);
is(scalar(grep { $_->[0] == 0 } @churned), 4, 'four sessions import, use and drop the same content') or diag(map { $_->[2] } @churned);
is(installed_rows($node, $db), 0, '... no row is left');
check_files('churn', 0);

done_testing();
