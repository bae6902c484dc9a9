#!/usr/bin/env bash
# Uses the shop as a customer does, in a headless Chromium that comes in through the
# ingress: orders something, sends the project to sleep, wakes it, and looks that
# everything is there. Leaves FOLDER/before-hibernation.png and FOLDER/after-wake.png,
# and fails where the two pages do not say the same.
#
#   REMORA_SERVER=https://… REMORA_API_KEY=… ./screenshots.sh [NAME] [FOLDER]
#
#   INGRESS_ADDRESS  address of the ingress controller, where no DNS knows the project's hosts
#   INGRESS_CA       certificate of the authority that signed its own, where no browser knows that
#
# Needs Node 20 or later; installs Chromium from Debian's packages where it is missing.
set -euo pipefail
shopt -s inherit_errexit

: "${REMORA_SERVER:?is the address of the server}" "${REMORA_API_KEY:?is a key for the project}"
name=${1:-shop}
folder=$(realpath --canonicalize-missing "${2:-.}")
authority=${INGRESS_CA:+$(realpath "$INGRESS_CA")}
cd "$(dirname "$0")/screenshots"

packages=()
command -v chromium >/dev/null || packages+=(chromium fonts-dejavu-core fonts-noto-color-emoji)
[ -z "$authority" ] || command -v certutil >/dev/null || packages+=(libnss3-tools)
if [ "${#packages[@]}" -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "screenshots: missing; run: sudo apt-get install ${packages[*]}" >&2
        exit 1
    fi
    echo "screenshots: installing ${packages[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
npm ci --silent

# A browser with a home of its own, which trusts whom this one trusts, and the authority.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
if [ -n "$authority" ]; then
    mkdir -p "$home/.pki/nssdb"
    certutil -d "sql:$home/.pki/nssdb" -N --empty-password
    certutil -d "sql:$home/.pki/nssdb" -A -n ingress -t C,, -i "$authority"
fi
HOME=$home node src/main.js "$name" "$folder"
