#!/bin/sh
# Installs what the other make targets need and a Debian bookworm or trixie machine may lack. Does nothing where all is there.
set -eu

packages="cpio cryptsetup-bin e2fsprogs gcc iproute2 libblkid-dev libc6-dev libcryptsetup-dev libssl-dev make mkosi ovmf pkg-config
	protobuf-compiler qemu-system-x86 swtpm swtpm-tools util-linux xz-utils zstd"

fail() {
	echo "install: $*" >&2
	exit 1
}

installed() { dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

# QEMU 7 and mkosi 14 of bookworm are too old.
recent() { dpkg --compare-versions "$(dpkg-query --show --showformat '${Version}' "$1" 2>/dev/null || echo 0)" ge "$2"; }

lacking() {
	for package in $packages; do installed "$package" || echo "$package"; done
	recent qemu-system-x86 1:8 || echo qemu-system-x86
	recent mkosi 24 || echo mkosi
}

# Adds the backports from the archive that apt already uses.
add_backports() {
	apt-get indextargets --no-release-info --format '$(RELEASE)' 'Created-By: Packages' | grep -qx bookworm-backports && return
	uri=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^bookworm //p' | head -n 1)
	[ -n "$uri" ] || fail "apt's sources name no archive of bookworm to take bookworm-backports from"
	echo "install: adding bookworm-backports, for QEMU and mkosi"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri bookworm-backports main" \
		>/etc/apt/sources.list.d/disk-mapper-backports.list
}

missing=$(lacking | sort -u | tr '\n' ' ')
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || fail "this needs Debian bookworm or trixie, with apt; missing: $missing"
[ "$(id -u)" = 0 ] || fail "run \`sudo make deps\` once to install: $missing"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive

# apt runs apt-get with its output kept for the case that it fails.
apt() { apt-get -q -y --no-install-recommends "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "apt-get failed; is there a network?"; }; }

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
echo "install: $missing"
case $codename in
bookworm)
	add_backports
	apt update
	# mkosi brings systemd of the backports along, and libcryptsetup-dev then needs the libudev-dev of that version.
	apt install --target-release bookworm-backports libudev-dev mkosi qemu-system-x86
	;;
trixie)
	apt update
	;;
*)
	fail "this is Debian ${codename:-unknown}, known are bookworm and trixie"
	;;
esac
# shellcheck disable=SC2086 # a list of words
apt install $missing

left=$(lacking | sort -u | tr '\n' ' ')
[ -z "$left" ] || fail "still missing after the installation: $left"
echo "install: done"
