#!/bin/bash
# Through a distributor everything comes back to the endpoint: answers, delayed retries, failed messages. And how long it all took.
# timeout: 120
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

rows() { # KIND: what status says of the endpoint or the workers, as one Python list of dictionaries
  distributor status --json | python3 -c 'import json, sys
print([row for row in map(json.loads, sys.stdin) if row["kind"] == sys.argv[1]])' "$1"
}
value() { python3 -c 'import sys; m = eval(sys.argv[1]); print(eval(sys.argv[2]))' "$(rows "$1")" "$2"; }
is() { [ "$(value "$2" "$3")" = "$1" ]; }
messages() { # QUEUE EXPRESSION: over the messages m of a queue
  queue-inspect list "$1" --json | python3 -c 'import json, sys
m = list(map(json.loads, sys.stdin))
print(eval(sys.argv[1]))' "$2"
}
count_is() { [ "$(messages "$2" 'len(m)')" = "$1" ]; }
has_line() { grep -qs -- "$1" "$2"; }
machine=$(hostname)
queue-inspect create Client Other >/dev/null

start_daemon run distributor run --endpoint Sales
cat >handle <<'H'
#!/bin/bash
body=$(cat)
echo "$body $GW_QUEUE $GW_ENDPOINT $GW_ATTEMPT" >>"$LOG"
case $body in
  answer) printf done | gw-send -q reply && printf more | queue-inspect -q put Other && printf own | queue-inspect -q put Other --header NServiceBus.ReplyToAddress=Mine ;;
  late) [ "$GW_ATTEMPT" -ge 3 ] || exit 75 ;;
  blocked) while [ ! -e go ]; do sleep 0.05; done; [ "$GW_ATTEMPT" -ge 2 ] || exit 75 ;;
  twice) [ "$GW_ATTEMPT" -ge 2 ] || exit 1 ;;
  bad) exit 65 ;;
  slow) sleep 0.3 ;;
esac
H
chmod +x handle
export LOG=$T/log
start_daemon w1 distributor worker --master Sales --queue W1 --retry-increment 6s -- ./handle
wait_until 10 is 1 endpoint 'm[0]["tokens"]'

# --- the return address -------------------------------------------------------------------------------------------------------------------
printf answer | queue-inspect -q put Sales --id ask --header NServiceBus.ReplyToAddress=Client
wait_until 10 count_is 1 Client
same "Sales@$machine" "$(messages Client 'm[0]["headers"]["NServiceBus.ReplyToAddress"]')" '#545, 957, 958, 2051, 2353, 4338: an answer says where the endpoint is, not the worker'
same 'ask Reply' "$(messages Client 'm[0]["headers"]["NServiceBus.RelatedTo"] + " " + m[0]["headers"]["NServiceBus.MessageIntent"]')"
same "Sales@$machine Mine" "$(messages Other '" ".join(x["headers"]["NServiceBus.ReplyToAddress"] for x in m)')" 'what else is sent, too; what the handler said stays'
same 'answer W1 Sales 1' "$(cat log)" 'GW_QUEUE is the worker, GW_ENDPOINT the endpoint'
printf answer | queue-inspect -q put W1 --id straight --header NServiceBus.ReplyToAddress=Client
wait_until 10 count_is 2 Client
same Sales "$(messages Client 'm[1]["headers"].get("NServiceBus.ReplyToAddress")')" 'a message that was not handed out'
wait_until 10 is 1 endpoint 'm[0]["tokens"]'
run_ok distributor status

