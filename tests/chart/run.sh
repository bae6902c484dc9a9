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

# refused WORDS VALUE: no chart is rendered, and the words say why.
refused() {
    local output
    ! output=$(render --set "$2" 2>&1) || fail "--set $2 is taken"
    grep -qF -- "$1" <<<"$output" || fail "--set $2 is refused without saying '$1': $output"
}
refused /replicas replicas=0
refused "'replica'" replica=3
refused /store/endpoint store.endpoint=minio:9000
refused /image/agent/digest image.agent.digest=latest
refused /image/registry image.registry=http://registry:5000
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
echo "chart: linted, rendered as its snapshots, bad values refused"
