#!/bin/bash
# timeout: 900
# Every state-changing call of gw-listen is killed or fails while it receives; then another listener gets all of it again, as from a
# sender that had no answer: each message is there once.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

listen='gw-listen -q --root "$DIR/root" --endpoint HQ --channel http://127.0.0.1:0/HQ/'

# receive.sh DIR EVENTS: starts a listener, posts two messages, one with its body beside the log, and kills it.
cat >"$T/receive.sh" <<'S'
DIR=$1 events=$2
: >>"$events"
mkfifo "$TMPDIR/ready.$$"
eval "exec $LISTEN" >"$TMPDIR/ready.$$" 2>"$TMPDIR/err.$$" &
pid=$!
if read -r -t 10 word url <"$TMPDIR/ready.$$" && [ "$word" = ready ]; then
  LD_PRELOAD='' driver - post "$url" HQ 1 1 >>"$events"
  LD_PRELOAD='' driver - post "$url" HQ 2 1 70000 >>"$events"
  # an orderly stop takes its time: only where the calls are counted
  if [ "$CASE" = count ]; then kill "$pid"; else kill -9 "$pid"; fi
fi
wait "$pid"
rc=$?
case $CASE:$rc in fail:*:137) rc=0 ;; esac # that was us
cat "$TMPDIR/err.$$" >&2
exit $rc
S
export LISTEN=$listen
check='case $RC in 0|137|74|75|7[0137]) ;; *) echo "exit status $RC: $(tail -n 3 "$LOG")"; exit 1;; esac
  cp "$TMPDIR/../dir/events" "$TMPDIR/events" 2>/dev/null || : >"$TMPDIR/events"
  bash "'"$T"'/receive.sh" "$DIR" "$TMPDIR/events" 2>"$TMPDIR/second"
  [ "$(grep -c ^received: "$TMPDIR/events")" -ge 2 ] || { echo "no answer after the restart: $(cat "$TMPDIR/second")"; exit 1; }
  driver "$DIR/root" verify "$TMPDIR/events" garbage unordered'

RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok "receive, kills" "$SRC/tests/lab/sweep.sh" --prog gw-listen --modes kill --max "${MAX:-60}" ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/receive"} \
  'bash "'"$T"'/receive.sh" "$DIR" "$DIR/events"' "$check"
RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok "receive, errors" "$SRC/tests/lab/sweep.sh" --prog gw-listen --modes EIO,ENOSPC --max "${ERRORS_MAX:-3}" ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/receive-errors"} \
  'bash "'"$T"'/receive.sh" "$DIR" "$DIR/events"' "$check" write pwrite fsync fdatasync fallocate openat rename renameat linkat mkdirat
done_testing
