#!/usr/bin/env bash
# distributor worker: retries, the error queue, what is written down, and what happens when something is wrong for long.
# timeout: 240
# asan: yes
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

# value QUEUE EXPR: python over the messages of a queue (m: as list shows them, headers: of the first)
value() {
  queue-inspect list "$1" --json | python3 -c 'import json, sys
m = [json.loads(line) for line in sys.stdin]
headers = m[0]["headers"] if m else {}
print(eval(sys.argv[1]))' "$2"
}
put() { queue-inspect put Q -q "$@" >put.id; }
work() { distributor worker --queue Q -q "$@"; }
emptied() { queue-inspect purge "$1" --all -q >purged 2>&1; }
run_ok queue-inspect create Q

# --- retries ------------------------------------------------------------------------------------------------------------------
put --id r1 - <<<'x'
run_exit 1 timeout 50 distributor worker --queue Q --drain --retry-increment 300ms --immediate-retries 1 --retries 2 -- sh -c 'date +%s.%N >>times.txt; echo "try $GW_ATTEMPT" >&2; echo two lines >&2; exit 3'
same 6 "$(wc -l <times.txt)" '(1 + 1 immediate) x (1 + 2 delayed) attempts'
check 'the delays are 0.3 and 0.6 s' awk 'NR > 1 { d[NR] = $1 - last } { last = $1 } END { exit !(d[2] < 0.25 && d[3] >= 0.3 && d[3] < 1.2 && d[4] < 0.25 && d[5] >= 0.6 && d[5] < 1.5 && d[6] < 0.25) }' times.txt
same 6 "$(grep -c 'attempt-failed .*reason="exit 3: try ' <<<"$err")" 'an event for each attempt'
same 5 "$(grep -c 'attempt-failed .*next_try_at=' <<<"$err")" 'the last has no next try'
like 'error attempt-failed .*id=r1 .*attempt=6 .*error_queue=error' "$err"
same "Q@$(cat root/machine)" "$(value error 'headers["NServiceBus.FailedQ"]')"
same 'Gatepost.HandlerExit|exit 3: two lines|try 6%0atwo lines' "$(queue-inspect show error --all --headers | sed -n 's/^NServiceBus.ExceptionInfo.\(ExceptionType\|Message\|StackTrace\): //p' | paste -sd'|')"
same "r1 Q $(cat root/machine)" "$(value error 'm[0]["id"] + " " + headers["NServiceBus.ProcessingEndpoint"] + " " + headers["NServiceBus.ProcessingMachine"]')"
emptied error

put --id r2 - <<<'x'
run_exit 1 timeout 50 distributor worker --queue Q --drain --retry-increment 100ms -- sh -c 'echo "$GW_ATTEMPT"; exit 1'
same "$(seq 1 24)" "$out" '24 attempts, counted from 1'
emptied error
put --id r3 - <<<'x'
run_exit 1 timeout 50 distributor worker --queue Q --drain --retry-increment 100ms -- sh -c 'echo "$GW_ATTEMPT"; exit 75'
same "$(seq 1 4)" "$out" '75: no immediate retries'
same 'Gatepost.HandlerExit exit 75' "$(value error 'headers["NServiceBus.ExceptionInfo.ExceptionType"] + " " + headers["NServiceBus.ExceptionInfo.Message"]')"
emptied error
put --id r4 - <<<'x'
run_exit 1 timeout 50 distributor worker --queue Q --drain --retry-increment 100ms --immediate-retries 2 --retries 1 -- sh -c 'echo "$GW_ATTEMPT"; [ "$GW_ATTEMPT" != 1 ] || exit 75; exit 1'
same "$(seq 1 4)" "$out" '75 once: the next round has its immediate retries'
emptied error
for code in 65 100; do
  put --id "r$code" - <<<'x'
  run_exit 1 distributor worker --queue Q --drain -- sh -c "echo never; exit $code"
  same never "$out" "$code: the error queue at once"
done
same 2 "$(value error 'len(m)')"
emptied error
put --id mixed - <<<'x'
put --id fine - <<<'y'
run_exit 1 distributor worker --queue Q --once -- sh -c 'grep -q y || exit 65'
same 1 "$(value error 'len(m)')" 'one rejected, the other handled'
put - <<<'z'
run_exit 75 distributor worker --queue Q --once -- sh -c 'exit 75'
same 'deferred 1' "$(value Q 'm[0]["state"] + " " + str(m[0]["attempts"])')"
run_exit 75 distributor worker --queue Q --once -- true
same 1 "$(value Q 'm[0]["attempts"]')" 'not due yet: no attempt'
emptied Q
emptied error

