#!/usr/bin/env bash
# The node's machine: one process tree in namespaces and a cgroup of its own. Sourced.
#
# Every process of the rig lives in one PID namespace, so that ending its first
# process ends them all, containers too, wherever they have gone meanwhile. Its
# mounts are in one mount namespace and are gone with its last process. Its
# cgroup namespace makes the kubelet's root the rig's own cgroup. What is left
# to tidy is one cgroup in each hierarchy and one folder.

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
find_cgroups() {
    find /sys/fs/cgroup -depth -type d \( -name "$RIG_CGROUP" -o -path "*/$RIG_CGROUP/*" \) 2>/dev/null || true
}

# Every process in those cgroups.
find_processes() {
    # A cgroup may go while it is read.
    find_cgroups | sed 's|$|/cgroup.procs|' | { xargs -r cat 2>/dev/null || true; } | sort -nu
}

# The first process of the machine: number 1 in the namespace below this one.
machine_pid() {
    local pid
    for pid in $(find_processes); do
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

make_cgroups() {
    local folder parent file
    for folder in $(cgroup_folders); do
        parent=${folder%/*}
        mkdir -p "$folder"
        # Version 1: a cpuset without processors holds no process.
        if [ -e "$folder/cpuset.cpus" ] && [ ! -e "$folder/cgroup.controllers" ]; then
            echo 1 >"$folder/cgroup.clone_children"
            for file in cpuset.cpus cpuset.mems; do cat "$parent/$file" >"$folder/$file"; done
        fi
        delegate "$parent"
        mkdir -p "$folder/daemons"
    done
}

join_cgroups() {
    local folder
    for folder in $(find_cgroups | grep "/$RIG_CGROUP$1\$"); do
        echo "$BASHPID" >"$folder/cgroup.procs"
    done
}

start_machine() {
    local folder
    mkdir -p "$RIG_STATE"/{run,lib,log,etc}
    make_cgroups
    # The cgroup where the process stands when it gets its cgroup namespace is
    # that namespace's root.
    (
        join_cgroups ""
        exec setsid unshare --fork --net --mount --propagation private --pid --mount-proc \
            --ipc --uts --cgroup bash "$RIG_SOURCE/machine-init.sh" \
            "$RIG_STATE" "$RIG_NODE" </dev/null >"$RIG_LOG/machine.log" 2>&1 9>&-
    ) &
    wait_until 20 "the node's machine stands" "$RIG_LOG/machine.log" test -e "$RIG_STATE/run/rig/standing"
    # Version 2 gives controllers to children only of a cgroup without processes.
    for folder in $(find_cgroups | grep "/$RIG_CGROUP\$"); do
        move_to_daemons "$folder"
        delegate "$folder"
    done
}

# Runs a command on the node, in its cgroup and all its namespaces.
on_machine() {
    local pid
    pid=$(machine_pid)
    (
        join_cgroups /daemons
        exec nsenter --target "$pid" --net --mount --pid --ipc --uts --cgroup \
            env PATH="$RIG_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
    )
}

# Starts a daemon on the node: start_daemon NAME COMMAND... Its log is
# $RIG_LOG/NAME.log, its process id on the node in /run/rig/NAME.pid.
start_daemon() {
    local name=$1
    shift
    # shellcheck disable=SC2016 # the inner shell expands them
    on_machine setsid --fork bash -c 'echo $$ >"/run/rig/$0.pid"; exec "$@"' "$name" "$@" \
        </dev/null >>"$RIG_LOG/$name.log" 2>&1 9>&-
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

stop_machine() {
    local pid folder deadline=$((SECONDS + 30))
    # The first process takes its PID namespace with it. The rest are those
    # that only helped it: the parent of its namespaces.
    if pid=$(machine_pid); then kill -KILL "$pid"; fi
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
