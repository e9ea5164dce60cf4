-- embed_chunks.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

-- each letter of "qqq" is a token of this vocabulary, "the" and "and" are one
SELECT * FROM embed_chunks('  the and   the qqq, and 中文分词。qqqqqqqqqq ', 6, 2);
SELECT * FROM embed_chunks('the qqq and', 6, 0, 'tiny-cls');

-- what is promised, of texts of all kinds
CREATE TEMP TABLE texts AS
	SELECT row_number() OVER () AS id, t AS body FROM (VALUES
		(repeat('The quick brown fox, jumping over it; unbelievable! ', 40)),
		(repeat('中文分词。测试文本，混合 text ', 30)),
		(repeat(E'Größe ẹ̀ क़\n\n\tภาษาไทย  日本語のテキスト ', 20)),
		(repeat('https://example.org/a-very/long_path?with=many&parts#at-end', 20)),
		(repeat('q', 1000)),
		(repeat(U&'e\0301', 400)),
		(repeat('👨‍👩‍👧 ❤️ 🇩🇪', 50)),
		(E'  a \u0001\u200b b  ')) v(t);
CREATE TEMP TABLE cut AS
	SELECT t.id, s.max_tokens, s.overlap, c.*
	FROM texts t, (VALUES (12, 0), (12, 4), (40, 0), (40, 30), (512, 100)) s(max_tokens, overlap), embed_chunks(t.body, s.max_tokens, s.overlap) c;
SELECT count(*) > 300 AS several,
	bool_and(chunk = substr(body, start_char, end_char - start_char)) AS chunk_is_where_it_says,
	bool_and(tokens <= max_tokens AND tokens = (embed_info(chunk)).tokens) AS no_longer_than_allowed,
	bool_and(NOT (embed_info(chunk)).truncated) AS embeds_whole,
	bool_and(chunk ~ '^\S' AND chunk ~ '\S$') AS no_spaces_around
FROM cut JOIN texts USING (id);
SELECT bool_and(ordinality = place) AS numbered,
	bool_and(start_char > coalesce(last_start, 0) AND end_char > coalesce(last_end, 0)) AS goes_on,
	bool_and(coalesce(start_char <= last_end OR (embed_info(substr(body, last_end, start_char - last_end))).tokens = 2, true)) AS nothing_lost,
	bool_and(coalesce(start_char >= last_end OR (embed_info(substr(body, start_char, last_end - start_char))).tokens - 2 <= overlap, true)) AS overlap_is_bounded,
	bool_or(start_char < last_end) AS overlaps, bool_or(start_char < last_end AND overlap = 0) AS overlaps_unasked
FROM (SELECT *, row_number() OVER w AS place, lag(start_char) OVER w AS last_start, lag(end_char) OVER w AS last_end
	  FROM cut WINDOW w AS (PARTITION BY id, max_tokens, overlap ORDER BY ordinality)) c JOIN texts USING (id);
SELECT bool_and(first.start_char = 1 + length(body) - length(ltrim(body))) AS from_the_beginning,
	bool_and(last.end_char = 1 + length(rtrim(body, E' \t\n'))) AS to_the_end
FROM texts, LATERAL (SELECT * FROM cut WHERE cut.id = texts.id AND max_tokens = 40 AND overlap = 0 ORDER BY ordinality LIMIT 1) first,
	LATERAL (SELECT * FROM cut WHERE cut.id = texts.id AND max_tokens = 40 AND overlap = 0 ORDER BY ordinality DESC LIMIT 1) last;

-- nothing there
SELECT count(*) FROM embed_chunks('', 10, 0);
SELECT count(*) FROM embed_chunks(E' \t\n\u3000\u00a0 ', 10, 2);
SELECT count(*) FROM embed_chunks(repeat(' ', 1000000), 10, 2);
SELECT count(*) FROM embed_chunks(E'\u200b\u0001', 10, 2);
SELECT count(*) FROM embed_chunks(NULL, 10, 2);
SELECT count(*) FROM embed_chunks('a', NULL, 2);
SELECT count(*) FROM embed_chunks('a', 10, 2, NULL);

-- limits
SELECT * FROM embed_chunks('a', 2, 0);
SELECT * FROM embed_chunks('a', 3, 0);
SELECT * FROM embed_chunks('a', -1, 0);
SELECT * FROM embed_chunks('a', 10, 8);
SELECT * FROM embed_chunks('a', 10, -1);
SELECT max(tokens) FROM embed_chunks(repeat('the ', 2000), 2147483647, 0);
SELECT * FROM embed_chunks('a', 10, 0, 'no-such-model');

-- the prompt counts, and so does a shorter maximum
\set dir :data_dir '/tiny/bert-cls/model'
SELECT embed_import('tiny-prompt', :'dir', '{"document_prompt": "the and ", "max_tokens": 20}') IS NOT NULL AS imported;
SELECT * FROM embed_chunks('the and qqq the', 7, 0, 'tiny-prompt');
SELECT * FROM embed_chunks('the', 4, 0, 'tiny-prompt');
SELECT max(tokens) AS longest, bool_and(NOT (embed_info(chunk, 'tiny-prompt')).truncated) AS embeds_whole
FROM embed_chunks(repeat('the qqq ', 100), 1000, 5, 'tiny-prompt');
SELECT embed_drop('tiny-prompt', true);

-- a chunk table
CREATE TEMP TABLE chunks AS
	SELECT id, ordinality, start_char, end_char, chunk, embed(chunk) AS embedding FROM texts, embed_chunks(body, 64, 8);
SELECT count(*) > 40 AS several, bool_and(cardinality(embedding) = 64) AS embedded FROM chunks;

-- values out of line
CREATE TEMP TABLE stored (body text);
ALTER TABLE stored ALTER body SET STORAGE EXTERNAL;
INSERT INTO stored SELECT repeat('the and ', 50000);
ALTER TABLE stored ALTER body SET STORAGE EXTENDED;
INSERT INTO stored SELECT repeat('the and ', 50000);
SELECT count(*), max(tokens), sum(tokens - 2), max(end_char) FROM stored, embed_chunks(body, 512, 0) GROUP BY stored.ctid;
SELECT p.oid::regprocedure AS function, p.provolatile AS volatile, p.proisstrict AS strict, p.proparallel AS parallel
FROM pg_proc p WHERE p.proname = 'embed_chunks' ORDER BY p.pronargs;
