#!/usr/bin/env bash
# What makes a machine a node: containerd, the pods' network, the kubelet and
# kube-proxy. Sourced.

start_containerd() {
    mkdir -p "$RIG_STATE"/etc/{cni,"registries/$RIG_REGISTRY"}
    cat >"$RIG_STATE/etc/containerd.toml" <<TOML
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
bin_dir = "/usr/lib/cni"
conf_dir = "$RIG_STATE/etc/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "$RIG_STATE/etc/registries"
TOML
    cat >"$RIG_STATE/etc/registries/$RIG_REGISTRY/hosts.toml" <<TOML
server = "http://$RIG_REGISTRY"
[host."http://$RIG_REGISTRY"]
capabilities = ["pull", "resolve"]
TOML
    # A wire to each pod and routes between them, no bridge: between two pods
    # on a bridge the answer of a Service would go past the node, which then
    # could not undo the Service's address (that takes br_netfilter, a module).
    cat >"$RIG_STATE/etc/cni/10-pods.conflist" <<JSON
{
  "cniVersion": "0.4.0", "name": "pods",
  "plugins": [
    {"type": "ptp", "mtu": $(outer_mtu), "ipam": {"type": "host-local",
      "ranges": [[{"subnet": "$RIG_NODE_POD_NETWORK"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
    start_daemon containerd containerd --config "$RIG_STATE/etc/containerd.toml"
}

start_kubelet() {
    cat >"$RIG_STATE/etc/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $RIG_STATE/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $RIG_STATE/pki/$RIG_NODE.crt
tlsPrivateKeyFile: $RIG_STATE/pki/$RIG_NODE.key
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
    start_daemon kubelet kubelet --config "$RIG_STATE/etc/kubelet.yaml" \
        --kubeconfig "$RIG_STATE/etc/$RIG_NODE.kubeconfig" \
        --hostname-override "$RIG_NODE" --node-ip "$RIG_NODE_ADDRESS"
}

start_kube-proxy() {
    # Limits of connection tracking belong to the whole machine: left alone.
    start_daemon kube-proxy kube-proxy --proxy-mode iptables --cluster-cidr "$RIG_POD_NETWORK" \
        --kubeconfig "$RIG_STATE/etc/proxy.kubeconfig" --hostname-override "$RIG_NODE" \
        --conntrack-max-per-core 0 \
        --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}
