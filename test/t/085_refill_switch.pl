# embed_refill and embed_switch: searches, writers and old snapshots beside them,
# what a cancel and a killed backend leave, dumps, roles, partitions, chunk
# tables, pgvector.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('refill', conf => "restart_after_crash = on\nwal_level = logical\n");
my $db = 'postgres';

# Two models of one dimension whose vectors differ: only their vectors tell which model a search reads.
import_model($node, $db, 'm2', tiny_model('bert-cls'));
import_model($node, $db, 'm3', tiny_model('bert-cls'), '{"document_prompt": "other words: ", "max_tokens": 63}');
import_model($node, $db, 'wide', tiny_model('bert-mean-48'));

my $psql = "psql -X -q -v ON_ERROR_STOP=1 -d '" . $node->connstr($db) . "' -f - >/dev/null";
$psql =~ s/'/''/g;
query($node, $db, qq{
	CREATE FUNCTION elsewhere(command text) RETURNS boolean LANGUAGE plpgsql AS \$\$
	BEGIN
		EXECUTE format('COPY (SELECT %L::text) TO PROGRAM %L', command, '$psql');
		RETURN true;
	END \$\$;
	SELECT embed_set_alias('cur', 'm2'), embed_set_default('m2');
	CREATE TABLE other AS SELECT i FROM generate_series(1, 3) i;
	CREATE TABLE stop (at int);
	CREATE TABLE docs AS SELECT i AS id, 'text ' || i AS body FROM generate_series(1, 60) i;
	ALTER TABLE docs ADD PRIMARY KEY (id);
	SELECT embed_column('docs', 'body', 'embedding', 'm2');
	CALL embed_fill('docs');
	CREATE INDEX docs_first ON docs ((embedding[1]) DESC) WHERE id > 0;
	CREATE FUNCTION wrong() RETURNS bigint LANGUAGE plpgsql STABLE AS \$\$
	BEGIN
		RETURN (SELECT count(*) FROM docs WHERE embedding IS DISTINCT FROM embed(body));
	END \$\$});

# Waits until the query gives the answer.
sub comes
{
	my ($sql, $answer, $name) = @_;
	return answer_comes($node, $db, $sql, $answer, $name);
}

sub model_of
{
	my ($table, $column) = @_;
	return query($node, $db, "SELECT string_agg(model || ' ' || vector, ', ' ORDER BY model) FROM embed_columns WHERE tab = '$table'::regclass" . ($column ? " AND vector = '$column'" : ''));
}

sub to_model
{
	my ($model) = @_;
	return "BEGIN; SELECT embed_switch('docs', 'embedding'); SELECT embed_set_alias('cur', '$model'), embed_set_default('$model'); COMMIT";
}

# ---------------------------------------------------------------- searches and writers beside it all

my $searches = q{SELECT count(*) FROM docs WHERE embedding IS DISTINCT FROM embed(body)};
my $loop = q{DO $$ DECLARE bad bigint; n int := 0;
	BEGIN
		LOOP
			%s;
			IF bad > 0 THEN RAISE 'mixed: %% rows', bad; END IF;
			n := n + 1;
			COMMIT;
			EXIT WHEN EXISTS (SELECT FROM stop);
		END LOOP;
		RAISE NOTICE 'searched %%', n > 10;
	END $$};
my @sessions = (
	[ 'by the alias', "SET embed.model = 'cur'; " . sprintf($loop, "bad := ($searches)") ],
	[ 'by the default', sprintf($loop, "EXECUTE " . quote($searches) . ' INTO bad') ],
	[ 'nearest first', sprintf($loop, q{SELECT count(*) FILTER (WHERE NOT (id = 7 AND c > 0.9999)) INTO bad FROM (SELECT id, embed_cosine(embedding, embed('text 7')) AS c FROM docs WHERE id <= 60 ORDER BY 2 DESC LIMIT 1) s}) ],
	[ 'a writer', sprintf($loop, q{INSERT INTO docs SELECT coalesce(max(id), 0) + 1, 'new ' || max(id) FROM docs HAVING max(id) < 400; UPDATE docs SET body = body || '.' WHERE id = 400 - (SELECT count(*) FROM docs) % 200; bad := 0}) ],
);
# One transaction after another, whose snapshots are older than their locks.
my $old = "\\set ON_ERROR_STOP 0\n" . ("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT sum(i) * 0 FROM other; $searches; COMMIT;\nSELECT wrong() FROM other LIMIT 1;\n" x 250);
my @running = map { [ $_->[0], start_psql($node, $db, $_->[1]) ] } @sessions;
my $olds = start_psql($node, $db, $old);

