#!/usr/bin/env bash
# Senders that stall or drip are cut with 408 and nothing of theirs is stored; idle and slow ones do not keep others out.
# timeout: 180
. "$(dirname "$0")/../lib.sh"

start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")
http() { timeout 120 python3 "$SRC/tests/rawhttp.py" "$port" --timeout 90 "$@"; }
request() {
  printf '%s\r\n' "POST /Store1/ HTTP/1.1" "Host: localhost" "NServiceBus.Id: $1" "NServiceBus.CallType: SingleCallSubmit" "NServiceBus.Gateway: True" "${@:2}" ''
}
bytes() { head -c "$1" /dev/zero | tr '\0' x; }

{ request stalled 'Content-Length: 1000'; bytes 1000; } >stalled.request
{ request dripped 'Content-Length: 1000'; bytes 1000; } >dripped.request
{ request chunked 'Transfer-Encoding: chunked'; printf '400\r\n'; bytes 1024; printf '\r\n0\r\n\r\n'; } >chunked.request
{ request large 'Content-Length: 3000000'; bytes 3000000; } >large.request
head_bytes=$(($(stat -c %s stalled.request) - 1000))

senders=()
http --stall $((head_bytes + 500)) stalled.request >stalled.got & senders+=($!)
http --drip 0.4 dripped.request >dripped.got & senders+=($!)
http --stall $((head_bytes + 300)) chunked.request >chunked.got & senders+=($!)
http --stall 60 stalled.request >head.got & senders+=($!)
http --stall 100000 large.request >large.got & senders+=($!)
# A sender that is slow but fast enough: 60 KB in 25 seconds.
python3 - "$port" >steady.got <<'PY' &
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60)
head = ["POST /Store1/ HTTP/1.1", "Host: x", "NServiceBus.Id: steady", "NServiceBus.CallType: SingleCallSubmit", "NServiceBus.Gateway: True", "Content-Length: 60000"]
s.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
for _ in range(50):
    s.sendall(b"x" * 1200)
    time.sleep(0.5)
print(s.recv(1000).split(b"\r\n")[0].decode())
PY
senders+=($!)
# Connections that say nothing, and some that begin a request.
python3 - "$port" >idle.out <<'PY' &
import socket, sys, time
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60) for _ in range(400)]
for s in held[:100]:
    s.sendall(b"POST /Store1/ HTTP/1.1\r\nHost: x\r\n")
print("held", flush=True)
time.sleep(8)
PY
idle=$!
wait_until 20 grep -q held idle.out
began=$(date +%s%3N)
run_ok http "$SRC/tests/data/wire/answers/01-plain.request"
took=$(($(date +%s%3N) - began))
like '^01-plain	200	OK' "$out" 'a good request among 400 idle ones'
check "it took $took ms" [ "$took" -lt 3000 ]
wait "$idle" "${senders[@]}"
like '^stalled	408	the body came too slowly	closed	after=(1[89]|2[0-9]|3[0-5])s$' "$(cat stalled.got)" 'a body that stalls'
like '^dripped	408	the body came too slowly	closed	after=(19|2[0-9]|3[0-5])s$' "$(cat dripped.got)" 'a body byte by byte'
like '^chunked	408	the body came too slowly	closed' "$(cat chunked.got)" 'a chunked body that stalls'
like '^stalled	408	the header did not come in time	closed	after=(9|1[0-9])s$' "$(cat head.got)" 'a head that stalls'
like '^large	408	the body came too slowly	closed' "$(cat large.got)" 'a large body that stalls'
like '^HTTP/1.1 200 OK' "$(cat steady.got)" 'slow but fast enough'

run_ok queue-inspect list Store1 --json
same $'id-1\nsteady' "$(grep -o '"id":"[^"]*"' <<<"$out" | cut -d '"' -f 4 | sort)" 'nothing of the others was stored'
same '' "$(find "$GW_ROOT/bodies" -type f)" 'no part of a body was left'
stop_daemon listen
done_testing
