#!/bin/bash
# The commands of gw-operations(7), as they stand there.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
page=$SRC/man/man7/gw-operations.7

# run NAME [CODE]: one block of the page
run() {
  "$SRC/tests/example-blocks" "$page" "$1" >"block.$$" || { fail "block '$1'"; return; }
  ran+=("$1")
  run_exit "${2:-0}" bash -e "block.$$"
}
ran=()

seq 5 | queue-inspect put Sales --lines --create -q
echo failed | queue-inspect put error --create --id failed --header 'NServiceBus.ExceptionInfo.Message=503 Busy' >/dev/null
run_ok queue-inspect hold Sales --reason 'moving'
run backup
run restore
same 5 "$(queue-inspect --root restored list --json | jq -r 'select(.queue == "Sales") | .ready')" "restored"
same moving "$(queue-inspect --root restored list --json | jq -r 'select(.queue == "Sales") | .hold_reason')" "held as before"
run 'restore one'
run_ok queue-inspect take Restored
same failed "$out"
run copy
same "$(queue-inspect list --json | jq -c '[.queue, .ready]')" "$(queue-inspect --root copied list --json | jq -c '[.queue, .ready]')" "the copy has the same messages"
echo 'other.example' >root/machine
run move
same other.example "$(queue-inspect --root moved list --json | jq -rs '.[0].machine')" "under the old name"
run full
run_exit 1 queue-inspect list error --max-count 0
run watch 1
run_ok queue-inspect purge error --all
run watch
like '^gatepost_queue_messages' "$(cat gatepost.prom)"
same "$("$SRC/tests/example-blocks" "$page" | sort)" "$(printf '%s\n' "${ran[@]}" | sort -u)" "every block was run"
done_testing
