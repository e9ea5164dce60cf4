#!/bin/sh
# The first start of a container: the extensions, and a model from each folder of /models, in the order
# of their names. The first that embeds becomes the default, and so does the first that reranks.
# The image's entrypoint runs this once, for an empty data directory; a folder that is no model stops it.
set -e

as_owner()
{
	psql -X -q -v ON_ERROR_STOP=1 --no-password --username "$POSTGRES_USER" --dbname "${POSTGRES_DB:-$POSTGRES_USER}" "$@"
}

as_owner -c 'CREATE EXTENSION IF NOT EXISTS embed_pgvector CASCADE'
for model in /models/*/
do
	[ -d "$model" ] || continue
	echo "embed: importing $model"
	as_owner -v name="$(basename "$model")" -v path="${model%/}" <<'SQL'
SELECT embed_import(:'name', :'path') IS NOT NULL AS imported \gset
SQL
done
