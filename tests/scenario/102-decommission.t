#!/bin/bash
# instance-map decommission: two machines, senders that read the map late, work going on.
# timeout: 120
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

# --- two machines: vm1 sends, vm2 has the instance that goes -------------------------------------------------------------------
mkdir vm1 vm2
port=$(free_port) back=$(free_port)
config() { # config DIR ENDPOINT OTHER PORT
  printf '<gatepost><Gateway Endpoint="%s"/><Machines><Machine Name="%s" Address="http://127.0.0.1:%s/machine/"/></Machines></gatepost>' "$2" "$3" "$4" >"$1/config.xml"
}
config vm1 HQ vm2 "$port"
config vm2 Sales vm1 "$back"
on() { # on MACHINE CMD...
  local machine=$1
  shift
  GW_ROOT=$T/$machine/root GW_CONFIG=$T/$machine/config.xml "$@"
}
# start_on NAME MACHINE CMD...: env becomes the command, which gets the signals
start_on() { start_daemon "$1" env "GW_ROOT=$T/$2/root" "GW_CONFIG=$T/$2/config.xml" "${@:3}"; }
for machine in vm1 vm2; do
  mkdir -m 700 "$machine/root"
  echo "$machine" >"$machine/root/machine"
  run_ok on "$machine" queue-inspect create Sales
  echo '<routing><route namespace="Orders" endpoint="Sales"/></routing>' >"$machine/routing.xml"
  ln -s ../instance-mapping.xml "$machine/instance-mapping.xml"
done
cat >instance-mapping.xml <<'XML'
<endpoints>
  <endpoint name="Sales"> <!-- two of them -->
    <instance machine="vm1"/>
    <instance machine="vm2"/>
  </endpoint>
</endpoints>
XML
cp instance-mapping.xml original.xml
start_on listen2 vm2 gw-listen --machine vm2 --channel "http://127.0.0.1:$port/machine/"
start_on listen1 vm1 gw-listen --machine vm1 --channel "http://127.0.0.1:$back/machine/"
start_on forward1 vm1 gw-send forward
start_on forward2 vm2 gw-send forward
count() { on "$1" queue-inspect list "$2" --json | grep -c '"type":"Orders'; }
holds() { [ "$(count "$1" "$2")" = "$3" ]; }

seq 20 | on vm1 instance-map send --type Orders.Accept --lines -q
wait_until 20 holds vm2 Sales 10
run_ok on vm2 instance-map senders Sales --json
like '"sender":"HQ@vm1","machine":"vm1","map_version":"[0-9a-f]*","current":true' "$out" "vm2 knows its sender by its messages"

run_exit 64 on vm1 instance-map decommission Sales@vm2
like "'vm2'.*'vm1': run it there" "$err"
run_exit 66 on vm2 instance-map decommission Nothing
run_exit 1 on vm2 instance-map decommission Sales@vm2 --status
run_ok on vm2 instance-map decommission Sales@vm2 -n
same 6 "$(grep -c '^\[[1-6]/6\] .*  todo  .' <<<"$out")" "a plan of six lines"
check "-n changes nothing" cmp instance-mapping.xml original.xml

# The sender runs once a day: it has not read the map yet.
run_exit 75 on vm2 instance-map decommission Sales@vm2 --drain-timeout 500ms
like '^\[1/6\] map changed  done  took Sales@vm2 out of' "$out"
like '^\[2/6\] senders  waiting  HQ@vm1 has not read the map' "$out"
run_exit 75 on vm2 instance-map decommission Sales@vm2 --status --json
like '"step":1,"name":"map changed","state":"done"' "$out"
like '"step":2,"name":"senders","state":"waiting"' "$out"
like '"step":3,"name":"nothing new","state":"todo"' "$out"
check "comments stay" grep -q 'two of them' instance-mapping.xml
on vm2 instance-map decommission Sales@vm2 --drain-timeout 20s >decommission.out 2>decommission.err &
command=$!
waiting() { grep -q '^\[2/6\] senders  waiting' decommission.out; }
wait_until 10 waiting
run_exit 75 on vm2 instance-map decommission Sales@vm2
like 'by process' "$err" "two at once"
echo 21 | on vm1 instance-map send --type Orders.Accept -q >/dev/null
proved() { grep -q '^\[2/6\] senders  done  1 sender without it in the map: HQ@vm1$' decommission.out; }
wait_until 15 proved
quiet() { grep -Eq '^\[3/6\] nothing new  done  quiet [0-9a-z]+, last put [0-9:]{8}Z; all senders' decommission.out; }
wait_until 5 quiet
# Somebody works on it: a handler takes the ten that are there.
start_on worker2 vm2 distributor worker --queue Sales -- cat
drained() { grep -q '^\[4/6\] drained  done  0 ready, 0 claimed, 0 deferred' decommission.out; }
wait_until 15 drained
wait "$command"
same 0 $? "it ends with 0"
like '^\[5/6\] disabled  done  puts held at' "$(cat decommission.out)"
like '^\[6/6\] leftovers  done  0 left, 0 sent on' "$(cat decommission.out)"
run_ok on vm2 instance-map decommission Sales@vm2 --status
same 6 "$(grep -c '^\[[1-6]/6\] .*  done  .' <<<"$out")"
run_ok on vm2 instance-map decommission Sales@vm2
run_ok on vm2 queue-inspect list Sales --json
like decommission "$(on vm2 queue-inspect list --json | grep '"queue":"Sales"')" "the reason says so"
run_exit 75 on vm2 queue-inspect put Sales <<<late
same 11 "$(count vm1 Sales)" "all others are at vm1"
stop_daemon worker2

