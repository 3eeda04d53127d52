#!/usr/bin/env bash
# watch: a screen that changes on a terminal, lines elsewhere, JSON on demand.
. "$(dirname "$0")/../lib.sh"

on_terminal() { timeout 60 python3 "$SRC/tests/terminal.py" "$@"; }
printf '#!/bin/sh\necho "no disk" >&2\nexit 65\n' >handler
chmod 755 handler
run_ok queue-inspect create Sales Idle
seq 1 12 | queue-inspect put Sales --lines -q
echo x | queue-inspect put Jobs --create -q
run_exit 1 distributor worker --queue Jobs --drain -- ./handler
run_ok queue-inspect hold Sales --reason $'line\nfeed \e[31mred'

# --- a terminal -----------------------------------------------------------------------------------------------------------------
ended=$'screen normal\nmodes same\ncursor shown'
export TERM=xterm
run_ok on_terminal 24x100 'until=Sales,screen=full,size=8x60,gone=OUT/S,until=FAILED,until=Jobs@,screen=small,size=30x120,until=no disk,signal=SIGTERM' -- \
  queue-inspect watch --interval 200ms
same "exit 0"$'\n'"$ended" "$(grep -v bytes <<<"$out")" "SIGTERM: the terminal is as before"
like '^Gatepost  machine .*  free ' "$(head -n 1 full)"
like '^Sales +12 +0 +0 +[0-9]+' "$(cat full)"
like 'takes-off \(line\?feed \?\[31mred\)' "$(cat full)" "what a message says steers no terminal"
like '^2 queues empty and at rest|^1 queue empty and at rest' "$(cat full)"
like '^ +1  [0-9a-f]{8} .*Jobs@' "$(cat full)"
like '^ +1  [0-9a-f]{8}' "$(cat small)" "a small window has something of everything"
run_ok on_terminal 24x100 'until=Sales,key=\x03' -- queue-inspect watch
same "exit 0"$'\n'"$ended" "$(grep -v bytes <<<"$out")" "Ctrl-C"
run_ok on_terminal 24x100 'until=Sales,key=abc,signal=SIGTSTP,stopped=,signal=SIGCONT,until=Sales,signal=SIGINT' -- queue-inspect watch --interval 200ms
same "exit 0"$'\n'"$ended" "$(grep -v bytes <<<"$out")" "stopped, continued, ended; keys do nothing"
start_background arrivals bash -c 'for i in $(seq 30); do echo new | queue-inspect put News --create -q; sleep 0.1; done'
run_ok on_terminal 24x100 'until=News,until=30,signal=SIGTERM' -- queue-inspect watch --interval 200ms
bytes=$(sed -n 's/^bytes //p' <<<"$out")
check "only changes are drawn: $bytes bytes for many looks" [ "$bytes" -lt 8000 ]
wait_daemon arrivals

# --- no terminal ----------------------------------------------------------------------------------------------------------------
start_daemon lines queue-inspect watch --interval 200ms
same ready "$ready_line"
wait_until 10 grep -q ' failed [0-9a-f]* count=1 queue=error from=Jobs@.* reason=' lines.out
like '^[0-9T:.-]*Z queue Sales ready=12 claimed=0 deferred=0 oldest=[0-9a-z]+ in=.*/s out=.*/s takes-off' "$(cat lines.out)"
unlike 'queue Idle' "$(cat lines.out)" "what rests is not told"
unlike $'\e' "$(cat lines.out)" "no escape sequences in a file"
same 1 "$(grep -c '^ready' lines.out)"
stop_daemon lines
start_background json queue-inspect watch --json --interval 200ms
two_looks() { [ "$(grep -c '"kind":"root"' json.out)" -ge 3 ]; }
wait_until 10 two_looks
kill -TERM "$daemon_pid"
wait_daemon json
same 0 "$status"
check "each line is an object" python3 - json.out <<'PY'
import json, sys
kinds = {}
for line in open(sys.argv[1]):
    row = json.loads(line)
    assert row["at"].endswith("Z")
    kinds.setdefault(row["kind"], []).append(row)
assert set(kinds) == {"root", "queue", "group"}, set(kinds)
sales = [q for q in kinds["queue"] if q["queue"] == "Sales"]
assert sales[-1]["ready"] == 12 and sales[-1]["takes"] == "off" and sales[-1]["puts_per_s"] == 0 and "puts_per_s" not in sales[0]
assert any(q["queue"] == "Idle" for q in kinds["queue"])
assert kinds["group"][-1]["count"] == 1 and kinds["group"][-1]["queue"] == "error"
PY
run_exit 64 queue-inspect watch --interval 10ms
run_exit 64 queue-inspect watch --interval soon
run_exit 66 queue-inspect watch --root "$T/none"
if [ -e /dev/full ]; then run_exit 74 bash -c 'queue-inspect watch >/dev/full'; fi
done_testing
