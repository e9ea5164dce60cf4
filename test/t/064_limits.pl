# Limits of a role that logs in, what slow calls leave in the log, and the
# queries of docs/monitoring.sql, word for word.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use IPC::Run;
use Test::More;
use Time::HiRes qw(time);

my $db = 'postgres';
my $node = new_node('limits');
import_model($node, $db, 'm', tiny_model('bert-cls'));

# ---------------------------------------------------------- a role that logs in

query($node, $db, q{CREATE ROLE bob LOGIN;
	ALTER ROLE bob SET embed.max_threads = 1;
	ALTER ROLE bob SET embed.max_statement_tokens = 9;
	CREATE ROLE eve LOGIN;
	ALTER ROLE eve SET embed.max_statement_tokens = 0});
my $too_much = q{SELECT embed(ARRAY['server', 'server', 'server', 'server'], 'm') IS NOT NULL};
my @bob = (extra_params => [ '-U', 'bob' ]);
is((error_of($node, $db, $too_much, @bob))[0], '53400', 'a role has the limit from its first call on');
is((error_of($node, $db, q{SELECT embed(ARRAY['server', 'server', 'server'], 'm') IS NOT NULL}, @bob))[0], '', '... and may read as much as it says');
is((error_of($node, $db, $too_much, extra_params => [ '-U', 'eve' ]))[0], '', '... which others may pass');

# before the library is loaded PostgreSQL does not know the settings and takes any value
for my $try ('SET embed.max_statement_tokens = 0', 'SET SESSION embed.max_statement_tokens = 1000', 'SET embed.max_statement_tokens TO DEFAULT',
	q{SELECT set_config('embed.max_statement_tokens', '0', false)}, 'RESET ALL', 'DISCARD ALL')
{
	my ($out, $err) = ('', '');

	$node->psql($db, "\\set VERBOSITY verbose\n$try;\nSELECT embed_isa() IS NOT NULL;\n$too_much", stdout => \$out, stderr => \$err, on_error_stop => 0, @bob);
	like($err, qr/ERROR:\s+53400/, "$try, before the library is loaded, does not undo it");
	$node->psql($db, "\\set VERBOSITY verbose\nSELECT embed_isa() IS NOT NULL;\n$try;\n$too_much", stdout => \$out, stderr => \$err, on_error_stop => 0, @bob);
	like($err, qr/ERROR:\s+53400/, '... nor later');
}
# options of a connection are values, too
for my $options ('-c embed.max_statement_tokens=0', '--embed.max_statement_tokens=1000', '-c EMBED.max_statement_tokens=0', '-c embed.max_threads=0 -c embed.log_min_duration=-1')
{
	local $ENV{PGOPTIONS} = $options;
	is((error_of($node, $db, "SET embed.max_statement_tokens = 0; $too_much", @bob))[0], '42501', "PGOPTIONS=$options is refused");
	is((error_of($node, $db, "\\set ON_ERROR_STOP 0\nSELECT embed_isa();\nRESET ALL;\n\\set ON_ERROR_STOP 1\n$too_much", @bob))[0], '42501', '... again at each call');
	is((error_of($node, $db, $too_much))[0], '', '... but not to a superuser');
}
{
	local $ENV{PGOPTIONS} = '-c embed.threads=1 -c embed.defer=on';
	is((error_of($node, $db, $too_much, @bob))[0], '53400', 'other settings may be options');
}
my $statement = q{BEGIN; SET LOCAL embed.max_statement_tokens = 0; } . $too_much . '; COMMIT';
is((error_of($node, $db, "SELECT embed_isa() IS NOT NULL; $statement", @bob))[0], '42501', 'SET LOCAL is refused');
like((error_of($node, $db, q{SET client_min_messages = warning; SET embed.max_threads = 64; SELECT embed_isa() IS NOT NULL; DO $$ BEGIN
	IF current_setting('embed.max_threads') <> '1' THEN RAISE 'max_threads is %', current_setting('embed.max_threads'); END IF; END $$}, @bob))[1],
	qr/^$/, 'embed.max_threads stays, too');

is((error_of($node, $db, q{SELECT embed(ARRAY['server', 'server', 'server'], 'm') IS NOT NULL; SELECT embed(ARRAY['server', 'server', 'server'], 'm') IS NOT NULL}, @bob))[0], '',
	'each statement has its own count');

# -------------------------------------------------------------------- slow calls

my $log = sub { return scalar(() = slurp($node->logfile) =~ /embed: a call of model "m" took/g) };
query($node, $db, $too_much);
is($log->(), 0, 'without the setting nothing is logged');
query($node, $db, q{SELECT embed_stat_reset()});
my $begun = time;
query($node, $db, q{SET embed.log_min_duration = 0; SELECT count(embed('text ' || i, 'm')) FROM generate_series(1, 50) i});
my $seconds = time - $begun;
like(slurp($node->logfile), qr/LOG:  embed: a call of model "m" took [\d.]+ ms: \d+ tokens, [\d.]+ ms of waiting, [\d.]+ ms of computing/, 'a slow call is logged');
cmp_ok($log->(), '<=', 3 + $seconds, '... not each of 50: one a second at most');
is(query($node, $db, q{SELECT calls || ' ' || slow_calls FROM embed_latency WHERE name = 'm'}), '50 50', '... but all are counted');
my ($tokens) = slurp($node->logfile) =~ /embed: a call of model "m" took [\d.]+ ms: (\d+) tokens/;
is($tokens, query($node, $db, q{SELECT cardinality(embed_tokens('text 1', 'm'))}), '... with the tokens of this call');

