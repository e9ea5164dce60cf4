# A kept column in dumps: vectors are data, computed by nobody; the restored column is kept on.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('kept_dump', conf => "embed.background = off\n");
my $db = 'postgres';
my $state = q{SELECT count(*), md5(string_agg(id || ':' || coalesce(embedding::text, 'NULL'), ',' ORDER BY id)) FROM docs};
my $check = q{SELECT string_agg(verdict || ' ' || n, ', ') FROM embed_check('docs', 'embedding')};
my $computed = q{SELECT sum(texts) FROM embed_stat};

import_model($node, $db, 'kept', tiny_model('bert-mean-36'));
query($node, $db, q{CREATE TABLE docs (id int PRIMARY KEY, title text, body text) PARTITION BY RANGE (id);
	CREATE TABLE docs_low PARTITION OF docs FOR VALUES FROM (0) TO (50);
	CREATE TABLE docs_high PARTITION OF docs FOR VALUES FROM (50) TO (1000);
	SELECT embed_column('docs', 'title, body');
	INSERT INTO docs SELECT i, 'title ' || i, 'body ' || i FROM generate_series(1, 99) i;
	SELECT embed_column('docs', 'title, body', mode => 'later');
	INSERT INTO docs VALUES (100, 'to do', NULL)});
is(query($node, $db, $check), 'right 99, wrong 0, to do 1', 'before the dump');

my $dump = $node->basedir . '/kept.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr($db) ], 'dumped');
query($node, $db, 'CREATE DATABASE whole TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('whole'), $dump ], 'restored');
is(query($node, 'whole', $state), query($node, $db, $state), 'the same vectors and NULLs');
is(query($node, 'whole', $computed), 0, 'none was computed');
is(query($node, 'whole', $check), 'right 99, wrong 0, to do 1', 'and they are right');
is(query($node, 'whole', q{SELECT embed_column('docs', 'title, body', 'embedding', 'kept', 'later');
	SELECT count(*) FROM pg_trigger WHERE tgrelid = 'docs'::regclass AND tgparentid = 0;
	SELECT count(*) FROM pg_index WHERE indpred IS NOT NULL AND indrelid::regclass::text LIKE 'docs%'}), "\n1\n3", 'nothing is left to change');
query($node, 'whole', q{UPDATE docs SET body = 'changed' WHERE id = 1});
is(query($node, 'whole', $check), 'right 98, wrong 0, to do 2', 'the trigger works');

# Data alone, into tables that have the trigger: computed or left to do, unless the user gives his word.
my $data = $node->basedir . '/kept.data';
$node->command_ok([ 'pg_dump', '-a', '-t', 'docs*', '-f', $data, '-d', $node->connstr($db) ], 'data dumped');
query($node, 'whole', 'TRUNCATE docs; SELECT embed_stat_reset()');
{
	local $ENV{PGOPTIONS} = '-c embed.accept_vectors=on';
	$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $data, '-d', $node->connstr('whole') ], 'data restored on the user\'s word');
}
is(query($node, 'whole', $state), query($node, $db, $state), 'the same vectors and NULLs');
is(query($node, 'whole', $computed), 0, 'none was computed');
query($node, 'whole', 'TRUNCATE docs');
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $data, '-d', $node->connstr('whole') ], 'data restored without');
is(query($node, 'whole', $check), 'right 0, wrong 0, to do 100', 'mode later leaves all to do');

# The table alone, to where the model's name stands for other content: vectors of two models never meet.
my $table = $node->basedir . '/kept.table';
$node->command_ok([ 'pg_dump', '-t', 'docs*', '-f', $table, '-d', $node->connstr($db) ], 'table dumped');
query($node, $db, 'CREATE DATABASE elsewhere TEMPLATE template0');
query($node, 'elsewhere', 'CREATE EXTENSION embed');
import_model($node, 'elsewhere', 'kept', tiny_model('bert-mean-36'), '{"document_prompt": "other: "}');
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $table, '-d', $node->connstr('elsewhere') ], 'restored elsewhere');
my $docs = q{FROM embed_columns WHERE tab = 'docs_low'::regclass};
is(query($node, 'elsewhere', "SELECT status, mixed, last_error LIKE '%stood for model of fingerprint%' $docs"), 'failing|t|t', 'embed_columns says that the model is another');
query($node, 'elsewhere', q{INSERT INTO docs VALUES (101, 'new', NULL); SET client_min_messages = error; CALL embed_fill('docs')});
is(query($node, 'elsewhere', 'SELECT count(*), count(embedding) FROM docs'), '101|99', '... and embed_fill fills nothing');
is((error_of($node, 'elsewhere', q{UPDATE docs SET embedding = embed(title, 'kept') WHERE embedding IS NULL}))[0], '55000', '... nor does an UPDATE');
query($node, 'elsewhere', q{SELECT embed_column('docs', 'title, body'); SET client_min_messages = error; CALL embed_fill('docs')});
is(query($node, 'elsewhere', $check), 'right 101, wrong 0, to do 0', 'embed_column takes the model that is there');
$node->stop;
done_testing();
