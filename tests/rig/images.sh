#!/usr/bin/env bash
# The images the rig itself needs, made of static binaries: nothing is pulled
# from outside. Sourced.

# make_image FOLDER NAME:TAG FILES... -- umoci config options: an OCI layout
# in FOLDER whose one layer has FILES in its root.
make_image() {
    local layout=$1 name=$2 root
    shift 2
    root=$(mktemp -d)
    # umoci makes a mode of 0700 of a missing folder; others than root run too.
    chmod 755 "$root"
    while [ "$1" != -- ]; do
        cp "$1" "$root/"
        shift
    done
    shift
    # The same files give the same image, whenever it is made.
    tar --create --file "$root.tar" --directory "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
    [ -e "$layout" ] || umoci init --layout "$layout"
    umoci new --image "$layout:$name"
    umoci raw add-layer --image "$layout:$name" --history.created 1970-01-01T00:00:00Z "$root.tar"
    umoci config --image "$layout:$name" --created 1970-01-01T00:00:00Z --history.created 1970-01-01T00:00:00Z "$@"
    rm -rf "$root" "$root.tar"
}

make_images() {
    local layout=$RIG_CACHE/images
    [ ! -e "$layout/complete" ] || return 0
    rm -rf "$layout"
    # A sandbox needs a process that stays; the kubelet ends it with SIGKILL.
    make_image "$layout" pause /bin/busybox -- --config.entrypoint /busybox --config.cmd sleep --config.cmd 2147483647
    make_image "$layout" check /bin/busybox -- --config.entrypoint /busybox --config.cmd sh
    make_image "$layout" coredns "$RIG_BIN/coredns" -- --config.entrypoint /coredns
    touch "$layout/complete"
}

# push_image NAME REFERENCE [LAYOUT]
push_image() {
    skopeo copy --quiet --insecure-policy --dest-tls-verify=false \
        "oci:${3:-$RIG_CACHE/images}:$1" "docker://$2"
}