query($node, $db, q{CALL embed_refill('docs', 'embedding', 'm3')});
is(query($node, $db, q{SELECT count(*) FROM docs WHERE embedding__next IS DISTINCT FROM embed(body, 'm3')}), 0, 'filled beside searches and writers, and kept');
my ($state, $message) = error_of($node, $db, q{SELECT embed_switch('docs', 'embedding')});
is($state, '55000', 'refused without an index');
my ($create) = $message =~ /HINT:  (CREATE INDEX .*)/;
is($create, 'CREATE INDEX docs_embedding__next_idx ON public.docs USING btree ((embedding__next[1]) DESC) WHERE (id > 0)', '... and the hint is the statement that makes it');
query($node, $db, $create);
for my $i (1 .. 10)
{
	query($node, $db, to_model($i % 2 ? 'm3' : 'm2'));
}
is(model_of('docs'), 'm2 embedding, m3 embedding__next', 'ten switches, there and back');
query($node, $db, 'INSERT INTO stop VALUES (1)');
for my $session (@running)
{
	my ($code, $out, $err) = finish_psql($session->[1]);
	is($code, 0, "$session->[0]: all old or all new") or diag($err);
	like($err, qr/NOTICE:  searched t/, '... many times');
}
my ($code, $out, $err) = finish_psql($olds);
is(join(' ', sort keys %{ { map { $_ => 1 } split /\n/, $out } }), '0', 'old snapshots: all old or all new');
is(join("\n", grep { /ERROR|FATAL/ && !/could not serialize access due to a switch of column "embedding" of table "docs"|current transaction is aborted/ } split /\n/, $err), '', '... or 40001');
is(query($node, $db, q{SELECT count(*) FROM docs WHERE embedding IS DISTINCT FROM embed(body, 'm2') OR embedding__next IS DISTINCT FROM embed(body, 'm3')}), 0, 'both columns are kept through it all');
is(query($node, $db, q{SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY 1) FROM (SELECT indexrelid::regclass::text COLLATE "C" AS indexrelid FROM pg_index WHERE indrelid = 'docs'::regclass ORDER BY 1) i}),
	'docs_embedding__next_idx docs_embedding__next_to_do docs_embedding_to_do docs_first docs_pkey', 'indexes have their names again');

# ---------------------------------------------------------------- snapshots older than a switch

my $there = 'elsewhere(' . quote(to_model('m3')) . ')';
my $back = 'elsewhere(' . quote(to_model('m2')) . ')';

for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	($state, $message) = error_of($node, $db, "BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM other; SELECT $there; $searches");
	is($state, '40001', "$level: a search that would mix is refused");
	like($message, qr/might succeed if retried/, '... and says so');
	is(query($node, $db, "BEGIN ISOLATION LEVEL $level; $searches; COMMIT"), '0', '... and succeeds');
	is(query($node, $db, "BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM other; SELECT $back; SELECT count(*) > 0 FROM docs WHERE body LIKE 'text%'; COMMIT"), "3\nt\nt", '... other columns are read');
}
# COPY of a table passes no executor. pg_dump names columns as its snapshot has them: one of these names is gone.
my $then = "LOAD 'embed'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM other";
my $as_it_was = query($node, $db, 'COPY docs TO STDOUT');
is((error_of($node, $db, "$then; SELECT $there; COPY docs (id, embedding, embedding__next) TO STDOUT"))[0], '42703', 'COPY by the names of an old snapshot is refused');
is((error_of($node, $db, "$then; COPY (SELECT id, embedding FROM docs) TO STDOUT"))[0], '', 'COPY of a query by a new one');
is((error_of($node, $db, "$then; SELECT $back; COPY (SELECT id, embedding FROM docs) TO STDOUT"))[0], '40001', '... and by an old one');
ok(query($node, $db, "$then; SELECT $there; COPY docs TO STDOUT; COMMIT") eq "3\nt\n$as_it_was", '... and of all columns, which are in their places');
query($node, $db, "SELECT $back");
is((error_of($node, $db, "SELECT $there, wrong()"))[0], '40001', 'a STABLE function has the snapshot of its caller');
is(query($node, $db, "SELECT $back; SELECT wrong()"), "t\n0", '... and works in the next statement');
is(query($node, $db, "PREPARE p AS $searches; EXECUTE p; SELECT $there; EXECUTE p; SELECT $back; EXECUTE p; BEGIN ISOLATION LEVEL REPEATABLE READ; EXECUTE p; COMMIT"), "0\nt\n0\nt\n0\n0", 'a prepared statement follows');
is(query($node, $db, "BEGIN; SELECT embed_switch('docs', 'embedding'); SELECT embed_set_default('m3'); $searches; ROLLBACK; $searches"), "\n\n0\n0", 'a switch that is rolled back');

