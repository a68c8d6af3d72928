# shellcheck shell=bash
# Name spaces for a run of the tests, so that it leaves nothing behind.
#
# isolate SCRIPT STAGE...  starts the script again as the first process of its
# own mount and process name spaces, and exits with its status.  When it ends,
# in whatever way, the kernel ends all its processes and takes down all its
# mounts.  Where that is not to be had the run goes on as it is.
#
# Signals that were ignored at the start are set back: libfuse installs no
# handler for a signal that it finds ignored, and a shell script can't undo it.

isolate() {
    local script=$1 inner
    shift
    [ -n "${MOONCAKE_TEST_INNER:-}" ] && return
    export MOONCAKE_TEST_INNER=yes
    local arguments=(--only "$(IFS=,; echo "$*")")
    # shellcheck disable=SC2154 # quick is the caller's
    [ "$quick" = yes ] && arguments+=(--quick)
    local defaults=(env "--default-signal=INT,QUIT,HUP,TERM,PIPE")
    # Whoever kills this shell ends the rest too: unshare at once, its child in order.
    local spaces=(setpriv --pdeathsig KILL unshare --mount --pid --fork --mount-proc --propagation private)
    if ! "${spaces[@]}" true 2>/dev/null; then
        echo "run: no name spaces of our own to be had, running without"
        exec "${defaults[@]}" bash "$script" "${arguments[@]}"
    fi
    set -m
    "${spaces[@]}" --kill-child=TERM "${defaults[@]}" bash "$script" "${arguments[@]}" </dev/null &
    local outer=$!
    trap 'kill -TERM $(cat "/proc/$outer/task/$outer/children") 2>/dev/null' INT TERM HUP
    wait "$outer"
    inner=$?
    while kill -0 "$outer" 2>/dev/null; do
        wait "$outer"
        inner=$?
    done
    exit "$inner"
}
