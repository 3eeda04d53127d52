#!/bin/bash
# gw-send wait, --wait, status, flush.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

start_site a
start_site b
write_config 'Endpoint="HQ" RetryIncrement="1h"' "Key=\"A\" Address=\"${URL[a]}\" ChannelType=\"http\"" "Key=\"B\" Address=\"${URL[b]}\" ChannelType=\"http\""
echo body >body.txt

# --- --wait delivered starts a forwarder for its own messages, and only for them ---
run_ok gw-send --to A body.txt
other=$out
run_ok gw-send --to A,B --wait delivered --timeout 20s body.txt
id=$out
same "1 1" "$(requests a) $(requests b)"
unlike 'no-forwarder' "$err"
run_ok gw-send wait --timeout 0 "$id"
run_exit 75 gw-send wait --timeout 0 "$other"
like '^A stored .*id='"$other" "$out"
run_ok gw-send wait --timeout 0 -v "$id"
same 2 "$(wc -l <<<"$out")" "-v: a line for each"

# --- one of two fails for now ---
plan_site b '500 No'
run_exit 75 gw-send --to A,B --wait delivered --timeout 2s --json body.txt
id=$(jq -r 'select(.sites) | .id' <<<"$out")
same "A delivered B stored 1 500 No" "$(jq -r 'select(.site) | "\(.site) \(.state)" + (if .reason then " \(.attempts) \(.reason)" else "" end)' <<<"$out" | sort | paste -sd' ')"
like '^20' "$(jq -r 'select(.site == "B") | .next_try_at' <<<"$out")"
run_ok gw-send wait --timeout 0 --to A "$id"
run_exit 75 gw-send wait --timeout 0 --to B "$id"
run_exit 66 gw-send wait --timeout 0 "$id" nobody-knows-me
like "nobody-knows-me" "$err"
run_exit 64 gw-send wait
run_exit 64 gw-send wait --for handled "$id"
run_exit 64 gw-send wait --timeout soon "$id"

# --- status ---
run_ok gw-send status
same "forwarder: NOT RUNNING" "$(head -n 1 <<<"$out")"
like '^SITE +STATE +WAITING +BYTES +OLDEST +IN-FLIGHT +LAST-DELIVERED +NEXT-TRY +LAST-ERROR' "$(sed -n 2p <<<"$out")"
run_ok gw-send status --json
same "1 5 0 up 500 No ${URL[b]} http" "$(jq -r 'select(.site == "B") | [.waiting, .waiting_bytes, .in_flight, .state, .last_error, .address, .channel_type] | join(" ")' <<<"$out")"
like '^20.* 20' "$(jq -r 'select(.site == "B") | .last_delivered_at + " " + .next_try_at' <<<"$out")"
run_ok gw-send status --max-count 1
same "" "$out" "no limit is exceeded"
run_exit 1 gw-send status --max-count 0 --to A
like '^A ' "$(tail -n 1 <<<"$out")"
run_exit 1 gw-send status --max-age 1ms --json
same 2 "$(wc -l <<<"$out")"
run_exit 1 gw-send status --min-free 1000T
run_ok gw-send status --min-free 1
run_exit 64 gw-send status --max-count many
queue-inspect hold site.B --reason lunch >/dev/null
run_ok gw-send status --json --to B
same held "$(jq -r 'select(.site) | .state' <<<"$out")"
queue-inspect release site.B >/dev/null

# --- flush: what would be tried in an hour is tried now ---
plan_site b '200 OK'
run_ok gw-send flush -n
like "^$id	B\$" "$out" "-n shows what it would do"
run_exit 66 gw-send flush nobody-knows-me
start_daemon forwarder gw-send forward
like '^ready$' "$ready_line"
run_ok gw-send status
like '^forwarder: pid [0-9]+ since 20' "$(head -n 1 <<<"$out")"
run_ok gw-send wait --timeout 10s "$other"
run_exit 75 gw-send wait --timeout 0 "$id"
run_ok gw-send flush "$id"
run_ok gw-send wait --timeout 10s "$id"
same 2 "$(tail -n +1 "$T"/b/*.request | grep -c "^NServiceBus.Id: $id")" "two attempts at B"
run_ok gw-send --to A body.txt
same "" "$err" "no hint while one runs"
run_ok gw-send wait --timeout 10s "$out"

# --- held: nothing goes ---
queue-inspect hold site.A >/dev/null
run_exit 75 gw-send --to A --wait delivered --timeout 1s body.txt
id=$out
queue-inspect release site.A >/dev/null
run_ok gw-send wait --timeout 10s "${id%%$'\n'*}"

# --- purged ---
queue-inspect hold site.A >/dev/null
run_ok gw-send --to A body.txt
id=$out
start_background waiter gw-send wait --json "$id"
wait_until 5 test -d "$GW_ROOT"
run_ok queue-inspect purge site.A "$id"
wait_daemon waiter 20
same "69 purged" "$status $(jq -r .state "$T/waiter.out")"
queue-inspect release site.A >/dev/null
stop_daemon forwarder

# --- streams with --wait ---
seq 50 >numbers.txt
run_ok bash -c 'gw-send --to A --lines --ids --wait delivered --timeout 30s <numbers.txt'
same 50 "$(wc -l <<<"$out")"
same 1 "$(tail -n +1 "$T"/a/*.request | grep -cx 50)"

# --- a waiter that is killed takes its forwarder with it ---
plan_site a 'hang 60'
start_background impatient gw-send --to A --wait delivered body.txt
hanging() { grep -q hung "$T/a/log" || [ "$(requests a)" -gt 50 ] && [ "$(gw-send status --json --to A | jq -r 'select(.site) | .in_flight')" = 1 ]; }
wait_until 10 hanging
kill_daemon impatient
idle() { [ "$(gw-send status --json --to A | jq -r 'select(.site) | .in_flight')" = 0 ]; }
wait_until 10 idle
run_ok queue-inspect check
done_testing
