# Decoders that rerank: every pair has one logit on every level, in arrays, in
# groups and row by row, behind a kept prefix or not, with any number of threads;
# the memory of kept prefixes; parallel workers; errors and cancels between rows.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $db = 'postgres';
my $node = new_node('decoders');
my $shared = shared_dir();
my $version = query($node, $db, "SELECT current_setting('server_version_num')::int / 10000");

for my $precision (qw(fp32 int8))
{
	import_model($node, $db, "$precision/$_", tiny_model($_), qq({"precision": "$precision", "kind": "reranker"})) for qw(qwen3-rerank qwen2-rerank);
}
query($node, $db, q{CREATE TABLE docs AS SELECT i, repeat('a word and ' || i || ' more, ', i % 7) || md5(i::text) AS body FROM generate_series(1, 14) i;
	CREATE TABLE queries AS SELECT i, 'what is ' || repeat('really ', i) || 'this?' AS q FROM generate_series(0, 2) i});

my @levels = grep { (error_of($node, $db, "LOAD 'embed'; SET embed.isa = '$_'; SELECT embed_isa();"))[0] eq '' }
  qw(scalar avx2 avxvnni avx512vnni amx neon);

sub hashed
{
	my ($setup, $from) = @_;
	return query($node, $db, "LOAD 'embed'; $setup; SELECT md5(string_agg(s::text, ' ' ORDER BY qi, di)) FROM ($from) x(qi, di, s)");
}

# ------------------------------------------------------------------- one hash

for my $model (map { ("fp32/$_", "int8/$_") } qw(qwen3-rerank qwen2-rerank))
{
	my $logit = "SELECT q.i, d.i, rerank_logit(q, body, '$model', 'Find it') FROM";
	my $score = "SELECT q.i, d.i, rerank(q, body, '$model', 'Find it') FROM";

	# no two neighbours have the same query: no prefix is worth keeping
	my $want = hashed('', "$logit (SELECT * FROM queries, (SELECT i AS di, body FROM docs) x ORDER BY di, i) AS q(i, q, di, body), LATERAL (SELECT di) AS d(i)");
	my $scores = hashed('', "$score queries q, docs d");

	for my $level (@levels)
	{
		my $set = "SET embed.isa = '$level'";

		is(hashed($set, "$logit queries q, docs d"), $want, "$model, $level: row by row");
		is(hashed("$set; SET embed.threads = 2", "$logit (SELECT * FROM queries, (SELECT i AS di, body FROM docs) x ORDER BY i DESC, di DESC) AS q(i, q, di, body), LATERAL (SELECT di) AS d(i)"),
			$want, "$model, $level: backwards, two threads");
		for my $batch (64, 500, 4000)
		{
			is(hashed("$set; SET embed.batch_tokens = $batch",
				"SELECT q.i, o, s FROM queries q, (SELECT array_agg(body ORDER BY i) a FROM docs) d, LATERAL unnest(rerank_many(q, a, '$model', 'Find it')) WITH ORDINALITY AS r(s, o)"),
				$scores, "$model, $level: arrays, batches of $batch tokens");
		}
		is(hashed("$set; SET embed.batch_tokens = 300",
			"SELECT i, o, s FROM (SELECT q.i, rerank_agg(q, body, '$model', 'Find it' ORDER BY d.i) AS a FROM queries q, docs d GROUP BY q.i) g, LATERAL unnest(a) WITH ORDINALITY AS r(s, o)"),
			$scores, "$model, $level: groups");
		is(hashed($set, "SELECT q.i, t.ordinality, t.score FROM queries q, (SELECT array_agg(body ORDER BY i) a FROM docs) d, LATERAL rerank_top(q, a, 100, '$model', 'Find it') t"),
			$scores, "$model, $level: the best");
	}
	is(query($node, $db, "SELECT count(*) FROM (SELECT body, rerank_logit('q', body, '$model') AS s FROM docs) x WHERE s IS DISTINCT FROM (SELECT rerank_logit('q', x.body || '', '$model'))"),
		0, "$model: two call sites");
	is(query($node, $db, "SELECT string_agg(\"check\" || detail, '; ') FILTER (WHERE NOT ok) IS NULL FROM embed_verify('$model')"), 't', "$model: embed_verify");
}

# ------------------------------------------------------------------ reuse

for my $form ("count(rerank_logit('what is it?', body, 'int8/qwen3-rerank'))", "cardinality(rerank_many('what is it?', array_agg(body), 'int8/qwen3-rerank'))",
	"cardinality(rerank_agg('what is it?', body, 'int8/qwen3-rerank'))")
{
	query($node, $db, 'SELECT embed_stat_reset()');
	is(query($node, $db, "SELECT $form FROM docs"), 14, "$form: 14 documents");
	my ($tokens, $reused) = split /\|/, query($node, $db, "SELECT tokens, prefix_tokens_reused FROM embed_stat WHERE name = 'int8/qwen3-rerank'");

	# template, instruction and query are half of these pairs
	cmp_ok($reused, '>', $tokens / 3, "... of $tokens tokens $reused are computed once");
	cmp_ok($reused, '<', $tokens, '... and no more');
}
query($node, $db, 'SELECT embed_stat_reset()');
query($node, $db, "SELECT rerank('what is it?', body, 'int8/qwen3-rerank', i::text) FROM docs");
is(query($node, $db, "SELECT prefix_tokens_reused < tokens / 2 FROM embed_stat WHERE name = 'int8/qwen3-rerank'"), 't', 'another instruction shares only the template');

