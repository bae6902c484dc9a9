#!/usr/bin/env bash
# `make cluster`: a ready Kubernetes, checked. The last line it prints is its
# KUBECONFIG, so that `export "$(make -s cluster | tail -n 1)"` uses it.
#
# Which one: what KUBECONFIG names, where REMORA_CLUSTER=existing says so; Kind,
# where a Docker engine answers; else the bare rig.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tests/rig/bare.sh
source "$(dirname "$0")/bare.sh"
# shellcheck source=tests/rig/kind.sh
source "$RIG_SOURCE/kind.sh"

started=$SECONDS
mkdir -p "$RIG_CACHE_HOME"
# One at a time: a second `make cluster` waits and finds the first one's.
exec 9>"$RIG_CACHE_HOME/rig.lock"
flock 9

registry='' image=''
if [ "${REMORA_CLUSTER:-}" = existing ]; then
    export KUBECONFIG=${KUBECONFIG:?REMORA_CLUSTER=existing needs a KUBECONFIG that names the cluster}
    tools=$(dirname "$(command -v kubectl)")
elif kind_answers; then
    kind_up
    export KUBECONFIG=$KIND_KUBECONFIG
    tools=$KIND_BIN registry=$KIND_REGISTRY image=$KIND_REGISTRY/check:1
    kind_check_image "$image"
else
    bare_up
    export KUBECONFIG=$RIG_KUBECONFIG
    tools=$RIG_BIN registry=$RIG_REGISTRY image=$RIG_REGISTRY/check:1
    push_image check "$image"
fi
PATH=$tools:$PATH "$RIG_SOURCE/check.sh" "$image" 9>&-
echo "cluster: ready after $((SECONDS - started)) s; kubectl and helm are in $tools"
[ -z "$registry" ] || echo "REMORA_REGISTRY=$registry"
echo "KUBECONFIG=$KUBECONFIG"
