# What scripts/demo shows: the script runs on a tiny model, with pgvector where
# the server has it, and compares rows and arrays on the same sentences.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('demo');
my $has_vector = query($node, 'postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'});

for my $vector (0 .. $has_vector)
{
	my $db = "demo$vector";
	my $out = '';
	my $err = '';
	my @command = (
		'psql', '-X', '-q', '-d', $node->connstr($db), '-v', 'ON_ERROR_STOP=1', '-v', 'model=tiny', '-v', 'path=' . tiny_model('bert-cls'),
		'-v', "have_vector=$vector", '-f', "$FindBin::RealBin/../../scripts/demo.sql");

	query($node, 'postgres', "CREATE DATABASE $db TEMPLATE template0");
	ok(IPC::Run::run(\@command, '>', \$out, '2>', \$err), "have_vector = $vector: the demo ends well") or diag($err);
	my %n = $out =~ /^ (one by one|in arrays) +\| +(\d+) \| +\d+ \| +\d+ *$/mg;
	is_deeply(\%n, { 'one by one' => 400, 'in arrays' => 400 }, "have_vector = $vector: both forms embed the same sentences") or diag($out);
	is(query($node, $db, 'SELECT calls_seen > 800, cache_hits_of_them < 50 FROM (SELECT sum(texts) AS calls_seen, sum(cache_hits) AS cache_hits_of_them FROM embed_stat) s'),
		't|t', "have_vector = $vector: none of them from the cache");
}
done_testing();
