#!/usr/bin/env bash
# The names, places and addresses of the bare rig. Sourced by the rest.
# shellcheck disable=SC2034 # every file that sources this reads a part of it

# Where the files of the rig lie in the repository.
RIG_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# All that a running rig writes. Not below /var/lib or /run: the node has its
# own of both (machine.sh).
RIG_STATE=/srv/remora-rig
RIG_LOG=$RIG_STATE/log

# The name of its cgroup, by which everything of it is found again.
RIG_CGROUP=remora-rig

# What was compiled outlives the cluster. Its key is the hash of all that is
# compiled, versions included, so that a changed pin never meets an old binary.
RIG_KEY=$(cd "$RIG_SOURCE" && cat go.mod go.sum node/*.go coredns/*.go build.sh | sha256sum | cut -c1-16)
RIG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache}/remora
RIG_CACHE=$RIG_CACHE_HOME/rig-$RIG_KEY
RIG_BIN=$RIG_CACHE/bin

# The machine that runs `make cluster` and the node, joined by a veth.
RIG_LINK=remora-rig
RIG_HOST_ADDRESS=172.30.77.1
RIG_NODE_ADDRESS=172.30.77.2
RIG_NODE_NETWORK=172.30.77.0/24
RIG_NODE=node-1

RIG_SERVICE_NETWORK=10.96.0.0/16
RIG_API_SERVICE=10.96.0.1
RIG_DNS_SERVICE=10.96.0.10
RIG_POD_NETWORK=10.244.0.0/16
# What the controller manager allocates to the first node; its CNI uses the same.
RIG_NODE_POD_NETWORK=10.244.0.0/24

# The address is the registry's name as well: one reference serves who pushes,
# the kubelet that pulls, and a pod that reads an image's config.
RIG_REGISTRY=$RIG_NODE_ADDRESS:5000
RIG_KUBECONFIG=$RIG_STATE/kubeconfig
