/* embed - from 0.1.0 to 0.2.0. What is new here stands in sql/embed.sql, too: CONTRIBUTING.md has the recipe. */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION embed UPDATE" to load this file. \quit

-- Creating this function also tells running sessions to look at the version again (catalog_version.c).
CREATE FUNCTION embed_version(OUT library pg_catalog.text, OUT extension pg_catalog.text,
							  OUT image_layout pg_catalog.int4, OUT image_numerics pg_catalog.int4)
AS 'MODULE_PATHNAME', 'embed_version' LANGUAGE C STRICT STABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION embed_version()
IS 'versions of the library, of the SQL objects in this database, and of the images that the library can use';
