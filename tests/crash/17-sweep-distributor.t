#!/bin/bash
# timeout: 900
# A distributor and its worker: whichever of the two is killed at whichever call, every message is handled once, and the tokens are right
# again when they have been started anew.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

# together.sh TARGET: both until all is handled, or the one of them that the sweep watches has died; its exit status.
cat >"$T/together.sh" <<'S'
clean() { LD_PRELOAD='' exec "$@"; }
run=(distributor run -q --root "$DIR/root" --endpoint E --lease 2s)
work=(distributor worker -q --root "$DIR/root" --master E --queue W --capacity 2 --drain -- sh -c 'queue-inspect -q put out <"$GW_BODY_FILE" >/dev/null')
case $1 in
  run) "${run[@]}" >/dev/null & target=$! ; clean "${work[@]}" & other=$! ;;
  work) clean "${run[@]}" >/dev/null & other=$! ; "${work[@]}" & target=$! ;;
  *) "${run[@]}" >/dev/null & other=$! ; "${work[@]}" & target=$! ;;
esac
while kill -0 $target 2>/dev/null && kill -0 $other 2>/dev/null; do sleep 0.02; done
# The worker ends when all is done; the distributor never by itself.
kill -TERM $target $other 2>/dev/null
wait $target
rc=$?
kill -TERM $other 2>/dev/null
wait $other 2>/dev/null
exit $rc
S
filled='queue-inspect --root "$DIR/root" create E out error >/dev/null && driver "$DIR/root" put E 1 3 >"$DIR/before"'
check='case $RC:$CASE in 0:*|75:*|137:kill*) ;; *) echo "exit status $RC: $(tail -n 3 "$LOG")"; exit 1;; esac
  bash "'"$T"'/together.sh" both >"$TMPDIR/second" 2>&1 || { echo "second run: $?"; cat "$TMPDIR/second"; exit 1; }
  distributor status --root "$DIR/root" >"$TMPDIR/status" || { cat "$TMPDIR/status"; exit 1; }
  # What is in these now is no message of ours: a lost one is missed in the others.
  for q in W E.distributor.control E.distributor.storage E.distributor.workers; do queue-inspect -q --root "$DIR/root" remove $q --force || exit 1; done
  { cat "$DIR/before"; for i in 1 2 3; do printf "%s\n" "moving:E:out:$i" "moved:E:out:$i"; done; } >"$TMPDIR/events"
  driver "$DIR/root" verify "$TMPDIR/events" garbage unordered || { cat "$TMPDIR/second"; exit 1; }'
for target in run work; do
  RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok "$target" "$SRC/tests/lab/sweep.sh" --setup "$filled" --prog distributor --modes kill --max "${MAX:-25}" \
    ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/$target"} 'bash "'"$T"'/together.sh" '"$target" "$check"
done
done_testing
