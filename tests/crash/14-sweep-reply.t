#!/bin/bash
# timeout: 900
# A reply is never lost and never there twice: the command that stores it, the forwarder that hands it to an outbox, and the forwarder
# that sends it are killed at every state-changing call, or the call fails; then they run again.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

# --- gw-send reply ------------------------------------------------------------------------------------------------------------------
origin='--header NServiceBus.OriginatingSite=http,http://127.0.0.1:9/HQ/'
asked='queue-inspect --root "$DIR/root" create Work E.gateway >/dev/null &&
  printf 100 | queue-inspect -q --root "$DIR/root" put Work --id ask --header NServiceBus.ReplyToAddress=E.gateway '$origin' >/dev/null'
answer='printf 1 | gw-send -q --root "$DIR/root" reply --of ask:Work --id m-1'
EVENTS='printf "%s\n" putting:Work:100 put:Work:100 putting:E.gateway:1; [ "$RC" != 0 ] || echo put:E.gateway:1'
MAX=${MAX:-20} sweep 'reply' "$asked" "$answer"
EVENTS="$answer"' >/dev/null; printf "%s\n" putting:Work:100 put:Work:100 putting:E.gateway:1 put:E.gateway:1'
MAX=${MAX:-30} MODES='kill' sweep 'reply, and again' "$asked" "$answer"

# --- a handler's reply -------------------------------------------------------------------------------------------------------------------
# It leaves with the acknowledgement of the question: the worker may be killed anywhere, the handler may run twice.
worker='distributor -q --root "$DIR/root" worker --queue Work --drain --retry-increment 0s -- sh -c "printf 1 | gw-send -q reply" >/dev/null'
check='case $RC:$CASE in 0:*|137:kill*) ;; *) echo "exit status $RC: $(tail -n 3 "$LOG")"; exit 1;; esac
  '"$worker"' 2>"$TMPDIR/second" || { echo "second run: $?"; cat "$TMPDIR/second"; exit 1; }
  printf "%s\n" putting:Work:100 put:Work:100 acking:Work:100 acked:Work:100 putting:E.gateway:1 put:E.gateway:1 >"$TMPDIR/events"
  driver "$DIR/root" verify "$TMPDIR/events" garbage || { cat "$TMPDIR/second"; exit 1; }'
RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok "a handler's reply" "$SRC/tests/lab/sweep.sh" --setup "$asked" --prog distributor,gw-send --modes kill --max "${MAX:-40}" \
  ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/handler"} "$worker" "$check"

# --- from the gateway queue into outboxes ------------------------------------------------------------------------------------------------
# Nobody answers, and that is no failed attempt: the messages stay in the outboxes.
reply='--header NServiceBus.MessageIntent=Reply'
filled='put() { printf "$1" | queue-inspect -q --root "$DIR/root" put E.gateway --id "m-$1" "${@:2}" >/dev/null; }
  queue-inspect --root "$DIR/root" create E.gateway >/dev/null && put 1 '"$reply $origin"' && put 2 '"$reply $origin"' && put 3 '"$reply"' &&
  put 4 --header NServiceBus.DestinationSites=A,B'
forward='gw-send -q --root "$DIR/root" forward --once --outages wait --connect-timeout 2s --site A=http://127.0.0.1:9/A/ --site B=http://127.0.0.1:9/B/'
mkdir dry
DIR=$T/dry eval "$filled"
DIR=$T/dry eval "$forward" 2>/dev/null
outbox=$(cd dry/root/queues && echo site.at-*)
same 'site.at-127.0.0.1-9-HQ' "${outbox%-*}" 'the outbox of an address'
all='for n in 1 2; do echo "putting:E.gateway:$n"; echo "put:E.gateway:$n"; echo "moving:E.gateway:'$outbox':$n"; SAID "moved:E.gateway:'$outbox':$n"; done
  printf "%s\n" putting:E.gateway:3 put:E.gateway:3 moving:E.gateway:error:3 putting:E.gateway:4 put:E.gateway:4 moving:E.gateway:site.A,site.B:4
  SAID moved:E.gateway:error:3; SAID moved:E.gateway:site.A,site.B:4'
