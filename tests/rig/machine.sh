#!/usr/bin/env bash
# A machine of the rig: one process tree in namespaces and a cgroup of its own. Sourced.
#
# Every process of a machine lives in one PID namespace, so that ending its first
# process ends them all, containers too, wherever they have gone meanwhile. Its
# mounts are in one mount namespace and are gone with its last process. Its
# cgroup namespace makes the kubelet's root the machine's own cgroup. What is left
# to tidy is one cgroup in each hierarchy and one folder.
#
# Functions act on the machine that RIG_MACHINE names: the first node, where a
# caller has set nothing else.

# Whether this machine has cgroups of version 2, and only those.
unified() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }

# Prints, for each cgroup hierarchy of this machine, the rig's folder in it.
# Version 1: below the caller's own cgroup, whose limits so hold for the cluster
# as well. Version 2 allows no children with controllers below a cgroup that has
# processes: there it is at the top.
cgroup_folders() {
    if unified; then
        echo "/sys/fs/cgroup/$RIG_CGROUP"
        return
    fi
    local mount name own
    for mount in /sys/fs/cgroup/*/; do
        mount=${mount%/}
        [ ! -L "$mount" ] || continue
        name=${mount##*/}
        own=$(awk -F: -v name="$name" '
            $2 == name || $2 == "name=" name || ($2 == "" && name == "unified") { print $3 }' /proc/self/cgroup)
        [ -z "$own" ] || echo "$mount${own%/}/$RIG_CGROUP"
    done
}

# Every cgroup folder of the rig, found by looking, the innermost first:
# whoever ends it may be another session than the one that started it.
# With a path, /node-2 for example, those of that part of it.
find_cgroups() {
    local top=$RIG_CGROUP${1:-}
    find /sys/fs/cgroup -depth -type d \( -path "*/$top" -o -path "*/$top/*" \) 2>/dev/null || true
}

# Every process in those cgroups.
find_processes() {
    # A cgroup may go while it is read.
    find_cgroups "$@" | sed 's|$|/cgroup.procs|' | { xargs -r cat 2>/dev/null || true; } | sort -nu
}

# The first process of the machine: number 1 in the namespace below this one.
machine_pid() {
    local pid
    for pid in $(find_processes "/$RIG_MACHINE"); do
        if grep -q $'^NSpid:\t'"$pid"$'\t1$' "/proc/$pid/status" 2>/dev/null; then
            echo "$pid"
            return
        fi
    done
    return 1
}

# Version 2: gives every controller of a cgroup to its children.
delegate() {
    local controllers
    unified || return 0
    controllers=$(cat "$1/cgroup.controllers")
    echo "+${controllers// / +}" >"$1/cgroup.subtree_control"
}

# Moves every process of a cgroup to its child `daemons`. One that forks
# meanwhile has its child still here.
move_to_daemons() {
    local pids pid
    while pids=$(cat "$1/cgroup.procs") && [ -n "$pids" ]; do
        for pid in $pids; do echo "$pid" >"$1/daemons/cgroup.procs" || true; done
    done
}

# Makes the cgroup of the rig, and the machine's below it.
make_cgroups() {
    local folder
    for folder in $(cgroup_folders); do
        [ -e "$folder" ] || make_cgroup "$folder"
        make_cgroup "$folder/$RIG_MACHINE"
        mkdir -p "$folder/$RIG_MACHINE/daemons"
    done
}

make_cgroup() {
    local file
    mkdir -p "$1"
    # Version 1: a cpuset without processors holds no process.
    if [ -e "$1/cpuset.cpus" ] && [ ! -e "$1/cgroup.controllers" ]; then
        echo 1 >"$1/cgroup.clone_children"
        for file in cpuset.cpus cpuset.mems; do cat "${1%/*}/$file" >"$1/$file"; done
    fi
    delegate "${1%/*}"
}

join_cgroups() {
    local folder
    for folder in $(cgroup_folders); do
        echo "$BASHPID" >"$folder/$RIG_MACHINE$1/cgroup.procs"
    done
}

start_machine() {
    local folder state=$RIG_STATE/$RIG_MACHINE
    mkdir -p "$state"/{run,lib/volumes,log,etc} "$RIG_STATE"/{etc,volumes}
    make_cgroups
    # The cgroup where the process stands when it gets its cgroup namespace is
    # that namespace's root.
    (
        join_cgroups ""
        exec setsid unshare --fork --net --mount --propagation private --pid --mount-proc \
            --ipc --uts --cgroup bash "$RIG_SOURCE/machine-init.sh" \
            "$state" "$RIG_STATE/volumes" "$RIG_MACHINE" </dev/null >"$state/log/machine.log" 2>&1 9>&-
    ) &
    wait_until 20 "the machine $RIG_MACHINE stands" "$state/log/machine.log" test -e "$state/run/rig/standing"
    # Version 2 gives controllers to children only of a cgroup without processes.
    for folder in $(cgroup_folders); do
        move_to_daemons "$folder/$RIG_MACHINE"
        delegate "$folder/$RIG_MACHINE"
    done
}

# Runs a command on the machine, in its cgroup and all its namespaces.
on_machine() {
    local pid
    pid=$(machine_pid)
    (
        join_cgroups /daemons
        exec nsenter --target "$pid" --net --mount --pid --ipc --uts --cgroup \
            env PATH="$RIG_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
    )
}

# Starts a daemon on the machine: start_daemon NAME COMMAND... Its log is where
# log_of says, its process id on the machine in /run/rig/NAME.pid.
start_daemon() {
    local name=$1
    shift
    # shellcheck disable=SC2016 # the inner shell expands them
    on_machine setsid --fork bash -c 'echo $$ >"/run/rig/$0.pid"; exec "$@"' "$name" "$@" \
        </dev/null >>"$(log_of "$name")" 2>&1 9>&-
}

# An API server waits a minute for requests that are running; nobody else does.
stop_daemon() {
    # shellcheck disable=SC2016 # the inner shell expands them
    on_machine bash -c '
        pid=$(cat "/run/rig/$0.pid")
        kill "$pid"
        timeout 10 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
    ' "$1"
}

stop_machines() {
    local pid folder deadline=$((SECONDS + 30))
    # The first process of a machine takes its PID namespace with it. The rest
    # are those that only helped it: the parent of its namespaces.
    while pid=$(find_processes) && [ -n "$pid" ]; do
        [ "$SECONDS" -lt "$deadline" ] || break
        # shellcheck disable=SC2086 # a list of numbers
        kill -KILL $pid 2>/dev/null || true
        sleep 0.1
    done
    # The kernel lets go of a dead process' cgroup a moment later.
    while folder=$(find_cgroups) && [ -n "$folder" ] && [ "$SECONDS" -lt "$deadline" ]; do
        # shellcheck disable=SC2086 # paths of our own choosing
        rmdir $folder 2>/dev/null || sleep 0.1
    done
}
