# Versions: each old version's script, updated, equals a fresh install; models,
# kept columns, chunk tables and failures come along, with the same bits; a
# library and SQL objects of two versions say so.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use File::Basename;
use Test::More;

my @scripts = sort glob(test_data() . '/versions/embed--*.sql');
my ($sharedir) = `pg_config --sharedir` =~ /(.*)/;
my %before;

# What an earlier build has installed there is put back.
END
{
	for my $file (keys %before)
	{
		defined $before{$file} ? spit($file, $before{$file}) : unlink $file;
	}
}

plan skip_all => "$sharedir/extension cannot be written: old scripts not tested" unless -w "$sharedir/extension";
for my $script (@scripts)
{
	my $file = "$sharedir/extension/" . basename($script);
	$before{$file} = -e $file ? slurp($file) : undef;
	spit($file, slurp($script));
}
cmp_ok(scalar @scripts, '>=', 1, 'there are scripts of old versions');

my $node = new_node('versions', conf => "embed.background = off\n");
my $db = 'postgres';
my $catalog = slurp(test_data() . '/versions/catalog.sql');
my $new = query($node, $db, q{SELECT default_version FROM pg_available_extensions WHERE name = 'embed'});

is(query($node, $db, 'SELECT library, extension FROM embed_version()'), "$new|$new", 'embed_version: library and objects of one version');
query($node, $db, q{CREATE ROLE boss LOGIN; GRANT pg_read_server_files TO boss});

sub new_database
{
	my ($name, $version) = @_;

	query($node, $db, "CREATE DATABASE $name OWNER boss");
	query($node, $name, 'SET SESSION AUTHORIZATION boss; CREATE EXTENSION embed' . (defined $version ? " VERSION '$version'" : ''));
	return $name;
}

sub as_boss { return query($node, $_[0], "SET SESSION AUTHORIZATION boss; $_[1]") }

# What the extension's objects are, lines that the two do not share.
sub differences
{
	my ($wanted, $got) = @_;
	my %count;

	$count{$_}-- for split /\n/, $wanted;
	$count{$_}++ for split /\n/, $got;
	return join "\n", map { ($count{$_} < 0 ? '- ' : '+ ') . $_ } grep { $count{$_} != 0 } sort keys %count;
}

my $fresh = query($node, new_database('fresh'), $catalog);
cmp_ok(scalar(split /\n/, $fresh), '>', 1000, 'the properties of a fresh install');

# Every kind of difference is seen.
for my $change (
	'ALTER FUNCTION embed_isa() COST 7', 'ALTER FUNCTION embed_isa() VOLATILE', 'ALTER FUNCTION embed_isa() CALLED ON NULL INPUT', 'ALTER FUNCTION embed_isa() PARALLEL UNSAFE',
	q{COMMENT ON FUNCTION embed_isa() IS 'x'}, 'GRANT EXECUTE ON FUNCTION embed_stat_reset() TO PUBLIC', 'GRANT SELECT ON _embed.model TO PUBLIC',
	'ALTER TABLE _embed.image ALTER COLUMN storage DROP DEFAULT', q{COMMENT ON COLUMN embed_stat.calls IS 'x'}, 'ALTER TABLE _embed.model DISABLE TRIGGER embed_rows',
	'ALTER EVENT TRIGGER embed_trigger_made DISABLE', 'ALTER TABLE _embed.image DROP CONSTRAINT image_storage', 'ALTER TABLE _embed.model ADD COLUMN x int',
	'ALTER EXTENSION embed DROP VIEW embed_models', q{CREATE OR REPLACE VIEW embed_failures AS SELECT f.tab::regclass AS tab, f.vector, f.text_hash, f.sqlstate, f.message, f.tries, f.at FROM _embed.failure f},
	q{UPDATE pg_extension SET extconfig = extconfig[1:4], extcondition = extcondition[1:4] WHERE extname = 'embed'}, 'ALTER TABLE _embed.chunk ALTER COLUMN data SET STORAGE EXTENDED',
	'ALTER FUNCTION embed_trigger() OWNER TO boss', 'DROP INDEX IF EXISTS none; ALTER TABLE _embed.alias DROP CONSTRAINT alias_pkey')
{
	isnt(differences($fresh, query($node, 'fresh', "BEGIN; $change; $catalog")), '', "seen: $change");
}

