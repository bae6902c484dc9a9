#!/usr/bin/env bash
# The chart against what it should be: lints it, refuses bad values, and compares
# what both profiles render with tests/chart/snapshots. Needs helm on PATH.
#
# What the snapshots hold (rights, above all) is asserted by tests/tidy/chart.rs,
# which needs no helm. REMORA_WRITE_SNAPSHOTS=1 writes them anew.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."
chart=charts/remora

fail() { echo "chart: $1" >&2; exit 1; }
# The oldest Kubernetes that the chart is for.
render() { helm template remora "$chart" --namespace remora-system --kube-version 1.30.0 "$@"; }

helm lint --quiet "$chart" || fail "helm lint"
for profile in "$chart"/profiles/*.yaml; do
    helm lint --quiet "$chart" --values "$profile" || fail "helm lint with $profile"
    name=$(basename "$profile")
    snapshot=tests/chart/snapshots/$name
    rendered=$(render --values "$profile")
    if [ -n "${REMORA_WRITE_SNAPSHOTS:-}" ]; then echo "$rendered" >"$snapshot"; fi
    diff -u "$snapshot" - <<<"$rendered" ||
        fail "$name renders something else than its snapshot; where that is meant: REMORA_WRITE_SNAPSHOTS=1 $0"
done

# refused WORDS SETTING...: no chart is rendered, and the words say why.
refused() {
    local words=$1 output
    shift
    ! output=$(render "${@/#/--set=}" 2>&1) || fail "$* is taken"
    grep -qF -- "$words" <<<"$output" || fail "$* is refused without saying '$words': $output"
}
refused /replicas replicas=0
refused "'replica'" replica=3
refused /store/endpoint store.endpoint=minio:9000
refused /image/agent/digest image.agent.digest=latest
refused /image/registry image.registry=http://registry:5000
refused /store/webIdentity/roleArn store.webIdentity.roleArn=snapshots
role=store.webIdentity.roleArn=arn:aws:iam::123456789012:role/snapshots
refused "store.bucket is empty" "$role"
refused "are both set" "$role" store.bucket=snapshots store.existingSecret=remora-store
refused "the trial store takes keys" "$role" store.bucket=snapshots trialStore.enabled=true
refused "roleArn is not" store.webIdentity.stsEndpoint=https://minio:9443
refused "stsEndpoint is empty" "$role" store.bucket=snapshots store.endpoint=https://minio:9443
refused "routing.domain is empty" routing.mode=ingress
refused "routing.from.namespace is empty" routing.mode=ingress routing.domain=p.example.com
refused "routing.gateway.namespace or .name" routing.mode=gateway routing.domain=p.example.com routing.from.namespace=traefik
refused /routing/domain routing.domain=P.example.com
refused /routing/mode routing.mode=proxy
refused /routing/corsOrigins/0 'routing.corsOrigins={https://a.example/x}'
ingress=(routing.mode=ingress routing.domain=p.example.com routing.from.namespace=traefik)
refused "are both set" "${ingress[@]}" routing.tls.clusterIssuer=a routing.tls.existingSecret=b
refused "routing.tls.enabled is false" "${ingress[@]}" routing.tls.clusterIssuer=a routing.tls.enabled=false
for namespace in shared proj- proj-A proj-3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44; do
    refused /projects/sharedNamespace "projects.sharedNamespace=$namespace"
done
refused /networkPolicy/egressPorts 'networkPolicy.egressPorts={https}'
if output=$(helm template remora "$chart" --kube-version 1.29.0 2>&1); then fail "Kubernetes 1.29 is taken"; fi
grep -qF 'kubeVersion: >=1.30' <<<"$output" || fail "Kubernetes 1.29 is refused without saying why: $output"

# holds TEXT SETTING...: with the settings, the chart renders a line with the text.
holds() {
    local text=$1
    shift
    grep -qF -- "$text" <<<"$(render "${@/#/--set=}")" || fail "with $*: no line holds '$text'"
}
digest=sha256:$(printf '0%.0s' {1..64})
holds "value: r:5000/x/remora/agent@$digest" image.registry=r:5000/x image.agent.tag=v1 "image.agent.digest=$digest"
holds "image: remora/control-plane:v2" image.controlPlane.tag=v2
holds "- {port: 9443, protocol: TCP}" store.endpoint=https://minio:9443/
holds "- {port: 5001, protocol: TCP}" 'insecureRegistries={registry:5001}'
holds "--tls-cert=/etc/remora/tls/tls.crt" tls.existingSecret=tls
holds "--encryption-key-file=/etc/remora/encryption/key" encryption.existingSecret=snapshots
holds 'value: "10.0.0.0/8,fd00::/8"' 'store.cidrs={10.0.0.0/8,fd00::/8}'
sts=("$role" store.bucket=snapshots store.endpoint=https://minio:9443 store.webIdentity.stsEndpoint=https://sts:9444)
holds "- {port: 9444, protocol: TCP}" "${sts[@]}"
holds 'value: "https://sts:9444"' "${sts[@]}"
holds '- serviceAccountToken: {audience: "minio", expirationSeconds: 86400, path: token}' \
    "${sts[@]}" store.webIdentity.audience=minio
holds "resources: [ingresses]" "${ingress[@]}"
holds "resources: [middlewares]" "${ingress[@]}"
holds 'value: "http://remora.remora-system.svc.cluster.local:7600/auth/verify"' "${ingress[@]}"
holds "value: issuer:letsencrypt" "${ingress[@]}" routing.tls.clusterIssuer=letsencrypt
holds "resourceNames: [ports-tls]" "${ingress[@]}" routing.tls.existingSecret=ports-tls
holds 'value: "67108864"' "${ingress[@]}" routing.maxBodyBytes=67108864
holds 'value: "app=edge"' "${ingress[@]}" routing.from.podLabels.app=edge
gateway=("${ingress[@]:1}" routing.mode=gateway routing.gateway.namespace=edge routing.gateway.name=public)
holds "resources: [httproutes]" "${gateway[@]}"
holds 'value: "edge/public/https"' "${gateway[@]}" routing.gateway.listener=https
# Rights come with the mode that needs them.
without() {
    local text=$1
    shift
    if grep -qF -- "$text" <<<"$(render "${@/#/--set=}")"; then fail "with $*: a line holds '$text'"; fi
}
for kind in ingresses httproutes middlewares; do without "[$kind]" routing.domain=p.example.com; done
without "[httproutes]" "${ingress[@]}"
without "[ingresses]" "${gateway[@]}"
without "[middlewares]" "${ingress[@]}" routing.controller=nginx
if grep -q -e remora-store -e AWS_ACCESS_KEY <<<"$(render "${sts[@]/#/--set=}")"; then fail "with a role, keys are asked for"; fi
holds "|| oldObject.metadata.name != 'proj-common'" projects.sharedNamespace=proj-common
holds 'value: "proj-common"' projects.sharedNamespace=proj-common
if grep -q -e oldObject.metadata.name -e proj-shared <<<"$(render --set=projects.sharedNamespace=)"; then
    fail "without a namespace to share, one is named"
fi
echo "chart: linted, rendered as its snapshots, bad values refused"
