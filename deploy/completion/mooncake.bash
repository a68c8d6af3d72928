# shellcheck shell=bash
# Bash completion for mooncake, mooncakefs, mooncake-master and mooncake-bench.
# For /usr/share/bash-completion/completions/mooncake (links for the others).
#
# Option names come from each program's own --help, keys from `mooncake ls`, so
# both stay true.  A master that does not answer costs two seconds at most.

_mooncake_commands='status ls stat put get rm exists locate stats master policy node drain nvmeof journal'

_mooncake_reply() { # WORDS...
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
}

_mooncake_files() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

# The long options that `PROGRAM [COMMAND] --help` names.
_mooncake_long_options() {
    "$@" --help 2>/dev/null | grep -oE -- '(^|[ ,[|])--[a-z][a-z0-9-]*' | grep -oE -- '--.*' | sort -u
}

# The names that -o takes: lines of `mooncakefs --help` that begin with NAME=.
_mooncake_mount_options() {
    "$1" --help 2>/dev/null | grep -oE '^ +(-o )?[a-z][a-z0-9_]*(=|$| )' |
        grep -oE '[a-z][a-z0-9_]*=?' | sort -u
}

# What was given as --master and --mount, to ask the same cluster.
_mooncake_cluster() {
    local i j value option
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -M | --master) option=--master ;;
        -m | --mount) option=--mount ;;
        *) continue ;;
        esac
        # Readline splits "host:port" and "--master=..." at = and :.
        j=$((i + 1))
        [ "${COMP_WORDS[j]:-}" = = ] && ((j++))
        value=${COMP_WORDS[j]:-}
        [ "${COMP_WORDS[j + 1]:-}" = : ] && value+=:${COMP_WORDS[j + 2]:-}
        case $value in
        '' | -*) ;;
        *) printf '%s\n' "$option" "$value" ;;
        esac
    done
}

# Keys that begin like the current word, a directory at a time.
_mooncake_keys() {
    local folder="" cluster
    [[ $cur == */* ]] && folder=${cur%/*}
    mapfile -t cluster < <(_mooncake_cluster)
    compopt -o nospace
    local IFS=$'\n' name
    COMPREPLY=()
    while read -r name; do
        name=${folder:+$folder/}$name
        [[ $name == "$cur"* ]] && COMPREPLY+=("$(printf '%q' "$name")")
    done < <(timeout 2 "${words[0]}" "${cluster[@]}" --timeout 1s ls -- "$folder" 2>/dev/null)
    # A key that is complete ends with a space, a directory goes on.
    if [ ${#COMPREPLY[@]} -eq 1 ] && [[ ${COMPREPLY[0]} != */ ]]; then
        compopt +o nospace
    fi
}

_mooncake_takes_next() { # WORD
    case $1 in -m | -M | -t | --mount | --master | --timeout) ;; *) return 1 ;; esac
}

# The command among the words before the cursor, and how many came after it.
_mooncake_command() {
    local i
    command='' operands=0
    for ((i = 1; i < COMP_CWORD; i++)); do
        if _mooncake_takes_next "${COMP_WORDS[i]}"; then
            # The value, which readline splits at = and :, is no operand.
            [ "${COMP_WORDS[++i]:-}" = = ] && ((i++))
            [ "${COMP_WORDS[i + 1]:-}" = : ] && ((i += 2))
        elif [ -n "$command" ]; then
            [[ ${COMP_WORDS[i]} == -* ]] || ((operands++))
        elif [[ " $_mooncake_commands " == *" ${COMP_WORDS[i]} "* ]]; then
            command=${COMP_WORDS[i]}
        fi
    done
}

_mooncake() {
    local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") command operands
    _mooncake_command
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    -m | --mount)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    esac
    case $cur in
    -*)
        _mooncake_reply "$(_mooncake_long_options "${words[0]}" ${command:+"$command"})"
        return
        ;;
    esac
    case $command in
    '') _mooncake_reply "$_mooncake_commands" ;;
    ls | stat | rm | exists | locate) _mooncake_keys ;;
    policy) if [ "$operands" -eq 0 ]; then _mooncake_reply "set unset show list"; else _mooncake_keys; fi ;;
    node) _mooncake_reply "list remove" ;;
    master) _mooncake_reply "status step-down" ;;
    nvmeof) [ "$operands" -eq 0 ] && _mooncake_reply "register mount show forget" ;;
    journal) if [ "$operands" -eq 0 ]; then _mooncake_reply "dump check"; else _mooncake_files; fi ;;
    put) if [ "$operands" -eq 0 ]; then _mooncake_files; else _mooncake_keys; fi ;;
    get) if [ "$operands" -eq 0 ]; then _mooncake_keys; else _mooncake_files; fi ;;
    esac
}

_mooncakefs() {
    local cur=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT}
    # Readline splits words at = and : too; a list of options is one word here.
    local token=${line##* } before=${line% *}
    if [ "${before##* }" = -o ]; then
        local given='' seen=''
        [[ $token == *,* ]] && given=${token%,*},
        [[ $token == *[=:]* ]] && seen=${token%"${token##*[=:]}"}
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -P "${given#"$seen"}" -W \
            "$(_mooncake_mount_options "${COMP_WORDS[0]}")" -- "${token##*,}")
    elif [[ $cur == -* ]]; then
        _mooncake_reply "-f -o $(_mooncake_long_options "${COMP_WORDS[0]}")"
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    fi
}

_mooncake_other() {
    local cur=${COMP_WORDS[COMP_CWORD]}
    if [[ $cur == -* ]]; then
        _mooncake_reply "$(_mooncake_long_options "${COMP_WORDS[0]}")"
    elif [[ ${COMP_WORDS[0]} == *bench ]]; then
        _mooncake_reply "$("${COMP_WORDS[0]}" --help 2>/dev/null | grep -oE '^  [a-z]+ ')"
    else
        _mooncake_files
    fi
}

complete -F _mooncake mooncake
complete -F _mooncakefs mooncakefs
complete -F _mooncake_other mooncake-master mooncake-bench
