# The companion extension embed_pgvector: pgvector's operators take results of embed as they
# stand and use their indexes, nothing that pgvector resolves resolves otherwise, and neither
# schemas nor dumps get in the way.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('companion');
my $db = 'postgres';
my $version = query($node, $db, q{SELECT coalesce(max(default_version), '0') FROM pg_available_extensions WHERE name = 'vector'});
my ($major, $minor) = split /\./, $version;

is(query($node, $db, q{SELECT c.default_version = e.default_version FROM pg_available_extensions c, pg_available_extensions e WHERE c.name = 'embed_pgvector' AND e.name = 'embed'}),
	't', 'the companion is installed in embed\'s version');
my ($state, $message) = error_of($node, $db, 'CREATE EXTENSION embed_pgvector');
like($message, qr/required extension "vector" is not installed.*CREATE EXTENSION \.\.\. CASCADE/s, 'without pgvector in the database it says what is missing');
if ($version eq '0')
{
	like((error_of($node, $db, 'CREATE EXTENSION embed_pgvector CASCADE'))[1], qr/extension "vector" is not available|could not open extension control file.*vector\.control/,
		'... and without pgvector on the server');
	skip_loudly('this server has no pgvector: operators without casts are not tested', 20);
	done_testing();
	exit 0;
}
if ($major == 0 && $minor < 7)
{
	($state, $message) = error_of($node, $db, 'CREATE EXTENSION embed_pgvector CASCADE');
	is($state, '0A000', 'it needs halfvec');
	like($message, qr/version \Q$version\E, and embed_pgvector needs 0\.7\.0 or later.*ALTER EXTENSION vector UPDATE/s, '... and says so');
	skip_loudly("pgvector $version: operators without casts are not tested", 20);
	done_testing();
	exit 0;
}

# ------------------------------------------------------ what resolves how

my %types = (
	vector => q{'[3,1,2]'::vector}, halfvec => q{'[3,1,2]'::halfvec}, sparsevec => q{'{1:3,2:1,3:2}/3'::sparsevec}, bit => q{B'101'},
	real => q{'{1,2,3}'::real[]}, double => q{'{1,2,3}'::float8[]}, numeric => 'ARRAY[1.0,2,3]', int => 'ARRAY[1,2,3]', bigint => 'ARRAY[1,2,3]::bigint[]',
	literal => q{'[1,2,3]'}, braces => q{'{1,2,3}'}, null => 'NULL', text => q{'[1,2,3]'::text}, parameter => '$1',
	vector_domain => q{'[3,1,2]'::a_vector}, halfvec_domain => q{'[3,1,2]'::a_halfvec});
