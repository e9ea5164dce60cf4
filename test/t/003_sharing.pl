# One directory gives one fingerprint everywhere; databases of a cluster share
# one inode; what nobody owns is swept.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $one = new_node('one');
my $two = new_node('two');
my $dir = tiny_model('bert-cls');
my $sql = "SELECT md5(embed('one text, three databases', 'm')::text)";

sub add_database
{
	my ($node, $db) = @_;
	query($node, 'postgres', "CREATE DATABASE $db");
	query($node, $db, 'CREATE EXTENSION embed');
	return;
}

sub inodes
{
	my %inode;
	$inode{ (stat $_)[1] }++ for image_files($_[0]);
	return \%inode;
}

add_database($one, 'a');
add_database($one, 'b');
add_database($two, 'c');
import_model($one, 'a', 'm', $dir);
import_model($one, 'b', 'm', $dir);
import_model($two, 'c', 'm', $dir);

my $fingerprint = query($one, 'a', 'SELECT fingerprint FROM embed_models');
like($fingerprint, qr/^[0-9a-f]{32,}$/, "fingerprint $fingerprint");
is(query($one, 'b', 'SELECT fingerprint FROM embed_models'), $fingerprint, 'another database: the same fingerprint');
is(query($two, 'c', 'SELECT fingerprint FROM embed_models'), $fingerprint, 'another cluster: the same fingerprint');

my $want = query($one, 'a', $sql);
is(query($one, 'b', $sql), $want, 'another database: the same bits');
is(query($two, 'c', $sql), $want, 'another cluster: the same bits');

my @files = image_files($one);
is(scalar @files, 2, 'two databases, two names of the image');
is(scalar keys %{ inodes($one) }, 1, '... and one inode');
is((stat $files[0])[3], 2, '... with two links');
is((stat $files[0])[2] & 077, 0, 'nobody else may read it');
is(scalar image_files($two), 1, 'one file in the other cluster');
like($files[0], qr/\Q$fingerprint\E\.img$/, 'named by its fingerprint');

# Other options, another image; the same again under another name, the same one.
import_model($one, 'a', 'short', $dir, '{"max_tokens": 16}');
isnt(query($one, 'a', q{SELECT fingerprint FROM embed_models WHERE name = 'short'}), $fingerprint, 'other options: another fingerprint');
import_model($one, 'a', 'again', $dir);
is(query($one, 'a', q{SELECT fingerprint FROM embed_models WHERE name = 'again'}), $fingerprint, 'another name: the same fingerprint');
is(query($one, 'a', 'SELECT count(DISTINCT fingerprint) FROM _embed.chunk'), 2, 'chunks are stored once per image');

# A transaction that rolls back leaves nothing.
my $n_files = scalar image_files($one);
query($one, 'a', 'BEGIN; SELECT embed_import(\'gone\',' . quote($dir) . q{, '{"max_tokens": 17}'); SELECT cardinality(embed('x', 'gone')); ROLLBACK});
is(query($one, 'a', q{SELECT count(*) FROM embed_models WHERE name = 'gone'}), 0, 'a rolled back import leaves no model');
is(scalar image_files($one), $n_files, '... and no file');

# Drop in one database.
query($one, 'a', q{SELECT embed_drop('again')});
is(query($one, 'a', $sql), $want, 'a name of two dropped: the other works');
query($one, 'a', q{SELECT embed_drop('m', force => true)});
is((error_of($one, 'a', "$sql;"))[0], '42704', 'dropped here');
is(query($one, 'b', $sql), $want, '... and there in the other database');
is(query($one, 'a', q{SELECT count(*) FROM _embed.chunk WHERE fingerprint = decode('} . $fingerprint . q{', 'hex')}), 0, 'the rows are gone');
is(scalar(grep { /\Q$fingerprint\E/ } image_files($one)), 1, 'the dropping database\'s file is gone');

# The same content under the name of the tombstone, and other content.
my ($state, $message) = error_of($one, 'a', q{SELECT embed_import('m',} . quote(tiny_model('bert-mean-48')) . ');');
is($state, '42710', 'other content under a name once used');
like($message, qr/HINT.*forget => true/s, 'the hint names forget');
import_model($one, 'a', 'm', $dir);
is(query($one, 'a', $sql), $want, 'the same content under its old name');

# A database dropped with its models: its folder goes with the next sweep.
query($one, 'postgres', 'DROP DATABASE b');
import_model($one, 'a', 'sweeper', tiny_model('bert-mean-36'));
query($one, 'a', q{SELECT embed_drop('sweeper')});
is(scalar(grep { /\Q$fingerprint\E/ } image_files($one)), 1, 'files of a dropped database are swept');

# A stranger file of a dead writer is swept, too.
my ($folder) = map { s|/[^/]*$||r } grep { /\Q$fingerprint\E/ } image_files($one);
spit("$folder/999999.1.tmp", 'left by a crash');
spit("$folder/" . ('ab' x (length($fingerprint) / 2)) . '.img', 'nobody owns this');
import_model($one, 'a', 'sweeper2', tiny_model('bert-mean-48'));
query($one, 'a', q{SELECT embed_drop('sweeper2')});
ok(!-e "$folder/999999.1.tmp", 'a dead writer\'s file is swept');
ok(!-e "$folder/" . ('ab' x (length($fingerprint) / 2)) . '.img', 'an image without a row is swept');
is(query($one, 'a', $sql), $want, 'what is owned stays');

# No extension, no rows: DROP EXTENSION leaves only files for the sweep.
query($one, 'a', 'DROP EXTENSION embed CASCADE; CREATE EXTENSION embed');
is(installed_rows($one, 'a'), 0, 'a new extension starts empty');
import_model($one, 'a', 'm', $dir);
is(query($one, 'a', $sql), $want, 'and imports again');

done_testing();
