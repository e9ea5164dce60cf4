# kept_later.sh - what bench/kept_columns measures of vectors that come later;
# sourced by it.

# ms_of SQL: milliseconds of a statement in a new session, outside a transaction; what comes before it is not timed.
ms_of()
{
	as_user "$BINDIR/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$CONNINFO" >"$WORK/ms" 2>&1 <<-SQL || die "$(cat "$WORK/ms")"
		SET client_min_messages = error;
		SET embed.cache_entries = 0;
		SET max_parallel_workers_per_gather = 0;
		${2:-SELECT 1};
		\\timing on
		$1;
	SQL
	sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' "$WORK/ms" | tail -n 1
}

# at_most TITLE GOAL VALUE UNIT
at_most()
{
	note "$(awk -v title="$1" -v goal="$2" -v value="$3" -v unit="$4" 'BEGIN {
		printf "%-58s %9.2f %s (goal %.2f)%s", title, value, unit, goal, (value > goal ? " MISSED" : "") }')"
	awk -v value="$3" -v goal="$2" 'BEGIN { exit !(value > goal) }' && FAILED=yes
	return 0
}

# background on|off: of the server, and until every session has it.
background()
{
	local i

	as_user "$BINDIR/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$CONNINFO" -c "LOAD 'embed'" -c "ALTER SYSTEM SET embed.background = $1" \
		-c "SELECT pg_reload_conf()" >/dev/null || die "no embed.background"
	for ((i = 0; i < 500; i++))
	do
		[ "$(sql "LOAD 'embed'; SELECT current_setting('embed.background')")" != "$1" ] || return 0
		sleep 0.02
	done
	die "embed.background stays as it was"
}

# wait_for SQL: until it gives t; prints the milliseconds that this took.
wait_for()
{
	local begun

	begun=$(date +%s%N)
	until [ "$(sql "$1")" = t ]
	do
		[ $(($(date +%s%N) - begun)) -lt 600000000000 ] || die "never: $1"
		sleep 0.01
	done
	echo $((($(date +%s%N) - begun) / 1000000))
}

make_later_tables()
{
	local table

	for table in later one_later slow
	do
		sql "CREATE TABLE $table (id int, body text, e float4[], n int DEFAULT 0);
			CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', '$BENCH_MODEL', 'later');
			CREATE INDEX ${table}_e_to_do ON $table (id) WHERE e IS NULL AND body IS NOT NULL" >/dev/null || die "no table $table"
	done
	sql "CREATE TABLE ten AS SELECT i AS id, words(i, 8 + i % 21) AS body FROM generate_series(1, 10000) i;
		CREATE TABLE one_bare (LIKE one_later INCLUDING DEFAULTS);
		CREATE TABLE said (id int);
		ALTER TABLE slow ADD PRIMARY KEY (id);
		CREATE TABLE deferred (LIKE later INCLUDING DEFAULTS);
		CREATE TRIGGER zz_embed BEFORE INSERT OR UPDATE ON deferred FOR EACH ROW EXECUTE FUNCTION embed_trigger('e', 'body', '$BENCH_MODEL');
		CREATE INDEX deferred_e_to_do ON deferred (id) WHERE e IS NULL AND body IS NOT NULL;
		COPY (SELECT id, body FROM short WHERE id <= 1000) TO '$WORK/cluster/rows'" >/dev/null || die "no tables"
	sql "VACUUM ANALYZE"
}

# wal_of TABLE: bytes of WAL that INSERT .. SELECT of 10,000 rows writes.
wal_of()
{
	# full pages would be of the checkpoint, not of the rows
	sql "CHECKPOINT" >/dev/null
	sql "TRUNCATE $1" >/dev/null
	as_user "$BINDIR/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$CONNINFO" <<-SQL | tail -n 1
		SELECT pg_current_wal_insert_lsn() AS before \\gset
		INSERT INTO $1 (id, body) SELECT id, body FROM ten;
		SELECT pg_current_wal_insert_lsn() - :'before';
	SQL
}

# A transaction of a row: milliseconds; called in a subshell.
one_row_ms()
{
	[ -z "$REALTIME" ] || chrt -f -p 10 "$BASHPID"
	as_user "$BINDIR/pgbench" -n -M prepared -T 2 -f "$WORK/one_row_$1" "$CONNINFO" 2>/dev/null | sed -n 's/^latency average = \([0-9.]*\) ms/\1/p'
}

