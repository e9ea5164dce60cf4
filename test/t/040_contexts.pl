# Every place an expression can stand in: the vector is always that of a plain
# call. Who may call it is in 043_rights.pl, pgvector's columns in 042_pgvector.pl.
#
# A second process runs the same with embed.look_ahead off; every answer, every
# error and every stored row have to be the same.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $look_ahead = $ENV{EMBED_LOOK_AHEAD} // 'on';
my $node = new_node("contexts_$look_ahead", conf => "max_prepared_transactions = 4\nembed.cache_entries = 0\nembed.look_ahead = $look_ahead\nembed.background = off\n");
my $transcript = $ENV{EMBED_TRANSCRIPT} // $node->basedir . '/transcript';
my $other = $look_ahead eq 'on' ? start_other($node->basedir . '/other') : undef;
keep_transcript($transcript);
my $db = 'postgres';
my $version = int(query($node, $db, 'SHOW server_version_num') / 10000);
my ($cls, $mean48) = map { quote(tiny_model($_)) } qw(bert-cls bert-mean-48);

import_model($node, $db, 'm', tiny_model('bert-cls'));
import_model($node, $db, 'other', tiny_model('bert-mean-48'));
query($node, $db, q{CREATE TABLE docs AS SELECT i AS id, 'document ' || i || ' about ' || md5(i::text) AS body FROM generate_series(1, 300) i});
query($node, $db, q{ALTER TABLE docs ADD PRIMARY KEY (id); ANALYZE docs});

# This test in another process, with embed.look_ahead off.
sub start_other
{
	my ($path) = @_;
	my %other = (path => $path, out => '', err => '');

	local $ENV{EMBED_LOOK_AHEAD} = 'off';
	local $ENV{EMBED_TRANSCRIPT} = $path;
	$other{handle} = IPC::Run::start([ $^X, (map { "-I$_" } @INC), $0 ], '<' => \undef, '>' => \$other{out}, '2>' => \$other{err});
	return \%other;
}

# Answers without what is of the process: ports, paths, and plans, which show where we look ahead.
sub answers
{
	my ($path) = @_;
	my $text = slurp($path);

	$text =~ s/\b(port|host) '[^']*'/$1/g;
	$text =~ s/'[^']*\/copied\.bin/'copied.bin/g;
	return grep { !/\bEXPLAIN\b/ } split /\x1e/, $text;
}

# The stored rows, as a dump has them.
sub dump_rows
{
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pg_dump', '--data-only', '--schema=public', '-d', $node->connstr($db) ], '<' => \undef, '>' => \$out, '2>' => \$err) or die $err;
	# names of one run
	$out =~ s/^\\(?:un)?restrict .*\n//mg;
	spit("$transcript.rows", $out);
	return;
}

# Every row of the query has to be true, and there has to be one.
sub all_right
{
	my ($from, $name) = @_;
	return is(query($node, $db, "SELECT count(*) > 0, count(*) FILTER (WHERE ok IS NOT TRUE) FROM ($from) AS checked(ok)"), 't|0', $name);
}

# What a statement tells at client_min_messages = debug1.
sub debug_messages
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql($db, "SET client_min_messages = debug1; $sql", stdout => \$out, stderr => \$err, on_error_die => 1);
	return $err;
}

# ------------------------------------------------------------- indexes