# A search holds the switch up, a timeout ends it, and nothing has changed.
my $holder = start_psql($node, $db, "BEGIN; SELECT count(*) FROM docs;\nSELECT pg_sleep(0.05) FROM generate_series(1, 2000) WHERE NOT EXISTS (SELECT FROM stop WHERE at = 2);\nCOMMIT;\n");
comes(q{SELECT count(*) FROM pg_locks WHERE relation = 'docs'::regclass AND granted}, 1, 'a search holds the table');
is((error_of($node, $db, q{SET lock_timeout = '50ms'; SELECT embed_switch('docs', 'embedding')}))[0], '55P03', 'a switch that may not wait');
query($node, $db, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%generate_series(1, 2000)%' AND pid <> pg_backend_pid()});
finish_psql($holder);
is(model_of('docs'), 'm2 embedding, m3 embedding__next', '... changes nothing');

# ---------------------------------------------------------------- ends in the middle, and goes on

# A row that another session locks holds the fill up when all others are filled.
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = off});
query($node, $db, q{SELECT pg_reload_conf()});
query($node, $db, q{CREATE TABLE long AS SELECT i AS id, 'long text ' || i AS body FROM generate_series(1, 300) i;
	SELECT embed_column('long', 'body', 'v', 'm2', 'later'); CALL embed_fill('long')});
