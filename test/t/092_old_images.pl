# Images of another layout, as a new version of the library finds them: what
# calls say, that nothing is lost, and how columns go on.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('old_images', conf => "embed.background = off\nallow_system_table_mods = on\n");
my $db = 'postgres';
my $dir = quote(tiny_model('bert-cls'));

query($node, $db, qq{SET client_min_messages = warning;
	SELECT embed_import('m', $dir, '{"alias": "current"}');
	CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'text ' || i FROM generate_series(1, 50) i;
	SELECT embed_column('docs', 'body', model => 'm', mode => 'now');
	CREATE TABLE more (id int PRIMARY KEY, body text); INSERT INTO more SELECT i, 'more ' || i FROM generate_series(1, 50) i;
	SELECT embed_column('more', 'body', model => 'current', mode => 'later');
	CREATE TABLE long (id int PRIMARY KEY, body text); INSERT INTO long SELECT i, repeat('a sentence of ' || i || '. ', 30) FROM generate_series(1, 5) i;
	SELECT embed_chunk_table('long', 'body', 24, 4, 'm');
	CREATE TABLE byhand (id int, body text, e float4[]);
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON byhand FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	INSERT INTO byhand VALUES (1, 'by hand');
	CREATE TABLE made (id int, body text, e float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED);
	INSERT INTO made SELECT i, 'made ' || i FROM generate_series(1, 5) i;
	CREATE INDEX ON made ((embed(body, 'm')))});
query($node, $db, 'SET client_min_messages = error; CALL embed_fill()');
# The image of layout 6 that an earlier version would have made, with all that names it.
sub make_old
{
	my ($byte, $value) = (@_, 8, 6);

	query($node, $db, q{
		CREATE TEMP TABLE old AS SELECT fingerprint AS new, set_byte(string_agg(data, '' ORDER BY no), VERSION) AS bytes FROM _embed.chunk GROUP BY 1;
		INSERT INTO _embed.image SELECT sha256(bytes), size_bytes, kind, family, dim, max_tokens, "precision", pooling, query_prompt, document_prompt, outputs, takes_instruction,
			instruction, has_template, storage FROM _embed.image JOIN old ON fingerprint = new;
		INSERT INTO _embed.chunk SELECT sha256(bytes), 0, bytes FROM old;
		DELETE FROM _embed.image USING old WHERE fingerprint = new;
		DELETE FROM _embed.chunk USING old WHERE fingerprint = new;
		DELETE FROM _embed.model WHERE name = 'm';
		INSERT INTO _embed.model SELECT 'm', sha256(bytes), false FROM old;
		UPDATE pg_trigger SET tgargs = decode(replace(encode(tgargs, 'hex'), encode(convert_to(substr(encode(new, 'hex'), 1, 16), 'UTF8'), 'hex'),
			encode(convert_to(substr(encode(sha256(bytes), 'hex'), 1, 16), 'UTF8'), 'hex')), 'hex') FROM old} =~ s/VERSION/$byte, $value/r);
	return;
}
make_old();

# ------------------------------------------------------------ what one meets

my $old = query($node, $db, q{SELECT fingerprint FROM embed_models WHERE name = 'm'});
my $vectors = q{SELECT md5(string_agg(v, '' ORDER BY v)) FROM (SELECT 'docs' || id || embedding::text FROM docs UNION ALL SELECT 'more' || id || embedding::text FROM more
	UNION ALL SELECT 'long' || id || ordinality || embedding::text FROM long_chunks UNION ALL SELECT 'hand' || id || e::text FROM byhand UNION ALL SELECT 'made' || id || e::text FROM made) a (v)};
my $before = query($node, $db, $vectors);
for my $sql (q{SELECT embed('x', 'm')}, q{SELECT embed_query('x')}, q{SELECT * FROM embed_verify('m')}, q{INSERT INTO docs VALUES (100, 'x')}, q{INSERT INTO long VALUES (100, 'x')})
{
	my ($state, $message) = error_of($node, $db, $sql);
	is($state, '0A000', $sql);
	like($message, qr/model "m": the image has layout version 6 and numerics version 5, not \d+ and 5\n.*HINT:  SELECT embed_reimport\('m', 'the directory that it was imported from'\) makes it again, and every column goes on\./s, '... says what to do');
}
query($node, $db, q{INSERT INTO more VALUES (100, 'waits')});
my ($out, $err) = ('', '');
$node->psql($db, q{CALL embed_fill('more')}, stdout => \$out, stderr => \$err);
like($err, qr/WARNING:  column "embedding" of table "more" is not complete: model "m": the image has layout version 6/, 'embed_fill says so, and of which column');
is(query($node, $db, q{SELECT count(*) FROM embed_models WHERE name = 'm' AND aliases = '{current}' AND "default"}), 1, 'the model is listed');
is(query($node, $db, $vectors), $before, 'no vector is lost');
is((error_of($node, $db, "SELECT embed_import('m', $dir)"))[0], '42710', 'its name is not free for an import');

# ------------------------------------------------------------ what is refused

