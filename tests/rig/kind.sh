#!/usr/bin/env bash
# The rig where a Docker engine answers: Kind, with a registry beside it. Sourced.

KIND_NAME=remora
KIND_REGISTRY=localhost:5001
KIND_KUBECONFIG=$RIG_CACHE_HOME/kind.kubeconfig
KIND_BIN=$RIG_CACHE_HOME/rig-$RIG_KEY/kind

kind_answers() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

kind_up() {
    if [ ! -e "$KIND_BIN/complete" ]; then
        mkdir -p "$KIND_BIN"
        (cd "$RIG_SOURCE" && CGO_ENABLED=0 "$(find_go)" build -trimpath -o "$KIND_BIN/" \
            sigs.k8s.io/kind k8s.io/kubernetes/cmd/kubectl helm.sh/helm/v3/cmd/helm)
        touch "$KIND_BIN/complete"
    fi
    if KUBECONFIG=$KIND_KUBECONFIG "$KIND_BIN/kubectl" --request-timeout 5s get --raw /readyz >/dev/null 2>&1; then
        echo "cluster: already running and healthy"
        return
    fi
    kind_down
    docker run -d --name "$KIND_NAME-registry" -p "127.0.0.1:${KIND_REGISTRY#*:}:5000" registry:2 >/dev/null
    "$KIND_BIN/kind" create cluster --name "$KIND_NAME" --kubeconfig "$KIND_KUBECONFIG" --wait 180s --config - <<'YAML'
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
containerdConfigPatches:
- |-
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
YAML
    docker network connect kind "$KIND_NAME-registry"
    # On the node, localhost is the node: the name leads to the container.
    docker exec -i "$KIND_NAME-control-plane" sh -c \
        "mkdir -p /etc/containerd/certs.d/$KIND_REGISTRY && cat >/etc/containerd/certs.d/$KIND_REGISTRY/hosts.toml" \
        <<<"[host.\"http://$KIND_NAME-registry:5000\"]"
}

kind_check_image() {
    docker pull -q busybox:1.36 >/dev/null
    docker tag busybox:1.36 "$1"
    docker push -q "$1" >/dev/null
}

kind_down() {
    [ ! -x "$KIND_BIN/kind" ] || "$KIND_BIN/kind" delete cluster --name "$KIND_NAME" --kubeconfig "$KIND_KUBECONFIG"
    docker rm -f "$KIND_NAME-registry" >/dev/null 2>&1 || true
    rm -f "$KIND_KUBECONFIG"
}
