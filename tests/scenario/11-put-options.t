#!/usr/bin/env bash
# Ids that callers choose, streams in, deferred and expiring messages, files of a directory.
# timeout: 120
# asan: yes
. "$(dirname "$0")/../lib.sh"

put() { printf '%s' "$1" | queue-inspect put "${@:2}"; }
ids() { queue-inspect list "$1" --json | python3 -c 'import json, sys; print(" ".join(json.loads(l)["id"] for l in sys.stdin))'; }
bodies() { queue-inspect show "$1" --all --json | python3 -c 'import json, sys; print("|".join(json.loads(l)["body"] for l in sys.stdin))'; }

run_ok queue-inspect create Sales Other

# The same message twice is one; another body under its id is refused.
run_ok put one Sales --id order-17
same order-17 "$out"
run_ok put one Sales --id order-17
same order-17 "$out"
run_exit 65 put two Sales --id order-17
like "order-17" "$err"
same "" "$out"
same one "$(bodies Sales)"
run_ok put two Other --id order-17
same two "$(bodies Other)" "another queue, another message"
run_ok queue-inspect take Sales
run_ok put one Sales --id order-17
run_exit 1 queue-inspect take Sales
run_ok put one Sales --id order-18 --json
same "order-18 False Sales 3" "$(python3 -c 'import json; o = json.load(open(".out")); print(o["id"], o["existed"], o["queue"], o["body_bytes"])')"
run_ok put one Sales --id order-18 --json
same "order-18 True" "$(python3 -c 'import json; o = json.load(open(".out")); print(o["id"], o["existed"])')"
run_exit 64 put one Sales --id ''
run_exit 64 put one Sales --id $'a\nb'
run_exit 64 put one Sales --id "$(head -c 256 /dev/zero | tr '\0' x)"
run_ok put one Sales --id "$(head -c 255 /dev/zero | tr '\0' x)"
queue-inspect purge Sales --all -q
queue-inspect purge Other --all -q

# Remembered for as long as the caller wants.
run_ok put one Sales --id short
run_ok put one Sales --id short --unique-for 1h
same one "$(bodies Sales)"
old_enough() { sleep 0.3; }
run_ok old_enough
run_ok put one Sales --id short --unique-for 200ms
same 'one|one' "$(bodies Sales)"
run_ok put one Sales --id short --unique-for 1h
same 'one|one' "$(bodies Sales)"
run_exit 65 put two Sales --id short
run_ok old_enough
run_ok put two Sales --id short --unique-for 200ms
same 'one|one|two' "$(bodies Sales)"
run_exit 64 put two Sales --unique-for 1h
run_exit 64 put two Sales --id x --unique-for soon
queue-inspect purge Sales --all -q

run_ok put text Sales --unique --type T
unique=$out
like '^[0-9a-f]{64}$' "$unique"
run_ok put text Sales --unique --type T
same "$unique" "$out"
run_ok put text Sales --unique --type U
same text\|text "$(bodies Sales)"
queue-inspect purge Sales --all -q

# Streams.
lines() { printf 'one\n\nthree\nlast' | queue-inspect put Sales --lines "$@"; }
run_ok lines
same "" "$out" "no ids without --ids"
like 'stored=4' "$err" "the count stands on stderr"
same 'one||three|last' "$(bodies Sales)"
queue-inspect purge Sales --all -q
run_ok lines --id s --ids -q
same $'s-1\ns-2\ns-3\ns-4' "$out"
same "" "$err"
run_ok lines --id s --ids
same 's-1 s-2 s-3 s-4' "$(ids Sales)" "a repeated stream stores nothing"
run_exit 65 bash -c "printf 'other\n' | queue-inspect put Sales --lines --id s"
queue-inspect purge Sales --all -q
run_ok bash -c "printf 'a\nb\0c\0' | queue-inspect put Sales -0 -q"
same $'a\nb|c' "$(bodies Sales)"
queue-inspect purge Sales --all -q
run_ok bash -c "head -c 70000 /dev/zero | tr '\0' x | queue-inspect put Sales --lines -q"
run_ok queue-inspect take Sales
same 70000 "$(wc -c <.out | tr -d ' ')"
run_exit 64 lines -0
run_exit 64 lines --batch 0

# What was read is stored although the stream goes on.
mkfifo pipe
start_background stream bash -c "exec queue-inspect put Sales --lines --ids --id live <pipe"
exec 7>pipe
printf 'first\nsecond\n' >&7
wait_until 5 grep -q live-2 stream.out
same 'first|second' "$(bodies Sales)"
exec 7>&-
wait_daemon stream
same 0 "$status"
queue-inspect purge Sales --all -q

