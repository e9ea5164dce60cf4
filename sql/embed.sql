/* embed - SQL objects. sql/embed.sql is copied to sql/embed--VERSION.sql by make. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION embed" to load this file. \quit

-- Models are rows. The schema's name sorts before every lower-case one:
-- pg_dump emits table data by schema name, and generated columns or CHECK
-- constraints that call embed need the models first.
CREATE SCHEMA _embed;
COMMENT ON SCHEMA _embed IS 'storage of the extension embed; use embed_models, embed_import and embed_drop';

CREATE TABLE _embed.model (
	name pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	fingerprint pg_catalog.bytea NOT NULL,
	dropped pg_catalog.bool NOT NULL,
	CONSTRAINT model_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE _embed.model IS 'model names; a name keeps its fingerprint for ever, and a dropped row is a tombstone';

CREATE TABLE _embed.image (
	fingerprint pg_catalog.bytea NOT NULL,
	size_bytes pg_catalog.int8 NOT NULL,
	kind pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	family pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	dim pg_catalog.int4 NOT NULL,
	max_tokens pg_catalog.int4 NOT NULL,
	"precision" pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	pooling pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	query_prompt pg_catalog.text NOT NULL,
	document_prompt pg_catalog.text NOT NULL,
	outputs pg_catalog.text[] COLLATE pg_catalog."C" NOT NULL,
	takes_instruction pg_catalog.bool NOT NULL,
	instruction pg_catalog.text NOT NULL,
	has_template pg_catalog.bool NOT NULL,
	storage pg_catalog.text COLLATE pg_catalog."C" DEFAULT 'rows' NOT NULL CONSTRAINT image_storage CHECK (storage OPERATOR(pg_catalog.=) ANY (ARRAY['rows', 'file'])),
	CONSTRAINT image_pkey PRIMARY KEY (fingerprint)
);
COMMENT ON TABLE _embed.image IS 'properties of the images; several model names may share an image';
COMMENT ON COLUMN _embed.image.storage IS 'rows: the image is in _embed.chunk; file: it is file embed_images/FINGERPRINT.img in the data directory';

CREATE TABLE _embed.chunk (
	fingerprint pg_catalog.bytea NOT NULL,
	no pg_catalog.int4 NOT NULL,
	data pg_catalog.bytea NOT NULL,
	CONSTRAINT chunk_pkey PRIMARY KEY (fingerprint, no)
);
ALTER TABLE _embed.chunk ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE _embed.chunk IS 'bytes of the images, in pieces of 1 MB; none of an image that is a file';

CREATE TABLE _embed.alias (
	alias pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	name pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	CONSTRAINT alias_pkey PRIMARY KEY (alias)
);
COMMENT ON TABLE _embed.alias IS 'alternative model names for the settings and for embed_trigger; an alias may change its model';

CREATE TABLE _embed.default_model (
	kind pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	name pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	CONSTRAINT default_model_pkey PRIMARY KEY (kind)
);
COMMENT ON TABLE _embed.default_model IS 'the default model of each kind, used where a call names no model';

-- Rows may be written by COPY (a restore), by an apply worker or by hand. The triggers
-- skip rows that exist already and notify all sessions. Apply workers fire only row
-- triggers, and TRUNCATE fires only statement triggers. The triggers are ALWAYS triggers, because
-- apply workers and some restores run with session_replication_role = replica.
CREATE FUNCTION _embed.row_trigger() RETURNS pg_catalog.trigger
AS 'MODULE_PATHNAME', 'embed_row_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1;
COMMENT ON FUNCTION _embed.row_trigger()
IS 'row trigger of the model tables: skips rows that exist already, notifies all sessions of other rows';
REVOKE ALL ON FUNCTION _embed.row_trigger() FROM PUBLIC;

CREATE FUNCTION _embed.truncate_trigger() RETURNS pg_catalog.trigger
AS 'MODULE_PATHNAME', 'embed_truncate_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1;
COMMENT ON FUNCTION _embed.truncate_trigger()
IS 'statement trigger of the model tables: notifies all sessions of a TRUNCATE';
REVOKE ALL ON FUNCTION _embed.truncate_trigger() FROM PUBLIC;

CREATE TRIGGER embed_rows BEFORE INSERT OR UPDATE OR DELETE ON _embed.model FOR EACH ROW EXECUTE FUNCTION _embed.row_trigger();
CREATE TRIGGER embed_truncate AFTER TRUNCATE ON _embed.model FOR EACH STATEMENT EXECUTE FUNCTION _embed.truncate_trigger();
ALTER TABLE _embed.model ENABLE ALWAYS TRIGGER embed_rows, ENABLE ALWAYS TRIGGER embed_truncate;
CREATE TRIGGER embed_rows BEFORE INSERT OR UPDATE OR DELETE ON _embed.image FOR EACH ROW EXECUTE FUNCTION _embed.row_trigger();
CREATE TRIGGER embed_truncate AFTER TRUNCATE ON _embed.image FOR EACH STATEMENT EXECUTE FUNCTION _embed.truncate_trigger();
ALTER TABLE _embed.image ENABLE ALWAYS TRIGGER embed_rows, ENABLE ALWAYS TRIGGER embed_truncate;
CREATE TRIGGER embed_rows BEFORE INSERT OR UPDATE OR DELETE ON _embed.chunk FOR EACH ROW EXECUTE FUNCTION _embed.row_trigger();
CREATE TRIGGER embed_truncate AFTER TRUNCATE ON _embed.chunk FOR EACH STATEMENT EXECUTE FUNCTION _embed.truncate_trigger();
ALTER TABLE _embed.chunk ENABLE ALWAYS TRIGGER embed_rows, ENABLE ALWAYS TRIGGER embed_truncate;
CREATE TRIGGER embed_rows BEFORE INSERT OR UPDATE OR DELETE ON _embed.alias FOR EACH ROW EXECUTE FUNCTION _embed.row_trigger();
CREATE TRIGGER embed_truncate AFTER TRUNCATE ON _embed.alias FOR EACH STATEMENT EXECUTE FUNCTION _embed.truncate_trigger();
ALTER TABLE _embed.alias ENABLE ALWAYS TRIGGER embed_rows, ENABLE ALWAYS TRIGGER embed_truncate;
CREATE TRIGGER embed_rows BEFORE INSERT OR UPDATE OR DELETE ON _embed.default_model FOR EACH ROW EXECUTE FUNCTION _embed.row_trigger();
CREATE TRIGGER embed_truncate AFTER TRUNCATE ON _embed.default_model FOR EACH STATEMENT EXECUTE FUNCTION _embed.truncate_trigger();
ALTER TABLE _embed.default_model ENABLE ALWAYS TRIGGER embed_rows, ENABLE ALWAYS TRIGGER embed_truncate;

SELECT pg_catalog.pg_extension_config_dump('_embed.model', '');
SELECT pg_catalog.pg_extension_config_dump('_embed.image', '');
SELECT pg_catalog.pg_extension_config_dump('_embed.chunk', '');
SELECT pg_catalog.pg_extension_config_dump('_embed.alias', '');
SELECT pg_catalog.pg_extension_config_dump('_embed.default_model', '');

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

CREATE FUNCTION embed_version(OUT library pg_catalog.text, OUT extension pg_catalog.text,
							  OUT image_layout pg_catalog.int4, OUT image_numerics pg_catalog.int4)
AS 'MODULE_PATHNAME', 'embed_version' LANGUAGE C STRICT STABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION embed_version()
IS 'versions of the library, of the SQL objects in this database, and of the images that the library can use';

-- Only the view embed_memory calls this function: PUBLIC has no USAGE on the schema.
CREATE FUNCTION _embed.image_memory(fingerprint pg_catalog.bytea, size_bytes pg_catalog.int8, pids pg_catalog.int4[], storage pg_catalog.text,
									OUT file pg_catalog.text, OUT mapped pg_catalog.bool,
									OUT resident_bytes pg_catalog.int8, OUT backends pg_catalog.int4)
AS 'MODULE_PATHNAME', 'embed_image_memory' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION _embed.image_memory(pg_catalog.bytea, pg_catalog.int8, pg_catalog.int4[], pg_catalog.text)
IS 'file of an image, its bytes in the page cache, and the number of backends that map it';

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

CREATE FUNCTION _embed.cache_state(OUT entries pg_catalog.int8, OUT bytes pg_catalog.int8,
								   OUT hits pg_catalog.int8, OUT misses pg_catalog.int8)
AS 'MODULE_PATHNAME', 'embed_cache_state' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 1;
COMMENT ON FUNCTION _embed.cache_state() IS 'vector cache of this session (embed.cache_entries), for all its roles; hits and misses since DISCARD ALL';

CREATE FUNCTION _embed.stat() RETURNS TABLE (fingerprint pg_catalog.bytea,
	calls pg_catalog.int8, texts pg_catalog.int8, tokens pg_catalog.int8, truncations pg_catalog.int8,
	errors pg_catalog.int8, cache_hits pg_catalog.int8, prefix_tokens_reused pg_catalog.int8, tokenizer_ms pg_catalog.float8,
	wait_ms pg_catalog.float8, compute_ms pg_catalog.float8, slow_calls pg_catalog.int8, latency pg_catalog.int8[],
	stats_since pg_catalog.timestamptz)
AS 'MODULE_PATHNAME', 'embed_stat_rows' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 100 ROWS 10;
COMMENT ON FUNCTION _embed.stat() IS 'counters of the images used in this database';

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

CREATE FUNCTION _embed.latency_ms(latency pg_catalog.int8[], share pg_catalog.float8) RETURNS pg_catalog.float8
AS 'MODULE_PATHNAME', 'embed_latency_ms' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION _embed.latency_ms(pg_catalog.int8[], pg_catalog.float8)
IS 'milliseconds that this share of the calls in a histogram of embed_latency do not exceed';

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

CREATE FUNCTION embed_stat_reset() RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_stat_reset' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION embed_stat_reset() IS 'set the counters of embed_stat to 0 for this database';
REVOKE ALL ON FUNCTION embed_stat_reset() FROM PUBLIC;

-- Models: import, drop, names. Revoked from PUBLIC.
-- Not strict, like embed_load, embed_load_lo and embed_set_default: a NULL is an error (22004).
CREATE FUNCTION embed_import(name pg_catalog.text, path pg_catalog.text,
							 options pg_catalog.jsonb DEFAULT '{}') RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_import' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION embed_import(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb)
IS 'import a model directory or GGUF file on the server; returns the fingerprint';

CREATE FUNCTION embed_reimport(name pg_catalog.text, path pg_catalog.text,
							   options pg_catalog.jsonb DEFAULT '{}') RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_reimport' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION embed_reimport(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb)
IS 'make an image of another layout again, under its name, from the directory or GGUF file that it was imported from; returns the fingerprint';

CREATE FUNCTION embed_load(name pg_catalog.text, image pg_catalog.bytea,
						   options pg_catalog.jsonb DEFAULT '{}') RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_load' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION embed_load(pg_catalog.text, pg_catalog.bytea, pg_catalog.jsonb)
IS 'install an image from embed-cli pack; returns the fingerprint';

CREATE FUNCTION embed_load_lo(name pg_catalog.text, object pg_catalog.oid,
							  options pg_catalog.jsonb DEFAULT '{}') RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_load_lo' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION embed_load_lo(pg_catalog.text, pg_catalog.oid, pg_catalog.jsonb)
IS 'install an image from a large object, of any size; returns the fingerprint';

CREATE FUNCTION embed_export(name pg_catalog.text) RETURNS TABLE (no pg_catalog.int4, data pg_catalog.bytea)
AS 'MODULE_PATHNAME', 'embed_export' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 1000;
COMMENT ON FUNCTION embed_export(pg_catalog.text)
IS 'the image of a model in pieces of 1 MB, for embed_load_lo on another server';

CREATE FUNCTION embed_drop(name pg_catalog.text, forget pg_catalog.bool DEFAULT false,
						   force pg_catalog.bool DEFAULT false) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_drop' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION embed_drop(pg_catalog.text, pg_catalog.bool, pg_catalog.bool)
IS 'drop a model on which nothing depends; forget: free the name for other content; force: drop even if objects depend on the model';

CREATE FUNCTION embed_dependents(name pg_catalog.text) RETURNS TABLE (kind pg_catalog.text, object pg_catalog.text,
	identity pg_catalog.text, detail pg_catalog.text, refuses pg_catalog.bool)
AS 'MODULE_PATHNAME', 'embed_dependents' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10;
COMMENT ON FUNCTION embed_dependents(pg_catalog.text)
IS 'objects that a drop of the model would break or change; refuses: embed_drop without force refuses because of this object';

CREATE FUNCTION embed_set_default(name pg_catalog.text) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_set_default' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION embed_set_default(pg_catalog.text)
IS 'make a model the default of its kind in this database';

-- Not strict: a NULL name removes the alias.
CREATE FUNCTION embed_set_alias(alias pg_catalog.text, name pg_catalog.text) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_set_alias' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION embed_set_alias(pg_catalog.text, pg_catalog.text)
IS 'let an alias stand for a model; NULL as the model removes the alias';

REVOKE ALL ON FUNCTION embed_import(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_reimport(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_load(pg_catalog.text, pg_catalog.bytea, pg_catalog.jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_load_lo(pg_catalog.text, pg_catalog.oid, pg_catalog.jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_export(pg_catalog.text) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_drop(pg_catalog.text, pg_catalog.bool, pg_catalog.bool) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_dependents(pg_catalog.text) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_set_default(pg_catalog.text) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_set_alias(pg_catalog.text, pg_catalog.text) FROM PUBLIC;

-- SECURITY DEFINER runs as the owner of the tables, so that a dump has the grants in the owner's name.
CREATE FUNCTION embed_grant(role pg_catalog.text) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_grant' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE COST 1000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION embed_grant(pg_catalog.text)
IS 'let a role dump and restore the models of this database';

CREATE FUNCTION embed_revoke(role pg_catalog.text) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_revoke' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE COST 1000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION embed_revoke(pg_catalog.text)
IS 'revoke the rights of embed_grant';

REVOKE ALL ON FUNCTION embed_grant(pg_catalog.text) FROM PUBLIC;
REVOKE ALL ON FUNCTION embed_revoke(pg_catalog.text) FROM PUBLIC;

-- The role that creates the extension manages it, superuser or not. (The extension is trusted:
-- its objects then belong to the bootstrap superuser.) Dumps read the tables, and
-- restores write them. Grant options are needed because a dump may contain grants to other roles.
-- Never grant TRIGGER or REFERENCES: superusers would run triggers on these tables.
GRANT USAGE ON SCHEMA _embed TO @extowner@ WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE
ON _embed.model, _embed.image, _embed.chunk, _embed.alias, _embed.default_model TO @extowner@ WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION embed_stat_reset(),
	embed_import(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb),
	embed_reimport(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb),
	embed_load(pg_catalog.text, pg_catalog.bytea, pg_catalog.jsonb),
	embed_drop(pg_catalog.text, pg_catalog.bool, pg_catalog.bool),
	embed_dependents(pg_catalog.text),
	embed_set_default(pg_catalog.text),
	embed_set_alias(pg_catalog.text, pg_catalog.text),
	embed_grant(pg_catalog.text),
	embed_revoke(pg_catalog.text)
TO @extowner@ WITH GRANT OPTION;

-- For the planner: the cost of calls and the number of rows they return.
CREATE FUNCTION _embed.support(request pg_catalog.internal) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_support' LANGUAGE C STRICT VOLATILE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _embed.support(pg_catalog.internal)
IS 'planner support for functions that take texts';

CREATE FUNCTION _embed.rerank_support(request pg_catalog.internal) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_rerank_support' LANGUAGE C STRICT VOLATILE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _embed.rerank_support(pg_catalog.internal)
IS 'planner support for functions that take a query and documents';

CREATE FUNCTION _embed.maxsim_support(request pg_catalog.internal) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_maxsim_support' LANGUAGE C STRICT VOLATILE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _embed.maxsim_support(pg_catalog.internal)
IS 'planner support for maxsim';

-- Embedding functions. With a model argument they are immutable, because a name keeps
-- its content for ever. Without a model argument they follow embed.model and the default.

CREATE FUNCTION embed(input pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_text' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed(pg_catalog.text)
IS 'vector of a text, by the default model';

CREATE FUNCTION embed(input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed(pg_catalog.text, pg_catalog.text)
IS 'vector of a text';

CREATE FUNCTION embed(input pg_catalog.text, model pg_catalog.text, dimensions pg_catalog.int4) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed(pg_catalog.text, pg_catalog.text, pg_catalog.int4)
IS 'vector of a text; cut to the given number of dimensions and normalized again';

CREATE FUNCTION embed_query(input pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_query_text' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_query(pg_catalog.text)
IS 'vector of a query, with the model''s query prompt, by the default model';

CREATE FUNCTION embed_query(input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_query_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_query(pg_catalog.text, pg_catalog.text)
IS 'vector of a query, with the model''s query prompt';

CREATE FUNCTION embed_query(input pg_catalog.text, model pg_catalog.text, dimensions pg_catalog.int4) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_query_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_query(pg_catalog.text, pg_catalog.text, pg_catalog.int4)
IS 'vector of a query, with the model''s query prompt; cut to the given number of dimensions and normalized again';

CREATE FUNCTION embed_query(input pg_catalog.text, model pg_catalog.text, instruction pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_query_instructed' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_query(pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'vector of a query, with an instruction in the place of the model''s own';

CREATE FUNCTION embed_query(input pg_catalog.text, model pg_catalog.text, instruction pg_catalog.text, dimensions pg_catalog.int4) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_query_instructed' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_query(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.int4)
IS 'vector of a query, with an instruction in the place of the model''s own; cut to the given number of dimensions and normalized again';

CREATE FUNCTION embed(input pg_catalog.text[]) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed(pg_catalog.text[])
IS 'vectors of texts, computed together, one row per text, by the default model';

CREATE FUNCTION embed(input pg_catalog.text[], model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed(pg_catalog.text[], pg_catalog.text)
IS 'vectors of texts, computed together, one row per text';

CREATE FUNCTION embed(input pg_catalog.text[], model pg_catalog.text, dimensions pg_catalog.int4) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed(pg_catalog.text[], pg_catalog.text, pg_catalog.int4)
IS 'vectors of texts, computed together, one row per text; cut to the given number of dimensions and normalized again';

-- embed_many takes only arrays, so that a client's parameter without a type is resolved to an array.

CREATE FUNCTION embed_many(input pg_catalog.text[]) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_many(pg_catalog.text[])
IS 'vectors of texts, computed together, one row per text, by the default model';

CREATE FUNCTION embed_many(input pg_catalog.text[], model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_many(pg_catalog.text[], pg_catalog.text)
IS 'vectors of texts, computed together, one row per text';

CREATE FUNCTION embed_many(input pg_catalog.text[], model pg_catalog.text, dimensions pg_catalog.int4) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_many(pg_catalog.text[], pg_catalog.text, pg_catalog.int4)
IS 'vectors of texts, computed together, one row per text; cut to the given number of dimensions and normalized again';

CREATE FUNCTION embed_rows(input pg_catalog.text[]) RETURNS TABLE (ordinality pg_catalog.int4, embedding pg_catalog.float4[])
AS 'MODULE_PATHNAME', 'embed_rows' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 ROWS 100 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_rows(pg_catalog.text[])
IS 'vectors of texts, computed together, as rows, by the default model';

CREATE FUNCTION embed_rows(input pg_catalog.text[], model pg_catalog.text) RETURNS TABLE (ordinality pg_catalog.int4, embedding pg_catalog.float4[])
AS 'MODULE_PATHNAME', 'embed_rows' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 ROWS 100 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_rows(pg_catalog.text[], pg_catalog.text)
IS 'vectors of texts, computed together, as rows';

CREATE FUNCTION embed_rows(input pg_catalog.text[], model pg_catalog.text, dimensions pg_catalog.int4) RETURNS TABLE (ordinality pg_catalog.int4, embedding pg_catalog.float4[])
AS 'MODULE_PATHNAME', 'embed_rows' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 ROWS 100 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_rows(pg_catalog.text[], pg_catalog.text, pg_catalog.int4)
IS 'vectors of texts, computed together, as rows; cut to the given number of dimensions and normalized again';

-- Rerankers. Volatility as for embedding functions; the setting is embed.reranker.

CREATE FUNCTION rerank(query pg_catalog.text, doc pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_rerank_pair' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank(pg_catalog.text, pg_catalog.text)
IS 'score of a document for a query, 0 to 1, by the default reranker';

CREATE FUNCTION rerank(query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_rerank_pair' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank(pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'score of a document for a query, 0 to 1';

CREATE FUNCTION rerank(query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text, instruction pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_rerank_pair' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'score of a document for a query, 0 to 1, with an instruction in the place of the model''s own';

CREATE FUNCTION rerank_logit(query pg_catalog.text, doc pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_rerank_logit' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_logit(pg_catalog.text, pg_catalog.text)
IS 'logit of a document for a query, of which rerank() is the sigmoid, by the default reranker';

CREATE FUNCTION rerank_logit(query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_rerank_logit' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_logit(pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'logit of a document for a query, of which rerank() is the sigmoid';

CREATE FUNCTION rerank_logit(query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text, instruction pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_rerank_logit' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_logit(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'logit of a document for a query, with an instruction in the place of the model''s own';


CREATE FUNCTION rerank(query pg_catalog.text, docs pg_catalog.text[]) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_rerank_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank(pg_catalog.text, pg_catalog.text[])
IS 'scores of documents for a query, computed together, in input order, by the default reranker';

CREATE FUNCTION rerank(query pg_catalog.text, docs pg_catalog.text[], model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_rerank_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank(pg_catalog.text, pg_catalog.text[], pg_catalog.text)
IS 'scores of documents for a query, computed together, in input order';

CREATE FUNCTION rerank(query pg_catalog.text, docs pg_catalog.text[], model pg_catalog.text, instruction pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_rerank_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank(pg_catalog.text, pg_catalog.text[], pg_catalog.text, pg_catalog.text)
IS 'scores of documents for a query, computed together, in input order, with an instruction in the place of the model''s own';


-- Like embed_many, rerank_many takes only arrays.

CREATE FUNCTION rerank_many(query pg_catalog.text, docs pg_catalog.text[]) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_rerank_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_many(pg_catalog.text, pg_catalog.text[])
IS 'scores of documents for a query, computed together, in input order, by the default reranker';

CREATE FUNCTION rerank_many(query pg_catalog.text, docs pg_catalog.text[], model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_rerank_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_many(pg_catalog.text, pg_catalog.text[], pg_catalog.text)
IS 'scores of documents for a query, computed together, in input order';

CREATE FUNCTION rerank_many(query pg_catalog.text, docs pg_catalog.text[], model pg_catalog.text, instruction pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_rerank_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_many(pg_catalog.text, pg_catalog.text[], pg_catalog.text, pg_catalog.text)
IS 'scores of documents for a query, computed together, in input order, with an instruction in the place of the model''s own';


CREATE FUNCTION rerank_top(query pg_catalog.text, docs pg_catalog.text[], k pg_catalog.int4) RETURNS TABLE (ordinality pg_catalog.int4, score pg_catalog.float4, doc pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_rerank_top' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 ROWS 10 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_top(pg_catalog.text, pg_catalog.text[], pg_catalog.int4)
IS 'the k best documents for a query, best first, with their positions in the array, by the default reranker';

CREATE FUNCTION rerank_top(query pg_catalog.text, docs pg_catalog.text[], k pg_catalog.int4, model pg_catalog.text) RETURNS TABLE (ordinality pg_catalog.int4, score pg_catalog.float4, doc pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_rerank_top' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 ROWS 10 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_top(pg_catalog.text, pg_catalog.text[], pg_catalog.int4, pg_catalog.text)
IS 'the k best documents for a query, best first, with their positions in the array';

CREATE FUNCTION rerank_top(query pg_catalog.text, docs pg_catalog.text[], k pg_catalog.int4, model pg_catalog.text, instruction pg_catalog.text) RETURNS TABLE (ordinality pg_catalog.int4, score pg_catalog.float4, doc pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_rerank_top' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 ROWS 10 SUPPORT _embed.rerank_support;
COMMENT ON FUNCTION rerank_top(pg_catalog.text, pg_catalog.text[], pg_catalog.int4, pg_catalog.text, pg_catalog.text)
IS 'the k best documents for a query, best first, with their positions in the array, with an instruction in the place of the model''s own';


-- Outputs per token: BGE-M3's, learned sparse models', ColBERT models'.

CREATE FUNCTION embed_sparse(input pg_catalog.text) RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_sparse' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse(pg_catalog.text)
IS 'token weights of a text, in the format of pgvector''s sparsevec, by the default model';

CREATE FUNCTION embed_sparse(input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_sparse' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse(pg_catalog.text, pg_catalog.text)
IS 'token weights of a text, in the format of pgvector''s sparsevec';

CREATE FUNCTION embed_multi(input pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_multi' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi(pg_catalog.text)
IS 'token vectors of a text, one row per token, for maxsim(), by the default model';

CREATE FUNCTION embed_multi(input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_multi' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi(pg_catalog.text, pg_catalog.text)
IS 'token vectors of a text, one row per token, for maxsim()';

CREATE FUNCTION embed_multi_query(input pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_multi_query' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_query(pg_catalog.text)
IS 'token vectors of a query, one row per token, for maxsim() with those of embed_multi(), by the default model';

CREATE FUNCTION embed_multi_query(input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_multi_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_query(pg_catalog.text, pg_catalog.text)
IS 'token vectors of a query, one row per token, for maxsim() with those of embed_multi()';

CREATE FUNCTION embed_sparse(input pg_catalog.text[]) RETURNS pg_catalog.text[]
AS 'MODULE_PATHNAME', 'embed_sparse_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse(pg_catalog.text[])
IS 'token weights of texts, computed together, one element per text, by the default model';

CREATE FUNCTION embed_sparse(input pg_catalog.text[], model pg_catalog.text) RETURNS pg_catalog.text[]
AS 'MODULE_PATHNAME', 'embed_sparse_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse(pg_catalog.text[], pg_catalog.text)
IS 'token weights of texts, computed together, one element per text';

-- Like embed_many, embed_sparse_many takes only arrays.

CREATE FUNCTION embed_sparse_many(input pg_catalog.text[]) RETURNS pg_catalog.text[]
AS 'MODULE_PATHNAME', 'embed_sparse_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse_many(pg_catalog.text[])
IS 'token weights of texts, computed together, one element per text, by the default model';

CREATE FUNCTION embed_sparse_many(input pg_catalog.text[], model pg_catalog.text) RETURNS pg_catalog.text[]
AS 'MODULE_PATHNAME', 'embed_sparse_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse_many(pg_catalog.text[], pg_catalog.text)
IS 'token weights of texts, computed together, one element per text';

CREATE FUNCTION embed_sparse_query(input pg_catalog.text) RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_sparse_query' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse_query(pg_catalog.text)
IS 'token weights of a query, for the dot product with those of embed_sparse(), by the default model';

CREATE FUNCTION embed_sparse_query(input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_sparse_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse_query(pg_catalog.text, pg_catalog.text)
IS 'token weights of a query, for the dot product with those of embed_sparse()';

CREATE FUNCTION embed_sparse_query(input pg_catalog.text[]) RETURNS pg_catalog.text[]
AS 'MODULE_PATHNAME', 'embed_sparse_query_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse_query(pg_catalog.text[])
IS 'token weights of queries, computed together, one element per query, by the default model';

CREATE FUNCTION embed_sparse_query(input pg_catalog.text[], model pg_catalog.text) RETURNS pg_catalog.text[]
AS 'MODULE_PATHNAME', 'embed_sparse_query_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_sparse_query(pg_catalog.text[], pg_catalog.text)
IS 'token weights of queries, computed together, one element per query';

-- Texts differ in their number of tokens, so their token vectors are an array of rows.

CREATE TYPE embed_token_vectors AS (vectors pg_catalog.float4[]);
COMMENT ON TYPE embed_token_vectors IS 'token vectors of one text, as embed_multi() returns them';

CREATE FUNCTION embed_multi(input pg_catalog.text[]) RETURNS embed_token_vectors[]
AS 'MODULE_PATHNAME', 'embed_multi_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi(pg_catalog.text[])
IS 'token vectors of texts, computed together, one element per text, by the default model';

CREATE FUNCTION embed_multi(input pg_catalog.text[], model pg_catalog.text) RETURNS embed_token_vectors[]
AS 'MODULE_PATHNAME', 'embed_multi_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi(pg_catalog.text[], pg_catalog.text)
IS 'token vectors of texts, computed together, one element per text';

CREATE FUNCTION embed_multi_many(input pg_catalog.text[]) RETURNS embed_token_vectors[]
AS 'MODULE_PATHNAME', 'embed_multi_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_many(pg_catalog.text[])
IS 'token vectors of texts, computed together, one element per text, by the default model';

CREATE FUNCTION embed_multi_many(input pg_catalog.text[], model pg_catalog.text) RETURNS embed_token_vectors[]
AS 'MODULE_PATHNAME', 'embed_multi_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_many(pg_catalog.text[], pg_catalog.text)
IS 'token vectors of texts, computed together, one element per text';

CREATE FUNCTION embed_multi_query(input pg_catalog.text[]) RETURNS embed_token_vectors[]
AS 'MODULE_PATHNAME', 'embed_multi_query_array' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_query(pg_catalog.text[])
IS 'token vectors of queries, computed together, one element per query, by the default model';

CREATE FUNCTION embed_multi_query(input pg_catalog.text[], model pg_catalog.text) RETURNS embed_token_vectors[]
AS 'MODULE_PATHNAME', 'embed_multi_query_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_query(pg_catalog.text[], pg_catalog.text)
IS 'token vectors of queries, computed together, one element per query';

CREATE FUNCTION embed_multi_rows(input pg_catalog.text[]) RETURNS TABLE (ordinality pg_catalog.int4, embedding pg_catalog.float4[])
AS 'MODULE_PATHNAME', 'embed_multi_rows' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 ROWS 100 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_rows(pg_catalog.text[])
IS 'token vectors of texts, computed together, as rows, by the default model';

CREATE FUNCTION embed_multi_rows(input pg_catalog.text[], model pg_catalog.text) RETURNS TABLE (ordinality pg_catalog.int4, embedding pg_catalog.float4[])
AS 'MODULE_PATHNAME', 'embed_multi_rows' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 ROWS 100 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_multi_rows(pg_catalog.text[], pg_catalog.text)
IS 'token vectors of texts, computed together, as rows';

CREATE FUNCTION embed_all(input pg_catalog.text, OUT dense pg_catalog.float4[], OUT sparse pg_catalog.text, OUT multi pg_catalog.float4[])
AS 'MODULE_PATHNAME', 'embed_all' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_all(pg_catalog.text)
IS 'the results of embed(), embed_sparse() and embed_multi(), computed in one pass, by the default model';

CREATE FUNCTION embed_all(input pg_catalog.text, model pg_catalog.text, OUT dense pg_catalog.float4[], OUT sparse pg_catalog.text, OUT multi pg_catalog.float4[])
AS 'MODULE_PATHNAME', 'embed_all' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000 SUPPORT _embed.support;
COMMENT ON FUNCTION embed_all(pg_catalog.text, pg_catalog.text)
IS 'the results of embed(), embed_sparse() and embed_multi(), computed in one pass';

CREATE FUNCTION maxsim(query pg_catalog.float4[], doc pg_catalog.float4[]) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_maxsim' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 500 SUPPORT _embed.maxsim_support;
COMMENT ON FUNCTION maxsim(pg_catalog.float4[], pg_catalog.float4[])
IS 'late interaction of results of embed_multi_query() and embed_multi(): for each query vector the best dot product with a document vector, then the mean';

CREATE FUNCTION embed_sparse_dot(a pg_catalog.text, b pg_catalog.text) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_sparse_dot' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 20;
COMMENT ON FUNCTION embed_sparse_dot(pg_catalog.text, pg_catalog.text)
IS 'dot product of two results of embed_sparse(), without pgvector';

CREATE FUNCTION embed_tokens(input pg_catalog.text) RETURNS pg_catalog.int4[]
AS 'MODULE_PATHNAME', 'embed_tokens' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION embed_tokens(pg_catalog.text)
IS 'the token ids that the model reads, by the default model';

CREATE FUNCTION embed_tokens(input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.int4[]
AS 'MODULE_PATHNAME', 'embed_tokens' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION embed_tokens(pg_catalog.text, pg_catalog.text)
IS 'the token ids that the model reads';

CREATE FUNCTION embed_info(input pg_catalog.text, OUT tokens pg_catalog.int4, OUT max_tokens pg_catalog.int4, OUT truncated pg_catalog.bool)
AS 'MODULE_PATHNAME', 'embed_info' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION embed_info(pg_catalog.text)
IS 'number of tokens of a text, the model''s maximum, and whether embed() would cut the text, by the default model';

CREATE FUNCTION embed_info(input pg_catalog.text, model pg_catalog.text, OUT tokens pg_catalog.int4, OUT max_tokens pg_catalog.int4, OUT truncated pg_catalog.bool)
AS 'MODULE_PATHNAME', 'embed_info' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION embed_info(pg_catalog.text, pg_catalog.text)
IS 'number of tokens of a text, the model''s maximum, and whether embed() would cut the text';

CREATE FUNCTION embed_chunks(input pg_catalog.text, max_tokens pg_catalog.int4, overlap pg_catalog.int4) RETURNS TABLE (ordinality pg_catalog.int4, start_char pg_catalog.int4, end_char pg_catalog.int4, tokens pg_catalog.int4, chunk pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_chunks' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000 ROWS 20;
COMMENT ON FUNCTION embed_chunks(pg_catalog.text, pg_catalog.int4, pg_catalog.int4)
IS 'a text cut into chunks of at most max_tokens tokens, by the default model';

CREATE FUNCTION embed_chunks(input pg_catalog.text, max_tokens pg_catalog.int4, overlap pg_catalog.int4, model pg_catalog.text) RETURNS TABLE (ordinality pg_catalog.int4, start_char pg_catalog.int4, end_char pg_catalog.int4, tokens pg_catalog.int4, chunk pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_chunks' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1000 ROWS 20;
COMMENT ON FUNCTION embed_chunks(pg_catalog.text, pg_catalog.int4, pg_catalog.int4, pg_catalog.text)
IS 'a text cut into chunks of at most max_tokens tokens';

CREATE FUNCTION embed_cosine(a pg_catalog.float4[], b pg_catalog.float4[]) RETURNS pg_catalog.float4
AS 'MODULE_PATHNAME', 'embed_cosine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION embed_cosine(pg_catalog.float4[], pg_catalog.float4[])
IS 'cosine similarity of two vectors, -1 to 1; 0 if a vector has length 0';

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

CREATE FUNCTION embed_isa() RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_isa' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION embed_isa()
IS 'the ISA level in use';

CREATE FUNCTION embed_fingerprint(model pg_catalog.text) RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'embed_fingerprint' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION embed_fingerprint(pg_catalog.text)
IS 'the fingerprint of a model: 64 hexadecimal digits; a model argument "name@digits" with 8 or more of them is refused where the name stands for another image';

CREATE FUNCTION embed_verify(name pg_catalog.text) RETURNS TABLE ("check" pg_catalog.text, ok pg_catalog.bool, detail pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_verify' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 5;
COMMENT ON FUNCTION embed_verify(pg_catalog.text)
IS 'recompute a model''s reference texts on this machine and compare ids, bits and cosines with the import';

CREATE FUNCTION embed_compare(a pg_catalog.text) RETURNS TABLE (measure pg_catalog.text, n pg_catalog.int4,
	p50 pg_catalog.float8, p05 pg_catalog.float8, min pg_catalog.float8, verdict pg_catalog.text, rule pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_compare_references' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 2;
COMMENT ON FUNCTION embed_compare(pg_catalog.text)
IS 'agreement of a model with its unquantized form, on the reference texts of its image';

CREATE FUNCTION embed_compare(a pg_catalog.text, b pg_catalog.text) RETURNS TABLE (measure pg_catalog.text, n pg_catalog.int4,
	p50 pg_catalog.float8, p05 pg_catalog.float8, min pg_catalog.float8, verdict pg_catalog.text, rule pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_compare' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 3;
COMMENT ON FUNCTION embed_compare(pg_catalog.text, pg_catalog.text)
IS 'agreement of two models on the reference texts of the first';

CREATE FUNCTION embed_compare(a pg_catalog.text, b pg_catalog.text, texts pg_catalog.text[]) RETURNS TABLE (measure pg_catalog.text, n pg_catalog.int4,
	p50 pg_catalog.float8, p05 pg_catalog.float8, min pg_catalog.float8, verdict pg_catalog.text, rule pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_compare' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 3;
COMMENT ON FUNCTION embed_compare(pg_catalog.text, pg_catalog.text, pg_catalog.text[])
IS 'agreement of two models on texts; for rerankers the texts are a query and a document in turn';

CREATE FUNCTION embed_trigger() RETURNS pg_catalog.trigger
AS 'MODULE_PATHNAME', 'embed_trigger' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION embed_trigger()
IS 'row trigger: embed_trigger(vector column, text columns [, model or alias [, now or later]])';

-- Checks each new embed_trigger: reports at once the errors that the first row would
-- report, and records the fingerprint of the model that an alias stands for. Records the
-- columns of kept columns' triggers, and follows ALTER TABLE in them.
CREATE FUNCTION _embed.trigger_made() RETURNS pg_catalog.event_trigger
AS 'MODULE_PATHNAME', 'embed_trigger_made' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100;
COMMENT ON FUNCTION _embed.trigger_made()
IS 'checks a new embed_trigger, and records its model and columns; follows ALTER TABLE';

CREATE EVENT TRIGGER embed_trigger_made ON ddl_command_end
	WHEN TAG IN ('CREATE TRIGGER', 'ALTER TRIGGER', 'ALTER TABLE', 'CREATE SCHEMA')
	EXECUTE FUNCTION _embed.trigger_made();
-- also under session_replication_role = replica
ALTER EVENT TRIGGER embed_trigger_made ENABLE ALWAYS;
CREATE EVENT TRIGGER embed_alter_table ON ddl_command_start
	WHEN TAG IN ('ALTER TABLE')
	EXECUTE FUNCTION _embed.trigger_made();
ALTER EVENT TRIGGER embed_alter_table ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER embed_alter_table
IS 'lets ALTER TABLE change types of kept columns where no text changes';
COMMENT ON EVENT TRIGGER embed_trigger_made
IS 'checks a new embed_trigger, and records its model and columns; follows ALTER TABLE';

-- Kept columns: for the table's owner, with the rights of the caller.
CREATE FUNCTION embed_column(tab pg_catalog.regclass, source pg_catalog.text, vector pg_catalog.name DEFAULT 'embedding',
							 model pg_catalog.text DEFAULT NULL, mode pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_column' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION embed_column(pg_catalog.regclass, pg_catalog.text, pg_catalog.name, pg_catalog.text, pg_catalog.text)
IS 'keep a column of vectors equal to embed(source columns): adds column, trigger and index, or changes them; mode: now or later';

CREATE FUNCTION embed_column_drop(tab pg_catalog.regclass, vector pg_catalog.name) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_column_drop' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION embed_column_drop(pg_catalog.regclass, pg_catalog.name)
IS 'end what embed_column began: drop trigger and index; the column and its vectors stay';

CREATE FUNCTION embed_check(tab pg_catalog.regclass, vector pg_catalog.name, sample pg_catalog.int4 DEFAULT NULL)
RETURNS TABLE (verdict pg_catalog.text, n pg_catalog.int8, part pg_catalog.regclass, tid pg_catalog.tid, key pg_catalog.jsonb)
AS 'MODULE_PATHNAME', 'embed_column_check' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 10;
COMMENT ON FUNCTION embed_check(pg_catalog.regclass, pg_catalog.name, pg_catalog.int4)
IS 'vectors of a kept column that are not those of their texts: counts, then the rows; sample: so many vectors, chosen at random';

-- Chunk tables.

CREATE FUNCTION embed_chunk_trigger() RETURNS pg_catalog.trigger
AS 'MODULE_PATHNAME', 'embed_chunk_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION embed_chunk_trigger()
IS 'constraint trigger that embed_chunk_table creates: embed_chunk_trigger(text columns, max_tokens, overlap, model)';

CREATE FUNCTION embed_chunk_table(tab pg_catalog.regclass, source pg_catalog.text, max_tokens pg_catalog.int4, overlap pg_catalog.int4,
	model pg_catalog.text DEFAULT NULL, mode pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.regclass
AS 'MODULE_PATHNAME', 'embed_chunk_table' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION embed_chunk_table(pg_catalog.regclass, pg_catalog.text, pg_catalog.int4, pg_catalog.int4, pg_catalog.text, pg_catalog.text)
IS 'creates or changes a table of the chunks of a table''s texts, kept by a trigger, with their embeddings';

-- Aggregates. Their states hold pointers, so they have no combine and
-- serialize functions. The final functions do not modify the state.

CREATE FUNCTION _embed.agg_accum(state pg_catalog.internal, input pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_agg_accum' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.agg_accum(pg_catalog.internal, pg_catalog.text)
IS 'transition function of embed_agg';

CREATE FUNCTION _embed.agg_accum(state pg_catalog.internal, input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_agg_accum' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.agg_accum(pg_catalog.internal, pg_catalog.text, pg_catalog.text)
IS 'transition function of embed_agg';

CREATE FUNCTION _embed.agg_final(state pg_catalog.internal) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_agg_final' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.agg_final(pg_catalog.internal)
IS 'final function of embed_agg';

CREATE AGGREGATE embed_agg(input pg_catalog.text) (
	SFUNC = _embed.agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_agg(pg_catalog.text)
IS 'vectors of a group''s texts, in input order, by the default model';

CREATE AGGREGATE embed_agg(input pg_catalog.text, model pg_catalog.text) (
	SFUNC = _embed.agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_agg(pg_catalog.text, pg_catalog.text)
IS 'vectors of a group''s texts, in input order';

CREATE FUNCTION _embed.sparse_agg_accum(state pg_catalog.internal, input pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_sparse_agg_accum' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.sparse_agg_accum(pg_catalog.internal, pg_catalog.text)
IS 'transition function of embed_sparse_agg';

CREATE FUNCTION _embed.sparse_agg_accum(state pg_catalog.internal, input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_sparse_agg_accum' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.sparse_agg_accum(pg_catalog.internal, pg_catalog.text, pg_catalog.text)
IS 'transition function of embed_sparse_agg';

CREATE FUNCTION _embed.sparse_agg_final(state pg_catalog.internal) RETURNS pg_catalog.text[]
AS 'MODULE_PATHNAME', 'embed_sparse_agg_final' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.sparse_agg_final(pg_catalog.internal)
IS 'final function of embed_sparse_agg';

CREATE AGGREGATE embed_sparse_agg(input pg_catalog.text) (
	SFUNC = _embed.sparse_agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.sparse_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_sparse_agg(pg_catalog.text)
IS 'token weights of a group''s texts, in input order, by the default model';

CREATE AGGREGATE embed_sparse_agg(input pg_catalog.text, model pg_catalog.text) (
	SFUNC = _embed.sparse_agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.sparse_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_sparse_agg(pg_catalog.text, pg_catalog.text)
IS 'token weights of a group''s texts, in input order';

CREATE FUNCTION _embed.multi_agg_accum(state pg_catalog.internal, input pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_multi_agg_accum' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.multi_agg_accum(pg_catalog.internal, pg_catalog.text)
IS 'transition function of embed_multi_agg';

CREATE FUNCTION _embed.multi_agg_accum(state pg_catalog.internal, input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_multi_agg_accum' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.multi_agg_accum(pg_catalog.internal, pg_catalog.text, pg_catalog.text)
IS 'transition function of embed_multi_agg';

CREATE FUNCTION _embed.multi_agg_final(state pg_catalog.internal) RETURNS embed_token_vectors[]
AS 'MODULE_PATHNAME', 'embed_multi_agg_final' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.multi_agg_final(pg_catalog.internal)
IS 'final function of embed_multi_agg';

CREATE AGGREGATE embed_multi_agg(input pg_catalog.text) (
	SFUNC = _embed.multi_agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.multi_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_multi_agg(pg_catalog.text)
IS 'token vectors of a group''s texts, in input order, by the default model';

CREATE AGGREGATE embed_multi_agg(input pg_catalog.text, model pg_catalog.text) (
	SFUNC = _embed.multi_agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.multi_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_multi_agg(pg_catalog.text, pg_catalog.text)
IS 'token vectors of a group''s texts, in input order';

CREATE FUNCTION _embed.avg_accum(state pg_catalog.internal, input pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_avg_accum' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.avg_accum(pg_catalog.internal, pg_catalog.text)
IS 'transition function of embed_avg';

CREATE FUNCTION _embed.avg_accum(state pg_catalog.internal, input pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_avg_accum' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.avg_accum(pg_catalog.internal, pg_catalog.text, pg_catalog.text)
IS 'transition function of embed_avg';

CREATE FUNCTION _embed.avg_final(state pg_catalog.internal) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_avg_final' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.avg_final(pg_catalog.internal)
IS 'final function of embed_avg';

CREATE AGGREGATE embed_avg(input pg_catalog.text) (
	SFUNC = _embed.avg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.avg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_avg(pg_catalog.text)
IS 'normalized mean of the vectors of a group''s texts, by the default model';

CREATE AGGREGATE embed_avg(input pg_catalog.text, model pg_catalog.text) (
	SFUNC = _embed.avg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.avg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE embed_avg(pg_catalog.text, pg_catalog.text)
IS 'normalized mean of the vectors of a group''s texts';

CREATE FUNCTION _embed.rerank_agg_accum(state pg_catalog.internal, query pg_catalog.text, doc pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_rerank_agg_accum' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.rerank_agg_accum(pg_catalog.internal, pg_catalog.text, pg_catalog.text)
IS 'transition function of rerank_agg';

CREATE FUNCTION _embed.rerank_agg_accum(state pg_catalog.internal, query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_rerank_agg_accum' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.rerank_agg_accum(pg_catalog.internal, pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'transition function of rerank_agg';

CREATE FUNCTION _embed.rerank_agg_accum(state pg_catalog.internal, query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text, instruction pg_catalog.text) RETURNS pg_catalog.internal
AS 'MODULE_PATHNAME', 'embed_rerank_agg_accum' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.rerank_agg_accum(pg_catalog.internal, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'transition function of rerank_agg';


CREATE FUNCTION _embed.rerank_agg_final(state pg_catalog.internal) RETURNS pg_catalog.float4[]
AS 'MODULE_PATHNAME', 'embed_rerank_agg_final' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _embed.rerank_agg_final(pg_catalog.internal)
IS 'final function of rerank_agg';

CREATE AGGREGATE rerank_agg(query pg_catalog.text, doc pg_catalog.text) (
	SFUNC = _embed.rerank_agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.rerank_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rerank_agg(pg_catalog.text, pg_catalog.text)
IS 'scores of a group''s documents for one query, in input order, by the default reranker';

CREATE AGGREGATE rerank_agg(query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text) (
	SFUNC = _embed.rerank_agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.rerank_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rerank_agg(pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'scores of a group''s documents for one query, in input order';

CREATE AGGREGATE rerank_agg(query pg_catalog.text, doc pg_catalog.text, model pg_catalog.text, instruction pg_catalog.text) (
	SFUNC = _embed.rerank_agg_accum,
	STYPE = pg_catalog.internal,
	SSPACE = 8192,
	FINALFUNC = _embed.rerank_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rerank_agg(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)
IS 'scores of a group''s documents for one query, in input order, with an instruction in the place of the model''s own';


-- Kept columns: what is filled, by whom, and what could not be.

CREATE TABLE _embed.failure (
	tab pg_catalog.oid NOT NULL,
	vector pg_catalog.name NOT NULL,
	text_hash pg_catalog.int8 NOT NULL,
	sqlstate pg_catalog.text NOT NULL,
	message pg_catalog.text NOT NULL,
	tries pg_catalog.int4 NOT NULL,
	at pg_catalog.timestamptz NOT NULL,
	CONSTRAINT failure_pkey PRIMARY KEY (tab, vector, text_hash)
);
COMMENT ON TABLE _embed.failure IS 'texts that could not be filled; not dumped: another server tries again';

-- A publication FOR ALL TABLES carries this table, too, whose OIDs are another server's.
CREATE FUNCTION _embed.failure_trigger() RETURNS pg_catalog.trigger
AS 'MODULE_PATHNAME', 'embed_failure_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1;
COMMENT ON FUNCTION _embed.failure_trigger()
IS 'row trigger of _embed.failure: leaves out what apply workers bring from another server';
REVOKE ALL ON FUNCTION _embed.failure_trigger() FROM PUBLIC;
CREATE TRIGGER embed_failure BEFORE INSERT OR UPDATE OR DELETE ON _embed.failure FOR EACH ROW EXECUTE FUNCTION _embed.failure_trigger();
ALTER TABLE _embed.failure ENABLE REPLICA TRIGGER embed_failure;

CREATE VIEW embed_failures AS
SELECT f.tab::pg_catalog.regclass AS tab, f.vector, f.text_hash, f.sqlstate, f.message, f.tries, f.at
FROM _embed.failure f
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) f.tab
WHERE pg_catalog.has_table_privilege(c.oid, 'SELECT');
COMMENT ON VIEW embed_failures IS 'texts of kept columns that could not be filled; they are tried again after a change of the text, or after embed_retry()';
COMMENT ON COLUMN embed_failures.text_hash IS 'identifies the text, which the view does not show';
GRANT SELECT ON embed_failures TO PUBLIC;

CREATE FUNCTION _embed.kept_columns() RETURNS TABLE (tab pg_catalog.oid, source pg_catalog.text, vector pg_catalog.name,
	model pg_catalog.text, fingerprint pg_catalog.text, mode pg_catalog.text, status pg_catalog.text,
	to_do pg_catalog.int8, failed pg_catalog.int8, filled pg_catalog.int8, rows_per_s pg_catalog.float8,
	eta pg_catalog.interval, oldest_pending pg_catalog.timestamptz, filler_pid pg_catalog.int4,
	last_error pg_catalog.text, last_error_at pg_catalog.timestamptz, last_success_at pg_catalog.timestamptz,
	mixed pg_catalog.bool)
AS 'MODULE_PATHNAME', 'embed_kept_rows' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE COST 10000 ROWS 10;
COMMENT ON FUNCTION _embed.kept_columns() IS 'kept columns of the tables that the caller may SELECT from';

CREATE VIEW embed_columns AS
SELECT k.tab::pg_catalog.regclass AS tab, k.source, k.vector, k.model, k.fingerprint, k.mode, k.status, k.to_do, k.failed,
	k.filled, k.rows_per_s, k.eta, k.oldest_pending, k.filler_pid, k.last_error, k.last_error_at, k.last_success_at, k.mixed
FROM _embed.kept_columns() k;
COMMENT ON VIEW embed_columns IS 'vector columns that embed_trigger keeps, and how complete they are';
COMMENT ON COLUMN embed_columns.status IS 'complete, filling, waiting for a worker, failing, or off (nothing fills the column: last_error says why, or embed.background is off)';
COMMENT ON COLUMN embed_columns.to_do IS 'rows with a text and without a vector, counted now, including those that failed; NULL if the trigger fails at every row';
COMMENT ON COLUMN embed_columns.failed IS 'texts recorded in embed_failures';
COMMENT ON COLUMN embed_columns.filled IS 'vectors written by fillers and embed_fill since the control file was made';
COMMENT ON COLUMN embed_columns.oldest_pending IS 'when the first of the commits that wait for a filler left something to do in this column; in any column of the database, where that is not known';
COMMENT ON COLUMN embed_columns.mixed IS 'whether the name in the trigger stands for another model than when the trigger was made: nothing is computed then, and model and fingerprint are those of the vectors';
GRANT SELECT ON embed_columns TO PUBLIC;

CREATE PROCEDURE embed_fill(tab pg_catalog.regclass DEFAULT NULL, seconds pg_catalog.int4 DEFAULT NULL)
AS 'MODULE_PATHNAME', 'embed_fill' LANGUAGE C;
COMMENT ON PROCEDURE embed_fill(pg_catalog.regclass, pg_catalog.int4)
IS 'fills kept columns here and now, with a COMMIT about once a second: of a table or its partitions, or of all tables that the caller may UPDATE';

CREATE PROCEDURE embed_refill(tab pg_catalog.regclass, vector pg_catalog.name, model pg_catalog.text)
AS 'MODULE_PATHNAME', 'embed_refill' LANGUAGE C;
COMMENT ON PROCEDURE embed_refill(pg_catalog.regclass, pg_catalog.name, pg_catalog.text)
IS 'makes, keeps and fills a column of another model''s vectors beside a kept column, <vector>__next; goes on where an earlier call ended';

CREATE FUNCTION embed_switch(tab pg_catalog.regclass, vector pg_catalog.name) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'embed_switch' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION embed_switch(pg_catalog.regclass, pg_catalog.name)
IS 'lets <vector>__next take the place of a kept column, which becomes <vector>__prev; again: goes back';

CREATE FUNCTION embed_retry(tab pg_catalog.regclass DEFAULT NULL) RETURNS pg_catalog.int8
AS 'MODULE_PATHNAME', 'embed_retry' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION embed_retry(pg_catalog.regclass)
IS 'forgets recorded failures of a table, or of all tables that the caller may UPDATE; returns their number';
