#!/usr/bin/env bash
# The forms in which take writes, waiting for messages, and following a queue.
# timeout: 120
# asan: yes
. "$(dirname "$0")/../lib.sh"

put() { printf '%b' "$1" | queue-inspect put Sales "${@:2}" >/dev/null; }
run_ok queue-inspect create Sales

# A body that would look like two messages stays.
put 'a'; put 'b\nc' --id torn; put 'd'
run_exit 65 queue-inspect take Sales --lines
same $'a\nd' "$out"
like "torn" "$err" "the message is named"
run_ok queue-inspect take Sales -0
check "NUL ends the body" python3 -c 'assert open(".out", "rb").read() == b"b\nc\0"'
put 'x\0y' --id torn0; put 'z'
run_exit 65 queue-inspect take Sales -0
check "what has no NUL in it is taken" python3 -c 'assert open(".out", "rb").read() == b"z\0"'
like torn0 "$err"
run_ok queue-inspect take Sales
check "as it is" python3 -c 'assert open(".out", "rb").read() == b"x\0y"'
run_ok bash -c "{ head -c 100000 /dev/zero; echo; head -c 9 /dev/zero; } | queue-inspect put Sales --id big"
run_exit 65 queue-inspect take Sales --lines
run_ok queue-inspect take Sales --json
check "a large body in JSON is base64" python3 -c '
import base64, json
o = json.load(open(".out"))
assert base64.b64decode(o["body_base64"]) == bytes(100000) + b"\n" + bytes(9) and o["state"] == "claimed" and "body_file" not in o'
put '{"a": 1}' --type Json
run_ok queue-inspect take Sales --json
check "a small body in JSON is text" python3 -c 'import json; o = json.load(open(".out")); assert o["body"] == "{\"a\": 1}" and o["type"] == "Json"'
run_exit 64 queue-inspect take Sales --lines -0
run_exit 64 queue-inspect take Sales --lines --json

# What --lines reads it writes.
seq 1 5000 >numbers
run_ok bash -c "queue-inspect put Sales --lines -q <numbers"
run_ok queue-inspect take Sales --lines
check "5,000 lines in order" cmp .out numbers

# Files.
mkdir in
put one --header Gatepost.FileName=prices.csv
put two --header Gatepost.FileName=prices.csv
put three --header Gatepost.FileName=../../etc/passwd
put four --header Gatepost.FileName=-rf
put five --header Gatepost.FileName=..
put six --id plain-id
run_ok queue-inspect take Sales --to-dir in
same "" "$out"
same one "$(cat in/prices.csv)"
same two "$(cat in/prices.csv~*)"
same three "$(cat in/passwd)"
same four "$(cat in/_rf)"
same five "$(cat in/__)"
same six "$(cat in/plain-id)"
same 6 "$(find in -type f | wc -l | tr -d ' ')" "nothing else is left in the directory"
check_not "nothing outside of it" [ -e ../etc/passwd ]
put seven --header Gatepost.FileName=j
run_ok queue-inspect take Sales --to-dir in --json
same in/j "$(python3 -c 'import json; print(json.load(open(".out"))["body_file"])')"
run_exit 66 queue-inspect take Sales --to-dir no-such-directory
put eight
chmod 500 in
if [ "$(id -u)" != 0 ]; then
  run_exit 77 queue-inspect take Sales --to-dir in
else
  skip 1 "root may write everywhere"
fi
chmod 700 in
run_ok queue-inspect take Sales
same eight "$out"
sync_order() {
  command -v strace >/dev/null || return 1
  put nine --header Gatepost.FileName=nine
  strace -f -o trace -e trace=fsync,fdatasync,renameat2 queue-inspect take Sales --to-dir in || return 2
}
if sync_order; then
  same "fsync renameat2 fsync fdatasync" "$(grep -o -E 'fsync|fdatasync|renameat2' trace | sed 's/^/ /' | tr -d '\n' | sed 's/^ //' | grep -o -E '^fsync renameat2 fsync fdatasync')" "file synced, renamed, directory synced, then acked"
else
  skip 1 "no strace"
fi

# Waiting.
begin=$(date +%s%N)
run_exit 75 queue-inspect take Sales --wait --timeout 300ms
elapsed=$((($(date +%s%N) - begin) / 1000000))
check "gives up after 300 ms, not much later ($elapsed ms)" [ "$elapsed" -ge 290 -a "$elapsed" -lt 5000 ]
start_background taker queue-inspect take Sales --wait --timeout 30
put wake
wait_daemon taker 10
same "0 wake" "$status $(cat taker.out)"

# Following.
start_background follower queue-inspect take Sales --follow --lines
put one; put two
wait_until 5 grep -q two follower.out
put three
wait_until 5 grep -q three follower.out
same $'one\ntwo\nthree' "$(cat follower.out)" "bodies and nothing else"
kill -TERM "$daemon_pid"
wait_daemon follower
same 0 "$status" "SIGTERM ends it with 0"
seq -f %01000.0f 3000 | queue-inspect put Sales --lines -q  # more than the pipe holds
mkfifo stuck
start_background stuck bash -c 'exec queue-inspect take Sales --follow --lines >stuck'
exec 7<stuck
some() { queue-inspect list --json | grep -q '"claimed":[1-9]'; }
wait_until 10 some
kill -TERM "$daemon_pid"
wait_daemon stuck
same 0 "$status" "also when nobody reads its output"
exec 7<&-
run_ok queue-inspect purge Sales --all -q
start_daemon dirs queue-inspect take Sales --to-dir in --follow
put late --header Gatepost.FileName=late
wait_until 5 grep -q late in/late
stop_daemon dirs

# Killed with messages written and not acked: they come again. Killed while it waits: nothing happens.
seq 1 2000 | queue-inspect put Sales --lines -q
for _ in $(seq 20); do
  { timeout -s KILL "0.0$((RANDOM % 10))$((RANDOM % 10))" queue-inspect take Sales --lines >>pieces; } 2>/dev/null
done
queue-inspect take Sales --lines >>pieces 2>/dev/null
same "$(seq 1 2000)" "$(grep -E '^[0-9]+$' pieces | sort -n -u)" "every line came at least once"
run_ok queue-inspect check

# A reader that goes away: what it did not get stays.
seq 1 20000 | queue-inspect put Sales --lines -q
run_exit 74 bash -c 'set -o pipefail; queue-inspect take Sales --lines | head -n 1 >/dev/null'
run_ok queue-inspect take Sales --max 1
run_ok bash -c 'queue-inspect list Sales | head -n 1'
same "" "$err" "list is quiet when nobody reads on"
done_testing
