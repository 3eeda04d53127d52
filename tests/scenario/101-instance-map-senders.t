#!/bin/bash
# Senders and the map: last good ones, endpoints that must not vanish, control messages, instance-map senders.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

export GW_CONFIG=$T/config.xml
echo '<gatepost><Gateway Endpoint="HQ"/><Machines><Machine Name="vm2" Address="http://127.0.0.1:1/"/></Machines></gatepost>' >config.xml
echo '<routing><route namespace="Orders" endpoint="Sales"/></routing>' >routing.xml
map() { printf '<endpoints><endpoint name="Sales">%s</endpoint></endpoints>' "$1" >map.new && mv map.new instance-mapping.xml; }
both='<instance/><instance discriminator="2"/>'
run_ok queue-inspect create Sales Sales-2
here=$(cat "$GW_ROOT/machine")
send() { printf '%s' "${1:-x}" | instance-map send --type Orders.Accept "${@:2}"; }
types() { queue-inspect list "$1" --json | sed -n 's/.*"type":"\([^"]*\)".*/\1/p' | xargs; }

# --- last good ones --------------------------------------------------------------------------------------------------------
map "$both"
run_ok send
run_ok send
same "Orders.Accept / Orders.Accept" "$(types Sales) / $(types Sales-2)"
for bad in '<endpoints>' '' '<endpoints><endpoint name="Sales"/></endpoints>'; do
  printf '%s' "$bad" >instance-mapping.xml
  run_ok send
  like "Unable to update instance mapping information because the instance mapping file couldn't be read." "$err" "an event, and it goes on"
  run_exit 78 instance-map resolve --type Orders.Accept
  run_exit 78 instance-map list
done
rm instance-mapping.xml
run_ok send
like 'The specified instance mapping file does not exist.' "$err"
run_exit 66 instance-map list
map "$both"
printf '<routing>' >routing.xml
run_ok send
like 'routing-bad' "$err"
run_exit 78 instance-map resolve --type Orders.Accept
echo '<routing><route namespace="Orders" endpoint="Sales"/></routing>' >routing.xml
run_exit 78 instance-map send --type Orders.Accept --map other.xml config.xml
like 'The specified instance mapping file does not exist.' "$err" "a map that was never read has no last good one"

# --- an endpoint that gets messages does not vanish -----------------------------------------------------------------------------
echo '<endpoints/>' >instance-mapping.xml
run_ok send
like "endpoint 'Sales' still gets messages.*--allow-empty" "$err"
run_ok instance-map list
same '' "$(instance-map list --json)" "list shows what is in the file"
before=$(queue-inspect list Sales --json | wc -l)
run_ok send x --allow-empty
run_ok send x
same $((before + 2)) "$(queue-inspect list Sales --json | wc -l)" "without a map all goes to the queue of its name"
same '' "$err" "which is now the good map"

# --- an instance that leaves is told, behind everything else ---------------------------------------------------------------------
map "$both"
queue-inspect purge Sales --all -q >/dev/null && queue-inspect purge Sales-2 --all -q >/dev/null
run_ok send
run_ok send
map '<instance/>'
run_ok send
same "Orders.Accept Gatepost.MapVersion" "$(types Sales-2)"
same "Orders.Accept Orders.Accept" "$(types Sales)"
run_ok send
same "Orders.Accept Gatepost.MapVersion" "$(types Sales-2)" "once"
run_ok queue-inspect take Sales-2
same x "$out" "take passes it over"
run_exit 1 queue-inspect take Sales-2
map "$both"
run_ok send
map '<instance/>'
run_ok send
touch handled
start_daemon worker distributor worker --queue Sales-2 -- sh -c 'echo "$GW_MESSAGE_TYPE" >>handled'
empty() { [ -z "$(types Sales-2)" ]; }
wait_until 10 empty
check_not "no handler sees it" grep -q MapVersion handled
stop_daemon worker

# --- one that goes on for long sees a change at once ------------------------------------------------------------------------------
map "$both"
mkfifo lines
instance-map send --type Orders.Accept --lines -q <lines 2>long.err &
long=$!
exec 5>lines
for i in 1 2 3 4; do echo "$i" >&5; done
has() { [ "$(types "$1" | tr ' ' '\n' | grep -c "$2")" = "$3" ]; }
queue-inspect purge Sales --all -q >/dev/null
wait_until 10 has Sales-2 Orders 2
queue-inspect purge Sales --all -q >/dev/null
map '<instance/>'
run_ok send
check "while one still uses the old map, nobody is told" has Sales-2 MapVersion 0
like ' no ' "$(instance-map senders Sales | grep HQ@)" "the sender is not current"
run_exit 75 instance-map senders Sales --wait --timeout 300ms
before=$(types Sales | wc -w)
sleep 0.3 # it looks some times a second
for i in 5 6 7 8; do echo "$i" >&5; done
wait_until 10 has Sales Orders $((before + 4))
check "it is told behind the last message" [ "$(types Sales-2)" = "Orders.Accept Orders.Accept Gatepost.MapVersion" ]
run_ok instance-map senders Sales --wait --timeout 5s
exec 5>&-
wait "$long"
run_ok instance-map senders --json
same "HQ@$here" "$(sed -n 's/.*"sender":"\([^"]*\)".*/\1/p' <<<"$out")"
like "\"machine\":\"$here\",\"map_version\":\"[0-9a-f]{16}\",\"current\":true,\"since_at\":\"" "$out"
same '' "$(instance-map senders Other --json)"

# One that was killed: whoever comes next tells.
map "$both"
queue-inspect purge Sales-2 --all -q >/dev/null
instance-map send --type Orders.Accept --lines -q <lines 2>/dev/null &
long=$!
exec 5>lines
echo 1 >&5
echo 2 >&5
wait_until 10 has Sales-2 Orders 1
kill -9 "$long"
wait "$long" 2>/dev/null
exec 5>&-
map '<instance/>'
run_ok send
check "it is told" has Sales-2 MapVersion 1

# --- another machine is told through its outbox ------------------------------------------------------------------------------------
map '<instance/><instance machine="vm2"/>'
run_ok send
run_ok send
same "Orders.Accept" "$(types machine.vm2)"
map '<instance/>'
run_ok send
same "Orders.Accept Gatepost.MapVersion" "$(types machine.vm2)"
done_testing
