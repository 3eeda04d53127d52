#!/bin/bash
# queue-inspect return: failed messages go back to where they failed, as they were, each once.
# asan: yes
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

fails() { distributor worker --queue "$1" --error-queue error --immediate-retries 0 --retries 0 --drain -- sh -c 'echo "no stock for order 4711" >&2; exit 3' >/dev/null 2>&1; }
count() { queue-inspect list --json | jq -r --arg q "$1" 'select(.queue == $q) | .ready + .claimed + .deferred'; }

run_ok queue-inspect create Sales Other error
run_ok queue-inspect put Sales --id one --type Shop.Order --header 'a=b' --header 'NServiceBus.ProcessingEndpoint=Elsewhere' <<<'first'
run_ok queue-inspect list Sales --json
before=$(jq -c .headers <<<"$out")
fails Sales
run_ok queue-inspect list error --json
same 'Sales@'"$(cat root/machine)" "$(jq -r .failed_queue <<<"$out")"

# --- dry run, and what is printed ---
run_ok queue-inspect return error --all --dry-run
same $'one\twould-return\tSales' "$out"
same 1 "$(count error)" '--dry-run changes nothing'
run_exit 64 queue-inspect return error
run_exit 66 queue-inspect return nowhere --all
run_exit 66 queue-inspect return error no-such-id
run_ok queue-inspect return error --all
same $'one\treturned\tSales' "$out"
like 'selected=1 returned=1 skipped=0 came_back=0' "$err"
same 0 "$(count error)"
run_ok queue-inspect list Sales --json
same "$before" "$(jq -c .headers <<<"$out")" 'the headers are those of before, in their order'
same 0 "$(jq -r .attempts <<<"$out")" 'attempts begin anew'
run_ok queue-inspect show Sales one
unlike 'Gatepost.Returned' "$out"
run_ok queue-inspect return error --all --json
same '{"kind":"summary","selected":0,"returned":0,"skipped":0,"came_back":0,"stopped":false}' "$out"

# --- the first failure brings it back, whatever the worker's retries are; the handler does not see why ---
run_exit 1 distributor worker --queue Sales --drain -- sh -c 'cp "$GW_HEADERS_FILE" seen; echo "$GW_ATTEMPT" >>attempts; exit 3'
same 1 "$(cat attempts)" 'one attempt, the first'
unlike 'Returned|FailedQ|ExceptionInfo' "$(cat seen)"
same 1 "$(count error)"
run_ok queue-inspect show error one --headers
unlike 'Gatepost.Returned' "$out"
# ... but a handler that asks for a later retry gets it
run_ok queue-inspect return error one
run_exit 1 distributor worker --queue Sales --retry-increment 0 --drain -- sh -c 'echo x >>later; [ $(wc -l <later) -ge 2 ] && exit 3; exit 75'
same 2 "$(wc -l <later)" 'again after 75, then back'
# ... and what was not returned has all its retries
run_ok queue-inspect put Sales --id two <<<'second'
run_exit 1 distributor worker --queue Sales --immediate-retries 2 --retries 0 --drain -- sh -c 'echo x >>all; exit 3'
same 3 "$(wc -l <all)"

# --- --to, selections, what is skipped ---
run_ok queue-inspect return error two --to Other --json
same $'{"id":"two","seq":'"$(jq -r 'select(.id) | .seq' <<<"$out")"$',"result":"returned","to":"Other"}' "$(head -n 1 <<<"$out")"
same 1 "$(count Other)"
run_exit 64 queue-inspect return error --all --to error
run_exit 66 queue-inspect return error --all --to Nowhere
run_ok queue-inspect put error --id foreign <<<'never failed here'
run_ok queue-inspect put error --id elsewhere --header 'NServiceBus.FailedQ=Gone@'"$(cat root/machine)" <<<'its queue is gone'
run_ok queue-inspect put error --id late --ttl 1ms --header 'NServiceBus.FailedQ=Sales' <<<'too late'
run_exit 1 queue-inspect return error --all --json
same $'elsewhere skipped Gone\nforeign skipped null\nlate skipped Sales\none returned Sales' "$(jq -r 'select(.id) | "\(.id) \(.result) \(.to)"' <<<"$out" | sort)"
like "no header NServiceBus.FailedQ" "$(jq -r 'select(.id == "foreign") | .reason' <<<"$out")"
like "there is no queue 'Gone'" "$(jq -r 'select(.id == "elsewhere") | .reason' <<<"$out")"
like "time to be received was over" "$(jq -r 'select(.id == "late") | .reason' <<<"$out")"
same '{"kind":"summary","selected":4,"returned":1,"skipped":3,"came_back":0,"stopped":false}' "$(tail -n 1 <<<"$out")"
run_exit 1 queue-inspect return error foreign
same $'foreign\tskipped\t-' "$out"
like 'no header NServiceBus.FailedQ' "$err"

# --- claimed elsewhere ---
run_ok queue-inspect put error --id held --header 'NServiceBus.FailedQ=Sales' <<<'x'
start_daemon holder distributor worker --queue error --error-queue Other --retries 0 -- sh -c '[ "$GW_MESSAGE_ID" = held ] && { touch holding; sleep 60; }; exit 75'
wait_until 10 test -e holding
run_exit 1 queue-inspect return error held
same $'held\tskipped\tSales' "$out"
like 'claimed elsewhere, by process' "$err"
kill_daemon holder

# --- a data bus property that is gone ---
echo blob >blob
run_ok queue-inspect put error --id blobby --header 'NServiceBus.FailedQ=Sales' --attach k=blob <<<'x'
run_ok queue-inspect show error blobby --json
rm "$(jq -r '.attachments[0].path' <<<"$out")"
run_exit 1 queue-inspect return error blobby
same $'blobby\tskipped\tSales' "$out"
like "attachment 'k' is gone" "$err"
done_testing
