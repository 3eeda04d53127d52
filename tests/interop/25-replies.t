#!/bin/bash
# Request and reply with the real gateway in both directions; a reply of ours beside one of its own, header by header.
# timeout: 150
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"
. "$SRC/tests/interop/interop.sh"

# Two stores, one of each kind, under one name; an answering handler in ours.
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
ours=${ready_line#ready }
real=$(gateway_url "$(free_port)" Store1)
hq=$(gateway_url "$(free_port)" HQ)
start_nservicebus store Store1 --listen "$real"
start_nservicebus hq HQ --listen "$hq" --site "Ours=$ours" --site "Real=$real"
cat >answer <<'H'
#!/bin/bash
text=$(jq -r .Text)
jq -nc --arg text "answer to $text" '{Text: $text}' |
  exec gw-send -q reply --content-type application/json --type 'Shop.PriceAnswer, endpoint, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null'
H
chmod +x answer
start_daemon worker distributor worker --queue Store1 -- ./answer
start_daemon forward gw-send forward --endpoint Store1

# compare OURS THEIRS: replies to one request, one JSON object a line each {headers, text}
cat >compare.py <<'PY'
import json, sys
ours, theirs = (json.loads(open(name, encoding="utf-8").readline()) for name in sys.argv[1:3])
assert ours["text"] == theirs["text"], (ours, theirs)
# What only a .NET process has.
for name in "$.diagnostics.originating.hostid", "NServiceBus.Version", "NServiceBus.OpenTelemetry.StartNewTrace":
    theirs["headers"].pop(name, None)
# Its transport writes the queue of a gateway with a dash.
dotted = lambda value: value.replace("-gateway", ".gateway")
own = {"NServiceBus.MessageId", "NServiceBus.TimeSent", "NServiceBus.OriginatingMachine", "NServiceBus.OriginatingSite"}
a, b = ours["headers"], theirs["headers"]
assert a.keys() == b.keys(), (sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys()))
different = {name: (a[name], b[name]) for name in a if name not in own and dotted(a[name]) != dotted(b[name])}
assert not different, different
for h in a, b:
    assert h["NServiceBus.RelatedTo"] == h["NServiceBus.CorrelationId"] != h["NServiceBus.MessageId"], h
PY

# --- NServiceBus asks, both answer ---
tell hq '{"do":"send","sites":["Ours","Real"],"type":"AskPrice","text":"pears"}'
wait_until 40 handled_count hq 2 '^answer to pears$'
handled hq 'select(.headers["NServiceBus.OriginatingSite"] | contains("127.0.0.1")) | {headers, text}' >by-us.json
handled hq 'select(.headers["NServiceBus.OriginatingSite"] | contains("localhost")) | {headers, text}' >by-it.json
same '1 1' "$(wc -l <by-us.json) $(wc -l <by-it.json)" 'one answer each, with the address of who answered'
run_ok python3 compare.py by-us.json by-it.json
tell hq '{"do":"send","sites":["Ours"],"type":"AskPrice","text":"pear {0}","count":50}'
wait_until 60 handled_count hq 50 '^answer to pear [0-9]+$'
same 50 "$(handled hq -r .text | grep '^answer to pear ' | sort -u | wc -l)" 'each answer once'

# --- Gatepost asks, both answer ---
start_daemon asker gw-listen --root "$T/asker" --endpoint HQ --channel http://127.0.0.1:0/HQ/
write_config 'Endpoint="HQ"' "Key=\"Ours\" Address=\"$ours\" ChannelType=\"http\"" "Key=\"Real\" Address=\"$real\" ChannelType=\"http\""
run_ok gw-send --root "$T/asker" --to Ours,Real --content-type application/json --type 'Shop.AskPrice, endpoint, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null' \
  --id ask-1 - <<<'{"Text":"apples"}'
run_ok gw-send --root "$T/asker" forward --drain
answers() { [ "$(queue-inspect list HQ --root "$T/asker" --json | wc -l)" -ge "$1" ]; }
wait_until 40 answers 2
queue-inspect show HQ --all --json --root "$T/asker" | jq -c '{headers, text: (.body | fromjson.Text)}' >got.json
grep '"NServiceBus.OriginatingSite":"http,http://127' got.json >by-us.json
grep '"NServiceBus.OriginatingSite":"http,http://localhost' got.json >by-it.json
run_ok python3 compare.py by-us.json by-it.json
like '"text":"answer to apples"' "$(cat by-it.json)"
run_ok queue-inspect list error --json
same '' "$out"

stop_daemon asker
stop_daemon forward
stop_daemon worker
stop_nservicebus hq
stop_nservicebus store
stop_daemon listen
done_testing