# ------------------------------------------------------------------- monitoring

my $file = slurp("$FindBin::RealBin/../../docs/monitoring.sql");
my @queries = $file =~ /^-- (embed_\w+): .*\n((?:(?!--).+\n)+)/mg;
cmp_ok(@queries / 2, '>=', 6, 'docs/monitoring.sql has queries');
query($node, $db, q{SELECT embed('x', 'm')});
my ($calls, $texts) = split /\|/, query($node, $db, q{SELECT calls, texts FROM embed_stat WHERE name = 'm'});
query($node, $db, q{CREATE TABLE kept (id int, body text, e float4[], CHECK (NOT (id = 1 AND e IS NOT NULL))); GRANT SELECT ON kept TO eve;
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later');
	INSERT INTO kept VALUES (1, 'fails'), (2, 'waits')});
answer_comes($node, $db, q{SELECT to_do, failed FROM embed_columns}, '1|1', 'a text that fails');
answer_comes($node, $db, "SELECT texts >= $texts + 2 FROM embed_stat WHERE name = 'm'", 't', 'what a filler computes is counted');
is(query($node, $db, q{SELECT calls FROM embed_stat WHERE name = 'm'}), $calls, '... and is no call: nobody waited for half a second');
my %rows = (embed_columns => qr/^kept\|e\|failing\|1\|1\|1\|0$/m, embed_failures => qr/^kept\|e\|23514\|1$/m);
while (my ($name, $sql) = splice @queries, 0, 2)
{
	my ($out, $err) = ('', '');

	$node->psql($db, $sql, stdout => \$out, stderr => \$err, extra_params => [ '-U', 'eve' ]);
	is($err, '', "$name runs, as any role");
	like($out, qr/^m\|/m, '... and has a row of the model') if $sql =~ /AS model/;
	like($out, $rows{$name}, '... and has a row of the column') if $rows{$name};
}
is(query($node, $db, q{SELECT bool_and(ok = 1) FROM (} . ($file =~ /(SELECT m\.name AS model, v\.[^;]+);/)[0] . ') s'), 't', 'embed_verify is well');

# What fits a screen of 160 columns, in psql's usual format, after a million calls of a model with a usual name.
import_model($node, $db, 'all-MiniLM-L6-v2', real_model() // tiny_model('bert-mean-36'), '{"default": true}');
query($node, $db, q{SELECT embed('x ' || i) FROM generate_series(1, 100) i});
my %screen = (
	embed_models => [ 'template', 'fingerprint' ], embed_stat => [ 'fingerprint', 'fingerprint' ], embed_latency => [ 'since', 'latency' ],
	embed_memory => [ 'file', 'file' ]);
for my $view (sort keys %screen)
{
	my ($last, $very_last) = @{ $screen{$view} };
	my ($out) = ('');

	IPC::Run::run([ 'psql', '-X', '-P', 'pager=off', '-d', $node->connstr($db), '-c', "SELECT * FROM $view WHERE name LIKE 'all-%'" ], '<' => \undef, '>' => \$out);
	my ($header, $rule, $row) = split /\n/, $out;
	my @names = $header =~ /(\w+)/g;
	my $width = 0;
	for my $i (0 .. $#names)
	{
		$width += length((split /\+/, $rule)[$i]) + ($i > 0);
		last if $names[$i] eq $last;
	}
	cmp_ok($width, '<=', 160, "$view: columns up to $last have $width of 160 columns, all have " . length $rule);
	is($names[-1], $very_last, "... and $very_last comes last");
}
is(query($node, $db, q{SELECT bool_and(length(s.fingerprint) = 12 AND u.file LIKE '%' || m.fingerprint || '.img' AND m.fingerprint LIKE s.fingerprint || '%' AND length(m.fingerprint) = 64)
	FROM embed_models m JOIN embed_stat s USING (name) JOIN embed_memory u USING (name)}), 't', 'a short fingerprint in the views, the whole in embed_models');

# rows that nobody fills
query($node, $db, q{LOAD 'embed'; ALTER SYSTEM SET embed.background = off});
query($node, $db, 'SELECT pg_reload_conf()');
answer_comes($node, $db, q{LOAD 'embed'; SHOW embed.background}, 'off', 'embed.background off');
answer_comes($node, $db, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'embed filler'}, 0, '... ends the filler');
query($node, $db, q{INSERT INTO kept VALUES (3, 'waits')});
my ($columns) = $file =~ /^-- embed_columns: .*\n((?:(?!--).+\n)+)/m;
like(query($node, $db, $columns), qr/^kept\|e\|off\|2\|1\|1\|0\.\d+$/m, 'a row that waits has an age');
query($node, $db, 'CALL embed_fill()');
like(query($node, $db, $columns), qr/^kept\|e\|failing\|1\|1\|2\|0$/m, '... until it is filled');

done_testing();
