#!/bin/bash
# A data bus property of 20 MB from the real gateway.
# timeout: 120
. "$(dirname "$0")/../lib.sh"
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
stop_nservicebus twin
stop_nservicebus hq
stop_daemon listen
done_testing
