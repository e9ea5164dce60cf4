# What the filler waits for, leaves alone and leaves behind: transient errors,
# locked rows and tables, limits of a role, dropped objects, dumps,
# subscriptions, standbys.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('filler_waits', allows_streaming => 'logical', conf => "max_worker_processes = 8\n");
my $db = 'postgres';
my $fillers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'embed filler'};
my $file = $node->data_dir . '/pgsql_tmp_embed/control.v3';

sub comes { return answer_comes($node, $_[3] // $db, @_[ 0 .. 2 ]) }
sub open_rows { return "SELECT count(*) FROM $_[0] WHERE e IS NULL AND body IS NOT NULL" }

sub make_table
{
	my ($name, $database) = @_;

	query($node, $database // $db, "CREATE TABLE $name (id int PRIMARY KEY, body text, other int, e float4[]);
		CREATE TRIGGER zz_$name BEFORE INSERT OR UPDATE ON $name FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
		CREATE INDEX ${name}_e_to_do ON $name (id) WHERE e IS NULL AND body IS NOT NULL");
	return;
}

# Entries of the control file: fillers of 64 bytes, columns of 512.
sub databases_of_fillers { return unpack '(L x60)256', substr(slurp($file), 397312, 64 * 256) }
sub longest_backoff
{
	my ($max) = sort { $b <=> $a } unpack '(x56 L x452)512', substr(slurp($file), 413696, 512 * 512);
	return $max;
}

import_model($node, $db, 'm', tiny_model('bert-cls'));
make_table('docs');

# ---------------------------------------------------------------- locked rows and tables

# A transaction in the middle, until the advisory lock is free.
sub holding
{
	my ($sql, $between) = @_;
	my $gate = start_psql($node, $db, q{SELECT pg_advisory_lock(1); SELECT pg_sleep(600)});
	my $holder;

	$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND granted AND objid = 1});
	$holder = start_psql($node, $db, "BEGIN; $sql; SELECT pg_advisory_lock(1); COMMIT");
	$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND NOT granted AND objid = 1});
	$between->();
	query($node, $db, q{SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND granted AND objid = 1});
	finish_psql($gate);
	return finish_psql($holder);
}

query($node, $db, q{INSERT INTO docs VALUES (1, 'one')});
comes(open_rows('docs'), 0, 'filled');
comes($fillers, 0, 'the filler ends');
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = off});
query($node, $db, 'SELECT pg_reload_conf()');
comes(q{LOAD 'embed'; SHOW embed.background}, 'off', 'embed.background off');
query($node, $db, q{INSERT INTO docs SELECT i, 'row ' || i FROM generate_series(2, 9) i});
holding(q{SELECT * FROM docs WHERE id = 2 FOR UPDATE}, sub {
	query($node, $db, q{LOAD 'embed'; ALTER SYSTEM RESET embed.background});
	query($node, $db, 'SELECT pg_reload_conf()');
	comes(q{LOAD 'embed'; SHOW embed.background}, 'on', '... and on');
	query($node, $db, q{INSERT INTO docs VALUES (10, 'ten')});
	comes(q{SELECT string_agg(id::text, ',') FROM docs WHERE e IS NULL}, '2', 'a locked row waits alone');
	for my $id (11 .. 15)
	{
		query($node, $db, "INSERT INTO docs VALUES ($id, 'new')");
		comes("SELECT e IS NOT NULL FROM docs WHERE id = $id", 't', '... new rows do not wait for it');
	}
	is(query($node, $db, q{SELECT status, to_do, last_error IS NULL FROM embed_columns}), 'filling|1|t', '... which is no error');
});
comes(open_rows('docs'), 0, '... and is filled without another commit');

