# The owner of a database, who is no superuser: creates the extension, manages
# models, dumps and restores them; what partial dumps carry; roles that dump
# for the owner; what the owner may not do.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use IPC::Run;
use Test::More;

my $db = 'postgres';
my $node = new_node('owner');
my $version = query($node, $db, 'SHOW server_version_num');
my $base = $node->basedir;

query($node, $db, q{CREATE ROLE boss LOGIN; CREATE ROLE heir LOGIN; CREATE ROLE dumper LOGIN; CREATE ROLE stranger LOGIN});
import_model($node, $db, 'm', tiny_model('bert-cls'));
my $image = query($node, $db, q{SELECT string_agg(encode(data, 'hex'), '' ORDER BY no) FROM _embed.chunk});

my $n_databases = 0;
sub new_database
{
	my ($owner) = @_;
	my $name = 'owned' . $n_databases++;

	query($node, $db, "CREATE DATABASE $name TEMPLATE template0 OWNER $owner");
	return $name;
}

sub as
{
	my ($role, $name, $sql) = @_;
	return query($node, $name, "SET SESSION AUTHORIZATION $role; $sql");
}

sub error_as
{
	my ($role, $name, $sql) = @_;
	return error_of($node, $name, "SET SESSION AUTHORIZATION $role; $sql");
}

# (exit code, output and messages) of a client program as that role; not a superuser's SET SESSION AUTHORIZATION.
sub client
{
	my ($role, $name, $program, @rest) = @_;
	my $out = '';

	IPC::Run::run([ $program, '-d', $node->connstr($name) . " user=$role", @rest ], '<' => \undef, '>' => \$out, '2>' => \$out);
	return ($? >> 8, $out);
}

# ------------------------------------------------------------- the owner manages