# --- how it ended -----------------------------------------------------------------------------------------------------------------
one_shot="--retries 0 --immediate-retries 0 --error-queue failed"
put --id sig - <<<'x'
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q --drain $one_shot -- sh -c 'echo dying >&2; kill -9 $$'
same 'Gatepost.HandlerSignal|signal 9 (SIGKILL): dying' "$(value failed '"|".join(headers["NServiceBus.ExceptionInfo." + n] for n in ("ExceptionType", "Message"))')"
emptied failed
put --id slow - <<<'x'
begin=$(date +%s%N)
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q --drain $one_shot --handler-timeout 300ms -- sh -c 'sleep 100 & echo $! >child.pid; wait; echo on'
check 'TERM ends it in time' [ $((($(date +%s%N) - begin) / 1000000)) -lt 5000 ]
same 'Gatepost.HandlerTimeout|timed out after 300ms' "$(value failed '"|".join(headers["NServiceBus.ExceptionInfo." + n] for n in ("ExceptionType", "Message"))')"
child_gone() { ! kill -0 "$(cat child.pid)" 2>/dev/null || grep -q '^State:.Z' "/proc/$(cat child.pid)/status"; }
wait_until 5 child_gone
emptied failed
# An attempt that leaves something behind in its group is over all the same when the handler is.
put - <<<'x'
run_ok timeout 30 distributor worker --queue Q --drain -- sh -c 'sleep 60 >background.out 2>&1 & echo $! >background.pid'
check 'what a handler leaves behind is not killed' kill "$(cat background.pid)"
head -c 9000 /dev/zero | tr '\0' e >long
put - <<<'x'
# shellcheck disable=SC2086
run_exit 1 distributor worker --queue Q --drain $one_shot -- sh -c 'cat long >&2; exit 1'
same 4096 "$(value failed 'len(headers["NServiceBus.ExceptionInfo.StackTrace"])')" 'the last 4 KiB of stderr'
emptied failed

# --- audit, job log -----------------------------------------------------------------------------------------------------------------
printf 'hello' | put --id a1 --type Prices.Changed --ttl 1h --header Note=1
printf 'bad' | put --id a2
run_exit 1 distributor worker --queue Q --drain --audit audit --joblog jobs --retries 0 --immediate-retries 1 -- sh -c 'read -r line; echo "got $line"; [ "$line" != bad ]' 'x y'
same '1 a1 1 Q' "$(value audit 'str(len(m)) + " " + m[0]["id"] + " " + headers["Note"] + " " + headers["NServiceBus.ProcessingEndpoint"]')" 'what was acked is in the audit queue, nothing else'
check 'with its times' [ "$(value audit 'headers["NServiceBus.ProcessingStarted"] <= headers["NServiceBus.ProcessingEnded"] and "NServiceBus.FailedQ" not in headers')" = True ]
same hello "$(queue-inspect take audit)"
same "$(printf 'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\tId\tAttempt\tOutcome')" "$(head -n 1 jobs)" 'the columns'
same "$(cat root/machine)|5|10|0|0|a1|1|acked $(cat root/machine)|3|8|1|0|a2|1|immediate-retry $(cat root/machine)|3|8|1|0|a2|2|error-queue" \
  "$(awk -F '\t' 'NR > 1 { printf "%s%s|%s|%s|%s|%s|%s|%s|%s", (NR == 2 ? "" : " "), $2, $5, $6, $7, $8, $10, $11, $12 }' jobs)"
like "^[0-9]+	[^	]+	[0-9]{10}\.[0-9]{3}	 *[0-9]+\.[0-9]{3}	.*	sh -c '.*' 'x y'	" "$(sed -n 2p jobs)"
printf 'again' | put --id a3
run_ok distributor worker --queue Q --drain --joblog jobs -- true
same 5 "$(wc -l <"./jobs")" 'another run appends'
emptied error

# --- the body as an argument -------------------------------------------------------------------------------------------------------------
printf 'two words' | put
run_ok distributor worker --queue Q --drain --arg -- printf '<%s>' '{}' 'a={}' x
same '<two words><a=two words><x>' "$out"
printf 'n\0l' | put --id nul
head -c 131072 /dev/zero | tr '\0' x | put --id long
head -c 131000 /dev/zero | tr '\0' x | put --id fits
run_exit 1 distributor worker --queue Q --drain --arg -- sh -c 'echo "${#1}"' sh '{}'
same 131000 "$out" 'what fits is handled'
same 'long nul' "$(value error '" ".join(sorted(x["id"] for x in m))')" 'what cannot be an argument is failed, once'
emptied error

