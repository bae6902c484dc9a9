#!/usr/bin/env bash
# Debian where no registry has it: a root file system of its packages. Sourced.

# The same release as the name in the Dockerfiles' ARG BASE.
DEBIAN_RELEASE=bookworm

# Prints where this machine gets that release from.
debian_sources() {
    local sources
    sources=$(apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' |
        grep -E " $DEBIAN_RELEASE(-updates|-security)? main$" | sort -u)
    if ! grep -q " $DEBIAN_RELEASE main$" <<<"$sources"; then
        echo "images: apt of this machine has no Debian $DEBIAN_RELEASE; give BASE=IMAGE, a Debian that buildah can pull" >&2
        return 1
    fi
    echo "$sources"
}

# make_debian FILE: a tar of the smallest Debian with apt, the authorities
# that Mozilla trusts, and curl. Its configuration keeps documentation out of what is
# installed on top as well.
make_debian() {
    local work
    work=$(mktemp -d)
    if ! debian_sources >"$work/sources.list" || ! SOURCE_DATE_EPOCH=0 mmdebstrap \
        --variant=minbase --include=ca-certificates,curl \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$DEBIAN_RELEASE" "$1.new" "$work/sources.list" >"$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        rm -rf "$work" "$1.new"
        return 1
    fi
    rm -r "$work"
    mv "$1.new" "$1"
}
