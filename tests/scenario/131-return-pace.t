#!/bin/bash
# queue-inspect return: ramp, rate, settle, stop on failures, what comes back; messages of sites; a wait for them.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

count() { queue-inspect list --json | jq -r --arg q "$1" 'select(.queue == $q) | .ready + .claimed + .deferred'; }
# failed N QUEUE: N messages in error that failed in QUEUE
failed() { seq "$1" | queue-inspect put error --lines --ids --header "NServiceBus.FailedQ=$2" -q >ids; }
holds() { [ "$(count "$1")" = "$2" ]; }

# --- steps: a worker that fails each message is noticed ---
run_ok queue-inspect create Sales error
failed 30 Sales
start_daemon bad distributor worker --queue Sales -- false
run_exit 1 queue-inspect return error --all --ramp 2,5 --settle 400ms --stop-on-failures 4 --json
same true "$(jq -r 'select(.kind).stopped' <<<"$out")"
returned=$(jq -r 'select(.kind).returned' <<<"$out") came_back=$(jq -r 'select(.kind).came_back' <<<"$out")
same 7 "$returned" 'stopped in the second step'
check 'at least as many came back as were allowed' [ "$came_back" -ge 4 ]
same "$came_back" "$(jq -r 'select(.result == "came-back") | .id' <<<"$out" | sort -u | wc -l)"
same 'error' "$(jq -r 'select(.result == "came-back") | .to' <<<"$out" | sort -u)"
stop_daemon bad
run_ok queue-inspect wait error --for count=30 --timeout 10s

# --- a worker that has been mended ---
start_daemon good distributor worker --queue Sales --capacity 4 -- true
run_ok queue-inspect return error --all --ramp 1,5 --settle 100ms
same 30 "$(grep -c 'returned.Sales$' <<<"$out")"
like 'selected=30 returned=30 skipped=0 came_back=0 stopped=no' "$err"
run_ok queue-inspect wait Sales --for empty --timeout 20s
stop_daemon good

# --- rate ---
failed 6 Sales
begin=$(date +%s%N)
run_ok queue-inspect return error --all --rate 5/s
took=$((($(date +%s%N) - begin) / 1000000))
check "six at 5/s take a second ($took ms)" [ "$took" -ge 900 ]
run_ok queue-inspect purge Sales --all

# --- stopped by a signal: a summary, and the rest stays ---
failed 50 Sales
start_background slow queue-inspect return error --all --rate 10/s
wait_until 10 grep -q returned slow.out
kill_daemon slow TERM
check 'the rest stays' [ "$(count error)" -gt 20 ]
same 50 $(($(count error) + $(count Sales)))
like 'stopped=yes' "$(cat slow.err)"
run_ok queue-inspect return error --all
same 50 "$(count Sales)"
run_ok queue-inspect purge Sales --all

# --- what it is called with ---
for wrong in '--ramp 1,x' '--ramp 0' '--ramp ,' '--rate x' '--rate 0/s' '--settle x' '--stop-on-failures 0'; do
  # shellcheck disable=SC2086
  run_exit 64 queue-inspect return error --all $wrong
  like "${wrong%% *}" "$err"
done

# --- messages of sites: back into the outbox, and who waits for one learns of it ---
port=$(free_port)
cat >config.xml <<XML
<gatepost><Gateway Endpoint="HQ" Retries="0"><Sites><Site Key="Store1" Address="http://127.0.0.1:$port/Store1/"/></Sites></Gateway></gatepost>
XML
export GW_CONFIG=$T/config.xml
run_ok gw-send --to Store1 --id price-1 <<<'1.99'
run_exit 1 gw-send forward --once
run_ok queue-inspect list error --json
same "HQ.gateway@$(cat root/machine)" "$(jq -r .failed_queue <<<"$out")"
run_exit 69 gw-send wait price-1 --timeout 0
run_ok queue-inspect return error price-1
same $'price-1\treturned\tsite.Store1' "$out"
run_exit 75 gw-send wait price-1 --timeout 0
# it comes back at the first failure, although there are retries now
run_exit 1 gw-send forward --once --retries 3
same 1 "$(count error)"
run_ok queue-inspect return error price-1
GW_CONFIG='' start_daemon store gw-listen --root store --endpoint Store1 --channel "http://127.0.0.1:$port/Store1/"
start_background forward gw-send forward
run_ok gw-send wait price-1 --timeout 20s
run_ok env GW_ROOT="$T/store" queue-inspect show Store1 price-1
unlike 'Gatepost.Returned|FailedQ|ExceptionInfo' "$out"
done_testing
