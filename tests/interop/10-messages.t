#!/bin/bash
# Plain messages to and from the real gateway, and what each side makes of the same request, header by header.
# timeout: 120
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"
. "$SRC/tests/interop/interop.sh"

hq_url=$(gateway_url "$(free_port)" HQ)
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
store_url=${ready_line#ready }
start_site between
plan_site between "pass $store_url"
start_nservicebus hq HQ --listen "$hq_url" --site "Store1=${URL[between]}"

# --- NServiceBus sends, Gatepost receives ---
tell hq '{"do":"send","sites":["Store1"],"type":"PriceUpdated","text":"Grün & \"quoted\" ~ 50%+1 €"}'
tell hq '{"do":"send","sites":["Store1"],"type":"PriceUpdated","text":"number {0}","count":20}'
arrived() { [ "$(queue-inspect list Store1 --json | grep -c '"state":"ready"')" -ge "$1" ]; }
wait_until 20 arrived 21
queue-inspect show Store1 --all --json >got.json
same 'Grün & "quoted" ~ 50%+1 €' "$(jq -r '.body | fromjson.Text' got.json | grep -v '^number')"
same "$(for i in {1..20}; do echo "number $i"; done | sort)" "$(jq -r '.body | fromjson.Text' got.json | grep '^number' | sort)"

# The same bytes to a real listener: what its handler gets is what we deliver.
twin_url=$(gateway_url "$(free_port)" Store1)
start_nservicebus twin Store1 --listen "$twin_url"
plan_site between "pass $twin_url"
sed -i '1s,/site/,/Store1/,' "$T"/between/*.request
replay() {
  local port=${twin_url#http://localhost:}
  python3 "$SRC/tests/rawhttp.py" "${port%%/*}" --host "localhost:${port%%/*}" "$@"
}
replay "$T"/between/*.request >replayed
same 21 "$(grep -c '	200	OK' replayed)" 'a real listener takes them too'
wait_until 20 handled_count twin 21
handled twin '{id, headers, text}' >twin.json
run_ok python3 - twin.json got.json <<'PY'
import json, sys
theirs = {m["id"]: m for m in map(json.loads, open(sys.argv[1], encoding="utf-8"))}
ours = {m["id"]: m for m in map(json.loads, open(sys.argv[2], encoding="utf-8"))}
assert len(ours) == 21 and theirs.keys() == ours.keys(), (theirs.keys(), ours.keys())
for id, message in theirs.items():
    # Its transport writes the queue of a gateway with a dash.
    assert message["headers"]["NServiceBus.ReplyToAddress"] == "Store1-gateway"
    message["headers"]["NServiceBus.ReplyToAddress"] = "Store1.gateway"
    assert message["headers"] == ours[id]["headers"], (message["headers"], ours[id]["headers"])
    assert message["text"] == json.loads(ours[id]["body"])["Text"]
PY

# --- Gatepost sends, NServiceBus receives ---
start_daemon peer gw-listen --root "$T/peer" --endpoint Store1 --channel http://127.0.0.1:0/Store1/
write_config 'Endpoint="HQ"' "Key=\"Real\" Address=\"$twin_url\" ChannelType=\"http\"" "Key=\"Peer\" Address=\"${ready_line#ready }\" ChannelType=\"http\""
type='Shop.PriceUpdated, endpoint, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null'
printf '{"Text":"Gr\303\274n & ~ 50%%+1"}' >body.json
run_ok gw-send --to Real,Peer --type "$type" --content-type application/json --header 'Note=50% ~ "quoted" +1 = €, (x)!*' --header 'Empty=' \
  --header 'traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' --id one body.json
run_ok bash -c "for i in {1..30}; do echo '{\"Text\":\"line '\$i'\"}'; done | gw-send --to Real,Peer --type '$type' --content-type application/json --lines --id many -q"
run_ok gw-send --to Real --type "$type" --content-type application/json --ttl 1h --id ttl body.json
run_ok gw-send forward --drain
wait_until 20 handled_count twin 30 '^line'
wait_until 20 handled_count twin 2 '^Grün & ~ 50%\+1$'
handled twin 'select(.id | test("^(one|many)"))' >real.json
queue-inspect show Store1 --root "$T/peer" --all --json >peer.json
run_ok python3 - real.json peer.json <<'PY'
import json, sys
theirs = {m["id"]: m for m in map(json.loads, open(sys.argv[1], encoding="utf-8"))}
ours = {m["id"]: m for m in map(json.loads, open(sys.argv[2], encoding="utf-8"))}
assert len(ours) == 31 and theirs.keys() == ours.keys(), (sorted(theirs), sorted(ours))
for id, message in theirs.items():
    headers = message["headers"]
    assert headers.pop("NServiceBus.ReplyToAddress") == "Store1-gateway"
    assert ours[id]["headers"].pop("NServiceBus.ReplyToAddress") == "Store1.gateway"
    # One copy each: its own site, and when it was taken for sending is not in it.
    assert headers.pop("NServiceBus.DestinationSites") == "Real" and ours[id]["headers"].pop("NServiceBus.DestinationSites") == "Peer"
    assert headers == ours[id]["headers"], (headers, ours[id]["headers"])
    assert message["text"] == json.loads(ours[id]["body"])["Text"]
note = theirs["one"]["headers"]
assert note["Note"] == '50% ~ "quoted" +1 = €, (x)!*' and note["Empty"] == "" and note["traceparent"].startswith("00-0af7651916cd"), note
PY
stop_daemon peer
stop_nservicebus twin
stop_nservicebus hq
stop_daemon listen
done_testing