my $refill = q{CALL embed_refill('long', 'v', 'm3')};
for my $end ('cancel', 'terminate', 'kill')
{
	my ($in, $said, $complaint) = ('', '', '');
	my $lock = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr($db) ], '<', \$in, '>', \$said, '2>', \$complaint);
	my $call;
	my $pid;

	$in .= "BEGIN; SELECT 'locked' FROM long WHERE id = 299 FOR UPDATE;\n";
	$lock->pump until $said =~ /locked/;
	# ADD COLUMN waits for the lock: it is held for a moment in the first round
	if ($end eq 'cancel')
	{
		$in .= "ROLLBACK;\n";
		$in .= "SELECT 'free';\n";
		$lock->pump until $said =~ /free/;
		query($node, $db, q{ALTER TABLE long ADD v__next float4[]; SELECT embed_column('long', 'body', 'v__next', 'm3', 'later')});
		$in .= "BEGIN; SELECT 'again' FROM long WHERE id = 299 FOR UPDATE;\n";
		$lock->pump until $said =~ /again/;
	}
	$call = start_psql($node, $db, $refill);
	comes(q{SELECT count(*) FROM long WHERE v__next IS NULL}, 1, "$end: all but one row are filled");
	$pid = query($node, $db, q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL embed_refill%' AND pid <> pg_backend_pid()});
	my $log_size = -s $node->logfile;
	if ($end eq 'kill')
	{
		kill 'KILL', $pid;
	}
	else
	{
		query($node, $db, "SELECT pg_${end}_backend($pid)");
	}
	my ($result, undef, $errors) = finish_psql($call);
	isnt($result, 0, '... and the call ends') or diag($errors);
	$in .= "\\q\n";
	$lock->finish;
	wait_for_server($node, $db, $end eq 'kill' ? $log_size : undef);
	is((error_of($node, $db, q{SELECT embed_switch('long', 'v')}))[0], '55000', '... no switch while a row is to do');
	($state, $message) = error_of($node, $db, q{CALL embed_refill('long', 'v', 'wide')});
	is($state, '55000', '... and no refill by another model');
	like($message, qr/being filled by model "m3", not "wide".*HINT:.*SELECT embed_column_drop\('public.long', 'v__next'\)/s, '... with the way to give it up');
}
query($node, $db, q{SELECT embed_stat_reset()});
query($node, $db, $refill);
is(query($node, $db, q{SELECT sum(texts) FROM embed_stat}), 1, 'the next call goes on: it computes the one text that is left');
is(query($node, $db, q{SELECT count(*) FROM long WHERE v__next IS DISTINCT FROM embed(body, 'm3') OR v IS DISTINCT FROM embed(body, 'm2')}), 0, '... and all is right');
query($node, $db, q{INSERT INTO long VALUES (1000, 'one more')});
($state, $message) = error_of($node, $db, q{SELECT embed_switch('long', 'v')});
is($state, '55000', 'mode later: a new row is to do');
like($message, qr/1 row of column "v__next" of table "long" is to do/, '... and counted');
query($node, $db, q{CALL embed_fill('long'); SELECT embed_switch('long', 'v')});
is(query($node, $db, q{SELECT bool_and(v = embed(body, 'm3')), bool_and(v__prev = embed(body, 'm2')) FROM long}), 't|t', 'filled by embed_fill, and switched');
is(query($node, $db, q{SELECT string_agg(vector || ' ' || mode, ', ' ORDER BY vector) FROM embed_columns WHERE tab = 'long'::regclass}), 'v later, v__prev later', 'the mode is that of the column');
query($node, $db, q{SELECT embed_column_drop('long', 'v__prev'); ALTER TABLE long DROP COLUMN v__prev; CALL embed_refill('long', 'v', 'wide')});
is(query($node, $db, q{SELECT embed_column_drop('long', 'v__next'); SELECT count(*) FROM embed_columns WHERE tab = 'long'::regclass}), "\n1", 'given up');
query($node, $db, q{CALL embed_refill('long', 'v', 'm2')});
is(query($node, $db, q{SELECT count(*) FROM long WHERE v__next IS DISTINCT FROM embed(body, 'm2')}), 0, '... the column that was left is taken for another model');
# A fill of the old column that has read its texts goes on under the column's new name.
{
	my ($in, $said, $complaint) = ('', '', '');
	my $lock = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db) ], '<', \$in, '>', \$said, '2>', \$complaint);
	my $call;

	query($node, $db, q{UPDATE long SET v = NULL WHERE id <= 10});
	$in .= "BEGIN; LOCK TABLE long IN SHARE MODE; SELECT 'locked';\n";
	$lock->pump until $said =~ /locked/;
	$call = start_psql($node, $db, q{CALL embed_fill('long')});
	comes(q{SELECT count(*) FROM pg_locks WHERE relation = 'long'::regclass AND mode = 'RowExclusiveLock' AND NOT granted}, 1, 'a fill between reading and writing');
	$in .= "SELECT embed_switch('long', 'v'); COMMIT;\n\\q\n";
	$lock->finish;
	like($complaint, qr/column "v" of table "long" has the vectors of model "m2"/, '... while its column gets another name');
	is((finish_psql($call))[0], 0, '... ends without an error');
	is(query($node, $db, q{SELECT count(*) FROM long WHERE v IS DISTINCT FROM embed(body, 'm2') OR v__prev IS DISTINCT FROM embed(body, 'm3')}), 0, '... and has filled its own column');
	is(query($node, $db, q{SELECT count(*) FROM embed_failures}), 0, '... without a failure');
}
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM RESET embed.background});
query($node, $db, q{SELECT pg_reload_conf()});

