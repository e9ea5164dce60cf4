# Names, aliases, defaults and settings mean what the statement's snapshot sees,
# as the rows beside them: whoever switches a column and its alias in one
# transaction is seen as a whole or not at all.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('snapshots', conf => "embed.cache_entries = 0\nembed.threads = 1\nmax_worker_processes = 16\nmax_parallel_workers = 8\n");
my $db = 'postgres';
my ($cls, $mean) = map { quote(tiny_model($_)) } qw(bert-cls bert-mean-48);

# Two models of one dimension whose vectors, tokens and chunks differ, and two rerankers.
import_model($node, $db, 'm2', tiny_model('bert-cls'), '{"max_tokens": 64}');
import_model($node, $db, 'm3', tiny_model('bert-cls'), '{"document_prompt": "other words: ", "query_prompt": "what else: ", "max_tokens": 63}');
import_model($node, $db, 'r2', tiny_model('bert-rerank'));
import_model($node, $db, 'r3', tiny_model('mpnet-rerank'));
import_model($node, $db, 'g2', tiny_model('bge-m3'));
import_model($node, $db, 'g3', tiny_model('bge-m3'), '{"document_prompt": "other words: "}');

# What another session does, in the middle of a statement of this one.
my $psql = "psql -X -q -v ON_ERROR_STOP=1 -d '" . $node->connstr($db) . "' -f - >/dev/null";
$psql =~ s/'/''/g;
query($node, $db, qq{
	CREATE FUNCTION elsewhere(command text) RETURNS boolean LANGUAGE plpgsql AS \$\$
	BEGIN
		EXECUTE format('COPY (SELECT %L::text) TO PROGRAM %L', command, '$psql');
		RETURN true;
	END \$\$;
	CREATE TABLE n AS SELECT i AS id, 'text ' || i AS body, embed('text ' || i, 'm2') AS e2, embed('text ' || i, 'm3') AS e3
		FROM generate_series(1, 200) i;
	ALTER TABLE n ADD e float4[]});

sub reset_names
{
	query($node, $db, q{UPDATE n SET e = e2; SELECT embed_set_alias('cur', 'm2'), embed_set_alias('rcur', 'r2'), embed_set_default('m2'), embed_set_default('r2')});
	return;
}

my $switch = q{BEGIN; UPDATE n SET e = e3; SELECT embed_set_alias('cur', 'm3'), embed_set_alias('rcur', 'r3'), embed_set_default('m3'), embed_set_default('r3'); COMMIT};
my $elsewhere = 'elsewhere(' . quote($switch) . ')';
my $nearest = q{SELECT id, round(embed_cosine(e, embed('text 77'))::numeric, 4) FROM n ORDER BY 2 DESC LIMIT 1};

# ------------------------------------------------- the switch of docs, seen as a whole

for my $setting ("SET embed.model = 'cur'; SET embed.reranker = 'rcur';", '')
{
	my $by = $setting ne '' ? 'alias' : 'default';

	for my $level ('REPEATABLE READ', 'SERIALIZABLE')
	{
		reset_names();
		is(query($node, $db, "$setting BEGIN ISOLATION LEVEL $level; $nearest; SELECT $elsewhere; $nearest; COMMIT; $nearest"),
			"77|1.0000\nt\n77|1.0000\n77|1.0000", "$level, by the $by: one meaning for the transaction");
		reset_names();
		is(query($node, $db, "$setting BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM n; SELECT $elsewhere; $nearest; COMMIT; $nearest"),
			"200\nt\n77|1.0000\n77|1.0000", '... also where the name is used first after the switch');
	}
	reset_names();
	is(query($node, $db, qq{$setting WITH w AS MATERIALIZED (SELECT $elsewhere) SELECT id, round(embed_cosine(e, embed('text 77'))::numeric, 4)
			FROM w, n ORDER BY 2 DESC LIMIT 1; $nearest}),
		"77|1.0000\n77|1.0000", "READ COMMITTED, by the $by: a statement whose first embed comes after the switch");
}

