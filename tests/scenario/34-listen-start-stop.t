#!/usr/bin/env bash
# Starting and stopping: ports, hosts, several channels, bad options and configurations, a graceful end, a new reading of the file.
. "$(dirname "$0")/../lib.sh"

request=$SRC/tests/data/wire/answers/01-plain.request
http() { timeout 60 python3 "$SRC/tests/rawhttp.py" "$@"; }
port_of() { sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$1"; }

run_exit 64 gw-listen
run_exit 64 gw-listen --endpoint E
run_exit 64 gw-listen --channel http://127.0.0.1:0/
run_exit 64 gw-listen --endpoint a/b --channel http://127.0.0.1:0/
run_exit 64 gw-listen --endpoint E --channel http://127.0.0.1:0/ --max-body many
for url in x ftp://a/ http:// http://:80/ http://a:99999/ http://a:b/ 'http://a/?q' http://a/../b/ 'http://[::1]:80/'; do
  run_exit 64 gw-listen --endpoint E --channel "$url"
  like 'channel' "$err"
done
run_exit 64 gw-listen --endpoint E --channel http://a:1/x/ --channel http://a:1/x

# Two channels on one port, a third anywhere; one endpoint.
one=$(free_port)
start_daemon listen gw-listen --endpoint Store1 --channel "http://127.0.0.1:$one/A/" --channel "http://127.0.0.1:$one/A/B/" --channel http://localhost:0/C --max-body 1M
wait_until 10 [ "$(grep -c '^ready ' listen.out)" = 3 ]
same "ready http://127.0.0.1:$one/A/
ready http://127.0.0.1:$one/A/B/" "$(head -n 2 listen.out)"
like '^ready http://localhost:[1-9][0-9]*/C/$' "$(tail -n 1 listen.out)"
other=$(port_of "$(tail -n 1 listen.out)")
for path in "$one/A/" "$one/A/B/" "$one/A/B/c" "$other/C/"; do
  sed "s,/Store1/,/${path#*/},; s/id-1\r/${path//\//-}\r/" "$request" >"${path//\//-}.request"
  run_ok http "${path%%/*}" "${path//\//-}.request"
  like '	200	OK' "$out" "$path"
done
run_ok http "$other" "$request"
like '	404	' "$out" "a path of another port"
run_ok queue-inspect list --json
like '"queue":"Store1".*"ready":4' "$out"
like '"queue":"Store1.gateway"' "$out" 'the queue for replies is there'
like 'listening url=' "$(cat listen.err)"

# Taken.
run_exit 73 gw-listen --endpoint Store1 --channel "http://127.0.0.1:$one/A/"
like "listen on '127.0.0.1:$one'.*another program listens there" "$err"
stop_daemon listen
like 'stopping' "$(cat listen.err)"

# Loopback is not reachable from other addresses, wildcards are.
address=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m 1 -E '^[0-9.]+$')
can_connect() { python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)' "$1" "$2" 2>/dev/null; }
start_daemon local gw-listen --endpoint Store1 --channel http://localhost:0/
start_daemon star gw-listen --endpoint Store1 --channel 'http://*:0/'
like '^ready http://\*:[1-9][0-9]*/$' "$ready_line"
start_daemon plus gw-listen --endpoint Store1 --channel 'http://+:0/'
check 'a wildcard answers on loopback' can_connect 127.0.0.1 "$(port_of "$(cat plus.out)")"
if [ -n "$address" ] && [ "$address" != 127.0.0.1 ]; then
  check 'a wildcard answers on other addresses' can_connect "$address" "$(port_of "$(cat star.out)")"
  check_not 'loopback does not' can_connect "$address" "$(port_of "$(cat local.out)")"
else
  skip 2 'this machine has only loopback'
fi
stop_daemon local
stop_daemon star
stop_daemon plus

# A body under way when the listener is told to stop is still taken in; a new request is not.
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(port_of "$ready_line")
cat >upload.py <<'PY'
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60)
head = ["POST /Store1/ HTTP/1.1", "Host: x", "NServiceBus.Id: under-way", "NServiceBus.CallType: SingleCallSubmit", "NServiceBus.Gateway: True", "Content-Length: 200000"]
s.sendall(("\r\n".join(head) + "\r\n\r\n").encode() + b"x" * 100000)
print("half", flush=True)
sys.stdin.readline()
s.sendall(b"x" * 100000)
print(s.makefile("rb").read().decode())
PY
mkfifo go
python3 upload.py "$port" <go >upload.out &
upload=$!
exec 8>go
has_part() { [ -n "$(find "$GW_ROOT/bodies" -type f -size +64k -newer upload.py)" ]; }
wait_until 20 has_part
kill -TERM "${DAEMON[listen]}"
wait_until 5 grep -q stopping listen.err
echo >&8
exec 8>&-
wait "$upload"
like '^HTTP/1.1 200 OK' "$(cat upload.out)" 'the body under way'
like 'Connection: close' "$(cat upload.out)"
wait_daemon listen
same 0 "$status" 'exit code after SIGTERM'
run_ok queue-inspect list Store1 --where id=under-way --json
like '"body_bytes":200000' "$out"

