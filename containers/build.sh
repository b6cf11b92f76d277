#!/bin/sh
# build.sh NAME FOLDER: makes FOLDER/NAME.oci.tar, an OCI archive of containers/NAME, from Debian packages alone: no image
# registry is asked. Needs mmdebstrap (as root, or with subordinate ids) and Node 24.
#
# The same packages give the same bytes, so the same `oci:` digest: times are those of SOURCE_DATE_EPOCH, and what differs
# between two installations (logs, caches, machine ids) is left out. `farfield image convert oci-archive:FILE` makes a SIF.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
NAME=$1
OUT=$2
SUITE=${SUITE:-bookworm}
MIRROR=${MIRROR:-$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000}
packages() { sed '/^#/d;/^$/d' "$@" | paste -sd, -; }
case $NAME in
  base) LIST=$(packages "$HERE/base/packages.txt") ;;
  *) LIST=$(packages "$HERE/base/packages.txt" "$HERE/$NAME/packages.txt") ;;
esac
mkdir -p "$OUT"
# extract: no maintainer script runs, so nothing of this machine gets in, and no emulation is needed for arm64.
mmdebstrap --quiet --variant=extract ${ARCH:+--architectures=$ARCH} \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
  --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --customize-hook='printf "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" > "$1/etc/passwd"' \
  --customize-hook='printf "root:x:0:\nnogroup:x:65534:\n" > "$1/etc/group"' \
  --customize-hook='rm -rf "$1"/dev/* "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt "$1"/etc/apt "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id; mkdir -p "$1/farfield"; : > "$1/etc/localtime"; : > "$1/etc/hosts"; : > "$1/etc/resolv.conf"' \
  --include="$LIST" "$SUITE" "$OUT/$NAME.layer.tar" "deb $MIRROR $SUITE main"
"$HERE/../scripts/node.sh" scripts/oci-archive.ts "$NAME" "$OUT/$NAME.layer.tar" "${ARCH:-}" "$OUT/$NAME.oci.tar"
rm -f "$OUT/$NAME.layer.tar"
