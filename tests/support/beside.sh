# shellcheck shell=bash disable=SC2154 # what stage.sh and the script have
# Stages of a run side by side, told one after the other.
#
#   beside LANES ORDER      run those of $stages, LANES of them at a time, then do
#                           stages_end(); ORDER has lines of "STAGE NEEDED...", the
#                           first to begin first
#
# Each stage is a run of this script of its own: its shell, its mounts, its folder and
# its mark on what it starts, so that each finds what it left itself.  What it says is
# shown whole when those before it in ORDER have been shown, line by line when it is its
# turn already.  A stage begins when the stages that it needs have ended, also
# where they failed.
#
# Such a run is told by MOONCAKE_TEST_PART where to write what it came to.

declare -A running=() ended=()
told=0 # bytes shown of what the stage whose turn it is said

# What the run of one stage gives to the shell that began it: the counts, a row of the
# table, and what is recalled at the end.
part_end() {
    [ -s "$TMPDIR/shaky" ] && cp "$TMPDIR/shaky" "$MOONCAKE_TEST_PART.shaky"
    [ -s "$TMPDIR/failures" ] && cp "$TMPDIR/failures" "$MOONCAKE_TEST_PART.failures"
    printf '%s\n' "$sum_passed $sum_failed $sum_skipped" "${table[0]}" >"$MOONCAKE_TEST_PART"
    exit 0
}

part_begin() { # STAGE
    local part=$TMPDIR/part-$1 arguments=(--only "$1") spaces=()
    [ "$quick" = yes ] && arguments+=(--quick)
    [ "$own_mounts" = yes ] && spaces=(unshare --mount --propagation private)
    env TMPDIR="$beside_tmp" MOONCAKE_TEST_PART="$part" MOONCAKE_TEST_MOUNTS="$own_mounts" \
        setpriv --pdeathsig TERM "${spaces[@]}" bash "$0" "${arguments[@]}" \
        </dev/null >"$part.out" 2>&1 &
    running[$1]=$!
}

# End what still runs; each ends what it started and removes its folder.
parts_stop() {
    local pid
    [ ${#running[@]} -gt 0 ] || return
    for pid in "${running[@]}"; do kill -TERM "$pid" 2>/dev/null; done
    wait "${running[@]}" 2>/dev/null
}

part_add() { # STAGE
    local part=$TMPDIR/part-$1 passed failed skipped row list
    wait "${running[$1]}"
    ended[$1]=yes
    unset "running[$1]"
    if [ ! -s "$part" ]; then
        stage_name=$1 fail "its shell was ended" >>"$part.out"
        printf '0 1 0\n%s\n' "$(table_row "$1" 0 1 0 0 0)" >"$part"
    fi
    { read -r passed failed skipped && read -r row; } <"$part"
    printf '%s\n' "$row" >"$part.row"
    sum_passed=$((sum_passed + passed))
    sum_failed=$((sum_failed + failed))
    sum_skipped=$((sum_skipped + skipped))
    for list in shaky failures; do
        [ -s "$part.$list" ] && cat "$part.$list" >>"$TMPDIR/$list"
    done
}

# Show what the stage whose turn it is has said since; 1 when it can say more.
tell() { # STAGE
    local out=$TMPDIR/part-$1.out over=${ended[$1]:-} size
    [ -e "$out" ] || return 1
    size=$(stat -c %s "$out")
    [ "$size" -gt "$told" ] && tail -c +$((told + 1)) "$out" | head -c $((size - told))
    told=$size
    [ -n "$over" ] || return 1
    told=0
    table+=("$(cat "$TMPDIR/part-$1.row")")
}

may_begin() { # NEEDED...
    local stage
    for stage in "$@"; do
        [[ " ${stages[*]} " != *" $stage "* ]] || [ -n "${ended[$stage]:-}" ] || return 1
    done
}

beside() { # LANES ORDER
    local lanes=$1 waiting=() left=() line stage needed i
    while read -r line; do
        [[ " ${stages[*]} " == *" ${line%% *} "* ]] || continue
        waiting+=("$line")
        left+=("${line%% *}")
    done <<<"$2"
    while [ ${#left[@]} -gt 0 ]; do
        for i in "${!waiting[@]}"; do
            read -r stage needed <<<"${waiting[i]}"
            [ ${#running[@]} -lt "$lanes" ] || break
            # shellcheck disable=SC2086 # several words
            may_begin $needed || continue
            unset "waiting[i]"
            part_begin "$stage"
        done
        sleep 0.3
        for stage in "${!running[@]}"; do
            kill -0 "${running[$stage]}" 2>/dev/null || part_add "$stage"
        done
        while [ ${#left[@]} -gt 0 ] && tell "${left[0]}"; do left=("${left[@]:1}"); done
    done
    stages_end
}
