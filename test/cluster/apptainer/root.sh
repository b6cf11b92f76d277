#!/bin/sh
# root.sh FOLDER: a small Debian root with Apptainer, for machines that have none. Needs root, mmdebstrap and the apt
# sources of the machine; changes nothing outside FOLDER. Apptainer comes from sid, all else from trixie: it needs no
# newer libc than trixie's. Some 30 s and 300 MB; a folder that is ready is left as it is.
set -eu
FOLDER=$1
[ ! -e "$FOLDER/.ready" ] || exit 0
MIRROR=${MIRROR:-$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)}
rm -rf "$FOLDER"
# sid's release file may be past its date on a mirror; its signature is still checked.
mmdebstrap --quiet --variant=minbase --mode=root \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
  --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='force-unsafe-io' \
  --setup-hook='mkdir -p "$1/etc/apt/preferences.d"; printf "Package: *\nPin: release n=sid\nPin-Priority: 100\n\nPackage: apptainer\nPin: release n=sid\nPin-Priority: 990\n" > "$1/etc/apt/preferences.d/sid"' \
  --include=apptainer,squashfuse,squashfs-tools,procps,util-linux,ca-certificates,libstdc++6,libatomic1,docker-registry${EXTRA_PKGS:+,$EXTRA_PKGS} \
  trixie "$FOLDER" "deb $MIRROR trixie main" "deb $MIRROR sid main"
chroot "$FOLDER" useradd -M -s /bin/sh -u 2001 -d /home/alice alice
touch "$FOLDER/.ready"
