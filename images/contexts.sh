#!/usr/bin/env bash
# What goes into each image beside its Dockerfile. Sourced.

# The names of all images.
image_names() { printf '%s\n' agent control-plane devserver seaweedfs test-runner; }

context_agent() { cp dist/remora-agent "$1/"; }

context_control_plane() { cp dist/remora "$1/"; }

# Node's official binaries are a package of npm, so that npm checks them against
# the hashes of the lock file.
context_devserver() {
    cp images/devserver/package.json images/devserver/package-lock.json "$1/"
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel error >&2
    # It lists what npm did, and when.
    rm -f "$1/node_modules/.package-lock.json"
}

context_seaweedfs() { cp "$(tests/seaweed.sh)" "$1/weed"; }

context_test_runner() {
    cp dist/remora "$1/"
    cp "$(images/kubectl.sh)" "$1/kubectl"
}
