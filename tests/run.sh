#!/usr/bin/env bash
# Run every check of this repository, stage by stage.  See --help.
#
# As root everything runs in mount and process name spaces of its own, so a
# test that fails leaves nothing behind on the machine; what a stage leaves
# running or mounted inside them is a failure of that stage.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
top=$PWD

all_stages=(setup lint build unit mount integration faults failpoints vm clang asan tsan fuzz)
extra_stages=(soak)
quick_stages=(setup lint build unit mount integration faults)

usage() {
    cat <<END
usage: tests/run.sh [--quick] [--only STAGE[,STAGE...]] [--list] [--help]

  --quick       the stages ${quick_stages[*]}; short suites
  --only STAGE  only these stages (repeat it, or separate them with commas);
                they take what earlier stages built as they find it
  --list        print the stages and what they do

Stages run side by side, one more of them than there are processors (8 at most): many
tests wait most of their time.  What a stage says is shown whole, one stage after the
other in the order in which they begin; one that is named alone runs alone.

Logs are in build/log/STAGE*.log.  The last line is "N passed, N failed, N
skipped", summed over all stages; the exit status is 0 when nothing failed.
END
}

list_stages() {
    cat <<'END'
setup        install packages, build libfuse, make the Python environment
lint         format, words, spelling, shell, Python, setup, layers, clang-tidy
build        gcc, warnings are errors
unit         unit and conformance tests of the gcc build
mount        the mount suite on real kernel mounts
integration  several processes together
faults       random faults under load, also of masters over etcd, and a judge of what
             clients saw
failpoints   processes killed and stopped at each step of their work, in a build for that
soak         faults for half an hour, also of masters over etcd, and other processes hit
             at each step; only when named
vm           guests with a kernel that has RDMA and NVMe-oF (qemu)
clang        a clang build, warnings are errors
asan         AddressSanitizer and UBSan: unit, conformance, one mount variant
tsan         ThreadSanitizer: unit and conformance
fuzz         each fuzzer of tests/fuzz for 10 seconds, from seeds that it makes
END
}

quick=no only=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=yes ;;
    --only)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        IFS=, read -r -a names <<<"$2"
        only+=("${names[@]}")
        shift
        ;;
    --list)
        list_stages
        exit 0
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        echo "run: unknown option: $1" >&2
        usage >&2
        exit 2
        ;;
    esac
    shift
done

