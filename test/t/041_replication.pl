# Logical replication of a table with the trigger; models are not replicated, so
# the subscriber imports its own.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $publisher = new_node('publisher', allows_streaming => 'logical');
my $subscriber = new_node('subscriber', conf => "wal_retrieve_retry_interval = 100ms\n");
my $db = 'postgres';

for my $node ($publisher, $subscriber)
{
	import_model($node, $db, 'm', tiny_model('bert-mean-48'));
	query($node, $db, q{CREATE TABLE docs (id int PRIMARY KEY, body text, e float4[]);
		CREATE TRIGGER t BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
}
query($publisher, $db, q{INSERT INTO docs SELECT i, 'document ' || i FROM generate_series(1, 50) i});
query($publisher, $db, q{CREATE PUBLICATION p FOR TABLE docs});
my $connection = $publisher->connstr . ' dbname=postgres';
query($subscriber, $db, "CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p");

sub synchronized
{
	$publisher->wait_for_catchup('s');
	$subscriber->poll_query_until($db, q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')})
	  or die 'the tables were never synchronized';
}

sub rows
{
	my ($node) = @_;
	return query($node, $db, q{SELECT md5(string_agg(id || ':' || body || ':' || e::text, ',' ORDER BY id)) || ' ' || count(*) FROM docs});
}

synchronized();
is(rows($subscriber), rows($publisher), 'the copy of a table has its vectors, bit for bit');
query($publisher, $db, q{INSERT INTO docs VALUES (51, 'new'); UPDATE docs SET body = 'changed' WHERE id <= 10; DELETE FROM docs WHERE id = 20});
synchronized();
is(rows($subscriber), rows($publisher), '... and so have the changes that follow');
query($subscriber, $db, q{ALTER TABLE docs ENABLE ALWAYS TRIGGER t});
query($publisher, $db, q{ALTER TABLE docs DISABLE TRIGGER t; INSERT INTO docs VALUES (60, 'without'); UPDATE docs SET body = 'again', e = NULL WHERE id = 1});
synchronized();
is(query($subscriber, $db, q{SELECT string_agg((e = embed(body, 'm'))::text, ',' ORDER BY id) FROM docs WHERE id IN (1, 60)}), 'true,true',
	'a trigger that is ENABLE ALWAYS fills vectors on the subscriber');
query($subscriber, $db, q{DROP SUBSCRIPTION s});

done_testing();
