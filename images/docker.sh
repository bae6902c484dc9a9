#!/usr/bin/env bash
# Images with a Docker engine. Sourced.

docker_prepare() { base=${BASE:-debian:12-slim}; }

docker_build() {
    complete "$1" "$2"
    SOURCE_DATE_EPOCH=0 DOCKER_BUILDKIT=1 docker build --quiet --build-arg "BASE=$base" --tag "remora/$1" "$2" >/dev/null
}

docker_push() {
    docker tag "remora/$1" "$2"
    docker push --quiet "$2" >/dev/null
}

# An engine of Docker learns an image's digest from the registry that takes it.
docker_digest() {
    if [ -n "$2" ]; then
        docker inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$2" | sed -n "s|^${2%:*}@||p"
    else
        docker inspect --format '{{.Id}}' "remora/$1"
    fi
}

docker_sizes() {
    docker save "remora/$1" | gzip -c | wc -c
    docker inspect --format '{{.Size}}' "remora/$1"
}
