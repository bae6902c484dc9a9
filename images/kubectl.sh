#!/usr/bin/env bash
# Prints the path of a kubectl for images: the rig's release of Kubernetes,
# compiled once for each version.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tests/rig/settings.sh
source "$(dirname "$0")/../tests/rig/settings.sh"
# shellcheck source=tests/rig/packages.sh
source "$RIG_SOURCE/packages.sh"

folder=$RIG_CACHE_HOME/kubectl-$(cat "$RIG_SOURCE"/go.{mod,sum} "$0" | sha256sum | cut -c1-16)
mkdir -p "$RIG_CACHE_HOME"
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/kubectl" ]; then
    echo "images: compiling kubectl" >&2
    CGO_ENABLED=0 "$(find_go)" -C "$RIG_SOURCE" build -trimpath -ldflags "-s -w" -o "$folder.new/kubectl" \
        k8s.io/kubernetes/cmd/kubectl 2> >(grep -v '^go: downloading' >&2)
    rm -rf "$folder"
    mv "$folder.new" "$folder"
fi
echo "$folder/kubectl"