# ----------------------------------------------------------------- memory

SKIP:
{
	skip 'pg_backend_memory_contexts is of PostgreSQL 14', 4 if $version < 14;
	my $contexts = q{SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'embed prefix'};
	my $ten = join ' UNION ALL ', map { "SELECT rerank('query $_', body, 'int8/qwen3-rerank') FROM docs" } 1 .. 10;

	is(query($node, $db, "BEGIN; DECLARE c CURSOR FOR SELECT rerank('q', body, 'int8/qwen3-rerank') FROM docs; MOVE 5 IN c; $contexts"), 1, 'a call site keeps one prefix');
	is(query($node, $db, "BEGIN; DECLARE c CURSOR FOR SELECT rerank('q', body, 'int8/qwen3-rerank') FROM docs; MOVE 5 IN c; CLOSE c; $contexts"), 0, '... as long as its query');
	is(query($node, $db, "BEGIN; DECLARE c CURSOR FOR $ten; MOVE ALL IN c; $contexts"), 4, 'ten call sites keep four');
	is(query($node, $db, "BEGIN; DECLARE c CURSOR FOR $ten; MOVE 90 IN c; DECLARE d CURSOR FOR SELECT rerank('q', body, 'int8/qwen3-rerank') FROM docs; MOVE 7 IN d;"
			. " CREATE TEMP TABLE x AS SELECT rerank('z', body, 'fp32/qwen3-rerank') AS s FROM docs; CLOSE d; MOVE ALL IN c; CLOSE c; $contexts"), 0,
		'call sites that come and go');
}

# ------------------------------------------------------------- workers, errors

query($node, $db, 'ALTER TABLE docs SET (parallel_workers = 2); ANALYZE docs');
my $sum = "SELECT md5(string_agg(s::text, ' ' ORDER BY i)) FROM (SELECT i, rerank_logit('what is it?', body, 'int8/qwen3-rerank', 'Find') AS s FROM docs WHERE i > 0 OFFSET 0) x";
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0';
like(query($node, $db, "$parallel; EXPLAIN $sum"), qr/Workers Planned: 2/, 'a parallel plan');
is(query($node, $db, "$parallel; $sum"), query($node, $db, "SET max_parallel_workers_per_gather = 0; $sum"), '... gives the same logits');
is(query($node, $db, q{
	CREATE FUNCTION tried(d text) RETURNS real LANGUAGE plpgsql AS $$
	BEGIN
		RETURN rerank_logit('what is it?', d, 'int8/qwen3-rerank', CASE WHEN d ~ '^[0-7]' THEN 'Find' ELSE repeat('x', 9000) END);
	EXCEPTION WHEN program_limit_exceeded THEN
		RETURN 0;
	END $$;
	SELECT count(*) FROM docs WHERE tried(body) NOT IN (0, rerank_logit('what is it?', body, 'int8/qwen3-rerank', 'Find'))}), 0, 'errors between rows');
is((error_of($node, $db, "SET statement_timeout = '30ms'; SELECT count(rerank_logit('q', repeat(body, 20), 'fp32/qwen3-rerank')) FROM docs, generate_series(1, 50)"))[0], '57014', 'a timeout');
is(query($node, $db, $sum), query($node, $db, $sum), '... and the next query');

# ------------------------------------------------------------ the other tiny decoders

if (defined $shared)
{
	for my $name (qw(qwen3-rerank-untied qwen3-rerank-k qwen3-rerank-seqcls qwen3-rerank-logitscore))
	{
		my $root = "$shared/goldens/tiny/$name";
		my @rows = read_jsonl("$root/inputs.jsonl");
		my $table = lc $name =~ s/-/_/gr;

		import_model($node, $db, $name, "$root/model", '{"precision": "fp32", "kind": "reranker", "max_tokens": 2048}');
		load_table($node, $db, $table, 'instruct text, query text, doc text, logit float8',
			map { [ $_->{instruct}, $_->{query}, $_->{doc}, $_->{logit} // $_->{logit_yes} - $_->{logit_no} ] } @rows);
		my $worst = query($node, $db, "SELECT max(abs(rerank_logit(query, doc, '$name', instruct) - logit)) FROM $table");
		cmp_ok($worst, '<=', 5e-5, "$name: @{[scalar @rows]} logits differ by $worst at most");
	}
	import_model($node, $db, 'k', "$shared/goldens/tiny/qwen3-embed-k/model", '{"precision": "fp32"}');
	my @rows = read_jsonl("$shared/goldens/tiny/qwen3-embed-k/inputs.jsonl");
	my @want = read_npy("$shared/goldens/tiny/qwen3-embed-k/embeddings.npy");
	my $worst = 0;

	load_table($node, $db, 'k', 'i int, text text, ids int[]', map { [ $_, $rows[$_]{text}, $rows[$_]{ids} ] } 0 .. $#rows);
	is(query($node, $db, "SELECT count(*) FROM k WHERE embed_tokens(text, 'k') <> ids"), 0, 'qwen3-embed-k: ids');
	my @got = map { [ split /,/ ] } split /\n/, query($node, $db, "SELECT trim(both '{}' from embed(text, 'k')::text) FROM k ORDER BY i");
	for (0 .. $#want)
	{
		my $d = max_difference($want[$_], $got[$_]);
		$worst = $d if $d > $worst;
	}
	cmp_ok($worst, '<=', 4e-6, "qwen3-embed-k: vectors differ by $worst at most");
}
else
{
	skip_loudly('the other decoders need the reference data');
}

$node->stop;
done_testing();
