#!/usr/bin/env bash
# The wires between this machine and those of the rig, and their way out. Sourced.
#
# Nodes forward for their pods; this machine forwards for the nodes, so that
# pods reach what this machine reaches (a package registry, say). What had to be
# changed here for it is written down and put back by `remove_network`.

# The rule that lets the nodes out. Not what goes from one machine of the rig to
# another: a kernel with br_netfilter shows bridged packets to iptables as well.
allow_outgoing() {
    iptables -w -t nat -A POSTROUTING -s "$RIG_NODE_NETWORK" ! -o "$RIG_LINK" \
        -m comment --comment "$RIG_CGROUP" -j MASQUERADE
}

# Prints that rule as it stands, found by its comment.
outgoing_rules() { iptables -w -t nat -S POSTROUTING | grep -E -- "--comment \"?$RIG_CGROUP\"? " || true; }

# The largest packet that this machine's way out takes. The node and its pods
# send none larger, so nothing depends on messages that packets were too large.
outer_mtu() {
    local device
    device=$(ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
    if [ -n "$device" ]; then cat "/sys/class/net/$device/mtu"; else echo 1500; fi
}

# attach_machine NUMBER: joins RIG_MACHINE to the bridge.
attach_machine() {
    local link=$RIG_LINK-$1 mtu
    mtu=$(outer_mtu)
    ip link add "$link" mtu "$mtu" type veth peer name eth0 mtu "$mtu" netns "$(machine_pid)"
    ip link set "$link" master "$RIG_LINK" up
    on_machine ip link set eth0 up
}

# Who calls a Service in the moment before kube-proxy knows it is refused, as by one
# without a pod: on its way out the packet might meet a host that answers anything.
make_network() {
    local RIG_MACHINE other number=0
    if ip -4 -brief address show | grep -qF " $RIG_HOST_ADDRESS/"; then
        echo "cluster: something on this machine has the address $RIG_HOST_ADDRESS already; another REMORA_RIG has others" >&2
        return 1
    fi
    ip link add "$RIG_LINK" type bridge
    ip address add "$RIG_HOST_ADDRESS/24" dev "$RIG_LINK"
    ip link set "$RIG_LINK" up
    for RIG_MACHINE in "${RIG_NODES[@]}"; do
        attach_machine "$((++number))"
        # shellcheck disable=SC2016 # the inner shell expands them
        on_machine bash -euc '
            ip address add "$1/24" dev eth0
            ip route add default via "$2"
            echo 1 >/proc/sys/net/ipv4/ip_forward
            iptables -t nat -A POSTROUTING -s "$3" ! -d "$3" -o eth0 -j MASQUERADE
            for chain in FORWARD OUTPUT; do iptables -A $chain -d "$4" -o eth0 -j REJECT; done
        ' _ "$(node_address "$RIG_MACHINE")" "$RIG_HOST_ADDRESS" "$RIG_POD_NETWORK" "$RIG_SERVICE_NETWORK"
        for other in "${RIG_NODES[@]}"; do
            [ "$other" = "$RIG_MACHINE" ] ||
                on_machine ip route add "$(node_pod_network "$other")" via "$(node_address "$other")"
        done
    done
    for RIG_MACHINE in "${RIG_HOSTS[@]}"; do
        attach_machine "$((++number))"
        make_outside_host
    done

    # Of several rigs the first found it as it was; see remove_network.
    cat "$(other_rigs_forwarding | head -n 1)" >"$RIG_STATE/ip_forward"
    echo 1 >/proc/sys/net/ipv4/ip_forward
    allow_outgoing

    # What pods ask for names outside the cluster. A resolver on this machine's
    # loopback is out of their reach; systemd keeps the ones behind it.
    local resolv=/etc/resolv.conf
    if grep -q '^nameserver 127\.' $resolv && [ -e /run/systemd/resolve/resolv.conf ]; then
        resolv=/run/systemd/resolve/resolv.conf
    fi
    cp -L $resolv "$RIG_STATE/etc/resolv.conf"
}

# Where other rigs wrote down whether this machine forwarded before them; last,
# where it stands now.
other_rigs_forwarding() {
    find /srv -mindepth 2 -maxdepth 2 -path '/srv/remora-rig*/ip_forward' ! -path "$RIG_STATE/*"
    echo /proc/sys/net/ipv4/ip_forward
}

remove_network() {
    local link rule
    for link in $(rig_links); do ip link delete "$link" 2>/dev/null || true; done
    outgoing_rules | while read -ra rule; do
        iptables -w -t nat -D "${rule[@]:1}"
    done
    # The last rig puts it back.
    if [ -e "$RIG_STATE/ip_forward" ] && [ "$(other_rigs_forwarding | wc -l)" = 1 ]; then
        cat "$RIG_STATE/ip_forward" >/proc/sys/net/ipv4/ip_forward
    fi
}

# Every device of the rig on this machine: the wires, and the bridge.
rig_links() { ip -brief link show | sed -nE "s/^($RIG_LINK(-[0-9]+)?)(@[^ ]*)? .*/\1/p"; }
