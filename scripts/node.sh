#!/bin/sh
# Runs a TypeScript file of this repository with Node 24, installing the dependencies first when they are missing or older
# than the lock file. Needs nothing but some Node >= 20 and npm. Usage: scripts/node.sh FILE [ARGUMENT...]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
stamp="$root/node_modules/.farfield-installed"
if [ ! -f "$stamp" ] || [ "$root/package-lock.json" -nt "$stamp" ]; then
  echo "installing dependencies (npm ci), once" >&2
  (cd "$root" && npm ci --no-audit --no-fund --loglevel=error >&2)
  touch "$stamp"
fi
node="$root/node_modules/.bin/node"
# On systems for which no Node 24 package exists, the one on PATH must do.
[ -x "$node" ] || node=node
export PATH="$root/node_modules/.bin:$PATH"
file=$1
shift
case "$file" in /*) ;; *) file="$root/$file" ;; esac
exec "$node" --disable-warning=ExperimentalWarning "$file" "$@"
