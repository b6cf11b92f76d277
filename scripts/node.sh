#!/bin/sh
# Runs a TypeScript file of this repository with Node 24, installing the dependencies first when they are missing or older
# than the lock file. Needs nothing but some Node >= 20 and npm. Usage: scripts/node.sh FILE [ARGUMENT...]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
stamp="$root/node_modules/.farfield-installed"
# npm ci removes the folder first, so a stamp always belongs to an installation that went through to its end.
if [ ! -f "$stamp" ] || [ "$root/package-lock.json" -nt "$stamp" ]; then
  if ! command -v npm >/dev/null 2>&1; then
    echo "farfield: npm is not on PATH; install Node.js 20 or newer (it brings npm) and run this again" >&2
    exit 1
  fi
  # npm ci empties the folder that a link leads to, under whoever works there.
  if [ -L "$root/node_modules" ]; then
    echo "farfield: $root/node_modules is a link, and what it leads to is older than package-lock.json; run npm ci there, or remove the link" >&2
    exit 1
  fi
  echo "installing dependencies (npm ci), once" >&2
  # npm's own words go to stderr: stdout belongs to the program.
  (cd "$root" && npm ci --no-audit --no-fund --loglevel=error >&2)
  touch "$stamp"
fi
node="$root/node_modules/.bin/node"
# Where no Node 24 package exists, the one on PATH must do, if it is new enough.
# Asked only here: a start costs 40 ms, and `test -x` costs nothing.
if [ ! -x "$node" ]; then
  node=$(command -v node || true)
  major=$([ -n "$node" ] && "$node" -p 'process.versions.node.split(".")[0]' || echo 0)
  if [ "$major" -lt 24 ]; then
    echo "farfield: needs Node.js 24 or newer; npm has no build of it for $(uname -sm), and the one on PATH is ${node:-missing}" >&2
    exit 1
  fi
fi
export PATH="$root/node_modules/.bin:$PATH"
file=$1
shift
case "$file" in /*) ;; *) file="$root/$file" ;; esac
exec "$node" --disable-warning=ExperimentalWarning "$file" "$@"
