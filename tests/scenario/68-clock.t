#!/bin/bash
# A wall clock that is set back and forward by a week: nothing is lost, doubled, hurried or thrown away.
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

preload=$BUILD/test-bin/clock_offset.so
[ -e "$preload" ] || skip_all "'$preload' is not built (make test-programs)"
week=604800
# A command with a wrong clock; the daemon below has a clock of its own that can be set while it runs.
at() { CLOCK_OFFSET=$1 LD_PRELOAD=$preload "${@:2}"; }
set_clock() { echo "$1" >"$T/offset.new" && mv "$T/offset.new" "$T/offset"; }
own_clock() { CLOCK_OFFSET_FILE=$T/offset LD_PRELOAD=$preload exec "$@"; }
export -f own_clock
export T preload
outcome() { gw-send wait --timeout 0 --json "$1" 2>/dev/null | jq -r .state; }

# --- the clock of one command: what waits, waits; what lives, lives ---
run_ok queue-inspect create q
run_ok bash -c 'echo soon | queue-inspect put q --id soon --delay 1500ms'
run_ok bash -c 'echo later | queue-inspect put q --id later --delay 1h'
run_ok bash -c 'echo mortal | queue-inspect put q --id mortal --ttl 30m'
run_ok at -$week queue-inspect list q --json
same "deferred deferred ready" "$(jq -r .state <<<"$out" | paste -sd' ')"
like ' warn clock-behind root=.* behind_s=6047[0-9][0-9] ' "$err"
age=$(jq -s '(now - 604800) - (.[2].put_at | sub("\\.[0-9]+Z"; "Z") | fromdate)' <<<"$out")
check "times are those of the clock that asks" [ "${age%.*}" -lt 60 ]
run_ok at $week queue-inspect list q --json
same "deferred deferred ready" "$(jq -r .state <<<"$out" | paste -sd' ')" "a week ahead nothing is due"
due_in=$(jq -s '(.[1].due_at | sub("\\.[0-9]+Z"; "Z") | fromdate) - (now + 604800)' <<<"$out")
check "in an hour, by any clock: $due_in s" [ "${due_in%.*}" -gt 3500 ]
taken=$(at $week queue-inspect take q 2>/dev/null)
same mortal "$taken" "not expired by a step of a week"
take_soon() { [ "$(at -$week queue-inspect take q 2>/dev/null)" = soon ]; }
wait_until 5 take_soon
run_exit 1 queue-inspect take q

# A correction of less than a day is believed.
GW_ROOT=$T/other run_ok queue-inspect create q
GW_ROOT=$T/other run_ok bash -c 'echo later | queue-inspect put q --delay 1h'
GW_ROOT=$T/other run_ok bash -c 'echo mortal | queue-inspect put q --ttl 30m'
GW_ROOT=$T/other run_ok at 7200 queue-inspect take q --max 5
same later "$out" "two hours ahead: due, and expired"
like ' expired ' "$err"

# --- purging: not while the clock is behind, not after a jump, until somebody says that it is right ---
export GW_ROOT=$T/purge
run_ok gw-dedup mark --endpoint E old
run_exit 75 at $week gw-dedup purge --endpoint E --older-than 1h
like 'clock has jumped|clock is .* ahead' "$err"
run_exit 75 at $week gw-dedup purge --endpoint E --older-than 1h
run_exit 75 gw-dedup purge --endpoint E --older-than 0
like 'behind what was seen before' "$err"
run_ok gw-dedup seen --endpoint E old
run_ok gw-dedup purge --endpoint E --older-than 0 --yes
run_ok gw-dedup mark --endpoint E next
run_ok gw-dedup purge --endpoint E --older-than 1h
unlike clock "$err" "it is right now"
run_ok gw-dedup seen --endpoint E next

# --- a forwarder whose clock is set while retries wait ---
export GW_ROOT=$T/gateway
start_site store
plan_site store '500 Broken'
write_config 'Endpoint="HQ" Retries="9" RetryIncrement="2s"' "Key=\"Store1\" Address=\"${URL[store]}\" ChannelType=\"http\""
failed() { [ "$(grep -c " attempt-failed .* attempt=$1 " "$T/forwarder.err")" -ge 5 ]; }
set_clock 0
start_daemon forwarder bash -c 'own_clock gw-send forward'
for i in 1 2 3 4 5; do run_ok bash -c "echo $i | gw-send --to Store1 --id m-$i"; done
wait_until 10 failed 1
set_clock -$week
before=$(date +%s%N)
sleep 1
check_not "set back: not all at once" failed 2
wait_until 5 failed 2
check "but in time" [ $(($(date +%s%N) - before)) -lt 5000000000 ]
like ' clock-stepped .* by_s=-604' "$(cat forwarder.err)"
set_clock $week
sleep 2
check_not "set forward: not all at once" failed 3
plan_site store '200 OK'
run_ok gw-send wait --timeout 20s m-1 m-2 m-3 m-4 m-5
same 15 "$(requests store)" "three attempts each, no more"
same "" "$(grep -c ' attempt=3 ' forwarder.err | grep -v '^0$')"
set_clock 0
run_ok bash -c 'echo 6 | gw-send --to Store1 --id m-6'
run_ok gw-send wait --timeout 10s m-6
stop_daemon forwarder
for i in 1 2 3 4 5 6; do same delivered "$(outcome "m-$i")" "its outcome is still known"; done
run_ok queue-inspect check

# --- a retry that another process left, with the clock of the next one set back ---
plan_site store '500 Broken' '200 OK'
run_ok bash -c 'echo 7 | gw-send --to Store1 --id m-7'
run_exit 75 gw-send forward --once
start=$(date +%s)
run_ok at -$week gw-send forward --drain
check "two seconds later: $(($(date +%s) - start))" [ $(($(date +%s) - start)) -le 8 ]
same delivered "$(outcome m-7)"
done_testing
