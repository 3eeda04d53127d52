#!/usr/bin/env bash
# instance-map send: type to endpoint to instance; strategies, explicit addresses, ids, what is not routable.
# timeout: 120
# asan: yes
. "$(dirname "$0")/../lib.sh"

mkdir etc
export GW_CONFIG=$T/etc/config.xml
cat >etc/config.xml <<'XML'
<gatepost><Machines><Machine Name="vm2" Address="http://127.0.0.1:9/machine/"/></Machines></gatepost>
XML
cat >etc/instance-mapping.xml <<'XML'
<endpoints>
  <endpoint name="Sales"><instance discriminator="1"/><instance discriminator="2"/><instance discriminator="1"/><instance discriminator="3"/></endpoint>
  <endpoint name="Far"><instance machine="vm2"/></endpoint>
  <endpoint name="Lost"><instance machine="vm9"/></endpoint>
</endpoints>
XML
cat >etc/routing.xml <<'XML'
<routing>
  <route type="Shop.Order" endpoint="Sales"/>
  <route type="Shop.Far" endpoint="Far"/>
  <route type="Shop.Lost" endpoint="Lost"/>
  <route type="Shop.Plain" endpoint="Plain"/>
  <route namespace="Shop.Bills" endpoint="Sales"/>
  <strategy endpoint="Far" name="random"/>
</routing>
XML
run_ok queue-inspect create Sales-1 Sales-2 Sales-3
machine=$(cat "$GW_ROOT/machine")
where() { printf '%s' "$1" | instance-map send --json --type Shop.Order "${@:2}" | sed 's/.*"address":"\([^"@]*\)@.*/\1/'; }
count() { queue-inspect list --json "${@:2}" | sed -n "s/.*\"queue\":\"$1\".*\"ready\":\([0-9]*\).*/\1/p"; }
field() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
printf order >order
printf other >other

# Round robin in the order of the file, the repeated instance counts once; the counter outlives the processes.
same 'Sales-1 Sales-2 Sales-3 Sales-1' "$(where a) $(where b) $(where c) $(where d)"
run_ok instance-map send --type Shop.Bills.Bill order
like '^[0-9a-f]{8}-[0-9a-f-]{27}$' "$out" 'the id alone'
run_ok instance-map send --json --type 'Shop.Order, Shop, Version=1.0.0.0' order
like "^\{\"id\":\"[0-9a-f-]{36}\",\"endpoint\":\"Sales\",\"address\":\"Sales-3@$machine\"," "$out"
run_ok queue-inspect show Sales-3 --all --headers
like 'NServiceBus.MessageIntent: Send' "$out"
like 'NServiceBus.EnclosedMessageTypes: Shop.Order, Shop, Version=1.0.0.0' "$out"
like 'Gatepost.FileName: order' "$out"

# Thirty processes at once: as many for each.
run_ok queue-inspect purge Sales-1 --all
run_ok queue-inspect purge Sales-2 --all
run_ok queue-inspect purge Sales-3 --all
for _ in {1..30}; do instance-map send --type Shop.Order order >/dev/null & done
wait
same '10 10 10' "$(count Sales-1) $(count Sales-2) $(count Sales-3)" 'even over thirty processes'

# An endpoint that is not in the map is this machine's queue of its name.
run_exit 66 instance-map send --type Shop.Plain order
like "Plain" "$err"
run_ok queue-inspect create Plain
run_ok instance-map send --type Shop.Plain order
same 1 "$(count Plain)"

# Another machine: its outbox. A machine that nobody knows: nothing is stored.
run_ok instance-map send --json --type Shop.Far order
like '"endpoint":"Far","address":"Far@vm2"' "$out"
like 'no-forwarder' "$err"
same 1 "$(count machine.vm2)"
run_exit 64 instance-map send --type Shop.Lost order
like 'the following machines have not been configured: vm9' "$err"

# No route.
run_exit 78 instance-map send --type Shop.Nowhere order
like 'No destination specified for message: Shop.Nowhere' "$err"
like 'routing.xml' "$err"
run_exit 64 instance-map send order
like '\-\-type' "$err"
run_exit 64 instance-map send --type Shop.Order order order
run_exit 64 instance-map send --type Shop.Order --all
like '\-\-from' "$err"

