#!/bin/bash
# hold.sh SITE: brings a cluster up at SITE, prints `ready`, and ends it when standard input ends: for a program that wants a
# cluster for as long as it lives, and nothing left however it ends. If this shell is killed too, the hosts end by themselves
# (up.sh, U2), and the next cluster sweeps what they leave.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
SITE=${1:?hold.sh SITE}
LIFE=$(mktemp -u)
mkfifo "$LIFE"
# Open for both, so that neither opening waits; this shell alone keeps it.
exec 8<>"$LIFE"
OWNED=1 "$HERE/up.sh" "$SITE" <"$LIFE" 8>&- || { rm -f "$LIFE"; exit 1; }
rm -f "$LIFE"
echo ready
cat >/dev/null || true
exec 8>&-
exec "$HERE/down.sh" "$SITE"
