# root.sh - fresh Debian systems in folders, made by debootstrap; sourced by bash.
#
#	make_root SUITE DIR		from DIR.base if there is one, which is left behind with KEEP_BASE=1
#	mount_root DIR
#	clone_into DIR			what is committed goes to DIR/root/embed
#	in_root DIR COMMAND...	in /root/embed, with a clean environment
#	unmount_root DIR
#
# Root only. The mirror, apt's and pip's settings are the machine's own.

# The mirror this machine uses for Debian itself.
find_mirror()
{
	apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT) $(CODENAME)' 'Identifier: Packages' |
		awk '$2 == "Debian" && $3 == "main" && $4 !~ /-(security|updates|backports)/ { print $1; exit }'
}

# How this machine reaches its mirror and its Python index.
copy_settings()
{
	local root=$1 file

	for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/apt/apt.conf /root/.config/pip/pip.conf /root/.pip/pip.conf \
		/etc/ssl/certs/ca-certificates.crt $(grep -ls '^ *Acquire::' /etc/apt/apt.conf.d/*) /etc/apt/auth.conf.d/*
	do
		if [ -f "$file" ]
		then
			mkdir -p "$root$(dirname "$file")"
			cp -L "$file" "$root$file"
		fi
	done
	[ ! -d /usr/local/share/ca-certificates ] || cp -rL /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
}

make_root()
{
	local suite=$1 root=$2 mirror

	if [ -d "$root" ] && mountpoint -q "$root/proc"
	then
		echo "$root is in use"
		return 1
	fi
	rm -rf --one-file-system "$root"
	if [ -d "$root.base" ]
	then
		echo "== $suite from $root.base"
		cp -a "$root.base" "$root" || return 1
	else
		command -v debootstrap >/dev/null || apt-get install -q -y --no-install-recommends debootstrap || return 1
		mirror=$(find_mirror)
		if [ -z "$mirror" ]
		then
			echo "apt knows no mirror of Debian here (apt-get update first)"
			return 1
		fi
		echo "== debootstrap $suite"
		if ! debootstrap --variant=minbase --include=ca-certificates,git "$suite" "$root" "$mirror" >"$root.log" 2>&1
		then
			tail -n 20 "$root.log"
			return 1
		fi
		rm -f "$root.log"
		[ -z "${KEEP_BASE:-}" ] || cp -a "$root" "$root.base" || return 1
	fi
	copy_settings "$root"
}

mount_root()
{
	mount -t proc proc "$1/proc" || return 1
	mkdir -p "$1/dev/shm"
	mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
}

# Everything mounted there goes, what a test mounted as well.
unmount_root()
{
	local mounted root

	root=$(cd "$1" 2>/dev/null && pwd -P) || return 0
	for mounted in $(awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r)
	do
		umount "$mounted" 2>/dev/null || umount -l "$mounted"
	done
	! mountpoint -q "$root/proc"
}

clone_into()
{
	git -c safe.directory='*' clone -q --no-hardlinks "file://$TOP" "$1/root/embed"
}

in_root()
{
	local root=$1 setting environment

	shift
	environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb CI=true)
	while IFS= read -r setting
	do
		environment+=("$setting")
	done < <(env | grep -iE '^(PIP_[A-Z_]*|https?_proxy|no_proxy|SSL_CERT_FILE)=')
	chroot "$root" env -i "${environment[@]}" sh -c 'cd /root/embed && exec "$@"' sh "$@" </dev/null
}
