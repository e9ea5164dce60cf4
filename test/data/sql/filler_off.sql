-- From here on nobody fills kept columns behind the test's back: rows that are to do stay so.
LOAD 'embed';
ALTER SYSTEM SET embed.background = off;
SELECT pg_reload_conf();
-- the postmaster has reread its settings before it starts another session
\c -
DO $$
BEGIN
	WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'embed filler' AND datname = current_database()) LOOP
		PERFORM pg_sleep(0.01);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
END $$;
