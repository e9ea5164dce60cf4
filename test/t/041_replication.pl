# Logical replication: a table with the trigger, where each side has models of its
# own; models that travel with FOR ALL TABLES, and what the subscriber had before;
# a publisher without the extension.
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
is((error_of($subscriber, $db, 'SELECT embed_import(\'own\', ' . quote(tiny_model('bert-mean-36')) . ", '{\"alias\": \"current\", \"default\": true}'); SELECT embed_set_default('m'); SELECT embed_drop('own', forget => true, force => true)"))[1] =~ s/^.*NOTICE.*$//gmr, '',
	'where models stay out, the subscriber manages its own');
query($subscriber, $db, q{DROP SUBSCRIPTION s});
query($publisher, $db, q{DROP PUBLICATION p});

# ------------------------------------------------------------ models that travel

my $n_pairs = 0;

# A database on each side with the extension and a table docs; $before runs on the subscriber before it subscribes.
sub new_pair
{
	my ($before, $options, $publication) = @_;
	my $name = 'pair' . ++$n_pairs;

	for my $node ($publisher, $subscriber)
	{
		query($node, $db, "CREATE DATABASE $name");
		query($node, $name, q{CREATE EXTENSION embed; CREATE TABLE docs (id int PRIMARY KEY, body text); CREATE TABLE signal (id int PRIMARY KEY)});
	}
	import_model($publisher, $name, 'm', tiny_model('bert-mean-48'), '{"alias": "current"}');
	$before->($name) if $before;
	query($publisher, $name, "CREATE PUBLICATION $name " . ($publication // 'FOR ALL TABLES'));
	query($subscriber, $name, "CREATE SUBSCRIPTION $name CONNECTION '" . $publisher->connstr . " dbname=$name' PUBLICATION $name" . ($options // ''));
	return $name;
}

sub caught_up
{
	my ($name) = @_;

	$subscriber->poll_query_until($name, q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')})
	  or die 'the tables were never synchronized';
	$publisher->wait_for_catchup($name);
	return;
}

# Rows of the user that arrive: replication has not stopped.
my $n_rows = 0;
sub rows_arrive
{
	my ($name, $what) = @_;

	query($publisher, $name, 'INSERT INTO docs VALUES (' . ++$n_rows . ", 'body')");
	return ok($subscriber->poll_query_until($name, "SELECT count(*) = 1 FROM docs WHERE id = $n_rows"), $what);
}

my $models = q{SELECT string_agg(m::text, ' ' ORDER BY name) FROM embed_models m};
my $signal = q{DO $$ BEGIN FOR i IN 1 .. 600 LOOP EXIT WHEN EXISTS (SELECT FROM signal WHERE id = %d); PERFORM pg_sleep(0.1); END LOOP; END $$;};
my $bits = q{SELECT md5(embed('a text', '%s')::text)};

my $travel = new_pair();
caught_up($travel);
is(query($subscriber, $travel, $models), query($publisher, $travel, $models), 'a subscriber without models gets them, with names, alias and default');
is(query($subscriber, $travel, sprintf $bits, 'm'), query($publisher, $travel, sprintf $bits, 'm'), '... and the same bits');
import_model($publisher, $travel, 'later', tiny_model('bert-mean-36'));
import_model($publisher, $travel, 'gone', tiny_model('bert-cls'));
caught_up($travel);
is(query($subscriber, $travel, $models), query($publisher, $travel, $models), 'later imports arrive');
is(query($subscriber, $travel, sprintf $bits, 'later'), query($publisher, $travel, sprintf $bits, 'later'), '... and embed');
is(query($subscriber, $travel, q{SELECT bool_and(ok) FROM embed_verify('gone')}), 't', '... and verify');

# One session of the subscriber lives through changes of the publisher: nothing it remembers is stale.
my $session = start_psql($subscriber, $travel, 'SET plan_cache_mode = force_generic_plan;
	PREPARE by_default AS SELECT cardinality(embed(\'x\')); PREPARE folded AS SELECT cardinality(embed(\'x\', \'gone\'));
	EXECUTE by_default; EXECUTE folded; SET embed.model = \'current\'; SELECT cardinality(embed(\'x\')); RESET embed.model;'
	. sprintf($signal, 1) . 'EXECUTE by_default; SET embed.model = \'current\'; SELECT cardinality(embed(\'x\'));'
	. "\\set ON_ERROR_STOP off\n\\set VERBOSITY sqlstate\nEXECUTE folded;");
ok($subscriber->poll_query_until($travel, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^DO' AND datname = current_database()}), 'a session waits');
is(scalar(grep { -e } image_files_of($travel)), 3, 'three images are files');
query($publisher, $travel, q{SELECT embed_set_default('later'); SELECT embed_set_alias('current', 'later'); SELECT embed_drop('gone')});
query($publisher, $travel, q{INSERT INTO signal VALUES (1)});
my (undef, $out, $err) = finish_psql($session);
is($out, "48\n64\n48\n36\n36", 'default and alias move in a session that remembers them');
like($err, qr/42704/, '... and a plan with a folded call is made again');
caught_up($travel);
is(query($subscriber, $travel, q{SELECT count(*) FROM _embed.image}), 2, '... the image of the dropped model is gone');
is(scalar(image_files_of($travel)), 2, '... and its file');

# Image files of a database of the subscriber.
sub image_files_of
{
	my ($name) = @_;
	my $oid = query($subscriber, $db, "SELECT oid FROM pg_database WHERE datname = '$name'");

	return grep { m{/$oid/} } image_files($subscriber);
}

# What is the publisher's is changed there.
my $other = quote(tiny_model('bert-rerank'));
my ($m48, $mean36) = map { quote(tiny_model($_)) } qw(bert-mean-48 bert-mean-36);
for my $refused ("SELECT embed_import('x', $other)", "SELECT embed_import('m', $other)", "SELECT embed_import('m', $m48, '{\"default\": true}')", "SELECT embed_import('m', $m48, '{\"alias\": \"a\"}')",
	"SELECT embed_import('gone', " . quote(tiny_model('bert-cls')) . ')', q{SELECT embed_load('x', '\\x00')}, q{SELECT embed_drop('m')}, q{SELECT embed_drop('m', true)}, q{SELECT embed_set_default('m')},
	q{SELECT embed_set_alias('a', 'm')}, q{SELECT embed_set_alias('current', NULL)})
{
	my ($code, $message) = error_of($subscriber, $travel, $refused);

	is($code, '55000', 'refused on the subscriber: ' . $refused =~ s/ E'.*?'/ 'path'/r);
	like($message, qr/subscription "$travel" carries.*HINT:  Do it on the publisher/s, '... with reason and hint');
}
query($subscriber, $travel, q{ALTER SUBSCRIPTION pair1 DISABLE});
is((error_of($subscriber, $travel, q{SELECT embed_drop('m')}))[0], '55000', '... disabled or not');
query($subscriber, $travel, q{ALTER SUBSCRIPTION pair1 ENABLE; DELETE FROM _embed.chunk});
is((error_of($subscriber, $travel, "SELECT embed_import('m', $m48); SELECT embed_import('later', $mean36)"))[1] =~ s/^.*(NOTICE|DETAIL|LOCATION).*$//gmr =~ s/\n//gr, '', 'an import that mends rows is not refused');
is(query($subscriber, $travel, $models), query($publisher, $travel, $models), '... and changes nothing else');
is(query($subscriber, $travel, q{SELECT bool_and(ok) FROM embed_verify('later')}), 't', '... but mends');
rows_arrive($travel, '... and rows go on');

# ---------------------------------------------- the subscriber had models before

sub models_before
{
	my ($name) = @_;

	import_model($subscriber, $name, 'm', tiny_model('bert-mean-48'));
	import_model($subscriber, $name, 'mine', tiny_model('bert-mean-36'), '{"default": true, "alias": "current"}');
	import_model($subscriber, $name, 'clash', tiny_model('bert-cls'));
	return;
}

for my $copy_data ('true', 'false')
{
	my $before = new_pair(\&models_before, " WITH (copy_data = $copy_data)");

	caught_up($before);
	rows_arrive($before, "copy_data = $copy_data, models imported before: rows arrive");
	is(query($subscriber, $before, q{SELECT (SELECT string_agg(name, ' ' ORDER BY name) FROM embed_models), (SELECT name FROM _embed.alias), (SELECT name FROM _embed.default_model)}),
		$copy_data eq 'true' ? 'clash m mine|m|m' : 'clash m mine|mine|mine', '... alias and default are those that came last');
	# the same content under another name, then gone again
	import_model($publisher, $before, 'theirs', tiny_model('bert-mean-36'), '{"alias": "current", "default": true}');
	rows_arrive($before, '... an import of an image that is here');
	is(query($subscriber, $before, q{SELECT (SELECT name FROM _embed.alias), (SELECT name FROM _embed.default_model)}), 'theirs|theirs', '... with its names');
	query($publisher, $before, q{SELECT embed_drop('theirs', forget => true, force => true)});
	rows_arrive($before, '... and its drop');
	is(query($subscriber, $before, q{SELECT string_agg(name, ' ' ORDER BY name) FROM embed_models}), 'clash m mine', '... takes the name');
	is(query($subscriber, $before, q{SELECT bool_and(ok) FROM embed_verify('mine')}), 't', '... and not the image of a model that only the subscriber has');
	import_model($publisher, $before, 'm', tiny_model('bert-mean-48'));
	rows_arrive($before, '... a repeated import');

	# One name, two contents: told, until the subscriber frees the name.
	import_model($publisher, $before, 'clash', tiny_model('bert-rerank'));
	query($publisher, $before, 'INSERT INTO docs VALUES (' . ++$n_rows . ", 'waits')");
	ok(wait_for_log(qr/model name "clash" stands for other content on the publisher than here/), '... a name with other content is told in the log');
	like(slurp($subscriber->logfile), qr/DELETE FROM _embed.model WHERE name = 'clash' frees it/, '... with the way out');
	is(query($subscriber, $before, "SELECT count(*) FROM docs WHERE id = $n_rows"), 0, '... and stops the replication');
	query($subscriber, $before, q{DELETE FROM _embed.model WHERE name = 'clash'});
	ok($subscriber->poll_query_until($before, "SELECT count(*) = 1 FROM docs WHERE id = $n_rows"), '... which goes on once the name is free');
	is(query($subscriber, $before, q{SELECT kind FROM embed_models WHERE name = 'clash'}), 'reranker', '... with the content of the publisher');

	# Out of it: a publication without models, and the subscriber manages its own again.
	query($publisher, $before, "CREATE PUBLICATION ${before}_docs FOR TABLE docs, signal");
	query($subscriber, $before, "ALTER SUBSCRIPTION $before SET PUBLICATION ${before}_docs WITH (copy_data = false)");
	is((error_of($subscriber, $before, q{SELECT embed_drop('clash', forget => true, force => true)}))[0], '', 'after SET PUBLICATION to one without models nothing is refused');
	import_model($publisher, $before, 'clash2', tiny_model('bert-cls'));
	rows_arrive($before, '... and rows arrive');
	is(query($subscriber, $before, q{SELECT count(*) FROM embed_models WHERE name = 'clash2'}), 0, '... without models');
	query($subscriber, $before, "DROP SUBSCRIPTION $before");
	truncate $subscriber->logfile, 0;
}

sub wait_for_log
{
	my ($pattern) = @_;

	for (1 .. 600)
	{
		return 1 if slurp($subscriber->logfile) =~ $pattern;
		select undef, undef, undef, 0.1;
	}
	return 0;
}

# FOR TABLES IN SCHEMA leaves the models at home.
if (query($publisher, $db, 'SHOW server_version_num') >= 150000)
{
	my $schema = new_pair(\&models_before, undef, 'FOR TABLES IN SCHEMA public');

	caught_up($schema);
	is((error_of($subscriber, $schema, q{SELECT embed_set_default('m')}))[0], '', 'FOR TABLES IN SCHEMA public carries no models');
	rows_arrive($schema, '... but rows');
	query($subscriber, $schema, "DROP SUBSCRIPTION $schema");
}
query($subscriber, $travel, 'DROP SUBSCRIPTION pair1');
is((error_of($subscriber, $travel, q{SELECT embed_set_default('m')}))[0], '', 'after DROP SUBSCRIPTION nothing is refused');

# The extension comes after the publication: to the subscriber first, whose apply worker has no table for the rows else.
for my $node ($publisher, $subscriber)
{
	query($node, $db, 'CREATE DATABASE late');
	query($node, 'late', 'CREATE TABLE docs (id int PRIMARY KEY, body text)');
}
query($publisher, 'late', 'CREATE PUBLICATION late FOR ALL TABLES');
query($subscriber, 'late', "CREATE SUBSCRIPTION late CONNECTION '" . $publisher->connstr . " dbname=late' PUBLICATION late");
query($_, 'late', 'CREATE EXTENSION embed') for $subscriber, $publisher;
import_model($publisher, 'late', 'm', tiny_model('bert-mean-48'));
caught_up('late');
rows_arrive('late', 'the extension comes after the publication: rows arrive');
query($subscriber, 'late', 'ALTER SUBSCRIPTION late REFRESH PUBLICATION');
caught_up('late');
is(query($subscriber, 'late', $models), query($publisher, 'late', $models), '... and models after REFRESH PUBLICATION');
query($subscriber, 'late', 'DROP SUBSCRIPTION late');

# ------------------------------------------- a publisher without the extension

query($publisher, $db, 'CREATE DATABASE managed');
query($publisher, 'managed', q{CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs VALUES (1, 'copied'); CREATE PUBLICATION managed FOR ALL TABLES});
query($subscriber, $db, 'CREATE DATABASE managed');
query($subscriber, 'managed', 'CREATE EXTENSION embed');
import_model($subscriber, 'managed', 'm', tiny_model('bert-mean-48'));
query($subscriber, 'managed', q{CREATE TABLE docs (id int PRIMARY KEY, body text, e float4[]);
	CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	ALTER TABLE docs ENABLE ALWAYS TRIGGER zz_embed});
query($subscriber, 'managed', "CREATE SUBSCRIPTION managed CONNECTION '" . $publisher->connstr . " dbname=managed' PUBLICATION managed");
caught_up('managed');
query($publisher, 'managed', q{INSERT INTO docs VALUES (2, 'inserted'); UPDATE docs SET body = 'updated' WHERE id = 1});
$publisher->wait_for_catchup('managed');
is(query($subscriber, 'managed', q{SELECT string_agg(body || ' ' || (e = embed(body, 'm'))::text, ' ' ORDER BY id) FROM docs}), 'updated true inserted true',
	'a publisher without the extension: the subscriber fills a column that the publisher lacks');
is((error_of($subscriber, 'managed', q{SELECT embed_set_alias('a', 'm')}))[0], '', '... and manages its models');
query($subscriber, 'managed', 'DROP SUBSCRIPTION managed');

# ------------------------------------------------- rows that are written by hand

# Whatever writes the tables, sessions learn of it; what is there already is left out.
is(query($publisher, $travel, q{CREATE TEMP TABLE c AS SELECT * FROM _embed.chunk; CREATE TEMP TABLE i AS SELECT * FROM _embed.image; CREATE TEMP TABLE m AS SELECT * FROM _embed.model;
	INSERT INTO _embed.chunk SELECT * FROM c; INSERT INTO _embed.image SELECT * FROM i; INSERT INTO _embed.model SELECT * FROM m;
	SELECT (SELECT count(*) FROM _embed.chunk) = (SELECT count(*) FROM c) AND (SELECT count(*) FROM _embed.model) = (SELECT count(*) FROM m)}), 't', 'rows that are there are left out');
is((error_of($publisher, $travel, q{INSERT INTO _embed.alias SELECT alias, 'm' FROM _embed.alias}))[0], '23505', '... others with their key are not, by hand');
is(query($publisher, $travel, q{SELECT cardinality(embed('x')); BEGIN; UPDATE _embed.default_model SET name = 'm' WHERE kind = 'embedding'; SELECT cardinality(embed('x')); ROLLBACK; SELECT cardinality(embed('x'))}),
	"36\n48\n36", 'a change by hand is seen at once, and so is its end');
is((error_of($publisher, $travel, q{PREPARE p AS SELECT cardinality(embed('x', 'm')); SET plan_cache_mode = force_generic_plan; EXECUTE p; TRUNCATE _embed.model; EXECUTE p}))[0], '42704', 'so is TRUNCATE');

done_testing();
