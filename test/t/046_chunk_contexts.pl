# embed_chunks wherever a set-returning function can stand, by whom, in which
# encoding: chunks and offsets are always those of a plain call.
use strict;
use warnings;
use utf8;
use Encode;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('chunk_contexts');
my $db = 'postgres';

import_model($node, $db, 'm', tiny_model('bert-cls'));
query($node, $db, q{CREATE TABLE docs AS SELECT i AS id, (SELECT string_agg('sentence ' || j || ' of ' || i, '. ') FROM generate_series(1, 1 + i % 30) j) AS body
	FROM generate_series(1, 60) i; ALTER TABLE docs ADD PRIMARY KEY (id); ALTER TABLE docs SET (parallel_workers = 2); ANALYZE docs});
query($node, $db, q{CREATE TABLE chunks AS SELECT d.id, c.* FROM docs d, embed_chunks(d.body, 40, 8, 'm') c});
is(query($node, $db, q{SELECT count(*) > count(DISTINCT id), bool_and(chunk = substr(body, start_char, end_char - start_char)) FROM chunks JOIN docs USING (id)}), 't|t', 'chunks of a table, in LATERAL');

# Rows that the query gives are those of chunks.
sub same_chunks
{
	my ($settings, $from, $name) = @_;
	return is(query($node, $db, "$settings SELECT count(*) FROM (TABLE chunks EXCEPT ALL ($from)) AS a; SELECT count(*) FROM (($from) EXCEPT ALL TABLE chunks) AS b"), "0\n0", $name);
}

same_chunks('', q{SELECT id, (embed_chunks(body, 40, 8)).* FROM docs}, 'in the target list, by the default model');
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';
my $lateral = q{SELECT d.id, c.* FROM docs d, embed_chunks(d.body, 40, 8, 'm') c};
like(query($node, $db, "$parallel EXPLAIN (COSTS OFF) $lateral"), qr/Workers Planned: 2\n.*Nested Loop/, 'workers cut');
same_chunks($parallel, $lateral, '... the same');
for my $mode (qw(force_custom_plan force_generic_plan))
{
	is(query($node, $db, qq{SET plan_cache_mode = $mode;
		PREPARE cut(int, int, int) AS SELECT count(*) FROM (SELECT d.id, c.* FROM docs d, embed_chunks(d.body, \$2, \$3, 'm') c WHERE d.id = \$1
			EXCEPT ALL SELECT * FROM chunks WHERE id = \$1) AS differing;
		EXECUTE cut(29, 40, 8); EXECUTE cut(1, 40, 8); EXECUTE cut(29, 40, 8); EXECUTE cut(29, 20, 8) }) =~ /^0\n0\n0\n[1-9]\d*$/ ? 1 : 0, 1, "prepared statements, $mode");
}
query($node, $db, q{
	CREATE TABLE cut_by_trigger (LIKE chunks);
	CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		DELETE FROM cut_by_trigger WHERE id = NEW.id;
		INSERT INTO cut_by_trigger SELECT NEW.id, c.* FROM embed_chunks(NEW.body, 40, 8, 'm') c;
		RETURN NULL;
	END $$;
	CREATE TABLE sources (id int PRIMARY KEY, body text);
	CREATE TRIGGER t AFTER INSERT OR UPDATE ON sources FOR EACH ROW EXECUTE FUNCTION cut();
	INSERT INTO sources SELECT id, 'old' FROM docs; UPDATE sources SET body = docs.body FROM docs WHERE docs.id = sources.id});
same_chunks('', 'TABLE cut_by_trigger', 'a trigger in PL/pgSQL');
is(query($node, $db, q{BEGIN; DECLARE c CURSOR FOR SELECT ordinality FROM embed_chunks((SELECT body FROM docs WHERE id = 29), 40, 8, 'm');
	FETCH 1 FROM c; SAVEPOINT s; FETCH 1 FROM c; ROLLBACK TO s; FETCH 1 FROM c; COMMIT; SELECT ordinality FROM embed_chunks((SELECT body FROM docs WHERE id = 29), 40, 8) LIMIT 2}),
	"1\n2\n3\n1\n2", 'a cursor across a savepoint, and LIMIT');
