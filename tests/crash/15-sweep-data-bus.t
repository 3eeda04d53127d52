#!/bin/bash
# timeout: 900
# Messages with data bus properties: whichever call of the one who stores, receives or acknowledges them is the last one or fails, a
# message that is there has its blobs, readable and whole, and no blob outlives what becomes of its messages.
# shellcheck disable=SC2016 # the commands are expanded by sweep.sh
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/crash/sweep.lib
. "$SRC/tests/crash/sweep.lib"

mkdir files
head -c 100 /dev/urandom >files/one
head -c 300000 /dev/urandom >files/two
head -c 70000 /dev/urandom >body
cat >"$T/expect.sh" <<'S'
wrong() { echo "$*"; exit 1; }
# messages QUEUE MIN MAX: that many are there, each with its two blobs; sets $messages
messages() {
  local key path shown attached
  mapfile -t shown < <(queue-inspect --root "$DIR/root" show "$1" --all --json 2>"$TMPDIR/show.err")
  messages=${#shown[@]}
  [ "$messages" -ge "$2" ] && [ "$messages" -le "$3" ] || wrong "'$1' has $messages messages, not $2 to $3: $(cat "$TMPDIR/show.err")"
  [ "$messages" != 0 ] || return 0
  mapfile -t attached < <(printf '%s\n' "${shown[@]}" | jq -r '.attachments[] | "\(.key) \(.path)"')
  [ "${#attached[@]}" = $((2 * messages)) ] || wrong "'$1': attachments are missing: ${shown[*]}"
  while read -r key path; do cmp "$FILES/$key" "$path" || exit 1; done < <(printf '%s\n' "${attached[@]}")
}
# sound: the first look may repair, but no message may need it
sound() {
  # A kill before there was a root leaves none.
  queue-inspect --root "$DIR/root" check --repair >"$TMPDIR/repair" 2>&1
  ! grep -q "no root directory\|not a Gatepost root yet" "$TMPDIR/repair" || return 0
  queue-inspect --root "$DIR/root" check >"$TMPDIR/check" 2>&1 || wrong "check: $(cat "$TMPDIR/check")"
  ! grep -h missing-blob "$TMPDIR/repair" "$TMPDIR/check" || exit 1
}
blobs() { find "$DIR/root/databus" -type f ! -name '*.part' -printf "$1\n" 2>/dev/null | sort; }
left() { blobs '%P %n' | grep -vxF -e - "${others[@]}" | case $CASE in fail:*) grep -v ' 1$' ;; *) cat ;; esac; }
# none: no blob is left but those in others=(-e 'KEY 1' ...), which belonged to nobody before. A call that fails may leave an orphan.
others=()
none() {
  local turn
  # Directories of handlers that were killed are swept by processes that wait, every two seconds.
  for turn in 1 2 3 4; do
    [ -n "$(left)" ] || return 0
    queue-inspect --root "$DIR/root" take q --wait --timeout 1s >"$TMPDIR/none" 2>&1
  done
  wrong "blobs are left: $(left)"
}
belong_to_nobody() { mapfile -t others < <(blobs '%P %n' | sed -n 's/^\(.* 1\)$/-e\n\1/p'); }
S
ended='. "'"$T"'/expect.sh"
  case $RC:$CASE in 0:*|74:*|75:*|137:kill*) ;; 66:fail:*|7[0137]:fail:*) ;; *) wrong "exit status $RC: $(tail -n 3 "$LOG")";; esac'
export FILES=$T/files BODY=$T/body
attach='--attach "one=$FILES/one" --attach "two=$FILES/two"'
# Every one of the many calls takes minutes: a sample of them, LONG=1: all.
[ -z "${LONG:-}" ] || KILLS=1000 ERRORS=20
both() { # NAME SETUP RUN CHECK OPTION...: kills at a sample of the calls, then failing calls
  local name=$1 setup=$2 run=$3 check=$4
  shift 4
  RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok "$name, kills" "$SRC/tests/lab/sweep.sh" ${setup:+--setup "$setup"} --modes kill --max "${KILLS:-6}" \
    ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/kills"} "$@" "$run" "$check"
  RUN_TIMEOUT=${SWEEP_TIMEOUT:-600} quiet_ok "$name, errors" "$SRC/tests/lab/sweep.sh" ${setup:+--setup "$setup"} --modes EIO --max "${ERRORS:-1}" \
    ${SWEEP_KEEP:+--keep "$SWEEP_KEEP/errors"} "$@" "$run" "$check" fsync openat renameat linkat unlinkat
}

# --- stored: for one queue, for two sites ----------------------------------------------------------------------------------------------
created='queue-inspect --root "$DIR/root" create q site.A site.B >/dev/null'
stored='queue-inspect -q --root "$DIR/root" put q --id m1 '"$attach"' "$BODY" >/dev/null'
both put "$created" "$stored" "$ended"'
  messages q $([ "$RC" = 0 ] && echo 1 || echo 0) 1
  sound
  messages q "$messages" "$messages"
  belong_to_nobody
  '"$stored"' || wrong "again: $?"
  messages q 1 1
  queue-inspect -q --root "$DIR/root" purge q --all >/dev/null
  none'
sent='gw-send -q --root "$DIR/root" --to A,B --site A=http://127.0.0.1:9/ --site B=http://127.0.0.1:9/b/ --id m1 '"$attach"' "$BODY" >/dev/null'
both send "$created" "$sent" "$ended"'
  messages site.A $([ "$RC" = 0 ] && echo 1 || echo 0) 1
  sound
  n=$messages
  messages site.A "$n" "$n"
  messages site.B "$n" "$n"
  belong_to_nobody
  for site in A B; do queue-inspect -q --root "$DIR/root" take "site.$site" >/dev/null; done
  none'

