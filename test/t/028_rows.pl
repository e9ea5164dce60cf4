# Rows of a model that are lost or damaged, of an image of several stored chunks:
# embed_verify names the stored chunk, an import writes them again, and what comes
# after (standbys, dumps) has the whole model. Rows that somebody made up.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Digest::SHA qw(sha256_hex);
use EmbedTest;
use Test::More;

my $db = 'postgres';
my $primary = new_node('rows', allows_streaming => 1, conf => "wal_keep_size = 256MB\n");

# The tiny static model, with as many dimensions as make several stored chunks.
my $dir = static_model($primary->basedir . '/wide', 1500, 1400);

import_model($primary, $db, 'm', $dir);
my $n_chunks = query($primary, $db, 'SELECT count(*) FROM _embed.chunk');
cmp_ok($n_chunks, '>=', 3, 'an image of several stored chunks');
my $bits = q{SELECT md5(embed('a text', 'm')::text)};
my $want = query($primary, $db, $bits);
my $rows = q{SELECT md5(string_agg(no || md5(data), ',' ORDER BY no)) || (SELECT md5(i::text) FROM _embed.image i) FROM _embed.chunk};
my $whole = query($primary, $db, $rows);
my $last = $n_chunks - 1;

sub import_again
{
	return import_model($primary, $db, 'm', $dir);
}

# What embed_verify says of the rows, and whether the rest is well.
sub verified
{
	return query($primary, $db, q{SELECT v.ok || ' ' || split_part(v.detail, ':', 1) FROM embed_verify('m') v WHERE "check" = 'rows'});
}

# ------------------------------------------ each loss, hidden by the image's file

for my $case (
	[ 'DELETE FROM _embed.chunk', "all stored chunks, 0 to $last, are missing" ],
	[ 'DELETE FROM _embed.chunk WHERE no = 0', "stored chunk 0 of 0 to $last is missing" ],
	[ 'DELETE FROM _embed.chunk WHERE no = 1', "stored chunk 1 of 0 to $last is missing" ],
	[ "DELETE FROM _embed.chunk WHERE no = $last", "stored chunk $last of 0 to $last is missing" ],
	[ "DELETE FROM _embed.chunk WHERE no IN (1, $last)", "stored chunk 1 of 0 to $last is missing" ],
	[ 'UPDATE _embed.chunk SET data = set_byte(data, 77777, 255 - get_byte(data, 77777)) WHERE no = 1', "stored chunk 1 of 0 to $last has other bytes than the image" ],
	[ 'UPDATE _embed.chunk c SET data = (SELECT data FROM _embed.chunk d WHERE d.no = 1) WHERE no = 0', "stored chunk 0 of 0 to $last has other bytes than the image" ],
	[ 'UPDATE _embed.chunk SET data = substr(data, 1, 1000) WHERE no = 1', "stored chunk 1 of 0 to $last has 1000 bytes instead of 1048576" ],
	[ "INSERT INTO _embed.chunk SELECT fingerprint, $n_chunks, data FROM _embed.chunk WHERE no = 0", "stored chunk $n_chunks is outside 0 to $last" ],
	[ "UPDATE _embed.image SET size_bytes = size_bytes - 1048576", qr/^stored chunk \d+ |^column "size_bytes"/ ])
{
	my ($damage, $said) = @$case;

	query($primary, $db, $damage);
	my $got = verified();
	ref $said ? like($got =~ s/^false //r, $said, "verify: $damage") : is($got, "false $said", "verify: $damage");
	import_again();
	is(query($primary, $db, $rows), $whole, '... an import writes the rows again');
	is(query($primary, $db, q{SELECT bool_and(ok) FROM embed_verify('m')}), 't', '... and all is well');
}

# ------------------------------------------- nothing hides it: no file, a standby, a dump

my $backup = $primary->backup('b');
my $standby = ref($primary)->can('get_new_node') ? ref($primary)->get_new_node('rows_standby') : ref($primary)->new('rows_standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;
query($primary, $db, 'DELETE FROM _embed.chunk WHERE no = 1');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is((error_of($standby, $db, $bits))[0], 'XX001', 'a standby without the stored chunk cannot embed');
is(query($standby, $db, q{SELECT string_agg("check" || ok, ' ' ORDER BY "check") FROM embed_verify('m')}), 'imagefalse rowsfalse', '... and embed_verify says why, without an ERROR');
import_again();
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(query($standby, $db, $bits), $want, '... until the primary imports again');

query($primary, $db, 'DELETE FROM _embed.chunk');
import_again();
$primary->command_ok([ 'pg_dump', '-f', $primary->basedir . '/dump.sql', $primary->connstr($db) ], 'pg_dump of a mended model');
query($primary, $db, 'CREATE DATABASE restored');
$primary->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $primary->connstr('restored'), '-f', $primary->basedir . '/dump.sql' ], '... restored');
is(query($primary, 'restored', $bits), $want, '... has it whole');

# Without file: rows alone are looked at, and are mended.
query($primary, $db, 'DELETE FROM _embed.chunk WHERE no = 0');
unlink $_ or die "$_: $!" for image_files($primary);
is(query($primary, $db, q{SELECT string_agg("check" || ok, ' ' ORDER BY "check") FROM embed_verify('m')}), 'imagefalse rowsfalse', 'neither rows nor file');
is((error_of($primary, $db, $bits))[0], 'XX001', '... calls fail');
import_again();
is(query($primary, $db, $bits), $want, '... an import brings both');

