#!/bin/bash
# in.sh SITE HOST [-u USER] COMMAND...: runs a command on a host of the cluster at SITE, as root or as USER, with a clean
# environment and in that user's home.
set -eu
SITE=$1 HOST=$2
shift 2
USER=root
if [ "$1" = -u ]; then USER=$2; shift 2; fi
PID=$(cat "$SITE/$HOST.pid")
CLEAN=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8)
ENTER=(nsenter -t "$PID" -m -u -i -n -p -r)
if [ "$USER" = root ]; then exec "${CLEAN[@]}" HOME=/root "${ENTER[@]}" --wd="/proc/$PID/root/root" -- "$@"; fi
exec "${CLEAN[@]}" HOME="/home/$USER" USER="$USER" LOGNAME="$USER" "${ENTER[@]}" --wd="/proc/$PID/root/home/$USER" -- \
  setpriv --reuid="$USER" --regid="$USER" --init-groups -- "$@"
