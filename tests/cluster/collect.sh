#!/usr/bin/env bash
# What a run leaves behind in target/integration, and that it leaves nothing
# else. Sourced.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

# Every namespace of the run: the release's and those of projects.
run_namespaces() {
    echo "$space"
    kubectl get namespaces -l app.kubernetes.io/managed-by=remora -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}'
}

collect() {
    local one pod container logs=$out/logs
    mkdir -p "$logs"
    kubectl get projects.remora.dev -o yaml >"$out/projects.yaml" || true
    for one in $(run_namespaces); do
        kubectl -n "$one" get all,events,networkpolicies,resourcequotas -o wide >"$out/$one.txt" || true
        kubectl -n "$one" get pods -o yaml >"$out/$one.pods.yaml" || true
        for pod in $(kubectl -n "$one" get pods -o name); do
            for container in $(kubectl -n "$one" get "$pod" \
                -o jsonpath='{.spec.initContainers[*].name} {.spec.containers[*].name}'); do
                kubectl -n "$one" logs "$pod" -c "$container" >"$logs/$one.${pod#*/}.$container.log" || true
                kubectl -n "$one" logs "$pod" -c "$container" --previous \
                    >"$logs/$one.${pod#*/}.$container.previous.log" 2>/dev/null || true
            done
        done
    done 2>>"$out/collect.log"
    find "$logs" -type f -empty -delete
}

# At the end, whatever it was like.
finish() {
    local verdict=$?
    trap - EXIT
    [ -z "${faults:-}" ] || stop_faults
    [ -z "${forward:-}" ] || stop_forward
    step "collecting into $out"
    collect || true
    [ ! -d "$out/failing" ] || has_failing_log || verdict=1
    if [ -n "${KEEP:-}" ]; then
        echo "integration: left in the cluster, namespace $space"
    else
        step "removing what the run made"
        uninstall >"$out/uninstall.log" 2>&1 || {
            tail -n 5 "$out/uninstall.log" >&2
            echo "integration: not all of it is gone, see $out/uninstall.log" >&2
            [ "$verdict" != 0 ] || verdict=1
        }
    fi
    if [ "$verdict" = 0 ]; then step "passed"; else step "FAILED"; fi
    exit "$verdict"
}
