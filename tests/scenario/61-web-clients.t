#!/usr/bin/env bash
# Browsers as senders: query strings, callbacks, custom messages and cross-origin requests, each only where it is allowed.
# asan: yes
. "$(dirname "$0")/../lib.sh"

answers=$SRC/tests/data/wire/answers
http() { timeout 60 python3 "$SRC/tests/rawhttp.py" "$@"; }
port_of() { sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$1"; }
request() { # METHOD TARGET FIELD...: no body
  local line="$1 $2 HTTP/1.1"
  shift 2
  printf '%s\r\n' "$line" 'Host: x' "$@" ''
}
gets() { # STATUS TEXT FILE [WHAT]: the answer to a request, its body and whether it closes
  run_ok http "$port" --reason "$3"
  local status text
  IFS=$'\t' read -r _ status text _ <<<"$out"
  same "$1 $2" "$status $text" "${4:-$3}"
}
count() { queue-inspect list Store1 --all --json 2>/dev/null | wc -l; }

# --- closed: nothing of the kind is stored ------------------------------------------------------------------------------------
start_daemon closed gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(port_of "$ready_line")
no='messages in query strings and callbacks are not accepted here'
id='NServiceBus.Id=w1&NServiceBus.CallType=SingleCallSubmit'
for query in "Message=x&$id" "message=x" 'callback=cb' 'CallBack=cb' 'nservicebus.id=x' 'a=b&NServiceBus.Header.X=y' '%4dessage=x' 'a=b;Message=x'; do
  request GET "/Store1/?$query" >closed.request
  gets 403 "$no" closed.request "without --web-clients: ?$query"
done
request GET '/Store1/?a=b' >other.request
gets 200 '<html><body>EndpointName:Store1 - Status: Ok</body></html>' other.request 'a query that says nothing is a status page'
request OPTIONS /Store1/ 'Origin: https://shop.example' 'Access-Control-Request-Method: POST' >options.request
gets 405 'Method Not Allowed' options.request 'without CorsOrigins'
same 0 "$(count)"
stop_daemon closed

# --- open: the recorded requests ------------------------------------------------------------------------------------------------
start_daemon open gw-listen --endpoint Store1 --web-clients --channel http://127.0.0.1:0/Store1/
port=$(port_of "$ready_line")
for name in 21-callback-ok 22-callback-error 26-get-query-message 27-query-overrides-header; do
  run_ok http "$port" --host localhost:25899 --reason --field content-type "$answers/$name.request"
  response=$answers/$name.response
  first=$(head -n 1 "$response" | tr -d '\r')
  type=$(sed -n 's/^Content-Type: //p' "$response" | tr -d '\r')
  status=${first#HTTP/1.1 } status=${status%% *}
  closed=open
  [ "$status" = 200 ] || closed=closed
  same "$name	$status	$(tail -n 1 "$response")	$closed	content-type=$type	reason=${first#HTTP/1.1 "$status" }" "$out" "$name: as the original"
done
gets 400 'the callback is not a name' "$answers/23-callback-script.request"
queue-inspect show Store1 --all --json >delivered
run_ok python3 - "$answers/delivered.jsonl" delivered <<'PY'
import json, sys
original = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
ours = {m["id"]: m for m in map(json.loads, open(sys.argv[2], encoding="utf-8"))}
assert set(ours) == {"id-19", "web\\123456", "id-22-query"}, sorted(ours)
want = next(h for h in original if h.get("Message"))
want |= {"NServiceBus.MessageId": want["NServiceBus.Id"], "NServiceBus.ReplyToAddress": "Store1.gateway"}
web = ours["web\\123456"]
assert web["headers"] == want, (web["headers"], want)
assert web["body"] == want["Message"], web["body"]
assert ours["id-22-query"]["headers"]["NServiceBus.MessageId"] == "id-22-query"
PY
run_ok queue-inspect purge Store1 --all

# --- query strings ----------------------------------------------------------------------------------------------------------------
request GET "/Store1/?Message=a%2Bb%2520c%C3%A4+d%26&Content-MD5=$(printf 'a+b%%20c\303\244 d&' | openssl md5 -binary | base64 | sed 's/+/%2B/g; s/=/%3D/g')&$id&callback=\$a.b_1" >once.request
gets 200 "\$a.b_1({ status: 'OK'})" once.request 'values are decoded once'
run_ok queue-inspect take Store1
same "$(printf 'a+b%%20c\303\244 d&')" "$out"
gets 200 "\$a.b_1({ status: 'OK'})" once.request 'a duplicate is 200'
same 0 "$(count)" 'and delivers nothing'
bad=('callback=' 'callback=1a' 'callback=a-b' 'callback=a(b' "callback=$(printf 'a%.0s' {1..129})" 'callback=%C3%A4' 'callback=a%0Ab')
for query in "${bad[@]}"; do
  request GET "/Store1/?Message=x&${id/w1/bad}&$query" >bad.request
  gets 400 'the callback is not a name' bad.request "?$query"
done
long=$(printf 'a%.0s' {1..128})
request GET "/Store1/?Message=x&${id/w1/long}&callback=$long" >long.request
gets 200 "$long({ status: 'OK'})" long.request 'a callback of 128 characters'
request GET "/Store1/?Message=x&callback=cb" >noid.request
gets 400 "cb({ status: 'Required header \\'NServiceBus.Id\\' missing.'})" noid.request 'quotes in a script text are escaped'
run_ok http "$port" --reason noid.request
like "reason=Required header 'NServiceBus.Id' missing\." "$out" 'the reason phrase is the plain text'
request GET "/Store1/?Message=x&NServiceBus.Id=t&NServiceBus.CallType=%3C/script%3E&callback=cb" >script.request
gets 400 "cb({ status: 'Invalid CallType \\'\\x3c/script\\x3e\\'. CallTypes supported \\'SingleCallSubmit, SingleCallDatabusProperty\\''})" script.request
request GET "/Store1/?Message=x&Message=y&${id/w1/twice}" >twice.request
gets 400 "query key 'Message' is there twice" twice.request
request GET "/Store1/?Message=%FF&${id/w1/utf8}" >utf8.request
gets 400 "query value of 'Message' is not UTF-8" utf8.request
request GET "/Store1/?Message=x&${id/w1/ctl}&a%0Ab=c" >ctl.request
gets 400 'query key with control characters' ctl.request
request GET "/Store1/?Message=x&${id/w1/many}$(printf '&k%d=v' {1..61})" >many.request
gets 431 'more than 63 query keys' many.request
request HEAD "/Store1/?Message=x&${id/w1/head}" >head.request
run_ok http "$port" head.request
like '	405	' "$out" 'HEAD stores nothing'
request GET "/Store1/?${id/w1/empty}" >empty.request
gets 200 OK empty.request 'no Message: an empty body'
request GET /Store1/ 'NServiceBus.Id: hdr' 'NServiceBus.CallType: SingleCallSubmit' >get.request
gets 200 OK get.request 'GET with headers'
{ printf '%s\r\n' "POST /Store1/?Message=short&${id/w1/both} HTTP/1.1" 'Host: x' 'Content-Length: 100000' ''; head -c 100000 /dev/zero | tr '\0' z; } >both.request
gets 200 OK both.request 'Message replaces the body'
same short "$(queue-inspect show Store1 both --body)"
{ printf '%s\r\n' "POST /Store1/?a=b&callback=cb HTTP/1.1" 'Host: x' 'NServiceBus.Id: custom' 'NServiceBus.CallType: SingleCallSubmit' 'X-Shop: %C3%A4+b' 'Cookie: secret' 'Content-Length: 2' '' | head -c -0; printf hi; } >custom.request
gets 200 "cb({ status: 'OK'})" custom.request 'a custom message'
run_ok queue-inspect show Store1 custom --json
like '"X-Shop":"ä b"' "$out" 'its headers are those of the request and of the query'
like '"a":"b"' "$out"
like '"NServiceBus.MessageId":"custom"' "$out"
like '"body":"hi"' "$out"
unlike 'secret' "$out" 'cookies are not handed on'
{ printf '%s\r\n' "POST /Store1/?NServiceBus.Header.X=query HTTP/1.1" 'Host: x' 'NServiceBus.Id: over' 'NServiceBus.CallType: SingleCallSubmit' 'NServiceBus.Gateway: True' 'NServiceBus.Header.X: field' 'Content-Length: 0' ''; } >over.request
gets 200 OK over.request
like '"X":"query"' "$(queue-inspect show Store1 over --json)" 'the query wins'
gets 200 '<html><body>EndpointName:Store1 - Status: Ok</body></html>' other.request 'still a status page'
stop_daemon open

# --- cross-origin requests -----------------------------------------------------------------------------------------------------------
cat >cors.xml <<'X'
<gatepost><Gateway Endpoint="Store1"><Channels>
  <Channel Address="http://127.0.0.1:0/Store1/" CorsOrigins="https://shop.example, http://localhost:3000"/>
</Channels></Gateway></gatepost>
X
start_daemon cors gw-listen --config cors.xml
port=$(port_of "$ready_line")
fields=(--field access-control-allow-origin --field vary --field access-control-allow-headers --field access-control-allow-methods --field content-length)
request OPTIONS /Store1/ 'Origin: https://shop.example' 'Access-Control-Request-Method: POST' 'Access-Control-Request-Headers: content-md5,nservicebus.id' >ask.request
run_ok http "$port" "${fields[@]}" ask.request
like '^ask	204	[^	]*	open	' "$out"
like 'access-control-allow-origin=https://shop.example' "$out" 'its own value'
like 'vary=Origin' "$out"
like 'access-control-allow-headers=content-md5,nservicebus.id' "$out"
like 'access-control-allow-methods=GET, POST' "$out"
unlike 'content-length=[0-9]' "$out"
request OPTIONS /Store1/ 'Origin: https://evil.example' 'Access-Control-Request-Method: POST' >evil.request
run_ok http "$port" "${fields[@]}" evil.request
like "	403	origin 'https://evil.example' is not allowed" "$out"
unlike 'allow-origin=http' "$out"
like 'vary=Origin' "$out"
post() { printf '%s\r\n' 'POST /Store1/ HTTP/1.1' 'Host: x' "NServiceBus.Id: $1" 'NServiceBus.CallType: SingleCallSubmit' 'Content-Length: 2' "${@:2}" ''; printf hi; }
queue-inspect purge Store1 --all >/dev/null
post c1 'Origin: http://localhost:3000' >c1.request
run_ok http "$port" "${fields[@]}" c1.request
like '^c1	200	OK	.*access-control-allow-origin=http://localhost:3000.*vary=Origin' "$out"
post c2 'Origin: https://shop.example' 'Content-MD5: bad' >c2.request
run_ok http "$port" "${fields[@]}" c2.request
like '	412	.*access-control-allow-origin=https://shop.example' "$out" 'a page can read errors too'
for origin in https://evil.example null https://shop.example:8443 https://shop.example.evil http://shop.example; do
  post c3 "Origin: $origin" >c3.request
  run_ok http "$port" "${fields[@]}" c3.request
  like '	403	.*not allowed' "$out" "$origin"
done
post c4 >c4.request
run_ok http "$port" "${fields[@]}" c4.request
like '	200	OK	.*vary=Origin' "$out" 'other senders go on as before'
request GET "/Store1/?Message=x&$id" 'Origin: https://shop.example' >query.request
run_ok http "$port" query.request
like '	403	messages in query' "$out" 'CorsOrigins opens no query strings'
same 2 "$(count)"
stop_daemon cors
for bad in 'shop.example' 'https://shop.example/' '*' 'https://a, ftp://b'; do
  sed "s|CorsOrigins=\"[^\"]*\"|CorsOrigins=\"$bad\"|" cors.xml >bad.xml
  run_exit 78 gw-listen --config bad.xml --check-config
  like 'bad.xml:2: .*CorsOrigins.*origins of web pages' "$err"
done
run_ok queue-inspect check
done_testing
