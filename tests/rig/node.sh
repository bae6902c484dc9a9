#!/usr/bin/env bash
# What makes RIG_MACHINE a node: containerd, the pods' network, the kubelet and
# kube-proxy. Sourced.

has_range() { [ -n "$(kubectl_admin get node "$RIG_MACHINE" -o jsonpath='{.spec.podCIDR}')" ]; }

# RIG_MACHINE as a node beside the first one.
start_another_node() {
    local range
    start_containerd
    start_policy-enforcer
    wait_for 30 "containerd@$RIG_MACHINE"
    start_kubelet
    start_kube-proxy
    wait_until 60 "the node $RIG_MACHINE has a range of addresses" "$(log_of kubelet)" has_range
    range=$(kubectl_admin get node "$RIG_MACHINE" -o jsonpath='{.spec.podCIDR}')
    if [ "$range" != "$(node_pod_network "$RIG_MACHINE")" ]; then
        echo "cluster: $RIG_MACHINE was given the range $range, but its pods' network has $(node_pod_network "$RIG_MACHINE")" >&2
        return 1
    fi
}

start_containerd() {
    local etc=$RIG_STATE/$RIG_MACHINE/etc
    mkdir -p "$etc"/{cni,plugins,"registries/$RIG_REGISTRY"}
    ln -sf /usr/lib/cni/* "$etc/plugins/"
    cat >"$etc/containerd.toml" <<TOML
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$RIG_REGISTRY/pause:1"
# Where root may not lower a score (no CAP_SYS_RESOURCE), runc fails to start
# anything that asks for it: "can't get final child's PID from pipe".
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$etc/plugins"
conf_dir = "$etc/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "$etc/registries"
TOML
    cat >"$etc/registries/$RIG_REGISTRY/hosts.toml" <<TOML
server = "http://$RIG_REGISTRY"
[host."http://$RIG_REGISTRY"]
capabilities = ["pull", "resolve"]
TOML
    configure_pod_network "$etc"
    start_daemon containerd containerd --config "$etc/containerd.toml"
}

# A wire to each pod and routes between them, no bridge: between two pods on a
# bridge the answer of a Service would go past the node, which then could not
# undo the Service's address (that takes br_netfilter, a module).
configure_pod_network() {
    local enforce=
    if [ "$RIG_PROFILE" = full ]; then
        ln -sf "$RIG_BIN/cni" "$1/plugins/remora-policy"
        enforce=',
    {"type": "remora-policy", "socket": "'$RIG_POLICY_SOCKET'"}'
    fi
    cat >"$1/cni/10-pods.conflist" <<JSON
{
  "cniVersion": "0.4.0", "name": "pods",
  "plugins": [
    {"type": "ptp", "mtu": $(outer_mtu), "ipam": {"type": "host-local",
      "ranges": [[{"subnet": "$(node_pod_network "$RIG_MACHINE")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}$enforce
  ]
}
JSON
}

start_kubelet() {
    local etc=$RIG_STATE/$RIG_MACHINE/etc
    cat >"$etc/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $RIG_STATE/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $RIG_STATE/pki/$RIG_MACHINE.crt
tlsPrivateKeyFile: $RIG_STATE/pki/$RIG_MACHINE.key
clusterDomain: cluster.local
clusterDNS: [$RIG_DNS_SERVICE]
resolvConf: $RIG_STATE/etc/resolv.conf
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
# Root without CAP_SYS_RESOURCE may raise its score, not lower it.
oomScoreAdj: 0
# The machine is shared: how full its disk is says nothing about the cluster.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
# One after the other, a large image would keep the small ones waiting.
serializeImagePulls: false
YAML
    if [ "$RIG_PROFILE" = full ]; then
        # Its part in fast failure detection; see control-plane.sh.
        echo "nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8" >>"$etc/kubelet.yaml"
    fi
    start_daemon kubelet kubelet --config "$etc/kubelet.yaml" \
        --kubeconfig "$RIG_STATE/etc/$RIG_MACHINE.kubeconfig" \
        --hostname-override "$RIG_MACHINE" --node-ip "$(node_address "$RIG_MACHINE")"
}

start_kube-proxy() {
    # Limits of connection tracking belong to the whole machine: left alone.
    start_daemon kube-proxy kube-proxy --proxy-mode iptables --cluster-cidr "$RIG_POD_NETWORK" \
        --kubeconfig "$RIG_STATE/etc/proxy.kubeconfig" --hostname-override "$RIG_MACHINE" \
        --conntrack-max-per-core 0 \
        --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}
