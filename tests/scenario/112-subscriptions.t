#!/usr/bin/env bash
# subscribe, publish, unsubscribe, subscriptions: one copy for each subscriber endpoint; other machines; what the worker does with it.
# timeout: 120
# asan: yes
. "$(dirname "$0")/../lib.sh"

mkdir etc
export GW_CONFIG=$T/etc/config.xml
cat >etc/config.xml <<'XML'
<gatepost><Machines><Machine Name="vm2" Address="http://127.0.0.1:9/machine/"/><Machine Name="vm3" Address="http://127.0.0.1:9/machine/"/></Machines></gatepost>
XML
cat >etc/instance-mapping.xml <<'XML'
<endpoints>
  <endpoint name="Sales"><instance/></endpoint>
  <endpoint name="Far"><instance machine="vm2"/><instance machine="vm3"/></endpoint>
</endpoints>
XML
cat >etc/routing.xml <<'XML'
<routing><route namespace="Sales" endpoint="Sales"/><route type="Far.Event" endpoint="Far"/></routing>
XML
run_ok queue-inspect create Sales Shop-1 Shop-2 Mail Old
machine=$(cat "$GW_ROOT/machine")
count() { queue-inspect list --json | sed -n "s/.*\"queue\":\"$1\".*\"ready\":\([0-9]*\).*/\1/p"; }
list() { instance-map subscriptions --json | sed 's/"publisher.*//' | tr -d '{}"' | sort; }
echo accepted >event

# Nobody has subscribed.
run_ok instance-map subscriptions
run_ok instance-map publish --type Sales.Accepted event
like '^[0-9a-f-]{36}$' "$out"
like 'no-subscribers' "$err"

run_ok instance-map subscribe --endpoint Shop --address Shop-1 'Sales.Accepted, Sales, Version=1.0.0.0'
like "Subscribe from Shop-1@$machine on message type Sales.Accepted, Sales, Version=1.0.0.0" "$err"
same '' "$out"
run_ok instance-map subscribe --endpoint Shop --address Shop-2@localhost Sales.Accepted
run_ok instance-map subscribe --endpoint Shop --address Shop-2 Sales.Accepted
run_ok instance-map subscribe --endpoint Mail Sales.Accepted Sales.Cancelled
same "$(printf '%s\n' "type:Sales.Accepted,endpoint:Mail,address:Mail@$machine," "type:Sales.Accepted,endpoint:Shop,address:Shop-1@$machine," \
  "type:Sales.Accepted,endpoint:Shop,address:Shop-2@$machine," "type:Sales.Cancelled,endpoint:Mail,address:Mail@$machine,")" "$(list)"
run_exit 78 instance-map subscribe --endpoint Mail Nobody.Sends
like 'No destination specified for message: Nobody.Sends' "$err"
run_exit 64 instance-map subscribe --endpoint Mail
run_exit 64 instance-map subscribe Sales.Accepted
run_exit 64 instance-map subscribe --endpoint Mail --address a@b@c Sales.Accepted

