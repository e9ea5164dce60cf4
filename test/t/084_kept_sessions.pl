# Two sessions that change one kept column at the same time; what a table's owner
# puts into a domain, and who runs it.
use strict;
use warnings;
use EmbedTest;
use Test::More;

my $node = new_node('kept');

import_model($node, 'postgres', 'a', tiny_model('bert-mean-36'));
import_model($node, 'postgres', 'b', tiny_model('bert-mean-48'));
query($node, 'postgres', q{CREATE TABLE docs (id int PRIMARY KEY, body text); SELECT embed_column('docs', 'body', 'embedding', 'a')});

# what the second one does not name stays as the first one left it
my $first = start_psql($node, 'postgres', q{
BEGIN;
SELECT embed_column('docs', 'body', model => 'b');
DO $$ BEGIN
	FOR i IN 1..6000 LOOP
		EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE relation = 'docs'::regclass AND NOT granted);
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
COMMIT;
});
ok($node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'docs'::regclass AND mode = 'ShareRowExclusiveLock' AND granted}),
	'the first session has the lock');
my $second = start_psql($node, 'postgres', q{SELECT embed_column('docs', 'body', mode => 'later')});
is((finish_psql($first))[0], 0, 'the first session changes the model');
is((finish_psql($second))[0], 0, 'the second session changes the mode');
is(query($node, 'postgres', q{SELECT pg_get_triggerdef(oid) ~ $$'embedding', 'body', 'b@[0-9a-f]{16}', 'later'$$ FROM pg_trigger WHERE tgrelid = 'docs'::regclass}),
	't', 'both changes are there');

# the server computes constant parts of CHECKs and of index predicates when it first looks at them: the filler does that as the owner, too
query($node, 'postgres', q{CREATE ROLE owner LOGIN; GRANT CREATE ON SCHEMA public TO owner; CREATE TABLE ran (who name); GRANT ALL ON ran TO PUBLIC});
my @owner = (extra_params => [ '-U', 'owner' ]);
is((error_of($node, 'postgres', q{
CREATE FUNCTION note() RETURNS bool LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN true; END';
CREATE FUNCTION check_plpgsql() RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.note(); END';
CREATE FUNCTION check_sql() RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_class';
CREATE DOMAIN vec AS float4[] CHECK (public.check_sql() AND public.check_plpgsql());
CREATE TABLE checked (id int, body text, embedding vec);
SELECT embed_column('checked', 'body', 'embedding', 'a', 'later');
CREATE INDEX ON checked (id) WHERE public.check_sql() AND public.check_plpgsql();
INSERT INTO checked VALUES (1, 'one')}, @owner))[0], '', 'a domain with a CHECK, an index with a predicate, and a row to do');
ok($node->poll_query_until('postgres', q{SELECT to_do = 0 FROM embed_columns WHERE tab = 'checked'::regclass}), 'the filler fills it');
is(query($node, 'postgres', q{SELECT string_agg(DISTINCT who, ',') FROM ran}), 'owner', '... and runs the CHECK as the owner');
unlike(slurp($node->logfile), qr/terminated by signal/, 'no process crashed');
# so do all functions that a superuser calls, each in a session that has not looked yet
for my $call (q{SELECT status FROM embed_columns}, q{CALL embed_fill('checked')}, q{SELECT embed_check('checked', 'embedding')},
	q{SELECT embed_column('checked', 'body', model => 'b')}, q{SELECT embed_column_drop('checked', 'embedding')})
{
	query($node, 'postgres', 'TRUNCATE ran');
	query($node, 'postgres', $call);
	is(query($node, 'postgres', q{SELECT count(*) FROM ran WHERE who <> 'owner'}), '0', "$call runs nothing of the owner's as superuser");
}

# a trigger that never ends keeps its own table waiting, not the others
is((error_of($node, 'postgres', q{
CREATE TABLE slow (id int, body text);
SELECT embed_column('slow', 'body', 'embedding', 'a', 'later');
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	PERFORM set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false), pg_sleep(100000);
	RETURN NEW;
END $$;
CREATE TRIGGER slow BEFORE UPDATE ON slow FOR EACH ROW EXECUTE FUNCTION slow();
CREATE TABLE others (id int, body text);
SELECT embed_column('others', 'body', 'embedding', 'a', 'later');
INSERT INTO slow VALUES (1, 'one')}, @owner))[0], '', 'a trigger that never ends');
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'embed filler' AND wait_event = 'PgSleep'}), 'the filler meets it');
query($node, 'postgres', q{INSERT INTO others VALUES (1, 'one')});
ok($node->poll_query_until('postgres', q{SELECT count(embedding) = 1 FROM others}), 'another table is filled');
like(query($node, 'postgres', q{SELECT last_error FROM embed_columns WHERE tab = 'slow'::regclass}), qr/statement timeout/, '... and the view says what the matter is');

$node->stop;
done_testing();
