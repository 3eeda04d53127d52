#!/bin/bash
# The journal, and queue-inspect trace: a message's story on both sides of the gateway.
# asan: yes
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

port=$(free_port)
cat >config.xml <<XML
<gatepost><Gateway Endpoint="HQ" Retries="1" RetryIncrement="100ms"><Sites>
<Site Key="Store1" Address="http://127.0.0.1:$port/Store1/"/><Site Key="Store2" Address="http://127.0.0.1:$(free_port)/Store2/"/>
</Sites></Gateway></gatepost>
XML
export GW_CONFIG=$T/config.xml
events() { jq -r .event | paste -sd' '; }
store() { GW_ROOT=$T/store GW_CONFIG='' "$@"; }

# --- a message to two sites, one of which does not answer ---
GW_CONFIG='' start_daemon store gw-listen --root store --endpoint Store1 --channel "http://127.0.0.1:$port/Store1/"
run_ok gw-send --to Store1,Store2 --id price-1 --type Prices.Changed --header 'traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' <<<'1.99'
run_ok queue-inspect trace price-1
like "^price-1: waiting in queue 'site.Store1'; waiting in queue 'site.Store2'\$" "$(head -n 1 <<<"$out")"
start_daemon forward gw-send forward
run_exit 69 gw-send wait price-1 --timeout 20s
run_ok queue-inspect trace price-1
like "^price-1: delivered to site 'Store1' at .*; in queue 'error', where it came from 'HQ.gateway@" "$(head -n 1 <<<"$out")"
run_ok queue-inspect trace price-1 --json
same 'stored delivered' "$(jq -c 'select(.site == "Store1")' <<<"$out" | events)"
same 'stored deferred failed' "$(jq -c 'select(.site == "Store2")' <<<"$out" | events)"
same "$(jq -r .at <<<"$out")" "$(jq -r .at <<<"$out" | sort)" 'in time order'
same "$(cat root/machine)" "$(jq -r .machine <<<"$out" | sort -u)"
same '1 2' "$(jq -r 'select(.site == "Store2" and .attempt) | .attempt' <<<"$out" | paste -sd' ')"
check 'the failed attempt says when the next one is' [ -n "$(jq -r 'select(.event == "deferred") | .next_try_at // empty' <<<"$out")" ]
same 200 "$(jq -r 'select(.event == "delivered") | .status' <<<"$out")"
same 5 "$(jq -r 'select(.traceparent) | .traceparent' <<<"$out" | wc -l)"
like '^[0-9]+$' "$(jq -r .pid <<<"$out" | sort -u | head -n 1)"

# --- at the other side: a duplicate, a refusal; a handler that sends ---
run_ok store queue-inspect trace price-1 --json
same stored "$(events <<<"$out")"
same Store1 "$(jq -r .queue <<<"$out")"
# what a handler sends is told to be on account of its message
run_ok store queue-inspect create Next
run_ok store distributor worker --queue Store1 --once -- sh -c 'echo more | queue-inspect put Next --id child'
run_ok store queue-inspect trace price-1
like "^price-1: handled by worker 'Store1@" "$(head -n 1 <<<"$out")"
like 'sent child' "$out"
run_ok store queue-inspect trace child --json
same price-1 "$(jq -r 'select(.event == "stored") | .parent_id' <<<"$out")"
run_ok store queue-inspect trace price-1 --json
same 'stored handled' "$(events <<<"$out")"
# again with the same id: at headquarters it is a new message, at the store a duplicate
run_ok queue-inspect move error site.Store1 price-1
run_ok queue-inspect wait site.Store1 --for empty --timeout 20s
run_ok store queue-inspect trace price-1 --json
same 'stored handled duplicate' "$(events <<<"$out")"
run_ok queue-inspect put site.Store1 --header NServiceBus.MessageId=price-1 --header 'NServiceBus.DestinationSites=Store1' <<<'another body'
run_ok queue-inspect wait site.Store1 --for empty --timeout 20s
run_ok store queue-inspect trace price-1 --json
like '^stored handled duplicate refused' "$(events <<<"$out")"
same 422 "$(jq -r 'select(.event == "refused") | .status' <<<"$out" | sort -u)"
stop_daemon forward

# --- unknown ---
run_exit 1 queue-inspect trace nobody-knows
same '' "$out"
like "'nobody-knows' is not known: it is in no queue, and the journal of .* goes back to 20[0-9-]+T" "$err"
run_exit 64 queue-inspect trace
printf 'price-1\nnobody-knows\n' >ids
queue-inspect trace - --json <ids >traced 2>/dev/null
same 1 $? 'one of several is unknown'
check 'the other one is told' grep -q price-1 traced
run_exit 1 queue-inspect trace nobody --root "$T/store"

# --- plain queues: only with --journal; a live message is found all the same ---
run_ok queue-inspect create Plain
run_ok queue-inspect create Noted --journal
run_ok queue-inspect put Plain --id plain <<<x
run_ok queue-inspect put Noted --id noted <<<x
check_not 'nothing of it in the journal' grep -q '"plain"' root/journal/*
run_ok queue-inspect trace plain
same "plain: waiting in queue 'Plain'" "$(head -n 1 <<<"$out")"
same stored "$(queue-inspect trace plain --json | events)"
run_ok queue-inspect take Noted
run_ok queue-inspect take Plain
same 'stored handled' "$(queue-inspect trace noted --json | events)"
run_exit 1 queue-inspect trace plain
# operators, and time that is over
run_ok queue-inspect put Noted --id ops <<<x
run_ok queue-inspect move Noted Plain ops
run_ok queue-inspect purge Plain ops
same 'stored moved purged' "$(queue-inspect trace ops --json | events)"
run_ok queue-inspect trace ops
like "^ops: removed from queue 'Plain' at " "$out"
run_ok queue-inspect put Noted --id late --ttl 1ms <<<x
run_exit 1 queue-inspect take Noted
same 'stored expired' "$(queue-inspect trace late --json | events)"

# --- the file: whole lines, private, one for each day ---
same "$(date -u +%F).jsonl" "$(ls root/journal)"
same '600 700' "$(stat -c %a root/journal/* root/journal | paste -sd' ')"
run_ok jq -es 'all(.[]; .at and .machine and .event and .id and .pid)' "root/journal/$(date -u +%F).jsonl"
run_ok queue-inspect check
# without it everything goes on
rm -r root/journal
touch root/journal
run_ok queue-inspect put Noted --id blind <<<x
like 'journal-incomplete' "$err"
same 1 "$(grep -c journal-incomplete <<<"$err")"
run_ok queue-inspect take Noted
rm root/journal
run_ok queue-inspect put Noted --id seeing <<<x
check 'the directory is made again' grep -q '"seeing"' root/journal/*
done_testing
