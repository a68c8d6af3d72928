#!/usr/bin/env bash
# Install what a Debian machine lacks, build libfuse if the system's is too
# old, and build Mooncake FS.  Safe to run again; quick when nothing is to do.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

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
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

packages=(gcc g++ cmake ninja-build ccache pkg-config git ca-certificates
    liburing-dev libcjson-dev libxxhash-dev check python3)
test_packages=(clang clang-format clang-tidy libclang-rt-14-dev codespell
    shellcheck rsync sqlite3 fio attr strace iperf3 python3-numpy python3-venv
    python3-pip gnuplot-nox procps util-linux tar)
[ $tests = yes ] && packages+=("${test_packages[@]}")

install_packages() {
    local missing=() p
    for p in "${packages[@]}"; do
        dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed ||
            missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${#missing[@]} packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -q >"$top/build/setup.log" 2>&1 || {
        tail -n 5 "$top/build/setup.log" >&2
        exit 1
    }
    as_root apt-get install -y -q --no-install-recommends "${missing[@]}" \
        >>"$top/build/setup.log" 2>&1 || {
        tail -n 20 "$top/build/setup.log" >&2
        exit 1
    }
}

# The mirror and its key, as this machine's own apt is configured.
mirror() {
    awk '$1 == "URIs:" { print $2; exit }
         $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } }' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list \
        /etc/apt/sources.list.d/*.list 2>/dev/null
}

fuse_suite=${FUSE_SUITE:-forky}
deps=$top/build/deps

build_libfuse() {
    local lists=$top/build/apt source
    say "building libfuse from the source package of Debian $fuse_suite (about a minute)"
    packages=(dpkg-dev meson)
    install_packages
    mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial" "$deps"
    printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
        "$(mirror)" "$fuse_suite" >"$lists/sources.list"
    local apt=(-o "Dir::Etc::SourceList=$lists/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$lists/lists" -o "Dir::Cache=$lists/cache"
        -o APT::Sandbox::User=root)
    (
        cd "$lists"
        apt-get "${apt[@]}" update -q
        rm -rf fuse3-*/
        apt-get "${apt[@]}" source -q --only-source fuse3
    ) >"$top/build/libfuse.log" 2>&1 || {
        tail -n 20 "$top/build/libfuse.log" >&2
        exit 1
    }
    source=$(find "$lists" -maxdepth 1 -type d -name 'fuse3-*' | head -n 1)
    (
        cd "$source"
        rm -rf b
        meson setup b --prefix="$deps" --libdir=lib --buildtype=release \
            -Dexamples=false -Dtests=false -Dutils=true -Duseroot=false \
            -Dinitscriptdir= -Dudevrulesdir="$deps/lib/udev/rules.d" \
            -Dsysconfdir="$deps/etc" -Denable-io-uring=true
        ninja -C b install
    ) >>"$top/build/libfuse.log" 2>&1 || {
        tail -n 20 "$top/build/libfuse.log" >&2
        exit 1
    }
}

fuse_version() {
    PKG_CONFIG_PATH="$deps/lib/pkgconfig" pkg-config --modversion fuse3 2>/dev/null || echo none
}

new_enough() {
    [ "$1" != none ] && printf '3.17\n%s\n' "$1" | sort -C -V
}

mkdir -p build
install_packages
if ! new_enough "$(fuse_version)"; then
    build_libfuse
    new_enough "$(fuse_version)" || {
        say "libfuse is still $(fuse_version) after the build, see build/libfuse.log" >&2
        exit 1
    }
fi
say "libfuse $(fuse_version)"
[ $deps_only = yes ] && exit 0

if [ ! -f "$build/build.ninja" ]; then
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo "$@" >"$top/build/cmake.log" 2>&1 || {
        tail -n 30 "$top/build/cmake.log" >&2
        exit 1
    }
fi
ninja -C "$build" --quiet
say "programs are in $build/bin"