# Later.
run_ok put soon Sales --delay 1500ms
run_exit 1 queue-inspect take Sales
run_ok queue-inspect list Sales --json
check "due in 1.5 s" python3 -c '
import datetime, json
o = json.load(open(".out"))
t = lambda x: datetime.datetime.fromisoformat(x.replace("Z", "+00:00")).timestamp()
assert o["state"] == "deferred" and 1.4 < t(o["due_at"]) - t(o["put_at"]) < 1.7, o'
run_ok queue-inspect take Sales --wait --timeout 10
same soon "$out"
run_ok put later Sales --at 2099-01-01T00:00:00Z
run_ok queue-inspect list --json
like '"ready":0,"claimed":0,"deferred":1' "$out"
run_ok queue-inspect take Sales --where state=deferred
same later "$out" "a selection takes deferred messages too"
run_exit 64 put x Sales --at tomorrowish
run_exit 64 put x Sales --delay soon
run_exit 64 put x Sales --delay 1 --at 22:00

# Not after.
run_ok put gone Sales --ttl 300ms
run_ok put kept Sales --ttl 1h
expired() { sleep 0.4; }
run_ok expired
run_ok queue-inspect take Sales
same kept "$out"
run_ok queue-inspect list --json
like '"ready":0,"claimed":0,"deferred":0' "$out"
like '"acks_total":' "$out"

# Headers.
run_ok put x Sales --header 'Text=100% =a b' --header NServiceBus.MessageIntent=Publish --header NServiceBus.ConversationId=c1
run_ok queue-inspect show Sales --all --headers
like '^Text: 100%25 =a b$' "$out"
like '^NServiceBus.MessageIntent: Publish$' "$out"
like '^NServiceBus.ConversationId: c1$' "$out"
run_exit 64 put x Sales --header novalue
queue-inspect purge Sales --all -q

# A directory of files.
mkdir box
printf 1 >box/one
printf 2 >box/.two
printf 3 >box/three.tmp
printf 4 >box/four.part
printf 5 >box/five~
head -c 70000 /dev/urandom >box/big
cp box/big big
touch -d '2020-01-01' box/one
run_ok queue-inspect put Sales --from-dir box --ids
same 2 "$(wc -l <.out | tr -d ' ')"
same "big one" "$(find box/.sent -type f -printf '%f\n' | sort | tr '\n' ' ' | sed 's/ $//')"
same ".two five~ four.part three.tmp" "$(find box -maxdepth 1 -type f -printf '%f\n' | sort | tr '\n' ' ' | sed 's/ $//')"
run_ok queue-inspect show Sales :"$(queue-inspect list Sales --json --where Gatepost.FileName=big | python3 -c 'import json, sys; print(json.load(sys.stdin)["seq"])')" --body
check "the file's bytes" cmp .out big
run_ok queue-inspect put Sales --from-dir box
same 2 "$(queue-inspect list Sales --json | wc -l | tr -d ' ')"
run_exit 66 queue-inspect put Sales --from-dir no-such-directory
run_exit 64 queue-inspect put Sales --from-dir box --lines
run_exit 64 queue-inspect put Sales --follow
queue-inspect purge Sales --all -q

start_daemon follow queue-inspect put Sales --from-dir box --follow
printf written >box/written
printf part >box/renamed.part && mv box/renamed.part box/renamed
gone() { [ ! -e "$1" ]; }
wait_until 5 gone box/written
wait_until 5 gone box/renamed
same 'part|written' "$(bodies Sales | tr '|' '\n' | sort | tr '\n' '|' | sed 's/|$//')"
run_ok bash -c 'exec 8>box/slow; printf half >&8; printf x >box/next; for _ in $(seq 100); do [ -e box/next ] || break; sleep 0.05; done; [ -e box/slow ] && printf done >&8'
wait_until 5 gone box/slow
like 'halfdone' "$(bodies Sales)" "a file is sent when its writer has closed it"
kill -HUP "${DAEMON[follow]}"
printf after >box/after
wait_until 5 gone box/after
stop_daemon follow
queue-inspect purge Sales --all -q

# Killed between commit and rename: the file is met again and not stored twice.
for n in $(seq 40); do echo "$n" >"box/n$n"; done
for _ in $(seq 30); do
  { timeout -s KILL "0.0$((RANDOM % 10))$((RANDOM % 10))" queue-inspect put Sales --from-dir box -q --batch 3; } 2>/dev/null
  [ -n "$(find box -maxdepth 1 -name 'n*')" ] || break
done
run_ok queue-inspect put Sales --from-dir box -q
same "$(seq 40)" "$(queue-inspect take Sales | sort -n)" "40 files, each once"
done_testing