# Every function in turn: before the switch, evaluated late, after it.
my $texts = q{ARRAY['one', 'two', 'three']};
my %calls = (
	'embed' => q{embed('one')},
	'embed_query' => q{embed_query('one')},
	'embed of an array' => "embed($texts)",
	'embed_rows' => "(SELECT array_agg(embedding) FROM embed_rows($texts))",
	'embed_agg' => "(SELECT embed_agg(t) FROM unnest($texts) t)",
	'embed_avg' => "(SELECT embed_avg(t) FROM unnest($texts) t)",
	'embed_tokens' => q{embed_tokens('one')},
	'embed_info' => q{embed_info('one')},
	'embed_chunks' => q{(SELECT array_agg(c) FROM embed_chunks(repeat('one two three ', 20), 20, 0) c)},
	'rerank' => q{rerank('one', 'two')},
	'rerank of an array' => "rerank('one', $texts)",
	'rerank_top' => "(SELECT array_agg(r) FROM rerank_top('one', $texts, 3) r)",
	'rerank_agg' => "(SELECT rerank_agg('one', t) FROM unnest($texts) t)",
	'embed_trigger' => q{insert_one('one')});

query($node, $db, q{
	CREATE TABLE by_trigger (body text, e float4[]);
	CREATE TRIGGER t BEFORE INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body');
	CREATE TABLE by_default (body text, e float4[]);
	CREATE TRIGGER t BEFORE INSERT ON by_default FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body');
	CREATE FUNCTION insert_one(t text) RETURNS float4[] LANGUAGE sql AS $$ INSERT INTO by_default VALUES (t) RETURNING e $$;
	CREATE FUNCTION after_switch(done boolean, t text) RETURNS text LANGUAGE sql AS $$ SELECT t $$});
for my $what (sort keys %calls)
{
	my $call = $calls{$what};

	reset_names();
	my ($before, $late, $then, $after) = split /\n/, query($node, $db, qq{
		BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT md5(($call)::text);
		WITH w AS MATERIALIZED (SELECT $elsewhere) SELECT md5((SELECT ($call)::text FROM (SELECT) x WHERE w IS NOT NULL)) FROM w;
		SELECT md5(($call)::text); COMMIT; SELECT md5(($call)::text)});
	ok($before eq $late && $before eq $then && $before ne $after, "$what: the same until the transaction ends, then the new model's")
		or diag("$before $late $then $after");
	next if $what eq 'embed_trigger';
	reset_names();
	($before, $late, $after) = split /\n/, query($node, $db, qq{SELECT md5(($call)::text);
		WITH w AS MATERIALIZED (SELECT $elsewhere) SELECT md5((SELECT ($call)::text FROM (SELECT) x WHERE w IS NOT NULL)) FROM w; SELECT md5(($call)::text)});
	ok($before eq $late && $before ne $after, "$what: READ COMMITTED, evaluated late") or diag("$before $late $after");
}
for my $call (q{embed_sparse('one two')}, q{embed_multi('one two')}, q{embed_all('one two')})
{
	query($node, $db, q{SELECT embed_set_alias('gcur', 'g2')});
	my ($before, $late, $after) = split /\n/, query($node, $db, qq{SET embed.model = 'gcur'; SELECT md5(($call)::text);
		WITH w AS MATERIALIZED (SELECT elsewhere('SELECT embed_set_alias(''gcur'', ''g3'')')) SELECT md5((SELECT ($call)::text FROM (SELECT) x WHERE w IS NOT NULL)) FROM w;
		SELECT md5(($call)::text)});
	ok($before eq $late && $before ne $after, "$call, evaluated late") or diag("$before $late $after");
}

reset_names();
is(query($node, $db, qq{TRUNCATE by_trigger, by_default;
	INSERT INTO by_trigger SELECT body FROM n, LATERAL (SELECT CASE WHEN id = 100 THEN $elsewhere END) w;
	INSERT INTO by_default SELECT 'two';
	SELECT count(*) FILTER (WHERE t.e = n.e2), count(*) FILTER (WHERE t.e = n.e3) FROM by_trigger t JOIN n USING (body);
	SELECT e = embed('two', 'm3') FROM by_default}), "200|0\nt", 'one INSERT through the trigger has one model, the next one the new');
