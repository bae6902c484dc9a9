#!/usr/bin/env bash
# The bare rig: a real Kubernetes of one node on a Debian machine, without
# Docker and without an image from outside. Sourced; `bare_up` starts it,
# `bare_down` ends it.
#
# What it is made of, in the order in which it stands up:
#   packages.sh       containerd, runc, CNI plugins, the registry: from Debian
#   build.sh          etcd, Kubernetes, CoreDNS, Helm: compiled once, cached
#   images.sh         the few images it needs itself
#   machine.sh        the node's machine: namespaces and a cgroup
#   network.sh        its wire to this machine
#   certificates.sh   who is who
#   control-plane.sh  etcd, API server, controllers, scheduler
#   node.sh           containerd, kubelet, kube-proxy, the pods' network
#   registry.sh       where the kubelet pulls from
#   dns.sh            names
#   storage.sh        volumes on demand
#   health.sh         which part is broken
# shellcheck source=tests/rig/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
for part in wait packages build images machine network certificates control-plane node registry dns storage health; do
    # shellcheck source=/dev/null
    source "$RIG_SOURCE/$part.sh"
done

bare_up() {
    [ "$(id -u)" = 0 ] || { echo "cluster: namespaces and cgroups need root; run it as root" >&2; return 1; }
    install_packages
    build_programs
    make_images

    local broken
    if [ -e "$RIG_STATE" ] || [ -n "$(find_cgroups)" ]; then
        broken=$(why_not_usable)
        if [ -z "$broken" ]; then
            echo "cluster: already running and healthy"
            return
        fi
        printf 'cluster: %s\n' "$broken" "rebuilding it"
        bare_down >/dev/null
    fi
    start_everything
}

# Says why a cluster that was started before cannot be used as it is.
why_not_usable() {
    if ! machine_pid >/dev/null; then
        echo "it was started before and its machine is gone"
    elif [ "$(cat "$RIG_STATE/sources" 2>/dev/null)" != "$(rig_sources)" ]; then
        echo "it was started by other files of the rig than these, or never whole"
    else
        broken_parts
    fi
}

rig_sources() { cat "$RIG_SOURCE"/*.sh "$RIG_SOURCE"/*.yaml "$RIG_SOURCE"/go.* | sha256sum; }

start_everything() {
    start_machine
    make_network
    make_certificates

    start_etcd
    start_containerd
    start_registry
    wait_for 30 registry
    push_image pause "$RIG_REGISTRY/pause:1"
    wait_for 30 etcd
    start_kube-apiserver
    # The others give up, or wait long, where it does not answer yet; and the
    # controllers exit while its roles are not there.
    wait_for 60 kube-apiserver
    start_kube-controller-manager
    start_kube-scheduler
    start_kubelet
    start_kube-proxy
    start_dns
    start_storage-provisioner
    wait_for 30 containerd
    wait_for 30 kubelet
    wait_until 60 "the node is Ready" "$RIG_LOG/kubelet.log" node_ready
    wait_until 60 "CoreDNS is available" "$RIG_LOG/kubelet.log" dns_ready
    wait_for 30 kube-controller-manager
    wait_for 30 kube-scheduler
    wait_for 30 kube-proxy
    wait_for 30 storage-provisioner
    rig_sources >"$RIG_STATE/sources"
}

bare_down() {
    local spaces left deadline
    spaces=$(namespaces_of "$(find_processes)")
    stop_machine
    remove_network
    rm -rf "$RIG_STATE"
    # A dead process is seen until the kernel has taken it apart.
    deadline=$((SECONDS + 10))
    while left=$(leftovers "$spaces") && [ -n "$left" ] && [ "$SECONDS" -lt "$deadline" ]; do
        sleep 0.1
    done
    if [ -n "$left" ]; then
        printf 'cluster-down: left behind: %s\n' "$left" >&2
        return 1
    fi
    echo "cluster-down: no process, namespace, mount, cgroup, device, rule or file of the rig is left"
}

# The namespaces of some processes that are not this shell's own.
namespaces_of() {
    local own pid
    own=$(readlink /proc/self/ns/{net,mnt,pid})
    for pid in $1; do readlink "/proc/$pid"/ns/{net,mnt,pid} || true; done | sort -u | grep -vxF "$own" || true
}

# Looks at the machine, whatever was done before, and prints what it finds.
leftovers() {
    if [ -n "$1" ]; then
        find /proc -mindepth 3 -maxdepth 3 -path '/proc/[0-9]*/ns/*' -printf 'a process in a namespace of it: %p %l\n' 2>/dev/null |
            grep -F "$1" || true
    fi
    find_processes | sed 's/^/process in its cgroup: /'
    find_cgroups | sed 's/^/cgroup /'
    grep -F "$RIG_STATE" /proc/self/mountinfo | sed 's/^/mount /' || true
    ip -brief link show "$RIG_LINK" 2>/dev/null | sed 's/^/device /' || true
    ! outgoing_rule -C 2>/dev/null || echo "the outgoing rule of iptables"
    [ ! -e "$RIG_STATE" ] || echo "$RIG_STATE"
}
