#!/bin/bash
# instance-map: the files, their faults, looking at them and changing them.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

mkdir conf
export GW_CONFIG=$T/conf/config.xml
echo '<gatepost/>' >conf/config.xml
run_ok queue-inspect create Sales
here=$(cat "$GW_ROOT/machine")

cat >conf/instance-mapping.xml <<'XML'
<?xml version="1.0" encoding="utf-8"?>
<!-- who works where -->
<endpoints>
  <endpoint name="Sales">
    <instance machine="vm1"/> <!-- the first -->
    <instance discriminator="2" machine="vm2" queue="SalesQ"/>
  </endpoint>
  <endpoint name="Billing"><instance/><instance machine="vm9"/></endpoint>
</endpoints>
XML
cat >conf/routing.xml <<'XML'
<routing>
  <route type="Orders.AcceptOrder" endpoint="Sales"/>
  <route namespace="Orders" endpoint="Billing"/>
  <route assembly="Ship" endpoint="Shipping"/>
</routing>
XML

# --- list, resolve ---------------------------------------------------------------------------------------------------------
run_ok instance-map list --json
same '{"endpoint":"Sales","address":"Sales@vm1","queue":"Sales","machine":"vm1"}
{"endpoint":"Sales","address":"SalesQ-2@vm2","queue":"SalesQ-2","machine":"vm2","discriminator":"2"}
{"endpoint":"Billing","address":"Billing@'"$here"'","queue":"Billing","machine":"'"$here"'"}
{"endpoint":"Billing","address":"Billing@vm9","queue":"Billing","machine":"vm9"}' "$out" "all instances in the order of the file"
run_ok instance-map list
like '^ENDPOINT +ADDRESS' "$out"
run_ok instance-map resolve --type Orders.AcceptOrder
same "Sales@vm1
SalesQ-2@vm2" "$out" "the type wins over its namespace"
run_ok instance-map resolve --type 'Orders.Cancel, Shop, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null'
same "Billing@$here
Billing@vm9" "$out" "the exact namespace"
run_ok instance-map resolve --type 'Parcel, Ship'
same "Shipping@$here" "$out" "the assembly; an endpoint that is not in the map is here"
run_ok instance-map resolve --type Orders.AcceptOrder --json
like '^\{"endpoint":"Sales","address":"Sales@vm1"' "$out"
run_exit 78 instance-map resolve --type Orders.Sub.Thing
like "No destination specified for message: Orders.Sub.Thing" "$err" "a namespace is no prefix"
like "routing.xml" "$err"
run_exit 78 instance-map resolve --type Order.AcceptOrder
like "did you mean 'Orders.AcceptOrder'" "$err"
run_exit 64 instance-map resolve

# --- the original's mappings ------------------------------------------------------------------------------------------------
cat >app.config <<'XML'
<configuration>
  <configSections><section name="UnicastBusConfig" type="NServiceBus.Config.UnicastBusConfig, NServiceBus.Core"/></configSections>
  <UnicastBusConfig>
    <MessageEndpointMappings>
      <add Messages="Old.Command, Old" Endpoint="OldQueue@vm7"/>
      <add Assembly="Older" Namespace="Older.Things" Endpoint="OlderQueue"/>
    </MessageEndpointMappings>
  </UnicastBusConfig>
</configuration>
XML
run_ok instance-map resolve --routing app.config --type Old.Command
same "OldQueue@vm7" "$out"
like 'cannot take part in sender-side distribution' "$err" "and a warning"
run_ok instance-map resolve --routing app.config --type Older.Things.One
same "OlderQueue@$here" "$out"

# --- faults -------------------------------------------------------------------------------------------------------------------
run_ok instance-map validate
same '' "$out$err" "a valid map says nothing"
fault() { # fault XML TEXT
  printf '%s\n' "$1" >bad.xml
  run_exit 78 instance-map validate bad.xml
  check "it says $2" grep -qxF "bad.xml:$2" .err
}
fault '<endpoints><endpoint><instance/></endpoint></endpoints>' "1:13: The required attribute 'name' is missing."
fault $'<endpoints>\n  <endpoint name="A"/>\n</endpoints>' "2:4: The element 'endpoint' has incomplete content. List of possible elements expected: 'instance'."
fault '<endpoints><endpoint name="A"><instance Machine="VM"/></endpoint></endpoints>' "1:41: The 'Machine' attribute is not declared.; did you mean 'machine'?"
fault '<endpoints><endpoint name="A"><instance arbitrary="x"/></endpoint></endpoints>' "1:41: The 'arbitrary' attribute is not declared."
fault '<endpoints><endpont name="A"/></endpoints>' \
  "1:13: The element 'endpoints' has invalid child element 'endpont'. List of possible elements expected: 'endpoint'.; did you mean 'endpoint'?"
