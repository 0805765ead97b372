# Runs in the guest as its first process after init.sh: prepares what an ordinary system has, runs the tests that are
# listed one a line in /job/tests, and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=dumb
mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts devpts /dev/pts
# Not on /tmp: the checkout may lie there, and the root is the guest's own to write to already.
for folder in /dev/shm /run; do mount -t tmpfs tmpfs $folder; done
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /run/netns
modules=/lib/modules/$(uname -r)
[ -e "$modules" ] || ln -s "$(cat /job/modules)" "$modules"
ulimit -n 100000 -l unlimited
ip link set lo up
. /job/environment
status=0
while read -r test; do
    "$test" --test-threads=1 || status=1
done </job/tests >/job/output 2>&1
echo $status >/job/status
sync
echo o >/proc/sysrq-trigger
sleep 10
