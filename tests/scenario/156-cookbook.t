#!/bin/bash
# The README's cookbook, as it stands there.
# timeout: 120
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

# cook NAME: one block of the README, in the current directory
cook() {
  ran+=("$1")
  "$SRC/tests/example-blocks" "$SRC/README.md" "$1" >"$T/.block" || { fail "block '$1'"; return; }
  run_ok bash -e "$T/.block"
}
# knows TOOL COMMAND...: are they built?
knows() {
  local tool=$1 command
  shift
  command -v "$tool" >/dev/null || return
  for command; do "$tool" "$command" --help >/dev/null 2>&1 || return; done
}
ran=()

# Headquarters with two stores; each has a root of its own.
export GW_ROOT=$T/hq
for store in Store1 Store2; do start_daemon $store gw-listen --root "$T/$store.root" --endpoint $store --channel http://127.0.0.1:0/$store/; declare "url_$store=${ready_line#ready }"; done
start_daemon hq gw-listen --endpoint HQ --channel http://127.0.0.1:0/HQ/
# shellcheck disable=SC2154 # declared above
cat >hq.xml <<EOF
<gatepost><Gateway Endpoint="HQ" Outages="wait"><Sites><Site Key="Store1" Address="$url_Store1" Groups="stores"/>
  <Site Key="Store2" Address="$url_Store2" Groups="stores"/></Sites></Gateway></gatepost>
EOF
echo "<gatepost><Gateway Endpoint=\"Store1\"><Sites><Site Key=\"HQ\" Address=\"${ready_line#ready }\"/></Sites></Gateway></gatepost>" >store.xml
export GW_CONFIG=$T/hq.xml
start_daemon forward gw-send forward
echo 'apple 0.99' >prices.csv
cook 'daily push'
for store in Store1 Store2; do
  run_ok queue-inspect --root "$store.root" take $store
  same 'apple 0.99' "$out" "$store has it"
done

echo 'apple,17' >sales.csv
GW_ROOT=$T/Store1.root GW_CONFIG=$T/store.xml cook 'sales, store'
run_ok gw-send --root Store1.root --config store.xml forward --drain
mkdir filed
ln -s "$SRC/scripts" scripts
cook 'sales, headquarters'
same 'apple,17' "$(cat filed/Store1-*.csv)" "the report is filed"

mkdir jobs
cd jobs || exit 1
for n in 1 2 3; do echo "$n" >"$n.csv"; done
cook 'work queue'
same '1.csv.gz 2.csv.gz 3.csv.gz' "$(echo ./*.gz | sed 's|\./||g')" "each was done"
same 'Exitval Command 0 0 0' "$(awk 'NR == 1 { print $1, $2 } NR > 1 { print $1 }' <<<"$out" | tr '\n' ' ' | sed 's/ $//')" "the job log"
cd .. || exit 1

if knows queue-inspect groups return; then
  machine=$(queue-inspect list --json | jq -rs '.[0].machine')
  for n in 1 2 3; do
    queue-inspect put error --create -q --id "failed-$n" --header "NServiceBus.FailedQ=HQ@$machine" --header "NServiceBus.ExceptionInfo.Message=timed out after ${n}s" <<<"$n"
  done
  cook 'failed messages'
  same 3 "$(queue-inspect list HQ --json | wc -l | tr -d ' ')" "they are back"
else
  skip 2 "no groups and return"
  ran+=('failed messages')
fi

if knows instance-map decommission; then
  machine=$(queue-inspect list --json | jq -rs '.[0].machine')
  cat >instance-mapping.xml <<EOF
<?xml version="1.0"?>
<endpoints><endpoint name="Sales"><instance discriminator="1"/><instance discriminator="2"/></endpoint></endpoints>
EOF
  note "on $machine"
  run_ok queue-inspect create Sales-1 Sales-2
  cook decommissioning
  like 'takes-off|puts-off' "$(queue-inspect list | grep Sales-2)" "it takes no messages any more"
else
  skip 3 "no decommission"
  ran+=('decommissioning')
fi

mkdir test
cd test || exit 1
export TMPDIR=$T/test
cook 'integration test'
cd .. || exit 1
stop_daemon forward
stop_daemon hq
same "$("$SRC/tests/example-blocks" "$SRC/README.md" | sort)" "$(printf '%s\n' "${ran[@]}" | sort)" "every block was run"
done_testing