# -------------------------------------------------------------- a mended model is transactional

my ($state) = error_of($primary, $db, 'BEGIN; DELETE FROM _embed.chunk; SELECT embed_import(\'m\', ' . quote($dir) . '); SELECT 1 / 0; COMMIT');
is($state, '22012', 'a transaction that mends and fails');
is(query($primary, $db, $rows), $whole, '... leaves the rows as they were');
query($primary, $db, 'BEGIN; DELETE FROM _embed.image; DELETE FROM _embed.chunk WHERE no = 2; SELECT embed_import(\'m\', ' . quote($dir) . '); COMMIT');
is(query($primary, $db, $rows), $whole, 'lost and mended in one transaction');

# Sessions that embed do not mind the mending.
query($primary, $db, 'DELETE FROM _embed.chunk WHERE no = 1');
my $busy = start_psql($primary, $db, q{SELECT count(embed(repeat('word ', 2000) || i, 'm')) FROM generate_series(1, 1000) i;});
import_again();
is((finish_psql($busy))[1], '1000', 'a session that embeds meanwhile');
is(query($primary, $db, $rows), $whole, '... and the rows are whole');

# ------------------------------------------------- images that somebody made up

# Whoever may write the tables may store anything under its own hash: it must pass the checks of an image, in each call.
my $made_up = q{DELETE FROM _embed.chunk; DELETE FROM _embed.image; DELETE FROM _embed.model;
	CREATE TEMP TABLE fake AS SELECT %s AS bytes;
	INSERT INTO _embed.image SELECT sha256(bytes), length(bytes), 'embedding', 'x', 8, 8, 'int8', 'mean', '', '', '{dense}', false, '', false FROM fake;
	INSERT INTO _embed.chunk SELECT sha256(bytes), i, substr(bytes, i * 1048576 + 1, 1048576) FROM fake, generate_series(0, (length(bytes) - 1) / 1048576) i;
	INSERT INTO _embed.model SELECT 'fake', sha256(bytes), false FROM fake};
my $image = 'convert_from(pg_read_binary_file(' . quote($primary->basedir . '/image.hex') . "), 'utf8')";
spit($primary->basedir . '/image.hex', query($primary, $db, q{SELECT string_agg(encode(data, 'hex'), '' ORDER BY no) FROM _embed.chunk}));
for my $bytes (q{'\\x'::bytea}, q{'\\x00'::bytea}, q{convert_to(repeat('x', 3000000), 'utf8')}, "substr(decode($image, 'hex'), 1, 1048576)",
	map { "set_byte(decode($image, 'hex'), $_, 255)" } 8, 40, 64, 200, 4096, 20000, 65536)
{
	my $sql = sprintf $made_up, $bytes;

	query($primary, $db, $sql);
	my ($code, $message) = error_of($primary, $db, q{SELECT embed('a text', 'fake')});
	like($code, qr/^(|22P03|0A000|XX001)$/, 'made up: ' . substr($bytes, 0, 60) =~ s/decode.*/.../r . " ($code)");
}

# A weight that is no number: what embed_load refuses is refused from rows.
query($primary, $db, 'DELETE FROM _embed.chunk; DELETE FROM _embed.image; DELETE FROM _embed.model');
import_model($primary, $db, 'fp32', tiny_model('bert-cls'), '{"precision": "fp32"}');
spit($primary->basedir . '/image.hex', query($primary, $db, q{SELECT string_agg(encode(data, 'hex'), '' ORDER BY no) FROM _embed.chunk}));
my $not_finite = "overlay(decode($image, 'hex') PLACING '\\xffffffff'::bytea FROM 600001)";
my ($load_code, $load_message) = error_of($primary, $db, "SELECT embed_load('loaded', $not_finite)");
query($primary, $db, sprintf $made_up, $not_finite);
my ($row_code, $row_message) = error_of($primary, $db, q{SELECT embed('a text', 'fake')});
is($load_code, '22P03', 'a weight that is no number: refused by embed_load');
is($row_code, '22P03', '... and from rows');
is(scalar(image_files($primary)), 0, '... and no file is left');

# The model of an older version, with the file that this version made: sql/old_image.sql has what helps then.
query($primary, $db, 'DELETE FROM _embed.chunk; DELETE FROM _embed.image; DELETE FROM _embed.model');
import_model($primary, $db, 'now', tiny_model('bert-cls'));
query($primary, $db, q{SELECT embed('a text', 'now')});
my ($file) = image_files($primary);
my $image_of_today = slurp($file);
my $old_image = $image_of_today;
substr($old_image, 8, 1) = chr(250);
my $old_file = $file =~ s/[0-9a-f]{64}/sha256_hex($old_image)/er;
spit($primary->basedir . '/image.hex', unpack('H*', $image_of_today));
query($primary, $db, sprintf $made_up, "set_byte(decode($image, 'hex'), 8, 250)");
spit($old_file, $old_image);
for my $time ('first', 'second')
{
	my ($old_code, $old_message) = error_of($primary, $db, q{SELECT embed('a text', 'fake')});
	is($old_code, '0A000', "an image of another version, $time session");
	like($old_message, qr{model "fake": the image has layout version .*SELECT embed_reimport\('fake', 'the directory that it was imported from'\)}s, '... says how to make it again');
	ok(-e $old_file, '... and leaves the file for sessions with that version');
}
is(query($primary, $db, 'SELECT 1'), '1', 'the server is well');

done_testing();
