#!/usr/bin/env bash
# The cluster's memory and judgement: etcd, the API server, the controllers and
# the scheduler. Sourced.

start_etcd() {
    # A cluster for tests: what a power cut would lose is not missed.
    start_daemon etcd etcd --name "$RIG_NODE" --data-dir /var/lib/etcd --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster "$RIG_NODE=http://127.0.0.1:2380"
}

# A lost node is a test of the full profile: it is noticed after a quarter of the
# usual time, its pods are replaced after a sixtieth.
start_kube-apiserver() {
    local pki=$RIG_STATE/pki patience=()
    if [ "$RIG_PROFILE" = full ]; then
        patience=(--default-not-ready-toleration-seconds 5 --default-unreachable-toleration-seconds 5)
    fi
    start_daemon kube-apiserver kube-apiserver \
        --etcd-servers http://127.0.0.1:2379 \
        --advertise-address "$RIG_NODE_ADDRESS" --secure-port 6443 \
        --service-cluster-ip-range "$RIG_SERVICE_NETWORK" \
        --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --client-ca-file "$pki/ca.crt" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --allow-privileged "${patience[@]}" \
        --kubelet-certificate-authority "$pki/ca.crt" \
        --kubelet-client-certificate "$pki/apiserver-to-kubelet.crt" \
        --kubelet-client-key "$pki/apiserver-to-kubelet.key" \
        --kubelet-preferred-address-types InternalIP \
        --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- \
        --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key" \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$pki/service-accounts.pub" \
        --service-account-signing-key-file "$pki/service-accounts.key"
}

# One replica each: nobody to elect a leader among, and no lease to wait for.
start_kube-controller-manager() {
    local pki=$RIG_STATE/pki own=$RIG_STATE/etc/controller-manager.kubeconfig patience=()
    if [ "$RIG_PROFILE" = full ]; then
        patience=(--node-monitor-grace-period 10s --node-monitor-period 1s)
    fi
    start_daemon kube-controller-manager kube-controller-manager --leader-elect=false \
        --kubeconfig "$own" --authentication-kubeconfig "$own" --authorization-kubeconfig "$own" \
        --bind-address 127.0.0.1 --use-service-account-credentials \
        --allocate-node-cidrs "${patience[@]}" --cluster-cidr "$RIG_POD_NETWORK" \
        --service-cluster-ip-range "$RIG_SERVICE_NETWORK" \
        --root-ca-file "$pki/ca.crt" \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
        --service-account-private-key-file "$pki/service-accounts.key"
}

start_kube-scheduler() {
    local own=$RIG_STATE/etc/scheduler.kubeconfig
    start_daemon kube-scheduler kube-scheduler --leader-elect=false \
        --kubeconfig "$own" --authentication-kubeconfig "$own" --authorization-kubeconfig "$own" \
        --bind-address 127.0.0.1
}
