# shellcheck shell=bash
# What a job in a guest can call; bash reads it before each.

# Two soft-RoCE devices, rxe0 and rxe1, on the two ends of a pair of veth:
# 10.1.0.1 and 10.1.0.2.  Both ends are this machine's, so what goes from one to
# the other would never leave it: the routes of the table 100 come before those
# to local addresses, but not for what arrives.
rxe_pair() {
    local end
    modprobe -a crc32_generic rdma_rxe rdma_ucm veth
    ip link add v0 type veth peer name v1
    for end in 0 1; do
        echo 1 >"/proc/sys/net/ipv4/conf/v$end/accept_local"
        ip link set "v$end" mtu 9000 up
        ip address add "10.1.0.$((end + 1))/24" dev "v$end"
        ip rule add pref 1 dev "v$end" lookup local
        ip route add "10.1.0.$((2 - end))" dev "v$end" src "10.1.0.$((end + 1))" table 100
    done
    ip rule add pref 2 lookup 100
    ip rule add pref 3 lookup local
    ip rule del pref 0
    for end in 0 1; do
        ip neigh add "10.1.0.$((2 - end))" dev "v$end" \
            lladdr "$(cat "/sys/class/net/v$((1 - end))/address")"
        rdma link add "rxe$end" type rxe netdev "v$end"
    done
}

# The same by IPv6, 2001:db8::1 and ::2: one more entry in the GID table of each.
rxe_pair_ipv6() {
    local end
    for end in 0 1; do
        ip -6 address add "2001:db8::$((end + 1))/64" dev "v$end" nodad
        ip -6 rule add pref 1 dev "v$end" lookup local
        ip -6 route add "2001:db8::$((2 - end))" dev "v$end" table 100
        ip -6 neigh add "2001:db8::$((2 - end))" dev "v$end" \
            lladdr "$(cat "/sys/class/net/v$((1 - end))/address")"
    done
    ip -6 rule add pref 2 lookup 100
    ip -6 rule add pref 3 lookup local
    ip -6 rule del pref 0
    for end in 0 1; do
        within 10 grep -q 2001:0db8 "/sys/class/infiniband/rxe$end"/ports/1/gids/[0-7]
    done
}

# The soft-RoCE device rxe0 on the network that connects the guests.
rxe_eth() {
    modprobe -a crc32_generic rdma_rxe rdma_ucm
    rdma link add rxe0 type rxe netdev eth0
}

# Wait up to SECONDS until a command succeeds.
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not within its time: $*" >&2; return 1; }
        sleep 0.1
    done
}

# Something in this machine listens on a TCP port.
listens() { # PORT
    grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf %04x "$1") [0-9A-F:]* 0A " /proc/net/tcp /proc/net/tcp6
}

# A process has ended; init may not have looked after it yet.
ended() { # PID
    ! grep -q . "/proc/$1/cmdline" 2>/dev/null
}

# Serve disks in memory by the kernel's NVMe-oF target, on port 4420.
nvmet_serve() { # tcp|rdma ADDRESS NQN COUNT MEGABYTES
    local transport=$1 address=$2 nqn=$3 count=$4 number folder
    local top=/sys/kernel/config/nvmet
    modprobe brd rd_nr="$count" rd_size=$(($5 * 1024)) max_part=0
    modprobe -a nvmet "nvmet-$transport"
    [ -d $top ] || mount -t configfs configfs /sys/kernel/config
    mkdir "$top/subsystems/$nqn"
    echo 1 >"$top/subsystems/$nqn/attr_allow_any_host"
    for ((number = 1; number <= count; number++)); do
        folder=$top/subsystems/$nqn/namespaces/$number
        mkdir "$folder"
        echo -n "/dev/ram$((number - 1))" >"$folder/device_path"
        echo 1 >"$folder/enable"
    done
    mkdir "$top/ports/1"
    echo ipv4 >"$top/ports/1/addr_adrfam"
    echo "$transport" >"$top/ports/1/addr_trtype"
    echo "$address" >"$top/ports/1/addr_traddr"
    echo 4420 >"$top/ports/1/addr_trsvcid"
    ln -s "$top/subsystems/$nqn" "$top/ports/1/subsystems/$nqn"
}

# Connect to such a target; prints the devices of its namespaces.
nvme_connect() { # tcp|rdma ADDRESS NQN
    modprobe "nvme-$1"
    nvme connect -t "$1" -a "$2" -s 4420 -n "$3" >/dev/null || return
    within 10 test -b /dev/nvme0n1
    sleep 0.5
    ls /dev/nvme0n*
}
