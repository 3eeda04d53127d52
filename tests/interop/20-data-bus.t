#!/bin/bash
# A data bus property of 20 MB from the real gateway and to it.
# timeout: 120
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"
. "$SRC/tests/interop/interop.sh"

start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
store_url=${ready_line#ready }
twin_url=$(gateway_url "$(free_port)" Store1)
start_nservicebus twin Store1 --listen "$twin_url"
start_nservicebus hq HQ --listen "$(gateway_url "$(free_port)" HQ)" --site "Ours=$store_url" --site "Real=$twin_url"

head -c 20971520 /dev/urandom >prices.bin
tell hq "$(jq -nc --arg file "$T/prices.bin" '{do: "send", sites: ["Ours", "Real"], type: "PriceFile", text: "all prices", $file}')"
arrived() { queue-inspect list Store1 --json | grep -q '"state":"ready"'; }
wait_until 30 arrived
wait_until 30 handled_count twin 1 '^all prices$'
sum=$(sha256sum <prices.bin)
same "20971520 ${sum%% *}" "$(handled twin -r '"\(.bytes) \(.sha256)"')" 'the real one has its property'
queue-inspect show Store1 --all --json >got.json
handled twin '{id, headers, text}' >twin.json
run_ok python3 - twin.json got.json prices.bin <<'PY'
import base64, json, os, sys
theirs, ours = (json.loads(open(name, encoding="utf-8").readline()) for name in sys.argv[1:3])
prefix = "NServiceBus.DataBus."
key = next(name for name in ours["headers"] if name.startswith(prefix))
assert theirs["id"] == ours["id"] and theirs["headers"].keys() == ours["headers"].keys(), (theirs, ours)
different = {name for name, value in ours["headers"].items() if theirs["headers"][name] != value}
# Every listener stores the property under a key of its own.
assert different == {key, "NServiceBus.ReplyToAddress", "NServiceBus.DestinationSites"}, different
assert json.loads(ours["body"])["Content"]["Key"] == key.removeprefix(prefix)
# What it writes is the property as JSON.
blob = json.load(open(os.environ["GW_ROOT"] + "/databus/" + ours["headers"][key]))
assert base64.b64decode(blob) == open(sys.argv[3], "rb").read()
PY
run_ok queue-inspect take Store1
no_blobs() { [ -z "$(find "$1/databus" -type f)" ]; }
wait_until 15 no_blobs "$GW_ROOT"

# --- and back: what it reads is the property as JSON, named by the body's Key ---
{ printf '"'; base64 -w 0 prices.bin; printf '"'; } >prices.json
echo '{"Text":"prices from afar","Content":{"Key":"prices","HasValue":true}}' >body.json
write_config 'Endpoint="HQ"' "Key=\"Ours\" Address=\"$store_url\" ChannelType=\"http\"" "Key=\"Real\" Address=\"$twin_url\" ChannelType=\"http\""
run_ok gw-send --root "$T/hq-root" --to Ours,Real --attach prices=prices.json --content-type application/json \
  --type 'Shop.PriceFile, endpoint, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null' --id file-1 body.json
RUN_TIMEOUT=100 run_ok gw-send --root "$T/hq-root" forward --drain
wait_until 30 handled_count twin 1 '^prices from afar$'
same "20971520 ${sum%% *}" "$(handled twin -r 'select(.id == "file-1") | "\(.bytes) \(.sha256)"')" 'the real one has the property'
queue-inspect show Store1 --all --json >got.json
handled twin 'select(.id == "file-1") | {id, headers, text}' >twin.json
run_ok python3 - twin.json got.json prices.json <<'PY'
import filecmp, json, sys
theirs, ours = (json.loads(open(name, encoding="utf-8").readline()) for name in sys.argv[1:3])
assert theirs["headers"].keys() == ours["headers"].keys(), (theirs, ours)
different = {name for name, value in ours["headers"].items() if theirs["headers"][name] != value}
assert different == {"NServiceBus.DataBus.prices", "NServiceBus.ReplyToAddress", "NServiceBus.DestinationSites"}, different
path = ours["attachments"][0]["path"]
assert ours["attachments"][0]["key"] == "prices" and path.endswith(ours["headers"]["NServiceBus.DataBus.prices"]), ours
assert filecmp.cmp(path, sys.argv[3], shallow=False)
PY

# --- a second attempt asks first: the real one says what it lacks, then gets it ---
start_site between
plan_site between '503 Busy' "pass $twin_url"
write_config 'Endpoint="HQ" RetryIncrement="100ms"' "Key=\"Real\" Address=\"${URL[between]}\" ChannelType=\"http\""
echo '"QUJD"' >small.json
run_ok gw-send --root "$T/hq-root" --to Real --attach prices=small.json --content-type application/json \
  --type 'Shop.PriceFile, endpoint, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null' --id file-2 body.json
RUN_TIMEOUT=100 run_ok gw-send --root "$T/hq-root" forward --drain
wait_until 30 handled_count twin 2 '^prices from afar$'
same "3 $(printf ABC | sha256sum | cut -d ' ' -f 1)" "$(handled twin -r 'select(.id == "file-2") | "\(.bytes) \(.sha256)"')"
same 'SingleCallDatabusProperty SingleCallSubmit SingleCallDatabusProperty SingleCallSubmit' \
  "$(for n in 1 2 3 4; do header "between/$n.request" NServiceBus.CallType; done | xargs)" 'refused, asked, sent, submitted'
same 4 "$(requests between)"
wait_until 15 no_blobs "$T/hq-root"
stop_nservicebus twin
stop_nservicebus hq
stop_daemon listen
done_testing
