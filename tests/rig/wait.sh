#!/usr/bin/env bash
# Waiting for a condition, with a deadline that names what was waited for. Sourced.

# wait_until SECONDS WHAT LOG COMMAND...
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2 log=$3 limit=$1
    shift 3
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "cluster: not after $limit s: $what; the last lines of $log:" >&2
            tail -n 15 "$log" >&2 || true
            return 1
        fi
        sleep 0.2
    done
}
