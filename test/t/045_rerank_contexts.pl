# Rerankers wherever an expression can stand, by whom, in which encoding: the
# score is always that of a plain call. 040 to 044 do the same for vectors.
use strict;
use warnings;
use utf8;
use Encode;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('rerank_contexts', conf => "embed.cache_entries = 0\n");
my $db = 'postgres';

import_model($node, $db, 'r', tiny_model('bert-rerank'));
import_model($node, $db, 'm', tiny_model('bert-cls'));
query($node, $db, q{CREATE TABLE docs AS SELECT i AS id, 'document ' || i || ' about ' || md5(i::text) AS body FROM generate_series(1, 100) i;
	ALTER TABLE docs ADD PRIMARY KEY (id); ALTER TABLE docs SET (parallel_workers = 2); ANALYZE docs});

sub all_right
{
	my ($from, $name) = @_;
	return is(query($node, $db, "SELECT count(*) > 0, count(*) FILTER (WHERE ok IS NOT TRUE) FROM ($from) AS checked(ok)"), 't|0', $name);
}

# ------------------------------------------------------------- expressions

query($node, $db, q{CREATE INDEX docs_score ON docs (rerank('find this', body, 'r'))});
my $lookup = q{SELECT id FROM docs ORDER BY rerank('find this', body, 'r') DESC, id LIMIT 5};
like(query($node, $db, "SET enable_seqscan = off; EXPLAIN (COSTS OFF) $lookup"), qr/docs_score/, 'an expression index is used');
is(query($node, $db, "SET enable_seqscan = off; $lookup"), query($node, $db, "SET enable_indexscan = off; SET max_parallel_workers_per_gather = 0; $lookup"),
	'... and sorts as the scores do');
query($node, $db, 'DROP INDEX docs_score');
query($node, $db, q{CREATE TABLE generated (body text, score float4 GENERATED ALWAYS AS (rerank('find this', body, 'r')) STORED,
	CHECK (rerank('find this', body, 'r') BETWEEN 0 AND 1)); INSERT INTO generated SELECT body FROM docs WHERE id <= 10; INSERT INTO generated VALUES (NULL)});
all_right(q{SELECT score IS NOT DISTINCT FROM rerank('find this', body) FROM generated}, 'a generated column and a CHECK');
like((error_of($node, $db, q{CREATE TABLE x (b text, s float4 GENERATED ALWAYS AS (rerank('q', b)) STORED)}))[1], qr/immutable/,
	'without a model argument there is none');
for my $mode (qw(force_custom_plan force_generic_plan auto))
{
	is(query($node, $db, qq{
		SET plan_cache_mode = $mode;
		PREPARE one(text, text) AS SELECT rerank(\$1, \$2, 'r') = rerank(\$1 || '', \$2 || '') AND rerank(\$1, \$2, 'r') = (rerank(\$1, ARRAY['other', \$2]))[2];
		PREPARE best(text[]) AS SELECT string_agg(ordinality::text, ',') FROM rerank_top('find this', \$1, 2, 'r');
		EXECUTE one('a', 'b'); EXECUTE one('c', 'd'); EXECUTE one('a', 'd'); EXECUTE one('', 'b'); EXECUTE one('b', ''); EXECUTE one('e', 'f'); EXECUTE one('a', 'b');
		EXECUTE best('{}'); EXECUTE best(ARRAY[NULL, 'x']); EXECUTE best(ARRAY['x', 'x', 'x'])}),
		join("\n", ('t') x 7, '', 2, '1,2'), "prepared statements, $mode");
}
is(query($node, $db, q{
	CREATE FUNCTION best_of(q text) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE best int; top float4;
	BEGIN
		SELECT t.ordinality, t.score INTO best, top FROM rerank_top(q, (SELECT array_agg(body ORDER BY id) FROM docs), 1) AS t;
		ASSERT top = rerank(q, (SELECT body FROM docs WHERE id = best), 'r');
		BEGIN
			PERFORM rerank(q, 'x', 'm');
		EXCEPTION WHEN wrong_object_type OR invalid_parameter_value THEN
			RETURN best;
		END;
		RETURN -1;
	END $$;
	SELECT best_of('find this') = (SELECT id FROM docs ORDER BY rerank('find this', body, 'r') DESC, id LIMIT 1)}), 't', 'PL/pgSQL, an error caught');
