# BGE-M3's results through SQL: texts of 2 to 8,192 tokens against a computation
# in float64 (test/data/long) and transformers', longer ones cut or refused; the
# same bits on every level, with any number of threads, in parallel workers; in
# dumps; for users with nothing but EXECUTE; ended by a timeout; no growth of memory.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use JSON::PP;
use Test::More;

my ($TOLERANCE, $WEIGHT_TOLERANCE) = (2e-6, 5e-6);
my $LIMIT_S = 1.1;
my ($POSITIONS, $HIDDEN) = (8194, 64);
my $db = 'postgres';
my $node = new_node('outputs', conf => "max_worker_processes = 16\nmax_parallel_workers = 8\n");
my $goldens = decode_json(slurp(test_data() . '/long/texts.json'));

# The tiny model with its 132 positions made 8,194, as test/tools/make_long_texts.py says.
sub make_long_model
{
	my ($dir) = @_;
	my $from = tiny_model('bge-m3');
	my $name = 'embeddings.position_embeddings.weight';

	mkdir $dir or die "$dir: $!";
	symlink "$from/$_", "$dir/$_" for qw(tokenizer.json tokenizer_config.json modules.json 1_Pooling colbert_linear.pt sparse_linear.pt);
	my $config = decode_json(slurp("$from/config.json"));
	$config->{max_position_embeddings} = $POSITIONS;
	spit("$dir/config.json", encode_json($config));
	spit("$dir/sentence_bert_config.json", '{"max_seq_length": 8192, "do_lower_case": false}');

	my $file = slurp("$from/model.safetensors");
	my $header_bytes = unpack 'Q<', $file;
	my $header = decode_json(substr $file, 8, $header_bytes);
	my $data = substr $file, 8 + $header_bytes;
	my ($begin) = @{ $header->{$name}{data_offsets} };
	my @table = map { [ unpack 'f<*', substr($data, $begin + 4 * $HIDDEN * $_, 4 * $HIDDEN) ] } 0 .. 131;
	my $rows = '';

	for my $p (0 .. $POSITIONS - 1)
	{
		my $from_row = $p < 2 ? $p : 2 + ($p - 2) % 130;
		my $factor = $p < 2 ? 1 : 1 + int(($p - 2) / 130) / 64;
		$rows .= pack 'f<*', map { $_ * $factor } @{ $table[$from_row] };
	}
	$header->{unused} = $header->{$name};
	$header->{$name} = { dtype => 'F32', shape => [ $POSITIONS, $HIDDEN ], data_offsets => [ length $data, length($data) + length $rows ] };
	my $text = encode_json($header);
	spit("$dir/model.safetensors", pack('Q<', length $text) . $text . $data . $rows);
	return $dir;
}

sub text_of
{
	my ($n_tokens) = @_;
	my @words = @{ $goldens->{words} };

	return join ' ', map { $words[ (7 * $_ * $_ + 13 * $_) % @words ] } 0 .. $n_tokens - 3;
}

my $long = make_long_model($node->basedir . '/bge-m3-long');
import_model($node, $db, 'm3', $long, '{"precision": "fp32"}');
import_model($node, $db, 'm3-int8', $long);
is(query($node, $db, q{SELECT outputs || max_tokens::text FROM embed_models WHERE name = 'm3'}), '{dense,sparse,multi,8192}', 'outputs of the model');