# What a row costs at its write. Nothing is filled meanwhile.
measure_write()
{
	local round bare later

	say "Mode later: what a write costs, beside a table without vectors"
	background off
	rm -f "$WORK"/cost.*
	for bare in bare later
	do
		echo "INSERT INTO one_$bare (id, body) VALUES (1, 'time water people house paper music table light night story');" >"$WORK/one_row_$bare"
	done
	for ((round = 0; round <= ROUNDS; round++))
	do
		sql "TRUNCATE bare; TRUNCATE later; TRUNCATE one_bare; TRUNCATE one_later" >/dev/null
		bare=$(ms_of "INSERT INTO bare (id, body) SELECT id, body FROM ten" "SELECT embed('any', '$BENCH_MODEL') IS NULL") || exit 1
		later=$(ms_of "INSERT INTO later (id, body) SELECT id, body FROM ten" "SELECT embed('any', '$BENCH_MODEL') IS NULL") || exit 1
		[ "$round" -gt 0 ] || continue
		awk -v a="$bare" -v b="$later" 'BEGIN { print (b - a) / 10 }' >>"$WORK/cost.row"
		bare=$(one_row_ms bare) && later=$(one_row_ms later) || die "pgbench"
		awk -v a="$bare" -v b="$later" 'BEGIN { print b - a }' >>"$WORK/cost.one"
	done
	at_most "INSERT .. SELECT of 10,000 rows: more a row" 3 "$(median <"$WORK/cost.row")" us
	bare=$(wal_of bare) && later=$(wal_of later) || die "no WAL position"
	at_most "... WAL: more a row" 80 "$(awk -v a="$bare" -v b="$later" 'BEGIN { print (b - a) / 10000 }')" bytes
	at_most "a transaction of one row: more" 0.05 "$(median <"$WORK/cost.one")" ms
	rm -f "$WORK"/cost.*
	for ((round = 0; round < ROUNDS; round++))
	do
		sql "TRUNCATE deferred" >/dev/null
		ms_of "COPY deferred (id, body) FROM '$WORK/cluster/rows'" "SET embed.defer = on" >>"$WORK/cost.copy" || exit 1
	done
	at_most "COPY of 1,000 short rows with embed.defer" 20 "$(median <"$WORK/cost.copy")" ms
	sql "TRUNCATE later; TRUNCATE one_later; TRUNCATE deferred" >/dev/null
}

# Rows a second of a fill in a session, and of arrays by hand.
measure_fill()
{
	local round filled best

	say "Filling $ROWS short rows, beside an INSERT of embed_rows of arrays"
	background off
	rm -f "$WORK"/ratios "$WORK"/times.*
	for ((round = 0; round <= ROUNDS; round++))
	do
		sql "TRUNCATE later; INSERT INTO later (id, body) SELECT id, body FROM short; TRUNCATE bare" >/dev/null
		filled=$(ms_of "CALL embed_fill('later')") || exit 1
		best=$(ms_of "INSERT INTO bare SELECT a.ids[r.ordinality], a.bodies[r.ordinality], r.embedding FROM $(arrays short)") || exit 1
		[ "$(sql "SELECT count(*) FROM later WHERE e IS NULL")" = 0 ] || die "embed_fill left rows"
		[ "$round" -gt 0 ] || continue
		echo "$filled" >>"$WORK/times.on"
		awk -v best="$best" -v filled="$filled" 'BEGIN { print best / filled }' >>"$WORK/ratios"
	done
	judge "CALL embed_fill" 0.95 "$(median <"$WORK/ratios")" "$(median <"$WORK/times.on" | awk -v n="$ROWS" '{ printf "%8.1f rows/s,", n * 1000 / $1 }')"
	background on
	sql "TRUNCATE deferred" >/dev/null
	ms_of "COPY deferred (id, body) FROM '$WORK/cluster/rows'" "SET embed.defer = on" >/dev/null || exit 1
	note "1,000 rows of a COPY with embed.defer: filled $(wait_for "SELECT count(*) = 0 FROM deferred WHERE e IS NULL") ms later by the filler"
}

