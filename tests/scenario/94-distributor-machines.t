#!/usr/bin/env bash
# The distributor on one machine, a worker on another: both directions go through outboxes, the gateway and its de-duplication.
# timeout: 120
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/distributor-lib.sh
. "$SRC/tests/distributor-lib.sh"

# vm1 is one root, vm2 the other one; each has a configuration of its own.
mkdir one two
for vm in one two; do
  echo '<gatepost/>' >"$vm/config.xml"
  run_ok queue-inspect --root "$vm/root" create error
done
echo vm1 >one/root/machine
echo vm2 >two/root/machine
on() { # one|two COMMAND...
  local vm=$1
  shift
  GW_ROOT=$T/$vm/root GW_CONFIG=$T/$vm/config.xml "$@"
}
start_on() { # one|two NAME COMMAND...
  local vm=$1
  shift
  export GW_ROOT=$T/$vm/root GW_CONFIG=$T/$vm/config.xml
  start_daemon "$@"
}
endpoint=Sales at_distributor=(on one)
has_failed() { [ "$(on two queue-inspect list error --json 2>/dev/null | wc -l)" = 1 ]; }
make_keep

run_exit 64 on two distributor worker --master Sales@vm1 -- true
like 'the following machines have not been configured: vm1' "$err"
start_on one listen1 gw-listen --machine vm1 --allow-queue Sales --allow-queue Sales.distributor.control --channel http://127.0.0.1:0/machine/
url1=${ready_line#ready }
start_on two listen2 gw-listen --machine vm2 --allow-queue Sales.worker --channel http://127.0.0.1:0/machine/
url2=${ready_line#ready }
echo "<gatepost><Machines><Machine Name='vm2' Address='$url2'/></Machines></gatepost>" >one/config.xml
echo "<gatepost><Machines><Machine Name='vm1' Address='$url1'/></Machines></gatepost>" >two/config.xml
start_on one forward1 gw-send forward
start_on two forward2 gw-send forward
start_on one run distributor run --endpoint Sales --lease 2s
start_on two W distributor worker --master Sales@vm1 --capacity 2 -- ./keep log
wait_until 20 settled 2
like '^Sales.worker@vm2 +ready +2 +2 +0 ' "$(on one distributor status)"

send 1 2 3 4 5 6 7
wait_until 20 lines_are 7 log
wait_until 20 settled 2
same "$(seq 7)" "$(sort log)" 'handled over there, each one once'
sleep 2.5  # longer than the lease
same 'ready 2' "$(value state Sales.worker@vm2) $(value tokens Sales.worker@vm2)" 'its heartbeats arrive'

# What fails for good over there names the endpoint over here.
stop_daemon W
wait_until 10 is dead state Sales.worker@vm2
start_on two W distributor worker --master Sales@vm1 --capacity 2 -- sh -c 'exit 65'
wait_until 10 settled 2
send bad
wait_until 10 has_failed
wait_until 10 settled 2
same '"NServiceBus.FailedQ":"Sales@vm1"' "$(on two queue-inspect list error --json | grep -o '"NServiceBus.FailedQ":"[^"]*"')"

# A delayed retry waits here, and comes back with its count.
stop_daemon W
start_on two W distributor worker --master Sales@vm1 --capacity 1 --retry-increment 100ms -- sh -c 'echo "$GW_ATTEMPT" >>attempts; [ "$GW_ATTEMPT" -gt 2 ] || exit 75'
wait_until 10 settled 1
send again
wait_until 20 lines_are 3 attempts
wait_until 20 settled 1
same '1 2 3' "$(paste -sd' ' attempts)" 'delayed retries through the distributor keep the count of attempts'

# Killed: its messages are where it can find them again, it is dead after the lease, and has its capacity when it is back.
stop_daemon W
start_on two W distributor worker --master Sales@vm1 --capacity 2 -- sh -c './keep log; sleep 60'
wait_until 10 settled 2
: >log
send a b c
wait_until 20 lines_are 2 log
kill_daemon W
wait_until 10 is dead state Sales.worker@vm2
same '0 0' "$(value tokens) $(value tokens Sales.worker@vm2)"
start_on two W distributor worker --master Sales@vm1 --capacity 2 -- ./keep log
wait_until 20 settled 2
wait_until 10 lines_are 5 log
same 'a a b b c' "$(sort log | paste -sd' ')" 'what it had is offered again by its own queue'

# The line is cut while messages are on their way.
run_ok on one distributor drain Sales.worker@vm2 --wait --timeout 10s
run_ok on one distributor resume Sales.worker@vm2
wait_until 10 settled 2
: >log
stop_daemon forward1
send x y
wait_until 10 is 2 in_flight
kill_daemon run
start_on one run distributor run --endpoint Sales --lease 2s
sleep 1
start_on one forward1 gw-send forward
wait_until 20 lines_are 2 log
wait_until 20 settled 2
same 'x y' "$(sort log | paste -sd' ')"
unlike 'hand-out-lost|return-ignored|tokens-vanished' "$(cat run.err)" 'nothing was counted twice'
run_ok on one distributor unregister Sales.worker@vm2
same '' "$(value state Sales.worker@vm2)"
for name in W run forward1 forward2 listen1 listen2; do stop_daemon "$name"; done
done_testing
