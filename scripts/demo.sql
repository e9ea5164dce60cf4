-- demo.sql - what scripts/demo shows; run by psql with model, path, have_vector.
\set QUIET on
\pset footer off
\pset linestyle ascii
\set dim 0

CREATE EXTENSION embed;
\echo
\echo '    SELECT embed_import(...)'
\timing on
SELECT embed_import(:'model', :'path') AS imported;
\timing off
SELECT name, family, dim, max_tokens, precision, pooling, pg_size_pretty(bytes) AS size, "default" FROM embed_models;
SELECT dim FROM embed_models WHERE "default"
\gset

-- With pgvector the column is a vector with an index, without it an array.
SELECT :'have_vector' = '1' AS have_vector
\gset
\if :have_vector
CREATE EXTENSION vector;
SELECT format('vector(%s)', :dim) AS column_type
\gset
\else
\set column_type 'float4[]'
\endif

\echo '    A table that the trigger keeps embedded: notes (id, body, embedding' :column_type ')'
CREATE TABLE notes (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	body text NOT NULL,
	embedding :column_type
);
CREATE TRIGGER zz_notes_embed BEFORE INSERT OR UPDATE ON notes
	FOR EACH ROW EXECUTE FUNCTION embed_trigger('embedding', 'body', :'model');

SELECT clock_timestamp() AS started
\gset
INSERT INTO notes (body) VALUES
	('The invoice was paid twice and I want one payment returned.'),
	('Please refund my second payment, I was charged two times.'),
	('How do I change the address my order is sent to?'),
	('I moved house, the parcel must go to my new address.'),
	('The app closes by itself as soon as I open the camera.'),
	('Opening the camera makes the application crash.'),
	('I forgot my password and the reset mail never arrives.'),
	('Two-factor codes are rejected although the clock is right.'),
	('Can a colleague and I share one licence?'),
	('What discount do schools get?'),
	('Water boils at a lower temperature on a mountain.'),
	('At high altitude water starts to boil below 100 degrees.'),
	('The moon moves four centimetres away from us every year.'),
	('A comet''s tail always points away from the sun.'),
	('Bees tell each other by dancing where flowers are.'),
	('Octopuses have three hearts and blue blood.'),
	('Sharks are older than trees.'),
	('The heart of a blue whale beats as rarely as twice a minute.'),
	('Knead the dough for ten minutes and let it rise for an hour.'),
	('Salt the pasta water until it tastes like the sea.'),
	('Roast the tomatoes slowly with garlic and olive oil.'),
	('A pinch of sugar takes the acid out of a tomato sauce.'),
	('Sharpen the knife before you cut onions and you will cry less.'),
	('The train to the coast leaves every hour from platform two.'),
	('Ferries do not run when the wind is stronger than force eight.'),
	('The museum is free on the first Sunday of the month.'),
	('Trams are replaced by buses until the bridge is repaired.'),
	('She plays the cello in an orchestra and teaches on Mondays.'),
	('The band broke up after their third album.'),
	('He learned the piano without ever reading a note.'),
	('The goalkeeper saved two penalties in the final.'),
	('Rain stopped the tennis match in the third set.'),
	('She ran the marathon in under three hours.'),
	('Interest rates rose again and house prices fell.'),
	('The company doubled its profit but hired nobody.'),
	('Shares dropped after the chief executive resigned.'),
	('An index helps a query only if the planner uses it.'),
	('Vacuum removes dead rows so that the table stops growing.'),
	('Encrypt the backup and keep the key somewhere else.'),
	('A deadlock happens when two transactions wait for each other.');
SELECT extract(epoch FROM clock_timestamp() - :'started'::timestamptz) AS seconds, (SELECT count(*) FROM notes) AS n_rows
\gset
SELECT :n_rows AS rows, round(:seconds * 1000) AS milliseconds, round(:n_rows / :seconds) AS "rows/s through the trigger";

\if :have_vector
CREATE INDEX notes_embedding_idx ON notes USING hnsw (embedding vector_cosine_ops);
CREATE FUNCTION search(query text, n int DEFAULT 5)
RETURNS TABLE (score numeric, body text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
	q vector := embed_query(query);
BEGIN
	RETURN QUERY SELECT round((1 - (notes.embedding <=> q))::numeric, 3), notes.body
		FROM notes ORDER BY notes.embedding <=> q LIMIT n;
END $$;
CREATE FUNCTION similarity(a vector, b vector) RETURNS float8
LANGUAGE sql IMMUTABLE AS 'SELECT 1 - (a <=> b)';
\else
CREATE FUNCTION search(query text, n int DEFAULT 5)
RETURNS TABLE (score numeric, body text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
	q float4[] := embed_query(query);
BEGIN
	RETURN QUERY SELECT round(embed_cosine(notes.embedding, q)::numeric, 3), notes.body
		FROM notes ORDER BY embed_cosine(notes.embedding, q) DESC LIMIT n;
END $$;
CREATE FUNCTION similarity(a float4[], b float4[]) RETURNS float8
LANGUAGE sql IMMUTABLE AS 'SELECT embed_cosine(a, b)';
\endif

\echo '    Search by meaning: search(''I was billed twice, give me my money back'')'
SELECT * FROM search('I was billed twice, give me my money back');
\echo '    search(''animals in the ocean'')'
SELECT * FROM search('animals in the ocean');
\echo '    search(''why does my database wait forever?'')'
SELECT * FROM search('why does my database wait forever?', 3);

\echo '    Sentences that say the same: pairs with a similarity above 0.6'
SELECT round(similarity(a.embedding, b.embedding)::numeric, 3) AS score, a.body, b.body AS "says the same"
FROM notes a JOIN notes b ON a.id < b.id
WHERE similarity(a.embedding, b.embedding) > 0.6
ORDER BY 1 DESC;

\echo '    An update embeds again, and only when the source changed'
UPDATE notes SET body = 'Otters hold hands while they sleep.' WHERE id = 17;
SELECT * FROM search('animals asleep, paw in paw', 1);

\echo '    How fast: 400 different sentences of 15 to 20 tokens, one by one and in arrays of 100,'
\echo '    without the cache, in turn, the best of three rounds'
SET embed.cache_entries = 0;
CREATE TEMP TABLE sentences AS
	SELECT (notes.id * 10 + i - 11) / 100 AS batch, body || ' (' || i || ')' AS body
	FROM notes, generate_series(1, 10) AS i ORDER BY notes.id, i;
CREATE TEMP TABLE timings (form text, vectors bigint, seconds float8);
DO $$
DECLARE
	started timestamptz;
	n bigint;
BEGIN
	FOR round IN 1 .. 3 LOOP
		started := clock_timestamp();
		SELECT count(embed(body)) INTO n FROM sentences;
		INSERT INTO timings VALUES ('one by one', n, extract(epoch FROM clock_timestamp() - started));
		started := clock_timestamp();
		SELECT sum(array_length(vectors, 1)) INTO n
		FROM (SELECT embed(array_agg(body)) AS vectors FROM sentences GROUP BY batch) AS batches;
		INSERT INTO timings VALUES ('in arrays', n, extract(epoch FROM clock_timestamp() - started));
	END LOOP;
END $$;
RESET embed.cache_entries;
SELECT form, max(vectors) AS sentences, round(min(seconds)::numeric * 1000) AS milliseconds,
	round(max(vectors) / min(seconds)) AS "rows/s"
FROM timings GROUP BY form ORDER BY form DESC;
\echo '    Arrays are faster for short texts where a session may use two CPUs or more; with one CPU,'
\echo '    or for texts of 64 tokens and more, rows cost about the same.'
