#!/usr/bin/env bash
# A run that fails, on purpose: it has to say so, and to leave what it saw, as one
# that nobody wished for. Sourced.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

# Runs a suite whose only case fails.
run_failing() {
    local out=$out/failing SUITE=--fail-on-purpose
    mkdir -p "$out"
    if run_suite failing >"$out/run.log" 2>&1; then
        echo "integration: a suite whose case fails has passed" >&2
        return 1
    fi
    if ! grep -q '<failure[^>]*it fails because it was asked to' "$out/junit.xml"; then
        echo "integration: $out/junit.xml does not have the failure" >&2
        return 1
    fi
    echo "integration: a suite whose case fails says so, and left its JUnit"
}

# Whether collect found the log of its pod, once it is done.
has_failing_log() {
    if ! grep -qs 'FAILED .*fails::on_purpose' "$out"/logs/"$space".failing-*.suite.log; then
        echo "integration: the log of the suite that failed was not kept" >&2
        return 1
    fi
}
