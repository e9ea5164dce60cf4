# What a long text costs a backend in memory: it is given back, whatever the C
# library would keep of it, after an error too, and is bounded by the text's
# length. What it has of an image that it checks. Needs the reference data's model
# with 8,194 positions.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

# An import checks the image that it made, page by page. The pages are the file's: they leave on the way.
sub test_check
{
	my $dir = real_model();

	return skip_loudly('no all-MiniLM-L6-v2 (EMBED_MODEL_DIR): pages of a checked image are not measured') unless $dir;
	my $node = new_node('checked', conf => "embed.threads = 1\n");
	my $peak = "\\! sed -n 's/^VmHWM:[^0-9]*/peak /p' /proc/\$PID/status\n";
	# rows would count, too: their pages in shared buffers
	my $import = 'SELECT embed_import(\'m\', ' . quote($dir) . q{, '{"precision": "fp32", "storage": "file"}')};
	my (undef, $out) = $node->psql('postgres', "SELECT pg_backend_pid() AS pid \\gset\n\\setenv PID :pid\nSELECT count(*) FROM embed_models;\n$peak$import;\n$peak");
	my @kb = $out =~ /^peak (\d+)/mg;
	my $image_kb = query($node, 'postgres', 'SELECT bytes / 1024 FROM embed_models');

	cmp_ok($image_kb, '>', 80000, "an image of $image_kb kB");
	is(scalar @kb, 2, '... was imported');
	my $growth_kb = $kb[1] - $kb[0];
	cmp_ok($growth_kb, '<', 0.75 * $image_kb, "... with $growth_kb kB of memory at most");
	$node->stop;
}
test_check();

my $shared = shared_dir();
my $model = defined $shared ? "$shared/goldens/tiny/bge-m3/model" : '';
if (!-f "$model/config.json")
{
	skip_loudly('no reference data beside the checkout: memory of long texts is not measured');
	done_testing();
	exit;
}

my $limit_kb = 3072;	# what a backend may have more than after SELECT 1
my $node = new_node('memory', conf => "embed.cache_entries = 0\nembed.threads = 1\n");
import_model($node, 'postgres', 'int8', $model);
import_model($node, 'postgres', 'fp32', $model, '{"precision": "fp32"}');

# A session's anonymous memory behind each statement, in kB.
sub anonymous
{
	my (@statements) = @_;
	my $sql = "SELECT pg_backend_pid() AS pid \\gset\n\\setenv PID :pid\nSELECT 1;\n";

	$sql .= "$_;\n\\! sed -n 's/^RssAnon:[^0-9]*/anonymous /p' /proc/\$PID/status\n" for 'SELECT 1', @statements;
	my ($status, $out) = $node->psql('postgres', $sql, on_error_stop => 0);
	my @kb = $out =~ /^anonymous (\d+)/mg;
	is(scalar @kb, @statements + 1, 'every statement was measured');
	return map { $_ - $kb[0] } @kb[ 1 .. $#kb ];
}

for my $name ('int8', 'fp32')
{
	# the second text is what the C library learned to keep from the first
	my @lengths = (4000, 8100, 6000, 3000, 8100, 5000);
	my @kept = anonymous(map { "SELECT cardinality(embed(repeat('a ', $_), '$name'))" } @lengths);

	for my $i (0 .. $#kept)
	{
		cmp_ok($kept[$i], '<', $limit_kb, "$name: memory behind a text of $lengths[$i] tokens");
	}
	@kept = anonymous(
		"SELECT cardinality(embed(repeat('a ', 8100), '$name'))",
		"SET statement_timeout = '20ms'",
		"SELECT embed_agg(g || repeat(' a', 6000), '$name') FROM generate_series(1, 50) g",
		"SET statement_timeout = 0",
		"SELECT cardinality(embed('short', '$name'))");
	cmp_ok($kept[2], '<', $limit_kb, "$name: memory behind a statement that was ended");
	cmp_ok($kept[4], '<', $limit_kb, "$name: memory behind a short text");
}
$node->stop;
done_testing();
