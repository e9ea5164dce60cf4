# embed_chunks where the server's encoding is another one than UTF-8: positions
# are those of substring(), chunks are the value's own bytes; large texts in little time.
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('chunks');
my $texts = q{(VALUES
	(1, repeat('The café near the Größe; ñandú! ', 40)), (2, repeat('äöü', 100)), (3, 'ÿ'), (4, ''), (5, '   '))};
my $japanese = q{(VALUES (1, repeat('東京タワー、そして大阪。 words ', 40)), (2, repeat('カタカナ', 100)), (3, '京'))};

# The promises of every chunk, and what the chunks are: hashed in UTF-8, so that databases can be compared.
my $checks = q{
	SELECT count(*) > 20 AND bool_and(chunk = substr(body, start_char, end_char - start_char)
		AND chunk = substring(body FROM start_char FOR end_char - start_char)
		AND tokens <= m AND tokens = (embed_info(chunk, 'm')).tokens AND start_char > 0 AND end_char <= length(body) + 1)
	FROM T t (id, body), (VALUES (10, 0), (10, 3), (30, 10)) s (m, o), embed_chunks(body, m, o, 'm')};
my $hash = q{
	SELECT md5(string_agg(concat_ws(',', id, m, ordinality, tokens, POSITIONS encode(convert_to(chunk, 'UTF8'), 'hex')), ';' ORDER BY id, m, o, ordinality))
	FROM T t (id, body), (VALUES (10, 0), (10, 3), (30, 10)) s (m, o), embed_chunks(body, m, o, 'm')};

sub fill
{
	my ($sql, $table, $positions) = @_;

	$sql =~ s/\bT\b/$table/;
	$sql =~ s/POSITIONS/$positions/;
	return $sql;
}

# psql speaks UTF-8 to every database but SQL_ASCII, which takes bytes as they come.
sub check_database
{
	my ($encoding, $table, $want) = @_;
	my $db = lc $encoding;
	my $client = $encoding eq 'SQL_ASCII' ? '' : q{SET client_encoding = 'UTF8'; };
	my $positions = $encoding eq 'SQL_ASCII' ? '' : 'start_char, end_char,';
	my $bytes_hash = fill($hash, $table, $positions);

	query($node, 'postgres', "CREATE DATABASE $db ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	query($node, $db, 'CREATE EXTENSION IF NOT EXISTS embed');
	import_model($node, $db, 'm', tiny_model('bert-cls'));
	$bytes_hash =~ s/convert_to\(chunk, 'UTF8'\)/chunk::bytea/ if $encoding eq 'SQL_ASCII';
	is(query($node, $db, $client . fill($checks, $table, '')), 't', "$encoding: every chunk is where it says, and no longer than asked");
	is(query($node, $db, $client . $bytes_hash), $want->{$positions}, "$encoding: the chunks of UTF-8");
	return;
}

my %latin;
my %asian;
query($node, 'postgres', 'CREATE EXTENSION IF NOT EXISTS embed');
import_model($node, 'postgres', 'm', tiny_model('bert-cls'));
for my $positions ('', 'start_char, end_char,')
{
	$latin{$positions} = query($node, 'postgres', fill($hash, $texts, $positions));
	$asian{$positions} = query($node, 'postgres', fill($hash, $japanese, $positions));
}
is(query($node, 'postgres', fill($checks, $texts, '')), 't', 'UTF8');
check_database('LATIN1', $texts, \%latin);
check_database('WIN1252', $texts, \%latin);
check_database('SQL_ASCII', $texts, \%latin);
check_database('EUC_JP', $japanese, \%asian);
check_database('EUC_JIS_2004', $japanese, \%asian);

# A character that is two in Unicode: か with a mark that only EUC_JIS_2004 has as one.
my ($state, $message) = error_of($node, 'euc_jis_2004', q{SELECT count(*) FROM embed_chunks(convert_from('\xa4f7'::bytea, 'EUC_JIS_2004'), 10, 0, 'm')});
is($state, '0A000', 'a character that is several in Unicode is refused');
like($message, qr/EUC_JIS_2004/, '... with the encoding');

($state, $message) = error_of($node, 'sql_ascii', q{SELECT count(*) FROM embed_chunks('a ' || convert_from('\xff'::bytea, 'SQL_ASCII'), 10, 0, 'm')});
is($state, '22021', 'SQL_ASCII: what is no UTF-8 is refused');

# Large texts: time grows with their length, and memory with that of a row.
query($node, 'postgres', q{CREATE TABLE large AS SELECT repeat('several words, and some more. ', 1000000) t});
is(query($node, 'postgres', q{SELECT count(*) > 10000 AND max(tokens) <= 256 AND max(end_char) = 30000000 FROM large, embed_chunks(t, 256, 32, 'm')}), 't', '30 MB');
is(query($node, 'postgres', q{SELECT count(*) FROM embed_chunks(repeat('q', 30000000), 256, 32, 'm')}), 1, '30 MB of one word, one unknown token');
is(query($node, 'postgres', q{SELECT count(*) FROM embed_chunks(repeat(' ', 30000000), 256, 32, 'm')}), 0, '30 MB of spaces');
is(query($node, 'postgres', q{SELECT count(*) > 10000 FROM embed_chunks(repeat('a-', 10000000), 256, 32, 'm')}), 't', '20 MB without a space');

# Byte-level BPE, to which white space is tokens: the encoder of a tiny RoBERTa, without the head that makes it a reranker.
my $encoder = $node->basedir . '/encoder';
system('cp', '-r', tiny_model('roberta-rerank'), $encoder) == 0 or die 'cp';
system('chmod', '-R', 'u+w,a+rX', $encoder);
my $config = slurp("$encoder/config.json");
$config =~ s/RobertaForSequenceClassification/RobertaModel/;
spit("$encoder/config.json", $config);
import_model($node, 'postgres', 'bytes', $encoder);
my @spaces = (q{' '}, q{E'\n'}, q{E'\t'}, q{E'\r\n'}, q{U&'\00A0'}, q{U&'\3000'});
for my $space (@spaces)
{
	is(query($node, 'postgres', qq{SELECT count(*) FROM generate_series(0, 80) n, embed_chunks('The end.' || repeat($space, n), 64, 0, 'bytes') c WHERE c.chunk = 'The end.'}),
		81, "a sentence and up to 80 times $space");
	is(query($node, 'postgres', qq{SELECT count(*) = 2 AND min(c.chunk) = 'a' FROM embed_chunks('a' || repeat($space, 1000000) || 'b', 64, 10, 'bytes') c}), 't', "a million times $space in the middle");
}

# Without any right but EXECUTE
query($node, 'postgres', 'CREATE ROLE nobody_special');
is(query($node, 'postgres', q{SET ROLE nobody_special; SELECT count(*) FROM embed_chunks('a b', 3, 0, 'm')}), 2, 'for everyone');

done_testing();
