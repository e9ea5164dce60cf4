# GGUF files through SQL: the same fingerprint as the directory that a file was
# made from, split files, what is reported and what is refused.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('gguf');
my $db = 'postgres';
my $data = test_data();
my $gguf = "$data/gguf";

sub fingerprint
{
	my ($name, $path, $options) = @_;

	import_model($node, $db, $name, $path, $options // '{}');
	return query($node, $db, "SELECT fingerprint FROM embed_models WHERE name = '$name'");
}

# Notices of an import.
sub notices
{
	my ($name, $path, $options) = @_;
	my ($out, $err) = ('', '');

	$node->psql($db, "SELECT embed_import('$name', '$path', '$options')", stdout => \$out, stderr => \$err);
	return $err;
}

# The same image, in both precisions.
for my $precision (qw(fp32 int8))
{
	my $options = "{\"precision\": \"$precision\"}";

	is(fingerprint("file/$precision", "$gguf/bert-mean-36-F32.gguf", $options), fingerprint("dir/$precision", tiny_model('bert-mean-36'), $options),
		"BERT in $precision: the fingerprint of the directory");
	is(fingerprint("rfile/$precision", "$gguf/modernbert-rerank-F16.gguf", "{\"precision\": \"$precision\", \"max_tokens\": 700}"),
		fingerprint("rdir/$precision", tiny_model('modernbert-rerank'), $options), "a reranker of ModernBERT in $precision: the fingerprint of the directory");
}
is(query($node, $db, "SELECT embed('Some text', 'file/int8') = embed('Some text', 'dir/int8')"), 't', 'equal vectors');
is(query($node, $db, "SELECT rerank('a query', 'a document', 'rfile/fp32') = rerank('a query', 'a document', 'rdir/fp32')"), 't', 'equal scores');

# A split file of 8 bits, named by its second part; its distance to the directory.
import_model($node, $db, 'm3', "$gguf/bge-m3-Q8_0-00002-of-00003.gguf");
import_model($node, $db, 'm3dir', tiny_model('bge-m3'));
is(query($node, $db, "SELECT family || ' ' || kind || ' ' || dim FROM embed_models WHERE name = 'm3'"), 'xlm-roberta embedding 64', 'a split file');
cmp_ok(query($node, $db, "SELECT min(embed_cosine(embed(t, 'm3'), embed(t, 'm3dir'))) FROM unnest(ARRAY['a', 'Guten Tag', 'two words and more']) t"), '>', 0.99, 'near the directory');
is(query($node, $db, "SELECT bool_and(ok) FROM embed_verify('m3')"), 't', 'embed_verify');

# A decoder that reranks: its name, or its head, says so. Logits of the reference, "no" and "yes".
import_model($node, $db, 'rank/fp32', "$gguf/qwen3-rerank-gguf-rank-Q8_0.gguf", '{"precision": "fp32"}');
import_model($node, $db, 'rank/q4', "$gguf/qwen3-rerank-Q4_0.gguf", '{"precision": "fp32"}');
my @inputs = read_jsonl("$data/tiny/qwen3-rerank/inputs.jsonl");
for my $case ([ 'rank/fp32', 'qwen3-rerank-gguf-rank-Q8_0' ], [ 'rank/q4', 'qwen3-rerank-Q4_0' ])
{
	my ($model, $name) = @$case;
	my @want = read_npy("$gguf/$name.npy");
	my $worst = 0;

	for my $i (0 .. $#inputs)
	{
		my ($query, $doc, $instruct) = map { quote($_) } @{ $inputs[$i] }{qw(query doc instruct)};
		my $difference = abs(query($node, $db, "SELECT rerank_logit($query, $doc, '$model', $instruct)") - ($want[$i][1] - $want[$i][0]));

		$worst = $difference if $difference > $worst;
	}
	cmp_ok($worst, '<=', 5e-5, "$name: ${\ scalar @inputs} logits, largest difference $worst");
}
import_model($node, $db, 'rank/int8', "$gguf/qwen3-rerank-gguf-rank-Q8_0.gguf");
is(query($node, $db, "SELECT family || ' ' || kind FROM embed_models WHERE name = 'rank/int8'"), 'qwen3 reranker', 'in 8 bits');
is(query($node, $db, "SELECT bool_and(ok) FROM embed_verify('rank/int8')"), 't', 'embed_verify');
is(fingerprint('embed/q4', "$gguf/qwen3-rerank-Q4_0.gguf", '{"kind": "embedding", "precision": "fp32"}') =~ /^\w{64}$/, 1, 'the same file as an embedding model');
is(query($node, $db, "SELECT (embed_tokens('', 'embed/q4'))[1] = (embed_tokens('<|endoftext|>', 'embed/q4'))[1]"), 't', '... ends each text with <|endoftext|>');

# What a file does not say.
like(notices('n', "$gguf/nomic-F16.gguf", '{"precision": "fp32"}'), qr/NOTICE:.*whether texts are lowercased; by its vocabulary they are lowercased.*HINT:/s, 'a NOTICE of what is assumed');

# Refused: files that are no model we know, and people without the right to read files.
for my $case (
	[ 'a file that is not there', "$gguf/nowhere.gguf", '58P01', qr/nowhere\.gguf" does not exist/ ],
	[ 'a directory of several models', $gguf, '0A000', qr/several GGUF models.*path of one of the files/s ],
	[ 'another file', "$gguf/README.md", '42809', qr/neither a directory nor a GGUF file/ ],
	)
{
	my ($what, $path, $want_state, $want) = @$case;
	my ($state, $message) = error_of($node, $db, "SELECT embed_import('x', '$path')");

	is($state, $want_state, "$what: SQLSTATE") or diag($message);
	like($message, $want, "$what: the message says what");
}
query($node, $db, 'CREATE ROLE nobody LOGIN; GRANT EXECUTE ON FUNCTION embed_import(text, text, jsonb) TO nobody');
my ($state, $message) = error_of($node, $db, "SET ROLE nobody; SELECT embed_import('x', '$gguf/bert-mean-36-F32.gguf')");
is($state, '42501', 'a role that may not read files') or diag($message);
is(query($node, $db, "SELECT count(*) FROM embed_models WHERE name = 'x'"), 0, 'nothing is installed');

done_testing();
