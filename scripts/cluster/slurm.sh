#!/bin/bash
# slurm.sh NODE...: starts Slurm on the hosts of the cluster at $SITE (up.sh): controller on `head`, a slurmd on every NODE,
# munge on all. No accounting.
#
# Limits are short, so that a test of them is: a node is down after half a minute of silence, a requeued job starts again after 6 s.
# What config/sites/slurm-university.yaml asks for is here: its partition, feature, GPUs (devices of no use), cores and memory
# (pretended), modules. And a partition `scavenge`, whose jobs give way to those of `gpu`.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
NODES=("$@")
at() { "$HERE/in.sh" "$SITE" "$@"; }
KIND=linuxproc TASK=task/none GATHER=linux
printf 'CgroupPlugin=disabled\n' > "$SITE/cgroup.conf"
if [ -n "${CGROUPS:-}" ]; then
  KIND=cgroup TASK=task/cgroup GATHER=cgroup
  printf 'CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n' > "$SITE/cgroup.conf"
fi
cat > "$SITE/slurm.conf" <<C
ClusterName=farfield
SlurmctldHost=head
SlurmUser=slurm
AuthType=auth/munge
# How long a credential holds: a requeued job waits for that of its first life to end.
AuthInfo=cred_expire=6
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
ProctrackType=proctrack/$KIND
TaskPlugin=$TASK
JobAcctGatherType=jobacct_gather/$GATHER
JobAcctGatherFrequency=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
MessageTimeout=5
TCPTimeout=1
KillWait=5
MinJobAge=600
JobRequeue=1
SlurmdParameters=config_overrides
GresTypes=gpu
$(FEATURE=a100; for h in "${NODES[@]}"; do echo "NodeName=$h CPUs=16 RealMemory=128000 Gres=gpu:2 Feature=$FEATURE State=UNKNOWN"; FEATURE=h100; done)
PartitionName=gpu Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP PriorityTier=10 PreemptMode=off
PartitionName=scavenge Nodes=ALL MaxTime=1-00:00:00 State=UP PriorityTier=1 PreemptMode=REQUEUE
C
for h in head "${NODES[@]}"; do
  at "$h" bash -ec 'mkdir -p /etc/slurm /var/lib/slurm/slurmctld /var/lib/slurm/slurmd /var/log/slurm /run/munge /run/slurm
    chown slurm:slurm /var/lib/slurm/slurmctld /var/log/slurm /run/slurm
    chown munge:munge /run/munge /var/log/munge /var/lib/munge
    chmod 755 /run/munge'
  at "$h" bash -ec 'mkdir -p -m 1777 /scratch/local
    [ "$0" = head ] || for k in 0 1; do mknod -m 666 /dev/nvidia$k c 1 3; done
    echo "module() { [ \"\$*\" = \"load apptainer\" ]; }" > /etc/profile.d/modules.sh' "$h"
  [ "$h" = head ] || echo 'Name=gpu File=/dev/nvidia[0-1]' | at "$h" tee /etc/slurm/gres.conf >/dev/null
  for file in slurm.conf cgroup.conf; do at "$h" tee "/etc/slurm/$file" < "$SITE/$file" >/dev/null; done
  at "$h" setpriv --reuid=munge --regid=munge --init-groups -- munged
done
at head setpriv --reuid=slurm --regid=slurm --init-groups -- slurmctld
for h in "${NODES[@]}"; do at "$h" slurmd; done
for _ in $(seq 300); do
  if [ "$(at head sinfo -h -p gpu -o '%D %T' 2>/dev/null)" = "${#NODES[@]} idle" ]; then exit 0; fi
  sleep 0.1
done
echo "slurm.sh: the nodes are not idle after 30 s:" >&2
at head sinfo >&2 || true
at head tail -n 20 /var/log/slurm/slurmctld.log >&2 || true
for h in "${NODES[@]}"; do at "$h" tail -n 10 /var/log/slurm/slurmd.log >&2 || true; done
exit 1
