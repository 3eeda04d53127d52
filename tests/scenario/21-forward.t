#!/bin/bash
# gw-send forward: the wire format, what counts as delivered, retries and the error queue.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

start_site store
write_config 'Endpoint="HQ" Retries="2" RetryIncrement="200ms"' "Key=\"Store1\" Address=\"${URL[store]}\" ChannelType=\"http\""

outcome() { gw-send wait --timeout 0 --json "$1" | jq -r .state; }

# --- delivered ---
printf 'Gr\303\274n' >body.txt
run_ok gw-send --to Store1 --header 'Note=50% off: "Grün"' body.txt
id=$out
run_exit 75 gw-send wait --timeout 0 "$id"
like '^Store1 stored ' "$out"
run_ok gw-send forward --drain
same "" "$out$err" "success is silent"
same 1 "$(requests store)"
request=$T/store/1.request
same "POST /site/ HTTP/1.1" "$(head -n 1 "$request" | tr -d '\r')"
same "50%25+off%3A+%22Gr%C3%BCn%22" "$(header "$request" NServiceBus.Header.Note)"
same "$(openssl md5 -binary body.txt | base64 | sed 's/+/%2B/g; s,/,%2F,g; s/=/%3D/g')" "$(header "$request" Content-MD5)"
same "application/x-www-form-urlencoded" "$(header "$request" Content-Type)"
same "5" "$(header "$request" Content-Length)"
like '^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} .* GMT$' "$(header "$request" Date)" "Date is sent"
unlike '^(Expect|Accept|User-Agent|Transfer-Encoding):' "$(cat "$request")" "no header of the library's own"
same "Grün" "$(sed '1,/^\r$/d' "$request")" "the body as it is"
run_ok gw-send wait --timeout 0 "$id"
same "" "$out" "nothing to say about what has arrived"

# --- what the original sent: the same headers ---
cat >compare.py <<'X'
import subprocess, sys
from urllib.parse import unquote_plus
recording, own = sys.argv[1:3]
def read(path):
    head, body = open(path, "rb").read().split(b"\r\n\r\n", 1)
    return dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in head.decode().split("\r\n")[1:]), body
want, want_body = read(recording)
if own == "args":
    for name, value in want.items():
        if name.startswith("NServiceBus.Header."):
            name = unquote_plus(name[len("NServiceBus.Header."):])
            if name == "NServiceBus.MessageId":
                print("--id\n" + unquote_plus(value))
            elif name not in ("NServiceBus.Retries", "NServiceBus.Retries.Timestamp", "NServiceBus.DestinationSites"):
                print("--header\n" + name + "=" + unquote_plus(value))
    open(sys.argv[3], "wb").write(want_body)
    sys.exit()
got, got_body = read(own)
random = {"Host", "Date", "NServiceBus.Header.NServiceBus.Retries.Timestamp"}
bad = [n for n in set(want) | set(got) if n not in random and want.get(n) != got.get(n)]
for name in bad:
    print("%s: recorded %r, sent %r" % (name, want.get(name), got.get(name)))
if want_body != got_body:
    print("bodies differ")
sys.exit(bool(bad) or want_body != got_body)
X
for name in price two-sites-store1 two-sites-store2 two-sites-store2-retried xml-unicode ask; do
  recording=$SRC/tests/data/wire/sent/$name.request
  mapfile -t args < <(python3 compare.py "$recording" args body.bin)
  key=$(header "$recording" NServiceBus.Header.NServiceBus.DestinationSites)
  [ $name = two-sites-store2-retried ] && plan_site store '503 Busy' '200 OK'
  before=$(requests store)
  rm -rf "${T:?}/$name"
  GW_ROOT=$T/$name run_ok gw-send --site "$key=${URL[store]}" --to "$key" "${args[@]}" - <body.bin
  GW_ROOT=$T/$name run_ok gw-send forward --drain --retries 1 --retry-increment 10ms --site "$key=${URL[store]}"
  [ $name = two-sites-store2-retried ] && { plan_site store '200 OK'; before=$((before + 1)); }
  run_ok python3 compare.py "$recording" "$T/store/$((before + 1)).request"
done