# --- retries ------------------------------------------------------------------------------------------------------------------------------
: >log
printf twice | queue-inspect -q put Sales --id twice
wait_until 10 has_line 'twice W1 Sales 2' log
same $'twice W1 Sales 1\ntwice W1 Sales 2' "$(cat log)" 'an immediate retry stays with the worker'
: >log
printf late | queue-inspect -q put Sales --id late
wait_until 10 is 1 endpoint 'm[0]["tokens"]'
wait_until 10 count_is 1 Sales
same 'deferred 1 late' "$(messages Sales 'm[0]["state"] + " " + str(m[0]["attempts"]) + " " + m[0]["id"]')" 'a delayed retry waits in the queue of the endpoint'
same 'False False' "$(messages Sales '" ".join(str(h in m[0]["headers"]) for h in ("Gatepost.HandOut", "NServiceBus.Distributor.WorkerSessionId"))')"
same 0 "$(messages W1 'len(m)')"
same '1 0' "$(value endpoint 'str(m[0]["tokens"]) + " " + str(m[0]["in_flight"])')" 'and its token does not wait with it'
# Another worker gets the rest of its attempts.
stop_daemon w1
start_daemon w2 distributor worker --master Sales --queue W2 --retry-increment 500ms -- ./handle
wait_until 20 has_line 'late W2 Sales 3' log
same $'late W1 Sales 1\nlate W2 Sales 2\nlate W2 Sales 3' "$(cat log)" 'attempts count on'
wait_until 10 is 1 endpoint 'm[0]["tokens"]'
wait_until 10 count_is 0 Sales
same '2' "$(value worker '[x for x in m if x["worker"].startswith("W2@")][0]["failed_total"] + [x for x in m if x["worker"].startswith("W2@")][0]["done_total"]')" 'one failed, one done there'

# --- the error queue ------------------------------------------------------------------------------------------------------------------------
printf bad | queue-inspect -q put Sales --id bad
wait_until 10 count_is 1 error
same "Sales@$machine Sales" "$(messages error 'm[0]["failed_queue"] + " " + m[0]["headers"]["NServiceBus.ProcessingEndpoint"]')" 'failed where the endpoint is'
same 'False False' "$(messages error '" ".join(str(h in m[0]["headers"]) for h in ("Gatepost.HandOut", "NServiceBus.Distributor.WorkerSessionId"))')"
wait_until 10 is 1 endpoint 'm[0]["tokens"]'

# While the endpoint takes nothing, a delayed retry waits with the worker, and its token with it.
printf blocked | queue-inspect -q put Sales --id here
wait_until 10 has_line 'blocked W2 Sales 1' log
run_ok queue-inspect hold Sales --puts
touch go
wait_until 10 has_line refused w2.err
same '0 1' "$(value endpoint 'str(m[0]["tokens"]) + " " + str(m[0]["in_flight"])')"
wait_until 10 has_line 'blocked W2 Sales 2' log
wait_until 10 is 1 endpoint 'm[0]["tokens"]'
same 'blocked W2 Sales 1|blocked W2 Sales 2|' "$(grep blocked log | tr '\n' '|')" 'it counts all the same'
run_ok queue-inspect release Sales
stop_daemon w2

# --- waiting time -----------------------------------------------------------------------------------------------------------------------------
run_ok distributor status --max-age 1h --max-count 10
same '' "$out" 'nothing exceeds a limit: nothing is printed'
for _ in 1 2 3; do printf slow | queue-inspect -q put Sales; done
run_exit 1 distributor status --max-count 2
like '^Sales +active' "$out"
run_ok distributor status --max-count 3
wait_until 10 eval '! distributor status --max-age 100ms >/dev/null'
run_exit 1 distributor status --json --max-age 100ms
like '"waiting":3,"oldest_s":[0-9.]+,' "$out"
run_exit 1 distributor status --min-free 900000G
run_ok distributor status --max-age 1h
run_exit 64 distributor status --max-age soon
start_daemon w3 distributor worker --master Sales --queue W3 --retry-increment 500ms -- ./handle
wait_until 20 count_is 0 Sales
wait_until 10 is 3 worker '[x for x in m if x["worker"].startswith("W3@")][0]["done_total"]'
same 'True True' "$(value worker '(lambda x: str(0.25 < x["processing_time_s"] < 5) + " " + str(0.3 < x["critical_time_s"] < 60))([x for x in m if x["worker"].startswith("W3@")][0])')" \
  'the worker says how long it worked and they waited'
same 'True' "$(value endpoint '0 < m[0]["processing_time_s"] <= m[0]["critical_time_s"]')" 'the endpoint, of all its workers'
run_ok distributor status
like '^critical time .*, processing time .*mean of the last 100' "$out"
same 1 "$(value worker 'len([x for x in m if x["worker"].startswith("W3@") and "critical_time_s" in x])')"
stop_daemon w3
stop_daemon run
# A plain worker's queue has its times as well, and a killed worker's count stays.
queue-inspect create Plain >/dev/null
printf slow | queue-inspect -q put Plain
run_ok distributor worker --queue Plain --drain -- ./handle
check 'its file' [ -s "$GW_ROOT/times/Plain" ]
done_testing
