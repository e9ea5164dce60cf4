# What Hugging Face gives, through SQL: token ids of the BERT tokenizers on
# every golden string, fp32 vectors within 2e-6, int8 vectors of real models by
# cosine.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use File::Path qw(make_path);
use JSON::PP;
use Test::More;

my $TOLERANCE = 2e-6;
# int8: cosines to the reference, over the texts of a real model
my ($COSINE_MEAN, $COSINE_MIN) = (0.999, 0.995);
my $node = new_node('goldens');
my $db = 'postgres';
my $shared = shared_dir();

# A model directory with this tokenizer.json and a tiny BERT of made-up weights.
sub make_model
{
	my ($dir, $tokenizer) = @_;
	my ($hidden, $heads, $ff, $positions) = (16, 2, 32, 4096);
	my $n_vocab = 1 + (sort { $b <=> $a } values %{ $tokenizer->{model}{vocab} })[0];
	my %shape = (
		'embeddings.word_embeddings.weight' => [ $n_vocab, $hidden ],
		'embeddings.position_embeddings.weight' => [ $positions, $hidden ],
		'embeddings.token_type_embeddings.weight' => [ 2, $hidden ],
		'embeddings.LayerNorm.weight' => [$hidden],
		'embeddings.LayerNorm.bias' => [$hidden]);
	my $layer = 'encoder.layer.0';
	my %linear = (
		'attention.self.query' => [ $hidden, $hidden ],
		'attention.self.key' => [ $hidden, $hidden ],
		'attention.self.value' => [ $hidden, $hidden ],
		'attention.output.dense' => [ $hidden, $hidden ],
		'intermediate.dense' => [ $ff, $hidden ],
		'output.dense' => [ $hidden, $ff ],
		'attention.output.LayerNorm' => [$hidden],
		'output.LayerNorm' => [$hidden]);
	for my $name (keys %linear)
	{
		$shape{"$layer.$name.weight"} = $linear{$name};
		$shape{"$layer.$name.bias"} = [ $linear{$name}[0] ];
	}

	# a few thousand different small values, again and again
	my $pattern = pack 'f<*', map { sin($_ * 12.9898) / 4 } 1 .. 4099;
	my (%header, $data);
	$data = '';
	for my $name (sort keys %shape)
	{
		my $n = 1;
		$n *= $_ for @{ $shape{$name} };
		my $bytes = substr($pattern x (1 + int(4 * $n / length $pattern)), 0, 4 * $n);
		$header{$name} = { dtype => 'F32', shape => $shape{$name}, data_offsets => [ length $data, length($data) + 4 * $n ] };
		$data .= $bytes;
	}
	make_path($dir);
	my $header = JSON::PP->new->canonical->encode(\%header);
	$header .= ' ' x (-length($header) % 8);
	spit("$dir/model.safetensors", pack('Q<', length $header) . $header . $data);
	spit("$dir/config.json", encode_json({
		model_type => 'bert', architectures => ['BertModel'], hidden_size => $hidden, num_attention_heads => $heads,
		num_hidden_layers => 1, intermediate_size => $ff, max_position_embeddings => $positions, type_vocab_size => 2,
		vocab_size => $n_vocab, hidden_act => 'gelu', layer_norm_eps => 1e-12 }));
	spit("$dir/tokenizer.json", encode_json($tokenizer));
	return $dir;
}

sub read_tokenizer
{
	my ($base, $variant) = @_;
	my $text = `xz -dc '$shared/tokenizers/$base/tokenizer.json.xz'`;
	die "xz: $?" if $?;
	my $tokenizer = decode_json($text);
	if (defined $variant)
	{
		my $change = decode_json(slurp("$shared/tokenizers/$base/variants/$variant.json"));
		$tokenizer->{$_} = $change->{$_} for grep { exists $change->{$_} } qw(normalizer pre_tokenizer post_processor);
	}
	return $tokenizer;
}

sub check_tokens
{
	my ($name, $base, $variant) = @_;
	my $dir = make_model($node->basedir . "/$name", read_tokenizer($base, $variant));
	my $goldens = "$shared/goldens/tokenizers";
	my $i = 0;
	(my $table = $name) =~ s/-/_/g;

	import_model($node, $db, $name, $dir, '{"precision": "fp32"}');
	load_table($node, $db, $table, 'i int, text text, ids int[]', map { [ $i++, $_->{text}, $_->{ids} ] } read_jsonl("$goldens/$name.jsonl.gz"));
	is(query($node, $db, "SELECT count(*) FROM $table WHERE embed_tokens(text, '$name') IS DISTINCT FROM ids"), 0, "$name: ids of all strings");
	is(query($node, $db, "SELECT string_agg(i::text, ' ' ORDER BY i) FROM $table WHERE embed_tokens(text, '$name') IS DISTINCT FROM ids"), '', "$name: none differs");
	is(query($node, $db, "SELECT count(*) FROM $table WHERE (embed_info(text, '$name')).tokens IS DISTINCT FROM cardinality(ids)"), 0, "$name: counts of all strings");
	return unless -f "$goldens/$name.trunc.jsonl.gz";

	load_table($node, $db, "${table}_trunc", 'text text, max_length int, ids int[]',
		map { [ $_->{text}, $_->{max_length}, $_->{ids} ] } read_jsonl("$goldens/$name.trunc.jsonl.gz"));
	for my $length (split /\n/, query($node, $db, "SELECT DISTINCT max_length FROM ${table}_trunc ORDER BY 1"))
	{
		import_model($node, $db, "$name/$length", $dir, "{\"precision\": \"fp32\", \"max_tokens\": $length}");
		is(query($node, $db, "SELECT count(*) FROM ${table}_trunc WHERE max_length = $length AND embed_tokens(text, '$name/$length') IS DISTINCT FROM ids"),
			0, "$name: cut at $length tokens");
	}
	return;
}

