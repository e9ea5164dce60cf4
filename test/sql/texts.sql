-- Long, compressed and out-of-line values; other server encodings.
\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\i :data_dir/sql/tiny.sql

-- one value in every form it is stored in
CREATE TEMP TABLE forms (form text, body text);
ALTER TABLE forms ALTER body SET STORAGE EXTERNAL;
INSERT INTO forms SELECT 'external', string_agg('word' || i, ' ') FROM generate_series(1, 5000) i;
ALTER TABLE forms ALTER body SET STORAGE EXTENDED;
INSERT INTO forms SELECT 'extended', string_agg('word' || i, ' ') FROM generate_series(1, 5000) i;
ALTER TABLE forms ALTER body SET STORAGE MAIN;
INSERT INTO forms SELECT 'compressed', repeat('word', 25000);
INSERT INTO forms SELECT 'short', 'a word';
SELECT form, pg_column_size(body) < octet_length(body) AS is_compressed, embed(body) = embed(body || '') AS same,
	embed_tokens(body) = embed_tokens(body || '') AS same_ids, (embed_info(body)).*
FROM forms ORDER BY form;
-- the ids of a prefix are those of the whole: spaces, one endless word, wide characters at every offset of the cut
SELECT s AS shift, cardinality(embed_tokens(t)) AS ids, embed_tokens(t) = embed_tokens(left(t, 6000)) AS same, (embed_info(t)).tokens
FROM generate_series(0, 3) s, LATERAL (SELECT repeat('x', s) || repeat(E'\U0001F600 \u00e9\u4e2d', 20000)) v(t);
SELECT embed_tokens(repeat(' ', 100000) || 'word') = embed_tokens('word') AS blanks_first,
	embed_tokens(repeat('x', 100000)) = embed_tokens(repeat('x', 200)) AS one_long_word,
	embed_tokens(repeat('x', 100000) || ' word') = embed_tokens(repeat('x', 200) || ' word') AS word_behind;

-- LATIN1: converted to UTF-8 first
CREATE DATABASE regression_embed_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regression_embed_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regression_embed_eucjp TEMPLATE template0 ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C';
SELECT embed_tokens('café naïve') AS ids \gset utf8_
SELECT embed_tokens(E'\u6771\u4eac\u306e\u672c') AS ids \gset kanji_
SELECT current_database() AS db \gset
\set dir :data_dir '/tiny/bert-cls/model'
\c regression_embed_latin1
CREATE EXTENSION embed;
SELECT embed_import('tiny', :'dir') IS NOT NULL AS imported;
SELECT octet_length(t) AS bytes, embed_tokens(t) = :'utf8_ids'::int4[] AS same
FROM convert_from('\x636166e9206e61ef7665', 'LATIN1') t;
SELECT cardinality(embed_tokens(repeat(t, 10000))) AS ids, embed_tokens(repeat(t, 10000)) = embed_tokens(repeat(t, 1000)) AS same
FROM convert_from('\xe920', 'LATIN1') t;
\c regression_embed_ascii
CREATE EXTENSION embed;
SELECT embed_import('tiny', :'dir') IS NOT NULL AS imported;
-- taken for UTF-8
SELECT embed_tokens(convert_from('\x636166c3a9206e61c3af7665', 'SQL_ASCII')) = :'utf8_ids'::int4[] AS same;
SELECT embed_tokens(repeat(convert_from('\xc3a9e4b8ad', 'SQL_ASCII'), 10000))
	= embed_tokens(repeat(convert_from('\xc3a9e4b8ad', 'SQL_ASCII'), 1000)) AS same;
SELECT embed(convert_from('\x636166e9', 'SQL_ASCII'));
\c regression_embed_eucjp
CREATE EXTENSION embed;
SELECT embed_import('tiny', :'dir') IS NOT NULL AS imported;
SELECT octet_length(t) AS bytes, embed_tokens(t) = :'kanji_ids'::int4[] AS same FROM convert_from('\xc5ecb5fea4cecbdc', 'EUC_JP') t;
SELECT embed_tokens('x' || repeat(t, 10000)) = embed_tokens('x' || repeat(t, 1000)) AS same FROM convert_from('\xc5ec', 'EUC_JP') t;
\c :db
DROP DATABASE regression_embed_latin1;
DROP DATABASE regression_embed_ascii;
DROP DATABASE regression_embed_eucjp;