# --- nothing but 200 with OK is delivered; then retries, then the error queue ---
rm -rf "$T/store"/*.request "$T/store/log"
kill_daemon store TERM
start_site store
write_config 'Endpoint="HQ" Retries="2" RetryIncrement="200ms"' "Key=\"Store1\" Address=\"${URL[store]}\" ChannelType=\"http\""
plan_site store '503 Busy | come back later' '200 OK | <html>portal</html>' '302 Found | | Location: http://127.0.0.1:1/'
run_ok gw-send --to Store1 body.txt
id=$out
run_exit 1 gw-send forward --drain
same 3 "$(requests store)" "three attempts, redirects not followed"
same 3 "$(grep -c ' attempt-failed ' <<<"$err")" "an event per failed attempt"
like 'attempt-failed id='"$id"' site=Store1 attempt=1 status=503 reason="503 Busy: come back later" next_try_at=20' "$(sed -n 1p <<<"$err")"
like 'attempt=2 status=200 reason="200 OK: <html>portal</html>" next_try_at=' "$(sed -n 2p <<<"$err")"
like 'error attempt-failed .*attempt=3 status=302' "$(sed -n 3p <<<"$err")"
unlike 'next_try_at' "$(sed -n 3p <<<"$err")" "the last one has no next"
same "" "$(header "$T/store/1.request" NServiceBus.Header.NServiceBus.Retries)"
same "1 2" "$(header "$T/store/2.request" NServiceBus.Header.NServiceBus.Retries) $(header "$T/store/3.request" NServiceBus.Header.NServiceBus.Retries)"
like '^20..-..-..\+..%3A..%3A..%3A......\+Z$' "$(header "$T/store/2.request" NServiceBus.Header.NServiceBus.Retries.Timestamp)"
gap=$(awk '/ arrived/ {t[++n] = $1} END {print (t[2] - t[1] >= 0.19 && t[3] - t[2] >= 0.39) ? "ok" : t[2] - t[1] " " t[3] - t[2]}' "$T/store/log")
same ok "$gap" "after 1 and 2 increments"
run_exit 69 gw-send wait --timeout 0 --json "$id"
same "failed 3 302 Found" "$(jq -r '[.state, .attempts, .reason] | join(" ")' <<<"$out")"
run_ok queue-inspect show error "$id" --json
machine=$(cat "$GW_ROOT/machine" 2>/dev/null || hostname)
same "HQ.gateway@$machine HQ $machine 302 Found null" "$(jq -r '.headers | [.["NServiceBus.FailedQ"], .["NServiceBus.ProcessingEndpoint"],
  .["NServiceBus.ProcessingMachine"], .["NServiceBus.ExceptionInfo.Message"], (.["NServiceBus.Retries"] | tostring)] | join(" ")' <<<"$out")"
like '^20.*Z Gatepost' "$(jq -r '.headers | [.["NServiceBus.TimeOfFailure"], .["NServiceBus.ExceptionInfo.ExceptionType"]] | join(" ")' <<<"$out")"
like '^20' "$(jq -r '.headers["NServiceBus.Retries.Timestamp"]' <<<"$out")" "the timestamp of retries stays"
same "Store1" "$(jq -r '.headers["NServiceBus.DestinationSites"]' <<<"$out")"

# --- bad ones are told apart ---
plan_site store '422 Other | same id, other body'
run_ok gw-send --to Store1 body.txt
id=$out
run_exit 1 gw-send forward --drain --retries 0
run_exit 65 gw-send wait --timeout 0 "$id"

# --- no answer, half an answer, too long an answer ---
for plan in close part "200 OK | $(printf 'OK%.0s' $(seq 40000))" '204 Nothing'; do
  plan_site store "$plan"
  run_ok gw-send --to Store1 body.txt
  id=$out
  run_exit 1 gw-send forward --drain --retries 0
  run_exit 69 gw-send wait --timeout 0 --json "$id"
  note "$(jq -r .reason <<<"$out" | cut -c1-100)"
done
plan_site store 'hang 30'
run_ok gw-send --to Store1 body.txt
run_exit 1 gw-send forward --drain --retries 0 --answer-timeout 300ms
like 'reason="no answer within 300ms"' "$err"
run_ok gw-send --site Dead=http://127.0.0.1:1/ --to Dead body.txt
run_exit 1 gw-send forward --drain --retries 0 --site Dead=http://127.0.0.1:1/ --to Dead
like 'reason="no answer: .*(refused|connect)' "$err"

# --- Retry-After ---
plan_site store '503 Busy | | Retry-After: 1' '200 OK'
rm -f "$T/store/log"
run_ok gw-send --to Store1 body.txt
run_ok gw-send forward --drain --retry-increment 10ms
same ok "$(awk '/ arrived/ {t[++n] = $1} END {print (t[2] - t[1] >= 0.99) ? "ok" : t[2] - t[1]}' "$T/store/log")" "the later of Retry-After and the schedule"

# --- a large body, streamed ---
plan_site store '200 OK'
head -c 20000000 /dev/urandom >big.bin
run_ok gw-send --to Store1 big.bin
before=$(requests store)
run_ok gw-send forward --drain
check "arrives unchanged" cmp -s <(tail -c 20000000 "$T/store/$((before + 1)).request") big.bin
same "$(openssl md5 -binary big.bin | base64 | sed 's/+/%2B/g; s,/,%2F,g; s/=/%3D/g')" "$(header "$T/store/$((before + 1)).request" Content-MD5)"

# --- --once: one attempt for what is due now ---
plan_site store '500 No'
run_ok gw-send --to Store1 body.txt
run_ok gw-send --to Store1 --delay 1h body.txt
before=$(requests store)
run_exit 75 gw-send forward --once --retry-increment 1ms
same $((before + 1)) "$(requests store)"
run_exit 1 gw-send forward --once --retries 0
run_exit 64 gw-send forward --once --drain

# --- expired in the outbox ---
plan_site store '200 OK'
queue-inspect purge site.Store1 --all >/dev/null 2>&1
run_ok gw-send --to Store1 --ttl 1ms body.txt
id=$out
before=$(requests store)
run_ok gw-send forward --drain
same "$before" "$(requests store)" "is not sent"
like ' expired id='"$id" "$err"
run_exit 69 gw-send wait --timeout 0 --json "$id"
same expired "$(jq -r .state <<<"$out")"
run_ok queue-inspect check

# Queues that are removed under a forwarder are made anew.
start_daemon anew gw-send forward --endpoint HQ --retries 0 --site Gone=http://127.0.0.1:1/
fails_into_error() { gw-send --to Gone --site Gone=http://127.0.0.1:1/ --id "$1" -q <body.txt >/dev/null && _poll 10 queue-inspect show error "$1" --headers; }
check "an error queue" fails_into_error before
run_ok queue-inspect remove error --force
run_ok queue-inspect remove site.Gone --force
check "and another one" fails_into_error after
routed() { queue-inspect put HQ.gateway --create --id "$1" --header NServiceBus.DestinationSites=Gone <body.txt >/dev/null && _poll 10 queue-inspect show error "$1" --headers; }
check "a gateway queue" routed first-route
run_ok queue-inspect remove HQ.gateway
check "and another one" routed second-route
stop_daemon anew
done_testing
