# Sessions that call embed_column, embed_column_drop, embed_chunk_table,
# embed_refill, embed_switch, embed_fill, embed_retry, embed_import, embed_drop
# and the rest on the same tables and models at the same moment, beside writers
# and the filler: what they refuse, they refuse with a reason of their own, and
# what is left is right.
#
#	EMBED_RACE_SECONDS=600 EMBED_SEED=7	by hand
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{EMBED_RACE_SECONDS} // 6;
my $n_sessions = 6;
my $node = new_node('races', conf => "max_worker_processes = 8\ndeadlock_timeout = 200ms\n");
my $db = 'postgres';

srand($ENV{EMBED_SEED} // 1);
import_model($node, $db, 'm1', tiny_model('bert-cls'));
import_model($node, $db, 'm2', tiny_model('bert-cls'), '{"document_prompt": "other words: "}');
import_model($node, $db, 'wide', tiny_model('bert-mean-48'));
query($node, $db, q{
	CREATE TABLE stop (at int);
	CREATE TABLE docs (id int PRIMARY KEY, title text, body text);
	INSERT INTO docs SELECT i, 'title ' || i, 'body ' || i FROM generate_series(1, 40) i;
	CREATE TABLE parts (id int PRIMARY KEY, title text, body text) PARTITION BY RANGE (id);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
	CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (1000);
	INSERT INTO parts SELECT 5 * i, 'title ' || i, 'body ' || i FROM generate_series(1, 40) i;
	CREATE TABLE poisoned (id int PRIMARY KEY, title text, body text);
	INSERT INTO poisoned SELECT i, 'title ' || i, 'body ' || i FROM generate_series(1, 20) i;
	CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.id % 7 = 0 THEN RAISE 'poisoned'; END IF; RETURN new; END $$;
	CREATE TRIGGER aa BEFORE UPDATE ON poisoned FOR EACH ROW EXECUTE FUNCTION refuses()});

# ---------------------------------------------------------------- one after the other

# Begins, runs $first, runs $second once all others wait for the table, one behind the other, and commits.
sub meets
{
	my ($table, $first, $second, $between) = @_;
	my $n_waiting = "(SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = '$table'::regclass AND NOT granted AND backend_type = 'client backend')";
	my $session = start_psql($node, $db, "BEGIN; $first;
DO \$\$ BEGIN
	FOR i IN 1 .. 18000 LOOP
		EXIT WHEN $n_waiting >= ${\ scalar @$between};
		PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
	END LOOP;
END \$\$;
$second; COMMIT;
");
	my @others;
	$node->poll_query_until($db, "SELECT count(*) > 0 FROM pg_locks WHERE relation = '$table'::regclass AND granted");
	for (@$between)
	{
		push @others, start_psql($node, $db, $_);
		$node->poll_query_until($db, "SELECT $n_waiting >= ${\ scalar @others}") if @others < @$between;
	}
	return join ' ', map { my ($code, $out, $err) = finish_psql($_); $code == 0 ? 'ok' : $err } $session, @others;
}

my $reads = 'SELECT count(*) FROM docs';
my $writes = q{UPDATE docs SET title = title || '.' WHERE id = 1};
query($node, $db, q{SELECT embed_column('docs', 'body', 'v', 'm1'), embed_chunk_table('docs', 'body', 8, 0, 'm1')});
for my $call (q{embed_column('docs', 'body', 'v', 'm2')}, q{embed_column('docs', 'title, body', 'v')}, q{embed_chunk_table('docs', 'body', 16, 0, 'm1')}, q{embed_column_drop('docs', 'v')})
{
	is(meets('docs', $reads, $writes, ["SELECT $call"]), 'ok ok', "$call lets who has read the table write to it");
}
query($node, $db, q{SELECT embed_column('docs', 'body', 'v', 'm1'); CALL embed_refill('docs', 'v', 'm2')});
is(meets('docs', $reads, $writes, [ (q{SELECT embed_switch('docs', 'v')}) x 2 ]), 'ok ok ok', 'two switches at once: there and back');
is(query($node, $db, q{SELECT string_agg(vector || ' ' || model, ', ' ORDER BY vector) FROM embed_columns WHERE tab = 'docs'::regclass}), 'v m1, v__next m2', '... one after the other');
query($node, $db, q{SELECT embed_column('parts', 'body', 'v', 'm1')});
is(meets('parts', 'SELECT count(*) FROM parts', q{UPDATE parts SET title = title || '.' WHERE id = 5}, [ map { "SELECT embed_column('parts', 'body', 'v', 'm2', '$_')" } qw(now later) ]), 'ok ok ok',
	'two changes of a partitioned table at once');

# Whoever finds that he needs a stronger lock of a partitioned table gives back those of the partitions, too: the next one has the table, and wants them.
my $part_writes = q{UPDATE parts SET title = title || '.' WHERE id = 5};
query($node, $db, q{SELECT embed_column_drop('parts', 'v')});
is(meets('parts', $part_writes, 'SELECT 1', [ (map { "SELECT embed_column('parts', '$_', 'v', 'm1')" } 'body', 'title, body'), q{SELECT embed_column_drop('parts', 'v')} ]), 'ok ok ok ok',
	'a column that two sessions keep and a third one drops');
query($node, $db, q{SELECT embed_column('parts', 'body', 'v', 'm1')});
is(meets('parts', $part_writes, 'SELECT 1', [ (map { "SELECT embed_chunk_table('parts', 'body', $_, 0, 'm1')" } 8, 16), q{SELECT embed_column_drop('parts', 'v')} ]), 'ok ok ok ok',
	'chunks that two sessions cut, beside a third one that drops the column');
query($node, $db, q{DROP TABLE parts_chunks; SELECT embed_column('parts', 'body', 'v', 'm1')});

# Who switches has the table when he moves the alias; who frees a name that triggers have alone waits for the table, and keeps no models locked.
import_model($node, $db, 'old', tiny_model('bert-cls'));
query($node, $db, q{
	CREATE TABLE by_hand (body text, v float4[]);
	CREATE TRIGGER v BEFORE INSERT OR UPDATE ON by_hand FOR EACH ROW EXECUTE FUNCTION embed_trigger('v', 'body', 'old')});
is(meets('by_hand', 'LOCK TABLE by_hand', q{SELECT embed_set_alias('moved', 'm1')}, [q{SELECT embed_drop('old', forget => true, force => true)}]), 'ok ok',
	'a name that is freed, while somebody has a table and moves an alias');
is(query($node, $db, q{SELECT tgargs LIKE '%old@________%' FROM pg_trigger WHERE tgname = 'v'}), 't', '... and the trigger has its content');
query($node, $db, q{DROP TABLE by_hand; SELECT embed_set_alias('moved', NULL)});

# Failures that somebody keeps locked: the filler goes on, and records its own when it can.
query($node, $db, q{SELECT embed_column('poisoned', 'body', 'v', 'm1', 'later')});
answer_comes($node, $db, q{SELECT to_do FROM embed_columns WHERE tab = 'poisoned'::regclass}, 2, 'two rows cannot be filled');
answer_comes($node, $db, q{SELECT count(*) FROM embed_failures}, 2, '... and are recorded');
my $holder = start_psql($node, $db, q{BEGIN; SELECT embed_retry('poisoned');
DO $$ BEGIN
	FOR i IN 1 .. 18000 LOOP
		EXIT WHEN EXISTS (SELECT FROM stop);
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
COMMIT;
});
$node->poll_query_until($db, q{SELECT count(*) > 0 FROM pg_locks WHERE relation = '_embed.failure'::regclass AND mode = 'ShareRowExclusiveLock' AND granted});
query($node, $db, q{INSERT INTO poisoned VALUES (70, 'poisoned', 'body 70'), (71, 'beside', 'body 71')});
answer_comes($node, $db, q{SELECT v IS NOT NULL FROM poisoned WHERE id = 71}, 't', 'a row beside another that fails, while somebody forgets failures');
answer_comes($node, $db, q{SELECT count(*) FROM pg_locks WHERE relation = '_embed.failure'::regclass AND NOT granted}, 1, '... whom the filler waits for');
query($node, $db, q{INSERT INTO stop VALUES (0)});
is((finish_psql($holder))[0], 0, '... who commits');
answer_comes($node, $db, q{SELECT count(*) FROM embed_failures}, 3, '... and then it is recorded');
query($node, $db, 'TRUNCATE stop');

# ---------------------------------------------------------------- what sessions say

my @tables = qw(docs docs docs parts poisoned);
my @models = qw(m1 m1 m2 wide);
my $dir = tiny_model('bert-cls');
my $n_written = 0;

sub one_of { return $_[ int rand @_ ] }
sub table { return one_of(@tables) }

# One row at a time.
my @row_writes = (
	sub { my $id = 300 + int rand 100; 'INSERT INTO ' . table() . " VALUES ($id, 'title $id', 'new $id') ON CONFLICT (id) DO UPDATE SET body = excluded.body || ' " . $n_written++ . "'" },
	sub { 'DELETE FROM ' . table() . ' WHERE id = ' . (300 + int rand 100) },
	sub { 'BEGIN; SELECT count(*) FROM ' . table() . ' WHERE id > 5; UPDATE ' . table() . " SET body = 'in two steps " . $n_written++ . "' WHERE id = " . (1 + int rand 20) . '; COMMIT' });
# Several rows, by one session only: an UPDATE locks rows in the order in which it finds them. A row that a third
# session (the filler) has moved in the meantime comes late to one UPDATE and early to another one, and these two wait
# for each other, without any code of ours: that is PostgreSQL's, and a user's to avoid.
my @writes = (
	@row_writes,
	sub { 'UPDATE ' . table() . " SET body = 'changed " . $n_written++ . "' WHERE id % 20 = " . int rand 20 },
	sub { 'UPDATE ' . table() . " SET title = 'title " . $n_written++ . "' WHERE id % 20 = " . int rand 20 });
my @calls = (
	sub { my $t = table(); "SELECT embed_column('$t', " . one_of("'body'", "'body'", "'title, body'") . ", 'v', '" . one_of(@models) . "', '" . one_of('now', 'later') . "')" },
	sub { my $t = table(); "SELECT embed_column('$t', 'body', 'v')" },
	sub { my $t = table(); "SELECT embed_column_drop('$t', '" . one_of('v', 'v', 'v__next', 'v__prev') . "')" },
	sub { my $t = table(); "ALTER TABLE $t DROP COLUMN IF EXISTS " . one_of('v__next', 'v__prev', 'v') },
	sub { my $t = table(); "CALL embed_refill('$t', 'v', '" . one_of(@models) . "')" },
	sub { my $t = table(); "CALL embed_refill('$t', 'v', '" . one_of(@models) . "')" },
	sub { my $t = table(); "SELECT embed_switch('$t', 'v')" },
	sub { my $t = table(); "SELECT embed_switch('$t', 'v')" },
	sub { my $t = table(); "CALL embed_fill('$t')" },
	sub { 'CALL embed_fill()' },
	sub { my $t = table(); "SELECT embed_check('$t', 'v')" },
	sub { 'SELECT embed_retry(' . one_of("'" . table() . "'", '') . ')' },
	sub { my $t = table(); "SELECT embed_chunk_table('$t', 'body', " . one_of(8, 16) . ', 0' . one_of('', ", 'm1'", ", 'm2', 'later'") . ')' },
	# DROP TABLE locks the table that a foreign key refers to last, whatever the table is
	sub { my $t = table(); "BEGIN; LOCK TABLE $t; DROP TABLE IF EXISTS ${t}_chunks CASCADE; COMMIT" },
	sub { 'SELECT count(*) FROM embed_columns' },
	sub { 'SELECT count(*) FROM embed_failures' });
my @manages = (
	sub { "SELECT embed_import('a" . int(rand 2) . "', '$dir')" },
	sub { "SELECT embed_import('a" . int(rand 2) . "', '$dir', '{\"document_prompt\": \"one: \"}')" },
	sub { "SELECT embed_drop('a" . int(rand 2) . "', force => true)" },
	sub { "SELECT embed_set_alias('cur', '" . one_of('m1', 'm2') . "')" },
	sub { "SELECT embed_set_alias('cur', NULL)" },
	sub { "SELECT embed_set_default('" . one_of('m1', 'm2') . "')" },
	sub { q{SELECT count(*) FROM embed_models} },
	sub { q{SELECT embed('any', 'a0') IS NULL} },
	sub { q{SELECT count(*) FROM embed_verify('m1')} });

sub script
{
	my ($kinds) = @_;
	my $sql = "\\set ON_ERROR_STOP 0\n\\set VERBOSITY verbose\nSET client_min_messages = error;\n";

	for (1 .. 300 * $seconds)
	{
		$sql .= one_of(@{ one_of(@$kinds) })->() . ";\nSELECT count(*) > 0 AS stop FROM stop \\gset\n\\if :stop\n\\q\n\\endif\n";
	}
	return $sql;
}

# ---------------------------------------------------------------- at the same moment

my @running = map { start_psql($node, $db, script($_)) }
	([ \@writes ], [ \@calls ], [ \@calls ], [ \@calls, \@row_writes ], [ \@calls, \@manages ], [ \@manages ]);

for (my $until = time + $seconds; time < $until; sleep 0.1)
{
	# psql's output is read only while someone waits
	$_->{handle}->pump_nb for grep { $_->{handle}->pumpable } @running;
}
query($node, $db, 'INSERT INTO stop VALUES (1)');

my %errors;
for my $psql (@running)
{
	my ($code, $out, $err) = finish_psql($psql);

	is($code, 0, 'a session goes on through all of it');
	$errors{"$1 $2"}++ while $err =~ /^psql:\S+ (?:ERROR|FATAL|PANIC):  (\w{5}): (.*)$/mg;
}

# What the server's log has of messages like this: with their details, which name processes, locks and statements.
sub reports
{
	my ($message) = @_;
	my (@reports, %follows);

	# a line that begins with a tab belongs to the one before
	for my $entry (split /\n(?!\t)/, slurp($node->logfile))
	{
		my ($pid, $level) = $entry =~ /^\S+ \S+ \S+ \[(\d+)\] (?:.*? )?([A-Z]+):  / or next;

		$follows{$pid} = $entry =~ $message if $level !~ /^(?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY)$/;
		push @reports, $entry if $follows{$pid};
		# what a process said before it ended
		push @reports, grep { /\[$1\] .*(?:ERROR|FATAL):  / } split /\n/, slurp($node->logfile) if $follows{$pid} && $entry =~ /\(PID (\d+)\)/;
	}
	return @reports;
}

# What others have just dropped, changed or not yet filled.
my @reasons = (
	qr/^22023 column "\w+" of table "\w+" is kept by model "\w+" already/,
	qr/^22023 .* of the last switch/,
	qr/^40001 could not serialize access due to a switch/,
	qr/^42703 (?:column "\w+" of table "\w+" does not exist|trigger "\w+": table "\w+" has no column)/,
	qr/^42704 (?:alias "cur" does not exist|model "a\d" (?:does not exist|was dropped)|no embed_trigger keeps column)/,
	qr/^42710 model name "a\d" already stands for other content/,
	qr/^42P01 relation with OID \d+ does not exist/,
	qr/^55000 /,
	qr/^P0001 poisoned/);
my @others = grep { my $error = $_; !grep { $error =~ $_ } @reasons } sort keys %errors;
is(join("\n", map { "$errors{$_} x $_" } @others), '', 'no deadlock, no unique violation, no internal error')
  or diag(join "\n", map { my $message = quotemeta substr $_, 6; reports(qr/ERROR:  $message/) } @others);
for my $error (sort keys %errors)
{
	note("$errors{$error} x $error");
	diag("$errors{$error} x $error") if $ENV{EMBED_RACE_ERRORS};
}
is(join("\n", reports(qr/deadlock detected|PANIC|terminated by|TRAP|"embed filler" .* exited with exit code/)), '', '... nor of the filler, which lives');

# ---------------------------------------------------------------- what is left

query($node, $db, q{DROP TRIGGER aa ON poisoned});
for my $table (qw(docs parts poisoned))
{
	query($node, $db, "SELECT embed_column('$table', 'body', '$_', 'm1') FROM pg_trigger WHERE tgname = 'zz_embed_$_' AND tgrelid = '$table'::regclass") for qw(v__next v__prev);
	query($node, $db, "SELECT embed_column('$table', 'body', 'v', 'm1', 'now')");
	query($node, $db, "SELECT embed_chunk_table('$table', 'body', 8, 0, 'm1')");
}
is(query($node, $db, q{SELECT string_agg(format('%s.%s: %s', k.tab, k.vector, c.verdict), ', ') FROM embed_columns k, LATERAL embed_check(k.tab, k.vector) c WHERE c.verdict NOT IN ('right', 'to do') AND NOT (c.verdict = 'wrong' AND c.n = 0)}),
	'', 'no vector is of another text or model');
query($node, $db, 'SELECT embed_retry()');
query($node, $db, 'CALL embed_fill()');
is(query($node, $db, q{SELECT string_agg(format('%s.%s: %s', tab, vector, to_do), ', ') FROM embed_columns WHERE to_do > 0}), '', 'all can be filled');
for my $table (qw(docs parts poisoned))
{
	is(query($node, $db, "SELECT count(*) FROM $table WHERE v IS DISTINCT FROM embed(body, 'm1')"), 0, "$table: the vectors of its texts");
	is(query($node, $db, "SELECT count(*) FROM (SELECT id, chunk FROM $table, embed_chunks(body, 8, 0, 'm1')) a FULL JOIN (SELECT id, chunk FROM ${table}_chunks) b USING (id, chunk) WHERE a IS NULL OR b IS NULL"), 0, '... and its chunks');
}
$node->stop;

done_testing();
