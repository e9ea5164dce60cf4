-- The end of what filler_off.sql began.
LOAD 'embed';
ALTER SYSTEM RESET embed.background;
SELECT pg_reload_conf();
