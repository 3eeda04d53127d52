#!/usr/bin/env bash
# distributor run, worker --master, status, drain, resume, unregister: what they do when all is well.
# timeout: 120
# asan: yes
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/distributor-lib.sh
. "$SRC/tests/distributor-lib.sh"

ready() { queue-inspect list --json | python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    if row["queue"] == sys.argv[1]: print(row[sys.argv[2] if len(sys.argv) > 2 else "ready"])' "$@"; }
ready_is() { [ "$(ready "$2")" = "$1" ]; }
machine=$(hostname)

# --- what is refused ---------------------------------------------------------------------------------------------------------------------
run_exit 64 distributor run
run_exit 64 distributor run --endpoint Sales --concurrency 0
run_exit 64 distributor run --endpoint Sales --lease soon
run_exit 64 distributor run --endpoint .Sales
run_exit 64 distributor worker --master 'Sales@a@b' -- true
like 'Address contains multiple @ characters. Address supplied: .Sales@a@b.' "$err"
run_exit 64 distributor worker --master Sales --queue Sales -- true
run_exit 66 distributor status --endpoint Sales
queue-inspect create error
run_exit 64 distributor worker --master Sales@nowhere -- true
like 'the following machines have not been configured: nowhere' "$err"
run_ok distributor status
same '' "$out" 'no distributor, nothing to say'

# --- one distributor, two workers ---------------------------------------------------------------------------------------------------------
start_daemon run distributor run --endpoint Sales
same 'ready active' "$ready_line"
active_pid=$daemon_pid
start_daemon w1 distributor worker --master "Sales@$machine" --capacity 2 -- sh -c 'echo "$(cat) $GW_QUEUE $GW_ENDPOINT" >>log; while [ -e hold ]; do sleep 0.02; done'
same ready "$ready_line"
start_daemon w2 distributor worker --master Sales@localhost --queue Second --capacity 3 -- sh -c 'echo "$(cat) $GW_QUEUE $GW_ENDPOINT" >>log; while [ -e hold ]; do sleep 0.02; done'
wait_until 10 is 5 tokens
same 5 "$(ready Sales.distributor.storage)" 'idle: as many tokens in the storage queue as all workers together can do'
run_ok distributor status
like "^Sales +active +$active_pid +- +0 +-$" "$out"
like "^Sales.worker@$machine +ready +2 +2 +0 +[0-9a-f-]{36} +0 +0$" "$out"
like "^Second@$machine +ready +3 +3 +0 +[0-9a-f-]{36} +0 +0$" "$out"
same 'tokens 5 = capacity 5 - in flight 0' "$(tail -n 1 <<<"$out")"
same 3 "$(distributor status --endpoint Sales --json | wc -l)"
same "kind endpoint role pid since_at standby_pids waiting capacity tokens in_flight balanced" \
  "$(distributor status --json | head -n 1 | python3 -c 'import json, sys; print(*[k for k in json.loads(sys.stdin.readline()) if not k.endswith("time_s")])')" 'the keys of an endpoint'
same "kind endpoint worker state capacity tokens in_flight session since_at done_total failed_total" \
  "$(distributor status --json | tail -n 1 | python3 -c 'import json, sys; print(*[k for k in json.loads(sys.stdin.readline()) if not k.endswith("time_s")])')" 'the keys of a worker'

touch hold
seq 1 20 | queue-inspect put Sales --lines -q
wait_until 10 lines_are 5 log
wait_until 10 is 15 waiting
wait_until 10 is 5 in_flight
run_ok distributor status
same 'tokens 0 = capacity 5 - in flight 5' "$(tail -n 1 <<<"$out")" 'never more in flight than capacity; the rest waits in the input queue'
like 'Sales +active.* 15 +[0-9.]+m?s$' "$out" 'how long the oldest waits can be seen'
same '2 3' "$(ready Sales.worker claimed) $(ready Second claimed)"
same 5 "$(ready Sales.distributor.storage deferred)" 'what is in flight is deferred in the storage queue'
hand_out=$(queue-inspect list Second --json | head -n 1 | python3 -c 'import json, sys
h = json.loads(sys.stdin.readline())["headers"]
print(h["NServiceBus.Distributor.WorkerSessionId"], h["Gatepost.HandOut"])')
like "^$(value session Second) [0-9]+\.[0-9]+$" "$hand_out" 'a message in the queue of a worker names session and hand-out'
rm hold
wait_until 10 lines_are 20 log
wait_until 10 is 5 tokens
same "$(seq 1 20 | sort)" "$(cut -d' ' -f1 log | sort)" 'each one once'
same 'Sales.worker Sales|Second Sales|' "$(cut -d' ' -f2- log | sort -u | tr '\n' '|')" 'GW_QUEUE is the own queue, GW_ENDPOINT the endpoint'
wait_until 5 is "$((20 - $(value done_total Second)))" done_total Sales.worker
run_exit 75 distributor worker --master Sales -- true
like "another worker .* takes from queue .Sales.worker." "$err"
run_ok distributor worker --queue Sales.worker --drain -- true

# --- drain, resume, unregister ---------------------------------------------------------------------------------------------------------------
run_exit 64 distributor drain
run_exit 64 distributor drain Second --timeout 1s
run_exit 66 distributor drain "Secnd@$machine"
like "did you mean 'Second@$machine'" "$err"
run_exit 66 distributor resume Nobody
run_exit 66 distributor unregister "Nobody@$machine"
touch hold
seq 1 5 | queue-inspect put Sales --lines -q
wait_until 10 is 3 in_flight Second
run_exit 75 distributor drain "Second@$machine" --wait --timeout 300ms
same 'draining 0 3' "$(value state Second) $(value tokens Second) $(value in_flight Second)"
seq 6 9 | queue-inspect put Sales --lines -q
rm hold
run_ok distributor drain Second --wait --timeout 10s
same 'drained 0 0' "$(value state Second) $(value tokens Second) $(value in_flight Second)"
wait_until 10 lines_are 29 log
same 3 "$(tail -n 9 log | grep -c Second)" 'a drained worker got nothing more'
run_ok distributor status
same 'tokens 2 = capacity 2 - in flight 0' "$(tail -n 1 <<<"$out")" 'the sum is that of ready workers'
stop_daemon w2
start_daemon w2 distributor worker --master Sales --queue Second --capacity 3 -- sh -c 'echo "$(cat) again" >>log'
wait_until 5 grep -q 'worker-registered.*worker=Second.*session='"$(distributor status | sed -n 's/^Second.* \([0-9a-f-]\{36\}\) .*/\1/p')" run.err
same 'drained 0' "$(value state Second) $(value tokens Second)" 'it stays drained when it is started anew'
stop_daemon run
run_ok distributor resume "Second@$machine"
like 'no-distributor' "$err"
run_ok distributor drain Sales.worker
same 'ready drained' "$(value state Second) $(value state Sales.worker)" 'without a distributor: what is stored shows'
start_daemon run distributor run --endpoint Sales
wait_until 5 is 3 tokens
same 'ready drained' "$(value state Second) $(value state Sales.worker)"
run_ok distributor resume Sales.worker
wait_until 5 is 5 tokens
run_ok distributor unregister "Second@$machine"
same '' "$(value state Second)" 'an unregistered worker is not listed'
same '2 2' "$(value tokens) $(value capacity)"
stop_daemon run
start_daemon run distributor run --endpoint Sales
wait_until 5 is 2 tokens
same '' "$(value state Second)" 'also not after a restart of the distributor'
stop_daemon w2
start_daemon w2 distributor worker --master Sales --queue Second --capacity 3 -- true
wait_until 5 is 5 tokens

# --- standby ---------------------------------------------------------------------------------------------------------------------------------
start_daemon standby distributor run --endpoint Sales
same 'ready standby' "$ready_line"
standby_pid=$daemon_pid
start_daemon standby2 distributor run --endpoint Sales
same 'ready standby' "$ready_line"
standby2_pid=$daemon_pid
same "active [$standby_pid, $standby2_pid]" "$(value role) $(value standby_pids)"
stop_daemon standby2
kill_daemon run
wait_until 2 grep -q distributor-took-over standby.err
same 'ready standby' "$(cat standby.out)" 'no second ready line'
wait_until 5 is "$standby_pid" pid
same '[] 5' "$(value standby_pids) $(value tokens)"
printf last | queue-inspect put Sales -q
wait_until 5 is 0 waiting

# --- the end ----------------------------------------------------------------------------------------------------------------------------------
run_ok distributor worker --master Sales --queue Third --drain -- true
printf one | queue-inspect put Sales -q
run_ok distributor worker --master Sales --queue Third --once -- true
stop_daemon w1
stop_daemon w2
wait_until 5 is 0 tokens
run_ok distributor status
stop_daemon standby
like '^Sales +NOT RUNNING +- +- ' "$(distributor status)"
same none "$(value role)"
same 'error 0' "error $(ready error)"
done_testing
