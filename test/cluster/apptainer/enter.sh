#!/bin/sh
# enter.sh ROOT WORK REPO COMMAND...: runs a command as an ordinary user (uid 2001) on a "host" of its own: its own mount,
# PID, network and IPC namespaces over ROOT (made by root.sh), which stays unchanged. Needs root; leaves nothing behind:
# all ends with the command.
#
# WORK becomes /work-area there (writable, kept), REPO is seen at its own path, read only.
# Not chroot: the kernel makes no user namespaces in one, and unprivileged Apptainer needs them. A /dev of its own: the
# machine's /dev/fuse may be closed to users, and is not ours to open.
set -eu
if [ -z "${FARFIELD_INSIDE:-}" ]; then
  mkdir -p "$2"
  STATE=$(mktemp -d)
  trap 'rmdir "$STATE"' EXIT
  env FARFIELD_INSIDE="$STATE" unshare --mount --pid --net --ipc --uts --fork --kill-child=SIGKILL --propagation private -- "$0" "$@"
  exit $?
fi
ROOT=$1 WORK=$2 REPO=$3
shift 3
STATE=$FARFIELD_INSIDE
unset FARFIELD_INSIDE
mount -t tmpfs -o mode=755 tmpfs "$STATE"
mkdir "$STATE/u" "$STATE/w" "$STATE/r"
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$STATE/u,workdir=$STATE/w" "$STATE/r"
R=$STATE/r
mkdir -p "$R/.old" "$R/work-area"
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
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mount --bind "$WORK" "$R/work-area"
# Now, because a checkout may lie below /tmp.
mkdir -p "$R$REPO"
mount --rbind "$REPO" "$R$REPO"
mount -o remount,bind,ro "$R$REPO"
mkdir -p "$R/home/alice"
chown 2001:2001 "$R/home/alice" "$R/work-area"
ip link set lo up 2>/dev/null || true
cd "$R"
pivot_root . .old
umount -l /.old
cd /work-area
# The shell stays as the namespace's first process: it reaps orphans.
setpriv --reuid=2001 --regid=2001 --clear-groups env -i HOME=/home/alice USER=alice LOGNAME=alice \
  PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 TMPDIR=/tmp ${FARFIELD_TRACE:+FARFIELD_TRACE=$FARFIELD_TRACE} "$@"
exit $?
