#!/bin/bash
# gw-send forward --outages wait: a site that is out of order uses up no attempts, gets one probe at a time, and recovers.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

port=$(free_port)
write_config 'Endpoint="HQ" Retries="1" RetryIncrement="50ms" Outages="wait"' \
  "Key=\"Store1\" Address=\"http://127.0.0.1:$port/site/\" ChannelType=\"http\" Concurrency=\"2\""

status_of() { gw-send status --json | jq -r --arg s "$1" "select(.kind == \"site\" and .site == \$s) | .$2"; }
is_status() { [ "$(status_of Store1 "$1")" = "$2" ]; }
attempts_failed() { grep -c ' attempt-failed ' "$T/$1.err"; }
at_least_failed() { [ "$(attempts_failed "$1")" -ge "$2" ]; }

# --- nobody there: three messages wait, none is lost to the error queue ---
ids=()
for i in 1 2 3; do
  run_ok bash -c "echo $i | gw-send --to Store1"
  ids+=("$out")
done
start_daemon forwarder gw-send forward --probe-interval 300ms
wait_until 10 is_status state down
like ' site-down site=Store1 reason="no answer: ' "$(cat "$T/forwarder.err")"
wait_until 10 at_least_failed forwarder 4
check "one probe at a time" [ "$(attempts_failed forwarder)" -le 8 ]
same 3 "$(status_of Store1 waiting)"
like 'refused|connect' "$(status_of Store1 last_error)"
like '^20' "$(status_of Store1 next_try_at)"
run_exit 75 gw-send wait --timeout 0 --json "${ids[@]}"
same "stored 0 stored 0 stored 0" "$(jq -r '"\(.state) \(.attempts)"' <<<"$out" | paste -sd' ')" "outages use up no attempts"
start_site store "$port"
run_ok gw-send wait --timeout 20s "${ids[@]}"
wait_until 5 is_status state up
like ' site-up site=Store1' "$(cat "$T/forwarder.err")"
same "" "$(header "$T/store/1.request" NServiceBus.Header.NServiceBus.Retries)" "no retries on the wire"
stop_daemon forwarder

# --- 429, 503 and 507 are outages, other answers use up attempts ---
plan_site store '503 a' '429 b' '507 c' '200 OK'
run_ok bash -c 'echo x | gw-send --to Store1'
run_ok gw-send forward --drain --retries 0 --probe-interval 20ms
plan_site store '500 a' '500 b'
run_ok bash -c 'echo x | gw-send --to Store1'
run_exit 1 gw-send forward --drain --probe-interval 20ms
same 2 "$(grep -c ' attempt-failed ' <<<"$err")"

# --- one message that gets no answer while others do uses up its attempts, and the others go on ---
run_ok bash -c 'echo x | gw-send --to Store1 --id poison'
printf 'poison\tclose\n' >by-id.txt
plan_site store "by-id $T/by-id.txt"
for i in 1 2 3; do run_ok bash -c "echo $i | gw-send --to Store1 --id good-$i"; done
run_exit 1 gw-send forward --drain --retries 1 --retry-increment 20ms --probe-interval 50ms
run_ok gw-send wait --timeout 0 good-1 good-2 good-3
run_exit 69 gw-send wait --timeout 0 --json poison
same failed "$(jq -r .state <<<"$out")"

# --- giving up, without waiting for a probe ---
stop_daemon store 143
run_ok bash -c 'echo x | gw-send --to Store1'
id=$out
run_exit 1 gw-send forward --drain --give-up-after 400ms --probe-interval 1h
run_exit 69 gw-send wait --timeout 0 --json "$id"
like 'given up after 400ms: no answer' "$(jq -r .reason <<<"$out")"

# --- flush tries now ---
run_ok bash -c 'echo x | gw-send --to Store1'
id=$out
run_exit 75 gw-send flush
like 'no-forwarder' "$err"
start_daemon patient gw-send forward --probe-interval 1h
wait_until 10 at_least_failed patient 1
start_site store2 "$port"
same 0 "$(requests store2)"
run_ok gw-send flush --to Store1
run_ok gw-send wait --timeout 10s "$id"
stop_daemon patient

# --- --once with a dead site ends ---
stop_daemon store2 143
for i in 1 2 3 4 5; do run_ok bash -c "echo $i | gw-send --to Store1"; done
run_exit 75 gw-send forward --once
check "not every message was tried at a dead site" [ "$(grep -c " attempt-failed " <<<"$err")" -le 2 ] || note "$err"
run_ok queue-inspect check
done_testing