# --- acknowledged: one of two that share their blobs --------------------------------------------------------------------------------------
acked="$ended"'
  messages site.B 1 1
  messages site.A 0 $([ "$RC" = 0 ] && echo 0 || echo 1)
  sound
  messages site.B 1 1
  queue-inspect -q --root "$DIR/root" take site.A >/dev/null
  messages site.B 1 1
  queue-inspect -q --root "$DIR/root" take site.B >"$TMPDIR/taken"
  cmp "$BODY" "$TMPDIR/taken" || exit
  none'
both take "$created && $sent" 'queue-inspect -q --root "$DIR/root" take site.A >/dev/null' "$acked"
both move "$created && $sent" 'queue-inspect -q --root "$DIR/root" move site.A q --all >/dev/null' "$ended"'
  messages site.B 1 1
  messages site.A 0 1
  n=$messages
  messages q $((1 - n)) $((1 - n))
  sound
  for queue in site.A q; do queue-inspect -q --root "$DIR/root" take $queue >/dev/null; done
  messages site.B 1 1
  queue-inspect -q --root "$DIR/root" take site.B >/dev/null
  none'
# The last one that names them.
both 'take the last' "$created && $stored" 'queue-inspect -q --root "$DIR/root" take q >/dev/null' "$ended"'
  messages q 0 $([ "$RC" = 0 ] && echo 0 || echo 1)
  sound
  queue-inspect -q --root "$DIR/root" take q >/dev/null
  none'
handled='distributor worker --root "$DIR/root" --queue q --drain -q --retry-increment 0s -- sh -c '\''cmp "$GW_ATTACHMENTS/one" "$FILES/one" && cmp "$GW_ATTACHMENTS/two" "$FILES/two"'\'
both 'worker' "$created && $stored" "$handled" "$ended"'
  messages q 0 $([ "$RC" = 0 ] && echo 0 || echo 1)
  sound
  '"$handled"' || wrong "again: $?"
  messages q 0 0
  none' --prog distributor

# --- received ------------------------------------------------------------------------------------------------------------------------------
prefix=NServiceBus.Header.NServiceBus.DataBus.
request() { # CALLTYPE FILE FIELD...
  local type=$1 file=$2
  shift 2
  printf '%s\r\n' 'POST /HQ/ HTTP/1.1' 'Host: x' 'NServiceBus.Id: m1' "NServiceBus.CallType: $type" 'NServiceBus.Gateway: True' \
    "Content-MD5: $(openssl md5 -binary "$file" | base64 | sed 's/+/%2B/g')" "Content-Length: $(stat -c %s "$file")" "$@" ''
  cat "$file"
}
for key in one two; do request SingleCallDatabusProperty "files/$key" "NServiceBus.Gateway.DataBusKey: $prefix$key" >"$key.request"; done
request SingleCallSubmit body "${prefix}one: theirs" "${prefix}two: theirs" >submit.request
# receive.sh DIR FILE...: starts a listener, posts the requests, and kills it; their answers go to $TMPDIR/answers
cat >"$T/receive.sh" <<'S'
export DIR=$1
shift
mkfifo "$TMPDIR/ready.$$"
gw-listen -q --root "$DIR/root" --endpoint q --channel http://127.0.0.1:0/HQ/ >"$TMPDIR/ready.$$" 2>"$TMPDIR/err.$$" &
pid=$!
if read -r -t 10 word url <"$TMPDIR/ready.$$" && [ "$word" = ready ]; then
  port=${url#*127.0.0.1:}
  LD_PRELOAD='' timeout 20 python3 "$RAWHTTP" "${port%%/*}" "$@" >"$TMPDIR/answers" 2>&1
  if [ "$CASE" = count ]; then kill "$pid"; else kill -9 "$pid"; fi
fi
wait "$pid"
rc=$?
case $CASE:$rc in fail:*:137) rc=0 ;; esac # that was us
cat "$TMPDIR/err.$$" >&2
exit $rc
S
export RAWHTTP=$SRC/tests/rawhttp.py
received="$ended"'
  sound
  [ ! -d "$DIR/root/queues/q" ] || messages q $(tail -n 1 "$TMPDIR/answers" 2>/dev/null | grep -c "submit.*200.OK") 1
  properties=$(head -n 2 "$TMPDIR/answers" 2>/dev/null | grep -c "200.OK")
  CASE="" bash "'"$T"'/receive.sh" "$DIR" "'"$T"'/submit.request" 2>"$TMPDIR/second"
  [ "$properties" != 2 ] || grep -q "200.OK" "$TMPDIR/answers" || wrong "properties were answered with OK, and are gone: $(cat "$TMPDIR/answers" "$TMPDIR/second")"
  CASE="" bash "'"$T"'/receive.sh" "$DIR" "'"$T"'/one.request" "'"$T"'/two.request" "'"$T"'/submit.request" 2>"$TMPDIR/second"
  [ "$(grep -c "200.OK" "$TMPDIR/answers")" = 3 ] || wrong "not received: $(cat "$TMPDIR/answers" "$TMPDIR/second")"
  sound
  messages q 1 1'
both receive '' 'bash "'"$T"'/receive.sh" "$DIR" "'"$T"'/one.request" "'"$T"'/two.request" "'"$T"'/submit.request"' "$received" --prog gw-listen
done_testing
