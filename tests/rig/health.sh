#!/usr/bin/env bash
# Which part of a bare rig does not answer. Sourced.

kubectl_admin() { KUBECONFIG=$RIG_KUBECONFIG "$RIG_BIN/kubectl" --request-timeout 5s "$@"; }

# One function a part, named as its daemon: whether it answers.
answers_etcd() { on_machine curl -fs -m 5 http://127.0.0.1:2379/health; }
answers_kube-apiserver() { curl -fs -m 5 --cacert "$RIG_STATE/pki/ca.crt" "https://$RIG_NODE_ADDRESS:6443/readyz"; }
answers_kube-controller-manager() { on_machine curl -fsk -m 5 https://127.0.0.1:10257/healthz; }
answers_kube-scheduler() { on_machine curl -fsk -m 5 https://127.0.0.1:10259/healthz; }
answers_containerd() { on_machine ctr --connect-timeout 5s version; }
answers_registry() { curl -fs -m 5 "http://$RIG_REGISTRY/v2/"; }
answers_kubelet() { on_machine curl -fs -m 5 http://127.0.0.1:10248/healthz; }
answers_kube-proxy() { on_machine curl -fs -m 5 http://127.0.0.1:10256/healthz; }
answers_storage-provisioner() { on_machine curl -fs -m 5 -o /dev/null http://127.0.0.1:10260/metrics; }
node_ready() { [ "$(kubectl_admin get node "$RIG_NODE" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
dns_ready() { [ "$(kubectl_admin -n kube-system get deployment coredns -o jsonpath='{.status.availableReplicas}')" = 1 ]; }

# wait_for SECONDS PART
wait_for() { wait_until "$1" "$2 answers" "$RIG_LOG/$2.log" "answers_$2"; }

# Says what is broken, a line each; nothing when the cluster is healthy.
broken_parts() {
    local part broken=
    for part in etcd kube-apiserver kube-controller-manager kube-scheduler containerd registry kubelet kube-proxy storage-provisioner; do
        "answers_$part" >/dev/null 2>&1 || broken+="$part does not answer, see $RIG_LOG/$part.log"$'\n'
    done
    # Without the parts above, these only repeat the news.
    if [ -z "$broken" ]; then
        node_ready || broken+="the node is not Ready, see $RIG_LOG/kubelet.log"$'\n'
        dns_ready || broken+="CoreDNS is not available, see $RIG_LOG/pods/kube-system_coredns-*"$'\n'
    fi
    printf %s "$broken"
}
