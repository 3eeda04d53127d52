#!/bin/bash
# From a distributor to sender-side distribution while messages go on, by the steps of gw-machines(7); in between both are used at once.
# timeout: 200
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/netns-lib.sh"

need_machines
make_machines vm1 vm2 vm3
cat >handler <<'END'
#!/bin/bash
printf '%s %s\n' "$GW_MESSAGE_ID" "$GW_QUEUE@$(cat "$GW_ROOT/machine")" >>"$(dirname "$GW_ROOT")/../handled"
# Once in a while one is retried later.
case $GW_MESSAGE_ID in *5) [ "$GW_ATTEMPT" -gt 1 ] || exit 75 ;; esac
END
chmod +x handler
configure_machines 'ConnectTimeout="500ms" AnswerTimeout="2s"'
for name in vm1 vm2 vm3; do start_gateway "$name"; done
# vm1 sends by the map; the map has the distributor.
printf '<endpoints>\n  <endpoint name="Sales"><instance machine="vm1"/></endpoint>\n</endpoints>\n' >vm1/instance-mapping.xml
printf '<routing><route type="Shop.Order" endpoint="Sales"/><route type="Shop.Priced" endpoint="Prices"/></routing>\n' >vm1/routing.xml
start_on vm1 distributor distributor run --endpoint Sales --concurrency 4
worker() { start_on "$1" "worker-$1" distributor worker --master Sales@vm1 --retry-increment 300ms -- "$T/handler"; }
worker vm2
worker vm3
run_ok on vm1 queue-inspect create Prices
run_ok on vm1 instance-map subscribe --endpoint Sales --address Sales@vm1 Shop.Priced

sent=0
send() { # COUNT
  seq $((sent + 1)) $((sent + $1)) | on vm1 instance-map send --type Shop.Order --lines -q --id "s$sent" || return 1
  sent=$((sent + $1))
}
handled() { [ "$(awk '{ print $1 }' handled 2>/dev/null | sort -u | wc -l)" -ge "$1" ]; }
run_ok send 30
wait_until 60 handled 30
same "Sales.worker@vm2 Sales.worker@vm3" "$(awk '{ print $2 }' handled | sort -u | tr '\n' ' ' | sed 's/ $//')" "the distributor's workers"

# --- 1: the new instance beside the worker; 2: into the map. Both at once. ---
run_ok on vm2 queue-inspect create Sales
start_on vm2 instance-vm2 distributor worker --queue Sales --retry-increment 300ms -- "$T/handler"
run_ok on vm1 instance-map add Sales@vm2
run_ok send 20
wait_until 60 handled 50
check "a distributor and an instance without one share the messages" [ "$(grep -c ' Sales@vm2' handled)" -ge 10 ]
run_ok on vm1 instance-map remove Sales@vm1

# --- 3: the first worker leaves ---
send 40 &
sender=$!
run_ok on vm1 "$SRC/scripts/deploy/leave-distributor" detach Sales.worker@vm2
like 'detached Sales.worker@vm2' "$out"
wait "$sender"
sent=$((sent + 40))
stop_daemon worker-vm2
run_ok send 10

# --- 4: the rest, when nothing comes any more ---
run_ok on vm1 "$SRC/scripts/deploy/leave-distributor" finish Sales 1s
like 'unsubscribed Sales@vm1 from Shop.Priced' "$out"
like 'detached Sales.worker@vm3' "$out"
like '^done:' "$out"
stop_daemon distributor
stop_daemon worker-vm3
run_ok on vm3 queue-inspect create Sales
start_on vm3 instance-vm3 distributor worker --queue Sales --retry-increment 300ms -- "$T/handler"
run_ok on vm1 instance-map add Sales@vm3
run_ok send 20
wait_until 60 handled 120
settled() { [ "$(on "$1" queue-inspect list --json | jq -s 'map(select(.queue | test("^Sales")) | .ready + .claimed + .deferred) | add')" = 0 ]; }
for name in vm2 vm3; do wait_until 30 settled "$name"; done
same "$sent" "$(awk '{ print $1 }' handled | sort -u | wc -l)" "all were handled"
same "$sent" "$(awk '$1 !~ /5$/ || seen[$1]++ { print $1 }' handled | wc -l)" "and each once"
check "the new instance takes part" grep -q ' Sales@vm3' handled
run_exit 64 on vm1 "$SRC/scripts/deploy/leave-distributor" nonsense
done_testing
