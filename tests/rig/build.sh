#!/usr/bin/env bash
# Compiles etcd, Kubernetes, CoreDNS and Helm, once for each set of versions. Sourced.

build_programs() {
    [ ! -e "$RIG_BIN/complete" ] || return 0
    local go version setting
    go=$(find_go)
    echo "cluster: compiling Kubernetes, etcd, CoreDNS and Helm (about ten minutes of two cores, once)"
    mkdir -p "$RIG_BIN"
    # Modules have no version stamped in; clients refuse a server without one.
    version=$("$go" -C "$RIG_SOURCE" list -m -f '{{.Version}}' k8s.io/kubernetes)
    [[ $version =~ ^v([0-9]+)\.([0-9]+)\. ]]
    setting=k8s.io/component-base/version
    CGO_ENABLED=0 "$go" -C "$RIG_SOURCE" build -trimpath -o "$RIG_BIN/" -ldflags "-s -w
        -X $setting.gitVersion=$version
        -X $setting.gitMajor=${BASH_REMATCH[1]} -X $setting.gitMinor=${BASH_REMATCH[2]}" \
        ./node ./coredns ./policy/cni helm.sh/helm/v3/cmd/helm \
        2> >(grep -v '^go: downloading' >&2)
    local name
    for name in etcd kubectl kubelet kube-proxy kube-apiserver kube-controller-manager kube-scheduler storage-provisioner policy-enforcer; do
        ln -sf node "$RIG_BIN/$name"
    done
    touch "$RIG_BIN/complete"
}

# What the enforcer makes of NetworkPolicies is checked against cyclonus, a
# reading of them by others, and against the kernel: once for each version.
check_policy() {
    [ ! -e "$RIG_CACHE/policy-checked" ] || return 0
    local go
    go=$(find_go)
    echo "cluster: checking the enforcer of NetworkPolicy against cyclonus and the kernel"
    "$go" -C "$RIG_SOURCE" test -v ./policy/ 2> >(grep -v '^go: downloading' >&2) >"$RIG_CACHE/policy-check.log" || {
        cat "$RIG_CACHE/policy-check.log" >&2
        return 1
    }
    grep -hE '^--- SKIP|POLICY_SEED|packets pass' "$RIG_CACHE/policy-check.log"
    touch "$RIG_CACHE/policy-checked"
}