# Every row of embeddings.npy against embed(text), one by one and in one array.
sub check_vectors
{
	my ($name, $dir, $goldens, $jsonl) = @_;
	my @rows = read_jsonl("$goldens/$jsonl");
	my @want = read_npy("$goldens/embeddings.npy");
	my $i = 0;
	(my $table = "v_$name") =~ s/[^a-z0-9]/_/gi;
	$table = lc $table;

	is(scalar @want, scalar @rows, "$name: a vector for each text");
	# e5 and bge texts carry their prefixes; the reference's vectors are of length 1, also those of this model
	my $normalize = $name eq 'bert-layer-norm' ? ', "normalize": true' : '';
	import_model($node, $db, $name, $dir, "{\"precision\": \"fp32\", \"query_prompt\": \"\", \"document_prompt\": \"\"$normalize}");
	load_table($node, $db, $table, 'i int, text text, ids int[]', map { [ $i++, $_->{text}, $_->{ids} // [] ] } @rows);
	is(query($node, $db, "SELECT count(*) FROM $table WHERE ids <> '{}' AND embed_tokens(text, '$name') <> ids"), 0, "$name: token ids");
	my @got = map { [ split /,/ ] } split /\n/,
	  query($node, $db, "SELECT trim(both '{}' from r.embedding::text) FROM (SELECT array_agg(text ORDER BY i) a FROM $table) s, embed_rows(a, '$name') r ORDER BY r.ordinality");
	my $worst = 0;
	for my $k (0 .. $#want)
	{
		my $d = max_difference($want[$k], $got[$k] // []);
		$worst = $d if $d !~ /^[\d.e-]+$/ || $d > $worst;
		last if $worst !~ /^[\d.e-]+$/;
	}
	cmp_ok($worst, '<=', $TOLERANCE, sprintf('%s: %d vectors, largest difference %s', $name, scalar @want, $worst));
	is(query($node, $db, "SELECT count(*) FROM (SELECT array_agg(text ORDER BY i) a FROM $table) s, embed_rows(a, '$name') r JOIN $table t ON t.i = r.ordinality - 1"
			. " WHERE r.embedding IS DISTINCT FROM embed(t.text, '$name')"), 0, "$name: alone as in the array");
	return;
}

# The same texts in int8, which is the default; the table is check_vectors'.
sub check_int8
{
	my ($name, $dir, $goldens) = @_;
	my @want = read_npy("$goldens/embeddings.npy");
	my $i = 0;
	my ($table, $want_table) = map { lc s/[^a-z0-9]/_/gir } ("v_$name", "w_$name");

	import_model($node, $db, "int8/$name", $dir, '{"query_prompt": "", "document_prompt": ""}');
	load_table($node, $db, $want_table, 'i int, v float4[]', map { [ $i++, $_ ] } @want);
	my ($mean, $min, $n) = split /\|/, query($node, $db, "SELECT avg(c), min(c), count(*) FROM (SELECT embed_cosine(embed(text, 'int8/$name'), v) c FROM $table JOIN $want_table USING (i)) s");
	is($n, scalar @want, "int8/$name: $n texts");
	cmp_ok($mean, '>=', $COSINE_MEAN, "int8/$name: mean cosine to the reference $mean");
	cmp_ok($min, '>=', $COSINE_MIN, "int8/$name: min cosine to the reference $min");
	return;
}

# What the checkout itself holds.
for my $name (tiny_names())
{
	check_vectors($name, tiny_model($name), test_data() . "/tiny/$name", 'inputs.jsonl');
}

if (defined $shared)
{
	check_tokens('bert-uncased', 'bert-uncased');
	check_tokens('bert-chinese', 'bert-chinese');
	check_tokens('bert-chinese-lower', 'bert-chinese', 'bert-chinese-lower');
	for my $name (qw(bert-act-gelu_new bert-act-relu bert-cls bert-head64 bert-mean-36 bert-mean-48))
	{
		check_vectors("shared/$name", "$shared/goldens/tiny/$name/model", "$shared/goldens/tiny/$name", 'inputs.jsonl');
	}
}
else
{
	skip_loudly('no reference data (EMBED_SHARED): token ids of the BERT vocabularies, more vectors');
}

for my $name (qw(all-MiniLM-L6-v2 bge-small-en-v1.5 bge-small-zh-v1.5 e5-small-v2 paraphrase-MiniLM-L3-v2))
{
	my $dir = models_dir() ? models_dir() . "/$name" : undef;

	$dir = real_model() if !(defined $dir && -d $dir) && $name eq 'all-MiniLM-L6-v2';
	if (defined $shared && defined $dir && -d $dir)
	{
		check_vectors($name, $dir, "$shared/goldens/vectors/$name", 'texts.jsonl');
		check_int8($name, $dir, "$shared/goldens/vectors/$name");
	}
	else
	{
		skip_loudly("no $name (EMBED_MODELS) or no reference data: its vectors are not compared");
	}
}

done_testing();
