#!/usr/bin/env bash
# What the bare rig takes from Debian, and a Go that can build the rest. Sourced.

# Prints the packages that are missing. A package is known by a file of its own.
missing_packages() {
    local package file
    [ "$RIG_PROFILE" = minimal ] || [ -e /usr/sbin/nft ] || echo nftables
    while read -r package file; do
        [ -e "$file" ] || echo "$package"
    done <<'LIST'
containerd /usr/bin/containerd
runc /usr/sbin/runc
containernetworking-plugins /usr/lib/cni/ptp
docker-registry /usr/bin/docker-registry
umoci /usr/bin/umoci
skopeo /usr/bin/skopeo
busybox-static /usr/share/doc/busybox-static
tini /usr/bin/tini
iproute2 /sbin/ip
iptables /usr/sbin/iptables
ipset /usr/sbin/ipset
conntrack /usr/sbin/conntrack
ethtool /usr/sbin/ethtool
openssl /usr/bin/openssl
curl /usr/bin/curl
ca-certificates /etc/ssl/certs/ca-certificates.crt
LIST
    command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || echo golang-go
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ "${#packages[@]}" -gt 0 ] || return 0
    echo "cluster: installing ${packages[*]}"
    apt-get update -qq
    # At run level 1 no package starts its service: the rig runs its own
    # containerd and registry, and the machine's stay as they were.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# find_go [FOLDER]: prints the path of a Go as new as the go.mod there asks for.
#
# From 1.21 on any Go fetches the toolchain of go.mod by itself. Debian's may be
# older: it gets the toolchain by the same road, as a module checked against the
# same public checksums, but knows neither how to start it nor that its files
# are programs.
find_go() {
    local go wanted folder
    go=$(command -v go || echo /usr/local/go/bin/go)
    wanted=$(sed -n 's/^toolchain //p' "${1:-$RIG_SOURCE}/go.mod")
    if [[ $(cd / && "$go" version) =~ go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 21 ]; then
        echo "$go"
        return
    fi
    wanted=golang.org/toolchain@v0.0.1-$wanted.$("$go" env GOOS)-$("$go" env GOARCH)
    if ! folder=$(cd / && "$go" mod download -json "$wanted"); then
        echo "cluster: $go is older than go.mod asks for, and cannot fetch that release: $folder" >&2
        return 1
    fi
    folder=$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$folder")
    chmod -R u+w "$folder"
    find "$folder/bin" "$folder/pkg/tool" -type f -exec chmod +x {} +
    echo "$folder/bin/go"
}
