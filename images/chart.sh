#!/usr/bin/env bash
# The chart of a release: as in charts/remora, but its defaults name the images
# that were just pushed, by digest, so that it needs no value to find them. Sourced.

# pack_chart REPORT REGISTRY: prints the archive's path.
pack_chart() {
    local report=$1 registry=$2 work name digest version archive
    version=$(sed -n 's/^version: //p' charts/remora/Chart.yaml)
    archive=dist/remora-$version.tgz
    work=$(mktemp -d)
    cp -r charts/remora "$work/"
    sed -i "s|^  registry: \"\"|  registry: $registry|" "$work/remora/values.yaml"
    if plain_http "$registry"; then
        sed -i "s|^insecureRegistries: \[\]|insecureRegistries: [${registry%%/*}]|" "$work/remora/values.yaml"
    fi
    while read -r name digest _; do
        sed -i "s|{repository: remora/$name, tag: \"\", digest: \"\"}|{repository: remora/$name, tag: \"\", digest: \"$digest\"}|" \
            "$work/remora/values.yaml"
    done <"$report"
    if grep -q 'digest: ""' "$work/remora/values.yaml"; then
        echo "images: values.yaml of the chart names an image that was not built" >&2
        return 1
    fi
    mkdir -p dist
    tar --create --gzip --file "$archive" --directory "$work" --sort=name --mtime=@0 \
        --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX remora
    rm -rf "$work"
    echo "$archive"
}
