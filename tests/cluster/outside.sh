#!/usr/bin/env bash
# From outside the cluster, by programs of this machine: the real Vite project through
# its life in a pod, and the shop as its customers see it. Sourced.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

run_acceptance() {
    local verdict=0
    tests/setup.sh acceptance || return 1
    cargo build --workspace --bins --locked || return 1
    forward_server || return 1
    REMORA_SERVER=$server REMORA_KEY=$key REMORA_TEST_IMAGE=$(image_of devserver) \
        cargo test --workspace --locked --test acceptance-cluster -- --nocapture 2>&1 |
        tee "$out/acceptance.log" || verdict=1
    stop_forward
    return "$verdict"
}

# By REST alone, and then in a browser through the ingress. Needs the rig's full profile.
run_shop() {
    local part shop=$out/shop verdict=0
    tests/setup.sh acceptance || return 1
    rm -rf "$shop"
    mkdir -p "$shop"
    tar --create --directory examples/shop --exclude node_modules --exclude dist . | tar --extract --directory "$shop"
    # Pods reach no registry here.
    for part in api frontend; do npm ci --prefix "$shop/$part" --loglevel error || return 1; done
    forward_server || return 1
    (
        export REMORA_SERVER=$server REMORA_API_KEY=$key
        NODE_IMAGE=$(image_of devserver) DATABASE_IMAGE=$(image_of databases) "$shop/create.sh" shop &&
            INGRESS_ADDRESS=$RIG_NODE_ADDRESS INGRESS_CA=$RIG_STATE/pki/ca.crt "$shop/screenshots.sh" shop "$out/screenshots"
    ) 2>&1 | tee "$out/shop.log" || verdict=1
    stop_forward
    rm -rf "$shop"
    return "$verdict"
}

# Leads a free port of this machine to the server. Sets `server` to its address, and `key` to the admin's.
forward_server() {
    local port
    key=$(kubectl --namespace "$space" get secret remora-admin-key -o jsonpath='{.data.key}' | base64 -d)
    # Port 0: a free one, which it names.
    kubectl --namespace "$space" port-forward service/remora :7600 >"$out/port-forward.log" 2>&1 &
    forward=$!
    wait_until 20 "kubectl forwards a port" "$out/port-forward.log" grep -q '^Forwarding from 127' "$out/port-forward.log" || return 1
    port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$out/port-forward.log")
    server=http://127.0.0.1:$port
}

stop_forward() {
    kill "$forward" 2>/dev/null || true
    wait "$forward" 2>/dev/null || true
}
