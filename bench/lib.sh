# lib.sh - what the benchmarks share; sourced by bash. A private copy of the
# server with this tree's extension, a throwaway cluster in $WORK, the model.
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
unset PGHOST PGPORT PGUSER PGDATABASE PGOPTIONS PGSERVICE PGDATA PGPASSWORD MAKEFLAGS MAKELEVEL
export LC_ALL=C.UTF-8

BENCH_CLUSTER=
BENCH_MODEL=bench

bench_cleanup()
{
	local status=$?

	trap - EXIT
	ignore_interrupts
	end_jobs
	remove_download
	[ -z "$BENCH_CLUSTER" ] || stop_cluster "$BENCH_CLUSTER" >/dev/null 2>&1
	if declare -F bench_extra_cleanup >/dev/null
	then
		bench_extra_cleanup
	fi
	if [ -n "${WORK:-}" ]
	then
		end_strays "$WORK"
		rm -rf "$WORK"
	fi
	exit $status
}

# A folder for this run and a copy of the tree, built.
bench_begin()
{
	need_packages /dev/null
	choose_run_user
	WORK=$(mktemp -d "${EMBED_TEST_DIR:-/var/tmp}/embed-bench.XXXXXX") || die "no temporary folder"
	trap bench_cleanup EXIT
	catch_interrupts
	chmod 755 "$WORK"
	copy_tree "$WORK/src" || die "cannot copy the tree"
	logged "core library" "$WORK/log.core" make -s -j"$(nproc)" -C "$WORK/src" -f core.mk lib cli || die "the core does not build"
	CLI=$WORK/src/build/core/embed-cli
}

# bge-small-en-v1.5 of EMBED_MODELS, else the default model; readable by RUN_USER.
bench_model()
{
	local source=${1:-}

	if [ -z "$source" ] && [ -f "${EMBED_MODELS:-/nowhere}/bge-small-en-v1.5/config.json" ]
	then
		source=$EMBED_MODELS/bge-small-en-v1.5
	fi
	if [ -z "$source" ]
	then
		source=${EMBED_MODEL_DIR:-}
	fi
	if [ -z "$source" ]
	then
		fetch_default_model "$WORK/log.model" || die "no model: set EMBED_MODELS or EMBED_MODEL_DIR"
		source=$MODEL_PATH
	fi
	[ -f "$source/config.json" ] || die "$source holds no config.json"
	MODEL_TITLE=$(basename "$source")
	mkdir -p "$WORK/model"
	cp -rL "$source/." "$WORK/model/" || die "cannot copy $source"
	chmod -R a+rX "$WORK/model"
	note "model: $MODEL_TITLE"
}

# bench_cluster [CONF LINE ...]: a server with the model imported.
bench_cluster()
{
	local seconds=$SECONDS

	copy_server || die "cannot make a private copy of the server of $PG_CONFIG"
	logged "extension" "$WORK/log.extension" make -s -j"$(nproc)" -C "$WORK/src" install PG_CONFIG="$PG_CONFIG" || die "the extension does not build"
	mkdir -p "$WORK/cluster"
	[ "$(id -un)" = "$RUN_USER" ] || chown "$RUN_USER" "$WORK/cluster"
	init_cluster "$WORK/cluster" >"$WORK/log.initdb" 2>&1 || die "initdb: $(tail -n 3 "$WORK/log.initdb")"
	printf '%s\n' "$@" | as_user tee -a "$WORK/cluster/data/postgresql.conf" >/dev/null
	start_cluster "$WORK/cluster" || die "the server does not start: $(tail -n 5 "$WORK/cluster/server.log")"
	BENCH_CLUSTER=$WORK/cluster
	CONNINFO="host=$WORK/cluster user=postgres dbname=postgres"
	sql 'CREATE EXTENSION embed' >/dev/null
	seconds=$SECONDS
	sql "SELECT embed_import('$BENCH_MODEL', '$WORK/model')" >/dev/null || die "the import failed"
	note "$("$BINDIR/postgres" --version); imported in $((SECONDS - seconds)) s"
}

# The socket's folder lets only RUN_USER in.
sql()
{
	as_user "$BINDIR/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$CONNINFO" -c "$1"
}

describe_machine()
{
	note "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, level $("$CLI" isa | sed -n 's/^in use *//p'), load $(cut -d' ' -f1 /proc/loadavg)"
}

# bench/worker.c as $WORK/worker, with the library and the flags of the core
bench_worker()
{
	logged "worker" "$WORK/log.worker" make -s -C "$WORK/src" -f core.mk build/core/bench/worker || die "the worker does not build"
	ln -sf "$WORK/src/build/core/bench/worker" "$WORK/worker"
}
