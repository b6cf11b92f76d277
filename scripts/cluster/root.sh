#!/bin/sh
# root.sh FOLDER PACKAGE...: a Debian root for the hosts of a virtual cluster. Needs root, mmdebstrap and the machine's apt
# sources; changes nothing outside FOLDER. A folder that is ready is left as it is.
#
# All comes from trixie but Apptainer, which only sid has, and which needs no newer libc than trixie's.
set -eu
FOLDER=$1
shift
[ ! -e "$FOLDER/.ready" ] || exit 0
MIRROR=${MIRROR:-$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)}
LIST=$(IFS=,; echo "$*")
rm -rf "$FOLDER"
# sid's release file may be past its date on a mirror; its signature is still checked. Grid Engine's installer wants the
# machine's name to resolve. No service starts here: a root is no running system.
nice -n 10 mmdebstrap --quiet --variant=minbase --mode=root \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
  --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='force-unsafe-io' \
  --setup-hook='mkdir -p "$1/etc/apt/preferences.d"' \
  --setup-hook='printf "Package: *\nPin: release n=sid\nPin-Priority: 100\n\nPackage: apptainer\nPin: release n=sid\nPin-Priority: 990\n" > "$1/etc/apt/preferences.d/sid"' \
  --essential-hook='echo "127.0.0.1 localhost $(hostname)" > "$1/etc/hosts"' \
  --include="$LIST" trixie "$FOLDER" "deb $MIRROR trixie main" "deb $MIRROR sid main"
# Two people of the cluster; uids that no package takes.
chroot "$FOLDER" useradd -M -s /bin/bash -u 2001 -d /home/alice alice
chroot "$FOLDER" useradd -M -s /bin/bash -u 2002 -d /home/bob bob
# One secret for all hosts of one root: what munge believes.
if [ -d "$FOLDER/etc/munge" ]; then
  head -c 1024 /dev/urandom > "$FOLDER/etc/munge/munge.key"
  chroot "$FOLDER" chown munge:munge /etc/munge/munge.key
  chmod 400 "$FOLDER/etc/munge/munge.key"
fi
touch "$FOLDER/.ready"
