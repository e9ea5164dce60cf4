// Search by meaning with node-postgres. PGHOST, PGPORT, PGUSER, PGDATABASE and so on as for psql.
// The database has the extension embed with a default model.
const assert = require("node:assert");
const { Pool } = require("pg");

const TEXTS = ["Refunds are paid within five days.", "The parcel was damaged on its way.", "Choose a new password in the settings."];
const pool = new Pool({ host: process.env.PGHOST, statement_timeout: 30000 });

async function create() {
	await pool.query("DROP SCHEMA IF EXISTS example_node CASCADE");
	await pool.query("CREATE SCHEMA example_node");
	await pool.query("CREATE TABLE example_node.notes (id int PRIMARY KEY, body text)");
	await pool.query("SELECT embed_column('example_node.notes', 'body')");
}

// One statement, so the texts are computed together.
async function insert(texts) {
	await pool.query("INSERT INTO example_node.notes (id, body) SELECT i, t FROM unnest($1::text[]) WITH ORDINALITY AS u(t, i)", [texts]);
}

async function search(query, limit = 5) {
	const { rows: [{ by_operator }] } = await pool.query("SELECT count(*) > 0 AS by_operator FROM pg_extension WHERE extname = 'embed_pgvector'");
	const order = by_operator ? "embedding <=> embed_query($1)" : "embed_cosine(embedding, embed_query($1)) DESC";
	const { rows } = await pool.query({ name: "search", text: `SELECT id, body FROM example_node.notes ORDER BY ${order} LIMIT $2`, values: [query, limit] });
	return rows;
}

// An array goes to embed_many: embed($1) would take it for one text.
async function vectorsOf(texts) {
	const { rows: [{ vectors }] } = await pool.query("SELECT embed_many($1) AS vectors", [texts]);
	return vectors;
}

async function main() {
	await create();
	await insert(TEXTS);
	const found = await search("I want my money back");
	console.log(found);
	assert.equal(found[0].body, TEXTS[0]);

	const vectors = await vectorsOf([...TEXTS, null]);
	assert.equal(vectors.length, 4);
	assert.equal(typeof vectors[0][0], "number");
	assert.ok(vectors[3].every((element) => element === null), "the row of a NULL text has only NULLs");
	const { rows: [{ same }] } = await pool.query("SELECT embed_cosine(embed($1), $2) AS same", [TEXTS[0], vectors[0]]);
	assert.ok(same > 0.99999);
	await pool.query("DROP SCHEMA example_node CASCADE");
	await pool.end();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
