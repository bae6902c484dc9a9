#!/usr/bin/env bash
# Hosts outside the cluster, as pods see them: a machine each, at an address that
# no rig may ask for real. What answers at it says which host it is. Sourced.

# The address of RIG_MACHINE, by its name.
outside_address() {
    case $RIG_MACHINE in
        metadata) echo "$RIG_METADATA_ADDRESS" ;;
        internet) echo "$RIG_INTERNET_ADDRESS" ;;
    esac
}

# Nodes find it on their wire, and it finds them there.
make_outside_host() {
    local address RIG_MACHINE=$RIG_MACHINE
    address=$(outside_address)
    on_machine ip address add "$address/32" dev eth0
    on_machine ip route add "$RIG_NODE_NETWORK" dev eth0
    for RIG_MACHINE in "${RIG_NODES[@]}"; do
        on_machine ip route add "$address/32" dev eth0
    done
}

start_outside-host() {
    local pages=$RIG_STATE/$RIG_MACHINE/etc/pages
    mkdir -p "$pages"
    echo "$RIG_MACHINE" >"$pages/index.html"
    start_daemon outside-host busybox httpd -f -p 80 -h "$pages"
}
