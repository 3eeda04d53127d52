#!/usr/bin/env bash
# Replies: a handler's answer finds its way back over the gateway; what lies in E.gateway goes where its headers say.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

at() { # ROOT CMD...: with the queues of this site
  local root=$T/$1
  shift
  GW_ROOT=$root "$@"
}
count() { at "$1" queue-inspect list "$2" --all --json | wc -l; }
shown() { at "$1" queue-inspect show "$2" --all; } # ROOT QUEUE
reaches() { [ "$(count "$1" "$2")" = "$3" ]; }

GW_ROOT=$T/hq start_daemon hq gw-listen --endpoint HQ --channel http://127.0.0.1:0/HQ/
hq=${ready_line#ready }
GW_ROOT=$T/store start_daemon store gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
store=${ready_line#ready }

# --- there and back ---------------------------------------------------------------------------------------------------------
echo '{"ProductId":"Pear"}' | at hq gw-send --to Store1 --site Store1="$store" --type Prices.AskPrice --endpoint HQ --id ask-1 2>/dev/null >ask
run_ok at hq gw-send forward --once --site Store1="$store" --endpoint HQ
same '0' "$(count hq HQ.gateway)" 'the forwarder of an endpoint makes its gateway queue'
like "OriginatingSite: http,$hq" "$(shown store Store1)" 'where replies go: the listener of this root has told it'
conversation=$(shown store Store1 | sed -n 's/^NServiceBus.ConversationId: //p')
cat >answer <<'H'
#!/bin/sh
echo 4.20 | gw-send reply --type Prices.PriceAnswer --header X=y >>"$T/replies"
H
chmod +x answer
run_ok at store distributor worker --queue Store1 --drain -- ./answer
same 1 "$(count store Store1.gateway)" 'the answer waits in the gateway queue'
run_ok at store gw-send forward --once --reply-to-uri http://store.example/Store1/
same '0 1' "$(count store Store1.gateway) $(count hq HQ)"
reply=$(cat replies)
run_ok at hq queue-inspect show HQ "$reply" --json
printf '%s\n' "$out" >got.json
run_ok at hq python3 - got.json ask-1 http://store.example/Store1/ <<'PY'
import json, sys
message = json.load(open(sys.argv[1])); h = message["headers"]
n = lambda name: h.get("NServiceBus." + name)
assert n("MessageIntent") == "Reply" and n("RelatedTo") == sys.argv[2] and n("CorrelationId") == sys.argv[2], h
assert n("EnclosedMessageTypes") == "Prices.PriceAnswer" and h["X"] == "y" and message["body"] == "4.20\n", message
assert n("OriginatingSite") == "http," + sys.argv[3] and n("ReplyToAddress") == "HQ.gateway", h
assert h["RouteTo"] == "Store1.gateway" and n("To") == "" and n("Gateway.LegacyMode") == "True", h
assert n("OriginatingEndpoint") == "Store1" and len(n("ConversationId")) == 36 and "NServiceBus.DestinationSites" not in h, h
PY
same "$conversation" "$(at hq queue-inspect show HQ "$reply" | sed -n 's/^NServiceBus.ConversationId: //p')" 'one conversation'

echo thanks >thanks.txt
# An answer to the answer, outside of a handler. Its address is the store's real one again.
run_ok at hq queue-inspect take HQ
run_ok at hq queue-inspect put HQ --id "$reply" --header NServiceBus.CorrelationId=ask-1 --header NServiceBus.ReplyToAddress=HQ.gateway \
  --header "NServiceBus.OriginatingSite=http,$store" thanks.txt
echo thanks >thanks.txt
run_exit 64 at hq gw-send reply thanks.txt
like "outside of a handler '--of ID:QUEUE'" "$err"
run_exit 64 at hq gw-send reply --of "$reply" thanks.txt
run_exit 66 at hq gw-send reply --of nobody:HQ thanks.txt
run_exit 66 at hq gw-send reply --of "$reply:Nowhere" thanks.txt
run_ok at hq gw-send reply --of "$reply:HQ" --id thanks-1 thanks.txt
same thanks-1 "$out"
like 'no-forwarder' "$err"
run_ok at hq gw-send reply --of "$reply:HQ" --id thanks-1 thanks.txt
same 1 "$(count hq HQ.gateway)" 'the same id again is the same reply'
run_exit 75 at hq gw-send wait --timeout 0 thanks-1
like "message 'thanks-1' waits in a gateway queue" "$err"
at hq gw-send wait --timeout 20s -v thanks-1 >waited 2>&1 &
waiter=$!
run_ok at hq gw-send forward --drain
check 'wait comes back when the answer has arrived' wait "$waiter"
like 'delivered' "$(cat waited)"
same '0 1' "$(count hq HQ.gateway) $(count store Store1)"
run_ok at store queue-inspect show Store1 thanks-1
like "OriginatingSite: http,$hq" "$out" 'where it comes from, not where it went'
like 'CorrelationId: ask-1' "$out" 'still about the first question'
like "RelatedTo: $reply" "$out"
like 'Gatepost.FileName: thanks.txt' "$out"
run_ok at store queue-inspect take Store1

echo a >a.txt
echo q >q.txt
# Any local queue can be the address; nothing of the gateway's then.
run_ok at store queue-inspect create Client Work
run_ok at store queue-inspect put Work --id q1 --header NServiceBus.ReplyToAddress=Client@localhost q.txt
run_ok at store gw-send reply --of :1:Work a.txt
same 1 "$(count store Client)"
unlike 'RouteTo|OriginatingSite|LegacyMode' "$(shown store Client)"
like 'NServiceBus.ReplyToAddress: Work' "$(shown store Client)"
run_ok at store queue-inspect put Work --id q2 --header NServiceBus.ReplyToAddress=Client@elsewhere q.txt
run_exit 64 at store gw-send reply --of q2:Work a.txt
run_ok at store queue-inspect put Work --id q3 q.txt
run_exit 65 at store gw-send reply --of q3:Work a.txt
like "no header 'NServiceBus.ReplyToAddress'" "$err"
run_ok at store queue-inspect put Work --id q4 --header NServiceBus.ReplyToAddress=Gone q.txt
run_exit 66 at store gw-send reply --of q4:Work a.txt

# --- where messages of a gateway queue go -------------------------------------------------------------------------------------
start_site a
start_site b
write_config 'Endpoint="HQ"' "Key='A' Address='${URL[a]}' Groups='all'" "Key='B' Address='${URL[b]}'"
put() { at hq queue-inspect put HQ.gateway "$@" <a.txt >/dev/null; }
put --id both --header NServiceBus.DestinationSites=A,B
put --id none
put --id unknown --header NServiceBus.DestinationSites=A,X,Y
put --id lost --header NServiceBus.MessageIntent=Reply --header NServiceBus.DestinationSites=A
put --id odd --header NServiceBus.MessageIntent=Reply --header NServiceBus.OriginatingSite=nonsense
put --id files --header NServiceBus.MessageIntent=Reply --header NServiceBus.OriginatingSite=file,/etc
put --id raw --header "NServiceBus.DestinationSites=${URL[b]}raw/"
put --id known --header NServiceBus.MessageIntent=Reply --header "NServiceBus.OriginatingSite=Http,${URL[a]}NumberOfWorkerThreads=1Default=False"
run_exit 1 at hq gw-send forward --drain
same '2 2' "$(requests a) $(requests b)"
same 'A' "$(header "$(grep -l 'NServiceBus.Id: both' a/*.request)" NServiceBus.Header.NServiceBus.DestinationSites)" 'each copy has its own key'
check 'a reply goes through the outbox of a configured site with that address' grep -q 'NServiceBus.Id: known' a/*.request
check 'an address can be a key' grep -q 'NServiceBus.Id: raw' b/*.request
run_ok at hq queue-inspect list error --json --all
reason() { sed -n "s/.*\"id\":\"$1\".*\"reason\":\"\([^\"]*\)\".*/\1/p" <<<"$out"; }
same 5 "$(wc -l <<<"$out")" 'the rest is in the error queue'
same 'No destination found for message' "$(reason none)"
same 'No destination found for message' "$(reason lost)" 'a reply has no other destination than its origin'
same 'The following sites have not been configured: X, Y' "$(reason unknown)"
like "is not TYPE,ADDRESS: 'nonsense'" "$(reason odd)"
like "no site with the address 'file,/etc' is configured" "$(reason files)" 'senders choose HTTP addresses only'
like '"failed_queue":"HQ.gateway@' "$out"

# --- addresses that nobody has configured: retries, restarts --------------------------------------------------------------------
start_site far
plan_site far 502 '200 OK'
put --id far-1 --header NServiceBus.MessageIntent=Reply --header "NServiceBus.OriginatingSite=http,${URL[far]}"
GW_ROOT=$T/hq start_daemon forward gw-send forward --retry-increment 100ms
wait_until 10 arrivals far 2
wait_until 10 reaches hq "site.$(basename "$(find "$T/hq/queues" -name 'site.at-*' | grep -v raw)" | sed 's/^site.//')" 0
unlike 'Recoverable' "$(cat far/1.request)" 'the first attempt is as the original makes it'
like 'NServiceBus.Recoverable: True' "$(cat far/2.request)" 'the second one has what versions 3, 4 and 1 want'
plan_site far close
put --id far-2 --header NServiceBus.MessageIntent=Reply --header "NServiceBus.OriginatingSite=http,${URL[far]}"
wait_until 10 arrivals far 3
kill_daemon forward
plan_site far '200 OK'
GW_ROOT=$T/hq start_daemon forward gw-send forward --retry-increment 100ms
sent() { grep -qs 'NServiceBus.Id: far-2' far/[4-9].request; }
wait_until 10 sent
put --id late --header NServiceBus.DestinationSites=all
put --id now --header NServiceBus.DestinationSites=A
wait_until 10 arrivals a 3
pass 'a running forwarder takes what comes'
at hq queue-inspect create New.gateway
at hq queue-inspect put New.gateway --header NServiceBus.DestinationSites=B <a.txt >/dev/null
wait_until 10 arrivals b 3
pass 'also from a gateway queue that is new'
stop_daemon forward

# An outbox that takes nothing holds up only its own messages.
run_ok at hq queue-inspect hold site.A --puts
put --id held --header NServiceBus.DestinationSites=A
put --id free --header NServiceBus.DestinationSites=B
run_exit 75 at hq gw-send forward --once
same '1 4' "$(count hq HQ.gateway) $(requests b)"
run_ok at hq queue-inspect release site.A

# With --to what is for unknown sites stays for others.
put --id strange --header NServiceBus.DestinationSites=Strange
run_exit 75 at hq gw-send forward --once --to B
run_ok at hq queue-inspect list HQ.gateway --json --all
like 'strange' "$out"

# --- how others reach this site ------------------------------------------------------------------------------------------------
# A wildcard channel is told by the name of the host; a running forwarder hears of a listener's address.
start_site watch
export GW_ROOT=$T/wild GW_CONFIG=''
start_daemon forward2 gw-send forward --site W="${URL[watch]}"
start_daemon wild gw-listen --endpoint HQ --channel http://+:0/HQ/
like 'reply-address-guessed.*reply_to_uri=http://' "$(cat wild.err)"
wild=${ready_line#ready } wild=${wild/+/$(uname -n)}
sees() { # OriginatingSite
  gw-send -q --site W="${URL[watch]}" --to W a.txt >/dev/null
  sleep 0.1
  grep -hqsE "^NServiceBus.Header.NServiceBus.OriginatingSite: $(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote_plus("http," + sys.argv[1]))' "$1")." "$T"/watch/*.request
}
wait_until 15 sees "$wild"
stop_daemon wild
start_daemon told gw-listen --endpoint HQ --channel http://+:0/HQ/ --reply-to-uri https://hq.example/HQ/
same '' "$(grep guessed told.err)"
wait_until 15 sees https://hq.example/HQ/
stop_daemon told
stop_daemon forward2
cat >wild.xml <<X
<gatepost><Gateway Endpoint="HQ"><Sites><Site Key="W" Address="${URL[watch]}"/></Sites><Channels><Channel Address="http://localhost:7/HQ/"/>
<Channel Address="http://*:8/HQ/" Default="true"/></Channels></Gateway></gatepost>
X
run_ok gw-send --config wild.xml -q --to W a.txt
run_ok gw-send --config wild.xml forward --once
like 'reply-address-guessed.*address=http://\*:8/HQ/' "$err"
check 'the default channel, by the name of the host' sees "http://$(uname -n):8/HQ/"
for bad in http://+:1/x/ 'http://*/' hq.example; do
  run_exit 64 gw-listen --endpoint HQ --channel http://127.0.0.1:0/HQ/ --reply-to-uri "$bad"
  run_exit 64 gw-send forward --once --reply-to-uri "$bad"
done
sed -i 's|Default="true"|& ReplyToUri="http://+:1/"|' wild.xml
run_exit 78 gw-send --config wild.xml forward --once
like 'wild.xml:2: ReplyToUri=' "$err"

stop_daemon hq
stop_daemon store
run_ok at hq queue-inspect check
run_ok at store queue-inspect check
done_testing