# Late arrivals, by an address that somebody has written down.
echo late | on vm1 queue-inspect put Sales@vm2 --type Orders.Late -q >/dev/null
late() { on vm1 queue-inspect list Sales --json | grep -q '"type":"Orders.Late"'; }
wait_until 20 late
same 0 "$(count vm2 Sales)" "it went on to the other instance"
like 'late-arrival' "$(cat listen2.err)"
run_ok on vm2 instance-map decommission Sales@vm2 --status
like '^\[6/6\].*1 late arrival sent on' "$out"

# --- back again ---------------------------------------------------------------------------------------------------------------------
run_ok on vm2 instance-map decommission Sales@vm2 --rollback
check "the map is as it was, byte for byte" cmp instance-mapping.xml original.xml
run_exit 1 on vm2 instance-map decommission Sales@vm2 --status
run_exit 1 on vm2 instance-map decommission Sales@vm2 --rollback
before=$(count vm2 Sales)
seq 4 | on vm1 instance-map send --type Orders.Accept --lines -q
wait_until 20 holds vm2 Sales $((before + 2))

# --- a sender that is not waited for; what is left goes on; nothing is done by this command that others did ---------------------------
run_ok on vm2 instance-map remove Sales@vm2
on vm2 queue-inspect put Sales --type Orders.Deferred --delay 1h -q <original.xml >/dev/null
run_ok on vm2 instance-map decommission Sales@vm2 --refresh 1s --drain-timeout 1s --ignore-sender HQ
like '^\[1/6\] map changed  done  Sales@vm2 is not in .* already' "$out"
like '^\[2/6\] senders  done .*ignored: HQ@vm1' "$out"
like '^\[3/6\] nothing new  done  quiet' "$out"
like '^\[4/6\] drained  done  not empty after 1s: 2 ready, 0 claimed, 1 deferred' "$out"
like '^\[6/6\] leftovers  done  0 left, 3 sent on: 3 to Sales@vm1' "$out"
deferred() { on vm1 queue-inspect list Sales --json | grep -q '"state":"deferred","type":"Orders.Deferred"'; }
wait_until 20 deferred
run_ok on vm2 instance-map decommission Sales@vm2 --rollback
like 'was not changed here' "$out"

# --- the last instance; a map from elsewhere --------------------------------------------------------------------------------------------
echo '<endpoints><endpoint name="Sales"><instance machine="vm2"/></endpoint></endpoints>' >instance-mapping.xml
run_exit 78 on vm2 instance-map decommission Sales@vm2
like "last instance of endpoint 'Sales'.*--allow-empty" "$err"
run_exit 1 on vm2 instance-map decommission Sales@vm2 --status
web=$(free_port)
python3 -m http.server --bind 127.0.0.1 --directory "$T" "$web" >/dev/null 2>&1 &
server=$!
at_exit kill "$server"
wait_until 5 curl -sf "http://127.0.0.1:$web/original.xml"
run_exit 75 on vm2 instance-map decommission Sales@vm2 --map "http://127.0.0.1:$web/original.xml"
like '^\[1/6\] map changed  waiting  .*cannot be changed here .*take Sales@vm2 out where it comes from' "$out"
stop_daemon forward1
stop_daemon forward2
stop_daemon listen1
stop_daemon listen2
done_testing
