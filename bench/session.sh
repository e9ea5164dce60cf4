# session.sh - a session that stays, its times and its memory; sourced by bash
# after lib.sh, where bench_cluster has set CONNINFO.

bench_extra_cleanup()
{
	rm -f "${WORK:-/nowhere}/sampling"
	exec 9>&- 2>/dev/null
}

# A session that stays; what it answers goes to $WORK/out.
open_session()
{
	rm -f "$WORK/in"
	mkfifo "$WORK/in"
	: >"$WORK/out"
	as_user "$BINDIR/psql" -X -q -A -t "$CONNINFO" <"$WORK/in" >"$WORK/out" 2>&1 &
	exec 9>"$WORK/in"
	N_ASKED=0
	PID=
	ask "SET embed.threads = ${THREADS:-0}; SET embed.cache_entries = 0; SELECT pg_backend_pid();"
	PID=$ANSWER
}

close_session()
{
	exec 9>&-
	wait $! 2>/dev/null
}

# CPU time of the session so far, its threads included, in ms.
cpu_ms()
{
	[ -z "${PID:-}" ] || sed 's/.*) //' "/proc/$PID/stat" | awk -v tick="$(getconf CLK_TCK)" '{ print int(($12 + $13) * 1000 / tick) }'
}

# ask SQL: leaves the last line of its output in ANSWER, its time in MS and CPU_MS.
ask()
{
	local begin cpu

	N_ASKED=$((N_ASKED + 1))
	cpu=$(cpu_ms)
	begin=$(date +%s%N)
	printf '%s\n\\echo end-of-%d\n' "$1" $N_ASKED >&9
	until grep -q "^end-of-$N_ASKED\$" "$WORK/out"
	do
		sleep 0.005
	done
	MS=$((($(date +%s%N) - begin) / 1000000))
	CPU_MS=$(($(cpu_ms) - ${cpu:-0}))
	ANSWER=$(grep -v '^NOTICE' "$WORK/out" | grep -B 1 "^end-of-$N_ASKED\$" | head -n 1)
}

kb_of()
{
	sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$PID/status"
}

# The most anonymous memory of the session while a statement runs, in PEAK.
ask_sampled()
{
	local sampler

	touch "$WORK/sampling"
	(
		most=0
		while [ -e "$WORK/sampling" ]
		do
			while read -r key value _
			do
				[ "$key" != RssAnon: ] || [ "$value" -le $most ] || most=$value
			done <"/proc/$PID/status"
			sleep 0.02
		done
		echo $most >"$WORK/most"
	) &
	sampler=$!
	ask "$1"
	rm -f "$WORK/sampling"
	wait $sampler
	PEAK=$(cat "$WORK/most")
}
