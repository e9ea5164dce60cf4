# Same text, same bits: whatever the instruction set, the batch, the order, the
# threads, the process; in int8 and in fp32. One hash over all vectors (of a
# reranker scores) of a model has to come out of every way.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('bits', conf => "max_worker_processes = 16\nmax_parallel_workers = 8\n");
my $db = 'postgres';

# Goldens' scripts of the world, lengths around the tiles of the kernels, one cut text, repeats.
my @texts = map { $_->{text} } map { read_jsonl(test_data() . "/tiny/$_/inputs.jsonl") } tiny_names();
push @texts, map { join ' ', ('word') x $_ } 1 .. 20, 30 .. 34, 62 .. 66, 126 .. 130, 700;
push @texts, 'again', 'again', '', '';
my $i = 0;
load_table($node, $db, 'texts', 'i int PRIMARY KEY, t text', map { [ $i++, $_ ] } @texts);
query($node, $db, 'ALTER TABLE texts SET (parallel_workers = 2); ANALYZE texts');

my $hash = "md5(string_agg(i || '=' || e, ';' ORDER BY i))";
my %ways = (
	'alone' => "SELECT $hash FROM (SELECT i, embed(t, M)::text e FROM T) s",
	'array' => "SELECT $hash FROM (SELECT (ids)[j] i, replace(replace(e[j:j]::text, '{{', '{'), '}}', '}') e"
	  . ' FROM (SELECT embed(array_agg(t ORDER BY i), M) e, array_agg(i ORDER BY i) ids FROM T) a, generate_subscripts(ids, 1) j) s',
	'rows' => "SELECT $hash FROM (SELECT a.ids[r.ordinality] i, r.embedding::text e"
	  . ' FROM (SELECT array_agg(t ORDER BY i) ts, array_agg(i ORDER BY i) ids FROM T) a, embed_rows(a.ts, M) r) s',
	'reversed' => "SELECT $hash FROM (SELECT a.ids[r.ordinality] i, r.embedding::text e"
	  . ' FROM (SELECT array_agg(t ORDER BY i DESC) ts, array_agg(i ORDER BY i DESC) ids FROM T) a, embed_rows(a.ts, M) r) s',
	'aggregate' => "SELECT $hash FROM (SELECT (ids)[j] i, replace(replace(e[j:j]::text, '{{', '{'), '}}', '}') e"
	  . ' FROM (SELECT embed_agg(t, M ORDER BY t, i) e, array_agg(i ORDER BY t, i) ids FROM T) a, generate_subscripts(ids, 1) j) s',
);

# Scores of a reranker likewise.
my %score_ways = (
	'alone' => "SELECT $hash FROM (SELECT i, rerank('some words', t, M)::text e FROM T) s",
	'array' => "SELECT $hash FROM (SELECT a.ids[j] i, e::text FROM (SELECT array_agg(t ORDER BY i DESC) ts, array_agg(i ORDER BY i DESC) ids FROM T) a,"
	  . " unnest(rerank('some words', ts, M)) WITH ORDINALITY r (e, j)) s",
	'best' => "SELECT $hash FROM (SELECT a.ids[r.ordinality] i, r.score::text e FROM (SELECT array_agg(t ORDER BY i) ts, array_agg(i ORDER BY i) ids FROM T) a,"
	  . " rerank_top('some words', a.ts, 1000, M) r) s",
	'aggregate' => "SELECT $hash FROM (SELECT a.ids[j] i, e::text FROM (SELECT rerank_agg('some words', t, M ORDER BY t, i) es, array_agg(i ORDER BY t, i) ids FROM T) a,"
	  . " unnest(es) WITH ORDINALITY r (e, j)) s",
);

sub vector_hash
{
	my ($way, $model, $table, $settings) = @_;
	(my $sql = ($model =~ /rerank/ ? \%score_ways : \%ways)->{$way}) =~ s/\bM\b/'$model'/g;
	$sql =~ s/\bT\b/$table/g;
	return query($node, $db, "LOAD 'embed'; SET embed.cache_entries = 0; $settings; $sql");
}

# The levels this CPU has. SET of one it lacks is an ERROR.
my @levels;
for my $level (qw(scalar avx2 avxvnni avx512vnni amx neon))
{
	my ($state, $message) = error_of($node, $db, "LOAD 'embed'; SET embed.isa = '$level'; SELECT embed_isa();");
	if ($state eq '')
	{
		push @levels, $level;
		note("$level: " . query($node, $db, "LOAD 'embed'; SET embed.isa = '$level'; SELECT embed_isa()"));
	}
	else
	{
		skip_loudly("no $level here");
		like($message, qr/\Q$level\E/, "the error names $level");
	}
}
ok((grep { $_ eq 'scalar' } @levels), 'level scalar is everywhere');
cmp_ok(scalar @levels, '>', 0, 'levels: ' . join(' ', @levels));