my $by_index = q{SET enable_seqscan = off; };
query($node, $db, q{CREATE INDEX docs_first ON docs (((embed(body, 'm'))[1]))});
my $lookup = q{SELECT id FROM docs WHERE (embed(body, 'm'))[1] = (embed('document 7 about ' || md5('7'), 'm'))[1]};
like(query($node, $db, "$by_index EXPLAIN (COSTS OFF) $lookup"), qr/docs_first/, 'an expression index is used');
is(query($node, $db, "$by_index $lookup"), 7, '... and finds its row');
query($node, $db, q{UPDATE docs SET body = 'changed' WHERE id = 7});
is(query($node, $db, "$by_index SELECT id FROM docs WHERE (embed(body, 'm'))[1] = (embed('changed', 'm'))[1]"), 7, '... and follows an update');
query($node, $db, q{CREATE UNIQUE INDEX CONCURRENTLY docs_whole ON docs (embed(body, 'm'))});
is(query($node, $db, "$by_index SELECT id FROM docs WHERE embed(body, 'm') = embed('changed', 'm')"), 7, 'a unique index of whole vectors, built concurrently');
is((error_of($node, $db, q{INSERT INTO docs VALUES (1000, 'changed')}))[0], '23505', '... is unique');
query($node, $db, q{CREATE INDEX docs_some ON docs (id, ((embed(body, 'm'))[1])) WHERE (embed(body, 'm'))[1] > 0});
my $positive = q{SELECT count(*) FROM docs WHERE (embed(body, 'm'))[1] > 0};
like(query($node, $db, "$by_index EXPLAIN (COSTS OFF) $positive"), qr/docs_some/, 'a partial index is used');
is(query($node, $db, "$by_index $positive"), query($node, $db, "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; $positive"),
	'... and holds the rows of its predicate');
like((error_of($node, $db, q{CREATE INDEX ON docs (((embed(body))[1]))}))[1], qr/IMMUTABLE/, 'without a model argument there is no index');
query($node, $db, q{REINDEX TABLE docs; CLUSTER docs USING docs_first});
query($node, $db, q{VACUUM ANALYZE docs});
is(query($node, $db, "$by_index $lookup"), '', 'after REINDEX, CLUSTER and VACUUM the old text is not found');
like(
	debug_messages(
		q{SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = 0; ALTER TABLE docs SET (parallel_workers = 2);
		CREATE INDEX docs_parallel ON docs (((embed(body, 'm'))[2]))}),
	qr/building index "docs_parallel" .*2 parallel workers/,
	'an index built by parallel workers');
is(query($node, $db, "$by_index SELECT count(*) FROM docs d WHERE EXISTS (SELECT FROM docs i WHERE (embed(i.body, 'm'))[2] = (embed(d.body, 'm'))[2] AND i.id = d.id)"),
	300, '... finds every row');
query($node, $db, q{ALTER TABLE docs RESET (parallel_workers); DROP INDEX docs_first, docs_some, docs_whole, docs_parallel});

# ------------------------------------- generated columns, constraints, defaults

query($node, $db, q{CREATE DOMAIN embeddable AS text CHECK (cardinality(embed(VALUE, 'm')) = 64);
	CREATE TABLE generated (id int, body embeddable, e float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED,
		CHECK (body IS NULL OR embed(body, 'm') <> embed('forbidden', 'm')), d float4[] DEFAULT embed('default', 'm'))});
query($node, $db, q{INSERT INTO generated (id, body) SELECT id, body FROM docs WHERE id <= 20; INSERT INTO generated VALUES (0, NULL)});
query($node, $db, q{UPDATE generated SET body = 'new' WHERE id = 3});
all_right(q{SELECT e IS NOT DISTINCT FROM embed(body, 'm') AND d = embed('default', 'm') FROM generated}, 'a generated column, a domain and a default');
is((error_of($node, $db, q{INSERT INTO generated VALUES (1, 'forbidden')}))[0], '23514', 'a CHECK');
like((error_of($node, $db, q{CREATE TABLE x (b text, e float4[] GENERATED ALWAYS AS (embed(b)) STORED)}))[1], qr/immutable/,
	'without a model argument there is no generated column');
query($node, $db, q{ALTER TABLE generated ADD e2 float4[] GENERATED ALWAYS AS (embed(body, 'other')) STORED});
all_right(q{SELECT e2 IS NOT DISTINCT FROM embed(body, 'other') FROM generated}, 'a generated column that is added later');
query($node, $db, q{CREATE MATERIALIZED VIEW mat AS SELECT id, embed(body, 'm') AS e FROM docs WHERE id <= 20; REFRESH MATERIALIZED VIEW mat});
all_right(q{SELECT e = embed(body, 'm') FROM mat JOIN docs USING (id)}, 'a materialized view');

# ------------------------------------------- prepared statements, functions

