#!/bin/bash
# The scripts of share/gatepost/deploy, each on machines of its own: what is sent to an endpoint is handled once, and where it should be.
# timeout: 400
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/netns-lib.sh"
each=${EACH:-12}

need_machines
make_machines vm1 vm2 vm3 vm4
cat >handler <<'END'
#!/bin/bash
# $1: the endpoint
printf '%s %s %s\n' "$GW_MESSAGE_ID" "$1" "$(cat "$GW_ROOT/machine")" >>"$(dirname "$GW_ROOT")/../handled"
END
chmod +x handler
conf() { # MACHINE...
  local name
  for name in "$@"; do echo "machine $name $(url "$name")"; done
  echo "endpoint Sales $T/handler Sales"
  echo "endpoint Billing $T/handler Billing"
  echo "options forward --connect-timeout 500ms --answer-timeout 2s --probe-interval 100ms"
  echo "options distributor --concurrency 4"
  echo "options worker --capacity 2"
}

shape=''
begin() { # SHAPE MACHINE...
  shape=$1
  shift
  local name
  for name in "$@"; do rm -rf "${T:?}/$name"; mkdir "$T/$name"; done
  rm -f "$T/handled"
  conf "$@" >"$T/$shape.conf"
  # All at once: each waits for its own programs only.
  for name in "$@"; do
    start_background "$shape-$name" env GW_ROOT="$T/$name/root" GW_CONFIG="$T/$name/config.xml" ip netns exec "$_lan-$name" \
      "$SRC/scripts/deploy/$shape" "$T/$shape.conf" "$name"
  done
  for name in "$@"; do wait_until 30 grep -q "^ready $name" "$shape-$name.out"; done
}
# Every machine sends, by address as the map of instances gives them.
send() {
  local name endpoint address
  for name in "$@"; do
    for address in $("$SRC/scripts/deploy/$shape" --addresses "$T/$shape.conf"); do
      endpoint=${address%@*}
      seq "$each" | on "$name" queue-inspect put "$address" --lines -q --id "$endpoint-$name" || return 1
    done
  done
}
handled() { [ "$(sort -u "$T/handled" 2>/dev/null | wc -l)" -ge "$1" ]; }
end() { # MACHINE...
  local name
  for name in "$@"; do kill "${DAEMON[$shape-$name]}"; done
  for name in "$@"; do stop_daemon "$shape-$name"; done
  same "$((2 * $# * each)) $((2 * $# * each))" "$(wc -l <handled) $(cut -d' ' -f1 handled | sort -u | wc -l)" "$shape: each message is handled once"
  for name in "$@"; do
    # The workers have said that they end, to a distributor that may have ended before.
    same '' "$(GW_ROOT=$T/$name/root queue-inspect list --json | jq -r 'select(.queue | test("^(Sales|Billing|error)(.worker)?$"))
      | select(.ready + .claimed + .deferred > 0) | .queue')" "nothing is left on $name"
  done
}
# Which machines have handled messages of an endpoint.
on_machines() { awk -v e="$1" '$2 == e { print $3 }' handled | sort -u | tr '\n' ' '; }

# --- single machine; there is nothing to do for others ---
begin single-machine vm1
run_ok send vm1
wait_until 60 handled $((2 * each))
end vm1
same "vm1 vm1 " "$(on_machines Sales)$(on_machines Billing)"
same "Sales@vm1 Billing@vm1" "$("$SRC/scripts/deploy/single-machine" --addresses single-machine.conf | tr '\n' ' ' | sed 's/ $//')"
conf vm1 vm2 >two.conf
run_exit 64 "$SRC/scripts/deploy/single-machine" two.conf vm2
run_exit 64 "$SRC/scripts/deploy/single-machine" two.conf vm9
run_exit 64 "$SRC/scripts/deploy/single-machine"
run_exit 78 "$SRC/scripts/deploy/machine-per-distributor-and-worker" two.conf vm1

# --- machine per endpoint ---
begin machine-per-endpoint vm1 vm2
like 'endpoint name="Billing"><instance machine="vm2"' "$(cat vm1/instance-mapping.xml)" "senders can go by the map of instances"
run_ok send vm1 vm2
wait_until 60 handled $((4 * each))
end vm1 vm2
same "vm1 vm2 " "$(on_machines Sales)$(on_machines Billing)"

# --- one distributor machine ---
begin one-distributor-machine vm1 vm2 vm3
run_ok send vm1 vm2 vm3
wait_until 90 handled $((6 * each))
settled() { [ "$(on "$1" distributor status --json | jq -s 'map(select(.kind == "worker") | .capacity == .tokens) | all and length >= 2')" = true ]; }
wait_until 30 settled vm1
end vm1 vm2 vm3
unlike vm1 "$(on_machines Sales)$(on_machines Billing)" "the distributor's machine handles nothing"

# --- balanced ---
begin balanced vm1 vm2 vm3
run_ok send vm1 vm2 vm3
wait_until 90 handled $((6 * each))
wait_until 30 settled vm1
wait_until 30 settled vm2
end vm1 vm2 vm3

# --- single distributor per machine ---
begin single-distributor-per-machine vm1 vm2 vm3
run_ok send vm1 vm2 vm3
wait_until 90 handled $((6 * each))
end vm1 vm2 vm3
same "vm3 vm3 " "$(on_machines Sales)$(on_machines Billing)" "the distributors' machines handle nothing"
run_exit 78 "$SRC/scripts/deploy/single-distributor-per-machine" two.conf vm1

# --- machine per distributor and per worker ---
begin machine-per-distributor-and-worker vm1 vm2 vm3 vm4
run_ok send vm1 vm2 vm3 vm4
wait_until 90 handled $((8 * each))
end vm1 vm2 vm3 vm4
same "vm3 vm4 " "$(on_machines Sales)$(on_machines Billing)"
done_testing
