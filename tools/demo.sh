#!/usr/bin/env bash
# Show Mooncake FS at work: one master, two nodes, two mounts on this machine.
#
# Puts files through the first mount, looks at them with stat, reads them back
# through the second by mmap, compares SHA-256 and prints speeds beside
# /dev/shm.  Leaves nothing behind, or, with --keep, a script that ends it.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
top=$PWD

usage() {
    cat <<'END'
usage: tools/demo.sh [--keep] [--bin DIR] [FILE...]

  FILE       what to put (default: the largest libraries that this machine
             has, 400 MB in all)
  --keep     leave it mounted, and say how to go on and how to end it
  --bin DIR  take the programs from DIR, set up and build nothing
END
}

say() { printf 'demo: %s\n' "$*"; }
die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

keep=no bin=
files=()
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=yes ;;
    --bin)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        bin=$(cd "$here" && realpath "$2")
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    --)
        shift
        break
        ;;
    -*)
        usage >&2
        exit 2
        ;;
    *) files+=("$1") ;;
    esac
    shift
done
files+=("$@")
for i in "${!files[@]}"; do
    files[i]=$(cd "$here" && realpath -e -- "${files[i]}") || exit 1
    [ -f "${files[i]}" ] || die "not a file: ${files[i]}"
done

if [ -z "$bin" ]; then
    tools/setup.sh
    bin=$top/build/bin
fi
for program in mooncakefs mooncake-master mooncake; do
    [ -x "$bin/$program" ] || die "no program $bin/$program"
done

# --- what it starts, and how that ends ---------------------------------------

dir=$(mktemp -d "${TMPDIR:-/tmp}/mooncake-demo.XXXXXX")
mkdir "$dir/a" "$dir/b" "$dir/pool-a" "$dir/pool-b" "$dir/log"

