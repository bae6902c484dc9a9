#!/usr/bin/env bash
# Images with buildah, for machines without a Docker engine. Sourced.
#
# `cache` is the folder for what is kept, `work` one that goes when the run ends.
# shellcheck disable=SC2154 # build.sh sets both
#
# An image is an OCI layout in the cache, named by the hash of its context and of
# the Debian below it. Times in it are all the same, so the same inputs give the
# same digest.

declare -A layouts=()

buildah_prepare() {
    find "$cache" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
    base=${BASE:-}
    [ -z "$base" ] || return 0
    local context
    context=$(mktemp -d)
    cp images/debian/Dockerfile images/debian.sh "$context/"
    base=$cache/debian-$(context_key "$context")
    if [ ! -e "$base/index.json" ]; then
        echo "images: making Debian $DEBIAN_RELEASE of its packages"
        make_debian "$context/debian.tar"
        make_layout "$context" "$base"
    fi
    rm -r "$context"
}

# context_key FOLDER: a hash of the names and bytes below it.
context_key() {
    (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-16
}

# Prints the name by which a build starts from `base`.
base_name() {
    if [ -n "${BASE:-}" ]; then
        echo "$BASE"
        return
    fi
    own_buildah inspect --type image localhost/debian >/dev/null 2>&1 ||
        skopeo copy --quiet --insecure-policy "oci:$base:image" \
            "containers-storage:[overlay@$work/storage+$work/run]localhost/debian:latest"
    echo localhost/debian
}

own_buildah() { buildah --storage-driver overlay --root "$work/storage" --runroot "$work/run" "$@"; }

# make_layout CONTEXT LAYOUT [BASE]
make_layout() {
    local image=localhost/remora-build
    rm -rf "$2" "$2.new"
    # Storage of this run's own: nothing is left in the machine's, and nothing of it gets in.
    # A RUN has this machine's network; it needs no other.
    if ! own_buildah build --quiet --isolation chroot --layers=false --timestamp 0 ${3:+--build-arg "BASE=$3"} \
        --tag "$image" "$1" >"$2.log" 2>&1; then
        tail -n 30 "$2.log" >&2
        return 1
    fi
    own_buildah push --quiet "$image" "oci:$2.new:image"
    rm "$2.log"
    mv "$2.new" "$2"
}

buildah_build() {
    local name=$1 context=$2 layout
    layout=$cache/$name-$( (context_key "$context" && echo "$base") | sha256sum | cut -c1-16)
    if [ ! -e "$layout/index.json" ]; then
        complete "$name" "$context"
        make_layout "$context" "$layout" "$(base_name)"
    fi
    layouts[$name]=$layout
}

buildah_push() {
    local insecure=()
    if plain_http "$2"; then insecure=(--dest-tls-verify=false); fi
    skopeo copy --quiet --insecure-policy --preserve-digests "${insecure[@]}" "oci:${layouts[$1]}:image" "docker://$2"
}

buildah_digest() { jq -r '.manifests[0].digest' "${layouts[$1]}/index.json"; }

# Prints the bytes that a registry keeps of it, and those on a node's disk.
buildah_sizes() {
    local layout=${layouts[$1]} manifest
    if [ ! -e "$layout/sizes" ]; then
        manifest=$layout/blobs/sha256/$(buildah_digest "$1" "" | cut -d: -f2)
        {
            jq '[.layers[].size] | add' "$manifest"
            jq -r '.layers[].digest | sub("sha256:"; "")' "$manifest" |
                while read -r blob; do gzip -dc "$layout/blobs/sha256/$blob"; done | wc -c
        } >"$layout/sizes"
    fi
    cat "$layout/sizes"
}
