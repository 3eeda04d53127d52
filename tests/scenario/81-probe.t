#!/bin/bash
# gw-send probe: what of a message arrives at a site, and what stands in the way.
# timeout: 60
# asan: yes
. "$(dirname "$0")/../lib.sh"

start_daemon store1 gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --max-body 1M
url=${ready_line#ready }

run_ok gw-send probe --to S --site "S=$url" --header 'Shop.Till=7 8' --endpoint HQ
like '^S \(http://127.0.0.1:[0-9]+/Store1/, endpoint Store1\): all arrives$' "$out"
like '^NServiceBus.Header.Shop.Till +same$' "$out"
like '^\(body\) +same$' "$out"
like '^beside them: Host$' "$out"
unlike 'lost|lower-cased|changed' "$out"
run_ok gw-send probe --to S --site "S=$url" --json
same '{"site":"S","status":200,"endpoint":"Store1","dropped":[],"lowercased":[],"changed":[]}' \
  "$(jq -c '{site,status,endpoint,dropped,lowercased,changed}' <<<"$out")"
printf '<gatepost><Gateway><Sites><Site Key="S" Address="%s" HeaderCase="lower"/></Sites></Gateway></gatepost>\n' "$url" >lower.xml
run_ok gw-send probe --to S --json --config lower.xml
same '[] null' "$(jq -r '"\(.lowercased) \(.hint)"' <<<"$out")" "what was sent in lower case has arrived as it was"
run_exit 1 queue-inspect take Store1
run_ok gw-dedup list --endpoint Store1 --json
same "" "$out" "a probe leaves nothing behind"
check "an event says so" grep -q 'info probe from=127.0.0.1 body_bytes=65536' store1.err

# httpvnext carries the headers in the body; a machine is asked like a site.
start_daemon next gw-listen --root "$T/next" --endpoint Next --channel http://127.0.0.1:0/next/,httpvnext
next=${ready_line#ready }
start_daemon vm2 gw-listen --root "$T/vm2" --machine vm2 --channel http://127.0.0.1:0/machine/
cat >more.xml <<END
<gatepost><Gateway Endpoint="HQ"><Sites>
  <Site Key="V" Address="$next" ChannelType="httpvnext"/>
  <Site Key="VLower" Address="$next" ChannelType="httpvnext" HeaderCase="lower"/>
  <Site Key="Stick" Address="$T/stick" ChannelType="file"/>
</Sites></Gateway><Machines><Machine Name="vm2" Address="${ready_line#ready }"/></Machines></gatepost>
END
for key in V VLower @vm2 '@*'; do
  run_ok gw-send probe --to "$key" --config more.xml --json
  same '[200,[],[],[]]' "$(jq -c '[.status,.dropped,.lowercased,.changed]' <<<"$out")"
done
same @vm2 "$(jq -r .site <<<"$out")"
run_ok gw-send probe --to V --config more.xml --size 2M
like '^NServiceBus.Header.Gatepost.Probe.Long +same$' "$out"
run_ok gw-send --to V,VLower --config more.xml --wait delivered --timeout 20s more.xml
same "$(cat more.xml)" "$(queue-inspect take Next --root "$T/next" --max 1)" "and so are messages"
run_exit 64 gw-send probe --to Stick --config more.xml
like "site 'Stick' has the channel type 'file'" "$err"
run_exit 64 gw-send probe --to @vm3 --config more.xml
like 'the following machines have not been configured: @?vm3' "$err"
stop_daemon next
stop_daemon vm2

# What other ends do. Each is a port of one small server.
cat >ends.py <<'END'
import http.server, json, socket, sys, threading, urllib.request
target = sys.argv[1]
class End(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def answer(self, status, reason, body):
        self.send_response_only(status, reason)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.server.kind
        if kind == "original":
            text = "Invalid CallType '%s'. CallTypes supported 'SingleCallSubmit, SingleCallDatabusProperty'" % self.headers["NServiceBus.CallType"]
            return self.answer(400, text, text.encode())
        if kind == "dropping":
            text = "Required header 'NServiceBus.Id' missing."
            return self.answer(400, text, text.encode())
        if kind == "splash": return self.answer(200, "OK", b"<html>Please log in</html>")
        if kind == "login": return self.answer(401, "Unauthorized", b"who are you")
        if kind == "busy": return self.answer(503, "Busy", b"")
        # A proxy that changes things on the way to the real one.
        path = self.path
        with socket.create_connection(("127.0.0.1", int(target))) as s:
            head = "POST %s HTTP/1.1\r\n" % path
            for name, value in self.headers.items():
                if name.endswith("traceparent"): continue
                if name.endswith("Long"): value = value[:100]
                head += "%s: %s\r\n" % (name.lower(), value)
            s.sendall((head + "via: 1.1 proxy\r\nconnection: close\r\n\r\n").encode() + body)
            data = b""
            while True:
                part = s.recv(65536)
                if not part: break
                data += part
        self.wfile.write(data)
        self.close_connection = True
ports = []
for kind in ["original", "dropping", "splash", "login", "busy", "proxy"]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), End)
    server.kind = kind
    ports.append(str(server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", *ports, flush=True)
threading.Event().wait()
END
port=${url#http://127.0.0.1:}
start_daemon ends python3 ends.py "${port%%/*}"
read -r _ original dropping splash login busy proxy <<<"$ready_line"
probe() { run_exit "$1" gw-send probe --to S --site "S=http://127.0.0.1:$2/Store1/" "${@:3}"; }

probe 0 "$original"
like 'an NServiceBus gateway: it got NServiceBus.Id and NServiceBus.CallType, and cannot tell what else arrived' "$out"
probe 0 "$original" --json
same '[400,false]' "$(jq -c '[.status, has("dropped")]' <<<"$out")" "absent means unknown"
probe 1 "$dropping" --json
same '["NServiceBus.Id"]' "$(jq -c .dropped <<<"$out")"
like 'ignore_invalid_headers off' "$(jq -r .hint <<<"$out")"
probe 69 "$splash"
like '200, but not from a gateway' "$out"
probe 69 "$login" --json
same 401 "$(jq .status <<<"$out")"
probe 75 "$busy"
probe 75 1 --json
same false "$(jq 'has("status")' <<<"$out")" "no answer, no status"
probe 69 "${port%%/*}" --size 2M
like '413 .*body larger than 1048576 bytes' "$out"
like 'probe-hint .*takes smaller bodies only' "$err"
probe 1 "$proxy"
like '^NServiceBus.Id +lower-cased$' "$out"
like '^NServiceBus.Header.traceparent +lost$' "$out"
like '^NServiceBus.Header.Gatepost.Probe.Long +changed$' "$out"
like '^beside them: via$' "$out"
probe 1 "$proxy" --json
same '["NServiceBus.Header.traceparent"] ["NServiceBus.Header.Gatepost.Probe.Long"]' "$(jq -cr '"\(.dropped) \(.changed)"' <<<"$out")"
check "the rest is lower-cased" jq -e '.lowercased | index("NServiceBus.CallType")' <<<"$out"

# Several sites: the worst one counts.
run_exit 69 gw-send probe --to 'S*' --site "S1=$url" --site "S2=http://127.0.0.1:$login/" --site "S3=http://127.0.0.1:$busy/" --json
same "S1 S2 S3" "$(jq -r .site <<<"$out" | xargs)"

run_exit 64 gw-send probe --site "S=$url"
like 'required' "$err"
run_exit 64 gw-send probe --to S --site "S=$url" --header x
run_exit 64 gw-send probe --to S --site "S=$url" --size much
run_exit 64 gw-send probe --to Nobody --site "S=$url"
stop_daemon store1
done_testing
