#!/usr/bin/env bash
# Prove that a machine with nothing installed by hand can build and test this.
#
# Makes a minimal Debian in a folder, clones the last commit into it and runs
# tools/setup.sh and the first stages of tests/run.sh there.  The mirror is the
# one this machine's apt uses.  Mounts are made in a name space of their own,
# so none can stay.  Takes some minutes, so it is no part of tests/run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
top=$PWD

usage() {
    cat <<'END'
usage: tests/lint/clean_root.sh [--keep] [--suite SUITE] [--stages STAGES]

  --keep           leave the folder, and say how to go into it
  --suite SUITE    of Debian (default: the machine's)
  --stages STAGES  of tests/run.sh (default: setup,lint,build,unit)

Needs root and debootstrap.
END
}

keep=no stages=setup,lint,build,unit
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=yes ;;
    --suite | --stages)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        if [ "$1" = --suite ]; then suite=$2; else stages=$2; fi
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done

[ "$(id -u)" = 0 ] || { echo "clean_root: needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "clean_root: needs debootstrap" >&2; exit 1; }

mirror=$({ cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true; } |
    awk '$1 == "URIs:" || $1 == "deb" {
             for (i = 2; i <= NF; i++) if ($i ~ /^https?:.*\/debian\/?$/) { print $i; exit }
         }')
[ -n "$mirror" ] || { echo "clean_root: no mirror in this machine's apt sources" >&2; exit 1; }

root=$(mktemp -d "${TMPDIR:-/tmp}/mooncake-root.XXXXXX")
# shellcheck disable=SC2317 # called by the trap
remove() {
    [ $keep = yes ] || rm -rf --one-file-system "$root"
}
trap remove EXIT
trap 'exit 130' INT TERM HUP

echo "clean_root: a minimal Debian $suite in $root"
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" \
    >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# Settings of apt that this machine's mirror needs (a frozen one, say).
apt-config dump Acquire::Check-Valid-Until >"$root/etc/apt/apt.conf.d/90mirror"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
mkdir "$root/src"
git -c safe.directory="$top" clone --quiet --no-local "file://$top" "$root/src/mooncake"

in_root() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --propagation private --pid --fork --kill-child bash -ec '
        root=$1
        shift
        # A mount point of its own, so that the tests can have name spaces.
        mount --bind "$root" "$root"
        mount --rbind /dev "$root/dev"
        mount --bind /sys "$root/sys"
        mount -t proc proc "$root/proc"
        mount -t tmpfs tmpfs "$root/run"
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ TERM=dumb LANG=C.UTF-8 \
            chroot "$root" bash -ec "cd /src/mooncake; $*"' in_root "$root" "$@" </dev/null
}

step() {
    local start=$SECONDS
    echo "clean_root: $*"
    in_root "$@"
    echo "clean_root: took $((SECONDS - start)) s"
}

step tools/setup.sh
step tools/setup.sh
step tests/run.sh --only "$stages"
[ $keep = yes ] && echo "clean_root: kept; go into it with: chroot $root"
echo "clean_root: all of it works on a clean machine"