# Two sessions refill the same column at once.
query($node, $db, q{CREATE TABLE twice AS SELECT i AS id, 'twice ' || i AS body FROM generate_series(1, 500) i; SELECT embed_column('twice', 'body', 'v', 'm2'); CALL embed_fill('twice')});
my @calls = map { start_psql($node, $db, q{CALL embed_refill('twice', 'v', 'm3')}) } 1 .. 2;
my @ends = map { [ finish_psql($_) ] } @calls;
is(join(' ', map { $_->[0] } @ends), '0 0', 'two calls at once') or diag(map { $_->[2] } @ends);
# Both find the index missing, and wait for the same lock.
{
	my ($in, $said) = ('', '');
	my $writer = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr($db) ], '<', \$in, '>', \$said);

	query($node, $db, q{DROP INDEX twice_v__next_to_do});
	$in .= "BEGIN; LOCK TABLE twice IN ROW EXCLUSIVE MODE; SELECT 'locked';\n";
	$writer->pump until $said =~ /locked/;
	@calls = map { start_psql($node, $db, q{CALL embed_refill('twice', 'v', 'm3')}) } 1 .. 2;
	comes(q{SELECT count(*) FROM pg_locks WHERE relation = 'twice'::regclass AND NOT granted}, 2, 'two calls wait to make the index');
	$in .= "COMMIT;\n\\q\n";
	$writer->finish;
	@ends = map { [ finish_psql($_) ] } @calls;
	is(join(' ', map { $_->[0] } @ends), '0 0', '... one makes it') or diag(map { $_->[2] } @ends);
}
query($node, $db, q{CALL embed_refill('twice', 'v', 'm3'); SELECT embed_switch('twice', 'v')});
is(query($node, $db, q{SELECT count(*) FROM twice WHERE v IS DISTINCT FROM embed(body, 'm3') OR v__prev IS DISTINCT FROM embed(body, 'm2')}), 0, '... fill one column');

# ---------------------------------------------------------------- dump between refill and switch

my $dump = $node->basedir . '/refill.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr($db) ], 'dumped between refill and switch');
query($node, $db, 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ], 'restored');
is(query($node, 'restored', q{SELECT sum(texts) FROM embed_stat}), 0, 'no text is computed');
query($node, 'restored', q{CALL embed_refill('docs', 'embedding', 'm3')});
is(query($node, 'restored', q{SELECT sum(texts) FROM embed_stat}), 0, 'the restored refill is complete');
query($node, 'restored', q{SELECT embed_switch('docs', 'embedding')});
is(query($node, 'restored', q{SELECT count(*) FROM docs WHERE embedding IS DISTINCT FROM embed(body, 'm3') OR embedding__prev IS DISTINCT FROM embed(body, 'm2')}), 0, '... switched');
query($node, 'restored', q{SELECT embed_switch('docs', 'embedding'); INSERT INTO docs VALUES (5000, 'after')});
is(query($node, 'restored', q{SELECT count(*) FROM docs WHERE embedding IS DISTINCT FROM embed(body, 'm2') OR embedding__next IS DISTINCT FROM embed(body, 'm3')}), 0, '... and back');
drop_database($node, $db, 'restored');

# ---------------------------------------------------------------- roles

query($node, $db, q{CREATE ROLE owner; CREATE ROLE stranger; CREATE SCHEMA theirs AUTHORIZATION owner; GRANT USAGE ON SCHEMA theirs TO stranger;
	SET ROLE owner; CREATE TABLE theirs.t (id int PRIMARY KEY, body text); INSERT INTO theirs.t SELECT i, 'their ' || i FROM generate_series(1, 20) i;
	SELECT embed_column('theirs.t', 'body', 'e', 'm2'); CALL embed_fill('theirs.t'); GRANT SELECT, INSERT, UPDATE ON theirs.t TO stranger; GRANT SELECT (e) ON theirs.t TO PUBLIC});
is((error_of($node, $db, q{SET ROLE stranger; CALL embed_refill('theirs.t', 'e', 'm3')}))[0], '42501', 'who does not own the table: no refill');
is((error_of($node, $db, q{SET ROLE owner; CALL embed_refill('theirs.t', 'e', 'm3')}))[0], '', 'its owner');
is((error_of($node, $db, q{SET ROLE stranger; SELECT embed_switch('theirs.t', 'e')}))[0], '42501', 'who does not own the table: no switch');
# a function of the owner's, on the path of the refill, runs as the owner even for a superuser
query($node, $db, q{SET ROLE owner; CREATE TABLE theirs.ran (who text, why text);
	CREATE FUNCTION theirs.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO theirs.ran VALUES (current_user, tg_op); RETURN NEW; END $$;
	CREATE TRIGGER a BEFORE UPDATE ON theirs.t FOR EACH ROW EXECUTE FUNCTION theirs.f();
	CREATE FUNCTION theirs.dims(float4[]) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN IF current_user <> 'owner' THEN RAISE 'runs as %', current_user; END IF; RETURN cardinality($1) = 64; END $$;
	CREATE DOMAIN theirs.vec AS float4[] CHECK (theirs.dims(VALUE)); CREATE TABLE theirs.d (id int PRIMARY KEY, body text, e theirs.vec); INSERT INTO theirs.d VALUES (1, 'one');
	SELECT embed_column('theirs.d', 'body', 'e', 'm2'); CALL embed_fill('theirs.d')});