reset_names();
is(query($node, $db, qq{SELECT embed('a') = embed('a', 'm2') AND $elsewhere AND embed('b') = embed('b', 'm2') AND embed('c') = embed('c', 'm2');
		SELECT embed('a') = embed('a', 'm3')}), "t\nt", 'call sites before and after the switch agree');
# its own model for each group, begun before the switch or after it
reset_names();
is(query($node, $db, qq{SELECT bool_and(v = w) FROM (SELECT embed_agg(body ORDER BY id) AS v, embed_agg(body, 'm2' ORDER BY id) AS w
		FROM (SELECT id, body, CASE WHEN id = 50 THEN $elsewhere END AS s FROM n ORDER BY id OFFSET 0) x GROUP BY id % 7) y}), 't', 'groups of embed_agg finish as they began');

# ------------------------------------------------------------- snapshots of other kinds

reset_names();
is(query($node, $db, qq{
	BEGIN; DECLARE c SCROLL CURSOR FOR SELECT embed(body) = e2 FROM n ORDER BY id;
	FETCH 1 FROM c; SELECT $elsewhere; FETCH 1 FROM c; SELECT embed('text 1') = e3 FROM n WHERE id = 1; FETCH 1 FROM c; FETCH ABSOLUTE 1 FROM c;
	SELECT embed_set_default('r2') IS NULL; FETCH ABSOLUTE 5 FROM c; COMMIT}), "t\nt\nt\nt\nt\nt\nf\nt", 'a cursor held open over a switch, another statement between');
reset_names();
is(query($node, $db, qq{
	BEGIN; DECLARE c CURSOR FOR SELECT embed(body) = e2 FROM n ORDER BY id; FETCH 1 FROM c;
	DO \$\$ BEGIN PERFORM embed_set_default('m3'); END \$\$; FETCH 1 FROM c; SELECT embed(body) = e3 FROM n WHERE id = 9; FETCH 1 FROM c; COMMIT}),
	"t\nt\nt\nt", '... over a switch of its own transaction');
reset_names();
is(query($node, $db, qq{
	BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT embed(body) = e2 FROM n WHERE id <= 3; SELECT $elsewhere; COMMIT; FETCH ALL FROM c}), "t\nt\nt\nt", '... WITH HOLD');

