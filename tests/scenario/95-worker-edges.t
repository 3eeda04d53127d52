#!/usr/bin/env bash
# What a worker and a distributor tell, and whom: cron, an operator, a collector of traces.
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

trace=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
send() { printf '%s' "$2" | queue-inspect put "$1" -q "${@:3}" >/dev/null; }

# --- a run that ends by itself says only what failed ----------------------------------------------------------------------------------
queue-inspect create Q
send Q fine
run_ok distributor worker --queue Q --once -- cat
same fine "$out"
same '' "$err" 'a run that went well is silent'
run_ok distributor worker --queue Q --drain -v -- cat
like 'debug worker-stopped queue=Q handled=0' "$err"
run_ok distributor worker --master Away --drain -- cat
same '' "$err" 'with a master, too'

# --- the reason of a failure keeps its lines; the trace goes along ------------------------------------------------------------------------
send Q traced --id t1 --header "traceparent=$trace"
run_exit 75 distributor worker --queue Q --once -- sh -c 'printf "first\nlast\n" >&2; exit 3'
like "attempt-failed .*id=t1 .*reason=\"exit 3: first\\\\nlast\" .*traceparent=$trace\$" "$err"
run_exit 1 distributor worker --queue Q --drain --retries 0 --immediate-retries 0 --log-format json -- sh -c 'exit 3'
like "\"event\":\"attempt-failed\".*\"error_queue\":\"error\",\"traceparent\":\"$trace\"" "$err"
send Q untraced
run_ok distributor worker --queue Q --once -v -- true
like 'debug handled ' "$err"
unlike traceparent "$err" 'absent if the message has none'

# --- a job log that cannot be made ----------------------------------------------------------------------------------------------------------
run_exit 73 distributor worker --queue Q --once --joblog "$T/nowhere/log" -- true

# --- somebody removes the error and the audit queue ---------------------------------------------------------------------------------------------
start_daemon A distributor worker --queue Q --audit aud --retries 0 --immediate-retries 0 -- sh -c 'cat >>ran; echo >>ran; ! grep -q bad "$GW_BODY_FILE"'
queue-inspect remove aud
run_ok queue-inspect remove error --force
send Q good
send Q bad
held_by() { [ "$(queue-inspect list "$1" --json 2>/dev/null | wc -l)" = "$2" ]; }
wait_until 5 held_by error 1
wait_until 5 held_by aud 1
stop_daemon A
same 'bad good' "$(sort ran | paste -sd' ')" 'they are made anew, and no handler runs twice for that'
like 'warn queue-made-anew queue=aud' "$(cat A.err)"

# --- the error queue takes nothing: what fails waits, and nothing waits behind it -----------------------------------------------------------------
queue-inspect hold error --puts
start_daemon B distributor worker --queue Q --retries 0 --immediate-retries 0 -- sh -c 'cat >>ran2; echo >>ran2; ! grep -q bad "$GW_BODY_FILE"'
send Q bad --id bad2
send Q good
ran_good() { grep -qx good ran2; }
wait_until 5 ran_good
failed_later() { queue-inspect list Q --json | grep -q '"id":"bad2","state":"deferred".*"attempts":1'; }
wait_until 5 failed_later
stop_daemon B
queue-inspect release error
run_ok queue-inspect purge Q --all

# --- workers without a distributor can be seen, all of a queue together ------------------------------------------------------------------------
start_daemon P distributor worker --queue Q --capacity 2 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
start_daemon R distributor worker --queue Q --capacity 3 -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
start_daemon X distributor worker --queue Q -- true
kill_daemon X
send Q one
send Q two
at_work() { queue-inspect metrics | grep -q "^gatepost_worker_in_flight{endpoint=\"Q\",worker=\"Q@.*\"} $1\$"; }
wait_until 5 at_work 2
like 'gatepost_worker_capacity\{endpoint="Q",worker="Q@[^"]*"\} 5' "$(queue-inspect metrics)" 'a killed one is not counted'
unlike 'gatepost_worker_tokens\{' "$(queue-inspect metrics)"
start_background watch queue-inspect watch --json --interval 200ms
seen() { grep -q '"kind":"worker".*"endpoint":"Q","worker":"Q@.*","state":"ready","capacity":5,"in_flight":2,"since_at"' watch.out; }
wait_until 10 seen
kill_daemon watch TERM
touch go
wait_until 5 at_work 0
stop_daemon P
stop_daemon R
unlike 'gatepost_worker_capacity\{' "$(queue-inspect metrics)" 'who has ended is not there'

