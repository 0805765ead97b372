#!/bin/sh
# Becomes systemd, in namespaces of its own for mounts, processes, cgroups, IPC and the host's name: its root is this host's,
# and what is written goes to memory. $1: an empty folder; $2: files that lie over the host's.
set -eu
folder=$1 over=$2
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
cp -a "$over/." "$folder/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
# What is the kernel's and not this namespace's stays as it is; what asks whether it may write here leaves it alone.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
if grep -q ':name=systemd:' /proc/self/cgroup; then
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
for own in run tmp var/log dev; do
    mount -t tmpfs tmpfs "$own"
done
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm old
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
pivot_root . old
umount -l /old
# The user, who must be there before the service starts.
systemd-sysusers /usr/lib/sysusers.d/sipsteer.conf
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --unit=sipsteer-test.target
