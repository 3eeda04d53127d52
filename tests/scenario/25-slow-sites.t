#!/bin/bash
# Slow and dead sites keep nobody else waiting; limits of concurrency and rate hold.
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

start_site good
start_site slow
plan_site slow 'hang 60'
sites=("Key=\"Good\" Address=\"${URL[good]}\" ChannelType=\"http\" Concurrency=\"3\"" "Key=\"Slow\" Address=\"${URL[slow]}\" ChannelType=\"http\" Concurrency=\"2\"")
for i in $(seq 40); do sites+=("Key=\"Dead$i\" Address=\"http://127.0.0.1:1/d$i/\" ChannelType=\"http\""); done
write_config 'Endpoint="HQ" Retries="0" MaxTransfers="8"' "${sites[@]}"

printf 'm%s\n' $(seq 100) >many.txt
run_ok bash -c 'gw-send --to Slow --lines --id slow <many.txt'
run_ok bash -c "head -n 5 many.txt | gw-send --to 'Dead*' --lines"
run_ok bash -c 'gw-send --to Good --lines --id good <many.txt'
start_daemon forwarder gw-send forward
mapfile -t ids < <(printf 'good-%s\n' $(seq 100))
run_ok gw-send wait --timeout 20s "${ids[@]}"
same 2 "$(requests slow)" "never more at once than the site's concurrency"
same "2 98" "$(gw-send status --json --to Slow | jq -r 'select(.site) | "\(.in_flight) \(.waiting)"')"
stop_daemon forwarder

# --- --max-transfers bounds all of them together ---
plan_site good 'slow 0.3'
queue-inspect purge site.Slow --all >/dev/null
run_ok bash -c 'head -n 12 many.txt | gw-send --to Good --lines'
rm -f good/log
run_ok gw-send forward --drain --max-transfers 2 --to Good
most=$(awk '/arrived/ {n++} /answered/ {n--} n > most {most = n} END {print most}' good/log)
same 2 "$most" "two at once"

# --- --rate ---
plan_site good '200 OK'
head -c 30000 /dev/zero >body.bin
for i in 1 2 3 4; do run_ok gw-send --to Good body.bin; done
start=$(date +%s%N)
run_ok gw-send forward --drain --rate 60000/s --to Good
took=$((($(date +%s%N) - start) / 1000000))
check "90,000 bytes before the last one take 1.5 s at 60,000/s ($took ms)" [ "$took" -ge 1400 ]

# --- outside of its window nothing goes to a site ---
hour=$((10#$(date +%H)))
window=$(printf '%02d:00-%02d:00' $(((hour + 2) % 24)) $(((hour + 3) % 24)))
write_config 'Endpoint="HQ"' "Key=\"Good\" Address=\"${URL[good]}\" ChannelType=\"http\" Window=\"$window\""
run_ok gw-send --to Good body.bin
before=$(requests good)
run_exit 75 gw-send forward --once
same "$before" "$(requests good)"
run_ok gw-send status --json
like "^not-ready 1 20..-..-..T$(printf '%02d' $(((hour + 2) % 24))):00:00" "$(jq -r 'select(.site) | "\(.state) \(.waiting) \(.next_try_at)"' <<<"$out")"

# --- a type for which there is no program: nothing begins, the messages stay ---
write_config 'Endpoint="HQ"' "Key=\"Good\" Address=\"${URL[good]}\" ChannelType=\"pigeon\""
run_exit 78 gw-send forward --drain
like "config.xml:2: site 'Good': channel type 'pigeon' .*gw-channel-pigeon" "$err"
done_testing
