/* embed_pgvector - SQL objects. Copied to sql/embed_pgvector--VERSION.sql by make. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION embed_pgvector" to load this file. \quit

-- pgvector casts real[] to its types only on assignment, so "embedding <=> embed_query('..')" finds
-- no operator. The operators made here take real[] on either side. Their functions are one
-- expression each, which the planner puts in the place of the call: what is left is pgvector's own
-- operator with a cast, and its indexes are used.
--
-- pgvector resolves halfvec <=> vector by its implicit cast of vector to halfvec. It casts vector to
-- real[] implicitly, too, so there would be two choices now. The operators of (halfvec, vector) and
-- (vector, halfvec) keep the first one: arguments that match exactly win.
--
-- The schemas are looked up: @extschema:vector@ exists only from PostgreSQL 16 on. From 14 on the
-- bodies are parsed here and now, and ALTER EXTENSION vector SET SCHEMA does not touch them; 13
-- keeps their text.
DO $script$
DECLARE
	here pg_catalog.text := pg_catalog.quote_ident(pg_catalog.current_schema()::pg_catalog.text);
	theirs pg_catalog.text;
	version pg_catalog.text;
	body pg_catalog.text;
	made record;
BEGIN
	SELECT pg_catalog.quote_ident(n.nspname), e.extversion INTO STRICT theirs, version
	FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
	WHERE e.extname OPERATOR(pg_catalog.=) 'vector';

	IF pg_catalog.to_regtype(pg_catalog.format('%s.halfvec', theirs)) IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
			MESSAGE = pg_catalog.format('extension "vector" has version %s, and embed_pgvector needs 0.7.0 or later', version),
			HINT = 'Install a newer pgvector, then run: ALTER EXTENSION vector UPDATE';
	END IF;

	FOR made IN
		SELECT o.sign, o.name, o.what,
			pg_catalog.format(a.arg_left, theirs) AS arg_left, pg_catalog.format(a.arg_right, theirs) AS arg_right,
			pg_catalog.format(a.value_left, theirs) AS value_left, pg_catalog.format(a.value_right, theirs) AS value_right
		FROM (VALUES
			('<=>', 'embed_cosine_distance', 'cosine distance'),
			('<->', 'embed_l2_distance', 'Euclidean distance'),
			('<#>', 'embed_negative_inner_product', 'negative inner product'),
			('<+>', 'embed_l1_distance', 'taxicab distance')) AS o(sign, name, what),
			(VALUES
			('%s.vector', 'pg_catalog.float4[]', '$1', '$2::%s.vector'),
			('pg_catalog.float4[]', '%s.vector', '$1::%s.vector', '$2'),
			('%s.halfvec', 'pg_catalog.float4[]', '$1', '$2::%s.halfvec'),
			('pg_catalog.float4[]', '%s.halfvec', '$1::%s.halfvec', '$2'),
			('%s.halfvec', '%s.vector', '$1', '$2::%s.halfvec'),
			('%s.vector', '%s.halfvec', '$1::%s.halfvec', '$2')) AS a(arg_left, arg_right, value_left, value_right)
	LOOP
		body := pg_catalog.format('%s OPERATOR(%s.%s) %s', made.value_left, theirs, made.sign, made.value_right);
		IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 140000 THEN
			body := pg_catalog.format('RETURN %s', body);
		ELSE
			body := pg_catalog.format('AS %L', pg_catalog.format('SELECT %s', body));
		END IF;
		EXECUTE pg_catalog.format('CREATE FUNCTION %s.%s(%s, %s) RETURNS pg_catalog.float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE %s',
			here, made.name, made.arg_left, made.arg_right, body);
		EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s.%s(%s, %s) IS %L',
			here, made.name, made.arg_left, made.arg_right, pg_catalog.format('%s, by pgvector''s operator %s', made.what, made.sign));
		EXECUTE pg_catalog.format('CREATE OPERATOR %s.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %s.%s)',
			here, made.sign, made.arg_left, made.arg_right, here, made.name);
		EXECUTE pg_catalog.format('COMMENT ON OPERATOR %s.%s (%s, %s) IS %L',
			here, made.sign, made.arg_left, made.arg_right, made.what);
	END LOOP;
END
$script$;
