# embed.look_ahead: every statement gives the same rows, errors and warnings with
# it as without it; no text is computed that nobody needs.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('look_ahead', conf => "embed.cache_entries = 0\nmax_parallel_workers_per_gather = 0\nembed.threads = 2\nembed.background = off\n");
my $db = 'postgres';
my $version = int(query($node, $db, 'SHOW server_version_num') / 10000);

import_model($node, $db, 'm', tiny_model('bert-cls'), '{"default": true}');
import_model($node, $db, 'other', tiny_model('bert-mean-48'));
query($node, $db, q{CREATE TABLE texts AS SELECT i AS id, 'document ' || i || ' about ' || md5(i::text) AS body FROM generate_series(1, 60) i;
	ALTER TABLE texts ADD PRIMARY KEY (id); ANALYZE texts;
	CREATE TABLE odd AS SELECT id, CASE WHEN id % 5 = 0 THEN NULL WHEN id % 7 = 0 THEN '' WHEN id % 3 = 0 THEN 'same' ELSE body END AS body FROM texts;
	CREATE TABLE long AS SELECT id, CASE WHEN id IN (9, 40) THEN repeat(body || ' ', 40) ELSE body END AS body FROM texts;
	CREATE FUNCTION shouts(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF $1 LIKE 'document 13 %' THEN RAISE 'thirteen'; END IF; RETURN upper($1); END $$;
	CREATE FUNCTION changes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := NEW.body || '!'; RETURN NEW; END $$;
	CREATE FUNCTION skips() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$;
	CREATE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 20 THEN RAISE 'no row %', NEW.id; END IF; RETURN NEW; END $$;
	CREATE FUNCTION all_vectors() RETURNS SETOF float4[] LANGUAGE sql STABLE AS $$ SELECT embed(body, 'm') FROM texts ORDER BY id $$;
	CREATE FUNCTION walk(n int) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE r record; found text := '';
	BEGIN
		FOR r IN SELECT id, embed(body, 'm') AS e FROM texts ORDER BY id LOOP
			found := md5(found || r.e::text);
			EXIT WHEN r.id = n;
		END LOOP;
		RETURN found;
	END $$});

# What a case makes before and shows behind its statement; %s: the statement.
my $tables = q{
	CREATE TEMP TABLE kept (id int, body text, e float4[], note text);
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	CREATE TEMP TABLE keyed (id int PRIMARY KEY, body text, e float4[]);
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON keyed FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	CREATE TEMP TABLE generated (id int, gone int, body varchar, e float4[] GENERATED ALWAYS AS (embed('x ' || body, 'm', 16)) STORED, f float4[] GENERATED ALWAYS AS (embed(body, 'other')) STORED);
	ALTER TABLE generated DROP gone;
	CREATE TEMP TABLE plain (id int, body text, e float4[]);
	CREATE TEMP TABLE parted (id int, body text, e float4[]) PARTITION BY RANGE (id);
	CREATE TEMP TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (30);
	CREATE TEMP TABLE parted_2 (e float4[], gone int, id int, body text);
	ALTER TABLE parted_2 DROP gone; ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (30) TO (1000);
	CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
	INSERT INTO keyed SELECT id, body FROM texts WHERE id <= 20;
	INSERT INTO plain SELECT id, body FROM texts;
	INSERT INTO parted SELECT id, body FROM texts WHERE id % 7 = 0;
	CREATE TEMP SEQUENCE numbers;
};
my $show = q{
	SELECT 'kept', count(*), md5(string_agg(t::text, ',' ORDER BY id, body)) FROM kept t;
	SELECT 'keyed', count(*), md5(string_agg(t::text, ',' ORDER BY id, body)) FROM keyed t;
	SELECT 'generated', count(*), md5(string_agg(t::text, ',' ORDER BY id, body)) FROM generated t;
	SELECT 'plain', count(*), md5(string_agg(t::text, ',' ORDER BY id, body)) FROM plain t;
	SELECT 'parted', count(*), md5(string_agg(t::text, ',' ORDER BY id, body)) FROM parted t;
};

# Output with errors and warnings, without the places that hints name.
sub output
{
	my ($look_ahead, $sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql($db, "SET client_min_messages = error; SET embed.look_ahead = $look_ahead; $tables SET client_min_messages = notice;\n$sql;\nSET client_min_messages = error; $show",
		stdout => \$out, stderr => \$err, on_error_stop => 0);
	$err =~ s/^psql:<stdin>:\d+: //mg;
	$err =~ s/^LINE \d+:.*\n.*\n//mg;
	return "$out\n$err";
}

# LABEL => SQL; no more texts may be computed, either, unless the label ends in "~".
my @cases = (
	'INSERT VALUES' => q{INSERT INTO kept VALUES (1, 'a'), (2, NULL), (3, 'b'), (4, 'c'), (5, 'd'), (6, 'c'), (7, 'd')},
	'INSERT SELECT' => q{INSERT INTO kept SELECT id, body FROM texts},
	'INSERT with NULLs and duplicates ~' => q{INSERT INTO kept SELECT id, body FROM odd; INSERT INTO generated SELECT id, body FROM odd},
	'a default that draws numbers' => q{ALTER TABLE kept ALTER id SET DEFAULT nextval('numbers'); INSERT INTO kept (body) SELECT body FROM texts ORDER BY id},
	'INSERT of ready vectors' => q{INSERT INTO kept SELECT id, body, embed(body, 'm') FROM texts},
	'INSERT of other vectors' => q{INSERT INTO kept SELECT id, body, '{1,2}' FROM texts},
	'INSERT RETURNING' => q{INSERT INTO kept SELECT id, body FROM texts RETURNING id, md5(e::text)},
	'ON CONFLICT DO NOTHING' => q{INSERT INTO keyed SELECT id, body FROM texts ON CONFLICT DO NOTHING},
	'ON CONFLICT DO NOTHING, other texts' => q{INSERT INTO keyed SELECT id, body || '?' FROM texts ON CONFLICT (id) DO NOTHING},
	'ON CONFLICT DO UPDATE' => q{INSERT INTO keyed SELECT id, body || '?' FROM texts ON CONFLICT (id) DO UPDATE SET body = excluded.body || '!' RETURNING id, md5(e::text)},
	'unique violation ~' => q{INSERT INTO keyed SELECT id, body || '?' FROM texts ORDER BY id DESC},
	'WITH' => q{WITH new AS (INSERT INTO kept SELECT id, body FROM texts RETURNING *), more AS (INSERT INTO generated SELECT id, body FROM new RETURNING id, e)
		SELECT count(*), md5(string_agg(n.e::text || m.e::text, ',' ORDER BY n.id)) FROM new n JOIN more m USING (id)},
	'WITH, rows that are written when they are read' => q{INSERT INTO kept SELECT id, body FROM texts WHERE id <= 20;
		WITH t2 AS (UPDATE kept SET id = id + 1000 RETURNING id, body), t AS (INSERT INTO kept SELECT id + 100, body || '?' FROM t2 RETURNING id) SELECT id FROM t UNION ALL SELECT id FROM t2; SELECT ctid, id FROM kept},
	'generated columns' => q{INSERT INTO generated SELECT id, body FROM texts; UPDATE generated SET body = body || '.' WHERE id < 30; UPDATE generated SET id = id + 100},
	'UPDATE' => q{INSERT INTO kept SELECT id, body FROM texts; UPDATE kept SET body = body || '.'; UPDATE kept SET note = 'x'; UPDATE kept SET body = body || '';
		UPDATE kept SET e = NULL; UPDATE kept SET body = NULL WHERE id % 2 = 0; UPDATE kept SET body = CASE WHEN id % 3 = 0 THEN body || '-' ELSE body END, note = 'y'},
	'UPDATE with a join' => q{INSERT INTO keyed SELECT id, body FROM texts WHERE id > 20; UPDATE keyed k SET body = t.body || k.id FROM texts t WHERE t.id = k.id + 1},
	'UPDATE .. = embed' => q{UPDATE plain SET e = embed(body, 'm'); UPDATE plain SET e = embed(lower(body || ' ' || coalesce(NULL, body)), 'other') WHERE id > 10},
	'UPDATE .. = embed, under the trigger' => q{INSERT INTO kept SELECT id, body FROM texts; UPDATE kept SET body = body || '.', e = embed(body || '.', 'm')},
	'partitions' => q{INSERT INTO parted SELECT id, body FROM texts; UPDATE parted SET body = body || '.'; UPDATE parted SET id = id + 40 WHERE id < 20; UPDATE parted SET e = NULL WHERE id > 10},
	'a partition itself' => q{INSERT INTO parted_2 (id, body) SELECT id, body FROM texts WHERE id >= 30; UPDATE parted_2 SET body = body || '.'},
	'another trigger changes the text ~' => q{CREATE TRIGGER aa BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION changes(); INSERT INTO kept SELECT id, body FROM texts},
	'another trigger skips rows ~' => q{CREATE TRIGGER aa BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION skips(); INSERT INTO kept SELECT id, body FROM texts},
	'another trigger raises ~' => q{CREATE TRIGGER aa BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION raises(); INSERT INTO kept SELECT id, body FROM texts},
	'a trigger with WHEN ~' => q{DROP TRIGGER zz ON kept; CREATE TRIGGER zz BEFORE INSERT ON kept FOR EACH ROW WHEN (NEW.id > 50) EXECUTE FUNCTION embed_trigger('e', 'body', 'm');
		INSERT INTO kept SELECT id, body FROM texts},
	'several columns' => q{DROP TRIGGER zz ON kept; CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'note, body', 'm');
		INSERT INTO kept (id, body, note) SELECT id, body, CASE WHEN id % 3 > 0 THEN 'note ' || id END FROM odd ORDER BY id; UPDATE kept SET note = 'other'; UPDATE kept SET id = id + 1},
	'mode later, embed.defer, embed.accept_vectors' => q{SET embed.defer = on; INSERT INTO kept SELECT id, body FROM texts; SET embed.defer = off; SET embed.accept_vectors = on;
		UPDATE kept SET e = embed(body || '.', 'm'), body = body || '.'; SET embed.accept_vectors = off; UPDATE kept SET e = NULL;
		DROP TRIGGER zz ON kept; CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm', 'later'); INSERT INTO kept SELECT id, body FROM texts},
	'a disabled trigger' => q{ALTER TABLE kept DISABLE TRIGGER zz; INSERT INTO kept SELECT id, body FROM texts},
	'a model that is missing, and no text' => q{DROP TRIGGER zz ON kept; CREATE TRIGGER zz BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'missing');
		INSERT INTO kept SELECT id, NULL FROM texts; INSERT INTO kept SELECT id, body FROM texts},
	'on_overflow = warn' => q{SET embed.on_overflow = warn; INSERT INTO kept SELECT id, body FROM long; UPDATE plain SET e = embed(long.body, 'm') FROM long WHERE long.id = plain.id},
	'on_overflow = error ~' => q{SET embed.on_overflow = error; INSERT INTO kept SELECT id, body FROM long ORDER BY id},
	'on_overflow = error, rows that nobody wants' => q{SET embed.on_overflow = error; SELECT count(embed(body, 'm')) FROM (SELECT body FROM long ORDER BY id LIMIT 8) t;
		CREATE TRIGGER aa BEFORE INSERT ON kept FOR EACH ROW WHEN (NEW.id IN (9, 40)) EXECUTE FUNCTION skips(); INSERT INTO kept SELECT id, body FROM long WHERE id <> 9 ORDER BY id},
	'SELECT' => q{SELECT id, md5(embed(body, 'm')::text), embed(body, 'm', 8)::text, embed(body)::text = embed(body, 'm')::text FROM texts ORDER BY id},
	'a function that raises ~' => q{SELECT md5(embed(shouts(body), 'm')::text) FROM texts WHERE id < 12 ORDER BY id; SELECT md5(embed(shouts(body), 'm')::text) FROM texts ORDER BY id LIMIT 12},
	'a division by zero ~' => q{SELECT 1 / (id - 30), md5(embed(body, 'm')::text) FROM texts ORDER BY id},
	'CASE' => q{SELECT id, CASE WHEN id > 55 THEN md5(embed(body, 'm')::text) END, coalesce(md5(embed(body, 'm')::text), 'x') FROM texts WHERE id > 30 ORDER BY id},
	'joins' => q{SELECT a.id, md5(embed(a.body || ' ' || b.body, 'm')::text) FROM texts a JOIN texts b ON b.id = a.id % 10 + 1 ORDER BY a.id;
		SELECT a.id, s.n FROM texts a CROSS JOIN LATERAL (SELECT count(e) AS n FROM (SELECT embed(b.body || a.id, 'm') AS e FROM texts b WHERE b.id BETWEEN a.id AND a.id + 3 OFFSET 0) x) s WHERE a.id < 5 ORDER BY 1},
	'semi-joins and EXISTS' => q{SELECT count(*) FROM texts a WHERE EXISTS (SELECT embed(b.body, 'm') FROM texts b WHERE b.id = a.id + 1);
		SELECT count(*) FROM texts a WHERE a.id IN (SELECT cardinality(embed(b.body, 'm')) FROM texts b)},
	'sub-selects' => q{SELECT id, (SELECT md5(embed(b.body, 'm')::text) FROM texts b WHERE b.id = a.id + 1), ARRAY(SELECT md5(embed(b.body, 'm')::text) FROM texts b WHERE b.id < a.id) FROM texts a WHERE id < 6 ORDER BY id},
	'UNION' => q{SELECT id, md5(embed(body, 'm')::text) FROM texts UNION ALL SELECT id, md5(embed(body || '.', 'other')::text) FROM texts ORDER BY 1, 2},
	'CTEs' => q{WITH c AS MATERIALIZED (SELECT id, embed(body, 'm') AS e FROM texts) SELECT md5(string_agg(a.e::text, ',' ORDER BY a.id)) FROM c a JOIN c b USING (id);
		WITH RECURSIVE r AS (SELECT id, embed(body, 'm') AS e FROM texts WHERE id = 1 UNION ALL SELECT t.id, embed(t.body, 'm') FROM texts t JOIN r ON t.id = r.id + 1 WHERE t.id < 20)
		SELECT md5(string_agg(e::text, ',' ORDER BY id)) FROM r},
	'grouping and windows' => q{SELECT id % 3, md5(string_agg(embed(body, 'm')::text, ',' ORDER BY id)) FROM texts GROUP BY 1 ORDER BY 1; SELECT md5(embed(body, 'm')::text), row_number() OVER (ORDER BY id) FROM texts;
		SELECT DISTINCT md5(embed(coalesce(body, ''), 'm')::text) FROM odd ORDER BY 1},
	'volatile functions' => q{SELECT count(*) FROM (SELECT random() < 2, embed(body, 'm') FROM texts OFFSET 0) t; SELECT pg_advisory_unlock_all() IS NULL, md5(embed(body, 'm')::text) FROM texts},
	'FOR UPDATE' => q{SELECT id, md5(embed(body, 'm')::text) FROM plain ORDER BY id FOR UPDATE},
	'LIMIT' => q{SELECT md5(embed(body, 'm')::text) FROM texts LIMIT 5; SELECT md5(embed(body, 'm')::text) FROM texts LIMIT 1; SELECT md5(embed(body, 'm')::text) FROM texts OFFSET 3 LIMIT 7;
		SELECT md5(embed(body, 'm')::text) FROM texts LIMIT 0; SELECT md5(e::text) FROM (SELECT id, embed(body, 'm') AS e FROM texts OFFSET 0) t WHERE id % 2 = 0 LIMIT 4;
		SELECT md5(e::text) FROM (SELECT embed(body, 'm') AS e FROM texts OFFSET 0) t, generate_series(1, 3) LIMIT 7; SELECT md5(embed(body, 'm')::text) FROM texts ORDER BY id DESC FETCH FIRST 3 ROWS ONLY;
		WITH c AS MATERIALIZED (SELECT embed(body, 'm') AS e FROM texts) SELECT md5(e::text) FROM c LIMIT 6; SELECT md5(e::text) FROM (SELECT embed(body, 'm') AS e FROM texts LIMIT 9) t LIMIT 4},
	'cursors' => q{BEGIN; DECLARE a CURSOR FOR SELECT id, md5(embed(body, 'm')::text) FROM texts; FETCH 5 FROM a; FETCH 7 FROM a; MOVE 3 FROM a; FETCH 2 FROM a;
		DECLARE b SCROLL CURSOR FOR SELECT id, md5(embed(body, 'm')::text) FROM texts; FETCH 5 FROM b; FETCH BACKWARD 3 FROM b; FETCH LAST FROM b; FETCH PRIOR FROM b;
		DECLARE c NO SCROLL CURSOR FOR SELECT id, md5(embed(body, 'm')::text) FROM plain FOR UPDATE; FETCH 5 FROM c; UPDATE plain SET body = 'current' WHERE CURRENT OF c RETURNING id; FETCH 5 FROM c;
		DECLARE d NO SCROLL CURSOR FOR SELECT id, md5(embed(body, 'm')::text) FROM plain; FETCH 3 FROM d; UPDATE plain SET body = 'current' WHERE CURRENT OF d RETURNING id; FETCH 3 FROM d;
		DECLARE p CURSOR FOR SELECT id, md5(embed(body, 'm')::text) FROM parted; FETCH 4 FROM p; UPDATE parted SET body = 'current' WHERE CURRENT OF p RETURNING id, tableoid::regclass; FETCH 30 FROM p;
		DELETE FROM parted WHERE CURRENT OF p RETURNING id, tableoid::regclass; FETCH ALL FROM p; DELETE FROM parted WHERE CURRENT OF p; FETCH BACKWARD 2 FROM p; UPDATE parted SET body = 'behind' WHERE CURRENT OF p RETURNING id;
		DECLARE h NO SCROLL CURSOR WITH HOLD FOR SELECT id, md5(embed(body, 'm')::text) FROM texts; FETCH 4 FROM h; COMMIT; FETCH 4 FROM h},
	'cursors that go back' => q{BEGIN;
		DECLARE q SCROLL CURSOR FOR SELECT id, tableoid::regclass, md5(embed(body, 'm')::text) FROM parted; FETCH LAST FROM q; FETCH FIRST FROM q; DELETE FROM parted WHERE CURRENT OF q RETURNING id;
		DECLARE j CURSOR FOR SELECT a.id, md5(embed(b.body, 'm')::text) FROM plain a JOIN texts b USING (id); FETCH 4 FROM j; UPDATE plain SET body = 'joined' WHERE CURRENT OF j; COMMIT},
	'prepared statements' => q{SET plan_cache_mode = force_generic_plan; PREPARE p(int, text) AS SELECT id, md5(embed(body, $2)::text) FROM texts WHERE id < $1 ORDER BY id;
		EXECUTE p(10, 'm'); EXECUTE p(20, 'other'); EXECUTE p(5, NULL); EXECUTE p(5, 'missing'); EXECUTE p(15, 'm'); EXECUTE p(15, 'm');
		PREPARE i AS INSERT INTO kept SELECT id, body FROM texts WHERE id <= $1; EXECUTE i(10); EXECUTE i(20); DROP TRIGGER zz ON kept; EXECUTE i(10)},
	'functions' => q{SELECT md5(string_agg(v::text, ',')) FROM all_vectors() v; SELECT md5(all_vectors()::text) LIMIT 3; SELECT walk(7), walk(30), walk(100)},
	'nested statements' => q{CREATE FUNCTION pg_temp.stores() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO generated SELECT NEW.id, NEW.body || ' ' || i FROM generate_series(1, 4) i; RETURN NEW; END $$;
		CREATE TRIGGER aa BEFORE INSERT ON kept FOR EACH ROW WHEN (NEW.id < 10) EXECUTE FUNCTION pg_temp.stores(); INSERT INTO kept SELECT id, body FROM texts},
	'subtransactions ~' => q{DO $$ BEGIN FOR i IN 1 .. 5 LOOP BEGIN INSERT INTO kept SELECT id, body FROM texts WHERE 1 / (40 - id) < 2; EXCEPTION WHEN division_by_zero THEN RAISE NOTICE 'caught'; END; END LOOP; END $$;
		BEGIN; SAVEPOINT a; INSERT INTO kept SELECT id, body FROM texts WHERE 1 / (40 - id) < 2; ROLLBACK TO a; INSERT INTO kept SELECT id, body FROM texts; COMMIT},
	'CREATE TABLE AS, COPY' => q{CREATE TEMP TABLE made AS SELECT id, embed(body, 'm') AS e FROM texts; SELECT count(e), md5(string_agg(e::text, ',' ORDER BY id)) FROM made; COPY (SELECT md5(embed(body, 'm')::text) FROM texts ORDER BY id) TO STDOUT},
	'roles' => q{SET SESSION AUTHORIZATION reader; SELECT md5(embed(body, 'm')::text) FROM texts; RESET SESSION AUTHORIZATION},
);
# A cursor that goes here and there, over plans of several kinds.
srand(1);
for my $from ("texts", "texts WHERE id > 55", "(SELECT * FROM texts WHERE id < 9 UNION ALL SELECT * FROM texts WHERE id > 56) AS texts", "(SELECT * FROM texts ORDER BY id LIMIT 9) AS texts")
{
	my @moves = ('FETCH NEXT', 'FETCH PRIOR', 'FETCH 2', 'FETCH 5', 'FETCH 17', 'FETCH BACKWARD 2', 'FETCH BACKWARD 4', 'FETCH RELATIVE 0', 'FETCH LAST', 'FETCH FIRST', 'FETCH ABSOLUTE 6', 'MOVE 3', 'MOVE BACKWARD 2', 'FETCH ALL');

	push @cases, "a cursor that goes to and fro: $from ~" => "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id, md5(embed(body, 'm')::text) FROM $from; "
	  . join('; ', map { "$moves[ rand @moves ] FROM c" } 1 .. 60) . '; COMMIT';
}
push @cases, 'cursors in PL/pgSQL' => q{DO $$ DECLARE c CURSOR FOR SELECT id, embed(body, 'm') AS e FROM plain WHERE id < 30; n NO SCROLL CURSOR FOR SELECT id, embed(body, 'm') AS e FROM plain WHERE id < 30; r record; BEGIN
	FOR r IN c LOOP UPDATE plain SET e = r.e, body = r.id || ' was here' WHERE CURRENT OF c; END LOOP;
	OPEN n; LOOP FETCH n INTO r; EXIT WHEN NOT FOUND; UPDATE plain SET e = r.e WHERE CURRENT OF n; END LOOP; END $$};
push @cases,
	'MERGE' => q{MERGE INTO keyed k USING texts t ON k.id = t.id WHEN MATCHED AND t.id < 10 THEN UPDATE SET body = t.body || '.' WHEN NOT MATCHED THEN INSERT (id, body) VALUES (t.id, t.body);
		MERGE INTO keyed k USING texts t ON k.id = t.id WHEN MATCHED AND k.body IS DISTINCT FROM t.body THEN UPDATE SET body = t.body WHEN MATCHED THEN DO NOTHING;
		MERGE INTO keyed k USING (SELECT id + 5 AS id, body FROM texts) t ON k.id = t.id WHEN MATCHED AND k.id > 50 THEN DELETE WHEN MATCHED THEN UPDATE SET body = k.body || ' ' || t.body WHEN NOT MATCHED AND t.id > 62 THEN INSERT VALUES (t.id, t.body)},
	'MERGE, generated columns ~' => q{INSERT INTO generated SELECT id, body FROM texts; MERGE INTO generated g USING texts t ON g.id = t.id WHEN MATCHED AND t.id < 10 THEN UPDATE SET body = t.body || '.' WHEN MATCHED AND t.id < 20 THEN UPDATE SET id = -t.id WHEN MATCHED THEN DELETE;
		MERGE INTO generated g USING odd o ON g.id = o.id WHEN NOT MATCHED THEN INSERT (id, body) VALUES (o.id, o.body || coalesce(lower(o.body), 'x'))},
	'MERGE, partitions' => q{MERGE INTO parted p USING texts t ON p.id = t.id WHEN MATCHED AND p.id % 2 = 0 THEN UPDATE SET body = t.body || '!' WHEN MATCHED THEN UPDATE SET id = t.id + 100 WHEN NOT MATCHED THEN INSERT (body, id) VALUES (t.body || '.', t.id)},
	'MERGE with conditions that raise ~' => q{MERGE INTO keyed k USING texts t ON k.id = t.id WHEN MATCHED AND 1 / (t.id - 5) < 2 THEN UPDATE SET body = 'x' || t.body WHEN NOT MATCHED THEN INSERT (id, body) VALUES (t.id, t.body);
		MERGE INTO keyed k USING texts t ON k.id = t.id WHEN MATCHED THEN UPDATE SET body = shouts(t.body), id = 100 / (k.id - 7)},
	'MERGE with a row that comes twice ~' => q{MERGE INTO keyed k USING (SELECT * FROM texts UNION ALL SELECT * FROM texts WHERE id = 12) t ON k.id = t.id WHEN MATCHED THEN UPDATE SET body = t.body || '2'} if $version >= 15;
query($node, $db, q{CREATE ROLE reader; GRANT SELECT ON texts TO reader});

sub texts_computed
{
	return query($node, $db, q{SELECT coalesce(sum(texts - cache_hits), 0) FROM embed_stat});
}

while (my ($name, $sql) = splice(@cases, 0, 2))
{
	my $before = texts_computed();
	my $off = output('off', $sql);
	my $computed_off = texts_computed() - $before;
	my $on = output('on', $sql);
	my $computed_on = texts_computed() - $before - $computed_off;

	is($on, $off, "the same: $name");
	# a batch computes equal texts once
	cmp_ok($computed_on, '<=', $computed_off, "... with no more texts: $name") unless $name =~ /~/;
}

# ------------------------------------------------------------ the node itself

sub plan_of
{
	my ($sql, $settings) = @_;
	return query($node, $db, ($settings || '') . " EXPLAIN (COSTS OFF, VERBOSE) $sql");
}

query($node, $db, q{CREATE TABLE kept (id int, body text, e float4[]); CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', 'm')});
like(plan_of(q{SELECT id, embed(body, 'm') FROM texts}), qr/^Custom Scan \(EmbedAhead\)\n *Output: id, embed\(body, 'm'::text\)\n *->  Seq Scan on public.texts\n *Output: id, body$/,
	'the first statement of a session looks ahead, and EXPLAIN shows it');
unlike(plan_of(q{SELECT id, embed(body, 'm') FROM texts}, 'SET embed.look_ahead = off;'), qr/EmbedAhead/, '... not where it is off');
like(plan_of(q{INSERT INTO kept SELECT id, body FROM texts}, 'SELECT embed_isa();'), qr/^Insert on.*\n *->  Custom Scan \(EmbedAhead\)/m, 'below INSERT');
like(plan_of(q{UPDATE kept SET body = body || '.'}, 'SELECT embed_isa();'), qr/^Update on.*\n *->  Custom Scan \(EmbedAhead\)/m, 'below UPDATE');
like(plan_of(q{MERGE INTO kept k USING texts t ON k.id = t.id WHEN NOT MATCHED THEN INSERT (id, body) VALUES (t.id, t.body)}, 'SELECT embed_isa();'),
	qr/^Merge on.*\n *->  Custom Scan \(EmbedAhead\)/m, 'below MERGE') if $version >= 15;
unlike(plan_of($_, 'SELECT embed_isa();'), qr/EmbedAhead/, "not: $_") for
	q{INSERT INTO kept VALUES (1, 'a')}, q{DELETE FROM kept}, q{SELECT body FROM kept}, q{SELECT embed('x', 'm')}, q{SELECT pg_sleep(0), embed(body, 'm') FROM texts},
	q{INSERT INTO texts SELECT id + 1000, body FROM texts}, q{SELECT EXISTS (SELECT embed(body, 'm') FROM texts)};
like(query($node, $db, q{SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT embed(body, 'm') FROM texts; EXPLAIN (COSTS OFF) EXECUTE p; SET embed.look_ahead = off; EXPLAIN (COSTS OFF) EXECUTE p}),
	qr/EmbedAhead.*\n *->  Seq Scan on texts\nSeq Scan on texts$/, 'the cached plan is not changed');
like(query($node, $db, q{SET embed.threads = 2; SET embed.look_ahead = on; EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT embed(body, 'm') FROM texts}), qr/Texts Ahead: 59\n *Texts Used: 59/, 'all texts behind the first');
like(query($node, $db, q{SET embed.batch_tokens = 64; EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT embed(body, 'm') FROM texts}), qr/Texts Ahead: (5\d)\n *Texts Used: \1$/m, '... in small batches, too');
like(query($node, $db, q{LOAD 'embed'; EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) MERGE INTO kept k USING texts t ON k.id = t.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND t.id > 10 THEN INSERT (id, body) VALUES (t.id, t.body)}),
	qr/Texts Ahead: (4\d|50)\n *Texts Used: \1$/m, 'MERGE, the rows that its condition lets in') if $version >= 15;
query($node, $db, q{TRUNCATE kept});
like(query($node, $db, q{LOAD 'embed'; CREATE TRIGGER aa BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION changes(); EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) INSERT INTO kept SELECT id, body FROM texts; DROP TRIGGER aa ON kept}),
	qr/Texts Ahead: 2\n *Texts Used: 0/, 'who looks ahead in vain stops');

# One row, or as many as are asked for, and no more.
is(computed($node, $db, q{SELECT embed(body, 'm') FROM texts LIMIT 5}), 5, 'LIMIT 5 computes 5 texts');
is(computed($node, $db, q{BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT embed(body, 'm') FROM texts FOR UPDATE; FETCH 3 FROM c; FETCH 4 FROM c; COMMIT}), 7, 'rows fetched from a cursor');

is(computed($node, $db, q{BEGIN; DECLARE c CURSOR FOR SELECT embed(body, 'm') FROM texts; FETCH 3 FROM c; FETCH 4 FROM c; COMMIT}), 7, '... from one that might be asked where it is');
if ($version >= 14)
{
	for my $kind ('CURSOR', 'SCROLL CURSOR', 'NO SCROLL CURSOR')
	{
		is(query($node, $db, qq{BEGIN; DECLARE c $kind FOR SELECT embed(body, 'm') IS NULL FROM texts; FETCH 5 FROM c; SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'embed look-ahead'}),
			join("\n", ('f') x 5, 1), "$kind looks ahead");
	}
}
else
{
	skip_loudly('no pg_backend_memory_contexts before PostgreSQL 14', 3);
}

# Another session changes a row that was read ahead.
query($node, $db, q{CREATE TABLE shared AS SELECT id, body, NULL::float4[] AS e FROM texts});
{
	# commits when somebody waits for it
	my $first = start_psql($node, $db, q{BEGIN; UPDATE shared SET body = 'changed' WHERE id = 30;
		DO $$ BEGIN FOR i IN 1 .. 6000 LOOP EXIT WHEN (SELECT count(*) FROM pg_locks WHERE NOT granted) > 0; PERFORM pg_sleep(0.01); END LOOP; END $$; COMMIT;});
	$node->poll_query_until($db, q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'shared' AND l.mode = 'RowExclusiveLock'}) or die 'no UPDATE';
	my $second = start_psql($node, $db, q{UPDATE shared SET e = embed(body, 'm');});
	is((finish_psql($_))[0], 0, 'two sessions that update a row') for $first, $second;
	is(query($node, $db, q{SELECT count(*), count(*) FILTER (WHERE e IS DISTINCT FROM embed(body, 'm')), count(*) FILTER (WHERE body = 'changed') FROM shared}), '60|0|1',
		'... where a row that was read ahead gets the vector of its new text');
}

