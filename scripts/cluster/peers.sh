#!/bin/bash
# peers.sh SITE: starts HTCondor and Grid Engine on the hosts of a cluster whose root holds them (up.sh with PACKAGES="condor"
# or "gridengine-master gridengine-exec gridengine-client"), beside Slurm: master on `head`, workers on the nodes.
#
# Schedulers look every second, so that a test of them is short. Four cores a node are pretended.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
SITE=${1:?peers.sh SITE}
NODES=(node1 node2)
at() { "$HERE/in.sh" "$SITE" "$@"; }
# WHAT is printed NUMBER times by COMMAND, within half a minute.
waits() { for _ in $(seq 300); do [ "$("${@:3}" 2>/dev/null | grep -c "$1" || true)" -ge "$2" ] && return 0; sleep 0.1; done; echo "peers.sh: ${*:3}: not within 30 s" >&2; return 1; }

condor_config() {
  cat <<C
CONDOR_HOST = head
UID_DOMAIN = farfield
FILESYSTEM_DOMAIN = farfield
TRUST_UID_DOMAIN = True
use security:host_based
ALLOW_READ = *
ALLOW_WRITE = 10.77.0.*
ALLOW_DAEMON = 10.77.0.*
ALLOW_ADMINISTRATOR = 10.77.0.1
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_CLIENT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
ENABLE_IPV6 = False
DAEMON_LIST = MASTER, $1
NUM_CPUS = 4
MEMORY = 4000
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
NUM_SLOTS_TYPE_1 = 1
RUNBENCHMARKS = 0
NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 1
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 2
C
}

if at head test -x /usr/sbin/condor_master; then
  for h in head "${NODES[@]}"; do
    daemons=STARTD
    [ "$h" != head ] || daemons='COLLECTOR, NEGOTIATOR, SCHEDD'
    condor_config "$daemons" | at "$h" bash -ec 'rm -f /etc/condor/config.d/*
      cat > /etc/condor/config.d/10-farfield
      mkdir -p /run/condor /var/lock/condor /var/log/condor /var/lib/condor/spool /var/lib/condor/execute
      chown condor:condor /run/condor /var/lock/condor /var/log/condor /var/lib/condor/spool /var/lib/condor/execute
      condor_master </dev/null >/dev/null 2>&1'
  done
  waits . "${#NODES[@]}" at head condor_status -af Name
  echo "HTCondor: $(at head condor_status -af Name | tr '\n' ' ')"
fi

sge() { local host=$1; shift; at "$host" env SGE_ROOT=/var/lib/gridengine SGE_CELL=default "$@"; }
if at head test -x /usr/sbin/sge_qmaster; then
  for h in head "${NODES[@]}"; do
    at "$h" bash -ec 'cd /var/lib/gridengine/default/common && echo head > act_qmaster
      mkdir -p /var/spool/gridengine/qmaster /var/spool/gridengine/execd
      chown -R sgeadmin:sgeadmin /var/spool/gridengine /var/lib/gridengine/default'
  done
  admin=(setpriv --reuid=sgeadmin --regid=sgeadmin --init-groups env SGE_ROOT=/var/lib/gridengine SGE_CELL=default)
  at head "${admin[@]}" /usr/share/gridengine/scripts/init_cluster /var/lib/gridengine default \
    /var/spool/gridengine/spooldb sgeadmin >/dev/null
  at head "${admin[@]}" /usr/lib/gridengine/spooldefaults managers root >/dev/null
  sge head sge_qmaster </dev/null >/dev/null 2>&1
  waits . 1 sge head qconf -sh
  # qconf tells what it did on standard error.
  sge head bash -es "${NODES[@]}" >"$SITE/qconf.log" 2>&1 <<'C' || { cat "$SITE/qconf.log" >&2; exit 1; }
qconf -as head
qconf -ssconf | sed -e 's/^schedule_interval.*/schedule_interval 0:0:1/' -e 's/^flush_submit_sec.*/flush_submit_sec 1/' \
  -e 's/^flush_finish_sec.*/flush_finish_sec 1/' > /tmp/scheduler
qconf -Msconf /tmp/scheduler
none() { for key in "$@"; do echo "$key NONE"; done; }
for h in "$@"; do
  qconf -ah "$h"
  { echo "hostname $h"; none load_scaling complex_values user_lists xuser_lists projects xprojects usage_scaling report_variables; } > /tmp/host
  qconf -Ae /tmp/host
done
printf 'group_name @nodes\nhostlist %s\n' "$*" > /tmp/group
qconf -Ahgrp /tmp/group
{ printf 'pe_name smp\nslots 99\nallocation_rule $pe_slots\ncontrol_slaves TRUE\njob_is_first_task TRUE\nurgency_slots min\naccounting_summary FALSE\n'
  none user_lists xuser_lists start_proc_args stop_proc_args qsort_args; } > /tmp/pe
qconf -Ap /tmp/pe
{ printf 'qname all.q\nhostlist @nodes\nseq_no 0\nnsuspend 1\nsuspend_interval 00:05:00\npriority 0\nmin_cpu_interval 00:05:00\n'
  # Else it pins jobs to cores that are not there.
  printf 'processors UNDEFINED\nqtype BATCH INTERACTIVE\npe_list smp\nrerun FALSE\nslots 4\ntmpdir /tmp\nshell /bin/bash\n'
  printf 'shell_start_mode unix_behavior\nnotify 00:00:10\ninitial_state default\n'
  none load_thresholds suspend_thresholds ckpt_list prolog epilog starter_method suspend_method resume_method terminate_method \
    owner_list user_lists xuser_lists subordinate_list complex_values projects xprojects calendar
  for limit in rt cpu fsize data stack core rss vmem; do printf 's_%s INFINITY\nh_%s INFINITY\n' $limit $limit; done; } > /tmp/queue
qconf -Aq /tmp/queue
C
  for h in "${NODES[@]}"; do sge "$h" sge_execd </dev/null >/dev/null 2>&1; done
  waits 'lx-amd64 *$' "${#NODES[@]}" sge head qstat -f
  echo "Grid Engine: $(sge head qstat -f | grep -c all.q) queues"
fi
