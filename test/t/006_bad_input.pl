# Bad input: a clear error with the right SQLSTATE, nothing half-installed, the
# server goes on.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use JSON::PP;
use POSIX qw(mkfifo);
use Test::More;

my $node = new_node('bad');
my $db = 'postgres';
my $good = tiny_model('bert-cls');
my $n = 0;

# A copy of the good model that $change may spoil; its path.
sub spoiled
{
	my ($change) = @_;
	my $dir = $node->basedir . '/spoiled' . $n++;

	system('cp', '-rL', $good, $dir) == 0 or die 'cp';
	system('chmod', '-R', 'u+w', $dir) == 0 or die 'chmod';
	$change->($dir);
	return $dir;
}

sub change_json
{
	my ($path, $change) = @_;
	my $value = decode_json(slurp($path));

	$change->($value);
	spit($path, encode_json($value));
	return;
}

sub change_weights
{
	my ($path, $change) = @_;
	my $data = slurp($path);
	my $length = unpack 'Q<', $data;
	my $header = decode_json(substr $data, 8, $length);
	my $weights = substr $data, 8 + $length;

	$change->($header, \$weights);
	my $new = encode_json($header);
	$new .= ' ' x (-length($new) % 8);
	spit($path, pack('Q<', length $new) . $new . $weights);
	return;
}

