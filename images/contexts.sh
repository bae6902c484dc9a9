#!/usr/bin/env bash
# What goes into each image beside its Dockerfile. Sourced.
#
# context_IMAGE FOLDER puts its inputs there; complete_IMAGE, where there is one,
# what follows from them, and only when the image is built.

# The names of all images.
image_names() { printf '%s\n' agent control-plane databases devserver seaweedfs test-runner; }

context_agent() { cp dist/remora-agent "$1/"; }

context_control_plane() { cp dist/remora "$1/"; }

context_databases() { cp images/databases/postgres-server "$1/"; }

context_devserver() { cp images/devserver/package.json images/devserver/package-lock.json "$1/"; }

# Node's official binaries are a package of npm, so that npm checks them against
# the hashes of the lock file.
complete_devserver() { install_locked "$1"; }

install_locked() {
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel error >/dev/null
    # It lists what npm did, and when.
    rm -f "$1/node_modules/.package-lock.json"
}

context_seaweedfs() { cp "$(tests/seaweed.sh)" "$1/weed"; }

context_test_runner() {
    cp dist/remora dist/remora-integration "$1/"
    cp "$(images/kubectl.sh)" "$1/kubectl"
    mkdir "$1/shop"
    tar --create --directory examples/shop --exclude node_modules --exclude dist --exclude screenshots . |
        tar --extract --directory "$1/shop"
}

# The shop brings along what it depends on: pods of a cluster of tests reach no registry.
complete_test_runner() {
    local part
    for part in api frontend; do install_locked "$1/shop/$part"; done
}

complete() {
    if declare -F "complete_${1//-/_}" >/dev/null; then "complete_${1//-/_}" "$2"; fi
    # Every file is of the same mode for the same reason as of the same time.
    find "$2" -type f -exec chmod u=rwX,go=rX {} + -o -type d -exec chmod 755 {} +
}
