#!/usr/bin/env bash
# The names, places and addresses of the bare rig. Sourced by the rest.
# shellcheck disable=SC2034 # every file that sources this reads a part of it

# Where the files of the rig lie in the repository.
RIG_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Several rigs may stand on one machine, each with a name of its own; the usual
# one has none. The name is part of device names, which have 15 characters.
RIG_NAME=${REMORA_RIG:-}
if ! [[ $RIG_NAME =~ ^([a-z][a-z0-9]{0,7})?$ ]]; then
    echo "cluster: REMORA_RIG is '$RIG_NAME'; a name has 1 to 8 lowercase letters and digits, a letter first" >&2
    exit 2
fi

# What it is made of: minimal (one node), or full (two nodes, an enforcer of
# NetworkPolicy, an ingress controller, cert-manager, hosts outside).
RIG_PROFILE=${RIG_PROFILE:-minimal}

# The name of its cgroup, by which everything of it is found again.
RIG_CGROUP=remora-rig${RIG_NAME:+-$RIG_NAME}

# All that a running rig writes. Not below /var/lib or /run: each node has its
# own of both (machine.sh).
RIG_STATE=/srv/$RIG_CGROUP

# What was compiled outlives the cluster. Its key is the hash of all that is
# compiled, versions included, so that a changed pin never meets an old binary.
RIG_KEY=$(cd "$RIG_SOURCE" && cat go.mod go.sum {node,coredns,policy,policy/enforcer,policy/cni}/*.go build.sh | sha256sum | cut -c1-16)
RIG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache}/remora
RIG_CACHE=$RIG_CACHE_HOME/rig-$RIG_KEY
RIG_BIN=$RIG_CACHE/bin
# The same for Traefik, which only the full profile compiles.
RIG_INGRESS_KEY=$(cd "$RIG_SOURCE" && cat traefik/go.* traefik/*/* traefik/*.txt ingress.sh | sha256sum | cut -c1-16)
RIG_INGRESS_CACHE=$RIG_CACHE_HOME/ingress-$RIG_INGRESS_KEY
# And for cert-manager.
RIG_CERTMANAGER_KEY=$(cd "$RIG_SOURCE" && cat certmanager/* certmanager.sh | sha256sum | cut -c1-16)
RIG_CERTMANAGER_CACHE=$RIG_CACHE_HOME/certmanager-$RIG_CERTMANAGER_KEY
RIG_LOCK=$RIG_CACHE_HOME/rig${RIG_NAME:+-$RIG_NAME}.lock

# Its machines, each joined to this one by a veth on a bridge. The first node
# has the control plane as well. `metadata` and `internet` are hosts outside
# the cluster, as pods see them: they answer HTTP with their name.
RIG_NODE=node-1
RIG_NODES=("$RIG_NODE")
RIG_HOSTS=()
case $RIG_PROFILE in
    minimal) ;;
    full)
        RIG_NODES+=(node-2)
        RIG_HOSTS=(metadata internet)
        ;;
    *)
        echo "cluster: RIG_PROFILE is '$RIG_PROFILE'; the profiles are minimal and full" >&2
        exit 2
        ;;
esac
# The machine that the functions of the rig act on; see on_machine.
RIG_MACHINE=$RIG_NODE

RIG_LINK=${RIG_NAME:+rr-$RIG_NAME}
RIG_LINK=${RIG_LINK:-remora-rig}
# Of the third byte's range, rigs with a name have those above the usual one's.
RIG_BYTE=77
[ -z "$RIG_NAME" ] || RIG_BYTE=$((78 + $(cksum <<<"$RIG_NAME" | cut -d' ' -f1) % 178))
RIG_NODE_NETWORK=172.30.$RIG_BYTE.0/24
RIG_HOST_ADDRESS=172.30.$RIG_BYTE.1
# The address of node-N ends in N + 1.
node_address() { echo "172.30.$RIG_BYTE.$((${1#node-} + 1))"; }
RIG_NODE_ADDRESS=$(node_address "$RIG_NODE")
# Where clouds answer a machine's questions about itself, and an address of a
# range that documents use and nobody has.
RIG_METADATA_ADDRESS=169.254.169.254
RIG_INTERNET_ADDRESS=203.0.113.80

RIG_SERVICE_NETWORK=10.96.0.0/16
RIG_API_SERVICE=10.96.0.1
RIG_DNS_SERVICE=10.96.0.10
RIG_POD_NETWORK=10.244.0.0/16
# What the controller manager allocates to node-N when they register in order;
# a node's CNI uses the same.
node_pod_network() { echo "10.244.$((${1#node-} - 1)).0/24"; }

# The address is the registry's name as well: one reference serves who pushes,
# the kubelet that pulls, and a pod that reads an image's config.
RIG_REGISTRY=$RIG_NODE_ADDRESS:5000
RIG_KUBECONFIG=$RIG_STATE/kubeconfig

# Where the enforcer of NetworkPolicy listens on each node, for the last of the
# plugins that make a pod's network.
RIG_POLICY_SOCKET=/run/rig/policy.sock

# The hosts of whose names the ingress controller's own certificate is, signed by
# the rig's authority.
RIG_DOMAIN=projects.test

# log_of DAEMON: where the daemon of that name on RIG_MACHINE logs.
log_of() { echo "$RIG_STATE/$RIG_MACHINE/log/$1.log"; }
