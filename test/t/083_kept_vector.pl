# Kept columns and chunk tables in pgvector's types: the type that embed_column
# chooses, columns that are there, models of other dimensions, indexes, more
# dimensions than indexes take, partitions, dump and restore.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('kept_vector', conf => "embed.background = off\n");
my $db = 'postgres';
my ($major, $minor) = split /\./, query($node, $db, q{SELECT default_version FROM pg_available_extensions WHERE name = 'vector'});

if (!defined $major || ($major == 0 && $minor < 7))
{
	diag('SKIPPED: this server has no pgvector with halfvec');
	plan skip_all => 'this server has no pgvector with halfvec';
}

# pgvector where no search_path finds it
query($node, $db, q{CREATE SCHEMA "Vector's"; CREATE EXTENSION vector SCHEMA "Vector's"; ALTER DATABASE postgres SET search_path = public, "Vector's"});
import_model($node, $db, 'm64', tiny_model('bert-cls'));
import_model($node, $db, 'm48', tiny_model('bert-mean-48'));
my $nowhere = 'SET search_path = public;';

sub new_table
{
	my ($name, $column) = @_;
	query($node, $db, "CREATE TABLE $name (id int PRIMARY KEY, body text" . (defined $column ? ", $column" : '') . ");
		INSERT INTO $name SELECT i, 'document ' || i || ' about ' || md5(i::text) FROM generate_series(1, 100) i");
	return;
}

sub type_of
{
	my ($table, $column, $in) = @_;
	return query($node, $in // $db, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '$table'::regclass AND attname = '" . ($column // 'embedding') . q{'});
}

sub notices_of
{
	my ($sql) = @_;
	my ($out, $err);

	$node->psql($db, $sql, stdout => \$out, stderr => \$err);
	return $err;
}

# Runs the CALL that the NOTICE hints at.
sub fill_as_told
{
	my ($notices) = @_;
	my ($call) = $notices =~ /^HINT:  (CALL \S*embed_fill\(.*\)) fills them\.$/m or return fail("a CALL in: $notices");

	query($node, $db, $call);
	return;
}

sub checked
{
	my ($table, $column) = @_;
	return query($node, $db, "SELECT string_agg(n::text, ' ' ORDER BY verdict) FROM embed_check('$table', '" . ($column // 'embedding') . q{') WHERE verdict IN ('right', 'wrong', 'to do')});
}

# Both forms of a search, and that the index serves the second.
sub finds
{
	my ($table, $index, $order, $name) = @_;
	my $sql = "SELECT id FROM $table ORDER BY $order LIMIT 1";
	my $by_index = 'SET enable_seqscan = off; SET hnsw.ef_search = 200;';

	is(query($node, $db, $sql), 42, "$name: a text is nearest to itself");
	like(query($node, $db, "$by_index EXPLAIN (COSTS OFF) $sql"), qr/Index Scan using $index/, '... by the index');
	is(query($node, $db, "$by_index $sql"), 42, '... too');
	return;
}
my $text = q{'document 42 about ' || md5('42')};

# ------------------------------------------------------------- a new column

new_table('docs');
my $notices = notices_of("$nowhere SELECT embed_column('docs', 'body', model => 'm64')");
like($notices, qr/column "embedding" of table "docs" is kept by model "m64", and 100 rows are to do/, 'embed_column tells what is to do');
is(type_of('docs'), 'vector(64)', '... the column has pgvector\'s type, wherever that is');
is(checked('docs'), '0 100 0', '... and is to do');
fill_as_told($notices);
is(checked('docs'), '100 0 0', '... until the CALL of the hint');
query($node, $db, q{CREATE INDEX near ON docs USING hnsw (embedding vector_cosine_ops)});
query($node, $db, q{INSERT INTO docs VALUES (200, 'a new row'), (201, NULL); UPDATE docs SET body = 'changed' WHERE id = 7});
is(checked('docs'), '101 0 0', 'rows that are written afterwards');
finds('docs', 'near', "embedding <=> embed_query($text, 'm64')::vector(64)", 'hnsw on a kept column');
like(notices_of("$nowhere SELECT embed_column('docs', 'body')"), qr/is kept so already, nothing changes/, 'the same call again');
like(notices_of("$nowhere SELECT embed_column('docs', 'body', mode => 'later')"), qr/no row is to do/, 'another mode');
query($node, $db, q{INSERT INTO docs VALUES (202, 'later')});
is(checked('docs'), '101 1 0', '... leaves new rows to do, and old ones as they are');

# ------------------------------------------------------------- other dimensions

my ($code, $message) = error_of($node, $db, q{SELECT embed_column('docs', 'body', model => 'm48')});
is($code, '42804', 'a model of other dimensions is refused');
like($message, qr/takes vectors of 64 dimensions, and those of model "m48" have 48/, '... with both numbers');
is(checked('docs'), '101 1 0', '... and nothing changes');
my ($alter) = $message =~ /(ALTER TABLE .* USING NULL)/;
query($node, $db, "$nowhere $alter");
$notices = notices_of("$nowhere SELECT embed_column('docs', 'body', model => 'm48', mode => 'now')");
like($notices, qr/kept by model "m48", and 102 rows are to do/, '... the ALTER TABLE of the hint lets it in');
fill_as_told($notices);
is(checked('docs'), '102 0 0', '... and it fills the column');
finds('docs', 'near', "embedding <=> embed_query($text, 'm48')::vector(48)", 'the index that was there');

# ------------------------------------------------------------- columns that are there

new_table('any_dim', 'v vector');
fill_as_told(notices_of(q{SELECT embed_column('any_dim', 'body', 'v', 'm64')}));
is(checked('any_dim', 'v'), '100 0 0', 'a column of vectors of any dimensions');
fill_as_told(notices_of(q{SELECT embed_column('any_dim', 'body', 'v', 'm48')}));
is(checked('any_dim', 'v') . ' ' . query($node, $db, 'SELECT count(*) FROM any_dim WHERE vector_dims(v) = 48'), '100 0 0 100', '... takes a model of others');

new_table('half', 'v halfvec(64)');
query($node, $db, q{CREATE INDEX half_near ON half USING hnsw (v halfvec_cosine_ops)});
fill_as_told(notices_of(q{SELECT embed_column('half', 'body', 'v', 'm64')}));
is(checked('half', 'v'), '100 0 0', 'a column of halfvec: compared as it stores vectors');
finds('half', 'half_near', "v <=> embed_query($text, 'm64')::halfvec(64)", '... with its index');
($code, $message) = error_of($node, $db, "$nowhere SELECT embed_column('half', 'body', 'v', 'm48')");
is($code, '42804', '... and a model of other dimensions');
like($message, qr/TYPE "Vector's"\.halfvec\(48\) USING NULL/, '... whose hint names the column\'s type');

query($node, $db, q{CREATE DOMAIN short AS vector(64)});
new_table('by_domain', 'v short');
fill_as_told(notices_of(q{SELECT embed_column('by_domain', 'body', 'v', 'm64')}));
is(checked('by_domain', 'v'), '100 0 0', 'a domain over vector');
is((error_of($node, $db, q{SELECT embed_column('by_domain', 'body', 'v', 'm48')}))[0], '42804', '... refuses other dimensions, too');

new_table('floats', 'v float4[]');
fill_as_told(notices_of(q{SELECT embed_column('floats', 'body', 'v', 'm64')}));
is(type_of('floats', 'v') . ' ' . checked('floats', 'v'), 'real[] 100 0 0', 'a column of float4[] stays one');

# ------------------------------------------------------------- partitions

query($node, $db, q{CREATE TABLE parts (id int, k int, body text, PRIMARY KEY (k, id)) PARTITION BY LIST (k); CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
	INSERT INTO parts SELECT i, 1, 'part ' || i FROM generate_series(1, 10) i});
fill_as_told(notices_of(q{SELECT embed_column('parts', 'body', model => 'm64')}));
query($node, $db, q{CREATE INDEX ON parts USING hnsw (embedding vector_cosine_ops);
	CREATE TABLE part_2 PARTITION OF parts FOR VALUES IN (2); INSERT INTO parts VALUES (11, 2, 'part 11'); UPDATE parts SET k = 2 WHERE id = 3});
is(type_of('part_2') . ' ' . checked('parts'), 'vector(64) 11 0 0', 'partitions, one made later');

# ------------------------------------------------------------- chunk tables

query($node, $db, q{CREATE TABLE texts (id int PRIMARY KEY, body text);
	INSERT INTO texts SELECT i, string_agg('sentence ' || j || ' of text ' || i, '. ') FROM generate_series(1, 10) i, generate_series(1, 10) j GROUP BY i});
$notices = notices_of("$nowhere SELECT embed_chunk_table('texts', 'body', 24, 4, 'm64')");
like($notices, qr/column "embedding" of table "texts_chunks" is kept by model "m64", and \d+ rows are to do/, 'embed_chunk_table tells what is to do');
is(type_of('texts_chunks'), 'vector(64)', '... its vectors have pgvector\'s type');
is(query($node, $db, q{SELECT count(*) FROM pg_indexes WHERE indexname = 'texts_chunks_embedding_to_do'}), '1', '... and an index of what is to do');
fill_as_told($notices);
my $n = query($node, $db, 'SELECT count(*) FROM texts_chunks');
is(checked('texts_chunks'), "$n 0 0", '... and are those of their chunks');
query($node, $db, q{CREATE INDEX chunks_near ON texts_chunks USING hnsw (embedding vector_cosine_ops)});
query($node, $db, q{UPDATE texts SET body = 'another text. ' || body WHERE id = 4; INSERT INTO texts VALUES (42, 'the text that is sought')});
$n = query($node, $db, 'SELECT count(*) FROM texts_chunks');
is(checked('texts_chunks'), "$n 0 0", '... also of rows written afterwards');
finds('texts_chunks', 'chunks_near', q{embedding <=> embed_query('the text that is sought', 'm64')::vector(64)}, 'hnsw on a chunk table');
$notices = notices_of("$nowhere SELECT embed_chunk_table('texts', 'body', 24, 4, 'm48')");
is(type_of('texts_chunks'), 'vector(48)', 'another model gives the column its dimensions');
fill_as_told($notices);
$n = query($node, $db, 'SELECT count(*) FROM texts_chunks');
is(checked('texts_chunks'), "$n 0 0", '... and all vectors anew');
finds('texts_chunks', 'chunks_near', q{embedding <=> embed_query('the text that is sought', 'm48')::vector(48)}, 'the index that was there');
query($node, $db, q{DROP INDEX chunks_near; ALTER TABLE texts_chunks ALTER embedding TYPE halfvec(48)});
$notices = notices_of("$nowhere SELECT embed_chunk_table('texts', 'body', 24, 4, 'm64')");
is(type_of('texts_chunks'), 'halfvec(64)', 'a column that was made a halfvec stays one');
fill_as_told($notices);
$n = query($node, $db, 'SELECT count(*) FROM texts_chunks');
is(checked('texts_chunks'), "$n 0 0", '... filled');

# ------------------------------------------------------------- many dimensions

import_model($node, $db, 'wide', static_model($node->basedir . '/wide', 1500, 2056));
new_table('wide');
$notices = notices_of("$nowhere SELECT embed_column('wide', 'body', model => 'wide')");
is(type_of('wide'), 'vector(2056)', 'more dimensions than pgvector\'s indexes take');
like($notices, qr/NOTICE:  column embedding of table public\.wide has 2056 dimensions, and pgvector's indexes on vector take at most 2000/, '... are told');
my ($create) = $notices =~ /HINT:  (CREATE INDEX .*), and order by/;
fill_as_told($notices);
is(checked('wide'), '100 0 0', '... and kept');
query($node, $db, $create =~ s/INDEX/INDEX wide_near/r);
finds('wide', 'wide_near', "embedding::halfvec(2056) <=> embed_query($text, 'wide')::halfvec(2056)", '... the index that the hint names');
import_model($node, $db, 'wider', static_model($node->basedir . '/wider', 1500, 4008));
query($node, $db, 'CREATE TABLE wider (body text)');
like(notices_of(q{SELECT embed_column('wider', 'body', model => 'wider')}), qr/has 4008 dimensions.*\nHINT:  Keep fewer dimensions/, 'more than indexes on halfvec take');
query($node, $db, q{INSERT INTO wider VALUES ('x')});
is(checked('wider'), '1 0 0', '... are kept as well');

# ------------------------------------------------------------- dump and restore

query($node, $db, q{DROP TABLE wide, wider; SELECT embed_drop('wide', true), embed_drop('wider', true)});
my $dump = $node->basedir . '/dump';
query($node, $db, 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($db) ], 'pg_dump');
$node->command_ok([ 'pg_restore', '-e', '-j2', '-d', $node->connstr('restored'), $dump ], '... restored');
is(query($node, 'restored', q{SET search_path = public, "Vector's"; SELECT string_agg(n::text, ' ' ORDER BY verdict) FROM embed_check('docs', 'embedding')}), '102 0 0', '... a kept column');
is(query($node, 'restored', q{SET search_path = public, "Vector's"; SELECT string_agg(n::text, ' ' ORDER BY verdict) FROM embed_check('texts_chunks', 'embedding')}), "$n 0 0", '... a chunk table');
like(query($node, 'restored', q{SET search_path = public, "Vector's"; INSERT INTO docs VALUES (300, 'restored'); INSERT INTO texts VALUES (300, 'restored');
	SELECT count(*) FROM docs d, texts_chunks c WHERE d.id = 300 AND c.id = 300 AND d.embedding IS NOT NULL AND c.embedding IS NOT NULL}), qr/^1$/, '... and both are kept');

done_testing();