# A sender that holds its connection, or a body that never ends, does not keep it from ending in time.
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(port_of "$ready_line")
mkfifo never
python3 upload.py "$port" <never >/dev/null 2>&1 &
upload=$!
exec 8>never
touch -d '-1 second' upload.py
more_parts() { [ "$(find "$GW_ROOT/bodies" -type f -size +64k | wc -l)" -gt 1 ]; }
wait_until 20 more_parts
began=$SECONDS
kill -TERM "${DAEMON[listen]}"
wait_daemon listen
same 0 "$status" 'exit code'
check "within 10 s" [ $((SECONDS - began)) -le 10 ]
exec 8>&-
wait "$upload"

# From the file. What would protect a channel is never ignored.
config() { printf '<gatepost><Gateway Endpoint="Store2"><Channels>%s</Channels></Gateway></gatepost>\n' "$1" >config.xml; }
config '<Channel Address="http://127.0.0.1:0/Store2/" ChannelType="http" MaxBody="100"/>'
run_ok gw-listen --config config.xml --check-config
start_daemon listen gw-listen --config config.xml
port=$(port_of "$ready_line")
sed 's,/Store1/,/Store2/,; s/id-1\r/id-7\r/' "$request" >seven.request
run_ok http "$port" seven.request
like '^seven	200' "$out"
config '<Channel Address="http://127.0.0.1:0/Store2/" ChannelType="http" MaxBody="50"/>'
wait_until 10 grep -q config-read listen.err
run_ok http "$port" seven.request
like '^seven	413' "$out" 'a changed limit counts without a restart'
echo '<gatepost><broken' >config.xml
wait_until 10 grep -q 'config-bad.*config.xml:[12]' listen.err
run_ok http "$port" seven.request
like '^seven	413' "$out" 'a broken file changes nothing'
stop_daemon listen
for attributes in 'TokenFile="absent"' 'ClientCa="config.xml"'; do
  config "<Channel Address=\"http://127.0.0.1:0/\" ChannelType=\"http\" $attributes/>"
  run_exit 78 gw-listen --config config.xml
done

# Who may send.
start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --allow-endpoint HQ --allow-endpoint Depot
port=$(port_of "$ready_line")
for from in HQ Depot hq ''; do
  sed "s/^NServiceBus.Gateway: True/NServiceBus.Header.NServiceBus.OriginatingEndpoint: $from\r\n&/; s/id-1\r/from-$from\r/" "$request" >"from-$from.request"
done
run_ok http "$port" from-HQ.request from-Depot.request from-hq.request from-.request "$request"
same $'200\n200\n403\n403\n403' "$(cut -f 2 <<<"$out")" 'only the endpoints of the list'
stop_daemon listen
config '<Channel Address="http://127.0.0.1:0/Store1/" AllowEndpoints="HQ,Depot"/>'
start_daemon listen gw-listen --config config.xml
port=$(port_of "$ready_line")
run_ok http "$port" from-HQ.request from-Depot.request from-hq.request
same $'200\n200\n403' "$(cut -f 2 <<<"$out")" 'the list of the file'
stop_daemon listen
# A queue that is removed under a listener is made anew.
start_daemon again gw-listen --endpoint Again --channel http://127.0.0.1:0/Again/
again=${ready_line#ready }
post_again() { curl -s -o /dev/null -m 5 -w '%{http_code}' -H "NServiceBus.Id: $(cat /proc/sys/kernel/random/uuid)" -H "NServiceBus.CallType: ${1-SingleCallSubmit}" --data-binary x "$again"; }
same "200 200" "$(post_again) $(post_again Submit)"
run_ok queue-inspect remove Again --force
run_ok queue-inspect remove Again.gateway
run_ok queue-inspect remove Again.legacy --force
taken_again() { [ "$(post_again)" = 200 ]; }
wait_until 10 taken_again
check "it is told" grep -q 'warn queue-made-anew queue=Again reason=' again.err
same 1 "$(queue-inspect list Again --json | wc -l)"
held_again() { [ "$(post_again Submit)" = 200 ]; }
wait_until 10 held_again
unlike 'status=500' "$(cat again.err)" "nobody was told that something is broken"
stop_daemon again
done_testing