# A table of each kind, and everything else that a database has of models. The library is newer than the objects: it is
# told that they are of its version, since their entry points are there still.
sub fill_database
{
	my ($name, $version) = @_;

	query($node, $name, "UPDATE pg_extension SET extversion = '$new' WHERE extname = 'embed'");
	query($node, $name, q{SET SESSION AUTHORIZATION boss; SET client_min_messages = warning;
		SELECT embed_import('m', } . quote(tiny_model('bert-cls')) . q{), embed_import('r', } . quote(tiny_model('bert-rerank')) . q{),
			embed_import('gone', } . quote(tiny_model('bert-mean-36')) . q{), embed_set_alias('current', 'm');
		SELECT embed_drop('gone');
		CREATE TABLE now_docs (id int PRIMARY KEY, body text);
		INSERT INTO now_docs SELECT i, 'text ' || i FROM generate_series(1, 20) i;
		SELECT embed_column('now_docs', 'body', model => 'm', mode => 'now');
		CREATE TABLE later_docs (id int PRIMARY KEY, body text);
		INSERT INTO later_docs SELECT i, 'later ' || i FROM generate_series(1, 20) i;
		INSERT INTO later_docs VALUES (21, repeat('too long ', 1000));
		SELECT embed_column('later_docs', 'body', model => 'current', mode => 'later');
		CREATE TABLE chunked (id int PRIMARY KEY, body text);
		INSERT INTO chunked SELECT i, repeat('a sentence of ' || i || '. ', 30) FROM generate_series(1, 5) i;
		SELECT embed_chunk_table('chunked', 'body', 24, 4, 'm');
		CREATE TABLE made (id int, body text, e float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED);
		INSERT INTO made SELECT i, 'made ' || i FROM generate_series(1, 5) i;
		CREATE INDEX ON made ((embed(body, 'm')))});
	query($node, $name, q{SET SESSION AUTHORIZATION boss; SET client_min_messages = error; SET embed.on_overflow = error; CALL embed_fill()});
	query($node, $name, "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'embed'");
	return;
}

# All rows of _embed, and of the tables that have vectors.
my $rows = join ' UNION ALL ', map { "SELECT '$_', md5(string_agg(t::text, ',' ORDER BY t::text COLLATE \"C\")), count(*) FROM $_ t" }
  qw(_embed.model _embed.image _embed.chunk _embed.alias _embed.default_model _embed.failure now_docs later_docs chunked chunked_chunks made);

