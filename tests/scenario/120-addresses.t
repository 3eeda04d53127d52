#!/bin/bash
# queue@machine: what an address means, and what is put for another machine.
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

cat >config.xml <<'END'
<gatepost>
  <Machines>
    <Machine Name="vm2" Address="http://vm2.invalid:7000/machine/"/>
    <Machine Name="VM3" Address="http://vm3.invalid:7000/machine/"/>
  </Machines>
</gatepost>
END
export GW_CONFIG=$T/config.xml
run_ok queue-inspect create Sales Orders
field() { queue-inspect list "$1" --json | jq -r "$2" | tail -n 1; }
put() { printf '%s' body | queue-inspect put "$@"; }

# --- what is no address ---
run_exit 64 put a@b@c
like "Address contains multiple @ characters. Address supplied: 'a@b@c'" "$err"
run_exit 64 put @vm2
like "Empty queue part of address. Address supplied: '@vm2'" "$err"
run_exit 64 put Sales@
like "Empty machine part of address. Address supplied: 'Sales@'" "$err"
run_exit 64 put 'Sales@vm 2'

# --- this machine ---
machine=$(queue-inspect list | sed -n '1s/.*  machine \([^ ]*\)  .*/\1/p')
for name in . localhost LocalHost 127.0.0.1 127.1.2.3 ::1 "${machine^^}" "$machine"; do run_ok put "Sales@$name"; done
same 8 "$(queue-inspect list --json | jq 'select(.queue == "Sales") | .ready')"
run_exit 66 put "Nothing@$machine"

# --- another one ---
run_ok put Sales@vm2 --id a-1 --header Note=kept
same a-1 "$out"
like 'no-forwarder' "$err" "nobody carries it: that is said"
same "Sales kept" "$(field machine.vm2 '.headers | .["Gatepost.DestinationQueue"] + " " + .Note')"
run_ok put Sales@vm2 --id a-1
same 1 "$(queue-inspect list machine.vm2 | grep -c a-1)" "the same id, the same body: one message"
run_ok put Orders@vm2 --id a-1
same 2 "$(queue-inspect list machine.vm2 | grep -c a-1)" "for another queue it is another message"
run_exit 65 bash -c 'printf other | queue-inspect put Sales@vm2 --id a-1'
run_ok put Orders@vm3 -q
same "" "$err"
same Orders "$(field machine.VM3 '.headers["Gatepost.DestinationQueue"]')" "a machine's name counts without regard to case"
run_ok put Sales@vm2 --json
same Sales@vm2 "$(jq -r .queue <<<"$out")"
run_exit 64 put Sales@vm22
like "the following machines have not been configured: vm22; did you mean 'vm2'" "$err"
run_exit 64 bash -c 'printf body | GW_CONFIG="" queue-inspect put Sales@C'
like "the following machines have not been configured: C; there is no file" "$err"
check_not "no outbox of a machine that nobody knows" queue-inspect list machine.vm22

# --- it waits for its time over there ---
run_ok put Sales@vm2 --id later --delay 1h
same ready "$(field machine.vm2 .state)"
like '^20..-..-..T..:..:..\....Z$' "$(field machine.vm2 '.headers["Gatepost.DueAt"]')"

# --- the configuration says a name once ---
sed -i 's/VM3/Vm2/' config.xml
run_exit 78 queue-inspect --check-config
like 'Name=.Vm2. of <Machine> is in line 3 already' "$err"
done_testing
