#!/bin/sh
# Boots systemd as PID 1 of the namespaces that it finds itself in (pid, mount,
# uts, ipc and net: new ones), on a throwaway copy of / that lies in memory.
# The argument is an empty directory to mount things on.
set -eu

# The cgroup namespace is made here and not by whoever started us: only now
# are we in the cgroup that shall be its root.
if [ "${2-}" != inside ]; then
	exec unshare --cgroup -- /bin/sh "$0" "$1" inside
fi

mount --make-rprivate /
mount -t tmpfs -o mode=755 state "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys # so that no device is touched from here
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=755 dev dev
for node in null zero full random urandom tty; do
	: >"dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

ip link set lo up
pivot_root . mnt
cd /
umount -l /mnt
exec env -i container=unshare PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=0