# A head may be missing: then the other is there, and NULL for what is not given.
my $words_only = $node->basedir . '/words-only';
mkdir $words_only or die "$words_only: $!";
symlink $_, "$words_only/" . ($_ =~ s/.*\///r) for grep { !/colbert/ } glob(tiny_model('bge-m3') . '/*');
import_model($node, $db, 'words', $words_only);
is(query($node, $db, q{SELECT outputs FROM embed_models WHERE name = 'words'}), '{dense,sparse}', 'a model with one head');
is(query($node, $db, q{SELECT dense = embed('some text', 'words'), sparse = embed_sparse('some text', 'words'), multi IS NULL FROM embed_all('some text', 'words')}), 't|t|t', '... gives what it has');
is((error_of($node, $db, q{SELECT embed_multi('some text', 'words')}))[0], '22023', '... and refuses the rest');
my ($state, $message) = error_of($node, $db, 'SELECT embed_import(' . quote('broken') . ',' . quote(make_broken($node->basedir . '/broken')) . ')');
is($state, '22P03', 'a head that is no file of torch.save');
like($message, qr/sparse_linear\.pt.*Without sparse_linear\.pt/s, '... is named, with what to do');

sub make_broken
{
	my ($dir) = @_;

	mkdir $dir or die "$dir: $!";
	symlink $_, "$dir/" . ($_ =~ s/.*\///r) for grep { !/sparse/ } glob(tiny_model('bge-m3') . '/*');
	spit("$dir/sparse_linear.pt", 'no zip');
	return $dir;
}

# ---------------------------------------------------------- every length

my @lengths = @{ $goldens->{lengths} };
my @dense = read_npy(test_data() . '/long/dense.npy');
my @sparse = read_npy(test_data() . '/long/sparse.npy');
my @multi = read_npy(test_data() . '/long/multi.npy');

load_table($node, $db, 'long', 'n int PRIMARY KEY, t text', map { [ $_, text_of($_) ] } @lengths, 8193, 8194, 9000);

sub numbers
{
	my ($array) = @_;
	return [ split /,/, $array =~ s/[{}]//gr ];
}

for my $i (0 .. $#lengths)
{
	my $n = $lengths[$i];
	my @tokens = map { $_ < $n ? $_ : $n - 1 } 1, 2, int($n / 2), int($n / 2) + 1, $n - 2, $n - 1;
	my $rows = join ', ', map { 'multi[' . ($_ || 1) . ':' . ($_ || 1) . ']' } @tokens;
	my ($size, $vector, $weights, @rows) = split /\|/, query($node, $db, <<~"SQL");
		SELECT array_dims(a.multi), dense, sparse, $rows
		FROM (SELECT (embed_all(t, 'm3')).* FROM long WHERE n = $n OFFSET 0) a
		SQL
	my %weights = $weights =~ /(\d+):([\d.e+-]+)/g;
	my @weights = map { $weights{$_} // 0 } 1 .. 996;
	my ($of_vectors, $of_weights) = (max_difference(numbers($vector), $dense[$i]), max_difference(\@weights, $sparse[$i]));
	my ($of_tokens) = sort { $b <=> $a } map { max_difference(numbers($rows[$_]), $multi[ 6 * $i + $_ ]) } grep { $tokens[$_] > 0 } 0 .. 5;

	is($size, '[1:' . ($n - 1) . ']' . "[1:$HIDDEN]", "$n tokens: shape of the token vectors");
	cmp_ok($of_vectors, '<=', $TOLERANCE, "$n tokens: the vector");
	cmp_ok($of_tokens, '<=', $TOLERANCE, "$n tokens: token vectors");
	cmp_ok($of_weights, '<=', $WEIGHT_TOLERANCE, "$n tokens: weights");
}
is(query($node, $db, q{SELECT bool_and((embed_all(t, 'm3')).dense = embed(t, 'm3') AND (embed_all(t, 'm3')).sparse = embed_sparse(t, 'm3')
	AND (embed_all(t, 'm3')).multi = embed_multi(t, 'm3')) FROM long WHERE n < 2000 OR n = 8192}), 't', 'one pass gives what three calls give');

# Longer ones: cut behind 8,192 tokens, or refused.
is(query($node, $db, q{SELECT string_agg(n || ' ' || (embed_info(t, 'm3')).tokens, ', ' ORDER BY n) FROM long WHERE n > 8191}),
	'8192 8192, 8193 8193, 8194 8194, 9000 9000', 'tokens before the cut');
is(query($node, $db, q{SELECT count(DISTINCT embed_all(t, 'm3')::text) FROM long WHERE n > 8191}), 1, 'texts over the limit are cut');
for my $call (qw(embed embed_sparse embed_multi embed_all))
{
	for my $n (8192, 8193, 8194, 9000)
	{
		my ($state) = error_of($node, $db, "LOAD 'embed'; SET embed.on_overflow = 'error'; SELECT $call(t, 'm3') IS NULL FROM long WHERE n = $n;");
		is($state, $n > 8192 ? '22001' : '', "$call of $n tokens where cutting is an error");
	}
}

# transformers' own, of the model that has such positions
if (my $shared = shared_dir())
{
	my $dir = "$shared/goldens/tiny/bge-m3";
	my @inputs = read_jsonl("$dir/inputs.jsonl");
	my @want = read_npy("$dir/embeddings.npy");

	import_model($node, $db, 'golden', plain_tokenizer($node, "$dir/model"), '{"precision": "fp32"}');
	load_table($node, $db, 'golden', 'i int, t text', map { [ $inputs[$_]{i}, $inputs[$_]{text} ] } 0 .. $#inputs);
	my ($of_vectors, $of_weights, $of_tokens, $n_ids) = (0, 0, 0, 0);
	for my $k (0 .. $#inputs)
	{
		my ($vector, $weights, $rows) = split /\|/, query($node, $db, "SELECT (embed_all(t, 'golden')).* FROM golden WHERE i = $inputs[$k]{i}");
		my %weights = map { /(\d+):(.*)/; ($1 - 1, $2) } split /,/, $weights =~ s/^\{|\}.*$//gr;
		my @got = map { numbers($_) } split /\},\{/, $rows;
		my @expected = read_npy("$dir/colbert_$inputs[$k]{i}.npy");

		# of long texts the reference has the first and the last 16
		@got = (@got[ 0 .. 15 ], @got[ -16 .. -1 ]) if @got > @expected;
		$n_ids++ if join(' ', sort keys %weights) ne join(' ', sort keys %{ $inputs[$k]{sparse} });
		my @differences = (max_difference(numbers($vector), $want[$k]), map { max_difference($got[$_], $expected[$_]) } 0 .. $#expected);
		my @ids = keys %weights;
		my $weight = max_difference([ @weights{@ids} ], [ @{ $inputs[$k]{sparse} }{@ids} ]);

		$of_vectors = $differences[0] if $differences[0] > $of_vectors;
		$of_weights = $weight if $weight > $of_weights;
		for my $difference (@differences[ 1 .. $#differences ])
		{
			$of_tokens = $difference if $difference > $of_tokens;
		}
	}
	is($n_ids, 0, 'the ids that have weights are those of transformers');
	cmp_ok($of_vectors, '<=', $TOLERANCE, 'vectors are');
	cmp_ok($of_tokens, '<=', $TOLERANCE, 'token vectors are');
	cmp_ok($of_weights, '<=', $WEIGHT_TOLERANCE, 'weights are');
}
else
{
	skip_loudly('no reference data: transformers\' results up to 8,192 tokens');
}

# ----------------------------------------------------------------- bits

query($node, $db, q{CREATE TABLE docs AS SELECT row_number() OVER ()::int AS i, t FROM
	(SELECT t FROM long WHERE n < 1100 UNION ALL SELECT 'document number ' || g FROM generate_series(1, 200) g) s;
	ALTER TABLE docs SET (parallel_workers = 2); ANALYZE docs});
for my $model (qw(m3 m3-int8))
{
	my $inner = "SELECT i, embed_all(t, '$model') e FROM docs";
	my $hash = q{SELECT md5(string_agg(i || '=' || e::text, ';' ORDER BY i)) FROM};
	my $want = query($node, $db, "$hash ($inner) s");
	my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;'
	  . ' SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off';

	like($want, qr/^[0-9a-f]{32}$/, "$model: $want");
	for my $level (qw(scalar avx2 avxvnni avx512vnni amx neon))
	{
		my ($state) = error_of($node, $db, "LOAD 'embed'; SET embed.isa = '$level'");
		next if $state ne '';
		is(query($node, $db, "LOAD 'embed'; SET embed.isa = '$level'; $hash ($inner) s"), $want, "$model: bits of level $level");
	}
	for my $threads (1, 2, 5)
	{
		is(query($node, $db, "LOAD 'embed'; SET embed.threads = $threads; $hash ($inner) s"), $want, "$model: bits on $threads threads");
	}
	like(query($node, $db, "$parallel; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $inner"), qr/Workers Launched: [1-9]/, "$model: workers run");
	is(query($node, $db, "$parallel; $hash ($inner OFFSET 0) s"), $want, "$model: bits of parallel workers");
}

# --------------------------------------------------------------- backups

# what is computed: a text once a call, a repeated one once
for my $call (q{embed_sparse(t, 'm3-int8')}, q{embed_multi(t, 'm3-int8')}, q{embed_all(t, 'm3-int8')}, q{embed_sparse(t)})
{
	my $default = $call =~ /m3/ ? '' : q{SET embed.model = 'm3-int8';};
	is(computed($node, $db, "$default SELECT count($call) FROM (SELECT 'text ' || i AS t FROM generate_series(1, 6) i) x"), 6, "computed: $call, a row, a text");
	is(computed($node, $db, "$default SELECT count($call) FROM (SELECT 'text' || repeat('', i) AS t FROM generate_series(1, 6) i) x"), 1, '... that repeats');
	is(computed($node, $db, "$default SELECT count($call) FROM (SELECT 'text ' || i AS t FROM generate_series(1, 6) i LIMIT 2) x"), 2, '... LIMIT');
}
is(computed($node, $db, q{SELECT embed_sparse(t, 'm3-int8'), embed_multi(t, 'm3-int8') FROM (SELECT 'text ' || i AS t FROM generate_series(1, 3) i) x}), 6, 'two functions, two passes');
is(computed($node, $db, q{SELECT (a).sparse, (a).multi FROM (SELECT embed_all('text ' || i, 'm3-int8') AS a FROM generate_series(1, 3) i OFFSET 0) x}), 3, '... embed_all: one');

query($node, $db, q{CREATE TABLE kept (body text, words text GENERATED ALWAYS AS (embed_sparse(body, 'm3-int8')) STORED,
	tokens float4[] GENERATED ALWAYS AS (embed_multi(body, 'm3-int8')) STORED);
	CREATE INDEX kept_words ON kept (embed_sparse(body, 'm3-int8'));
	INSERT INTO kept SELECT t FROM docs WHERE i < 20});
my $kept = q{SELECT md5(string_agg(body || words || tokens::text, ';' ORDER BY body)) FROM kept};
my $dump = $node->basedir . '/outputs.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr($db) ], 'pg_dump');
query($node, $db, 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
is(query($node, 'restored', $kept), query($node, $db, $kept), 'generated columns come back with the same bits');
is(query($node, 'restored', q{SELECT outputs FROM embed_models WHERE name = 'm3'}), '{dense,sparse,multi}', 'outputs come back');

# ---------------------------------------------------------------- rights

query($node, $db, 'CREATE ROLE plain LOGIN');
is(query($node, $db, q{SET SESSION AUTHORIZATION plain; SELECT maxsim(embed_multi('a text', 'm3'), (embed_all('a text', 'm3')).multi) > 0.9999,
	embed_sparse_dot(embed_sparse('a text', 'm3'), embed_sparse('a text', 'm3')) >= 0}), 't|t', 'a user with nothing but EXECUTE');

# -------------------------------------------------------------- timeouts

# all-MiniLM-L6-v2 with made-up heads computes longer than the tiny one
my $slow = $long;
if (my $real = real_model())
{
	$slow = $node->basedir . '/with-heads';
	mkdir $slow or die "$slow: $!";
	symlink $_, "$slow/" . ($_ =~ s/.*\///r) for glob("$real/*");
	my $head = sub {
		my ($name, $rows) = @_;
		my $values = pack 'f<*', map { sin($_ * 12.9898) / 8 } 1 .. ($rows + 1) * 384;
		my $header = encode_json({
			weight => { dtype => 'F32', shape => [ $rows, 384 ], data_offsets => [ 0, $rows * 384 * 4 ] },
			bias => { dtype => 'F32', shape => [$rows], data_offsets => [ $rows * 384 * 4, $rows * 385 * 4 ] } });
		spit("$slow/$name.safetensors", pack('Q<', length $header) . $header . substr($values, 0, $rows * 385 * 4));
	};
	$head->('sparse_linear', 1);
	$head->('colbert_linear', 200);
}
else
{
	skip_loudly('no all-MiniLM-L6-v2 (EMBED_MODEL_DIR): timeouts are tried on a tiny model');
}
import_model($node, $db, 'slow', $slow);
query($node, $db, q{CREATE TABLE vectors AS SELECT array_agg(v) v FROM (SELECT array_agg(sin(i * 16.0 + j)::float4) v
	FROM generate_series(1, 16000) i, generate_series(1, 400) j GROUP BY i) s});
my %streams = (
	'weights' => q{SELECT count(embed_sparse(g || repeat(' word', 9000), 'slow')) FROM generate_series(1, 100000000) g},
	'token vectors' => q{SELECT count(embed_multi(g || repeat(' word', 9000), 'slow')) FROM generate_series(1, 100000000) g},
	'all of 8,192 tokens' => q{SELECT count(embed_all(g || ' ' || t, 'm3')) FROM long, generate_series(1, 1000000) g WHERE n = 8192},
	'maxsim' => q{SELECT maxsim(v, v) + maxsim(v, v) FROM vectors},
	'maxsim of a few at a time' => q{SELECT max(maxsim(ARRAY[ARRAY[g, 1]::float4[]], '{{1,2}}')) FROM generate_series(1, 1000000000) g},
);
my $private = q{(split_part(pg_read_file('/proc/self/statm', 0, 100), ' ', 2)::int - split_part(pg_read_file('/proc/self/statm', 0, 100), ' ', 3)::int) * 4};

my $waited = waited_for_cpu();
for my $what (sort keys %streams)
{
	my $round = "SELECT clock_timestamp() AS t0, $waited AS w0 \\gset\nSET statement_timeout = '1s';\n$streams{$what};\nSET statement_timeout = 0;\n"
	  . "SELECT pg_backend_pid(), greatest(extract(epoch FROM clock_timestamp() - :'t0'::timestamptz)::numeric - ($waited - :w0), 0), $private;\n";
	my ($out, $err, @rounds);

	# on a machine busy with other things a round may lose its CPU: then all of them again
	for my $attempt (1 .. 3)
	{
		($out, $err) = ('', '');
		$node->psql($db, "SELECT embed_all('warm', 'slow') IS NULL;\n" . $round x 4, stdout => \$out, stderr => \$err, on_error_stop => 0,
			extra_params => [ '-F', ' ' ]);
		@rounds = map { [ split / / ] } grep { /^\d+ [\d.]+ \d+$/ } split /\n/, $out;
		last if @rounds == 4 && !grep { $_->[1] > $LIMIT_S } @rounds;
		diag("$what: attempt $attempt");
	}
	my ($worst) = sort { $b <=> $a } map { $_->[1] } @rounds;
	my $n_cancelled = () = $err =~ /canceling statement due to statement timeout/g;

	is($n_cancelled, 4, "$what: timeouts") or diag($err);
	cmp_ok($worst // 99, '<=', $LIMIT_S, sprintf('%s: the slowest ended after %.3f s', $what, $worst // 99));
	my $growth_kb = $rounds[-1][2] - $rounds[1][2];
	cmp_ok($growth_kb, '<', 4096, "$what: private memory grows by $growth_kb kB after the second timeout");
}

# The same text again and again, and others: what is given back, is given back.
my $growth = query($node, $db, <<~"SQL");
	SELECT count(embed_all(t, 'm3')) FROM long WHERE n > 8000 \\g /dev/null
	SELECT $private AS before \\gset
	SELECT count(embed_all(t || g, 'm3')) FROM long, generate_series(1, 4) g WHERE n > 8000 \\g /dev/null
	SELECT $private - :before
	SQL
cmp_ok($growth, '<', 4096, "24 texts of 8,192 tokens: private memory grows by $growth kB");

done_testing();
