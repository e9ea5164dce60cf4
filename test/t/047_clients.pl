# A list that a client sends as a parameter: psycopg 3 and node-postgres give it
# no type. embed_many and rerank_many take it for an array; embed takes it for
# one text, and what shows that is the result's shape and embed_stat.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('main');
my $db = 'postgres';
import_model($node, $db, 'm', tiny_model('bert-cls'));
import_model($node, $db, 'r', tiny_model('bert-rerank'));
my $user = query($node, $db, 'SELECT current_user');
my $dim = query($node, $db, q{SELECT dim FROM embed_models WHERE name = 'm'});

# The same questions to each client: its lines, one an answer, "equal" where two results are.
my @expected = ("many 2 $dim equal", 'many model equal', 'rows 2', 'scores 2 equal', 'scores model equal', 'top 2',
	"one text $dim literal", 'cast equal', 'texts counted 1, then 2');

sub check_client
{
	my ($client, @command) = @_;
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => $user, PGDATABASE => $db);
	my ($out, $err) = ('', '');

	ok(IPC::Run::run(\@command, '<', \'', '>', \$out, '2>', \$err), "$client runs") || diag($err);
	my @got = split /\n/, $out;
	is($got[$_], $expected[$_], "$client: $expected[$_]") for 0 .. $#expected;
	return;
}

my $python = $ENV{EMBED_PYTHON} || 'python3';
my $psycopg = <<'PYTHON';
import psycopg
db = psycopg.connect("", autocommit=True)
ask = lambda sql, *args: db.execute(sql, args).fetchone()[0]
texts = ["a", "b"]
want = ask("SELECT embed(ARRAY['a', 'b'], 'm')")
scores = ask("SELECT rerank('q', ARRAY['a', 'b'], 'r')")
counted = lambda: ask("SELECT texts FROM embed_stat WHERE name = 'm'")
same = lambda got, expected, word="equal": word if got == expected else "different"
got = ask("SELECT embed_many(%s)", texts)
print("many", len(got), len(got[0]), same(got, want))
print("many model", same(ask("SELECT embed_many(%s, %s)", texts, "m"), want))
print("rows", ask("SELECT count(*) FROM embed_rows(%s)", texts))
got = ask("SELECT rerank_many(%s, %s)", "q", texts)
print("scores", len(got), same(got, scores))
print("scores model", same(ask("SELECT rerank_many(%s, %s, %s)", "q", texts, "r"), scores))
print("top", ask("SELECT count(*) FROM rerank_top(%s, %s, %s)", "q", texts, 5))
got = ask("SELECT embed(%s, 'm')", texts)
print("one text", len(got), same(got, ask("SELECT embed('{a,b}', 'm')"), "literal"))
db.execute("SET embed.cache_entries = 0")
before = counted()
ask("SELECT embed(%s, 'm')", texts)
middle = counted()
print("cast", same(ask("SELECT embed(%s::text[], 'm')", texts), want))
print("texts counted %d, then %d" % (middle - before, counted() - middle))
PYTHON
if (system("$python -c 'import psycopg' >/dev/null 2>&1") == 0)
{
	check_client('psycopg', $python, '-c', $psycopg);
}
else
{
	skip_loudly("no Python package psycopg (EMBED_PYTHON): what it sends is not tested", 10);
}

my $node_postgres = <<'NODE';
const { Client } = require("pg");
const same = (got, expected, word = "equal") => (JSON.stringify(got) === JSON.stringify(expected) ? word : "different");
(async () => {
	const db = new Client({ host: process.env.PGHOST, port: +process.env.PGPORT, user: process.env.PGUSER, database: process.env.PGDATABASE });
	await db.connect();
	const ask = async (text, ...values) => Object.values((await db.query({ text, values, rowMode: "array" })).rows[0])[0];
	const counted = async () => +(await ask("SELECT texts FROM embed_stat WHERE name = 'm'"));
	const texts = ["a", "b"];
	const want = await ask("SELECT embed(ARRAY['a', 'b'], 'm')");
	const scores = await ask("SELECT rerank('q', ARRAY['a', 'b'], 'r')");
	let got = await ask("SELECT embed_many($1)", texts);
	console.log("many", got.length, got[0].length, same(got, want));
	console.log("many model", same(await ask("SELECT embed_many($1, $2)", texts, "m"), want));
	console.log("rows", await ask("SELECT count(*)::int FROM embed_rows($1)", texts));
	got = await ask("SELECT rerank_many($1, $2)", "q", texts);
	console.log("scores", got.length, same(got, scores));
	console.log("scores model", same(await ask("SELECT rerank_many($1, $2, $3)", "q", texts, "r"), scores));
	console.log("top", await ask("SELECT count(*)::int FROM rerank_top($1, $2, $3)", "q", texts, 5));
	got = await ask("SELECT embed($1, 'm')", texts);
	console.log("one text", got.length, same(got, await ask(`SELECT embed('{"a","b"}', 'm')`), "literal"));
	await db.query("SET embed.cache_entries = 0");
	const before = await counted();
	await ask("SELECT embed($1, 'm')", texts);
	const middle = await counted();
	console.log("cast", same(await ask("SELECT embed($1::text[], 'm')", texts), want));
	console.log(`texts counted ${middle - before}, then ${(await counted()) - middle}`);
	await db.end();
})().catch((e) => { console.error(e); process.exit(1); });
NODE
if (system(q{node -e 'require("pg")' >/dev/null 2>&1}) == 0)
{
	check_client('node-postgres', 'node', '-e', $node_postgres);
}
else
{
	skip_loudly('no node with the package pg (NODE_PATH): what it sends is not tested', 10);
}

# pgbench -M extended sends parameters without a type, too; it is there wherever a server is
$node->safe_psql($db, 'CREATE TABLE got (one int, many int)');
spit($node->basedir . '/many.sql', q{\set i 1
INSERT INTO got SELECT array_ndims(embed(:i::text)), array_ndims(embed_many('{a,b}'));});
$node->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-f', $node->basedir . '/many.sql', '-p', $node->port, '-h', $node->host, $db ],
	'by the extended protocol');
is(query($node, $db, 'SELECT one, many FROM got'), '1|2', '... an array of one dimension, and of two');
$node->stop;
done_testing();
