#!/usr/bin/env bash
# Each id enters the queue once: sent again, sent with another body, sent to two listeners at once, across kill -9 of a listener.
# timeout: 180
. "$(dirname "$0")/../lib.sh"

request=$SRC/tests/data/wire/answers/01-plain.request
http() { timeout 120 python3 "$SRC/tests/rawhttp.py" "$@"; }
port_of() { sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$1"; }
ids() { queue-inspect list Store1 --json | sed 's/.*"id":"\([^"]*\)".*/\1/'; }

start_daemon a gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
a=$(port_of "$ready_line")
start_daemon b gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
b=$(port_of "$ready_line")

# Again, and with another body.
run_ok http "$a" "$request" "$request"
same $'200\tOK\n200\tOK' "$(cut -f 2,3 <<<"$out")"
run_ok http "$b" "$request"
like '200	OK' "$out" 'the other listener knows it too'
like 'duplicate id=id-1' "$(cat b.err)" 'an event tells'
sed 's/Apple/Peach/; /^Content-MD5/d' "$request" >other.request
run_ok http "$a" other.request
like '^other	422	same id, other body	closed' "$out"
run_ok queue-inspect show Store1 :1 --body
like Apple "$out" 'the first body stays'
same id-1 "$(ids)" 'one message'
run_ok queue-inspect purge Store1 --all

# One connection, several requests: sent without waiting for the answers; one that is refused in their midst; one that is left alone.
cat >several.py <<'PY'
import socket, sys
request = open(sys.argv[2], "rb").read()
def message(number): return request.replace(b"id-1", b"several-%d" % number)
def other(number): return request.replace(b"id-1", b"several-%d" % number).replace(b"Apple", b"Peach").replace(b"Content-MD5", b"X-No-MD5")
def connect(): return socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
s = connect()
s.sendall(b"".join(message(n) for n in (1, 2, 3, 2, 4, 1)))
data = b""
while data.count(b"\r\n\r\nOK") < 6: data += s.recv(65536) or sys.exit("closed: %r" % data)
print(data.count(b"HTTP/1.1 200 OK"))
s.sendall(message(5) + message(6) + other(3) + message(7))
data = b""
while True:
    more = s.recv(65536)
    if not more: break
    data += more
print(data.count(b"HTTP/1.1 200 OK"), data.count(b"HTTP/1.1 422 same id, other body"))
s = connect()
s.sendall(message(8))
s.recv(65536)
s.sendall(message(9))
s.close()
PY
run_ok timeout 60 python3 several.py "$a" "$request"
same $'6\n2 1' "$out"
all_came() { [ "$(ids | sort)" = "$(seq -f 'several-%g' 1 9 | grep -v 7)" ]; }
wait_until 10 all_came
pass 'each of them once, and none after the refusal'
like 'refused id=several-3 status=422' "$(cat a.err)" 'an event names the refused one'
run_ok queue-inspect purge Store1 --all

# Two listeners on one store, four senders of the same thousand ids.
for sender in 1 2 3 4; do
  http "$([ $((sender % 2)) = 0 ] && echo "$a" || echo "$b")" --ids 0 1000 "$request" >"sender-$sender" &
  senders[sender]=$!
done
wait "${senders[@]}"
for sender in 1 2 3 4; do same $'200 OK\t1000' "$(cat "sender-$sender")" "sender $sender: all answers are 200"; done
same "$(seq -f 'bulk-%g' 0 999 | sort)" "$(ids | sort)" 'each id is in the queue once'
run_ok queue-inspect check
run_ok gw-dedup check --endpoint Store1
run_ok gw-dedup status --endpoint Store1 --json
like '"rows":1009' "$out"
run_ok queue-inspect purge Store1 --all

# A listener is killed again and again while senders that retry go on.
sender() {
  python3 - "$@" <<'PY'
import socket, sys, time
port, first, count, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
template = open(path, "rb").read()
head, _, body = template.partition(b"\r\n\r\n")
connection = None
for number in range(first, first + count):
    data = template.replace(b"id-1", b"kill-%d" % number)
    deadline = time.monotonic() + 60
    while True:
        try:
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", port), 10)
            connection.sendall(data)
            got = b""
            while b"\r\n\r\nOK" not in got:
                more = connection.recv(4096)
                if not more:
                    raise OSError("closed")
                got += more
            assert got.startswith(b"HTTP/1.1 200 OK"), got
            break
        except OSError:
            connection = None
            assert time.monotonic() < deadline, number
            time.sleep(0.02)
PY
}
kill_daemon a
port=$(free_port)
start_daemon k gw-listen --endpoint Store1 --channel "http://127.0.0.1:$port/Store1/"
for s in 0 1 2 3; do
  sender "$port" $(((s % 2) * 600)) 600 "$request" & # each id comes from two senders
  killers[s]=$!
done
for _ in 1 2 3 4 5 6; do
  before=$(ids | wc -l)
  more_came() { [ "$(ids | wc -l)" -gt "$before" ] || ! kill -0 "${killers[0]}" 2>/dev/null; }
  _poll 20 more_came
  kill_daemon k
  start_daemon k gw-listen --endpoint Store1 --channel "http://127.0.0.1:$port/Store1/"
done
for s in 0 1 2 3; do check "sender $s: every message was accepted" wait "${killers[s]}"; done
same "$(seq -f 'kill-%g' 0 1199 | sort)" "$(ids | sort)" 'none lost, none twice'

# A large body is cut by kill -9: nothing of it is delivered, nothing of it stays; sent again it is whole.
cat >half.py <<'PY'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60)
head = ["POST /Store1/ HTTP/1.1", "Host: x", "NServiceBus.Id: large", "NServiceBus.CallType: SingleCallSubmit", "NServiceBus.Gateway: True", "Content-Length: 8000000"]
s.sendall(("\r\n".join(head) + "\r\n\r\n").encode() + b"y" * 4000000)
print("half", flush=True)
if sys.argv[2] == "all":
    s.sendall(b"y" * 4000000)
print(s.recv(1000).split(b"\r\n")[0].decode() if sys.argv[2] == "all" else s.recv(10))
PY
python3 half.py "$port" half >half.out 2>&1 &
half=$!
has_part() { [ -n "$(find "$GW_ROOT/bodies" -type f -size +1000k)" ]; }
wait_until 20 has_part
kill_daemon k
wait "$half"
start_daemon k gw-listen --endpoint Store1 --channel "http://127.0.0.1:$port/Store1/"
no_part() { ! has_part; }
wait_until 20 no_part
same '' "$(ids | grep large)" 'nothing of it was delivered'
run_ok python3 half.py "$port" all
like '^HTTP/1.1 200 OK' "$(tail -n 1 <<<"$out")"
run_ok queue-inspect show Store1 --where id=large --body
same "$(head -c 8000000 /dev/zero | tr '\0' y | md5sum)" "$(md5sum <"$T/.out")" 'the whole body'
run_ok queue-inspect check
stop_daemon k
stop_daemon b
done_testing