make_table('closed');
holding(q{INSERT INTO closed VALUES (1, 'closed'); LOCK TABLE docs}, sub {
	make_table('beside');
	query($node, $db, q{INSERT INTO beside VALUES (1, 'beside')});
	comes(open_rows('beside'), 0, 'a locked table is passed over');
});
comes(open_rows('closed'), 0, '... and looked at again');
holding(q{LOCK TABLE docs}, sub {
	query($node, $db, q{INSERT INTO beside VALUES (2, 'beside')});
	comes(open_rows('beside'), 0, 'again');
	query($node, $db, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'embed filler'});
});
query($node, $db, q{DROP TABLE closed, beside});

# ---------------------------------------------------------------- errors that pass

query($node, $db, q{CREATE TABLE gate (closed bool); INSERT INTO gate VALUES (true);
	CREATE FUNCTION collides() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT FROM public.gate WHERE closed) THEN RAISE 'collides' USING ERRCODE = '40001'; END IF; RETURN new; END $$;
	CREATE TABLE colliding (id int, body text, e float4[]);
	CREATE TRIGGER a BEFORE UPDATE ON colliding FOR EACH ROW EXECUTE FUNCTION collides();
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON colliding FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
	INSERT INTO colliding VALUES (1, 'collides')});
comes(q{SELECT last_error FROM embed_columns WHERE tab = 'colliding'::regclass}, 'collides', 'an error that passes is shown');
is(query($node, $db, q{SELECT count(*) FROM embed_failures}), 0, '... and recorded nowhere');
for my $id (21 .. 25)
{
	query($node, $db, "INSERT INTO docs VALUES ($id, 'beside')");
	comes("SELECT e IS NOT NULL FROM docs WHERE id = $id", 't', '... other columns do not wait');
}
# a filler waits for 1 and 2 s, and ends when it has to wait for 4
my $longest = 0;
for (my $until = time + 180; time < $until && $longest < 8; select undef, undef, undef, 0.1)
{
	$longest = longest_backoff();
}
cmp_ok($longest, '>=', 8, 'the next filler comes by itself, and waits longer than the last one');
query($node, $db, q{DELETE FROM gate; CALL embed_fill('colliding')});
is(query($node, $db, open_rows('colliding')), 0, 'embed_fill does not wait');
is(longest_backoff(), 0, '... and then nothing waits');
query($node, $db, q{DROP TABLE colliding, gate; DROP FUNCTION collides});

# ---------------------------------------------------------------- limits of a role

query($node, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = off});
query($node, $db, 'SELECT pg_reload_conf()');
comes(q{LOAD 'embed'; SHOW embed.background}, 'off', 'embed.background off');
query($node, $db, q{CREATE ROLE capped LOGIN; ALTER ROLE capped SET embed.max_statement_tokens = 20;
	CREATE TABLE of_capped (id int, body text, e float4[]); ALTER TABLE of_capped OWNER TO capped;
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON of_capped FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
	INSERT INTO of_capped SELECT i, 'row ' || i FROM generate_series(1, 100) i});
my @capped = (extra_params => [ '-U', 'capped' ]);
is((error_of($node, $db, q{CALL embed_fill('of_capped')}, @capped))[0], '', 'a role with embed.max_statement_tokens may fill');
is(query($node, $db, open_rows('of_capped')), 0, '... all rows, in batches that fit');
query($node, $db, q{INSERT INTO of_capped VALUES (101, repeat('many words ', 100)), (102, 'few words')});
my ($out, $err) = ('', '');
$node->psql($db, q{CALL embed_fill('of_capped')}, stdout => \$out, stderr => \$err, @capped);
like($err, qr/WARNING:  column "e" of table "of_capped" is not complete: statement reads more than 20 tokens/, 'a text that is longer is a warning');
is(query($node, $db, q{SELECT count(*) FROM embed_failures}), 0, '... and no failure of the text');
query($node, $db, q{CALL embed_fill('of_capped')});
is(query($node, $db, open_rows('of_capped')), 0, '... which others fill');
query($node, $db, q{DROP TABLE of_capped});

