#!/usr/bin/env bash
# Each recorded request gets the real gateway's answer, or the one that we think is right; what is delivered equals what its handler got.
. "$(dirname "$0")/../lib.sh"

answers=$SRC/tests/data/wire/answers
http() { python3 "$SRC/tests/rawhttp.py" "$@"; }

start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")
like '^ready http://127\.0\.0\.1:[1-9][0-9]*/Store1/$' "$ready_line" 'one ready line, port resolved'

http "$port" --host "localhost:$port" --reason "$answers"/*.request >got

# What is not like the original, and why: the table in gw-listen(1).
declare -A ours=(
  [07-call-type-number-0]="400 Invalid CallType '0'. CallTypes supported 'SingleCallSubmit, SingleCallDatabusProperty'"
  [08-call-type-number-7]="400 Invalid CallType '7'. CallTypes supported 'SingleCallSubmit, SingleCallDatabusProperty'"
  [09-legacy-submit]='200 OK'
  [10-legacy-ack]='200 OK'
  [15-no-correlation-id]='200 OK'
  [21-callback-ok]='403 messages in query strings and callbacks are not accepted here'
  [22-callback-error]='403 messages in query strings and callbacks are not accepted here'
  [23-callback-script]='403 messages in query strings and callbacks are not accepted here'
  [24-get-bare]='200 <html><body>EndpointName:Store1 - Status: Ok</body></html>'
  [25-head-bare]='200 -'
  [26-get-query-message]='403 messages in query strings and callbacks are not accepted here'
  [27-query-overrides-header]='403 messages in query strings and callbacks are not accepted here'
  [35-submit-both-again]='200 OK'
  [38-ttbr-garbage]="400 Invalid header 'NServiceBus.TimeToBeReceived': not a time span (hh:mm:ss)."
  [39-header-same-after-decoding]="400 header 'X-A' is there twice"
  [40-header-repeated]="400 header 'NServiceBus.Header.Dup' is there twice"
  [43-id-long-300]="400 header 'NServiceBus.Id' has more than 255 bytes"
  [46-put-method]='405 Method Not Allowed'
)
while IFS=$'\t' read -r name status text closed reason _; do
  expected=${ours[$name]-}
  if [ -z "$expected" ]; then
    first=$(head -n 1 "$answers/$name.response" | tr -d '\r')
    expected_status=${first#HTTP/1.1 } expected_status=${expected_status%% *}
    case $name in
      47-* | 50-*) expected="404 <h1>Not Found (Not Found)</h1>" ;;
      *) expected="$expected_status ${first#HTTP/1.1 "$expected_status" }" ;;
    esac
    same "reason=${first#HTTP/1.1 "$expected_status" }" "$reason" "$name: the status line's reason"
  fi
  same "$expected" "$status $text" "$name: $expected"
  if [ "$status" -ge 400 ]; then same closed "$closed" "$name: an error closes the connection"; else
    same open "$closed" "$name: the connection stays open"
  fi
done <got
same 50 "$(wc -l <got)" '50 answers'

queue-inspect show Store1 --all --json >delivered
run_ok python3 - "$answers/delivered.jsonl" delivered <<'PY'
import json, sys
original = {}
for line in open(sys.argv[1], encoding="utf-8"):
    headers = json.loads(line)
    headers["NServiceBus.ReplyToAddress"] = "Store1.gateway"
    original[headers["NServiceBus.MessageId"]] = headers
ours = {}
for line in open(sys.argv[2], encoding="utf-8"):
    message = json.loads(line)
    assert message["id"] not in ours, message["id"]
    ours[message["id"]] = message["headers"]
# 07, 21, 23, 27, 38, 40, 43 and 46 are refused here, the web client's message too.
refused = {i for i in original if i in ("id-6", "id-19", "id-21", "id-22", "id-28", "id-30", "id-33") or i.startswith("xxx") or "-" not in i + "/" and i not in ours}
refused |= {i for i, h in original.items() if h.get("Message")}
compared = 0
for i, headers in original.items():
    if i in refused:
        assert i not in ours, f"{i} was delivered"
        continue
    assert ours.get(i) == headers, f"{i}:\n{ours.get(i)}\n{headers}"
    compared += 1
assert compared >= 8, compared
# Those that the original lost or could not deserialize.
assert ours["id-13"]["NServiceBus.CorrelationId"] == "id-13"
assert ours["id-15"] == {**ours["id-1"], "NServiceBus.MessageId": "id-15", "NServiceBus.CorrelationId": "id-15"}
assert ours["id-14"]["NServiceBus.Header.NServiceBus.MessageIntent"] == "Send" and ours["id-14"]["Host"].startswith("localhost")
assert set(ours) == {"id-1", "id-10", "id-13", "id-14", "id-15", "id-16", "id-17", "id-18", "id-25", "id-27", "id-31", "id-32", "id-35", "id-36", "id-8", "../../etc/passwd"}, sorted(ours)
# The blobs of a message have keys of ours, and are what came; NServiceBus 3's message is released.
import os, re
def body(name):
    return open(f"{os.path.dirname(sys.argv[1])}/{name}.request", "rb").read().split(b"\r\n\r\n", 1)[1]
keys = {n: v for n, v in ours["id-25"].items() if n.startswith("NServiceBus.DataBus.")}
assert set(keys) == {"NServiceBus.DataBus.one", "NServiceBus.DataBus.two"}, keys
for number, name in ("one", "30-property-1"), ("two", "33-property-2"):
    key = keys["NServiceBus.DataBus." + number]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d/[0-9a-f-]{36}", key), key
    path = os.environ["GW_ROOT"] + "/databus/" + key
    assert open(path, "rb").read() == body(name), path
    assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
assert ours["id-8"]["NServiceBus.MessageIntent"] == "Send" and ours["id-8"]["NServiceBus.ReplyToAddress"] == "Store1.gateway"
PY
same 2 "$(find "$GW_ROOT/databus" -type f | wc -l)" 'a property sent again is stored once, one with a wrong sum not at all'
run_ok queue-inspect list Store1.legacy --all --json
same '' "$out" 'nothing is held after the Ack'

# The answers' other fields.
run_ok http "$port" --field allow "$answers/46-put-method.request"
like 'allow=GET, HEAD, POST' "$out" '405 says what is allowed'
run_ok http "$port" - <<'R'
PUT /Store1/ HTTP/1.1
Host: x

R
like '^stdin	405' "$out" 'also without a length'
run_ok http "$port" --field content-type "$answers/01-plain.request"
like 'content-type=application/json; charset=utf-8' "$out"
run_ok http "$port" - <<'R'
GET /healthz HTTP/1.1
Host: x

R
like '^stdin	200	OK' "$out" '/healthz'

# What a real gateway sent is accepted as it is.
start_daemon sent gw-listen --endpoint Sent --channel http://127.0.0.1:0/
port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")
for recorded in price ask answer two-sites-store1 xml-unicode property property-message; do
  run_ok http "$port" "$SRC/tests/data/wire/sent/$recorded.request"
  like "^$recorded	200	OK" "$out"
done
run_ok http "$port" "$SRC/tests/data/wire/sent/two-sites-store2-retried.request"
like '	200	OK|	422	' "$out" 'the copy for the other site has the same id'
run_ok queue-inspect show Sent --where 'type=Prices.AskPrice' --json
like '"NServiceBus.OriginatingSite":"http,http://localhost:25898/Headquarter/"' "$out"

run_ok queue-inspect show Sent --where 'type=Prices.PriceFile' --json
printf '%s\n' "$out" >file.json
run_ok python3 - file.json "$SRC/tests/data/wire/sent/property.request" <<'PY'
import json, os, sys
headers = json.loads(open(sys.argv[1], encoding="utf-8").readline())["headers"]
key = headers["NServiceBus.DataBus.2026-11-21_11/56852518-8889-4f6a-904c-1cbf28607f36"]
assert key != "2026-11-21_11/56852518-8889-4f6a-904c-1cbf28607f36"
blob = open(os.environ["GW_ROOT"] + "/databus/" + key, "rb").read()
assert len(blob) == 93338 and blob == open(sys.argv[2], "rb").read().split(b"\r\n\r\n", 1)[1]
PY

# The time to be received ends also for a message that does not say when it was sent.
sed 's/id-1\r/short/; s/^NServiceBus.Gateway: True/NServiceBus.TimeToBeReceived: 00:00:01\r\n&/' "$answers/01-plain.request" >short.request
sed -i 's/^\(NServiceBus[^:]*: short\)$/\1\r/' short.request
run_ok http "$port" --host x short.request
run_ok queue-inspect purge Sent --where 'id!=short'
expired() { ! queue-inspect take Sent 2>expired.err && grep -q 'expired.*id=short' expired.err; }
sleep 1.2 # its time passes; to look earlier would take it
check 'it expires' expired
stop_daemon sent

stop_daemon listen
same '' "$(find "$GW_ROOT" -name '*passwd*')" 'an id is never a path'
run_ok queue-inspect check
done_testing
