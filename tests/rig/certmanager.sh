#!/usr/bin/env bash
# Cert-manager as a Deployment in the namespace cert-manager, without its webhook
# and with the issuers that need nobody outside. The ClusterIssuer `ca` signs for
# whoever asks, with the key in the Secret `ca` of that namespace. Sourced.

build_certmanager() {
    [ ! -e "$RIG_CERTMANAGER_CACHE/complete" ] || return 0
    local go source=$RIG_SOURCE/certmanager work=$RIG_CERTMANAGER_CACHE module kind
    go=$(find_go "$source")
    echo "cluster: compiling cert-manager (about two minutes of two cores, once)"
    rm -rf "$work"
    mkdir -p "$work"
    CGO_ENABLED=0 "$go" -C "$source" build -trimpath -ldflags "-s -w" -o "$work/cert-manager" . \
        2> >(grep -v '^go: downloading' >&2)
    module=$("$go" -C "$source" list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
    # Those of ACME have no controller here.
    for kind in certificaterequests certificates clusterissuers issuers; do
        cat "$module/deploy/crds/cert-manager.io_$kind.yaml"
        echo "---"
    done >"$work/crds.yaml"
    make_image "$work/images" cert-manager "$work/cert-manager" -- --config.entrypoint /cert-manager
    rm "$work/cert-manager"
    touch "$work/complete"
}

start_certmanager() {
    local image=$RIG_REGISTRY/cert-manager:1
    push_image cert-manager "$image" "$RIG_CERTMANAGER_CACHE/images"
    # Created, not applied: what was applied is kept twice, and these are large.
    kubectl_admin create -f "$RIG_CERTMANAGER_CACHE/crds.yaml" >/dev/null
    kubectl_admin wait --for condition=Established --timeout 20s -f "$RIG_CERTMANAGER_CACHE/crds.yaml" >/dev/null
    sed -e "s|@IMAGE@|$image|" -e "s|@NODE@|$RIG_NODE|" "$RIG_SOURCE/certmanager.yaml" | kubectl_admin create -f - >/dev/null
}
