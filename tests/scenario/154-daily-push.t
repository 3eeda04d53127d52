#!/bin/bash
# The examples for cron and timers: the daily price push with its check in the morning, and the sales reports back.
# timeout: 120
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
examples=$SRC/scripts/examples
today=$(date +%F)

# Headquarters and two stores, of which one is closed.
export GW_ROOT=$T/hq
port=$(free_port)
start_daemon store1 gw-listen --root "$T/store1" --endpoint Store1 --channel http://127.0.0.1:0/Store1/
store1=${ready_line#ready }
start_daemon hq gw-listen --endpoint HQ --channel http://127.0.0.1:0/HQ/
hq=${ready_line#ready }
cat >hq.xml <<EOF
<gatepost><Gateway Endpoint="HQ" Outages="wait"><Sites><Site Key="Store1" Address="$store1" Groups="stores"/>
  <Site Key="Store2" Address="http://127.0.0.1:$port/Store2/" Groups="stores"/></Sites></Gateway></gatepost>
EOF
export GW_CONFIG=$T/hq.xml
for store in Store1 Store2; do
  echo "<gatepost><Gateway Endpoint=\"$store\"><Sites><Site Key=\"HQ\" Address=\"$hq\"/></Sites></Gateway></gatepost>" >"$store.xml"
done

run_exit 66 "$examples/prices-check" stores
like 'no price file was stored today' "$out"
echo 'apple 0.99' >today.csv
run_ok "$examples/prices-push" today.csv stores
same "prices-$today" "$out"
run_ok "$examples/prices-push" today.csv stores
same 2 "$(gw-send status --json | jq -s 'map(.waiting // 0) | add')" "pushed twice, stored once for each store"
echo 'apple 1.09' >today.csv
run_exit 65 "$examples/prices-push" today.csv stores
run_ok "$examples/prices-push" today.csv stores noon
run_exit 75 "$examples/prices-check" stores
like Store1 "$out"
like Store2 "$out"

start_daemon forward gw-send forward --probe-interval 1s
wait_until 20 eval '[ "$(gw-send wait -v --json --timeout 0 "prices-$today" 2>/dev/null | grep -c delivered)" = 1 ]'
run_exit 75 "$examples/prices-check" stores
like Store2 "$out" "the store that has not got them is named"
unlike Store1 "$out" "the other one is not"
start_daemon store2 env GW_CONFIG= gw-listen --root "$T/store2" --endpoint Store2 --channel "http://127.0.0.1:$port/Store2/"
run_ok gw-send flush --to Store2
wait_until 30 "$examples/prices-check" stores
run_ok "$examples/prices-check" stores
same '' "$out" "nothing to mail"
wait_until 20 "$examples/prices-check" stores noon
run_ok queue-inspect --root store2 take Store2
same $'apple 0.99\napple 1.09' "$(sort <<<"$out")" "the store that opened late has both"

# The sales of both stores come back and are filed by store and day.
mkdir filed
start_daemon collect distributor worker --queue HQ -- "$examples/sales-collect" "$T/filed"
for store in Store1 Store2; do
  echo "$store,17" >sales.csv
  # Each runs on a machine of its own.
  mkdir -p "bin-$store"
  printf '#!/bin/sh\necho %s\n' "$store" >"bin-$store/uname"
  chmod 755 "bin-$store/uname"
  run_ok env PATH="$T/bin-$store:$PATH" GW_ROOT="$T/${store,,}" GW_CONFIG="$T/$store.xml" "$examples/sales-send" sales.csv
  same "sales-$store-$today" "$out"
  run_ok gw-send forward --root "$T/${store,,}" --config "$T/$store.xml" --drain
  wait_until 20 [ -e "filed/$store-$today.csv" ]
  same "$store,17" "$(cat "filed/$store-$today.csv")" "the report of $store"
done
stop_daemon collect
stop_daemon forward

# The tables of cron: every command is one that is there, times are times. The units are ones.
for table in "$examples"/*.crontab; do
  while read -r minute hour day month weekday user command; do
    like '^[-0-9*,/]+( [-0-9*,/]+){4}$' "$minute $hour $day $month $weekday" "${table##*/}: when"
    same gatepost "$user" "${table##*/}: who"
    program=${command%% *}
    program=${program/'$EXAMPLES'/$examples}
    check "${table##*/}: $program" [ -n "$(command -v "$program")" ]
  done < <(grep -vE '^(#|[A-Z]+=|$)' "$table")
done
if command -v systemd-analyze >/dev/null; then
  mkdir units
  for unit in "$examples"/*.service "$examples"/*.timer; do sed "s|^ExecStart=/usr/share/gatepost/examples|ExecStart=$examples|" "$unit" >"units/${unit##*/}"; done
  for timer in units/*.timer; do run_ok systemd-analyze verify --man=no "./$timer" "./${timer%.timer}.service"; done
else
  skip 3 "systemd-analyze is not installed"
fi
# The backup line of the table, as cron runs it.
line=$(sed -n 's/^30 1 .*  gatepost  //p' "$examples/headquarters.crontab")
run_ok sh -c "cd '$T' && ${line//\/var\/lib\/gatepost/$T}"
run_ok queue-inspect --root restored import --create <backup.tar
done_testing
