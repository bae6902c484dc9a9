#!/usr/bin/env bash
# Which part of a bare rig does not answer. Sourced.

kubectl_admin() { KUBECONFIG=$RIG_KUBECONFIG "$RIG_BIN/kubectl" --request-timeout 5s "$@"; }

# One function a daemon, named as it is: whether the one on RIG_MACHINE answers.
answers_etcd() { on_machine curl -fs -m 5 http://127.0.0.1:2379/health; }
answers_kube-apiserver() { curl -fs -m 5 --cacert "$RIG_STATE/pki/ca.crt" "https://$RIG_NODE_ADDRESS:6443/readyz"; }
answers_kube-controller-manager() { on_machine curl -fsk -m 5 https://127.0.0.1:10257/healthz; }
answers_kube-scheduler() { on_machine curl -fsk -m 5 https://127.0.0.1:10259/healthz; }
answers_containerd() { on_machine ctr --connect-timeout 5s version; }
answers_registry() { curl -fs -m 5 "http://$RIG_REGISTRY/v2/"; }
answers_kubelet() { on_machine curl -fs -m 5 http://127.0.0.1:10248/healthz; }
answers_kube-proxy() { on_machine curl -fs -m 5 http://127.0.0.1:10256/healthz; }
answers_storage-provisioner() { on_machine curl -fs -m 5 -o /dev/null http://127.0.0.1:10260/metrics; }
answers_policy-enforcer() { on_machine curl -fs -m 5 http://127.0.0.1:9641/healthz; }
answers_outside-host() {
    local address name=$RIG_MACHINE
    address=$(outside_address)
    local RIG_MACHINE=$RIG_NODE
    [ "$(on_machine curl -fs -m 5 "http://$address/")" = "$name" ]
}

# A part of the rig is a daemon of the first node, or DAEMON@MACHINE.
# in_part PART COMMAND...: the command, with RIG_MACHINE set and the daemon's
# name at its end.
in_part() {
    local part=$1 RIG_MACHINE=$RIG_NODE
    shift
    [[ $part != *@* ]] || RIG_MACHINE=${part#*@}
    "${@:1:$#-1}" "${!#}${part%@*}"
}

# Every part, in the order in which one needs another.
rig_parts() {
    local machine
    printf '%s\n' etcd containerd registry kube-apiserver kube-controller-manager kube-scheduler
    [ "$RIG_PROFILE" = minimal ] || echo policy-enforcer
    printf '%s\n' kubelet kube-proxy storage-provisioner
    for machine in "${RIG_NODES[@]:1}"; do
        printf '%s\n' "containerd@$machine" "policy-enforcer@$machine" "kubelet@$machine" "kube-proxy@$machine"
    done
    for machine in "${RIG_HOSTS[@]}"; do echo "outside-host@$machine"; done
}

# wait_for SECONDS PART
wait_for() { wait_until "$1" "$2 answers" "$(in_part "$2" log_of "")" in_part "$2" answers_; }

nodes_ready() {
    local node
    for node in "${RIG_NODES[@]}"; do
        [ "$(kubectl_admin get node "$node" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ] || return 1
    done
}
dns_ready() {
    [ "$(kubectl_admin -n kube-system get deployment coredns -o jsonpath='{.status.availableReplicas}')" = "${#RIG_NODES[@]}" ]
}
ingress_ready() { [ "$(kubectl_admin -n traefik get deployment traefik -o jsonpath='{.status.availableReplicas}')" = 1 ]; }
certmanager_ready() {
    [ "$(kubectl_admin -n cert-manager get deployment/cert-manager clusterissuer/ca \
        -o jsonpath='{.items[0].status.availableReplicas} {.items[1].status.conditions[?(@.type=="Ready")].status}')" = "1 True" ]
}

# Says what is broken, a line each; nothing when the cluster is healthy.
broken_parts() {
    local part broken=
    for part in $(rig_parts); do
        in_part "$part" answers_ >/dev/null 2>&1 || broken+="$part does not answer, see $(in_part "$part" log_of "")"$'\n'
    done
    # Without the parts above, these only repeat the news.
    if [ -z "$broken" ]; then
        nodes_ready || broken+="a node is not Ready, see $(log_of kubelet)"$'\n'
        dns_ready || broken+="CoreDNS is not available, see $RIG_STATE/node-*/log/pods/kube-system_coredns-*"$'\n'
        [ "$RIG_PROFILE" = minimal ] || ingress_ready ||
            broken+="Traefik is not available, see $RIG_STATE/node-*/log/pods/traefik_traefik-*"$'\n'
        [ "$RIG_PROFILE" = minimal ] || certmanager_ready ||
            broken+="cert-manager issues no certificates, see $RIG_STATE/node-*/log/pods/cert-manager_cert-manager-*"$'\n'
    fi
    printf %s "$broken"
}
