/* embed - from 0.1.0 to 0.2.0. What is new here stands in sql/embed.sql, too: CONTRIBUTING.md has the recipe. */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION embed UPDATE" to load this file. \quit

-- Creating this function also tells running sessions to look at the version again (catalog_version.c).
CREATE FUNCTION embed_version(OUT library pg_catalog.text, OUT extension pg_catalog.text,
							  OUT image_layout pg_catalog.int4, OUT image_numerics pg_catalog.int4)
AS 'MODULE_PATHNAME', 'embed_version' LANGUAGE C STRICT STABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION embed_version()
IS 'versions of the library, of the SQL objects in this database, and of the images that the library can use';

-- Columns in the order of use, and histograms in embed_latency alone, so that a screen shows them: views that select from these have to be dropped before.
DROP VIEW @extschema@.embed_latency;
DROP VIEW @extschema@.embed_stat;
DROP VIEW @extschema@.embed_memory;
DROP VIEW @extschema@.embed_models;

CREATE VIEW embed_models AS
SELECT m.name,
	i.kind,
	CASE WHEN i.kind OPERATOR(pg_catalog.=) 'embedding' AND i.dim OPERATOR(pg_catalog.>) 0 THEN i.dim END AS dim,
	i.max_tokens,
	i."precision",
	EXISTS (SELECT FROM _embed.default_model d
			WHERE d.kind OPERATOR(pg_catalog.=) i.kind AND d.name OPERATOR(pg_catalog.=) m.name) AS "default",
	ARRAY(SELECT a.alias FROM _embed.alias a
		  WHERE a.name OPERATOR(pg_catalog.=) m.name ORDER BY a.alias) AS aliases,
	i.size_bytes AS bytes,
	i.family,
	i.pooling,
	i.outputs,
	i.storage,
	i.has_template AS template,
	CASE WHEN i.kind IS NOT NULL
		 THEN pg_catalog.jsonb_build_object('query', i.query_prompt, 'document', i.document_prompt) END AS prompts,
	CASE WHEN i.takes_instruction THEN i.instruction END AS instruction,
	pg_catalog.encode(m.fingerprint, 'hex') AS fingerprint
FROM _embed.model m
LEFT JOIN _embed.image i ON i.fingerprint OPERATOR(pg_catalog.=) m.fingerprint
WHERE NOT m.dropped;
COMMENT ON COLUMN embed_models.instruction IS 'the instruction of calls that give none; NULL: the model takes no instruction';
COMMENT ON COLUMN embed_models.template IS 'whether the model is a decoder that reads a query and a document by a template';
COMMENT ON COLUMN embed_models.fingerprint IS 'the SHA-256 of the image; other views show its first 12 digits';
COMMENT ON VIEW embed_models IS 'the models installed in this database; a model whose image is lost has NULLs and must be imported again';
GRANT SELECT ON embed_models TO PUBLIC;

CREATE VIEW embed_memory AS
SELECT m.name,
	i.size_bytes AS bytes,
	u.resident_bytes,
	u.mapped,
	u.backends,
	u.file
FROM _embed.model m
LEFT JOIN _embed.image i ON i.fingerprint OPERATOR(pg_catalog.=) m.fingerprint
CROSS JOIN LATERAL _embed.image_memory(i.fingerprint, i.size_bytes,
									   ARRAY(SELECT a.pid FROM pg_catalog.pg_stat_activity a), i.storage) u
WHERE NOT m.dropped;
COMMENT ON COLUMN embed_memory.file IS 'below the data directory; its name is the whole fingerprint';
COMMENT ON VIEW embed_memory IS 'image files of the models in this database, their memory, and the number of backends that map them';
GRANT SELECT ON embed_memory TO PUBLIC;

CREATE VIEW embed_stat AS
SELECT m.name,
	COALESCE(s.calls, 0) AS calls,
	COALESCE(s.texts, 0) AS texts,
	COALESCE(s.tokens, 0) AS tokens,
	COALESCE(s.truncations, 0) AS truncations,
	COALESCE(s.errors, 0) AS errors,
	COALESCE(s.cache_hits, 0) AS cache_hits,
	pg_catalog.round(COALESCE(s.tokenizer_ms, 0) OPERATOR(pg_catalog.*) 1000) OPERATOR(pg_catalog./) 1000 AS tokenizer_ms,
	pg_catalog.round(COALESCE(s.wait_ms, 0) OPERATOR(pg_catalog.*) 1000) OPERATOR(pg_catalog./) 1000 AS wait_ms,
	pg_catalog.round(COALESCE(s.compute_ms, 0) OPERATOR(pg_catalog.*) 1000) OPERATOR(pg_catalog./) 1000 AS compute_ms,
	COALESCE(s.prefix_tokens_reused, 0) AS prefix_tokens_reused,
	pg_catalog."left"(pg_catalog.encode(m.fingerprint, 'hex'), 12) AS fingerprint
