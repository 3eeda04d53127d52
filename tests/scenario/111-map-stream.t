#!/usr/bin/env bash
# instance-map send of many messages: --lines, kills in between, a map that changes; send --from a queue.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

mkdir etc
export GW_CONFIG=$T/etc/config.xml
echo '<gatepost/>' >etc/config.xml
map() { # DISCRIMINATOR...
  { echo '<endpoints><endpoint name="Sales">'; printf '<instance discriminator="%s"/>' "$@"; echo '</endpoint></endpoints>'; } >etc/.new
  mv etc/.new etc/instance-mapping.xml
}
map 1 2 3
cat >etc/routing.xml <<'XML'
<routing><route type="Shop.Order" endpoint="Sales"/><route type="Shop.Bill" endpoint="Bills"/></routing>
XML
run_ok queue-inspect create Sales-1 Sales-2 Sales-3 Bills Old
count() { queue-inspect list --json | sed -n "s/.*\"queue\":\"$1\".*\"ready\":\([0-9]*\).*/\1/p"; }
counts() { echo "$(count Sales-1) $(count Sales-2) $(count Sales-3)"; }
spread() { counts | tr ' ' '\n' | sort -n | sed -n '1h; ${G; s/\n/ /; p}' | { read -r most least; echo $((most - least)); }; }

seq 1000 >lines
run_ok instance-map send --lines --ids --type Shop.Order lines
same 1000 "$(sort -u <<<"$out" | wc -l)" 'each line an id'
like 'stored=1000' "$err"
check 'even' [ "$(spread)" -le 1 ]
run_ok queue-inspect take Sales-2 --lines
same "$(seq 2 3 1000)" "$out" 'every third line, in their order'

# Streams that are killed: each may leave a part of one batch of 64 behind, some of the three instances with theirs, some without.
for q in Sales-1 Sales-2 Sales-3; do queue-inspect purge "$q" --all; done
for i in 1 2 3 4 5 6; do
  (while echo x; do :; done) 2>/dev/null | instance-map send --lines --type Shop.Order 2>/dev/null &
  stream=$!
  wait_until 20 eval '[ "$(count Sales-1)" -gt '"$((i * 200))"' ]'
  kill -9 "$stream"
  wait "$stream" 2>/dev/null
done
note "$(counts)"
check 'as even as that' [ "$(spread)" -le $((6 * 22 + 1)) ]
export GW_ROOT=$T/root2
run_ok queue-inspect create Sales-1 Sales-2 Sales-3 Bills Old

# A stream sees that the map has changed.
mkfifo pipe
start_background stream instance-map send --lines --refresh 1s --type Shop.Order pipe
exec 7>pipe
for _ in {1..9}; do echo x >&7; done
wait_until 10 eval '[ "$(counts)" = "3 3 3" ]'
map 2
for _ in {1..40}; do echo x >&7; sleep 0.05; [ "$(count Sales-2)" -lt 12 ] || break; done
before=$(counts)
for _ in {1..5}; do echo x >&7; done
exec 7>&-
wait_daemon stream
same 0 "$status"
same "$(awk '{print $1, $2 + 5, $3}' <<<"$before")" "$(counts)" 'only the instance that is left'
map 1 2 3
for q in Sales-1 Sales-2 Sales-3; do queue-inspect purge "$q" --all; done

# send --from: each message by its own type, in one transaction; id and headers stay.
for i in {1..7}; do echo "order $i" | queue-inspect put Old --type Shop.Order --id "o-$i" --header Colour=red >/dev/null; done
echo bill | queue-inspect put Old --type Shop.Bill --id b-1 --delay 1h >/dev/null
echo what | queue-inspect put Old --type Shop.Unknown --id u-1 >/dev/null
run_exit 64 instance-map send --from Old
run_exit 64 instance-map send --from Old --all --type Shop.Order
like '\-\-type' "$err"
run_exit 66 instance-map send --from Nowhere --all
run_exit 78 instance-map send -n --from Old --all
same 8 "$(grep -c 'would-send' <<<"$out")"
like 'No destination specified for message: Shop.Unknown' "$err"
same '0 0 0' "$(counts)" 'nothing has moved'
run_ok instance-map send --from Old o-1 o-2 --json
like '^\{"id":"o-1","endpoint":"Sales","address":"Sales-[123]@' "$out"
same 2 "$(wc -l <<<"$out")"
run_exit 78 instance-map send --from Old --all
same "$(printf 'o-%d\n' 3 4 5 6 7; echo b-1)" "$out"
like 'No destination specified for message: Shop.Unknown' "$err"
run_ok queue-inspect list Old --json
like '"id":"u-1"' "$out"
same 1 "$(wc -l <<<"$out")" 'what has no route stays'
check 'even' [ "$(spread)" -le 1 ]
run_ok queue-inspect list Bills --json
like '"id":"b-1".*"state":"deferred"' "$out"
run_ok queue-inspect show Sales-1 --all
like 'Colour: red' "$out"
run_exit 66 instance-map send --from Old o-1
run_ok instance-map send --from Old u-1 --to Bills
same 0 "$(count Old)"
queue-inspect put Old --header NServiceBus.ControlMessage=True --header NServiceBus.MessageIntent=Subscribe --header Gatepost.Publisher=Bills </dev/null >/dev/null
run_ok instance-map send --from Old --all
same 2 "$(count Bills)" 'a subscription goes to its publisher'
run_exit 64 env GW_OUTBOX="$T/box" instance-map send --from Old --all
like 'handler' "$err"

# Killed while it transfers: nothing is lost, nothing is twice.
seq 3000 | queue-inspect put Old --lines -q --type Shop.Order
for q in Sales-1 Sales-2 Sales-3; do queue-inspect purge "$q" --all; done
for _ in {1..8}; do
  instance-map send --from Old --all >/dev/null 2>&1 &
  victim=$!
  sleep "0.0$((RANDOM % 9))"
  kill -9 "$victim" 2>/dev/null
  wait "$victim" 2>/dev/null
done
run_ok instance-map send --from Old --all
for q in Sales-1 Sales-2 Sales-3; do queue-inspect take "$q" --lines; done | sort -n >got
same "$(seq 3000 | md5sum)" "$(md5sum <got)" 'each once'
done_testing