# A process is ended only if its command line names this demo's folder.
cat >"$dir/stop" <<END
#!/usr/bin/env bash
# End this demo: its nodes, its master, its mounts and its files.
dir=$dir
END
cat >>"$dir/stop" <<'END'
cd /
pids=$(cat "$dir"/*.pid 2>/dev/null)
ours() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$dir"; }
mounts() { awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo; }
for pid in $pids; do ours "$pid" && kill -TERM "$pid"; done
for _ in $(seq 100); do
    left=
    for pid in $pids; do ours "$pid" && left="$left $pid"; done
    [ -z "$left" ] && break
    sleep 0.1
done
for pid in $left; do
    echo "demo: process $pid does not end, killing it" >&2
    kill -KILL "$pid"
done
for place in $(mounts | tac); do umount -l "$place"; done
rm -rf --one-file-system "$dir"
END
chmod +x "$dir/stop"

kept=no
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    trap '' INT TERM HUP
    rm -rf "${shm:-}"
    [ $kept = yes ] && return
    if [ $status -ne 0 ] && [ -d "$dir/log" ]; then
        tail -n 15 "$dir"/log/* >&2 || true
    fi
    "$dir/stop"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
shm=$(mktemp -d /dev/shm/mooncake-demo.XXXXXX)

start() { # NAME PROGRAM [ARGUMENT...]
    local name=$1
    shift
    # Out of this terminal's reach, so that Ctrl-C ends them in order.
    setsid env --default-signal=INT,QUIT "$@" </dev/null >"$dir/log/$name" 2>&1 &
    echo $! >"$dir/$name.pid"
}

wait_for() { # NAME CONDITION...
    local name=$1
    shift
    for _ in $(seq 150); do
        "$@" && return
        kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null || die "$name ended at its start"
        sleep 0.1
    done
    die "$name is not ready after 15 s"
}

# shellcheck disable=SC2317 # called by wait_for
listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null
}

# --- the files ----------------------------------------------------------------

libraries() {
    local total=0 size path
    find -L /usr/lib -xdev -type f -name '*.so*' -size +1M -printf '%i %s %p\n' 2>/dev/null |
        sort -k 2,2nr -k 1,1n | sort -u -k 1,1n | sort -k 2,2nr |
        while read -r _ size path; do
            [ $((total + size)) -le 400000000 ] || continue
            total=$((total + size))
            printf '%s\n' "$path"
        done | head -n 24
}

if [ ${#files[@]} -eq 0 ]; then
    mapfile -t files < <(libraries)
    [ ${#files[@]} -gt 0 ] || die "no libraries found, name some files"
fi
total=$(du -bcL -- "${files[@]}" | tail -n 1 | cut -f 1)
segment_m=$((total * 3 / 2 / 1048576 + 256))
if [ "$segment_m" -lt 2048 ]; then segment_m=2048; fi
room_m=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
[ $((total * 3 / 1048576)) -lt "$room_m" ] || die "these files need more memory than there is"

# --- master, nodes, mounts -----------------------------------------------------

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
say "a master on 127.0.0.1:$port and two nodes, in $dir"
start master "$bin/mooncake-master" --listen "127.0.0.1:$port" --journal "file:$dir/journal"
wait_for master listens
for node in a b; do
    start "node-$node" "$bin/mooncakefs" "$dir/$node" -f \
        -o "master=127.0.0.1:$port,segment=${segment_m}m,pool=$dir/pool-$node,name=$node"
done
for node in a b; do
    wait_for "node-$node" mountpoint -q "$dir/$node"
done
say "mounted: $dir/a and $dir/b"

# --- put, stat, get --------------------------------------------------------------

cat >"$dir/transfer.py" <<'END'
"""transfer.py A B SHM FILE...: put through A, get through B, beside SHM."""
import hashlib
import mmap
import os
import sys
import time

first, second, shm, *files = sys.argv[1:]
folder = "demo"


def put(path, data):
    """Create, write, close; return the seconds."""
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left):]
    return time.perf_counter() - start


def get(path):
    """Open, map, touch each page, hash; return the seconds without the hash, and the hash."""
    start = time.perf_counter()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return time.perf_counter() - start, hashlib.sha256()
        with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as view:
            view[::mmap.PAGESIZE]
            seconds = time.perf_counter() - start
            return seconds, hashlib.sha256(view)


def speed(size, seconds):
    return f"{size / seconds / 1e9:8.2f}"


def names(paths):
    """One name in the mount for each file, different ones for equal base names."""
    seen = {}
    for path in paths:
        name = os.path.basename(path)
        seen[name] = seen.get(name, 0) + 1
        yield path, name if seen[name] == 1 else f"{seen[name]}-{name}"


def warm(paths):
    """Use the memory once: a virtual machine's first touch of it is slow, for any file system."""
    for place in (shm, os.path.join(first, folder)):
        made = []
        for path, name in names(paths):
            with open(path, "rb") as file:
                data = file.read()
            made.append(os.path.join(place, f"warm-{name}"))
            put(made[-1], data)
        for path in made:
            os.unlink(path)


sums = [0, 0.0, 0.0, 0.0, 0.0, 0.0]
bad = 0
os.mkdir(os.path.join(first, folder))
warm(files)
print(f"{'':36} {'':>9}  {'put, GB/s':^17}  {'get by mmap, each page, GB/s':^26}")
print(f"{'file':36} {'MB':>9} {'node a':>8} {'/dev/shm':>8}  "
      f"{'node b':>8} {'again':>8} {'/dev/shm':>8}  SHA-256")
for path, name in names(files):
    with open(path, "rb") as file:
        data = file.read()
    a, b, c = (os.path.join(d, folder, name) for d in (first, second, ""))
    c = os.path.join(shm, name)
    put_shm, put_a = put(c, data), put(a, data)
    get_b, hash_b = get(b)
    again, hash_again = get(b)
    get_shm, _ = get(c)
    os.unlink(c)
    want = hashlib.sha256(data).digest()
    same = want == hash_b.digest() == hash_again.digest()
    bad += not same
    row = [len(data), put_a, put_shm, get_b, again, get_shm]
    sums = [x + y for x, y in zip(sums, row)]
    size = row[0]
    print(f"{name[:36]:36} {size / 1e6:9.1f} {speed(size, put_a)} {speed(size, put_shm)}  "
          f"{speed(size, get_b)} {speed(size, again)} {speed(size, get_shm)}  "
          f"{'same' if same else 'DIFFERS'}", flush=True)
size = sums[0]
print(f"{'all':36} {size / 1e6:9.1f} {speed(size, sums[1])} {speed(size, sums[2])}  "
      f"{speed(size, sums[3])} {speed(size, sums[4])} {speed(size, sums[5])}  "
      f"{'same' if not bad else f'{bad} DIFFER'}")
sys.exit(1 if bad else 0)
END

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

say "put ${#files[@]} files through the first mount, read them through the second"
say "(one round before it warms the memory, here and in /dev/shm)"
echo
transferred=yes
python3 "$dir/transfer.py" "$dir/a" "$dir/b" "$shm" "${files[@]}" || transferred=no

one=$(find "$dir/b/demo" -type f -printf '%s %p\n' | sort -nr | head -n 1 | cut -d ' ' -f 2-)
show stat "$one"
sleep 1.2 # nodes tell the master once a second what they hold
show "$bin/mooncake" --master "127.0.0.1:$port" status

cat <<END

Go on by hand:
  cp FILE $dir/a/ && sha256sum $dir/b/FILE
  ls -l $dir/b/demo
  rm $dir/a/demo/${one##*/} && ls $dir/b/demo
  $bin/mooncake --master 127.0.0.1:$port ls -l demo
  $bin/mooncake --master 127.0.0.1:$port locate demo/${one##*/}
  $bin/mooncake --help
END
[ $transferred = yes ] || die "files came back different"
if [ $keep = yes ]; then
    kept=yes
    echo
    say "left running; end it with: $dir/stop"
else
    echo
    say "ending it (--keep leaves it running)"
fi