is(query($node, $db, q{SELECT max(ordinality) = count(*) AND max(end_char) = 5000000 AND bool_and(tokens <= 512) FROM embed_chunks(repeat('word ', 1000000), 512, 0, 'm')}), 't', 'a text of 5 MB');

# ------------------------------------------------------------- rights, search paths

query($node, $db, q{CREATE ROLE stranger LOGIN; CREATE TABLE secret (who text, body text); INSERT INTO secret VALUES ('stranger', 'mine'), ('x', 'not mine');
	ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON secret USING (who = current_user); GRANT SELECT ON secret TO stranger});
is(query($node, $db, q{SET SESSION AUTHORIZATION stranger; SELECT c.chunk FROM secret, embed_chunks(body, 40, 8) c}), 'mine', 'a user without any right but EXECUTE, row level security');
query($node, $db, q{CREATE SCHEMA evil; CREATE FUNCTION evil.embed_chunks(text, int, int) RETURNS int LANGUAGE sql AS 'SELECT 0'; CREATE TABLE evil.model (name text);
	CREATE FUNCTION evil.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
	CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.trap)});
is(query($node, $db, q{SET search_path = evil, pg_catalog, public; SELECT chunk FROM public.embed_chunks('one', 10, 0)}), 'one', 'nothing looks at search_path');

# ------------------------------------------------------------- encodings

sub bytes_literal
{
	my ($encoding, $text) = @_;
	return "E'" . join('', map { sprintf '\\x%02x', ord } split //, encode($encoding, $text)) . "'";
}

# Offsets count characters of the server, as substr does.
sub chunks_of
{
	my ($in, $encoding, $text) = @_;
	my $literal = bytes_literal($encoding, $text);
	return query($node, $in, "SELECT string_agg(concat_ws(',', ordinality, start_char, end_char, tokens, md5(convert_to(chunk, 'UTF8'))), ';' ORDER BY ordinality),
		bool_and(chunk = substr(body, start_char, end_char - start_char)) FROM (SELECT $literal AS body) AS s, embed_chunks(body, 12, 3, 'm')");
}

for my $case ([ 'LATIN1', 'iso-8859-1', 'élève, déjà vu; ñandú ' ], [ 'EUC_JP', 'euc-jp', '東京の天気。日本語 ' ], [ 'WIN1251', 'cp1251', 'это красота, ' ])
{
	my ($encoding, $perl_encoding, $text) = @$case;
	my $name = lc $encoding;

	query($node, $db, "CREATE DATABASE $name ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	query($node, $name, 'CREATE EXTENSION embed');
	import_model($node, $name, 'm', tiny_model('bert-cls'));
	is(chunks_of($name, $perl_encoding, $text x 10), chunks_of($db, 'utf-8', $text x 10), "chunks in a database of $encoding are those of UTF-8");
	like(chunks_of($name, $perl_encoding, $text x 10), qr/;2,\d+,.*\|t$/, '... several, and lie where they say');
}
query($node, $db, q{CREATE DATABASE sql_ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'});
query($node, 'sql_ascii', 'CREATE EXTENSION embed');
import_model($node, 'sql_ascii', 'm', tiny_model('bert-cls'));
is(query($node, 'sql_ascii', 'SELECT count(*) > 1, bool_and(chunk = substr(body, start_char, end_char - start_char)) FROM (SELECT '
		. bytes_literal('utf-8', 'élève, 東京の天気。 ' x 10) . q{ AS body) AS s, embed_chunks(body, 12, 3, 'm')}), 't|t', 'in SQL_ASCII offsets count bytes, as substr does');

# ------------------------------------------------------------- what is computed

my $few = q{FROM (SELECT * FROM docs WHERE id <= 5) d, embed_chunks(d.body, 40, 8, 'm') c};
is(computed($node, $db, "SELECT count(*) $few; SELECT (embed_chunks(body, 40, 8)).* FROM docs"), 0, 'cutting computes nothing');
is(computed($node, $db, "SELECT embed(c.chunk, 'm') $few"), query($node, $db, "SELECT count(DISTINCT c.chunk) $few"), 'every chunk is embedded once');
is(computed($node, $db, "SELECT embed_agg(c.chunk, 'm') $few GROUP BY d.id"), query($node, $db, "SELECT count(*) $few"), '... in groups, too');

done_testing();