sub check_model
{
	my ($model, $table, @with_levels) = @_;
	my $want = vector_hash('alone', $model, $table, "SET embed.isa = 'auto'");

	like($want, qr/^[0-9a-f]{32}$/, "$model: $want");
	for my $level (@with_levels)
	{
		for my $way (sort keys %ways)
		{
			is(vector_hash($way, $model, $table, "SET embed.isa = '$level'"), $want, "$model, $level, $way");
		}
	}
	for my $tokens (1, 64, 700, 100_000)
	{
		is(vector_hash('array', $model, $table, "SET embed.batch_tokens = $tokens"), $want, "$model, batches of $tokens tokens");
	}
	for my $threads (1, 2, 5)
	{
		for my $way (qw(alone array))
		{
			is(vector_hash($way, $model, $table, "SET embed.threads = $threads"), $want, "$model, $threads thread(s), $way");
		}
	}
	is(vector_hash('alone', $model, $table, 'SET embed.cache_entries = 1000'), $want, "$model, from the cache where texts repeat");
	check_verify($model, @with_levels);
	return $want;
}

# The reference texts of the image, on every level.
sub check_verify
{
	my ($model, @with_levels) = @_;

	for my $level (@with_levels)
	{
		is(query($node, $db, "LOAD 'embed'; SET embed.isa = '$level'; SELECT string_agg(\"check\" || CASE WHEN ok THEN '' ELSE ' FAILED: ' || detail END, ', ') FROM embed_verify('$model')"),
			'rows, image, kernels, token ids, bits, cosine', "$model, $level: embed_verify");
	}
	return;
}

# In parallel workers, seen to run there.
sub check_parallel
{
	my ($model, $table, $want) = @_;
	my $settings = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;'
	  . ' SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off';
	my $function = $model =~ /rerank/ ? "rerank('some words', t, '$model')" : "embed(t, '$model')";
	my $inner = "SELECT i, $function\::text e FROM $table";
	my $plan = query($node, $db, "$settings; EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) $inner");

	like($plan, qr/Gather/, "$model: the plan gathers");
	like($plan, qr/Workers Launched: [1-9]/, "$model: workers ran");
	like($plan, qr/Parallel Seq Scan.*\n\s+Output: .*\b(?:embed|rerank)\(/, "$model: computed in the workers");
	is(query($node, $db, "$settings; SELECT $hash FROM ($inner OFFSET 0) s"), $want, "$model: parallel workers");
	return;
}

for my $model (tiny_names())
{
	import_model($node, $db, $model, tiny_model($model));
	import_model($node, $db, "$model-fp32", tiny_model($model), '{"precision": "fp32"}');
	my $int8 = check_model($model, 'texts', @levels);
	my $fp32 = check_model("$model-fp32", 'texts', @levels);

	isnt($int8, $fp32, "$model: int8 is the default");
	check_parallel($model, 'texts', $int8);
	check_parallel("$model-fp32", 'texts', $fp32);
}

# A reranker, over short texts and some long ones.
query($node, $db, 'CREATE TABLE docs AS SELECT * FROM texts WHERE i % 4 = 0 OR length(t) > 2000; ALTER TABLE docs SET (parallel_workers = 2)');
for my $precision (qw(int8 fp32))
{
	my $model = "rerank-$precision";
	import_model($node, $db, $model, tiny_model('bert-rerank'), qq({"precision": "$precision"}));
	my $want = vector_hash('alone', $model, 'docs', "SET embed.isa = 'auto'");

	like($want, qr/^[0-9a-f]{32}$/, "$model: $want");
	for my $level (@levels)
	{
		for my $way (sort keys %score_ways)
		{
			is(vector_hash($way, $model, 'docs', "SET embed.isa = '$level'"), $want, "$model, $level, $way");
		}
	}
	for my $setting ('embed.batch_tokens = 1', 'embed.batch_tokens = 700', 'embed.batch_tokens = 100000', 'embed.threads = 1', 'embed.threads = 5')
	{
		is(vector_hash('array', $model, 'docs', "SET $setting"), $want, "$model, $setting");
	}
	check_parallel($model, 'docs', $want);
}

if (my $dir = real_model())
{
	import_model($node, $db, 'real', $dir);
	query($node, $db, 'CREATE TABLE picked AS SELECT * FROM texts WHERE i % 3 = 0 OR length(t) > 2000; ALTER TABLE picked SET (parallel_workers = 2);'
		  . " CREATE TABLE three (i int, t text); INSERT INTO three VALUES (1, 'one'), (2, 'two short words'), (3, 'Grüße, 世界')");
	check_parallel('real', 'picked', check_model('real', 'picked', grep { $_ ne 'scalar' } @levels));
	is(vector_hash('array', 'real', 'three', "SET embed.isa = 'scalar'"),
		vector_hash('alone', 'real', 'three', "SET embed.isa = 'auto'"),
		'all-MiniLM-L6-v2: scalar on three short texts');
}
else
{
	skip_loudly('no all-MiniLM-L6-v2 (EMBED_MODEL_DIR): bits of a real model');
}

done_testing();
