# With pgvector: columns of its types filled by assignment, trigger, generated
# column and COPY, and searched by index; the elements are those of float4[].
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('pgvector');
my $db = 'postgres';
my ($major, $minor) = split /\./, query($node, $db, q{SELECT default_version FROM pg_available_extensions WHERE name = 'vector'});

if (!defined $major)
{
	diag('SKIPPED: this server has no pgvector');
	plan skip_all => 'this server has no pgvector';
}
my $at_least = sub { return $major > 0 || $minor >= $_[0] };
my $has_hnsw = $at_least->(5);
my $has_halfvec = $at_least->(7);

# By definition every text is nearest to itself, whatever random weights say of others.
import_model($node, $db, 'm', tiny_model('bert-cls'));
query($node, $db, q{CREATE EXTENSION vector});
query($node, $db, q{CREATE TABLE docs AS SELECT i AS id, 'document ' || i || ' about ' || md5(i::text) AS body FROM generate_series(1, 300) i;
	ALTER TABLE docs ADD PRIMARY KEY (id)});

sub all_right
{
	my ($from, $name) = @_;
	return is(query($node, $db, "SELECT count(*) > 0, count(*) FILTER (WHERE ok IS NOT TRUE) FROM ($from) AS checked(ok)"), 't|0', $name);
}

# ------------------------------------------------------------- columns

all_right(q{SELECT embed(body, 'm')::vector(64)::float4[] = embed(body, 'm') AND embed(body, 'm')::vector = embed(body, 'm')::vector(64) FROM docs}, 'a cast keeps every bit');
is((error_of($node, $db, q{SELECT embed('x', 'm')::vector(65)}))[0], '22000', '... and refuses other dimensions');
query($node, $db, q{CREATE TABLE by_trigger (id int PRIMARY KEY, body text, e vector(64));
	CREATE TRIGGER t BEFORE INSERT OR UPDATE ON by_trigger FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	INSERT INTO by_trigger SELECT id, body FROM docs; INSERT INTO by_trigger VALUES (0, NULL); UPDATE by_trigger SET body = 'changed' WHERE id = 7});
