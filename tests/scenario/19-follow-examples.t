#!/usr/bin/env bash
# Following a listing, colours and progress on a terminal, cheapness with a large backlog, and the manual's examples.
# timeout: 180
. "$(dirname "$0")/../lib.sh"

run_ok queue-inspect create Sales error Archive
echo old | queue-inspect put error --id first >/dev/null

# list --follow: what is there, `ready`, then each new message; no such line between JSON objects.
start_daemon human queue-inspect list error --follow
start_background json queue-inspect list error --follow --json --where 'reason~refused'
echo x | queue-inspect put error --id second --header 'NServiceBus.ExceptionInfo.Message=connection refused' >/dev/null
wait_until 5 grep -q second human.out
wait_until 5 grep -q second json.out
echo x | queue-inspect put error --id third >/dev/null
wait_until 5 grep -q third human.out
same 'first ready second third' "$(grep -o -E 'first|^ready$|second|third' human.out | tr '\n' ' ' | sed 's/ $//')"
same 'second' "$(python3 -c 'import json; print(*[json.loads(l)["id"] for l in open("json.out")])')"
stop_daemon human
stop_daemon json
start_daemon stdin_closed queue-inspect list error --follow
kill -INT "$daemon_pid"
wait_daemon stdin_closed
same 0 "$status" "SIGINT ends it with 0"

# Colours only where they are wanted.
run_ok queue-inspect list --color always
like $'\x1b\\[1mQUEUE' "$out"
run_ok queue-inspect list
unlike $'\x1b' "$out"
run_ok queue-inspect list --color always --json
unlike $'\x1b' "$out"
if command -v script >/dev/null; then
  seq 1 20000 | queue-inspect put Sales --lines -q
  run_ok script -qec 'queue-inspect move Sales Archive --all' typescript
  like 'moved' "$(tr '\r' '\n' <typescript)"
  run_ok queue-inspect move Archive Sales --all -q
  run_ok queue-inspect purge Sales --all -q
else
  skip 4 "no script(1)"
fi

# Cost does not grow with the backlog: a put and a take with 200,000 messages waiting are as quick as with none.
time_of() { local begin; begin=$(date +%s%N); "$@" >/dev/null 2>&1; echo $((($(date +%s%N) - begin) / 1000000)); }
fifty() { local n=0; while [ $((n += 1)) -le 50 ]; do printf x | queue-inspect put Sales && queue-inspect take Sales --max 1 || return; done; }
empty_ms=$(time_of fifty)
seq 1 200000 | queue-inspect put Sales --lines -q --batch 4096
full_ms=$(time_of fifty)
check "50 puts and takes: $empty_ms ms with nothing waiting, $full_ms ms with 200,000" [ "$full_ms" -lt $((3 * empty_ms + 1000)) ]
run_ok queue-inspect check -q
run_ok bash -c 'ulimit -v 200000; queue-inspect take Sales --lines | tail -n 1'
same x "$out" "200,000 messages are drained with little memory"

# The examples of the manual and of --help.
mkdir example && cd example || exit 1
export GW_ROOT=$T/example-root
mkdir outgoing
run_ok bash -c 'echo hello | queue-inspect put Sales --create && queue-inspect list && queue-inspect take Sales'
like '^hello$' "$out"
run_ok bash -c 'seq 1000 | queue-inspect put Sales --lines; queue-inspect take Sales --lines | sort -n | tail -n 1'
same 1000 "$out"
run_ok queue-inspect create error Prices
run_ok queue-inspect move error Sales --where 'reason~timed out' --dry-run
run_ok queue-inspect move error Sales --where 'reason~timed out'
run_ok queue-inspect list --max-count 1000 --max-age 10m --min-free 1
start_background failures queue-inspect list error --follow --json --where 'age<1m'
run_ok queue-inspect put error --id failed-1 --header NServiceBus.FailedQ=Sales <<<'x'
wait_until 10 grep -q failed-1 "$T/failures.out"
mail() { echo "$*"; cat; }
same 'a message failed' "$(while read -r one; do mail -s 'a message failed' ops <<<"$one"; done <"$T/failures.out" | grep -o 'a message failed')"
stop_daemon failures
run_ok queue-inspect groups error
run_ok queue-inspect return error --where 'age<1h' --ramp 1,5,20 --settle 0 --stop-on-failures 3
same $'failed-1\treturned\tSales' "$out"
start_daemon drop queue-inspect put Prices --from-dir outgoing --follow
echo price >outgoing/today.csv
wait_until 5 test -e outgoing/.sent/today.csv
stop_daemon drop
run_ok queue-inspect take Prices
same price "$out"
done_testing