query($node, $db, q{CALL embed_refill('theirs.t', 'e', 'm3'); UPDATE theirs.t SET body = 'x' WHERE id = 1; DELETE FROM theirs.ran; ALTER TABLE theirs.t DISABLE TRIGGER zz_embed_e__next; UPDATE theirs.t SET e__next = NULL WHERE id < 5; ALTER TABLE theirs.t ENABLE TRIGGER zz_embed_e__next; DELETE FROM theirs.ran; CALL embed_refill('theirs.t', 'e', 'm3')});
is(query($node, $db, q{SELECT DISTINCT who FROM theirs.ran}), 'owner', 'a superuser\'s refill runs the triggers of the table as its owner');
query($node, $db, q{CALL embed_refill('theirs.d', 'e', 'm3')});
is((error_of($node, $db, q{SELECT embed_column_drop('theirs.d', 'e__next'); ALTER TABLE theirs.d DROP e__next; CALL embed_refill('theirs.d', 'e', 'wide')}))[0], '23514', 'a domain that does not take the model\'s vectors: refused before writers meet it');
is(query($node, $db, q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'theirs.d'::regclass AND attname = 'e__next'}), 0, '... and no column is left');
is(query($node, $db, q{SET ROLE owner; SELECT embed_switch('theirs.t', 'e'); SELECT has_column_privilege('public', 'theirs.t', 'e', 'SELECT'), bool_and(e = embed(body, 'm3')) FROM theirs.t}), "\nt|t", 'the owner switches, rights on the column stay with its name');

# ---------------------------------------------------------------- partitions, chunk tables

query($node, $db, q{CREATE TABLE parts (id int, body text, dropped int) PARTITION BY RANGE (id);
	CREATE TABLE parts_1 (dropped int, body text, junk int, id int); ALTER TABLE parts_1 DROP junk; ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (0) TO (100);
	CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
	INSERT INTO parts SELECT i, 'part ' || i FROM generate_series(0, 199, 10) i;
	SELECT embed_column('parts', 'body', 'e', 'm2'); CALL embed_fill('parts');
	CREATE INDEX parts_e ON parts ((e[1])); CREATE INDEX parts_2_own ON parts_2 ((e[2]));
	CALL embed_refill('parts', 'e', 'm3')});
is((error_of($node, $db, q{CALL embed_refill('parts_1', 'e', 'm3')}))[0], '42809', 'a partition has the columns of its table');
for my $n (1, 2)
{
	($state, $message) = error_of($node, $db, q{SELECT embed_switch('parts', 'e')});
	is($state, '55000', "an index that is missing, $n");
	my ($statement) = $message =~ /HINT:  (CREATE INDEX .*)/;
	like($statement, $n == 1 ? qr/ON public\.parts USING/ : qr/ON public\.parts_2 USING/, '... on the partitioned table first, then on the partition');
	query($node, $db, $statement);
}
query($node, $db, q{SELECT embed_switch('parts', 'e'); CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (200) TO (300); INSERT INTO parts VALUES (5, 'new'), (105, 'new'), (205, 'new'); UPDATE parts SET id = id + 1 WHERE id < 200});
is(query($node, $db, q{SELECT count(*), bool_and(e = embed(body, 'm3')), bool_and(e__prev = embed(body, 'm2')) FROM parts}), '23|t|t', 'partitions are switched, later ones as well');
query($node, $db, q{SELECT embed_switch('parts', 'e'); INSERT INTO parts VALUES (6, 'new'), (106, 'new'), (206, 'new')});
is(query($node, $db, q{SELECT count(*), bool_and(e = embed(body, 'm2')), bool_and(e__next = embed(body, 'm3')) FROM parts}), '26|t|t', '... and back');
is(query($node, $db, q{SELECT string_agg(DISTINCT tgname || ' ' || regexp_replace(encode(tgargs, 'escape'), '@[0-9a-f]{16}', '@'), ', ') FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'parts%' AND NOT tgisinternal OR tgparentid <> 0 AND tgrelid::regclass::text LIKE 'parts%'}),
	'zz_embed_e e\000body\000m2@\000now\000, zz_embed_e__next e__next\000body\000m3@\000now\000', '... with the triggers of all partitions');
