#!/bin/bash
# accounting.sh SITE: gives the cluster at SITE (up.sh) Slurm's accounting: MariaDB and slurmdbd on `head`, associations
# enforced. Needs a root with PACKAGES="slurmdbd slurm-wlm-mysql-plugin mariadb-server".
#
# alice may use the account chem-lab, bob bobs-lab; whoever names another account is refused by sbatch.
# N1 slurmctld is started anew: one that ran without accounting has another cluster's name in its state.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
SITE=${1:?accounting.sh SITE}
head() { "$HERE/in.sh" "$SITE" head "$@"; }
waits() { for _ in $(seq 300); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.1; done; return 1; }
fail() {
  echo "accounting.sh: $*" >&2
  head sh -c 'tail -n 20 /var/log/slurm/slurmdbd.log /tmp/mariadbd.log' >&2 || true
  exit 1
}
head sh -ec 'command -v slurmdbd mariadbd >/dev/null' || fail "this root has no slurmdbd and no MariaDB"
head bash -ec '
  install -d -o mysql -g mysql /run/mysqld /var/lib/db
  mariadb-install-db --user=mysql --datadir=/var/lib/db --auth-root-authentication-method=socket --skip-test-db >/dev/null 2>&1
  setsid mariadbd --user=mysql --datadir=/var/lib/db --skip-networking --innodb-buffer-pool-size=64M </dev/null >/tmp/mariadbd.log 2>&1 &'
waits head mariadb -e 'select 1' || fail "MariaDB does not answer"
head mariadb -e "create database slurm; create user slurm@localhost identified via unix_socket; grant all on slurm.* to slurm@localhost"
head bash -ec '
  cat > /etc/slurm/slurmdbd.conf <<C
AuthType=auth/munge
DbdHost=head
SlurmUser=slurm
PidFile=/run/slurm/slurmdbd.pid
LogFile=/var/log/slurm/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm
C
  chown slurm /etc/slurm/slurmdbd.conf; chmod 600 /etc/slurm/slurmdbd.conf
  setsid setpriv --reuid=slurm --regid=slurm --init-groups -- slurmdbd </dev/null >/dev/null 2>&1'
# Before the first sacctmgr, which does nothing without.
for h in head node1 node2; do
  printf '%s\n' AccountingStorageType=accounting_storage/slurmdbd AccountingStorageHost=head AccountingStorageEnforce=associations |
    "$HERE/in.sh" "$SITE" "$h" tee -a /etc/slurm/slurm.conf >/dev/null
done
waits head sacctmgr -i show cluster || fail "slurmdbd does not answer"
head bash -ec '
  sacctmgr -i add cluster farfield
  sacctmgr -i add account chem-lab,bobs-lab cluster=farfield
  sacctmgr -i add user alice account=chem-lab
  sacctmgr -i add user bob account=bobs-lab
  sacctmgr -i add user root account=chem-lab
' >/dev/null || fail "the associations could not be made"
head bash -ec '
  kill "$(cat /run/slurm/slurmctld.pid)"
  while pgrep -x slurmctld >/dev/null; do sleep 0.1; done
  rm -f /var/lib/slurm/slurmctld/clustername
  setsid setpriv --reuid=slurm --regid=slurm --init-groups -- slurmctld </dev/null >/dev/null 2>&1'
idle() { [ "$(head sinfo -h -p gpu -o '%D %T' 2>/dev/null)" = '2 idle' ]; }
waits idle || fail "the nodes are not idle: $(head sinfo 2>&1)"
