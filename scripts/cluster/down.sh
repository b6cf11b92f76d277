#!/bin/bash
# down.sh SITE [--clean]: ends the cluster at SITE with everything in it, and checks that nothing is left: no process, no
# mount, no cgroup. Exits 1 and names what is. --clean removes the kept roots too. Nothing there: nothing to do.
set -euo pipefail
SITE=${1:?down.sh SITE [--clean]}
KEPT=${FARFIELD_CLUSTER:-${TMPDIR:-/tmp}/farfield-cluster}
fail() { echo "down.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "only root can end what root started"
[ ! -d "$SITE" ] || SITE=$(cd "$SITE" && pwd)
# Processes in one of the namespaces that up.sh noted.
members() {
  for link in /proc/[0-9]*/ns/net /proc/[0-9]*/ns/mnt /proc/[0-9]*/ns/pid; do
    ns=$(readlink "$link" 2>/dev/null) || continue
    case $MINE in *"$ns"*) link=${link#/proc/}; echo "${link%%/*}" ;; esac
  done | sort -u
}
if [ -e "$SITE/owner.pid" ]; then
  pid=$(cat "$SITE/owner.pid")
  if [ "$(tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null || true)" = 'sleep infinity ' ]; then kill -9 "$pid" || true; fi
fi
if [ -s "$SITE/namespaces" ]; then
  MINE=$(cat "$SITE/namespaces")
  for _ in $(seq 100); do
    left=$(members)
    [ -n "$left" ] || break
    kill -9 $left 2>/dev/null || true
    sleep 0.1
  done
  [ -z "$left" ] || fail "processes are left: $(echo $left)"
fi
# Of clusters that run no more, this one and such as were killed: their names hold the process of the switch.
for part in /sys/fs/cgroup/*/farfield-*; do
  [ -d "$part" ] || continue
  pid=${part##*/farfield-}
  pid=${pid%%-*}
  ns=$(readlink "/proc/$pid/ns/net" 2>/dev/null || true)
  if [ -n "$ns" ] && [ "$ns" != "$(readlink /proc/self/ns/net)" ]; then continue; fi
  # A group that was just emptied may be busy for a moment.
  for _ in $(seq 50); do
    find "$part" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -d "$part" ] || break
    sleep 0.1
  done
  [ ! -d "$part" ] || fail "a cgroup is left: $part"
done
if [ -d "$SITE" ]; then
  ! grep -q " $SITE/" /proc/self/mountinfo || fail "mounts are left below $SITE"
  rm -rf "$SITE"
fi
if [ "${2:-}" = --clean ]; then rm -rf "$KEPT"/slurm-*root*; fi
