# shellcheck shell=bash
# Packages of another suite, without touching what this machine has installed.
#
# suite_apt FOLDER SUITE KIND   a private configuration of apt in FOLDER for SUITE
#                               (KIND deb or deb-src), from the mirror and with the
#                               key that this machine's own apt uses; sets `apt` to
#                               the options for apt-get and apt-cache

# The mirror of Debian, as this machine's own apt is configured.
mirror() {
    local file uri
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list \
        /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        uri=$(awk '$1 == "URIs:" || $1 == "deb" || $1 == "deb-src" {
                 for (i = 2; i <= NF; i++) if ($i ~ /^https?:.*\/debian\/?$/) { print $i; exit }
             }' "$file")
        [ -n "$uri" ] && echo "$uri" && return
    done
}

suite_apt() { # FOLDER SUITE KIND
    local uri key=/usr/share/keyrings/debian-archive-keyring.gpg signed=
    uri=$(mirror) || uri=
    [ -n "$uri" ] || {
        echo "no Debian mirror in this machine's apt sources" >&2
        return 1
    }
    [ -f $key ] && signed="[signed-by=$key] "
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
    echo "$3 $signed$uri $2 main" >"$1/sources.list"
    # shellcheck disable=SC2034 # the caller's
    apt=(-q -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$1/lists" -o "Dir::Cache=$1/cache" -o APT::Sandbox::User=root)
}
