#!/bin/bash
# gw-send --to: what is stored where, and what is refused before anything is stored.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

write_config 'Endpoint="HQ"' \
  'Key="Store1" Address="http://127.0.0.1:1/Store1/" ChannelType="http" Groups="stores,north"' \
  'Key="Store2" Address="http://127.0.0.1:2/Store2/" ChannelType="http" Groups="stores"' \
  'Key="Depot" Address="http://127.0.0.1:3/Depot/" ChannelType="http"'

waiting() { queue-inspect list --json | jq -r --arg q "site.$1" 'select(.queue == $q) | .ready'; }

# --- unknown sites: before anything is stored ---
run_exit 64 gw-send --to Store1,Nowhere,Mars
like 'the following sites have not been configured: Nowhere, Mars' "$err"
check_not "no root was made" test -e "$GW_ROOT"
run_exit 64 gw-send --to 'X*'
run_exit 64 gw-send
like '\-\-to' "$err"

# --- keys, patterns, groups; one copy each, same id ---
printf 'a price' >price.txt
run_ok gw-send --to 'Store*' --type Prices.PriceUpdated price.txt
id=$out
like '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' "$id" "prints a UUID"
like 'no-forwarder.*gw-send forward' "$err" "says that nobody forwards"
for store in Store1 Store2; do
  same "1" "$(waiting $store)" "one message for $store"
  run_ok queue-inspect show "site.$store" --all --json
  same "$id $store a price HQ Send price.txt" "$(jq -r '[.id, .headers["NServiceBus.DestinationSites"], .body,
    .headers["NServiceBus.OriginatingEndpoint"], .headers["NServiceBus.MessageIntent"], .headers["Gatepost.FileName"]] | join(" ")' <<<"$out")"
done
run_ok gw-send --to stores,Depot,Store1 price.txt
same "2 2 1" "$(waiting Store1) $(waiting Store2) $(waiting Depot)" "group and keys, each site once"

run_ok gw-send --to Depot --to north,Store2 --dry-run --json price.txt
same 'Store1 Store2 Depot' "$(jq -r .site <<<"$out" | xargs)" "--to may be repeated"
run_exit 64 gw-send prices
like "'prices'" "$err" "a usage error names the word"

# --- json ---
run_ok gw-send --to north --json --ttl 1h --delay 5m price.txt
same '["Store1"] ["site.Store1"] 7 false' "$(jq -c '.sites, .queues, .body_bytes, .existed' <<<"$out" | paste -sd' ')"
like '^20.*T.*Z 20.*T.*Z 20.*T.*Z$' "$(jq -r '[.stored_at, .expires_at, .due_at] | join(" ")' <<<"$out")" "times"

# --- same id ---
run_ok gw-send --to stores --id order-1 price.txt
same "order-1" "$out"
run_ok gw-send --to stores --id order-1 --json price.txt
same "true" "$(jq .existed <<<"$out")" "the same again is no new message"
echo other >other.txt
run_exit 65 gw-send --to stores,Depot --id order-1 other.txt
same "3 1" "$(waiting Store2) $(waiting Depot)" "another body: nothing stored, not even where the id is new"

# --- refused ---
run_exit 65 gw-send --to Store1 --header NServiceBus.MessageIntent=Publish price.txt
like 'instance-map publish' "$err"
many=()
for i in $(seq 70); do many+=(--header "H$i=x"); done
run_exit 65 gw-send --to Store1 "${many[@]}" price.txt
like 'httpvnext' "$err"
run_exit 65 gw-send --to Store1 --header "Big=$(printf 'x%.0s' $(seq 17000))" price.txt
run_exit 66 gw-send --to Store1 missing.txt
run_exit 64 gw-send --to Store1 --wait accepted price.txt
run_exit 64 gw-send --to Store1 --timeout 5s price.txt
run_exit 74 bash -c 'gw-send --to Depot price.txt >/dev/full'

# --- streams ---
printf 'one\ntwo\n\nthree' >lines.txt
run_ok bash -c 'gw-send --to Depot,Store2 --lines --id batch --ids <lines.txt'
same "batch-1 batch-2 batch-3 batch-4" "$(paste -sd' ' <<<"$out")"
run_ok bash -c 'queue-inspect take site.Depot batch-1 batch-2 batch-3 batch-4 --lines'
same "one two  three" "$(paste -sd' ' <<<"$out")"

# --- the original's configuration, and sites from the command line ---
cat >gateway.config <<'X'
<?xml version="1.0"?>
<configuration>
  <configSections><section name="GatewayConfig" type="NServiceBus.Config.GatewayConfig, NServiceBus.Core" /></configSections>
  <GatewayConfig><Sites><Site Key="SiteA" Address="http://127.0.0.1:9/SiteA/" ChannelType="Http"/></Sites></GatewayConfig>
</configuration>
X
run_ok gw-send --config gateway.config --to SiteA price.txt
same 1 "$(waiting SiteA)"
run_ok gw-send --config gateway.config --site Extra=http://127.0.0.1:8/x/ --to SiteA,Extra price.txt
same "2 1" "$(waiting SiteA) $(waiting Extra)"
run_exit 64 gw-send --site Extra --to Extra price.txt

# --- a big body is stored once for all sites ---
head -c 3000000 /dev/zero >big.bin
before=$(du -sk "$GW_ROOT" | cut -f1)
run_ok gw-send --to 'Store*,Depot' big.bin
check "one copy on disk" [ $(($(du -sk "$GW_ROOT" | cut -f1) - before)) -lt 5000 ]

# --- the path of a one-shot command ---
run_ok env LD_DEBUG=libs gw-send --to Depot price.txt
unlike 'lib(curl|ssl|crypto)\.so' "$err" "loads neither libcurl nor OpenSSL"

# An empty variable is not "do not wait".
run_exit 64 gw-send --to A --site A=http://127.0.0.1:1/ --wait '' /dev/null
like '^gw-send: --wait: the value is empty' "$err"
run_exit 64 gw-send wait --timeout '' some-id
run_exit 66 gw-send --to A --site A=http://127.0.0.1:1/ --from-dir "$SRC/README.md"
like 'is no directory' "$err"
done_testing
