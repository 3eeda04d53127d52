#!/bin/bash
# timeout: 200
# Each sync fails with EIO in turn. What was in it counts as not stored: the command says so (74), never "stored"; what was stored
# before stays; whoever comes next works.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

made='queue-inspect --root "$DIR/root" create q a b c >/dev/null'
filled="$made"' && driver "$DIR/root" put q 1 4 >"$DIR/before"'
names=(fsync fdatasync syncfs msync)
# sync_sweep NAME SETUP RUN: afterwards a put must do its work, the queue is not stuck
sync_sweep() {
  local name=$1 setup=$2 run=$3
  local check='case $RC:$CASE in 0:*|74:*|75:*) ;; *) echo "exit status $RC: $(tail -n 3 "$LOG")"; exit 1;; esac
    cp "$LOG" "$TMPDIR/events"; [ ! -e "$DIR/before" ] || cat "$DIR/before" "$LOG" >"$TMPDIR/events"
    driver "$DIR/root" put c 90 2 >>"$TMPDIR/events" || { echo "a put afterwards ends with $?"; exit 1; }
    driver "$DIR/root" verify "$TMPDIR/events"'
  RUN_TIMEOUT=150 quiet_ok "$name" "$SRC/tests/lab/sweep.sh" --setup "$setup" --modes EIO,EIO+ ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/$name"} \
    "$run" "$check" "${names[@]}"
}
sync_sweep put "$made" 'driver "$DIR/root" put q 1 4'
sync_sweep put-large "$made" 'driver "$DIR/root" put q 1 12 7000'
sync_sweep put-body-file "$made" 'driver "$DIR/root" put q 1 2 70000'
sync_sweep ack "$filled" 'driver "$DIR/root" ack q 4'
sync_sweep defer "$filled" 'driver "$DIR/root" defer q 3'
sync_sweep move "$filled" 'driver "$DIR/root" move q a,b 3'
sync_sweep fan-out "$made" 'driver "$DIR/root" fan a,b,c 1 3'
done_testing
