# Models that change while others read: default switched and old model dropped in
# one transaction, two-phase commit, what a killed writer leaves.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('switch', conf => "max_prepared_transactions = 4\n");
my $db = 'postgres';
my ($cls, $mean36) = map { quote(tiny_model($_)) } qw(bert-cls bert-mean-36);

# A reader sees either the old default and its model or the new ones.
query($node, $db, "SELECT embed_import('m-0', $cls, '{\"max_tokens\": 100}')");
my $reader = q{DO $$ BEGIN FOR i IN 1 .. 1500 LOOP PERFORM embed('x'), (SELECT count(*) FROM embed_rows(ARRAY['a', 'b'])); COMMIT; END LOOP; END $$;};
my @readers = map { start_psql($node, $db, "$reader\nSELECT 'done';\n") } 1 .. 3;
for my $i (1 .. 30)
{
	my ($old, $tokens) = ($i - 1, 100 + $i % 7);
	query($node, $db, "BEGIN; SELECT embed_import('m-$i', $cls, '{\"max_tokens\": $tokens, \"default\": true}'); SELECT embed_drop('m-$old', true); COMMIT");
}
my @bad = grep { $_->[0] != 0 || $_->[1] !~ /done/ } map { [ finish_psql($_) ] } @readers;
is(scalar @bad, 0, 'nobody is disturbed by thirty switches of the default') or diag(map { "$_->[1] $_->[2]" } @bad);
is(scalar image_files($node), 1, '... and one image is left');

# Two-phase commit: seen by nobody before, by all after.
query($node, $db, "BEGIN; SELECT embed_import('prepared', $mean36); SELECT embed('x', 'prepared'); PREPARE TRANSACTION 'import'");
is(query($node, $db, q{SELECT count(*) FROM embed_models WHERE name = 'prepared'}), 0, 'a prepared import is not seen');
$node->restart;
query($node, $db, q{COMMIT PREPARED 'import'});
is(query($node, $db, q{SELECT cardinality(embed('x', 'prepared'))}), 36, '... but once it is committed, after a restart');
query($node, $db, q{BEGIN; SELECT embed_drop('prepared'); PREPARE TRANSACTION 'drop'});
is(query($node, $db, q{SELECT cardinality(embed('x', 'prepared'))}), 36, 'a prepared drop is not seen');
query($node, $db, q{ROLLBACK PREPARED 'drop'});
is(query($node, $db, q{SELECT cardinality(embed('x', 'prepared'))}), 36, '... nor rolled back');
query($node, $db, q{SELECT embed_drop('prepared', true)});

# A temporary file that nobody holds, as a killed backend leaves it.
my ($folder) = glob($node->data_dir . '/pgsql_tmp_embed/[0-9]*');
my $leftover = "$folder/999999.0.tmp";
open(my $file, '>', $leftover) or die "$leftover: $!";
close $file;
query($node, $db, "SELECT embed_import('after', $mean36)");
ok(!-e $leftover, 'what a killed writer left is removed by the next import');
is(query($node, $db, q{SELECT cardinality(embed('x', 'after'))}), 36, '... which works');

done_testing();