is(query($node, $db, q{BEGIN; DECLARE c SCROLL CURSOR FOR SELECT rerank('q', body, 'r') FROM docs ORDER BY id;
	FETCH ABSOLUTE 3 FROM c; FETCH ABSOLUTE 90 FROM c; FETCH ABSOLUTE 3 FROM c; COMMIT}) =~ /^(\S+)\n\S+\n\1$/ ? 1 : 0, 1, 'a scrolling cursor');

# ------------------------------------------------- parallel query, aggregates, windows

my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';
my $sql = q{SELECT md5(string_agg(s::text, ',' ORDER BY id)) FROM (SELECT id, rerank('find this', body, 'r') AS s FROM docs OFFSET 0) AS t};
like(query($node, $db, "$parallel EXPLAIN (COSTS OFF, VERBOSE) $sql"), qr/Workers Planned: 2\n.*Parallel Seq Scan.*\n *Output: .*rerank\(/, 'workers compute scores');
is(query($node, $db, "$parallel $sql"), query($node, $db, "SET max_parallel_workers_per_gather = 0; $sql"), '... the same');
all_right(q{SELECT w = rerank('find this', bodies, 'r') FROM (
	SELECT rerank_agg('find this', body, 'r') OVER win AS w, array_agg(body) OVER win AS bodies FROM docs WHERE id <= 20
	WINDOW win AS (ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)) AS t}, 'rerank_agg over a moving window');
all_right(q{SELECT scores = rerank('find this', bodies, 'r') FROM (
	SELECT rerank_agg('find this', body, 'r' ORDER BY id DESC) FILTER (WHERE id % 2 = 0) AS scores, array_agg(body ORDER BY id DESC) FILTER (WHERE id % 2 = 0) AS bodies
	FROM docs WHERE id <= 40 GROUP BY id % 5) AS t}, '... with ORDER BY, FILTER and GROUP BY');
all_right(q{SELECT t.score = rerank(q.query, t.doc, 'r') AND t.doc = q.bodies[t.ordinality]
	FROM (SELECT 'query ' || (id % 3) AS query, array_agg(body ORDER BY id) AS bodies FROM docs WHERE id <= 30 GROUP BY 1) AS q, LATERAL rerank_top(q.query, q.bodies, 4, 'r') AS t},
	'rerank_top in LATERAL');
is((error_of($node, $db, q{SELECT rerank_agg('q', CASE WHEN id = 30 THEN (1 / (id - 30))::text ELSE body END, 'r') FROM docs}))[0], '22012', 'an ERROR in the middle of rerank_agg');

# ------------------------------------------------------------- texts

all_right(q{SELECT rerank(NULL, 'd', 'r') IS NULL AND rerank('q', NULL::text, 'r') IS NULL AND rerank('', '', 'r') IS NOT NULL AND
	rerank(repeat(' ', 1000000), E'\t\n ', 'r') = rerank('', '', 'r')}, 'NULL, empty and all-space texts');
all_right(q{SELECT rerank('q', repeat('word ', 20000000), 'r') = rerank('q', repeat('word ', 600), 'r') AND
	rerank(repeat('word ', 20000000), 'd', 'r') = rerank(repeat('word ', 600), 'd', 'r')}, 'texts of 100 MB');

# ------------------------------------------------------------- rights, search paths

query($node, $db, q{CREATE ROLE stranger LOGIN; CREATE TABLE secret (who text, body text); INSERT INTO secret VALUES ('stranger', 'mine'), ('x', 'not mine');
	ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON secret USING (who = current_user); GRANT SELECT ON secret TO stranger});
my $as_stranger = 'SET SESSION AUTHORIZATION stranger;';
is(query($node, $db, "$as_stranger SELECT rerank('q', 'd') BETWEEN 0 AND 1, rerank('q', 'd', 'r') BETWEEN 0 AND 1, cardinality(rerank('q', ARRAY['a', 'b'])),
	(SELECT count(*) FROM rerank_top('q', ARRAY['a', 'b'], 1)), (SELECT bool_and(ok) FROM embed_verify('r'))"), 't|t|2|1|t', 'a user without any right but EXECUTE');
is(query($node, $db, "$as_stranger SELECT cardinality(rerank_agg('q', body)) FROM secret"), 1, 'row level security');
query($node, $db, q{CREATE SCHEMA evil; CREATE FUNCTION evil.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
	CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.trap); CREATE TABLE evil.model (name text); CREATE TABLE evil.alias (name text);
	CREATE FUNCTION evil.rerank(text, text) RETURNS float4 LANGUAGE sql AS 'SELECT 2::float4'});
is(query($node, $db, "SET search_path = evil, pg_catalog, public; SELECT public.rerank('q', 'd') <= 1, public.rerank('q', 'd', 'r') <= 1,
	cardinality(public.rerank_agg('q', 'd', 'r')), (SELECT count(*) FROM public.rerank_top('q', ARRAY['a'], 1, 'r'))"), 't|t|1|1', 'nothing looks at search_path');

# ------------------------------------------------------------- encodings

sub bytes_literal
{
	my ($encoding, $text) = @_;
	return "E'" . join('', map { sprintf '\\x%02x', ord } split //, encode($encoding, $text)) . "'";
}

sub scores
{
	my ($in, $encoding, @texts) = @_;
	my ($query, $doc) = map { bytes_literal($encoding, $_) } @texts;
	return query($node, $in, "SELECT rerank($query, $doc, 'r'), rerank($query, ARRAY[$doc, 'x'], 'r'), (SELECT rerank_agg($query, d, 'r') FROM (VALUES ($doc)) AS v (d)),
		(SELECT string_agg(score::text || md5(convert_to(doc, 'UTF8')), ',') FROM rerank_top($query, ARRAY['x', $doc], 2, 'r'))");
}

for my $case ([ 'EUC_JP', 'euc-jp', '日本', '東京の天気' ], [ 'WIN1251', 'cp1251', 'кто', 'это красота' ])
{
	my ($encoding, $perl_encoding, @texts) = @$case;
	my $name = lc $encoding;

	query($node, $db, "CREATE DATABASE $name ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	query($node, $name, 'CREATE EXTENSION embed');
	import_model($node, $name, 'r', tiny_model('bert-rerank'));
	is(scores($name, $perl_encoding, @texts), scores($db, 'utf-8', @texts), "scores in a database of $encoding are those of UTF-8");
}

# --------------------------------- what is computed: every pair once, nothing for nothing

for my $case (
	[ 20, q{SELECT rerank('q', body, 'r') FROM docs WHERE id <= 20}, 'a pair a row' ],
	[ 20, q{SELECT rerank('q', body) FROM docs WHERE id <= 20}, '... by the default' ],
	[ 20, q{SELECT rerank('q', array_agg(body), 'r') FROM docs WHERE id <= 20}, 'an array' ],
	[ 2, q{SELECT rerank('q', ARRAY['one', NULL, 'two'], 'r') FROM (SELECT clock_timestamp()) t}, 'NULLs left out' ],
	[ 20, q{SELECT * FROM rerank_top('q', (SELECT array_agg(body) FROM docs WHERE id <= 20), 3, 'r')}, 'rerank_top' ],
	[ 0, q{SELECT * FROM rerank_top('q', (SELECT array_agg(body) FROM docs WHERE id <= 20), 0, 'r')}, '... of none' ],
	[ 20, q{SELECT rerank_agg('q', body, 'r') FROM docs WHERE id <= 20 GROUP BY id % 3}, 'groups' ],
	[ 10, q{SELECT rerank_agg('q', body) OVER (ORDER BY id) FROM docs WHERE id <= 10}, 'a growing window' ],
	[ 1, q{SELECT count(*) FROM docs WHERE rerank('q', body, 'r') IS NOT NULL AND id = 7}, 'a condition on another column comes first' ],
	[ 5, q{SELECT rerank('q', body, 'r') FROM docs LIMIT 5}, 'LIMIT' ],
	[ 1, q{SELECT count(rerank('q', 'constant', 'r')) FROM docs}, 'a constant' ],
	[ 3, q{BEGIN; DECLARE c CURSOR FOR SELECT rerank('q', body, 'r') FROM docs; FETCH 3 FROM c; COMMIT}, 'rows fetched' ],
	[ 0, q{EXPLAIN SELECT rerank('q', body, 'r') FROM docs}, 'a plan' ])
{
	my ($n, $sql, $name) = @$case;
	is(computed($node, $db, $sql), $n, "computed: $name");
}

done_testing();
