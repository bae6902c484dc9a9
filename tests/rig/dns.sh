#!/usr/bin/env bash
# Names in the cluster: CoreDNS as a Deployment, as in any cluster, so that
# NetworkPolicies that let pods ask kube-dns mean the same here. Sourced.

start_dns() {
    # One for each node, so that names are found while one is lost.
    push_image coredns "$RIG_REGISTRY/coredns:1"
    sed -e "s|@REPLICAS@|${#RIG_NODES[@]}|" -e "s|@IMAGE@|$RIG_REGISTRY/coredns:1|" -e "s|@ADDRESS@|$RIG_DNS_SERVICE|" "$RIG_SOURCE/coredns.yaml" |
        KUBECONFIG=$RIG_KUBECONFIG "$RIG_BIN/kubectl" apply -f - >/dev/null
}
