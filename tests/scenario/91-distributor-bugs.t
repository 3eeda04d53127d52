#!/usr/bin/env bash
# What went wrong in distributors before this one, one test for each; the numbers are those of the original's bug tracker.
# timeout: 180
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/distributor-lib.sh
. "$SRC/tests/distributor-lib.sh"

machine=$(hostname)
make_keep
start_daemon run distributor run --endpoint E
start_worker W 2 './keep log'
wait_until 10 settled 2

# --- 978: a restart added tokens, N became 2N ------------------------------------------------------------------------------------------------
old_session=$(value session W)
for round in 1 2 3; do
  if [ "$round" = 2 ]; then kill_daemon W; else stop_daemon W; fi
  start_worker W 2 './keep log'
done
wait_until 5 settled 2
check_not '#978: a restarted worker has a new session' [ "$(value session W)" = "$old_session" ]
same 2 "$(count E.distributor.storage)" '#978: a restarted worker has its capacity once'

# --- 1966: messages that somebody put into the worker's queue made tokens -----------------------------------------------------------------------
session=$(value session W)
for i in 1 2 3; do queue-inspect put W -q <<<"straight $i"; done
printf x | queue-inspect put W -q --header "NServiceBus.Distributor.WorkerSessionId=$session"
printf y | queue-inspect put W -q --header "NServiceBus.Distributor.WorkerSessionId=$session" --header Gatepost.HandOut=1.1
wait_until 10 count_is 0 W
wait_until 5 settled 2
same 2 "$(value tokens W)" '#1966: messages that the distributor did not hand out make no tokens'
like 'return-ignored.*hand_out=1.1' "$(cat run.err)" '#1966: and it says so'

# --- 571, 851: retries sent one more ready each; 1115, 2518, 4325: failed and delayed messages gave none -------------------------------------------
stop_daemon W
start_worker W 2 'case $(cat) in
  immediate) [ "$GW_ATTEMPT" -gt 3 ] || exit 1 ;;
  delayed) [ "$GW_ATTEMPT" -gt 1 ] || exit 75 ;;
  bad) exit 65 ;;
  poison) exit 3 ;;
  signal) [ "$GW_ATTEMPT" -gt 1 ] || kill -9 $$ ;;
  slow) [ "$GW_ATTEMPT" -gt 1 ] || sleep 30 ;;
  expired) ;;
  sender) printf out | queue-inspect put Out -q ;;
  bad-sender) printf out | queue-inspect put Nowhere -q || exit 1 ;;
esac; echo "$GW_MESSAGE_ID" >>handled' --retries 1 --retry-increment 100ms --immediate-retries 3 --handler-timeout 500ms --audit audit
wait_until 5 settled 2
queue-inspect create Out
returns() { # the number of tokens that came back so far
  queue-inspect list --json | python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    if row["queue"] == "E.distributor.control": print(row["acks_total"])'
}
for kind in immediate delayed bad poison signal slow sender bad-sender; do
  before=$(value done_total W) failed_before=$(value failed_total W)
  send "$kind"
  wait_until 15 settled 2
  note "$kind: $(($(value done_total W) - before)) done, $(($(value failed_total W) - failed_before)) failed attempts"
  same '2 2 0' "$(value tokens W) $(value capacity W) $(value in_flight W)" "#571, 851, 1115, 2518, 4325: one token comes back for a message that is $kind"
done
same 1 "$(count Out)"
same 3 "$(count error)" 'bad, poison and bad-sender are in the error queue'
same '' "$(queue-inspect list error --json | grep -E 'HandOut|WorkerSessionId')" 'hand-out and session do not go with them'
same '' "$(queue-inspect list audit --json | grep -E 'HandOut|WorkerSessionId')" 'nor with copies'
queue-inspect purge error --all -q 2>/dev/null
for i in $(seq 6); do send immediate poison delayed bad "$i"; done
wait_until 60 settled 2
same '2 2' "$(value tokens W) $(count E.distributor.storage)" '#1115, 1133: capacity does not leak away'
unlike 'tokens-vanished|hand-out-lost|tokens-void' "$(cat run.err)" 'and nothing had to be healed for that'

# --- 571: a return that comes twice counts once -----------------------------------------------------------------------------------------------------
printf '%s' '' | queue-inspect put E.distributor.control -q --header NServiceBus.ControlMessage=True --header "NServiceBus.ReplyToAddress=W@$machine" \
  --header "NServiceBus.Distributor.WorkerSessionId=$(value session W)" --header NServiceBus.Distributor.WorkerCapacityAvailable=1 --header Gatepost.HandOuts=1.1
printf '%s' '' | queue-inspect put E.distributor.control -q --header NServiceBus.ControlMessage=True --header "NServiceBus.ReplyToAddress=W@$machine" \
  --header "NServiceBus.Distributor.WorkerSessionId=$(value session W)" --header NServiceBus.Distributor.WorkerCapacityAvailable=1
