#!/bin/bash
# 1,000 messages to the real gateway and 1,000 from it, our side killed with SIGKILL again and again: each arrives once.
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"
. "$SRC/tests/interop/interop.sh"

type='Shop.PriceUpdated, endpoint, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null'
store_url=http://127.0.0.1:$(free_port)/Store1/
hq_url=$(gateway_url "$(free_port)" HQ)
start_nservicebus hq HQ --listen "$hq_url" --site "Store1=$store_url" --retries 100 --retry-ms 20
write_config 'Endpoint="Store1" RetryIncrement="100ms" Retries="100"' "Key=\"HQ\" Address=\"$hq_url\" ChannelType=\"http\" Concurrency=\"4\""
listen() { start_daemon listen gw-listen --endpoint Store1 --channel "$store_url"; }
forward() { start_daemon forward gw-send forward; }
waiting() { queue-inspect list --json | jq -r 'select(.queue == "Store1") | .ready'; }
waits() { [ "$(waiting)" -ge "$1" ]; }

some_handled() { [ "$(grep -c '^{"event":"handled"' hq.out)" -ge "$1" ]; }

# Killed when so many have come: in the middle of the work, however fast it is.
listen
tell hq '{"do":"send","sites":["Store1"],"type":"PriceUpdated","text":"up {0}","count":1000}'
for n in 50 200 350 500 650 800; do
  wait_until 60 waits "$n"
  kill_daemon listen
  listen
done
run_ok bash -c "for i in {1..1000}; do echo '{\"Text\":\"down '\$i'\"}'; done | gw-send --to HQ --type '$type' --content-type application/json --lines --id down -q"
for n in 50 200 350 500 650 800; do
  forward
  wait_until 60 some_handled "$n"
  kill_daemon forward
done
forward
wait_until 90 waits 1000
wait_until 90 some_handled 1000
run_ok gw-send wait --timeout 30s down-1 down-1000
stop_daemon forward
run_ok gw-send forward --drain
same 1000 "$(waiting)" 'each message of the real gateway is there once'
run_ok bash -c "queue-inspect take Store1 --max 2000 --json | jq -r '.body | fromjson.Text' | cut -d ' ' -f 2 | sort -n | cmp - <(seq 1000)"
run_ok bash -c "grep '^{\"event\":\"handled\"' '$T/hq.out' | jq -r .text | sed -n 's/^down //p' | sort -n | cmp - <(seq 1000)"
run_ok queue-inspect list error --json
same '' "$out" 'nothing failed for good'
note "duplicates that its gateway saw: $(grep -c 'ignoring incoming gateway message' hq.out), ours: $(grep -c duplicate listen.err)"
stop_nservicebus hq
stop_daemon listen
run_ok queue-inspect check
done_testing