# --- something is wrong for long ------------------------------------------------------------------------------------------------------------
seq 1 12 | queue-inspect put Q --lines -q
rm -f running.*
run_exit 1 timeout 60 distributor worker --queue Q --capacity 4 --drain --retries 0 --immediate-retries 2 -- sh -c 'touch "running.$GW_MESSAGE_KEY"; ls running.* | wc -l >>at-once; sleep 0.05; rm "running.$GW_MESSAGE_KEY"; exit 1'
like 'warn rate-limited .*failed_in_a_row=1[0-9]' "$err" 'ten failures in a row: one at a time'
same 1 "$(sort -n <(tail -n 16 at-once) | tail -n 1)" 'one at a time'
same 12 "$(value error 'len(m)')"
emptied error
: >fail
seq 1 30 | queue-inspect put Q --lines -q
start_daemon w distributor worker --queue Q --capacity 4 --immediate-retries 200 --retries 0 -- sh -c '[ ! -e fail ]'
limited() { grep -q rate-limited w.err; }
ended() { grep -q rate-limit-ended w.err; }
wait_until 20 limited
rm fail
wait_until 10 ended
is_empty() { [ "$(value Q 'len(m)')" = 0 ]; }
wait_until 20 is_empty
stop_daemon w

# --- interrupted --------------------------------------------------------------------------------------------------------------------------------
put --id poison - <<<'x'
rm -f attempts
for _ in 1 2 3 4 5 6 7 8 9 10; do
  work --drain -- sh -c 'echo "$GW_ATTEMPT" >>attempts; kill -9 $PPID; sleep 60' 2>/dev/null
done >killed.out 2>&1
same 'poison 0' "$(value Q 'm[0]["id"] + " " + str(m[0]["attempts"])')" 'ten workers killed: no failed attempt is counted'
run_exit 1 distributor worker --queue Q --drain -- sh -c 'echo "$GW_ATTEMPT" >>attempts'
same 10 "$(grep -c '^1$' attempts)" 'no eleventh attempt'
same 'Gatepost.Interrupted|interrupted' "$(value error '"|".join(headers["NServiceBus.ExceptionInfo." + n] for n in ("ExceptionType", "Message"))')"
emptied error
put --id survivor - <<<'x'
for _ in 1 2 3 4 5 6 7 8 9; do
  work --drain -- sh -c 'kill -9 $PPID; sleep 60' 2>/dev/null
done >killed.out 2>&1
run_exit 75 distributor worker --queue Q --once -- false
for _ in 1 2 3; do
  work --drain -- sh -c 'kill -9 $PPID; sleep 60' 2>/dev/null
done >killed.out 2>&1
run_ok distributor worker --queue Q --drain -- sh -c 'echo "done at $GW_ATTEMPT"'
same 'done at 2' "$out" 'in a row: an attempt that ends by itself starts the count again'

# --- expired --------------------------------------------------------------------------------------------------------------------------------------
put --id old --ttl 1ms - <<<'x'
put --id old2 --ttl 1ms - <<<'x'
sleep 0.05
run_exit 1 distributor worker --queue Q --drain --on-expire error -- sh -c 'echo handled'
same '' "$out"
same 'old old2 Gatepost.Expired' "$(value error '" ".join([x["id"] for x in m] + [headers["NServiceBus.ExceptionInfo.ExceptionType"]])')"
run_ok queue-inspect take error --max 2
same "$(printf 'x\nx')" "$out" 'what expired stays in the error queue for whoever looks'
put --id old3 --ttl 1ms - <<<'x'
sleep 0.05
run_ok distributor worker --queue Q --drain -- sh -c 'echo handled'
same '' "$out"
like ' expired .*id=old3' "$err" 'dropped by default, with an event'
same 0 "$(value error 'len(m)')"

# --- a queue that refuses ---------------------------------------------------------------------------------------------------------------------------
put --id kept - <<<'x'
run_ok queue-inspect hold error --puts
start_daemon w distributor worker --queue Q -- sh -c 'exit 65'
refused() { grep -q ' refused .*id=kept' w.err; }
wait_until 10 refused
same 1 "$(value Q 'len(m)')" 'an error queue on hold: the message stays where it is'
run_ok queue-inspect release error
in_error() { [ "$(value error 'len(m)')" = 1 ]; }
wait_until 10 in_error
stop_daemon w

# --- usage ----------------------------------------------------------------------------------------------------------------------------------------
for words in '--retries x' '--retries 100' '--retry-increment soon' '--error-queue Q' '--error-queue a/b' '--audit Q' '--on-expire later' '--stream=frames' '--stream --arg' '--stream --handler-timeout 1s'; do
  # shellcheck disable=SC2086
  run_exit 64 distributor worker --queue Q --once $words -- true
done
run_exit 73 distributor worker --queue Q --once --joblog no/such/dir -- true
done_testing
