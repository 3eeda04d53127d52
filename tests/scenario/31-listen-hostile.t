#!/usr/bin/env bash
# Requests that two parsers could read in two ways, that are broken, or too large: an exact status, a closed connection, nothing stored.
. "$(dirname "$0")/../lib.sh"

start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --max-body 1M --min-free 1M
port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")
raw() { timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" --timeout 15 - | cut -f 2-; }

# expect STATUS TEXT-REGEX WHAT, the request on stdin
expect() {
  local answer
  answer=$(raw)
  like "^$1	$2	closed" "$answer" "$3: $1"
}
# request EXTRA-LINES...: a good head but for the extra lines, with an id of its own
number=0
request() {
  number=$((number + 1))
  printf '%s\n' "POST /Store1/ HTTP/1.1" "Host: localhost" "NServiceBus.Id: bad-$number" "NServiceBus.CallType: SingleCallSubmit" "NServiceBus.Gateway: True" "$@"
}

expect 400 'ambiguous.*' 'two lengths, equal' < <(request 'Content-Length: 5' 'Content-Length: 5' '' hello)
expect 400 'ambiguous.*' 'two lengths' < <(request 'Content-Length: 5' 'Content-Length: 3' '' hello)
expect 400 'ambiguous.*' 'length and coding' < <(request 'Content-Length: 5' 'Transfer-Encoding: chunked' '' '0\r\n\r\n')
expect 400 '.*' 'coding and length' < <(request 'Transfer-Encoding: chunked' 'Content-Length: 5' '' 'hello')
expect 400 '.*' 'two codings' < <(request 'Transfer-Encoding: chunked' 'Transfer-Encoding: chunked' '' '0\r\n\r\n')
expect 400 '.*' 'coding identity' < <(request 'Transfer-Encoding: identity' '' '')
expect 400 '.*' 'coding gzip, chunked' < <(request 'Transfer-Encoding: gzip, chunked' '' '')
for length in 5abc +5 -5 '5, 6' 0x5 '5 5' 9999999999999999 ''; do
  expect 400 '.*' "length '$length'" < <(request "Content-Length: $length" '' hello)
done
expect 411 'Length Required' 'no length' < <(request '' hello)
expect 400 '.*Host.*' 'no Host' < <(printf '%s\n' 'POST /Store1/ HTTP/1.1' 'NServiceBus.Id: x' 'Content-Length: 0' '')
expect 400 '.*Host.*' 'two Hosts' < <(request 'Host: other' 'Content-Length: 0' '')
expect 400 '.*' 'folded header' < <(request 'X-A: 1' ' folded' 'Content-Length: 0' '')
expect 400 '.*' 'folded first header' < <(printf '%s\n' 'POST /Store1/ HTTP/1.1' ' Host: x' 'Content-Length: 0' '')
expect 400 '.*' 'empty name' < <(request ': x' 'Content-Length: 0' '')
expect 400 '.*' 'no colon' < <(request 'nonsense' 'Content-Length: 0' '')
expect 400 '.*' 'blank before the colon' < <(request 'X-A : 1' 'Content-Length: 0' '')
expect 400 '.*' 'coding with a blank before the colon' < <(request 'Transfer-Encoding : chunked' 'Content-Length: 5' '' hello)
expect 400 '.*' 'NUL in a value' < <(request 'X-A: a\x00b' 'Content-Length: 0' '')
expect 400 '.*' 'TAB in a value' < <(request 'X-A: a\tb' 'Content-Length: 0' '')
expect 400 '.*' 'bare CR' < <(request 'X-A: a\rX-B: b' 'Content-Length: 0' '')
expect 400 '.*' 'bare LF' < <(request 'X-A: a\n' 'Content-Length: 0' '')
expect 400 '.*' 'name that is no token' < <(request 'X(A): a' 'Content-Length: 0' '')
expect 400 '.*UTF-8.*' 'value that is not UTF-8' < <(request 'X-A: a\xff' 'Content-Length: 0' '')
expect 400 '.*UTF-8.*' 'value that is not UTF-8 when decoded' < <(request 'X-A: a%ff' 'Content-Length: 0' '')
expect 400 '.*' 'control byte in a name' < <(request 'X%0AA: a' 'Content-Length: 0' '')
expect 400 '.*twice.*' 'the same header twice' < <(request 'X-A: a' 'x-a: b' 'Content-Length: 0' '')
expect 400 '.*control.*' 'control bytes in an id' < <(printf '%s\n' 'POST /Store1/ HTTP/1.1' 'Host: x' 'NServiceBus.Id: a%0D%0Ab' 'NServiceBus.CallType: SingleCallSubmit' 'Content-Length: 0' '')
expect 400 '.*' 'a line before the request' < <(printf '%s\n' '' ; request 'Content-Length: 0' '')
expect 400 '.*' 'a body of a GET' < <(printf '%s\n' 'GET /Store1/ HTTP/1.1' 'Host: x' 'Content-Length: 5' '' hello)
expect 417 '.*' 'an unknown expectation' < <(request 'Expect: magic' 'Content-Length: 5' '' hello)
expect 505 '.*' 'HTTP/2.0' < <(printf '%s\n' 'POST /Store1/ HTTP/2.0' 'Host: x' 'Content-Length: 0' '')
expect 400 '.*' 'no HTTP at all' < <(printf '%s\n' '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' '')
for method in DELETE PATCH OPTIONS TRACE; do
  expect '40[05]' '.*' "method $method" < <(printf '%s\n' "$method /Store1/ HTTP/1.1" 'Host: x' 'Content-Length: 0' '')
done
for path in /Store1/../x /Store1/%2e%2e/x /Store1/a%00b /%53tore1/%2E%2E/ /Nowhere / //Store1/ '/Store1%zz'; do
  expect 404 '.*' "path $path" < <(printf '%s\n' "POST $path HTTP/1.1" 'Host: x' 'Content-Length: 0' '')
done

many() { for ((i = 0; i < $1; i++)); do printf 'X-%d: v\n' "$i"; done; }
expect 431 '.*63.*' '64 headers' < <(request; many 59; printf '%s\n' 'Content-Length: 0' '')
expect 431 '.*63.*' '300 headers' < <(request; many 300; printf '%s\n' 'Content-Length: 0' '')
long() { printf 'a%.0s' $(seq 1 "$1"); }
expect 431 '.*16384.*' 'a header of 17,000 bytes' < <(request "X-A: $(long 17000)" 'Content-Length: 0' '')
expect 431 '.*16384.*' 'a header of 1 MB' < <(request "X-A: $(long 1000000)" 'Content-Length: 0' '')

expect 400 '.*chunk.*' 'a chunk length that is none' < <(request 'Transfer-Encoding: chunked' '' 'zz\r\nhello\r\n0\r\n\r\n')
expect 400 '.*chunk.*' 'a chunk longer than it says' < <(request 'Transfer-Encoding: chunked' '' '3\r\nhello\r\n0\r\n\r\n')
expect 400 '.*chunk.*' 'a huge chunk length' < <(request 'Transfer-Encoding: chunked' '' 'ffffffffffffffff\r\nhello\r\n0\r\n\r\n')

# Cut bodies.
request 'Content-Length: 1000' '' | sed 's/$/\r/' >cut.request
printf 'x%.0s' $(seq 1 1000) >>cut.request
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" --cut 500 cut.request
like '^cut	400	the body ended after [0-9]+ of 1000 bytes	closed' "$out" 'a body that ends early'
request 'Transfer-Encoding: chunked' '' | sed 's/$/\r/' >chunks.request
printf '5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n' >>chunks.request
size=$(stat -c %s chunks.request)
for ((cut = size - 24; cut < size - 2; cut += 3)); do
  run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" --cut "$cut" chunks.request
  like '^chunks	400	.*last chunk	closed' "$out" "chunks cut $((size - cut)) bytes before the end"
done

# Too large: refused before it is read, not swallowed.
request 'Content-Length: 100000000' '' | sed 's/$/\r/' >large.request
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" --bytes 100000000 large.request
like '^large	(413	body larger than 1048576 bytes|000	-)	closed	' "$out" 'a body of 100 MB'
sent=${out##*sent=}
check "most of it was never taken ($sent bytes)" [ "$sent" -lt 8000000 ]
expect 413 '.*' '413 is told when the sender waits' < <(request 'Content-Length: 2000000' 'Expect: 100-continue' '')
{ request 'Transfer-Encoding: chunked' '' | sed 's/$/\r/'; for _ in 1 2 3; do printf '80000\r\n'; head -c 524288 /dev/zero; printf '\r\n'; done; printf '0\r\n\r\n'; } >chunked-large.request
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" chunked-large.request
like '^chunked-large	(413	body larger|400	|000	-)' "$out" 'a chunked body that is too large'

# What follows a refused request is never run.
{ request 'Content-Length: 5' 'Content-Length: 5' '' | sed 's/$/\r/'; printf 'hello'; sed 's/id-1/smuggled/' "$SRC/tests/data/wire/answers/01-plain.request"; } >smuggle.request
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" smuggle.request
like '^smuggle	400	' "$out" 'a request behind a refused one'

run_exit 1 queue-inspect take Store1
run_ok queue-inspect list --json
like '"queue":"Store1".*"puts_total":0' "$out" 'nothing was stored'
same '' "$(find "$GW_ROOT/bodies" -type f)" 'no body was left'

# And after all that it serves; 63 headers are allowed.
like '^200	OK	open' "$(raw < <(request; many 58; printf '%s\n' 'Content-Length: 0' ''))" '63 headers'
run_ok queue-inspect take Store1
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" "$SRC/tests/data/wire/answers/01-plain.request"
like '^01-plain	200	OK' "$out"
run_ok queue-inspect take Store1
stop_daemon listen
done_testing
