#!/usr/bin/env bash
# `make cluster`: a ready Kubernetes, checked. The last line it prints is its
# KUBECONFIG, so that `export "$(make -s cluster | tail -n 1)"` uses it.
#
# RIG_PROFILE=full starts the full profile (docs/rig.md); REMORA_RIG=NAME one more
# rig beside the usual one.
#
# Which cluster: what KUBECONFIG names, where REMORA_CLUSTER=existing says so; Kind,
# where a Docker engine answers and the profile is minimal; else the bare rig.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tests/rig/bare.sh
source "$(dirname "$0")/bare.sh"
# shellcheck source=tests/rig/kind.sh
source "$RIG_SOURCE/kind.sh"

started=$SECONDS
mkdir -p "$RIG_CACHE_HOME"
# One at a time: a second `make cluster` waits and finds the first one's.
exec 9>"$RIG_LOCK"
flock 9

registry='' image='' full=no
if [ "${REMORA_CLUSTER:-}" = existing ]; then
    export KUBECONFIG=${KUBECONFIG:?REMORA_CLUSTER=existing needs a KUBECONFIG that names the cluster}
    tools=$(dirname "$(command -v kubectl)")
elif [ "$RIG_PROFILE" = minimal ] && kind_answers; then
    kind_up
    export KUBECONFIG=$KIND_KUBECONFIG
    tools=$KIND_BIN registry=$KIND_REGISTRY image=$KIND_REGISTRY/check:1
    kind_check_image "$image"
else
    bare_up
    export KUBECONFIG=$RIG_KUBECONFIG
    tools=$RIG_BIN registry=$RIG_REGISTRY image=$RIG_REGISTRY/check:1
    push_image check "$image"
    [ "$RIG_PROFILE" = minimal ] || full=yes
fi
PATH=$tools:$PATH "$RIG_SOURCE/check.sh" "$image" 9>&-
if [ "$full" = yes ]; then PATH=$tools:$PATH "$RIG_SOURCE/check-full.sh" "$image" 9>&-; fi
echo "cluster: ready after $((SECONDS - started)) s; kubectl and helm are in $tools"
[ -z "$registry" ] || echo "REMORA_REGISTRY=$registry"
echo "KUBECONFIG=$KUBECONFIG"
