-- What compare.py times in a session: calls of embed() on documents, in turn.
LOAD 'embed';
SET embed.cache_entries = 0;
CREATE TEMP TABLE bench_docs (i int, t text);
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
		ms := ms || extract(epoch FROM clock_timestamp() - started)::float8 * 1000;
		at := CASE WHEN at + 2 * batch - 1 <= cardinality(docs) THEN at + batch ELSE 1 END;
	END LOOP;
	RETURN ms;
END $$;
