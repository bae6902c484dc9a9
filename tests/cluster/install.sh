#!/usr/bin/env bash
# The chart in the cluster, from nothing to available. Sourced.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

crd=projects.remora.dev

install_chart() {
    local other secret routing=()
    other=$(kubectl get clusterrole remora-project --ignore-not-found \
        -o jsonpath='{.metadata.annotations.meta\.helm\.sh/release-namespace}')
    if [ -n "$other" ]; then
        echo "integration: the chart is installed already, in the namespace $other; a cluster holds it once" >&2
        return 1
    fi
    had_crd=$(kubectl get crd "$crd" --ignore-not-found -o name)
    # At its end the run removes every project: on a cluster that has some it has no business.
    if [ -n "$had_crd" ] && [ -n "$(kubectl get "$crd" -o name)" ]; then
        echo "integration: the cluster has projects already; the tests take one that has none" >&2
        return 1
    fi
    # Helm leaves one alone that is there.
    [ -z "$had_crd" ] || kubectl apply --server-side --force-conflicts -f charts/remora/crds
    kubectl create namespace "$space"
    kubectl label namespace "$space" pod-security.kubernetes.io/enforce=restricted >/dev/null
    secret=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
    kubectl --namespace "$space" create secret generic remora-store --from-literal=bucket=remora \
        --from-literal=accessKey=integration --from-literal=secretKey="$secret"
    # Where Traefik is as the rig has it, exposed ports are reached through it, and the suite comes in there.
    ingress=''
    if kubectl get ingressclass traefik >/dev/null 2>&1 && kubectl --namespace traefik get service traefik >/dev/null 2>&1; then
        ingress=traefik.traefik.svc:443
        give_certificate
        routing=(--set "routing.mode=ingress,routing.domain=projects.test,routing.ingressClass=traefik"
            --set "routing.from.namespace=traefik,routing.tls.existingSecret=ports"
            --set "routing.requestsPerSecond=50,routing.burst=200"
            --set "routing.corsOrigins={https://app.test},routing.frameAncestors={https://app.test}")
    fi
    # Two callers of the suite are ServiceAccounts; it makes them itself.
    helm install remora dist/remora-*.tgz --namespace "$space" \
        --values charts/remora/profiles/minimal.yaml \
        "${routing[@]}" \
        --set-json "serviceAccountRoles=[\"$space/it-viewer=viewer\",\"$space/it-editor=editor\"]" \
        --wait --timeout 180s
}

# The Secret `ports`: a certificate that is not Traefik's own, of the rig's authority where there is one.
give_certificate() {
    local authority=() folder=$out/certificate
    if [ "$bare_rig" = yes ]; then authority=(-CA "$RIG_STATE/pki/ca.crt" -CAkey "$RIG_STATE/pki/ca.key"); fi
    mkdir -p "$folder"
    openssl req -x509 "${authority[@]}" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj "/CN=ports of projects" -addext "subjectAltName=DNS:*.projects.test" -addext "basicConstraints=critical,CA:FALSE" \
        -keyout "$folder/tls.key" -out "$folder/tls.crt" 2>/dev/null
    kubectl --namespace "$space" create secret tls ports --cert "$folder/tls.crt" --key "$folder/tls.key"
    rm -rf "$folder"
}

# Removes all that the run made, in the order in which it can go: projects while
# there is a control plane that lets go of them.
uninstall() {
    local left stuck=0
    if ! kubectl delete "$crd" --all --wait --timeout 120s; then
        echo "integration: projects did not go; removing their finalizers" >&2
        stuck=1
        for left in $(kubectl get "$crd" -o name) $(kubectl get pods -A -l app.kubernetes.io/managed-by=remora \
            -o jsonpath='{range .items[*]}{.metadata.namespace}/pod/{.metadata.name}{"\n"}{end}'); do
            case $left in
                */pod/*) kubectl -n "${left%%/*}" patch "${left#*/}" --type merge -p '{"metadata":{"finalizers":null}}' ;;
                *) kubectl patch "$left" --type merge -p '{"metadata":{"finalizers":null}}' ;;
            esac
        done
    fi
    helm uninstall remora --namespace "$space" --wait --timeout 60s || true
    kubectl delete namespace -l app.kubernetes.io/managed-by=remora --timeout 120s
    kubectl delete namespace "$space" --timeout 120s
    kubectl delete clusterrolebinding "$space-suite" --ignore-not-found
    [ -n "$had_crd" ] || kubectl delete crd "$crd" --ignore-not-found --timeout 60s
    return "$stuck"
}