my $state = sub { (error_of($node, $db, $_[0]))[0] };
my ($code, $message);
query($node, $db, qq{SELECT embed_import('fine', $dir)});
($code, $message) = error_of($node, $db, "SELECT embed_reimport('fine', $dir)");
is($code, '55000', 'an image of this version');
like($message, qr/"fine" has the layout of this version already/, '... is left alone');
is($state->("SELECT embed_reimport('none', $dir)"), '42704', 'a model that is not there');
is($state->("SELECT embed_reimport('current', $dir)"), '42710', 'an alias');
is($state->(q{SELECT embed_reimport('m', 'here')}), '22023', 'no absolute path');
is($state->("SELECT embed_reimport(NULL, $dir)"), '22004', 'NULL');
($code, $message) = error_of($node, $db, q{SELECT embed_reimport('m', } . quote(tiny_model('bert-mean-36')) . ')');
is($code, '55000', 'another model');
like($message, qr/this is another model than "m": its dim differs/, '... is told by its properties');
is($state->(qq{SELECT embed_reimport('m', $dir, '{"document_prompt": "d: "}')}), '55000', 'another prompt');
is($state->(qq{SELECT embed_reimport('m', $dir, '{"precision": "fp32"}')}), '55000', 'another precision');
# weights that differ in one number
system('cp', '-rL', '--no-preserve=mode', tiny_model('bert-cls'), $node->basedir . '/other') == 0 or die;
my $weights = slurp($node->basedir . '/other/model.safetensors');
my $length = unpack 'Q<', $weights;
my ($at) = substr($weights, 8, $length) =~ /"(?:bert\.)?embeddings\.LayerNorm\.bias":\{[^}]*"data_offsets":\[(\d+)/ or die 'no such tensor';
substr($weights, 8 + $length + $at, 4) = pack 'f<', 0.75;
spit($node->basedir . '/other/model.safetensors', $weights);
($code, $message) = error_of($node, $db, q{SELECT embed_reimport('m', } . quote($node->basedir . '/other') . ')');
is($code, '55000', 'other weights');
like($message, qr/column "\w+" of table public\.\w+ has other vectors than the directory's model gives/, '... are told by the vectors of kept columns');
is(query($node, $db, q{SELECT fingerprint FROM embed_models WHERE name = 'm'}), $old, '... and nothing changes');
query($node, $db, q{CREATE ROLE other LOGIN});
is((error_of($node, $db, "SELECT embed_reimport('m', $dir)", extra_params => [ '-U', 'other' ]))[0], '42501', 'who may not import');

# ------------------------------------------------------------ what works

# a session that has the error goes on by itself
my $by = "psql -X -q -d '" . $node->connstr($db) . "' -c";
spit($node->basedir . '/session.sql', join "\n", '\set VERBOSITY sqlstate', q{SELECT embed('x', 'm');},
	"\\! $by \"SET client_min_messages = warning; SELECT length(embed_reimport('m', " . ($dir =~ s/^ E//r) . "))\"", q{SELECT cardinality(embed('x', 'm'));});
$out = '';
IPC::Run::run([ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($db), '-f', $node->basedir . '/session.sql' ], '<' => \undef, '>' => \$out, '2>&1');
like($out, qr/0A000\s.*\n\s*64\n.*\n64$/s, 'made again, beside a session');
isnt(query($node, $db, q{SELECT fingerprint FROM embed_models WHERE name = 'm'}), $old, '... it is another image');
is(query($node, $db, q{SELECT "default", aliases FROM embed_models WHERE name = 'm'}), 't|{current}', '... with the default and the alias');
is(query($node, $db, "SELECT count(*) FROM _embed.image WHERE encode(fingerprint, 'hex') = '$old'"), 0, '... instead of the old one');
is(query($node, $db, q{SELECT string_agg(DISTINCT status || mixed::text, ',') FROM embed_columns WHERE tab <> 'more'::regclass}), 'completefalse', '... columns are complete, and of one model');
is(query($node, $db, $vectors), $before, '... their vectors are what they were');
query($node, $db, q{SET client_min_messages = error; CALL embed_fill(); INSERT INTO docs VALUES (100, 'goes on'); INSERT INTO more VALUES (101, 'goes on'); INSERT INTO long VALUES (100, 'goes on');
	INSERT INTO byhand VALUES (100, 'goes on'); INSERT INTO made VALUES (100, 'goes on')});
query($node, $db, q{SET client_min_messages = error; CALL embed_fill()});
for my $column ([qw(docs body embedding)], [qw(more body embedding)], [qw(long_chunks chunk embedding)], [qw(byhand body e)], [qw(made body e)])
{
	my ($table, $text, $vector) = @$column;

	is(query($node, $db, "SELECT count(*) = count(*) FILTER (WHERE $vector = embed($text, 'm')) AND count(*) FILTER (WHERE $text = 'goes on') = 1 FROM $table"), 't', "... $table goes on");
}
is(query($node, $db, q{SET enable_seqscan = off; SELECT id FROM made WHERE embed(body, 'm') = embed('made 3', 'm')}), '3', '... and so does an index');
is(query($node, $db, q{SELECT ok FROM embed_verify('m') WHERE NOT ok}), '', '... embed_verify');

# an image of other bits
query($node, $db, q{SET client_min_messages = warning; SELECT embed_drop('fine', true)});
make_old(12, 4);
($code, $message) = error_of($node, $db, "SELECT embed_reimport('m', $dir)");
is($code, '55000', 'an image of another numerics version');
like($message, qr/numerics version 4, and this version computes other bits.*HINT:  Import the model under another name\. For each kept column: CALL embed_refill, then SELECT embed_switch\./s, '... takes another way');
is(query($node, $db, qq{SET client_min_messages = error; SELECT length(embed_import('n', $dir)); CALL embed_refill('docs', 'embedding', 'n'); SELECT embed_switch('docs', 'embedding'); SELECT count(*) = count(*) FILTER (WHERE embedding = embed(body, 'n')) FROM docs}) =~ s/\n+/|/gr,
	'64|t', '... which is this');

done_testing();
