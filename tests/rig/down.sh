#!/usr/bin/env bash
# `make cluster-down`: ends what `make cluster` started, and looks that nothing
# of it is left. A cluster that was there before stays.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tests/rig/bare.sh
source "$(dirname "$0")/bare.sh"
# shellcheck source=tests/rig/kind.sh
source "$RIG_SOURCE/kind.sh"

mkdir -p "$RIG_CACHE_HOME"
exec 9>"$RIG_LOCK"
flock 9
if kind_answers; then kind_down; fi
bare_down
