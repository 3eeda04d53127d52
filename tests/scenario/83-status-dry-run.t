#!/bin/bash
# gw-send status in every state of a site, and what gw-send --dry-run shows.
# timeout: 60
. "$(dirname "$0")/../lib.sh"

# A window that is closed now, and opens in two hours.
opens=$(date -u -d '+2 hours' +%H:%M) closes=$(date -u -d '+3 hours' +%H:%M)
start_daemon store gw-listen --root "$T/store" --endpoint Store1 --channel http://127.0.0.1:0/Store1/
url=${ready_line#ready }
dead=$(free_port)
cat >config.xml <<END
<gatepost>
  <Gateway Endpoint="HQ" Outages="wait">
    <Sites>
      <Site Key="Up" Address="$url" Groups="all"/>
      <Site Key="Down" Address="http://127.0.0.1:$dead/" Groups="all"/>
      <Site Key="Night" Address="$url" Groups="all" Window="$opens-$closes"/>
      <Site Key="Held" Address="$url" Groups="all" Window="$opens-$closes"/>
    </Sites>
  </Gateway>
</gatepost>
END
export GW_CONFIG=$T/config.xml
of() { gw-send status --json | jq -c --arg s "$1" "select(.site == \$s) | $2"; }

# --- dry run: nothing is made, not even the root ------------------------------------------------------------------------
echo hello >file.txt
run_ok gw-send -n --to 'Up,Ni*' --type Shop.Price --header A=1 --ttl 1h file.txt
same "Up	http	$url	always	6" "$(head -n 1 <<<"$out")" "key, type, address, window, size"
like "^Night	http	$url	$opens-$closes	6$" "$out"
same 2 "$(grep -c '^NServiceBus.EnclosedMessageTypes: Shop.Price$' <<<"$out")" "the headers of each"
same "Up Night" "$(sed -n 's/^NServiceBus.DestinationSites: //p' <<<"$out" | xargs)" "each copy names its own site"
like '^NServiceBus.OriginatingEndpoint: HQ$' "$out"
like '^NServiceBus.TimeToBeReceived: 01:00:00$' "$out"
like '^Gatepost.FileName: file.txt$' "$out"
check_not "no root directory" [ -e "$GW_ROOT" ]
run_ok gw-send --dry-run --to Up --json --unique --type T file.txt
same "{\"site\":\"Up\",\"channel_type\":\"http\",\"address\":\"$url\",\"body_bytes\":6}" "$(jq -c '{site,channel_type,address,body_bytes}' <<<"$out")"
run_ok gw-send --to Up --unique --type T file.txt
same "$out" "$(gw-send -n --json --to Up --unique --type T file.txt | jq -r '.headers["NServiceBus.MessageId"]')" "the id is the real one"
run_exit 64 gw-send -n --to Nobody file.txt
run_exit 64 gw-send -n --to Up --lines
many=()
for i in {1..60}; do many+=(--header "H$i=1"); done
for dry in --dry-run ''; do
  # shellcheck disable=SC2086 # nothing if empty
  run_exit 65 gw-send $dry --to Up "${many[@]}" file.txt
  like '69 headers.*http carries 63; the channel type httpvnext carries more' "$err"
done
run_exit 65 gw-send -n --to Up --header "Big=$(printf '%%%.0s' {1..6000})" file.txt
like 'httpvnext' "$err"

# --- status -------------------------------------------------------------------------------------------------------------
run_ok gw-send status
same "forwarder: NOT RUNNING" "$(head -n 1 <<<"$out")"
like '^SITE +STATE +WAITING +BYTES +OLDEST +IN-FLIGHT +LAST-DELIVERED +NEXT-TRY +LAST-ERROR$' "$out"
same "Up Down Night Held" "$(sed '1,2d' <<<"$out" | cut -d' ' -f1 | xargs)"
run_ok gw-send status --json
same '{"kind":"forwarder"}' "$(head -n 1 <<<"$out")" "absent means there is none"

start_daemon forward gw-send forward
run_ok gw-send --to Up --wait delivered --timeout 10s file.txt
run_ok gw-send --to all -q file.txt
run_ok gw-send --to Down --delay 1h file.txt
run_ok queue-inspect hold site.Held --reason 'no'
run_ok gw-send --to Held file.txt
down() { [ "$(of Down .state)" = '"down"' ]; }
wait_until 15 down
gone() { [ "$(of Up .waiting,.in_flight | xargs)" = "0 0" ]; }
wait_until 10 gone
run_ok gw-send status
like "^forwarder: pid ${DAEMON[forward]} since 2" "$(head -n 1 <<<"$out")"
run_ok gw-send status --json
same "[\"forwarder\",${DAEMON[forward]}]" "$(head -n 1 <<<"$out" | jq -c '[.kind,.pid]')"
check "since when" jq -es '.[0].since_at | fromdateiso8601? // (sub("\\.[0-9]+";"") | fromdateiso8601)' <<<"$out"
same '["up",0,true,false,false]' "$(of Up '[.state,.waiting,has("last_delivered_at"),has("next_try_at"),has("oldest_s")]')"
same '["down",2,12,true]' "$(of Down '[.state,.waiting,.waiting_bytes,has("next_try_at")]')" "deferred ones wait too"
like 'Failed to connect|refused' "$(of Down .last_error)"
same "[\"not-ready\",1,\"$opens\"]" "$(of Night '[.state,.waiting,.next_try_at[11:16]]')" "a closed window says when it opens"
same '["held",2]' "$(of Held '[.state,.waiting]')" "held wins"
same "$url http" "$(of Up '.address,.channel_type' | tr -d '"' | xargs)"
same '["kind","site","address","channel_type","state","waiting","waiting_bytes","oldest_s","in_flight","next_try_at","last_error"]' "$(of Down keys_unsorted)"

# Limits print what exceeds one.
run_exit 1 gw-send status --max-count 1 --json
same "Down Held" "$(jq -r .site <<<"$out" | xargs)"
run_ok gw-send status --max-count 2
same "" "$out" "nothing to print"
run_exit 1 gw-send status --max-age 1ms --to 'Ni*' --json
same Night "$(jq -r .site <<<"$out")"
run_ok gw-send status --max-age 1h
run_exit 1 gw-send status --min-free 1000T
like '^free: ' "$out"
run_exit 64 gw-send status --max-age soon
run_exit 64 gw-send status --to Nobody

# A site that is configured no more is shown as long as it has an outbox.
sed -i '/Key="Night"/d' config.xml
wait_until 10 grep -q config-read forward.err
same '["the site is not configured",1]' "$(of Night '[.last_error,.waiting]')"
stop_daemon forward
stop_daemon store
done_testing