for my $mode (qw(force_custom_plan force_generic_plan auto))
{
	is(query($node, $db, qq{
		SET plan_cache_mode = $mode;
		PREPARE one(text) AS SELECT embed(\$1, 'm') = embed(\$1 || '', 'm') AND embed(\$1) = embed(\$1, 'm') AND embed(\$1, 'm') <> embed('x', 'm');
		PREPARE named(text, text) AS SELECT cardinality(embed(\$1, \$2));
		EXECUTE one('a'); EXECUTE one('b'); EXECUTE one('c'); EXECUTE one('d'); EXECUTE one('e'); EXECUTE one('f'); EXECUTE one('g');
		EXECUTE named('a', 'm'); EXECUTE named('a', 'other'); EXECUTE named('a', 'm')}),
		join("\n", ('t') x 7, 64, 48, 64), "prepared statements, $mode");
}
is(query($node, $db, q{
	PREPARE by_default AS SELECT cardinality(embed('x'));
	EXECUTE by_default; EXECUTE by_default; EXECUTE by_default; EXECUTE by_default; EXECUTE by_default; EXECUTE by_default;
	SET embed.model = 'other'; EXECUTE by_default; RESET embed.model; EXECUTE by_default}), join("\n", (64) x 6, 48, 64),
	'a cached plan follows embed.model');
