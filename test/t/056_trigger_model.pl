# One column, one model: a trigger with an alias refuses another model,
# wherever the trigger goes: other sessions, dumps, prepared transactions.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('trigger_model', conf => "max_prepared_transactions = 4\nembed.background = off\n");
my $db = 'postgres';

import_model($node, $db, 'old', tiny_model('bert-mean-36'), '{"alias": "current"}');
import_model($node, $db, 'new', tiny_model('bert-mean-48'));
query($node, $db, q{CREATE TABLE docs (id int PRIMARY KEY, body text, e float4[]);
	CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'current');
	INSERT INTO docs VALUES (1, 'one')});

sub refuses
{
	my ($database, $name, $before) = @_;
	my ($state, $message) = error_of($node, $database, ($before // '') . q{INSERT INTO docs VALUES (1000, 'refused')});

	is($state, '55000', "$name: refused");
	like($message, qr/"current" stood for model "old" when the trigger was created, and stands for model "new" now/, '... and both models are named');
	return;
}

# Sessions that have used the trigger, plans that know it.
query($node, $db, q{CREATE FUNCTION put(i int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO docs VALUES (i, 'row ' || i); END $$});
is(query($node, $db, q{PREPARE put AS INSERT INTO docs VALUES ($1, 'prepared'); SET plan_cache_mode = force_generic_plan; EXECUTE put(2); SELECT put(3); SELECT count(*) FROM docs}), "\n3", 'rows before the alias moves');
query($node, $db, q{SELECT embed_set_alias('current', 'new')});
refuses($db, 'a new session');
refuses($db, 'a function', q{DO 'BEGIN PERFORM put(4); EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END'; });
my $both = q{BEGIN; SELECT embed_set_alias('current', 'old'); PREPARE put AS INSERT INTO docs VALUES ($1, 'prepared'); EXECUTE put(5); SELECT put(6); SELECT embed_set_alias('current', 'new'); };
refuses($db, 'a prepared statement whose alias moves between', "$both EXECUTE put(7); ");
refuses($db, 'a function whose alias moves between', "$both SELECT put(7); ");
is(query($node, $db, q{SELECT count(*), count(DISTINCT cardinality(e)) FROM docs}), '3|1', 'one model in the column');

# The switch of docs/kept-columns.md: column, trigger and alias in one transaction, and back.
query($node, $db, q{ALTER TABLE docs ADD e_new float4[]; UPDATE docs SET e_new = embed(body, 'new')});
my $switch = q{BEGIN; ALTER TABLE docs RENAME e TO e_old; ALTER TABLE docs RENAME e_new TO e; SELECT embed_set_alias('current', 'new');
	DROP TRIGGER zz_embed ON docs; CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'current'); };
query($node, $db, "$switch INSERT INTO docs VALUES (10, 'ten'); COMMIT");
is(query($node, $db, q{SELECT count(*) FROM docs WHERE e IS DISTINCT FROM embed(body, 'new')}), 0, 'switched');
query($node, $db, q{DELETE FROM docs WHERE id = 10; BEGIN; ALTER TABLE docs RENAME e TO e_new; ALTER TABLE docs RENAME e_old TO e; SELECT embed_set_alias('current', 'old');
	DROP TRIGGER zz_embed ON docs; CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'current'); COMMIT;
	INSERT INTO docs VALUES (10, 'ten')});
is(query($node, $db, q{SELECT count(*) FROM docs WHERE e IS DISTINCT FROM embed(body, 'old')}), 0, 'switched back');

# A trigger that is made in a prepared transaction.
query($node, $db, q{BEGIN; CREATE TABLE two (body text, e float4[]); CREATE TRIGGER t BEFORE INSERT ON two FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'current');
	PREPARE TRANSACTION 'made'});
query($node, $db, q{SELECT embed_set_alias('current', 'new'); COMMIT PREPARED 'made'});
is((error_of($node, $db, q{INSERT INTO two VALUES ('x')}))[0], '55000', 'a prepared transaction keeps the record');
query($node, $db, q{DROP TABLE two});

# Dumps: of all, of the table alone into a database where the alias is the other model, of the table into one without models.
my $dump = $node->basedir . '/docs';
my @from = ('-d', $node->connstr($db));
$node->command_ok([ 'pg_dump', '-f', "$dump.sql", @from ], 'a dump');
$node->command_ok([ 'pg_dump', '-Fc', '-t', 'docs', '-f', "$dump.custom", @from ], 'a dump of the table');
unlike(slurp("$dump.sql"), qr/EVENT TRIGGER/, 'the event trigger is the extension\'s, no dump has it');
query($node, $db, "CREATE DATABASE $_") for qw(whole one none);
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('whole'), '-f', "$dump.sql" ], 'restored');
refuses('whole', 'restored');
query($node, 'whole', q{SELECT embed_set_alias('current', 'old'); INSERT INTO docs VALUES (11, 'eleven')});
is(query($node, 'whole', q{SELECT count(*) FROM docs WHERE e IS DISTINCT FROM embed(body, 'old')}), 0, '... and goes on once the alias is back');
query($node, 'one', q{CREATE EXTENSION embed});
import_model($node, 'one', 'old', tiny_model('bert-mean-36'));
import_model($node, 'one', 'new', tiny_model('bert-mean-48'), '{"alias": "current"}');
query($node, 'none', q{CREATE EXTENSION embed});
for my $database (qw(one none))
{
	$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr($database), "$dump.custom" ], "the table alone, $database");
	is(query($node, $database, q{SELECT count(*) FROM docs}), 4, '... has its rows');
}
refuses('one', 'the table alone');
is((error_of($node, 'none', q{INSERT INTO docs VALUES (1000, 'refused')}))[0], '42704', 'without the model: it is missing');
import_model($node, 'none', 'old', tiny_model('bert-mean-36'), '{"alias": "current"}');
query($node, 'none', q{INSERT INTO docs VALUES (11, 'eleven')});
is(query($node, 'none', q{SELECT count(*) FROM docs WHERE e IS DISTINCT FROM embed(body, 'old')}), 0, '... and once it is there, rows go on');

# DROP EXTENSION takes the event trigger along.
query($node, 'none', q{DROP EXTENSION embed CASCADE});
is(query($node, 'none', q{SELECT count(*) FROM pg_event_trigger}), 0, 'DROP EXTENSION leaves no event trigger');
query($node, 'none', q{CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER t BEFORE INSERT ON docs FOR EACH ROW EXECUTE FUNCTION nothing()});

done_testing();
