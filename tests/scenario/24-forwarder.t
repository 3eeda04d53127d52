#!/bin/bash
# The life of a forwarder: one per root, new work at once, reload, stop, kill -9.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

start_site a
start_site b
site_a="Key=\"A\" Address=\"${URL[a]}\" ChannelType=\"http\" Concurrency=\"4\""
site_b="Key=\"B\" Address=\"${URL[b]}\" ChannelType=\"http\""
write_config 'Endpoint="HQ"' "$site_a"
echo body >body.txt

# --- one per root ---
start_daemon whole gw-send forward
run_exit 75 gw-send forward --once
like "pid $daemon_pid" "$err"
run_exit 75 gw-send forward --drain --to A

# --- new messages are noticed at once ---
run_ok gw-send --to A body.txt
run_ok gw-send wait --timeout 10s "$out"
took=$(awk '{print $1}' "$T/a/log" | head -n 1)
check "in well under a second" awk -v sent="$(stat -c %.Y body.txt)" -v got="$took" 'BEGIN {exit !(got - sent < 5)}'

# --- the configuration is read again: on a change, and on SIGHUP; a bad one changes nothing ---
write_config 'Endpoint="HQ"' "$site_a" "$site_b"
run_ok gw-send --to B body.txt
run_ok gw-send wait --timeout 10s "$out"
echo '<gatepost><Gateway><Sites><Site/></Sites></Gateway></gatepost>' >"$T/config.xml"
wait_until 10 grep -q 'config-bad .*config.xml:1' "$T/whole.err"
write_config 'Endpoint="HQ"' "$site_a" "$site_b"
wait_until 10 bash -c "[ \$(grep -c config-read $T/whole.err) -ge 2 ]"
kill -HUP "${DAEMON[whole]}"
wait_until 10 bash -c "[ \$(grep -c config-read $T/whole.err) -ge 3 ]"
run_ok gw-send --to A,B body.txt
run_ok gw-send wait --timeout 10s "$out"

# --- connections are kept ---
stop_daemon whole
same "" "$(grep -E ' (warn|error) ' "$T/whole.err" | grep -v config-bad)" "nothing to complain about"

# --- with --to: one per site, disjoint ones side by side ---
start_daemon only_a gw-send forward --to A
start_daemon only_b gw-send forward --to B
run_exit 75 gw-send forward --drain --to A,B
like "site 'A'.*pid|pid" "$err"
start_daemon whole gw-send forward
run_ok gw-send --to A,B body.txt
run_ok gw-send wait --timeout 10s "$out"
like ' site-left-alone site=A' "$(cat "$T/whole.err")"
stop_daemon only_a
stop_daemon only_b
run_ok gw-send --to A,B body.txt
run_ok gw-send wait --timeout 10s "$out"
stop_daemon whole

# --- stop: requests in flight are finished, the rest is given back ---
plan_site a 'slow 1'
for i in $(seq 8); do run_ok gw-send --to A --id "slow-$i" body.txt; done
before=$(requests a)
start_daemon whole gw-send forward
wait_until 10 arrivals a $((before + 4))
stop_daemon whole
same $((before + 4)) "$(requests a)" "no new requests"
delivered() { gw-send wait --timeout 0 --json slow-{1..8} | grep -c '"delivered"'; }
same 4 "$(delivered)"
run_ok queue-inspect list --json
same "4 0 0" "$(jq -r 'select(.queue == "site.A") | "\(.ready) \(.claimed) \(.deferred)"' <<<"$out")"
plan_site a 'hang 60'
start_daemon whole gw-send forward
wait_until 10 arrivals a $((before + 8))
stop_daemon whole
same "4 0 0" "$(queue-inspect list --json | jq -r 'select(.queue == "site.A") | "\(.ready) \(.claimed) \(.deferred)"')" "hanging ones are given back"

# --- kill -9: everything is sent again by the next one, nothing is lost ---
plan_site a 'slow 0.02'
printf 'm%s\n' $(seq 200) >many.txt
run_ok bash -c 'gw-send --to A --lines --id kill <many.txt'
before=$(requests a)
for round in 1 2 3; do
  start_daemon victim gw-send forward
  wait_until 10 arrivals a $((before + 20 * round))
  kill_daemon victim
done
plan_site a '200 OK'
run_ok gw-send forward --drain
mapfile -t ids < <(printf 'kill-%s\n' $(seq 200))
run_ok gw-send wait --timeout 0 "${ids[@]}"
same 200 "$(cat "$T"/a/*.request | grep -a '^NServiceBus.Id: kill-' | sort -u | wc -l)" "each was sent"
run_ok queue-inspect check
run_exit 74 bash -c 'gw-send forward >/dev/full'
run_exit 78 gw-send forward --once --config "$T/body.txt"
run_exit 64 gw-send forward --once --retries x
run_exit 64 gw-send forward --once --outages maybe
run_exit 64 gw-send forward --to Nowhere --once
done_testing
