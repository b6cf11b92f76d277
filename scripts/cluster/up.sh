#!/bin/bash
# up.sh SITE: brings a virtual cluster up in the folder SITE: real Slurm and real Apptainer on three hosts, and two hosts
# beside the cluster. Needs root, and apt for what is missing; changes nothing of the machine but the folders named here.
#
#   head, node1, node2      the cluster: one account for alice, one for bob; a /home that all three share
#   cloud, desk             a broker's host, a scientist's host: no Slurm, nothing shared that they need
#
# U1 Each host is a set of namespaces (network, mount, PID, IPC, UTS) on a bridge that is in a namespace too. In the machine's
#    own namespaces there are: the processes, and empty cgroups until down.sh.
# U2 OWNED=1: the cluster ends when standard input does, so that it never outlives a program that was killed.
# U3 A second up on the same SITE is refused while it runs; what a killed one left is swept first.
#
# FARFIELD_CLUSTER: where the root is kept between runs (some 45 s and 270 MB the first time). PACKAGES: more for the root.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
SITE=${1:?up.sh SITE}
KEPT=${FARFIELD_CLUSTER:-${TMPDIR:-/tmp}/farfield-cluster}
NODES=(node1 node2)
CLUSTER=(head "${NODES[@]}")
HOSTS=("${CLUSTER[@]}" cloud desk)
NET=10.77.0
START=${EPOCHREALTIME/./}
lap() { local now=${EPOCHREALTIME/./}; printf '%6.1f s  %s\n' "$(((now - START) / 10000))e-2" "$*"; }
fail() { echo "up.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "only root can make namespaces with networks; run it as root"
for tool in unshare nsenter setpriv; do command -v $tool >/dev/null || fail "$tool is missing (apt: util-linux)"; done
mkdir -p "$SITE" "$KEPT"
SITE=$(cd "$SITE" && pwd)
if [ -e "$SITE/head.pid" ] && kill -0 "$(cat "$SITE/head.pid")" 2>/dev/null; then fail "a cluster runs at $SITE; down.sh ends it"; fi
"$HERE/down.sh" "$SITE" >/dev/null
mkdir -p "$SITE"
unshare --mount --net --pid --ipc --uts --fork -- true 2>/dev/null || fail "this machine allows no namespaces"

if ! command -v mmdebstrap >/dev/null || ! command -v ip >/dev/null; then
  command -v apt-get >/dev/null || fail "mmdebstrap and iproute2 are missing, and there is no apt to install them"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -o DPkg::Lock::Timeout=300 update -qq
  apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends mmdebstrap iproute2 >/dev/null
  lap "tools"
fi
PACKAGES="slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge apptainer squashfuse squashfs-tools iproute2
  procps util-linux ca-certificates libstdc++6 libatomic1 ${PACKAGES:-}"
# Another list of packages is another root.
ROOT=$KEPT/slurm-root-$(echo $PACKAGES | cksum | cut -d ' ' -f 1)
if [ ! -e "$ROOT/.ready" ]; then
  # Two at once would build into one folder.
  flock -o "$KEPT/root.lock" "$HERE/root.sh" "$ROOT" $PACKAGES </dev/null
  lap "root: $(du -sh "$ROOT" | cut -f 1)"
fi

# Half a cluster is none.
trap '[ $? = 0 ] || { "$HERE/down.sh" "$SITE" || true; }' EXIT
# --- hosts ------------------------------------------------------------------------------------------------------
# U2: without an owner, a pipe that nobody closes.
if [ -z "${OWNED:-}" ]; then exec < <(exec sleep infinity 2>/dev/null); echo $! > "$SITE/owner.pid"; fi
{ echo "127.0.0.1 localhost"; k=1; for h in "${HOSTS[@]}"; do echo "$NET.$k $h"; k=$((k + 1)); done; } > "$SITE/hosts"
mkdir -p "$SITE/home" "$SITE/shared"
# The switch and the site's file systems: mounted in this namespace alone, which the hosts start from.
setsid unshare --net --mount --propagation private -- bash -c '
  set -e
  mount -t tmpfs -o mode=755,size=1500m tmpfs "$1/home"
  mount -t tmpfs -o mode=1777,size=1500m tmpfs "$1/shared"
  for u in alice:2001 bob:2002; do install -d -m 755 -o "${u#*:}" -g "${u#*:}" "$1/home/${u%:*}"; done
  ip link set lo up; ip link add br0 type bridge; ip link set br0 up
  : > "$1/switch.up"
  while IFS= read -r _; do :; done' switch "$SITE" <&0 >"$SITE/switch.log" 2>&1 &
SWITCH=$!
echo "$SWITCH" > "$SITE/switch.pid"
waits() { for _ in $(seq 500); do if eval "$1"; then return 0; fi; sleep 0.02; done; return 1; }
waits '[ -e "$SITE/switch.up" ]' || fail "the switch did not start: $(cat "$SITE/switch.log")"
CGROUPS=
if [ -d /sys/fs/cgroup/memory ] && [ -d /sys/fs/cgroup/freezer ]; then CGROUPS=farfield-$SWITCH; fi
echo "$CGROUPS" > "$SITE/cgroups"
# What down.sh looks for: a number of a process may be another one's by then, that of a namespace is ours.
names() { for ns in net mnt pid; do readlink "/proc/$1/ns/$ns"; done; }
names "$SWITCH" | grep -v '^pid' > "$SITE/namespaces"
k=1
for h in "${HOSTS[@]}"; do
  mkdir -p "$SITE/at/$h"
  CGROUPS=$CGROUPS setsid nsenter -t "$SWITCH" -m -- unshare --net --mount --pid --ipc --uts --fork --kill-child=SIGKILL -- \
    "$HERE/host.sh" "$h" "$ROOT" "$SITE/at/$h" "$SITE" "$REPO" <&0 >"$SITE/$h.log" 2>&1 &
  echo $! > "$SITE/$h.launcher"
done
for h in "${HOSTS[@]}"; do
  launcher=$(cat "$SITE/$h.launcher")
  child() { tr -d ' ' < "/proc/$launcher/task/$launcher/children" 2>/dev/null; }
  waits 'pid=$(child); [ -n "$pid" ] && [ -e "/proc/$pid/root/run/booted" ]' || fail "$h did not start: $(cat "$SITE/$h.log")"
  echo "$pid" > "$SITE/$h.pid"
  names "$pid" >> "$SITE/namespaces"
  nsenter -t "$SWITCH" -n -- sh -ec "ip link add v-$h type veth peer name eth0 netns $pid; ip link set v-$h master br0 up"
  nsenter -t "$pid" -n -- sh -ec "ip addr add $NET.$k/24 dev eth0; ip link set eth0 up"
  k=$((k + 1))
done
lap "hosts: ${HOSTS[*]}"

SITE=$SITE CGROUPS=$CGROUPS "$HERE/slurm.sh" "${NODES[@]}" </dev/null
lap "Slurm: $("$HERE/in.sh" "$SITE" head sinfo -h -p gpu -o '%D nodes %T')"
