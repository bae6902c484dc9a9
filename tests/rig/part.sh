#!/usr/bin/env bash
# Stops or starts one daemon of the bare rig, as a fault to test against.
#
#   part.sh stop|start etcd|kube-apiserver|kube-controller-manager|kube-scheduler|containerd|registry|kubelet|kube-proxy|storage-provisioner
#
# `start` returns when it answers.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tests/rig/bare.sh
source "$(dirname "$0")/bare.sh"

if [ $# != 2 ] || ! declare -F "answers_$2" >/dev/null; then
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
case $1 in
    stop) stop_daemon "$2" ;;
    start) "start_$2"; wait_for 60 "$2" ;;
    *) echo "part: '$1' is neither stop nor start" >&2; exit 2 ;;
esac
