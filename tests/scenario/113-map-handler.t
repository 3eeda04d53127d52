#!/usr/bin/env bash
# send and publish in a handler leave with the acknowledgement, all copies or none; a streaming handler sends by type.
# timeout: 90
. "$(dirname "$0")/../lib.sh"

mkdir etc
export GW_CONFIG=$T/etc/config.xml
echo '<gatepost/>' >etc/config.xml
echo '<endpoints><endpoint name="Billing"><instance discriminator="1"/><instance discriminator="2"/></endpoint></endpoints>' >etc/instance-mapping.xml
echo '<routing><route type="Shop.Bill" endpoint="Billing"/></routing>' >etc/routing.xml
run_ok queue-inspect create Sales Billing-1 Billing-2 Shop Mail
count() { queue-inspect list --json | sed -n "s/.*\"queue\":\"$1\".*\"ready\":\([0-9]*\).*/\1/p"; }
cat >handler <<'SH'
#!/bin/sh
set -e
instance-map send --type Shop.Bill </dev/null >/dev/null
instance-map publish --type Sales.Accepted --json </dev/null >>published
[ "$(queue-inspect list --json | grep -cE '"queue":"(Billing-1|Billing-2|Shop|Mail)".*"ready":0')" = 4 ] || { echo "sent already" >&2; exit 65; }
exit "$(cat code)"
SH
chmod +x handler
sed -i 's,</routing>,<route type="Sales.Accepted" endpoint="Sales"/></routing>,' etc/routing.xml
for e in Shop Mail; do run_ok instance-map subscribe --endpoint "$e" Sales.Accepted; done
sed -i 's,<route type="Sales.Accepted" endpoint="Sales"/>,,' etc/routing.xml # the handler's endpoint is the publisher

echo 3 >code
echo order | queue-inspect put Sales --id order-1 >/dev/null
run_exit 1 distributor worker --queue Sales --drain --immediate-retries 0 --retries 0 -- ./handler
same '0 0 0 0' "$(count Billing-1) $(count Billing-2) $(count Shop) $(count Mail)" 'a handler that fails has sent nothing'
like '"endpoint":"Sales"' "$(cat published)"
echo 0 >code
echo order | queue-inspect put Sales --id order-2 >/dev/null
run_ok distributor worker --queue Sales --drain -- ./handler
same '1 1 1' "$(($(count Billing-1) + $(count Billing-2))) $(count Shop) $(count Mail)"
run_ok queue-inspect show Shop --all
like 'NServiceBus.RelatedTo: order-2' "$out"
same "$(queue-inspect list Shop --json | sed 's/.*"id":"\([^"]*\)".*/\1/')" "$(queue-inspect list Mail --json | sed 's/.*"id":"\([^"]*\)".*/\1/')" 'one id'

# A streaming handler names the type.
cat >stream <<'SH'
#!/bin/sh
while read -r line; do
  seq=$(printf '%s' "$line" | sed 's/.*"seq":\([0-9]*\).*/\1/')
  printf '{"seq":%s,"result":"ok","send":[{"type":"%s","body":"bill"}]}\n' "$seq" "$(cat the-type)"
done
SH
chmod +x stream
for q in Billing-1 Billing-2; do queue-inspect purge "$q" --all; done
echo Shop.Bill >the-type
for i in 1 2 3 4; do echo "$i" | queue-inspect put Sales >/dev/null; done
run_ok distributor worker --queue Sales --drain --stream -- ./stream
same '2 2' "$(count Billing-1) $(count Billing-2)"
echo Shop.Nothing >the-type
echo 5 | queue-inspect put Sales >/dev/null
run_exit 1 distributor worker --queue Sales --drain --stream --immediate-retries 0 --retries 0 -- ./stream
like 'No destination specified for message: Shop.Nothing' "$err"
done_testing
