#!/usr/bin/env bash
# The shop as project.yaml makes it, by the REST calls alone: no program of Remora, but
# bash, curl and tar. Ends when the shop is open and its shelves are full.
#
#   REMORA_SERVER=https://… REMORA_API_KEY=… ./create.sh [NAME]
#
#   NODE_IMAGE      image of the two Dev containers, instead of node:24
#   DATABASE_IMAGE  image of both databases, as images/databases of this repository makes it,
#                   instead of those of the presets
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")"

name=${1:-shop}
node=${NODE_IMAGE:-node:24}
of_databases=${DATABASE_IMAGE:+", \"image\": \"$DATABASE_IMAGE\", \"user\": 999"}
patience=600

# call METHOD PATH [ARGUMENTS OF CURL]: the answer; where it is an error, no success, and its words on standard error.
call() {
    local method=$1 path=$2 answer
    shift 2
    # The key is no argument: those are everybody's to read.
    answer=$(curl --silent --show-error --fail-with-body --request "$method" "$@" \
        --config <(printf 'header = "authorization: Bearer %s"\n' "$REMORA_API_KEY") \
        "$REMORA_SERVER/api/v1/projects$path") || { echo "create: $method $path: $answer" >&2; return 1; }
    echo "$answer"
}

# post PATH: what stands on standard input, as JSON.
post() { call POST "$1" --header 'content-type: application/json' --data-binary @-; }

phase() { call GET "/$name" | sed -n 's/.*"phase":"\([A-Za-z]*\)".*/\1/p'; }

echo "create: a project with the databases and the API"
post '' >/dev/null <<JSON
{
  "name": "$name",
  "spec": {
    "displayName": "Harbour shop",
    "source": "Archive",
    "layout": "PodPerContainer",
    "workspace": {"volume": {"size": "2Gi", "accessMode": "ReadWriteMany"}},
    "containers": [
      {"name": "db", "kind": "Service", "preset": "Postgres", "storage": {"size": "1Gi"}$of_databases},
      {"name": "cache", "kind": "Service", "preset": "Redis", "storage": {"size": "1Gi"}$of_databases},
      {
        "name": "api",
        "image": "$node",
        "workdir": "api",
        "command": ["sh", "-c", "npm install && exec npm run dev"],
        "ports": [{"name": "http", "port": 8080, "expose": "Private"}],
        "probe": {"httpGet": {"path": "/healthz", "port": 8080}},
        "dependsOn": [{"name": "db", "condition": "Healthy"}, {"name": "cache", "condition": "Healthy"}]
      }
    ]
  }
}
JSON

echo "create: one more container, for the page"
post "/$name/containers" >/dev/null <<JSON
{
  "name": "web",
  "image": "$node",
  "workdir": "frontend",
  "command": ["sh", "-c", "npm install && exec npm run dev"],
  "ports": [{"name": "http", "port": 5173, "expose": "Private"}],
  "probe": {"httpGet": {"path": "/", "port": 5173}},
  "dependsOn": [{"name": "api", "condition": "Healthy"}]
}
JSON

echo "create: the files"
tar --create api frontend |
    call PUT "/$name/source" --header 'content-type: application/x-tar' --upload-file - >/dev/null

echo "create: the start"
call POST "/$name/start" >/dev/null
until [ "$(phase)" = Ready ]; do
    if [ "$SECONDS" -gt "$patience" ]; then
        echo "create: the shop does not open:" >&2
        call GET "/$name" >&2
        exit 1
    fi
    sleep 1
done

echo "create: the products"
seeded=$(post "/$name/exec" <<<'{"container": "api", "argv": ["npm", "run", "seed"]}')
grep -q '"code":0' <<<"$seeded" || { echo "create: the seed script failed: $seeded" >&2; exit 1; }
echo "create: $name is open"
