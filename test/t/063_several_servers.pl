# A partitioned table whose partitions are on other servers (postgres_fdw), as
# docs/several-servers.md describes it: what is sent to them, which answers are
# wrong without a fingerprint, and how a model gets there without a superuser.
# Plans differ between versions: only what is sent is compared.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $db = 'postgres';
my $near = new_node('near');
if (!query($near, $db, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}))
{
	skip_loudly('this server has no postgres_fdw');
	done_testing();
	exit;
}
my $far = new_node('far');
my $version = query($near, $db, 'SHOW server_version_num');
my @shards = ($db, 'second');

query($far, $db, 'CREATE DATABASE second');
query($far, 'second', 'CREATE EXTENSION embed');

# ------------------------------------------------------ a model goes to the shards

# "x" is one model here and another there, of as many dimensions
import_model($near, $db, 'm', tiny_model('bert-cls'));
import_model($near, $db, 'x', tiny_model('bert-cls'));
import_model($far, $_, 'x', tiny_model('bert-cls'), '{"max_tokens": 3}') for @shards;
is(query($near, $db, q{SELECT embed_fingerprint('x') <> '} . query($far, $db, q{SELECT embed_fingerprint('x')}) . q{'}), 't', 'one name, two models');

# a role of the near server reads the far one's view; nobody is a superuser in these statements
my ($host, $port) = ($near->host, $near->port);
query($near, $db, q{CREATE ROLE giver LOGIN;
	GRANT EXECUTE ON FUNCTION embed_export(text) TO giver;
	CREATE SCHEMA gives AUTHORIZATION giver;
	SET ROLE giver;
	CREATE VIEW gives.m AS SELECT no, data FROM embed_export('m')});
for my $shard (@shards)
{
	query($far, $shard, qq{CREATE EXTENSION postgres_fdw;
		CREATE ROLE taker_$shard LOGIN;
		GRANT EXECUTE ON FUNCTION embed_load(text, bytea, jsonb) TO taker_$shard;
		CREATE SCHEMA takes AUTHORIZATION taker_$shard;
		CREATE SERVER near FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '$db');
		GRANT USAGE ON FOREIGN SERVER near TO taker_$shard;
		CREATE USER MAPPING FOR taker_$shard SERVER near OPTIONS (user 'giver', password_required 'false');
		SET ROLE taker_$shard;
		CREATE FOREIGN TABLE takes.m (no int, data bytea) SERVER near OPTIONS (schema_name 'gives', table_name 'm', fetch_size '10')});
	is(query($far, $shard, qq{SET ROLE taker_$shard; SELECT embed_load('m', (SELECT string_agg(data, '' ORDER BY no) FROM takes.m))}),
		query($near, $db, q{SELECT embed_fingerprint('m')}), "$shard: one statement copies a model");
}
my ($state, $message) = error_of($far, $db, q{SET ROLE taker_second; SELECT embed_load('n', 'x')});
is($state, '42501', 'without the grant nobody installs a model');
query($near, $db, q{CREATE ROLE nosy; GRANT USAGE ON SCHEMA gives TO nosy; GRANT SELECT ON gives.m TO nosy});
($state, $message) = error_of($near, $db, q{SET ROLE nosy; SELECT count(*) FROM gives.m});
is($state, '42501', '... or reads one through the view');

# ----------------------------------------------------------------------- tables

query($near, $db, q{CREATE EXTENSION postgres_fdw;
	CREATE TABLE docs (id int, body text, e float4[]) PARTITION BY HASH (id)});
