# Every family through SQL: vectors and scores of tiny models as transformers
# gives them, in fp32 and int8; what embed_models and embed_verify say of them;
# the same bits on every level, alone and in arrays, with any number of threads,
# at lengths around powers of two; and what is no such family refused by name.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use File::Copy;
use JSON::PP;
use Test::More;

my $db = 'postgres';
my $node = new_node('families');
my $shared = shared_dir();

# Largest difference of an fp32 vector's element and of a score.
my ($VECTOR, $SCORE) = (2e-6, 2e-5);

# int8, mean and least cosine of an encoder, or largest difference of a score: the bounds of test_golden.c and test_rerank.c.
my %int8 = (
	'gte' => [ 0.999, 0.9975 ], 'nomic-bert' => [ 0.999, 0.9975 ], 'modernbert-mean' => [ 0.999, 0.9975 ],
	'modernbert-cls' => [ 0.997, 0.992 ], 'bert-rerank' => 0.01);
my @int8_encoder = (0.9995, 0.999);
my $int8_reranker = 0.05;

# Several poolings make a vector of several times the hidden size.
my %n_poolings = ('bert-poolings' => 6);

sub table_name
{
	my ($name) = @_;
	return lc $name =~ s/[^a-z0-9]/_/gir;
}

# "ok" or what embed_verify finds wrong.
sub verdict
{
	my ($name) = @_;
	return query($node, $db, "SELECT coalesce(string_agg(\"check\" || ': ' || detail, '; ') FILTER (WHERE NOT ok), 'ok') FROM embed_verify('$name')");
}

