#!/bin/bash
# The walkthrough of gw-decommission(7), command by command.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

export GW_CONFIG=$T/config.xml
echo '<gatepost><Gateway Endpoint="HQ"/></gatepost>' >config.xml
echo '<routing><route type="T" endpoint="Sales"/></routing>' >routing.xml
mkdir -m 700 root
echo vm2 >root/machine
# vm1 is played by another queue of this machine.
echo '<endpoints><endpoint name="Sales"><instance machine="vm2" queue="Sales.vm1"/><instance machine="vm2"/></endpoint></endpoints>' >instance-mapping.xml
run_ok queue-inspect create Sales Sales.vm1
cp instance-mapping.xml before.xml
seq 6 | instance-map send --type T --lines -q
same "3 3" "$(queue-inspect list Sales --json | wc -l) $(queue-inspect list Sales.vm1 --json | wc -l)"

# The page's commands, with shorter times; one that reads the map again in between.
mapfile -t commands < <(sed -n 's/^vm2\$ //p' "$SRC/man/man7/gw-decommission.7")
check "there are commands for each step" [ "${#commands[@]}" -ge 9 ]
for line in "${commands[@]}"; do
  line=${line//quiet=30s/quiet=1s}
  line=${line//--timeout 10m/--timeout 200ms}
  case $line in
    *senders*) echo 7 | instance-map send --type T -q >/dev/null ;;
    *'--for empty'*)
      run_exit 75 bash -c "$line" # nobody works there: leftovers
      continue
      ;;
    *'release Sales'*)
      like "puts-off.*decommission of Sales@vm2" "$(queue-inspect list | grep '^Sales ')"
      same "0 7" "$(queue-inspect list Sales --json | wc -l) $(queue-inspect list Sales.vm1 --json | wc -l)" "all are at the other instance"
      ;;
  esac
  run_ok bash -c "$line"
done
check "the map is as it was" cmp before.xml instance-mapping.xml
run_ok bash -c 'echo x | queue-inspect put Sales'
done_testing
