#!/bin/bash
# cable.sh SITE HOST cut | join | slow RATE [DELAY] | fast: the cable between a host and the switch.
#
# Cut: frames vanish without a word, as they do when somebody steps on it: the interface stays up at both ends. Slow: RATE
# as tc has it (1mbit); DELAY (50ms) where the kernel has netem, else it is refused.
set -eu
SITE=$1 HOST=$2
SWITCH=$(cat "$SITE/switch.pid")
at() { nsenter -t "$SWITCH" -n -- "$@"; }
case $3 in
  cut) at ip link set "v-$HOST" nomaster ;;
  join) at ip link set "v-$HOST" master br0 ;;
  slow)
    if [ -n "${5:-}" ]; then at tc qdisc replace dev "v-$HOST" root netem delay "$5" rate "$4"
    else at tc qdisc replace dev "v-$HOST" root tbf rate "$4" burst 16kb latency 400ms; fi ;;
  fast) at tc qdisc del dev "v-$HOST" root 2>/dev/null || true ;;
  *) echo "cable.sh SITE HOST cut | join | slow RATE [DELAY] | fast" >&2; exit 2 ;;
esac