# A cancel in a batch; and the session goes on.
is(query($node, $db, q{
	CREATE TABLE many AS SELECT i AS id, repeat('word' || i || ' ', 60) AS body FROM generate_series(1, 20000) i;
	CREATE FUNCTION cancelled() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM count(embed(body, 'm')) FROM many; RETURN 'done'; EXCEPTION WHEN query_canceled THEN RETURN SQLSTATE; END $$;
	SET statement_timeout = '100ms'; SELECT cancelled(); RESET statement_timeout;
	SELECT count(*), count(*) FILTER (WHERE e IS DISTINCT FROM embed(body, 'm')) FROM (SELECT body, embed(body, 'm') AS e FROM texts OFFSET 0) t}), "57014\n60|0", 'a timeout in the middle of a batch');
if ($version >= 14)
{
	is(query($node, $db, q{
		CREATE FUNCTION held(e float4[]) RETURNS int8 LANGUAGE sql VOLATILE AS $$ SELECT sum(total_bytes)::int8 FROM pg_backend_memory_contexts WHERE name LIKE 'embed % ahead' OR name = 'embed look-ahead' $$;
		SELECT max(length(wide)) > 50000, max(held(e)) BETWEEN 1000000 AND 17000000, count(e) FROM (
			SELECT embed(left(body, 40), 'm') AS e, wide FROM (SELECT body, repeat(body, 120) AS wide FROM many WHERE id <= 600 OFFSET 0) s OFFSET 0) t}), 't|t|600', 'memory of the rows and vectors ahead');
}
else
{
	skip_loudly('no pg_backend_memory_contexts before PostgreSQL 14', 1);
}

done_testing();
