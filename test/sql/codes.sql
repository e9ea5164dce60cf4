-- Models that were quantized before: which image keeps their weights, what the NOTICE says, and that the images are right.

\set data_dir `echo "${EMBED_TEST_DATA:-$PWD/test/data}"`
\set q8 :data_dir '/gguf/bge-m3-Q8_0-00001-of-00003.gguf'
\set gptq8 :data_dir '/tiny/quantized-gptq-8bit/model'
\set awq :data_dir '/tiny/quantized-awq/model'

SELECT embed_import('q8-exact', :'q8', '{"precision": "fp32"}') IS NOT NULL AS imported;
SELECT embed_import('q8', :'q8') IS NOT NULL AS imported;
SELECT embed_import('q8-again', :'q8', '{"group": -1}') IS NOT NULL AS imported;
SELECT embed_import('gptq8', :'gptq8') IS NOT NULL AS imported;
SELECT embed_import('awq', :'awq', '{"precision": "int4"}') IS NOT NULL AS imported;

-- cannot keep them
SELECT embed_import('awq-again', :'awq') IS NOT NULL AS imported;
SELECT embed_import('gptq8-again', :'gptq8', '{"precision": "int4", "keep_int8": "none"}') IS NOT NULL AS imported;

-- asked for something else
SELECT embed_import('gptq8-calibrated', :'gptq8', '{"calibration": "SELECT ''a text''"}') IS NOT NULL AS imported;

SELECT name, precision FROM embed_models WHERE name ~ '^(q8|gptq8|awq)' ORDER BY name COLLATE "C";
SELECT name, bool_and(ok) AS ok FROM embed_models, embed_verify(name) WHERE name ~ '^(q8|gptq8|awq)' GROUP BY name ORDER BY name COLLATE "C";

-- the weights kept are those of the file: the vectors differ by the inputs' rounding only
CREATE TEMP TABLE texts AS SELECT 'text number ' || i || repeat(' and more', i) AS body FROM generate_series(0, 12) i;
SELECT min(embed_cosine(embed(body, 'q8'), embed(body, 'q8-exact'))) > 0.999 AS near FROM texts;
SELECT (SELECT array_agg(embed(body, 'q8') ORDER BY body) FROM texts) = embed((SELECT array_agg(body ORDER BY body) FROM texts), 'q8') AS same_bits;

\set VERBOSITY terse
SELECT embed_import('wrong', :'q8', '{"group": 32}');
SELECT embed_import('wrong', :'q8', '{"precision": "fp32", "group": -1}');
\set VERBOSITY default

SELECT count(embed_drop(name, forget => true)) AS dropped FROM embed_models WHERE name ~ '^(q8|gptq8|awq)';
