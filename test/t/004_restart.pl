# Models are rows: they work after a restart, after a crash, on a hot standby,
# in a restored dump.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $primary = new_node('primary', allows_streaming => 1);
my $db = 'postgres';
my $dir = real_model() // tiny_model('bert-cls');
my $sql = "SELECT md5(embed('a text', 'm')::text)";

import_model($primary, $db, 'm', $dir, '{"alias": "current"}');
my $want = query($primary, $db, $sql);

# Something in the dump that computes vectors while it is restored.
query(
	$primary, $db, q{
	CREATE TABLE a_table (
		body text CHECK (embed_cosine(embed(body, 'm'), embed(body, 'm')) > 0.9),
		v float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED);
	INSERT INTO a_table VALUES ('one'), ('two'), ('three');
	CREATE INDEX a_index ON a_table ((embed_cosine(embed(body, 'm'), embed('one', 'm'))))});

$primary->restart;
is(query($primary, $db, $sql), $want, 'after a restart');
is(scalar image_files($primary), 1, 'one file');

$primary->stop('immediate');
$primary->start;
is(query($primary, $db, $sql), $want, 'after a crash');

# A crash in the middle of an import.
my $psql = start_psql($primary, $db, "SELECT embed_import('half'," . quote($dir) . ", '{\"max_tokens\": 20}') FROM pg_sleep(0.1);\n");
select undef, undef, undef, 0.25;
$primary->stop('immediate');
finish_psql($psql);
$primary->start;
is(query($primary, $db, $sql), $want, 'after a crash during an import');
query($primary, $db, q{SELECT embed_drop(name, forget => true) FROM embed_models WHERE name = 'half'});
import_model($primary, $db, 'other', tiny_model('bert-mean-36'));
query($primary, $db, q{SELECT embed_drop('other', forget => true)});
is(scalar(() = glob($primary->data_dir . '/pgsql_tmp_embed/*/*.tmp')), 0, '... its temporary file is swept');

# Base backup and standby.
$primary->backup('backup');
ok(!glob($primary->backup_dir . '/backup/pgsql_tmp_embed/*'), 'a base backup holds no image');
my $standby = $EmbedTest::cluster_class->can('get_new_node')
  ? $EmbedTest::cluster_class->get_new_node('standby')
  : $EmbedTest::cluster_class->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
is(query($standby, $db, 'SELECT pg_is_in_recovery()'), 't', 'a hot standby');
is(query($standby, $db, $sql), $want, '... embeds with the same bits');
is(query($standby, $db, "SET embed.model = 'current'; SELECT md5(embed('a text')::text)"), $want, '... knows aliases');
is(scalar image_files($standby), 1, '... has a file of its own');
is((error_of($standby, $db, q{SELECT embed_drop('m');}))[0], '25006', '... drops nothing');
is((error_of($standby, $db, q{SELECT embed_import('x',} . quote($dir) . ');'))[0], '25006', '... imports nothing');

import_model($primary, $db, 'later', tiny_model('bert-mean-48'));
my $later = "SELECT md5(embed('a text', 'later')::text)";
my $want_later = query($primary, $db, $later);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(query($standby, $db, $later), $want_later, 'a model imported later arrives');
query($primary, $db, q{SELECT embed_drop('later')});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is((error_of($standby, $db, "$later;"))[0], '42704', 'a drop arrives');
is(query($standby, $db, $sql), $want, '... and leaves the other model');
$standby->promote;
is(query($standby, $db, $sql), $want, 'after promotion');
import_model($standby, $db, 'new', tiny_model('bert-mean-48'));
$standby->stop;

# Dump and restore, custom and plain.
my $dump = $primary->basedir . '/dump';
$primary->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", '-d', $primary->connstr($db) ], 'pg_dump');
$primary->command_ok([ 'pg_dump', '-f', "$dump.sql", '-d', $primary->connstr($db) ], 'pg_dump, plain');
query($primary, $db, 'CREATE DATABASE custom');
query($primary, $db, 'CREATE DATABASE plain');
$primary->command_ok([ 'pg_restore', '-e', '-d', $primary->connstr('custom'), "$dump.custom" ], 'pg_restore');
$primary->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $primary->connstr('plain'), '-f', "$dump.sql" ], 'psql of the plain dump');
for my $restored (qw(custom plain))
{
	is(query($primary, $restored, $sql), $want, "$restored: the same bits");
	is(query($primary, $restored, q{SELECT count(*) FROM a_table WHERE v = embed(body, 'm')}), 3, "$restored: generated vectors");
	is(query($primary, $restored, 'SELECT aliases FROM embed_models'), '{current}', "$restored: the alias");
	is((error_of($primary, $restored, q{SELECT embed('x', 'later');}))[0], '42704', "$restored: the dropped model stays dropped");
}
my %inode = map { (stat $_)[1] => 1 } image_files($primary);
is(scalar keys %inode, 1, 'the restored databases share the inode');

done_testing();
