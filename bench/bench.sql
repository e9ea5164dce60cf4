-- What compare.py times in a session: embed() on the documents of bench_docs, in the server's own time.
-- It owns the throwaway database it runs in.
LOAD 'embed';
SET embed.cache_entries = 0;
SET max_parallel_workers_per_gather = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE UNLOGGED TABLE IF NOT EXISTS bench_docs (i int, t text);

CREATE FUNCTION pg_temp.ms_since(started timestamptz) RETURNS float8
LANGUAGE sql AS $$ SELECT extract(epoch FROM clock_timestamp() - started)::float8 * 1000 $$;

-- Calls of batch documents, in turn.
CREATE FUNCTION pg_temp.bench(model text, batch int, seconds float8, at_least int, at_most int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
	docs text[] := (SELECT array_agg(t ORDER BY i) FROM bench_docs);
	part text[];
	ms float8[] := '{}';
	begun timestamptz;
	started timestamptz;
	at int := 1;
BEGIN
	part := docs[1:batch];
	PERFORM embed(part, model);
	begun := clock_timestamp();
	WHILE cardinality(ms) < at_most AND
		(cardinality(ms) < at_least OR extract(epoch FROM clock_timestamp() - begun) < seconds) LOOP
		part := docs[at:at + batch - 1];
		started := clock_timestamp();
		IF batch = 1 THEN
			PERFORM embed(part[1], model);
		ELSE
			PERFORM embed(part, model);
		END IF;
		ms := ms || pg_temp.ms_since(started);
		at := CASE WHEN at + 2 * batch - 1 <= cardinality(docs) THEN at + batch ELSE 1 END;
	END LOOP;
	RETURN ms;
END $$;

-- All documents once, as a user would say it.
CREATE FUNCTION pg_temp.pass(model text, how text) RETURNS float8
LANGUAGE plpgsql AS $$
DECLARE
	docs text[] := (SELECT array_agg(t ORDER BY i) FROM bench_docs);
	started timestamptz := clock_timestamp();
	n int;
BEGIN
	CASE how
		WHEN 'one' THEN
			FOR i IN 1 .. cardinality(docs) LOOP
				PERFORM embed(docs[i], model);
			END LOOP;
		WHEN 'all' THEN
			PERFORM embed(docs, model);
		WHEN 'select', 'parallel' THEN
			EXECUTE 'SELECT count(embed(t, $1)) FROM bench_docs' INTO n USING model;
		WHEN 'agg' THEN
			EXECUTE 'SELECT cardinality(embed_agg(t, $1)) FROM bench_docs' INTO n USING model;
	END CASE;
	RETURN pg_temp.ms_since(started);
END $$;