# One copy for each endpoint; its instances take turns; the same id.
for _ in {1..4}; do instance-map publish --type Sales.Accepted event >/dev/null || fail publish; done
same '2 2 4' "$(count Shop-1) $(count Shop-2) $(count Mail)"
run_ok instance-map publish --json --type Sales.Accepted event
like '^\{"id":"[0-9a-f-]{36}","endpoint":"Sales","addresses":\["Shop-1@[^"]*","Mail@[^"]*"\]' "$out"
id=${out#*'"id":"'}
id=${id%%'"'*}
run_ok queue-inspect show Mail "$id"
like 'NServiceBus.MessageIntent: Publish' "$out"
like 'NServiceBus.OriginatingEndpoint: Sales' "$out"
like 'accepted' "$out"
run_ok queue-inspect show Shop-1 "$id" --body
# A message of two types: who wants both gets one.
run_ok instance-map publish --type 'Sales.Cancelled, Sales; Sales.Accepted, Sales' event
same '3 3 6' "$(count Shop-1) $(count Shop-2) $(count Mail)"
# Again with the same id: whoever's turn it is, the endpoint has it.
run_ok instance-map publish --type Sales.Accepted --id e-1 event
run_ok instance-map publish --type Sales.Accepted --id e-1 --json event
like '"existed":true' "$out"
same 7 "$(count Mail)"
same 7 "$(($(count Shop-1) + $(count Shop-2)))"
echo other >other
run_exit 65 instance-map publish --type Sales.Accepted --id e-1 other
# The publisher that is named.
run_ok instance-map publish --endpoint Somebody --type Sales.Accepted event
like 'no-subscribers' "$err"
run_exit 78 instance-map publish --type Nobody.Sends event
run_exit 64 instance-map publish event
seq 50 | instance-map publish --lines -q --type Sales.Cancelled || fail 'publish --lines'
same 57 "$(count Mail)"

# One that is not there hinders nobody of its endpoint that is.
run_ok queue-inspect hold Shop-1 --puts
for _ in 1 2; do run_ok instance-map publish --type Sales.Accepted event; done
like 'subscriber-not-there' "$err"
run_ok queue-inspect release Shop-1
# But if it is the only one, nothing is sent to any: the event would be lost for it.
run_ok instance-map subscribe --endpoint Gone Sales.Accepted
like 'subscriber-not-there' "$err"
mails=$(count Mail)
run_exit 66 instance-map publish --type Sales.Accepted event
like 'subscriptions --remove' "$err"
same "$mails" "$(count Mail)" 'all copies or none'
run_ok instance-map subscriptions --stale
like "Sales.Accepted +Gone +Gone@$machine +Sales" "$out"
unlike 'Mail' "$out"
run_exit 64 instance-map subscriptions --remove
run_ok instance-map subscriptions --stale --remove -n
run_ok instance-map subscriptions --stale --remove --json
like '"endpoint":"Gone".*"result":"removed"' "$out"
run_exit 1 instance-map subscriptions --stale --remove
run_ok instance-map publish --type Sales.Accepted event

# Unsubscribe.
run_ok instance-map unsubscribe --endpoint Mail Sales.Accepted
like "Unsubscribe from Mail@$machine on message type Sales.Accepted" "$err"
mails=$(count Mail)
run_ok instance-map publish --type Sales.Accepted event
same "$mails" "$(count Mail)"
run_ok instance-map unsubscribe --endpoint Mail Sales.Accepted

# A publisher on other machines: each of its instances gets a control message.
run_ok instance-map subscribe --endpoint Mail Far.Event
like 'no-forwarder' "$err"
same '1 1' "$(count machine.vm2) $(count machine.vm3)"
run_ok queue-inspect show machine.vm2 --all --headers
for line in 'NServiceBus.ControlMessage: True' 'NServiceBus.MessageIntent: Subscribe' 'SubscriptionMessageType: Far.Event' \
  "NServiceBus.SubscriberAddress: Mail@$machine" 'NServiceBus.SubscriberEndpoint: Mail' "NServiceBus.ReplyToAddress: Mail@$machine" \
  'NServiceBus.TimeSent: 20' 'NServiceBus.Version: '; do
  like "$line" "$out"
done

# What arrives from elsewhere is applied by the worker of the queue, before any handler.
control() { # INTENT ADDRESS
  queue-inspect put Sales --header NServiceBus.ControlMessage=True --header NServiceBus.MessageIntent="$1" --header "SubscriptionMessageType=Sales.Accepted, Sales" \
    --header NServiceBus.SubscriberAddress="$2" --header NServiceBus.SubscriberEndpoint=Remote --header NServiceBus.ReplyToAddress="$2" </dev/null >/dev/null
}
control Subscribe Remote@vm2
control Subscribe Remote@vm3
control Unsubscribe Remote@vm3
queue-inspect put Sales --header NServiceBus.MessageIntent=Send event >/dev/null
run_ok distributor worker --queue Sales --drain -- sh -c 'cat; echo "$GW_MESSAGE_ID" >>handled'
same accepted "$out" 'the handler got the message, and no control message'
same 1 "$(wc -l <handled)"
like 'Subscribe from Remote@vm2 on message type Sales.Accepted, Sales' "$err"
like 'Unsubscribe from Remote@vm3 on message type Sales.Accepted, Sales' "$err"
like 'type:Sales.Accepted,endpoint:Remote,address:Remote@vm2,' "$(list)"
unlike 'vm3' "$(list)"
far=$(count machine.vm2)
run_ok instance-map publish --type Sales.Accepted event
same $((far + 1)) "$(count machine.vm2)"
# With a streaming handler, too; one that says not enough goes to the error queue.
control Subscribe Remote@vm3
queue-inspect put Sales --header NServiceBus.ControlMessage=True --header NServiceBus.MessageIntent=Subscribe </dev/null >/dev/null
run_exit 1 distributor worker --queue Sales --drain --stream -- false
like 'vm3' "$(list)"
run_ok queue-inspect show error --all --headers
like 'Gatepost.ControlMessage' "$out"
run_ok instance-map subscriptions --remove --machine VM3
unlike 'vm3' "$(list)"
run_exit 1 instance-map subscriptions --remove --machine vm3
run_ok instance-map subscriptions --machine vm2
same 2 "$(wc -l <<<"$out")"

# The gateway refuses publishes and names the way.
sed -i 's,</gatepost>,<Gateway Endpoint="HQ"><Sites><Site Key="A" Address="http://127.0.0.1:9/a/"/></Sites></Gateway></gatepost>,' etc/config.xml
run_exit 65 gw-send --to A --header NServiceBus.MessageIntent=Publish event
like 'instance-map publish' "$err"
done_testing
