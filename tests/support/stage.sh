# shellcheck shell=bash
# Stages of a run: what they count, what they leave, the table at the end.
#
#   stages_begin            once, before the first stage
#   stage NAME              run stage_NAME, then look for what it left
#   stages_end              the table, the closing line, exit; of a stage that
#                           runs for another shell (beside.sh) only its part
#
# Within a stage:
#   run SECONDS LOG CMD...  a command with a limit, its output in LOG
#                           (LIVE=yes: on the screen too)
#   try NAME SECONDS CMD... one check: a pass, or a failure that shows its log
#   count P F S             add to the stage's results
#   note TEXT               a line for the reader
#   log_of NAME             the path of a log of this stage

job=
stage_name=
# A mount name space of our own, where all mounts are ours.
own_mounts=no
{ [ $$ = 1 ] || [ "${MOONCAKE_TEST_MOUNTS:-}" = yes ]; } && own_mounts=yes
table=()
sum_passed=0 sum_failed=0 sum_skipped=0

stages_begin() {
    # Children get process groups of their own, so that all of one can be ended.
    set -m
    logs=$PWD/build/log
    mkdir -p "$logs"
    # shellcheck disable=SC2034 # for beside.sh: where stages make their folders
    beside_tmp=${TMPDIR:-/tmp}
    TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/mooncake-test.XXXXXX") || exit 1
    # Tests become other users, who must get to their mounts in it.
    chmod 755 "$TMPDIR"
    # What we start carries this, so what is left over can be told from others.
    MOONCAKE_TEST_RUN=$(basename "$TMPDIR")
    export TMPDIR MOONCAKE_TEST_RUN
    # In a name space of our own this hides the machine's, so it begins empty.
    [ $own_mounts = yes ] && mount -t tmpfs -o size=100%,mode=1777 tmpfs /dev/shm
    trap 'echo "run: stopped by a signal"; exit 130' INT TERM HUP
    trap stages_clean EXIT
}

stages_clean() {
    trap '' INT TERM HUP
    parts_stop
    if [ -n "$job" ]; then
        kill -TERM -- "-$job" 2>/dev/null && sleep 1
    fi
    end_processes "$(our_processes)"
    undo_mounts "$(mounts | comm -13 <(printf '%s\n' "${mounts_before:-}") -)"
    rm -rf --one-file-system "$TMPDIR"
}

# The processes that this run started and that still live.
our_processes() {
    local pid
    # The parts of the pipe themselves are gone when the loop looks.
    grep -lzxF "MOONCAKE_TEST_RUN=$MOONCAKE_TEST_RUN" /proc/[0-9]*/environ 2>/dev/null |
        cut -d / -f 3 | sort -n | while read -r pid; do
        [ "$pid" != $$ ] && readlink -e "/proc/$pid/exe" >/dev/null && echo "$pid"
    done
}

# The same, after those that are about to end have had time to.
lasting_processes() {
    local left tries
    for tries in 1 2 3 4 5 6; do
        left=$(our_processes)
        [ -z "$left" ] && return
        [ "$tries" -lt 6 ] && sleep 0.5
    done
    echo "$left"
}

end_processes() {
    local pid
    for pid in $1; do kill -TERM "$pid" 2>/dev/null; done
    [ -n "$1" ] && sleep 1
    for pid in $1; do kill -KILL "$pid" 2>/dev/null; done
}

# Mounts as "id type place", those that are ours: all of them in a name space
# of our own, else those in our folder.
mounts() {
    awk '{ for (i = 7; $i != "-"; i++); print $1, $(i + 1), $5 }' /proc/self/mountinfo |
        if [ $own_mounts = yes ]; then cat; else grep -F " $TMPDIR/"; fi | sort
}

undo_mounts() {
    local place
    while read -r _ _ place; do
        [ -n "$place" ] && umount -l "$(printf '%b' "$place")" 2>/dev/null
    done <<<"$1"
}

run() {
    local seconds=$1 log=$2 status follower=
    shift 2
    : >"$log"
    # timeout(1) starts programs only; functions are exported for it.
    [ "$(type -t "$1")" = function ] && set -- bash -c '"$@"' run "$@"
    timeout --kill-after=20 "$seconds" "$@" >>"$log" 2>&1 </dev/null &
    job=$!
    if [ "${LIVE:-no}" = yes ]; then
        # Indented: the run has one closing line only.
        tail -n +1 -s 0.2 -f --pid=$job "$log" 2>/dev/null | sed -u 's/^/   /' &
        follower=$!
    fi
    wait "$job"
    status=$?
    job=
    [ -n "$follower" ] && wait "$follower"
    [ "$status" -eq 124 ] && note "stopped after $seconds seconds"
    return "$status"
}

