#!/usr/bin/env bash
# Capacity that heals itself: workers that hang, are killed or vanish, distributors that take over, queues that somebody tampers with.
# timeout: 180
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/distributor-lib.sh
. "$SRC/tests/distributor-lib.sh"

script='while [ -e hold ]; do sleep 0.02; done; ./keep log'
make_keep
start_daemon run distributor run --endpoint E --lease 1s

# --- a worker that hangs is dead after the lease, and ready again when it reports ----------------------------------------------------------------
start_worker A 2 "$script"
wait_until 5 settled 2
sleep 1.5  # longer than the lease: it is alive because it says so
same 'ready 2' "$(value state A) $(value tokens A)" 'an idle worker stays alive'
unlike worker-silent "$(cat run.err)"
kill -STOP "${DAEMON[A]}"
wait_until 5 is dead state A
same '0 0' "$(value tokens A) $(value tokens)"
start_worker B 1 "$script"
send one
wait_until 5 lines_are 1 log
kill -CONT "${DAEMON[A]}"
wait_until 5 is ready state A
wait_until 5 settled 3
like 'worker-silent.*worker=A@' "$(cat run.err)"
like 'worker-back.*worker=A@' "$(cat run.err)"

# --- it hangs while it has messages: those that it has not begun go to others --------------------------------------------------------------------
kill -STOP "${DAEMON[A]}"
: >log
send 1 2 3
wait_until 5 is dead state A
wait_until 10 lines_are 3 log
same '1 2 3' "$(sort log | paste -sd' ')" 'what was handed to it before anybody knew goes to another one'
same 0 "$(count A)"
kill -CONT "${DAEMON[A]}"
wait_until 5 settled 3

# --- killed: within a second, whatever is in flight ------------------------------------------------------------------------------------------------------
touch hold
: >log
send 1 2 3
wait_until 5 is 3 in_flight
killed_at=$(date +%s%N)
kill_daemon A
wait_until 3 is dead state A
died_at=$(sed -n 's/^\([^ ]*\) warn worker-died .*worker=A@.*/\1/p' run.err | tail -n 1)
took=$((($(date -d "$died_at" +%s%N) - killed_at) / 1000000))
note "noticed after $took ms"
check 'noticed within a second' [ "$took" -lt 1000 ]
wait_until 3 count_is 2 E
rm hold
wait_until 5 lines_are 3 log
wait_until 5 settled 1
same '1 2 3' "$(sort log | paste -sd' ')"

# --- a message that kills its workers ends in the error queue, whichever workers those are ------------------------------------------------------------------
stop_daemon B
killer='exec 3<>/dev/null; kill -9 $PPID; sleep 5'
printf poison | queue-inspect put E -q --id poison
for round in $(seq 9); do
  start_background K distributor worker --master E --queue "K$((round % 2))" --capacity 1 -- sh -c "$killer"
  wait_daemon K 15
done
start_worker K3 1 'echo handled >>log'
wait_until 10 count_is 0 E
wait_until 10 settled 1
same 0 "$(count error)"
same handled "$(tail -n 1 log)" 'nine interruptions are not ten'
stop_daemon K3
printf poison | queue-inspect put E -q --id poison2
for round in $(seq 10); do
  start_background K distributor worker --master E --queue "K$((round % 2))" --capacity 1 -- sh -c "$killer"
  wait_daemon K 15
done
start_worker K3 1 'echo handled-again >>log'
wait_until 10 count_is 1 error
same interrupted "$(queue-inspect list error --json | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["reason"])')" 'ten are'
wait_until 5 settled 1
stop_daemon K3

# --- tampering ----------------------------------------------------------------------------------------------------------------------------------------------
start_worker A 3 "$script"
wait_until 5 settled 3
queue-inspect take E.distributor.storage --max 2 >/dev/null
wait_until 5 settled 3
like 'tokens-vanished.*tokens=2' "$(cat run.err)" 'tokens that somebody took are made again, with an event'
printf foreign | queue-inspect put E.distributor.storage -q --id foreign1
printf foreign | queue-inspect put E.distributor.control -q --id foreign2
wait_until 5 count_is 3 error
same 'foreign2 foreign1' "$(queue-inspect list error --json | python3 -c 'import json, sys
print(*sorted((json.loads(line)["id"] for line in sys.stdin if "foreign" in line), reverse=True))')" 'what is neither token nor control message goes to the error queue'
like 'control-message-foreign.*id=foreign2' "$(cat run.err)"
like 'control-message-foreign.*id=foreign1' "$(cat run.err)"
wait_until 5 settled 3
touch hold
send 1 2 3
wait_until 5 is 3 in_flight
kill -STOP "${DAEMON[A]}"
kill_daemon A
wait_until 5 is dead state A
rm hold
start_worker A 3 'sleep 0.1; ./keep log'
wait_until 10 settled 3
queue-inspect hold A --puts
send held
wait_until 5 grep -q 'worker-blocked.*worker=A@' run.err
same '1 3' "$(value waiting) $(value tokens)" 'a queue that takes nothing: the message waits in the input queue'
start_worker B 1 './keep other'
wait_until 5 lines_are 1 other
send more
wait_until 5 lines_are 2 other
pass 'one blocked worker does not keep the others from working'
queue-inspect release A
wait_until 5 settled 4
stop_daemon B

# A message that somebody takes out of the worker's queue never comes back: its token does, when the worker has said twice that it has no such message.
kill -STOP "${DAEMON[A]}"
send gone
wait_until 5 count_is 1 A
queue-inspect purge A --all -q 2>/dev/null
kill -CONT "${DAEMON[A]}"
wait_until 10 settled 3
like 'hand-out-lost.*worker=A@' "$(cat run.err)"

# --- take-over with messages in flight ----------------------------------------------------------------------------------------------------------------------------
start_daemon standby distributor run --endpoint E --lease 1s
: >log
seq 1 200 | queue-inspect put E --lines -q
wait_until 10 eval '[ "$(wc -l <log)" -ge 5 ]'
kill_daemon run
wait_until 2 grep -q distributor-took-over standby.err
wait_until 30 lines_are 200 log
wait_until 5 settled 3
same "$(seq 1 200)" "$(sort -n log)" 'taken over in the middle: nothing is lost, nothing comes twice'
stop_daemon A
stop_daemon standby
done_testing
