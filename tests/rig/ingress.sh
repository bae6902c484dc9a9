#!/usr/bin/env bash
# The ingress controller: Traefik as a Deployment, on ports 80 and 443 of the
# first node and of the Service traefik in the namespace traefik. It serves
# Ingresses of the classes traefik and nginx (by ingress-nginx' annotations),
# Traefik's own kinds, and the Gateway API. Sourced.

build_ingress() {
    [ ! -e "$RIG_INGRESS_CACHE/complete" ] || return 0
    local go source=$RIG_SOURCE/traefik work=$RIG_INGRESS_CACHE traefik lego gateway one
    go=$(find_go "$source")
    echo "cluster: compiling Traefik (about six minutes of two cores, once)"
    rm -rf "$work"
    mkdir -p "$work"
    cp -r "$source"/{go.mod,go.sum,ext,go-http-auth} "$work/"
    traefik=$(module_folder github.com/traefik/traefik/v3)
    lego=$(module_folder github.com/go-acme/lego/v5)
    gateway=$(module_folder sigs.k8s.io/gateway-api)

    cp -r "$lego" "$work/lego"
    chmod -R u+w "$work/lego"
    rm -rf "$work/lego/providers/dns"
    mkdir "$work/lego/providers/dns"
    cp "$source/dns_providers.go.txt" "$work/lego/providers/dns/providers.go"
    "$go" -C "$work" mod edit -replace github.com/go-acme/lego/v5=./lego
    CGO_ENABLED=0 "$go" -C "$work" build -trimpath -ldflags "-s -w" -o traefik github.com/traefik/traefik/v3/cmd/traefik \
        2> >(grep -v '^go: downloading' >&2)

    for one in "$traefik"/docs/content/reference/dynamic-configuration/traefik.io_*.yaml \
        "$gateway"/config/crd/standard/gateway.networking.k8s.io_{backendtlspolicies,gatewayclasses,gateways,grpcroutes,httproutes,listenersets,referencegrants,tlsroutes}.yaml; do
        cat "$one"
        echo "---"
    done >"$work/crds.yaml"
    make_image "$work/images" traefik "$work/traefik" -- --config.entrypoint /traefik
    rm -rf "$work"/{traefik,lego,ext,go-http-auth}
    touch "$work/complete"
}

# module_folder MODULE: where Go keeps the files of that module, in the version
# of go.mod and checked against go.sum.
module_folder() {
    "$go" -C "$RIG_SOURCE/traefik" mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p'
}

start_ingress() {
    local pki=$RIG_STATE/pki image=$RIG_REGISTRY/traefik:1
    push_image traefik "$image" "$RIG_INGRESS_CACHE/images"
    issue ca "$RIG_DOMAIN" "/CN=*.$RIG_DOMAIN" "DNS:*.$RIG_DOMAIN, DNS:$RIG_DOMAIN"
    # Created, not applied: what was applied is kept twice, and these are large.
    kubectl_admin create -f "$RIG_INGRESS_CACHE/crds.yaml" >/dev/null
    kubectl_admin create namespace traefik >/dev/null
    kubectl_admin -n traefik create secret tls default-certificate \
        --cert "$pki/$RIG_DOMAIN.crt" --key "$pki/$RIG_DOMAIN.key" >/dev/null
    kubectl_admin wait --for condition=Established --timeout 20s crd/tlsstores.traefik.io crd/gatewayclasses.gateway.networking.k8s.io >/dev/null
    sed -e "s|@IMAGE@|$image|" -e "s|@NODE@|$RIG_NODE|" -e "s|@ADDRESS@|$RIG_NODE_ADDRESS|" "$RIG_SOURCE/traefik.yaml" |
        kubectl_admin create -f - >/dev/null
}