FROM (SELECT pg_catalog.string_agg(n.name, ', ' ORDER BY n.name) AS name, n.fingerprint
	  FROM _embed.model n WHERE NOT n.dropped GROUP BY n.fingerprint) m
LEFT JOIN _embed.stat() s ON s.fingerprint OPERATOR(pg_catalog.=) m.fingerprint;
COMMENT ON VIEW embed_stat IS 'usage counters of the models in this database, for all sessions of this server';
COMMENT ON COLUMN embed_stat.name IS 'the model name; all names if several models share one image';
COMMENT ON COLUMN embed_stat.fingerprint IS 'the first 12 digits of embed_models.fingerprint';
COMMENT ON COLUMN embed_stat.calls IS 'calls that returned a result; an aggregate counts once per result, and what fillers compute counts as texts only';
COMMENT ON COLUMN embed_stat.texts IS 'texts embedded, without NULLs';
COMMENT ON COLUMN embed_stat.tokens IS 'tokens read, including special tokens and prompts; texts from the cache count no tokens';
COMMENT ON COLUMN embed_stat.truncations IS 'texts with more tokens than the model reads';
COMMENT ON COLUMN embed_stat.errors IS 'calls that ended with an error, including wrong arguments and cancels, but not calls of models that do not exist';
COMMENT ON COLUMN embed_stat.cache_hits IS 'texts answered from the session cache, or repeated within a query';
COMMENT ON COLUMN embed_stat.prefix_tokens_reused IS 'tokens of template, instruction and query that were computed for an earlier document of the same query; they count in tokens, too';
COMMENT ON COLUMN embed_stat.tokenizer_ms IS 'time spent on tokenizing texts';
COMMENT ON COLUMN embed_stat.wait_ms IS 'time spent on waiting: until the image is written and mapped, and during computations for a CPU or for the other threads of the call';
COMMENT ON COLUMN embed_stat.compute_ms IS 'time spent on computing, by the calling process itself';
GRANT SELECT ON embed_stat TO PUBLIC;

CREATE VIEW embed_latency AS
SELECT h.name,
	h.calls,
	h.slow_calls,
	pg_catalog.round(_embed.latency_ms(h.latency, 0.5) OPERATOR(pg_catalog.*) 1000) OPERATOR(pg_catalog./) 1000 AS p50_ms,
	pg_catalog.round(_embed.latency_ms(h.latency, 0.95) OPERATOR(pg_catalog.*) 1000) OPERATOR(pg_catalog./) 1000 AS p95_ms,
	pg_catalog.round(_embed.latency_ms(h.latency, 0.99) OPERATOR(pg_catalog.*) 1000) OPERATOR(pg_catalog./) 1000 AS p99_ms,
	_embed.latency_ms(h.latency, 1) AS max_ms,
	h.since,
	h.latency
FROM (SELECT m.name,
		COALESCE(s.calls, 0) AS calls,
		COALESCE(s.slow_calls, 0) AS slow_calls,
		COALESCE(s.latency, pg_catalog.array_fill(0::pg_catalog.int8, '{28}')) AS latency,
		pg_catalog.date_trunc('second', s.stats_since) AS since
	  FROM (SELECT pg_catalog.string_agg(n.name, ', ' ORDER BY n.name) AS name, n.fingerprint
			FROM _embed.model n WHERE NOT n.dropped GROUP BY n.fingerprint) m
	  LEFT JOIN _embed.stat() s ON s.fingerprint OPERATOR(pg_catalog.=) m.fingerprint) h;
COMMENT ON VIEW embed_latency IS 'durations of calls by model, for all sessions of this server, and their histogram: exact to a factor of 2, interpolated in between';
COMMENT ON COLUMN embed_latency.slow_calls IS 'calls that took embed.log_min_duration or longer, while that was set';
COMMENT ON COLUMN embed_latency.max_ms IS 'no call took longer; at most twice the longest one';
COMMENT ON COLUMN embed_latency.since IS 'time of the first counted use or of the last embed_stat_reset(), of the counters of embed_stat, too; NULL if never used';
COMMENT ON COLUMN embed_latency.latency IS 'calls by duration: element i counts calls from 2^(i-1) to 2^i microseconds; the first also counts shorter calls, the 28th longer calls';
GRANT SELECT ON embed_latency TO PUBLIC;
COMMENT ON FUNCTION _embed.latency_ms(pg_catalog.int8[], pg_catalog.float8)
IS 'milliseconds that this share of the calls in a histogram of embed_latency do not exceed';

