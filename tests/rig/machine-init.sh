#!/usr/bin/env bash
# The first process of a machine of the rig: gives it its own view of what a
# booted machine has, then only reaps. Runs in fresh namespaces.
#
#   machine-init.sh STATE VOLUMES HOSTNAME
#
# VOLUMES is a folder that every machine has, as nodes with a shared disk do.
set -euo pipefail
shopt -s inherit_errexit
state=$1 volumes=$2
echo "$3" >/proc/sys/kernel/hostname

# Everything is mounted anew where the old view would show the outer machine:
# /sys its network devices, the cgroup hierarchies its root.
hierarchies=$(findmnt -rnuo TARGET,FSTYPE,OPTIONS -t cgroup,cgroup2)
umount --recursive --lazy /sys
while read -r target _; do
    case $target in /sys/*) ;; *) umount --lazy "$target" ;; esac
done <<<"$hierarchies"
mount -t sysfs sysfs /sys
# Where the kernel has AppArmor, containerd loads its profile through this.
if grep -qw securityfs /proc/filesystems; then mount -t securityfs securityfs /sys/kernel/security; fi
if [[ $hierarchies != "/sys/fs/cgroup cgroup2 "* ]]; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
fi
while read -r target kind options; do
    case $target in /sys/fs/cgroup*) ;; *) continue ;; esac
    mkdir -p "$target"
    if [ "$kind" = cgroup2 ]; then
        mount -t cgroup2 cgroup2 "$target"
        continue
    fi
    # Of its options only those that say which hierarchy it is.
    controllers=$(tr , '\n' <<<"$options" | grep -xE "name=.*|$(awk 'NR > 1 { printf "%s%s", sep, $1; sep = "|" }' /proc/cgroups)" | paste -sd,)
    [[ $controllers != name=* ]] || controllers=none,$controllers
    mount -t cgroup -o "$controllers" cgroup "$target"
    for controller in ${controllers//,/ }; do
        [ -e "/sys/fs/cgroup/$controller" ] || [[ $controller == n*e* ]] || ln -s "${target##*/}" "/sys/fs/cgroup/$controller"
    done
done <<<"$hierarchies"

# The usual paths, so that what expects a node finds one, and nothing of it on
# the outer machine. A shared tree, because the kubelet hands mounts on to pods.
mount --bind "$state/lib" /var/lib
mount --bind "$volumes" /var/lib/volumes
mount --bind "$state/log" /var/log
mount --bind "$state/run" /run
mount --make-rshared /

ip link set lo up
mkdir -p /run/rig
touch /run/rig/standing
exec tini -- sleep infinity