wait_until 5 count_is 0 E.distributor.control
same '2 2' "$(value tokens W) $(count E.distributor.storage)" '#571, 1966: a return for nothing gives no token'

# --- 2033, 2034, 2700: a restarted distributor forgot its workers ---------------------------------------------------------------------------------------
touch hold
stop_daemon W
start_worker W 2 './keep log; while [ -e hold ]; do sleep 0.02; done'
wait_until 5 settled 2
: >log
send one two three four
wait_until 5 is 2 in_flight
kill_daemon run
rm hold
wait_until 5 lines_are 2 log
start_daemon run distributor run --endpoint E
wait_until 10 lines_are 4 log
wait_until 5 settled 2
same 2 "$(value tokens W)" '#2033, 2034, 2700: a restarted distributor knows its workers, what they have, and what came back meanwhile'
same "$(printf 'one\ntwo\nthree\nfour' | sort)" "$(sort log)" '#814: nothing is lost, nothing comes twice'

# --- 1361, 1732, 1967: no way to drain a worker, or forgotten on a restart ---------------------------------------------------------------------------------
run_ok distributor drain W --wait --timeout 5s
like 'worker-draining endpoint=E worker=W@' "$(cat run.err)" '#1967: it is logged'
kill_daemon run
kill_daemon W
start_daemon run distributor run --endpoint E
start_worker W 2 './keep log'
wait_until 5 grep -q "worker-registered.*$(value session W)" run.err
same 'drained 0' "$(value state W) $(value tokens W)" '#1361, 1732, docs 1203: a drained worker stays drained when both were killed'
run_ok distributor resume W
wait_until 5 settled 2

# --- 1529: a queue for each session, whose messages were orphaned -----------------------------------------------------------------------------------------
same 'E E.distributor.control E.distributor.storage E.distributor.workers Out W audit error' \
  "$(queue-inspect list --json | python3 -c 'import json, sys; print(*[json.loads(line)["queue"] for line in sys.stdin])')" '#1529, docs 1212: queues have the same names in each session'
stop_daemon W
start_worker W 1 './keep log; sleep 60'
wait_until 5 settled 1
: >log
send left-over
wait_until 5 lines_are 1 log
kill_daemon W
start_worker W 1 './keep log'
wait_until 5 lines_are 2 log
wait_until 5 settled 1
same 'left-over left-over' "$(paste -sd' ' log)" '#1529, docs 1212: what a worker had when it was killed is handled after its restart'

# --- 3944: a queue that was missing was found out at the first failure --------------------------------------------------------------------------------------
stop_daemon W
run_exit 64 distributor worker --master E --queue W --error-queue .x -- true
run_exit 64 distributor worker --master E --queue W --error-queue W -- true
queue-inspect remove error
start_worker W 2 'exit 65' --error-queue broken
check '#3944: the error queue is there from the start' queue-inspect list broken --json
send wrong
wait_until 5 count_is 1 broken
wait_until 5 settled 2
stop_daemon W

# --- docs 815, 40: lost readies and dead workers stopped everything -------------------------------------------------------------------------------------------
start_worker A 2 'while [ -e hold ]; do sleep 0.02; done; ./keep log'
start_worker B 2 'while [ -e hold ]; do sleep 0.02; done; ./keep log'
wait_until 5 settled 4
touch hold
: >log
send 1 2 3 4 5 6
wait_until 5 is 4 in_flight
kill_daemon A
wait_until 2 is dead state A
rm hold
wait_until 10 lines_are 6 log
wait_until 5 settled 2
same "$(seq 6)" "$(sort log)" 'docs 815, docs 40: what a dead worker had goes to the others'
same '0 dead' "$(count A) $(value state A)" 'docs 40: nothing is stranded in its queue'
queue-inspect take E.distributor.storage --max 1 >/dev/null
wait_until 5 settled 2
pass 'docs 815: a token that is lost is made again'

# --- 814: token and message leave in one step; commit 41e54fb: no look at the whole queue for each message ----------------------------------------------------------
stop_daemon B
seq 1 2000 | queue-inspect put E --lines -q --batch 500
start_daemon S distributor worker --master E --queue S --capacity 50 --stream -- python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    open("stream", "a").write(message["body"] + "\n")
    print(json.dumps({"seq": message["seq"], "result": "ok"}), flush=True)'
for round in 1 2 3; do
  sleep 0.2
  kill_daemon run
  start_daemon run distributor run --endpoint E
done
wait_until 30 settled 50
same "$(seq 1 2000)" "$(sort -n stream)" '#814: with the distributor killed in the middle, each message is handled once'
stop_daemon S
stop_daemon run
done_testing
