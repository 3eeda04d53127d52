#!/usr/bin/env bash
# The three calls of NServiceBus 3: Submit is held over kills, DatabusProperty follows it, Ack releases once.
. "$(dirname "$0")/../lib.sh"

http() { timeout 60 python3 "$SRC/tests/rawhttp.py" "$@"; }
port_of() { sed 's/.*:\([0-9]*\)\/.*/\1/' <<<"$1"; }
request() { # ID CALLTYPE BYTES FIELD...
  local id=$1 type=$2 bytes=$3
  shift 3
  printf '%s\r\n' 'POST /Store1/ HTTP/1.1' 'Host: x' "NServiceBus.Id: $id" "NServiceBus.CorrelationId: $id%00" "NServiceBus.CallType: $type" \
    'NServiceBus.Gateway: True' 'NServiceBus.Header.A: b' "Content-Length: $bytes" "$@" ''
  head -c "$bytes" /dev/zero | tr '\0' z
}
start() { start_daemon "$1" gw-listen --endpoint Store1 --channel http://127.0.0.1:0/Store1/; port=$(port_of "$ready_line"); }
count() { queue-inspect list "$1" --all --json | wc -l; }
property=NServiceBus.Header.NServiceBus.DataBus.one

start listen
request a Submit 200000 "$property: theirs" >submit.request
request a DatabusProperty 100 "NServiceBus.Gateway.DataBusKey: $property" >property.request
request a Ack 0 >ack.request
run_ok http "$port" ack.request
like '	412	Message ID was never received. Please resubmit.' "$out"
run_ok http "$port" submit.request
like '	200	OK' "$out"
kill_daemon listen
same 0 "$(count Store1)" 'nothing before the Ack'
start listen
start second
run_ok http "$port" ack.request
like '	412	Expected 1 claimcheck properties' "$out"
run_ok http "$port" submit.request property.request
same 2 "$(grep -c '	200	OK' <<<"$out")"
kill_daemon listen
first=$port
start listen
for i in 1 2 3 4 5 6 7 8; do
  http "$([ $((i % 2)) = 0 ] && echo "$port" || echo "$first")" ack.request >"ack$i" &
  acks[i]=$!
done
for i in 1 2 3 4 5 6 7 8; do wait "${acks[i]}"; done
same 8 "$(cat ack? | grep -cE '	200	OK|	503	')" 'eight Acks at once at two listeners'
check 'one of them has released it' grep -q '	200	OK' ack?
run_ok http "$port" ack.request
like '	200	OK' "$out" 'again: 200'
same '1 0' "$(count Store1) $(count Store1.legacy)" 'released once'
run_ok queue-inspect show Store1 --all --json
like '"NServiceBus.CorrelationId":"a"' "$out" 'without the NUL of MSMQ'
like '"NServiceBus.DataBus.one":"20[0-9-]*_[0-9][0-9]/[0-9a-f-]{36}"' "$out"
like '"A":"b"' "$out"
queue-inspect take Store1 >body
same 200000 "$(stat -c %s body)" 'the body'


# At once.
request b Submit 5 'NServiceBus.AutoAck: true' >auto.request
run_ok http "$port" auto.request
like '	200	OK' "$out"
same 1 "$(count Store1)"
request c Submit 5 'NServiceBus.AutoAck: yes' >bad.request
run_ok http "$port" bad.request
like "	400	Invalid AutoAck header 'NServiceBus.AutoAck'. Found 'yes'" "$out"

# Sent again in one call, after its sender was brought up to date: nobody will send an Ack.
request d Submit 5 >held.request
request d SingleCallSubmit 5 >single.request
run_ok http "$port" held.request
same 1 "$(count Store1.legacy)"
run_ok http "$port" single.request
like '	200	OK' "$out"
same '2 0' "$(count Store1) $(count Store1.legacy)"

stop_daemon listen
stop_daemon second
run_ok queue-inspect check
run_ok gw-dedup check --endpoint Store1
done_testing
