#!/usr/bin/env bash
# Faults that only the cluster's host can make: a daemon of the bare rig that
# stops. Sourced.
#
# The suite asks in the ConfigMap host-fault, data.request, "NUMBER stop PART",
# "NUMBER start PART" or "NUMBER pause PART SECONDS" (which starts it again: who
# asked may not be able to, with no API server to ask through), and finds
# "NUMBER done" or "NUMBER failed" in data.answer. Parts are those of
# tests/rig/part.sh. Where the cluster is no bare rig nobody answers, and the
# suite knows by REMORA_HOST_FAULTS that these tests are skipped.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

answer_host_faults() {
    local request answered='' number action part seconds answer
    if [ "$bare_rig" != yes ]; then
        echo "integration: skipped, since the cluster is no bare rig: faults of its daemons (kubelet, API server)"
        return
    fi
    while sleep 0.5; do
        request=$(kubectl --request-timeout 5s --namespace "$space" get configmap host-fault \
            -o jsonpath='{.data.request}' 2>/dev/null) || continue
        [ "$request" != "$answered" ] || continue
        answered=$request
        read -r number action part seconds <<<"$request"
        echo "integration: host fault: $action $part ${seconds:-}"
        answer='done'
        case $action in
            stop | start) tests/rig/part.sh "$action" "$part" || answer=failed ;;
            pause)
                echo "$part" >"$out/paused"
                { tests/rig/part.sh stop "$part" && sleep "${seconds:-10}" && tests/rig/part.sh start "$part"; } || answer=failed
                rm -f "$out/paused"
                ;;
            *) answer=failed ;;
        esac
        # A part that was just started may be the one that takes the answer.
        until kubectl --request-timeout 5s --namespace "$space" patch configmap host-fault --type merge \
            -p "{\"data\":{\"answer\":\"$number $answer\"}}" >/dev/null; do sleep 0.5; done
    done
}

stop_faults() {
    kill "$faults" 2>/dev/null || true
    wait "$faults" 2>/dev/null || true
    # The case that had it stopped failed, and the suite ended meanwhile.
    if [ -e "$out/paused" ]; then
        tests/rig/part.sh start "$(cat "$out/paused")" || true
        rm -f "$out/paused"
    fi
}
