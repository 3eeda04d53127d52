#!/usr/bin/env bash
# Two machines: commands in turn to an instance here and one there; a subscription travels to the publisher, its events come back.
# timeout: 90
. "$(dirname "$0")/../lib.sh"

# vm1 is this root, vm2 the other one; each has a configuration of its own.
mkdir one two
run_ok queue-inspect --root one/root create Sales Shop error
run_ok queue-inspect --root two/root create Sales Shop error
echo vm1 >one/root/machine
echo vm2 >two/root/machine
cat >two/config.xml <<'XML'
<gatepost/>
XML
start_daemon vm2 gw-listen --root "$T/two/root" --machine vm2 --allow-queue Sales --allow-queue Shop --channel http://127.0.0.1:0/machine/
url2=${ready_line#ready }
start_daemon vm1 gw-listen --root "$T/one/root" --machine vm1 --allow-queue Sales --allow-queue Shop --channel http://127.0.0.1:0/machine/
url1=${ready_line#ready }
echo "<gatepost><Machines><Machine Name='vm2' Address='$url2'/></Machines></gatepost>" >one/config.xml
echo "<gatepost><Machines><Machine Name='vm1' Address='$url1'/></Machines></gatepost>" >two/config.xml
for vm in one two; do
  cat >"$vm/routing.xml" <<'XML'
<routing><route type="Shop.Order" endpoint="Sales"/><route namespace="Events" endpoint="Publisher"/></routing>
XML
done
cat >one/instance-mapping.xml <<'XML'
<endpoints>
  <endpoint name="Sales"><instance machine="vm1"/><instance machine="vm2"/></endpoint>
  <endpoint name="Publisher"><instance machine="vm2" queue="Sales"/></endpoint>
</endpoints>
XML
on() { # one|two COMMAND...
  local vm=$1
  shift
  GW_CONFIG=$T/$vm/config.xml GW_ROOT=$T/$vm/root "$@"
}
ready() { queue-inspect list --root "$T/$1/root" --json | sed -n "s/.*\"queue\":\"$2\".*\"ready\":\([0-9]*\).*/\1/p"; }
echo order >order

for _ in 1 2 3 4; do on one instance-map send -q --type Shop.Order order >/dev/null || fail send; done
run_ok on one gw-send forward --drain
same '2 2' "$(ready one Sales) $(ready two Sales)" 'an instance here and one there take turns'
run_ok queue-inspect show Sales --all --headers --root "$T/two/root"
unlike 'Gatepost.DestinationQueue' "$out"
run_ok queue-inspect purge Sales --all --root "$T/two/root"

# vm1 subscribes; the publisher is on vm2, and its queue there has another name.
run_ok on one instance-map subscribe --endpoint Shop Events.Accepted
run_ok on one gw-send forward --drain
same 1 "$(ready two Sales)"
run_ok on two distributor worker --queue Sales --drain -- false
like 'Subscribe from Shop@vm1 on message type Events.Accepted' "$err"
run_ok on two instance-map subscriptions --json
like '^\{"type":"Events.Accepted","endpoint":"Shop","address":"Shop@vm1","publisher":"Publisher"' "$out"
run_ok on two instance-map publish --type Events.Accepted order
id=$out
run_ok on two gw-send forward --drain
same 1 "$(ready one Shop)"
run_ok queue-inspect show Shop "$id" --root "$T/one/root"
like 'NServiceBus.MessageIntent: Publish' "$out"
# A handler there publishes, and its event leaves with the acknowledgement.
on two queue-inspect put Sales order >/dev/null
run_ok on two distributor worker --queue Sales --drain -- instance-map publish --type Events.Accepted
run_ok on two gw-send forward --drain
same 2 "$(ready one Shop)"

run_ok on one instance-map unsubscribe --endpoint Shop Events.Accepted
run_ok on one gw-send forward --drain
run_ok on two distributor worker --queue Sales --drain -- false
run_ok on two instance-map subscriptions --json
same '' "$out"
# What lies there goes on by the map of vm1: to itself and back to vm2.
run_ok on one queue-inspect purge Sales --all
for _ in 1 2 3 4; do on two queue-inspect put Shop --type Shop.Order order >/dev/null; done
cp one/instance-mapping.xml two/
run_ok on two instance-map send --from Shop --all
run_ok on two gw-send forward --drain
same '2 2' "$(ready one Sales) $(ready two Sales)"
stop_daemon vm1
stop_daemon vm2
done_testing
