#!/bin/bash
# timeout: 120
# Producers and consumers as separate processes, some of them killed or stopped at random: every message exactly once, whole, nobody hangs;
# without kills in the order of each producer. SECONDS_EACH=N: longer.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

seconds=${SECONDS_EACH:-4}
seed=${SEED:-$$}
note "seed $seed"
turn() {
  local what=$1
  shift
  mkdir "$T/$what"
  RUN_TIMEOUT=$((seconds + 80)) run_ok stress "$T/$what" --seconds "$seconds" --seed "$seed" "$@"
  note "$what: $out"
  [ "$status" != 0 ] || rm -rf "${T:?}/$what"
}
turn order --producers 16 --consumers 16 --threads 1
turn order-stops --producers 16 --consumers 16 --threads 1 --stops 10
turn kills --producers 16 --consumers 16 --threads 1 --kills 25 --stops 5
turn threads --producers 3 --consumers 3 --threads 8 --kills 15
done_testing
