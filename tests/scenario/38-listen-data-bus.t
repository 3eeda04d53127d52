#!/usr/bin/env bash
# Data bus properties: over restarts, over listeners, kill -9 while they come, constant memory, and what becomes of those whose message
# never comes.
# timeout: 180
. "$(dirname "$0")/../lib.sh"

http() { timeout 60 python3 "$SRC/tests/rawhttp.py" "$@"; }
port_of() { sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$1"; }
prefix=NServiceBus.Header.NServiceBus.DataBus.
request() { # ID CALLTYPE FILE FIELD...
  local id=$1 type=$2 file=$3
  shift 3
  printf '%s\r\n' 'POST /Store1/ HTTP/1.1' 'Host: x' "NServiceBus.Id: $id" "NServiceBus.CallType: $type" 'NServiceBus.Gateway: True' \
    "Content-MD5: $(openssl md5 -binary "$file" | base64 | sed 's/+/%2B/g')" "Content-Length: $(stat -c %s "$file")" "$@" ''
  cat "$file"
}
property() { request "$1" SingleCallDatabusProperty "$3" "NServiceBus.Gateway.DataBusKey: $prefix$2" >"$1-$2.request"; }
submit() { # ID NAME...
  local id=$1 fields=() name
  shift
  for name; do fields+=("$prefix$name: theirs"); done
  echo "body of $id" >"$id.body"
  request "$id" SingleCallSubmit "$id.body" "${fields[@]}" >"$id.request"
}
blobs() { find "$GW_ROOT/databus" -type f ! -name '*.part' 2>/dev/null | wc -l; }
# The file of a property of a message that was delivered.
blob_of() { # ID NAME
  queue-inspect show Store1 --all --json | python3 -c '
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["id"] == sys.argv[1]: print(os.environ["GW_ROOT"] + "/databus/" + message["headers"]["NServiceBus.DataBus." + sys.argv[2]])' "$1" "$2"
}
start() { start_daemon "$1" gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/; port=$(port_of "$ready_line"); }
head -c 300000 /dev/urandom >one.blob
head -c 10 /dev/urandom >two.blob

# A restart, and a kill, between the properties and the message.
start listen
property m1 one one.blob
property m1 two two.blob
submit m1 one two
run_ok http "$port" m1-one.request
like '200	OK' "$out"
stop_daemon listen
start listen
run_ok http "$port" m1.request
like "412	ClaimCheck property ${prefix}two was never received. Please resubmit.	closed" "$out" 'one is there, one is not'
run_ok http "$port" m1-two.request
like '200	OK' "$out"
kill_daemon listen
start listen
run_ok http "$port" m1.request
like '200	OK' "$out" 'properties survive a kill'
run_ok cmp one.blob "$(blob_of m1 one)"
run_ok cmp two.blob "$(blob_of m1 two)"

# What a sender does whose answer was lost: everything again.
run_ok http "$port" m1-one.request m1-two.request m1.request
same 3 "$(grep -c '	200	OK' <<<"$out")" 'all again: 200'
same 2 "$(blobs)" 'and nothing is stored again'

# Properties and messages at different listeners of one endpoint, many at once.
first=$port
start second
for i in $(seq 1 20); do
  property "p$i" one one.blob
  property "p$i" two two.blob
  submit "p$i" one two
done
for i in $(seq 1 20); do http "$first" "p$i-one.request" >"p$i.a" & ones[i]=$!; http "$port" "p$i-one.request" "p$i-two.request" >"p$i.b" & twos[i]=$!; done
for i in $(seq 1 20); do wait "${ones[i]}" "${twos[i]}"; done
same 60 "$(cat p*.a p*.b | grep -c '	200	OK')" 'the same property at two listeners at once'
for i in $(seq 1 20); do http "$first" "p$i.request" >"p$i.a" & ones[i]=$!; http "$port" "p$i.request" >"p$i.b" & twos[i]=$!; done
for i in $(seq 1 20); do wait "${ones[i]}" "${twos[i]}"; done
same 40 "$(cat p*.a p*.b | grep -c '	200	OK')" 'the same message at two listeners at once'
queue-inspect show Store1 --all --json >delivered
same 21 "$(wc -l <delivered)" 'each is delivered once'
python3 - delivered >keys <<'PY'
import json, sys
for line in open(sys.argv[1]):
    for name, value in json.loads(line)["headers"].items():
        if name.startswith("NServiceBus.DataBus."): print(value)
PY
same 42 "$(sort -u keys | wc -l)" 'each property has a key of its own'
same 42 "$(blobs)" 'each is stored once'
missing=0
while read -r key; do [ -f "$GW_ROOT/databus/$key" ] || missing=$((missing + 1)); done <keys
same 0 "$missing" 'every key has its file'
stop_daemon second
port=$first

# A large one, in constant memory; too large a one.
head -c 100000000 /dev/zero >large.blob
property large one large.blob
submit large one
run_ok http "$port" large-one.request large.request
same 2 "$(grep -c '	200	OK' <<<"$out")"
run_ok cmp large.blob "$(blob_of large one)"
peak=$(awk '/VmHWM/ {print $2}' "/proc/${DAEMON[listen]}/status")
case ${CXXFLAGS-}${MODE-} in *asan* | *tsan*) ;; *) check "100 MB in little memory ($peak KiB)" [ "$peak" -lt 50000 ] ;; esac
run_ok queue-inspect purge Store1 --where id=large
stop_daemon listen
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --max-body 1000 --min-free 0
port=$(port_of "$ready_line")
before=$(blobs)
run_ok http "$port" large-one.request
like '	413	' "$out"
stop_daemon listen
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --min-free 1000T
port=$(port_of "$ready_line")
property small one two.blob
run_ok http "$port" small-one.request
like '	507	' "$out"
same "$before" "$(blobs)" 'what is refused leaves no file'
stop_daemon listen

