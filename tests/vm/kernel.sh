#!/usr/bin/env bash
# Fetch the kernel that the guests run: Debian's, from the backports of this
# machine's release.  Unpacked, never installed.
#
# usage: tests/vm/kernel.sh FOLDER
#
# Afterwards FOLDER/vmlinuz is the kernel, FOLDER/lib/modules/RELEASE has its
# modules with modules.dep.  Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

# shellcheck source=tools/mirror.sh
. tools/mirror.sh

# depmod stands in sbin.
PATH=$PATH:/usr/sbin:/sbin
folder=$(realpath -m "$1")
[ -e "$folder/vmlinuz" ] && exit 0

work=$folder.work
rm -rf "$work"
mkdir -p "$work/root"
suite_apt "$work" bookworm-backports deb
apt-get "${apt[@]}" -o Acquire::Retries=2 -o Acquire::http::Timeout=20 update
package=$(apt-cache "${apt[@]}" depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
[ -n "$package" ] || {
    echo "no kernel in bookworm-backports" >&2
    exit 1
}
(
    cd "$work"
    apt-get "${apt[@]}" -o Acquire::Retries=2 -o Acquire::http::Timeout=20 download "$package"
    dpkg-deb -x "$package"_*.deb root
)
release=${package#linux-image-}
[ -d "$work/root/lib" ] || ln -s usr/lib "$work/root/lib"
depmod -b "$work/root" "$release"
rm -rf "$folder"
mkdir -p "$folder/lib"
mv "$work/root/lib/modules" "$folder/lib/"
# Last: its presence says that all of it is there.
mv "$work/root/boot/vmlinuz-$release" "$folder/vmlinuz"
rm -rf "$work"
