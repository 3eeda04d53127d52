#!/bin/bash
# A map that is read from a web server: a sender that looks at it now and then goes on sending to the instance that leaves, and the
# decommissioning waits for it. Afterwards: what comes late through the listener of the machine.
# timeout: 120
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

mkdir vm1 vm2 www
port=$(free_port) web=$(free_port)
url=http://127.0.0.1:$web/instance-mapping.xml
on() { # on MACHINE CMD...
  local machine=$1
  shift
  GW_ROOT=$T/$machine/root GW_CONFIG=$T/$machine/config.xml "$@"
}
start_on() { start_daemon "$1" env "GW_ROOT=$T/$2/root" "GW_CONFIG=$T/$2/config.xml" "${@:3}"; }
back=$(free_port)
printf '<gatepost><Gateway Endpoint="HQ"/><Machines><Machine Name="vm2" Address="http://127.0.0.1:%s/machine/"/></Machines></gatepost>' "$port" >vm1/config.xml
printf '<gatepost><Machines><Machine Name="vm1" Address="http://127.0.0.1:%s/machine/"/></Machines></gatepost>' "$back" >vm2/config.xml
echo '<routing><route namespace="Orders" endpoint="Sales"/></routing>' >vm1/routing.xml
for machine in vm1 vm2; do
  mkdir -m 700 "$machine/root"
  echo "$machine" >"$machine/root/machine"
  run_ok on "$machine" queue-inspect create Sales
done
map() { printf '<endpoints><endpoint name="Sales">%s</endpoint></endpoints>' "$1" >www/new.xml && mv www/new.xml www/instance-mapping.xml; }
map '<instance machine="vm1"/><instance machine="vm2"/>'
python3 -m http.server --bind 127.0.0.1 --directory www "$web" >/dev/null 2>&1 &
at_exit kill $!
wait_until 10 curl -sf -o /dev/null "$url"
start_on listen2 vm2 gw-listen --machine vm2 --channel "http://127.0.0.1:$port/machine/"
start_on listen1 vm1 gw-listen --machine vm1 --channel "http://127.0.0.1:$back/machine/"
start_on forward1 vm1 gw-send forward
start_on forward2 vm2 gw-send forward

# --- a sender that looks every 4 seconds sends all the time --------------------------------------------------------------------------
mkfifo lines
mkdir handled
start_on worker2 vm2 distributor worker --queue Sales -- sh -c 'mkdir "handled/$GW_MESSAGE_ID" 2>>twice' # a directory there already: it came twice
on vm1 instance-map send --map "$url" --refresh 4s --type Orders.Accept --lines --id o -q <lines 2>sender.err &
sender=$!
exec 5>lines
fed=0
feed() { # one line, while the other conditions are waited for
  fed=$((fed + 1))
  echo "$fed" >&5
}
handled() { feed; [ "$(find handled -name 'o-*' | wc -l)" -ge "$1" ]; }
wait_until 20 handled 3
run_exit 75 on vm2 instance-map decommission Sales@vm2 --map "$url" --refresh 1s
like '^\[1/6\] map changed  waiting  .*cannot be changed here \(it is not a file\): take Sales@vm2 out where it comes from' "$out"
run_exit 75 on vm2 instance-map decommission Sales@vm2 --status
map '<instance machine="vm1"/>'
on vm2 instance-map decommission Sales@vm2 --map "$url" --refresh 1s --drain-timeout 30s >decommission.out 2>decommission.err 5>&- &
command=$!
says() { feed; grep -Eq "$1" decommission.out; }
wait_until 10 says '^\[1/6\] map changed  done  Sales@vm2 is not in'
wait_until 10 says '^\[2/6\] senders  waiting  HQ@vm1 has not read the map'
before=$(find handled -name 'o-*' | wc -l)
wait_until 20 handled $((before + 1)) # it still sends there
wait_until 30 says '^\[2/6\] senders  done  1 sender without it in the map: HQ@vm1$'
wait "$command"
same 0 $? "it ends with 0"
like '^\[6/6\] leftovers  done  0 left' "$(cat decommission.out)"
for _ in 1 2 3 4 5 6; do feed; done
exec 5>&-
wait "$sender"
same 0 $? "the sender has sent all"
run_exit 75 on vm2 queue-inspect put Sales </dev/null
ids() {
  on vm1 queue-inspect list Sales --json | sed -n 's/.*"id":"\(o-[0-9]*\)".*/\1/p'
  find handled -name 'o-*' -printf '%f\n'
}
all_there() { [ "$(ids | wc -l)" -ge "$fed" ]; }
wait_until 30 all_there
same "$(seq -f 'o-%.0f' "$fed" | sort)" "$(ids | sort)" "each message is at one of the two, once"
check "no handler has seen one twice" [ ! -s twice ]
stop_daemon worker2

# --- late arrivals through the listener: as they were put, but for another instance ------------------------------------------------------
echo late >late.txt
run_ok on vm1 queue-inspect put Sales@vm2 --type Orders.Late --id late-1 --delay 1h --header Shop=7 \
  --header Gatepost.MapVersion=0123456789abcdef --header Gatepost.Sender=HQ@vm1 late.txt
arrived() { on vm1 queue-inspect list Sales --json | grep -q '"id":"late-1"'; }
wait_until 20 arrived
line=$(on vm1 queue-inspect show Sales late-1 --json)
like '"state":"deferred"' "$line" "it is due when it was"
like '"Shop":"7"' "$line"
like '"body":"late\\n"' "$line"
unlike 'Gatepost.MapVersion|Gatepost.Sender|Gatepost.DestinationQueue' "$line" "not as one that the old map has chosen"
like ' late-arrival id=late-1 queue=Sales to=Sales@vm1 from=' "$(cat listen2.err)"
like '^\[6/6\].*1 late arrival sent on, the last at ' "$(on vm2 instance-map decommission Sales@vm2 --status)"
same 0 "$(on vm2 queue-inspect list Sales --json | wc -l)"
for name in forward1 forward2 listen1 listen2; do stop_daemon "$name"; done
done_testing
