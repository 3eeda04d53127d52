#!/bin/bash
# The real gateway against listeners that fail at first, lost answers, sites that are away; each message arrives once.
# timeout: 150
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"
. "$SRC/tests/interop/interop.sh"

store_url=http://127.0.0.1:$(free_port)/Store1/
listen() { start_daemon listen gw-listen --endpoint Store1 --channel "$store_url"; }
ready_ids() { queue-inspect list Store1 --json | jq -r 'select(.state == "ready") | .id'; }
arrived() { [ "$(ready_ids | wc -l)" -ge "$1" ]; }

# --- NServiceBus sends ---
start_site between
plan_site between '503 Busy' close "lose $store_url" "pass $store_url"
start_nservicebus hq HQ --listen "$(gateway_url "$(free_port)" HQ)" --site "Store1=${URL[between]}" --site "Away=$store_url" --retry-ms 100
# Nobody listens yet.
tell hq '{"do":"send","sites":["Away"],"type":"PriceUpdated","text":"for one who is away"}'
wait_until 20 grep -q 'Delayed Retry will reschedule\|Transfer failed\|because of an exception' "$T/hq.out"
listen
wait_until 20 arrived 1
run_ok queue-inspect take Store1
like 'for one who is away' "$out"

tell hq '{"do":"send","sites":["Store1"],"type":"PriceUpdated","text":"four times"}'
wait_until 30 arrivals between 4
wait_until 10 grep -q 'duplicate' listen.err
same 1 "$(ready_ids | wc -l)" 'refused, cut, its answer lost, sent again: there once'
run_ok queue-inspect show Store1 --all --json
same '2 four times' "$(jq -r '"\(.headers["NServiceBus.Retries"]) \(.body | fromjson.Text)"' <<<"$out")" 'what came first is what stays'
like '^[0-9-]* [0-9:]* Z$' "$(jq -r '.headers["NServiceBus.Retries.Timestamp"]' <<<"$out")"

# --- Gatepost sends ---
port=$(free_port)
real_url=$(gateway_url "$port" Store1)
start_site wall
plan_site wall close '503 Busy' "lose $real_url" "pass $real_url"
write_config 'Endpoint="HQ" RetryIncrement="200ms" Retries="20"' "Key=\"Wall\" Address=\"${URL[wall]}\" ChannelType=\"http\"" "Key=\"Real\" Address=\"$real_url\" ChannelType=\"http\""
type='Shop.PriceUpdated, endpoint, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null'
send() { gw-send --type "$type" --content-type application/json "${@:2}" - <<<"{\"Text\":\"$1\"}"; }
start_daemon forward gw-send forward
run_ok send 'for a real one that is away' --to Real --id away
wait_until 10 grep -q 'attempt-failed id=away' forward.err
start_nservicebus real Store1 --listen "$real_url"
wait_until 20 handled_count real 1 '^for a real one that is away$'
run_ok gw-send wait --timeout 20s away
run_ok send 'four times' --to Wall --id four
run_ok gw-send wait --timeout 20s four
same 4 "$(requests wall)"
same 1 "$(handled real -r .text | grep -c '^four times$')" 'its handler got it once'
like 'dispatched, ignoring' "$(cat real.out)" 'the fourth was a duplicate to it'
same 2 "$(handled real -r 'select(.id == "four").headers["NServiceBus.Retries"]')" 'how often it had failed is told as NServiceBus tells it'
like '^[0-9-]* [0-9:]* Z$' "$(handled real -r 'select(.id == "four").headers["NServiceBus.Retries.Timestamp"]')"

stop_daemon forward
stop_nservicebus real
stop_nservicebus hq
stop_daemon listen
done_testing
