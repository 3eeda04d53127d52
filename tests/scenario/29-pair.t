#!/bin/bash
# Two sites of ours: what goes in at one end comes out at the other, once.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

far=$T/far
run_ok queue-inspect create Store1 --root "$far"
start_daemon listener gw-listen --root "$far" --endpoint Store1 --channel http://127.0.0.1:0/Store1/
url=${ready_line#ready }
write_config 'Endpoint="HQ" RetryIncrement="200ms"' "Key=\"Store1\" Address=\"$url\" ChannelType=\"http\" Concurrency=\"16\""

printf 'Gr\303\274n\n' >body.txt
run_ok gw-send --to Store1 --type Prices.PriceUpdated --header 'Note=50% ~ "quoted" +1' --wait delivered --timeout 20s body.txt
id=$out
run_ok queue-inspect show Store1 "$id" --root "$far" --json
same "$id|Prices.PriceUpdated|50% ~ \"quoted\" +1|HQ|Store1|Grün" "$(jq -r '[.id, .type, .headers.Note,
  .headers["NServiceBus.OriginatingEndpoint"], .headers["NServiceBus.DestinationSites"], .body] | join("|")' <<<"$out")"
run_ok queue-inspect purge Store1 --all --root "$far"

# --- many, small and large; the sender killed on the way ---
head -c 5000000 /dev/urandom >big.bin
run_ok gw-send --to Store1 --id big big.bin
run_ok bash -c 'seq 2000 | gw-send --to Store1 --lines --id n -q'
some_arrived() { [ "$(queue-inspect list --root "$far" --json | jq -r 'select(.queue == "Store1") | .ready')" -ge "$1" ]; }
for n in 200 600; do
  start_daemon sender gw-send forward
  wait_until 20 some_arrived "$n"
  kill_daemon sender
done
run_ok gw-send forward --drain
same 2001 "$(queue-inspect list --root "$far" --json | jq -r 'select(.queue == "Store1") | .ready')" "each once"
run_ok bash -c "queue-inspect take Store1 big --root '$far' | cmp - big.bin"
run_ok bash -c "queue-inspect take Store1 --max 2000 --lines --root '$far' | sort -n | cmp - <(seq 2000)"

# --- a listener that is away for a while ---
stop_daemon listener
run_ok gw-send --to Store1 --id later body.txt
start_daemon sender gw-send forward
wait_until 10 grep -q 'attempt-failed id=later' sender.err
start_daemon listener gw-listen --root "$far" --endpoint Store1 --channel "$url"
run_ok gw-send wait --timeout 20s later
stop_daemon sender
stop_daemon listener
run_ok queue-inspect check
run_ok queue-inspect check --root "$far"
done_testing
