#!/usr/bin/env bash
# The API server itself refuses the control plane what it must not do.
#
#   refusals.sh NAMESPACE NAME    of the release
set -euo pipefail
shopt -s inherit_errexit
space=$1
account=system:serviceaccount:$1:$2
project=proj-refusals
foreign=remora-refusals

fail() { echo "refusals: $1" >&2; exit 1; }
as_control_plane() { kubectl --as "$account" "$@"; }

cleanup() { kubectl delete namespace "$project" "$foreign" --ignore-not-found --wait=false >/dev/null; }
trap cleanup EXIT

# may yes|no VERB RESOURCE FLAGS...
may() {
    local wanted=$1 answer
    shift
    answer=$(as_control_plane auth can-i "$@" 2>/dev/null) || true
    [ "$answer" = "$wanted" ] || fail "can-i $*: $answer, and not $wanted"
    echo "  $wanted: $*"
}

# forbidden WORDS COMMAND...
forbidden() {
    local words=$1 output
    shift
    if output=$("$@" 2>&1); then fail "not refused: $*"; fi
    grep -qF "$words" <<<"$output" || fail "refused without '$words': $*: $output"
    echo "  refused: $*"
}

namespace() {
    cat <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $1, labels: {app.kubernetes.io/managed-by: $2, pod-security.kubernetes.io/enforce: $3}}
YAML
}
make_namespace() { as_control_plane create -f <(namespace "$@"); }
bind() { as_control_plane -n "$1" create rolebinding refusals --clusterrole "$2" --serviceaccount "$3"; }
relabel() { as_control_plane label namespace "$@"; }
remove() { as_control_plane delete namespace "$@"; }

kubectl create namespace "$foreign" >/dev/null
make_namespace "$project" remora restricted >/dev/null
bind "$project" remora-project "$space:$2" >/dev/null
echo "refusals: its own project's namespace is there, with its binding"

for subresource in exec attach portforward proxy ephemeralcontainers; do
    for one in "$project" "$space" default; do may no create pods --subresource "$subresource" -n "$one"; done
done
may yes get secrets -n "$project"
may no get secrets -n default
may no get secrets -n kube-system
may no get secrets -n "$foreign"
may no list secrets --all-namespaces
may no list secrets -n "$space"
may no get secrets/remora-store -n "$space"
may yes get secrets/remora-identity -n "$space"
may yes create pods -n "$project"
may no create pods -n default
may no delete pods -n "$foreign"
may no get nodes
may no create clusterrolebindings

policy="ValidatingAdmissionPolicy"
forbidden $policy make_namespace "$foreign-2" remora restricted
forbidden $policy make_namespace proj-foreign someone restricted
forbidden $policy make_namespace proj-weak remora privileged
forbidden $policy relabel "$foreign" app.kubernetes.io/managed-by=remora
forbidden $policy relabel "$project" app.kubernetes.io/managed-by-
forbidden $policy relabel --overwrite "$project" pod-security.kubernetes.io/enforce=privileged
forbidden $policy remove "$foreign"
forbidden $policy bind "$foreign" remora-project "$space:$2"
forbidden $policy bind "$project" remora-project default:default
forbidden "attempting to grant RBAC permissions" bind "$project" cluster-admin "$space:$2"
