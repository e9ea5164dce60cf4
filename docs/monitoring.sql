-- Queries for an exporter (postgres_exporter, sql_exporter): each is one metric, or a few of one kind.
-- The comment before a query is its name, and the condition that people alert on.
-- Any role may run them: everything here is granted to PUBLIC. Counters are since embed_latency.since.

-- embed_latency_ms: p99_ms > 100; rate(slow_calls) > 0
SELECT name AS model, calls, slow_calls, p50_ms, p95_ms, p99_ms, max_ms FROM embed_latency WHERE calls > 0;

-- embed_calls: rate(errors) > 0; rate(truncations) > 0
SELECT name AS model, calls, texts, tokens, truncations, errors, cache_hits FROM embed_stat;

-- embed_time_ms: rate(wait_ms) > rate(compute_ms): more sessions compute than there are CPUs
SELECT name AS model, tokenizer_ms, wait_ms, compute_ms FROM embed_stat;

-- embed_memory_bytes: memory of the machine in use > 90 % (node exporter); resident_bytes is the models' part of the page cache
SELECT name AS model, bytes, resident_bytes, backends AS sessions FROM embed_memory;

-- embed_models: changes of fingerprint; bytes IS NULL: the image is lost
SELECT name AS model, fingerprint, kind, bytes FROM embed_models;

-- embed_verify: ok = 0. Computes: once an hour is enough
SELECT m.name AS model, v."check", v.ok::int AS ok FROM embed_models m CROSS JOIN LATERAL embed_verify(m.name) v;

-- embed_columns: pending_s > 60; failed > 0; status: off, failing, or waiting for a worker. Of tables that the role may SELECT from
SELECT tab::text AS tab, vector, status, to_do, failed, filled,
	CASE WHEN to_do > failed THEN coalesce(extract(epoch FROM now() - oldest_pending), 0) ELSE 0 END AS pending_s
FROM embed_columns;

-- embed_failures: failures > 0
SELECT tab::text AS tab, vector, sqlstate, count(*) AS failures FROM embed_failures GROUP BY 1, 2, 3;

-- embed_progress: work that goes on now: imports, images being built, fills
SELECT datname, command, stage, object, done, total, seconds_left FROM embed_progress;
