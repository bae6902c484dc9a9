#!/usr/bin/env bash
# Compiles versitygw, the second S3 server that the tests prove commits against,
# into the user's cache, and prints the path of its binary. Does nothing where it
# is there. What it is compiled from is pinned in tests/versitygw.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/rig/packages.sh
source rig/packages.sh
version=$(sed -n 's|^.*github.com/versity/versitygw v\([0-9.]*\).*$|\1|p' versitygw/go.mod | head -n 1)
home=${XDG_CACHE_HOME:-$HOME/.cache}/remora/versitygw-$version
mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9
if ! "$home/versitygw" --version >/dev/null 2>&1; then
    go=$(find_go versitygw)
    echo "setup: compiling versitygw $version (about three minutes of two cores, once)" >&2
    rm -rf "$home"
    mkdir "$home"
    CGO_ENABLED=0 "$go" -C versitygw build -trimpath -ldflags "-s -w -X main.Version=$version" \
        -o "$home/versitygw" github.com/versity/versitygw/cmd/versitygw 2> >(grep -v '^go: downloading' >&2)
fi
echo "$home/versitygw"