sub check_refused
{
	my ($what, $path, $want_state, $want_message, $options) = @_;
	my ($state, $message) = error_of($node, $db, 'SELECT embed_import(\'bad\',' . quote($path) . ',' . quote($options // '{}') . ');');

	like($state, qr/^(?:$want_state)$/, "$what: SQLSTATE $state") or diag($message);
	like($message, $want_message, "$what: the message says what");
	is(installed_rows($node, $db), 0, "$what: no row");
	is_deeply([ glob($node->data_dir . '/pgsql_tmp_embed/*/*') ], [], "$what: no file");
	return;
}

my $weight = 'encoder.layer.0.attention.self.query.weight';

# Paths.
check_refused('a path that is not there', '/nowhere/at/all', '58P01', qr{/nowhere/at/all});
check_refused('a relative path', 'models/bert', '22023', qr/absolute/);
check_refused('a file in place of a directory', "$good/config.json", '\w{5}', qr/config\.json/);
check_refused('an empty directory', spoiled(sub { system("rm -r $_[0]/*") }), '58P01', qr/config\.json/);
check_refused('no weights', spoiled(sub { unlink "$_[0]/model.safetensors" }), '58P01', qr/safetensors/);
check_refused('no tokenizer', spoiled(sub { unlink "$_[0]/tokenizer.json", "$_[0]/vocab.txt" }), '58P01', qr/tokenizer\.json|vocab\.txt/);
for my $file (qw(config.json model.safetensors tokenizer.json modules.json 1_Pooling/config.json))
{
	check_refused("a FIFO as $file", spoiled(sub { unlink "$_[0]/$file"; mkfifo("$_[0]/$file", 0600) or die }), '42809|58P01|22023', qr/\Q$file\E/);
	check_refused("a directory as $file", spoiled(sub { unlink "$_[0]/$file"; mkdir "$_[0]/$file" or die }), '42809|58P01|22023', qr/\Q$file\E/);
	check_refused("a device as $file", spoiled(sub { unlink "$_[0]/$file"; symlink '/dev/zero', "$_[0]/$file" or die }), '42809|58P01|22023', qr/\Q$file\E/);
	check_refused("an empty $file", spoiled(sub { spit("$_[0]/$file", '') }), '22P03', qr/\Q$file\E/);
	check_refused("a truncated $file", spoiled(sub { my $p = "$_[0]/$file"; spit($p, substr slurp($p), 0, (-s $p) / 2) }), '22P03', qr/\Q$file\E/);
	check_refused("noise as $file", spoiled(sub { srand 7; spit("$_[0]/$file", join '', map { chr int rand 256 } 1 .. 5000) }), '22P03', qr/\Q$file\E/);
	check_refused("200,000 brackets as $file", spoiled(sub { my $s = '[' x 200_000; $s = pack('Q<', length $s) . $s if $file =~ /safe/; spit("$_[0]/$file", $s) }),
		'22P03|54000', qr/\Q$file\E/);
}

# What people have in place of a model, and what they are told.
my $pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" . '5' x 64 . "\nsize 90868376\n";
for my $file (qw(config.json model.safetensors tokenizer.json))
{
	check_refused("a git-lfs pointer as $file", spoiled(sub { spit("$_[0]/$file", $pointer) }), '22P03', qr/\Q$file\E" is a pointer of git-lfs.*git lfs pull/s);
	check_refused("a web page as $file", spoiled(sub { spit("$_[0]/$file", "<!DOCTYPE html>\n<html>") }), '22P03', qr{\Q$file\E" is a web page.*/resolve/}s);
	check_refused("a link to nothing as $file", spoiled(sub { unlink "$_[0]/$file"; symlink '../blobs/1', "$_[0]/$file" or die }), '58P01', qr/\Q$file\E/);
}
check_refused('an adapter', spoiled(sub { unlink "$_[0]/config.json"; spit("$_[0]/adapter_config.json", '{}') }), '0A000', qr/adapter_config\.json.*merge_and_unload/s);
check_refused('a GGUF file beside weights', spoiled(sub { unlink "$_[0]/config.json"; spit("$_[0]/a.gguf", 'GGUF') }), '58P01', qr/a\.gguf.*path of the GGUF file/s);
check_refused('a cut GGUF file', spoiled(sub { unlink "$_[0]/model.safetensors"; spit("$_[0]/a.gguf", 'GGUF') }), '22P03', qr/a\.gguf" ends in the middle/);
check_refused('a GGUF file of another architecture', spoiled(sub { unlink "$_[0]/model.safetensors"; spit("$_[0]/a.gguf", 'GGUF' . pack('VQ<Q<Q</aVQ</a', 3, 0, 1, 'general.architecture', 8, 'mamba')) }), '0A000', qr/"mamba".*bert/s);
check_refused('ONNX only', spoiled(sub { unlink "$_[0]/model.safetensors"; spit("$_[0]/model.onnx", 'x') }), '0A000', qr/model\.onnx only/);
check_refused('the directory above', spoiled(sub { mkdir "$_[0]/m" or die; rename "$_[0]/$_", "$_[0]/m/$_" or die for qw(config.json tokenizer.json) }), '58P01', qr/config\.json.*"m" below it/s);
check_refused('an unfinished download', spoiled(sub { rename "$_[0]/model.safetensors", "$_[0]/model.safetensors.incomplete" or die }), '58P01', qr/model\.safetensors\.incomplete.*not finished/s);

# Weights.
check_refused('a header longer than the file', spoiled(sub { my $p = "$_[0]/model.safetensors"; spit($p, pack('Q<', 1 << 62) . substr slurp($p), 8) }), '22P03|54000', qr/model\.safetensors/);
check_refused('a header of 4 GB', spoiled(sub { my $p = "$_[0]/model.safetensors"; spit($p, pack('Q<', 1 << 32) . substr slurp($p), 8) }), '22P03|54000', qr/model\.safetensors/);
my %lies = (
	'offsets behind the end' => sub { $_[0]{$weight}{data_offsets} = [ 1 << 40, (1 << 40) + 64 * 64 * 4 ] },
	'negative offsets' => sub { $_[0]{$weight}{data_offsets} = [ -8, 64 * 64 * 4 - 8 ] },
	'offsets backwards' => sub { $_[0]{$weight}{data_offsets} = [ 64 * 64 * 4, 0 ] },
	'a shape that is not the bytes' => sub { $_[0]{$weight}{shape} = [ 64, 65 ] },
	'a shape that overflows' => sub { $_[0]{$weight}{shape} = [ 1 << 33, 1 << 33 ] },
	'a negative shape' => sub { $_[0]{$weight}{shape} = [ -64, -64 ] },
	'an unknown dtype' => sub { $_[0]{$weight}{dtype} = 'F12' },
	'an integer dtype' => sub { $_[0]{$weight}{dtype} = 'I32' },
	'a missing tensor' => sub { delete $_[0]{$weight} },
	'a transposed tensor' => sub { $_[0]{'encoder.layer.0.intermediate.dense.weight'}{shape} = [ reverse @{ $_[0]{'encoder.layer.0.intermediate.dense.weight'}{shape} } ] },
	'a NaN' => sub { substr(${ $_[1] }, $_[0]{$weight}{data_offsets}[0] + 4, 4) = pack 'V', 0x7fc00000 },
	'an infinity' => sub { substr(${ $_[1] }, $_[0]{$weight}{data_offsets}[0] + 4, 4) = pack 'V', 0x7f800000 },
);
for my $what (sort keys %lies)
{
	check_refused("weights: $what", spoiled(sub { change_weights("$_[0]/model.safetensors", $lies{$what}) }),
		'22P03|0A000|54000', qr/model\.safetensors|\Q$weight\E|intermediate\.dense\.weight/);
}

# Configuration.
my %configs = (
	'an unknown architecture' => [ sub { $_[0]{model_type} = 'mamba'; $_[0]{architectures} = ['MambaModel'] }, '0A000', qr/mamba/i ],
	'a decoder' => [ sub { $_[0]{model_type} = 'llama'; $_[0]{architectures} = ['LlamaModel'] }, '0A000', qr/llama/i ],
	'an unknown activation' => [ sub { $_[0]{hidden_act} = 'swishy' }, '0A000', qr/swishy/ ],
	'no hidden size' => [ sub { delete $_[0]{hidden_size} }, '22P03', qr/hidden_size/ ],
	'a hidden size of zero' => [ sub { $_[0]{hidden_size} = 0 }, '22P03|54000', qr/hidden_size/ ],
	'a negative hidden size' => [ sub { $_[0]{hidden_size} = -64 }, '22P03|54000', qr/hidden_size/ ],
	'a huge hidden size' => [ sub { $_[0]{hidden_size} = 1 << 31 }, '22P03|54000', qr/hidden_size/ ],
	'a hidden size in words' => [ sub { $_[0]{hidden_size} = 'big' }, '22P03', qr/hidden_size/ ],
	'heads that do not divide' => [ sub { $_[0]{num_attention_heads} = 7 }, '22P03', qr/num_attention_heads|heads/ ],
	'no head' => [ sub { $_[0]{num_attention_heads} = 0 }, '22P03|54000', qr/num_attention_heads/ ],
	'a million layers' => [ sub { $_[0]{num_hidden_layers} = 1_000_000 }, '22P03|54000', qr/num_hidden_layers|encoder\.layer/ ],
	'another vocabulary size' => [ sub { $_[0]{vocab_size} = 77 }, '22P03', qr/vocab|word_embeddings/ ],
	'relative positions' => [ sub { $_[0]{position_embedding_type} = 'relative_key' }, '0A000', qr/relative_key/ ],
);
for my $what (sort keys %configs)
{
	my ($change, $state, $message) = @{ $configs{$what} };
	check_refused("config: $what", spoiled(sub { change_json("$_[0]/config.json", $change) }), $state, $message);
}
check_refused('pooling of a kind not built', spoiled(sub { change_json("$_[0]/1_Pooling/config.json", sub {
	delete $_[0]{$_} for grep { /^pooling_mode_/ } keys %{ $_[0] }; $_[0]{pooling_mode} = 'median' }) }),
	'0A000', qr/median/);
check_refused('a tokenizer of a kind not built', spoiled(sub { change_json("$_[0]/tokenizer.json", sub { $_[0]{model}{type} = 'WordLevel' }) }), '0A000', qr/WordLevel/);
check_refused('a tokenizer of another kind than its vocabulary', spoiled(sub { change_json("$_[0]/tokenizer.json", sub { $_[0]{model}{type} = 'Unigram' }) }), '22P03', qr/model\.vocab/);
check_refused('an id outside the vocabulary', spoiled(sub { change_json("$_[0]/tokenizer.json", sub { $_[0]{model}{vocab}{'[UNK]'} = 2_000_000_000 }) }), '22P03|54000', qr/tokenizer\.json|vocab/);
check_refused('a negative id', spoiled(sub { change_json("$_[0]/tokenizer.json", sub { $_[0]{model}{vocab}{'[UNK]'} = -1 }) }), '22P03|54000', qr/tokenizer\.json|vocab|\[UNK\]/);

# Names and options.
for my $name ('', 'a b', 'a;b', "x'y", 'é', 'n' x 129)
{
	my ($state, $message) = error_of($node, $db, 'SELECT embed_import(' . quote($name) . ',' . quote($good) . ');');
	is($state, '42602', 'name "' . substr($name, 0, 10) . '": refused');
	like($message, qr/HINT/, '... with a hint');
}
check_refused('an unknown option', $good, '22023', qr/presicion/, '{"presicion": "fp32"}');
check_refused('an unknown precision', $good, '22023|0A000', qr/fp13/, '{"precision": "fp13"}');
check_refused('a number for a string', $good, '22023', qr/query_prompt/, '{"query_prompt": 5}');
check_refused('a string for a number', $good, '22023', qr/max_tokens/, '{"max_tokens": "many"}');
check_refused('no token', $good, '22023', qr/max_tokens/, '{"max_tokens": 0}');
check_refused('more tokens than positions', $good, '22023|54000|0A000', qr/max_tokens|positions/, '{"max_tokens": 100000}');
check_refused('half a token', $good, '22023', qr/max_tokens/, '{"max_tokens": 1.5}');
check_refused('a string for a boolean', $good, '22023', qr/default/, '{"default": "yes"}');
check_refused('options that are a list', $good, '22023', qr/object/, '[1]');
check_refused('a bad alias', $good, '42602', qr/alias/, '{"alias": "a b"}');

# Who may.
query($node, $db, 'CREATE ROLE nobody_special LOGIN; CREATE ROLE reader LOGIN; GRANT pg_read_server_files TO reader;'
	  . ' GRANT EXECUTE ON FUNCTION embed_import(text, text, jsonb) TO nobody_special, reader');
my $import = 'SELECT embed_import(\'m\',' . quote($good) . ');';
is((error_of($node, $db, "SET ROLE nobody_special; $import"))[0], '42501', 'a role without pg_read_server_files');
query($node, $db, 'REVOKE EXECUTE ON FUNCTION embed_import(text, text, jsonb) FROM reader');
is((error_of($node, $db, "SET ROLE reader; $import"))[0], '42501', 'a role without EXECUTE');
for my $call (q{embed_drop('m')}, q{embed_drop('m', true)}, q{embed_set_default('m')}, q{embed_set_alias('a', 'm')}, q{embed_load('m', '')})
{
	is((error_of($node, $db, "SET ROLE nobody_special; SELECT $call;"))[0], '42501', "$call is not for everyone");
}
is((error_of($node, $db, 'SET ROLE nobody_special; SELECT * FROM _embed.chunk;'))[0], '42501', 'tables are not for everyone');
is(installed_rows($node, $db), 0, 'nothing was installed');

# Nothing installed, then one model.
my ($state, $message) = error_of($node, $db, q{SELECT embed('text');});
is($state, '42704', 'no model installed');
like($message, qr/HINT.*embed_import/s, '... and the hint says how to get one');
query($node, $db, 'GRANT EXECUTE ON FUNCTION embed_import(text, text, jsonb) TO reader');
is((error_of($node, $db, "SET ROLE reader; $import"))[0], '', 'a role with both may import');
is(query($node, $db, q{SET ROLE nobody_special; SELECT cardinality(embed('text'))}), 64, 'everyone may embed');
is((error_of($node, $db, q{SELECT embed('text', 'nope');}))[0], '42704', 'an unknown name');
query($node, $db, q{SELECT embed_set_alias('alias', 'm')});
($state, $message) = error_of($node, $db, q{SELECT embed('text', 'alias');});
is($state, '22023', 'an alias as a model argument');
like($message, qr/"m"/, '... names the model behind it');
is((error_of($node, $db, q{SELECT embed(ARRAY[['a'], ['b']], 'm');}))[0], '2202E', 'a two-dimensional array');
is((error_of($node, $db, q{LOAD 'embed'; SET embed.model = '/etc/passwd; x';}))[0], '22023', 'a setting that is no name');

# Images of unknown origin.
my $image_file = (image_files($node))[0];
my $image = slurp($image_file);
query($node, $db, q{SELECT embed_drop('m', forget => true, force => true)});
sub load_error
{
	my ($bytes) = @_;
	my $path = $node->basedir . '/image';
	spit($path, $bytes);
	return error_of($node, $db, 'SELECT embed_load(\'loaded\', pg_read_binary_file(' . quote($path) . '));');
}
is((load_error(''))[0], '22P03', 'an empty image');
is((load_error(substr $image, 0, 1000))[0], '22P03', 'a truncated image');
is((load_error($image . 'x' x 64))[0], '22P03', 'a longer image');
is((load_error('x' x 100_000))[0], '22P03', 'noise as an image');
srand 11;
my %states;
for (1 .. 60)
{
	my $copy = $image;
	substr($copy, int rand(2000), 1) = chr int rand 256;
	my ($got) = load_error($copy);
	$states{$got}++;
	query($node, $db, q{SELECT embed('still alive', 'loaded') IS NULL, embed_drop('loaded', forget => true)}) if $got eq '';
}
ok(!(grep { !/^(|22P03|0A000|54000)$/ } keys %states), 'bytes changed near the front: ' . join(' ', map { "$_:$states{$_}" } sort keys %states));
is(installed_rows($node, $db), 0, 'no row is left');
is((load_error($image))[0], '', 'the image as it was is fine');
is(query($node, $db, q{SELECT cardinality(embed('text', 'loaded'))}), 64, '... and works');
is(slurp((image_files($node))[0]), $image, '... and is the same file');

done_testing();