# ---------------------------------------------------------------- deferred triggers

query($node, $db, q{CREATE TABLE seen (who name);
	CREATE ROLE keeper; GRANT INSERT ON seen TO keeper; CREATE TABLE deferred (id int, body text, e float4[]); ALTER TABLE deferred OWNER TO keeper;
	CREATE FUNCTION sees() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.seen VALUES (current_user); IF new.body = 'refused' THEN RAISE 'refused'; END IF; RETURN new; END $$;
	CREATE CONSTRAINT TRIGGER d AFTER UPDATE ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sees();
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON deferred FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
	INSERT INTO deferred VALUES (1, 'one'), (2, 'refused'), (3, 'three')});
query($node, $db, q{CALL embed_fill('deferred')});
is(query($node, $db, q{SELECT string_agg(id::text, ',') FROM deferred WHERE e IS NULL}), '2', 'deferred triggers fire row by row');
is(query($node, $db, q{SELECT count(*), min(who), max(who) FROM seen}), '2|keeper|keeper', '... as the owner');
is(query($node, $db, q{SELECT tab, sqlstate, message FROM embed_failures}), 'deferred|P0001|refused', '... and an error has its row');

# ---------------------------------------------------------------- what is left behind

is(query($node, $db, q{SELECT embed_column('deferred', 'body', 'e', 'm', 'later'); SELECT count(*) FROM embed_failures}), "\n0", 'embed_column forgets failures: what failed may work now');
query($node, $db, q{CALL embed_fill('deferred')});
is(query($node, $db, q{SELECT count(*) FROM embed_failures}), 1, 'failed again');
query($node, $db, q{ALTER TABLE deferred DISABLE TRIGGER d; SELECT embed_column_drop('deferred', 'e')});
is(query($node, $db, q{SELECT count(*) FROM embed_failures}), 0, 'embed_column_drop forgets failures');

# dumped: the rows to do and the vectors, not the failures
query($node, $db, q{CREATE TABLE kept (id int PRIMARY KEY, body text, e float4[], CHECK (NOT (id = 3 AND e IS NOT NULL)));
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
	INSERT INTO kept SELECT i, 'kept ' || i FROM generate_series(1, 5) i; CALL embed_fill('kept'); INSERT INTO kept VALUES (6, 'to do')});