fault '<root><endpoints/></root>' "1:2: The 'root' element is not declared."
fault '<endpoints><endpoint name="A"><instance><x/></instance></endpoint></endpoints>' \
  "1:42: The element 'instance' cannot contain child element 'x' because the parent element's content model is empty."
fault '<endpoints>text</endpoints>' "1:12: The element 'endpoints' cannot contain text. List of possible elements expected: 'endpoint'."
printf '<endpoints>\n<endpoint/>\n<endpoint nmae="B"><instance quene="x"/></endpoint></endpoints>' >bad.xml
run_exit 78 instance-map validate bad.xml
same "bad.xml:2:2: The required attribute 'name' is missing.
bad.xml:2:2: The element 'endpoint' has incomplete content. List of possible elements expected: 'instance'.
bad.xml:3:2: The required attribute 'name' is missing.
bad.xml:3:11: The 'nmae' attribute is not declared.; did you mean 'name'?
bad.xml:3:30: The 'quene' attribute is not declared.; did you mean 'queue'?" "$err" "every fault, in order"
printf '<endpoints><endpoint' >bad.xml
run_exit 78 instance-map validate bad.xml
like '^bad.xml:1:[0-9]+: ' "$err"
run_exit 78 instance-map list --map bad.xml
like 'An error occurred while reading the endpoint instance mapping \(bad.xml\)' "$err"
run_exit 66 instance-map validate nothing.xml
run_exit 66 instance-map list --map nothing.xml
like 'The specified instance mapping file does not exist.' "$err"
printf '<routing><route type="A" endpont="x"/></routing>' >bad.xml
run_exit 78 instance-map validate bad.xml
like "^bad.xml:1:26: unknown attribute 'endpont'.*did you mean 'endpoint'" "$err"
printf '<routing><strategy endpoint="A" name="wieghted"/></routing>' >bad.xml
run_exit 78 instance-map validate bad.xml
like "^bad.xml:1:33: strategy 'wieghted' is none of .*did you mean 'weighted'" "$err" "a strategy that is no program either"
printf '#!/bin/sh\necho "$1"\n' >choose && chmod +x choose
printf '<routing><strategy endpoint="A" name="./choose"/><strategy endpoint="B" name="least-backlog"/></routing>' >good.xml
run_ok instance-map validate "$T/good.xml"
run_exit 64 instance-map send --strategy '' --type A
like '^instance-map: --strategy: the value is empty$' "$err"
echo '<endpoints><endpoint name="A"><instance Machine="VM"/></endpoint></endpoints>' >loose.xml
run_ok instance-map validate --loose loose.xml
like "loose.xml:1:41.*Machine.*did you mean 'machine'" "$err" "--loose warns, naming the attribute"
run_ok instance-map list --loose --map loose.xml
like "A +A@$here" "$out"
like 'Validation error parsing instance mapping. Falling back on relaxed parsing method.' "$err"
run_ok instance-map validate --map conf/instance-mapping.xml
echo '<endpoints/>' >empty.xml
run_ok instance-map validate empty.xml
run_exit 64 instance-map list --refresh 500ms
like 'Value must be at least 1 second.' "$err"
run_exit 64 instance-map list --refresh 25h
like 'Value must be less than 1 day.' "$err"

# --- add and remove: everything else stays as it is -----------------------------------------------------------------------------
# round ADDR [OPTION...]: add and remove again gives the same file
round() {
  cp "$map" before
  run_ok instance-map add --map "$map" "$@"
  check "$1 is in it" grep -q . <(instance-map list --map "$map" | grep "$1\$")
  run_ok instance-map remove --map "$map" "$1"
  check "it is as before, byte for byte" cmp before "$map"
}
map=conf/instance-mapping.xml
round Sales@vm3
round SalesQ-3@vm3 --endpoint Sales
round Billing@vm8
round New@vm4
map=$T/crlf.xml
sed 's/$/\r/' conf/instance-mapping.xml >"$map"
round Sales@vm3
round New@vm4
printf '<endpoints><endpoint name="Sales"><instance machine="vm1"/></endpoint></endpoints>' >one.xml
map=one.xml
round Sales@vm3
round New@vm4
printf '\xef\xbb\xbf<endpoints>\n\t<endpoint name="Sales">\n\t\t<instance machine="vm1"/></endpoint>\n</endpoints>' >one.xml
round Sales@vm3
round New@vm4
run_ok instance-map add --map empty.xml Sales@vm1
run_ok instance-map validate empty.xml
run_ok instance-map add --map empty.xml Sales
like "Sales@$here" "$(instance-map list --map empty.xml)" "an address without a machine is this one, with its name"
check "which is written" grep -q "machine=\"$here\"" empty.xml
cp empty.xml same.xml
run_ok instance-map add --map empty.xml Sales@vm1
check "what is there is not added again" cmp empty.xml same.xml
run_ok instance-map add -n --map empty.xml Sales@vm5
check "-n changes nothing" cmp empty.xml same.xml
run_ok instance-map add --map empty.xml Sales@VM1
check "in another case it is the same machine" cmp empty.xml same.xml
run_exit 1 instance-map remove --map empty.xml Sales@vm7
like "'Sales@vm7' is not in 'empty.xml'; did you mean 'Sales@vm1'" "$err"
run_ok instance-map remove Sales@vm1 --map conf/instance-mapping.xml
check "a comment stays" grep -q '<!-- the first -->' conf/instance-mapping.xml
same SalesQ-2@vm2 "$(instance-map resolve --type Orders.AcceptOrder)"