reset_names();
my $which = q{SELECT CASE embed('text 1') WHEN e2 THEN 'm2' WHEN e3 THEN 'm3' END FROM n WHERE id = 1};
query($node, $db, "CREATE FUNCTION caller_sees() RETURNS text STABLE LANGUAGE plpgsql AS \$\$ BEGIN RETURN ($which); END \$\$;
	CREATE FUNCTION sees_newest() RETURNS text VOLATILE LANGUAGE plpgsql AS \$\$ BEGIN RETURN ($which); END \$\$;
	CREATE FUNCTION sql_sees() RETURNS text STABLE LANGUAGE sql AS \$\$ $which \$\$;
	CREATE FUNCTION by_setting(t text) RETURNS float4[] STABLE LANGUAGE plpgsql SET embed.model = 'm3' AS \$\$ BEGIN RETURN embed(t); END \$\$");
for my $mode (qw(force_custom_plan force_generic_plan))
{
	is(query($node, $db, qq{SET plan_cache_mode = $mode; PREPARE p AS $which; EXECUTE p;
		BEGIN; DO \$\$ BEGIN PERFORM embed_set_default('m3'); END \$\$; EXECUTE p; SAVEPOINT s;
		DO \$\$ BEGIN PERFORM embed_set_default('m2'); END \$\$; EXECUTE p; ROLLBACK TO s; EXECUTE p;
		SAVEPOINT s; DO \$\$ BEGIN PERFORM embed_set_default('m2'); END \$\$; RELEASE s; EXECUTE p; ROLLBACK; EXECUTE p}),
		"m2\nm3\nm2\nm3\nm2\nm2", "changes of the own transaction, savepoints, rollbacks; $mode");
}
is(query($node, $db, qq{
	DO \$\$ BEGIN
		BEGIN
			PERFORM embed_set_default('m3');
			ASSERT embed('text 1') = (SELECT e3 FROM n WHERE id = 1);
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
		ASSERT embed('text 1') = (SELECT e2 FROM n WHERE id = 1);
	END \$\$; SELECT 'done'}), 'done', 'a block that fails takes its default along');
is(query($node, $db, qq{SELECT $elsewhere, caller_sees(), sql_sees(), sees_newest(), caller_sees(), (SELECT max(sees_newest()) FROM n WHERE id <= 3); SELECT caller_sees()}),
	"t|m2|m2|m3|m2|m3\nm3", 'a STABLE function sees what its caller sees, a VOLATILE one what its own statements see');
reset_names();
is(query($node, $db, qq{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT caller_sees(), sees_newest(), $elsewhere, caller_sees(), sees_newest(); SELECT sees_newest()}),
	"m2|m2|t|m2|m2\nm2", '... the same in REPEATABLE READ');
reset_names();
is(query($node, $db, qq{SELECT string_agg(CASE embed(body) WHEN e2 THEN 'm2' WHEN e3 THEN 'm3' END || CASE WHEN by_setting(body) = e3 THEN '' ELSE '!' END, ' ' ORDER BY id)
		FROM (SELECT *, CASE WHEN id = 3 THEN set_config('embed.model', 'm3', false) END FROM n WHERE id <= 4 ORDER BY id OFFSET 0) x}),
	'm2 m2 m3 m3', 'set_config in the middle of a statement is followed, and a function with SET embed.model has its own');
reset_names();
like(query($node, $db, qq{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; ALTER TABLE n SET (parallel_workers = 2);
	EXPLAIN (COSTS OFF) SELECT count(*) FILTER (WHERE embed(body) = e2) FROM n}), qr/Workers Planned: 2/, 'workers compute by the default');

# ------------------------------------------- imported, dropped and forgotten meanwhile

is(query($node, $db, qq{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM n; SELECT elsewhere('SELECT embed_import(''late'', ${\ ($cls =~ s/'/''/gr)})');
	SELECT cardinality(embed('x', 'late')); SET embed.model = 'late'; SELECT cardinality(embed('x')); COMMIT}), "200\nt\n64\n64",
	'a model imported since has one meaning, so an older snapshot may use it');
is(query($node, $db, qq{SELECT embed_import('at-once', $cls) IS NULL, cardinality(embed(now()::text, 'at-once'))}), 'f|64', '... in the statement of the import, too');
my ($state, $message) = error_of($node, $db, qq{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM n; SELECT elsewhere('SELECT embed_set_alias(''younger'', ''m2'')');
	SET embed.model = 'younger'; SELECT embed('x')});
is($state, '42704', 'an alias made since is not there yet');
like($message, qr/"younger" does not exist.*after the snapshot of this statement or transaction/s, '... and the hint says why');

