#!/bin/bash
# The unit tests, in a random order; the seed is printed, SEED=N repeats an order.
# timeout: 240
cd "$(dirname "$0")/.." || exit 1
seed=${SEED:-$RANDOM}
echo "# order: SEED=$seed"
exec "${BUILD:-build/release}/unit-tests" --reporters=tap --order-by=rand --rand-seed="$seed"
