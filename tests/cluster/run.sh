#!/usr/bin/env bash
# `make test-integration`: the chart as it is installed in production, on a real
# cluster, and the suite as a Job in it. Exits with the Job's verdict. All that it
# saw is in target/integration: junit.xml, acceptance.log, the logs and events of
# every pod. `make test-e2e` is the same on the rig's full profile, with the cases
# of the suite that are marked for it and without what the minimal profile shows.
#
#   KEEP=1         leaves everything in the cluster as it is at the end
#   SUITE="..."    arguments for the suite, a filter or --bench for example; then nothing but the suite runs
#   SUITE_SECONDS=N   how long the suite may take, 3000
#   REGISTRY=...   where to push the images, with REMORA_CLUSTER=existing
#
# Parts: cluster.sh, install.sh, refusals.sh, suite.sh with faults.sh beside it,
# parity.sh, failing.sh, outside.sh, collect.sh.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."
for part in cluster install suite failing faults outside collect; do
    # shellcheck source=/dev/null
    source "tests/cluster/$part.sh"
done
# shellcheck source=tests/rig/wait.sh
source tests/rig/wait.sh

# The cluster has room for one control plane, and so for one run.
mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}/remora"
exec 8>"${XDG_CACHE_HOME:-$HOME/.cache}/remora/integration.lock"
flock 8

out=target/integration
space=remora-it-$(date +%H%M%S)
started=$SECONDS
rm -rf "$out"
mkdir -p "$out"

step() { echo "== $1 ($((SECONDS - started)) s)"; }

step "a cluster"
find_cluster
step "images"
make --no-print-directory images "REGISTRY=$REMORA_REGISTRY"
# A disk that is still busy with them would be measured as well.
sync
only_suite=no
# shellcheck disable=SC2154 # find_cluster says it
if [ -n "${SUITE:-}" ] || [ "$full_profile" = yes ]; then only_suite=yes; fi
if [ "$only_suite" = no ]; then
    step "the chart's own tests"
    tests/chart/run.sh
fi
trap finish EXIT
step "helm install, in the namespace $space"
install_chart
verdict=0
if [ "$only_suite" = no ]; then
    step "what the control plane may not do"
    tests/cluster/refusals.sh "$space" remora
    step "helm test"
    helm test remora --namespace "$space" --logs --timeout 120s
fi
step "the suite"
run_suite integration || verdict=1
if [ -z "${SUITE:-}" ]; then
    step "what docs/parity.md says of the suite"
    tests/cluster/parity.sh "$out/junit.xml" docs/parity.md "$full_profile" || verdict=1
fi
if [ "$only_suite" = no ]; then
    step "a suite that fails"
    run_failing || verdict=1
    step "the acceptance project, from outside the cluster"
    run_acceptance || verdict=1
fi
if [ "$full_profile" = yes ] && [ -z "${SUITE:-}" ]; then
    step "the shop, from outside the cluster and in a browser"
    run_shop || verdict=1
fi
exit "$verdict"
