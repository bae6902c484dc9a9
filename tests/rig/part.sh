#!/usr/bin/env bash
# Stops or starts one daemon of the bare rig, as a fault to test against.
#
#   part.sh stop|start DAEMON[@MACHINE]
#
# Without a machine it is the first node's. `start` returns when it answers.
set -euo pipefail
shopt -s inherit_errexit
# The profile is that of the rig that stands, whatever this shell would start.
# shellcheck source=tests/rig/settings.sh
source "$(dirname "$0")/settings.sh"
# shellcheck disable=SC2034 # bare.sh reads it
[ ! -e "$RIG_STATE/profile" ] || RIG_PROFILE=$(cat "$RIG_STATE/profile")
# shellcheck source=tests/rig/bare.sh
source "$RIG_SOURCE/bare.sh"

part=${2:-}
part=${part%"@$RIG_NODE"}
if [ $# != 2 ] || ! rig_parts | grep -qxF -- "$part"; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    echo "The parts: $(rig_parts | paste -sd' ')" >&2
    exit 2
fi
case $1 in
    stop) in_part "$part" stop_daemon "" ;;
    start) in_part "$part" start_; wait_for 60 "$part" ;;
    *) echo "part: '$1' is neither stop nor start" >&2; exit 2 ;;
esac
