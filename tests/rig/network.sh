#!/usr/bin/env bash
# The wire between this machine and the node, and the node's way out. Sourced.
#
# Only the node forwards for its pods; this machine forwards for the node, so
# that pods reach what this machine reaches (a package registry, say). What had
# to be changed here for it is written down and put back by `remove_network`.

# The rule that lets the node out, by which it is also found again.
outgoing_rule() {
    iptables -w -t nat "$1" POSTROUTING -s "$RIG_NODE_NETWORK" ! -d "$RIG_NODE_NETWORK" \
        -m comment --comment "$RIG_CGROUP" -j MASQUERADE
}

# The largest packet that this machine's way out takes. The node and its pods
# send none larger, so nothing depends on messages that packets were too large.
outer_mtu() {
    local device
    device=$(ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
    if [ -n "$device" ]; then cat "/sys/class/net/$device/mtu"; else echo 1500; fi
}

make_network() {
    local pid mtu
    pid=$(machine_pid)
    mtu=$(outer_mtu)
    ip link add "$RIG_LINK" mtu "$mtu" type veth peer name eth0 mtu "$mtu" netns "$pid"
    ip address add "$RIG_HOST_ADDRESS/24" dev "$RIG_LINK"
    ip link set "$RIG_LINK" up
    # shellcheck disable=SC2016 # the inner shell expands them
    on_machine bash -euc '
        ip address add "$1/24" dev eth0
        ip link set eth0 up
        ip route add default via "$2"
        echo 1 >/proc/sys/net/ipv4/ip_forward
        iptables -t nat -A POSTROUTING -s "$3" ! -d "$3" -o eth0 -j MASQUERADE
    ' _ "$RIG_NODE_ADDRESS" "$RIG_HOST_ADDRESS" "$RIG_POD_NETWORK"

    cat /proc/sys/net/ipv4/ip_forward >"$RIG_STATE/ip_forward"
    echo 1 >/proc/sys/net/ipv4/ip_forward
    outgoing_rule -A

    # What pods ask for names outside the cluster. A resolver on this machine's
    # loopback is out of their reach; systemd keeps the ones behind it.
    local resolv=/etc/resolv.conf
    if grep -q '^nameserver 127\.' $resolv && [ -e /run/systemd/resolve/resolv.conf ]; then
        resolv=/run/systemd/resolve/resolv.conf
    fi
    cp -L $resolv "$RIG_STATE/etc/resolv.conf"
}

remove_network() {
    ip link delete "$RIG_LINK" 2>/dev/null || true
    while outgoing_rule -D 2>/dev/null; do :; done
    if [ -e "$RIG_STATE/ip_forward" ]; then
        cat "$RIG_STATE/ip_forward" >/proc/sys/net/ipv4/ip_forward
    fi
}