for my $script (@scripts)
{
	my ($version) = $script =~ /embed--(.*)\.sql$/;
	my $old = new_database('old_' . $version =~ s/\W/_/gr, $version);
	my ($state, $message);

	# ---------------------------------------------- the library of a new version, objects of an old one

	($state, $message) = error_of($node, $old, q{SELECT embed('x', 'm')});
	is($state, '55000', "$version: a call of a newer library");
	like($message, qr/library of extension "embed" has version \Q$new\E, its objects in this database have version \Q$version\E\n.*HINT:  Run ALTER EXTENSION embed UPDATE in this database\./s, '... says what to do');
	for my $call (q{embed_import('m', } . quote(tiny_model('bert-cls')) . ')', q{embed_drop('m')}, q{embed_set_default('m')}, q{embed_set_alias('a', 'm')}, q{rerank('a', 'b')}, q{embed_fingerprint('m')})
	{
		is((error_of($node, $old, "SELECT $call"))[0], '55000', "... and so does $call");
	}
	is((error_of($node, $old, 'CALL embed_fill()'))[0], '55000', '... and embed_fill');
	fill_database($old, $version);
	my $before = query($node, $old, $rows);
	is(query($node, $old, 'SELECT count(*) FROM embed_failures'), 1, '... a failure is recorded');
	is(query($node, $old, 'SELECT count(*) FILTER (WHERE embedding IS NULL), count(*) FROM later_docs'), '1|21', '... and the rest is filled');
	for my $view (qw(embed_models embed_stat embed_latency embed_memory embed_columns embed_failures))
	{
		isnt(query($node, $old, "SELECT count(*) FROM $view"), '0', "... monitoring works: $view");
	}

	# a row waits, without a vector and without a failure
	is((error_of($node, $old, q{INSERT INTO now_docs VALUES (100, 'refused')}))[0], '55000', '... a kept column of mode now refuses rows');
	set_background('on');
	query($node, $old, q{INSERT INTO later_docs VALUES (100, 'waits')});
	answer_comes($node, $old, q{SELECT last_error ~ 'ALTER EXTENSION embed UPDATE' FROM embed_columns WHERE tab = 'later_docs'::regclass}, 't',
		'... one of mode later waits, and says for what');
	is(query($node, $old, q{SELECT count(*) FROM embed_failures}), 1, '... and no text is blamed');
	set_background('off');
	query($node, $old, 'DELETE FROM later_docs WHERE id = 100');
	is(query($node, $old, $rows), $before, '... nothing changed');

	# ---------------------------------------------- the update, in this session and beside running ones

	my $by_boss = "psql -X -q -d '" . $node->connstr($old) . " user=boss' -c";
	is(in_session($old, q{SELECT embed('x', 'm')}, "\\! $by_boss 'ALTER EXTENSION embed UPDATE'", q{SELECT cardinality(embed('x', 'm'))}), "55000\n64",
		"$version: updated by its owner, who is no superuser, beside a session");
	is(query($node, $old, 'SELECT library, extension FROM embed_version()'), "$new|$new", '... embed_version shows it');
	is(differences($fresh, query($node, $old, $catalog)), '', '... and the objects are those of a fresh install');
	is(query($node, $old, $rows), $before, '... all rows are there');
	is(query($node, $old, q{SELECT count(*) FILTER (WHERE embedding = embed(body, 'm')), count(*) FROM now_docs}), '20|20', '... vectors have the same bits');
	is(query($node, $old, q{SELECT count(*) FILTER (WHERE embedding = embed(body, 'm')), count(*) FROM later_docs}), '20|21', '... in every kept column');
	is(query($node, $old, q{SELECT count(*) FILTER (WHERE embedding = embed(chunk, 'm')) = count(*) FROM chunked_chunks}), 't', '... in chunk tables');
	is(query($node, $old, q{SET enable_seqscan = off; SELECT id FROM made WHERE embed(body, 'm') = embed('made 3', 'm') AND e = embed(body, 'm')}), '3', '... in indexes and generated columns');
	is(query($node, $old, q{SELECT ok FROM embed_verify('m') WHERE NOT ok}), '', '... embed_verify');
	as_boss($old, q{INSERT INTO now_docs VALUES (100, 'new'); INSERT INTO later_docs VALUES (100, 'new'); INSERT INTO chunked VALUES (100, 'new'); SET client_min_messages = error; CALL embed_fill()});
	is(query($node, $old, q{SELECT (SELECT embedding FROM now_docs WHERE id = 100) = embed('new', 'm'), (SELECT embedding FROM later_docs WHERE id = 100) = embed('new', 'm'),
		(SELECT embedding FROM chunked_chunks WHERE id = 100) = embed('new', 'm')}), 't|t|t', '... and columns are kept on');

	# who updates need not be who owns it
	my $other = new_database('other_' . $version =~ s/\W/_/gr, $version);
	query($node, $other, 'CREATE VIEW public.mine AS SELECT name, calls FROM embed_stat');
	($state, $message) = error_of($node, $other, 'ALTER EXTENSION embed UPDATE');
	is($state, '2BP01', "$version: a view of the user that needs a view of the extension");
	like($message, qr/view mine depends on view embed_stat/, '... is named');
	query($node, $other, 'DROP VIEW public.mine');
	is(in_session($other, 'ALTER EXTENSION embed UPDATE', q{SELECT count(*) = 0 FROM embed_stat}, q{SELECT embed('x', 'm')}), "t\n42704", "$version: updated by a superuser, in the session that goes on");
	is(differences($fresh, query($node, $other, $catalog)), '', '... the same objects');
	query($node, $other, 'BEGIN; ALTER EXTENSION embed UPDATE; ROLLBACK');
	query($node, $db, "DROP DATABASE $other");
	query($node, $other = new_database('undone', $version), 'BEGIN; ALTER EXTENSION embed UPDATE; ROLLBACK');
	is(in_session($other, 'BEGIN', 'ALTER EXTENSION embed UPDATE', 'SELECT extension FROM embed_version()', q{SELECT embed('x', 'm')}, 'ROLLBACK', q{SELECT embed('x', 'm')}), "$new\n42704\n55000",
		'... an update that is rolled back');
	query($node, $db, 'DROP DATABASE undone');
}

# ------------------------------------------------------------ a function made while the session looks

# The first look of a session receives the message about a function that another one made between
# the start of its statement and that look: the look itself holds.
import_model($node, $db, 'm', tiny_model('bert-cls'));
my $gate = start_psql($node, $db, q{SELECT pg_advisory_lock(1); SELECT pg_sleep(600)});
answer_comes($node, $db, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted}, 1, 'a lock that a statement waits for');
my $waiting = start_psql($node, $db, q{SELECT pg_advisory_lock_shared(1) IS NULL, embed_set_alias('late', 'm') IS NOT NULL});
answer_comes($node, $db, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 1, '... waits');
query($node, $db, q{CREATE FUNCTION meanwhile() RETURNS int LANGUAGE sql AS 'SELECT 1'});
query($node, $db, q{SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted});
finish_psql($gate);
my @looked = finish_psql($waiting);
is("$looked[1]$looked[2]", 'f|t', 'a function that is made while a session looks at the versions');