# From the commit of a row to the commit of its vector, both by the server's clock.
measure_wakes()
{
	say "From commit to vector: $COMMITS commits at random moments"
	background on
	sql "TRUNCATE later, said" >/dev/null
	cat >"$WORK/wake" <<-'SCRIPT'
		\set long random(1, 10)
		\set pause case when :long = 1 then random(1900, 2300) else random(1, 60) end
		\sleep :pause ms
		WITH new AS (INSERT INTO later (id, body) SELECT nextval('wakes'), 'time water people house paper music ' || random() RETURNING id) INSERT INTO said SELECT id FROM new;
	SCRIPT
	sql "CREATE SEQUENCE IF NOT EXISTS wakes" >/dev/null
	as_user "$BINDIR/pgbench" -n -t "$COMMITS" -f "$WORK/wake" "$CONNINFO" >"$WORK/log.pgbench" 2>&1 || die "$(tail -n 3 "$WORK/log.pgbench")"
	wait_for "SELECT count(*) = 0 FROM later WHERE e IS NULL" >/dev/null
	sql "CREATE TEMP TABLE waits AS SELECT extract(epoch FROM pg_xact_commit_timestamp(l.xmin) - pg_xact_commit_timestamp(s.xmin)) * 1000 AS ms FROM later l JOIN said s USING (id);
		SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), max(ms), count(*) FROM waits" >"$WORK/waits" || die "no times"
	[ "$(cut -d'|' -f4 "$WORK/waits")" = "$COMMITS" ] || die "only $(cat "$WORK/waits") rows have vectors"
	at_most "median" 50 "$(cut -d'|' -f1 "$WORK/waits")" ms
	at_most "99th percentile" 500 "$(cut -d'|' -f2 "$WORK/waits")" ms
	at_most "longest" 1000 "$(cut -d'|' -f3 "$WORK/waits")" ms
}

# p99_of_writers NAME: milliseconds of single-row updates by two sessions, some hundred a second;
# without the time that pgbench itself came too late.
p99_of_writers()
{
	rm -f "$WORK/cluster/log.$1".*
	(cd "$WORK/cluster" && as_user "$BINDIR/pgbench" -n -M prepared -c 2 -j 2 -R 300 -T 6 -l --log-prefix="log.$1" -f "$WORK/writer" "$CONNINFO") >"$WORK/log.pgbench" 2>&1 ||
		die "$(tail -n 3 "$WORK/log.pgbench")"
	cat "$WORK/cluster/log.$1".* | awk '{ print ($3 - $7) / 1000 }' | sort -n | awk '{ v[NR] = $1 } END { print v[int(NR * 0.99)] }'
}

measure_writers()
{
	local round without with left

	say "Writers beside a fill: 99th percentile of updates of a row"
	# before all other work a filler that is nice would not be behind the writers
	[ -z "$REALTIME" ] || chrt -o -a -p 0 "$(head -n 1 "$WORK/cluster/data/postmaster.pid")" || die "chrt"
	printf '%s\n' '\set id random(1, 1000)' 'UPDATE slow SET n = n + 1 WHERE id = :id;' >"$WORK/writer"
	rm -f "$WORK"/ratios "$WORK"/times.*
	for ((round = 0; round < ROUNDS; round++))
	do
		background off
		sql "TRUNCATE slow; INSERT INTO slow (id, body) SELECT id, body || ' ' || body || ' ' || body FROM ten" >/dev/null
		without=$(p99_of_writers without) || exit 1
		background on
		sql "INSERT INTO slow (id, body) VALUES (0, 'wake')" >/dev/null
		wait_for "SELECT count(*) > 0 FROM slow WHERE e IS NOT NULL" >/dev/null
		with=$(p99_of_writers with) || exit 1
		left=$(sql "SELECT count(*) FROM slow WHERE e IS NULL")
		[ "$left" -gt 0 ] || note "the fill ended before the writers"
		echo "$without" >>"$WORK/times.off"
		echo "$with" >>"$WORK/times.on"
		awk -v a="$without" -v b="$with" 'BEGIN { print b / a }' >>"$WORK/ratios"
	done
	at_most "with a fill, times that without ($(median <"$WORK/times.on") and $(median <"$WORK/times.off") ms)" 1.5 "$(median <"$WORK/ratios")" x
}
