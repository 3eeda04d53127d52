#!/usr/bin/env bash
# Senders that stall or drip are cut with 408 and nothing of theirs is stored; idle and slow ones do not keep others out.
# timeout: 180
. "$(dirname "$0")/../lib.sh"

start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.pem -days 2 -subj /CN=localhost >openssl.log 2>&1
chmod 600 tls.key
start_daemon tls gw-listen --endpoint Store2 --channel https://127.0.0.1:0/Store1/ --tls-cert tls.pem --tls-key tls.key
tls_port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")
http() { timeout 120 python3 "$SRC/tests/rawhttp.py" "$port" --timeout 90 "$@"; }
request() {
  printf '%s\r\n' "POST /Store1/ HTTP/1.1" "Host: localhost" "NServiceBus.Id: $1" "NServiceBus.CallType: SingleCallSubmit" "NServiceBus.Gateway: True" "${@:2}" ''
}
bytes() { head -c "$1" /dev/zero | tr '\0' x; }

{ request stalled 'Content-Length: 1000'; bytes 1000; } >stalled.request
{ request dripped 'Content-Length: 1000'; bytes 1000; } >dripped.request
{ request chunked 'Transfer-Encoding: chunked'; printf '400\r\n'; bytes 1024; printf '\r\n0\r\n\r\n'; } >chunked.request
# A second head on a connection has no more time than the first, though an idle connection may stay for a minute.
# kept_alive PORT tcp|tls FIRST SECOND GAP: a whole request, then bytes of another, one each GAP seconds
kept_alive() {
  python3 - "$@" <<'PY'
import socket, ssl, sys, time
first, second, gap = (sys.argv[i].replace("\n", "\r\n").encode() for i in (3, 4, 5))
gap = float(gap)
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 90)
if sys.argv[2] == "tls":
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    s = context.wrap_socket(s)
s.sendall(first)
answer = b""
while not answer.endswith(b"OK"):
    answer += s.recv(1000)
began = time.monotonic()
if gap == 0:
    s.sendall(second)
for byte in second if gap else b"":
    s.sendall(bytes([byte]))
    time.sleep(gap)
answer = s.recv(1000).split(b"\r\n")[0].decode()
print(f"{answer} after={time.monotonic() - began:.0f}s")
PY
}
first=$'POST /Store1/ HTTP/1.1\nHost: x\nNServiceBus.Id: first\nNServiceBus.CallType: SingleCallSubmit\nNServiceBus.Gateway: True\n'

{ request large 'Content-Length: 3000000'; bytes 3000000; } >large.request
head_bytes=$(($(stat -c %s stalled.request) - 1000))

senders=()
http --stall $((head_bytes + 500)) stalled.request >stalled.got & senders+=($!)
http --drip 0.4 dripped.request >dripped.got & senders+=($!)
http --stall $((head_bytes + 300)) chunked.request >chunked.got & senders+=($!)
http --stall 60 stalled.request >head.got & senders+=($!)
http --stall 25000 large.request >large.got & senders+=($!)
kept_alive "$port" tcp "${first/first/first-1}Content-Length: 1"$'\n\nx' 'POST /Store1/ HT' 0 >second.got & senders+=($!)
kept_alive "$port" tcp "${first/first/first-2}Transfer-Encoding: chunked"$'\n\n1\nx\n0\n\n' 'POST /Store1/ HT' 0 >second-chunked.got & senders+=($!)
kept_alive "$port" tcp "${first/first/first-3}Content-Length: 1"$'\n\nx' 'POST /Store1/ HT' 0.5 >second-dripped.got & senders+=($!)
kept_alive "$tls_port" tls "${first/first/tls-1}Content-Length: 1"$'\n\nx' 'POST /Store1/ HT' 0 >second-tls.got & senders+=($!)
kept_alive "$tls_port" tls "${first/first/tls-2}Content-Length: 1"$'\n\nx' "${first/first/tls-3}Content-Length: 1000"$'\n\nhello' 0 >body-tls.got & senders+=($!)
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
# 500 connections that are idle, half of them after a request, and 300 that are slow, in the head or in the body.
cat >crowd.py <<'PY'
import socket, sys, threading, time
port = int(sys.argv[1])
post = b"POST /Store1/ HTTP/1.1\r\nHost: x\r\nNServiceBus.CallType: SingleCallSubmit\r\nNServiceBus.Gateway: True\r\n"
connect = lambda: socket.create_connection(("127.0.0.1", port), 60)
def ask(s, request):
    s.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = s.recv(4096)
        assert more, answer
        answer += more
    return answer
idle = [connect() for _ in range(500)]
for s in idle[::2]:
    assert ask(s, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
slow = [connect() for _ in range(300)]
for number, s in enumerate(slow):
    s.sendall(post if number % 3 == 0 else post + b"NServiceBus.Id: slow-%d\r\nContent-Length: 1000\r\n\r\n" % number)
def drip():
    while True:
        for s in slow:
            try:
                s.sendall(b"x")
            except OSError:
                pass
        time.sleep(1)
threading.Thread(target=drip, daemon=True).start()
took = []
for number in range(8):
    began = time.monotonic()
    s = connect()
    answer = ask(s, post + b"NServiceBus.Id: good-%d\r\nContent-Length: 2\r\n\r\nhi" % number)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    took.append(time.monotonic() - began)
    s.close()
    time.sleep(0.3)
print(" ".join("%d" % (t * 1000) for t in took), flush=True)
PY
run_ok timeout 60 python3 crowd.py "$port"
note "good requests among them took (ms): $out"
check "a good request takes less than a second ($out)" [ "$(tr ' ' '\n' <<<"$out" | sort -n | tail -n 1)" -lt 1000 ]
wait "${senders[@]}"
like '^stalled	408	the body came too slowly	closed	after=(1[89]|2[0-9]|3[0-5])s$' "$(cat stalled.got)" 'a body that stalls'
like '^dripped	408	the body came too slowly	closed	after=(19|2[0-9]|3[0-5])s$' "$(cat dripped.got)" 'a body byte by byte'
like '^chunked	408	the body came too slowly	closed' "$(cat chunked.got)" 'a chunked body that stalls'
like '^stalled	408	the header did not come in time	closed	after=(9|1[0-9])s$' "$(cat head.got)" 'a head that stalls'
for sent in second second-chunked second-dripped second-tls; do
  like '^HTTP/1.1 408 the header did not come in time after=(1[0-9])s$' "$(cat "$sent.got")" "$sent: the head of another request stalls"
done
like '^HTTP/1.1 408 the body came too slowly after=(19|2[0-9]|3[0-5])s$' "$(cat body-tls.got)" 'a body that stalls, over TLS'
like '^large	408	the body came too slowly	closed' "$(cat large.got)" 'a large body that stalls'
like '^HTTP/1.1 200 OK' "$(cat steady.got)" 'slow but fast enough'

run_ok queue-inspect list Store1 --json
same $'first-1\nfirst-2\nfirst-3\ngood-0\ngood-1\ngood-2\ngood-3\ngood-4\ngood-5\ngood-6\ngood-7\nsteady' "$(grep -o '"id":"[^"]*"' <<<"$out" | cut -d '"' -f 4 | sort)" 'nothing of the others was stored'
same '' "$(find "$GW_ROOT/bodies" -type f)" 'no part of a body was left'
stop_daemon tls
stop_daemon listen
done_testing
