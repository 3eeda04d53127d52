#!/usr/bin/env bash
# gw-dedup: seen, mark, filter, list, status, purge with its horizon and clocks, check and repair.
. "$(dirname "$0")/../lib.sh"

request=$SRC/tests/data/wire/answers/01-plain.request
http() { timeout 60 python3 "$SRC/tests/rawhttp.py" "$@"; }
sql() { python3 - "$GW_ROOT/dedup/Store1.db" "$1" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA wal_autocheckpoint=0")
db.executescript(sys.argv[2])
PY
}

run_exit 66 gw-dedup seen --endpoint Store1 x
run_exit 64 gw-dedup seen --endpoint Store1
run_exit 64 gw-dedup purge --endpoint Store1
run_exit 64 gw-dedup purge --endpoint Store1 --older-than soon
run_exit 64 gw-dedup seen --endpoint ../x y
run_exit 64 gw-dedup nonsense

start_daemon listen gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
port=$(sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$ready_line")

# Asking and marking, while the listener runs.
run_ok http "$port" "$request"
run_ok gw-dedup seen --endpoint Store1 id-1
same '' "$out" 'seen says nothing but its exit code'
run_exit 1 gw-dedup seen --endpoint Store1 id-2
run_exit 1 gw-dedup --endpoint Store1 seen id-1 id-2
same $'id-1\tseen\nid-2\tnew' "$out"
run_ok gw-dedup mark --endpoint Store1 id-2 id-3
same '' "$out"
run_ok gw-dedup seen --endpoint Store1 id-1 id-2 id-3
sed 's/id-1$/id-2/; s/id-1\r/id-2\r/' "$request" >marked.request
run_ok http "$port" marked.request
like '^marked	200	OK' "$out" 'a message with a marked id is a duplicate'
run_ok gw-dedup list --endpoint Store1 --json
same 3 "$(wc -l <<<"$out")"
like '^\{"id":"id-1","endpoint":"Store1","seen_at":"20[^"]*Z","queue":"Store1","seq":1\}$' "$(grep id-1 <<<"$out")"
run_ok gw-dedup list --endpoint Store1
like '^SEEN +ID +QUEUE +SEQ$' "$(command head -n 1 <<<"$out")"
run_ok gw-dedup status --endpoint Store1 --json
like '"endpoint":"Store1","rows":3,"disk_bytes":[1-9].*"oldest_at":"20.*"newest_at":"20' "$out"
unlike horizon "$out" 'no horizon before the first purge'
run_exit 64 gw-dedup mark --endpoint Store1 ''
run_exit 65 gw-dedup mark --endpoint Store1 "$(printf 'x%.0s' $(seq 300))"

# Filtering lines.
printf 'a 1\nb 2\na 3\nc 4' >lines
run_ok bash -c 'gw-dedup filter --endpoint imports --key-field 1 <lines'
same $'a 1\nb 2\nc 4' "$out" 'each key once'
printf 'd\tx\na\ty\n' >>lines
run_ok bash -c 'gw-dedup filter --endpoint imports --key-field 1 <lines'
same '' "$(grep -v '^c 4d' <<<"$out")" 'known keys do not pass'
run_ok bash -c 'printf "l1\nl2\nl1\n" | gw-dedup filter --endpoint whole'
same $'l1\nl2' "$out"
run_exit 65 bash -c 'printf "ok\tk1\nbad\n" | gw-dedup filter --endpoint whole --key-field 2'
same $'ok\tk1' "$out" 'the lines before the bad one are done'
like 'line 2' "$err"
run_exit 74 bash -c 'printf "n1\n" | gw-dedup filter --endpoint whole >/dev/full'
run_exit 1 gw-dedup seen --endpoint whole n1
run_exit 64 gw-dedup filter --endpoint whole --key-field 0
like '^gw-dedup: --key-field: Value 0 not in range' "$err"

# A filter in the middle of a pipe passes a line on as it comes.
mkfifo in
gw-dedup filter --endpoint live <in >live.out &
pid=$!
exec 9>in
echo first >&9
wait_until 10 grep -q first live.out
exec 9>&-
check 'the filter ends with its input' wait "$pid"

# Purging: what is old goes, the horizon rises, messages of that time are refused.
run_ok gw-dedup purge --endpoint Store1 --older-than 30d
same 'purged 0' "$out"
sql "UPDATE seen SET seen_at = seen_at - 10*86400000 WHERE id IN ('id-1', 'id-2')"
run_ok gw-dedup purge --endpoint Store1 --older-than 7d -n
same 'would purge 2' "$out"
run_ok gw-dedup seen --endpoint Store1 id-1
run_ok gw-dedup purge --endpoint Store1 --older-than 7d --json
like '"endpoint":"Store1","purged":2,"cut_at":"20' "$out"
run_exit 1 gw-dedup seen --endpoint Store1 id-1
run_ok gw-dedup status --endpoint Store1
like '^horizon +20' "$out"

stamp() { date -u -d "$1" '+%Y-%m-%d+%H%%3A%M%%3A%S%%3A000000+Z'; }
sent_at() { sed "s/^NServiceBus.Gateway: True/NServiceBus.Header.NServiceBus.TimeSent: $(stamp "$1")\r\n&/" "$request"; }
sent_at '-8 days' >old.request
run_ok http "$port" old.request
like '^old	410	too old to be told apart from a duplicate' "$out" 'a copy from before the horizon is refused'
run_ok queue-inspect list Store1 --json
same 1 "$(grep -c '"id":"id-1"' <<<"$out")" 'and not delivered again'
sent_at '-6 days' | sed 's/id-1\r/id-9\r/' >young.request
run_ok http "$port" young.request
like '^young	200' "$out" 'one from after the horizon is accepted'
# A sender whose clock is ten days slow: its age counts, by its own clock.
{ sent_at '-10 days' | sed 's/id-1\r/id-10\r/' | sed "s/^NServiceBus.Gateway: True/Date: $(date -u -d '-10 days +5 seconds' '+%a, %d %b %Y %H:%M:%S GMT')\r\n&/"; } >slow-clock.request
run_ok http "$port" slow-clock.request
like '^slow-clock	200' "$out" 'the age of a message is counted by the clock of its sender'
run_ok gw-dedup purge --endpoint Store1 --older-than 0s
same 'purged 3' "$out" 'all that is left'
run_ok http "$port" young.request
like '^young	410' "$out"

# Clocks: a jump of more than a day forward, or time that went back, postpones purging.
sql "UPDATE meta SET value = value - 3*86400000 WHERE key = 'clock_wall'; DELETE FROM seen"
run_ok gw-dedup mark --endpoint Store1 m1
sql "UPDATE seen SET seen_at = seen_at - 3*86400000"
run_exit 75 gw-dedup purge --endpoint Store1 --older-than 1d
like 'ahead' "$err"
run_ok gw-dedup seen --endpoint Store1 m1
run_ok gw-dedup purge --endpoint Store1 --older-than 1d --yes
same 'purged 1' "$out"
run_ok gw-dedup purge --endpoint Store1 --older-than 1d
sql "UPDATE meta SET value = value + 3*86400000 WHERE key = 'clock_wall'"
run_exit 75 gw-dedup purge --endpoint Store1 --older-than 1d
like 'behind' "$err"
run_ok gw-dedup purge --endpoint Store1 --older-than 1d --yes

# Checking.
run_ok gw-dedup check --endpoint Store1
same '' "$out" 'a sound store has no findings'
stop_daemon listen
for i in $(seq 1 400); do echo "fill-$i-$(printf 'x%.0s' {1..150})"; done | gw-dedup filter --endpoint Store1 >filled
sql 'PRAGMA wal_checkpoint(TRUNCATE)'
python3 - "$GW_ROOT/dedup/Store1.db" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(0, 2); pages = f.tell() // 4096
    f.seek((pages // 2) * 4096); f.write(b"\xee" * 4096)
PY
run_exit 1 gw-dedup check --endpoint Store1
check 'the damage is named' [ -n "$out" ]
run_ok gw-dedup check --endpoint Store1 --repair
run_ok gw-dedup check --endpoint Store1
run_ok gw-dedup status --endpoint Store1 --json
rows=${out#*\"rows\":} rows=${rows%%,*}
check "most rows are still there ($rows)" [ "$rows" -gt 100 ]
check 'the damaged file was kept' bash -c 'ls "$GW_ROOT"/dedup/Store1.db.damaged-* >/dev/null'
printf 'not a database at all, %.0s' {1..300} >"$GW_ROOT/dedup/Foreign.db"
run_exit 71 gw-dedup status --endpoint Foreign
sql 'PRAGMA user_version=99'
run_exit 71 gw-dedup status --endpoint Store1
run_exit 71 gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/
done_testing