# The row of embed_models against the model's own config.json.
sub check_row
{
	my ($name, $dir, $kind, $precision) = @_;
	my $config = decode_json(slurp("$dir/config.json"));
	my $hidden = $config->{hidden_size} // $config->{dim} // $config->{n_embd};
	my ($got_kind, $family, $dim, $max_tokens, $got_precision) = split /\|/,
	  query($node, $db, "SELECT kind, family, coalesce(dim, 0), max_tokens, \"precision\" FROM embed_models WHERE name = '$name'");

	is($got_kind, $kind, "$name: kind");
	my $alibi = ($config->{position_embedding_type} // '') eq 'alibi';

	is($family, $alibi ? 'jina-bert' : $config->{model_type} eq 'new' ? 'gte' : $config->{model_type}, "$name: family");
	is($dim, $kind eq 'embedding' ? $hidden * ($n_poolings{$name =~ s{.*/}{}r} // 1) : 0, "$name: dim");
	cmp_ok($max_tokens, '<=', $config->{max_position_embeddings} // $config->{n_positions}, "$name: max_tokens $max_tokens");
	is($got_precision, $precision, "$name: precision");
	return;
}

# (mean, least) cosine and the largest difference to the rows of embeddings.npy; alone as in the array.
sub check_vectors
{
	my ($model, $table, @want) = @_;
	my @got = map { [ split /,/ ] } split /\n/,
	  query($node, $db, "SELECT trim(both '{}' from r.embedding::text) FROM (SELECT array_agg(text ORDER BY i) a FROM $table) s, embed_rows(a, '$model') r ORDER BY r.ordinality");
	my ($worst, $sum, $least) = (0, 0, 1);

	for my $k (0 .. $#want)
	{
		my $d = max_difference($want[$k], $got[$k] // []);
		my $cosine = 0;

		return (0, 0, $d) if $d !~ /^[\d.e-]+$/;
		$worst = $d if $d > $worst;
		$cosine += $want[$k][$_] * $got[$k][$_] for 0 .. $#{ $want[$k] };
		$sum += $cosine;
		$least = $cosine if $cosine < $least;
	}
	is(query($node, $db, "SELECT count(*) FROM (SELECT array_agg(text ORDER BY i) a FROM $table) s, embed_rows(a, '$model') r JOIN $table t ON t.i = r.ordinality - 1"
			. " WHERE r.embedding IS DISTINCT FROM embed(t.text, '$model')"), 0, "$model: alone as in the array");
	return ($sum / @want, $least, $worst);
}

# The reference ids of these are those of tokenizer.json alone.
sub model_dir
{
	my ($root, $name) = @_;
	return $name =~ /^(bge-m3|gte|xlmr-rerank)$/ ? plain_tokenizer($node, "$root/$name/model") : "$root/$name/model";
}

sub check_encoder
{
	my ($name, $root) = @_;
	my $dir = model_dir($root, $name);
	my @rows = read_jsonl("$root/$name/inputs.jsonl");
	my @want = read_npy("$root/$name/embeddings.npy");
	my $table = 't_' . table_name($name);
	my ($min_mean, $min_least) = @{ $int8{$name} // \@int8_encoder };
	my $i = 0;

	load_table($node, $db, $table, 'i int, text text, ids int[]', map { [ $i++, $_->{text}, $_->{ids} // [] ] } @rows);
	for my $precision (qw(fp32 int8))
	{
		my $model = "$precision/$name";

		import_model($node, $db, $model, $dir, "{\"precision\": \"$precision\", \"query_prompt\": \"\", \"document_prompt\": \"\", \"normalize\": true}");
		check_row($model, $dir, 'embedding', $precision);
		is(query($node, $db, "SELECT count(*) FROM $table WHERE ids <> '{}' AND embed_tokens(text, '$model') IS DISTINCT FROM ids"), 0, "$model: token ids");
		my ($mean, $least, $worst) = check_vectors($model, $table, @want);
		if ($precision eq 'fp32')
		{
			cmp_ok($worst, '<=', $VECTOR, sprintf('%s: %d vectors, largest difference %s', $model, scalar @want, $worst));
		}
		else
		{
			cmp_ok($mean, '>=', $min_mean, "$model: mean cosine $mean");
			cmp_ok($least, '>=', $min_least, "$model: least cosine $least");
		}
		is(verdict($model), 'ok', "$model: embed_verify");
	}
	return;
}

# embed_query with the prompt of the files, as encode_query gives it.
sub check_queries
{
	my ($name, $root) = @_;
	my @want = read_npy("$root/$name/queries.npy");
	my $queries = decode_json(slurp("$root/$name/queries.json"));

	import_model($node, $db, "own/$name", "$root/$name/model", '{"precision": "fp32"}');
	for my $k (0 .. $#want)
	{
		my $got = [ split /,/, query($node, $db, 'SELECT trim(both \'{}\' from embed_query(' . quote($queries->[$k]) . ", 'own/$name')::text)") ];
		my $d = max_difference($want[$k], $got);

		cmp_ok($d, '<=', $VECTOR, "$name: query $k, largest difference $d");
	}
	return;
}

sub check_reranker
{
	my ($name, $root) = @_;
	my $dir = model_dir($root, $name);
	my @rows = read_jsonl("$root/$name/inputs.jsonl");
	my $table = 't_' . table_name($name);
	my $i = 0;

	my $instruct = exists $rows[0]{instruct} ? ', instruct' : '';	# of a decoder

	load_table($node, $db, $table, 'i int, query text, doc text, score float8, instruct text',
		map { [ $i++, $_->{query}, $_->{doc}, $_->{score}, $_->{instruct} // '' ] } @rows);
	for my $precision (qw(fp32 int8))
	{
		my $model = "$precision/$name";

		import_model($node, $db, $model, $dir, "{\"precision\": \"$precision\"}");
		check_row($model, $dir, 'reranker', $precision);
		my $worst = query($node, $db, "SELECT max(abs(rerank(query, doc, '$model'$instruct) - score)) FROM $table");
		cmp_ok($worst, '<=', $precision eq 'fp32' ? $SCORE : $int8{$name} // $int8_reranker, "$model: @{[scalar @rows]} scores, largest difference $worst");
		is(query($node, $db, "SELECT count(*) FROM (SELECT DISTINCT query FROM $table) q, LATERAL (SELECT array_agg(doc ORDER BY i) d, array_agg(rerank(q.query, doc, '$model') ORDER BY i) s FROM $table) a"
				. " WHERE rerank(q.query, a.d, '$model') IS DISTINCT FROM a.s"), 0, "$model: alone as in the array");
		is(verdict($model), 'ok', "$model: embed_verify");
	}
	my ($state, $message) = error_of($node, $db, "SELECT embed('a', 'int8/$name')");
	is($state, '22023', "$name gives no vectors") or diag($message);
	return;
}

# A decoder whose weights were quantized before: logits in fp32.
sub check_logits
{
	my ($name, $root) = @_;
	my $table = 't_' . table_name($name);
	my $i = 0;

	load_table($node, $db, $table, 'i int, query text, doc text, instruct text, logit float8',
		map { [ $i++, $_->{query}, $_->{doc}, $_->{instruct}, $_->{logit_yes} - $_->{logit_no} ] } read_jsonl("$root/$name/inputs.jsonl"));
	import_model($node, $db, $name, "$root/$name/model", '{"precision": "fp32"}');
	my $worst = query($node, $db, "SELECT max(abs(rerank_logit(query, doc, '$name', instruct) - logit)) FROM $table");
	cmp_ok($worst, '<=', 4e-4, "$name: $i logits, largest difference $worst");
	is(verdict($name), 'ok', "$name: embed_verify");
	return;
}

# Levels of instructions that this machine has.
my @levels = grep { (error_of($node, $db, "LOAD 'embed'; SET embed.isa = '$_'; SELECT embed_isa();"))[0] eq '' }
  qw(scalar avx2 avxvnni avx512vnni amx neon);

# Texts of so many tokens, of letters that are a token each, into a table.
sub make_lengths
{
	my ($model, $table, @lengths) = @_;

	query($node, $db, <<"SQL");
CREATE TABLE $table AS
WITH letters AS (SELECT array_agg(l ORDER BY l) a FROM (SELECT chr(c) l FROM generate_series(97, 122) c) s
	WHERE (embed_info(l || ' ' || l || ' ' || l, '$model')).tokens = 3 + (embed_info('', '$model')).tokens)
SELECT n AS i, coalesce((SELECT string_agg(a[1 + (7 * k * k + 13 * k) % cardinality(a)], ' ' ORDER BY k)
	FROM letters, generate_series(1, n - (embed_info('', '$model')).tokens) k), '') AS text
FROM unnest(ARRAY[@{[join ',', @lengths]}]) n
SQL
	is(query($node, $db, "SELECT count(*) FROM $table WHERE (embed_info(text, '$model')).tokens <> i"), 0, "$model: texts of these lengths");
	return;
}

my $alone = "SELECT md5(string_agg(embed(text, '%s')::text, ' ' ORDER BY i)) FROM %s";
my $array = "SELECT md5(string_agg(embedding::text, ' ' ORDER BY ordinality)) FROM (SELECT array_agg(text ORDER BY i) a FROM %s) s, embed_rows(a, '%s')";
my $backwards = "SELECT md5(string_agg(embedding::text, ' ' ORDER BY ordinality DESC)) FROM (SELECT array_agg(text ORDER BY i DESC) a FROM %s) s, embed_rows(a, '%s')";

# Plain C takes a second for 2,048 tokens: it has the shorter texts.
sub check_lengths
{
	my ($name, @lengths) = @_;
	my $table = 'l_' . table_name($name);
	my $short = "(SELECT * FROM $table WHERE i <= 514) s";

	make_lengths("int8/$name", $table, @lengths);
	for my $model ("int8/$name", "fp32/$name")
	{
		my $want = query($node, $db, sprintf($alone, $model, $table));
		my $want_short = query($node, $db, sprintf($alone, $model, $short));

		is(query($node, $db, "SELECT count(DISTINCT embed(text, '$model')) FROM $table"), scalar @lengths, "$model: each length has its own vector");
		for my $level (@levels)
		{
			my $set = "LOAD 'embed'; SET embed.isa = '$level'; SET embed.cache_entries = 0";

			is(query($node, $db, "$set; " . sprintf($alone, $model, $short)), $want_short, "$model, $level: to 514 tokens");
			next if $level eq 'scalar';
			is(query($node, $db, "$set; SET embed.threads = 1; " . sprintf($alone, $model, $table)), $want, "$model, $level: one thread");
			is(query($node, $db, "$set; SET embed.threads = 2; " . sprintf($array, $table, $model)), $want, "$model, $level: an array, two threads");
			is(query($node, $db, "$set; SET embed.batch_tokens = 3000; " . sprintf($backwards, $table, $model)), $want, "$model, $level: backwards");
		}
	}
	return;
}

for my $name (map { m{([^/]+)/inputs\.jsonl$} } sort glob(test_data() . '/tiny/*-rerank*/inputs.jsonl'))
{
	check_reranker($name, test_data() . '/tiny');
}

# Encoders of families that have no other reference data; queries with the model's own prompt.
my @families = qw(electra embedding-gemma ernie eurobert harrier jina jina-code nomic-experts);

for my $name (@families)
{
	check_encoder($name, test_data() . '/tiny');
	check_queries($name, test_data() . '/tiny') if -e test_data() . "/tiny/$name/queries.npy";
}
check_lengths($_, 2, 3, 17, 33, 34, 64, 65, 129, 130, 512) for @families;

# Modules after the pooling, and several poolings.
check_encoder($_, test_data() . '/tiny') for qw(bert-layer-norm bert-poolings);

# Weights that were quantized before: of every method one.
check_encoder("quantized-$_", test_data() . '/tiny') for qw(gptq-order awq ct-pack nf4);

# A pooling that leaves the prompt out, as sentence-transformers 6 does it: alone, in arrays, in groups, as queries.
{
	my $unpooled = decode_json(slurp(test_data() . '/unpooled.json'));
	my ($entry) = grep { $_->{model} eq 'bert-mean-48' && $_->{pooling} eq 'mean' } @{ $unpooled->{models} };
	my $dir = $node->basedir . '/unpooled';
	my @texts = @{ $unpooled->{texts} };

	system('cp', '-rL', tiny_model('bert-mean-48'), $dir) == 0 or die "cp $dir";
	unlink "$dir/1_Pooling/config.json";
	spit("$dir/1_Pooling/config.json", '{"word_embedding_dimension": 48, "pooling_mode": "mean", "include_prompt": false}');
	spit("$dir/config_sentence_transformers.json", encode_json({ prompts => $unpooled->{prompts} }));
	import_model($node, $db, 'unpooled', $dir, '{"precision": "fp32"}');
	load_table($node, $db, 'unpooled', 'i int, t text', map { [ $_, $texts[$_] ] } 0 .. $#texts);
	for my $k (0 .. $#texts)
	{
		my ($query, $document) = map { [ split /,/ ] } split /\|/,
		  query($node, $db, "SELECT trim(both '{}' from embed_query(t, 'unpooled')::text), trim(both '{}' from embed(t, 'unpooled')::text) FROM unpooled WHERE i = $k");

		cmp_ok(max_difference($query, $entry->{vectors}[$k][0]), '<=', $VECTOR, "include_prompt false: query $k");
		cmp_ok(max_difference($document, $entry->{vectors}[$k][1]), '<=', $VECTOR, "include_prompt false: document $k");
	}
	is(query($node, $db, "SELECT bool_and(r.embedding = embed(u.t, 'unpooled')) FROM (SELECT array_agg(t ORDER BY i) a FROM unpooled) s, embed_rows(a, 'unpooled') r JOIN unpooled u ON u.i = r.ordinality - 1"),
		't', 'include_prompt false: alone as in arrays');
	is(query($node, $db, "SELECT embed_agg(t, 'unpooled' ORDER BY i) = embed_many(array_agg(t ORDER BY i), 'unpooled') FROM unpooled"), 't', 'include_prompt false: in groups as in arrays');
	is(query($node, $db, "SELECT count(*) FROM unpooled WHERE embed_query(t, 'unpooled') = embed('passage' || t, 'unpooled')"), 0, 'include_prompt false: another pooling than of the whole');
	is(verdict('unpooled'), 'ok', 'include_prompt false: embed_verify');
}

# What is refused: another family, another format of weights.
for my $refused ([ 'model_type', 't5', qr/"model_type" is "t5"; these can be imported: bert, / ],
	[ 'checkpoint_format', 'gptq_p', qr/"checkpoint_format" is "gptq_p"; only "gptq" and "gptq_v2" can be imported/ ])
{
	my ($key, $value, $want) = @$refused;
	my $dir = $node->basedir . "/$value";
	my $from = test_data() . '/tiny/quantized-gptq/model';
	my $config = decode_json(slurp("$from/config.json"));

	mkdir $dir or die "$dir: $!";
	copy("$from/$_", "$dir/$_") or die "$_: $!" for qw(model.safetensors vocab.txt);
	my $where = $key eq 'model_type' ? $config : $config->{quantization_config};

	$where->{$key} = $value;
	spit("$dir/config.json", encode_json($config));
	my ($state, $message) = error_of($node, $db, "SELECT embed_import('refused', " . quote($dir) . ')');
	is($state, '0A000', "$value is refused");
	like($message, qr/config\.json: $want/, "$value: the message says what it is");
}

if (defined $shared)
{
	my $tiny = "$shared/goldens/tiny";
	my @lengths = (2, 3, 16, 17, 129, 130, 145, 511 .. 514, 1023 .. 1026, 2047, 2048);

	check_encoder($_, $tiny) for qw(gptq-bert distilbert mpnet nomic-bert gte modernbert-cls modernbert-mean bge-m3);
	check_reranker('xlmr-rerank', $tiny);
	check_lengths($_, @lengths) for qw(nomic-bert gte modernbert-cls modernbert-mean);
	check_lengths('mpnet', 2, 3, 16, 17, 129, 130, 257, 511, 512);
	check_logits($_, $tiny) for qw(qwen3-rerank-awq qwen3-rerank-gptq-desc-act qwen3-rerank-ct-w8a8);
}
else
{
	skip_loudly('no reference data (EMBED_SHARED): encoders of the families, their lengths, quantized decoders');
}

done_testing();
