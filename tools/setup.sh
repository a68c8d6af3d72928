#!/usr/bin/env bash
# Install what a Debian machine lacks, build libfuse if the system's is too
# old, and build Mooncake FS.  Safe to run again; quick when nothing is to do.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

# shellcheck source=tools/mirror.sh
. tools/mirror.sh

usage() {
    cat <<'EOF'
usage: tools/setup.sh [--deps-only] [--tests] [--build-dir DIR] [-- CMAKE-ARGS...]

  --deps-only      install packages and libfuse, do not build
  --tests          also install what tests/run.sh needs
  --build-dir DIR  where to build (default: build)
EOF
}

deps_only=no tests=no build=build
while [ $# -gt 0 ]; do
    case $1 in
    --deps-only) deps_only=yes ;;
    --tests) tests=yes ;;
    --build-dir)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        build=$2
        shift
        ;;
    --)
        shift
        break
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        echo "setup: unknown option: $1" >&2
        usage >&2
        exit 2
        ;;
    esac
    shift
done

say() { printf 'setup: %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "setup: this needs root: $*" >&2
        return 1
    fi
}

# Run a command with its output in a log; show the end of it when it fails.
logged() { # LOG COMMAND...
    local log=$top/build/$1
    shift
    "$@" >>"$log" 2>&1 && return
    tail -n 30 "$log" >&2
    echo "setup: failed: $* (see ${log#"$top"/})" >&2
    exit 1
}

packages=(gcc g++ cmake ninja-build ccache pkg-config git ca-certificates
    liburing-dev libcjson-dev libxxhash-dev libcurl4-openssl-dev libmicrohttpd-dev
    libibverbs-dev librdmacm-dev check python3)
test_packages=(clang clang-format clang-tidy libclang-rt-14-dev codespell
    shellcheck rsync sqlite3 fio attr strace iperf3 python3-numpy python3-venv
    python3-pip gnuplot-nox procps util-linux tar openssl iproute2 nftables
    etcd-server etcd-client qemu-system-x86 busybox-static ibverbs-providers
    ibverbs-utils rdmacm-utils perftest nvme-cli kmod xz-utils cpio)
[ $tests = yes ] && packages+=("${test_packages[@]}")

install_packages() { # PACKAGE...
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed ||
            missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${#missing[@]} packages: ${missing[*]}"
    : >build/setup.log
    logged setup.log as_root apt-get update -q
    # Another apt may be at work (a new machine's own, say): wait for it.
    logged setup.log as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends -o DPkg::Lock::Timeout=600 "${missing[@]}"
}

fuse_suite=${FUSE_SUITE:-forky}
deps=$top/build/deps

fetch_libfuse() { # FOLDER
    local apt
    suite_apt "$1" "$fuse_suite" deb-src
    (
        cd "$1"
        rm -rf fuse3-*/
        logged libfuse.log apt-get "${apt[@]}" update
        logged libfuse.log apt-get "${apt[@]}" source --only-source fuse3
    )
}

build_libfuse() {
    local work=$top/build/apt source
    say "building libfuse from the source package of Debian $fuse_suite (about a minute)"
    install_packages dpkg-dev meson debian-archive-keyring libnuma-dev patch
    : >build/libfuse.log
    fetch_libfuse "$work"
    source=$(find "$work" -maxdepth 1 -type d -name 'fuse3-*' | head -n 1)
    for patch in tools/libfuse/*.patch; do
        logged libfuse.log patch -d "$source" -p1 -i "$top/$patch"
    done
    logged libfuse.log meson setup "$source/b" "$source" --prefix="$deps" --libdir=lib \
        --buildtype=release -Dexamples=false -Dtests=false -Dutils=true -Duseroot=false \
        -Dinitscriptdir= -Dudevrulesdir="$deps/lib/udev/rules.d" \
        -Dsysconfdir="$deps/etc" -Denable-io-uring=true
    logged libfuse.log ninja -C "$source/b" install
    libfuse_recipe >"$deps/recipe"
}

# What our libfuse is built from: another recipe builds it anew.
libfuse_recipe() {
    echo "suite $fuse_suite"
    cat tools/libfuse/*.patch
}

fuse_version() {
    PKG_CONFIG_PATH="$deps/lib/pkgconfig" pkg-config --modversion fuse3 2>/dev/null || echo none
}

new_enough() {
    [ "$1" != none ] && printf '3.17\n%s\n' "$1" | sort -C -V
}

# What the system's own package would be; newer distributions have one that will do.
fuse_candidate() {
    apt-cache policy libfuse3-dev 2>/dev/null |
        awk '$1 == "Candidate:" && $2 != "(none)" { sub(/^[0-9]+:/, "", $2); print $2; exit }'
}

# There is one of ours, by another recipe than today's.
stale_libfuse() {
    [ -d "$deps" ] && ! libfuse_recipe | cmp -s - "$deps/recipe"
}

# Ours would be found before the system's, also by what was configured with it.
forget_libfuse() {
    local cache
    rm -rf "$deps"
    for cache in build/CMakeCache.txt build/*/CMakeCache.txt "$build/CMakeCache.txt"; do
        if grep -qsF "$deps/" "$cache"; then
            rm -f "$cache" "$(dirname "$cache")/build.ninja"
        fi
    done
}

provide_libfuse() {
    local candidate
    if new_enough "$(fuse_version)" && ! stale_libfuse; then
        return
    fi
    candidate=$(fuse_candidate)
    if new_enough "${candidate:-none}"; then
        install_packages libfuse3-dev fuse3
        forget_libfuse
    else
        build_libfuse
    fi
    new_enough "$(fuse_version)" || {
        echo "setup: libfuse is still $(fuse_version), see build/libfuse.log" >&2
        exit 1
    }
}

mkdir -p build
# One at a time in one checkout.
exec 9>build/.setup.lock
flock 9
if command -v apt-get >/dev/null; then
    install_packages "${packages[@]}"
    provide_libfuse
else
    say "no apt here: going on with what is installed"
fi
say "libfuse $(fuse_version)"
[ $deps_only = yes ] && exit 0

if [ ! -f "$build/build.ninja" ] || [ $# -gt 0 ]; then
    : >build/cmake.log
    logged cmake.log cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo "$@"
fi
ninja -C "$build" --quiet
say "programs are in $build/bin"
