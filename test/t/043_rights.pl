# Who may do what: users with nothing but EXECUTE, row level security, objects
# of others on the search path.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('rights');
my $db = 'postgres';
my ($cls, $mean48) = map { quote(tiny_model($_)) } qw(bert-cls bert-mean-48);

import_model($node, $db, 'm', tiny_model('bert-cls'));
import_model($node, $db, 'other', tiny_model('bert-mean-48'));
query($node, $db, q{CREATE ROLE stranger LOGIN; CREATE TABLE docs AS SELECT i AS id, 'document ' || i AS body FROM generate_series(1, 20) i});

my $as_stranger = 'SET SESSION AUTHORIZATION stranger;';

# ------------------------------------------------------------- EXECUTE only

is(query($node, $db, "$as_stranger SELECT cardinality(embed('x', 'm')), cardinality(embed('x')), cardinality(embed_query('x')),
		(SELECT count(*) FROM embed_rows(ARRAY['a', 'b'])), (SELECT cardinality(embed_agg(v)) FROM (VALUES ('a'), ('b')) AS t (v)),
		(SELECT cardinality(embed_avg(v, 'other')) FROM (VALUES ('a'), ('b')) AS t (v))"),
	'64|64|64|2|128|48', 'a user without any right but EXECUTE embeds');
is(query($node, $db, "$as_stranger SELECT (SELECT count(*) FROM embed_models), (SELECT count(*) > 0 FROM embed_memory), (SELECT count(*) > 0 FROM embed_stat),
		(SELECT bool_and(ok) FROM embed_verify('m')), (embed_info('x')).tokens > 0, cardinality(embed_tokens('x')) > 0"),
	'2|t|t|t|t|t', '... and looks at the models');
for my $forbidden (
	q{SELECT * FROM _embed.model}, q{SELECT * FROM _embed.chunk}, q{DELETE FROM _embed.default_model}, qq{SELECT embed_import('x', $cls)},
	q{SELECT embed_drop('m')}, q{SELECT embed_drop('m', true)}, q{SELECT * FROM embed_dependents('m')}, q{SELECT embed_set_default('m')}, q{SELECT embed_set_alias('a', 'm')},
	q{SELECT embed_load('x', '\\x00', '{}')}, q{SELECT embed_stat_reset()}, q{DO $$ BEGIN LOCK TABLE _embed.model; END $$})
{
	is((error_of($node, $db, "$as_stranger $forbidden"))[0], '42501', '... and may not: ' . $forbidden =~ s/ E'.*'/ 'path'/r);
}
query($node, $db, q{REVOKE EXECUTE ON FUNCTION embed(text) FROM PUBLIC});
is((error_of($node, $db, "$as_stranger SELECT embed('x')"))[0], '42501', 'EXECUTE can be revoked');
is(query($node, $db, "$as_stranger SELECT cardinality(embed('x', 'm'))"), 64, '... form by form');
query($node, $db, q{GRANT EXECUTE ON FUNCTION embed(text) TO PUBLIC});
query($node, $db, q{GRANT EXECUTE ON FUNCTION embed_import(text, text, jsonb) TO stranger});
is((error_of($node, $db, "$as_stranger SELECT embed_import('x', $cls)"))[0], '42501', 'EXECUTE on embed_import is not enough to read a path');
query($node, $db, q{GRANT pg_read_server_files TO stranger});
like(query($node, $db, "$as_stranger SELECT embed_import('granted', $mean48); SELECT cardinality(embed('x', 'granted'))"), qr/^[0-9a-f]{64}\n48$/,
	'... with pg_read_server_files it is');
is((error_of($node, $db, "$as_stranger DELETE FROM _embed.model"))[0], '42501', '... and gives no right on the tables');
query($node, $db, q{REVOKE pg_read_server_files FROM stranger; REVOKE EXECUTE ON FUNCTION embed_import(text, text, jsonb) FROM stranger});

# ------------------------------------------------------------- row level security

query($node, $db, q{CREATE TABLE secret (who text, body text, e float4[]);
	INSERT INTO secret SELECT CASE id % 2 WHEN 0 THEN 'stranger' ELSE 'x' END, body FROM docs;
	ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON secret USING (who = current_user); GRANT ALL ON secret TO stranger;
	CREATE TRIGGER t BEFORE INSERT OR UPDATE ON secret FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
is(query($node, $db, "$as_stranger UPDATE secret SET body = body || '.'; SELECT count(*), count(*) FILTER (WHERE e = embed(body, 'm')) FROM secret"), '10|10',
	'row level security: own rows only, with their vectors');
is(query($node, $db, q{SELECT count(*) FROM secret WHERE e IS NULL}), 10, '... the others are untouched');
is(query($node, $db, "$as_stranger SELECT cardinality(embed_agg(body, 'm')) / 64 FROM secret"), 10, '... and unseen by aggregates');
is((error_of($node, $db, "$as_stranger INSERT INTO secret VALUES ('x', 'not mine')"))[0], '42501', '... nor added to');
query($node, $db, q{CREATE POLICY near ON docs USING (embed_cosine(embed(body, 'm'), embed('document 3', 'm')) > 0.9999);
	ALTER TABLE docs ENABLE ROW LEVEL SECURITY; GRANT SELECT ON docs TO stranger});
is(query($node, $db, "$as_stranger SELECT id FROM docs"), 3, 'a policy that embeds');
query($node, $db, 'ALTER TABLE _embed.model ENABLE ROW LEVEL SECURITY; ALTER TABLE _embed.model FORCE ROW LEVEL SECURITY');
is(query($node, $db, "$as_stranger SET row_security = off; SELECT cardinality(embed('x', 'other'))"), 48, 'models are found under any policy of their own tables');
query($node, $db, 'ALTER TABLE _embed.model DISABLE ROW LEVEL SECURITY; ALTER TABLE _embed.model NO FORCE ROW LEVEL SECURITY');

# ------------------------------------------------------------- search paths

# What an attacker would shadow: operators and functions that SQL of ours might
# call, tables it might read. Each one raises, so nothing can pass unnoticed.
my $traps = q{
	CREATE FUNCTION evil.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
	CREATE FUNCTION evil.embed(text) RETURNS float4[] LANGUAGE sql AS $$ SELECT ARRAY[evil.trap()::int::float4] $$;
	CREATE TABLE evil.model (name text); CREATE TABLE evil.chunk (n int); CREATE TABLE evil.image (n int); CREATE TABLE evil.alias (n int);
	CREATE TABLE evil.default_model (n int); CREATE TABLE evil.pg_class (oid oid); CREATE TABLE evil.pg_database (oid oid);
	CREATE VIEW evil.embed_models AS SELECT evil.trap() AS name;
};
for my $signature ('length(text)', 'octet_length(bytea)', 'coalesce_trap(text)', 'current_database()', 'unnest(text[])', 'to_json(text)', 'encode(bytea, text)', 'sha256(bytea)',
	'pg_read_file(text)', 'current_setting(text)', 'substring(bytea, int, int)')
{
	$traps .= "CREATE FUNCTION evil.$signature RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';\n";
}
my $n_operators = 0;
for my $type (qw(text name int4 int8 oid bytea boolean jsonb float4[]))
{
	$n_operators++;
	$traps .= "CREATE FUNCTION evil.compare$n_operators($type, $type) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';\n";
	$traps .= "CREATE OPERATOR evil.$_ (LEFTARG = $type, RIGHTARG = $type, FUNCTION = evil.compare$n_operators);\n" for qw(= <> < > ||);
}
query($node, $db, 'CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC; CREATE TABLE phased (body text, e float4[]);
	CREATE TRIGGER t BEFORE INSERT ON phased FOR EACH ROW EXECUTE FUNCTION embed_trigger(\'e\', \'body\', \'m\')');
query($node, $db, "$as_stranger $traps");
my $path = 'SET search_path = evil, pg_catalog, public;';
like((error_of($node, $db, "$path SELECT 'a'::text = 'b'::text"))[1], qr/trapped/, 'the traps are armed');
is(query($node, $db, "$path SELECT cardinality(public.embed('x')), cardinality(public.embed('x', 'm')), cardinality(public.embed_agg('x', 'm')),
	cardinality(public.embed(ARRAY['a', 'b'], 'other')), (SELECT pg_catalog.count(*) FROM public.embed_models),
	(SELECT pg_catalog.count(*) IS NOT NULL FROM public.embed_memory), (SELECT pg_catalog.count(*) IS NOT NULL FROM public.embed_stat),
	(SELECT bool_and(ok) FROM public.embed_verify('m'))"),
	'64|64|64|96|3|t|t|t', 'nothing of ours looks at search_path');
query($node, $db, "$path INSERT INTO public.phased VALUES ('one')");
all_quiet("SELECT public.embed_import('under-attack', $mean48, '{\"alias\": \"besieged\"}')", 'import');
all_quiet(q{SELECT public.embed_set_alias('trap', 'm')}, 'alias');
all_quiet(q{SELECT public.embed_set_default('other'); SELECT public.embed_set_default('m')}, 'default');
all_quiet(q{SELECT count(*) FROM public.embed_dependents('under-attack')}, 'dependents');
all_quiet(q{SELECT public.embed_drop('under-attack', true, true)}, 'drop');
all_quiet(q{CREATE INDEX ON public.docs ((public.embed(body, 'm')))}, 'index');
all_quiet(q{ANALYZE public.docs; REINDEX TABLE public.docs; VACUUM ANALYZE public.docs}, 'maintenance');
is(query($node, $db, q{SELECT count(*) FROM phased WHERE e = embed(body, 'm')}), 1, '... nor the trigger');

sub all_quiet
{
	my ($sql, $name) = @_;
	return is((error_of($node, $db, "$path $sql"))[1], '', "... nor $name");
}

is(query($node, $db, "CREATE TEMP TABLE model (name text); CREATE TEMP TABLE pg_class (oid oid); CREATE FUNCTION pg_temp.embed(text) RETURNS text LANGUAGE sql AS 'SELECT NULL';
	SELECT cardinality(embed('x')), cardinality(embed('y', 'other')), (SELECT count(*) FROM embed_models)"), '64|48|3', 'temporary objects shadow nothing');
is(query($node, $db, "SET search_path = ''; SELECT cardinality(public.embed('x')), cardinality(public.embed_agg('x', 'm'))"), '64|64', 'an empty search_path');
query($node, $db, 'CREATE DATABASE besieged');
query($node, 'besieged', 'CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC; CREATE SCHEMA tools');
query($node, 'besieged', "$as_stranger $traps");
query($node, 'besieged', "$path CREATE EXTENSION embed SCHEMA tools");
is(query($node, 'besieged', "$path SELECT tools.embed_import('m', $cls) OPERATOR(pg_catalog.<>) ''; SELECT cardinality(tools.embed('x'))"), "t\n64",
	'CREATE EXTENSION under attack, in a schema of its own');

# Trusted: the script runs as the bootstrap superuser, in a schema whose owner means no good.
query($node, $db, 'CREATE ROLE attacker LOGIN; CREATE DATABASE taken OWNER attacker');
my $as_attacker = 'SET SESSION AUTHORIZATION attacker;';
(my $own_traps = $traps) =~ s/CREATE FUNCTION evil\.embed\(text\).*\n//;
$own_traps =~ s/CREATE VIEW evil\.embed_models.*\n//;
query($node, 'taken', "$as_attacker CREATE SCHEMA evil; $own_traps");
like((error_of($node, 'taken', "$as_attacker CREATE FUNCTION evil.embed(text) RETURNS float4[] LANGUAGE sql AS 'SELECT NULL::float4[]'; CREATE EXTENSION embed SCHEMA evil"))[0], qr/^(42723|42710)$/,
	'a trusted CREATE EXTENSION takes over no function that is there');
query($node, 'taken', 'DROP FUNCTION evil.embed(text)');
is((error_of($node, 'taken', "$as_attacker $path CREATE EXTENSION embed SCHEMA evil"))[1], '', '... and looks at none of the schema');
is(query($node, 'taken', q{SELECT count(*) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND d.deptype = 'e' JOIN pg_proc p ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
	WHERE e.extname = 'embed' AND (p.proowner <> 10 OR p.prosrc ~ 'trap')}), 0, '... its functions belong to the bootstrap superuser');
is((error_of($node, 'taken', "$as_attacker ALTER FUNCTION evil.embed(text) OWNER TO attacker"))[0], '42501', '... and stay his');
query($node, $db, 'CREATE DATABASE refused');
is((error_of($node, 'refused', "$as_attacker CREATE EXTENSION embed"))[0], '42501', '... and a role without CREATE on the database creates none');

done_testing();
