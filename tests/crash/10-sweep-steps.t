#!/bin/bash
# timeout: 900
# Every state-changing call of put, ack, defer, move and fan-out is killed, fails or writes half, in turn; then recovery, and what
# was promised is compared with what is there.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

made='queue-inspect --root "$DIR/root" create q a b c >/dev/null'
filled="$made"' && driver "$DIR/root" put q 1 4 >"$DIR/before"'

sweep put "$made" 'driver "$DIR/root" put q 1 3'
GARBAGE=garbage sweep put-create ':' 'queue-inspect --root "$DIR/root" create q && driver "$DIR/root" put q 1 1'
sweep put-body-file "$made" 'driver "$DIR/root" put q 1 2 70000'
sweep ack "$filled" 'driver "$DIR/root" ack q 3'
sweep defer "$filled" 'driver "$DIR/root" defer q 2'
sweep give-back "$filled" 'driver "$DIR/root" back q 4'
sweep move "$filled" 'driver "$DIR/root" move q a 2'
sweep move-to-three "$filled" 'driver "$DIR/root" move q a,b,c 2'
# What came to nothing must leave its ids free: all four get there in the end.
AFTER='driver "$DIR/root" once q a,b 9 >/dev/null && [ "$(queue-inspect --root "$DIR/root" list a --json | grep -c "\"seq\"")" = 4 ] &&
  ! queue-inspect --root "$DIR/root" list q --json | grep "\"seq\""' \
  sweep move-with-ids "$filled" 'driver "$DIR/root" once q a,b 2'
sweep fan-out "$made" 'driver "$DIR/root" fan a,b,c 1 2'
sweep fan-out-body-file "$made" 'driver "$DIR/root" fan a,b,c 1 1 70000'
done_testing
