#!/usr/bin/env bash
# What makes NetworkPolicies hold on RIG_MACHINE: policy/enforcer, which the
# plugin policy/cni waits for. Sourced.

start_policy-enforcer() {
    # A connection that it cut is not taken up again in its middle.
    on_machine sh -c 'echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose'
    start_daemon policy-enforcer policy-enforcer --kubeconfig "$RIG_KUBECONFIG" \
        --node "$RIG_MACHINE" --pod-network "$(node_pod_network "$RIG_MACHINE")" --socket "$RIG_POLICY_SOCKET"
}
