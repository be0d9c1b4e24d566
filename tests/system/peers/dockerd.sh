#!/bin/bash
# dockerd.sh STATE: dockerd whose files are all below STATE, in a namespace of mounts and of processes:
# its containers end with it. It needs the control groups, which `ip netns exec` hides behind a fresh /sys.
set -euo pipefail

if [ "${2:-}" != inside ]; then
    exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$1" inside
fi
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount -t tmpfs tmpfs /sys/fs/cgroup
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" 2>/dev/null ||
        rmdir "/sys/fs/cgroup/$controller"
done
# A kernel that has given all of them to the second version.
[ -n "$(ls /sys/fs/cgroup)" ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Else it would write a key into /etc/docker.
printf '{"deprecated-key-path": "%s/key.json"}\n' "$1" >"$1/daemon.json"
dockerd --config-file "$1/daemon.json" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" \
    --host "unix://$1/docker.sock" --storage-driver vfs &
trap 'kill $!; wait $!' TERM
wait $!