is(query($node, $db, q{SELECT count(*) FROM _embed.failure}), 1, 'a failure');
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM RESET embed.background});
query($node, $db, 'SELECT pg_reload_conf()');
comes(q{LOAD 'embed'; SHOW embed.background}, 'on', 'embed.background on');
query($node, $db, 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', '-d', $node->connstr($db) ], 'dumped');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $node->basedir . '/dump' ], 'restored');
comes(q{SELECT string_agg(id::text, ',') FROM kept WHERE e IS NULL}, '3', 'what was to do is filled after the restore', 'restored');
comes(q{SELECT tab, tries FROM embed_failures}, 'kept|1', '... and what failed is tried anew', 'restored');

comes($fillers, 0, 'all fillers end');
query($node, $db, q{DROP TABLE kept});
holding(q{SELECT embed_retry()}, sub {
	query($node, $db, q{INSERT INTO docs VALUES (30, 'any')});
	comes(open_rows('docs'), 0, 'the next one fills, while somebody keeps the failures locked');
	is(query($node, $db, q{SELECT count(*) FROM _embed.failure}), 1, '... leaves the failure of a dropped table');
});
query($node, $db, q{INSERT INTO docs VALUES (32, 'any')});
comes(q{SELECT count(*) FROM _embed.failure}, 0, '... and forgets it when it can');

my $oid = query($node, $db, q{SELECT oid FROM pg_database WHERE datname = 'restored'});
is(scalar(grep { $_ == $oid } databases_of_fillers()), 1, 'the database has an entry in the control file');
drop_database($node, $db, 'restored');
comes($fillers, 0, 'the filler of another database ends');
query($node, $db, q{INSERT INTO docs VALUES (31, 'any')});
comes(open_rows('docs'), 0, '... and the next');
is(scalar(grep { $_ == $oid } databases_of_fillers()), 0, '... has freed the entry');
query($node, $db, 'CREATE DATABASE next');
query($node, 'next', 'CREATE EXTENSION embed');
import_model($node, 'next', 'm', tiny_model('bert-cls'));
make_table('docs', 'next');
query($node, 'next', q{INSERT INTO docs VALUES (1, 'one')});
comes(open_rows('docs'), 0, 'a new database', 'next');
is(scalar(grep { $_ != 0 } databases_of_fillers()), 2, '... takes it');

# ---------------------------------------------------------------- a subscription, fillers on both sides

query($node, $db, 'CREATE PUBLICATION docs FOR TABLE docs');
query($node, $db, q{SELECT pg_create_logical_replication_slot('docs', 'pgoutput')});
query($node, 'next', 'TRUNCATE docs');
query($node, 'next', "CREATE SUBSCRIPTION docs CONNECTION " . quote($node->connstr($db)) . " PUBLICATION docs WITH (create_slot = false, slot_name = 'docs')");
comes('SELECT count(*) FILTER (WHERE e IS NOT NULL) FROM docs', query($node, $db, 'SELECT count(*) FROM docs'), 'a subscription copies vectors', 'next');
query($node, $db, q{INSERT INTO docs SELECT 100 + i, 'published ' || i FROM generate_series(1, 50) i});
query($node, 'next', q{SELECT embed('look'); CREATE TABLE own (id int PRIMARY KEY, body text, other int, e float4[]);
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON own FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later'); INSERT INTO own VALUES (1, 'own')});
comes(open_rows('own'), 0, 'the subscriber has a filler, too', 'next');
my $vectors = q{SELECT count(*), md5(string_agg(id || e::text, ',' ORDER BY id)) FROM docs WHERE e IS NOT NULL};
comes(open_rows('docs'), 0, 'the publisher fills');
comes($vectors, query($node, $db, $vectors), '... and its vectors arrive', 'next');
is(query($node, 'next', q{SELECT status, last_error LIKE '%subscription%', filled FROM embed_columns WHERE tab = 'docs'::regclass}), 'off|t|1', '... the subscriber leaves the table alone, and says so');
query($node, 'next', 'DROP SUBSCRIPTION docs');
drop_database($node, $db, 'next');

# ---------------------------------------------------------------- a standby

$node->backup('standby');
my $standby = (ref $node)->can('get_new_node') ? (ref $node)->get_new_node('filler_standby') : (ref $node)->new('filler_standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = off});
query($node, $db, 'SELECT pg_reload_conf()');
comes(q{LOAD 'embed'; SHOW embed.background}, 'off', 'embed.background off');
query($node, $db, q{INSERT INTO docs SELECT 200 + i, 'left ' || i FROM generate_series(1, 50) i});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(query($standby, $db, q{SELECT embed('a call') IS NOT NULL; SELECT status, to_do FROM embed_columns WHERE tab = 'docs'::regclass}), "t\nwaiting for a worker|50", 'a standby shows what is to do');
is((error_of($standby, $db, q{CALL embed_fill('docs')}))[0], '25006', '... and does not do it');
is(query($standby, $db, $fillers), 0, '... nor starts a worker');
$node->stop('immediate');
$standby->promote;
$standby->poll_query_until($db, 'SELECT NOT pg_is_in_recovery()');
query($standby, $db, q{INSERT INTO docs VALUES (300, 'promoted')});
answer_comes($standby, $db, open_rows('docs'), 0, 'after promotion the first commit has all filled');
is(query($standby, $db, q{SELECT count(*) FROM docs WHERE e IS DISTINCT FROM embed(body, 'm')}), 0, '... with the right vectors');
$standby->stop;

done_testing();