# Killed while it comes, at many moments: sent again it is there, whole; purging leaves nothing else.
head -c 20000000 /dev/urandom >kill.blob
for i in 1 2 3 4 5 6 7 8; do
  start listen
  property "k$i" one kill.blob
  submit "k$i" one
  http "$port" "k$i-one.request" >"k$i.out" 2>&1 &
  sender=$!
  sleep "0.0$((i * i))" # somewhere in the upload, or after it
  kill_daemon listen
  wait "$sender"
  start listen
  if grep -q '	200	OK' "k$i.out"; then
    run_ok http "$port" "k$i.request"
    like '200	OK' "$out" 'a property that was answered with 200 is there'
  else
    run_ok http "$port" "k$i-one.request" "k$i.request"
    same 2 "$(grep -c '	200	OK' <<<"$out")" 'a property that was not is sent again'
  fi
  run_ok cmp kill.blob "$(blob_of "k$i" one)"
  kill_daemon listen
done
start listen
property orphan one one.blob
run_ok http "$port" orphan-one.request
run_ok gw-dedup purge --endpoint Store1 --older-than 1h --json
like '"purged_blobs":0' "$out" 'what is young stays'
run_ok gw-dedup purge --endpoint Store1 --older-than 0s --json
like '"purged_blobs":[1-9]' "$out" 'the blob whose message never came goes'
queue-inspect show Store1 --all --json >delivered
python3 - delivered >keys <<'PY'
import json, sys
for line in open(sys.argv[1]):
    for name, value in json.loads(line)["headers"].items():
        if name.startswith("NServiceBus.DataBus."): print(value)
PY
find "$GW_ROOT/databus" -type f -printf '%P\n' | sort >files
same "$(wc -l <keys)" "$(wc -l <files)" 'no other file is left, unfinished ones neither'
same '' "$(sort keys | comm -23 - files)" 'every message has its files'
submit orphan one
run_ok http "$port" orphan.request
like '	412	Expected 1 claimcheck properties. None were received. Please resubmit.' "$out"
run_ok gw-dedup check --endpoint Store1
stop_daemon listen
run_ok queue-inspect check
done_testing