my $home = new_database('boss');
as('boss', $home, 'CREATE EXTENSION embed');
is(as('boss', $home, "SELECT length(embed_load('m', decode('$image', 'hex'), '{\"alias\": \"current\"}')); SELECT cardinality(embed('x', 'm'))"), "64\n64", 'the owner of a database creates the extension and loads a model');
is(as('boss', $home, q{SELECT embed_set_alias('a', 'm'); SELECT embed_set_default('m'); SELECT embed_stat_reset(); SELECT aliases FROM embed_models}) =~ s/^\n+//r, '{a,current}', '... and manages names');
is((error_as('boss', $home, q{SELECT embed_import('x', } . quote(tiny_model('bert-cls')) . ')'))[0], '42501', '... but reads no path of the server');
query($node, $db, 'GRANT pg_read_server_files TO boss');
is((error_as('boss', $home, q{SELECT embed_import('x', } . quote(tiny_model('bert-mean-36')) . q{); SELECT embed_drop('x', true)}))[0], '', '... without pg_read_server_files');
query($node, $db, 'REVOKE pg_read_server_files FROM boss');
for my $forbidden (
	q{CREATE TRIGGER t BEFORE INSERT ON _embed.model FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()},
	q{ALTER TABLE _embed.model DISABLE TRIGGER ALL}, q{CREATE TABLE _embed.x (a int)}, q{CREATE POLICY p ON _embed.model}, q{CREATE TABLE r (n text REFERENCES _embed.model)},
	q{CREATE OR REPLACE FUNCTION embed_isa() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'})
{
	is((error_as('boss', $home, $forbidden))[0], '42501', "... and may not: $forbidden");
}
for my $forbidden (q{SELECT embed_grant('stranger')}, q{SELECT embed_revoke('dumper')}, q{SELECT embed_set_default('m')}, q{SELECT * FROM _embed.model}, q{INSERT INTO _embed.model VALUES ('a', '', true)})
{
	is((error_as('stranger', $home, $forbidden))[0], '42501', "a stranger may not: $forbidden");
}

# -------------------------------------------------------- whole dumps and restores

as('boss', $home, q{
	CREATE TABLE docs (id int PRIMARY KEY, body text, v float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED);
	INSERT INTO docs SELECT g, (SELECT string_agg(md5(g::text || x), ' ') FROM generate_series(1, 300) x) FROM generate_series(1, 100) g;
	CREATE INDEX ON docs ((embed_cosine(v, embed('one', 'm'))));
	CREATE TABLE triggered (id int, body text, v float4[]);
	CREATE TRIGGER t BEFORE INSERT OR UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION embed_trigger('v', 'body', 'current');
	INSERT INTO triggered SELECT id, body FROM docs WHERE id <= 20;
	GRANT SELECT ON docs, triggered TO dumper});
my $all = q{SELECT (SELECT count(*) || md5(string_agg(v::text, ' ' ORDER BY id)) FROM docs) || (SELECT count(*) || md5(string_agg(v::text, ' ' ORDER BY id)) FROM triggered)
	|| (SELECT name || aliases::text FROM embed_models)};
my $want = as('boss', $home, $all);

# Dumps $home as $role and restores it as $heir into a new database of that role.
sub dump_and_restore
{
	my ($what, $role, $heir, $format, $restore) = @_;
	my $file = "$base/dump" . $n_databases;
	my $target = new_database($heir);
	my ($code, $out) = client($role, $home, 'pg_dump', @$format, '-f', $file);

	is("$code$out", '0', "pg_dump as $role: $what");
	my ($program, @options) = @$restore;
	($code, $out) = client($heir, $target, $program, @options, $program eq 'psql' ? ('-f', $file) : $file);
	is($code, 0, "... restored as $heir") or diag($out);
	unlike($out, qr/ERROR/, '... without a complaint');
	is(as($heir, $target, $all), $want, '... all bits');
	return $target;
}

my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1');
dump_and_restore('plain', 'boss', 'boss', ['-Fp'], \@psql);
dump_and_restore('plain, to another role', 'boss', 'heir', [ '-Fp', '-O' ], \@psql);
dump_and_restore('custom', 'boss', 'boss', ['-Fc'], [ 'pg_restore', '-e' ]);
dump_and_restore('custom, -j', 'boss', 'heir', ['-Fc'], [ 'pg_restore', '-e', '-O', '-j2' ]);
dump_and_restore('directory, -j', 'boss', 'boss', [ '-Fd', '-j2' ], [ 'pg_restore', '-e', '-j3' ]);
dump_and_restore('inserts', 'boss', 'boss', ['--inserts'], \@psql);

# Over models that are there already: restored twice, and only the models.
my $twice = dump_and_restore('custom, before it is restored again', 'boss', 'boss', ['-Fc'], [ 'pg_restore', '-e' ]);
is((client('boss', $home, 'pg_dump', '-Fc', '-f', "$base/twice"))[0], 0, 'pg_dump');
my ($code, $out) = client('boss', $twice, 'pg_restore', '-e', '-a', '-n', '_embed', "$base/twice");
is($code, 0, 'models restored over the same ones') or diag($out);

# ------------------------------------------------------------ who dumps for the owner

($code, $out) = client('dumper', $home, 'pg_dump', '-f', "$base/none");
like($out, qr/permission denied for (schema|table)/, 'pg_dump as a role without rights is refused');
as('boss', $home, q{SELECT embed_grant('dumper')});
my $granted = dump_and_restore('after embed_grant', 'dumper', 'boss', [ '-Fc', '-O' ], [ 'pg_restore', '-e', '-O' ]);
is(query($node, $granted, q{SELECT has_table_privilege('dumper', '_embed.chunk', 'SELECT')}), 't', '... and the grant comes along');
dump_and_restore('after embed_grant, to another role', 'dumper', 'heir', [ '-Fp', '-O' ], \@psql);
# a restore by such a role, into an extension of somebody else
my $lent = new_database('boss');
as('boss', $lent, q{CREATE EXTENSION embed; SELECT embed_grant('dumper')});
($code, $out) = client('dumper', $lent, 'pg_restore', '-e', '-a', '-n', '_embed', "$base/twice");
is("$code$out", '0', '... restores models');
is(as('boss', $lent, q{SELECT name FROM embed_models}), 'm', '... that are there then');
is((error_as('dumper', $lent, q{UPDATE _embed.model SET name = 'x'}))[0], '42501', '... and changes none');
as('boss', $home, q{SELECT embed_revoke('dumper')});
like((client('dumper', $home, 'pg_dump', '-f', "$base/none"))[1], qr/permission denied for (schema|table)/, '... until embed_revoke');
is((error_as('boss', $home, q{SELECT embed_grant('nobody at all')}))[0], '42704', 'embed_grant of no role');
query($node, $db, q{CREATE ROLE "odd ""name" LOGIN});
is((error_as('boss', $home, q{SELECT embed_grant('odd "name'); SELECT embed_revoke('odd "name')}))[0], '', '... of a role with an odd name');

# ---------------------------------------------------------------- partial dumps

# Restores in psql's own way, which goes on after errors; gives what it said.
sub restore_partial
{
	my ($target, @options) = @_;
	my ($rc, $said) = client('boss', $home, 'pg_dump', '-Fp', '-f', "$base/partial", @options);

	is("$rc$said", '0', "pg_dump @options");
	return (client('boss', $target, 'psql', '-X', '-q', '-f', "$base/partial"))[1];
}

# A database of the owner with the extension, and with a model.
sub with_extension
{
	my ($with_model) = @_;
	my $target = new_database('boss');

	as('boss', $target, 'CREATE EXTENSION embed');
	as('boss', $target, "SELECT embed_load('m', decode('$image', 'hex'), '{\"alias\": \"current\"}'); SELECT embed_set_alias('a', 'm')") if $with_model;
	return $target;
}

my $n_docs = 'SELECT count(*) FROM docs';
my $no_model = qr/WARNING:  this restore needs model "m".*ERROR:  model "m" does not exist.*HINT: .*pg_restore --section=pre-data, then -a -n _embed/s;
my @tables = (-t => 'docs', -t => 'triggered');
for my $part ([ '-n', 'public' ], \@tables)
{
	my $target = new_database('boss');

	like(restore_partial($target, @$part), qr/ERROR:  function public.embed\(text, text\) does not exist/, '... without the extension: said');
	is((error_as('boss', $target, $n_docs))[0], '42P01', '... and there is no table');
	$target = with_extension(0);
	like(restore_partial($target, @$part), $no_model, '... with the extension and no model: said, with what to do');
	is(as('boss', $target, $n_docs), 0, '... and the table is empty');
	$target = with_extension(1);
	restore_partial($target, @$part);
	is(as('boss', $target, $all), $want, '... with the model: all bits');
}
my $stripped = new_database('boss');
like(restore_partial($stripped, '-N', '_embed'), $no_model, '-N _embed carries the extension and no model: said');
is(as('boss', $stripped, q{SELECT count(*) FROM embed_models}), 0, '... it has none');
as('boss', $stripped, "SELECT embed_load('m', decode('$image', 'hex'), '{\"alias\": \"current\"}'); SELECT embed_set_alias('a', 'm'); TRUNCATE docs, triggered");
is((client('boss', $stripped, 'pg_restore', '-e', '-a', '-n', 'public', "$base/twice"))[0], 0, '... a model is loaded, the data restored again');
is(as('boss', $stripped, $all), $want, '... all bits');
if ($version >= 140000)
{
	my $target = new_database('boss');

	unlike(restore_partial($target, '-n', 'public', '-e', 'embed'), qr/model/, '-n public -e embed carries extension and models');
	is(as('boss', $target, $all), $want, '... all bits');
}

# ------------------------------------------------------------- a schema of its own

my $tidy = new_database('boss');
as('boss', $tidy, "CREATE SCHEMA ai; CREATE EXTENSION embed SCHEMA ai; ALTER DATABASE $tidy SET search_path = \"\$user\", public, ai");
as('boss', $tidy, "SELECT embed_load('m', decode('$image', 'hex')); CREATE SCHEMA app; CREATE TABLE app.docs (body text, v float4[] GENERATED ALWAYS AS (embed(body, 'm')) STORED); INSERT INTO app.docs VALUES ('x')");
query($node, $tidy, 'DROP SCHEMA public CASCADE');
is(as('boss', $tidy, q{SELECT v = embed('x', 'm') FROM app.docs}), 't', 'in a schema of its own the extension outlives DROP SCHEMA public CASCADE');
my $tidy2 = new_database('boss');
is((client('boss', $tidy, 'pg_dump', '-Fc', '-f', "$base/tidy"))[0], 0, '... and is dumped');
query($node, $tidy2, 'DROP SCHEMA public');
is((client('boss', $tidy2, 'pg_restore', '-e', "$base/tidy"))[0], 0, '... and restored');
is(as('boss', $tidy2, q{SELECT v = ai.embed('x', 'm') FROM app.docs}), 't', '... with its bits');
my $short = with_extension(1);
query($node, $short, 'DROP SCHEMA public CASCADE');
is(query($node, $short, q{SELECT count(*) FROM pg_extension WHERE extname = 'embed'}), 0, 'in public it goes with the schema, models and all');

# ----------------------------------------------------- an owner who means no good

my $hostile = with_extension(1);
for my $row (q{('short', '\\x01', false)}, q{('empty', '', false)}, q{('nobody', sha256('x'), false)}, q{('long', convert_to(repeat('x', 2000), 'utf8'), false)})
{
	as('boss', $hostile, "INSERT INTO _embed.model VALUES $row");
}
for my $size (-1, 0, 1, 1048577, '9e18')
{
	as('boss', $hostile, "DELETE FROM _embed.image WHERE fingerprint = sha256('x'); INSERT INTO _embed.image SELECT sha256('x'), $size, kind, family, dim, max_tokens, precision, pooling, '', '', outputs, false, '', false FROM _embed.image LIMIT 1");
	is((error_as('boss', $hostile, q{SELECT embed('x', 'nobody')}))[0], 'XX001', "an image that is said to have $size bytes");
}
is((error_as('boss', $hostile, "SELECT embed('x', '$_')"))[0], 'XX001', "model $_") for qw(short empty long);
is(as('boss', $hostile, q{SELECT cardinality(embed('x', 'm'))}), 64, '... others work');
is(as('boss', $home, q{SELECT cardinality(embed('x', 'm'))}), 64, '... other databases too');
as('boss', $hostile, q{DELETE FROM _embed.model WHERE name IN ('short', 'empty', 'long'); SELECT embed_drop('nobody', true); SELECT embed_drop('m', force => true); SELECT embed_grant('dumper')});
is(as('boss', $hostile, q{SELECT count(*) FROM embed_models}), 0, 'the owner tidies up');
as('boss', $hostile, 'DROP EXTENSION embed');
is(query($node, $hostile, q{SELECT count(*) FROM pg_namespace WHERE nspname = '_embed'}), 0, '... and drops the extension');

done_testing();
