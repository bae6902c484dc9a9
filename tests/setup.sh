#!/usr/bin/env bash
# Makes a machine ready to build and test: Debian packages, the toolchain, and
# what the named extras need. Installs what is missing when it may, else prints
# the exact command and stops. Does nothing where everything is there.
#
#   tests/setup.sh [dist] [images] [acceptance] [bench] [demo]
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

# package -> a file or command that shows it is there
packages=()
need() { command -v "$2" >/dev/null 2>&1 || packages+=("$1"); }
need gcc cc
need git git
need make make
need attr setfattr
need strace strace
if [[ " $* " != *" demo "* ]]; then
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
    [ -x /usr/local/go/bin/go ] || need golang-go go
fi
for extra in "$@"; do
    case $extra in
        dist) need musl-tools musl-gcc ;;
        images)
            need npm npm
            [ -x /usr/local/go/bin/go ] || need golang-go go
            if ! docker info >/dev/null 2>&1; then
                for package in buildah skopeo mmdebstrap jq; do need "$package" "$package"; done
            fi
            ;;
        acceptance | bench) ;;
        demo) need python3 python3; need curl curl; need bsdutils script ;;
        *) fail "unknown extra '$extra'; the extras are dist, images, acceptance, bench and demo" ;;
    esac
done

if [ "${#packages[@]}" -gt 0 ]; then
    install="apt-get update && apt-get install -y ${packages[*]}"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing ${packages[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
    else
        fail "missing: ${packages[*]}; run: sudo sh -c '$install'"
    fi
fi

command -v rustup >/dev/null 2>&1 || fail "rustup is missing; get it from https://rustup.rs"
channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
if ! rustup toolchain list | grep -q "^$channel-"; then
    rustup toolchain install "$channel" --profile minimal
fi
installed=$(rustup component list --toolchain "$channel" --installed)
for component in rustfmt clippy; do
    grep -q "^$component" <<<"$installed" || rustup component add --toolchain "$channel" "$component"
done

# Only the tests need them.
if [[ " $* " != *" demo "* ]]; then
    tests/seaweed.sh >/dev/null
    tests/versitygw.sh >/dev/null
fi

for extra in "$@"; do
    case $extra in
        dist)
            target=x86_64-unknown-linux-musl
            grep -q "^rust-std-$target" <<<"$installed" || rustup target add --toolchain "$channel" "$target"
            ;;
        acceptance)
            major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
            [ "${major:-0}" -ge 20 ] || fail "the acceptance project needs Node 20 or later on PATH; found '$(node --version 2>/dev/null || echo none)'"
            ;;
    esac
done