all_right(q{SELECT e::float4[] IS NOT DISTINCT FROM embed(body, 'm') FROM by_trigger}, 'a trigger that fills a vector column');
query($node, $db, q{CREATE TABLE narrow (body text, e vector(32));
	CREATE TRIGGER t BEFORE INSERT ON narrow FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
isnt((error_of($node, $db, q{INSERT INTO narrow VALUES ('x')}))[0], '', '... refuses a column of other dimensions');
query($node, $db, q{CREATE TABLE assigned (id int, e vector(64)); INSERT INTO assigned SELECT id, embed(body, 'm') FROM docs;
	UPDATE assigned SET e = embed('assigned', 'm') WHERE id = 1});
all_right(q{SELECT e::float4[] = embed(CASE id WHEN 1 THEN 'assigned' ELSE body END, 'm') FROM assigned JOIN docs USING (id)}, 'assignment needs no cast');
query($node, $db, q{INSERT INTO assigned SELECT 1000 + r.ordinality, r.embedding FROM (SELECT array_agg(body ORDER BY id) AS bodies FROM docs) AS a, embed_rows(a.bodies, 'm') AS r});
all_right(q{SELECT e::float4[] = embed(body, 'm') FROM assigned a JOIN docs d ON a.id = d.id + 1000}, '... nor do embed_rows');
query($node, $db, q{CREATE TABLE generated (id int, body text, e vector(64) GENERATED ALWAYS AS (embed(body, 'm')::vector(64)) STORED);
	INSERT INTO generated SELECT id, body FROM docs; UPDATE generated SET body = 'changed' WHERE id = 7});
all_right(q{SELECT e::float4[] = embed(body, 'm') FROM generated}, 'a generated column');

# ------------------------------------------------------------- COPY

my $file = $node->basedir . '/vectors.bin';
query($node, $db, "CREATE TABLE copied (id int, body text, e vector(64)); COPY by_trigger TO '$file' (FORMAT binary); COPY copied FROM '$file' (FORMAT binary)");
all_right(q{SELECT c.e IS NOT DISTINCT FROM t.e AND c.body IS NOT DISTINCT FROM t.body FROM copied c FULL JOIN by_trigger t USING (id)}, 'binary COPY there and back');
query($node, $db, "CREATE TABLE copied_text (LIKE copied); COPY by_trigger TO '$file.txt'; COPY copied_text FROM '$file.txt'");
all_right(q{SELECT c.e IS NOT DISTINCT FROM t.e FROM copied_text c FULL JOIN by_trigger t USING (id)}, '... and as text: every float4 comes back');

# ------------------------------------------------------------- search

# The five nearest by an index are those of a full scan: 300 rows, and more
# candidates than that.
sub finds_nearest
{
	my ($table, $type, $index, $settings, $name) = @_;
	my $sql = "SELECT string_agg(id::text, ',') FROM (SELECT id FROM $table WHERE e IS NOT NULL ORDER BY e <=> embed_query('document 42 about ' || md5('42'), 'm')::$type LIMIT 5) AS s";
	my $exact = query($node, $db, "SET enable_indexscan = off; $sql");

	like($exact, qr/^42,/, "$name: a text is nearest to itself");
	query($node, $db, $index);
	like(query($node, $db, "SET enable_seqscan = off; SET enable_sort = off; $settings EXPLAIN (COSTS OFF) $sql"), qr/Index Scan using nearest/, '... its index is used');
	is(query($node, $db, "SET enable_seqscan = off; SET enable_sort = off; $settings $sql"), $exact, '... and finds the same');
	is(query($node, $db, "SET enable_seqscan = off; SET enable_sort = off; $settings SET plan_cache_mode = force_generic_plan;
			PREPARE nearest(text) AS SELECT id FROM $table ORDER BY e <=> embed_query(\$1, 'm')::$type LIMIT 1;
			EXECUTE nearest('document 13 about ' || md5('13'))"), 13, '... in a prepared statement too');
	query($node, $db, 'DROP INDEX nearest');
	return;
}

for my $table (qw(by_trigger generated))
{
	if ($has_hnsw)
	{
		finds_nearest($table, 'vector(64)', "CREATE INDEX nearest ON $table USING hnsw (e vector_cosine_ops)", 'SET hnsw.ef_search = 400;', "hnsw on $table");
	}
	else
	{
		skip_loudly("pgvector $major.$minor has no hnsw", 4);
	}
	finds_nearest($table, 'vector(64)', "CREATE INDEX nearest ON $table USING ivfflat (e vector_cosine_ops) WITH (lists = 4)", 'SET ivfflat.probes = 4;', "ivfflat on $table");
}
if ($has_hnsw)
{
	query($node, $db, q{CREATE INDEX nearest ON docs USING hnsw ((embed(body, 'm')::vector(64)) vector_cosine_ops)});
	my $sql = q{SET enable_seqscan = off; SET hnsw.ef_search = 400; %s SELECT id FROM docs ORDER BY embed(body, 'm')::vector(64) <=> embed_query('document 42 about ' || md5('42'), 'm')::vector(64) LIMIT 1};
	like(query($node, $db, sprintf $sql, 'EXPLAIN (COSTS OFF)'), qr/Index Scan using nearest/, 'hnsw on an expression is used');
	is(query($node, $db, sprintf $sql, ''), 42, '... and finds its row');
	query($node, $db, 'DROP INDEX nearest');
}
else
{
	skip_loudly("pgvector $major.$minor has no hnsw", 2);
}

# ------------------------------------------------------------- halfvec

if ($has_halfvec)
{
	query($node, $db, q{CREATE TABLE half (id int PRIMARY KEY, body text, e halfvec(64));
		CREATE TRIGGER t BEFORE INSERT OR UPDATE ON half FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
		INSERT INTO half SELECT id, body FROM docs});
	all_right(q{SELECT e = embed(body, 'm')::halfvec(64) AND e::vector(64) <-> embed(body, 'm')::vector(64) < 0.001 FROM half}, 'a trigger that fills a halfvec column');
	query($node, $db, q{CREATE TABLE half_generated (id int, body text, e halfvec(64) GENERATED ALWAYS AS (embed(body, 'm')::halfvec(64)) STORED);
		INSERT INTO half_generated SELECT id, body FROM docs});
	all_right(q{SELECT g.e = h.e FROM half_generated g JOIN half h USING (id)}, 'a generated column of halfvec');
	query($node, $db, "CREATE TABLE half_copied (LIKE half); COPY half TO '$file.half' (FORMAT binary); COPY half_copied FROM '$file.half' (FORMAT binary)");
	all_right(q{SELECT c.e = h.e FROM half_copied c FULL JOIN half h USING (id)}, 'binary COPY of halfvec');
	finds_nearest('half', 'halfvec(64)', 'CREATE INDEX nearest ON half USING hnsw (e halfvec_cosine_ops)', 'SET hnsw.ef_search = 400;', 'hnsw on halfvec');
}
else
{
	skip_loudly("pgvector $major.$minor has no halfvec", 7);
}

# ----------------------------------------------------------- sparsevec

if ($has_halfvec)
{
	import_model($node, $db, 'm3', tiny_model('bge-m3'));
	query($node, $db, q{CREATE TABLE notes (id int PRIMARY KEY, body text, embedding vector(64) GENERATED ALWAYS AS (embed(body, 'm3')::vector(64)) STORED,
		words sparsevec(996) GENERATED ALWAYS AS (embed_sparse(body, 'm3')::sparsevec(996)) STORED);
		INSERT INTO notes SELECT id, body FROM docs; INSERT INTO notes VALUES (0, '')});
	all_right(q{SELECT words::text = embed_sparse(body, 'm3') FROM notes}, 'weights in sparsevec and back');
	all_right(q{SELECT abs(-(a.words <#> b.words) - embed_sparse_dot(a.words::text, b.words::text)) < 1e-3 FROM notes a, notes b WHERE b.id < 10}, 'products of pgvector and of embed_sparse_dot');
	is((error_of($node, $db, q{SELECT embed_sparse('x', 'm3')::sparsevec(995)}))[0], '22000', 'a sparsevec of another vocabulary');
	query($node, $db, q{CREATE INDEX by_meaning ON notes USING hnsw (embedding vector_cosine_ops); CREATE INDEX by_words ON notes USING hnsw (words sparsevec_ip_ops)});

	# the hybrid search of docs/sparse-and-multi.md
	my $hybrid = q{WITH q AS MATERIALIZED (SELECT * FROM embed_all('document 42 about ' || md5('42'), 'm3')),
		candidates AS (
			(SELECT id FROM notes ORDER BY embedding <=> (SELECT dense FROM q)::vector(64) LIMIT 50)
			UNION
			(SELECT id FROM notes ORDER BY words <#> (SELECT sparse FROM q)::sparsevec(996) LIMIT 50))
		SELECT id, body, maxsim(q.multi, embed_multi(body, 'm3')) AS score
		FROM candidates JOIN notes USING (id), q ORDER BY score DESC LIMIT 10};
	my $plan = query($node, $db, "SET enable_seqscan = off; SET enable_sort = off; EXPLAIN (COSTS OFF) $hybrid");
	like($plan, qr/Index Scan using by_meaning/, 'hybrid search uses the index of vectors');
	like($plan, qr/Index Scan using by_words/, '... and that of weights');
	is(query($node, $db, "SET enable_seqscan = off; SET enable_sort = off; SET hnsw.ef_search = 400; SELECT id, round(score::numeric, 3), count(*) OVER () FROM ($hybrid) h ORDER BY score DESC LIMIT 1"),
		'42|1.000|10', '... and finds the text itself first');
}
else
{
	skip_loudly("pgvector $major.$minor has no sparsevec", 6);
}

done_testing();
