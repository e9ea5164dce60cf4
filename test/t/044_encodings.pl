# Databases whose encoding is not UTF-8: ids and vectors are those of the text,
# not of its bytes.
use strict;
use warnings;
use utf8;
use Encode;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('encodings');
my $db = 'postgres';

# The server's name, Perl's name, a text of characters that the model knows.
my @encodings = (
	[ 'LATIN1', 'iso-8859-1', 'é ñ ü Ö' ],
	[ 'EUC_JP', 'euc-jp', '日本語の' ],
	[ 'EUC_KR', 'euc-kr', '한국어' ],
	[ 'WIN1251', 'cp1251', 'красота' ],
	[ 'SQL_ASCII', 'utf-8', 'é 日 красота' ],
);

import_model($node, $db, 'm', tiny_model('bert-mean-36'));

# An SQL literal of the text's bytes, in ASCII.
sub bytes_literal
{
	my ($encoding, $text) = @_;
	return "E'" . join('', map { sprintf '\\x%02x', ord } split //, encode($encoding, $text)) . "'";
}

# What each function makes of the text.
sub everything
{
	my ($in, $literal) = @_;
	return query($node, $in, "SELECT embed(t, 'm'), embed_query(t, 'm'), embed_tokens(t, 'm'), embed_info(t, 'm'), embed(ARRAY[t, 'and', t], 'm'),
		(SELECT array_agg(embedding) FROM embed_rows(ARRAY[t, 'and'], 'm')), (SELECT embed_agg(x, 'm') FROM (VALUES (t), (t || '.')) AS v (x)),
		(SELECT embed_avg(x, 'm') FROM (VALUES (t), (t || '.')) AS v (x)) FROM (SELECT $literal AS t) AS s");
}

# A model whose file has prompts in several scripts.
my $prompt = 'é 日 в 한 ☃: ';
my $dir = $node->basedir . '/prompts';
system('cp', '-r', tiny_model('bert-mean-36'), $dir) == 0 or die;
spit("$dir/config_sentence_transformers.json", encode('utf-8', qq({"prompts": {"query": "$prompt"}})));

# What the encoding has is shown, the rest is escaped; SQL_ASCII has ASCII only.
sub shown
{
	my ($encoding, $perl_encoding) = @_;
	return join '', map {
		my $bytes = $encoding eq 'SQL_ASCII' && ord > 127 ? '' : encode($perl_encoding, $_, Encode::FB_QUIET);
		$bytes ne '' ? unpack('H*', $bytes) : unpack('H*', sprintf '\\u%04X', ord);
	} map { my $c = $_; $c } split //, $prompt;
}

my $unknown = bytes_literal('utf-8', '☃');
for my $case (@encodings)
{
	my ($encoding, $perl_encoding, $text) = @$case;
	my $name = lc $encoding;
	my ($native, $utf8) = (bytes_literal($perl_encoding, $text), bytes_literal('utf-8', $text));

	query($node, $db, "CREATE DATABASE $name ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	query($node, $name, 'CREATE EXTENSION embed');
	import_model($node, $name, 'm', tiny_model('bert-mean-36'));
	is(query($node, $db, "SELECT embed_tokens($utf8, 'm') && (embed_tokens($unknown, 'm'))[2:2]"), 'f', "$encoding: a text without unknown characters");
	is(everything($name, $native), everything($db, $utf8), '... its ids and vectors are those of UTF-8');
	import_model($node, $name, 'prompts', $dir);
	is(query($node, $name, q{SELECT encode(convert_to(prompts ->> 'query', getdatabaseencoding()), 'hex') FROM embed_models WHERE name = 'prompts'}),
		shown($encoding, $perl_encoding), '... embed_models shows the characters of a prompt that the encoding has');
	query($node, $name, "CREATE TABLE docs (body text, e float4[], g float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED);
		CREATE TRIGGER t BEFORE INSERT ON docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
		INSERT INTO docs VALUES ($native), (repeat($native || ' ', 100000))");
	is(query($node, $name, q{SELECT count(*) FROM docs WHERE e = embed(body, 'm') AND g = e}), 2, '... by trigger and generated column, long texts too');
}

# What the client speaks is the server's matter.
my $wanted = query($node, $db, 'SELECT md5(embed(' . bytes_literal('utf-8', 'é ñ') . q{, 'm')::text)});
is(query($node, 'latin1', "SET client_encoding = 'UTF8'; SELECT md5(embed('" . encode('utf-8', 'é ñ') . q{', 'm')::text)}), $wanted,
	'a client in UTF-8 of a server in LATIN1');
is(query($node, $db, "SET client_encoding = 'LATIN1'; SELECT md5(embed('" . encode('iso-8859-1', 'é ñ') . q{', 'm')::text)}), $wanted,
	'... and the other way round');

my ($state, $message) = error_of($node, 'sql_ascii', q{SELECT embed(E'caf\xe9', 'm')});
is($state, '22021', 'SQL_ASCII: bytes that are not UTF-8 are refused') or diag($message);
is(query($node, 'sql_ascii', q{SELECT cardinality(embed('after', 'm'))}), 36, '... and the next call works');

done_testing();
