#!/usr/bin/env bash
# Requests that two parsers could read in two ways, that are broken, or too large: an exact status, a closed connection, nothing stored.
. "$(dirname "$0")/../lib.sh"

start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/ --max-body 1M --min-free 1M
port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")

request() { # a good head and EXTRA-LINES, with an id of its own
  printf '%s\n' "POST /Store1/ HTTP/1.1" "Host: localhost" "NServiceBus.Id: bad-$RANDOM" "NServiceBus.CallType: SingleCallSubmit" "NServiceBus.Gateway: True" "$@"
}

# One of each kind, and what is good.
table=$SRC/tests/data/http/requests.txt
timeout 120 python3 "$SRC/tests/rawhttp.py" "$port" --timeout 15 --table "$table" >answers
while IFS=$'\t' read -r name expected answer; do
  same "$expected" "$answer" "$name: $expected"
done <answers
same "$(grep -c '^== ' "$table")" "$(wc -l <answers)" 'an answer to each'
check 'at least 50' [ "$(wc -l <answers)" -ge 50 ]
run_ok queue-inspect list Store1 --json
same "$(grep -c '^> 200 ' "$table")" "$(grep -c '"state":"ready"' <<<"$out")" 'what was answered with 200 is there, and nothing else'
run_ok queue-inspect purge Store1 --all
run_ok queue-inspect list --json
puts=$(jq -r 'select(.queue == "Store1").puts_total' <<<"$out")

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
{ request 'Transfer-Encoding: chunked' '' | sed 's/$/\r/'; for _ in 1 2 3; do printf '80000\r\n'; head -c 524288 /dev/zero; printf '\r\n'; done; printf '0\r\n\r\n'; } >chunked-large.request
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" chunked-large.request
like '^chunked-large	(413	body larger|400	|000	-)' "$out" 'a chunked body that is too large'

# What follows a refused request is never run.
{ request 'Content-Length: 5' 'Content-Length: 5' '' | sed 's/$/\r/'; printf 'hello'; sed 's/id-1/smuggled/' "$SRC/tests/data/wire/answers/01-plain.request"; } >smuggle.request
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" smuggle.request
like '^smuggle	400	' "$out" 'a request behind a refused one'

run_exit 1 queue-inspect take Store1
run_ok queue-inspect list --json
same "$puts" "$(jq -r 'select(.queue == "Store1").puts_total' <<<"$out")" 'nothing was stored'
same '' "$(find "$GW_ROOT/bodies" -type f)" 'no body was left'

# And after all that it serves.
run_ok timeout 60 python3 "$SRC/tests/rawhttp.py" "$port" "$SRC/tests/data/wire/answers/01-plain.request"
like '^01-plain	200	OK' "$out"
run_ok queue-inspect take Store1
stop_daemon listen
done_testing