query($node, $db, q{
	CREATE FUNCTION plain(t text) RETURNS float4[] LANGUAGE sql IMMUTABLE AS $$ SELECT embed(t, 'm') $$;
	CREATE FUNCTION stable(t text) RETURNS float4[] LANGUAGE sql STABLE AS $$ SELECT embed(t) $$;
	CREATE FUNCTION looping(n int) RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE e float4[]; b text; ok boolean := true;
	BEGIN
		FOR b IN SELECT body FROM docs ORDER BY id LIMIT n LOOP
			e := embed(b, 'm');
			ok := ok AND e = embed(b) AND cardinality(e) = 64;
		END LOOP;
		RETURN ok;
	END $$;
	CREATE FUNCTION catching(m text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE state text;
	BEGIN
		RETURN cardinality(embed('x', m));
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
		RETURN state || ' ' || cardinality(embed('after', 'm'));
	END $$;
	CREATE FUNCTION dynamic(t text) RETURNS float4[] LANGUAGE plpgsql AS $$
	DECLARE e float4[];
	BEGIN
		EXECUTE 'SELECT embed($1, $2)' INTO e USING t, 'm';
		RETURN e;
	END $$});
all_right(q{SELECT plain(body) = embed(body, 'm') AND stable(body) = embed(body, 'm') AND dynamic(body) = embed(body, 'm') FROM docs WHERE id <= 20},
	'SQL functions and EXECUTE');
is(query($node, $db, 'SELECT looping(30), looping(30)'), 't|t', 'a loop in PL/pgSQL');
is(query($node, $db, q{SELECT catching('m'), catching('no-such-model'), catching('m')}), '64|42704 64|64', 'an error caught in PL/pgSQL');
is(query($node, $db, q{
	CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 3 LOOP
			UPDATE generated SET body = 'round ' || i WHERE id = 4;
			IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
			ASSERT cardinality(embed('between', 'm')) = 64;
		END LOOP;
	END $$;
	CALL committing();
	SELECT e = embed('round 3', 'm') FROM generated WHERE id = 4}), 't', 'a procedure that commits');

# ------------------------------------------------------------- cursors

is(query($node, $db, q{
	DO $$
	DECLARE c CURSOR FOR SELECT id, embed(body, 'm') AS e FROM docs ORDER BY id; r record; n int := 0;
	BEGIN
		OPEN c;
		LOOP FETCH c INTO r; EXIT WHEN NOT FOUND OR n >= 30; n := n + 1;
			ASSERT r.e = embed((SELECT body FROM docs WHERE id = r.id));
			IF n % 10 = 0 THEN MOVE RELATIVE 1 FROM c; END IF;
		END LOOP;
		CLOSE c;
		ASSERT n = 30;
	END $$;
	SELECT 'done'}), 'done', 'a PL/pgSQL cursor, MOVE included');
like(query($node, $db, q{
	BEGIN; DECLARE c SCROLL CURSOR FOR SELECT (embed(body, 'm'))[1] FROM docs ORDER BY id;
	FETCH ABSOLUTE 5 FROM c; FETCH ABSOLUTE 299 FROM c; FETCH ABSOLUTE 5 FROM c; COMMIT}), qr/^(\S+)\n(?!\1\n)\S+\n\1$/,
	'a scrolling cursor gives the same on the way back');
is(query($node, $db, q{
	BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT embed(body, 'm') = embed(body) FROM docs ORDER BY id LIMIT 3; COMMIT;
	FETCH ALL FROM h}), "t\nt\nt", 'a cursor WITH HOLD');
is(query($node, $db, q{
	BEGIN; DECLARE o CURSOR FOR SELECT cardinality(embed(body, 'm')) FROM docs ORDER BY id;
	FETCH 1 FROM o; SAVEPOINT s; FETCH 1 FROM o; SELECT 1 FROM embed_rows(ARRAY['x'], 'other'); ROLLBACK TO s; FETCH 1 FROM o; COMMIT}), "64\n64\n1\n64",
	'a cursor across a savepoint that is rolled back');

# ------------------------------------------------- parallel query, windows, joins

my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; ALTER TABLE docs SET (parallel_workers = 2);';
for my $what (q{embed(body, 'm')}, q{embed(body)})
{
	my $sql = "SELECT md5(string_agg(e::text, ',' ORDER BY id)) FROM (SELECT id, $what AS e FROM docs OFFSET 0) AS t";

	like(query($node, $db, "$parallel EXPLAIN (COSTS OFF, VERBOSE) $sql"), qr/Workers Planned: 2\n.*Parallel Seq Scan.*\n *Output: .*embed\(/, "workers compute $what");
	is(query($node, $db, "$parallel $sql"), query($node, $db, "SET max_parallel_workers_per_gather = 0; $sql"), '... and its vectors are the same');
}
like(query($node, $db, "$parallel EXPLAIN (COSTS OFF) SELECT id FROM docs WHERE embed(body, 'm') = embed('changed', 'm')"), qr/Parallel Seq Scan/,
	'a parallel scan filters');
is(query($node, $db, "$parallel SELECT id FROM docs WHERE embed(body, 'm') = embed('changed', 'm')"), 7, '... and finds its row');
query($node, $db, q{ALTER TABLE docs RESET (parallel_workers)});

all_right(q{SELECT w = (SELECT embed_agg(b, 'm') FROM unnest(bodies) AS b) FROM (
	SELECT embed_agg(body, 'm') OVER win AS w, array_agg(body) OVER win AS bodies FROM docs WHERE id <= 30
	WINDOW win AS (ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)) AS t}, 'embed_agg over a moving window');
all_right(q{SELECT w = (SELECT embed_avg(b, 'm') FROM unnest(bodies) AS b) FROM (
	SELECT embed_avg(body, 'm') OVER win AS w, array_agg(body) OVER win AS bodies FROM docs WHERE id <= 30
	WINDOW win AS (PARTITION BY id % 3 ORDER BY id)) AS t}, 'embed_avg over a growing window');
all_right(q{SELECT w IS NOT DISTINCT FROM (SELECT embed_avg(b, 'm') FROM unnest(bodies) AS b) FROM (
	SELECT embed_avg(body, 'm') OVER win AS w, array_agg(body) OVER win AS bodies FROM docs WHERE id <= 10
	WINDOW win AS (ORDER BY id ROWS BETWEEN 4 PRECEDING AND 3 PRECEDING)) AS t}, '... and over frames of which some are empty');
all_right(q{SELECT e = embed(bodies, 'm') FROM (
	SELECT embed_agg(body, 'm' ORDER BY id DESC) FILTER (WHERE id % 2 = 0) AS e, array_agg(body ORDER BY id DESC) FILTER (WHERE id % 2 = 0) AS bodies
	FROM docs WHERE id <= 40 GROUP BY id % 5) AS t}, 'embed_agg with ORDER BY, FILTER and GROUP BY');
all_right(q{SELECT embed_agg(body, 'm') = (SELECT embed(array_agg(body ORDER BY id), 'm') FROM docs WHERE id <= 10)
	FROM (SELECT * FROM docs WHERE id <= 10 ORDER BY id) AS t GROUP BY GROUPING SETS ((), (id > 1000))}, 'embed_agg in grouping sets');
all_right(q{SELECT r.embedding = embed(d.body, 'm') FROM (SELECT array_agg(body ORDER BY id) AS bodies FROM docs WHERE id <= 10) AS a,
	LATERAL embed_rows(a.bodies, 'm') AS r JOIN docs d ON d.id = r.ordinality}, 'embed_rows in LATERAL');

# ------------------------------------------------------------- triggers

query($node, $db, q{CREATE TABLE parted (id int, body text, e float4[]) PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
	CREATE TABLE parted_2 (e float4[], id int, dropped int, body text);
	ALTER TABLE parted_2 DROP dropped; ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (100) TO (1000);
	CREATE TRIGGER t BEFORE INSERT OR UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
query($node, $db, q{INSERT INTO parted SELECT id, body FROM docs});
load_table($node, $db, 'copied', 'id int, body text', [ 400, 'by copy' ], [ 50, 'into the first' ]);
my $file = $node->basedir . '/copied.bin';
query($node, $db, "COPY copied TO '$file' (FORMAT binary)");
query($node, $db, "COPY parted (id, body) FROM '$file' (FORMAT binary)");
query($node, $db, "COPY (SELECT 401, NULL::text) TO '$file.txt'");
query($node, $db, "COPY parted (id, body) FROM '$file.txt'");
query($node, $db, q{UPDATE parted SET body = body || '!' WHERE id % 10 = 0});
is(query($node, $db, q{SELECT count(*) FROM parted}), 303, 'rows of INSERT ... SELECT and COPY');
all_right(q{SELECT e IS NOT DISTINCT FROM embed(body, 'm') FROM parted}, '... with UPDATE, in partitions of other column order');
query($node, $db, q{UPDATE parted SET id = id + 500 WHERE id < 20});
is(query($node, $db, q{SELECT count(*) FROM parted_2}), 303 - 81, 'rows that change their partition');
all_right(q{SELECT e IS NOT DISTINCT FROM embed(body, 'm') FROM parted}, '... keep their vectors');
query($node, $db, q{CREATE TABLE unique_docs (id int PRIMARY KEY, body text, e float4[]);
	CREATE TRIGGER t BEFORE INSERT OR UPDATE ON unique_docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	INSERT INTO unique_docs SELECT id, body FROM docs WHERE id <= 10});
is(query($node, $db, q{WITH new AS (INSERT INTO unique_docs SELECT id, body || '?' FROM docs WHERE id BETWEEN 6 AND 15
		ON CONFLICT (id) DO UPDATE SET body = excluded.body RETURNING e = embed(body, 'm') AS ok)
	SELECT count(*) FILTER (WHERE ok) FROM new}), 10, 'ON CONFLICT DO UPDATE, and RETURNING has the new vectors');
if ($version >= 15)
{
	query($node, $db, q{MERGE INTO parted p USING (SELECT id, 'merged ' || id AS body FROM docs WHERE id <= 60) s ON p.id = s.id
		WHEN MATCHED THEN UPDATE SET body = s.body WHEN NOT MATCHED THEN INSERT (id, body) VALUES (s.id, s.body)});
	all_right(q{SELECT e IS NOT DISTINCT FROM embed(body, 'm') FROM parted}, 'MERGE');
	is(query($node, $db, q{SELECT count(DISTINCT id) FROM parted WHERE body LIKE 'merged%'}), 60, '... merged');
}
else
{
	skip_loudly('no MERGE before PostgreSQL 15', 2);
}

# ------------------------------------------------------------- foreign tables

if (query($node, $db, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}))
{
	my $port = $node->port;
	my $host = $node->host;
	query($node, $db, qq{CREATE EXTENSION postgres_fdw;
		CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER here;
		CREATE FOREIGN TABLE far (id int, body text) SERVER here OPTIONS (table_name 'docs');
		CREATE TABLE far_target (id int, body text, e float4[]);
		CREATE FOREIGN TABLE far_into (id int, body text, e float4[]) SERVER here OPTIONS (table_name 'far_target');
		CREATE TRIGGER t BEFORE INSERT OR UPDATE ON far_into FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
	all_right(q{SELECT embed(f.body, 'm') = embed(d.body, 'm') FROM far f JOIN docs d USING (id) WHERE id <= 20}, 'rows of a foreign table');
	is(query($node, $db, q{SELECT count(*) FROM far WHERE embed(body, 'm') = embed('changed', 'm')}), 1, '... filtered by their vectors');
	query($node, $db, q{ALTER SERVER here OPTIONS (ADD extensions 'embed')});
	like(query($node, $db, q{EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM far WHERE embed(body, 'm') = embed('changed', 'm')}), qr/Remote SQL:.*embed\(/,
		'... and the other server can do that');
	is(query($node, $db, q{SELECT id FROM far WHERE embed(body, 'm') = embed('changed', 'm')}), 7, '... with the same vectors');
	query($node, $db, q{INSERT INTO far_into SELECT id, body FROM docs WHERE id <= 10; UPDATE far_into SET body = 'x' WHERE id = 1});
	all_right(q{SELECT e = embed(body, 'm') FROM far_target}, 'the trigger on a foreign table');
	# a foreign partition that comes after embed_column
	query($node, $db, q{CREATE TABLE shards (id int, body text, e float4[]) PARTITION BY LIST ((id % 2)); CREATE TABLE shard_0 PARTITION OF shards FOR VALUES IN (0);
		SELECT embed_column('shards', 'body', 'e', 'm'); CREATE TABLE far_shard (id int, body text, e float4[]);
		CREATE FOREIGN TABLE shard_1 PARTITION OF shards FOR VALUES IN (1) SERVER here OPTIONS (table_name 'far_shard');
		INSERT INTO shards SELECT id, body FROM docs WHERE id <= 10; UPDATE shards SET body = 'a new text' WHERE id IN (4, 5)});
	all_right(q{SELECT e = embed(body, 'm') FROM far_shard}, 'rows on their way to a foreign partition');
	query($node, $db, q{UPDATE far_shard SET body = 'past the trigger' WHERE id = 3});
	is(query($node, $db, q{SELECT string_agg(verdict || coalesce(' ' || n, ' ' || part), ', ' ORDER BY n DESC NULLS LAST) FROM embed_check('shards', 'e')}),
		'right 9, wrong 1, to do 0, other vector shard_1', '... embed_check reads them there');
}
else
{
	skip_loudly('this server has no postgres_fdw', 7);
}

# ------------------------------------- subtransactions, two phases, failures

is(query($node, $db, qq{
	BEGIN;
	SAVEPOINT a;
	SELECT embed_import('inside', $mean48) IS NULL;
	SELECT cardinality(embed('x', 'inside'));
	ROLLBACK TO a;
	SELECT count(*) FROM embed_models WHERE name = 'inside';
	SAVEPOINT b;
	SELECT embed_import('inside', $cls) IS NULL;
	RELEASE b;
	SELECT cardinality(embed('x', 'inside'));
	COMMIT;
	SELECT cardinality(embed('x', 'inside'))}), "f\n48\n0\nf\n64\n64",
	'an import in a savepoint that is rolled back, and in one that is kept');
is((error_of($node, $db, qq{BEGIN; SAVEPOINT a; SELECT embed_import('gone', $mean48); ROLLBACK TO a; SELECT embed('x', 'gone')}))[0], '42704',
	'... behind the rollback there is no model');
is(query($node, $db, qq{
	DO \$\$
	BEGIN
		FOR i IN 1 .. 3 LOOP
			BEGIN
				PERFORM embed_import('fleeting', $mean48);
				ASSERT cardinality(embed('x', 'fleeting')) = 48;
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END \$\$;
	SELECT catching('fleeting')}), '42704 64', '... nor behind a block that failed');
query($node, $db, q{CREATE TABLE phased (body text, e float4[]);
	CREATE TRIGGER t BEFORE INSERT ON phased FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
query($node, $db, q{BEGIN; INSERT INTO phased VALUES ('one'); PREPARE TRANSACTION 'rows'});
query($node, $db, qq{BEGIN; SELECT embed_import('prepared', $mean48); CREATE TABLE of_prepared AS SELECT embed('x', 'prepared') AS e; PREPARE TRANSACTION 'model'});
is(query($node, $db, q{SELECT catching('prepared')}), '42704 64', 'a model of a prepared transaction is not there yet');
$node->restart;
query($node, $db, q{COMMIT PREPARED 'rows'; COMMIT PREPARED 'model'});
all_right(q{SELECT e = embed(body, 'm') FROM phased}, 'a prepared transaction with rows of the trigger');
all_right(q{SELECT e = embed('x', 'prepared') FROM of_prepared}, '... and one with an import');
my $failing = q{embed_agg(CASE WHEN id = 30 THEN (1 / (id - 30))::text ELSE body END, 'm')};
is((error_of($node, $db, "SELECT $failing FROM docs"))[0], '22012', 'an ERROR in the middle of an aggregate');
is(query($node, $db, qq{
	DO \$\$ BEGIN FOR i IN 1 .. 50 LOOP BEGIN
		PERFORM $failing FROM docs;
	EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END \$\$;
	SELECT cardinality(embed_agg(body, 'm')) FROM docs WHERE id <= 10}), 640, '... fifty times in one session, and the next aggregate works');

# ------------------------------------------------------------- texts

for my $m (qw(m other))
{
	all_right(qq{SELECT embed(NULL, '$m') IS NULL AND embed_query(NULL, '$m') IS NULL AND embed('', '$m') IS NOT NULL AND
		embed(repeat(' ', 100), '$m') = embed('', '$m') AND embed(repeat(' ', 1000000), '$m') = embed('', '$m') AND
		embed(E'\\t\\n\\r \\n', '$m') = embed('', '$m')}, "NULL, empty and all-space texts, $m");
}
all_right(q{SELECT embed(repeat('word ', 20000000), 'm') = embed(repeat('word ', 600), 'm') AND
	embed(repeat(' ', 100000000), 'm') = embed('', 'm')}, 'texts of 100 MB');
query($node, $db, q{CREATE TABLE large (body text, e float4[]); ALTER TABLE large ALTER body SET STORAGE EXTERNAL;
	CREATE TRIGGER t BEFORE INSERT ON large FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	INSERT INTO large SELECT repeat('word ', 4000000)});
all_right(q{SELECT e = embed(repeat('word ', 600), 'm') AND embed(body, 'm') = e FROM large}, 'a text out of line');
isnt((error_of($node, $db, q{SET embed.on_overflow = error; SELECT embed(body, 'm') FROM large}))[0], '', '... refused with embed.on_overflow = error');

# --------------------------------- what is computed: nothing twice, nothing for nothing

sub computes
{
	my ($n, $sql, $name) = @_;
	return is(computed($node, $db, $sql), $n, "computed: $name");
}

query($node, $db, q{CREATE TABLE few AS SELECT id, body || ' few' AS body, NULL::float4[] AS e FROM docs WHERE id BETWEEN 11 AND 30; ALTER TABLE few ADD PRIMARY KEY (id);
	CREATE INDEX few_first ON few (((embed(body, 'm'))[1])); ANALYZE few});
computes(20, q{SELECT embed(body, 'm') FROM few}, 'a row, a text');
computes(20, q{SELECT embed(body) FROM few}, '... by the default');
computes(1, q{SELECT count(embed('constant', 'm')) FROM few}, 'a constant, once');
computes(1, q{SELECT count(embed('constant')) FROM few}, '... by the default');
computes(1, q{SELECT count(embed('constant')), count(embed_query('constant', 'm')) FROM few WHERE false}, 'of no row, what the plan needs');
computes(1, q{PREPARE p AS SELECT embed('constant', 'm'); EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p}, 'a prepared constant, once');
computes(0, q{SELECT embed(body, 'm') FROM few WHERE id = 0}, 'no row, no text');
computes(1, q{SELECT embed(body, 'm') FROM few WHERE id = 12}, 'one row');
computes(1, q{SELECT count(*) FROM few WHERE embed(body, 'm') IS NOT NULL AND id = 12}, 'a condition on another column comes first');
computes(5, q{SELECT embed(body, 'm') FROM few LIMIT 5}, 'LIMIT');
computes(20, q{SELECT id FROM few ORDER BY embed(body, 'm') LIMIT 5}, 'ORDER BY');
computes(3, q{BEGIN; DECLARE c CURSOR FOR SELECT embed(body, 'm') FROM few; FETCH 3 FROM c; COMMIT}, 'rows fetched');
computes(20, q{SELECT embed(array_agg(body), 'm') FROM few}, 'an array');
computes(20, q{SELECT count(embedding) FROM (SELECT array_agg(body) AS a FROM few) x, embed_rows(a, 'm')}, 'embed_rows');
computes(20, q{SELECT embed_agg(body, 'm') FROM few GROUP BY id % 3}, 'groups');
computes(20, q{SELECT cardinality(embed_agg(body, 'm') OVER (ORDER BY id)) FROM few}, 'a growing window');
computes(20, q{SELECT embed_avg(body), count(*) FROM few}, 'embed_avg');
computes(1, q{SET enable_seqscan = off; SELECT count(*) FROM few WHERE (embed(body, 'm'))[1] = (embed('some few', 'm'))[1]}, 'a search by an expression index');
computes(1, q{UPDATE few SET body = 'other' WHERE id = 12}, 'one row of the index');
computes(0, q{UPDATE few SET e = NULL WHERE id = 12}, 'a HOT update');
computes(0, q{DELETE FROM few WHERE id = 30; VACUUM few}, 'DELETE and VACUUM');
computes(19, q{REINDEX TABLE few}, 'REINDEX');
query($node, $db, q{DROP INDEX few_first; CREATE TRIGGER t BEFORE INSERT OR UPDATE ON few FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
computes(2, q{INSERT INTO few VALUES (101, 'one hundred'), (102, 'more'), (103, NULL)}, 'the trigger, rows with a text');
computes(0, q{UPDATE few SET body = body WHERE id > 100}, '... not where the text stays');
computes(1, q{UPDATE few SET body = 'changed' WHERE id = 102; UPDATE few SET id = 104 WHERE id = 102}, '... once where it changes');
computes(0, q{SELECT count(e) FROM few; DELETE FROM few WHERE id > 100}, '... nor where vectors are read');
query($node, $db, q{CREATE TABLE kept (body text, e float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED, n int)});
computes(10, q{INSERT INTO kept SELECT body FROM few WHERE id BETWEEN 13 AND 22}, 'a generated column');
computes(0, q{UPDATE kept SET n = 1; SELECT count(e) FROM kept}, '... not where another column changes');
computes(19, q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT count(embed(body, 'm')) FROM few}, 'parallel workers');
computes(20, q{SET embed.cache_entries = 100; SELECT count(embed(d.body, 'm')) FROM few d, generate_series(1, 10) i WHERE d.id < 30;
	SELECT count(embed(body, 'm')) FROM few WHERE id < 30; SELECT embed('one more', 'm')}, 'what repeats, with the cache');
is(computed($node, $db, q{SELECT embed_tokens(body, 'm'), embed_info(body, 'm') FROM few; SELECT * FROM embed_models; SELECT * FROM embed_memory; EXPLAIN SELECT embed(body, 'm') FROM few}), 0,
	'... and nothing to look at tokens, models, plans');

# ------------------------------------------------------------- look-ahead

dump_rows();
if (defined $other)
{
	$other->{handle}->finish;
	is($other->{handle}->result(0), 0, 'all of this with embed.look_ahead off') or diag("$other->{out}$other->{err}");
	my @on = answers($transcript);
	my @off = answers($other->{path});

	cmp_ok(scalar @on, '>', 100, 'answers to compare');
	is_deeply(\@on, \@off, 'answers and errors are the same');
	cmp_ok(length(slurp("$transcript.rows")), '>', 100_000, 'rows to compare');
	is(slurp("$transcript.rows"), slurp("$other->{path}.rows"), 'the stored rows are the same, bit for bit');
}

done_testing();