log_of() { echo "$logs/$stage_name-$1.log"; }

note() { printf '   %s\n' "$*"; }

# A line that is shown again at the end, where a long run is read first.
fail() {
    note "FAILED: $*"
    recall <<<"FAILED: $*"
}

# Keep what is read here for the end: what failed, or LIST "shaky", passed when run again.
recall() { # [LIST]
    sed "s/^/$stage_name: /" >>"$TMPDIR/${1:-failures}"
}

try() {
    local name=$1 seconds=$2 start=$SECONDS log
    shift 2
    log=$(log_of "$name")
    if run "$seconds" "$log" "$@"; then
        note "ok      $name ($((SECONDS - start)) s)"
        count 1 0 0
    else
        fail "$name ($((SECONDS - start)) s), see ${log#"$PWD"/}:"
        tail -n 40 "$log"
        tail -n 10 "$log" | recall
        count 0 1 0
        return 1
    fi
}

show_failures() { # LOG PATTERN [LIST]
    local lines
    note "from ${1#"$PWD"/}:"
    lines=$(grep -aE "$2" "$1" | grep -avE 'Failures: 0, Errors: 0$|^100% ' | head -n 60)
    printf '%s\n' "$lines"
    head -n 20 <<<"$lines" | recall "${3:-}"
}

# What sanitizers wrote, also in processes whose end nobody looked at.
show_reports() {
    local report
    for report in "$TMPDIR"/report.*; do
        [ -e "$report" ] || continue
        cp "$report" "$(log_of "$(basename "$report")")"
        fail "a sanitizer's report:"
        head -n 60 "$report"
        head -n 15 "$report" | recall
        rm -f "$report"
        count 0 1 0
    done
}

count() {
    stage_passed=$((stage_passed + $1))
    stage_failed=$((stage_failed + $2))
    stage_skipped=$((stage_skipped + $3))
}

# Fail the stage for what it left, and remove it.
clear_up() {
    local left pid
    left=$(lasting_processes)
    if [ -n "$left" ]; then
        for pid in $left; do
            fail "left running: $pid $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")"
        done
        end_processes "$left"
        count 0 1 0
    fi
    left=$(mounts | comm -13 <(printf '%s\n' "$mounts_before") -)
    if [ -n "$left" ]; then
        fail "left mounted: $left"
        undo_mounts "$left"
        count 0 1 0
    fi
    if [ $own_mounts = yes ] && [ -n "$(ls -A /dev/shm)" ]; then
        fail "left in /dev/shm: $(find /dev/shm -mindepth 1 -maxdepth 1 | head -n 5)"
        find /dev/shm -mindepth 1 -delete
        count 0 1 0
    fi
}

stage() {
    local start=$SECONDS processor
    processor=$(processor_seconds)
    stage_name=$1 stage_passed=0 stage_failed=0 stage_skipped=0
    mounts_before=$(mounts)
    echo "== $1"
    "stage_$1"
    clear_up
    note "$1 took $((SECONDS - start)) s: $stage_passed passed, $stage_failed failed, $stage_skipped skipped"
    sum_passed=$((sum_passed + stage_passed))
    sum_failed=$((sum_failed + stage_failed))
    sum_skipped=$((sum_skipped + stage_skipped))
    table+=("$(table_row "$1" $stage_passed $stage_failed $stage_skipped \
        $((SECONDS - start)) $(($(processor_seconds) - processor)))")
}

table_row() { printf '%-12s %8d %8d %8d %7d s %7d s' "$@"; }

# What the processes that this shell has waited for, and they, used in all.
processor_seconds() {
    local fields
    read -r -a fields <"/proc/$$/stat"
    echo $(((fields[15] + fields[16]) / $(getconf CLK_TCK)))
}

recalled() { # LIST TITLE
    [ -s "$TMPDIR/$1" ] || return
    printf '\n== %s\n' "$2"
    cat "$TMPDIR/$1"
}

stages_end() {
    [ -n "${MOONCAKE_TEST_PART:-}" ] && part_end
    recalled shaky "what failed and passed when it was run again: look into it"
    recalled failures "what failed"
    printf '\n%-12s %8s %8s %8s %9s %9s\n' stage passed failed skipped time processor
    printf '%s\n' "${table[@]}"
    printf '%d passed, %d failed, %d skipped\n' $sum_passed $sum_failed $sum_skipped
    [ $sum_failed -eq 0 ]
    exit
}
