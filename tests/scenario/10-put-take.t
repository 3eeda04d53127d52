#!/usr/bin/env bash
# A message goes in, is looked at, and comes out: bodies of all kinds and sizes, exit codes, JSON.
# timeout: 120
. "$(dirname "$0")/../lib.sh"
done_with() { queue-inspect purge "$1" --all -q; }

run_exit 66 queue-inspect list
like "root" "$err" "an absent root is named"
run_exit 66 queue-inspect put Sales /dev/null
run_exit 66 queue-inspect take Sales

run_ok queue-inspect create Sales
run_exit 66 queue-inspect put Saels /dev/null
like "Saels" "$err"
like "did you mean 'Sales'" "$err"
run_exit 66 queue-inspect put Other /dev/null
like "queue-inspect create Other" "$err"
run_exit 1 queue-inspect take Sales
same "" "$out" "nothing is written for an empty queue"

printf hello >hello.txt
run_ok queue-inspect put Sales --type Greetings.Hello --header Region=north hello.txt
like '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$' "$out" "prints a new id"
id=$out

run_ok queue-inspect list
like '^root .*  machine [^ ]+  free [0-9]' "$out"
like '^QUEUE +READY +CLAIMED +DEFERRED +OLDEST +DISK +FLAGS$' "$out"
like '^Sales +1 +0 +0 ' "$out"
run_ok queue-inspect list --json
same '{"queue":"Sales","ready":1,"claimed":0,"deferred":0,"puts_total":1,"acks_total":0,"failed_total":0,"takes":"on","puts":"on"}' \
  "$(printf '%s' "$out" | python3 -c '
import json, sys
o = json.loads(sys.stdin.read())
assert o["oldest_s"] >= 0 and o["live_bytes"] > 5 and o["disk_bytes"] > 0 and o["machine"]
print(json.dumps({k: o[k] for k in ("queue", "ready", "claimed", "deferred", "puts_total", "acks_total", "failed_total", "takes", "puts")}, separators=(",", ":")))')"

run_ok queue-inspect list Sales
like '^ *SEQ +STATE +AGE +ATT +BYTES +TYPE +ID +REASON$' "$out"
like "^ *1 +ready +.* 0 +5.* Greetings.Hello +$id" "$out"
run_ok queue-inspect show Sales "$id"
like '^NServiceBus.MessageId: '"$id" "$out"
like '^NServiceBus.CorrelationId: '"$id" "$out"
like '^NServiceBus.MessageIntent: Send' "$out"
like '^NServiceBus.TimeSent: [0-9-]{10} [0-9:]{8}:[0-9]{6} Z' "$out"
like '^NServiceBus.EnclosedMessageTypes: Greetings.Hello' "$out"
like '^Gatepost.FileName: hello.txt' "$out"
like '^Region: north' "$out"
same hello "$(tail -n 1 .out)" "the body stands last"
run_ok queue-inspect show Sales :1 --headers
unlike hello$ "$out"
run_ok queue-inspect show Sales :1 --body
same hello "$out"
run_ok queue-inspect show Sales --all --json
same "hello Sales 1 $id ready Greetings.Hello 0 5 north" "$(python3 -c '
import json
o = json.load(open(".out"))
print(o["body"], o["queue"], o["seq"], o["id"], o["state"], o["type"], o["attempts"], o["body_bytes"], o["headers"]["Region"])')"
run_exit 66 queue-inspect show Sales no-such-id
like no-such-id "$err"
run_exit 66 queue-inspect show Sales :99
run_exit 64 queue-inspect show Sales

run_ok queue-inspect take Sales
same hello "$out"
run_exit 1 queue-inspect take Sales

# Every byte, from stdin, to the byte.
python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 3)' >all.bytes
put_stdin() { queue-inspect put Sales <"$1"; }
run_ok put_stdin all.bytes
run_ok queue-inspect show Sales --all
like '^\[body: .* binary; --body writes it\]$' "$out"
run_ok queue-inspect show Sales --all --json
check "base64 in JSON" python3 -c 'import base64, json; assert base64.b64decode(json.load(open(".out"))["body_base64"]) == bytes(range(256)) * 3'
run_ok queue-inspect take Sales
check "all 256 byte values come out as they went in" cmp .out all.bytes

# No body at all.
run_ok queue-inspect put Sales /dev/null
run_ok queue-inspect take Sales
same "" "$out"

# Around the size at which bodies become files, and far beyond.
for bytes in 65535 65536 65537 70000 52428800; do
  head -c "$bytes" /dev/urandom >body
  run_ok queue-inspect put Sales body
  run_ok queue-inspect show Sales --all --body
  check "$bytes bytes are shown" cmp .out body
  run_ok queue-inspect take Sales
  check "$bytes bytes come out" cmp .out body
done
check "no body file is left" [ -z "$(find root/bodies -type f)" ]
head -c 52428800 /dev/zero >body
run_ok queue-inspect put Sales body
run_ok queue-inspect show Sales --all --json
check "a large body is named" python3 -c 'import json, os; o = json.load(open(".out")); assert os.path.getsize(o["body_file"]) == 52428800 and os.path.isabs(o["body_file"])'
case $BUILD in
  *asan* | *tsan*) run_ok bash -c "queue-inspect take Sales >taken" ;;  # the sanitizers map terabytes
  *) run_ok bash -c "ulimit -v 120000; queue-inspect take Sales >taken" ;;
esac
check "50 MB come out with 120 MB of address space" cmp taken body
rm -f body taken

# Order, and --max.
run_ok bash -c "printf 'a\nb\nc\n' | queue-inspect put Sales --lines -q"
run_ok queue-inspect take Sales --max 2 --lines
same $'a\nb' "$out"
run_ok queue-inspect take Sales
same c "$out"

# A selection takes what it names, and nothing else.
run_ok bash -c "printf 'a\nb\nc\n' | queue-inspect put Sales --lines --id x -q"
run_ok queue-inspect take Sales x-2
same b "$out"
run_exit 66 queue-inspect take Sales x-2
run_ok bash -c "printf 'x-3\n' | queue-inspect take Sales -"
same c "$out"
run_exit 1 bash -c "queue-inspect take Sales - </dev/null"
same "" "$out" "no ids on stdin are no messages"
run_ok queue-inspect list Sales --json
same x-1 "$(python3 -c 'import json; print(json.load(open(".out"))["id"])')"

# Usage.
run_exit 64 queue-inspect put
run_exit 64 queue-inspect put Sales --nonsense
run_exit 64 queue-inspect take Sales --wait --follow
run_exit 64 queue-inspect take Sales --timeout 1
run_exit 64 queue-inspect take Sales --where 'age>soon'
run_exit 64 queue-inspect take Sales :x
run_exit 66 queue-inspect put Sales no-such-file
run_exit 64 queue-inspect nonsense
run_exit 74 bash -c "queue-inspect take Sales >/dev/full"
run_ok queue-inspect list Sales --json
same x-1 "$(python3 -c 'import json; print(json.load(open(".out"))["id"])')" "what could not be written stays"
run_exit 74 bash -c "queue-inspect list >/dev/full"
run_exit 74 bash -c "queue-inspect show Sales --all >/dev/full"

# Other machines.
run_exit 64 queue-inspect put Sales@elsewhere hello.txt
like 'the following machines have not been configured: elsewhere' "$err"
run_ok queue-inspect put Sales@localhost hello.txt
machine=$(queue-inspect list | sed -n '1s/.*  machine \([^ ]*\)  .*/\1/p')
run_ok queue-inspect put "Sales@$machine" hello.txt
done_with Sales
done_testing
