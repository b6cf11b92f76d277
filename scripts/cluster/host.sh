#!/bin/bash
# host.sh NAME ROOT PLACE SITE REPO: the first process of one host of a virtual cluster, in namespaces of its own (up.sh).
#
# H1 The host's root is ROOT, unchanged, under a writable layer in memory. pivot_root, not chroot: the kernel makes no user
#    namespaces in a chroot, and Apptainer needs them.
# H2 /home and /shared are the site's, the same on every host. REPO is seen at its own path, read only.
# H3 A /dev of its own: the machine's /dev/fuse may be closed to users, and is not ours to open.
# H4 It ends when standard input does (whoever brought the cluster up is gone) or by a signal; everything in the host, and
#    every mount, ends with it.
set -eu
NAME=$1 ROOT=$2 PLACE=$3 SITE=$4 REPO=$5
mount --make-rprivate /
hostname "$NAME"
mount -t tmpfs -o mode=755 tmpfs "$PLACE"
mkdir "$PLACE/upper" "$PLACE/work" "$PLACE/root"
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$PLACE/upper,workdir=$PLACE/work" "$PLACE/root"
R=$PLACE/root
mkdir -p "$R/.old" "$R/shared" "$R/home"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t tmpfs -o mode=755,nosuid tmpfs "$R/dev"
(
  umask 0
  cd "$R/dev"
  for d in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "${d%:*}" c 1 "${d#*:}"; done
  mknod -m 666 tty c 5 0
  mknod -m 666 fuse c 10 229
  mkdir -m 755 pts net
  mkdir -m 1777 shm mqueue
  mknod -m 666 net/tun c 10 200
  ln -s /proc/self/fd fd
  ln -s fd/0 stdin
  ln -s fd/1 stdout
  ln -s fd/2 stderr
  ln -s pts/ptmx ptmx
)
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mount --bind "$SITE/home" "$R/home"
mount --bind "$SITE/shared" "$R/shared"
# Now, because a checkout may lie below /tmp or /home.
mkdir -p "$R$REPO"
mount --rbind "$REPO" "$R$REPO"
mount -o remount,bind,ro "$R$REPO"
# Each host has a part of every controller of cgroup v1 for itself, where its root would be: Slurm takes it for the whole.
if [ -n "${CGROUPS:-}" ]; then
  mount -t tmpfs -o mode=755 tmpfs "$R/sys/fs/cgroup"
  for c in memory freezer cpuset devices cpu cpuacct; do
    part=/sys/fs/cgroup/$c/$CGROUPS-$NAME
    mkdir -p "$part" "$R/sys/fs/cgroup/$c"
    if [ "$c" = cpuset ]; then
      for file in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$file" > "$part/cpuset.$file"; done
    fi
    mount --bind "$part" "$R/sys/fs/cgroup/$c"
  done
fi
cp "$SITE/hosts" "$R/etc/hosts"
echo "$NAME" > "$R/etc/hostname"
: > "$R/etc/resolv.conf"
cd "$R"
pivot_root . .old
umount -l /.old
mkdir -p /run/lock
ip link set lo up
: > /run/booted
trap 'exit 0' TERM
# bash reaps orphans while it waits here.
while IFS= read -r _; do :; done
