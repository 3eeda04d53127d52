#!/bin/bash
# timeout: 120
# Many threads of few processes over the library. `make check` runs it with ThreadSanitizer, too.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

seed=${SEED:-$$}
note "seed $seed"
mkdir "$T/one" "$T/two"
run_ok stress "$T/one" --seconds 4 --seed "$seed" --producers 1 --consumers 1 --threads 16
note "$out"
run_ok stress "$T/two" --seconds 4 --seed "$seed" --producers 2 --consumers 2 --threads 8 --kills 4
note "$out"
done_testing