# --- a machine that has no name, or one that no address can have -----------------------------------------------------------------------------------
named() { unshare --uts sh -c 'hostname "$1" 2>/dev/null || exit 77; queue-inspect create Q --root "$2" && cat "$2/machine"' sh "$1" "$T/$2" 2>/dev/null; }
if name=$(named '(none)' unnamed); then
  same localhost "$name"
  same b--ro.example "$(named 'büro.example' odd)"
else
  skip 2 'no namespace with another host name'
fi

# --- an endpoint whose name is none -----------------------------------------------------------------------------------------------------------
run_exit 64 distributor run --endpoint 'a b'
like "'a b' is not a queue name" "$err"

# --- foreign messages of the control queue may go to another machine ---------------------------------------------------------------------------
cat >config.xml <<'X'
<gatepost><Machines><Machine Name="vm2" Address="http://127.0.0.1:9/machine/"/></Machines></gatepost>
X
run_exit 64 distributor run --endpoint E --error-queue error@nowhere --config config.xml
start_daemon run distributor run -v --endpoint E --error-queue error@vm2 --config config.xml
send E.distributor.control hello --id foreign
in_outbox() { queue-inspect list machine.vm2 --json 2>/dev/null | grep -q '"id":"foreign".*"Gatepost.DestinationQueue":"error"'; }
wait_until 5 in_outbox
like 'control-message-foreign .*id=foreign .*error_queue=error@vm2' "$(cat run.err)"
start_daemon F distributor run --endpoint F --error-queue Ferrors
run_ok queue-inspect remove Ferrors
send F.distributor.control hello
wait_until 5 held_by Ferrors 1
queue-inspect hold Ferrors --puts
send F.distributor.control hello
send F work
run_ok timeout 10 distributor worker --master F --drain -- cat
same work "$out" 'a foreign message that goes nowhere does not stop the others'
stop_daemon F

# --- who stops is not called dead; who is killed is ------------------------------------------------------------------------------------------------
registered() { distributor status | grep -q "^$1@.* $2 "; }
for _ in 1 2 3 4 5; do
  start_daemon W distributor worker --master E --queue W -- cat
  wait_until 5 registered W ready
  stop_daemon W
done
wait_until 5 registered W dead
unlike worker-died "$(cat run.err)" 'workers that stopped'
start_daemon K distributor worker --master E --queue K -- cat
wait_until 5 registered K ready
kill_daemon K
since=$(date +%s%3N)
wait_until 5 registered K dead
check 'a death is known within a second' [ $(($(date +%s%3N) - since)) -lt 1000 ]
like 'worker-died .*worker=K@' "$(cat run.err)"

# --- a worker that has its hands full learns of a short lease, at its start and later: it is never called silent ---------------------------------------
busy='touch "began.$GW_ENDPOINT"; while [ ! -e go2 ]; do sleep 0.05; done'
queue-inspect create G H
send G first
start_daemon runG distributor run --endpoint G --lease 1s
start_daemon workG distributor worker --master G -- sh -c "$busy"
send H first
start_daemon runH distributor run --endpoint H
start_daemon workH distributor worker --master H -- sh -c "$busy"
wait_until 5 [ -e began.G ]
wait_until 5 [ -e began.H ]
stop_daemon runH
start_daemon runH2 distributor run --endpoint H --lease 1s
sleep 2.5  # longer than any lease
unlike worker-silent "$(cat runG.err runH2.err)" 'busy is not dead'
check 'both are ready' [ "$(distributor status | grep -c 'worker@.* ready ')" = 2 ]
touch go2
for one in workG workH runG runH2; do stop_daemon "$one"; done

# --- somebody removes the queue itself: who waits on it says so and ends --------------------------------------------------------------------------------
queue-inspect create Gone Gone2 Gone3
start_daemon gone distributor worker --queue Gone -- true
start_background taker queue-inspect take Gone2 --follow
send Gone2 first
wait_until 10 grep -q first taker.out
start_daemon runGone distributor run --endpoint Gone3
start_daemon workGone distributor worker --master Gone3 -- true
for one in Gone Gone2 Gone3; do run_ok queue-inspect remove "$one"; done
for one in gone:Gone taker:Gone2 runGone:Gone3; do
  wait_daemon "${one%:*}"
  same 66 "$status"
  like "queue '${one#*:}' was removed" "$(cat "${one%:*}.err")"
done
stop_daemon workGone

# --- each hand-out of a traced message says so ------------------------------------------------------------------------------------------------------
send E traced --header "traceparent=$trace"
run_ok distributor worker --master E --queue W --drain -- true
like "debug forwarded .*traceparent=$trace\$" "$(grep forwarded run.err)"
stop_daemon run
done_testing
