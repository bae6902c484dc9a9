#!/usr/bin/env bash
# Whether the same inputs give the same images: builds each twice, everything
# anew, and compares their digests. Takes minutes, and needs the binaries in dist/.
#
#   images/reproducible.sh [IMAGE...]
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

digests() {
    local cache
    cache=$(mktemp -d)
    IMAGES_CACHE=$cache images/build.sh "$@" >&2
    rm -rf "$cache"
    cut -d' ' -f1,2 target/images.txt
}

once=$(digests "$@")
again=$(digests "$@")
if [ "$once" != "$again" ]; then
    diff <(echo "$once") <(echo "$again") || true
    echo "reproducible: two builds of the same inputs differ" >&2
    exit 1
fi
echo "reproducible: two builds of the same inputs have the same digests"
