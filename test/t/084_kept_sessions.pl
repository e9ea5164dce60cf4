# Two sessions that change one kept column at the same time.
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
is(query($node, 'postgres', q{SELECT pg_get_triggerdef(oid) ~ $$'embedding', 'body', 'b', 'later'$$ FROM pg_trigger WHERE tgrelid = 'docs'::regclass}),
	't', 'both changes are there');

$node->stop;
done_testing();