chmod 640 empty.xml
ln -s ../empty.xml conf/link.xml
run_ok instance-map add --map conf/link.xml Sales@vm5
check "a link is followed" [ -L conf/link.xml ]
same 640 "$(stat -c %a empty.xml)" "the mode stays"
for i in 1 2 3 4 5 6 7 8; do instance-map add --map empty.xml "Sales@w$i" & done
wait
same 8 "$(instance-map list --map empty.xml | grep -c 'Sales@w')" "eight at once: none is lost"
same '' "$(find . -name '.empty.xml*')" "nothing is left beside it"
run_exit 78 instance-map add --map bad.xml Sales@vm1
run_exit 64 instance-map add --map http://127.0.0.1:1/map.xml Sales@vm1
run_exit 66 instance-map add --map nothing.xml Sales@vm1
run_exit 64 instance-map add 'Sales@'

# --- from a web server --------------------------------------------------------------------------------------------------------
port=$(free_port)
python3 -m http.server --bind 127.0.0.1 --directory conf "$port" >/dev/null 2>&1 &
server=$!
at_exit kill "$server"
wait_until 5 curl -sf "http://127.0.0.1:$port/routing.xml"
run_ok instance-map list --map "http://127.0.0.1:$port/instance-mapping.xml"
like 'SalesQ-2@vm2' "$out"
run_exit 66 instance-map list --map "http://127.0.0.1:$port/nothing.xml"
like '404' "$err"
run_exit 69 instance-map list --map http://127.0.0.1:1/map.xml

# --- list --follow ------------------------------------------------------------------------------------------------------------
echo '<endpoints><endpoint name="A"><instance machine="a"/><instance machine="b"/></endpoint></endpoints>' >f.xml
start_daemon follow instance-map list --follow --map f.xml
tells() { grep -qxF "$1" follow.out; }
wait_until 5 tells "Added endpoint 'A' with 2 instances"
check "and where from" tells "Updating instance mapping table from 'f.xml':"
echo '<endpoints><endpoint name="A"><instance machine="b"/><instance machine="c"/><instance machine="d"/></endpoint><endpoint name="B"><instance/></endpoint></endpoints>' >f.new
mv f.new f.xml
wait_until 5 tells "Updated endpoint 'A': +2 instances, -1 instance"
wait_until 5 tells "Added endpoint 'B' with 1 instance"
echo '<endpoints><endpoint>' >f.xml
wait_until 5 grep -q "Unable to update instance mapping information because the instance mapping file couldn't be read." follow.err
echo '<endpoints><endpoint name="B"><instance/></endpoint></endpoints>' >f.xml
wait_until 5 tells "Removed all instances of endpoint 'A'"
kill -HUP "${DAEMON[follow]}"
stop_daemon follow
start_daemon loose instance-map list --follow --loose --map loose.xml
for end in '' '<instance machine="b"/>' '<instance machine="c"/>'; do
  kill -HUP "${DAEMON[loose]}"
  printf '<endpoints><endpoint name="A"><instance Machine="VM"/>%s</endpoint></endpoints>' "$end" >loose.new && mv loose.new loose.xml
  [ -z "$end" ] || wait_until 5 grep -q '^Updated' loose.out
done
wait_until 5 grep -qxF "Updated endpoint 'A': +1 instance, -1 instance" loose.out
stop_daemon loose
same 1 "$(grep -c 'Falling back on relaxed parsing method' loose.err)" "a warning is told once, however often the file is read"
same 1 "$(grep -c '^ready$' follow.out)" "one ready line"
done_testing