stages=("${all_stages[@]}")
[ $quick = yes ] && stages=("${quick_stages[@]}")
[ ${#only[@]} -gt 0 ] && stages=("${only[@]}")
for stage in "${stages[@]}"; do
    [[ " ${all_stages[*]} ${extra_stages[*]} " == *" $stage "* ]] || {
        echo "run: no such stage: $stage (there are: ${all_stages[*]})" >&2
        exit 2
    }
done

# shellcheck source=tests/support/isolate.sh
. tests/support/isolate.sh
# shellcheck source=tests/support/stage.sh
. tests/support/stage.sh
# shellcheck source=tests/support/beside.sh
. tests/support/beside.sh

isolate "$0" "${stages[@]}"
stages_begin

# --- the stages -------------------------------------------------------------

jobs=$(nproc)
[ "$jobs" -gt 8 ] && jobs=8
export jobs

enable_uring() {
    local switch=/sys/module/fuse/parameters/enable_uring
    if [ ! -e "$switch" ]; then
        note "this kernel has no FUSE over io_uring: its variants will skip"
    elif [ "$(cat "$switch")" = Y ]; then
        note "FUSE over io_uring is enabled"
    elif echo Y 2>/dev/null >"$switch"; then
        note "enabled FUSE over io_uring: echo Y > $switch"
    else
        note "FUSE over io_uring is off and $switch can't be written: its variants will skip"
    fi
}

make_python() {
    [ -x build/venv/bin/python3 ] || python3 -m venv --system-site-packages build/venv || return 1
    build/venv/bin/python3 -c 'import safetensors' 2>/dev/null ||
        build/venv/bin/python3 -m pip install --quiet --disable-pip-version-check \
            --timeout 20 --retries 1 safetensors
}

stage_setup() {
    try packages 1800 tools/setup.sh --tests --deps-only
    if run 300 "$(log_of python)" make_python; then
        count 1 0 0
    else
        note "SKIPPED: safetensors could not be installed, its tests will skip (build/log/setup-python.log)"
        count 0 0 1
    fi
    enable_uring
}

# The interpreter that has numpy and safetensors where they could be had.
python() {
    if [ -x build/venv/bin/python3 ]; then echo build/venv/bin/python3; else echo python3; fi
}

# Files of this repository, also new ones, whose names match a pattern of git.
files_of() {
    git -c safe.directory="$top" ls-files --cached --others --exclude-standard -- "$@" |
        while IFS= read -r file; do [ -f "$file" ] && printf '%s\n' "$file"; done
}

scripts() {
    files_of | while IFS= read -r file; do
        head -c 64 "$file" | head -n 1 | grep -aqE '^#!.*\b(ba|da)?sh$' && printf '%s\n' "$file"
    done
    files_of 'deploy/completion/*.bash' '*.sh'
}

stage_lint() {
    local c all sh py
    mapfile -t all < <(files_of)
    mapfile -t c < <(files_of '*.c' '*.h')
    mapfile -t sh < <(scripts | sort -u)
    mapfile -t py < <(files_of '*.py')
    try format 120 clang-format --dry-run -Werror "${c[@]}" ||
        note "the cure: git ls-files '*.[ch]' | xargs clang-format -i"
    try words 60 python3 tests/lint/words.py "${all[@]}"
    try spelling 120 codespell --config tests/lint/spelling.cfg "${all[@]}"
    try shell 120 shellcheck -x -e SC2317 "${sh[@]}"
    try python 60 env PYTHONPYCACHEPREFIX="$TMPDIR/pyc" python3 -m py_compile "${py[@]}"
    try linters 60 python3 tests/lint/linters_test.py
    try setup 60 python3 tests/lint/setup_test.py
    try layers 60 python3 tests/lint/layers.py
    try configure 120 configure build || return
    try tidy 3000 nice -n 10 python3 tests/lint/tidy.py build "$jobs"
}

# What computes beside tests leaves them the processors when they want them.
configure() { # BUILD-DIR [CMAKE-ARGUMENT...]
    local folder=$1
    shift
    cmake -S . -B "$folder" -G Ninja -DMOONCAKE_WERROR=ON "$@"
}

build_fuzzers() { # BUILD-DIR
    configure "$1" -DCMAKE_C_COMPILER=clang -DMOONCAKE_FUZZ=ON \
        -DMOONCAKE_SANITIZE=address,undefined && nice -n 10 ninja -C "$1" -j "$jobs" --quiet fuzzers
}

# What makes it fail is in build/log; give it the file to see it again.
fuzz() { # PROGRAM
    local seeds=$TMPDIR/seeds-${1##*/}
    mkdir -p "$seeds"
    FUZZ_SEEDS=$seeds "$1" -runs=0 && "$1" -max_total_time=10 -max_len=4096 -timeout=10 \
        -artifact_prefix="build/log/${1##*/}-" "$seeds"
}

build() { # BUILD-DIR [CMAKE-ARGUMENT...]
    configure "$@" && nice -n 10 ninja -C "$1" -j "$jobs" --quiet
}

build_failpoints() {
    configure build-failpoints -DMOONCAKE_FAILPOINTS=ON &&
        nice -n 10 ninja -C build-failpoints -j "$jobs" --quiet mooncakefs mooncake-master mooncake-cli
}

export -f make_python configure build build_fuzzers build_failpoints fuzz

stage_build() {
    try compile 1800 build build
}

# Of several thousand tests with real processes, one may fail for what the machine did: what
# fails is run once more, and what passes then counts, but is shown at the end.  Not where
# each run is another (faults, failpoints), and not reports of sanitizers.
failure='Failure|Error|:[FE]:|runtime error|\*\*\*|Sanitizer'

# Run the programs under BUILD-DIR/tests; each case of theirs counts.  One ends for having
# hung, not for being slow: with ThreadSanitizer the longest take minutes.
ctest_suite() { # BUILD-DIR NAME [WRAPPER...]
    local log shaky
    log=$(log_of "$2")
    if [ ! -e "$1/CTestTestfile.cmake" ]; then
        fail "no tests were built in $1"
        count 0 1 0
        return
    fi
    run 2700 "$log" "${@:3}" ctest --test-dir "$1" --output-on-failure --verbose --timeout 900 \
        --repeat until-pass:2 -j "$jobs"
    local status=$?
    { read -r passed failed skipped && shaky=$(cat); } < <(python3 tests/support/ctest_sum.py "$log")
    [ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
    if [ "$failed" -gt 0 ]; then
        show_failures "$log" "$failure"
    elif [ -n "$shaky" ]; then
        note "$shaky"
        show_failures "$log" "$failure" shaky
    fi
    show_reports
    count "$passed" "$failed" "$skipped"
}

stage_unit() {
    ctest_suite build ctest
}

# Run a suite whose last line is "N passed, N failed, N skipped".
suite() { # NAME SECONDS SCRIPT [ARGUMENT...]
    local log last
    log=$(log_of "$1")
    if [ ! -e "$3" ]; then
        note "SKIPPED: there is no $3"
        count 0 0 1
        return
    fi
    LIVE=yes run "$2" "$log" "$(python)" "${@:3}"
    local status=$?
    last=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    show_reports
    grep -aE -A 20 '(^|\] )FAIL ' "$log" | head -n 60 | recall
    grep -aE -A 20 '  SHAKY: ' "$log" | head -n 60 | recall shaky
    if [ -z "$last" ]; then
        fail "$3 ended with status $status and without its closing line, see $log:"
        tail -n 20 "$log"
        count 0 1 0
        return
    fi
    read -r passed _ failed _ skipped _ <<<"$last"
    [ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
    count "$passed" "$failed" "$skipped"
}

short=()
[ $quick = yes ] && short=(--quick)

stage_mount() {
    suite suite 3000 tests/mount/run.py --again --bin build/bin "${short[@]}"
}

stage_integration() {
    suite suite 1800 tests/integration/run.py --again --bin build/bin "${short[@]}"
}

stage_faults() {
    suite suite 1800 tests/faults/run.py --schedules 20 --bin build/bin "${short[@]}"
    suite network 1800 tests/faults/run.py --network --schedules 12 --bin build/bin "${short[@]}"
    suite etcd 1800 tests/faults/run.py --etcd --schedules 10 --bin build/bin "${short[@]}"
    suite both 1800 tests/faults/run.py --network --etcd --schedules 10 --bin build/bin "${short[@]}"
}

stage_failpoints() {
    try compile 1800 build_failpoints || return
    suite suite 1800 tests/failpoints/run.py --bin build-failpoints/bin "${short[@]}"
}

stage_soak() {
    suite suite 3600 tests/faults/run.py --schedules 300 --keep-going --bin build/bin
    suite network 3600 tests/faults/run.py --network --schedules 200 --keep-going --bin build/bin
    suite etcd 3600 tests/faults/run.py --etcd --schedules 200 --keep-going --bin build/bin
    suite both 3600 tests/faults/run.py --network --etcd --schedules 200 --keep-going --bin build/bin
    try compile 1800 build_failpoints || return
    suite failpoints 3600 tests/failpoints/run.py --all --bin build-failpoints/bin
}

stage_vm() {
    suite suite 1800 tests/vm/run.py --again --bin build/bin "${short[@]}"
}

# For its warnings only, which do not depend on the optimisation; nothing of it is run.
stage_clang() {
    try compile 1800 build build-clang -DCMAKE_C_COMPILER=clang \
        -DCMAKE_C_FLAGS_RELWITHDEBINFO='-O0 -g0 -DNDEBUG'
}

stage_asan() {
    try compile 1800 build build-asan -DMOONCAKE_SANITIZE=address,undefined || return
    export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:log_path=$TMPDIR/report"
    export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:log_path=$TMPDIR/report"
    export LSAN_OPTIONS="suppressions=$top/tests/support/leaks.txt:print_suppressions=0"
    ctest_suite build-asan ctest
    suite mount 1800 tests/mount/run.py --again --bin build-asan/bin --quick \
        --variant passthrough=on,io_uring=on
}

stage_tsan() {
    local wrapper=()
    # Address randomisation of newer kernels is more than its runtime can map.
    setarch "$(uname -m)" -R true 2>/dev/null && wrapper=(setarch "$(uname -m)" -R)
    try compile 1800 build build-tsan -DMOONCAKE_SANITIZE=thread || return
    export TSAN_OPTIONS="second_deadlock_stack=1:halt_on_error=0:die_after_fork=0:log_path=$TMPDIR/report"
    ctest_suite build-tsan ctest "${wrapper[@]}"
}

stage_fuzz() {
    local program
    try compile 1800 build_fuzzers build-fuzz || return
    for program in build-fuzz/fuzz/fuzz-*; do
        try "$(basename "$program")" 120 fuzz "$program"
    done
}

# What each stage needs, and which begins first: those that mostly wait beside those that
# compute, the long ones early.
order='setup
build setup
integration build
unit build
vm build
tsan setup build
lint build
asan build
mount build
failpoints setup build
fuzz setup build
faults build
clang setup build
soak build failpoints'

if [ ${#stages[@]} -gt 1 ]; then
    # Each suite would put it back, amid the others.
    [[ " ${stages[*]} " == *" setup "* ]] || enable_uring
    # Many tests wait most of their time: one stage more than there are processors.
    beside $((jobs + 1)) "$order"
fi
stage "${stages[0]}"
stages_end
