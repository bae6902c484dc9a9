#!/usr/bin/env bash
# Which cluster the tests run on. Sourced.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

# Sets KUBECONFIG and REMORA_REGISTRY, puts kubectl and helm on PATH, and says in
# `bare_rig` whether the cluster is the one whose daemons this machine can stop,
# and in `full_profile` whether that has the full profile.
find_cluster() {
    local log tools tool
    mkdir -p "$out/bin"
    # What it starts stays, and must not hold the lock of this run.
    log=$(make --no-print-directory cluster 8>&- | tee >(cat >&2))
    KUBECONFIG=$(sed -n 's/^KUBECONFIG=//p' <<<"$log")
    REMORA_REGISTRY=$(sed -n 's/^REMORA_REGISTRY=//p' <<<"$log")
    REMORA_REGISTRY=${REMORA_REGISTRY:-${REGISTRY:?a cluster of your own needs REGISTRY, from which its nodes pull}}
    tools=$(sed -n 's/^cluster: ready after .* kubectl and helm are in //p' <<<"$log")
    # These two alone: beside them in the rig's folder is a program `node`, which is no Node.js.
    for tool in kubectl helm; do
        [ -z "$tools" ] || ln -sf "$tools/$tool" "$out/bin/$tool"
    done
    PATH=$PWD/$out/bin:$PATH
    export KUBECONFIG REMORA_REGISTRY PATH
    # shellcheck source=tests/rig/settings.sh
    source tests/rig/settings.sh
    bare_rig=no full_profile=no
    if [ "$KUBECONFIG" = "$RIG_KUBECONFIG" ]; then
        bare_rig=yes
        [ "$RIG_PROFILE" = minimal ] || full_profile=yes
    fi
}