for my $i (0, 1)
{
	my ($shard, $far_host, $far_port) = ($shards[$i], $far->host, $far->port);
	query($far, $shard, q{CREATE TABLE docs (id int, body text, e float4[]);
		CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
	query($near, $db, qq{CREATE SERVER far$i FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$far_host', port '$far_port', dbname '$shard');
		CREATE USER MAPPING FOR CURRENT_USER SERVER far$i;
		CREATE FOREIGN TABLE docs_$i PARTITION OF docs FOR VALUES WITH (MODULUS 2, REMAINDER $i) SERVER far$i OPTIONS (table_name 'docs')});
}
query($near, $db, q{INSERT INTO docs (id, body) SELECT i, 'document ' || i || ' about ' || md5(i::text) FROM generate_series(1, 60) i; ANALYZE docs});
is(query($near, $db, q{SELECT count(*), bool_and(e = embed(body, 'm')) FROM docs}), '60|t', 'rows inserted here have vectors computed there, with the same bits');

# What the plan of $sql sends, one line a partition.
sub sent
{
	my ($sql) = @_;
	my $plan = query($near, $db, $sql =~ s/^(?=SELECT|UPDATE|EXECUTE)/EXPLAIN (VERBOSE, COSTS OFF) /mr);
	return join "\n", $plan =~ /Remote SQL: (.*)/g;
}
my $nearest = q{SELECT id FROM docs ORDER BY embed_cosine(e, %s) DESC LIMIT 5};
my $vector = q{embed_query('document 7', 'm')};
my $wanted = query($near, $db, sprintf $nearest, $vector);

my $plain = sent(sprintf $nearest, $vector);
unlike($plain, qr/ORDER BY|embed/, 'without the option "extensions" every vector travels');
query($near, $db, qq{ALTER SERVER far$_ OPTIONS (ADD extensions 'embed')}) for 0, 1;

my $by_vector = qr/ORDER BY public\.embed_cosine\(e, /;
my @lines = split /\n/, sent(sprintf $nearest, $vector);
is(scalar(grep { /$by_vector'\{[-0-9.e,]+\}'::real\[\]\) DESC/ } @lines), 2, 'with it the shards order, by a vector computed here');
is(query($near, $db, sprintf $nearest, $vector), $wanted, '... and give the same answer');

query($near, $db, q{SELECT embed_set_default('m')});
unlike(sent(sprintf $nearest, q{embed_query('document 7')}), $by_vector, 'a call without a model is STABLE: every vector travels');
my $prepare = 'SET plan_cache_mode = force_generic_plan; PREPARE p(text) AS ' . $nearest . ";\n";
unlike(sent(sprintf($prepare, q{embed_query($1, 'm')}) . "EXECUTE p('document 7')"), $by_vector, 'and so it does with a parameter in a generic plan');
for my $call (q{(SELECT embed_query('document 7'))}, q{(SELECT embed_query('document 7', 'm'))})
{
	@lines = split /\n/, sent(sprintf $nearest, $call);
	is(scalar(grep { /${by_vector}\$1|${by_vector}\(\(?SELECT null/ } @lines), 2, "$call: the shards order");
	is(query($near, $db, sprintf $nearest, $call), $wanted, '... the same answer');
}
@lines = split /\n/, sent(sprintf($prepare, q{(SELECT embed_query($1))}) . "EXECUTE p('document 7')");
is(scalar(grep { $_ =~ $by_vector } @lines), 2, '(SELECT embed_query($1)) in a generic plan: the shards order');
is(query($near, $db, sprintf($prepare, q{(SELECT embed_query($1))}) . "EXECUTE p('document 7')"), $wanted, '... the same answer');

@lines = split /\n/, sent(q{SELECT id FROM docs WHERE embed_cosine(embed(body, 'm'), embed('document 7', 'm')) > 0.99});
is(scalar(grep { /WHERE .*public\.embed\(body, 'm'::text\)/ } @lines), 2, 'the shards embed what a condition asks for');
unlike(sent(q{SELECT id, embed(body, 'm') FROM docs}), qr/embed/, 'but a target list is computed here');
@lines = split /\n/, sent(q{UPDATE docs SET e = embed(body, 'm')});
is(scalar(grep { /^UPDATE public\.docs SET e = public\.embed\(body, 'm'::text\)/ } @lines), 2, 'an UPDATE goes direct');
like(sent(q{SELECT embed_avg(body, 'm') FROM docs_0}), qr/public\.embed_avg\(body, 'm'::text\)/, 'an aggregate of one shard is computed there');
if ($version >= 140000)
{
	query($near, $db, qq{ALTER SERVER far$_ OPTIONS (ADD async_capable 'true')}) for 0, 1;
	my $plan = query($near, $db, q{EXPLAIN (COSTS OFF) SELECT id FROM docs WHERE embed(body, 'm') = e});
	is(scalar(() = $plan =~ /Async Foreign Scan/g), 2, 'async_capable: the shards work at the same time');
	is(query($near, $db, q{SELECT count(*) FROM docs WHERE embed(body, 'm') = e}), 60, '... each row its own vector');
}

# ------------------------------------------------------------- another model there

my $question = q{SELECT count(*) FROM docs WHERE id = 7 AND embed_cosine(embed(body, '%s'), embed('document 7 about ' || md5('7'), '%1$s')) > 0.9999};
my $fingerprint = query($near, $db, q{SELECT embed_fingerprint('x')});
my $there = query($far, $db, q{SELECT embed_fingerprint('x')});
is(query($near, $db, sprintf $question, 'm'), 1, 'the same model on all servers finds the row');
is(query($near, $db, sprintf $question, 'x'), 0, 'another one under the same name does not, and nobody is told');
for my $n (8, 13, 64)
{
	my $pinned = 'x@' . substr $fingerprint, 0, $n;

	like(sent(sprintf $question, $pinned), qr/public\.embed\(body, '\Q$pinned\E'::text\)/, "$n digits go with the call");
	($state, $message) = error_of($near, $db, sprintf $question, $pinned);
	is($state, '55000', '... which the other server refuses');
	like($message, qr/model "x" has fingerprint ${\substr $there, 0, $n} in this database, not ${\substr $fingerprint, 0, $n}\b/, '... naming both');
}
is(query($near, $db, sprintf $question, 'm@' . uc substr query($near, $db, q{SELECT embed_fingerprint('m')}), 0, 12), 1, 'the right fingerprint finds the row');

# servers can be compared by one statement
query($near, $db, q{CREATE FOREIGN TABLE far_models (name text, fingerprint text) SERVER far0 OPTIONS (table_name 'embed_models')});
is(query($near, $db, q{SELECT name FROM embed_models FULL JOIN far_models USING (name, fingerprint) WHERE embed_models IS NULL OR far_models IS NULL ORDER BY 1}), "x\nx",
	'a foreign table on embed_models shows where servers differ');

# ------------------------------------------------------------------------- Citus

if (query($near, $db, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'citus'}))
{
	my $node = new_node('citus', conf => "shared_preload_libraries = 'citus'");
	my ($citus_host, $citus_port) = ($node->host, $node->port);

	import_model($node, $db, 'm', tiny_model('bert-cls'));
	my $pinned = 'm@' . substr query($node, $db, q{SELECT embed_fingerprint('m')}), 0, 16;
	query($node, $db, qq{CREATE EXTENSION citus;
		SELECT citus_set_coordinator_host('$citus_host', $citus_port);
		SELECT citus_set_node_property('$citus_host', $citus_port, 'shouldhaveshards', true);
		CREATE TABLE docs (id int, body text, e float4[] GENERATED ALWAYS AS (embed(body, '$pinned')) STORED);
		SELECT create_distributed_table('docs', 'id');
		INSERT INTO docs SELECT i, 'document ' || i FROM generate_series(1, 20) i});
	is(query($node, $db, q{SELECT count(*) FROM docs WHERE e = embed(body, 'm')}), 20, 'Citus: a generated column of a distributed table');
	($state, $message) = error_of($node, $db, q{SELECT count(*) FROM docs WHERE e = embed(body, 'm@00000000')});
	is($state, '55000', '... another fingerprint is refused');
}
else
{
	skip_loudly('this server has no Citus');
}

done_testing();