query($node, $db, q{SELECT embed_chunk_table('docs', 'body', 16, 2, 'm2'); CALL embed_fill('docs_chunks'); CALL embed_refill('docs_chunks', 'embedding', 'm3');
	SELECT embed_switch('docs_chunks', 'embedding'); UPDATE docs SET body = 'another text' WHERE id = 3; INSERT INTO docs VALUES (6000, 'a new text of some words, cut into a chunk or two because it is long')});
is(query($node, $db, q{SELECT count(*) > 400, bool_and(embedding = embed(chunk, 'm3')), bool_and(embedding__prev = embed(chunk, 'm2')) FROM docs_chunks}), 't|t|t', 'a chunk table is switched, and goes on');
query($node, $db, q{SELECT embed_switch('docs_chunks', 'embedding'); SELECT embed_chunk_table('docs', 'body', 16, 2, 'm2'); UPDATE docs SET body = 'yet another text' WHERE id = 3});
is(query($node, $db, q{SELECT bool_and(embedding = embed(chunk, 'm2')), bool_and(embedding__next = embed(chunk, 'm3')) FROM docs_chunks}), 't|t', '... and back');

# ---------------------------------------------------------------- subscribers, pgvector

query($node, $db, q{CREATE PUBLICATION p FOR TABLE docs});
$node->psql($db, q{BEGIN; SELECT embed_switch('docs', 'embedding'); ROLLBACK}, stderr => \$message);
like($message, qr/WARNING:  table "docs" is published: p/, 'a published table: subscribers know columns by names');
$node->psql($db, q{BEGIN; SELECT embed_switch('parts', 'e'); ROLLBACK}, stderr => \$message);
unlike($message, qr/published/, '... others are not warned of');

SKIP:
{
	if (query($node, $db, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'}) == 0)
	{
		diag('SKIPPED: this server has no pgvector');
		skip 'this server has no pgvector', 1;
	}
	query($node, $db, q{CREATE EXTENSION vector; CREATE TABLE pgv AS SELECT i AS id, 'vector ' || i AS body FROM generate_series(1, 100) i; ALTER TABLE pgv ADD PRIMARY KEY (id);
		SELECT embed_column('pgv', 'body', 'e', 'm2'); CALL embed_fill('pgv');
		CREATE INDEX pgv_hnsw ON pgv USING hnsw (e vector_cosine_ops) WITH (m = 8, ef_construction = 40);
		CREATE INDEX pgv_cast ON pgv USING hnsw ((e::halfvec(64)) halfvec_l2_ops);
		CALL embed_refill('pgv', 'e', 'wide')});
	is(query($node, $db, q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'pgv'::regclass AND attname = 'e__next'}), 'vector(48)', 'the type has the dimensions of the model');
	for my $n (1, 2)
	{
		(undef, $message) = error_of($node, $db, q{SELECT embed_switch('pgv', 'e')});
		my ($statement) = $message =~ /HINT:  (CREATE INDEX .*)/;
		is($statement, $n == 1 ? q{CREATE INDEX pgv_e__next_idx ON public.pgv USING hnsw (e__next public.vector_cosine_ops) WITH (m='8', ef_construction='40')}
			: q{CREATE INDEX pgv_e__next_idx1 ON public.pgv USING hnsw (((e__next)::public.halfvec(48)) public.halfvec_l2_ops)}, "the index that is missing, $n");
		query($node, $db, $statement);
	}
	query($node, $db, q{SELECT embed_switch('pgv', 'e')});
	is(query($node, $db, q{SET enable_seqscan = off; SELECT id FROM pgv ORDER BY e <=> embed('vector 42', 'wide')::vector LIMIT 1}), 42, 'searched by the index of the new column');
	like(query($node, $db, q{SET enable_seqscan = off; EXPLAIN SELECT id FROM pgv ORDER BY e <=> embed('vector 42', 'wide')::vector LIMIT 1}), qr/pgv_hnsw/, '... that has the old one\'s name');
	query($node, $db, q{SELECT embed_switch('pgv', 'e')});
	is(query($node, $db, q{SET enable_seqscan = off; SELECT id FROM pgv ORDER BY e <=> embed('vector 42', 'm2')::vector LIMIT 1}), 42, '... and back');
}

$node->stop;
done_testing();
