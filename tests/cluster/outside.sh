#!/usr/bin/env bash
# From outside the cluster: the real Vite project through its life in a pod, by
# the command line of this machine. Sourced.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

run_acceptance() {
    local port key verdict=0
    tests/setup.sh acceptance || return 1
    cargo build --workspace --bins --locked || return 1
    key=$(kubectl --namespace "$space" get secret remora-admin-key -o jsonpath='{.data.key}' | base64 -d)
    # Port 0: a free one, which it names.
    kubectl --namespace "$space" port-forward service/remora :7600 >"$out/port-forward.log" 2>&1 &
    forward=$!
    wait_until 20 "kubectl forwards a port" "$out/port-forward.log" grep -q '^Forwarding from 127' "$out/port-forward.log" || return 1
    port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$out/port-forward.log")
    REMORA_SERVER=http://127.0.0.1:$port REMORA_KEY=$key REMORA_TEST_IMAGE=$(image_of devserver) \
        cargo test --workspace --locked --test acceptance-cluster -- --nocapture 2>&1 |
        tee "$out/acceptance.log" || verdict=1
    stop_forward
    return "$verdict"
}

stop_forward() {
    kill "$forward" 2>/dev/null || true
    wait "$forward" 2>/dev/null || true
}
