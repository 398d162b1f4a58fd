#!/bin/sh
# Builds the node's kernel and base initrd into build/image/, unless what is there came from this very recipe.
# The package sources are those of the machine that builds. Needs root, as mkosi does here, and what install.sh installs.
set -eu

cd "$(dirname "$0")/.."
out=build/image
recipe=$(find image/mkosi image/build.sh -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)

if [ "$(cat $out/recipe 2>/dev/null)" = "$recipe" ] && [ -s $out/vmlinuz ] && [ -s $out/initrd.zst ]; then
	echo "image: up to date"
	exit 0
fi

if [ "$(id -u)" != 0 ]; then
	echo "image: building it needs root, run \`sudo make image\`" >&2
	exit 1
fi

if ! command -v mkosi >/dev/null; then
	echo "image: mkosi is missing, run \`make deps\`" >&2
	exit 1
fi

# One line for each archive of Debian that apt uses here, in the form "codename[-security] URI".
archives() {
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		sed -n "s/^$codename /trixie /p; s/^$codename-security /trixie-security /p" | sort -u
}

sources() {
	archives | while read -r suite uri; do
		printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$uri" "$suite"
		printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n'
	done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" build/packages "$work/apt/etc/apt/sources.list.d" "$work/out" "$work/space"
sources >"$work/apt/etc/apt/sources.list.d/mkosi.sources"
if ! grep -q '^Suites: trixie$' "$work/apt/etc/apt/sources.list.d/mkosi.sources"; then
	echo "image: apt of this machine names no Debian archive: $(archives)" >&2
	exit 1
fi

# mkosi 25 renamed the option.
trees=--package-manager-tree
mkosi --help | grep -q -- --sandbox-tree && trees=--sandbox-tree

echo "image: building, a minute or two, log in $out/log"
if ! mkosi --directory image/mkosi --output-dir "$work/out" --workspace-dir "$work/space" \
	--package-cache-dir "$PWD/build/packages" "$trees" "$work/apt" build >$out/log 2>&1; then
	tail -n 20 $out/log >&2
	exit 1
fi
rm -f $out/recipe
mv "$work"/out/vmlinuz "$work"/out/initrd.cpio.zst $out/ && mv $out/initrd.cpio.zst $out/initrd.zst
echo "$recipe" >$out/recipe
du -h --apparent-size $out/vmlinuz $out/initrd.zst
