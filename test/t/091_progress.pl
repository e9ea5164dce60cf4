# embed_progress: imports, images being built and fills, as another session sees
# them; who may see what; what errors and killed processes leave: nothing.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

# a psql whose server was killed does not read on
$SIG{PIPE} = 'IGNORE';
my $node = new_node('progress', conf => "embed.background = off\nrestart_after_crash = on\n");
my $db = 'postgres';
my $all = 'SELECT count(*) FROM embed_progress';

sub comes { return answer_comes($node, $db, @_) }

query($node, $db, q{CREATE ROLE boss LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; GRANT CREATE ON SCHEMA public TO boss});
is(query($node, $db, $all), 0, 'nothing goes on');

# ------------------------------------------------------------ an import, step by step

# A session that looks until it has seen a row, and others that give it one again and again.
sub seen
{
	my ($what, $work) = @_;
	my $watching = start_psql($node, $db, qq{
		CREATE FUNCTION pg_temp.look() RETURNS text LANGUAGE plpgsql AS \$f\$
		DECLARE r record;
		BEGIN
			WHILE clock_timestamp() < now() + interval '120 s' LOOP
				SELECT * INTO r FROM embed_progress WHERE $what;
				IF FOUND THEN
					RETURN concat_ws('|', r.datname, r.command, r.stage, r.object, r.unit, r.done BETWEEN 0 AND coalesce(r.total, r.done), r.started <= clock_timestamp(), coalesce(r.seconds_left, 0) >= 0);
				END IF;
			END LOOP;
			RETURN 'not seen';
		END \$f\$;
		SELECT pg_temp.look()});
	my @result;

	$work->() while $watching->{handle}->pumpable && $watching->{out} !~ /\n/ && do { $watching->{handle}->pump_nb; 1 };
	@result = finish_psql($watching);
	return $result[1] =~ s/\s+\z//r;
}
my $import = sub { import_model($node, $db, 'm', tiny_model('bert-cls')) };
is(seen(q{stage = 'layers' AND done > 0}, $import), 'postgres|embed_import|layers|m|steps|t|t|t', 'an import: layers');
is(seen(q{stage = 'store'}, sub { query($node, $db, q{BEGIN; SELECT embed_drop('m', true); SELECT embed_import('m', } . quote(tiny_model('bert-cls')) . '); COMMIT') }),
	'postgres|embed_import|store|m|bytes|t|t|t', '... and its rows');
is(seen(q{command = 'materialize' AND stage = 'write'}, sub { unlink image_files($node); query($node, $db, q{SELECT embed('x', 'm')}) }), 'postgres|materialize|write|m|bytes|t|t|t',
	'an image that is built');
is(query($node, $db, $all), 0, '... and then nothing goes on');

# Waits for the lock that names need: its row stays until the lock is gone.
my $row = q{SELECT datname, command, stage, object, pid IN (SELECT pid FROM pg_stat_activity), started < now() FROM embed_progress};
my $holder = hold('LOCK TABLE _embed.model IN SHARE MODE');
my $waiting = start_psql($node, $db, q{SET client_min_messages = warning; SELECT embed_import('m', } . quote(tiny_model('bert-cls')) . ')');
comes($row, 'postgres|embed_import|check|m|t|t', 'an import that waits');
release($holder);
is((finish_psql($waiting))[2], '', '... and ends');
is(query($node, $db, $all), 0, '... with its row');

# ------------------------------------------------------------ errors

my $mine = 'SELECT count(*) FROM embed_progress WHERE pid = pg_backend_pid()';
is(query($node, $db, qq{DO \$\$ BEGIN PERFORM embed_load('x', 'no image'); EXCEPTION WHEN OTHERS THEN NULL; END \$\$; $mine}), 0, 'an error that is caught leaves no row');
is(query($node, $db, qq{\\set ON_ERROR_STOP 0\nSET client_min_messages = panic;\nSELECT embed_load('x', 'no image');\n$mine}), 0, '... nor does one that is not');
$holder = hold('LOCK TABLE _embed.model IN SHARE MODE');
$waiting = start_psql($node, $db, q{SET statement_timeout = '100s'; SELECT embed_import('m', } . quote(tiny_model('bert-cls')) . ')');
comes($row, 'postgres|embed_import|check|m|t|t', 'an import that waits');
query($node, $db, 'SELECT pg_cancel_backend(pid) FROM embed_progress');
like((finish_psql($waiting))[2], qr/canceling statement/, '... is cancelled');
is(query($node, $db, $all), 0, '... without a row');
release($holder);

# ------------------------------------------------------------ fills

# A trigger of the table stops the second batch.
query($node, $db, q{CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.id = 50 THEN PERFORM pg_catalog.pg_advisory_xact_lock(1); END IF; RETURN NEW; END $$;
	CREATE TABLE docs (id int PRIMARY KEY, body text); ALTER TABLE docs OWNER TO boss;
	INSERT INTO docs SELECT i, 'text ' || i FROM generate_series(1, 100) i;
	SET client_min_messages = warning; SELECT embed_column('docs', 'body', model => 'm', mode => 'later');
	CREATE TRIGGER stop BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION stop()});
my $fill = q{SELECT command, stage, object, done > 0 AND done < 50, total, unit, seconds_left > 0 FROM embed_progress};
$holder = hold('SELECT pg_advisory_lock(1)');
$waiting = start_psql_as('boss', q{SET client_min_messages = warning; CALL embed_fill('docs')});
comes($fill, 'embed_fill|fill|docs.embedding|t|100|rows|t', 'embed_fill');
my $nothing = q{SELECT pid > 0, datname, command, stage, object, done, total, unit, seconds_left, started FROM embed_progress};
is(as('stranger', $nothing), 't|postgres||||||||', '... of which others see that it is there');
is(as('boss', $fill), 'embed_fill|fill|docs.embedding|t|100|rows|t', '... its role everything');
is(as('watcher', $fill), 'embed_fill|fill|docs.embedding|t|100|rows|t', '... and pg_monitor, too');
release($holder);
is((finish_psql($waiting))[2], '', '... which ends');
is(query($node, $db, $all), 0, '... without a row');
is(query($node, $db, q{SELECT count(embedding) FROM docs}), 100, '... and has filled');

query($node, $db, q{SET client_min_messages = warning; SELECT embed_import('m2', } . quote(tiny_model('bert-mean-36')) . ')');
$holder = hold('SELECT pg_advisory_lock(1)');
$waiting = start_psql($node, $db, q{SET client_min_messages = error; CALL embed_refill('docs', 'embedding', 'm2')});
comes($fill, 'embed_refill|fill|docs.embedding__next|t|100|rows|t', 'embed_refill');
query($node, $db, 'SELECT pg_terminate_backend(pid) FROM embed_progress');
finish_psql($waiting);
comes($all, 0, '... that is terminated leaves no row');
release($holder);
query($node, $db, q{SELECT embed_column_drop('docs', 'embedding__next'); ALTER TABLE docs DROP COLUMN embedding__next});

$holder = hold('SELECT pg_advisory_lock(1)');
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = on});
query($node, $db, 'SELECT pg_reload_conf()');
comes(q{LOAD 'embed'; SHOW embed.background}, 'on', 'embed.background on');
query($node, $db, q{BEGIN; ALTER TABLE docs DISABLE TRIGGER stop; UPDATE docs SET embedding = NULL; SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE docs ENABLE TRIGGER stop; COMMIT});
comes($fill, 'filler|fill|docs.embedding|t|100|rows|t', 'the filler');

# ------------------------------------------------------------ kill -9

my $log_size = -s $node->logfile;
my $pid = query($node, $db, q{SELECT pid FROM embed_progress WHERE command = 'filler' LIMIT 1});
kill 'KILL', $pid;
wait_for_server($node, $db, $log_size);
is(query($node, $db, "$all WHERE pid = $pid"), 0, 'a filler that is killed leaves no row');
eval { release($holder) };
query($node, $db, 'DROP TABLE docs');
comes($all, 0, '... and the next one ends with its own');

$holder = hold('LOCK TABLE _embed.model IN SHARE MODE');
$waiting = start_psql($node, $db, q{SET client_min_messages = warning; SELECT embed_import('m', } . quote(tiny_model('bert-cls')) . ')');
comes($row, 'postgres|embed_import|check|m|t|t', 'an import that waits');
$log_size = -s $node->logfile;
kill 'KILL', query($node, $db, 'SELECT pid FROM embed_progress');
wait_for_server($node, $db, $log_size);
finish_psql($waiting);
eval { release($holder) };
is(query($node, $db, $all), 0, '... and is killed leaves no row');

# Garbage in all entries, which are the end of the file: they are of no process, and room for new ones.
query($node, $db, q{COPY (SELECT 1) TO PROGRAM 'cd pgsql_tmp_embed && head -c 32768 /dev/urandom | dd of=control.v3 bs=1024 seek=$(($(stat -c %s control.v3) / 1024 - 32)) conv=notrunc status=none'});
is(query($node, $db, $all), 0, 'garbage is nobody');
is(seen(q{stage = 'layers' AND done > 0}, $import), 'postgres|embed_import|layers|m|steps|t|t|t', 'an import after that is seen');

# Without the file.
query($node, $db, q{COPY (SELECT 1) TO PROGRAM 'cd pgsql_tmp_embed && until mkdir control.v3; do rm -rf control.v3; done'});
is(query($node, $db, "SELECT 1 FROM embed_import('m', " . quote(tiny_model('bert-cls')) . "); $all"), "1\n0", 'without the control file imports work, unseen');

done_testing();

# A session that keeps a lock.
sub hold
{
	my ($sql) = @_;
	my %holder = (in => '', out => '', err => '');

	$holder{handle} = IPC::Run::start([ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($db) ], '<' => \$holder{in}, '>' => \$holder{out}, '2>' => \$holder{err});
	$holder{in} = "BEGIN; $sql;\nSELECT 'held';\n";
	$holder{handle}->pump until $holder{out} =~ /held/ || $holder{err} ne '';
	die $holder{err} if $holder{err} ne '';
	return \%holder;
}

sub release
{
	my ($holder) = @_;

	$holder->{in} .= "\\q\n";
	return $holder->{handle}->finish;
}

sub start_psql_as
{
	my ($role, $sql) = @_;
	local $ENV{PGUSER} = $role;
	return start_psql($node, $db, $sql);
}

sub as
{
	my ($role, $sql) = @_;
	local $ENV{PGUSER} = $role;
	return answer_of($node, $db, $sql);
}