# Every way to use a model's name in a transaction that is older than its drop.
sub forget_and_replace
{
	my ($name) = @_;
	return qq{elsewhere('BEGIN; SELECT embed_drop(''$name'', forget => true); SELECT embed_import(''$name'', ${\ ($mean =~ s/'/''/gr)}); COMMIT')};
}
my $round = 0;
for my $first ('', q{SELECT cardinality(embed('x', '%1$s')), cardinality(embed('x')); })
{
	for my $call (q{embed('x', '%1$s')}, q{embed('x')}, q{embed('{x,y}'::text[], '%1$s')}, q{embed_agg('x', '%1$s')}, q{embed_agg('x')})
	{
		my $name = 'f' . $round++;
		my $begin = "SET embed.model = '$name'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM n; " . $first =~ s/%1\$s/$name/gr;
		my $late = $call =~ s/%1\$s/$name/gr;

		import_model($node, $db, $name, tiny_model('bert-cls'), "{\"max_tokens\": " . (20 + $round) . '}');
		my ($state, $message) = error_of($node, $db, "$begin SELECT ${\ forget_and_replace($name)}; SELECT $late");
		if ($call =~ /%/ || $first eq '')
		{
			is($state, '42704', "$late after forget and other content" . ($first ? ', used before' : ''));
			like($message, qr/model "$name" was dropped/, '... says so');
		}
		else
		{
			# what it began with is still at hand
			is($state, '', "$late goes on with what it began with");
			pass('... until the transaction ends');
		}
		is(query($node, $db, "SELECT cardinality(embed('x', '$name'))"), 48, '... a new transaction gets the other content');
	}
}
# the image is there under another name: nothing but the name tells
import_model($node, $db, 'kept', tiny_model('bert-cls'), '{"max_tokens": 17}');
import_model($node, $db, 'also', tiny_model('bert-cls'), '{"max_tokens": 17}');
is(query($node, $db, qq{PREPARE p AS SELECT cardinality(embed('x', 'kept')); EXECUTE p; EXECUTE p; SELECT ${\ forget_and_replace('kept')}; EXECUTE p}),
	"64\n64\nt\n48", 'a plan that has the vector of a constant does not outlive the name');
import_model($node, $db, 'kept2', tiny_model('bert-cls'), '{"max_tokens": 17}');
query($node, $db, q{CREATE FUNCTION caught(m text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN
	EXECUTE format('EXECUTE %I', m) INTO s; RETURN s; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$});
is(query($node, $db, qq{SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT cardinality(embed('x', 'kept2'));
	BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM n; SELECT ${\ forget_and_replace('kept2')}; SELECT caught('p'); COMMIT; EXECUTE p}),
	"200\nt\n42704\n48", '... nor is it planned with the old content by a transaction that is older');
query($node, $db, q{SELECT embed_drop('also')});
my ($dropped) = error_of($node, $db, q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM n; SELECT elsewhere('SELECT embed_drop(''late'')'); SELECT embed('x', 'late')});
is($dropped, '42704', 'a model dropped since');

# ------------------------------------------- the default flips every 4 ms

reset_names();
# what the switches left
query($node, $db, 'VACUUM FULL n');
query($node, $db, q{
	CREATE TABLE mixed (what text, n int);
	CREATE TABLE inserted (round int, body text, e float4[]);
	CREATE TRIGGER t BEFORE INSERT ON inserted FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body');
	CREATE TABLE going (on_ boolean); INSERT INTO going VALUES (true)});
my $flipper = start_psql($node, $db, q{DO $$ BEGIN WHILE (SELECT on_ FROM going) LOOP
	PERFORM embed_set_default('m3'), embed_set_alias('cur', 'm3'), embed_set_default('r3'); COMMIT; PERFORM pg_sleep(0.004);
	PERFORM embed_set_default('m2'), embed_set_alias('cur', 'm2'), embed_set_default('r2'); COMMIT; PERFORM pg_sleep(0.004); END LOOP; END $$; SELECT 'done';});
my $rows = q{SELECT n.*, embed(body) AS v FROM n WHERE id <= 40 OFFSET 0};
my %statements = (
	'rows' => [ 1500, "SELECT count(*) FILTER (WHERE v = e2) NOT IN (0, 40) OR count(*) FILTER (WHERE v IN (e2, e3)) <> 40 FROM ($rows) x" ],
	'sites' => [ 500, q{SELECT count(DISTINCT v) > 1 FROM (SELECT unnest(ARRAY[embed('text 1') = e2, embed('text ' || 2) = (SELECT e2 FROM n WHERE id = 2),
		(SELECT embedding FROM embed_rows(ARRAY['text 1'])) = e2, embed_avg('text 3') = (SELECT embed_avg('text 3', 'm2')),
		embed_tokens('x') = embed_tokens('x', 'm2')]) AS v FROM n WHERE id = 1 GROUP BY e2) x} ],
	'embed_agg' => [ 1200, q{SELECT count(DISTINCT s) > 1 FROM (SELECT embed_agg(body ORDER BY id) = embed_agg(body, 'm2' ORDER BY id) AS s FROM n WHERE id <= 12 GROUP BY id % 3) x} ],
	'rerank' => [ 500, q{SELECT count(DISTINCT s) > 1 FROM (SELECT rerank('q', body) = rerank('q', body, 'r2') AS s FROM n WHERE id <= 4
		UNION ALL SELECT rerank_agg('q', body) = rerank_agg('q', body, 'r2') FROM n WHERE id <= 4) x} ]);