ended='case $RC:$CASE in [01]:*|74:*|75:*|137:kill*) ;; 66:fail:*|7[0137]:fail:*) ;; *) echo "exit status $RC: $(tail -n 3 "$LOG")"; exit 1;; esac'
check="$ended"'
  SAID() { echo "not told" >/dev/null; }
  { '"$all"'; } >"$TMPDIR/events"
  driver "$DIR/root" verify "$TMPDIR/events" garbage unordered || exit
  # A disk that was full for a moment: the message is set aside for some seconds, in one place or the other.
  case $CASE in fail:*) ;; *) SAID() { echo "$1"; } ;; esac
  { '"$all"'; } >"$TMPDIR/events"
  '"$forward"' >"$TMPDIR/second" 2>&1
  driver "$DIR/root" verify "$TMPDIR/events" garbage unordered || { cat "$TMPDIR/second"; exit 1; }'
RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok 'into outboxes' "$SRC/tests/lab/sweep.sh" --setup "$filled" --prog gw-send --modes kill,ENOSPC --max "${MAX:-20}" --max-errors "${ERRORS_MAX:-4}" \
  ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/outboxes"} "$forward" "$check"

# --- and to the site that asked ------------------------------------------------------------------------------------------------------------
# there.sh DIR [PORT]: a listener of the site that asked; its port in $DIR/port, its process in $listener
cat >"$T/there.sh" <<'S'
there() {
  port=''
  mkfifo "$TMPDIR/ready.$$" 2>/dev/null
  LD_PRELOAD='' gw-listen -q --root "$DIR/hq" --endpoint HQ --channel "http://127.0.0.1:${1:-0}/HQ/" >"$TMPDIR/ready.$$" 2>"$TMPDIR/there.err" &
  listener=$!
  read -r -t 10 _ url <"$TMPDIR/ready.$$" || { cat "$TMPDIR/there.err"; return 1; }
  port=${url#*127.0.0.1:}
  port=${port%%/*}
  echo "$port" >"$DIR/port"
}
S
cat >"$T/send.sh" <<'S'
. "$(dirname "$0")/there.sh"
there || exit 99
LD_PRELOAD='' queue-inspect --root "$DIR/root" create E.gateway >/dev/null
for n in 1 2 3; do
  printf %s "$n" | LD_PRELOAD='' queue-inspect -q --root "$DIR/root" put E.gateway --id "m-$n" --header NServiceBus.MessageIntent=Reply \
    --header "NServiceBus.OriginatingSite=http,$url" >/dev/null || exit 99
done
gw-send -q --root "$DIR/root" forward --drain
rc=$?
kill -9 $listener
exit $rc
S
check="$ended"'
  . "'"$T"'/there.sh"
  # Another case may have been given the port meanwhile.
  for try in 1 2 3 4 5 6 7 8; do there "$(cat "$DIR/port")" >"$TMPDIR/there" && break; sleep 1; done
  [ -n "$port" ] || { cat "$TMPDIR/there"; exit 1; }
  gw-send -q --root "$DIR/root" forward --drain >"$TMPDIR/second" 2>&1 || { echo "second run: $?"; cat "$TMPDIR/second"; kill -9 $listener; exit 1; }
  kill -9 $listener
  wait $listener 2>/dev/null
  for n in 1 2 3; do printf "%s\n" "receiving:HQ:$n" "received:HQ:$n"; done >"$TMPDIR/events"
  : >"$TMPDIR/nothing"
  driver "$DIR/hq" verify "$TMPDIR/events" garbage unordered && driver "$DIR/root" verify "$TMPDIR/nothing" garbage'
RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok 'to the other site' "$SRC/tests/lab/sweep.sh" --prog gw-send --modes kill --max "${MAX:-30}" \
  ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/site"} 'bash "'"$T"'/send.sh"' "$check"
done_testing
