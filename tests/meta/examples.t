#!/bin/bash
# The examples of --help and of the manual are commands that work.
# timeout: 400
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

export RUN_TIMEOUT=380
run_ok "$SRC/tests/try-examples" "$BUILD/bin" "$SRC/man"
same '' "$(grep -A 6 '^not ok' "$T/.out")" "none is wrong"
check "$(grep -c '^ok' "$T/.out") examples were run" [ "$(grep -c '^ok' "$T/.out")" -ge 80 ]
done_testing