my %psqls;
for my $what (sort keys %statements)
{
	my ($count, $sql) = @{ $statements{$what} };
	$psqls{$what} = start_psql($node, $db, qq{DO \$\$ DECLARE bad boolean; BEGIN FOR i IN 1 .. $count LOOP
		bad := ($sql); IF bad IS NOT FALSE THEN INSERT INTO mixed VALUES ('$what', i); END IF; COMMIT; END LOOP; END \$\$; SELECT 'done';});
}
$psqls{inserts} = start_psql($node, $db, q{DO $$ BEGIN FOR i IN 1 .. 800 LOOP INSERT INTO inserted SELECT i, body FROM n WHERE id <= 5; COMMIT; END LOOP; END $$; SELECT 'done';});
for my $what (sort keys %psqls)
{
	my @result = finish_psql($psqls{$what});
	is("$result[0] $result[1]", '0 done', "flipping default beside $what: none failed") or diag($result[2]);
}
# workers, which have the leader's snapshot
my $parallel = start_psql($node, $db, qq{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = on;
	DO \$\$ DECLARE c int; BEGIN FOR i IN 1 .. 100 LOOP SELECT count(*) FILTER (WHERE embed(body) = e2) INTO c FROM n; IF c NOT IN (0, 200) THEN INSERT INTO mixed VALUES ('parallel', i); END IF; COMMIT; END LOOP; END \$\$; SELECT 'done';});
my @result = finish_psql($parallel);
is("$result[0] $result[1]", '0 done', '... and beside parallel queries') or diag($result[2]);
query($node, $db, q{UPDATE going SET on_ = false});
is((finish_psql($flipper))[1], 'done', 'the default flipped all the while');
is(query($node, $db, q{SELECT count(*), string_agg(DISTINCT what, ' ') FROM mixed}), '0|', 'no statement mixed two models');
is(query($node, $db, q{SELECT count(*) FROM (SELECT round FROM inserted i JOIN n USING (body) GROUP BY round HAVING count(*) <> 5
	OR count(*) FILTER (WHERE i.e = e2) NOT IN (0, 5) OR count(*) FILTER (WHERE i.e IN (e2, e3)) <> 5) x}), 0, 'no INSERT stored vectors of two');
is(query($node, $db, q{SELECT count(*) FROM (SELECT DISTINCT i.e = e2 FROM inserted i JOIN n USING (body)) x}), 2, '... and both were in turn');

# ------------------------------------------------- a trigger made anew for the alias's new model

query($node, $db, q{CREATE TABLE kept (id int PRIMARY KEY, body text, e float4[])});
for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $make = q{CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'cur')};
	my $others = 'elsewhere(' . quote("BEGIN; SELECT embed_set_alias('cur', 'm3'); DROP TRIGGER zz_embed ON kept; $make; COMMIT") . ')';
	my $insert = "BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM n; SELECT $others; INSERT INTO kept VALUES (1, 'one'); COMMIT";

	reset_names();
	query($node, $db, "DROP TRIGGER IF EXISTS zz_embed ON kept; $make");
	if ($level eq 'READ COMMITTED')
	{
		query($node, $db, $insert);
		is(query($node, $db, q{SELECT count(*) FROM kept WHERE e = embed(body, 'm3'); DELETE FROM kept}), 1, "$level: the trigger made anew embeds");
		next;
	}
	my ($state, $message) = error_of($node, $db, $insert);
	is($state, '40001', "$level: the trigger is newer than the alias it sees: to be tried again");
	like($message, qr/could not serialize access due to a change of alias "cur"/, '... and says so');
}

done_testing();