# ------------------------------------------------------------ objects of a newer version

my $newer = q{UPDATE pg_extension SET extversion = '100.2.3' WHERE extname = 'embed'};
my $session = "psql -X -q -d '" . $node->connstr($db) . "' -c";
is(in_session($db, q{SELECT cardinality(embed('x', 'm'))}, "\\! $session \"$newer; ALTER FUNCTION embed_isa() COST 2\"", q{SELECT cardinality(embed('x', 'm'))}, 'SELECT library, extension FROM embed_version()'),
	"64\n55000\n$new|100.2.3", 'objects of a newer version, beside a session');
my ($state, $message) = error_of($node, $db, q{SELECT embed('x', 'm')});
like($message, qr/objects in this database have version 100\.2\.3\n.*HINT:  Connect again; if shared_preload_libraries has the library, restart the server\. If the message remains, install version 100\.2\.3 of embed/s, '... what to do');

# A look that is cut off says nothing: the next call looks again.
$gate = start_psql($node, $db, 'BEGIN; LOCK TABLE pg_extension; SELECT pg_sleep(600)');
my $locks = q{pg_locks WHERE relation = 'pg_extension'::regclass AND mode = 'AccessExclusiveLock' AND granted};
answer_comes($node, $db, "SELECT count(*) FROM $locks", 1, 'a lock that the look waits for');
is(in_session($db, q{SET statement_timeout = '300ms'}, q{SELECT embed_set_alias('x', 'm')}, "\\! $session \"SELECT pg_terminate_backend(pid) FROM $locks\" -o /dev/null",
	'RESET statement_timeout', q{SELECT embed_set_alias('x', 'm')}), "57014\n55000", '... cut off, and done again by the next call');
finish_psql($gate);

done_testing();

sub set_background
{
	query($node, $db, "LOAD 'embed'; ALTER SYSTEM SET embed.background = $_[0]");
	query($node, $db, 'SELECT pg_reload_conf()');
	answer_comes($node, $db, q{LOAD 'embed'; SHOW embed.background}, $_[0], "... embed.background $_[0]");
	return;
}

# What commands of one session say: results, SQLSTATEs of errors.
sub in_session
{
	my ($name, @commands) = @_;
	my $file = $node->basedir . '/session.sql';
	my $out = '';

	spit($file, join "\n", '\set VERBOSITY sqlstate', map { /^\\/ ? $_ : "$_;" } @commands);
	IPC::Run::run([ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($name), '-f', $file ], '<' => \undef, '>' => \$out, '2>&1');
	$out =~ s/^psql:\S+ ERROR:\s+(\w+)$/$1/mg;
	return $out =~ s/\s+\z//r;
}
