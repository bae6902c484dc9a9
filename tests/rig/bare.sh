#!/usr/bin/env bash
# The bare rig: a real Kubernetes on a Debian machine, without Docker and without
# an image from outside. Sourced; `bare_up` starts it, `bare_down` ends it.
#
# What it is made of, in the order in which it stands up:
#   packages.sh       containerd, runc, CNI plugins, the registry: from Debian
#   build.sh          etcd, Kubernetes, CoreDNS, Helm, Traefik: compiled once, cached
#   images.sh         the few images it needs itself
#   machine.sh        its machines: namespaces and a cgroup
#   network.sh        their wires to this machine
#   outside.sh        hosts outside the cluster (full profile)
#   certificates.sh   who is who
#   control-plane.sh  etcd, API server, controllers, scheduler
#   policy.sh         the enforcer of NetworkPolicy (full profile)
#   node.sh           containerd, kubelet, kube-proxy, the pods' network
#   registry.sh       where the kubelet pulls from
#   dns.sh            names
#   storage.sh        volumes on demand
#   ingress.sh        Traefik (full profile)
#   certmanager.sh    cert-manager (full profile)
#   health.sh         which part is broken
# shellcheck source=tests/rig/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
for part in wait packages build images machine network outside certificates control-plane policy node registry dns \
    storage ingress certmanager health; do
    # shellcheck source=/dev/null
    source "$RIG_SOURCE/$part.sh"
done

bare_up() {
    [ "$(id -u)" = 0 ] || { echo "cluster: namespaces and cgroups need root; run it as root" >&2; return 1; }
    install_packages
    mkdir -p "$RIG_CACHE_HOME"
    # Rigs share what is compiled.
    (
        flock 8
        build_programs
        make_images
        if [ "$RIG_PROFILE" = full ]; then
            check_policy
            build_ingress
            build_certmanager
        fi
    ) 8>"$RIG_CACHE_HOME/rig-build.lock"

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
    elif [ "$(cat "$RIG_STATE/profile" 2>/dev/null)" != "$RIG_PROFILE" ]; then
        echo "it was started with another profile than $RIG_PROFILE"
    elif [ "$(cat "$RIG_STATE/sources" 2>/dev/null)" != "$(rig_sources)" ]; then
        echo "it was started by other files of the rig than these, or never whole"
    else
        broken_parts
    fi
}

rig_sources() { (cat "$RIG_SOURCE"/*.sh "$RIG_SOURCE"/*.yaml && echo "$RIG_KEY $RIG_INGRESS_KEY $RIG_CERTMANAGER_KEY") | sha256sum; }

start_everything() {
    local RIG_MACHINE node part
    for RIG_MACHINE in "${RIG_NODES[@]}" "${RIG_HOSTS[@]}"; do start_machine; done
    RIG_MACHINE=$RIG_NODE
    echo "$RIG_PROFILE" >"$RIG_STATE/profile"
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
    [ "$RIG_PROFILE" = minimal ] || start_policy-enforcer
    start_kubelet
    start_kube-proxy
    start_dns
    start_storage-provisioner
    for node in "${RIG_NODES[@]:1}"; do
        # Nodes get their ranges of addresses in the order in which they register.
        wait_until 60 "the range of the node before $node" "$(log_of kubelet)" has_range
        RIG_MACHINE=$node
        start_another_node
    done
    for RIG_MACHINE in "${RIG_HOSTS[@]}"; do start_outside-host; done
    # shellcheck disable=SC2034 # what is called below reads it
    RIG_MACHINE=$RIG_NODE
    if [ "$RIG_PROFILE" = full ]; then
        start_ingress
        start_certmanager
    fi

    wait_until 60 "every node is Ready" "$(log_of kubelet)" nodes_ready
    wait_until 60 "CoreDNS is available" "$(log_of kubelet)" dns_ready
    [ "$RIG_PROFILE" = minimal ] || wait_until 60 "Traefik is available" "$(log_of kubelet)" ingress_ready
    [ "$RIG_PROFILE" = minimal ] || wait_until 60 "cert-manager issues certificates" "$(log_of kubelet)" certmanager_ready
    for part in $(rig_parts); do wait_for 30 "$part"; done
    rig_sources >"$RIG_STATE/sources"
}

bare_down() {
    local spaces left deadline
    spaces=$(namespaces_of "$(find_processes)")
    stop_machines
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
    grep -E "${RIG_STATE}[/ ]" /proc/self/mountinfo | sed 's/^/mount /' || true
    rig_links | sed 's/^/device /'
    outgoing_rules | sed 's/^/rule of iptables: /'
    [ ! -e "$RIG_STATE" ] || echo "$RIG_STATE"
}