query($node, $db, q{CREATE EXTENSION vector; CREATE DOMAIN a_vector AS vector(3); CREATE DOMAIN a_halfvec AS halfvec(3);
	CREATE FUNCTION outcome(expression text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result text;
	BEGIN
		IF expression ~ '\$1' THEN
			EXECUTE 'PREPARE outcome AS SELECT ' || expression;
			SELECT parameter_types::text INTO result FROM pg_prepared_statements WHERE name = 'outcome';
			DEALLOCATE outcome;
		ELSE
			EXECUTE format('SELECT format(''%%s %%s'', pg_typeof(%s), %1$s)', expression) INTO result;
		END IF;
		RETURN result;
	EXCEPTION WHEN OTHERS THEN
		RETURN 'error ' || SQLSTATE;
	END $$});

sub outcomes
{
	my %outcomes;
	my @pairs = map { my $left = $_; map { [ $left, $_ ] } sort keys %types } sort keys %types;
	my @expressions;

	for my $sign ('<=>', '<->', '<#>', '<+>', '<~>', '<%>', '+', '-', '*', '||', '=', '<')
	{
		push @expressions, [ "$_->[0] $sign $_->[1]", "$types{$_->[0]} $sign $types{$_->[1]}" ] for @pairs;
	}
	for my $function (qw(cosine_distance l2_distance inner_product l1_distance))
	{
		push @expressions, [ "$function($_->[0], $_->[1])", "$function($types{$_->[0]}, $types{$_->[1]})" ] for @pairs;
	}
	my @results = split /\n/, query($node, $db, 'SELECT outcome(e) FROM unnest(ARRAY[' . join(',', map { quote($_->[1]) } @expressions) . ']) WITH ORDINALITY u(e, i) ORDER BY i');
	@outcomes{ map { $_->[0] } @expressions } = @results;
	return \%outcomes;
}

my $before = outcomes();
query($node, $db, 'CREATE EXTENSION embed_pgvector');
my $after = outcomes();
my @gave_result = grep { $before->{$_} !~ /^error/ } keys %$before;
cmp_ok(scalar(@gave_result), '>=', 200, scalar(@gave_result) . ' of ' . keys(%$before) . ' expressions have a result without the companion');
is_deeply([ grep { $after->{$_} ne $before->{$_} } sort @gave_result ], [], '... and the same with it');
my %gained = map { $_ => 1 } grep { $before->{$_} =~ /^error/ && $after->{$_} !~ /^error/ } keys %$before;
my %wanted = map { my $sign = $_; map { my $array = $_; map { ("$_ $sign $array" => 1, "$array $sign $_" => 1) } qw(vector halfvec vector_domain halfvec_domain) } qw(real numeric int bigint) }
  '<=>', '<->', '<#>', '<+>';
is_deeply([ sort keys %gained ], [ sort keys %wanted ], 'what had no operator and has one: arrays that cast to real[], on either side');
my ($cast, $untyped) = (qr/(?:real|numeric|int|bigint)/, qr/(?:literal|braces|null|parameter)/);
is_deeply([ grep { $before->{$_} ne $after->{$_} && !$gained{$_} && !/^$cast \S+ $untyped$|^$untyped \S+ $cast$/ } sort keys %$before ], [],
	'other errors are the same, but of such an array and an argument without a type');
is(query($node, $db, q{SELECT '[3,1,2]'::vector <=> '{1,2,3}'::real[] = '[3,1,2]'::vector <=> '[1,2,3]', '[3,1,2]'::halfvec <-> '{1,2,3}'::real[] = '[3,1,2]'::halfvec <-> '[1,2,3]',
	'{1,2,3}'::real[] <#> '[3,1,2]'::vector = '[3,1,2]'::vector <#> '[1,2,3]', '[3,1,2]'::vector <+> '{1,2,3}'::real[] = '[3,1,2]'::vector <+> '[1,2,3]'}), 't|t|t|t', 'the distances are pgvector\'s');
is((error_of($node, $db, q{SELECT '[1,2]'::vector <=> '{1,2,3}'::real[]}))[0], '22000', 'other dimensions are pgvector\'s error');
is(query($node, $db, q{SELECT count(*), count(*) FILTER (WHERE obj_description(d.objid, d.classid::regclass::text) IS NULL) FROM pg_extension e JOIN pg_depend d
	ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' WHERE e.extname = 'embed_pgvector'}), '48|0', 'every object has a comment');

# ----------------------------------------------------------------- indexes

import_model($node, $db, 'm', tiny_model('bert-cls'));
query($node, $db, q{CREATE TABLE docs AS SELECT i AS id, 'document ' || i || ' about ' || md5(i::text) AS body FROM generate_series(1, 300) i;
	ALTER TABLE docs ADD e vector(64), ADD h halfvec(64); UPDATE docs SET e = embed(body), h = embed(body)});
my %opclass = ('<=>' => 'cosine', '<->' => 'l2', '<#>' => 'ip', '<+>' => 'l1');
my $text = q{'document 42 about ' || md5('42')};
for my $sign (sort keys %opclass)
{
	for my $column (qw(e h))
	{
		my $type = $column eq 'e' ? 'vector' : 'halfvec';
		my $settings = 'SET enable_seqscan = off; SET enable_sort = off; SET hnsw.ef_search = 400; SET plan_cache_mode = force_generic_plan;';
		my $list = q{SELECT string_agg(id::text, ',') FROM (SELECT id FROM docs ORDER BY %s LIMIT 5) AS s};
		my $wanted = query($node, $db, sprintf $list, "$column $sign embed_query($text, 'm')::$type");
		my %spellings = ('with a model' => "$column $sign embed_query($text, 'm')", 'without' => "$column $sign embed_query($text)",
			'the other way round' => "embed_query($text) $sign $column", 'of a subquery' => "$column $sign (SELECT embed_query($text))");

		query($node, $db, "CREATE INDEX nearest ON docs USING hnsw ($column ${type}_$opclass{$sign}_ops)");
		for my $name (sort keys %spellings)
		{
			my $sql = sprintf $list, $spellings{$name};
			like(query($node, $db, "$settings EXPLAIN (COSTS OFF) $sql"), qr/Index Scan using nearest/, "$type $sign, $name: the index is used");
			is(query($node, $db, "$settings $sql"), $wanted, '... and finds what a cast finds');
		}
		for my $model ('', q{, 'm'})
		{
			my $prepared = "$settings PREPARE q(text) AS " . sprintf($list, "$column $sign embed_query(\$1$model)");

			like(query($node, $db, "$prepared; EXPLAIN (COSTS OFF) EXECUTE q($text)"), qr/Index Scan using nearest/, "$type $sign, prepared, a generic plan: the index is used");
			is(query($node, $db, "$prepared; EXECUTE q($text)"), $wanted, '... and finds the same');
		}
		query($node, $db, 'DROP INDEX nearest');
	}
}
query($node, $db, 'CREATE INDEX nearest ON docs USING hnsw ((e::halfvec(64)) halfvec_cosine_ops)');
like(query($node, $db, "SET enable_seqscan = off; SET enable_sort = off; EXPLAIN (COSTS OFF) SELECT id FROM docs ORDER BY e::halfvec(64) <=> embed_query('x') LIMIT 5"),
	qr/Index Scan using nearest/, 'an index of vectors as halfvec');

# --------------------------------------------- columns that are kept filled

query($node, $db, q{SET client_min_messages = error; CREATE TABLE kept (id int PRIMARY KEY, body text); INSERT INTO kept SELECT id, body FROM docs; SELECT embed_column('kept', 'body', model => 'm')});
is(query($node, $db, q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'kept'::regclass AND attname = 'embedding'}), 'vector(64)', 'embed_column makes a vector');
query($node, $db, 'CREATE INDEX kept_nearest ON kept USING hnsw (embedding vector_cosine_ops)');
is(query($node, $db, "SET enable_seqscan = off; SELECT id FROM kept ORDER BY embedding <=> embed_query($text) LIMIT 1"), 42, '... searched without a cast');
like(query($node, $db, "SET enable_seqscan = off; SET enable_sort = off; EXPLAIN (COSTS OFF) SELECT id FROM kept ORDER BY embedding <=> embed_query($text) LIMIT 1"), qr/Index Scan using kept_nearest/, '... by its index');

# ------------------------------------------------------------------ schemas

query($node, $db, q{CREATE DATABASE apart});
query($node, 'apart', q{CREATE SCHEMA "the Vectors"; CREATE SCHEMA "the Operators"; CREATE EXTENSION embed; CREATE EXTENSION vector SCHEMA "the Vectors";
	CREATE EXTENSION embed_pgvector SCHEMA "the Operators";
	CREATE TABLE docs AS SELECT i AS id, embed_cosine(ARRAY[i], ARRAY[1]) AS c, ARRAY[i, 1, 2]::real[]::"the Vectors".vector(3) AS e FROM generate_series(1, 300) i;
	CREATE INDEX nearest ON docs USING hnsw (e "the Vectors".vector_cosine_ops)});
my $apart = q{SET enable_seqscan = off; SET enable_sort = off; %s SELECT string_agg(id::text, ',') FROM (SELECT id FROM public.docs ORDER BY e %s '{7,1,2}'::real[] LIMIT 1) s};
like(query($node, 'apart', q{SET search_path = public, "the Operators"; } . sprintf $apart, 'EXPLAIN (COSTS OFF)', '<=>'), qr/Index Scan using nearest/, 'pgvector in a schema that is not on the path');
is(query($node, 'apart', q{SET search_path = ''; } . sprintf $apart, '', 'OPERATOR("the Operators".<=>)'), 7, 'an empty path');
query($node, 'apart', q{CREATE VIEW by_view AS SELECT id, e OPERATOR("the Operators".<=>) '{7,1,2}'::real[] AS distance FROM docs});
# whoever searches may have a schema of traps in front
query($node, 'apart', q{CREATE SCHEMA trap; SET search_path = trap; CREATE TYPE vector AS (x int);
	CREATE FUNCTION trapped("the Vectors".vector, "the Vectors".vector) RETURNS float8 LANGUAGE sql AS 'SELECT 1 / 0.0';
	CREATE OPERATOR <=> (LEFTARG = "the Vectors".vector, RIGHTARG = "the Vectors".vector, FUNCTION = trapped)});
is(query($node, 'apart', q{SET search_path = trap, public, "the Operators"; } . sprintf $apart, '', '<=>'), 7, 'a search path with other operators of pgvector\'s type');
my $server = query($node, $db, q{SELECT current_setting('server_version_num')::int / 10000});
if ($server >= 14)
{
	query($node, 'apart', q{ALTER EXTENSION vector SET SCHEMA public});
	is(query($node, 'apart', q{SET search_path = ''; } . sprintf $apart, '', 'OPERATOR("the Operators".<=>)'), 7, 'pgvector moved to another schema');
}
query($node, 'apart', q{ALTER EXTENSION embed_pgvector SET SCHEMA public});
is(query($node, 'apart', sprintf $apart, '', '<=>'), 7, 'the companion moved to another schema');
is(query($node, 'apart', 'SELECT id FROM by_view ORDER BY distance LIMIT 1'), 7, '... a view follows');
is((error_of($node, 'apart', 'DROP EXTENSION vector'))[0], '2BP01', 'pgvector is not dropped while the companion needs it');

# ------------------------------------------------------- owners and dumps

query($node, $db, q{CREATE ROLE owner LOGIN; CREATE DATABASE owned OWNER owner});
query($node, 'owned', q{CREATE EXTENSION vector});
is((error_of($node, 'owned', q{SET ROLE owner; CREATE EXTENSION embed_pgvector CASCADE}))[1], '', 'the owner of a database creates it') or diag($message);
is((error_of($node, 'owned', q{SET ROLE owner; SELECT '[1,2]'::vector <=> '{1,2}'::real[]}))[1], '', '... and uses it');
my $dump = $node->basedir . '/companion.dump';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('apart') ], 'pg_dump');
query($node, $db, 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], '... and a restore');
is(query($node, 'restored', 'SELECT id FROM by_view ORDER BY distance LIMIT 1'), 7, '... with the view that uses an operator');
like(query($node, 'restored', sprintf $apart, 'EXPLAIN (COSTS OFF)', '<=>'), qr/Index Scan using nearest/, '... and the index');
$node->stop;
done_testing();
