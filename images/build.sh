#!/usr/bin/env bash
# `make images`: builds the images, prints their sizes and digests, and pushes
# them where REGISTRY is given.
#
#   images/build.sh [IMAGE...]
#
#   REGISTRY  where to push: HOST[:PORT][/PATH]
#   TAG       their tag there; default: the workspace's version
#   BASE      the Debian they start from; default: made of this machine's
#             packages with buildah, debian:12-slim with Docker
#
# With Docker where its engine answers, else with buildah. There an image is
# kept in the user's cache under the hash of all that is in it, so that one whose
# inputs did not change costs nothing; a week later it is built anew, with what
# Debian has mended. target/images.txt has a line for each: name, digest, and its
# reference where it was pushed.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
# shellcheck source=images/contexts.sh
source images/contexts.sh
# shellcheck source=images/debian.sh
source images/debian.sh
# shellcheck source=images/buildah.sh
source images/buildah.sh
# shellcheck source=images/docker.sh
source images/docker.sh

# shellcheck source=images/chart.sh
source images/chart.sh
# shellcheck source=tests/rig/settings.sh
source tests/rig/settings.sh

# A registry on this machine speaks http, as Docker holds it too; so does the rig's.
plain_http() {
    local host=${1%%/*}
    case ${host%:*} in
        localhost | 127.*) true ;;
        *) [ "$host" = "$RIG_REGISTRY" ] ;;
    esac
}

registry=${REGISTRY:-}
tag=${TAG:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)}
mapfile -t images < <(image_names)
names=("$@")
[ "${#names[@]}" -gt 0 ] || names=("${images[@]}")
cache=${IMAGES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/remora/images}
report=target/images.txt

mkdir -p "$cache" target
# One at a time: a second build finds what the first one made.
exec 9>"$cache.lock"
flock 9

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
engine=buildah
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then engine=docker; fi
"${engine}_prepare"

: >"$report"
for name in "${names[@]}"; do
    declare -F "context_${name//-/_}" >/dev/null || {
        echo "images: there is no image '$name'; there are ${images[*]}" >&2
        exit 2
    }
    context=$work/$name
    mkdir "$context"
    cp "images/$name/Dockerfile" "$context/"
    "context_${name//-/_}" "$context"
    "${engine}_build" "$name" "$context"
    reference=${registry:+$registry/remora/$name:$tag}
    [ -z "$reference" ] || "${engine}_push" "$name" "$reference"
    digest=$("${engine}_digest" "$name" "$reference")
    mapfile -t sizes < <("${engine}_sizes" "$name" | numfmt --to=si --suffix=B --format=%.1f --round=nearest)
    printf '%-14s %7s packed, %7s unpacked  %s\n' "$name" "${sizes[@]}" "$digest"
    echo "$name $digest $reference" >>"$report"
    rm -r "$context"
done
if [ -n "$registry" ]; then
    echo "images: pushed to $registry/remora with the tag $tag"
    # Of all images, or the chart would name one that is not there.
    [ $# -gt 0 ] || echo "images: the chart that names them is $(pack_chart "$report" "$registry")"
fi