CREATE FUNCTION _embed.progress() RETURNS TABLE (pid pg_catalog.int4, database pg_catalog.oid, command pg_catalog.text,
	stage pg_catalog.text, object pg_catalog.text, done pg_catalog.int8, total pg_catalog.int8, unit pg_catalog.text,
	started pg_catalog.timestamptz, seconds_left pg_catalog.float8)
AS 'MODULE_PATHNAME', 'embed_progress_rows' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 100 ROWS 10;
COMMENT ON FUNCTION _embed.progress() IS 'long work of this server that goes on now';

CREATE VIEW embed_progress AS
SELECT p.pid,
	d.datname,
	p.command,
	p.stage,
	p.object,
	p.done,
	p.total,
	p.unit,
	p.seconds_left,
	p.started
FROM _embed.progress() p
LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) p.database;
COMMENT ON VIEW embed_progress IS 'imports, images being built and fills of this server that go on now; other roles'' with pg_read_all_stats only, as in pg_stat_activity';
COMMENT ON COLUMN embed_progress.command IS 'embed_import, embed_load, embed_load_lo; materialize: a session builds an image''s file from its rows; embed_fill, embed_refill, filler: a kept column is filled';
COMMENT ON COLUMN embed_progress.stage IS 'what the command does now; done, total and seconds_left are those of the stage';
COMMENT ON COLUMN embed_progress.object IS 'the model, or table.column';
COMMENT ON COLUMN embed_progress.total IS 'NULL: not known';
COMMENT ON COLUMN embed_progress.seconds_left IS 'of the stage, by its speed so far; NULL: not known';
GRANT SELECT ON embed_progress TO PUBLIC;

-- Drivers send lists of numbers as float8[]. No array type but float8[] casts to embed_doubles, so
-- that no call is ambiguous: integer[], numeric[] and pgvector's vector cast to float4[] as before.
CREATE TYPE embed_doubles;
CREATE FUNCTION _embed.doubles_in(pg_catalog.cstring) RETURNS embed_doubles
AS 'MODULE_PATHNAME', 'embed_doubles_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _embed.doubles_in(pg_catalog.cstring) IS 'input function of embed_doubles';
CREATE FUNCTION _embed.doubles_out(embed_doubles) RETURNS pg_catalog.cstring
AS 'array_out' LANGUAGE internal STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _embed.doubles_out(embed_doubles) IS 'output function of embed_doubles';
CREATE TYPE embed_doubles (INPUT = _embed.doubles_in, OUTPUT = _embed.doubles_out, LIKE = pg_catalog._float8);
COMMENT ON TYPE embed_doubles IS 'a float8[] as an argument of embed_cosine()';
CREATE FUNCTION _embed.doubles(pg_catalog.float8[]) RETURNS embed_doubles
AS 'MODULE_PATHNAME', 'embed_doubles' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _embed.doubles(pg_catalog.float8[]) IS 'cast to embed_doubles; the bytes stay';
CREATE CAST (pg_catalog.float8[] AS embed_doubles) WITH FUNCTION _embed.doubles(pg_catalog.float8[]) AS IMPLICIT;

CREATE FUNCTION embed_cosine(a pg_catalog.float4[], b embed_doubles) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_cosine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 6;
COMMENT ON FUNCTION embed_cosine(pg_catalog.float4[], embed_doubles)
IS 'cosine similarity of two vectors; elements of float8[] are rounded to float4';

CREATE FUNCTION embed_cosine(a embed_doubles, b pg_catalog.float4[]) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_cosine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 6;
COMMENT ON FUNCTION embed_cosine(embed_doubles, pg_catalog.float4[])
IS 'cosine similarity of two vectors; elements of float8[] are rounded to float4';

CREATE FUNCTION embed_cosine(a embed_doubles, b embed_doubles) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_cosine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 7;
COMMENT ON FUNCTION embed_cosine(embed_doubles, embed_doubles)
IS 'cosine similarity of two vectors; elements of float8[] are rounded to float4';

-- two literals, or two parameters without a type: of several functions the server takes that of text
CREATE FUNCTION embed_cosine(a pg_catalog.text, b pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_cosine_texts' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION embed_cosine(pg_catalog.text, pg_catalog.text)
IS 'cosine similarity of two vectors that are given as literals of float4[]';

CREATE FUNCTION embed_reimport(name pg_catalog.text, path pg_catalog.text,
							   options pg_catalog.jsonb DEFAULT '{}') RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_reimport' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION embed_reimport(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb)
IS 'make an image of another layout again, under its name, from the directory or GGUF file that it was imported from; returns the fingerprint';
REVOKE ALL ON FUNCTION embed_reimport(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb) FROM PUBLIC;

-- To the owner of the extension, whoever updates it.
DO $$
BEGIN
	EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION @extschema@.embed_reimport(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb) TO %s WITH GRANT OPTION',
		(SELECT e.extowner::pg_catalog.regrole FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'embed'));
END
$$;
