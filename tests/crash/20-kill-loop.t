#!/bin/bash
# timeout: 900
# Listener and forwarder are killed with -9 again and again while messages go from headquarters to a store: none lost, none twice.
# KILLS=20 MESSAGES=5000 by default.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

kills=${KILLS:-20} messages=${MESSAGES:-5000}
hq=$T/hq store=$T/store
RANDOM=${SEED:-$$}
note "SEED=${SEED:-$$}"
port=$(free_port)
url=http://127.0.0.1:$port/Store/
export RUN_TIMEOUT=600

listen() { start_daemon listen gw-listen -q --root "$store" --endpoint Store --channel "$url"; }
forward() { start_daemon forward gw-send -q --root "$hq" forward --site "S=$url" --retries 100000 --retry-increment 10ms --outages count; }
# start_daemon counts a test each time; here only its failure should
quietly() {
  local before=$test_count
  "$@" >"$T/quietly" || return 1
  test_count=$before
}

quietly listen || fail 'the listener starts'
quietly forward || fail 'the forwarder starts'
each=$((messages / kills)) sent=0 bad=0
for ((round = 1; round <= kills; round++)); do
  [ "$round" != "$kills" ] || each=$((messages - sent))
  seq $((sent + 1)) $((sent + each)) |
    gw-send -q --root "$hq" --to S --site "S=$url" --lines --id "r$round" >/dev/null 2>>"$T/errors" || bad=$((bad + 1))
  sent=$((sent + each))
  sleep "0.0$(printf %02d $((RANDOM % 100)))"
  case $((RANDOM % 3)) in
    0) kill_daemon listen ;;
    1) kill_daemon forward ;;
    2) kill_daemon forward; kill_daemon listen ;;
  esac
  if [ -z "${DAEMON[listen]:-}" ] || ! kill -0 "${DAEMON[listen]}" 2>/dev/null; then quietly listen || { bad=$((bad + 1)); break; }; fi
  if [ -z "${DAEMON[forward]:-}" ] || ! kill -0 "${DAEMON[forward]}" 2>/dev/null; then quietly forward || { bad=$((bad + 1)); break; }; fi
done
same 0 "$bad" "$kills kills while $messages messages were sent: every command worked"
[ ! -s "$T/errors" ] || note "$(head -n 5 "$T/errors")"
run_ok queue-inspect --root "$hq" wait site.S --for empty --timeout 300
stop_daemon forward
stop_daemon listen
run_ok queue-inspect -q --root "$store" take Store --lines --all
printf '%s\n' "$out" | sort -n >"$T/got"
seq 1 "$messages" >"$T/expected"
same '' "$(comm -23 <(sort "$T/expected") <(sort -u "$T/got") | head -n 5)" 'none is lost'
same '' "$(uniq -d "$T/got" | head -n 5)" 'none came twice'
same "$messages" "$(wc -l <"$T/got")" 'as many as were sent'
run_ok queue-inspect --root "$hq" check
run_ok queue-inspect --root "$store" check
done_testing
