#!/usr/bin/env bash
# The main job from nothing, on this machine alone: a local server, a project
# that runs, work in it, hibernation to the object store, and the way back.
# Prints each step with its command and its time; fails at the first surprise.
#
#   tests/demo.sh FOLDER-WITH-BINARIES
set -euo pipefail
PATH=$(cd "$1" && pwd):$PATH
home=$(mktemp -d "${TMPDIR:-/tmp}/remora-demo-XXXXXX")
export REMORA_CONFIG=$home/context.json
server=
finish() {
    status=$?
    if [ -n "$server" ]; then kill -INT "$server" 2>/dev/null && wait "$server" || true; fi
    if [ $status = 0 ]; then rm -rf "$home"; else echo "demo: failed; logs are in $home" >&2; fi
}
trap finish EXIT

now() { date +%s%3N; }
# step WORDS -- COMMAND: runs it, shows what it printed (at most 6 lines) and how long it took.
step() {
    local what=$1; shift 2
    printf '\n\033[1m%s\033[0m\n$ %s\n' "$what" "$(shown "$@")"
    local begun; begun=$(now)
    "$@" >"$home/out" 2>&1 || { cat "$home/out"; echo "demo: exit code $?"; exit 1; }
    local took=$(($(now) - begun))
    head -n 6 "$home/out" | sed 's/^/  /'
    local lines; lines=$(wc -l <"$home/out")
    if [ "$lines" -gt 6 ]; then echo "  … $((lines - 6)) more lines"; fi
    printf '  [%d.%03d s]\n' $((took / 1000)) $((took % 1000))
}
shown() { local word; for word in "$@"; do case $word in *[\ \'\"\|\;]*) printf "'%s' " "$word" ;; *) printf '%s ' "$word" ;; esac; done; }
# What the project serves; its server needs a moment to listen.
page() { curl -fsS --retry 40 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$port/" 2>"$home/curl"; }
must() { "$@" || { echo "demo: this does not hold: $*"; exit 1; }; }
# Names, modes, times, links and bytes of a folder, by tools that know nothing of Remora.
record() {
    (cd "$1" && find . -mindepth 1 -printf '%P %y %m %T@ %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}

app=$home/hello
mkdir -p "$app/src"
cat >"$app/src/server.py" <<'PYTHON'
import http.server, os

GREETING = b"Hello from the pod\n"

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(GREETING)

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
PYTHON
for number in $(seq 1 200); do echo "file $number holds $((number * number))" >"$app/src/data-$number.txt"; done
ln -s src/server.py "$app/main.py"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

printf '\033[1mA local server: agent and shim processes, mutual TLS, an S3 bucket, all in one folder\033[0m\n$ remora local\n'
begun=$(now)
remora local --listen 127.0.0.1:0 --data-dir "$home/data" >"$home/server.log" 2>&1 &
server=$!
until [ -s "$REMORA_CONFIG" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$home/server.log"; exit 1; }
    read -rt 0.05 <> <(:) || true
done
printf '  [%d ms]\n' $(($(now) - begun))

step "Bring a folder up as a project" -- remora up "$app" --name hello --port "http:$port" --env "PORT=$port" -- python3 src/server.py
must test "$(page)" = "Hello from the pod"
step "Run a command in it; its exit code is ours" -- remora exec hello -- sh -c 'echo "python is $(python3 --version)"; ls src | wc -l'
set +e; remora exec hello -- sh -c 'exit 7'; code=$?; set -e
must test "$code" = 7
step "Edit a file" -- remora fs edit hello src/server.py --old "Hello from the pod" --new "Hello from Remora"
step "Search" -- remora fs grep hello 'holds 4\d\d$'
step "Open a terminal" -- script -qec "remora sh hello -- sh -c 'echo a terminal of \$(tput cols 2>/dev/null || echo some) columns on \$(tty)'" /dev/null
step "Take a snapshot" -- remora snapshot create hello
workspace=$home/data/projects/$(remora status hello -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')/workspace
record "$workspace" >"$home/before"
step "Hibernate: final snapshot, read back, then the processes and the working tree go" -- remora hibernate hello
must test ! -e "$workspace"
must test -z "$(curl -s --max-time 2 "http://127.0.0.1:$port/")"
step "Wake" -- remora wake hello
must test "$(page)" = "Hello from Remora"
record "$workspace" >"$home/after"
printf '\n\033[1mIdentical?\033[0m\n'
must cmp "$home/before" "$home/after"
echo "  yes: $(wc -l <"$home/before") lines of names, modes, times, links and hashes are the same"
step "Verify the newest snapshot, every byte" -- remora snapshot verify hello
step "Where it stands" -- remora status hello
step "Remove it" -- remora rm hello --yes
echo
echo "demo: every step did what it should"