# By hand, whatever the map says.
run_ok instance-map send --json --to Plain order
like "\"endpoint\":\"Plain\",\"address\":\"Plain@$machine\"" "$out"
run_exit 64 instance-map send --to a@b@c order
run_exit 64 instance-map send --to Plain --strategy random order
run_ok instance-map send --to Plain@localhost --type Shop.Nowhere order

# The same id is one message for the endpoint, not for each instance, and takes no turn.
before=$(where x)
run_ok instance-map send --json --type Shop.Order --id order-1 order
first=$out
like '"existed":false' "$first"
for _ in 1 2 3; do run_ok instance-map send --json --type Shop.Order --id order-1 order; done
like '"existed":true' "$out"
same "$(field address <<<"$first")" "$(field address <<<"$out")" 'told where it went'
same 3 "$(printf '%s\n' "$before@$machine" "$(field address <<<"$first")" "$(where y)@$machine" | sort -u | wc -l)" 'the turns go on as if it had been sent once'
run_exit 65 instance-map send --type Shop.Order --id order-1 other
run_ok instance-map send --unique --type Shop.Order order
id=$out
run_ok instance-map send --unique --type Shop.Order order
same "$id" "$out"
same 1 "$(for q in Sales-1 Sales-2 Sales-3; do queue-inspect list "$q" --where "id=$id" --json; done | wc -l)" 'stored once'

# --dry-run shows and takes no turn.
run_ok instance-map send --dry-run --type Shop.Order order
shown=$out
run_ok instance-map send --dry-run --type Shop.Order order
same "$(head -n 1 <<<"$shown")" "$(head -n 1 <<<"$out")"
like "^Sales	Sales-[123]@$machine	5$" "$(head -n 1 <<<"$out")"
run_ok instance-map send --dry-run --json --type Shop.Order order
like '"headers":\{' "$out"

# Other strategies.
for q in Sales-1 Sales-2 Sales-3; do run_ok queue-inspect purge "$q" --all; done
for _ in {1..12}; do queue-inspect put Sales-1 order >/dev/null; done
for _ in {1..3}; do queue-inspect put Sales-3 order >/dev/null; done
for _ in {1..3}; do where x --strategy least-backlog; done | sort -u >least
same Sales-2 "$(cat least)" 'least-backlog: the empty one, until it has as many'
run_exit 78 instance-map send --strategy weighted --type Shop.Order order
like 'weights' "$err"
sed -i 's,</routing>,<strategy endpoint="Sales" name="weighted" weights="Sales-1=2 Sales-2=0 Sales-3@'"$machine"'=1"/></routing>,' etc/routing.xml
for q in Sales-1 Sales-2 Sales-3; do run_ok queue-inspect purge "$q" --all; done
yes | head -n 90 | instance-map send --lines -q --type Shop.Order
same '60 0 30' "$(count Sales-1) $(count Sales-2) $(count Sales-3)" 'by weight'
for _ in {1..40}; do where x --strategy random; done | sort | uniq -c >chosen
same 3 "$(wc -l <chosen)" 'random reaches all'

# A program: addresses as arguments, the message in the environment.
cat >choose <<'SH'
#!/bin/sh
echo "$GW_ENDPOINT $GW_SCOPE $GW_MESSAGE_TYPE $GW_MESSAGE_ID $*" >>"$0.log"
[ -z "$FAIL" ] || exit 3
echo "$2"
SH
chmod +x choose
run_ok instance-map send --json --strategy ./choose --type Shop.Order --id by-hand order
like "\"address\":\"Sales-2@$machine\"" "$out"
same "Sales Send Shop.Order by-hand Sales-1@$machine Sales-2@$machine Sales-3@$machine" "$(cat choose.log)"
run_exit 78 env FAIL=1 instance-map send --strategy ./choose --type Shop.Order order
like 'exit 3' "$err"
run_exit 78 instance-map send --strategy /bin/true --type Shop.Order order
run_exit 78 instance-map send --strategy /bin/echo --type Shop.Order order
run_exit 78 instance-map send --strategy round-robbin --type Shop.Order order
like "did you mean 'round-robin'" "$err"
done_testing
